//! What a worker remembers between requests: bounded, and never a verdict on a request.

use std::cell::{OnceCell, RefCell, RefMut};
use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use crate::certificate::Certificate;
use crate::connection::PeerCertificate;
use crate::decision::Deny;
use crate::fingerprint::Numbers;
use crate::identity::Resolved;
use crate::revocation::{Checked, InForce};
use crate::token::{KeySet, KeySource, TokenCache, TokenRules, TokenSource};

/// Certificates of connections remembered in a worker; beyond that the least recently used one is forgotten.
const MAX_CERTIFICATES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2047);
/// Forwarded certificates remembered in a worker, likewise.
const MAX_FORWARDED: usize = 1024;
/// A longer header value is decoded every time. Together they bound what is remembered to 8 MiB and the certificates.
const MAX_FORWARDED_BYTES: usize = 8192;

/// A worker's memory. It belongs to one policy.
pub struct Memory {
    /// By their SHA-256, and by how much of them is known.
    certificates: RefCell<LruCache<PeerCertificate, Rc<Seen>, Numbers>>,
    forwarded: RefCell<LruCache<Box<[u8]>, Rc<SeenForwarded>>>,
    tokens: RefCell<TokenCache>,
    /// One place for each key set of the policy.
    keys: RefCell<Vec<Option<HeldKeys>>>,
    /// The lists of revoked certificates that were fetched.
    pub revoked: InForce,
}

/// Keys in force.
struct HeldKeys {
    set: Rc<KeySet>,
    edition: KeyEdition,
}

/// Which fetched keys are in force. Of those of the configuration it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyEdition {
    /// Differs from that of every other set of the source.
    pub version: u64,
    /// When they were last fetched, or said to be unchanged, by [`Proxy::monotonic`](crate::Proxy::monotonic).
    pub checked_at: u64,
}

/// What a certificate amounts to, for this policy. Neither can change; validity and revocation are looked at each time.
#[derive(Debug)]
pub struct Seen {
    /// The certificate, which Envoy or a trusted proxy verified.
    pub certificate: Rc<Certificate>,
    /// Whose it is.
    pub resolved: Result<Resolved, Deny>,
    /// Whether it was found to be revoked.
    pub checked: Checked,
    /// Whether it is that of a trusted proxy, once that was asked.
    pub is_proxy: OnceCell<bool>,
}

