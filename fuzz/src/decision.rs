//! The whole decision: several requests in a row to one worker, from callers and a host that answer as the bytes say.
//!
//! No bytes at all are a request in which nothing is wrong; every byte that is not zero changes something. What the host
//! says of a connection does not change while it lasts, because a worker may remember that; everything else may.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use arbitrary::Unstructured;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use mtls_authz::fuzzing::verified_payload;
use mtls_authz::{
    Allow, Binding, Certificate, Decision, Enforcement, ForwardedCert, Header, KeySet, Memory, Property, Reason,
    Request, Response, Rule, Shared, Thumbprint, UpstreamChange, decide, decision_record, log_line, upstream_headers,
    upstream_trailers,
};
use serde_json::{Map, Value, json};

use crate::reference;
use crate::scene::{EDGE, Host, KEYS, LEAVES, NOW, Notes, Setup, setups};

const MAX_REQUESTS: usize = 4;

/// Names of headers, most of which mean something.
const NAMES: &[&str] = &[
    "x-client-id",
    "x-profile-id",
    "X-Client_Id",
    "x-client-principal",
    "x.client.identity",
    "x-client-cert-thumbprint",
    "x-who",
    "x-own-cert",
    "client-cert",
    "client-cert-chain",
    "x-forwarded-client-cert",
    "x_forwarded_client_cert",
    "x-forwarded-tls-client-cert-info",
    "ssl-client-cert",
    "x-ssl-client-s-dn",
    "x-amzn-mtls-clientcert",
    "x-arr-clientcert",
    "authorization",
    "connection",
    "upgrade",
    ":protocol",
    ":method",
    ":path",
    "content-type",
    "x-request-id",
    "cookie",
    "",
];

const METHODS: &[&str] = &["GET", "POST", "DELETE", "CONNECT", "get", "", "G T"];

const PATHS: &[&str] = &[
    "/payments/42",
    "/payments/42/items",
    "/payments/transfers/1",
    "/payments/secret/1",
    "/payments",
    "/scoped",
    "/socket",
    "/health",
    "/open/a",
    "/open/a/b",
    "/",
    "/unknown",
    "/payments/../health",
    "/payments/%2e%2e/open/x",
    "/payments/..;/secret",
    "/payments/a%2f..%2fsecret",
    "//payments",
    "/payments/42?access_token=x",
    "/payments/42?a=%61ccess_token#b",
    "*",
    "",
];

const VALUES: &[&str] =
    &["acme", "globex", "initech", "app", "partner", "auditor", "upgrade", "websocket", "application/grpc", "spoofed"];

/// What a fuzzer's bytes decide.
struct Draw<'a>(Unstructured<'a>);

impl<'a> Draw<'a> {
    fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// Once in so many times, and never when there are no bytes left.
    fn rarely(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        self.0.bytes(length).unwrap_or_default()
    }

    /// Now and then with a byte changed, cut off or added.
    fn spoiled(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self.byte() {
            250..=251 => bytes.truncate(usize::from(self.byte())),
            252 => bytes.push(self.byte()),
            253..=254 if !bytes.is_empty() => {
                let place = (usize::from(self.byte()) * 256 + usize::from(self.byte())) % bytes.len();
                bytes[place] ^= self.byte();
            }
            255 => bytes = self.bytes().to_vec(),
            _ => {}
        }
        bytes
    }
}

/// A connection, of which nothing changes.
struct Connection {
    properties: HashMap<Property<'static>, Vec<u8>>,
    /// `None`: nothing can be noted on it.
    notes: Option<Notes>,
    /// Everything that there is to know of its certificate is known from the beginning.
    settled: bool,
}

