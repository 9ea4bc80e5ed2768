//! Limits of which README.md says about how large they are.

use mtls_authz::{Memory, Policy, Property, Reason, Request, decide};
use serde_json::{Value, json};

use crate::certificates::Recipe;
use crate::proxy::{FakeProxy, NOW, headers, metadata};

#[test]
fn claims_that_jwt_authn_leaves_may_be_about_thirty_levels_deep() {
    let leaf = Recipe::new().cn("acme").issue();
    let policy = json!({
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
    });
    let policy = Policy::from_json(policy.to_string()).unwrap();
    let verdict = |depth: usize| {
        let deep =
            (0..depth).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) });
        let claims: Value = json!({
            "client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}, "deep": deep,
        });
        let found = metadata("envoy.filters.http.jwt_authn", "payload", &claims);
        let proxy = FakeProxy::new().presenting(&leaf).with(Property::DynamicMetadata, found);
        let decision = decide(&policy, &Memory::default(), &Request::new(&headers("GET", "/", &[])), &proxy);
        decision.verdict.map(|_| ()).map_err(|deny| deny.reason)
    };
    let deepest = (1..100).take_while(|depth| verdict(*depth).is_ok()).last().unwrap();
    assert!((25..=40).contains(&deepest), "{deepest}");
    assert_eq!(verdict(deepest + 1), Err(Reason::TokenMalformed));
}
