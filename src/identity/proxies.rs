//! Whose word is taken for a caller's certificate (`certificate.forwarded.trusted_proxies`).

use std::net::IpAddr;

use ipnet::IpNet;

use super::registry::Kinds;
use super::{Identities, Names, every_identity};
use crate::certificate::Certificate;

/// The trusted proxies. To be in one of the two lists is enough.
#[derive(Debug, Default)]
pub struct TrustedProxies {
    /// Where their connections come from.
    pub networks: Vec<IpNet>,
    /// Their typed identities, in the spelling in which identities are looked up.
    pub identities: Vec<String>,
}

impl TrustedProxies {
    /// Is this the address of one?
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Is this the certificate of one? Its names are read as those of a client are.
    pub fn is_of(&self, certificate: &Certificate, rules: &Identities) -> bool {
        Names::of(certificate, &rules.precedence, &rules.trust_domains).is_ok_and(|names| {
            let identities = every_identity(certificate, &names, Kinds::ALL);
            identities.iter().any(|identity| self.identities.contains(identity))
        })
    }
}
