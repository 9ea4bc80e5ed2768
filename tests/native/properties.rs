//! A certificate of which Envoy shows some properties alone, before 1.38.

use mtls_authz::{Memory, Policy, Property, Reason, Request, decide};
use serde_json::{Value, json};

use crate::certificates::acme;
use crate::proxy::{FakeProxy, headers};

const ID: &str = "spiffe://prod.example/ns/pay/sa/acme";

fn ask(clients: Value, mappings: Value, proxy: &FakeProxy) -> Result<(), Reason> {
    let policy = json!({
        "mode": "mtls",
        "clients": clients,
        "identity": {"mappings": mappings},
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
    });
    let policy = Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"));
    let decision = decide(&policy, &Memory::default(), &Request::new(&headers("GET", "/", &[])), proxy);
    decision.verdict.map(|_| ()).map_err(|deny| deny.reason)
}

#[test]
fn a_certificate_whose_issuer_is_unknown_is_of_no_pinned_client_and_of_no_mapping_with_an_issuer() {
    let whole = FakeProxy::new().presenting(&acme());
    let digest = mtls_authz::Thumbprint::of(&acme().der).to_hex();
    let properties = FakeProxy::new()
        .with(Property::PeerCertificateValid, [1])
        .with(Property::PeerCertificateDigest, digest)
        .with(Property::PeerSubject, "CN=acme")
        .with(Property::PeerUriSan, ID);
    let client = |more: Value| {
        let mut client = json!({"profiles": ["partner"]});
        client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"acme": client})
    };
    let issuer = "CN=Test CA,O=ExampleCorp";
    let mapping = |more: &Value| json!([{"match": more, "client_id": "acme", "profile_id": "partner"}]);
    for (what, clients, mappings, for_properties) in [
        ("a name", client(json!({"identities": [ID]})), json!([]), Ok(())),
        ("a pin", client(json!({"identities": [ID], "issuers": [issuer]})), json!([]), Err(Reason::IdentityNotMapped)),
        ("a mapping", client(json!({})), mapping(&json!({"uri_san": ID})), Ok(())),
        (
            "a mapping with an issuer",
            client(json!({})),
            mapping(&json!({"uri_san": ID, "issuer": issuer})),
            Err(Reason::IdentityNotMapped),
        ),
    ] {
        assert_eq!(ask(clients.clone(), mappings.clone(), &whole), Ok(()), "{what}");
        assert_eq!(ask(clients, mappings, &properties), for_properties, "{what}");
    }
}
