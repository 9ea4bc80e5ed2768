//! The tokens in RFC 7515, RFC 7520 and RFC 8037.

use std::path::PathBuf;

use mtls_authz::{Algorithm, Key, KeySet, Reason, verify_token};
use serde_json::{Value, json};

use crate::issuer::{Issuer, key_set};
use crate::proxy::FakeProxy;

/// RFC 7515 appendix A.2
const A_2: &str = "\
     eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19\
     yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt\
     _O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb\
     1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI\
     8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const A_2_MODULUS: &str = "\
     ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
     T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB\
     dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia\
     GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
/// RFC 7515 appendix A.3
const A_3: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19\
     yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU\
     1Q";
/// RFC 7515 appendix A.5
const A_5: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19\
     yb290Ijp0cnVlfQ.";
/// RFC 7515 appendix E
const E: &str = "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLm\
     NvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.";
/// RFC 8037 appendix A.4
const A_4: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6\
     dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
/// The payload of RFC 7520 section 4.
const BILBO: &str = "\
     SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUg\
     cm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0\
     IGJlIHN3ZXB0IG9mZiB0by4";
const BILBO_MODULUS: &str = "\
     n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRB\
     SFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD\
     1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_\
     qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";
/// RFC 7520 section 4.1, its header and signature
const RS256: (&str, &str) = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
    "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi8\
     4wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocS\
     adnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJu\
     shZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
);
/// RFC 7520 section 4.2
const PS384: (&str, &str) = (
    "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
    "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDIt\
     llVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0\
     TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0\
     uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
);
/// RFC 7520 section 4.3
const ES512: (&str, &str) = (
    "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
    "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_\
     sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
);
/// RFC 7520 section 4.4
const HS256: (&str, &str) = (
    "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9",
    "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
);

fn verdict(token: &str, keys: &KeySet) -> Result<Value, Reason> {
    let read = verify_token(token, keys, Algorithm::ALL, &FakeProxy::new());
    read.map(Value::Object).map_err(|deny| deny.reason)
}

fn rsa(modulus: &str) -> Value {
    json!({"kty": "RSA", "n": modulus, "e": "AQAB"})
}

fn bilbo(mut jwk: Value) -> KeySet {
    jwk["kid"] = json!("bilbo.baggins@hobbiton.example");
    jwk["use"] = json!("sig");
    key_set(&[jwk])
}

