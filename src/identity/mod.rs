//! Who is calling: from a certificate's names to a client.

mod authorities;
mod draft;
mod index;
mod mapping;
mod name;
mod pattern;
mod pattern_kind;
mod proxies;
mod registry;
mod spiffe;
mod template;
mod texts;

pub use authorities::Authorities;
use authorities::{Issuance, NotIssued};
pub use draft::Draft;
pub use mapping::{Mapped, Mapping, Matcher};
pub use name::{NameKind, Names};
pub use pattern::{NO_WILDCARD, NamePattern};
pub use pattern_kind::PatternKind;
pub use proxies::TrustedProxies;
use registry::Kinds;
pub use registry::{Client, Registry};
pub use spiffe::{SpiffeId, is_trust_domain};
pub use template::{CaptureName, Template};

use std::rc::Rc;

use crate::certificate::{Certificate, DistinguishedName, FoldedName};
use crate::decision::{Deny, Reason};
use crate::policy::{ProfileId, Profiles};
use crate::proxy::Proxy;

/// Everything that turns a certificate into a client.
#[derive(Debug, Default)]
pub struct Identities {
    /// `identity.precedence`
    pub precedence: Vec<NameKind>,
    /// `identity.trust_domains`; empty: any.
    pub trust_domains: Vec<String>,
    /// `identity.mappings`
    pub mappings: Vec<Mapping>,
    /// `identity.allow_unregistered`
    pub allow_unregistered: bool,
    /// `authorities`
    pub authorities: Authorities,
    /// `clients`
    pub registry: Registry,
}

/// A client that was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// Its name.
    pub client_id: String,
    /// Its canonical ARN.
    pub principal: Option<String>,
    /// The profiles it may use.
    pub profiles: Vec<ProfileId>,
    /// Is it in the registry?
    pub registered: bool,
}

/// What a certificate's names amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The typed name by which the certificate is known.
    pub identity: Rc<str>,
    /// The client, or why there is none. Not known yet to be the caller: that needs the token, too.
    pub client: Result<Rc<Recognised>, Deny>,
}

impl Identities {
    /// Finds the client of a certificate. The proxy verifies its signature where an authority is pinned.
    ///
    /// # Errors
    /// 401 `identity_invalid` or `identity_missing`: the certificate itself is at fault, or a mapping cannot tell whether it
    /// is meant. That it belongs to no client is
    /// no error here, because a 403 comes after whatever is wrong with the token.
    pub fn resolve(&self, certificate: &Certificate, profiles: &Profiles, proxy: &dyn Proxy) -> Result<Resolved, Deny> {
        let issuance = Issuance::new(certificate, &self.authorities, proxy);
        let names = Names::of(certificate, &self.precedence, &self.trust_domains)?;
        let registered = self.registered(certificate, &names)?;
        let known_as = |fallback: String| names.typed.first().cloned().unwrap_or(fallback);
        if let Some((client, identity)) = registered {
            let identity = if names.typed.contains(&identity) { identity } else { known_as(identity) };
            let client = pinned(client, &issuance).map(|()| Rc::new(Recognised::from(client)));
            return Ok(Resolved { identity: identity.into(), client });
        }
        let mut outcomes = self.mappings.iter().enumerate().filter_map(|(index, mapping)| {
            let outcome = mapping.apply(certificate, &issuance, names.spiffe.as_ref()).transpose()?;
            Some(outcome.map_err(|unclear| format!("identity.mappings[{index}].{unclear}")))
        });
        if let Some(outcome) = outcomes.next() {
            let mapped = outcome.map_err(|unclear| Deny::new(Reason::IdentityInvalid).with_note(unclear))?;
            if !mapped.is_bounded() {
                return Err(Deny::new(Reason::IdentityInvalid).with_note(
                    "a mapping makes a client_id, profile_id or principal of more than 256 bytes of this certificate",
                ));
            }
            // Of an empty subject every certificate would have the same.
            let unnamed = match certificate.subject == DistinguishedName::default() {
                true => thumbprint_identity(certificate),
                false => format!("subject:{}", certificate.subject),
            };
            return Ok(Resolved {
                identity: known_as(unnamed).into(),
                client: self.mapped(mapped, &issuance, profiles).map(Rc::new),
            });
        }
        match names.typed.into_iter().next() {
            Some(identity) => Ok(Resolved { identity: identity.into(), client: Err(Reason::IdentityNotMapped.into()) }),
            None => Err(Reason::IdentityMissing.into()),
        }
    }

    /// The client that a token names, in a mode where that suffices.
    pub fn named(&self, client_id: &str) -> Result<Rc<Recognised>, Deny> {
        self.registry.by_id(client_id).map(Recognised::from).map(Rc::new).ok_or_else(|| {
            Deny::new(Reason::IdentityNotMapped).with_note("the token names a client that is not registered")
        })
    }

