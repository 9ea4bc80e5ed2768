//! What is wrong with JSON, in the words of whoever writes policies, and what to write instead.

use super::error::{ConfigError, abridged};
use super::location;
use super::nearest::nearest;

/// Of a key that its object does not have. [`super::all`] says where it belongs.
pub(super) const UNKNOWN_KEY: &str = "found the unknown key ";
/// Of a key that is there already.
pub(super) const REPEATED_KEY: &str = "found the key ";

/// Of this key.
#[cold]
#[inline(never)]
pub(super) fn repeated_key(key: &str) -> String {
    format!("{REPEATED_KEY}{key:?} again, expected each key once")
}

/// Of a text that is no JSON: what is wrong, and where.
#[cold]
#[inline(never)]
pub(super) fn unreadable(text: &str, problem: &serde_json::Error) -> ConfigError {
    let place = location::place_of(text, problem.line(), problem.column());
    let message = problem.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let what = no_json(text, place.saturating_sub(1), message);
    let problem = match problem.column() {
        0 => what,
        column => format!("{what} (line {}, column {column})", problem.line()),
    };
    ConfigError { path: location::path_to(text.as_bytes(), place), problem: abridged(&problem) }
}

/// Nothing, where no name is near.
#[cold]
#[inline(never)]
pub(super) fn did_you_mean(word: &str, names: &mut dyn Iterator<Item = &str>) -> String {
    nearest(word, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

const YAML: &str = "found YAML, expected JSON: convert it (`yq -o json policy.yaml`), or write it below `value` of a google.protobuf.Struct \
    instead of a StringValue";
const COMMENT: &str = "found a comment, expected JSON, which has none: remove it";

/// Of a text that is no JSON from this place on.
#[cold]
#[inline(never)]
fn no_json(text: &str, place: usize, message: &str) -> String {
    let at = text.get(place..).unwrap_or_default().trim_start();
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let is_yaml =
        |line: &str| line.starts_with("- ") || line.starts_with("---") || line.ends_with(':') || line.contains(": ");
    let what = match first {
        _ if text.starts_with('\u{feff}') => {
            "found a byte order mark, expected JSON from the first byte on: save the file as UTF-8 without one"
        }
        None if text.trim().is_empty() => "found an empty text, expected a JSON object",
        Some(line) if !line.starts_with(['{', '[', '"', '/', '\'']) && is_yaml(line) => YAML,
        _ if at.starts_with('#') || at.starts_with("//") || at.starts_with("/*") => COMMENT,
        _ if at.starts_with('\'') => "found a single quote, expected double quotes around texts and keys",
        _ if message.starts_with("trailing comma")
            || (at.starts_with([']', '}']) && matches!(message, "expected value" | "key must be a string")) =>
        {
            "found a comma behind the last entry, expected none there"
        }
        _ if message.starts_with("EOF") => {
            "found the end of the text within a value, expected the rest of it: a quote, ] or } is missing"
        }
        _ if message == "trailing characters" => "found text behind the end, expected one JSON object and nothing else",
        _ if message.starts_with("control character") => {
            "found a line's end or another control character within a text, expected an escape such as \\n"
        }
        _ if at.starts_with('"') && message.starts_with("expected `,`") => {
            "found two entries in a row, expected a comma between them"
        }
        _ => {
            // The next word and no more: behind a quote that is missing there may be a secret.
            let word = |(place, character): &(usize, char)| *place == 0 || character.is_ascii_alphanumeric();
            let shown: String = at.char_indices().take_while(word).take(20).map(|(_, character)| character).collect();
            let expected = match message {
                "key must be a string" => "a key in double quotes",
                "expected value" => "JSON: an object, a list, a text in double quotes, a number, true or false",
                other => other.strip_prefix("expected ").unwrap_or(other),
            };
            return format!("found {shown:?}, expected {expected}");
        }
    };
    what.to_owned()
}
