//! Signatures. Envoy's BoringSSL verifies RSASSA-PKCS1-v1_5 and ECDSA, this module what Envoy's function does not know: RSASSA-PSS
//! and Ed25519.

use sha2::{Digest, Sha256, Sha384, Sha512};

use super::algorithm::Algorithm;
use super::curve::Curve;
use super::der;
use super::key::Material;
use super::pss;
use crate::certificate::Malformed;
use crate::certificate::reader::Values;
use crate::proxy::{Hash, Proxy, SignatureCheck};

/// Is this the JWS signature of `message` under that key? `Some(false)` as well for a signature that cannot be one: wrong
/// length, r or s zero (ECDSA), a key of another family. `None` where the proxy had to be asked and did not answer.
pub fn is_valid(
    proxy: &dyn Proxy,
    algorithm: Algorithm,
    key: &Material,
    message: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let hash = algorithm.hash();
    match (algorithm, key) {
        (Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512, Material::Rsa(key, _)) => {
            // The salt is as long as the hash (RFC 7518 section 3.5).
            Some(pss::is_valid(hash, hash.size(), key, message, signature))
        }
        _ if algorithm.family() == key.family() => is_good(proxy, hash, key, message, signature),
        _ => Some(false),
    }
}

/// The same for what X.509 signs, with whatever hash goes with RSASSA-PKCS1-v1_5 and ECDSA (RFC 5758): of ECDSA the
/// signature is an ECDSA-Sig-Value.
pub fn is_valid_x509(proxy: &dyn Proxy, hash: Hash, key: &Material, message: &[u8], signature: &[u8]) -> Option<bool> {
    match key {
        Material::Ec(curve, _) => match Values::read_list(signature, |numbers| halves(numbers, curve.width())) {
            Ok(signature) => is_good(proxy, hash, key, message, &signature),
            Err(_) => Some(false),
        },
        Material::Rsa(..) | Material::Ed25519(_) => is_good(proxy, hash, key, message, signature),
    }
}

fn is_good(proxy: &dyn Proxy, hash: Hash, key: &Material, message: &[u8], signature: &[u8]) -> Option<bool> {
    match key {
        // An RSA signature is as long as the modulus (RFC 8017 section 8.2.2).
        Material::Rsa(key, spki) if signature.len() == rsa::traits::PublicKeyParts::size(key) => {
            ask(proxy, hash, spki, message, signature)
        }
        Material::Ec(curve, spki) if could_be_signature(*curve, signature) => {
            ask(proxy, hash, spki, message, &encode(signature))
        }
        Material::Rsa(..) | Material::Ec(..) => Some(false),
        Material::Ed25519(key) => {
            let signature = ed25519_dalek::Signature::from_slice(signature);
            Some(signature.is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()))
        }
    }
}

/// Whether r and s have their width and are not zero. That they are below the order is left to the proxy.
fn could_be_signature(curve: Curve, signature: &[u8]) -> bool {
    let halves = signature.split_at_checked(curve.width());
    halves.is_some_and(|(r, s)| s.len() == r.len() && [r, s].into_iter().all(|half| half.iter().any(|byte| *byte != 0)))
}

fn ask(proxy: &dyn Proxy, hash: Hash, public_key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    proxy.verify_signature(SignatureCheck { hash, public_key, signature, message })
}

/// The two halves of a JWS's signature (RFC 7518 section 3.4) as an ECDSA-Sig-Value (RFC 3279 section 2.2.3).
fn encode(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at_checked(signature.len() / 2).unwrap_or_default();
    der::sequence(&[&der::integer(r), &der::integer(s)])
}

/// And the other way round, each half with so many bytes.
fn halves(numbers: &mut Values<'_>, width: usize) -> Result<Vec<u8>, Malformed> {
    let mut signature = Vec::with_capacity(2 * width);
    for _r_s in 0..2 {
        let number = numbers.natural()?;
        let zeros = width.checked_sub(number.len()).ok_or(Malformed::Der)?;
        signature.resize(signature.len() + zeros, 0);
        signature.extend_from_slice(number);
    }
    Ok(signature)
}

/// The hash of these bytes, one after the other.
pub(super) fn digest(hash: Hash, parts: &[&[u8]]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => digest_with::<Sha256>(parts),
        Hash::Sha384 => digest_with::<Sha384>(parts),
        Hash::Sha512 => digest_with::<Sha512>(parts),
    }
}

fn digest_with<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = D::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_half_has_its_width_and_no_sign() {
        let short: &[&[u8]] = &[&[2, 1, 1], &[2, 2, 1, 2]];
        let full: &[&[u8]] = &[&[2, 5, 0, 0xff, 2, 3, 4], &[2, 4, 0x7f, 6, 7, 8]];
        for (numbers, expected) in [
            (short, Some(vec![0, 0, 0, 1, 0, 0, 1, 2])),
            (full, Some(vec![0xff, 2, 3, 4, 0x7f, 6, 7, 8])),
            (&[&[2, 5, 1, 2, 3, 4, 5], &[2, 1, 1]], None),
            (&[&[2, 1, 0x80], &[2, 1, 1]], None),
            (&[&[2, 2, 0, 1], &[2, 1, 1]], None),
            (&[&[2, 1, 1]], None),
        ] {
            let numbers = numbers.concat();
            assert_eq!(Values::read(&numbers, |numbers| halves(numbers, 4)).ok(), expected, "{numbers:?}");
        }
    }
}
