//! Which certificates are revoked, by which list, and what that means for a request.

mod feeds;
mod lists;
mod names;
mod order;
mod shared;

use mtls_authz::{
    Answer, Certificate, Decision, Memory, Policy, Property, Reason, Request, Taken, Watch, decide, decision_record,
};
use rcgen::{SanType, SerialNumber};
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, UPTIME, headers};

const SECOND: u64 = 1_000_000_000;
/// Of the clock that is never set.
const START: u64 = UPTIME * SECOND;
const ISSUER: &str = "CN=Test CA,O=ExampleCorp";

fn policy(revocation: &Value) -> Policy {
    let policy = json!({
        "mode": "mtls",
        "revocation": revocation,
        "clients": {"acme": {"identities": ["spiffe://td/acme", "dns:by-uri.example"], "profiles": ["all"]}},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
        "bypass": [{"path": "/health"}],
    });
    Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn refused(revocation: &Value) -> String {
    let policy = json!({"revocation": revocation});
    Policy::from_json(policy.to_string()).map(|_| ()).unwrap_err().to_string()
}

/// A client with a name of each kind, and serial number 0x0a1b.
fn acme() -> Leaf {
    let email = SanType::Rfc822Name("ops@acme.example".try_into().unwrap());
    let recipe = Recipe::new().uri("spiffe://td/acme").dns("acme.example").cn("acme");
    let serial = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names.push(email);
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0x1b]));
    };
    recipe.with(serial).issue()
}

fn ask(policy: &Policy, memory: &Memory, proxy: &FakeProxy) -> Decision {
    decide(policy, memory, &Request::new(&headers("GET", "/payments", &[])), proxy)
}

fn reason(policy: &Policy, memory: &Memory, proxy: &FakeProxy) -> Option<Reason> {
    ask(policy, memory, proxy).verdict.err().map(|deny| deny.reason)
}

/// A worker that remembers nothing yet.
fn fresh() -> Memory {
    Memory::default()
}
