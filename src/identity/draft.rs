//! A registry that is being written, while the profiles are not known yet but by name.

use std::collections::BinaryHeap;
use std::mem;
use std::rc::Rc;

use super::index::Index;
use super::registry::{Entry, Identity, Kinds, Registry};
use super::texts::{Place, Texts};
use crate::policy::ProfileId;

/// About what a client takes in a configuration.
const TYPICAL_BYTES: usize = 100;

/// The clients that were read so far, and what they name.
#[derive(Debug)]
pub struct Draft {
    registry: Registry,
    /// What the registry's numbers of profiles stand for.
    profiles: Vec<Place>,
    /// The client that named each of them last.
    named_by: Vec<usize>,
    by_profile: Index,
    /// The issuers of the client that was added last.
    by_issuer: Index,
}

impl Draft {
    /// An empty one for the clients of this configuration.
    ///
    /// Room is made at once, because memory that a growing list leaves behind stays with the VM for ever.
    pub fn new(configuration: Rc<String>) -> Self {
        let clients = configuration.len() / TYPICAL_BYTES;
        let registry = Registry {
            texts: Texts::new(configuration),
            clients: Vec::with_capacity(clients),
            // Most clients have one of each.
            identities: Vec::with_capacity(clients),
            profiles: Vec::with_capacity(clients),
            by_id: Index::with_capacity(clients),
            by_identity: Index::with_capacity(clients),
            ..Registry::default()
        };
        Self {
            registry,
            profiles: Vec::new(),
            named_by: Vec::new(),
            by_profile: Index::default(),
            by_issuer: Index::default(),
        }
    }

    /// Adds a client, unless there is one of this name: `false`. What is added next is this client's.
    pub fn add(&mut self, id: &str, principal: Option<&str>) -> bool {
        let Registry { texts, clients, by_id, profiles, issuers, .. } = &mut self.registry;
        let id_of = |number: usize| clients.get(number).map_or("", |client| texts.get(client.id));
        if by_id.insert(id, clients.len(), &id_of).is_some() {
            return false;
        }
        if clients.last().is_some_and(|last| last.first_issuer < issuers.len()) {
            self.by_issuer = Index::default();
        }
        clients.push(Entry {
            id: texts.keep(id),
            principal: principal.map(|principal| texts.keep(principal)),
            first_profile: profiles.len(),
            first_issuer: issuers.len(),
        });
        true
    }

    /// The client may use the profile of this name. `false`: that was said before.
    pub fn add_profile(&mut self, name: &str) -> bool {
        let client = self.client();
        let (texts, names) = (&mut self.registry.texts, &mut self.profiles);
        let name_of = |number: usize| names.get(number).map_or("", |place| texts.get(*place));
        let (next, named) = (names.len(), &mut self.registry.profiles);
        // Neighbours mostly name the same.
        let known = named.last().copied().filter(|last| name_of(*last) == name);
        let number = known.or_else(|| self.by_profile.insert(name, next, &name_of)).unwrap_or_else(|| {
            names.push(texts.keep(name));
            next
        });
        named.push(number);
        match self.named_by.get_mut(number) {
            Some(last) => mem::replace(last, client) != client,
            None => {
                self.named_by.push(client);
                true
            }
        }
    }

    /// Mappings may name the client though it has identities.
    pub fn allow_mappings(&mut self) {
        let client = self.client();
        self.registry.mapped.push(client);
    }

    /// Other clients may have its identities, if they say so, too.
    pub fn share_identities(&mut self) {
        let client = self.client();
        self.registry.sharing.push(client);
    }

    /// Tokens call the client so.
    ///
    /// # Errors
    /// The name of the client that they call so already, which may be this one.
    pub fn add_token_client_id(&mut self, name: &str) -> Result<(), &str> {
        let client = self.client();
        let Registry { texts, clients, token_ids, by_token_id, .. } = &mut self.registry;
        let text_of = |number: usize| token_ids.get(number).map_or("", |known| texts.get(known.text));
        let known = by_token_id.insert(name, token_ids.len(), &text_of);
        if let Some(owner) = known.and_then(|number| token_ids.get(number)) {
            return Err(clients.get(owner.client).map_or("", |owner| texts.get(owner.id)));
        }
        token_ids.push(Identity { text: texts.keep(name), client });
        Ok(())
    }

