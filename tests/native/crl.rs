//! Certificate revocation lists: which are relied on, and what they revoke.

mod algorithms;
mod bundles;
mod names;
mod size;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_authz::{
    Algorithm, Answer, Certificate, Material, Memory, Policy, Proxy, Reason, Request, Taken, Watch, decide,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose};
use serde_json::{Value, json};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::certificates::{Recipe, ca};
use crate::host::Host;
use crate::issuer::Issuer;
use crate::proxy::{FakeProxy, NOW, headers};

const NOW_NS: u64 = NOW as u64 * 1_000_000_000;

const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
const REASON_CODE: &[u8] = &[0x55, 0x1d, 21];
const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 24];
const DELTA_INDICATOR: &[u8] = &[0x55, 0x1d, 27];
const DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 35];
const UNKNOWN: &[u8] = &[0x2b, 6, 1, 4, 1, 0x86, 0x8d, 0x1f, 1];

const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const RSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len();
    let header = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        0x100..=0xffff => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        _ => vec![tag, 0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8],
    };
    [header, content].concat()
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let bytes = &bytes[zeros..];
    tlv(2, &[if bytes[0] >= 0x80 { &[0] } else { &[] }, bytes])
}

/// `CN=Test CA`
pub fn name(common_name: &str) -> Vec<u8> {
    let pair = sequence(&[&tlv(6, &[&[0x55, 4, 3]]), &tlv(12, &[common_name.as_bytes()])]);
    sequence(&[&tlv(0x31, &[&pair])])
}

/// GeneralizedTime, so many seconds from now.
pub fn time(seconds: i64) -> Vec<u8> {
    let at = time::OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap();
    let (date, clock) = (at.date(), at.time());
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    );
    // UTCTime until 2049 (RFC 5280 section 5.1.2.4).
    tlv(0x17, &[&text.as_bytes()[2..]])
}

pub fn extension(kind: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&tlv(6, &[kind]), critical, &tlv(4, &[content])])
}

fn signature_value(algorithm: Algorithm, raw: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => {
            let (r, s) = raw.split_at(raw.len() / 2);
            sequence(&[&number(r), &number(s)])
        }
        _ => raw.to_vec(),
    }
}

fn oid(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => RSA_SHA256,
        Algorithm::Rs384 => RSA_SHA384,
        Algorithm::Rs512 => RSA_SHA512,
        Algorithm::Es256 => ECDSA_SHA256,
        Algorithm::Es384 => ECDSA_SHA384,
        Algorithm::Es512 => ECDSA_SHA512,
        Algorithm::EdDsa => ED25519,
    }
}

/// The certificate of the authority `CN=Test CA` with this issuer's key.
fn issuer_certificate(issuer: &Issuer) -> String {
    let spki = match issuer.key().material {
        Material::Rsa(_, spki) | Material::Ec(_, spki) => spki,
        Material::Ed25519(key) => sequence(&[&sequence(&[&tlv(6, &[ED25519])]), &tlv(3, &[&[0], key.as_bytes()])]),
    };
    let algorithm = sequence(&[&tlv(6, &[ECDSA_SHA256])]);
    let authority = extension(&[0x55, 0x1d, 19], true, &sequence(&[&[1, 1, 0xff]]));
    let signed = sequence(&[
        &tlv(0xa0, &[&number(&[2])]),
        &number(&[1]),
        &algorithm,
        &name("Test CA"),
        &sequence(&[&time(-10), &time(10)]),
        &name("Test CA"),
        &spki,
        &tlv(0xa3, &[&sequence(&[&authority])]),
    ]);
    // Nobody asks who signed it: it stands in the configuration.
    let der = sequence(&[&signed, &algorithm, &tlv(3, &[&[0, 1]])]);
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

/// What a list is to hold. By default: a good one, number 5, that revokes serial number 7.
#[derive(Clone)]
struct List<'a> {
    issuer: &'a Issuer,
    version: Option<u8>,
    /// The algorithm inside and outside of what is signed.
    algorithms: [&'a [u8]; 2],
    name: Vec<u8>,
    this_update: i64,
    next_update: Option<i64>,
    entries: Option<Vec<Vec<u8>>>,
    extensions: Vec<Vec<u8>>,
}

fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions: Vec<u8> = if extensions.is_empty() { Vec::new() } else { sequence(&[&extensions.concat()]) };
    sequence(&[&number(serial), &time(-100), &extensions])
}

