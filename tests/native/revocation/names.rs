//! What revokes compares names as broadly as TLS, DNS and mail do; what grants compares them exactly.

use rcgen::{DnType, DnValue};

use super::*;

const COMMON_NAME: DnType = DnType::CommonName;
const ORGANIZATION: DnType = DnType::OrganizationName;

fn printable(text: &str) -> DnValue {
    DnValue::PrintableString(text.try_into().unwrap())
}

fn bmp(text: &str) -> DnValue {
    DnValue::BmpString(text.try_into().unwrap())
}

/// A client of the authority `CN=Lab CA,O=Lab`, however that is spelled in the certificate.
fn of_lab(organization: impl Into<DnValue>, common_name: impl Into<DnValue>) -> Leaf {
    let name = [(ORGANIZATION, organization.into()), (COMMON_NAME, common_name.into())];
    Recipe::new().uri("spiffe://td/acme").issue_named(&name)
}

fn with_email(address: &str) -> Leaf {
    let email = SanType::Rfc822Name(address.try_into().unwrap());
    Recipe::new().uri("spiffe://td/acme").with(|params| params.subject_alt_names.push(email)).issue()
}

fn with_dns(name: &str) -> Leaf {
    Recipe::new().uri("spiffe://td/acme").dns(name).issue()
}

fn with_subject(organization: impl Into<DnValue>, common_name: impl Into<DnValue>) -> Leaf {
    let (organization, common_name) = (organization.into(), common_name.into());
    Recipe::new()
        .uri("spiffe://td/acme")
        .with(|params| {
            params.distinguished_name.push(ORGANIZATION, organization);
            params.distinguished_name.push(COMMON_NAME, common_name);
        })
        .issue()
}

fn serial(issuer: &str) -> Value {
    json!({"serials": [{"issuer": issuer, "serial": "07"}]})
}

/// Another URI beside a SPIFFE ID is refused.
fn with_uri(uri: &str) -> Leaf {
    Recipe::new().dns("by-uri.example").uri(uri).issue()
}

fn with_ip(address: &str) -> Leaf {
    let address = SanType::IpAddress(address.parse().unwrap());
    Recipe::new().uri("spiffe://td/acme").with(|params| params.subject_alt_names.push(address)).issue()
}

fn identity(name: &str) -> Value {
    json!({"identities": [name]})
}

/// By a list of the configuration, and by the same list as a feed brings it.
fn revokes(list: &Value, leaf: &Leaf) -> [bool; 2] {
    let proxy = FakeProxy::new().presenting(leaf);
    let feed = json!({"type": "json", "cluster": "c", "authority": "a", "path": "/"});
    let (inline, fetched) = (policy(list), policy(&json!({"feeds": [feed]})));
    let memory = fresh();
    let other = FakeProxy::new();
    let watch = Watch::list(0, &fetched.revocation.feeds[0], &memory.revoked, &other);
    let call = watch.look(START).unwrap().unwrap();
    let body = list.to_string();
    let answer = Answer { status: b"200", etag: None, body: body.as_bytes() };
    assert_eq!(watch.take(call.claim, answer, START), Ok(Taken::Adopted(1)));
    [reason(&inline, &fresh(), &proxy), reason(&fetched, &memory, &proxy)].map(|reason| {
        assert!(matches!(reason, None | Some(Reason::CertificateRevoked)), "{reason:?}");
        reason.is_some()
    })
}

