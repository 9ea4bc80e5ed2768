//! Distinguished names and SPIFFE IDs.

use mtls_authz::fuzzing::{DistinguishedName, FoldedName, SpiffeId};

/// RFC 4514 text: what is read can be printed and read back, and the print is its own print. The reversed name
/// is the same to a list that revokes, and so is the printed one.
pub fn distinguished_name(data: &[u8]) {
    let Some(name) = std::str::from_utf8(data).ok().and_then(DistinguishedName::parse) else {
        return;
    };
    let printed = name.to_string();
    let read = DistinguishedName::parse(&printed);
    assert_eq!(read.as_ref(), Some(&name), "{printed}");
    assert_eq!(read.unwrap().to_string(), printed);
    assert!(!printed.chars().any(char::is_control), "{printed:?}");
    let reversed = DistinguishedName::from_der_order(name.relative_names().to_vec());
    let folded = FoldedName::subject(&name);
    assert_eq!(FoldedName::subject(&reversed), folded, "{printed}");
    assert_eq!(FoldedName::identity(&format!("subject:{printed}")), Some(folded), "{printed}");
}

/// A SPIFFE ID: exactly what the specification's grammar spells, made of a trust domain and a path.
pub fn spiffe_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Some(id) = SpiffeId::parse(text) else {
        assert!(!is_spiffe_id(text), "{text}");
        return;
    };
    assert!(is_spiffe_id(text), "{text}");
    assert_eq!(id.to_string(), text);
    assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
    assert_eq!(SpiffeId::trust_domain_of(text), Some(id.trust_domain()));
    assert_eq!(SpiffeId::parse(&id.to_string()), Some(id));
}

/// SPIFFE-ID, section 2, from right to left.
fn is_spiffe_id(text: &str) -> bool {
    const IN_PATH: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";
    const IN_TRUST_DOMAIN: &str = "abcdefghijklmnopqrstuvwxyz0123456789-._";
    let Some(mut rest) = text.strip_prefix("spiffe://").filter(|_| text.len() <= 2048) else {
        return false;
    };
    let mut segments = 0;
    while let Some((before, segment)) = rest.rsplit_once('/') {
        if ["", ".", ".."].contains(&segment) || segment.contains(|character| !IN_PATH.contains(character)) {
            return false;
        }
        segments += 1;
        rest = before;
    }
    segments > 0 && (1..=255).contains(&rest.len()) && rest.chars().all(|character| IN_TRUST_DOMAIN.contains(character))
}
