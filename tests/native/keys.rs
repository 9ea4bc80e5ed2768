//! Keys and sets of keys, as issuers publish them.

use mtls_authz::{Algorithm, Key, KeySet, LeftOut, Policy, Reason, SetError, Unusable, verify_token};
use serde_json::{Value, json};

use crate::host::Host;
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
        (es256(json!({"d": "AAAA"})), Err(Unusable::Secret("d"))),
        (rsa(json!({"qi": "AA"})), Err(Unusable::Secret("qi"))),
        (rsa(json!({"oth": [{"r": "AA"}]})), Err(Unusable::Secret("oth"))),
        (json!({"kty": "oct", "k": "AAAA"}), Err(Unusable::Secret("k"))),
        (json!({"kty": "oct"}), Err(Unusable::Kind)),
        (rsa(json!({"d": null, "p": "", "oth": []})), Ok(())),
        (rsa(json!({"alg": "PS256"})), Ok(())),
        (rsa(json!({"alg": "PS512"})), Ok(())),
        (rsa(json!({"alg": "", "crv": "", "x": null, "use": null, "key_ops": [], "kid": ""})), Ok(())),
        (rsa(json!({"crv": "P-256", "x": 1, "y": []})), Ok(())),
        (es256(json!({"alg": null, "use": "", "key_ops": null, "x5c": [], "n": 7})), Ok(())),
        (es256(json!({"crv": null})), Ok(())),
        (es256(json!({"crv": "", "alg": "ES256"})), Ok(())),
        (changed(Algorithm::Es384, &json!({"crv": "", "alg": "ES384"})), Ok(())),
        (changed(Algorithm::Es512, &json!({"crv": null, "alg": "ES512"})), Ok(())),
        (es256(json!({"crv": "", "alg": "RS256"})), Err(Unusable::Algorithm)),
        (changed(Algorithm::EdDsa, &json!({"alg": "Ed25519"})), Ok(())),
        (changed(Algorithm::EdDsa, &json!({"y": ""})), Ok(())),
        (es256(json!({"use": ["sig"], "key_ops": "verify"})), Ok(())),
        (es256(json!({"use": "SIG", "key_ops": ["Verify"]})), Ok(())),
        (es256(json!({"use": "jwt-svid"})), Ok(())),
        (es256(json!({"key_ops": ["sign"]})), Ok(())),
        (es256(json!({"kid": 1})), Ok(())),
        (es256(json!({"use": "x509-svid"})), Err(Unusable::Purpose)),
        (es256(json!({"use": {}})), Err(Unusable::Purpose)),
        (es256(json!({"use": "sig", "key_ops": ["encrypt"]})), Err(Unusable::Purpose)),
        (es256(json!({"use": "enc"})), Err(Unusable::Purpose)),
        (es256(json!({"key_ops": ["encrypt", "wrapKey", "deriveKey"]})), Err(Unusable::Purpose)),
        (es256(json!({"alg": "ES384"})), Err(Unusable::Algorithm)),
        (es256(json!({"alg": "RS256"})), Err(Unusable::Algorithm)),
        (es256(json!({"alg": "none"})), Err(Unusable::Algorithm)),
        (es256(json!({"alg": "HS256"})), Err(Unusable::Algorithm)),
        (es256(json!({"alg": "ECDH-ES"})), Err(Unusable::Algorithm)),
        (rsa(json!({"alg": "RSA-OAEP"})), Err(Unusable::Algorithm)),
        (rsa(json!({"alg": "ES256"})), Err(Unusable::Algorithm)),
        (es256(json!({"kty": "RSA"})), Err(Unusable::Encoding)),
        (es256(json!({"kty": "oct"})), Err(Unusable::Kind)),
        (es256(json!({"kty": "ec"})), Err(Unusable::Kind)),
        (es256(json!({"kty": "OKP"})), Err(Unusable::Kind)),
        (es256(json!({"crv": "P-521"})), Err(Unusable::Point)),
        (es256(json!({"crv": "P-384"})), Err(Unusable::Point)),
        (es256(json!({"crv": "secp256k1"})), Err(Unusable::Kind)),
        (changed(Algorithm::EdDsa, &json!({"crv": "X25519"})), Err(Unusable::Kind)),
        (changed(Algorithm::EdDsa, &json!({"crv": "Ed448"})), Err(Unusable::Kind)),
        (json!({}), Err(Unusable::Kind)),
        (es256(json!({"kty": 1})), Err(Unusable::Type)),
        (es256(json!({"kty": null})), Err(Unusable::Kind)),
        (es256(json!({"alg": 1})), Err(Unusable::Type)),
        (es256(json!({"crv": 1})), Err(Unusable::Type)),
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
        ("nothing", vec![], vec![1, 0, 1], Err(Unusable::Encoding)),
        ("all zeros", vec![0; 256], vec![1, 0, 1], Err(Unusable::Size)),
        ("e = 0", modulus(2048), vec![0], Err(Unusable::Size)),
        ("no e", modulus(2048), vec![], Err(Unusable::Encoding)),
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
    for (algorithm, size) in [(Algorithm::Es256, 32), (Algorithm::Es384, 48), (Algorithm::Es512, 66)] {
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
            ("short", x[..size - 1].to_vec(), y.clone(), Err(Unusable::Point)),
            ("a zero in front", [&[0], &x[..]].concat(), y.clone(), Ok(())),
            ("long", [&[1], &x[..]].concat(), y.clone(), Err(Unusable::Encoding)),
            ("empty", vec![], vec![], Err(Unusable::Encoding)),
        ] {
            let mut changed = jwk.clone();
            changed["x"] = json!(base64url(x));
            changed["y"] = json!(base64url(y));
            assert_eq!(read(&changed), expected, "{algorithm:?}, {name}");
        }
    }
    for (name, x, expected) in [
        ("short", vec![1; 31], Err(Unusable::Encoding)),
        ("long", vec![1; 33], Err(Unusable::Encoding)),
        // y = 2 is on neither sheet of the curve.
        ("off the curve", [&[2][..], &[0; 31]].concat(), Err(Unusable::Point)),
    ] {
        assert_eq!(read(&json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(x)})), expected, "Ed25519, {name}");
    }
}

