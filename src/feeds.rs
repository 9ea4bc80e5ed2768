//! Fetching the feeds of `revocation`. One worker of the process fetches and reads a list, and leaves it for all of them in two
//! shared values: a small one that says what is in force and when the next fetch is due, which each worker looks at on
//! every tick, and the list itself, which is read only where it has changed.

use std::rc::Rc;

use crate::config::read_feed;
use crate::fetch::useless;
use crate::fingerprint::fingerprint;
use crate::proxy::{HostError, MILLISECOND, Proxy, SECOND, Shared, Swap, seconds};
use crate::revocation::{Crl, Current, Edition, Feed, FeedKind, InForce, List, OnStale, Unusable};

/// A longer list is not read.
pub const MAX_FEED_BYTES: usize = 8 * 1024 * 1024;
/// A longer `etag` is not kept.
const MAX_ETAG_BYTES: usize = 256;
/// How long after a fetch should have ended it counts as lost, with the worker that began it.
const GRACE: u64 = SECOND;
/// How long reading a list may take, likewise.
const READING: u64 = 30 * SECOND;
/// Attempts to change a shared value. A lost attempt means that another worker's succeeded.
const ATTEMPTS: usize = 16;

/// What all workers know about a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    /// Of the list in force; 0: there is none yet.
    version: u64,
    /// Nanoseconds since 1970. While a worker fetches or reads: when it counts as lost. That worker tells its own claim by it.
    due_at: u64,
    checked_at: i64,
    /// Of the bytes that came, so that the same are not read again.
    fingerprint: u64,
    edition: Edition,
    etag: Vec<u8>,
}

/// A request that this worker is to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// `accept`
    pub accept: &'static str,
    /// `if-none-match`
    pub etag: Option<String>,
    /// To be named with the answer, which is nobody's if another claim was made since.
    pub claim: u64,
}

/// What came back.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// `:status`; empty where nothing came in time.
    pub status: &'a [u8],
    /// `etag`
    pub etag: Option<&'a [u8]>,
    /// The body, as far as one byte beyond [`MAX_FEED_BYTES`].
    pub body: &'a [u8],
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// A list of so many entries is in force.
    Adopted(usize),
    /// The one in force is the latest.
    Unchanged,
}

/// A feed of a policy, as one worker sees it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Its index in `revocation.feeds`.
    pub index: usize,
    /// What the policy says of it.
    pub feed: &'a Feed,
    /// The lists of this worker.
    pub in_force: &'a InForce,
    /// The host.
    pub proxy: &'a dyn Proxy,
}

