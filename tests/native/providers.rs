//! Several issuers: each has keys that speak for it and for no other, in both sources of tokens.

use mtls_authz::{Algorithm, ConfigErrors, Decision, Memory, Policy, Property, Reason, Request, decide};
use serde_json::{Value, json};

use crate::certificates::{Leaf, acme};
use crate::host::Host;
use crate::issuer::{Issuer, key_set};
use crate::proxy::{FakeProxy, NOW, headers, payloads};

const ID: &str = "spiffe://prod.example/ns/pay/sa/acme";
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
const A: &str = "https://a.example";
const B: &str = "https://b.example";

fn read(token: &Value) -> Result<Policy, ConfigErrors> {
    let json = json!({
        "clients": {"acme": {"identities": [ID], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/payments"]}]}},
        "token": token,
    });
    Policy::from_json(json.to_string().as_bytes())
}

fn policy(token: &Value) -> Policy {
    read(token).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Both issuers have a key of the same name.
fn keys_of(algorithm: Algorithm) -> Value {
    json!({"keys": [Issuer::of(algorithm).named_jwk("key")]})
}

fn uri(cluster: &str) -> Value {
    json!({"cluster": cluster, "authority": "auth.example", "path": "/jwks.json"})
}

/// A's key is on P-256, B's on P-384.
fn inline() -> Value {
    json!({"source": "jwks", "providers": [
        {"issuer": A, "audiences": ["payments"], "jwks": keys_of(Algorithm::Es256)},
        {"issuer": B, "jwks": keys_of(Algorithm::Es384)},
    ]})
}

fn fetched() -> Value {
    json!({"source": "jwks", "providers": [
        {"issuer": A, "jwks_uri": uri("a")},
        {"issuer": B, "jwks_uri": uri("b")},
    ]})
}

fn claims(leaf: &Leaf, issuer: Value, audience: &str) -> Value {
    let binding = json!({"x5t#S256": leaf.thumbprint()});
    json!({"client_id": "acme", "exp": NOW + 60, "iss": issuer, "aud": audience, "cnf": binding})
}

fn token(leaf: &Leaf, signed_by: Algorithm, issuer: Value, audience: &str) -> String {
    let header = json!({"alg": signed_by.name(), "kid": "key"});
    Issuer::of(signed_by).token_with(&header, &claims(leaf, issuer, audience))
}

fn host(leaf: &Leaf) -> Host {
    Host::new(FakeProxy::new().presenting(leaf))
}

fn decision(policy: &Policy, memory: &Memory, host: &Host, token: Option<&str>) -> Decision {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let more: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    let headers = headers("GET", "/payments", &more);
    decide(policy, memory, &Request::new(&headers), host)
}

fn verdict(decision: Decision) -> Result<(), Reason> {
    decision.verdict.map(|_| ()).map_err(|deny| deny.reason)
}

#[test]
fn a_key_speaks_for_its_issuer_alone() {
    let (policy, leaf) = (policy(&inline()), acme());
    let memory = Memory::new(&policy.token.source);
    let (of_a, of_b) = (Algorithm::Es256, Algorithm::Es384);
    for (name, signed_by, issuer, audience, expected) in [
        ("A of itself", of_a, json!(A), "payments", Ok(())),
        ("B of itself", of_b, json!(B), "payments", Ok(())),
        ("B's audience is any", of_b, json!(B), "other", Ok(())),
        ("A's is not", of_a, json!(A), "other", Err(Reason::TokenAudienceMismatch)),
        // Its kid names a key of A, which is of another kind.
        ("B of A", of_b, json!(A), "payments", Err(Reason::TokenAlgorithmNotAllowed)),
        ("A of B", of_a, json!(B), "payments", Err(Reason::TokenAlgorithmNotAllowed)),
        ("A of nobody", of_a, json!("https://c.example"), "payments", Err(Reason::TokenIssuerMismatch)),
        (
            "A of what it is called nearly",
            of_a,
            json!("https://a.example/"),
            "payments",
            Err(Reason::TokenIssuerMismatch),
        ),
        ("no issuer", of_a, json!(null), "payments", Err(Reason::TokenIssuerMismatch)),
        ("two issuers", of_a, json!([A, B]), "payments", Err(Reason::TokenIssuerMismatch)),
    ] {
        let token = token(&leaf, signed_by, issuer, audience);
        // The second time it is known, if it was verified.
        for _ in 0..2 {
            assert_eq!(verdict(decision(&policy, &memory, &host(&leaf), Some(&token))), expected, "{name}");
        }
    }
}

#[test]
fn another_issuers_signature_is_no_signature_though_keys_are_of_one_kind_and_name() {
    let (one, other) = (Issuer::new(Algorithm::Es256), Issuer::new(Algorithm::Es256));
    let set = |issuer: &Issuer| json!({"keys": [issuer.named_jwk("key")]});
    let policy = policy(&json!({"source": "jwks", "providers": [
        {"issuer": A, "jwks": set(&one)},
        {"issuer": B, "jwks": set(&other)},
    ]}));
    let leaf = acme();
    let memory = Memory::new(&policy.token.source);
    for (signer, issuer, expected) in [
        (&one, A, Ok(())),
        (&other, B, Ok(())),
        (&one, B, Err(Reason::TokenSignatureInvalid)),
        (&other, A, Err(Reason::TokenSignatureInvalid)),
    ] {
        let header = json!({"alg": "ES256", "kid": "key"});
        let token = signer.token_with(&header, &claims(&leaf, json!(issuer), "payments"));
        assert_eq!(verdict(decision(&policy, &memory, &host(&leaf), Some(&token))), expected, "{issuer}");
    }
}

#[test]
fn an_issuer_is_told_from_the_payload_before_anything_else_of_it_is_believed() {
    let (policy, leaf) = (policy(&inline()), acme());
    let memory = Memory::new(&policy.token.source);
    let header = json!({"alg": "ES256", "kid": "key"}).to_string();
    for payload in ["", "x", "[]", r#"{"iss": "https://a.example", "iss": "https://b.example"}"#] {
        let token = Issuer::of(Algorithm::Es256).jws(header.as_bytes(), payload.as_bytes());
        let verdict = verdict(decision(&policy, &memory, &host(&leaf), Some(&token)));
        assert_eq!(verdict, Err(Reason::TokenMalformed), "{payload}");
    }
}

#[test]
fn keys_come_and_go_for_each_issuer_by_itself_and_a_refusal_names_the_set_that_was_asked() {
    let (policy, leaf) = (policy(&fetched()), acme());
    let memory = Memory::new(&policy.token.source);
    let (a, b) = (token(&leaf, Algorithm::Es256, json!(A), "x"), token(&leaf, Algorithm::Es384, json!(B), "x"));
    let host = host(&leaf);
    let ask = |token: &str| {
        let verdict = decision(&policy, &memory, &host, Some(token)).verdict;
        verdict.map(|_| ()).map_err(|deny| (deny.reason, deny.key_set))
    };
    let set = |algorithm: Algorithm| key_set(&[Issuer::of(algorithm).named_jwk("key")]);
    assert_eq!(ask(&a), Err((Reason::KeysUnavailable, Some(0))));
    assert_eq!(ask(&b), Err((Reason::KeysUnavailable, Some(1))));
    memory.adopt_keys(1, set(Algorithm::Es384));
    assert_eq!((ask(&a), ask(&b)), (Err((Reason::KeysUnavailable, Some(0))), Ok(())));
    memory.adopt_keys(0, key_set(&[Issuer::of(Algorithm::Es256).named_jwk("other")]));
    assert_eq!(ask(&a), Err((Reason::TokenKeyUnknown, Some(0))));
    memory.adopt_keys(0, set(Algorithm::Es256));
    assert_eq!((ask(&a), ask(&b), host.signatures.get()), (Ok(()), Ok(()), 2));
    memory.drop_keys(0);
    assert_eq!((ask(&a), ask(&b)), (Err((Reason::KeysUnavailable, Some(0))), Ok(())));
    memory.adopt_keys(2, set(Algorithm::Es384));
    assert_eq!(ask(&b), Ok(()), "there is no such set");
}

/// Envoy binds a key set to an issuer only where its provider says so; each of its providers here takes any issuer.
#[test]
fn what_jwt_authn_verified_for_one_issuer_says_nothing_of_another() {
    let policy = policy(&json!({"providers": [
        {"issuer": A, "audiences": ["payments"], "metadata_key": "a"},
        {"issuer": B, "metadata_key": "b"},
    ]}));
    let leaf = acme();
    let of = |issuer: &str, audience: &str| claims(&leaf, json!(issuer), audience);
    for (found, expected) in [
        (json!({"a": of(A, "payments")}), Ok(())),
        (json!({"b": of(B, "other")}), Ok(())),
        (json!({"a": of(A, "other")}), Err(Reason::TokenAudienceMismatch)),
        (json!({"a": of(B, "payments")}), Err(Reason::TokenIssuerMismatch)),
        (json!({"b": of(A, "payments")}), Err(Reason::TokenIssuerMismatch)),
        (json!({"b": of("https://c.example", "payments")}), Err(Reason::TokenIssuerMismatch)),
        (json!({"a": {"client_id": "acme", "exp": NOW + 60}}), Err(Reason::TokenIssuerMismatch)),
        (json!({"a": of(A, "payments"), "b": of(B, "payments")}), Err(Reason::AuthorizationMalformed)),
        (json!({"a": of(A, "payments"), "b": "x"}), Err(Reason::AuthorizationMalformed)),
        (json!({"payload": of(A, "payments")}), Err(Reason::TokenMissing)),
        (json!({"a": "x"}), Err(Reason::TokenMalformed)),
    ] {
        let proxy = FakeProxy::new().presenting(&leaf).with(Property::DynamicMetadata, payloads(NAMESPACE, &found));
        let memory = Memory::new(&policy.token.source);
        assert_eq!(verdict(decision(&policy, &memory, &Host::new(proxy), None)), expected, "{found}");
    }
}

/// As istiod configures it: every rule has its issuer, and all leave the payload under one key.
#[test]
fn providers_share_a_metadata_key_where_jwt_authn_binds_keys_to_issuers() {
    let policy = policy(&json!({
        "metadata": {"issuers_bound": true},
        "providers": [{"issuer": A, "audiences": ["payments"]}, {"issuer": B}, {"issuer": "c", "metadata_key": "c"}],
    }));
    let leaf = acme();
    for (key, issuer, audience, expected) in [
        ("payload", A, "payments", Ok(())),
        ("payload", A, "other", Err(Reason::TokenAudienceMismatch)),
        ("payload", B, "other", Ok(())),
        ("payload", "c", "other", Err(Reason::TokenIssuerMismatch)),
        ("c", "c", "other", Ok(())),
        ("c", A, "payments", Err(Reason::TokenIssuerMismatch)),
    ] {
        let found = payloads(NAMESPACE, &json!({key: claims(&leaf, json!(issuer), audience)}));
        let proxy = FakeProxy::new().presenting(&leaf).with(Property::DynamicMetadata, found);
        let memory = Memory::new(&policy.token.source);
        assert_eq!(verdict(decision(&policy, &memory, &Host::new(proxy), None)), expected, "{key} {issuer}");
    }
}

#[test]
fn several_issuers_are_configured_with_what_speaks_for_each_or_not_at_all() {
    let keys = || keys_of(Algorithm::Es256);
    let many =
        |count: usize| (0..count).map(|index| json!({"issuer": index.to_string(), "jwks": keys()})).collect::<Vec<_>>();
    assert!(read(&json!({"source": "jwks", "providers": many(16)})).is_ok());
    for (token, path, expected) in [
        (
            json!({"source": "jwks", "jwks": keys(), "issuers": [A, B]}),
            "token.issuers",
            "\"providers\": a list of {\"issuer\"",
        ),
        (json!({"issuers": [A, B]}), "token.issuers", "\"metadata_key\": the payload_in_metadata"),
        (json!({"source": "jwks", "jwks": keys(), "issuers": [A, A]}), "token.issuers", "each entry once"),
        (json!({"source": "jwks", "providers": many(17)}), "token.providers", "1 to 16"),
        (json!({"source": "jwks", "providers": []}), "token.providers", "1 to 16"),
        (json!({"source": "jwks", "providers": null}), "token.providers", "null"),
        (json!({"source": "jwks", "providers": many(1), "issuers": [A]}), "token.issuers", "beside \"providers\""),
        (json!({"source": "jwks", "providers": many(1), "audiences": ["a"]}), "token.audiences", "beside"),
        (json!({"source": "jwks", "providers": many(1), "jwks": keys()}), "token.jwks", "beside"),
        (json!({"source": "jwks", "providers": many(1), "jwks_uri": uri("a")}), "token.jwks_uri", "beside"),
        (json!({"providers": [{"issuer": A}], "metadata": {"key": "k"}}), "token.metadata.key", "beside"),
        (json!({"source": "jwks", "providers": [{"jwks": keys()}]}), "token.providers[0]", "issuer"),
        (
            json!({"source": "jwks", "providers": [{"issuer": "", "jwks": keys()}]}),
            "token.providers[0].issuer",
            "exactly",
        ),
        (
            json!({"source": "jwks", "providers": ([many(1), many(1)].concat())}),
            "token.providers[1].issuer",
            "no other",
        ),
        (json!({"source": "jwks", "providers": [{"issuer": A}]}), "token.providers[0]", "neither"),
        (
            json!({"source": "jwks", "providers": [{"issuer": A, "jwks": keys(), "jwks_uri": uri("a")}]}),
            "token.providers[0]",
            "both",
        ),
        (
            json!({"source": "jwks", "providers": [{"issuer": A, "jwks": {"keys": []}}]}),
            "token.providers[0].jwks",
            "no usable key",
        ),
        (
            json!({"source": "jwks", "providers": [{"issuer": A, "jwks": {"keys": [{"kty": "oct"}]}}]}),
            "token.providers[0].jwks",
            "no usable key",
        ),
        (
            json!({"source": "jwks", "providers": [{"issuer": A, "jwks_uri": {"cluster": "c", "authority": "a", "path": "x"}}]}),
            "token.providers[0].jwks_uri.path",
            "jwks.json",
        ),
        (
            json!({"source": "jwks", "providers": [{"issuer": A, "jwks": keys(), "metadata_key": "a"}]}),
            "token.providers[0].metadata_key",
            "\"jwt_authn\"",
        ),
        (json!({"providers": [{"issuer": A, "jwks": keys()}]}), "token.providers[0].jwks", "\"source\": \"jwks\""),
        (json!({"providers": [{"issuer": A, "jwks_uri": uri("a")}]}), "token.providers[0].jwks_uri", "\"jwks\""),
        (json!({"providers": [{"issuer": A}, {"issuer": B}]}), "token.providers[1].metadata_key", "issuers_bound"),
        (
            json!({"providers": [{"issuer": A, "metadata_key": "k"}, {"issuer": B, "metadata_key": "k"}]}),
            "token.providers[1].metadata_key",
            "payload_in_metadata",
        ),
        (json!({"providers": [{"issuer": A, "aud": []}]}), "token.providers[0].aud", "audiences"),
    ] {
        let problem = read(&token).expect_err(&token.to_string());
        assert!(problem.path == path && problem.problem.contains(expected), "{token}: {problem}");
        assert!(problem.to_string().chars().count() < 1000, "{problem}");
    }
}
