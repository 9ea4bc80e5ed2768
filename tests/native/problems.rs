//! Everything that is wrong with a configuration is said at once, and what to write instead.

use mtls_authz::{ConfigErrors, Policy};
use serde_json::{Value, json};

fn refused(text: impl Into<Vec<u8>>) -> ConfigErrors {
    Policy::from_json(text).map(drop).unwrap_err()
}

/// The paths of all errors.
fn paths(policy: &Value) -> Vec<String> {
    let errors = refused(policy.to_string());
    assert!(!errors.may_be_more, "{errors}");
    errors.iter().map(|problem| problem.path.clone()).collect()
}

#[test]
fn all_errors_are_told_each_with_the_place_where_it_is_written() {
    let policy = json!({
        "polcy_id": "v1",
        "mode": "tls",
        "clients": {
            "acme": {"identities": ["acme", "cn:acme", "dns:", "cn:a"], "profiles": ["partner", "partners"]},
            "globex": {"identities": ["cn:globex"]},
            "initech": {"identities": "cn:initech", "profiles": ["partner"]},
        },
        "profiles": {
            "partner": {
                "allow": [
                    {"paths": ["payments", "/ok", "/orders/{id}"], "methods": ["get", "GET", "GTE"]},
                    {"paths": ["/ok"], "collection": "all"},
                    {"colection": "all"},
                ],
                "source_cidrs": ["10.0.0.1/8"],
                "rate_limit": {"requests": "100", "per_seconds": 0},
            },
            "paths": ["/x"],
        },
        "certificate": {"clock_skew_seconds": 301},
        "identity": {"mappings": [
            {"match": {"subject": {"CN": "^acme.*$"}}, "client_id": "acme"},
            {"match": {"uri_san": "spiffe://td/(?<name>[^/]+)"}, "client_id": "{name}"},
        ]},
        "upstream_headers": {"client_id": "Host"},
        "token": {"leeway_seconds": "30", "audiences": []},
        "revocation": {"sha256": ["00"], "feeds": [{"type": "json", "cluster": "c", "authority": "a", "path": "x"}]},
        "audit": {"log": "al"},
    });
    let errors = refused(policy.to_string());
    let told: Vec<_> = errors.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(told.len(), 20, "{errors}");
    assert!(errors.may_be_more && errors.to_string().ends_with("which show when these are corrected"), "{errors}");
    for path in
        ["polcy_id", "mode", "clients.acme.identities[0]", "clients.acme.identities[2]", "clients.initech.identities"]
    {
        assert!(told.contains(&path), "{path}: {errors}");
    }
}

#[test]
fn each_of_several_errors_is_told_in_one_reading() {
    let fetch = json!({"cluster": "c", "authority": "a", "path": "k"});
    for (policy, expected) in [
        // Entries of one list keep their numbers.
        (
            json!({"collections": {"c": ["a", "/b", "c", "/d", "e"]}}),
            vec!["collections.c[0]", "collections.c[2]", "collections.c[4]"],
        ),
        (json!({"collections": {"c": ["a"], "d": ["b"]}}), vec!["collections.c[0]", "collections.d[0]"]),
        // An error within what another one is about.
        (
            json!({"profiles": {"p": {"allow": [{"paths": ["x"], "methods": ["get"]}], "deny": ["y"]}}}),
            vec!["profiles.p.allow[0].paths[0]", "profiles.p.allow[0].methods[0]", "profiles.p.deny[0]"],
        ),
        // The same profile is unknown twice.
        (
            json!({"clients": {"a": {"profiles": ["q"]}, "b": {"profiles": ["q"]}}, "profiles": {"p": {}}}),
            vec!["clients.a.profiles[0]", "clients.b.profiles[0]"],
        ),
        // What is missing.
        (
            json!({"clients": {"a": {"identities": ["cn:a"]}, "b": {"identities": ["cn:b"]}}, "audit": {"log": 1}}),
            vec!["audit.log", "clients.a.profiles", "clients.b.profiles"],
        ),
        (
            json!({"token": {"source": "jwks", "jwks_uri": fetch}, "revocation": {"feeds": [{"type": "json"}]}}),
            vec!["revocation.feeds[0]", "token.jwks_uri.path"],
        ),
        // Of reading and of meaning, of keys and of values.
        (
            json!({"mod": 1, "path": {"semicolon": "keep"}, "bypass": [{"path": "x"}], "strip_headers": ["a b", "host"]}),
            vec!["mod", "path.semicolon", "bypass[0].path", "strip_headers[0]", "strip_headers[1]"],
        ),
        // Names with dots and brackets.
        (
            json!({"clients": {"a.b": {"identities": ["x", "y"]}, "c[0]": {"identities": ["z"]}, "a": {"b": 1}}}),
            vec!["clients.a.b", "clients.a.b.identities[0]", "clients.a.b.identities[1]", "clients.c[0].identities[0]"],
        ),
    ] {
        let mut told = paths(&policy);
        told.sort_unstable();
        let mut expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        expected.sort_unstable();
        assert_eq!(told, expected, "{policy}");
    }
    let twice = refused(
        r#"{"mode": "mtls", "mode": "mtls", "audit": {"log": "all", "log": "all"}, "clients": {"a": {}, "a": {}}}"#,
    );
    assert_eq!(twice.iter().count(), 3, "{twice}");
}

