//! The configuration: strict, whole, and every error says where, what, and what instead.

use std::collections::BTreeSet;

use mtls_authz::{ConfigErrors, Policy};
use serde_json::{Value, json};

fn refused(json: &str) -> ConfigErrors {
    match Policy::from_json(json.as_bytes()) {
        Ok(_) => panic!("accepted: {json}"),
        Err(problem) => problem,
    }
}

/// A good configuration with one member changed, by its JSON pointer.
fn with(pointer: &str, value: Value) -> String {
    let mut json = json!({
        "policy_id": "v1",
        "mode": "bearer_plus_mtls_required",
        "certificate": {"source": "connection", "validation": "attribute", "clock_skew_seconds": 0, "extended_key_usage": "client_auth"},
        "identity": {
            "precedence": ["uri_san", "dns_san", "subject_cn"],
            "trust_domains": ["td"],
            "mappings": [{"match": {"subject": {"O": "{org}"}, "issuer": {"CN": "CA"}}, "client_id": "acme", "profile_id": "partner"}],
        },
        "clients": {"acme": {
            "identities": ["spiffe://td/a"], "issuers": ["CN=CA"], "profiles": ["partner"], "principal": "arn:x", "mappings": true,
        }},
        "profiles": {"partner": {
            "allow": [{"paths": ["/a/*"], "methods": ["GET"], "scopes": ["s"], "upgrades": ["websocket"], "plain": true, "hosts": ["api.example"]}],
            "deny": ["/b"],
            "source_cidrs": ["10.0.0.0/8"],
            "rate_limit": {"requests": 1, "per_seconds": 1, "burst": 1},
            "mode": "bearer_plus_mtls_required",
            "enforcement": "enforce",
        }},
        "collections": {"all": ["/**"]},
        "bypass": [{"path": "/health", "methods": ["GET"], "hosts": ["*.example"], "even_denied": true, "unverified_authorization": "remove"}],
        "binding": {"required_paths": ["/a/**"]},
        "token": {"source": "jwt_authn", "metadata": {"namespace": "n", "key": "k"}, "issuers": ["i"], "audiences": ["a"],
                  "leeway_seconds": 1, "client_id_claims": ["client_id"]},
        "path": {"encoded_slashes": "reject", "semicolons": "keep"},
        "source_address": "direct",
        "require_client_headers": true,
        "upstream_headers": {"client_id": "x-caller", "identity": false, "principal": null, "client_cert": true},
        "audit": {"log": "all"},
        "enforcement": "enforce",
        "methods": {"additional": ["PURGE"]},
        "unverified_authorization": "keep",
    });
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match json.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.insert(key.to_owned(), value)),
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer}"),
    }
    json.to_string()
}

/// The key of RFC 8037 appendix A.2.
fn ed25519() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

fn uri(path: &str) -> Value {
    json!({"cluster": "issuer", "authority": "issuer.example", "path": path})
}

#[test]
fn three_lines_a_client_suffice() {
    let json = r#"{
        "clients": {
            "acme": {
                "identities": ["spiffe://prod.example/acme"],
                "profiles": ["partner"]
            }
        },
        "profiles": {"partner": {"allow": [{"paths": ["/payments/**"]}]}}
    }"#;
    assert!(Policy::from_json(json.as_bytes()).is_ok());
    assert!(Policy::from_json(with("/policy_id", json!("v2")).as_bytes()).is_ok());
    assert!(Policy::from_json(b"{}").is_ok(), "it denies everything");
}

