//! Keeping the lists of revoked certificates fresh.

use std::cell::{Cell, RefCell};

use super::fetch;
use super::gauges::Gauges;
use super::host::{self, Host};
use super::waiting::{Caller, Waiting};
use super::worker::Worker;
use crate::config::Policy;
use crate::feeds::{Answer, Call, MAX_FEED_BYTES, Taken, Watch};
use crate::metrics::{Counter, Outcome, Source, fetch_age};
use crate::proxy::{Proxy, SECOND};

/// What a worker does for the feeds of its policy.
pub(super) struct Feeds {
    /// The calls that this worker has sent.
    in_flight: RefCell<Vec<Sent>>,
    /// Requests that came before the first lists.
    waiting: Waiting<()>,
    gauges: Gauges,
    /// When this worker began, by [`Proxy::monotonic`], as all times here.
    began_at: Cell<u64>,
    /// The second whose ages were last shown.
    shown_at: Cell<u64>,
}

struct Sent {
    call: u32,
    feed: usize,
    claim: u64,
}

impl Feeds {
    pub fn new(gauges: Gauges) -> Self {
        Self {
            in_flight: RefCell::default(),
            waiting: Waiting::default(),
            gauges,
            began_at: Cell::default(),
            shown_at: Cell::default(),
        }
    }

    /// Takes over what other workers have, so that the first request finds it.
    pub fn begin(&self, worker: &Worker) {
        let now = Host.monotonic().unwrap_or(u64::MAX);
        self.began_at.set(now);
        worker.memory.revoked.begin(now);
        for watch in watches(worker) {
            if let Err(problem) = watch.take_over(now) {
                host::error(format_args!("{} cannot be shared: {problem}", place(worker, watch.index)));
            }
        }
    }

    /// Lets a request wait for lists that have not come yet, in the first moments of a worker and not later.
    pub fn wait(&self, worker: &Worker, context: u32, caller: Caller) -> bool {
        let missing = watches(worker).filter(Watch::is_missing);
        let patience = missing.map(|watch| watch.feed.fetch.patience()).max();
        let until = patience.map(|patience| self.began_at.get().saturating_add(patience));
        match (until, Host.monotonic()) {
            (Some(until), Ok(now)) if now < until => self.waiting.admit(context, caller, until, ()),
            _ => false,
        }
    }

    /// A request is gone.
    pub fn forget(&self, context: u32) {
        self.waiting.forget(context);
    }

    /// Every waiting request, for when this configuration is replaced.
    pub fn all(&self) -> Vec<u32> {
        self.waiting.take(|_| true)
    }

    /// This worker ends: what it has asked for and not got yet is for others to ask for.
    pub fn withdraw(&self, worker: &Worker) {
        for Sent { feed, claim, .. } in self.in_flight.take() {
            if let Some(watch) = watches(worker).nth(feed) {
                // What fails here ends with the time of the claim.
                let _ = watch.withdraw(claim);
            }
        }
    }

    /// Looks after every feed. Returns the requests that have waited long enough.
    pub fn tick(&self, worker: &Worker, now: u64) -> Vec<u32> {
        for watch in watches(worker) {
            match watch.look(now) {
                Ok(Some(call)) => self.send(worker, watch, &call, now),
                Ok(None) => {}
                // Once a second, as long as that lasts.
                Err(problem) if self.shown_at.get() != now / SECOND => {
                    host::error(format_args!("{} cannot be shared: {problem}", place(worker, watch.index)));
                }
                Err(_) => {}
            }
        }
        self.show_ages(worker, now);
        self.settled(worker, now)
    }

    /// The requests for which nothing is missing any more, or too late.
    fn settled(&self, worker: &Worker, now: u64) -> Vec<u32> {
        let is_complete = !watches(worker).any(|watch| watch.is_missing());
        self.waiting.take(|paused| is_complete || paused.until <= now)
    }

    fn send(&self, worker: &Worker, watch: Watch<'_>, call: &Call, now: u64) {
        let fetch = &watch.feed.fetch;
        match fetch::send(fetch, call.accept, call.etag.as_deref()) {
            Ok(number) => {
                self.in_flight.borrow_mut().push(Sent { call: number, feed: watch.index, claim: call.claim });
            }
            Err(problem) => {
                let what = format!("nothing can be sent to cluster {:?}: {problem}; is it configured?", fetch.cluster);
                conclude(worker, watch, watch.fail(call.claim, what, now));
            }
        }
    }

    /// Takes an answer, if it is to one of these calls. Returns the requests that need not wait any longer.
    pub fn answer(&self, worker: &Worker, call: u32) -> Vec<u32> {
        let mut in_flight = self.in_flight.borrow_mut();
        let Some(place) = in_flight.iter().position(|sent| sent.call == call) else {
            return Vec::new();
        };
        let Sent { feed, claim, .. } = in_flight.swap_remove(place);
        drop(in_flight);
        let now = Host.monotonic().unwrap_or_default();
        if let Some(watch) = watches(worker).nth(feed) {
            let taken = match fetch::answered(MAX_FEED_BYTES + 1) {
                Ok(answer) => {
                    let etag = answer.etag.as_deref();
                    watch.take(claim, Answer { status: &answer.status, etag, body: &answer.body }, now)
                }
                Err(problem) => watch.fail(claim, problem, now),
            };
            conclude(worker, watch, taken);
        }
        self.settled(worker, now)
    }

    /// Once a second. All workers show the same, because they share what they fetch.
    fn show_ages(&self, worker: &Worker, now: u64) {
        if self.shown_at.replace(now / SECOND) == now / SECOND {
            return;
        }
        for watch in watches(worker) {
            let since = watch.in_force.current(watch.index).map_or(self.began_at.get(), |current| current.checked_at);
            self.gauges.set(&fetch_age(Source::Feed(watch.index)), now.saturating_sub(since) / SECOND);
        }
    }
}

fn watches(worker: &Worker) -> impl Iterator<Item = Watch<'_>> {
    let feeds = worker.policy.iter().flat_map(|policy| &policy.revocation.feeds).enumerate();
    feeds.map(|(index, feed)| Watch { index, feed, in_force: &worker.memory.revoked, proxy: &Host })
}

/// Where a feed stands in the configuration.
fn place(worker: &Worker, index: usize) -> String {
    let policy = worker.policy.as_ref().map_or("", Policy::place);
    format!("{policy}revocation.feeds[{index}]")
}

/// Counts what became of a fetch, and tells it.
fn conclude(worker: &Worker, watch: Watch<'_>, taken: Result<Taken, String>) {
    let index = watch.index;
    let place = place(worker, index);
    let outcome = match taken {
        Ok(Taken::Adopted(entries)) => {
            host::info(format_args!("{place}: a list of {entries} entries is in force"));
            Outcome::Adopted
        }
        Ok(Taken::Unchanged) => Outcome::Unchanged,
        Err(problem) => {
            let consequence = match watch.in_force.current(index) {
                Some(_) => "the last good list stays in force",
                None => "there is none yet",
            };
            host::warn(format_args!("{place}: what was fetched cannot be used: {problem}; {consequence}"));
            Outcome::Failed
        }
    };
    worker.count(Counter::Fetched(Source::Feed(index), outcome));
}
