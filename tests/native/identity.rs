//! Who a certificate is: registered identities, pinned issuers, and mappings.

use mtls_authz::{Memory, Policy, Request, decide};
use rcgen::{DnType, SanType};
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, headers};

/// The client, its profile and its principal as the upstream is told, or the reason of the refusal.
pub fn who(policy: &Value, leaf: &Leaf) -> String {
    let policy = Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"));
    let headers = headers("GET", "/", &[]);
    let proxy = FakeProxy::new().presenting(leaf);
    let decision = decide(&policy, &Memory::new(&policy.token.source), &Request::new(&headers), &proxy);
    match &decision.verdict {
        Ok(_) => {
            let caller = &decision.caller;
            let told = [caller.client_id(), caller.profile_id.as_deref(), caller.principal()];
            told.map(|text| text.unwrap_or("-")).join(" ")
        }
        Err(deny) => deny.reason.code().to_owned(),
    }
}

pub fn policy(clients: Value, identity: Value) -> Value {
    let anything = json!({"allow": [{"paths": ["/**"]}]});
    json!({
        "mode": "mtls", "clients": clients, "identity": identity,
        "profiles": {"partner": anything, "reporter": anything},
    })
}

#[test]
fn a_certificate_is_the_one_client_to_which_its_identities_belong() {
    let thumbprint = |leaf: &Leaf| {
        let hash = mtls_authz::Thumbprint::of(&leaf.der);
        format!("sha256:{}", hash.to_hex())
    };
    let leaf = || Recipe::new().dns("one.example").dns("two.example").cn("acme");
    let by_dns = json!({"identities": ["dns:one.example"], "profiles": ["partner"]});
    let issued = leaf().issue();
    for (case, clients, expected) in [
        ("the first name alone is registered", json!({"acme": by_dns}), "acme partner -"),
        ("the second", json!({"acme": {"identities": ["dns:two.example"], "profiles": ["partner"]}}), "acme partner -"),
        (
            "both are one client's",
            json!({"acme": {"identities": ["dns:one.example", "dns:two.example"], "profiles": ["partner"]}}),
            "acme partner -",
        ),
        (
            "they are two clients'",
            json!({"acme": by_dns, "other": {"identities": ["dns:two.example"], "profiles": ["partner"]}}),
            "identity_invalid",
        ),
        (
            "its subject is another client's",
            json!({"acme": by_dns, "other": {"identities": ["subject:CN=acme"], "profiles": ["partner"]}}),
            "identity_invalid",
        ),
        (
            "its thumbprint is another client's",
            json!({"acme": by_dns, "other": {"identities": [thumbprint(&issued)], "profiles": ["partner"]}}),
            "identity_invalid",
        ),
        (
            "a weaker name is another client's",
            json!({"acme": by_dns, "other": {"identities": ["cn:acme"], "profiles": ["partner"]}}),
            "acme partner -",
        ),
        (
            "only a weaker name is registered",
            json!({"other": {"identities": ["cn:acme"], "profiles": ["partner"]}}),
            "identity_not_mapped",
        ),
        (
            "its thumbprint is its client's",
            json!({"acme": {"identities": [thumbprint(&issued)], "profiles": ["reporter"], "principal": "arn:acme"}}),
            "acme reporter arn:acme",
        ),
    ] {
        assert_eq!(who(&policy(clients, json!({})), &issued), expected, "{case}");
    }
}

#[test]
fn a_spiffe_id_is_of_one_of_the_trust_domains_unless_none_is_listed() {
    let clients = json!({"mapped": {"identities": ["cn:mapped"], "profiles": ["partner"]}});
    let id = |domain: &str| Recipe::new().uri(&format!("spiffe://{domain}/a")).issue();
    for (domains, domain, expected) in [
        (Value::Null, "a.example", "identity_not_mapped"),
        (json!(["a.example"]), "a.example", "identity_not_mapped"),
        (json!(["b.example", "a.example"]), "a.example", "identity_not_mapped"),
        (json!(["b.example"]), "a.example", "identity_invalid"),
        (json!(["b.example", "c.example"]), "a.example", "identity_invalid"),
        (json!(["a.example"]), "a.example.b.example", "identity_invalid"),
    ] {
        let identity = if domains.is_null() { json!({}) } else { json!({"trust_domains": domains}) };
        assert_eq!(who(&policy(clients.clone(), identity), &id(domain)), expected, "{domains} {domain}");
    }
}

