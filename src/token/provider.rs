//! Issuers of tokens, of which each has keys that speak for it and for no other.

/// One of `token.providers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Exactly what `iss` says.
    pub issuer: String,
    /// One of these must be in `aud`; empty: any.
    pub audiences: Vec<String>,
    /// What speaks for it: the index of its key set or of its metadata key in the source.
    pub place: usize,
}
