//! The plugin in one worker: its configuration, its counters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use log::{error, info};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::host::{self, Host};
use super::http::Http;
use crate::certificate::Thumbprint;
use crate::config::{ConfigError, Policy};
use crate::metrics::Counter;
use crate::proxy::{HostError, Proxy};
use crate::record::LogBudget;

/// What every request of a worker shares. Before it is configured it refuses everything, too.
#[derive(Default)]
pub(super) struct Worker {
    /// `None`: this worker could not be configured, and refuses everything.
    pub policy: Option<Policy>,
    pub counters: HashMap<Counter, u32>,
    pub log_budget: RefCell<LogBudget>,
}

#[derive(Default)]
pub(super) struct Root {
    worker: Rc<Worker>,
}

impl Context for Root {}

impl RootContext for Root {
    /// Envoy configures a VM in its main thread first, and refuses the whole configuration where that returns false. When
    /// it does so in a worker later, Envoy skips the filter and lets everything through. So a configuration that was
    /// accepted once is never refused again: whatever goes wrong then leaves a worker that refuses every request.
    fn on_configure(&mut self, _: usize) -> bool {
        let configuration = host::configuration();
        let (policy, refused) = match configuration.as_deref().map(Policy::read) {
            Ok(Ok(policy)) => (Some(policy), false),
            Ok(Err(problem)) => (None, report(&problem, configuration.as_deref().unwrap_or_default())),
            Err(problem) => {
                error!("mtls_authz: the configuration cannot be read: {problem}; every request is refused");
                (None, false)
            }
        };
        if refused {
            return false;
        }
        if policy.is_some()
            && let Err(problem) = configuration.and_then(|json| remember_accepted(&json))
        {
            error!(
                "mtls_authz: {problem}; should a worker fail to read this configuration, Envoy would skip the filter there"
            );
        }
        self.worker = Rc::new(Worker { policy, counters: define_counters(), log_budget: RefCell::default() });
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(self.worker.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Says what is wrong. Returns whether the configuration is to be refused: not if it was accepted before.
fn report(problem: &ConfigError, json: &[u8]) -> bool {
    let refused = !matches!(Host.shared(&accepted_key(json)), Ok(Some(_)) | Err(_));
    if refused {
        error!("mtls_authz: the configuration is refused: {problem}");
    } else {
        error!(
            "mtls_authz: a configuration that was accepted cannot be read again: {problem}; every request is refused"
        );
    }
    refused
}

/// Tells the workers that this configuration was accepted.
fn remember_accepted(json: &[u8]) -> Result<(), HostError> {
    let key = accepted_key(json);
    if Host.shared(&key)?.is_none() {
        Host.swap_shared(&key, b"1", None)?;
        info!("mtls_authz {}: the configuration is accepted", env!("CARGO_PKG_VERSION"));
    }
    Ok(())
}

/// Of this version of the filter: a newer one may well refuse what an older one accepted.
fn accepted_key(json: &[u8]) -> String {
    format!("mtls_authz.accepted.{}.{}", env!("CARGO_PKG_VERSION"), Thumbprint::of(json))
}

/// Without a counter a decision is still a decision.
fn define_counters() -> HashMap<Counter, u32> {
    let mut counters = HashMap::new();
    for counter in Counter::all() {
        match host::define_counter(&counter.name()) {
            Ok(id) => {
                counters.insert(counter, id);
            }
            Err(problem) => error!("mtls_authz: no counter {}: {problem}", counter.name()),
        }
    }
    counters
}
