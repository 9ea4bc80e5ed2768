//! What Envoy calls: the callbacks of the Proxy-Wasm ABI 0.2.1 that this filter needs, and no others, because Envoy makes
//! every callback that a module exports.
//!
//! The SDK exports them all and panics where a context is unknown. Here that is a request that is refused.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::host;
use super::http::{self, Action};
use super::worker::{self, Worker};
use crate::fingerprint::Numbers;

thread_local! {
    /// The worker of each plugin, by its context's number. A VM has one thread. No borrow lasts across a host call.
    static PLUGINS: RefCell<HashMap<u32, Rc<Worker>, Numbers>> = RefCell::default();
    /// The worker of each request.
    static REQUESTS: RefCell<HashMap<u32, Rc<Worker>, Numbers>> = RefCell::default();
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs once a VM, before anything else.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: a WASI reactor calls its constructors exactly once, here.
    unsafe { __wasm_call_ctors() };
    std::panic::set_hook(Box::new(|panic| host::always(host::ERROR, format_args!("{panic}"))));
}

/// Memory that the host fills and hands over, see [`host::Returned`].
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, plugin: u32) {
    if plugin == 0 {
        PLUGINS.with_borrow_mut(|plugins| plugins.insert(context, Rc::default()));
    } else if let Some(worker) = plugin_worker(plugin) {
        REQUESTS.with_borrow_mut(|requests| requests.insert(context, worker));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(plugin: u32, _: usize) -> bool {
    host::speak_of_request(false);
    let Some(configured) = worker::configure() else {
        return false;
    };
    let before = PLUGINS.with_borrow_mut(|plugins| plugins.insert(plugin, Rc::new(configured)));
    if let Some(worker) = before {
        worker.retire();
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(plugin: u32) {
    if let Some(worker) = plugin_worker(plugin) {
        worker.tick();
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(plugin: u32, call: u32, _: usize, _: usize, _: usize) {
    if let Some(worker) = plugin_worker(plugin) {
        worker.answer(call);
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _: usize, _: bool) -> Action {
    http::request_headers(context, worker(context).as_deref())
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(context: u32, _: usize) -> Action {
    http::request_trailers(worker(context).as_deref())
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    match REQUESTS.with_borrow_mut(|requests| requests.remove(&context)) {
        Some(worker) => worker.forget(context),
        None => {
            if let Some(worker) = PLUGINS.with_borrow_mut(|plugins| plugins.remove(&context)) {
                worker.end();
            }
        }
    }
}

fn worker(context: u32) -> Option<Rc<Worker>> {
    host::speak_of_request(true);
    REQUESTS.with_borrow(|requests| requests.get(&context).cloned())
}

fn plugin_worker(plugin: u32) -> Option<Rc<Worker>> {
    host::speak_of_request(false);
    PLUGINS.with_borrow(|plugins| plugins.get(&plugin).cloned())
}
