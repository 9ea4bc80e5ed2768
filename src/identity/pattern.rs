//! Patterns over names, as a mapping's `match` writes them.
//!
//! A name is cut into pieces: a URI at `/`, a DNS name at `.`, an e-mail address at `@`; the value of a DN attribute is
//! one piece. A piece of a pattern is literal, `{name}` (exactly one piece), a literal beginning and `{name}` (the rest of that piece),
//! or `{name...}` (one or more, once in a pattern).
//! Everything else is literal: `.` and `[` mean themselves. A `*` is refused, since its writer means a capture.
//!
//! A literal takes every spelling of its name ([`FoldedName`](crate::certificate::FoldedName)); a captured value stays as the
//! certificate has it.

use super::pattern_kind::PatternKind;
use super::template::{CaptureName, Captured, Captures};
use crate::certificate::{DistinguishedName, Value, folded_text};

/// What comes of comparing a condition with a certificate: no match, or a match and what it captures.
///
/// # Errors
/// It cannot be told: a value is there several times, empty, absent or no text. The certificate is refused then, because
/// otherwise it would choose by such a value which mapping it belongs to.
pub type Outcome<T> = Result<Option<T>, &'static str>;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    kind: PatternKind,
    /// Pieces before `{name...}`, or all of them.
    head: Vec<Piece>,
    /// `{name...}` and the pieces behind it.
    rest: Option<(String, Vec<Piece>)>,
    /// Is an attribute met by one of its values, whatever the others are?
    is_any: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Folded.
    Literal(String),
    Capture(String),
    /// Behind a folded literal.
    Behind(String, String),
}

