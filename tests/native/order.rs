//! The order of the checks: of two faults in one request the one is answered that the README lists first, in every mode.

mod certificate;

use std::rc::Rc;

use mtls_authz::{Algorithm, Deny, Memory, Policy, Property, Reason, Request, decide};
use serde_json::{Value, json};

use self::certificate::Presented;
use crate::certificates::Leaf;
use crate::issuer::Issuer;
use crate::proxy::{FakeProxy, NOW};

/// What the client of a scene must present, and whether it presents a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Mtls,
    Required,
    OptionalWithCertificate,
    TokenAlone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    JwtAuthn,
    Jwks,
}

/// A good request, which faults change.
pub struct Scene {
    mode: Mode,
    method: &'static str,
    path: &'static str,
    more: Vec<(&'static str, String)>,
    certificate: Presented,
    is_revoked: bool,
    has_token: bool,
    header: Value,
    claims: Value,
    breaks_signature: bool,
    address: &'static str,
    /// Is the rate limit used up?
    is_limited: bool,
    /// The top-level mode and the profile's, instead of those of `mode`; then another profile needs no certificate.
    modes: Option<(&'static str, &'static str)>,
}

impl Scene {
    pub fn new(mode: Mode) -> Self {
        let is_absent = mode == Mode::TokenAlone;
        Self {
            mode,
            method: "GET",
            path: "/scoped",
            more: Vec::new(),
            certificate: Presented { is_absent, ..Presented::default() },
            is_revoked: false,
            has_token: mode != Mode::Mtls,
            header: json!({"alg": "ES256", "kid": "key"}),
            claims: json!({
                "iss": "https://auth.example", "aud": "api", "exp": NOW + 60, "client_id": "acme", "scope": "read", "cnf": "own",
            }),
            breaks_signature: false,
            address: "10.0.0.1",
            is_limited: false,
            modes: None,
        }
    }

