//! Public keys: JWK (RFC 7517, RFC 8037) in, something that can verify out.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::point::AffineCoordinates;
use rsa::BoxedUint;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, Family};
use super::der;
use crate::certificate;
use crate::certificate::reader::{Values, strip_zeros};
use crate::json;

/// A set with more keys than this is not read.
pub const MAX_KEYS: usize = 100;
/// Nor is a longer one.
pub const MAX_SET_BYTES: usize = 256 * 1024;
/// Bits of an RSA modulus that are neither too weak nor too costly.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=4096;

/// A key that verifies signatures.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name.
    pub id: Option<String>,
    /// The only algorithm it is meant for, where it says so.
    pub algorithm: Option<Algorithm>,
    /// The key itself.
    pub material: Material,
}

/// A key of each family. Points and moduli are known to be good.
#[derive(Debug, Clone)]
pub enum Material {
    /// RSA, and its SubjectPublicKeyInfo.
    Rsa(rsa::PublicKey, Vec<u8>),
    /// P-256, and its SubjectPublicKeyInfo.
    P256(p256::ecdsa::VerifyingKey, Vec<u8>),
    /// P-384, and its SubjectPublicKeyInfo.
    P384(p384::ecdsa::VerifyingKey, Vec<u8>),
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl Material {
    /// Which algorithms it serves.
    pub const fn family(&self) -> Family {
        match self {
            Self::Rsa(..) => Family::Rsa,
            Self::P256(..) => Family::P256,
            Self::P384(..) => Family::P384,
            Self::Ed25519(_) => Family::Ed25519,
        }
    }

    /// Is it the same key?
    pub fn is_same(&self, other: &Self) -> bool {
        self.family() == other.family() && self.bytes() == other.bytes()
    }

    /// Everything of it, in the form that its kind has.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Rsa(_, spki) | Self::P256(_, spki) | Self::P384(_, spki) => spki,
            Self::Ed25519(key) => key.as_bytes(),
        }
    }

    /// Reads the SubjectPublicKeyInfo of a certificate (RFC 5280 section 4.1.2.7; RFC 3279, RFC 5480, RFC 8410).
    pub fn from_spki(der: &[u8]) -> Result<Self, Unusable> {
        let info = Values::read_list(der, |info| Ok((info.algorithm()?, info.octets()?)));
        let ((algorithm, parameters), key) = info.map_err(|_| Unusable::Encoding)?;
        let curve = parameters.and_then(|parameters| Values::read(parameters, Values::oid).ok());
        match (algorithm, curve) {
            (certificate::RSA, _) => {
                let numbers = Values::read_list(key, |key| Ok((key.natural()?, key.natural()?)));
                let (modulus, exponent) = numbers.map_err(|_| Unusable::Encoding)?;
                rsa(modulus, exponent)
            }
            (certificate::EC, Some(certificate::P256)) => uncompressed(key).and_then(|(x, y)| p256(x, y)),
            (certificate::EC, Some(certificate::P384)) => uncompressed(key).and_then(|(x, y)| p384(x, y)),
            (certificate::ED25519, None) if parameters.is_none() => ed25519(key),
            _ => Err(Unusable::Kind),
        }
    }
}

/// Why a key of a set is of no use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Not an object, or a member of the wrong type.
    Type,
    /// `kty` and `crv` name nothing that is known here; symmetric keys among them.
    Kind,
    /// `alg` is none of the algorithms of this kind of key.
    Algorithm,
    /// `use` or `key_ops` say that it is not for signatures.
    Purpose,
    /// A number is absent, not base64url, or of the wrong length.
    Encoding,
    /// An RSA modulus below 2048 or above 4096 bits, or an impossible exponent.
    Size,
    /// Not a point of the curve.
    Point,
    /// Another key of the set has its `kid` and kind.
    Duplicate,
}

impl Unusable {
    /// For the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Type => "a member has the wrong type",
            Self::Kind => "kty and crv must be RSA, EC with P-256 or P-384, or OKP with Ed25519",
            Self::Algorithm => "alg is not one of this kind of key",
            Self::Purpose => "use or key_ops do not allow signatures to be verified",
            Self::Encoding => "n, e, x or y is absent, not base64url or of the wrong length",
            Self::Size => "an RSA modulus must have 2048 to 4096 bits, the exponent must be odd and at least 3",
            Self::Point => "x and y are not a point of the curve",
            Self::Duplicate => "another key of the set has the same kid and kind",
        }
    }
}

