//! One request: its headers in, one decision out.

use super::host;
use super::waiting::{Caller, Paused};
use super::worker::Worker;
use crate::config::{AuditLog, Policy};
use crate::decision::{Decision, Deny, Reason};
use crate::proxy::HostError;
use crate::request::Request;
use crate::response::Response;
use crate::upstream::Change;
use crate::{pairs, record, upstream};

/// Filter state that the guard behind this filter demands: `wasm.mtls_authz.verdict`.
const VERDICT: &str = "mtls_authz.verdict";
/// Filter state that access logs read: `wasm.mtls_authz.decision`.
const DECISION: &str = "mtls_authz.decision";

/// What becomes of a request for now.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Action {
    /// It goes on.
    Continue = 0,
    /// It waits, or has been answered.
    Pause = 1,
}

/// Decides about a request whose headers have come.
pub(super) fn request_headers(context: u32, worker: Option<&Worker>) -> Action {
    let Some(worker) = worker else {
        return refuse(&unconfigured(), &Request::default());
    };
    conclude(worker, context, None, |deny, caller| worker.feeds.wait(worker, context, caller, deny, None))
}

/// Cleans the trailers of a request that was let through.
pub(super) fn request_trailers(worker: Option<&Worker>) -> Action {
    let Some((worker, policy)) = worker.and_then(|worker| Some((worker, worker.policy.as_ref()?))) else {
        return refuse(&unconfigured(), &Request::default());
    };
    match clean_trailers(policy) {
        Ok(()) => Action::Continue,
        Err(deny) => end(worker, deny),
    }
}

/// Refuses a request that was let through: the record that said so is replaced.
fn end(worker: &Worker, deny: Deny) -> Action {
    let bytes = host::map(host::HEADERS).unwrap_or_default();
    let headers = pairs::decode(&bytes).unwrap_or_default();
    let request = Request::new(&headers);
    let decision = Decision::failed(deny);
    worker.take_note(&decision, false);
    record(worker, &request, &decision);
    decision.refusal().map_or(Action::Pause, |deny| refuse(deny, &request))
}

/// Decides about a paused request, in whose context this is called: for good, unless it may wait for something else.
pub(super) fn resume(worker: &Worker, paused: Paused, may_wait: bool) {
    let Paused { context, since, refusal, .. } = paused;
    let waits = |deny: &Deny, caller| may_wait && worker.feeds.wait(worker, context, caller, deny, Some(since));
    if conclude(worker, context, refusal.map(|refusal| *refusal), waits) == Action::Continue
        && let Err(problem) = host::continue_request()
    {
        host::error(format_args!("a request that had waited could not go on: {problem}"));
    }
}

/// Reads a request, decides about it unless that is `decided`, and carries that out. Where `wait` says so, given the refusal and the
/// caller, it is put off.
fn conclude(
    worker: &Worker,
    context: u32,
    decided: Option<Decision>,
    wait: impl FnOnce(&Deny, Caller) -> bool,
) -> Action {
    let bytes = host::map(host::HEADERS);
    let headers = bytes.as_deref().map_err(|problem| Deny::from(*problem));
    let headers = headers.and_then(|bytes| pairs::decode(bytes).ok_or_else(unknown_map));
    let (headers, problem) = match headers {
        Ok(headers) => (headers, None),
        Err(deny) => (Vec::new(), Some(deny)),
    };
    let request = Request::new(&headers);
    let policy = worker.policy.as_ref();
    let mut is_waiting = false;
    let waits = |decision: &Decision| {
        let caller = || decision.certificate.as_ref().map(|certificate| *certificate.thumbprint.hash());
        is_waiting = decision.verdict.as_ref().is_err_and(|deny| wait(deny, caller()));
        is_waiting
    };
    let mut decision = match (decided, policy, problem) {
        (Some(decision), _, None) => decision,
        (None, Some(policy), None) => worker.decide(policy, &request, waits),
        (_, _, problem) => Decision::failed(problem.unwrap_or_else(unconfigured)),
    };
    if is_waiting {
        if !worker.has_candidate() {
            worker.feeds.keep(context, decision);
        }
        return Action::Pause;
    }
    // The record is written last, so that it says what has really happened.
    let mut strips_certificate = false;
    if let (Some(policy), None) = (policy, decision.refusal()) {
        match pass(policy, &request, &decision) {
            Ok(stripped) => strips_certificate = stripped,
            Err(problem) => decision = Decision::failed(unwritten(problem)),
        }
    }
    worker.take_note(&decision, strips_certificate);
    record(worker, &request, &decision);
    match decision.refusal() {
        None => Action::Continue,
        Some(deny) => refuse(deny, &request),
    }
}

