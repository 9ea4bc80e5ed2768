//! The configuration as it is written: types and names, nothing else. Unknown keys and repeated ones are errors.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::decision::Enforcement;
use crate::identity::NameKind;
use crate::policy::{Mode, SourceAddress};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub policy_id: Option<String>,
    pub mode: Mode,
    pub enforcement: Enforcement,
    pub certificate: RawCertificate,
    pub identity: RawIdentity,
    pub require_client_headers: bool,
    pub clients: Entries<RawClient>,
    pub profiles: Entries<RawProfile>,
    pub collections: Entries<Vec<String>>,
    pub bypass: Vec<RawBypass>,
    pub binding: RawBinding,
    pub token: RawToken,
    pub path: RawPath,
    pub source_address: SourceAddress,
    pub upstream_headers: RawUpstreamHeaders,
    pub audit: RawAudit,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCertificate {
    #[serde(rename = "source")]
    pub _source: CertificateSource,
    pub validation: RawValidation,
    pub clock_skew_seconds: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CertificateSource {
    #[default]
    Connection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawValidation {
    #[default]
    Attribute,
    Listener,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIdentity {
    pub precedence: Option<Vec<NameKind>>,
    pub trust_domains: Vec<String>,
    pub mappings: Vec<RawMapping>,
    pub allow_unregistered: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMapping {
    #[serde(rename = "match")]
    pub matches: RawMatch,
    pub client_id: String,
    pub profile_id: Option<String>,
    pub principal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMatch {
    pub uri_san: Option<String>,
    pub dns_san: Option<String>,
    pub email_san: Option<String>,
    pub subject: Entries<String>,
    pub issuer: Option<RawIssuer>,
    pub sha256: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "an RFC 4514 name such as \"CN=Issuing CA,O=Example\", or an object of attributes")]
pub(super) enum RawIssuer {
    Name(String),
    Attributes(Entries<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawClient {
    pub identities: Vec<String>,
    pub issuers: Vec<String>,
    pub profiles: Vec<String>,
    pub principal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawProfile {
    pub allow: Vec<RawRule>,
    pub deny: Vec<RawDeny>,
    pub source_cidrs: Vec<String>,
    pub rate_limit: Option<RawRateLimit>,
    pub mode: Option<Mode>,
    pub enforcement: Option<Enforcement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRule {
    pub paths: Option<Vec<String>>,
    pub collection: Option<String>,
    pub methods: Option<Vec<String>>,
    pub scopes: Vec<String>,
    pub upgrades: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a path pattern, or an object of \"paths\" or \"collection\" and, optionally, \"methods\""
)]
pub(super) enum RawDeny {
    Path(String),
    Rule(RawDenyRule),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDenyRule {
    pub paths: Option<Vec<String>>,
    pub collection: Option<String>,
    pub methods: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRateLimit {
    pub requests: u64,
    pub per_seconds: u64,
    pub burst: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBypass {
    pub path: String,
    pub methods: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBinding {
    pub required_paths: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawToken {
    #[serde(rename = "source")]
    pub _source: TokenSource,
    pub metadata: RawMetadata,
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
    pub leeway_seconds: Option<u32>,
    pub client_id_claims: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenSource {
    #[default]
    JwtAuthn,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMetadata {
    pub namespace: Option<String>,
    pub key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPath {
    pub encoded_slashes: RawAmbiguous,
    pub semicolons: RawAmbiguous,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawAmbiguous {
    #[default]
    Reject,
    Keep,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawUpstreamHeaders {
    #[serde(deserialize_with = "given")]
    pub client_id: Option<RawHeader>,
    #[serde(deserialize_with = "given")]
    pub profile_id: Option<RawHeader>,
    #[serde(deserialize_with = "given")]
    pub principal: Option<RawHeader>,
    #[serde(deserialize_with = "given")]
    pub identity: Option<RawHeader>,
    #[serde(deserialize_with = "given")]
    pub thumbprint: Option<RawHeader>,
    #[serde(deserialize_with = "given")]
    pub client_cert: Option<RawHeader>,
}

/// A header's name, or whether it is written at all; `null` turns it off.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "the name of a header, true, false or null")]
pub(super) enum RawHeader {
    Name(String),
    Written(bool),
    Off(()),
}

/// Tells a key that is absent (`None`) from one that is `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RawHeader>, D::Error> {
    RawHeader::deserialize(deserializer).map(Some)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAudit {
    pub log: AuditLog,
}

/// `audit.log`: which decisions are written to Envoy's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditLog {
    /// None; the access log has the decision records.
    None,
    /// Refusals, at `warn`.
    #[default]
    Denied,
    /// Refusals at `warn` and everything else at `info`.
    All,
}

/// An object whose keys are the user's own names, in order. A key that stands twice is an error: which of the two is
/// meant would be a guess.
#[derive(Debug)]
pub(super) struct Entries<T>(pub Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the key {key:?} stands twice")));
                    }
                    let value = map.next_value()?;
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}
