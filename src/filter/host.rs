//! The Proxy-Wasm ABI, the calls that this filter makes.
//!
//! The wrappers of the SDK for Rust panic on a status they do not expect and on header names that are not UTF-8, and its
//! `Status` is an enum that an unlisted number would make invalid. Any of these takes a worker down, so the imports are
//! declared here, with plain numbers, and every failure is a [`HostError`].

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ptr::{null, null_mut};
use std::thread::LocalKey;

use prost::Message;

use crate::bounds;
use crate::line::one_line;
use crate::pairs;
use crate::proxy::{Hash, HostError, Property, Proxy, SECOND, Shared, SignatureCheck, Swap};
use crate::record::LogBudget;

const OK: u32 = 0;
/// Not a status of the host: what was to be written is a larger map than Envoy reads.
pub(super) const TOO_LARGE: u32 = u32::MAX;
const NOT_FOUND: u32 = 1;
const CAS_MISMATCH: u32 = 8;

/// A map of the request, by its number.
#[derive(Clone, Copy)]
pub(super) struct Map(u32);

/// The headers.
pub(super) const HEADERS: Map = Map(0);
/// The trailers.
pub(super) const TRAILERS: Map = Map(1);

/// The headers of an answer to a call.
pub(super) const CALL_HEADERS: Map = Map(6);

const CALL_BODY: u32 = 4;
const PLUGIN_CONFIGURATION: u32 = 7;
const REQUEST_STREAM: u32 = 0;
const COUNTER: u32 = 0;
const GAUGE: u32 = 1;

/// A version that no shared value ever has. The host ignores it where the value is absent and refuses it where it is
/// there, so that of two workers creating the same value neither is lost.
const ABSENT: u32 = u32::MAX;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_property(path: *const u8, path_size: usize, value: *mut *mut u8, value_size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, pairs: *mut *mut u8, pairs_size: *mut usize) -> u32;
    fn proxy_set_header_map_pairs(map: u32, pairs: *const u8, pairs_size: usize) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, max_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, value_size: usize, cas: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout_milliseconds: u32,
        call: *mut u32,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        results: *mut *mut u8,
        results_size: *mut usize,
    ) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
}

/// `CLOCKID_MONOTONIC` of WASI.
const MONOTONIC: u32 = 1;

/// The host, as the core asks it.
pub(super) struct Host;

impl Proxy for Host {
    fn property(&self, property: Property<'_>) -> Result<Option<Vec<u8>>, HostError> {
        self::property(property.path())
    }

    fn leave_note(&self, name: &str, note: &[u8]) -> Result<(), HostError> {
        set_filter_state(name, note)
    }

    /// Envoy's BoringSSL. Whatever else it answers than a verdict is none.
    fn verify_signature(&self, check: SignatureCheck<'_>) -> Option<bool> {
        let hash_function = match check.hash {
            Hash::Sha256 => "sha256",
            Hash::Sha384 => "sha384",
            Hash::Sha512 => "sha512",
        };
        let arguments = VerifySignature {
            hash_function: hash_function.to_owned(),
            public_key: check.public_key.to_vec(),
            signature: check.signature.to_vec(),
            text: check.message.to_vec(),
        }
        .encode_to_vec();
        let results = foreign_function("verify_signature", &arguments).ok()?;
        VerifySignatureResult::decode(results.as_slice()).ok().map(|result| result.result)
    }

    fn now(&self) -> Result<u64, HostError> {
        let mut time = 0;
        // SAFETY: the host writes one number.
        let status = unsafe { proxy_get_current_time_nanoseconds(&mut time) };
        check("proxy_get_current_time_nanoseconds", status).map(|()| time)
    }

    /// Of WASI, because the ABI has the other clock alone. The standard library's `Instant` panics where this fails.
    fn monotonic(&self) -> Result<u64, HostError> {
        let mut time = 0;
        // SAFETY: the host writes one number.
        let status = unsafe { clock_time_get(MONOTONIC, 1, &mut time) };
        check("clock_time_get", status).map(|()| time)
    }

