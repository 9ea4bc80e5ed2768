//! `x-forwarded-client-cert`, as Envoy writes it: elements (hops) separated by `,`, pairs by `;`, some values quoted; or, from
//! Envoy 1.38 on, an array of JSON objects.
//!
//! Envoy does not quote `URI`, `DNS` and `By` in the text, so a name that holds `;` or `,` can look like further pairs. Nothing here
//! is therefore believed for what it says: a `Cert` counts by its hash, and a whole element only where every pair has
//! the form that Envoy gives it and agrees with the certificates of the connection.

use serde_json::Value;

use super::{Certificate, DistinguishedName, Thumbprint, encoding};
use crate::escape::percent_decode;
use crate::json;
use crate::proxy::{Property, Proxy};
use crate::request::Values;

/// One `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// In lower case.
    pub key: String,
    /// Without its quotes, everything else as it was sent.
    pub value: Vec<u8>,
    /// Did it stand in quotes? `None`: it is of the JSON form, in which every value does.
    pub quoted: Option<bool>,
}

impl Pair {
    /// Does it have the form that Envoy gives values of this key?
    fn has_form_of(&self, key: &str) -> bool {
        let Some(quoted) = self.quoted else {
            return true;
        };
        match key {
            "cert" | "chain" => quoted && self.value.iter().all(|byte| is_escaped_pem_byte(*byte)),
            "subject" | "issuer" => quoted,
            _ => !quoted,
        }
    }
}

/// The characters of PEM that Envoy has escaped. No reader can take one of them for the end of the value.
fn is_escaped_pem_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte)
}

/// One hop.
pub type Element = Vec<Pair>;

/// More hops, or pairs in one, than this are not read.
pub(super) const MAX_PARTS: usize = 64;

/// The DER in one of the `Cert` values that hashes to `thumbprint`. Whoever wrote it, it is that certificate.
pub(super) fn certificate(values: &Values<'_>, thumbprint: Thumbprint) -> Option<Vec<u8>> {
    values
        .iter()
        .filter_map(parse)
        .flatten()
        .flatten()
        .filter(|pair| pair.key == "cert")
        .filter_map(|pair| encoding::decode(&pair.value))
        .find(|der| Thumbprint::of(der) == thumbprint)
}

/// Is this header what Envoy wrote for this very connection: one element, every value in which the certificates of the
/// connection confirm?
///
/// Of `Chain` the leaf in front is checked and that certificates follow; which ones, the leaf cannot tell. Of `By`, the URIs of this
/// Envoy's own certificate, the first is checked, because Envoy tells no other. A key that is not known here, as a later Envoy may
/// write it, is confirmed where its value is one of a known key.
pub(super) fn is_own(values: &Values<'_>, certificate: &Certificate, proxy: &dyn Proxy) -> bool {
    let elements = values.exactly_one().and_then(parse);
    let Some([element]) = elements.as_deref() else {
        return false;
    };
    let is_there = |key: &str| element.iter().filter(|pair| pair.key == key).count();
    let once = ["cert", "chain", "subject", "issuer"].into_iter().all(|key| is_there(key) <= 1);
    let confirms = |key: &str, pair: &Pair| {
        pair.has_form_of(key) && str::from_utf8(&pair.value).is_ok_and(|text| confirms(proxy, certificate, key, text))
    };
    let mut by = element.iter().filter(|pair| pair.key == "by");
    let has_right_server = by.next().is_none_or(|first| {
        first.has_form_of("by")
            && proxy.property(Property::LocalUriSan).ok().flatten().as_ref() == Some(&first.value)
            && by.all(|other| other.has_form_of("by") && other.value != first.value && is_plain_uri(&other.value))
    });
    is_there("hash") == 1
        && once
        && has_right_server
        && element.iter().all(|pair| match pair.key.as_str() {
            "by" => true,
            key if KEYS.contains(&key) => confirms(key, pair),
            _ => KEYS.iter().any(|key| confirms(key, pair)),
        })
}

/// Every key but `By`.
const KEYS: &[&str] = &["hash", "cert", "chain", "subject", "issuer", "uri", "dns"];

fn confirms(proxy: &dyn Proxy, certificate: &Certificate, key: &str, text: &str) -> bool {
    match key {
        "hash" => Thumbprint::from_hex(text) == Some(certificate.thumbprint),
        "cert" => encoding::pem(text.as_bytes()).is_some_and(|der| Thumbprint::of(&der) == certificate.thumbprint),
        "chain" => is_chain_of(text, certificate.thumbprint),
        "subject" => is_name(text, &certificate.subject) || is_printed_subject(proxy, text),
        "issuer" => certificate.issuer.as_ref().is_some_and(|issuer| is_name(text, issuer)),
        "uri" => text.is_empty() || certificate.uri_sans.iter().any(|uri| uri == text),
        "dns" => certificate.dns_sans.iter().any(|dns| dns.eq_ignore_ascii_case(text)),
        _ => false,
    }
}

