//! Which clients a mapping may name, what it may give them, and which certificates it must not let pass.

use mtls_authz::Policy;
use rcgen::{DnType, DnValue};
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe};
use crate::identity::{policy, who};

/// What is wrong with a policy of these clients and mappings.
fn problem(clients: &Value, mappings: &Value) -> Option<String> {
    let policy = policy(clients.clone(), json!({"mappings": mappings}));
    Policy::from_json(policy.to_string()).err().map(|problem| problem.to_string())
}

/// Table rows: clients, mappings, and the texts that the message must hold; none if there is nothing wrong.
fn assert_problems(rows: Vec<(Value, Value, &[&str])>) {
    for (clients, mappings, expected) in rows {
        let problem = problem(&clients, &mappings);
        assert_eq!(problem.is_some(), !expected.is_empty(), "{clients} {mappings}: {problem:?}");
        for part in expected {
            assert!(problem.as_ref().is_some_and(|text| text.contains(part)), "{part:?} in {problem:?}");
        }
    }
}

fn mapping(matches: Value, client_id: &str) -> Value {
    json!({"match": matches, "client_id": client_id})
}

/// A client certificate for a partner of the organisation `Mapped`.
fn mapped(name: &str) -> Recipe {
    Recipe::new()
        .cn(name)
        .subject(DnType::OrganizationalUnitName, "partner")
        .subject(DnType::OrganizationName, "Mapped")
}

#[test]
fn a_mapping_names_a_client_that_has_no_identities_or_says_so() {
    let clients = json!({
        "spiffe-only": {"identities": ["spiffe://prod.example/acme"], "profiles": ["partner"]},
        "both": {"identities": ["spiffe://prod.example/both"], "profiles": ["partner"], "mappings": true},
        "mapped": {"profiles": ["partner"]},
        "explicit": {"profiles": ["partner"], "mappings": true},
        "refused": {"identities": ["cn:elsewhere"], "profiles": ["partner"], "mappings": false},
    });
    let mapping =
        json!({"match": {"subject": {"O": "Mapped"}}, "client_id": "{subject.CN}", "profile_id": "{subject.OU}"});
    for allows in [false, true] {
        let policy = policy(clients.clone(), json!({"mappings": [mapping], "allow_unregistered": allows}));
        for (name, expected) in [
            ("spiffe-only", "identity_not_mapped"),
            ("refused", "identity_not_mapped"),
            ("both", "both partner -"),
            ("mapped", "mapped partner -"),
            ("explicit", "explicit partner -"),
            // A captured value is exactly what the certificate says.
            ("MAPPED", if allows { "MAPPED partner -" } else { "identity_not_mapped" }),
        ] {
            assert_eq!(who(&policy, &mapped(name).issue()), expected, "{name} {allows}");
        }
        let own = Recipe::new().uri("spiffe://prod.example/acme").issue();
        assert_eq!(who(&policy, &own), "spiffe-only partner -");
    }
    let literal = |client: &str| json!([mapping_of_mapped(client)]);
    assert_problems(vec![
        (
            clients.clone(),
            literal("spiffe-only"),
            &["identity.mappings[0].client_id", "\"spiffe-only\"", "without `identities`", "\"mappings\": true"],
        ),
        (clients.clone(), literal("refused"), &["identity.mappings[0].client_id"]),
        (clients.clone(), literal("both"), &[]),
        (clients.clone(), literal("explicit"), &[]),
        (clients, literal("mapped"), &[]),
    ]);
}

fn mapping_of_mapped(client: &str) -> Value {
    mapping(json!({"subject": {"O": "Mapped"}}), client)
}

