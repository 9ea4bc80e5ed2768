//! The plugin in one worker: its configuration, its counters.

use super::feeds::{Feeds, may_be_rotated};
use super::fetch;
use super::host::{self, Host};
use super::http;
use super::inventory::{self, Inventory};
use super::waiting::Paused;
use crate::authorize::decide;
use crate::candidate::decide_beside;
use crate::config::{ConfigErrors, Policy};
use crate::decision::Decision;
use crate::fingerprint::fingerprint;
use crate::memory::Memory;
use crate::metrics::{Counter, Source, of_policy};
use crate::proxy::{HostError, Proxy};
use crate::request::Request;
use crate::token::TokenRules;

/// What every request of a worker shares. Before it is configured it refuses everything, too.
pub(super) struct Worker {
    /// `None`: this worker could not be configured, and refuses everything.
    pub policy: Option<Policy>,
    pub memory: Memory,
    /// The host's numbers for them, the ones that are most used in front.
    counters: Vec<(Counter, u32)>,
    /// Keys and lists of revoked certificates that are fetched.
    pub feeds: Feeds,
    inventory: Inventory,
    /// A second policy, with what it fetches and remembers: decided beside the first, without any effect.
    candidate: Option<Box<Self>>,
}

impl Default for Worker {
    /// Not configured yet.
    fn default() -> Self {
        Self::new(None, Vec::new())
    }
}

impl Worker {
    fn new(mut policy: Option<Policy>, counters: Vec<(Counter, u32)>) -> Self {
        let candidate = match policy.as_mut().and_then(|policy| policy.candidate.take()) {
            None => None,
            Some(Ok(candidate)) => Some(Box::new(Self::new(Some(*candidate), Vec::new()))),
            Some(Err(problems)) => {
                for line in problems.lines() {
                    let message = format_args!("no candidate is decided beside the policy in force: {line}");
                    host::always(host::ERROR, message);
                }
                None
            }
        };
        let none = TokenRules::default();
        let token = policy.as_ref().map_or(&none, |policy| &policy.token);
        Self {
            memory: Memory::new(&token.source),
            counters,
            feeds: Feeds::new(policy.as_ref()),
            inventory: Inventory::of(policy.as_ref()),
            policy,
            candidate,
        }
    }

    /// Begins to fetch what the policy and its candidate need. Returns whether there is anything to fetch.
    fn begin(&self) -> bool {
        let Some(policy) = &self.policy else {
            return false;
        };
        if let Err(problem) = host::declare_note(policy.validation.note_name()) {
            host::error(format_args!("nothing can be noted on connections, so that each request asks anew: {problem}"));
        }
        let fetches = self.feeds.begin(self);
        self.candidate.as_ref().is_some_and(|candidate| candidate.begin()) || fetches
    }

    /// Nothing looks after what is fetched, so nothing of it counts.
    fn stop(&self) {
        if let Some(candidate) = &self.candidate {
            candidate.stop();
        }
        self.feeds.without_clock(self);
    }

    /// Decides about a request, and asks the candidate what it would have done, unless the request `waits`, given what is decided so
    /// far.
    pub fn decide(&self, policy: &Policy, request: &Request<'_>, waits: impl FnOnce(&Decision) -> bool) -> Decision {
        let candidate = self.candidate.as_ref().and_then(|worker| worker.policy.as_ref().zip(Some(worker)));
        let Some((candidate, worker)) = candidate else {
            let decision = decide(policy, &self.memory, request, &Host);
            waits(&decision);
            return decision;
        };
        let decision = decide_beside((policy, &self.memory), (candidate, &worker.memory), request, &Host, waits);
        // No request waits for a candidate's keys, but newer ones may have come since.
        if decision.candidate.as_ref().and_then(|verdict| verdict.reason).is_some_and(may_be_rotated) {
            worker.feeds.want_all();
        }
        decision
    }

    /// Adds one to a counter. Without it a decision is still a decision.
    pub fn count(&self, counter: Counter) {
        let id = self.counters.iter().find(|(known, _)| *known == counter).map(|(_, id)| *id);
        if let Some(Err(problem)) = id.map(host::increment) {
            host::error(format_args!("{}: {problem}", counter.name()));
        }
    }

    /// Counts a decision, and takes note of its certificate.
    pub fn take_note(&self, decision: &Decision, strips_certificate: bool) {
        for counter in Counter::of(decision, strips_certificate) {
            self.count(counter);
        }
        if !self.inventory.note(decision) {
            self.count(Counter::InventoryFull);
        }
    }

    /// Looks after fetches, waiting requests and gauges.
    pub fn tick(&self) {
        if let Some(candidate) = &self.candidate {
            candidate.tick();
        }
        match Host.monotonic() {
            Ok(now) => {
                self.resume(self.feeds.tick(self, now), true);
                self.inventory.tick(now);
            }
            Err(_) => self.resume(self.feeds.without_clock(self), false),
        }
    }

    /// Takes the answer to a call.
    pub fn answer(&self, call: u32) {
        if let Some(candidate) = &self.candidate {
            candidate.answer(call);
        }
        self.resume(self.feeds.answer(self, call), true);
    }

    /// Another configuration takes over: no request is left waiting.
    pub fn retire(&self) {
        self.resume(self.feeds.all(), false);
        self.withdraw();
    }

