//! What rules cover: methods, hosts, upgrades; and the token that goes on beside an allow.

use mtls_authz::{Enforcement, Reason, Remedy, Request, Rule};
use serde_json::json;

use super::{asked, compiled, partner, verdict, with};
use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, headers, sent};

const ALLOWED: Result<Rule, Reason> = Ok(Rule::Profile(0));
const BYPASSED: Result<Rule, Reason> = Ok(Rule::Bypass(0));

fn acme() -> Leaf {
    Recipe::new().cn("acme").issue()
}

#[test]
fn get_covers_head_and_no_spelling_of_a_method_passes_a_rule() {
    let policy = compiled(&with(
        partner(json!({
            "allow": [{"paths": ["/a/**"], "methods": ["GET", "DELETE", "PURGE"]}],
            "deny": [{"paths": ["/a/hidden"], "methods": ["GET"]}, {"paths": ["/a/kept"], "methods": ["DELETE", "PURGE"]}],
        })),
        json!({"methods": {"additional": ["PURGE"]}, "bypass": [{"path": "/health", "methods": ["GET"]}]}),
    ));
    let proxy = FakeProxy::new().presenting(&acme());
    for (method, path, expected) in [
        ("GET", "/a/1", ALLOWED),
        ("HEAD", "/a/1", ALLOWED),
        ("POST", "/a/1", Err(Reason::MethodNotAllowed)),
        ("GET", "/a/hidden", Err(Reason::PathDenied)),
        ("HEAD", "/a/hidden", Err(Reason::PathDenied)),
        ("DELETE", "/a/hidden", ALLOWED),
        ("DELETE", "/a/kept", Err(Reason::PathDenied)),
        ("delete", "/a/kept", Err(Reason::RequestMalformed)),
        ("PURGE", "/a/kept", Err(Reason::PathDenied)),
        ("Purge", "/a/kept", Err(Reason::RequestMalformed)),
        ("Purge", "/a/1", Err(Reason::RequestMalformed)),
        ("HEAD", "/health", BYPASSED),
        ("head", "/health", Err(Reason::RequestMalformed)),
        ("POST", "/health", Err(Reason::PathDenied)),
    ] {
        let decision = asked(&policy, &proxy, &[(":method", method), (":path", path)]);
        assert_eq!(verdict(&decision), expected, "{method} {path}");
    }
}

#[test]
fn allow_names_what_would_really_be_allowed() {
    let policy = compiled(&partner(json!({
        "allow": [
            {"paths": ["/a", "/"], "methods": ["GET", "PUT", "DELETE", "CONNECT"], "hosts": ["api.example"]},
            {"paths": ["/a"], "methods": ["PATCH"], "hosts": ["other.example"]},
            {"paths": ["/a"], "methods": ["OPTIONS"], "upgrades": ["websocket"]},
            {"paths": ["/b"], "methods": ["DELETE"]},
        ],
        "deny": [{"paths": ["/a", "/b"], "methods": ["DELETE"]}],
    })));
    let proxy = FakeProxy::new().presenting(&acme());
    let deny = |path| {
        asked(&policy, &proxy, &[(":method", "POST"), (":path", path), (":authority", "api.example")])
            .verdict
            .unwrap_err()
    };
    let listed = ["GET", "HEAD", "PUT"].map(str::to_owned).to_vec();
    assert_eq!((deny("/a").reason, deny("/a").remedy), (Reason::MethodNotAllowed, Remedy::Methods(listed)));
    assert_eq!(deny("/b").reason, Reason::PathDenied, "there is no method to name");
}

