//! Rate limits per policy, client and profile, counted across all workers of the process.
//!
//! The generic cell rate algorithm: a limit is one number per client, the time at which its bucket is full again. These
//! numbers live in 256 shared slots, each a short list, changed by compare-and-swap. Entries whose time
//! has come are dropped, so what is kept is bounded by who is active, whatever names certificates and mappings make up.
//! All policies share the slots, whose number does not grow with that of policies, because shared values are never freed;
//! where a slot is full, the policy that has most of it gives way, so that none lifts the limits of another.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256};

use super::Scope;
use crate::decision::{Deny, Reason, Remedy};
use crate::fingerprint::Numbers;
use crate::line::Excerpt;
use crate::proxy::{Proxy, SECOND, Shared, Swap};

/// Clients remembered in one slot; beyond that the one closest to a full bucket is forgotten, of the policy that has most of
/// them.
const MAX_ENTRIES: usize = 1024;
/// Attempts to change a slot. A lost attempt means that another worker's succeeded.
const MAX_ATTEMPTS: usize = 256;
/// Of an entry's key, whose policy's it is.
const TAG_BYTES: usize = 4;
const KEY_BYTES: usize = 16;
const ENTRY_BYTES: usize = KEY_BYTES + 8;

/// A limit: `requests` per `per_seconds`, of which `burst` may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Nanoseconds in which one request is earned.
    interval: u64,
    /// Nanoseconds in which the whole burst is earned.
    window: u64,
}

impl RateLimit {
    /// `None` where a number is zero or the product too large to count.
    pub fn new(requests: u64, per_seconds: u64, burst: u64) -> Option<Self> {
        let interval = per_seconds.checked_mul(SECOND)?.checked_div(requests)?;
        let window = interval.checked_mul(burst)?;
        // A tenth of the clock's range leaves room for every sum below.
        (interval > 0 && window > 0 && window < u64::MAX / 10).then_some(Self { interval, window })
    }

    /// Takes one request out of a client's bucket.
    ///
    /// # Errors
    /// 429 `rate_limited` with the seconds to wait; 500 `internal_error` where the shared count cannot be kept.
    pub fn take(self, proxy: &dyn Proxy, scope: Scope, profile: &str, client: &str) -> Result<(), Deny> {
        let key = Key::of(scope, profile, client);
        let now = proxy.monotonic()?;
        for _ in 0..MAX_ATTEMPTS {
            let shared = proxy.shared(&key.slot)?;
            let (value, version) = match &shared {
                Some(Shared { value, version }) => (value.as_slice(), Some(*version)),
                None => (&[][..], None),
            };
            let changed = self.take_from(value, &key.entry, now).map_err(|deny| {
                let note = format!("{self} is used up: profile {profile:?}, client {}", Excerpt(client.as_bytes()));
                deny.with_note(note)
            })?;
            if proxy.swap_shared(&key.slot, &changed, version)? == Swap::Done {
                return Ok(());
            }
        }
        Err(Deny::new(Reason::InternalError).with_note("the shared rate limit could not be changed"))
    }

    /// The slot's new value.
    fn take_from(self, slot: &[u8], key: &[u8; KEY_BYTES], now: u64) -> Result<Vec<u8>, Deny> {
        let mut entries: Vec<(&[u8], u64)> = entries(slot).filter(|(_, full_at)| *full_at > now).collect();
        let full_at = match entries.iter().position(|(other, _)| other == key) {
            // An earlier version of the policy with a larger window must not lock a client out for longer than this one's.
            Some(place) => entries.swap_remove(place).1.min(now.saturating_add(self.window)),
            None => now,
        };
        let full_at = full_at.saturating_add(self.interval);
        let excess = full_at.saturating_sub(now.saturating_add(self.window));
        if excess > 0 {
            return Err(Deny::new(Reason::RateLimited).with_remedy(Remedy::RetryAfter(excess.div_ceil(SECOND))));
        }
        if entries.len() >= MAX_ENTRIES
            && let Some(place) = least_missed(&entries)
        {
            entries.swap_remove(place);
        }
        entries.push((key, full_at));
        let mut value = Vec::with_capacity(entries.len() * ENTRY_BYTES);
        for (key, full_at) in entries {
            value.extend_from_slice(key);
            value.extend_from_slice(&full_at.to_le_bytes());
        }
        Ok(value)
    }
}

