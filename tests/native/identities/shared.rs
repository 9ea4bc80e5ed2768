//! One certificate for several clients: `shared_identities`.

use mtls_authz::inventory::{Sighting, note as see, table};
use mtls_authz::{Certificate, Memory, Policy};
use serde_json::{Value, json};

use super::{asked, decided, note, policy, presenting, problem, token, verdict};
use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, NOW};

/// An organisation's certificate with three applications, and a client beside.
fn organisation() -> Value {
    let application = |profile: &str, ids: Value| {
        let mut client = json!({"identities": ["cn:org"], "profiles": [profile], "shared_identities": true});
        if !ids.is_null() {
            client["token_client_ids"] = ids;
        }
        client
    };
    json!({
        "web": application("both", json!(["0oaweb"])),
        "batch": application("certificate", Value::Null),
        "mobile": application("token", Value::Null),
        "other": {"identities": ["cn:other"], "profiles": ["certificate"]},
    })
}

fn org() -> Leaf {
    Recipe::new().cn("org").issue()
}

fn ask(mode: &str, claims: Option<Value>, bound: bool, headers: &[(&str, &str)]) -> String {
    let leaf = org();
    let proxy = match claims {
        Some(claims) => presenting(&leaf).verified(&token(claims, bound.then_some(&leaf))),
        None => presenting(&leaf),
    };
    verdict(&asked(&policy(mode, organisation()), &proxy, headers)).to_owned()
}

#[test]
fn the_token_chooses_among_the_clients_of_a_certificate_and_in_mode_mtls_the_header() {
    let says = |name: &str| Some(json!({"client_id": name}));
    for (claims, header, expected) in [
        (says("0oaweb"), None, "web"),
        (says("mobile"), None, "mobile"),
        (says("0oaweb"), Some("web"), "web"),
        (says("0oaweb"), Some("mobile"), "client_profile_mismatch"),
        (says("mobile"), Some("web"), "client_profile_mismatch"),
        (says("web"), None, "client_profile_mismatch"),
        (says("other"), None, "client_profile_mismatch"),
        (says("nobody"), None, "client_profile_mismatch"),
        (says("0oaweb"), Some("other"), "client_mismatch"),
        (says("0oaweb"), Some("0oaweb"), "client_mismatch"),
        (Some(json!({"client_id": "0oaweb", "azp": "mobile"})), None, "client_profile_mismatch"),
        (Some(json!({})), None, "client_header_missing"),
        (Some(json!({})), Some("web"), "client_profile_mismatch"),
        (None, Some("batch"), "batch"),
        (None, Some("web"), "token_missing"),
        (None, Some("other"), "token_missing"),
        (None, None, "token_missing"),
        // In mode mtls no token counts, so that it chooses nothing either.
        (says("batch"), None, "client_header_missing"),
        (says("batch"), Some("batch"), "batch"),
    ] {
        let headers: Vec<_> = header.map(|name| ("x-client-id", name)).into_iter().collect();
        let found = ask("bearer_plus_mtls_required", claims.clone(), true, &headers);
        assert_eq!(found, expected, "{claims:?} {header:?}");
    }
}

#[test]
fn where_no_mode_needs_a_token_the_header_alone_chooses() {
    let mut policy = policy("mtls", organisation());
    for profile in ["both", "token"] {
        policy["profiles"][profile]["mode"] = json!("mtls");
    }
    for (header, expected) in [
        (Some("web"), "web"),
        (Some("batch"), "batch"),
        (Some("other"), "client_mismatch"),
        (Some("nobody"), "client_mismatch"),
        (Some(""), "client_mismatch"),
        (None, "client_header_missing"),
    ] {
        let headers: Vec<_> = header.map(|name| ("x-client-id", name)).into_iter().collect();
        let decision = asked(&policy, &presenting(&org()), &headers);
        assert_eq!(verdict(&decision), expected, "{header:?}");
        assert_eq!(decision.caller.identity.as_deref(), Some("cn:org"));
        assert!(decision.verdict.is_ok() || note(&decision).contains("share") || note(&decision).contains("several"));
    }
    // A certificate of one client needs no header.
    let other = Recipe::new().cn("other").issue();
    assert_eq!(verdict(&asked(&policy, &presenting(&other), &[])), "other");
}

