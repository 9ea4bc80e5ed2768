//! Headers of a caller that an upstream could believe instead of this filter: who calls, and what is asked for.

use std::collections::BTreeSet;

use mtls_authz::{
    Header, Memory, Policy, Reason, Request, UpstreamChange, decide, upstream_headers, upstream_trailers,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::certificates::{Leaf, acme};
use crate::proxy::{FakeProxy, headers, sent};

/// What proxies, their guides and their vendors call such headers.
const CLIENTS: &[&str] = &[
    "xfcc",
    "x-forwarded-client-cert",
    "x-forwarded-client-cert-chain",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-forwarded-tls-client-cert-infos",
    "client-cert",
    "client-cert-chain",
    "client-cert-subject",
    "client-certificate",
    "x-client-cert",
    "x-client-cert-cn",
    "x-client-cert-subject",
    "x-client-cert-serial",
    "x-client-cert-present",
    "x-client-cert-spiffe",
    "x-client-certificate",
    "x-clientcert",
    "x-client-dn",
    "x-client-s-dn",
    "x-client-i-dn",
    "x-client-cn",
    "x-client-subject",
    "x-client-subject-dn",
    "x-client-issuer",
    "x-client-serial",
    "x-client-verify",
    "x-client-verified",
    "x-client-fingerprint",
    "x-ssl-cert",
    "x-ssl",
    "x-ssl-client-cert",
    "x-ssl-client-verify",
    "x-ssl-client-s-dn",
    "x-ssl-client-cn",
    "x-ssl-subject",
    "x-ssl-issuer",
    "ssl-client-cert",
    "ssl-client-verify",
    "ssl-client-subject-dn",
    "ssl-client-s-dn",
    "ssl-cipher",
    "sslclientcert",
    "sslclientcertsubject",
    "cf-client-cert-der-base64",
    "cf-client-cert-sha256",
    "cf-cert-verified",
    "cf-cert-subject-dn",
    "cloudfront-viewer-cert-pem",
    "cloudfront-viewer-cert-subject",
    "x-arr-clientcert",
    "x-arr-ssl",
    "x-wso2-client-certificate",
    "x-amzn-mtls-clientcert",
    "x-amzn-mtls-clientcert-leaf",
    "x-amzn-mtls-clientcert-subject",
    "akamai-cc-der",
    "client-to-edge-http-auth",
    "wl-proxy-client-cert",
    "$wscc",
    "$wsru",
    "l5d-client-id",
    "x-spiffe-id",
    "x-consumer-username",
    "x-consumer-custom-id",
    "x-credential-identifier",
    "x-anonymous-consumer",
    "x-ms-client-principal-name",
    "x-rhsm-ssl-client-cert",
    "x-certificate-client-cn",
    "cert",
    "certificate",
    "peer-cert",
    "peer-certificate",
    "tls-cert",
    "tlsclientcert",
    "x-tls-subject",
    "x-tls-san",
    "x-tls-fingerprint",
    "x-tls-verified",
    "x-mtls",
    "x-mtls-client-subject",
    "mtls-client",
    "x-fapi-mtls",
    "forwarded-client-cert",
    "x-forwarded-cert",
    "x-forwarded-dn",
    "x-forwarded-client-dn",
    "x-nginx-cert",
    "x-dn",
    "x-cn",
    "client-dn",
    "client-subject",
    "client-issuer",
    "client-serial",
    "client-verify",
    "subject-dn",
    "issuer-dn",
    "x-subject-dn",
    "x-issuer-dn",
    "x-user-dn",
    "ms-aspnetcore-clientcert",
    "x-rh-certauth-cn",
    "x-rh-identity",
    "eidas-cert",
    "x-eidas-cert",
    "x-openbanking-cert",
    "x-linkerd-client-id",
    "grpc-client-cert",
    "spiffe-id",
    "x-client-hash",
    "x-client-fp",
    "x-client-sha256",
    "x-client-ou",
    "cert-chain-0",
    "verified",
    "dn",
    "x-client-id",
    "x-profile-id",
    "x-client-principal",
    "x-client-identity",
    "x-client-cert-thumbprint",
];

const TARGETS: &[&str] = &[
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-original-path",
    "x-original-method",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-forwarded-path",
    "x-forwarded-method",
    "x-waws-unencoded-url",
    "x-ms-original-url",
    "x-request-uri",
    "x-override-url",
    "x-replaced-path",
    "x-script-name",
    "script-name",
    "path-info",
    "request-uri",
    "x-rewrite-path",
    "x-original-request-uri",
    "x-http-path",
    "x-path-info",
    "x-envoy-original-path",
    "x-http-destinationurl",
    "x-invoke-path",
    "x-matched-path",
];

const METHODS: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-override-method",
    "http-method-override",
    "method-override",
];

