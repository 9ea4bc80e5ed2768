//! Tokens that were not verified.

/// `unverified_authorization`: what becomes of a bearer or DPoP token in `Authorization` where an allow did not take it into account. An
/// upstream could take the allow for a word about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnverifiedAuthorization {
    /// The header is removed.
    #[default]
    Remove,
    /// The upstream verifies the token itself.
    Keep,
}
