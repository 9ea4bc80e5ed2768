//! A candidate: what it says of a request, what it costs, and that it changes nothing.

use mtls_authz::{
    CandidateOutcome, Decision, Memory, Policy, Property, Reason, Request, decide, decide_beside, decision_record,
};
use serde_json::{Value, json};

use crate::certificates::{Leaf, acme};
use crate::host::Host;
use crate::issuer::Issuer;
use crate::proxy::{FakeProxy, NOW, headers, sent};

const ID: &str = "spiffe://prod.example/ns/pay/sa/acme";

fn json() -> Value {
    json!({
        "policy_id": "v1",
        "mode": "mtls",
        "clients": {"acme": {"identities": [ID], "profiles": ["partner"], "principal": "arn:acme"}},
        "profiles": {"partner": {"allow": [{"paths": ["/payments/**"]}]}},
        "bypass": [{"path": "/health"}],
    })
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut json = json();
    change(&mut json);
    json
}

fn read(json: &Value) -> Policy {
    Policy::from_json(json.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// The policy with this candidate, and the candidate.
fn beside(candidate: Value) -> (Policy, Policy) {
    let mut policy = read(&changed(|json| json["candidate"] = candidate));
    let candidate = policy.candidate.take().unwrap().unwrap_or_else(|problem| panic!("{problem}"));
    (policy, *candidate)
}

fn problem(candidate: Value) -> String {
    let policy = read(&changed(|json| json["candidate"] = candidate));
    policy.candidate.unwrap().unwrap_err().to_string()
}

fn ask(policies: &(Policy, Policy), proxy: &FakeProxy, path: &str, more: &[(&str, &str)]) -> Decision {
    let headers = headers("GET", path, more);
    let (memory, other) = (Memory::new(&policies.0.token.source), Memory::new(&policies.1.token.source));
    decide_beside((&policies.0, &memory), (&policies.1, &other), &Request::new(&headers), proxy, |_| false)
}

#[test]
fn a_message_about_a_candidates_setting_names_the_candidate() {
    let (policy, candidate) = beside(json());
    assert_eq!((policy.place(), candidate.place()), ("", "candidate."));
}

#[test]
fn a_candidate_says_what_it_would_have_done_where_that_differs() {
    use CandidateOutcome::{OtherReason, Same, WouldAllow, WouldDeny};
    let rules = |paths: Value| changed(|json| json["profiles"]["partner"]["allow"] = json!([{"paths": paths}]));
    let shadowed = |json: Value| {
        let mut json = json;
        json["enforcement"] = json!("shadow");
        json
    };
    let other_client = changed(|json| {
        json["clients"] = json!({"acme-2": {"identities": [ID], "profiles": ["partner"]}});
    });
    let other_principal = changed(|json| json["clients"]["acme"]["principal"] = json!("arn:other"));
    let other_profile = changed(|json| {
        json["clients"]["acme"]["profiles"] = json!(["partner-2"]);
        json["profiles"] = json!({"partner-2": {"allow": [{"paths": ["/payments/**"]}]}});
    });
    // The leaf has a Common Name, too.
    let other_identity = changed(|json| {
        json["identity"] = json!({"precedence": ["subject_cn", "uri_san"]});
        json["clients"]["acme"]["identities"] = json!([ID, "cn:acme"]);
    });
    let unknown = changed(|json| json["clients"] = json!({}));
    for (name, candidate, path, outcome, reason) in [
        ("the same", json(), "/payments/1", Same, None),
        ("the same refusal", json(), "/secret", Same, Some(Reason::PathDenied)),
        ("a rule less", rules(json!(["/x"])), "/payments/1", WouldDeny, Some(Reason::PathDenied)),
        ("a rule more", rules(json!(["/**"])), "/secret", WouldAllow, None),
        ("another refusal", unknown.clone(), "/secret", OtherReason, Some(Reason::IdentityNotMapped)),
        ("a client less", unknown, "/payments/1", WouldDeny, Some(Reason::IdentityNotMapped)),
        ("what it would not carry out", shadowed(rules(json!(["/x"]))), "/payments/1", OtherReason, None),
        ("another client", other_client, "/payments/1", OtherReason, None),
        ("another profile", other_profile, "/payments/1", OtherReason, None),
        ("another identity", other_identity, "/payments/1", OtherReason, None),
        ("another principal", other_principal, "/payments/1", OtherReason, None),
        ("the rule has another place", rules(json!(["/x", "/payments/**"])), "/payments/1", Same, None),
        ("nothing is asked of it", rules(json!(["/x"])), "/health", Same, None),
        ("a bypass less", changed(|json| json["bypass"] = json!([])), "/health", WouldDeny, Some(Reason::PathDenied)),
    ] {
        let policies = beside(candidate);
        let proxy = FakeProxy::new().presenting(&acme());
        let decision = ask(&policies, &proxy, path, &[]);
        let verdict = decision.candidate.clone().unwrap();
        assert_eq!((verdict.outcome, verdict.reason), (outcome, reason), "{name}");
        // Everything else is as it is without a candidate.
        let headers = headers("GET", path, &[]);
        let request = Request::new(&headers);
        let alone = decide(&policies.0, &Memory::default(), &request, &FakeProxy::new().presenting(&acme()));
        assert_eq!(decision.verdict, alone.verdict, "{name}");
        let upstream = |decision: &Decision| {
            let headers = sent(&policies.0, &request, decision);
            headers.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(upstream(&decision), upstream(&alone), "{name}");
    }
}

#[test]
fn the_record_says_what_the_candidate_would_have_done_and_nothing_where_that_is_the_same() {
    let candidate = changed(|json| {
        json["policy_id"] = json!("v2");
        json["profiles"]["partner"]["allow"] = json!([{"paths": ["/x"]}]);
    });
    let policies = beside(candidate);
    let proxy = FakeProxy::new().presenting(&acme());
    let record = |path: &str| {
        let decision = ask(&policies, &proxy, path, &[]);
        let headers = headers("GET", path, &[]);
        let record = decision_record(policies.0.policy_id.as_deref(), &Request::new(&headers), &decision);
        serde_json::from_slice::<Value>(&record).unwrap()
    };
    let differs = record("/payments/1");
    assert_eq!((&differs["decision"], &differs["policy_id"]), (&json!("allow"), &json!("v1")));
    let expected = json!({
        "outcome": "would_deny", "status": 403, "reason": "path_denied",
        "policy_id": "v2", "client_id": "acme", "profile_id": "partner",
    });
    assert_eq!(differs["candidate"], expected);
    assert_eq!(record("/secret")["candidate"], Value::Null);
}

#[test]
fn a_candidate_asks_the_host_nothing_that_the_policy_has_asked() {
    let issuer = Issuer::of(mtls_authz::Algorithm::Es256);
    let verified = changed(|json| {
        json["mode"] = json!("bearer_plus_mtls_required");
        json["token"] = json!({"source": "jwks", "jwks": {"keys": [issuer.named_jwk("a")]}});
    });
    let policy = {
        let mut policy = verified.clone();
        policy["candidate"] = verified;
        let mut policy = read(&policy);
        let candidate = policy.candidate.take().unwrap().unwrap();
        (policy, *candidate)
    };
    let leaf = acme();
    let host = |leaf: &Leaf| Host::new(FakeProxy::new().presenting(leaf));
    let token = issuer.token_of(&json!({"client_id": "acme", "exp": NOW + 60, "cnf": {"x5t#S256": leaf.thumbprint()}}));
    let authorization = format!("Bearer {token}");
    let more = [("authorization", authorization.as_str())];
    let headers = headers("GET", "/payments/1", &more);
    let request = Request::new(&headers);
    let (alone, both) = (host(&leaf), host(&leaf));
    let memories = [(); 3].map(|()| Memory::new(&policy.0.token.source));
    for _known in 0..2 {
        let decision = decide(&policy.0, &memories[0], &request, &alone);
        let beside = decide_beside((&policy.0, &memories[1]), (&policy.1, &memories[2]), &request, &both, |_| false);
        assert_eq!(decision.verdict, beside.verdict);
        assert_eq!(beside.candidate.unwrap().outcome, CandidateOutcome::Same);
        assert_eq!(*alone.fake.asked.borrow(), *both.fake.asked.borrow());
        assert_eq!(alone.signatures.get(), both.signatures.get());
    }
    assert_eq!(alone.signatures.get(), 1);
}

#[test]
fn a_candidate_counts_for_its_rate_limit_by_itself() {
    let limited = |requests: u64| {
        changed(|json| {
            json["policy_name"] = json!("edge");
            json["profiles"]["partner"]["rate_limit"] = json!({"requests": requests, "per_seconds": 3600});
        })
    };
    let mut json = limited(3);
    json["candidate"] = limited(1);
    let mut policy = read(&json);
    let candidate = policy.candidate.take().unwrap().unwrap();
    let (policies, proxy) = ((policy, *candidate), FakeProxy::new().presenting(&acme()));
    let outcomes: Vec<_> = (0..4)
        .map(|_| {
            let decision = ask(&policies, &proxy, "/payments/1", &[]);
            (decision.refusal().map(|deny| deny.reason), decision.candidate.unwrap().outcome)
        })
        .collect();
    let limited = Some(Reason::RateLimited);
    use CandidateOutcome::{Same, WouldDeny};
    assert_eq!(outcomes, [(None, Same), (None, WouldDeny), (None, WouldDeny), (limited, Same)]);
}

#[test]
fn the_rate_of_a_candidate_is_measured_by_the_time_that_passes() {
    let limited = changed(|json| {
        json["profiles"]["partner"]["rate_limit"] = json!({"requests": 1, "per_seconds": 60, "burst": 1});
    });
    let (policies, proxy) = (beside(limited), FakeProxy::new().presenting(&acme()));
    let outcome = || ask(&policies, &proxy, "/payments/1", &[]).candidate.unwrap().outcome;
    use CandidateOutcome::{Same, WouldDeny};
    assert_eq!([outcome(), outcome()], [Same, WouldDeny]);
    proxy.passed.set(60_000_000_000);
    assert_eq!([outcome(), outcome()], [Same, WouldDeny]);
}

#[test]
fn what_a_candidate_alone_finds_out_about_a_connection_is_noted_on_it() {
    let nearby = changed(|json| json["profiles"]["partner"]["source_cidrs"] = json!(["10.0.0.0/8"]));
    let policies = beside(nearby);
    let proxy = FakeProxy::new().presenting(&acme()).with(Property::DirectRemoteAddress, "10.1.2.3:4");
    for _ in 0..2 {
        let decision = ask(&policies, &proxy, "/payments/1", &[]);
        assert_eq!(decision.candidate.unwrap().outcome, CandidateOutcome::Same);
    }
    let asked = proxy.asked.borrow().iter().filter(|asked| **asked == Property::DirectRemoteAddress).count();
    assert_eq!(asked, 1);
}

#[test]
fn a_candidate_that_cannot_be_read_is_reported_with_its_place_and_harms_nothing() {
    for (candidate, expected) in [
        (changed(|json| json["profile"] = json!({})), "candidate.profile: found the unknown key `profile`"),
        (
            changed(|json| json["clients"]["acme"]["profiles"] = json!(["partners"])),
            "candidate.clients.acme.profiles[0]: found \"partners\"",
        ),
        (json!([]), "candidate: "),
        (json!(null), "candidate: "),
        (changed(|json| json["candidate"] = json!({})), "candidate.candidate: found a candidate of a candidate"),
    ] {
        let problem = problem(candidate);
        assert!(problem.starts_with(expected), "{problem}");
    }
    let mut deep = String::from(r#"{"candidate":"#).repeat(100_000);
    deep.push_str("{}");
    deep.push_str(&"}".repeat(100_000));
    // Whichever of the two it is, nothing is read to the end.
    if let Ok(policy) = Policy::from_json(deep) {
        assert!(policy.candidate.unwrap().is_err());
    }
    let twice = Policy::from_json(r#"{"candidate": {}, "candidate": {}}"#).unwrap_err();
    assert!(twice.to_string().contains("found the key \"candidate\" again"), "{twice}");
}

#[test]
fn a_note_that_both_policies_would_leave_is_left_once() {
    let policies = beside(json());
    let proxy = FakeProxy::new().presenting(&acme());
    for _ in 0..2 {
        ask(&policies, &proxy, "/payments/1", &[]);
        assert_eq!(proxy.noted.get(), 1);
    }
    let stricter = beside(changed(|json| json["certificate"] = json!({"validation": "listener"})));
    let untrusted = FakeProxy::new().presenting(&acme()).with(Property::PeerCertificateValid, [0]);
    let decision = ask(&stricter, &untrusted, "/payments/1", &[]);
    assert_eq!(decision.refusal().map(|deny| deny.reason), Some(Reason::CertificateUntrusted));
    assert_eq!(decision.candidate.unwrap().outcome, CandidateOutcome::WouldAllow);
}
