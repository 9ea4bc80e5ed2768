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
mod shared;
mod spiffe;
mod template;
mod texts;

pub use authorities::Authorities;
use authorities::{Issuance, IssuedBy, NotIssued};
pub use draft::Draft;
pub use mapping::{Mapped, Mapping, Matcher};
pub use name::{NameKind, Names};
pub use pattern::{NO_WILDCARD, NamePattern};
pub use pattern_kind::PatternKind;
pub use proxies::TrustedProxies;
use registry::Kinds;
pub use registry::{Client, Registry};
pub use shared::Shared;
pub use spiffe::{SpiffeId, claims_spiffe, is_trust_domain};
pub use template::{CaptureName, Template};

use std::rc::Rc;

use crate::certificate::{Certificate, DistinguishedName, FoldedName};
use crate::decision::{Deny, Reason};
use crate::line::Excerpt;
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
    /// Is it one of several clients that share the certificate?
    pub shares_certificate: bool,
}

/// What a certificate's names amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The typed name by which the certificate is known.
    pub identity: Rc<str>,
    /// The client, or why there is none. Not known yet to be the caller: that needs the token, too.
    pub client: Result<Rc<Recognised>, Deny>,
    /// The certificate is that of several clients, of which the request has to name one. `client` is the refusal where it names none.
    pub shared: Option<Rc<Shared>>,
}

/// The registered clients to which identities of a certificate belong.
enum Owner<'a> {
    /// One, and the first of its identities.
    One(Client<'a>, String),
    /// Several, which share it, and those of its identities that are registered.
    Several(Vec<String>),
}

