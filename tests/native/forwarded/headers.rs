//! Which headers are read, and which never reach the upstream.

use super::*;

#[test]
fn every_format_is_believed_from_a_trusted_proxy_under_its_own_header() {
    let leaf = acme();
    for (format, name, header) in [
        (Format::Xfcc, "xfcc", "x-forwarded-client-cert"),
        (Format::Rfc9440, "rfc9440", "client-cert"),
        (Format::Traefik, "traefik", "x-forwarded-tls-client-cert"),
        (Format::Nginx, "nginx", "ssl-client-cert"),
        (Format::AwsAlb, "aws_alb", "x-amzn-mtls-clientcert-leaf"),
        (Format::Azure, "azure", "x-arr-clientcert"),
        (Format::Haproxy, "haproxy", "x-own"),
        (Format::UrlEncodedPem, "url_encoded_pem", "x-own"),
        (Format::Base64Der, "base64_der", "x-own"),
    ] {
        let mut settings = json!({"format": name, "trusted_proxies": {"cidrs": ["10.1.0.0/16"]}});
        if header == "x-own" {
            settings["header"] = json!("X-Own");
        }
        let value = written(format, &leaf);
        for source in ["forwarded", "connection_or_forwarded"] {
            let mut json = json(source, settings.clone());
            if format == Format::Azure {
                json["clients"] = json!({"acme": {
                    "identities": [format!("sha256:{}", leaf.thumbprint())], "profiles": ["partner"],
                }});
            }
            let policy = compiled(&json);
            let decision = once(&policy, &from(PROXY_ADDRESS), &[(header, &value)]);
            assert_eq!(outcome(&decision), Ok("acme"), "{name}: {decision:?}");
            assert_eq!(decision.caller.thumbprint.unwrap().to_string(), leaf.thumbprint());
            assert_eq!(decision.forwarded_cert, ForwardedCert::Believed);
            let stranger = once(&policy, &from("192.0.2.1"), &[(header, &value)]);
            assert_eq!(outcome(&stranger), Err(Reason::CertificateMissing), "{name}");
            for other in [header.replace('-', "_"), header.replace('-', ".")] {
                let decision = once(&policy, &from(PROXY_ADDRESS), &[(&other, &value)]);
                assert_eq!(outcome(&decision), Err(Reason::CertificateMissing), "{other} is never read");
            }
        }
    }
}

#[test]
fn a_malformed_or_oversized_header_of_a_trusted_proxy_is_a_bad_request() {
    let leaf = acme();
    let good = written(Format::Haproxy, &leaf);
    let name = "x-ssl-cert";
    let mut small = haproxy();
    small["max_bytes"] = json!(good.len());
    let fits = policy("forwarded", small.clone());
    small["max_bytes"] = json!(good.len() - 1);
    let too_small = policy("forwarded", small);
    let proxy = from(PROXY_ADDRESS);
    assert_eq!(outcome(&once(&fits, &proxy, &[(name, &good)])), Ok("acme"));
    assert_eq!(outcome(&once(&too_small, &proxy, &[(name, &good)])), Err(Reason::CertificateOversized));

    let default = policy("connection_or_forwarded", haproxy());
    let other = written(Format::Haproxy, &Recipe::new().cn("globex").issue());
    let long = "A".repeat(32_769);
    for (what, more, expected) in [
        ("twice", vec![(name, good.as_str()), (name, good.as_str())], Reason::CertificateMalformed),
        ("two", vec![(name, good.as_str()), (name, other.as_str())], Reason::CertificateMalformed),
        ("and an empty one", vec![(name, good.as_str()), (name, "")], Reason::CertificateMalformed),
        ("garbage", vec![(name, "x")], Reason::CertificateMalformed),
        ("(null)", vec![(name, "(null)")], Reason::CertificateMalformed),
        ("long", vec![(name, long.as_str())], Reason::CertificateOversized),
        ("as long as may be", vec![(name, long.get(1..).unwrap())], Reason::CertificateMalformed),
        // What is wrong with the request comes before what is wrong with the caller.
        ("garbage on a path of nobody", vec![(name, "x"), ("x-client-id", "globex")], Reason::CertificateMalformed),
    ] {
        let decision = once(&default, &proxy, &more);
        assert_eq!(outcome(&decision), Err(expected), "{what}");
        assert_eq!(expected.status(), 400);
        let stranger = once(&default, &from("192.0.2.1"), &more);
        assert_eq!(outcome(&stranger), Err(Reason::CertificateMissing), "{what}: nobody reads a stranger's");
    }
    for (what, more) in [("empty", [(name, "")]), ("white", [(name, "  ")])] {
        assert_eq!(outcome(&once(&default, &proxy, &more)), Err(Reason::CertificateMissing), "{what}");
    }
    let apache = json!({"format": "url_encoded_pem", "header": name, "trusted_proxies": {"cidrs": ["10.1.0.0/16"]}});
    let apache = policy("forwarded", apache);
    assert_eq!(outcome(&once(&apache, &proxy, &[(name, "(null)")])), Err(Reason::CertificateMissing));
}