/// One key in 256 has a zero in front, and some issuers leave it out.
#[test]
fn a_coordinate_may_lack_the_zeros_in_front_of_it() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512] {
        let (issuer, jwk, name) = loop {
            let issuer = Issuer::new(algorithm);
            let jwk = issuer.jwk();
            // P-521 has seven bits of zeros anyhow.
            let zeros = if algorithm == Algorithm::Es512 { 2 } else { 1 };
            if let Some(name) =
                ["x", "y"].into_iter().find(|name| decoded(&jwk, name)[..zeros].iter().all(|byte| *byte == 0))
            {
                break (issuer, jwk, name);
            }
        };
        let mut short = jwk.clone();
        let number = decoded(&jwk, name);
        let start = number.iter().position(|byte| *byte != 0).unwrap();
        short[name] = json!(base64url(&number[start..]));
        assert_ne!(short, jwk);
        assert!(verify_token(&issuer.token(), &key_set(&[short]), Algorithm::ALL, &FakeProxy::new()).is_ok());
    }
}

#[test]
fn a_number_is_base64url_padded_or_not() {
    for (algorithm, name) in [
        (Algorithm::Rs256, "n"),
        (Algorithm::Rs256, "e"),
        (Algorithm::Es256, "x"),
        (Algorithm::Es384, "y"),
        (Algorithm::EdDsa, "x"),
    ] {
        let good = Issuer::of(algorithm).jwk()[name].as_str().unwrap().to_owned();
        let padded = format!("{good}{}", "=".repeat((4 - good.len() % 4) % 4));
        assert_eq!(read(&changed(algorithm, &json!({name: padded}))), Ok(()), "{algorithm:?}");
        for wrong in [format!(" {good}"), format!("{good}\n"), format!("{good}+/"), format!("={good}")] {
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
                let verdict =
                    mtls_authz::verify_signature(&proxy, Algorithm::EdDsa, &key.material, &[message], &signature);
                assert_eq!(verdict, Some(false));
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
        ("no keys", json!({}).to_string(), Err(SetError::NoKeys)),
        ("keys that are no list", json!({"keys": {"a": jwk(0)}}).to_string(), Err(SetError::NoKeys)),
        ("one key without a set", jwk(0).to_string().replace("\"EdDSA\"", "1"), Err(SetError::NoKeys)),
        ("a byte order mark", format!("\u{feff}{}", padded(1_000)), Ok(())),
        ("two byte order marks", format!("\u{feff}\u{feff}{}", padded(1_000)), Err(SetError::Json)),
        ("keys twice", format!(r#"{{"keys":[{0}],"keys":[{0}]}}"#, jwk(0)), Err(SetError::Json)),
        ("a member of a key twice", r#"{"keys":[{"kty":"EC","kty":"RSA"}]}"#.to_owned(), Err(SetError::Json)),
        ("cut off", padded(1_000).chars().take(100).collect(), Err(SetError::Json)),
        ("something behind", format!("{}x", padded(1_000)), Err(SetError::Json)),
        ("nested deeply", deep, Err(SetError::Json)),
    ] {
        assert_eq!(KeySet::from_json(json.as_bytes()).map(|_| ()), expected, "{name}");
    }
}

#[test]
fn a_set_without_a_usable_key_names_each_key_and_says_why() {
    let why = |keys: Value| match KeySet::from_json(json!({"keys": keys}).to_string().as_bytes()) {
        Err(SetError::Empty(why)) => why,
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert_eq!(why(json!([])), "it has no usable key");
    let mut encrypts = Issuer::of(Algorithm::Rs256).named_jwk("enc");
    encrypts["use"] = json!("enc");
    let text = why(json!([encrypts, {"kty": "oct", "kid": "a\nb", "k": "AAAA"}, null]));
    assert_eq!(
        text,
        format!(
            "it has no usable key: keys[0] (kid \"enc\"): {}; keys[1] (kid \"a\\nb\"): {}; keys[2] (kid \"\"): {}",
            Unusable::Purpose.as_str(),
            Unusable::Secret("k").as_str(),
            Unusable::Type.as_str()
        )
    );
    let many = why(Value::Array(vec![json!({"kty": "x"}); 100]));
    assert!(many.ends_with("; and 90 further keys") && many.len() < 2_000, "{many}");
}

/// Google's keys of Firebase, and `jwt_authn`'s other form of a set.
#[test]
fn a_set_may_be_an_object_of_certificates() {
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
    let read = |set: Value| KeySet::from_json(set.to_string().as_bytes());
    let (set, left_out) = read(json!({"a": pem, "b": pem.replace("-----BEGIN", "---BEGIN"), "c": ""})).unwrap();
    assert_eq!(set.named(Some("a")).map(|key| key.material.family()).collect::<Vec<_>>(), [Algorithm::Es256.family()]);
    let left_out: Vec<_> = left_out.into_iter().map(|key| (key.id.unwrap(), key.why)).collect();
    assert_eq!(left_out, [("b".to_owned(), Unusable::Encoding), ("c".to_owned(), Unusable::Encoding)]);
    assert!(matches!(read(json!({"a": "x"})).map(|_| ()), Err(SetError::Empty(_))));
    assert_eq!(read(json!({"a": pem, "b": 1})).map(|_| ()), Err(SetError::NoKeys));
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
        Issuer::of(Algorithm::Es256).named_jwk("ec-1"),
        json!("ec-2"),
    ];
    let (set, left_out) = set(&keys).unwrap();
    let named = |index, id: Option<&str>, why| LeftOut { index, id: id.map(str::to_owned), why };
    assert_eq!(
        left_out,
        [
            named(1, Some("enc"), Unusable::Purpose),
            named(4, Some("p521"), Unusable::Point),
            named(5, Some("k".repeat(64).as_str()), Unusable::Secret("k")),
            named(9, Some("ec-1"), Unusable::Duplicate),
            named(10, None, Unusable::Type),
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
        // The ES384 key without a name serves every token of its kind, and no other.
        (Algorithm::Es384, Some("gone"), Ok(())),
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
    for foreign in [
        json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "b"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "b"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "b"}),
    ] {
        assert_eq!(policy(json!({"keys": [good, foreign]})), Ok(()), "{foreign}");
        let problem = policy(json!({"keys": [foreign]})).unwrap_err();
        assert!(problem.contains("it has no usable key: keys[0] (kid \"b\"): "), "{problem}");
    }
    let mut private = Issuer::of(Algorithm::EdDsa).named_jwk("b");
    private["d"] = json!("c2VjcmV0");
    let mut private_for_encryption = private.clone();
    private_for_encryption["use"] = json!("enc");
    let mut damaged = Issuer::of(Algorithm::Es256).named_jwk("b");
    damaged["y"] = json!("AA");
    for (bad, words) in [
        (json!({"kty": "oct", "kid": "b", "k": "c2VjcmV0"}), "token.jwks.keys[1].k"),
        (private, "token.jwks.keys[1].d"),
        (private_for_encryption, "token.jwks.keys[1].d"),
        (damaged, Unusable::Point.as_str()),
        (json!("x"), Unusable::Type.as_str()),
    ] {
        let problem = policy(json!({"keys": [good, bad]})).unwrap_err();
        assert!(problem.contains("token.jwks.keys[1]") && problem.contains(words), "{problem}");
        assert!(!problem.contains("c2VjcmV0") && (bad["kid"].is_null() || problem.contains("\"b\"")), "{problem}");
    }
    let problem = policy(json!({"keys": []})).unwrap_err();
    assert!(problem.contains("token.jwks"), "{problem}");
    let problem = policy(json!([good])).unwrap_err();
    assert!(problem.contains("token.jwks"), "{problem}");
}

#[test]
fn a_private_key_in_a_fetched_set_is_left_out_and_the_others_are_taken() {
    let mut private = Issuer::of(Algorithm::EdDsa).named_jwk("a");
    private["d"] = json!(base64url([7; 32]));
    let (keys, left_out) = set(&[private, Issuer::of(Algorithm::Es256).named_jwk("b")]).unwrap();
    assert_eq!(left_out, [LeftOut { index: 0, id: Some("a".to_owned()), why: Unusable::Secret("d") }]);
    assert_eq!(keys.named(None).count(), 1);
}

/// OpenAM publishes one RSA key for each of its algorithms.
#[test]
fn one_key_may_have_one_kid_and_several_algorithms() {
    let key = |algorithm: Algorithm| Issuer::of(algorithm).named_jwk("a");
    let keys = key_set(&[key(Algorithm::Rs512), key(Algorithm::Rs256)]);
    for (algorithm, expected) in [
        (Algorithm::Rs256, Ok(())),
        (Algorithm::Rs512, Ok(())),
        (Algorithm::Rs384, Err(Reason::TokenAlgorithmNotAllowed)),
    ] {
        let token = Issuer::of(algorithm).token_with(&json!({"alg": algorithm.name(), "kid": "a"}), &json!({"exp": 1}));
        let read = verify_token(&token, &keys, Algorithm::ALL, &FakeProxy::new());
        assert_eq!(read.map(|_| ()).map_err(|deny| deny.reason), expected, "{algorithm:?}");
    }
}

/// How many signatures a token is: a caller must not choose it.
#[test]
fn of_the_keys_that_may_have_signed_a_token_at_most_eight_are_tried() {
    let issuers: Vec<Issuer> = (0..12).map(|_| Issuer::new(Algorithm::Es256)).collect();
    for (kid, name) in [(None, None), (Some("a"), Some("a")), (None, Some("a")), (Some("a"), None)] {
        let jwk = |issuer: &Issuer| {
            let mut jwk = issuer.named_jwk(kid.unwrap_or_default());
            // Every other one is for nothing but an algorithm that the token does not have.
            jwk["alg"] = json!("ES256");
            jwk
        };
        let jwks: Vec<Value> =
            issuers.iter().flat_map(|issuer| [Issuer::of(Algorithm::Rs256).named_jwk("z"), jwk(issuer)]).collect();
        let (keys, _) = set(&jwks).unwrap();
        for (number, issuer) in issuers.iter().enumerate() {
            let mut header = json!({"alg": "ES256"});
            if let Some(name) = name {
                header["kid"] = json!(name);
            }
            let host = Host::new(FakeProxy::new());
            let read = verify_token(&issuer.token_with(&header, &json!({"exp": 1})), &keys, Algorithm::ALL, &host);
            assert_eq!(read.is_ok(), number < 8, "{kid:?} {name:?} {number}");
            assert_eq!(host.signatures.get(), 8.min(number + 1), "{kid:?} {name:?} {number}");
            if let Err(deny) = read {
                let is_named = kid.is_some() || name.is_none();
                let reason = if is_named { Reason::TokenSignatureInvalid } else { Reason::TokenKeyUnknown };
                assert_eq!(deny.reason, reason, "{kid:?} {name:?}");
                assert!(!is_named || deny.note.unwrap().contains("8 of 12 keys"), "{kid:?} {name:?}");
            }
        }
    }
}

#[test]
fn a_refusal_names_the_kid_the_algorithm_and_what_the_set_has() {
    let (keys, _) = set(&[Issuer::of(Algorithm::Rs256).named_jwk("a"), Issuer::of(Algorithm::Es256).jwk()]).unwrap();
    for (header, reason, words) in [
        (
            json!({"alg": "RS256", "kid": "b\n"}),
            Reason::TokenKeyUnknown,
            r#"kid is "b\n", its alg RS256, and no such key is in the set, which has: "a", "(without kid)""#,
        ),
        (
            json!({"alg": "RS512", "kid": "a"}),
            Reason::TokenAlgorithmNotAllowed,
            r#"kid is "a", and no key of that kid is one for its alg RS512"#,
        ),
        (json!({"alg": "EdDSA"}), Reason::TokenKeyUnknown, "has no kid, its alg EdDSA, and no such key"),
        (
            json!({"alg": "HS256"}),
            Reason::TokenAlgorithmNotAllowed,
            r#"alg is "HS256", expected one of token.algorithms: "RS256""#,
        ),
        (
            json!({"alg": "RS256", "kid": "a"}),
            Reason::TokenSignatureInvalid,
            r#"kid is "a", its alg RS256; 1 of 1 keys"#,
        ),
    ] {
        let token = Issuer::new(Algorithm::EdDsa).token_with(&header, &json!({"exp": 1, "sub": "personal"}));
        let deny = verify_token(&token, &keys, Algorithm::ALL, &FakeProxy::new()).unwrap_err();
        let note = deny.note.unwrap_or_default();
        assert!(
            deny.reason == reason && note.contains(words) && !note.contains("personal"),
            "{:?} {note}",
            deny.reason
        );
    }
}
