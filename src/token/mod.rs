//! The token: which one, who verified it, what it claims, whom it is bound to.

mod algorithm;
mod authorization;
mod binding;
mod cache;
mod claims;
mod curve;
mod der;
mod header;
mod jws;
mod key;
mod key_set;
mod metadata;
mod presented;
mod provider;
mod pss;
mod signature;

pub use algorithm::{Algorithm, Family};
pub use authorization::{Credentials, credentials, names_scheme};
pub use binding::Confirmation;
pub use cache::TokenCache;
pub use claims::{ClaimRules, Claims};
pub use curve::Curve;
pub use jws::verify;
pub use key::{Key, Material, Unusable};
pub use key_set::{KeySet, LeftOut, MAX_SET_BYTES, SetError};
pub use metadata::Payload;
pub use presented::PresentedToken;
pub use provider::Provider;
pub use pss::is_valid as verify_pss_signature;
pub use signature::{is_valid as verify_signature, is_valid_x509 as verify_x509_signature};

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::decision::{Deny, Reason};
use crate::fetch::Fetch;
use crate::json;
use crate::proxy::{Property, Proxy};

/// `token`
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// Who verifies tokens.
    pub source: TokenSource,
    /// Algorithms that may be verified here.
    pub algorithms: Vec<Algorithm>,
    /// What the claims must say.
    pub claims: ClaimRules,
    /// The issuers, where there are several, each with what speaks for it alone.
    pub providers: Vec<Provider>,
}

/// `token.source`
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// Envoy's `jwt_authn` filter, which leaves the payload in dynamic metadata.
    JwtAuthn {
        /// The metadata namespace.
        namespace: String,
        /// The keys, each the `payload_in_metadata` of a provider there.
        keys: Vec<String>,
    },
    /// This filter, with these key sets: one for each of [`TokenRules::providers`], or one.
    Jwks(Vec<KeySource>),
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The configuration.
    Inline(Rc<KeySet>),
    /// The issuer, through a cluster of Envoy's (`token.jwks_uri`). A request waits for the first set as long as a fetch may
    /// take.
    Fetched(Fetch),
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            source: TokenSource::JwtAuthn {
                namespace: "envoy.filters.http.jwt_authn".to_owned(),
                keys: vec!["payload".to_owned()],
            },
            algorithms: Algorithm::ALL.to_vec(),
            claims: ClaimRules::default(),
            providers: Vec::new(),
        }
    }
}

/// The payload that `jwt_authn` verified, and the index of the key under which it is. `Ok(None)` where there is none.
///
/// `bearer` is the token in the `Authorization` header, which is never believed. Where it is still there, though, it must
/// be the one that was verified: `jwt_authn` also takes tokens from other places, and the upstream must not be handed a
/// token that was not checked against the certificate.
///
/// # Errors
/// 400 `authorization_malformed` where the two differ, or where it verified several tokens; 401 `token_malformed` where
/// either cannot be read.
pub fn verified_payload(
    namespace: &str,
    keys: &[String],
    bearer: Option<&str>,
    proxy: &dyn Proxy,
) -> Result<Option<Payload>, Deny> {
    let metadata = proxy.property(Property::DynamicMetadata)?.unwrap_or_default();
    let payload = metadata::payload(&metadata, namespace, keys).map_err(|problem| {
        let (reason, note) = match problem {
            metadata::Unreadable::Encoding => {
                (Reason::TokenMalformed, "the request's dynamic metadata cannot be read, or is nested too deeply")
            }
            metadata::Unreadable::NotAnObject => (
                Reason::TokenMalformed,
                "the value under token.metadata.key is not an object; it must be the provider's payload_in_metadata",
            ),
            metadata::Unreadable::Several => {
                (Reason::AuthorizationMalformed, "jwt_authn verified several tokens, for several of token.providers")
            }
        };
        Deny::new(reason).with_note(note)
    })?;
    if let (Some(token), Some((_, payload))) = (bearer, &payload) {
        if !is_payload_of(token, payload) {
            return Err(Deny::new(Reason::AuthorizationMalformed)
                .with_note("the token in the Authorization header is not the one that jwt_authn verified"));
        }
        let encoded = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
        let header = encoded.and_then(|header| json::object(&header));
        header::check(&header.ok_or_else(|| {
            Deny::new(Reason::TokenMalformed)
                .with_detail("The token's header is not a JSON object without repeated members.")
        })?)?;
    }
    Ok(payload)
}

/// Does this compact JWS carry that payload?
fn is_payload_of(token: &str, verified: &Map<String, Value>) -> bool {
    let mut parts = token.split('.').skip(1);
    let decoded = parts.next().and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    let payload = decoded.and_then(|json| json::object(&json));
    payload.is_some_and(|payload| {
        payload.len() == verified.len()
            && payload.iter().all(|(name, value)| {
                verified.get(name).is_some_and(|other| same(value, other) || same_words(value, other))
            })
    })
}

/// Equal but for the spelling of numbers, which are doubles in metadata.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => same_number(left.as_f64(), right.as_f64()),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

