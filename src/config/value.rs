//! The values of a configuration: an object is an object, a key stands once, and `null` is no way to leave one out.
//!
//! One reader for all types. What a type is made of it takes from here by name; `docs/decisions/configuration-reader.md` says why.
//! Reading goes on behind what is wrong, with any value of its type. The document keeps the first problem, and who reads it asks
//! for that before anything is made of what was read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::IgnoredAny;
use serde_json::Map;

use super::error::{ConfigError, PRIVATE, abridged, is_private};
use super::explain::{UNKNOWN_KEY, did_you_mean, repeated_key, unreadable};
use super::location::{path_to, place_of};
use super::walk::{Walk, Written};
use crate::json;

/// An object whose keys are the user's own names, in order.
pub(super) type Named<T> = Vec<(String, T)>;

/// A text that is read.
pub(super) struct Document<'a> {
    text: &'a str,
    /// What is wrong with it first of all.
    problem: RefCell<Option<ConfigError>>,
}

impl<'a> Document<'a> {
    pub const fn new(text: &'a str) -> Self {
        Self { text, problem: RefCell::new(None) }
    }

    /// The whole of it, which need not be JSON: [`Inside::ends`] sees to that.
    pub fn value(&'a self) -> Value<'a> {
        let mut walk = Walk::new(self.text.as_bytes(), 0);
        walk.peek();
        Value { document: self, start: walk.at(), end: self.text.len() }
    }

    /// Is nothing wrong so far?
    #[inline]
    pub fn check(&self) -> Result<(), ConfigError> {
        self.problem.take().map_or(Ok(()), Err)
    }

    #[cold]
    #[inline(never)]
    fn note(&self, problem: ConfigError) {
        self.problem.borrow_mut().get_or_insert(problem);
    }
}

/// A value, by its place in a document.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    document: &'a Document<'a>,
    start: usize,
    end: usize,
}

/// The place of a value that is absent, which is noted elsewhere.
const NOWHERE: usize = usize::MAX;

impl<'a> Value<'a> {
    fn next(document: &'a Document<'a>, walk: &mut Walk<'_>) -> Self {
        walk.peek();
        Self { document, start: walk.at(), end: walk.skip() }
    }

    /// As it is written.
    fn json(self) -> &'a str {
        self.document.text.get(self.start..self.end).unwrap_or_default()
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

    pub fn is_flag(self) -> bool {
        matches!(self.json(), "true" | "false")
    }

    /// Nothing, because it is read elsewhere.
    pub fn passed(self) {}

    /// As it is written, to be read by itself.
    pub fn whole(self) -> String {
        self.json().to_owned()
    }

