//! Two policies of one process, whose clients and profiles have the same names: what one counts is not the other's.

use std::collections::BTreeSet;

use mtls_authz::inventory::{Noted, SLOTS, Sighting, entries, note, table};
use mtls_authz::{Certificate, Memory, Policy, Reason, Request, decide, of_policy};
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, NOW, headers, protobuf_struct};

/// May `acme` make two requests in an hour, under this policy.
fn policy(more: &Value) -> Policy {
    Policy::from_json(configuration(more).to_string()).unwrap()
}

fn configuration(more: &Value) -> Value {
    let mut policy = json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {
            "allow": [{"paths": ["/**"]}], "rate_limit": {"requests": 2, "per_seconds": 3_600},
        }},
    });
    for (name, value) in more.as_object().unwrap() {
        policy[name] = value.clone();
    }
    policy
}

fn acme() -> Leaf {
    Recipe::new().cn("acme").issue()
}

fn presenting(leaf: &Leaf) -> FakeProxy {
    FakeProxy::new().presenting(leaf)
}

fn reason(policy: &Policy, proxy: &FakeProxy) -> Option<Reason> {
    let decision = decide(policy, &Memory::default(), &Request::new(&headers("GET", "/", &[])), proxy);
    decision.verdict.err().map(|deny| deny.reason)
}

const SPENT: [Option<Reason>; 3] = [None, None, Some(Reason::RateLimited)];

#[test]
fn a_rate_is_counted_for_one_policy_and_never_shared_with_another() {
    let proxy = presenting(&acme());
    for more in [
        json!({}),
        // Other configurations, though what concerns the client is the same.
        json!({"policy_id": "2"}),
        json!({"bypass": [{"path": "/health"}]}),
        json!({"policy_name": "a"}),
        json!({"policy_name": "b"}),
        // Not by chance the text of another name.
        json!({"policy_name": configuration(&json!({})).to_string().replace(' ', "").chars().take(256).collect::<String>()}),
    ] {
        let policy = policy(&more);
        assert_eq!([(); 3].map(|()| reason(&policy, &proxy)), SPENT, "{more}");
    }
}

#[test]
fn a_policy_with_a_name_goes_on_counting_in_its_next_version() {
    let proxy = presenting(&acme());
    let versions = ["1", "2", "3"].map(|id| policy(&json!({"policy_name": "edge", "policy_id": id})));
    assert_eq!(versions.each_ref().map(|version| reason(version, &proxy)), SPENT);
}

#[test]
fn all_workers_count_for_the_same_policy_whichever_form_it_has() {
    let proxy = presenting(&acme());
    let written = configuration(&json!({}));
    let read = |bytes: Vec<u8>| Policy::read(bytes).unwrap();
    let text = [(); 3].map(|()| read(written.to_string().into_bytes()));
    assert_eq!(text.each_ref().map(|policy| reason(policy, &proxy)), SPENT);
    let structs = [(); 2].map(|()| read(protobuf_struct(&written)));
    assert_eq!(structs[0].scope, structs[1].scope);
}

#[test]
fn a_rate_is_that_of_a_clock_that_is_never_set() {
    let (proxy, policy) = (presenting(&acme()), policy(&json!({})));
    assert_eq!([(); 3].map(|()| reason(&policy, &proxy)), SPENT);
    for set_by in [1_800, -1_800, 0] {
        proxy.set_by.set(set_by);
        assert_eq!(reason(&policy, &proxy), Some(Reason::RateLimited), "{set_by}");
    }
    proxy.passed.set(1_800 * 1_000_000_000);
    assert_eq!([(); 2].map(|()| reason(&policy, &proxy)), [None, Some(Reason::RateLimited)]);
}

#[test]
fn no_policy_with_a_name_takes_the_inventory_of_another() {
    let proxy = FakeProxy::new();
    let certificate = Certificate::from_der(&acme().der).unwrap();
    let tables = [json!({"policy_name": "a"}), json!({"policy_name": "b"})].map(|more| table(Some(&policy(&more))));
    let note = |table: &str, client: &str| {
        note(&proxy, table, client, Sighting { certificate: &certificate, is_revoked: false, now: NOW })
            .unwrap()
            .unwrap()
    };
    for number in 0..3 * SLOTS {
        note(&tables[0], &format!("client-{number}"));
    }
    for number in 0..100 {
        let Noted::Entry(..) = note(&tables[1], &format!("client-{number}")) else {
            panic!("there is room for {number}");
        };
    }
    let known = |table: &str| entries(&proxy, table).map(|entry| entry.unwrap().client_id).collect::<BTreeSet<_>>();
    assert_eq!(known(&tables[1]).len(), 100);
    assert!(known(&tables[0]).len() > 900);
    assert_eq!(known(&table(None)).len(), 0);
}

#[test]
fn a_metric_is_named_after_its_policy_if_that_has_a_name() {
    for (name, policy, expected) in [
        ("mtls_auth_success_total", None, "mtls_auth_success_total"),
        ("mtls_auth_success_total", Some("edge"), "mtls_auth_success_total.policy.edge"),
        ("mtls_fetch_total.source.jwks.outcome.failed", None, "mtls_fetch_total.source.jwks.outcome.failed"),
        (
            "mtls_fetch_total.source.jwks.outcome.failed",
            Some("Edge-2"),
            "mtls_fetch_total.policy.Edge-2.source.jwks.outcome.failed",
        ),
        (
            "mtls_cert_days_until_expiry.client.acme.policy.x",
            Some("a.b/c {\"d\"}_é"),
            "mtls_cert_days_until_expiry.policy.a_b_c___d____.client.acme.policy.x",
        ),
    ] {
        assert_eq!(of_policy(name, policy), expected);
    }
}

#[test]
fn the_name_of_a_policy_is_a_label() {
    for name in ["", " a", "a ", "a\nb", "é", &"a".repeat(257)] {
        let configuration = configuration(&json!({"policy_name": name})).to_string();
        let problem = Policy::from_json(configuration).map(|_| ()).unwrap_err().to_string();
        assert!(problem.starts_with("policy_name: ") && problem.contains("1 to 256 visible ASCII"), "{problem}");
    }
    assert_eq!(policy(&json!({"policy_name": "a"})).policy_name.as_deref(), Some("a"));
}
