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
    let jws = Jws::parse(token, algorithms)?;
    jws.verify(keys, proxy)?;
    jws.payload()
}

/// A token whose header is as it must be. Nothing about it is believed before [`Jws::verify`].
pub(super) struct Jws<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl<'a> Jws<'a> {
    /// Reads the header.
    pub fn parse(token: &'a str, algorithms: &[Algorithm]) -> Result<Self, Deny> {
        let (signed, signature) = token.rsplit_once('.').ok_or_else(shape)?;
        let (header, payload) = signed.split_once('.').ok_or_else(shape)?;
        if payload.contains('.') {
            return Err(shape());
        }
        let mut members = json::object(&decode(header)?)
            .ok_or_else(|| malformed("The token's header is not a JSON object without repeated members."))?;
        header::check(&members)?;
        let algorithm = match members.get("alg") {
            Some(Value::String(name)) => Algorithm::from_name(name).filter(|known| algorithms.contains(known)),
            _ => return Err(malformed("The token's header names no algorithm (alg).")),
        };
        let algorithm = algorithm.ok_or(Reason::TokenAlgorithmNotAllowed)?;
        let key_id = match members.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(malformed("The token's kid is not a text.")),
        };
        Ok(Self { signed, payload, signature, algorithm, key_id })
    }

    /// The members of the payload.
    pub fn payload(&self) -> Result<Map<String, Value>, Deny> {
        json::object(&decode(self.payload)?)
            .ok_or_else(|| malformed("The token's payload is not a JSON object without repeated members."))
    }

    /// Verifies the signature. Returns the key that did it.
    pub fn verify<'k>(&'k self, keys: &'k KeySet, proxy: &dyn Proxy) -> Result<&'k Rc<Key>, Deny> {
        let key = choose(keys, self.key_id.as_deref(), self.algorithm)?;
        let signature = decode(self.signature)?;
        if !signature::is_valid(proxy, self.algorithm, &key.material, self.signed.as_bytes(), &signature) {
            return Err(Reason::TokenSignatureInvalid.into());
        }
        Ok(key)
    }
}

fn decode(encoded: &str) -> Result<Vec<u8>, Deny> {
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed("A part of the token is not base64url."))
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
