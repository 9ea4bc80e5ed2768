//! Distinguished names as text, RFC 4514, which is also what Envoy prints (as RFC 2253).
//!
//! Two names are equal when their attributes are equal, in order, byte for byte; the case of attribute types does not
//! count, the case of values does. That is stricter than RFC 5280 section 7.1, on purpose: a pin means what it says. What
//! revokes compares a [`FoldedName`](super::FoldedName) instead.

use std::fmt;

use super::attribute_names::canonical_kind;
use super::leaf;
use crate::escape::hex_byte;

/// Attributes of what stands above a person or a machine. In the form of Java a name ends with them, and in the form that OpenSSL
/// prints by default it begins with them.
const OF_THE_ROOT: &[&str] = &["C", "DC", "L", "O", "OU", "ST"];

/// More relative names than this are not read.
pub(super) const MAX_RDNS: usize = 64;

/// More attributes in one relative name than this are not read.
pub(super) const MAX_ATTRIBUTES: usize = 64;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// One of the ASN.1 string types, as text.
    Text(String),
    /// Anything else: its DER.
    Der(Vec<u8>),
}

/// An attribute of a relative distinguished name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// A short name from RFC 4514 such as `CN`, or a dotted OID.
    pub kind: String,
    /// What it says.
    pub value: Value,
}

/// A distinguished name. Prints as RFC 4514: the most specific name first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DistinguishedName {
    /// In the order of RFC 4514 text, the reverse of the DER; the attributes of one relative name are sorted.
    rdns: Vec<Vec<Attribute>>,
}

impl DistinguishedName {
    /// From relative names in the order of the DER.
    pub fn from_der_order(mut rdns: Vec<Vec<Attribute>>) -> Self {
        rdns.reverse();
        Self::from_text_order(rdns)
    }

    fn from_text_order(rdns: Vec<Vec<Attribute>>) -> Self {
        Self { rdns: rdns.into_iter().map(sorted).collect() }
    }

    /// Reads what a person writes: RFC 4514, as OpenSSL prints it with `-nameopt RFC2253`, and the form of RFC 1779, as Java
    /// prints it, with a space behind commas, spaces around `+` and values in double quotes. `None` where it is neither.
    ///
    /// OpenSSL's default form has spaces, too, and prints a name in the other order. It would be another name here, so it is not read.
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text.as_bytes(), is_printed: false, is_spaced: false };
        let name = reader.name()?;
        let is_of_the_root = |rdn: Option<&Vec<Attribute>>| {
            rdn.is_some_and(|rdn| rdn.iter().any(|attribute| OF_THE_ROOT.contains(&attribute.kind.as_str())))
        };
        let is_read = !reader.is_spaced || (!is_of_the_root(name.rdns.first()) && is_of_the_root(name.rdns.last()));
        is_read.then_some(name)
    }

    /// Reads what BoringSSL prints for Envoy: RFC 4514, exactly. Of an attribute type with a number above 64 bits it prints nothing,
    /// and such a type is empty here, so that it equals no other.
    pub fn parse_printed(text: &str) -> Option<Self> {
        Reader { rest: text.as_bytes(), is_printed: true, is_spaced: false }.name()
    }

    /// The attributes of each relative name, the most specific relative name first.
    pub fn relative_names(&self) -> &[Vec<Attribute>] {
        &self.rdns
    }

    /// All values of an attribute type in its canonical spelling (see [`canonical_kind`]).
    pub fn values<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> {
        self.rdns.iter().flatten().filter(move |attribute| attribute.kind == kind).map(|attribute| &attribute.value)
    }

    /// The value of an attribute that occurs exactly once, and is text.
    pub fn sole_text<'a>(&'a self, kind: &str) -> Option<&'a str> {
        let mut values = self.values(kind);
        match (values.next()?, values.next()) {
            (Value::Text(text), None) => Some(text),
            _ => None,
        }
    }
}

/// For so few, an insertion each; the sort for any number would be 9 KB of the module.
fn sorted(attributes: Vec<Attribute>) -> Vec<Attribute> {
    let mut sorted = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let place = sorted.partition_point(|other| *other <= attribute);
        sorted.insert(place, attribute);
    }
    sorted
}

