//! Every refusal carries the fact: its note says what was found and what was expected.

use std::collections::BTreeMap;

use mtls_authz::{Decision, Deny, Memory, Policy, Property, Reason, Request, decide, decision_record};
use rcgen::DnType;
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe, acme, at};
use crate::order::{FAULTS, MODES, Mode, Scene, Source};
use crate::proxy::{FakeProxy, NOW, headers};

/// Refusals of which the reason and the other members of the record say all that is known.
const SAID_BY_THE_REASON: &[Reason] = &[Reason::CertificateMissing, Reason::TokenMissing, Reason::SenderBindingMissing];

fn policy(changes: Value) -> Policy {
    let mut json = json!({
        "clients": {
            "acme": {"identities": ["spiffe://prod.example/ns/pay/sa/acme"], "profiles": ["partner"]},
            "several": {"identities": ["cn:several"], "profiles": ["partner", "other"]},
        },
        "profiles": {
            "partner": {
                "allow": [
                    {"paths": ["/open/**"], "methods": ["GET", "POST"]},
                    {"paths": ["/scoped"], "scopes": ["payments:read", "payments:write"]},
                    {"paths": ["/socket"], "upgrades": ["websocket"]},
                    {"paths": ["/hosted"], "hosts": ["a.example", "*.b.example:8443"]},
                ],
                "deny": ["/open/closed", {"paths": ["/open/frozen"], "methods": ["GET", "POST"]}],
            },
            "other": {"allow": [{"collection": "reports"}]},
        },
        "collections": {"drafts": ["/drafts/**"], "reports": ["/reports/**"]},
    });
    for (name, value) in changes.as_object().unwrap() {
        json[name] = value.clone();
    }
    Policy::from_json(json.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn claims(leaf: &Leaf) -> Value {
    json!({"client_id": "acme", "aud": "api", "exp": NOW + 60, "scope": "openid", "cnf": {"x5t#S256": leaf.thumbprint()}})
}

fn ask(policy: &Policy, proxy: &FakeProxy, method: &str, path: &str, more: &[(&str, &str)]) -> (Deny, Value) {
    let headers = headers(method, path, more);
    let request = Request::new(&headers);
    let decision: Decision = decide(policy, &Memory::new(&policy.token.source), &request, proxy);
    let record = serde_json::from_slice(&decision_record(None, &request, &decision)).unwrap();
    (decision.verdict.unwrap_err(), record)
}

#[test]
fn a_note_says_what_was_found_and_what_was_expected() {
    let leaf = acme();
    let good = || FakeProxy::new().presenting(&leaf).verified(&claims(&leaf));
    let websocket = [("connection", "upgrade"), ("upgrade", "h2c")];
    let limited = json!({"profiles": {"partner": {"allow": [{"paths": ["/**"]}], "source_cidrs": ["10.0.0.0/8", "192.0.2.0/24"]}, "other": {}}});
    let many: Vec<String> = (0..20).map(|number| format!("10.{number}.0.0/16")).collect();
    let many = json!({"profiles": {"partner": {"allow": [{"paths": ["/**"]}], "source_cidrs": many}, "other": {}}});
    let feeds = json!({"revocation": {"feeds": [{"type": "json", "cluster": "lists", "authority": "a", "path": "/"}]}});
    let jwks = json!({"token": {"source": "jwks", "jwks_uri": {"cluster": "issuer", "authority": "a", "path": "/"}}});
    let from = |address: &str| good().with(Property::DirectRemoteAddress, address);
    let failing = FakeProxy { failing: vec![Property::PeerCertificateValid], ..good() };
    let long = "x".repeat(5_000);
    for (changes, proxy, method, path, more, reason, expected) in [
        (
            json!({}),
            good(),
            "delete",
            "/open/1",
            &[][..],
            Reason::RequestMalformed,
            r#"the method is "delete", expected "DELETE""#,
        ),
        (
            json!({}),
            good(),
            &long,
            "/open/1",
            &[],
            Reason::RequestMalformed,
            "the method has 5000 bytes, expected at most 64",
        ),
        (json!({}), good(), "G T", "/open/1", &[], Reason::RequestMalformed, r#":method is "G T", expected one token"#),
        (json!({}), good(), "", "/open/1", &[], Reason::RequestMalformed, r#":method is "", expected one token"#),
        (json!({}), good(), "GET", "", &[], Reason::RequestMalformed, r#":path is "", expected one path"#),
        (
            json!({}),
            good(),
            "GET",
            "/a?secret",
            &[(":path", "/b?secret")],
            Reason::RequestMalformed,
            r#":path occurs 2 times: "/a", "/b""#,
        ),
        (
            json!({}),
            good(),
            "GET",
            "/open/1",
            &[("x-profile-id", "a"), ("x-profile-id", "b")],
            Reason::RequestMalformed,
            r#"X-Profile-ID occurs 2 times: "a", "b"; expected it once"#,
        ),
        (
            json!({}),
            good(),
            "POST",
            "/open/1",
            &[("x-http-method-override", "PUT")],
            Reason::RequestMalformed,
            r#"x-http-method-override is "PUT", and the method is "POST""#,
        ),
        (json!({}), good(), "GET", "/a%2Fb?secret", &[], Reason::PathMalformed, r#"(%2F, %5C). Found "/a%2Fb"."#),
        (json!({}), good(), "GET", &format!("/{long};"), &[], Reason::PathMalformed, "x\"…."),
        (
            json!({}),
            good(),
            "GET",
            "/open/1",
            &[("authorization", "Basic a"), ("authorization", "Basic b")],
            Reason::AuthorizationMalformed,
            "there are 2 Authorization headers, expected one",
        ),
        (
            json!({}),
            good(),
            "GET",
            "/open/1",
            &[("authorization", "Basic x Bearer y")],
            Reason::AuthorizationMalformed,
            "the word Bearer begins at byte 9",
        ),
        (
            json!({}),
            good(),
            "GET",
            "/open/1",
            &[("authorization", "Bearer\ta")],
            Reason::AuthorizationMalformed,
            "byte 0x09 follows Bearer",
        ),
        (
            json!({}),
            good(),
            "GET",
            "/open/1",
            &[("authorization", "Bearer")],
            Reason::AuthorizationMalformed,
            "nothing follows Bearer",
        ),
        (
            json!({}),
            good(),
            "GET",
            "/open/1",
            &[("authorization", "Bearer ")],
            Reason::AuthorizationMalformed,
            "nothing follows \"Bearer \"",
        ),
        (
            json!({}),
            good(),
            "GET",
            "/open/1",
            &[("authorization", "Bearer a b")],
            Reason::AuthorizationMalformed,
            "byte 2 of the token is 0x20",
        ),
        (
            json!({}),
            good(),
            "GET",
            "/open/1",
            &[("authorization", &format!("Bearer {}", "x".repeat(17_000)))],
            Reason::AuthorizationMalformed,
            "the token has 17000 bytes, expected at most 16384",
        ),
        (
            json!({}),
            good(),
            "GET",
            "/other?secret",
            &[],
            Reason::PathDenied,
            r#"no rule of profiles.partner.allow has "/other""#,
        ),
        (
            json!({}),
            good(),
            "GET",
            "/open/closed",
            &[],
            Reason::PathDenied,
            r#"profiles.partner.deny[0] has GET "/open/closed""#,
        ),
        (
            json!({}),
            good(),
            "PUT",
            "/open/frozen",
            &[],
            Reason::PathDenied,
            "entries of profiles.partner.deny have every method",
        ),
        (
            json!({}),
            good(),
            "GET",
            "/socket",
            &[],
            Reason::PathDenied,
            r#"have "/socket" allow the upgrades websocket alone"#,
        ),
        (
            json!({}),
            good(),
            "GET",
            "/hosted",
            &[],
            Reason::PathDenied,
            r#"are for a.example, *.b.example:8443, and the host is "api.example""#,
        ),
        (
            json!({}),
            good(),
            "GET",
            "/reports/1",
            &[],
            Reason::CollectionDenied,
            r#""/reports/1" belongs to collections.reports, which no rule of profiles.partner.allow has"#,
        ),
        (
            json!({}),
            good(),
            "GET",
            "/socket",
            &websocket,
            Reason::UpgradeDenied,
            r#"the upgrade is "h2c", and the rules of profiles.partner.allow that have "/socket" list websocket"#,
        ),
        (json!({}), good(), "GET", "/open/1", &websocket, Reason::UpgradeDenied, r#"have "/open/1" list none"#),
        (json!({}), good(), "CONNECT", "/open/1", &[], Reason::UpgradeDenied, "the method is CONNECT"),
        (
            json!({}),
            good(),
            "GET",
            "/scoped",
            &[],
            Reason::InsufficientScope,
            r#"profiles.partner.allow[1] needs the scopes payments:read, payments:write, and the token has "openid""#,
        ),
        (
            json!({}),
            good(),
            "DELETE",
            "/open/1",
            &[],
            Reason::MethodNotAllowed,
            r#"the method is DELETE, and for "/open/1" the allow rules of profiles.partner have GET, HEAD, POST"#,
        ),
        (
            limited,
            from("198.51.100.7"),
            "GET",
            "/",
            &[],
            Reason::SourceIpDenied,
            "the caller's address is 198.51.100.7, expected one of source_cidrs: 10.0.0.0/8, 192.0.2.0/24",
        ),
        (many, from("198.51.100.7"), "GET", "/", &[], Reason::SourceIpDenied, "10.7.0.0/16 and 12 more"),
        (
            feeds,
            good(),
            "GET",
            "/open/1",
            &[],
            Reason::RevocationUnavailable,
            r#"revocation.feeds[0] (cluster "lists") has not come since the start"#,
        ),
        (
            jwks,
            good(),
            "GET",
            "/open/1",
            &[("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.AAAA")],
            Reason::KeysUnavailable,
            "no keys of token.jwks_uri are in force",
        ),
        (json!({}), failing, "GET", "/open/1", &[], Reason::InternalError, "proxy_get_property"),
    ] {
        let (deny, record) = ask(&policy(changes), &proxy, method, path, more);
        assert_eq!(deny.reason, reason, "{expected}: {deny:?}");
        let note = record["note"].as_str().unwrap_or_default();
        assert!(note.contains(expected), "{note:?}: expected {expected:?}");
        assert!(note.len() <= 600 && !note.contains("secret"), "{note}");
    }
}

#[test]
fn the_note_of_a_limit_says_what_it_grants() {
    let leaf = acme();
    for (limit, expected) in [
        (
            json!({"requests": 6, "per_seconds": 60, "burst": 1}),
            "the limit of one request in 10000 ms, 1 at once, is used up: profile \"partner\", client \"acme\"",
        ),
        (
            json!({"requests": 100_000, "per_seconds": 1, "burst": 1}),
            "the limit of 100000 requests a second, 1 at once, is used up",
        ),
    ] {
        let policy =
            policy(json!({"profiles": {"partner": {"allow": [{"paths": ["/**"]}], "rate_limit": limit}, "other": {}}}));
        let proxy = FakeProxy::new().presenting(&leaf).verified(&claims(&leaf));
        let headers = headers("GET", "/", &[]);
        assert!(decide(&policy, &Memory::default(), &Request::new(&headers), &proxy).verdict.is_ok());
        let (deny, record) = ask(&policy, &proxy, "GET", "/", &[]);
        assert_eq!(deny.reason, Reason::RateLimited);
        assert!(record["note"].as_str().unwrap().contains(expected), "{record}");
    }
}

/// Over all reasons together, whoever writes their notes.
#[test]
fn every_refusal_has_a_note_and_no_reason_is_left_out() {
    let mut denials: BTreeMap<&str, Vec<Deny>> = BTreeMap::new();
    let mut add = |deny: Deny| denials.entry(deny.reason.code()).or_default().push(deny);
    for (mode, source) in MODES.into_iter().flat_map(|mode| [(mode, Source::JwtAuthn), (mode, Source::Jwks)]) {
        for fault in FAULTS.iter().filter(|fault| (fault.occurs)(mode, source)) {
            let mut scene = Scene::new(mode);
            (fault.apply)(&mut scene);
            add(scene.refusal(source).unwrap());
        }
    }
    let leaf = acme();
    let good = || FakeProxy::new().presenting(&leaf).verified(&claims(&leaf));
    let presenting = |recipe: Recipe| {
        let leaf = recipe.issue();
        FakeProxy::new().presenting(&leaf).verified(&claims(&leaf))
    };
    let mut misbound = claims(&leaf);
    misbound["cnf"] = json!({"x5t#S256": "00".repeat(32)});
    let forwarded = json!({
        "source_address": "envoy",
        "certificate": {"source": "forwarded", "forwarded": {
            "format": "base64_der", "header": "x-cert", "max_bytes": 10, "trusted_proxies": {"cidrs": ["10.0.0.0/8"]}}},
    });
    let proxy = || FakeProxy::new().with(Property::DirectRemoteAddress, "10.0.0.1");
    let feeds = json!({"revocation": {"feeds": [{"type": "json", "cluster": "lists", "authority": "a", "path": "/"}]}});
    let jwks = json!({"token": {"source": "jwks", "jwks_uri": {"cluster": "issuer", "authority": "a", "path": "/"}}});
    for (changes, proxy, path, more) in [
        (forwarded, proxy(), "/open/1", &[("x-cert", "AAAAAAAAAAA")][..]),
        (json!({}), presenting(Recipe::new().cn("acme").with(|params| params.not_before = at(60))), "/open/1", &[]),
        (json!({}), presenting(Recipe::new().subject(DnType::OrganizationName, "ExampleCorp")), "/open/1", &[]),
        (json!({}), FakeProxy::new().presenting(&leaf).verified(&misbound), "/open/1", &[]),
        (json!({"require_client_headers": true}), good(), "/open/1", &[]),
        (json!({"token": {"client_id_claims": []}}), presenting(Recipe::new().cn("several")), "/open/1", &[]),
        (json!({}), good(), "/reports/1", &[]),
        (feeds, good(), "/open/1", &[]),
        (jwks, good(), "/open/1", &[("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.AAAA")]),
        (json!({}), FakeProxy { failing: vec![Property::PeerCertificate], ..good() }, "/open/1", &[]),
    ] {
        add(ask(&policy(changes), &proxy, "GET", path, more).0);
    }
    let every: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let missing: Vec<&&str> = every.iter().filter(|code| !denials.contains_key(**code)).collect();
    assert!(missing.is_empty(), "not reached: {missing:?}");
    let is_silent = |deny: &&Deny| deny.note.is_none() && deny.detail.is_none();
    for deny in denials.values().flatten().filter(is_silent) {
        assert!(SAID_BY_THE_REASON.contains(&deny.reason), "{deny:?}");
    }
    let allowed = Scene::new(Mode::Required).refusal(Source::Jwks);
    assert!(allowed.is_none());
}
