//! Lists that are fetched: what the configuration says about each, and which of them a worker has.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::crl::Issuer;
use super::list::List;
use crate::fetch::Fetch;
use crate::proxy::SECOND;

/// `revocation.feeds[index]`
#[derive(Debug)]
pub struct Feed {
    /// What it holds.
    pub kind: FeedKind,
    /// Where it comes from.
    pub fetch: Fetch,
    /// What happens while there is no good list.
    pub on_stale: OnStale,
}

/// `type`
#[derive(Debug)]
pub enum FeedKind {
    /// `json`: an object with the lists of the configuration.
    Json,
    /// `crl`: an X.509 list of this issuer.
    Crl(Box<Issuer>),
}

/// `on_stale`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStale {
    /// Certificates are refused.
    #[default]
    Deny,
    /// Certificates count as good unless the last list says otherwise. Only at the start they wait for the first one.
    Allow,
}

/// The lists that a worker has.
#[derive(Debug, Default)]
pub struct InForce {
    feeds: RefCell<Vec<Option<Current>>>,
    generation: Cell<u64>,
    time: Cell<u64>,
    /// When this worker began, where that was said.
    began_at: Cell<Option<u64>>,
}

/// The last good list of a feed.
#[derive(Debug, Clone)]
pub struct Current {
    /// Differs from that of every other list of the feed.
    pub version: u64,
    /// What is revoked.
    pub list: Rc<List>,
    /// When it was last fetched, or said to be unchanged, by [`Proxy::monotonic`](crate::Proxy::monotonic).
    pub checked_at: u64,
    /// From this second since 1970 on it is too old by its own word.
    pub next_update: i64,
}

impl InForce {
    /// Changes whenever a list does.
    pub const fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// The last good list of a feed, however old it is.
    pub fn current(&self, feed: usize) -> Option<Current> {
        self.feeds.borrow().get(feed).cloned().flatten()
    }

    /// Puts a list in force, or takes note of when the one in force was last checked.
    pub fn put(&self, feed: usize, current: Current) {
        let mut feeds = self.feeds.borrow_mut();
        if feeds.len() <= feed {
            feeds.resize(feed + 1, None);
        }
        if let Some(place) = feeds.get_mut(feed) {
            let changed = place.as_ref().is_none_or(|before| before.version != current.version);
            *place = Some(current);
            if changed {
                self.generation.set(self.generation.get().wrapping_add(1));
            }
        }
    }

    /// Says when this worker began, by [`Proxy::monotonic`](crate::Proxy::monotonic).
    pub fn begin(&self, now: u64) {
        self.began_at.set(Some(now));
    }

    /// Has nothing come of this feed yet, and is the first answer still to be expected?
    fn is_starting(&self, index: usize, feed: &Feed) -> bool {
        let is_early = |began: u64| self.time.get() < began.saturating_add(feed.fetch.patience());
        self.began_at.get().is_some_and(is_early) && self.current(index).is_none()
    }

    /// Is there no list of this feed yet, and do certificates wait for the first?
    pub fn is_awaited(&self, index: usize, feed: &Feed) -> bool {
        match feed.on_stale {
            OnStale::Deny => self.current(index).is_none(),
            OnStale::Allow => self.is_starting(index, feed),
        }
    }

    /// Says how late it is by [`Proxy::monotonic`](crate::Proxy::monotonic), many times a second: to ask on every request how
    /// old a list is would cost a call. [`u64::MAX`]: that cannot be told, and every list is too old.
    pub fn set_time(&self, now: u64) {
        self.time.set(now);
    }

    /// Is there no list of this feed that could say that a certificate is good (`now` in seconds since 1970), although the policy
    /// asks for one?
    pub fn misses(&self, index: usize, feed: &Feed, now: i64) -> bool {
        let max_stale = u64::try_from(feed.fetch.max_stale).unwrap_or_default().saturating_mul(SECOND);
        let is_fresh = |current: &Current| {
            self.time.get().saturating_sub(current.checked_at) < max_stale && now < current.next_update
        };
        match feed.on_stale {
            OnStale::Deny => !self.feeds.borrow().get(index).and_then(Option::as_ref).is_some_and(is_fresh),
            OnStale::Allow => self.is_starting(index, feed),
        }
    }

    /// Why the list of a feed is missed, for the operator.
    pub fn problem(&self, index: usize, feed: &Feed, now: i64) -> String {
        let feeds = self.feeds.borrow();
        let Some(current) = feeds.get(index).and_then(Option::as_ref) else {
            return format!("(cluster {:?}) has not come since the start", feed.fetch.cluster);
        };
        if now >= current.next_update {
            let ago = now.saturating_sub(current.next_update);
            return format!("holds a list whose nextUpdate was {ago} s ago");
        }
        if self.time.get() == u64::MAX {
            return "has a list whose age is not known, because the clock cannot be read".to_owned();
        }
        let age = self.time.get().saturating_sub(current.checked_at) / SECOND;
        format!("was last fetched {age} s ago, expected at most {} s (max_stale_seconds)", feed.fetch.max_stale)
    }
}