#[test]
fn what_only_follows_from_another_error_is_not_told() {
    let jwks_uri = json!({"cluster": "c", "authority": "a", "path": "/"});
    for (policy, expected) in [
        // A profile that is no object is still the profile that clients name.
        (json!({"clients": {"a": {"profiles": ["p"]}}, "profiles": {"p": []}}), "profiles.p"),
        (json!({"profiles": {"p": {"allow": [{"paths": ["x"]}]}}}), "profiles.p.allow[0].paths[0]"),
        (json!({"profiles": {"p": {"allow": [{"collection": "x"}]}}}), "profiles.p.allow[0].collection"),
        (json!({"bypass": [{"path": "x"}]}), "bypass[0].path"),
        (json!({"token": {"source": "jwk", "jwks_uri": jwks_uri}}), "token.source"),
        (
            json!({"token": {"source": "jwks", "jwks_uri": {"cluster": "c", "authority": "a", "path": 1}}}),
            "token.jwks_uri.path",
        ),
        (
            json!({"identity": {"precedence": ["cn"]}, "clients": {"a": {"identities": ["cn:a"], "profiles": []}}}),
            "identity.precedence[0]",
        ),
        (
            json!({"identity": {"trust_domains": ["TD", "a"]}, "clients": {"a": {"identities": ["spiffe://td/x"], "profiles": []}}}),
            "identity.trust_domains[0]",
        ),
        (
            json!({"methods": {"additional": ["Purge"]}, "bypass": [{"path": "/", "methods": ["PURGE"]}]}),
            "methods.additional[0]",
        ),
        (
            json!({"identity": {"allow_unregistered": "true", "mappings": [{"match": {"subject": {"O": "x"}}, "client_id": "a"}]}}),
            "identity.allow_unregistered",
        ),
        (json!({"mode": "MTLS", "profiles": {"p": {"unverified_authorization": "keep"}}}), "mode"),
        (
            json!({"certificate": {"source": "forwarded", "forwarded": {"format": "pem", "trusted_proxies": {"cidrs": ["::1"]}}}}),
            "certificate.forwarded.format",
        ),
        (json!({"mode": "bearer_plus_mtls_optional"}), "token.audiences"),
        (json!([]), ""),
    ] {
        let told = paths(&policy);
        assert_eq!(told, [expected], "{policy}");
    }
}

#[test]
fn a_large_configuration_with_an_error_is_read_again_only_a_few_times() {
    let crowd = |count: usize| -> serde_json::Map<String, Value> {
        (0..count)
            .map(|n| (format!("c{n}"), json!({"identities": [format!("cn:c{n}")], "profiles": ["partners"]})))
            .collect()
    };
    for (count, told) in [(10, 10), (30, 20), (50_000, 3)] {
        let errors = refused(json!({"clients": crowd(count), "profiles": {"partner": {}}}).to_string());
        let found = errors.iter().count();
        assert!(found == told || (told == 3 && (1..=5).contains(&found)), "{count}: {found}");
        assert_eq!(errors.may_be_more, count > 10);
    }
}