#[test]
fn every_error_names_the_path_the_value_and_what_was_expected() {
    for (pointer, value, path, found, expected) in [
        ("/polcy_id", json!(1), "polcy_id", "polcy_id", "policy_id"),
        ("/policy_id", json!(5), "policy_id", "5", "a text"),
        ("/policy_id", json!(""), "policy_id", "\"\"", "visible ASCII"),
        ("/policy_name", json!(5), "policy_name", "5", "a text"),
        ("/mode", json!("tls"), "mode", "tls", "bearer_plus_mtls_required"),
        ("/enforcement", json!("off"), "enforcement", "off", "shadow"),
        ("/certificate/source", json!("magic"), "certificate.source", "magic", "connection"),
        ("/certificate/validation", json!(true), "certificate.validation", "true", "\"attribute\" or \"listener\""),
        (
            "/certificate/clock_skew_seconds",
            json!(-1),
            "certificate.clock_skew_seconds",
            "-1",
            "a whole number of seconds, at least 0",
        ),
        (
            "/certificate/extended_key_usage",
            json!("server_auth"),
            "certificate.extended_key_usage",
            "server_auth",
            "client_or_server_auth",
        ),
        ("/certificate/skew", json!(1), "certificate.skew", "skew", "clock_skew_seconds"),
        ("/identity/precedence/1", json!("ip_san"), "identity.precedence[1]", "ip_san", "dns_san"),
        ("/identity/precedence", json!([]), "identity.precedence", "[]", "at least one"),
        ("/identity/trust_domains/0", json!("https://td"), "identity.trust_domains[0]", "https://td", "trust domain"),
        ("/identity/mappings/0/match", json!({}), "identity.mappings[0].match", "nothing", "uri_san"),
        (
            "/identity/mappings/0/match/uri_san",
            json!("a/{x}y"),
            "identity.mappings[0].match.uri_san",
            "{x}y",
            "whole segment",
        ),
        (
            "/identity/mappings/0/match/subject",
            json!({"XX": "a"}),
            "identity.mappings[0].match.subject",
            "XX",
            "attribute type",
        ),
        (
            "/identity/mappings/0/match/issuer",
            json!("not a DN"),
            "identity.mappings[0].match.issuer",
            "not a DN",
            "RFC 4514",
        ),
        ("/identity/mappings/0/match/issuer", json!(7), "identity.mappings[0].match.issuer", "", "RFC 4514"),
        ("/identity/mappings/0/match/sha256", json!("abc"), "identity.mappings[0].match.sha256", "abc", "hexadecimal"),
        ("/identity/mappings/0/match/dns_san", json!("{org}.x"), "identity.mappings[0].match", "{org}", "only once"),
        ("/identity/mappings/0/client_id", json!("{nope}"), "identity.mappings[0].client_id", "{nope}", "capture"),
        (
            "/identity/mappings/0/client_id",
            json!("nobody"),
            "identity.mappings[0].client_id",
            "nobody",
            "allow_unregistered",
        ),
        ("/identity/mappings/0/profile_id", json!("nothing"), "identity.mappings[0].profile_id", "nothing", "partner"),
        ("/identity/mappings/0/principal", json!("a\nb"), "identity.mappings[0].principal", "a\\nb", "visible ASCII"),
        ("/clients/b", json!({"identities": ["spiffe://td/b"]}), "clients.b.profiles", "no such key", "partner; []"),
        (
            "/clients/b",
            json!({"identities": ["spiffe://td/a"], "profiles": ["partner"]}),
            "clients.b.identities[0]",
            "spiffe://td/a",
            "acme",
        ),
        ("/clients/b\n", json!({}), "clients.b\n", "b\\n", "visible ASCII"),
        ("/clients", json!([]), "clients", "a list", "an object"),
        ("/clients", json!(null), "clients", "null", "an object"),
        ("/clients/b", json!([["cn:b"]]), "clients.b", "a list", "an object of `identities`"),
        ("/clients/b", json!({"identities": null}), "clients.b.identities", "null", "a list"),
        ("/clients/b", json!({"identities": ["cn:b", 5]}), "clients.b.identities[1]", "5", "a text"),
        ("/clients/b", json!({"principal": null}), "clients.b.principal", "null", "a text"),
        (
            "/clients/b",
            json!({"identities": ["cn:b", "cn:c", "spiffe://other/b"], "profiles": ["partner"]}),
            "clients.b.identities[2]",
            "spiffe://other/b",
            "trust_domains",
        ),
        (
            "/identity/precedence",
            json!(["dns_san"]),
            "clients.acme.identities[0]",
            "spiffe://td/a",
            "identity.precedence",
        ),
        (
            "/clients/b",
            json!({"identities": ["cn:b"], "profiles": ["partner", "none"]}),
            "clients.b.profiles[1]",
            "none",
            "the name of a profile: partner",
        ),
        ("/clients/acme/profiles/0", json!("partners"), "clients.acme.profiles[0]", "partners", "partner"),
        ("/clients/acme/issuers/0", json!("O=x, CN=y"), "clients.acme.issuers[0]", "O=x, CN=y", "nameopt RFC2253"),
        ("/clients/acme/identities/0", json!("acme"), "clients.acme.identities[0]", "acme", "typed"),
        ("/clients/acme/identities/0", json!("spiffe://td"), "clients.acme.identities[0]", "spiffe://td", "SPIFFE ID"),
        (
            "/clients/acme/identities/0",
            json!("spiffe://other/a"),
            "clients.acme.identities[0]",
            "other",
            "trust_domains",
        ),
        ("/clients/acme/identities/0", json!("sha256:00"), "clients.acme.identities[0]", "sha256:00", "64 hexadecimal"),
        ("/clients/acme/identities/0", json!("subject:x"), "clients.acme.identities[0]", "subject:x", "RFC 4514"),
        ("/clients/acme/identities/0", json!("email:x"), "clients.acme.identities[0]", "email:x", "typed"),
        ("/clients/acme/principal", json!("ü"), "clients.acme.principal", "ü", "visible ASCII"),
        ("/clients/acme/profile", json!("partner"), "clients.acme.profile", "profile", "profiles"),
        ("/profiles/partner/allow/0/paths/0", json!("/a/../b"), "profiles.partner.allow[0].paths[0]", "/a/../b", "/b"),
        (
            "/profiles/partner/allow/0/paths/0",
            json!("/a*"),
            "profiles.partner.allow[0].paths[0]",
            "/a*",
            "whole segments",
        ),
        ("/profiles/partner/allow/0/paths", json!([]), "profiles.partner.allow[0].paths", "[]", "at least one"),
        ("/profiles/partner/allow/0/collection", json!("all"), "profiles.partner.allow[0]", "both", "one of them"),
        ("/profiles/partner/allow/0", json!({}), "profiles.partner.allow[0]", "neither", "one of them"),
        (
            "/profiles/partner/allow/0",
            json!({"collection": "any"}),
            "profiles.partner.allow[0].collection",
            "any",
            "all",
        ),
        (
            "/profiles/partner/allow/0/methods",
            json!([]),
            "profiles.partner.allow[0].methods",
            "[]",
            "leave the key out",
        ),
        (
            "/profiles/partner/allow/0/methods/0",
            json!("get"),
            "profiles.partner.allow[0].methods[0]",
            "get",
            "in capitals",
        ),
        ("/profiles/partner/allow/0/scopes/0", json!("a b"), "profiles.partner.allow[0].scopes[0]", "a b", "RFC 6749"),
        ("/profiles/partner/mode", json!("mtls"), "profiles.partner.allow[0].scopes[0]", "s", "mtls"),
        (
            "/profiles/partner/allow/0/upgrades/0",
            json!("web socket"),
            "profiles.partner.allow[0].upgrades[0]",
            "web socket",
            "websocket",
        ),
        ("/profiles/partner/deny/0", json!("b"), "profiles.partner.deny[0]", "\"b\"", "path pattern"),
        ("/profiles/partner/deny/0", json!({"path": "/b"}), "profiles.partner.deny[0].path", "path", "paths"),
        (
            "/profiles/partner/source_cidrs/0",
            json!("10.0.0.1/8"),
            "profiles.partner.source_cidrs[0]",
            "10.0.0.1/8",
            "10.0.0.0/8",
        ),
        (
            "/profiles/partner/rate_limit/requests",
            json!(0),
            "profiles.partner.rate_limit",
            "\"requests\": 0,",
            "at least 1",
        ),
        ("/profiles/partner/rate_limit", json!({"requests": 1}), "profiles.partner.rate_limit", "", "per_seconds"),
        ("/collections/all/0", json!("**"), "collections.all[0]", "**", "path pattern"),
        ("/bypass/0/even_denied", json!(1), "bypass[0].even_denied", "1", "true or false"),
        ("/bypass/0/path", json!("/health?"), "bypass[0].path", "/health?", "/health"),
        ("/bypass/0/methods/0", json!("GE T"), "bypass[0].methods[0]", "GE T", "in capitals"),
        ("/binding/required_paths/0", json!("x"), "binding.required_paths[0]", "\"x\"", "path pattern"),
        ("/token/source", json!("header"), "token.source", "header", "jwt_authn"),
        ("/token/jwks", json!({"keys": []}), "token.jwks", "another source", "\"source\": \"jwks\""),
        ("/token/algorithms", json!(["ES256"]), "token.algorithms", "another source", "\"source\": \"jwks\""),
        ("/token", json!({"source": "jwks"}), "token", "neither", "exactly one"),
        ("/token", json!({"source": "jwks", "jwks": {}}), "token.jwks", "cannot be used", "\"keys\""),
        ("/token", json!({"source": "jwks", "jwks": {"keys": []}}), "token.jwks", "cannot be used", "no usable key"),
        (
            "/token",
            json!({"source": "jwks", "jwks": {"keys": [ed25519(), {"kty": "oct", "kid": "mac", "k": "AA"}]}}),
            "token.jwks.keys[1].k",
            "mac",
            "public keys alone",
        ),
        (
            "/token",
            json!({"source": "jwks", "jwks": {"keys": [ed25519()]}, "metadata": {}}),
            "token.metadata",
            "another source",
            "jwt_authn",
        ),
        (
            "/token",
            json!({"source": "jwks", "jwks": {"keys": [ed25519()]}, "algorithms": ["none"]}),
            "token.algorithms[0]",
            "none",
            "ES256",
        ),
        (
            "/token",
            json!({"source": "jwks", "jwks": {"keys": [ed25519()]}, "jwks_uri": uri("/k")}),
            "token",
            "both",
            "exactly one",
        ),
        ("/token", json!({"source": "jwks", "jwks_uri": uri("k")}), "token.jwks_uri.path", "\"k\"", "jwks.json"),
        (
            "/token",
            json!({"source": "jwks", "jwks_uri": {"cluster": "c", "authority": "a", "path": "/k", "refresh_seconds": 9, "max_stale_seconds": 1}}),
            "token.jwks_uri.max_stale_seconds",
            "1",
            "refresh_seconds (9)",
        ),
        (
            "/token",
            json!({"source": "jwks", "jwks_uri": {"cluster": "c", "authority": "a", "path": "/k", "timeout_ms": 0}}),
            "token.jwks_uri.timeout_ms",
            "0",
            "60000",
        ),
        ("/token/metadata/name", json!("x"), "token.metadata.name", "name", "namespace"),
        (
            "/token/leeway_seconds",
            json!("30"),
            "token.leeway_seconds",
            "\"30\"",
            "a whole number of seconds, at least 0 and below 4294967296, without quotes: 30",
        ),
        ("/path/semicolons", json!("allow"), "path.semicolons", "allow", "keep"),
        ("/source_address", json!("xff"), "source_address", "xff", "direct"),
        ("/upstream_headers/client_id", json!("Host"), "upstream_headers.client_id", "host", "means nothing else"),
        ("/upstream_headers/client_id", json!(5), "upstream_headers.client_id", "", "name of a header"),
        ("/upstream_headers/profile_id", json!("X-Caller"), "upstream_headers", "x-caller", "of its own"),
        ("/profiles/partner/rate_limit", json!(null), "profiles.partner.rate_limit", "null", "an object"),
        ("/profiles/partner/allow/0/methods", json!(null), "profiles.partner.allow[0].methods", "null", "a list"),
        ("/identity/mappings/0/match/issuer", json!(null), "identity.mappings[0].match.issuer", "null", "RFC 4514"),
        ("/identity/mappings/0/profile_id", json!(null), "identity.mappings[0].profile_id", "null", "a text"),
        (
            "/profiles/partner/source_cidrs/0",
            json!("::ffff:10.0.0.0/104"),
            "profiles.partner.source_cidrs[0]",
            "::ffff",
            "IPv4",
        ),
        (
            "/upstream_headers/client_id",
            json!("X-Forwarded-Proto"),
            "upstream_headers.client_id",
            "x-forwarded-proto",
            "means",
        ),
        ("/upstream_headers/client_id", json!("x_profile_id"), "upstream_headers", "x-profile-id", "of its own"),
        (
            "/profiles/partner/deny/0",
            json!("/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a"),
            "profiles.partner.deny[0]",
            "/**/a",
            "at most 8",
        ),
        ("/audit/log", json!("some"), "audit.log", "some", "denied"),
        ("/require_client_headers", json!("yes"), "require_client_headers", "yes", "true or false"),
    ] {
        let problem = refused(&with(pointer, value));
        let text = problem.to_string();
        assert_eq!(problem.path, path, "{text}");
        assert!(text.contains(found), "{text:?} should show {found:?}");
        assert!(text.contains(expected), "{text:?} should expect {expected:?}");
    }
}

