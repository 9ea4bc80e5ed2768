//! The inventory of certificates that were seen at work.

use mtls_authz::Certificate;
use mtls_authz::inventory::{Event, Noted, SLOTS, Sighting, entries, find, line, note, table};
use rcgen::DnType;
use serde_json::Value;

use crate::certificates::{Recipe, at};
use crate::proxy::{FakeProxy, NOW};

const DAY: i64 = 86_400;

/// A certificate of `acme` that ends so many days from now.
fn ending_in(days: i64) -> Certificate {
    let leaf = Recipe::new().cn("acme").with(|params| params.not_after = at(days * DAY)).issue();
    Certificate::from_der(&leaf.der).unwrap()
}

fn good(certificate: &Certificate) -> Sighting<'_> {
    Sighting { certificate, is_revoked: false, now: NOW }
}

/// What is told about a sighting, and the days that are left.
fn told(proxy: &FakeProxy, certificate: &Certificate, now: i64) -> (Vec<Event>, u64) {
    match note(proxy, &table(None), "acme", Sighting { certificate, is_revoked: false, now }).unwrap().unwrap() {
        Noted::Entry(entry, events) => (events, entry.days_left(now).unwrap()),
        Noted::Full => panic!("there is room"),
    }
}

#[test]
fn a_certificate_is_announced_once_whichever_worker_sees_it() {
    let proxy = FakeProxy::new();
    let certificate = ending_in(90);
    assert_eq!(told(&proxy, &certificate, NOW), (vec![Event::Seen], 90));
    assert_eq!(told(&proxy, &certificate, NOW), (vec![], 90));
    assert_eq!(told(&proxy, &certificate, NOW + DAY), (vec![], 89));
}

#[test]
fn a_rotation_is_announced_once_and_the_old_certificate_counts_while_it_is_used() {
    let proxy = FakeProxy::new();
    let (old, new) = (ending_in(40), ending_in(400));
    told(&proxy, &old, NOW);
    assert_eq!(told(&proxy, &new, NOW), (vec![Event::Changed(old.thumbprint)], 40));
    assert_eq!(told(&proxy, &old, NOW), (vec![], 40), "another replica has not changed yet");
    assert_eq!(told(&proxy, &new, NOW + DAY), (vec![], 39));
    assert_eq!(told(&proxy, &new, NOW + 2 * DAY), (vec![], 398), "the old one was not seen for a day");
}

#[test]
fn a_revoked_certificate_is_told_by_nothing_but_itself() {
    let (proxy, table) = (FakeProxy::new(), table(None));
    let (old, new) = (ending_in(20), ending_in(400));
    let (short, longer) = (ending_in(10), ending_in(500));
    let good = || {
        let entry = find(&proxy, &table, "acme").unwrap();
        entry.map(|entry| entry.good().collect::<Vec<_>>())
    };
    let revoked = |certificate| {
        let sighting = Sighting { certificate, is_revoked: true, now: NOW };
        match note(&proxy, &table, "acme", sighting).unwrap().unwrap() {
            Noted::Entry(entry, events) => (events, entry.days_left(NOW)),
            Noted::Full => panic!("there is room"),
        }
    };
    assert_eq!(good(), None);
    assert_eq!(revoked(&old), (vec![], None), "nothing is there to be renewed");
    assert_eq!(good(), Some(vec![]));
    assert_eq!(told(&proxy, &new, NOW), (vec![Event::Changed(old.thumbprint)], 400));
    assert_eq!(good(), Some(vec![new.thumbprint]));
    assert_eq!(revoked(&old), (vec![], Some(400)), "the new one is good");
    assert_eq!(good(), Some(vec![new.thumbprint]));
    assert_eq!(revoked(&new), (vec![], Some(400)));
    assert_eq!(good(), Some(vec![]));
    told(&proxy, &short, NOW);
    assert_eq!(good(), Some(vec![short.thumbprint]), "a replacement that ends earlier");
    assert_eq!(revoked(&short), (vec![], Some(10)));
    assert_eq!(good(), Some(vec![]));
    assert_eq!(told(&proxy, &new, NOW).0, [], "the list has let it go");
    assert_eq!(good(), Some(vec![new.thumbprint]));
    told(&proxy, &longer, NOW);
    assert_eq!(good(), Some(vec![longer.thumbprint, new.thumbprint]));
    assert_eq!(find(&proxy, &table, "globex").unwrap(), None);
}