    /// Could a mapping make this name, and limit its client to less than its entry in `clients` says?
    pub fn is_limited_by_mapping(&self, client_id: &str) -> bool {
        self.mappings.iter().any(|mapping| mapping.limits() && mapping.client_id.may_make(client_id))
    }

    /// The one registered client to which any identity of the certificate belongs, and that identity.
    fn registered(&self, certificate: &Certificate, names: &Names) -> Result<Option<(Client<'_>, String)>, Deny> {
        let identities = every_identity(certificate, names, self.registry.kinds());
        let mut found: Option<(Client<'_>, String)> = None;
        for identity in identities {
            let Some(client) = self.registry.by_identity(&identity) else {
                continue;
            };
            match &found {
                None => found = Some((client, identity)),
                Some((other, _)) if other.id() == client.id() => {}
                Some(_) => {
                    return Err(Deny::new(Reason::IdentityInvalid)
                        .with_note("identities of the certificate belong to several clients"));
                }
            }
        }
        Ok(found)
    }

    fn mapped(&self, mapped: Mapped, issuance: &Issuance<'_>, profiles: &Profiles) -> Result<Recognised, Deny> {
        let mut client = match self.registry.by_id(&mapped.client_id) {
            Some(client) if !client.may_be_mapped() => {
                return Err(Deny::new(Reason::IdentityNotMapped).with_note(
                    "the mapping names a client that is known by its own identities (clients.<id>.mappings is false)",
                ));
            }
            Some(client) => {
                pinned(client, issuance)?;
                Recognised::from(client)
            }
            None if self.allow_unregistered => {
                Recognised { client_id: mapped.client_id, principal: None, profiles: Vec::new(), registered: false }
            }
            None => {
                return Err(Deny::new(Reason::IdentityNotMapped).with_note(
                    "the mapping names a client that is not registered (identity.allow_unregistered is false)",
                ));
            }
        };
        if let Some(name) = mapped.profile_id {
            let bound = profiles
                .by_name(&name)
                .filter(|profile| !client.registered || client.profiles.contains(profile))
                .ok_or_else(|| {
                    Deny::new(Reason::ClientProfileMismatch)
                        .with_note("the mapping names a profile that is unknown or not one of clients.<id>.profiles")
                })?;
            client.profiles = vec![bound];
        }
        client.principal = mapped.principal.or(client.principal);
        Ok(client)
    }
}

impl From<Client<'_>> for Recognised {
    fn from(client: Client<'_>) -> Self {
        Self {
            client_id: client.id().to_owned(),
            principal: client.principal().map(str::to_owned),
            profiles: client.profiles().collect(),
            registered: true,
        }
    }
}

/// The typed identities by which a certificate can be listed: its names, and of the costlier kinds those that are asked for.
fn every_identity(certificate: &Certificate, names: &Names, kinds: Kinds) -> Vec<String> {
    let mut identities = names.typed.clone();
    if kinds.sha256 {
        identities.push(thumbprint_identity(certificate));
    }
    if kinds.subject {
        identities.push(format!("subject:{}", certificate.subject));
    }
    if kinds.email {
        identities.extend(certificate.email_sans.iter().map(|email| format!("email:{email}")));
    }
    identities
}

fn thumbprint_identity(certificate: &Certificate) -> String {
    format!("sha256:{}", certificate.thumbprint.to_hex())
}

/// Every name of a certificate, whatever its kind and whatever `identity.precedence` says: a list that revokes a name means all
/// certificates that have it.
pub fn every_name(certificate: &Certificate) -> Vec<FoldedName> {
    let mut names: Vec<FoldedName> = certificate.uri_sans.iter().map(|uri| FoldedName::uri(uri)).collect();
    names.extend(certificate.dns_sans.iter().map(|name| FoldedName::dns(name)));
    names.extend(certificate.email_sans.iter().map(|address| FoldedName::email(address)));
    names.extend(certificate.subject.values("CN").filter_map(FoldedName::common_name));
    names.push(FoldedName::subject(&certificate.subject));
    names.extend(FoldedName::identity(&thumbprint_identity(certificate)));
    names
}

fn pinned(client: Client<'_>, issuance: &Issuance<'_>) -> Result<(), Deny> {
    if client.issuers().len() == 0 {
        return Ok(());
    }
    let mut why = NotIssued::Name;
    for pin in client.issuers() {
        match issuance.is_pinned_by(pin) {
            Ok(()) => return Ok(()),
            Err(NotIssued::Name) => {}
            Err(other) => why = other,
        }
    }
    Err(Deny::new(Reason::IdentityNotMapped).with_note(why.note()))
}
