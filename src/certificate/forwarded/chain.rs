//! A chain of certificates, of which the leaf alone is an identity.

use crate::certificate::{Certificate, Malformed, Unsuitable};

/// The leaf in front. Behind it there may be certificate authorities only: a second leaf would be a second answer to
/// who is calling, such as a header that was sent twice and joined on the way.
pub(super) fn leaf(ders: impl Iterator<Item = Option<Vec<u8>>>) -> Result<Certificate, Malformed> {
    let mut leaf = None;
    for der in ders {
        let certificate = Certificate::from_der(&der.ok_or(Malformed::Encoding)?)?;
        match leaf {
            None => leaf = Some(certificate),
            Some(_) if certificate.unsuitable == Some(Unsuitable::Authority) => {}
            Some(_) => return Err(Malformed::SeveralLeaves),
        }
    }
    leaf.ok_or(Malformed::Encoding)
}