#[test]
fn the_profiles_of_a_client_are_all_that_a_mapping_may_give_it() {
    let clients = json!({
        "one": {"profiles": ["partner"]},
        "none": {"profiles": []},
        "absent": {},
        "disabled": {"identities": ["dns:disabled.example"], "profiles": []},
    });
    let identity = |profile: Option<&str>| {
        let mut mapping = mapping_of_mapped("{subject.CN}");
        if let Some(profile) = profile {
            mapping["profile_id"] = json!(profile);
        }
        json!({"mappings": [mapping]})
    };
    for (name, profile, expected) in [
        ("one", Some("{subject.OU}"), "one partner -"),
        ("one", Some("reporter"), "client_profile_mismatch"),
        ("one", None, "one partner -"),
        ("none", Some("{subject.OU}"), "client_profile_mismatch"),
        ("none", None, "profile_required"),
        ("absent", Some("{subject.OU}"), "client_profile_mismatch"),
        ("absent", None, "profile_required"),
    ] {
        assert_eq!(
            who(&policy(clients.clone(), identity(profile)), &mapped(name).issue()),
            expected,
            "{name} {profile:?}"
        );
    }
    let disabled = Recipe::new().dns("disabled.example").issue();
    assert_eq!(who(&policy(clients.clone(), json!({})), &disabled), "profile_required");

    let literal = |client: &str, profile: &str| {
        let mut mapping = mapping_of_mapped(client);
        mapping["profile_id"] = json!(profile);
        json!([mapping])
    };
    assert_problems(vec![
        (clients.clone(), literal("one", "partner"), &[]),
        (clients.clone(), literal("one", "reporter"), &["identity.mappings[0].profile_id", "clients.one.profiles"]),
        (clients.clone(), literal("none", "partner"), &["identity.mappings[0].profile_id", "clients.none.profiles"]),
        (clients.clone(), literal("absent", "partner"), &["identity.mappings[0].profile_id"]),
        (json!({"a": {"identities": ["cn:a"]}}), json!([]), &["clients.a.profiles", "partner", "[]"]),
        (json!({"a": {"identities": [], "profiles": []}}), json!([]), &["clients.a.identities", "leave the key out"]),
        (json!({"a": {"issuers": [], "profiles": []}}), json!([]), &["clients.a.issuers", "leave the key out"]),
    ]);
}

#[test]
fn an_entry_of_a_clients_list_is_there_only_once() {
    let client = |key: &str, list: Value| {
        let mut client = json!({"identities": ["cn:x"], "profiles": ["partner"]});
        client[key] = list;
        json!({"a": client})
    };
    for (key, list, at) in [
        ("profiles", json!(["partner", "partner"]), Some(1)),
        ("profiles", json!(["partner", "reporter", "partner"]), Some(2)),
        ("profiles", json!(["partner", "reporter"]), None),
        ("identities", json!(["cn:a", "cn:a"]), Some(1)),
        ("identities", json!(["dns:a.example", "cn:a", "dns:A.example"]), Some(2)),
        ("identities", json!(["subject:CN=a", "subject:cn=\\61"]), Some(1)),
        ("identities", json!(["cn:a", "cn:A"]), None),
        ("issuers", json!(["CN=a", "CN=b", "cn=a"]), Some(2)),
        ("issuers", json!(["CN=a", "CN=A"]), None),
    ] {
        let problem = problem(&client(key, list.clone()), &json!([]));
        match at {
            Some(at) => {
                let text = problem.unwrap_or_default();
                assert!(
                    text.starts_with(&format!("clients.a.{key}[{at}]: ")) && text.contains("only once"),
                    "{list} {text}"
                );
            }
            None => assert_eq!(problem, None, "{list}"),
        }
    }
    // The lists of other clients do not count.
    let two = json!({"a": {"profiles": ["partner", "reporter"]}, "b": {"profiles": ["reporter", "partner"]}});
    assert_eq!(problem(&two, &json!([])), None);
}

