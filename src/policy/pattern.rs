//! Path patterns and sets of them: exact segments, `*` for one, `**` for any number.
//!
//! A set is a tree over segments, walked once whatever the number of patterns: its cost is the length of the path times
//! the few branches that are alive, not the number of rules.

use std::collections::BTreeMap;

use super::foreign::instead_of;
use super::path::{CanonicalPath, PathRules};
use super::restriction::{LetterCase, each_reading, read_pattern};

/// A pattern with more `**` than this is refused; each can cost a look-up for every segment of a path.
const MAX_ANY: usize = 8;

/// A pattern over canonical paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Exact(String),
    One,
    Any,
}

impl PathPattern {
    /// Reads a pattern. It must be spelled canonically: a pattern that no canonical path can equal would never match.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str, rules: PathRules) -> Result<Self, String> {
        if let Some(instead) = instead_of(text) {
            return Err(instead);
        }
        let path = CanonicalPath::parse(text.as_bytes(), rules)
            .map_err(|error| format!("a path pattern such as /payments/**. {}", error.as_str()))?;
        if path.as_str() != text {
            return Err(format!("the canonical spelling {:?}", path.as_str()));
        }
        if path.segments().filter(|segment| *segment == "**").count() > MAX_ANY {
            return Err(format!("at most {MAX_ANY} times ** in a pattern"));
        }
        let segments = path.segments().map(|segment| match segment {
            "**" => Ok(Segment::Any),
            "*" => Ok(Segment::One),
            exact if exact.contains('*') => {
                Err("* or ** to stand for whole segments; write %2A for the character".to_owned())
            }
            exact => Ok(Segment::Exact(exact.to_owned())),
        });
        segments.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }
}

/// Patterns, each with a value: which rule it belongs to. By default they grant and are compared exactly.
#[derive(Debug, Clone, Default)]
pub struct PatternSet {
    nodes: Vec<Node>,
    /// Where they restrict.
    restricts: Option<LetterCase>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    exact: BTreeMap<Box<str>, usize>,
    one: Option<usize>,
    any: Option<usize>,
    values: Vec<usize>,
}

impl PatternSet {
    /// A set of patterns that restrict: they hold for a path in every reading of it.
    pub fn restricting(letter_case: LetterCase) -> Self {
        Self { restricts: Some(letter_case), ..Self::default() }
    }

    /// Adds a pattern.
    pub fn insert(&mut self, pattern: &PathPattern, value: usize) {
        match self.restricts {
            None => self.insert_segments(&pattern.0, value),
            Some(letter_case) => {
                let readings = read_pattern(&pattern.0, letter_case);
                readings.iter().for_each(|segments| self.insert_segments(segments, value));
            }
        }
    }

    fn insert_segments(&mut self, segments: &[Segment], value: usize) {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for segment in segments {
            at = self.child(at, segment);
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.values.push(value);
        }
    }

    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let next = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else {
            return at;
        };
        let child = match segment {
            Segment::Exact(text) => *node.exact.entry(text.as_str().into()).or_insert(next),
            Segment::One => *node.one.get_or_insert(next),
            Segment::Any => *node.any.get_or_insert(next),
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }

    /// The values of all patterns that match, ascending and each once.
    pub fn matches(&self, path: &CanonicalPath<'_>) -> Vec<usize> {
        let mut values = Vec::new();
        self.each_match(path, &mut |value| {
            if let Err(place) = values.binary_search(&value) {
                values.insert(place, value);
            }
        });
        values
    }

    /// Does any pattern match?
    pub fn contains(&self, path: &CanonicalPath<'_>) -> bool {
        self.lowest(path, |_| true).is_some()
    }

    /// The lowest of the values of matching patterns that will do.
    pub fn lowest(&self, path: &CanonicalPath<'_>, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let mut lowest = None;
        self.each_match(path, &mut |value| {
            if lowest.is_none_or(|lowest| value < lowest) && will_do(value) {
                lowest = Some(value);
            }
        });
        lowest
    }

    /// Shows the value of every pattern that matches, in any order and perhaps more than once.
    fn each_match(&self, path: &CanonicalPath<'_>, show: &mut dyn FnMut(usize)) {
        if self.nodes.is_empty() {
            return;
        }
        match self.restricts {
            None => self.walk(path.as_str(), path.ends_with_slash(), show),
            Some(letter_case) => each_reading(path, letter_case, &mut |text| self.walk(text, false, show)),
        }
    }

    /// Along a text, of which a slash at the end is no part.
    fn walk(&self, text: &str, slash: bool, show: &mut dyn FnMut(usize)) {
        let text = text.strip_suffix('/').unwrap_or(text);
        Walk { nodes: &self.nodes, slash, entered: Vec::new(), show }.from(0, text.strip_prefix('/'));
    }
}

/// A walk through the tree, along one path.
struct Walk<'a> {
    nodes: &'a [Node],
    /// Only patterns with a slash at the end match, or only those without.
    slash: bool,
    /// Nodes behind a `**` that were come to.
    entered: Vec<usize>,
    show: &'a mut dyn FnMut(usize),
}

