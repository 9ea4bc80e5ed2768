//! What the upstream is told, and what never reaches it.

use super::*;

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
fn a_certificate_without_a_name_of_the_precedence_is_known_by_the_identity_that_is_registered() {
    let policy = json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["email:ops@acme.example"], "profiles": ["any"]}},
        "profiles": {"any": {"allow": [{"paths": ["/**"]}]}},
    });
    let email = rcgen::SanType::Rfc822Name("ops@acme.example".try_into().unwrap());
    let leaf = Recipe::new().with(|params| params.subject_alt_names.push(email)).issue();
    let decision = run(&policy, &FakeProxy::new().presenting(&leaf), &headers("GET", "/", &[]));
    assert_eq!(verdict(&decision), Ok(Rule::Profile(0)));
    assert_eq!(decision.caller.identity.as_deref(), Some("email:ops@acme.example"));
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
        (format!("By=spiffe://server/a;By=spiffe://server/b;By=spiffe://server/c;{own}"), true),
        (format!("By=spiffe://server/b;By=spiffe://server/a;{own}"), false),
        (format!("By=spiffe://server/a;By=\"spiffe://server/b\";{own}"), false),
        (format!("By=spiffe://server/a;By=x\";{own}"), false),
        (format!("{own};Issuer=\"CN=Test CA,O=ExampleCorp\""), true),
        (format!("{own};Issuer=\"O=ExampleCorp,CN=Test CA\""), false),
        (format!("{own};Issuer=\"CN=Other CA\""), false),
        (format!("{own};Issuer=CN=Test CA"), false),
        (format!("{own};Issuer=\"CN=Test CA,O=ExampleCorp\";Issuer=\"CN=Test CA,O=ExampleCorp\""), false),
        // As a later Envoy might write it: a fact of the certificate under a new key.
        (format!("{own};Later={hash};More=\"CN=acme\""), true),
        (format!("{own};Later=spiffe://prod.example/ns/pay/sa/admin"), false),
        (format!("{own};X-Later={hash}"), false),
        (json!([{"hash": hash}]).to_string(), true),
        (json!([{"by": ["spiffe://server/a", "spiffe://server/b"], "hash": hash, "cert": leaf.pem, "chain": [leaf.pem, ca().pem],
            "subject": "CN=acme", "issuer": "CN=Test CA,O=ExampleCorp", "uri": ["spiffe://prod.example/ns/pay/sa/acme"],
            "later": [hash]}]).to_string(), true),
        (json!([{"hash": hash, "subject": "CN=admin"}]).to_string(), false),
        (json!([{"hash": hash, "issuer": "CN=admin"}]).to_string(), false),
        (json!([{"hash": hash, "uri": ["spiffe://prod.example/ns/pay/sa/acme", "spiffe://prod.example/ns/pay/sa/admin"]}]).to_string(), false),
        (json!([{"hash": hash, "uri": "spiffe://prod.example/ns/pay/sa/admin"}]).to_string(), false),
        (json!([{"hash": hash, "dns": ["admin.example"]}]).to_string(), false),
        (json!([{"hash": hash, "cert": ca().pem}]).to_string(), false),
        (json!([{"hash": hash, "chain": [ca().pem, leaf.pem]}]).to_string(), false),
        (json!([{"hash": hash, "by": ["spiffe://server/b"]}]).to_string(), false),
        (json!([{"hash": hash, "role": "admin"}]).to_string(), false),
        (json!([{"hash": hash, "role": {"is": "admin"}}]).to_string(), false),
        (json!([{"hash": hash, ";URI=spiffe://prod.example/ns/pay/sa/admin;x": hash}]).to_string(), false),
        (format!("[{{\"hash\":\"{hash}\",\"Hash\":\"{hash}\"}}]"), false),
        (format!("[{{\"hash\":\"{hash}\",\"hash\":\"{hash}\"}}]"), false),
        (json!([{"hash": [hash, hash]}]).to_string(), false),
        (json!([{"hash": hash}, {"hash": hash}]).to_string(), false),
        (json!([{"uri": ["spiffe://prod.example/ns/pay/sa/acme"]}]).to_string(), false),
        (json!({"hash": hash}).to_string(), false),
        ("[]".to_owned(), false),
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
    // What a random certificate has none of cannot be written in another way.
    let unescaped = [cert.replace("%2B", "+"), cert.replace("%2F", "/"), cert.replace("%3D", "=")];
    let [plus, slash, equals] = unescaped.each_ref().map(|other| (format!(";Cert=\"{other}\""), *other == cert));
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
        (&named, plus.0, plus.1),
        (&named, slash.0, slash.1),
        (&named, equals.0, equals.1),
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
