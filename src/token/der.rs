//! The little of DER (X.690) that has to be written: a key and a signature for Envoy.

use crate::certificate::reader::strip_zeros;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// A number that is not negative, big-endian.
pub fn integer(number: &[u8]) -> Vec<u8> {
    let number = strip_zeros(number);
    // Zero has one byte, and a high bit would be a sign.
    let sign: &[u8] = if number.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    value(INTEGER, &[sign, number])
}

/// A BIT STRING of whole bytes.
pub fn bit_string(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes])
}

/// A SEQUENCE of values that are encoded already.
pub fn sequence(values: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, values)
}

/// A value of less than 64 KiB.
fn value(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let size: usize = content.iter().map(|part| part.len()).sum();
    let [.., high, low] = size.to_be_bytes();
    let length: &[u8] = match (high, low) {
        (0, 0..=0x7f) => &[low],
        (0, _) => &[0x81, low],
        _ => &[0x82, high, low],
    };
    let mut encoded = Vec::with_capacity(size + 4);
    encoded.push(tag);
    encoded.extend_from_slice(length);
    content.iter().for_each(|part| encoded.extend_from_slice(part));
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_signature_is_encoded_as_by_the_library_that_reads_it(r in prop::collection::vec(any::<u8>(), 32), s: [u8; 32], zeros in 0..31_usize) {
            let mut raw = [r, s.to_vec()].concat();
            raw[..zeros].fill(0);
            if let Ok(signature) = p256::ecdsa::Signature::from_slice(&raw) {
                let (r, s) = raw.split_at(32);
                let expected = signature.to_der().as_bytes().to_vec();
                prop_assert_eq!(sequence(&[&integer(r), &integer(s)]), expected);
            }
        }
    }

    #[test]
    fn lengths_have_as_many_bytes_as_they_need() {
        for (size, header) in [
            (0, vec![0x30, 0]),
            (0x7f, vec![0x30, 0x7f]),
            (0x80, vec![0x30, 0x81, 0x80]),
            (0x1234, vec![0x30, 0x82, 0x12, 0x34]),
        ] {
            let content = vec![7_u8; size];
            assert_eq!(sequence(&[&content]), [header, content].concat());
        }
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(bit_string(&[5]), [3, 2, 0, 5]);
    }
}
