//! Public keys: JWK (RFC 7517, RFC 8037) in, something that can verify out.
//!
//! A key of an issuer is read as broadly as Envoy's `jwt_authn` reads it: members that say nothing (`null`, `""`, `[]`) and
//! foreign ones are ignored (RFC 7517 section 4), and a number may have zeros and base64 the padding that it should not.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rsa::BoxedUint;
use serde_json::{Map, Value};

use super::algorithm::{Algorithm, Family};
use super::curve::Curve;
use super::der;
use crate::certificate;
use crate::certificate::reader::{Values, strip_zeros};

/// Bits of an RSA modulus that are neither too weak nor too costly.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=4096;

/// Members that no public key has (RFC 7518 sections 6.2.2, 6.3.2 and 6.4).
const SECRETS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Base64url, padded or not.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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
    /// The SubjectPublicKeyInfo of a point on a curve.
    Ec(Curve, Vec<u8>),
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl Material {
    /// Which algorithms it serves.
    pub const fn family(&self) -> Family {
        match self {
            Self::Rsa(..) => Family::Rsa,
            Self::Ec(curve, _) => Family::Ec(*curve),
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
            Self::Rsa(_, spki) | Self::Ec(_, spki) => spki,
            Self::Ed25519(key) => key.as_bytes(),
        }
    }

    /// Reads the SubjectPublicKeyInfo of a certificate (RFC 5280 section 4.1.2.7; RFC 3279, RFC 5480, RFC 8410).
    pub fn from_spki(der: &[u8]) -> Result<Self, Unusable> {
        let info = Values::read_list(der, |info| Ok((info.algorithm()?, info.octets()?)));
        let ((algorithm, parameters), key) = info.map_err(|_| Unusable::Encoding)?;
        let name = parameters.and_then(|parameters| Values::read(parameters, Values::oid).ok());
        let curve = match (algorithm, name) {
            (certificate::RSA, _) => {
                let numbers = Values::read_list(key, |key| Ok((key.natural()?, key.natural()?)));
                let (modulus, exponent) = numbers.map_err(|_| Unusable::Encoding)?;
                return rsa(modulus, exponent);
            }
            (certificate::ED25519, None) if parameters.is_none() => return ed25519(key),
            (certificate::EC, Some(certificate::P256)) => Curve::P256,
            (certificate::EC, Some(certificate::P384)) => Curve::P384,
            (certificate::EC, Some(certificate::P521)) => Curve::P521,
            _ => return Err(Unusable::Kind),
        };
        // An uncompressed point (RFC 5480 section 2.2).
        let coordinates = key.strip_prefix(&[4]).and_then(|point| point.split_at_checked(curve.width()));
        let (x, y) = coordinates.filter(|(x, y)| x.len() == y.len()).ok_or(Unusable::Encoding)?;
        ec(curve, x, y)
    }
}

/// Why a key of a set is of no use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Not an object, or a member of the wrong type.
    Type,
    /// `kty` and `crv` name nothing that is known here.
    Kind,
    /// This member makes it a private or a symmetric key.
    Secret(&'static str),
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
    /// The same key with the same name and algorithm as another of the set.
    Duplicate,
}

impl Unusable {
    /// For the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Type => "a member has the wrong type",
            Self::Kind => "kty and crv must be RSA, EC with P-256, P-384 or P-521, or OKP with Ed25519",
            Self::Secret(_) => {
                "it is a private or symmetric key, and who can read it can sign tokens: publish the public key, and replace this one"
            }
            Self::Algorithm => "alg is not one of this kind of key",
            Self::Purpose => "use or key_ops do not allow signatures to be verified",
            Self::Encoding => "n, e, x or y is absent, not base64url or of the wrong length",
            Self::Size => "an RSA modulus must have 2048 to 4096 bits, the exponent must be odd and at least 3",
            Self::Point => "x and y are not a point of the curve",
            Self::Duplicate => "another entry of the set is the same key with the same kid and alg",
        }
    }

    /// Is it a good key of something else, which a set may well hold (RFC 7517 section 5)?
    pub const fn is_foreign(self) -> bool {
        matches!(self, Self::Kind | Self::Algorithm | Self::Purpose | Self::Duplicate)
    }
}

