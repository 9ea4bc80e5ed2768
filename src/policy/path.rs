//! The canonical path: the one spelling on which every decision is made.

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::byte_set::{ALPHANUMERIC, ByteSet};
use crate::escape::{hex_byte, percent_decode};

/// A longer path is not read.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// What to do with characters that some servers treat as separators and others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ambiguous {
    /// Refuse the path.
    #[default]
    Reject,
    /// They are ordinary characters of one segment.
    Keep,
}

/// `path`: which ambiguities an API needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathRules {
    /// `%2F` and `%5C`.
    pub encoded_slashes: Ambiguous,
    /// `;` and `%3B`.
    pub semicolons: Ambiguous,
}

/// Why a path cannot be read in exactly one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with `/`.
    NotAbsolute,
    /// It is longer than [`MAX_PATH_BYTES`].
    TooLong,
    /// `//`
    EmptySegment,
    /// `\`
    Backslash,
    /// `%2F` or `%5C`
    EncodedSlash,
    /// `;` or `%3B`
    Semicolon,
    /// A raw space, or a control character of Unicode, raw or encoded: `%00` above all.
    ControlCharacter,
    /// `%` without two hexadecimal digits behind it.
    PercentEncoding,
    /// Bytes that are not UTF-8.
    Utf8,
    /// A dot segment behind a kept `%2F`, `%5C` or `;`, which only some servers would resolve.
    HiddenDotSegment,
}

impl PathError {
    /// For the caller: which rule, not which rule of the policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "The path does not begin with a slash.",
            Self::TooLong => "The path is longer than 8 KiB.",
            Self::EmptySegment => "The path holds an empty segment (//).",
            Self::Backslash => "The path holds a backslash.",
            Self::EncodedSlash => "The path holds an encoded slash or backslash (%2F, %5C).",
            Self::Semicolon => "The path holds a semicolon.",
            Self::ControlCharacter => "The path holds a control character.",
            Self::PercentEncoding => "The path holds a % without two hexadecimal digits.",
            Self::Utf8 => "The path is not UTF-8.",
            Self::HiddenDotSegment => "The path hides a dot segment behind an encoded separator.",
        }
    }
}

/// A path without query and fragment, dot segments resolved, percent-encoded unreserved characters decoded, all other
/// escapes in upper case (RFC 3986 section 6.2.2). Equal canonical paths are equal resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

impl<'a> CanonicalPath<'a> {
    /// Reads the value of `:path`.
    pub fn parse(raw: &'a [u8], rules: PathRules) -> Result<Self, PathError> {
        let plain = plain_length(raw);
        let behind = raw.get(plain..).unwrap_or_default();
        let end = plain + behind.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(behind.len());
        let raw = raw.get(..end).unwrap_or(raw);
        if raw.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if raw.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute);
        }
        if plain == end {
            return std::str::from_utf8(raw).map(|path| Self(Cow::Borrowed(path))).map_err(|_| PathError::Utf8);
        }
        let decoded = percent_decode(raw).ok_or(PathError::PercentEncoding)?;
        let text = std::str::from_utf8(&decoded).map_err(|_| PathError::Utf8)?;
        if text.contains(char::is_control) {
            return Err(PathError::ControlCharacter);
        }
        let normal = normalise_escapes(raw, rules)?;
        if normal.contains("//") {
            return Err(PathError::EmptySegment);
        }
        resolve_dot_segments(&normal).map(|path| Self(Cow::Owned(path)))
    }

    /// The text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True only if the path holds no escape and no `;`.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }

    /// Is its last segment empty?
    pub fn ends_with_slash(&self) -> bool {
        self.0.ends_with('/')
    }

    /// Its segments. `/` has one, which is empty, and so has every path that ends with `/` at its end.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

impl fmt::Display for CanonicalPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much of this is its own canonical spelling, as most paths are in whole: nothing in it means anything but itself, and
/// no segment is empty or begins with a dot. Whatever cannot be told at a glance is read byte by byte.
fn plain_length(path: &[u8]) -> usize {
    static PLAIN: ByteSet = ByteSet::new(ALPHANUMERIC, b"/.-_~!$&'()*+,=:@");
    let mut before = b'a';
    let is_plain = |byte: &&u8| {
        let begins_segment = std::mem::replace(&mut before, **byte) == b'/';
        PLAIN.contains(**byte) && !(begins_segment && matches!(byte, b'/' | b'.'))
    };
    path.iter().take_while(is_plain).count()
}

