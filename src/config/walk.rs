//! Walking through a JSON text, without a copy of anything.
//!
//! As strict as serde_json, which is asked what is wrong where this says no. Then it is at the end of the text, so that every loop ends.

use std::ops::Range;

/// How deep a value may be that is passed over; serde_json's values are as deep.
const MAX_DEPTH: u8 = 128;

/// A place in a JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'a> {
    json: &'a [u8],
    at: usize,
    /// Was the last thing that was passed over a bracket that opens?
    is_first: bool,
    depth: u8,
    /// Where it is no JSON.
    wrong: Option<usize>,
}

/// A string as it is written.
pub(super) struct Written {
    /// Where it is, without its quotes.
    pub inside: Range<usize>,
    /// Is a backslash in it?
    pub has_escapes: bool,
}

impl<'a> Walk<'a> {
    pub const fn new(json: &'a [u8], at: usize) -> Self {
        Self { json, at, is_first: false, depth: 0, wrong: None }
    }

    pub const fn at(&self) -> usize {
        self.at
    }

    /// That the end of the text is next, and that all was JSON that was passed over.
    ///
    /// # Errors
    /// The place from which on it is none.
    pub fn ends(&mut self) -> Result<(), usize> {
        let more = self.peek().map(|_| self.at);
        self.wrong.or(more).map_or(Ok(()), Err)
    }

    /// The next byte that is no white space.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.json.get(self.at)? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// Passes over this bracket, if it is next.
    #[inline]
    pub fn opens(&mut self, bracket: u8) -> bool {
        self.is_first = self.peek() == Some(bracket);
        self.at += usize::from(self.is_first);
        self.is_first
    }

    /// Is there another entry of the list? It is next then; otherwise the list was passed over.
    pub fn entry(&mut self) -> bool {
        self.enters(b']')
    }

    /// The key of the next member of the object, whose value is next then; otherwise the object was passed over.
    #[inline(never)]
    pub fn key(&mut self) -> Option<Written> {
        if !self.enters(b'}') {
            return None;
        }
        let key = self.string()?;
        match self.peek() {
            Some(b':') => self.at += 1,
            _ => self.fail(),
        }
        self.peek();
        Some(key)
    }

    #[inline(never)]
    fn enters(&mut self, bracket: u8) -> bool {
        let is_first = std::mem::take(&mut self.is_first);
        let next = self.peek();
        if next == Some(bracket) {
            self.at += 1;
            return false;
        }
        if !is_first {
            match next {
                Some(b',') => self.at += 1,
                _ => self.fail(),
            }
        }
        match self.peek() {
            Some(next) => next != bracket || self.fails(),
            None => self.fails(),
        }
    }

    /// The string that is next.
    #[inline]
    pub fn string(&mut self) -> Option<Written> {
        let start = self.at + 1;
        match self.json.get(self.at..).and_then(|rest| string(rest.strip_prefix(b"\"")?)) {
            Some((length, has_escapes)) => {
                let inside = start..start + length;
                self.at = inside.end + 1;
                Some(Written { inside, has_escapes })
            }
            None => {
                self.fail();
                None
            }
        }
    }

    /// Passes over the value that is next. Returns where it ends.
    #[inline(never)]
    pub fn skip(&mut self) -> usize {
        self.depth += 1;
        match self.peek() {
            _ if self.depth > MAX_DEPTH => self.fail(),
            Some(b'"') => drop(self.string()),
            Some(b'{') => {
                self.opens(b'{');
                while self.key().is_some() {
                    self.skip();
                }
            }
            Some(b'[') => {
                self.opens(b'[');
                while self.entry() {
                    self.skip();
                }
            }
            _ => {
                let rest = self.json.get(self.at..).unwrap_or_default();
                match word(rest) {
                    Some(length) => self.at += length,
                    None => self.fail(),
                }
            }
        }
        self.depth -= 1;
        self.at
    }

    #[cold]
    #[inline(never)]
    fn fail(&mut self) {
        self.wrong.get_or_insert(self.at);
        self.at = self.json.len();
    }

    fn fails(&mut self) -> bool {
        self.fail();
        false
    }
}

