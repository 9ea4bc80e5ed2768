//! Configurations that would mislead, and what each message says to write.

use mtls_authz::Policy;
use serde_json::{Value, json};

use super::{partner, with};

fn rule(rule: Value) -> Value {
    partner(json!({"allow": [rule]}))
}

fn bypass(entry: Value, profile: Value) -> Value {
    with(partner(profile), json!({"bypass": [entry]}))
}

fn restricted(entry: Value) -> Value {
    bypass(
        entry,
        json!({"allow": [{"paths": ["/**"]}], "deny": ["/pub/secret/**", {"paths": ["/files/**"], "methods": ["DELETE"]}]}),
    )
}

/// Every case: a policy, where the error is, and what the message says.
fn cases() -> Vec<(Value, &'static str, &'static str)> {
    let optional = json!({"mode": "bearer_plus_mtls_optional", "clients": {}});
    let forwarded = json!({"certificate": {"source": "forwarded", "forwarded": {
        "format": "nginx", "trusted_proxies": {"cidrs": ["10.0.0.0/8"]},
    }}});
    let in_networks = partner(json!({"allow": [{"paths": ["/a"]}], "source_cidrs": ["10.0.0.0/8"]}));
    vec![
        // Methods.
        (
            rule(json!({"paths": ["/a"], "methods": ["*"]})),
            "profiles.partner.allow[0].methods[0]",
            "leave \"methods\" out",
        ),
        (
            rule(json!({"paths": ["/a"], "methods": ["GET", "get"]})),
            "profiles.partner.allow[0].methods[1]",
            "in capitals",
        ),
        (
            rule(json!({"paths": ["/a"], "methods": ["PURGE"]})),
            "profiles.partner.allow[0].methods[0]",
            "methods.additional",
        ),
        (restricted(json!({"path": "/x", "methods": ["*"]})), "bypass[0].methods[0]", "leave \"methods\" out"),
        (
            partner(json!({"deny": [{"paths": ["/a"], "methods": ["*"]}]})),
            "profiles.partner.deny[0].methods[0]",
            "leave \"methods\" out",
        ),
        (json!({"methods": {"additional": ["GET"]}}), "methods.additional[0]", "has not registered"),
        (json!({"methods": {"additional": ["Purge"]}}), "methods.additional[0]", "in capitals"),
        (json!({"methods": {"additional": ["*"]}}), "methods.additional[0]", "without *"),
        (json!({"methods": {"additional": [""]}}), "methods.additional[0]", "a method"),
        // Shadow.
        (
            with(partner(json!({"enforcement": "enforce"})), json!({"enforcement": "shadow"})),
            "profiles.partner.enforcement",
            "\"candidate\"",
        ),
        // Empty lists.
        (json!({"methods": {"additional": []}}), "methods.additional", "leave the key out"),
        (json!({"identity": {"trust_domains": []}}), "identity.trust_domains", "leave the key out"),
        (json!({"binding": {"required_paths": []}}), "binding.required_paths", "leave the key out"),
        (json!({"token": {"issuers": []}}), "token.issuers", "leave the key out"),
        (json!({"token": {"audiences": []}}), "token.audiences", "leave the key out"),
        (
            json!({"token": {"providers": [{"issuer": "https://a.example", "audiences": []}]}}),
            "token.providers[0].audiences",
            "leave the key out",
        ),
        (partner(json!({"source_cidrs": []})), "profiles.partner.source_cidrs", "leave the key out"),
        (rule(json!({"paths": ["/a"], "scopes": []})), "profiles.partner.allow[0].scopes", "leave the key out"),
        (rule(json!({"paths": ["/a"], "upgrades": []})), "profiles.partner.allow[0].upgrades", "leave the key out"),
        (rule(json!({"paths": ["/a"], "hosts": []})), "profiles.partner.allow[0].hosts", "leave the key out"),
        (restricted(json!({"path": "/x", "hosts": []})), "bypass[0].hosts", "leave the key out"),
        // Entries that stand again.
        (json!({"identity": {"precedence": ["uri_san", "uri_san"]}}), "identity.precedence[1]", "again"),
        (json!({"identity": {"trust_domains": ["a", "a"]}}), "identity.trust_domains", "again"),
        (json!({"token": {"audiences": ["a", "a"]}}), "token.audiences", "again"),
        (json!({"token": {"client_id_claims": ["azp", "azp"]}}), "token.client_id_claims", "again"),
        (json!({"binding": {"required_paths": ["/a", "/a"]}}), "binding.required_paths", "again"),
        (json!({"collections": {"c": ["/a", "/a"]}}), "collections.c", "again"),
        (rule(json!({"paths": ["/a", "/a"]})), "profiles.partner.allow[0].paths", "again"),
        (rule(json!({"paths": ["/a"], "methods": ["GET", "GET"]})), "profiles.partner.allow[0].methods", "again"),
        (rule(json!({"paths": ["/a"], "hosts": ["a", "a"]})), "profiles.partner.allow[0].hosts", "again"),
        (partner(json!({"allow": [{"paths": ["/a"]}, {"paths": ["/a"]}]})), "profiles.partner.allow[1]", "again"),
        (partner(json!({"deny": ["/a", "/b", "/a"]})), "profiles.partner.deny[2]", "again"),
        (partner(json!({"source_cidrs": ["::1", "::1"]})), "profiles.partner.source_cidrs", "again"),
        (with(partner(json!({})), json!({"bypass": [{"path": "/a"}, {"path": "/a"}]})), "bypass[1]", "again"),
        // Clocks.
        (json!({"certificate": {"clock_skew_seconds": 301}}), "certificate.clock_skew_seconds", "300"),
        (json!({"token": {"leeway_seconds": 30000}}), "token.leeway_seconds", "300"),
        // Whose address.
        (
            with(in_networks.clone(), forwarded.clone()),
            "profiles.partner.source_cidrs",
            "\"source_address\": \"envoy\"",
        ),
        // What is denied and bypassed.
        (restricted(json!({"path": "/pub/**"})), "bypass[0].path", "profiles.partner.deny[0]"),
        (restricted(json!({"path": "/pub/secret/health"})), "bypass[0].path", "\"even_denied\": true"),
        (restricted(json!({"path": "/*/secret"})), "bypass[0].path", "profiles.partner.deny[0]"),
        (restricted(json!({"path": "/files/a", "methods": ["DELETE"]})), "bypass[0].path", "profiles.partner.deny[1]"),
        (
            with(restricted(json!({"path": "/PUB/secret"})), json!({"path": {"restrictions": "ignore_case"}})),
            "bypass[0].path",
            "profiles.partner.deny[0]",
        ),
        (
            with(
                partner(json!({})),
                json!({"bypass": [{"path": "/pay/**"}], "binding": {"required_paths": ["/pay/now"]}}),
            ),
            "bypass[0].path",
            "binding.required_paths[0]",
        ),
        // What never matches.
        (rule(json!({"paths": ["/a"], "upgrades": ["*"]})), "profiles.partner.allow[0].upgrades[0]", "websocket"),
        (json!({"token": {"audiences": ["*"]}}), "token.audiences[0]", "leave the key out"),
        (json!({"token": {"issuers": ["*"]}}), "token.issuers[0]", "leave the key out"),
        (
            json!({"token": {"providers": [{"issuer": "https://a.example", "audiences": ["*"]}]}}),
            "token.providers[0].audiences[0]",
            "leave the key out",
        ),
        (rule(json!({"paths": ["/a"], "hosts": ["*"]})), "profiles.partner.allow[0].hosts[0]", "leave \"hosts\" out"),
        (rule(json!({"paths": ["/a"], "hosts": ["Api.example"]})), "profiles.partner.allow[0].hosts[0]", "lower case"),
        (rule(json!({"paths": ["/a"], "plain": true})), "profiles.partner.allow[0].plain", "upgrades"),
        // Tunnels.
        (rule(json!({"paths": ["/**"], "methods": ["CONNECT"]})), "profiles.partner.allow[0]", "\"hosts\""),
        (
            rule(json!({"paths": ["/tunnel"], "methods": ["CONNECT"], "hosts": ["db.example"]})),
            "profiles.partner.allow[0]",
            "covers \"/\"",
        ),
        (
            rule(json!({"paths": ["/**"], "methods": ["CONNECT"], "hosts": ["a"], "upgrades": ["websocket"]})),
            "profiles.partner.allow[0]",
            "two rules",
        ),
        (partner(json!({"source_cidrs": ["any", "10.0.0.0/8"]})), "profiles.partner.source_cidrs[0]", "alone"),
        (json!({"clients": {"a": {"profiles": [], "mappings": false}}}), "clients.a.mappings", "disables"),
        (restricted(json!({"path": "/x", "methods": ["CONNECT"]})), "bypass[0].methods[0]", "never bypassed"),
        (rule(json!({"paths": ["/a"], "upgrades": ["CONNECT"]})), "profiles.partner.allow[0].upgrades[0]", "methods"),
        // The same in another spelling.
        (rule(json!({"paths": ["/a"], "hosts": ["a:1", "a:01"]})), "profiles.partner.allow[0].hosts[1]", "once"),
        (rule(json!({"paths": ["/a"], "upgrades": ["a", "A"]})), "profiles.partner.allow[0].upgrades[1]", "once"),
        (partner(json!({"source_cidrs": ["10.0.0.1", "10.0.0.1/32"]})), "profiles.partner.source_cidrs[1]", "once"),
        // Tokens that are enough by themselves.
        (optional.clone(), "token.audiences", "ID tokens"),
        (
            with(optional, json!({"token": {"providers": [{"issuer": "https://a.example"}]}})),
            "token.providers[0].audiences",
            "ID tokens",
        ),
        (
            json!({"profiles": {"a": {"mode": "bearer_plus_mtls_optional"}}}),
            "token.audiences",
            "bearer_plus_mtls_optional",
        ),
        // Tokens that are verified.
        (
            json!({"profiles": {"a": {"unverified_authorization": "keep"}}}),
            "profiles.a.unverified_authorization",
            "\"mode\": \"mtls\"",
        ),
    ]
}