/// Equal but for the last digits of long decimals, which serde_json reads a little off.
fn same_number(left: Option<f64>, right: Option<f64>) -> bool {
    let same =
        |(left, right): (f64, f64)| (left - right).abs() <= 4.0 * f64::EPSILON * left.abs().max(f64::MIN_POSITIVE);
    left.zip(right).is_some_and(same)
}

/// `jwt_authn` can turn space-delimited claims into lists (`normalize_payload_in_metadata`; Istio does for `scope`).
fn same_words(text: &Value, list: &Value) -> bool {
    match (text, list) {
        (Value::String(text), Value::Array(list)) => {
            text.split(' ').filter(|word| !word.is_empty()).map(Some).eq(list.iter().map(Value::as_str))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_decimal_is_the_same_in_a_token_and_in_metadata() {
        let carried = |text: &str, number: f64| {
            let token = format!("e30.{}.", URL_SAFE_NO_PAD.encode(format!("{{\"at\":{text}}}")));
            is_payload_of(&token, json!({"at": number}).as_object().unwrap())
        };
        let mut read_off = 0;
        for step in 0..1_000 {
            let number = 1_800_000_000.0 + f64::from(step) * 0.001_234_567;
            let text = format!("{number:?}");
            read_off += usize::from(serde_json::from_str::<f64>(&text).unwrap() != number);
            assert!(carried(&text, number), "{text}");
            assert!(!carried(&text, number + 0.000_01), "{text}");
        }
        assert!(read_off > 0, "serde_json reads all of them exactly: a comparison without tolerance would do");
        assert!(carried("1.1157740669889e-309", 1.115_774_066_988_9e-309));
        assert!(carried("0", -0.0) && !carried("0", 1e-300) && !carried("1e300", -1e300));
    }

    #[test]
    fn a_token_is_the_verified_one_where_every_claim_is_equal_but_for_the_spelling_of_numbers_and_words() {
        let same = |sent: Value, verified: Value| {
            let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(sent.to_string()));
            is_payload_of(&token, verified.as_object().unwrap())
        };
        for (sent, verified, expected) in [
            (json!({}), json!({}), true),
            (json!({"a": 1}), json!({"a": 1.0}), true),
            (json!({"a": 1}), json!({"a": 2.0}), false),
            (json!({"a": 1}), json!({"b": 1.0}), false),
            (json!({"a": 1}), json!({"a": 1.0, "b": 1.0}), false),
            (json!({"a": 1, "b": 1}), json!({"a": 1.0}), false),
            (json!({"a": "x"}), json!({"a": "x"}), true),
            (json!({"a": "x"}), json!({"a": "y"}), false),
            (json!({"a": null}), json!({"a": null}), true),
            (json!({"a": true}), json!({"a": false}), false),
            (json!({"a": "1"}), json!({"a": 1.0}), false),
            (json!({"a": [1, [2]]}), json!({"a": [1.0, [2.0]]}), true),
            (json!({"a": [1, 2]}), json!({"a": [1.0]}), false),
            (json!({"a": [1]}), json!({"a": [1.0, 2.0]}), false),
            (json!({"a": [1, 2]}), json!({"a": [2.0, 1.0]}), false),
            (json!({"a": {"b": 1}}), json!({"a": {"b": 1.0}}), true),
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2.0}}), false),
            (json!({"a": {"b": 1}}), json!({"a": {"c": 1.0}}), false),
            (json!({"a": {"b": 1}}), json!({"a": {"b": 1.0, "c": 1.0}}), false),
            (json!({"a": {"b": 1, "c": 1}}), json!({"a": {"b": 1.0}}), false),
            (json!({"a": "x  y"}), json!({"a": ["x", "y"]}), true),
            (json!({"a": ""}), json!({"a": []}), true),
            (json!({"a": "x y"}), json!({"a": ["x"]}), false),
            (json!({"a": "x"}), json!({"a": ["x", "y"]}), false),
            (json!({"a": "x y"}), json!({"a": ["y", "x"]}), false),
            (json!({"a": ["x"]}), json!({"a": "x"}), false),
            (json!({"a": "1"}), json!({"a": [1.0]}), false),
        ] {
            assert_eq!(same(sent.clone(), verified.clone()), expected, "{sent} {verified}");
        }
        let verified = json!({"a": "x"});
        for token in ["", ".", "e30", "e30.", "e30.!.x", "e30.bnVsbA.x", "e30.e30.x"] {
            assert!(!is_payload_of(token, verified.as_object().unwrap()), "{token}");
        }
    }

    /// `jwt_authn` has taken one of the two, and an upstream may take the other.
    #[test]
    fn a_payload_that_repeats_a_member_is_not_the_one_that_was_verified() {
        for payload in [r#"{"a":"x","a":"x"}"#, r#"{"a":"y","a":"x"}"#, r#"{"a":"x","a":"y"}"#] {
            let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(payload));
            assert!(!is_payload_of(&token, json!({"a": "x"}).as_object().unwrap()), "{payload}");
        }
    }
}
