//! One certificate for several clients: an organisation's certificate and its applications (`shared_identities`).

use super::authorities::IssuedBy;
use crate::decision::{Deny, Reason};

/// A certificate that several clients share. Which of them calls, the request says: [`sharer`](super::Identities::sharer).
#[derive(Debug, PartialEq, Eq)]
pub struct Shared {
    /// Those of its identities that are registered.
    pub(super) identities: Vec<String>,
    /// Some of the clients may have pinned an authority, and others not.
    pub(super) issued_by: IssuedBy,
}

/// No client is named.
pub(super) fn unnamed(identity: &str) -> Deny {
    Deny::new(Reason::ClientHeaderMissing)
        .with_detail("X-Client-ID must name the client: the certificate is that of several.")
        .with_note(format!(
            "several clients have {:?} (shared_identities), and the request names none of them: neither X-Client-ID nor a token with \
             one of token.client_id_claims",
            super::brief(identity)
        ))
}
