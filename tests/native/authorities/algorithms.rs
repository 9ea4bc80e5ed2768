//! Which signatures show that a certificate is an authority's.

use std::cell::RefCell;

use super::*;
use crate::host::Host;
use crate::proxy::FakeProxy;

/// Each way to sign; the other key of each kind is `which: 1`.
fn keys(which: usize) -> Vec<Key> {
    vec![
        Key::pkcs1(256, which),
        Key::pkcs1(384, which),
        Key::pkcs1(512, which),
        Key::pss(256, 32, which),
        Key::pss(384, 48, which),
        Key::pss(512, 64, which),
        Key::pss(256, 20, which),
        Key::pss(256, 0, which),
        Key::p256(256, which),
        Key::p256(384, which),
        Key::p256(512, which),
        Key::p384(256, which),
        Key::p384(384, which),
        Key::p384(512, which),
        Key::p521(which),
        Key::ed25519(which),
    ]
}

/// Whether a certificate is taken for that of `partner-ca`.
fn is_pinned(policy: &Policy, leaf: &Leaf) -> bool {
    let host = Host::new(FakeProxy::new().presenting(leaf));
    asked(policy, &Memory::default(), &host).is_ok()
}

/// A policy in which whatever this authority issues is a client, whatever it is named.
fn anything_of(key: &Key) -> Policy {
    read(&json!({
        "mode": "mtls",
        "authorities": {"partner-ca": Parts::authority(key).pem()},
        "identity": {"mappings": [{"match": {"issuer": "partner-ca"}, "client_id": "acme"}], "allow_unregistered": true},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
        "clients": {"acme": {"profiles": ["all"]}},
    }))
}

#[test]
fn a_certificate_is_an_authoritys_if_its_key_signed_it_with_any_algorithm() {
    for (own, other) in keys(0).iter().zip(&keys(1)) {
        let policy = pinned(&[("partner-ca", own)], json!(["partner-ca"]));
        assert!(is_pinned(&policy, &Parts::leaf(own).leaf_of()), "{}", own.what);
        assert!(!is_pinned(&policy, &Parts::leaf(other).leaf_of()), "{} of another key", own.what);
        // By its name it is the same authority's.
        let by_name = pinned(&[], json!(["CN=Lab CA"]));
        assert!(is_pinned(&by_name, &Parts::leaf(other).leaf_of()), "{}", own.what);
    }
}

#[test]
fn a_key_is_not_taken_for_one_of_another_family() {
    let own = keys(0);
    let policies: Vec<Policy> = own.iter().map(|key| pinned(&[("partner-ca", key)], json!(["partner-ca"]))).collect();
    for signs in &own {
        let leaf = Parts::leaf(signs).leaf_of();
        for (key, policy) in own.iter().zip(&policies) {
            assert_eq!(is_pinned(policy, &leaf), key.spki == signs.spki, "{} for {}", signs.what, key.what);
        }
    }
}

#[test]
fn no_bit_of_a_certificate_can_be_changed_without_losing_the_pin() {
    for key in [Key::pkcs1(256, 0), Key::pss(256, 32, 0), Key::p256(256, 0), Key::ed25519(0)] {
        let policy = anything_of(&key);
        let memory = Memory::default();
        let is_pinned = |policy: &Policy, leaf: &Leaf| {
            asked(policy, &memory, &Host::new(FakeProxy::new().presenting(leaf))).is_ok()
        };
        let der = Parts::leaf(&key).der();
        assert!(is_pinned(&policy, &leaf_of(der.clone())), "{}", key.what);
        for bit in 0..der.len() * 8 {
            let mut changed = der.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_pinned(&policy, &leaf_of(changed)), "{}: bit {bit}", key.what);
        }
        for length in 0..der.len() {
            assert!(!is_pinned(&policy, &leaf_of(der[..length].to_vec())), "{}: {length} bytes", key.what);
        }
    }
}

