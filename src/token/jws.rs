//! A compact JWS (RFC 7515) from a caller: decoded strictly, verified with one of our keys and with nothing else.
//!
//! `jwk`, `jku`, `x5c` and `x5u` in a token's header are never looked at.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::key::{Key, KeySet};
use super::{header, signature};
use crate::decision::{Deny, Reason};
use crate::json;
use crate::proxy::Proxy;

/// Verifies a token and returns its payload.
///
/// # Errors
/// 401: `token_malformed`, `token_algorithm_not_allowed`, `token_key_unknown`, `token_signature_invalid`.
pub fn verify(
    token: &str,
    keys: &KeySet,
    algorithms: &[Algorithm],
    proxy: &dyn Proxy,
) -> Result<Map<String, Value>, Deny> {
    verified(token, keys, algorithms, proxy).map(|(payload, _)| payload)
}

/// The same, with the key that verified it.
pub(super) fn verified(
    token: &str,
    keys: &KeySet,
    algorithms: &[Algorithm],
    proxy: &dyn Proxy,
) -> Result<(Map<String, Value>, Rc<Key>), Deny> {
    let (signed, encoded_signature) = token.rsplit_once('.').ok_or_else(shape)?;
    let (encoded_header, encoded_payload) = signed.split_once('.').ok_or_else(shape)?;
    if encoded_payload.contains('.') {
        return Err(shape());
    }
    let decode =
        |encoded: &str| URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed("A part of the token is not base64url."));
    let members = json::object(&decode(encoded_header)?)
        .ok_or_else(|| malformed("The token's header is not a JSON object without repeated members."))?;
    header::check(&members)?;
    let algorithm = match members.get("alg") {
        Some(Value::String(name)) => Algorithm::from_name(name).filter(|known| algorithms.contains(known)),
        _ => return Err(malformed("The token's header names no algorithm (alg).")),
    };
    let algorithm = algorithm.ok_or(Reason::TokenAlgorithmNotAllowed)?;
    let id = match members.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.as_str()),
        Some(_) => return Err(malformed("The token's kid is not a text.")),
    };
    let key = choose(keys, id, algorithm)?;
    let signature = decode(encoded_signature)?;
    if !signature::is_valid(proxy, algorithm, &key.material, signed.as_bytes(), &signature) {
        return Err(Reason::TokenSignatureInvalid.into());
    }
    let payload = json::object(&decode(encoded_payload)?)
        .ok_or_else(|| malformed("The token's payload is not a JSON object without repeated members."))?;
    Ok((payload, Rc::clone(key)))
}

/// Exactly one key, or none: trying several would let a caller choose how much work a token is.
fn choose<'a>(keys: &'a KeySet, id: Option<&'a str>, algorithm: Algorithm) -> Result<&'a Rc<Key>, Deny> {
    let mut serving = keys.shared(id).filter(|key| key.serves(algorithm));
    match (serving.next(), serving.next(), id) {
        (Some(key), None, _) => Ok(key),
        (None, _, Some(_)) if keys.named(id).next().is_some() => Err(Deny::new(Reason::TokenAlgorithmNotAllowed)
            .with_note("the key that the token names is not one for the token's algorithm")),
        (None, _, _) => Err(Reason::TokenKeyUnknown.into()),
        (Some(_), Some(_), _) => Err(Deny::new(Reason::TokenKeyUnknown)
            .with_note("the token names no key (kid), and several keys of the set would serve")),
    }
}

fn shape() -> Deny {
    malformed("The token is not a JWS of three parts.")
}

fn malformed(detail: &'static str) -> Deny {
    Deny::new(Reason::TokenMalformed).with_detail(detail)
}
