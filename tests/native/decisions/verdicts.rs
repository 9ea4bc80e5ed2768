//! Who is let in, who is refused, and why.

use super::*;

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
            claims(json!({"aud": "api", "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}})),
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
        // The registry knows acme by its own identities, and no mapping may name it.
        (example("acme", "partner"), Err(Reason::IdentityNotMapped)),
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
fn over_quic_an_address_cannot_be_relied_on_whoever_tells_it() {
    for source in ["direct", "envoy"] {
        let limited = changed(|json| {
            json["profiles"]["partner"]["source_cidrs"] = json!(["10.0.0.0/8"]);
            json["source_address"] = json!(source);
        });
        let leaf = acme();
        let over = |protocol: &str| {
            let proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
            let proxy = proxy.with(Property::SourceAddress, "10.0.0.1:0").with(Property::Protocol, protocol);
            let proxy = proxy.with(Property::DirectRemoteAddress, "10.0.0.1");
            verdict(&run(&limited, &proxy, &headers("GET", "/payments/1", &[])))
        };
        for (protocol, expected) in [
            ("HTTP/1.0", Ok(Rule::Profile(0))),
            ("HTTP/1.1", Ok(Rule::Profile(0))),
            ("HTTP/2", Ok(Rule::Profile(0))),
            ("HTTP/3", Err(Reason::SourceIpDenied)),
            ("HTTP/4", Err(Reason::SourceIpDenied)),
            ("", Err(Reason::SourceIpDenied)),
        ] {
            assert_eq!(over(protocol), expected, "{protocol:?}, {source}");
        }
    }
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
    assert_eq!((method.status, header(&method, "allow").as_deref()), (405, Some("GET, HEAD")));
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
