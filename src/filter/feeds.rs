//! Keeping keys and lists of revoked certificates fresh, and the requests that wait for them.

use std::cell::{Cell, RefCell};

use super::fetch;
use super::gauges::Gauges;
use super::host::{self, Host};
use super::waiting::{Awaited, Caller, Paused, Waiting};
use super::worker::Worker;
use crate::bounds;
use crate::config::Policy;
use crate::decision::{Decision, Deny, Reason};
use crate::feeds::{Answer, COOLDOWN, Call, Taken, Watch};
use crate::line::one_line;
use crate::metrics::{Counter, Outcome, Source, fetch_age, issuer_days_until_expiry};
use crate::proxy::{Proxy, SECOND, seconds};
use crate::token::{KeySource, LeftOut, TokenSource};

/// Keys of one set that are named where they are left out.
const MAX_NAMED: usize = 10;
/// Longer paths are not kept while their requests wait: those are decided anew.
const MAX_KEPT_PATH: usize = 1024;

/// What a worker does for what its policy fetches. Times are those of [`Proxy::monotonic`].
pub(super) struct Feeds {
    /// The calls that this worker has sent.
    in_flight: RefCell<Vec<Sent>>,
    waiting: Waiting,
    /// For each key set of the policy.
    demands: Vec<Demand>,
    gauges: Gauges,
    /// When this worker began.
    began_at: Cell<u64>,
    /// The second whose ages were last shown.
    shown_at: Cell<u64>,
}

struct Sent {
    call: u32,
    source: Source,
    claim: u64,
}

/// What tokens ask of a key set.
#[derive(Default)]
struct Demand {
    /// An answer to a request that is sent later than this; 0: none.
    wanted: Cell<u64>,
    /// When the latest request was sent that has been answered, well or not.
    answered: Cell<u64>,
}

impl Feeds {
    pub fn new(policy: Option<&Policy>) -> Self {
        let key_sets = policy.map_or(0, |policy| key_sources(policy).len());
        Self {
            in_flight: RefCell::default(),
            waiting: Waiting::default(),
            demands: (0..key_sets).map(|_| Demand::default()).collect(),
            gauges: Gauges::of(policy),
            began_at: Cell::default(),
            shown_at: Cell::default(),
        }
    }

    /// Takes over what other workers have, so that the first request finds it. Returns whether there is anything to fetch.
    pub fn begin(&self, worker: &Worker) -> bool {
        if watches(worker).next().is_none() {
            return false;
        }
        let now = Host.monotonic();
        self.began_at.set(now.unwrap_or(u64::MAX));
        worker.memory.revoked.begin(now.unwrap_or(u64::MAX));
        for (source, watch) in watches(worker) {
            // Without a clock nothing tells how old it is.
            if let Some(Err(problem)) = now.ok().map(|now| watch.take_over(now)) {
                host::error(format_args!("{} cannot be shared: {problem}", place(worker, source)));
            }
        }
        true
    }

    /// Lets a request that was refused wait, if what it lacks is on its way and its time is not over (`since`: when it first began
    /// to wait, if it has).
    pub fn wait(&self, worker: &Worker, context: u32, caller: Caller, deny: &Deny, since: Option<u64>) -> bool {
        let Some(what) = self.lacks(worker, deny) else {
            return false;
        };
        let Ok(now) = Host.monotonic() else {
            return false;
        };
        let since = since.unwrap_or(now);
        let longest = |of: &dyn Fn(&Watch<'_>) -> bool| {
            watches(worker).filter(|(_, watch)| of(watch)).map(|(_, watch)| watch.fetch.patience()).max().unwrap_or(0)
        };
        let patience = longest(&|_| true);
        let until = match what {
            // In the first moments of a worker and not later.
            Awaited::Lists => {
                let first = self.began_at.get().saturating_add(longest(&|watch| watch.is_list() && watch.is_missing()));
                since.saturating_add(patience).min(first)
            }
            Awaited::Keys(_) => since.saturating_add(patience),
            // The keys are newer than the request already.
            Awaited::Newer { key_set, .. } if self.answered(key_set) > since => return false,
            Awaited::Newer { .. } => since.saturating_add(COOLDOWN).saturating_add(patience),
        };
        let refusal = None;
        if now >= until || !self.waiting.admit(Paused { context, caller, since, until, what, refusal }) {
            return false;
        }
        if let Awaited::Newer { key_set, .. } = what {
            self.want(key_set, since);
        }
        true
    }

