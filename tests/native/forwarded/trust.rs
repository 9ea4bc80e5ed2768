//! Who is believed, and who the caller is.

use super::*;

#[test]
fn who_is_believed_and_who_is_the_caller() {
    let (client, edge, globex) = (acme(), edge(), Recipe::new().cn("globex").issue());
    let value = written(Format::Haproxy, &client);
    let both = json!({
        "format": "haproxy", "header": "x-ssl-cert",
        "trusted_proxies": {"cidrs": ["10.1.0.0/16"], "identities": [EDGE]},
    });
    let unverified = |proxy: FakeProxy| proxy.with(Property::PeerCertificateValid, [0]);
    let expired = Recipe::new().uri(EDGE).with(|params| params.not_after = at(-1)).issue();
    let missing = Err(Reason::CertificateMissing);
    for (name, settings, proxy, with_header, forwarded, either) in [
        ("the address", haproxy(), from(PROXY_ADDRESS), true, Ok("acme"), Ok("acme")),
        ("the address, mapped", haproxy(), from("[::ffff:10.1.2.3]:443"), true, Ok("acme"), Ok("acme")),
        ("another address", haproxy(), from("10.2.0.1"), true, missing, missing),
        (
            "another address, own certificate",
            haproxy(),
            from("10.2.0.1").presenting(&globex),
            true,
            missing,
            Ok("globex"),
        ),
        ("own certificate alone", haproxy(), from("10.2.0.1").presenting(&globex), false, missing, Ok("globex")),
        // A proxy that forwards nothing, or whose address nobody tells, is not the caller itself.
        ("nothing forwarded", haproxy(), from(PROXY_ADDRESS).presenting(&edge), false, missing, missing),
        ("nothing known", haproxy(), FakeProxy::new().presenting(&edge), true, missing, missing),
        ("nothing known, nothing sent", haproxy(), FakeProxy::new().presenting(&edge), false, missing, missing),
        ("no address", haproxy(), from("/run/peer.sock").presenting(&edge), true, missing, missing),
        // What `X-Forwarded-For` can choose is never asked.
        (
            "the address that a caller may choose",
            haproxy(),
            from("192.0.2.1").with(Property::SourceAddress, PROXY_ADDRESS),
            true,
            missing,
            missing,
        ),
        ("the identity", by_identity(), FakeProxy::new().presenting(&edge), true, Ok("acme"), Ok("acme")),
        ("the identity, nothing forwarded", by_identity(), FakeProxy::new().presenting(&edge), false, missing, missing),
        ("another identity", by_identity(), FakeProxy::new().presenting(&globex), true, missing, Ok("globex")),
        ("no certificate", by_identity(), FakeProxy::new(), true, missing, missing),
        (
            "the identity, not verified",
            by_identity(),
            unverified(FakeProxy::new().presenting(&edge)),
            true,
            missing,
            Err(Reason::CertificateUntrusted),
        ),
        (
            "the identity, expired",
            by_identity(),
            FakeProxy::new().presenting(&expired),
            true,
            missing,
            Err(Reason::CertificateExpired),
        ),
        ("either list: address", both.clone(), from(PROXY_ADDRESS), true, Ok("acme"), Ok("acme")),
        ("either list: the identity", both.clone(), from("192.0.2.1").presenting(&edge), true, Ok("acme"), Ok("acme")),
        ("either list: no address", both.clone(), FakeProxy::new().presenting(&edge), true, Ok("acme"), Ok("acme")),
        ("neither", both.clone(), from("192.0.2.1").presenting(&globex), true, missing, Ok("globex")),
        ("nothing to tell by", both, FakeProxy::new().presenting(&globex), true, missing, missing),
    ] {
        let more = [("x-ssl-cert", value.as_str())];
        let more = if with_header { &more[..] } else { &[] };
        for (source, expected) in [("forwarded", forwarded), ("connection_or_forwarded", either)] {
            let policy = policy(source, settings.clone());
            let decision = once(&policy, &proxy, more);
            assert_eq!(outcome(&decision), expected, "{name}, {source}: {decision:?}");
            // The same on a connection that is remembered.
            let (memory, proxy) =
                (Memory::default(), FakeProxy { properties: proxy.properties.clone(), ..FakeProxy::new() });
            for _ in 0..3 {
                let decision = ask(&policy, &memory, &proxy, "/payments/1", more);
                assert_eq!(outcome(&decision), expected, "{name}, {source}, remembered: {decision:?}");
            }
        }
    }
}

