//! Certificates, and the headers in which they are forwarded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_authz::fuzzing::{DistinguishedName, Element, parse_xfcc};
use mtls_authz::{Certificate, Format, Thumbprint};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::reference;

const FORMATS: &[Format] = &[
    Format::Xfcc,
    Format::Rfc9440,
    Format::Traefik,
    Format::Nginx,
    Format::AwsAlb,
    Format::Azure,
    Format::Haproxy,
    Format::UrlEncodedPem,
    Format::Base64Der,
];

/// A certificate, as DER or as text: DER, PEM, escaped PEM and base64 are one certificate, its names can be printed and read
/// back, and x509-parser sees the same in it.
pub fn leaf(data: &[u8]) {
    if let Ok(certificate) = Certificate::from_text(data) {
        assert_eq!(Certificate::from_der(certificate.der.as_deref().unwrap()).as_ref(), Ok(&certificate));
    }
    let read = Certificate::from_der(data).ok();
    let pem = reference::pem(data);
    for text in [&pem, &pem.replace('\n', "\r\n"), &reference::percent_encode(pem.as_bytes()), &STANDARD.encode(data)] {
        assert_eq!(Certificate::from_text(text.as_bytes()).ok(), read);
    }
    let Some(certificate) = read else {
        return;
    };
    assert_eq!(certificate.der.as_deref(), Some(data));
    assert_eq!(certificate.thumbprint, Thumbprint::of(data));
    assert_eq!(Thumbprint::from_hex(&certificate.thumbprint.to_hex()), Some(certificate.thumbprint));
    assert_eq!(Thumbprint::from_base64url(certificate.thumbprint.as_str()), Some(certificate.thumbprint));
    printed(&certificate.subject);
    printed(certificate.issuer.as_ref().unwrap());
    x509_parser_agrees(data, &certificate);
}

/// Reads a name back. The text form has no way to write a name of no parts.
fn printed(name: &DistinguishedName) {
    let text = name.to_string();
    assert_eq!(DistinguishedName::parse(&text).as_ref(), Some(name).filter(|_| !text.is_empty()), "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// It may take more than we do, but nothing else.
fn x509_parser_agrees(der: &[u8], ours: &Certificate) {
    let (rest, theirs) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    let validity = ours.validity.unwrap();
    assert_eq!(validity.not_before, theirs.validity().not_before.timestamp());
    assert_eq!(validity.not_after, theirs.validity().not_after.timestamp());
    let names = theirs.subject_alternative_name().unwrap().map(|found| found.value.general_names.as_slice());
    let (mut uris, mut dns, mut emails) = (Vec::new(), Vec::new(), Vec::new());
    for name in names.unwrap_or_default() {
        match name {
            GeneralName::URI(name) => uris.push((*name).to_owned()),
            GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase()),
            GeneralName::RFC822Name(name) => emails.push((*name).to_owned()),
            _ => {}
        }
    }
    assert_eq!((&ours.uri_sans, &ours.dns_sans, &ours.email_sans), (&uris, &dns, &emails));
    assert_eq!(ours.subject.values("CN").count(), theirs.subject().iter_common_name().count());
    let authority = theirs.basic_constraints().unwrap().is_some_and(|found| found.value.ca)
        || theirs.key_usage().unwrap().is_some_and(|found| found.value.key_cert_sign() || found.value.crl_sign());
    let for_clients = theirs.extended_key_usage().unwrap().is_none_or(|found| found.value.client_auth);
    assert!(ours.unsuitable.is_some() || (!authority && for_clients));
}

/// A forwarded certificate: a format reads what its proxies write exactly where the DER is a certificate, and whatever else
/// it reads is a certificate as well.
pub fn forwarded(data: &[u8]) {
    let certificate = Certificate::from_der(data).ok();
    let base64 = STANDARD.encode(data);
    let pem = reference::pem(data);
    for format in FORMATS {
        for value in [data, base64.as_bytes()] {
            if let Ok(read) = format.read(value, 1) {
                assert!(read.hops.is_empty());
                assert_eq!(Certificate::from_der(read.client.der.as_deref().unwrap()), Ok(read.client));
                assert!(!format.is_none(value));
            }
        }
        let written = match format {
            Format::Xfcc => element(data),
            Format::Rfc9440 => format!(":{base64}:"),
            Format::Nginx | Format::UrlEncodedPem | Format::AwsAlb => reference::percent_encode(pem.as_bytes()),
            Format::Traefik | Format::Azure | Format::Haproxy | Format::Base64Der => base64.clone(),
        };
        let read = format.read(written.as_bytes(), 1).ok().map(|read| read.client);
        assert_eq!(read, certificate, "{format:?}");
        // Another value joined to it makes two certificates.
        let twice = format!("{written},{written}");
        let elements = *format == Format::Xfcc && certificate.is_some();
        let chain = *format == Format::Traefik && is_authority(certificate.as_ref());
        assert_eq!(format.read(twice.as_bytes(), 1).is_ok(), elements || chain, "{format:?}");
    }
}

fn is_authority(certificate: Option<&Certificate>) -> bool {
    certificate.is_some_and(|certificate| format!("{:?}", certificate.unsuitable) == "Some(Authority)")
}

/// What Envoy writes for a certificate without names.
fn element(der: &[u8]) -> String {
    let pem = reference::percent_encode(reference::pem(der).as_bytes());
    format!("By=spiffe://td/envoy;Hash={};Cert=\"{pem}\";Subject=\"\"", Thumbprint::of(der).to_hex())
}

/// RFC 9440's structured field: read is exactly a byte sequence (RFC 8941) as an encoder writes it, of a certificate.
pub fn structured_field(data: &[u8]) {
    let inside = data.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
    let expected = inside.and_then(reference::base64).and_then(|der| Certificate::from_der(&der).ok());
    let read = Format::Rfc9440.read(data, 1).ok().map(|read| read.client);
    assert_eq!(read, expected);
    if let Some(certificate) = read {
        let printed = format!(":{}:", STANDARD.encode(certificate.der.unwrap()));
        assert_eq!(printed.as_bytes(), data);
    }
}

/// `x-forwarded-client-cert`: what is read can be printed and read back, has no more parts than are allowed, and an
/// element further to the left leaves one more hop behind it.
pub fn xfcc(data: &[u8]) {
    if let Some(elements) = parse_xfcc(data) {
        assert!(elements.len() <= 64 && elements.iter().all(|element| (1..=64).contains(&element.len())));
        assert_eq!(parse_xfcc(&print_xfcc(&elements)).as_ref(), Some(&elements));
    }
    let mut nearer: Option<(Certificate, Vec<Certificate>)> = None;
    for hop in 1..=3 {
        let Ok(read) = Format::Xfcc.read(data, hop) else {
            break;
        };
        assert_eq!(read.hops.len(), hop - 1);
        if let Some((client, hops)) = nearer {
            assert_eq!(read.hops, [vec![client], hops].concat());
        }
        nearer = Some((read.client, read.hops));
    }
    assert!(Format::Xfcc.read(data, 0).is_err() && Format::Xfcc.read(data, 65).is_err());
}

fn print_xfcc(elements: &[Element]) -> Vec<u8> {
    let mut text = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        text.extend_from_slice(if index > 0 { b", " } else { b"" });
        for (index, pair) in element.iter().enumerate() {
            text.extend_from_slice(if index > 0 { b";" } else { b"" });
            let quote: &[u8] = if pair.quoted == Some(true) { b"\"" } else { b"" };
            text.extend([pair.key.as_bytes(), b"=", quote, &pair.value, quote].concat());
        }
    }
    text
}
