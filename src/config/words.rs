//! Settings that are one of a few words.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::raw::{AuditLog, CertificateSource, OverrideHeaders, TokenSourceName};
use super::revocation::FeedType;
use crate::certificate::{ExtendedKeyUsage, Format, Validation};
use crate::decision::Enforcement;
use crate::identity::NameKind;
use crate::policy::{Ambiguous, LetterCase, Mode, SourceAddress, UnverifiedAuthorization};
use crate::revocation::OnStale;

/// Reads one of these words, as a string and in no other way: which it is.
struct Words(&'static [&'static str]);

impl Words {
    // Once in the module, and not for each list.
    #[inline(never)]
    fn find<E: Error>(&self, text: &str) -> Result<usize, E> {
        let place = self.0.iter().position(|word| *word == text);
        place.ok_or_else(|| E::invalid_value(Unexpected::Str(text), self))
    }
}

impl Visitor<'_> for Words {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(f, "{separator}\"{word}\"")?;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        self.find(text)
    }
}

#[inline(never)]
fn word<'de, D: Deserializer<'de>>(deserializer: D, words: &'static [&'static str]) -> Result<usize, D::Error> {
    deserializer.deserialize_str(Words(words))
}

macro_rules! words {
    ($($kind:ident { $first:literal => $default:ident $(, $word:literal => $variant:ident)* })*) => {
        $(impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                const KINDS: &[$kind] = &[$kind::$default $(, $kind::$variant)*];
                let place = word(deserializer, &[$first $(, $word)*])?;
                // There is one for each word.
                Ok(KINDS.get(place).copied().unwrap_or($kind::$default))
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
