//! Requests, and what can be left out of them.

use mtls_authz::{Format, Property, Thumbprint};
use serde_json::Value;

use super::choices::Choices;
use super::policies::texts;
use super::pool::{self, Bound, Cert, Defect, EDGE, Token};
use crate::formats::written;
use crate::host::Host;
use crate::proxy::FakeProxy;

/// What a caller sends, and over which connection.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Pseudo headers among them. `authorization` and the forwarded certificate are written from what is below.
    pub headers: Vec<(&'static str, String)>,
    pub connection: Option<Presented>,
    pub forwarded: Option<Forwarded>,
    pub authorization: Authorization,
    /// The token, if there is one.
    pub token: Token,
    /// `jwt_authn` found the token elsewhere, if the `Authorization` header is not it.
    pub elsewhere: bool,
    pub address: Option<&'static str>,
    pub protocol: &'static str,
    /// How often the first request was made before, where rates are limited.
    pub before: usize,
}

/// A certificate on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    pub cert: Cert,
    pub verified: bool,
}

/// The header in which a proxy forwards a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    Holding(Cert),
    Empty,
    Malformed,
}

/// What the `Authorization` header holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    Absent,
    Bearer,
    LowerCase,
    Twice,
    CommaJoined,
    Dpop,
    Basic,
    BasicAndBearer,
}

use Authorization::{Absent, Basic, BasicAndBearer, Bearer, CommaJoined, Dpop, LowerCase, Twice};

pub const FORWARDED_HEADER: &str = "client-cert";
pub const CLIENTS: &[&str] = &["acme", "globex", "initech", "ghost"];
pub const PROFILES: &[&str] = &["p", "q", "r"];
const METHODS: &[&str] = &["GET", "POST", "HEAD", "DELETE", "OPTIONS", "get", "Delete", "PURGE", "purge", "CONNECT"];
const PATHS: &[&str] = &[
    "/a",
    "/",
    "/a/1",
    "/a/b",
    "/A/B",
    "/a/%62",
    "/a%2Fb",
    "/a/b;x=1",
    "/a/b/",
    "/a/../pub/x",
    "/a/b/c",
    "/a/b:c",
    "/a/b%3Ac",
    "/pub",
    "/pub/x",
    "/pub/secret",
    "/pub/Secret",
    "/pub/secret/x",
    "/PUB/x",
    "/health",
    "/c",
    "//a",
    "/a?access_token=x",
];
const HOSTS: &[&str] = &["api.example", "API.example:8443", "other.example", "a.b.example", ""];

/// A request in which nothing is wrong, with a few changes.
pub fn ask(c: &mut Choices, policy: &Value) -> Ask {
    let cert = certificate(c, policy);
    let client = c.mostly(client_of(cert), CLIENTS);
    let mut ask = Ask {
        headers: vec![
            (":method", c.any(&["GET", "GET", "GET", "HEAD"]).to_owned()),
            (":path", path(c, policy).to_owned()),
            (":authority", "api.example".to_owned()),
        ],
        connection: Some(Presented { cert, verified: true }),
        forwarded: None,
        authorization: if policy["mode"] == "mtls" { c.any(&[Absent, Bearer]) } else { Bearer },
        token: Token::of(client, c.any(&[Bound::No, Bound::To(cert), Bound::To(cert)])),
        elsewhere: false,
        address: Some("10.1.2.3"),
        protocol: "HTTP/2",
        before: c.mostly(0, &[1, 2]),
    };
    // A proxy in front, which is trusted by its address or its certificate.
    if policy["certificate"]["source"] == "forwarded" || policy["certificate"]["source"] != Value::Null && c.one_in(2) {
        ask.forwarded = Some(Forwarded::Holding(cert));
        ask.connection = Some(Presented { cert: Cert::named("the proxy"), verified: true });
    }
    let profiles = texts(&policy["clients"][client]["profiles"]);
    if !profiles.is_empty() && c.one_in(2) {
        ask.headers.push(("x-profile-id", c.any(&profiles)));
    }
    if c.one_in(4) {
        ask.headers.push(("x-client-id", client.to_owned()));
    }
    for _ in 0..c.below(4) {
        c.any(CHANGES)(c, &mut ask);
    }
    ask
}

/// The certificates that a policy knows, or some others.
fn known(policy: &Value) -> Vec<Cert> {
    let clients = policy["clients"].as_object().into_iter().flatten();
    let names: Vec<String> = clients.flat_map(|(_, client)| texts(&client["identities"])).collect();
    let known = |cert: &&Cert| CERT_NAMES.with(|all| all[cert.index()].iter().any(|name| names.contains(name)));
    let known: Vec<Cert> = Cert::all()[..GOOD].iter().filter(known).copied().collect();
    if known.is_empty() { Cert::all()[..GOOD].to_vec() } else { known }
}

/// The first of the pool are good, until a policy says otherwise.
const GOOD: usize = 11;

thread_local! {
    static CERT_NAMES: Vec<Vec<String>> = Cert::all().iter().map(|cert| cert.names()).collect();
}

