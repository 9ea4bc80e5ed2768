//! Something that is fetched through a cluster of Envoy's and used until it is too old.

use crate::bounds;
use crate::line::one_line;
use crate::proxy::{MILLISECOND, SECOND};

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
}

/// Until the next attempt after one that failed, with something in force and without.
const RETRY: u64 = 10 * SECOND;
const RETRY_WITHOUT: u64 = SECOND;

impl Fetch {
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

/// Why an answer with this `:status` brings nothing; empty where none came in time.
pub fn useless(status: &[u8]) -> String {
    match status {
        b"" => "no answer came in time".to_owned(),
        status => {
            let status = one_line(format_args!("{}", String::from_utf8_lossy(status)), bounds::FOREIGN_TEXT);
            format!("the status is {}", String::from_utf8_lossy(&status))
        }
    }
}
