//! An issuer made in the test: a key for each algorithm, and tokens signed with it.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mtls_authz::{Algorithm, Curve, Family, Key, KeySet};
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer};
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

/// One private key, used with one algorithm.
pub struct Issuer {
    pub algorithm: Algorithm,
    key: PrivateKey,
}

enum PrivateKey {
    Rsa(rsa::PrivateKey),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl Issuer {
    /// The issuer of this run's tests for an algorithm. There is one RSA key for all of RSA's.
    pub fn of(algorithm: Algorithm) -> &'static Self {
        static ISSUERS: OnceLock<Vec<Issuer>> = OnceLock::new();
        let issuers = ISSUERS.get_or_init(|| {
            let rsa = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap();
            let issuer = |algorithm: &Algorithm| match algorithm.family() {
                Family::Rsa => Self { algorithm: *algorithm, key: PrivateKey::Rsa(rsa.clone()) },
                _ => Self::new(*algorithm),
            };
            Algorithm::ALL.iter().map(issuer).collect()
        });
        issuers.iter().find(|issuer| issuer.algorithm == algorithm).unwrap()
    }

    /// Another issuer, with a new key.
    pub fn new(algorithm: Algorithm) -> Self {
        let key = match algorithm.family() {
            Family::Rsa => PrivateKey::Rsa(rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap()),
            Family::Ec(Curve::P256) => PrivateKey::P256(p256::ecdsa::SigningKey::from_slice(&scalar::<32>()).unwrap()),
            Family::Ec(Curve::P384) => PrivateKey::P384(p384::ecdsa::SigningKey::from_slice(&scalar::<48>()).unwrap()),
            Family::Ec(Curve::P521) => PrivateKey::P521(p521::ecdsa::SigningKey::from_slice(&scalar::<66>()).unwrap()),
            Family::Ed25519 => PrivateKey::Ed25519(ed25519_dalek::SigningKey::from_bytes(&rand::random())),
        };
        Self { algorithm, key }
    }

    /// The public key, without `kid`, `alg` and `use`.
    pub fn jwk(&self) -> Value {
        match &self.key {
            PrivateKey::Rsa(key) => json!({"kty": "RSA", "n": base64url(key.n_bytes()), "e": base64url(key.e_bytes())}),
            PrivateKey::P256(key) => ec("P-256", key.verifying_key().to_sec1_point(false).as_bytes()),
            PrivateKey::P384(key) => ec("P-384", key.verifying_key().to_sec1_point(false).as_bytes()),
            PrivateKey::P521(key) => ec("P-521", key.verifying_key().to_sec1_point(false).as_bytes()),
            PrivateKey::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(key.verifying_key().as_bytes())})
            }
        }
    }

    /// The public key with its algorithm and a name.
    pub fn named_jwk(&self, id: &str) -> Value {
        let mut jwk = self.jwk();
        jwk["kid"] = json!(id);
        jwk["alg"] = json!(self.algorithm.name());
        jwk
    }

    /// The public key as the filter reads it.
    pub fn key(&self) -> Key {
        Key::from_jwk(self.jwk().as_object().unwrap()).unwrap()
    }

    /// The set of this one key, which has no name.
    pub fn keys(&self) -> KeySet {
        key_set(&[self.jwk()])
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            PrivateKey::Rsa(key) => {
                let key = key.clone();
                match self.algorithm {
                    Algorithm::Rs256 => rsa::pkcs1v15::SigningKey::<Sha256>::new(key).sign(message).to_vec(),
                    Algorithm::Rs384 => rsa::pkcs1v15::SigningKey::<Sha384>::new(key).sign(message).to_vec(),
                    Algorithm::Rs512 => rsa::pkcs1v15::SigningKey::<Sha512>::new(key).sign(message).to_vec(),
                    Algorithm::Ps384 => {
                        rsa::pss::SigningKey::<Sha384>::new(key).sign_with_rng(&mut rand::rng(), message).to_vec()
                    }
                    Algorithm::Ps512 => {
                        rsa::pss::SigningKey::<Sha512>::new(key).sign_with_rng(&mut rand::rng(), message).to_vec()
                    }
                    _ => rsa::pss::SigningKey::<Sha256>::new(key).sign_with_rng(&mut rand::rng(), message).to_vec(),
                }
            }
            PrivateKey::P256(key) => Signer::<p256::ecdsa::Signature>::sign(key, message).to_vec(),
            PrivateKey::P384(key) => Signer::<p384::ecdsa::Signature>::sign(key, message).to_vec(),
            PrivateKey::P521(key) => Signer::<p521::ecdsa::Signature>::sign(key, message).to_vec(),
            PrivateKey::Ed25519(key) => key.sign(message).to_vec(),
        }
    }

    /// A token with `alg` and a few claims.
    pub fn token(&self) -> String {
        self.token_of(&json!({"client_id": "acme", "exp": 1_800_000_060}))
    }

    /// A token with `alg` and this payload.
    pub fn token_of(&self, payload: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm.name()}), payload)
    }

    /// A token with exactly this header.
    pub fn token_with(&self, header: &Value, payload: &Value) -> String {
        self.jws(header.to_string().as_bytes(), payload.to_string().as_bytes())
    }

    /// These bytes, signed.
    pub fn jws(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(payload));
        format!("{signed}.{}", base64url(self.sign(signed.as_bytes())))
    }
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A set in which every key is usable.
pub fn key_set(jwks: &[Value]) -> KeySet {
    let (keys, left_out) = KeySet::from_json(json!({"keys": jwks}).to_string().as_bytes()).unwrap();
    assert_eq!(left_out, []);
    keys
}

fn ec(curve: &str, sec1: &[u8]) -> Value {
    let (x, y) = sec1[1..].split_at(sec1.len() / 2);
    json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
}

/// A private number of a curve: not zero and, with its first byte zero, below any order.
fn scalar<const N: usize>() -> [u8; N] {
    let mut number = std::array::from_fn(|_| rand::random());
    number[0] = 0;
    number
}