#[test]
fn a_list_revokes_every_spelling_that_is_the_same_name_to_tls_dns_or_mail_and_no_other_name() {
    let lab = || of_lab("Lab", "Lab CA");
    let mueller = || with_subject("Lab", "Müller Straße");
    for (what, list, leaf, expected) in [
        ("two spaces in the certificate", serial("CN=Lab CA,O=Lab"), of_lab("Lab", "Lab  CA"), true),
        ("two spaces in the list", serial("CN=Lab  CA,O=Lab"), lab(), true),
        ("spaces at the ends", serial(r"CN=\ Lab CA\ ,O=Lab"), of_lab(" Lab", "Lab CA  "), true),
        ("a tab", serial(r"CN=Lab\09CA,O=Lab"), lab(), true),
        ("a no-break space", serial("CN=Lab\u{a0}CA,O=Lab"), lab(), true),
        ("a soft hyphen", serial("CN=La\u{ad}b CA,O=Lab"), lab(), true),
        ("no space", serial("CN=LabCA,O=Lab"), lab(), false),
        ("letter case in the certificate", serial("CN=Lab CA,O=Lab"), of_lab("LAB", "lab ca"), true),
        ("letter case in the list", serial("CN=LAB ca,o=lab"), lab(), true),
        ("PrintableString", serial("CN=Lab CA,O=Lab"), of_lab(printable("Lab"), printable("Lab CA")), true),
        ("BMPString", serial("CN=Lab CA,O=Lab"), of_lab(bmp("Lab"), bmp("Lab  CA")), true),
        ("a value in hexadecimal", serial("CN=#13064c6162204341,O=Lab"), lab(), true),
        ("the other order", serial("O=Lab,CN=Lab CA"), lab(), true),
        ("the other order in other letters", serial("o=LAB,cn=lab  ca"), lab(), true),
        ("another word", serial("CN=Lab CB,O=Lab"), lab(), false),
        ("values exchanged", serial("CN=Lab,O=Lab CA"), lab(), false),
        ("an attribute less", serial("CN=Lab CA"), lab(), false),
        ("an attribute more", serial("CN=Lab CA,O=Lab,C=DE"), lab(), false),
        ("one relative name", serial("CN=Lab CA+O=Lab"), lab(), false),
        ("a subject's spaces", identity("subject:CN=a  b,O=x"), with_subject("x", "a b"), true),
        ("a subject's letters", identity("subject:CN=A B,O=X"), with_subject("x", "a b"), true),
        ("a subject's string type", identity("subject:CN=a b,O=x"), with_subject(bmp("x"), printable("a b")), true),
        ("a subject's order", identity("subject:O=x,CN=a b"), with_subject("x", "a b"), true),
        ("letters beyond ASCII", identity("subject:CN=MÜLLER STRASSE,O=Lab"), mueller(), true),
        ("another letter", identity("subject:CN=Muller Strasse,O=Lab"), mueller(), false),
        ("a Common Name's letters", identity("cn:MÜLLER  strasse"), mueller(), true),
        ("a Common Name's string type", identity("cn:acme"), with_subject("x", bmp("ACME")), true),
        ("part of a Common Name", identity("cn:acme"), with_subject("x", "acme corp"), false),
        ("the host of an address", identity("email:user@example.com"), with_email("user@EXAMPLE.com"), true),
        ("the host of an address in a list", identity("email:user@Example.COM"), with_email("user@example.com"), true),
        ("a dot behind the host", identity("email:user@example.com."), with_email("user@example.com"), true),
        ("another host", identity("email:user@example.com"), with_email("user@example.org"), false),
        ("the local part is exact", identity("email:User@example.com"), with_email("user@example.com"), false),
        ("an at sign in the local part", identity("email:\"A@B\"@x.org"), with_email("\"a@b\"@x.org"), false),
        ("a DNS name's letters", identity("dns:API.example"), with_dns("Api.Example"), true),
        ("a dot behind a DNS name", identity("dns:api.example."), with_dns("api.example"), true),
        ("a dot behind a certificate's DNS name", identity("dns:api.example"), with_dns("api.example."), true),
        ("a DNS name in Unicode", identity("dns:münchen.example"), with_dns("xn--mnchen-3ya.example"), false),
        ("a decomposed letter", identity("cn:e\u{301}"), with_subject("x", "\u{e9}"), false),
        ("another DNS name", identity("dns:api.example"), with_dns("api2.example"), false),
        ("a URI's scheme and host", identity("uri:https://A.example/x"), with_uri("HTTPS://a.EXAMPLE/x"), true),
        ("a URI's path is exact", identity("uri:https://a.example/x"), with_uri("https://a.example/X"), false),
        ("a URN's namespace", identity("uri:urn:A:x"), with_uri("URN:a:x"), true),
        ("a UUID", identity("uri:urn:uuid:F8"), with_uri("urn:UUID:f8"), true),
        ("an address inside another", identity("ip:::ffff:192.0.2.7"), with_ip("192.0.2.7"), true),
        ("an address in other digits", identity("ip:2001:DB8:0::7"), with_ip("2001:db8::7"), true),
        ("another address", identity("ip:192.0.2.8"), with_ip("192.0.2.7"), false),
        ("a name of another kind", identity("cn:api.example"), with_dns("api.example"), false),
    ] {
        assert_eq!(revokes(&list, &leaf), [expected; 2], "{what}: {list}");
    }
}

