//! One line of JSON, written as fast as every request needs it.

use std::fmt;

use crate::bounds;
use crate::plain::is_plain;

/// A JSON object that is being written. Every request writes one, and a general serializer takes five times as long.
pub struct Line(Vec<u8>);

impl Line {
    /// Most records fit into this, so that writing one does not move it.
    const USUAL_BYTES: usize = 768;

    /// Nothing yet.
    pub fn new() -> Self {
        Self(Vec::with_capacity(Self::USUAL_BYTES))
    }

    /// Adds JSON as it is.
    pub fn add(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// Adds a member that is one of our own words. `name` is everything before the value.
    pub fn word(&mut self, name: &str, value: Option<&'static str>) {
        self.text(name, value, usize::MAX);
    }

    /// Adds a member of at most `max` bytes.
    pub fn text(&mut self, name: &str, value: Option<&str>, max: usize) {
        self.bytes(name, value.map(str::as_bytes), max);
    }

    /// The same for text that need not be UTF-8.
    pub fn bytes(&mut self, name: &str, value: Option<&[u8]>, max: usize) {
        self.add(name);
        match value {
            None => self.add("null"),
            Some(value) => {
                self.add("\"");
                self.characters(value, max);
                self.add("\"");
            }
        }
    }

    /// Adds text inside a string.
    pub fn characters(&mut self, text: &[u8], max: usize) {
        if text.len() <= max && is_plain(text) {
            self.0.extend_from_slice(text);
        } else {
            let mut bounded = Bounded::behind(&mut self.0, max);
            let _ = String::from_utf8_lossy(text).chars().try_for_each(|character| match character {
                '"' => bounded.push("\\\""),
                '\\' => bounded.push("\\\\"),
                other => bounded.push_visible(other),
            });
        }
    }

    /// Adds a number.
    pub fn number(&mut self, number: impl itoa::Integer) {
        self.add(itoa::Buffer::new().format(number));
    }

    /// The object, which is complete with this.
    pub fn end(mut self) -> Vec<u8> {
        self.add("}");
        self.0
    }
}

/// One line of text of at most `max` bytes, whatever is put into it.
pub fn one_line(message: fmt::Arguments<'_>, max: usize) -> Vec<u8> {
    struct OneLine<'a>(Bounded<'a>);
    impl fmt::Write for OneLine<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            // Most of what is written takes this way.
            if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && self.0.has_room(text) {
                return self.0.push(text);
            }
            text.chars().try_for_each(|character| self.0.push_visible(character))
        }
    }
    let mut line = Vec::new();
    // An error says that there is no more room.
    let _ = fmt::Write::write_fmt(&mut OneLine(Bounded::behind(&mut line, max)), message);
    line
}

/// A foreign text in a note: in quotation marks, escaped, and at most [`bounds::EXCERPT`] bytes of it.
pub struct Excerpt<'a>(pub &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(bounds::EXCERPT) {
            Some((excerpt, rest)) if !rest.is_empty() => write!(f, "{:?}{MARK}", String::from_utf8_lossy(excerpt)),
            _ => write!(f, "{:?}", String::from_utf8_lossy(self.0)),
        }
    }
}

/// The first of some things in a note, and how many follow.
pub fn listed<T: fmt::Display>(things: &[T]) -> String {
    first(things, bounds::LISTED)
}

/// The same for foreign texts, of which ten are named: what a token or a key set holds.
pub fn listed_texts(texts: &mut dyn Iterator<Item = &str>) -> String {
    let texts: Vec<Excerpt<'_>> = texts.map(|text| Excerpt(text.as_bytes())).collect();
    first(&texts, bounds::TEXTS)
}

