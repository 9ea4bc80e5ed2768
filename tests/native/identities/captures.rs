//! Mappings: URIs of any scheme, captures behind a literal beginning, one of several values.

use rcgen::{DnType, DnValue};
use serde_json::{Value, json};

use super::{asked, client, email, note, policy, presenting, problem, unit, verdict};
use crate::certificates::{Leaf, Recipe};

/// With these mappings, and every client that they make.
fn mapped(mappings: Value) -> Value {
    let mut policy = policy("mtls", json!({}));
    policy["identity"] = json!({"mappings": mappings, "allow_unregistered": true});
    policy
}

fn mapping(matches: Value, client_id: &str) -> Value {
    json!({"match": matches, "client_id": client_id, "profile_id": "certificate"})
}

fn who(matches: Value, client_id: &str, leaf: &Leaf) -> String {
    verdict(&asked(&mapped(json!([mapping(matches, client_id)])), &presenting(leaf), &[])).to_owned()
}

#[test]
fn a_capture_behind_a_literal_beginning_is_the_rest_of_its_piece() {
    let uri = |text: &str| Recipe::new().uri(text).issue();
    let with_unit = |text: &str| Recipe::new().subject(DnType::OrganizationalUnitName, text).issue();
    for (matches, leaf, expected) in [
        (json!({"uri_san": "urn:uuid:{x}"}), uri("urn:uuid:f81d4fae-7dec"), "f81d4fae-7dec"),
        (json!({"uri_san": "urn:uuid:{x}"}), uri("URN:uuid:F81D"), "F81D"),
        (json!({"uri_san": "URN:UUID:{x}"}), uri("urn:uuid:F81D"), "F81D"),
        (json!({"uri_san": "urn:acme:app:{x}"}), uri("urn:acme:app:a:b"), "a%3Ab"),
        (json!({"uri_san": "urn:acme:app:{x}"}), uri("urn:acme:App:a"), "identity_not_mapped"),
        (json!({"uri_san": "urn:acme:app:{x}"}), uri("urn:acme:app:a/b"), "identity_not_mapped"),
        (json!({"uri_san": "urn:acme:app:{x}"}), uri("urn:acme:app:"), "identity_invalid"),
        (json!({"uri_san": "https://App-{x}/v1"}), uri("https://app-Seven/v1"), "Seven"),
        (json!({"uri_san": "https://a.example/app-{x}/v1"}), uri("https://A.example/app-7/v1"), "7"),
        (json!({"uri_san": "https://a.example/app-{x}/v1"}), uri("https://a.example/App-7/v1"), "identity_not_mapped"),
        (json!({"uri_san": "https://a.example/{r...}/v{x}"}), uri("https://a.example/b/c/v2"), "2"),
        (json!({"dns_san": "pay-{x}.example"}), Recipe::new().dns("Pay-Api.example.").issue(), "api"),
        (json!({"dns_san": "pay-{x}.example"}), Recipe::new().dns("pay.example").issue(), "identity_not_mapped"),
        (json!({"dns_san": "pay-{x}.example"}), Recipe::new().dns("pay-.example").issue(), "identity_invalid"),
        (json!({"email_san": "svc-{x}@a.example"}), email(Recipe::new(), "svc-Pay@A.example").issue(), "Pay"),
        (
            json!({"email_san": "svc-{x}@a.example"}),
            email(Recipe::new(), "Svc-pay@a.example").issue(),
            "identity_not_mapped",
        ),
        (json!({"email_san": "svc@Eu-{x}"}), email(Recipe::new(), "svc@eu-West").issue(), "West"),
        (json!({"subject": {"OU": "app:{x}"}}), with_unit("app:4f1c"), "4f1c"),
        (json!({"subject": {"OU": "app:{x}"}}), with_unit("App:4F1C"), "4F1C"),
        (json!({"subject": {"OU": "app:{x}"}}), with_unit(" app:4f1c"), "4f1c"),
        (json!({"subject": {"OU": "app:{x}"}}), with_unit("app: 4f1c"), "%204f1c"),
        (json!({"subject": {"OU": "app:{x}"}}), with_unit("app:"), "identity_invalid"),
        (json!({"subject": {"OU": "app:{x}"}}), with_unit("application"), "identity_not_mapped"),
        (json!({"subject": {"OU": "the app {x}"}}), with_unit("The  APP one"), "one"),
        (json!({"subject": {"OU": "the app {x}"}}), with_unit("the apple"), "identity_not_mapped"),
        (json!({"subject": {"OU": "the app {x}"}}), with_unit("the app"), "identity_invalid"),
        (json!({"subject": {"OU": "s{x}"}}), with_unit("\u{df}a"), "identity_invalid"),
        (json!({"subject": {"OU": "ss{x}"}}), with_unit("\u{df}a"), "a"),
        (json!({"subject": {"OU": "app:{x}"}}), Recipe::new().cn("a").issue(), "identity_not_mapped"),
    ] {
        assert_eq!(
            who(matches.clone(), "{x}", &leaf),
            expected.replace("identity_not_mapped", missing(&leaf)),
            "{matches}"
        );
    }
}

