//! Which certificates are revoked, by which list, and what that means for a request.

use mtls_authz::{
    Answer, Certificate, Decision, Memory, Policy, Property, Reason, Request, Taken, Watch, decide, decision_record,
    log_line,
};
use rcgen::{SanType, SerialNumber};
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe};
use crate::proxy::{FakeProxy, NOW, headers};

const SECOND: u64 = 1_000_000_000;
const NOW_NS: u64 = NOW as u64 * SECOND;
const ISSUER: &str = "CN=Test CA,O=ExampleCorp";

fn policy(revocation: &Value) -> Policy {
    let policy = json!({
        "mode": "mtls",
        "revocation": revocation,
        "clients": {"acme": {"identities": ["spiffe://td/acme"], "profiles": ["all"]}},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
        "bypass": [{"path": "/health"}],
    });
    Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

fn refused(revocation: &Value) -> String {
    let policy = json!({"revocation": revocation});
    Policy::from_json(policy.to_string()).map(|_| ()).unwrap_err().to_string()
}

/// A client with a name of each kind, and serial number 0x0a1b.
fn acme() -> Leaf {
    let email = SanType::Rfc822Name("ops@acme.example".try_into().unwrap());
    let recipe = Recipe::new().uri("spiffe://td/acme").dns("acme.example").cn("acme");
    let serial = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names.push(email);
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0x1b]));
    };
    recipe.with(serial).issue()
}

fn ask(policy: &Policy, memory: &Memory, proxy: &FakeProxy) -> Decision {
    decide(policy, memory, &Request::new(&headers("GET", "/payments", &[])), proxy)
}

fn reason(policy: &Policy, memory: &Memory, proxy: &FakeProxy) -> Option<Reason> {
    ask(policy, memory, proxy).verdict.err().map(|deny| deny.reason)
}

/// A worker that remembers nothing yet.
fn fresh() -> Memory {
    Memory::default()
}

#[test]
fn a_certificate_is_revoked_by_its_thumbprint_by_its_serial_number_or_by_any_of_its_names() {
    let leaf = acme();
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    let (hex, base64url) = (certificate.thumbprint.to_hex(), leaf.thumbprint());
    let serial = |issuer: &str, serial: &str| json!({"serials": [{"issuer": issuer, "serial": serial}]});
    let name = |name: &str| json!({"identities": [name]});
    let proxy = FakeProxy::new().presenting(&leaf);
    for (revocation, list) in [
        (json!({"sha256": [hex]}), Some("sha256")),
        (json!({"sha256": [hex.to_uppercase()]}), Some("sha256")),
        (json!({"sha256": [base64url]}), Some("sha256")),
        (json!({"sha256": ["0".repeat(64)]}), None),
        (serial(ISSUER, "0a1b"), Some("serials")),
        (serial(ISSUER, "A1B"), Some("serials")),
        (serial(ISSUER, "00:0A:1b"), Some("serials")),
        (serial("cn=Test CA,2.5.4.10=ExampleCorp", "0a1b"), Some("serials")),
        (serial(ISSUER, "0a1b00"), None),
        (serial(ISSUER, "1b"), None),
        (serial("CN=test CA,O=EXAMPLECORP", "0a1b"), Some("serials")),
        (serial("O=ExampleCorp,CN=Test CA", "0a1b"), None),
        (serial("CN=Test CA", "0a1b"), None),
        (name("spiffe://td/acme"), Some("identities")),
        (name("dns:ACME.example"), Some("identities")),
        (name("cn:acme"), Some("identities")),
        (name("email:ops@acme.example"), Some("identities")),
        (name("subject:CN=acme"), Some("identities")),
        (name(&format!("sha256:{base64url}")), Some("identities")),
        (name("cn:Acme"), None),
        (name("dns:acme"), None),
        (json!({}), None),
        (json!({"sha256": [], "serials": [], "identities": [], "feeds": []}), None),
    ] {
        let decision = ask(&policy(&revocation), &fresh(), &proxy);
        let rule = list.map(|list| format!("revocation.{list}"));
        match (&decision.verdict, &rule) {
            (Ok(_), None) => {}
            (Err(deny), Some(rule)) => {
                assert_eq!(deny.reason, Reason::CertificateRevoked, "{revocation}");
                let names = headers("GET", "/payments", &[]);
                let record = decision_record(None, &Request::new(&names), &decision);
                let json: Value = serde_json::from_slice(&record).unwrap();
                assert_eq!(json["rule"], json!(rule), "{revocation}");
                assert_eq!(json["thumbprint"], json!(leaf.thumbprint()));
                assert_eq!(json["client_id"], json!("acme"));
                assert!(log_line(&record, &decision).contains(&format!("({rule}")), "{revocation}");
            }
            (verdict, _) => panic!("{revocation}: {verdict:?}"),
        }
    }
}

