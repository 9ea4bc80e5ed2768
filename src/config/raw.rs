//! The configuration as it is written: types and names, nothing else. Unknown keys and repeated ones are errors.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::certificate::Validation;
use crate::decision::Enforcement;
use crate::identity::NameKind;
use crate::policy::{Ambiguous, Mode, SourceAddress};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "given")]
    pub policy_id: Option<String>,
    pub mode: Mode,
    pub enforcement: Enforcement,
    pub certificate: Object<RawCertificate>,
    pub identity: Object<RawIdentity>,
    pub require_client_headers: bool,
    pub clients: Entries<Object<RawClient>>,
    pub profiles: Entries<Object<RawProfile>>,
    pub collections: Entries<Vec<String>>,
    pub bypass: Vec<Object<RawBypass>>,
    pub binding: Object<RawBinding>,
    pub token: Object<RawToken>,
    pub path: Object<RawPath>,
    pub source_address: SourceAddress,
    pub upstream_headers: Object<RawUpstreamHeaders>,
    pub audit: Object<RawAudit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCertificate {
    #[serde(rename = "source")]
    pub _source: CertificateSource,
    pub validation: Validation,
    pub clock_skew_seconds: u32,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) enum CertificateSource {
    #[default]
    Connection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIdentity {
    #[serde(default, deserialize_with = "given")]
    pub precedence: Option<Vec<NameKind>>,
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
    pub subject: Entries<String>,
    #[serde(default, deserialize_with = "given")]
    pub issuer: Option<RawIssuer>,
    #[serde(default, deserialize_with = "given")]
    pub sha256: Option<String>,
}

#[derive(Debug)]
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
    #[serde(default, deserialize_with = "given")]
    pub principal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawProfile {
    pub allow: Vec<Object<RawRule>>,
    pub deny: Vec<RawDeny>,
    pub source_cidrs: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    pub rate_limit: Option<Object<RawRateLimit>>,
    #[serde(default, deserialize_with = "given")]
    pub mode: Option<Mode>,
    #[serde(default, deserialize_with = "given")]
    pub enforcement: Option<Enforcement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(default, deserialize_with = "given")]
    pub paths: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    pub collection: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub methods: Option<Vec<String>>,
    pub scopes: Vec<String>,
    pub upgrades: Vec<String>,
}

#[derive(Debug)]
pub(super) enum RawDeny {
    Path(String),
    Rule(RawDenyRule),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDenyRule {
    #[serde(default, deserialize_with = "given")]
    pub paths: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    pub collection: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub methods: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRateLimit {
    pub requests: u64,
    pub per_seconds: u64,
    #[serde(default, deserialize_with = "given")]
    pub burst: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBypass {
    pub path: String,
    #[serde(default, deserialize_with = "given")]
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
    pub metadata: Object<RawMetadata>,
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    pub leeway_seconds: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    pub client_id_claims: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) enum TokenSource {
    #[default]
    JwtAuthn,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMetadata {
    #[serde(default, deserialize_with = "given")]
    pub namespace: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPath {
    pub encoded_slashes: Ambiguous,
    pub semicolons: Ambiguous,
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

/// A key that may be absent. One that is `null` is not: a template that left a value unset must not lift a restriction.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
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

/// Reads what is either a text or an object.
struct TextOr<T, R> {
    expected: &'static str,
    text: fn(String) -> R,
    object: fn(T) -> R,
}

impl<'de, T: Deserialize<'de>, R> Visitor<'de> for TextOr<T, R> {
    type Value = R;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<R, E> {
        Ok((self.text)(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<R, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(self.object)
    }
}

impl<'de> Deserialize<'de> for RawIssuer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOr {
            expected: "an RFC 4514 name such as \"CN=Issuing CA,O=Example\", or an object of attributes",
            text: RawIssuer::Name,
            object: RawIssuer::Attributes,
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

/// A JSON object with known keys. (What serde derives would also read an array of the values in order.)
#[derive(Debug, Default)]
pub(super) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
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
