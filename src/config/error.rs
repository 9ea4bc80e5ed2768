//! What is wrong with a configuration: where, what was found, what was expected.

use std::fmt;
use std::ops::Deref;

/// Longer values are cut in messages.
const MAX_FOUND_CHARS: usize = 120;
/// No more errors are told, and no more warnings kept.
pub(super) const MAX_ERRORS: usize = 20;

/// All that is wrong with a configuration, in the order in which it is found. Dereferences to the first error: there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    first: ConfigError,
    further: Vec<ConfigError>,
    /// Is there perhaps more? No more than 20 errors are told, and of a large text fewer.
    pub may_be_more: bool,
}

impl ConfigErrors {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        std::iter::once(&self.first).chain(&self.further)
    }

    /// A line for each of them, and one for what may be further.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let more = self.may_be_more.then(|| MAY_BE_MORE.to_owned());
        self.iter().map(ConfigError::to_string).chain(more)
    }

    /// Adds one that is not there yet, unless there are as many as are told: `false`.
    pub(super) fn add(&mut self, problem: ConfigError) -> bool {
        let fits = self.further.len() + 1 < MAX_ERRORS;
        if fits && !self.iter().any(|known| *known == problem) {
            self.further.push(problem);
        }
        fits
    }

    /// The same errors in a document that holds this one behind `place`, which ends with a dot.
    pub(super) fn inside(mut self, place: &str) -> Self {
        for problem in std::iter::once(&mut self.first).chain(&mut self.further) {
            problem.path = problem.path_inside(place);
        }
        self
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(first: ConfigError) -> Self {
        Self { first, further: Vec::new(), may_be_more: false }
    }
}

impl Deref for ConfigErrors {
    type Target = ConfigError;

    fn deref(&self) -> &ConfigError {
        &self.first
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

const MAY_BE_MORE: &str = "there may be further errors, which show when these are corrected";

/// One error in the configuration, which is refused as a whole; or a warning, in the same form.
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
        let mut found = format!("{found:?}");
        if is_private(&found) {
            PRIVATE.clone_into(&mut found);
        }
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

/// In the place of a private key, which is a mistake wherever it stands.
pub(super) const PRIVATE: &str = "a private key, which is not repeated here";

/// Does this text hold a private key?
pub(super) fn is_private(text: &str) -> bool {
    text.contains("PRIVATE KEY-----")
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
