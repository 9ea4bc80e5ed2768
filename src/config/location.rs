//! Where in a JSON text an error happened: from serde's line and column to a path such as `clients.acme.profiles[0]`.
//!
//! The text is read once more, up to the place, when there is an error to be told; reading without errors pays nothing.

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
pub(super) fn place_of(json: &str, line: usize, column: usize) -> usize {
    let starts = json.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(place, _)| place + 1);
    let start = std::iter::once(0).chain(starts).nth(line.saturating_sub(1)).unwrap_or_default();
    start.saturating_add(column)
}

/// The path of the value that stands at this place, or was read just before.
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
                let (text, after) = string(after);
                rest = after;
                if let Some(Step::Key(key @ None)) = steps.last_mut() {
                    *key = std::str::from_utf8(text).ok();
                }
            }
            _ => {}
        }
    }
    print(&steps)
}

/// The inside of a string, and what follows it. A backslash keeps the next byte from ending it.
fn string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    let (inside, rest) = text.split_at_checked(end.unwrap_or(text.len())).unwrap_or((text, &[]));
    (inside, rest.get(1..).unwrap_or_default())
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

    proptest! {
        #[test]
        fn no_text_and_no_place_panics(json in "[\\[\\]{}\",:\\\\a\n]{0,40}", line in 0_usize..6, column in 0_usize..60) {
            let _ = path_to(json.as_bytes(), place_of(&json, line, column));
        }
    }
}
