//! The payload that Envoy's `jwt_authn` filter verified and left in the request's dynamic metadata.
//!
//! It is read as the serialized `envoy.config.core.v3.Metadata`, because that keeps the types of claims apart, which
//! the flattened form of single properties does not. Numbers are doubles there: nothing above 2^53 is exact.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Map, Value};

use crate::protobuf::Struct;

/// Metadata larger than this is not read: a 16 KiB token cannot make so much.
const MAX_METADATA_BYTES: usize = 256 * 1024;

/// `envoy.config.core.v3.Metadata`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, Struct>,
}

/// Why there is something, but no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Not a serialized `Metadata`, too large or nested too deeply (prost's limit of 100).
    Encoding,
    /// The value under a key is not an object.
    NotAnObject,
    /// There are values under several keys.
    Several,
}

/// The index of a key, and the claims under it.
pub type Payload = (usize, Map<String, Value>);

/// The claims under `namespace` and one of `keys`, with the index of that key; `None` where there are none.
pub fn payload(serialized: &[u8], namespace: &str, keys: &[String]) -> Result<Option<Payload>, Unreadable> {
    if serialized.len() > MAX_METADATA_BYTES {
        return Err(Unreadable::Encoding);
    }
    let mut metadata = Metadata::decode(serialized).map_err(|_| Unreadable::Encoding)?;
    let Some(found) = metadata.filter_metadata.get_mut(namespace) else {
        return Ok(None);
    };
    let mut values = keys.iter().enumerate().filter_map(|(index, key)| Some((index, found.fields.remove(key)?)));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some((index, value)), None) => match value.into_json() {
            Value::Object(claims) => Ok(Some((index, claims))),
            _ => Err(Unreadable::NotAnObject),
        },
        (Some(_), Some(_)) => Err(Unreadable::Several),
    }
}

/// Writes metadata as Envoy does, for tests.
#[cfg(test)]
fn serialize(namespace: &str, key: &str, payload: &Value) -> Vec<u8> {
    use crate::protobuf::value;

    let fields = BTreeMap::from([(key.to_owned(), value(payload))]);
    Metadata { filter_metadata: BTreeMap::from([(namespace.to_owned(), Struct { fields })]) }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn types_survive() {
        let claims = json!({"s": "x", "n": 1.5, "b": true, "z": null, "l": ["a", {"m": []}], "o": {"x5t#S256": "y"}});
        let serialized = serialize("ns", "payload", &claims);
        let claims = claims.as_object().unwrap();
        assert_eq!(payload(&serialized, "ns", &keys(&["payload"])), Ok(Some((0, claims.clone()))));
        assert_eq!(payload(&serialized, "ns", &keys(&["a", "payload", "b"])), Ok(Some((1, claims.clone()))));
        assert_eq!(payload(&serialized, "ns", &keys(&["other"])), Ok(None));
        assert_eq!(payload(&serialized, "other", &keys(&["payload"])), Ok(None));
        assert_eq!(payload(b"", "ns", &keys(&["payload"])), Ok(None));
    }

    #[test]
    fn of_several_payloads_none_is_taken() {
        // Protobuf merges the two maps.
        let both = [serialize("ns", "a", &json!({})), serialize("other", "b", &json!({}))].concat();
        assert_eq!(payload(&both, "ns", &keys(&["a", "b"])), Ok(Some((0, Map::new()))));
        let fields = ["a", "b"].map(|key| (key.to_owned(), crate::protobuf::value(&json!({}))));
        let namespace = Struct { fields: BTreeMap::from(fields) };
        let both = Metadata { filter_metadata: BTreeMap::from([("ns".to_owned(), namespace)]) }.encode_to_vec();
        assert_eq!(payload(&both, "ns", &keys(&["a", "b"])), Err(Unreadable::Several));
        assert_eq!(payload(&both, "ns", &keys(&["b"])), Ok(Some((0, Map::new()))));
    }

    #[test]
    fn what_is_no_object_is_no_payload() {
        assert_eq!(payload(&serialize("ns", "k", &json!("x")), "ns", &keys(&["k"])), Err(Unreadable::NotAnObject));
        assert_eq!(payload(b"\x0a\xff", "ns", &keys(&["k"])), Err(Unreadable::Encoding));
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({"a": deep});
        }
        assert_eq!(payload(&serialize("ns", "k", &deep), "ns", &keys(&["k"])), Err(Unreadable::Encoding));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = payload(&bytes, "", &keys(&[""]));
        }
    }
}
