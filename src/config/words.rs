//! Settings that are one of a few words.

use super::raw::{AuditLog, CertificateSource, OverrideHeaders, TokenSourceName};
use super::revocation::FeedType;
use super::value::Value;
use crate::certificate::{ExtendedKeyUsage, Format, Validation};
use crate::decision::Enforcement;
use crate::identity::NameKind;
use crate::policy::{Ambiguous, LetterCase, Mode, SourceAddress, UnverifiedAuthorization};
use crate::revocation::OnStale;

/// What is written as one of a few words.
pub(super) trait Word: Copy + 'static {
    /// All of them.
    const WORDS: &'static [&'static str];
    /// What the word of this number stands for.
    fn of(number: usize) -> Self;
}

/// Reads one of its words, as a string and in no other way.
pub(super) fn word<T: Word>(value: Value<'_>) -> T {
    T::of(value.word(T::WORDS))
}

macro_rules! words {
    ($($kind:ident { $first:literal => $default:ident $(, $word:literal => $variant:ident)* })*) => {
        $(impl Word for $kind {
            const WORDS: &'static [&'static str] = &[$first $(, $word)*];

            fn of(number: usize) -> Self {
                const KINDS: &[$kind] = &[$kind::$default $(, $kind::$variant)*];
                // There is one for each word.
                KINDS.get(number).copied().unwrap_or($kind::$default)
            }
        })*
    };
}

words! {
    Mode {
        "mtls" => Mtls,
        "bearer_plus_mtls_required" => BearerPlusMtlsRequired,
        "bearer_plus_mtls_optional" => BearerPlusMtlsOptional
    }
    Enforcement { "enforce" => Enforce, "shadow" => Shadow }
    CertificateSource {
        "connection" => Connection,
        "forwarded" => Forwarded,
        "connection_or_forwarded" => ConnectionOrForwarded
    }
    Format {
        "xfcc" => Xfcc,
        "rfc9440" => Rfc9440,
        "traefik" => Traefik,
        "nginx" => Nginx,
        "aws_alb" => AwsAlb,
        "azure" => Azure,
        "haproxy" => Haproxy,
        "url_encoded_pem" => UrlEncodedPem,
        "base64_der" => Base64Der
    }
    Validation { "attribute" => Attribute, "listener" => Listener }
    ExtendedKeyUsage { "client_auth" => ClientAuth, "client_or_server_auth" => ClientOrServerAuth }
    NameKind { "uri_san" => UriSan, "dns_san" => DnsSan, "subject_cn" => SubjectCn }
    TokenSourceName { "jwt_authn" => JwtAuthn, "jwks" => Jwks }
    Ambiguous { "reject" => Reject, "keep" => Keep }
    LetterCase { "exact" => Exact, "ignore_case" => Ignore }
    SourceAddress { "direct" => Direct, "envoy" => Envoy }
    UnverifiedAuthorization { "remove" => Remove, "keep" => Keep }
    FeedType { "json" => Json, "crl" => Crl }
    OnStale { "deny" => Deny, "allow" => Allow }
    OverrideHeaders { "refuse" => Refuse, "keep" => Keep }
    AuditLog { "none" => None, "denied" => Denied, "all" => All }
}
