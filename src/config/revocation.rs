//! `revocation`: what is written in the configuration, and what feeds bring, in the same form.
//!
//! Read straight into the list, so that of 100,000 entries there is never another copy.

use super::ConfigError;
use super::clients::{DN_EXPECTED, canonical, thumbprint};
use super::fetch::{self, Defaults, RawFetch, Secret};
use super::value::{Member, Named, Read, Value, object};
use super::words::word;
use crate::certificate::{DistinguishedName, FoldedName};
use crate::escape::hex_byte;
use crate::revocation::{Draft, Feed, FeedKind, Full, Issuer, IssuerName, List, OnStale, Revocation};

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
    feeds: Vec<RawFeed>,
}

impl RawRevocation {
    pub fn read(value: Value<'_>) -> Read<Self> {
        let [sha256, serials, identities, feeds] = value.object(["sha256", "serials", "identities", "feeds"])?;
        Ok(Self { list: lists([sha256, serials, identities])?, feeds: feeds.list(RawFeed::read)? })
    }
}

object! {
    #[derive(Debug)]
    pub(super) struct RawFeed {
        kind as "type": FeedType = required(word),
        cluster: String = required(Value::text),
        authority: String = required(Value::text),
        path: String = required(Value::text),
        refresh_seconds: Option<u32> = optional(Value::u32),
        max_stale_seconds: Option<u32> = optional(Value::u32),
        timeout_ms: Option<u32> = optional(Value::u32),
        headers: Named<Secret> = named(Secret::read),
        on_stale: OnStale = or_default(word),
        issuer_certificate: Option<String> = optional(Value::text),
    }
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
    let feeds = raw.feeds.into_iter().enumerate().map(|(index, feed)| self::feed(index, feed));
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
        issuer_certificate: pem,
    } = raw;
    let at = format!("revocation.feeds[{index}]");
    let certificate = format!("{at}.issuer_certificate");
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
    let document = Value::document(text)?;
    let members = document.object(["sha256", "serials", "identities"])?;
    // Of a feed an empty object would revoke nothing, which a server that has lost its data says by accident.
    if !members.iter().any(|member| member.is_given()) {
        let problem = "found none of sha256, serials and identities, expected at least one of them";
        return Err(document.error(problem.to_owned()));
    }
    lists(members).map(Draft::finish)
}

/// What `sha256`, `serials` and `identities` list.
#[inline(never)]
fn lists([sha256, serials, identities]: [Member<'_>; 3]) -> Read<Draft> {
    let mut list = Draft::default();
    add_texts(&mut list, sha256, add_thumbprint)?;
    if let Some(serials) = serials.value {
        // Neighbours mostly have the same issuer.
        let mut last = None;
        for entry in serials.entries("a list of objects with issuer and serial")? {
            add_serial(&mut list, entry, &mut last)?;
        }
    }
    add_texts(&mut list, identities, add_identity)?;
    Ok(list)
}

#[inline(never)]
fn add_texts(list: &mut Draft, texts: Member<'_>, add: fn(&mut Draft, &str) -> Result<(), &'static str>) -> Read<()> {
    if let Some(texts) = texts.value {
        for entry in texts.entries("a list of strings")? {
            let text = entry.str()?;
            add(list, &text).map_err(|expected| unexpected(entry, &text, expected))?;
        }
    }
    Ok(())
}

/// A serial number with its issuer. `last`: the issuer before.
#[inline(never)]
fn add_serial(list: &mut Draft, entry: Value<'_>, last: &mut Option<(String, IssuerName)>) -> Read<()> {
    if !entry.is_object() {
        return Err(entry.is_not("an object of issuer and serial"));
    }
    let [issuer, number] = entry.object(["issuer", "serial"])?;
    let name = issuer.value.map(|value| issuer_name(value, last)).transpose()?;
    let bytes = number.optional(serial_number)?;
    let (issuer, number) = (issuer.required(name)?, number.required(bytes)?);
    list.add_serial(issuer, &number).map_err(|Full| entry.error(FULL.to_owned()))
}

fn serial_number(value: Value<'_>) -> Read<Vec<u8>> {
    let text = value.str()?;
    serial(&text).ok_or_else(|| unexpected(value, &text, SERIAL_EXPECTED))
}

fn issuer_name(value: Value<'_>, last: &mut Option<(String, IssuerName)>) -> Read<IssuerName> {
    let text = value.str()?;
    match last {
        Some((known, name)) if *known == text => Ok(*name),
        last => {
            let name = DistinguishedName::parse(&text).ok_or_else(|| unexpected(value, &text, DN_EXPECTED))?;
            let name = IssuerName::of(&name);
            *last = Some((text.into_owned(), name));
            Ok(name)
        }
    }
}

#[cold]
#[inline(never)]
fn unexpected(entry: Value<'_>, text: &str, expected: &str) -> ConfigError {
    entry.error(format!("found {text:?}, expected {expected}"))
}

const MAX_SERIAL_DIGITS: usize = 64;
const FULL: &str = "found more than can be kept";
const SERIAL_EXPECTED: &str = "hexadecimal digits, at most 64, as `openssl x509 -noout -serial` prints them";

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
