//! What is fetched: the request, answers that bring nothing, and keys that all workers share.

use mtls_authz::{Algorithm, Answer, COOLDOWN, KeySource, LeftOut, Memory, Policy, Taken, TokenSource, Watch};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::issuer::Issuer;
use crate::proxy::{FakeProxy, NOW};

const DAY: i64 = 86_400;
const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;
const REFRESH: u64 = 60;
const MAX_STALE: u64 = 120;

fn uri(changes: &Value) -> Value {
    let mut uri = json!({
        "cluster": "c", "authority": "a", "path": "/", "refresh_seconds": REFRESH, "max_stale_seconds": MAX_STALE,
    });
    for (name, value) in changes.as_object().unwrap() {
        uri[name] = value.clone();
    }
    uri
}

fn read(changes: &Value) -> Result<Policy, String> {
    let config = json!({"token": {"source": "jwks", "jwks_uri": uri(changes)}});
    Policy::from_json(config.to_string()).map_err(|problem| problem.to_string())
}

fn policy(changes: &Value) -> Policy {
    read(changes).unwrap()
}

fn memory(policy: &Policy) -> Memory {
    Memory::new(&policy.token.source)
}

fn watch<'a>(policy: &'a Policy, memory: &'a Memory, proxy: &'a FakeProxy) -> Watch<'a> {
    let TokenSource::Jwks(sources) = &policy.token.source else { panic!("no keys") };
    let KeySource::Fetched(fetch) = &sources[0] else { panic!("none is fetched") };
    Watch::keys(0, fetch, memory, proxy)
}

fn set(issuer: &Issuer) -> String {
    json!({"keys": [issuer.jwk()]}).to_string()
}

fn good(body: &str) -> Answer<'_> {
    Answer { status: b"200", etag: None, body: body.as_bytes() }
}

/// Fetches a set when one is due.
fn fetched(watch: Watch<'_>, body: &str, at: u64) {
    let call = watch.look(at).unwrap().unwrap();
    assert_eq!(watch.take(call.claim, good(body), at), Ok(Taken::Keys(Vec::<LeftOut>::new())));
}

#[test]
fn keys_that_one_worker_has_fetched_are_those_of_all_with_their_age_and_of_the_next_policy() {
    let (proxy, first) = (FakeProxy::new(), policy(&json!({})));
    let one = memory(&first);
    fetched(watch(&first, &one, &proxy), &set(Issuer::of(Algorithm::Es256)), START);
    // Neither another worker nor another policy asks again, and the server may be down by now.
    let later = START + 30 * SECOND;
    for next in [policy(&json!({})), policy(&json!({"timeout_ms": 5_000})), policy(&json!({"max_stale_seconds": 200}))]
    {
        let memory = memory(&next);
        let watch = watch(&next, &memory, &proxy);
        watch.take_over(later).unwrap();
        assert!(memory.keys(0).is_some());
        assert_eq!(watch.current().unwrap().checked_at, START, "as old as they are");
        assert_eq!(watch.look(later).unwrap(), None);
    }
    // Too old is too old, also for a worker that has just begun.
    let next = memory(&first);
    let watch = watch(&first, &next, &proxy);
    watch.take_over(START + MAX_STALE * SECOND - 1).unwrap();
    assert!(next.keys(0).is_some());
    let progress = watch.progress(START + MAX_STALE * SECOND, 0).unwrap();
    assert!(progress.dropped && progress.call.is_some() && next.keys(0).is_none());
    watch.take_over(START + MAX_STALE * SECOND).unwrap();
    assert!(next.keys(0).is_none());
}

#[test]
fn keys_are_those_of_one_source_and_of_no_other() {
    let proxy = FakeProxy::new();
    let first = policy(&json!({"headers": {"x-tenant": "a"}}));
    let one = memory(&first);
    fetched(watch(&first, &one, &proxy), &set(Issuer::of(Algorithm::Es256)), START);
    for (changes, is_same) in [
        (json!({"headers": {"X-Tenant": "a"}}), true),
        (json!({"headers": {"x-tenant": "a"}, "refresh_seconds": 30}), true),
        (json!({"headers": {"x-tenant": "b"}}), false),
        (json!({"headers": {"x-tenant": "a", "x-more": "c"}}), false),
        (json!({}), false),
        (json!({"headers": {"x-tenant": "a"}, "cluster": "d"}), false),
        (json!({"headers": {"x-tenant": "a"}, "authority": "b"}), false),
        (json!({"headers": {"x-tenant": "a"}, "path": "/b"}), false),
    ] {
        let next = policy(&changes);
        let memory = memory(&next);
        watch(&next, &memory, &proxy).take_over(START).unwrap();
        assert_eq!(memory.keys(0).is_some(), is_same, "{changes}");
    }
}

