//! Certificate revocation lists: DER or PEM in, what is revoked out, once the signature is good (RFC 5280 section 5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::Tag;

use super::list::{Draft, IssuerName, List};
use crate::certificate::reader::{Oid, Values};
use crate::certificate::{self, KeyUsage, Malformed, explicit, implicit};
use crate::inventory::{DAY, WARNING_DAYS, days_left};
use crate::proxy::Proxy;
use crate::token::Material;
use crate::x509_signature::{Authority, Fault, Signed, members};

/// The most signatures that are verified in a bundle. One takes up to a millisecond, and a server can send as many lists with the
/// issuer's name as the longest body holds.
const MAX_OF_ISSUER: usize = 16;
/// More extensions of a list or of an entry than this are not read.
const MAX_EXTENSIONS: usize = 16;
/// A list from further in the future than so many seconds is not used.
pub const CLOCK_SKEW: i64 = 300;

const CRL_NUMBER: Oid = Oid::new_unwrap("2.5.29.20");
const REASON_CODE: Oid = Oid::new_unwrap("2.5.29.21");
const DELTA_INDICATOR: Oid = Oid::new_unwrap("2.5.29.27");
const ISSUING_DISTRIBUTION_POINT: Oid = Oid::new_unwrap("2.5.29.28");
const CERTIFICATE_ISSUER: Oid = Oid::new_unwrap("2.5.29.29");

/// Octets of a number (RFC 5280 section 5.2.3).
const MAX_NUMBER: usize = 20;

/// Why a list is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Not the PEM or DER of a list.
    Malformed,
    /// Version 1, which has neither numbers nor extensions.
    Version,
    /// An algorithm that is not known here, or two different ones.
    Algorithm,
    /// Another issuer than the configured one.
    Issuer,
    /// A bundle in which several are signed by the configured issuer's key.
    Several,
    /// A bundle with more lists of the configured issuer's name than are looked at.
    TooManyOfIssuer,
    /// Not signed by the configured issuer's key.
    Signature,
    /// Signed with P-521, and the proxy cannot verify that.
    Host,
    /// It does not say when the next one comes.
    NextUpdate,
    /// It is from the future.
    FromTheFuture,
    /// It only says what changed since another list.
    Delta,
    /// It lists certificates of other issuers.
    Indirect,
    /// It leaves certificates of clients out: it is for authorities or attributes alone, or for some reasons.
    Partial,
    /// A critical extension that is not known here, of the list or of an entry.
    UnknownCriticalExtension,
    /// It is older than the list in force.
    Older,
    /// It has more entries than can be kept.
    TooMany,
}

impl Unusable {
    /// For the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "it is not an X.509 certificate revocation list in DER or PEM",
            Self::Version => "it is of version 1; version 2 is expected (RFC 5280 section 5.1.2.1)",
            Self::Algorithm => {
                "it is signed neither with RSA (PKCS #1 v1.5 or PSS) nor ECDSA, with SHA-256, SHA-384 or SHA-512, nor with Ed25519"
            }
            Self::Several => "it holds several lists that the key of issuer_certificate has signed; one is expected",
            Self::TooManyOfIssuer => "it holds more than 16 lists of the issuer of issuer_certificate; one is expected",
            Self::Issuer => "its issuer is not the subject of issuer_certificate",
            Self::Signature => "its signature is not by the key of issuer_certificate",
            Self::Host => "only Envoy's verify_signature verifies its signature, and it did not answer",
            Self::NextUpdate => "it has no nextUpdate, so nobody could tell when it is too old",
            Self::FromTheFuture => "its thisUpdate is in the future; compare the clocks",
            Self::Delta => "it is a delta CRL; a complete one is expected",
            Self::Indirect => "it is an indirect CRL, which lists certificates of other issuers",
            Self::Partial => {
                "it is for authorities' or attribute certificates alone, or for some reasons: it does not list every \
                 revoked client certificate"
            }
            Self::UnknownCriticalExtension => "it has a critical extension that is not known here",
            Self::Older => "it is older than the list in force",
            Self::TooMany => "it has too many entries",
        }
    }
}

impl From<Fault> for Unusable {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Algorithm => Self::Algorithm,
            Fault::Signature => Self::Signature,
            Fault::Host => Self::Host,
        }
    }
}

impl From<Malformed> for Unusable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Who signs the lists of a feed (`issuer_certificate`).
#[derive(Debug, Clone)]
pub struct Issuer {
    name: IssuerName,
    key: Material,
    not_after: i64,
}

