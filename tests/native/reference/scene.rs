//! The situation made real: a policy, certificates, tokens and headers, each made once.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mtls_authz::{Algorithm, Format, Header as RequestHeader, Memory, Policy, Property, Thumbprint};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};
use serde_json::{Value, json};

use super::situation::*;
use crate::certificates::{Leaf, Recipe, at};
use crate::formats::written;
use crate::host::Host;
use crate::issuer::{Issuer, base64url};
use crate::proxy::{FakeProxy, NOW, Notes};

pub const ACME: &str = "spiffe://prod.example/ns/pay/sa/acme";
const EDGE: &str = "spiffe://prod.example/ns/edge/sa/proxy";
pub const ACME_ARN: &str = "arn:example:client/acme";
const CERTIFICATE_HEADER: &str = "client-cert";
const MAX_BYTES: usize = 4_096;

/// Everything that is made once.
pub struct Scene {
    leaves: HashMap<Cert, Leaf>,
    stranger: Issuer,
    tokens: RefCell<HashMap<Token, Rc<Made>>>,
    policies: RefCell<HashMap<Setup, Rc<(Policy, Memory)>>>,
    connections: RefCell<HashMap<u64, Notes>>,
}

/// A token and what it says.
struct Made {
    text: String,
    payload: Value,
}

/// A request of the scene.
pub struct Asked {
    pub host: Host,
    headers: Vec<(Cow<'static, str>, String)>,
}

impl Asked {
    pub fn headers(&self) -> Vec<RequestHeader<'_>> {
        self.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }
}

impl Scene {
    pub fn new() -> Self {
        let leaves = CERTS.iter().filter_map(|cert| recipe(*cert).map(|recipe| (*cert, recipe.issue()))).collect();
        Self {
            leaves,
            stranger: Issuer::new(Algorithm::Es256),
            tokens: RefCell::default(),
            policies: RefCell::default(),
            connections: RefCell::default(),
        }
    }

    /// The leaf of a certificate; an unverified one is no other.
    pub fn leaf(&self, cert: Cert) -> &Leaf {
        match cert {
            Cert::Untrusted => &self.leaves[&Cert::Good],
            Cert::EdgeUntrusted => &self.leaves[&Cert::Edge],
            other => &self.leaves[&other],
        }
    }

    /// The policy, and the memory that all of its requests share.
    pub fn policy(&self, setup: Setup) -> Rc<(Policy, Memory)> {
        let compiled = || {
            let json = policy(setup).to_string();
            let policy = Policy::from_json(json.as_bytes()).unwrap_or_else(|problem| panic!("{problem}"));
            let memory = Memory::new(&policy.token.source);
            Rc::new((policy, memory))
        };
        self.policies.borrow_mut().entry(setup).or_insert_with(compiled).clone()
    }

