//! Whole decisions: a policy, a request, a proxy; a verdict.

use base64::Engine;
use mtls_authz::{
    Binding, Counter, Decision, Enforcement, Header, Memory, Policy, Property, Proxy, Reason, Request, Response, Rule,
    UpstreamChange, decide, upstream_headers,
};
use rcgen::DnType;
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe, acme};
use crate::issuer::base64url;
use crate::proxy::{FakeProxy, NOW, headers, sent};

fn policy() -> Value {
    json!({
        "policy_id": "v1",
        "clients": {
            "acme": {"identities": ["spiffe://prod.example/ns/pay/sa/acme"], "profiles": ["partner"], "principal": "arn:example:client/acme"},
            "globex": {"identities": ["cn:globex", "dns:api.globex.example"], "profiles": ["partner", "auditor"]},
        },
        "profiles": {
            "partner": {"allow": [
                {"paths": ["/payments/*"], "methods": ["GET"]},
                {"paths": ["/payments"], "methods": ["POST"], "scopes": ["payments:write"]},
                {"paths": ["/"]},
            ]},
            "auditor": {"allow": [{"paths": ["/**"]}], "mode": "mtls"},
        },
        "bypass": [{"path": "/health", "methods": ["GET"]}],
    })
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut json = policy();
    change(&mut json);
    json
}

