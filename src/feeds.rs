//! Fetching the feeds of `revocation`. One worker of the process fetches and reads a list, and leaves it for all of them in
//! shared values: a small one that says what is in force, which each worker looks at on every tick, and the list itself,
//! which is read only where it has changed.
//!
//! Policies that name the same source share its list. What one of them asks for (`refresh_seconds`, `timeout_ms`) must not
//! delay another, so only policies with the same settings share their attempts, in a third value; the others may fetch at
//! the same time. That does no harm: an answer counts unless one to a later request is in force.

use std::rc::Rc;

use crate::config::read_feed;
use crate::fetch::useless;
use crate::fingerprint::fingerprint;
use crate::proxy::{HostError, Proxy, SECOND, Shared, Swap, seconds};
use crate::revocation::{Crl, Current, Edition, Feed, FeedKind, InForce, List, Unusable};

/// A longer list is not read.
pub const MAX_FEED_BYTES: usize = 8 * 1024 * 1024;
/// A longer `etag` is not kept.
const MAX_ETAG_BYTES: usize = 256;
/// How long after a fetch should have ended it counts as lost, with the worker that began it.
const GRACE: u64 = SECOND;
/// How long reading a list may take, and leaving it for the other workers.
const READING: u64 = 30 * SECOND;
/// Attempts to change a shared value. A lost attempt means that another worker's succeeded.
const ATTEMPTS: usize = 16;

/// What all workers know about a list. Times are those of [`Proxy::monotonic`]; 0: never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    /// Of the list in force; 0: there is none yet.
    version: u64,
    /// When it was last fetched, or said to be unchanged.
    checked_at: u64,
    /// When the request was sent that this answered.
    asked_at: u64,
    /// Of the bytes that came, so that the same are not read again.
    fingerprint: u64,
    edition: Edition,
    etag: Vec<u8>,
}

/// What the workers of policies with the same settings know about their attempts to fetch it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Attempt {
    /// When the request was sent that is under way. The worker that sent it tells its own claim by it.
    claimed_at: u64,
    /// When its answer came, as long as that is being read.
    came_at: u64,
    /// When the last one ended, well or not.
    ended_at: u64,
}

