//! Traefik's `PassTLSClientCert`: base64 of the DER, `,` before each certificate of the chain that follows the leaf.
//! Older versions percent-encode each; a `+` is the base64 character in both.

use super::chain;
use crate::certificate::{Certificate, Malformed, encoding};
use crate::escape::percent_decode;

pub(super) fn read(value: &[u8]) -> Result<Certificate, Malformed> {
    chain::leaf(value.split(|byte| *byte == b',').map(|text| encoding::base64(&percent_decode(text)?)))
}
