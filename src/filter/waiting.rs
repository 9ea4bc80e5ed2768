//! Requests that wait for something that is being fetched.

use std::cell::RefCell;

/// Requests that may wait for one thing in a worker at once; more are refused.
pub(super) const MAX_WAITING: usize = 1024;
/// A request without a certificate does not wait where so many wait already, so that callers whom nobody knows leave room for
/// those who are known.
pub(super) const MAX_BEFORE_ANONYMOUS: usize = 512;

/// Paused requests, with what is known of each.
#[derive(Default)]
pub(super) struct Waiting<T>(RefCell<Vec<Paused<T>>>);

/// A paused request.
pub(super) struct Paused<T> {
    context: u32,
    /// Of [`Proxy::monotonic`](crate::proxy::Proxy::monotonic).
    pub until: u64,
    pub what: T,
}

impl<T> Waiting<T> {
    /// Lets a request wait, where fewer than `most` do.
    pub fn admit(&self, context: u32, until: u64, what: T, most: usize) -> bool {
        let mut waiting = self.0.borrow_mut();
        let has_room = waiting.len() < most;
        if has_room {
            waiting.push(Paused { context, until, what });
        }
        has_room
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
