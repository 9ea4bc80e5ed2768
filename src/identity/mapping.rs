//! `identity.mappings`: families of certificates. An ordered list, the first that matches wins.

use super::pattern::NamePattern;
use super::spiffe::SpiffeId;
use super::template::{CaptureName, Captures, Template};
use crate::bounds;
use crate::certificate::{Certificate, DistinguishedName, Thumbprint};

/// One mapping: what a certificate must show, and who it is then.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// All of these must match.
    pub matchers: Vec<Matcher>,
    /// Names the client.
    pub client_id: Template,
    /// Names the profile; without it the client's own profiles count.
    pub profile_id: Option<Template>,
    /// Names the principal; without it the client's own counts.
    pub principal: Option<Template>,
}

/// One condition of a mapping's `match`.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Exactly one URI subject alternative name matches.
    UriSan(NamePattern),
    /// Exactly one DNS subject alternative name matches.
    DnsSan(NamePattern),
    /// Exactly one e-mail subject alternative name matches.
    EmailSan(NamePattern),
    /// The subject has this attribute exactly once and it matches.
    Subject(String, NamePattern),
    /// The issuer has this attribute exactly once and it matches.
    IssuerAttribute(String, NamePattern),
    /// The issuer is this.
    Issuer(DistinguishedName),
    /// The certificate is this.
    Sha256(Thumbprint),
}

impl Matcher {
    /// The names that a match captures.
    pub fn capture_names(&self) -> Vec<CaptureName> {
        match self {
            Self::UriSan(pattern)
            | Self::DnsSan(pattern)
            | Self::EmailSan(pattern)
            | Self::Subject(_, pattern)
            | Self::IssuerAttribute(_, pattern) => pattern.capture_names().collect(),
            Self::Issuer(_) | Self::Sha256(_) => Vec::new(),
        }
    }

    fn captures(&self, certificate: &Certificate) -> Option<Captures> {
        let nothing = Captures::default;
        match self {
            Self::UriSan(pattern) => only_match(pattern, &certificate.uri_sans),
            Self::DnsSan(pattern) => only_match(pattern, &certificate.dns_sans),
            Self::EmailSan(pattern) => only_match(pattern, &certificate.email_sans),
            Self::Subject(kind, pattern) => pattern.captures(certificate.subject.sole_text(kind)?),
            Self::IssuerAttribute(kind, pattern) => pattern.captures(certificate.issuer.as_ref()?.sole_text(kind)?),
            Self::Issuer(issuer) => (certificate.issuer.as_ref() == Some(issuer)).then(nothing),
            Self::Sha256(thumbprint) => (certificate.thumbprint == *thumbprint).then(nothing),
        }
    }
}

/// Two names that both match would leave open which is meant.
fn only_match(pattern: &NamePattern, names: &[String]) -> Option<Captures> {
    let mut matches = names.iter().filter_map(|name| pattern.captures(name));
    let first = matches.next()?;
    matches.next().is_none().then_some(first)
}

/// Who a certificate is according to a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The client.
    pub client_id: String,
    /// The profile, where the mapping names one.
    pub profile_id: Option<String>,
    /// The principal, where the mapping names one.
    pub principal: Option<String>,
}

impl Mapped {
    /// Is each of these no longer than a configured one may be? Headers, records and the names of metrics hold them.
    pub fn is_bounded(&self) -> bool {
        let made = [Some(&self.client_id), self.profile_id.as_ref(), self.principal.as_ref()];
        made.into_iter().flatten().all(|text| text.len() <= bounds::NAME)
    }
}

impl Mapping {
    /// Applies the mapping. `None` where it does not match or a template lacks a value.
    pub fn apply(&self, certificate: &Certificate, spiffe: Option<&SpiffeId>) -> Option<Mapped> {
        let mut captures = Captures::default();
        for matcher in &self.matchers {
            captures.extend(matcher.captures(certificate)?);
        }
        let render = |template: &Template| template.render(&captures, &certificate.subject, spiffe);
        // A template that cannot be filled in is no match; it must not fall back to something weaker.
        let optional = |template: &Option<Template>| match template {
            Some(template) => render(template).map(Some),
            None => Some(None),
        };
        Some(Mapped {
            client_id: render(&self.client_id)?,
            profile_id: optional(&self.profile_id)?,
            principal: optional(&self.principal)?,
        })
    }
}
