//! What is remembered of one request for the next.

use super::*;
use crate::proxy::Notes;

#[test]
fn one_connection_of_a_proxy_carries_many_callers() {
    let (client, globex) = (acme(), Recipe::new().cn("globex").issue());
    for (settings, proxy) in [(haproxy(), from(PROXY_ADDRESS)), (by_identity(), FakeProxy::new().presenting(&edge()))] {
        for source in ["forwarded", "connection_or_forwarded"] {
            let policy = policy(source, settings.clone());
            let (memory, proxy) =
                (Memory::default(), FakeProxy { properties: proxy.properties.clone(), ..FakeProxy::new() });
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
    let connections = <[Notes; 3]>::default();
    for _ in 0..2 {
        for (proxy, expected) in [
            (from(PROXY_ADDRESS).over(&connections[0]), Ok("acme")),
            (from("192.0.2.1").over(&connections[1]), Err(Reason::CertificateMissing)),
            (from("192.0.2.1").presenting(&globex).over(&connections[2]), Ok("globex")),
            (from("192.0.2.1"), Err(Reason::CertificateMissing)),
        ] {
            assert_eq!(outcome(&ask(&policy, &memory, &proxy, "/payments/1", &more)), expected);
        }
        // A value that differs anywhere is another value.
        for place in [0, value.len() / 2, value.len() - 1] {
            let mut other = value.clone().into_bytes();
            other[place] = if other[place] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            let proxy = from(PROXY_ADDRESS).over(&connections[0]);
            let decision = ask(&policy, &memory, &proxy, "/payments/1", &[("x-ssl-cert", &other)]);
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
    let host = Host::new(FakeProxy::new().presenting(&edge));
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
    for number in 0..3_000 {
        let (value, thumbprint) = &leaves[number % 40];
        let proxy = from(PROXY_ADDRESS);
        let decision = ask(&policy, &memory, &proxy, "/payments/1", &[("x-ssl-cert", value)]);
        assert_eq!(decision.caller.thumbprint.unwrap().to_string(), *thumbprint);
    }
}
