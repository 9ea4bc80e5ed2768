//! The decision record: one JSON object a request, for Envoy's access log, and the line in Envoy's own log.
//!
//! Never a certificate, a token, a claim about a person or a query.

use crate::bounds;
use crate::candidate::{Outcome, Verdict};
use crate::certificate::Thumbprint;
use crate::decision::{Binding, Decision, Reason, Rule};
use crate::line::Line;
use crate::request::Request;

/// The record as one line of JSON. A member that is not known is `null`.
pub fn json(policy_id: Option<&str>, request: &Request<'_>, decision: &Decision) -> Vec<u8> {
    let caller = &decision.caller;
    let profile_id = caller.profile_id.as_deref();
    let mut line = Line::new();
    match &decision.verdict {
        Ok(_) => line.add(r#"{"decision":"allow","status":null,"reason":null,"note":null"#),
        Err(deny) => {
            line.add(r#"{"decision":"deny","status":"#);
            line.number(deny.reason.status());
            line.word(r#","reason":"#, Some(deny.reason.code()));
            line.text(r#","note":"#, deny.note.as_deref().or(deny.detail.as_deref()), bounds::NOTE);
        }
    }
    line.word(r#","enforcement":"#, Some(decision.enforcement.as_str()));
    line.text(r#","policy_id":"#, policy_id, bounds::NAME_IN_JSON);
    line.text(r#","client_id":"#, caller.client_id(), bounds::NAME_IN_JSON);
    line.text(r#","profile_id":"#, profile_id, bounds::NAME_IN_JSON);
    line.text(r#","principal":"#, caller.principal(), bounds::NAME_IN_JSON);
    line.text(r#","identity":"#, caller.identity.as_deref(), bounds::CERTIFICATE_TEXT);
    line.bytes(r#","thumbprint":"#, caller.thumbprint.as_ref().map(Thumbprint::as_bytes), bounds::NAME);
    line.bytes(r#","token_thumbprint":"#, caller.token_thumbprint.as_ref().map(Thumbprint::as_bytes), bounds::NAME);
    line.word(r#","binding":"#, caller.binding.map(Binding::as_str));
    match &decision.verdict {
        Ok(allow) => rule(&mut line, allow.rule, profile_id),
        Err(deny) => {
            line.text(r#","rule":"#, deny.matched.map(|matched| matched.to_string()).as_deref(), bounds::NAME);
        }
    }
    line.text(r#","method":"#, request.sent_method(), bounds::METHOD);
    line.text(r#","path":"#, decision.path.as_deref(), bounds::PATH);
    line.bytes(r#","request_id":"#, request.id(), bounds::FOREIGN_TEXT);
    match decision.candidate.as_deref().filter(|verdict| verdict.outcome != Outcome::Same) {
        None => line.add(r#","candidate":null"#),
        Some(verdict) => candidate(&mut line, verdict),
    }
    line.end()
}

/// What the candidate would have done.
fn candidate(line: &mut Line, verdict: &Verdict) {
    line.word(r#","candidate":{"outcome":"#, Some(verdict.outcome.as_str()));
    line.add(r#","status":"#);
    match verdict.reason {
        Some(reason) => line.number(reason.status()),
        None => line.add("null"),
    }
    line.word(r#","reason":"#, verdict.reason.map(Reason::code));
    line.text(r#","policy_id":"#, verdict.policy_id.as_deref(), bounds::NAME_IN_JSON);
    line.text(r#","client_id":"#, verdict.client_id.as_deref(), bounds::NAME_IN_JSON);
    line.text(r#","profile_id":"#, verdict.profile_id.as_deref(), bounds::NAME_IN_JSON);
    line.add("}");
}

/// Where a rule stands in the configuration.
fn rule(line: &mut Line, rule: Rule, profile_id: Option<&str>) {
    let index = match rule {
        Rule::Bypass(index) => {
            line.add(r#","rule":"bypass["#);
            index
        }
        Rule::Profile(index) => {
            line.add(r#","rule":"profiles."#);
            line.characters(profile_id.unwrap_or_default().as_bytes(), bounds::NAME_IN_JSON);
            line.add(".allow[");
            index
        }
    };
    line.number(index);
    line.add("]\"");
}

/// The line for the operator: the record, and what to do about a refusal.
pub fn log_line(record: &[u8], decision: &Decision) -> String {
    let record = String::from_utf8_lossy(record);
    match &decision.verdict {
        Ok(_) => record.into_owned(),
        Err(deny) => format!("{record} Remedy: {}", deny.reason.remedy()),
    }
}

/// How much a worker may still write in this second; an attacker must not be able to fill the disk.
#[derive(Debug, Default)]
pub struct LogBudget {
    second: u64,
    lines: u32,
    bytes: usize,
    dropped: u64,
}

impl LogBudget {
    /// May a line of so many bytes be written now, in this second of [`Proxy::monotonic`](crate::Proxy::monotonic)? With the first one after
    /// some that may not: how many they were.
    pub fn admit(&mut self, second: u64, bytes: usize) -> Option<u64> {
        if second != self.second {
            (self.second, self.lines, self.bytes) = (second, 0, 0);
        }
        let total = self.bytes.saturating_add(bytes);
        if self.lines >= bounds::LINES_A_SECOND || total > bounds::BYTES_A_SECOND {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        (self.lines, self.bytes) = (self.lines + 1, total);
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_hundred_lines_and_the_next_says_how_many_are_missing() {
        let mut budget = LogBudget::default();
        let admitted = (0..150).filter(|_| budget.admit(1, 10).is_some()).count();
        assert_eq!(admitted, 100);
        assert_eq!(budget.admit(2, 10), Some(50));
        assert_eq!(budget.admit(2, 10), Some(0));
    }

    #[test]
    fn a_second_has_a_hundred_kibibytes_however_few_the_lines_are() {
        let mut budget = LogBudget::default();
        let admitted = (0..50).filter(|_| budget.admit(1, bounds::LINE).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(budget.admit(1, 1), None);
        assert_eq!(budget.admit(2, bounds::BYTES_A_SECOND), Some(41));
        assert_eq!(budget.admit(2, 1), None);
        assert_eq!(budget.admit(3, usize::MAX), None);
        assert_eq!(budget.admit(3, 1), Some(2), "what was too long does not stand in the way of what is not");
    }

    /// Every member as long as it can be, of characters that take as much room as they can.
    #[test]
    fn the_longest_record_is_bounded_and_still_json() {
        use crate::decision::{Allow, Caller, Deny};
        use crate::identity::Recognised;

        let long = |length: usize| "\"".repeat(length);
        let client = Recognised {
            client_id: long(9_000),
            principal: Some(long(9_000)),
            profiles: Vec::new(),
            registered: true,
            shares_certificate: false,
        };
        let caller = Caller {
            client: Some(std::rc::Rc::new(client)),
            profile_id: Some(long(9_000).into()),
            identity: Some(long(9_000).into()),
            thumbprint: Some(Thumbprint::of(b"")),
            token_thumbprint: Some(Thumbprint::of(b"")),
            binding: Some(Binding::Certificate),
        };
        let candidate = Verdict {
            policy_id: Some(long(9_000)),
            outcome: Outcome::OtherReason,
            reason: Some(Reason::TokenAlgorithmNotAllowed),
            client_id: Some(long(9_000)),
            profile_id: Some(long(9_000).into()),
        };
        let (method, id) = ("M".repeat(50_000), long(128));
        let headers = [(&b":method"[..], method.as_bytes()), (b"x-request-id", id.as_bytes())];
        let allow = Ok(Allow { rule: Rule::Profile(usize::MAX) });
        for verdict in [allow, Err(Deny::new(Reason::TokenAlgorithmNotAllowed).with_note("\n".repeat(9_000)))] {
            let is_refused = verdict.is_err();
            let decision = Decision {
                verdict,
                caller: caller.clone(),
                path: Some(long(9_000)),
                candidate: Some(Box::new(candidate.clone())),
                ..Decision::failed(Reason::RateLimited.into())
            };
            let record = json(Some(&long(256)), &Request::new(&headers), &decision);
            assert!(record.len() <= bounds::RECORD, "{}", record.len());
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
            assert_eq!(record["policy_id"], long(256), "what may be configured is whole");
            assert_eq!(record["request_id"], id);
            assert_eq!(record["method"], format!("{}…", "M".repeat(bounds::METHOD - 3)));
            assert!(record["path"].as_str().unwrap().ends_with('…'));
            assert_eq!(record["note"].as_str().is_some_and(|note| note.ends_with('…')), is_refused);
        }
    }

    #[test]
    fn a_line_holds_the_longest_record_and_every_remedy() {
        for reason in Reason::ALL {
            let line = log_line(&[b'x'; bounds::RECORD], &Decision::failed((*reason).into()));
            assert!(line.ends_with(&format!("x Remedy: {}", reason.remedy())));
            assert!(line.len() + 100 <= bounds::LINE);
        }
    }
}
