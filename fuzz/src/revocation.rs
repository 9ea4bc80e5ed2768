//! Lists of revoked certificates, as feeds bring them.

use std::cell::{LazyCell, RefCell};
use std::collections::{BTreeSet, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_authz::fuzzing::{Attribute, AttributeValue as Name, Checked, DistinguishedName, FoldedName};
use mtls_authz::{Answer, Certificate, InForce, Policy, Reason, Taken, Thumbprint, Watch};
use serde_json::{Value, json};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Version};

use crate::reference;
use crate::scene::{Host, LEAVES, NOW};

const AT: u64 = NOW * 1_000_000_000;
/// The authority's certificate among the others.
const AUTHORITY: usize = 7;

/// A feed, what the workers share about it, and what one of them has.
struct Feed<'a> {
    policy: &'a Policy,
    host: Host,
    in_force: InForce,
}

impl<'a> Feed<'a> {
    fn new(policy: &'a Policy) -> Self {
        // Whatever signature it is shown is good, so that what was signed decides.
        let shared = Some(RefCell::new(HashMap::new()));
        Self { policy, host: Host { verifies: Some(true), shared, ..Host::default() }, in_force: InForce::default() }
    }

    fn take(&self, body: &[u8]) -> Result<Taken, String> {
        let watch = self.watch(&self.in_force);
        let claim = watch.look(AT).unwrap().map_or(AT, |call| call.claim);
        watch.take(claim, Answer { status: b"200", etag: None, body }, AT)
    }

    fn watch<'b>(&'b self, in_force: &'b InForce) -> Watch<'b> {
        Watch::list(0, &self.policy.revocation.feeds[0], in_force, &self.host)
    }

    /// Is a certificate revoked, by this worker and by one that takes over what it left?
    fn revokes(&self, certificate: &Certificate) -> bool {
        let other = InForce::default();
        self.watch(&other).take_over(AT).unwrap();
        let [own, other] = [&self.in_force, &other].map(|in_force| {
            let checked = self.policy.revocation.check(in_force, certificate, &Checked::default(), 0);
            checked.err().is_some_and(|deny| deny.reason == Reason::CertificateRevoked)
        });
        assert_eq!(own, other);
        own
    }
}

fn policy(feed: &Value) -> Policy {
    Policy::from_json(json!({"revocation": {"feeds": [feed]}}).to_string()).unwrap()
}

fn leaf() -> Certificate {
    Certificate::from_der(LEAVES[0]).unwrap()
}

/// An X.509 list: in DER and in PEM it is the same, x509-parser sees the same entries in it, and what nobody may rely on is
/// not taken.
pub fn crl(data: &[u8]) {
    thread_local! {
        static POLICY: LazyCell<Policy> = LazyCell::new(|| {
            let pem = reference::pem(LEAVES[AUTHORITY]);
            policy(&json!({"type": "crl", "cluster": "c", "authority": "a", "path": "/", "issuer_certificate": pem}))
        });
    }
    POLICY.with(|policy| {
        let feed = Feed::new(policy);
        let taken = feed.take(data);
        let pem = format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----", STANDARD.encode(data));
        if data.first() == Some(&0x30) {
            assert_eq!(Feed::new(policy).take(pem.as_bytes()), taken);
        }
        let Ok(taken) = taken else {
            return;
        };
        if data.first() != Some(&0x30) {
            return;
        }
        let (rest, theirs) = CertificateRevocationList::from_der(data).unwrap();
        assert!(rest.is_empty() && theirs.version() == Some(X509Version::V2) && theirs.next_update().is_some());
        for extension in theirs.extensions() {
            // Number, distribution point and the authority's key; a delta is none of them.
            let known = ["2.5.29.20", "2.5.29.28"].contains(&extension.oid.to_id_string().as_str());
            assert!(known || !extension.critical);
        }
        let authority = Certificate::from_der(LEAVES[AUTHORITY]).unwrap();
        let mut serials = BTreeSet::new();
        for entry in theirs.iter_revoked_certificates() {
            let raw = entry.raw_serial();
            let zeros = raw.iter().take_while(|byte| **byte == 0).count();
            let serial = raw[zeros..].to_vec();
            let issuer = Some(authority.subject.clone());
            assert!(feed.revokes(&Certificate { serial: Some(serial.clone()), issuer, ..leaf() }));
            serials.insert(serial);
        }
        assert_eq!(taken, Taken::Adopted(serials.len()));
        let other = Certificate { serial: Some(b"no entry has this".to_vec()), ..leaf() };
        assert!(serials.contains(other.serial.as_ref().unwrap()) || !feed.revokes(&other));
        assert_eq!(feed.take(data), Ok(Taken::Unchanged));
    });
}

