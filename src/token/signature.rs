//! Signatures: Envoy's BoringSSL where it serves, pure Rust otherwise, with the same verdict.

use rsa::signature::Verifier;
use sha2::{Sha256, Sha384, Sha512};

use super::algorithm::Algorithm;
use super::der;
use super::key::Material;
use crate::proxy::{Hash, Proxy, SignatureCheck};

/// Is this the signature of `message` under that key? `false` as well for a signature that cannot be one: wrong length,
/// r or s zero (ECDSA), a key of another family.
pub fn is_valid(proxy: &dyn Proxy, algorithm: Algorithm, key: &Material, message: &[u8], signature: &[u8]) -> bool {
    match (algorithm, key) {
        (Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512, Material::Rsa(key, spki)) => {
            // An RSA signature is as long as the modulus (RFC 8017 section 8.2.2).
            if signature.len() != rsa::traits::PublicKeyParts::size(key) {
                return false;
            }
            let hash = match algorithm {
                Algorithm::Rs384 => Hash::Sha384,
                Algorithm::Rs512 => Hash::Sha512,
                _ => Hash::Sha256,
            };
            let check = SignatureCheck { hash, public_key: spki, signature, message };
            proxy.verify_signature(check).unwrap_or_else(|| rs(hash, key, message, signature))
        }
        (Algorithm::Ps256, Material::Rsa(key, _)) => {
            let verifying = rsa::pss::VerifyingKey::<Sha256>::new(key.clone());
            let signature = rsa::pss::Signature::try_from(signature);
            signature.is_ok_and(|signature| verifying.verify(message, &signature).is_ok())
        }
        (Algorithm::Es256, Material::P256(key, spki)) => {
            // Reading it refuses r and s that are zero or not below the order.
            let Ok(parsed) = p256::ecdsa::Signature::from_slice(signature) else {
                return false;
            };
            let encoded = encode(signature);
            let check = SignatureCheck { hash: Hash::Sha256, public_key: spki, signature: &encoded, message };
            proxy.verify_signature(check).unwrap_or_else(|| key.verify(message, &parsed).is_ok())
        }
        (Algorithm::Es384, Material::P384(key, spki)) => {
            let Ok(parsed) = p384::ecdsa::Signature::from_slice(signature) else {
                return false;
            };
            let encoded = encode(signature);
            let check = SignatureCheck { hash: Hash::Sha384, public_key: spki, signature: &encoded, message };
            proxy.verify_signature(check).unwrap_or_else(|| key.verify(message, &parsed).is_ok())
        }
        (Algorithm::EdDsa, Material::Ed25519(key)) => {
            let signature = ed25519_dalek::Signature::from_slice(signature);
            signature.is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
        }
        _ => false,
    }
}

/// The two halves of a JWS's signature (RFC 7518 section 3.4) as an ECDSA-Sig-Value (RFC 3279 section 2.2.3).
fn encode(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at_checked(signature.len() / 2).unwrap_or_default();
    der::sequence(&[&der::integer(r), &der::integer(s)])
}

fn rs(hash: Hash, key: &rsa::PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = rsa::pkcs1v15::Signature::try_from(signature) else {
        return false;
    };
    let key = key.clone();
    match hash {
        Hash::Sha256 => rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &signature).is_ok(),
        Hash::Sha384 => rsa::pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &signature).is_ok(),
        Hash::Sha512 => rsa::pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &signature).is_ok(),
    }
}
