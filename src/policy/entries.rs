//! Lists of paths with methods: `bypass` and `deny`.

use super::path::CanonicalPath;
use super::pattern::{PathPattern, PatternSet};
use super::restriction::LetterCase;

/// Entries that each cover some paths, for some methods or all. By default they grant.
#[derive(Debug, Clone, Default)]
pub struct PathEntries {
    paths: PatternSet,
    /// The methods of each entry; empty: every method.
    methods: Vec<Vec<String>>,
}

impl PathEntries {
    /// Entries that restrict.
    pub fn restricting(letter_case: LetterCase) -> Self {
        Self { paths: PatternSet::restricting(letter_case), ..Self::default() }
    }

    /// Adds an entry.
    pub fn insert(&mut self, patterns: &[PathPattern], methods: Vec<String>) {
        for pattern in patterns {
            self.paths.insert(pattern, self.methods.len());
        }
        self.methods.push(methods);
    }

    /// The first entry that covers this path, by its index.
    pub fn entry(&self, method: &str, path: &CanonicalPath<'_>) -> Option<usize> {
        self.paths.lowest(path, |index| self.has_method(index, method))
    }

    fn has_method(&self, index: usize, method: &str) -> bool {
        let methods = self.methods.get(index);
        methods.is_some_and(|methods| methods.is_empty() || methods.iter().any(|known| known == method))
    }
}
