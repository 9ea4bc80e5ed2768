//! "Did you mean …?"

/// Longer words are compared with nothing.
const MAX_BYTES: usize = 64;

/// The name that was probably meant: at most every third character differs. Letter case and `-` in the place of `_` do not count.
#[cold]
#[inline(never)]
pub fn nearest<'a>(word: &str, names: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.filter_map(|name| {
        let longer = word.len().max(name.len());
        let distance = (longer <= MAX_BYTES).then(|| distance(word, name))?;
        (distance * 3 <= longer).then_some((distance, name))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// How many characters are to be inserted, removed, replaced or exchanged with their neighbour.
#[cold]
#[inline(never)]
fn distance(one: &str, other: &str) -> usize {
    let folded = |text: &str| text.to_ascii_lowercase().replace('-', "_").into_bytes();
    let (one, other) = (folded(one), folded(other));
    let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
    let is = |text: &[u8], place: usize, byte: u8| text.get(place).is_some_and(|known| *known == byte);
    // For the beginnings of `one` that were looked at last, the distances to each beginning of `other`.
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=other.len()).collect());
    for (i, left) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in other.iter().enumerate() {
            let mut least = (at(&last, j) + usize::from(left != right)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if let (Some(i), Some(j)) = (i.checked_sub(1), j.checked_sub(1))
                && is(&one, i, *right)
                && is(&other, j, *left)
            {
                least = least.min(at(&before, j) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, other.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_word_is_near_to_what_was_meant_and_to_nothing_else() {
        const NAMES: &[&str] = &["allow", "deny", "source_cidrs", "rate_limit", "mode", "enforcement", "identities"];
        for (word, expected) in [
            ("alow", Some("allow")),
            ("allows", Some("allow")),
            ("lalow", Some("allow")),
            ("ALLOW", Some("allow")),
            ("source-cidrs", Some("source_cidrs")),
            ("sourceCidrs", Some("source_cidrs")),
            ("source_cidr", Some("source_cidrs")),
            ("rateLimit", Some("rate_limit")),
            ("modes", Some("mode")),
            ("identity", Some("identities")),
            ("enforcment", Some("enforcement")),
            ("deyn", Some("deny")),
            ("paths", None),
            ("no_such_key", None),
            ("", None),
            ("d", None),
        ] {
            assert_eq!(nearest(word, &mut NAMES.iter().copied()), expected, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(100_000), &mut ["a"].into_iter()), None);
        assert_eq!(nearest("", &mut [""].into_iter()), Some(""));
    }

    proptest! {
        #[test]
        fn a_distance_is_the_same_in_both_directions(one in "[ab-]{0,6}", other in "[ab_]{0,6}") {
            prop_assert_eq!(distance(&one, &other), distance(&other, &one));
            prop_assert_eq!(distance(&one, &one), 0);
            prop_assert!(distance(&one, &other) <= one.len().max(other.len()));
        }
    }
}