/// A certificate that policies may know.
fn good(c: &mut Choices) -> Cert {
    c.any(&Cert::all()[..GOOD])
}

/// Mostly one that the policy knows.
fn certificate(c: &mut Choices, policy: &Value) -> Cert {
    if policy["certificate"]["clock_skew_seconds"] == 120 && c.one_in(3) {
        return Cert::named("acme, ended");
    }
    let by_mapping = !policy["identity"]["mappings"].is_null() && c.one_in(2);
    if by_mapping || c.one_in(8) { c.any(&Cert::all()) } else { c.any(&known(policy)) }
}

/// Mostly one that can be read, and where the policy keeps odd characters, one with these.
fn path(c: &mut Choices, policy: &Value) -> &'static str {
    let mut paths = vec!["/a", "/a/1", "/", "/pub/x", "/A/B", "/pub/Secret"];
    for (setting, path) in [("encoded_slashes", "/a%2Fb"), ("semicolons", "/a/b;x=1")] {
        if policy["path"][setting] == "keep" {
            paths.extend([path, path]);
        }
    }
    c.any(&paths)
}

/// The client whose certificate this mostly is.
fn client_of(cert: Cert) -> &'static str {
    let name = format!("{cert:?}").to_lowercase();
    CLIENTS.iter().chain(&["nobody"]).find(|client| name.starts_with(**client)).copied().unwrap_or("acme")
}

/// What makes a request unusual.
const CHANGES: &[fn(&mut Choices, &mut Ask)] = &[
    |c, ask| ask.set(":method", c.any(METHODS)),
    |c, ask| ask.set(":path", c.any(PATHS)),
    |c, ask| ask.set(":authority", c.any(HOSTS)),
    |_, ask| ask.headers.retain(|(name, _)| *name != "x-profile-id"),
    |c, ask| ask.set("x-profile-id", c.any(PROFILES)),
    |c, ask| ask.set("x-client-id", c.any(CLIENTS)),
    |c, ask| {
        let name = c.any(&["x-profile-id", "x-client-id"]);
        ask.headers.push((name, c.any(&["p", "acme"]).to_owned()));
    },
    |c, ask| {
        let name = c.any(&["x-http-method-override", "x-original-url", "x-forwarded-client-cert"]);
        ask.set(name, c.any(&["GET", "DELETE", "/a"]));
    },
    |c, ask| {
        ask.set("connection", "upgrade");
        ask.set("upgrade", c.any(&["websocket", "h2c"]));
    },
    |c, ask| ask.set("upgrade", c.any(&["websocket", "h2c"])),
    |_, ask| ask.connection = None,
    |c, ask| ask.connection = Some(Presented { cert: c.any(&Cert::all()), verified: true }),
    |_, ask| ask.connection = ask.connection.map(|presented| Presented { verified: false, ..presented }),
    // A proxy in front, which has a certificate or not.
    |c, ask| {
        if let Some(Presented { cert, .. }) = ask.connection {
            ask.forwarded = Some(Forwarded::Holding(cert));
            ask.connection = c.any(&[None, Some(Presented { cert: Cert::named("the proxy"), verified: true })]);
        }
    },
    |c, ask| {
        let header = [Forwarded::Holding(c.any(&Cert::all())), Forwarded::Empty, Forwarded::Malformed];
        ask.forwarded = Some(c.any(&header));
    },
    |c, ask| {
        ask.authorization = c.any(&[Absent, LowerCase, Dpop, Twice, CommaJoined, Basic, BasicAndBearer]);
    },
    |_, ask| ask.authorization = Absent,
    |_, ask| ask.elsewhere = true,
    |c, ask| {
        let cert = good(c);
        ask.token.binding = c.any(&[Bound::No, Bound::To(cert), Bound::OtherKind]);
    },
    |_, ask| (ask.token.client_id, ask.token.azp) = (None, ask.token.client_id),
    |c, ask| ask.token.azp = Some(c.any(CLIENTS)),
    |c, ask| {
        ask.token.client_id = c.any(&[
            Some("acme"),
            Some("globex"),
            Some("initech"),
            Some("ghost"),
            Some("acme-app"),
            Some("globex-app"),
            None,
        ])
    },
    |c, ask| ask.token.scope = c.any(&["", "read", "write"]),
    |c, ask| ask.token.scope = c.any(&["", "read", "write"]),
    |c, ask| ask.token.audience = c.any(&[None, Some("https://other.example")]),
    |c, ask| ask.token.issuer = c.any(&[None, Some(pool::LOGIN)]),
    |c, ask| ask.token.defect = c.any(&[Defect::Expired, Defect::NoEnd, Defect::Forged]),
    |c, ask| ask.address = c.any(&[Some("192.0.2.1"), Some("10.9.9.9"), None, Some("2001:db8::1")]),
    |_, ask| ask.protocol = "HTTP/3",
];

impl Ask {
    fn set(&mut self, name: &'static str, value: &str) {
        *self = self.with_header(name, value);
    }