#[test]
fn a_struct_of_protobuf_is_read_like_json() {
    let json: Value = serde_json::from_str(&with("/policy_id", json!("v2"))).unwrap();
    assert_eq!(Policy::read(crate::proxy::protobuf_struct(&json)).unwrap().policy_id.as_deref(), Some("v2"));
    assert_eq!(Policy::read(format!("\n{json}").into_bytes()).unwrap().policy_id.as_deref(), Some("v2"));
    let wrong: Value = serde_json::from_str(&with("/token/leeway_seconds", json!(0.5))).unwrap();
    // White space alone, which would be a Struct with one member, if that needed no value.
    let blank = format!("\n{}", " ".repeat(33));
    assert_eq!(Policy::read(blank.clone().into_bytes()).err(), Policy::from_json(blank).err());
    let problem = Policy::read(crate::proxy::protobuf_struct(&wrong)).err().unwrap();
    assert_eq!(problem.path, "token.leeway_seconds");
    assert!(Policy::read(Vec::new()).is_err());
}

#[test]
fn optional_mode_needs_a_claim_that_names_the_client() {
    for json in [
        r#"{"mode": "bearer_plus_mtls_optional", "token": {"client_id_claims": []}}"#,
        r#"{"profiles": {"a": {"mode": "bearer_plus_mtls_optional"}}, "token": {"client_id_claims": []}}"#,
    ] {
        assert_eq!(refused(json).path, "token.client_id_claims");
    }
}