#[test]
fn a_client_with_issuers_is_known_by_certificates_of_one_of_these_alone() {
    let client =
        |issuers: Value| json!({"acme": {"identities": ["cn:acme"], "profiles": ["partner"], "issuers": issuers}});
    let leaf = Recipe::new().cn("acme").issue_as("Lab CA");
    for (issuers, expected) in [
        (json!(["CN=Lab CA"]), "acme partner -"),
        (json!(["CN=Other CA", "CN=Lab CA"]), "acme partner -"),
        (json!(["CN=Other CA"]), "identity_not_mapped"),
        (json!(["CN=lab ca"]), "identity_not_mapped"),
    ] {
        assert_eq!(who(&policy(client(issuers.clone()), json!({})), &leaf), expected, "{issuers}");
    }
    // The issuers of a client are its own, whichever clients stand beside it.
    let three = json!({
        "acme": {"identities": ["cn:acme"], "profiles": ["partner"], "issuers": ["CN=Other CA"]},
        "beta": {"identities": ["cn:beta"], "profiles": ["reporter"]},
        "gamma": {"identities": ["cn:gamma"], "profiles": ["partner"], "issuers": ["CN=Lab CA"]},
    });
    for (name, expected) in [
        ("acme", "identity_not_mapped"),
        ("beta", "beta reporter -"),
        ("gamma", "gamma partner -"),
        ("delta", "identity_not_mapped"),
    ] {
        let leaf = Recipe::new().cn(name).issue_as("Lab CA");
        assert_eq!(who(&policy(three.clone(), json!({})), &leaf), expected, "{name}");
    }
}

#[test]
fn a_mapping_names_a_registered_client_or_an_unregistered_one_where_that_is_allowed() {
    let clients = json!({
        "acme": {"profiles": ["partner", "reporter"], "principal": "arn:own"},
        "bare": {"identities": ["dns:bare.example"], "profiles": ["partner"], "mappings": true},
        "pinned": {"profiles": ["partner"], "issuers": ["CN=Other CA"]},
    });
    let leaf = |name: &str| Recipe::new().cn(name).subject(DnType::OrganizationName, "Mapped").issue_as("Lab CA");
    let mapping = json!({"match": {"subject": {"O": "Mapped"}}, "client_id": "{subject.CN}"});
    let with = |more: Value| {
        let mut mapping = mapping.clone();
        mapping.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        mapping
    };
    for (name, allows, more, expected) in [
        ("acme", false, json!({"profile_id": "partner"}), "acme partner arn:own"),
        ("acme", true, json!({"profile_id": "reporter", "principal": "arn:{subject.CN}"}), "acme reporter arn:acme"),
        ("acme", false, json!({}), "profile_required"),
        ("bare", false, json!({"profile_id": "partner"}), "bare partner -"),
        ("bare", false, json!({"profile_id": "{subject.CN}"}), "client_profile_mismatch"),
        ("pinned", false, json!({"profile_id": "partner"}), "identity_not_mapped"),
        ("pinned", true, json!({"profile_id": "partner"}), "identity_not_mapped"),
        ("stranger", false, json!({"profile_id": "partner"}), "identity_not_mapped"),
        ("stranger", true, json!({"profile_id": "partner"}), "stranger partner -"),
        ("stranger", true, json!({"profile_id": "none-{subject.CN}"}), "client_profile_mismatch"),
        ("stranger", true, json!({}), "profile_required"),
    ] {
        let identity = json!({"mappings": [with(more.clone())], "allow_unregistered": allows});
        assert_eq!(who(&policy(clients.clone(), identity), &leaf(name)), expected, "{name} {allows} {more}");
    }
    // A mapped client may use its own profiles and no others.
    let one = json!({"acme": {"profiles": ["partner"]}});
    let identity = json!({"mappings": [with(json!({"profile_id": "reporter"}))]});
    assert_eq!(who(&policy(one, identity), &leaf("acme")), "client_profile_mismatch");
}

