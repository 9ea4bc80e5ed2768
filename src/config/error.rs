//! What is wrong with a configuration: where, what was found, what was expected.

use std::fmt;

/// Longer values are cut in messages.
const MAX_FOUND_CHARS: usize = 120;

/// An error in the configuration. The configuration is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The JSON path, such as `clients.acme.profiles[0]`; empty for the document itself.
    pub path: String,
    /// What was found and what was expected.
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(path: impl Into<String>, found: impl fmt::Debug, expected: impl fmt::Display) -> Self {
        Self::found(path.into(), &found, &expected)
    }

    // Once in the module, and not for each type of what was found.
    #[inline(never)]
    fn found(path: String, found: &dyn fmt::Debug, expected: &dyn fmt::Display) -> Self {
        let found = format!("{found:?}");
        let shown: String = found.chars().take(MAX_FOUND_CHARS).collect();
        let cut = if shown.len() < found.len() { "…" } else { "" };
        let expected = abridged(&expected.to_string());
        Self { path, problem: format!("found {shown}{cut}, expected {expected}") }
    }

    /// Its path in a document that holds this one behind `place`, which ends with a dot.
    pub(super) fn path_inside(&self, place: &str) -> String {
        match self.path.as_str() {
            "" => place.trim_end_matches('.').to_owned(),
            path => format!("{place}{path}"),
        }
    }
}

/// What serde says repeats what it found, however long that is, and a canonical spelling is as long as what was written. What was
/// expected stands at the end.
pub(super) fn abridged(problem: &str) -> String {
    const MAX_END_CHARS: usize = 500;
    let length = problem.chars().count();
    if length <= MAX_FOUND_CHARS + MAX_END_CHARS {
        return problem.to_owned();
    }
    let begin = problem.chars().take(MAX_FOUND_CHARS);
    begin.chain(['…']).chain(problem.chars().skip(length - MAX_END_CHARS)).collect()
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the configuration" } else { &self.path };
        write!(f, "{path}: {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}
