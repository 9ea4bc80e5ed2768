//! Certificates made in the test, and what the decoder makes of them.

use mtls_authz::{Certificate, ExtendedKeyUsage, Reason, Thumbprint};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::proxy::NOW;

/// A leaf, issued by `CN=Test CA,O=ExampleCorp`.
pub struct Leaf {
    pub pem: String,
    pub der: Vec<u8>,
}

impl Leaf {
    pub fn thumbprint(&self) -> String {
        Thumbprint::of(&self.der).to_string()
    }
}

/// What a certificate is to hold. By default: a good client certificate without names.
pub struct Recipe {
    pub params: CertificateParams,
}

impl Recipe {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = at(-3_600);
        params.not_after = at(3_600);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(7));
        Self { params }
    }

    pub fn subject(mut self, kind: DnType, value: &str) -> Self {
        self.params.distinguished_name.push(kind, value);
        self
    }

    pub fn cn(self, value: &str) -> Self {
        self.subject(DnType::CommonName, value)
    }

    pub fn uri(mut self, uri: &str) -> Self {
        self.params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        self
    }

    pub fn dns(mut self, name: &str) -> Self {
        self.params.subject_alt_names.push(SanType::DnsName(name.try_into().unwrap()));
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }

    pub fn issue(self) -> Leaf {
        self.issue_by(authority())
    }

    /// Issued by an authority of this name and no other attribute.
    pub fn issue_as(self, common_name: &str) -> Leaf {
        self.issue_named(&[(DnType::CommonName, common_name.into())])
    }

    /// Issued by an authority of this name, in the order of the DER.
    pub fn issue_named(self, name: &[(DnType, DnValue)]) -> Leaf {
        let mut authority = authority();
        authority.distinguished_name = DistinguishedName::new();
        name.iter().for_each(|(kind, value)| authority.distinguished_name.push(kind.clone(), value.clone()));
        self.issue_by(authority)
    }

    fn issue_by(self, authority: CertificateParams) -> Leaf {
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let certificate = self.params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        Leaf { pem: certificate.pem(), der: certificate.der().to_vec() }
    }
}

fn authority() -> CertificateParams {
    let mut ca = CertificateParams::default();
    ca.distinguished_name = DistinguishedName::new();
    ca.distinguished_name.push(DnType::OrganizationName, "ExampleCorp");
    ca.distinguished_name.push(DnType::CommonName, "Test CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca
}

/// The certificate of a certificate authority, by itself.
pub fn ca() -> Leaf {
    let certificate = authority().self_signed(&KeyPair::generate().unwrap()).unwrap();
    Leaf { pem: certificate.pem(), der: certificate.der().to_vec() }
}

pub fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap()
}

/// The usual client.
pub fn acme() -> Leaf {
    Recipe::new().uri("spiffe://prod.example/ns/pay/sa/acme").cn("acme").issue()
}

#[test]
fn a_leaf_says_what_was_put_into_it() {
    let leaf = Recipe::new()
        .subject(DnType::OrganizationName, "ExampleCorp")
        .cn("acme")
        .uri("spiffe://td/a")
        .dns("API.example")
        .issue();
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    assert_eq!(certificate.subject.to_string(), "CN=acme,O=ExampleCorp");
    assert_eq!(certificate.issuer.as_ref().unwrap().to_string(), "CN=Test CA,O=ExampleCorp");
    assert_eq!(certificate.uri_sans, ["spiffe://td/a"]);
    assert_eq!(certificate.dns_sans, ["api.example"]);
    assert_eq!(certificate.thumbprint, Thumbprint::of(&leaf.der));
    assert_eq!(Certificate::from_text(leaf.pem.as_bytes()).unwrap(), certificate);
}

