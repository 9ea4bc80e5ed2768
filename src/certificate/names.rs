//! When two names are the same, and when they are identical. Nothing else compares names of certificates.
//!
//! - A rule that **grants** (a client's identities and issuers, a trusted proxy) needs identical names: `==` of
//!   [`DistinguishedName`] and of typed identities, byte for byte. Otherwise a rule would grant more than it says. DNS names are
//!   in lower case on both sides, since they are read.
//! - The literals of a **mapping** take every spelling of a name: a mapping in front of a laxer one restricts, too. Only the order
//!   of an issuer's relative names counts. The values that a mapping captures stay as the certificate has them.
//! - A rule that **revokes** (a list of the configuration, a feed, a CRL and its issuer) takes names that are the same to TLS, DNS
//!   and mail: [`FoldedName`]. Otherwise another spelling of a revoked name would pass.

use std::borrow::Cow;
use std::net::IpAddr;

use super::distinguished_name::{Attribute, DistinguishedName, Value};
use super::fold::fold;

// A folded text has no control characters, so these are no part of one.
/// Between the attributes of a relative name.
const AND: &str = "\u{1}";
/// Between relative names.
const NEXT: &str = "\u{2}";
/// Before a value that is not text.
const DER: &str = "\u{3}";

/// A name in the form in which the same names are equal. Folding a folded name changes nothing.
///
/// - A distinguished name: the rules of RFC 5280 section 7.1, with the string preparation of RFC 4518 but for Unicode's
///   normalization forms. Letter case (of Latin, Greek, Cyrillic and Armenian), white space and the ASN.1 string type do not count, nor does the order of
///   attributes in one relative name. A name and the same name in reverse order are the same: tools print both orders.
/// - A DNS name and the host of an email address: ASCII letter case and a dot at the end do not count (RFC 4343). The local part
///   of an address counts exactly (RFC 5280 section 7.5).
/// - A URI: letter case of scheme and host does not count (RFC 3986 section 6.2.2.1), nor that of a URN's namespace and of a UUID
///   (RFC 8141 section 3.1, RFC 9562 section 4); everything else does.
/// - An IP address: its value counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedName(String);

impl FoldedName {
    /// A distinguished name.
    pub fn distinguished(name: &DistinguishedName) -> Self {
        let mut relative = relative_names_of(name);
        let forwards = relative.join(NEXT);
        relative.reverse();
        Self(forwards.min(relative.join(NEXT)))
    }

    /// A distinguished name of which the direction counts.
    pub fn directed(name: &DistinguishedName) -> Self {
        Self(relative_names_of(name).join(NEXT))
    }

    /// A subject's name.
    pub fn subject(name: &DistinguishedName) -> Self {
        Self(format!("subject:{}", Self::distinguished(name).0))
    }

    /// A Common Name; `None` if it is not text: no list can name it.
    pub fn common_name(value: &Value) -> Option<Self> {
        folded_text(value).map(|text| Self(format!("cn:{text}")))
    }

    /// A DNS name.
    pub fn dns(name: &str) -> Self {
        Self(format!("dns:{}", folded_host(name)))
    }

    /// An email address.
    pub fn email(address: &str) -> Self {
        Self(format!("email:{}", folded_address(address)))
    }

    /// A URI.
    pub fn uri(uri: &str) -> Self {
        let folded = folded_uri(uri);
        Self(if folded.starts_with("spiffe://") { folded } else { format!("uri:{folded}") })
    }

    /// An IP address. An IPv4 address is the same inside an IPv6 address (RFC 4291 section 2.5.5.2).
    pub fn ip(address: IpAddr) -> Self {
        Self(format!("ip:{}", address.to_canonical()))
    }

    /// A typed identity as the configuration writes it; `None` where it is `subject:` and no distinguished name, or `ip:` and no
    /// address.
    pub fn identity(identity: &str) -> Option<Self> {
        Some(match identity.split_once(':') {
            Some(("dns", name)) => Self::dns(name),
            Some(("email", address)) => Self::email(address),
            Some(("cn", name)) => Self(format!("cn:{}", fold(name))),
            Some(("subject", name)) => Self::subject(&DistinguishedName::parse(name)?),
            Some(("uri", uri)) => Self::uri(uri),
            Some(("ip", address)) => Self::ip(address.parse().ok()?),
            // A hash has one spelling.
            Some(("sha256", _)) => Self(identity.to_owned()),
            _ => Self::uri(identity),
        })
    }

