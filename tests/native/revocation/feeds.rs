//! How lists are fetched, shared between workers and kept.

use std::cell::Cell;

use mtls_authz::{HostError, Proxy, Swap};

use super::*;
use crate::proxy::answered_by_fake;

/// The feed of a policy, as one worker sees it.
pub struct Worker {
    pub memory: Memory,
}

impl Worker {
    pub fn watch<'a>(&'a self, policy: &'a Policy, proxy: &'a FakeProxy) -> Watch<'a> {
        Watch::list(0, &policy.revocation.feeds[0], &self.memory.revoked, proxy)
    }
}

pub fn worker() -> Worker {
    Worker { memory: fresh() }
}

pub fn with_feed(changes: &Value) -> Policy {
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
    let claim = watch.look(at).unwrap().map_or(at, |call| call.claim);
    let taken = watch.take(claim, answer, at);
    watch.take_over(at).unwrap();
    taken
}

pub fn answer<'a>(status: &'a str, body: &'a [u8]) -> Answer<'a> {
    Answer { status: status.as_bytes(), etag: None, body }
}

pub fn naming(name: &str) -> String {
    json!({"identities": [name]}).to_string()
}

#[test]
fn at_the_start_certificates_wait_for_every_list_and_then_for_those_of_feeds_that_deny() {
    let second = 1_000_000_000;
    for (on_stale, at_last) in [("deny", Some(Reason::RevocationUnavailable)), ("allow", None)] {
        let policy = with_feed(&json!({"on_stale": on_stale, "timeout_ms": 2_000}));
        let (worker, proxy) = (worker(), FakeProxy::new().presenting(&acme()));
        let watch = worker.watch(&policy, &proxy);
        let ask = || (reason(&policy, &worker.memory, &proxy), watch.is_missing());
        worker.memory.revoked.begin(START);
        for after in [0, second, 2 * second - 1] {
            watch.take_over(START + after).unwrap();
            assert_eq!(ask(), (Some(Reason::RevocationUnavailable), true), "{on_stale} {after}");
        }
        watch.take_over(START + 2 * second).unwrap();
        assert_eq!(ask(), (at_last, at_last.is_some()), "{on_stale}");
        worker.memory.revoked.begin(START);
        take(&worker, &policy, &proxy, answer("200", naming("cn:other").as_bytes()), START + 1).unwrap();
        assert_eq!(ask(), (None, false), "{on_stale}: it has come");
    }
}

#[test]
fn one_worker_fetches_and_all_of_them_refuse_on_their_next_request() {
    let connection = FakeProxy::new().presenting(&acme());
    let (policy, proxy) = (with_feed(&json!({})), connection);
    let workers = [worker(), worker(), worker()];
    for worker in &workers {
        assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::RevocationUnavailable), "nothing has come");
    }
    let sent = workers.each_ref().map(|worker| worker.watch(&policy, &proxy).look(START).unwrap().is_some());
    assert_eq!(sent, [true, false, false], "one fetch in flight");
    let early = START - SECOND / 2;
    assert_eq!(workers[1].watch(&policy, &proxy).look(early).unwrap(), None, "whose clock is a little behind");
    let taken = take(&workers[0], &policy, &proxy, answer("200", naming("cn:other").as_bytes()), START);
    assert_eq!(taken, Ok(Taken::Adopted(1)));
    for worker in &workers {
        worker.watch(&policy, &proxy).look(START).unwrap();
        assert_eq!(reason(&policy, &worker.memory, &proxy), None);
    }
    // What was remembered of the connection does not outlive the next list, whichever worker fetches it.
    let later = START + 11 * SECOND;
    let sent = workers.each_ref().map(|worker| worker.watch(&policy, &proxy).look(later).unwrap().is_some());
    assert_eq!(sent, [true, false, false]);
    let taken = take(&workers[0], &policy, &proxy, answer("200", naming("cn:acme").as_bytes()), later);
    assert_eq!(taken, Ok(Taken::Adopted(1)));
    for worker in &workers {
        worker.watch(&policy, &proxy).take_over(START).unwrap();
        let decision = ask(&policy, &worker.memory, &proxy);
        let deny = decision.verdict.unwrap_err();
        assert_eq!(
            (deny.reason, deny.matched.unwrap().to_string().as_str()),
            (Reason::CertificateRevoked, "revocation.feeds[0].identities")
        );
    }
    let taken = take(&workers[2], &policy, &proxy, answer("200", naming("cn:other").as_bytes()), later);
    assert_eq!(taken, Ok(Taken::Adopted(1)));
    workers[0].watch(&policy, &proxy).take_over(START).unwrap();
    assert_eq!(reason(&policy, &workers[0].memory, &proxy), None, "the entry was withdrawn");
}