#[test]
fn the_note_says_which_serial_number_of_which_issuer() {
    let revocation = json!({"serials": [{"issuer": ISSUER, "serial": "0a1b"}]});
    let decision = ask(&policy(&revocation), &fresh(), &FakeProxy::new().presenting(&acme()));
    let note = decision.verdict.unwrap_err().note.unwrap();
    assert_eq!(note, format!("revocation.serials: serial 0a1b of {ISSUER}"));
}

#[test]
fn what_is_wrong_with_a_certificate_itself_comes_first_and_whose_it_is_comes_later() {
    let revoked = policy(&json!({"identities": ["cn:acme", "cn:nobody"]}));
    let expired = Recipe::new().cn("acme").with(|params| params.not_after = crate::certificates::at(-1)).issue();
    let nobody = Recipe::new().cn("nobody").issue();
    for (leaf, expected) in [(expired, Reason::CertificateExpired), (nobody, Reason::CertificateRevoked)] {
        let proxy = FakeProxy::new().presenting(&leaf);
        assert_eq!(reason(&revoked, &fresh(), &proxy), Some(expected));
    }
}

#[test]
fn where_only_properties_are_known_no_list_of_serial_numbers_or_names_can_clear_a_certificate() {
    let leaf = acme();
    let hex = Certificate::from_der(&leaf.der).unwrap().thumbprint.to_hex();
    let proxy = FakeProxy::new()
        .with(Property::PeerCertificateValid, [1])
        .with(Property::PeerCertificateDigest, hex.clone())
        .with(Property::PeerUriSan, "spiffe://td/acme");
    for (revocation, expected) in [
        (json!({"sha256": ["0".repeat(64)]}), None),
        (json!({"identities": ["cn:x"]}), Some(Reason::RevocationUnavailable)),
        (json!({"sha256": [hex]}), Some(Reason::CertificateRevoked)),
        (json!({"serials": [{"issuer": "CN=x", "serial": "1"}]}), Some(Reason::RevocationUnavailable)),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "1"}], "identities": ["spiffe://td/acme"]}),
            Some(Reason::CertificateRevoked),
        ),
    ] {
        assert_eq!(reason(&policy(&revocation), &fresh(), &proxy), expected, "{revocation}");
    }
}