/// The entry to forget: of the policy that has most of them, the one closest to a full bucket.
fn least_missed(entries: &[(&[u8], u64)]) -> Option<usize> {
    let tag = |key: &[u8]| key.first_chunk().map_or(0, |tag: &[u8; TAG_BYTES]| u32::from_le_bytes(*tag));
    let mut counts = HashMap::<u32, usize, Numbers>::default();
    for (key, _) in entries {
        *counts.entry(tag(key)).or_default() += 1;
    }
    // Of two with as many, the same whatever the order of the table.
    let (most, _) = counts.into_iter().max_by_key(|(tag, count)| (*count, *tag))?;
    let of_most = entries.iter().enumerate().filter(|(_, (key, _))| tag(key) == most);
    of_most.min_by_key(|(_, (_, full_at))| *full_at).map(|(place, _)| place)
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interval, window } = self;
        let burst = window.checked_div(*interval).unwrap_or_default();
        match interval / 1_000_000 {
            0 => write!(f, "the limit of {} requests a second, {burst} at once,", SECOND.div_ceil(*interval)),
            milliseconds => write!(f, "the limit of one request in {milliseconds} ms, {burst} at once,"),
        }
    }
}

struct Key {
    slot: String,
    entry: [u8; KEY_BYTES],
}

impl Key {
    fn of(scope: Scope, profile: &str, client: &str) -> Self {
        let scope = scope.as_bytes();
        // Neither name can hold a NUL, so no two pairs are joined to the same text.
        let names = Sha256::new().chain_update(scope).chain_update(profile).chain_update([0]).chain_update(client);
        let digest = names.finalize();
        let mut entry = [0; KEY_BYTES];
        for (to, from) in entry.iter_mut().zip(scope.iter().take(TAG_BYTES).chain(&digest)) {
            *to = *from;
        }
        Self { slot: slot_name(digest.last().copied().unwrap_or_default()), entry }
    }
}

fn slot_name(slot: u8) -> String {
    format!("mtls_authz.rate_limit.{slot}")
}

