//! Whose counts are whose, in what all policies of a process share.

use std::fmt;

use sha2::{Digest, Sha256};

/// Stands for a policy wherever its counts lie beside those of others. What one policy counts, no other policy changes,
/// whatever its clients and profiles are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope([u8; Scope::BYTES]);

impl Scope {
    /// How long it is.
    pub const BYTES: usize = 16;

    /// Of a policy with a `policy_name`: that of all its versions.
    pub fn named(name: &str) -> Self {
        Self::of(b"policy_name\n", name)
    }

    /// Of a policy without: that of this configuration and no other.
    pub fn anonymous(configuration: &str) -> Self {
        Self::of(b"configuration\n", configuration)
    }

    /// Of the candidate of a policy with this scope, or of one whose own scope this is: it counts by itself.
    #[must_use]
    pub fn of_candidate(self) -> Self {
        Self::of(b"candidate\n", &self.to_string())
    }

    /// Its bytes, which are evenly distributed.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn of(kind: &[u8], text: &str) -> Self {
        let digest = <[u8; 32]>::from(Sha256::new().chain_update(kind).chain_update(text).finalize());
        Self(*digest.first_chunk().unwrap_or(&[0; Self::BYTES]))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_that_of_one_name_or_of_one_configuration() {
        let scopes = [Scope::named("a"), Scope::named("b"), Scope::anonymous("a"), Scope::anonymous("b")];
        for (index, scope) in scopes.iter().enumerate() {
            assert_eq!(scopes.iter().position(|other| other == scope), Some(index));
        }
        assert_eq!(Scope::named("a"), Scope::named("a"));
    }
}
