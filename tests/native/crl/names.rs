//! A list is its issuer's in every spelling of that name, and revokes the certificates that spell it in any other way.

use rcgen::{DnType, DnValue};

use super::*;

fn common_name(tag: u8, text: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(0x31, &[&sequence(&[&tlv(6, &[&[0x55, 4, 3]]), &tlv(tag, &[text])])])])
}

/// UTF-16, big-endian.
fn bmp(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

#[test]
fn a_list_is_its_issuers_in_any_letter_case_white_space_and_string_type() {
    let issuer = Issuer::of(Algorithm::Es256);
    let policy = policy(issuer);
    for (what, name, expected) in [
        ("letter case", common_name(0x0c, b"TEST ca"), true),
        ("white space", common_name(0x0c, b" Test  CA "), true),
        ("PrintableString", common_name(0x13, b"Test CA"), true),
        ("TeletexString", common_name(0x14, b"Test CA"), true),
        ("BMPString", common_name(0x1e, &bmp("Test CA")), true),
        ("no space", common_name(0x0c, b"TestCA"), false),
        ("another letter", common_name(0x0c, b"Test CB"), false),
        ("an OCTET STRING", common_name(4, b"Test CA"), false),
        ("no attribute", sequence(&[]), false),
    ] {
        let list = List { name, ..List::of(issuer) };
        let (memory, host) = (Memory::default(), Host::new(FakeProxy::new()));
        let taken = take(&policy, &memory, &host, &list.der());
        assert_eq!(taken.is_ok(), expected, "{what}: {taken:?}");
        assert_eq!(asked(&policy, &memory, 7) == Some(Reason::CertificateRevoked), expected, "{what}");
    }
}

#[test]
fn a_list_revokes_a_certificate_in_whatever_spelling_that_names_the_issuer() {
    let issuer = Issuer::of(Algorithm::Es256);
    let policy = policy(issuer);
    let (memory, host) = (Memory::default(), Host::new(FakeProxy::new()));
    take(&policy, &memory, &host, &List::of(issuer).der()).unwrap();
    for (what, name, expected) in [
        ("two spaces", DnValue::from("Test  CA"), true),
        ("letter case", DnValue::from("test ca"), true),
        ("BMPString", DnValue::BmpString("Test CA".try_into().unwrap()), true),
        ("another authority", DnValue::from("Test CB"), false),
    ] {
        let leaf = Recipe::new().cn("acme").issue_named(&[(DnType::CommonName, name)]);
        let names = headers("GET", "/", &[]);
        let decision = decide(&policy, &memory, &Request::new(&names), &FakeProxy::new().presenting(&leaf));
        let revoked = decision.verdict.err().map(|deny| deny.reason) == Some(Reason::CertificateRevoked);
        assert_eq!(revoked, expected, "{what}");
    }
}