fn entries(slot: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    slot.chunks_exact(ENTRY_BYTES).filter_map(|entry| {
        let (key, full_at) = entry.split_at_checked(KEY_BYTES)?;
        Some((key, u64::from_le_bytes(full_at.try_into().ok()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000 * SECOND;

    /// Requests at these milliseconds, one client: which are let through, or how long to wait.
    fn outcomes(limit: RateLimit, milliseconds: &[u64]) -> Vec<Result<(), u64>> {
        let mut slot = Vec::new();
        milliseconds
            .iter()
            .map(|at| match limit.take_from(&slot, &[7; KEY_BYTES], START + at * 1_000_000) {
                Ok(changed) => {
                    slot = changed;
                    Ok(())
                }
                Err(Deny { remedy: Remedy::RetryAfter(seconds), .. }) => Err(seconds),
                Err(other) => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_holds() {
        let limit = RateLimit::new(1, 2, 3).unwrap();
        assert_eq!(
            outcomes(limit, &[0, 0, 0, 0, 1_000, 2_000, 2_000, 6_000, 6_000, 6_000]),
            [Ok(()), Ok(()), Ok(()), Err(2), Err(1), Ok(()), Err(2), Ok(()), Ok(()), Err(2)]
        );
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let limit = RateLimit::new(1, 1, 1).unwrap();
        assert_eq!(outcomes(limit, &[0, 100, 200, 999, 1_000]), [Ok(()), Err(1), Err(1), Err(1), Ok(())]);
    }

    #[test]
    fn an_earlier_version_with_a_larger_window_locks_no_client_out_for_longer_than_the_present_one() {
        let (earlier, limit) = (RateLimit::new(1, 3_600, 1).unwrap(), RateLimit::new(1, 1, 2).unwrap());
        let slot = earlier.take_from(&[], &[1; KEY_BYTES], START).unwrap();
        let refused = limit.take_from(&slot, &[1; KEY_BYTES], START).unwrap_err();
        assert_eq!(refused.remedy, Remedy::RetryAfter(1));
    }

    #[test]
    fn idle_clients_are_forgotten_and_the_slot_is_bounded() {
        let limit = RateLimit::new(1, 1, 5).unwrap();
        let mut slot = Vec::new();
        for client in 0..u64::try_from(MAX_ENTRIES).unwrap() + 10 {
            let mut key = [0; KEY_BYTES];
            key[..8].copy_from_slice(&client.to_le_bytes());
            slot = limit.take_from(&slot, &key, START).unwrap();
        }
        assert_eq!(slot.len(), MAX_ENTRIES * ENTRY_BYTES);
        for later in [SECOND, 2 * SECOND] {
            let later = limit.take_from(&slot, &[9; KEY_BYTES], START + later).unwrap();
            assert_eq!(later.len(), ENTRY_BYTES);
        }
    }

    #[test]
    fn a_policy_that_fills_a_slot_lifts_no_limit_of_another() {
        let (short, long) = (RateLimit::new(1, 1, 2).unwrap(), RateLimit::new(1, 1_000_000, 1).unwrap());
        let ours = Key::of(Scope::named("ours"), "partner", "acme").entry;
        let mut slot = Vec::new();
        for _ in 0..2 {
            slot = short.take_from(&slot, &ours, START).unwrap();
        }
        for client in 0..2 * MAX_ENTRIES {
            let theirs = Key::of(Scope::named("theirs"), "partner", &client.to_string()).entry;
            slot = long.take_from(&slot, &theirs, START).unwrap();
        }
        assert_eq!(slot.len(), MAX_ENTRIES * ENTRY_BYTES);
        assert!(short.take_from(&slot, &ours, START).is_err());
    }

    #[test]
    fn a_limit_without_meaning_is_refused() {
        for (requests, per_seconds, burst) in
            [(0, 1, 1), (1, 0, 1), (1, 1, 0), (u64::MAX, 1, 1), (1, u64::MAX, 1), (1, 1_000, u64::MAX)]
        {
            assert_eq!(RateLimit::new(requests, per_seconds, burst), None);
        }
    }

    #[test]
    fn a_slot_is_ours_by_name_and_an_entry_one_clients_in_one_profile() {
        let scope = Scope::named("a");
        let (one, again) = (Key::of(scope, "partner", "acme"), Key::of(scope, "partner", "acme"));
        assert!(one.slot.starts_with("mtls_authz.rate_limit."));
        assert_eq!((&one.slot, one.entry), (&again.slot, again.entry));
        for other in [
            Key::of(scope, "partner", "globex"),
            Key::of(scope, "auditor", "acme"),
            Key::of(scope, "partne", "racme"),
            Key::of(Scope::named("b"), "partner", "acme"),
            Key::of(Scope::anonymous("a"), "partner", "acme"),
        ] {
            assert_ne!(other.entry, one.entry);
        }
    }

    #[test]
    fn clients_spread_over_256_slots() {
        let slot = |client: u32| Key::of(Scope::named("a"), "partner", &client.to_string()).slot;
        let slots: std::collections::BTreeSet<String> = (0..10_000).map(slot).collect();
        assert_eq!(slots.len(), 256);
    }

    #[test]
    fn garbage_in_a_slot_is_no_panic() {
        let limit = RateLimit::new(1, 1, 1).unwrap();
        for length in 0..100 {
            limit.take_from(&vec![0xff; length], &[1; KEY_BYTES], START).unwrap();
        }
    }
}
