//! The serialized map of the Proxy-Wasm ABI: a count, the sizes of names and values, then both, each ended by a NUL.

use crate::request::Header;

/// Envoy reads no larger map than this (`PROXY_WASM_HOST_PAIRS_MAX_COUNT`, `PROXY_WASM_HOST_PAIRS_MAX_BYTES`). It takes a larger one for an empty
/// one and reports no error, so that a request would go on without any header.
pub const MAX_PAIRS: usize = 1024;
/// The same for the bytes of the whole map.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Reads a map without copying. `None` where the bytes are not one.
pub fn decode(bytes: &[u8]) -> Option<Vec<Header<'_>>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let (count, rest) = bytes.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (sizes, mut data) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut pairs = Vec::with_capacity(count);
    for [a, b, c, d, e, f, g, h] in sizes.as_chunks().0 {
        let (name, after) = text(data, u32::from_le_bytes([*a, *b, *c, *d]))?;
        let (value, after) = text(after, u32::from_le_bytes([*e, *f, *g, *h]))?;
        data = after;
        pairs.push((name, value));
    }
    data.is_empty().then_some(pairs)
}

/// Writes a map. `None` where it is larger than Envoy reads.
pub fn encode<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Option<Vec<u8>> {
    let count = Some(pairs.clone().count()).filter(|count| *count <= MAX_PAIRS)?;
    let mut bytes = u32::try_from(count).ok()?.to_le_bytes().to_vec();
    for (name, value) in pairs.clone() {
        bytes.extend_from_slice(&u32::try_from(name.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
    }
    for (name, value) in pairs {
        for text in [name, value] {
            bytes.extend_from_slice(text);
            bytes.push(0);
        }
    }
    Some(bytes).filter(|bytes| bytes.len() <= MAX_BYTES)
}

fn text(bytes: &[u8], size: u32) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(usize::try_from(size).ok()?)?;
    Some((text, rest.strip_prefix(&[0])?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_map_that_envoy_would_take_for_an_empty_one_is_not_written() {
        let pairs = |count: usize, value: usize| {
            let value = vec![b'x'; value];
            encode(std::iter::repeat_n((&b"n"[..], value.as_slice()), count))
        };
        assert!(pairs(MAX_PAIRS, 1).is_some() && pairs(MAX_PAIRS + 1, 1).is_none());
        // A count, two sizes, a name, and a NUL behind the name and the value.
        assert_eq!(pairs(1, MAX_BYTES - 15).map(|bytes| bytes.len()), Some(MAX_BYTES));
        assert_eq!(pairs(1, MAX_BYTES - 14), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(pairs in prop::collection::vec(("[a-z:-]{0,9}", prop::collection::vec(any::<u8>(), 0..9)), 0..6)) {
            let headers: Vec<Header<'_>> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
            let encoded = encode(headers.iter().copied()).unwrap();
            prop_assert_eq!(decode(&encoded), Some(headers));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }
}
