//! Signatures of every algorithm, by the host or by the filter itself: none for a changed token, none without a verdict.

use mtls_authz::{Algorithm, Curve, Material, Reason, verify_signature, verify_token};
use serde_json::{Value, json};

use crate::host::Host;
use crate::issuer::{Issuer, base64url, key_set};
use crate::proxy::FakeProxy;

/// Algorithms that a host is asked about.
const BY_THE_HOST: &[Algorithm] =
    &[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Es256, Algorithm::Es384, Algorithm::Es512];

#[test]
fn a_good_token_of_every_algorithm_verifies_by_the_host_or_by_the_filter_itself() {
    let payload = json!({"client_id": "acme", "exp": 1, "nested": {"a": [null, true, -1, 1.5, "é"]}});
    for algorithm in Algorithm::ALL {
        let issuer = Issuer::of(*algorithm);
        let host = Host::new(FakeProxy::new());
        let token = issuer.token_of(&payload);
        let read = verify_token(&token, &issuer.keys(), Algorithm::ALL, &host).map(Value::Object);
        assert_eq!(read, Ok(payload.clone()), "{algorithm:?}");
        assert_eq!(host.signatures.get(), usize::from(BY_THE_HOST.contains(algorithm)), "{algorithm:?}");
    }
}

#[test]
fn a_signature_that_the_host_alone_verifies_is_neither_good_nor_forged_where_it_does_not_answer() {
    for algorithm in Algorithm::ALL {
        let issuer = Issuer::of(*algorithm);
        let host = Host::without_signatures(FakeProxy::new());
        let read = verify_token(&issuer.token(), &issuer.keys(), Algorithm::ALL, &host);
        if BY_THE_HOST.contains(algorithm) {
            let deny = read.unwrap_err();
            assert_eq!(deny.reason, Reason::InternalError, "{algorithm:?}");
            assert!(deny.note.unwrap().contains("verify_signature"), "{algorithm:?}");
        } else {
            assert!(read.is_ok(), "{algorithm:?}");
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
        {
            let host = Host::new(FakeProxy::new());
            let valid = |algorithm: &Algorithm, key: &Material, message: &[u8], signature: &[u8]| {
                verify_signature(&host, *algorithm, key, message, signature).unwrap()
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
        assert_eq!(verify_signature(&host, Algorithm::Rs256, &key, b"message", wrong), Some(false));
        assert_eq!(host.signatures.get(), 0);
    }
}

#[test]
fn r_and_s_are_not_zero_and_have_their_width_or_nobody_is_asked() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512] {
        let key = Issuer::of(algorithm).key().material;
        let signature = Issuer::of(algorithm).sign(b"message");
        let (r, s) = signature.split_at(signature.len() / 2);
        let zero = vec![0; r.len()];
        for (r, s) in [(&zero[..], s), (r, &zero[..]), (&zero, &zero), (r, &s[1..]), (&r[1..], &s[1..])] {
            let host = Host::new(FakeProxy::new());
            let read = verify_signature(&host, algorithm, &key, b"message", &[r, s].concat());
            assert_eq!((read, host.signatures.get()), (Some(false), 0), "{algorithm:?}");
        }
        let host = Host::new(FakeProxy::new());
        let beyond = vec![0xff; signature.len()];
        assert_eq!(verify_signature(&host, algorithm, &key, b"message", &beyond), Some(false), "{algorithm:?}");
    }
}

fn coordinates(key: &Material) -> [Vec<u8>; 2] {
    let Material::Ec(curve, spki) = key else { panic!() };
    let point = &spki[spki.len() - 2 * curve.width()..];
    [&point[..curve.width()], &point[curve.width()..]].map(<[u8]>::to_vec)
}

/// The check is our own; the curves' libraries say what it must say.
#[test]
fn a_point_is_on_its_curve_exactly_where_another_implementation_says_so() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512] {
        let mtls_authz::Family::Ec(curve) = algorithm.family() else { panic!() };
        let is_point = |x: &[u8], y: &[u8]| {
            let sec1 = [&[4], x, y].concat();
            match curve {
                Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).is_ok(),
                Curve::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).is_ok(),
                Curve::P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).is_ok(),
            }
        };
        let mut good = 0;
        for number in 0..400 {
            let [x, y] = coordinates(&Issuer::new(algorithm).key().material);
            let mut changed = [x.clone(), y.clone()];
            let (half, bit) = (number % 2, rand::random::<u32>() as usize % (8 * x.len()));
            changed[half][bit / 8] ^= 1 << (bit % 8);
            for [x, y] in [[x.clone(), y.clone()], [y, x], changed] {
                assert_eq!(curve.has_point(&x, &y), is_point(&x, &y), "{curve:?} {x:x?} {y:x?}");
                good += usize::from(curve.has_point(&x, &y));
            }
        }
        assert!((400..440).contains(&good), "{curve:?}: {good}");
        // Zero, the prime, and coordinates that are right but for a multiple of the prime.
        let width = curve.width();
        let (zero, ones) = (vec![0; width], vec![0xff; width]);
        for [x, y] in [[&zero, &zero], [&ones, &ones], [&zero, &ones], [&ones, &zero]] {
            assert!(!curve.has_point(x, y) && !is_point(x, y), "{curve:?}");
        }
    }
}

/// A short token of each algorithm and the key set for it.
fn short_tokens() -> impl Iterator<Item = (Algorithm, String)> {
    let token = |algorithm: &Algorithm| (*algorithm, Issuer::of(*algorithm).token_of(&json!({"exp": 1})));
    Algorithm::ALL.iter().map(token)
}

/// One RSA key verifies six algorithms: a flipped bit makes PS256 of RS256. Where keys had `alg` that would be refused
/// at once.
fn all_keys() -> mtls_authz::KeySet {
    let named = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::Es512, Algorithm::EdDsa];
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
    let read = verify_token(token, keys, Algorithm::ALL, &FakeProxy::new()).map_err(|deny| deny.reason);
    let known = [
        Reason::TokenMalformed,
        Reason::TokenAlgorithmNotAllowed,
        Reason::TokenKeyUnknown,
        Reason::TokenSignatureInvalid,
    ];
    assert!(read.is_err_and(|reason| known.contains(&reason)), "{name}");
}

fn decoded(part: &str) -> Vec<u8> {
    use base64::Engine;

    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()
}
