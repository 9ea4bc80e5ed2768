//! The payload that Envoy's `jwt_authn` filter verified and left in the request's dynamic metadata.
//!
//! It is read as the serialized `envoy.config.core.v3.Metadata`, because that keeps the types of claims apart, which
//! the flattened form of single properties does not. Numbers are doubles there: nothing above 2^53 is exact.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Map, Number, Value};

/// Metadata larger than this is not read: a 16 KiB token cannot make so much.
const MAX_METADATA_BYTES: usize = 256 * 1024;

/// `envoy.config.core.v3.Metadata`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, Struct>,
}

/// `google.protobuf.Struct`
#[derive(Clone, PartialEq, Message)]
struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, ProtoValue>,
}

/// `google.protobuf.Value`
#[derive(Clone, PartialEq, Message)]
struct ProtoValue {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`
#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<ProtoValue>,
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
        Some(ProtoValue { kind: Some(Kind::Struct(claims)) }) => Ok(Some(object(claims))),
        Some(_) => Err(Unreadable::NotAnObject),
    }
}

fn object(fields: Struct) -> Map<String, Value> {
    fields.fields.into_iter().map(|(name, value)| (name, json(value))).collect()
}

fn json(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::Null(_)) => Value::Null,
        Some(Kind::Number(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Some(Kind::String(text)) => Value::String(text),
        Some(Kind::Bool(truth)) => Value::Bool(truth),
        Some(Kind::Struct(fields)) => Value::Object(object(fields)),
        Some(Kind::List(list)) => Value::Array(list.values.into_iter().map(json).collect()),
    }
}

/// Writes metadata as Envoy does, for tests.
#[cfg(test)]
pub(crate) fn serialize(namespace: &str, key: &str, payload: &Value) -> Vec<u8> {
    fn proto(value: &Value) -> ProtoValue {
        ProtoValue {
            kind: Some(match value {
                Value::Null => Kind::Null(0),
                Value::Bool(truth) => Kind::Bool(*truth),
                Value::Number(number) => Kind::Number(number.as_f64().unwrap()),
                Value::String(text) => Kind::String(text.clone()),
                Value::Array(values) => Kind::List(List { values: values.iter().map(proto).collect() }),
                Value::Object(fields) => Kind::Struct(Struct {
                    fields: fields.iter().map(|(name, value)| (name.clone(), proto(value))).collect(),
                }),
            }),
        }
    }
    let fields = BTreeMap::from([(key.to_owned(), proto(payload))]);
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