impl<'a> List<'a> {
    fn of(issuer: &'a Issuer) -> Self {
        Self {
            issuer,
            version: Some(1),
            algorithms: [oid(issuer.algorithm); 2],
            name: name("Test CA"),
            this_update: -60,
            next_update: Some(3_600),
            entries: Some(vec![entry(&[7], &[])]),
            extensions: vec![extension(CRL_NUMBER, false, &number(&[5]))],
        }
    }

    fn revoking(mut self, serials: &[u8]) -> Self {
        self.entries = Some(serials.iter().map(|serial| entry(&[*serial], &[])).collect());
        self
    }

    fn numbered(mut self, value: &[u8], this_update: i64) -> Self {
        self.extensions = vec![extension(CRL_NUMBER, false, &number(value))];
        self.this_update = this_update;
        self
    }

    fn with(mut self, more: Vec<u8>) -> Self {
        self.extensions.push(more);
        self
    }

    fn der(&self) -> Vec<u8> {
        let algorithm = |oid: &[u8]| match oid {
            [0x2a, 0x86, 0x48, 0x86, 0xf7, ..] => sequence(&[&tlv(6, &[oid]), &[5, 0]]),
            _ => sequence(&[&tlv(6, &[oid])]),
        };
        let optional = |value: Option<Vec<u8>>| value.unwrap_or_default();
        let signed = sequence(&[
            &optional(self.version.map(|version| number(&[version]))),
            &algorithm(self.algorithms[0]),
            &self.name,
            &time(self.this_update),
            &optional(self.next_update.map(time)),
            &optional(self.entries.as_ref().map(|entries| sequence(&[&entries.concat()]))),
            &optional((!self.extensions.is_empty()).then(|| tlv(0xa0, &[&sequence(&[&self.extensions.concat()])]))),
        ]);
        let signature = signature_value(self.issuer.algorithm, &self.issuer.sign(&signed));
        sequence(&[&signed, &algorithm(self.algorithms[1]), &tlv(3, &[&[0], &signature])])
    }

    fn pem(&self) -> Vec<u8> {
        let body = STANDARD.encode(self.der());
        format!("-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n").into_bytes()
    }
}

fn policy(issuer: &Issuer) -> Policy {
    let policy = json!({
        "mode": "mtls",
        "revocation": {"feeds": [{
            "type": "crl", "cluster": "c", "authority": "a", "path": "/", "issuer_certificate": issuer_certificate(issuer),
        }]},
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["all"]}},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
    });
    Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Shows a list to a worker.
fn take(policy: &Policy, memory: &Memory, host: &dyn Proxy, body: &[u8]) -> Result<Taken, String> {
    let watch = Watch::list(0, &policy.revocation.feeds[0], &memory.revoked, host);
    // So far ahead that a fetch is due.
    let claim = watch.look(NOW_NS).unwrap().map_or(NOW_NS, |call| call.claim);
    watch.take(claim, Answer { status: b"200", etag: None, body }, NOW_NS)
}

/// What becomes of a request with a certificate of `CN=Test CA` that has this serial number.
fn asked(policy: &Policy, memory: &Memory, serial: u8) -> Option<Reason> {
    let mut certificate = Recipe::new().cn("acme");
    certificate.params.serial_number = Some(rcgen::SerialNumber::from(vec![serial]));
    let leaf = certificate.issue_as("Test CA");
    let names = headers("GET", "/", &[]);
    decide(policy, memory, &Request::new(&names), &FakeProxy::new().presenting(&leaf))
        .verdict
        .err()
        .map(|deny| deny.reason)
}

