//! The decision record: one JSON object a request, for Envoy's access log, and the line in Envoy's own log.
//!
//! Never a certificate, a token, a claim or a query.

use crate::certificate::Thumbprint;
use crate::decision::{Binding, Decision, Rule};
use crate::plain::is_plain;
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
    line.rule(decision.verdict.as_ref().ok().map(|allow| allow.rule), profile_id);
    line.text(r#","method":"#, request.method().ok());
    line.text(r#","path":"#, decision.path.as_deref());
    line.bytes(r#","request_id":"#, request.id());
    line.add("}");
    line.0
}

/// A JSON object that is being written. Every request writes one, and a general serializer takes five times as long.
struct Line(Vec<u8>);

impl Line {
    /// Most records fit into this, so that writing one does not move it.
    const USUAL_BYTES: usize = 768;

    fn new() -> Self {
        Self(Vec::with_capacity(Self::USUAL_BYTES))
    }

    fn add(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// Adds a member, of which `name` is everything before the value.
    fn text(&mut self, name: &str, value: Option<&str>) {
        self.bytes(name, value.map(str::as_bytes));
    }

    /// The same for text that need not be UTF-8.
    fn bytes(&mut self, name: &str, value: Option<&[u8]>) {
        self.add(name);
        match value {
            None => self.add("null"),
            Some(value) => {
                self.add("\"");
                self.characters(value);
                self.add("\"");
            }
        }
    }

    /// Where a rule stands in the configuration.
    fn rule(&mut self, rule: Option<Rule>, profile_id: Option<&str>) {
        let index = match rule {
            None => return self.add(r#","rule":null"#),
            Some(Rule::Bypass(index)) => {
                self.add(r#","rule":"bypass["#);
                index
            }
            Some(Rule::Profile(index)) => {
                self.add(r#","rule":"profiles."#);
                self.characters(profile_id.unwrap_or_default().as_bytes());
                self.add(".allow[");
                index
            }
        };
        self.number(index);
        self.add("]\"");
    }

    /// Inside a string.
    fn characters(&mut self, text: &[u8]) {
        if is_plain(text) {
            self.0.extend_from_slice(text);
        } else {
            let quoted = serde_json::Value::from(String::from_utf8_lossy(text)).to_string();
            self.add(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        }
    }

    fn number(&mut self, number: impl itoa::Integer) {
        self.add(itoa::Buffer::new().format(number));
    }
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_back_from_a_line(texts in prop::collection::vec(prop::option::of("\\PC{0,9}|[\\x00-\\x7f]{0,9}"), 0..4), number: u16) {
            let mut line = Line::new();
            line.add(r#"{"n":"#);
            line.number(number);
            for (name, text) in ["a", "b", "c"].iter().zip(&texts) {
                line.text(&format!(r#","{name}":"#), text.as_deref());
            }
            line.add("}");
            let read: serde_json::Value = serde_json::from_slice(&line.0).unwrap();
            prop_assert_eq!(&read["n"], number);
            for (name, text) in ["a", "b", "c"].iter().zip(&texts) {
                prop_assert_eq!(read[name].as_str(), text.as_deref());
            }
        }
    }

    #[test]
    fn a_second_has_a_hundred_lines_and_the_next_says_how_many_are_missing() {
        let mut budget = LogBudget::default();
        let admitted = (0..150).filter(|_| budget.admit(1).is_some()).count();
        assert_eq!(admitted, 100);
        assert_eq!(budget.admit(2), Some(50));
        assert_eq!(budget.admit(2), Some(0));
    }
}
