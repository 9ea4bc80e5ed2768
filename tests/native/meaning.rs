//! A policy means what its careful reader believes: what could mean two things is refused.

mod misread;
mod refused;
mod rules;
mod token_alone;

use mtls_authz::{Decision, Memory, Policy, Proxy, Reason, Request, Rule, decide};
use serde_json::{Value, json};

fn compiled(json: &Value) -> Policy {
    Policy::from_json(json.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn asked(policy: &Policy, proxy: &dyn Proxy, headers: &[(&str, &str)]) -> Decision {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    decide(policy, &Memory::default(), &Request::new(&headers), proxy)
}

fn verdict(decision: &Decision) -> Result<Rule, Reason> {
    decision.verdict.as_ref().map(|allow| allow.rule).map_err(|deny| deny.reason)
}

/// A policy of mode `mtls` whose client `acme` has this profile.
fn partner(profile: Value) -> Value {
    json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": profile},
    })
}

/// The same with more settings.
fn with(mut policy: Value, more: Value) -> Value {
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    policy
}