/// How long the number is, or what is written without quotes, at the beginning of a text.
#[inline(never)]
fn word(text: &[u8]) -> Option<usize> {
    let words = [b"true".as_slice(), b"false", b"null"];
    if let Some(word) = words.into_iter().find(|word| text.starts_with(word)) {
        return Some(word.len());
    }
    let digits = |from: usize| {
        let digits = text.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        (digits > 0).then_some(from + digits)
    };
    let start = usize::from(text.starts_with(b"-"));
    let mut end = match text.get(start)? {
        b'0' => start + 1,
        _ => digits(start)?,
    };
    if text.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let is_signed = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = digits(end + 1 + usize::from(is_signed))?;
    }
    Some(end)
}

/// How much is before the quote that ends a string, and whether a backslash is in it.
fn string(text: &[u8]) -> Option<(usize, bool)> {
    let mut end = 0;
    let mut has_escapes = false;
    loop {
        end += plain(text.get(end..)?);
        match text.get(end)? {
            b'"' => return Some((end, has_escapes)),
            b'\\' => {
                has_escapes = true;
                end += match text.get(end + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                    b'u' if text.get(end + 2..end + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                    _ => return None,
                }
            }
            ..b' ' => return None,
            _ => end += 1,
        }
    }
}

/// How many bytes there are before the next quote, backslash or control character, as far as whole words of eight bytes tell.
#[inline]
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // The highest bit of the first byte that is below this, and perhaps of others behind it.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & (ONES << 7);
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let mut passed = 0;
    for word in text.as_chunks().0 {
        let word = u64::from_le_bytes(*word);
        let ends = is(word, b'"') | is(word, b'\\') | below(word, b' ');
        if ends != 0 {
            return passed + usize::try_from(ends.trailing_zeros() / 8).unwrap_or_default();
        }
        passed += 8;
    }
    passed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn is_json(text: &str) -> bool {
        let mut walk = Walk::new(text.as_bytes(), 0);
        walk.skip();
        walk.ends().is_ok()
    }

    #[test]
    fn what_is_json_is_what_serde_json_takes() {
        for text in [
            "",
            " ",
            "{}",
            "[]",
            "[ ]",
            "{ }",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,,2]",
            "[",
            "]",
            "[1",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1]",
            "[1}",
            "{1:2}",
            "{\"a\" :\t1 ,\r\n\"b\":[{}]}",
            "{} x",
            "nul",
            "null",
            "truex",
            "[true,false,null]",
            "-",
            "-0",
            "01",
            "1.",
            "1.5",
            ".5",
            "1e5",
            "1E+5",
            "1e-",
            "1e",
            "+1",
            "-1.0e-10",
            "\"",
            "\"a",
            "\"\\",
            "\"\\\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\u12aF\"",
            "\"\\x\"",
            "\"\\n\\/\\b\"",
            "\"a\nb\"",
            "\"0123456\n9012345678\"",
            "\"01234567\u{e9}\u{1f600}\u{1f}\"",
            "\"\u{7f}\u{80}\"",
            "'a'",
            "\u{feff}{}",
            "{\"a\":1}{}",
            "\u{b}1",
            "\u{a0}1",
        ] {
            assert_eq!(is_json(text), serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text:?}");
        }
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_json(&deep(128)) && !is_json(&deep(129)) && !is_json(&deep(100_000)));
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_json_or_refused_but_by_serde_json_too(
            text in "([\\[\\]{},: \\n]|\"[a\\\\\"\\x01\u{e9}]{0,12}\"|\"aaaaaaaa[a\\\\u0\"]{0,9}\"|[0-9.eE+-]{1,4}|true|null|\"a\":){0,12}",
        ) {
            prop_assert_eq!(is_json(&text), serde_json::from_str::<IgnoredAny>(&text).is_ok());
        }

        #[test]
        fn what_serde_json_writes_is_json(
            value in prop::collection::btree_map(".{0,12}", prop::collection::vec(prop::option::of((any::<f64>(), any::<i64>(), ".{0,20}")), 0..4), 0..4),
        ) {
            prop_assert!(is_json(&serde_json::to_string(&serde_json::json!(value)).unwrap()));
            prop_assert!(is_json(&serde_json::to_string_pretty(&serde_json::json!(value)).unwrap()));
        }
    }
}
