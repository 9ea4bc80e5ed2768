//! Attribute types of distinguished names by name: those that OpenSSL 3, BoringSSL and Java print.
//!
//! OpenSSL 3 calls 0.9.2342.19200300.100.1.44 `uid` as well. To RFC 4514, LDAP and all others `uid` in any letter case is UID, and
//! so it is here; the other one is `uniqueIdentifier`.

use std::borrow::Cow;

/// Below the common beginning of some object identifiers, each with its last number and its names. The first name is printed,
/// all are read. The usual ones come first, because they are looked for most often.
const TABLE: &str = include_str!("attribute_names.txt");

/// An attribute type that has a name.
struct Named {
    /// The beginning of its object identifier, with the dot.
    beginning: &'static str,
    /// The last number.
    number: &'static str,
    names: &'static str,
}

fn named() -> impl Iterator<Item = Named> {
    TABLE
        .lines()
        .scan("", |beginning, line| {
            Some(line.split_once(' ').map(|(number, names)| Named { beginning, number, names }).or_else(|| {
                *beginning = line;
                None
            }))
        })
        .flatten()
}

impl Named {
    fn printed(&self) -> &'static str {
        self.names.split(' ').next().unwrap_or_default()
    }
}

/// The printed name of an attribute type: a short name where there is one, else the object identifier itself.
pub fn attribute_kind(oid: &str) -> Cow<'_, str> {
    let is_meant = |named: &Named| oid.strip_prefix(named.beginning) == Some(named.number);
    named().find(is_meant).map_or(oid.into(), |named| named.printed().into())
}

/// The printed name of an attribute type that somebody wrote, or `None` where it is neither a known name nor an object identifier,
/// which may stand behind `OID.`.
pub fn canonical_kind(written: &str) -> Option<String> {
    let is_meant = |named: &Named| named.names.split(' ').any(|name| name.eq_ignore_ascii_case(written));
    if let Some(named) = named().find(is_meant) {
        return Some(named.printed().to_owned());
    }
    let oid = match written.split_at_checked(4) {
        Some((prefix, oid)) if prefix.eq_ignore_ascii_case("OID.") => oid,
        _ => written,
    };
    is_object_identifier(oid).then(|| attribute_kind(oid).into_owned())
}

/// Is it one that a certificate can hold, in its one spelling?
fn is_object_identifier(text: &str) -> bool {
    let mut numbers = text.split('.');
    let is_number = |number: &str| {
        !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && (number == "0" || !number.starts_with('0'))
    };
    let is_below = |number: &str| number.len() < 2 || (number.len() == 2 && number < "40");
    let begins = match (numbers.next(), numbers.next()) {
        (Some("0" | "1"), Some(second)) => is_number(second) && is_below(second),
        (Some("2"), Some(second)) => is_number(second),
        _ => false,
    };
    begins && numbers.all(is_number)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_means_one_type_and_is_read_in_any_letter_case_and_as_an_object_identifier() {
        let mut seen = HashSet::new();
        for Named { beginning, number, names } in named() {
            let oid = format!("{beginning}{number}");
            assert!(is_object_identifier(&oid) && seen.insert(oid.clone()), "{oid}");
            let printed = attribute_kind(&oid).into_owned();
            assert!(names.starts_with(&printed));
            let spelled = names.split(' ').flat_map(|name| [name.to_owned(), name.to_lowercase(), name.to_uppercase()]);
            for written in spelled.chain([oid.clone(), format!("OID.{oid}"), format!("oid.{oid}")]) {
                assert_eq!(canonical_kind(&written), Some(printed.clone()), "{written}");
            }
            for name in names.split(' ') {
                assert!(seen.insert(name.to_lowercase()), "{name} means several");
                assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
            }
        }
        assert!(seen.len() > 250);
    }

    #[test]
    fn an_object_identifier_is_written_as_a_certificate_can_hold_it() {
        for (written, expected) in [
            ("1.2", Some("1.2")),
            ("uid", Some("UID")),
            ("uniqueIdentifier", Some("uniqueIdentifier")),
            ("0.9.2342.19200300.100.1.44", Some("uniqueIdentifier")),
            ("2.999.1", Some("2.999.1")),
            ("2.25.329800735698586629295641978511506172918", Some("2.25.329800735698586629295641978511506172918")),
            ("OID.1.39.0", Some("1.39.0")),
            ("OID.OID.1.2", None),
            ("OID.", None),
            ("OID.CN", None),
            ("1", None),
            ("1.40", None),
            ("0.100", None),
            ("3.1", None),
            ("1.2.", None),
            ("1..2", None),
            (".1.2", None),
            ("1.02", None),
            ("01.2", None),
            ("1.2.x", None),
            ("1.2.+3", None),
            ("", None),
            ("nope", None),
            ("commonName ", None),
            ("common", None),
        ] {
            assert_eq!(canonical_kind(written).as_deref(), expected, "{written}");
        }
    }
}
