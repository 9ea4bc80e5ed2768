//! Which clients a token alone reaches in mode `bearer_plus_mtls_optional`.

use mtls_authz::inventory::{Sighting, note, table};
use mtls_authz::{Certificate, Policy, Reason, Rule};
use serde_json::{Value, json};

use super::{asked, compiled, verdict, with};
use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, NOW};

const REACHED: Result<Rule, Reason> = Ok(Rule::Profile(0));
const NOT_REACHED: Result<Rule, Reason> = Err(Reason::CertificateMissing);

fn policy(clients: Value, more: Value) -> Policy {
    compiled(&with(
        json!({
            "mode": "bearer_plus_mtls_optional",
            "token": {"audiences": ["api"]},
            "clients": clients,
            "profiles": {
                "open": {"allow": [{"paths": ["/a"]}]},
                "strict": {"allow": [{"paths": ["/a"]}], "mode": "bearer_plus_mtls_required"},
                "closed": {"allow": [{"paths": ["/a"]}], "mode": "mtls"},
            },
        }),
        more,
    ))
}

fn acme(client: Value, more: Value) -> Policy {
    policy(json!({"acme": client}), more)
}

/// A connection without a certificate, and a token of this client.
fn token_of(client: &str) -> FakeProxy {
    FakeProxy::new().verified(&json!({"client_id": client, "aud": "api", "exp": NOW + 60}))
}

fn ask(policy: &Policy, proxy: &FakeProxy, more: &[(&str, &str)]) -> Result<Rule, Reason> {
    verdict(&asked(policy, proxy, &[&[(":method", "GET"), (":path", "/a")], more].concat()))
}

fn leaf() -> Leaf {
    Recipe::new().cn("acme").issue()
}

#[test]
fn only_a_profile_of_the_clients_own_that_is_optional_is_reached() {
    let client = |profiles: Value| acme(json!({"identities": ["cn:acme"], "profiles": profiles}), json!({}));
    for (profiles, named, expected) in [
        (json!(["open"]), None, REACHED),
        (json!(["strict"]), None, NOT_REACHED),
        (json!(["closed"]), None, NOT_REACHED),
        (json!(["open", "closed"]), Some("closed"), NOT_REACHED),
        (json!(["open", "strict"]), None, Err(Reason::ProfileRequired)),
        (json!(["open", "strict"]), Some("open"), REACHED),
        (json!(["open", "strict"]), Some("strict"), NOT_REACHED),
        (json!(["strict"]), Some("open"), Err(Reason::ClientProfileMismatch)),
    ] {
        let headers: Vec<_> = named.map(|name| ("x-profile-id", name)).into_iter().collect();
        assert_eq!(ask(&client(profiles.clone()), &token_of("acme"), &headers), expected, "{profiles} {named:?}");
    }
}

#[test]
fn a_client_whose_certificates_must_come_from_an_issuer_is_not_reached() {
    let client = json!({"identities": ["cn:acme"], "issuers": ["CN=Test CA,O=ExampleCorp"], "profiles": ["open"]});
    assert_eq!(ask(&acme(client, json!({})), &token_of("acme"), &[]), NOT_REACHED);
}

#[test]
fn a_client_that_a_mapping_can_limit_is_not_reached() {
    let clients =
        json!({"acme": {"profiles": ["open"]}, "acme-eu": {"profiles": ["open"]}, "globex": {"profiles": ["open"]}});
    for (mapping, reached) in [
        (json!({"client_id": "{subject.CN}", "profile_id": "open"}), &[][..]),
        (json!({"client_id": "{subject.CN}", "principal": "arn:{subject.CN}"}), &[]),
        (json!({"client_id": "{subject.CN}"}), &["acme", "acme-eu", "globex"]),
        (json!({"client_id": "{subject.CN}", "match": {"issuer": "CN=Test CA"}}), &[]),
        (json!({"client_id": "acme", "match": {"issuer": {"CN": "Test CA"}}}), &["acme-eu", "globex"]),
        (json!({"client_id": "acme", "profile_id": "open"}), &["acme-eu", "globex"]),
        (json!({"client_id": "acme-{subject.CN}", "profile_id": "open"}), &["acme", "globex"]),
        (json!({"client_id": "{subject.CN}-eu", "profile_id": "open"}), &["acme", "globex"]),
    ] {
        let mapping = with(json!({"match": {"subject": {"O": "{org}"}}}), mapping);
        let policy = policy(clients.clone(), json!({"identity": {"mappings": [mapping]}}));
        for client in ["acme", "acme-eu", "globex"] {
            let expected = if reached.contains(&client) { REACHED } else { NOT_REACHED };
            assert_eq!(ask(&policy, &token_of(client), &[]), expected, "{mapping} {client}");
        }
    }
    // A mapping cannot limit a client that it may not name.
    let own = |mappings| json!({"identities": ["cn:acme"], "profiles": ["open"], "mappings": mappings});
    let mapping = json!({"match": {"subject": {"O": "{org}"}}, "client_id": "{subject.CN}", "profile_id": "open"});
    for (mappings, expected) in [(false, REACHED), (true, NOT_REACHED)] {
        let policy = acme(own(mappings), json!({"identity": {"mappings": [mapping]}}));
        assert_eq!(ask(&policy, &token_of("acme"), &[]), expected, "{mappings}");
    }
}

