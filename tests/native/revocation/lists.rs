//! What a list says of a certificate, and which lists are refused.

use super::*;

#[test]
fn a_certificate_is_revoked_by_its_thumbprint_by_its_serial_number_or_by_any_of_its_names() {
    let leaf = acme();
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    let (hex, base64url) = (certificate.thumbprint.to_hex(), leaf.thumbprint());
    let serial = |issuer: &str, serial: &str| json!({"serials": [{"issuer": issuer, "serial": serial}]});
    let name = |name: &str| json!({"identities": [name]});
    let proxy = FakeProxy::new().presenting(&leaf);
    for (revocation, list) in [
        (json!({"sha256": [hex]}), Some("sha256")),
        (json!({"sha256": [hex.to_uppercase()]}), Some("sha256")),
        (json!({"sha256": [base64url]}), Some("sha256")),
        (json!({"sha256": ["0".repeat(64)]}), None),
        (serial(ISSUER, "0a1b"), Some("serials")),
        (serial(ISSUER, "A1B"), Some("serials")),
        (serial(ISSUER, "00:0A:1b"), Some("serials")),
        (serial("cn=Test CA,2.5.4.10=ExampleCorp", "0a1b"), Some("serials")),
        (serial(ISSUER, "0a1b00"), None),
        (serial(ISSUER, "1b"), None),
        (serial("CN=test CA,O=EXAMPLECORP", "0a1b"), Some("serials")),
        (serial("O=ExampleCorp,CN=Test CA", "0a1b"), Some("serials")),
        (serial("CN=Test CA", "0a1b"), None),
        (name("spiffe://td/acme"), Some("identities")),
        (name("dns:ACME.example"), Some("identities")),
        (name("cn:acme"), Some("identities")),
        (name("email:ops@acme.example"), Some("identities")),
        (name("subject:CN=acme"), Some("identities")),
        (name(&format!("sha256:{base64url}")), Some("identities")),
        (name("cn:Acme"), Some("identities")),
        (name("cn:acme1"), None),
        (name("dns:acme"), None),
        (json!({}), None),
        (json!({"sha256": [], "serials": [], "identities": [], "feeds": []}), None),
    ] {
        let decision = ask(&policy(&revocation), &fresh(), &proxy);
        let rule = list.map(|list| format!("revocation.{list}"));
        match (&decision.verdict, &rule) {
            (Ok(_), None) => {}
            (Err(deny), Some(rule)) => {
                assert_eq!(deny.reason, Reason::CertificateRevoked, "{revocation}");
                let names = headers("GET", "/payments", &[]);
                let record = decision_record(None, &Request::new(&names), &decision);
                let json: Value = serde_json::from_slice(&record).unwrap();
                assert_eq!(json["rule"], json!(rule), "{revocation}");
                assert_eq!(json["thumbprint"], json!(leaf.thumbprint()));
                assert_eq!(json["client_id"], json!("acme"));
                assert!(json["note"].as_str().unwrap().starts_with(rule), "{revocation}");
            }
            (verdict, _) => panic!("{revocation}: {verdict:?}"),
        }
    }
}

#[test]
fn a_serial_number_is_revoked_of_its_own_issuer_whichever_issuers_stand_around() {
    let entries = [("CN=A", "01"), ("CN=B", "02"), ("CN=A", "03"), ("CN=A", "04"), ("CN=B", "05"), ("CN=C", "01")];
    let serials: Vec<Value> =
        entries.iter().map(|(issuer, serial)| json!({"issuer": issuer, "serial": serial})).collect();
    let policy = policy(&json!({"serials": serials}));
    for issuer in ["A", "B", "C", "D"] {
        for number in 1..=6_u8 {
            let recipe = Recipe::new().uri("spiffe://td/acme");
            let leaf =
                recipe.with(|params| params.serial_number = Some(SerialNumber::from(vec![number]))).issue_as(issuer);
            let listed = entries.contains(&(format!("CN={issuer}").as_str(), format!("{number:02}").as_str()));
            let found = reason(&policy, &fresh(), &FakeProxy::new().presenting(&leaf));
            assert_eq!(found, listed.then_some(Reason::CertificateRevoked), "{issuer} {number}");
        }
    }
}