#[test]
fn the_same_set_fetched_again_is_the_same_keys_and_a_worker_without_them_does_not_rely_on_that() {
    let (proxy, policy) = (FakeProxy::new(), policy(&json!({})));
    let (one, other) = (memory(&policy), memory(&policy));
    let body = set(Issuer::of(Algorithm::Es256));
    fetched(watch(&policy, &one, &proxy), &body, START);
    let before = one.keys(0).unwrap();
    let at = START + (REFRESH + 1) * SECOND;
    let call = watch(&policy, &one, &proxy).look(at).unwrap().unwrap();
    assert_eq!(watch(&policy, &one, &proxy).take(call.claim, good(&body), at), Ok(Taken::Unchanged));
    assert!(std::rc::Rc::ptr_eq(&before, &one.keys(0).unwrap()));
    watch(&policy, &other, &proxy).take_over(at).unwrap();
    assert_eq!(watch(&policy, &other, &proxy).current(), watch(&policy, &one, &proxy).current());
}

#[test]
fn tokens_have_keys_fetched_at_once_and_then_once_in_a_cooldown_whatever_comes_and_whichever_worker_asks() {
    let (proxy, policy) = (FakeProxy::new(), policy(&json!({})));
    let workers = [memory(&policy), memory(&policy)];
    let watch = |worker: usize| self::watch(&policy, &workers[worker], &proxy);
    let body = set(Issuer::of(Algorithm::Es256));
    fetched(watch(0), &body, START);
    let mut at = START;
    let asked = |worker: usize, at: u64, wanted: u64| watch(worker).progress(at, wanted).unwrap();
    for answer in [Some(&body), None, Some(&body)] {
        at += 1;
        let call = asked(0, at + 1, at).call.unwrap();
        assert_eq!(asked(1, at + 1, at).call, None, "one is under way");
        match answer {
            Some(body) => assert_eq!(watch(0).take(call.claim, good(body), at + 2), Ok(Taken::Unchanged)),
            None => assert!(watch(0).fail(call.claim, String::new(), at + 2).is_err()),
        }
        for worker in [0, 1] {
            let progress = asked(worker, at + 3, at);
            assert_eq!((progress.call, progress.answered), (None, call.claim), "it has been answered");
            assert_eq!(asked(worker, call.claim + COOLDOWN - 1, at + 4).call, None, "another must wait");
        }
        at = call.claim + COOLDOWN - 1;
    }
}

#[test]
fn a_fetch_that_was_sent_before_a_token_came_does_not_answer_it() {
    let (proxy, policy) = (FakeProxy::new(), policy(&json!({})));
    let memory = memory(&policy);
    let watch = watch(&policy, &memory, &proxy);
    let body = set(Issuer::of(Algorithm::Es256));
    fetched(watch, &body, START);
    let due = START + (REFRESH + 1) * SECOND;
    let call = watch.look(due).unwrap().unwrap();
    let came = due + SECOND / 10;
    assert_eq!(watch.progress(came + 1, came).unwrap().call, None, "one is under way");
    assert_eq!(watch.take(call.claim, good(&body), came + 2), Ok(Taken::Unchanged));
    assert!(watch.progress(came + 3, came).unwrap().call.is_some(), "no token has asked for one before");
}

#[test]
fn a_fetch_says_who_fetches_and_what_the_policy_adds() {
    let proxy = FakeProxy::new();
    let agent = concat!("mtls-authz/", env!("CARGO_PKG_VERSION"));
    for (headers, expected) in [
        (json!({}), vec![("user-agent", agent)]),
        (json!({"X-Api-Key": "k e y"}), vec![("user-agent", agent), ("x-api-key", "k e y")]),
        (json!({"User-Agent": "own/1"}), vec![("user-agent", "own/1")]),
        (
            json!({"b": "2", "authorization": "Basic eA=="}),
            vec![("user-agent", agent), ("authorization", "Basic eA=="), ("b", "2")],
        ),
    ] {
        let policy = policy(&json!({"headers": headers}));
        let memory = memory(&policy);
        let request = watch(&policy, &memory, &proxy).fetch.request("application/json", None);
        assert_eq!(
            request[..5].iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            [":method", ":scheme", ":authority", ":path", "accept"]
        );
        assert_eq!(request[5..], expected);
        assert!(!format!("{:?}", policy.token).contains("k e y"), "what is printed shows no secret");
    }
    let policy = policy(&json!({}));
    let memory = memory(&policy);
    let request = watch(&policy, &memory, &proxy).fetch.request("application/json", Some("\"1\""));
    assert!(request.contains(&("if-none-match", "\"1\"")));
}

