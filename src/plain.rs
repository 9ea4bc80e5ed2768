//! Text that means the same wherever it is written.

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Is this visible ASCII without `"`, `\` and `%`? Such a text stands for itself in a JSON string (RFC 8259 section 7), in a
/// header value and in percent-encoding.
///
/// Asked of eight bytes at a time, because wasm32 has nothing faster for single ones.
pub fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b'-'; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words.iter().chain([&last]).all(|word| is_plain_word(u64::from_ne_bytes(*word)))
}

fn is_plain_word(word: u64) -> bool {
    // The high bit of each byte below a limit, and perhaps of others where there is one; bytes are ASCII.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & HIGH;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let odd = below(word, u64::from(b'!')) | is(b'"') | is(b'\\') | is(b'%') | is(0x7f);
    (word & HIGH) | odd == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_is_told_as_byte_by_byte(text in prop::collection::vec(prop_oneof![b' '..=0x7f_u8, any::<u8>()], 0..20)) {
            let expected = text.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\%".contains(byte));
            prop_assert_eq!(is_plain(&text), expected);
        }
    }
}
