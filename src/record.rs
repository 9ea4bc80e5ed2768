//! The decision record: one JSON object a request, for Envoy's access log, and the line in Envoy's own log.
//!
//! Never a certificate, a token, a claim or a query.

use crate::certificate::Thumbprint;
use crate::decision::{Binding, Decision, Rule};
use crate::line::Line;
use crate::request::Request;

/// The record as one line of JSON. A member that is not known is `null`.
pub fn json(policy_id: Option<&str>, request: &Request<'_>, decision: &Decision) -> Vec<u8> {
    let caller = &decision.caller;
    let profile_id = caller.profile_id.as_deref();
    let mut line = Line::new();
    match &decision.verdict {
        Ok(_) => line.add(r#"{"decision":"allow","status":null,"reason":null"#),
        Err(deny) => {
            line.add(r#"{"decision":"deny","status":"#);
            line.number(deny.reason.status());
            line.text(r#","reason":"#, Some(deny.reason.code()));
        }
    }
    line.text(r#","enforcement":"#, Some(decision.enforcement.as_str()));
    line.text(r#","policy_id":"#, policy_id);
    line.text(r#","client_id":"#, caller.client_id());
    line.text(r#","profile_id":"#, profile_id);
    line.text(r#","principal":"#, caller.principal());
    line.bytes(r#","thumbprint":"#, caller.thumbprint.as_ref().map(Thumbprint::as_bytes));
    line.text(r#","binding":"#, caller.binding.map(Binding::as_str));
    match &decision.verdict {
        Ok(allow) => rule(&mut line, allow.rule, profile_id),
        Err(deny) => line.text(r#","rule":"#, deny.matched.map(|matched| matched.to_string()).as_deref()),
    }
    line.text(r#","method":"#, request.method().ok());
    line.text(r#","path":"#, decision.path.as_deref());
    line.bytes(r#","request_id":"#, request.id());
    line.end()
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
            line.characters(profile_id.unwrap_or_default().as_bytes());
            line.add(".allow[");
            index
        }
    };
    line.number(index);
    line.add("]\"");
}

/// The line for the operator: the record, and what to look at.
pub fn log_line(record: &[u8], decision: &Decision) -> String {
    let note = decision.verdict.as_ref().err().and_then(|deny| deny.note.as_deref().or(deny.detail.as_deref()));
    let record = String::from_utf8_lossy(record);
    match note {
        Some(note) => format!("{record} ({note})"),
        None => record.into_owned(),
    }
}

/// How many lines a worker may still write in this second; an attacker must not be able to fill the disk.
#[derive(Debug, Default)]
pub struct LogBudget {
    second: u64,
    used: u32,
    dropped: u64,
}

impl LogBudget {
    /// Lines a worker writes in a second.
    const LINES: u32 = 100;

    /// May a line be written now (seconds since 1970)? On the first of a new second: how many were not.
    pub fn admit(&mut self, second: u64) -> Option<u64> {
        if second != self.second {
            self.second = second;
            self.used = 0;
        }
        if self.used >= Self::LINES {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_hundred_lines_and_the_next_says_how_many_are_missing() {
        let mut budget = LogBudget::default();
        let admitted = (0..150).filter(|_| budget.admit(1).is_some()).count();
        assert_eq!(admitted, 100);
        assert_eq!(budget.admit(2), Some(50));
        assert_eq!(budget.admit(2), Some(0));
    }
}
