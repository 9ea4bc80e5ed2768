//! Revocation: which certificates may not be used any more, although they have not expired.
//!
//! A list in the TLS layer acts at the next handshake. These act on the next request of connections that are open.

mod crl;
mod entries;
mod feed;
mod list;

pub use crl::{Crl, Edition, Issuer, Unusable};
pub use feed::{Current, Feed, FeedKind, InForce, OnStale};
pub use list::{Draft, Full, IssuerName, Kind, List, Matched};

use std::cell::Cell;

use crate::certificate::{Certificate, FoldedName, Thumbprint};
use crate::decision::{Deny, Reason};
use list::{Asked, Partial};

/// `revocation`
#[derive(Debug, Default)]
pub struct Revocation {
    /// What the configuration itself revokes.
    pub list: List,
    /// What is fetched.
    pub feeds: Vec<Feed>,
}

/// What was found about a certificate. It is good for as long as no list changes, and then it is looked up again.
#[derive(Debug, Default)]
pub struct Checked(Cell<Option<(u64, Finding)>>);

#[derive(Debug, Clone, Copy)]
enum Finding {
    NotListed,
    Listed(Matched),
    Partial,
}

impl Revocation {
    /// May this certificate be used, as far as is known now (seconds since 1970)?
    ///
    /// # Errors
    /// 401 `certificate_revoked`, or 503 `revocation_unavailable` where that cannot be told.
    pub fn check(
        &self,
        in_force: &InForce,
        certificate: &Certificate,
        checked: &Checked,
        now: i64,
    ) -> Result<(), Deny> {
        if self.is_empty() {
            return Ok(());
        }
        let finding = match checked.0.get() {
            Some((generation, finding)) if generation == in_force.generation() => finding,
            _ => {
                let finding = self.find(in_force, certificate);
                checked.0.set(Some((in_force.generation(), finding)));
                finding
            }
        };
        match finding {
            Finding::NotListed => {}
            Finding::Listed(matched) => {
                return Err(Deny {
                    matched: Some(matched),
                    ..Deny::new(Reason::CertificateRevoked).with_note(note(matched, certificate))
                });
            }
            Finding::Partial => {
                return Err(Deny::new(Reason::RevocationUnavailable).with_note(
                    "the certificate's serial number and some of its names are not known: before Envoy 1.38, the connection \
                     manager must write the certificate into x-forwarded-client-cert",
                ));
            }
        }
        self.check_feeds(in_force, now)
    }

    /// Is there a list of every feed that the policy asks for, at this time (seconds since 1970)?
    ///
    /// # Errors
    /// 503 `revocation_unavailable`
    pub fn check_feeds(&self, in_force: &InForce, now: i64) -> Result<(), Deny> {
        match self.feeds.iter().enumerate().find(|(index, feed)| in_force.misses(*index, feed, now)) {
            None => Ok(()),
            Some((index, feed)) => Err(Deny::new(Reason::RevocationUnavailable).with_note(format!(
                "revocation.feeds[{index}] {}; earlier lines say why",
                in_force.problem(index, feed, now)
            ))),
        }
    }

    /// Can it revoke nothing?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.feeds.is_empty()
    }

    /// Does any list name this typed identity: a name, or the thumbprint of a certificate?
    pub fn lists_identity(&self, in_force: &InForce, identity: &str) -> bool {
        let thumbprint = identity.strip_prefix("sha256:").and_then(Thumbprint::from_hex);
        let Some(name) = FoldedName::identity(identity) else {
            return false;
        };
        let has = |list: &List| list.has(&name, thumbprint);
        let mut fetched = (0..self.feeds.len()).filter_map(|feed| in_force.current(feed));
        has(&self.list) || fetched.any(|current| has(&current.list))
    }

    fn find(&self, in_force: &InForce, certificate: &Certificate) -> Finding {
        let asked = Asked::new(certificate);
        let mut finding = Finding::NotListed;
        let feeds = (0..self.feeds.len()).map(|feed| (Some(feed), in_force.current(feed)));
        let own = self.list.find(&asked);
        let found = feeds.filter_map(|(feed, list)| Some((feed, list?.list.find(&asked))));
        for (feed, found) in std::iter::once((None, own)).chain(found) {
            match found {
                Ok(Some(kind)) => return Finding::Listed(Matched { feed, kind }),
                Ok(None) => {}
                Err(Partial) => finding = Finding::Partial,
            }
        }
        finding
    }
}

/// For the operator: what is revoked, and where that stands.
fn note(matched: Matched, certificate: &Certificate) -> String {
    match (matched.kind, &certificate.serial, &certificate.issuer) {
        (Kind::Serial, Some(serial), Some(issuer)) => {
            let serial: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{matched}: serial {serial} of {issuer}")
        }
        _ => format!("{matched}"),
    }
}
