//! Gauges that are defined when they are first needed.

use std::cell::RefCell;
use std::collections::HashMap;

use super::host;

/// The host's numbers for the gauges of a worker, by name.
#[derive(Default)]
pub(super) struct Gauges(RefCell<HashMap<String, u32>>);

impl Gauges {
    /// Sets a gauge. Nothing is decided by it, so a failure is only told.
    pub fn set(&self, name: String, value: u64) {
        let known = self.0.borrow().get(&name).copied();
        let id = known.map_or_else(|| host::define_gauge(&name), Ok);
        match id.and_then(|id| host::set_gauge(id, value).map(|()| id)) {
            Ok(id) if known.is_none() => {
                self.0.borrow_mut().insert(name, id);
            }
            Ok(_) => {}
            Err(problem) => host::error(format_args!("{name}: {problem}")),
        }
    }
}