#[test]
fn a_rule_with_hosts_is_about_these_hosts_alone() {
    let policy = compiled(&with(
        partner(json!({"allow": [
            {"paths": ["/a"], "hosts": ["api.example", "*.tenant.example"]},
            {"paths": ["/**"], "methods": ["CONNECT"], "hosts": ["db.example:5432"]},
        ]})),
        json!({"bypass": [{"path": "/health", "hosts": ["api.example"]}]}),
    ));
    let proxy = FakeProxy::new().presenting(&acme());
    for (method, authority, path, expected) in [
        ("GET", "api.example", "/a", ALLOWED),
        ("GET", "API.example:8443", "/a", ALLOWED),
        ("GET", "one.tenant.example", "/a", ALLOWED),
        ("GET", "a.b.tenant.example", "/a", Err(Reason::PathDenied)),
        ("GET", "tenant.example", "/a", Err(Reason::PathDenied)),
        ("GET", "api.example.", "/a", Err(Reason::PathDenied)),
        ("GET", "api.example@other.example", "/a", Err(Reason::PathDenied)),
        ("GET", "other.example", "/a", Err(Reason::PathDenied)),
        ("GET", "", "/a", Err(Reason::PathDenied)),
        ("GET", "api.example", "/health", BYPASSED),
        ("GET", "other.example", "/health", Err(Reason::PathDenied)),
        ("CONNECT", "db.example:5432", "", Ok(Rule::Profile(1))),
        ("CONNECT", "db.example:22", "", Err(Reason::PathDenied)),
        ("CONNECT", "api.example:443", "", Err(Reason::PathDenied)),
    ] {
        let mut headers = vec![(":method", method), (":authority", authority)];
        headers.extend(Some((":path", path)).filter(|_| !path.is_empty()));
        assert_eq!(verdict(&asked(&policy, &proxy, &headers)), expected, "{method} {authority} {path}");
    }
    let twice = [(":method", "GET"), (":path", "/a"), (":authority", "api.example"), (":authority", "api.example")];
    assert_eq!(verdict(&asked(&policy, &proxy, &twice)), Err(Reason::PathDenied));
    assert_eq!(verdict(&asked(&policy, &proxy, &twice[..2])), Err(Reason::PathDenied), "no host");
}

#[test]
fn a_rule_with_upgrades_allows_no_plain_request_unless_it_says_so() {
    let rule = |plain: bool| json!({"paths": ["/ws"], "methods": ["GET"], "upgrades": ["websocket"], "plain": plain});
    let upgrade = [(":method", "GET"), (":path", "/ws"), ("connection", "upgrade"), ("upgrade", "websocket")];
    let proxy = FakeProxy::new().presenting(&acme());
    for (plain, expected) in [(false, Err(Reason::PathDenied)), (true, ALLOWED)] {
        let policy = compiled(&partner(json!({"allow": [rule(plain)]})));
        assert_eq!(verdict(&asked(&policy, &proxy, &upgrade[..2])), expected, "{plain}");
        assert_eq!(verdict(&asked(&policy, &proxy, &upgrade)), ALLOWED, "{plain}");
    }
}

#[test]
fn a_bypass_that_says_so_lets_denied_paths_through() {
    let policy = compiled(&with(
        partner(json!({"allow": [{"paths": ["/**"]}], "deny": ["/pub/secret/**"]})),
        json!({"bypass": [{"path": "/pub/**", "even_denied": true}]}),
    ));
    let decision = asked(&policy, &FakeProxy::new(), &[(":method", "GET"), (":path", "/pub/secret/1")]);
    assert_eq!(verdict(&decision), BYPASSED);
}

#[test]
fn any_network_is_of_both_families() {
    let policy = compiled(&partner(json!({"allow": [{"paths": ["/a"]}], "source_cidrs": ["any"]})));
    let local = compiled(&partner(json!({"allow": [{"paths": ["/a"]}], "source_cidrs": ["fe80::/10"]})));
    for (address, in_any, in_local) in [
        ("192.0.2.1:443", ALLOWED, Err(Reason::SourceIpDenied)),
        ("[2001:db8::1]:443", ALLOWED, Err(Reason::SourceIpDenied)),
        ("[fe80::1%eth0]:443", ALLOWED, ALLOWED),
        ("", Err(Reason::SourceIpDenied), Err(Reason::SourceIpDenied)),
    ] {
        let proxy = FakeProxy::new().presenting(&acme()).with(mtls_authz::Property::DirectRemoteAddress, address);
        for (policy, expected) in [(&policy, in_any), (&local, in_local)] {
            assert_eq!(verdict(&asked(policy, &proxy, &[(":method", "GET"), (":path", "/a")])), expected, "{address}");
        }
    }
}

/// The `Authorization` of a request that goes on.
fn goes_on(json: &serde_json::Value, path: &str, value: &str) -> Option<String> {
    let policy = compiled(json);
    let more = [("authorization", value)];
    let headers = headers("GET", path, &more);
    let request = Request::new(&headers);
    let proxy = FakeProxy::new().presenting(&acme());
    let decision = mtls_authz::decide(&policy, &mtls_authz::Memory::default(), &request, &proxy);
    assert!(decision.refusal().is_none(), "{decision:?}");
    let sent = sent(&policy, &request, &decision);
    let authorization = sent.into_iter().find(|(name, _)| *name == b"authorization");
    authorization.map(|(_, value)| String::from_utf8(value.into_owned()).unwrap())
}

