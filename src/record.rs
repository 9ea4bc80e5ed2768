//! The decision record: one JSON object a request, for Envoy's access log, and the line in Envoy's own log.
//!
//! Never a certificate, a token, a claim or a query.

use crate::certificate::Thumbprint;
use crate::decision::{Binding, Decision, Rule};
use crate::request::Request;

/// The record as one line of JSON. A member that is not known is `null`.
pub fn json(policy_id: Option<&str>, request: &Request<'_>, decision: &Decision) -> String {
    let caller = &decision.caller;
    let (allow, deny) = match &decision.verdict {
        Ok(allow) => (Some(allow), None),
        Err(deny) => (None, Some(deny)),
    };
    let profile_id = caller.profile_id.as_deref();
    let mut line = Line::new();
    line.text(r#"{"decision":"#, Some(if deny.is_some() { "deny" } else { "allow" }));
    line.number(r#","status":"#, deny.map(|deny| deny.reason.status()));
    line.text(r#","reason":"#, deny.map(|deny| deny.reason.code()));
    line.text(r#","enforcement":"#, Some(decision.enforcement.as_str()));
    line.text(r#","policy_id":"#, policy_id);
    line.text(r#","client_id":"#, caller.client_id());
    line.text(r#","profile_id":"#, profile_id);
    line.text(r#","principal":"#, caller.principal());
    line.text(r#","thumbprint":"#, caller.thumbprint.as_ref().map(Thumbprint::as_str));
    line.text(r#","binding":"#, caller.binding.map(Binding::as_str));
    line.text(r#","rule":"#, allow.map(|allow| rule(allow.rule, profile_id)).as_deref());
    line.text(r#","method":"#, request.method().ok());
    line.text(r#","path":"#, decision.path.as_deref());
    line.text(r#","request_id":"#, request.id());
    line.end()
}

/// Where a rule stands in the configuration.
fn rule(rule: Rule, profile_id: Option<&str>) -> String {
    match rule {
        Rule::Bypass(index) => ["bypass[", &index.to_string(), "]"].concat(),
        Rule::Profile(index) => {
            ["profiles.", profile_id.unwrap_or_default(), ".allow[", &index.to_string(), "]"].concat()
        }
    }
}

/// A JSON object that is being written. Every request writes one, and a general serializer takes five times as long.
struct Line(String);

impl Line {
    /// Most records fit into this, so that writing one does not move it.
    const USUAL_BYTES: usize = 768;

    fn new() -> Self {
        Self(String::with_capacity(Self::USUAL_BYTES))
    }

    /// Adds a member, of which `name` is everything before the value.
    fn text(&mut self, name: &str, value: Option<&str>) {
        self.0.push_str(name);
        match value {
            None => self.0.push_str("null"),
            Some(text) if stands_for_itself(text.as_bytes()) => {
                self.0.push('"');
                self.0.push_str(text);
                self.0.push('"');
            }
            Some(text) => self.0.push_str(&serde_json::Value::from(text).to_string()),
        }
    }

    fn number(&mut self, name: &str, value: Option<u16>) {
        self.0.push_str(name);
        match value {
            None => self.0.push_str("null"),
            Some(number) => self.0.push_str(&number.to_string()),
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Is this ASCII that needs no escapes in a JSON string (RFC 8259 section 7)? Asked of eight bytes at a time, because wasm32 has
/// nothing faster for single ones.
fn stands_for_itself(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The high bit of each byte below a limit, and perhaps of others where there is one; bytes are ASCII.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & HIGH;
    let is_plain = |word: u64| {
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        (word & HIGH) | below(word, u64::from(b' ')) | quote | backslash == 0
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words.iter().chain([&last]).all(|word| is_plain(u64::from_ne_bytes(*word)))
}

/// The line for the operator: the record, and what to look at.
pub fn log_line(record: &str, decision: &Decision) -> String {
    let note = decision.verdict.as_ref().err().and_then(|deny| deny.note.as_deref().or(deny.detail.as_deref()));
    match note {
        Some(note) => format!("{record} ({note})"),
        None => record.to_owned(),
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
        fn what_stands_for_itself_is_told_as_byte_by_byte(text in prop::collection::vec(prop_oneof![b' '..=b'~', any::<u8>()], 0..20)) {
            let expected = text.iter().all(|byte| matches!(byte, b' '..=0x7f) && !matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(stands_for_itself(&text), expected);
        }

        #[test]
        fn any_text_is_read_back_from_a_line(texts in prop::collection::vec(prop::option::of("\\PC{0,9}|[\\x00-\\x7f]{0,9}"), 0..4), number: u16) {
            let mut line = Line::new();
            line.number(r#"{"n":"#, Some(number));
            for (name, text) in ["a", "b", "c"].iter().zip(&texts) {
                line.text(&format!(r#","{name}":"#), text.as_deref());
            }
            let read: serde_json::Value = serde_json::from_str(&line.end()).unwrap();
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