#[test]
fn over_quic_nobody_is_believed_for_an_address() {
    let (client, edge, globex) = (acme(), edge(), Recipe::new().cn("globex").issue());
    let value = written(Format::Haproxy, &client);
    let quic = |proxy: FakeProxy| proxy.with(Property::Protocol, *b"HTTP/3");
    let both = json!({
        "format": "haproxy", "header": "x-ssl-cert",
        "trusted_proxies": {"cidrs": ["10.1.0.0/16"], "identities": [EDGE]},
    });
    let missing = Err(Reason::CertificateMissing);
    for (name, settings, proxy, with_header, expected) in [
        ("the address", haproxy(), quic(from(PROXY_ADDRESS)), true, missing),
        // It may be a trusted proxy, so it is not taken for the caller either.
        ("own certificate", haproxy(), quic(from(PROXY_ADDRESS).presenting(&globex)), false, missing),
        ("the identity", both, quic(from("192.0.2.1").presenting(&edge)), true, Ok("acme")),
        (
            "a protocol of the future",
            haproxy(),
            from(PROXY_ADDRESS).with(Property::Protocol, *b"HTTP/4"),
            true,
            missing,
        ),
    ] {
        let more = [("x-ssl-cert", value.as_str())];
        let more = if with_header { &more[..] } else { &[] };
        for source in ["forwarded", "connection_or_forwarded"] {
            let (policy, memory) = (policy(source, settings.clone()), Memory::default());
            for _ in 0..2 {
                assert_eq!(outcome(&ask(&policy, &memory, &proxy, "/payments/1", more)), expected, "{name}, {source}");
            }
        }
    }
}

#[test]
fn an_expired_proxy_at_an_unknown_address_is_nobody_and_makes_nobody_welcome() {
    let mut recipe = Recipe::new().uri(EDGE);
    recipe.params.not_after = at(-1);
    let (expired, leaf) = (recipe.issue(), acme());
    let value = written(Format::Rfc9440, &leaf);
    let trusted = json!({"format": "rfc9440", "trusted_proxies": {"cidrs": ["10.1.0.0/16"], "identities": [EDGE]}});
    for source in ["forwarded", "connection_or_forwarded"] {
        let mut json = json(source, trusted.clone());
        json["mode"] = json!("bearer_plus_mtls_optional");
        json["token"] = json!({"audiences": ["api"]});
        let (policy, memory) = (compiled(&json), Memory::default());
        let token = json!({"client_id": "acme", "aud": "api", "exp": NOW + 60});
        let proxy = FakeProxy::new().presenting(&expired).verified(&token);
        for _ in 0..2 {
            let decision = ask(&policy, &memory, &proxy, "/payments/1", &[("client-cert", &value)]);
            assert_eq!(outcome(&decision), Err(Reason::CertificateMissing), "{source}");
        }
    }
}

#[test]
fn a_proxy_that_may_have_been_revoked_is_neither_believed_nor_taken_for_a_stranger() {
    let feed = |on_stale: &str| {
        let feed = json!({"type": "json", "cluster": "c", "authority": "a", "path": "/", "on_stale": on_stale});
        json!({"feeds": [feed]})
    };
    let (client, edge) = (acme(), edge());
    let value = written(Format::Haproxy, &client);
    for source in ["forwarded", "connection_or_forwarded"] {
        for (on_stale, expected) in [("deny", Err(Reason::RevocationUnavailable)), ("allow", Ok("acme"))] {
            let mut json = json(source, by_identity());
            json["revocation"] = feed(on_stale);
            let decision = once(&compiled(&json), &FakeProxy::new().presenting(&edge), &[("x-ssl-cert", &value)]);
            assert_eq!(outcome(&decision), expected, "{source} {on_stale}");
        }
    }
}

