//! Requests that wait for something that is being fetched.

use std::cell::RefCell;

/// Requests that may wait for one thing in a worker at once.
const MAX_WAITING: usize = 1024;

/// Whose request it is: the SHA-256 of the caller's certificate. All callers without one count as one caller.
pub(super) type Caller = Option<[u8; 32]>;

/// Paused requests, with what is known of each.
#[derive(Default)]
pub(super) struct Waiting<T>(RefCell<Vec<Paused<T>>>);

/// A paused request.
pub(super) struct Paused<T> {
    context: u32,
    caller: Caller,
    /// Of [`Proxy::monotonic`](crate::proxy::Proxy::monotonic).
    pub until: u64,
    pub what: T,
}

impl<T> Waiting<T> {
    /// Lets a request wait, if its caller has fewer waiting requests than there are free places: so there is room left for others,
    /// however many a caller sends.
    pub fn admit(&self, context: u32, caller: Caller, until: u64, what: T) -> bool {
        let mut waiting = self.0.borrow_mut();
        let own = waiting.iter().filter(|paused| paused.caller == caller).count();
        let is_admitted = own < MAX_WAITING.saturating_sub(waiting.len());
        if is_admitted {
            waiting.push(Paused { context, caller, until, what });
        }
        is_admitted
    }

    /// A request is gone; a client does not wait for ever.
    pub fn forget(&self, context: u32) {
        self.0.borrow_mut().retain(|paused| paused.context != context);
    }

    /// Takes the requests out that need not wait any longer.
    pub fn take(&self, done: impl Fn(&Paused<T>) -> bool) -> Vec<u32> {
        let mut waiting = self.0.borrow_mut();
        let taken = waiting.iter().filter(|paused| done(paused)).map(|paused| paused.context).collect();
        waiting.retain(|paused| !done(paused));
        taken
    }
}