    fn shared(&self, key: &str) -> Result<Option<Shared>, HostError> {
        let mut value = Returned::new();
        let mut version = 0;
        // SAFETY: the key outlives the call; the host writes an allocation, its size and a number.
        let status =
            unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), &mut value.data, &mut value.size, &mut version) };
        let value = optional("proxy_get_shared_data", status, value)?;
        Ok(value.map(|value| Shared { value, version }))
    }

    fn swap_shared(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<Swap, HostError> {
        let version = version.unwrap_or(ABSENT);
        // SAFETY: key and value outlive the call.
        match unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) } {
            CAS_MISMATCH => Ok(Swap::Lost),
            status => check("proxy_set_shared_data", status).map(|()| Swap::Done),
        }
    }
}

fn property(path: &str) -> Result<Option<Vec<u8>>, HostError> {
    let mut value = Returned::new();
    // SAFETY: the path outlives the call; the host writes an allocation and its size.
    let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &mut value.data, &mut value.size) };
    optional("proxy_get_property", status, value)
}

/// The arguments of Envoy's foreign function `verify_signature`.
#[derive(Clone, PartialEq, Message)]
struct VerifySignature {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

/// What it returns.
#[derive(Clone, PartialEq, Message)]
struct VerifySignatureResult {
    #[prost(bool, tag = "1")]
    result: bool,
}

/// The arguments of Envoy's foreign function `declare_property`.
#[derive(Clone, PartialEq, Message)]
struct DeclareProperty {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "5")]
    span: i32,
}

/// As long as the connection of the client, and for all of its requests.
const SPAN_CONNECTION: i32 = 2;

/// Lets filter state of this name live as long as the connection on which it is written. Without that it lives as long as the
/// request, so that no later one finds it.
pub(super) fn declare_note(name: &str) -> Result<(), HostError> {
    let arguments = DeclareProperty { name: name.to_owned(), span: SPAN_CONNECTION };
    foreign_function("declare_property", &arguments.encode_to_vec()).map(drop)
}

fn foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, HostError> {
    let mut value = Returned::new();
    // SAFETY: name and arguments outlive the call; the host writes an allocation and its size.
    let status = unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            &mut value.data,
            &mut value.size,
        )
    };
    check("proxy_call_foreign_function", status).map(|()| value.take())
}

/// How grave a line in Envoy's log is, by its number.
#[derive(Clone, Copy)]
pub(super) struct Level(u32);

pub(super) const INFO: Level = Level(2);
pub(super) const WARN: Level = Level(3);
pub(super) const ERROR: Level = Level(4);

type Budget = LocalKey<RefCell<LogBudget>>;

thread_local! {
    /// What this VM writes about decisions, which callers cause.
    static DECISIONS: RefCell<LogBudget> = RefCell::default();
    /// And about everything else, so that no flood of requests hides it.
    static OTHERS: RefCell<LogBudget> = RefCell::default();
    /// Whether Envoy begins the lines of a plugin with our name, and those of its requests; `None` before it was asked.
    static NAMED_BY_HOST: Cell<Option<(bool, bool)>> = const { Cell::new(None) };
    /// Whether the host has called us about a request.
    static IN_REQUEST: Cell<bool> = const { Cell::new(false) };
}

const NAME: &str = "mtls_authz";

/// Leaves our name out of lines that Envoy begins with it: it writes the plugin's `root_id` and `vm_id`, and about a request its `name`
/// before these. Where several plugins share a VM, our name is left out if all of them have it.
pub(super) fn ask_who_names_lines() {
    let is_ours = |path| matches!(property(path), Ok(Some(name)) if name == NAME.as_bytes());
    let (name, root, vm) = (is_ours("plugin_name"), is_ours("plugin_root_id"), is_ours("plugin_vm_id"));
    let (plugins, requests) = NAMED_BY_HOST.get().unwrap_or((true, true));
    NAMED_BY_HOST.set(Some((plugins && (root || vm), requests && (name || root || vm))));
}

/// Notes whether the host has called us about a request or about a plugin.
pub(super) fn speak_of_request(is_request: bool) {
    IN_REQUEST.set(is_request);
}

/// A line in Envoy's log about a decision, unless there are too many.
pub(super) fn decision(level: Level, line: &str) {
    if let Some(dropped) = write_bounded(level, format_args!("{line}"), &DECISIONS) {
        warn_of(dropped, "; the access log has every record");
    }
}

/// A line at level info about anything else, unless there are too many.
pub(super) fn info(message: fmt::Arguments<'_>) {
    log(INFO, message);
}