#[test]
fn a_list_is_read_in_der_and_pem_and_verified_with_every_kind_of_key() {
    for algorithm in [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ] {
        let issuer = Issuer::of(algorithm);
        let policy = policy(issuer);
        let list = List::of(issuer);
        let text = b"Certificate Revocation List (CRL):\n    Version 2\n".as_slice();
        for body in [list.der(), list.pem(), [text, &list.pem(), b"\n\n"].concat()] {
            {
                let host = FakeProxy::new();
                let memory = Memory::default();
                assert_eq!(asked(&policy, &memory, 7), Some(Reason::RevocationUnavailable));
                assert_eq!(take(&policy, &memory, &host, &body), Ok(Taken::Adopted(1)), "{algorithm:?}");
                assert_eq!(asked(&policy, &memory, 7), Some(Reason::CertificateRevoked));
                assert_eq!(asked(&policy, &memory, 8), None);
            }
        }
    }
}

#[test]
fn a_key_may_sign_with_another_hash_than_its_size_suggests() {
    use p384::ecdsa::signature::hazmat::PrehashSigner;
    use sha2::{Digest, Sha256};

    let key = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
    let point = key.verifying_key().to_sec1_point(false);
    let spki = sequence(&[
        &sequence(&[&tlv(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]]), &tlv(6, &[&[0x2b, 0x81, 4, 0, 0x22]])]),
        &tlv(3, &[&[0], point.as_bytes()]),
    ]);
    let material = Material::from_spki(&spki).unwrap();
    let signature: p384::ecdsa::Signature = key.sign_prehash(&Sha256::digest(b"message")).unwrap();
    let signature = signature.to_der();
    {
        let host = FakeProxy::new();
        let good = |message: &[u8], signature: &[u8]| {
            mtls_authz::verify_x509_signature(&host, mtls_authz::Hash::Sha256, &material, message, signature).unwrap()
        };
        assert!(good(b"message", signature.as_bytes()));
        assert!(!good(b"Message", signature.as_bytes()));
        assert!(!good(b"message", &signature.as_bytes()[1..]));
    }
}