#[test]
fn the_errors_of_a_candidate_are_all_told_and_the_policy_in_force_is_taken() {
    let policy = json!({"candidate": {"mode": "x", "clients": {"a": {"identities": ["b"]}}, "candidate": {"mode": 1}}});
    let policy = Policy::from_json(policy.to_string()).unwrap();
    let errors = policy.candidate.unwrap().unwrap_err();
    let mut told: Vec<_> = errors.iter().map(|problem| problem.path.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["candidate.clients.a.identities[0]", "candidate.mode"]);
}

#[test]
fn a_text_that_is_no_json_is_recognised() {
    let policy = "{\"mode\": \"mtls\"}";
    for (text, expected) in [
        ("", "found an empty text, expected a JSON object"),
        (" \n\t", "found an empty text"),
        ("mode: mtls\nclients:\n  acme: {}\n", "found YAML, expected JSON: convert it (`yq -o json policy.yaml`)"),
        ("# our policy\nmode: mtls\n", "found YAML"),
        ("---\nmode: mtls\n", "found YAML"),
        ("- mode: mtls\n", "found YAML"),
        ("clients:\n- acme\n", "found YAML"),
        (
            "# our policy\n{\"mode\": \"mtls\"}",
            "found a comment, expected JSON, which has none: remove it (line 1, column 1)",
        ),
        ("// our policy\n{\"mode\": \"mtls\"}", "found a comment"),
        ("/* our policy */ {\"mode\": \"mtls\"}", "found a comment"),
        (
            "{\n  \"mode\": \"mtls\" // no token\n}",
            "found a comment, expected JSON, which has none: remove it (line 2, column 18)",
        ),
        ("{\n  # no token\n  \"mode\": \"mtls\"\n}", "found a comment"),
        ("{\"mode\": # no token\n  \"mtls\"\n}", "found a comment"),
        ("{\"mode\": \"mtls\",\n  # no token\n  \"audit\": {}}", "found a comment"),
        ("{\"mode\": \"mtls\"}\n# the end", "found a comment"),
        ("{\"mode\": \"mtls\",}", "found a comma behind the last entry"),
        ("{\"strip_headers\": [\"a\",]}", "found a comma behind the last entry"),
        ("{'mode': 'mtls'}", "found a single quote, expected double quotes"),
        ("{\"mode\": 'mtls'}", "found a single quote"),
        ("{mode: \"mtls\"}", "found \"mode\", expected a key in double quotes"),
        ("{\"mode\" \"mtls\"}", "expected `:`"),
        ("{\"mode\": mtls}", "found \"mtls\", expected JSON"),
        ("{\"require_client_headers\": True}", "found \"True\", expected JSON"),
        ("{\"mode\": \"mtls\"", "found the end of the text within a value"),
        ("{\"mode\": \"mtls}", "found the end of the text within a value"),
        ("{\"mode\": \"mtls\" \"audit\": {}}", "found two entries in a row, expected a comma between them"),
        ("{\"mode\": \"mt\nls\"}", "found a line's end or another control character within a text"),
        ("{\"mode\": \"mtls\"} {}", "found text behind the end"),
        ("\u{feff}{\"mode\": \"mtls\"}", "found a byte order mark, expected JSON from the first byte on"),
        ("<policy/>", "found \"<policy\", expected JSON"),
        ("eyJtb2RlIjoibXRscyJ9", "found \"eyJtb2RlIjoibXRscyJ9\", expected JSON"),
    ] {
        let errors = refused(text);
        assert!(errors.problem.starts_with(expected) || errors.problem.contains(expected), "{text:?}: {errors}");
        assert!(errors.iter().count() == 1 && !errors.may_be_more, "{text:?}: {errors}");
    }
    assert!(Policy::from_json(policy).is_ok());
}

