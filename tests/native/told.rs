//! What is told about a decision: to the caller in words, to the operator in the record and in a note.

use mtls_authz::{
    Decision, Header, Memory, Policy, Property, Reason, Request, Response, Rule, decide, decision_record, log_line,
};
use rcgen::{CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose};
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe, acme};
use crate::proxy::{FakeProxy, NOW, headers};

fn policy(changes: Value) -> Policy {
    let mut json = json!({
        "policy_id": "v1",
        "clients": {
            "acme": {
                "identities": ["spiffe://prod.example/ns/pay/sa/acme"], "profiles": ["partner"], "principal": "arn:acme",
            },
            "globex": {"identities": ["cn:globex"], "profiles": ["partner", "other"]},
        },
        "profiles": {"partner": {"allow": [{"paths": ["/no"]}, {"paths": ["/payments/*"]}]}, "other": {}},
        "bypass": [{"path": "/no"}, {"path": "/health"}],
    });
    for (name, value) in changes.as_object().unwrap() {
        json[name] = value.clone();
    }
    Policy::from_json(json.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn ask(policy: &Policy, proxy: &FakeProxy, headers: &[Header<'_>]) -> Decision {
    decide(policy, &Memory::default(), &Request::new(headers), proxy)
}

fn refusal(policy: &Policy, proxy: &FakeProxy, headers: &[Header<'_>]) -> mtls_authz::Deny {
    ask(policy, proxy, headers).verdict.unwrap_err()
}

fn claims(leaf: Option<&Leaf>) -> Value {
    let mut claims = json!({"client_id": "acme", "aud": "api", "exp": NOW + 60});
    if let Some(leaf) = leaf {
        claims["cnf"] = json!({"x5t#S256": leaf.thumbprint()});
    }
    claims
}

#[test]
fn the_record_says_everything_that_was_found_out_and_nothing_else() {
    let leaf = acme();
    let thumbprint = leaf.thumbprint();
    let good = FakeProxy::new().presenting(&leaf).verified(&claims(Some(&leaf)));
    let alone = FakeProxy::new().verified(&claims(None));
    let (optional, mtls) =
        (json!({"mode": "bearer_plus_mtls_optional", "token": {"audiences": ["api"]}}), json!({"mode": "mtls"}));
    let id = [("x-request-id", "r-1")];
    for (name, changes, proxy, path, expected) in [
        (
            "bound",
            json!({}),
            &good,
            "/payments/1?secret",
            json!({
                "decision": "allow", "status": null, "reason": null, "note": null, "enforcement": "enforce", "policy_id": "v1",
                "client_id": "acme", "profile_id": "partner", "principal": "arn:acme", "thumbprint": thumbprint,
                "identity": "spiffe://prod.example/ns/pay/sa/acme", "token_thumbprint": thumbprint,
                "binding": "bound", "rule": "profiles.partner.allow[1]", "method": "GET", "path": "/payments/1",
                "request_id": "r-1", "candidate": null,
            }),
        ),
        (
            "bearer",
            optional,
            &alone,
            "/payments/1",
            json!({"binding": "bearer", "thumbprint": null, "client_id": "acme"}),
        ),
        ("certificate", mtls, &good, "/payments/1", json!({"binding": "certificate", "thumbprint": thumbprint})),
        (
            "bypassed",
            json!({}),
            &good,
            "/health",
            json!({
                "decision": "allow", "rule": "bypass[1]", "client_id": null, "principal": null, "binding": null,
                "thumbprint": null, "profile_id": null,
            }),
        ),
        (
            "refused",
            json!({}),
            &good,
            "/x/../secret",
            json!({
                "decision": "deny", "status": 403, "reason": "path_denied", "rule": null, "client_id": "acme",
                "path": "/secret", "enforcement": "enforce",
            }),
        ),
        (
            "shadowed",
            json!({"enforcement": "shadow"}),
            &FakeProxy::new(),
            "/payments/1",
            json!({"decision": "deny", "reason": "certificate_missing", "enforcement": "shadow", "client_id": null}),
        ),
    ] {
        let policy = policy(changes);
        let headers = headers("GET", path, &id);
        let request = Request::new(&headers);
        let decision = decide(&policy, &Memory::default(), &request, proxy);
        let record: Value =
            serde_json::from_slice(&decision_record(policy.policy_id.as_deref(), &request, &decision)).unwrap();
        assert_eq!(record.as_object().unwrap().len(), 18, "{name}");
        for (member, value) in expected.as_object().unwrap() {
            assert_eq!(&record[member], value, "{name}: {member}");
        }
    }
}

#[test]
fn a_log_line_is_the_record_and_what_to_do() {
    let decision = ask(&policy(json!({})), &FakeProxy::new(), &headers("GET", "/health", &[]));
    assert_eq!(log_line(b"{}", &decision), "{}");
    let raw = [("authorization", "Bearer a.b.c")];
    let headers = headers("GET", "/payments/1", &raw);
    let decision = ask(&policy(json!({})), &FakeProxy::new().presenting(&acme()), &headers);
    assert_eq!(log_line(b"{}", &decision), format!("{{}} Remedy: {}", Reason::TokenMissing.remedy()));
    let record: Value = serde_json::from_slice(&decision_record(None, &Request::new(&headers), &decision)).unwrap();
    assert!(record["note"].as_str().unwrap().starts_with("there is a bearer token, but jwt_authn left no payload"));
}

#[test]
fn a_caller_is_told_what_is_wrong_with_what_it_sent() {
    let extended = |purposes: &[ExtendedKeyUsagePurpose]| {
        let purposes = purposes.to_vec();
        Recipe::new().cn("acme").with(|params| params.extended_key_usages = purposes).issue()
    };
    let authority = |params: &mut CertificateParams| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    let unknown = |params: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    };
    let server = extended(&[ExtendedKeyUsagePurpose::ServerAuth]);
    for (leaf, expected) in [
        (server, "The certificate's extended key usage does not include clientAuth."),
        (Recipe::new().with(authority).issue(), "A certificate authority's certificate is not one for TLS clients."),
        (Recipe::new().with(unknown).issue(), "The certificate has an unknown critical extension."),
    ] {
        let deny = refusal(&policy(json!({})), &FakeProxy::new().presenting(&leaf), &headers("GET", "/", &[]));
        assert_eq!((deny.reason, deny.detail.as_deref()), (Reason::CertificateUnsuitable, Some(expected)));
    }
    let long = format!("/{}", "a".repeat(9_000));
    let keep = policy(json!({"path": {"encoded_slashes": "keep", "semicolons": "keep"}}));
    for (path, expected) in [
        ("a", "does not begin with a slash"),
        (&long, "longer than 8 KiB"),
        ("/a//b", "empty segment"),
        ("/a\\b", "holds a backslash"),
        ("/a%2Fb", "encoded slash"),
        ("/a;b", "semicolon"),
        ("/a%00", "control character"),
        ("/a%zz", "without two hexadecimal digits"),
        ("/%ff", "not UTF-8"),
    ] {
        let deny = refusal(&policy(json!({})), &FakeProxy::new(), &headers("GET", path, &[]));
        assert_eq!(deny.reason, Reason::PathMalformed);
        assert!(deny.detail.as_deref().unwrap().contains(expected), "{path}: {deny:?}");
    }
    let hidden = refusal(&keep, &FakeProxy::new(), &headers("GET", "/a/..;x", &[]));
    assert!(hidden.detail.unwrap().contains("hides a dot segment"));
    let leaf = acme();
    for (cnf, reason, expected) in [
        (json!("x"), Reason::SenderBindingMalformed, "must be an object"),
        (json!({"x5t#S256": "00".repeat(32)}), Reason::SenderBindingMalformed, "is hexadecimal"),
        (json!({"x5t#S256": format!("{}=", leaf.thumbprint())}), Reason::SenderBindingMalformed, "is padded"),
        (json!({"x5t#S256": "+".repeat(43)}), Reason::SenderBindingMalformed, "is plain base64"),
        (json!({"x5t": "x"}), Reason::SenderBindingMalformed, "SHA-1"),
        (json!({"x5t#S256": "x"}), Reason::SenderBindingMalformed, "is not the 43 characters"),
        (json!({"jkt": "x"}), Reason::SenderBindingMissing, "names no certificate"),
    ] {
        let mut claims = claims(None);
        claims["cnf"] = cnf.clone();
        let proxy = FakeProxy::new().presenting(&leaf).verified(&claims);
        let deny = refusal(&policy(json!({})), &proxy, &headers("GET", "/payments/1", &[]));
        assert_eq!(deny.reason, reason, "{cnf}");
        assert!(deny.detail.as_deref().unwrap().contains(expected), "{cnf}: {deny:?}");
    }
    for (claim, value, expected) in [
        ("exp", json!(null), "exp"),
        ("nbf", json!("x"), "nbf"),
        ("iss", json!(""), "iss"),
        ("aud", json!([]), "aud"),
        ("scope", json!(1), "scope"),
        ("azp", json!(1), "azp"),
    ] {
        let mut claims = claims(Some(&leaf));
        claims[claim] = value;
        let proxy = FakeProxy::new().presenting(&leaf).verified(&claims);
        let deny = refusal(&policy(json!({})), &proxy, &headers("GET", "/payments/1", &[]));
        assert_eq!(deny.reason, Reason::TokenClaimsInvalid);
        assert!(deny.detail.as_deref().unwrap().contains(expected), "{deny:?}");
    }
}

#[test]
fn an_operator_is_told_in_a_note_what_was_found_and_what_to_do() {
    let leaf = acme();
    let good = || FakeProxy::new().presenting(&leaf).verified(&claims(Some(&leaf)));
    let names = |count: usize| {
        let names = (0..count).map(|number| rcgen::SanType::URI(format!("https://{number}").try_into().unwrap()));
        let names = names.collect();
        Recipe::new().with(|params| params.subject_alt_names = names).issue()
    };
    let pem =
        |text: String| FakeProxy::new().with(Property::PeerCertificate, text).with(Property::PeerCertificateValid, [1]);
    let rdns = |count: usize| {
        let kind = |number: usize| DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99_999, u64::try_from(number).unwrap()]);
        (0..count).fold(Recipe::new(), |recipe, number| recipe.subject(kind(number), "x")).issue()
    };
    let twice = format!("{}{}", leaf.pem, leaf.pem);
    let cut: String = leaf.pem.replacen("MII", "MIJ", 1);
    let other_source = json!({"certificate": {"source": "forwarded", "forwarded": {
        "format": "base64_der", "header": "x-cert", "trusted_proxies": {"cidrs": ["10.0.0.0/8"]}}}});
    let addressed = |address: &str| FakeProxy::new().with(Property::DirectRemoteAddress, address);
    let client = |id: &'static str| [("x-client-id", id)];
    for (name, changes, proxy, more, reason, expected) in [
        (
            "two paths",
            json!({}),
            good(),
            vec![(":path", "/")],
            Reason::RequestMalformed,
            ":path occurs 2 times: \"/payments/1\", \"/\"; expected one path",
        ),
        (
            "two methods",
            json!({}),
            good(),
            vec![(":method", "GET")],
            Reason::RequestMalformed,
            ":method occurs 2 times: \"GET\", \"GET\"",
        ),
        (
            "two names",
            json!({}),
            good(),
            [client("acme"), client("acme")].concat(),
            Reason::RequestMalformed,
            "X-Client-ID occurs 2 times: \"acme\", \"acme\"; expected it once",
        ),
        (
            "two tokens",
            json!({}),
            good(),
            vec![("authorization", "Bearer a"), ("authorization", "Bearer b")],
            Reason::AuthorizationMalformed,
            "there are 2 Authorization headers",
        ),
        (
            "joined",
            json!({}),
            good(),
            vec![("authorization", "Basic a, Bearer b")],
            Reason::AuthorizationMalformed,
            "and nothing else",
        ),
        (
            "tabbed",
            json!({}),
            good(),
            vec![("authorization", "Bearer\ta")],
            Reason::AuthorizationMalformed,
            "one space",
        ),
        (
            "misspelled",
            json!({}),
            good(),
            vec![("authorization", "Bearer  a")],
            Reason::AuthorizationMalformed,
            "one space",
        ),
        (
            "another token",
            json!({}),
            good(),
            vec![("authorization", "Bearer e30.e30.x")],
            Reason::AuthorizationMalformed,
            "is not the one that jwt_authn verified",
        ),
        (
            "no attribute",
            json!({}),
            FakeProxy::new().with(Property::PeerCertificate, leaf.pem.clone()),
            vec![],
            Reason::CertificateUntrusted,
            "peer_certificate_valid is absent",
        ),
        (
            "not valid",
            json!({}),
            good().with(Property::PeerCertificateValid, [0]),
            vec![],
            Reason::CertificateUntrusted,
            "the TLS session was resumed",
        ),
        ("no base64", json!({}), pem("!".to_owned()), vec![], Reason::CertificateMalformed, "neither PEM nor base64"),
        ("two in one", json!({}), pem(twice), vec![], Reason::CertificateMalformed, "neither PEM nor base64"),
        (
            "no DER",
            json!({}),
            pem("AAAA".to_owned()),
            vec![],
            Reason::CertificateMalformed,
            "not the DER of an X.509 certificate",
        ),
        (
            "other lengths",
            json!({}),
            pem(cut),
            vec![],
            Reason::CertificateMalformed,
            "not the DER of an X.509 certificate",
        ),
        ("names", json!({}), pem(names(257).pem), vec![], Reason::CertificateMalformed, "it holds too many names"),
        (
            "relative names",
            json!({}),
            pem(rdns(65).pem),
            vec![],
            Reason::CertificateMalformed,
            "it holds too many names",
        ),
        (
            "no header",
            other_source.clone(),
            addressed("10.0.0.1"),
            vec![],
            Reason::CertificateMissing,
            "no header with a forwarded certificate",
        ),
        (
            "a stranger",
            other_source.clone(),
            addressed("192.0.2.1"),
            vec![("x-cert", "x")],
            Reason::CertificateMissing,
            "lists neither the direct peer's address",
        ),
        (
            "nothing in it",
            other_source.clone(),
            addressed("10.0.0.1"),
            vec![("x-cert", "")],
            Reason::CertificateMissing,
            "the trusted proxy forwards no certificate",
        ),
        (
            "garbage in it",
            other_source,
            addressed("10.0.0.1"),
            vec![("x-cert", "!")],
            Reason::CertificateMalformed,
            "neither PEM nor base64",
        ),
        (
            "another's profile",
            json!({}),
            good(),
            vec![("x-profile-id", "other")],
            Reason::ClientProfileMismatch,
            "X-Profile-ID is \"other\", and the profiles of the client",
        ),
    ] {
        let deny = refusal(&policy(changes), &proxy, &headers("GET", "/payments/1", &more));
        assert_eq!(deny.reason, reason, "{name}: {deny:?}");
        assert!(deny.note.as_deref().is_some_and(|note| note.contains(expected)), "{name}: {deny:?}");
    }
    let relative: Vec<usize> = [64, 65]
        .into_iter()
        .filter(|count| {
            let deny = refusal(&policy(json!({})), &pem(rdns(*count).pem), &headers("GET", "/payments/1", &[]));
            deny.reason == Reason::CertificateMalformed
        })
        .collect();
    assert_eq!(relative, [65]);
}

#[test]
fn every_reason_has_its_grpc_status_and_its_challenge() {
    for reason in Reason::ALL {
        let expected = match reason.status() {
            400 => 3,
            401 => 16,
            403 => 7,
            405 => 12,
            429 => 8,
            500 => 13,
            503 => 14,
            status => panic!("{status}"),
        };
        assert_eq!(reason.grpc_status(), expected, "{reason:?}");
        let of_token = reason.code().starts_with("token_") || reason.code().starts_with("sender_binding_");
        assert_eq!(reason.concerns_token(), of_token && *reason != Reason::TokenMissing, "{reason:?}");
        let request = headers("GET", "/", &[("authorization", "Bearer x")]);
        let response = Response::refuse(&mtls_authz::Deny::new(*reason), &Request::new(&request));
        assert_eq!((response.status, response.grpc_status), (reason.status(), expected));
    }
}

#[test]
fn the_mandatory_headers_are_both_mandatory() {
    let leaf = acme();
    let proxy = FakeProxy::new().presenting(&leaf).verified(&claims(Some(&leaf)));
    let policy = policy(json!({"require_client_headers": true}));
    let (client, profile) = (("x-client-id", "acme"), ("x-profile-id", "partner"));
    for (more, expected) in [
        (vec![client, profile], Ok(Rule::Profile(1))),
        (vec![client], Err(Reason::ClientHeaderMissing)),
        (vec![profile], Err(Reason::ClientHeaderMissing)),
        (vec![], Err(Reason::ClientHeaderMissing)),
        (vec![("x-client-id", "globex"), profile], Err(Reason::ClientMismatch)),
    ] {
        let decision = ask(&policy, &proxy, &headers("GET", "/payments/1", &more));
        assert_eq!(decision.verdict.map(|allow| allow.rule).map_err(|deny| deny.reason), expected, "{more:?}");
    }
}

#[test]
fn an_empty_list_of_client_claims_turns_that_check_off_and_no_other() {
    let leaf = acme();
    let policy = policy(json!({"token": {"client_id_claims": []}}));
    for (claims, expected) in [
        (json!({"exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}}), Ok(Rule::Profile(1))),
        (json!({"exp": NOW + 60, "client_id": 1, "cnf": {"x5t#S256": leaf.thumbprint()}}), Ok(Rule::Profile(1))),
        (json!({"exp": NOW + 60, "client_id": "globex", "cnf": {"x5t#S256": leaf.thumbprint()}}), Ok(Rule::Profile(1))),
        (json!({"exp": NOW + 60}), Err(Reason::SenderBindingMissing)),
    ] {
        let proxy = FakeProxy::new().presenting(&leaf).verified(&claims);
        let decision = ask(&policy, &proxy, &headers("GET", "/payments/1", &[]));
        assert_eq!(decision.verdict.map(|allow| allow.rule).map_err(|deny| deny.reason), expected, "{claims}");
    }
}
