//! Certificates that were seen at work: whose they are and when they end.
//!
//! What is known stands in shared slots, one for each client, changed by compare-and-swap, so that all workers of the process
//! tell one story: a certificate is announced once and not by every worker. There are [`SLOTS`] of them; clients beyond that
//! are not in the inventory, whatever names certificates and mappings make up. A policy with a `policy_name` has slots of its
//! own, so that none fills those of another; policies without share theirs.

use der::DateTime;
use std::mem;
use std::time::Duration;

use crate::bounds;
use crate::certificate::{Certificate, Thumbprint, Validity};
use crate::config::Policy;
use crate::fingerprint::fingerprint;
use crate::line::Line;
use crate::proxy::{HostError, Proxy, Shared, Swap};

/// Clients in an inventory.
pub const SLOTS: u64 = 1024;
/// Slots that a client's name leads to, one after the other.
const PROBES: u64 = 16;
/// Attempts to change a slot. A lost attempt means that another worker's succeeded.
const ATTEMPTS: usize = 16;
/// From so many days on a warning is due once a day.
pub const WARNING_DAYS: i64 = 30;
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
    /// Was that one found to be revoked when it was presented last?
    newest_is_revoked: bool,
    /// The good one beside it that was noted last; zeros: none.
    other: [u8; 32],
    /// The end of the one that ends first, of those that were seen on `soonest_day` or the day after.
    soonest_not_after: i64,
    /// 0: none may be used.
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

/// A certificate that a client presents.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// The certificate.
    pub certificate: &'a Certificate,
    /// Is it revoked? Otherwise it is good.
    pub is_revoked: bool,
    /// Seconds since 1970.
    pub now: i64,
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
    /// Whole days until the first of the client's certificates ends that may be used; 0 once it has.
    pub fn days_left(&self, now: i64) -> Option<u64> {
        (self.soonest_day != 0).then(|| days_left(self.soonest_not_after, now))
    }

    /// Those of the client's certificates that were good when they were presented last, as far as is known: the one that lasts longest,
    /// and the one beside it that was noted last.
    pub fn good(&self) -> impl Iterator<Item = Thumbprint> {
        let newest = Some(self.newest).filter(|_| !self.newest_is_revoked);
        let other = Some(self.other).filter(|other| *other != [0; 32]);
        newest.into_iter().chain(other).map(Thumbprint::from)
    }

    fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            newest: [0; 32],
            newest_not_after: i64::MIN,
            newest_is_revoked: false,
            other: [0; 32],
            soonest_not_after: i64::MAX,
            soonest_day: 0,
            warned_day: 0,
        }
    }

    /// Takes note of a certificate that is revoked, of which nothing is to be told.
    fn revoke(&mut self, thumbprint: Thumbprint, validity: Validity) {
        if self.other == *thumbprint.hash() {
            self.other = [0; 32];
        }
        if validity.not_after > self.newest_not_after {
            self.replace_newest(thumbprint, validity);
        }
        self.newest_is_revoked |= self.newest == *thumbprint.hash();
    }

    /// Another one lasts longest. Returns the one that did before.
    fn replace_newest(&mut self, thumbprint: Thumbprint, validity: Validity) -> [u8; 32] {
        let before = mem::replace(&mut self.newest, *thumbprint.hash());
        if !self.newest_is_revoked {
            self.other = before;
        }
        self.newest_not_after = validity.not_after;
        self.newest_is_revoked = false;
        before
    }

    /// Takes note of a certificate, and tells what is new about it.
    fn take(&mut self, thumbprint: Thumbprint, validity: Validity, now: i64) -> Option<Event> {
        let (not_after, day) = (validity.not_after, now / DAY);
        // One that was not seen for a whole day is not in use any more, nor is one of a day to come, by a clock that was wrong.
        if not_after <= self.soonest_not_after || !is_near(self.soonest_day, day) {
            (self.soonest_not_after, self.soonest_day) = (not_after, day);
        }
        if self.newest == *thumbprint.hash() {
            self.newest_is_revoked = false;
            return None;
        }
        if not_after <= self.newest_not_after {
            self.other = *thumbprint.hash();
            return None;
        }
        let is_first = self.newest_not_after == i64::MIN;
        let before = self.replace_newest(thumbprint, validity);
        Some(if is_first { Event::Seen } else { Event::Changed(before.into()) })
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
        let is_revoked = [u8::from(self.newest_is_revoked)];
        [&self.newest, &self.other, numbers.as_flattened(), &is_revoked, self.client_id.as_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (newest, rest) = bytes.split_first_chunk()?;
        let (other, rest) = rest.split_first_chunk()?;
        let (numbers, rest) = rest.split_at_checked(32)?;
        let (is_revoked, client_id) = rest.split_first()?;
        let mut numbers = numbers.as_chunks().0.iter().map(|number| i64::from_le_bytes(*number));
        Some(Self {
            newest: *newest,
            newest_not_after: numbers.next()?,
            newest_is_revoked: *is_revoked != 0,
            other: *other,
            soonest_not_after: numbers.next()?,
            soonest_day: numbers.next()?,
            warned_day: numbers.next()?,
            client_id: String::from_utf8(client_id.to_vec()).ok()?,
        })
    }
}