impl Issuer {
    /// Reads the PEM of an authority's certificate.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn from_pem(pem: &str) -> Result<Self, &'static str> {
        let Authority { subject, key, not_after } = Authority::from_pem(pem, KeyUsage::LISTS)?;
        Ok(Self { name: IssuerName::of(&subject), key, not_after })
    }

    /// Whole days until its certificate ends (`now` in seconds since 1970); 0 once it has. Its lists are used all the same: an
    /// authority that has ended must still be able to revoke.
    pub fn days_left(&self, now: i64) -> u64 {
        days_left(self.not_after, now)
    }

    /// What to do about a certificate that has ended or ends soon.
    pub fn expiry(&self, now: i64) -> Option<String> {
        if self.not_after >= now.saturating_add(WARNING_DAYS * DAY) {
            return None;
        }
        let state = match self.not_after < now {
            true => "has expired".to_owned(),
            false => format!("expires in {} days", self.days_left(now)),
        };
        Some(format!(
            "issuer_certificate {state}; its lists are used all the same: configure its successor when the authority begins to sign with that"
        ))
    }
}

/// Which edition of a list it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edition {
    /// `thisUpdate`, in seconds since 1970.
    pub this_update: i64,
    /// `nextUpdate`: from this second on it is too old.
    pub next_update: i64,
    /// `cRLNumber`, without zeros in front; empty where the list has none.
    pub number: Vec<u8>,
}

impl Edition {
    /// Is it older than the one in force (`now` in seconds since 1970)? Numbers only count where both have one, and no longer than
    /// the one in force does: an authority that was set up anew begins again.
    pub fn is_older(&self, than: &Self, now: i64) -> bool {
        let is_less = (self.number.len(), &self.number) < (than.number.len(), &than.number);
        let by_number = !self.number.is_empty() && !than.number.is_empty() && is_less;
        self.this_update < than.this_update || (by_number && now < than.next_update)
    }
}

/// A list that its issuer signed.
#[derive(Debug)]
pub struct Crl {
    /// What is revoked.
    pub list: List,
    /// Which edition it is.
    pub edition: Edition,
}

impl Crl {
    /// Reads the list of an issuer and verifies its signature, before the first of its entries is looked at (`now` in seconds since
    /// 1970). A PEM bundle may hold lists of other issuers beside it.
    ///
    /// # Errors
    /// There is no list of this issuer, several, or none that can be relied on.
    pub fn read(bytes: &[u8], issuer: &Issuer, proxy: &dyn Proxy, now: i64) -> Result<Self, Unusable> {
        if bytes.first() == Some(&0x30) {
            return Self::from_der(bytes, issuer, proxy, now);
        }
        let (mut found, mut problem, mut of_issuer) = (None, Unusable::Malformed, 0);
        for der in unarmored(bytes) {
            if of_issuer == MAX_OF_ISSUER {
                return Err(Unusable::TooManyOfIssuer);
            }
            match Self::from_der(&der?, issuer, proxy, now) {
                Ok(crl) if found.is_none() => {
                    (found, of_issuer) = (Some(crl), of_issuer + 1);
                }
                Ok(_) => return Err(Unusable::Several),
                // Signed with another key of an authority of this name.
                Err(Unusable::Signature) => {
                    (problem, of_issuer) = (Unusable::Signature, of_issuer + 1);
                }
                Err(Unusable::Issuer) if problem == Unusable::Signature => {}
                Err(Unusable::Issuer) => problem = Unusable::Issuer,
                Err(other) => return Err(other),
            }
        }
        found.ok_or(problem)
    }

    fn from_der(der: &[u8], issuer: &Issuer, proxy: &dyn Proxy, now: i64) -> Result<Self, Unusable> {
        let signed = Signed::read(der)?;
        let mut fields = signed.fields()?;
        let version = fields.optional(Tag::Integer)?;
        let algorithm = fields.whole()?;
        if IssuerName::of(&certificate::name(&mut fields)?) != issuer.name {
            return Err(Unusable::Issuer);
        }
        match version {
            Some([1]) => {}
            None => return Err(Unusable::Version),
            Some(_) => return Err(Unusable::Malformed),
        }
        signed.verify(algorithm, &issuer.key, proxy)?;
        Self::signed(fields, issuer, now)
    }