#[test]
fn what_could_mean_two_things_is_refused_with_what_to_write() {
    for (policy, path, expected) in cases() {
        let problem = Policy::from_json(policy.to_string()).map(drop).expect_err(&policy.to_string());
        assert!(problem.path == path && problem.problem.contains(expected), "{policy}\n{problem}");
    }
}

#[test]
fn what_the_messages_say_to_write_is_accepted() {
    let forwarded = json!({
        "certificate": {"source": "forwarded", "forwarded": {
            "format": "nginx", "trusted_proxies": {"cidrs": ["10.0.0.0/8"]},
        }},
        "source_address": "envoy",
    });
    for policy in [
        rule(json!({"paths": ["/a"]})),
        with(rule(json!({"paths": ["/a"], "methods": ["PURGE"]})), json!({"methods": {"additional": ["PURGE"]}})),
        partner(json!({"enforcement": "shadow"})),
        with(partner(json!({"enforcement": "shadow"})), json!({"enforcement": "shadow"})),
        json!({"certificate": {"clock_skew_seconds": 300}, "token": {"leeway_seconds": 300}}),
        with(partner(json!({"source_cidrs": ["10.0.0.0/8"]})), forwarded),
        partner(json!({"source_cidrs": ["any"]})),
        restricted(json!({"path": "/pub/**", "even_denied": true})),
        restricted(json!({"path": "/pub/open/**"})),
        restricted(json!({"path": "/files/**", "methods": ["GET"]})),
        rule(json!({"paths": ["/**"], "methods": ["CONNECT"], "hosts": ["db.example:5432"]})),
        rule(json!({"paths": ["/a"], "upgrades": ["websocket"], "plain": true})),
        rule(json!({"paths": ["/a"], "hosts": ["*.example"]})),
        json!({"mode": "bearer_plus_mtls_optional", "token": {"audiences": ["https://api.example"]}}),
        json!({"profiles": {"a": {"mode": "mtls", "unverified_authorization": "keep"}}}),
    ] {
        assert_eq!(Policy::from_json(policy.to_string()).err(), None, "{policy}");
    }
}
