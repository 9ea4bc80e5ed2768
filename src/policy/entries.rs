//! Lists of paths with methods and hosts: `bypass` and `deny`.

use super::host::{Host, HostPattern};
use super::method::covers;
use super::path::CanonicalPath;
use super::pattern::{PathPattern, PatternSet};
use super::restriction::LetterCase;
use super::unverified::UnverifiedAuthorization;

/// Entries that each cover some paths. By default they grant.
#[derive(Debug, Clone, Default)]
pub struct PathEntries {
    paths: PatternSet,
    entries: Vec<Entry>,
}

/// What an entry covers of its paths.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Empty: every method.
    pub methods: Vec<String>,
    /// Empty: every host.
    pub hosts: Vec<HostPattern>,
    /// What becomes of an `Authorization` that was not verified.
    pub unverified: UnverifiedAuthorization,
}

/// What is asked for, as far as an entry looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The method.
    pub method: &'a str,
    /// Where.
    pub path: &'a CanonicalPath<'a>,
    /// At which host, where any rule of the policy names one.
    pub host: Option<&'a Host>,
}

impl PathEntries {
    /// Entries that restrict.
    pub fn restricting(letter_case: LetterCase) -> Self {
        Self { paths: PatternSet::restricting(letter_case), ..Self::default() }
    }

    /// Adds an entry.
    pub fn insert(&mut self, patterns: &[PathPattern], entry: Entry) {
        for pattern in patterns {
            self.paths.insert(pattern, self.entries.len());
        }
        self.entries.push(entry);
    }

    /// The first entry that covers this, and its index.
    pub fn entry(&self, target: Target<'_>) -> Option<(usize, &Entry)> {
        let covers = |index| self.entries.get(index).is_some_and(|entry: &Entry| entry.covers(target));
        let index = self.paths.lowest(target.path, covers)?;
        Some((index, self.entries.get(index)?))
    }

    /// Does any entry name a host?
    pub fn names_hosts(&self) -> bool {
        self.entries.iter().any(|entry| !entry.hosts.is_empty())
    }
}

impl Entry {
    fn covers(&self, target: Target<'_>) -> bool {
        covers(&self.methods, target.method) && is_one_of(&self.hosts, target.host)
    }
}

/// Is the host one of these? An empty list covers every host.
pub fn is_one_of(hosts: &[HostPattern], host: Option<&Host>) -> bool {
    hosts.is_empty() || host.is_some_and(|host| hosts.iter().any(|pattern| pattern.matches(host)))
}