/// Brings every byte into its canonical spelling and refuses those that have none. The escapes are known to be whole.
fn normalise_escapes(raw: &[u8], rules: PathRules) -> Result<String, PathError> {
    let mut normal = String::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%';
        let meant = match escaped {
            true => bytes.next().zip(bytes.next()).and_then(|(high, low)| hex_byte(high, low)),
            false => Some(byte),
        };
        let meant = meant.ok_or(PathError::PercentEncoding)?;
        match (meant, escaped) {
            (b' ', false) => return Err(PathError::ControlCharacter),
            (b'\\', false) => return Err(PathError::Backslash),
            (b'/' | b'\\', true) if rules.encoded_slashes == Ambiguous::Reject => return Err(PathError::EncodedSlash),
            (b';', _) if rules.semicolons == Ambiguous::Reject => return Err(PathError::Semicolon),
            _ => {}
        }
        let unreserved = meant.is_ascii_alphanumeric() || b"-._~".contains(&meant);
        if unreserved || (!escaped && meant.is_ascii()) {
            normal.push(char::from(meant));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(normal, "%{meant:02X}");
        }
    }
    Ok(normal)
}

/// RFC 3986 section 5.2.4, on a path without empty segments.
fn resolve_dot_segments(path: &str) -> Result<String, PathError> {
    let mut resolved: Vec<&str> = Vec::new();
    let mut ends_with_slash = false;
    for segment in path.split('/').skip(1) {
        ends_with_slash = matches!(segment, "." | ".." | "");
        match segment {
            "." | "" => {}
            ".." => {
                if resolved.pop().is_some_and(is_not_one_elsewhere) {
                    return Err(PathError::HiddenDotSegment);
                }
            }
            _ if hides_dot_segment(segment) => return Err(PathError::HiddenDotSegment),
            _ => resolved.push(segment),
        }
    }
    let mut canonical = String::with_capacity(path.len());
    for segment in &resolved {
        canonical.push('/');
        canonical.push_str(segment);
    }
    if ends_with_slash || canonical.is_empty() {
        canonical.push('/');
    }
    Ok(canonical)
}

/// `..;x`, `a%2F..`: one segment here, a step upwards on servers that split there.
fn hides_dot_segment(segment: &str) -> bool {
    if !segment.contains(['%', ';']) {
        return false;
    }
    let separated = segment.replace("%2F", "/").replace("%5C", "/").replace("%3B", "/").replace(';', "/");
    separated != segment && separated.split('/').any(|piece| matches!(piece, "." | ".."))
}

