//! Certificates that a proxy in front forwards: who is believed, about whom, and what becomes of the header.

mod headers;
mod remembered;
mod trust;

use std::borrow::Cow;

use mtls_authz::{
    Counter, Decision, Format, ForwardedCert, Header, Memory, Policy, Property, Reason, Request, UpstreamChange,
    decide, upstream_headers, upstream_trailers,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::certificates::{Leaf, Recipe, acme, at};
use crate::formats::{FORMATS, element, written};
use crate::host::Host;
use crate::proxy::{FakeProxy, NOW, headers, sent};

const ACME: &str = "spiffe://prod.example/ns/pay/sa/acme";
const EDGE: &str = "spiffe://prod.example/ns/edge/sa/proxy";
const PROXY_ADDRESS: &str = "10.1.2.3";

/// A policy with certificates from this source; a certificate alone will do.
fn json(source: &str, forwarded: Value) -> Value {
    json!({
        "mode": "mtls",
        "certificate": {"source": source, "forwarded": forwarded},
        "clients": {
            "acme": {"identities": [ACME], "profiles": ["partner"]},
            "globex": {"identities": ["cn:globex"], "profiles": ["partner"]},
            // The proxy is a client, too: nothing may take it for the caller.
            "edge": {"identities": [EDGE], "profiles": ["partner"]},
        },
        "profiles": {"partner": {"allow": [{"paths": ["/payments/**"]}]}},
        "bypass": [{"path": "/health"}],
    })
}

fn compiled(json: &Value) -> Policy {
    Policy::from_json(json.to_string().as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn policy(source: &str, forwarded: Value) -> Policy {
    compiled(&json(source, forwarded))
}

fn haproxy() -> Value {
    json!({"format": "haproxy", "header": "X-SSL-Cert", "trusted_proxies": {"cidrs": ["10.1.0.0/16"]}})
}

fn by_identity() -> Value {
    json!({"format": "haproxy", "header": "X-SSL-Cert", "trusted_proxies": {"identities": [EDGE]}})
}

fn xfcc(hop: u8) -> Value {
    json!({"format": "xfcc", "hop": hop, "trusted_proxies": {"cidrs": ["10.1.0.0/16"], "identities": [EDGE]}})
}

fn edge() -> Leaf {
    Recipe::new().uri(EDGE).issue()
}

/// A connection from an address.
fn from(address: &str) -> FakeProxy {
    FakeProxy::new().with(Property::DirectRemoteAddress, address)
}

fn ask(policy: &Policy, memory: &Memory, proxy: &FakeProxy, path: &str, more: &[(&str, &str)]) -> Decision {
    let headers = headers("GET", path, more);
    decide(policy, memory, &Request::new(&headers), proxy)
}

fn outcome(decision: &Decision) -> Result<&str, Reason> {
    match &decision.verdict {
        Ok(_) => Ok(decision.caller.client_id().unwrap_or_default()),
        Err(deny) => Err(deny.reason),
    }
}

fn once(policy: &Policy, proxy: &FakeProxy, more: &[(&str, &str)]) -> Decision {
    ask(policy, &Memory::default(), proxy, "/payments/1", more)
}
