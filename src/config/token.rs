//! `token`: who verifies tokens, with which keys, and what they must claim.

use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::fetch::{self, Defaults, RawFetch};
use super::raw::{RawMetadata, RawProvider, RawToken, TokenSourceName};
use super::{ConfigError, tolerance};
use crate::token::{
    Algorithm, ClaimRules, KeySet, KeySource, LeftOut, Provider, SetError, TokenRules, TokenSource, Unusable,
};

const JWKS_DEFAULTS: Defaults = Defaults {
    what: "the path of the JWK set, such as /.well-known/jwks.json",
    refresh: 300,
    max_stale: 86_400,
    kind: "keys",
    format: "1",
};
/// More providers are not read: each may fetch.
const MAX_PROVIDERS: usize = 16;
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
const METADATA_KEY: &str = "payload";

/// `is_enough`: can a token suffice without a certificate, for some client at least?
pub(super) fn compile(mut raw: RawToken, is_enough: bool) -> Result<TokenRules, ConfigError> {
    let client_id_claims = raw.client_id_claims.unwrap_or_else(|| vec!["client_id".to_owned(), "azp".to_owned()]);
    if client_id_claims.is_empty() && is_enough {
        let expected = "at least one claim: in mode bearer_plus_mtls_optional a token alone must name its client";
        return Err(ConfigError::new("token.client_id_claims", client_id_claims, expected));
    }
    let leeway = tolerance("token.leeway_seconds", raw.leeway_seconds.unwrap_or(30))?;
    foreign(
        "token",
        raw.source,
        &[
            ("jwks", raw.jwks.is_some(), TokenSourceName::Jwks),
            ("jwks_uri", raw.jwks_uri.is_some(), TokenSourceName::Jwks),
            ("algorithms", raw.algorithms.is_some(), TokenSourceName::Jwks),
            ("metadata", raw.metadata.is_some(), TokenSourceName::JwtAuthn),
        ],
    )?;
    let metadata = raw.metadata.unwrap_or_default();
    no_wildcard("token.issuers", &raw.issuers)?;
    no_wildcard("token.audiences", &raw.audiences)?;
    let (source, providers) = if let Some(providers) = raw.providers.take() {
        let beside = [
            ("issuers", !raw.issuers.is_empty()),
            ("audiences", !raw.audiences.is_empty()),
            ("jwks", raw.jwks.is_some()),
            ("jwks_uri", raw.jwks_uri.is_some()),
            ("metadata.key", metadata.key.is_some()),
        ];
        if let Some((key, _)) = beside.iter().find(|(_, stands)| *stands) {
            return Err(ConfigError {
                path: format!("token.{key}"),
                problem: "found it beside \"providers\", expected each provider to have its own".to_owned(),
            });
        }
        several(raw.source, providers, metadata)?
    } else {
        sole_issuer(raw.source, &raw.issuers)?;
        let source = match raw.source {
            TokenSourceName::JwtAuthn => TokenSource::JwtAuthn {
                namespace: namespace(metadata.namespace),
                keys: vec![metadata.key.unwrap_or_else(|| METADATA_KEY.to_owned())],
            },
            TokenSourceName::Jwks => TokenSource::Jwks(vec![key_source("token", raw.jwks, raw.jwks_uri)?]),
        };
        (source, Vec::new())
    };
    let algorithms = raw.algorithms.map_or_else(|| Ok(Algorithm::ALL.to_vec()), algorithms)?;
    if is_enough {
        for_whom(&raw.audiences, &providers)?;
    }
    Ok(TokenRules {
        source,
        algorithms,
        claims: ClaimRules { issuers: raw.issuers, audiences: raw.audiences, leeway, client_id_claims },
        providers,
    })
}

/// Issuers and audiences are compared whole.
fn no_wildcard(path: &str, texts: &[String]) -> Result<(), ConfigError> {
    match texts.iter().position(|text| text == "*") {
        None => Ok(()),
        Some(index) => {
            Err(ConfigError::new(format!("{path}[{index}]"), "*", "a whole value; leave the key out for any"))
        }
    }
}

/// Where a token is enough, it must say that it is meant for this service: an ID token and a token for another service do not.
fn for_whom(audiences: &[String], providers: &[Provider]) -> Result<(), ConfigError> {
    let path = match providers.iter().position(|provider| provider.audiences.is_empty()) {
        Some(index) => format!("token.providers[{index}].audiences"),
        None if providers.is_empty() && audiences.is_empty() => "token.audiences".to_owned(),
        None => return Ok(()),
    };
    let problem = "found none, expected at least one: in mode bearer_plus_mtls_optional a token alone is enough, and without an audience \
                   ID tokens and tokens for other services would be";
    Err(ConfigError { path, problem: problem.to_owned() })
}

fn namespace(configured: Option<String>) -> String {
    configured.unwrap_or_else(|| NAMESPACE.to_owned())
}

/// What verifies tokens cannot tell apart whose they are, unless it is told: any of its keys could speak for each issuer.
fn sole_issuer(source: TokenSourceName, issuers: &[String]) -> Result<(), ConfigError> {
    if issuers.len() < 2 {
        return Ok(());
    }
    let instead = match source {
        TokenSourceName::JwtAuthn => {
            "{\"issuer\": \"…\", \"audiences\": […], \"metadata_key\": the payload_in_metadata of that issuer's provider in jwt_authn}"
        }
        TokenSourceName::Jwks => "{\"issuer\": \"…\", \"audiences\": […], \"jwks_uri\": {…} or \"jwks\": {…}}",
    };
    let expected = format!(
        "one: the keys of each would speak for all of them. For several write \"providers\": a list of {instead}"
    );
    Err(ConfigError::new("token.issuers", issuers, expected))
}

