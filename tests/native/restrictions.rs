//! What restricts by path holds for every spelling of that path.

mod spellings;

use mtls_authz::{Memory, Policy, Reason, Request, Rule, decide};
use serde_json::{Value, json};

use crate::certificates::Recipe;
use crate::proxy::{FakeProxy, NOW, headers};

type Verdict = Result<Rule, Reason>;

const ALLOWED: Verdict = Ok(Rule::Profile(0));
const DENIED: Verdict = Err(Reason::PathDenied);

/// Everything is allowed but these patterns.
fn denying(patterns: &[&str], path: &Value) -> Policy {
    compiled(&json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}], "deny": patterns}},
        "path": path,
    }))
}

fn compiled(json: &Value) -> Policy {
    Policy::from_json(json.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn ask(policy: &Policy, proxy: &FakeProxy, path: &str) -> Verdict {
    let headers = headers("GET", path, &[]);
    let decision = decide(policy, &Memory::default(), &Request::new(&headers), proxy);
    decision.verdict.map(|allow| allow.rule).map_err(|deny| deny.reason)
}

fn acme() -> FakeProxy {
    FakeProxy::new().presenting(&Recipe::new().cn("acme").issue())
}

/// (settings of `path`, the denied pattern, paths that it restricts, paths that it does not)
type Row = (Value, &'static str, &'static [&'static str], &'static [&'static str]);

fn check(rows: &[Row]) {
    let acme = acme();
    for (settings, pattern, denied, allowed) in rows {
        let policy = denying(&[pattern], settings);
        for (paths, expected) in [(denied, DENIED), (allowed, ALLOWED)] {
            for path in *paths {
                assert_eq!(ask(&policy, &acme, path), expected, "{settings} deny {pattern}: {path}");
            }
        }
    }
}

#[test]
fn a_restriction_holds_however_a_character_is_escaped() {
    check(&[
        (
            json!({}),
            "/v1/orders:purge",
            &[
                "/v1/orders:purge",
                "/v1/orders%3Apurge",
                "/v1/orders%3apurge",
                "/v1/%6Frders%3Apurg%65/",
                "/v1/./orders%3apurge",
            ],
            &["/v1/orders", "/v1/orders%253Apurge", "/v1/orders/purge"],
        ),
        (json!({}), "/v1/orders%3Apurge", &["/v1/orders:purge", "/v1/orders%3apurge"], &["/v1/orderspurge"]),
        (json!({}), "/v1/a%2Ab", &["/v1/a*b", "/v1/a%2ab", "/v1/a%2Ab/"], &["/v1/axb", "/v1/a%252Ab"]),
        (json!({}), "/v1/*", &["/v1/a", "/v1/%2A", "/v1/*"], &["/v1", "/v1/a/b"]),
        (json!({}), "/%2A", &["/*", "/%2a", "/%2A/"], &["/a", "/"]),
        (json!({}), "/a%20b", &["/a%20b", "/%61%20b/"], &["/a+b", "/ab"]),
        (json!({}), "/caf%C3%A9", &["/café", "/caf%c3%a9"], &["/cafe"]),
        (json!({}), "/a%25b", &["/a%25b", "/%61%25b"], &["/a%2525b"]),
        (json!({}), "/a%3Fb", &["/a%3fb"], &["/a?b"]),
        (json!({}), "/x/**/a%40b", &["/x/y/a@b", "/x/a%40b", "/x/y/z/a%40b/"], &["/x/y/ab"]),
    ]);
}

#[test]
fn a_restriction_holds_where_an_upstream_takes_a_kept_character_for_a_separator() {
    let slashes = json!({"encoded_slashes": "keep"});
    let semicolons = json!({"semicolons": "keep"});
    let both = json!({"encoded_slashes": "keep", "semicolons": "keep"});
    check(&[
        (
            slashes.clone(),
            "/secret/**",
            &[
                "/secret%2Fx",
                "/secret%2fx/y",
                "/secret%5Cx",
                "/secret%2F",
                "/%2Fsecret",
                "/%2f/%2fsecret%2f%2fx",
                "/%5csecret/x",
            ],
            &["/secrets%2Fx", "/x%2Fsecret", "/secret%252Fx"],
        ),
        (
            slashes.clone(),
            "/secret/x",
            &["/secret%2Fx", "/secret/%2Fx", "/secret/x%2F", "/secret%2F/%2Fx"],
            &["/secret%2Fxy"],
        ),
        (
            slashes.clone(),
            "/files/a%2Fb",
            &["/files/a%2Fb", "/files/a%2fb/", "/files/a/b", "/files%2fa%2fb", "/files/a%5Cb"],
            &["/files/a%255Cb", "/files/ab"],
        ),
        (slashes.clone(), "/files/*", &["/files/a%2Fb", "/files%2Fa"], &["/files/a/b", "/files%2Fa%2Fb"]),
        (slashes, "/a%5Cb/c%3Ad", &["/a%5cb/c:d", "/a%5Cb%2Fc%3Ad", "/a/b/c:d"], &["/a%2Fb/c"]),
        (
            semicolons.clone(),
            "/admin",
            &["/admin;x=1", "/admin;", "/admin%3Bx", "/admin%3bx=1;y/", "/;x/admin", "/admin/;x", "/;a/;b/admin;c/;d/"],
            &["/adminx;x", "/x;/admin", "/admin;x/y", "/x;admin"],
        ),
        (semicolons.clone(), "/a/*/c", &["/a/;x/c", "/a/b;x/c;y", "/a;z/b/c"], &["/a;/c", "/a/b;/c/d"]),
        (
            semicolons.clone(),
            "/a;x=1",
            &["/a;x=1", "/a;x%3D1/", "/a%3Bx=1", "/a%3Bx=1;y"],
            &["/a", "/a;x=2", "/a;y;x=1"],
        ),
        (semicolons, "/a%3Bb", &["/a;b", "/a%3bb", "/a%3Bb;c"], &["/a", "/a;c"]),
        (
            both,
            "/secret/x",
            &["/secret;a%2Fx", "/secret;a/x", "/secret%2Fx;a", "/%2F;/secret%3B%2F/x"],
            &["/secret;a", "/x;a%2Fsecret"],
        ),
    ]);
}

#[test]
fn a_restriction_ignores_letter_case_only_where_the_policy_says_so() {
    let ignore = json!({"restrictions": "ignore_case"});
    let exact = json!({"restrictions": "exact"});
    check(&[
        (ignore.clone(), "/Secret/**", &["/secret", "/SECRET/x", "/%53ecret", "/ſecret/x"], &["/secrets"]),
        (
            ignore.clone(),
            "/caf%C3%89/stra%C3%9Fe",
            &["/café/straße", "/CAFÉ/STRAẞE", "/caf%C3%89/Stra%C3%9fe"],
            &["/cafe/strasse"],
        ),
        (
            ignore.clone(),
            "/kiss%3A%CF%83%CE%B1%CF%82",
            &["/\u{212a}ISS:ΣΑΣ", "/kıss:σασ", "/K\u{130}SS:σας"],
            &["/kss:σας"],
        ),
        (
            json!({"restrictions": "ignore_case", "semicolons": "keep"}),
            "/admin",
            &["/ADMIN;x", "/;X/aDmIn"],
            &["/ADMINS;x"],
        ),
        (exact, "/secret/**", &["/secret/x"], &["/SECRET/x", "/Secret"]),
    ]);
    // What grants stays exact.
    let mut granting = json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/a:b/*"]}]}},
        "bypass": [{"path": "/health:now"}],
    });
    granting["path"] = ignore;
    let policy = compiled(&granting);
    for (path, expected) in [
        ("/a:b/c", ALLOWED),
        ("/A:b/c", DENIED),
        ("/a%3Ab/c", DENIED),
        ("/health:now", Ok(Rule::Bypass(0))),
        ("/Health:now", DENIED),
        ("/health%3Anow", DENIED),
        ("/health:now/", DENIED),
    ] {
        assert_eq!(ask(&policy, &acme(), path), expected, "{path}");
    }
}

#[test]
fn no_spelling_of_a_required_path_takes_a_token_without_its_certificate() {
    for (settings, pattern, paths) in [
        (json!({}), "/v1/orders:execute", &["/v1/orders:execute", "/v1/orders%3Aexecute", "/v1/orders%3aexecute/"][..]),
        (json!({}), "/v1/orders%3Aexecute", &["/v1/orders:execute", "/v1/orders%3Aexecute"]),
        (json!({"encoded_slashes": "keep"}), "/pay/**", &["/pay%2Fx", "/%2fpay/x"]),
        (json!({"semicolons": "keep"}), "/pay", &["/pay;x", "/;x/pay%3By"]),
        (json!({"restrictions": "ignore_case"}), "/pay", &["/PAY", "/p%41y/"]),
    ] {
        let policy = compiled(&json!({
            "mode": "bearer_plus_mtls_optional",
            "token": {"audiences": ["api"]},
            "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
            "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
            "binding": {"required_paths": [pattern]},
            "path": settings,
        }));
        let token = json!({"client_id": "acme", "aud": "api", "exp": NOW + 60});
        assert_eq!(ask(&policy, &FakeProxy::new().verified(&token), "/open"), ALLOWED);
        for path in paths {
            assert_eq!(
                ask(&policy, &FakeProxy::new().verified(&token), path),
                Err(Reason::CertificateMissing),
                "{path}"
            );
            assert_eq!(ask(&policy, &acme().verified(&token), path), Err(Reason::SenderBindingMissing), "{path}");
        }
    }
}

#[test]
fn a_collection_that_is_denied_restricts_in_every_spelling() {
    let policy = compiled(&json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "collections": {"purges": ["/v1/orders:purge"]},
        "profiles": {"partner": {
            "allow": [{"paths": ["/v1/*"]}],
            "deny": [{"collection": "purges"}, {"paths": ["/v1/a%2Ab"], "methods": ["GET"]}],
        }},
    }));
    for (path, expected) in
        [("/v1/orders%3Apurge", DENIED), ("/v1/orders:purge", DENIED), ("/v1/a*b", DENIED), ("/v1/orders", ALLOWED)]
    {
        assert_eq!(ask(&policy, &acme(), path), expected, "{path}");
    }
}

#[test]
fn a_pattern_of_another_language_is_refused_and_told_in_ours() {
    for (pattern, instead) in [
        ("/orders/{id}", "\"/orders/*\""),
        ("/files/{path...}", "\"/files/**\""),
        ("/files/{path=**}", "\"/files/**\""),
        ("/a/:id", "\"/a/*\""),
        ("/a$", "\"/a\""),
        ("/a/(b|c)", "one pattern for each alternative"),
        ("/a/[a-z]", "\"/a/*\""),
    ] {
        for (place, json) in [
            ("profiles.p.allow[0].paths[0]", json!({"profiles": {"p": {"allow": [{"paths": [pattern]}]}}})),
            ("profiles.p.deny[0]", json!({"profiles": {"p": {"deny": [pattern]}}})),
            ("profiles.p.deny[0].paths[0]", json!({"profiles": {"p": {"deny": [{"paths": [pattern]}]}}})),
            ("collections.c[0]", json!({"collections": {"c": [pattern]}})),
            ("bypass[0].path", json!({"bypass": [{"path": pattern}]})),
            ("binding.required_paths[0]", json!({"binding": {"required_paths": [pattern]}})),
        ] {
            let problem = Policy::from_json(json.to_string()).map(drop).unwrap_err().to_string();
            let expected = format!("{place}: found {pattern:?}, expected {instead}");
            assert!(problem.starts_with(&expected), "{problem}");
        }
    }
    let problem = Policy::from_json(json!({"path": {"restrictions": "lower"}}).to_string()).map(drop).unwrap_err();
    assert!(
        problem.to_string().contains("path.restrictions") && problem.to_string().contains("ignore_case"),
        "{problem}"
    );
}
