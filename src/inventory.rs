//! Certificates that were seen at work: whose they are and when they end.
//!
//! What is known stands in shared slots, one for each client, changed by compare-and-swap, so that all workers of the process
//! tell one story: a certificate is announced once and not by every worker. There are [`SLOTS`] of them; clients beyond that
//! are not in the inventory, whatever names certificates and mappings make up. A policy with a `policy_name` has slots of its
//! own, so that none fills those of another; policies without share theirs.

use der::DateTime;
use std::time::Duration;

use crate::bounds;
use crate::certificate::{Certificate, Thumbprint, Validity};
use crate::fingerprint::fingerprint;
use crate::line::Line;
use crate::policy::Scope;
use crate::proxy::{HostError, Proxy, Shared, Swap};

/// Clients in an inventory.
pub const SLOTS: u64 = 1024;
/// Slots that a client's name leads to, one after the other.
const PROBES: u64 = 16;
/// Attempts to change a slot. A lost attempt means that another worker's succeeded.
const ATTEMPTS: usize = 16;
/// From so many days on a warning is due once a day.
const WARNING_DAYS: i64 = 30;
/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// What is known of a client's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose they are.
    pub client_id: String,
    /// The one that lasts longest.
    newest: [u8; 32],
    newest_not_after: i64,
    /// The end of the one that ends first, of those that were seen on `soonest_day` or the day after.
    soonest_not_after: i64,
    soonest_day: i64,
    /// When the last warning was given.
    warned_day: i64,
}

/// What is to be told about a certificate that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The client's first.
    Seen,
    /// It lasts longer than this one, which the client used before.
    Changed(Thumbprint),
    /// It ends soon, or has ended.
    Expiring,
}

impl Event {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "certificate_seen",
            Self::Changed(_) => "certificate_changed",
            Self::Expiring => "certificate_expiring",
        }
    }
}

/// What became of a sighting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted {
    /// Known now, with what is to be told, and the state of the client.
    Entry(Entry, Vec<Event>),
    /// There is no room for this client.
    Full,
}

impl Entry {
    /// Whole days until the first of the client's certificates ends; 0 once it has.
    pub fn days_left(&self, now: i64) -> u64 {
        days_left(self.soonest_not_after, now)
    }

    fn new(client_id: &str, thumbprint: Thumbprint, validity: Validity, day: i64) -> Self {
        Self {
            client_id: client_id.to_owned(),
            newest: *thumbprint.hash(),
            newest_not_after: validity.not_after,
            soonest_not_after: validity.not_after,
            soonest_day: day,
            warned_day: 0,
        }
    }

    /// Takes note of a certificate, and tells what is new about it.
    fn take(&mut self, thumbprint: Thumbprint, validity: Validity, now: i64) -> Option<Event> {
        let (not_after, day) = (validity.not_after, now / DAY);
        // One that was not seen for a whole day is not in use any more, nor is one of a day to come, by a clock that was wrong.
        if not_after <= self.soonest_not_after || !is_near(self.soonest_day, day) {
            (self.soonest_not_after, self.soonest_day) = (not_after, day);
        }
        if not_after <= self.newest_not_after {
            return None;
        }
        let before = Thumbprint::from(std::mem::replace(&mut self.newest, *thumbprint.hash()));
        self.newest_not_after = not_after;
        Some(Event::Changed(before))
    }

    fn warn(&mut self, validity: Validity, now: i64) -> Option<Event> {
        let today = now / DAY;
        let warned_today = self.warned_day >= today && is_near(self.warned_day, today);
        let due = validity.not_after < now + WARNING_DAYS * DAY && !warned_today;
        due.then(|| {
            self.warned_day = today;
            Event::Expiring
        })
    }