/// A configuration with this `certificate.forwarded`.
fn forwarding(source: &str, forwarded: Value) -> String {
    let mut json: Value = serde_json::from_str(&with("/certificate/source", json!(source))).unwrap();
    json["source_address"] = json!("envoy");
    if !forwarded.is_null() {
        json["certificate"]["forwarded"] = forwarded;
    }
    json.to_string()
}

#[test]
fn a_forwarded_certificate_needs_a_format_a_header_and_somebody_to_believe() {
    let cidrs = json!({"cidrs": ["10.0.0.0/8", "::1"]});
    let all = json!({
        "format": "xfcc", "header": "X-Forwarded-Client-Cert", "hop": 2, "max_bytes": 65536,
        "trusted_proxies": {
            "cidrs": ["10.0.0.0/8"],
            "identities": ["spiffe://td/edge", "dns:edge.example", "sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"],
        },
    });
    for source in ["forwarded", "connection_or_forwarded"] {
        assert!(Policy::from_json(forwarding(source, all.clone()).as_bytes()).is_ok());
        for format in ["xfcc", "rfc9440", "traefik", "nginx", "aws_alb"] {
            let least = json!({"format": format, "trusted_proxies": cidrs});
            assert!(Policy::from_json(forwarding(source, least).as_bytes()).is_ok(), "{format}");
        }
    }
    let changed = |key: &str, value: Value| {
        let mut settings = all.clone();
        settings[key] = value;
        settings
    };
    let named = |header: &str| json!({"format": "haproxy", "header": header, "trusted_proxies": cidrs});
    let proxies = |value: Value| changed("trusted_proxies", value);
    let listed = |cidr: &str| proxies(json!({"cidrs": [cidr], "identities": ["spiffe://td/edge"]}));
    let known = |identity: &str| proxies(json!({"identities": ["spiffe://td/edge", identity]}));
    for (settings, key, found, expected) in [
        (Value::Null, "", "nothing", "trusted_proxies"),
        (json!({}), "", "found no \"format\"", "cannot be left out"),
        (json!([]), "", "a list", "object"),
        (changed("format", json!("pem")), ".format", "pem", "\"url_encoded_pem\""),
        (changed("trust", json!(1)), ".trust", "trust", "trusted_proxies"),
        (json!({"format": "xfcc"}), ".trusted_proxies", "neither", "identities"),
        (proxies(json!({})), ".trusted_proxies", "neither", "cidrs"),
        (proxies(json!({"cidrs": [], "identities": []})), ".trusted_proxies", "neither", "cidrs"),
        (proxies(json!(null)), ".trusted_proxies", "null", "object"),
        (listed("10.0.0.1/8"), ".trusted_proxies.cidrs[0]", "10.0.0.1/8", "10.0.0.0/8"),
        (listed("proxy.example"), ".trusted_proxies.cidrs[0]", "proxy.example", "network"),
        (listed("0.0.0.0/0"), ".trusted_proxies.cidrs[0]", "0.0.0.0/0", "not every caller"),
        (listed("::/0"), ".trusted_proxies.cidrs[0]", "::/0", "not every caller"),
        (known("edge"), ".trusted_proxies.identities[1]", "edge", "typed"),
        (known("spiffe://other/a"), ".trusted_proxies.identities[1]", "other", "trust_domains"),
        (json!({"format": "haproxy", "trusted_proxies": cidrs}), ".header", "nothing", "name of the header"),
        (named(""), ".header", "", "without underscores"),
        (named("x_cert"), ".header", "x_cert", "without underscores"),
        (named("x.cert"), ".header", "x.cert", "without underscores"),
        (named("x cert"), ".header", "x cert", "name of a header"),
        (named(":path"), ".header", ":path", "name of a header"),
        (named("Authorization"), ".header", "Authorization", "means nothing else"),
        (named("X-Forwarded-For"), ".header", "X-Forwarded-For", "means nothing else"),
        (named("X-Client-ID"), ".header", "X-Client-ID", "means nothing else"),
        (named("X-Client-Identity"), ".header", "X-Client-Identity", "means nothing else"),
        (named("X-Caller"), ".header", "X-Caller", "means nothing else"),
        (named("X-Amzn-Mtls-Clientcert"), ".header", "Clientcert", "verifies none"),
        (named("Client-Cert-Chain"), ".header", "Client-Cert-Chain", "issuers"),
        (changed("max_bytes", json!(0)), ".max_bytes", "0", "1 to"),
        (changed("max_bytes", json!(1_048_577)), ".max_bytes", "1048577", "1048576"),
        (changed("max_bytes", json!("1")), ".max_bytes", "\"1\"", "without quotes: 1"),
        (changed("hop", json!(0)), ".hop", "0", "1 to 16"),
        (changed("hop", json!(17)), ".hop", "17", "1 to 16"),
        (changed("hop", json!(-1)), ".hop", "-1", "a whole number, at least 0"),
        (proxies(cidrs.clone()), ".hop", "2", "trusted_proxies.identities"),
        (changed("format", json!("nginx")), ".hop", "2", "xfcc"),
    ] {
        let problem = refused(&forwarding("forwarded", settings));
        let text = problem.to_string();
        assert_eq!(problem.path, format!("certificate.forwarded{key}"), "{text}");
        assert!(text.contains(found), "{text:?} should show {found:?}");
        assert!(text.contains(expected), "{text:?} should expect {expected:?}");
    }
    let idle = refused(&forwarding("connection", all));
    assert_eq!(idle.path, "certificate.forwarded");
    assert!(idle.to_string().contains("connection_or_forwarded"), "{idle}");
}