#[test]
fn bytes_that_are_no_text_are_a_bad_request_in_every_format() {
    for format in FORMATS {
        let name = match format {
            Format::Xfcc => "xfcc",
            Format::Rfc9440 => "rfc9440",
            Format::Traefik => "traefik",
            Format::Nginx => "nginx",
            Format::AwsAlb => "aws_alb",
            Format::Azure => "azure",
            Format::Haproxy => "haproxy",
            Format::UrlEncodedPem => "url_encoded_pem",
            Format::Base64Der => "base64_der",
        };
        let settings = json!({"format": name, "header": "x-own", "trusted_proxies": {"cidrs": [PROXY_ADDRESS]}});
        let mut json = json("forwarded", settings);
        json["clients"] = json!({});
        let policy = compiled(&json);
        for value in [&b"\xa1"[..], b"\xff\xfe", b"[\xa1]", b":\xa1:", b"%a1", b"\0"] {
            let headers: Vec<Header<'_>> = vec![(b":method", b"GET"), (b":path", b"/payments/1"), (b"x-own", value)];
            let decision = decide(&policy, &Memory::default(), &Request::new(&headers), &from(PROXY_ADDRESS));
            assert_eq!(outcome(&decision), Err(Reason::CertificateMalformed), "{name} {value:?}");
        }
    }
}

/// Headers that the upstream sees.
type Sent<'a> = Vec<(&'a [u8], Cow<'a, [u8]>)>;

/// What the upstream sees, and whether the counter of removed certificates goes up.
fn passed<'a>(policy: &'a Policy, request: &Request<'a>, decision: &'a Decision) -> (Sent<'a>, bool) {
    let change = upstream_headers(&policy.upstream_headers, request, decision);
    let strips = matches!(change, UpstreamChange::Replace { strips_certificate: true, .. });
    let counted = Counter::of(decision, strips).any(|counter| counter == Counter::ForwardedCertStripped);
    (sent(policy, request, decision), counted)
}

#[test]
fn no_forwarded_certificate_reaches_the_upstream_on_any_path() {
    let (client, edge) = (acme(), edge());
    let known = [
        "x-forwarded-client-cert",
        "X-Forwarded-Client-Cert",
        "x_forwarded_client_cert",
        "client-cert",
        "Client_Cert",
        "client.cert",
        "client-cert-chain",
        "x-forwarded-tls-client-cert",
        "x-forwarded-tls-client-cert-info",
        "ssl-client-cert",
        "ssl_client_cert",
        "SSL.Client.Cert",
        "ssl-client-verify",
        "ssl-client-subject-dn",
        "x-ssl-client-cert",
        "x-amzn-mtls-clientcert",
        "x-amzn-mtls-clientcert-leaf",
        "x_amzn_mtls_clientcert_leaf",
        "x-arr-clientcert",
        "X-ARR-ClientCert",
        "x_arr_clientcert",
        // As configured.
        "x-own",
        "x_own",
        "X.Own",
    ];
    let mut settings = haproxy();
    settings["header"] = json!("X-Own");
    let value = written(Format::Haproxy, &client);
    for (source, configured) in [("forwarded", true), ("connection_or_forwarded", true), ("connection", false)] {
        let mut json = json(source, settings.clone());
        if !configured {
            json["certificate"] = json!({"source": source});
        }
        json["enforcement"] = json!("shadow");
        let policy = compiled(&json);
        for name in known.iter().filter(|name| configured || !name.to_ascii_lowercase().ends_with("own")) {
            for path in ["/health", "/payments/1", "/elsewhere", "//"] {
                for address in [PROXY_ADDRESS, "192.0.2.1"] {
                    let more = [(*name, value.as_str()), ("accept", "*/*")];
                    let headers = headers("GET", path, &more);
                    let request = Request::new(&headers);
                    let proxy = from(address).presenting(&edge);
                    let decision = decide(&policy, &Memory::default(), &request, &proxy);
                    let (sent, counted) = passed(&policy, &request, &decision);
                    assert!(sent.iter().all(|(sent, _)| sent != &name.as_bytes()), "{name} {path}");
                    assert!(sent.iter().any(|(sent, _)| sent == b"accept"));
                    let believed = configured && *name == "x-own" && address == PROXY_ADDRESS;
                    assert_eq!(counted, !believed, "{source} {name} {path} {address}");
                }
            }
            let trailers = [(name.as_bytes(), value.as_bytes())];
            assert_eq!(upstream_trailers(&policy.upstream_headers, &trailers), Some(vec![]), "{name}");
        }
    }
}

