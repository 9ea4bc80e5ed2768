//! `authorities`: a certificate is an authority's if that authority's key signed it.

mod algorithms;
mod configuration;
mod pins;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_authz::{Deny, Memory, Policy, Proxy, Request, decide};
use serde_json::{Value, json};

use crate::authority::*;
use crate::certificates::Leaf;
use crate::crl::{extension, name, number, sequence, tlv};
use crate::proxy::headers;

/// A policy in which `acme` is pinned by `issuers`, if there are any, with these authorities.
fn pinned(authorities: &[(&str, &Key)], issuers: Value) -> Policy {
    let authorities = authorities.iter().map(|(name, key)| ((*name).to_owned(), json!(Parts::authority(key).pem())));
    let mut client = json!({"identities": ["cn:acme"], "profiles": ["all"]});
    if issuers != json!([]) {
        client["issuers"] = issuers;
    }
    let policy = json!({
        "mode": "mtls",
        "authorities": authorities.collect::<serde_json::Map<_, _>>(),
        "clients": {"acme": client},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
    });
    read(&policy)
}

fn read(policy: &Value) -> Policy {
    Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// What becomes of a request over a connection that shows a certificate.
fn asked(policy: &Policy, memory: &Memory, host: &dyn Proxy) -> Result<(), Deny> {
    let names = headers("GET", "/", &[]);
    decide(policy, memory, &Request::new(&names), host).verdict.map(|_| ())
}
