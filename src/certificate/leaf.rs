//! The leaf certificate: DER in, what the decision needs out. The one decoder of certificates.
//!
//! It walks the fields of RFC 5280 section 4.1 in their order. The signature only has to be well-formed: it is Envoy that
//! verified the chain.

use std::net::IpAddr;

use der::asn1::AnyRef;
use der::{Tag, TagNumber, Tagged};

use super::attribute_names::attribute_kind;
use super::distinguished_name::{Attribute, DistinguishedName, MAX_ATTRIBUTES, MAX_RDNS, Value};
use super::reader::{Oid, Values, bits, dotted, strip_zeros};
use super::time::seconds;
use super::{Certificate, KeyKind, KeyUsage, Thumbprint, Unsuitable, Validity};

/// A certificate larger than this is not read; no real leaf comes near.
pub const MAX_DER_BYTES: usize = 32 * 1024;

/// More subject alternative names than this are not read.
pub const MAX_ALTERNATIVE_NAMES: usize = 256;

/// More extensions than this are not read.
pub const MAX_EXTENSIONS: usize = 64;

const KEY_USAGE: Oid = Oid::new_unwrap("2.5.29.15");
const SUBJECT_ALTERNATIVE_NAME: Oid = Oid::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: Oid = Oid::new_unwrap("2.5.29.19");
const EXTENDED_KEY_USAGE: Oid = Oid::new_unwrap("2.5.29.37");
const SERVER_AUTH: Oid = Oid::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: Oid = Oid::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Extensions that may be critical although nothing is decided by them here: the TLS stack heeds them when it verifies the
/// chain, and refuses a certificate with any other that is critical. None of them says who the certificate is, or what else
/// than RFC 5280's validation of a path must be done before it is used.
const HEEDED_BY_TLS: &[Oid] = &[
    Oid::new_unwrap("2.5.29.30"), // nameConstraints
    // cRLDistributionPoints: where lists of revoked certificates are. To fetch them is left to those who configure lists.
    Oid::new_unwrap("2.5.29.31"),
    Oid::new_unwrap("2.5.29.32"),             // certificatePolicies
    Oid::new_unwrap("2.5.29.33"),             // policyMappings
    Oid::new_unwrap("2.5.29.36"),             // policyConstraints
    Oid::new_unwrap("2.5.29.54"),             // inhibitAnyPolicy
    Oid::new_unwrap("2.16.840.1.113730.1.1"), // Netscape's certificate type
];

/// Why bytes are not a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not PEM, percent-encoded PEM or base64 of anything.
    Encoding,
    /// Longer than [`MAX_DER_BYTES`].
    TooLarge,
    /// Not the DER of a certificate (RFC 5280 section 4.1).
    Der,
    /// `notBefore` or `notAfter` is no time that RFC 5280 allows, or before 1950.
    Time,
    /// The name of the issuer.
    Issuer,
    /// The name of the subject.
    Subject,
    /// Bytes follow the certificate.
    TrailingBytes,
    /// An extension stands twice or cannot be decoded, or there are more than [`MAX_EXTENSIONS`].
    Extension,
    /// More names than [`MAX_ALTERNATIVE_NAMES`], or relative names than a name may have.
    TooManyNames,
    /// A property of the connection does not have the form that the proxy documents.
    Property,
    /// A forwarded value does not have the form that its format documents, or contradicts itself.
    Elements,
    /// An element of it has no `Cert`.
    NoCert,
    /// It has fewer elements than there are trusted proxies.
    TooFewHops,
    /// It holds several leaf certificates.
    SeveralLeaves,
}

impl Malformed {
    /// For the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encoding => "it is neither PEM nor base64",
            Self::TooLarge => "it is larger than 32 KiB",
            Self::Der => "it is not the DER of an X.509 certificate",
            Self::Time => "notBefore or notAfter is no time from 1950 to 9999 as RFC 5280 writes it",
            Self::Issuer => "the name of the issuer is not well-formed DER, or an attribute in it is repeated",
            Self::Subject => "the name of the subject is not well-formed DER, or an attribute in it is repeated",
            Self::TrailingBytes => "bytes follow the certificate",
            Self::Extension => "an extension is repeated or cannot be decoded, or there are too many",
            Self::TooManyNames => "it holds too many names",
            Self::Property => "a connection property of the proxy has an unknown form",
            Self::Elements => {
                "x-forwarded-client-cert does not have the form that Envoy gives it, or what it says is not what the \
                 certificates in it say"
            }
            Self::NoCert => {
                "an element of x-forwarded-client-cert has no Cert: the proxy that wrote it needs \
                 set_current_client_cert_details with cert: true"
            }
            Self::TooFewHops => "x-forwarded-client-cert has fewer elements than certificate.forwarded.hop",
            Self::SeveralLeaves => "certificates follow the leaf that are no certificate authority's",
        }
    }
}

