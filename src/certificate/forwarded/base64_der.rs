//! Base64 of the DER and nothing else: HAProxy, Caddy, Azure App Service.

use crate::certificate::{Certificate, Malformed, encoding};

pub(super) fn read(value: &[u8]) -> Result<Certificate, Malformed> {
    Certificate::from_der(&encoding::base64(value).ok_or(Malformed::Encoding)?)
}
