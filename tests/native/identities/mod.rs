//! Identities of every kind: URIs, IP addresses, one of several values, names in tokens, one certificate for several clients.

mod captures;
mod names;
mod notes;
mod shared;
mod tokens;

use mtls_authz::{Decision, Memory, Policy, Request, decide};
use rcgen::{DnType, SanType};
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, NOW};

/// What is wrong with a configuration; empty: nothing.
fn problem(policy: &Value) -> String {
    Policy::from_json(policy.to_string()).err().map(|problem| problem.to_string()).unwrap_or_default()
}

fn asked(policy: &Value, proxy: &FakeProxy, headers: &[(&str, &str)]) -> Decision {
    let policy = Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"));
    decided(&policy, &Memory::new(&policy.token.source), proxy, headers)
}

fn decided(policy: &Policy, memory: &Memory, proxy: &FakeProxy, headers: &[(&str, &str)]) -> Decision {
    let headers = [&[(":method", "GET"), (":path", "/a")], headers].concat();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    decide(policy, memory, &Request::new(&headers), proxy)
}

/// The client that is let through, or the reason.
fn verdict(decision: &Decision) -> &str {
    match &decision.verdict {
        Ok(_) => decision.caller.client_id().unwrap(),
        Err(deny) => deny.reason.code(),
    }
}

fn note(decision: &Decision) -> String {
    decision.verdict.as_ref().unwrap_err().note.clone().unwrap_or_default().into_owned()
}

/// Clients of a mode with a profile for each mode.
fn policy(mode: &str, clients: Value) -> Value {
    let profile = |mode: &str| json!({"allow": [{"paths": ["/a"]}], "mode": mode});
    json!({
        "mode": mode,
        "clients": clients,
        "token": {"audiences": ["api"]},
        "profiles": {
            "certificate": profile("mtls"),
            "both": profile("bearer_plus_mtls_required"),
            "token": profile("bearer_plus_mtls_optional"),
        },
    })
}

/// A client of mode `mtls` with these identities.
fn client(identities: &[&str]) -> Value {
    json!({"identities": identities, "profiles": ["certificate"]})
}

fn with_ip(recipe: Recipe, address: &str) -> Recipe {
    recipe.with(|params| params.subject_alt_names.push(SanType::IpAddress(address.parse().unwrap())))
}

fn email(recipe: Recipe, address: &str) -> Recipe {
    recipe.with(|params| params.subject_alt_names.push(SanType::Rfc822Name(address.try_into().unwrap())))
}

/// One more value of an attribute. (By its own type a later value replaces an earlier one.)
fn unit(recipe: Recipe, number: u64, value: &str) -> Recipe {
    let kinds = [DnType::OrganizationalUnitName, DnType::CustomDnType(vec![2, 5, 4, 11])];
    recipe.subject(kinds[number as usize].clone(), value)
}

fn presenting(leaf: &Leaf) -> FakeProxy {
    FakeProxy::new().presenting(leaf)
}

/// Claims of a good token.
fn token(claims: Value, leaf: Option<&Leaf>) -> Value {
    let mut payload = json!({"aud": "api", "exp": NOW + 60});
    payload.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    if let Some(leaf) = leaf {
        payload["cnf"] = json!({"x5t#S256": leaf.thumbprint()});
    }
    payload
}