#[test]
fn a_list_that_cannot_be_relied_on_leaves_the_last_good_one_in_force() {
    let issuer = Issuer::of(Algorithm::Es256);
    let stranger = Issuer::new(Algorithm::Es256);
    let policy = policy(issuer);
    let good = List::of(issuer).numbered(&[5], -60);
    let newer = List::of(issuer).numbered(&[6], -30).revoking(&[9]);
    let changed = |change: fn(&mut List<'_>)| {
        let mut list = newer.clone();
        change(&mut list);
        list.der()
    };
    let der = newer.der();
    let distribution_point =
        |content: &[u8]| newer.clone().with(extension(DISTRIBUTION_POINT, true, &sequence(&[content]))).der();
    let in_entry = |kind: &[u8], critical: bool, content: &[u8]| {
        List { entries: Some(vec![entry(&[9], &[extension(kind, critical, content)])]), ..newer.clone() }.der()
    };
    let malformed = "not an X.509 certificate revocation list";
    let armored = newer.pem();
    for (what, body, words) in [
        ("nothing", Vec::new(), "the answer is empty"),
        ("HTML", b"<html></html>".to_vec(), "HTML or XML page"),
        ("JSON", b"{\"sha256\": []}".to_vec(), malformed),
        ("a certificate", ca().der, malformed),
        ("truncated", der[..der.len() - 1].to_vec(), malformed),
        ("bytes behind it", [der.as_slice(), &[0]].concat(), malformed),
        ("half a PEM", armored[..armored.len() / 2].to_vec(), malformed),
        ("two PEMs", [armored.clone(), armored].concat(), "several lists"),
        (
            "version 1",
            changed(|list| {
                list.version = None;
                list.extensions.clear();
            }),
            "version 1",
        ),
        ("version 3", changed(|list| list.version = Some(2)), malformed),
        ("a stranger's signature", List { issuer: &stranger, ..newer.clone() }.der(), "not by the key"),
        ("another issuer", changed(|list| list.name = name("Other CA")), "its issuer is not"),
        ("SHA-1", changed(|list| list.algorithms = [RSA_SHA1; 2]), "signed neither"),
        ("PSS", changed(|list| list.algorithms = [RSA_PSS; 2]), "signed neither"),
        ("two algorithms", changed(|list| list.algorithms[0] = ECDSA_SHA384), "signed neither"),
        ("the hash of another algorithm", changed(|list| list.algorithms = [ECDSA_SHA384; 2]), "not by the key"),
        ("no end", changed(|list| list.next_update = None), "no nextUpdate"),
        ("from the future", changed(|list| list.this_update = 301), "in the future"),
        ("an older number", good.clone().numbered(&[4], -30).der(), "older than the list in force"),
        ("an older time", good.clone().numbered(&[6], -61).der(), "older than the list in force"),
        ("a delta", newer.clone().with(extension(DELTA_INDICATOR, true, &number(&[1]))).der(), "delta CRL"),
        ("indirect", distribution_point(&[0x84, 1, 0xff]), "indirect CRL"),
        ("an entry of another issuer", in_entry(CERTIFICATE_ISSUER, true, &[0x30, 0]), "indirect CRL"),
        ("authorities alone", distribution_point(&[0x82, 1, 0xff]), "does not list every revoked"),
        ("some reasons alone", distribution_point(&[0x83, 2, 1, 2]), "does not list every revoked"),
        ("attributes alone", distribution_point(&[0x85, 1, 0xff]), "does not list every revoked"),
        ("a bad flag", distribution_point(&[0x81, 1, 1]), malformed),
        ("an unknown field", distribution_point(&[0x86, 1, 0xff]), malformed),
        (
            "an unknown critical extension",
            newer.clone().with(extension(UNKNOWN, true, &[5, 0])).der(),
            "critical extension",
        ),
        ("one of an entry", in_entry(UNKNOWN, true, &[5, 0]), "critical extension"),
        (
            "a number that is too long",
            changed(|list| list.extensions = vec![extension(CRL_NUMBER, false, &number(&[1; 21]))]),
            malformed,
        ),
        ("an algorithm of another kind of key", changed(|list| list.algorithms = [RSA_SHA256; 2]), "not by the key"),
        ("a removal", in_entry(REASON_CODE, false, &[0x0a, 1, 8]), "delta CRL"),
        ("an extension twice", newer.clone().with(extension(CRL_NUMBER, false, &number(&[6]))).der(), malformed),
        (
            "no number in its extension",
            changed(|list| list.extensions = vec![extension(CRL_NUMBER, false, &[5, 0])]),
            malformed,
        ),
        ("an entry without a date", changed(|list| list.entries = Some(vec![sequence(&[&number(&[9])])])), malformed),
        (
            "more in an entry",
            changed(|list| list.entries = Some(vec![sequence(&[&entry(&[9], &[])[2..], &[5, 0]])])),
            malformed,
        ),
    ] {
        {
            let host = FakeProxy::new();
            let memory = Memory::default();
            assert_eq!(take(&policy, &memory, &host, &good.der()), Ok(Taken::Adopted(1)));
            let problem = take(&policy, &memory, &host, &body).unwrap_err();
            assert!(problem.contains(words), "{what}: {problem}");
            assert_eq!(asked(&policy, &memory, 7), Some(Reason::CertificateRevoked), "{what}");
            assert_eq!(asked(&policy, &memory, 9), None, "{what}");
            assert_eq!(take(&policy, &memory, &host, &newer.der()), Ok(Taken::Adopted(1)), "{what}");
        }
    }
}

