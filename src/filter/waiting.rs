//! Requests that wait for something that is being fetched.
//!
//! One rule for all of them: a request has so much time, counted from its first wait, and until that is over it may wait for whatever
//! is on its way, in any order, as often as it must.

use std::cell::RefCell;

use crate::decision::Decision;

/// Requests that may wait in a worker at once.
const MAX_WAITING: usize = 1024;
/// Of these, so many are decided about in one call of the host. Envoy ends each refused one within our call and calls us for its end, so that some 300
/// refusals would use up the stack and trap the VM.
const AT_ONCE: usize = 64;

/// Whose request it is: the SHA-256 of the caller's certificate. All callers without one count as one caller.
pub(super) type Caller = Option<[u8; 32]>;

/// What a request waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Awaited {
    /// The first lists of revoked certificates.
    Lists,
    /// The first keys of a set.
    Keys(usize),
    /// Keys of a set that are newer than the request, or at least another edition than this one.
    Newer {
        /// Its index.
        key_set: usize,
        /// The one that did not do.
        version: u64,
    },
}

/// A paused request. Times are those of [`Proxy::monotonic`](crate::proxy::Proxy::monotonic).
pub(super) struct Paused {
    pub context: u32,
    pub caller: Caller,
    /// When it first began to wait.
    pub since: u64,
    /// When it has waited long enough.
    pub until: u64,
    pub what: Awaited,
    /// What was decided, where that stands if nothing new comes: an attacker's signatures are not verified twice.
    pub refusal: Option<Box<Decision>>,
}

/// Paused requests.
#[derive(Default)]
pub(super) struct Waiting(RefCell<Vec<Paused>>);

impl Waiting {
    /// Lets a request wait, if its caller has fewer waiting requests than there are free places: so there is room left for others,
    /// however many a caller sends.
    pub fn admit(&self, request: Paused) -> bool {
        let mut waiting = self.0.borrow_mut();
        let own = waiting.iter().filter(|paused| paused.caller == request.caller).count();
        let is_admitted = own < MAX_WAITING.saturating_sub(waiting.len());
        if is_admitted {
            waiting.push(request);
        }
        is_admitted
    }

    /// Keeps what was decided about a request that waits for newer keys.
    pub fn keep(&self, context: u32, refusal: Decision) {
        let mut waiting = self.0.borrow_mut();
        let paused = waiting.iter_mut().find(|paused| paused.context == context);
        if let Some(paused) = paused.filter(|paused| matches!(paused.what, Awaited::Newer { .. })) {
            paused.refusal = Some(Box::new(refusal));
        }
    }

    /// A request is gone; a client does not wait for ever.
    pub fn forget(&self, context: u32) {
        self.0.borrow_mut().retain(|paused| paused.context != context);
    }

    /// Takes the requests out that need not wait any longer, at most [`AT_ONCE`] of them; the others are for the next tick.
    pub fn take(&self, done: impl Fn(&Paused) -> bool) -> Vec<Paused> {
        let mut left = AT_ONCE;
        let (taken, stay) = self.0.take().into_iter().partition(|paused| {
            let is_taken = left > 0 && done(paused);
            left -= usize::from(is_taken);
            is_taken
        });
        self.0.replace(stay);
        taken
    }

    /// Takes all of them out, where there is no next tick.
    pub fn drain(&self) -> Vec<Paused> {
        self.0.take()
    }
}
