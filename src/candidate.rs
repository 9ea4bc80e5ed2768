//! A candidate: a second policy that is decided beside the one in force and changes nothing.
//!
//! Both policies see one request through one host, which is asked each question once, so that a candidate costs computing and
//! no host calls. What a candidate counts for its rate limits and remembers is its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::authorize::decide;
use crate::config::Policy;
use crate::decision::{Allow, Decision, Reason, Rule};
use crate::memory::Memory;
use crate::proxy::{Hash, HostError, Property, Proxy, Shared, SignatureCheck, Swap};
use crate::request::Request;

/// How what a candidate would have done relates to what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The request passes, and the candidate would have refused it.
    WouldDeny,
    /// The request is refused, and the candidate would have let it pass.
    WouldAllow,
    /// Both refuse it, for different reasons; or both let it pass, as different callers.
    OtherReason,
    /// No difference that a caller, an upstream or an operator could see.
    Same,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: &'static [Self] = &[Self::WouldDeny, Self::WouldAllow, Self::OtherReason, Self::Same];

    /// The word in the decision record, and the label of the counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WouldDeny => "would_deny",
            Self::WouldAllow => "would_allow",
            Self::OtherReason => "other_reason",
            Self::Same => "same",
        }
    }
}

/// What a candidate would have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The candidate's own `policy_id`.
    pub policy_id: Option<String>,
    /// Beside what was done.
    pub outcome: Outcome,
    /// Why it would have refused; `None`: it would have let the request pass.
    pub reason: Option<Reason>,
    /// The client that it recognises.
    pub client_id: Option<String>,
    /// The profile that it would have applied.
    pub profile_id: Option<Rc<str>>,
}

/// Decides about one request by the policy in force, and says what the candidate would have done. Where the request waits
/// for something (`waits`, given what is decided so far) nothing is decided yet, and the candidate is not asked.
pub fn decide_beside(
    (policy, memory): (&Policy, &Memory),
    (candidate, candidate_memory): (&Policy, &Memory),
    request: &Request<'_>,
    host: &dyn Proxy,
    waits: impl FnOnce(&Decision) -> bool,
) -> Decision {
    let once = AskedOnce::new(host);
    let mut decision = decide(policy, memory, request, &once);
    if waits(&decision) {
        return decision;
    }
    let other = decide(candidate, candidate_memory, request, &once);
    decision.candidate = Some(Box::new(compare(candidate, &decision, &other)));
    decision
}

fn compare(policy: &Policy, decision: &Decision, candidate: &Decision) -> Verdict {
    let (done, instead) = (decision.refusal(), candidate.refusal());
    let outcome = match (done, instead) {
        (None, Some(_)) => Outcome::WouldDeny,
        (Some(_), None) => Outcome::WouldAllow,
        (Some(done), Some(instead)) if done.reason != instead.reason => Outcome::OtherReason,
        (None, None) if !is_same_caller(decision, candidate) => Outcome::OtherReason,
        _ => Outcome::Same,
    };
    Verdict {
        policy_id: policy.policy_id.clone(),
        outcome,
        reason: instead.map(|deny| deny.reason),
        client_id: candidate.caller.client_id().map(str::to_owned),
        profile_id: candidate.caller.profile_id.clone(),
    }
}

/// Is the upstream told the same of both?
fn is_same_caller(one: &Decision, other: &Decision) -> bool {
    fn told(decision: &Decision) -> Option<[Option<&str>; 4]> {
        let caller = &decision.caller;
        let is_told = matches!(decision.verdict, Ok(Allow { rule: Rule::Profile(_) }));
        is_told
            .then(|| [caller.client_id(), caller.profile_id.as_deref(), caller.principal(), caller.identity.as_deref()])
    }
    told(one) == told(other)
}

/// A host that remembers what it has answered about one request.
struct AskedOnce<'a> {
    host: &'a dyn Proxy,
    /// By the path of the property.
    properties: RefCell<Vec<(String, Option<Vec<u8>>)>>,
    now: Cell<Option<u64>>,
    monotonic: Cell<Option<u64>>,
    signature: RefCell<Option<(Signed, Option<bool>)>>,
}

/// A signature that was verified: all that the verdict depends on.
type Signed = (Hash, [Vec<u8>; 3]);

impl<'a> AskedOnce<'a> {
    const fn new(host: &'a dyn Proxy) -> Self {
        Self {
            host,
            properties: RefCell::new(Vec::new()),
            now: Cell::new(None),
            monotonic: Cell::new(None),
            signature: RefCell::new(None),
        }
    }

    fn known(&self, path: &str) -> Option<Option<Vec<u8>>> {
        let properties = self.properties.borrow();
        properties.iter().find(|(known, _)| known == path).map(|(_, value)| value.clone())
    }

    fn remember(&self, path: &str, value: Option<Vec<u8>>) {
        let mut properties = self.properties.borrow_mut();
        match properties.iter_mut().find(|(known, _)| known == path) {
            Some((_, known)) => *known = value,
            None => properties.push((path.to_owned(), value)),
        }
    }
}

/// An answer of the host, once it has given one.
fn once(known: &Cell<Option<u64>>, ask: impl FnOnce() -> Result<u64, HostError>) -> Result<u64, HostError> {
    if let Some(time) = known.get() {
        return Ok(time);
    }
    let time = ask()?;
    known.set(Some(time));
    Ok(time)
}

impl Proxy for AskedOnce<'_> {
    fn property(&self, property: Property<'_>) -> Result<Option<Vec<u8>>, HostError> {
        if let Some(value) = self.known(property.path()) {
            return Ok(value);
        }
        let value = self.host.property(property)?;
        self.remember(property.path(), value.clone());
        Ok(value)
    }

    fn leave_note(&self, name: &str, note: &[u8]) -> Result<(), HostError> {
        self.remember(name, Some(note.to_vec()));
        self.host.leave_note(name, note)
    }

    fn verify_signature(&self, check: SignatureCheck<'_>) -> Option<bool> {
        let signed = (check.hash, [check.public_key, check.signature, check.message].map(<[u8]>::to_vec));
        if let Some((known, verdict)) = &*self.signature.borrow()
            && *known == signed
        {
            return *verdict;
        }
        let verdict = self.host.verify_signature(check);
        self.signature.replace(Some((signed, verdict)));
        verdict
    }

    fn now(&self) -> Result<u64, HostError> {
        once(&self.now, || self.host.now())
    }

    fn monotonic(&self) -> Result<u64, HostError> {
        once(&self.monotonic, || self.host.monotonic())
    }

    fn shared(&self, key: &str) -> Result<Option<Shared>, HostError> {
        self.host.shared(key)
    }

    fn swap_shared(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<Swap, HostError> {
        self.host.swap_shared(key, value, version)
    }
}