impl Key {
    /// Reads a JWK. Private members and certificates (`x5c`) in it mean nothing here.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, Unusable> {
        let text = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Unusable::Type),
        };
        let bytes = |name: &str| {
            let encoded = text(name)?.ok_or(Unusable::Encoding)?;
            URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Unusable::Encoding)
        };
        if text("use")?.is_some_and(|purpose| purpose != "sig") || !may_verify(jwk.get("key_ops"))? {
            return Err(Unusable::Purpose);
        }
        let material = match (text("kty")?, text("crv")?) {
            (Some("RSA"), None) => rsa(&bytes("n")?, &bytes("e")?)?,
            (Some("EC"), Some("P-256")) => p256(&bytes("x")?, &bytes("y")?)?,
            (Some("EC"), Some("P-384")) => p384(&bytes("x")?, &bytes("y")?)?,
            (Some("OKP"), Some("Ed25519")) => ed25519(&bytes("x")?)?,
            _ => return Err(Unusable::Kind),
        };
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => {
                let known = Algorithm::from_name(name).filter(|known| known.family() == material.family());
                Some(known.ok_or(Unusable::Algorithm)?)
            }
        };
        Ok(Self { id: text("kid")?.map(str::to_owned), algorithm, material })
    }

    /// Is it the same key, by the same name and for the same algorithms?
    fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.algorithm == other.algorithm && self.material.is_same(&other.material)
    }

    /// May it verify this algorithm?
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.material.family() == algorithm.family() && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

fn may_verify(operations: Option<&Value>) -> Result<bool, Unusable> {
    match operations {
        None => Ok(true),
        Some(Value::Array(operations)) => Ok(operations.iter().any(|operation| operation == "verify")),
        Some(_) => Err(Unusable::Type),
    }
}

/// A coordinate, which has as many bytes as the field. Reading both spares the module the square roots of a compressed
/// point.
fn coordinate<'a, T>(bytes: &'a [u8]) -> Result<&'a T, Unusable>
where
    &'a T: TryFrom<&'a [u8]>,
{
    bytes.try_into().map_err(|_| Unusable::Encoding)
}

/// The coordinates of an uncompressed point (RFC 5480 section 2.2).
fn uncompressed(point: &[u8]) -> Result<(&[u8], &[u8]), Unusable> {
    let coordinates = point.strip_prefix(&[4]).ok_or(Unusable::Encoding)?;
    coordinates.split_at_checked(coordinates.len() / 2).ok_or(Unusable::Encoding)
}

fn p256(x: &[u8], y: &[u8]) -> Result<Material, Unusable> {
    let point = p256::AffinePoint::from_coordinates(coordinate(x)?, coordinate(y)?).into_option();
    let key = point.and_then(|point| p256::ecdsa::VerifyingKey::from_affine(point).ok());
    Ok(Material::P256(key.ok_or(Unusable::Point)?, [P256_SPKI, x, y].concat()))
}

fn p384(x: &[u8], y: &[u8]) -> Result<Material, Unusable> {
    let point = p384::AffinePoint::from_coordinates(coordinate(x)?, coordinate(y)?).into_option();
    let key = point.and_then(|point| p384::ecdsa::VerifyingKey::from_affine(point).ok());
    Ok(Material::P384(key.ok_or(Unusable::Point)?, [P384_SPKI, x, y].concat()))
}

fn ed25519(point: &[u8]) -> Result<Material, Unusable> {
    let point = point.try_into().map_err(|_| Unusable::Encoding)?;
    Ok(Material::Ed25519(ed25519_dalek::VerifyingKey::from_bytes(&point).map_err(|_| Unusable::Point)?))
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Material, Unusable> {
    let modulus = strip_zeros(modulus);
    let exponent = strip_zeros(exponent);
    if modulus.len() > 512 || exponent.len() > 4 {
        return Err(Unusable::Size);
    }
    let n = BoxedUint::from_be_slice_vartime(modulus);
    if !RSA_BITS.contains(&n.bit_width_vartime()) {
        return Err(Unusable::Size);
    }
    let key = rsa::PublicKey::new(n, BoxedUint::from_be_slice_vartime(exponent)).map_err(|_| Unusable::Size)?;
    Ok(Material::Rsa(key, rsa_spki(modulus, exponent)))
}

/// Everything of a P-256 SubjectPublicKeyInfo (RFC 5480) before the coordinates of its uncompressed point.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// The same for P-384.
const P384_SPKI: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00, 0x04,
];

/// The SubjectPublicKeyInfo of an RSA key (RFC 3279 section 2.3.1).
fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    const ALGORITHM: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let key = der::sequence(&[&der::integer(modulus), &der::integer(exponent)]);
    der::sequence(&[ALGORITHM, &der::bit_string(&key)])
}

/// Keys that may verify tokens.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Vec<Rc<Key>>);

