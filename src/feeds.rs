//! Fetching the feeds of `revocation` and the key sets of `token`. One worker of the process fetches and reads what comes, and leaves
//! it for all of them in shared values: a small one that says what is in force, which each worker looks at on every tick, and
//! the list or key set itself, which is read only where it has changed. So neither a new policy nor a VM that is made anew
//! loses what is good, and it stays as old as it is.
//!
//! Policies that name the same source share what it brings. What one of them asks for (`refresh_seconds`, `timeout_ms`) must
//! not delay another, so only policies with the same settings share their attempts, in a third value; the others may fetch at
//! the same time. That does no harm: an answer counts unless one to a later request is in force.

use std::rc::Rc;

use crate::config::read_feed;
use crate::fetch::{Fetch, foreign_body, useless};
use crate::fingerprint::fingerprint;
use crate::memory::{KeyEdition, Memory};
use crate::proxy::{HostError, Proxy, SECOND, Shared, Swap, seconds};
use crate::revocation::{Crl, Current, Edition, Feed, FeedKind, InForce, Issuer, List, Unusable};
use crate::token::{KeySet, LeftOut, MAX_SET_BYTES};

/// A longer list is not read.
pub const MAX_FEED_BYTES: usize = 8 * 1024 * 1024;
/// A longer `etag` is not kept.
const MAX_ETAG_BYTES: usize = 256;
/// How long after a fetch should have ended it counts as lost, with the worker that began it.
const GRACE: u64 = SECOND;
/// How long reading a list may take, and leaving it for the other workers.
const READING: u64 = 30 * SECOND;
/// Between two fetches that tokens ask for because no key in force has signed them, however many do.
pub const COOLDOWN: u64 = 5 * SECOND;
/// Attempts to change a shared value. A lost attempt means that another worker's succeeded.
const ATTEMPTS: usize = 16;

/// What all workers know about a list or a key set. Times are those of [`Proxy::monotonic`]; 0: never.
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
    /// When the last one that failed ended.
    ended_at: u64,
    /// When the request of that one was sent.
    failed_at: u64,
    /// When the last request was sent that tokens had asked for.
    wanted_at: u64,
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
    /// Other keys are in force, and these were of no use.
    Keys(Vec<LeftOut>),
    /// What is in force is the latest.
    Unchanged,
}

/// How far the fetches of a source are.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// What this worker is to send, where a fetch is due.
    pub call: Option<Call>,
    /// When the latest request was sent that has been answered, well or not.
    pub answered: u64,
    /// Were keys taken out of force that are too old?
    pub dropped: bool,
}

/// What a worker holds of a source.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    /// A list.
    List {
        /// Its index in `revocation.feeds`.
        index: usize,
        /// What the policy says of it.
        feed: &'a Feed,
        /// The lists of this worker.
        in_force: &'a InForce,
    },
    /// Keys.
    Keys {
        /// The index of the key set.
        key_set: usize,
        /// Where this worker has them.
        memory: &'a Memory,
    },
}

/// A source of a policy, as one worker sees it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Where it is fetched.
    pub fetch: &'a Fetch,
    /// What it brings.
    pub holder: Holder<'a>,
    /// The host.
    pub proxy: &'a dyn Proxy,
}

/// What a source has brought.
enum Content {
    List(Rc<List>),
    Keys(KeySet, Vec<LeftOut>),
}

impl<'a> Watch<'a> {
    /// Of `revocation.feeds[index]`.
    pub const fn list(index: usize, feed: &'a Feed, in_force: &'a InForce, proxy: &'a dyn Proxy) -> Self {
        Self { fetch: &feed.fetch, holder: Holder::List { index, feed, in_force }, proxy }
    }

    /// Of a key set.
    pub const fn keys(key_set: usize, fetch: &'a Fetch, memory: &'a Memory, proxy: &'a dyn Proxy) -> Self {
        Self { fetch, holder: Holder::Keys { key_set, memory }, proxy }
    }

    /// Does it bring a list, and no keys?
    pub const fn is_list(&self) -> bool {
        matches!(self.holder, Holder::List { .. })
    }