    /// A text, if it is one.
    #[inline(never)]
    fn as_text(self) -> Option<Cow<'a, str>> {
        let written = self.json().strip_prefix('"')?.strip_suffix('"')?;
        unescaped(written, written.contains('\\'))
    }

    #[inline(never)]
    pub fn text(self) -> String {
        match self.as_text() {
            Some(text) => return text.into_owned(),
            None if self.is_text() => self.refuse(NO_CHARACTER.to_owned()),
            None => self.is_not("a text"),
        }
        String::new()
    }

    #[inline(never)]
    pub fn flag(self) -> bool {
        if !self.is_flag() {
            self.is_not("true or false");
        }
        self.json() == "true"
    }

    /// A whole number.
    #[inline(never)]
    pub fn u64(self) -> u64 {
        self.json().parse().unwrap_or_else(|_| self.is_no_number(""))
    }

    /// A whole number.
    #[inline(never)]
    pub fn u32(self) -> u32 {
        self.json().parse().unwrap_or_else(|_| self.is_no_number(" and below 4294967296"))
    }

    #[cold]
    #[inline(never)]
    fn is_no_number<T: Default>(self, limit: &str) -> T {
        let unit = match self.path() {
            path if path.ends_with("_seconds") => " of seconds",
            path if path.ends_with("_ms") => " of milliseconds",
            _ => "",
        };
        self.is_not(&format!("a whole number{unit}, at least 0{limit}"));
        T::default()
    }

    /// One of these words: which it is.
    #[inline(never)]
    pub fn word(self, words: &[&str]) -> usize {
        let place = self.as_text().and_then(|text| words.iter().position(|word| *word == text));
        place.unwrap_or_else(|| {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            self.is_not(&words.join(" or "));
            0
        })
    }

    /// What stands in it; nothing, if it is no list or object, whichever this bracket opens.
    #[inline(never)]
    pub fn inside(self, bracket: u8, expected: &str) -> Inside<'a> {
        if !self.begins_with(bracket) {
            self.is_not(expected);
        }
        let start = if self.begins_with(bracket) { self.start } else { NOWHERE };
        let mut inside = Inside { document: self.document, walk: Walk::new(self.document.text.as_bytes(), start) };
        inside.walk.opens(bracket);
        inside
    }

    /// A list of what this reader reads.
    #[inline(never)]
    pub fn list<T>(self, read: fn(Value<'a>) -> T) -> Vec<T> {
        let mut list = Vec::new();
        let mut entries = self.inside(b'[', "a list");
        while entries.entry() {
            list.push(read(entries.value()));
        }
        list
    }

    /// A list of texts in which none stands twice: one of the two was meant to be another.
    #[inline(never)]
    pub fn distinct(self) -> Vec<String> {
        let list = self.list(Value::text);
        let mut seen = Seen::default();
        // Most lists are short.
        if list.len() > 1
            && let Some(text) = list.iter().find(|text| seen.has(text))
        {
            self.refuse(format!("found {text:?} again, expected each entry once"));
        }
        list
    }

    /// Such a list that restricts. Without it there is no restriction, so that an empty one could mean both "nothing" and "anything".
    #[inline(never)]
    pub fn restricting(self) -> Vec<String> {
        let list = self.distinct();
        if list.is_empty() {
            self.refuse("found [], expected at least one entry; leave the key out for no restriction".to_owned());
        }
        list
    }

    /// An object whose keys are the user's own names. One that stands twice is an error: which of the two is meant would be a guess.
    #[inline(never)]
    pub fn named<T>(self, read: fn(Value<'a>) -> T) -> Named<T> {
        let mut named = Vec::new();
        let mut seen = Seen::default();
        let mut members = self.inside(b'{', "an object");
        while let Some(key) = members.key() {
            let value = members.value();
            if seen.has(&key) {
                value.refuse(repeated_key(&key));
            }
            named.push((key.into_owned(), read(value)));
        }
        named
    }

    /// The members of an object that has these keys and no others.
    #[inline]
    pub fn object<const N: usize>(self, keys: [&'static str; N]) -> [Member<'a>; N] {
        let mut known = self.known(keys);
        self.fill(&mut known);
        known
    }

    /// What [`Inside::member`] knows.
    #[inline]
    pub fn known<const N: usize>(self, keys: [&'static str; N]) -> [Member<'a>; N] {
        keys.map(|key| Member { object: self, key, value: None })
    }

    #[inline(never)]
    fn fill(self, known: &mut [Member<'a>]) {
        let mut members = self.inside(b'{', "an object");
        while let Some(member) = members.member(known) {
            member.value = Some(members.value());
        }
    }

    #[cold]
    #[inline(never)]
    fn has_unknown_key(self, key: &str, known: &[Member<'_>]) {
        let keys: Vec<String> = known.iter().map(|member| format!("`{}`", member.key)).collect();
        let expected = match keys.as_slice() {
            [first, second] => format!("{first} or {second}"),
            [only] => only.clone(),
            _ => format!("one of {}", keys.join(", ")),
        };
        let hint = did_you_mean(key, &mut known.iter().map(|member| member.key));
        self.refuse(format!("{UNKNOWN_KEY}`{key}`, expected {expected}{hint}"));
    }

    /// A JSON object of another standard, in which no member is repeated at any depth.
    #[inline(never)]
    pub fn foreign_object(self, expected: &str) -> Map<String, serde_json::Value> {
        if !self.is_object() {
            self.is_not(expected);
            return Map::new();
        }
        match json::value(self.json()) {
            Ok(serde_json::Value::Object(members)) => members,
            Ok(_) => Map::new(),
            Err(problem) => {
                let place = place_of(self.json(), problem.line(), problem.column());
                let path = path_to(self.document.text.as_bytes(), self.start + place);
                let message = problem.to_string();
                let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
                let problem = format!("found JSON that is not read ({message}), expected {expected}");
                self.document.note(ConfigError { path, problem });
                Map::new()
            }
        }
    }

    /// Its place in the configuration.
    #[cold]
    #[inline(never)]
    fn path(self) -> String {
        path_to(self.document.text.as_bytes(), self.start)
    }

    /// Notes what is wrong with it.
    #[cold]
    #[inline(never)]
    pub fn refuse(self, problem: String) {
        if self.start == NOWHERE {
            return;
        }
        let problem = match is_private(&problem) {
            true => {
                let expected = problem.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
                format!("found {PRIVATE}, expected {expected}")
            }
            false => abridged(&problem),
        };
        self.document.note(ConfigError { path: self.path(), problem });
    }

    /// Notes that it is of another type than this, or another text; and what to write instead, where that is plain.
    #[cold]
    #[inline(never)]
    pub fn is_not(self, expected: &str) {
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
        self.refuse(format!("found {found}, expected {expected}{hint}"));
    }
}

/// What is wrong with a text as JSON.
#[cold]
#[inline(never)]
pub(super) fn no_json(text: &str) -> Option<ConfigError> {
    serde_json::from_str::<IgnoredAny>(text).err().map(|problem| unreadable(text, &problem))
}

const TOO_DEEP: &str = "found values more than 128 deep, expected fewer";
const NO_CHARACTER: &str = "found an escape of half a character, expected \\u with a whole one or with both halves";

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is written between quotes. `None`: an escape stands for no character.
#[inline]
fn unescaped(written: &str, has_escapes: bool) -> Option<Cow<'_, str>> {
    match has_escapes {
        false => Some(Cow::Borrowed(written)),
        true => match json::value(&format!("\"{written}\"")) {
            Ok(serde_json::Value::String(text)) => Some(Cow::Owned(text)),
            _ => None,
        },
    }
}

/// A member of an object with known keys, which may be absent.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    object: Value<'a>,
    key: &'static str,
    pub value: Option<Value<'a>>,
}

impl<'a> Member<'a> {
    /// Its key.
    pub fn key(self) -> &'static str {
        self.key
    }

    pub fn is_given(self) -> bool {
        self.value.is_some()
    }

    /// One that may be absent. One that is `null` is not: a template that left a value unset must not lift a restriction.
    #[inline]
    pub fn optional<T>(self, read: fn(Value<'a>) -> T) -> Option<T> {
        self.value.map(read)
    }

    /// Likewise, with a default.
    #[inline]
    pub fn or_default<T: Default>(self, read: fn(Value<'a>) -> T) -> T {
        self.value.map_or_else(T::default, read)
    }

    /// One that must be there: [`must_be_given`](Self::must_be_given) is to say so when the others were read.
    #[inline]
    pub fn required<T>(self, read: fn(Value<'a>) -> T) -> T {
        read(self.value.unwrap_or(Value { start: NOWHERE, end: NOWHERE, ..self.object }))
    }

    /// Notes that it is absent, though it must not be.
    #[inline(never)]
    pub fn must_be_given(self) {
        if !self.is_given() {
            let problem = format!("found no {:?}, expected this key, which cannot be left out", self.key);
            self.object.refuse(problem);
        }
    }
}

/// What stands between two brackets, from here on. Each is read once and in order.
#[derive(Clone, Copy)]
pub(super) struct Inside<'a> {
    document: &'a Document<'a>,
    walk: Walk<'a>,
}

impl<'a> Inside<'a> {
    /// Is there another entry of the list? It is next then; otherwise the list was passed over.
    pub fn entry(&mut self) -> bool {
        self.walk.entry()
    }

    /// The key of the next member of the object, whose value is next then; otherwise the object was passed over.
    #[inline(never)]
    pub fn key(&mut self) -> Option<Cow<'a, str>> {
        let key = self.walk.key()?;
        Some(self.unescaped(key, self.here()))
    }

    fn unescaped(self, Written { inside, has_escapes }: Written, place: Value<'a>) -> Cow<'a, str> {
        unescaped(self.document.text.get(inside).unwrap_or_default(), has_escapes).unwrap_or_else(|| {
            place.refuse(NO_CHARACTER.to_owned());
            Cow::default()
        })
    }

    /// The place of what is next.
    pub fn here(self) -> Value<'a> {
        Value { document: self.document, start: self.walk.at(), end: self.walk.at() }
    }

    /// Sees to it that this was the whole text, and JSON.
    #[inline(never)]
    pub fn ends(&mut self) {
        if let Err(place) = self.walk.ends() {
            let path = path_to(self.document.text.as_bytes(), place);
            let too_deep = ConfigError { path, problem: TOO_DEEP.to_owned() };
            self.document.note(no_json(self.document.text).unwrap_or(too_deep));
        }
    }

    /// Is nothing wrong so far?
    #[inline]
    pub fn check(self) -> Result<(), ConfigError> {
        self.document.check()
    }

    /// The value that is next.
    pub fn value(&mut self) -> Value<'a> {
        Value::next(self.document, &mut self.walk)
    }

    /// The text that is next. Borrowed, unless it is written with escapes.
    #[inline(never)]
    pub fn text(&mut self) -> Cow<'a, str> {
        let place = self.here();
        match self.walk.peek() {
            Some(b'"') => {
                let text = self.walk.string();
                text.map_or(Cow::default(), |text| self.unescaped(text, place))
            }
            _ => Cow::Owned(self.value().text()),
        }
    }

    /// Enters the list or object that is next, whichever this bracket opens.
    #[inline(never)]
    pub fn opens(&mut self, bracket: u8, expected: &str) -> bool {
        let is_open = self.walk.opens(bracket);
        if !is_open {
            self.value().is_not(expected);
        }
        is_open
    }

    /// The next member, which is one of these. What is next then is its value.
    #[inline(never)]
    pub fn member<'k>(&mut self, known: &'k mut [Member<'a>]) -> Option<&'k mut Member<'a>> {
        loop {
            let key = self.key()?;
            let here = self.here();
            match known.iter().position(|member| member.key == key) {
                Some(place) => {
                    let member = known.get_mut(place)?;
                    if member.value.replace(here).is_some() {
                        here.refuse(repeated_key(&key));
                    }
                    return Some(member);
                }
                None => {
                    here.has_unknown_key(&key, known);
                    self.value();
                }
            }
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
/// which messages list them. What is missing is noted last: it is told only where nothing else is wrong.
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
            pub const KEYS: [&str; [$(stringify!($field)),*].len()] =
                [$($crate::config::value::object!(@key $field $($key)?)),*];

            #[allow(dead_code, reason = "the configuration as a whole is read member by member")]
            #[inline(never)]
            pub fn read(value: $crate::config::value::Value<'_>) -> Self {
                Self::of(value.object(Self::KEYS))
            }

            pub fn of([$($field),*]: [$crate::config::value::Member<'_>; Self::KEYS.len()]) -> Self {
                use $crate::config::value::object;

                let object = Self { $($field: object!(@read $how $field $read)),* };
                $(object!(@check $how $field);)*
                object
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@read list $field:ident $read:expr) => { $field.or_default(|value| value.list($read)) };
    (@read named $field:ident $read:expr) => { $field.or_default(|value| value.named($read)) };
    (@read $how:ident $field:ident $read:expr) => { $field.$how($read) };
    (@check required $field:ident) => { $field.must_be_given() };
    (@check $how:ident $field:ident) => {};
}
pub(super) use object;
