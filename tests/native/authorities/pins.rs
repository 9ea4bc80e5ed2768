//! Clients and mappings that pin an authority.

use mtls_authz::{Property, Reason, Thumbprint};

use super::*;
use crate::host::Host;
use crate::proxy::{FakeProxy, Notes};

fn host(leaf: &Leaf) -> Host {
    Host::new(FakeProxy::new().presenting(leaf))
}

fn note_of(policy: &Policy, leaf: &Leaf) -> Option<String> {
    let deny = asked(policy, &Memory::default(), &host(leaf)).err()?;
    assert_eq!(deny.reason, Reason::IdentityNotMapped);
    Some(deny.note.unwrap().into_owned())
}

const OTHER_NAME: &str = "the certificate's issuer is not one of the client's issuers";
const OTHER_KEY: &str = "another key signed the certificate";

#[test]
fn a_distinguished_name_pins_a_name_and_an_authority_pins_its_key() {
    let (real, imitation) = (Key::p256(256, 0), Key::p256(256, 1));
    let elsewhere = Parts { issuer: name("Other CA"), ..Parts::leaf(&real) }.leaf_of();
    let (own, imitated) = (Parts::leaf(&real).leaf_of(), Parts::leaf(&imitation).leaf_of());
    let both = [("partner-ca", &real), ("imitation", &imitation)];
    let one = &both[..1];
    for (authorities, issuers, leaf, expected) in [
        (one, json!([]), &imitated, None),
        (one, json!(["CN=Lab CA"]), &own, None),
        (one, json!(["CN=Lab CA"]), &imitated, None),
        (one, json!(["partner-ca"]), &own, None),
        (one, json!(["partner-ca"]), &imitated, Some(OTHER_KEY)),
        (one, json!(["partner-ca"]), &elsewhere, Some(OTHER_NAME)),
        (one, json!(["CN=Else", "partner-ca"]), &own, None),
        (one, json!(["partner-ca", "CN=Else"]), &imitated, Some(OTHER_KEY)),
        (one, json!(["CN=Else", "partner-ca"]), &imitated, Some(OTHER_KEY)),
        (one, json!(["partner-ca", "CN=Lab CA"]), &imitated, None),
        // Two authorities of one name, as when an authority gets a new key.
        (&both, json!(["partner-ca"]), &own, None),
        (&both, json!(["partner-ca"]), &imitated, Some(OTHER_KEY)),
        (&both, json!(["imitation"]), &own, Some(OTHER_KEY)),
        (&both, json!(["imitation"]), &imitated, None),
        (&both, json!(["partner-ca", "imitation"]), &own, None),
        (&both, json!(["partner-ca", "imitation"]), &imitated, None),
    ] {
        let policy = pinned(authorities, issuers.clone());
        let note = note_of(&policy, leaf);
        assert_eq!(note.is_some(), expected.is_some(), "{issuers} {note:?}");
        assert!(expected.is_none_or(|words| note.as_ref().unwrap().contains(words)), "{issuers} {note:?}");
    }
}

#[test]
fn the_issuers_name_is_the_authoritys_subject_exactly() {
    let key = Key::ed25519(0);
    let policy = pinned(&[("partner-ca", &key)], json!(["partner-ca"]));
    for (issuer, expected) in [("Lab CA", true), ("lab CA", false), ("Lab  CA", false), ("Lab CA ", false)] {
        let leaf = Parts { issuer: name(issuer), ..Parts::leaf(&key) }.leaf_of();
        assert_eq!(note_of(&policy, &leaf).is_none(), expected, "{issuer}");
    }
}

/// The listener's chain says whether an authority may still issue.
#[test]
fn when_an_authoritys_certificate_ends_is_not_looked_at() {
    let key = Key::p256(256, 0);
    for validity in [[-20, -10], [10, 20]] {
        let policy = read(&json!({
            "mode": "mtls",
            "authorities": {"partner-ca": Parts { validity, ..Parts::authority(&key) }.pem()},
            "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["all"], "issuers": ["partner-ca"]}},
            "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
        }));
        assert_eq!(note_of(&policy, &Parts::leaf(&key).leaf_of()), None);
    }
}

