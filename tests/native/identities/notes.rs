//! What an operator reads about a caller that is no client, or another one.

use mtls_authz::inventory::{Sighting, note as see, table};
use mtls_authz::{Certificate, Policy};
use rcgen::DnType;
use serde_json::{Value, json};

use super::{asked, client, note, policy, presenting, token, verdict, with_ip};
use crate::certificates::{Leaf, Recipe, at};
use crate::proxy::{FakeProxy, NOW};

fn assert_note(policy: &Value, proxy: &FakeProxy, headers: &[(&str, &str)], reason: &str, parts: &[&str]) {
    let decision = asked(policy, proxy, headers);
    assert_eq!(verdict(&decision), reason);
    let note = note(&decision);
    for part in parts {
        assert!(note.contains(part), "{part:?} in {note:?}");
    }
    assert!(note.len() < 2048, "{}", note.len());
    let detail = decision.verdict.as_ref().unwrap_err().detail.clone().unwrap_or_default();
    for part in ["acme", "org", "globex", "partner"] {
        assert!(!detail.contains(part), "{part} in {detail}");
    }
}

#[test]
fn a_certificate_of_no_client_is_shown_so_that_it_can_be_registered() {
    let policy = policy("mtls", json!({"globex": client(&["cn:globex"])}));
    let corp = |name: &str| Recipe::new().cn(name).subject(DnType::OrganizationName, "Corp");
    let leaf = with_ip(corp("acme").uri("urn:acme:1"), "192.0.2.1").issue();
    let thumbprint = format!("sha256:{}", Certificate::from_der(&leaf.der).unwrap().thumbprint.to_hex());
    let parts = ["cn:acme", "uri:urn:acme:1", "ip:192.0.2.1", "subject:O=Corp,CN=acme", &thumbprint];
    assert_note(&policy, &presenting(&leaf), &[], "identity_not_mapped", &parts);
    let spiffe = corp("acme").uri("spiffe://td/acme").issue();
    assert_note(
        &policy,
        &presenting(&spiffe),
        &[],
        "identity_not_mapped",
        &["spiffe://td/acme", "subject:O=Corp,CN=acme"],
    );
    let nameless = Recipe::new().subject(DnType::OrganizationName, "Corp").issue();
    assert_note(&policy, &presenting(&nameless), &[], "identity_missing", &["subject:O=Corp", "sha256:"]);
}

#[test]
fn what_a_certificate_says_of_itself_is_cut_in_a_note() {
    let policy = policy("mtls", json!({"globex": client(&["cn:globex"])}));
    let dns = |number: usize| format!("{}.{number}.example", "a".repeat(60));
    let many = (0..200).fold(Recipe::new(), |recipe, number| recipe.dns(&dns(number))).cn(&"c".repeat(5_000)).issue();
    assert_note(
        &policy,
        &presenting(&many),
        &[],
        "identity_not_mapped",
        &["dns:aaa", "…", "subject:CN=ccc", "sha256:"],
    );
}

#[test]
fn another_client_or_profile_than_the_one_that_is_named_is_shown() {
    let clients = json!({
        "acme": {"identities": ["cn:acme"], "profiles": ["certificate", "both"]},
        "globex": {"identities": ["cn:globex"], "profiles": ["certificate"], "issuers": ["CN=Lab CA"]},
    });
    let mut json = policy("mtls", clients);
    let acme = || presenting(&Recipe::new().cn("acme").issue());
    let profile = ("x-profile-id", "certificate");
    let mismatch = [profile, ("x-client-id", "globex")];
    assert_note(&json, &acme(), &mismatch, "client_mismatch", &["\"globex\"", "\"acme\""]);
    assert_note(&json, &acme(), &[], "profile_required", &["certificate, both"]);
    let wrong = [("x-profile-id", "token")];
    assert_note(&json, &acme(), &wrong, "client_profile_mismatch", &["\"token\"", "certificate, both"]);
    let globex = presenting(&Recipe::new().cn("globex").issue_as("Other CA"));
    assert_note(&json, &globex, &[], "identity_not_mapped", &["\"CN=Other CA\"", "\"CN=Lab CA\""]);
    json["require_client_headers"] = json!(true);
    assert_note(&json, &acme(), &[profile], "client_header_missing", &["no X-Client-ID ("]);
    let client = [("x-client-id", "acme"), profile];
    assert_eq!(verdict(&asked(&json, &acme(), &client)), "acme");
    json["clients"]["acme"]["profiles"] = json!(["certificate"]);
    assert_note(&json, &acme(), &client[..1], "client_header_missing", &["no X-Profile-ID ("]);
    assert_note(&json, &acme(), &[], "client_header_missing", &["no X-Client-ID and X-Profile-ID"]);
}

