//! Where something is fetched: `token.jwks_uri`, and each of `revocation.feeds`.

use sha2::{Digest, Sha256};

use super::ConfigError;
use super::value::{Named, Value, object};
use crate::fetch::{Fetch, FetchHeaders};

/// More further headers are refused.
const MAX_HEADERS: usize = 16;
/// Bytes of a header's value.
const MAX_VALUE: usize = 4096;

/// Headers that a fetch has already, or that say how its connection is used.
const OWN_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

object! {
    #[derive(Debug)]
    pub(super) struct RawFetch {
        cluster: String = required(Value::text),
        authority: String = required(Value::text),
        path: String = required(Value::text),
        refresh_seconds: Option<u32> = optional(Value::u32),
        max_stale_seconds: Option<u32> = optional(Value::u32),
        timeout_ms: Option<u32> = optional(Value::u32),
        headers: Named<Secret> = named(Secret::read),
    }
}

/// A text that is never shown, not even where it is wrong; `None`: something else than a text.
pub(super) struct Secret(Option<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Secret {
    pub fn read(value: Value<'_>) -> Self {
        Self(value.is_text().then(|| value.text()))
    }
}

/// What differs between the things that are fetched.
pub(super) struct Defaults {
    /// What was expected as a path.
    pub what: &'static str,
    /// `refresh_seconds`
    pub refresh: u32,
    /// `max_stale_seconds`
    pub max_stale: u32,
    /// The kind of what is shared.
    pub kind: &'static str,
    /// In which form it is shared.
    pub format: &'static str,
}

/// `at`: where in the configuration it stands. `verified_with`: whatever else decides what is made of an answer.
pub(super) fn compile(
    at: &str,
    raw: RawFetch,
    defaults: Defaults,
    verified_with: Option<&str>,
) -> Result<Fetch, ConfigError> {
    let path = |key: &str| format!("{at}.{key}");
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if raw.cluster.is_empty() {
        return Err(ConfigError::new(path("cluster"), raw.cluster, "the name of a cluster in Envoy's configuration"));
    }
    if !visible(&raw.authority) {
        return Err(ConfigError::new(path("authority"), raw.authority, "the host that serves it"));
    }
    if !visible(&raw.path) || !raw.path.starts_with('/') {
        return Err(ConfigError::new(path("path"), raw.path, defaults.what));
    }
    let refresh = raw.refresh_seconds.unwrap_or(defaults.refresh);
    let max_stale = raw.max_stale_seconds.unwrap_or(defaults.max_stale);
    let timeout_ms = raw.timeout_ms.unwrap_or(2_000);
    if refresh == 0 {
        return Err(ConfigError::new(path("refresh_seconds"), refresh, "at least 1"));
    }
    if max_stale < refresh {
        let expected = format!("at least refresh_seconds ({refresh})");
        return Err(ConfigError::new(path("max_stale_seconds"), max_stale, expected));
    }
    if !(1..=60_000).contains(&timeout_ms) {
        return Err(ConfigError::new(path("timeout_ms"), timeout_ms, "1 to 60000"));
    }
    let headers = headers(&path("headers"), raw.headers)?;
    let source = [&raw.cluster, &raw.authority, &raw.path, verified_with.unwrap_or_default()];
    let shared_name = shared_name(&defaults, source, &headers);
    Ok(Fetch {
        headers,
        shared_name,
        cluster: raw.cluster,
        authority: raw.authority,
        path: raw.path,
        refresh: u64::from(refresh),
        max_stale: i64::from(max_stale),
        timeout_ms,
    })
}

/// Further headers, which may be secrets: messages say their names alone.
fn headers(at: &str, raw: Named<Secret>) -> Result<FetchHeaders, ConfigError> {
    if raw.len() > MAX_HEADERS {
        return Err(ConfigError::new(at, raw.len(), format!("at most {MAX_HEADERS} headers")));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, Secret(value)) in raw {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let lower = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(ConfigError::new(at, name, "the name of a header"));
        }
        if OWN_HEADERS.contains(&lower.as_str()) {
            return Err(ConfigError::new(at, name, "a header that is not written by the filter or by Envoy"));
        }
        let Err(place) = headers.binary_search_by(|(other, _)| other.cmp(&lower)) else {
            return Err(ConfigError::new(at, name, "each header once, in whatever letter case"));
        };
        let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let value = value.unwrap_or_default();
        if value.is_empty() || value.len() > MAX_VALUE || value.trim_ascii() != value || !value.bytes().all(is_visible)
        {
            let expected =
                format!("a string of 1 to {MAX_VALUE} visible ASCII characters without a space at either end");
            let problem = format!("found another value (not shown), expected {expected}");
            return Err(ConfigError { path: format!("{at}.{name}"), problem });
        }
        headers.insert(place, (lower, value));
    }
    Ok(FetchHeaders(headers))
}

/// Begins the names of what the workers share about a source. The same source has the same name, whichever policy names it, for all
/// modules that write what it brings alike. No policy can be written so that what it fetches is taken for what another source
/// brings: headers may choose what a server answers, and so they count.
fn shared_name(defaults: &Defaults, source: [&str; 4], headers: &FetchHeaders) -> String {
    let mut digest = Sha256::new();
    let headers = headers.0.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    for part in [env!("CARGO_PKG_VERSION"), defaults.format].into_iter().chain(source).chain(headers) {
        // With its length, because a part may hold whatever separates them.
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(part);
    }
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("mtls_authz.{}.{digest}", defaults.kind)
}
