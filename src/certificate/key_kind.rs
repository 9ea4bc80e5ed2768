//! Which kind of key a certificate holds, for those who plan its successor. Nothing is decided by it.

use std::fmt;

use der::Tag;

use super::Malformed;
use super::reader::{Oid, Values, strip_zeros};

pub const RSA: Oid = Oid::new_unwrap("1.2.840.113549.1.1.1");
pub const EC: Oid = Oid::new_unwrap("1.2.840.10045.2.1");
pub const P256: Oid = Oid::new_unwrap("1.2.840.10045.3.1.7");
pub const P384: Oid = Oid::new_unwrap("1.3.132.0.34");
pub const P521: Oid = Oid::new_unwrap("1.3.132.0.35");
pub const ED25519: Oid = Oid::new_unwrap("1.3.101.112");

/// The kind of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, with so many bits.
    Rsa(usize),
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// Something else.
    Other,
}

impl KeyKind {
    /// Takes the members of a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). A key that only its own algorithm could
    /// read is still one.
    pub(super) fn read(info: &mut Values<'_>) -> Result<Self, Malformed> {
        let (algorithm, parameters) = info.algorithm()?;
        let key = info.octets()?;
        let curve = parameters.and_then(|value| Values::read(value, Values::oid).ok());
        Ok(match (algorithm, curve) {
            (RSA, _) => modulus_bits(key).map_or(Self::Other, Self::Rsa),
            (EC, Some(P256)) => Self::P256,
            (EC, Some(P384)) => Self::P384,
            (EC, Some(P521)) => Self::P521,
            (ED25519, None) => Self::Ed25519,
            _ => Self::Other,
        })
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::P256 => f.write_str("EC P-256"),
            Self::P384 => f.write_str("EC P-384"),
            Self::P521 => f.write_str("EC P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// Of an RSAPublicKey (RFC 8017 appendix A.1.1).
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let modulus = Values::new(key).ok()?.inside(Tag::Sequence, |key| {
        let modulus = key.required(Tag::Integer)?;
        key.required(Tag::Integer)?;
        Ok(modulus)
    });
    let number = strip_zeros(modulus.ok()?);
    let unused = usize::try_from(number.first()?.leading_zeros()).ok()?;
    number.len().checked_mul(8)?.checked_sub(unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    #[test]
    fn every_kind_of_key_has_its_name() {
        let oid = |oid: Oid| match oid {
            Oid::Short(oid) => tlv(6, oid.as_bytes()),
            Oid::Long(hash) => tlv(6, &hash),
        };
        let rsa = |modulus: &[u8]| tlv(0x30, &[tlv(2, modulus), tlv(2, &[3])].concat());
        let dsa = Oid::new_unwrap("1.2.840.10040.4.1");
        let null = vec![5, 0];
        for (algorithm, parameters, key, expected) in [
            (RSA, null.clone(), rsa(&[0, 0x80, 0]), "RSA 16"),
            (RSA, null.clone(), rsa(&[1, 0]), "RSA 9"),
            (RSA, Vec::new(), rsa(&[0x7f]), "RSA 7"),
            (RSA, null.clone(), rsa(&[0]), "other"),
            (RSA, null.clone(), tlv(0x30, &tlv(2, &[1])), "other"),
            (RSA, null.clone(), vec![1, 2, 3], "other"),
            (EC, oid(P256), vec![4], "EC P-256"),
            (EC, oid(P384), vec![4], "EC P-384"),
            (EC, oid(P521), vec![4], "EC P-521"),
            (EC, oid(dsa), vec![4], "other"),
            (EC, null, vec![4], "other"),
            (EC, Vec::new(), vec![4], "other"),
            (ED25519, Vec::new(), vec![1; 32], "Ed25519"),
            (ED25519, oid(P256), vec![1; 32], "other"),
            (dsa, Vec::new(), vec![1], "other"),
        ] {
            let algorithm = tlv(0x30, &[oid(algorithm), parameters].concat());
            let info = [algorithm, tlv(3, &[vec![0], key].concat())].concat();
            let kind = Values::read(&info, KeyKind::read).map(|kind| kind.to_string());
            assert_eq!(kind.as_deref(), Ok(expected), "{info:x?}");
        }
        assert_eq!(Values::read(&[0x30, 0], KeyKind::read), Err(Malformed::Der));
    }
}
