//! What a worker remembers between requests: bounded, and never a verdict on a request.

use std::cell::{RefCell, RefMut};
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use crate::certificate::Certificate;
use crate::decision::Deny;
use crate::identity::Resolved;
use crate::token::{KeySet, KeySource, TokenCache, TokenRules, TokenSource};

/// Connections remembered in a worker; beyond that the least recently used one is forgotten.
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2047);

/// A worker's memory. It belongs to one policy.
pub struct Memory {
    connections: RefCell<LruCache<u64, Option<Rc<Seen>>>>,
    tokens: RefCell<TokenCache>,
    keys: RefCell<Option<Keys>>,
}

/// What a connection's certificate amounts to. Neither can change while the connection lasts; validity is checked each
/// time all the same.
#[derive(Debug)]
pub struct Seen {
    /// The certificate, which Envoy verified.
    pub certificate: Rc<Certificate>,
    /// Whose it is.
    pub resolved: Result<Resolved, Deny>,
}

struct Keys {
    set: Rc<KeySet>,
    /// Not to be used any more from this second on; `None`: for ever.
    stale_at: Option<i64>,
}

impl Default for Memory {
    /// Of a policy that has no keys of its own.
    fn default() -> Self {
        Self::new(&TokenRules::default().source)
    }
}

impl Memory {
    /// An empty memory, but for keys that stand in the configuration.
    pub fn new(source: &TokenSource) -> Self {
        let inline = match source {
            TokenSource::Jwks(KeySource::Inline(set)) => Some(Keys { set: Rc::clone(set), stale_at: None }),
            TokenSource::Jwks(KeySource::Fetched(_)) | TokenSource::JwtAuthn { .. } => None,
        };
        Self {
            connections: RefCell::new(LruCache::new(MAX_CONNECTIONS)),
            tokens: RefCell::default(),
            keys: RefCell::new(inline),
        }
    }

    /// The keys in force (`now` in seconds since 1970).
    pub fn keys(&self, now: i64) -> Option<Rc<KeySet>> {
        let keys = self.keys.borrow();
        let fresh = keys.as_ref().filter(|keys| keys.stale_at.is_none_or(|stale_at| now < stale_at));
        fresh.map(|keys| Rc::clone(&keys.set))
    }

    /// Puts fetched keys in force. Tokens that older keys verified are forgotten.
    pub fn adopt_keys(&self, set: KeySet, stale_at: i64) {
        *self.keys.borrow_mut() = Some(Keys { set: Rc::new(set), stale_at: Some(stale_at) });
        self.tokens.borrow_mut().clear();
    }

    /// Tokens that were verified.
    pub fn tokens(&self) -> RefMut<'_, TokenCache> {
        self.tokens.borrow_mut()
    }

    /// What is known of a connection: `Some(None)` is one without a certificate.
    pub fn connection(&self, id: u64) -> Option<Option<Rc<Seen>>> {
        self.connections.borrow_mut().get(&id).cloned()
    }

    /// Remembers a connection.
    pub fn remember_connection(&self, id: u64, seen: Option<Rc<Seen>>) {
        self.connections.borrow_mut().put(id, seen);
    }
}
