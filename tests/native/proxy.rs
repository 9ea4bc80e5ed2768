//! A proxy whose every answer a test chooses.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use mtls_authz::{
    Decision, Header, HostError, Policy, Property, Proxy, Request, Shared, SignatureCheck, Swap, UpstreamChange,
    upstream_headers,
};
use serde_json::{Value, json};

use crate::certificates::Leaf;

/// The time of every test: 2027-01-15.
pub const NOW: i64 = 1_800_000_000;
/// What the clock that is never set shows then, in seconds.
pub const UPTIME: u64 = 5_000;

/// Answers from maps.
#[derive(Default)]
pub struct FakeProxy {
    pub properties: HashMap<Property<'static>, Vec<u8>>,
    pub failing: Vec<Property<'static>>,
    pub shared: RefCell<HashMap<String, Shared>>,
    /// All that was asked for; a note under the name `""`.
    pub asked: RefCell<Vec<Property<'static>>>,
    /// What was noted on the connection.
    pub notes: Notes,
    /// How often something was noted on it.
    pub noted: Cell<usize>,
    /// Seconds by which the clock that can be set was set forward, or back.
    pub set_by: Cell<i64>,
    /// Nanoseconds that have passed.
    pub passed: Cell<u64>,
}

/// The notes on one connection, which all of its requests share.
pub type Notes = Rc<RefCell<HashMap<String, Vec<u8>>>>;

/// A property that a test can name: the name of a note is the policy's own.
pub const fn nameable(property: Property<'_>) -> Property<'static> {
    match property {
        Property::Note(_) => Property::Note(""),
        Property::PeerCertificateValid => Property::PeerCertificateValid,
        Property::PeerCertificate => Property::PeerCertificate,
        Property::PeerCertificateDigest => Property::PeerCertificateDigest,
        Property::PeerSubject => Property::PeerSubject,
        Property::PeerUriSan => Property::PeerUriSan,
        Property::PeerDnsSan => Property::PeerDnsSan,
        Property::LocalUriSan => Property::LocalUriSan,
        Property::Protocol => Property::Protocol,
        Property::DynamicMetadata => Property::DynamicMetadata,
        Property::DirectRemoteAddress => Property::DirectRemoteAddress,
        Property::SourceAddress => Property::SourceAddress,
    }
}

impl FakeProxy {
    /// An HTTP/2 connection without a certificate.
    pub fn new() -> Self {
        Self::default().with(Property::Protocol, *b"HTTP/2")
    }

    /// A request over the connection with these notes.
    pub fn over(mut self, notes: &Notes) -> Self {
        self.notes = Rc::clone(notes);
        self
    }

    pub fn with(mut self, property: Property<'static>, value: impl Into<Vec<u8>>) -> Self {
        self.properties.insert(property, value.into());
        self
    }

    /// A verified connection with this certificate, as Envoy 1.39 and later show it.
    pub fn presenting(self, leaf: &Leaf) -> Self {
        self.with(Property::PeerCertificateValid, [1]).with(Property::PeerCertificate, leaf.pem.as_bytes())
    }

    /// A payload that `jwt_authn` verified.
    pub fn verified(self, payload: &Value) -> Self {
        self.with(Property::DynamicMetadata, metadata("envoy.filters.http.jwt_authn", "payload", payload))
    }
}

impl Proxy for FakeProxy {
    fn property(&self, property: Property<'_>) -> Result<Option<Vec<u8>>, HostError> {
        self.asked.borrow_mut().push(nameable(property));
        if self.failing.contains(&nameable(property)) {
            return Err(HostError { call: "proxy_get_property", status: 10 });
        }
        Ok(match property {
            Property::Note(name) => self.notes.borrow().get(name).cloned(),
            property => self.properties.get(&property).cloned(),
        })
    }

    fn leave_note(&self, name: &str, note: &[u8]) -> Result<(), HostError> {
        self.noted.set(self.noted.get() + 1);
        self.notes.borrow_mut().insert(name.to_owned(), note.to_vec());
        Ok(())
    }

    fn verify_signature(&self, check: SignatureCheck<'_>) -> Option<bool> {
        Some(crate::host::is_valid(check))
    }

    fn now(&self) -> Result<u64, HostError> {
        Ok((NOW + self.set_by.get()) as u64 * 1_000_000_000 + self.passed.get())
    }

    fn monotonic(&self) -> Result<u64, HostError> {
        Ok(UPTIME * 1_000_000_000 + self.passed.get())
    }

    fn shared(&self, key: &str) -> Result<Option<Shared>, HostError> {
        Ok(self.shared.borrow().get(key).cloned())
    }

    fn swap_shared(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<Swap, HostError> {
        let mut shared = self.shared.borrow_mut();
        if shared.get(key).map(|current| current.version) != version {
            return Ok(Swap::Lost);
        }
        let next = version.unwrap_or(0) + 1;
        shared.insert(key.to_owned(), Shared { value: value.to_vec(), version: next });
        Ok(Swap::Done)
    }
}

/// Methods of a `Proxy` that has a `fake`, which answers them.
macro_rules! answered_by_fake {
    (@ property) => {
        fn property(&self, property: mtls_authz::Property<'_>) -> Result<Option<Vec<u8>>, mtls_authz::HostError> {
            self.fake.property(property)
        }
    };
    (@ leave_note) => {
        fn leave_note(&self, name: &str, note: &[u8]) -> Result<(), mtls_authz::HostError> {
            self.fake.leave_note(name, note)
        }
    };
    (@ verify_signature) => {
        fn verify_signature(&self, check: mtls_authz::SignatureCheck<'_>) -> Option<bool> {
            self.fake.verify_signature(check)
        }
    };
    (@ now) => {
        fn now(&self) -> Result<u64, mtls_authz::HostError> {
            self.fake.now()
        }
    };
    (@ monotonic) => {
        fn monotonic(&self) -> Result<u64, mtls_authz::HostError> {
            self.fake.monotonic()
        }
    };
    (@ shared) => {
        fn shared(&self, key: &str) -> Result<Option<mtls_authz::Shared>, mtls_authz::HostError> {
            self.fake.shared(key)
        }
    };
    (@ swap_shared) => {
        fn swap_shared(
            &self,
            key: &str,
            value: &[u8],
            version: Option<u32>,
        ) -> Result<mtls_authz::Swap, mtls_authz::HostError> {
            self.fake.swap_shared(key, value, version)
        }
    };
    ($($method:ident)*) => {
        $(crate::proxy::answered_by_fake!(@ $method);)*
    };
}
pub(crate) use answered_by_fake;

/// A header list of an HTTP request.
pub fn headers<'a>(method: &'a str, path: &'a str, more: &'a [(&'a str, &'a str)]) -> Vec<Header<'a>> {
    let pseudo = [(":method", method), (":path", path), (":authority", "api.example")];
    pseudo.iter().chain(more).map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

/// The headers with which a request goes on.
pub fn sent<'a>(policy: &'a Policy, request: &Request<'a>, decision: &'a Decision) -> Vec<Written<'a>> {
    match upstream_headers(&policy.upstream_headers, request, decision) {
        UpstreamChange::Replace { headers, .. } => headers,
        UpstreamChange::Add(more) => {
            let inbound = request.headers.iter().map(|(name, value)| (*name, Cow::Borrowed(*value)));
            inbound.chain(more).collect()
        }
    }
}