    /// The request of a situation, with whatever a caller would like the upstream to believe.
    pub fn ask(&self, s: &Situation) -> Asked {
        let token = self.token(s.token);
        let path = written_path(s.path);
        let mut headers: Vec<(Cow<'static, str>, String)> = Vec::new();
        let mut push = |name: &'static str, value: &str| headers.push((name.into(), value.to_owned()));
        match s.method {
            Method::Missing => {}
            Method::Get | Method::Upgrade => push(":method", "GET"),
            Method::Post => push(":method", "POST"),
            Method::Delete => push(":method", "DELETE"),
            Method::Connect => push(":method", "CONNECT"),
        }
        match s.token.transport {
            _ if s.method == Method::Connect => {}
            Transport::QueryToo => push(":path", &format!("{path}?access_token={}", token.text)),
            _ => push(":path", path),
        }
        push(":authority", "api.example");
        if s.method == Method::Upgrade {
            push("connection", "upgrade");
            push("upgrade", "websocket");
        }
        let bearer = format!("Bearer {}", token.text);
        match s.token.transport {
            Transport::Absent | Transport::MetadataOnly => {}
            Transport::Bearer | Transport::QueryToo | Transport::NotTheVerified => push("authorization", &bearer),
            Transport::Twice => {
                push("authorization", &bearer);
                push("authorization", &bearer);
            }
            Transport::CommaJoined => push("authorization", &format!("{bearer}, {bearer}")),
            Transport::Oversized => push("authorization", &format!("Bearer {}", "a".repeat(16_385))),
            Transport::OtherScheme => push("authorization", "Basic YWNtZTphY21l"),
        }
        match s.client_header {
            ClientHeader::Absent => {}
            ClientHeader::Acme => push("x-client-id", "acme"),
            ClientHeader::Globex => push("x-client-id", "globex"),
            ClientHeader::Twice => {
                push("x-client-id", "acme");
                push("x-client-id", "acme");
            }
        }
        match s.profile_header {
            ProfileHeader::Absent => {}
            ProfileHeader::Partner => push("x-profile-id", "partner"),
            ProfileHeader::Auditor => push("x-profile-id", "auditor"),
            ProfileHeader::Internal => push("x-profile-id", "internal"),
            ProfileHeader::Unknown => push("x-profile-id", "nothing"),
            ProfileHeader::Twice => {
                push("x-profile-id", "partner");
                push("x-profile-id", "auditor");
            }
        }
        match s.header {
            Header::Absent => {}
            Header::Empty => push(CERTIFICATE_HEADER, ""),
            Header::Holding(cert) => push(CERTIFICATE_HEADER, &written(Format::Rfc9440, self.leaf(cert))),
            Header::Malformed => push(CERTIFICATE_HEADER, ":eA==:"),
            Header::Duplicated => {
                let value = written(Format::Rfc9440, self.leaf(Cert::Good));
                push(CERTIFICATE_HEADER, &value);
                push(CERTIFICATE_HEADER, &value);
            }
            Header::Oversized => push(CERTIFICATE_HEADER, &format!(":{}:", "A".repeat(MAX_BYTES))),
        }
        for name in SPOOFED {
            push(name, "spoofed");
        }
        Asked { host: Host::new(self.connection(s, &token)), headers }
    }

    fn connection(&self, s: &Situation, token: &Made) -> FakeProxy {
        let position = CERTS.iter().position(|cert| *cert == s.connection).unwrap() as u64;
        let mut proxy = FakeProxy::new();
        // The same connection has the same peer.
        let number = match s.address {
            Address::Proxy => 100,
            Address::Elsewhere => 200,
            Address::Unknown => 300,
        };
        let mut connections = self.connections.borrow_mut();
        proxy = proxy.over(connections.entry(number + position).or_default());
        // What `X-Forwarded-For` may have chosen is nobody's address.
        proxy = proxy.with(Property::SourceAddress, "10.1.2.3:443");
        proxy = match s.address {
            Address::Proxy => proxy.with(Property::DirectRemoteAddress, "10.1.2.3"),
            Address::Elsewhere => proxy.with(Property::DirectRemoteAddress, "192.0.2.1"),
            Address::Unknown => proxy,
        };
        proxy = match s.connection {
            Cert::None => proxy,
            Cert::Malformed => proxy
                .with(Property::PeerCertificateValid, [1])
                .with(Property::PeerCertificate, *b"x")
                .with(Property::PeerCertificateDigest, Thumbprint::of(b"x").to_hex()),
            cert => {
                let leaf = self.leaf(cert);
                let verified = cert != Cert::Untrusted && cert != Cert::EdgeUntrusted;
                proxy
                    .presenting(leaf)
                    .with(Property::PeerCertificateValid, [u8::from(verified)])
                    .with(Property::PeerCertificateDigest, Thumbprint::of(&leaf.der).to_hex())
            }
        };
        // `jwt_authn` leaves the payload of what it verified, whoever verifies here.
        let unverifiable =
            matches!(s.token.defect, Defect::Forged | Defect::UnknownKey | Defect::AlgNone | Defect::Malformed);
        match s.token.transport {
            Transport::Absent => proxy,
            _ if unverifiable => proxy,
            Transport::NotTheVerified => {
                let mut other = token.payload.clone();
                other["jti"] = json!("another");
                proxy.verified(&other)
            }
            _ => proxy.verified(&token.payload),
        }
    }

    fn token(&self, token: Token) -> Rc<Made> {
        let token = Token { transport: Transport::Bearer, ..token };
        let made = || Rc::new(self.sign(token));
        self.tokens.borrow_mut().entry(token).or_insert_with(made).clone()
    }

    fn sign(&self, token: Token) -> Made {
        let mut payload = json!({"iss": "https://auth.example", "aud": "https://api.example", "exp": NOW + 600});
        match token.client {
            Named::Acme => payload["client_id"] = json!("acme"),
            Named::Globex => payload["azp"] = json!("globex"),
            Named::Unregistered => payload["client_id"] = json!("nobody"),
            Named::NoOne => {}
            Named::Two => {
                payload["client_id"] = json!("acme");
                payload["azp"] = json!("globex");
            }
        }
        let good = Thumbprint::of(&self.leaf(Cert::Good).der);
        match token.binding {
            Bound::No => {}
            Bound::To(cert) => payload["cnf"] = json!({"x5t#S256": self.leaf(cert).thumbprint()}),
            Bound::Hex => payload["cnf"] = json!({"x5t#S256": good.to_hex()}),
            Bound::Padded => payload["cnf"] = json!({"x5t#S256": format!("{good}=")}),
            Bound::Sha1 => payload["cnf"] = json!({"x5t#S256": sha1(&self.leaf(Cert::Good).der)}),
            Bound::OtherKind => payload["cnf"] = json!({"jkt": good.to_string()}),
        }
        payload["scope"] = json!(if token.scope { "openid payments:write" } else { "openid payments:read" });
        match token.defect {
            Defect::Expired => payload["exp"] = json!(NOW - 60),
            Defect::NotYetValid => payload["nbf"] = json!(NOW + 60),
            Defect::IssuedLater => payload["iat"] = json!(NOW + 60),
            Defect::NoExpiry => {
                payload.as_object_mut().unwrap().remove("exp");
            }
            Defect::WrongIssuer => payload["iss"] = json!("https://evil.example"),
            Defect::WrongAudience => payload["aud"] = json!(["https://other.example"]),
            _ => {}
        }
        let issuer = Issuer::of(Algorithm::Es256);
        let text = match token.defect {
            Defect::Critical => {
                issuer.token_with(&json!({"alg": "ES256", "kid": "a", "crit": ["x"], "x": true}), &payload)
            }
            Defect::Forged => self.stranger.token_with(&json!({"alg": "ES256", "kid": "a"}), &payload),
            Defect::UnknownKey => issuer.token_with(&json!({"alg": "ES256", "kid": "b"}), &payload),
            Defect::AlgNone => {
                let header = base64url(json!({"alg": "none"}).to_string());
                format!("{header}.{}.", base64url(payload.to_string()))
            }
            Defect::Malformed => "e30.e30".to_owned(),
            _ => issuer.token_with(&json!({"alg": "ES256", "kid": "a"}), &payload),
        };
        Made { text, payload }
    }
}

/// What a caller sends to be taken for somebody, and proxies' headers that nobody configured.
pub const SPOOFED: &[&str] = &[
    "x_client_id",
    "x-client-principal",
    "X-Client-Identity",
    "x-client-cert-thumbprint",
    "x.client.cert.thumbprint",
    "x-forwarded-client-cert",
    "client-cert-chain",
    "client_cert",
    "ssl-client-cert",
];

/// What stands there when an issuer takes `x5t` for `x5t#S256`.
fn sha1(der: &[u8]) -> String {
    base64url(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, der))
}

