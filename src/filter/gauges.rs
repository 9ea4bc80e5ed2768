//! Gauges that are defined when they are first needed.

use std::cell::RefCell;
use std::collections::HashMap;

use super::host;
use crate::config::Policy;
use crate::metrics::of_policy;

/// The host's numbers for the gauges of a worker, by name.
#[derive(Default)]
pub(super) struct Gauges {
    policy_name: Option<String>,
    /// A candidate shows nothing: its gauges would be those of the policy in force.
    is_hidden: bool,
    numbers: RefCell<HashMap<String, u32>>,
}

impl Gauges {
    /// Those of a policy.
    pub fn of(policy: Option<&Policy>) -> Self {
        Self {
            policy_name: policy.and_then(|policy| policy.policy_name.clone()),
            is_hidden: policy.is_some_and(|policy| policy.is_candidate),
            numbers: RefCell::default(),
        }
    }

    /// Sets a gauge. Nothing is decided by it, so a failure is only told.
    pub fn set(&self, name: String, value: u64) {
        if self.is_hidden {
            return;
        }
        let known = self.numbers.borrow().get(&name).copied();
        let define = || host::define_gauge(&of_policy(&name, self.policy_name.as_deref()));
        let id = known.map_or_else(define, Ok);
        match id.and_then(|id| host::set_gauge(id, value).map(|()| id)) {
            Ok(id) if known.is_none() => {
                self.numbers.borrow_mut().insert(name, id);
            }
            Ok(_) => {}
            Err(problem) => host::error(format_args!("{name}: {problem}")),
        }
    }
}