#[test]
fn a_mapping_that_names_no_client_is_shown_with_what_it_made() {
    let mut json = policy("mtls", json!({"own": client(&["dns:own.example"])}));
    json["identity"] = json!({"mappings": [{"match": {"subject": {"O": "Corp"}}, "client_id": "{subject.CN}"}]});
    let corp = || Recipe::new().subject(DnType::OrganizationName, "Corp");
    let of = |name: &str| presenting(&corp().cn(name).issue());
    assert_note(&json, &of("ghost"), &[], "identity_not_mapped", &["\"ghost\"", "not registered"]);
    assert_note(&json, &of("own"), &[], "identity_not_mapped", &["\"own\"", "its own identities"]);
    let parts = ["identity.mappings[0].client_id", "the certificate is sha256:"];
    assert_note(&json, &presenting(&corp().issue()), &[], "identity_invalid", &parts);
}

#[test]
fn a_token_of_the_clients_previous_certificate_is_a_renewal_and_any_other_is_not() {
    let clients = json!({
        "acme": {"identities": ["cn:acme"], "profiles": ["both"]}, "globex": {"identities": ["cn:globex"], "profiles": ["both"]},
    });
    let json = policy("bearer_plus_mtls_required", clients);
    let compiled = Policy::from_json(json.to_string()).unwrap();
    let leaf =
        |name: &str, hours: i64| Recipe::new().cn(name).with(|params| params.not_after = at(3_600 * hours)).issue();
    let (old, new, stranger) = (leaf("acme", 1), leaf("acme", 2), leaf("globex", 1));
    let seen = |proxy: &FakeProxy, client: &str, leaf: &Leaf| {
        let certificate = Certificate::from_der(&leaf.der).unwrap();
        see(
            proxy,
            &table(Some(&compiled)),
            client,
            Sighting { certificate: &certificate, is_revoked: false, now: NOW },
        )
        .unwrap();
    };
    let ask = |presented: &Leaf, bound: &Leaf, known: &[&Leaf], parts: &[&str]| {
        let proxy = presenting(presented).verified(&token(json!({"client_id": "acme"}), Some(bound)));
        known.iter().for_each(|leaf| seen(&proxy, "acme", leaf));
        seen(&proxy, "globex", &stranger);
        let thumbprint = bound.thumbprint();
        assert_note(&json, &proxy, &[], "sender_binding_mismatch", &[&[thumbprint.as_str()], parts].concat());
    };
    let renewal = &["previous certificate", "a renewal, not a theft"][..];
    let unknown = &["does not know of the client"][..];
    ask(&new, &old, &[&old], renewal);
    ask(&new, &old, &[&old, &new], renewal);
    ask(&new, &old, &[], unknown);
    ask(&new, &old, &[&new], unknown);
    ask(&new, &stranger, &[&old, &new], unknown);
    // Somebody else with a token of acme's.
    ask(&stranger, &old, &[&old], unknown);
}

#[test]
fn only_a_refused_request_asks_the_inventory() {
    let json = policy("bearer_plus_mtls_required", json!({"acme": {"identities": ["cn:acme"], "profiles": ["both"]}}));
    let leaf = Recipe::new().cn("acme").issue();
    let proxy = presenting(&leaf).verified(&token(json!({"client_id": "acme"}), Some(&leaf)));
    let failing = Sharing(&proxy);
    let policy = Policy::from_json(json.to_string()).unwrap();
    let headers = [(&b":method"[..], &b"GET"[..]), (b":path", b"/a")];
    let decision = mtls_authz::decide(&policy, &Default::default(), &mtls_authz::Request::new(&headers), &failing);
    assert_eq!(verdict(&decision), "acme");
}

/// A host whose shared data nobody may ask for.
struct Sharing<'a>(&'a FakeProxy);

impl mtls_authz::Proxy for Sharing<'_> {
    fn property(&self, property: mtls_authz::Property<'_>) -> Result<Option<Vec<u8>>, mtls_authz::HostError> {
        self.0.property(property)
    }
    fn leave_note(&self, name: &str, note: &[u8]) -> Result<(), mtls_authz::HostError> {
        self.0.leave_note(name, note)
    }
    fn verify_signature(&self, check: mtls_authz::SignatureCheck<'_>) -> Option<bool> {
        self.0.verify_signature(check)
    }
    fn now(&self) -> Result<u64, mtls_authz::HostError> {
        self.0.now()
    }
    fn monotonic(&self) -> Result<u64, mtls_authz::HostError> {
        self.0.monotonic()
    }
    fn shared(&self, _: &str) -> Result<Option<mtls_authz::Shared>, mtls_authz::HostError> {
        panic!("shared data was asked for")
    }
    fn swap_shared(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<mtls_authz::Swap, mtls_authz::HostError> {
        panic!("shared data was changed")
    }
}
