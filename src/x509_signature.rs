//! Signatures of X.509: what an authority's key has signed. Certificates (RFC 5280 section 4.1.1) and lists (section 5.1.1) are
//! alike in this.

use der::Tag;

use crate::certificate::reader::{Oid, Values};
use crate::certificate::{self, Certificate, DistinguishedName, KeyUsage, Malformed, Unsuitable, explicit};
use crate::proxy::{Hash, Proxy};
use crate::token::{Material, verify_pss_signature, verify_x509_signature};

/// How an algorithm signs, apart from its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Pkcs1,
    /// With a salt of so many bytes.
    Pss(usize),
    Ecdsa,
    Ed25519,
}

/// The signature algorithms of RFC 4055, RFC 5758 and RFC 8410 but for RSASSA-PSS, which says in its parameters what it hashes with.
const ALGORITHMS: &[(Oid, Scheme, Hash)] = &[
    (Oid::new_unwrap("1.2.840.113549.1.1.11"), Scheme::Pkcs1, Hash::Sha256),
    (Oid::new_unwrap("1.2.840.113549.1.1.12"), Scheme::Pkcs1, Hash::Sha384),
    (Oid::new_unwrap("1.2.840.113549.1.1.13"), Scheme::Pkcs1, Hash::Sha512),
    (Oid::new_unwrap("1.2.840.10045.4.3.2"), Scheme::Ecdsa, Hash::Sha256),
    (Oid::new_unwrap("1.2.840.10045.4.3.3"), Scheme::Ecdsa, Hash::Sha384),
    (Oid::new_unwrap("1.2.840.10045.4.3.4"), Scheme::Ecdsa, Hash::Sha512),
    (certificate::ED25519, Scheme::Ed25519, Hash::Sha512),
];
const PSS: Oid = Oid::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: Oid = Oid::new_unwrap("1.2.840.113549.1.1.8");
const HASHES: &[(Oid, Hash)] = &[
    (Oid::new_unwrap("2.16.840.1.101.3.4.2.1"), Hash::Sha256),
    (Oid::new_unwrap("2.16.840.1.101.3.4.2.2"), Hash::Sha384),
    (Oid::new_unwrap("2.16.840.1.101.3.4.2.3"), Hash::Sha512),
];
/// The DER of NULL.
const NULL: &[u8] = &[5, 0];

/// Why it is not shown that a key has signed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An algorithm that is not verified here, or two different ones inside and outside of what is signed.
    Algorithm,
    /// Another key signed it, or something else was signed.
    Signature,
    /// Only the proxy could verify it, and it did not.
    Host,
}

/// An authority: the name that it issues in, and its key.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The subject of its certificate.
    pub subject: DistinguishedName,
    /// The key of its certificate.
    pub key: Material,
    /// When its certificate ends, in seconds since 1970.
    pub not_after: i64,
}

impl Authority {
    /// Reads the PEM of the certificate of an authority that may sign certificates, or lists.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn from_pem(pem: &str, signs: KeyUsage) -> Result<Self, &'static str> {
        let (role, usage) = match signs {
            KeyUsage::LISTS => (
                "the certificate of the authority that signs the list",
                "the certificate of an authority that may sign lists; the key usage of this one has no cRLSign (RFC 5280 section 6.3.3)",
            ),
            _ => (
                "the certificate of an authority that issues certificates",
                "an authority's certificate whose key usage includes keyCertSign, if it has one",
            ),
        };
        let der = certificate::decode_pem(pem.as_bytes());
        let decoded = der.as_ref().and_then(|der| Certificate::from_der(der).ok());
        let (der, decoded) = der.zip(decoded).ok_or("the PEM of exactly one X.509 certificate")?;
        if decoded.unsuitable != Some(Unsuitable::Authority) {
            return Err(role);
        }
        if decoded.key_usage.is_some_and(|own| !own.includes(signs)) {
            return Err(usage);
        }
        let key = certificate::key_info(&der).ok().and_then(|info| Material::from_spki(info).ok());
        let key =
            key.ok_or("a certificate with an RSA key of 2048 to 4096 bits, or one on P-256, P-384, P-521 or Ed25519")?;
        let not_after = decoded.validity.as_ref().map_or(i64::MAX, |validity| validity.not_after);
        Ok(Self { subject: decoded.subject, key, not_after })
    }

    /// Has its key signed this certificate, which could be decoded?
    ///
    /// # Errors
    /// That is not shown.
    pub fn has_signed(&self, certificate: &[u8], proxy: &dyn Proxy) -> Result<(), Fault> {
        let read = || {
            let signed = Signed::read(certificate)?;
            let mut fields = signed.fields()?;
            fields.optional(explicit(0))?;
            certificate::serial(&mut fields)?;
            Ok((signed, fields.whole()?))
        };
        let (signed, algorithm) = read().map_err(|_: Malformed| Fault::Signature)?;
        signed.verify(algorithm, &self.key, proxy)
    }
}

