//! The configuration as it is written: types and names, nothing else. Unknown keys and repeated ones are errors.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::certificate::RawForwarded;
use super::fetch::RawFetch;
use super::revocation::RawRevocation;
use super::strict::{Distinct, Entries, Object, Text, TextList, TextOr, given, not_empty};

use crate::certificate::{ExtendedKeyUsage, Validation};
use crate::decision::Enforcement;
use crate::identity::NameKind;
use crate::json::StrictObject;
use crate::policy::{Ambiguous, LetterCase, Mode, SourceAddress, UnverifiedAuthorization};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "given")]
    pub policy_id: Option<String>,
    /// Read by itself, because what is wrong with it must not harm the policy in force.
    #[serde(default, deserialize_with = "given")]
    pub candidate: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "given")]
    pub policy_name: Option<String>,
    pub mode: Mode,
    pub enforcement: Enforcement,
    pub certificate: Object<RawCertificate>,
    pub identity: Object<RawIdentity>,
    pub require_client_headers: bool,
    pub authorities: Entries<String>,
    /// Here for its name alone: [`super::clients`] reads them, straight into the registry.
    #[serde(rename = "clients")]
    pub _clients: (),
    pub profiles: Entries<Object<RawProfile>>,
    pub collections: Entries<Distinct>,
    pub bypass: Vec<Object<RawBypass>>,
    pub binding: Object<RawBinding>,
    pub token: Object<RawToken>,
    pub revocation: RawRevocation,
    pub path: Object<RawPath>,
    pub source_address: SourceAddress,
    pub methods: Object<RawMethods>,
    pub unverified_authorization: UnverifiedAuthorization,
    pub upstream_headers: Object<RawUpstreamHeaders>,
    pub strip_headers: Vec<String>,
    pub override_headers: OverrideHeaders,
    pub audit: Object<RawAudit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMethods {
    #[serde(deserialize_with = "not_empty")]
    pub additional: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCertificate {
    pub source: CertificateSource,
    #[serde(default, deserialize_with = "given")]
    pub forwarded: Option<Object<RawForwarded>>,
    pub validation: Validation,
    pub clock_skew_seconds: u32,
    pub extended_key_usage: ExtendedKeyUsage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum CertificateSource {
    #[default]
    Connection,
    Forwarded,
    ConnectionOrForwarded,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIdentity {
    #[serde(default, deserialize_with = "given")]
    pub precedence: Option<Vec<NameKind>>,
    #[serde(deserialize_with = "not_empty")]
    pub trust_domains: Vec<String>,
    pub mappings: Vec<Object<RawMapping>>,
    pub allow_unregistered: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMapping {
    #[serde(rename = "match")]
    pub matches: Object<RawMatch>,
    pub client_id: String,
    #[serde(default, deserialize_with = "given")]
    pub profile_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub principal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMatch {
    #[serde(default, deserialize_with = "given")]
    pub uri_san: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub dns_san: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub email_san: Option<String>,
    pub subject: Entries<RawAttribute>,
    #[serde(default, deserialize_with = "given")]
    pub issuer: Option<RawIssuer>,
    #[serde(default, deserialize_with = "given")]
    pub sha256: Option<String>,
}

#[derive(Debug)]
pub(super) enum RawIssuer {
    Name(String),
    Attributes(Entries<RawAttribute>),
}

/// What an attribute has to be: its one value, or one of several.
#[derive(Debug)]
pub(super) enum RawAttribute {
    One(String),
    Any(RawAny),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAny {
    pub any: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawClient<'a> {
    #[serde(borrow)]
    pub identities: TextList<'a>,
    #[serde(borrow)]
    pub issuers: TextList<'a>,
    #[serde(borrow)]
    pub profiles: TextList<'a>,
    #[serde(borrow, default, deserialize_with = "given")]
    pub principal: Option<Text<'a>>,
    #[serde(default, deserialize_with = "given")]
    pub mappings: Option<bool>,
    #[serde(borrow)]
    pub token_client_ids: TextList<'a>,
    #[serde(default, deserialize_with = "given")]
    pub shared_identities: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawProfile {
    pub allow: Vec<Object<RawRule>>,
    pub deny: Vec<RawDeny>,
    #[serde(deserialize_with = "not_empty")]
    pub source_cidrs: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    pub rate_limit: Option<Object<RawRateLimit>>,
    #[serde(default, deserialize_with = "given")]
    pub mode: Option<Mode>,
    #[serde(default, deserialize_with = "given")]
    pub enforcement: Option<Enforcement>,
    #[serde(default, deserialize_with = "given")]
    pub unverified_authorization: Option<UnverifiedAuthorization>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(default, deserialize_with = "given")]
    pub paths: Option<Distinct>,
    #[serde(default, deserialize_with = "given")]
    pub collection: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub methods: Option<Distinct>,
    #[serde(deserialize_with = "not_empty")]
    pub scopes: Vec<String>,
    #[serde(deserialize_with = "not_empty")]
    pub upgrades: Vec<String>,
    pub plain: bool,
    #[serde(deserialize_with = "not_empty")]
    pub hosts: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum RawDeny {
    Path(String),
    Rule(RawDenyRule),
}

impl RawRule {
    /// Its first path, or its collection.
    pub fn text(&self) -> &str {
        first(self.paths.as_ref(), self.collection.as_deref())
    }
}

impl RawDeny {
    /// Likewise.
    pub fn text(&self) -> &str {
        match self {
            Self::Path(text) => text,
            Self::Rule(rule) => first(rule.paths.as_ref(), rule.collection.as_deref()),
        }
    }
}

fn first<'a>(paths: Option<&'a Distinct>, collection: Option<&'a str>) -> &'a str {
    paths.and_then(|Distinct(paths)| paths.first()).map(String::as_str).or(collection).unwrap_or_default()
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDenyRule {
    #[serde(default, deserialize_with = "given")]
    pub paths: Option<Distinct>,
    #[serde(default, deserialize_with = "given")]
    pub collection: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub methods: Option<Distinct>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRateLimit {
    pub requests: u64,
    pub per_seconds: u64,
    #[serde(default, deserialize_with = "given")]
    pub burst: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBypass {
    pub path: String,
    #[serde(default, deserialize_with = "given")]
    pub methods: Option<Distinct>,
    #[serde(default, deserialize_with = "not_empty")]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub even_denied: bool,
    #[serde(default, deserialize_with = "given")]
    pub unverified_authorization: Option<UnverifiedAuthorization>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBinding {
    #[serde(deserialize_with = "not_empty")]
    pub required_paths: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawToken {
    pub source: TokenSourceName,
    #[serde(default, deserialize_with = "given")]
    pub metadata: Option<Object<RawMetadata>>,
    #[serde(default, deserialize_with = "given")]
    pub jwks: Option<StrictObject>,
    #[serde(default, deserialize_with = "given")]
    pub jwks_uri: Option<Object<RawFetch>>,
    #[serde(default, deserialize_with = "given")]
    pub providers: Option<Vec<Object<RawProvider>>>,
    #[serde(default, deserialize_with = "given")]
    pub algorithms: Option<Distinct>,
    #[serde(deserialize_with = "not_empty")]
    pub issuers: Vec<String>,
    #[serde(deserialize_with = "not_empty")]
    pub audiences: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    pub leeway_seconds: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    pub client_id_claims: Option<Distinct>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProvider {
    pub issuer: String,
    #[serde(default, deserialize_with = "not_empty")]
    pub audiences: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    pub jwks: Option<StrictObject>,
    #[serde(default, deserialize_with = "given")]
    pub jwks_uri: Option<Object<RawFetch>>,
    #[serde(default, deserialize_with = "given")]
    pub metadata_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TokenSourceName {
    #[default]
    JwtAuthn,
    Jwks,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMetadata {
    #[serde(default, deserialize_with = "given")]
    pub namespace: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub key: Option<String>,
    pub issuers_bound: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPath {
    pub encoded_slashes: Ambiguous,
    pub semicolons: Ambiguous,
    pub restrictions: LetterCase,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawUpstreamHeaders {
    #[serde(default, deserialize_with = "given")]
    pub client_id: Option<RawHeader>,
    #[serde(default, deserialize_with = "given")]
    pub profile_id: Option<RawHeader>,
    #[serde(default, deserialize_with = "given")]
    pub principal: Option<RawHeader>,
    #[serde(default, deserialize_with = "given")]
    pub identity: Option<RawHeader>,
    #[serde(default, deserialize_with = "given")]
    pub thumbprint: Option<RawHeader>,
    #[serde(default, deserialize_with = "given")]
    pub client_cert: Option<RawHeader>,
}

/// A header's name, or whether it is written at all; `null` turns it off.
#[derive(Debug)]
pub(super) enum RawHeader {
    Name(String),
    Written(bool),
    Off,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl Visitor<'_> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a header, true, false or null")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<RawHeader, E> {
                Ok(RawHeader::Name(name.to_owned()))
            }

            fn visit_bool<E: Error>(self, written: bool) -> Result<RawHeader, E> {
                Ok(RawHeader::Written(written))
            }

            fn visit_unit<E: Error>(self) -> Result<RawHeader, E> {
                Ok(RawHeader::Off)
            }
        }

        deserializer.deserialize_any(HeaderVisitor)
    }
}

/// What becomes of headers that tell the upstream of another request than the one that was decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum OverrideHeaders {
    /// Another method refuses the request, another path is removed.
    #[default]
    Refuse,
    Keep,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAudit {
    pub log: AuditLog,
}

/// `audit.log`: which decisions are written to Envoy's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditLog {
    /// None; the access log has the decision records.
    None,
    /// Refusals, at `warn`.
    #[default]
    Denied,
    /// Refusals at `warn` and everything else at `info`.
    All,
}

impl<'de> Deserialize<'de> for RawIssuer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOr {
            expected: "the name of an authority, an RFC 4514 name such as \"CN=Issuing CA,O=Example\", or an object of attributes",
            text: RawIssuer::Name,
            object: RawIssuer::Attributes,
        })
    }
}

impl<'de> Deserialize<'de> for RawAttribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOr {
            expected: "a value of the attribute, or {\"any\": \"…\"} for one of several values",
            text: RawAttribute::One,
            object: RawAttribute::Any,
        })
    }
}

impl<'de> Deserialize<'de> for RawDeny {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOr {
            expected: "a path pattern, or an object of \"paths\" or \"collection\" and, optionally, \"methods\"",
            text: RawDeny::Path,
            object: RawDeny::Rule,
        })
    }
}