impl Connection {
    fn draw(draw: &mut Draw, usual: usize) -> Self {
        let mut properties = HashMap::new();
        let mut settled = true;
        let notes = (!draw.rarely(16)).then(|| {
            // As many bytes as inputs have always given away here.
            draw.spoiled(vec![0; 8]);
            Notes::default()
        });
        properties.insert(Property::LocalUriSan, b"spiffe://td/envoy".to_vec());
        let certificate = (usual + usize::from(draw.byte())) % (LEAVES.len() + 1);
        if let Some(der) = LEAVES.get(certificate) {
            let der = draw.spoiled(der.to_vec());
            let digest = Thumbprint::of(&der).to_hex().into_bytes();
            match draw.byte() {
                200..=255 => {
                    settled = false;
                    let digest = draw.spoiled(digest);
                    properties.insert(Property::PeerCertificateDigest, digest);
                    for (property, value) in [
                        (Property::PeerSubject, "CN=globex,O=Globex"),
                        (Property::PeerUriSan, "spiffe://prod.example/ns/pay/sa/acme"),
                        (Property::PeerDnsSan, "app.example"),
                    ] {
                        if draw.rarely(2) {
                            let value = draw.spoiled(value.into());
                            properties.insert(property, value);
                        }
                    }
                }
                _ => {
                    let pem = draw.spoiled(reference::pem(&der).into_bytes());
                    // Envoy says so of what it does not have.
                    settled = !pem.is_empty();
                    properties.insert(Property::PeerCertificate, pem);
                    properties.insert(Property::PeerCertificateDigest, digest);
                }
            }
            let valid: &[u8] = draw.one_of(&[&[1], &[1], &[1], &[0], &[], &[2], &[1, 0]]);
            properties.insert(Property::PeerCertificateValid, valid.to_vec());
        }
        for property in [Property::DirectRemoteAddress, Property::SourceAddress] {
            let address = draw.one_of(&["10.0.0.1:4711", "192.0.2.1:1", "10.0.0.1", "[::ffff:10.0.0.1]:1", "::1", ""]);
            // Over TCP an address is remembered, over QUIC it is not.
            let protocol = if address.contains(":4711") { "HTTP/2" } else { "HTTP/3" };
            let address = draw.spoiled(address.into());
            properties.insert(property, address);
            if property == Property::DirectRemoteAddress {
                properties.insert(Property::Protocol, protocol.into());
            }
        }
        Self { properties, notes, settled }
    }
}

/// A request, and what the host answers while it is decided.
struct Situation {
    connection: usize,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    host: Host,
}

/// What may be true of all requests to a worker.
struct World<'a> {
    setup: &'a Setup,
    connections: Vec<Connection>,
    verifies: Option<bool>,
    /// What the workers share.
    buckets: HashMap<String, Shared>,
    /// Tokens whose signature is good.
    signed: Vec<String>,
}

