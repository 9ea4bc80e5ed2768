//! A fast hash of texts and numbers, for those that no enemy chooses.

use std::hash::{BuildHasherDefault, Hasher};

/// Sixty-four bits of a text.
///
/// Without a key, and easily made to collide by whoever chooses the texts. Here that is the operator: all texts that are
/// kept by their hash stand in the configuration. A caller can only have one looked up, and no choice of it makes that
/// take longer than the operator's own texts allow.
pub fn fingerprint(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    // With the length, because the last word does not tell how long it was.
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    words.iter().chain([&last]).fold(mix(length), |hash, word| mix(hash ^ u64::from_le_bytes(*word)))
}

/// For tables whose keys are numbers that no caller chooses.
pub type Numbers = BuildHasherDefault<NumberHasher>;

/// Hashes numbers.
#[derive(Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix(self.0 ^ fingerprint(bytes));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }
}

/// Every bit of the word changes half of the result, or nearly; different words stay different.
const fn mix(word: u64) -> u64 {
    // 2^64 divided by the golden ratio.
    let product = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn texts_that_differ_in_any_byte_or_in_length_differ() {
        let texts = (0..40).flat_map(|length| {
            let zeros = vec![0_u8; length];
            let changed = (0..length).map(move |place| {
                let mut text = vec![0_u8; length];
                text[place] = 1;
                text
            });
            changed.chain([zeros])
        });
        let all: Vec<Vec<u8>> = texts.collect();
        let different: HashSet<u64> = all.iter().map(|text| fingerprint(text)).collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn numbered_names_spread_over_a_table() {
        // What a hash table takes: the low bits for the place, the upper seven to tell neighbours apart.
        let names =
            (0..100_000).map(|number| fingerprint(format!("spiffe://prod.example/sa/c-{number:06}").as_bytes()));
        let (mut places, mut tags) = (vec![0_u32; 1 << 17], [0_u32; 128]);
        for hash in names {
            places[(hash & 0x1_ffff) as usize] += 1;
            tags[(hash >> 57) as usize] += 1;
        }
        // As many as chance would leave empty (e^-0.76), and none that is crowded.
        let empty = places.iter().filter(|count| **count == 0).count();
        assert!((55_000..68_000).contains(&empty), "{empty}");
        assert!(places.iter().all(|count| *count < 12) && tags.iter().all(|count| (500..1_100).contains(count)));
    }
}
