//! Templates over what a mapping captured: `acme-{name}`, `arn:example:{subject.OU}:{spiffe.path}`.
//!
//! A value can never change the shape of what it is put into. Letters, digits, `-._~@+` and inner spaces stay; every
//! other byte is percent-encoded, so that a Common Name holding `/`, `:`, `*` or a line break stays one plain value and
//! two different values never become the same text. Only what was captured as several segments keeps its separators.

use std::fmt::Write;

use super::spiffe::SpiffeId;
use crate::certificate::{DistinguishedName, canonical_kind};

/// What a mapping's patterns captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures(Vec<(String, Captured)>);

/// One captured value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Captured {
    /// A path segment, DN value or DNS label.
    One(String),
    /// Several segments and the character between them.
    Several(Vec<String>, char),
}

impl Captures {
    /// Remembers a value.
    pub fn insert(&mut self, name: &str, value: Captured) {
        self.0.push((name.to_owned(), value));
    }

    /// Takes over what another pattern captured.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn value(&self, name: &str) -> Option<&Captured> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Capture(String),
    Subject(String),
    TrustDomain,
    SpiffePath,
}

impl Template {
    /// Reads a template; `captures` are the names that its mapping captures.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str, captures: &[String]) -> Result<Self, &'static str> {
        if text.trim() != text {
            return Err("no space at either end");
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("a closing }")?;
            if !literal.is_empty() {
                parts.push(Part::Literal(plain(literal)?));
            }
            parts.push(match name.split_once('.') {
                None if captures.iter().any(|known| known == name) => Part::Capture(name.to_owned()),
                Some(("subject", kind)) => Part::Subject(canonical_kind(kind).ok_or("an attribute type such as {subject.CN}")?),
                Some(("spiffe", "trust_domain")) => Part::TrustDomain,
                Some(("spiffe", "path")) => Part::SpiffePath,
                _ => {
                    return Err("a capture of this mapping's match, {subject.CN} (or another attribute), {spiffe.trust_domain} or {spiffe.path}");
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(plain(rest)?));
        }
        if parts.is_empty() {
            return Err("a text that is not empty");
        }
        Ok(Self(parts))
    }

    /// The constant text, where nothing is to be substituted.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Fills the template in. `None` where a value is absent or, in the subject, there more than once.
    pub fn render(
        &self,
        captures: &Captures,
        subject: &DistinguishedName,
        spiffe: Option<&SpiffeId>,
    ) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Capture(name) => match captures.value(name)? {
                    Captured::One(value) => push(&mut text, value)?,
                    Captured::Several(values, separator) => push_several(&mut text, values, *separator)?,
                },
                Part::Subject(kind) => push(&mut text, single(subject.values(kind))?)?,
                Part::TrustDomain => text.push_str(spiffe?.trust_domain()),
                // Its grammar leaves nothing to encode.
                Part::SpiffePath => text.push_str(spiffe?.path()),
            }
        }
        Some(text)
    }
}

/// The only value of an attribute.
pub(super) fn single<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Names and ARNs become header values: visible ASCII, and no braces left over.
fn plain(literal: &str) -> Result<String, &'static str> {
    let fits = literal.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'}');
    fits.then(|| literal.to_owned()).ok_or("visible ASCII characters, braces only in pairs")
}

fn push_several(text: &mut String, values: &[String], separator: char) -> Option<()> {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(separator);
        }
        push(text, value)?;
    }
    Some(())
}

/// Appends a value that cannot be mistaken for structure. Empty and dot values have no safe spelling.
fn push(text: &mut String, value: &str) -> Option<()> {
    if matches!(value, "" | "." | "..") {
        return None;
    }
    let last = value.len() - 1;
    for (index, byte) in value.bytes().enumerate() {
        let inner_space = byte == b' ' && index != 0 && index != last;
        if byte.is_ascii_alphanumeric() || b"-._~@+".contains(&byte) || inner_space {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").ok()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, name: &str) -> Option<String> {
        let template = Template::parse(template, &["name".to_owned()]).unwrap();
        let mut captures = Captures::default();
        captures.insert("name", Captured::One(name.to_owned()));
        template.render(&captures, &DistinguishedName::default(), None)
    }

    #[test]
    fn a_value_cannot_change_the_shape_of_the_template() {
        for (value, expected) in [
            ("acme", Some("arn:x:acme/y")),
            ("acme-mobile.v2_~@+", Some("arn:x:acme-mobile.v2_~@+/y")),
            ("Acme Corp", Some("arn:x:Acme Corp/y")),
            (" acme ", Some("arn:x:%20acme%20/y")),
            ("a/b", Some("arn:x:a%2Fb/y")),
            ("a:b", Some("arn:x:a%3Ab/y")),
            ("a*", Some("arn:x:a%2A/y")),
            ("a%2Fb", Some("arn:x:a%252Fb/y")),
            ("{name}", Some("arn:x:%7Bname%7D/y")),
            ("a\r\nx: y", Some("arn:x:a%0D%0Ax%3A y/y")),
            ("ü", Some("arn:x:%C3%BC/y")),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(render("arn:x:{name}/y", value).as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn an_attribute_that_stands_twice_has_no_value() {
        let template = Template::parse("{subject.ou}", &[]).unwrap();
        let render = |dn| template.render(&Captures::default(), &DistinguishedName::parse(dn).unwrap(), None);
        assert_eq!(render("OU=a,O=x").as_deref(), Some("a"));
        assert_eq!(render("OU=a,OU=b"), None);
        assert_eq!(render("O=x"), None);
    }

    #[test]
    fn an_unusable_template_is_refused() {
        for text in [
            "",
            "{",
            "{}",
            "{other}",
            "{name",
            "name}",
            "{subject.}",
            "{subject.XX}",
            " a",
            "{name} ",
            "{spiffe.x}",
            "a\n",
            "ü",
        ] {
            assert!(Template::parse(text, &["name".to_owned()]).is_err(), "{text:?}");
        }
    }
}