    /// What might come yet and change this refusal.
    fn lacks(&self, worker: &Worker, deny: &Deny) -> Option<Awaited> {
        let fetched = |key_set: usize| {
            let is_fetched = worker.policy.as_ref().is_some_and(|policy| fetch_of(policy, key_set).is_some());
            is_fetched.then_some(key_set)
        };
        match (deny.reason, deny.key_set) {
            (Reason::RevocationUnavailable, _) => Some(Awaited::Lists),
            (Reason::KeysUnavailable, Some(key_set)) => fetched(usize::from(key_set)).map(Awaited::Keys),
            (reason, Some(key_set)) if may_be_rotated(reason) => {
                let key_set = fetched(usize::from(key_set))?;
                let version = worker.memory.key_edition(key_set)?.version;
                Some(Awaited::Newer { key_set, version })
            }
            _ => None,
        }
    }

    /// Keeps what was decided about a request that waits, where that stands if nothing new comes.
    pub fn keep(&self, context: u32, refusal: Decision) {
        if refusal.path.as_ref().is_none_or(|path| path.len() <= MAX_KEPT_PATH) {
            self.waiting.keep(context, refusal);
        }
    }

    /// Has keys fetched, as soon as the cooldown allows, by a request that is sent later than this.
    fn want(&self, key_set: usize, since: u64) {
        if let Some(demand) = self.demands.get(key_set) {
            demand.wanted.set(demand.wanted.get().max(since));
        }
    }

    /// Has all keys fetched again, though no request waits for them.
    pub fn want_all(&self) {
        if let Ok(now) = Host.monotonic() {
            (0..self.demands.len()).for_each(|key_set| self.want(key_set, now));
        }
    }

    fn answered(&self, key_set: usize) -> u64 {
        self.demands.get(key_set).map_or(0, |demand| demand.answered.get())
    }

    fn note_answer(&self, source: Source, answered: u64) {
        if let Some(demand) = key_set_of(source).and_then(|key_set| self.demands.get(key_set)) {
            demand.answered.set(demand.answered.get().max(answered));
        }
    }

    /// A request is gone.
    pub fn forget(&self, context: u32) {
        self.waiting.forget(context);
    }

    /// Every waiting request, for when this configuration is replaced.
    pub fn all(&self) -> Vec<Paused> {
        self.waiting.drain()
    }

    /// This worker ends: what it has asked for and not got yet is for others to ask for.
    pub fn withdraw(&self, worker: &Worker) {
        for Sent { source, claim, .. } in self.in_flight.take() {
            if let Some(watch) = watch(worker, source) {
                // What fails here ends with the time of the claim.
                let _ = watch.withdraw(claim);
            }
        }
    }

    /// Looks after everything that is fetched. Returns the requests that need not wait any longer.
    pub fn tick(&self, worker: &Worker, now: u64) -> Vec<Paused> {
        for (source, watch) in watches(worker) {
            let wanted = key_set_of(source).and_then(|key_set| self.demands.get(key_set));
            match watch.progress(now, wanted.map_or(0, |demand| demand.wanted.get())) {
                Ok(progress) => {
                    self.note_answer(source, progress.answered);
                    if progress.dropped {
                        warn_of_dropped(worker, source, "they are older than max_stale_seconds");
                    }
                    if let Some(call) = progress.call {
                        self.send(worker, source, watch, &call, now);
                    }
                }
                // Once a second, as long as that lasts.
                Err(problem) if self.shown_at.get() != now / SECOND => {
                    host::error(format_args!("{} cannot be shared: {problem}", place(worker, source)));
                }
                Err(_) => {}
            }
        }
        self.show_ages(worker, now);
        self.settled(worker, now)
    }

    /// There is no clock, or no timer: nothing tells how old keys and lists are nor how long a request has waited. No
    /// request waits any longer.
    pub fn without_clock(&self, worker: &Worker) -> Vec<Paused> {
        worker.memory.revoked.set_time(u64::MAX);
        for (source, _) in watches(worker) {
            if let Some(key_set) = key_set_of(source).filter(|key_set| worker.memory.key_edition(*key_set).is_some()) {
                worker.memory.drop_keys(key_set);
                warn_of_dropped(worker, source, "there is no clock that tells their age");
            }
        }
        self.waiting.take(|_| true)
    }

