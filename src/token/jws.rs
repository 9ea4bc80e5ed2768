//! A compact JWS (RFC 7515) from a caller: decoded strictly, verified with one of our keys and with nothing else.
//!
//! `jwk`, `jku`, `x5c` and `x5u` in a token's header are never looked at.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::key::Key;
use super::key_set::KeySet;
use super::{header, signature};
use crate::decision::{Deny, Reason};
use crate::json;
use crate::line::{Excerpt, listed_texts};
use crate::proxy::Proxy;

/// So many keys are tried for one token at most. A caller chooses whether its token names a key, and so how many could be.
const MAX_TRIED: usize = 8;

/// Verifies a token and returns its payload.
///
/// # Errors
/// 401: `token_malformed`, `token_algorithm_not_allowed`, `token_key_unknown`, `token_signature_invalid`. 500 `internal_error`
/// where the proxy had to verify the signature and did not answer.
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
        let Some(Value::String(name)) = members.get("alg") else {
            return Err(malformed("The token's header names no algorithm (alg)."));
        };
        let known = Algorithm::from_name(name).filter(|known| algorithms.contains(known));
        let algorithm = known.ok_or_else(|| {
            let allowed = listed_texts(&mut algorithms.iter().map(|algorithm| algorithm.name()));
            Deny::new(Reason::TokenAlgorithmNotAllowed).with_note(format!(
                "the token's alg is {}, expected one of token.algorithms: {allowed}",
                Excerpt(name.as_bytes())
            ))
        })?;
        let key_id = match members.remove("kid") {
            None => None,
            // An empty one names nothing.
            Some(Value::String(id)) => Some(id).filter(|id| !id.is_empty()),
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
        let id = self.key_id.as_deref();
        let signature = decode(self.signature)?;
        let mut tried = 0_usize;
        for key in keys.candidates(id, self.algorithm).take(MAX_TRIED) {
            match signature::is_valid(proxy, self.algorithm, &key.material, self.signed.as_bytes(), &signature) {
                Some(true) => return Ok(key),
                Some(false) => tried = tried.saturating_add(1),
                None => {
                    return Err(Deny::new(Reason::InternalError).with_note(
                        "only Envoy's foreign function verify_signature verifies RSASSA-PKCS1-v1_5 and ECDSA, and it did not answer",
                    ));
                }
            }
        }
        Err(self.not_verified(keys, tried))
    }

    /// Why none of these keys did, of which so many were tried.
    fn not_verified(&self, keys: &KeySet, tried: usize) -> Deny {
        let id = self.key_id.as_deref();
        let algorithm = self.algorithm.name();
        let of = match id {
            None => "the token has no kid".to_owned(),
            Some(id) => format!("the token's kid is {}", Excerpt(id.as_bytes())),
        };
        let is_named = id.is_none() || keys.named(id).next().is_some();
        let (reason, why) = match (is_named, tried) {
            (true, 0) if id.is_some() => (
                Reason::TokenAlgorithmNotAllowed,
                format!("and no key of that kid is one for its alg {algorithm}: compare kty, crv and alg of the key"),
            ),
            (false, _) | (true, 0) => {
                let mut ids = keys.named(None).map(|key| key.id.as_deref().unwrap_or("(without kid)"));
                let ids = listed_texts(&mut ids);
                (
                    Reason::TokenKeyUnknown,
                    format!("its alg {algorithm}, and no such key is in the set, which has: {ids}"),
                )
            }
            (true, _) => {
                let could = keys.candidates(id, self.algorithm).count();
                (
                    Reason::TokenSignatureInvalid,
                    format!("its alg {algorithm}; {tried} of {could} keys that serve it were tried"),
                )
            }
        };
        Deny::new(reason).with_note(format!("{of}, {why}"))
    }
}

fn decode(encoded: &str) -> Result<Vec<u8>, Deny> {
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed("A part of the token is not base64url."))
}

fn shape() -> Deny {
    malformed("The token is not a JWS of three parts.")
}

fn malformed(detail: &'static str) -> Deny {
    Deny::new(Reason::TokenMalformed).with_detail(detail)
}
