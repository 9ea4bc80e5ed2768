//! `identity.mappings`.

use super::authorities::issuer_expected;
use super::certificate::THUMBPRINT_EXPECTED;
use super::clients::thumbprint;
use super::raw::{RawAny, RawAttribute, RawIssuer, RawMapping, RawMatch};
use super::value::Named;
use super::{ConfigError, one_of};
use crate::bounds;
use crate::certificate::{DistinguishedName, canonical_kind};
use crate::identity::{
    Authorities, CaptureName, Mapping, Matcher, NO_WILDCARD, NamePattern, PatternKind, Registry, Template,
};
use crate::policy::{ProfileId, Profiles};

/// Of a client that is known by its own identities.
const NOT_MAPPED: &str = "a client without `identities`, or one that says \"mappings\": true beside them: otherwise a mapping \
    would add certificates to a client that lists its own";

pub(super) fn compile(
    raw: Vec<RawMapping>,
    authorities: &Authorities,
    registry: &Registry,
    profiles: &Profiles,
    allow_unregistered: bool,
) -> Result<Vec<Mapping>, ConfigError> {
    let mut mappings = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let path = format!("identity.mappings[{index}]");
        let matchers = matchers(&format!("{path}.match"), raw.matches, authorities)?;
        let captures = capture_names(&path, &matchers)?;
        let template = |key: &str, text: &str| {
            Template::parse(text, &captures)
                .and_then(|template| match template.literal_len() <= bounds::NAME {
                    true => Ok(template),
                    false => Err("at most 256 bytes"),
                })
                .map_err(|expected| ConfigError::new(format!("{path}.{key}"), text, expected))
        };
        let client_id = template("client_id", &raw.client_id)?;
        let client = client_id.literal().and_then(|id| registry.by_id(id));
        let unusable = match (client_id.literal(), client) {
            (Some(_), None) if !allow_unregistered => {
                Some("the name of a client that `clients` lists (or identity.allow_unregistered: true)")
            }
            (Some(_), Some(client)) if !client.may_be_mapped() => Some(NOT_MAPPED),
            _ => None,
        };
        if let Some(expected) = unusable {
            return Err(ConfigError::new(format!("{path}.client_id"), raw.client_id, expected));
        }
        let profile_id = raw.profile_id.map(|text| template("profile_id", &text)).transpose()?;
        if let Some(name) =
            profile_id.as_ref().and_then(Template::literal).filter(|name| profiles.by_name(name).is_none())
        {
            let expected = one_of(name, "profile", &mut profiles.iter().map(|profile| &*profile.name));
            return Err(ConfigError::new(format!("{path}.profile_id"), name, expected));
        }
        if let (Some(client), Some(name)) = (client, profile_id.as_ref().and_then(Template::literal)) {
            let is_its_own = |profile: ProfileId| client.profiles().any(|own| own == profile);
            if !profiles.by_name(name).is_some_and(is_its_own) {
                let expected = format!("a profile that clients.{}.profiles lists", client.id());
                return Err(ConfigError::new(format!("{path}.profile_id"), name, expected));
            }
        }
        let principal = raw.principal.map(|text| template("principal", &text)).transpose()?;
        let mapping = Mapping { matchers, client_id, profile_id, principal };
        if let Some(earlier) = mappings.iter().position(|earlier: &Mapping| earlier.shadows(&mapping)) {
            let problem = format!(
                "found a match that is never reached, because identity.mappings[{earlier}] matches or refuses every \
                 certificate that this one matches; expected the narrower mapping first, and each match once"
            );
            return Err(ConfigError { path: format!("{path}.match"), problem });
        }
        mappings.push(mapping);
    }
    Ok(mappings)
}

/// Does each of them know its certificates by their thumbprints?
pub(super) fn check_thumbprints(mappings: &[Mapping]) -> Result<(), ConfigError> {
    let by_thumbprint =
        |mapping: &Mapping| mapping.matchers.iter().any(|matcher| matches!(matcher, Matcher::Sha256(_)));
    match mappings.iter().position(|mapping| !by_thumbprint(mapping)) {
        Some(index) => Err(ConfigError {
            path: format!("identity.mappings[{index}].match"),
            problem: format!("found no thumbprint, expected {THUMBPRINT_EXPECTED}"),
        }),
        None => Ok(()),
    }
}

