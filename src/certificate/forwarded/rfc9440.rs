//! `Client-Cert`: a byte sequence of structured fields, `:base64:` (RFC 9440 section 2.2, RFC 8941 section 3.3.5), with
//! nothing before or behind it, parameters included.

use crate::certificate::{Certificate, Malformed, encoding};

pub(super) fn read(value: &[u8]) -> Result<Certificate, Malformed> {
    let base64 = value.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":")).ok_or(Malformed::Encoding)?;
    Certificate::from_der(&encoding::base64(base64).ok_or(Malformed::Encoding)?)
}