/// At level warn.
pub(super) fn warn(message: fmt::Arguments<'_>) {
    log(WARN, message);
}

/// At level error.
pub(super) fn error(message: fmt::Arguments<'_>) {
    log(ERROR, message);
}

fn log(level: Level, message: fmt::Arguments<'_>) {
    if let Some(dropped) = write_bounded(level, message, &OTHERS) {
        warn_of(dropped, "");
    }
}

/// A line that is never left out: about a configuration, or the end of this VM.
pub(super) fn always(level: Level, message: fmt::Arguments<'_>) {
    write(level, &line(message));
}

/// Writes a line if it may be written. Returns how many were left out before, if any.
fn write_bounded(level: Level, message: fmt::Arguments<'_>, budget: &'static Budget) -> Option<u64> {
    let line = line(message);
    let second = Host.monotonic().unwrap_or_default() / SECOND;
    let dropped = budget.with_borrow_mut(|budget| budget.admit(second, line.len()))?;
    write(level, &line);
    (dropped > 0).then_some(dropped)
}

fn warn_of(dropped: u64, more: &str) {
    always(WARN, format_args!("{dropped} lines were left out to keep the log bounded{more}"));
}

fn line(message: fmt::Arguments<'_>) -> Vec<u8> {
    let (plugins, requests) = NAMED_BY_HOST.get().unwrap_or_default();
    match if IN_REQUEST.get() { requests } else { plugins } {
        true => one_line(message, bounds::LINE),
        false => one_line(format_args!("{NAME}: {message}"), bounds::LINE),
    }
}

fn write(level: Level, line: &[u8]) {
    // SAFETY: the line outlives the call. There is no place to report that it could not be written.
    let _ = unsafe { proxy_log(level.0, line.as_ptr(), line.len()) };
}

/// Sends a request without a body through a cluster; its answer comes to `proxy_on_http_call_response`.
pub(super) fn http_call(cluster: &str, headers: &[(&str, &str)], timeout_milliseconds: u32) -> Result<u32, HostError> {
    let name = "proxy_http_call";
    let pairs = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let headers = pairs::encode(pairs).ok_or(HostError { call: name, status: TOO_LARGE })?;
    let mut call = 0;
    // SAFETY: every buffer outlives the call; body and trailers are empty; the host writes one number.
    let status = unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            null(),
            0,
            null(),
            0,
            timeout_milliseconds,
            &mut call,
        )
    };
    check(name, status).map(|()| call)
}

/// Has `on_tick` called in this interval; 0: never.
pub(super) fn set_tick_period(milliseconds: u32) -> Result<(), HostError> {
    // SAFETY: takes a number only.
    check("proxy_set_tick_period_milliseconds", unsafe { proxy_set_tick_period_milliseconds(milliseconds) })
}

/// Makes the calls that follow calls of another context. Fails where that is gone.
pub(super) fn set_effective_context(context: u32) -> Result<(), HostError> {
    // SAFETY: takes a number only.
    check("proxy_set_effective_context", unsafe { proxy_set_effective_context(context) })
        .inspect(|()| speak_of_request(true))
}

/// Lets a paused request go on.
pub(super) fn continue_request() -> Result<(), HostError> {
    // SAFETY: takes a number only.
    check("proxy_continue_stream", unsafe { proxy_continue_stream(REQUEST_STREAM) })
}

/// The body of an answer to a call, up to a size.
pub(super) fn call_body(max_size: usize) -> Result<Vec<u8>, HostError> {
    buffer(CALL_BODY, max_size)
}

/// The plugin's configuration.
pub(super) fn configuration() -> Result<Vec<u8>, HostError> {
    buffer(PLUGIN_CONFIGURATION, usize::MAX)
}

fn buffer(buffer: u32, max_size: usize) -> Result<Vec<u8>, HostError> {
    let mut value = Returned::new();
    // SAFETY: the host writes an allocation and its size.
    let status = unsafe { proxy_get_buffer_bytes(buffer, 0, max_size, &mut value.data, &mut value.size) };
    optional("proxy_get_buffer_bytes", status, value).map(Option::unwrap_or_default)
}