impl World<'_> {
    fn situation(&mut self, draw: &mut Draw) -> Situation {
        let connection = usize::from(draw.byte()) % self.connections.len();
        let mut host = Host {
            properties: self.connections[connection].properties.clone(),
            notes: self.connections[connection].notes.clone(),
            verifies: self.verifies,
            now: Some(NOW),
            shared: Some(self.buckets.clone().into()),
            ..Host::default()
        };
        match draw.byte() {
            240..=247 => host.now = Some(NOW.saturating_add_signed(i64::from(draw.byte() as i8) * 30)),
            248..=250 => host.now = Some(draw.0.arbitrary().unwrap_or_default()),
            251 => host.now = None,
            252 => host.shared = None,
            253..=255 => {
                host.failing = vec![draw.one_of(&[
                    Property::Note(""),
                    Property::PeerCertificateValid,
                    Property::PeerCertificate,
                    Property::PeerCertificateDigest,
                    Property::PeerSubject,
                    Property::LocalUriSan,
                    Property::DynamicMetadata,
                    Property::DirectRemoteAddress,
                ])]
            }
            _ => {}
        }
        if draw.rarely(16) {
            host.bucket = Some(draw.bytes().to_vec());
            host.loses = draw.rarely(2);
        }

        let mut headers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let method = draw.one_of(METHODS);
        let method = draw.spoiled(method.into());
        let path = draw.one_of(PATHS);
        let path = draw.spoiled(path.into());
        headers.push((b":method".to_vec(), method));
        headers.push((b":path".to_vec(), path));
        headers.push((b":authority".to_vec(), b"api.example".to_vec()));

        self.forward(draw, &mut headers);
        self.give_token(draw, &mut host, &mut headers);
        for _ in 0..draw.byte() % 6 {
            let name = draw.one_of(NAMES);
            let name = draw.spoiled(name.into());
            let value = draw.one_of(VALUES);
            let value = draw.spoiled(value.into());
            headers.push((name, value));
        }
        Situation { connection, headers, host }
    }

    /// The header in which a proxy forwards a certificate.
    fn forward(&self, draw: &mut Draw, headers: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        let Some(rules) = &self.setup.policy.forwarding else {
            if draw.rarely(4) {
                let value = elements(draw, 1);
                headers.push((b"x-forwarded-client-cert".to_vec(), value));
            }
            return;
        };
        if draw.rarely(4) {
            return;
        }
        let value = if rules.header == "x-forwarded-client-cert" {
            let more = usize::from(draw.rarely(8));
            elements(draw, 2 + more)
        } else {
            let der = LEAVES[usize::from(draw.byte()) % LEAVES.len()];
            let value = match rules.header.as_str() {
                "client-cert" => format!(":{}:", STANDARD.encode(der)),
                "ssl-client-cert" => reference::percent_encode(reference::pem(der).as_bytes()),
                _ => STANDARD.encode(der),
            };
            draw.spoiled(value.into_bytes())
        };
        headers.push((rules.header.clone().into_bytes(), value));
    }

    fn give_token(&mut self, draw: &mut Draw, host: &mut Host, headers: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        let kind = draw.byte() % 8;
        if kind == 7 {
            return;
        }
        let bound_to = usize::from(draw.byte()) % (LEAVES.len() + 1);
        let client = draw.one_of(&["acme", "globex", "initech", "app", "nobody"]);
        let mut payload = json!({"client_id": client, "exp": NOW + 60, "aud": "payments", "scope": "read pay"});
        payload["iss"] = json!("https://issuer.example");
        if let Some(der) = LEAVES.get(bound_to) {
            payload["cnf"] = json!({"x5t#S256": Thumbprint::of(der).as_str()});
        }
        if draw.rarely(4) {
            let name = draw.one_of(&["exp", "nbf", "iat", "aud", "iss", "cnf", "scope", "scp", "client_id", "azp"]);
            let later = NOW + u64::from(draw.byte());
            payload[name] = match draw.byte() % 8 {
                0 => Value::Null,
                1 => json!(later),
                2 => json!("acme"),
                3 => json!(["acme", "pay"]),
                4 => json!({"jkt": "x"}),
                5 => json!({"x5t#S256": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="}),
                6 => json!(1.5),
                _ => json!(""),
            };
        }
        if kind != 6 {
            let token = self.token(draw, &payload);
            headers.push((b"authorization".to_vec(), [b"Bearer ", token.as_slice()].concat()));
        }
        if self.setup.json["token"]["source"] != "jwks" && !draw.rarely(8) {
            if draw.rarely(8) {
                payload["more"] = json!(true);
            }
            let metadata = reference::protobuf_metadata("envoy.filters.http.jwt_authn", "payload", &payload);
            let metadata = draw.spoiled(metadata);
            host.properties.insert(Property::DynamicMetadata, metadata);
        }
    }

    fn token(&mut self, draw: &mut Draw, payload: &Value) -> Vec<u8> {
        let algorithm = draw.one_of(&["RS256", "EdDSA", "ES256", "PS256", "none", "HS256"]);
        let mut header = json!({"alg": algorithm});
        if draw.rarely(4) {
            let name = draw.one_of(&["kid", "typ", "crit", "alg"]);
            header[name] = draw.one_of(&["ed25519", "rsa", "p256", "at+jwt", "dpop+jwt", ""]).into();
        }
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(&header), encode(payload));
        // Cryptography is what takes time here, so there is none where nobody looks at signatures.
        let forged = draw.rarely(4) || self.setup.json["token"]["source"] != "jwks";
        let signature = match algorithm {
            "EdDSA" if !forged => SigningKey::from_bytes(&[7; 32]).sign(signed.as_bytes()).to_bytes().to_vec(),
            "RS256" | "PS256" => vec![1; 256],
            _ => vec![1; 64],
        };
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        if algorithm == "EdDSA" && !forged {
            self.signed.push(token.clone());
        }
        draw.spoiled(token.into_bytes())
    }
}

