//! `revocation`: what is written in the configuration, and what feeds bring, in the same form.
//!
//! Read straight into the list, so that of 100,000 entries there is never another copy.

use super::ConfigError;
use super::clients::{DN_EXPECTED, canonical, thumbprint};
use super::fetch::{self, Defaults, RawFetch, Secret};
use super::value::{Document, Inside, Member, Named, Value, no_json, object};
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
    pub fn read(value: Value<'_>) -> Self {
        let mut known = value.known(["sha256", "serials", "identities", "feeds"]);
        let list = lists(&mut value.inside(b'{', "an object"), &mut known);
        let [.., feeds] = known;
        Self { list, feeds: feeds.or_default(|value| value.list(RawFeed::read)) }
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
    let document = Document::new(text);
    let value = document.value();
    let mut known = value.known(["sha256", "serials", "identities"]);
    let mut members = value.inside(b'{', "an object");
    let list = lists(&mut members, &mut known);
    // Of a feed an empty object would revoke nothing, which a server that has lost its data says by accident.
    if !known.iter().any(|member| member.is_given()) {
        value.refuse("found none of sha256, serials and identities, expected at least one of them".to_owned());
    }
    members.ends();
    // What is no JSON is that first of all.
    document.check().map_err(|problem| no_json(text).unwrap_or(problem))?;
    Ok(list.finish())
}

/// The lists of an object. Of its other members it is noted where they are.
#[inline(never)]
fn lists<'a>(members: &mut Inside<'a>, known: &mut [Member<'a>]) -> Draft {
    let mut list = Draft::default();
    while let Some(member) = members.member(known) {
        match member.key() {
            "sha256" => add_texts(&mut list, members, add_thumbprint),
            "serials" => add_serials(&mut list, members),
            "identities" => add_texts(&mut list, members, add_identity),
            _ => member.value = Some(members.value()),
        }
    }
    list
}

type Add = fn(&mut Draft, &str) -> Result<(), &'static str>;

#[inline(never)]
fn add_texts(list: &mut Draft, members: &mut Inside<'_>, add: Add) {
    if !members.opens(b'[', "a list of strings") {
        return;
    }
    while members.entry() {
        let entry = members.here();
        let text = members.text();
        if let Err(expected) = add(list, &text) {
            unexpected(entry, &text, expected);
        }
    }
}

#[inline(never)]
fn add_serials(list: &mut Draft, members: &mut Inside<'_>) {
    if !members.opens(b'[', "a list of objects with issuer and serial") {
        return;
    }
    // Neighbours mostly have the same issuer.
    let mut last = None;
    while members.entry() {
        add_serial(list, members, &mut last);
    }
}

/// The serial number that is next, with its issuer. `last`: the issuer before.
#[inline(never)]
fn add_serial(list: &mut Draft, entries: &mut Inside<'_>, last: &mut Option<(String, IssuerName)>) {
    let entry = entries.here();
    let mut known = entry.known(["issuer", "serial"]);
    if !entries.opens(b'{', "an object of issuer and serial") {
        return;
    }
    let (mut name, mut number) = (None, None);
    while let Some(member) = entries.member(&mut known) {
        let place = entries.here();
        let text = entries.text();
        let expected = match member.key() {
            "issuer" => {
                name = issuer_name(&text, last);
                name.is_none().then_some(DN_EXPECTED)
            }
            _ => {
                number = serial(&text);
                number.is_none().then_some(SERIAL_EXPECTED)
            }
        };
        if let Some(expected) = expected {
            unexpected(place, &text, expected);
        }
    }
    for member in known {
        member.must_be_given();
    }
    if let Some((name, number)) = name.zip(number)
        && list.add_serial(name, &number) == Err(Full)
    {
        entry.refuse(FULL.to_owned());
    }
}

fn issuer_name(text: &str, last: &mut Option<(String, IssuerName)>) -> Option<IssuerName> {
    match last {
        Some((known, name)) if known == text => Some(*name),
        last => {
            let name = IssuerName::of(&DistinguishedName::parse(text)?);
            *last = Some((text.to_owned(), name));
            Some(name)
        }
    }
}

#[cold]
#[inline(never)]
fn unexpected(entry: Value<'_>, text: &str, expected: &str) {
    entry.refuse(format!("found {text:?}, expected {expected}"));
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
