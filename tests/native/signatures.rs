//! Signatures of every algorithm, by the host and by the filter itself: the same verdict, and none for a changed token.

use mtls_authz::{Algorithm, Material, Reason, verify_signature, verify_token};
use serde_json::{Value, json};

use crate::host::Host;
use crate::issuer::{Issuer, base64url, key_set};
use crate::proxy::FakeProxy;

/// The proxy that verifies and the one that does not.
pub fn hosts() -> [Host; 2] {
    [Host::new(FakeProxy::new()), Host::without_signatures(FakeProxy::new())]
}

/// Algorithms that a host is asked about.
pub const BY_THE_HOST: &[Algorithm] =
    &[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Es256, Algorithm::Es384];

#[test]
fn a_good_token_of_every_algorithm_verifies_by_the_host_and_by_the_filter_itself() {
    let payload = json!({"client_id": "acme", "exp": 1, "nested": {"a": [null, true, -1, 1.5, "é"]}});
    for algorithm in Algorithm::ALL {
        let issuer = Issuer::of(*algorithm);
        for host in hosts() {
            let token = issuer.token_of(&payload);
            let read = verify_token(&token, &issuer.keys(), Algorithm::ALL, &host).map(Value::Object);
            assert_eq!(read, Ok(payload.clone()), "{algorithm:?}");
            assert_eq!(host.signatures.get(), usize::from(BY_THE_HOST.contains(algorithm)), "{algorithm:?}");
        }
    }
}

#[test]
fn rfc_9864_has_another_name_for_eddsa() {
    let issuer = Issuer::of(Algorithm::EdDsa);
    let token = issuer.token_with(&json!({"alg": "Ed25519"}), &json!({}));
    assert!(verify_token(&token, &issuer.keys(), Algorithm::ALL, &FakeProxy::new()).is_ok());
}

#[test]
fn a_signature_is_good_for_its_algorithm_key_and_message_alone() {
    for algorithm in Algorithm::ALL {
        let issuer = Issuer::of(*algorithm);
        let signature = issuer.sign(b"message");
        let own = issuer.key().material;
        let other = Issuer::new(*algorithm).key().material;
        for host in hosts() {
            let valid = |algorithm: &Algorithm, key: &Material, message: &[u8], signature: &[u8]| {
                verify_signature(&host, *algorithm, key, message, signature)
            };
            assert!(valid(algorithm, &own, b"message", &signature), "{algorithm:?}");
            assert!(!valid(algorithm, &own, b"Message", &signature), "{algorithm:?}");
            assert!(!valid(algorithm, &other, b"message", &signature), "{algorithm:?}");
            for foreign in Algorithm::ALL.iter().filter(|foreign| *foreign != algorithm) {
                assert!(!valid(foreign, &own, b"message", &signature), "{algorithm:?} as {foreign:?}");
            }
            for (name, wrong) in [
                ("none", Vec::new()),
                ("zeros", vec![0; signature.len()]),
                ("ones", vec![0xff; signature.len()]),
                ("short", signature[1..].to_vec()),
                ("cut off", signature[..signature.len() - 1].to_vec()),
                ("a zero in front", [&[0], &signature[..]].concat()),
                ("a zero behind", [&signature[..], &[0]].concat()),
                ("twice", signature.repeat(2)),
                ("very long", signature.repeat(1_000)),
            ] {
                assert!(!valid(algorithm, &own, b"message", &wrong), "{algorithm:?}, {name}");
            }
        }
    }
}

#[test]
fn an_rsa_signature_is_as_long_as_the_modulus_or_nobody_is_asked() {
    let issuer = Issuer::of(Algorithm::Rs256);
    let (key, signature) = (issuer.key().material, issuer.sign(b"message"));
    for wrong in [&signature[1..], &[&[0], &signature[..]].concat(), &[]] {
        let host = Host::new(FakeProxy::new());
        assert!(!verify_signature(&host, Algorithm::Rs256, &key, b"message", wrong));
        assert_eq!(host.signatures.get(), 0);
    }
}

#[test]
fn r_and_s_are_neither_zero_nor_the_order() {
    let orders = [
        (Algorithm::Es256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
        (
            Algorithm::Es384,
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        ),
    ];
    for (algorithm, order) in orders {
        let order = hex(order);
        let zero = vec![0; order.len()];
        let key = Issuer::of(algorithm).key().material;
        let signature = Issuer::of(algorithm).sign(b"message");
        let (r, s) = signature.split_at(order.len());
        for (r, s) in [(&zero[..], s), (r, &zero[..]), (&zero, &zero), (&order, s), (r, &order), (&order, &order)] {
            for host in hosts() {
                assert!(!verify_signature(&host, algorithm, &key, b"message", &[r, s].concat()), "{algorithm:?}");
                assert_eq!(host.signatures.get(), 0, "the host is not even asked");
            }
        }
    }
}

/// A short token of each algorithm and the key set for it.
fn short_tokens() -> impl Iterator<Item = (Algorithm, String)> {
    let token = |algorithm: &Algorithm| (*algorithm, Issuer::of(*algorithm).token_of(&json!({"exp": 1})));
    Algorithm::ALL.iter().map(token)
}

/// One RSA key verifies four algorithms: a flipped bit makes PS256 of RS256. Where keys had `alg` that would be refused
/// at once.
fn all_keys() -> mtls_authz::KeySet {
    let named = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
    key_set(&named.map(|algorithm| Issuer::of(algorithm).jwk()))
}

#[test]
fn a_token_with_any_bit_of_its_parts_flipped_is_refused() {
    let keys = all_keys();
    for (algorithm, token) in short_tokens() {
        let parts: Vec<Vec<u8>> = token.split('.').map(decoded).collect();
        for (part, bytes) in parts.iter().enumerate() {
            for bit in 0..bytes.len() * 8 {
                let mut changed = parts.clone();
                changed[part][bit / 8] ^= 1 << (bit % 8);
                let changed: Vec<String> = changed.iter().map(base64url).collect();
                refused(&changed.join("."), &keys, &format!("{algorithm:?}, part {part}, bit {bit}"));
            }
        }
    }
}

#[test]
fn a_token_with_any_bit_of_its_text_flipped_is_refused() {
    let keys = all_keys();
    for (algorithm, token) in short_tokens() {
        for bit in 0..token.len() * 8 {
            let mut changed = token.clone().into_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(changed) = String::from_utf8(changed) {
                refused(&changed, &keys, &format!("{algorithm:?}, bit {bit}"));
            }
        }
    }
}

fn refused(token: &str, keys: &mtls_authz::KeySet, name: &str) {
    let [by_the_host, by_the_filter] =
        hosts().map(|host| verify_token(token, keys, Algorithm::ALL, &host).map_err(|deny| deny.reason));
    assert_eq!(by_the_host, by_the_filter, "{name}");
    let known = [
        Reason::TokenMalformed,
        Reason::TokenAlgorithmNotAllowed,
        Reason::TokenKeyUnknown,
        Reason::TokenSignatureInvalid,
    ];
    assert!(by_the_filter.is_err_and(|reason| known.contains(&reason)), "{name}");
}

fn decoded(part: &str) -> Vec<u8> {
    use base64::Engine;

    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()
}

fn hex(digits: &str) -> Vec<u8> {
    let value = |digit: &u8| (*digit as char).to_digit(16).unwrap() as u8;
    digits.as_bytes().chunks(2).map(|pair| value(&pair[0]) << 4 | value(&pair[1])).collect()
}