#[test]
fn the_algorithm_outside_is_the_one_that_was_signed() {
    for key in [Key::pkcs1(256, 0), Key::p256(256, 0), Key::ed25519(0), Key::pss(256, 32, 0)] {
        let policy = anything_of(&key);
        let own = key.algorithm.clone();
        let same_with_null = toggle_null(&own);
        for (what, algorithms, expected) in [
            ("as made", [own.clone(), own.clone()], true),
            ("another outside", [own.clone(), Key::p384(512, 0).algorithm], false),
            ("another inside", [Key::p384(512, 0).algorithm, own.clone()], false),
            ("another spelling outside", [own.clone(), same_with_null.clone()], false),
            ("another spelling inside", [same_with_null, own.clone()], false),
        ] {
            let leaf = Parts { algorithms, ..Parts::leaf(&key) }.leaf_of();
            assert_eq!(is_pinned(&policy, &leaf), expected, "{}: {what}", key.what);
        }
    }
}

/// Another spelling of an AlgorithmIdentifier: with NULL behind its identifier, or without it where it is there.
fn toggle_null(algorithm: &[u8]) -> Vec<u8> {
    let content = &algorithm[2..];
    match content.strip_suffix(NULL) {
        Some(content) => sequence(&[content]),
        None => sequence(&[content, NULL]),
    }
}

#[test]
fn parameters_are_null_or_absent_but_for_pss() {
    for (key, null, absent) in [
        (Key::pkcs1(256, 0), true, true),
        (Key::p256(256, 0), true, true),
        (Key::ed25519(0), false, true),
        (Key::pss(256, 32, 0), false, false),
    ] {
        let policy = anything_of(&key);
        let identifier = &key.algorithm[2..2 + 2 + usize::from(key.algorithm[3])];
        for (what, parameters, expected) in
            [("NULL", NULL, null), ("nothing", &[][..], absent), ("a number", &[2, 1, 1], false)]
        {
            let algorithm = sequence(&[identifier, parameters]);
            let leaf = Parts { algorithms: [algorithm.clone(), algorithm], ..Parts::leaf(&key) }.leaf_of();
            assert_eq!(is_pinned(&policy, &leaf), expected, "{}: {what}", key.what);
        }
    }
}

/// RFC 4055 section 3.1.
#[test]
fn pss_is_verified_with_what_its_parameters_say_and_only_one_hash() {
    let key = Key::pss(256, 32, 0);
    let policy = anything_of(&key);
    let (sha1, sha256) = (algorithm(&[&[0x2b, 0x0e, 3, 2, 0x1a]], NULL), sha(256));
    let sha256_null = toggle_null(&sha256);
    let hash = |hash: &[u8]| tlv(0xa0, &[hash]);
    let mask = |hash: &[u8]| tlv(0xa1, &[&algorithm(&[RSA, &[8]], hash)]);
    let salt = |bytes: &[u8]| tlv(0xa2, &[&tlv(2, &[bytes])]);
    let trailer = |number: u8| tlv(0xa3, &[&[2, 1, number]]);
    let other_mask = tlv(0xa1, &[&algorithm(&[RSA, &[9]], &sha256)]);
    for (what, parts, expected) in [
        ("as made", vec![hash(&sha256), mask(&sha256), salt(&[32])], true),
        ("NULL behind the hashes", vec![hash(&sha256_null), mask(&sha256_null), salt(&[32])], true),
        ("the trailer written out", vec![hash(&sha256), mask(&sha256), salt(&[32]), trailer(1)], true),
        ("nothing: SHA-1", vec![], false),
        ("SHA-1", vec![hash(&sha1), mask(&sha1), salt(&[32])], false),
        ("SHA-1 for the mask", vec![hash(&sha256), mask(&sha1), salt(&[32])], false),
        ("SHA-1 for the mask by default", vec![hash(&sha256), salt(&[32])], false),
        ("SHA-1 for the message by default", vec![mask(&sha256), salt(&[32])], false),
        ("another hash", vec![hash(&sha(384)), mask(&sha(384)), salt(&[32])], false),
        ("another hash for the mask", vec![hash(&sha256), mask(&sha(512)), salt(&[32])], false),
        ("another hash for the message", vec![hash(&sha(512)), mask(&sha256), salt(&[32])], false),
        ("another mask", vec![hash(&sha256), other_mask, salt(&[32])], false),
        ("another salt", vec![hash(&sha256), mask(&sha256), salt(&[31])], false),
        ("20 bytes of salt by default", vec![hash(&sha256), mask(&sha256)], false),
        ("more salt than there is room", vec![hash(&sha256), mask(&sha256), salt(&[0x7f, 0xff])], false),
        ("a salt beyond all numbers", vec![hash(&sha256), mask(&sha256), salt(&[1; 9])], false),
        ("a negative salt", vec![hash(&sha256), mask(&sha256), salt(&[0xff])], false),
        ("another trailer", vec![hash(&sha256), mask(&sha256), salt(&[32]), trailer(2)], false),
        ("another order", vec![mask(&sha256), hash(&sha256), salt(&[32])], false),
        ("something behind", vec![hash(&sha256), mask(&sha256), salt(&[32]), trailer(1), NULL.to_vec()], false),
    ] {
        let algorithm = algorithm(&[RSA, &[10]], &sequence(&[&parts.concat()]));
        let leaf = Parts { algorithms: [algorithm.clone(), algorithm], ..Parts::leaf(&key) }.leaf_of();
        assert_eq!(is_pinned(&policy, &leaf), expected, "{what}");
    }
}

