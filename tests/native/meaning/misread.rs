//! Sentences of the documentation that readers had read as something else.

use mtls_authz::{Decision, Enforcement, Policy, Reason};
use serde_json::{Value, json};

use super::{asked, compiled, partner, verdict, with};
use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, NOW};

fn ask(policy: &Policy, proxy: &FakeProxy, more: &[(&str, &str)]) -> Decision {
    asked(policy, proxy, &[&[(":method", "GET"), (":path", "/a")], more].concat())
}

fn acme() -> Leaf {
    Recipe::new().cn("acme").issue()
}

#[test]
fn a_profile_in_shadow_refuses_nothing_once_it_is_known() {
    let json = json!({
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["tried"]}},
        "profiles": {"tried": {"allow": [{"paths": ["/a"]}], "enforcement": "shadow"}},
        "require_client_headers": true,
    });
    let policy = compiled(&json);
    let leaf = acme();
    let token = |claims: Value| FakeProxy::new().presenting(&leaf).verified(&claims);
    let bound = json!({"client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}});
    let expired = with(bound.clone(), json!({"exp": NOW - 600}));
    let unbound = json!({"client_id": "acme", "exp": NOW + 60});
    let named = [("x-client-id", "acme"), ("x-profile-id", "tried")];
    for (proxy, more, reason) in [
        (FakeProxy::new().presenting(&leaf), &named[..], Reason::TokenMissing),
        (token(expired), &named, Reason::TokenExpired),
        (token(unbound), &named, Reason::SenderBindingMissing),
        (token(bound.clone()), &[("x-client-id", "globex"), named[1]], Reason::ClientMismatch),
        (token(bound.clone()), &[], Reason::ClientHeaderMissing),
    ] {
        let decision = ask(&policy, &proxy, more);
        assert_eq!((verdict(&decision), decision.enforcement), (Err(reason), Enforcement::Shadow));
    }
    let revoked = compiled(&with(json, json!({"revocation": {"identities": ["cn:acme"]}})));
    let stranger = Recipe::new().cn("stranger").issue();
    let claims = with(bound.clone(), json!({"cnf": {"x5t#S256": stranger.thumbprint()}}));
    let stranger = FakeProxy::new().presenting(&stranger).verified(&claims);
    for (policy, proxy, reason) in [
        (&policy, FakeProxy::new(), Reason::CertificateMissing),
        (&policy, stranger, Reason::IdentityNotMapped),
        (&revoked, token(bound), Reason::CertificateRevoked),
    ] {
        let decision = ask(policy, &proxy, &named);
        assert_eq!((verdict(&decision), decision.enforcement), (Err(reason), Enforcement::Enforce));
    }
}

#[test]
fn required_paths_count_in_optional_mode_alone() {
    let required = json!({"binding": {"required_paths": ["/a"]}});
    let policy = compiled(&with(partner(json!({"allow": [{"paths": ["/a"]}]})), required));
    assert!(verdict(&ask(&policy, &FakeProxy::new().presenting(&acme()), &[])).is_ok());
}

#[test]
fn a_client_of_two_profiles_chooses_the_one_in_shadow() {
    let policy = compiled(&json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["tried", "strict"]}},
        "profiles": {"tried": {"enforcement": "shadow"}, "strict": {"deny": ["/a"]}},
    }));
    for (profile, is_refused) in [("tried", false), ("strict", true)] {
        let decision = ask(&policy, &FakeProxy::new().presenting(&acme()), &[("x-profile-id", profile)]);
        assert_eq!((verdict(&decision).is_err(), decision.refusal().is_some()), (true, is_refused), "{profile}");
    }
}

#[test]
fn a_mapping_comes_before_the_clients_own_principal_and_reads_dns_labels_in_lower_case() {
    let policy = compiled(&json!({
        "mode": "mtls",
        "clients": {"api": {"profiles": ["partner"], "principal": "arn:own"}},
        "profiles": {"partner": {"allow": [{"paths": ["/a"]}]}},
        "identity": {"mappings": [
            {"match": {"dns_san": "{svc}.svc.example"}, "client_id": "{svc}", "principal": "arn:{svc}"},
        ]},
    }));
    for name in ["api.svc.example", "API.svc.example"] {
        let leaf = Recipe::new().dns(name).issue();
        let decision = ask(&policy, &FakeProxy::new().presenting(&leaf), &[]);
        let caller = decision.caller;
        assert_eq!((caller.client_id(), caller.principal()), (Some("api"), Some("arn:api")), "{name}");
    }
}

#[test]
fn several_dns_names_of_which_one_is_registered_are_that_client() {
    let policy = compiled(&json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["dns:api.example"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/a"]}]}},
    }));
    let leaf = Recipe::new().dns("api.example").dns("other.example").issue();
    assert_eq!(ask(&policy, &FakeProxy::new().presenting(&leaf), &[]).caller.client_id(), Some("acme"));
}

#[test]
fn neither_the_issuers_name_nor_a_star_revokes_a_certificate() {
    for (revoked, expected) in
        [("subject:CN=Test CA,O=ExampleCorp", true), ("cn:Test CA", true), ("cn:*", true), ("cn:acme", false)]
    {
        let policy =
            with(partner(json!({"allow": [{"paths": ["/a"]}]})), json!({"revocation": {"identities": [revoked]}}));
        let decision = ask(&compiled(&policy), &FakeProxy::new().presenting(&acme()), &[]);
        assert_eq!(verdict(&decision).is_ok(), expected, "{revoked}");
    }
}
