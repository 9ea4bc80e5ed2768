//! What the modes ask for, and what shadow lets pass.

use super::*;

#[test]
fn a_profile_that_is_not_named_is_asked_for_only_where_there_are_several() {
    let leaf = Recipe::new().cn("globex").issue();
    let proxy = FakeProxy::new().presenting(&leaf).verified(&token("globex", Some(&leaf)));
    let outcome = |more| verdict(&run(&policy(), &proxy, &headers("GET", "/payments/1", more)));
    assert_eq!(outcome(&[]), Err(Reason::ProfileRequired));
    assert_eq!(outcome(&[("x-profile-id", "partner")]), Ok(Rule::Profile(0)));
    assert_eq!(outcome(&[("x-profile-id", "nothing")]), Err(Reason::ClientProfileMismatch));
    let required = changed(|json| json["require_client_headers"] = json!(true));
    let named = [("x-profile-id", "partner")];
    assert_eq!(
        verdict(&run(&required, &proxy, &headers("GET", "/payments/1", &named))),
        Err(Reason::ClientHeaderMissing)
    );
}

#[test]
fn a_profile_in_mode_mtls_asks_for_no_token() {
    let leaf = Recipe::new().cn("globex").issue();
    let proxy = FakeProxy::new().presenting(&leaf);
    let decision = run(&policy(), &proxy, &headers("GET", "/anything", &[("x-profile-id", "auditor")]));
    assert_eq!((verdict(&decision), decision.caller.binding), (Ok(Rule::Profile(0)), Some(Binding::Certificate)));
    assert!(!proxy.asked.borrow().contains(&Property::DynamicMetadata));
}

#[test]
fn in_optional_mode_a_token_suffices_but_a_binding_always_counts() {
    let optional = changed(|json| {
        json["mode"] = json!("bearer_plus_mtls_optional");
        json["binding"] = json!({"required_paths": ["/payments"]});
    });
    let leaf = acme();
    let stranger = Recipe::new().cn("stranger").issue();
    let unbound = || token("acme", None);
    let bound = || token("acme", Some(&leaf));
    for (name, proxy, method, path, expected) in [
        ("token alone", FakeProxy::new().verified(&unbound()), "GET", "/payments/1", Ok(Rule::Profile(0))),
        ("nothing", FakeProxy::new(), "GET", "/payments/1", Err(Reason::TokenMissing)),
        ("listed path", FakeProxy::new().verified(&unbound()), "POST", "/payments", Err(Reason::CertificateMissing)),
        (
            "listed path, token not bound",
            FakeProxy::new().presenting(&leaf).verified(&unbound()),
            "POST",
            "/payments",
            Err(Reason::SenderBindingMissing),
        ),
        (
            "listed path, bound",
            FakeProxy::new().presenting(&leaf).verified(&bound()),
            "POST",
            "/payments",
            Ok(Rule::Profile(1)),
        ),
        (
            "bound token without its certificate",
            FakeProxy::new().verified(&bound()),
            "GET",
            "/payments/1",
            Err(Reason::CertificateMissing),
        ),
        (
            "bound token with another",
            FakeProxy::new().presenting(&stranger).verified(&bound()),
            "GET",
            "/payments/1",
            Err(Reason::SenderBindingMismatch),
        ),
        (
            "unknown certificate",
            FakeProxy::new().presenting(&stranger).verified(&unbound()),
            "GET",
            "/payments/1",
            Err(Reason::IdentityNotMapped),
        ),
        (
            "unverified certificate",
            FakeProxy::new().presenting(&leaf).with(Property::PeerCertificateValid, [0]).verified(&unbound()),
            "GET",
            "/payments/1",
            Err(Reason::CertificateUntrusted),
        ),
        (
            "token of an unknown client",
            FakeProxy::new().verified(&token("nobody", None)),
            "GET",
            "/payments/1",
            Err(Reason::IdentityNotMapped),
        ),
        (
            "claims that differ",
            FakeProxy::new().verified(&with(unbound(), "azp", json!("globex"))),
            "GET",
            "/payments/1",
            Err(Reason::ClientProfileMismatch),
        ),
    ] {
        let decision = run(&optional, &proxy, &headers(method, path, &[]));
        assert_eq!(verdict(&decision), expected, "{name}: {decision:?}");
    }
}

