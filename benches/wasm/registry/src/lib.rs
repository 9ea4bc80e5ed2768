//! Reads the filter's configuration with serde_json into plain structs, and keeps them: what the filter's own reading, with
//! all its checks and indexes, is compared with, in the same VM.

use std::collections::HashMap;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use serde::Deserialize;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// The members that the benchmark's policies have.
#[derive(Deserialize)]
#[expect(dead_code, reason = "kept, as a filter would")]
struct Policy {
    clients: HashMap<String, Client>,
    profiles: HashMap<String, Profile>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "kept, as a filter would")]
struct Client {
    identities: Vec<String>,
    profiles: Vec<String>,
    principal: Option<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "kept, as a filter would")]
struct Profile {
    allow: Vec<Rule>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "kept, as a filter would")]
struct Rule {
    paths: Vec<String>,
    methods: Vec<String>,
    scopes: Vec<String>,
}

#[derive(Default)]
struct Root {
    policy: Option<Policy>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let json = self.get_plugin_configuration().unwrap_or_default();
        self.policy = serde_json::from_slice(&json).ok();
        self.policy.is_some()
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Http;

impl Context for Http {}

impl HttpContext for Http {}