/// The `x-forwarded-client-cert` of so many proxies, the last of which is the trusted one.
fn elements(draw: &mut Draw, count: usize) -> Vec<u8> {
    let mut written = Vec::new();
    for index in 0..count {
        let usual = if index + 1 == count && count > 1 { EDGE } else { 0 };
        let der = LEAVES[(usual + usize::from(draw.byte())) % LEAVES.len()];
        let pem = reference::percent_encode(reference::pem(der).as_bytes());
        written.push(format!("By=spiffe://td/envoy;Hash={};Cert=\"{pem}\"", Thumbprint::of(der).to_hex()));
    }
    draw.spoiled(written.join(",").into_bytes())
}

/// The whole decision. An allow names a rule, and what that rule, the profile and the mode ask for is there; a worker that
/// remembers decides like one that does not; nobody but the filter tells the upstream who is calling.
pub fn decision(data: &[u8]) {
    thread_local! {
        static SETUPS: (Vec<Setup>, KeySet) = (setups(), KeySet::from_json(KEYS).unwrap().0);
    }
    SETUPS.with(|(setups, keys)| {
        let mut draw = Draw(Unstructured::new(data));
        let setup = &setups[usize::from(draw.byte()) % setups.len()];
        let requests = 1 + usize::from(draw.byte()) % MAX_REQUESTS;
        let verifies = draw.one_of(&[Some(true), None, Some(false)]);
        let usual = if setup.policy.forwarding.is_some() { EDGE } else { 0 };
        let connections: Vec<_> = (0..2).map(|_| Connection::draw(&mut draw, usual)).collect();
        let mut world = World { setup, connections, verifies, buckets: HashMap::new(), signed: Vec::new() };
        let has_keys = !setup.json["token"]["jwks_uri"].is_null() && !draw.rarely(8);
        let memory = || {
            let memory = Memory::new(&setup.policy.token.source);
            if has_keys {
                memory.adopt_keys(0, keys.clone());
            }
            memory
        };
        let worker = memory();
        for _ in 0..requests {
            let situation = world.situation(&mut draw);
            let headers: Vec<Header> = situation.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let request = Request::new(&headers);
            let ask = |memory: &Memory| {
                // Each time with the buckets as they were.
                let host = situation.host.clone();
                (decide(&setup.policy, memory, &request, &host), host.shared)
            };
            let (decision, shared) = ask(&worker);
            if *SHOW {
                show(setup, &situation, &decision);
            }
            if world.connections[situation.connection].settled && situation.host.failing.is_empty() {
                assert_eq!(decision, ask(&worker).0, "asked again");
                assert_eq!(decision, ask(&memory()).0, "remembering nothing");
            }
            world.buckets = shared.map_or(world.buckets, RefCell::into_inner);
            answered(setup, &request, &decision);
            told(setup, &request, &decision);
            if let Ok(Allow { rule }) = &decision.verdict {
                Grounds { world: &world, situation: &situation, request: &request, decision: &decision }.check(*rule);
            }
        }
    });
}

/// Is SHOW set, so that a person can read what an input means?
static SHOW: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SHOW").is_some());

fn show(setup: &Setup, situation: &Situation, decision: &Decision) {
    let json = &setup.json;
    println!("mode {} certificate {} token {}", json["mode"], json["certificate"], json["token"]["source"]);
    println!("connection {}, host: now {:?}", situation.connection, situation.host.now);
    println!("    verifies {:?}, failing {:?}", situation.host.verifies, situation.host.failing);
    for (property, value) in &situation.host.properties {
        println!("    {property:?} = {}", value.escape_ascii());
    }
    for (name, value) in &situation.headers {
        println!("    {}: {}", name.escape_ascii(), value.escape_ascii());
    }
    println!("{decision:?}");
}

/// Whatever was decided can be recorded and answered.
fn answered(setup: &Setup, request: &Request, decision: &Decision) {
    let record = String::from_utf8(decision_record(setup.policy.policy_id.as_deref(), request, decision)).unwrap();
    let json: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(json["rule"].is_string(), decision.verdict.is_ok(), "{record}");
    assert!(!record.contains("BEGIN CERTIFICATE") && !record.contains('\n'), "{record}");
    assert!(!log_line(record.as_bytes(), decision).contains('\n'));
    let enforced = decision.enforcement == Enforcement::Enforce;
    assert_eq!(decision.refusal().is_some(), enforced && decision.verdict.is_err());
    if let Err(deny) = &decision.verdict {
        assert!(Reason::ALL.contains(&deny.reason));
        let response = Response::refuse(deny, request);
        assert_eq!(response.status, deny.reason.status());
        for (_, value) in &response.headers {
            assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value:?}");
        }
    }
}

