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
    /// The value under the key is not an object.
    NotAnObject,
}

/// The claims that stand under `namespace` and `key`; `None` where nothing does.
pub fn payload(serialized: &[u8], namespace: &str, key: &str) -> Result<Option<Map<String, Value>>, Unreadable> {
    if serialized.len() > MAX_METADATA_BYTES {
        return Err(Unreadable::Encoding);
    }
    let mut metadata = Metadata::decode(serialized).map_err(|_| Unreadable::Encoding)?;
    let value = metadata.filter_metadata.get_mut(namespace).and_then(|namespace| namespace.fields.remove(key));
    match value {
        None => Ok(None),
        Some(value) => match value.into_json() {
            Value::Object(claims) => Ok(Some(claims)),
            _ => Err(Unreadable::NotAnObject),
        },
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

    #[test]
    fn types_survive() {
        let claims = json!({"s": "x", "n": 1.5, "b": true, "z": null, "l": ["a", {"m": []}], "o": {"x5t#S256": "y"}});
        let serialized = serialize("ns", "payload", &claims);
        assert_eq!(payload(&serialized, "ns", "payload").map(|found| found.map(Value::Object)), Ok(Some(claims)));
        assert_eq!(payload(&serialized, "ns", "other"), Ok(None));
        assert_eq!(payload(&serialized, "other", "payload"), Ok(None));
        assert_eq!(payload(b"", "ns", "payload"), Ok(None));
    }

    #[test]
    fn what_is_no_object_is_no_payload() {
        assert_eq!(payload(&serialize("ns", "k", &json!("x")), "ns", "k"), Err(Unreadable::NotAnObject));
        assert_eq!(payload(b"\x0a\xff", "ns", "k"), Err(Unreadable::Encoding));
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({"a": deep});
        }
        assert_eq!(payload(&serialize("ns", "k", &deep), "ns", "k"), Err(Unreadable::Encoding));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = payload(&bytes, "", "");
        }
    }
}
