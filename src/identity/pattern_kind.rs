//! What a pattern is over: where a name is cut, and which spellings of it are the same.

use crate::certificate::{Value, folded_address, folded_host, folded_text, folded_uri};

/// The kind of name that a pattern is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternKind {
    /// Cut at `/`. Letter case of scheme and host does not count.
    Uri,
    /// Cut at `.`. Neither letter case nor a dot at the end counts.
    Dns,
    /// Cut at `@`. Neither letter case of the host nor a dot at its end counts.
    Email,
    /// A value of a distinguished name, not cut. Neither letter case nor the amount of white space counts.
    Attribute,
}

impl PatternKind {
    /// Where a name is cut.
    pub const fn separator(self) -> Option<char> {
        match self {
            Self::Uri => Some('/'),
            Self::Dns => Some('.'),
            Self::Email => Some('@'),
            Self::Attribute => None,
        }
    }

    /// A name without what is no piece of it.
    pub fn trimmed(self, name: &str) -> &str {
        if self == Self::Dns { name.trim_end_matches('.') } else { name }
    }

    /// A name as it is compared, cut at the same places.
    pub fn folded(self, name: &str) -> String {
        match self {
            Self::Uri => folded_uri(name),
            Self::Dns => folded_host(name),
            Self::Email => folded_address(name),
            Self::Attribute => folded_text(&Value::Text(name.to_owned())).unwrap_or_default(),
        }
    }

    /// The literal with which a piece of a pattern begins, before a capture, as [`folded`](Self::folded) would have it in a name.
    pub fn folded_beginning(self, pieces: &[&str], index: usize, literal: &str) -> String {
        match self {
            Self::Attribute => before_more(literal),
            Self::Email if index == 0 || index + 1 < pieces.len() => literal.to_owned(),
            Self::Dns | Self::Email => literal.to_ascii_lowercase(),
            Self::Uri => {
                let piece = |(at, piece)| if at == index { literal } else { piece };
                self.folded_literal(&pieces.iter().copied().enumerate().map(piece).collect::<Vec<_>>(), index)
            }
        }
    }

    /// What a piece of a name has behind a folded beginning: as it is written, and found in the folded piece. Empty where that cannot
    /// be told, because a character that is folded into several is partly of the beginning.
    pub fn behind<'a>(self, written: &'a str, folded: &str, beginning: &str) -> Option<&'a str> {
        if self != Self::Attribute {
            return folded.starts_with(beginning).then(|| written.get(beginning.len()..)).flatten();
        }
        if !folded.starts_with(beginning) && folded != beginning.trim_end() {
            return None;
        }
        // The shortest beginning, so that nothing of what follows is lost, be it white space.
        let ends: Vec<usize> = written.char_indices().map(|(at, one)| at + one.len_utf8()).collect();
        let until = |end: usize| before_more(written.get(..end).unwrap_or_default());
        let end = ends.get(ends.partition_point(|end| until(*end).len() < beginning.len()));
        end.filter(|end| until(**end) == beginning).and_then(|end| written.get(*end..)).or(Some(""))
    }

    /// A literal piece of a pattern as [`folded`](Self::folded) would have it in a name.
    pub fn folded_literal(self, pieces: &[&str], index: usize) -> String {
        let literal = pieces.get(index).copied().unwrap_or_default();
        match self {
            Self::Uri if is_authority(pieces, index) => self.folded(&format!("x://{literal}")).split_off("x://".len()),
            Self::Email if index > 0 && index + 1 == pieces.len() => folded_host(literal),
            Self::Uri if index > 0 => literal.to_owned(),
            Self::Email => literal.to_owned(),
            Self::Uri | Self::Dns | Self::Attribute => self.folded(literal),
        }
    }
}

/// The beginning of an attribute's value as it is compared: white space at its end counts, because more follows.
fn before_more(text: &str) -> String {
    let mut folded = PatternKind::Attribute.folded(&format!("{text}x"));
    folded.pop();
    folded
}

/// Is this the piece behind `https://`?
fn is_authority(pieces: &[&str], index: usize) -> bool {
    let is_scheme = |piece: &str| piece.strip_suffix(':').is_some_and(|scheme| !scheme.contains(':'));
    index == 2 && matches!(pieces, [scheme, "", ..] if is_scheme(scheme))
}

#[cfg(test)]
mod tests {
    use super::super::pattern::NamePattern;
    use super::super::template::{Captured, Captures};
    use super::PatternKind::{Attribute, Dns, Email, Uri};
    use super::*;

    fn pattern(text: &str, kind: PatternKind) -> NamePattern {
        NamePattern::parse(text, kind).unwrap()
    }

    #[test]
    fn a_literal_takes_every_spelling_of_its_name_and_a_capture_keeps_what_is_written() {
        for (kind, written, name, same) in [
            (Uri, "HTTPS://A.example/{x}", "https://a.EXAMPLE/B", true),
            (Uri, "https://a.example/b", "https://a.example/B", false),
            (Uri, "https://User@A.example/b", "https://User@a.example/b", true),
            (Uri, "https://User@A.example/b", "https://user@a.example/b", false),
            (Uri, "https://{Host}/b", "https://A/b", true),
            (Uri, "URN:x:a", "urn:x:a", true),
            (Uri, "urn:x:A", "urn:x:a", false),
            (Uri, "urn:x://A", "urn:x://a", false),
            (Dns, "{Host}.Example.", "a.example", true),
            (Dns, "{Host}.Example", "a.example.", true),
            (Dns, "b.example", "a.example", false),
            (Email, "{User}@A.Example", "Bob@a.example.", true),
            (Email, "{User...}@A.example.", "a@b@A.EXAMPLE", true),
            (Email, "Bob@a.example", "bob@a.example", false),
            (Email, "Bob", "bob", false),
            (Attribute, "Example  Corp", " EXAMPLE\tcorp ", true),
            (Attribute, "STRASSE", "Straße", true),
            (Attribute, "ExampleCorp", "Example Corp", false),
        ] {
            let outcome = pattern(written, kind).compare(name);
            assert_eq!(outcome.map(|captures| captures.is_some()), Ok(same), "{written} {name}");
        }
        for (kind, written, name, kept) in [
            (Uri, "https://{host}/B", "https://A/B", "A"),
            (Dns, "{host}.example", "A.Example.", "A"),
            (Email, "bob@{host}", "bob@A.Example.", "A.Example."),
            (Attribute, "{value}", " A  b ", " A  b "),
        ] {
            let captures = pattern(written, kind).compare(name).unwrap().unwrap();
            let mut expected = Captures::default();
            expected.insert(written.split(['{', '}']).nth(1).unwrap(), Captured::One(kept.to_owned()));
            assert_eq!(captures, expected, "{written} {name}");
        }
    }
}