    pub fn has_token(&self) -> bool {
        self.elsewhere || !matches!(self.authorization, Absent | Basic)
    }

    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The same with this header and no other of its name.
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut ask = self.clone();
        ask.headers.retain(|(known, _)| *known != name);
        ask.headers.push((name, value.to_owned()));
        ask
    }

    /// Every header as the filter gets it.
    pub fn written(&self) -> Vec<(&'static str, String)> {
        let mut headers = self.headers.clone();
        match self.forwarded {
            Some(Forwarded::Holding(cert)) => headers.push((FORWARDED_HEADER, written(Format::Rfc9440, cert.leaf()))),
            Some(Forwarded::Empty) => headers.push((FORWARDED_HEADER, String::new())),
            Some(Forwarded::Malformed) => headers.push((FORWARDED_HEADER, ":eA==:".to_owned())),
            None => {}
        }
        let text = self.token.text();
        let mut push = |value: String| headers.push(("authorization", value));
        match self.authorization {
            Absent => {}
            Bearer => push(format!("Bearer {text}")),
            LowerCase => push(format!("bearer {text}")),
            Twice => (0..2).for_each(|_| push(format!("Bearer {text}"))),
            CommaJoined => push(format!("Bearer {text}, Bearer {text}")),
            Dpop => push(format!("DPoP {text}")),
            Basic => push("Basic YWNtZTphY21l".to_owned()),
            BasicAndBearer => push(format!("Basic YWNtZTphY21l, Bearer {text}")),
        }
        headers
    }

    /// The connection, and what `jwt_authn` left where it verifies tokens.
    pub fn host(&self, jwt_authn: bool) -> Host {
        let mut proxy = FakeProxy::default().with(Property::Protocol, self.protocol);
        proxy = proxy.with(Property::SourceAddress, "10.1.2.3:443");
        if let Some(address) = self.address {
            proxy = proxy.with(Property::DirectRemoteAddress, address);
        }
        if let Some(Presented { cert, verified }) = self.connection {
            let leaf = cert.leaf();
            proxy = proxy
                .presenting(leaf)
                .with(Property::PeerCertificateValid, [u8::from(verified)])
                .with(Property::PeerCertificateDigest, Thumbprint::of(&leaf.der).to_hex());
        }
        // It finds the token only behind `Bearer `.
        let found = !matches!(self.authorization, Absent | Basic | LowerCase | Dpop);
        if jwt_authn && (found || self.elsewhere) && !matches!(self.token.defect, Defect::Forged | Defect::Expired) {
            proxy = proxy.verified(&self.token.payload());
        }
        Host::new(proxy)
    }
}

/// What is left out of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Less {
    /// The certificate on the connection.
    Certificate,
    /// That Envoy verified it.
    Verification,
    /// The header in which a proxy forwards one.
    Forwarded,
    Token,
    /// The `Authorization` header alone, where `jwt_authn` found the token elsewhere.
    Authorization,
    /// A scope of the token.
    Scopes,
    /// What is known of the direct peer's address.
    Address,
    /// A header, in all of its lines.
    Header(&'static str),
    /// One line of a header that has two.
    Line(&'static str),
}

impl Less {
    /// Everything that this request could do without.
    pub fn of(ask: &Ask) -> Vec<Self> {
        let mut less = Vec::new();
        let mut can = |possible: bool, each: Self| less.extend(possible.then_some(each));
        can(ask.connection.is_some(), Self::Certificate);
        can(ask.connection.is_some_and(|presented| presented.verified), Self::Verification);
        can(ask.forwarded.is_some(), Self::Forwarded);
        can(ask.has_token(), Self::Token);
        can(ask.authorization != Absent && (ask.elsewhere || !ask.has_token()), Self::Authorization);
        can(ask.has_token() && !ask.token.scope.is_empty(), Self::Scopes);
        can(ask.address.is_some(), Self::Address);
        let mut seen = Vec::new();
        for (name, _) in &ask.headers {
            if !seen.contains(name) {
                seen.push(name);
                can(true, Self::Header(name));
                can(ask.header(name).len() > 1, Self::Line(name));
            }
        }
        less
    }

    pub fn applied(self, ask: &Ask) -> Ask {
        let mut ask = ask.clone();
        match self {
            Self::Certificate => ask.connection = None,
            Self::Verification => {
                ask.connection = ask.connection.map(|presented| Presented { verified: false, ..presented })
            }
            Self::Forwarded => ask.forwarded = None,
            Self::Token => (ask.authorization, ask.elsewhere) = (Absent, false),
            Self::Authorization => ask.authorization = Absent,
            Self::Scopes => ask.token.scope = if ask.token.scope == "read write" { "read" } else { "" },
            Self::Address => ask.address = None,
            Self::Header(name) => ask.headers.retain(|(known, _)| *known != name),
            Self::Line(name) => {
                let at = ask.headers.iter().position(|(known, _)| *known == name).unwrap();
                ask.headers.remove(at);
            }
        }
        ask
    }
}

/// The identity of a proxy that is trusted.
pub const TRUSTED: &str = EDGE;
