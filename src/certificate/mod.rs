//! The client's certificate: where it comes from, what it says, whether it may be used now.

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
mod xfcc;

pub use connection::{Validation, forwarded_is_own, from_connection};
pub use distinguished_name::{Attribute, DistinguishedName, Value, canonical_kind};
pub use encoding::pem as decode_pem;
pub use forwarded::{Format, Forwarded};
pub use key_kind::{EC, ED25519, KeyKind, P256, P384, RSA};
pub use leaf::{Malformed, explicit, implicit, key_info, name, seconds, serial};
pub use names::{FoldedName, folded_address, folded_host, folded_text, folded_uri};
pub use thumbprint::Thumbprint;
pub use xfcc::{Element, Pair, parse as parse_xfcc};

use std::net::IpAddr;

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
    /// `cRLSign`: the key signs lists of revoked certificates.
    pub const LISTS: Self = Self(0b0000_0010);

    /// May the key be used for this?
    pub const fn includes(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Why a certificate is not one for TLS clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuitable {
    /// It is a certificate authority's: `cA`, `keyCertSign` or `cRLSign` is set.
    Authority,
    /// Its extended key usage does not include `clientAuth`.
    NoClientAuth,
    /// A critical extension that nobody here understands (RFC 5280 section 4.2).
    UnknownCriticalExtension,
}

impl Unsuitable {
    const fn detail(self) -> &'static str {
        match self {
            Self::Authority => "A certificate authority's certificate is not one for TLS clients.",
            Self::NoClientAuth => "The certificate's extended key usage does not include clientAuth.",
            Self::UnknownCriticalExtension => "The certificate has an unknown critical extension.",
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
    pub fn check(&self, now: i64, skew: i64) -> Result<(), Deny> {
        if let Some(unsuitable) = self.unsuitable {
            return Err(Deny::new(Reason::CertificateUnsuitable).with_detail(unsuitable.detail()));
        }
        let Some(validity) = self.validity else {
            return Ok(());
        };
        if now < validity.not_before.saturating_sub(skew) {
            return Err(Reason::CertificateNotYetValid.into());
        }
        if now > validity.not_after.saturating_add(skew) {
            return Err(Reason::CertificateExpired.into());
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