    fn policy(&self, source: Source) -> Policy {
        let (mode, scopes) = match self.mode {
            Mode::Mtls => ("mtls", Value::Null),
            Mode::Required => ("bearer_plus_mtls_required", json!(["read"])),
            Mode::OptionalWithCertificate | Mode::TokenAlone => ("bearer_plus_mtls_optional", json!(["read"])),
        };
        let mut rule = json!({"paths": ["/scoped"], "methods": ["GET"]});
        if !scopes.is_null() {
            rule["scopes"] = scopes;
        }
        let mut token = json!({"issuers": ["https://auth.example"], "audiences": ["api"]});
        if source == Source::Jwks {
            token["source"] = json!("jwks");
            token["jwks"] = json!({"keys": [Issuer::of(Algorithm::Es256).named_jwk("key")]});
        }
        let mut policy = json!({
            "policy_name": "order",
            "mode": mode,
            "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
            "profiles": {
                "partner": {
                    "allow": [rule], "source_cidrs": ["10.0.0.0/8"],
                    "rate_limit": {"requests": 1, "per_seconds": 86_400},
                },
                "other": {"allow": [{"paths": ["/other"]}]},
            },
            "token": token,
        });
        if let Some((top, profile)) = self.modes {
            policy["mode"] = json!(top);
            policy["profiles"]["partner"]["mode"] = json!(profile);
            policy["profiles"]["partner"]["allow"] = json!([{"paths": ["/scoped", "/needed"]}]);
            if [top, profile].contains(&"bearer_plus_mtls_optional") {
                policy["binding"] = json!({"required_paths": ["/needed"]});
            }
        }
        if self.is_revoked {
            policy["revocation"] = json!({"sha256": [self.certificate.leaf().thumbprint()]});
        }
        Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn leaf(&self) -> Option<Rc<Leaf>> {
        (!self.certificate.is_absent).then(|| self.certificate.leaf())
    }

    /// What the host answers, and the headers beside method and path.
    fn situation(&self, source: Source) -> (FakeProxy, Vec<(&'static str, String)>) {
        let mut proxy = FakeProxy::new().with(Property::DirectRemoteAddress, self.address);
        if let Some(leaf) = self.leaf() {
            let pem = if self.certificate.is_malformed { "AAAA" } else { &leaf.pem };
            proxy = proxy.with(Property::PeerCertificate, pem);
            proxy = proxy.with(Property::PeerCertificateValid, [u8::from(!self.certificate.is_unverified)]);
        }
        let mut claims = self.claims.clone();
        if claims["cnf"].is_string() {
            let cnf = claims.as_object_mut().unwrap().remove("cnf");
            if let (Some(leaf), Some("own")) = (self.leaf(), cnf.as_ref().and_then(Value::as_str)) {
                claims["cnf"] = json!({"x5t#S256": leaf.thumbprint()});
            }
        }
        let mut more = self.more.clone();
        if self.has_token {
            let mut token = Issuer::of(Algorithm::Es256).token_with(&self.header, &claims);
            if self.breaks_signature {
                token.replace_range(token.len() - 6.., "AAAAAA");
            }
            more.push(("authorization", format!("Bearer {token}")));
            if source == Source::JwtAuthn {
                proxy = proxy.verified(&claims);
            }
        }
        (proxy, more)
    }

    pub fn decide(&self, source: Source) -> Result<(), Reason> {
        self.refusal(source).map_or(Ok(()), |deny| Err(deny.reason))
    }

    pub fn refusal(&self, source: Source) -> Option<Deny> {
        let (mut proxy, more) = self.situation(source);
        if self.is_limited {
            let good = Self::new(self.mode);
            let (first, more) = good.situation(source);
            assert_eq!(good.run(source, &first, &more), None, "the one request that the limit grants");
            proxy.shared = first.shared;
        }
        self.run(source, &proxy, &more)
    }

    fn run(&self, source: Source, proxy: &FakeProxy, more: &[(&'static str, String)]) -> Option<Deny> {
        let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let headers = crate::proxy::headers(self.method, self.path, &more);
        let policy = self.policy(source);
        let memory = Memory::new(&policy.token.source);
        let decision = decide(&policy, &memory, &Request::new(&headers), proxy);
        decision.verdict.err()
    }
}

/// One thing that is wrong with a request. Two faults of the same kind cannot be combined.
pub struct Fault {
    pub name: &'static str,
    kind: &'static str,
    pub reason: Reason,
    /// Where it can occur.
    pub occurs: fn(Mode, Source) -> bool,
    pub apply: fn(&mut Scene),
}

const ANYWHERE: fn(Mode, Source) -> bool = |_, _| true;
const WITH_CERTIFICATE: fn(Mode, Source) -> bool = |mode, _| mode != Mode::TokenAlone;
const WITH_TOKEN: fn(Mode, Source) -> bool = |mode, _| mode != Mode::Mtls;
const VERIFIED_HERE: fn(Mode, Source) -> bool = |mode, source| mode != Mode::Mtls && source == Source::Jwks;

macro_rules! faults {
    ($($name:literal $kind:literal $reason:ident $occurs:expr => $apply:expr;)*) => {
        /// In the order in which they are answered.
        pub const FAULTS: &[Fault] = &[$(
            Fault { name: $name, kind: $kind, reason: Reason::$reason, occurs: $occurs, apply: $apply },
        )*];
    };
}

faults! {
    "a method in small letters" "method" RequestMalformed ANYWHERE => |scene| scene.method = "get";
    "an empty segment" "path" PathMalformed ANYWHERE => |scene| scene.path = "//scoped";
    "two client ids" "client id" RequestMalformed ANYWHERE => |scene| scene.more.extend(["a", "b"].map(|id| ("x-client-id", id.to_owned())));
    "two tokens" "authorization" AuthorizationMalformed WITH_TOKEN => |scene| scene.more.push(("authorization", "Bearer a".to_owned()));
    "no certificate" "certificate" CertificateMissing |mode, _| matches!(mode, Mode::Mtls | Mode::Required)
        => |scene| scene.certificate.is_absent = true;
    "a certificate that was not verified" "verified" CertificateUntrusted WITH_CERTIFICATE => |scene| scene.certificate.is_unverified = true;
    "a certificate that is none" "certificate" CertificateMalformed WITH_CERTIFICATE => |scene| scene.certificate.is_malformed = true;
    "a server's certificate" "purpose" CertificateUnsuitable WITH_CERTIFICATE => |scene| scene.certificate.is_for_servers = true;
    "an expired certificate" "validity" CertificateExpired WITH_CERTIFICATE => |scene| scene.certificate.is_expired = true;
    "a revoked certificate" "revocation" CertificateRevoked WITH_CERTIFICATE => |scene| scene.is_revoked = true;
    "two SPIFFE IDs" "identity" IdentityInvalid WITH_CERTIFICATE => |scene| scene.certificate.has_two_ids = true;
    "no token" "authorization" TokenMissing WITH_TOKEN => |scene| scene.has_token = false;
    "a token of another type" "typ" TokenMalformed WITH_TOKEN => |scene| scene.header["typ"] = json!("logout+jwt");
    "an algorithm that is none" "alg" TokenAlgorithmNotAllowed VERIFIED_HERE => |scene| scene.header["alg"] = json!("none");
    "an unknown key" "kid" TokenKeyUnknown VERIFIED_HERE => |scene| scene.header["kid"] = json!("other");
    "a wrong signature" "signature" TokenSignatureInvalid VERIFIED_HERE => |scene| scene.breaks_signature = true;
    "a claim of the wrong type" "client claim" TokenClaimsInvalid WITH_TOKEN => |scene| scene.claims["client_id"] = json!(1);
    "an expired token" "exp" TokenExpired WITH_TOKEN => |scene| scene.claims["exp"] = json!(NOW - 60);
    "an early token" "nbf" TokenNotYetValid WITH_TOKEN => |scene| scene.claims["nbf"] = json!(NOW + 60);
    "another issuer" "iss" TokenIssuerMismatch WITH_TOKEN => |scene| scene.claims["iss"] = json!("https://other.example");
    "another audience" "aud" TokenAudienceMismatch WITH_TOKEN => |scene| scene.claims["aud"] = json!("other");
    "a token that is not bound" "cnf" SenderBindingMissing |mode, _| mode == Mode::Required
        => |scene| scene.claims["cnf"] = json!("none");
    "a token of another certificate" "cnf" SenderBindingMismatch |mode, _| matches!(mode, Mode::Required | Mode::OptionalWithCertificate)
        => |scene| scene.claims["cnf"] = json!({"x5t#S256": "A".repeat(43)});
    "a bound token without its certificate" "cnf" CertificateMissing |mode, _| mode == Mode::TokenAlone
        => |scene| scene.claims["cnf"] = json!({"x5t#S256": "A".repeat(43)});
    "a name of no client" "identity" IdentityNotMapped WITH_CERTIFICATE => |scene| scene.certificate.is_unknown = true;
    "a token of no client" "client claim" IdentityNotMapped |mode, _| mode == Mode::TokenAlone
        => |scene| scene.claims["client_id"] = json!("nobody");
    "another's client id" "client id" ClientMismatch ANYWHERE => |scene| scene.more.push(("x-client-id", "globex".to_owned()));
    "another client's token" "client claim" ClientProfileMismatch |mode, _| matches!(mode, Mode::Required | Mode::OptionalWithCertificate)
        => |scene| scene.claims["client_id"] = json!("globex");
    "another's profile" "profile" ClientProfileMismatch ANYWHERE => |scene| scene.more.push(("x-profile-id", "other".to_owned()));
    "another address" "address" SourceIpDenied ANYWHERE => |scene| scene.address = "192.0.2.1";
    "another path" "path" PathDenied ANYWHERE => |scene| scene.path = "/elsewhere";
    "an upgrade" "upgrade" UpgradeDenied ANYWHERE
        => |scene| scene.more.extend([("connection", "upgrade"), ("upgrade", "websocket")].map(|(name, value)| (name, value.to_owned())));
    "another scope" "scope" InsufficientScope WITH_TOKEN => |scene| scene.claims["scope"] = json!("write");
    "another method" "method" MethodNotAllowed ANYWHERE => |scene| scene.method = "DELETE";
    "too often" "rate" RateLimited ANYWHERE => |scene| scene.is_limited = true;
}

pub const MODES: [Mode; 4] = [Mode::Mtls, Mode::Required, Mode::OptionalWithCertificate, Mode::TokenAlone];

/// Of two faults the first one is answered; one fault is answered by itself, and none is allowed.
#[test]
fn of_two_faults_the_one_is_answered_that_the_documentation_lists_first() {
    let mut wrong = Vec::new();
    let mut pairs = 0;
    for (mode, source) in MODES.into_iter().flat_map(|mode| [(mode, Source::JwtAuthn), (mode, Source::Jwks)]) {
        assert_eq!(Scene::new(mode).decide(source), Ok(()), "{mode:?} {source:?}");
        let faults: Vec<&Fault> = FAULTS.iter().filter(|fault| (fault.occurs)(mode, source)).collect();
        for (place, first) in faults.iter().enumerate() {
            for second in
                faults.iter().skip(place).filter(|second| first.kind != second.kind || first.name == second.name)
            {
                let mut scene = Scene::new(mode);
                (second.apply)(&mut scene);
                if first.name != second.name {
                    (first.apply)(&mut scene);
                }
                pairs += 1;
                let answered = scene.decide(source);
                if answered != Err(first.reason) {
                    wrong.push(format!("{mode:?} {source:?}: {} and {}: {answered:?}", first.name, second.name));
                }
            }
        }
    }
    assert!(pairs > 2_000, "{pairs}");
    assert!(wrong.is_empty(), "{} of {pairs}:\n{}", wrong.len(), wrong.join("\n"));
}

/// 400 before 401 before 403 before 405 before 429. What nobody verified is not read, so that is said first of it.
#[test]
fn the_documented_order_is_that_of_statuses() {
    let listed = FAULTS.iter().filter(|fault| fault.reason != Reason::CertificateMalformed);
    let statuses: Vec<u16> = listed.map(|fault| fault.reason.status()).collect();
    assert!(statuses.is_sorted(), "{statuses:?}");
}

/// Without a certificate only the token says whose profile it is, and so whether a certificate is needed: it is judged first, unless
/// the answer cannot depend on it.
#[test]
fn without_a_certificate_the_token_is_judged_first_where_it_may_be_enough() {
    for (top, profile, path, fault, expected) in [
        ("bearer_plus_mtls_optional", "bearer_plus_mtls_optional", "/scoped", "no token", Some(Reason::TokenMissing)),
        (
            "bearer_plus_mtls_optional",
            "bearer_plus_mtls_optional",
            "/scoped",
            "an expired token",
            Some(Reason::TokenExpired),
        ),
        (
            "bearer_plus_mtls_optional",
            "bearer_plus_mtls_optional",
            "/needed",
            "an expired token",
            Some(Reason::CertificateMissing),
        ),
        (
            "bearer_plus_mtls_optional",
            "bearer_plus_mtls_required",
            "/scoped",
            "an expired token",
            Some(Reason::TokenExpired),
        ),
        ("bearer_plus_mtls_optional", "bearer_plus_mtls_required", "/scoped", "", Some(Reason::CertificateMissing)),
        ("bearer_plus_mtls_required", "bearer_plus_mtls_optional", "/scoped", "", None),
        (
            "bearer_plus_mtls_required",
            "bearer_plus_mtls_optional",
            "/scoped",
            "an expired token",
            Some(Reason::TokenExpired),
        ),
        (
            "bearer_plus_mtls_required",
            "bearer_plus_mtls_optional",
            "/scoped",
            "no token",
            Some(Reason::CertificateMissing),
        ),
        (
            "bearer_plus_mtls_required",
            "bearer_plus_mtls_optional",
            "/scoped",
            "a token of no client",
            Some(Reason::CertificateMissing),
        ),
        (
            "bearer_plus_mtls_optional",
            "bearer_plus_mtls_optional",
            "/scoped",
            "a token of no client",
            Some(Reason::IdentityNotMapped),
        ),
        (
            "bearer_plus_mtls_required",
            "bearer_plus_mtls_required",
            "/scoped",
            "an expired token",
            Some(Reason::CertificateMissing),
        ),
        ("mtls", "mtls", "/scoped", "an expired token", Some(Reason::CertificateMissing)),
    ] {
        let mut scene = Scene::new(Mode::TokenAlone);
        (scene.path, scene.modes) = (path, Some((top, profile)));
        if let Some(fault) = FAULTS.iter().find(|known| known.name == fault) {
            (fault.apply)(&mut scene);
        }
        for source in [Source::JwtAuthn, Source::Jwks] {
            assert_eq!(scene.decide(source).err(), expected, "{top} {profile} {path} {fault} {source:?}");
        }
    }
}

#[test]
fn the_readme_lists_the_checks_in_this_order() {
    let readme = include_str!("../../README.md");
    let table = readme.split("## What is decided, in this order").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).collect();
    let row_of = |reason: Reason, from: usize| {
        let named = format!("`{}`", reason.code());
        rows.iter().skip(from).position(|row| row.contains(&named)).map(|found| from + found)
    };
    // A token alone that is bound is refused for its certificate, among the checks of tokens.
    let listed = FAULTS.iter().filter(|fault| (fault.occurs)(Mode::Required, Source::Jwks));
    listed.fold(0, |from, fault| {
        row_of(fault.reason, from).unwrap_or_else(|| panic!("{}: {:?}", fault.name, fault.reason))
    });
}
