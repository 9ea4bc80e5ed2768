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
    /// Do they restrict? Then a method counts in any letter case, because an upstream may fold it.
    restrict: bool,
}

impl PathEntries {
    /// Entries that restrict.
    pub fn restricting(letter_case: LetterCase) -> Self {
        Self { paths: PatternSet::restricting(letter_case), restrict: true, ..Self::default() }
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
        let is_same = |known: &String| known == method || (self.restrict && known.eq_ignore_ascii_case(method));
        let methods = self.methods.get(index);
        methods.is_some_and(|methods| methods.is_empty() || methods.iter().any(is_same))
    }
}

#[cfg(test)]
mod tests {
    use super::super::PathRules;
    use super::*;

    #[test]
    fn an_entry_that_restricts_has_its_methods_in_any_letter_case() {
        let rules = PathRules::default();
        let pattern = PathPattern::parse("/a", rules).unwrap();
        let path = CanonicalPath::parse(b"/a", rules).unwrap();
        for (mut entries, same, folded) in
            [(PathEntries::default(), Some(0), None), (PathEntries::restricting(LetterCase::Exact), Some(0), Some(0))]
        {
            entries.insert(std::slice::from_ref(&pattern), vec!["PURGE".to_owned()]);
            let found = ["PURGE", "purge", "Purge", "GET"].map(|method| entries.entry(method, &path));
            assert_eq!(found, [same, folded, folded, None]);
        }
    }
}
