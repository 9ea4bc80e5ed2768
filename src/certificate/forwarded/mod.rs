//! A certificate that a proxy in front took from the caller and forwards in a header: one file a format.
//!
//! Each format is as strict as the proxies that write it, and all decode with [`super::encoding`]. A value holds
//! exactly one leaf certificate. What it is worth is not known here: whoever reads it must know that the peer who sent it is a
//! trusted proxy.

mod base64_der;
mod chain;
mod rfc9440;
mod traefik;
mod url_encoded_pem;
mod xfcc;

use super::{Certificate, Malformed};

/// How a proxy writes the certificate (`certificate.forwarded.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Envoy's `x-forwarded-client-cert`, as text or as JSON.
    Xfcc,
    /// RFC 9440's `Client-Cert`.
    Rfc9440,
    /// Traefik's `PassTLSClientCert`.
    Traefik,
    /// nginx's `$ssl_client_escaped_cert`.
    Nginx,
    /// An AWS Application Load Balancer in verify mode.
    AwsAlb,
    /// Azure App Service.
    Azure,
    /// HAProxy's `ssl_c_der,base64`.
    Haproxy,
    /// PEM, percent-encoded.
    UrlEncodedPem,
    /// DER, in base64.
    Base64Der,
}

impl Format {
    /// The header in which such proxies send it unless they are told otherwise; `None` where they must be told.
    pub const fn default_header(self) -> Option<&'static str> {
        match self {
            Self::Xfcc => Some("x-forwarded-client-cert"),
            Self::Rfc9440 => Some("client-cert"),
            Self::Traefik => Some("x-forwarded-tls-client-cert"),
            Self::Nginx => Some("ssl-client-cert"),
            Self::AwsAlb => Some("x-amzn-mtls-clientcert-leaf"),
            Self::Azure => Some("x-arr-clientcert"),
            Self::Haproxy | Self::UrlEncodedPem | Self::Base64Der => None,
        }
    }

    /// Is this how a proxy says that its caller presented no certificate?
    pub fn is_none(self, value: &[u8]) -> bool {
        // What Apache writes for a variable that is not set.
        self.unquoted(value).is_empty() || (self == Self::UrlEncodedPem && value == b"(null)")
    }

    /// The value without the double quotes around it, which HAProxy writes where its format says `+Q`. No character of base64 is
    /// one, so that the value can be read in no other way.
    fn unquoted(self, value: &[u8]) -> &[u8] {
        let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        match (self, quoted) {
            (Self::Haproxy | Self::Base64Der, Some(inside)) => inside,
            _ => value,
        }
    }

    /// Reads a header value. `hop` counts elements of [`Format::Xfcc`] from the right, beginning with 1.
    pub fn read(self, value: &[u8], hop: usize) -> Result<Forwarded, Malformed> {
        let client = match self {
            Self::Xfcc => return xfcc::read(value, hop),
            Self::Rfc9440 => rfc9440::read(value),
            Self::Traefik => traefik::read(value),
            Self::Nginx | Self::AwsAlb | Self::UrlEncodedPem => url_encoded_pem::read(value),
            Self::Azure | Self::Haproxy | Self::Base64Der => base64_der::read(self.unquoted(value)),
        }?;
        Ok(Forwarded { client, hops: Vec::new() })
    }
}

/// What a header value holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The caller's certificate.
    pub client: Certificate,
    /// The certificates of the proxies between the one that wrote the element and the direct peer, as each of them was
    /// seen by the next. They must be trusted proxies, or the element may be anybody's.
    pub hops: Vec<Certificate>,
}