/// A list in JSON: it is strict, each of its entries revokes what it names, and there are no others.
pub fn revocation_feed(data: &[u8]) {
    thread_local! {
        static POLICY: LazyCell<Policy> = LazyCell::new(|| {
            policy(&json!({"type": "json", "cluster": "c", "authority": "a", "path": "/"}))
        });
    }
    POLICY.with(|policy| {
        let feed = Feed::new(policy);
        let taken = feed.take(data);
        let Ok(Taken::Adopted(entries)) = taken else {
            let problem = taken.unwrap_err();
            assert!(problem.chars().count() < 1_000, "{problem}");
            return;
        };
        let object = reference::object(data).unwrap();
        assert!(!object.is_empty());
        let mut names = BTreeSet::new();
        for (key, list) in &object {
            for entry in list.as_array().unwrap() {
                names.insert(match key.as_str() {
                    "sha256" => thumbprint(&feed, entry.as_str().unwrap()),
                    "serials" => serial(&feed, entry),
                    "identities" => identity(&feed, entry.as_str().unwrap()),
                    _ => panic!("{key}"),
                });
            }
        }
        assert_eq!(entries, names.len());
        assert_eq!(feed.take(data), Ok(Taken::Unchanged));
    });
}

fn thumbprint(feed: &Feed, text: &str) -> String {
    let thumbprint = Thumbprint::from_hex(text).or_else(|| Thumbprint::from_base64url(text)).unwrap();
    assert!(feed.revokes(&Certificate { thumbprint, ..leaf() }));
    format!("sha256 {thumbprint}")
}

fn serial(feed: &Feed, entry: &Value) -> String {
    let entry = entry.as_object().unwrap();
    assert_eq!(entry.len(), 2);
    let issuer = DistinguishedName::parse(entry["issuer"].as_str().unwrap()).unwrap();
    let text = entry["serial"].as_str().unwrap();
    assert!(!text.contains(':') || text.split(':').all(|pair| pair.len() == 2));
    let digits: String = text.chars().filter(|digit| *digit != ':').collect();
    assert!(!digits.is_empty() && digits.len() <= 64);
    let digits = format!("{digits:0>64}");
    let pairs = (0..32).map(|place| u8::from_str_radix(&digits[place * 2..place * 2 + 2], 16).unwrap());
    let serial: Vec<u8> = pairs.skip_while(|byte| *byte == 0).collect();
    let name = format!("serial {serial:?} {:?}", FoldedName::distinguished(&issuer));
    for issuer in spellings(&issuer) {
        assert!(feed.revokes(&Certificate { serial: Some(serial.clone()), issuer: Some(issuer), ..leaf() }));
    }
    name
}

/// The name as it is, in capitals, and in the other order.
fn spellings(name: &DistinguishedName) -> [DistinguishedName; 3] {
    let capitals = |attribute: &Attribute| Attribute {
        value: match &attribute.value {
            Name::Text(text) => Name::Text(text.to_ascii_uppercase()),
            Name::Der(der) => Name::Der(der.clone()),
        },
        ..attribute.clone()
    };
    // They are in the order of the text, the reverse of that of the DER.
    let relative = || name.relative_names().iter();
    let upper = relative().rev().map(|attributes| attributes.iter().map(capitals).collect()).collect();
    let reversed = relative().cloned().collect();
    [name.clone(), DistinguishedName::from_der_order(upper), DistinguishedName::from_der_order(reversed)]
}

fn identity(feed: &Feed, text: &str) -> String {
    let (kind, name) = text.split_once(':').unwrap();
    let plain = || Certificate { uri_sans: vec![], dns_sans: vec![], email_sans: vec![], ip_sans: vec![], ..leaf() };
    match kind {
        "spiffe" => assert!(feed.revokes(&Certificate { uri_sans: vec![text.to_owned()], ..plain() }), "{text}"),
        "uri" => {
            let scheme = name.split(':').next().unwrap_or_default();
            for uri in [name.to_owned(), name.replacen(scheme, &scheme.to_ascii_uppercase(), 1)] {
                assert!(feed.revokes(&Certificate { uri_sans: vec![uri], ..plain() }), "{text}");
            }
        }
        "ip" => {
            let address: std::net::IpAddr = name.parse().unwrap();
            assert!(feed.revokes(&Certificate { ip_sans: vec![address], ..plain() }), "{text}");
        }
        "dns" => {
            for name in [name.to_owned(), name.to_ascii_uppercase(), format!("{name}.")] {
                assert!(feed.revokes(&Certificate { dns_sans: vec![name], ..plain() }), "{text}");
            }
        }
        "email" => {
            let (local, host) = name.rsplit_once('@').unwrap();
            for name in [name.to_owned(), format!("{local}@{}", host.to_ascii_uppercase()), format!("{name}.")] {
                assert!(feed.revokes(&Certificate { email_sans: vec![name], ..plain() }), "{text}");
            }
        }
        "sha256" => {
            let thumbprint = Thumbprint::from_hex(name).or_else(|| Thumbprint::from_base64url(name)).unwrap();
            assert!(feed.revokes(&Certificate { thumbprint, ..plain() }), "{text}");
            return format!("identity sha256:{}", thumbprint.to_hex());
        }
        "subject" => {
            for subject in spellings(&DistinguishedName::parse(name).unwrap()) {
                assert!(feed.revokes(&Certificate { subject, ..plain() }), "{text}");
            }
        }
        _ => {
            assert_eq!(kind, "cn");
            for name in [name.to_owned(), name.to_ascii_uppercase(), format!(" {name} ")] {
                let escaped: String = name.bytes().map(|byte| format!("\\{byte:02x}")).collect();
                let subject = DistinguishedName::parse(&format!("CN={escaped}")).unwrap();
                assert!(feed.revokes(&Certificate { subject, ..plain() }), "{text}");
            }
        }
    }
    format!("identity {:?}", FoldedName::identity(text))
}