/// Several issuers, each with what speaks for it alone.
fn several(
    source: TokenSourceName,
    raw: Vec<RawProvider>,
    metadata: RawMetadata,
) -> Result<(TokenSource, Vec<Provider>), ConfigError> {
    if raw.is_empty() || raw.len() > MAX_PROVIDERS {
        let expected = format!("1 to {MAX_PROVIDERS} providers; leave the key out for a single issuer");
        return Err(ConfigError::new("token.providers", raw.len(), expected));
    }
    let mut providers: Vec<Provider> = Vec::new();
    let mut key_sets = Vec::new();
    let mut keys: Vec<String> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let at = format!("token.providers[{index}]");
        foreign(
            &at,
            source,
            &[
                ("jwks", raw.jwks.is_some(), TokenSourceName::Jwks),
                ("jwks_uri", raw.jwks_uri.is_some(), TokenSourceName::Jwks),
                ("metadata_key", raw.metadata_key.is_some(), TokenSourceName::JwtAuthn),
            ],
        )?;
        if raw.issuer.is_empty() || providers.iter().any(|other| other.issuer == raw.issuer) {
            let expected = "an issuer, exactly as iss names it, that no other provider has";
            return Err(ConfigError::new(format!("{at}.issuer"), raw.issuer, expected));
        }
        let place = match source {
            TokenSourceName::Jwks => {
                key_sets.push(key_source(&at, raw.jwks, raw.jwks_uri)?);
                index
            }
            TokenSourceName::JwtAuthn => {
                let key = raw.metadata_key.unwrap_or_else(|| METADATA_KEY.to_owned());
                match keys.iter().position(|other| *other == key) {
                    Some(place) if metadata.issuers_bound => place,
                    Some(_) => {
                        let expected = "a key that no other provider has: the payload_in_metadata of this issuer's \
                             provider in jwt_authn. Only if every provider in jwt_authn says its \"issuer\", as Istio's do, \
                             they may share one: \"metadata\": {\"issuers_bound\": true}";
                        return Err(ConfigError::new(format!("{at}.metadata_key"), key, expected));
                    }
                    None => {
                        keys.push(key);
                        keys.len().saturating_sub(1)
                    }
                }
            }
        };
        no_wildcard(&format!("{at}.audiences"), &raw.audiences)?;
        providers.push(Provider { issuer: raw.issuer, audiences: raw.audiences, place });
    }
    let source = match source {
        TokenSourceName::Jwks => TokenSource::Jwks(key_sets),
        TokenSourceName::JwtAuthn => TokenSource::JwtAuthn { namespace: namespace(metadata.namespace), keys },
    };
    Ok((source, providers))
}

/// A setting that another source would read means that the wrong source is configured. `settings`: the name of each, whether it
/// is there, and the source that reads it.
fn foreign(at: &str, source: TokenSourceName, settings: &[(&str, bool, TokenSourceName)]) -> Result<(), ConfigError> {
    match settings.iter().find(|(_, is_there, reader)| *is_there && *reader != source) {
        None => Ok(()),
        Some((key, ..)) => Err(ConfigError {
            path: format!("{at}.{key}"),
            problem: format!(
                "found a setting of another source, expected \"source\": \"{}\" for it",
                match source {
                    TokenSourceName::JwtAuthn => "jwks",
                    TokenSourceName::Jwks => "jwt_authn",
                }
            ),
        }),
    }
}

/// `at`: where in the configuration they stand.
fn key_source(at: &str, jwks: Option<Map<String, Json>>, uri: Option<RawFetch>) -> Result<KeySource, ConfigError> {
    match (jwks, uri) {
        (Some(jwk), None) if jwk.contains_key("kty") => Err(ConfigError {
            path: format!("{at}.jwks"),
            problem: "found a single key, expected a JWK set: {\"keys\": [that key]}".to_owned(),
        }),
        (Some(jwks), None) => {
            let useless = |problem: SetError| ConfigError {
                path: format!("{at}.jwks"),
                problem: format!(
                    "found a JWK set that cannot be used, expected one with a key that verifies tokens: {}",
                    problem.as_str()
                ),
            };
            let (set, left_out) = KeySet::from_jwks(&jwks).map_err(useless)?;
            match left_out.iter().find(|key| !key.why.is_foreign()) {
                Some(key) => Err(unusable(at, key)),
                None => Ok(KeySource::Inline(Rc::new(set.if_usable(&left_out).map_err(useless)?))),
            }
        }
        (None, Some(uri)) => {
            fetch::compile(&format!("{at}.jwks_uri"), uri, JWKS_DEFAULTS, None).map(KeySource::Fetched)
        }
        (jwks, _) => Err(ConfigError {
            path: at.to_owned(),
            problem: format!(
                "found {} \"jwks_uri\", expected exactly one of them with \"source\": \"jwks\"",
                if jwks.is_some() { "both \"jwks\" and" } else { "neither \"jwks\" nor" }
            ),
        }),
    }
}

/// What is wrong with a key of the configuration. A key of another purpose is none of its writer's mistakes, because sets are copied
/// as they are.
fn unusable(at: &str, key: &LeftOut) -> ConfigError {
    let at = format!("{at}.jwks.keys[{}]", key.index);
    match key.why {
        Unusable::Secret(member) => ConfigError {
            path: format!("{at}.{member}"),
            problem: format!(
                "found a private or symmetric key (kid {:?}), expected public keys alone. Who reads the configuration can sign tokens \
                 with it: replace the key at the issuer, and write only kty, crv, n, e, x, y, kid, alg and use",
                key.id.as_deref().unwrap_or_default()
            ),
        },
        why => ConfigError::new(
            at,
            key.id.as_deref().unwrap_or("a key without kid"),
            format!("a key that can verify tokens: {}", why.as_str()),
        ),
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