    /// The form itself.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The host of a DNS name or an address: in small letters, without a dot at the end.
pub fn folded_host(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// An email address with its host folded. It is cut at the same places as the address itself.
pub fn folded_address(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", folded_host(domain)),
        None => address.to_owned(),
    }
}

/// A URI with scheme and host, or a URN's namespace and a UUID, in small letters. Every other byte stays in its place.
pub fn folded_uri(uri: &str) -> String {
    let mut folded = uri.to_owned();
    let mut lower = |start: usize, end: usize| {
        if let Some(part) = folded.get_mut(start..end) {
            part.make_ascii_lowercase();
        }
    };
    let bytes = uri.as_bytes();
    let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
    let Some(scheme) = bytes.iter().position(|byte| *byte == b':' || ends(byte)) else {
        return folded;
    };
    if bytes.get(scheme) == Some(&b':') {
        lower(0, scheme);
        let start = scheme + "://".len();
        if bytes.get(scheme..start) == Some(b"://") {
            let authority = bytes.get(start..).unwrap_or_default();
            let length = authority.iter().position(ends).unwrap_or(authority.len());
            let user = authority.iter().take(length).rposition(|byte| *byte == b'@').unwrap_or_default();
            lower(start + user, start + length);
        } else if uri.get(..scheme).is_some_and(|scheme| scheme.eq_ignore_ascii_case("urn")) {
            let name = bytes.get(scheme + 1..).unwrap_or_default();
            let end = name.iter().position(ends).unwrap_or(name.len());
            let namespace = name.iter().take(end).position(|byte| *byte == b':').unwrap_or_default();
            let is_uuid = name.get(..namespace).is_some_and(|namespace| namespace.eq_ignore_ascii_case(b"uuid"));
            lower(scheme, scheme + 1 + if is_uuid { end } else { namespace });
        }
    }
    folded
}

/// The value of an attribute as names compare it; `None` if it is not text.
pub fn folded_text(value: &Value) -> Option<String> {
    text_of(value).map(|text| fold(&text))
}

fn relative_names_of(name: &DistinguishedName) -> Vec<String> {
    name.relative_names().iter().map(|attributes| attributes_of(attributes)).collect()
}

/// The attributes of one relative name: a set.
fn attributes_of(attributes: &[Attribute]) -> String {
    let mut set = Vec::<String>::with_capacity(attributes.len());
    for Attribute { kind, value } in attributes {
        let attribute = match folded_text(value) {
            Some(text) => format!("{kind}={text}"),
            None => format!("{kind}={DER}{value}"),
        };
        if let Err(place) = set.binary_search(&attribute) {
            set.insert(place, attribute);
        }
    }
    set.join(AND)
}

/// The text of a value as TLS libraries compare it. Beyond what this filter takes for text that is UniversalString, and Latin-1 in
/// the string types of one octet a character.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    let der = match value {
        Value::Text(text) => return Some(Cow::Borrowed(text)),
        Value::Der(der) => der,
    };
    let (tag, content) = match der.as_slice() {
        [tag, 0x81, _, content @ ..] | [tag, 0x82, _, _, content @ ..] | [tag, 0..=0x7f, content @ ..] => {
            (*tag, content)
        }
        _ => return None,
    };
    match tag {
        PRINTABLE_STRING | TELETEX_STRING | IA5_STRING | VISIBLE_STRING => {
            Some(content.iter().copied().map(char::from).collect())
        }
        UNIVERSAL_STRING => match content.as_chunks() {
            (characters, []) => characters.iter().map(|four| char::from_u32(u32::from_be_bytes(*four))).collect(),
            _ => None,
        },
        _ => None,
    }
}

