//! Which clients a token alone can reach, in mode `bearer_plus_mtls_optional`.
//!
//! The rule: less proof never gives more. Where a certificate would have limited a client to less than its own entry in `clients`
//! says, a caller must not come by the client without one.

use crate::config::Policy;
use crate::decision::{Deny, Reason};
use crate::identity::Client;
use crate::inventory;
use crate::memory::Memory;
use crate::proxy::{HostError, Proxy};

/// Is a token that is bound to nothing enough for this client, at this time (seconds since 1970)?
///
/// # Errors
/// 401 `certificate_missing`, or 503 `revocation_unavailable` where the client's certificates may be revoked.
pub fn is_enough(policy: &Policy, memory: &Memory, client_id: &str, proxy: &dyn Proxy, now: i64) -> Result<(), Deny> {
    let Some(client) = policy.identities.registry.by_id(client_id) else {
        return Ok(());
    };
    let why = if client.issuers().len() > 0 {
        "has issuers"
    } else if client.may_be_mapped() && policy.identities.is_limited_by_mapping(client_id) {
        "can be named by a mapping with issuer, profile_id or principal"
    } else if is_revoked(policy, memory, client, proxy)? {
        "has no certificate that is known and not revoked"
    } else {
        return policy.revocation.check_feeds(&memory.revoked, now);
    };
    Err(Deny::new(Reason::CertificateMissing)
        .with_note(format!("a token alone is not enough for the client that it names, which {why}")))
}

/// Is every certificate of the client revoked that is known: those that its `identities` name, and those in the inventory?
fn is_revoked(policy: &Policy, memory: &Memory, client: Client<'_>, proxy: &dyn Proxy) -> Result<bool, HostError> {
    if policy.revocation.is_empty() {
        return Ok(false);
    }
    let is_listed = |identity: &str| policy.revocation.lists_identity(&memory.revoked, identity);
    let mut identities = client.identities().peekable();
    if identities.peek().is_some() && identities.all(is_listed) {
        return Ok(true);
    }
    let mut certificates = client.identities().filter(|identity| identity.starts_with("sha256:")).peekable();
    let is_certificate_named = certificates.peek().is_some();
    if !certificates.all(is_listed) {
        return Ok(false);
    }
    let seen = inventory::find(proxy, &inventory::table(Some(policy)), client.id())?;
    Ok(seen.map_or(is_certificate_named, |entry| {
        entry.good().all(|thumbprint| is_listed(&format!("sha256:{}", thumbprint.to_hex())))
    }))
}
