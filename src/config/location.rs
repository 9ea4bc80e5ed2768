//! Where in a JSON text an error happened: from serde's line and column to a path such as `clients.acme.profiles[0]`.
//!
//! The text is read once more, up to the place, when there is an error to be told; reading without errors pays nothing.

use std::ops::Range;

use super::walk::Walk;

/// How deep a path is told; serde_json itself refuses deeper documents.
const MAX_DEPTH: usize = 128;
/// Longer keys are cut: no name that may stand there is.
const MAX_KEY_CHARS: usize = 256;

/// One step of a path.
enum Step<'a> {
    /// An object, and the key that was read last.
    Key(Option<&'a str>),
    /// An array, and the index of the element being read.
    Index(usize),
}

/// The place that is `column` bytes into `line` (from 1).
#[cold]
#[inline(never)]
pub(super) fn place_of(json: &str, line: usize, column: usize) -> usize {
    let starts = json.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(place, _)| place + 1);
    let start = std::iter::once(0).chain(starts).nth(line.saturating_sub(1)).unwrap_or_default();
    start.saturating_add(column)
}

/// The path of the value that stands at this place, or was read just before.
#[cold]
#[inline(never)]
pub(super) fn path_to(json: &[u8], place: usize) -> String {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut rest = json.get(..place).unwrap_or(json);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'{' if steps.len() < MAX_DEPTH => steps.push(Step::Key(None)),
            b'[' if steps.len() < MAX_DEPTH => steps.push(Step::Index(0)),
            b'}' | b']' => {
                steps.pop();
            }
            b',' => match steps.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                Some(Step::Key(key)) => *key = None,
                None => {}
            },
            b'"' => {
                let text = string(after);
                rest = after.get(text.len() + 1..).unwrap_or_default();
                if let Some(Step::Key(key @ None)) = steps.last_mut() {
                    *key = std::str::from_utf8(text).ok();
                }
            }
            _ => {}
        }
    }
    print(&steps)
}

/// The inside of a string, up to its end or that of the text. A backslash keeps the next byte from ending it.
#[cold]
#[inline(never)]
fn string(text: &[u8]) -> &[u8] {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    text.get(..end.unwrap_or(text.len())).unwrap_or(text)
}

fn print(steps: &[Step<'_>]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(Some(key)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.extend(key.chars().take(MAX_KEY_CHARS));
                if key.chars().nth(MAX_KEY_CHARS).is_some() {
                    path.push('…');
                }
            }
            Step::Key(None) => {}
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Where a value stands in a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// The value.
    pub value: Range<usize>,
    /// The same with its key.
    pub member: Range<usize>,
}

/// Where the value of this path stands. A path is ambiguous where a key holds a dot: the first that fits.
#[cold]
#[inline(never)]
pub(super) fn find(json: &[u8], path: &str) -> Option<Span> {
    let mut walk = Walk::new(json, 0);
    walk.peek()?;
    walk.find(json, path, walk.at())
}

/// What encloses the value of this path: its object or list.
pub(super) fn parent(path: &str) -> &str {
    path.rfind(['.', '[']).and_then(|end| path.get(..end)).unwrap_or_default()
}

/// Puts spaces in the place of a value, its key and one comma, so that everything else stands where it stood. Whatever the value was
/// all of goes with it. Returns the path of what is gone, which encloses `path` if nothing stands there.
#[cold]
#[inline(never)]
pub(super) fn take_out(json: &mut [u8], path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    let Some(Span { member: Range { mut start, mut end }, .. }) = find(json, path) else {
        return take_out(json, parent(path));
    };
    let blank = |byte: &&u8| byte.is_ascii_whitespace();
    end += json.iter().skip(end).take_while(blank).count();
    let before = json.get(..start).unwrap_or_default();
    let before = start - before.iter().rev().take_while(blank).count();
    let previous = before.checked_sub(1).and_then(|place| json.get(place));
    match (previous, json.get(end)) {
        // An empty list is a mistake of its own.
        (Some(b'['), Some(b']')) if path.ends_with(']') => return take_out(json, parent(path)),
        (_, Some(b',')) => end += 1,
        (Some(b','), _) => start = before - 1,
        _ => {}
    }
    let gone = json.get_mut(start..end)?;
    gone.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    Some(path.to_owned())
}

impl Walk<'_> {
    /// The value of this path in the value that is next, whose member starts at `start`.
    #[cold]
    #[inline(never)]
    fn find(mut self, json: &[u8], path: &str, start: usize) -> Option<Span> {
        if path.is_empty() {
            let first = self.at();
            let end = self.skip();
            return Some(Span { value: first..end, member: start..end });
        }
        if self.opens(b'[') {
            let mut index = 0_usize;
            while self.entry() {
                let rest = path.strip_prefix(&format!("[{index}]"));
                if let Some(found) = rest.and_then(|rest| self.find(json, rest, self.at())) {
                    return Some(found);
                }
                self.skip();
                index += 1;
            }
            return None;
        }
        if !self.opens(b'{') {
            return None;
        }
        loop {
            let key = self.key()?.inside;
            let member = key.start.saturating_sub(1);
            let rest = json.get(key).and_then(|key| behind(path, key));
            if let Some(found) = rest.and_then(|rest| self.find(json, rest, member)) {
                return Some(found);
            }
            self.skip();
        }
    }
}

