//! What situations are made of: certificates, keys, policies, and a proxy whose every answer is chosen.
//!
//! The certificates in `material/` are good for a hundred years and come from one authority; nobody has their keys.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mtls_authz::{HostError, Policy, Property, Proxy, Shared, SignatureCheck, Swap};
use serde_json::{Value, json};

/// The usual time: 2027-01-15.
pub const NOW: u64 = 1_800_000_000;

/// A key of each kind. The private half of the last one is 32 times the number 7.
pub const KEYS: &[u8] = include_bytes!("../material/keys.json");

/// Certificates of three clients, a trusted proxy, a client that only a token names, and of nobody who may pass.
pub const LEAVES: &[&[u8]] = &[
    include_bytes!("../material/acme.der"),
    include_bytes!("../material/globex.der"),
    include_bytes!("../material/initech.der"),
    include_bytes!("../material/edge.der"),
    include_bytes!("../material/app.der"),
    include_bytes!("../material/nobody.der"),
    include_bytes!("../material/server.der"),
    include_bytes!("../material/ca.der"),
];

/// The place of the trusted proxy's among them.
pub const EDGE: usize = 3;

/// A proxy that answers from maps.
#[derive(Debug, Clone, Default)]
pub struct Host {
    pub properties: HashMap<Property<'static>, Vec<u8>>,
    /// Properties that cannot be had.
    pub failing: Vec<Property<'static>>,
    /// What was noted on the connection; `None`: nothing can be.
    pub notes: Option<Notes>,
    /// What it says of signatures; `None`: it cannot tell.
    pub verifies: Option<bool>,
    /// Seconds since 1970; `None`: it cannot tell.
    pub now: Option<u64>,
    /// `None`: it cannot tell.
    pub shared: Option<RefCell<HashMap<String, Shared>>>,
    /// What stands under every key that nobody has written yet.
    pub bucket: Option<Vec<u8>>,
    /// Is another worker always faster?
    pub loses: bool,
}

/// The notes on one connection.
pub type Notes = Rc<RefCell<HashMap<String, Vec<u8>>>>;

impl Host {
    pub fn with(mut self, property: Property<'static>, value: impl Into<Vec<u8>>) -> Self {
        self.properties.insert(property, value.into());
        self
    }
}

const FAILURE: HostError = HostError { call: "host", status: 10 };

impl Proxy for Host {
    fn property(&self, property: Property<'_>) -> Result<Option<Vec<u8>>, HostError> {
        match property {
            Property::Note(_) if self.failing.contains(&Property::Note("")) => Err(FAILURE),
            Property::Note(name) => Ok(self.notes.as_ref().and_then(|notes| notes.borrow().get(name).cloned())),
            property if self.failing.contains(&property) => Err(FAILURE),
            property => Ok(self.properties.get(&property).cloned()),
        }
    }

    fn leave_note(&self, name: &str, note: &[u8]) -> Result<(), HostError> {
        let notes = self.notes.as_ref().ok_or(FAILURE)?;
        notes.borrow_mut().insert(name.to_owned(), note.to_vec());
        Ok(())
    }

    fn verify_signature(&self, _: SignatureCheck<'_>) -> Option<bool> {
        self.verifies
    }

    fn now(&self) -> Result<u64, HostError> {
        self.now.map(|seconds| seconds.saturating_mul(1_000_000_000)).ok_or(FAILURE)
    }

    fn monotonic(&self) -> Result<u64, HostError> {
        self.now()
    }

    fn shared(&self, key: &str) -> Result<Option<Shared>, HostError> {
        let written = self.shared.as_ref().ok_or(FAILURE)?.borrow().get(key).cloned();
        Ok(written.or_else(|| self.bucket.clone().map(|value| Shared { value, version: 1 })))
    }