/// What a header value amounts to in which a trusted proxy forwards a certificate. Nothing of the request or connection
/// that it came with: whether that peer is a trusted proxy is another question.
#[derive(Debug)]
pub struct SeenForwarded {
    /// The caller's.
    pub client: Rc<Seen>,
    /// Those of the proxies between the one that wrote it and the direct peer; all of them are trusted proxies.
    pub hops: Vec<Rc<Seen>>,
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
        let key_sets = match source {
            TokenSource::Jwks(sources) => sources.as_slice(),
            TokenSource::JwtAuthn { .. } => &[],
        };
        let inline = key_sets.iter().map(|source| match source {
            KeySource::Inline(set) => Some(HeldKeys { set: Rc::clone(set), edition: KeyEdition::default() }),
            KeySource::Fetched(_) => None,
        });
        Self {
            certificates: RefCell::new(LruCache::with_hasher(MAX_CERTIFICATES, Numbers::default())),
            // It takes no room before it is used.
            forwarded: RefCell::new(LruCache::unbounded()),
            tokens: RefCell::new(TokenCache::new(key_sets.len())),
            keys: RefCell::new(inline.collect()),
            revoked: InForce::default(),
        }
    }

    /// The keys of a set that are in force.
    pub fn keys(&self, key_set: usize) -> Option<Rc<KeySet>> {
        self.keys.borrow().get(key_set)?.as_ref().map(|held| Rc::clone(&held.set))
    }

    /// Which keys of a set are in force.
    pub fn key_edition(&self, key_set: usize) -> Option<KeyEdition> {
        self.keys.borrow().get(key_set)?.as_ref().map(|held| held.edition)
    }

    /// Says which edition the keys in force are, and when they were last checked.
    pub fn date_keys(&self, key_set: usize, edition: KeyEdition) {
        if let Some(Some(held)) = self.keys.borrow_mut().get_mut(key_set) {
            held.edition = edition;
        }
    }

    /// Takes fetched keys that are too old out of force, and forgets the tokens that they verified.
    pub fn drop_keys(&self, key_set: usize) {
        if let Some(keys) = self.keys.borrow_mut().get_mut(key_set) {
            *keys = None;
        }
        self.tokens.borrow_mut().retain(key_set, |_| false);
    }

    /// Puts fetched keys in force. Tokens that were verified with a key that is not among them are forgotten.
    pub fn adopt_keys(&self, key_set: usize, mut set: KeySet) {
        if let Some(keys) = self.keys.borrow_mut().get_mut(key_set) {
            if let Some(older) = keys {
                set.keep(&older.set);
            }
            self.tokens.borrow_mut().retain(key_set, |key| set.holds(key));
            *keys = Some(HeldKeys { set: Rc::new(set), edition: KeyEdition::default() });
        }
    }

    /// Tokens that were verified.
    pub fn tokens(&self) -> RefMut<'_, TokenCache> {
        self.tokens.borrow_mut()
    }

    /// What a certificate of a connection amounts to.
    pub fn certificate(&self, known_as: PeerCertificate) -> Option<Rc<Seen>> {
        self.certificates.borrow_mut().get(&known_as).cloned()
    }

    /// Remembers a certificate that was verified as the policy demands.
    pub fn remember_certificate(&self, known_as: PeerCertificate, seen: Rc<Seen>) {
        self.certificates.borrow_mut().put(known_as, seen);
    }

    /// What exactly this header value was found to hold.
    pub fn forwarded(&self, value: &[u8]) -> Option<Rc<SeenForwarded>> {
        self.forwarded.borrow_mut().get(value).cloned()
    }

    /// Remembers what a header value holds.
    pub fn remember_forwarded(&self, value: &[u8], seen: Rc<SeenForwarded>) {
        if value.len() <= MAX_FORWARDED_BYTES {
            let mut forwarded = self.forwarded.borrow_mut();
            forwarded.put(value.into(), seen);
            if forwarded.len() > MAX_FORWARDED {
                forwarded.pop_lru();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Reason;

    fn seen() -> Rc<SeenForwarded> {
        let client = Seen {
            certificate: Rc::new(Certificate::blank()),
            resolved: Err(Reason::IdentityMissing.into()),
            checked: Checked::default(),
            is_proxy: OnceCell::new(),
        };
        Rc::new(SeenForwarded { client: Rc::new(client), hops: Vec::new() })
    }

    #[test]
    fn a_header_value_is_remembered_if_it_is_not_too_long() {
        let memory = Memory::default();
        for (length, is_remembered) in [(1, true), (8191, true), (8192, true), (8193, false)] {
            let (value, seen) = (vec![b'a'; length], seen());
            assert!(memory.forwarded(&value).is_none());
            memory.remember_forwarded(&value, Rc::clone(&seen));
            let found = memory.forwarded(&value);
            assert_eq!(found.is_some_and(|found| Rc::ptr_eq(&found, &seen)), is_remembered, "{length}");
        }
    }

    #[test]
    fn the_certificate_that_was_not_used_for_longest_is_forgotten() {
        let memory = Memory::default();
        let known_as = |number: u16| {
            let mut digest = [0; 32];
            digest[..2].copy_from_slice(&number.to_be_bytes());
            PeerCertificate::Verified(digest)
        };
        for number in 0..2048 {
            memory.remember_certificate(known_as(number), Rc::clone(&seen().client));
        }
        assert!((0..2048).all(|number| memory.certificate(known_as(number)).is_some()));
        memory.remember_certificate(known_as(2048), Rc::clone(&seen().client));
        assert!(memory.certificate(known_as(0)).is_none());
        assert!((1..=2048).all(|number| memory.certificate(known_as(number)).is_some()));
    }

    #[test]
    fn the_header_value_that_was_not_used_for_longest_is_forgotten() {
        let memory = Memory::default();
        let value = |number: usize| number.to_be_bytes();
        for number in 0..1024 {
            memory.remember_forwarded(&value(number), seen());
        }
        assert!((0..1024).all(|number| memory.forwarded(&value(number)).is_some()));
        memory.remember_forwarded(&value(1024), seen());
        assert!(memory.forwarded(&value(0)).is_none());
        assert!((1..=1024).all(|number| memory.forwarded(&value(number)).is_some()));
    }
}