#[test]
fn a_signature_is_verified_once_a_connection_and_only_where_a_pin_depends_on_it() {
    let (real, imitation) = (Key::p256(256, 0), Key::p256(256, 1));
    let (own, imitated) = (Parts::leaf(&real).leaf_of(), Parts::leaf(&imitation).leaf_of());
    let elsewhere = Parts { issuer: name("Other CA"), ..Parts::leaf(&real) }.leaf_of();
    let authorities = [("partner-ca", &real)];
    for (issuers, leaf, expected) in [
        (json!(["partner-ca"]), &own, 1),
        (json!(["partner-ca"]), &imitated, 1),
        (json!(["partner-ca"]), &elsewhere, 0),
        (json!(["CN=Lab CA"]), &own, 0),
        (json!(["CN=Lab CA", "partner-ca"]), &own, 0),
        (json!([]), &own, 0),
    ] {
        let policy = pinned(&authorities, issuers.clone());
        let (memory, notes) = (Memory::default(), Notes::default());
        let on_connection = |notes: &Notes| {
            let host = Host::new(FakeProxy::new().presenting(leaf).over(notes));
            (asked(&policy, &memory, &host).is_ok(), host.signatures.get())
        };
        let (first, verified) = on_connection(&notes);
        assert_eq!(verified, expected, "{issuers}");
        assert_eq!(on_connection(&notes), (first, 0), "{issuers}: the same connection");
    }
}

#[test]
fn mappings_that_name_authorities_verify_once_for_all_of_them() {
    let keys = [Key::p256(256, 0), Key::p256(256, 1)];
    let mapping = |issuer: &str, cn: &str| json!({"match": {"issuer": issuer, "subject": {"CN": cn}}, "client_id": cn});
    let mappings: Vec<Value> = ["a", "b", "c", "acme"].map(|cn| mapping("partner-ca", cn)).into();
    let policy = read(&json!({
        "mode": "mtls",
        "authorities": {"partner-ca": Parts::authority(&keys[0]).pem()},
        "identity": {"mappings": mappings, "allow_unregistered": true},
        "clients": {"acme": {"profiles": ["all"]}},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
    }));
    for (key, expected) in keys.iter().zip([true, false]) {
        let host = host(&Parts::leaf(key).leaf_of());
        let verdict = asked(&policy, &Memory::default(), &host);
        assert_eq!((verdict.is_ok(), host.signatures.get()), (expected, 1), "{verdict:?}");
    }
}

#[test]
fn a_mapping_that_names_an_authority_does_not_match_what_another_key_signed() {
    let (real, imitation) = (Key::pkcs1(256, 0), Key::pkcs1(256, 1));
    let policy = |issuer: Value| {
        read(&json!({
            "mode": "mtls",
            "authorities": {"partner-ca": Parts::authority(&real).pem()},
            "identity": {"mappings": [{"match": {"issuer": issuer}, "client_id": "partner"}]},
            "clients": {"partner": {"profiles": ["all"]}},
            "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
        }))
    };
    for (issuer, key, expected) in [
        (json!("partner-ca"), &real, None),
        (json!("partner-ca"), &imitation, Some(Reason::IdentityNotMapped)),
        (json!("CN=Lab CA"), &imitation, None),
        (json!({"CN": "Lab CA"}), &imitation, None),
    ] {
        let verdict = asked(&policy(issuer.clone()), &Memory::default(), &host(&Parts::leaf(key).leaf_of()));
        assert_eq!(verdict.err().map(|deny| deny.reason), expected, "{issuer}");
    }
}

#[test]
fn a_client_that_a_mapping_names_keeps_its_pin() {
    let (real, imitation) = (Key::p384(384, 0), Key::p384(384, 1));
    let policy = read(&json!({
        "mode": "mtls",
        "authorities": {"partner-ca": Parts::authority(&real).pem()},
        "identity": {"mappings": [{"match": {"subject": {"CN": "acme"}}, "client_id": "partner"}]},
        "clients": {"partner": {"profiles": ["all"], "issuers": ["partner-ca"]}},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
    }));
    assert_eq!(note_of(&policy, &Parts::leaf(&real).leaf_of()), None);
    assert!(note_of(&policy, &Parts::leaf(&imitation).leaf_of()).unwrap().contains(OTHER_KEY));
}