#[test]
fn a_wrong_list_is_refused_with_its_place() {
    let feed = |changes: Value| {
        let mut feed = json!({"type": "json", "cluster": "c", "authority": "a", "path": "/"});
        for (name, value) in changes.as_object().unwrap() {
            feed[name] = value.clone();
        }
        json!({"feeds": [feed]})
    };
    let ca = crate::certificates::ca().pem;
    for (revocation, path, words) in [
        (json!([]), "revocation", "expected an object"),
        (json!({"sha265": []}), "revocation.sha265", "unknown field"),
        (json!({"sha256": [1]}), "revocation.sha256[0]", "expected a string"),
        (json!({"sha256": ["0".repeat(64), "00"]}), "revocation.sha256[1]", "64 hexadecimal digits"),
        (json!({"serials": ["1"]}), "revocation.serials[0]", "an object of issuer and serial"),
        (json!({"serials": [{"issuer": "CN=x"}]}), "revocation.serials[0]", "serial"),
        (json!({"serials": [{"issuer": "x", "serial": "1"}]}), "revocation.serials[0].issuer", "RFC 4514"),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "0x1"}]}),
            "revocation.serials[0].serial",
            "hexadecimal digits",
        ),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "1:2"}]}),
            "revocation.serials[0].serial",
            "hexadecimal digits",
        ),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "01:2"}]}),
            "revocation.serials[0].serial",
            "hexadecimal digits",
        ),
        (json!({"serials": [{"issuer": "CN=x", "serial": ""}]}), "revocation.serials[0].serial", "hexadecimal digits"),
        (
            json!({"serials": [{"issuer": "CN=x", "serial": "1", "reason": 1}]}),
            "revocation.serials[0].reason",
            "unknown field",
        ),
        (json!({"identities": ["acme"]}), "revocation.identities[0]", "typed identity"),
        (feed(json!({"type": "ocsp"})), "revocation.feeds[0].type", "\"json\" or \"crl\""),
        (feed(json!({"cluster": ""})), "revocation.feeds[0].cluster", "the name of a cluster"),
        (feed(json!({"path": "x"})), "revocation.feeds[0].path", "the path of the list"),
        (feed(json!({"refresh_seconds": 0})), "revocation.feeds[0].refresh_seconds", "at least 1"),
        (
            feed(json!({"max_stale_seconds": 59})),
            "revocation.feeds[0].max_stale_seconds",
            "at least refresh_seconds (60)",
        ),
        (feed(json!({"on_stale": "refuse"})), "revocation.feeds[0].on_stale", "\"deny\" or \"allow\""),
        (feed(json!({"issuer_certificate": ca})), "revocation.feeds[0].issuer_certificate", "\"type\": \"crl\""),
        (feed(json!({"type": "crl"})), "revocation.feeds[0].issuer_certificate", "the PEM of the certificate"),
        (feed(json!({"type": "crl", "issuer_certificate": "x"})), "revocation.feeds[0].issuer_certificate", "PEM"),
        (
            feed(json!({"type": "crl", "issuer_certificate": acme().pem})),
            "revocation.feeds[0].issuer_certificate",
            "the authority that signs the list",
        ),
        (json!({"feeds": vec![feed(json!({}))["feeds"][0].clone(); 17]}), "revocation.feeds", "at most 16 feeds"),
    ] {
        let message = refused(&revocation);
        assert!(message.starts_with(&format!("{path}: ")) && message.contains(words), "{revocation}: {message}");
    }
}

/// The feed of a policy, as one worker sees it.
struct Worker {
    memory: Memory,
}

impl Worker {
    fn watch<'a>(&'a self, policy: &'a Policy, proxy: &'a FakeProxy) -> Watch<'a> {
        Watch { index: 0, feed: &policy.revocation.feeds[0], in_force: &self.memory.revoked, proxy }
    }
}

fn worker() -> Worker {
    Worker { memory: fresh() }
}

fn with_feed(changes: &Value) -> Policy {
    let mut feed = json!({
        "type": "json", "cluster": "c", "authority": "a", "path": "/", "refresh_seconds": 10, "max_stale_seconds": 100,
    });
    for (name, value) in changes.as_object().unwrap() {
        feed[name] = value.clone();
    }
    policy(&json!({"feeds": [feed]}))
}

/// Has a worker fetch an answer, whether one is due or not.
fn take(worker: &Worker, policy: &Policy, proxy: &FakeProxy, answer: Answer<'_>, at: u64) -> Result<Taken, String> {
    let watch = worker.watch(policy, proxy);
    let call = watch.look(at).unwrap().or_else(|| watch.look(at + 1_000_000 * SECOND).unwrap());
    watch.take(call.unwrap().claim, answer, at)
}

fn answer<'a>(status: &'a str, body: &'a [u8]) -> Answer<'a> {
    Answer { status: status.as_bytes(), etag: None, body }
}

fn naming(name: &str) -> String {
    json!({"identities": [name]}).to_string()
}