/// The upstream hears who is calling from the filter alone.
fn told(setup: &Setup, request: &Request, decision: &Decision) {
    let names = &setup.policy.upstream_headers;
    let inbound = || request.headers.iter().map(|(name, value)| (*name, (*value).into()));
    let sent = match upstream_headers(names, request, decision) {
        UpstreamChange::Replace { headers, .. } => headers,
        UpstreamChange::Add(more) => inbound().chain(more).collect(),
    };
    let own = setup.policy.forwarding.as_ref().map(|rules| rules.header.as_str());
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in &sent {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase().replace(['_', '.'], "-");
        if !identifies(&name) && own != Some(&name) {
            continue;
        }
        if name == "x-forwarded-client-cert" && decision.forwarded_cert == ForwardedCert::Own {
            // Envoy's own word, and nothing else in it.
            let hash = decision.certificate.as_ref().map(|certificate| certificate.thumbprint.to_hex());
            let text = String::from_utf8(value.to_vec()).unwrap().to_ascii_lowercase();
            assert_eq!(text.matches("hash=").count(), 1);
            assert!(hash.is_none_or(|hash| text.contains(&hash)), "{text}");
            continue;
        }
        found.push((name, String::from_utf8(value.to_vec()).unwrap()));
    }
    let caller = &decision.caller;
    let no_token_counted = match decision.verdict {
        Ok(Allow { rule: Rule::Bypass(_) }) => true,
        Ok(Allow { rule: Rule::Profile(_) }) => caller.binding == Some(Binding::Certificate),
        Err(_) => false,
    };
    if no_token_counted && decision.enforcement == Enforcement::Enforce {
        let is_token = |value: &[u8]| {
            let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"dpop")
        };
        assert!(!sent.iter().any(|(name, value)| **name == *b"authorization" && is_token(value)));
    }
    let mut expected: Vec<(String, String)> = Vec::new();
    if let Ok(Allow { rule: Rule::Profile(_) }) = decision.verdict {
        let caller = &decision.caller;
        let der = decision.certificate.as_ref().and_then(|certificate| certificate.der.as_ref());
        let visible = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
            let written = |byte: u8| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") };
            text.bytes().map(written).collect::<String>()
        };
        for (name, value) in [
            ("x-client-id", caller.client_id().map(str::to_owned)),
            ("x-profile-id", caller.profile_id.as_deref().map(str::to_owned)),
            ("x-who", caller.principal().map(str::to_owned)),
            ("x-client-identity", caller.identity.as_deref().map(visible)),
            ("x-client-cert-thumbprint", caller.thumbprint.map(|thumbprint| thumbprint.to_string())),
            ("client-cert", der.map(|der| format!(":{}:", STANDARD.encode(der)))),
        ] {
            expected.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    assert_eq!(found, expected);
    if let Some(kept) = upstream_trailers(names, request.headers) {
        let name = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase().replace(['_', '.'], "-");
        assert!(!kept.iter().any(|(known, _)| identifies(&name(known)) || *known == b"authorization"));
    }
}

/// Could an upstream take a header of this name for a word about the caller?
fn identifies(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "x-client-id",
        "x-profile-id",
        "x-client-principal",
        "x-client-identity",
        "x-client-cert-thumbprint",
        "x-who",
        "client-cert",
        "client-cert-chain",
        "x-forwarded-client-cert",
        "x-arr-clientcert",
    ];
    const FAMILIES: &[&str] =
        &["x-forwarded-tls-client-cert", "ssl-client-", "x-ssl-client-", "x-amzn-mtls-clientcert"];
    NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// An allowed request, and everything that it must have had.
struct Grounds<'a> {
    world: &'a World<'a>,
    situation: &'a Situation,
    request: &'a Request<'a>,
    decision: &'a Decision,
}

