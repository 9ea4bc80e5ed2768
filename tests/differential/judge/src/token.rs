//! What the filter makes of a token.

use std::collections::HashMap;

use mtls_authz::{Algorithm, Memory, Request, decide, verify_token};
use serde_json::{Value, json};

use crate::host::Host;
use crate::{Prepared, Result};

/// The token by itself, and the decision about each request. Everything is asked twice: of hosts that verify
/// signatures with two implementations.
pub fn answer(prepared: &Prepared, token: &str, asked: &Value) -> Result<Value> {
    let name = asked["keys"].as_str().ok_or("keys")?;
    let keys = prepared.keys.get(name).ok_or(name)?;
    let mut answers = Vec::new();
    for ring in [true, false] {
        let host = Host { certificate: None, now: 0, ring };
        let verified = match verify_token(token, keys, Algorithm::ALL, &host) {
            Ok(payload) => json!({"payload": payload}),
            Err(deny) => json!({"refused": deny.reason.code()}),
        };
        // What is remembered of a token must not change a verdict, so all requests share the memory of their policy.
        let mut memories = HashMap::new();
        let mut decisions = Vec::new();
        for question in asked["ask"].as_array().into_iter().flatten() {
            decisions.push(decision(prepared, &mut memories, token, question, ring)?);
        }
        answers.push(json!({"verified": verified, "decisions": decisions}));
    }
    Ok(answers.into())
}

fn decision<'a>(
    prepared: &Prepared,
    memories: &mut HashMap<&'a str, Memory>,
    token: &str,
    question: &'a Value,
    ring: bool,
) -> Result<Value> {
    let name = question[0].as_str().ok_or("policy")?;
    let policy = prepared.policies.get(name).ok_or(name)?;
    let certificate = match question[1].as_str() {
        Some(name) => Some(prepared.certificates.get(name).ok_or(name)?.as_slice()),
        None => None,
    };
    let now = question[2].as_u64().ok_or("seconds")?;
    let path = question[3].as_str().ok_or("path")?;
    let bearer = format!("Bearer {token}");
    let headers: [(&[u8], &[u8]); 3] =
        [(b":method", b"GET"), (b":path", path.as_bytes()), (b"authorization", bearer.as_bytes())];
    let memory = memories.entry(name).or_insert_with(|| Memory::new(&policy.token.source));
    let decision = decide(policy, memory, &Request::new(&headers), &Host { certificate, now, ring });
    Ok(json!({
        "allowed": decision.verdict.is_ok(),
        "reason": decision.verdict.as_ref().err().map(|deny| deny.reason.code()),
        "client": decision.caller.client_id(),
        "binding": decision.caller.binding.map(|binding| binding.as_str()),
    }))
}
