//! `authorities` in the configuration: every error says where, what, and what instead.

use super::*;

fn problem(policy: &Value) -> String {
    match Policy::from_json(policy.to_string()) {
        Ok(_) => panic!("accepted: {policy}"),
        Err(problem) => problem.to_string(),
    }
}

fn authorities(pems: &[(&str, String)]) -> Value {
    let authorities = pems.iter().map(|(name, pem)| ((*name).to_owned(), json!(pem)));
    json!({"authorities": authorities.collect::<serde_json::Map<_, _>>()})
}

#[test]
fn an_authority_that_nothing_names_is_fine() {
    let keys = [Key::p256(256, 0), Key::p384(384, 0), Key::p521(0), Key::ed25519(0), Key::pkcs1(256, 0)];
    for key in &keys {
        read(&authorities(&[("partner-ca", Parts::authority(key).pem())]));
    }
    let all = keys.iter().map(|key| (key.what.as_str(), Parts::authority(key).pem())).collect::<Vec<_>>();
    read(&authorities(&all));
}

#[test]
fn an_authority_is_a_certificate_that_may_sign_certificates_with_a_key_that_can_verify() {
    let key = Key::p256(256, 0);
    let good = Parts::authority(&key);
    let usage = |bits: u8| Parts {
        extensions: vec![good.extensions[0].clone(), extension(KEY_USAGE, true, &[3, 2, 1, bits])],
        ..good.clone()
    };
    read(&authorities(&[("partner-ca", usage(0b0000_0100).pem())]));
    read(&authorities(&[("partner-ca", usage(0b0000_0110).pem())]));
    let spki = |spki: Vec<u8>| Parts { spki, ..good.clone() }.pem();
    let one = "found \"\", expected the PEM of exactly one X.509 certificate";
    let only = "expected the PEM of exactly one X.509 certificate";
    let usable =
        "expected a certificate with an RSA key of 2048 to 4096 bits, or one on P-256, P-384, P-521 or Ed25519";
    let point = |first: u8, length: usize| [&[first][..], &vec![7; length]].concat();
    for (pem, words) in [
        (String::new(), one),
        ("partner".to_owned(), only),
        (good.pem().repeat(2), only),
        (STANDARD.encode(good.der()), only),
        (leaf_of(good.der()[..80].to_vec()).pem, only),
        (Parts::leaf(&key).pem(), "expected the certificate of an authority that issues certificates"),
        (
            usage(0b0000_0010).pem(),
            "expected an authority's certificate whose key usage includes keyCertSign, if it has one",
        ),
        (usage(0b1000_0000).pem(), "key usage includes keyCertSign"),
        (spki(ec_spki(P256, &point(4, 64))), usable),
        (spki(ec_spki(P521, &point(4, 131))), usable),
        (spki(ec_spki(P521, &point(2, 66))), usable),
        (spki(ec_spki(P521, &point(2, 132))), usable),
        (spki(ec_spki(&[0x2b, 0x81, 4, 0, 10], &point(4, 64))), usable),
        (
            spki(sequence(&[&algorithm(&[RSA, &[1]], NULL), &tlv(3, &[&[0], &sequence(&[&[2, 1, 15], &[2, 1, 3]])])])),
            usable,
        ),
    ] {
        let problem = problem(&authorities(&[("partner-ca", pem.clone())]));
        assert!(problem.starts_with("authorities.partner-ca: ") && problem.contains(words), "{problem}");
    }
}

