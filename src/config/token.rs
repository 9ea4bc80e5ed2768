//! `token`: who verifies tokens, with which keys, and what they must claim.

use std::rc::Rc;

use super::ConfigError;
use super::fetch::{self, Defaults, RawFetch};
use super::raw::{RawMetadata, RawToken, TokenSourceName};
use super::strict::Object;
use crate::json::StrictObject;
use crate::token::{Algorithm, ClaimRules, KeySet, KeySource, TokenRules, TokenSource};

const JWKS_DEFAULTS: Defaults =
    Defaults { what: "the path of the JWK set, such as /.well-known/jwks.json", refresh: 300, max_stale: 86_400 };

pub(super) fn compile(raw: RawToken, needs_client_claim: bool) -> Result<TokenRules, ConfigError> {
    let default = TokenRules::default();
    let client_id_claims = raw.client_id_claims.unwrap_or_else(|| vec!["client_id".to_owned(), "azp".to_owned()]);
    if client_id_claims.is_empty() && needs_client_claim {
        let expected = "at least one claim: in mode bearer_plus_mtls_optional a token alone must name its client";
        return Err(ConfigError::new("token.client_id_claims", client_id_claims, expected));
    }
    let source = match raw.source {
        TokenSourceName::JwtAuthn => {
            foreign("jwks", raw.jwks.is_some(), "jwks")?;
            foreign("jwks_uri", raw.jwks_uri.is_some(), "jwks")?;
            foreign("algorithms", raw.algorithms.is_some(), "jwks")?;
            match raw.metadata {
                Some(Object(metadata)) => jwt_authn(metadata, default.source),
                None => default.source,
            }
        }
        TokenSourceName::Jwks => {
            foreign("metadata", raw.metadata.is_some(), "jwt_authn")?;
            TokenSource::Jwks(key_source(raw.jwks, raw.jwks_uri)?)
        }
    };
    Ok(TokenRules {
        source,
        algorithms: raw.algorithms.map_or(Ok(default.algorithms), algorithms)?,
        claims: ClaimRules {
            issuers: raw.issuers,
            audiences: raw.audiences,
            leeway: i64::from(raw.leeway_seconds.unwrap_or(30)),
            client_id_claims,
        },
    })
}

/// A key that another source would read means that the wrong source is configured.
fn foreign(key: &str, stands: bool, source: &str) -> Result<(), ConfigError> {
    if stands {
        Err(ConfigError {
            path: format!("token.{key}"),
            problem: format!("found a setting of another source, expected \"source\": \"{source}\" beside it"),
        })
    } else {
        Ok(())
    }
}

fn jwt_authn(raw: RawMetadata, default: TokenSource) -> TokenSource {
    match default {
        TokenSource::JwtAuthn { namespace, key } => {
            TokenSource::JwtAuthn { namespace: raw.namespace.unwrap_or(namespace), key: raw.key.unwrap_or(key) }
        }
        other @ TokenSource::Jwks(_) => other,
    }
}

fn key_source(jwks: Option<StrictObject>, uri: Option<Object<RawFetch>>) -> Result<KeySource, ConfigError> {
    match (jwks, uri) {
        (Some(StrictObject(jwks)), None) => {
            let (set, left_out) = KeySet::from_jwks(&jwks).map_err(|problem| ConfigError {
                path: "token.jwks".to_owned(),
                problem: format!("found a JWK set that cannot be used: {}", problem.as_str()),
            })?;
            match left_out.first() {
                Some(key) => Err(ConfigError::new(
                    format!("token.jwks.keys[{}]", key.index),
                    &key.id,
                    format!("a key that can verify tokens: {}", key.why.as_str()),
                )),
                None => Ok(KeySource::Inline(Rc::new(set))),
            }
        }
        (None, Some(Object(uri))) => fetch::compile("token.jwks_uri", uri, JWKS_DEFAULTS).map(KeySource::Fetched),
        (jwks, _) => Err(ConfigError {
            path: "token".to_owned(),
            problem: format!(
                "found {} \"jwks\" and \"jwks_uri\", expected exactly one of them with \"source\": \"jwks\"",
                if jwks.is_some() { "both" } else { "neither" }
            ),
        }),
    }
}

fn algorithms(names: Vec<String>) -> Result<Vec<Algorithm>, ConfigError> {
    let known = || Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ");
    if names.is_empty() {
        return Err(ConfigError::new("token.algorithms", names, format!("at least one of {}", known())));
    }
    let read = |(index, name): (usize, &String)| {
        Algorithm::from_name(name)
            .ok_or_else(|| ConfigError::new(format!("token.algorithms[{index}]"), name, format!("one of {}", known())))
    };
    names.iter().enumerate().map(read).collect()
}
