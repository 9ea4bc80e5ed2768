//! Every limit is the one that is documented, to the last byte: what reaches it is taken, and one more is not.

use mtls_authz::{Certificate, Header, MAX_SET_BYTES, Memory, Policy, Property, Reason, Request, Rule, decide};
use rcgen::{CustomExtension, KeyPair, PKCS_ED25519, SanType};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificates::{Recipe, acme};
use crate::proxy::{FakeProxy, NOW, headers, metadata};

fn verdict(proxy: &FakeProxy, headers: &[Header<'_>]) -> Result<Rule, Reason> {
    let policy = json!({
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
    });
    let policy = Policy::from_json(policy.to_string()).unwrap();
    let decision = decide(&policy, &Memory::default(), &Request::new(headers), proxy);
    decision.verdict.map(|allow| allow.rule).map_err(|deny| deny.reason)
}

fn acme_with(claims: &Value) -> FakeProxy {
    FakeProxy::new().presenting(&Recipe::new().cn("acme").issue()).verified(claims)
}

#[test]
fn a_method_has_at_most_64_bytes() {
    for (length, expected) in
        [(64, Reason::CertificateMissing), (65, Reason::RequestMalformed), (50_000, Reason::RequestMalformed)]
    {
        assert_eq!(verdict(&FakeProxy::new(), &headers(&"M".repeat(length), "/", &[])), Err(expected), "{length}");
    }
    let additional = |method: &str| json!({"methods": {"additional": [method]}}).to_string();
    let is_read = |length| Policy::from_json(additional(&"M".repeat(length))).is_ok();
    assert!(is_read(64) && !is_read(65));
}

/// It becomes a header, a member of records and the name of a metric.
#[test]
fn a_mapping_makes_no_longer_name_than_can_be_configured() {
    for key in ["client_id", "profile_id", "principal"] {
        let mut mapping = json!({"match": {"uri_san": "https://a.example/{name}"}, "client_id": "any"});
        mapping[key] = json!("{name}");
        let policy = json!({
            "mode": "mtls",
            "identity": {"allow_unregistered": true, "mappings": [mapping]},
            "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
        });
        let policy = Policy::from_json(policy.to_string()).unwrap();
        for (length, is_bounded) in [(256, true), (257, false), (9_000, false)] {
            let uri = format!("https://a.example/{}", "n".repeat(length));
            let names = vec![SanType::URI(uri.try_into().unwrap())];
            let leaf = Recipe::new().cn("somebody").with(|params| params.subject_alt_names = names).issue();
            let proxy = FakeProxy::new().presenting(&leaf);
            let decision = decide(&policy, &Memory::default(), &Request::new(&headers("GET", "/", &[])), &proxy);
            let reason = decision.verdict.unwrap_err().reason;
            assert_eq!(reason != Reason::IdentityInvalid, is_bounded, "{key} {length} {reason:?}");
        }
        let literal = json!({"identity": {"allow_unregistered": true, "mappings": [
            {"match": {"uri_san": "https://a.example/{name}"}, "client_id": format!("{}{{name}}", "x".repeat(257))},
        ]}});
        assert!(Policy::from_json(literal.to_string()).unwrap_err().problem.contains("at most 256 bytes"));
    }
}

#[test]
fn a_path_has_at_most_8_kib() {
    for (length, expected) in [(8_192, Reason::CertificateMissing), (8_193, Reason::PathMalformed)] {
        let path = format!("/{}", "a".repeat(length - 1));
        for query in ["", "?long=query"] {
            let path = format!("{path}{query}");
            assert_eq!(verdict(&FakeProxy::new(), &headers("GET", &path, &[])), Err(expected), "{length}");
        }
    }
}

#[test]
fn a_token_has_at_most_16_kib() {
    let proxy = acme_with(&json!({})).with(Property::DynamicMetadata, []);
    for (length, expected) in [(16_384, Reason::TokenMissing), (16_385, Reason::AuthorizationMalformed)] {
        let bearer = format!("Bearer {}", "a".repeat(length));
        let more = [("authorization", bearer.as_str())];
        assert_eq!(verdict(&proxy, &headers("GET", "/", &more)), Err(expected), "{length}");
    }
    // Of another scheme there may be more, and it is no token.
    let basic = format!("Basic {}", "a".repeat(20_000));
    assert_eq!(verdict(&proxy, &headers("GET", "/", &[("authorization", &basic)])), Err(Reason::TokenMissing));
}

#[test]
fn metadata_has_at_most_256_kib() {
    let leaf = Recipe::new().cn("acme").issue();
    let written = |padding: usize| {
        let claims = json!({
            "client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}, "padding": "a".repeat(padding),
        });
        metadata("envoy.filters.http.jwt_authn", "payload", &claims)
    };
    let around = written(250_000).len() - 250_000;
    for (length, expected) in [(262_144, Ok(Rule::Profile(0))), (262_145, Err(Reason::TokenMalformed))] {
        let metadata = written(length - around);
        assert_eq!(metadata.len(), length);
        let proxy = FakeProxy::new().presenting(&leaf).with(Property::DynamicMetadata, metadata);
        assert_eq!(verdict(&proxy, &headers("GET", "/", &[])), expected, "{length}");
    }
}

#[test]
fn a_key_set_has_at_most_256_kib() {
    assert_eq!(MAX_SET_BYTES, 262_144);
}

#[test]
fn a_certificate_has_at_most_32_kib() {
    // A signature of one length, whatever is signed.
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let padded = |padding: usize| {
        let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![0; padding]);
        let mut params = Recipe::new().params;
        params.custom_extensions.push(extension);
        params.self_signed(&key).unwrap().der().to_vec()
    };
    let around = padded(32_000).len() - 32_000;
    for (length, good) in [(32_768, true), (32_769, false)] {
        let der = padded(length - around);
        assert_eq!(der.len(), length);
        assert_eq!(Certificate::from_der(&der).is_ok(), good, "{length}");
    }
}

#[test]
fn a_certificate_has_at_most_256_alternative_names_and_64_extensions() {
    for (count, good) in [(255, true), (256, true), (257, false)] {
        let names = (0..count).map(|number| SanType::URI(format!("https://{number}").try_into().unwrap()));
        let names: Vec<SanType> = names.collect();
        let leaf = Recipe::new().with(|params| params.subject_alt_names = names).issue();
        assert_eq!(Certificate::from_der(&leaf.der).is_ok(), good, "{count} names");
    }
    let mut seen = Vec::new();
    for count in 55..70 {
        let unknown = |number| CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, number], vec![5, 0]);
        let extensions = (0..count).map(unknown).collect();
        let leaf = Recipe::new().with(|params| params.custom_extensions = extensions).issue();
        let (_, theirs) = X509Certificate::from_der(&leaf.der).unwrap();
        let all = theirs.extensions().len();
        assert_eq!(Certificate::from_der(&leaf.der).is_ok(), all <= 64, "{all} extensions");
        seen.push(all);
    }
    assert!(seen.contains(&64) && seen.contains(&65));
    assert!(Certificate::from_der(&acme().der).is_ok());
}

#[test]
fn a_pattern_has_at_most_eight_times_any_number_of_segments() {
    let accepted = |segment: &str, count: usize| {
        let pattern = format!("/{segment}").repeat(count);
        Policy::from_json(json!({"bypass": [{"path": pattern}]}).to_string()).is_ok()
    };
    assert!(accepted("**", 1) && accepted("**", 8) && !accepted("**", 9) && !accepted("**", 20));
    assert!(accepted("*", 9) && accepted("a", 9));
}
