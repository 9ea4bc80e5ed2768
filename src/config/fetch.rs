//! Where something is fetched: `token.jwks_uri`, and each of `revocation.feeds`.

use serde::Deserialize;

use super::ConfigError;
use super::strict::given;
use crate::fetch::Fetch;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFetch {
    pub cluster: String,
    pub authority: String,
    pub path: String,
    #[serde(default, deserialize_with = "given")]
    pub refresh_seconds: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    pub max_stale_seconds: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    pub timeout_ms: Option<u32>,
}

/// What differs between the things that are fetched.
pub(super) struct Defaults {
    /// What was expected as a path.
    pub what: &'static str,
    /// `refresh_seconds`
    pub refresh: u32,
    /// `max_stale_seconds`
    pub max_stale: u32,
}

/// `at`: where in the configuration it stands.
pub(super) fn compile(at: &str, raw: RawFetch, defaults: Defaults) -> Result<Fetch, ConfigError> {
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
    Ok(Fetch {
        cluster: raw.cluster,
        authority: raw.authority,
        path: raw.path,
        refresh: u64::from(refresh),
        max_stale: i64::from(max_stale),
        timeout_ms,
    })
}