#[test]
fn a_token_that_was_not_verified_does_not_go_on_beside_an_allow() {
    let plain = with(partner(json!({"allow": [{"paths": ["/a"]}]})), json!({"bypass": [{"path": "/open"}]}));
    for value in ["Bearer abc.def.ghi", "bearer abc", "DPoP abc", "dpop abc", "Basic dXNlcg==, Bearer abc", "Bearer"] {
        for path in ["/a", "/open"] {
            assert_eq!(goes_on(&plain, path, value), None, "{path} {value}");
            let keep = with(plain.clone(), json!({"unverified_authorization": "keep"}));
            assert_eq!(goes_on(&keep, path, value).as_deref(), Some(value), "{path} {value}");
        }
        // What is only tried changes nothing.
        let shadow = with(plain.clone(), json!({"enforcement": "shadow"}));
        assert_eq!(goes_on(&shadow, "/a", value).as_deref(), Some(value), "{value}");
    }
    for value in ["Basic dXNlcjpwYXNz", "Negotiate YII", "Bearerabc"] {
        for path in ["/a", "/open"] {
            assert_eq!(goes_on(&plain, path, value).as_deref(), Some(value), "{path} {value}");
        }
    }
    let of_profile = partner(json!({"allow": [{"paths": ["/a"]}], "unverified_authorization": "keep"}));
    // Of entries that both cover a path, the first counts.
    let of_entry = json!({"bypass": [
        {"path": "/open"},
        {"path": "/legacy", "unverified_authorization": "keep"},
        {"path": "/later", "methods": ["GET"]},
        {"path": "/later", "unverified_authorization": "keep"},
    ]});
    let mixed = with(of_profile, of_entry);
    for (path, expected) in
        [("/a", Some("Bearer abc")), ("/open", None), ("/legacy", Some("Bearer abc")), ("/later", None)]
    {
        assert_eq!(goes_on(&mixed, path, "Bearer abc").as_deref(), expected, "{path}");
    }
}

#[test]
fn a_token_in_the_query_is_refused_where_tokens_are_verified_and_stays_elsewhere() {
    let json = |mode: &str| {
        let profiles = json!({"partner": {"allow": [{"paths": ["/a"]}]}, "other": {"mode": mode}});
        let more = json!({"profiles": profiles, "bypass": [{"path": "/open"}]});
        compiled(&with(partner(json!({})), more))
    };
    let proxy = FakeProxy::new().presenting(&acme());
    for (mode, path, expected) in [
        ("mtls", "/a?access_token=x", ALLOWED),
        ("mtls", "/open?access_token=x", BYPASSED),
        ("bearer_plus_mtls_required", "/a?access_token=x", Err(Reason::AuthorizationMalformed)),
        ("bearer_plus_mtls_required", "/open?access_token=x", BYPASSED),
    ] {
        let decision = asked(&json(mode), &proxy, &[(":method", "GET"), (":path", path)]);
        assert_eq!(verdict(&decision), expected, "{mode} {path}");
    }
}

#[test]
fn where_hosts_decide_no_header_tells_the_upstream_of_another_one() {
    let named = ["forwarded", "x-forwarded-host", "x-host", "x-original-host", "x-http-host-override", "X_Real_Host"];
    let rule = |rule: serde_json::Value| partner(json!({"allow": [rule]}));
    let with_hosts = rule(json!({"paths": ["/payments/1"], "hosts": ["api.example"]}));
    for (json, stays) in [
        (rule(json!({"paths": ["/payments/1"]})), true),
        (with_hosts.clone(), false),
        (with(with_hosts, json!({"override_headers": "keep"})), true),
    ] {
        let policy = compiled(&json);
        for name in named {
            let more = [(name, "host=other.example")];
            let headers = headers("GET", "/payments/1", &more);
            let request = Request::new(&headers);
            let proxy = FakeProxy::new().presenting(&acme());
            let decision = mtls_authz::decide(&policy, &mtls_authz::Memory::default(), &request, &proxy);
            assert_eq!(verdict(&decision), ALLOWED);
            let sent = sent(&policy, &request, &decision);
            assert_eq!(sent.iter().any(|(sent, _)| *sent == name.as_bytes()), stays, "{name} {json}");
        }
    }
}

#[test]
fn a_profile_may_be_tried_while_the_others_enforce() {
    let policy = compiled(&partner(json!({"enforcement": "shadow"})));
    let decision = asked(&policy, &FakeProxy::new().presenting(&acme()), &[(":method", "GET"), (":path", "/a")]);
    assert_eq!((verdict(&decision), decision.enforcement), (Err(Reason::PathDenied), Enforcement::Shadow));
    // Before the profile is known the top level counts.
    let unknown = asked(&policy, &FakeProxy::new(), &[(":method", "GET"), (":path", "/a")]);
    assert_eq!((verdict(&unknown), unknown.enforcement), (Err(Reason::CertificateMissing), Enforcement::Enforce));
}