    /// Whose lists it brings, if they are signed.
    pub const fn issuer(&self) -> Option<&'a Issuer> {
        match self.holder {
            Holder::List { feed: Feed { kind: FeedKind::Crl(issuer), .. }, .. } => Some(issuer),
            _ => None,
        }
    }

    /// Has nothing come yet, and do requests wait for the first?
    pub fn is_missing(&self) -> bool {
        match self.holder {
            Holder::List { index, feed, in_force } => in_force.is_awaited(index, feed),
            Holder::Keys { key_set, memory } => memory.key_edition(key_set).is_none(),
        }
    }

    /// Which version this worker has, and when that was last checked.
    pub fn current(&self) -> Option<KeyEdition> {
        match self.holder {
            Holder::List { index, in_force, .. } => {
                let of = |current: Current| KeyEdition { version: current.version, checked_at: current.checked_at };
                in_force.current(index).map(of)
            }
            Holder::Keys { key_set, memory } => memory.key_edition(key_set),
        }
    }

    /// The longest body that is read.
    pub const fn max_bytes(&self) -> usize {
        match self.holder {
            Holder::List { .. } => MAX_FEED_BYTES,
            Holder::Keys { .. } => MAX_SET_BYTES,
        }
    }

    /// Takes keys out of force that are too old; lists stay, and every request looks at their age. That keys are dropped here and not
    /// when they are used spares requests a look at the clock. Were there any?
    fn drop_stale(&self, now: u64) -> bool {
        match self.holder {
            Holder::Keys { key_set, memory }
                if memory.key_edition(key_set).is_some_and(|held| self.is_stale(held, now)) =>
            {
                memory.drop_keys(key_set);
                true
            }
            _ => false,
        }
    }

    fn is_stale(&self, held: KeyEdition, now: u64) -> bool {
        let max_stale = u64::try_from(self.fetch.max_stale).unwrap_or_default();
        now.saturating_sub(held.checked_at) >= max_stale.saturating_mul(SECOND)
    }

    /// Takes over what another worker has fetched (`now` of [`Proxy::monotonic`], here and below).
    ///
    /// # Errors
    /// The shared values cannot be read.
    pub fn take_over(self, now: u64) -> Result<(), HostError> {
        self.set_time(now);
        self.adopt(&self.state()?, now)
    }

    /// The same. Then, where a fetch is due and no other worker is about it, what to send.
    ///
    /// # Errors
    /// The shared values cannot be read or changed.
    pub fn look(self, now: u64) -> Result<Option<Call>, HostError> {
        self.progress(now, 0).map(|progress| progress.call)
    }

    /// The same, where tokens ask for an answer to a request that is sent after `wanted`; 0: none does.
    ///
    /// # Errors
    /// The shared values cannot be read or changed.
    pub fn progress(self, now: u64, wanted: u64) -> Result<Progress, HostError> {
        self.set_time(now);
        let state = self.state()?;
        self.adopt(&state, now)?;
        let dropped = self.drop_stale(now);
        let key = self.attempt_key();
        let shared = self.proxy.shared(&key)?;
        let attempt = Attempt::read(shared.as_ref());
        let answered = state.asked_at.max(attempt.failed_at);
        let is_wanted = wanted != 0 && answered <= wanted;
        let mut progress = Progress { call: None, answered, dropped };
        if !self.is_due(&state, attempt, is_wanted, now) {
            return Ok(progress);
        }
        let etag = Some(state.etag.clone()).filter(|etag| self.holds(&state) && !etag.is_empty());
        let wanted_at = if is_wanted { now } else { attempt.wanted_at };
        let claim = Attempt { claimed_at: now, wanted_at, ..attempt }.write();
        if self.proxy.swap_shared(&key, &claim, shared.map(|shared| shared.version))? == Swap::Done {
            let accept = match self.holder {
                Holder::Keys { .. } => "application/jwk-set+json, application/json",
                Holder::List { feed: Feed { kind: FeedKind::Json, .. }, .. } => "application/json",
                Holder::List { .. } => "application/pkix-crl, application/x-pem-file",
            };
            progress.call = Some(Call { accept, etag: etag.and_then(|etag| String::from_utf8(etag).ok()), claim: now });
        }
        Ok(progress)
    }

    fn set_time(&self, now: u64) {
        if let Holder::List { in_force, .. } = self.holder {
            in_force.set_time(now);
        }
    }

    fn is_due(self, state: &State, attempt: Attempt, is_wanted: bool, now: u64) -> bool {
        let fetch = self.fetch;
        // Another worker may have looked at the clock a moment later. No worker has written what is later than that.
        let is_within = |time: u64, since: u64| {
            since != 0 && since <= now.saturating_add(GRACE) && now < since.saturating_add(time)
        };
        let patience = fetch.patience().saturating_add(GRACE);
        if is_within(patience, attempt.claimed_at) || is_within(READING, attempt.came_at) {
            return false;
        }
        // The cooldown is that of tokens alone: no fetch that was due anyway may delay the first that a token asks for.
        if is_wanted && !is_within(COOLDOWN, attempt.wanted_at) {
            return true;
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
        let failed = |attempt| Attempt { claimed_at: 0, came_at: 0, ended_at: now, failed_at: claim, ..attempt };
        self.note(claim, failed)?;
        Err(problem)
    }

    /// Ends a claim of a worker that has ended: it says nothing about the next attempt.
    ///
    /// # Errors
    /// The shared values cannot be changed; the claim ends with its time.
    pub fn withdraw(self, claim: u64) -> Result<(), String> {
        self.note(claim, |_| Attempt::default())
    }

    /// Takes the answer to a claim.
    ///
    /// # Errors
    /// Why the last good list stays in force, for the operator.
    pub fn take(self, claim: u64, answer: Answer<'_>, now: u64) -> Result<Taken, String> {
        let before = self.in_time(claim)?;
        // Reading takes its time, and no worker is to take that for the end of this one.
        self.note(claim, |attempt| Attempt { came_at: now, ended_at: 0, ..attempt })?;
        let fetched = match self.read(answer, claim, &before) {
            Ok(fetched) => fetched,
            Err(problem) => return self.fail(claim, problem, now),
        };
        let (state, content) = match fetched {
            None => (State { checked_at: now, asked_at: claim, ..before.clone() }, None),
            Some(Fetched { content, edition, fingerprint }) => {
                let version = now.max(before.version.saturating_add(1));
                let etag = answer.etag.filter(|etag| etag.len() <= MAX_ETAG_BYTES).unwrap_or_default().to_vec();
                let state = State { version, checked_at: now, asked_at: claim, fingerprint, edition, etag };
                (state, Some(content))
            }
        };
        // Only a worker that could say that it is in force may leave its list there.
        if let Err(problem) = self.replace(&before, &state) {
            return self.fail(claim, problem, now);
        }
        let taken = match content {
            None => self.adopt(&state, now).map(|()| Taken::Unchanged),
            Some(content) => {
                self.put(&state, &content);
                self.leave(state.version, &content, answer.body).map(|()| match content {
                    Content::List(list) => Taken::Adopted(list.len()),
                    Content::Keys(_, left_out) => Taken::Keys(left_out),
                })
            }
        };
        // The state says when it was taken, so the attempt need not.
        self.note(claim, |attempt| Attempt { wanted_at: attempt.wanted_at, ..Attempt::default() })?;
        taken.map_err(|problem| problem.to_string())
    }

    /// What an answer brings; `None` where it is what is in force.
    fn read(self, answer: Answer<'_>, claim: u64, before: &State) -> Result<Option<Fetched>, String> {
        match answer.status {
            b"200" => {}
            // To the entity tag that was named, which is that of a list that was in force then.
            b"304" if self.holds(before) && !before.etag.is_empty() && before.checked_at <= claim => return Ok(None),
            status => return Err(useless(status, answer.body)),
        }
        if answer.body.len() > self.max_bytes() {
            let longest = self.max_bytes() / 1024;
            return Err(match longest % 1024 {
                0 => format!("it is longer than {} MiB", longest / 1024),
                _ => format!("it is longer than {longest} KiB"),
            });
        }
        if let Some(problem) = foreign_body(answer.body) {
            return Err(problem.to_owned());
        }
        let fingerprint = fingerprint(answer.body);
        if self.holds(before) && before.fingerprint == fingerprint {
            return Ok(None);
        }
        let timeless = Edition { next_update: i64::MAX, ..Edition::default() };
        let (content, edition) = match self.holder {
            Holder::Keys { .. } => {
                let (set, left_out) = KeySet::from_json(answer.body).map_err(|problem| problem.as_str().to_owned())?;
                (Content::Keys(set, left_out), timeless)
            }
            Holder::List { feed: Feed { kind: FeedKind::Json, .. }, .. } => {
                let list = read_feed(answer.body).map_err(|problem| match problem.path.as_str() {
                    "" => problem.problem,
                    _ => problem.to_string(),
                })?;
                (Content::List(Rc::new(list)), timeless)
            }
            Holder::List { feed: Feed { kind: FeedKind::Crl(issuer), .. }, .. } => {
                let now = seconds(self.proxy.now().map_err(|problem| problem.to_string())?);
                let crl = Crl::read(answer.body, issuer, self.proxy, now);
                let Crl { list, edition } = crl.map_err(|problem| problem.as_str().to_owned())?;
                if edition.is_older(&before.edition, now) {
                    return Err(Unusable::Older.as_str().to_owned());
                }
                (Content::List(Rc::new(list)), edition)
            }
        };
        Ok(Some(Fetched { content, edition, fingerprint }))
    }

    /// Has this worker what is in force? Otherwise no answer may rely on it.
    fn holds(self, state: &State) -> bool {
        self.current().is_some_and(|current| current.version == state.version)
    }

    fn adopt(self, state: &State, now: u64) -> Result<(), HostError> {
        let State { version, checked_at, .. } = *state;
        let is_keys = matches!(self.holder, Holder::Keys { .. });
        if version == 0 || (is_keys && self.is_stale(KeyEdition { version, checked_at }, now)) {
            return Ok(());
        }
        if self.holds(state) {
            self.check(state);
        } else if let Some(content) = self.shared_content(version)? {
            self.put(state, &content);
        }
        Ok(())
    }

    /// What another worker has left.
    fn shared_content(self, version: u64) -> Result<Option<Content>, HostError> {
        let shared = self.proxy.shared(&self.content_key())?;
        let read = |shared: &Shared| {
            let (of, content) = shared.value.split_first_chunk()?;
            match self.holder {
                _ if u64::from_le_bytes(*of) != version => None,
                Holder::List { .. } => List::read(content).map(|list| Content::List(Rc::new(list))),
                Holder::Keys { .. } => KeySet::from_json(content).ok().map(|(set, _)| Content::Keys(set, Vec::new())),
            }
        };
        Ok(shared.as_ref().and_then(read))
    }

    /// Takes note of when what this worker has was last checked.
    fn check(self, state: &State) {
        match self.holder {
            Holder::List { index, in_force, .. } => {
                if let Some(current) = in_force.current(index) {
                    let (checked_at, next_update) = (state.checked_at, state.edition.next_update);
                    in_force.put(index, Current { checked_at, next_update, ..current });
                }
            }
            Holder::Keys { key_set, memory } => {
                memory.date_keys(key_set, KeyEdition { version: state.version, checked_at: state.checked_at });
            }
        }
    }

    fn put(self, state: &State, content: &Content) {
        let State { version, checked_at, .. } = *state;
        match (self.holder, content) {
            (Holder::List { index, in_force, .. }, Content::List(list)) => {
                let list = Rc::clone(list);
                in_force.put(index, Current { version, list, checked_at, next_update: state.edition.next_update });
            }
            (Holder::Keys { key_set, memory }, Content::Keys(set, _)) => {
                memory.adopt_keys(key_set, set.clone());
                memory.date_keys(key_set, KeyEdition { version, checked_at });
            }
            _ => {}
        }
    }

    /// Leaves for the other workers what came, unless something else is in force by now.
    fn leave(self, version: u64, content: &Content, body: &[u8]) -> Result<(), HostError> {
        let mut value = version.to_le_bytes().to_vec();
        match content {
            Content::List(list) => list.write(&mut value),
            Content::Keys(..) => value.extend_from_slice(body),
        }
        let key = self.content_key();
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
    fn note(self, claim: u64, change: impl Fn(Attempt) -> Attempt) -> Result<(), String> {
        let note = || {
            let key = self.attempt_key();
            let shared = self.proxy.shared(&key)?;
            let attempt = Attempt::read(shared.as_ref());
            // Where another worker is faster, it has made another claim.
            if attempt.claimed_at == claim {
                self.proxy.swap_shared(&key, &change(attempt).write(), shared.map(|shared| shared.version))?;
            }
            Ok(())
        };
        note().map_err(|problem: HostError| problem.to_string())
    }

    fn key(self, what: &str) -> String {
        format!("{}.{what}", self.fetch.shared_name)
    }

    fn content_key(self) -> String {
        self.key(match self.holder {
            Holder::List { .. } => "list",
            Holder::Keys { .. } => "set",
        })
    }

    /// Of policies with the same settings.
    fn attempt_key(self) -> String {
        let fetch = self.fetch;
        self.key(&format!("{}.{}.attempt", fetch.refresh, fetch.timeout_ms))
    }
}

/// Why an answer counts for nothing, whatever it says: what came later may be in force already.
const TOO_LATE: &str = "it came so late that the answer to a later fetch is in force";

struct Fetched {
    content: Content,
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
        let Self { claimed_at, came_at, ended_at, failed_at, wanted_at } = self;
        [claimed_at, came_at, ended_at, failed_at, wanted_at].map(u64::to_le_bytes).concat()
    }

    fn read(shared: Option<&Shared>) -> Self {
        let read = |shared: &Shared| {
            let mut numbers = shared.value.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number));
            let mut next = || numbers.next();
            Some(Self {
                claimed_at: next()?,
                came_at: next()?,
                ended_at: next()?,
                failed_at: next()?,
                wanted_at: next()?,
            })
        };
        shared.and_then(read).unwrap_or_default()
    }
}
