//! `clients`: the registry.

use super::raw::RawClient;
use super::strict::{Entries, Object};
use super::{ConfigError, label, one_of};
use crate::certificate::{DistinguishedName, Thumbprint};
use crate::identity::{Client, NameKind, Registry, SpiffeId};
use crate::policy::Profiles;

const DN_EXPECTED: &str =
    "an RFC 4514 name such as CN=acme,O=Example (as `openssl x509 -noout -subject -nameopt RFC2253` prints it)";

pub(super) fn compile(
    raw: Entries<Object<RawClient>>,
    profiles: &Profiles,
    precedence: &[NameKind],
    trust_domains: &[String],
) -> Result<Registry, ConfigError> {
    let mut registry = Registry::default();
    for (id, Object(raw)) in raw.0 {
        let path = format!("clients.{id}");
        label(path.as_str(), &id)?;
        if let Some(principal) = &raw.principal {
            label(format!("{path}.principal"), principal)?;
        }
        if raw.profiles.is_empty() && !raw.identities.is_empty() {
            let expected = one_of("profile", profiles.iter().map(|profile| profile.name.as_str()));
            return Err(ConfigError::new(format!("{path}.profiles"), raw.profiles, expected));
        }
        let mut bound = Vec::new();
        for (index, name) in raw.profiles.iter().enumerate() {
            bound.push(profiles.by_name(name).ok_or_else(|| {
                let expected = one_of("profile", profiles.iter().map(|profile| profile.name.as_str()));
                ConfigError::new(format!("{path}.profiles[{index}]"), name, expected)
            })?);
        }
        let mut issuers = Vec::new();
        for (index, text) in raw.issuers.iter().enumerate() {
            issuers.push(distinguished_name(format!("{path}.issuers[{index}]"), text)?);
        }
        let mut identities = Vec::new();
        for (index, text) in raw.identities.iter().enumerate() {
            let identity = canonical_identity(text).and_then(|identity| usable(identity, precedence, trust_domains));
            identities.push(
                identity.map_err(|expected| ConfigError::new(format!("{path}.identities[{index}]"), text, expected))?,
            );
        }
        let client = Client { id, principal: raw.principal, profiles: bound, issuers };
        registry.insert(client, identities).map_err(|(index, owner)| {
            let found = raw.identities.get(index).map(String::as_str).unwrap_or_default();
            ConfigError::new(
                format!("{path}.identities[{index}]"),
                found,
                format!("an identity that no other client has; client {owner:?} has it"),
            )
        })?;
    }
    Ok(registry)
}

pub(super) fn distinguished_name(path: String, text: &str) -> Result<DistinguishedName, ConfigError> {
    DistinguishedName::parse(text).ok_or_else(|| ConfigError::new(path, text, DN_EXPECTED))
}

pub(super) fn thumbprint(text: &str) -> Option<Thumbprint> {
    Thumbprint::from_hex(text).or_else(|| Thumbprint::from_base64url(text))
}

/// The spelling in which an identity is looked up.
fn canonical_identity(text: &str) -> Result<String, &'static str> {
    let named = |name: &str| !name.is_empty() && !name.chars().any(char::is_control);
    if text.starts_with("spiffe:") {
        return SpiffeId::parse(text)
            .map(|id| id.to_string())
            .ok_or("a valid SPIFFE ID such as spiffe://prod.example/ns/pay/sa/api");
    }
    match text.split_once(':') {
        Some(("dns", name)) if named(name) => Ok(format!("dns:{}", name.to_ascii_lowercase())),
        Some(("cn", name)) if named(name) => Ok(text.to_owned()),
        Some(("email", name)) if named(name) && name.contains('@') => Ok(text.to_owned()),
        Some(("sha256", hash)) => thumbprint(hash)
            .map(|thumbprint| format!("sha256:{}", thumbprint.to_hex()))
            .ok_or("sha256: and 64 hexadecimal digits or 43 characters of base64url"),
        Some(("subject", name)) => {
            DistinguishedName::parse(name).map(|name| format!("subject:{name}")).ok_or(DN_EXPECTED)
        }
        _ => Err("a typed identity: spiffe://…, dns:…, cn:…, email:…, sha256:… or subject:…"),
    }
}

/// An identity that could never match is a mistake.
fn usable(identity: String, precedence: &[NameKind], trust_domains: &[String]) -> Result<String, &'static str> {
    let kind = match identity.split_once(':') {
        Some(("spiffe", _)) => {
            let id = SpiffeId::parse(&identity);
            let trusted = |id: &SpiffeId| {
                trust_domains.is_empty() || trust_domains.iter().any(|known| known == id.trust_domain())
            };
            if !id.as_ref().is_some_and(trusted) {
                return Err("a trust domain that identity.trust_domains lists");
            }
            NameKind::UriSan
        }
        Some(("dns", _)) => NameKind::DnsSan,
        Some(("cn", _)) => NameKind::SubjectCn,
        _ => return Ok(identity),
    };
    if precedence.contains(&kind) { Ok(identity) } else { Err("a kind of name that identity.precedence lists") }
}
