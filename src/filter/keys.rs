//! Keeping fetched keys fresh, and the requests that wait for them.
//!
//! The last good set stays in force until it is too old. Ages and waits are measured with the clock that nobody sets, so that
//! keys neither live longer nor die when the time of day is corrected. A key that no set has is looked for at most once in a
//! [`COOLDOWN`]; requests that need it, or that came before the first set, wait for that fetch and no longer.

use std::cell::Cell;

use super::fetch::{self, Fetched};
use super::gauges::Gauges;
use super::host::{self, Host};
use super::waiting::{Caller, Waiting};
use super::worker::Worker;
use crate::bounds;
use crate::config::Policy;
use crate::fetch::{Fetch, useless};
use crate::line::one_line;
use crate::memory::Memory;
use crate::metrics::{Counter, Outcome, Source, fetch_age};
use crate::proxy::{MILLISECOND, Proxy, SECOND};
use crate::token::{KeySet, KeySource, MAX_SET_BYTES, TokenRules, TokenSource};

/// Between two fetches for unknown keys, however many tokens name one.
const COOLDOWN: u64 = 5 * SECOND;

/// Keys of one set that are named where they are left out. A set can have a hundred, and be fetched each time a caller
/// names an unknown key.
const MAX_NAMED: usize = 10;

/// The fetches of one worker. Times are nanoseconds of [`Proxy::monotonic`].
pub(super) struct KeyFetcher {
    /// Which of the policy's key sets it fetches, by its index.
    pub key_set: usize,
    source: Source,
    /// Where in the configuration.
    path: String,
    fetch: Fetch,
    in_flight: Cell<Option<u32>>,
    due_at: Cell<u64>,
    finished_at: Cell<u64>,
    /// When the keys in force came; before there are any, when they were first asked for.
    adopted_at: Cell<Option<u64>>,
    /// The second whose age was last shown.
    shown_at: Cell<u64>,
    gauges: Gauges,
    wanted: Cell<bool>,
    /// Whether each waits for one key, so that any answer ends the wait; otherwise it waits for the first set.
    waiting: Waiting<bool>,
}

impl KeyFetcher {
    /// One for each key set of a policy that is fetched.
    pub fn all(policy: &Policy) -> Vec<Self> {
        let TokenRules { source: TokenSource::Jwks(key_sets), providers, .. } = &policy.token else {
            return Vec::new();
        };
        let fetched = key_sets.iter().enumerate().filter_map(|(key_set, source)| {
            let KeySource::Fetched(fetch) = source else {
                return None;
            };
            let (source, path) = match providers.is_empty() {
                true => (Source::Jwks(None), "token.jwks_uri".to_owned()),
                false => (Source::Jwks(Some(key_set)), format!("token.providers[{key_set}].jwks_uri")),
            };
            let path = format!("{}{path}", policy.place());
            Some(Self::new(key_set, source, path, fetch.clone(), Gauges::of(Some(policy))))
        });
        fetched.collect()
    }

    fn new(key_set: usize, source: Source, path: String, fetch: Fetch, gauges: Gauges) -> Self {
        Self {
            key_set,
            source,
            path,
            fetch,
            in_flight: Cell::default(),
            due_at: Cell::default(),
            finished_at: Cell::default(),
            adopted_at: Cell::default(),
            shown_at: Cell::default(),
            gauges,
            wanted: Cell::default(),
            waiting: Waiting::default(),
        }
    }

    /// Lets a request wait, unless it is not worth it: then it is to be refused now.
    pub fn wait(&self, context: u32, caller: Caller, for_a_key: bool) -> bool {
        let Ok(now) = Host.monotonic() else {
            return false;
        };
        let patience = u64::from(self.fetch.timeout_ms) * MILLISECOND;
        let earliest = self.finished_at.get().saturating_add(COOLDOWN);
        let too_early = for_a_key && self.in_flight.get().is_none() && earliest > now.saturating_add(patience);
        if too_early || !self.waiting.admit(context, caller, now.saturating_add(patience), for_a_key) {
            return false;
        }
        self.wanted.set(true);
        true
    }

    /// Has another set fetched as soon as the cooldown allows, though no request waits for it.
    pub fn want(&self) {
        self.wanted.set(true);
    }

    /// A request is gone; a client does not wait for ever.
    pub fn forget(&self, context: u32) {
        self.waiting.forget(context);
    }

    /// Drops keys that are too old and starts a fetch where one is due (`now` of [`Proxy::monotonic`]). Returns the requests that
    /// have waited long enough.
    ///
    /// That keys are dropped here and not when they are used spares every request a look at the clock.
    pub fn tick(&self, worker: &Worker, now: u64) -> Vec<u32> {
        let max_stale = u64::try_from(self.fetch.max_stale).unwrap_or_default();
        if self.age(now) >= max_stale.saturating_mul(SECOND) {
            self.drop_keys(worker, now, "they are older than max_stale_seconds");
        }
        self.show_age(now);
        let wanted = self.wanted.get() && now >= self.finished_at.get().saturating_add(COOLDOWN);
        if self.in_flight.get().is_none() && (wanted || now >= self.due_at.get()) {
            self.start(worker, now);
        }
        self.waiting.take(|paused| paused.until <= now)
    }

