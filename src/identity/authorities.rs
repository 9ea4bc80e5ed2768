//! `authorities`: which of them issued a certificate. The signature says so: a name can be imitated.

use std::cell::OnceCell;

use crate::certificate::Certificate;
use crate::proxy::Proxy;
use crate::x509_signature::{Authority, Fault};

/// The authorities whose keys can be pinned, by name.
#[derive(Debug, Default)]
pub struct Authorities(Vec<(String, Authority)>);

impl Authorities {
    /// Adds one.
    ///
    /// # Errors
    /// The name of another authority that has this key.
    pub fn add(&mut self, name: String, authority: Authority) -> Result<(), String> {
        if let Some((other, _)) = self.0.iter().find(|(_, other)| other.key.is_same(&authority.key)) {
            return Err(other.clone());
        }
        self.0.push((name, authority));
        Ok(())
    }

    /// The number of the authority of this name.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| known == name)
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Why a certificate is not known to be an authority's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIssued {
    /// Its issuer has another name.
    Name,
    /// The certificate itself is not known, but properties of it.
    Partial,
    /// Its signature does not show it.
    Fault(Fault),
}

impl NotIssued {
    /// For the operator.
    pub const fn note(self) -> &'static str {
        match self {
            Self::Name => "the certificate's issuer is not one of the client's issuers",
            Self::Partial => "the client's issuers name an authority, and of the certificate only properties are known",
            Self::Fault(Fault::Signature) => {
                "the certificate's issuer has the name of an authority of the client's issuers, but another key signed the certificate"
            }
            Self::Fault(Fault::Algorithm) => "the certificate is signed with an algorithm that is not verified here",
            Self::Fault(Fault::Host) => {
                "only Envoy's verify_signature verifies signatures of the authority's key, and it did not answer"
            }
        }
    }
}

/// The question who issued a certificate. Its signature is verified when an answer depends on it, and then once.
pub struct Issuance<'a> {
    certificate: &'a Certificate,
    authorities: &'a Authorities,
    proxy: &'a dyn Proxy,
    by: &'a IssuedBy,
}

/// The answer, once it is known.
pub type IssuedBy = OnceCell<Result<usize, Fault>>;

impl<'a> Issuance<'a> {
    /// Of this certificate, by one of these, with what is known of the answer.
    pub const fn new(
        certificate: &'a Certificate,
        authorities: &'a Authorities,
        proxy: &'a dyn Proxy,
        by: &'a IssuedBy,
    ) -> Self {
        Self { certificate, authorities, proxy, by }
    }

    /// Did this authority issue it?
    ///
    /// # Errors
    /// That is not shown.
    // Once in the module.
    #[inline(never)]
    pub fn is_by(&self, number: usize) -> Result<(), NotIssued> {
        let (Some(der), Some(_)) = (&self.certificate.der, &self.certificate.issuer) else {
            return Err(NotIssued::Partial);
        };
        if !self.authorities.0.get(number).is_some_and(|(_, authority)| self.has_name_of(authority)) {
            return Err(NotIssued::Name);
        }
        match self.by.get_or_init(|| self.find(der)) {
            Ok(by) if *by == number => Ok(()),
            Ok(_) => Err(NotIssued::Fault(Fault::Signature)),
            Err(fault) => Err(NotIssued::Fault(*fault)),
        }
    }

    /// The issuer's name, if it is known.
    pub fn issuer(&self) -> String {
        self.certificate.issuer.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// The same for an entry of a client's `issuers`: the name of an authority, or a distinguished name, which the issuer has to have
    /// and no more. The latter has a `=` and the former has none.
    pub fn is_pinned_by(&self, pin: &str) -> Result<(), NotIssued> {
        match self.authorities.number(pin) {
            Some(number) => self.is_by(number),
            None if self.certificate.issuer.as_ref().is_some_and(|issuer| issuer.to_string() == pin) => Ok(()),
            None => Err(NotIssued::Name),
        }
    }

    fn has_name_of(&self, authority: &Authority) -> bool {
        self.certificate.issuer.as_ref() == Some(&authority.subject)
    }

    /// No two of them have the same key, but several may have the same name.
    fn find(&self, der: &[u8]) -> Result<usize, Fault> {
        let mut fault = Fault::Signature;
        for (number, (_, authority)) in self.authorities.0.iter().enumerate() {
            if !self.has_name_of(authority) {
                continue;
            }
            match authority.has_signed(der, self.proxy) {
                Ok(()) => return Ok(number),
                Err(Fault::Signature) => {}
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }
}
