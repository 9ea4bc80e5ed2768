//! Templates over what a mapping captured: `acme-{name}`, `arn:example:{subject.OU}:{spiffe.path}`.
//!
//! A value can never change the shape of what it is put into. Letters, digits, `-._~@+` and inner spaces stay; every
//! other byte is percent-encoded, so that a Common Name holding `/`, `:`, `*` or a line break stays one plain value. Only
//! what was captured as several segments keeps its separators. Where nothing but such characters stands between two
//! values, these are encoded in the values, too: `{a}-{b}` writes `x-y` and `z` as `x%2Dy-z`, so that different values
//! never become the same text.

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

    /// Is any value, or a segment of one, empty?
    pub fn has_empty(&self) -> bool {
        self.0.iter().any(|(_, value)| match value {
            Captured::One(value) => value.is_empty(),
            Captured::Several(values, _) => values.iter().any(String::is_empty),
        })
    }

    fn value(&self, name: &str) -> Option<&Captured> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// A name that a pattern captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureName {
    /// The name in the braces.
    pub name: String,
    /// Captured with `{name...}`.
    pub several: bool,
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    /// Characters that values keep elsewhere but that separate values here.
    reserved: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Capture(CaptureName),
    Subject(String),
    TrustDomain,
    SpiffePath,
}

impl Part {
    /// May its text hold separators of its own?
    const fn is_several(&self) -> bool {
        matches!(self, Self::SpiffePath | Self::Capture(CaptureName { several: true, .. }))
    }
}

impl Template {
    /// Reads a template over what its mapping captures.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str, captures: &[CaptureName]) -> Result<Self, &'static str> {
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
            parts.push(substitution(name, captures)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(plain(rest)?));
        }
        if parts.is_empty() {
            return Err("a text that is not empty");
        }
        let reserved = reserved(&parts)?;
        Ok(Self { parts, reserved })
    }

    /// The constant text, where nothing is to be substituted.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// May it make this text, for some certificate? What stands between its first and its last part is not looked at.
    pub fn may_make(&self, text: &str) -> bool {
        let fits = |part: Option<&Part>, fits: fn(&str, &str) -> bool| match part {
            Some(Part::Literal(literal)) => fits(text, literal),
            _ => true,
        };
        match self.literal() {
            Some(literal) => literal == text,
            None => {
                fits(self.parts.first(), |text, literal| text.starts_with(literal))
                    && fits(self.parts.last(), |text, literal| text.ends_with(literal))
            }
        }
    }

    /// Bytes that every text has that is made of it.
    pub fn literal_len(&self) -> usize {
        let literals = self.parts.iter().map(|part| if let Part::Literal(text) = part { text.len() } else { 0 });
        literals.sum()
    }

    /// Fills the template in. `None` where a value is absent or, in the subject, there more than once.
    pub fn render(
        &self,
        captures: &Captures,
        subject: &DistinguishedName,
        spiffe: Option<&SpiffeId>,
    ) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Capture(capture) => match captures.value(&capture.name)? {
                    Captured::One(value) => self.push(&mut text, value)?,
                    Captured::Several(values, separator) => {
                        self.push_several(&mut text, values.iter().map(String::as_str), *separator)?;
                    }
                },
                Part::Subject(kind) => self.push(&mut text, subject.sole_text(kind)?)?,
                Part::TrustDomain => self.push(&mut text, spiffe?.trust_domain())?,
                Part::SpiffePath => {
                    text.push('/');
                    self.push_several(&mut text, spiffe?.path().split('/').skip(1), '/')?;
                }
            }
        }
        Some(text)
    }

    fn push_several<'a>(
        &self,
        text: &mut String,
        values: impl Iterator<Item = &'a str>,
        separator: char,
    ) -> Option<()> {
        for (index, value) in values.enumerate() {
            if index > 0 {
                text.push(separator);
            }
            self.push(text, value)?;
        }
        Some(())
    }

    /// Appends a value that cannot be mistaken for structure. Empty and dot values have no safe spelling.
    fn push(&self, text: &mut String, value: &str) -> Option<()> {
        if matches!(value, "" | "." | "..") {
            return None;
        }
        let last = value.len() - 1;
        for (index, byte) in value.bytes().enumerate() {
            let character = char::from(byte);
            let inner_space = byte == b' ' && index != 0 && index != last;
            if (is_kept(character) || inner_space) && !self.reserved.contains(character) {
                text.push(character);
            } else {
                write!(text, "%{byte:02X}").ok()?;
            }
        }
        Some(())
    }
}