    fn write(&self) -> Vec<u8> {
        let numbers = [self.newest_not_after, self.soonest_not_after, self.soonest_day, self.warned_day];
        let numbers = numbers.map(i64::to_le_bytes);
        [&self.newest, numbers.as_flattened(), self.client_id.as_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (newest, rest) = bytes.split_first_chunk()?;
        let (numbers, client_id) = rest.split_at_checked(32)?;
        let mut numbers = numbers.as_chunks().0.iter().map(|number| i64::from_le_bytes(*number));
        Some(Self {
            newest: *newest,
            newest_not_after: numbers.next()?,
            soonest_not_after: numbers.next()?,
            soonest_day: numbers.next()?,
            warned_day: numbers.next()?,
            client_id: String::from_utf8(client_id.to_vec()).ok()?,
        })
    }
}

/// Names an inventory: that of a policy with a `policy_name`, or that of all others.
pub fn table(scope: Option<Scope>) -> String {
    scope.map_or_else(|| "mtls_authz.certificate".to_owned(), |scope| format!("mtls_authz.certificate.{scope}"))
}

/// Takes note of a certificate that a client uses now (seconds since 1970). Of one whose end is unknown nothing is noted.
///
/// # Errors
/// The shared slots cannot be read or changed.
pub fn note(
    proxy: &dyn Proxy,
    table: &str,
    client_id: &str,
    certificate: &Certificate,
    now: i64,
) -> Result<Option<Noted>, HostError> {
    let Some(validity) = certificate.validity else {
        return Ok(None);
    };
    let first = fingerprint(client_id.as_bytes()) % SLOTS;
    for slot in (first..first + PROBES).map(|slot| slot % SLOTS) {
        let key = slot_name(table, slot);
        for _ in 0..ATTEMPTS {
            let shared = proxy.shared(&key)?;
            let known = shared.as_ref().and_then(|Shared { value, .. }| Entry::read(value));
            let mut events = Vec::new();
            let mut entry = match known {
                Some(entry) if entry.client_id != client_id => break,
                Some(entry) => entry,
                None => {
                    events.push(Event::Seen);
                    Entry::new(client_id, certificate.thumbprint, validity, now / DAY)
                }
            };
            events.extend(entry.take(certificate.thumbprint, validity, now));
            events.extend(entry.warn(validity, now));
            let value = entry.write();
            let unchanged = shared.as_ref().is_some_and(|shared| shared.value == value);
            if unchanged || proxy.swap_shared(&key, &value, shared.map(|shared| shared.version))? == Swap::Done {
                return Ok(Some(Noted::Entry(entry, events)));
            }
        }
    }
    Ok(Some(Noted::Full))
}

/// Everything that is known.
///
/// # Errors
/// A slot cannot be read.
pub fn entries(proxy: &dyn Proxy, table: &str) -> impl Iterator<Item = Result<Entry, HostError>> {
    let slots = (0..SLOTS).map(move |slot| proxy.shared(&slot_name(table, slot)));
    slots.filter_map(|slot| slot.map(|shared| shared.and_then(|shared| Entry::read(&shared.value))).transpose())
}

/// An event as one line of JSON. Never a certificate.
pub fn line(event: Event, client_id: &str, identity: Option<&str>, certificate: &Certificate, now: i64) -> Vec<u8> {
    let mut line = Line::new();
    line.word(r#"{"event":"#, Some(event.as_str()));
    line.text(r#","client_id":"#, Some(client_id), bounds::NAME_IN_JSON);
    line.text(r#","identity":"#, identity, bounds::CERTIFICATE_TEXT);
    line.bytes(r#","thumbprint":"#, Some(certificate.thumbprint.as_bytes()), bounds::NAME);
    if let Event::Changed(before) = event {
        line.bytes(r#","previous_thumbprint":"#, Some(before.as_bytes()), bounds::NAME);
    }
    let issuer = certificate.issuer.as_ref().map(ToString::to_string);
    line.text(r#","issuer":"#, issuer.as_deref(), bounds::CERTIFICATE_TEXT);
    line.text(r#","key":"#, certificate.key.map(|key| key.to_string()).as_deref(), bounds::NAME);
    if let Some(Validity { not_after, .. }) = certificate.validity {
        let since_1970 = Duration::from_secs(u64::try_from(not_after).unwrap_or_default());
        line.text(
            r#","not_after":"#,
            DateTime::from_unix_duration(since_1970).ok().map(|end| end.to_string()).as_deref(),
            bounds::NAME,
        );
        line.add(r#","days_left":"#);
        line.number(days_left(not_after, now));
    }
    line.end()
}

/// Is it this day, or one beside it: another worker's clock may be read on the other side of midnight?
const fn is_near(day: i64, today: i64) -> bool {
    day.abs_diff(today) <= 1
}

fn days_left(not_after: i64, now: i64) -> u64 {
    u64::try_from(not_after.saturating_sub(now)).unwrap_or_default() / DAY.unsigned_abs()
}

fn slot_name(table: &str, slot: u64) -> String {
    format!("{table}.{slot}")
}