struct Reader<'a> {
    rest: &'a [u8],
    /// By BoringSSL, and not by a person.
    is_printed: bool,
    /// Did a space follow a comma?
    is_spaced: bool,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Skips these bytes, if they are the next.
    fn skip(&mut self, bytes: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(bytes);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn name(&mut self) -> Option<DistinguishedName> {
        let mut rdns = vec![vec![self.attribute()?]];
        while !self.rest.is_empty() {
            if (!self.is_printed && self.skip(b" + ")) || self.skip(b"+") {
                let attribute = self.attribute()?;
                rdns.last_mut().filter(|rdn| rdn.len() < MAX_ATTRIBUTES)?.push(attribute);
            } else if self.skip(b",") && rdns.len() < MAX_RDNS {
                self.is_spaced |= !self.is_printed && self.skip(b" ");
                rdns.push(vec![self.attribute()?]);
            } else {
                return None;
            }
        }
        Some(DistinguishedName::from_text_order(rdns))
    }

    /// `type=value` up to an unescaped `,`, `+` or the end.
    fn attribute(&mut self) -> Option<Attribute> {
        let equals = self.rest.iter().position(|byte| *byte == b'=')?;
        let (kind, rest) = self.rest.split_at_checked(equals)?;
        self.rest = rest.get(1..)?;
        let is_encoded = self.skip(b"#");
        let kind = match std::str::from_utf8(kind).ok()? {
            "" if self.is_printed && is_encoded => String::new(),
            kind => canonical_kind(kind)?,
        };
        let value = if is_encoded {
            leaf::value(&self.hex_string()?)?
        } else if !self.is_printed && self.skip(b"\"") {
            Value::Text(self.quoted()?)
        } else {
            Value::Text(self.string()?)
        };
        Some(Attribute { kind, value })
    }

    /// Up to the closing quote.
    fn quoted(&mut self) -> Option<String> {
        let mut value = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(value).ok(),
                b'\\' => value.push(self.escaped()?),
                0 => return None,
                byte => value.push(byte),
            }
        }
    }

    fn hex_string(&mut self) -> Option<Vec<u8>> {
        let mut der = Vec::new();
        while !matches!(self.rest.first(), None | Some(b',' | b'+')) {
            der.push(hex_byte(self.next()?, self.next()?)?);
        }
        (!der.is_empty()).then_some(der)
    }

    /// Nothing at all is a value, too.
    fn string(&mut self) -> Option<String> {
        let mut value = Vec::new();
        let mut bare_space_last = false;
        while let Some(byte) = self.rest.first().copied() {
            if matches!(byte, b',' | b'+') || (!self.is_printed && self.rest.starts_with(b" + ")) {
                break;
            }
            self.next();
            bare_space_last = byte == b' ';
            match byte {
                b' ' if value.is_empty() => return None,
                b'"' | b';' | b'<' | b'>' | 0 => return None,
                b'\\' => value.push(self.escaped()?),
                _ => value.push(byte),
            }
        }
        if bare_space_last { None } else { String::from_utf8(value).ok() }
    }

    /// What stands behind a backslash: a special character itself, or two hexadecimal digits.
    fn escaped(&mut self) -> Option<u8> {
        let first = self.next()?;
        if first.is_ascii_hexdigit() {
            return hex_byte(first, self.next()?);
        }
        matches!(first, b'"' | b'+' | b',' | b';' | b'<' | b'>' | b' ' | b'#' | b'=' | b'\\').then_some(first)
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rdn) in self.rdns.iter().enumerate() {
            for (inner, attribute) in rdn.iter().enumerate() {
                match (index, inner) {
                    (0, 0) => {}
                    (_, 0) => f.write_str(",")?,
                    _ => f.write_str("+")?,
                }
                write!(f, "{}={}", attribute.kind, attribute.value)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_escaped(f, text),
            Self::Der(der) => {
                f.write_str("#")?;
                der.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// Escapes as RFC 4514 section 2.4 demands, and control characters as hexadecimal besides.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => write!(f, "\\{character}")?,
            ' ' if index == 0 || index == last => f.write_str("\\ ")?,
            '#' if index == 0 => f.write_str("\\#")?,
            control if control.is_control() => {
                let mut utf8 = [0; 4];
                for byte in control.encode_utf8(&mut utf8).bytes() {
                    write!(f, "\\{byte:02X}")?;
                }
            }
            other => write!(f, "{other}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_4514_are_read_and_printed_back() {
        for (text, kind, value) in [
            ("UID=jsmith,DC=example,DC=net", "UID", "jsmith"),
            ("CN=J.  Smith+OU=Sales,DC=example,DC=net", "CN", "J.  Smith"),
            ("CN=James \\\"Jim\\\" Smith\\, III,DC=example,DC=net", "CN", "James \"Jim\" Smith, III"),
            ("CN=Before\\0DAfter,DC=example,DC=net", "CN", "Before\rAfter"),
        ] {
            let name = DistinguishedName::parse(text).unwrap();
            assert_eq!(name.sole_text(kind), Some(value));
            assert_eq!(name.to_string(), text);
        }
        let lucic = DistinguishedName::parse("CN=Lu\\C4\\8Di\\C4\\87").unwrap();
        assert_eq!(lucic.to_string(), "CN=Lučić");
        let encoded = DistinguishedName::parse("1.3.6.1.4.1.1466.0=#04024869").unwrap();
        assert_eq!(encoded.to_string(), "1.3.6.1.4.1.1466.0=#04024869");
    }

    #[test]
    fn what_is_not_rfc_4514_is_refused() {
        for text in [
            "",
            "CN",
            "=x",
            "=#0c0161",
            "CN=a,,O=b",
            "CN=a,",
            "CN=a\\",
            "CN=a\\0",
            "CN=a\\zz",
            "CN=a;O=b",
            "CN=a\0b",
            "CN= a",
            " CN=a",
            "CN=a ",
            "CN=a+",
            "+CN=a",
            "CN=\"a",
            "CN=a\"b",
            "1.2.=x",
            "1..2=x",
            "CN=#",
            "CN=#0",
            "CN=#zz",
            "CN=\\ff\\fe",
            "/O=x/CN=admin",
            "O=x, CN=y",
            "1.02=x",
        ] {
            assert_eq!(DistinguishedName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_what_would_be_read_otherwise_is_escaped() {
        let printed = |text: &str| DistinguishedName::parse(text).unwrap().to_string();
        for (written, expected) in
            [(r"CN=\#a#b", r"CN=\#a#b"), (r"CN=a\#b", "CN=a#b"), (r"CN=\ a b\ ", r"CN=\ a b\ "), (r"CN=a\ b", "CN=a b")]
        {
            assert_eq!(printed(written), expected);
        }
    }

    #[test]
    fn a_name_has_so_many_relative_names_at_most() {
        let parsed = |count: usize| DistinguishedName::parse(&vec!["CN=a"; count].join(",")).is_some();
        assert!(parsed(1) && parsed(MAX_RDNS) && !parsed(MAX_RDNS + 1) && !parsed(MAX_RDNS + 2));
    }

    #[test]
    fn a_relative_name_is_a_set_of_so_many_attributes_at_most() {
        assert_eq!(DistinguishedName::parse("CN=b+O=x+CN=a"), DistinguishedName::parse("O=x+CN=a+CN=b"));
        assert_ne!(DistinguishedName::parse("CN=a+CN=a"), DistinguishedName::parse("CN=a"));
        assert!(DistinguishedName::parse(&["CN=a"; MAX_ATTRIBUTES].join("+")).is_some());
        assert!(DistinguishedName::parse(&["CN=a"; MAX_ATTRIBUTES + 1].join("+")).is_none());
    }

    #[test]
    fn an_escaped_comma_starts_no_new_attribute() {
        let name = DistinguishedName::parse("CN=a\\,CN=admin").unwrap();
        assert_eq!(name.sole_text("CN"), Some("a,CN=admin"));
    }

    #[test]
    fn an_encoded_value_is_what_it_encodes() {
        assert_eq!(DistinguishedName::parse("CN=#0c0161"), DistinguishedName::parse("CN=a"));
        assert_ne!(DistinguishedName::parse("CN=#040161"), DistinguishedName::parse("CN=a"));
        assert_ne!(DistinguishedName::parse("CN=#040161"), DistinguishedName::parse("CN=\\#040161"));
        assert_eq!(DistinguishedName::parse("CN=#0c016100"), None);
    }

    #[test]
    fn an_empty_value_is_a_value() {
        for text in ["CN=a,OU=,O=b", "CN=a,OU=#1300,O=b", "CN=a,OU=\"\",O=b"] {
            let name = DistinguishedName::parse(text).unwrap();
            assert_eq!(name.sole_text("OU"), Some(""));
            assert_eq!(name.to_string(), "CN=a,OU=,O=b");
        }
        for text in ["OU=", "OU=+CN=a", "CN=a+OU=", "OU=,O=", "O="] {
            let name = DistinguishedName::parse(text).unwrap();
            assert_eq!(DistinguishedName::parse(&name.to_string()), Some(name), "{text}");
        }
    }

    #[test]
    fn java_and_rfc_1779_write_the_same_name_with_spaces_and_quotes() {
        for (written, expected) in [
            (r#"CN=" a \"q\" +x=y;<z>\\#", O="Example, Inc.""#, r#"CN=\ a \"q\" \+x=y\;\<z\>\\#,O=Example\, Inc."#),
            ("CN=a, OU=\"\", O=", "CN=a,OU=,O="),
            ("EMAILADDRESS=a@b, CN=b + OU=a, DC=c", "emailAddress=a@b,CN=b+OU=a,DC=c"),
            ("CN=b + OU=a", "CN=b+OU=a"),
            ("OID.2.999.1=y, OU=x", "2.999.1=y,OU=x"),
            (r#"CN="M\C3\BC", O=x"#, "CN=Mü,O=x"),
            ("SERIALNUMBER=1,DNQ=2,SURNAME=3,T=4,S=5", "serialNumber=1,dnQualifier=2,SN=3,title=4,ST=5"),
        ] {
            let name = DistinguishedName::parse(written).unwrap_or_else(|| panic!("{written}"));
            assert_eq!(name.to_string(), expected);
            assert_eq!(DistinguishedName::parse_printed(expected), Some(name), "{written}");
            assert!(
                written == expected
                    || DistinguishedName::parse_printed(written).is_none_or(|_| !written.contains([' ', '"']))
            );
        }
    }

    #[test]
    fn the_canonical_form_of_java_is_read_and_matches_names_in_small_letters_alone() {
        let canonical = DistinguishedName::parse("2.5.4.5=#0c0131,cn=mü b,ou=,o=example\\, inc.").unwrap();
        assert_eq!(Some(&canonical), DistinguishedName::parse("serialNumber=1,CN=mü b,OU=,O=example\\, inc.").as_ref());
        assert_ne!(Some(&canonical), DistinguishedName::parse("serialNumber=1,CN=Mü b,OU=,O=example\\, inc.").as_ref());
    }

    #[test]
    fn with_spaces_a_name_is_read_only_if_it_is_plain_which_end_is_which() {
        for text in [
            "O = Example, CN = acme",
            "C=DE, O=Example, CN=acme",
            "DC=com, DC=corp, CN=svc",
            "OU=b + CN=a, O=x",
            "CN=a, 1.2.3=b",
            "CN=a , O=b",
            "CN=a,  O=b",
            "CN=a ,O=b",
            "CN=a +O=b",
            "CN= a, O=b",
            "CN=\"a\"b, O=b",
            "CN=\"a, O=b",
            "CN=a; O=b",
        ] {
            assert_eq!(DistinguishedName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_type_that_envoy_cannot_print_is_like_no_other() {
        let name = DistinguishedName::parse_printed("CN=a,=#0c0178,O=b").unwrap();
        assert_eq!((name.sole_text("CN"), name.sole_text("O")), (Some("a"), Some("b")));
        assert_eq!(DistinguishedName::parse(&name.to_string()), None);
        assert_eq!(DistinguishedName::parse_printed("CN=a,=x,O=b"), None);
    }

    #[test]
    fn an_attribute_that_stands_twice_has_no_sole_text_whatever_its_type() {
        for text in ["CN=a,CN=b", "CN=a+CN=b", "CN=a,CN=#040162", "CN=#040162", "O=a"] {
            assert_eq!(DistinguishedName::parse(text).unwrap().sole_text("CN"), None, "{text}");
        }
    }

    #[test]
    fn types_are_equal_in_any_case_and_by_oid() {
        assert_eq!(DistinguishedName::parse("cn=a,ou=b"), DistinguishedName::parse("2.5.4.3=a,OU=b"));
        assert_ne!(DistinguishedName::parse("CN=a"), DistinguishedName::parse("CN=A"));
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(values in prop::collection::vec(("[A-Z]{0}CN|OU|O|1\\.2\\.3", "\\PC{1,12}|[\\x00-\\x7f]{1,8}"), 1..5)) {
            let name = DistinguishedName::from_der_order(
                values.into_iter().map(|(kind, text)| vec![Attribute { kind, value: Value::Text(text) }]).collect(),
            );
            prop_assert_eq!(DistinguishedName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = DistinguishedName::parse(&text);
        }
    }
}
