//! `uri:` and `ip:`.

use mtls_authz::{Certificate, Property};
use rcgen::CustomExtension;
use serde_json::json;

use super::{asked, client, email, policy, presenting, problem, verdict, with_ip};
use crate::certificates::{Leaf, Recipe};
use crate::proxy::FakeProxy;

fn uri(uri: &str) -> Leaf {
    Recipe::new().uri(uri).issue()
}

fn ip(address: &str) -> Leaf {
    with_ip(Recipe::new(), address).issue()
}

#[test]
fn a_certificate_is_known_by_its_uri_or_its_address_in_exactly_that_spelling() {
    for (identity, leaf, expected) in [
        ("uri:https://acme.example/app", uri("https://acme.example/app"), true),
        (
            "uri:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            uri("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
            true,
        ),
        ("uri:urn:acme:a,b;c=d", uri("urn:acme:a,b;c=d"), true),
        ("uri:tag:acme.example,2026:app", uri("tag:acme.example,2026:app"), true),
        ("uri:dns:acme.example", uri("dns:acme.example"), true),
        ("uri:https://acme.example/app", uri("https://ACME.example/app"), false),
        ("uri:https://acme.example/app", uri("HTTPS://acme.example/app"), false),
        ("uri:https://acme.example/app", uri("https://acme.example/app/"), false),
        ("uri:https://acme.example/*", uri("https://acme.example/app"), false),
        ("uri:urn:uuid:F81D4FAE", uri("urn:uuid:f81d4fae"), false),
        ("dns:acme.example", uri("dns:acme.example"), false),
        ("uri:dns:acme.example", Recipe::new().dns("acme.example").issue(), false),
        ("ip:192.0.2.7", ip("192.0.2.7"), true),
        ("ip:2001:db8::7", ip("2001:db8::7"), true),
        ("ip:2001:DB8:0:0::0007", ip("2001:db8::7"), true),
        ("ip:::ffff:192.0.2.7", ip("::ffff:192.0.2.7"), true),
        ("ip:192.0.2.7", ip("::ffff:192.0.2.7"), false),
        ("ip:192.0.2.7", ip("192.0.2.8"), false),
        ("ip:192.0.2.7", Recipe::new().cn("192.0.2.7").issue(), false),
        ("ip:192.0.2.7", Recipe::new().dns("192.0.2.7").issue(), false),
    ] {
        let policy = policy("mtls", json!({"acme": client(&[identity])}));
        let decision = asked(&policy, &presenting(&leaf), &[]);
        assert_eq!(verdict(&decision), if expected { "acme" } else { "identity_not_mapped" }, "{identity}");
    }
}

#[test]
fn a_uri_and_an_address_are_looked_up_beside_the_identity_whatever_the_precedence() {
    let clients = json!({"a": client(&["uri:urn:a:1", "ip:192.0.2.1"]), "b": client(&["cn:b"])});
    let policy = policy("mtls", clients);
    for (leaf, identity, expected) in [
        (Recipe::new().uri("urn:a:1"), Some("uri:urn:a:1"), "a"),
        (with_ip(Recipe::new(), "192.0.2.1"), Some("ip:192.0.2.1"), "a"),
        (Recipe::new().uri("urn:a:1").uri("urn:a:2"), Some("uri:urn:a:1"), "a"),
        (Recipe::new().uri("urn:a:1").cn("other"), Some("cn:other"), "a"),
        (Recipe::new().uri("urn:a:1").dns("x.example"), Some("dns:x.example"), "a"),
        (with_ip(Recipe::new().uri("urn:a:1"), "192.0.2.1"), Some("uri:urn:a:1"), "a"),
        (with_ip(Recipe::new().cn("b"), "192.0.2.2"), Some("cn:b"), "b"),
        (Recipe::new().uri("urn:a:1").cn("b"), None, "identity_invalid"),
        (with_ip(Recipe::new().cn("b"), "192.0.2.1"), None, "identity_invalid"),
        (Recipe::new().uri("urn:a:2"), Some("uri:urn:a:2"), "identity_not_mapped"),
        (with_ip(Recipe::new(), "192.0.2.2"), Some("ip:192.0.2.2"), "identity_not_mapped"),
        (email(Recipe::new(), "a@b.example"), Some("email:a@b.example"), "identity_not_mapped"),
        (Recipe::new(), None, "identity_missing"),
        (Recipe::new().uri("spiffe://td/a").uri("urn:a:1"), None, "identity_invalid"),
    ] {
        let decision = asked(&policy, &presenting(&leaf.issue()), &[]);
        assert_eq!((verdict(&decision), decision.caller.identity.as_deref()), (expected, identity));
    }
}

#[test]
fn where_only_properties_are_known_a_client_is_known_by_the_first_uri() {
    let policy = policy("mtls", json!({"a": client(&["uri:urn:a:1"])}));
    let proxy = FakeProxy::new()
        .with(Property::PeerCertificateValid, [1])
        .with(Property::PeerCertificateDigest, "00".repeat(32))
        .with(Property::PeerUriSan, "urn:a:1");
    assert_eq!(verdict(&asked(&policy, &proxy, &[])), "a");
}

