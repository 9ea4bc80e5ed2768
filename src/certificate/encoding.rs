//! From the text of a certificate to its DER: one tolerant decoder for every way a proxy writes one.
//!
//! Percent-escapes are undone (`%XX` alone: a `+` is a base64 character and stays), PEM armor and white space go, the
//! rest is base64. What remains must be one certificate; [`super::Certificate::from_der`] refuses trailing bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::escape::percent_decode;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// Decodes PEM, plain or percent-encoded, or bare base64, into DER. `None` for anything else, several certificates included.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = percent_decode(text)?;
    armored(&text).unwrap_or_else(|| unspaced(&text))
}

/// The same for what must be PEM.
pub fn pem(text: &[u8]) -> Option<Vec<u8>> {
    armored(&percent_decode(text)?)?
}

/// The same for what must be base64 and nothing else: no armor, no escapes, no white space.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().filter(|der| !der.is_empty())
}

/// What PEM armor holds, and whether it is whole; `None` where there is none.
fn armored(text: &[u8]) -> Option<Option<Vec<u8>>> {
    let body = text.trim_ascii().strip_prefix(BEGIN)?;
    Some(body.strip_suffix(END).and_then(unspaced))
}

fn unspaced(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    base64(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_one_certificate_decodes_to_the_same_bytes() {
        // The plus sign is what form decoding would corrupt.
        let der = b"\xfb\xef\xbe0".to_vec();
        for text in [
            "++++MA==",
            "%2B%2b++MA%3D%3d",
            "-----BEGIN CERTIFICATE-----\n++++\nMA==\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\r\n++++MA==\r\n-----END CERTIFICATE-----",
            "-----BEGIN%20CERTIFICATE-----%0A%2B%2B%2B%2BMA%3D%3D%0A-----END%20CERTIFICATE-----%0A",
        ] {
            assert_eq!(decode(text.as_bytes()).as_ref(), Some(&der), "{text}");
            assert_eq!(pem(text.as_bytes()).is_some(), text.starts_with('-'), "{text}");
            assert_eq!(base64(text.as_bytes()).is_some(), text == "++++MA==", "{text}");
        }
    }

    #[test]
    fn what_is_not_exactly_one_certificate_is_refused() {
        for text in [
            "",
            " ",
            "++++ MA==%",
            "%",
            "%2",
            "%zz",
            "++++MA=",
            "++++M!==",
            "-----BEGIN CERTIFICATE-----\n++++MA==\n",
            "++++MA==\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\n++++MA==\n-----END CERTIFICATE-----\nx",
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
            assert_eq!(pem(text.as_bytes()), None, "{text}");
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
    }
}
