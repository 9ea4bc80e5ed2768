//! Certificates made in the test, and what the decoder makes of them.

use mtls_authz::{Certificate, Reason, Thumbprint};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

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
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.distinguished_name = DistinguishedName::new();
        ca.distinguished_name.push(DnType::OrganizationName, "ExampleCorp");
        ca.distinguished_name.push(DnType::CommonName, "Test CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(ca, ca_key);
        let certificate = self.params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        Leaf { pem: certificate.pem(), der: certificate.der().to_vec() }
    }
}

fn at(seconds: i64) -> OffsetDateTime {
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
        ("for servers", Recipe::new().with(server).issue(), Err(Reason::CertificateUnsuitable)),
        ("unknown critical extension", Recipe::new().with(critical).issue(), Err(Reason::CertificateUnsuitable)),
        ("ends now", Recipe::new().with(|params| params.not_after = at(0)).issue(), Ok(())),
        ("ended", Recipe::new().with(|params| params.not_after = at(-1)).issue(), Err(Reason::CertificateExpired)),
        ("begins now", Recipe::new().with(|params| params.not_before = at(0)).issue(), Ok(())),
        ("begins", Recipe::new().with(|params| params.not_before = at(1)).issue(), Err(Reason::CertificateNotYetValid)),
    ] {
        let certificate = Certificate::from_der(&leaf.der).unwrap();
        assert_eq!(certificate.check(NOW, 0).map_err(|deny| deny.reason), expected, "{name}");
    }
}

#[test]
fn the_skew_counts_at_both_ends() {
    let leaf = Recipe::new().with(|params| params.not_after = at(-30)).issue();
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    assert!(certificate.check(NOW, 30).is_ok());
    assert!(certificate.check(NOW, 29).is_err());
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