#[test]
fn a_proxy_is_known_by_every_kind_of_identity() {
    let (client, proxy) = (acme(), Recipe::new().cn("edge").dns("edge.example").issue());
    let named = Recipe::new().cn("edge").issue();
    for (identity, leaf) in [
        ("dns:edge.example".to_owned(), &proxy),
        ("cn:edge".to_owned(), &named),
        ("subject:CN=edge".to_owned(), &proxy),
        (format!("sha256:{}", proxy.thumbprint()), &proxy),
    ] {
        let mut settings = by_identity();
        settings["trusted_proxies"]["identities"] = json!([identity]);
        let policy = policy("forwarded", settings);
        let value = written(Format::Haproxy, &client);
        let more = [("x-ssl-cert", value.as_str())];
        assert_eq!(outcome(&once(&policy, &FakeProxy::new().presenting(leaf), &more)), Ok("acme"), "{identity}");
        let other = Recipe::new().uri("spiffe://td/x").cn("edge").issue();
        assert_eq!(
            outcome(&once(&policy, &FakeProxy::new().presenting(&other), &more)).is_ok(),
            identity.starts_with("subject:"),
            "a weaker name does not step in: {identity}"
        );
        let invalid = Recipe::new().uri("spiffe://td/x").uri("spiffe://td/y").cn("edge").dns("edge.example").issue();
        assert!(outcome(&once(&policy, &FakeProxy::new().presenting(&invalid), &more)).is_err(), "{identity}");
    }
}

#[test]
fn a_forwarded_certificate_is_checked_as_any_other() {
    let policy = policy("forwarded", haproxy());
    let ca = |params: &mut rcgen::CertificateParams| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    let server = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    for (name, leaf, expected) in [
        ("expired", Recipe::new().uri(ACME).with(|params| params.not_after = at(-1)), Reason::CertificateExpired),
        ("early", Recipe::new().uri(ACME).with(|params| params.not_before = at(1)), Reason::CertificateNotYetValid),
        ("a CA", Recipe::new().uri(ACME).with(ca), Reason::CertificateUnsuitable),
        ("for servers", Recipe::new().uri(ACME).with(server), Reason::CertificateUnsuitable),
        ("NUL in the Common Name", Recipe::new().cn("globex\0.evil"), Reason::IdentityInvalid),
        ("NUL in the URI", Recipe::new().uri("spiffe://prod.example/ns/pay/sa/acme\0x"), Reason::IdentityInvalid),
        ("NUL in a DNS name", Recipe::new().dns("globex\0.example"), Reason::IdentityInvalid),
        ("two URIs", Recipe::new().uri(ACME).uri("spiffe://td/b"), Reason::IdentityInvalid),
        ("nobody", Recipe::new().cn("nobody"), Reason::IdentityNotMapped),
        ("nameless", Recipe::new(), Reason::IdentityMissing),
    ] {
        let value = written(Format::Haproxy, &leaf.issue());
        let decision = once(&policy, &from(PROXY_ADDRESS), &[("x-ssl-cert", &value)]);
        assert_eq!(outcome(&decision), Err(expected), "{name}");
    }
}

