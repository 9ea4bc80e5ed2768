//! The decision record: one JSON object a request, for Envoy's access log, and the line in Envoy's own log.
//!
//! Never a certificate, a token, a claim or a query.

use serde::Serialize;

use crate::decision::{Decision, Enforcement, Rule};
use crate::request::Request;

/// What an auditor reads. A member that is not known is `null`.
#[derive(Debug, Serialize)]
struct Record<'a> {
    decision: &'static str,
    status: Option<u16>,
    reason: Option<&'static str>,
    enforcement: &'static str,
    policy_id: Option<&'a str>,
    client_id: Option<&'a str>,
    profile_id: Option<&'a str>,
    principal: Option<&'a str>,
    thumbprint: Option<String>,
    binding: Option<&'static str>,
    rule: Option<String>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    request_id: Option<&'a str>,
}

/// The record as one line of JSON.
pub fn json(policy_id: Option<&str>, request: &Request<'_>, decision: &Decision) -> String {
    let caller = &decision.caller;
    let (allow, deny) = match &decision.verdict {
        Ok(allow) => (Some(allow), None),
        Err(deny) => (None, Some(deny)),
    };
    let record = Record {
        decision: if deny.is_some() { "deny" } else { "allow" },
        status: deny.map(|deny| deny.reason.status()),
        reason: deny.map(|deny| deny.reason.code()),
        enforcement: match decision.enforcement {
            Enforcement::Enforce => "enforce",
            Enforcement::Shadow => "shadow",
        },
        policy_id,
        client_id: caller.client_id.as_deref(),
        profile_id: caller.profile_id.as_deref(),
        principal: caller.principal.as_deref(),
        thumbprint: caller.thumbprint.map(|thumbprint| thumbprint.to_string()),
        binding: caller.binding.map(|binding| binding.as_str()),
        rule: allow.map(|allow| match allow.rule {
            Rule::Bypass(index) => format!("bypass[{index}]"),
            Rule::Profile(index) => {
                format!("profiles.{}.allow[{index}]", caller.profile_id.as_deref().unwrap_or_default())
            }
        }),
        method: request.method().ok(),
        path: decision.path.as_deref(),
        request_id: request.id(),
    };
    // A struct of texts and numbers always serializes.
    serde_json::to_string(&record).unwrap_or_default()
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
