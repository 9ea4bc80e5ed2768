//! The Proxy-Wasm ABI, the calls that this filter makes.
//!
//! The SDK's own wrappers panic on a status they do not expect and on header names that are not UTF-8, and its `Status`
//! is an enum that an unlisted number would make invalid. Any of these takes a worker down, so the imports are declared
//! here once more, with plain numbers, and every failure is a [`HostError`].

#![allow(unsafe_code)]

use std::ptr::null_mut;

use crate::pairs;
use crate::proxy::{HostError, Property, Proxy, Shared, Swap};

const OK: u32 = 0;
/// Not a status of the host: what was to be sent is larger than the ABI can say.
const TOO_LARGE: u32 = u32::MAX;
const NOT_FOUND: u32 = 1;
const CAS_MISMATCH: u32 = 8;

/// A map of the request, by its number.
#[derive(Clone, Copy)]
pub(super) struct Map(u32);

/// The headers.
pub(super) const HEADERS: Map = Map(0);
/// The trailers.
pub(super) const TRAILERS: Map = Map(1);

const PLUGIN_CONFIGURATION: u32 = 7;
const COUNTER: u32 = 0;

/// A version that no shared value ever has. The host ignores it where the value is absent and refuses it where it is
/// there, so that of two workers creating the same value neither is lost.
const ABSENT: u32 = u32::MAX;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_property(path: *const u8, path_size: usize, value: *mut *mut u8, value_size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, pairs: *mut *mut u8, pairs_size: *mut usize) -> u32;
    fn proxy_set_header_map_pairs(map: u32, pairs: *const u8, pairs_size: usize) -> u32;
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

/// The host, as the core asks it.
pub(super) struct Host;

impl Proxy for Host {
    fn property(&self, property: Property) -> Result<Option<Vec<u8>>, HostError> {
        let path = property.path().join("\0");
        let mut value = Returned::new();
        // SAFETY: the path outlives the call; the host writes an allocation and its size.
        let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &mut value.data, &mut value.size) };
        optional("proxy_get_property", status, value)
    }

    fn now(&self) -> Result<u64, HostError> {
        let mut time = 0;
        // SAFETY: the host writes one number.
        let status = unsafe { proxy_get_current_time_nanoseconds(&mut time) };
        check("proxy_get_current_time_nanoseconds", status).map(|()| time)
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

/// The plugin's configuration.
pub(super) fn configuration() -> Result<Vec<u8>, HostError> {
    let mut value = Returned::new();
    // SAFETY: the host writes an allocation and its size.
    let status =
        unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, &mut value.data, &mut value.size) };
    optional("proxy_get_buffer_bytes", status, value).map(Option::unwrap_or_default)
}

/// A serialized map of the request.
pub(super) fn map(map: Map) -> Result<Vec<u8>, HostError> {
    let mut value = Returned::new();
    // SAFETY: the host writes an allocation and its size.
    let status = unsafe { proxy_get_header_map_pairs(map.0, &mut value.data, &mut value.size) };
    check("proxy_get_header_map_pairs", status).map(|()| value.take())
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

/// Defines a counter.
pub(super) fn define_counter(name: &str) -> Result<u32, HostError> {
    let mut id = 0;
    // SAFETY: the name outlives the call; the host writes one number.
    let status = unsafe { proxy_define_metric(COUNTER, name.as_ptr(), name.len(), &mut id) };
    check("proxy_define_metric", status).map(|()| id)
}

/// Adds one to a counter.
pub(super) fn increment(counter: u32) -> Result<(), HostError> {
    // SAFETY: takes numbers only.
    check("proxy_increment_metric", unsafe { proxy_increment_metric(counter, 1) })
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
        // SAFETY: `proxy_on_memory_allocate` of the SDK made it: a boxed slice of this size, owned by nobody else.
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