#[test]
fn without_a_certificate_a_token_names_one_client_or_nobody() {
    let optional = changed(|json| json["mode"] = json!("bearer_plus_mtls_optional"));
    for (claims, expected, client) in [
        (json!({"client_id": "acme", "azp": "acme"}), Ok(Rule::Profile(0)), Some("acme")),
        (json!({"azp": "acme"}), Ok(Rule::Profile(0)), Some("acme")),
        (json!({"client_id": "acme", "azp": "globex"}), Err(Reason::ClientProfileMismatch), None),
        (json!({"client_id": "initech"}), Err(Reason::IdentityNotMapped), None),
        (json!({}), Err(Reason::IdentityNotMapped), None),
    ] {
        let claims = with(with(claims, "exp", json!(NOW + 60)), "aud", json!("api"));
        let proxy = FakeProxy::new().verified(&claims);
        let decision = run(&optional, &proxy, &headers("GET", "/payments/1", &[]));
        assert_eq!((verdict(&decision), decision.caller.client_id()), (expected, client), "{claims}");
    }
}

#[test]
fn a_strict_profile_stays_strict_where_the_rest_is_optional() {
    let mixed = changed(|json| json["profiles"]["auditor"]["mode"] = json!("bearer_plus_mtls_optional"));
    let partner = FakeProxy::new().verified(&token("acme", None));
    assert_eq!(verdict(&run(&mixed, &partner, &headers("GET", "/payments/1", &[]))), Err(Reason::CertificateMissing));
    let nothing = run(&mixed, &FakeProxy::new(), &headers("GET", "/payments/1", &[]));
    assert_eq!(verdict(&nothing), Err(Reason::CertificateMissing));
    // Only the absence of a token leaves open that the profile is the strict one.
    let expired = FakeProxy::new().verified(&with(token("globex", None), "exp", json!(NOW - 60)));
    assert_eq!(verdict(&run(&mixed, &expired, &headers("GET", "/payments/1", &[]))), Err(Reason::TokenExpired));
    let auditor = FakeProxy::new().verified(&token("globex", None));
    let named = [("x-profile-id", "auditor")];
    assert_eq!(verdict(&run(&mixed, &auditor, &headers("GET", "/payments/1", &named))), Ok(Rule::Profile(0)));
}

#[test]
fn shadow_decides_and_lets_pass_without_vouching_for_anybody() {
    let shadow = changed(|json| json["profiles"]["partner"]["enforcement"] = json!("shadow"));
    let leaf = acme();
    let proxy = FakeProxy::new().presenting(&leaf).verified(&token("acme", Some(&leaf)));
    let headers = headers("GET", "/admin", &[("x-client-principal", "root"), ("client-cert", ":eA==:")]);
    let policy = compiled(&shadow);
    let request = Request::new(&headers);
    let decision = decide(&policy, &Memory::default(), &request, &proxy);
    assert_eq!((verdict(&decision), decision.enforcement), (Err(Reason::PathDenied), Enforcement::Shadow));
    assert!(decision.refusal().is_none());
    let change = upstream_headers(&policy.upstream_headers, &request, &decision);
    let strips_certificate = matches!(change, UpstreamChange::Replace { strips_certificate: true, .. });
    assert_eq!(
        Counter::of(&decision, strips_certificate).collect::<Vec<_>>(),
        [Counter::ShadowDenied(Reason::PathDenied), Counter::ForwardedCertStripped]
    );
    let sent = sent(&policy, &request, &decision);
    assert_eq!(sent.len(), 3);
}
