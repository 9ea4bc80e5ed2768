//! Addresses of callers.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::proxy::{HostError, Property, Proxy};

/// Whose word is taken for the caller's address (`source_address`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceAddress {
    /// The peer of the connection, from filter state that no caller can write.
    #[default]
    Direct,
    /// Envoy's `source.address`, which `X-Forwarded-For` may have chosen.
    Envoy,
}

/// The caller's address; `None` where the proxy does not tell one.
pub fn of_caller(source: SourceAddress, proxy: &dyn Proxy) -> Result<Option<IpAddr>, HostError> {
    let property = match source {
        SourceAddress::Direct => Property::DirectRemoteAddress,
        SourceAddress::Envoy => Property::SourceAddress,
    };
    Ok(proxy.property(property)?.as_deref().and_then(parse))
}

/// `10.0.0.1`, `10.0.0.1:443`, `::1` or `[::1]:443`. An IPv4 address mapped into IPv6 is that IPv4 address. The zone of a link-local
/// address (`fe80::1%eth0`, RFC 4007 section 11) is cut off: no network names one.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = match text.split_once('%') {
        None => text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?,
        Some((address, zone)) => {
            let address = if zone.contains(']') { address.strip_prefix('[')? } else { address };
            IpAddr::V6(address.parse().ok()?)
        }
    };
    Some(address.to_canonical())
}

/// Reads a network: CIDR notation without host bits, or a single address.
///
/// # Errors
/// What was expected instead.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "a network such as 10.0.0.0/8 or 2001:db8::/32 (any address of both families: any)".to_owned())?;
    if let IpNet::V6(network) = network
        && network.addr().to_ipv4_mapped().is_some()
    {
        return Err("the IPv4 network itself, such as 10.0.0.0/8".to_owned());
    }
    let exact = network.trunc();
    if exact == network { Ok(network) } else { Err(format!("a network without host bits, {exact}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_in_which_envoy_writes_an_address_is_read() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("10.0.0.1:0", Some("10.0.0.1")),
            ("::1", Some("::1")),
            ("[::1]:443", Some("::1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("[::ffff:10.0.0.1]:443", Some("10.0.0.1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("[fe80::1%2]:443", Some("fe80::1")),
            ("10.0.0.1%eth0", None),
            ("%eth0", None),
            ("", None),
            ("/run/peer.sock", None),
            ("10.0.0.1, 10.0.0.2", None),
            ("010.0.0.1", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected.map(|ip| ip.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_unusable_network_is_refused() {
        assert!(
            parse_network("10.0.0.0/8").is_ok() && parse_network("::/0").is_ok() && parse_network("10.0.0.1").is_ok()
        );
        for text in [
            "::ffff:10.0.0.0/104",
            "::ffff:10.0.0.1",
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0/8",
            "example.com",
            "::1/127 ",
        ] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
