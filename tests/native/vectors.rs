//! Project Wycheproof's signatures: what implementations of these algorithms have been found to get wrong.

use mtls_authz::{Algorithm, Hash, Key, Material, Unusable, verify_pss_signature, verify_signature};
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use serde_json::{Value, json};
use wycheproof::TestResult;
use wycheproof::ecdsa::TestName::*;
use wycheproof::eddsa::TestName::Ed25519;
use wycheproof::rsa_pkcs1_verify::TestName::*;
use wycheproof::rsa_pss_verify::TestName::*;
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use crate::issuer::base64url;
use crate::proxy::FakeProxy;

/// One vector, with its key as a JWK and as a SubjectPublicKeyInfo.
struct Vector {
    name: String,
    jwk: Value,
    spki: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    result: TestResult,
}

macro_rules! vectors {
    ($set:ident, $test:expr, $jwk:expr) => {{
        let groups = $set::TestSet::load($test).unwrap().test_groups.into_iter();
        let vectors = groups.flat_map(|group| {
            let (jwk, spki): (Value, Vec<u8>) = ($jwk(&group), group.der.to_vec());
            group.tests.into_iter().map(move |test| Vector {
                name: format!("{:?} {}: {}", $test, test.tc_id, test.comment),
                jwk: jwk.clone(),
                spki: spki.clone(),
                message: test.msg.to_vec(),
                signature: test.sig.to_vec(),
                result: test.result,
            })
        });
        vectors.collect::<Vec<_>>()
    }};
}

fn ec(test: ecdsa::TestName) -> Vec<Vector> {
    vectors!(ecdsa, test, |group: &ecdsa::TestGroup| {
        let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
        json!({"kty": "EC", "crv": format!("P-{}", group.key.key_size), "x": base64url(x), "y": base64url(y)})
    })
}

fn pkcs1(test: rsa_pkcs1_verify::TestName) -> Vec<Vector> {
    vectors!(rsa_pkcs1_verify, test, |group: &rsa_pkcs1_verify::TestGroup| rsa(&group.key.n, &group.key.e))
}

fn pss(test: rsa_pss_verify::TestName) -> Vec<Vector> {
    vectors!(rsa_pss_verify, test, |group: &rsa_pss_verify::TestGroup| rsa(&group.key.n, &group.key.e))
}

fn ed25519() -> Vec<Vector> {
    vectors!(eddsa, Ed25519, |group: &eddsa::TestGroup| {
        json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&*group.key.pk)})
    })
}

/// With the zero in front that DER needs and a JWK must not have, which is overlooked.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Value {
    json!({"kty": "RSA", "n": base64url(modulus), "e": base64url(exponent)})
}

impl Vector {
    fn key(&self) -> Result<Key, Unusable> {
        Key::from_jwk(self.jwk.as_object().unwrap())
    }

    /// The verdict.
    fn is_valid(&self, algorithm: Algorithm) -> bool {
        let key = self.key().unwrap_or_else(|why| panic!("{}: {why:?}", self.name)).material;
        verify_signature(&FakeProxy::new(), algorithm, &key, &self.message, &self.signature).unwrap()
    }
}

/// What Wycheproof would also accept and this filter does not. There is nothing else on which they differ.
const STRICTER: &[(&str, &str)] = &[(
    "Missing NULL in the ASN encoding",
    "the hash's AlgorithmIdentifier has no parameters: RFC 8017 section 9.2 has them encoded as NULL",
)];

