//! One line of JSON, written as fast as every request needs it.

use crate::plain::is_plain;

/// A JSON object that is being written. Every request writes one, and a general serializer takes five times as long.
pub struct Line(Vec<u8>);

impl Line {
    /// Most records fit into this, so that writing one does not move it.
    const USUAL_BYTES: usize = 768;

    /// Nothing yet.
    pub fn new() -> Self {
        Self(Vec::with_capacity(Self::USUAL_BYTES))
    }

    /// Adds JSON as it is.
    pub fn add(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// Adds a member, of which `name` is everything before the value.
    pub fn text(&mut self, name: &str, value: Option<&str>) {
        self.bytes(name, value.map(str::as_bytes));
    }

    /// The same for text that need not be UTF-8.
    pub fn bytes(&mut self, name: &str, value: Option<&[u8]>) {
        self.add(name);
        match value {
            None => self.add("null"),
            Some(value) => {
                self.add("\"");
                self.characters(value);
                self.add("\"");
            }
        }
    }

    /// Adds text inside a string.
    pub fn characters(&mut self, text: &[u8]) {
        if is_plain(text) {
            self.0.extend_from_slice(text);
        } else {
            let quoted = serde_json::Value::from(String::from_utf8_lossy(text)).to_string();
            self.add(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        }
    }

    /// Adds a number.
    pub fn number(&mut self, number: impl itoa::Integer) {
        self.add(itoa::Buffer::new().format(number));
    }

    /// The object, which is complete with this.
    pub fn end(mut self) -> Vec<u8> {
        self.add("}");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_back_from_a_line(texts in prop::collection::vec(prop::option::of("\\PC{0,9}|[\\x00-\\x7f]{0,9}"), 0..4), number: u16) {
            let mut line = Line::new();
            line.add(r#"{"n":"#);
            line.number(number);
            for (name, text) in ["a", "b", "c"].iter().zip(&texts) {
                line.text(&format!(r#","{name}":"#), text.as_deref());
            }
            let read: serde_json::Value = serde_json::from_slice(&line.end()).unwrap();
            prop_assert_eq!(&read["n"], number);
            for (name, text) in ["a", "b", "c"].iter().zip(&texts) {
                prop_assert_eq!(read[name].as_str(), text.as_deref());
            }
        }
    }
}