#[test]
fn a_uri_or_an_address_that_is_none_is_refused_with_what_to_write() {
    for (identity, expected) in [
        ("uri:", "typed identity"),
        ("uri:acme", "with the scheme"),
        ("uri:urn:a\u{7}", "typed identity"),
        ("uri:spiffe://td/a", "without uri:"),
        ("uri:SPIFFE://td/a", "without uri:"),
        ("https://acme.example", "uri:…"),
        ("urn:acme:a", "uri:…"),
        ("ip:", "one IPv4 or IPv6 address"),
        ("ip:10.0.0.0/8", "one IPv4 or IPv6 address"),
        ("ip:010.0.0.1", "one IPv4 or IPv6 address"),
        ("ip:10.0.0.1:443", "one IPv4 or IPv6 address"),
        ("ip:[::1]", "one IPv4 or IPv6 address"),
        ("ip:fe80::1%eth0", "one IPv4 or IPv6 address"),
        ("ip:acme.example", "one IPv4 or IPv6 address"),
    ] {
        for (json, place) in [
            (policy("mtls", json!({"a": client(&[identity])})), "clients.a.identities[0]"),
            (json!({"revocation": {"identities": [identity]}}), "revocation.identities[0]"),
        ] {
            let problem = problem(&json);
            assert!(problem.starts_with(place) && problem.contains(expected), "{identity}: {problem}");
        }
    }
    let twice = policy("mtls", json!({"a": client(&["ip:2001:db8::1", "ip:2001:DB8::0:1"])}));
    assert!(problem(&twice).starts_with("clients.a.identities[1]"));
}

#[test]
fn what_revokes_a_uri_or_an_address_takes_every_spelling_of_it() {
    for (name, leaf, expected) in [
        ("uri:https://acme.example/app", uri("HTTPS://ACME.Example/app"), true),
        ("uri:HTTPS://ACME.example/app", uri("https://acme.example/app"), true),
        ("uri:https://acme.example/app", uri("https://acme.example/App"), false),
        ("uri:https://U@acme.example/", uri("https://u@acme.example/"), false),
        ("uri:urn:uuid:F81D4FAE", uri("URN:UUID:f81d4fae"), true),
        ("uri:urn:acme:A", uri("urn:ACME:A"), true),
        ("uri:urn:acme:A", uri("urn:acme:a"), false),
        ("uri:dns:acme.example", uri("DNS:acme.example"), true),
        ("dns:acme.example", uri("dns:acme.example"), false),
        ("uri:dns:acme.example", Recipe::new().dns("acme.example").issue(), false),
        ("ip:192.0.2.7", ip("192.0.2.7"), true),
        ("ip:::ffff:192.0.2.7", ip("192.0.2.7"), true),
        ("ip:192.0.2.7", ip("::ffff:c000:207"), true),
        ("ip:2001:DB8::0:7", ip("2001:db8::7"), true),
        ("ip:192.0.2.7", ip("192.0.2.8"), false),
    ] {
        let mut policy = policy("mtls", json!({"a": client(&["cn:a"])}));
        policy["revocation"] = json!({"identities": [name]});
        let reason = if expected { "certificate_revoked" } else { "identity_not_mapped" };
        assert_eq!(verdict(&asked(&policy, &presenting(&leaf), &[])), reason, "{name}");
    }
}

#[test]
fn a_trusted_proxy_is_known_by_its_uri_or_its_address() {
    let leaf = Recipe::new().cn("acme").issue();
    let header = format!(":{}:", crate::formats::base64(&leaf));
    for (identity, edge) in [("uri:urn:edge:1", uri("urn:edge:1")), ("ip:192.0.2.1", ip("192.0.2.1"))] {
        let mut policy = policy("mtls", json!({"acme": client(&["cn:acme"])}));
        let forwarded = json!({"format": "rfc9440", "trusted_proxies": {"identities": [identity]}});
        policy["certificate"] = json!({"source": "forwarded", "forwarded": forwarded});
        assert_eq!(verdict(&asked(&policy, &presenting(&edge), &[("client-cert", &header)])), "acme", "{identity}");
        let other = presenting(&uri("urn:edge:2"));
        assert_eq!(verdict(&asked(&policy, &other, &[("client-cert", &header)])), "certificate_missing");
    }
}

#[test]
fn an_address_of_another_length_refuses_the_certificate() {
    for (content, expected) in [
        (&[0x30, 6, 0x87, 4, 192, 0, 2, 1][..], true),
        (&[0x30, 5, 0x87, 3, 192, 0, 2], false),
        (&[0x30, 10, 0x87, 8, 192, 0, 2, 0, 255, 255, 255, 0], false),
        (&[0x30, 2, 0x87, 0], false),
        (&[0x30, 6, 0xa7, 4, 0x04, 2, 1, 2], false),
    ] {
        let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], content.to_vec());
        let leaf = Recipe::new().cn("a").with(|params| params.custom_extensions.push(names)).issue();
        assert_eq!(Certificate::from_der(&leaf.der).is_ok(), expected, "{content:x?}");
    }
}