#[test]
fn where_nobody_verifies_certificates_they_are_known_by_their_thumbprints_alone() {
    const HASH: &str = "sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    let azure = |forwarded: Value, identities: Value, mappings: Value| {
        json!({
            "certificate": {"source": "forwarded", "forwarded": forwarded},
            "identity": {"mappings": mappings},
            "clients": {
                "acme": {"identities": identities, "profiles": ["partner"]},
                "family": {"profiles": ["partner"]},
            },
            "profiles": {"partner": {}},
        })
        .to_string()
    };
    let proxies = json!({"cidrs": ["10.0.0.0/8"]});
    let by_format = json!({"format": "azure", "trusted_proxies": proxies});
    let renamed = json!({"format": "azure", "header": "x-own", "trusted_proxies": proxies});
    let by_header = json!({"format": "base64_der", "header": "X-ARR-ClientCert", "trusted_proxies": proxies});
    let hash = HASH.trim_start_matches("sha256:");
    let pinned = json!([{"match": {"sha256": hash, "subject": {"O": "{org}"}}, "client_id": "family"}]);
    let named = json!([pinned[0], {"match": {"subject": {"O": "{org}"}}, "client_id": "family"}]);
    for forwarded in [by_format, renamed, by_header] {
        for (identities, mappings) in [(json!([HASH]), json!([])), (json!([HASH]), pinned.clone())] {
            assert!(Policy::from_json(azure(forwarded.clone(), identities, mappings)).is_ok(), "{forwarded}");
        }
        for name in ["cn:acme", "dns:acme.example", "spiffe://td/a", "email:a@b", "subject:CN=acme"] {
            let problem = refused(&azure(forwarded.clone(), json!([HASH, name]), json!([])));
            assert_eq!(problem.path, "clients.acme.identities[1]");
            assert!(problem.to_string().contains("sha256: and the thumbprint"), "{problem}");
        }
        let problem = refused(&azure(forwarded.clone(), json!([HASH]), named.clone()));
        assert_eq!(problem.path, "identity.mappings[1].match");
        assert!(problem.to_string().contains("verifies none"), "{problem}");
    }
    let haproxy = json!({"format": "haproxy", "header": "x-own", "trusted_proxies": proxies});
    assert!(Policy::from_json(azure(haproxy, json!(["cn:acme"]), named)).is_ok());
}