/// The members of the one SEQUENCE that these bytes are.
pub fn members(der: &[u8]) -> Result<Values<'_>, Malformed> {
    Values::new(Values::read(der, |value| value.required(Tag::Sequence))?)
}

/// Signed bytes: a SEQUENCE of what is signed, the algorithm, and the signature.
pub struct Signed<'a> {
    content: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes it apart, to the last byte.
    pub fn read(der: &'a [u8]) -> Result<Self, Malformed> {
        Values::read_list(der, |parts| {
            Ok(Self { content: parts.whole()?, algorithm: parts.whole()?, signature: parts.octets()? })
        })
    }

    /// The members of what is signed.
    pub fn fields(&self) -> Result<Values<'a>, Malformed> {
        members(self.content)
    }

    /// Has this key signed it? What is signed must name the same `algorithm`, byte for byte, as what surrounds it does (RFC 5280
    /// sections 4.1.1.2 and 5.1.1.2).
    ///
    /// # Errors
    /// That is not shown.
    pub fn verify(&self, algorithm: &[u8], key: &Material, proxy: &dyn Proxy) -> Result<(), Fault> {
        let Self { content, signature, .. } = *self;
        let known = if algorithm == self.algorithm { read_algorithm(algorithm) } else { None };
        let (scheme, hash) = known.ok_or(Fault::Algorithm)?;
        let is_good = match (scheme, key) {
            (Scheme::Pss(salt), Material::Rsa(key, _)) => verify_pss_signature(hash, salt, key, content, signature),
            (Scheme::Pkcs1, Material::Rsa(..))
            | (Scheme::Ecdsa, Material::Ec(..))
            | (Scheme::Ed25519, Material::Ed25519(_)) => {
                verify_x509_signature(proxy, hash, key, content, signature).ok_or(Fault::Host)?
            }
            _ => false,
        };
        if is_good { Ok(()) } else { Err(Fault::Signature) }
    }
}

/// An `AlgorithmIdentifier` that is known here.
fn read_algorithm(der: &[u8]) -> Option<(Scheme, Hash)> {
    let (oid, parameters) = Values::read(der, Values::algorithm).ok()?;
    if oid == PSS {
        return pss_parameters(parameters?).ok();
    }
    let (_, scheme, hash) = ALGORITHMS.iter().find(|(known, ..)| *known == oid)?;
    // RSA has NULL or nothing (RFC 4055 section 5), ECDSA nothing, though TLS libraries take NULL; Ed25519 nothing.
    let is_plain = parameters.is_none_or(|parameters| parameters == NULL && *scheme != Scheme::Ed25519);
    is_plain.then_some((*scheme, *hash))
}

/// `RSASSA-PSS-params` (RFC 4055 section 3.1): one hash, for the message and for the mask. The defaults are SHA-1, which is none.
fn pss_parameters(der: &[u8]) -> Result<(Scheme, Hash), Malformed> {
    Values::read_list(der, |fields| {
        let of_message = fields.inside(explicit(0), hash)?;
        let of_mask = fields.inside(explicit(1), |mask| {
            mask.inside(Tag::Sequence, |mask| match mask.oid()? {
                MGF1 => hash(mask),
                _ => Err(Malformed::Der),
            })
        })?;
        let salt = match fields.optional(explicit(2))? {
            None => 20,
            Some(length) => match *Values::read(length, Values::natural)? {
                [] => 0,
                [low] => usize::from(low),
                [high, low] => usize::from(u16::from_be_bytes([high, low])),
                _ => return Err(Malformed::Der),
            },
        };
        let trailer = fields.optional(explicit(3))?;
        if of_mask == of_message && trailer.is_none_or(|trailer| trailer == [2, 1, 1]) {
            Ok((Scheme::Pss(salt), of_message))
        } else {
            Err(Malformed::Der)
        }
    })
}

/// The `AlgorithmIdentifier` of a hash. NULL and nothing are the same (RFC 4055 section 2.1).
fn hash(values: &mut Values<'_>) -> Result<Hash, Malformed> {
    let (oid, parameters) = values.algorithm()?;
    let known = HASHES.iter().find(|(known, _)| *known == oid && parameters.is_none_or(|other| other == NULL));
    known.map(|(_, hash)| *hash).ok_or(Malformed::Der)
}