#[test]
fn every_vector_has_the_verdict_of_wycheproof() {
    for (algorithm, vectors, at_least) in [
        (Algorithm::Es256, ec(EcdsaSecp256r1Sha256P1363), 250),
        (Algorithm::Es384, ec(EcdsaSecp384r1Sha384P1363), 250),
        (Algorithm::Es512, ec(EcdsaSecp521r1Sha512P1363), 250),
        (Algorithm::Rs256, pkcs1(Rsa2048Sha256), 250),
        (Algorithm::Rs256, pkcs1(Rsa3072Sha256), 250),
        (Algorithm::Rs256, pkcs1(Rsa4096Sha256), 250),
        (Algorithm::Rs384, pkcs1(Rsa2048Sha384), 250),
        (Algorithm::Rs384, pkcs1(Rsa3072Sha384), 250),
        (Algorithm::Rs384, pkcs1(Rsa4096Sha384), 250),
        (Algorithm::Rs512, pkcs1(Rsa2048Sha512), 250),
        (Algorithm::Rs512, pkcs1(Rsa3072Sha512), 250),
        (Algorithm::Rs512, pkcs1(Rsa4096Sha512), 250),
        (Algorithm::Ps256, pss(RsaPss2048Sha256Mgf1SaltLen32), 100),
        (Algorithm::Ps256, pss(RsaPss3072Sha256Mgf1SaltLen32), 100),
        (Algorithm::Ps256, pss(RsaPss4096Sha256Mgf1SaltLen32), 100),
        (Algorithm::Ps384, pss(RsaPss2048Sha384Mgf1SaltLen48), 100),
        (Algorithm::Ps384, pss(RsaPss4096Sha384Mgf1SaltLen48), 100),
        (Algorithm::Ps512, pss(RsaPss4096Sha512Mgf1SaltLen64), 100),
        (Algorithm::EdDsa, ed25519(), 150),
    ] {
        assert!(vectors.len() >= at_least, "{algorithm:?}: {}", vectors.len());
        for vector in vectors {
            let stricter = STRICTER.iter().any(|(comment, _)| vector.name.ends_with(comment));
            let expected = match vector.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable if stricter => false,
                TestResult::Acceptable => panic!("{} is neither, and no exception", vector.name),
            };
            assert_eq!(vector.is_valid(algorithm), expected, "{algorithm:?}, {}", vector.name);
        }
    }
}

#[test]
fn pss_with_every_hash_and_salt_has_the_verdict_of_wycheproof() {
    for (hash, salt, vectors) in [
        (Hash::Sha256, 0, pss(RsaPss2048Sha256Mgf1SaltLen0)),
        (Hash::Sha256, 32, pss(RsaPss2048Sha256Mgf1SaltLen32)),
        (Hash::Sha384, 48, pss(RsaPss2048Sha384Mgf1SaltLen48)),
        (Hash::Sha384, 48, pss(RsaPss4096Sha384Mgf1SaltLen48)),
        (Hash::Sha512, 32, pss(RsaPss4096Sha512Mgf1SaltLen32)),
        (Hash::Sha512, 64, pss(RsaPss4096Sha512Mgf1SaltLen64)),
    ] {
        assert!(vectors.len() >= 100, "{hash:?}: {}", vectors.len());
        for vector in vectors {
            let Material::Rsa(key, _) = vector.key().unwrap().material else { panic!("{}", vector.name) };
            let is_valid = |hash, salt| verify_pss_signature(hash, salt, &key, &vector.message, &vector.signature);
            let is_good = vector.result == TestResult::Valid;
            assert_eq!(is_valid(hash, salt), is_good, "{hash:?}, {salt}, {}", vector.name);
            assert!(!is_good || !is_valid(hash, salt + 1) && !is_valid(hash, usize::MAX), "{}", vector.name);
        }
    }
}

/// The encoded message has a bit less than the modulus, so its length and the bits that it leaves unused depend on it.
#[test]
fn pss_is_verified_under_a_modulus_of_any_number_of_bits() {
    for bits in [2049, 2050, 2055] {
        let key = rsa::PrivateKey::new(&mut rand::rng(), bits).unwrap();
        let signing = rsa::pss::SigningKey::<sha2::Sha384>::new(key.clone());
        let mut signature = signing.sign_with_rng(&mut rand::rng(), b"message").to_vec();
        let is_valid =
            |signature: &[u8]| verify_pss_signature(Hash::Sha384, 48, key.as_public_key(), b"message", signature);
        assert!(is_valid(&signature), "{bits}");
        assert!(!is_valid(&signature[1..]) && !is_valid(&[&[0], &signature[..]].concat()), "{bits}");
        signature[100] ^= 1;
        assert!(!is_valid(&signature), "{bits}");
    }
}

