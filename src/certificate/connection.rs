//! The certificate of this TLS connection, from Envoy's properties.

use super::{Certificate, DistinguishedName, Malformed, Thumbprint, xfcc};
use crate::decision::{Deny, Reason};
use crate::proxy::{Property, Proxy};
use crate::request::Values;

/// How it is known that Envoy verified the certificate (`certificate.validation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validation {
    /// `connection.peer_certificate_valid` must be true, whatever the listener lets through.
    #[default]
    Attribute,
    /// The listener refuses unverified certificates by itself.
    Listener,
}

impl Validation {
    /// The name of notes on connections: each way to know keeps its own, because what one of them takes for verified another one
    /// may not. The form of a note may change with the version.
    pub const fn note_name(self) -> &'static str {
        match self {
            Self::Attribute => concat!("mtls_authz.connection.", env!("CARGO_PKG_VERSION"), ".attribute"),
            Self::Listener => concat!("mtls_authz.connection.", env!("CARGO_PKG_VERSION"), ".listener"),
        }
    }
}

/// Reads the certificate that the peer presented. `Ok(None)` where it presented none.
///
/// The whole certificate comes from `connection.peer_certificate`; before Envoy 1.38 from the `Cert` of one of the
/// `forwarded` values (`x-forwarded-client-cert`), believed only where its SHA-256 is the connection's digest; failing
/// both, what the digest, subject and name properties tell.
pub fn from_connection(
    proxy: &dyn Proxy,
    validation: Validation,
    forwarded: &Values<'_>,
) -> Result<Option<Certificate>, Deny> {
    let Some(presented) = presented(proxy, forwarded)? else {
        return Ok(None);
    };
    if validation == Validation::Attribute {
        match proxy.property(Property::PeerCertificateValid)?.as_deref() {
            Some([1]) => {}
            Some([]) | None => {
                return Err(Deny::new(Reason::CertificateUntrusted).with_note(
                    "connection.peer_certificate_valid is absent: it needs Envoy 1.39 or later; on an older one, with a \
                     listener that refuses unverified certificates, set certificate.validation to \"listener\"",
                ));
            }
            Some(_) => {
                return Err(Deny::new(Reason::CertificateUntrusted).with_note(
                    "connection.peer_certificate_valid is false: the listener lets unverified certificates through, or \
                     the TLS session was resumed (turn session resumption off in the listener's TLS context)",
                ));
            }
        }
    }
    presented
        .certificate()
        .map(Some)
        .map_err(|problem| Deny::new(Reason::CertificateMalformed).with_note(problem.as_str()))
}

/// Is the `x-forwarded-client-cert` of a request what Envoy wrote for this connection, whose certificate this is?
pub fn forwarded_is_own(proxy: &dyn Proxy, forwarded: &Values<'_>, certificate: &Certificate) -> bool {
    xfcc::is_own(forwarded, certificate, proxy)
}

/// What the connection has to show for a certificate, not yet decoded.
enum Presented {
    Whole(Vec<u8>),
    Der(Vec<u8>),
    Properties { digest: Vec<u8>, subject: Vec<u8>, uri_san: Vec<u8>, dns_san: Vec<u8> },
}

fn presented(proxy: &dyn Proxy, forwarded: &Values<'_>) -> Result<Option<Presented>, Deny> {
    if let Some(pem) = non_empty(proxy, Property::PeerCertificate)? {
        return Ok(Some(Presented::Whole(pem)));
    }
    let Some(digest) = non_empty(proxy, Property::PeerCertificateDigest)? else {
        return Ok(None);
    };
    if let Some(der) = parse_digest(&digest).and_then(|thumbprint| xfcc::certificate(forwarded, thumbprint)) {
        return Ok(Some(Presented::Der(der)));
    }
    Ok(Some(Presented::Properties {
        digest,
        subject: non_empty(proxy, Property::PeerSubject)?.unwrap_or_default(),
        uri_san: non_empty(proxy, Property::PeerUriSan)?.unwrap_or_default(),
        dns_san: non_empty(proxy, Property::PeerDnsSan)?.unwrap_or_default(),
    }))
}

impl Presented {
    fn certificate(self) -> Result<Certificate, Malformed> {
        match self {
            Self::Whole(pem) => Certificate::from_text(&pem),
            Self::Der(der) => Certificate::from_der(&der),
            Self::Properties { digest, subject, uri_san, dns_san } => Ok(Certificate {
                thumbprint: parse_digest(&digest).ok_or(Malformed::Property)?,
                subject: match text(subject)? {
                    Some(subject) => DistinguishedName::parse_printed(&subject).ok_or(Malformed::Property)?,
                    None => DistinguishedName::default(),
                },
                serial: None,
                issuer: None,
                validity: None,
                key: None,
                key_usage: None,
                unsuitable: None,
                uri_sans: text(uri_san)?.into_iter().collect(),
                dns_sans: text(dns_san)?.map(|name| name.to_ascii_lowercase()).into_iter().collect(),
                email_sans: Vec::new(),
                ip_sans: Vec::new(),
                der: None,
            }),
        }
    }
}

fn non_empty(proxy: &dyn Proxy, property: Property) -> Result<Option<Vec<u8>>, Deny> {
    let value = proxy.property(property)?;
    Ok(value.filter(|bytes| !bytes.is_empty()))
}

fn parse_digest(hex: &[u8]) -> Option<Thumbprint> {
    Thumbprint::from_hex(std::str::from_utf8(hex).ok()?)
}

fn text(bytes: Vec<u8>) -> Result<Option<String>, Malformed> {
    let text = String::from_utf8(bytes).map_err(|_| Malformed::Property)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