/// Why a certificate that no mapping takes is refused.
fn missing(leaf: &Leaf) -> &'static str {
    let certificate = mtls_authz::Certificate::from_der(&leaf.der).unwrap();
    let has_name = certificate.subject.values("CN").count() > 0
        || !(certificate.uri_sans.is_empty() && certificate.dns_sans.is_empty() && certificate.email_sans.is_empty());
    if has_name { "identity_not_mapped" } else { "identity_missing" }
}

#[test]
fn one_of_several_values_matches_if_no_other_does() {
    let cloud_foundry = |units: &[&str]| {
        let recipe = Recipe::new().cn("b3c0a0bd-instance");
        units.iter().zip(0..).fold(recipe, |recipe, (value, number)| unit(recipe, number, value)).issue()
    };
    let matches = json!({"subject": {"OU": {"any": "app:{guid}"}}});
    for (units, expected) in [
        (&["organization:o", "app:7"][..], "7"),
        (&["app:7", "space:s"], "7"),
        (&["app:7"], "7"),
        (&["organization:o", "space:s"], "identity_not_mapped"),
        (&[], "identity_not_mapped"),
        (&["app:7", "app:8"], "identity_invalid"),
        (&["app:7", "APP:7"], "identity_invalid"),
        (&["app:7", "app:7"], "identity_invalid"),
        (&["app:", "app:7"], "identity_invalid"),
    ] {
        assert_eq!(who(matches.clone(), "{guid}", &cloud_foundry(units)), expected, "{units:?}");
    }
    let kubernetes = |groups: &[&str]| {
        let kinds = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        let recipe = Recipe::new().cn("system:serviceaccount:pay:api");
        let groups = groups.iter().zip(kinds);
        groups.fold(recipe, |recipe, (group, kind)| recipe.subject(kind, group)).issue()
    };
    let matches = json!({"subject": {"O": {"any": "system:masters"}, "CN": "{user}"}});
    for (groups, expected) in [
        (&["system:masters", "pay"][..], "system%3Aserviceaccount%3Apay%3Aapi"),
        (&["pay", "System:Masters"], "system%3Aserviceaccount%3Apay%3Aapi"),
        (&["pay"], "identity_not_mapped"),
    ] {
        assert_eq!(who(matches.clone(), "{user}", &kubernetes(groups)), expected, "{groups:?}");
    }
}

#[test]
fn no_odd_value_leads_past_a_mapping_of_one_of_several_values_to_a_laxer_one() {
    let strict = mapping(json!({"subject": {"O": "Corp", "OU": {"any": "app:{guid}"}}}), "strict-{guid}");
    let policy = mapped(json!([strict, mapping(json!({"subject": {"O": "Corp"}}), "lax")]));
    let corp = || Recipe::new().cn("a").subject(DnType::OrganizationName, "Corp");
    for (leaf, expected) in [
        (unit(corp(), 0, "app:7"), "strict-7"),
        (unit(unit(corp(), 0, "other"), 1, "APP:7"), "strict-7"),
        (unit(unit(corp(), 0, "app:7"), 1, "app:8"), "identity_invalid"),
        (unit(unit(corp(), 0, "app:"), 1, "other"), "identity_invalid"),
        (unit(unit(corp(), 0, "other"), 1, "more"), "lax"),
        (corp(), "lax"),
    ] {
        let decision = asked(&policy, &presenting(&leaf.issue()), &[]);
        assert_eq!(verdict(&decision), expected);
        if expected == "identity_invalid" {
            let note = note(&decision);
            assert!(
                note.contains("identity.mappings[0].match.subject.OU") && note.contains("the certificate is cn:a"),
                "{note}"
            );
        }
    }
}

