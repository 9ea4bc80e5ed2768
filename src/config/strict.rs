//! Reading JSON without serde's leniency: an object is an object, a key stands once, and `null` is no way to leave one out.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::explain::repeated_key;

/// A key that may be absent. One that is `null` is not: a template that left a value unset must not lift a restriction.
#[inline(never)]
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads what is either a text or an object.
pub(super) struct TextOr<T, R> {
    /// For the message, where it is neither.
    pub expected: &'static str,
    /// Makes the result of a text.
    pub text: fn(String) -> R,
    /// Makes the result of an object.
    pub object: fn(T) -> R,
}

impl<'de, T: Deserialize<'de>, R> Visitor<'de> for TextOr<T, R> {
    type Value = R;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<R, E> {
        Ok((self.text)(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<R, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(self.object)
    }
}

/// A JSON object with known keys. (What serde derives would also read an array of the values in order.)
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    #[inline(never)]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// A text. Borrowed, unless it is written with escapes.
#[derive(Debug)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A list of texts. Most have one, which is kept without an allocation.
#[derive(Debug, Default)]
pub(super) struct TextList<'a> {
    /// Is the key there, be the list empty?
    pub is_given: bool,
    first: Option<Text<'a>>,
    rest: Vec<Text<'a>>,
}

impl TextList<'_> {
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.first.iter().chain(&self.rest).map(|Text(text)| text.as_ref())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for TextList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = TextList<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<TextList<'de>, A::Error> {
                let mut list = TextList { is_given: true, first: sequence.next_element()?, rest: Vec::new() };
                while let Some(text) = sequence.next_element()? {
                    list.rest.push(text);
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(ListVisitor)
    }
}

/// Texts that stand once.
#[derive(Default)]
pub(super) struct Seen(HashSet<String>);

impl Seen {
    /// Was it there already?
    #[inline(never)]
    pub fn has(&mut self, text: &str) -> bool {
        !self.0.insert(text.to_owned())
    }
}

/// A list of texts in which none stands twice: one of the two was meant to be another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Distinct(pub Vec<String>);

impl<'de> Deserialize<'de> for Distinct {
    #[inline(never)]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(DistinctVisitor { may_be_empty: true })
    }
}

/// A list that restricts. Without it there is no restriction, so that an empty one could mean both "nothing" and "anything".
#[inline(never)]
pub(super) fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_seq(DistinctVisitor { may_be_empty: false }).map(|Distinct(list)| list)
}

struct DistinctVisitor {
    may_be_empty: bool,
}

impl<'de> Visitor<'de> for DistinctVisitor {
    type Value = Distinct;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Distinct, A::Error> {
        let mut list = Vec::new();
        let mut seen = Seen::default();
        while let Some(text) = sequence.next_element::<String>()? {
            if seen.has(&text) {
                return Err(A::Error::custom(format_args!("found {text:?} again, expected each entry once")));
            }
            list.push(text);
        }
        match list.is_empty() && !self.may_be_empty {
            false => Ok(Distinct(list)),
            true => {
                Err(A::Error::custom("found [], expected at least one entry; leave the key out for no restriction"))
            }
        }
    }
}

/// An object whose keys are the user's own names, in order. A key that stands twice is an error: which of the two is
/// meant would be a guess.
#[derive(Debug)]
pub(super) struct Entries<T>(pub Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    #[inline(never)]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                let mut seen = Seen::default();
                while let Some(key) = map.next_key::<String>()? {
                    if seen.has(&key) {
                        return Err(A::Error::custom(repeated_key(&key)));
                    }
                    let value = map.next_value()?;
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}
