//! The least that a Wasm filter can be: of all callbacks only the one for request headers, and no SDK.
//!
//! Envoy calls every callback that a module exports, so this is the floor of any Wasm filter.

use std::alloc::{Layout, alloc};
use std::ptr::null_mut;

/// The version of the ABI, which is told by this name.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// Envoy loads no module without it.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {}

/// Envoy loads no module without it either; nothing here asks for anything, so it is not called.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the size is not zero.
        Ok(layout) if size > 0 => unsafe { alloc(layout) },
        _ => null_mut(),
    }
}

/// Continue.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_context: u32, _headers: usize, _end_of_stream: u32) -> u32 {
    0
}