#[test]
fn a_good_signature_of_another_hash_salt_or_encoding_is_refused() {
    for (algorithm, vectors) in [
        (Algorithm::Es256, ec(EcdsaSecp256r1Sha512P1363)),
        (Algorithm::Es384, ec(EcdsaSecp384r1Sha512P1363)),
        (Algorithm::Rs256, pkcs1(Rsa2048Sha512_256)),
        (Algorithm::Rs256, pkcs1(Rsa2048Sha3_256)),
        (Algorithm::Rs384, pkcs1(Rsa2048Sha3_384)),
        (Algorithm::Rs512, pkcs1(Rsa2048Sha3_512)),
        (Algorithm::Ps256, pkcs1(Rsa2048Sha256)),
        (Algorithm::Rs256, pss(RsaPss2048Sha256Mgf1SaltLen32)),
        // RFC 7518 section 3.5: the salt is as long as the hash, and the mask has the same hash.
        (Algorithm::Ps256, pss(RsaPss2048Sha256Mgf1SaltLen0)),
        (Algorithm::Ps256, pss(RsaPss2048Sha256Mgf1Sha1_20)),
        (Algorithm::Ps256, pss(RsaPss2048Sha384Mgf1SaltLen48)),
        (Algorithm::Ps256, pss(RsaPss2048Sha512_256Mgf1SaltLen32)),
        (Algorithm::Ps384, pss(RsaPss2048Sha256Mgf1SaltLen32)),
        (Algorithm::Ps512, pss(RsaPss2048Sha384Mgf1SaltLen48)),
        (Algorithm::Ps512, pss(RsaPss4096Sha512Mgf1SaltLen32)),
        (Algorithm::Ps512, pkcs1(Rsa4096Sha512)),
        // RFC 7518 section 3.4: r and s, not DER.
        (Algorithm::Es256, ec(EcdsaSecp256r1Sha256)),
        (Algorithm::Es384, ec(EcdsaSecp384r1Sha384)),
        (Algorithm::Es512, ec(EcdsaSecp521r1Sha512)),
    ] {
        let good: Vec<Vector> = vectors.into_iter().filter(|vector| vector.result == TestResult::Valid).collect();
        assert!(!good.is_empty(), "{algorithm:?}");
        for vector in good {
            assert!(!vector.is_valid(algorithm), "{algorithm:?}, {}", vector.name);
        }
    }
}

#[test]
fn the_host_is_given_the_key_as_wycheproof_encodes_it() {
    for vectors in [
        ec(EcdsaSecp256r1Sha256P1363),
        ec(EcdsaSecp384r1Sha384P1363),
        ec(EcdsaSecp521r1Sha512P1363),
        pkcs1(Rsa2048Sha256),
        pkcs1(Rsa3072Sha256),
        pkcs1(Rsa4096Sha256),
    ] {
        for vector in vectors {
            match vector.key().unwrap().material {
                Material::Rsa(_, spki) | Material::Ec(_, spki) => {
                    assert_eq!(spki, vector.spki, "{}", vector.name);
                }
                Material::Ed25519(_) => panic!("{}", vector.name),
            }
        }
    }
}

#[test]
fn keys_of_8192_bits_and_of_other_curves_are_not_read() {
    for (vectors, why) in [(pkcs1(Rsa8192Sha256), Unusable::Size), (ec(EcdsaSecp256k1Sha256P1363), Unusable::Point)] {
        for vector in vectors {
            assert_eq!(vector.key().map(|_| ()), Err(why), "{}", vector.name);
        }
    }
}
