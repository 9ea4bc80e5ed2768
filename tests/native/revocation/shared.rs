//! What policies of one process share of a list, and what none of them can do to another.

use super::feeds::{Worker, answer, naming, with_feed, worker};
use super::*;

fn look(worker: &Worker, policy: &Policy, proxy: &FakeProxy, at: u64) -> Option<u64> {
    worker.watch(policy, proxy).look(START + at).unwrap().map(|call| call.claim)
}

fn came(worker: &Worker, policy: &Policy, proxy: &FakeProxy, claim: u64, name: &str, at: u64) -> Result<Taken, String> {
    worker.watch(policy, proxy).take(claim, answer("200", naming(name).as_bytes()), START + at)
}

#[test]
fn no_policy_puts_off_the_fetches_of_another_that_shares_its_list() {
    let proxy = FakeProxy::new().presenting(&acme());
    let eager = with_feed(&json!({"refresh_seconds": 2, "timeout_ms": 1_000}));
    let slow = with_feed(&json!({"refresh_seconds": 50, "timeout_ms": 60_000}));
    let (first, other) = (worker(), worker());
    let claim = look(&first, &slow, &proxy, 0).unwrap();
    assert_eq!(look(&other, &slow, &proxy, 1), None, "one fetch is under way");
    // The eager one does not wait for it, nor is the answer to the slow one lost by that.
    let lost = look(&other, &eager, &proxy, 1).unwrap();
    assert_eq!(came(&first, &slow, &proxy, claim, "cn:acme", SECOND), Ok(Taken::Adopted(1)));
    assert_eq!(look(&other, &eager, &proxy, SECOND), None);
    assert_eq!(reason(&eager, &other.memory, &proxy), Some(Reason::CertificateRevoked));
    let taken = other.watch(&eager, &proxy).take(lost, answer("500", b""), START + SECOND + 1);
    assert_eq!(taken, Err("the status is 500".to_owned()));
    // What one policy has fetched the other need not, and what fails for one does not put off the other.
    let claim = look(&other, &eager, &proxy, 4 * SECOND).unwrap();
    assert_eq!(came(&other, &eager, &proxy, claim, "cn:other", 4 * SECOND), Ok(Taken::Adopted(1)));
    assert_eq!(look(&first, &slow, &proxy, 5 * SECOND), None);
    assert_eq!(reason(&slow, &first.memory, &proxy), None);
    for at in (6..54).step_by(3) {
        let claim = look(&other, &eager, &proxy, at * SECOND).unwrap();
        assert!(other.watch(&eager, &proxy).take(claim, answer("", b""), START + at * SECOND).is_err());
    }
    let claim = look(&first, &slow, &proxy, 54 * SECOND).unwrap();
    assert!(look(&other, &eager, &proxy, 56 * SECOND).is_some());
    assert_eq!(came(&first, &slow, &proxy, claim, "cn:acme", 60 * SECOND), Ok(Taken::Adopted(1)));
}

#[test]
fn the_answer_to_a_later_request_is_not_replaced_by_that_to_an_earlier_one() {
    let proxy = FakeProxy::new().presenting(&acme());
    let (eager, slow) = (with_feed(&json!({"timeout_ms": 1_000})), with_feed(&json!({"timeout_ms": 60_000})));
    let (first, other) = (worker(), worker());
    let early = look(&first, &slow, &proxy, 0).unwrap();
    let late = look(&other, &eager, &proxy, SECOND).unwrap();
    assert_eq!(came(&other, &eager, &proxy, late, "cn:acme", 2 * SECOND), Ok(Taken::Adopted(1)));
    let taken = came(&first, &slow, &proxy, early, "cn:other", 3 * SECOND);
    assert_eq!(taken, Err("it came so late that the answer to a later fetch is in force".to_owned()));
    assert_eq!(look(&first, &slow, &proxy, 3 * SECOND), None);
    assert_eq!(reason(&slow, &first.memory, &proxy), Some(Reason::CertificateRevoked));
}

#[test]
fn an_answer_that_nothing_has_changed_is_not_believed_of_a_list_that_came_since() {
    let proxy = FakeProxy::new().presenting(&acme());
    let (eager, slow) = (with_feed(&json!({"refresh_seconds": 2})), with_feed(&json!({"timeout_ms": 60_000})));
    let (first, other) = (worker(), worker());
    let tagged = |body, tag| Answer { etag: Some(tag), ..answer("200", body) };
    let claim = look(&first, &slow, &proxy, 0).unwrap();
    let (old, new) = (naming("cn:other"), naming("cn:acme"));
    first.watch(&slow, &proxy).take(claim, tagged(old.as_bytes(), b"1"), START).unwrap();
    let early = look(&other, &eager, &proxy, 3 * SECOND).unwrap();
    let late = look(&first, &slow, &proxy, 11 * SECOND).unwrap();
    other.watch(&eager, &proxy).take(early, tagged(new.as_bytes(), b"2"), START + 12 * SECOND).unwrap();
    first.watch(&slow, &proxy).take_over(START + 12 * SECOND).unwrap();
    let taken = first.watch(&slow, &proxy).take(late, answer("304", b""), START + 13 * SECOND);
    assert_eq!(taken, Err("the status is 304".to_owned()));
}

#[test]
fn a_list_is_that_of_one_source_however_another_is_written() {
    let names = |cluster: &str, authority: &str, path: &str| {
        with_feed(&json!({"cluster": cluster, "authority": authority, "path": path})).revocation.feeds[0]
            .fetch
            .shared_name
            .clone()
    };
    let one = names("c", "a", "/p");
    assert_eq!(one, names("c", "a", "/p"));
    for other in [names("c", "a", "/q"), names("c\na", "/p", "/p"), names("ca", "a", "/p"), names("c", "a/p", "/p")] {
        assert_ne!(one, other);
    }
    // The hash of names that no caller chooses can be inverted by those who choose them; this one cannot.
    assert_eq!(one.strip_prefix("mtls_authz.feed.").map(str::len), Some(64));
}
