//! Certificates that a proxy in front forwards: who is believed, about whom, and what becomes of the header.

use std::borrow::Cow;

use mtls_authz::{
    Counter, Decision, Format, ForwardedCert, Header, Memory, Policy, Property, Reason, Request, UpstreamChange,
    decide, upstream_headers, upstream_trailers,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::certificates::{Leaf, Recipe, acme, at};
use crate::formats::{FORMATS, element, written};
use crate::host::Host;
use crate::proxy::{FakeProxy, NOW, headers, sent};

const ACME: &str = "spiffe://prod.example/ns/pay/sa/acme";
const EDGE: &str = "spiffe://prod.example/ns/edge/sa/proxy";
const PROXY_ADDRESS: &str = "10.1.2.3";

/// A policy with certificates from this source; a certificate alone will do.
fn json(source: &str, forwarded: Value) -> Value {
    json!({
        "mode": "mtls",
        "certificate": {"source": source, "forwarded": forwarded},
        "clients": {
            "acme": {"identities": [ACME], "profiles": ["partner"]},
            "globex": {"identities": ["cn:globex"], "profiles": ["partner"]},
            // The proxy is a client, too: nothing may take it for the caller.
            "edge": {"identities": [EDGE], "profiles": ["partner"]},
        },
        "profiles": {"partner": {"allow": [{"paths": ["/payments/**"]}]}},
        "bypass": [{"path": "/health"}],
    })
}

fn compiled(json: &Value) -> Policy {
    Policy::from_json(json.to_string().as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn policy(source: &str, forwarded: Value) -> Policy {
    compiled(&json(source, forwarded))
}

fn haproxy() -> Value {
    json!({"format": "haproxy", "header": "X-SSL-Cert", "trusted_proxies": {"cidrs": ["10.1.0.0/16"]}})
}

fn by_identity() -> Value {
    json!({"format": "haproxy", "header": "X-SSL-Cert", "trusted_proxies": {"identities": [EDGE]}})
}

fn xfcc(hop: u8) -> Value {
    json!({"format": "xfcc", "hop": hop, "trusted_proxies": {"cidrs": ["10.1.0.0/16"], "identities": [EDGE]}})
}

fn edge() -> Leaf {
    Recipe::new().uri(EDGE).issue()
}

/// A connection from an address.
fn from(address: &str) -> FakeProxy {
    FakeProxy::new().with(Property::DirectRemoteAddress, address)
}

fn numbered(proxy: FakeProxy, id: u64) -> FakeProxy {
    proxy.with(Property::ConnectionId, id.to_le_bytes())
}

fn ask(policy: &Policy, memory: &Memory, proxy: &FakeProxy, path: &str, more: &[(&str, &str)]) -> Decision {
    let headers = headers("GET", path, more);
    decide(policy, memory, &Request::new(&headers), proxy)
}

fn outcome(decision: &Decision) -> Result<&str, Reason> {
    match &decision.verdict {
        Ok(_) => Ok(decision.caller.client_id().unwrap_or_default()),
        Err(deny) => Err(deny.reason),
    }
}

fn once(policy: &Policy, proxy: &FakeProxy, more: &[(&str, &str)]) -> Decision {
    ask(policy, &Memory::default(), proxy, "/payments/1", more)
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
        let (policy, memory) = (compiled(&json), Memory::default());
        let token = json!({"client_id": "acme", "exp": NOW + 60});
        let proxy = numbered(FakeProxy::new().presenting(&expired).verified(&token), 1);
        for _ in 0..2 {
            let decision = ask(&policy, &memory, &proxy, "/payments/1", &[("client-cert", &value)]);
            assert_eq!(outcome(&decision), Err(Reason::CertificateMissing), "{source}");
        }
    }
}

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
            let (memory, mut proxy) =
                (Memory::default(), FakeProxy { properties: proxy.properties.clone(), ..FakeProxy::new() });
            proxy = numbered(proxy, 7);
            for _ in 0..3 {
                let decision = ask(&policy, &memory, &proxy, "/payments/1", more);
                assert_eq!(outcome(&decision), expected, "{name}, {source}, remembered: {decision:?}");
            }
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
    let policy = compiled(&json);
    let client = acme();
    let value = written(Format::Haproxy, &client);
    let more = [("x-ssl-cert", value.as_str())];
    let unbound = json!({"client_id": "globex", "exp": NOW + 60});
    let stranger = once(&policy, &from("192.0.2.1").verified(&unbound), &more);
    assert_eq!((outcome(&stranger), stranger.caller.thumbprint), (Ok("globex"), None));
    let bound = json!({"client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": client.thumbprint()}});
    assert_eq!(outcome(&once(&policy, &from("192.0.2.1").verified(&bound), &more)), Err(Reason::CertificateMissing));
    // Where nobody can tell whether the peer is a trusted proxy, nothing passes.
    assert_eq!(outcome(&once(&policy, &FakeProxy::new().verified(&unbound), &more)), Err(Reason::CertificateMissing));
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

#[test]
fn one_connection_of_a_proxy_carries_many_callers() {
    let (client, globex) = (acme(), Recipe::new().cn("globex").issue());
    for (settings, proxy) in [(haproxy(), from(PROXY_ADDRESS)), (by_identity(), FakeProxy::new().presenting(&edge()))] {
        for source in ["forwarded", "connection_or_forwarded"] {
            let policy = policy(source, settings.clone());
            let (memory, proxy) = (
                Memory::default(),
                numbered(FakeProxy { properties: proxy.properties.clone(), ..FakeProxy::new() }, 1),
            );
            let values = [written(Format::Haproxy, &client), written(Format::Haproxy, &globex)];
            let get = |value: &str| {
                let more = [("x-ssl-cert", value)];
                let more = if value.is_empty() { &[] } else { &more[..] };
                outcome(&ask(&policy, &memory, &proxy, "/payments/1", more)).map(str::to_owned)
            };
            for _ in 0..3 {
                assert_eq!(get(&values[0]), Ok("acme".to_owned()));
                assert_eq!(get(&values[1]), Ok("globex".to_owned()));
                assert_eq!(get(""), Err(Reason::CertificateMissing));
                assert_eq!(get("x"), Err(Reason::CertificateMalformed));
            }
            let asked = proxy.asked.borrow();
            for property in [Property::DirectRemoteAddress, Property::PeerCertificate, Property::PeerCertificateValid] {
                assert!(
                    asked.iter().filter(|asked| **asked == property).count() <= 1,
                    "{property:?} once a connection"
                );
            }
        }
    }
}

#[test]
fn what_is_remembered_of_a_value_believes_nobody() {
    let client = acme();
    let value = written(Format::Haproxy, &client);
    let more = [("x-ssl-cert", value.as_str())];
    let policy = policy("connection_or_forwarded", haproxy());
    let memory = Memory::default();
    let globex = Recipe::new().cn("globex").issue();
    for _ in 0..2 {
        for (proxy, expected) in [
            (numbered(from(PROXY_ADDRESS), 1), Ok("acme")),
            (numbered(from("192.0.2.1"), 2), Err(Reason::CertificateMissing)),
            (numbered(from("192.0.2.1").presenting(&globex), 3), Ok("globex")),
            (from("192.0.2.1"), Err(Reason::CertificateMissing)),
        ] {
            assert_eq!(outcome(&ask(&policy, &memory, &proxy, "/payments/1", &more)), expected);
        }
        // A value that differs anywhere is another value.
        for place in [0, value.len() / 2, value.len() - 1] {
            let mut other = value.clone().into_bytes();
            other[place] = if other[place] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            let decision =
                ask(&policy, &memory, &numbered(from(PROXY_ADDRESS), 1), "/payments/1", &[("x-ssl-cert", &other)]);
            assert_ne!(decision.caller.thumbprint.map(|found| found.to_string()), Some(client.thumbprint()));
        }
    }
}

#[test]
fn what_is_remembered_ends_with_its_validity() {
    let until = |seconds: i64| {
        move |params: &mut rcgen::CertificateParams| {
            params.not_after = OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap();
        }
    };
    let client = Recipe::new().uri(ACME).with(until(10)).issue();
    let edge = Recipe::new().uri(EDGE).with(until(20)).issue();
    let policy = policy("forwarded", by_identity());
    let memory = Memory::default();
    let host = Host::new(numbered(FakeProxy::new().presenting(&edge), 1));
    let (old, new) = (written(Format::Haproxy, &client), written(Format::Haproxy, &acme()));
    for (now, value, expected) in [
        (0, &old, Ok("acme")),
        (11, &old, Err(Reason::CertificateExpired)),
        (10, &old, Ok("acme")),
        (20, &new, Ok("acme")),
        // Then the proxy is no trusted proxy any more.
        (21, &new, Err(Reason::CertificateMissing)),
        (-3_601, &new, Err(Reason::CertificateMissing)),
        (0, &new, Ok("acme")),
    ] {
        host.now.set(NOW + now);
        let more = [("x-ssl-cert", value.as_str())];
        let headers = headers("GET", "/payments/1", &more);
        let decision = decide(&policy, &memory, &Request::new(&headers), &host);
        assert_eq!(outcome(&decision), expected, "{now}");
    }
}

#[test]
fn many_values_are_remembered_and_still_told_apart() {
    let policy = policy("forwarded", haproxy());
    let memory = Memory::default();
    let leaves: Vec<(String, String)> = (0..40)
        .map(|_| {
            let leaf = acme();
            (written(Format::Haproxy, &leaf), leaf.thumbprint())
        })
        .collect();
    for number in 0..3_000_u64 {
        let (value, thumbprint) = &leaves[(number % 40) as usize];
        let proxy = numbered(from(PROXY_ADDRESS), number);
        let decision = ask(&policy, &memory, &proxy, "/payments/1", &[("x-ssl-cert", value)]);
        assert_eq!(decision.caller.thumbprint.unwrap().to_string(), *thumbprint);
    }
}

#[test]
fn a_host_that_does_not_answer_denies() {
    let value = written(Format::Haproxy, &acme());
    let more = [("x-ssl-cert", value.as_str())];
    for (settings, property) in [
        (haproxy(), Property::DirectRemoteAddress),
        (haproxy(), Property::PeerCertificateDigest),
        (haproxy(), Property::ConnectionId),
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
