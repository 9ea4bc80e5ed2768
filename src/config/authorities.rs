//! `authorities`.

use super::clients::DN_EXPECTED;
use super::value::Named;
use super::{ConfigError, label, one_of};
use crate::certificate::KeyUsage;
use crate::identity::Authorities;
use crate::x509_signature::Authority;

pub(super) fn compile(raw: Named<String>) -> Result<Authorities, ConfigError> {
    let mut authorities = Authorities::default();
    for (name, pem) in raw {
        let path = format!("authorities.{name}");
        label(format_args!("{path}"), &name)?;
        if name.contains('=') {
            let expected = "a name without \"=\", which distinguished names have";
            return Err(ConfigError::new(path, name, expected));
        }
        let authority = Authority::from_pem(&pem, KeyUsage::CERTIFICATES)
            .map_err(|expected| ConfigError::new(path.as_str(), pem, expected))?;
        authorities.add(name, authority).map_err(|other| ConfigError {
            path,
            problem: format!("found the key of authority {other:?}, expected a key that no other authority has"),
        })?;
    }
    Ok(authorities)
}

/// The texts that can pin an issuer, for messages.
pub(super) fn issuer_expected(found: &str, authorities: &Authorities) -> String {
    format!("{DN_EXPECTED}; or {}", one_of(found, "certificate authority", &mut authorities.names()))
}
