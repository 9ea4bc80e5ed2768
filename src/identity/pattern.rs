//! Patterns over names, as a mapping's `match` writes them.
//!
//! A name is cut into pieces: a URI at `/`, a DNS name at `.`, an e-mail address at `@`; the value of a DN attribute is
//! one piece. A piece of a pattern is literal, `{name}` (exactly one piece) or `{name...}` (one or more, once in a pattern).
//! Everything else is literal: `.`, `*` and `[` mean themselves.

use super::template::{CaptureName, Captured, Captures};

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    separator: Option<char>,
    /// Pieces before `{name...}`, or all of them.
    head: Vec<Piece>,
    /// `{name...}` and the pieces behind it.
    rest: Option<(String, Vec<Piece>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Capture(String),
}

impl NamePattern {
    /// Reads a pattern over pieces between `separator`, or over a whole value.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str, separator: Option<char>) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("a pattern that is not empty");
        }
        let pieces = pieces(text, separator);
        let (mut head, mut tail, mut several) = (Vec::new(), Vec::new(), None);
        for piece in pieces {
            if let Some(name) = piece.strip_prefix('{').and_then(|inner| inner.strip_suffix("...}")) {
                if several.is_some() || separator.is_none() {
                    return Err("{name...} at most once, and only in a URI, DNS or e-mail name");
                }
                several = Some(capture_name(name)?);
                continue;
            }
            let parsed = match piece.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
                Some(name) => Piece::Capture(capture_name(name)?),
                None if piece.contains(['{', '}']) => {
                    return Err("{name} to stand for a whole segment, label or value");
                }
                None => Piece::Literal(piece.to_owned()),
            };
            if several.is_some() { &mut tail } else { &mut head }.push(parsed);
        }
        Ok(Self { separator, head, rest: several.map(|name| (name, tail)) })
    }

    /// The names that a match captures.
    pub fn capture_names(&self) -> impl Iterator<Item = CaptureName> {
        let (several, tail) = match &self.rest {
            Some((name, tail)) => (Some((name, true)), tail.as_slice()),
            None => (None, &[][..]),
        };
        let single = self.head.iter().chain(tail).filter_map(|piece| match piece {
            Piece::Capture(name) => Some((name, false)),
            Piece::Literal(_) => None,
        });
        single.chain(several).map(|(name, several)| CaptureName { name: name.clone(), several })
    }

    /// Matches a whole name.
    pub fn captures(&self, name: &str) -> Option<Captures> {
        let pieces: Vec<&str> = match self.separator {
            Some(separator) => name.split(separator).collect(),
            None => vec![name],
        };
        let mut captures = Captures::default();
        let (head, behind) = pieces.split_at_checked(self.head.len())?;
        match &self.rest {
            None if behind.is_empty() => {}
            None => return None,
            Some((name, tail)) => {
                let (several, end) = behind.split_at_checked(behind.len().checked_sub(tail.len())?)?;
                if several.is_empty() || several.iter().any(|piece| piece.is_empty()) {
                    return None;
                }
                match_pieces(tail, end, &mut captures)?;
                let values = several.iter().map(|piece| (*piece).to_owned()).collect();
                captures.insert(name, Captured::Several(values, self.separator?));
            }
        }
        match_pieces(&self.head, head, &mut captures)?;
        Some(captures)
    }
}

fn match_pieces(pattern: &[Piece], pieces: &[&str], captures: &mut Captures) -> Option<()> {
    for (expected, piece) in pattern.iter().zip(pieces) {
        match expected {
            Piece::Literal(literal) if literal == piece => {}
            Piece::Capture(name) if !piece.is_empty() => captures.insert(name, Captured::One((*piece).to_owned())),
            _ => return None,
        }
    }
    Some(())
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

fn capture_name(name: &str) -> Result<String, &'static str> {
    let fits = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    fits.then(|| name.to_owned()).ok_or("a capture named with letters, digits and _ such as {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, separator: char, name: &str) -> bool {
        NamePattern::parse(pattern, Some(separator)).unwrap().captures(name).is_some()
    }

    #[test]
    fn a_capture_is_one_piece_and_the_rest_is_literal() {
        for (pattern, separator, name, expected) in [
            ("spiffe://td/ns/{ns}/sa/{sa}", '/', "spiffe://td/ns/pay/sa/api", true),
            ("spiffe://td/ns/{ns}/sa/{sa}", '/', "spiffe://td/ns/pay/sa/api/x", false),
            ("spiffe://td/ns/{ns}/sa/{sa}", '/', "spiffe://td/ns//sa/api", false),
            ("spiffe://td/{rest...}", '/', "spiffe://td/a/b/c", true),
            ("spiffe://td/{rest...}", '/', "spiffe://td/", false),
            ("spiffe://td/{rest...}/end", '/', "spiffe://td/a/b/end", true),
            ("spiffe://td/{rest...}/end", '/', "spiffe://td/end", false),
            ("{name}.clients.example", '.', "acme.clients.example", true),
            ("{name}.clients.example", '.', "x.acme.clients.example", false),
            ("{name}.clients.example", '.', "acme.clientsxexample", false),
            ("{sub...}.example", '.', "a.b.example", true),
            ("*.example", '.', "a.example", false),
            ("{user}@example.com", '@', "bob@example.com", true),
            ("{user}@example.com", '@', "bob@evil@example.com", false),
        ] {
            assert_eq!(matches(pattern, separator, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn an_unusable_pattern_is_refused() {
        for pattern in ["", "a/{", "a/{}", "a/{x}y", "{a...}/{b...}", "{1}", "{a-b}", "a/}"] {
            assert!(NamePattern::parse(pattern, Some('/')).is_err(), "{pattern}");
        }
        assert!(NamePattern::parse("{rest...}", None).is_err());
    }
}