impl Grounds<'_> {
    fn check(&self, rule: Rule) {
        let json = &self.world.setup.json;
        let path = self.decision.path.as_deref().unwrap();
        let (method, upgrade) = (self.request.sent_method().unwrap(), self.request.upgrade());
        let listed = |rule: &Value| {
            let methods = rule["methods"].as_array();
            let covers = |known: &Value| known == method || (known == "GET" && method == "HEAD");
            methods.is_none_or(|methods| methods.iter().any(covers))
        };
        let index = match rule {
            Rule::Bypass(index) => {
                let entry = &json["bypass"][index];
                assert!(covers(entry["path"].as_str().unwrap(), path) && listed(entry));
                assert!(upgrade.is_none() && method != "CONNECT");
                return;
            }
            Rule::Profile(index) => index,
        };
        let caller = &self.decision.caller;
        let profile_id = caller.profile_id.as_deref().unwrap();
        let client_id = caller.client_id().unwrap();
        let profile = &json["profiles"][profile_id];
        let rule = &profile["allow"][index];
        let patterns = |list: &Value| list.as_array().unwrap().iter().any(|p| covers(p.as_str().unwrap(), path));
        assert!(patterns(&rule["paths"]) && listed(rule), "{rule} {path}");
        assert!(profile["deny"].is_null() || !patterns(&profile["deny"]), "{path}");
        assert_eq!(upgrade.is_none(), rule["upgrades"].is_null());
        assert!(upgrade.is_none_or(|upgrade| rule["upgrades"].as_array().unwrap().contains(&json!(upgrade))));
        match &json["clients"][client_id] {
            Value::Null => self.mapped(client_id, profile_id),
            client => assert!(client["profiles"].as_array().unwrap().contains(&json!(profile_id))),
        }
        for (name, expected) in [("x-client-id", client_id), ("x-profile-id", profile_id)] {
            assert!(self.request.values(name).iter().all(|value| value == expected.as_bytes()));
        }
        if !profile["source_cidrs"].is_null() {
            let is_direct = json["source_address"] == "direct";
            let of = if is_direct { Property::DirectRemoteAddress } else { Property::SourceAddress };
            assert!(self.is_near(of));
        }
        let mode = profile["mode"].as_str().or(json["mode"].as_str()).unwrap();
        let required = patterns(&json["binding"]["required_paths"]);
        // The clock counts nanoseconds.
        let now = self.situation.host.now.unwrap().min(u64::MAX / 1_000_000_000) as i64;
        if let Some(certificate) = &self.decision.certificate {
            assert!(
                certificate
                    .check(now, self.world.setup.policy.clock_skew, self.world.setup.policy.extended_key_usage)
                    .is_ok()
            );
            assert_eq!(caller.thumbprint, Some(certificate.thumbprint));
            self.presented(certificate.thumbprint);
        }
        assert_eq!(caller.thumbprint.is_some(), self.decision.certificate.is_some());
        match caller.binding.unwrap() {
            Binding::Certificate => assert_eq!(mode, "mtls"),
            Binding::Bound => assert!(mode != "mtls"),
            Binding::Bearer => assert!(mode == "bearer_plus_mtls_optional" && !required),
        }
        if mode == "mtls" {
            assert!(self.decision.certificate.is_some());
            return;
        }
        let payload = self.payload();
        let bound = payload.get("cnf").map(|cnf| cnf["x5t#S256"].as_str().unwrap());
        assert_eq!(bound, caller.thumbprint.as_ref().map(Thumbprint::as_str).filter(|_| payload.contains_key("cnf")));
        assert_eq!(bound.is_some(), caller.binding == Some(Binding::Bound));
        assert!(payload["exp"].as_i64().unwrap() + 30 > now);
        assert!(["client_id", "azp"].into_iter().all(|name| payload.get(name).is_none_or(|name| name == client_id)));
        let scopes = payload.get("scope").into_iter().chain(payload.get("scp")).flat_map(|scopes| match scopes {
            Value::String(words) => words.split(' ').map(str::to_owned).collect(),
            list => list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        });
        let scopes: Vec<Value> = scopes.map(Value::String).collect();
        assert!(rule["scopes"].as_array().is_none_or(|needed| needed.iter().all(|scope| scopes.contains(scope))));
    }

    /// The certificate's own names, which the mapping made a client of that is not registered.
    fn mapped(&self, client_id: &str, profile_id: &str) {
        let subject = &self.decision.certificate.as_ref().unwrap().subject;
        assert!(subject.values("O").any(|name| name.to_string() == "ExampleCorp"));
        for (kind, name) in [("CN", client_id), ("OU", profile_id)] {
            let decoded = reference::percent_decode(name.as_bytes()).unwrap();
            assert_eq!(subject.sole_text(kind).map(str::as_bytes), Some(decoded.as_slice()));
        }
    }

    fn property(&self, property: Property<'static>) -> Option<&[u8]> {
        self.situation.host.properties.get(&property).map(Vec::as_slice)
    }

    /// Is this address in the one network that is named?
    fn is_near(&self, of: Property<'static>) -> bool {
        let address = self.property(of).and_then(|address| std::str::from_utf8(address).ok());
        address.is_some_and(|address| address.contains("10.") && !address.contains("192.0.2.1"))
    }

    /// This certificate is that of the connection, and the host or the listener verified it; or a trusted proxy sent it.
    fn presented(&self, thumbprint: Thumbprint) {
        let json = &self.world.setup.json["certificate"];
        let source = json["source"].as_str().unwrap_or("connection");
        let verified =
            json["validation"] == "listener" || self.property(Property::PeerCertificateValid) == Some(&[1][..]);
        let pem = self.property(Property::PeerCertificate);
        let own = pem.and_then(|pem| Certificate::from_text(pem).ok());
        let digest = self.property(Property::PeerCertificateDigest).unwrap_or_default();
        let is_own = match &own {
            Some(own) => own.thumbprint == thumbprint,
            None => digest.eq_ignore_ascii_case(thumbprint.to_hex().as_bytes()),
        };
        let is_edge = own.is_some_and(|own| own.uri_sans == ["spiffe://prod.example/edge"]);
        let direct = verified && is_own;
        let trusted = self.is_near(Property::DirectRemoteAddress) || (verified && is_edge) || self.may_be_edge();
        match source {
            "connection" => assert!(direct),
            "forwarded" => assert!(trusted),
            _ => assert!(trusted || direct),
        }
    }

    /// Of this connection only properties are known, one of which is the trusted proxy's name.
    fn may_be_edge(&self) -> bool {
        !self.world.connections[self.situation.connection].settled
    }

    /// The payload of the token, which somebody verified.
    fn payload(&self) -> Map<String, Value> {
        let source = &self.world.setup.json["token"]["source"];
        let bearer = self.request.authorization.exactly_one().map(|value| String::from_utf8(value.to_vec()).unwrap());
        if source != "jwks" {
            let (namespace, key) = ("envoy.filters.http.jwt_authn", "payload");
            return verified_payload(namespace, &[key.to_owned()], None, &self.situation.host).unwrap().unwrap().1;
        }
        let token = bearer.as_deref().and_then(|value| value.get(7..)).unwrap();
        let parts: Vec<Vec<u8>> = token.split('.').map(|part| reference::base64url(part).unwrap()).collect();
        let header = reference::object(&parts[0]).unwrap();
        let by_host = self.world.verifies == Some(true)
            && header["alg"].as_str().is_some_and(|name| name.starts_with("RS") || name.starts_with("ES"));
        assert!(by_host || self.world.signed.iter().any(|signed| signed == token), "nobody signed {token}");
        reference::object(&parts[1]).unwrap()
    }
}

/// Does this pattern cover the path? A slash at the end makes no difference here.
fn covers(pattern: &str, path: &str) -> bool {
    fn rest(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, _) => path.is_empty() || path == [""],
            (Some((&"**", more)), _) => (0..=path.len()).any(|skipped| rest(more, &path[skipped..])),
            (Some((&"*", more)), Some((segment, after))) => !segment.is_empty() && rest(more, after),
            (Some((exact, more)), Some((segment, after))) => exact == segment && rest(more, after),
            (Some(_), None) => false,
        }
    }
    rest(&pattern.split('/').skip(1).collect::<Vec<_>>(), &path.split('/').skip(1).collect::<Vec<_>>())
}
