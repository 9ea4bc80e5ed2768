//! Signatures: Envoy's BoringSSL where it serves, pure Rust otherwise, with the same verdict.

use rsa::Pkcs1v15Sign;
use rsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::algorithm::Algorithm;
use super::der;
use super::key::Material;
use super::pss;
use crate::certificate::Malformed;
use crate::certificate::reader::Values;
use crate::proxy::{Hash, Proxy, SignatureCheck};

/// Is this the JWS signature of `message` under that key? `false` as well for a signature that cannot be one: wrong length,
/// r or s zero (ECDSA), a key of another family.
pub fn is_valid(proxy: &dyn Proxy, algorithm: Algorithm, key: &Material, message: &[u8], signature: &[u8]) -> bool {
    let hash = match algorithm {
        Algorithm::Rs384 | Algorithm::Es384 => Hash::Sha384,
        Algorithm::Rs512 => Hash::Sha512,
        _ => Hash::Sha256,
    };
    match (algorithm, key) {
        (Algorithm::Ps256, Material::Rsa(key, _)) => {
            pss::is_valid(hash, Sha256::output_size(), key, message, signature)
        }
        _ if algorithm.family() == key.family() => is_good(proxy, hash, key, message, signature),
        _ => false,
    }
}

/// The same for what X.509 signs, with whatever hash goes with RSASSA-PKCS1-v1_5 and ECDSA (RFC 5758): of ECDSA the
/// signature is an ECDSA-Sig-Value.
pub fn is_valid_x509(proxy: &dyn Proxy, hash: Hash, key: &Material, message: &[u8], signature: &[u8]) -> bool {
    let halves = |width| Values::read_list(signature, |numbers| halves(numbers, width)).ok();
    match key {
        Material::P256(..) => halves(32).is_some_and(|signature| is_good(proxy, hash, key, message, &signature)),
        Material::P384(..) => halves(48).is_some_and(|signature| is_good(proxy, hash, key, message, &signature)),
        Material::Rsa(..) | Material::Ed25519(_) => is_good(proxy, hash, key, message, signature),
    }
}

/// Is this the ECDSA-Sig-Value with a P-521 key, given as its SubjectPublicKeyInfo? `None` where the proxy cannot verify it: it is
/// not verified here.
pub fn is_valid_p521(proxy: &dyn Proxy, hash: Hash, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    match Values::read_list(signature, |numbers| halves(numbers, 66)) {
        Ok(signature) => ask(proxy, hash, key, message, &encode(&signature)),
        Err(_) => Some(false),
    }
}

fn is_good(proxy: &dyn Proxy, hash: Hash, key: &Material, message: &[u8], signature: &[u8]) -> bool {
    match key {
        // An RSA signature is as long as the modulus (RFC 8017 section 8.2.2).
        Material::Rsa(key, spki) => {
            signature.len() == rsa::traits::PublicKeyParts::size(key)
                && ask(proxy, hash, spki, message, signature).unwrap_or_else(|| rs(hash, key, message, signature))
        }
        // Reading it refuses r and s that are zero or not below the order.
        Material::P256(key, spki) => p256::ecdsa::Signature::from_slice(signature).is_ok_and(|parsed| {
            ask(proxy, hash, spki, message, &encode(signature))
                .unwrap_or_else(|| key.verify_prehash(&digest(hash, &[message]), &parsed).is_ok())
        }),
        Material::P384(key, spki) => p384::ecdsa::Signature::from_slice(signature).is_ok_and(|parsed| {
            ask(proxy, hash, spki, message, &encode(signature))
                .unwrap_or_else(|| key.verify_prehash(&digest(hash, &[message]), &parsed).is_ok())
        }),
        Material::Ed25519(key) => {
            let signature = ed25519_dalek::Signature::from_slice(signature);
            signature.is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
        }
    }
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

fn rs(hash: Hash, key: &rsa::PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let scheme = match hash {
        Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
        Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
        Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
    };
    key.verify(scheme, &digest(hash, &[message]), signature).is_ok()
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
