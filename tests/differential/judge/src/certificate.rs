//! What the filter reads in a certificate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_authz::{Certificate, Format, Memory, Request, decide};
use serde_json::{Map, Value, json};

use crate::host::Host;
use crate::{Prepared, Result};

/// One certificate in DER, and whose it is under each of the policies.
pub fn of_der(prepared: &Prepared, der: &[u8], asked: &Value) -> Result<Value> {
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    let now = asked["now"].as_u64().ok_or("now")?;
    let mut callers = Map::new();
    for name in asked["policies"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let policy = prepared.policies.get(name).ok_or(name)?;
        let headers: [(&[u8], &[u8]); 2] = [(b":method", b"GET"), (b":path", b"/")];
        let host = Host { certificate: Some(pem.as_bytes()), now, ring: false };
        let decision = decide(policy, &Memory::default(), &Request::new(&headers), &host);
        callers.insert(
            name.to_owned(),
            json!({
                "allowed": decision.verdict.is_ok(),
                "reason": decision.verdict.as_ref().err().map(|deny| deny.reason.code()),
                "identity": decision.caller.identity.as_deref(),
                "client": decision.caller.client_id(),
            }),
        );
    }
    let mut answer = said(Certificate::from_der(der).map_err(|problem| format!("{problem:?}")));
    answer["callers"] = callers.into();
    Ok(answer)
}

/// One certificate as text.
pub fn of_text(text: &[u8], asked: &Value) -> Result<Value> {
    let format = match asked["format"].as_str().ok_or("format")? {
        "any" => return Ok(said(Certificate::from_text(text).map_err(|problem| format!("{problem:?}")))),
        "rfc9440" => Format::Rfc9440,
        "nginx" => Format::Nginx,
        "haproxy" => Format::Haproxy,
        "traefik" => Format::Traefik,
        other => return Err(other.into()),
    };
    let read = format.read(text, 1);
    Ok(said(read.map(|read| read.client).map_err(|problem| format!("{problem:?}"))))
}

fn said(read: std::result::Result<Certificate, String>) -> Value {
    let certificate = match read {
        Ok(certificate) => certificate,
        Err(problem) => return json!({"refused": problem}),
    };
    json!({
        "thumbprint": certificate.thumbprint.to_hex(),
        "der": certificate.der.map(|der| STANDARD.encode(der)),
        "subject": certificate.subject.to_string(),
        "issuer": certificate.issuer.map(|issuer| issuer.to_string()),
        "not_before": certificate.validity.map(|validity| validity.not_before),
        "not_after": certificate.validity.map(|validity| validity.not_after),
        "uri": certificate.uri_sans,
        "dns": certificate.dns_sans,
        "email": certificate.email_sans,
        "ip": certificate.ip_sans.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unsuitable": certificate.unsuitable.map(|unsuitable| format!("{unsuitable:?}")),
    })
}
