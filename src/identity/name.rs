//! The name by which a certificate is known: `identity.precedence` applied to what it holds.

use std::borrow::Cow;

use super::brief;
use super::spiffe::{SpiffeId, claims_spiffe};
use crate::certificate::{Certificate, KeyUsage, Value};
use crate::decision::{Deny, Reason};

/// A kind of name that a certificate can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// The SPIFFE ID in the URI subject alternative name.
    UriSan,
    /// DNS subject alternative names.
    DnsSan,
    /// The subject's Common Name.
    SubjectCn,
}

/// The names of a certificate that may identify it: all of one kind, the first kind of the precedence that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Typed as in the configuration: `spiffe://…`, `dns:…` or `cn:…`. Several only for DNS.
    pub typed: Vec<String>,
    /// The SPIFFE ID, whichever kind the precedence chose.
    pub spiffe: Option<SpiffeId>,
    /// A Common Name would be next by the precedence, and there are several: none of them identifies.
    pub has_several_common_names: bool,
}

impl Names {
    /// Applies the precedence. A certificate that claims a SPIFFE ID must be a valid X509-SVID whatever is chosen
    /// (X509-SVID section 5.2): exactly one URI, a valid ID, one of the `trust_domains` unless that list is empty.
    pub fn of(certificate: &Certificate, precedence: &[NameKind], trust_domains: &[String]) -> Result<Self, Deny> {
        let spiffe = spiffe_id(certificate, trust_domains)?;
        let common_names: Vec<&Value> = certificate.subject.values("CN").collect();
        let texts = common_names.iter().filter_map(|name| match name {
            Value::Text(text) => Some(text),
            Value::Der(_) => None,
        });
        let names = texts.chain(&certificate.uri_sans).chain(&certificate.dns_sans).chain(&certificate.email_sans);
        if names.into_iter().any(|name| name.chars().any(char::is_control)) {
            return Err(invalid("a name in the certificate holds a control character"));
        }
        let mut typed = Vec::new();
        let mut has_several_common_names = false;
        for kind in precedence {
            match kind {
                NameKind::UriSan => typed.extend(spiffe.as_ref().map(SpiffeId::to_string)),
                NameKind::DnsSan => {
                    let names = certificate.dns_sans.iter().filter(|name| !name.is_empty());
                    typed.extend(names.map(|name| format!("dns:{name}")));
                }
                NameKind::SubjectCn => match common_names.as_slice() {
                    [] => {}
                    // There is a name, though nobody can read it, and a weaker one does not step in.
                    [Value::Der(_)] => break,
                    [Value::Text(name)] if name.is_empty() => {}
                    [Value::Text(name)] => typed.push(format!("cn:{name}")),
                    _ => {
                        has_several_common_names = true;
                        break;
                    }
                },
            }
            if !typed.is_empty() {
                break;
            }
        }
        Ok(Self { typed, spiffe, has_several_common_names })
    }
}

fn spiffe_id(certificate: &Certificate, trust_domains: &[String]) -> Result<Option<SpiffeId>, Deny> {
    if !certificate.uri_sans.iter().any(|uri| claims_spiffe(uri)) {
        return Ok(None);
    }
    let [uri] = certificate.uri_sans.as_slice() else {
        return Err(invalid(format!(
            "a SPIFFE certificate must have exactly one URI subject alternative name: found {}",
            brief(&certificate.uri_sans.join(", "))
        )));
    };
    // X509-SVID section 4.3. What may sign certificates or lists is no client's anyway.
    if certificate.key_usage.is_some_and(|usage| !usage.includes(KeyUsage::SIGNATURES)) {
        return Err(invalid("the key usage of a SPIFFE certificate must include digitalSignature"));
    }
    let id =
        SpiffeId::parse(uri).ok_or_else(|| invalid(format!("the SPIFFE ID is not valid: found {}", brief(uri))))?;
    if trust_domains.is_empty() || trust_domains.iter().any(|domain| domain == id.trust_domain()) {
        Ok(Some(id))
    } else {
        let found = id.trust_domain();
        Err(invalid(format!("the SPIFFE trust domain is not one of identity.trust_domains: found {found}")))
    }
}

fn invalid(note: impl Into<Cow<'static, str>>) -> Deny {
    Deny::new(Reason::IdentityInvalid).with_note(note)
}
