//! How many entries a list may have.

use super::*;

#[test]
fn eight_mebibytes_hold_two_hundred_thousand_entries_of_an_x509_list() {
    let issuer = Issuer::of(Algorithm::Es256);
    let policy = policy(issuer);
    let serial = |number: u32| [&[1; 12][..], &number.to_be_bytes()].concat();
    let entries = (0..200_000).map(|number| entry(&serial(number), &[])).collect();
    let list = List { entries: Some(entries), ..List::of(issuer) };
    let (memory, host) = (Memory::default(), Host::new(FakeProxy::new()));
    assert_eq!(take(&policy, &memory, &host, &list.der()), Ok(Taken::Adopted(200_000)));
}
