//! The registry of clients. Every look-up is by hash, so that 100,000 clients cost a request no more than ten.

use std::collections::HashMap;

use crate::certificate::DistinguishedName;
use crate::policy::ProfileId;

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub id: String,
    /// Its canonical ARN.
    pub principal: Option<String>,
    /// The profiles it may use.
    pub profiles: Vec<ProfileId>,
    /// Where not empty, only certificates of these issuers are this client's.
    pub issuers: Vec<DistinguishedName>,
}

/// All registered clients, by name and by typed identity.
#[derive(Debug, Default)]
pub struct Registry {
    clients: Vec<Client>,
    by_id: HashMap<String, usize>,
    by_identity: HashMap<String, usize>,
    kinds: Kinds,
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
}

impl Registry {
    /// Adds a client. `identities` are in their canonical spelling.
    ///
    /// # Errors
    /// The index of an identity that another client has already, and that client's name.
    pub fn insert(&mut self, client: Client, identities: Vec<String>) -> Result<(), (usize, String)> {
        let place = self.clients.len();
        for (index, identity) in identities.into_iter().enumerate() {
            self.kinds.sha256 |= identity.starts_with("sha256:");
            self.kinds.subject |= identity.starts_with("subject:");
            self.kinds.email |= identity.starts_with("email:");
            if let Some(other) = self.by_identity.insert(identity, place).filter(|other| *other != place) {
                let owner = self.clients.get(other).map(|client| client.id.clone());
                return Err((index, owner.unwrap_or_default()));
            }
        }
        self.by_id.insert(client.id.clone(), place);
        self.clients.push(client);
        Ok(())
    }

    /// The client of this name.
    pub fn by_id(&self, id: &str) -> Option<&Client> {
        self.clients.get(*self.by_id.get(id)?)
    }

    /// The client that has this typed identity.
    pub fn by_identity(&self, identity: &str) -> Option<&Client> {
        self.clients.get(*self.by_identity.get(identity)?)
    }

    /// Which costlier kinds of identity need to be looked up.
    pub const fn kinds(&self) -> Kinds {
        self.kinds
    }
}
