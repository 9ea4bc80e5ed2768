//! The configuration as it is written: its keys, their types, and how each is read. Unknown keys and repeated ones are errors.

use serde_json::{Map, Value as Json};

use super::certificate::RawForwarded;
use super::fetch::RawFetch;
use super::revocation::RawRevocation;
use super::value::{Named, Value, object};
use super::words::word;
use crate::certificate::{ExtendedKeyUsage, Validation};
use crate::decision::Enforcement;
use crate::identity::NameKind;
use crate::policy::{Ambiguous, LetterCase, Mode, SourceAddress, UnverifiedAuthorization};

object! {
    #[derive(Debug, Default)]
    pub(super) struct Raw {
        policy_id: Option<String> = optional(Value::text),
        /// Read by itself, because what is wrong with it must not harm the policy in force.
        candidate: Option<String> = optional(Value::whole),
        policy_name: Option<String> = optional(Value::text),
        mode: Mode = or_default(word),
        enforcement: Enforcement = or_default(word),
        certificate: RawCertificate = or_default(RawCertificate::read),
        identity: RawIdentity = or_default(RawIdentity::read),
        require_client_headers: bool = or_default(Value::flag),
        authorities: Named<String> = named(Value::text),
        /// Here for its name alone: [`super::clients`] reads them, straight into the registry.
        _clients as "clients": () = or_default(Value::passed),
        profiles: Named<RawProfile> = named(RawProfile::read),
        collections: Named<Vec<String>> = named(Value::distinct),
        bypass: Vec<RawBypass> = list(RawBypass::read),
        binding: RawBinding = or_default(RawBinding::read),
        token: RawToken = or_default(RawToken::read),
        revocation: RawRevocation = or_default(RawRevocation::read),
        path: RawPath = or_default(RawPath::read),
        source_address: SourceAddress = or_default(word),
        methods: RawMethods = or_default(RawMethods::read),
        unverified_authorization: UnverifiedAuthorization = or_default(word),
        upstream_headers: RawUpstreamHeaders = or_default(RawUpstreamHeaders::read),
        strip_headers: Vec<String> = list(Value::text),
        override_headers: OverrideHeaders = or_default(word),
        audit: RawAudit = or_default(RawAudit::read),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawMethods {
        additional: Vec<String> = or_default(Value::restricting),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawCertificate {
        source: CertificateSource = or_default(word),
        forwarded: Option<RawForwarded> = optional(RawForwarded::read),
        validation: Validation = or_default(word),
        clock_skew_seconds: u32 = or_default(Value::u32),
        extended_key_usage: ExtendedKeyUsage = or_default(word),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum CertificateSource {
    #[default]
    Connection,
    Forwarded,
    ConnectionOrForwarded,
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawIdentity {
        precedence: Option<Vec<NameKind>> = optional(|value| value.list(word)),
        trust_domains: Vec<String> = or_default(Value::restricting),
        mappings: Vec<RawMapping> = list(RawMapping::read),
        allow_unregistered: bool = or_default(Value::flag),
    }
}

object! {
    #[derive(Debug)]
    pub(super) struct RawMapping {
        matches as "match": RawMatch = required(RawMatch::read),
        client_id: String = required(Value::text),
        profile_id: Option<String> = optional(Value::text),
        principal: Option<String> = optional(Value::text),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawMatch {
        uri_san: Option<String> = optional(Value::text),
        dns_san: Option<String> = optional(Value::text),
        email_san: Option<String> = optional(Value::text),
        subject: Named<RawAttribute> = named(RawAttribute::read),
        issuer: Option<RawIssuer> = optional(RawIssuer::read),
        sha256: Option<String> = optional(Value::text),
    }
}

#[derive(Debug)]
pub(super) enum RawIssuer {
    Name(String),
    Attributes(Named<RawAttribute>),
}

impl RawIssuer {
    fn read(value: Value<'_>) -> Self {
        match value {
            text if text.is_text() => Self::Name(text.text()),
            object if object.is_object() => Self::Attributes(object.named(RawAttribute::read)),
            other => {
                other.is_not(
                    "the name of an authority, an RFC 4514 name such as \"CN=Issuing CA,O=Example\", or an object of attributes",
                );
                Self::Attributes(Vec::new())
            }
        }
    }
}

/// What an attribute has to be: its one value, or one of several.
#[derive(Debug)]
pub(super) enum RawAttribute {
    One(String),
    Any(RawAny),
}

impl RawAttribute {
    fn read(value: Value<'_>) -> Self {
        match value {
            text if text.is_text() => Self::One(text.text()),
            object if object.is_object() => Self::Any(RawAny::read(object)),
            other => {
                other.is_not("a value of the attribute, or {\"any\": \"…\"} for one of several values");
                Self::One(String::new())
            }
        }
    }
}

object! {
    #[derive(Debug)]
    pub(super) struct RawAny {
        any: String = required(Value::text),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawProfile {
        allow: Vec<RawRule> = list(RawRule::read),
        deny: Vec<RawDeny> = list(RawDeny::read),
        source_cidrs: Vec<String> = or_default(Value::restricting),
        rate_limit: Option<RawRateLimit> = optional(RawRateLimit::read),
        mode: Option<Mode> = optional(word),
        enforcement: Option<Enforcement> = optional(word),
        unverified_authorization: Option<UnverifiedAuthorization> = optional(word),
    }
}

object! {
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct RawRule {
        paths: Option<Vec<String>> = optional(Value::distinct),
        collection: Option<String> = optional(Value::text),
        methods: Option<Vec<String>> = optional(Value::distinct),
        scopes: Vec<String> = or_default(Value::restricting),
        upgrades: Vec<String> = or_default(Value::restricting),
        plain: bool = or_default(Value::flag),
        hosts: Vec<String> = or_default(Value::restricting),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum RawDeny {
    Path(String),
    Rule(RawDenyRule),
}

impl RawDeny {
    fn read(value: Value<'_>) -> Self {
        match value {
            text if text.is_text() => Self::Path(text.text()),
            object if object.is_object() => Self::Rule(RawDenyRule::read(object)),
            other => {
                other
                    .is_not("a path pattern, or an object of \"paths\" or \"collection\" and, optionally, \"methods\"");
                Self::Path(String::new())
            }
        }
    }
}

object! {
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct RawDenyRule {
        paths: Option<Vec<String>> = optional(Value::distinct),
        collection: Option<String> = optional(Value::text),
        methods: Option<Vec<String>> = optional(Value::distinct),
    }
}

impl RawRule {
    /// Its first path, or its collection.
    pub fn text(&self) -> &str {
        first(self.paths.as_deref(), self.collection.as_deref())
    }
}

impl RawDeny {
    /// Likewise.
    pub fn text(&self) -> &str {
        match self {
            Self::Path(text) => text,
            Self::Rule(rule) => first(rule.paths.as_deref(), rule.collection.as_deref()),
        }
    }
}

fn first<'a>(paths: Option<&'a [String]>, collection: Option<&'a str>) -> &'a str {
    paths.and_then(<[String]>::first).map(String::as_str).or(collection).unwrap_or_default()
}

object! {
    #[derive(Debug)]
    pub(super) struct RawRateLimit {
        requests: u64 = required(Value::u64),
        per_seconds: u64 = required(Value::u64),
        burst: Option<u64> = optional(Value::u64),
    }
}

object! {
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct RawBypass {
        path: String = required(Value::text),
        methods: Option<Vec<String>> = optional(Value::distinct),
        hosts: Vec<String> = or_default(Value::restricting),
        even_denied: bool = or_default(Value::flag),
        unverified_authorization: Option<UnverifiedAuthorization> = optional(word),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawBinding {
        required_paths: Vec<String> = or_default(Value::restricting),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawToken {
        source: TokenSourceName = or_default(word),
        metadata: Option<RawMetadata> = optional(RawMetadata::read),
        jwks: Option<Map<String, Json>> = optional(key_set),
        jwks_uri: Option<RawFetch> = optional(RawFetch::read),
        providers: Option<Vec<RawProvider>> = optional(|value| value.list(RawProvider::read)),
        algorithms: Option<Vec<String>> = optional(Value::distinct),
        issuers: Vec<String> = or_default(Value::restricting),
        audiences: Vec<String> = or_default(Value::restricting),
        leeway_seconds: Option<u32> = optional(Value::u32),
        client_id_claims: Option<Vec<String>> = optional(Value::distinct),
    }
}

object! {
    #[derive(Debug)]
    pub(super) struct RawProvider {
        issuer: String = required(Value::text),
        audiences: Vec<String> = or_default(Value::restricting),
        jwks: Option<Map<String, Json>> = optional(key_set),
        jwks_uri: Option<RawFetch> = optional(RawFetch::read),
        metadata_key: Option<String> = optional(Value::text),
    }
}

fn key_set(value: Value<'_>) -> Map<String, Json> {
    // Who put keys into a string may have put private ones there, so it is not repeated.
    if value.is_text() {
        value.refuse("found a text, expected an object such as {\"keys\": […]}".to_owned());
    }
    value.foreign_object("an object such as {\"keys\": […]}, in which no member is repeated")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum TokenSourceName {
    #[default]
    JwtAuthn,
    Jwks,
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawMetadata {
        namespace: Option<String> = optional(Value::text),
        key: Option<String> = optional(Value::text),
        issuers_bound: bool = or_default(Value::flag),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawPath {
        encoded_slashes: Ambiguous = or_default(word),
        semicolons: Ambiguous = or_default(word),
        restrictions: LetterCase = or_default(word),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawUpstreamHeaders {
        client_id: Option<RawHeader> = optional(RawHeader::read),
        profile_id: Option<RawHeader> = optional(RawHeader::read),
        principal: Option<RawHeader> = optional(RawHeader::read),
        identity: Option<RawHeader> = optional(RawHeader::read),
        thumbprint: Option<RawHeader> = optional(RawHeader::read),
        client_cert: Option<RawHeader> = optional(RawHeader::read),
    }
}

/// A header's name, or whether it is written at all; `null` turns it off.
#[derive(Debug)]
pub(super) enum RawHeader {
    Name(String),
    Written(bool),
    Off,
}

impl RawHeader {
    fn read(value: Value<'_>) -> Self {
        match value {
            text if text.is_text() => Self::Name(text.text()),
            flag if flag.is_flag() => Self::Written(flag.flag()),
            null if null.is_null() => Self::Off,
            other => {
                other.is_not("the name of a header, true, false or null");
                Self::Off
            }
        }
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

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawAudit {
        log: AuditLog = or_default(word),
    }
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