/// A request that this worker is to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// `accept`
    pub accept: &'static str,
    /// `if-none-match`
    pub etag: Option<String>,
    /// When it is sent. To be named with the answer, which counts for nothing if a later request was answered first.
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
    /// Is there no list yet, and do certificates wait for the first?
    pub fn is_missing(&self) -> bool {
        self.in_force.is_awaited(self.index, self.feed)
    }

    /// Takes over what another worker has fetched (`now` of [`Proxy::monotonic`], here and below).
    ///
    /// # Errors
    /// The shared values cannot be read.
    pub fn take_over(self, now: u64) -> Result<(), HostError> {
        self.in_force.set_time(now);
        self.adopt(&self.state()?)
    }

    /// The same. Then, where a fetch is due and no other worker is about it, what to send.
    ///
    /// # Errors
    /// The shared values cannot be read or changed.
    pub fn look(self, now: u64) -> Result<Option<Call>, HostError> {
        self.in_force.set_time(now);
        let state = self.state()?;
        self.adopt(&state)?;
        let key = self.attempt_key();
        let shared = self.proxy.shared(&key)?;
        let attempt = Attempt::read(shared.as_ref());
        if !self.is_due(&state, attempt, now) {
            return Ok(None);
        }
        let etag = Some(state.etag.clone()).filter(|etag| self.holds(&state) && !etag.is_empty());
        let claim = Attempt { claimed_at: now, ..attempt }.write();
        if self.proxy.swap_shared(&key, &claim, shared.map(|shared| shared.version))? == Swap::Lost {
            return Ok(None);
        }
        let accept = match self.feed.kind {
            FeedKind::Json => "application/json",
            FeedKind::Crl(_) => "application/pkix-crl, application/x-pem-file",
        };
        Ok(Some(Call { accept, etag: etag.and_then(|etag| String::from_utf8(etag).ok()), claim: now }))
    }

    fn is_due(self, state: &State, attempt: Attempt, now: u64) -> bool {
        let fetch = &self.feed.fetch;
        // Another worker may have looked at the clock a moment later. No worker has written what is later than that.
        let is_within = |time: u64, since: u64| {
            since != 0 && since <= now.saturating_add(GRACE) && now < since.saturating_add(time)
        };
        let patience = fetch.patience().saturating_add(GRACE);
        if is_within(patience, attempt.claimed_at) || is_within(READING, attempt.came_at) {
            return false;
        }
        let holds = self.holds(state);
        if attempt.ended_at > state.checked_at {
            // It failed.
            return !is_within(fetch.retry(holds), attempt.ended_at);
        }
        let pause = fetch.pause(state.checked_at);
        let pause = match holds {
            // When an edition ends the next one is there.
            true if self.has_ended(state) => pause.min(fetch.retry(true)),
            true => pause,
            // A list that no worker has left by now, none will leave.
            false => pause.min(READING),
        };
        !is_within(pause, state.checked_at)
    }

    /// Is the edition in force too old by its own word?
    fn has_ended(self, state: &State) -> bool {
        // Most lists say nothing about it, and then the time need not be asked for.
        state.edition.next_update != i64::MAX
            && self.proxy.now().is_ok_and(|now| state.edition.next_update <= seconds(now))
    }

    /// Nothing came to a claim, for this reason: the next attempt is later.
    ///
    /// # Errors
    /// Always: the reason.
    pub fn fail(self, claim: u64, problem: String, now: u64) -> Result<Taken, String> {
        self.note(claim, Attempt { ended_at: now, ..Attempt::default() })?;
        Err(problem)
    }

    /// Ends a claim that says nothing about the next attempt: the worker that made it has ended, or its answer is in the state.
    ///
    /// # Errors
    /// The shared values cannot be changed; the claim ends with its time.
    pub fn withdraw(self, claim: u64) -> Result<(), String> {
        self.note(claim, Attempt::default())
    }

    /// Takes the answer to a claim.
    ///
    /// # Errors
    /// Why the last good list stays in force, for the operator.
    pub fn take(self, claim: u64, answer: Answer<'_>, now: u64) -> Result<Taken, String> {
        let before = self.in_time(claim)?;
        // Reading takes its time, and no worker is to take that for the end of this one.
        self.note(claim, Attempt { claimed_at: claim, came_at: now, ended_at: 0 })?;
        let fetched = match self.read(answer, claim, &before) {
            Ok(fetched) => fetched,
            Err(problem) => return self.fail(claim, problem, now),
        };
        let (state, list) = match fetched {
            None => (State { checked_at: now, asked_at: claim, ..before.clone() }, None),
            Some(Fetched { list, edition, fingerprint }) => {
                let version = now.max(before.version.saturating_add(1));
                let etag = answer.etag.filter(|etag| etag.len() <= MAX_ETAG_BYTES).unwrap_or_default().to_vec();
                let state = State { version, checked_at: now, asked_at: claim, fingerprint, edition, etag };
                (state, Some(Rc::new(list)))
            }
        };
        // Only a worker that could say that it is in force may leave its list there.
        if let Err(problem) = self.replace(&before, &state) {
            return self.fail(claim, problem, now);
        }
        let taken = match list {
            None => self.adopt(&state).map(|()| Taken::Unchanged),
            Some(list) => {
                self.put(&state, Rc::clone(&list));
                self.leave(state.version, &list).map(|()| Taken::Adopted(list.len()))
            }
        };
        // The state says when it was taken, so the attempt need not.
        self.withdraw(claim)?;
        taken.map_err(|problem| problem.to_string())
    }

    /// The list in an answer; `None` where it is the one in force.
    fn read(self, answer: Answer<'_>, claim: u64, before: &State) -> Result<Option<Fetched>, String> {
        match answer.status {
            b"200" => {}
            // To the entity tag that was named, which is that of a list that was in force then.
            b"304" if self.holds(before) && !before.etag.is_empty() && before.checked_at <= claim => return Ok(None),
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
                let now = seconds(self.proxy.now().map_err(|problem| problem.to_string())?);
                let crl = Crl::read(answer.body, issuer, self.proxy, now);
                let Crl { list, edition } = crl.map_err(|problem| problem.as_str().to_owned())?;
                if edition.is_older(&before.edition, now) {
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

    /// Leaves a list for the other workers, unless another is in force by now.
    fn leave(self, version: u64, list: &List) -> Result<(), HostError> {
        let mut value = version.to_le_bytes().to_vec();
        list.write(&mut value);
        let key = self.key("list");
        for _ in 0..ATTEMPTS {
            let before = self.proxy.shared(&key)?.map(|shared| shared.version);
            if self.state()?.version != version || self.proxy.swap_shared(&key, &value, before)? == Swap::Done {
                break;
            }
        }
        Ok(())
    }

    fn state(self) -> Result<State, HostError> {
        Ok(State::read(self.proxy.shared(&self.key("state"))?.as_ref()))
    }

    /// The state, unless a later request than this was answered first.
    fn in_time(self, claim: u64) -> Result<State, String> {
        let state = self.state().map_err(|problem| problem.to_string())?;
        if claim >= state.asked_at { Ok(state) } else { Err(TOO_LATE.to_owned()) }
    }

    /// Changes the state, if it still is what it was.
    fn replace(self, before: &State, state: &State) -> Result<(), String> {
        let replace = || {
            let key = self.key("state");
            let shared = self.proxy.shared(&key)?;
            if State::read(shared.as_ref()) != *before {
                return Ok(Swap::Lost);
            }
            self.proxy.swap_shared(&key, &state.write(), shared.map(|shared| shared.version))
        };
        match replace() {
            Ok(Swap::Done) => Ok(()),
            Ok(Swap::Lost) => Err(TOO_LATE.to_owned()),
            Err(problem) => Err(problem.to_string()),
        }
    }

    /// Tells the workers of policies with the same settings what became of a claim, unless it was lost and another one made.
    fn note(self, claim: u64, attempt: Attempt) -> Result<(), String> {
        let note = || {
            let key = self.attempt_key();
            let shared = self.proxy.shared(&key)?;
            let is_ours = Attempt::read(shared.as_ref()).claimed_at == claim;
            // Where another worker is faster, it has made another claim.
            if is_ours {
                self.proxy.swap_shared(&key, &attempt.write(), shared.map(|shared| shared.version))?;
            }
            Ok(())
        };
        note().map_err(|problem: HostError| problem.to_string())
    }

    fn key(self, what: &str) -> String {
        format!("{}.{what}", self.feed.shared_name)
    }

    /// Of policies with the same settings.
    fn attempt_key(self) -> String {
        let fetch = &self.feed.fetch;
        self.key(&format!("{}.{}.attempt", fetch.refresh, fetch.timeout_ms))
    }
}

/// Why an answer counts for nothing, whatever it says: what came later may be in force already.
const TOO_LATE: &str = "it came so late that the answer to a later fetch is in force";

struct Fetched {
    list: List,
    edition: Edition,
    fingerprint: u64,
}

impl State {
    fn write(&self) -> Vec<u8> {
        let State { version, checked_at, asked_at, fingerprint, edition, etag } = self;
        let number = u64::try_from(edition.number.len()).unwrap_or_default();
        let times = [&edition.this_update, &edition.next_update].map(|time| time.to_le_bytes());
        let numbers = [version, checked_at, asked_at, fingerprint, &number].map(|number| number.to_le_bytes());
        [numbers.as_flattened(), times.as_flattened(), &edition.number, etag].concat()
    }

    /// What no worker has written counts as nothing.
    fn read(shared: Option<&Shared>) -> Self {
        shared.and_then(|shared| Self::parse(&shared.value)).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.split_at_checked(40)?;
        let (times, rest) = rest.split_at_checked(16)?;
        let mut numbers = numbers.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number));
        let mut times = times.as_chunks().0.iter().map(|time| i64::from_le_bytes(*time));
        let (version, checked_at, asked_at) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let fingerprint = numbers.next()?;
        let (this_update, next_update) = (times.next()?, times.next()?);
        let (number, etag) = rest.split_at_checked(usize::try_from(numbers.next()?).ok()?)?;
        let edition = Edition { this_update, next_update, number: number.to_vec() };
        Some(Self { version, checked_at, asked_at, fingerprint, edition, etag: etag.to_vec() })
    }
}

impl Attempt {
    fn write(self) -> Vec<u8> {
        let Self { claimed_at, came_at, ended_at } = self;
        [claimed_at, came_at, ended_at].map(u64::to_le_bytes).concat()
    }

    fn read(shared: Option<&Shared>) -> Self {
        let read = |shared: &Shared| {
            let mut numbers = shared.value.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number));
            Some(Self { claimed_at: numbers.next()?, came_at: numbers.next()?, ended_at: numbers.next()? })
        };
        shared.and_then(read).unwrap_or_default()
    }
}
