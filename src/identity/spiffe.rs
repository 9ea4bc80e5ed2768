//! SPIFFE IDs (SPIFFE-ID specification, section 2).

use std::fmt;

const SCHEME: &str = "spiffe://";
const MAX_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// A valid SPIFFE ID of a workload: trust domain and a path that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    text: String,
    /// Where the path begins in `text`.
    path_start: usize,
}

impl SpiffeId {
    /// Reads a SPIFFE ID exactly as the specification spells one; nothing is normalised.
    pub fn parse(text: &str) -> Option<Self> {
        let trust_domain = Self::trust_domain_of(text)?;
        Some(Self { text: text.to_owned(), path_start: SCHEME.len() + trust_domain.len() })
    }

    /// The trust domain of a text that is a SPIFFE ID.
    pub fn trust_domain_of(text: &str) -> Option<&str> {
        let rest = text.strip_prefix(SCHEME)?;
        let (trust_domain, path) = rest.split_at_checked(rest.bytes().position(|byte| byte == b'/')?)?;
        // The path begins with its slash, so the first piece is what stands before that: nothing.
        let mut segments = path.as_bytes().split(|byte| *byte == b'/').skip(1);
        let valid = text.len() <= MAX_BYTES && is_trust_domain(trust_domain) && segments.all(is_segment);
        valid.then_some(trust_domain)
    }

    /// The trust domain's name.
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.path_start).unwrap_or_default()
    }

    /// The path, with its leading slash.
    pub fn path(&self) -> &str {
        self.text.get(self.path_start..).unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Is this URI meant to be a SPIFFE ID, well-formed or not? Schemes have no case (RFC 3986 section 3.1).
pub fn claims_spiffe(uri: &str) -> bool {
    uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Is this the name of a trust domain?
pub fn is_trust_domain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_TRUST_DOMAIN_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_'))
}

fn is_segment(segment: &[u8]) -> bool {
    !matches!(segment, b"" | b"." | b"..")
        && segment.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_id_has_a_trust_domain_and_a_path() {
        let id = SpiffeId::parse("spiffe://prod.example/ns/pay/sa/api-1_x").unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("prod.example", "/ns/pay/sa/api-1_x"));
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe:///a",
            "spiffe://td",
            "spiffe://td/",
            "spiffe://td/a/",
            "spiffe://td//a",
            "spiffe://td/./a",
            "spiffe://td/../a",
            "SPIFFE://td/a",
            "spiffe://TD/a",
            "spiffe://td:80/a",
            "spiffe://u@td/a",
            "spiffe://td/a?q",
            "spiffe://td/a#f",
            "spiffe://td/%61",
            "spiffe://td/a b",
            "spiffe://td/a\0",
            "spiffe://td/ü",
            "https://td/a",
        ] {
            assert_eq!(SpiffeId::parse(text), None, "{text:?}");
        }
        assert_eq!(SpiffeId::parse(&format!("spiffe://{}/a", "t".repeat(256))), None);
        assert_eq!(SpiffeId::parse(&format!("spiffe://td/{}", "a".repeat(2048))), None);
    }

    #[test]
    fn a_scheme_in_any_case_claims_to_be_spiffe() {
        assert!(claims_spiffe("SpIfFe://x"));
        assert!(!claims_spiffe("spiffe:/x") && !claims_spiffe("https://spiffe://") && !claims_spiffe("spiffé://"));
    }
}
