//! The examples of docs/configuration/: each is accepted, or refused with the message below it.
//!
//! The word behind the fence says what an example is:
//!
//! - `json`: some members of a configuration. The members that it leaves out are those of [`whole`]; `…` stands for the value that
//!   [`left_out`] has for its key.
//! - `json refused`: the same, and the `text` behind it is the message.
//! - `json record`: some members of a decision record.
//! - `text`: a message, behind `json refused`.

mod defaults;
mod headers;
mod limits;
mod requests;

use mtls_authz::Policy;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Map, Value, json};

/// A configuration without optional members.
fn whole() -> Map<String, Value> {
    let members = json!({
        "clients": {"acme": {"identities": ["spiffe://prod.example/ns/pay/sa/acme"], "profiles": ["partner"]}},
        "profiles": {"partner": left_out("profile")},
    });
    members.as_object().unwrap().clone()
}

/// The value for which `…` stands under a key.
fn left_out(key: &str) -> Value {
    match key {
        "clients" | "profiles" => whole()[key].clone(),
        "jwks_uri" => json!({"cluster": "issuer", "authority": "auth.example", "path": "/jwks.json"}),
        // The key of RFC 8037 appendix A.2.
        "keys" => json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        "issuer_certificate" | "partner-ca" => authority().into(),
        "profile" | "partner" | "internal" => json!({"allow": [{"paths": ["/payments/**"]}]}),
        _ => panic!("nothing is known for … under {key:?}"),
    }
}

fn authority() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn completed(key: &str, value: Value) -> Value {
    match value {
        Value::Object(members) if members.contains_key("…") => left_out(key),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key.clone(), completed(&key, value))).collect()
        }
        Value::Array(values) => values.into_iter().map(|value| completed(key, value)).collect(),
        Value::String(text) if text.contains('…') => left_out(key),
        other => other,
    }
}

/// The members of an example.
fn members(example: &str) -> Map<String, Value> {
    let json = format!("{{{}}}", example.replace("{…}", r#"{"…": null}"#));
    serde_json::from_str(&json).unwrap_or_else(|problem| panic!("{problem}: {example}"))
}

/// The whole configuration of which an example is a part.
fn configuration(example: &str) -> String {
    let mut all = whole();
    all.extend(members(example).into_iter().map(|(key, value)| (key.clone(), completed(&key, value))));
    Value::Object(all).to_string()
}

/// The fenced examples of all pages, in order: where, the words behind the fence, the text.
fn examples() -> Vec<(String, String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration");
    let mut pages: Vec<_> = std::fs::read_dir(folder).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    let mut found = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if let Some(kind) = line.trim_start().strip_prefix("```") {
                let body: Vec<&str> =
                    lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
                found.push((format!("{}:{}", page.display(), number + 1), kind.to_owned(), body.join("\n")));
            }
        }
    }
    found
}

#[test]
fn every_example_of_a_configuration_is_accepted_or_refused_with_the_message_below_it() {
    let examples = examples();
    let mut following = examples.iter().skip(1);
    let mut accepted = 0;
    for (place, kind, text) in &examples {
        let next = following.next();
        let read = || Policy::from_json(configuration(text));
        match kind.as_str() {
            "json" => {
                let policy = read().unwrap_or_else(|problem| panic!("{place}: {problem}"));
                assert!(policy.candidate.is_none_or(|candidate| candidate.is_ok()), "{place}");
                accepted += 1;
            }
            "json refused" => {
                let (_, kind, message) = next.unwrap();
                assert_eq!(kind, "text", "{place}: what is refused has its message below it");
                assert_eq!(
                    read().err().unwrap_or_else(|| panic!("{place}: accepted")).to_string(),
                    message.trim(),
                    "{place}"
                );
            }
            "json record" => {
                let schema: Value =
                    serde_json::from_str(include_str!("../../../docs/decision-record.schema.json")).unwrap();
                assert_members(place, &Value::Object(members(text)), &schema);
            }
            "text" => (),
            _ => panic!("{place}: an example is none of `{kind}`"),
        }
    }
    assert!(accepted >= 8, "{accepted}");
}

/// An example of a record has no member that the schema does not have, and within a member all of its own.
fn assert_members(place: &str, example: &Value, schema: &Value) {
    for (key, value) in example.as_object().unwrap() {
        let member = schema["properties"].get(key).unwrap_or_else(|| panic!("{place}: {key}"));
        if value.is_object() {
            let required: Vec<&str> = member["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert!(required.iter().all(|name| value.get(name).is_some()), "{place}: {key} has {required:?}");
            assert_members(place, value, member);
        }
    }
}