    /// The same where there is no clock: no keys are in force, and no request waits.
    pub fn without_clock(&self, worker: &Worker) -> Vec<u32> {
        self.drop_keys(worker, 0, "there is no clock that tells their age");
        self.all_waiting()
    }

    /// Of the keys in force, or how long there have been none.
    fn age(&self, now: u64) -> u64 {
        let since = self.adopted_at.get().unwrap_or(now);
        self.adopted_at.set(Some(since));
        now.saturating_sub(since)
    }

    /// Takes the keys out of force, if there are any, and has others fetched at once.
    fn drop_keys(&self, worker: &Worker, now: u64, why: &str) {
        if worker.memory.keys(self.key_set).is_some() {
            host::warn(format_args!("{}: the last good keys are not used any more: {why}", self.path));
            worker.memory.drop_keys(self.key_set);
            self.due_at.set(now);
        }
    }

    /// Once a second. Each worker fetches for itself and shows its own age, so that over a minute the oldest can be seen.
    fn show_age(&self, now: u64) {
        if self.shown_at.replace(now / SECOND) != now / SECOND {
            self.gauges.set(&fetch_age(self.source), self.age(now) / SECOND);
        }
    }

    fn start(&self, worker: &Worker, now: u64) {
        self.wanted.set(false);
        match fetch::send(&self.fetch, "application/jwk-set+json, application/json", None) {
            Ok(call) => self.in_flight.set(Some(call)),
            Err(problem) => {
                let cluster = &self.fetch.cluster;
                host::warn(format_args!(
                    "{}: no keys can be fetched through cluster {cluster:?}: {problem}; is it configured?",
                    self.path
                ));
                worker.count(Counter::Fetched(self.source, Outcome::Failed));
                self.finish(now, self.retry(&worker.memory));
            }
        }
    }

    /// Until the next attempt after one that failed.
    fn retry(&self, memory: &Memory) -> u64 {
        self.fetch.retry(memory.keys(self.key_set).is_some())
    }

    fn finish(&self, now: u64, next: u64) {
        self.in_flight.set(None);
        self.finished_at.set(now);
        self.due_at.set(now.saturating_add(next));
    }

    /// Takes an answer. Returns the requests that need not wait any longer.
    pub fn answer(&self, call: u32, worker: &Worker) -> Vec<u32> {
        if self.in_flight.get() != Some(call) {
            return Vec::new();
        }
        // Without a clock the keys are as old as can be, and the next tick that has one drops them.
        let now = Host.monotonic().unwrap_or_default();
        let memory = &worker.memory;
        match self.answered_keys() {
            Ok(set) => {
                worker.count(Counter::Fetched(self.source, Outcome::Adopted));
                self.adopted_at.set(Some(now));
                memory.adopt_keys(self.key_set, set);
                self.finish(now, self.fetch.pause(now));
                self.waiting.take(|_| true)
            }
            Err(problem) => {
                worker.count(Counter::Fetched(self.source, Outcome::Failed));
                let in_force = memory.keys(self.key_set).is_some();
                let consequence = if in_force { "the last good keys stay in force" } else { "there are none yet" };
                host::warn(format_args!(
                    "{}: the keys that were fetched cannot be used: {problem}; {consequence}",
                    self.path
                ));
                self.finish(now, self.retry(memory));
                self.waiting.take(|paused| paused.what)
            }
        }
    }

    /// The key set in the answer that has just come.
    fn answered_keys(&self) -> Result<KeySet, String> {
        let Fetched { status, body, .. } = fetch::answered(MAX_SET_BYTES + 1)?;
        if status != b"200" {
            return Err(useless(&status));
        }
        let (set, left_out) = KeySet::from_json(&body).map_err(|problem| problem.as_str().to_owned())?;
        let path = &self.path;
        let further = left_out.len().saturating_sub(MAX_NAMED);
        for key in left_out.into_iter().take(MAX_NAMED) {
            let id = one_line(format_args!("{}", key.id.unwrap_or_default()), bounds::FOREIGN_TEXT);
            let id = String::from_utf8_lossy(&id);
            host::warn(format_args!("{path}: keys[{}] (kid {id:?}) is left out: {}", key.index, key.why.as_str()));
        }
        if further > 0 {
            host::warn(format_args!("{path}: {further} further keys are left out"));
        }
        host::info(format_args!("{path}: new keys are in force"));
        Ok(set)
    }

    /// Every waiting request, for when this configuration is replaced.
    pub fn all_waiting(&self) -> Vec<u32> {
        self.waiting.take(|_| true)
    }
}
