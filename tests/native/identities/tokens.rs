//! `token_client_ids`: what tokens call a client.

use serde_json::{Value, json};

use super::{asked, note, policy, presenting, problem, token, verdict};
use crate::certificates::{Leaf, Recipe};
use crate::proxy::FakeProxy;

fn clients() -> Value {
    json!({
        "acme": {"identities": ["cn:acme"], "profiles": ["both"], "token_client_ids": ["0oa9zx7", "0oa9zx8"]},
        "globex": {"identities": ["cn:globex"], "profiles": ["both"]},
        "initech": {"identities": ["cn:initech"], "profiles": ["token"], "token_client_ids": ["i-app", "initech"]},
        "umbrella": {"identities": ["cn:umbrella"], "profiles": ["token"], "token_client_ids": ["u-app"]},
    })
}

fn leaf(name: &str) -> Leaf {
    Recipe::new().cn(name).issue()
}

#[test]
fn tokens_name_a_client_by_its_list_or_without_one_by_its_name() {
    for (name, claims, expected) in [
        ("acme", json!({"client_id": "0oa9zx7"}), "acme"),
        ("acme", json!({"azp": "0oa9zx8"}), "acme"),
        ("acme", json!({"client_id": "0oa9zx7", "azp": "0oa9zx8"}), "acme"),
        ("acme", json!({"client_id": "acme"}), "client_profile_mismatch"),
        ("acme", json!({"client_id": "0oa9zx7", "azp": "acme"}), "client_profile_mismatch"),
        ("acme", json!({"client_id": "globex"}), "client_profile_mismatch"),
        ("acme", json!({"client_id": "0OA9ZX7"}), "client_profile_mismatch"),
        ("acme", json!({}), "client_profile_mismatch"),
        ("globex", json!({"client_id": "globex"}), "globex"),
        ("globex", json!({"client_id": "0oa9zx7"}), "client_profile_mismatch"),
        ("initech", json!({"client_id": "initech", "azp": "i-app"}), "initech"),
    ] {
        let leaf = leaf(name);
        let proxy = presenting(&leaf).verified(&token(claims.clone(), Some(&leaf)));
        let decision = asked(&policy("bearer_plus_mtls_required", clients()), &proxy, &[]);
        assert_eq!(verdict(&decision), expected, "{name} {claims}");
    }
}

#[test]
fn a_token_alone_finds_its_client_by_the_same_names() {
    for (claims, expected) in [
        (json!({"client_id": "i-app"}), "initech"),
        (json!({"client_id": "initech"}), "initech"),
        (json!({"client_id": "initech", "azp": "i-app"}), "initech"),
        (json!({"client_id": "u-app"}), "umbrella"),
        (json!({"client_id": "umbrella"}), "identity_not_mapped"),
        (json!({"client_id": "u-app", "azp": "i-app"}), "client_profile_mismatch"),
        (json!({"client_id": "u-app", "azp": "umbrella"}), "client_profile_mismatch"),
        (json!({"client_id": "nobody"}), "identity_not_mapped"),
    ] {
        let proxy = FakeProxy::new().verified(&token(claims.clone(), None));
        let decision = asked(&policy("bearer_plus_mtls_optional", clients()), &proxy, &[]);
        assert_eq!(verdict(&decision), expected, "{claims}");
    }
}

#[test]
fn a_client_of_a_mapping_is_not_named_by_a_token_that_means_a_registered_client() {
    let mut policy = policy("bearer_plus_mtls_required", clients());
    let mapping = json!({"match": {"subject": {"CN": "{name}"}}, "client_id": "{name}", "profile_id": "both"});
    policy["identity"] = json!({"mappings": [mapping], "allow_unregistered": true});
    for (name, says, expected) in [
        ("0oa9zx7", "0oa9zx7", "client_profile_mismatch"),
        ("other", "other", "other"),
        ("other", "0oa9zx7", "client_profile_mismatch"),
    ] {
        let leaf = leaf(name);
        let proxy = presenting(&leaf).verified(&token(json!({"client_id": says}), Some(&leaf)));
        assert_eq!(verdict(&asked(&policy, &proxy, &[])), expected, "{name} {says}");
    }
}

#[test]
fn a_name_by_which_tokens_could_mean_two_clients_is_an_error() {
    let one = |ids: Value| json!({"identities": ["cn:a"], "profiles": ["both"], "token_client_ids": ids});
    let plain = || json!({"identities": ["cn:b"], "profiles": ["both"]});
    for (clients, place, expected) in [
        (json!({"a": one(json!(["x"])), "b": plain()}), "", ""),
        (json!({"a": one(json!(["a"])), "b": plain()}), "", ""),
        (json!({"a": one(json!(["x", "b"])), "b": plain()}), "clients.a.token_client_ids[1]", "\"b\""),
        (json!({"b": plain(), "a": one(json!(["b"]))}), "clients.a.token_client_ids[0]", "has no token_client_ids"),
        (json!({"a": one(json!(["x", "x"]))}), "clients.a.token_client_ids[1]", "only once"),
        (json!({"a": one(json!([]))}), "clients.a.token_client_ids", "leave the key out"),
        (json!({"a": one(json!([""]))}), "clients.a.token_client_ids[0]", "not empty"),
    ] {
        let problem = problem(&policy("bearer_plus_mtls_required", clients.clone()));
        assert!(problem.starts_with(place) && problem.contains(expected), "{clients} {problem}");
        assert_eq!(problem.is_empty(), place.is_empty(), "{clients} {problem}");
    }
    // Exchanged names are one client each.
    let mut other = plain();
    other["token_client_ids"] = json!(["a"]);
    let exchanged = json!({"a": one(json!(["b"])), "b": other.clone()});
    assert_eq!(problem(&policy("bearer_plus_mtls_required", exchanged)), "");
    other["token_client_ids"] = json!(["x"]);
    let same = problem(&policy("bearer_plus_mtls_required", json!({"a": one(json!(["x"])), "b": other})));
    assert!(same.starts_with("clients.b.token_client_ids[0]") && same.contains("\"a\" lists it"), "{same}");
}

#[test]
fn an_operator_sees_which_claim_said_what() {
    let leaf = leaf("acme");
    for (claims, expected) in [
        (
            json!({"client_id": "0oa9zx7", "azp": "globex"}),
            &["client_id \"0oa9zx7\"", "azp \"globex\"", "\"acme\""][..],
        ),
        (json!({"azp": "globex"}), &["found azp \"globex\""]),
        (json!({}), &["none of token.client_id_claims (client_id, azp)"]),
    ] {
        let proxy = presenting(&leaf).verified(&token(claims, Some(&leaf)));
        let decision = asked(&policy("bearer_plus_mtls_required", clients()), &proxy, &[]);
        let deny = decision.verdict.as_ref().unwrap_err();
        assert_eq!(deny.detail, None, "the caller learns nothing of it");
        expected.iter().for_each(|part| assert!(note(&decision).contains(part), "{part} in {}", note(&decision)));
    }
}
