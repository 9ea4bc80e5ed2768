//! Lists that are signed with RSASSA-PSS or on P-521.

use std::cell::RefCell;

use super::*;
use crate::authority::{Key, P521Host, Parts};

fn list(key: &Key) -> Vec<u8> {
    let signed = sequence(&[
        &number(&[1]),
        &key.algorithm,
        &name("Lab CA"),
        &time(-60),
        &time(3_600),
        &sequence(&[&entry(&[7], &[])]),
    ]);
    sequence(&[&signed, &key.algorithm, &tlv(3, &[&[0], &(key.sign)(&signed)])])
}

fn policy(key: &Key) -> Policy {
    let policy = json!({"revocation": {"feeds": [{
        "type": "crl", "cluster": "c", "authority": "a", "path": "/", "issuer_certificate": Parts::authority(key).pem(),
    }]}});
    Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn a_list_may_be_signed_with_pss() {
    for (own, other) in [
        (Key::pss(256, 32, 0), Key::pss(256, 32, 1)),
        (Key::pss(384, 48, 0), Key::pss(384, 48, 1)),
        (Key::pss(512, 64, 0), Key::pss(512, 64, 1)),
    ] {
        let policy = policy(&own);
        let host = FakeProxy::new();
        assert_eq!(take(&policy, &Memory::default(), &host, &list(&own)), Ok(Taken::Adopted(1)), "{}", own.what);
        let problem = take(&policy, &Memory::default(), &host, &list(&other)).unwrap_err();
        assert!(problem.contains("not by the key"), "{}: {problem}", own.what);
    }
}

#[test]
fn a_list_may_be_signed_on_p_521_where_the_proxy_verifies_it() {
    let key = Key::p521(0);
    let policy = policy(&key);
    for (verdict, expected) in [
        (Some(true), Ok(Taken::Adopted(1))),
        (Some(false), Err("not by the key")),
        (None, Err("only Envoy's verify_signature verifies its signature")),
    ] {
        let host = P521Host { fake: FakeProxy::new(), verdict, asked: RefCell::default() };
        let taken = take(&policy, &Memory::default(), &host, &list(&key));
        match expected {
            Ok(expected) => assert_eq!(taken, Ok(expected)),
            Err(words) => assert!(taken.as_ref().is_err_and(|problem| problem.contains(words)), "{taken:?}"),
        }
        assert_eq!(host.asked.borrow()[0][0], key.spki);
    }
}
