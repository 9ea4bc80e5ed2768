//! Sets of keys (RFC 7517 section 5), as issuers publish them.

use std::fmt::Write;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::key::{Key, Material, Unusable};
use crate::{certificate, json};

/// A set with more keys than this is not read.
pub const MAX_KEYS: usize = 100;
/// Nor is a longer one.
pub const MAX_SET_BYTES: usize = 256 * 1024;
/// Keys that are named where none is usable.
const MAX_NAMED: usize = 10;

/// Keys that may verify tokens.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Vec<Rc<Key>>);

/// Why a whole set is not adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// Longer than [`MAX_SET_BYTES`].
    TooLong,
    /// Not a JSON object, or one with repeated members.
    Json,
    /// An object without a list `keys`.
    NoKeys,
    /// More than [`MAX_KEYS`].
    TooMany,
    /// Not one usable key: which there are, and why each is of no use.
    Empty(String),
}

impl SetError {
    /// For the operator.
    pub fn as_str(&self) -> &str {
        match self {
            Self::TooLong => "it is longer than 256 KiB",
            Self::Json => "it is not a JSON object, or a member occurs twice in one of its objects",
            Self::NoKeys => "it is not a JWK set: it has no list \"keys\"",
            Self::TooMany => "it has more than 100 keys",
            Self::Empty(problem) => problem,
        }
    }

    fn empty(left_out: &[LeftOut]) -> Self {
        let mut text = String::from("it has no usable key");
        for (separator, key) in [": "].into_iter().chain(std::iter::repeat("; ")).zip(left_out.iter().take(MAX_NAMED)) {
            let id = key.id.as_deref().unwrap_or_default();
            // Into a string nothing fails.
            let _ = write!(text, "{separator}keys[{}] (kid {id:?}): {}", key.index, key.why.as_str());
        }
        if let Some(further @ 1..) = left_out.len().checked_sub(MAX_NAMED) {
            let _ = write!(text, "; and {further} further keys");
        }
        Self::Empty(text)
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
        // Some servers begin every text with a byte order mark, which RFC 8259 section 8.1 lets a reader ignore.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let (set, left_out) = Self::from_jwks(&json::object(json).ok_or(SetError::Json)?)?;
        Ok((set.if_usable(&left_out)?, left_out))
    }

    /// The set, if it has a key at all.
    pub fn if_usable(self, left_out: &[LeftOut]) -> Result<Self, SetError> {
        if self.0.is_empty() { Err(SetError::empty(left_out)) } else { Ok(self) }
    }

    /// The same of an object; possibly without a usable key.
    pub fn from_jwks(jwks: &Map<String, Value>) -> Result<(Self, Vec<LeftOut>), SetError> {
        let listed: Vec<_> = match jwks.get("keys") {
            Some(Value::Array(listed)) => listed
                .iter()
                .map(|jwk| {
                    (
                        jwk.get("kid").and_then(Value::as_str),
                        jwk.as_object().ok_or(Unusable::Type).and_then(Key::from_jwk),
                    )
                })
                .collect(),
            None if !jwks.is_empty() && jwks.values().all(Value::is_string) => {
                jwks.iter().map(|(id, pem)| (Some(id.as_str()), of_certificate(id, pem))).collect()
            }
            _ => return Err(SetError::NoKeys),
        };
        if listed.len() > MAX_KEYS {
            return Err(SetError::TooMany);
        }
        let mut keys: Vec<Rc<Key>> = Vec::new();
        let mut left_out = Vec::new();
        for (index, (id, key)) in listed.into_iter().enumerate() {
            let why = match key {
                Ok(key) if keys.iter().any(|other| other.is_same(&key)) => Unusable::Duplicate,
                Ok(key) => {
                    keys.push(Rc::new(key));
                    continue;
                }
                Err(why) => why,
            };
            left_out.push(LeftOut { index, id: id.map(|id| id.chars().take(64).collect()), why });
        }
        Ok((Self(keys), left_out))
    }

    /// The keys with this name, or all keys for a token that names none.
    pub fn named<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.shared(id).map(Rc::as_ref)
    }

    /// The same, to be kept.
    pub(super) fn shared<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Rc<Key>> {
        self.0.iter().filter(move |key| id.is_none() || key.id.as_deref() == id)
    }

    /// The keys that may have signed a token of this algorithm with this `kid`: those with its name, then those without a name.
    /// Without one every key may.
    pub(super) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Rc<Key>> {
        let nameless = self.0.iter().filter(move |key| id.is_some() && key.id.is_none());
        self.shared(id).chain(nameless).filter(move |key| key.serves(algorithm))
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

/// The key of a certificate, in the older form of such sets: an object that has a PEM under each `kid`, as Google publishes for
/// Firebase.
fn of_certificate(id: &str, pem: &Value) -> Result<Key, Unusable> {
    let der = pem.as_str().and_then(|pem| certificate::decode_pem(pem.as_bytes())).ok_or(Unusable::Encoding)?;
    let info = certificate::key_info(&der).map_err(|_| Unusable::Encoding)?;
    Ok(Key { id: Some(id.to_owned()), algorithm: None, material: Material::from_spki(info)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_key_or_a_set_is_of_no_use_is_told_apart() {
        let keys = [
            Unusable::Type,
            Unusable::Kind,
            Unusable::Secret("d"),
            Unusable::Algorithm,
            Unusable::Purpose,
            Unusable::Encoding,
            Unusable::Size,
            Unusable::Point,
            Unusable::Duplicate,
        ];
        let sets = [SetError::TooLong, SetError::Json, SetError::NoKeys, SetError::TooMany];
        let texts = keys.map(Unusable::as_str).into_iter().chain(sets.iter().map(SetError::as_str));
        let texts: std::collections::HashSet<&str> = texts.collect();
        assert!(texts.len() == keys.len() + sets.len() && texts.iter().all(|text| text.len() > 10));
    }
}