#[test]
fn a_certificate_that_nearly_matches_is_refused_and_not_given_to_a_later_mapping() {
    let strict = |more: Value| {
        let mut matches = json!({"subject": {"O": "Mapped", "OU": "partner"}});
        matches.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        matches
    };
    let unit = || DnType::CustomDnType(vec![2, 5, 4, 11]);
    let spelled = |unit: DnValue| {
        Recipe::new().cn("x").subject(DnType::OrganizationName, "Mapped").with(|params| {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        })
    };
    let text = |text: &str| DnValue::Utf8String(text.to_owned());
    let bmp = |text: &str| DnValue::BmpString(text.try_into().unwrap());
    let rows: Vec<(&str, Value, Leaf, &str)> = vec![
        ("itself", strict(json!({})), mapped("x").issue(), "strict"),
        ("a second unit", strict(json!({})), mapped("x").subject(unit(), "other").issue(), "identity_invalid"),
        ("the same unit again", strict(json!({})), mapped("x").subject(unit(), "partner").issue(), "identity_invalid"),
        ("capitals", strict(json!({})), spelled(text("PARTNER")).issue(), "strict"),
        ("a space behind", strict(json!({})), spelled(text("partner ")).issue(), "strict"),
        ("another string type", strict(json!({})), spelled(bmp("Partner")).issue(), "strict"),
        ("another unit", strict(json!({})), spelled(text("others")).issue(), "lax"),
        ("two others", strict(json!({})), spelled(text("others")).subject(unit(), "more").issue(), "lax"),
        (
            "no value for the template",
            json!({"subject": {"O": "Mapped", "L": "Here"}}),
            Recipe::new()
                .subject(DnType::OrganizationName, "mapped")
                .subject(DnType::LocalityName, "here")
                .dns("a.b")
                .issue(),
            "identity_invalid",
        ),
        ("a DNS name", strict(json!({"dns_san": "{h}.A.example."})), mapped("x").dns("b.a.example").issue(), "strict"),
        (
            "two DNS names",
            strict(json!({"dns_san": "{h}.a.example"})),
            mapped("x").dns("b.a.example").dns("c.a.example").issue(),
            "identity_invalid",
        ),
        (
            "two of which one fits",
            strict(json!({"dns_san": "{h}.a.example"})),
            mapped("x").dns("b.a.example").dns("c.b.example").issue(),
            "strict",
        ),
        (
            "a URI's host",
            strict(json!({"uri_san": "https://a.example/{p}"})),
            mapped("x").uri("HTTPS://A.Example/p").issue(),
            "strict",
        ),
        (
            "a URI without the segment",
            strict(json!({"uri_san": "https://a.example/{p}"})),
            mapped("x").uri("https://a.example/").issue(),
            "identity_invalid",
        ),
        ("an issuer", strict(json!({"issuer": "CN=LAB  ca"})), mapped("x").issue_as("Lab CA"), "strict"),
        (
            "an issuer's attribute",
            strict(json!({"issuer": {"CN": "LAB ca"}})),
            mapped("x").issue_as("Lab CA"),
            "strict",
        ),
    ];
    for (what, matches, leaf, expected) in rows {
        let mut first = mapping(matches, "strict");
        if what == "no value for the template" {
            first["profile_id"] = json!("{subject.OU}");
        }
        let mappings = json!([first, mapping(json!({"subject": {"O": "Mapped"}}), "lax")]);
        let clients = json!({"strict": {"profiles": ["partner"]}, "lax": {"profiles": ["partner"]}});
        let told = who(&policy(clients, json!({"mappings": mappings})), &leaf);
        assert_eq!(told.split(' ').next(), Some(expected), "{what}");
    }
}