#[test]
fn one_worker_fetches_and_all_of_them_refuse_on_their_next_request() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let workers = [worker(), worker(), worker()];
    for worker in &workers {
        assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::RevocationUnavailable), "nothing has come");
    }
    let sent = workers.each_ref().map(|worker| worker.watch(&policy, &proxy).look(NOW_NS).unwrap().is_some());
    assert_eq!(sent, [true, false, false], "one fetch in flight");
    let early = NOW_NS - SECOND / 2;
    assert_eq!(workers[1].watch(&policy, &proxy).look(early).unwrap(), None, "whose clock is a little behind");
    let taken = take(&workers[0], &policy, &proxy, answer("200", naming("cn:other").as_bytes()), NOW_NS);
    assert_eq!(taken, Ok(Taken::Adopted(1)));
    for worker in &workers {
        worker.watch(&policy, &proxy).look(NOW_NS).unwrap();
        assert_eq!(reason(&policy, &worker.memory, &proxy), None);
    }
    // What was remembered of the connection does not outlive the next list, whichever worker fetches it.
    let later = NOW_NS + 11 * SECOND;
    let sent = workers.each_ref().map(|worker| worker.watch(&policy, &proxy).look(later).unwrap().is_some());
    assert_eq!(sent, [true, false, false]);
    let taken = take(&workers[0], &policy, &proxy, answer("200", naming("cn:acme").as_bytes()), later);
    assert_eq!(taken, Ok(Taken::Adopted(1)));
    for worker in &workers {
        worker.watch(&policy, &proxy).take_over().unwrap();
        let decision = ask(&policy, &worker.memory, &proxy);
        let deny = decision.verdict.unwrap_err();
        assert_eq!(
            (deny.reason, deny.matched.unwrap().to_string().as_str()),
            (Reason::CertificateRevoked, "revocation.feeds[0].identities")
        );
    }
    let taken = take(&workers[2], &policy, &proxy, answer("200", naming("cn:other").as_bytes()), later);
    assert_eq!(taken, Ok(Taken::Adopted(1)));
    workers[0].watch(&policy, &proxy).take_over().unwrap();
    assert_eq!(reason(&policy, &workers[0].memory, &proxy), None, "the entry was withdrawn");
}

#[test]
fn what_cannot_be_used_leaves_the_last_good_list_in_force() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let worker = worker();
    let take = |answer: Answer<'_>| self::take(&worker, &policy, &proxy, answer, NOW_NS);
    assert_eq!(take(answer("200", naming("cn:acme").as_bytes())), Ok(Taken::Adopted(1)));
    let mut long = vec![b' '; mtls_authz::MAX_FEED_BYTES];
    long.extend_from_slice(b"{\"sha256\": []}");
    let repeated = r#"{"sha256": [], "sha256": []}"#;
    for (status, body, words) in [
        ("", "", "no answer came in time"),
        ("503", "", "the status is 503"),
        ("302", "", "the status is 302"),
        ("200", "", "EOF"),
        ("200", "<html></html>", "expected value"),
        ("200", "{}", "expected at least one of them"),
        ("200", "[]", "expected an object"),
        ("200", "null", "expected an object"),
        ("200", r#"{"sha256": []} x"#, "trailing characters"),
        ("200", r#"{"sha256": ["#, "EOF"),
        ("200", r#"{"feeds": []}"#, "unknown field"),
        ("200", r#"{"sha256": ["x"]}"#, "sha256[0]"),
        ("200", r#"{"identities": ["acme"]}"#, "identities[0]"),
        ("200", repeated, "duplicate field"),
    ] {
        let problem = take(answer(status, body.as_bytes())).unwrap_err();
        assert!(problem.contains(words), "{status} {body}: {problem}");
    }
    assert_eq!(take(answer("200", &long)), Err("it is longer than 8 MiB".to_owned()));
    assert_eq!(take(answer("200", b"\xff")).map_err(|problem| problem.contains("not UTF-8")), Err(true));
    assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::CertificateRevoked));
}

#[test]
fn a_list_that_is_too_old_refuses_or_clears_as_the_policy_says_and_still_revokes() {
    let (good, revoked) = (FakeProxy::new().presenting(&Recipe::new().uri("spiffe://td/acme").issue()), acme());
    let revoked = FakeProxy::new().presenting(&revoked);
    for (on_stale, came, expected) in [
        ("deny", None, Some(Reason::RevocationUnavailable)),
        ("deny", Some(0), None),
        ("deny", Some(99), None),
        ("deny", Some(100), Some(Reason::RevocationUnavailable)),
        ("allow", None, None),
        ("allow", Some(1_000), None),
    ] {
        let policy = with_feed(&json!({"on_stale": on_stale}));
        let worker = worker();
        if let Some(ago) = came {
            let then = NOW_NS - ago * SECOND;
            take(&worker, &policy, &good, answer("200", naming("cn:acme").as_bytes()), then).unwrap();
            assert_eq!(reason(&policy, &worker.memory, &revoked), Some(Reason::CertificateRevoked), "{on_stale} {ago}");
        }
        assert_eq!(reason(&policy, &worker.memory, &good), expected, "{on_stale} {came:?}");
        let names = headers("GET", "/health", &[]);
        assert!(decide(&policy, &worker.memory, &Request::new(&names), &good).verdict.is_ok(), "bypassed");
    }
}

#[test]
fn what_has_not_changed_is_not_read_again_and_counts_as_fresh() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let worker = worker();
    let body = naming("cn:other");
    let tagged = Answer { etag: Some(b"\"1\""), ..answer("200", body.as_bytes()) };
    let then = NOW_NS - 200 * SECOND;
    assert_eq!(worker.watch(&policy, &proxy).look(then).unwrap().unwrap().etag, None);
    assert_eq!(take(&worker, &policy, &proxy, answer("304", b""), then), Err("the status is 304".to_owned()));
    let untagged = answer("200", body.as_bytes());
    assert_eq!(take(&worker, &policy, &proxy, untagged, then), Ok(Taken::Adopted(1)));
    assert_eq!(take(&worker, &policy, &proxy, answer("304", b""), then), Err("the status is 304".to_owned()));
    let other = naming("cn:another");
    let tagged = Answer { body: other.as_bytes(), ..tagged };
    assert_eq!(take(&worker, &policy, &proxy, tagged, then), Ok(Taken::Adopted(1)));
    assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::RevocationUnavailable));
    let call = worker.watch(&policy, &proxy).look(then + 11 * SECOND).unwrap().unwrap();
    assert_eq!(call.etag.as_deref(), Some("\"1\""));
    for (answer, at) in [(answer("304", b""), 60), (tagged, 50)] {
        assert_eq!(take(&worker, &policy, &proxy, answer, NOW_NS - at * SECOND), Ok(Taken::Unchanged));
        assert_eq!(reason(&policy, &worker.memory, &proxy), None);
    }
    // Another worker, which has no list yet, gets it from the first one.
    let other = self::worker();
    other.watch(&policy, &proxy).take_over().unwrap();
    assert_eq!(reason(&policy, &other.memory, &proxy), None);
}

