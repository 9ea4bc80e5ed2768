//! Says what the filter makes of certificates and tokens: one line of JSON in, one line out, in the same order.
//!
//! Lines that prepare: `{"policy": NAME, "json": CONFIGURATION}`, `{"keys": NAME, "json": JWK_SET}` and
//! `{"certificate": NAME, "pem": TEXT}`; they are answered with nothing. Lines that ask:
//!
//! - `{"der": BASE64, "now": SECONDS, "policies": [NAME]}`, and with `"text"` and `"format"` instead of `"der"`: what a
//!   certificate says, and whose each policy takes it to be.
//! - `{"token": TEXT, "keys": NAME, "ask": [[POLICY, CERTIFICATE or null, SECONDS, PATH]]}`: whether the token is signed
//!   by one of the keys and what it then says, and the decision about each request.
//!
//! A panic is an answer, too: `{"panic": true}`.

mod certificate;
mod host;
mod token;

use std::collections::HashMap;
use std::io::{self, BufRead, BufWriter, Write};
use std::panic::{self, AssertUnwindSafe};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_authz::{KeySet, Policy};
use serde_json::{Value, json};

/// What was prepared.
#[derive(Default)]
struct Prepared {
    policies: HashMap<String, Policy>,
    keys: HashMap<String, KeySet>,
    certificates: HashMap<String, Vec<u8>>,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    panic::set_hook(Box::new(|_| {}));
    let mut prepared = Prepared::default();
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        if prepare(&mut prepared, &asked)? {
            continue;
        }
        let answer = panic::catch_unwind(AssertUnwindSafe(|| answer(&prepared, &asked)));
        let answer = answer.unwrap_or_else(|_| Ok(json!({"panic": true})))?;
        writeln!(out, "{answer}")?;
    }
    Ok(out.flush()?)
}

fn prepare(prepared: &mut Prepared, asked: &Value) -> Result<bool> {
    if let (Some(name), Some(json)) = (asked["policy"].as_str(), asked.get("json")) {
        let policy = Policy::from_json(json.to_string()).map_err(|problem| format!("policy {name}: {problem}"))?;
        prepared.policies.insert(name.to_owned(), policy);
    } else if let (Some(name), Some(json)) = (asked["keys"].as_str(), asked.get("json")) {
        let (keys, _) = KeySet::from_json(json.to_string().as_bytes()).map_err(|problem| format!("{problem:?}"))?;
        prepared.keys.insert(name.to_owned(), keys);
    } else if let (Some(name), Some(pem)) = (asked["certificate"].as_str(), asked["pem"].as_str()) {
        prepared.certificates.insert(name.to_owned(), pem.as_bytes().to_vec());
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn answer(prepared: &Prepared, asked: &Value) -> Result<Value> {
    if let Some(der) = asked["der"].as_str() {
        return certificate::of_der(prepared, &decoded(der)?, asked);
    }
    if let Some(text) = asked["text"].as_str() {
        return certificate::of_text(&decoded(text)?, asked);
    }
    match asked["token"].as_str() {
        Some(token) => token::answer(prepared, token, asked),
        None => Err(format!("not a case: {asked}").into()),
    }
}

fn decoded(base64: &str) -> Result<Vec<u8>> {
    STANDARD.decode(base64).map_err(|problem| problem.to_string().into())
}
