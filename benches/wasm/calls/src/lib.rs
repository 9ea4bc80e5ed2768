//! The host calls that our filter makes for a request whose connection and token it knows, in their order and with values as
//! long as its own, and nothing between them. No filter that is asked for the same can cost less.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

const HEADERS: u32 = 0;
const COUNTER: u32 = 0;

const TOLD: [(&str, &str); 5] = [
    ("x-client-id", "client-000001"),
    ("x-profile-id", "partner"),
    ("x-client-principal", "arn:example:iam::bench:client/000001"),
    ("x-client-identity", "spiffe://prod.example/ns/bench/sa/client-000001"),
    ("x-client-cert-thumbprint", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"),
];

const RECORD: &str = r#"{"decision":"allow","status":null,"reason":null,"enforcement":"enforce","policy_id":"bench","client_id":"client-000001","profile_id":"partner","principal":"arn:example:iam::bench:client/000001","thumbprint":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU","binding":"bound","rule":"profiles.partner.allow[0]","method":"GET","path":"/payments/42","request_id":"2f6d6a1c-6d7e-4b0c-9e5a-0d9a5d3c2b1f"}"#;

static SUCCESSES: AtomicU32 = AtomicU32::new(0);

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, pairs: *mut *mut u8, pairs_size: *mut usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, value: *mut *mut u8, value_size: *mut usize) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
}

/// The version of the ABI, which is told by this name.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// Envoy loads no module without it.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {}

/// Memory that the host fills and hands over.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the size is not zero.
        Ok(layout) if size > 0 => unsafe { alloc(layout) },
        _ => null_mut(),
    }
}

/// Defines the counter.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(_plugin: u32, _size: usize) -> bool {
    let name = "mtls_auth_success_total";
    let mut id = 0;
    // SAFETY: the name outlives the call; the host writes one number.
    let status = unsafe { proxy_define_metric(COUNTER, name.as_ptr(), name.len(), &mut id) };
    SUCCESSES.store(id, Ordering::Relaxed);
    status == 0
}

/// Our filter must know which configuration a request is under.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(_context: u32, _plugin: u32) {}

/// And when to forget it.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(_context: u32) {}

/// The calls of an allowed request.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_context: u32, _headers: usize, _end_of_stream: u32) -> u32 {
    returned(|data, size| {
        // SAFETY: the host writes an allocation and its size.
        unsafe { proxy_get_header_map_pairs(HEADERS, data, size) };
    });
    let mut time = 0;
    // SAFETY: the host writes one number.
    unsafe { proxy_get_current_time_nanoseconds(&mut time) };
    let connection = "connection\0id";
    returned(|data, size| {
        // SAFETY: the path outlives the call; the host writes an allocation and its size.
        unsafe { proxy_get_property(connection.as_ptr(), connection.len(), data, size) };
    });
    for (name, value) in TOLD {
        // SAFETY: name and value are static.
        unsafe { proxy_add_header_map_value(HEADERS, name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
    }
    set("mtls_authz.verdict", "allow");
    // SAFETY: takes numbers only.
    unsafe { proxy_increment_metric(SUCCESSES.load(Ordering::Relaxed), 1) };
    set("mtls_authz.decision", RECORD);
    0
}

fn set(name: &str, value: &str) {
    // SAFETY: name and value outlive the call.
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// Takes what the host returns, and gives the memory back.
fn returned(call: impl FnOnce(&mut *mut u8, &mut usize)) {
    let (mut data, mut size) = (null_mut(), 0);
    call(&mut data, &mut size);
    if let Ok(layout) = Layout::array::<u8>(size)
        && size > 0
        && !data.is_null()
    {
        // SAFETY: `proxy_on_memory_allocate` made it with this layout.
        unsafe { dealloc(data, layout) };
    }
}