#[test]
fn a_uri_is_revoked_in_any_letter_case_of_scheme_and_trust_domain() {
    // Such a certificate is refused as no valid SVID in the end; the list is asked first.
    for (uri, expected) in [
        ("spiffe://td/acme", Reason::CertificateRevoked),
        ("SPIFFE://td/acme", Reason::CertificateRevoked),
        ("spiffe://TD/acme", Reason::CertificateRevoked),
        ("SPIFFE://td/Acme", Reason::IdentityInvalid),
    ] {
        let proxy = FakeProxy::new().presenting(&Recipe::new().uri(uri).issue());
        assert_eq!(reason(&policy(&identity("spiffe://td/acme")), &fresh(), &proxy), Some(expected), "{uri}");
    }
}

#[test]
fn where_only_properties_are_known_another_spelling_of_a_known_name_revokes_and_nothing_is_cleared() {
    let proxy = FakeProxy::new()
        .with(Property::PeerCertificateValid, [1])
        .with(Property::PeerCertificateDigest, "0".repeat(64))
        .with(Property::PeerSubject, "CN=a b,O=x")
        .with(Property::PeerUriSan, "spiffe://td/acme")
        .with(Property::PeerDnsSan, "api.example");
    for (name, expected) in [
        ("subject:O=X,CN=A  B", Reason::CertificateRevoked),
        ("cn:A  B", Reason::CertificateRevoked),
        ("dns:API.example.", Reason::CertificateRevoked),
        ("dns:other.example", Reason::RevocationUnavailable),
    ] {
        assert_eq!(reason(&policy(&identity(name)), &fresh(), &proxy), Some(expected), "{name}");
    }
}

#[test]
fn what_grants_takes_a_name_in_its_own_spelling_only() {
    let email = || with_email("user@example.com");
    // Without a name that would come before it.
    let dns = |name: &str| Recipe::new().dns(name).issue();
    let lab = || of_lab("Lab", "Lab CA");
    let client = |identity: &str| json!({"acme": {"identities": [identity], "profiles": ["all"]}});
    let pinned =
        |issuer: &str| json!({"acme": {"identities": ["spiffe://td/acme"], "issuers": [issuer], "profiles": ["all"]}});
    let mapped = |issuer: &str| json!([{"match": {"issuer": issuer}, "client_id": "acme"}]);
    let none = || json!([]);
    let unnamed = || json!({"acme": {"profiles": ["all"]}});
    for (what, clients, mappings, leaf, expected) in [
        ("an address", client("email:user@example.com"), none(), email(), true),
        ("the host of an address", client("email:user@Example.com"), none(), email(), false),
        ("a dot behind the host", client("email:user@example.com."), none(), email(), false),
        ("a DNS name's letters", client("dns:API.example"), none(), dns("Api.Example"), true),
        ("a dot behind a DNS name", client("dns:api.example."), none(), dns("api.example"), false),
        ("a subject", client("subject:CN=a b,O=x"), none(), with_subject("x", "a b"), true),
        ("a subject's spaces", client("subject:CN=a  b,O=x"), none(), with_subject("x", "a b"), false),
        ("a subject's letters", client("subject:CN=A b,O=x"), none(), with_subject("x", "a b"), false),
        ("a subject's order", client("subject:O=x,CN=a b"), none(), with_subject("x", "a b"), false),
        ("a pin", pinned("CN=Lab CA,O=Lab"), none(), lab(), true),
        ("a pin's spaces", pinned("CN=Lab  CA,O=Lab"), none(), lab(), false),
        ("a pin's letters", pinned("CN=lab CA,O=Lab"), none(), lab(), false),
        ("a pin's order", pinned("O=Lab,CN=Lab CA"), none(), lab(), false),
        ("a mapping", unnamed(), mapped("CN=Lab CA,O=Lab"), lab(), true),
        // A mapping in front of another one restricts, too; but of its issuer the direction counts.
        ("a mapping's spaces", unnamed(), mapped("CN=Lab  CA,O=Lab"), lab(), true),
        ("a mapping's letters", unnamed(), mapped("CN=lab CA,O=Lab"), lab(), true),
        ("a mapping's order", unnamed(), mapped("O=Lab,CN=Lab CA"), lab(), false),
    ] {
        let policy = json!({
            "mode": "mtls",
            "clients": clients,
            "identity": {"precedence": ["uri_san", "dns_san", "subject_cn"], "mappings": mappings},
            "profiles": {"all": {"allow": [{"paths": ["/**"]}]}},
        });
        let policy = Policy::from_json(policy.to_string()).unwrap_or_else(|problem| panic!("{what}: {problem}"));
        let expected = if expected { None } else { Some(Reason::IdentityNotMapped) };
        assert_eq!(reason(&policy, &fresh(), &FakeProxy::new().presenting(&leaf)), expected, "{what}");
    }
}