#[test]
fn a_setting_in_the_wrong_place_is_shown_the_right_one() {
    for (policy, path, expected) in [
        (
            json!({"configuration": {"mode": "mtls"}}),
            "configuration",
            "expected the policy itself, without anything around it",
        ),
        (json!({"policy": {"clients": {}}}), "policy", "expected the policy itself"),
        (json!({"value": {"profiles": {}}}), "value", "expected the policy itself"),
        (json!({"pluginConfig": {"token": {}}}), "pluginConfig", "expected the policy itself"),
        (json!({"@type": "type.googleapis.com/google.protobuf.Struct"}), "@type", "expected the policy itself"),
        (json!([{"mode": "mtls"}]), "", "found a list, expected an object of `policy_id`"),
        (json!("{\"mode\": \"mtls\"}"), "", "expected an object of `policy_id`"),
        (json!({"allow": [{"paths": ["/a"]}]}), "allow", "`allow` is a key of profiles.<profile_id>"),
        (json!({"deny": ["/a"]}), "deny", "`deny` is a key of profiles.<profile_id>"),
        (json!({"jwks": {"keys": []}}), "jwks", "`jwks` is a key of token, token.providers[]"),
        (json!({"trusted_proxies": {}}), "trusted_proxies", "`trusted_proxies` is a key of certificate.forwarded"),
        (json!({"mappings": []}), "mappings", "`mappings` is a key of identity, clients.<client_id>"),
        (json!({"feeds": []}), "feeds", "`feeds` is a key of revocation"),
        (
            json!({"clients": {"acme": {"allow": []}}}),
            "clients.acme.allow",
            "`allow` is a key of profiles.<profile_id>",
        ),
        (
            json!({"profiles": {"p": {"paths": ["/a"]}}}),
            "profiles.p.paths",
            "`paths` is a key of profiles.<profile_id>.allow[]",
        ),
        (
            json!({"profiles": {"p": {"scopes": ["a"]}}}),
            "profiles.p.scopes",
            "`scopes` is a key of profiles.<profile_id>.allow[]",
        ),
        (json!({"profiles": {"p": {"bypass": []}}}), "profiles.p.bypass", "`bypass` is a key of the top level"),
        (json!({"token": {"required_paths": ["/a"]}}), "token.required_paths", "`required_paths` is a key of binding"),
        (json!({"profiles": {"p": {"alow": []}}}), "profiles.p.alow", "did you mean `allow`?"),
        (json!({"profiles": {"p": {"sourceCidrs": []}}}), "profiles.p.sourceCidrs", "did you mean `source_cidrs`?"),
        (json!({"mode": "bearer_plus_mtls_require"}), "mode", "did you mean `bearer_plus_mtls_required`?"),
        (json!({"mode": "MTLS"}), "mode", "found \"MTLS\", expected \"mtls\" or"),
        (
            json!({"clients": {"a": {"identities": "cn:a"}}}),
            "clients.a.identities",
            "found \"cn:a\", expected a list: [\"cn:a\"]",
        ),
        (
            json!({"clients": {"a": {"identities": {"cn": "a"}}}}),
            "clients.a.identities",
            "found an object, expected a list",
        ),
        (
            json!({"clients": [{"a": {}}]}),
            "clients",
            "found a list, expected an object, whose keys are names that you choose",
        ),
        (
            json!({"clients": {"a": "cn:a"}}),
            "clients.a",
            "found \"cn:a\", expected an object of `identities`, `issuers`",
        ),
        (
            json!({"profiles": {"p": [{"paths": ["/a"]}]}}),
            "profiles.p",
            "found a list, expected an object of `allow`, `deny`",
        ),
        (
            json!({"profiles": {"p": {"allow": ["/a"]}}}),
            "profiles.p.allow[0]",
            "expected an object of `paths`, `collection`",
        ),
        (
            json!({"profiles": {"p": {"allow": {"paths": ["/a"]}}}}),
            "profiles.p.allow",
            "found an object, expected a list",
        ),
        (
            json!({"token": {"source": "jwks", "jwks": []}}),
            "token.jwks",
            "found a list, expected an object such as {\"keys\": […]}",
        ),
        (
            json!({"token": {"source": "jwks", "jwks": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}}),
            "token.jwks",
            "found a single key, expected a JWK set: {\"keys\": [that key]}",
        ),
        (
            json!({"require_client_headers": "true"}),
            "require_client_headers",
            "expected true or false, without quotes: true",
        ),
        (
            json!({"token": {"leeway_seconds": 1.5}}),
            "token.leeway_seconds",
            "found 1.5, expected a whole number of seconds, at least 0",
        ),
        (
            json!({"certificate": {"clock_skew_seconds": -1}}),
            "certificate.clock_skew_seconds",
            "found -1, expected a whole number of seconds",
        ),
    ] {
        let errors = refused(policy.to_string());
        assert_eq!(errors.path, path, "{errors}");
        assert!(errors.problem.contains(expected), "{errors}\nshould say: {expected}");
        for word in ["u32", "u64", "u8", "sequence", "map,", "borrowed", "Some(", "unit", "field"] {
            assert!(!errors.problem.contains(word), "{errors}");
        }
    }
}