fn clean_trailers(policy: &Policy) -> Result<(), Deny> {
    let bytes = host::map(host::TRAILERS)?;
    let trailers = pairs::decode(&bytes).ok_or_else(unknown_map)?;
    if let Some(kept) = upstream::trailers(&policy.upstream_headers, &trailers) {
        host::set_map(host::TRAILERS, kept.into_iter()).map_err(unwritten)?;
    }
    Ok(())
}

fn unconfigured() -> Deny {
    Deny::new(Reason::InternalError).with_note("this worker could not be configured; an earlier line says why")
}

/// What could not be written to the host. A request can have more header fields than fit where Envoy's `max_headers_count` was raised.
fn unwritten(problem: HostError) -> Deny {
    if problem.status == host::TOO_LARGE {
        Deny::new(Reason::RequestMalformed)
            .with_detail("The request has more than 1024 header or trailer fields, or more than 1 MiB of them.")
    } else {
        problem.into()
    }
}

fn unknown_map() -> Deny {
    Deny::new(Reason::InternalError).with_note("the proxy's header map has an unknown form")
}

/// Lets a request go on: with the headers that are due, and with the verdict that the guard waits for. Tells whether a
/// forwarded certificate was removed.
fn pass(policy: &Policy, request: &Request<'_>, decision: &Decision) -> Result<bool, HostError> {
    let stripped = match upstream::headers(&policy.upstream_headers, request, decision) {
        Change::Add(headers) => {
            headers.iter().try_for_each(|(name, value)| host::add_header(name, value))?;
            false
        }
        Change::Replace { headers, strips_certificate } => {
            host::set_map(host::HEADERS, headers.iter().map(|(name, value)| (*name, value.as_ref())))?;
            strips_certificate
        }
    };
    host::set_filter_state(VERDICT, b"allow").map(|()| stripped)
}

fn refuse(deny: &Deny, request: &Request<'_>) -> Action {
    let response = Response::refuse(deny, request);
    let sent =
        host::send_response(response.status, response.code, &response.headers, &response.body, response.grpc_status);
    if let Err(problem) = sent {
        // The request stays paused: Envoy ends it by its own timeout, and nothing has passed.
        host::error(format_args!("no answer could be sent: {problem}"));
    }
    Action::Pause
}

/// Records and logs. None of it can change the decision, so a failure is only told.
fn record(worker: &Worker, request: &Request<'_>, decision: &Decision) {
    let policy = worker.policy.as_ref();
    let record = record::json(policy.and_then(|policy| policy.policy_id.as_deref()), request, decision);
    if let Err(problem) = host::set_filter_state(DECISION, &record) {
        host::error(format_args!("the decision record could not be written: {problem}"));
    }
    let denied = decision.verdict.is_err();
    let logged = match policy.map_or(AuditLog::Denied, |policy| policy.audit_log) {
        AuditLog::None => false,
        AuditLog::Denied => denied,
        AuditLog::All => true,
    };
    if !logged {
        return;
    }
    let line = record::log_line(&record, decision);
    host::decision(if denied { host::WARN } else { host::INFO }, &line);
}