fn matchers(path: &str, raw: RawMatch, authorities: &Authorities) -> Result<Vec<Matcher>, ConfigError> {
    let mut matchers = Vec::new();
    if let Some(text) = raw.uri_san {
        matchers.push(Matcher::UriSan(pattern(format!("{path}.uri_san"), &text, PatternKind::Uri)?));
    }
    if let Some(text) = raw.dns_san {
        matchers.push(Matcher::DnsSan(pattern(format!("{path}.dns_san"), &text, PatternKind::Dns)?));
    }
    if let Some(text) = raw.email_san {
        matchers.push(Matcher::EmailSan(pattern(format!("{path}.email_san"), &text, PatternKind::Email)?));
    }
    matchers.extend(attributes(&format!("{path}.subject"), raw.subject, Matcher::Subject)?);
    match raw.issuer {
        Some(RawIssuer::Name(text)) => matchers.push(match authorities.number(&text) {
            Some(number) => Matcher::Authority(number),
            None if text.contains('*') => {
                return Err(ConfigError::new(format!("{path}.issuer"), text, NO_WILDCARD));
            }
            None => Matcher::Issuer(DistinguishedName::parse(&text).ok_or_else(|| {
                ConfigError::new(format!("{path}.issuer"), &text, issuer_expected(&text, authorities))
            })?),
        }),
        Some(RawIssuer::Attributes(raw)) => {
            matchers.extend(attributes(&format!("{path}.issuer"), raw, Matcher::IssuerAttribute)?);
        }
        None => {}
    }
    if let Some(text) = raw.sha256 {
        matchers.push(Matcher::Sha256(thumbprint(&text).ok_or_else(|| {
            ConfigError::new(format!("{path}.sha256"), &text, "64 hexadecimal digits or 43 characters of base64url")
        })?));
    }
    if matchers.is_empty() {
        let expected = "at least one of uri_san, dns_san, email_san, subject, issuer, sha256";
        return Err(ConfigError {
            path: path.to_owned(),
            problem: format!("found nothing to match, expected {expected}"),
        });
    }
    Ok(matchers)
}

fn attributes(
    path: &str,
    raw: Named<RawAttribute>,
    matcher: fn(String, NamePattern) -> Matcher,
) -> Result<Vec<Matcher>, ConfigError> {
    let mut matchers = Vec::new();
    let mut kinds = Vec::new();
    for (key, value) in raw {
        let kind = canonical_kind(&key)
            .ok_or_else(|| ConfigError::new(path, &key, "an attribute type such as CN, O, OU, or a dotted OID"))?;
        if kinds.contains(&kind) {
            return Err(ConfigError::new(path, &key, "each attribute only once"));
        }
        kinds.push(kind.clone());
        let pattern = match value {
            RawAttribute::One(text) => pattern(format!("{path}.{key}"), &text, PatternKind::Attribute)?,
            RawAttribute::Any(RawAny { any }) => NamePattern::parse_any(&any)
                .map_err(|expected| ConfigError::new(format!("{path}.{key}.any"), &any, expected))?,
        };
        matchers.push(matcher(kind, pattern));
    }
    Ok(matchers)
}

/// What regular expressions have and names have not. As a literal it would match no certificate.
#[inline(never)]
fn is_regex(text: &str) -> bool {
    const PARTS: &[&str] = &[
        "(?", ".*", ".+", "[^", "[a-z", "[A-Z", "[0-9", "([", ")*", ")+", ")?", r"\.", r"\d+", r"\d*", r"\d{", r"\w+",
        r"\w*",
    ];
    text.starts_with('^') || PARTS.iter().any(|part| text.contains(part))
}

#[inline(never)]
fn pattern(path: String, text: &str, kind: PatternKind) -> Result<NamePattern, ConfigError> {
    if is_regex(text) {
        let expected = "a name in which {name} stands for one segment, label or value, and no regular expression: \
            spiffe://prod.example/ns/{ns}/sa/{sa}";
        return Err(ConfigError::new(path, text, expected));
    }
    NamePattern::parse(text, kind).map_err(|expected| ConfigError::new(path, text, expected))
}

/// A name that two patterns capture would leave open which value is meant.
fn capture_names(path: &str, matchers: &[Matcher]) -> Result<Vec<CaptureName>, ConfigError> {
    let mut captures: Vec<CaptureName> = Vec::new();
    for capture in matchers.iter().flat_map(Matcher::capture_names) {
        if captures.iter().any(|known| known.name == capture.name) {
            return Err(ConfigError::new(
                format!("{path}.match"),
                format!("{{{}}}", capture.name),
                "each capture only once",
            ));
        }
        captures.push(capture);
    }
    Ok(captures)
}