#[test]
fn what_is_signed_with_sha_1_or_an_unknown_algorithm_is_no_authoritys() {
    let key = Key::pkcs1(256, 0);
    let policy = pinned(&[("partner-ca", &key)], json!(["partner-ca"]));
    for (what, algorithm) in [
        ("SHA-1", algorithm(&[RSA, &[5]], NULL)),
        ("MD5", algorithm(&[RSA, &[4]], NULL)),
        ("nothing known", algorithm(&[&[0x2a, 3]], NULL)),
    ] {
        let leaf = Parts { algorithms: [algorithm.clone(), algorithm], ..Parts::leaf(&key) }.leaf_of();
        let host = Host::new(FakeProxy::new().presenting(&leaf));
        let note = asked(&policy, &Memory::default(), &host).unwrap_err().note.unwrap();
        assert!(note.contains("algorithm that is not verified here"), "{what}: {note}");
    }
}

#[test]
fn what_a_p_521_key_has_signed_is_for_the_proxy_alone_to_say() {
    let key = Key::p521(0);
    let policy = pinned(&[("partner-ca", &key)], json!(["partner-ca"]));
    let parts = Parts::leaf(&key);
    let leaf = parts.leaf_of();
    for (verdict, expected) in [
        (Some(true), None),
        (Some(false), Some("another key signed the certificate")),
        (None, Some("only Envoy's verify_signature verifies signatures of the authority's key")),
    ] {
        let fake = FakeProxy::new().presenting(&leaf);
        let host = P521Host { fake, verdict, asked: RefCell::default() };
        let note = asked(&policy, &Memory::default(), &host).err().map(|deny| deny.note.unwrap().into_owned());
        assert_eq!(note.is_none(), expected.is_none(), "{verdict:?}");
        assert!(expected.is_none_or(|words| note.unwrap().contains(words)), "{verdict:?}");
        let asked = host.asked.borrow();
        let [[public_key, message, signature]] = asked.as_slice() else { panic!("{verdict:?}") };
        assert_eq!(*public_key, key.spki);
        assert_eq!(*signature, (key.sign)(message));
        // The certificate is what was signed, its algorithm and its signature.
        let rest = [&key.algorithm[..], &tlv(3, &[&[0], signature])].concat();
        assert_eq!(leaf.der, sequence(&[message, &rest]));
    }
}

#[test]
fn a_p_521_signature_is_two_numbers_of_at_most_66_bytes() {
    let number = |length: usize| number(&vec![1; length]);
    for (what, signature, is_asked) in [
        ("full", sequence(&[&number(66), &number(66)]), true),
        ("short", sequence(&[&number(1), &number(64)]), true),
        ("too long", sequence(&[&number(67), &number(66)]), false),
        ("three", sequence(&[&number(1), &number(1), &number(1)]), false),
        ("one", sequence(&[&number(1)]), false),
        ("bytes behind", [sequence(&[&number(1), &number(1)]), vec![0]].concat(), false),
        ("none", Vec::new(), false),
    ] {
        let key = Key { sign: Box::new(move |_| signature.clone()), ..Key::p521(0) };
        let policy = pinned(&[("partner-ca", &key)], json!(["partner-ca"]));
        let fake = FakeProxy::new().presenting(&Parts::leaf(&key).leaf_of());
        let host = P521Host { fake, verdict: Some(true), asked: RefCell::default() };
        assert_eq!(asked(&policy, &Memory::default(), &host).is_ok(), is_asked, "{what}");
        assert_eq!(host.asked.borrow().len(), usize::from(is_asked), "{what}");
    }
}
