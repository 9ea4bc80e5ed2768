//! `upstream_headers`: under which names the upstream is told who is calling.

use super::ConfigError;
use super::raw::{RawHeader, RawUpstreamHeaders};
use crate::header_names::{Meaning, is_spelled, meaning};
use crate::request::TOKEN;
use crate::upstream::{CLIENT_CERT, SCHEME, Stripped, UpstreamHeaders};

/// Names with a meaning for the connection or for others; writing or removing them would break the request.
const RESERVED: &[&str] = &[
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// The same for whole families.
const RESERVED_PREFIXES: &[&str] = &["access-control-", "grpc-", "if-", "sec-", "x-envoy-", "x-forwarded-"];

pub(super) fn compile(raw: RawUpstreamHeaders) -> Result<UpstreamHeaders, ConfigError> {
    let mut headers = UpstreamHeaders::default();
    headers.client_id = name("client_id", raw.client_id, headers.client_id)?;
    headers.profile_id = name("profile_id", raw.profile_id, headers.profile_id)?;
    headers.principal = name("principal", raw.principal, headers.principal)?;
    headers.identity = name("identity", raw.identity, headers.identity)?;
    headers.thumbprint = name("thumbprint", raw.thumbprint, headers.thumbprint)?;
    headers.client_cert = match raw.client_cert {
        Some(RawHeader::Written(true)) => Some(CLIENT_CERT.to_owned()),
        other => name("client_cert", other, None)?,
    };
    let names: Vec<&str> = headers.names().collect();
    for (index, name) in names.iter().enumerate() {
        if names.iter().skip(index + 1).any(|other| is_spelled(other.as_bytes(), name)) {
            return Err(ConfigError::new("upstream_headers", name, "a name of its own for each header"));
        }
    }
    Ok(headers)
}

fn name(key: &str, raw: Option<RawHeader>, default: Option<String>) -> Result<Option<String>, ConfigError> {
    let name = match raw {
        None | Some(RawHeader::Written(true)) => return Ok(default),
        Some(RawHeader::Written(false) | RawHeader::Off) => return Ok(None),
        // Upstreams that take `_` for `-` would see the same header.
        Some(RawHeader::Name(name)) => name.to_ascii_lowercase().replace('_', "-"),
    };
    let overrides = matches!(meaning(name.as_bytes()), Some(Meaning::Method | Meaning::Target));
    let fits = !name.is_empty() && TOKEN.contains_all(name.as_bytes()) && !is_reserved(&name) && !overrides;
    if fits {
        Ok(Some(name))
    } else {
        let expected = "the name of a header that means nothing else, or false to leave it out";
        Err(ConfigError::new(format!("upstream_headers.{key}"), name, expected))
    }
}

/// What a request cannot do without: its host, how its body is sent and read, what the connection is to become.
const NEEDED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `strip_headers`: names, and beginnings of names that end in `*`.
pub(super) fn strip(texts: &[String]) -> Result<Vec<Stripped>, ConfigError> {
    let mut strip: Vec<Stripped> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let wrong = |expected: &str| Err(ConfigError::new(format!("strip_headers[{index}]"), text, expected));
        let family = text.strip_suffix('*');
        let name = family.unwrap_or(text);
        if name.is_empty() || name.contains('*') || !TOKEN.contains_all(name.as_bytes()) {
            return wrong("the name of a header such as X-Caller, or the beginning of names such as X-Caller-*");
        }
        let entry = match family {
            Some(_) => Stripped::Family(name.to_ascii_lowercase()),
            None => Stripped::Name(name.to_ascii_lowercase()),
        };
        if entry == Stripped::Name(SCHEME.to_owned()) || NEEDED.iter().any(|needed| entry.covers(needed.as_bytes())) {
            return wrong("a header that a request can do without");
        }
        if strip.iter().any(|other| other.covers(name.as_bytes())) {
            return wrong("a header that no entry before covers");
        }
        strip.push(entry);
    }
    Ok(strip)
}

/// Does a header of this name (in lower case) mean something to the connection or to others?
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