    /// What follows the name of the issuer.
    fn signed(mut fields: Values<'_>, issuer: &Issuer, now: i64) -> Result<Self, Unusable> {
        let this_update = certificate::seconds(&mut fields)?;
        if this_update > now.saturating_add(CLOCK_SKEW) {
            return Err(Unusable::FromTheFuture);
        }
        if !matches!(fields.peek()?, Some(Tag::UtcTime | Tag::GeneralizedTime)) {
            return Err(Unusable::NextUpdate);
        }
        let next_update = certificate::seconds(&mut fields)?;
        let entries = fields.optional(Tag::Sequence)?;
        let mut number = Vec::new();
        if let Some(list) = fields.optional(explicit(0))? {
            extensions(members(list)?, |kind, content| of_list(kind, content, &mut number))?;
        }
        if !fields.is_empty() {
            return Err(Unusable::Malformed);
        }
        let mut list = Draft::default();
        let mut entries = Values::new(entries.unwrap_or_default())?;
        while !entries.is_empty() {
            let serial = entry(Values::new(entries.required(Tag::Sequence)?)?)?;
            list.add_serial(issuer.name, serial).map_err(|_| Unusable::TooMany)?;
        }
        Ok(Self { list: list.finish(), edition: Edition { this_update, number, next_update } })
    }
}

/// The lists that PEM armor holds. Text around them may be what `openssl crl -text` says of them.
fn unarmored(mut rest: &[u8]) -> impl Iterator<Item = Result<Vec<u8>, Unusable>> {
    let mut until = move |mark: &[u8]| {
        let place = rest.windows(mark.len()).position(|text| text == mark)?;
        let (before, from) = rest.split_at_checked(place)?;
        rest = from.get(mark.len()..)?;
        Some(before)
    };
    std::iter::from_fn(move || {
        until(b"-----BEGIN X509 CRL-----")?;
        let body = until(b"-----END X509 CRL-----").unwrap_or_default();
        let text: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        // Without an end nothing is decoded, and nothing is no list.
        Some(STANDARD.decode(text).map_err(|_| Unusable::Malformed))
    })
}

/// The serial number of an entry. Whatever the reason, it is revoked; `removeFromCRL` stands in delta CRLs alone.
fn entry<'a>(mut fields: Values<'a>) -> Result<&'a [u8], Unusable> {
    let serial = certificate::serial(&mut fields)?;
    certificate::seconds(&mut fields)?;
    if let Some(list) = fields.optional(Tag::Sequence)? {
        extensions(Values::new(list)?, of_entry)?;
    }
    if fields.is_empty() { Ok(serial) } else { Err(Unusable::Malformed) }
}

fn of_entry(kind: Oid, content: &[u8]) -> Result<bool, Unusable> {
    match kind {
        CERTIFICATE_ISSUER => Err(Unusable::Indirect),
        REASON_CODE if content == [0x0a, 1, 8] => Err(Unusable::Delta),
        REASON_CODE => Ok(true),
        _ => Ok(false),
    }
}

fn of_list(kind: Oid, content: &[u8], number: &mut Vec<u8>) -> Result<bool, Unusable> {
    match kind {
        CRL_NUMBER => {
            *number = match Values::read(content, Values::natural)? {
                // Zero is a number, too.
                [] => vec![0],
                digits if digits.len() <= MAX_NUMBER => digits.to_vec(),
                _ => return Err(Unusable::Malformed),
            };
            Ok(true)
        }
        DELTA_INDICATOR => Err(Unusable::Delta),
        ISSUING_DISTRIBUTION_POINT => distribution_point(members(content)?).map(|()| true),
        _ => Ok(false),
    }
}

/// `IssuingDistributionPoint`. A list that names where it is to be found may be one of several partitions (section 5.2.5), each of
/// which is a feed of its own; what else it leaves out is nowhere.
fn distribution_point(mut fields: Values<'_>) -> Result<(), Unusable> {
    fields.optional(explicit(0))?;
    for (number, problem) in [
        (1, None),
        (2, Some(Unusable::Partial)),
        (3, Some(Unusable::Partial)),
        (4, Some(Unusable::Indirect)),
        (5, Some(Unusable::Partial)),
    ] {
        let stands = match fields.optional(implicit(number))? {
            None => false,
            // The reasons are a BIT STRING; everything else is a BOOLEAN.
            Some(_) if number == 3 => true,
            Some([0xff]) => true,
            Some([0]) => false,
            Some(_) => return Err(Unusable::Malformed),
        };
        if let Some(problem) = problem.filter(|_| stands) {
            return Err(problem);
        }
    }
    if fields.is_empty() { Ok(()) } else { Err(Unusable::Malformed) }
}

/// Reads extensions; `known` takes one, or says that it does not know it.
fn extensions(
    mut list: Values<'_>,
    mut known: impl FnMut(Oid, &[u8]) -> Result<bool, Unusable>,
) -> Result<(), Unusable> {
    list.extensions(MAX_EXTENSIONS, |kind, critical, content| match known(kind, content)? {
        false if critical => Err(Unusable::UnknownCriticalExtension),
        _ => Ok(()),
    })
}