    /// The requests for which what they waited for is there, or too late.
    fn settled(&self, worker: &Worker, now: u64) -> Vec<Paused> {
        let lists_are_there = !watches(worker).any(|(_, watch)| watch.is_list() && watch.is_missing());
        let edition = |key_set| worker.memory.key_edition(key_set);
        let mut settled = self.waiting.take(|paused| {
            paused.until <= now
                || match paused.what {
                    Awaited::Lists => lists_are_there,
                    Awaited::Keys(key_set) => edition(key_set).is_some(),
                    Awaited::Newer { key_set, version } => {
                        self.answered(key_set) > paused.since
                            || edition(key_set).is_none_or(|held| held.version != version)
                    }
                }
        });
        for paused in &mut settled {
            let is_same = match paused.what {
                Awaited::Newer { key_set, version } => edition(key_set).is_some_and(|held| held.version == version),
                _ => false,
            };
            paused.refusal = paused.refusal.take().filter(|_| is_same);
        }
        settled
    }

    fn send(&self, worker: &Worker, source: Source, watch: Watch<'_>, call: &Call, now: u64) {
        let fetch = watch.fetch;
        match fetch::send(fetch, call.accept, call.etag.as_deref()) {
            Ok(number) => self.in_flight.borrow_mut().push(Sent { call: number, source, claim: call.claim }),
            Err(problem) => {
                let what = format!(
                    "nothing can be sent to cluster {:?}: {problem}; is a cluster of exactly this name in Envoy's configuration? (Istio \
                     names them outbound|PORT||HOST)",
                    fetch.cluster
                );
                self.conclude(worker, source, watch, call.claim, watch.fail(call.claim, what, now));
            }
        }
    }

    /// Takes an answer, if it is to one of these calls. Returns the requests that need not wait any longer.
    pub fn answer(&self, worker: &Worker, call: u32) -> Vec<Paused> {
        let mut in_flight = self.in_flight.borrow_mut();
        let Some(place) = in_flight.iter().position(|sent| sent.call == call) else {
            return Vec::new();
        };
        let Sent { source, claim, .. } = in_flight.swap_remove(place);
        drop(in_flight);
        // Without a clock what came is as old as can be, and the next tick that has one sees to it.
        let now = Host.monotonic().unwrap_or_default();
        if let Some(watch) = watch(worker, source) {
            let taken = match fetch::answered(watch.max_bytes() + 1) {
                Ok(answer) => {
                    let etag = answer.etag.as_deref();
                    watch.take(claim, Answer { status: &answer.status, etag, body: &answer.body }, now)
                }
                Err(problem) => watch.fail(claim, problem, now),
            };
            self.conclude(worker, source, watch, claim, taken);
        }
        self.settled(worker, now)
    }

    /// Counts what became of a fetch, and tells it.
    fn conclude(&self, worker: &Worker, source: Source, watch: Watch<'_>, claim: u64, taken: Result<Taken, String>) {
        let place = place(worker, source);
        let outcome = match taken {
            Ok(Taken::Adopted(entries)) => {
                host::info(format_args!("{place}: a list of {entries} entries is in force"));
                // Only the worker that has fetched it says so.
                let expiry = watch.issuer().and_then(|issuer| issuer.expiry(seconds(Host.now().ok()?)));
                if let Some(expiry) = expiry {
                    host::warn(format_args!("{place}: {expiry}"));
                }
                Outcome::Adopted
            }
            Ok(Taken::Keys(left_out)) => {
                warn_of_left_out(&place, left_out);
                host::info(format_args!("{place}: new keys are in force"));
                Outcome::Adopted
            }
            Ok(Taken::Unchanged) => Outcome::Unchanged,
            Err(problem) => {
                let consequence = match (watch.current(), watch.is_list()) {
                    (Some(_), true) => "the last good list stays in force",
                    (Some(_), false) => "the last good keys stay in force",
                    (None, true) => "there is none yet",
                    (None, false) => "there are none yet",
                };
                host::warn(format_args!("{place}: what was fetched cannot be used: {problem}; {consequence}"));
                Outcome::Failed
            }
        };
        worker.count(Counter::Fetched(source, outcome));
        self.note_answer(source, claim);
    }