#[test]
fn a_bad_token_of_a_shared_certificate_is_refused_as_any_other() {
    let leaf = org();
    let policy = policy("mtls", organisation());
    let expired = token(json!({"client_id": "0oaweb", "exp": NOW - 3600}), Some(&leaf));
    assert_eq!(verdict(&asked(&policy, &presenting(&leaf).verified(&expired), &[])), "token_expired");
    let elsewhere = token(json!({"client_id": "0oaweb"}), Some(&Recipe::new().cn("x").issue()));
    assert_eq!(verdict(&asked(&policy, &presenting(&leaf).verified(&elsewhere), &[])), "sender_binding_mismatch");
    let unbound = token(json!({"client_id": "0oaweb"}), None);
    assert_eq!(verdict(&asked(&policy, &presenting(&leaf).verified(&unbound), &[])), "sender_binding_missing");
    let optional = token(json!({"client_id": "mobile"}), None);
    assert_eq!(verdict(&asked(&policy, &presenting(&leaf).verified(&optional), &[])), "mobile");
}

#[test]
fn an_empty_list_of_claims_lets_no_token_pass_for_a_client_that_the_header_chose() {
    let mut policy = policy("mtls", organisation());
    policy["profiles"]["token"]["mode"] = json!("mtls");
    policy["token"]["client_id_claims"] = json!([]);
    let leaf = org();
    let proxy = presenting(&leaf).verified(&token(json!({}), Some(&leaf)));
    assert_eq!(verdict(&asked(&policy, &proxy, &[("x-client-id", "web")])), "client_profile_mismatch");
    assert_eq!(verdict(&asked(&policy, &proxy, &[("x-client-id", "batch")])), "batch");
}

#[test]
fn an_identity_of_two_clients_is_an_error_unless_both_share_it() {
    let client = |shares: Value, identities: Value| {
        let mut client = json!({"identities": identities, "profiles": ["certificate"]});
        if !shares.is_null() {
            client["shared_identities"] = shares;
        }
        client
    };
    let org = || json!(["cn:org"]);
    for (clients, expected) in [
        (json!({"a": client(json!(true), org()), "b": client(json!(true), org())}), ""),
        (json!({"a": client(json!(true), org()), "b": client(Value::Null, org())}), "clients.b.identities[0]"),
        (json!({"a": client(Value::Null, org()), "b": client(json!(true), org())}), "clients.b.identities[0]"),
        (json!({"a": client(json!(false), org()), "b": client(json!(true), org())}), "clients.b.identities[0]"),
        (json!({"a": client(json!(true), json!(["cn:org", "cn:org"]))}), "clients.a.identities[1]"),
        (
            json!({"a": client(json!(true), org()), "b": client(json!(true), json!(["cn:org", "cn:org"]))}),
            "clients.b.identities[1]",
        ),
        (json!({"a": {"profiles": ["certificate"], "shared_identities": true}}), "clients.a.shared_identities"),
    ] {
        let problem = problem(&policy("mtls", clients.clone()));
        assert!(problem.starts_with(expected) && problem.is_empty() == expected.is_empty(), "{clients} {problem}");
    }
}

#[test]
fn names_of_several_clients_in_one_certificate_are_no_mistake_if_all_of_them_share() {
    let client = |name: &str, shares: bool| json!({"identities": [name], "profiles": ["certificate"], "shared_identities": shares});
    let leaf = Recipe::new().dns("a.example").dns("b.example").dns("c.example").issue();
    for (a, b, expected) in [(true, true, "b"), (true, false, "identity_invalid"), (false, true, "identity_invalid")] {
        let clients = json!({"a": client("dns:a.example", a), "b": client("dns:b.example", b)});
        let decision = asked(&policy("mtls", clients), &presenting(&leaf), &[("x-client-id", "b")]);
        assert_eq!(verdict(&decision), expected, "{a} {b}");
        if expected == "identity_invalid" {
            let note = note(&decision);
            assert!(note.contains("dns:a.example") && note.contains("\"b\""), "{note}");
        }
    }
    // Of three names two are shared by all who have them, and one is not.
    let clients = json!({
        "a": client("dns:a.example", true), "b": client("dns:a.example", true), "c": client("dns:c.example", false),
    });
    assert_eq!(
        verdict(&asked(&policy("mtls", clients), &presenting(&leaf), &[("x-client-id", "a")])),
        "identity_invalid"
    );
}

