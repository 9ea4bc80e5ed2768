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
    let width = other.len() + 1;
    // The distance between each beginning of `one` and each beginning of `other`.
    let mut table: Vec<usize> = (0..width).collect();
    let mut before = 0;
    for (row, left) in one.bytes().enumerate() {
        let left = folded(left);
        table.push(row + 1);
        let mut last = 0;
        for right in other.bytes().map(folded) {
            // `back`: how far back in the table.
            let at = |back: usize| table.len().checked_sub(back).and_then(|place| table.get(place)).copied();
            let replaced = at(width + 1).map(|distance| distance + usize::from(left != right));
            let exchanged = at(2 * width + 2).filter(|_| left == last && right == before && last != 0);
            let others = [at(1), at(width), exchanged].into_iter().flatten().map(|distance| distance + 1);
            let least = others.chain(replaced).min().unwrap_or_default();
            table.push(least);
            last = right;
        }
        before = left;
    }
    table.last().copied().unwrap_or_default()
}

fn folded(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() }
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
