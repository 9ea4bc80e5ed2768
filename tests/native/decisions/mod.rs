//! Whole decisions: a policy, a request, a proxy; a verdict.

mod modes;
mod upstream;
mod verdicts;

use base64::Engine;
use mtls_authz::{
    Binding, Counter, Decision, Enforcement, Header, Memory, Policy, Property, Proxy, Reason, Request, Response, Rule,
    UpstreamChange, decide, upstream_headers,
};
use rcgen::DnType;
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe, acme, ca};
use crate::issuer::base64url;
use crate::proxy::{FakeProxy, NOW, headers, sent};

fn policy() -> Value {
    json!({
        "policy_id": "v1",
        "clients": {
            "acme": {"identities": ["spiffe://prod.example/ns/pay/sa/acme"], "profiles": ["partner"], "principal": "arn:example:client/acme"},
            "globex": {"identities": ["cn:globex", "dns:api.globex.example"], "profiles": ["partner", "auditor"]},
        },
        "profiles": {
            "partner": {"allow": [
                {"paths": ["/payments/*"], "methods": ["GET"]},
                {"paths": ["/payments"], "methods": ["POST"], "scopes": ["payments:write"]},
                {"paths": ["/"]},
            ]},
            "auditor": {"allow": [{"paths": ["/**"]}], "mode": "mtls"},
        },
        "bypass": [{"path": "/health", "methods": ["GET"]}],
        "token": {"audiences": ["api"]},
    })
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut json = policy();
    change(&mut json);
    json
}

fn compiled(json: &Value) -> Policy {
    Policy::from_json(json.to_string().as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn run(json: &Value, proxy: &dyn Proxy, headers: &[Header<'_>]) -> Decision {
    decide(&compiled(json), &Memory::default(), &Request::new(headers), proxy)
}

fn verdict(decision: &Decision) -> Result<Rule, Reason> {
    decision.verdict.as_ref().map(|allow| allow.rule).map_err(|deny| deny.reason)
}

/// A token of `client`, bound to `leaf` where there is one.
fn token(client: &str, leaf: Option<&Leaf>) -> Value {
    let mut payload = json!({"client_id": client, "aud": "api", "exp": NOW + 60, "scope": "payments:write"});
    if let Some(leaf) = leaf {
        payload["cnf"] = json!({"x5t#S256": leaf.thumbprint()});
    }
    payload
}

fn with(mut payload: Value, name: &str, value: Value) -> Value {
    payload[name] = value;
    payload
}
