//! Whatever bytes come from callers and hosts: a decision, never a panic, and never an allow without a rule.

use std::collections::HashMap;

use mtls_authz::{
    Enforcement, Format, Header, HostError, Memory, Policy, Property, Proxy, Request, Response, Rule, Shared,
    SignatureCheck, Swap, decide, decision_record,
};
use proptest::prelude::*;
use serde_json::json;

use crate::certificates::acme;
use crate::formats::{element, written};
use crate::proxy::{NOW, metadata, nameable, sent};

const NAMES: &[&str] = &[
    ":method",
    ":path",
    ":authority",
    ":protocol",
    "authorization",
    "connection",
    "upgrade",
    "content-type",
    "x-request-id",
    "x-client-id",
    "x-profile-id",
    "x_client_id",
    "x-forwarded-client-cert",
    "client-cert",
    "x-own-cert",
    "cookie",
    "",
];

const PROPERTIES: &[Property<'static>] = &[
    Property::PeerCertificateValid,
    Property::PeerCertificate,
    Property::PeerCertificateDigest,
    Property::PeerSubject,
    Property::PeerUriSan,
    Property::PeerDnsSan,
    Property::DynamicMetadata,
    Property::DirectRemoteAddress,
    Property::SourceAddress,
    Property::Protocol,
    Property::Note(""),
];

/// Answers with anything.
#[derive(Debug, Clone)]
struct Hostile {
    properties: HashMap<Property<'static>, Result<Vec<u8>, u32>>,
    now: Result<u64, u32>,
    shared: Result<Option<Vec<u8>>, u32>,
    swaps: bool,
}

fn failure(status: &u32) -> HostError {
    HostError { call: "hostile", status: *status }
}

impl Proxy for Hostile {
    fn property(&self, property: Property<'_>) -> Result<Option<Vec<u8>>, HostError> {
        self.properties.get(&nameable(property)).cloned().transpose().map_err(|status| failure(&status))
    }

    fn leave_note(&self, _: &str, _: &[u8]) -> Result<(), HostError> {
        self.now.map(drop).map_err(|status| failure(&status))
    }

    fn verify_signature(&self, _: SignatureCheck<'_>) -> Option<bool> {
        Some(self.swaps)
    }

    fn now(&self) -> Result<u64, HostError> {
        self.now.map_err(|status| failure(&status))
    }

    fn monotonic(&self) -> Result<u64, HostError> {
        self.now()
    }

    fn shared(&self, _: &str) -> Result<Option<Shared>, HostError> {
        let value = self.shared.clone().map_err(|status| failure(&status))?;
        Ok(value.map(|value| Shared { value, version: 1 }))
    }