const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const VISIBLE_STRING: u8 = 0x1a;
const UNIVERSAL_STRING: u8 = 0x1c;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::leaf;
    use super::*;

    fn folded(dn: &str) -> FoldedName {
        FoldedName::distinguished(&DistinguishedName::parse(dn).unwrap())
    }

    /// A DER value with a length of one octet.
    fn der(tag: u8, content: &[u8]) -> Value {
        leaf::value(&[&[tag, u8::try_from(content.len()).unwrap()], content].concat())
            .unwrap_or_else(|| Value::Der([&[tag, u8::try_from(content.len()).unwrap()], content].concat()))
    }

    #[test]
    fn a_value_is_its_text_in_every_string_type_and_bytes_in_any_other() {
        let text = |value: &Value| text_of(value).map(Cow::into_owned);
        let universal: Vec<u8> = "Mü".chars().flat_map(|character| u32::from(character).to_be_bytes()).collect();
        for (tag, content, expected) in [
            (0x0c, "Mü".as_bytes(), Some("Mü")),
            (0x12, b"12", Some("12")),
            (PRINTABLE_STRING, b"M\xfc", Some("Mü")),
            (TELETEX_STRING, b"M\xfc", Some("Mü")),
            (IA5_STRING, b"M\xfc", Some("Mü")),
            (VISIBLE_STRING, b"M\xfc", Some("Mü")),
            (0x1e, b"\0M\0\xfc", Some("Mü")),
            (UNIVERSAL_STRING, &universal, Some("Mü")),
            (UNIVERSAL_STRING, b"\0\0\0", None),
            (UNIVERSAL_STRING, b"\0\x11\0\0", None),
            (0x0c, b"\xff", None),
            (0x04, b"M", None),
            (0x1e, b"\0", None),
        ] {
            assert_eq!(text(&der(tag, content)).as_deref(), expected, "{tag:x} {content:x?}");
        }
        let long = [&[TELETEX_STRING, 0x82, 1, 44][..], &[0xfc; 300]].concat();
        assert_eq!(text(&Value::Der(long)), Some("ü".repeat(300)));
        let longer = [&[TELETEX_STRING, 0x81, 200][..], &[0xfc; 200]].concat();
        assert_eq!(text(&Value::Der(longer)), Some("ü".repeat(200)));
    }

    #[test]
    fn no_value_can_be_written_so_that_it_is_taken_for_the_structure_of_a_name() {
        for (one, other) in [
            (r"CN=a\01CN=b", "CN=a+CN=b"),
            (r"CN=a\02CN=b", "CN=a,CN=b"),
            (r"CN=\03#040161", "CN=#040161"),
            (r"CN=\#040161", "CN=#040161"),
            ("CN=#040141", "CN=#040161"),
            ("CN=a", "CN=#040161"),
            (r"CN=a\,O=b", "CN=a,O=b"),
            ("CN=a,O=b,C=c", "O=b,CN=a,C=c"),
        ] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn typed_identities_keep_their_kinds_apart() {
        let identity = |text: &str| FoldedName::identity(text).unwrap();
        assert_ne!(identity("cn:a.example"), identity("dns:a.example"));
        assert_ne!(identity("cn:CN=a"), identity("subject:CN=a"));
        assert_eq!(identity("subject:O=b,CN=a"), FoldedName::subject(&DistinguishedName::parse("cn=A,o=B").unwrap()));
        assert_eq!(FoldedName::identity("subject:x"), None);
        for (one, other, same) in [
            ("HTTPS://User@Example.ORG:8443/Path?Q#F", "https://User@example.org:8443/Path?Q#F", true),
            ("https://User@example.org/", "https://user@example.org/", false),
            ("https://example.org/Path", "https://example.org/path", false),
            ("https://example.org?Q", "https://EXAMPLE.org?Q", true),
            ("https://example.org?Q", "https://example.org?q", false),
            ("urn:x:A", "urn:x:a", false),
            ("URN:x:a", "urn:x:a", true),
        ] {
            assert_eq!(FoldedName::uri(one) == FoldedName::uri(other), same, "{one} {other}");
        }
    }

    /// A name as a test makes it up: few letters, so that many are the same.
    type Made = Vec<Vec<(&'static str, String)>>;

    fn made() -> impl Strategy<Value = Made> {
        let attribute = (prop::sample::select(&["CN", "O", "1.2.3"][..]), "[a-cßü ]{0,4}");
        prop::collection::vec(prop::collection::vec(attribute, 1..3), 0..4)
    }

    fn name(made: &Made) -> DistinguishedName {
        let attribute =
            |(kind, text): &(&str, String)| Attribute { kind: (*kind).to_owned(), value: Value::Text(text.clone()) };
        DistinguishedName::from_der_order(made.iter().map(|rdn| rdn.iter().map(attribute).collect()).collect())
    }

    /// The rules once more, with other means.
    fn model(made: &Made) -> Vec<BTreeSet<(&'static str, Vec<String>)>> {
        let words = |text: &str| text.to_uppercase().split_whitespace().map(str::to_owned).collect();
        let forwards: Vec<BTreeSet<_>> =
            made.iter().map(|rdn| rdn.iter().map(|(kind, text)| (*kind, words(text))).collect()).collect();
        let backwards = forwards.iter().rev().cloned().collect();
        forwards.min(backwards)
    }

    /// The same text in other letters, with more white space and in another string type.
    fn respelled(text: &str, how: u8) -> Value {
        let text = if how & 1 == 0 { text.to_uppercase() } else { text.to_lowercase() };
        let text = if how & 2 == 0 { text } else { format!(" {} ", text.replace(' ', " \u{a0} ")) };
        match how >> 2 & 3 {
            0 => Value::Text(text),
            1 => der(0x1e, &text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()),
            2 => der(UNIVERSAL_STRING, &text.chars().flat_map(|one| u32::from(one).to_be_bytes()).collect::<Vec<_>>()),
            _ => der(TELETEX_STRING, &text.chars().map(|one| u8::try_from(one).unwrap()).collect::<Vec<_>>()),
        }
    }

    proptest! {
        #[test]
        fn names_are_the_same_exactly_when_a_plain_model_says_so(one in made(), other in made()) {
            let same = FoldedName::distinguished(&name(&one)) == FoldedName::distinguished(&name(&other));
            prop_assert_eq!(same, model(&one) == model(&other), "{:?} {:?}", one, other);
        }

        #[test]
        fn no_spelling_of_a_name_passes(made in made(), reversed: bool, how in prop::collection::vec(any::<u8>(), 8)) {
            let mut how = how.iter().cycle();
            let respelled = |rdn: &Vec<(&str, String)>| -> Vec<Attribute> {
                let attributes = rdn.iter().map(|(kind, text)| {
                    Attribute { kind: (*kind).to_owned(), value: respelled(text, *how.next().unwrap()) }
                });
                attributes.rev().collect()
            };
            let mut other: Vec<_> = made.iter().map(respelled).collect();
            if reversed {
                other.reverse();
            }
            prop_assert_eq!(
                FoldedName::subject(&DistinguishedName::from_der_order(other)),
                FoldedName::subject(&name(&made))
            );
        }

        #[test]
        fn another_letter_is_another_name(text in "[a-z ]{1,8}[a-y]", place: prop::sample::Index) {
            let letters: Vec<usize> = text.bytes().enumerate().filter(|(_, byte)| *byte != b' ').map(|(at, _)| at).collect();
            let at = *place.get(&letters);
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'z' { b'a' } else { changed[at] + 1 };
            let changed = String::from_utf8(changed).unwrap();
            let subject = |text: &str| FoldedName::subject(&name(&vec![vec![("CN", text.to_owned())]]));
            prop_assert_ne!(subject(&text), subject(&changed));
            for kind in ["dns", "email", "cn"] {
                let [one, other] = [&text, &changed].map(|text| FoldedName::identity(&format!("{kind}:{text}")));
                prop_assert_ne!(one, other);
            }
        }

        #[test]
        fn a_folded_identity_is_its_own_folded_identity(name in "[a-cA-C@.:/ ]{0,10}") {
            for kind in ["dns", "email", "cn", "spiffe"] {
                let once = FoldedName::identity(&format!("{kind}:{name}")).unwrap();
                let text = String::from_utf8(once.as_bytes().to_vec()).unwrap();
                prop_assert_eq!(FoldedName::identity(&text), Some(once));
            }
        }
    }
}
