//! A proxy that verifies signatures, as Envoy's BoringSSL does.

use std::cell::Cell;

use mtls_authz::{Hash, HostError, Proxy, SignatureCheck};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use rsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::asn1_rs::Tag;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::proxy::answered_by_fake;
use crate::proxy::{FakeProxy, NOW};

/// [`FakeProxy`] with a clock that goes and with signatures.
pub struct Host {
    pub fake: FakeProxy,
    /// Seconds since 1970.
    pub now: Cell<i64>,
    /// How many signatures it was asked to verify.
    pub signatures: Cell<usize>,
    /// Whether it can.
    pub verifies: bool,
}

impl Host {
    /// One that verifies.
    pub fn new(fake: FakeProxy) -> Self {
        Self { fake, now: Cell::new(NOW), signatures: Cell::new(0), verifies: true }
    }

    /// One whose function does not answer.
    pub fn without_signatures(fake: FakeProxy) -> Self {
        Self { verifies: false, ..Self::new(fake) }
    }
}

impl Proxy for Host {
    answered_by_fake!(property leave_note monotonic shared swap_shared);

    fn verify_signature(&self, check: SignatureCheck<'_>) -> Option<bool> {
        self.signatures.set(self.signatures.get() + 1);
        self.verifies.then(|| is_valid(check))
    }

    fn now(&self) -> Result<u64, HostError> {
        Ok(self.now.get() as u64 * 1_000_000_000)
    }
}

/// Envoy chooses by the type of the key. What is no key at all, or a hash that nobody signs with, is a mistake of the filter.
pub fn is_valid(check: SignatureCheck<'_>) -> bool {
    let (rest, spki) = SubjectPublicKeyInfo::from_der(check.public_key).unwrap();
    assert!(rest.is_empty());
    let parameters = spki.algorithm.parameters.as_ref().unwrap();
    let curve = (parameters.header.tag() != Tag::Null).then(|| parameters.as_oid().unwrap().to_id_string());
    let kind = spki.algorithm.algorithm.to_id_string();
    let point = &spki.subject_public_key.data;
    let algorithm: &dyn VerificationAlgorithm = match (kind.as_str(), curve.as_deref(), check.hash) {
        ("1.2.840.113549.1.1.1", None, Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
        ("1.2.840.113549.1.1.1", None, Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
        ("1.2.840.113549.1.1.1", None, Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7"), Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.2.1", Some("1.3.132.0.34"), Hash::Sha384) => &ECDSA_P384_SHA384_ASN1,
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7"), Hash::Sha384) => &ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.2.1", Some("1.3.132.0.34"), Hash::Sha256) => &ECDSA_P384_SHA256_ASN1,
        // What `ring` does not know.
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7"), hash) => {
            let signature = p256::ecdsa::Signature::from_der(check.signature);
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
            return signature
                .is_ok_and(|signature| key.verify_prehash(&digest(hash, check.message), &signature).is_ok());
        }
        ("1.2.840.10045.2.1", Some("1.3.132.0.34"), hash) => {
            let signature = p384::ecdsa::Signature::from_der(check.signature);
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
            return signature
                .is_ok_and(|signature| key.verify_prehash(&digest(hash, check.message), &signature).is_ok());
        }
        ("1.2.840.10045.2.1", Some("1.3.132.0.35"), hash) => {
            let signature = p521::ecdsa::Signature::from_der(check.signature);
            let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
            return signature
                .is_ok_and(|signature| key.verify_prehash(&digest(hash, check.message), &signature).is_ok());
        }
        other => panic!("{other:?}"),
    };
    UnparsedPublicKey::new(algorithm, point).verify(check.message, check.signature).is_ok()
}

fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => Sha256::digest(message).to_vec(),
        Hash::Sha384 => Sha384::digest(message).to_vec(),
        Hash::Sha512 => Sha512::digest(message).to_vec(),
    }
}
