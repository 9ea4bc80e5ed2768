//! What was compared, so that it is known that there was something to compare.

use std::collections::BTreeMap;

use mtls_authz::Decision;
use serde_json::Value;

use super::exceptions::Exception;
use super::language;
use super::requests::Less;
use super::restrictions::RESTRICTIONS;

/// Counts of everything.
#[derive(Default)]
pub struct Tally {
    pub compared: usize,
    pub policies: usize,
    /// By the message with which the configuration is refused.
    pub refused: BTreeMap<String, usize>,
    constructs: BTreeMap<&'static str, usize>,
    verdicts: BTreeMap<&'static str, usize>,
    /// How often a restriction was added.
    pub restrictions: BTreeMap<&'static str, usize>,
    /// How often it refused what passed before.
    pub bites: BTreeMap<String, usize>,
    less: BTreeMap<String, usize>,
    pub exceptions: BTreeMap<(Exception, &'static str), usize>,
}

/// The settings, and with some a value that matters.
const CONSTRUCTS: &[(&str, &str)] = &[
    ("mode", "bearer_plus_mtls_optional"),
    ("mode", "bearer_plus_mtls_required"),
    ("mode", "mtls"),
    ("enforcement", "shadow"),
    ("validation", "listener"),
    ("clock_skew_seconds", ""),
    ("source", "forwarded"),
    ("source", "connection_or_forwarded"),
    ("source", "jwks"),
    ("source", "jwt_authn"),
    ("trusted_proxies", ""),
    ("precedence", ""),
    ("trust_domains", ""),
    ("mappings", ""),
    ("profile_id", ""),
    ("client_id", ""),
    ("principal", ""),
    ("allow_unregistered", ""),
    ("require_client_headers", ""),
    ("identities", ""),
    ("issuers", ""),
    ("deny", ""),
    ("collection", ""),
    ("methods", ""),
    ("scopes", ""),
    ("upgrades", ""),
    ("source_cidrs", ""),
    ("source_address", "envoy"),
    ("rate_limit", ""),
    ("bypass", ""),
    ("required_paths", ""),
    ("audiences", ""),
    ("providers", ""),
    ("client_id_claims", ""),
    ("sha256", ""),
    ("serials", ""),
    ("encoded_slashes", "keep"),
    ("semicolons", "keep"),
    ("restrictions", "ignore_case"),
    ("override_headers", "keep"),
    ("hosts", ""),
    ("plain", ""),
    ("even_denied", ""),
    ("authorities", ""),
    ("additional", ""),
    ("unverified_authorization", ""),
];

/// Settings that the language may not have yet.
const NEWER: &[(&str, &str)] = &[("shared_identities", ""), ("token_client_ids", "")];

fn has(json: &Value, key: &str, value: &str) -> bool {
    match json {
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| (name == key && (value.is_empty() || member == value)) || has(member, key, value)),
        Value::Array(entries) => entries.iter().any(|entry| has(entry, key, value)),
        _ => false,
    }
}

impl Tally {
    pub fn count_policy(&mut self, json: &Value) {
        self.policies += 1;
        let newer = NEWER.iter().filter(|(setting, _)| language::has(setting));
        for (key, value) in CONSTRUCTS.iter().chain(newer) {
            let seen = self.constructs.entry(if value.is_empty() { key } else { value }).or_default();
            *seen += usize::from(has(json, key, value));
        }
    }

    pub fn count_verdict(&mut self, decision: &Decision) {
        let name = match &decision.verdict {
            Ok(_) => decision.caller.binding.map_or("bypass", |binding| binding.as_str()),
            Err(deny) => deny.reason.code(),
        };
        *self.verdicts.entry(name).or_default() += 1;
    }

    pub fn count_less(&mut self, less: Less) {
        self.compared += 1;
        *self.less.entry(format!("{less:?}")).or_default() += 1;
    }

    /// Everything that is generated is generated often enough.
    pub fn check(&self) {
        let refused: usize = self.refused.values().sum();
        println!("{} comparisons under {} policies; {refused} were refused", self.compared, self.policies);
        let lists = [("constructs", format!("{:?}", self.constructs)), ("verdicts", format!("{:?}", self.verdicts))];
        let added = [("restrictions", format!("{:?}", self.restrictions)), ("that bite", format!("{:?}", self.bites))];
        let left = [("left out", format!("{:?}", self.less)), ("exceptions", format!("{:?}", self.exceptions))];
        for (name, list) in lists.iter().chain(&added).chain(&left) {
            println!("{name}: {list}");
        }
        let mut commonest: Vec<_> = self.refused.iter().collect();
        commonest.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        commonest.iter().take(20).for_each(|(problem, times)| println!("refused {times} x {problem}"));

        assert!(refused < self.policies, "most policies are accepted");
        for (name, times) in &self.constructs {
            assert!(*times * 100 >= self.policies, "{name} occurs in one policy of a hundred at least, not in {times}");
        }
        for name in ["bound", "bearer", "certificate", "bypass"] {
            assert!(self.verdicts.get(name).is_some_and(|times| *times > self.policies / 20), "{name}");
        }
        assert!(self.verdicts.len() > 30, "{}", self.verdicts.len());
        for (name, _) in RESTRICTIONS {
            assert!(self.restrictions.contains_key(name), "{name}: was added");
            let seldom = self.compared < SELDOM;
            assert!(seldom || self.bites.contains_key(*name), "{name}: refused something");
        }
        if self.compared >= SELDOM {
            let requests = Exception::OF_REQUESTS.iter().map(|exception| (*exception, "request"));
            let policies = Exception::OF_POLICIES.iter().map(|exception| (*exception, "policy"));
            for needed in requests.chain(policies) {
                assert!(self.exceptions.contains_key(&needed), "{needed:?} is needed");
            }
        }
    }
}

/// From so many comparisons on what is seldom has been seen, too.
const SELDOM: usize = 500_000;
