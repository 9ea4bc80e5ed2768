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

/// Tokens remembered in a worker; beyond that the least recently used one is forgotten.
const MAX_TOKENS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// A longer token is verified every time. Together they bound the cache to 16 MiB and the claims.
const MAX_TOKEN_BYTES: usize = 4096;

/// Verified tokens.
pub struct TokenCache(LruCache<u64, Remembered, Numbers>);

struct Remembered {
    token: Box<str>,
    claims: Rc<Claims>,
    /// The key that verified it.
    key: Rc<Key>,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self(LruCache::with_hasher(MAX_TOKENS, Numbers::default()))
    }
}

impl TokenCache {
    /// The claims of exactly this token.
    pub fn claims(&mut self, token: &[u8]) -> Option<Rc<Claims>> {
        let found = self.0.get(&tail(token)?)?;
        same(found.token.as_bytes(), token).then(|| Rc::clone(&found.claims))
    }

    /// Remembers a token whose signature was found valid.
    pub fn insert(&mut self, token: &str, claims: Rc<Claims>, key: Rc<Key>) {
        if let Some(tail) = tail(token.as_bytes()).filter(|_| token.len() <= MAX_TOKEN_BYTES) {
            self.0.put(tail, Remembered { token: token.into(), claims, key });
        }
    }

    /// Forgets the tokens of all other keys.
    pub fn retain(&mut self, is_in_force: impl Fn(&Rc<Key>) -> bool) {
        self.0.retain(|_, remembered| is_in_force(&remembered.key));
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
        let mut cache = TokenCache::default();
        let (goes, stays) = (key(), key());
        cache.insert("a.b.0123456789abcdef", claims("a"), Rc::clone(&goes));
        cache.insert("z.z.fedcba9876543210", claims("z"), Rc::clone(&stays));
        cache.retain(|key| Rc::ptr_eq(key, &stays));
        assert!(cache.claims(b"a.b.0123456789abcdef").is_none());
        assert!(cache.claims(b"z.z.fedcba9876543210").is_some());
    }

    #[test]
    fn a_token_is_known_by_all_of_its_text() {
        let mut cache = TokenCache::default();
        cache.insert("a.b.0123456789abcdef", claims("a"), key());
        assert!(cache.claims(b"a.b.0123456789abcdef").is_some());
        for other in
            ["A.b.0123456789abcdef", "x.a.b.0123456789abcdef", "a.b.0123456789abcdeF", "0123456789abcdef", "short", ""]
        {
            assert!(cache.claims(other.as_bytes()).is_none(), "{other}");
        }
        cache.insert("z.z.0123456789abcdef", claims("z"), key());
        assert!(cache.claims(b"a.b.0123456789abcdef").is_none(), "tokens that end alike replace each other");
    }

    #[test]
    fn the_least_recently_used_is_forgotten_and_long_ones_are_not_remembered() {
        let mut cache = TokenCache::default();
        for number in 0..=MAX_TOKENS.get() {
            cache.insert(&format!("{number:016}"), claims("a"), key());
            assert!(cache.claims(b"0000000000000000").is_some() || number == 0);
        }
        assert!(cache.claims(b"0000000000000001").is_none());
        assert!(cache.claims(b"0000000000000002").is_some());
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        cache.insert(&long, claims("a"), key());
        assert!(cache.claims(long.as_bytes()).is_none());
    }
}