fn joe() -> Value {
    json!({"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true})
}

fn a_3_key() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

#[test]
fn the_tokens_of_rfc_7515_have_their_verdicts() {
    let other = Issuer::of(Algorithm::Es256).jwk();
    for (name, token, key, expected) in [
        ("A.2 RS256", A_2, rsa(A_2_MODULUS), Ok(joe())),
        ("A.2 with another key", A_2, rsa(BILBO_MODULUS), Err(Reason::TokenSignatureInvalid)),
        ("A.3 ES256", A_3, a_3_key(), Ok(joe())),
        ("A.3 with another key", A_3, other, Err(Reason::TokenSignatureInvalid)),
        ("A.3 with a key of another family", A_3, rsa(A_2_MODULUS), Err(Reason::TokenKeyUnknown)),
        ("A.5 none", A_5, a_3_key(), Err(Reason::TokenAlgorithmNotAllowed)),
        ("E crit", E, a_3_key(), Err(Reason::TokenMalformed)),
    ] {
        assert_eq!(verdict(token, &key_set(&[key])), expected, "{name}");
    }
}

/// The payloads are prose. Only behind a good signature is that looked at.
#[test]
fn the_tokens_of_rfc_7520_and_rfc_8037_have_their_verdicts() {
    let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    // Section 3.1
    let p521 = json!({
        "kty": "EC",
        "crv": "P-521",
        "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
    });
    let compact = |(header, signature): (&str, &str)| format!("{header}.{BILBO}.{signature}");
    for (name, token, keys, expected) in [
        ("RFC 7520, 4.1 RS256", compact(RS256), bilbo(rsa(BILBO_MODULUS)), Reason::TokenMalformed),
        ("4.1 with another key", compact(RS256), bilbo(rsa(A_2_MODULUS)), Reason::TokenSignatureInvalid),
        (
            "4.1 with the signature of 4.2",
            compact((RS256.0, PS384.1)),
            bilbo(rsa(BILBO_MODULUS)),
            Reason::TokenSignatureInvalid,
        ),
        ("4.2 PS384", compact(PS384), bilbo(rsa(BILBO_MODULUS)), Reason::TokenMalformed),
        (
            "4.2 with the signature of 4.1",
            compact((PS384.0, RS256.1)),
            bilbo(rsa(BILBO_MODULUS)),
            Reason::TokenSignatureInvalid,
        ),
        ("4.3 ES512", compact(ES512), bilbo(p521.clone()), Reason::TokenMalformed),
        ("4.3 with a key of another family", compact(ES512), bilbo(a_3_key()), Reason::TokenAlgorithmNotAllowed),
        ("4.4 HS256", compact(HS256), bilbo(a_3_key()), Reason::TokenAlgorithmNotAllowed),
        ("4.5 detached", format!("{}..{}", RS256.0, RS256.1), bilbo(rsa(BILBO_MODULUS)), Reason::TokenSignatureInvalid),
        ("RFC 8037, A.4 Ed25519", A_4.to_owned(), key_set(std::slice::from_ref(&ed25519)), Reason::TokenMalformed),
    ] {
        assert_eq!(verdict(&token, &keys), Err(expected), "{name}");
    }
}

/// The whole collections, kept beside this repository by those who work on it.
#[test]
fn the_collected_rfc_vectors_have_their_verdicts_where_they_are_present() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
    if !folder.is_dir() {
        return;
    }
    let read = |path: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    for case in read(folder.join("rfc/jws_rfc.json"))["cases"].as_array().unwrap() {
        let token = case["jws"].as_str().unwrap();
        let key = case["jwk"].as_object().map(Key::from_jwk);
        match (case["signature"].as_str().unwrap(), key) {
            ("valid", Some(key)) => {
                assert!(key.is_ok(), "{case}");
                let outcome = verdict(token, &key_set(&[case["jwk"].clone()]));
                assert!(matches!(outcome, Ok(_) | Err(Reason::TokenMalformed)), "{case}");
            }
            ("invalid", Some(_)) => {
                let outcome = verdict(token, &key_set(&[case["jwk"].clone()]));
                assert_eq!(outcome, Err(Reason::TokenSignatureInvalid), "{case}");
            }
            (_, key) => {
                assert!(key.is_none_or(|key| key.is_err()), "{case}");
                assert!(verdict(token, &key_set(&[a_3_key()])).is_err(), "{case}");
            }
        }
    }
    let mut seen = 0;
    for part in ["jws", "jwe", "curve25519", "rfc7797"] {
        for entry in std::fs::read_dir(folder.join("jose-cookbook").join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let mut example = read(path.clone());
            let key = &mut example["input"]["key"];
            // The examples have both halves.
            for secret in ["d", "p", "q", "dp", "dq", "qi"] {
                key.as_object_mut().and_then(|key| key.remove(secret));
            }
            let key = &example["input"]["key"];
            let usable = key.as_object().is_some_and(|key| Key::from_jwk(key).is_ok());
            let keys = key_set(&[if usable { key.clone() } else { a_3_key() }]);
            let Some(token) = example["output"]["compact"].as_str() else {
                continue;
            };
            let encrypted = token.split('.').count() == 5;
            let good = matches!(example["input"]["alg"].as_str(), Some("RS256" | "PS384" | "ES512" | "EdDSA"))
                && !token.contains("..");
            // Of a good one the payload is prose.
            let malformed = verdict(token, &keys) == Err(Reason::TokenMalformed);
            assert_eq!(malformed, encrypted || good || part == "rfc7797", "{path:?}");
            assert!(verdict(token, &keys).is_err(), "{path:?}");
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen}");
}