#[test]
fn who_is_about_to_expire_is_warned_of_once_a_day() {
    let proxy = FakeProxy::new();
    let certificate = ending_in(30);
    assert_eq!(told(&proxy, &certificate, NOW).0, [Event::Seen]);
    for (later, expected) in [(1, vec![Event::Expiring]), (2, vec![]), (DAY + 1, vec![Event::Expiring])] {
        assert_eq!(told(&proxy, &certificate, NOW + later).0, expected, "{later}");
    }
    assert_eq!(
        told(&proxy, &certificate, NOW + 31 * DAY),
        (vec![Event::Expiring], 0),
        "no days are left behind the end"
    );
}

#[test]
fn a_clock_that_was_ahead_silences_no_warning_and_holds_no_end() {
    let proxy = FakeProxy::new();
    let (old, new) = (ending_in(5), ending_in(20));
    told(&proxy, &old, NOW + 100 * DAY);
    assert_eq!(told(&proxy, &new, NOW), (vec![Event::Changed(old.thumbprint), Event::Expiring], 20));
    assert_eq!(told(&proxy, &new, NOW).0, []);
}

#[test]
fn ten_thousand_clients_are_not_ten_thousand_entries() {
    let proxy = FakeProxy::new();
    let certificate = ending_in(90);
    let full = (0..10_000)
        .filter(|number| {
            note(&proxy, &table(None), &format!("client-{number}"), good(&certificate)).unwrap() == Some(Noted::Full)
        })
        .count();
    let known = entries(&proxy, &table(None)).map(Result::unwrap).count();
    assert_eq!(known + full, 10_000);
    assert!(known as u64 <= SLOTS && known > 900, "{known}");
}

#[test]
fn what_another_program_left_in_a_slot_is_replaced() {
    let proxy = FakeProxy::new();
    told(&proxy, &ending_in(90), NOW);
    for shared in proxy.shared.borrow_mut().values_mut() {
        shared.value = b"?".to_vec();
    }
    assert_eq!(entries(&proxy, &table(None)).count(), 0);
    assert_eq!(told(&proxy, &ending_in(90), NOW).0, [Event::Seen]);
}

#[test]
fn a_certificate_of_which_only_properties_are_known_has_no_end_to_be_noted() {
    let certificate = Certificate { validity: None, ..ending_in(90) };
    assert_eq!(note(&FakeProxy::new(), &table(None), "acme", good(&certificate)).unwrap(), None);
}

#[test]
fn an_event_says_whose_certificate_it_is_until_when_and_of_which_kind() {
    let leaf = Recipe::new().cn("acme").subject(DnType::OrganizationName, "Example \"Corp\"").issue();
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    let before = ending_in(1).thumbprint;
    let written = line(Event::Changed(before), "acme", Some("cn:acme"), &certificate, NOW);
    let read: Value = serde_json::from_slice(&written).unwrap();
    for (name, expected) in [
        ("event", "certificate_changed"),
        ("client_id", "acme"),
        ("identity", "cn:acme"),
        ("thumbprint", &leaf.thumbprint()),
        ("previous_thumbprint", &before.to_string()),
        ("issuer", "CN=Test CA,O=ExampleCorp"),
        ("key", "EC P-256"),
        ("not_after", "2027-01-15T09:00:00Z"),
    ] {
        assert_eq!(read[name], expected, "{name}");
    }
    assert_eq!(read["days_left"], 0);
    assert_eq!(read.as_object().unwrap().len(), 9);
}

#[test]
fn a_line_about_a_certificate_has_at_most_512_bytes_of_its_identity_and_of_its_issuer() {
    for (length, is_cut) in [(500, false), (600, true)] {
        let name = "x".repeat(length);
        let certificate = Certificate::from_der(&Recipe::new().cn("acme").issue_as(&name).der).unwrap();
        let identity = format!("cn:{name}");
        let written = line(Event::Seen, "acme", Some(&identity), &certificate, NOW);
        let read: Value = serde_json::from_slice(&written).unwrap();
        for (member, whole) in [("identity", identity.as_str()), ("issuer", &format!("CN={name}"))] {
            let read = read[member].as_str().unwrap();
            assert!(read.len() <= 512, "{member} {length}");
            assert_eq!((read != whole, read.ends_with('…')), (is_cut, is_cut), "{member} {length}");
        }
    }
}
