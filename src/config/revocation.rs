//! `revocation`: what is written in the configuration, and what feeds bring, in the same form.
//!
//! Read straight into the list, so that of 100,000 entries there is never another copy.

use std::fmt;
use std::mem;

use super::clients::{DN_EXPECTED, canonical, thumbprint};
use super::fetch::{self, Defaults, RawFetch, Secret};
use super::strict::{Entries, Object, Text, given};
use super::{ConfigError, unreadable};
use crate::certificate::{DistinguishedName, FoldedName};
use crate::escape::hex_byte;
use crate::revocation::{Draft, Feed, FeedKind, Full, Issuer, IssuerName, List, OnStale, Revocation};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// More feeds are refused: each has its own metrics.
const MAX_FEEDS: usize = 16;

const DEFAULTS: Defaults = Defaults {
    what: "the path of the list, such as /revoked.json",
    refresh: 60,
    max_stale: 86_400,
    kind: "feed",
    format: List::FORMAT,
};

/// What is written, the lists already in the form in which they are used.
#[derive(Debug, Default)]
pub(super) struct RawRevocation {
    list: Draft,
    feeds: Vec<Object<RawFeed>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeed {
    #[serde(rename = "type")]
    kind: FeedType,
    cluster: String,
    authority: String,
    path: String,
    #[serde(default, deserialize_with = "given")]
    refresh_seconds: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    max_stale_seconds: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    timeout_ms: Option<u32>,
    #[serde(default)]
    headers: Entries<Secret>,
    #[serde(default)]
    on_stale: OnStale,
    #[serde(default, deserialize_with = "given")]
    issuer_certificate: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum FeedType {
    Json,
    Crl,
}

pub(super) fn compile(raw: RawRevocation) -> Result<Revocation, ConfigError> {
    if raw.feeds.len() > MAX_FEEDS {
        return Err(ConfigError::new("revocation.feeds", raw.feeds.len(), format!("at most {MAX_FEEDS} feeds")));
    }
    let feeds = raw.feeds.into_iter().enumerate().map(|(index, Object(feed))| self::feed(index, feed));
    Ok(Revocation { list: raw.list.finish(), feeds: feeds.collect::<Result<_, _>>()? })
}

fn feed(index: usize, raw: RawFeed) -> Result<Feed, ConfigError> {
    let RawFeed {
        kind,
        cluster,
        authority,
        path,
        refresh_seconds,
        max_stale_seconds,
        timeout_ms,
        on_stale,
        headers,
        ..
    } = raw;
    let at = format!("revocation.feeds[{index}]");
    let certificate = format!("{at}.issuer_certificate");
    let pem = raw.issuer_certificate;
    let fetch = RawFetch { cluster, authority, path, refresh_seconds, max_stale_seconds, timeout_ms, headers };
    let fetch = fetch::compile(&at, fetch, DEFAULTS, pem.as_deref())?;
    let kind = match (kind, pem) {
        (FeedType::Json, None) => FeedKind::Json,
        (FeedType::Crl, Some(pem)) => {
            let issuer = Issuer::from_pem(&pem).map_err(|expected| ConfigError::new(certificate, pem, expected))?;
            FeedKind::Crl(Box::new(issuer))
        }
        (FeedType::Json, Some(_)) => {
            let problem = "found the setting of another type, expected \"type\": \"crl\" beside it".to_owned();
            return Err(ConfigError { path: certificate, problem });
        }
        (FeedType::Crl, None) => {
            let problem = "found none, expected the PEM of the certificate whose key signs the list".to_owned();
            return Err(ConfigError { path: certificate, problem });
        }
    };
    Ok(Feed { kind, fetch, on_stale })
}

/// Reads what a feed of type `json` brings: an object with at least one of the three lists.
pub fn read_feed(json: &[u8]) -> Result<List, ConfigError> {
    let text = str::from_utf8(json).map_err(|problem| ConfigError {
        path: String::new(),
        problem: format!("found bytes that are not UTF-8 (byte {}), expected JSON", problem.valid_up_to()),
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = deserializer.deserialize_map(Members { names: LISTS, may_be_empty: false });
    let read = read.and_then(|read| deserializer.end().map(|()| read));
    read.map(|raw| raw.list.finish()).map_err(|problem| unreadable(text, &problem))
}

const LISTS: &[&str] = &["sha256", "serials", "identities"];
const LISTS_AND_FEEDS: &[&str] = &["sha256", "serials", "identities", "feeds"];

impl<'de> Deserialize<'de> for RawRevocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members { names: LISTS_AND_FEEDS, may_be_empty: true })
    }
}

/// An object of the members that may stand there.
struct Members {
    names: &'static [&'static str],
    /// Of a feed an empty object would revoke nothing, which a server that has lost its data says by accident.
    may_be_empty: bool,
}

impl<'de> Visitor<'de> for Members {
    type Value = RawRevocation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawRevocation, A::Error> {
        let mut read = RawRevocation::default();
        let mut seen = [false; LISTS_AND_FEEDS.len()];
        while let Some(Text(key)) = map.next_key()? {
            let place = self.names.iter().position(|name| *name == key);
            let (name, seen) = place
                .and_then(|place| self.names.get(place).zip(seen.get_mut(place)))
                .ok_or_else(|| A::Error::unknown_field(&key, self.names))?;
            if mem::replace(seen, true) {
                return Err(A::Error::duplicate_field(name));
            }
            let list = &mut read.list;
            match *name {
                "sha256" => map.next_value_seed(Texts { list, add: add_thumbprint })?,
                "serials" => map.next_value_seed(Serials(list))?,
                "identities" => map.next_value_seed(Texts { list, add: add_identity })?,
                _ => read.feeds = map.next_value()?,
            }
        }
        if self.may_be_empty || seen.contains(&true) {
            Ok(read)
        } else {
            Err(A::Error::custom("found none of sha256, serials and identities, expected at least one of them"))
        }
    }
}

