//! The client's certificate: where it comes from, what it says, whether it may be used now.

mod attribute_names;
mod connection;
mod distinguished_name;
mod encoding;
mod fold;
mod forwarded;
mod key_kind;
mod leaf;
mod names;
pub mod reader;
mod thumbprint;
mod time;
mod xfcc;

pub use attribute_names::canonical_kind;
pub use connection::{Validation, forwarded_is_own, from_connection};
pub use distinguished_name::{Attribute, DistinguishedName, Value};
pub use encoding::pem as decode_pem;
pub use forwarded::{Format, Forwarded};
pub use key_kind::{EC, ED25519, KeyKind, P256, P384, P521, RSA};
pub use leaf::{Malformed, explicit, implicit, key_info, name, serial};
pub use names::{FoldedName, folded_address, folded_host, folded_text, folded_uri};
pub use thumbprint::Thumbprint;
pub use time::seconds;
pub use xfcc::{Element, Pair, parse_text as parse_xfcc};

use std::borrow::Cow;
use std::net::IpAddr;

use reader::Oid;

use crate::decision::{Deny, Reason};

/// A client certificate, as much of it as could be had.
///
/// Where only properties of the connection were available, the DER, issuer and validity are
/// unknown and the alternative names are the first of each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the DER.
    pub thumbprint: Thumbprint,
    /// The subject's name; may be empty.
    pub subject: DistinguishedName,
    /// The serial number, big-endian and without zeros in front, where the whole certificate was seen.
    pub serial: Option<Vec<u8>>,
    /// The issuer's name, where the whole certificate was seen.
    pub issuer: Option<DistinguishedName>,
    /// When it may be used, where the whole certificate was seen.
    pub validity: Option<Validity>,
    /// The kind of its key, where the whole certificate was seen.
    pub key: Option<KeyKind>,
    /// What its key may be used for, if the whole certificate was seen and says so.
    pub key_usage: Option<KeyUsage>,
    /// Why it is no client certificate, if it is none.
    pub unsuitable: Option<Unsuitable>,
    /// Every URI subject alternative name.
    pub uri_sans: Vec<String>,
    /// Every DNS subject alternative name, in lower case.
    pub dns_sans: Vec<String>,
    /// Every e-mail subject alternative name.
    pub email_sans: Vec<String>,
    /// Every IP address among the subject alternative names.
    pub ip_sans: Vec<IpAddr>,
    /// The DER itself, where the whole certificate was seen.
    pub der: Option<Vec<u8>>,
}

/// The seconds since 1970 between which a certificate is valid, both ends included (RFC 5280 section 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: i64,
    /// Last second.
    pub not_after: i64,
}

/// `KeyUsage` (RFC 5280 section 4.2.1.3): the first eight of its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage(u8);

impl KeyUsage {
    /// `keyCertSign`: the key signs certificates.
    pub const CERTIFICATES: Self = Self(0b0000_0100);
    /// `digitalSignature`: the key signs what is neither, such as TLS handshakes.
    pub const SIGNATURES: Self = Self(0b1000_0000);
    /// `cRLSign`: the key signs lists of revoked certificates.
    pub const LISTS: Self = Self(0b0000_0010);

    /// May the key be used for this?
    pub const fn includes(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The purpose that an extended key usage must have (`certificate.extended_key_usage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExtendedKeyUsage {
    /// `clientAuth`
    #[default]
    ClientAuth,
    /// `clientAuth` or `serverAuth`, which is all that public certificate authorities issue.
    ClientOrServerAuth,
}

/// Why a certificate is not one for TLS clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuitable {
    /// It is a certificate authority's: `cA`, `keyCertSign` or `cRLSign` is set.
    Authority,
    /// Its extended key usage includes neither `clientAuth` nor `serverAuth`.
    NoClientAuth,
    /// Its extended key usage includes `serverAuth`, and not `clientAuth`.
    ServerAuthAlone,
    /// A critical extension that nobody here understands (RFC 5280 section 4.2).
    UnknownCriticalExtension(Oid),
}

impl Unsuitable {
    const fn detail(self) -> &'static str {
        match self {
            Self::Authority => "A certificate authority's certificate is not one for TLS clients.",
            Self::NoClientAuth | Self::ServerAuthAlone => {
                "The certificate's extended key usage does not include clientAuth."
            }
            Self::UnknownCriticalExtension(_) => "The certificate has an unknown critical extension.",
        }
    }

    fn note(self) -> Cow<'static, str> {
        match self {
            Self::Authority => "cA, keyCertSign or cRLSign is set: expected the certificate of a client, not of an authority".into(),
            Self::NoClientAuth => "the extended key usage includes neither clientAuth nor serverAuth: expected clientAuth".into(),
            Self::ServerAuthAlone => {
                "the extended key usage includes serverAuth and not clientAuth: have the certificate issued with clientAuth, \
                 or set certificate.extended_key_usage to \"client_or_server_auth\""
                    .into()
            }
            Self::UnknownCriticalExtension(oid) => {
                format!("found the critical extension {oid}, expected none that nothing here understands").into()
            }
        }
    }
}

impl Certificate {
    /// Decodes exactly one DER certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, Malformed> {
        leaf::parse(der)
    }

    /// Decodes PEM (plain or percent-encoded) or base64 of exactly one certificate.
    pub fn from_text(text: &[u8]) -> Result<Self, Malformed> {
        Self::from_der(&encoding::decode(text).ok_or(Malformed::Encoding)?)
    }

    /// May it be used as a client certificate at this time (seconds since 1970), allowing for `skew` seconds?
    pub fn check(&self, now: i64, skew: i64, usage: ExtendedKeyUsage) -> Result<(), Deny> {
        let is_allowed = |unsuitable: &Unsuitable| {
            *unsuitable == Unsuitable::ServerAuthAlone && usage == ExtendedKeyUsage::ClientOrServerAuth
        };
        if let Some(unsuitable) = self.unsuitable.filter(|unsuitable| !is_allowed(unsuitable)) {
            let deny = Deny::new(Reason::CertificateUnsuitable);
            return Err(deny.with_detail(unsuitable.detail()).with_note(unsuitable.note()));
        }
        let Some(Validity { not_before, not_after }) = self.validity else {
            return Ok(());
        };
        let untimely = |reason, bound, time| {
            let note = format!("{bound} is {}, now is {}", time::written(time), time::written(now));
            Err(Deny::new(reason).with_note(note))
        };
        if now < not_before.saturating_sub(skew) {
            return untimely(Reason::CertificateNotYetValid, "notBefore", not_before);
        }
        if now > not_after.saturating_add(skew) {
            return untimely(Reason::CertificateExpired, "notAfter", not_after);
        }
        Ok(())
    }

    /// One that says nothing.
    #[cfg(test)]
    pub(crate) fn blank() -> Self {
        Self {
            thumbprint: Thumbprint::of(b""),
            subject: DistinguishedName::default(),
            serial: None,
            issuer: None,
            validity: None,
            key: None,
            key_usage: None,
            unsuitable: None,
            uri_sans: Vec::new(),
            dns_sans: Vec::new(),
            email_sans: Vec::new(),
            ip_sans: Vec::new(),
            der: None,
        }
    }
}