impl Piece {
    /// Does it match whatever the other piece matches, or a piece that can be anything?
    fn covers(&self, other: Option<&Self>) -> bool {
        match (self, other) {
            (Self::Capture(_), _) => true,
            (Self::Literal(own), Some(Self::Literal(other))) => own == other,
            // Of nothing behind it a capture is refused.
            (Self::Behind(own, _), Some(Self::Literal(other) | Self::Behind(other, _))) => {
                other.starts_with(own) || other == own.trim_end()
            }
            (Self::Literal(_) | Self::Behind(..), _) => false,
        }
    }
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str, kind: PatternKind) -> Result<Self, &'static str> {
        let text = kind.trimmed(text);
        if text.is_empty() {
            return Err("a pattern that is not empty");
        }
        let pieces = pieces(text, kind.separator());
        if kind == PatternKind::Uri && matches!(pieces.as_slice(), [first, _, ..] if first.starts_with('{')) {
            return Err("a pattern that begins with the scheme of the URI, such as https://");
        }
        let (mut head, mut tail, mut several) = (Vec::new(), Vec::new(), None);
        for (index, piece) in pieces.iter().enumerate() {
            if let Some(name) = piece.strip_prefix('{').and_then(|inner| inner.strip_suffix("...}")) {
                if several.is_some() || kind == PatternKind::Attribute {
                    return Err("{name...} at most once, and only in a URI, DNS or e-mail name");
                }
                several = Some(capture_name(name)?);
                continue;
            }
            let parsed = match piece.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
                None if piece.contains('*') => return Err(NO_WILDCARD),
                Some(name) if !name.contains(['{', '}']) => Piece::Capture(capture_name(name)?),
                _ if piece.contains(['{', '}']) => {
                    let behind = piece.strip_suffix('}').and_then(|piece| piece.split_once('{'));
                    match behind.filter(|(literal, name)| !literal.contains('}') && !name.contains(['{', '.'])) {
                        Some((literal, name)) if !literal.trim().is_empty() => {
                            Piece::Behind(kind.folded_beginning(&pieces, index, literal), capture_name(name)?)
                        }
                        _ => return Err(NO_CAPTURE),
                    }
                }
                _ => match kind.folded_literal(&pieces, index) {
                    empty if kind == PatternKind::Attribute && empty.is_empty() => {
                        return Err("a value that is not empty");
                    }
                    literal => Piece::Literal(literal),
                },
            };
            if several.is_some() { &mut tail } else { &mut head }.push(parsed);
        }
        Ok(Self { kind, head, rest: several.map(|name| (name, tail)), is_any: false })
    }

    /// Reads a pattern that one value of an attribute has to match, and no other value.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse_any(text: &str) -> Result<Self, &'static str> {
        let pattern = Self::parse(text, PatternKind::Attribute)?;
        match pattern.is_capture() {
            true => Err(
                "a value or a literal beginning, such as {\"any\": \"app:{name}\"}: {name} alone matches every value",
            ),
            false => Ok(Self { is_any: true, ..pattern }),
        }
    }

    /// The names that a match captures.
    pub fn capture_names(&self) -> impl Iterator<Item = CaptureName> {
        let (several, tail) = match &self.rest {
            Some((name, tail)) => (Some((name, true)), tail.as_slice()),
            None => (None, &[][..]),
        };
        let single = self.head.iter().chain(tail).filter_map(|piece| match piece {
            Piece::Capture(name) | Piece::Behind(_, name) => Some((name, false)),
            Piece::Literal(_) => None,
        });
        single.chain(several).map(|(name, several)| CaptureName { name: name.clone(), several })
    }

    /// Compares a whole name.
    pub fn compare(&self, name: &str) -> Outcome<Captures> {
        let name = self.kind.trimmed(name);
        self.matches(name, &self.kind.folded(name))
    }

    /// Compares all values that a name has of an attribute.
    pub fn compare_attribute(&self, name: &DistinguishedName, kind: &str) -> Outcome<Captures> {
        if self.is_any {
            let outcomes = name.values(kind).map(|value| self.compare_value(value));
            return only_match(outcomes, "several values of the attribute match");
        }
        let (mut outcome, mut count, mut is_met) = (Ok(None), 0, false);
        for value in name.values(kind) {
            outcome = self.compare_value(value);
            is_met |= !matches!(outcome, Ok(None));
            count += 1;
        }
        match count {
            0 if self.is_capture() => Err("the certificate does not have the attribute"),
            0 | 1 => outcome,
            _ if is_met => Err("the certificate has the attribute several times"),
            _ => Ok(None),
        }
    }

    fn compare_value(&self, value: &Value) -> Outcome<Captures> {
        match (value, folded_text(value)) {
            (Value::Text(text), Some(folded)) => self.matches(text, &folded),
            (Value::Der(_), Some(folded)) if !self.is_capture() => self.matches("", &folded),
            _ => Err("the attribute is no text that can be read"),
        }
    }

    /// Is it one capture and nothing else?
    pub fn is_capture(&self) -> bool {
        matches!((self.head.as_slice(), &self.rest), ([Piece::Capture(_)], None))
    }

    /// Compares a name as it is written with captures, and as it is compared with literals. Both are cut at the same places.
    fn matches(&self, written: &str, folded: &str) -> Outcome<Captures> {
        let pieces: Vec<_> = match self.kind.separator() {
            Some(separator) => written.split(separator).zip(folded.split(separator)).collect(),
            None => vec![(written, folded)],
        };
        match self.captures(&pieces) {
            Some(captures) if captures.has_empty() => Err("what is to be captured is empty"),
            captures => Ok(captures),
        }
    }

    fn captures(&self, pieces: &[(&str, &str)]) -> Option<Captures> {
        let mut captures = Captures::default();
        let (head, behind) = pieces.split_at_checked(self.head.len())?;
        match &self.rest {
            None if behind.is_empty() => {}
            None => return None,
            Some((name, tail)) => {
                let (several, end) = behind.split_at_checked(behind.len().checked_sub(tail.len())?)?;
                if several.is_empty() {
                    return None;
                }
                self.match_pieces(tail, end, &mut captures)?;
                let values = several.iter().map(|(written, _)| (*written).to_owned()).collect();
                captures.insert(name, Captured::Several(values, self.kind.separator()?));
            }
        }
        self.match_pieces(&self.head, head, &mut captures)?;
        Some(captures)
    }

    fn match_pieces(&self, pattern: &[Piece], pieces: &[(&str, &str)], captures: &mut Captures) -> Option<()> {
        for (expected, (written, folded)) in pattern.iter().zip(pieces) {
            let (name, value) = match expected {
                Piece::Literal(literal) if literal == folded => continue,
                Piece::Literal(_) => return None,
                Piece::Capture(name) => (name, *written),
                Piece::Behind(beginning, name) => (name, self.kind.behind(written, folded, beginning)?),
            };
            captures.insert(name, Captured::One(value.to_owned()));
        }
        Some(())
    }

    /// Does it match every name that the other one matches, or at least refuse it because something in it is empty?
    pub fn covers(&self, other: &Self) -> bool {
        let fits = match (&self.rest, &other.rest) {
            (None, None) => self.shortest() == other.shortest(),
            (None, Some(_)) => false,
            (Some(_), _) => self.shortest() <= other.shortest(),
        };
        // Where the other has `{name...}`, any piece may stand.
        let from_the_front = || self.head.iter().enumerate().all(|(index, piece)| piece.covers(other.head.get(index)));
        let from_the_back = || {
            let last = other.tail().iter().rev();
            self.rest.is_none()
                || self.tail().iter().rev().enumerate().all(|(index, piece)| piece.covers(last.clone().nth(index)))
        };
        self.kind == other.kind && fits && from_the_front() && from_the_back()
    }

    /// The pieces at its end: those behind `{name...}`, or all of them.
    fn tail(&self) -> &[Piece] {
        self.rest.as_ref().map_or(&self.head, |(_, tail)| tail)
    }

    /// The pieces of the shortest name that it matches.
    fn shortest(&self) -> usize {
        self.head.len() + self.rest.as_ref().map_or(0, |(_, tail)| tail.len() + 1)
    }
}

