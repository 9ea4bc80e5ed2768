//! The gauges of a policy.

use super::host;
use crate::config::Policy;
use crate::metrics::of_policy;

/// Under which names a worker shows the gauges of its policy.
#[derive(Default)]
pub(super) struct Gauges {
    policy_name: Option<String>,
    /// A candidate shows nothing: its gauges would be those of the policy in force.
    is_hidden: bool,
}

impl Gauges {
    /// Those of a policy.
    pub fn of(policy: Option<&Policy>) -> Self {
        Self {
            policy_name: policy.and_then(|policy| policy.policy_name.clone()),
            is_hidden: policy.is_some_and(|policy| policy.is_candidate),
        }
    }

    /// Sets a gauge. Nothing is decided by it, so a failure is only logged.
    pub fn set(&self, name: &str, value: u64) {
        if self.is_hidden {
            return;
        }
        let id = host::gauge(&of_policy(name, self.policy_name.as_deref()));
        if let Err(problem) = id.and_then(|id| host::set_gauge(id, value)) {
            host::error(format_args!("{name}: {problem}"));
        }
    }
}
