//! Authorities made in the test: a key for each way to sign, and certificates signed with it.

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_authz::{Proxy, SignatureCheck};
use rsa::signature::hazmat::PrehashSigner;
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer};
use rsa::traits::PublicKeyParts;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::certificates::Leaf;
use crate::crl::{extension, name, number, sequence, time, tlv};
use crate::proxy::FakeProxy;
use crate::proxy::answered_by_fake;

pub const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
pub const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
pub const ECDSA_WITH: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
pub const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
pub const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];
pub const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
pub const NULL: &[u8] = &[5, 0];

pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
pub const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];

pub fn algorithm(oid: &[&[u8]], parameters: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(6, oid), parameters])
}

pub fn sha(bits: u16) -> Vec<u8> {
    let last = match bits {
        256 => 1,
        384 => 2,
        512 => 3,
        _ => panic!("{bits}"),
    };
    algorithm(&[&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last]], &[])
}

/// `RSASSA-PSS-params` of a hash, another for the mask, and the length of the salt.
pub fn pss_parameters(hash: &[u8], mask: &[u8], salt: u8, trailer: &[u8]) -> Vec<u8> {
    sequence(&[
        &tlv(0xa0, &[hash]),
        &tlv(0xa1, &[&algorithm(&[RSA, &[8]], mask)]),
        &tlv(0xa2, &[&number(&[salt])]),
        trailer,
    ])
}

pub fn pss(bits: u16, salt: u8) -> Vec<u8> {
    algorithm(&[RSA, &[10]], &pss_parameters(&sha(bits), &sha(bits), salt, &[]))
}

pub fn digest(bits: u16, message: &[u8]) -> Vec<u8> {
    match bits {
        256 => Sha256::digest(message).to_vec(),
        384 => Sha384::digest(message).to_vec(),
        _ => Sha512::digest(message).to_vec(),
    }
}

/// Signs a message.
type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A key of an authority, and one way in which it signs.
pub struct Key {
    pub what: String,
    pub spki: Vec<u8>,
    /// The AlgorithmIdentifier.
    pub algorithm: Vec<u8>,
    pub sign: Sign,
}

/// A private RSA key of its own for each number; making one takes a while.
pub fn rsa_key(number: usize) -> rsa::PrivateKey {
    static KEYS: [std::sync::OnceLock<rsa::PrivateKey>; 2] = [const { std::sync::OnceLock::new() }; 2];
    KEYS[number].get_or_init(|| rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap()).clone()
}

pub fn rsa_spki(key: &rsa::PrivateKey) -> Vec<u8> {
    let numbers = sequence(&[&number(&key.n_bytes()), &number(&key.e_bytes())]);
    sequence(&[&algorithm(&[RSA, &[1]], NULL), &tlv(3, &[&[0], &numbers])])
}

pub fn ec_spki(curve: &[u8], point: &[u8]) -> Vec<u8> {
    sequence(&[&algorithm(&[EC_KEY], &tlv(6, &[curve])), &tlv(3, &[&[0], point])])
}

impl Key {
    /// The first of two keys with which each algorithm is tried, or the second.
    pub fn pkcs1(bits: u16, which: usize) -> Self {
        let key = rsa_key(which);
        let last = match bits {
            256 => 11,
            384 => 12,
            _ => 13,
        };
        Self {
            what: format!("RSA PKCS #1 v1.5 with SHA-{bits}"),
            spki: rsa_spki(&key),
            algorithm: algorithm(&[RSA, &[last]], NULL),
            sign: Box::new(move |message| {
                let key = key.clone();
                match bits {
                    256 => rsa::pkcs1v15::SigningKey::<Sha256>::new(key).sign(message).to_vec(),
                    384 => rsa::pkcs1v15::SigningKey::<Sha384>::new(key).sign(message).to_vec(),
                    _ => rsa::pkcs1v15::SigningKey::<Sha512>::new(key).sign(message).to_vec(),
                }
            }),
        }
    }

    pub fn pss(bits: u16, salt: u8, which: usize) -> Self {
        let key = rsa_key(which);
        let length = usize::from(salt);
        Self {
            what: format!("RSA PSS with SHA-{bits} and {salt} bytes of salt"),
            spki: rsa_spki(&key),
            algorithm: pss(bits, salt),
            sign: Box::new(move |message| {
                let (key, rng) = (key.clone(), &mut rand::rng());
                match bits {
                    256 => {
                        let key = rsa::pss::SigningKey::<Sha256>::new_with_salt_len(key, length);
                        key.sign_with_rng(rng, message).to_vec()
                    }
                    384 => {
                        let key = rsa::pss::SigningKey::<Sha384>::new_with_salt_len(key, length);
                        key.sign_with_rng(rng, message).to_vec()
                    }
                    _ => {
                        let key = rsa::pss::SigningKey::<Sha512>::new_with_salt_len(key, length);
                        key.sign_with_rng(rng, message).to_vec()
                    }
                }
            }),
        }
    }

    fn ecdsa(bits: u16) -> [u8; 1] {
        match bits {
            256 => [2],
            384 => [3],
            _ => [4],
        }
    }

