//! Paths and the escapes in them.

use std::borrow::Cow;

use mtls_authz::fuzzing::{Ambiguous, CanonicalPath, PathRules, percent_decode};

use crate::reference;

/// Percent-decoding: as the reference does it, borrowing where there is nothing to undo, and undoing what is encoded.
pub fn percent_decoding(data: &[u8]) {
    let decoded = percent_decode(data);
    assert_eq!(decoded.as_deref(), reference::percent_decode(data).as_deref());
    assert_eq!(matches!(decoded, Some(Cow::Borrowed(_))), !data.contains(&b'%'));
    assert_eq!(percent_decode(reference::percent_encode(data).as_bytes()).as_deref(), Some(data));
}

/// A path: as the reference reads it, its own canonical path, and free of what could be read in two ways. Rules that keep
/// an ambiguity change no path that has none.
pub fn path(data: &[u8]) {
    let mut strict = None;
    for encoded_slashes in [Ambiguous::Reject, Ambiguous::Keep] {
        for semicolons in [Ambiguous::Reject, Ambiguous::Keep] {
            let rules = PathRules { encoded_slashes, semicolons };
            let read = CanonicalPath::parse(data, rules).ok();
            assert_eq!(read.as_ref().map(CanonicalPath::as_str), canonical(data, rules).as_deref(), "{rules:?}");
            let Some(once) = read else {
                continue;
            };
            let text = once.as_str();
            assert_eq!(CanonicalPath::parse(text.as_bytes(), rules).as_ref(), Ok(&once));
            unambiguous(text, rules);
            assert_eq!(once.segments().map(|segment| format!("/{segment}")).collect::<String>(), text);
            assert_eq!(once.ends_with_slash(), text.ends_with('/'));
            if rules == PathRules::default() {
                strict = Some(text.to_owned());
            }
            assert!(strict.as_deref().is_none_or(|strict| strict == text));
        }
    }
}

fn unambiguous(path: &str, rules: PathRules) {
    assert!(path.starts_with('/') && !path.contains("//"), "{path}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains(['\\', '?', '#']), "{path}");
    assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{path}");
    if rules.semicolons == Ambiguous::Reject {
        assert!(!path.contains(';') && !path.contains("%3B"), "{path}");
    }
    if rules.encoded_slashes == Ambiguous::Reject {
        assert!(!path.contains("%2F") && !path.contains("%5C"), "{path}");
    }
    for (place, _) in path.match_indices('%') {
        let escape = &path[place + 1..place + 3];
        let byte = u8::from_str_radix(escape, 16).unwrap();
        assert!(escape.bytes().all(|digit| digit.is_ascii_digit() || digit.is_ascii_uppercase()), "{path}");
        assert!(!byte.is_ascii_alphanumeric() && !byte.is_ascii_control() && !b"-._~".contains(&byte), "{path}");
    }
}

/// The canonical path segment by segment.
fn canonical(raw: &[u8], rules: PathRules) -> Option<String> {
    let raw = raw.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap();
    let inner = raw.strip_prefix(b"/").filter(|_| raw.len() <= 8192)?;
    std::str::from_utf8(&reference::percent_decode(raw)?).ok()?;
    let segments: Vec<&[u8]> = inner.split(|byte| *byte == b'/').collect();
    let (last, all_but_last) = segments.split_last().unwrap();
    if all_but_last.contains(&&b""[..]) {
        return None;
    }
    let mut resolved: Vec<String> = Vec::new();
    for segment in &segments {
        let decoded = reference::percent_decode(segment)?;
        match decoded.as_slice() {
            b"" | b"." => {}
            // Cut or split first, it is none or two, and the step upwards leads elsewhere.
            b".."
                if resolved.pop().is_some_and(|left: String| {
                    let decoded = reference::percent_decode(left.as_bytes()).unwrap_or_default();
                    decoded.first() == Some(&b';') || decoded.iter().any(|byte| b"/\\".contains(byte))
                }) =>
            {
                return None;
            }
            b".." => {}
            _ => resolved.push(canonical_segment(segment, rules)?),
        }
    }
    let open = matches!(reference::percent_decode(last)?.as_slice(), b"" | b"." | b"..");
    if open || resolved.is_empty() {
        resolved.push(String::new());
    }
    Some(format!("/{}", resolved.join("/")))
}

fn canonical_segment(segment: &[u8], rules: PathRules) -> Option<String> {
    let mut text = String::new();
    // What stands between characters that some servers take for separators.
    let mut pieces = vec![String::new()];
    let mut rest = segment;
    while let Some(first) = rest.first() {
        let length = if *first == b'%' { 3 } else { 1 };
        let written = rest.get(..length)?;
        rest = &rest[length..];
        let byte = *reference::percent_decode(written)?.first()?;
        let separates = match byte {
            b'/' | b'\\' if length == 1 || rules.encoded_slashes == Ambiguous::Reject => return None,
            b';' if rules.semicolons == Ambiguous::Reject => return None,
            b' ' if length == 1 => return None,
            _ if byte.is_ascii_control() => return None,
            b'/' | b'\\' | b';' => true,
            _ => false,
        };
        if separates {
            pieces.push(String::new());
        } else {
            pieces.last_mut()?.push(char::from(byte));
        }
        let plain = byte.is_ascii() && (length == 1 || byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        text += &if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    }
    let climbs = pieces.len() > 1 && pieces.iter().any(|piece| matches!(piece.as_str(), "." | ".."));
    (!climbs).then_some(text)
}
