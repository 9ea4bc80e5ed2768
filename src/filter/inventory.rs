//! Certificates seen at work: into the inventory that all workers share, and from there into the log and the gauges.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;

use lru::LruCache;

use super::gauges::Gauges;
use super::host::{self, Host};
use crate::certificate::Thumbprint;
use crate::config::Policy;
use crate::decision::{Decision, Reason};
use crate::fingerprint::{Numbers, fingerprint};
use crate::inventory::{self, DAY, Entry, Event, Noted, Sighting};
use crate::metrics::days_until_expiry;
use crate::proxy::{HostError, Proxy, SECOND, seconds};

/// After so long every gauge is set anew: days pass without requests, too.
const PUBLISH_INTERVAL: u64 = 60 * SECOND;
/// How often it is looked whether it is time to, where nothing else asks for more.
pub(super) const TICK_MILLISECONDS: u32 = 10_000;

/// Certificates of which it is remembered that the inventory has them today.
const MAX_NOTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// What a worker does for the inventory.
pub(super) struct Inventory {
    /// Where it lies.
    table: String,
    gauges: Gauges,
    published_at: Cell<Option<u64>>,
    /// The day on which a certificate was noted last, and whether it was revoked, by the beginning of its thumbprint, and whose it was
    /// where it is that of several.
    noted: RefCell<LruCache<u64, (i64, bool), Numbers>>,
}

impl Inventory {
    /// That of a policy.
    pub fn of(policy: Option<&Policy>) -> Self {
        Self {
            table: inventory::table(policy),
            gauges: Gauges::of(policy),
            published_at: Cell::default(),
            noted: RefCell::new(LruCache::with_hasher(MAX_NOTED, Numbers::default())),
        }
    }

    /// Takes note of the certificate of a known client, once a day. `false` where there is no room for that client.
    pub fn note(&self, decision: &Decision) -> bool {
        let (Some(certificate), Some(client_id), Some(now)) =
            (&decision.certificate, decision.caller.client_id(), decision.time)
        else {
            return true;
        };
        let is_revoked = matches!(&decision.verdict, Err(deny) if deny.reason == Reason::CertificateRevoked);
        // Of a certificate that several clients share each is noted.
        let sharer = decision.caller.client.as_ref().filter(|client| client.shares_certificate);
        let apart = sharer.map_or(0, |client| fingerprint(client.client_id.as_bytes()));
        self.is_noted(certificate.thumbprint, apart, is_revoked, now)
            || self.add(client_id, decision.caller.identity.as_deref(), Sighting { certificate, is_revoked, now })
    }

    // Apart from the rest, which every request runs.
    #[inline(never)]
    fn add(&self, client_id: &str, identity: Option<&str>, sighting: Sighting<'_>) -> bool {
        let Sighting { certificate, now, .. } = sighting;
        match inventory::note(&Host, &self.table, client_id, sighting) {
            Ok(Some(Noted::Entry(entry, events))) => {
                self.show(&entry, now);
                for event in events {
                    let line = inventory::line(event, client_id, identity, certificate, now);
                    let line = String::from_utf8_lossy(&line);
                    match event {
                        Event::Expiring => host::warn(format_args!("{line}")),
                        Event::Seen | Event::Changed(_) => host::info(format_args!("{line}")),
                    }
                }
                true
            }
            Ok(Some(Noted::Full)) => false,
            Ok(None) => true,
            Err(problem) => {
                host::error(format_args!("the certificate of a client is not in the inventory: {problem}"));
                true
            }
        }
    }

    /// Was it noted today, as it is? It is from now on.
    fn is_noted(&self, thumbprint: Thumbprint, apart: u64, is_revoked: bool, now: i64) -> bool {
        let beginning = thumbprint.hash().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ apart;
        let sighting = (now / DAY, is_revoked);
        let mut noted = self.noted.borrow_mut();
        match noted.get_mut(&beginning) {
            Some(before) => std::mem::replace(before, sighting) == sighting,
            None => {
                noted.put(beginning, sighting);
                false
            }
        }
    }

    fn show(&self, entry: &Entry, now: i64) {
        if let Some(days) = entry.days_left(now) {
            self.gauges.set(&days_until_expiry(&entry.client_id), days);
        }
    }

    /// Sets every gauge anew where it is time to (`now` of [`Proxy::monotonic`]).
    pub fn tick(&self, now: u64) {
        let due_at = self.published_at.get().map(|at| at.saturating_add(PUBLISH_INTERVAL));
        if due_at.is_some_and(|due_at| now < due_at) {
            return;
        }
        self.published_at.set(Some(now));
        // What was noted before this worker began, others have published.
        if due_at.is_some()
            && let Err(problem) = self.publish()
        {
            host::error(format_args!("the inventory of certificates cannot be read: {problem}"));
        }
    }

    fn publish(&self) -> Result<(), HostError> {
        let now = seconds(Host.now()?);
        for entry in inventory::entries(&Host, &self.table) {
            self.show(&entry?, now);
        }
        Ok(())
    }
}