/// Decodes one DER certificate with nothing behind it.
pub(super) fn parse(der: &[u8]) -> Result<Certificate, Malformed> {
    if der.len() > MAX_DER_BYTES {
        return Err(Malformed::TooLarge);
    }
    let mut values = Values::new(der)?;
    let certificate = values.inside(Tag::Sequence, |parts| {
        let certificate = parts.inside(Tag::Sequence, |fields| to_be_signed(fields, der))?;
        parts.algorithm()?;
        parts.octets()?;
        Ok(certificate)
    })?;
    if values.is_empty() { Ok(certificate) } else { Err(Malformed::TrailingBytes) }
}

fn to_be_signed(fields: &mut Values<'_>, der: &[u8]) -> Result<Certificate, Malformed> {
    version(fields)?;
    let serial = serial(fields)?;
    fields.algorithm()?;
    let within = |name: Malformed| move |problem| if problem == Malformed::Der { name } else { problem };
    let issuer = name(fields).map_err(within(Malformed::Issuer))?;
    let validity = fields
        .inside(Tag::Sequence, |times| Ok(Validity { not_before: seconds(times)?, not_after: seconds(times)? }))?;
    let subject = name(fields).map_err(within(Malformed::Subject))?;
    let key = fields.inside(Tag::Sequence, KeyKind::read)?;
    for unique_id in [1, 2] {
        if let Some(content) = fields.optional(implicit(unique_id))? {
            bits(content)?;
        }
    }
    let mut certificate = Certificate {
        thumbprint: Thumbprint::of(der),
        subject,
        serial: Some(serial.to_vec()),
        issuer: Some(issuer),
        validity: Some(validity),
        key: Some(key),
        key_usage: None,
        unsuitable: None,
        uri_sans: Vec::new(),
        dns_sans: Vec::new(),
        email_sans: Vec::new(),
        ip_sans: Vec::new(),
        der: Some(der.to_vec()),
    };
    if let Some(list) = fields.optional(explicit(3))? {
        Values::read_list(list, |list| extensions(list, &mut certificate))?;
    }
    Ok(certificate)
}

fn version(fields: &mut Values<'_>) -> Result<(), Malformed> {
    match fields.optional(explicit(0))? {
        None => Ok(()),
        Some(version) => Values::read(version, |version| match version.required(Tag::Integer)? {
            [0..=2] => Ok(()),
            _ => Err(Malformed::Der),
        }),
    }
}

/// The SubjectPublicKeyInfo of a certificate that could be decoded.
pub fn key_info(der: &[u8]) -> Result<&[u8], Malformed> {
    let certificate = Values::new(der)?.required(Tag::Sequence)?;
    let mut fields = Values::new(Values::new(certificate)?.required(Tag::Sequence)?)?;
    version(&mut fields)?;
    serial(&mut fields)?;
    fields.algorithm()?;
    for _issuer_validity_subject in 0..3 {
        fields.whole()?;
    }
    fields.whole()
}

/// `CertificateSerialNumber`, without zeros in front.
pub fn serial<'a>(fields: &mut Values<'a>) -> Result<&'a [u8], Malformed> {
    // Negative ones are about (RFC 5280 section 4.1.2.2).
    Ok(strip_zeros(fields.integer()?))
}

/// The tag of a member that stands inside a tag of its own.
pub const fn explicit(number: u32) -> Tag {
    Tag::ContextSpecific { number: TagNumber(number), constructed: true }
}

/// The tag that a member has in the place of its own.
pub const fn implicit(number: u32) -> Tag {
    Tag::ContextSpecific { number: TagNumber(number), constructed: false }
}

