//! The leaf certificate: DER in, what the decision needs out. The one decoder of certificates.

use x509_parser::asn1_rs::{Any, Tag, ToDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::distinguished_name::{Attribute, DistinguishedName, MAX_RDNS, Value, attribute_kind};
use super::{Certificate, Thumbprint, Unsuitable, Validity};

/// A certificate larger than this is not read; no real leaf comes near.
pub const MAX_DER_BYTES: usize = 32 * 1024;

/// More subject alternative names than this are not read.
pub const MAX_ALTERNATIVE_NAMES: usize = 256;

/// Why bytes are not a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not PEM, percent-encoded PEM or base64 of anything.
    Encoding,
    /// Longer than [`MAX_DER_BYTES`].
    TooLarge,
    /// Not the DER of a certificate (RFC 5280 section 4.1).
    Der,
    /// Bytes follow the certificate.
    TrailingBytes,
    /// An extension stands twice or cannot be decoded.
    Extension,
    /// More names than [`MAX_ALTERNATIVE_NAMES`], or relative names than a name may have.
    TooManyNames,
    /// A property of the connection does not have the form that the proxy documents.
    Property,
}

impl Malformed {
    /// For the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encoding => "it is neither PEM nor base64",
            Self::TooLarge => "it is larger than 32 KiB",
            Self::Der => "it is not the DER of an X.509 certificate",
            Self::TrailingBytes => "bytes follow the certificate",
            Self::Extension => "an extension is repeated or cannot be decoded",
            Self::TooManyNames => "it holds too many names",
            Self::Property => "a connection property of the proxy has an unknown form",
        }
    }
}

/// Decodes one DER certificate with nothing behind it.
pub(super) fn parse(der: &[u8]) -> Result<Certificate, Malformed> {
    if der.len() > MAX_DER_BYTES {
        return Err(Malformed::TooLarge);
    }
    let (rest, x509) = X509Certificate::from_der(der).map_err(|_| Malformed::Der)?;
    if !rest.is_empty() {
        return Err(Malformed::TrailingBytes);
    }
    let mut certificate = Certificate {
        thumbprint: Thumbprint::of(der),
        subject: name(x509.subject())?,
        issuer: Some(name(x509.issuer())?),
        validity: Some(Validity {
            not_before: x509.validity().not_before.timestamp(),
            not_after: x509.validity().not_after.timestamp(),
        }),
        unsuitable: None,
        uri_sans: Vec::new(),
        dns_sans: Vec::new(),
        email_sans: Vec::new(),
        der: Some(der.to_vec()),
    };
    // Building the map is what finds a repeated extension.
    let extensions = x509.extensions_map().map_err(|_| Malformed::Extension)?;
    for extension in extensions.values() {
        match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => return Err(Malformed::Extension),
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                certificate.unsuitable = Some(Unsuitable::Authority);
            }
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                certificate.unsuitable = Some(Unsuitable::Authority);
            }
            ParsedExtension::ExtendedKeyUsage(usage) if !usage.client_auth => {
                certificate.unsuitable.get_or_insert(Unsuitable::NoClientAuth);
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                if names.general_names.len() > MAX_ALTERNATIVE_NAMES {
                    return Err(Malformed::TooManyNames);
                }
                alternative_names(&names.general_names, &mut certificate);
            }
            ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::Unparsed if extension.critical => {
                certificate.unsuitable.get_or_insert(Unsuitable::UnknownCriticalExtension);
            }
            _ => {}
        }
    }
    Ok(certificate)
}

fn alternative_names(names: &[GeneralName<'_>], certificate: &mut Certificate) {
    for name in names {
        match name {
            GeneralName::URI(uri) => certificate.uri_sans.push((*uri).to_owned()),
            GeneralName::DNSName(dns) => certificate.dns_sans.push(dns.to_ascii_lowercase()),
            GeneralName::RFC822Name(email) => certificate.email_sans.push((*email).to_owned()),
            _ => {}
        }
    }
}

fn name(name: &X509Name<'_>) -> Result<DistinguishedName, Malformed> {
    let rdns: Vec<Vec<Attribute>> = name
        .iter_rdn()
        .take(MAX_RDNS + 1)
        .map(|rdn| {
            rdn.iter()
                .map(|attribute| Attribute {
                    kind: attribute_kind(&attribute.attr_type().to_id_string()),
                    value: value(attribute.attr_value()),
                })
                .collect()
        })
        .collect();
    if rdns.len() > MAX_RDNS {
        return Err(Malformed::TooManyNames);
    }
    Ok(DistinguishedName::from_der_order(rdns))
}

/// The text of an ASN.1 string; whatever is not one, or not well-formed, stays bytes and equals no text.
pub(super) fn value(any: &Any<'_>) -> Value {
    let bytes = any.data;
    let text = match any.tag() {
        Tag::Utf8String => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString | Tag::T61String => {
            bytes.is_ascii().then(|| bytes.iter().copied().map(char::from).collect())
        }
        Tag::BmpString if bytes.len().is_multiple_of(2) => {
            let units = bytes.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok());
            String::from_utf16(&units.map(u16::from_be_bytes).collect::<Vec<_>>()).ok()
        }
        Tag::UniversalString if bytes.len().is_multiple_of(4) => bytes
            .chunks_exact(4)
            .map(|unit| char::from_u32(u32::from_be_bytes(<[u8; 4]>::try_from(unit).ok()?)))
            .collect(),
        _ => None,
    };
    match text {
        Some(text) => Value::Text(text),
        None => Value::Der(any.to_der_vec().unwrap_or_default()),
    }
}