/// What follows this key in a path, both as they are written.
#[cold]
#[inline(never)]
fn behind<'a>(path: &'a str, key: &[u8]) -> Option<&'a str> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let rest = path.strip_prefix(str::from_utf8(key).ok()?)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_told_by_the_value_that_was_read_last() {
        let json = "{\"a\": {\"b\\\"\": [1, {\"c\": \"x,{\"}]},\n \"d\": 7}";
        let at = |line, text: &str| {
            let line_text = json.lines().nth(line - 1).unwrap();
            path_to(json.as_bytes(), place_of(json, line, line_text.find(text).unwrap() + text.len()))
        };
        for (line, text, expected) in [
            (1, "{\"a\"", "a"),
            (1, "\"a\": {", "a"),
            (1, "[1", "a.b\\\"[0]"),
            (1, "\"c\": \"x,{\"", "a.b\\\"[1].c"),
            (1, "]}", "a"),
            (2, "7", "d"),
            (2, "7}", ""),
        ] {
            assert_eq!(at(line, text), expected, "{text}");
        }
    }

    #[test]
    fn a_path_has_no_more_steps_than_documents_may_be_deep() {
        for (depth, steps) in [(127, 127), (128, 128), (129, 128), (500, 128)] {
            let (arrays, objects) = ("[".repeat(depth), "{\"a\":".repeat(depth));
            assert_eq!(path_to(arrays.as_bytes(), arrays.len()), "[0]".repeat(steps));
            assert_eq!(path_to(objects.as_bytes(), objects.len()).split('.').count(), steps);
        }
    }

    #[test]
    fn a_value_is_found_by_its_path() {
        let json = r#"{"a": {"b\"": [1, {"c": "x,{"}], "e.f": {"g": [ ] }} , "d": 7, "i.h": true}"#;
        for (path, expected) in [
            ("a.b\\\"", Some(r#""b\"": [1, {"c": "x,{"}]"#)),
            ("a.b\\\"[0]", Some("1")),
            ("a.b\\\"[1]", Some(r#"{"c": "x,{"}"#)),
            ("a.b\\\"[1].c", Some(r#""c": "x,{""#)),
            ("a.b\\\"[2]", None),
            ("a.e.f.g", Some(r#""g": [ ]"#)),
            ("d", Some(r#""d": 7"#)),
            ("i.h", Some(r#""i.h": true"#)),
            ("e", None),
            ("a.d", None),
            ("d.x", None),
            ("", Some(json)),
        ] {
            let found = find(json.as_bytes(), path).map(|span| json.get(span.member).unwrap());
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_is_taken_out_leaves_everything_else_where_it_was() {
        for (json, path, gone, left) in [
            (r#"{"a": 1, "b": 2}"#, "a", "a", r#"{        "b": 2}"#),
            (r#"{"a": 1, "b": 2}"#, "b", "b", r#"{"a": 1        }"#),
            (r#"{"a": [1, 2, 3]}"#, "a[1]", "a[1]", r#"{"a": [1,    3]}"#),
            (r#"{"a": [1, 2, 3]}"#, "a[2]", "a[2]", r#"{"a": [1, 2   ]}"#),
            (r#"{"a": [ 1 ], "b": 2}"#, "a[0]", "a", r#"{            "b": 2}"#),
            (r#"{"a": {"b": 1}}"#, "a.b", "a.b", r#"{"a": {      }}"#),
            (r#"{"a": {"b": 1}}"#, "a.c.d[0]", "a", "{             }"),
        ] {
            let mut bytes = json.as_bytes().to_vec();
            assert_eq!(take_out(&mut bytes, path).as_deref(), Some(gone), "{json} {path}");
            assert_eq!(String::from_utf8(bytes).unwrap(), left, "{json} {path}");
        }
        assert_eq!(take_out(&mut b"{}".to_vec(), "a"), None);
    }

    proptest! {
        #[test]
        fn a_value_is_where_its_path_says(json in "[\\[\\]{}\",:\\\\a1]{0,40}", place in 0_usize..40) {
            let path = path_to(json.as_bytes(), place);
            let found = find(json.as_bytes(), &path);
            if serde_json::from_str::<serde_json::Value>(&json).is_ok() && !path.contains('\\') {
                let span = found.unwrap();
                let (path, json) = (path, json.as_bytes());
                prop_assert!(span.member.start <= span.value.start && span.value.end <= json.len());
                let _ = take_out(&mut json.to_vec(), &path);
            }
        }

        #[test]
        fn no_text_and_no_place_panics(json in "[\\[\\]{}\",:\\\\a\n]{0,40}", line in 0_usize..6, column in 0_usize..60) {
            let _ = path_to(json.as_bytes(), place_of(&json, line, column));
        }
    }
}