/// `Name`
pub fn name(fields: &mut Values<'_>) -> Result<DistinguishedName, Malformed> {
    let mut rdns = Vec::new();
    fields.inside(Tag::Sequence, |list| {
        while !list.is_empty() {
            if rdns.len() == MAX_RDNS {
                return Err(Malformed::TooManyNames);
            }
            rdns.push(list.inside(Tag::Set, relative_name)?);
        }
        Ok(())
    })?;
    Ok(DistinguishedName::from_der_order(rdns))
}

fn relative_name(members: &mut Values<'_>) -> Result<Vec<Attribute>, Malformed> {
    let mut attributes = Vec::new();
    while !members.is_empty() {
        if attributes.len() == MAX_ATTRIBUTES {
            return Err(Malformed::TooManyNames);
        }
        let attribute = members.inside(Tag::Sequence, |pair| {
            let kind = attribute_kind(&dotted(pair.oid_content()?)?).into_owned();
            let value = value(pair.rest()?).ok_or(Malformed::Der)?;
            Ok(Attribute { kind, value })
        })?;
        // They are a set (X.501 section 9.3).
        if attributes.contains(&attribute) {
            return Err(Malformed::Der);
        }
        attributes.push(attribute);
    }
    if attributes.is_empty() { Err(Malformed::Der) } else { Ok(attributes) }
}

/// The text of an ASN.1 string; whatever is not one, or not well-formed, stays bytes and equals no text. `None` where
/// this is not the DER of exactly one value.
pub(super) fn value(der: &[u8]) -> Option<Value> {
    /// `GraphicString`, and `UniversalString`, which the library does not know.
    const GRAPHIC_STRING: u8 = 0x19;
    const UNIVERSAL_STRING: u8 = 0x1c;
    let (tag, length_and_content) = der.split_first()?;
    let unknown = matches!(*tag, GRAPHIC_STRING | UNIVERSAL_STRING).then(|| [&[0x04], length_and_content].concat());
    let any = Values::read(unknown.as_deref().unwrap_or(der), Values::any).ok()?;
    let bytes = any.value();
    let text = match any.tag() {
        _ if *tag == UNIVERSAL_STRING => match bytes.as_chunks() {
            (characters, []) => characters.iter().map(|four| char::from_u32(u32::from_be_bytes(*four))).collect(),
            _ => None,
        },
        Tag::Utf8String => str::from_utf8(bytes).ok().map(str::to_owned),
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString | Tag::TeletexString => {
            str::from_utf8(bytes).ok().filter(|text| text.is_ascii()).map(str::to_owned)
        }
        Tag::BmpString if bytes.len().is_multiple_of(2) => {
            let units = bytes.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok());
            String::from_utf16(&units.map(u16::from_be_bytes).collect::<Vec<_>>()).ok()
        }
        _ => None,
    };
    Some(text.map_or_else(|| Value::Der(der.to_vec()), Value::Text))
}

fn extensions(list: &mut Values<'_>, certificate: &mut Certificate) -> Result<(), Malformed> {
    list.extensions(MAX_EXTENSIONS, |kind, critical, content| {
        extension(kind, critical, content, certificate).map_err(|problem| match problem {
            Malformed::TooManyNames => problem,
            _ => Malformed::Extension,
        })
    })
}

fn extension(kind: Oid, critical: bool, content: &[u8], certificate: &mut Certificate) -> Result<(), Malformed> {
    let unsuitable = match kind {
        BASIC_CONSTRAINTS => Values::read_list(content, is_authority)?.then_some(Unsuitable::Authority),
        KEY_USAGE => {
            let usage = Values::read(content, key_usage)?;
            certificate.key_usage = Some(usage);
            let signs_for_an_authority = usage.includes(KeyUsage::CERTIFICATES) || usage.includes(KeyUsage::LISTS);
            signs_for_an_authority.then_some(Unsuitable::Authority)
        }
        EXTENDED_KEY_USAGE => Values::read_list(content, purposes)?,
        SUBJECT_ALTERNATIVE_NAME => {
            Values::read_list(content, |names| alternative_names(names, certificate))?;
            None
        }
        other => (critical && !HEEDED_BY_TLS.contains(&other)).then_some(Unsuitable::UnknownCriticalExtension(other)),
    };
    certificate.unsuitable = match (certificate.unsuitable, unsuitable) {
        (_, Some(Unsuitable::Authority)) => unsuitable,
        // It is the only one that a configuration can allow, so it hides no other.
        (None | Some(Unsuitable::ServerAuthAlone), Some(_)) => unsuitable,
        (known, _) => known,
    };
    Ok(())
}