    /// Its plugin is gone: it hears of no answer any more, and Envoy would call its timer for as long as the VM lives.
    pub fn end(&self) {
        self.withdraw();
        if let Err(problem) = host::set_tick_period(0) {
            host::error(format_args!("the timer of a plugin that is gone cannot be stopped: {problem}"));
        }
    }

    fn withdraw(&self) {
        self.feeds.withdraw(self);
    }

    /// Decides about requests that have waited, and may have to wait for something else.
    fn resume(&self, paused: Vec<Paused>, may_wait: bool) {
        for paused in paused {
            // A request that is gone has no context any more.
            if host::set_effective_context(paused.context).is_ok() {
                http::resume(self, paused, may_wait);
            }
        }
    }

    /// A request is gone.
    pub fn forget(&self, context: u32) {
        self.feeds.forget(context);
    }

    /// Has it a candidate, which is to be asked about every request?
    pub const fn has_candidate(&self) -> bool {
        self.candidate.is_some()
    }
}

/// Configures a worker; `None` refuses the configuration.
///
/// Envoy configures a VM in its main thread first, and refuses the whole configuration where that fails. When it fails in
/// a worker later, Envoy skips the filter and lets everything through. So a configuration that was accepted once is never
/// refused again: whatever goes wrong then leaves a worker that refuses every request.
pub(super) fn configure() -> Option<Worker> {
    host::ask_who_names_lines();
    let configuration = host::configuration();
    let policy = match configuration.map(|bytes| (accepted_key(&bytes), Policy::read(bytes))) {
        Ok((key, Ok(policy))) => {
            if let Err(problem) = remember_accepted(&key, &policy) {
                host::always(
                    host::ERROR,
                    format_args!(
                        "{problem}; should a worker fail to read this configuration, Envoy would skip the filter there"
                    ),
                );
            }
            Some(policy)
        }
        Ok((key, Err(problem))) if is_refused(&problem, &key) => return None,
        Ok((_, Err(_))) => None,
        Err(problem) => {
            let message = format_args!("the configuration cannot be read: {problem}; every request is refused");
            host::always(host::ERROR, message);
            None
        }
    };
    let feeds = policy.as_ref().map_or(0, |policy| policy.revocation.feeds.len());
    let providers = policy.as_ref().map_or(0, |policy| policy.token.providers.len());
    let key_sets = (providers == 0).then_some(Source::Jwks(None)).into_iter();
    let key_sets = key_sets.chain((0..providers).map(|index| Source::Jwks(Some(index))));
    let sources = key_sets.chain((0..feeds).map(Source::Feed));
    let has_candidate = matches!(policy.as_ref().map(|policy| &policy.candidate), Some(Some(Ok(_))));
    let counters = define_counters(
        Counter::all(sources, has_candidate),
        policy.as_ref().and_then(|policy| policy.policy_name.as_deref()),
    );
    let worker = Worker::new(policy, counters);
    let period = if worker.begin() { fetch::TICK_MILLISECONDS } else { inventory::TICK_MILLISECONDS };
    if let Err(problem) = host::set_tick_period(period) {
        host::always(host::ERROR, format_args!("{problem}; nothing can be fetched, and what needs it is refused"));
        worker.stop();
    }
    Some(worker)
}

/// Says what is wrong, and whether the configuration is to be refused: not if it was accepted before.
fn is_refused(problems: &ConfigErrors, key: &str) -> bool {
    let refused = !matches!(Host.shared(key), Ok(Some(_)) | Err(_));
    if refused {
        for line in problems.lines() {
            host::always(host::ERROR, format_args!("the configuration is refused: {line}"));
        }
    } else {
        let message = format_args!(
            "a configuration that was accepted cannot be read again: {}; every request is refused",
            **problems
        );
        host::always(host::ERROR, message);
    }
    refused
}

/// Tells the workers that this configuration was accepted, and the operator what is unwise in it.
fn remember_accepted(key: &str, policy: &Policy) -> Result<(), HostError> {
    if Host.shared(key)?.is_none() {
        Host.swap_shared(key, b"1", None)?;
        let version = env!("CARGO_PKG_VERSION");
        host::always(host::INFO, format_args!("version {version}: the configuration is accepted"));
        let candidate = policy.candidate.as_ref().and_then(|candidate| candidate.as_ref().ok());
        for policy in [Some(policy), candidate.map(|candidate| &**candidate)].into_iter().flatten() {
            for warning in &policy.warnings {
                host::always(host::WARN, format_args!("warning: {}{warning}", policy.place()));
            }
        }
    }
    Ok(())
}

/// Of this version of the filter: a newer one may well refuse what an older one accepted.
///
/// No digest that withstands an enemy, which takes longer over a large registry than reading it: configurations are the
/// operator's. Had two of them the same key, a wrong one would leave requests refused instead of being refused itself.
fn accepted_key(configuration: &[u8]) -> String {
    let (length, fingerprint) = (configuration.len(), fingerprint(configuration));
    format!("mtls_authz.accepted.{}.{length}.{fingerprint:016x}", env!("CARGO_PKG_VERSION"))
}

/// Without a counter a decision is still a decision.
fn define_counters(all: impl Iterator<Item = Counter>, policy_name: Option<&str>) -> Vec<(Counter, u32)> {
    let mut counters = Vec::new();
    for counter in all {
        match host::counter(&of_policy(&counter.name(), policy_name)) {
            Ok(id) => counters.push((counter, id)),
            Err(problem) => host::error(format_args!("no counter {}: {problem}", counter.name())),
        }
    }
    counters
}