/// Names an inventory: that of a policy with a `policy_name`, or that of all others.
pub fn table(policy: Option<&Policy>) -> String {
    let scope = policy.filter(|policy| policy.policy_name.is_some()).map(|policy| policy.scope);
    scope.map_or_else(|| "mtls_authz.certificate".to_owned(), |scope| format!("mtls_authz.certificate.{scope}"))
}

/// Takes note of a certificate. Of one whose end is unknown nothing is noted.
///
/// # Errors
/// The shared slots cannot be read or changed.
pub fn note(
    proxy: &dyn Proxy,
    table: &str,
    client_id: &str,
    sighting: Sighting<'_>,
) -> Result<Option<Noted>, HostError> {
    let Sighting { certificate, is_revoked, now } = sighting;
    let Some(validity) = certificate.validity else {
        return Ok(None);
    };
    for slot in slots_of(client_id) {
        let key = slot_name(table, slot);
        for _ in 0..ATTEMPTS {
            let shared = proxy.shared(&key)?;
            let known = shared.as_ref().and_then(|Shared { value, .. }| Entry::read(value));
            let mut events = Vec::new();
            let mut entry = match known {
                Some(entry) if entry.client_id != client_id => break,
                Some(entry) => entry,
                None => Entry::new(client_id),
            };
            if is_revoked {
                entry.revoke(certificate.thumbprint, validity);
            } else {
                events.extend(entry.take(certificate.thumbprint, validity, now));
                events.extend(entry.warn(validity, now));
            }
            let value = entry.write();
            let unchanged = shared.as_ref().is_some_and(|shared| shared.value == value);
            if unchanged || proxy.swap_shared(&key, &value, shared.map(|shared| shared.version))? == Swap::Done {
                return Ok(Some(Noted::Entry(entry, events)));
            }
        }
    }
    Ok(Some(Noted::Full))
}

/// What is known of a client.
///
/// # Errors
/// A slot cannot be read.
pub fn find(proxy: &dyn Proxy, table: &str, client_id: &str) -> Result<Option<Entry>, HostError> {
    for slot in slots_of(client_id) {
        let Some(entry) = proxy.shared(&slot_name(table, slot))?.and_then(|shared| Entry::read(&shared.value)) else {
            return Ok(None);
        };
        if entry.client_id == client_id {
            return Ok(Some(entry));
        }
    }
    Ok(None)
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

/// Whole days until this time; 0 once it is past.
pub fn days_left(not_after: i64, now: i64) -> u64 {
    u64::try_from(not_after.saturating_sub(now)).unwrap_or_default() / DAY.unsigned_abs()
}

/// The slots to which a client's name leads.
fn slots_of(client_id: &str) -> impl Iterator<Item = u64> {
    let first = fingerprint(client_id.as_bytes()) % SLOTS;
    (first..first + PROBES).map(|slot| slot % SLOTS)
}

fn slot_name(table: &str, slot: u64) -> String {
    format!("{table}.{slot}")
}