#[test]
fn a_certificate_of_which_only_properties_are_known_is_no_authoritys() {
    let key = Key::p256(256, 0);
    let leaf = Parts::leaf(&key).leaf_of();
    let policy = |client: Value, identity: Value| {
        read(&json!({
            "mode": "mtls",
            "certificate": {"validation": "listener"},
            "authorities": {"partner-ca": Parts::authority(&key).pem()},
            "identity": identity,
            "clients": {"acme": client},
            "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
        }))
    };
    let fake = FakeProxy::new()
        .with(Property::PeerCertificateDigest, Thumbprint::of(&leaf.der).to_hex().into_bytes())
        .with(Property::PeerSubject, *b"CN=acme");
    let host = Host::new(fake);
    let pinned = json!({"identities": ["cn:acme"], "profiles": ["all"], "issuers": ["partner-ca"]});
    let deny = asked(&policy(pinned, json!({})), &Memory::default(), &host).unwrap_err();
    assert_eq!(deny.reason, Reason::IdentityNotMapped);
    assert!(deny.note.as_ref().unwrap().contains("only properties are known"), "{deny:?}");
    let mapping = json!({"mappings": [{"match": {"issuer": "partner-ca"}, "client_id": "acme"}]});
    let deny = asked(&policy(json!({"profiles": ["all"]}), mapping), &Memory::default(), &host).unwrap_err();
    assert_eq!(deny.reason, Reason::IdentityNotMapped);
    assert_eq!(host.signatures.get(), 0);
}

#[test]
fn a_forwarded_value_is_verified_once() {
    let (real, imitation) = (Key::p256(256, 0), Key::p256(256, 1));
    let policy = read(&json!({
        "mode": "mtls",
        "certificate": {
            "source": "forwarded",
            "forwarded": {"format": "base64_der", "header": "x-cert", "trusted_proxies": {"cidrs": ["10.0.0.1/32"]}},
        },
        "authorities": {"partner-ca": Parts::authority(&real).pem()},
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["all"], "issuers": ["partner-ca"]}},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
    }));
    for (key, expected) in [(&real, None), (&imitation, Some(Reason::IdentityNotMapped))] {
        let memory = Memory::default();
        let value = STANDARD.encode(Parts::leaf(key).der());
        for verified in [1, 0, 0] {
            let more = [("x-cert", value.as_str())];
            let names = headers("GET", "/", &more);
            let fake = FakeProxy::new().with(Property::DirectRemoteAddress, *b"10.0.0.1");
            let host = Host::new(fake);
            let verdict = decide(&policy, &memory, &Request::new(&names), &host).verdict;
            assert_eq!(verdict.err().map(|deny| deny.reason), expected);
            assert_eq!(host.signatures.get(), verified);
        }
    }
}

#[test]
fn a_client_is_found_by_its_own_pins_whichever_clients_stand_beside_it() {
    let (real, other) = (Key::p256(256, 0), Key::p256(256, 1));
    let client = |issuers: Value| json!({"profiles": ["all"], "issuers": issuers});
    let policy = read(&json!({
        "mode": "mtls",
        "authorities": {"one": Parts::authority(&real).pem(), "two": Parts::authority(&other).pem()},
        "identity": {"mappings": [{"match": {"subject": {"CN": "{name}"}}, "client_id": "{name}"}]},
        "clients": {
            "a": client(json!(["two"])), "b": {"profiles": ["all"]}, "c": client(json!(["one", "two"])), "d": client(json!(["one"])),
        },
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
    }));
    for (subject, of_real, of_other) in [("a", false, true), ("b", true, true), ("c", true, true), ("d", true, false)] {
        for (key, expected) in [(&real, of_real), (&other, of_other)] {
            let leaf = Parts { subject: name(subject), ..Parts::leaf(key) }.leaf_of();
            assert_eq!(note_of(&policy, &leaf).is_none(), expected, "{subject}");
        }
    }
}
