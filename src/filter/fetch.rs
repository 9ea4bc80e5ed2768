//! Sending what fetches something, and reading what comes back.

use super::host;
use crate::fetch::Fetch;
use crate::pairs;
use crate::proxy::HostError;

/// How often fetches, what other workers have fetched, and waiting requests are looked after.
pub(super) const TICK_MILLISECONDS: u32 = 100;

/// What of the body of an answer that brings nothing is looked at.
const MAX_PROBLEM_BYTES: usize = 1024;

/// An answer to a call.
pub(super) struct Fetched {
    /// `:status`; empty where none came in time.
    pub status: Vec<u8>,
    /// `etag`
    pub etag: Option<Vec<u8>>,
    /// Up to a size.
    pub body: Vec<u8>,
}

/// Sends a request; with the entity tag of what is there already, if there is one. Returns the number of the call.
pub(super) fn send(fetch: &Fetch, accept: &str, etag: Option<&str>) -> Result<u32, HostError> {
    host::http_call(&fetch.cluster, &fetch.request(accept, etag), fetch.timeout_ms)
}

/// Reads the answer that has just come, up to a size of its body.
pub(super) fn answered(max_size: usize) -> Result<Fetched, String> {
    let bytes = host::map(host::CALL_HEADERS).map_err(|problem| problem.to_string())?;
    let headers = pairs::decode(&bytes).ok_or("its headers have an unknown form")?;
    let value = |wanted: &[u8]| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_vec());
    let status = value(b":status").unwrap_or_default();
    let body = match status.as_slice() {
        b"200" => host::call_body(max_size).map_err(|problem| problem.to_string())?,
        b"" => Vec::new(),
        // It only says more about what is wrong.
        _ => host::call_body(MAX_PROBLEM_BYTES).unwrap_or_default(),
    };
    Ok(Fetched { status, etag: value(b"etag"), body })
}
