//! What modes.md and allow-and-deny.md say of tokens that a profile does not ask for, of networks and of rules side by side.

use mtls_authz::{Memory, Policy, Property, Reason, Request, decide};
use serde_json::json;

use crate::certificates::Recipe;
use crate::proxy::{FakeProxy, NOW, headers};

#[test]
fn a_malformed_authorization_is_refused_in_mode_mtls_if_another_profile_uses_tokens_and_never_if_bypassed() {
    let verdict = |other_mode: &str, path: &str, more: &[(&str, &str)]| {
        let policy = json!({
            "mode": "mtls",
            "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}, "other": {"mode": other_mode}},
            "bypass": [{"path": "/health"}],
        });
        let policy = Policy::from_json(policy.to_string()).unwrap();
        let proxy = FakeProxy::new().presenting(&Recipe::new().cn("acme").issue());
        let decision = decide(&policy, &Memory::default(), &Request::new(&headers("GET", path, more)), &proxy);
        decision.verdict.map(|_| ()).map_err(|deny| deny.reason)
    };
    let malformed = Err(Reason::AuthorizationMalformed);
    for (path, value, with_tokens) in [
        ("/open", "Bearer a, Bearer b", malformed),
        ("/open?access_token=a", "", malformed),
        ("/open", "Bearer a.b.c", Ok(())),
        ("/health", "Bearer a, Bearer b", Ok(())),
        ("/health?access_token=a", "", Ok(())),
    ] {
        let more = [("authorization", value)];
        let more = if value.is_empty() { &more[..0] } else { &more[..] };
        assert_eq!(verdict("bearer_plus_mtls_required", path, more), with_tokens, "{path} {value}");
        assert_eq!(verdict("mtls", path, more), Ok(()), "{path} {value}");
    }
}

#[test]
fn the_network_of_all_ipv4_addresses_has_no_ipv6_address() {
    let policy = json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/open"]}], "source_cidrs": ["0.0.0.0/0"]}},
    });
    let policy = Policy::from_json(policy.to_string()).unwrap();
    for (address, expected) in [
        ("192.0.2.1:443", Ok(())),
        ("[::ffff:192.0.2.1]:443", Ok(())),
        ("[2001:db8::1]:443", Err(Reason::SourceIpDenied)),
    ] {
        let proxy = FakeProxy::new().presenting(&Recipe::new().cn("acme").issue());
        let proxy = proxy.with(Property::DirectRemoteAddress, address);
        let decision = decide(&policy, &Memory::default(), &Request::new(&headers("GET", "/open", &[])), &proxy);
        assert_eq!(decision.verdict.map(|_| ()).map_err(|deny| deny.reason), expected, "{address}");
    }
}

#[test]
fn a_rule_with_scopes_does_not_limit_what_a_rule_beside_it_allows() {
    let leaf = Recipe::new().cn("acme").issue();
    let claims = json!({"client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}});
    for (rules, expected) in [
        (json!([{"paths": ["/a"], "scopes": ["read"]}]), Err(Reason::InsufficientScope)),
        (json!([{"paths": ["/a"], "scopes": ["read"]}, {"paths": ["/**"]}]), Ok(())),
    ] {
        let policy = json!({
            "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": rules}},
        });
        let policy = Policy::from_json(policy.to_string()).unwrap();
        let proxy = FakeProxy::new().presenting(&leaf).verified(&claims);
        let decision = decide(&policy, &Memory::default(), &Request::new(&headers("GET", "/a", &[])), &proxy);
        assert_eq!(decision.verdict.map(|_| ()).map_err(|deny| deny.reason), expected, "{rules}");
    }
}