    /// Once a second. All workers show the same, because they share what they fetch.
    fn show_ages(&self, worker: &Worker, now: u64) {
        if self.shown_at.replace(now / SECOND) == now / SECOND {
            return;
        }
        for (source, watch) in watches(worker) {
            let since = watch.current().map_or(self.began_at.get(), |current| current.checked_at);
            self.gauges.set(&fetch_age(source), now.saturating_sub(since) / SECOND);
            if let Some(issuer) = watch.issuer()
                && let Ok(now) = Host.now()
            {
                self.gauges.set(&issuer_days_until_expiry(source), issuer.days_left(seconds(now)));
            }
        }
    }
}

/// Could newer keys say something else? The issuer may have a new key, the same name for another one, or another algorithm for it.
pub(super) const fn may_be_rotated(reason: Reason) -> bool {
    matches!(reason, Reason::TokenKeyUnknown | Reason::TokenSignatureInvalid | Reason::TokenAlgorithmNotAllowed)
}

fn key_sources(policy: &Policy) -> &[KeySource] {
    match &policy.token.source {
        TokenSource::Jwks(sources) => sources,
        TokenSource::JwtAuthn { .. } => &[],
    }
}

/// Where a key set is fetched, if it is.
fn fetch_of(policy: &Policy, key_set: usize) -> Option<&crate::fetch::Fetch> {
    match key_sources(policy).get(key_set) {
        Some(KeySource::Fetched(fetch)) => Some(fetch),
        _ => None,
    }
}

/// Of which key set it is a source.
fn key_set_of(source: Source) -> Option<usize> {
    match source {
        Source::Jwks(index) => Some(index.unwrap_or(0)),
        Source::Feed(_) => None,
    }
}

/// Everything that the policy of a worker fetches.
fn watches(worker: &Worker) -> impl Iterator<Item = (Source, Watch<'_>)> {
    let policy = worker.policy.iter();
    let lists = policy.clone().flat_map(|policy| &policy.revocation.feeds).enumerate();
    let lists =
        lists.map(|(index, feed)| (Source::Feed(index), Watch::list(index, feed, &worker.memory.revoked, &Host)));
    let keys = policy.flat_map(move |policy| {
        let has_providers = !policy.token.providers.is_empty();
        (0..key_sources(policy).len()).filter_map(move |key_set| {
            let watch = Watch::keys(key_set, fetch_of(policy, key_set)?, &worker.memory, &Host);
            Some((Source::Jwks(has_providers.then_some(key_set)), watch))
        })
    });
    lists.chain(keys)
}

fn watch(worker: &Worker, source: Source) -> Option<Watch<'_>> {
    watches(worker).find(|(other, _)| *other == source).map(|(_, watch)| watch)
}

/// Where a source stands in the configuration.
fn place(worker: &Worker, source: Source) -> String {
    let policy = worker.policy.as_ref().map_or("", Policy::place);
    match source {
        Source::Feed(index) => format!("{policy}revocation.feeds[{index}]"),
        Source::Jwks(None) => format!("{policy}token.jwks_uri"),
        Source::Jwks(Some(index)) => format!("{policy}token.providers[{index}].jwks_uri"),
    }
}

fn warn_of_dropped(worker: &Worker, source: Source, why: &str) {
    let place = place(worker, source);
    host::warn(format_args!("{place}: the last good keys are not used any more: {why}"));
}

fn warn_of_left_out(place: &str, left_out: Vec<LeftOut>) {
    let further = left_out.len().saturating_sub(MAX_NAMED);
    for key in left_out.into_iter().take(MAX_NAMED) {
        let id = one_line(format_args!("{}", key.id.unwrap_or_default()), bounds::FOREIGN_TEXT);
        let id = String::from_utf8_lossy(&id);
        host::warn(format_args!("{place}: keys[{}] (kid {id:?}) is left out: {}", key.index, key.why.as_str()));
    }
    if further > 0 {
        host::warn(format_args!("{place}: {further} further keys are left out"));
    }
}