#[test]
fn a_regular_expression_in_a_mapping_is_recognised_where_it_is_written() {
    let mapping = |key: &str, text: &str, client: &str| {
        let mut matched = json!({key: text});
        if key == "subject" {
            matched = json!({"subject": {"CN": text}});
        }
        let mapping = json!({"match": matched, "client_id": client});
        json!({"identity": {"allow_unregistered": true, "mappings": [mapping]}}).to_string()
    };
    for (key, text, place) in [
        ("subject", "^acme-.*$", "subject.CN"),
        ("subject", "acme-(?P<name>.+)", "subject.CN"),
        ("subject", "[a-z]+", "subject.CN"),
        ("dns_san", r"(\w+)\.svc\.example", "dns_san"),
        ("uri_san", "spiffe://td/(?<name>[^/]+)", "uri_san"),
        ("email_san", ".+@example.com", "email_san"),
    ] {
        let errors = refused(mapping(key, text, "{name}"));
        assert_eq!(errors.path, format!("identity.mappings[0].match.{place}"), "{errors}");
        assert!(errors.problem.contains("no regular expression"), "{errors}");
    }
    for text in ["Acme (UK) Ltd.", "HOST$", r"EXAMPLE\dave", "a+b", "C++", "(.NET)", "[x]"] {
        assert_eq!(Policy::from_json(mapping("subject", text, "acme")).err(), None, "{text}");
    }
}

#[test]
fn a_private_key_is_not_repeated() {
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----\n";
    for policy in [
        json!({"authorities": {"a": key}}),
        json!({"revocation": {"feeds": [{"type": "crl", "cluster": "c", "authority": "a", "path": "/", "issuer_certificate": key}]}}),
        json!({"clients": {"a": {"identities": [key]}}}),
        json!({"mode": key}),
        json!({"clients": key}),
    ] {
        let errors = refused(policy.to_string());
        assert!(!errors.to_string().contains("MC4CAQ"), "{errors}");
    }
}

#[test]
fn what_json_takes_and_no_setting_can_be_is_refused_with_its_place() {
    let deep = format!(r#"{{"token": {{"jwks": {}{}}}}}"#, "[".repeat(200), "]".repeat(200));
    for (text, path, expected) in [
        (r#"{"policy_id": "\ud800"}"#, "policy_id", "half a character"),
        (r#"{"clients": {"a": {"principal": "\udc00"}}}"#, "clients.a.principal", "half a character"),
        (r#"{"clients": {"\ud800": {}}}"#, r"clients.\ud800", "half a character"),
        (r#"{"profiles": {"\ud800": {}}}"#, r"profiles.\ud800", "half a character"),
        (r#"{"revocation": {"identities": ["\ud800"]}}"#, "revocation.identities[0]", "half a character"),
        (
            r#"{"token": {"leeway_seconds": 1e1}}"#,
            "token.leeway_seconds",
            "found 1e1, expected a whole number of seconds",
        ),
        (
            r#"{"token": {"leeway_seconds": -0}}"#,
            "token.leeway_seconds",
            "found -0, expected a whole number of seconds",
        ),
        (r#"{"token": {"leeway_seconds": 4294967296}}"#, "token.leeway_seconds", "and below 4294967296"),
        (r#"{"token": {"jwks": {"keys": [], "keys": []}}}"#, "token.jwks", "expected an object such as"),
        (r#"{"token": {"jwks": {"keys": [{"n": 1e999}]}}}"#, "token.jwks.keys[0].n", "expected an object such as"),
        (&deep, "token.jwks[0]", "more than 128 deep"),
    ] {
        let errors = refused(text);
        assert!(errors.path.starts_with(path) && errors.problem.contains(expected), "{text}: {errors}");
    }
}