/// A header's name and its value.
type Written<'a> = (&'a [u8], Cow<'a, [u8]>);

/// `envoy.config.core.v3.Metadata` with one payload, by hand: field numbers and lengths.
pub fn metadata(namespace: &str, key: &str, payload: &Value) -> Vec<u8> {
    payloads(namespace, &json!({key: payload}))
}

/// The same with several payloads, by key.
pub fn payloads(namespace: &str, payloads: &Value) -> Vec<u8> {
    field(1, &[field(1, namespace.as_bytes()), field(2, &protobuf_struct(payloads))].concat())
}

/// A member of a `google.protobuf.Struct`.
fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value)].concat())
}

/// A `google.protobuf.Struct`.
pub fn protobuf_struct(json: &Value) -> Vec<u8> {
    let members = json.as_object().unwrap();
    members.iter().flat_map(|(name, member)| entry(name, &value(member))).collect()
}

fn value(json: &Value) -> Vec<u8> {
    match json {
        Value::Null => vec![0x08, 0],
        Value::Number(number) => [&[0x11][..], &number.as_f64().unwrap().to_le_bytes()].concat(),
        Value::String(text) => field(3, text.as_bytes()),
        Value::Bool(truth) => vec![0x20, u8::from(*truth)],
        Value::Object(_) => field(5, &protobuf_struct(json)),
        Value::Array(values) => field(6, &values.iter().flat_map(|each| field(1, &value(each))).collect::<Vec<_>>()),
    }
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        encoded.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    encoded.push(length as u8);
    encoded.extend_from_slice(bytes);
    encoded
}