/// `;x` and `a%2Fb`: one segment here, none or two on servers that cut or split there. A step upwards leads elsewhere there.
fn is_not_one_elsewhere(segment: &str) -> bool {
    segment.contains("%2F") || segment.contains("%5C") || segment.starts_with(';') || segment.starts_with("%3B")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEEP: PathRules = PathRules { encoded_slashes: Ambiguous::Keep, semicolons: Ambiguous::Keep };

    fn canonical(raw: &str) -> Result<String, PathError> {
        CanonicalPath::parse(raw.as_bytes(), PathRules::default()).map(|path| path.to_string())
    }

    #[test]
    fn equal_resources_have_one_spelling() {
        for (raw, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a?x=/../b", "/a"),
            ("/a#/../b", "/a"),
            ("/a#x?y", "/a"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%61%2e%2E/b", "/a../b"),
            ("/x/%2e%2e/b", "/b"),
            ("/a%20b%3a", "/a%20b%3A"),
            ("/ü", "/%C3%BC"),
            ("/%c3%bc", "/%C3%BC"),
            ("/a%252fb", "/a%252fb"),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
            ("/...", "/..."),
        ] {
            assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn an_ordinary_path_is_not_copied() {
        for (raw, copied) in [("/", false), ("/a/b.c/-_~", false), ("/a?b=%2F", false), ("/a/.b", true), ("/%61", true)]
        {
            let path = CanonicalPath::parse(raw.as_bytes(), PathRules::default()).unwrap();
            assert_eq!(matches!(path.0, Cow::Owned(_)), copied, "{raw}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (raw, expected) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("http://host/a", PathError::NotAbsolute),
            ("?/a", PathError::NotAbsolute),
            ("//", PathError::EmptySegment),
            ("//a", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a/.//b", PathError::EmptySegment),
            ("/a\\b", PathError::Backslash),
            ("/a%5cb", PathError::EncodedSlash),
            ("/a%2fb", PathError::EncodedSlash),
            ("/a%2Fb", PathError::EncodedSlash),
            ("/public/..;/admin", PathError::Semicolon),
            ("/a;x/b", PathError::Semicolon),
            ("/a%3Bx", PathError::Semicolon),
            ("/a%00", PathError::ControlCharacter),
            ("/a%0d%0a", PathError::ControlCharacter),
            ("/a\0", PathError::ControlCharacter),
            ("/%7f", PathError::ControlCharacter),
            ("/%C2%80", PathError::ControlCharacter),
            ("/%c2%85", PathError::ControlCharacter),
            ("/\u{9f}", PathError::ControlCharacter),
            ("/a b", PathError::ControlCharacter),
            ("/a%", PathError::PercentEncoding),
            ("/a%2", PathError::PercentEncoding),
            ("/a%zz", PathError::PercentEncoding),
            ("/a%u0041", PathError::PercentEncoding),
            ("/%ff", PathError::Utf8),
            ("/%c0%ae", PathError::Utf8),
        ] {
            assert_eq!(canonical(raw), Err(expected), "{raw:?}");
        }
        assert_eq!(CanonicalPath::parse(b"/\xa1", KEEP), Err(PathError::Utf8));
        assert_eq!(canonical(&format!("/{}", "a".repeat(MAX_PATH_BYTES))), Err(PathError::TooLong));
    }

    #[test]
    fn kept_separators_never_separate_and_never_climb() {
        let canonical = |raw: &str| CanonicalPath::parse(raw.as_bytes(), KEEP).map(|path| path.to_string());
        assert_eq!(canonical("/a%2fb;v=1/c").as_deref(), Ok("/a%2Fb;v=1/c"));
        assert_eq!(CanonicalPath::parse(b"/a%2fb;v=1/c", KEEP).unwrap().segments().count(), 2);
        assert_eq!(canonical("/a;v=1/../c").as_deref(), Ok("/c"));
        for raw in [
            "/a/..;/b",
            "/a%2f..%2fb",
            "/..%5cb",
            "/a/.;x",
            "/a/%2e%2e%3b",
            // The step upwards leads elsewhere where the segment is none, or two.
            "/a/%3b/..",
            "/a/;x/../b",
            "/a/b%2fc/..",
            "/a/%2f/..",
            "/a/b%5cc/../d",
        ] {
            assert_eq!(canonical(raw), Err(PathError::HiddenDotSegment), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn canonicalising_twice_is_canonicalising_once(raw in "/[a-c./%2fFeE;?#\\\\ ]{0,24}|/\\PC{0,16}", keep: bool) {
            let rules = if keep { KEEP } else { PathRules::default() };
            if let Ok(once) = CanonicalPath::parse(raw.as_bytes(), rules) {
                prop_assert!(!once.segments().any(|segment| matches!(segment, "." | "..")));
                prop_assert_eq!(CanonicalPath::parse(once.as_str().as_bytes(), rules), Ok(once.clone()));
            }
        }

        #[test]
        fn a_path_that_is_its_own_spelling_at_a_glance_is_so_when_read_byte_by_byte(path in "/[a-c./*:@;%2_~]{0,16}") {
            if plain_length(path.as_bytes()) == path.len() {
                let normal = normalise_escapes(path.as_bytes(), PathRules::default()).unwrap();
                prop_assert!(!normal.contains("//"));
                prop_assert_eq!(resolve_dot_segments(&normal), Ok(path));
            }
        }

        #[test]
        fn no_bytes_panic(raw in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = CanonicalPath::parse(&raw, KEEP);
        }
    }
}