#[test]
fn of_several_hops_the_configured_one_counts() {
    let (client, edge) = (acme(), edge());
    let forged = Recipe::new().cn("globex").issue();
    let one = element(&client);
    let two = format!("{},{}", element(&client), element(&edge));
    let appended = format!("{},{}", element(&forged), element(&client));
    let appended_behind = format!("{},{},{}", element(&forged), element(&client), element(&edge));
    let around_the_edge = format!("{},{}", element(&client), element(&forged));
    let worn = Recipe::new().uri(EDGE).with(|params| params.not_after = at(-1)).issue();
    let expired_hop = format!("{},{}", element(&client), element(&worn));
    let header = "x-forwarded-client-cert";
    for (name, hop, value, expected) in [
        ("one proxy", 1, &one, Ok("acme")),
        ("what a caller sent stands in front and does not count", 1, &appended, Ok("acme")),
        ("the last element, whoever it names", 1, &around_the_edge, Ok("globex")),
        ("two proxies", 2, &two, Ok("acme")),
        ("two proxies, and what a caller sent in front", 2, &appended_behind, Ok("acme")),
        ("fewer elements than proxies", 2, &one, Err(Reason::CertificateMalformed)),
        ("more proxies than elements", 3, &two, Err(Reason::CertificateMalformed)),
        // A caller that connects to the inner proxy itself brings the victim's element with it.
        ("the proxy in between is none of ours", 2, &around_the_edge, Err(Reason::CertificateUntrusted)),
        ("the proxy in between has expired", 2, &expired_hop, Err(Reason::CertificateUntrusted)),
    ] {
        let policy = policy("forwarded", xfcc(hop));
        let memory = Memory::default();
        for times in 0..2 {
            let decision = ask(&policy, &memory, &from(PROXY_ADDRESS), "/payments/1", &[(header, value)]);
            assert_eq!(outcome(&decision), expected, "{name} ({times}): {decision:?}");
        }
    }
    // Lines are joined by Envoy; where they are not, they are two headers.
    let policy = policy("forwarded", xfcc(1));
    let twice = once(&policy, &from(PROXY_ADDRESS), &[(header, &one), (header, &one)]);
    assert_eq!(outcome(&twice), Err(Reason::CertificateMalformed));
}

#[test]
fn a_proxy_in_between_that_may_have_been_revoked_leaves_the_caller_unknown() {
    let value = format!("{},{}", element(&acme()), element(&edge()));
    let mut settings = xfcc(2);
    settings["trusted_proxies"]["cidrs"] = json!(["10.1.0.0/16"]);
    let mut json = json("forwarded", settings);
    json["revocation"] = json!({"feeds": [{"type": "json", "cluster": "c", "authority": "a", "path": "/"}]});
    let decision = once(&compiled(&json), &from(PROXY_ADDRESS), &[("x-forwarded-client-cert", &value)]);
    assert_eq!(outcome(&decision), Err(Reason::RevocationUnavailable));
}

#[test]
fn the_digest_of_a_trusted_proxys_certificate_is_asked_for_once_a_connection() {
    let policy = policy("forwarded", haproxy());
    let value = written(Format::Haproxy, &acme());
    let digest = mtls_authz::Thumbprint::of(&edge().der).to_hex();
    for proxy in [from(PROXY_ADDRESS), from(PROXY_ADDRESS).with(Property::PeerCertificateDigest, digest.as_str())] {
        for _ in 0..3 {
            let decision = ask(&policy, &Memory::default(), &proxy, "/payments/1", &[("x-ssl-cert", &value)]);
            assert_eq!(outcome(&decision), Ok("acme"));
        }
        let asked = proxy.asked.borrow().iter().filter(|asked| **asked == Property::PeerCertificateDigest).count();
        assert_eq!(asked, 1);
    }
}

#[test]
fn the_proxys_own_certificate_is_never_the_callers() {
    // As where this listener appends an element about the proxy itself (APPEND_FORWARD, SANITIZE_SET).
    let (client, edge) = (acme(), edge());
    let value = format!("{},{}", element(&client), element(&edge));
    let digest = mtls_authz::Thumbprint::of(&edge.der).to_hex();
    for source in ["forwarded", "connection_or_forwarded"] {
        for proxy in [
            from("192.0.2.1").presenting(&edge),
            from(PROXY_ADDRESS).presenting(&edge).with(Property::PeerCertificateDigest, digest.as_str()),
        ] {
            let decision = once(&policy(source, xfcc(1)), &proxy, &[("x-forwarded-client-cert", &value)]);
            assert_eq!(outcome(&decision), Err(Reason::CertificateUntrusted));
            // Istio's sidecars do that always; then their own element is one more hop.
            let decision = once(&policy(source, xfcc(2)), &proxy, &[("x-forwarded-client-cert", &value)]);
            assert_eq!(outcome(&decision), Ok("acme"));
        }
    }
}