/// A serialized map.
pub(super) fn map(map: Map) -> Result<Vec<u8>, HostError> {
    let mut value = Returned::new();
    // SAFETY: the host writes an allocation and its size.
    let status = unsafe { proxy_get_header_map_pairs(map.0, &mut value.data, &mut value.size) };
    check("proxy_get_header_map_pairs", status).map(|()| value.take())
}

/// Adds a header to the request.
pub(super) fn add_header(name: &[u8], value: &[u8]) -> Result<(), HostError> {
    // SAFETY: name and value outlive the call.
    let status =
        unsafe { proxy_add_header_map_value(HEADERS.0, name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
    check("proxy_add_header_map_value", status)
}

/// Replaces a whole map of the request.
pub(super) fn set_map<'a>(
    map: Map,
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> Result<(), HostError> {
    let call = "proxy_set_header_map_pairs";
    let pairs = pairs::encode(headers).ok_or(HostError { call, status: TOO_LARGE })?;
    // SAFETY: the pairs outlive the call.
    check(call, unsafe { proxy_set_header_map_pairs(map.0, pairs.as_ptr(), pairs.len()) })
}

/// Writes filter state `wasm.<name>`, which access logs and other filters can read and no caller can write.
pub(super) fn set_filter_state(name: &str, value: &[u8]) -> Result<(), HostError> {
    // SAFETY: name and value outlive the call.
    let status = unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
    check("proxy_set_property", status)
}

/// The host's number for a counter.
pub(super) fn counter(name: &str) -> Result<u32, HostError> {
    metric(COUNTER, name)
}

/// The host's number for a gauge.
pub(super) fn gauge(name: &str) -> Result<u32, HostError> {
    metric(GAUGE, name)
}

thread_local! {
    /// The host's numbers for metrics, by name, for as long as the VM lives: Envoy makes a new number each time that a metric is defined, and
    /// frees none of them.
    static METRICS: RefCell<HashMap<String, u32>> = RefCell::default();
}

fn metric(kind: u32, name: &str) -> Result<u32, HostError> {
    if let Some(id) = METRICS.with_borrow(|metrics| metrics.get(name).copied()) {
        return Ok(id);
    }
    let mut id = 0;
    // SAFETY: the name outlives the call; the host writes one number.
    let status = unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) };
    check("proxy_define_metric", status)?;
    METRICS.with_borrow_mut(|metrics| metrics.insert(name.to_owned(), id));
    Ok(id)
}

/// Adds one to a counter.
pub(super) fn increment(counter: u32) -> Result<(), HostError> {
    // SAFETY: takes numbers only.
    check("proxy_increment_metric", unsafe { proxy_increment_metric(counter, 1) })
}

/// Sets a gauge.
pub(super) fn set_gauge(gauge: u32, value: u64) -> Result<(), HostError> {
    // SAFETY: takes numbers only.
    check("proxy_record_metric", unsafe { proxy_record_metric(gauge, value) })
}

/// Answers the request. A plain caller sees status, headers and body; for a gRPC caller Envoy makes a trailers-only
/// answer of the gRPC status, with the body as its message.
pub(super) fn send_response(
    status: u16,
    details: &str,
    headers: &[(&'static str, String)],
    body: &str,
    grpc_status: i32,
) -> Result<(), HostError> {
    let call = "proxy_send_local_response";
    let pairs = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let headers = pairs::encode(pairs).ok_or(HostError { call, status: TOO_LARGE })?;
    // SAFETY: every buffer outlives the call.
    let status = unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    };
    check(call, status)
}

/// Memory that the host allocated with the module's own allocator and hands over.
struct Returned {
    data: *mut u8,
    size: usize,
}

impl Returned {
    const fn new() -> Self {
        Self { data: null_mut(), size: 0 }
    }

    fn take(self) -> Vec<u8> {
        if self.data.is_null() {
            return Vec::new();
        }
        // SAFETY: `proxy_on_memory_allocate` made it: a boxed slice of this size, owned by nobody else.
        unsafe { Vec::from_raw_parts(self.data, self.size, self.size) }
    }
}

fn check(call: &'static str, status: u32) -> Result<(), HostError> {
    if status == OK { Ok(()) } else { Err(HostError { call, status }) }
}

fn optional(call: &'static str, status: u32, value: Returned) -> Result<Option<Vec<u8>>, HostError> {
    match status {
        NOT_FOUND => Ok(None),
        _ => check(call, status).map(|()| Some(value.take())),
    }
}