#[test]
fn a_mapping_matches_if_every_condition_holds_of_exactly_one_name() {
    let email = |leaf: Recipe, address: &str| {
        let address = address.to_owned();
        leaf.with(|params| params.subject_alt_names.push(SanType::Rfc822Name(address.as_str().try_into().unwrap())))
    };
    let web = || Recipe::new().cn("web").subject(DnType::OrganizationalUnitName, "pay");
    let leaf = web().issue_as("Lab CA");
    let thumbprint = mtls_authz::Thumbprint::of(&leaf.der);
    let cases: Vec<(Value, Leaf, &str)> = vec![
        (json!({"subject": {"CN": "web"}}), web().issue(), "known"),
        (json!({"subject": {"CN": "Web"}}), web().issue(), "known"),
        (json!({"subject": {"CN": "wed"}}), web().issue(), "identity_not_mapped"),
        (json!({"subject": {"CN": "web", "OU": "pay"}}), web().issue(), "known"),
        (json!({"subject": {"CN": "web", "OU": "other"}}), web().issue(), "identity_not_mapped"),
        (json!({"subject": {"O": "{any}"}}), web().issue(), "identity_invalid"),
        (json!({"issuer": "CN=Lab CA"}), web().issue_as("Lab CA"), "known"),
        (json!({"issuer": "CN=Lab CA"}), web().issue_as("Lab CB"), "identity_not_mapped"),
        (json!({"issuer": {"CN": "{which}"}}), web().issue_as("Lab CA"), "known"),
        (json!({"issuer": {"CN": "Lab CA"}}), web().issue_as("Lob CA"), "identity_not_mapped"),
        (json!({"sha256": thumbprint.to_hex()}), leaf, "known"),
        (json!({"sha256": thumbprint.to_hex()}), web().issue_as("Lab CA"), "identity_not_mapped"),
        (json!({"dns_san": "{host}.example"}), web().dns("a.example").issue(), "known"),
        (json!({"dns_san": "{host}.example"}), web().dns("a.example").dns("b.test").issue(), "known"),
        (json!({"dns_san": "{host}.example"}), web().dns("a.example").dns("b.example").issue(), "identity_invalid"),
        (json!({"uri_san": "https://a.example/{name}"}), web().uri("https://a.example/a").issue(), "known"),
        (
            json!({"uri_san": "https://a.example/{name}"}),
            web().uri("https://a.example/a").uri("https://a.example/b").issue(),
            "identity_invalid",
        ),
        (json!({"email_san": "{user}@a.example"}), email(web(), "ops@a.example").issue(), "known"),
        (json!({"email_san": "{user}@a.example"}), email(web(), "ops@b.example").issue(), "identity_not_mapped"),
        (
            json!({"email_san": "{user}@a.example"}),
            email(email(web(), "ops@a.example"), "dev@a.example").issue(),
            "identity_invalid",
        ),
    ];
    for (condition, leaf, expected) in cases {
        let mapping = json!({"match": condition, "client_id": "known", "profile_id": "partner"});
        let told = who(&policy(json!({}), json!({"mappings": [mapping], "allow_unregistered": true})), &leaf);
        assert_eq!(told.split(' ').next(), Some(expected), "{condition}");
    }
}

#[test]
fn a_certificate_without_a_typed_name_is_known_by_its_subject_or_if_that_is_empty_by_its_thumbprint() {
    let mapping =
        json!({"match": {"uri_san": "https://a.example/{name}"}, "client_id": "{name}", "profile_id": "partner"});
    let policy = policy(json!({}), json!({"mappings": [mapping], "allow_unregistered": true}));
    let policy = Policy::from_json(policy.to_string()).unwrap();
    let identity_of = |leaf: &Leaf| {
        let headers = headers("GET", "/", &[]);
        let proxy = FakeProxy::new().presenting(leaf);
        let decision = decide(&policy, &Memory::default(), &Request::new(&headers), &proxy);
        decision.caller.identity.map(|identity| identity.to_string())
    };
    let named = |recipe: Recipe, name: &str| recipe.uri(&format!("https://a.example/{name}")).issue();
    let unit = named(Recipe::new().subject(DnType::OrganizationalUnitName, "pay"), "alice");
    assert_eq!(identity_of(&unit).as_deref(), Some("subject:OU=pay"));
    for name in ["alice", "bob"] {
        let leaf = named(Recipe::new(), name);
        let hash = mtls_authz::Thumbprint::of(&leaf.der).to_hex();
        assert_eq!(identity_of(&leaf), Some(format!("sha256:{hash}")));
    }
}
