//! Envoy's `x-forwarded-client-cert`: an element a proxy, each appended behind those before it, so they are counted
//! from the right. The last one is the direct peer's word about its own peer, the one before is the next proxy's word,
//! and so on. What stands left of the elements that trusted proxies wrote may be a caller's own invention.
//!
//! As text, and from Envoy 1.38 on as JSON, an array of objects. Names of certificates stand unquoted in the text, so
//! that one with `,` or `;` in it looks like further elements or pairs. Therefore every element of either form must hold one `Cert`
//! with its `Hash`, and the names beside it must be exactly that certificate's: an element that a name was cut out of
//! is noticed.

use std::str::from_utf8;

use super::Forwarded;
use crate::certificate::xfcc::{self, Element};
use crate::certificate::{Certificate, Malformed, Thumbprint, encoding};

pub(super) fn read(value: &[u8], hop: usize) -> Result<Forwarded, Malformed> {
    let elements = xfcc::parse(value).ok_or(Malformed::Elements)?;
    let mut certificates = elements.iter().map(whole).collect::<Result<Vec<_>, _>>()?;
    let place = certificates.len().checked_sub(hop).ok_or(Malformed::TooFewHops)?;
    let mut chosen = certificates.drain(place..);
    Ok(Forwarded { client: chosen.next().ok_or(Malformed::TooFewHops)?, hops: chosen.collect() })
}

/// The certificate of an element, if it says nothing else than that certificate does.
fn whole(element: &Element) -> Result<Certificate, Malformed> {
    let pem = sole(element, "cert")?.ok_or(Malformed::NoCert)?;
    let certificate = Certificate::from_der(&encoding::pem(pem).ok_or(Malformed::Encoding)?)?;
    let hash = sole(element, "hash")?.and_then(|hash| from_utf8(hash).ok()).and_then(Thumbprint::from_hex);
    let agrees = hash == Some(certificate.thumbprint)
        && names(element, "uri", &certificate.uri_sans)
        && names(element, "dns", &certificate.dns_sans);
    if agrees { Ok(certificate) } else { Err(Malformed::Elements) }
}

/// The value of a pair that may stand once.
fn sole<'a>(element: &'a Element, key: &str) -> Result<Option<&'a [u8]>, Malformed> {
    let mut found = element.iter().filter(|pair| pair.key == key).map(|pair| pair.value.as_slice());
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Malformed::Elements),
        (value, None) => Ok(value),
    }
}

/// Are these all names of a kind, in order, if any stands? A kind that the certificate does not have may stand empty.
fn names(element: &Element, key: &str, all: &[String]) -> bool {
    let mut stand = element.iter().filter(|pair| pair.key == key).map(|pair| pair.value.as_slice()).peekable();
    if stand.peek().is_none() {
        return true;
    }
    let mut all = all.iter().map(String::as_bytes).filter(|name| !name.is_empty());
    stand.filter(|name| !name.is_empty()).all(|name| all.next().is_some_and(|known| known.eq_ignore_ascii_case(name)))
        && all.next().is_none()
}