/// A list of texts.
struct Texts<'a> {
    list: &'a mut Draft,
    add: fn(&mut Draft, &str) -> Result<(), &'static str>,
}

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(One { list: self.list, add: self.add })?.is_some() {}
        Ok(())
    }
}

/// One of the texts. It is added while it is read, so that an error has its place.
struct One<'a> {
    list: &'a mut Draft,
    add: fn(&mut Draft, &str) -> Result<(), &'static str>,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        (self.add)(self.list, text).map_err(|expected| unexpected(text, expected))
    }
}

/// A list of serial numbers with their issuers.
struct Serials<'a>(&'a mut Draft);

impl<'de> DeserializeSeed<'de> for Serials<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Serials<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects with issuer and serial")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        // Neighbours mostly have the same issuer.
        let mut last = None;
        while sequence.next_element_seed(OneSerial { list: self.0, last: &mut last })?.is_some() {}
        Ok(())
    }
}

/// One of the serial numbers, likewise.
struct OneSerial<'a> {
    list: &'a mut Draft,
    /// The issuer before.
    last: &'a mut Option<(String, IssuerName)>,
}

impl<'de> DeserializeSeed<'de> for OneSerial<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneSerial<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of issuer and serial")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        const NAMES: &[&str] = &["issuer", "serial"];
        let Self { list, last } = self;
        let (mut issuer, mut serial) = (None, None);
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "issuer" if issuer.is_none() => issuer = Some(map.next_value_seed(IssuerOf { last })?),
                "serial" if serial.is_none() => serial = Some(map.next_value::<Serial>()?),
                "issuer" => return Err(A::Error::duplicate_field("issuer")),
                "serial" => return Err(A::Error::duplicate_field("serial")),
                other => return Err(A::Error::unknown_field(other, NAMES)),
            }
        }
        let issuer = issuer.ok_or_else(|| A::Error::missing_field("issuer"))?;
        let Serial(serial) = serial.ok_or_else(|| A::Error::missing_field("serial"))?;
        list.add_serial(issuer, &serial).map_err(|Full| A::Error::custom(FULL))
    }
}

/// The issuer of a serial number.
struct IssuerOf<'a> {
    last: &'a mut Option<(String, IssuerName)>,
}

impl<'de> DeserializeSeed<'de> for IssuerOf<'_> {
    type Value = IssuerName;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<IssuerName, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IssuerOf<'_> {
    type Value = IssuerName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<IssuerName, E> {
        match self.last {
            Some((known, name)) if known == text => Ok(*name),
            last => {
                let name = DistinguishedName::parse(text).ok_or_else(|| unexpected(text, DN_EXPECTED))?;
                let name = IssuerName::of(&name);
                *last = Some((text.to_owned(), name));
                Ok(name)
            }
        }
    }
}

/// The bytes of a serial number.
struct Serial(Vec<u8>);

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SerialVisitor;

        impl Visitor<'_> for SerialVisitor {
            type Value = Serial;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Serial, E> {
                serial(text).map(Serial).ok_or_else(|| unexpected(text, SERIAL_EXPECTED))
            }
        }

        deserializer.deserialize_str(SerialVisitor)
    }
}

const MAX_SERIAL_DIGITS: usize = 64;
const FULL: &str = "found more than can be kept";
const SERIAL_EXPECTED: &str = "hexadecimal digits, at most 64, as `openssl x509 -noout -serial` prints them";

fn unexpected<E: Error>(text: &str, expected: &str) -> E {
    E::custom(format_args!("found {text:?}, expected {expected}"))
}

fn add_thumbprint(list: &mut Draft, text: &str) -> Result<(), &'static str> {
    let thumbprint = thumbprint(text).ok_or("64 hexadecimal digits or 43 characters of base64url")?;
    list.add_thumbprint(thumbprint).map_err(|Full| FULL)
}

fn add_identity(list: &mut Draft, text: &str) -> Result<(), &'static str> {
    let name = FoldedName::identity(&canonical(text)?).ok_or(DN_EXPECTED)?;
    list.add_identity(&name).map_err(|Full| FULL)
}

/// The bytes of a number in hexadecimal digits, all together or each byte by itself between colons.
fn serial(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if text.contains(&b':') {
        let bytes = text.split(|byte| *byte == b':').map(|pair| match pair {
            [high, low] => hex_byte(*high, *low),
            _ => None,
        });
        return bytes.collect::<Option<Vec<u8>>>().filter(|bytes| bytes.len() <= MAX_SERIAL_DIGITS / 2);
    }
    if text.is_empty() || text.len() > MAX_SERIAL_DIGITS {
        return None;
    }
    let (odd, pairs) = text.as_rchunks::<2>();
    let first = odd.first().map(|digit| hex_byte(b'0', *digit));
    first.into_iter().chain(pairs.iter().map(|[high, low]| hex_byte(*high, *low))).collect()
}