#[test]
fn what_cannot_be_used_leaves_the_last_good_list_in_force() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let worker = worker();
    let take = |answer: Answer<'_>| self::take(&worker, &policy, &proxy, answer, START);
    assert_eq!(take(answer("200", naming("cn:acme").as_bytes())), Ok(Taken::Adopted(1)));
    let mut long = vec![b' '; mtls_authz::MAX_FEED_BYTES];
    long.extend_from_slice(b"{\"sha256\": []}");
    let repeated = r#"{"sha256": [], "sha256": []}"#;
    for (status, body, words) in [
        ("", "", "no answer came in time"),
        ("503", "", "the status is 503"),
        ("302", "", "the status is 302"),
        ("200", "", "the answer is empty"),
        ("200", "<html></html>", "HTML or XML page"),
        ("200", "{}", "expected at least one of them"),
        ("200", "[]", "expected an object"),
        ("200", "null", "expected an object"),
        ("200", r#"{"sha256": []} x"#, "found text behind the end"),
        ("200", r#"{"sha256": ["#, "found the end of the text"),
        ("200", r#"{"feeds": []}"#, "found the unknown key `feeds`"),
        ("200", r#"{"sha256": ["x"]}"#, "sha256[0]"),
        ("200", r#"{"identities": ["acme"]}"#, "identities[0]"),
        ("200", repeated, "found the key \"sha256\" again"),
    ] {
        let problem = take(answer(status, body.as_bytes())).unwrap_err();
        assert!(problem.contains(words) && !problem.contains("configuration"), "{status} {body}: {problem}");
    }
    assert_eq!(take(answer("200", &long)), Err("it is longer than 8 MiB".to_owned()));
    let longest = vec![b' '; mtls_authz::MAX_FEED_BYTES];
    assert_eq!(take(answer("200", &longest)).map_err(|problem| problem.contains("empty")), Err(true));
    assert_eq!(take(answer("200", b"\xff")).map_err(|problem| problem.contains("not UTF-8")), Err(true));
    assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::CertificateRevoked));
}

#[test]
fn a_list_that_is_too_old_refuses_or_clears_as_the_policy_says_and_still_revokes() {
    let (leaf, revoked) = (Recipe::new().uri("spiffe://td/acme").issue(), acme());
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
        let (worker, good) = (worker(), FakeProxy::new().presenting(&leaf));
        let is_missing = || worker.watch(&policy, &good).is_missing();
        assert_eq!(is_missing(), on_stale == "deny", "worth waiting for");
        if let Some(ago) = came {
            let then = START - ago * SECOND;
            take(&worker, &policy, &good, answer("200", naming("cn:acme").as_bytes()), then).unwrap();
            assert_eq!(reason(&policy, &worker.memory, &revoked), Some(Reason::CertificateRevoked), "{on_stale} {ago}");
            assert!(!is_missing());
            worker.watch(&policy, &good).take_over(START).unwrap();
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
    let then = START - 200 * SECOND;
    assert_eq!(worker.watch(&policy, &proxy).look(then).unwrap().unwrap().etag, None);
    assert_eq!(take(&worker, &policy, &proxy, answer("304", b""), then), Err("the status is 304".to_owned()));
    let untagged = answer("200", body.as_bytes());
    assert_eq!(take(&worker, &policy, &proxy, untagged, then), Ok(Taken::Adopted(1)));
    assert_eq!(take(&worker, &policy, &proxy, answer("304", b""), then), Err("the status is 304".to_owned()));
    let other = naming("cn:another");
    let tagged = Answer { body: other.as_bytes(), ..tagged };
    assert_eq!(take(&worker, &policy, &proxy, tagged, then), Ok(Taken::Adopted(1)));
    worker.watch(&policy, &proxy).take_over(START).unwrap();
    assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::RevocationUnavailable));
    let call = worker.watch(&policy, &proxy).look(then + 11 * SECOND).unwrap().unwrap();
    assert_eq!(call.etag.as_deref(), Some("\"1\""));
    for (answer, at) in [(answer("304", b""), 60), (tagged, 50)] {
        assert_eq!(take(&worker, &policy, &proxy, answer, START - at * SECOND), Ok(Taken::Unchanged));
        worker.watch(&policy, &proxy).take_over(START).unwrap();
        assert_eq!(reason(&policy, &worker.memory, &proxy), None);
    }
    // Another worker, which has no list yet, gets it from the first one.
    let other = self::worker();
    other.watch(&policy, &proxy).take_over(START).unwrap();
    assert_eq!(reason(&policy, &other.memory, &proxy), None);
}

#[test]
fn a_worker_without_the_list_relies_on_no_answer_that_says_it_is_unchanged() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let body = naming("cn:acme");
    let tagged = Answer { etag: Some(b"\"1\""), ..answer("200", body.as_bytes()) };
    take(&worker(), &policy, &proxy, tagged, START).unwrap();
    // The list is lost, as if the worker had ended between two calls.
    proxy.shared.borrow_mut().retain(|name, _| name.ends_with(".state"));
    let other = worker();
    let call = other.watch(&policy, &proxy).look(START + 11 * SECOND).unwrap().unwrap();
    assert_eq!(call.etag, None);
    assert_eq!(take(&other, &policy, &proxy, tagged, START + 11 * SECOND), Ok(Taken::Adopted(1)));
    assert_eq!(reason(&policy, &other.memory, &proxy), Some(Reason::CertificateRevoked));
}