/// Why a whole set is not adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetError {
    /// Longer than [`MAX_SET_BYTES`].
    TooLong,
    /// Not a JSON object with an array `keys`, or with repeated members.
    Json,
    /// More than [`MAX_KEYS`].
    TooMany,
    /// Not one usable key.
    Empty,
}

impl SetError {
    /// For the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "it is longer than 256 KiB",
            Self::Json => "it is not a JSON object with a list \"keys\", or a member stands twice",
            Self::TooMany => "it has more than 100 keys",
            Self::Empty => "it has no usable key",
        }
    }
}

/// A key that was left out: its place, its `kid`, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Index in `keys`.
    pub index: usize,
    /// Its name, where it has one.
    pub id: Option<String>,
    /// Why.
    pub why: Unusable,
}

impl KeySet {
    /// Reads a JWK set. Keys that are of no use here are left out and told.
    pub fn from_json(json: &[u8]) -> Result<(Self, Vec<LeftOut>), SetError> {
        if json.len() > MAX_SET_BYTES {
            return Err(SetError::TooLong);
        }
        Self::from_jwks(&json::object(json).ok_or(SetError::Json)?)
    }

    /// The same, of an object.
    pub fn from_jwks(jwks: &Map<String, Value>) -> Result<(Self, Vec<LeftOut>), SetError> {
        let Some(Value::Array(listed)) = jwks.get("keys") else {
            return Err(SetError::Json);
        };
        if listed.len() > MAX_KEYS {
            return Err(SetError::TooMany);
        }
        let mut keys: Vec<Rc<Key>> = Vec::new();
        let mut left_out = Vec::new();
        for (index, jwk) in listed.iter().enumerate() {
            let key = jwk.as_object().ok_or(Unusable::Type).and_then(Key::from_jwk);
            let same = |key: &Key, other: &Key| key.id == other.id && key.material.family() == other.material.family();
            match key {
                Ok(key) if key.id.is_some() && keys.iter().any(|other| same(&key, other)) => {
                    left_out.push(LeftOut { index, id: key.id, why: Unusable::Duplicate });
                }
                Ok(key) => keys.push(Rc::new(key)),
                Err(why) => {
                    let id = jwk.get("kid").and_then(Value::as_str).map(|id| id.chars().take(64).collect());
                    left_out.push(LeftOut { index, id, why });
                }
            }
        }
        if keys.is_empty() { Err(SetError::Empty) } else { Ok((Self(keys), left_out)) }
    }

    /// The keys with this name, or all keys for a token that names none.
    pub fn named<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.shared(id).map(Rc::as_ref)
    }

    /// The same, to be kept.
    pub(super) fn shared<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Rc<Key>> {
        self.0.iter().filter(move |key| id.is_none() || key.id.as_deref() == id)
    }

    /// Takes the keys that an older set has as well from there, so that [`KeySet::holds`] knows them again.
    pub fn keep(&mut self, older: &Self) {
        for key in &mut self.0 {
            if let Some(same) = older.0.iter().find(|other| other.is_same(key)) {
                *key = Rc::clone(same);
            }
        }
    }

    /// Is it one of these keys, and not only one that equals one of them?
    pub fn holds(&self, key: &Rc<Key>) -> bool {
        self.0.iter().any(|held| Rc::ptr_eq(held, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 section 3.
    #[test]
    fn an_edwards_key_has_no_parameters() {
        // The key of RFC 8037 appendix A.2.
        let key = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let key = der::bit_string(&key);
        for (oid, parameters, expected) in [
            (0x70, &[][..], Ok(Family::Ed25519)),
            (0x70, &[5, 0], Err(Unusable::Kind)),
            (0x6e, &[], Err(Unusable::Kind)),
        ] {
            let algorithm = der::sequence(&[&[6, 3, 0x2b, 0x65, oid], parameters]);
            let info = der::sequence(&[&algorithm, &key]);
            assert_eq!(Material::from_spki(&info).map(|key| key.family()), expected, "{info:x?}");
        }
    }

    #[test]
    fn why_a_key_or_a_set_is_of_no_use_is_told_apart() {
        let keys = [
            Unusable::Type,
            Unusable::Kind,
            Unusable::Algorithm,
            Unusable::Purpose,
            Unusable::Encoding,
            Unusable::Size,
            Unusable::Point,
            Unusable::Duplicate,
        ];
        let sets = [SetError::TooLong, SetError::Json, SetError::TooMany, SetError::Empty];
        let texts = keys.map(Unusable::as_str).into_iter().chain(sets.map(SetError::as_str));
        let texts: std::collections::HashSet<&str> = texts.collect();
        assert!(texts.len() == keys.len() + sets.len() && texts.iter().all(|text| text.len() > 10));
    }
}