    fn swap_shared(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<Swap, HostError> {
        let current = self.shared(key)?.map(|current| current.version);
        if self.loses || current != version {
            return Ok(Swap::Lost);
        }
        let shared = Shared { value: value.to_vec(), version: version.unwrap_or(0).wrapping_add(1) };
        self.shared.as_ref().ok_or(FAILURE)?.borrow_mut().insert(key.to_owned(), shared);
        Ok(Swap::Done)
    }
}

/// A policy, and the configuration that it was read from.
pub struct Setup {
    pub json: Value,
    pub policy: Policy,
}

/// Each mode, source of certificates and source of tokens.
pub fn setups() -> Vec<Setup> {
    let trusted = json!({"cidrs": ["10.0.0.0/8"], "identities": ["spiffe://prod.example/edge"]});
    let forwarded = |source: &str, format: &str| {
        let mut forwarded = json!({"format": format, "trusted_proxies": trusted});
        match format {
            "xfcc" => forwarded["hop"] = json!(2),
            "base64_der" => forwarded["header"] = json!("x-own-cert"),
            _ => {}
        }
        json!({"source": source, "forwarded": forwarded, "clock_skew_seconds": 60})
    };
    let keys: Value = serde_json::from_slice(KEYS).unwrap();
    let jwt_authn = || json!({"audiences": ["payments"]});
    let jwks =
        || json!({"source": "jwks", "jwks": keys, "issuers": ["https://issuer.example"], "audiences": ["payments"]});
    let fetched = || {
        let uri = json!({"cluster": "issuer", "authority": "auth.example", "path": "/jwks.json"});
        json!({"source": "jwks", "jwks_uri": uri, "algorithms": ["RS256", "EdDSA"], "audiences": ["payments"]})
    };
    let (attribute, listener) = (json!({"validation": "attribute"}), json!({"validation": "listener"}));
    [
        ("bearer_plus_mtls_required", attribute.clone(), jwks()),
        ("mtls", attribute.clone(), jwt_authn()),
        ("bearer_plus_mtls_optional", listener.clone(), jwks()),
        ("bearer_plus_mtls_required", listener, jwt_authn()),
        ("bearer_plus_mtls_optional", attribute, fetched()),
        ("mtls", forwarded("forwarded", "xfcc"), jwt_authn()),
        ("bearer_plus_mtls_required", forwarded("connection_or_forwarded", "xfcc"), jwks()),
        ("bearer_plus_mtls_required", forwarded("forwarded", "rfc9440"), fetched()),
        ("bearer_plus_mtls_optional", forwarded("connection_or_forwarded", "base64_der"), jwt_authn()),
        ("mtls", forwarded("connection_or_forwarded", "nginx"), jwks()),
    ]
    .into_iter()
    .map(|(mode, certificate, token)| Setup::new(mode, certificate, token))
    .collect()
}

impl Setup {
    fn new(mode: &str, certificate: Value, token: Value) -> Self {
        let lenient = mode == "bearer_plus_mtls_optional";
        let mut scoped = json!({"paths": ["/scoped"]});
        if mode != "mtls" {
            scoped["scopes"] = json!(["pay"]);
        }
        // Behind a proxy the direct peer is not the caller.
        let source_address = if certificate["source"].is_null() { "direct" } else { "envoy" };
        let json = json!({
            "mode": mode,
            "certificate": certificate,
            "token": token,
            "clients": {
                "acme": {
                    "identities": ["spiffe://prod.example/ns/pay/sa/acme"],
                    "profiles": ["partner"],
                    "principal": "arn:example:acme",
                },
                "globex": {"identities": ["cn:globex"], "profiles": ["partner", "auditor"]},
                "app": {"identities": ["dns:app.example"], "profiles": ["app"]},
            },
            "identity": {
                "mappings": [{
                    "match": {"subject": {"O": "ExampleCorp"}},
                    "client_id": "{subject.CN}", "profile_id": "{subject.OU}", "principal": "arn:{subject.O}:{subject.CN}",
                }],
                "allow_unregistered": true,
            },
            "profiles": {
                "partner": {
                    "allow": [
                        {"paths": ["/payments/**"], "methods": ["GET", "POST"]},
                        scoped,
                        {"paths": ["/socket"], "upgrades": ["websocket"]},
                    ],
                    "deny": ["/payments/secret/**"],
                },
                "auditor": {
                    "allow": [{"paths": ["/**"], "methods": ["GET"]}],
                    "mode": "mtls",
                    "source_cidrs": ["10.0.0.0/8"],
                    "rate_limit": {"requests": 2, "per_seconds": 60},
                },
                "app": {
                    "allow": [{"paths": ["/payments/*"]}],
                    "mode": "bearer_plus_mtls_optional",
                    "enforcement": if lenient { "shadow" } else { "enforce" },
                },
            },
            "bypass": [{"path": "/health", "methods": ["GET"]}, {"path": "/open/*"}],
            "binding": {"required_paths": ["/payments/transfers/**"]},
            "source_address": source_address,
            "path": {"encoded_slashes": "keep", "semicolons": if lenient { "reject" } else { "keep" }},
            "upstream_headers": {"client_cert": true, "principal": "x-who"},
        });
        let policy = Policy::from_json(json.to_string().as_bytes()).unwrap_or_else(|problem| panic!("{problem}"));
        Self { json, policy }
    }
}