/// The one match among these. Two would leave open which is meant.
pub fn only_match(outcomes: impl Iterator<Item = Outcome<Captures>>, otherwise: &'static str) -> Outcome<Captures> {
    let mut matching = outcomes.filter(|outcome| !matches!(outcome, Ok(None)));
    let found = matching.next().unwrap_or(Ok(None));
    if matching.next().is_some() { Err(otherwise) } else { found }
}

/// Cuts a pattern at the separator, but not inside braces: `{name...}` holds dots.
fn pieces(text: &str, separator: Option<char>) -> Vec<&str> {
    let mut inside = false;
    text.split(|character| {
        inside = match character {
            '{' => true,
            '}' => false,
            _ => inside,
        };
        !inside && Some(character) == separator
    })
    .collect()
}

/// Of a literal with a `*`. Registered identities are literal throughout.
pub const NO_WILDCARD: &str =
    "{name} for any one segment, label or value (a name that holds a * itself can be one of clients.<id>.identities)";

const NO_CAPTURE: &str = "{name} to stand for a whole segment, label or value, or for the rest of it behind a literal beginning such as app:{name}";

fn capture_name(name: &str) -> Result<String, &'static str> {
    let fits = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    fits.then(|| name.to_owned()).ok_or("a capture named with letters, digits and _ such as {name}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const URI: PatternKind = PatternKind::Uri;
    const DNS: PatternKind = PatternKind::Dns;
    const EMAIL: PatternKind = PatternKind::Email;
    const ATTRIBUTE: PatternKind = PatternKind::Attribute;

    fn pattern(text: &str, kind: PatternKind) -> NamePattern {
        NamePattern::parse(text, kind).unwrap()
    }

    #[test]
    fn a_capture_is_one_piece_and_the_rest_is_literal() {
        for (written, kind, name, expected) in [
            ("spiffe://td/ns/{ns}/sa/{sa}", URI, "spiffe://td/ns/pay/sa/api", Some(true)),
            ("spiffe://td/ns/{ns}/sa/{sa}", URI, "spiffe://td/ns/pay/sa/api/x", Some(false)),
            ("spiffe://td/ns/{ns}/sa/{sa}", URI, "spiffe://td/ns//sa/api", None),
            ("spiffe://td/{rest...}", URI, "spiffe://td/a/b/c", Some(true)),
            ("spiffe://td/{rest...}", URI, "spiffe://td/", None),
            ("spiffe://td/{rest...}/end", URI, "spiffe://td/a/b/end", Some(true)),
            ("spiffe://td/{rest...}/end", URI, "spiffe://td/end", Some(false)),
            ("{name}.clients.example", DNS, "acme.clients.example", Some(true)),
            ("{name}.clients.example", DNS, "x.acme.clients.example", Some(false)),
            ("{name}.clients.example", DNS, "acme.clientsxexample", Some(false)),
            ("{sub...}.example", DNS, "a.b.example", Some(true)),
            ("{user}@example.com", EMAIL, "bob@example.com", Some(true)),
            ("{user}@example.com", EMAIL, "bob@evil@example.com", Some(false)),
        ] {
            let outcome = pattern(written, kind).compare(name).map(|captures| captures.is_some());
            assert_eq!(outcome.ok(), expected, "{written} on {name}");
        }
    }

    #[test]
    fn an_unusable_pattern_is_refused() {
        let literals = ["", "a/{", "a/{}", "a/{x}y", "a/{b...}/{c...}", "{1}", "{a-b}", "a/}", "https://a/*", "a/b*"];
        for written in literals.into_iter().chain(["{scheme}//host", "{rest...}/a"]) {
            assert!(NamePattern::parse(written, URI).is_err(), "{written}");
        }
        for (written, kind) in [
            ("{rest...}", ATTRIBUTE),
            ("*", ATTRIBUTE),
            (" ", ATTRIBUTE),
            (".", DNS),
            ("*.example", DNS),
            ("*@a", EMAIL),
        ] {
            assert!(NamePattern::parse(written, kind).is_err(), "{written}");
        }
    }

    /// Few pieces, so that many patterns and names meet.
    fn made(piece: &'static str) -> impl Strategy<Value = (PatternKind, Vec<String>)> {
        let kind = prop::sample::select(&[URI, DNS, EMAIL, ATTRIBUTE][..]);
        (kind, prop::collection::vec(piece, 1..5))
    }

    fn joined(kind: PatternKind, pieces: &[String]) -> String {
        match kind.separator() {
            Some(separator) => pieces.join(&separator.to_string()),
            None => pieces.concat(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

        #[test]
        fn what_a_pattern_covers_it_never_lets_pass(
            (kind, one) in made("[ab]|A|b:|\\{x\\}|a\\{z\\}|b:\\{u\\}|\\{x\\.\\.\\.\\}"),
            (_, other) in made("[ab]|A|b:|\\{y\\}|ab?\\{z\\}|B: \\{u\\}|\\{y\\.\\.\\.\\}"),
            names in prop::collection::vec(prop::collection::vec("[ab]|[ABc]|b: ?|aab?", 1..6), 8),
        ) {
            let parse = |pieces: &[String]| NamePattern::parse(&joined(kind, pieces), kind);
            let written = joined(kind, &one);
            let (Ok(one), Ok(other)) = (parse(&one), parse(&other)) else {
                return Ok(());
            };
            prop_assert!(one.covers(&one));
            prop_assert!(written.contains('{') || matches!(one.compare(&written), Ok(Some(_))), "{written}");
            for name in names {
                let name = joined(kind, &name);
                let is_matched = matches!(other.compare(&name), Ok(Some(_)));
                if one.covers(&other) {
                    prop_assert!(!is_matched || one.compare(&name) != Ok(None), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_pattern_covers_one_whose_names_it_all_matches_and_no_other() {
        for (kind, one, other, covers) in [
            (URI, "a:/{x}", "a:/b", true),
            (URI, "a:/b", "a:/{x}", false),
            (URI, "a:/b", "A:/b", true),
            (URI, "a:/{x...}", "a:/{y}/{z}", true),
            (URI, "a:/{x...}", "a:/{y...}", true),
            (URI, "a:/{x...}", "a:", false),
            (URI, "a:/{x}", "a:/{y...}", false),
            (URI, "a:/{x...}/c", "a:/b/c", true),
            (URI, "a:/{x...}/c", "a:/c", false),
            (URI, "a:/{x...}/c", "a:/b/{y...}/c", true),
            (URI, "a:/b/{x...}", "a:/{y...}/c", false),
            (URI, "a:/{x}/{z...}", "a:/{y...}/c", true),
            (URI, "a:/{x}/b/{z...}", "a:/{y...}/b/c", false),
            (URI, "a:/{x...}/{z}", "a:/{y...}", false),
            (DNS, "{x}.a", "b.A.", true),
            (ATTRIBUTE, "{x}", "b", true),
            (ATTRIBUTE, "B  c", "b C", true),
            (ATTRIBUTE, "b", "c", false),
        ] {
            assert_eq!(pattern(one, kind).covers(&pattern(other, kind)), covers, "{one} {other}");
        }
        assert!(!pattern("{x}", ATTRIBUTE).covers(&pattern("{x}", DNS)));
    }
}
