//! RSASSA-PSS (RFC 8017 section 8.1.2). The library's own is compiled anew for each hash, and three of them are 14 KB of the module.

use rsa::hazmat::rsa_encrypt;
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, PublicKey};

use super::signature::digest;
use crate::proxy::Hash;

/// Is this the signature of `message`, with a salt of so many bytes and one hash for message and mask?
pub fn is_valid(hash: Hash, salt: usize, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    verify(hash, salt, key, message, signature).is_some()
}

fn verify(hash: Hash, salt: usize, key: &PublicKey, message: &[u8], signature: &[u8]) -> Option<()> {
    if signature.len() != key.size() {
        return None;
    }
    let number = BoxedUint::from_be_slice(signature, key.n_bits_precision()).ok()?;
    if number >= **key.n() {
        return None;
    }
    let bits = usize::try_from(key.n().bit_width()).ok()?.checked_sub(1)?;
    let encoded = rsa_encrypt(key, &number).ok()?.to_be_bytes();
    let (before, encoded) = encoded.split_at_checked(encoded.len().checked_sub(bits.div_ceil(8))?)?;
    is_zero(before).then(|| emsa_verify(hash, salt, bits, message, encoded))?
}

/// `EMSA-PSS-VERIFY` of `bits` bits (section 9.1.2).
fn emsa_verify(hash: Hash, salt: usize, bits: usize, message: &[u8], encoded: &[u8]) -> Option<()> {
    let hashed = digest(hash, &[message]);
    let (0xbc, encoded) = encoded.split_last()? else {
        return None;
    };
    let (masked, seed) = encoded.split_at_checked(encoded.len().checked_sub(hashed.len())?)?;
    // All but the bits beyond `bits`, which are zero.
    let used = 0xff >> (bits.div_ceil(8) * 8 - bits);
    if masked.first()? & !used != 0 {
        return None;
    }
    let mut block = masked.to_vec();
    for (counter, part) in (0_u32..).zip(block.chunks_mut(hashed.len())) {
        let mask = digest(hash, &[seed, &counter.to_be_bytes()]);
        part.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    *block.first_mut()? &= used;
    let (padding, salt) = block.split_at_checked(block.len().checked_sub(salt)?)?;
    let (end, zeros) = padding.split_last()?;
    (*end == 1 && is_zero(zeros) && digest(hash, &[&[0; 8], &hashed, salt]) == seed).then_some(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
