//! `x-forwarded-client-cert`, as Envoy writes it: elements (hops) separated by `,`, pairs by `;`, some values quoted.
//!
//! Envoy does not quote `URI`, `DNS` and `By`, so a name that holds `;` or `,` can look like further pairs. Nothing here
//! is therefore believed for what it says: a `Cert` counts by its hash, and a whole element only where every pair has
//! the form that Envoy gives it and agrees with the certificates of the connection.

use super::{Certificate, DistinguishedName, Thumbprint, encoding};
use crate::escape::percent_decode;
use crate::request::Values;

/// One `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// In lower case.
    pub key: String,
    /// Without its quotes, everything else as it was sent.
    pub value: Vec<u8>,
    /// Did it stand in quotes?
    pub quoted: bool,
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

/// Is this header what Envoy wrote for this very connection: one element, every pair of which the certificates of the
/// connection confirm? `server` is the first URI of this Envoy's own certificate, which Envoy writes as `By`.
///
/// Of `Chain` the leaf in front is checked and that certificates follow; which ones, the leaf cannot tell.
pub(super) fn is_own(values: &Values<'_>, certificate: &Certificate, server: impl FnOnce() -> Option<Vec<u8>>) -> bool {
    let Some(value) = values.exactly_one() else {
        return false;
    };
    let Some(elements) = parse(value) else {
        return false;
    };
    let [element] = elements.as_slice() else {
        return false;
    };
    let stands = |key: &str| element.iter().filter(|pair| pair.key == key).count();
    let once = ["by", "cert", "chain", "subject"].into_iter().all(|key| stands(key) <= 1);
    stands("hash") == 1
        && once
        && element.iter().all(|pair| pair.key == "by" || confirms(certificate, pair))
        && element
            .iter()
            .find(|pair| pair.key == "by")
            .is_none_or(|by| !by.quoted && server().as_ref() == Some(&by.value))
}

fn confirms(certificate: &Certificate, pair: &Pair) -> bool {
    let Ok(text) = std::str::from_utf8(&pair.value) else {
        return false;
    };
    match (pair.key.as_str(), pair.quoted) {
        ("hash", false) => Thumbprint::from_hex(text) == Some(certificate.thumbprint),
        ("cert" | "chain", true) if !text.bytes().all(is_escaped_pem_byte) => false,
        ("cert", true) => {
            encoding::decode(&pair.value).is_some_and(|der| Thumbprint::of(&der) == certificate.thumbprint)
        }
        ("chain", true) => is_chain_of(&pair.value, certificate.thumbprint),
        ("subject", true) => match text {
            "" => certificate.subject == DistinguishedName::default(),
            name => DistinguishedName::parse(name).as_ref() == Some(&certificate.subject),
        },
        ("uri", false) => text.is_empty() || certificate.uri_sans.iter().any(|uri| uri == text),
        ("dns", false) => certificate.dns_sans.iter().any(|dns| dns.eq_ignore_ascii_case(text)),
        _ => false,
    }
}

/// What is left of PEM when Envoy has escaped it: nothing that any reader could take for the end of the value.
fn is_escaped_pem_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte)
}

/// Certificates and nothing else, the first of them this one.
fn is_chain_of(escaped: &[u8], leaf: Thumbprint) -> bool {
    const END: &str = "-----END CERTIFICATE-----";
    let Some(pem) = percent_decode(escaped) else {
        return false;
    };
    let Ok(pem) = std::str::from_utf8(&pem) else {
        return false;
    };
    let blocks: Vec<&str> = pem.trim_ascii().split_inclusive(END).collect();
    let decoded: Option<Vec<Certificate>> =
        blocks.iter().take(MAX_PARTS).map(|block| Certificate::from_text(block.as_bytes()).ok()).collect();
    let first = decoded.as_deref().and_then(<[Certificate]>::first);
    blocks.len() <= MAX_PARTS && first.is_some_and(|first| first.thumbprint == leaf)
}

/// Splits a header value. `None` where it does not have the documented form.
pub fn parse(value: &[u8]) -> Option<Vec<Element>> {
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
    let key = std::str::from_utf8(key).ok()?;
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let key = key.to_ascii_lowercase();
    let rest = rest.get(1..)?;
    if let Some((b'"', quoted)) = rest.split_first() {
        let (value, rest) = unquote(quoted)?;
        return Some((Pair { key, value, quoted: true }, rest));
    }
    let end = rest.iter().position(|byte| matches!(byte, b';' | b',')).unwrap_or(rest.len());
    let (value, rest) = rest.split_at_checked(end)?;
    Some((Pair { key, value: value.to_vec(), quoted: false }, rest))
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