#[test]
fn what_real_authorities_write_is_taken() {
    let issuer = Issuer::of(Algorithm::Es256);
    let policy = policy(issuer);
    let reason = |code: u8| extension(REASON_CODE, false, &[0x0a, 1, code]);
    let invalid_since = extension(INVALIDITY_DATE, false, &tlv(0x18, &[b"20270101000000Z"]));
    let key = extension(AUTHORITY_KEY, false, &sequence(&[&tlv(0x80, &[&[1, 2, 3]])]));
    let user_certificates = extension(DISTRIBUTION_POINT, true, &sequence(&[&[0x81, 1, 0xff]]));
    let location = sequence(&[&tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[b"http://crl.example/1"])])])]);
    let at = extension(DISTRIBUTION_POINT, true, &location);
    let list = List::of(issuer);
    let on_hold = vec![entry(&[7], &[reason(6), invalid_since.clone()]), entry(&[9], &[reason(1)])];
    let critical = entry(&[7], &[extension(REASON_CODE, true, &[0x0a, 1, 1])]);
    for (what, list, entries) in [
        ("nothing is revoked", List { entries: None, ..list.clone() }, 0),
        ("an empty list", list.clone().revoking(&[]), 0),
        ("reasons and dates", List { entries: Some(on_hold), ..list.clone() }, 2),
        ("a critical reason", List { entries: Some(vec![critical]), ..list.clone() }, 1),
        ("twice the same", list.clone().revoking(&[7, 7]), 1),
        ("no extensions", List { extensions: Vec::new(), ..list.clone() }, 1),
        ("the authority's key", list.clone().with(key), 1),
        ("certificates of users", list.clone().with(user_certificates), 1),
        ("where it is", list.clone().with(at), 1),
        ("an unknown extension", list.clone().with(extension(UNKNOWN, false, &[5, 0])), 1),
        ("what looks like PEM", list.clone().with(extension(UNKNOWN, false, b"-----BEGIN X509 CRL-----")), 1),
        ("a little early", List { this_update: 300, ..list.clone() }, 1),
    ] {
        let memory = Memory::default();
        let host = Host::new(FakeProxy::new());
        assert_eq!(take(&policy, &memory, &host, &list.der()), Ok(Taken::Adopted(entries)), "{what}");
        let revoked = entries > 0;
        assert_eq!(asked(&policy, &memory, 7), revoked.then_some(Reason::CertificateRevoked), "{what}");
    }
}

#[test]
fn a_later_edition_replaces_the_one_in_force_and_the_same_may_come_again() {
    let issuer = Issuer::of(Algorithm::Es256);
    let policy = policy(issuer);
    let unnumbered = |this_update| List { extensions: Vec::new(), this_update, ..List::of(issuer) };
    for (what, before, after, taken) in [
        ("the next number", List::of(issuer), List::of(issuer).numbered(&[6], -60), true),
        ("a longer number", List::of(issuer).numbered(&[0xff], -60), List::of(issuer).numbered(&[1, 0], -60), true),
        ("a shorter number", List::of(issuer).numbered(&[1, 0], -60), List::of(issuer).numbered(&[0xff], -60), false),
        ("from zero", List::of(issuer).numbered(&[0], -60), List::of(issuer).numbered(&[1], -60), true),
        (
            "a smaller number before the end of the list",
            List { next_update: Some(1), ..List::of(issuer) },
            List::of(issuer).numbered(&[1], -30),
            false,
        ),
        (
            "a smaller number from the end of the list on",
            List { next_update: Some(0), ..List::of(issuer) },
            List::of(issuer).numbered(&[1], -30),
            true,
        ),
        ("to zero", List::of(issuer).numbered(&[1], -60), List::of(issuer).numbered(&[0], -60), false),
        ("later, without a number", unnumbered(-60), unnumbered(-59), true),
        ("earlier, without a number", unnumbered(-60), unnumbered(-61), false),
        ("the same edition with other entries", List::of(issuer), List::of(issuer).revoking(&[7, 9]), true),
    ] {
        let (memory, host) = (Memory::default(), Host::new(FakeProxy::new()));
        assert!(take(&policy, &memory, &host, &before.der()).is_ok());
        assert_eq!(take(&policy, &memory, &host, &after.der()).is_ok(), taken, "{what}");
    }
}

#[test]
fn a_list_is_too_old_from_its_own_next_update_on_and_still_revokes() {
    let issuer = Issuer::of(Algorithm::Es256);
    let policy = policy(issuer);
    for (next_update, expected) in [(1, None), (0, Some(Reason::RevocationUnavailable))] {
        let memory = Memory::default();
        let list = List { next_update: Some(next_update), ..List::of(issuer) };
        assert_eq!(take(&policy, &memory, &Host::new(FakeProxy::new()), &list.der()), Ok(Taken::Adopted(1)));
        assert_eq!(asked(&policy, &memory, 8), expected);
        assert_eq!(asked(&policy, &memory, 7), Some(Reason::CertificateRevoked));
    }
}