#[test]
fn a_client_all_of_whose_known_certificates_are_revoked_is_not_reached() {
    let (leaf, other) = (leaf(), leaf());
    let hex = |leaf: &Leaf| Certificate::from_der(&leaf.der).unwrap().thumbprint.to_hex();
    let listed = |identities: Value| json!({"identities": identities, "profiles": ["open"]});
    let (own, others) = (format!("sha256:{}", hex(&leaf)), format!("sha256:{}", hex(&other)));
    for (identities, revocation, expected) in [
        (json!(["cn:acme"]), json!({"identities": ["cn:acme"]}), NOT_REACHED),
        (json!(["cn:acme"]), json!({"identities": ["cn:ACME"]}), NOT_REACHED),
        (json!(["cn:acme", "dns:acme.example"]), json!({"identities": ["cn:acme"]}), REACHED),
        (json!([own]), json!({"sha256": [hex(&leaf)]}), NOT_REACHED),
        (json!([own, others]), json!({"sha256": [hex(&leaf)]}), REACHED),
        (json!(["cn:acme", own]), json!({"sha256": [hex(&leaf)]}), NOT_REACHED),
        (json!(["cn:acme"]), json!({"sha256": [hex(&leaf)]}), REACHED),
        (json!(["cn:acme"]), json!({"identities": ["cn:globex"]}), REACHED),
    ] {
        let policy = acme(listed(identities.clone()), json!({"revocation": revocation}));
        assert_eq!(ask(&policy, &token_of("acme"), &[]), expected, "{identities} {revocation}");
    }
}

#[test]
fn a_client_whose_certificate_was_seen_and_is_revoked_is_not_reached_until_it_has_a_newer_one() {
    let revocation = |leaf: &Leaf| {
        let thumbprint = Certificate::from_der(&leaf.der).unwrap().thumbprint.to_hex();
        json!({"revocation": {"sha256": [thumbprint]}})
    };
    let leaf = leaf();
    let newer = Recipe::new().cn("acme").with(|params| params.not_after = crate::certificates::at(7_200)).issue();
    let client = json!({"identities": ["cn:acme"], "profiles": ["open"]});
    let (policy, proxy) = (acme(client.clone(), revocation(&leaf)), token_of("acme"));
    let see = |leaf: &Leaf, is_revoked| {
        let certificate = Certificate::from_der(&leaf.der).unwrap();
        note(&proxy, &table(Some(&policy)), "acme", Sighting { certificate: &certificate, is_revoked, now: NOW })
            .unwrap();
    };
    assert_eq!(ask(&policy, &proxy, &[]), REACHED, "no certificate is known");
    see(&leaf, false);
    assert_eq!(ask(&policy, &proxy, &[]), NOT_REACHED, "it was good and is on a list now");
    see(&newer, false);
    assert_eq!(ask(&policy, &proxy, &[]), REACHED, "the client has a good one");
    see(&newer, true);
    assert_eq!(ask(&policy, &proxy, &[]), NOT_REACHED, "it was presented and refused, by its serial number, say");
    let unrestricted = acme(client, json!({}));
    assert_eq!(ask(&unrestricted, &proxy, &[]), REACHED, "a policy that revokes nothing");
}

#[test]
fn a_token_alone_waits_for_the_lists_that_a_certificate_waits_for() {
    let feed = json!({"type": "json", "cluster": "c", "authority": "a", "path": "/"});
    let policy =
        acme(json!({"identities": ["cn:acme"], "profiles": ["open"]}), json!({"revocation": {"feeds": [feed]}}));
    assert_eq!(ask(&policy, &token_of("acme"), &[]), Err(Reason::RevocationUnavailable));
    assert_eq!(ask(&policy, &token_of("acme").presenting(&leaf()), &[]), Err(Reason::RevocationUnavailable));
}

#[test]
fn a_token_that_is_meant_for_another_service_reaches_nothing() {
    let policy = acme(json!({"identities": ["cn:acme"], "profiles": ["open"]}), json!({}));
    for (claims, expected) in [
        (json!({"client_id": "acme", "aud": "other", "exp": NOW + 60}), Err(Reason::TokenAudienceMismatch)),
        (json!({"azp": "acme", "aud": "acme", "nonce": "n", "exp": NOW + 60}), Err(Reason::TokenAudienceMismatch)),
    ] {
        assert_eq!(ask(&policy, &FakeProxy::new().verified(&claims), &[]), expected, "{claims}");
    }
}