    fn swap_shared(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<Swap, HostError> {
        Ok(if self.swaps { Swap::Done } else { Swap::Lost })
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let leaf = acme();
    let payload = json!({"client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}});
    let likely: Vec<Vec<u8>> = vec![
        b"GET".to_vec(),
        b"/a/b".to_vec(),
        b"/health".to_vec(),
        b"Bearer a.e30.c".to_vec(),
        b"acme".to_vec(),
        b"partner".to_vec(),
        b"upgrade".to_vec(),
        b"websocket".to_vec(),
        b"application/grpc".to_vec(),
        b"10.0.0.1:5".to_vec(),
        vec![1],
        leaf.pem.clone().into_bytes(),
        mtls_authz::Thumbprint::of(&leaf.der).to_hex().into_bytes(),
        format!("Hash=0;Cert=\"{}\"", leaf.pem.replace('\n', "%0A")).into_bytes(),
        format!("{},{}", element(&leaf), element(&leaf)).into_bytes(),
        json!([{"cert": leaf.pem}, {"cert": leaf.pem}]).to_string().into_bytes(),
        written(Format::Rfc9440, &leaf).into_bytes(),
        written(Format::Traefik, &leaf).into_bytes(),
        metadata("envoy.filters.http.jwt_authn", "payload", &payload),
    ];
    let changed = prop::sample::select(likely.clone());
    prop_oneof![
        4 => prop::sample::select(likely),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "\\PC{0,20}".prop_map(String::into_bytes),
        1 => (changed, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, place, byte)| {
            let place = place.index(bytes.len());
            bytes[place] ^= byte;
            bytes
        }),
    ]
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let property =
        (prop::sample::select(PROPERTIES), prop_oneof![9 => bytes().prop_map(Ok), 1 => any::<u32>().prop_map(Err)]);
    (
        prop::collection::vec(property, 0..12),
        prop_oneof![8 => Just(Ok(NOW as u64 * 1_000_000_000)), 1 => any::<u64>().prop_map(Ok), 1 => any::<u32>().prop_map(Err)],
        prop_oneof![Just(Ok(None)), bytes().prop_map(|bytes| Ok(Some(bytes))), any::<u32>().prop_map(Err)],
        any::<bool>(),
    )
        .prop_map(|(properties, now, shared, swaps)| Hostile {
            properties: properties.into_iter().collect(),
            now,
            shared,
            swaps,
        })
}

fn policies() -> Vec<Policy> {
    let base = json!({
        "clients": {"acme": {"identities": ["spiffe://prod.example/ns/pay/sa/acme", "cn:x"], "profiles": ["partner"]}},
        "profiles": {"partner": {
            "allow": [{"paths": ["/a/*"], "upgrades": ["websocket"]}],
            "source_cidrs": ["10.0.0.0/8"],
            "rate_limit": {"requests": 5, "per_seconds": 1},
        }},
        "bypass": [{"path": "/health"}],
        "path": {"encoded_slashes": "keep", "semicolons": "keep"},
        "upstream_headers": {"client_cert": true},
        "token": {"audiences": ["api"]},
    });
    let mut policies = Vec::new();
    for mode in ["mtls", "bearer_plus_mtls_required", "bearer_plus_mtls_optional"] {
        for (validation, enforcement) in [("attribute", "enforce"), ("listener", "shadow")] {
            let mut json = base.clone();
            json["mode"] = json!(mode);
            json["certificate"] = json!({"validation": validation});
            json["enforcement"] = json!(enforcement);
            policies.push(Policy::from_json(json.to_string().as_bytes()).unwrap());
        }
    }
    let trusted = json!({"cidrs": ["10.0.0.0/8"], "identities": ["spiffe://prod.example/ns/pay/sa/acme"]});
    for (source, format, hop) in
        [("forwarded", "xfcc", 2), ("forwarded", "rfc9440", 1), ("connection_or_forwarded", "traefik", 1)]
    {
        let mut forwarded = json!({"format": format, "trusted_proxies": trusted});
        match format {
            "xfcc" => forwarded["hop"] = json!(hop),
            "traefik" => forwarded["header"] = json!("x-own-cert"),
            _ => {}
        }
        let mut json = base.clone();
        json["mode"] = json!("mtls");
        json["source_address"] = json!("envoy");
        json["certificate"] = json!({"source": source, "forwarded": forwarded});
        policies.push(Policy::from_json(json.to_string().as_bytes()).unwrap());
    }
    policies
}

thread_local! {
    static POLICIES: Vec<Policy> = policies();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_request_and_any_host_get_a_decision(
        headers in prop::collection::vec((prop::sample::select(NAMES), bytes()), 0..10),
        proxy in hostile(),
    ) {
        let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
        let request = Request::new(&headers);
        POLICIES.with(|policies| -> Result<(), TestCaseError> {
            for policy in policies {
                let decision = decide(policy, &Memory::default(), &request, &proxy);
                let record: serde_json::Value = serde_json::from_slice(&decision_record(policy.policy_id.as_deref(), &request, &decision)).unwrap();
                match &decision.verdict {
                    Ok(allow) => {
                        prop_assert!(matches!(allow.rule, Rule::Bypass(0)) || decision.caller.client_id() == Some("acme"));
                        prop_assert!(record["rule"].is_string());
                    }
                    Err(deny) => {
                        let response = Response::refuse(deny, &request);
                        prop_assert!((400..=500).contains(&response.status));
                        for (_, value) in &response.headers {
                            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                        }
                    }
                }
                if decision.refusal().is_none() {
                    let written = decision.verdict.is_ok() && decision.caller.client.is_some();
                    let sent = sent(policy, &request, &decision);
                    let sent: Vec<&[u8]> = sent.iter().map(|(name, _)| *name).collect();
                    let ids = sent.iter().filter(|name| name.eq_ignore_ascii_case(b"x-client-id")).count();
                    prop_assert_eq!(ids, usize::from(written));
                    prop_assert!(!sent.contains(&&b"x_client_id"[..]));
                    let passed_on = policy.forwarding.is_none();
                    prop_assert!(passed_on || !sent.iter().any(|name| name.starts_with(b"x-forwarded-client-cert")));
                } else {
                    prop_assert_eq!(decision.enforcement, Enforcement::Enforce);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_configuration_is_read_or_refused(json in "\\PC{0,80}|[\\[{]{0,300}") {
        let _ = Policy::from_json(json.as_bytes());
    }
}