#[test]
fn each_client_of_a_certificate_has_its_own_issuers_profiles_and_principal() {
    let mut clients = organisation();
    clients["batch"]["issuers"] = json!(["CN=Lab CA"]);
    clients["batch"]["principal"] = json!("arn:batch");
    clients["web"]["profiles"] = json!(["certificate"]);
    let policy = policy("mtls", clients);
    for (issuer, name, expected) in [
        ("Lab CA", "batch", ("batch", Some("arn:batch"))),
        ("Other CA", "batch", ("identity_not_mapped", None)),
        ("Other CA", "web", ("web", None)),
    ] {
        let leaf = Recipe::new().cn("org").issue_as(issuer);
        let decision = asked(&policy, &presenting(&leaf), &[("x-client-id", name)]);
        assert_eq!((verdict(&decision), decision.caller.principal()), expected, "{issuer} {name}");
    }
}

#[test]
fn what_is_remembered_of_a_shared_certificate_is_nobody_in_particular() {
    let json = policy("mtls", organisation());
    let policy = Policy::from_json(json.to_string()).unwrap();
    let memory = Memory::new(&policy.token.source);
    let leaf = org();
    let proxy = presenting(&leaf);
    for (name, expected) in [
        ("batch", "batch"),
        ("web", "token_missing"),
        ("batch", "batch"),
        ("other", "client_mismatch"),
        ("batch", "batch"),
    ] {
        assert_eq!(verdict(&decided(&policy, &memory, &proxy, &[("x-client-id", name)])), expected);
    }
    assert_eq!(verdict(&decided(&policy, &memory, &proxy, &[])), "client_header_missing");
}

#[test]
fn a_revoked_shared_certificate_is_that_of_the_client_which_the_request_names() {
    let mut json = policy("mtls", organisation());
    json["revocation"] = json!({"identities": ["cn:ORG"]});
    for (header, expected) in [(Some("batch"), Some("batch")), (Some("other"), None), (None, None)] {
        let headers: Vec<_> = header.map(|name| ("x-client-id", name)).into_iter().collect();
        let decision = asked(&json, &presenting(&org()), &headers);
        assert_eq!((verdict(&decision), decision.caller.client_id()), ("certificate_revoked", expected));
    }
}

#[test]
fn a_token_alone_reaches_no_client_whose_shared_certificate_is_revoked() {
    let leaf = org();
    let mobile = || FakeProxy::new().verified(&token(json!({"client_id": "mobile"}), None));
    let hex = Certificate::from_der(&leaf.der).unwrap().thumbprint.to_hex();
    let revoking = |list: Value| {
        let mut json = policy("bearer_plus_mtls_optional", organisation());
        json["revocation"] = list;
        json
    };
    assert_eq!(verdict(&asked(&revoking(json!({})), &mobile(), &[])), "mobile");
    assert_eq!(verdict(&asked(&revoking(json!({"identities": ["cn:org"]})), &mobile(), &[])), "certificate_missing");
    // Each client that has presented it has it in the inventory.
    let json = revoking(json!({"sha256": [hex]}));
    let policy = Policy::from_json(json.to_string()).unwrap();
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    let sighting = |client: &str, proxy: &FakeProxy| {
        let sighting = Sighting { certificate: &certificate, is_revoked: false, now: NOW };
        see(proxy, &table(Some(&policy)), client, sighting).unwrap();
    };
    let proxy = mobile();
    sighting("web", &proxy);
    assert_eq!(verdict(&asked(&json, &proxy, &[])), "mobile", "it was not seen with it");
    sighting("mobile", &proxy);
    assert_eq!(verdict(&asked(&json, &proxy, &[])), "certificate_missing");
}

#[test]
fn a_thousand_clients_share_a_certificate_and_each_is_found() {
    let client = json!({"identities": ["cn:org"], "profiles": ["certificate"], "shared_identities": true});
    let clients: serde_json::Map<_, _> = (0..1000).map(|number| (format!("app-{number}"), client.clone())).collect();
    let policy = policy("mtls", Value::Object(clients));
    for name in ["app-0", "app-1", "app-500", "app-999"] {
        assert_eq!(verdict(&asked(&policy, &presenting(&org()), &[("x-client-id", name)])), name);
    }
    assert_eq!(verdict(&asked(&policy, &presenting(&org()), &[("x-client-id", "app-1000")])), "client_mismatch");
}
