//! Percent-encoded PEM of one certificate: nginx, Apache, and AWS ALB, which leaves `+`, `=` and `/` as they are. A `+`
//! is always the base64 character: no form decoding.

use crate::certificate::{Certificate, Malformed, encoding};

pub(super) fn read(value: &[u8]) -> Result<Certificate, Malformed> {
    Certificate::from_der(&encoding::pem(value).ok_or(Malformed::Encoding)?)
}