/// A serial number on the list of the policy.
const REVOKED: u64 = 99;

fn recipe(cert: Cert) -> Option<Recipe> {
    let acme = || Recipe::new().uri(ACME).cn("acme");
    let edge = || Recipe::new().uri(EDGE);
    Some(match cert {
        Cert::None | Cert::Malformed | Cert::Untrusted | Cert::EdgeUntrusted => return None,
        Cert::Good | Cert::Renewed => acme(),
        Cert::Expired => acme().with(|params| params.not_after = at(-1)),
        Cert::Revoked => acme().with(|params| params.serial_number = Some(REVOKED.into())),
        Cert::NotYetValid => acme().with(|params| params.not_before = at(1)),
        Cert::Ca => acme().with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        Cert::ServerOnly => {
            acme().with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])
        }
        Cert::Globex => Recipe::new().cn("globex"),
        Cert::Nobody => Recipe::new().cn("nobody"),
        Cert::WeakerName => Recipe::new().uri("spiffe://prod.example/ns/pay/sa/unknown").cn("globex"),
        Cert::TwoUris => Recipe::new().uri(ACME).uri("spiffe://prod.example/ns/pay/sa/other"),
        Cert::ForeignTrustDomain => Recipe::new().uri("spiffe://test.example/ns/pay/sa/acme").cn("globex"),
        Cert::NoNames => Recipe::new(),
        Cert::Edge => edge(),
        Cert::EdgeExpired => edge().with(|params| params.not_after = at(-1)),
        Cert::EdgeRevoked => edge().with(|params| params.serial_number = Some(REVOKED.into())),
    })
}

