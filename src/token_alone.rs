//! Which clients a token alone can reach, in mode `bearer_plus_mtls_optional`.
//!
//! The rule: less proof never gives more. Where a certificate would have limited a client to less than its own entry in `clients`
//! says, a caller must not come by the client without one.

use crate::config::Policy;
use crate::identity::Client;
use crate::inventory;
use crate::memory::Memory;
use crate::proxy::{HostError, Proxy};

/// Why a token that is bound to nothing does not reach this client, for the operator; `None` where it does.
///
/// # Errors
/// The host does not answer.
pub fn obstacle(
    policy: &Policy,
    memory: &Memory,
    client_id: &str,
    proxy: &dyn Proxy,
) -> Result<Option<&'static str>, HostError> {
    let Some(client) = policy.identities.registry.by_id(client_id) else {
        return Ok(None);
    };
    if client.issuers().len() > 0 {
        return Ok(Some("the client has issuers, so that a token alone is not enough for it"));
    }
    if client.may_be_mapped() && policy.identities.is_limited_by_mapping(client_id) {
        return Ok(Some(
            "a mapping with profile_id or principal can name the client, so that a token alone is not enough for it",
        ));
    }
    let is_revoked = is_revoked(policy, memory, client, proxy)?;
    Ok(is_revoked.then_some(
        "every certificate of the client that is known is revoked, so that a token alone is not enough for it",
    ))
}

/// Is every certificate of the client revoked that is known: those that its `identities` name, and the one that lasts longest of
/// those that this process has seen?
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
    Ok(match seen.map(|entry| entry.newest()) {
        None => is_certificate_named,
        Some((thumbprint, was_revoked)) => was_revoked || is_listed(&format!("sha256:{}", thumbprint.to_hex())),
    })
}