fn is_name(text: &str, name: &DistinguishedName) -> bool {
    match text {
        "" => *name == DistinguishedName::default(),
        _ => DistinguishedName::parse_printed(text).as_ref() == Some(name),
    }
}

/// Does Envoy say the same of this connection elsewhere? It prints some names in a way that they cannot be read back from.
fn is_printed_subject(proxy: &dyn Proxy, text: &str) -> bool {
    !text.is_empty()
        && proxy.property(Property::PeerSubject).ok().flatten().is_some_and(|subject| subject == text.as_bytes())
}

/// A URI that no reader of the header can take for more than one value.
fn is_plain_uri(uri: &[u8]) -> bool {
    uri.iter().all(|byte| byte.is_ascii_alphanumeric() || b"%-._~:/".contains(byte))
}

/// Certificates and nothing else, the first of them this one.
fn is_chain_of(chain: &str, leaf: Thumbprint) -> bool {
    const END: &str = "-----END CERTIFICATE-----";
    let Some(pem) = percent_decode(chain.as_bytes()) else {
        return false;
    };
    let Ok(pem) = str::from_utf8(&pem) else {
        return false;
    };
    let blocks: Vec<&str> = pem.trim_ascii().split_inclusive(END).collect();
    let decoded: Option<Vec<Certificate>> =
        blocks.iter().take(MAX_PARTS).map(|block| Certificate::from_text(block.as_bytes()).ok()).collect();
    let first = decoded.as_deref().and_then(<[Certificate]>::first);
    blocks.len() <= MAX_PARTS && first.is_some_and(|first| first.thumbprint == leaf)
}

/// Splits a header value of either form. `None` where it does not have the documented one.
pub(super) fn parse(value: &[u8]) -> Option<Vec<Element>> {
    if value.starts_with(b"[") { parse_json(value) } else { parse_text(value) }
}

fn parse_json(value: &[u8]) -> Option<Vec<Element>> {
    let Ok(Value::Array(elements)) = json::value(str::from_utf8(value).ok()?) else {
        return None;
    };
    if elements.len() > MAX_PARTS {
        return None;
    }
    let element = |element| match element {
        Value::Object(members) => {
            members.into_iter().try_fold(Element::new(), add_member).filter(|element| element.len() <= MAX_PARTS)
        }
        _ => None,
    };
    elements.into_iter().map(element).collect()
}

/// A member is a text, or a list of them: a pair for each, but one for the whole chain.
fn add_member(mut element: Element, (key, value): (String, Value)) -> Option<Element> {
    let key = as_key(&key)?;
    let texts = match value {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.into_iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        _ => return None,
    };
    // Some readers take keys that differ in letter case for one.
    if element.iter().any(|pair| pair.key == key) {
        return None;
    }
    let texts = if key == "chain" { vec![texts.concat()] } else { texts };
    element.extend(texts.into_iter().map(|text| Pair { key: key.clone(), value: text.into_bytes(), quoted: None }));
    Some(element)
}

fn as_key(key: &str) -> Option<String> {
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_key.then(|| key.to_ascii_lowercase())
}

/// Splits a header value in the form of text. `None` where it does not have the documented one.
pub fn parse_text(value: &[u8]) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    let mut element = Element::new();
    let mut rest = value;
    loop {
        let (pair, after) = pair(rest)?;
        element.push(pair);
        if element.len() > MAX_PARTS || elements.len() == MAX_PARTS {
            return None;
        }
        match after.split_first() {
            Some((b';', after)) => rest = after,
            Some((b',', after)) => {
                elements.push(std::mem::take(&mut element));
                rest = after.trim_ascii_start();
            }
            Some(_) => return None,
            None => {
                elements.push(element);
                return Some(elements);
            }
        }
    }
}

/// `Key=value` or `Key="value"`, and what follows it.
fn pair(text: &[u8]) -> Option<(Pair, &[u8])> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (key, rest) = text.split_at_checked(equals)?;
    let key = as_key(str::from_utf8(key).ok()?)?;
    let rest = rest.get(1..)?;
    if let Some((b'"', quoted)) = rest.split_first() {
        let (value, rest) = unquote(quoted)?;
        return Some((Pair { key, value, quoted: Some(true) }, rest));
    }
    let end = rest.iter().position(|byte| matches!(byte, b';' | b',')).unwrap_or(rest.len());
    let (value, rest) = rest.split_at_checked(end)?;
    Some((Pair { key, value: value.to_vec(), quoted: Some(false) }, rest))
}

/// The rest of a quoted string behind its opening quote. A backslash keeps the next byte from ending it; both stay,
/// because in a `Subject` they are the escapes of RFC 2253.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    let (value, rest) = text.split_at_checked(end)?;
    Some((value.to_vec(), rest.get(1..)?))
}