impl Key {
    /// Reads a JWK. Certificates (`x5c`) in it mean nothing here.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, Unusable> {
        let text = |name: &str| match jwk.get(name).filter(|value| !says_nothing(value)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Unusable::Type),
        };
        let bytes = |name: &str| {
            let encoded = text(name)?.ok_or(Unusable::Encoding)?;
            BASE64URL.decode(encoded).map_err(|_| Unusable::Encoding)
        };
        if let Some(secret) = SECRETS.iter().find(|name| jwk.get(**name).is_some_and(|value| !says_nothing(value))) {
            return Err(Unusable::Secret(secret));
        }
        if !may_verify(jwk) {
            return Err(Unusable::Purpose);
        }
        let algorithm = text("alg")?.map(|name| Algorithm::from_name(name).ok_or(Unusable::Algorithm));
        let material = match (text("kty")?, text("crv")) {
            (Some("RSA"), _) => rsa(&bytes("n")?, &bytes("e")?)?,
            (Some("EC"), curve) => {
                let curve = match (curve?, algorithm) {
                    (Some(name), _) => Curve::from_name(name).ok_or(Unusable::Kind)?,
                    (None, None) => Curve::P256,
                    (None, Some(algorithm)) => match algorithm?.family() {
                        Family::Ec(curve) => curve,
                        _ => return Err(Unusable::Algorithm),
                    },
                };
                let [x, y] = [bytes("x")?, bytes("y")?].map(|number| padded(&number, curve.width()));
                ec(curve, &x?, &y?)?
            }
            (Some("OKP"), Ok(Some("Ed25519"))) => ed25519(&bytes("x")?)?,
            _ => return Err(Unusable::Kind),
        };
        let algorithm = algorithm.transpose()?;
        if algorithm.is_some_and(|algorithm| algorithm.family() != material.family()) {
            return Err(Unusable::Algorithm);
        }
        // One that is not a text names nothing, as with `jwt_authn`.
        let id = jwk.get("kid").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Self { id, algorithm, material })
    }

    /// Is it the same key, by the same name and for the same algorithms?
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.algorithm == other.algorithm && self.material.is_same(&other.material)
    }

    /// May it verify this algorithm?
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.material.family() == algorithm.family() && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

/// Is this member as good as absent?
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Do `use` and `key_ops` (RFC 7517 sections 4.2 and 4.3) allow it? SPIFFE has a `use` of its own for keys of tokens, and some
/// issuers publish the operation of their private key.
fn may_verify(jwk: &Map<String, Value>) -> bool {
    let says = |member: &str, words: [&str; 2]| {
        let is_one =
            |value: &Value| value.as_str().is_some_and(|text| words.iter().any(|word| text.eq_ignore_ascii_case(word)));
        match jwk.get(member) {
            None => true,
            Some(Value::Array(list)) if !list.is_empty() => list.iter().any(is_one),
            Some(value) => says_nothing(value) || is_one(value),
        }
    };
    says("use", ["sig", "jwt-svid"]) && says("key_ops", ["verify", "sign"])
}

/// A number with exactly so many bytes. Some issuers leave zeros out, or write one too many.
fn padded(number: &[u8], width: usize) -> Result<Vec<u8>, Unusable> {
    let number = strip_zeros(number);
    let zeros = width.checked_sub(number.len()).ok_or(Unusable::Encoding)?;
    Ok([&vec![0; zeros], number].concat())
}

fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Result<Material, Unusable> {
    if curve.has_point(x, y) { Ok(Material::Ec(curve, curve.spki(x, y))) } else { Err(Unusable::Point) }
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

/// The SubjectPublicKeyInfo of an RSA key (RFC 3279 section 2.3.1).
fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    const ALGORITHM: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let key = der::sequence(&[&der::integer(modulus), &der::integer(exponent)]);
    der::sequence(&[ALGORITHM, &der::bit_string(&key)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 section 3.
    #[test]
    fn an_edwards_key_has_no_parameters() {
        // The key of RFC 8037 appendix A.2.
        let key = BASE64URL.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
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
}
