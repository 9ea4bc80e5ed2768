//! Tokens that were verified, so that a token costs its signature once.
//!
//! What is remembered is that one exact text was signed by one of the keys in force, by which, and its claims. It is no
//! verdict on a request: times are compared with the clock and the binding with the certificate every time, so a remembered
//! token is worth nothing with another certificate or after its end. When a key is in force no longer, its tokens are
//! forgotten; those of the keys that stay are not.
//!
//! A token is found by a fast hash of the last 16 characters of its signature and then compared whole, so nothing long is
//! hashed. Two tokens whose ends hash alike cost each other their place, never more; and only tokens with a valid signature
//! are remembered, so making such pairs on purpose takes the issuer's key.

use std::num::NonZeroUsize;
use std::rc::Rc;

use lru::LruCache;

use super::{Claims, Key};
use crate::fingerprint::{Numbers, fingerprint};

/// Tokens remembered in a worker. Each key set has an equal share, so that no issuer's tokens make another's forgotten; beyond
/// its share the least recently used one is forgotten.
const MAX_TOKENS: usize = 4096;
/// A longer token is verified every time. Together they bound the cache to 16 MiB and the claims.
const MAX_TOKEN_BYTES: usize = 4096;

/// Verified tokens, by the key set that verified them.
pub struct TokenCache(Vec<LruCache<u64, Remembered, Numbers>>);

struct Remembered {
    token: Box<str>,
    claims: Rc<Claims>,
    /// The key that verified it.
    key: Rc<Key>,
}

impl TokenCache {
    /// For tokens of so many key sets.
    pub fn new(key_sets: usize) -> Self {
        let share = NonZeroUsize::new(MAX_TOKENS / key_sets.max(1)).unwrap_or(NonZeroUsize::MIN);
        Self((0..key_sets).map(|_| LruCache::with_hasher(share, Numbers::default())).collect())
    }

    /// The claims of exactly this token, and the index of the key set that verified it.
    pub fn claims(&mut self, token: &[u8]) -> Option<(usize, Rc<Claims>)> {
        let tail = tail(token)?;
        self.0.iter_mut().enumerate().find_map(|(key_set, known)| {
            let found = known.get(&tail)?;
            same(found.token.as_bytes(), token).then(|| (key_set, Rc::clone(&found.claims)))
        })
    }

    /// Remembers a token whose signature was found valid with a key of that set.
    pub fn insert(&mut self, key_set: usize, token: &str, claims: Rc<Claims>, key: Rc<Key>) {
        let tail = tail(token.as_bytes()).filter(|_| token.len() <= MAX_TOKEN_BYTES);
        if let (Some(tail), Some(known)) = (tail, self.0.get_mut(key_set)) {
            known.put(tail, Remembered { token: token.into(), claims, key });
        }
    }

    /// Forgets the tokens that other keys of that set verified.
    pub fn retain(&mut self, key_set: usize, is_in_force: impl Fn(&Rc<Key>) -> bool) {
        if let Some(known) = self.0.get_mut(key_set) {
            known.retain(|_, remembered| is_in_force(&remembered.key));
        }
    }
}

/// Eight bytes at a time; the comparison of slices goes byte by byte on wasm32.
fn same(left: &[u8], right: &[u8]) -> bool {
    let (left_words, left_rest) = left.as_chunks::<8>();
    let (right_words, right_rest) = right.as_chunks::<8>();
    let same_word = |(left, right): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*left) == u64::from_ne_bytes(*right);
    left.len() == right.len() && left_words.iter().zip(right_words).all(same_word) && left_rest == right_rest
}

/// The last characters, as a number.
fn tail(token: &[u8]) -> Option<u64> {
    token.last_chunk::<16>().map(|tail| fingerprint(tail))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::ClaimRules;

    fn claims(client: &str) -> Rc<Claims> {
        let payload = json!({"exp": 1, "client_id": client});
        let rules = ClaimRules { client_id_claims: vec!["client_id".to_owned()], ..ClaimRules::default() };
        Rc::new(Claims::read(payload.as_object().unwrap(), &rules).unwrap())
    }

    /// RFC 8037 appendix A.2.
    fn key() -> Rc<Key> {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        Rc::new(Key::from_jwk(jwk.as_object().unwrap()).unwrap())
    }

    #[test]
    fn with_a_key_its_tokens_go_and_no_others() {
        let mut cache = TokenCache::new(1);
        let (goes, stays) = (key(), key());
        cache.insert(0, "a.b.0123456789abcdef", claims("a"), Rc::clone(&goes));
        cache.insert(0, "z.z.fedcba9876543210", claims("z"), Rc::clone(&stays));
        cache.retain(0, |key| Rc::ptr_eq(key, &stays));
        assert!(cache.claims(b"a.b.0123456789abcdef").is_none());
        assert!(cache.claims(b"z.z.fedcba9876543210").is_some());
    }

    #[test]
    fn no_key_set_makes_the_tokens_of_another_forgotten() {
        let mut cache = TokenCache::new(16);
        cache.insert(3, "a.b.0123456789abcdef", claims("a"), key());
        for number in 0..=MAX_TOKENS {
            cache.insert(4, &format!("{number:016}"), claims("z"), key());
        }
        // One that ends alike takes no place of another set's, either.
        cache.insert(4, "z.z.0123456789abcdef", claims("z"), key());
        cache.retain(4, |_| false);
        assert_eq!(cache.claims(b"a.b.0123456789abcdef").map(|(key_set, _)| key_set), Some(3));
        assert!(cache.claims(b"z.z.0123456789abcdef").is_none());
        cache.insert(16, "z.z.0123456789abcdef", claims("z"), key());
        assert!(cache.claims(b"z.z.0123456789abcdef").is_none(), "there is no such key set");
    }

    #[test]
    fn a_token_is_known_by_all_of_its_text() {
        let mut cache = TokenCache::new(1);
        cache.insert(0, "a.b.0123456789abcdef", claims("a"), key());
        assert!(cache.claims(b"a.b.0123456789abcdef").is_some());
        for other in
            ["A.b.0123456789abcdef", "x.a.b.0123456789abcdef", "a.b.0123456789abcdeF", "0123456789abcdef", "short", ""]
        {
            assert!(cache.claims(other.as_bytes()).is_none(), "{other}");
        }
        cache.insert(0, "z.z.0123456789abcdef", claims("z"), key());
        assert!(cache.claims(b"a.b.0123456789abcdef").is_none(), "tokens that end alike replace each other");
    }

    #[test]
    fn the_least_recently_used_is_forgotten_and_long_ones_are_not_remembered() {
        let mut cache = TokenCache::new(1);
        for number in 0..=MAX_TOKENS {
            cache.insert(0, &format!("{number:016}"), claims("a"), key());
            assert!(cache.claims(b"0000000000000000").is_some() || number == 0);
        }
        assert!(cache.claims(b"0000000000000001").is_none());
        assert!(cache.claims(b"0000000000000002").is_some());
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        cache.insert(0, &long, claims("a"), key());
        assert!(cache.claims(long.as_bytes()).is_none());
    }
}
