//! Something that is fetched through a cluster of Envoy's and used until it is too old.

use std::fmt;

use crate::bounds;
use crate::line::one_line;
use crate::proxy::{MILLISECOND, SECOND};

/// `user-agent` of a fetch: common firewalls of key servers refuse requests without one.
const USER_AGENT: &str = concat!("mtls-authz/", env!("CARGO_PKG_VERSION"));

/// Where it is fetched, how often, and how long it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The cluster of Envoy's configuration.
    pub cluster: String,
    /// `:authority`
    pub authority: String,
    /// `:path`
    pub path: String,
    /// Seconds between two fetches.
    pub refresh: u64,
    /// Seconds that what came is used without having been fetched again.
    pub max_stale: i64,
    /// Milliseconds that a fetch may take.
    pub timeout_ms: u32,
    /// Further headers of the request.
    pub headers: FetchHeaders,
    /// Begins the names of what the workers share about it. The same source has the same name in every policy.
    pub shared_name: String,
}

/// Names in lower case with their values, which may be secrets: they are never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FetchHeaders(pub Vec<(String, String)>);

impl fmt::Debug for FetchHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Until the next attempt after one that failed, with something in force and without.
const RETRY: u64 = 10 * SECOND;
const RETRY_WITHOUT: u64 = SECOND;

impl Fetch {
    /// The headers of the request; with the entity tag of what is there already, if there is one.
    pub fn request<'a>(&'a self, accept: &'a str, etag: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
        let fixed = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", self.authority.as_str()),
            (":path", self.path.as_str()),
            ("accept", accept),
        ];
        let further = || self.headers.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let agent = ("user-agent", USER_AGENT);
        let agent = (!further().any(|(name, _)| name == agent.0)).then_some(agent);
        let condition = etag.map(|etag| ("if-none-match", etag));
        fixed.into_iter().chain(agent).chain(condition).chain(further()).collect()
    }

    /// Nanoseconds that a fetch may take.
    pub fn patience(&self) -> u64 {
        u64::from(self.timeout_ms) * MILLISECOND
    }

    /// Nanoseconds until the next fetch after one that succeeded now: up to a tenth earlier, so that workers and proxies do
    /// not all ask at once.
    pub fn pause(&self, now: u64) -> u64 {
        let refresh = self.refresh.saturating_mul(SECOND);
        let jitter = now.checked_rem(refresh / 10).unwrap_or_default();
        refresh.saturating_sub(jitter)
    }

    /// Nanoseconds until the next attempt after one that failed.
    pub fn retry(&self, in_force: bool) -> u64 {
        let retry = if in_force { RETRY } else { RETRY_WITHOUT };
        retry.min(self.refresh.saturating_mul(SECOND).max(RETRY_WITHOUT))
    }
}

/// Why an answer with this `:status` brings nothing; empty where none came in time. The body is shown only where Envoy itself wrote
/// it: a server may repeat the secrets of a request.
pub fn useless(status: &[u8], body: &[u8]) -> String {
    let by_envoy = [&b"upstream "[..], b"no healthy upstream"].iter().any(|begin| body.starts_with(begin));
    let hint = match status {
        b"" => return "no answer came in time".to_owned(),
        _ if by_envoy => {
            let body = one_line(format_args!("{}", String::from_utf8_lossy(body)), bounds::FOREIGN_TEXT);
            let hint = match status {
                b"504" => "; the answer took longer than timeout_ms",
                _ => {
                    "; Envoy reached no endpoint of the cluster, or the TLS handshake failed: see upstream_cx_connect_fail and ssl.* among the \
                     cluster's statistics, and its transport_socket (sni, trusted_ca)"
                }
            };
            format!(" ({}){hint}", String::from_utf8_lossy(&body))
        }
        b"301" | b"302" | b"303" | b"307" | b"308" => {
            "; redirects are not followed: configure the authority and path to which it leads".to_owned()
        }
        b"401" | b"403" => "; the server, or a firewall in front of it, refuses the fetch: see \"headers\"".to_owned(),
        b"404" | b"421" => "; compare authority and path with the server's".to_owned(),
        b"429" => "; it is fetched too often: raise refresh_seconds".to_owned(),
        _ => String::new(),
    };
    let status = one_line(format_args!("{}", String::from_utf8_lossy(status)), bounds::FOREIGN_TEXT);
    format!("the status is {}{hint}", String::from_utf8_lossy(&status))
}

/// Why this body of a good answer is none of what is fetched, where that can be seen at once.
pub fn foreign_body(body: &[u8]) -> Option<&'static str> {
    match body.trim_ascii_start().first() {
        None => Some("the answer is empty"),
        Some(b'<') => Some("the answer is an HTML or XML page; compare authority and path with the server's"),
        Some(_) => None,
    }
}
