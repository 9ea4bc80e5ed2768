//! Tokens that a caller makes up: refused, each for its reason, by nothing else than what they are.

use mtls_authz::{Algorithm, KeySet, Reason, verify_token};
use serde_json::{Value, json};

use crate::host::Host;
use crate::issuer::{Issuer, base64url, key_set};
use crate::proxy::FakeProxy;

fn verdict(token: &str, keys: &KeySet) -> Result<(), Reason> {
    verify_token(token, keys, Algorithm::ALL, &FakeProxy::new()).map(|_| ()).map_err(|deny| deny.reason)
}

fn es256() -> &'static Issuer {
    Issuer::of(Algorithm::Es256)
}

fn claims() -> Value {
    json!({"client_id": "acme", "exp": 1_800_000_060})
}

/// A token with the members of `header` beside `alg`.
fn with(header: Value) -> String {
    let mut members = json!({"alg": "ES256"});
    members.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
    es256().token_with(&members, &claims())
}

#[test]
fn an_algorithm_is_one_of_the_list_in_exactly_its_spelling() {
    let keys = es256().keys();
    for name in [
        "none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "ES256K", "RS1", "PS1", "RSA1_5", "dir", "es256",
        "Es256", " ES256", "ES256 ", "ES256\0", "", "EDDSA", "Ed448", "ed25519",
    ] {
        let token = es256().token_with(&json!({"alg": name}), &claims());
        let (signed, _) = token.rsplit_once('.').unwrap();
        for token in [token.clone(), format!("{signed}.")] {
            assert_eq!(verdict(&token, &keys), Err(Reason::TokenAlgorithmNotAllowed), "{name}");
        }
    }
    for alg in [json!(null), json!(256), json!(["ES256"]), json!({"ES256": true}), json!(true)] {
        assert_eq!(verdict(&with(json!({"alg": alg})), &keys), Err(Reason::TokenMalformed), "{alg}");
    }
    let token = es256().token_with(&json!({"kid": "a"}), &claims());
    assert_eq!(verdict(&token, &keys), Err(Reason::TokenMalformed), "no alg");
}

#[test]
fn an_algorithm_that_is_not_configured_is_refused() {
    let read = |algorithms: &[Algorithm]| {
        verify_token(&es256().token(), &es256().keys(), algorithms, &FakeProxy::new()).map_err(|deny| deny.reason)
    };
    assert!(read(&[Algorithm::Es256]).is_ok());
    assert_eq!(read(&[Algorithm::Rs256, Algorithm::EdDsa]), Err(Reason::TokenAlgorithmNotAllowed));
    assert_eq!(read(&[]), Err(Reason::TokenAlgorithmNotAllowed));
}

