//! `x-forwarded-client-cert`, as Envoy writes it: elements (hops) separated by `,`, pairs by `;`, some values quoted.
//!
//! Envoy does not quote `URI`, `DNS` and `By`, so a name that holds `;` or `,` can look like further pairs. Nothing here
//! is therefore believed for what it says: a `Cert` counts by its hash, and a whole element only where every pair agrees
//! with the certificate of the connection.

use super::{Certificate, DistinguishedName, Thumbprint, encoding};
use crate::escape::percent_decode;

/// A key in lower case and its value without quotes.
type Pair = (String, Vec<u8>);

/// One hop.
type Element = Vec<Pair>;

/// More hops, or pairs in one, than this are not read.
const MAX_PARTS: usize = 64;

/// The DER in one of the `Cert` values that hashes to `thumbprint`. Whoever wrote it, it is that certificate.
pub(super) fn certificate(values: &[&[u8]], thumbprint: Thumbprint) -> Option<Vec<u8>> {
    values
        .iter()
        .filter_map(|value| parse(value))
        .flatten()
        .flatten()
        .filter(|(key, _)| key == "cert")
        .filter_map(|(_, text)| encoding::decode(&text))
        .find(|der| Thumbprint::of(der) == thumbprint)
}

/// Is this header what Envoy wrote for this very connection: one element, every pair of which the certificate confirms?
///
/// `By` names the server and `Chain` the issuers, which the leaf cannot confirm; of `Chain` the leaf in front is checked.
pub fn is_own(values: &[&[u8]], certificate: &Certificate) -> bool {
    let [value] = values else {
        return false;
    };
    let Some(elements) = parse(value) else {
        return false;
    };
    let [element] = elements.as_slice() else {
        return false;
    };
    element.iter().filter(|(key, _)| key == "hash").count() == 1
        && element.iter().all(|(key, value)| confirms(certificate, key, value))
}

fn confirms(certificate: &Certificate, key: &str, value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    match key {
        "hash" => Thumbprint::from_hex(text) == Some(certificate.thumbprint),
        "cert" => encoding::decode(value).is_some_and(|der| Thumbprint::of(&der) == certificate.thumbprint),
        "chain" => starts_with_leaf(value, certificate.thumbprint),
        "subject" => {
            text.is_empty() && certificate.subject == DistinguishedName::default()
                || DistinguishedName::parse(text).as_ref() == Some(&certificate.subject)
        }
        "uri" => text.is_empty() || certificate.uri_sans.iter().any(|uri| uri == text),
        "dns" => certificate.dns_sans.iter().any(|dns| dns.eq_ignore_ascii_case(text)),
        "by" => true,
        _ => false,
    }
}

fn starts_with_leaf(chain: &[u8], thumbprint: Thumbprint) -> bool {
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let Some(pem) = percent_decode(chain) else {
        return false;
    };
    let end = pem.windows(END.len()).position(|window| window == END);
    end.and_then(|end| pem.get(..end + END.len()))
        .and_then(encoding::decode)
        .is_some_and(|der| Thumbprint::of(&der) == thumbprint)
}

/// Splits a header value. `None` where it does not have the documented form.
fn parse(value: &[u8]) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    let mut element = Element::new();
    let mut rest = value;
    loop {
        let (pair, after) = pair(rest)?;
        element.push(pair);
        if element.len() > MAX_PARTS || elements.len() > MAX_PARTS {
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
    let rest = rest.get(1..)?;
    let (value, rest) = match rest.split_first() {
        Some((b'"', quoted)) => unquote(quoted)?,
        _ => {
            let end = rest.iter().position(|byte| matches!(byte, b';' | b',')).unwrap_or(rest.len());
            let (value, rest) = rest.split_at_checked(end)?;
            (value.to_vec(), rest)
        }
    };
    Some(((key.to_ascii_lowercase(), value), rest))
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
