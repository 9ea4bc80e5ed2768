//! The token of one request, of which as much is read as the decision asks for.

use std::rc::Rc;

use serde_json::Value;

use super::claims::of_another_issuer;
use super::jws::Jws;
use super::{Claims, Credentials, KeySet, Payload, TokenRules, TokenSource, authorization, verified_payload};
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
    /// What it claims, where exactly this text was verified here before, and the key set that did it.
    known: Option<(usize, Rc<Claims>)>,
    /// What `jwt_authn` verified, once that was looked up, and the index of its metadata key; or why it is no token that counts.
    payload: Option<Result<Option<Payload>, Deny>>,
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
            (TokenSource::JwtAuthn { namespace, keys }, credentials) => {
                let payload = match verified_payload(namespace, keys, bearer, proxy) {
                    // 401: a certificate that is missing or malformed comes first.
                    Err(deny) if deny.reason == Reason::TokenMalformed => Err(deny),
                    other => Ok(other?),
                };
                if matches!(payload, Ok(Some(_))) && credentials == Credentials::Other {
                    return Err(Deny::new(Reason::AuthorizationMalformed).with_note(
                        "jwt_authn verified a token, but the Authorization header is not exactly that bearer token",
                    ));
                }
                Some(payload)
            }
        };
        Ok(Self { rules, memory, proxy, now, bearer, known, payload, claims: None })
    }

    /// Is there nothing that `jwt_authn` verified and that is no token? This counts in every mode.
    ///
    /// # Errors
    /// 401 `token_malformed`
    pub fn check_form(&self) -> Result<(), Deny> {
        match &self.payload {
            Some(Err(deny)) => Err(deny.clone()),
            _ => Ok(()),
        }
    }

    /// Its claims, verified and good now.
    ///
    /// # Errors
    /// 401, or 503 `keys_unavailable`.
    pub fn claims(&mut self) -> Result<Rc<Claims>, Deny> {
        if let Some(claims) = &self.claims {
            return Ok(Rc::clone(claims));
        }
        let (place, claims) = match &self.rules.source {
            TokenSource::JwtAuthn { namespace, keys } => self.left_by_jwt_authn(namespace, keys)?,
            TokenSource::Jwks(_) => self.verified_here()?,
        };
        claims.check(&self.rules.claims, self.now)?;
        if !self.rules.providers.is_empty() {
            claims.check_provider(&self.rules.providers, place)?;
        }
        Ok(Rc::clone(self.claims.insert(claims)))
    }

    fn left_by_jwt_authn(&mut self, namespace: &str, keys: &[String]) -> Result<(usize, Rc<Claims>), Deny> {
        let payload = match self.payload.take() {
            Some(payload) => payload?,
            None => verified_payload(namespace, keys, None, self.proxy)?,
        };
        let (place, payload) = payload.ok_or_else(|| match self.bearer {
            None => Deny::from(Reason::TokenMissing),
            Some(_) => Deny::new(Reason::TokenMissing).with_note(
                "there is a bearer token, but jwt_authn left no payload: it refused the token, or its provider's \
                 payload_in_metadata is not token.metadata.key",
            ),
        })?;
        Claims::read(&payload, &self.rules.claims).map(|claims| (place, Rc::new(claims)))
    }

    fn verified_here(&self) -> Result<(usize, Rc<Claims>), Deny> {
        if let Some((key_set, claims)) = &self.known {
            self.keys(*key_set)?;
            return Ok((*key_set, Rc::clone(claims)));
        }
        let token = self.bearer.ok_or(Reason::TokenMissing)?;
        let jws = Jws::parse(token, &self.rules.algorithms)?;
        let key_set = if self.rules.providers.is_empty() { 0 } else { self.key_set_of_issuer(&jws)? };
        let keys = self.keys(key_set)?;
        let key = jws.verify(&keys, self.proxy).map_err(|deny| deny.by_key_set(key_set))?;
        let claims = Rc::new(Claims::read(&jws.payload()?, &self.rules.claims)?);
        self.memory.tokens().insert(key_set, token, Rc::clone(&claims), Rc::clone(key));
        Ok((key_set, claims))
    }

    /// Which keys must have signed the token, as it says itself: a token that lies about it does not verify with them.
    fn key_set_of_issuer(&self, jws: &Jws<'_>) -> Result<usize, Deny> {
        let payload = jws.payload()?;
        let issuer = payload.get("iss").and_then(Value::as_str);
        let provider = self.rules.providers.iter().find(|provider| issuer == Some(&provider.issuer));
        provider.map(|provider| provider.place).ok_or_else(|| {
            let mut expected = self.rules.providers.iter().map(|provider| provider.issuer.as_str());
            of_another_issuer(issuer, "token.providers", &mut expected)
        })
    }

    fn keys(&self, key_set: usize) -> Result<Rc<KeySet>, Deny> {
        self.memory.keys(key_set).ok_or_else(|| {
            let place = match self.rules.providers.get(key_set) {
                Some(provider) => format!("token.providers[{key_set}] ({:?})", provider.issuer),
                None => "token.jwks_uri".to_owned(),
            };
            Deny::new(Reason::KeysUnavailable).by_key_set(key_set).with_note(format!(
                "no keys of {place} are in force: none has come, or the last ones are older than max_stale_seconds; \
                 earlier lines say why"
            ))
        })
    }
}