#[test]
fn the_next_fetch_is_due_when_it_should_be() {
    let (policy, proxy) = (with_feed(&json!({"timeout_ms": 2_000})), FakeProxy::new());
    let worker = worker();
    let look = |at: u64| worker.watch(&policy, &proxy).look(at).unwrap().map(|call| call.claim);
    let body = naming("cn:x");
    let take = |claim, answer, at| worker.watch(&policy, &proxy).take(claim, answer, at);
    let at = |seconds: u64| START + seconds * SECOND;
    assert!(look(at(0)).is_some());
    // One that never ends is lost a second after its time.
    assert_eq!([look(at(2)), look(at(3) - 1)], [None, None]);
    let claim = look(at(3)).unwrap();
    // Without a list it is tried again after a second, with one after ten at most.
    take(claim, answer("500", b""), at(4)).unwrap_err();
    assert_eq!(look(at(5) - 1), None);
    let claim = look(at(5)).unwrap();
    take(claim, answer("200", body.as_bytes()), at(6)).unwrap();
    let (due, claim) = (0..=100).find_map(|tenths| Some((tenths, look(at(6) + tenths * SECOND / 10)?))).unwrap();
    assert!((90..=100).contains(&due), "up to a tenth earlier: {due}");
    take(claim, answer("500", b""), at(17)).unwrap_err();
    assert_eq!(look(at(27) - 1), None);
    assert!(look(at(27)).is_some());
}

#[test]
fn what_a_worker_that_ends_had_asked_for_is_asked_for_at_once_and_no_other_claim_is_touched() {
    let (policy, proxy) = (with_feed(&json!({"timeout_ms": 2_000})), FakeProxy::new());
    let (ended, other) = (worker(), worker());
    let look = |worker: &Worker, at: u64| worker.watch(&policy, &proxy).look(at).unwrap().map(|call| call.claim);
    let claim = look(&ended, START).unwrap();
    assert_eq!(look(&other, START + 1), None);
    ended.watch(&policy, &proxy).withdraw(claim).unwrap();
    assert!(look(&other, START + 2).is_some());
    ended.watch(&policy, &proxy).withdraw(claim).unwrap();
    assert_eq!(look(&ended, START + 3), None, "the claim of the other one");
}

#[test]
fn a_list_that_nobody_leaves_is_fetched_again() {
    let (policy, proxy) = (with_feed(&json!({"refresh_seconds": 3_600, "max_stale_seconds": 7_200})), FakeProxy::new());
    let (first, other) = (worker(), worker());
    take(&first, &policy, &proxy, answer("200", naming("cn:x").as_bytes()), START).unwrap();
    proxy.shared.borrow_mut().retain(|name, _| name.ends_with(".state"));
    for (later, due) in [(0, false), (29, false), (30, true)] {
        let at = START + later * SECOND;
        assert_eq!(first.watch(&policy, &proxy).look(at).unwrap(), None, "{later}: has it");
        assert_eq!(other.watch(&policy, &proxy).look(at).unwrap().is_some(), due, "{later}");
    }
}

#[test]
fn an_answer_that_comes_too_late_replaces_nothing() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let (slow, fast) = (worker(), worker());
    let lost = slow.watch(&policy, &proxy).look(START).unwrap().unwrap();
    let later = START + 4 * SECOND;
    take(&fast, &policy, &proxy, answer("200", naming("cn:acme").as_bytes()), later).unwrap();
    for late in [answer("200", naming("cn:other").as_bytes()), answer("304", b""), answer("500", b"")] {
        let problem = slow.watch(&policy, &proxy).take(lost.claim, late, later).unwrap_err();
        assert!(problem.contains("came so late"), "{problem}");
    }
    for worker in [&slow, &fast] {
        worker.watch(&policy, &proxy).take_over(START).unwrap();
        assert_eq!(reason(&policy, &worker.memory, &proxy), Some(Reason::CertificateRevoked));
    }
    assert_eq!(fast.watch(&policy, &proxy).look(later + SECOND).unwrap(), None, "nor does it put off the next fetch");
}