#[test]
fn two_authorities_have_two_keys() {
    let (one, other, edwards) = (Key::p521(0), Key::p521(1), Key::ed25519(0));
    let renamed = Parts { subject: name("Renamed CA"), ..Parts::authority(&one) }.pem();
    let p521 = Parts::authority(&one).pem();
    read(&authorities(&[
        ("a", p521.clone()),
        ("b", Parts::authority(&other).pem()),
        ("c", Parts::authority(&edwards).pem()),
    ]));
    for (second, pem) in [("b", p521.clone()), ("b", renamed)] {
        let problem = problem(&authorities(&[("a", p521.clone()), (second, pem)]));
        assert_eq!(
            problem,
            "authorities.b: found the key of authority \"a\", expected a key that no other authority has"
        );
    }
    let pem = Parts::authority(&edwards).pem();
    assert!(problem(&authorities(&[("x", pem.clone()), ("y", pem)])).contains("the key of authority \"x\""));
    // The same name twice: which of the two is meant would be a guess.
    let twice = problem_of_text(r#"{"authorities": {"a": "x", "a": "y"}}"#);
    assert!(twice.contains("found the key \"a\" again"), "{twice}");
    assert!(problem_of_text(r#"{"authorities": {"a": null}}"#).starts_with("authorities.a: "));
}

fn problem_of_text(json: &str) -> String {
    Policy::from_json(json.as_bytes()).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn an_authoritys_name_cannot_be_taken_for_a_distinguished_name() {
    let pem = Parts::authority(&Key::ed25519(0)).pem();
    for (name, words) in [
        ("CN=Lab CA", "a name without \"=\", which distinguished names have"),
        ("=", "a name without \"=\""),
        ("", "1 to 256 visible ASCII characters"),
        (" a", "1 to 256 visible ASCII characters"),
        ("caf\u{e9}", "1 to 256 visible ASCII characters"),
    ] {
        let problem = problem(&authorities(&[(name, pem.clone())]));
        assert!(problem.starts_with(&format!("authorities.{name}: ")) && problem.contains(words), "{problem}");
    }
    for name in ["partner-ca", "Partner CA", "CN:Lab", "a.b/c"] {
        read(&authorities(&[(name, pem.clone())]));
    }
}

#[test]
fn what_pins_an_issuer_is_an_authority_of_the_configuration_or_a_distinguished_name() {
    let pems =
        [("partner-ca", Parts::authority(&Key::ed25519(0)).pem()), ("lab", Parts::authority(&Key::p256(256, 0)).pem())];
    let with = |issuers: Value, matched: Value, pems: &[(&str, String)]| {
        let mut policy = authorities(pems);
        policy["clients"] = json!({
            "first": {"profiles": ["all"], "issuers": ["CN=CA"]},
            "second": {"profiles": ["all"], "issuers": ["CN=CA"]},
            "acme": {"profiles": ["all"], "issuers": issuers},
        });
        policy["profiles"] = json!({"all": {}});
        policy["identity"] = json!({"mappings": [{"match": {"issuer": matched}, "client_id": "acme"}]});
        policy
    };
    read(&with(json!(["partner-ca", "CN=CA", "lab"]), json!("lab"), &pems));
    let named = "expected an RFC 4514 name such as CN=acme,O=Example (as `openssl x509 -noout -subject -nameopt RFC2253` prints it); \
                 or the name of a certificate authority: lab, partner-ca";
    for text in ["parner-ca", "Partner-CA", "partner-ca ", "", "CN", "CN=a,", "=", "partner-ca="] {
        for (policy, path) in [
            (with(json!(["lab", text]), json!("lab"), &pems), "clients.acme.issuers[1]"),
            (with(json!(["CN=CA"]), json!(text), &pems), "identity.mappings[0].match.issuer"),
        ] {
            let problem = problem(&policy);
            assert!(problem.starts_with(&format!("{path}: found {text:?}, {named}")), "{problem}");
        }
    }
    let none = problem(&with(json!(["partner-ca"]), json!("CN=CA"), &[]));
    assert!(none.ends_with("or the name of a certificate authority, and there is none"), "{none}");
}

#[test]
fn a_candidate_has_authorities_of_its_own() {
    let pem = Parts::authority(&Key::ed25519(0)).pem();
    let client = json!({"profiles": ["all"], "issuers": ["lab"]});
    let policy = json!({
        "authorities": {"lab": pem}, "clients": {"acme": client}, "profiles": {"all": {}},
        "candidate": {"clients": {"acme": client}, "profiles": {"all": {}}},
    });
    let candidate = read(&policy).candidate.unwrap().err().unwrap().to_string();
    assert!(candidate.starts_with("candidate.clients.acme.issuers[0]: found \"lab\""), "{candidate}");
}