#[test]
fn a_worker_without_the_list_relies_on_no_answer_that_says_it_is_unchanged() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let body = naming("cn:acme");
    let tagged = Answer { etag: Some(b"\"1\""), ..answer("200", body.as_bytes()) };
    take(&worker(), &policy, &proxy, tagged, NOW_NS).unwrap();
    // The list is lost, as if the worker had ended between two calls.
    proxy.shared.borrow_mut().retain(|name, _| name.ends_with(".state"));
    let other = worker();
    let call = other.watch(&policy, &proxy).look(NOW_NS + 11 * SECOND).unwrap().unwrap();
    assert_eq!(call.etag, None);
    assert_eq!(take(&other, &policy, &proxy, tagged, NOW_NS + 11 * SECOND), Ok(Taken::Adopted(1)));
    assert_eq!(reason(&policy, &other.memory, &proxy), Some(Reason::CertificateRevoked));
}

#[test]
fn the_next_fetch_is_due_when_it_should_be() {
    let (policy, proxy) = (with_feed(&json!({"timeout_ms": 2_000})), FakeProxy::new());
    let worker = worker();
    let look = |at: u64| worker.watch(&policy, &proxy).look(at).unwrap().is_some();
    let at = |seconds: u64| NOW_NS + seconds * SECOND;
    assert!(look(at(0)));
    // One that never ends is lost a second after its time.
    assert!(!look(at(2)) && !look(at(3) - 1) && look(at(3)));
    // Without a list it is tried again after a second, with one after ten at most.
    take(&worker, &policy, &proxy, answer("500", b""), at(4)).unwrap_err();
    assert!(!look(at(5) - 1) && look(at(5)));
    take(&worker, &policy, &proxy, answer("200", naming("cn:x").as_bytes()), at(6)).unwrap();
    let due = (0..=100).find(|tenths| look(at(6) + tenths * SECOND / 10)).unwrap();
    assert!((90..=100).contains(&due), "up to a tenth earlier: {due}");
    // A clock that was set back does not put it off for ever.
    take(&worker, &policy, &proxy, answer("500", b""), at(1_000_000)).unwrap_err();
    assert!(look(at(20)));
    // Nor does an earlier policy that asked less often.
    let seldom = with_feed(&json!({"refresh_seconds": 50}));
    take(&worker, &seldom, &proxy, answer("200", naming("cn:y").as_bytes()), at(30)).unwrap();
    assert!(look(at(30)));
}