#[test]
fn an_answer_to_an_earlier_request_replaces_nothing_that_a_later_one_has_found_unchanged() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let (slow, fast) = (worker(), worker());
    let body = naming("cn:acme");
    take(&fast, &policy, &proxy, answer("200", body.as_bytes()), START).unwrap();
    let earlier = START + 10 * SECOND;
    let lost = slow.watch(&policy, &proxy).look(earlier).unwrap().unwrap();
    let later = earlier + 4 * SECOND;
    assert_eq!(take(&fast, &policy, &proxy, answer("200", body.as_bytes()), later), Ok(Taken::Unchanged));
    let late = answer("200", b"{}");
    let problem = slow.watch(&policy, &proxy).take(lost.claim, late, later + 1).unwrap_err();
    assert!(problem.contains("came so late"), "{problem}");
    slow.watch(&policy, &proxy).take_over(later + 1).unwrap();
    assert_eq!(reason(&policy, &slow.memory, &proxy), Some(Reason::CertificateRevoked));
}

/// A proxy in which others write the same list first, so many times.
struct Contended {
    fake: FakeProxy,
    losses: Cell<usize>,
}

impl Proxy for Contended {
    answered_by_fake!(property leave_note verify_signature now monotonic shared);

    fn swap_shared(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<Swap, HostError> {
        match self.losses.get().checked_sub(1).filter(|_| key.ends_with(".list")) {
            Some(left) => {
                self.losses.set(left);
                Ok(Swap::Lost)
            }
            None => self.fake.swap_shared(key, value, version),
        }
    }
}

#[test]
fn a_list_is_left_although_others_write_at_the_same_time() {
    let (policy, fake) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    let (proxy, memory) = (Contended { fake, losses: Cell::new(3) }, fresh());
    let watch = Watch::list(0, &policy.revocation.feeds[0], &memory.revoked, &proxy);
    let call = watch.look(START).unwrap().unwrap();
    let taken = watch.take(call.claim, answer("200", naming("cn:acme").as_bytes()), START);
    assert_eq!((taken, proxy.losses.get()), (Ok(Taken::Adopted(1)), 0));
    let other = worker();
    other.watch(&policy, &proxy.fake).take_over(START).unwrap();
    assert_eq!(reason(&policy, &other.memory, &proxy.fake), Some(Reason::CertificateRevoked));
}

#[test]
fn a_list_grows_old_by_a_clock_that_is_never_set() {
    let policy = with_feed(&json!({}));
    let lasting = Recipe::new().uri("spiffe://td/acme").with(|params| {
        (params.not_before, params.not_after) = (crate::certificates::at(-10_000), crate::certificates::at(10_000));
    });
    let lasting = lasting.issue();
    for (then, later) in [(0, 3_600), (0, -3_600), (3_600, 0), (-3_600, 0), (0, 0)] {
        let (worker, proxy) = (worker(), FakeProxy::new().presenting(&lasting));
        proxy.set_by.set(then);
        take(&worker, &policy, &proxy, answer("200", naming("cn:x").as_bytes()), START).unwrap();
        proxy.set_by.set(later);
        for (passed, expected) in [(0, None), (99, None), (100, Some(Reason::RevocationUnavailable))] {
            worker.watch(&policy, &proxy).take_over(START + passed * SECOND).unwrap();
            assert_eq!(reason(&policy, &worker.memory, &proxy), expected, "{then} {later} {passed}");
        }
    }
}

#[test]
fn what_another_program_left_in_the_shared_values_is_replaced() {
    let (policy, proxy) = (with_feed(&json!({})), FakeProxy::new().presenting(&acme()));
    take(&worker(), &policy, &proxy, answer("200", naming("cn:acme").as_bytes()), START).unwrap();
    for bytes in [b"".to_vec(), b"?".to_vec(), vec![0xff; 80]] {
        for shared in proxy.shared.borrow_mut().values_mut() {
            shared.value.clone_from(&bytes);
        }
        let worker = worker();
        assert!(worker.watch(&policy, &proxy).look(START).unwrap().is_some(), "{bytes:?}");
        let taken = take(&worker, &policy, &proxy, answer("200", naming("cn:acme").as_bytes()), START);
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
    let taken = take(&first, &policy, &proxy, answer("200", body.as_bytes()), START);
    assert_eq!(taken, Ok(Taken::Adopted(100_000)));
    second.watch(&policy, &proxy).take_over(START).unwrap();
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
