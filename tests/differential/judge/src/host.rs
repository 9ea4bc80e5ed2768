//! A proxy whose connection shows one certificate.

use mtls_authz::{Hash, HostError, Property, Proxy, Shared, SignatureCheck, Swap};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

/// What stands in front of the point of a P-256 key, and of a P-384 key.
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\0";
const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\0\x22\x03\x62\0";
/// What stands in front of an RSA key, whose lengths take three bytes each.
const RSA_HEADER: usize = 24;

/// One request's host.
pub struct Host<'a> {
    /// PEM of the peer's certificate.
    pub certificate: Option<&'a [u8]>,
    /// Seconds since 1970.
    pub now: u64,
    /// Does it verify signatures, or does it leave them to the filter?
    pub verifies: bool,
}

impl Proxy for Host<'_> {
    fn property(&self, property: Property<'_>) -> Result<Option<Vec<u8>>, HostError> {
        Ok(match (property, self.certificate) {
            (Property::PeerCertificate, Some(pem)) => Some(pem.to_vec()),
            (Property::PeerCertificateValid, Some(_)) => Some(vec![1]),
            _ => None,
        })
    }

    fn leave_note(&self, _: &str, _: &[u8]) -> Result<(), HostError> {
        Ok(())
    }

    fn verify_signature(&self, check: SignatureCheck<'_>) -> Option<bool> {
        self.verifies.then(|| is_valid(check))
    }

    fn now(&self) -> Result<u64, HostError> {
        Ok(self.now * 1_000_000_000)
    }

    fn monotonic(&self) -> Result<u64, HostError> {
        self.now()
    }

    fn shared(&self, _: &str) -> Result<Option<Shared>, HostError> {
        Ok(None)
    }

    fn swap_shared(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<Swap, HostError> {
        Ok(Swap::Done)
    }
}

fn is_valid(check: SignatureCheck<'_>) -> bool {
    let (algorithm, key): (&dyn VerificationAlgorithm, _) = match check.hash {
        Hash::Sha256 if check.public_key.starts_with(P256) => {
            (&signature::ECDSA_P256_SHA256_ASN1, check.public_key.get(P256.len()..))
        }
        Hash::Sha384 if check.public_key.starts_with(P384) => {
            (&signature::ECDSA_P384_SHA384_ASN1, check.public_key.get(P384.len()..))
        }
        hash => (
            match hash {
                Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            },
            check.public_key.get(RSA_HEADER..),
        ),
    };
    let key = UnparsedPublicKey::new(algorithm, key.unwrap_or_default());
    key.verify(check.message, check.signature).is_ok()
}
