//! The answer to a refused request: RFC 9457 problem details, RFC 6750 challenges, gRPC status.

use serde_json::json;

use crate::decision::{Deny, Reason, Remedy};
use crate::request::Request;

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Problem details; for a gRPC caller the plain sentence, which becomes `grpc-message`.
    pub body: String,
    /// gRPC status, for gRPC callers.
    pub grpc_status: i32,
    /// The reason, as `%RESPONSE_CODE_DETAILS%`.
    pub code: &'static str,
}

impl Response {
    /// Says no.
    pub fn refuse(deny: &Deny, request: &Request<'_>) -> Self {
        let detail = deny.detail.as_deref().unwrap_or(deny.reason.detail());
        let status = deny.reason.status();
        let mut headers = vec![("cache-control", "no-store".to_owned())];
        if let Some(challenge) = challenge(deny, detail, request) {
            headers.push(("www-authenticate", challenge));
        }
        match &deny.remedy {
            Remedy::Methods(methods) => headers.push(("allow", methods.join(", "))),
            Remedy::RetryAfter(seconds) => headers.push(("retry-after", seconds.to_string())),
            Remedy::Scopes(_) | Remedy::None => {}
        }
        let body = if request.is_grpc() {
            detail.to_owned()
        } else {
            headers.push(("content-type", "application/problem+json".to_owned()));
            json!({
                "type": "about:blank",
                "title": title(status),
                "status": status,
                "detail": detail,
                "code": deny.reason.code(),
                "request_id": request.id().map(String::from_utf8_lossy),
            })
            .to_string()
        };
        Self { status, headers, body, grpc_status: deny.reason.grpc_status(), code: deny.reason.code() }
    }
}

/// RFC 6750 section 3: what a 401 owes the caller, and which error it names. Who sent no token is told of no error.
fn challenge(deny: &Deny, detail: &str, request: &Request<'_>) -> Option<String> {
    let error = match deny.reason {
        Reason::AuthorizationMalformed => Some("invalid_request"),
        Reason::InsufficientScope => Some("insufficient_scope"),
        reason if reason.status() != 401 => return None,
        reason => (reason.concerns_token() || request.has_bearer()).then_some("invalid_token"),
    };
    let mut challenge = "Bearer realm=\"mtls-authz\"".to_owned();
    if let Some(error) = error {
        challenge.push_str(&format!(", error=\"{error}\", error_description=\"{}\"", quotable(detail)));
    }
    if let Remedy::Scopes(scopes) = &deny.remedy {
        challenge.push_str(&format!(", scope=\"{}\"", scopes.join(" ")));
    }
    Some(challenge)
}

/// The characters of an `error_description`.
fn quotable(text: &str) -> String {
    let quotable = |character: &char| (' '..='~').contains(character) && !matches!(character, '"' | '\\');
    text.chars().filter(quotable).collect()
}

const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}
