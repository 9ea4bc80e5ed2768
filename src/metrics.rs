//! The counters, by the names that become Prometheus metrics: `stats_tags` in Envoy's configuration turn
//! `mtls_auth_failure_total.reason.path_denied` into `mtls_auth_failure_total{reason="path_denied"}`.
//!
//! Envoy adds up what has the same name, whichever policy counts it. With a `policy_name` each has its own:
//! `mtls_auth_failure_total.policy.edge.reason.path_denied`.

use std::fmt;

use crate::candidate;
use crate::decision::{Decision, Enforcement, ForwardedCert, Reason, Rule};

/// A counter. Their number is fixed: labels are reasons, never names of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Requests that a profile's rule allowed.
    Success,
    /// Requests that needed nothing.
    Bypassed,
    /// Refused requests.
    Failure(Reason),
    /// Requests that shadow mode let pass although they were to be refused.
    ShadowDenied(Reason),
    /// Requests with a forwarded certificate that was not believed.
    ForwardedCertStripped,
    /// Tokens that came with another certificate than their own.
    PopMismatch,
    /// Certificates for whose client the inventory has no room.
    InventoryFull,
    /// Fetches from a source.
    Fetched(Source, Outcome),
    /// Requests that a candidate was asked about.
    Candidate(candidate::Outcome),
}

/// What is fetched. Prints as the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The key set; of several providers one by its index in `token.providers`.
    Jwks(Option<usize>),
    /// A feed, by its index in `revocation.feeds`.
    Feed(usize),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwks(None) => f.write_str("jwks"),
            Self::Jwks(Some(index)) => write!(f, "jwks_{index}"),
            Self::Feed(index) => write!(f, "feed_{index}"),
        }
    }
}

/// What became of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// What came is in force.
    Adopted,
    /// What is in force is the latest.
    Unchanged,
    /// Nothing came, or nothing that can be used.
    Failed,
}

impl Outcome {
    const ALL: &'static [Self] = &[Self::Adopted, Self::Unchanged, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

/// Days until the first of the client's certificates ends, as a gauge's name. The inventory bounds their number.
pub fn days_until_expiry(client_id: &str) -> String {
    format!("mtls_cert_days_until_expiry.client.{client_id}")
}

/// Seconds since what is in force was fetched, or since there is something to fetch, as a gauge's name.
pub fn fetch_age(source: Source) -> String {
    format!("mtls_fetch_age_seconds.source.{source}")
}

/// Days until the certificate ends whose key signs a list, as a gauge's name.
pub fn issuer_days_until_expiry(source: Source) -> String {
    format!("mtls_fetch_issuer_days_until_expiry.source.{source}")
}

/// The name of a counter or gauge of this policy.
pub fn of_policy(name: &str, policy_name: Option<&str>) -> String {
    let Some(policy_name) = policy_name else {
        return name.to_owned();
    };
    // Whatever else could end the label.
    let label = policy_name.replace(|character: char| !character.is_ascii_alphanumeric() && character != '-', "_");
    match name.split_once('.') {
        Some((name, labels)) => format!("{name}.policy.{label}.{labels}"),
        None => format!("{name}.policy.{label}"),
    }
}

impl Counter {
    /// Every counter of a policy that fetches from these sources, those of ordinary requests first.
    pub fn all(sources: impl Iterator<Item = Source>, has_candidate: bool) -> impl Iterator<Item = Self> {
        let by_candidate = candidate::Outcome::ALL.iter().filter(move |_| has_candidate).copied().map(Self::Candidate);
        let by_reason = Reason::ALL.iter().flat_map(|reason| [Self::Failure(*reason), Self::ShadowDenied(*reason)]);
        let outcomes = |source| Outcome::ALL.iter().map(move |outcome| Self::Fetched(source, *outcome));
        let fetched = sources.flat_map(outcomes);
        [Self::Success, Self::Bypassed, Self::PopMismatch, Self::ForwardedCertStripped, Self::InventoryFull]
            .into_iter()
            .chain(by_candidate)
            .chain(fetched)
            .chain(by_reason)
    }

    /// What a decision counts as, about a request from which a forwarded certificate was removed or not.
    pub fn of(decision: &Decision, strips_certificate: bool) -> impl Iterator<Item = Self> {
        let counter = match (&decision.verdict, decision.enforcement) {
            (Ok(allow), _) => match allow.rule {
                Rule::Bypass(_) => Self::Bypassed,
                Rule::Profile(_) => Self::Success,
            },
            (Err(deny), Enforcement::Enforce) => Self::Failure(deny.reason),
            (Err(deny), Enforcement::Shadow) => Self::ShadowDenied(deny.reason),
        };
        let stolen = matches!(&decision.verdict, Err(deny) if deny.reason == Reason::SenderBindingMismatch);
        let ignored = strips_certificate || decision.forwarded_cert == ForwardedCert::Ignored;
        let candidate = decision.candidate.as_ref().map(|verdict| Self::Candidate(verdict.outcome));
        [Some(counter), stolen.then_some(Self::PopMismatch), ignored.then_some(Self::ForwardedCertStripped), candidate]
            .into_iter()
            .flatten()
    }

    /// The name inside Envoy.
    pub fn name(self) -> String {
        match self {
            Self::Success => "mtls_auth_success_total".to_owned(),
            Self::Bypassed => "mtls_auth_bypassed_total".to_owned(),
            Self::ForwardedCertStripped => "mtls_forwarded_cert_stripped_total".to_owned(),
            Self::PopMismatch => "mtls_pop_mismatch_total".to_owned(),
            Self::InventoryFull => "mtls_cert_inventory_full_total".to_owned(),
            Self::Fetched(source, outcome) => {
                format!("mtls_fetch_total.source.{source}.outcome.{}", outcome.as_str())
            }
            Self::Candidate(outcome) => format!("mtls_auth_candidate_total.outcome.{}", outcome.as_str()),
            Self::Failure(reason) => format!("mtls_auth_failure_total.reason.{}", reason.code()),
            Self::ShadowDenied(reason) => format!("mtls_auth_shadow_denied_total.reason.{}", reason.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    #[test]
    fn a_metric_has_a_name_of_at_most_300_bytes_and_that_of_its_policy() {
        let longest = "x".repeat(bounds::NAME);
        let sources = [Source::Jwks(Some(15)), Source::Feed(15)];
        let gauges = [fetch_age, issuer_days_until_expiry].iter().flat_map(|name| sources.map(name));
        let gauges = gauges.chain([days_until_expiry(&longest)]);
        for name in Counter::all(sources.into_iter(), true).map(Counter::name).chain(gauges) {
            assert!(name.len() <= 300, "{name}");
            assert_eq!(of_policy(&name, Some(&longest)).len(), name.len() + 8 + longest.len());
        }
    }
}