fn compiled(json: &Value) -> Policy {
    Policy::from_json(json.to_string().as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn run(json: &Value, proxy: &dyn Proxy, headers: &[Header<'_>]) -> Decision {
    decide(&compiled(json), &Memory::default(), &Request::new(headers), proxy)
}

fn verdict(decision: &Decision) -> Result<Rule, Reason> {
    decision.verdict.as_ref().map(|allow| allow.rule).map_err(|deny| deny.reason)
}

/// A token of `client`, bound to `leaf` where there is one.
fn token(client: &str, leaf: Option<&Leaf>) -> Value {
    let mut payload = json!({"client_id": client, "exp": NOW + 60, "scope": "payments:write"});
    if let Some(leaf) = leaf {
        payload["cnf"] = json!({"x5t#S256": leaf.thumbprint()});
    }
    payload
}

fn with(mut payload: Value, name: &str, value: Value) -> Value {
    payload[name] = value;
    payload
}

#[test]
fn a_bound_token_with_its_certificate_passes_and_the_upstream_is_told_who_it_is() {
    let leaf = acme();
    let proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
    let headers = headers("GET", "/payments/1", &[("x-client-id", "acme"), ("x_client_id", "evil"), ("accept", "*/*")]);
    let policy = compiled(&policy());
    let request = Request::new(&headers);
    let decision = decide(&policy, &Memory::default(), &request, &proxy);
    assert_eq!(verdict(&decision), Ok(Rule::Profile(0)));
    assert_eq!(decision.caller.binding, Some(Binding::Bound));
    let sent = sent(&policy, &request, &decision);
    let sent: Vec<(&str, &str)> = sent
        .iter()
        .map(|(name, value)| (std::str::from_utf8(name).unwrap(), std::str::from_utf8(value).unwrap()))
        .collect();
    assert_eq!(
        sent,
        [
            (":method", "GET"),
            (":path", "/payments/1"),
            (":authority", "api.example"),
            ("accept", "*/*"),
            ("x-client-id", "acme"),
            ("x-profile-id", "partner"),
            ("x-client-principal", "arn:example:client/acme"),
            ("x-client-identity", "spiffe://prod.example/ns/pay/sa/acme"),
            ("x-client-cert-thumbprint", leaf.thumbprint().as_str()),
        ]
    );
}

#[test]
fn a_common_name_that_is_no_text_does_not_give_way_to_a_weaker_name() {
    let json = changed(|json| {
        json["identity"] = json!({"precedence": ["subject_cn", "dns_san", "uri_san"]});
    });
    const OCTET_STRING: u8 = 0x04;
    const UTF8_STRING: u8 = 0x0c;
    for (kind, common_name, expected) in [
        (UTF8_STRING, "globex", Ok(Rule::Profile(0))),
        (UTF8_STRING, "", Ok(Rule::Profile(0))),
        (OCTET_STRING, "globex", Err(Reason::IdentityMissing)),
    ] {
        let mut der = Recipe::new().dns("api.globex.example").cn(common_name).issue().der;
        let oid = der.windows(5).rposition(|octets| octets == b"\x06\x03\x55\x04\x03").unwrap();
        der[oid + 5] = kind;
        let proxy = FakeProxy::new()
            .with(Property::PeerCertificateValid, [1])
            .with(Property::PeerCertificate, base64::engine::general_purpose::STANDARD.encode(&der));
        let decision = run(&json, &proxy, &headers("GET", "/payments/1", &[("x-profile-id", "auditor")]));
        assert_eq!(verdict(&decision), expected, "{kind} {common_name}");
    }
}

#[test]
fn every_refusal_has_its_reason() {
    let leaf = acme();
    let other = Recipe::new().cn("other").issue();
    let good = || FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
    let claims = |payload: Value| FakeProxy::new().presenting(&leaf).verified(&payload);
    let bound = || token("acme", Some(&leaf));
    let presenting = |recipe: Recipe| {
        let leaf = recipe.issue();
        FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)))
    };
    let get = |more: &'static [(&'static str, &'static str)]| headers("GET", "/payments/1", more);
    for (name, proxy, headers, expected) in [
        ("good", good(), get(&[]), Ok(Rule::Profile(0))),
        ("health", FakeProxy::new(), headers("GET", "/health?x", &[]), Ok(Rule::Bypass(0))),
        (
            "health by another method",
            FakeProxy::new(),
            headers("POST", "/health", &[]),
            Err(Reason::CertificateMissing),
        ),
        (
            "health as an upgrade",
            FakeProxy::new(),
            headers("GET", "/health", &[("connection", "upgrade"), ("upgrade", "websocket")]),
            Err(Reason::CertificateMissing),
        ),
        ("no method", good(), vec![(b":path", b"/")], Err(Reason::RequestMalformed)),
        ("no path", good(), vec![(b":method", b"GET")], Err(Reason::RequestMalformed)),
        ("CONNECT, which has no path", good(), vec![(b":method", b"CONNECT")], Err(Reason::UpgradeDenied)),
        ("a stranger's CONNECT", FakeProxy::new(), vec![(b":method", b"CONNECT")], Err(Reason::CertificateMissing)),
        ("two paths", good(), headers("GET", "/", &[(":path", "/health")]), Err(Reason::RequestMalformed)),
        (
            "two client ids",
            good(),
            get(&[("x-client-id", "acme"), ("x-client-id", "acme")]),
            Err(Reason::RequestMalformed),
        ),
        ("ambiguous path", good(), headers("GET", "/public/..;/payments/1", &[]), Err(Reason::PathMalformed)),
        (
            "two tokens",
            good(),
            get(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
            Err(Reason::AuthorizationMalformed),
        ),
        (
            "a token in the query",
            good(),
            headers("GET", "/payments/1?x=1&access%5Ftoken=a", &[]),
            Err(Reason::AuthorizationMalformed),
        ),
        (
            "a token that was not the verified one",
            good(),
            get(&[("authorization", "Bearer e30.e30.x")]),
            Err(Reason::AuthorizationMalformed),
        ),
        ("no certificate", FakeProxy::new().verified(&bound()), get(&[]), Err(Reason::CertificateMissing)),
        ("not verified", good().with(Property::PeerCertificateValid, [0]), get(&[]), Err(Reason::CertificateUntrusted)),
        (
            "garbage for a certificate",
            good().with(Property::PeerCertificate, *b"x"),
            get(&[]),
            Err(Reason::CertificateMalformed),
        ),
        (
            "two URIs",
            presenting(Recipe::new().uri("spiffe://td/a").uri("https://a.example")),
            get(&[]),
            Err(Reason::IdentityInvalid),
        ),
        (
            "an invalid SPIFFE ID",
            presenting(Recipe::new().uri("spiffe://TD/a")),
            get(&[]),
            Err(Reason::IdentityInvalid),
        ),
        ("a NUL in the name", presenting(Recipe::new().cn("globex\0.evil")), get(&[]), Err(Reason::IdentityInvalid)),
        ("no name", presenting(Recipe::new()), get(&[]), Err(Reason::IdentityMissing)),
        ("no token", FakeProxy::new().presenting(&leaf), get(&[]), Err(Reason::TokenMissing)),
        (
            "a raw token is not believed",
            FakeProxy::new().presenting(&leaf),
            get(&[("authorization", "Bearer a.b.c")]),
            Err(Reason::TokenMissing),
        ),
        (
            "metadata that is none",
            claims(bound()).with(Property::DynamicMetadata, *b"\xff"),
            get(&[]),
            Err(Reason::TokenMalformed),
        ),
        ("no expiry", claims(json!({"client_id": "acme"})), get(&[]), Err(Reason::TokenClaimsInvalid)),
        ("expired", claims(with(bound(), "exp", json!(NOW - 60))), get(&[]), Err(Reason::TokenExpired)),
        ("too early", claims(with(bound(), "nbf", json!(NOW + 60))), get(&[]), Err(Reason::TokenNotYetValid)),
        ("not bound", claims(token("acme", None)), get(&[]), Err(Reason::SenderBindingMissing)),
        (
            "bound in hexadecimal",
            claims(with(bound(), "cnf", json!({"x5t#S256": "00".repeat(32)}))),
            get(&[]),
            Err(Reason::SenderBindingMalformed),
        ),
        ("stolen", claims(token("acme", Some(&other))), get(&[]), Err(Reason::SenderBindingMismatch)),
        ("nobody's certificate", presenting(Recipe::new().cn("nobody")), get(&[]), Err(Reason::IdentityNotMapped)),
        (
            "a registered CN behind an unregistered SPIFFE ID",
            presenting(Recipe::new().uri("spiffe://td/x").cn("globex")),
            get(&[]),
            Err(Reason::IdentityNotMapped),
        ),
        ("another's name", good(), get(&[("x-client-id", "globex")]), Err(Reason::ClientMismatch)),
        ("another's profile", good(), get(&[("x-profile-id", "auditor")]), Err(Reason::ClientProfileMismatch)),
        (
            "another's token",
            claims(with(bound(), "azp", json!("globex"))),
            get(&[]),
            Err(Reason::ClientProfileMismatch),
        ),
        (
            "nobody's token",
            claims(json!({"exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}})),
            get(&[]),
            Err(Reason::ClientProfileMismatch),
        ),
        ("other path", good(), headers("GET", "/admin", &[]), Err(Reason::PathDenied)),
        (
            "no scope",
            claims(with(bound(), "scope", json!("x"))),
            headers("POST", "/payments", &[]),
            Err(Reason::InsufficientScope),
        ),
        ("other method", good(), headers("DELETE", "/payments/1", &[]), Err(Reason::MethodNotAllowed)),
        (
            "upgrade",
            good(),
            get(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]),
            Err(Reason::UpgradeDenied),
        ),
    ] {
        let decision = run(&policy(), &proxy, &headers);
        assert_eq!(verdict(&decision), expected, "{name}: {decision:?}");
    }
}

#[test]
fn neither_connect_nor_an_upgrade_is_ever_bypassed() {
    let json = changed(|json| json["bypass"] = json!([{"path": "/**"}]));
    for (headers, expected) in [
        (headers("GET", "/any", &[]), Ok(Rule::Bypass(0))),
        (headers("BREW", "/", &[]), Ok(Rule::Bypass(0))),
        (vec![(&b":method"[..], &b"CONNECT"[..]), (b":authority", b"a:1")], Err(Reason::CertificateMissing)),
        (headers("CONNECT", "/any", &[]), Err(Reason::CertificateMissing)),
        (headers("CONNECT", "/any", &[(":protocol", "websocket")]), Err(Reason::CertificateMissing)),
        (
            headers("GET", "/any", &[("connection", "Upgrade"), ("upgrade", "websocket")]),
            Err(Reason::CertificateMissing),
        ),
    ] {
        assert_eq!(verdict(&run(&json, &FakeProxy::new(), &headers)), expected, "{headers:?}");
    }
}

#[test]
fn a_token_that_nobody_verified_is_no_token_whatever_it_claims() {
    let leaf = acme();
    let text = |json: Value| base64url(json.to_string());
    let claims = token("acme", Some(&leaf));
    for header in [json!({"alg": "ES256", "typ": "JWT"}), json!({"alg": "none"})] {
        let bearer = format!("Bearer {}.{}.{}", text(header), text(claims.clone()), text(json!("signature")));
        let request = [("authorization", bearer.as_str())];
        let request = headers("GET", "/payments/1", &request);
        let proxy = FakeProxy::new().presenting(&leaf);
        for mode in ["bearer_plus_mtls_required", "bearer_plus_mtls_optional"] {
            let json = changed(|json| json["mode"] = json!(mode));
            assert_eq!(verdict(&run(&json, &proxy, &request)), Err(Reason::TokenMissing), "{mode}");
        }
    }
}

#[test]
fn identities_of_the_configuration_are_literal() {
    let json = changed(|json| {
        json["mode"] = json!("mtls");
        json["profiles"]["partner"]["allow"] = json!([{"paths": ["/payments/*"]}]);
        json["clients"]["acme"]["identities"] =
            json!(["cn:a.c*[me]", "dns:*.literal.example", "email:.*@literal.example", "subject:CN=s.*,O=x"]);
    });
    let named = |recipe: Recipe| {
        let proxy = FakeProxy::new().presenting(&recipe.issue());
        verdict(&run(&json, &proxy, &headers("GET", "/payments/1", &[])))
    };
    let email = |name: &str| {
        let name = rcgen::SanType::Rfc822Name(name.try_into().unwrap());
        Recipe::new().cn("x").with(|params| params.subject_alt_names.push(name))
    };
    let subject = |name: &str| Recipe::new().subject(DnType::OrganizationName, "x").cn(name);
    for (itself, others) in [
        (
            Recipe::new().cn("a.c*[me]"),
            vec![Recipe::new().cn("abcm"), Recipe::new().cn("a.cm"), Recipe::new().cn("a.c*m")],
        ),
        (Recipe::new().dns("*.literal.example"), vec![Recipe::new().dns("x.literal.example")]),
        (email(".*@literal.example"), vec![email("ops@literal.example")]),
        (subject("s.*"), vec![subject("some"), subject("s.")]),
    ] {
        assert_eq!(named(itself), Ok(Rule::Profile(0)));
        for other in others {
            assert_eq!(named(other), Err(Reason::IdentityNotMapped));
        }
    }
}

#[test]
fn a_time_of_issue_may_be_ahead_by_the_leeway() {
    let leaf = acme();
    for (claim, ahead, expected) in [
        ("iat", 30, Ok(Rule::Profile(0))),
        ("iat", 31, Err(Reason::TokenNotYetValid)),
        ("nbf", 30, Ok(Rule::Profile(0))),
        ("nbf", 31, Err(Reason::TokenNotYetValid)),
    ] {
        let claims = with(token("acme", Some(&leaf)), claim, json!(NOW + ahead));
        let proxy = FakeProxy::new().presenting(&leaf).verified(&claims);
        assert_eq!(verdict(&run(&policy(), &proxy, &headers("GET", "/payments/1", &[]))), expected, "{claim} {ahead}");
    }
}

#[test]
fn a_host_that_does_not_answer_denies() {
    let leaf = acme();
    for property in [Property::PeerCertificate, Property::PeerCertificateValid, Property::DynamicMetadata] {
        let mut proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
        proxy.failing.push(property);
        assert_eq!(verdict(&run(&policy(), &proxy, &headers("GET", "/payments/1", &[]))), Err(Reason::InternalError));
    }
}

#[test]
fn a_profile_that_is_not_named_is_asked_for_only_where_there_are_several() {
    let leaf = Recipe::new().cn("globex").issue();
    let proxy = FakeProxy::new().presenting(&leaf).verified(&token("globex", Some(&leaf)));
    let outcome = |more| verdict(&run(&policy(), &proxy, &headers("GET", "/payments/1", more)));
    assert_eq!(outcome(&[]), Err(Reason::ProfileRequired));
    assert_eq!(outcome(&[("x-profile-id", "partner")]), Ok(Rule::Profile(0)));
    assert_eq!(outcome(&[("x-profile-id", "nothing")]), Err(Reason::ClientProfileMismatch));
    let required = changed(|json| json["require_client_headers"] = json!(true));
    let named = [("x-profile-id", "partner")];
    assert_eq!(
        verdict(&run(&required, &proxy, &headers("GET", "/payments/1", &named))),
        Err(Reason::ClientHeaderMissing)
    );
}

#[test]
fn a_profile_in_mode_mtls_asks_for_no_token() {
    let leaf = Recipe::new().cn("globex").issue();
    let proxy = FakeProxy::new().presenting(&leaf);
    let decision = run(&policy(), &proxy, &headers("GET", "/anything", &[("x-profile-id", "auditor")]));
    assert_eq!((verdict(&decision), decision.caller.binding), (Ok(Rule::Profile(0)), Some(Binding::Certificate)));
    assert!(!proxy.asked.borrow().contains(&Property::DynamicMetadata));
}

#[test]
fn in_optional_mode_a_token_suffices_but_a_binding_always_counts() {
    let optional = changed(|json| {
        json["mode"] = json!("bearer_plus_mtls_optional");
        json["binding"] = json!({"required_paths": ["/payments"]});
    });
    let leaf = acme();
    let stranger = Recipe::new().cn("stranger").issue();
    let unbound = || token("acme", None);
    let bound = || token("acme", Some(&leaf));
    for (name, proxy, method, path, expected) in [
        ("token alone", FakeProxy::new().verified(&unbound()), "GET", "/payments/1", Ok(Rule::Profile(0))),
        ("nothing", FakeProxy::new(), "GET", "/payments/1", Err(Reason::TokenMissing)),
        ("listed path", FakeProxy::new().verified(&unbound()), "POST", "/payments", Err(Reason::CertificateMissing)),
        (
            "listed path, token not bound",
            FakeProxy::new().presenting(&leaf).verified(&unbound()),
            "POST",
            "/payments",
            Err(Reason::SenderBindingMissing),
        ),
        (
            "listed path, bound",
            FakeProxy::new().presenting(&leaf).verified(&bound()),
            "POST",
            "/payments",
            Ok(Rule::Profile(1)),
        ),
        (
            "bound token without its certificate",
            FakeProxy::new().verified(&bound()),
            "GET",
            "/payments/1",
            Err(Reason::CertificateMissing),
        ),
        (
            "bound token with another",
            FakeProxy::new().presenting(&stranger).verified(&bound()),
            "GET",
            "/payments/1",
            Err(Reason::SenderBindingMismatch),
        ),
        (
            "unknown certificate",
            FakeProxy::new().presenting(&stranger).verified(&unbound()),
            "GET",
            "/payments/1",
            Err(Reason::IdentityNotMapped),
        ),
        (
            "unverified certificate",
            FakeProxy::new().presenting(&leaf).with(Property::PeerCertificateValid, [0]).verified(&unbound()),
            "GET",
            "/payments/1",
            Err(Reason::CertificateUntrusted),
        ),
        (
            "token of an unknown client",
            FakeProxy::new().verified(&token("nobody", None)),
            "GET",
            "/payments/1",
            Err(Reason::IdentityNotMapped),
        ),
        (
            "claims that differ",
            FakeProxy::new().verified(&with(unbound(), "azp", json!("globex"))),
            "GET",
            "/payments/1",
            Err(Reason::ClientProfileMismatch),
        ),
    ] {
        let decision = run(&optional, &proxy, &headers(method, path, &[]));
        assert_eq!(verdict(&decision), expected, "{name}: {decision:?}");
    }
}

#[test]
fn without_a_certificate_a_token_names_one_client_or_nobody() {
    let optional = changed(|json| json["mode"] = json!("bearer_plus_mtls_optional"));
    for (claims, expected, client) in [
        (json!({"client_id": "acme", "azp": "acme"}), Ok(Rule::Profile(0)), Some("acme")),
        (json!({"azp": "acme"}), Ok(Rule::Profile(0)), Some("acme")),
        (json!({"client_id": "acme", "azp": "globex"}), Err(Reason::ClientProfileMismatch), None),
        (json!({"client_id": "initech"}), Err(Reason::IdentityNotMapped), None),
        (json!({}), Err(Reason::IdentityNotMapped), None),
    ] {
        let proxy = FakeProxy::new().verified(&with(claims.clone(), "exp", json!(NOW + 60)));
        let decision = run(&optional, &proxy, &headers("GET", "/payments/1", &[]));
        assert_eq!((verdict(&decision), decision.caller.client_id()), (expected, client), "{claims}");
    }
}

#[test]
fn a_strict_profile_stays_strict_where_the_rest_is_optional() {
    let mixed = changed(|json| json["profiles"]["auditor"]["mode"] = json!("bearer_plus_mtls_optional"));
    let partner = FakeProxy::new().verified(&token("acme", None));
    assert_eq!(verdict(&run(&mixed, &partner, &headers("GET", "/payments/1", &[]))), Err(Reason::CertificateMissing));
    let nothing = run(&mixed, &FakeProxy::new(), &headers("GET", "/payments/1", &[]));
    assert_eq!(verdict(&nothing), Err(Reason::CertificateMissing));
    // Only the absence of a token leaves open that the profile is the strict one.
    let expired = FakeProxy::new().verified(&with(token("globex", None), "exp", json!(NOW - 60)));
    assert_eq!(verdict(&run(&mixed, &expired, &headers("GET", "/payments/1", &[]))), Err(Reason::TokenExpired));
    let auditor = FakeProxy::new().verified(&token("globex", None));
    let named = [("x-profile-id", "auditor")];
    assert_eq!(verdict(&run(&mixed, &auditor, &headers("GET", "/payments/1", &named))), Ok(Rule::Profile(0)));
}

#[test]
fn shadow_decides_and_lets_pass_without_vouching_for_anybody() {
    let shadow = changed(|json| json["profiles"]["partner"]["enforcement"] = json!("shadow"));
    let leaf = acme();
    let proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
    let headers = headers("GET", "/admin", &[("x-client-principal", "root"), ("client-cert", ":eA==:")]);
    let policy = compiled(&shadow);
    let request = Request::new(&headers);
    let decision = decide(&policy, &Memory::default(), &request, &proxy);
    assert_eq!((verdict(&decision), decision.enforcement), (Err(Reason::PathDenied), Enforcement::Shadow));
    assert!(decision.refusal().is_none());
    let change = upstream_headers(&policy.upstream_headers, &request, &decision);
    let strips_certificate = matches!(change, UpstreamChange::Replace { strips_certificate: true, .. });
    assert_eq!(
        Counter::of(&decision, strips_certificate).collect::<Vec<_>>(),
        [Counter::ShadowDenied(Reason::PathDenied), Counter::ForwardedCertStripped]
    );
    let sent = sent(&policy, &request, &decision);
    assert_eq!(sent.len(), 3);
}

#[test]
fn a_mapping_turns_names_into_clients_and_profiles() {
    let mapped = changed(|json| {
        json["identity"] = json!({
            "allow_unregistered": true,
            "mappings": [
                {"match": {"uri_san": "spiffe://mesh.example/ns/{ns}/sa/{sa}"}, "client_id": "{ns}-{sa}", "profile_id": "auditor", "principal": "arn:mesh:{spiffe.trust_domain}{spiffe.path}"},
                {"match": {"subject": {"O": "ExampleCorp"}}, "client_id": "{subject.CN}", "profile_id": "{subject.OU}"},
            ],
        });
    });
    let example = |cn: &str, ou: &str| {
        let recipe = Recipe::new().subject(DnType::OrganizationName, "ExampleCorp");
        recipe.subject(DnType::OrganizationalUnitName, ou).cn(cn).issue()
    };
    for (leaf, expected) in [
        (example("initech", "auditor"), Ok(("initech", "auditor", None))),
        (example("a/b:*", "auditor"), Ok(("a%2Fb%3A%2A", "auditor", None))),
        (example("initech", "nothing"), Err(Reason::ClientProfileMismatch)),
        // The registry knows acme, and as a partner only.
        (example("acme", "auditor"), Err(Reason::ClientProfileMismatch)),
        (
            Recipe::new().uri("spiffe://mesh.example/ns/pay/sa/api").issue(),
            Ok(("pay-api", "auditor", Some("arn:mesh:mesh.example/ns/pay/sa/api"))),
        ),
        (Recipe::new().uri("spiffe://other.example/ns/pay/sa/api").issue(), Err(Reason::IdentityNotMapped)),
    ] {
        let proxy = FakeProxy::new().presenting(&leaf);
        let mtls = with(mapped.clone(), "mode", json!("mtls"));
        let mtls = with(mtls, "profiles", json!({"partner": {}, "auditor": {"allow": [{"paths": ["/**"]}]}}));
        let decision = run(&mtls, &proxy, &headers("GET", "/x", &[]));
        let caller = &decision.caller;
        let outcome = verdict(&decision)
            .map(|_| (caller.client_id().unwrap(), caller.profile_id.as_deref().unwrap(), caller.principal()));
        assert_eq!(outcome, expected);
    }
}

#[test]
fn what_the_upstream_is_told_differs_where_the_certificates_differ() {
    let policy = json!({
        "mode": "mtls",
        "identity": {"allow_unregistered": true, "mappings": [
            {"match": {"subject": {"CN": "{name}"}}, "client_id": "{name}", "profile_id": "any"},
        ]},
        "profiles": {"any": {"allow": [{"paths": ["/**"]}]}},
    });
    for (cn, client_id, identity) in [
        ("acme", "acme", "cn:acme"),
        ("acme corp", "acme corp", "cn:acme%20corp"),
        ("acme ", "acme%20", "cn:acme%20"),
        ("acme%20", "acme%2520", "cn:acme%2520"),
        ("a/b", "a%2Fb", "cn:a/b"),
        ("ü", "%C3%BC", "cn:%C3%BC"),
    ] {
        let policy = compiled(&policy);
        let headers = headers("GET", "/", &[]);
        let request = Request::new(&headers);
        let decision =
            decide(&policy, &Memory::default(), &request, &FakeProxy::new().presenting(&Recipe::new().cn(cn).issue()));
        let sent = sent(&policy, &request, &decision);
        let value = |name: &str| {
            let (_, value) = sent.iter().find(|(known, _)| *known == name.as_bytes()).unwrap();
            std::str::from_utf8(value).unwrap()
        };
        assert_eq!((value("x-client-id"), value("x-client-identity")), (client_id, identity));
    }
}

#[test]
fn an_issuer_pin_keeps_other_issuers_out() {
    let pinned = |issuer: &str| {
        changed(|json| {
            json["mode"] = json!("mtls");
            json["profiles"] = json!({"partner": {"allow": [{"paths": ["/**"]}]}, "auditor": {}});
            json["clients"]["acme"]["issuers"] = json!([issuer]);
        })
    };
    let proxy = FakeProxy::new().presenting(&acme());
    let outcome = |policy: &Value| verdict(&run(policy, &proxy, &headers("GET", "/", &[])));
    assert_eq!(outcome(&pinned("CN=Test CA,O=ExampleCorp")), Ok(Rule::Profile(0)));
    assert_eq!(outcome(&pinned("CN=Test CA")), Err(Reason::IdentityNotMapped));
}

#[test]
fn source_addresses_are_the_direct_peers_and_a_missing_one_denies() {
    let limited = changed(|json| json["profiles"]["partner"]["source_cidrs"] = json!(["10.0.0.0/8"]));
    let leaf = acme();
    let from = |address: Option<&str>| {
        let proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
        let proxy = proxy.with(Property::SourceAddress, "10.0.0.1:0");
        let proxy = match address {
            Some(address) => proxy.with(Property::DirectRemoteAddress, address),
            None => proxy,
        };
        verdict(&run(&limited, &proxy, &headers("GET", "/payments/1", &[])))
    };
    assert_eq!(from(Some("10.1.2.3")), Ok(Rule::Profile(0)));
    assert_eq!(from(Some("192.0.2.1")), Err(Reason::SourceIpDenied));
    assert_eq!(from(Some("nonsense")), Err(Reason::SourceIpDenied));
    assert_eq!(from(None), Err(Reason::SourceIpDenied));
}

#[test]
fn a_rate_limit_is_per_client_and_profile() {
    let limited = changed(|json| json["profiles"]["auditor"]["rate_limit"] = json!({"requests": 2, "per_seconds": 60}));
    let proxy = FakeProxy::new().presenting(&Recipe::new().cn("globex").issue());
    let outcome = || verdict(&run(&limited, &proxy, &headers("GET", "/x", &[("x-profile-id", "auditor")])));
    assert_eq!(
        [outcome(), outcome(), outcome()],
        [Ok(Rule::Profile(0)), Ok(Rule::Profile(0)), Err(Reason::RateLimited)]
    );
    let other = FakeProxy::new().presenting(&Recipe::new().dns("api.globex.example").issue());
    other.shared.replace(proxy.shared.take());
    let again = run(&limited, &other, &headers("GET", "/x", &[("x-profile-id", "auditor")]));
    assert_eq!(verdict(&again), Err(Reason::RateLimited), "another certificate of the same client");
}

#[test]
fn before_envoy_1_38_a_forwarded_certificate_counts_only_by_its_hash() {
    let listener = changed(|json| json["certificate"] = json!({"validation": "listener"}));
    let leaf = acme();
    let escaped: String = leaf.pem.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let old = |leaf: &Leaf| {
        let digest = mtls_authz::Thumbprint::of(&leaf.der).to_hex();
        let proxy = FakeProxy::new().with(Property::PeerCertificateDigest, digest);
        proxy.with(Property::PeerSubject, "CN=globex").verified(&token("acme", Some(leaf)))
    };
    let own = format!("By=x,Hash=00;Cert=\"{escaped}\"");
    let forwarded = [("x-forwarded-client-cert", own.as_str())];
    let decision = run(&listener, &old(&leaf), &headers("GET", "/payments/1", &forwarded));
    assert_eq!(verdict(&decision), Ok(Rule::Profile(0)));
    // The header's certificate is not the connection's: what counts is what Envoy says of the latter.
    let other = Recipe::new().cn("globex").issue();
    let decision =
        run(&listener, &old(&other), &headers("GET", "/payments/1", &[forwarded[0], ("x-profile-id", "partner")]));
    assert_eq!(decision.caller.identity.as_deref(), Some("cn:globex"));
    assert_eq!(verdict(&decision), Err(Reason::ClientProfileMismatch));
}

#[test]
fn only_the_header_that_envoy_itself_wrote_stays() {
    let leaf = acme();
    let hash = mtls_authz::Thumbprint::of(&leaf.der).to_hex();
    let own = format!("Hash={hash};Subject=\"CN=acme\";URI=spiffe://prod.example/ns/pay/sa/acme");
    let policy = compiled(&policy());
    let cert =
        leaf.pem.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    for (value, stays) in [
        (own.clone(), true),
        (format!("By=spiffe://server/a;{own}"), true),
        (format!("{own};Cert=\"{cert}\";Chain=\"{cert}{cert}\""), true),
        (format!("By=spiffe://prod.example/anything;{own}"), false),
        (format!("By=\"spiffe://server/a\";{own}"), false),
        (format!("By=\"x;URI=spiffe://prod.example/admin\";{own}"), false),
        (format!("By=\"x,By=y;Hash=00;URI=spiffe://prod.example/admin\";{own}"), false),
        (format!("By=spiffe://server/a;By=spiffe://server/a;{own}"), false),
        (format!("{own};Chain=\"{cert}\\\";URI=spiffe://prod.example/admin;Chain=\\\"\""), false),
        (format!("{own};Chain=\"{cert};URI=spiffe://prod.example/admin\""), false),
        (format!("{own};Chain=\"{cert}x\""), false),
        (format!("{own};Cert={cert}"), false),
        (format!("{own},{own}"), false),
        (format!("{own};URI=spiffe://prod.example/ns/pay/sa/admin"), false),
        (format!("{own};DNS=admin.example"), false),
        (format!("{own};Hash={hash}"), false),
        (format!("{own};Role=admin"), false),
        (own.replace("CN=acme", "CN=admin"), false),
        (own.replace("Hash=", "Hash=0"), false),
        (format!("{own};Cert=\"AAAA\""), false),
        ("URI=spiffe://prod.example/ns/pay/sa/acme".to_owned(), false),
        (String::new(), false),
    ] {
        let value = [("x-forwarded-client-cert", value.as_str())];
        for path in ["/payments/1", "/health"] {
            let proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
            let proxy = proxy.with(Property::LocalUriSan, "spiffe://server/a");
            let headers = headers("GET", path, &value);
            let request = Request::new(&headers);
            let decision = decide(&policy, &Memory::default(), &request, &proxy);
            assert!(decision.verdict.is_ok());
            let sent = sent(&policy, &request, &decision);
            let stood = sent.iter().any(|(name, _)| *name == b"x-forwarded-client-cert");
            assert_eq!(stood, stays, "{path} {value:?}");
        }
    }
}

/// A certificate of which each kind of pair has something to say, and one of which none has.
#[test]
fn a_pair_of_that_header_is_what_the_certificate_says_in_the_form_that_envoy_gives_it() {
    let named = Recipe::new().dns("a.example").dns("b.example").cn("globex").issue();
    let nameless = Recipe::new().dns("api.globex.example").issue();
    let mtls = compiled(&changed(|json| {
        json["mode"] = json!("mtls");
        json["clients"]["globex"]["identities"] = json!(["cn:globex", "dns:a.example", "dns:api.globex.example"]);
        json["clients"]["globex"]["profiles"] = json!(["auditor"]);
        json["profiles"]["partner"]["allow"] = json!([]);
    }));
    let hash = |leaf: &Leaf| format!("Hash={}", mtls_authz::Thumbprint::of(&leaf.der).to_hex());
    let escape = |pem: &str| {
        pem.replace('\n', "%0A").replace(' ', "%20").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    };
    let cert = escape(&named.pem);
    for (leaf, pairs, stays) in [
        (&named, String::new(), true),
        (&named, ";DNS=a.example;DNS=b.example".to_owned(), true),
        (&named, ";DNS=A.EXAMPLE".to_owned(), true),
        (&named, ";DNS=c.example".to_owned(), false),
        (&named, ";DNS=\"a.example\"".to_owned(), false),
        (&named, ";URI=".to_owned(), true),
        (&named, ";URI=spiffe://td/a".to_owned(), false),
        (&named, ";Subject=\"\"".to_owned(), false),
        (&named, ";Subject=CN=globex".to_owned(), false),
        (&nameless, ";Subject=\"\"".to_owned(), true),
        (&nameless, ";Subject=\"CN=globex\"".to_owned(), false),
        (&named, format!(";Cert=\"{cert}\""), true),
        (&named, format!(";Cert=\"{}\"", cert.replace("%0A", " ")), false),
        (&named, format!(";Cert=\"{}\"", cert.replace("%2B", "+")), !cert.contains("%2B")),
        (&named, format!(";Cert=\"{}\"", cert.replace("%3D", "=").replace("%2F", "/")), !cert.contains("%2F")),
        (&named, format!(";Chain=\"{cert}\""), true),
        (&named, format!(";Chain=\"{}\"", cert.replace("%20", " ")), false),
        (&named, format!(";Chain=\"{}\"", cert.repeat(64)), true),
        (&named, format!(";Chain=\"{}\"", cert.repeat(65)), false),
    ] {
        let value = format!("{}{pairs}", hash(leaf));
        let more = [("x-forwarded-client-cert", value.as_str())];
        let headers = headers("GET", "/payments/1", &more);
        let request = Request::new(&headers);
        let decision = decide(&mtls, &Memory::default(), &request, &FakeProxy::new().presenting(leaf));
        assert!(decision.verdict.is_ok(), "{decision:?}");
        let stood = sent(&mtls, &request, &decision).iter().any(|(name, _)| *name == b"x-forwarded-client-cert");
        assert_eq!(stood, stays, "{value}");
    }
}

#[test]
fn trailers_carry_no_identity_either() {
    let policy = compiled(&changed(|json| json["upstream_headers"] = json!({"client_id": "x-caller"})));
    let clean = |names: &[&str]| {
        let trailers: Vec<Header<'_>> = names.iter().map(|name| (name.as_bytes(), &b"v"[..])).collect();
        let kept = mtls_authz::upstream_trailers(&policy.upstream_headers, &trailers);
        kept.map(|kept| kept.iter().map(|(name, _)| String::from_utf8(name.to_vec()).unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(clean(&["grpc-status", "x-checksum"]), None);
    let spoofed = ["x-checksum", "x-client-id", "x_caller", "client-cert", "x-forwarded-client-cert", "authorization"];
    assert_eq!(clean(&spoofed), Some(vec!["x-checksum".to_owned()]));
}

#[test]
fn an_upgraded_request_names_no_further_header_to_be_dropped() {
    let upgrades = changed(|json| json["profiles"]["partner"]["allow"][0]["upgrades"] = json!(["websocket"]));
    let leaf = acme();
    let proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
    let more = [("connection", "upgrade, x-client-id"), ("upgrade", "websocket")];
    let headers = headers("GET", "/payments/1", &more);
    let policy = compiled(&upgrades);
    let request = Request::new(&headers);
    let decision = decide(&policy, &Memory::default(), &request, &proxy);
    let sent = sent(&policy, &request, &decision);
    let connection: Vec<_> =
        sent.iter().filter(|(name, _)| *name == b"connection").map(|(_, value)| value.as_ref()).collect();
    assert_eq!(connection, [b"upgrade"]);
}

#[test]
fn what_goes_on_is_the_path_that_was_decided_on() {
    let leaf = acme();
    let policy = compiled(&policy());
    for (asked, expected) in [
        ("/payments/1", "/payments/1"),
        ("/payments/1?a=/../b#c", "/payments/1?a=/../b#c"),
        ("/internal/../payments/1?q=%2e", "/payments/1?q=%2e"),
        ("/internal/%2e%2E/payments/%31#f?q", "/payments/1"),
        ("/x/../health?y#z", "/health?y"),
    ] {
        let proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
        let headers = headers("GET", asked, &[]);
        let request = Request::new(&headers);
        let decision = decide(&policy, &Memory::default(), &request, &proxy);
        assert!(decision.verdict.is_ok(), "{asked}");
        let sent = sent(&policy, &request, &decision);
        let paths: Vec<&[u8]> =
            sent.iter().filter(|(name, _)| *name == b":path").map(|(_, path)| path.as_ref()).collect();
        assert_eq!(paths, [expected.as_bytes()]);
    }
}

#[test]
fn a_bypassed_request_carries_no_identity() {
    let policy = compiled(&changed(|json| json["upstream_headers"] = json!({"client_cert": true})));
    let leaf = acme();
    let proxy = FakeProxy::new().presenting(&leaf);
    let headers = headers("GET", "/health", &[("x-forwarded-client-cert", "junk")]);
    let request = Request::new(&headers);
    let decision = decide(&policy, &Memory::default(), &request, &proxy);
    let sent = sent(&policy, &request, &decision);
    assert_eq!(sent.len(), 3, "{sent:?}");
}

#[test]
fn the_answer_says_no_more_than_the_caller_may_know() {
    let leaf = acme();
    let refused = |proxy: &FakeProxy, headers: &[Header<'_>]| {
        let request = Request::new(headers);
        let decision = decide(&compiled(&policy()), &Memory::default(), &request, proxy);
        Response::refuse(decision.refusal().unwrap(), &request)
    };
    let header = |response: &Response, name: &str| {
        response.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    };
    let bound = || FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));

    let nothing = refused(&FakeProxy::new(), &headers("GET", "/payments/1", &[("x-request-id", "r-1")]));
    assert_eq!((nothing.status, nothing.grpc_status), (401, 16));
    assert_eq!(header(&nothing, "www-authenticate").as_deref(), Some("Bearer realm=\"mtls-authz\""));
    assert_eq!(header(&nothing, "cache-control").as_deref(), Some("no-store"));
    let body: Value = serde_json::from_str(&nothing.body).unwrap();
    assert_eq!(
        (&body["code"], &body["request_id"], &body["status"]),
        (&json!("certificate_missing"), &json!("r-1"), &json!(401))
    );

    let method = refused(&bound(), &headers("DELETE", "/payments/1", &[]));
    assert_eq!((method.status, header(&method, "allow").as_deref()), (405, Some("GET")));
    assert_eq!(header(&method, "www-authenticate"), None);

    let proxy = FakeProxy::new().presenting(&leaf).verified(&with(token("acme", Some(&leaf)), "scope", json!("")));
    let scope = refused(&proxy, &headers("POST", "/payments", &[]));
    let challenge = header(&scope, "www-authenticate").unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"payments:write\""),
        "{challenge}"
    );

    let grpc = refused(&FakeProxy::new(), &headers("POST", "/p.S/M", &[("content-type", "application/grpc+proto")]));
    assert_eq!((grpc.body.as_str(), header(&grpc, "content-type")), (Reason::CertificateMissing.detail(), None));
}