impl Watch<'_> {
    /// Is there no list yet, and does the policy refuse certificates until there is?
    pub fn is_missing(&self) -> bool {
        self.feed.on_stale == OnStale::Deny && self.in_force.current(self.index).is_none()
    }

    /// Takes over what another worker has fetched.
    ///
    /// # Errors
    /// The shared values cannot be read.
    pub fn take_over(self) -> Result<(), HostError> {
        let (_, state) = self.state()?;
        self.adopt(&state)
    }

    /// The same. Then, where a fetch is due (`now` in nanoseconds since 1970) and nobody else is about it, what to send.
    ///
    /// # Errors
    /// The shared values cannot be read or changed.
    pub fn look(self, now: u64) -> Result<Option<Call>, HostError> {
        let (shared, state) = self.state()?;
        self.adopt(&state)?;
        let holds = self.holds(&state);
        let fetch = &self.feed.fetch;
        let patience = u64::from(fetch.timeout_ms) * MILLISECOND + GRACE;
        // The clocks of two workers differ a little.
        let is_within =
            |time: u64| now < state.due_at && state.due_at <= now.saturating_add(time).saturating_add(GRACE);
        let at_work = patience.max(READING);
        // Nobody would put it off longer, but a policy with other settings, or a clock that was set back. And whoever has waited for
        // a list that nobody left waits no longer than somebody may be about it.
        let left_by = state.checked_at.saturating_add(seconds(READING));
        let may_come = holds || seconds(now) < left_by;
        let longest = if may_come { at_work.max(fetch.refresh.saturating_mul(SECOND)) } else { at_work };
        if is_within(longest) {
            return Ok(None);
        }
        let etag = Some(state.etag.clone()).filter(|etag| holds && !etag.is_empty());
        let claim = now.saturating_add(patience);
        if self.swap("state", &State { due_at: claim, ..state }.write(), shared)? == Swap::Lost {
            return Ok(None);
        }
        let accept = match self.feed.kind {
            FeedKind::Json => "application/json",
            FeedKind::Crl(_) => "application/pkix-crl, application/x-pem-file",
        };
        Ok(Some(Call { accept, etag: etag.and_then(|etag| String::from_utf8(etag).ok()), claim }))
    }

    /// Nothing came to a claim, for this reason: the next attempt is later (`now` in nanoseconds since 1970).
    ///
    /// # Errors
    /// Always: the reason.
    pub fn fail(self, claim: u64, problem: String, now: u64) -> Result<Taken, String> {
        let (shared, state) = self.claimed(claim)?;
        let due_at = now.saturating_add(self.feed.fetch.retry(self.holds(&state)));
        self.replace(&State { due_at, ..state }, shared)?;
        Err(problem)
    }

    /// Takes the answer to a claim (`now` in nanoseconds since 1970).
    ///
    /// # Errors
    /// Why the last good list stays in force, for the operator.
    pub fn take(self, claim: u64, answer: Answer<'_>, now: u64) -> Result<Taken, String> {
        let (shared, state) = self.claimed(claim)?;
        // Reading takes its time, and nobody is to take that for the end of this worker.
        let claim = now.saturating_add(READING);
        self.replace(&State { due_at: claim, ..state }, shared)?;
        let (shared, before) = self.claimed(claim)?;
        let fetched = match self.read(answer, &before, now) {
            Ok(fetched) => fetched,
            Err(problem) => return self.fail(claim, problem, now),
        };
        let checked_at = seconds(now);
        let (state, list) = match fetched {
            None => (State { checked_at, ..before }, None),
            Some(Fetched { list, edition, fingerprint }) => {
                let version = now.max(before.version.saturating_add(1));
                let etag = answer.etag.filter(|etag| etag.len() <= MAX_ETAG_BYTES).unwrap_or_default().to_vec();
                (State { version, due_at: 0, checked_at, fingerprint, edition, etag }, Some(Rc::new(list)))
            }
        };
        // When an edition ends the next one is there.
        let ends_at = u64::try_from(state.edition.next_update).unwrap_or_default().saturating_mul(SECOND);
        let fetch = &self.feed.fetch;
        let due_at = now.saturating_add(fetch.pause(now)).min(ends_at.max(now.saturating_add(fetch.retry(true))));
        let state = State { due_at, ..state };
        // Only who could say that it is in force may leave its list there.
        self.replace(&state, shared)?;
        let taken = match list {
            None => self.adopt(&state).map(|()| Taken::Unchanged),
            Some(list) => {
                self.put(&state, Rc::clone(&list));
                self.leave(state.version, &list).map(|()| Taken::Adopted(list.len()))
            }
        };
        taken.map_err(|problem| problem.to_string())
    }

    /// The list in an answer; `None` where it is the one in force.
    fn read(self, answer: Answer<'_>, before: &State, now: u64) -> Result<Option<Fetched>, String> {
        match answer.status {
            b"200" => {}
            // To the entity tag that was named; otherwise nobody asked.
            b"304" if self.holds(before) && !before.etag.is_empty() => return Ok(None),
            status => return Err(useless(status)),
        }
        if answer.body.len() > MAX_FEED_BYTES {
            return Err("it is longer than 8 MiB".to_owned());
        }
        let fingerprint = fingerprint(answer.body);
        if self.holds(before) && before.fingerprint == fingerprint {
            return Ok(None);
        }
        match &self.feed.kind {
            FeedKind::Json => {
                let list = read_feed(answer.body).map_err(|problem| match problem.path.as_str() {
                    "" => problem.problem,
                    _ => problem.to_string(),
                })?;
                let edition = Edition { next_update: i64::MAX, ..Edition::default() };
                Ok(Some(Fetched { list, edition, fingerprint }))
            }
            FeedKind::Crl(issuer) => {
                let crl = Crl::read(answer.body, issuer, self.proxy, seconds(now));
                let Crl { list, edition } = crl.map_err(|problem| problem.as_str().to_owned())?;
                if edition.is_older(&before.edition, seconds(now)) {
                    return Err(Unusable::Older.as_str().to_owned());
                }
                Ok(Some(Fetched { list, edition, fingerprint }))
            }
        }
    }

    /// Has this worker the list in force? Otherwise no answer may rely on it.
    fn holds(self, state: &State) -> bool {
        self.in_force.current(self.index).is_some_and(|current| current.version == state.version)
    }

    fn adopt(self, state: &State) -> Result<(), HostError> {
        if state.version == 0 {
            return Ok(());
        }
        let known = self.in_force.current(self.index).filter(|current| current.version == state.version);
        let list = match known {
            Some(current) => Some(current.list),
            None => {
                let shared = self.proxy.shared(&self.key("list"))?;
                shared.and_then(|shared| {
                    let (version, list) = shared.value.split_first_chunk()?;
                    (u64::from_le_bytes(*version) == state.version).then(|| List::read(list).map(Rc::new))?
                })
            }
        };
        if let Some(list) = list {
            self.put(state, list);
        }
        Ok(())
    }

    fn put(self, state: &State, list: Rc<List>) {
        let State { version, checked_at, .. } = *state;
        self.in_force.put(self.index, Current { version, list, checked_at, next_update: state.edition.next_update });
    }

    /// Leaves a list for the other workers.
    fn leave(self, version: u64, list: &List) -> Result<(), HostError> {
        let mut value = version.to_le_bytes().to_vec();
        list.write(&mut value);
        for _ in 0..ATTEMPTS {
            let before = self.proxy.shared(&self.key("list"))?;
            if self.swap("list", &value, before)? == Swap::Done {
                break;
            }
        }
        Ok(())
    }

    fn state(self) -> Result<(Option<Shared>, State), HostError> {
        let shared = self.proxy.shared(&self.key("state"))?;
        let state = shared.as_ref().and_then(|shared| State::read(&shared.value)).unwrap_or_default();
        Ok((shared, state))
    }

    /// The state, as long as nobody has claimed the feed since.
    fn claimed(self, claim: u64) -> Result<(Option<Shared>, State), String> {
        let (shared, state) = self.state().map_err(|problem| problem.to_string())?;
        if state.due_at == claim { Ok((shared, state)) } else { Err(TOO_LATE.to_owned()) }
    }

    fn replace(self, state: &State, before: Option<Shared>) -> Result<(), String> {
        match self.swap("state", &state.write(), before) {
            Ok(Swap::Done) => Ok(()),
            Ok(Swap::Lost) => Err(TOO_LATE.to_owned()),
            Err(problem) => Err(problem.to_string()),
        }
    }

    fn swap(self, what: &str, value: &[u8], before: Option<Shared>) -> Result<Swap, HostError> {
        self.proxy.swap_shared(&self.key(what), value, before.map(|shared| shared.version))
    }

    fn key(self, what: &str) -> String {
        format!("{}.{what}", self.feed.shared_name)
    }
}

