//! Keys and sets of keys, as issuers publish them.

use mtls_authz::{Algorithm, Key, KeySet, LeftOut, Policy, Reason, SetError, Unusable, verify_token};
use serde_json::{Value, json};

use crate::issuer::{Issuer, base64url, key_set};
use crate::proxy::FakeProxy;

fn read(jwk: &Value) -> Result<(), Unusable> {
    Key::from_jwk(jwk.as_object().unwrap()).map(|_| ())
}

fn changed(algorithm: Algorithm, changes: &Value) -> Value {
    let mut jwk = Issuer::of(algorithm).jwk();
    for (name, value) in changes.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn set(keys: &[Value]) -> Result<(KeySet, Vec<LeftOut>), SetError> {
    KeySet::from_json(json!({"keys": keys}).to_string().as_bytes())
}

fn decoded(jwk: &Value, name: &str) -> Vec<u8> {
    use base64::Engine;

    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
}

#[test]
fn a_key_says_what_it_is_for() {
    let es256 = |changes| changed(Algorithm::Es256, &changes);
    let rsa = |changes| changed(Algorithm::Rs256, &changes);
    for (jwk, expected) in [
        (es256(json!({})), Ok(())),
        (es256(json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"]})), Ok(())),
        (es256(json!({"key_ops": ["sign", "verify"]})), Ok(())),
        (
            es256(json!({"x5c": ["MIIB"], "x5t": "x", "x5t#S256": "y", "x5u": "https://a.example", "unknown": {}})),
            Ok(()),
        ),
        (es256(json!({"d": "AAAA"})), Ok(())),
        (rsa(json!({"d": "AAAA", "p": "AA", "q": 1, "dp": [], "dq": null, "qi": {}})), Ok(())),
        (rsa(json!({"alg": "PS256"})), Ok(())),
        (es256(json!({"use": "enc"})), Err(Unusable::Purpose)),
        (es256(json!({"use": ""})), Err(Unusable::Purpose)),
        (es256(json!({"use": "SIG"})), Err(Unusable::Purpose)),
        (es256(json!({"key_ops": []})), Err(Unusable::Purpose)),
        (es256(json!({"key_ops": ["sign"]})), Err(Unusable::Purpose)),
        (es256(json!({"key_ops": ["encrypt", "wrapKey", "deriveKey"]})), Err(Unusable::Purpose)),
        (es256(json!({"alg": "ES384"})), Err(Unusable::Algorithm)),
        (es256(json!({"alg": "RS256"})), Err(Unusable::Algorithm)),
        (es256(json!({"alg": "none"})), Err(Unusable::Algorithm)),
        (es256(json!({"alg": "HS256"})), Err(Unusable::Algorithm)),
        (es256(json!({"alg": "ECDH-ES"})), Err(Unusable::Algorithm)),
        (rsa(json!({"alg": "RSA-OAEP"})), Err(Unusable::Algorithm)),
        (rsa(json!({"alg": "ES256"})), Err(Unusable::Algorithm)),
        (es256(json!({"kty": "RSA"})), Err(Unusable::Kind)),
        (es256(json!({"kty": "oct"})), Err(Unusable::Kind)),
        (es256(json!({"kty": "ec"})), Err(Unusable::Kind)),
        (es256(json!({"kty": "OKP"})), Err(Unusable::Kind)),
        (es256(json!({"crv": "P-521"})), Err(Unusable::Kind)),
        (es256(json!({"crv": "secp256k1"})), Err(Unusable::Kind)),
        (rsa(json!({"crv": "P-256"})), Err(Unusable::Kind)),
        (changed(Algorithm::EdDsa, &json!({"crv": "X25519"})), Err(Unusable::Kind)),
        (changed(Algorithm::EdDsa, &json!({"crv": "Ed448"})), Err(Unusable::Kind)),
        (json!({}), Err(Unusable::Kind)),
        (es256(json!({"kty": 1})), Err(Unusable::Type)),
        (es256(json!({"kty": null})), Err(Unusable::Type)),
        (es256(json!({"use": ["sig"]})), Err(Unusable::Type)),
        (es256(json!({"key_ops": "verify"})), Err(Unusable::Type)),
        (es256(json!({"alg": null})), Err(Unusable::Type)),
        (es256(json!({"kid": 1})), Err(Unusable::Type)),
        (es256(json!({"x": 1})), Err(Unusable::Type)),
        (rsa(json!({"e": 65_537})), Err(Unusable::Type)),
    ] {
        assert_eq!(read(&jwk), expected, "{jwk}");
    }
}

#[test]
fn an_rsa_key_has_2048_to_4096_bits_and_a_sane_exponent() {
    let modulus = |bits: usize| {
        let mut number = vec![0x5a; bits.div_ceil(8)];
        number[0] = 1 << ((bits - 1) % 8);
        *number.last_mut().unwrap() |= 1;
        number
    };
    let three = vec![3];
    let mut even = modulus(2048);
    *even.last_mut().unwrap() &= 0xfe;
    for (name, n, e, expected) in [
        ("2048", modulus(2048), three.clone(), Ok(())),
        ("3072", modulus(3072), vec![1, 0, 1], Ok(())),
        ("4096", modulus(4096), vec![1, 0, 1], Ok(())),
        ("zeros in front", [vec![0; 3], modulus(2048)].concat(), vec![0, 0, 1, 0, 1], Ok(())),
        ("32 bits of exponent", modulus(2048), vec![0xff; 4], Ok(())),
        ("512", modulus(512), three.clone(), Err(Unusable::Size)),
        ("1024", modulus(1024), three.clone(), Err(Unusable::Size)),
        ("2047", modulus(2047), three.clone(), Err(Unusable::Size)),
        ("1024 behind zeros", [vec![0; 128], modulus(1024)].concat(), three.clone(), Err(Unusable::Size)),
        ("4097", modulus(4097), three.clone(), Err(Unusable::Size)),
        ("8192", modulus(8192), three.clone(), Err(Unusable::Size)),
        ("100,000", modulus(100_000), three.clone(), Err(Unusable::Size)),
        ("even", even, three, Err(Unusable::Size)),
        ("nothing", vec![], vec![1, 0, 1], Err(Unusable::Size)),
        ("all zeros", vec![0; 256], vec![1, 0, 1], Err(Unusable::Size)),
        ("e = 0", modulus(2048), vec![0], Err(Unusable::Size)),
        ("no e", modulus(2048), vec![], Err(Unusable::Size)),
        ("e = 1", modulus(2048), vec![1], Err(Unusable::Size)),
        ("e = 1 behind zeros", modulus(2048), vec![0, 0, 1], Err(Unusable::Size)),
        ("e = 2", modulus(2048), vec![2], Err(Unusable::Size)),
        ("e = 65536", modulus(2048), vec![1, 0, 0], Err(Unusable::Size)),
        ("33 bits of exponent", modulus(2048), vec![1, 0, 0, 0, 1], Err(Unusable::Size)),
        ("an exponent as long as n", modulus(2048), modulus(2040), Err(Unusable::Size)),
    ] {
        assert_eq!(read(&json!({"kty": "RSA", "n": base64url(n), "e": base64url(e)})), expected, "{name}");
    }
}

#[test]
fn a_point_is_whole_and_on_its_curve() {
    for (algorithm, size) in [(Algorithm::Es256, 32), (Algorithm::Es384, 48)] {
        let jwk = Issuer::of(algorithm).jwk();
        let (x, y) = (decoded(&jwk, "x"), decoded(&jwk, "y"));
        let mut off = y.clone();
        off[size - 1] ^= 1;
        let ones = vec![0xff; size];
        for (name, x, y, expected) in [
            ("good", x.clone(), y.clone(), Ok(())),
            ("off the curve", x.clone(), off, Err(Unusable::Point)),
            ("swapped", y.clone(), x.clone(), Err(Unusable::Point)),
            ("zero", vec![0; size], vec![0; size], Err(Unusable::Point)),
            ("beyond the field", ones.clone(), ones, Err(Unusable::Point)),
            ("short", x[1..].to_vec(), y.clone(), Err(Unusable::Encoding)),
            ("long", [&[0], &x[..]].concat(), y.clone(), Err(Unusable::Encoding)),
            ("one moved", [&x[..], &y[..1]].concat(), y[1..].to_vec(), Err(Unusable::Encoding)),
            ("empty", vec![], vec![], Err(Unusable::Encoding)),
        ] {
            let mut changed = jwk.clone();
            changed["x"] = json!(base64url(x));
            changed["y"] = json!(base64url(y));
            assert_eq!(read(&changed), expected, "{algorithm:?}, {name}");
        }
    }
    assert_eq!(read(&changed(Algorithm::Es256, &json!({"crv": "P-384"}))), Err(Unusable::Encoding));
    for (name, x, expected) in [
        ("short", vec![1; 31], Err(Unusable::Encoding)),
        ("long", vec![1; 33], Err(Unusable::Encoding)),
        // y = 2 is on neither sheet of the curve.
        ("off the curve", [&[2][..], &[0; 31]].concat(), Err(Unusable::Point)),
    ] {
        assert_eq!(read(&json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(x)})), expected, "Ed25519, {name}");
    }
}

#[test]
fn a_number_is_base64url_in_its_one_spelling() {
    for (algorithm, name) in [
        (Algorithm::Rs256, "n"),
        (Algorithm::Rs256, "e"),
        (Algorithm::Es256, "x"),
        (Algorithm::Es384, "y"),
        (Algorithm::EdDsa, "x"),
    ] {
        let good = Issuer::of(algorithm).jwk()[name].as_str().unwrap().to_owned();
        for wrong in [format!("{good}="), format!(" {good}"), format!("{good}\n"), format!("{good}+/")] {
            let jwk = changed(algorithm, &json!({name: wrong}));
            assert_eq!(read(&jwk), Err(Unusable::Encoding), "{algorithm:?}, {wrong:?}");
        }
        let mut without = Issuer::of(algorithm).jwk();
        without.as_object_mut().unwrap().remove(name);
        assert_eq!(read(&without), Err(Unusable::Encoding), "{algorithm:?} without {name}");
    }
}

/// A key whose order divides eight verifies anything under some schemes.
#[test]
fn a_small_ed25519_key_verifies_nothing() {
    for point in [
        base64url([&[1][..], &[0; 31]].concat()),
        base64url([0; 32]),
        base64url([&[0xec][..], &[0xff; 30], &[0x7f]].concat()),
    ] {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": point});
        let Ok(key) = Key::from_jwk(jwk.as_object().unwrap()) else {
            continue;
        };
        for r in [[&[1][..], &[0; 31]].concat(), vec![0; 32]] {
            let signature = [&r[..], &[0; 32]].concat();
            for message in 0..64_u8 {
                let proxy = FakeProxy::new();
                assert!(!mtls_authz::verify_signature(&proxy, Algorithm::EdDsa, &key.material, &[message], &signature));
            }
        }
    }
}

#[test]
fn a_set_is_bounded_and_strict() {
    let jwk = |id: usize| Issuer::of(Algorithm::EdDsa).named_jwk(&id.to_string());
    let many = |count: usize| (0..count).map(jwk).collect::<Vec<_>>();
    assert_eq!(set(&many(100)).map(|(_, left_out)| left_out), Ok(vec![]));
    assert_eq!(set(&many(101)).map(|_| ()), Err(SetError::TooMany));
    let padded = |length: usize| {
        let json = json!({"keys": [jwk(0)]}).to_string();
        format!("{json}{}", " ".repeat(length - json.len()))
    };
    let deep = format!(r#"{{"keys":[],"x":{}1{}}}"#, r#"{"a":"#.repeat(20_000), "}".repeat(20_000));
    for (name, json, expected) in [
        ("as long as may be", padded(mtls_authz::MAX_SET_BYTES), Ok(())),
        ("too long", padded(mtls_authz::MAX_SET_BYTES + 1), Err(SetError::TooLong)),
        ("nothing", String::new(), Err(SetError::Json)),
        ("a page", "<html>".to_owned(), Err(SetError::Json)),
        ("a list", json!([jwk(0)]).to_string(), Err(SetError::Json)),
        ("no keys", json!({}).to_string(), Err(SetError::Json)),
        ("keys that are no list", json!({"keys": {"a": jwk(0)}}).to_string(), Err(SetError::Json)),
        ("one key without a set", jwk(0).to_string(), Err(SetError::Json)),
        ("keys twice", format!(r#"{{"keys":[{0}],"keys":[{0}]}}"#, jwk(0)), Err(SetError::Json)),
        ("a member of a key twice", r#"{"keys":[{"kty":"EC","kty":"RSA"}]}"#.to_owned(), Err(SetError::Json)),
        ("cut off", padded(1_000).chars().take(100).collect(), Err(SetError::Json)),
        ("something behind", format!("{}x", padded(1_000)), Err(SetError::Json)),
        ("nested deeply", deep, Err(SetError::Json)),
        ("an empty list", json!({"keys": []}).to_string(), Err(SetError::Empty)),
        (
            "nothing but symmetric keys",
            json!({"keys": [{"kty": "oct", "k": "AAAA"}]}).to_string(),
            Err(SetError::Empty),
        ),
        ("no objects", json!({"keys": [1, null, "x", []]}).to_string(), Err(SetError::Empty)),
    ] {
        assert_eq!(KeySet::from_json(json.as_bytes()).map(|_| ()), expected, "{name}");
    }
}

/// The shape of what real issuers publish: several types, certificates, keys for encryption, members nobody knows.
#[test]
fn the_keys_of_a_real_issuer_are_adopted_and_the_unusable_ones_named() {
    let rsa = |id: &str| {
        let mut jwk = Issuer::of(Algorithm::Rs256).named_jwk(id);
        jwk["use"] = json!("sig");
        jwk["x5c"] = json!(["MIICnzCCAYcCBgF", "MIIC"]);
        jwk["x5t"] = json!("Zy-m7");
        jwk["x5t#S256"] = json!("dl4OE");
        jwk["issuer"] = json!("https://auth.example/{tenant}/v2.0");
        jwk
    };
    let encryption = {
        let mut jwk = rsa("enc");
        jwk["use"] = json!("enc");
        jwk["alg"] = json!("RSA-OAEP");
        jwk
    };
    let long = "k".repeat(1_000);
    let keys = [
        rsa("rsa-1"),
        encryption,
        Issuer::of(Algorithm::Es256).named_jwk("ec-1"),
        Issuer::of(Algorithm::EdDsa).named_jwk("okp-1"),
        json!({"kty": "EC", "crv": "P-521", "kid": "p521", "x": "AA", "y": "AA"}),
        json!({"kty": "oct", "kid": &long, "k": "AAAA"}),
        Issuer::of(Algorithm::Es384).jwk(),
        Issuer::new(Algorithm::Es256).named_jwk("ec-1"),
        Issuer::of(Algorithm::Ps256).named_jwk("ec-1"),
        json!("ec-2"),
    ];
    let (set, left_out) = set(&keys).unwrap();
    let named = |index, id: Option<&str>, why| LeftOut { index, id: id.map(str::to_owned), why };
    assert_eq!(
        left_out,
        [
            named(1, Some("enc"), Unusable::Purpose),
            named(4, Some("p521"), Unusable::Kind),
            named(5, Some("k".repeat(64).as_str()), Unusable::Kind),
            named(7, Some("ec-1"), Unusable::Duplicate),
            named(9, None, Unusable::Type),
        ]
    );
    for (algorithm, kid, expected) in [
        (Algorithm::Rs256, Some("rsa-1"), Ok(())),
        (Algorithm::Rs384, Some("rsa-1"), Err(Reason::TokenAlgorithmNotAllowed)),
        (Algorithm::Rs256, Some("enc"), Err(Reason::TokenKeyUnknown)),
        (Algorithm::Es256, Some("ec-1"), Ok(())),
        (Algorithm::Ps256, Some("ec-1"), Ok(())),
        (Algorithm::EdDsa, Some("okp-1"), Ok(())),
        (Algorithm::Es384, None, Ok(())),
        (Algorithm::Rs256, None, Ok(())),
        (Algorithm::Es256, Some("p521"), Err(Reason::TokenKeyUnknown)),
    ] {
        let mut header = json!({"alg": algorithm.name()});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        let token = Issuer::of(algorithm).token_with(&header, &json!({"exp": 1}));
        let outcome = verify_token(&token, &set, Algorithm::ALL, &FakeProxy::new());
        assert_eq!(outcome.map(|_| ()).map_err(|deny| deny.reason), expected, "{algorithm:?} {kid:?}");
    }
}

#[test]
fn keys_in_the_configuration_must_all_be_usable() {
    let policy = |jwks: Value| {
        let json = json!({"token": {"source": "jwks", "jwks": jwks}, "clients": {}, "profiles": {}});
        Policy::from_json(json.to_string().as_bytes()).map(|_| ()).map_err(|problem| problem.to_string())
    };
    let good = Issuer::of(Algorithm::Es256).named_jwk("a");
    assert_eq!(policy(json!({"keys": [good]})), Ok(()));
    let problem = policy(json!({"keys": [good, {"kty": "oct", "kid": "b", "k": "AA"}]})).unwrap_err();
    assert!(problem.contains("token.jwks.keys[1]") && problem.contains("\"b\""), "{problem}");
    let problem = policy(json!({"keys": []})).unwrap_err();
    assert!(problem.contains("token.jwks"), "{problem}");
}

#[test]
fn a_private_key_in_a_set_verifies_like_the_public_one() {
    let mut jwk = Issuer::of(Algorithm::EdDsa).named_jwk("a");
    jwk["d"] = json!(base64url([7; 32]));
    let token = Issuer::of(Algorithm::EdDsa).token();
    assert!(verify_token(&token, &key_set(&[jwk]), Algorithm::ALL, &FakeProxy::new()).is_ok());
}