#[test]
fn a_serial_number_has_at_most_32_bytes() {
    for (serial, is_taken) in [
        ("0".repeat(64), true),
        ("0".repeat(65), false),
        (["ab"; 32].join(":"), true),
        (["ab"; 33].join(":"), false),
        (String::new(), false),
        ("1".to_owned(), true),
    ] {
        let json = json!({"revocation": {"serials": [{"issuer": "CN=A", "serial": serial}]}});
        assert_eq!(Policy::from_json(json.to_string()).is_ok(), is_taken, "{serial}");
    }
}

#[test]
fn a_policy_has_at_most_sixteen_feeds() {
    for (count, is_taken) in [(16, true), (17, false)] {
        let feed = json!({"type": "json", "cluster": "c", "authority": "a", "path": "/"});
        let json = json!({"revocation": {"feeds": vec![feed; count]}});
        assert_eq!(Policy::from_json(json.to_string()).is_ok(), is_taken, "{count}");
    }
}

#[test]
fn a_list_of_the_wrong_type_is_refused_with_what_was_expected() {
    let twice = |text: &str| format!(r#"{{"revocation": {{"serials": [{{{text}}}]}}}}"#);
    for (json, expected) in [
        (json!({"revocation": {"sha256": 1}}).to_string(), "expected a list of strings"),
        (json!({"revocation": {"identities": [1]}}).to_string(), "expected a text"),
        (json!({"revocation": {"serials": 1}}).to_string(), "expected a list of objects with issuer and serial"),
        (json!({"revocation": {"serials": [{"issuer": 1}]}}).to_string(), "expected a text"),
        (json!({"revocation": {"serials": [{"serial": 1}]}}).to_string(), "expected a text"),
        (json!({"clients": {"a": {"profiles": []}}, "profiles": 1}).to_string(), "expected an object"),
        (json!({"collections": []}).to_string(), "expected an object"),
        (twice(r#""issuer": "CN=A", "serial": "1", "issuer": "CN=B""#), "issuer"),
        (twice(r#""issuer": "CN=A", "serial": "1", "serial": "2""#), "serial"),
    ] {
        let problem = Policy::from_json(json.as_str()).err().unwrap().to_string();
        assert!(problem.contains(expected), "{json}: {problem}");
    }
}

#[test]
fn the_note_says_which_serial_number_of_which_issuer() {
    let revocation = json!({"serials": [{"issuer": ISSUER, "serial": "0a1b"}]});
    let decision = ask(&policy(&revocation), &fresh(), &FakeProxy::new().presenting(&acme()));
    let note = decision.verdict.unwrap_err().note.unwrap();
    assert_eq!(note, format!("revocation.serials: serial 0a1b of {ISSUER}"));
}

#[test]
fn what_is_wrong_with_a_certificate_itself_comes_first_and_whose_it_is_comes_later() {
    let revoked = policy(&json!({"identities": ["cn:acme", "cn:nobody"]}));
    let expired = Recipe::new().cn("acme").with(|params| params.not_after = crate::certificates::at(-1)).issue();
    let nobody = Recipe::new().cn("nobody").issue();
    for (leaf, expected) in [(expired, Reason::CertificateExpired), (nobody, Reason::CertificateRevoked)] {
        let proxy = FakeProxy::new().presenting(&leaf);
        assert_eq!(reason(&revoked, &fresh(), &proxy), Some(expected));
    }
}

#[test]
fn where_only_properties_are_known_no_list_of_serial_numbers_or_names_can_clear_a_certificate() {
    let leaf = acme();
    let hex = Certificate::from_der(&leaf.der).unwrap().thumbprint.to_hex();
    let proxy = FakeProxy::new()
        .with(Property::PeerCertificateValid, [1])
        .with(Property::PeerCertificateDigest, hex.clone())
        .with(Property::PeerUriSan, "spiffe://td/acme");
    for (revocation, expected) in [
        (json!({"sha256": ["0".repeat(64)]}), None),
        (json!({"identities": ["cn:x"]}), Some(Reason::RevocationUnavailable)),
        (json!({"sha256": [hex]}), Some(Reason::CertificateRevoked)),
        (json!({"serials": [{"issuer": "CN=x", "serial": "1"}]}), Some(Reason::RevocationUnavailable)),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "1"}], "identities": ["spiffe://td/acme"]}),
            Some(Reason::CertificateRevoked),
        ),
    ] {
        assert_eq!(reason(&policy(&revocation), &fresh(), &proxy), expected, "{revocation}");
    }
}