#[test]
fn a_header_that_is_removed_is_counted_if_it_is_one_of_certificates() {
    let mut json = json("connection", json!({}));
    json["certificate"] = json!({"source": "connection"});
    let policy = compiled(&json);
    for (name, counted) in
        [("x-client-cert", true), ("x-forwarded-dn", true), ("x-client-id", false), ("x-original-url", false)]
    {
        let more = [(name, "acme"), ("connection", "close")];
        let headers = headers("GET", "/health", &more);
        let request = Request::new(&headers);
        let decision = decide(&policy, &Memory::default(), &request, &from(PROXY_ADDRESS));
        let (sent, is_counted) = passed(&policy, &request, &decision);
        assert_eq!(is_counted, counted, "{name}");
        // Of a request that is not upgraded, what else it says of its connection goes on.
        assert!(sent.iter().any(|(sent, value)| (*sent, value.as_ref()) == (&b"connection"[..], &b"close"[..])));
        assert!(sent.iter().all(|(sent, _)| *sent != name.as_bytes()), "{name}");
    }
}

#[test]
fn what_a_stranger_sent_is_counted_where_the_request_is_refused_too() {
    let value = written(Format::Haproxy, &acme());
    let policy = policy("forwarded", haproxy());
    for (address, more, expected) in [
        ("192.0.2.1", vec![("x-ssl-cert", value.as_str())], 1),
        (PROXY_ADDRESS, vec![("x-ssl-cert", value.as_str())], 0),
        ("192.0.2.1", vec![], 0),
    ] {
        let decision = once(&policy, &from(address), &more);
        let counted = Counter::of(&decision, false).filter(|counter| *counter == Counter::ForwardedCertStripped);
        assert_eq!(counted.count(), expected, "{address}");
    }
}

#[test]
fn what_envoy_wrote_about_the_connection_stays_only_where_certificates_come_from_connections() {
    let leaf = acme();
    let own = element(&leaf);
    for (source, settings, stays) in [
        ("connection", None, true),
        ("connection_or_forwarded", Some(haproxy()), false),
        ("connection_or_forwarded", Some(xfcc(1)), false),
    ] {
        let mut json = json(source, Value::Null);
        json["certificate"] = json!({"source": source});
        if let Some(settings) = settings {
            json["certificate"]["forwarded"] = settings;
        }
        let policy = compiled(&json);
        for path in ["/payments/1", "/health"] {
            let more = [("x-forwarded-client-cert", own.as_str())];
            let headers = headers("GET", path, &more);
            let request = Request::new(&headers);
            let decision = decide(&policy, &Memory::default(), &request, &from("192.0.2.1").presenting(&leaf));
            assert!(decision.verdict.is_ok());
            let (sent, counted) = passed(&policy, &request, &decision);
            assert_eq!(sent.iter().any(|(name, _)| *name == b"x-forwarded-client-cert"), stays, "{source} {path}");
            assert_eq!(counted, !stays, "{source} {path}");
        }
    }
}

#[test]
fn the_upstream_is_told_of_the_forwarded_certificate_by_this_filter_alone() {
    let client = acme();
    let mut json = json("forwarded", json!({"format": "rfc9440", "trusted_proxies": {"cidrs": [PROXY_ADDRESS]}}));
    json["upstream_headers"] = json!({"client_cert": true});
    let policy = compiled(&json);
    let value = written(Format::Rfc9440, &client);
    let more = [("client-cert", value.as_str()), ("client-cert-chain", ":eA==:"), ("x-client-id", "acme")];
    let headers = headers("GET", "/payments/1", &more);
    let request = Request::new(&headers);
    let decision = decide(&policy, &Memory::default(), &request, &from(PROXY_ADDRESS));
    let (sent, _) = passed(&policy, &request, &decision);
    let names = ["client-cert", "client-cert-chain", "x-client-id", "x-client-cert-thumbprint"];
    let found = names.map(|wanted| sent.iter().filter(|(name, _)| *name == wanted.as_bytes()).count());
    assert_eq!(found, [1, 0, 1, 1]);
    let written = sent.iter().find(|(name, _)| *name == b"client-cert").unwrap();
    assert_eq!(written.1.as_ref(), value.as_bytes());
}
