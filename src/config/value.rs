//! The values of a configuration: an object is an object, a key stands once, and `null` is no way to leave one out.
//!
//! One reader for all types. What a type is made of it takes from here by name; `docs/decisions/configuration-reader.md` says why.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::Map;

use super::error::{ConfigError, PRIVATE, abridged, is_private};
use super::explain::{UNKNOWN_KEY, did_you_mean, repeated_key, unreadable};
use super::location::{path_to, place_of};
use super::walk::Walk;
use crate::json;

/// What a reader of a value brings.
pub(super) type Read<T> = Result<T, ConfigError>;
/// An object whose keys are the user's own names, in order.
pub(super) type Named<T> = Vec<(String, T)>;

/// A value, by its place in a text that is JSON as a whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    document: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Value<'a> {
    /// The whole of a text.
    #[inline(never)]
    pub fn document(text: &'a str) -> Read<Self> {
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(IgnoredAny) => Ok(Self::next(text, &mut Walk { json: text.as_bytes(), at: 0 })),
            Err(problem) => Err(unreadable(text, &problem)),
        }
    }

    fn next(document: &'a str, walk: &mut Walk<'_>) -> Self {
        walk.peek();
        Self { document, start: walk.at, end: walk.skip() }
    }

    /// As it is written.
    fn json(self) -> &'a str {
        self.document.get(self.start..self.end).unwrap_or_default()
    }

    fn begins_with(self, byte: u8) -> bool {
        self.json().as_bytes().first() == Some(&byte)
    }

    pub fn is_object(self) -> bool {
        self.begins_with(b'{')
    }

    pub fn is_text(self) -> bool {
        self.begins_with(b'"')
    }

    pub fn is_null(self) -> bool {
        self.json() == "null"
    }

    /// Where it stands, for [`within`](Self::within).
    pub fn place(self) -> Read<Range<usize>> {
        Ok(self.start..self.end)
    }

    /// The value that stands there in its text.
    pub fn within(document: &'a str, place: Range<usize>) -> Self {
        Self { document, start: place.start, end: place.end }
    }

    /// As it is written, to be read by itself.
    pub fn whole(self) -> Read<String> {
        Ok(self.json().to_owned())
    }

    /// A text, if it is one. Borrowed, unless it is written with escapes.
    #[inline(never)]
    fn as_text(self) -> Option<Cow<'a, str>> {
        unescaped(self.json().strip_prefix('"')?.strip_suffix('"')?)
    }

    /// A text that is only looked at.
    #[inline(never)]
    pub fn str(self) -> Read<Cow<'a, str>> {
        match self.as_text() {
            Some(text) => Ok(text),
            None if self.is_text() => Err(self.error(NO_CHARACTER.to_owned())),
            None => Err(self.is_not("a text")),
        }
    }

    #[inline(never)]
    pub fn text(self) -> Read<String> {
        self.str().map(Cow::into_owned)
    }

    #[inline(never)]
    pub fn flag(self) -> Read<bool> {
        match self.json() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.is_not("true or false")),
        }
    }

    /// A whole number.
    #[inline(never)]
    pub fn u64(self) -> Read<u64> {
        self.json().parse().map_err(|_| self.is_no_number(""))
    }

    /// A whole number.
    #[inline(never)]
    pub fn u32(self) -> Read<u32> {
        self.json().parse().map_err(|_| self.is_no_number(" and below 4294967296"))
    }

    #[cold]
    #[inline(never)]
    fn is_no_number(self, limit: &str) -> ConfigError {
        let unit = match self.path() {
            path if path.ends_with("_seconds") => " of seconds",
            path if path.ends_with("_ms") => " of milliseconds",
            _ => "",
        };
        self.is_not(&format!("a whole number{unit}, at least 0{limit}"))
    }

    /// One of these words: which it is.
    #[inline(never)]
    pub fn word(self, words: &[&str]) -> Read<usize> {
        let place = self.as_text().and_then(|text| words.iter().position(|word| *word == text));
        place.ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            self.is_not(&words.join(" or "))
        })
    }

    /// What stands in a list.
    pub fn entries(self, expected: &str) -> Read<Entries<'a>> {
        self.inside(b'[', expected).map(Entries)
    }

    /// What stands in an object, if it does not matter which keys it has.
    pub fn members(self) -> Read<Members<'a>> {
        self.inside(b'{', "an object").map(Members)
    }

    #[inline(never)]
    fn inside(self, open: u8, expected: &str) -> Read<Inside<'a>> {
        match self.begins_with(open) {
            true => {
                let walk = Walk { json: self.document.as_bytes(), at: self.start + 1 };
                Ok(Inside { document: self.document, walk })
            }
            false => Err(self.is_not(expected)),
        }
    }

    /// A list of what this reader reads.
    #[inline(never)]
    pub fn list<T>(self, read: fn(Value<'a>) -> Read<T>) -> Read<Vec<T>> {
        let mut list = Vec::new();
        for entry in self.entries("a list")? {
            list.push(read(entry)?);
        }
        Ok(list)
    }

    /// A list of texts in which none stands twice: one of the two was meant to be another.
    #[inline(never)]
    pub fn distinct(self) -> Read<Vec<String>> {
        let mut list = Vec::new();
        let mut seen = Seen::default();
        for entry in self.entries("a list")? {
            let text = entry.text()?;
            if seen.has(&text) {
                return Err(self.error(format!("found {text:?} again, expected each entry once")));
            }
            list.push(text);
        }
        Ok(list)
    }

    /// Such a list that restricts. Without it there is no restriction, so that an empty one could mean both "nothing" and "anything".
    #[inline(never)]
    pub fn restricting(self) -> Read<Vec<String>> {
        let list = self.distinct()?;
        match list.is_empty() {
            false => Ok(list),
            true => {
                let problem = "found [], expected at least one entry; leave the key out for no restriction";
                Err(self.error(problem.to_owned()))
            }
        }
    }

    /// An object whose keys are the user's own names. One that stands twice is an error: which of the two is meant would be a guess.
    #[inline(never)]
    pub fn named<T>(self, read: fn(Value<'a>) -> Read<T>) -> Read<Named<T>> {
        let mut named = Vec::new();
        let mut seen = Seen::default();
        let mut members = self.members()?;
        while let Some((key, value)) = members.next()? {
            if seen.has(&key) {
                return Err(value.error(repeated_key(&key)));
            }
            named.push((key.into_owned(), read(value)?));
        }
        Ok(named)
    }

    /// The members of an object that has these keys and no others.
    #[inline]
    pub fn object<const N: usize>(self, keys: [&'static str; N]) -> Read<[Member<'a>; N]> {
        let mut members = keys.map(|key| Member { object: self, key, value: None });
        self.fill(&mut members)?;
        Ok(members)
    }

    #[inline(never)]
    fn fill(self, known: &mut [Member<'a>]) -> Read<()> {
        let mut members = self.members()?;
        while let Some((key, value)) = members.next()? {
            let Some(member) = known.iter_mut().find(|member| member.key == key) else {
                return Err(value.has_unknown_key(&key, known));
            };
            if member.value.replace(value).is_some() {
                return Err(value.error(repeated_key(&key)));
            }
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn has_unknown_key(self, key: &str, known: &[Member<'_>]) -> ConfigError {
        let keys: Vec<String> = known.iter().map(|member| format!("`{}`", member.key)).collect();
        let expected = match keys.as_slice() {
            [first, second] => format!("{first} or {second}"),
            [only] => only.clone(),
            _ => format!("one of {}", keys.join(", ")),
        };
        let hint = did_you_mean(key, &mut known.iter().map(|member| member.key));
        self.error(format!("{UNKNOWN_KEY}`{key}`, expected {expected}{hint}"))
    }

    /// A JSON object of another standard, in which no member is repeated at any depth.
    #[inline(never)]
    pub fn foreign_object(self, expected: &str) -> Read<Map<String, serde_json::Value>> {
        if !self.is_object() {
            return Err(self.is_not(expected));
        }
        match json::value(self.json()) {
            Ok(serde_json::Value::Object(members)) => Ok(members),
            Ok(_) => Err(self.is_not(expected)),
            Err(problem) => {
                let place = place_of(self.json(), problem.line(), problem.column());
                let path = path_to(self.document.as_bytes(), self.start + place);
                let message = problem.to_string();
                let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
                Err(ConfigError {
                    path,
                    problem: format!("found JSON that is not read ({message}), expected {expected}"),
                })
            }
        }
    }

    /// Its place in the configuration.
    #[cold]
    #[inline(never)]
    fn path(self) -> String {
        path_to(self.document.as_bytes(), self.start)
    }

    /// What is wrong with it.
    #[cold]
    #[inline(never)]
    pub fn error(self, problem: String) -> ConfigError {
        let problem = match is_private(&problem) {
            true => {
                let expected = problem.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
                format!("found {PRIVATE}, expected {expected}")
            }
            false => abridged(&problem),
        };
        ConfigError { path: self.path(), problem }
    }

    /// Of a value of another type than this, or of another text; and what to write instead, where that is plain.
    #[cold]
    #[inline(never)]
    pub fn is_not(self, expected: &str) -> ConfigError {
        let json = self.json();
        let text = self.as_text();
        let found = match (json.as_bytes().first(), &text) {
            (Some(b'['), _) => "a list".to_owned(),
            (Some(b'{'), _) => "an object".to_owned(),
            (_, Some(text)) => format!("{text:?}"),
            _ => json.to_owned(),
        };
        let text = text.as_deref();
        let is_unquoted = !self.is_null() && !json.starts_with(['"', '[', '{']);
        let hint = match text {
            Some(text) if expected.starts_with("a whole number") && is_number(text) => {
                format!(", without quotes: {text}")
            }
            Some("true" | "false") if expected == "true or false" => {
                format!(", without quotes: {}", text.unwrap_or_default())
            }
            Some(text) if expected.starts_with('"') => did_you_mean(text, &mut expected.split('"').skip(1).step_by(2)),
            _ if expected == "a list" && (text.is_some() || is_unquoted) => format!(": [{found}]"),
            _ if expected == "a text" && is_unquoted => format!(", in quotes: \"{found}\""),
            _ => String::new(),
        };
        self.error(format!("found {found}, expected {expected}{hint}"))
    }
}

const NO_CHARACTER: &str = "found an escape of half a character, expected \\u with a whole one or with both halves";

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is written between quotes. `None`: an escape stands for no character.
#[inline]
fn unescaped(written: &str) -> Option<Cow<'_, str>> {
    match written.contains('\\') {
        false => Some(Cow::Borrowed(written)),
        true => match json::value(&format!("\"{written}\"")) {
            Ok(serde_json::Value::String(text)) => Some(Cow::Owned(text)),
            _ => None,
        },
    }
}

/// A member of an object with known keys, which may be absent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    object: Value<'a>,
    key: &'static str,
    pub value: Option<Value<'a>>,
}

impl<'a> Member<'a> {
    pub fn is_given(self) -> bool {
        self.value.is_some()
    }

    /// One that may be absent. One that is `null` is not: a template that left a value unset must not lift a restriction.
    #[inline]
    pub fn optional<T>(self, read: fn(Value<'a>) -> Read<T>) -> Read<Option<T>> {
        self.value.map(read).transpose()
    }

    /// Likewise, with its default.
    #[inline]
    pub fn or_default<T: Default>(self, read: fn(Value<'a>) -> Read<T>) -> Read<T> {
        self.value.map_or_else(|| Ok(T::default()), read)
    }

    /// A list of what this reader reads; empty, if it is absent.
    #[inline]
    pub fn list<T>(self, read: fn(Value<'a>) -> Read<T>) -> Read<Vec<T>> {
        self.value.map_or_else(|| Ok(Vec::new()), |value| value.list(read))
    }

    /// Likewise an object of the user's own names.
    #[inline]
    pub fn named<T>(self, read: fn(Value<'a>) -> Read<T>) -> Read<Named<T>> {
        self.value.map_or_else(|| Ok(Vec::new()), |value| value.named(read))
    }

    /// What was read of one that must be there.
    #[inline]
    pub fn required<T>(self, read: Option<T>) -> Read<T> {
        read.ok_or_else(|| self.is_missing())
    }

    #[cold]
    #[inline(never)]
    fn is_missing(self) -> ConfigError {
        self.object.error(format!("found no {:?}, expected this key, which cannot be left out", self.key))
    }
}

/// What is between two brackets, from here on.
#[derive(Debug, Clone, Copy)]
struct Inside<'a> {
    document: &'a str,
    walk: Walk<'a>,
}

/// The values of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries<'a>(Inside<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = Value<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Value<'a>> {
        let Self(Inside { document, walk }) = self;
        walk.enters().then(|| Value::next(document, walk))
    }
}

/// The members of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a>(Inside<'a>);

impl<'a> Members<'a> {
    /// The next one: its key and its value.
    #[inline(never)]
    pub fn next(&mut self) -> Read<Option<(Cow<'a, str>, Value<'a>)>> {
        let Self(Inside { document, walk }) = self;
        if !walk.enters() {
            return Ok(None);
        }
        let start = walk.at + 1;
        let end = start + walk.key().len();
        let value = Value::next(document, walk);
        match unescaped(document.get(start..end).unwrap_or_default()) {
            Some(key) => Ok(Some((key, value))),
            None => Err(value.error(NO_CHARACTER.to_owned())),
        }
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

/// A type of objects: for each member its key (`as "key"`, where that is no name in Rust), its type and how it is read, in the order in
/// which messages list them. What is missing is said last, so that what is wrong with the others is found, too.
macro_rules! object {
    (
        $(#[$attribute:meta])*
        pub(super) struct $name:ident {
            $($(#[$doc:meta])* $field:ident $(as $key:literal)?: $type:ty = $how:ident($read:expr),)*
        }
    ) => {
        $(#[$attribute])*
        pub(super) struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $name {
            #[inline(never)]
            pub fn read(value: $crate::config::value::Value<'_>) -> $crate::config::value::Read<Self> {
                use $crate::config::value::object;

                let [$($field),*] = value.object([$(object!(@key $field $($key)?)),*])?;
                $(let $field = object!(@read $how $field $read);)*
                Ok(Self { $($field: object!(@have $how $field)),* })
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@read required $field:ident $read:expr) => { ($field, $field.optional($read)?) };
    (@read $how:ident $field:ident $read:expr) => { $field.$how($read)? };
    (@have required $field:ident) => { $field.0.required($field.1)? };
    (@have $how:ident $field:ident) => { $field };
}
pub(super) use object;
