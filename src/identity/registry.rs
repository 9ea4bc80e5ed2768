//! The registry of clients. Every look-up is by hash, so that 100,000 clients cost a request no more than ten; and it
//! keeps numbers and places only, so that they take little more memory than the configuration that lists them.

use super::index::Index;
use super::texts::{Place, Texts};
use crate::policy::ProfileId;

/// All registered clients, by name and by typed identity. A [`Draft`](super::Draft) becomes one.
#[derive(Debug, Default)]
pub struct Registry {
    pub(super) texts: Texts,
    pub(super) clients: Vec<Entry>,
    pub(super) identities: Vec<Identity>,
    /// The profiles of the first client, then those of the second, and so on: places in `known_profiles`.
    pub(super) profiles: Vec<usize>,
    pub(super) known_profiles: Vec<ProfileId>,
    /// The issuers of the first client, and so on.
    pub(super) issuers: Vec<Place>,
    /// The clients that mappings may name though they have identities, in order.
    pub(super) mapped: Vec<usize>,
    /// The clients that share their identities, in order.
    pub(super) sharing: Vec<usize>,
    /// The identities that several clients have, each by its first place, in order.
    pub(super) shared: Vec<usize>,
    /// `token_client_ids`, in the order of the clients.
    pub(super) token_ids: Vec<Identity>,
    pub(super) by_id: Index,
    pub(super) by_identity: Index,
    pub(super) by_token_id: Index,
    pub(super) kinds: Kinds,
}

/// What is kept of a client.
#[derive(Debug)]
pub(super) struct Entry {
    pub id: Place,
    pub principal: Option<Place>,
    /// Where its profiles begin. They end where those of the next client begin.
    pub first_profile: usize,
    /// Its issuers likewise.
    pub first_issuer: usize,
}

/// A typed identity, or a name in tokens, and whose it is.
#[derive(Debug)]
pub(super) struct Identity {
    pub text: Place,
    pub client: usize,
}

/// Which of the costlier identity kinds are registered at all; the others need not be made to be looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Some client has a `sha256:` identity.
    pub sha256: bool,
    /// Some client has a `subject:` identity.
    pub subject: bool,
    /// Some client has an `email:` identity.
    pub email: bool,
    /// Some client has a `uri:` identity.
    pub uri: bool,
    /// Some client has an `ip:` identity.
    pub ip: bool,
}

impl Kinds {
    /// The names of a certificate.
    pub const NAMES: Self = Self { sha256: false, subject: false, ..Self::ALL };
    /// All of them.
    pub const ALL: Self = Self { sha256: true, subject: true, email: true, uri: true, ip: true };
}

impl Registry {
    /// The client of this name.
    pub fn by_id(&self, id: &str) -> Option<Client<'_>> {
        let id_of = |number: usize| self.clients.get(number).map_or("", |client| self.texts.get(client.id));
        self.client(self.by_id.find(id, &id_of)?)
    }

    /// The client that a token means by this name, registered or not: the one that lists it in `token_client_ids`, otherwise the one
    /// of this name, unless it lists other names.
    pub fn client_in_token<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.token_ids.is_empty() {
            return Some(name);
        }
        let name_of = |number: usize| self.token_ids.get(number).map_or("", |known| self.texts.get(known.text));
        match self.by_token_id.find(name, &name_of).and_then(|number| self.token_ids.get(number)) {
            Some(known) => self.client(known.client).map(Client::id),
            None if self.by_id(name).is_some_and(|client| client.token_client_ids().next().is_some()) => None,
            None => Some(name),
        }
    }

    /// The first client that has this typed identity, and whether others share it.
    pub fn by_identity(&self, identity: &str) -> Option<(Client<'_>, bool)> {
        let text_of = |number: usize| self.identities.get(number).map_or("", |known| self.texts.get(known.text));
        let number = self.by_identity.find(identity, &text_of)?;
        let client = self.client(self.identities.get(number)?.client)?;
        Some((client, self.shared.binary_search(&number).is_ok()))
    }

    /// The profiles that clients name, each once.
    pub fn named_profiles(&self) -> impl Iterator<Item = ProfileId> {
        self.known_profiles.iter().copied()
    }

    /// Which costlier kinds of identity need to be looked up.
    pub const fn kinds(&self) -> Kinds {
        self.kinds
    }

    fn client(&self, number: usize) -> Option<Client<'_>> {
        Some(Client { registry: self, number, entry: self.clients.get(number)?, next: self.clients.get(number + 1) })
    }
}

/// A registered client.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    registry: &'a Registry,
    number: usize,
    entry: &'a Entry,
    next: Option<&'a Entry>,
}

impl<'a> Client<'a> {
    /// Its name.
    pub fn id(self) -> &'a str {
        self.registry.texts.get(self.entry.id)
    }

    /// Its canonical ARN.
    pub fn principal(self) -> Option<&'a str> {
        self.entry.principal.map(|place| self.registry.texts.get(place))
    }

    /// Its typed identities, in the spelling in which they are looked up. They stand together, in the order of the clients.
    pub fn identities(self) -> impl Iterator<Item = &'a str> {
        self.own(&self.registry.identities)
    }

    /// What tokens call it; none: its name.
    pub fn token_client_ids(self) -> impl Iterator<Item = &'a str> {
        self.own(&self.registry.token_ids)
    }

    fn own(self, all: &'a [Identity]) -> impl Iterator<Item = &'a str> {
        let (registry, number) = (self.registry, self.number);
        let first = all.partition_point(|identity| identity.client < number);
        let from_first = all.iter().skip(first);
        from_first
            .take_while(move |identity| identity.client == number)
            .map(|identity| registry.texts.get(identity.text))
    }

    /// May its certificates be those of other clients, too?
    pub fn shares_identities(self) -> bool {
        self.registry.sharing.binary_search(&self.number).is_ok()
    }

    /// May a mapping name it?
    pub fn may_be_mapped(self) -> bool {
        self.registry.mapped.binary_search(&self.number).is_ok() || self.identities().next().is_none()
    }

    /// The profiles it may use.
    pub fn profiles(self) -> impl Iterator<Item = ProfileId> {
        let all = &self.registry.profiles;
        let end = self.next.map_or(all.len(), |next| next.first_profile);
        let own = all.get(self.entry.first_profile..end).unwrap_or_default();
        own.iter().filter_map(move |number| self.registry.known_profiles.get(*number).copied())
    }

    /// Where there are any, only certificates of these issuers are this client's: distinguished names, printed
    /// as RFC 4514, and names of authorities.
    pub fn issuers(self) -> impl ExactSizeIterator<Item = &'a str> {
        let all = &self.registry.issuers;
        let end = self.next.map_or(all.len(), |next| next.first_issuer);
        let own = all.get(self.entry.first_issuer..end).unwrap_or_default();
        own.iter().map(move |place| self.registry.texts.get(*place))
    }
}