/// `BasicConstraints`: `cA`
fn is_authority(fields: &mut Values<'_>) -> Result<bool, Malformed> {
    let authority = fields.flag()?;
    if !fields.is_empty() {
        fields.integer()?;
    }
    Ok(authority)
}

/// `KeyUsage`
fn key_usage(content: &mut Values<'_>) -> Result<KeyUsage, Malformed> {
    let (_, usage) = bits(content.required(Tag::BitString)?)?;
    Ok(KeyUsage(usage.first().copied().unwrap_or_default()))
}

/// `ExtKeyUsageSyntax`: `id-kp-clientAuth`, `id-kp-serverAuth`
fn purposes(purposes: &mut Values<'_>) -> Result<Option<Unsuitable>, Malformed> {
    let (mut for_clients, mut for_servers) = (false, false);
    while !purposes.is_empty() {
        match purposes.oid()? {
            CLIENT_AUTH => for_clients = true,
            SERVER_AUTH => for_servers = true,
            _ => {}
        }
    }
    Ok(match (for_clients, for_servers) {
        (true, _) => None,
        (false, true) => Some(Unsuitable::ServerAuthAlone),
        (false, false) => Some(Unsuitable::NoClientAuth),
    })
}

/// `GeneralNames`
fn alternative_names(names: &mut Values<'_>, certificate: &mut Certificate) -> Result<(), Malformed> {
    let mut count = 0;
    while !names.is_empty() {
        if count == MAX_ALTERNATIVE_NAMES {
            return Err(Malformed::TooManyNames);
        }
        count += 1;
        alternative_name(names.any()?, certificate)?;
    }
    Ok(())
}

/// `GeneralName`. UTF-8 is taken for the IA5String that it ought to be.
fn alternative_name(name: AnyRef<'_>, certificate: &mut Certificate) -> Result<(), Malformed> {
    let Tag::ContextSpecific { number: TagNumber(kind), constructed } = name.tag() else {
        return Err(Malformed::Extension);
    };
    let text = || match str::from_utf8(name.value()) {
        Ok(text) if !constructed => Ok(text),
        _ => Err(Malformed::Extension),
    };
    match kind {
        1 => certificate.email_sans.push(text()?.to_owned()),
        2 => certificate.dns_sans.push(text()?.to_ascii_lowercase()),
        6 => certificate.uri_sans.push(text()?.to_owned()),
        7 => certificate.ip_sans.push(address(name.value()).filter(|_| !constructed).ok_or(Malformed::Extension)?),
        _ => {}
    }
    Ok(())
}

