//! Whether two entries of a policy have a request in common.

use super::method::{CONNECT, HEAD, covers};
use super::path::{Ambiguous, PathRules};
use super::pattern::{PathPattern, Segment};
use super::restriction::{LetterCase, read_pattern};

/// May a path that the first pattern grants be one that the second one restricts, in any reading? Where a segment can be read in
/// several ways, the answer is rather yes.
pub fn may_meet(grants: &PathPattern, restricts: &PathPattern, rules: PathRules, letter_case: LetterCase) -> bool {
    let may_separate = rules.encoded_slashes == Ambiguous::Keep || rules.semicolons == Ambiguous::Keep;
    let widened = grants.segments().iter().map(|segment| match segment {
        Segment::One if may_separate => Segment::Any,
        // What follows may be cut off.
        Segment::Exact(text) if text.contains(';') || text.contains("%3B") => Segment::Any,
        segment => segment.clone(),
    });
    let granted = read_pattern(&widened.collect::<Vec<_>>(), letter_case);
    let restricted = read_pattern(restricts.segments(), letter_case);
    granted.iter().any(|granted| restricted.iter().any(|restricted| meet(granted, restricted)))
}

/// Is there a path that both match? From the end: which pairs of rests have one in common.
fn meet(one: &[Segment], other: &[Segment]) -> bool {
    // For the rest of `one` that was looked at last, whether it meets each rest of `other`, the longest first.
    let mut behind: Vec<bool> = Vec::new();
    for left in (0..=one.len()).map(|taken| one.len() - taken) {
        let first = one.get(left);
        let mut meets = vec![false; other.len() + 1];
        for right in (0..=other.len()).rev() {
            let second = other.get(right);
            let at = |meets: &[bool], place: usize| meets.get(place).copied().unwrap_or_default();
            let is_met = match (first, second) {
                (None, None) => true,
                (Some(Segment::Any), _) => at(&behind, right) || (second.is_some() && at(&meets, right + 1)),
                (_, Some(Segment::Any)) => at(&meets, right + 1) || (first.is_some() && at(&behind, right)),
                (Some(Segment::Exact(one)), Some(Segment::Exact(other))) => one == other && at(&behind, right + 1),
                (Some(_), Some(_)) => at(&behind, right + 1),
                (None, Some(_)) | (Some(_), None) => false,
            };
            if let Some(place) = meets.get_mut(right) {
                *place = is_met;
            }
        }
        behind = meets;
    }
    behind.first().copied().unwrap_or_default()
}

/// Is there a method, other than CONNECT, that both lists cover?
pub fn methods_meet(one: &[String], other: &[String]) -> bool {
    let named = one.iter().chain(other).map(String::as_str).filter(|method| *method != CONNECT);
    let neither_is_limited = one.is_empty() && other.is_empty();
    neither_is_limited || named.chain([HEAD]).any(|method| covers(one, method) && covers(other, method))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{CanonicalPath, PatternSet};

    fn pattern(text: &str, rules: PathRules) -> PathPattern {
        PathPattern::parse(text, rules).unwrap()
    }

    fn keep() -> PathRules {
        PathRules { encoded_slashes: Ambiguous::Keep, semicolons: Ambiguous::Keep }
    }

    #[test]
    fn patterns_meet_where_a_path_has_both() {
        for (grants, restricts, expected) in [
            ("/pub/**", "/pub/secret/**", true),
            ("/pub/*", "/pub/secret", true),
            ("/pub/secret", "/pub/**", true),
            ("/pub/*", "/pub/secret/*", false),
            ("/pub/*/a", "/pub/b/*", true),
            ("/pub", "/private", false),
            ("/**/a", "/b/**", true),
            ("/**/a/**", "/b/*/c", true),
            ("/*/a", "/b/c", false),
            ("/health", "/**", true),
            ("/health/", "/health", true),
            ("/a%2Ab", "/a%2Ab", true),
            ("/", "/**", true),
            ("/", "/*", false),
        ] {
            let rules = PathRules::default();
            let found = may_meet(&pattern(grants, rules), &pattern(restricts, rules), rules, LetterCase::Exact);
            assert_eq!(found, expected, "{grants} {restricts}");
        }
        assert!(may_meet(&pattern("/PUB", keep()), &pattern("/pub", keep()), keep(), LetterCase::Ignore));
        assert!(may_meet(&pattern("/x/*", keep()), &pattern("/x/a/b", keep()), keep(), LetterCase::Exact));
        assert!(may_meet(&pattern("/x/a;v=1", keep()), &pattern("/x/a", keep()), keep(), LetterCase::Exact));
        assert!(may_meet(&pattern("/x/a%2Fb", keep()), &pattern("/x/a/b", keep()), keep(), LetterCase::Exact));
    }

    #[test]
    fn methods_meet_where_one_has_both() {
        let list = |methods: &[&str]| methods.iter().map(|method| (*method).to_owned()).collect::<Vec<_>>();
        for (one, other, expected) in [
            (&[][..], &[][..], true),
            (&["GET"], &[], true),
            (&["GET"], &["POST"], false),
            (&["GET"], &["HEAD"], true),
            (&["HEAD"], &["GET"], true),
            (&["HEAD"], &["POST"], false),
            (&["PURGE"], &["PURGE", "GET"], true),
            (&[], &["CONNECT"], false),
        ] {
            assert_eq!(methods_meet(&list(one), &list(other)), expected, "{one:?} {other:?}");
            assert_eq!(methods_meet(&list(other), &list(one)), expected, "{one:?} {other:?}");
        }
    }

    fn written(exact: &'static [&'static str]) -> impl Strategy<Value = String> {
        let segment = prop_oneof![3 => prop::sample::select(exact), 1 => Just("*"), 1 => Just("**")];
        prop::collection::vec(segment, 1..5).prop_map(|segments| format!("/{}", segments.join("/")))
    }

    proptest! {
        #[test]
        fn a_path_that_is_granted_and_restricted_makes_its_patterns_meet(
            grants in written(&["a", "b", "A", "a%2Fb", "a;b", "%3Ab"]),
            restricts in written(&["a", "b", "A", "a%2Fb", "a;b", "%3Ab"]),
            segments in prop::collection::vec(prop::sample::select(&["a", "b", "A", "a%2Fb", "a;b", "%3Ab", ";a", "%2F"][..]), 0..6),
            ignores in any::<bool>(),
        ) {
            let letter_case = if ignores { LetterCase::Ignore } else { LetterCase::Exact };
            let (grants, restricts) = (pattern(&grants, keep()), pattern(&restricts, keep()));
            let path = format!("/{}", segments.join("/"));
            let Ok(path) = CanonicalPath::parse(path.as_bytes(), keep()) else { return Ok(()) };
            let (mut granting, mut restricting) = (PatternSet::default(), PatternSet::restricting(letter_case));
            granting.insert(&grants, 0);
            restricting.insert(&restricts, 0);
            if granting.contains(&path) && restricting.contains(&path) {
                prop_assert!(may_meet(&grants, &restricts, keep(), letter_case));
            }
        }
    }
}