#[test]
fn the_issuers_attributes_take_one_of_several_values_and_beginnings_too() {
    let name = [
        (DnType::OrganizationalUnitName, DnValue::from("x")),
        (DnType::CustomDnType(vec![2, 5, 4, 11]), "ca:7".into()),
    ];
    let leaf = Recipe::new().cn("a").issue_named(&name);
    assert_eq!(who(json!({"issuer": {"OU": {"any": "ca:{n}"}}}), "by-{n}", &leaf), "by-7");
    assert_eq!(who(json!({"issuer": {"OU": "ca:{n}"}}), "by-{n}", &leaf), "identity_invalid");
}

#[test]
fn what_a_pattern_cannot_say_is_refused_with_what_to_write() {
    for (matches, place, expected) in [
        (json!({"subject": {"OU": {"any": "{unit}"}}}), "match.subject.OU.any", "matches every value"),
        (json!({"subject": {"OU": {"any": "app*"}}}), "match.subject.OU.any", "{name}"),
        (json!({"subject": {"OU": {"any": ""}}}), "match.subject.OU.any", "not empty"),
        (json!({"subject": {"OU": {"all": "a"}}}), "match.subject", "unknown key"),
        (json!({"subject": {"OU": ["a", "b"]}}), "match.subject", "\"any\""),
        (json!({"subject": {"OU": {"any": "a"}, "2.5.4.11": "b"}}), "match.subject", "once"),
        (json!({"subject": {"OU": "{x}:app"}}), "match.subject.OU", "app:{name}"),
        (json!({"subject": {"OU": " {x}"}}), "match.subject.OU", "app:{name}"),
        (json!({"subject": {"OU": "a{x}b"}}), "match.subject.OU", "app:{name}"),
        (json!({"subject": {"OU": "a{x}{y}"}}), "match.subject.OU", "app:{name}"),
        (json!({"subject": {"OU": "a{x...}"}}), "match.subject.OU", "{name"),
        (json!({"uri_san": "urn:a:{x...}"}), "match.uri_san", "app:{name}"),
        (json!({"dns_san": "a{x"}), "match.dns_san", "{name}"),
    ] {
        let problem = problem(&mapped(json!([mapping(matches.clone(), "a")])));
        let place = format!("identity.mappings[0].{place}");
        assert!(problem.starts_with(&place) && problem.contains(expected), "{matches}: {problem}");
    }
}

#[test]
fn a_mapping_behind_one_that_takes_or_refuses_all_of_its_certificates_is_an_error() {
    for (first, second, is_shadowed) in [
        (json!({"OU": "app:{x}"}), json!({"OU": "app:7"}), true),
        (json!({"OU": "app:{x}"}), json!({"OU": "APP:7-{y}"}), true),
        (json!({"OU": "app:{x}"}), json!({"OU": "app:"}), true),
        (json!({"OU": "app:7"}), json!({"OU": "app:{x}"}), false),
        (json!({"OU": "app:{x}"}), json!({"OU": "ap{x}"}), false),
        (json!({"OU": {"any": "a"}}), json!({"OU": "a"}), true),
        (json!({"OU": "a"}), json!({"OU": {"any": "a"}}), true),
        (json!({"OU": {"any": "a"}}), json!({"OU": {"any": "a"}, "O": "b"}), true),
        (json!({"OU": {"any": "a:{x}"}}), json!({"OU": {"any": "a:b"}}), true),
        (json!({"OU": {"any": "a"}}), json!({"OU": {"any": "b"}}), false),
        (json!({"OU": {"any": "a"}}), json!({"OU": "{x}"}), false),
        (json!({"OU": "{x}"}), json!({"OU": {"any": "a"}}), true),
    ] {
        let mappings = json!([mapping(json!({"subject": first}), "a"), mapping(json!({"subject": second}), "b")]);
        let problem = problem(&mapped(mappings.clone()));
        assert_eq!(problem.starts_with("identity.mappings[1].match"), is_shadowed, "{mappings} {problem}");
    }
}

#[test]
fn a_mapping_still_names_no_client_that_is_known_by_its_own_uri() {
    let mut policy = mapped(json!([mapping(json!({"subject": {"CN": "{x}"}}), "{x}")]));
    policy["clients"] = json!({"acme": client(&["uri:urn:acme:1", "ip:192.0.2.1"])});
    assert_eq!(verdict(&asked(&policy, &presenting(&Recipe::new().cn("acme").issue()), &[])), "identity_not_mapped");
}
