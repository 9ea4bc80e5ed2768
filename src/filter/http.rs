//! One request: its headers in, one decision out.

use std::rc::Rc;

use log::{error, info, warn};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::host::{self, Host};
use super::root::Worker;
use crate::config::{AuditLog, Policy};
use crate::decision::{Decision, Deny, Reason};
use crate::metrics::Counter;
use crate::proxy::{HostError, Proxy};
use crate::request::Request;
use crate::response::Response;
use crate::{authorize, pairs, record, upstream};

/// Filter state that the guard behind this filter demands: `wasm.mtls_authz.verdict`.
const VERDICT: &str = "mtls_authz.verdict";
/// Filter state that access logs read: `wasm.mtls_authz.decision`.
const DECISION: &str = "mtls_authz.decision";

pub(super) struct Http {
    worker: Option<Rc<Worker>>,
}

impl Http {
    pub(super) const fn new(worker: Option<Rc<Worker>>) -> Self {
        Self { worker }
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some((worker, policy)) = self.worker.as_deref().and_then(|worker| Some((worker, worker.policy.as_ref()?)))
        else {
            return refuse(&Reason::InternalError.into(), &Request::default());
        };
        let bytes = match host::map(host::HEADERS) {
            Ok(bytes) => bytes,
            Err(problem) => return refuse(&problem.into(), &Request::default()),
        };
        let Some(headers) = pairs::decode(&bytes) else {
            return refuse(&unknown_map(), &Request::default());
        };
        let request = Request::new(&headers);
        let decision = authorize::decide(policy, &request, &Host);
        record(worker, policy, &request, &decision);
        let refusal = match decision.refusal() {
            Some(deny) => Some(deny.clone()),
            None => pass(policy, &request, &decision).err().map(Deny::from),
        };
        match refusal {
            None => Action::Continue,
            Some(deny) => refuse(&deny, &request),
        }
    }

    /// Only requests that were let through have trailers to read.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        match self.worker.as_deref().and_then(|worker| worker.policy.as_ref()).map(clean_trailers) {
            Some(Ok(())) => Action::Continue,
            Some(Err(deny)) => refuse(&deny, &Request::default()),
            None => refuse(&Reason::InternalError.into(), &Request::default()),
        }
    }
}

fn clean_trailers(policy: &Policy) -> Result<(), Deny> {
    let bytes = host::map(host::TRAILERS)?;
    let trailers = pairs::decode(&bytes).ok_or_else(unknown_map)?;
    if let Some(kept) = upstream::trailers(&policy.upstream_headers, &trailers) {
        host::set_map(host::TRAILERS, kept.into_iter())?;
    }
    Ok(())
}

fn unknown_map() -> Deny {
    Deny::new(Reason::InternalError).with_note("the proxy's header map has an unknown form")
}

/// Lets a request go on: with the headers that are due, and with the verdict that the guard waits for.
fn pass(policy: &Policy, request: &Request<'_>, decision: &Decision) -> Result<(), HostError> {
    if let Some(headers) = upstream::headers(&policy.upstream_headers, request, decision) {
        host::set_map(host::HEADERS, headers.iter().map(|(name, value)| (*name, value.as_ref())))?;
    }
    host::set_filter_state(VERDICT, b"allow")
}

fn refuse(deny: &Deny, request: &Request<'_>) -> Action {
    let response = Response::refuse(deny, request);
    let sent =
        host::send_response(response.status, response.code, &response.headers, &response.body, response.grpc_status);
    if let Err(problem) = sent {
        // The request stays paused: Envoy ends it by its own timeout, and nothing has passed.
        error!("mtls_authz: no answer could be sent: {problem}");
    }
    Action::Pause
}

/// Counts, records, logs. None of it can change the decision, so a failure is only told.
fn record(worker: &Worker, policy: &Policy, request: &Request<'_>, decision: &Decision) {
    for counter in Counter::of(decision) {
        if let Some(Err(problem)) = worker.counters.get(&counter).map(|id| host::increment(*id)) {
            error!("mtls_authz: {}: {problem}", counter.name());
        }
    }
    let record = record::json(policy, request, decision);
    if let Err(problem) = host::set_filter_state(DECISION, record.as_bytes()) {
        error!("mtls_authz: the decision record could not be written: {problem}");
    }
    let denied = decision.verdict.is_err();
    let logged = match policy.audit_log {
        AuditLog::None => false,
        AuditLog::Denied => denied,
        AuditLog::All => true,
    };
    if !logged {
        return;
    }
    let second = Host.now().unwrap_or_default() / 1_000_000_000;
    let Some(dropped) = worker.log_budget.borrow_mut().admit(second) else {
        return;
    };
    if dropped > 0 {
        warn!("mtls_authz: {dropped} lines were left out to keep the log bounded; the access log has every record");
    }
    let line = record::log_line(&record, decision);
    if denied {
        warn!("mtls_authz: {line}");
    } else {
        info!("mtls_authz: {line}");
    }
}
