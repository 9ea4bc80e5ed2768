//! What is legal and means nothing is a warning.

use mtls_authz::Policy;
use serde_json::{Value, json};

/// A policy without warnings, with these members.
fn with(members: Value) -> Value {
    let mut policy = json!({
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/a/**"], "methods": ["GET"]}]}},
    });
    policy.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    policy
}

fn partner(members: Value) -> Value {
    let mut policy = with(json!({}));
    policy["profiles"]["partner"].as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    policy
}

/// A mapping of certificates with an organisation, and a client that lists no certificate.
fn mapped(client_id: &str, profile_id: &str) -> Value {
    let mapping = json!({"match": {"subject": {"O": "{org}"}}, "client_id": client_id, "profile_id": profile_id});
    with(json!({
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}, "family": {"profiles": ["other"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/a"]}]}, "other": {"allow": [{"paths": ["/a"]}]}},
        "identity": {"mappings": [mapping], "allow_unregistered": true},
    }))
}

/// Two profiles, and a mapping that gives one of them to any client.
fn two(profile_id: &str) -> Value {
    let mapping = json!({"match": {"subject": {"O": "{org}"}}, "client_id": "{org}", "profile_id": profile_id});
    with(json!({
        "profiles": {"partner": {"allow": [{"paths": ["/a"]}]}, "other": {"allow": [{"paths": ["/a"]}]}},
        "identity": {"mappings": [mapping], "allow_unregistered": true},
    }))
}

fn warnings(policy: &Value) -> Vec<String> {
    let policy = Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"));
    policy.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_means_nothing_is_a_warning_with_its_place() {
    let deny = |deny: Value| partner(json!({"deny": [deny]}));
    let upgrade =
        |methods: Value| partner(json!({"allow": [{"paths": ["/a"], "methods": methods, "upgrades": ["websocket"]}]}));
    let client = |client: Value| {
        with(json!({"clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}, "b": client}}))
    };
    let optional = json!({"mode": "bearer_plus_mtls_optional", "token": {"audiences": ["a"]}});
    for (policy, expected) in [
        (with(json!({})), None),
        (partner(json!({"allow": []})), Some("profiles.partner.allow: found no rule")),
        (with(json!({"profiles": {"partner": {}}})), Some("profiles.partner.allow: found no rule")),
        (client(json!({})), Some("clients.b: found no \"profiles\", expected those that a mapping")),
        (client(json!({"profiles": ["partner"]})), Some("clients.b: found neither \"identities\" nor a mapping")),
        // Disabled.
        (client(json!({"profiles": []})), None),
        (mapped("family", "other"), None),
        (mapped("{org}", "other"), None),
        (mapped("{org}", "{subject.OU}"), None),
        (mapped("a-{org}", "{subject.OU}"), Some("clients.family: found neither")),
        (mapped("other", "other"), Some("clients.family: found neither")),
        (two("partner"), Some("profiles.other: found a profile that neither a client nor a mapping names")),
        (two("other"), None),
        (two("{subject.OU}"), None),
        (two("a{subject.OU}"), Some("profiles.other: found a profile that neither")),
        (
            with(json!({"binding": {"required_paths": ["/a"]}})),
            Some("binding.required_paths: found it where no mode is"),
        ),
        (
            with({
                let mut members = optional.clone();
                members["binding"] = json!({"required_paths": ["/a"]});
                members["clients"] = json!({"acme": {"profiles": ["partner"]}});
                members
            }),
            None,
        ),
        (
            with(json!({"mode": "mtls", "token": {"issuers": ["https://issuer.example"]}})),
            Some("token: found it where every mode is mtls"),
        ),
        (with(json!({"mode": "mtls", "token": {}})), None),
        (with(json!({"token": {"issuers": ["https://issuer.example"]}})), None),
        (deny(json!("/a/b")), None),
        (deny(json!("/**")), None),
        (deny(json!("/b/**")), Some("profiles.partner.deny[0]: found nothing that a rule of this profile allows")),
        (deny(json!({"paths": ["/a/b"], "methods": ["DELETE"]})), Some("profiles.partner.deny[0]: found nothing")),
        (deny(json!({"paths": ["/a/b"], "methods": ["DELETE", "HEAD"]})), None),
        (upgrade(json!(["GET"])), None),
        (upgrade(json!(["POST"])), Some("profiles.partner.allow[0].methods: found no GET beside the upgrade")),
    ] {
        let told = warnings(&policy);
        match expected {
            None => assert!(told.is_empty(), "{policy}: {told:?}"),
            Some(expected) => {
                assert!(
                    told.len() == 1 && told[0].starts_with(expected) && told[0].contains(", expected "),
                    "{policy}: {told:?}"
                );
            }
        }
    }
}

#[test]
fn warnings_are_bounded_and_a_candidate_has_its_own() {
    let profiles: serde_json::Map<String, Value> = (0..100).map(|at| (format!("p{at}"), json!({}))).collect();
    assert_eq!(warnings(&with(json!({"profiles": profiles, "clients": {}}))).len(), 20);
    let policy = Policy::from_json(with(json!({"candidate": {"profiles": {"p": {}}}})).to_string()).unwrap();
    assert_eq!((policy.warnings.len(), policy.candidate.unwrap().unwrap().warnings.len()), (0, 2));
}

#[test]
fn a_deny_is_compared_with_a_bounded_number_of_patterns() {
    let paths: Vec<String> = (0..1000).map(|at| format!("/a/{at}")).collect();
    let policy = partner(json!({"allow": [{"paths": paths}], "deny": ["/b"]}));
    assert!(warnings(&policy).is_empty());
}