/// Why an answer counts for nothing, whatever it says: what came later may be in force already.
const TOO_LATE: &str = "it came so late that another worker had begun to fetch anew";

struct Fetched {
    list: List,
    edition: Edition,
    fingerprint: u64,
}

impl State {
    fn write(&self) -> Vec<u8> {
        let State { version, due_at, checked_at, fingerprint, edition, etag } = self;
        let number = u64::try_from(edition.number.len()).unwrap_or_default();
        let times = [checked_at, &edition.this_update, &edition.next_update].map(|time| time.to_le_bytes());
        let numbers = [version, due_at, fingerprint, &number].map(|number| number.to_le_bytes());
        [numbers.as_flattened(), times.as_flattened(), &edition.number, etag].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.split_at_checked(32)?;
        let (times, rest) = rest.split_at_checked(24)?;
        let mut numbers = numbers.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number));
        let mut times = times.as_chunks().0.iter().map(|time| i64::from_le_bytes(*time));
        let (version, due_at, fingerprint) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let (checked_at, this_update, next_update) = (times.next()?, times.next()?, times.next()?);
        let (number, etag) = rest.split_at_checked(usize::try_from(numbers.next()?).ok()?)?;
        let edition = Edition { this_update, next_update, number: number.to_vec() };
        Some(Self { version, due_at, checked_at, fingerprint, edition, etag: etag.to_vec() })
    }
}