/// `iPAddress`: the octets of an address, and no network (RFC 5280 section 4.2.1.6).
fn address(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common_name(kind: u8, letter: u8) -> Vec<u8> {
        [b"\x30\x08\x06\x03\x55\x04\x03".as_slice(), &[kind, 1, letter]].concat()
    }

    #[test]
    fn a_string_is_text_where_it_is_well_formed_and_bytes_otherwise() {
        for (der, text) in [
            (b"\x0c\x02\xc3\xbc".as_slice(), Some("\u{fc}")),
            (b"\x0c\x01\xfc", None),
            (b"\x13\x01a", Some("a")),
            (b"\x16\x01a", Some("a")),
            (b"\x12\x011", Some("1")),
            (b"\x1a\x01a", Some("a")),
            (b"\x14\x01a", Some("a")),
            (b"\x13\x02\xc3\xbc", None),
            (b"\x14\x01\xfc", None),
            (b"\x1e\x02\0a", Some("a")),
            (b"\x1e\x04\0a\0b", Some("ab")),
            (b"\x1e\x03\0ab", None),
            (b"\x1e\x02\xd8\0", None),
            (b"\x1c\x08\0\0\0a\0\x01\xf6\0", Some("a\u{1f600}")),
            (b"\x1c\x00", Some("")),
            (b"\x1c\x03\0\0a", None),
            (b"\x1c\x04\0\0\xd8\0", None),
            (b"\x1c\x04\0\x11\0\0", None),
            (b"\x19\x01a", None),
            (b"\x1b\x01a", None),
            (b"\x15\x01a", None),
            (b"\x02\x01a", None),
            (b"\x04\x01a", None),
        ] {
            let expected = text.map_or_else(|| Value::Der(der.to_vec()), |text| Value::Text(text.to_owned()));
            assert_eq!(value(der), Some(expected), "{der:x?}");
        }
        for der in
            [b"".as_slice(), b"\x0c", b"\x0c\x02a", b"\x0c\x01a\0", b"\x1c", b"\x1c\x05\0\0\0a", b"\x1c\x04\0\0\0a\0"]
        {
            assert_eq!(value(der), None, "{der:x?}");
        }
    }

    /// `cA` and an extended key usage for servers.
    #[test]
    fn that_a_certificate_is_an_authoritys_weighs_more_than_anything_else() {
        let authority = (BASIC_CONSTRAINTS, b"\x30\x03\x01\x01\xff".as_slice());
        let server = (EXTENDED_KEY_USAGE, b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01".as_slice());
        let unknown = (Oid::new_unwrap("1.3.6.1.4.1.99999.1"), b"".as_slice());
        let of = |extensions: &[(Oid, &[u8])]| {
            let mut certificate = Certificate::blank();
            for (kind, content) in extensions {
                extension(*kind, true, content, &mut certificate).unwrap();
            }
            certificate.unsuitable
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[server]), Some(Unsuitable::ServerAuthAlone));
        for extensions in [[unknown, server], [server, unknown]] {
            assert_eq!(of(&extensions), Some(Unsuitable::UnknownCriticalExtension(unknown.0)));
        }
        for extensions in [[authority, server], [server, authority], [unknown, authority], [authority, unknown]] {
            assert_eq!(of(&extensions), Some(Unsuitable::Authority));
        }
    }

    #[test]
    fn why_bytes_are_no_certificate_is_told_apart() {
        let every = [
            Malformed::Encoding,
            Malformed::TooLarge,
            Malformed::Der,
            Malformed::Time,
            Malformed::Issuer,
            Malformed::Subject,
            Malformed::TrailingBytes,
            Malformed::Extension,
            Malformed::TooManyNames,
            Malformed::Property,
            Malformed::Elements,
            Malformed::NoCert,
            Malformed::TooFewHops,
            Malformed::SeveralLeaves,
        ];
        let texts: std::collections::HashSet<&str> = every.iter().map(|problem| problem.as_str()).collect();
        assert!(texts.len() == every.len() && texts.iter().all(|text| text.len() > 10));
        let name = b"\x86\x01a";
        let mut certificate = Certificate::blank();
        let names = name.repeat(MAX_ALTERNATIVE_NAMES + 1);
        let list = [&[0x30, 0x82, 3, 3][..], &names].concat();
        let found = extension(SUBJECT_ALTERNATIVE_NAME, false, &list, &mut certificate);
        assert_eq!(found, Err(Malformed::TooManyNames));
        assert_eq!(parse(&vec![0; MAX_DER_BYTES + 1]), Err(Malformed::TooLarge));
        assert_eq!(parse(&vec![0; MAX_DER_BYTES]), Err(Malformed::Der));
    }

    #[test]
    fn a_relative_name_has_at_least_one_attribute_and_not_too_many() {
        for (count, expected) in [
            (0, Err(Malformed::Der)),
            (1, Ok(1)),
            (MAX_ATTRIBUTES, Ok(MAX_ATTRIBUTES)),
            (MAX_ATTRIBUTES + 1, Err(Malformed::TooManyNames)),
        ] {
            let names: Vec<u8> = (b'0'..).take(count).flat_map(|letter| common_name(0x0c, letter)).collect();
            let read = Values::read(&names, relative_name);
            assert_eq!(read.map(|attributes| attributes.len()), expected);
        }
    }

    #[test]
    fn an_attribute_stands_once_in_a_relative_name() {
        for (other, expected) in [
            (common_name(0x0c, b'b'), Ok(2)),
            (common_name(0x0c, b'a'), Err(Malformed::Der)),
            (common_name(0x13, b'a'), Err(Malformed::Der)),
        ] {
            let read = Values::read(&[common_name(0x0c, b'a'), other].concat(), relative_name);
            assert_eq!(read.map(|attributes| attributes.len()), expected);
        }
    }
}