impl Identities {
    /// Finds the client of a certificate. The proxy verifies its signature where an authority is pinned.
    ///
    /// # Errors
    /// 401 `identity_invalid` or `identity_missing`: the certificate itself is at fault, or a mapping cannot tell whether it
    /// is meant. That it belongs to no client is
    /// no error here, because a 403 comes after whatever is wrong with the token.
    pub fn resolve(&self, certificate: &Certificate, profiles: &Profiles, proxy: &dyn Proxy) -> Result<Resolved, Deny> {
        let issued_by = IssuedBy::new();
        let issuance = Issuance::new(certificate, &self.authorities, proxy, &issued_by);
        let names = Names::of(certificate, &self.precedence, &self.trust_domains)?;
        let owner = self.owner(certificate, &names)?;
        let known_as = |fallback: String| names.typed.first().cloned().unwrap_or(fallback);
        let registered_as =
            |identity: String| if names.typed.contains(&identity) { identity } else { known_as(identity) };
        match owner {
            Some(Owner::One(client, identity)) => {
                let client = pinned(client, &issuance).map(|()| Rc::new(Recognised::from(client)));
                return Ok(Resolved { identity: registered_as(identity).into(), client, shared: None });
            }
            Some(Owner::Several(identities)) => {
                let identity = registered_as(identities.first().cloned().unwrap_or_default());
                let client = Err(shared::unnamed(&identity));
                let shared = Some(Rc::new(Shared { identities, issued_by }));
                return Ok(Resolved { identity: identity.into(), client, shared });
            }
            None => {}
        }
        let mut outcomes = self.mappings.iter().enumerate().filter_map(|(index, mapping)| {
            let outcome = mapping.apply(certificate, &issuance, names.spiffe.as_ref()).transpose()?;
            Some(outcome.map_err(|unclear| format!("identity.mappings[{index}].{unclear}")))
        });
        if let Some(outcome) = outcomes.next() {
            let mapped = outcome.map_err(|unclear| {
                let known_as = known_as(thumbprint_identity(certificate));
                Deny::new(Reason::IdentityInvalid)
                    .with_note(format!("{unclear}; the certificate is {}", brief(&known_as)))
            })?;
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
                shared: None,
            });
        }
        let listed = listed(certificate, &names);
        if names.typed.is_empty() && names.has_several_common_names {
            return Err(Deny::new(Reason::IdentityInvalid).with_note(format!(
                "the subject has several Common Names, so that none identifies a client: found {listed}, expected one of these in \
                 the identities of a client"
            )));
        }
        match every_identity(certificate, &names, Kinds::NAMES).into_iter().next() {
            Some(identity) => {
                let note = format!("no client has an identity of the certificate, and no mapping matches it: {listed}");
                let client = Err(Deny::new(Reason::IdentityNotMapped).with_note(note));
                Ok(Resolved { identity: identity.into(), client, shared: None })
            }
            None => Err(Deny::new(Reason::IdentityMissing).with_note(format!(
                "the certificate has no name of identity.precedence, no client has another identity of it, and no mapping matches it: \
                 {listed}"
            ))),
        }
    }

    /// The client of this name, if it is one of those that share the certificate.
    pub fn sharer(
        &self,
        (shared, certificate): (&Shared, &Certificate),
        client_id: &str,
        proxy: &dyn Proxy,
    ) -> Option<Result<Rc<Recognised>, Deny>> {
        let client = self.registry.by_id(client_id)?;
        client.identities().find(|own| shared.identities.iter().any(|identity| identity == own))?;
        let issuance = Issuance::new(certificate, &self.authorities, proxy, &shared.issued_by);
        let recognised = || Rc::new(Recognised { shares_certificate: true, ..Recognised::from(client) });
        Some(pinned(client, &issuance).map(|()| recognised()))
    }

    /// The client that a token names, in a mode where that suffices.
    pub fn named(&self, client_id: &str) -> Result<Rc<Recognised>, Deny> {
        self.registry.by_id(client_id).map(Recognised::from).map(Rc::new).ok_or_else(|| {
            let note = format!("the token names the client {}, which is not registered", Excerpt(client_id.as_bytes()));
            Deny::new(Reason::IdentityNotMapped).with_note(note)
        })
    }

    /// Could a mapping make this name, and limit its client to less than its entry in `clients` says?
    pub fn is_limited_by_mapping(&self, client_id: &str) -> bool {
        self.mappings.iter().any(|mapping| mapping.limits() && mapping.client_id.may_make(client_id))
    }

    /// Whose the certificate is by its identities: one client's, or that of several that share what they have.
    fn owner(&self, certificate: &Certificate, names: &Names) -> Result<Option<Owner<'_>>, Deny> {
        let mut found: Option<(Client<'_>, String)> = None;
        let (mut others, mut are_several) = (Vec::new(), false);
        for identity in every_identity(certificate, names, self.registry.kinds()) {
            let Some((client, is_shared)) = self.registry.by_identity(&identity) else {
                continue;
            };
            are_several |= is_shared;
            match &found {
                None => found = Some((client, identity)),
                Some((other, first)) => {
                    if other.id() != client.id() {
                        are_several = true;
                        if !other.shares_identities() || !client.shares_identities() {
                            return Err(Deny::new(Reason::IdentityInvalid).with_note(format!(
                                "identities of the certificate belong to several clients, which do not share them \
                                 (shared_identities): {:?} to {:?}, {:?} to {:?}",
                                brief(first),
                                other.id(),
                                brief(&identity),
                                client.id()
                            )));
                        }
                    }
                    others.push(identity);
                }
            }
        }
        Ok(found.map(|(client, identity)| match are_several {
            false => Owner::One(client, identity),
            true => {
                others.insert(0, identity);
                Owner::Several(others)
            }
        }))
    }

    fn mapped(&self, mapped: Mapped, issuance: &Issuance<'_>, profiles: &Profiles) -> Result<Recognised, Deny> {
        let mut client = match self.registry.by_id(&mapped.client_id) {
            Some(client) if !client.may_be_mapped() => {
                return Err(Deny::new(Reason::IdentityNotMapped).with_note(format!(
                    "the mapping names the client {:?}, which is known by its own identities (clients.<id>.mappings is false)",
                    mapped.client_id
                )));
            }
            Some(client) => {
                pinned(client, issuance)?;
                Recognised::from(client)
            }
            None if self.allow_unregistered => Recognised {
                client_id: mapped.client_id,
                principal: None,
                profiles: Vec::new(),
                registered: false,
                shares_certificate: false,
            },
            None => {
                return Err(Deny::new(Reason::IdentityNotMapped).with_note(format!(
                    "the mapping names the client {:?}, which is not registered (identity.allow_unregistered is false)",
                    mapped.client_id
                )));
            }
        };
        if let Some(name) = mapped.profile_id {
            let bound = profiles
                .by_name(&name)
                .filter(|profile| !client.registered || client.profiles.contains(profile))
                .ok_or_else(|| {
                    Deny::new(Reason::ClientProfileMismatch).with_note(format!(
                        "the mapping names the profile {name:?}, which is unknown or not one of clients.<id>.profiles"
                    ))
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
            shares_certificate: false,
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
    if kinds.uri {
        let uris = certificate.uri_sans.iter().filter(|uri| !claims_spiffe(uri));
        identities.extend(uris.map(|uri| format!("uri:{uri}")));
    }
    if kinds.ip {
        identities.extend(certificate.ip_sans.iter().map(|address| format!("ip:{address}")));
    }
    if kinds.email {
        identities.extend(certificate.email_sans.iter().map(|email| format!("email:{email}")));
    }
    identities
}

/// By which a certificate could be registered, for the operator: the first of its names, its subject and its thumbprint.
fn listed(certificate: &Certificate, names: &Names) -> String {
    const MAX_NAMES: usize = 4;
    // An email address may be a person's.
    let every = every_identity(certificate, names, Kinds { email: false, ..Kinds::NAMES });
    let mut listed: Vec<String> = every.iter().take(MAX_NAMES).map(|name| brief(name)).collect();
    if every.len() > MAX_NAMES {
        listed.push("…".to_owned());
    }
    if certificate.subject != DistinguishedName::default() {
        listed.push(brief(&format!("subject:{}", certificate.subject)));
    }
    listed.push(thumbprint_identity(certificate));
    listed.join(", ")
}

/// What a certificate says of itself, in a note. Longer than an [`Excerpt`], because names are.
fn brief(text: &str) -> String {
    const MAX_CHARACTERS: usize = 200;
    match text.char_indices().nth(MAX_CHARACTERS).and_then(|(end, _)| text.get(..end)) {
        Some(beginning) => format!("{beginning}…"),
        None => text.to_owned(),
    }
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
    names.extend(certificate.ip_sans.iter().map(|address| FoldedName::ip(*address)));
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
    let pins: Vec<&str> = client.issuers().take(3).collect();
    let (pins, issuer) = (pins.join(" or "), issuance.issuer());
    let note = format!("{}: found {:?}, expected {:?}", why.note(), brief(&issuer), brief(&pins));
    Err(Deny::new(Reason::IdentityNotMapped).with_note(note))
}
