//! The token of one request, of which as much is read as the decision asks for.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::{Claims, Credentials, TokenRules, TokenSource, authorization, jws, verified_payload};
use crate::decision::{Deny, Reason};
use crate::memory::Memory;
use crate::proxy::Proxy;

/// A token that came with a request, or its absence.
pub struct PresentedToken<'a> {
    rules: &'a TokenRules,
    memory: &'a Memory,
    proxy: &'a dyn Proxy,
    /// Seconds since 1970.
    now: i64,
    /// As it came, unless it is known.
    bearer: Option<&'a str>,
    /// What it claims, where exactly this text was verified here before.
    known: Option<Rc<Claims>>,
    /// What `jwt_authn` verified, once that was looked up.
    payload: Option<Option<Map<String, Value>>>,
    claims: Option<Rc<Claims>>,
}

impl<'a> PresentedToken<'a> {
    /// Takes up the credentials of the `Authorization` header.
    ///
    /// # Errors
    /// 400 `authorization_malformed` where they are not exactly the token that `jwt_authn` verified, or no token although they
    /// are said to be one.
    pub fn new(
        rules: &'a TokenRules,
        memory: &'a Memory,
        proxy: &'a dyn Proxy,
        now: i64,
        credentials: Credentials<'a>,
    ) -> Result<Self, Deny> {
        let known = match (&rules.source, credentials) {
            (TokenSource::Jwks(_), Credentials::Bearer(text)) => memory.tokens().claims(text),
            _ => None,
        };
        // What equals a token that was verified is spelled as a token.
        let bearer = match credentials {
            Credentials::Bearer(text) if known.is_none() => Some(authorization::token(text)?),
            _ => None,
        };
        let payload = match (&rules.source, credentials) {
            (TokenSource::Jwks(_), _) | (_, Credentials::Absent) => None,
            (TokenSource::JwtAuthn { namespace, key }, credentials) => {
                let payload = verified_payload(namespace, key, bearer, proxy)?;
                if payload.is_some() && credentials == Credentials::Other {
                    return Err(Deny::new(Reason::AuthorizationMalformed).with_note(
                        "jwt_authn verified a token, but the Authorization header is not exactly that bearer token",
                    ));
                }
                Some(payload)
            }
        };
        Ok(Self { rules, memory, proxy, now, bearer, known, payload, claims: None })
    }

    /// Its claims, verified and good now.
    ///
    /// # Errors
    /// 401, or 503 `keys_unavailable`.
    pub fn claims(&mut self) -> Result<Rc<Claims>, Deny> {
        if let Some(claims) = &self.claims {
            return Ok(Rc::clone(claims));
        }
        let claims = match &self.rules.source {
            TokenSource::JwtAuthn { namespace, key } => self.left_by_jwt_authn(namespace, key)?,
            TokenSource::Jwks(_) => self.verified_here()?,
        };
        claims.check(&self.rules.claims, self.now)?;
        Ok(Rc::clone(self.claims.insert(claims)))
    }

    fn left_by_jwt_authn(&mut self, namespace: &str, key: &str) -> Result<Rc<Claims>, Deny> {
        let payload = match self.payload.take() {
            Some(payload) => payload,
            None => verified_payload(namespace, key, None, self.proxy)?,
        };
        let payload = payload.ok_or_else(|| match self.bearer {
            None => Deny::from(Reason::TokenMissing),
            Some(_) => Deny::new(Reason::TokenMissing).with_note(
                "there is a bearer token, but jwt_authn left no payload: it refused the token, or its provider's \
                 payload_in_metadata is not token.metadata.key",
            ),
        })?;
        Claims::read(&payload, &self.rules.claims).map(Rc::new)
    }

    fn verified_here(&self) -> Result<Rc<Claims>, Deny> {
        if self.bearer.is_none() && self.known.is_none() {
            return Err(Reason::TokenMissing.into());
        }
        let keys = self.memory.keys().ok_or(Reason::KeysUnavailable)?;
        if let Some(claims) = &self.known {
            return Ok(Rc::clone(claims));
        }
        let token = self.bearer.ok_or(Reason::TokenMissing)?;
        let (payload, key) = jws::verified(token, &keys, &self.rules.algorithms, self.proxy)?;
        let claims = Rc::new(Claims::read(&payload, &self.rules.claims)?);
        self.memory.tokens().insert(token, Rc::clone(&claims), key);
        Ok(claims)
    }
}
