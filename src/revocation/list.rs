//! A list of revoked certificates: by thumbprint, by issuer and serial number, by name.

use std::cell::OnceCell;
use std::fmt;

use sha2::{Digest, Sha256};

use super::entries::{Entries, Unsorted};
use crate::certificate::reader::strip_zeros;
use crate::certificate::{Certificate, DistinguishedName, FoldedName, Thumbprint};
use crate::identity::every_name;

/// What is revoked.
#[derive(Debug, Default)]
pub struct List {
    thumbprints: Entries,
    /// Each behind the name of its issuer.
    serials: Entries,
    identities: Entries,
}

/// A list that is being written.
#[derive(Debug, Default)]
pub struct Draft {
    thumbprints: Unsorted,
    serials: Unsorted,
    identities: Unsorted,
}

/// The name of an issuer, as short as any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuerName([u8; 16]);

impl IssuerName {
    /// The same for names that are the same to TLS.
    pub fn of(name: &DistinguishedName) -> Self {
        let name = FoldedName::distinguished(name);
        let mut short = [0; 16];
        short.iter_mut().zip(Sha256::digest(name.as_bytes())).for_each(|(to, from)| *to = from);
        Self(short)
    }
}

impl Draft {
    /// Revokes one certificate.
    pub fn add_thumbprint(&mut self, thumbprint: Thumbprint) -> Result<(), Full> {
        self.thumbprints.add([thumbprint.hash(), &[]]).ok_or(Full)
    }

    /// Revokes the certificates of an issuer that have this serial number (big-endian; zeros in front do not count).
    pub fn add_serial(&mut self, issuer: IssuerName, serial: &[u8]) -> Result<(), Full> {
        self.serials.add([&issuer.0, strip_zeros(serial)]).ok_or(Full)
    }

    /// Revokes every certificate with this name.
    pub fn add_identity(&mut self, identity: &FoldedName) -> Result<(), Full> {
        self.identities.add([identity.as_bytes(), &[]]).ok_or(Full)
    }

    /// The list.
    pub fn finish(self) -> List {
        let Self { thumbprints, serials, identities } = self;
        List { thumbprints: thumbprints.sort(), serials: serials.sort(), identities: identities.sort() }
    }
}

/// By what an entry revokes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `sha256`
    Thumbprint,
    /// `serials`
    Serial,
    /// `identities`
    Identity,
}

impl Kind {
    /// The name of the list.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Thumbprint => "sha256",
            Self::Serial => "serials",
            Self::Identity => "identities",
        }
    }
}

/// The list cannot take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl List {
    /// Changes when [`write`](Self::write) writes an equal list differently.
    pub const FORMAT: &str = "2";

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.thumbprints.len() + self.serials.len() + self.identities.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Does it revoke this certificate? By what?
    ///
    /// # Errors
    /// It may, by what is not known of the certificate.
    pub fn find(&self, asked: &Asked<'_>) -> Result<Option<Kind>, Partial> {
        let certificate = asked.certificate;
        if self.thumbprints.contains(certificate.thumbprint.hash()) {
            return Ok(Some(Kind::Thumbprint));
        }
        if !self.identities.is_empty() && asked.names().iter().any(|name| self.identities.contains(name.as_bytes())) {
            return Ok(Some(Kind::Identity));
        }
        if self.serials.is_empty() && self.identities.is_empty() {
            return Ok(None);
        }
        let (Some(serial), Some(IssuerName(issuer))) = (&certificate.serial, asked.issuer()) else {
            return Err(Partial);
        };
        let is_listed = self.serials.contains(&[issuer.as_slice(), serial].concat());
        Ok(is_listed.then_some(Kind::Serial))
    }

    /// Does it list this name, or this thumbprint?
    pub fn has(&self, name: &FoldedName, thumbprint: Option<Thumbprint>) -> bool {
        self.identities.contains(name.as_bytes())
            || thumbprint.is_some_and(|thumbprint| self.thumbprints.contains(thumbprint.hash()))
    }

    /// Adds it in a form that other workers can [`read`](Self::read).
    pub fn write(&self, to: &mut Vec<u8>) {
        for entries in [&self.thumbprints, &self.serials, &self.identities] {
            entries.write(to);
        }
    }

    /// Reads what was written.
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        let list = Self {
            thumbprints: Entries::read(&mut bytes)?,
            serials: Entries::read(&mut bytes)?,
            identities: Entries::read(&mut bytes)?,
        };
        bytes.is_empty().then_some(list)
    }
}

/// The list revokes serial numbers or names, and of the certificate only properties are known: no serial number, and of several
/// names the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial;

/// A certificate, and what lists know it by, worked out once at most.
pub struct Asked<'a> {
    certificate: &'a Certificate,
    names: OnceCell<Vec<FoldedName>>,
    issuer: OnceCell<Option<IssuerName>>,
}

impl<'a> Asked<'a> {
    /// About this certificate.
    pub const fn new(certificate: &'a Certificate) -> Self {
        Self { certificate, names: OnceCell::new(), issuer: OnceCell::new() }
    }

    fn names(&self) -> &[FoldedName] {
        self.names.get_or_init(|| every_name(self.certificate))
    }

    fn issuer(&self) -> Option<IssuerName> {
        *self.issuer.get_or_init(|| self.certificate.issuer.as_ref().map(IssuerName::of))
    }
}

/// Which list revokes a certificate: prints as its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// The feed; `None`: the configuration itself.
    pub feed: Option<usize>,
    /// By what.
    pub kind: Kind,
}

impl fmt::Display for Matched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("revocation.")?;
        if let Some(feed) = self.feed {
            write!(f, "feeds[{feed}].")?;
        }
        f.write_str(self.kind.as_str())
    }
}