#[test]
fn a_list_that_nobody_leaves_is_fetched_again() {
    let (policy, proxy) = (with_feed(&json!({"refresh_seconds": 3_600, "max_stale_seconds": 7_200})), FakeProxy::new());
    take(&worker(), &policy, &proxy, answer("200", naming("cn:x").as_bytes()), NOW_NS).unwrap();
    proxy.shared.borrow_mut().retain(|name, _| name.ends_with(".state"));
    let other = worker();
    for (later, due) in [(0, false), (29, false), (30, true)] {
        let at = NOW_NS + later * SECOND;
        assert_eq!(other.watch(&policy, &proxy).look(at).unwrap().is_some(), due, "{later}");
    }
}

#[test]
fn an_answer_that_comes_too_late_replaces_nothing() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let (slow, fast) = (worker(), worker());
    let lost = slow.watch(&policy, &proxy).look(NOW_NS).unwrap().unwrap();
    let later = NOW_NS + 4 * SECOND;
    take(&fast, &policy, &proxy, answer("200", naming("cn:acme").as_bytes()), later).unwrap();
    for late in [answer("200", naming("cn:other").as_bytes()), answer("304", b""), answer("500", b"")] {
        let problem = slow.watch(&policy, &proxy).take(lost.claim, late, later).unwrap_err();
        assert!(problem.contains("came so late"), "{problem}");
    }
    for worker in [&slow, &fast] {
        worker.watch(&policy, &proxy).take_over().unwrap();
        assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::CertificateRevoked));
    }
    assert_eq!(fast.watch(&policy, &proxy).look(later + SECOND).unwrap(), None, "nor does it put off the next fetch");
}

#[test]
fn a_clock_that_was_ahead_keeps_no_list_fresh() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    for (ahead, expected) in [(300, None), (301, Some(Reason::RevocationUnavailable))] {
        let worker = worker();
        take(&worker, &policy, &proxy, answer("200", naming("cn:x").as_bytes()), NOW_NS + ahead * SECOND).unwrap();
        assert_eq!(reason(&policy, &worker.memory, &proxy), expected, "{ahead}");
    }
}

#[test]
fn what_another_program_left_in_the_shared_values_is_replaced() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    take(&worker(), &policy, &proxy, answer("200", naming("cn:acme").as_bytes()), NOW_NS).unwrap();
    for bytes in [b"".to_vec(), b"?".to_vec(), vec![0xff; 80]] {
        for shared in proxy.shared.borrow_mut().values_mut() {
            shared.value.clone_from(&bytes);
        }
        let worker = worker();
        assert!(worker.watch(&policy, &proxy).look(NOW_NS).unwrap().is_some(), "{bytes:?}");
        let taken = take(&worker, &policy, &proxy, answer("200", naming("cn:acme").as_bytes()), NOW_NS);
        assert_eq!(taken, Ok(Taken::Adopted(1)));
        assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::CertificateRevoked));
    }
}

#[test]
fn a_hundred_thousand_entries_are_found_one_by_one() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new());
    let serials: Vec<Value> =
        (0..50_000).map(|number| json!({"issuer": ISSUER, "serial": format!("{number:x}")})).collect();
    let names: Vec<String> = (0..50_000).map(|number| format!("cn:client-{number}")).collect();
    let body = json!({"serials": serials, "identities": names}).to_string();
    let (first, second) = (worker(), worker());
    let taken = take(&first, &policy, &proxy, answer("200", body.as_bytes()), NOW_NS);
    assert_eq!(taken, Ok(Taken::Adopted(100_000)));
    second.watch(&policy, &proxy).take_over().unwrap();
    for (leaf, listed) in [
        (Recipe::new().uri("spiffe://td/acme").cn("client-49999").issue(), true),
        (
            Recipe::new()
                .uri("spiffe://td/acme")
                .cn("client-50000")
                .with(|params| params.serial_number = Some(SerialNumber::from(50_000)))
                .issue(),
            false,
        ),
        (
            Recipe::new()
                .uri("spiffe://td/acme")
                .with(|params| params.serial_number = Some(SerialNumber::from(49_999)))
                .issue(),
            true,
        ),
    ] {
        for worker in [&first, &second] {
            let found = reason(&policy, &worker.memory, &FakeProxy::new().presenting(&leaf));
            assert_eq!(found, listed.then_some(Reason::CertificateRevoked));
        }
    }
}