/// What is in every request, or nearly the same as what is removed.
const OTHERS: &[&str] = &[
    ":method",
    ":path",
    ":authority",
    "accept",
    "accept-encoding",
    "content-type",
    "cookie",
    "user-agent",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-real-ip",
    "x-client-ip",
    "x-client",
    "x-client-ids",
    "x-client-name",
    "x-concert-id",
    "tpp-signature-certificate",
    "x-requested-with",
    "traceparent",
    "access-control-request-method",
];

fn policy(more: Value) -> Policy {
    let mut json = json!({
        "clients": {"acme": {"identities": ["spiffe://prod.example/ns/pay/sa/acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"mode": "mtls", "allow": [{"paths": ["/open"]}]}},
        "bypass": [{"path": "/health"}],
    });
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Policy::from_json(json.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// What the upstream gets in each of the ways in which a request goes on: allowed, bypassed, and by shadow mode alone.
fn ways<'a>(policy: &Policy, leaf: &Leaf, method: &str, more: &[(&'a str, &'a str)]) -> Vec<Vec<(String, String)>> {
    let proxy = FakeProxy::new().presenting(leaf);
    let mut ways = Vec::new();
    for path in ["/open", "/health", "/elsewhere"] {
        let headers = headers(method, path, more);
        let request = Request::new(&headers);
        let decision = decide(policy, &Memory::default(), &request, &proxy);
        if decision.refusal().is_none() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            ways.push(
                sent(policy, &request, &decision).iter().map(|(name, value)| (text(name), text(value))).collect(),
            );
        }
    }
    ways
}

fn trailers(policy: &Policy, name: &str) -> bool {
    let trailers: Vec<Header<'_>> = vec![(b"x-checksum", b"1"), (name.as_bytes(), b"spoofed")];
    upstream_trailers(&policy.upstream_headers, &trailers).is_none_or(|kept| kept.len() == 2)
}

/// Does a caller's header of this name reach the upstream, in some way at least?
fn reaches(policy: &Policy, leaf: &Leaf, name: &str) -> bool {
    // The claims are checked where they are made.
    let value = if name == "x-client-id" { "acme" } else { "spoofed" };
    let ways = ways(policy, leaf, "GET", &[(name, value), (name, value)]);
    let repeated = matches!(name, "x-client-id" | "x-profile-id");
    assert!(ways.len() >= 2 || repeated, "{name}");
    ways.iter().any(|sent| sent.iter().any(|(known, told)| known == name && told == "spoofed"))
        || trailers(policy, name)
}

#[test]
fn what_other_proxies_say_about_a_client_reaches_the_upstream_in_no_way_and_no_spelling() {
    let leaf = acme();
    for policy in [policy(json!({})), policy(json!({"enforcement": "shadow", "override_headers": "keep"}))] {
        for name in CLIENTS {
            for name in [(*name).to_owned(), name.replace('-', "_"), name.replace('-', "."), name.to_uppercase()] {
                assert!(!reaches(&policy, &leaf, &name), "{name}");
            }
        }
    }
}

#[test]
fn a_header_that_names_another_target_is_removed_unless_the_policy_keeps_it() {
    let (leaf, refuse, keep) = (acme(), policy(json!({})), policy(json!({"override_headers": "keep"})));
    for name in TARGETS {
        for name in [(*name).to_owned(), name.replace('-', "_"), name.to_uppercase()] {
            assert!(!reaches(&refuse, &leaf, &name) && reaches(&keep, &leaf, &name), "{name}");
            assert!(!trailers(&refuse, &name) && trailers(&keep, &name), "{name}");
        }
    }
}

#[test]
fn a_header_that_names_another_method_refuses_the_request() {
    let leaf = acme();
    for name in METHODS {
        for name in [(*name).to_owned(), name.replace('-', "_"), name.replace('-', "."), name.to_uppercase()] {
            for (method, values, passes) in [
                ("POST", &["POST"][..], true),
                ("POST", &[" post "], true),
                ("POST", &["POST", "Post"], true),
                ("GET", &["GET"], true),
                ("POST", &["DELETE"], false),
                ("POST", &["delete"], false),
                ("POST", &["POST", "DELETE"], false),
                ("POST", &["DELETE", "POST"], false),
                ("POST", &["POST, DELETE"], false),
                ("POST", &["POSTS"], false),
                ("POST", &["\u{17f}post"], false),
                ("POST", &[""], false),
                ("GET", &["HEAD"], false),
            ] {
                let more: Vec<(&str, &str)> = values.iter().map(|value| (name.as_str(), *value)).collect();
                let refuse = policy(json!({}));
                for path in ["/open", "/health"] {
                    let headers = headers(method, path, &more);
                    let proxy = FakeProxy::new().presenting(&leaf);
                    let decision = decide(&refuse, &Memory::default(), &Request::new(&headers), &proxy);
                    let expected = if passes { None } else { Some(Reason::RequestMalformed) };
                    assert_eq!(decision.verdict.err().map(|deny| deny.reason), expected, "{path} {more:?}");
                }
                // What is not refused goes on as it came: shadow mode changes no request into another one.
                for more_settings in [json!({"override_headers": "keep"}), json!({"enforcement": "shadow"})] {
                    let ways = ways(&policy(more_settings), &leaf, method, &more);
                    assert!(ways.len() >= 2);
                    let told = |sent: &Vec<(String, String)>| sent.iter().filter(|(known, _)| *known == name).count();
                    assert!(ways.iter().all(|sent| told(sent) == values.len()), "{more:?}");
                }
            }
            assert!(
                !trailers(&policy(json!({})), &name) && trailers(&policy(json!({"override_headers": "keep"})), &name)
            );
        }
    }
}

#[test]
fn other_headers_stay_and_leave_the_request_a_cheap_one() {
    let policy = policy(json!({"strip_headers": ["x-tenant-*"]}));
    let leaf = acme();
    let more: Vec<(&str, &str)> =
        OTHERS.iter().filter(|name| !name.starts_with(':')).map(|name| (*name, "v")).collect();
    let more = [more, vec![("x-http-method", "GET")]].concat();
    let headers = headers("GET", "/open", &more);
    let request = Request::new(&headers);
    let decision = decide(&policy, &Memory::default(), &request, &FakeProxy::new().presenting(&leaf));
    assert!(decision.verdict.is_ok());
    assert!(matches!(upstream_headers(&policy.upstream_headers, &request, &decision), UpstreamChange::Add(_)));
    assert!(OTHERS.iter().all(|name| trailers(&policy, name)));
}

#[test]
fn what_the_policy_strips_reaches_the_upstream_in_no_way_and_no_spelling() {
    let policy = policy(json!({
        "enforcement": "shadow", "strip_headers": ["X-Forwarded-User", "x_tenant.*", "authorization"],
    }));
    let leaf = acme();
    for (name, stays) in [
        ("x-forwarded-user", false),
        ("x_forwarded_user", false),
        ("X.Forwarded~User", false),
        ("x-tenant-", false),
        ("x-tenant-id", false),
        ("x_tenant_id", false),
        ("authorization", false),
        ("x-forwarded-users", true),
        ("x-tenant", true),
        ("x-tenants", true),
        ("x-forwarded-for", true),
    ] {
        assert_eq!(reaches(&policy, &leaf, name), stays, "{name}");
        assert_eq!(trailers(&policy, name), stays, "{name}");
    }
}

/// An operator that lists it wants none of it.
#[test]
fn a_family_of_stripped_headers_leaves_what_envoys_router_needs() {
    let policy = policy(json!({"strip_headers": ["x-forwarded-*"]}));
    let more = [("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.1")];
    for sent in ways(&policy, &acme(), "GET", &more) {
        let has = |name: &str| sent.iter().any(|(sent, _)| sent == name);
        assert_eq!((has("x-forwarded-proto"), has("x-forwarded-for")), (true, false));
    }
}

#[test]
fn even_the_certificate_header_that_envoy_itself_wrote_can_be_stripped() {
    let leaf = acme();
    let own = format!("Hash={}", mtls_authz::Thumbprint::of(&leaf.der).to_hex());
    for (strip, stays) in
        [(json!([]), true), (json!(["x-forwarded-client-cert"]), false), (json!(["x-forwarded-*"]), false)]
    {
        let policy = policy(json!({"strip_headers": strip}));
        for sent in ways(&policy, &leaf, "GET", &[("x-forwarded-client-cert", &own)]) {
            assert_eq!(sent.iter().any(|(name, _)| name == "x-forwarded-client-cert"), stays, "{strip}");
        }
    }
}

#[test]
fn a_pseudo_header_is_no_spelling_of_any_header() {
    let policy = policy(json!({"strip_headers": ["-path", "_m*"], "upstream_headers": {"principal": "-authority"}}));
    for sent in ways(&policy, &acme(), "GET", &[]) {
        assert_eq!(sent.iter().filter(|(name, _)| name.starts_with(':')).count(), 3, "{sent:?}");
    }
}

#[test]
fn a_header_that_cannot_be_stripped_is_an_error_that_says_which() {
    for (text, expected) in [
        ("", "the name of a header"),
        ("*", "the name of a header"),
        ("x*y", "the name of a header"),
        ("x-*-*", "the name of a header"),
        ("x y", "the name of a header"),
        (":path", "the name of a header"),
        ("x-ü", "the name of a header"),
        ("Host", "can do without"),
        ("Content-Length", "can do without"),
        ("content_length", "can do without"),
        ("c*", "can do without"),
        ("te", "can do without"),
        ("X-Forwarded-Proto", "can do without"),
        ("sec-*", "can do without"),
        ("X_First", "no entry before covers"),
        ("x-first", "no entry before covers"),
        ("X-Family-Name", "no entry before covers"),
    ] {
        let json = json!({"strip_headers": ["x-first", "x-family-*", text]}).to_string();
        let problem = Policy::from_json(json).unwrap_err();
        assert_eq!(problem.path, "strip_headers[2]");
        assert!(problem.problem.contains(expected) && problem.problem.contains(text), "{problem}");
    }
    for text in ["authorization", "cookie", "x-*", "X-Forwarded-For", "sec-ch-*"] {
        assert!(Policy::from_json(json!({"strip_headers": [text]}).to_string()).is_ok(), "{text}");
    }
    for (json, path) in [
        (json!({"override_headers": "remove"}), "override_headers"),
        (json!({"override_headers": null}), "override_headers"),
        (json!({"strip_headers": "x-a"}), "strip_headers"),
        (json!({"strip_headers": null}), "strip_headers"),
        (json!({"upstream_headers": {"client_id": "X-Original-URL"}}), "upstream_headers.client_id"),
        (json!({"upstream_headers": {"client_id": "X-HTTP-Method"}}), "upstream_headers.client_id"),
        (json!({"upstream_headers": {"client_id": "x.profile.id"}}), "upstream_headers"),
    ] {
        assert_eq!(Policy::from_json(json.to_string()).unwrap_err().path, path, "{json}");
    }
}

proptest! {
    /// Whatever stands between the letters, CGI and its descendants see one name.
    #[test]
    fn no_spelling_of_a_known_name_passes(
        index in 0..CLIENTS.len() + TARGETS.len(), characters in "[-!#$%&'*+.^_`|~]{40}", upper: u64,
    ) {
        let name = CLIENTS.iter().chain(TARGETS).nth(index).unwrap();
        let spelled = name.chars().zip(characters.chars()).enumerate().map(|(at, (letter, other))| match letter {
            '-' | '$' => other,
            letter if upper >> at & 1 == 1 => letter.to_ascii_uppercase(),
            letter => letter,
        });
        let spelled: String = spelled.collect();
        prop_assert!(!reaches(&policy(json!({"enforcement": "shadow"})), &acme(), &spelled), "{}", spelled);
    }
}

#[test]
fn the_lists_of_this_file_name_each_header_once() {
    let all: Vec<&&str> = [CLIENTS, TARGETS, METHODS, OTHERS].into_iter().flatten().collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
}