#[test]
fn a_wrong_list_is_refused_with_its_place() {
    let feed = |changes: Value| {
        let mut feed = json!({"type": "json", "cluster": "c", "authority": "a", "path": "/"});
        for (name, value) in changes.as_object().unwrap() {
            feed[name] = value.clone();
        }
        json!({"feeds": [feed]})
    };
    let ca = crate::certificates::ca().pem;
    for (revocation, path, words) in [
        (json!([]), "revocation", "expected an object"),
        (json!({"sha265": []}), "revocation.sha265", "did you mean `sha256`?"),
        (json!({"sha256": [1]}), "revocation.sha256[0]", "expected a text"),
        (json!({"sha256": ["0".repeat(64), "00"]}), "revocation.sha256[1]", "64 hexadecimal digits"),
        (json!({"serials": ["1"]}), "revocation.serials[0]", "an object of issuer and serial"),
        (json!({"serials": [{"issuer": "CN=x"}]}), "revocation.serials[0]", "serial"),
        (json!({"serials": [{"issuer": "x", "serial": "1"}]}), "revocation.serials[0].issuer", "RFC 4514"),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "0x1"}]}),
            "revocation.serials[0].serial",
            "hexadecimal digits",
        ),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "1:2"}]}),
            "revocation.serials[0].serial",
            "hexadecimal digits",
        ),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "01:2"}]}),
            "revocation.serials[0].serial",
            "hexadecimal digits",
        ),
        (json!({"serials": [{"issuer": "CN=x", "serial": ""}]}), "revocation.serials[0].serial", "hexadecimal digits"),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "1", "reason": 1}]}),
            "revocation.serials[0].reason",
            "found the unknown key `reason`",
        ),
        (json!({"identities": ["acme"]}), "revocation.identities[0]", "typed identity"),
        (feed(json!({"type": "ocsp"})), "revocation.feeds[0].type", "\"json\" or \"crl\""),
        (feed(json!({"cluster": ""})), "revocation.feeds[0].cluster", "the name of a cluster"),
        (feed(json!({"path": "x"})), "revocation.feeds[0].path", "the path of the list"),
        (feed(json!({"refresh_seconds": 0})), "revocation.feeds[0].refresh_seconds", "at least 1"),
        (
            feed(json!({"max_stale_seconds": 59})),
            "revocation.feeds[0].max_stale_seconds",
            "at least refresh_seconds (60)",
        ),
        (feed(json!({"on_stale": "refuse"})), "revocation.feeds[0].on_stale", "\"deny\" or \"allow\""),
        (feed(json!({"issuer_certificate": ca})), "revocation.feeds[0].issuer_certificate", "\"type\": \"crl\""),
        (feed(json!({"type": "crl"})), "revocation.feeds[0].issuer_certificate", "the PEM of the certificate"),
        (feed(json!({"type": "crl", "issuer_certificate": "x"})), "revocation.feeds[0].issuer_certificate", "PEM"),
        (
            feed(json!({"type": "crl", "issuer_certificate": acme().pem})),
            "revocation.feeds[0].issuer_certificate",
            "the authority that signs the list",
        ),
        (json!({"feeds": vec![feed(json!({}))["feeds"][0].clone(); 17]}), "revocation.feeds", "at most 16 feeds"),
    ] {
        let message = refused(&revocation);
        assert!(message.starts_with(&format!("{path}: ")) && message.contains(words), "{revocation}: {message}");
    }
}