#[test]
fn a_token_is_bound_to_the_forwarded_certificate() {
    let (client, other, edge) = (acme(), acme(), edge());
    let mut json = json("forwarded", by_identity());
    json["mode"] = json!("bearer_plus_mtls_required");
    let policy = compiled(&json);
    for (bound_to, expected) in [
        (&client, Ok("acme")),
        (&other, Err(Reason::SenderBindingMismatch)),
        (&edge, Err(Reason::SenderBindingMismatch)),
    ] {
        let claims = json!({"client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": bound_to.thumbprint()}});
        let proxy = FakeProxy::new().presenting(&edge).verified(&claims);
        let value = written(Format::Haproxy, &client);
        assert_eq!(outcome(&once(&policy, &proxy, &[("x-ssl-cert", &value)])), expected);
        assert_eq!(outcome(&once(&policy, &proxy, &[])), Err(Reason::CertificateMissing));
    }
}

#[test]
fn in_optional_mode_a_strangers_header_makes_no_certificate() {
    let mut json = json("forwarded", haproxy());
    json["mode"] = json!("bearer_plus_mtls_optional");
    json["token"] = json!({"audiences": ["api"]});
    let policy = compiled(&json);
    let client = acme();
    let value = written(Format::Haproxy, &client);
    let more = [("x-ssl-cert", value.as_str())];
    let unbound = json!({"client_id": "globex", "aud": "api", "exp": NOW + 60});
    let stranger = once(&policy, &from("192.0.2.1").verified(&unbound), &more);
    assert_eq!((outcome(&stranger), stranger.caller.thumbprint), (Ok("globex"), None));
    let bound = json!({"client_id": "acme", "aud": "api", "exp": NOW + 60, "cnf": {"x5t#S256": client.thumbprint()}});
    assert_eq!(outcome(&once(&policy, &from("192.0.2.1").verified(&bound), &more)), Err(Reason::CertificateMissing));
    // Where nobody can tell whether the peer is a trusted proxy, nothing passes.
    assert_eq!(outcome(&once(&policy, &FakeProxy::new().verified(&unbound), &more)), Err(Reason::CertificateMissing));
}

#[test]
fn a_mode_that_needs_no_certificate_works_where_a_trusted_proxy_forwards_none() {
    for source in ["forwarded", "connection_or_forwarded"] {
        let mut json = json(source, haproxy());
        json["mode"] = json!("bearer_plus_mtls_optional");
        json["token"] = json!({"audiences": ["api"]});
        let unbound = json!({"client_id": "globex", "aud": "api", "exp": NOW + 60});
        for more in [&[][..], &[("x-ssl-cert", "")]] {
            let proxy = from(PROXY_ADDRESS).presenting(&edge()).verified(&unbound);
            let decision = once(&compiled(&json), &proxy, more);
            assert_eq!((outcome(&decision), decision.caller.thumbprint), (Ok("globex"), None), "{source} {more:?}");
        }
    }
}

#[test]
fn a_request_that_is_refused_before_its_certificate_counts_is_not_asked_about_it() {
    let policy = policy("connection_or_forwarded", haproxy());
    for (path, looked) in [("/payments;x", ForwardedCert::Unknown), ("/payments/1", ForwardedCert::Ignored)] {
        let more = [("x-ssl-cert", "x")];
        let decision = ask(&policy, &Memory::default(), &from("192.0.2.1"), path, &more);
        assert!(decision.refusal().is_some());
        assert_eq!(decision.forwarded_cert, looked, "{path}");
    }
}

#[test]
fn a_host_that_does_not_answer_denies() {
    let value = written(Format::Haproxy, &acme());
    let more = [("x-ssl-cert", value.as_str())];
    for (settings, property) in [
        (haproxy(), Property::DirectRemoteAddress),
        (haproxy(), Property::PeerCertificateDigest),
        (haproxy(), Property::Note("")),
        (by_identity(), Property::PeerCertificate),
        (by_identity(), Property::PeerCertificateValid),
    ] {
        for source in ["forwarded", "connection_or_forwarded"] {
            let mut proxy = from(PROXY_ADDRESS).presenting(&edge());
            proxy.failing.push(property);
            let decision = once(&policy(source, settings.clone()), &proxy, &more);
            assert_eq!(outcome(&decision), Err(Reason::InternalError), "{property:?}");
        }
    }
}
