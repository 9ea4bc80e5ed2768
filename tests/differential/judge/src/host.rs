//! A proxy whose connection shows one certificate.

use mtls_authz::{Hash, HostError, Property, Proxy, Shared, SignatureCheck, Swap};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

/// One request's host.
pub struct Host<'a> {
    /// PEM of the peer's certificate.
    pub certificate: Option<&'a [u8]>,
    /// Seconds since 1970.
    pub now: u64,
    /// Does `ring` verify signatures, or another implementation?
    pub ring: bool,
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
        Some(if self.ring { is_valid_by_ring(check) } else { is_valid(check) })
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

/// What stands in front of the point of a key on each curve, and of an RSA key, whose lengths take three bytes each.
const P256: usize = 26;
const P384: usize = 23;
const P521: usize = 25;
const RSA: usize = 24;

/// Which kind of key it is, by the length of its SubjectPublicKeyInfo, and the key in it.
fn key(check: SignatureCheck<'_>) -> (usize, &[u8]) {
    let kind = match check.public_key.len() {
        91 => P256,
        120 => P384,
        158 => P521,
        _ => RSA,
    };
    (kind, check.public_key.get(kind..).unwrap_or_default())
}

fn is_valid_by_ring(check: SignatureCheck<'_>) -> bool {
    let (kind, key) = key(check);
    let algorithm: &dyn VerificationAlgorithm = match (kind, check.hash) {
        (P256, _) => &signature::ECDSA_P256_SHA256_ASN1,
        (P384, _) => &signature::ECDSA_P384_SHA384_ASN1,
        // It does not have this curve.
        (P521, _) => return is_valid(check),
        (_, Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (_, Hash::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (_, Hash::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
    };
    UnparsedPublicKey::new(algorithm, key).verify(check.message, check.signature).is_ok()
}

fn is_valid(check: SignatureCheck<'_>) -> bool {
    use p256::ecdsa::signature::hazmat::PrehashVerifier;
    use rsa::{BoxedUint, Pkcs1v15Sign, PublicKey};
    use sha2::{Digest, Sha256, Sha384, Sha512};

    let (kind, key) = key(check);
    let digest = match check.hash {
        Hash::Sha256 => Sha256::digest(check.message).to_vec(),
        Hash::Sha384 => Sha384::digest(check.message).to_vec(),
        Hash::Sha512 => Sha512::digest(check.message).to_vec(),
    };
    macro_rules! on {
        ($curve:ident) => {{
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key);
            let signature = $curve::ecdsa::Signature::from_der(check.signature);
            key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()))
        }};
    }
    match kind {
        P256 => on!(p256),
        P384 => on!(p384),
        P521 => on!(p521),
        _ => {
            // SEQUENCE { INTEGER n, INTEGER e }, each length in its shortest form.
            let numbers = key.get(4..).unwrap_or_default();
            let length = numbers.get(2..4).map_or(0, |length| usize::from(length[0]) << 8 | usize::from(length[1]));
            let (n, e) = numbers.get(4..).unwrap_or_default().split_at(length);
            let [n, e] = [n, e.get(2..).unwrap_or_default()].map(BoxedUint::from_be_slice_vartime);
            let scheme = match check.hash {
                Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
            };
            PublicKey::new(n, e).is_ok_and(|key| key.verify(scheme, &digest, check.signature).is_ok())
        }
    }
}