#[test]
fn keys_are_expected_to_be_an_object_without_repeated_members() {
    for jwks in ["1", "[]", "\"x\"", "null"] {
        let problem = refused(&format!(r#"{{"token": {{"source": "jwks", "jwks": {jwks}}}}}"#));
        assert_eq!(problem.path, "token.jwks");
        assert!(problem.to_string().contains("expected an object"), "{problem}");
    }
}

#[test]
fn keys_in_a_string_are_not_repeated_in_the_message() {
    let problem = refused(r#"{"token": {"source": "jwks", "jwks": "{\"keys\": [{\"d\": \"secret\"}]}"}}"#);
    assert_eq!(problem.to_string(), "token.jwks: found a text, expected an object such as {\"keys\": […]}");
    // Where the quotes are missing that end it.
    let problem = refused(r#"{"token": {"source": "jwks", "jwks": "{"d":"secret"}"}}"#);
    assert!(!problem.to_string().contains("secret"), "{problem}");
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_object = format!("{}1{}", r#"{"clients":"#.repeat(100_000), "}".repeat(100_000));
    // Of all that is read, keys alone may hold anything.
    let deep_keys = format!(r#"{{"token": {{"source": "jwks", "jwks": {{"keys": {deep}}}}}}}"#);
    for json in [
        "",
        "null",
        "[]",
        r#"{"certificate": []}"#,
        r#"{"mode": {"mtls": null}}"#,
        r#"{"clients": {"a": [[]]}}"#,
        "{}x",
        "{",
        r#"{"mode": "mtls", "mode": "mtls"}"#,
        &deep,
        &deep_object,
        &deep_keys,
    ] {
        refused(json);
    }
    let bytes = [br#"{"clients": {"a": {"principal": ""#.as_slice(), b"\xff", br#""}}}"#].concat();
    assert_eq!(
        Policy::from_json(bytes).err().map(|problem| problem.path.clone()).as_deref(),
        Some("clients.a.principal")
    );
    assert_eq!(refused(r#"{"clients": {}, "clients": {}}"#).path, "clients");
    let twice = refused(r#"{"clients": {"a": {}, "a": {}}}"#);
    assert!(twice.to_string().contains("found the key \"a\" again"), "{twice}");
}

/// The names of all members that the schema knows, by the place of their object.
fn schema_members(schema: &Value, place: &str, found: &mut BTreeSet<String>, root: &Value) {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        assert_eq!(schema.get("additionalProperties"), Some(&json!(false)), "{place} must be closed");
        found.insert(format!("{place}/{name}"));
        schema_members(member, &format!("{place}/{name}"), found, root);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        schema_members(values, &format!("{place}/*"), found, root);
    }
    if let Some(items) = schema.get("items") {
        schema_members(items, &format!("{place}/0"), found, root);
    }
}

#[test]
fn the_published_schema_knows_the_same_keys_as_the_filter() {
    let schema: Value = serde_json::from_str(include_str!("../../docs/configuration.schema.json")).unwrap();
    let mut published = BTreeSet::new();
    schema_members(&schema, "", &mut published, &schema);
    for (place, before, after) in [
        ("", "", ""),
        ("/certificate", r#""certificate":"#, ""),
        ("/certificate/forwarded", r#""certificate": {"forwarded":"#, "}"),
        (
            "/certificate/forwarded/trusted_proxies",
            r#""certificate": {"forwarded": {"format": "xfcc", "trusted_proxies":"#,
            "}}",
        ),
        ("/identity", r#""identity":"#, ""),
        ("/identity/mappings/0", r#""identity": {"mappings": ["#, "]}"),
        ("/identity/mappings/0/match", r#""identity": {"mappings": [{"match":"#, "}]}"),
        ("/clients/*", r#""clients": {"a":"#, "}"),
        ("/profiles/*", r#""profiles": {"a":"#, "}"),
        ("/profiles/*/allow/0", r#""profiles": {"a": {"allow": ["#, "]}}"),
        ("/profiles/*/rate_limit", r#""profiles": {"a": {"rate_limit":"#, "}}"),
        ("/bypass/0", r#""bypass": ["#, "]"),
        ("/binding", r#""binding":"#, ""),
        ("/token", r#""token":"#, ""),
        ("/token/metadata", r#""token": {"metadata":"#, "}"),
        ("/token/jwks_uri", r#""token": {"jwks_uri":"#, "}"),
        ("/token/providers/0", r#""token": {"providers": ["#, "]}"),
        ("/token/providers/0/jwks_uri", r#""token": {"providers": [{"jwks_uri":"#, "}]}"),
        ("/revocation", r#""revocation":"#, ""),
        ("/revocation/serials/0", r#""revocation": {"serials": ["#, "]}"),
        ("/revocation/feeds/0", r#""revocation": {"feeds": ["#, "]}"),
        ("/path", r#""path":"#, ""),
        ("/upstream_headers", r#""upstream_headers":"#, ""),
        ("/audit", r#""audit":"#, ""),
    ] {
        let unknown = r#"{"no_such_key": 1}"#;
        let json = if place.is_empty() { unknown.to_owned() } else { format!("{{{before}{unknown}{after}}}") };
        let message = refused(&json).to_string();
        let (_, names) = message.split_once("expected").unwrap();
        let known: BTreeSet<String> =
            names.split('`').skip(1).step_by(2).map(|name| format!("{place}/{name}")).collect();
        let depth = place.matches('/').count() + 1;
        let here = |key: &&String| key.starts_with(&format!("{place}/")) && key.matches('/').count() == depth;
        let listed: BTreeSet<String> =
            published.iter().filter(here).filter(|key| !key.ends_with("/*")).cloned().collect();
        assert_eq!(listed, known, "{place}");
    }
}

#[test]
fn an_error_does_not_repeat_a_whole_document() {
    let long = "ü".repeat(100_000);
    let path = format!("/{}%41", "x".repeat(8_000));
    for json in [
        json!(long),
        json!({long.clone(): 1}),
        json!({"mode": long}),
        json!({"policy_id": long}),
        json!({"path": {long.clone(): 1}}),
        json!({"bypass": [{"path": path}]}),
    ] {
        let problem = refused(&json.to_string()).to_string();
        assert!(problem.chars().count() < 1000, "{problem}");
        assert!(problem.contains("expected"), "{problem}");
    }
}

#[test]
fn a_message_lists_ten_names_to_choose_from_and_says_if_there_are_more() {
    let listed = |count: usize| {
        let profiles: serde_json::Map<String, Value> =
            (0..count).map(|at| (format!("p{at:02}"), json!({"allow": []}))).collect();
        refused(&with("/profiles", Value::Object(profiles))).to_string()
    };
    let ten = "the name of a profile: p00, p01, p02, p03, p04, p05, p06, p07, p08, p09";
    for (count, expected, is_cut) in
        [(9, ten.trim_end_matches(", p09"), false), (10, ten, false), (11, ten, true), (12, ten, true)]
    {
        let text = listed(count);
        assert!(text.contains(expected), "{text:?} should list {expected:?}");
        assert_eq!(text.contains('…'), is_cut, "{text}");
    }
}
