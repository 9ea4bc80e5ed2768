//! What a worker remembers is never a verdict: not of a token with another certificate, at another time or under other
//! keys, and not of a connection's certificate after its end.

use mtls_authz::{Algorithm, Decision, KeySet, Memory, Policy, Property, Reason, Request, Thumbprint, decide};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::certificates::{Leaf, Recipe, acme};
use crate::formats::element;
use crate::host::Host;
use crate::issuer::{Issuer, key_set};
use crate::proxy::{FakeProxy, NOW, headers};

const ID: &str = "spiffe://prod.example/ns/pay/sa/acme";

fn policy(token: Value) -> Policy {
    let json = json!({
        "clients": {"acme": {"identities": [ID], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/payments"]}]}},
        "token": token,
    });
    Policy::from_json(json.to_string().as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn issuer() -> &'static Issuer {
    Issuer::of(Algorithm::Es256)
}

/// The issuer's key stands in the configuration.
fn inline() -> Policy {
    policy(json!({"source": "jwks", "jwks": {"keys": [issuer().named_jwk("a")]}}))
}

/// Keys are fetched.
fn fetched() -> Policy {
    policy(json!({
        "source": "jwks",
        "jwks_uri": {"cluster": "issuer", "authority": "auth.example", "path": "/jwks.json"},
    }))
}

fn keys(jwk: Value) -> KeySet {
    key_set(&[jwk])
}

/// A connection with this certificate.
fn connection(leaf: &Leaf) -> Host {
    Host::new(FakeProxy::new().presenting(leaf))
}

/// A token of the client, bound to its certificate, for another minute.
fn token(leaf: &Leaf) -> String {
    issuer().token_of(&json!({"client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}}))
}

fn request(policy: &Policy, memory: &Memory, host: &Host, token: &str) -> Result<(), Reason> {
    let authorization = format!("Bearer {token}");
    let more = [("authorization", authorization.as_str())];
    let headers = headers("GET", "/payments", &more);
    let decision: Decision = decide(policy, memory, &Request::new(&headers), host);
    decision.verdict.map(|_| ()).map_err(|deny| deny.reason)
}

fn asked(host: &Host, property: Property) -> usize {
    host.fake.asked.borrow().iter().filter(|asked| **asked == property).count()
}

#[test]
fn a_signature_is_verified_once_and_a_certificate_read_once_in_a_connection() {
    let (policy, leaf) = (inline(), acme());
    let memory = Memory::new(&policy.token.source);
    let token = token(&leaf);
    let first = connection(&leaf);
    for _ in 0..3 {
        assert_eq!(request(&policy, &memory, &first, &token), Ok(()));
    }
    assert_eq!(first.signatures.get(), 1);
    assert_eq!(asked(&first, Property::PeerCertificate), 1);
    assert_eq!(asked(&first, Property::PeerCertificateValid), 1);

    let second = connection(&leaf);
    assert_eq!(request(&policy, &memory, &second, &token), Ok(()));
    assert_eq!(second.signatures.get(), 0, "the token is known on every connection");
    assert_eq!(asked(&second, Property::PeerCertificate), 1, "the certificate on its own alone");
}

#[test]
fn a_remembered_token_is_refused_with_another_certificate() {
    let (policy, leaf) = (inline(), acme());
    let memory = Memory::new(&policy.token.source);
    let token = token(&leaf);
    assert_eq!(request(&policy, &memory, &connection(&leaf), &token), Ok(()));
    // Of the same client, even, and on a connection that is known.
    let other = acme();
    let thief = connection(&other);
    for _ in 0..2 {
        assert_eq!(request(&policy, &memory, &thief, &token), Err(Reason::SenderBindingMismatch));
    }
    let without = Host::new(FakeProxy::new());
    assert_eq!(request(&policy, &memory, &without, &token), Err(Reason::CertificateMissing));
    assert_eq!(request(&policy, &memory, &connection(&leaf), &token), Ok(()));
}

#[test]
fn a_remembered_token_ends_with_exp_and_begins_with_nbf() {
    let (policy, leaf) = (inline(), acme());
    let memory = Memory::new(&policy.token.source);
    let host = connection(&leaf);
    let token = issuer().token_of(&json!({
        "client_id": "acme", "nbf": NOW, "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()},
    }));
    for (now, expected) in [
        (NOW, Ok(())),
        (NOW + 60 + 29, Ok(())),
        (NOW + 60 + 30, Err(Reason::TokenExpired)),
        (NOW - 30, Ok(())),
        (NOW - 31, Err(Reason::TokenNotYetValid)),
        (NOW, Ok(())),
    ] {
        host.now.set(now);
        assert_eq!(request(&policy, &memory, &host, &token), expected, "{}", now - NOW);
    }
    assert_eq!(host.signatures.get(), 1);
}

#[test]
fn a_remembered_certificate_ends_with_its_validity() {
    let policy = inline();
    let end = |params: &mut rcgen::CertificateParams| {
        params.not_after = OffsetDateTime::from_unix_timestamp(NOW + 10).unwrap();
    };
    let leaf = Recipe::new().uri(ID).with(end).issue();
    let memory = Memory::new(&policy.token.source);
    let host = connection(&leaf);
    let token = token(&leaf);
    assert_eq!(request(&policy, &memory, &host, &token), Ok(()));
    host.now.set(NOW + 10 + 3_600);
    assert_eq!(request(&policy, &memory, &host, &token), Err(Reason::CertificateExpired));
    assert_eq!(asked(&host, Property::PeerCertificate), 1);
}

#[test]
fn a_remembered_token_is_verified_again_when_the_keys_have_changed() {
    let (policy, leaf) = (fetched(), acme());
    let memory = Memory::new(&policy.token.source);
    let host = connection(&leaf);
    let token = token(&leaf);
    assert_eq!(request(&policy, &memory, &host, &token), Err(Reason::KeysUnavailable));
    memory.adopt_keys(0, keys(issuer().jwk()));
    assert_eq!(request(&policy, &memory, &host, &token), Ok(()));
    assert_eq!(request(&policy, &memory, &host, &token), Ok(()));
    assert_eq!(host.signatures.get(), 1);

    memory.adopt_keys(0, keys(Issuer::new(Algorithm::Es256).jwk()));
    assert_eq!(request(&policy, &memory, &host, &token), Err(Reason::TokenSignatureInvalid));
    memory.adopt_keys(0, keys(Issuer::of(Algorithm::EdDsa).jwk()));
    assert_eq!(request(&policy, &memory, &host, &token), Err(Reason::TokenKeyUnknown));
    memory.adopt_keys(0, keys(issuer().jwk()));
    assert_eq!(request(&policy, &memory, &host, &token), Ok(()));
}

/// Anybody can have the keys fetched, with a token that names an unknown one.
#[test]
fn the_same_keys_fetched_again_forget_no_token() {
    let (policy, leaf) = (fetched(), acme());
    let memory = Memory::new(&policy.token.source);
    let host = connection(&leaf);
    let token = token(&leaf);
    let other = || Issuer::of(Algorithm::Ps256).named_jwk("other");
    for set in [
        vec![issuer().jwk()],
        vec![issuer().jwk()],
        vec![other(), issuer().jwk()],
        vec![issuer().jwk(), Issuer::new(Algorithm::EdDsa).named_jwk("new")],
    ] {
        memory.adopt_keys(0, key_set(&set));
        assert_eq!(request(&policy, &memory, &host, &token), Ok(()));
        assert_eq!(host.signatures.get(), 1);
    }
}

/// What would be verified again, and perhaps not be found good.
#[test]
fn a_token_is_forgotten_with_its_key_and_with_the_keys_name_or_algorithm() {
    let (policy, leaf) = (fetched(), acme());
    let host = connection(&leaf);
    let token = token(&leaf);
    let jwk = |changes: Value| {
        let mut jwk = issuer().jwk();
        changes.as_object().unwrap().iter().for_each(|(name, value)| jwk[name] = value.clone());
        jwk
    };
    for (name, after, expected) in [
        ("another name", jwk(json!({"kid": "renamed"})), Ok(())),
        ("an algorithm", jwk(json!({"alg": "ES256"})), Ok(())),
        ("another key by its name", Issuer::new(Algorithm::Es256).jwk(), Err(Reason::TokenSignatureInvalid)),
        ("a key of another kind", Issuer::of(Algorithm::EdDsa).jwk(), Err(Reason::TokenKeyUnknown)),
    ] {
        let memory = Memory::new(&policy.token.source);
        memory.adopt_keys(0, keys(issuer().jwk()));
        assert_eq!(request(&policy, &memory, &host, &token), Ok(()), "{name}");
        let before = host.signatures.get();
        memory.adopt_keys(0, keys(after));
        assert_eq!(request(&policy, &memory, &host, &token), expected, "{name}");
        assert_eq!(host.signatures.get() - before, usize::from(expected != Err(Reason::TokenKeyUnknown)), "{name}");
    }
}

#[test]
fn a_remembered_token_is_worth_nothing_once_the_keys_are_too_old() {
    let (policy, leaf) = (fetched(), acme());
    let memory = Memory::new(&policy.token.source);
    memory.adopt_keys(0, keys(issuer().jwk()));
    let host = connection(&leaf);
    let token = token(&leaf);
    assert_eq!(request(&policy, &memory, &host, &token), Ok(()));
    memory.drop_keys(0);
    assert_eq!(request(&policy, &memory, &host, &token), Err(Reason::KeysUnavailable));
    memory.adopt_keys(0, keys(issuer().jwk()));
    assert_eq!(request(&policy, &memory, &host, &token), Ok(()));
    assert_eq!(host.signatures.get(), 2);
}

#[test]
fn no_text_but_the_verified_one_is_remembered() {
    let (policy, leaf) = (inline(), acme());
    let memory = Memory::new(&policy.token.source);
    let host = connection(&leaf);
    let good = token(&leaf);
    assert_eq!(request(&policy, &memory, &host, &good), Ok(()));
    // The end of a good token, by which it is found, behind another header and payload.
    let stranger = Issuer::new(Algorithm::Es256);
    let forged = stranger.token_of(&json!({"client_id": "acme", "exp": NOW + 9_999}));
    let (forged, _) = forged.rsplit_once('.').unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for (name, token, expected) in [
        ("its signature on another", format!("{forged}.{signature}"), Err(Reason::TokenSignatureInvalid)),
        ("its signature alone", signature.to_owned(), Err(Reason::TokenMalformed)),
        ("without its signature", format!("{signed}."), Err(Reason::TokenSignatureInvalid)),
        ("twice", format!("{good}.{good}"), Err(Reason::TokenMalformed)),
        ("itself", good.clone(), Ok(())),
    ] {
        assert_eq!(request(&policy, &memory, &host, &token), expected, "{name}");
    }
}

#[test]
fn a_refused_token_is_not_remembered() {
    let (policy, leaf) = (inline(), acme());
    let memory = Memory::new(&policy.token.source);
    let host = connection(&leaf);
    let forged = Issuer::new(Algorithm::Es256).token();
    for times in 1..=3 {
        assert_eq!(request(&policy, &memory, &host, &forged), Err(Reason::TokenSignatureInvalid));
        assert_eq!(host.signatures.get(), times);
    }
}

#[test]
fn a_connection_on_which_nothing_can_be_noted_or_an_unverified_one_is_not_remembered() {
    let (policy, leaf) = (inline(), acme());
    let memory = Memory::new(&policy.token.source);
    let token = token(&leaf);
    let noteless = connection(&leaf);
    for times in 1..=2 {
        noteless.fake.notes.borrow_mut().clear();
        assert_eq!(request(&policy, &memory, &noteless, &token), Ok(()));
        assert_eq!(asked(&noteless, Property::PeerCertificate), times);
    }
    let mut host = connection(&leaf);
    host.fake = host.fake.with(Property::PeerCertificateValid, [0]);
    for _ in 0..2 {
        assert_eq!(request(&policy, &memory, &host, &token), Err(Reason::CertificateUntrusted));
    }
    assert_eq!(request(&policy, &memory, &connection(&leaf), &token), Ok(()));
}

#[test]
fn a_certificate_is_verified_on_each_connection_however_well_it_is_known() {
    let (policy, leaf) = (inline(), acme());
    let memory = Memory::new(&policy.token.source);
    assert_eq!(request(&policy, &memory, &connection(&leaf), &token(&leaf)), Ok(()));
    let mut other = connection(&leaf);
    other.fake = other.fake.with(Property::PeerCertificateValid, [0]);
    assert_eq!(request(&policy, &memory, &other, &token(&leaf)), Err(Reason::CertificateUntrusted));
}

#[test]
fn a_note_is_of_one_validation_and_of_one_connection() {
    let (policy, leaf) = (inline(), acme());
    let lenient = Policy::from_json(
        json!({
            "certificate": {"validation": "listener"},
            "clients": {"acme": {"identities": [ID], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": [{"paths": ["/payments"]}]}},
            "token": {"source": "jwks", "jwks": {"keys": [issuer().named_jwk("a")]}},
        })
        .to_string(),
    )
    .unwrap();
    let memory = Memory::new(&policy.token.source);
    let mut host = connection(&leaf);
    host.fake = host.fake.with(Property::PeerCertificateValid, [0]);
    // Another policy on the same connection, in the same worker even, takes the listener's word.
    assert_eq!(request(&lenient, &memory, &host, &token(&leaf)), Ok(()));
    assert_eq!(request(&policy, &memory, &host, &token(&leaf)), Err(Reason::CertificateUntrusted));
    assert_eq!(request(&lenient, &memory, &host, &token(&leaf)), Ok(()));
    // A victim that is known, and a stranger on another connection.
    assert_eq!(request(&policy, &memory, &connection(&leaf), &token(&leaf)), Ok(()));
    let stranger = Host::new(FakeProxy::new());
    assert_eq!(request(&policy, &memory, &stranger, &token(&leaf)), Err(Reason::CertificateMissing));
}

#[test]
fn a_certificate_that_its_properties_alone_describe_is_read_whole_once_a_header_brings_it() {
    let policy = Policy::from_json(
        json!({
            "mode": "mtls",
            "clients": {"acme": {"identities": [ID], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": [{"paths": ["/payments"]}]}},
        })
        .to_string(),
    )
    .unwrap();
    let (memory, leaf) = (Memory::default(), acme());
    // Envoy before 1.38.
    let host = FakeProxy::new()
        .with(Property::PeerCertificateValid, [1])
        .with(Property::PeerCertificateDigest, Thumbprint::of(&leaf.der).to_hex())
        .with(Property::PeerSubject, "CN=acme")
        .with(Property::PeerUriSan, ID);
    let element = element(&leaf);
    let ask = |more: &[(&str, &str)]| {
        let before = host.asked.borrow().iter().filter(|asked| **asked == Property::PeerCertificate).count();
        let headers = headers("GET", "/payments", more);
        let decision = decide(&policy, &memory, &Request::new(&headers), &host);
        let after = host.asked.borrow().iter().filter(|asked| **asked == Property::PeerCertificate).count();
        let is_whole = decision.certificate.as_ref().map(|certificate| certificate.der.is_some());
        assert_eq!(decision.verdict.map_err(|deny| deny.reason).err(), None);
        (is_whole, after - before)
    };
    let header = [("x-forwarded-client-cert", element.as_str())];
    for (more, is_whole, reads) in
        [(&[][..], false, 1), (&[], false, 0), (&header, true, 1), (&header, true, 0), (&[], true, 0)]
    {
        assert_eq!(ask(more), (Some(is_whole), reads), "{more:?}");
    }
}

#[test]
fn another_request_of_a_connection_is_decided_by_its_own_token() {
    let (policy, leaf) = (inline(), acme());
    let memory = Memory::new(&policy.token.source);
    let host = connection(&leaf);
    assert_eq!(request(&policy, &memory, &host, &token(&leaf)), Ok(()));
    let claims = |client: &str| json!({"client_id": client, "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}});
    let other = issuer().token_of(&claims("globex"));
    assert_eq!(request(&policy, &memory, &host, &other), Err(Reason::ClientProfileMismatch));
    let unbound = issuer().token_of(&json!({"client_id": "acme", "exp": NOW + 60}));
    assert_eq!(request(&policy, &memory, &host, &unbound), Err(Reason::SenderBindingMissing));
}
