//! `google.protobuf.Struct`: JSON as protobuf, in which Envoy hands over dynamic metadata and configurations.
//!
//! Numbers are doubles there: nothing above 2^53 is exact. Nesting is bounded by prost (100 levels).

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Map, Number, Value};

/// `google.protobuf.Struct`
#[derive(Clone, PartialEq, Message)]
pub struct Struct {
    /// The members.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, ProtoValue>,
}

/// `google.protobuf.Value`
#[derive(Clone, PartialEq, Message)]
pub struct ProtoValue {
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

impl Struct {
    /// As a JSON object.
    pub fn into_json(self) -> Map<String, Value> {
        let mut members = Map::new();
        // Collecting would sort them first, and add the code for it.
        for (name, value) in self.fields {
            members.insert(name, value.into_json());
        }
        members
    }
}

impl ProtoValue {
    /// As JSON; a whole number becomes an integer again.
    pub fn into_json(self) -> Value {
        match self.kind {
            None | Some(Kind::Null(_)) => Value::Null,
            Some(Kind::Number(number)) => self::number(number),
            Some(Kind::String(text)) => Value::String(text),
            Some(Kind::Bool(truth)) => Value::Bool(truth),
            Some(Kind::Struct(fields)) => Value::Object(fields.into_json()),
            Some(Kind::List(list)) => Value::Array(list.values.into_iter().map(Self::into_json).collect()),
        }
    }
}

fn number(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[allow(clippy::as_conversions, reason = "up to 2^53 every whole double is exactly that integer")]
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// From JSON, for tests.
#[cfg(test)]
pub fn value(value: &Value) -> ProtoValue {
    ProtoValue {
        kind: Some(match value {
            Value::Null => Kind::Null(0),
            Value::Bool(truth) => Kind::Bool(*truth),
            Value::Number(number) => Kind::Number(number.as_f64().unwrap()),
            Value::String(text) => Kind::String(text.clone()),
            Value::Array(values) => Kind::List(List { values: values.iter().map(self::value).collect() }),
            Value::Object(fields) => Kind::Struct(Struct {
                fields: fields.iter().map(|(name, value)| (name.clone(), self::value(value))).collect(),
            }),
        }),
    }
}