#[test]
fn a_certificate_is_checked_at_every_request() {
    let ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cert_sign = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let list_sign = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let critical = |params: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    };
    for (name, leaf, expected) in [
        ("good", Recipe::new().issue(), Ok(())),
        ("no extended key usage", Recipe::new().with(|params| params.extended_key_usages.clear()).issue(), Ok(())),
        ("a CA", Recipe::new().with(ca).issue(), Err(Reason::CertificateUnsuitable)),
        ("may sign certificates", Recipe::new().with(cert_sign).issue(), Err(Reason::CertificateUnsuitable)),
        ("may sign lists", Recipe::new().with(list_sign).issue(), Err(Reason::CertificateUnsuitable)),
        ("for servers", Recipe::new().with(server).issue(), Err(Reason::CertificateUnsuitable)),
        ("unknown critical extension", Recipe::new().with(critical).issue(), Err(Reason::CertificateUnsuitable)),
        ("ends now", Recipe::new().with(|params| params.not_after = at(0)).issue(), Ok(())),
        ("ended", Recipe::new().with(|params| params.not_after = at(-1)).issue(), Err(Reason::CertificateExpired)),
        ("begins now", Recipe::new().with(|params| params.not_before = at(0)).issue(), Ok(())),
        ("begins", Recipe::new().with(|params| params.not_before = at(1)).issue(), Err(Reason::CertificateNotYetValid)),
    ] {
        let certificate = Certificate::from_der(&leaf.der).unwrap();
        assert_eq!(
            certificate.check(NOW, 0, ExtendedKeyUsage::ClientAuth).map_err(|deny| deny.reason),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_skew_counts_at_both_ends() {
    let leaf = Recipe::new().with(|params| params.not_after = at(-30)).issue();
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    assert!(certificate.check(NOW, 30, ExtendedKeyUsage::ClientAuth).is_ok());
    assert!(certificate.check(NOW, 29, ExtendedKeyUsage::ClientAuth).is_err());
    let early = Recipe::new().with(|params| params.not_before = at(30)).issue();
    let certificate = Certificate::from_der(&early.der).unwrap();
    assert!(certificate.check(NOW, 30, ExtendedKeyUsage::ClientAuth).is_ok());
    assert!(certificate.check(NOW, 29, ExtendedKeyUsage::ClientAuth).is_err());
}

#[test]
fn bytes_behind_a_certificate_or_missing_from_it_are_refused() {
    let leaf = acme();
    assert!(Certificate::from_der(&[leaf.der.as_slice(), &[0]].concat()).is_err());
    for length in 0..leaf.der.len() {
        assert!(Certificate::from_der(&leaf.der[..length]).is_err(), "{length}");
    }
    assert!(Certificate::from_text(format!("{}{}", leaf.pem, leaf.pem).as_bytes()).is_err());
}

#[test]
fn a_time_has_one_spelling_or_refuses_the_certificate() {
    let leaf = Recipe::new().with(|params| params.not_after = at(86_400 * 365)).issue();
    let times: Vec<usize> = (0..leaf.der.len() - 15)
        .filter(|at| leaf.der[*at..].starts_with(b"\x17\x0d2") && leaf.der[at + 14] == b'Z')
        .collect();
    let [begin, end] = times[..] else { panic!("{times:?}") };
    for place in [begin, end] {
        for (time, good) in [
            (b"270115000000Z", true),
            (b"270115000060Z", false),
            (b"270115006000Z", false),
            (b"270115240000Z", false),
            (b"270230000000Z", false),
            (b"271301000000Z", false),
            (b"270015000000Z", false),
            (b"27011500+000Z", false),
            (b"270115000000z", false),
            (b"2701150000000", false),
            (b"2701150000\0\0Z", false),
            (b"27011500000 Z", false),
            (b"-70115000000Z", false),
            (b"27\xff\xff15000000Z", false),
        ] {
            let mut der = leaf.der.clone();
            der[place + 2..place + 15].copy_from_slice(time);
            assert_eq!(Certificate::from_der(&der).is_ok(), good, "{}", String::from_utf8_lossy(time));
        }
        // The same digits, as a time that needs more or fewer of them, or that ends beyond its own end.
        for (tag, length) in [(0x18, 13), (0x17, 12), (0x17, 14), (0x17, 0), (0x17, 0x7f), (0x17, 0x80), (0x17, 0xff)] {
            let mut der = leaf.der.clone();
            (der[place], der[place + 1]) = (tag, length);
            assert!(Certificate::from_der(&der).is_err(), "{tag:x} {length:x}");
        }
    }
}

#[test]
fn a_length_beyond_the_input_is_an_error_and_no_panic() {
    let leaf = acme();
    for place in 0..leaf.der.len() {
        for length in
            [&[0x7f_u8][..], &[0x80], &[0x84, 0xff, 0xff, 0xff, 0xff], &[0x88, 0xff, 0xff, 0xff, 0xff], &[0xff]]
        {
            let mut der = leaf.der.clone();
            der.splice(place..=place, length.iter().copied());
            let read = Certificate::from_der(&der);
            // The lengths of the certificate, and of what is signed.
            assert!(read.is_err() || (place != 1 && place != 5), "{place} {length:?}");
            assert!(read.is_ok_and(|read| read.thumbprint.to_string() == leaf.thumbprint()) == (der == leaf.der));
        }
    }
    for text in ["", "M", "MI", "MII", "MIIB", "MIIB=", "MIIB==", "=", "====", "MIIB====", "MIIBA", "MIIB\0"] {
        assert!(Certificate::from_text(text.as_bytes()).is_err(), "{text}");
    }
    let base64 = leaf.pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    assert!(Certificate::from_text(base64.as_bytes()).is_ok());
    for length in 0..base64.len() {
        assert!(Certificate::from_text(&base64.as_bytes()[..length]).is_err(), "{length}");
    }
}

/// A leaf with an extension whose content was written by hand.
fn with_extension(oid: &[u64], critical: bool, content: &[u8]) -> Leaf {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    let bare = |params: &mut CertificateParams| {
        params.extended_key_usages.clear();
        params.custom_extensions.push(extension);
    };
    Recipe::new().with(bare).issue()
}

#[test]
fn an_extension_that_the_decision_rests_on_is_decoded_exactly_or_refuses_the_certificate() {
    let (key_usage, names, constraints, purposes) = ([2, 5, 29, 15], [2, 5, 29, 17], [2, 5, 29, 19], [2, 5, 29, 37]);
    let (good, unsuitable, malformed) = (Ok(()), Err(Some(Reason::CertificateUnsuitable)), Err(None::<Reason>));
    for (name, oid, content, expected) in [
        ("no CA", constraints, b"\x30\x00".as_slice(), good),
        ("no CA, said explicitly", constraints, b"\x30\x03\x01\x01\x00", good),
        ("a CA", constraints, b"\x30\x03\x01\x01\xff", unsuitable),
        ("a CA with a path length", constraints, b"\x30\x06\x01\x01\xff\x02\x01\x00", unsuitable),
        ("a CA in BER", constraints, b"\x30\x03\x01\x01\x01", malformed),
        ("constraints and more", constraints, b"\x30\x00\x00", malformed),
        ("constraints with more inside", constraints, b"\x30\x02\x05\x00", malformed),
        ("no constraints", constraints, b"", malformed),
        ("digitalSignature", key_usage, b"\x03\x02\x07\x80", good),
        ("keyCertSign", key_usage, b"\x03\x02\x02\x04", unsuitable),
        ("cRLSign", key_usage, b"\x03\x02\x01\x02", unsuitable),
        ("key usage of another type", key_usage, b"\x04\x02\x07\x80", malformed),
        ("key usage with bits in its padding", key_usage, b"\x03\x02\x07\x81", malformed),
        ("key usage with impossible padding", key_usage, b"\x03\x02\x08\x80", malformed),
        ("clientAuth", purposes, b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02", good),
        ("serverAuth", purposes, b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", unsuitable),
        ("anyExtendedKeyUsage", purposes, b"\x30\x06\x06\x04\x55\x1d\x25\x00", unsuitable),
        ("no purpose at all", purposes, b"\x30\x00", unsuitable),
        ("a purpose of another type", purposes, b"\x30\x02\x05\x00", malformed),
        ("a name", names, b"\x30\x03\x86\x01a", good),
        ("a constructed name", names, b"\x30\x03\xa6\x01a", malformed),
        ("a name that is no text", names, b"\x30\x03\x86\x01\xff", malformed),
        ("a name of another class", names, b"\x30\x03\x0c\x01a", malformed),
        ("a name that is cut off", names, b"\x30\x03\x86\x02a", malformed),
    ] {
        for critical in [false, true] {
            let leaf = with_extension(&oid, critical, content);
            let verdict = Certificate::from_der(&leaf.der).map_err(|_| None).and_then(|certificate| {
                certificate.check(NOW, 0, ExtendedKeyUsage::ClientAuth).map_err(|deny| Some(deny.reason))
            });
            assert_eq!(verdict, expected, "{name}, critical: {critical}");
        }
    }
}

#[test]
fn a_critical_extension_is_one_that_tls_heeds_or_makes_the_certificate_unsuitable() {
    for (oid, expected) in [
        ([2, 5, 29, 30].as_slice(), Ok(())),
        (&[2, 5, 29, 32], Ok(())),
        (&[2, 5, 29, 54], Ok(())),
        (&[2, 16, 840, 1, 113_730, 1, 1], Ok(())),
        (&[2, 5, 29, 20], Err(Reason::CertificateUnsuitable)),
        (&[2, 5, 29, 99], Err(Reason::CertificateUnsuitable)),
    ] {
        let verdict = |critical| {
            let leaf = with_extension(oid, critical, b"\x30\x00");
            Certificate::from_der(&leaf.der)
                .unwrap()
                .check(NOW, 0, ExtendedKeyUsage::ClientAuth)
                .map_err(|deny| deny.reason)
        };
        assert_eq!(verdict(true), expected, "{oid:?}");
        assert_eq!(verdict(false), Ok(()), "{oid:?}");
    }
}

#[test]
fn an_extension_that_stands_twice_refuses_the_certificate_and_so_do_too_many() {
    let unknown = |number| CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, number], vec![5, 0]);
    let issue = |numbers: &[u64]| {
        let extensions = numbers.iter().copied().map(unknown).collect();
        let leaf = Recipe::new().with(|params| params.custom_extensions = extensions).issue();
        Certificate::from_der(&leaf.der)
    };
    assert!(issue(&[1, 2]).is_ok());
    assert!(issue(&[1, 1]).is_err());
    assert!(issue(&(1..60).collect::<Vec<_>>()).is_ok());
    assert!(issue(&(1..100).collect::<Vec<_>>()).is_err());
}

/// What `x509-parser` makes of the same bytes: it may take more than we do, but nothing else.
fn agree(der: &[u8]) {
    let Ok(ours) = Certificate::from_der(der) else {
        return;
    };
    let (rest, theirs) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    let validity = ours.validity.unwrap();
    assert_eq!(validity.not_before, theirs.validity().not_before.timestamp());
    assert_eq!(validity.not_after, theirs.validity().not_after.timestamp());
    let names = theirs.subject_alternative_name().unwrap().map(|found| found.value.general_names.as_slice());
    let mut of_each_kind = [Vec::new(), Vec::new(), Vec::new()];
    let mut addresses = Vec::new();
    for name in names.unwrap_or_default() {
        match name {
            GeneralName::URI(name) => of_each_kind[0].push((*name).to_owned()),
            GeneralName::DNSName(name) => of_each_kind[1].push(name.to_ascii_lowercase()),
            GeneralName::RFC822Name(name) => of_each_kind[2].push((*name).to_owned()),
            GeneralName::IPAddress(octets) => addresses.push(octets.to_vec()),
            _ => {}
        }
    }
    let octets = ours.ip_sans.iter().map(|address| match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    });
    assert!(octets.eq(addresses));
    assert_eq!([ours.uri_sans, ours.dns_sans, ours.email_sans], of_each_kind);
    assert_eq!(ours.subject.values("CN").count(), theirs.subject().iter_common_name().count());
    let authority = theirs.basic_constraints().unwrap().is_some_and(|found| found.value.ca)
        || theirs.key_usage().unwrap().is_some_and(|found| found.value.key_cert_sign() || found.value.crl_sign());
    let for_clients = theirs.extended_key_usage().unwrap().is_none_or(|found| found.value.client_auth);
    assert!(ours.unsuitable.is_some() || (!authority && for_clients));
}

#[test]
fn a_second_decoder_agrees_on_every_certificate_that_is_taken() {
    let leaf = Recipe::new()
        .uri("spiffe://td/a")
        .dns("API.example")
        .cn("acme")
        .subject(DnType::OrganizationName, "ExampleCorp")
        .with(|params| {
            params.subject_alt_names.push(SanType::Rfc822Name("a@b.example".try_into().unwrap()));
            params.subject_alt_names.push(SanType::IpAddress([192, 0, 2, 1].into()));
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.is_ca = IsCa::ExplicitNoCa;
            params.use_authority_key_identifier_extension = true;
        })
        .issue();
    let decoded = Certificate::from_der(&leaf.der).unwrap();
    assert_eq!((decoded.uri_sans.len(), decoded.dns_sans.len(), decoded.email_sans.len()), (1, 1, 1));
    agree(&leaf.der);
    for place in 0..leaf.der.len() {
        for bit in 0..8 {
            let mut der = leaf.der.clone();
            der[place] ^= 1 << bit;
            agree(&der);
        }
    }
}

#[test]
fn no_flipped_bit_panics() {
    let leaf = acme();
    for place in 0..leaf.der.len() {
        for bit in 0..8 {
            let mut der = leaf.der.clone();
            der[place] ^= 1 << bit;
            if let Ok(certificate) = Certificate::from_der(&der) {
                assert_ne!(certificate.thumbprint.to_string(), leaf.thumbprint());
            }
        }
    }
}