#[test]
fn a_header_that_cannot_be_sent_is_an_error_that_names_it_and_keeps_its_value() {
    let many: Value =
        (0..17).map(|number| (format!("x-{number}"), json!("value"))).collect::<serde_json::Map<_, _>>().into();
    for (what, headers, expected) in [
        ("a pseudo header", json!({":path": "/secret"}), "token.jwks_uri.headers: found \":path\""),
        ("no name", json!({"": "secret"}), "token.jwks_uri.headers: found \"\""),
        ("a space in a name", json!({"x y": "secret"}), "token.jwks_uri.headers: found \"x y\""),
        ("the host", json!({"Host": "secret"}), "token.jwks_uri.headers: found \"Host\""),
        ("a length", json!({"content-length": "secret"}), "content-length"),
        ("the connection", json!({"connection": "secret"}), "connection"),
        ("the framing", json!({"transfer-encoding": "secret"}), "transfer-encoding"),
        ("the condition", json!({"if-none-match": "secret"}), "if-none-match"),
        ("a coding", json!({"accept-encoding": "secret"}), "accept-encoding"),
        ("one in two cases", json!({"x-key": "secret", "X-Key": "secret"}), "each header once"),
        ("an empty value", json!({"x-key": ""}), "token.jwks_uri.headers.x-key: found another value"),
        ("a line end", json!({"x-key": "secret\r\nx: y"}), "token.jwks_uri.headers.x-key: found another value"),
        ("a NUL", json!({"x-key": "secret\0"}), "token.jwks_uri.headers.x-key: "),
        ("a letter beyond ASCII", json!({"x-key": "secret ü"}), "token.jwks_uri.headers.x-key: "),
        ("a space in front", json!({"x-key": " secret"}), "token.jwks_uri.headers.x-key: "),
        ("a long value", json!({"x-key": "secret".repeat(1_000)}), "1 to 4096"),
        ("a number", json!({"x-key": 5_318_008}), "token.jwks_uri.headers.x-key: found another value"),
        ("a list", json!({"x-key": ["secret"]}), "token.jwks_uri.headers.x-key: found another value"),
        ("a null", json!({"x-key": null}), "token.jwks_uri.headers.x-key: found another value"),
        ("too many", many, "token.jwks_uri.headers: found 17"),
        ("a text", json!("x-key: secret"), "token.jwks_uri.headers: "),
        ("nothing", json!(null), "token.jwks_uri.headers: "),
    ] {
        let problem = read(&json!({"headers": headers})).unwrap_err();
        assert!(problem.contains(expected), "{what}: {problem}");
        if what != "a text" {
            assert!(!problem.contains("secret") && !problem.contains("5318008"), "{what}: {problem}");
        }
    }
}

#[test]
fn an_answer_that_brings_nothing_says_what_to_look_at() {
    let (proxy, policy) = (FakeProxy::new(), policy(&json!({})));
    let tls = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport \
               failure reason: TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end";
    for (status, body, words) in [
        ("", "", "no answer came in time"),
        ("301", "", "redirects are not followed"),
        ("307", "", "redirects are not followed"),
        ("401", "", "\"headers\""),
        ("403", "your key is SECRET", "the status is 403; the server, or a firewall"),
        ("404", "", "authority and path"),
        ("429", "", "refresh_seconds"),
        ("500", "SECRET", "the status is 500"),
        ("503", tls, "CERTIFICATE_VERIFY_FAILED"),
        ("503", tls, "trusted_ca"),
        ("503", "no healthy upstream", "reached no endpoint"),
        ("504", "upstream request timeout", "the status is 504 (upstream request timeout)"),
        ("200", "", "the answer is empty"),
        ("200", " \r\n\t", "the answer is empty"),
        ("200", "<!DOCTYPE html><html>SECRET</html>", "HTML"),
        ("200", "\n<?xml version='1.0'?>", "HTML or XML"),
        ("200", "{}", "\"keys\""),
    ] {
        let memory = memory(&policy);
        let watch = watch(&policy, &memory, &proxy);
        let answer = Answer { status: status.as_bytes(), etag: None, body: body.as_bytes() };
        let claim = watch.look(START).unwrap().map_or(START, |call| call.claim);
        let problem = watch.take(claim, answer, START).unwrap_err();
        assert!(
            problem.contains(words) && !problem.contains("SECRET") && problem.len() < 700,
            "{status} {body}: {problem}"
        );
    }
}

/// The PEM of an authority whose certificate ends then, in seconds since 1970.
fn authority(not_after: i64) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::from_unix_timestamp(not_after - 400 * DAY).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(not_after).unwrap();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn an_issuer_certificate_of_lists_that_ends_soon_or_has_ended_is_told_and_used_all_the_same() {
    for (what, left, days, words) in [
        ("far away", 60 * DAY, 60, None),
        ("thirty days", 30 * DAY, 30, None),
        ("a second less", 30 * DAY - 1, 29, Some("expires in 29 days")),
        ("today", DAY - 1, 0, Some("expires in 0 days")),
        ("its last second", 0, 0, Some("expires in 0 days")),
        ("ended", -1, 0, Some("has expired")),
        ("long ended", -500 * DAY, 0, Some("has expired")),
    ] {
        let mut feed = uri(&json!({}));
        feed["type"] = json!("crl");
        feed["issuer_certificate"] = authority(NOW + left).into();
        let policy = Policy::from_json(json!({"revocation": {"feeds": [feed]}}).to_string()).unwrap();
        let (memory, proxy) = (Memory::default(), FakeProxy::new());
        let watch = Watch::list(0, &policy.revocation.feeds[0], &memory.revoked, &proxy);
        let issuer = watch.issuer().unwrap();
        assert_eq!(issuer.days_left(NOW), days, "{what}");
        let told = issuer.expiry(NOW);
        assert_eq!(told.is_some(), words.is_some(), "{what}");
        assert!(told.is_none_or(|told| told.contains(words.unwrap())), "{what}");
    }
}