    /// The first of `token_client_ids` that is what tokens call another client, which has none: the client that lists it, its index
    /// there, and the name.
    pub fn ambiguous_token_client_id(&self) -> Option<(&str, usize, &str)> {
        let Registry { texts, clients, token_ids, .. } = &self.registry;
        let is_another = |known: &Identity| {
            let named = self.registry.by_id(texts.get(known.text));
            named.is_some_and(|named| named.token_client_ids().next().is_none())
        };
        let number = token_ids.iter().position(is_another)?;
        let Identity { text, client } = token_ids.get(number)?;
        let first = token_ids.partition_point(|known| known.client < *client);
        Some((texts.get(clients.get(*client)?.id), number - first, texts.get(*text)))
    }

    /// The number of the client that was added last.
    fn client(&self) -> usize {
        self.registry.clients.len().saturating_sub(1)
    }

    /// Certificates of this issuer are the client's, and others are not: a distinguished name, printed as certificates' are, or the
    /// name of an authority. `false`: that was said before.
    pub fn add_issuer(&mut self, issuer: &str) -> bool {
        let Registry { texts, issuers, .. } = &mut self.registry;
        let text_of = |number: usize| issuers.get(number).map_or("", |place| texts.get(*place));
        if self.by_issuer.insert(issuer, issuers.len(), &text_of).is_some() {
            return false;
        }
        issuers.push(texts.keep(issuer));
        true
    }

    /// The client has this identity, in its canonical spelling.
    ///
    /// # Errors
    /// The name of the client that has it already, which may be this one.
    pub fn add_identity(&mut self, identity: &str) -> Result<(), &str> {
        let client = self.client();
        let Registry { texts, clients, identities, by_identity, kinds, sharing, shared, .. } = &mut self.registry;
        let text_of = |number: usize| identities.get(number).map_or("", |known| texts.get(known.text));
        let known = by_identity.insert(identity, identities.len(), &text_of);
        if let Some((number, owner)) = known.and_then(|number| Some((number, identities.get(number)?.client))) {
            let shares = |client: usize| sharing.binary_search(&client).is_ok();
            let own = identities.iter().rev().take_while(|own| own.client == client);
            let is_own = owner == client || own.into_iter().any(|own| texts.get(own.text) == identity);
            if is_own || !shares(owner) || !shares(client) {
                let owner = if is_own { client } else { owner };
                return Err(clients.get(owner).map_or("", |owner| texts.get(owner.id)));
            }
            shared.push(number);
        }
        kinds.add(identity);
        identities.push(Identity { text: texts.keep(identity), client });
        Ok(())
    }

    /// Every profile that clients name, once.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|place| self.registry.texts.get(*place))
    }

    /// Every identity.
    pub fn identities(&self) -> impl Iterator<Item = &str> {
        self.registry.identities.iter().map(|identity| self.registry.texts.get(identity.text))
    }

    /// Every issuer.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.registry.issuers.iter().map(|place| self.registry.texts.get(*place))
    }

    /// The client that names an issuer, and the index in its list.
    pub fn with_issuer(&self, number: usize) -> (&str, usize) {
        let client = self.registry.clients.iter().rfind(|client| client.first_issuer <= number);
        client.map_or(("", 0), |client| (self.registry.texts.get(client.id), number - client.first_issuer))
    }

    /// The first client that names a profile, and the index in its list.
    pub fn first_with_profile(&self, number: usize) -> (&str, usize) {
        let first = self.registry.profiles.iter().position(|named| *named == number).unwrap_or_default();
        let client = self.registry.clients.iter().rfind(|client| client.first_profile <= first);
        client.map_or(("", 0), |client| (self.registry.texts.get(client.id), first - client.first_profile))
    }

    /// The client that has an identity, and the index in its list.
    pub fn whose(&self, number: usize) -> (&str, usize) {
        let owner = self.registry.identities.get(number).map_or(0, |identity| identity.client);
        let first = self.registry.identities.iter().position(|identity| identity.client == owner);
        let id = self.registry.clients.get(owner).map_or("", |client| self.registry.texts.get(client.id));
        (id, number.saturating_sub(first.unwrap_or_default()))
    }

    /// The registry, now that there is a profile for each of the names.
    pub fn finish(self, profiles: Vec<ProfileId>) -> Registry {
        // A heap, whose code is a few hundred bytes: sorting numbers in place would be eight thousand.
        let mut shared = BinaryHeap::from(self.registry.shared).into_sorted_vec();
        shared.dedup();
        Registry { known_profiles: profiles, shared, ..self.registry }
    }
}

impl Kinds {
    fn add(&mut self, identity: &str) {
        self.sha256 |= identity.starts_with("sha256:");
        self.subject |= identity.starts_with("subject:");
        self.email |= identity.starts_with("email:");
        self.uri |= identity.starts_with("uri:");
        self.ip |= identity.starts_with("ip:");
    }
}