fn first<T: fmt::Display>(things: &[T], max: usize) -> String {
    let named: Vec<String> = things.iter().take(max).map(T::to_string).collect();
    match things.len().saturating_sub(named.len()) {
        0 if named.is_empty() => "none".to_owned(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Is this one of Unicode's control or format characters, or a separator of lines or paragraphs? (Categories Cc, Cf, Zl and Zp, but
/// for signs that are seen.)
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Appends at most `max` bytes of text. Where it is cut it ends with `…`.
struct Bounded<'a> {
    text: &'a mut Vec<u8>,
    /// What the whole may have.
    end: usize,
    /// Where it is cut if it becomes longer: behind a whole character that leaves room for the mark.
    cut: usize,
}

const MARK: &str = "…";

impl<'a> Bounded<'a> {
    fn behind(text: &'a mut Vec<u8>, max: usize) -> Self {
        let (end, cut) = (text.len().saturating_add(max), text.len());
        Self { text, end, cut }
    }

    /// No character moves a terminal's cursor, begins a line, or turns the order of the others round: such are escaped as in JSON.
    fn push_visible(&mut self, character: char) -> fmt::Result {
        if !is_hidden(character) {
            return self.push(character.encode_utf8(&mut [0; 4]));
        }
        let mut escaped = String::new();
        for unit in character.encode_utf16(&mut [0; 2]) {
            fmt::Write::write_fmt(&mut escaped, format_args!("\\u{unit:04x}"))?;
        }
        self.push(&escaped)
    }

    /// With the mark behind it.
    fn has_room(&self, text: &str) -> bool {
        self.text.len().saturating_add(text.len()).saturating_add(MARK.len()) <= self.end
    }

    fn push(&mut self, piece: &str) -> fmt::Result {
        if self.text.len().saturating_add(piece.len()) > self.end {
            self.text.truncate(self.cut);
            self.text.extend_from_slice(MARK.as_bytes());
            return Err(fmt::Error);
        }
        self.text.extend_from_slice(piece.as_bytes());
        if self.has_room("") {
            self.cut = self.text.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_back_from_a_line(texts in prop::collection::vec(prop::option::of("\\PC{0,9}|[\\x00-\\x7f]{0,9}"), 0..4), number: u16) {
            let mut line = Line::new();
            line.add(r#"{"n":"#);
            line.number(number);
            for (name, text) in ["a", "b", "c"].iter().zip(&texts) {
                line.text(&format!(r#","{name}":"#), text.as_deref(), 1000);
            }
            let read: serde_json::Value = serde_json::from_slice(&line.end()).unwrap();
            prop_assert_eq!(&read["n"], number);
            for (name, text) in ["a", "b", "c"].iter().zip(&texts) {
                prop_assert_eq!(read[name].as_str(), text.as_deref());
            }
        }
    }

    proptest! {
        #[test]
        fn text_of_any_length_is_cut_between_characters_and_says_so(text in "([a-z]|\\PC|\"|\\\\|[\\x00-\\x9f\u{2026}-\u{2030}\u{e0000}-\u{e0080}]){0,40}", max in 3..60_usize) {
            let mut line = Line::new();
            line.add("{");
            line.text(r#""a":"#, Some(&text), max);
            let line = String::from_utf8(line.end()).unwrap();
            prop_assert!(line.len() <= max + r#"{"a":""}"#.len(), "{}", line);
            prop_assert!(!line.chars().any(is_hidden));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            let read = read["a"].as_str().unwrap();
            prop_assert!(read == text || text.starts_with(read.strip_suffix(MARK).unwrap()), "{:?}", read);

            let line = String::from_utf8(one_line(format_args!("{text}"), max)).unwrap();
            prop_assert!(line.len() <= max && !line.chars().any(is_hidden));
            prop_assert!(text.chars().any(is_hidden) || line == text || text.starts_with(line.strip_suffix(MARK).unwrap()));
        }
    }

    #[test]
    fn a_text_is_cut_where_it_is_longer_and_not_before() {
        for (text, max, expected) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…"),
            ("abcü", 5, "abcü"),
            ("abcüx", 5, "ab…"),
            ("\n", 6, "\\u000a"),
            ("\n", 5, "…"),
            ("", 3, ""),
            ("\u{9b}31m", 9, "\\u009b31m"),
            ("a\u{202e}b", 9, "a\\u202eb"),
            ("\u{2028}\u{feff}", 12, "\\u2028\\ufeff"),
            ("\u{e0041}", 12, "\\udb40\\udc41"),
            ("\u{200a}\u{2010}\u{e9}", 12, "\u{200a}\u{2010}\u{e9}"),
            ("\"", 3, "\""),
        ] {
            assert_eq!(String::from_utf8(one_line(format_args!("{text}"), max)).unwrap(), expected, "{text:?}");
        }
    }
}