#[test]
fn the_type_of_a_key_fixes_its_algorithms_and_its_alg_narrows_them_to_one() {
    for signing in Algorithm::ALL {
        let issuer = Issuer::of(*signing);
        for key_of in Algorithm::ALL {
            let plain = verdict(&issuer.token(), &Issuer::of(*key_of).keys());
            let mine = signing.family() == key_of.family();
            assert_eq!(plain, if mine { Ok(()) } else { Err(Reason::TokenKeyUnknown) }, "{signing:?} {key_of:?}");

            let named = key_set(&[Issuer::of(*key_of).named_jwk("a")]);
            let token = issuer.token_with(&json!({"alg": signing.name(), "kid": "a"}), &claims());
            let expected = if signing == key_of { Ok(()) } else { Err(Reason::TokenAlgorithmNotAllowed) };
            assert_eq!(verdict(&token, &named), expected, "{signing:?} {key_of:?}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The HMAC that a confused verifier would compute is as good as any other signature: there is no HS256.
    let secret = Issuer::of(Algorithm::Rs256).jwk().to_string();
    for alg in ["HS256", "HS384", "HS512"] {
        let signed = format!("{}.{}", base64url(json!({"alg": alg}).to_string()), base64url(claims().to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let token = format!("{signed}.{}", base64url(ring::hmac::sign(&key, signed.as_bytes())));
        let keys = Issuer::of(Algorithm::Rs256).keys();
        assert_eq!(verdict(&token, &keys), Err(Reason::TokenAlgorithmNotAllowed), "{alg}");
    }
    let oct = json!({"kty": "oct", "k": base64url(secret), "alg": "HS256"});
    assert!(KeySet::from_json(json!({"keys": [oct]}).to_string().as_bytes()).is_err());
}

#[test]
fn a_key_or_an_address_in_the_header_is_never_used() {
    let stranger = Issuer::new(Algorithm::Es256);
    for header in [
        json!({"jwk": stranger.jwk()}),
        json!({"jku": "https://evil.example/jwks.json"}),
        json!({"x5u": "https://evil.example/chain.pem"}),
        json!({"x5c": [base64url("certificate")]}),
        json!({"jwk": stranger.jwk(), "kid": "a"}),
    ] {
        let mut members = header.clone();
        members["alg"] = json!("ES256");
        let keys = key_set(&[es256().named_jwk("a")]);
        let forged = stranger.token_with(&members, &claims());
        assert_eq!(verdict(&forged, &keys), Err(Reason::TokenSignatureInvalid), "{header}");
        // Nor do they harm a token that one of our keys signed.
        assert_eq!(verdict(&with(header.clone()), &keys), Ok(()), "{header}");
    }
}

#[test]
fn the_key_is_one_that_kid_names_or_one_that_serves() {
    let (one, other) = (es256(), Issuer::new(Algorithm::Es256));
    let rsa = Issuer::of(Algorithm::Rs256);
    let one_of = |kid: Option<&str>| with(kid.map_or(json!({}), |kid| json!({"kid": kid})));
    let huge = "k".repeat(10_000);
    for (name, jwks, kid, expected) in [
        ("its own", vec![one.named_jwk("a"), other.named_jwk("b")], Some("a"), Ok(())),
        ("another's", vec![one.named_jwk("a"), other.named_jwk("b")], Some("b"), Err(Reason::TokenSignatureInvalid)),
        (
            "of another family",
            vec![one.named_jwk("a"), rsa.named_jwk("b")],
            Some("b"),
            Err(Reason::TokenAlgorithmNotAllowed),
        ),
        ("shared by families", vec![rsa.named_jwk("a"), one.named_jwk("a")], Some("a"), Ok(())),
        ("unknown", vec![one.named_jwk("a")], Some("A"), Err(Reason::TokenKeyUnknown)),
        ("empty", vec![one.named_jwk("a")], Some(""), Ok(())),
        ("a path", vec![one.named_jwk("a")], Some("../../dev/null"), Err(Reason::TokenKeyUnknown)),
        ("huge", vec![one.named_jwk("a")], Some(&huge), Err(Reason::TokenKeyUnknown)),
        ("named, where no key is", vec![one.jwk()], Some("a"), Ok(())),
        ("named, where no key is, of another", vec![other.jwk()], Some("a"), Err(Reason::TokenKeyUnknown)),
        ("named, beside a nameless one", vec![other.named_jwk("b"), one.jwk()], Some("a"), Ok(())),
        ("of two with one name", vec![other.named_jwk("a"), one.named_jwk("a")], Some("a"), Ok(())),
        ("absent, one key", vec![one.named_jwk("a")], None, Ok(())),
        ("absent, one key of the family", vec![one.named_jwk("a"), rsa.named_jwk("b")], None, Ok(())),
        ("absent, several keys", vec![other.named_jwk("a"), one.named_jwk("b")], None, Ok(())),
        ("absent, several others", vec![other.named_jwk("a"), other.jwk()], None, Err(Reason::TokenSignatureInvalid)),
        ("absent, none of the family", vec![rsa.named_jwk("a")], None, Err(Reason::TokenKeyUnknown)),
    ] {
        assert_eq!(verdict(&one_of(kid), &key_set(&jwks)), expected, "{name}");
    }
    for kid in [json!(null), json!(1), json!(["a"]), json!({})] {
        assert_eq!(verdict(&with(json!({"kid": kid})), &one.keys()), Err(Reason::TokenMalformed), "{kid}");
    }
}

#[test]
fn an_extension_or_another_type_in_the_header_is_refused() {
    for (header, good) in [
        (json!({"typ": "JWT"}), true),
        (json!({"typ": "at+jwt"}), true),
        (json!({"typ": "application/at+JWT"}), true),
        (json!({"cty": "anything", "unknown": {"deep": [1]}}), true),
        (json!({"typ": "dpop+jwt"}), false),
        (json!({"typ": "logout+jwt"}), false),
        (json!({"typ": "secevent+jwt"}), false),
        (json!({"typ": "JOSE"}), false),
        (json!({"typ": ["JWT"]}), false),
        (json!({"typ": null}), false),
        (json!({"crit": ["exp"], "exp": 1}), false),
        (json!({"crit": ["b64"], "b64": false}), false),
        (json!({"crit": []}), false),
        (json!({"crit": "exp"}), false),
        (json!({"crit": null}), false),
    ] {
        let expected = if good { Ok(()) } else { Err(Reason::TokenMalformed) };
        assert_eq!(verdict(&with(header.clone()), &es256().keys()), expected, "{header}");
    }
}

#[test]
fn a_member_that_stands_twice_refuses_a_token_at_any_depth() {
    let (header, payload) = (r#"{"alg":"ES256"}"#, r#"{"exp":1}"#);
    for (name, header, payload) in [
        ("alg", r#"{"alg":"ES256","alg":"ES256"}"#, payload),
        ("alg, escaped", r#"{"alg":"ES256","\u0061lg":"none"}"#, payload),
        ("in the header, deep", r#"{"alg":"ES256","x":[{"a":1,"a":2}]}"#, payload),
        ("exp", header, r#"{"exp":1,"exp":2}"#),
        ("exp, escaped", header, r#"{"exp":1,"e\u0078p":2}"#),
        ("in cnf", header, r#"{"exp":1,"cnf":{"x5t#S256":"a","x5t#S256":"b"}}"#),
        ("in a list", header, r#"{"exp":1,"x":[[[{"a":1,"a":1}]]]}"#),
    ] {
        let token = es256().jws(header.as_bytes(), payload.as_bytes());
        assert_eq!(verdict(&token, &es256().keys()), Err(Reason::TokenMalformed), "{name}");
    }
}

#[test]
fn header_and_payload_are_json_objects_and_nothing_else() {
    let deep_list = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_object = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let deep_member = format!(r#"{{"alg":"ES256","exp":1,"x":{deep_list}}}"#);
    let unclosed = r#"{"a":"#.repeat(100_000);
    for part in [
        "",
        " ",
        "null",
        "true",
        "1",
        "\"x\"",
        "[]",
        "[{}]",
        "{",
        "{}{}",
        "{} x",
        "{\"a\":1,}",
        "{'a':1}",
        "{a:1}",
        "\u{feff}{}",
        "{\"a\":NaN}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\ud800\"}",
        &deep_list,
        &deep_object,
        &deep_member,
        &unclosed,
    ] {
        let name = part.chars().take(20).collect::<String>();
        let as_header = es256().jws(part.as_bytes(), br#"{"exp":1}"#);
        assert_eq!(verdict(&as_header, &es256().keys()), Err(Reason::TokenMalformed), "header {name}");
        let as_payload = es256().jws(br#"{"alg":"ES256"}"#, part.as_bytes());
        assert_eq!(verdict(&as_payload, &es256().keys()), Err(Reason::TokenMalformed), "payload {name}");
    }
    for bytes in [&b"{\"a\":\"\xff\"}"[..], b"\xff", b"\xef\xbb\xbf{}", b"{\0}"] {
        let token = es256().jws(br#"{"alg":"ES256"}"#, bytes);
        assert_eq!(verdict(&token, &es256().keys()), Err(Reason::TokenMalformed), "{bytes:?}");
    }
}

#[test]
fn a_token_is_three_parts_of_base64url_in_its_one_spelling() {
    let token = es256().token();
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{token}") };
    let malformed = Err(Reason::TokenMalformed);
    for (name, token, expected) in [
        ("good", token.clone(), Ok(())),
        ("nothing", String::new(), malformed),
        ("one part", header.to_owned(), malformed),
        ("two parts", format!("{header}.{payload}"), malformed),
        ("four parts", format!("{token}.{signature}"), malformed),
        ("a JWE's five parts", format!("{header}.{payload}.{signature}.{signature}.{signature}"), malformed),
        ("dots", "..".to_owned(), malformed),
        ("ten thousand dots", ".".repeat(10_000), malformed),
        ("ten thousand dots around a token", format!("{}{token}", ".".repeat(10_000)), malformed),
        ("no header", format!(".{payload}.{signature}"), malformed),
        ("no payload", format!("{header}..{signature}"), Err(Reason::TokenSignatureInvalid)),
        ("no signature", format!("{header}.{payload}."), Err(Reason::TokenSignatureInvalid)),
        ("padding", format!("{token}=="), malformed),
        ("padding of the header", format!("{header}=.{payload}.{signature}"), malformed),
        ("a space behind", format!("{token} "), malformed),
        ("a space in front", format!(" {token}"), malformed),
        ("a line end", format!("{header}.{payload}\n.{signature}"), Err(Reason::TokenSignatureInvalid)),
        ("JSON serialization", json!({"payload": payload, "signatures": []}).to_string(), malformed),
        ("the alphabet of plain base64", format!("{header}.{payload}.++//"), malformed),
        ("NUL", format!("{header}.{payload}.\0"), malformed),
        ("not ASCII", format!("{header}.{payload}.é"), malformed),
    ] {
        assert_eq!(verdict(&token, &es256().keys()), expected, "{name}");
    }
}

/// The last character of 64 bytes in base64url has four bits that mean nothing. Other values of them would give one token
/// several texts.
#[test]
fn bits_behind_the_last_byte_are_zero() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let issuer = Issuer::of(algorithm);
        let token = issuer.token();
        let without_last: String = token.chars().take(token.len() - 1).collect();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let good = alphabet
            .chars()
            .filter(|last| {
                let changed = format!("{without_last}{last}");
                match verdict(&changed, &issuer.keys()) {
                    Ok(()) => true,
                    Err(reason) => {
                        assert!(
                            matches!(reason, Reason::TokenMalformed | Reason::TokenSignatureInvalid),
                            "{algorithm:?}, {last}: {reason:?}"
                        );
                        false
                    }
                }
            })
            .count();
        assert_eq!(good, 1, "{algorithm:?}");
    }
}

#[test]
fn the_work_for_a_token_is_one_signature_or_at_most_eight() {
    let keys: Vec<Value> = (0..50).map(|id| Issuer::new(Algorithm::Es256).named_jwk(&id.to_string())).collect();
    let keys = key_set(&keys);
    for (token, checks) in [(with(json!({"kid": "7"})), 1), (with(json!({})), 8), (with(json!({"kid": "x"})), 0)] {
        let host = Host::new(FakeProxy::new());
        assert!(verify_token(&token, &keys, Algorithm::ALL, &host).is_err());
        assert_eq!(host.signatures.get(), checks);
    }
}