impl Walk<'_> {
    /// Goes on from a node, with the segments that are left.
    fn from(&mut self, mut at: usize, mut left: Option<&str>) {
        while let Some(node) = self.nodes.get(at) {
            if let Some(any) = node.any {
                self.behind_any(any, left);
            }
            let Some(text) = left else {
                return self.end(node);
            };
            let (segment, rest) = split(text);
            left = rest;
            at = match (node.exact.get(segment), node.one) {
                (Some(exact), Some(one)) => {
                    self.from(*exact, left);
                    one
                }
                (Some(next), None) => *next,
                (None, Some(next)) => next,
                (None, None) => return,
            };
        }
    }

    /// Behind a `**`, which stands for any number of the segments that are left. Where it stands for fewer, it was here
    /// before: a walk comes first to each such node with the most segments left, and tries all the others then.
    fn behind_any(&mut self, at: usize, left: Option<&str>) {
        let Some(node) = self.nodes.get(at).filter(|_| !self.entered.contains(&at)) else {
            return;
        };
        self.entered.push(at);
        self.show_all(node);
        let mut left = Some(left);
        while let Some(segments) = left {
            self.from(at, segments);
            left = segments.map(|text| split(text).1);
        }
    }

    fn end(&mut self, node: &Node) {
        let last = if self.slash { node.exact.get("").and_then(|at| self.nodes.get(*at)) } else { Some(node) };
        last.into_iter().for_each(|node| self.show_all(node));
    }

    fn show_all(&mut self, node: &Node) {
        node.values.iter().for_each(|value| (self.show)(*value));
    }
}

/// The first segment, and those behind it.
fn split(segments: &str) -> (&str, Option<&str>) {
    match segments.bytes().position(|byte| byte == b'/') {
        Some(end) => (segments.get(..end).unwrap_or_default(), segments.get(end + 1..)),
        None => (segments, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> CanonicalPath<'_> {
        CanonicalPath::parse(text.as_bytes(), PathRules::default()).unwrap()
    }

    fn set(patterns: &[&str]) -> PatternSet {
        let mut set = PatternSet::default();
        for (value, pattern) in patterns.iter().enumerate() {
            set.insert(&PathPattern::parse(pattern, PathRules::default()).unwrap(), value);
        }
        set
    }

    #[test]
    fn patterns_match_whole_segments() {
        for (pattern, matching, other) in [
            (
                "/payments/*",
                vec!["/payments/1"],
                vec!["/payments", "/payments/", "/payments/1/2", "/payments-admin", "/payments-admin/1"],
            ),
            (
                "/payments/**",
                vec!["/payments", "/payments/", "/payments/1", "/payments/1/2/"],
                vec!["/payments-admin", "/", "/x/payments/1"],
            ),
            ("/**", vec!["/", "/a", "/a/b/"], vec![]),
            ("/", vec!["/"], vec!["/a"]),
            ("/a/**/z", vec!["/a/z", "/a/b/z", "/a/b/c/z", "/a/z/z"], vec!["/a", "/a/z/b", "/a/bz"]),
            ("/**/z/**", vec!["/z", "/a/z/b", "/z/z/z"], vec!["/a", "/az"]),
            ("/*/b", vec!["/a/b"], vec!["/b", "/a/a/b"]),
            ("/a/", vec!["/a/"], vec!["/a"]),
        ] {
            let set = set(&[pattern]);
            for text in matching {
                assert!(set.contains(&path(text)), "{pattern} should match {text}");
            }
            for text in other {
                assert!(!set.contains(&path(text)), "{pattern} should not match {text}");
            }
        }
    }

    #[test]
    fn what_restricts_does_so_with_and_without_a_slash_at_the_end() {
        let set = |pattern| {
            let mut set = PatternSet::restricting(LetterCase::Exact);
            set.insert(&PathPattern::parse(pattern, PathRules::default()).unwrap(), 0);
            set
        };
        for (pattern, text, expected) in [
            ("/admin", "/admin/", true),
            ("/admin/", "/admin", true),
            ("/secret/*", "/secret/x/", true),
            ("/secret/*", "/secret/", false),
            ("/", "/", true),
            ("/admin", "/admins/", false),
        ] {
            assert_eq!(set(pattern).contains(&path(text)), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn every_matching_rule_is_found_once() {
        let set = set(&["/a/**", "/a/*", "/a/b", "/**", "/c"]);
        assert_eq!(set.matches(&path("/a/b")), [0, 1, 2, 3]);
        assert_eq!(set.matches(&path("/c")), [3, 4]);
        assert_eq!(PatternSet::default().matches(&path("/")), Vec::<usize>::new());
    }

    #[test]
    fn a_pattern_that_could_never_match_is_refused() {
        for text in ["", "a", "/a/../b", "/%61", "/a%2fb", "/a*", "/***", "/a//b", "/a?x", "/a b", "/a;x"] {
            assert!(PathPattern::parse(text, PathRules::default()).is_err(), "{text}");
        }
    }

    /// Says the same, slowly.
    fn matches_slowly(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**", rest @ ..], _) => (0..=path.len()).any(|skip| matches_slowly(rest, &path[skip..])),
            (["*", rest @ ..], [segment, path @ ..]) => !segment.is_empty() && matches_slowly(rest, path),
            ([exact, rest @ ..], [segment, path @ ..]) => exact == segment && matches_slowly(rest, path),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_tree_agrees_with_the_definition(
            patterns in prop::collection::vec("(/(a|b|\\*|\\*\\*)){1,5}", 1..8),
            text in "(/(a|b|c)){1,6}/?",
        ) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let path = path(&text);
            let segments: Vec<&str> = path.segments().collect();
            let expected: Vec<usize> = (0..patterns.len())
                .filter(|index| matches_slowly(&patterns[*index].split('/').skip(1).collect::<Vec<_>>(), &segments))
                .collect();
            prop_assert_eq!(set(&patterns).matches(&path), expected.clone());
            for will_do in [|_| true, |value: usize| value % 2 == 1] {
                let lowest = expected.iter().copied().find(|value| will_do(*value));
                prop_assert_eq!(set(&patterns).lowest(&path, will_do), lowest);
            }
        }
    }
}