/// What stands in braces.
fn substitution(name: &str, captures: &[CaptureName]) -> Result<Part, &'static str> {
    let capture = name.strip_suffix("...").unwrap_or(name);
    if let Some(known) = captures.iter().find(|known| known.name == capture) {
        return Ok(Part::Capture(known.clone()));
    }
    match name.split_once('.') {
        Some(("subject", kind)) => {
            canonical_kind(kind).map(Part::Subject).ok_or("an attribute type such as {subject.CN}")
        }
        Some(("spiffe", "trust_domain")) => Ok(Part::TrustDomain),
        Some(("spiffe", "path")) => Ok(Part::SpiffePath),
        _ => Err("a capture of this mapping's match, {subject.CN} (or another attribute), {spiffe.trust_domain} or \
                  {spiffe.path}"),
    }
}

/// What must not stand in a value, so that it can be told where each value ends.
fn reserved(parts: &[Part]) -> Result<String, &'static str> {
    let mut reserved = String::new();
    let mut several = false;
    // The value before, and the literal behind it.
    let mut before: Option<(bool, &str)> = None;
    for part in parts {
        if let Part::Literal(literal) = part {
            before = before.map(|(was_several, _)| (was_several, literal.as_str()));
            continue;
        }
        if several && part.is_several() {
            return Err("at most one of {name...} and {spiffe.path}: where one ends and the next begins would be open");
        }
        several |= part.is_several();
        match before {
            // A path begins with a slash, which a single value never holds.
            Some((false, "")) if *part == Part::SpiffePath => {}
            Some((_, between)) if !between.contains(|character| !is_kept(character) && character != ' ') => {
                let separators: String =
                    between.chars().filter(|character| !character.is_ascii_alphanumeric()).collect();
                if separators.is_empty() {
                    return Err("a separator such as /, : or - between two values");
                }
                reserved.push_str(&separators);
            }
            _ => {}
        }
        before = Some((part.is_several(), ""));
    }
    Ok(reserved)
}

/// Characters of a value that need no encoding.
fn is_kept(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~@+".contains(character)
}

/// Names and ARNs become header values: visible ASCII, and no braces left over.
fn plain(literal: &str) -> Result<String, &'static str> {
    let fits = literal.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'}');
    fits.then(|| literal.to_owned()).ok_or("visible ASCII characters, braces only in pairs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single_capture(name: &str) -> CaptureName {
        CaptureName { name: name.to_owned(), several: false }
    }

    fn render(template: &str, name: &str) -> Option<String> {
        let template = Template::parse(template, &[single_capture("name")]).unwrap();
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
            assert!(Template::parse(text, &[single_capture("name")]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn different_values_never_make_the_same_text() {
        let captures =
            [single_capture("a"), single_capture("b"), CaptureName { name: "rest".to_owned(), several: true }];
        let render = |template: &str, a: &str, b: &str| {
            let mut values = Captures::default();
            values.insert("a", Captured::One(a.to_owned()));
            values.insert("b", Captured::One(b.to_owned()));
            Template::parse(template, &captures).unwrap().render(&values, &DistinguishedName::default(), None)
        };
        assert_eq!(render("{a}-{b}", "pay-api", "x").as_deref(), Some("pay%2Dapi-x"));
        assert_eq!(render("{a}-{b}", "pay", "api-x").as_deref(), Some("pay-api%2Dx"));
        assert_eq!(render("{a}/{b}", "pay-api", "x").as_deref(), Some("pay-api/x"));
        // Where no value holds one character of a separator, the others need not be encoded.
        assert_eq!(render("{a}-/{b}", "pay-api", "x-y").as_deref(), Some("pay-api-/x-y"));
        assert_eq!(render("{a} - {b}", "a - b", "c").as_deref(), Some("a%20%2D%20b - c"));
        for template in ["{a}{b}", "{a}x{b}", "{rest...}/{spiffe.path}", "{rest}:{spiffe.path}", "{spiffe.path}{a}"] {
            assert!(Template::parse(template, &captures).is_err(), "{template}");
        }
        for template in ["{spiffe.trust_domain}{spiffe.path}", "{rest}/{a}", "{a}/{rest}", "x{a}y"] {
            assert!(Template::parse(template, &captures).is_ok(), "{template}");
        }
    }
}