#[test]
fn the_next_list_is_asked_for_when_this_one_ends() {
    let issuer = Issuer::of(Algorithm::Es256);
    let policy = policy(issuer);
    // It ends by the clock that may be set, which is set forward in the last case.
    for (ends_in, due_in, set_by) in [(30, 30, 0), (5, 10, 0), (-5, 10, 0), (3_600, 20, 3_580)] {
        let (memory, host) = (Memory::default(), Host::new(FakeProxy::new()));
        let list = List { next_update: Some(ends_in), ..List::of(issuer) };
        take(&policy, &memory, &host, &list.der()).unwrap();
        let watch = Watch::list(0, &policy.revocation.feeds[0], &memory.revoked, &host);
        let at = |seconds: u64| NOW_NS + seconds * 1_000_000_000;
        let look = |at: u64| {
            host.now.set(NOW + set_by + i64::try_from((at - NOW_NS) / 1_000_000_000).unwrap());
            watch.look(at).unwrap().is_some()
        };
        assert!(!look(at(due_in) - 1) && look(at(due_in)), "{ends_in}");
    }
}

#[test]
fn any_bit_of_a_list_counts_and_a_second_decoder_agrees() {
    let issuer = Issuer::of(Algorithm::EdDsa);
    let policy = policy(issuer);
    let der = List::of(issuer).revoking(&[7, 9]).der();
    let (_, second) = CertificateRevocationList::from_der(&der).unwrap();
    let serials: Vec<u8> = second.iter_revoked_certificates().map(|entry| entry.raw_serial()[0]).collect();
    assert_eq!((serials, second.crl_number().unwrap().to_string()), (vec![7, 9], "5".to_owned()));
    for bit in 0..der.len() * 8 {
        let mut changed = der.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (memory, host) = (Memory::default(), Host::without_signatures(FakeProxy::new()));
        assert!(take(&policy, &memory, &host, &changed).is_err(), "bit {bit}");
    }
}

#[test]
fn only_an_authority_with_a_usable_key_signs_lists() {
    let refused = |pem: &str| {
        let feed = json!({"type": "crl", "cluster": "c", "authority": "a", "path": "/", "issuer_certificate": pem});
        let policy: Value = json!({"revocation": {"feeds": [feed]}});
        Policy::from_json(policy.to_string()).map(|_| ()).map_err(|problem| problem.to_string())
    };
    let good = issuer_certificate(Issuer::of(Algorithm::Es256));
    assert_eq!(refused(&good), Ok(()));
    let leaf = Recipe::new().cn("acme").issue().pem;
    let authority = |usages: &[KeyUsagePurpose]| {
        let usages = usages.to_vec();
        let authority = |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = usages;
        };
        Recipe::new().cn("Test CA").with(authority).issue().pem
    };
    let (certificates, lists) = (KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign);
    assert_eq!(refused(&authority(&[])), Ok(()), "any use");
    assert_eq!(refused(&authority(&[certificates, lists])), Ok(()));
    let body = good.lines().nth(1).unwrap();
    for (pem, words) in [
        (String::new(), "the PEM of exactly one X.509 certificate"),
        (body.to_owned(), "the PEM of exactly one X.509 certificate"),
        (good.repeat(2), "the PEM of exactly one X.509 certificate"),
        (good.replace(body, body.get(4..).unwrap()), "the PEM of exactly one X.509 certificate"),
        (leaf, "the authority that signs the list"),
        (authority(&[certificates]), "has no cRLSign"),
        (authority(&[KeyUsagePurpose::DigitalSignature]), "has no cRLSign"),
    ] {
        let problem = refused(&pem).unwrap_err();
        assert!(
            problem.starts_with("revocation.feeds[0].issuer_certificate: ") && problem.contains(words),
            "{problem}"
        );
    }
    let der = STANDARD.decode(body).unwrap();
    assert!(Certificate::from_der(&der).is_ok());
    // A point that is not on the curve.
    let place = der.windows(2).position(|bytes| bytes == [0, 4]).unwrap() + 10;
    let mut spoiled = der;
    spoiled[place] ^= 1;
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(spoiled));
    assert!(refused(&pem).unwrap_err().contains("P-256"));
}
