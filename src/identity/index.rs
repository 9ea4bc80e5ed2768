//! Looking texts up that are kept elsewhere.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::fingerprint::fingerprint;

/// A hash table of the numbers of texts. Whoever has the texts tells them by their numbers.
#[derive(Debug, Default)]
pub struct Index(HashTable<usize>);

impl Index {
    /// With room for so many texts.
    pub fn with_capacity(texts: usize) -> Self {
        Self(HashTable::with_capacity(texts))
    }

    /// The number of a text.
    pub fn find<'a>(&self, text: &str, text_of: &dyn Fn(usize) -> &'a str) -> Option<usize> {
        self.0.find(fingerprint(text.as_bytes()), |number| text_of(*number) == text).copied()
    }

    /// Adds a text under a number, unless it has one already: then that is returned.
    pub fn insert<'a>(&mut self, text: &str, number: usize, text_of: &dyn Fn(usize) -> &'a str) -> Option<usize> {
        let entry = self.0.entry(
            fingerprint(text.as_bytes()),
            |number| text_of(*number) == text,
            |number| fingerprint(text_of(*number).as_bytes()),
        );
        match entry {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(free) => {
                free.insert(number);
                None
            }
        }
    }
}