    pub fn p256(bits: u16, which: usize) -> Self {
        let key = p256::ecdsa::SigningKey::from_slice(&[7 + which as u8; 32]).unwrap();
        Self {
            what: format!("P-256 with SHA-{bits}"),
            spki: ec_spki(P256, key.verifying_key().to_sec1_point(false).as_bytes()),
            algorithm: algorithm(&[ECDSA_WITH, &Self::ecdsa(bits)], &[]),
            sign: Box::new(move |message| {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest(bits, message)).unwrap();
                signature.to_der().as_bytes().to_vec()
            }),
        }
    }

    pub fn p384(bits: u16, which: usize) -> Self {
        let key = p384::ecdsa::SigningKey::from_slice(&[7 + which as u8; 48]).unwrap();
        Self {
            what: format!("P-384 with SHA-{bits}"),
            spki: ec_spki(P384, key.verifying_key().to_sec1_point(false).as_bytes()),
            algorithm: algorithm(&[ECDSA_WITH, &Self::ecdsa(bits)], &[]),
            sign: Box::new(move |message| {
                let signature: p384::ecdsa::Signature = key.sign_prehash(&digest(bits, message)).unwrap();
                signature.to_der().as_bytes().to_vec()
            }),
        }
    }

    pub fn ed25519(which: usize) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7 + which as u8; 32]);
        Self {
            what: "Ed25519".to_owned(),
            spki: sequence(&[&algorithm(&[ED25519], &[]), &tlv(3, &[&[0], key.verifying_key().as_bytes()])]),
            algorithm: algorithm(&[ED25519], &[]),
            sign: Box::new(move |message| key.sign(message).to_vec()),
        }
    }

    pub fn p521(which: usize) -> Self {
        let mut scalar = [7 + which as u8; 66];
        scalar[0] = 0;
        let key = p521::ecdsa::SigningKey::from_slice(&scalar).unwrap();
        Self {
            what: "P-521 with SHA-512".to_owned(),
            spki: ec_spki(P521, key.verifying_key().to_sec1_point(false).as_bytes()),
            algorithm: algorithm(&[ECDSA_WITH, &Self::ecdsa(512)], &[]),
            sign: Box::new(move |message| {
                let signature: p521::ecdsa::Signature = key.sign_prehash(&digest(512, message)).unwrap();
                signature.to_der().as_bytes().to_vec()
            }),
        }
    }
}

/// A certificate's parts. By default: of `CN=acme`, by `CN=Lab CA`.
#[derive(Clone)]
pub struct Parts<'a> {
    pub key: &'a Key,
    /// The algorithm inside and outside of what is signed.
    pub algorithms: [Vec<u8>; 2],
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    pub spki: Vec<u8>,
    /// In seconds from now.
    pub validity: [i64; 2],
    pub extensions: Vec<Vec<u8>>,
}

impl<'a> Parts<'a> {
    /// A leaf that this key signs.
    pub fn leaf(key: &'a Key) -> Self {
        Self {
            key,
            algorithms: [key.algorithm.clone(), key.algorithm.clone()],
            issuer: name("Lab CA"),
            subject: name("acme"),
            spki: Key::p256(256, 5).spki,
            validity: [-10, 10],
            extensions: vec![extension(BASIC_CONSTRAINTS, true, &sequence(&[]))],
        }
    }

    /// The certificate of an authority that has this key, signed with it.
    pub fn authority(key: &'a Key) -> Self {
        Self {
            subject: name("Lab CA"),
            spki: key.spki.clone(),
            extensions: vec![extension(BASIC_CONSTRAINTS, true, &sequence(&[&[1, 1, 0xff]]))],
            ..Self::leaf(key)
        }
    }

    pub fn der(&self) -> Vec<u8> {
        let signed = sequence(&[
            &tlv(0xa0, &[&number(&[2])]),
            &number(&[9]),
            &self.algorithms[0],
            &self.issuer,
            &sequence(&self.validity.map(time).each_ref().map(Vec::as_slice)),
            &self.subject,
            &self.spki,
            &tlv(0xa3, &[&sequence(&[&self.extensions.concat()])]),
        ]);
        sequence(&[&signed, &self.algorithms[1], &tlv(3, &[&[0], &(self.key.sign)(&signed)])])
    }

    pub fn leaf_of(&self) -> Leaf {
        leaf_of(self.der())
    }

    pub fn pem(&self) -> String {
        self.leaf_of().pem
    }
}

pub fn leaf_of(der: Vec<u8>) -> Leaf {
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&der));
    Leaf { pem, der }
}

/// A proxy that has a verdict on P-521, or none.
pub struct P521Host {
    pub fake: FakeProxy,
    pub verdict: Option<bool>,
    /// Key, message and signature of each question.
    pub asked: RefCell<Vec<[Vec<u8>; 3]>>,
}

impl Proxy for P521Host {
    answered_by_fake!(property leave_note now monotonic shared swap_shared);

    fn verify_signature(&self, check: SignatureCheck<'_>) -> Option<bool> {
        assert_eq!(check.hash, mtls_authz::Hash::Sha512);
        let seen = [check.public_key, check.message, check.signature].map(<[u8]>::to_vec);
        self.asked.borrow_mut().push(seen);
        self.verdict
    }
}