#[test]
fn a_mapping_that_an_earlier_one_shadows_whole_is_an_error() {
    let shadowed: &[&str] = &["identity.mappings[1].match", "identity.mappings[0]", "narrower mapping first"];
    let rows = [
        (json!({"subject": {"O": "a"}}), json!({"subject": {"O": "a"}}), true),
        (json!({"subject": {"O": "a b"}}), json!({"subject": {"O": "A  B"}}), true),
        (json!({"subject": {"O": "a"}}), json!({"subject": {"O": "a", "OU": "b"}}), true),
        (json!({"subject": {"O": "a", "OU": "b"}}), json!({"subject": {"O": "a"}}), false),
        (json!({"subject": {"O": "a"}}), json!({"subject": {"O": "b"}}), false),
        (json!({"subject": {"O": "a"}}), json!({"subject": {"OU": "a"}}), false),
        (json!({"subject": {"O": "a"}}), json!({"subject": {"O": "{o}"}}), false),
        (json!({"subject": {"O": "{o}"}}), json!({"subject": {"O": "a"}}), true),
        // Without the attribute a certificate is refused by the first.
        (json!({"subject": {"O": "{o}"}}), json!({"dns_san": "{host}.example"}), true),
        (json!({"dns_san": "{host}.example"}), json!({"subject": {"O": "{o}"}}), false),
        (json!({"dns_san": "{host...}.example"}), json!({"dns_san": "{a}.{b}.Example", "subject": {"O": "a"}}), true),
        (json!({"dns_san": "{a}.example"}), json!({"dns_san": "{host...}.example"}), false),
        (json!({"dns_san": "{a}"}), json!({"uri_san": "{a}"}), false),
        (json!({"uri_san": "https://a.example/{x...}"}), json!({"uri_san": "HTTPS://A.example/b/{y}"}), true),
        (json!({"email_san": "{user}@a.example"}), json!({"email_san": "bob@A.example"}), true),
        (json!({"issuer": "CN=A,O=B"}), json!({"issuer": "CN=a,O=b", "subject": {"O": "c"}}), true),
        (json!({"issuer": "CN=A,O=B"}), json!({"issuer": "O=B,CN=A"}), false),
        (json!({"issuer": {"O": "b"}}), json!({"issuer": "CN=A,O=B"}), true),
        (json!({"issuer": {"O": "{o}"}}), json!({"issuer": "CN=A,O=B"}), true),
        (json!({"issuer": {"O": "c"}}), json!({"issuer": "CN=A,O=B"}), false),
        (json!({"issuer": {"O": "{o}"}}), json!({"subject": {"O": "c"}}), false),
        (json!({"issuer": "CN=A,O=B"}), json!({"issuer": {"O": "B"}}), false),
        (json!({"sha256": "00".repeat(32)}), json!({"sha256": "00".repeat(32)}), true),
        (json!({"sha256": "00".repeat(32)}), json!({"sha256": "01".repeat(32)}), false),
    ];
    let rows = rows.map(|(first, second, is_shadowed)| {
        let mappings = json!([mapping(first, "a"), mapping(second, "a")]);
        (json!({"a": {"profiles": ["partner"]}}), mappings, if is_shadowed { shadowed } else { &[] })
    });
    assert_problems(rows.into());
    let third = json!([
        mapping(json!({"subject": {"O": "a"}}), "a"),
        mapping(json!({"subject": {"O": "b"}}), "a"),
        mapping(json!({"subject": {"O": "b", "OU": "{unit}"}}), "a"),
    ]);
    let expected: &[&str] = &["identity.mappings[2].match", "identity.mappings[1] "];
    assert_problems(vec![(json!({"a": {"profiles": ["partner"]}}), third, expected)]);
}

#[test]
fn a_literal_never_holds_a_star_and_an_attribute_is_named_only_once() {
    let refused = |matches: Value, place: &'static [&'static str]| {
        (json!({"a": {"profiles": ["partner"]}}), json!([mapping(matches, "a")]), place)
    };
    assert_problems(vec![
        refused(json!({"subject": {"OU": "*"}}), &["identity.mappings[0].match.subject.OU", "{name}"]),
        refused(json!({"subject": {"OU": "part*"}}), &["identity.mappings[0].match.subject.OU", "{name}"]),
        refused(json!({"issuer": {"O": "*"}}), &["identity.mappings[0].match.issuer.O", "{name}"]),
        refused(json!({"issuer": "CN=*,O=a"}), &["identity.mappings[0].match.issuer", "{name}"]),
        refused(json!({"dns_san": "*.example"}), &["identity.mappings[0].match.dns_san", "{name}"]),
        refused(json!({"email_san": "*@a.example"}), &["identity.mappings[0].match.email_san", "{name}"]),
        refused(json!({"uri_san": "spiffe://td/ns/*/sa/**"}), &["identity.mappings[0].match.uri_san", "{name}"]),
        refused(json!({"subject": {"OU": "a", "2.5.4.11": "b"}}), &["identity.mappings[0].match.subject", "once"]),
    ]);
}
