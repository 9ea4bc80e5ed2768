//! Hosts: what `:authority` names, and how rules name it.

use std::fmt;

/// What a request's `:authority` names: `host`, or `host:port` (RFC 3986 section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// In lower case; an IPv6 address in brackets.
    name: String,
    port: Option<u16>,
}

impl Host {
    /// Reads an authority. What is no host and port is a name that no pattern has.
    pub fn of(authority: &[u8]) -> Self {
        let text = String::from_utf8_lossy(authority).to_ascii_lowercase();
        match split_port(&text) {
            Some((name, port)) => Self { name: name.to_owned(), port: Some(port) },
            None => Self { name: text, port: None },
        }
    }
}

/// `name:port`. The colons of an IPv6 address stand in brackets.
fn split_port(text: &str) -> Option<(&str, u16)> {
    let (name, port) = text.rsplit_once(':')?;
    let is_whole = !name.contains(':') || name.ends_with(']');
    let port = Some(port).filter(|port| is_whole && port.bytes().all(|digit| digit.is_ascii_digit()))?;
    Some((name, port.parse().ok().filter(|port| *port > 0)?))
}

/// An entry of `hosts`. It grants, so that it is compared exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// The whole name, or what follows its first label, with the dot.
    name: String,
    /// Does one label stand in front of the name?
    has_label: bool,
    /// Any, where the entry names none.
    port: Option<u16>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host(f, "", &self.name, self.port)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host(f, if self.has_label { "*" } else { "" }, &self.name, self.port)
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, label: &str, name: &str, port: Option<u16>) -> fmt::Result {
    match port {
        Some(port) => write!(f, "{label}{name}:{port}"),
        None => write!(f, "{label}{name}"),
    }
}

/// What a host name or an address consists of.
fn is_name(text: &str) -> bool {
    let labels = || text.split('.').all(is_label);
    let address = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok();
    labels() || address().is_some()
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

impl HostPattern {
    /// Reads `api.example`, `*.example` (one label in front) or either with a port.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = match split_port(text) {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let behind = host.strip_prefix('*').filter(|rest| rest.starts_with('.'));
        let is_usable = match behind.and_then(|rest| rest.strip_prefix('.')) {
            Some(rest) => is_name(rest),
            None => is_name(host),
        };
        if !is_usable {
            return Err(
                "a host in lower case such as api.example, [2001:db8::1] or *.example (one label), without a dot at the end; \
                        a port, if one is given, must be the request's; leave \"hosts\" out for any host",
            );
        }
        Ok(Self { name: behind.unwrap_or(host).to_owned(), has_label: behind.is_some(), port })
    }

    /// Is this such a host?
    pub fn matches(&self, host: &Host) -> bool {
        let label = if self.has_label { host.name.split_once('.').map_or("", |(label, _)| label) } else { "" };
        let behind = host.name.strip_prefix(label).unwrap_or_default();
        is_label(label) == self.has_label && behind == self.name && self.port.is_none_or(|port| host.port == Some(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_in_lower_case_and_without_a_port_that_the_pattern_does_not_name() {
        for (pattern, authority, expected) in [
            ("api.example", "api.example", true),
            ("api.example", "API.Example:8443", true),
            ("api.example", "api.example.", false),
            ("api.example", "x.api.example", false),
            ("api.example", "api.example:", false),
            ("api.example", "api.example:x", false),
            ("api.example", "api.example:99999", false),
            ("api.example", "user@api.example", false),
            ("api.example", "api.example/x", false),
            ("api.example", "", false),
            ("*.example", "api.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", ".example", false),
            ("*.example", "example", false),
            ("*.example", "user@api.example", false),
            ("*.example", "api.examples", false),
            ("db.example:5432", "db.example:5432", true),
            ("db.example:5432", "db.example:22", false),
            ("db.example:5432", "db.example", false),
            ("*.db.example:5432", "a.db.example:5432", true),
            ("[2001:db8::1]", "[2001:DB8::1]:443", true),
            ("[2001:db8::1]", "[2001:db8::2]", false),
            ("[2001:db8::1]", "2001:db8::1", false),
            ("10.0.0.1", "10.0.0.1:80", true),
        ] {
            let pattern = HostPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(&Host::of(authority.as_bytes())), expected, "{pattern:?} {authority}");
        }
    }

    #[test]
    fn an_unusable_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "**.example",
            "a.*.example",
            "*a.example",
            "API.example",
            "api.example.",
            ".example",
            "a..b",
            "api.example:",
            "api.example:x",
            "api.example:0",
            "api.example:65536",
            "https://api.example",
            "api.example/x",
            "2001:db8::1",
            "[api]",
            "*.[::1]x",
            "b\u{fc}cher.example",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