fn written_path(path: Path) -> &'static str {
    match path {
        Path::Health => "/health",
        Path::Payments => "/payments",
        Path::Payment => "/payments/1",
        Path::PaymentEscaped => "/internal/%2e./payments/%31",
        Path::Denied => "/payments/internal",
        Path::Report => "/reports/2026",
        Path::Transfers => "/transfers",
        Path::TransfersSlash => "/transfers/",
        Path::Live => "/live",
        Path::Unknown => "/admin",
        Path::Malformed => "/payments/..;/1",
    }
}

fn policy(setup: Setup) -> Value {
    let mut json = json!({
        "mode": written_mode(setup.mode),
        "enforcement": written_enforcement(setup.shadow),
        "require_client_headers": setup.client_headers_required,
        "identity": {"trust_domains": ["prod.example"]},
        "revocation": {"serials": [{"issuer": "CN=Test CA,O=ExampleCorp", "serial": format!("{REVOKED:x}")}]},
        "clients": {
            "acme": {"identities": [ACME], "profiles": ["partner"], "principal": ACME_ARN},
            "globex": {"identities": ["cn:globex"], "profiles": ["partner", "auditor"]},
        },
        "profiles": {
            "partner": {
                "allow": [
                    {"paths": ["/payments/*"], "methods": ["GET"]},
                    {"paths": ["/payments"], "methods": ["POST"], "scopes": ["payments:write"]},
                    {"paths": ["/payments/1"], "methods": ["DELETE"], "scopes": ["payments:write"]},
                    {"paths": ["/transfers"], "methods": ["POST"]},
                    {"paths": ["/"]},
                ],
                "deny": ["/payments/internal"],
            },
            "auditor": {"allow": [
                {"collection": "reports", "methods": ["GET"]},
                {"paths": ["/payments/**", "/transfers"], "methods": ["GET"]},
                {"paths": ["/live"], "methods": ["GET"], "upgrades": ["websocket"]},
            ]},
            "internal": {"allow": [{"paths": ["/**"]}]},
        },
        "collections": {"reports": ["/reports/**"]},
        "bypass": [{"path": "/health", "methods": ["GET"]}],
        "binding": {"required_paths": ["/transfers"]},
        "token": {"issuers": ["https://auth.example"], "audiences": ["https://api.example"]},
    });
    json["certificate"] = match setup.source {
        Source::Connection => json!({"source": "connection"}),
        Source::Forwarded => json!({"source": "forwarded", "forwarded": forwarded()}),
        Source::ConnectionOrForwarded => json!({"source": "connection_or_forwarded", "forwarded": forwarded()}),
    };
    if setup.tokens == TokenSource::Jwks {
        json["token"]["source"] = json!("jwks");
        json["token"]["jwks"] = json!({"keys": [Issuer::of(Algorithm::Es256).named_jwk("a")]});
    }
    for (profile, mode) in [("partner", setup.partner_mode), ("auditor", setup.auditor_mode)] {
        if let Some(mode) = mode {
            json["profiles"][profile]["mode"] = json!(written_mode(mode));
        }
    }
    // A policy that asks for scopes where no token is looked at is refused.
    if setup.partner_mode.unwrap_or(setup.mode) == Mode::Mtls {
        for rule in [1, 2] {
            json["profiles"]["partner"]["allow"][rule].as_object_mut().unwrap().remove("scopes");
        }
    }
    if let Some(shadow) = setup.partner_shadow {
        json["profiles"]["partner"]["enforcement"] = json!(written_enforcement(shadow));
    }
    if setup.partner_cidrs {
        json["profiles"]["partner"]["source_cidrs"] = json!(["10.0.0.0/8"]);
        // "`source_cidrs` with forwarded certificates and `source_address: direct`" is an error.
        if setup.source != Source::Connection {
            json["source_address"] = json!("envoy");
        }
    }
    json
}

fn forwarded() -> Value {
    json!({
        "format": "rfc9440",
        "max_bytes": MAX_BYTES,
        "trusted_proxies": {"cidrs": ["10.1.0.0/16"], "identities": [EDGE]},
    })
}

fn written_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Mtls => "mtls",
        Mode::Required => "bearer_plus_mtls_required",
        Mode::Optional => "bearer_plus_mtls_optional",
    }
}

fn written_enforcement(shadow: bool) -> &'static str {
    if shadow { "shadow" } else { "enforce" }
}
