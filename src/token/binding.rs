//! Proof of possession: `cnf["x5t#S256"]` (RFC 8705 section 3.1).

use serde_json::Value;

use crate::certificate::Thumbprint;
use crate::decision::{Deny, Reason};

/// What a token says about who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// No `cnf`: a plain bearer token.
    Absent,
    /// A `cnf` that names no certificate, such as DPoP's `jkt`: bound, but to something that cannot be checked here.
    Other,
    /// Bound to the certificate with this thumbprint.
    Certificate(Thumbprint),
    /// Meant to be bound to a certificate, but misspelled.
    Malformed(Mistake),
}

/// How issuers get `x5t#S256` wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// `cnf` is not an object, or its member not a text.
    Type,
    /// Hexadecimal, as OpenSSL prints fingerprints.
    Hex,
    /// Base64 padding.
    Padding,
    /// The alphabet of plain base64.
    Alphabet,
    /// A SHA-1, or the SHA-1 member `x5t`.
    Sha1,
    /// None of these.
    Other,
}

impl Mistake {
    /// For whoever configures the issuer.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Type => "The token's cnf must be an object whose x5t#S256 is a text.",
            Self::Hex => "The token's cnf.x5t#S256 is hexadecimal; it must be unpadded base64url of the 32 bytes.",
            Self::Padding => "The token's cnf.x5t#S256 is padded; base64url without = is expected.",
            Self::Alphabet => {
                "The token's cnf.x5t#S256 is plain base64; base64url (- and _ instead of + and /) is expected."
            }
            Self::Sha1 => "The token's cnf holds a SHA-1 thumbprint; x5t#S256 is that of SHA-256.",
            Self::Other => "The token's cnf.x5t#S256 is not the 43 characters of a SHA-256 in base64url.",
        }
    }
}

impl Confirmation {
    /// Reads the claim `cnf`.
    pub fn read(cnf: Option<&Value>) -> Self {
        let members = match cnf {
            None => return Self::Absent,
            Some(Value::Object(members)) => members,
            Some(_) => return Self::Malformed(Mistake::Type),
        };
        match members.get("x5t#S256") {
            Some(Value::String(text)) => {
                Thumbprint::from_base64url(text).map_or_else(|| Self::Malformed(mistake(text)), Self::Certificate)
            }
            Some(_) => Self::Malformed(Mistake::Type),
            None if members.contains_key("x5t") => Self::Malformed(Mistake::Sha1),
            None => Self::Other,
        }
    }

    /// The certificate that the token is bound to.
    pub const fn thumbprint(self) -> Option<Thumbprint> {
        match self {
            Self::Certificate(thumbprint) => Some(thumbprint),
            Self::Absent | Self::Other | Self::Malformed(_) => None,
        }
    }

    /// Checks the token against the certificate of the connection. `Ok(false)` for a token that is bound to nothing.
    pub fn check(self, thumbprint: Option<Thumbprint>) -> Result<bool, Deny> {
        match (self, thumbprint) {
            (Self::Absent, _) => Ok(false),
            (Self::Other, _) => Err(Deny::new(Reason::SenderBindingMissing).with_detail(
                "The token's cnf names no certificate (x5t#S256), and another confirmation cannot be checked here.",
            )),
            (Self::Malformed(mistake), _) => {
                Err(Deny::new(Reason::SenderBindingMalformed).with_detail(mistake.detail()))
            }
            (Self::Certificate(_), None) => Err(Deny::new(Reason::CertificateMissing)
                .with_detail("The token is bound to a client certificate, and none was presented.")),
            (Self::Certificate(bound), Some(presented)) if bound == presented => Ok(true),
            (Self::Certificate(_), Some(_)) => Err(Reason::SenderBindingMismatch.into()),
        }
    }
}

fn mistake(text: &str) -> Mistake {
    let digits = text.bytes().filter(|byte| *byte != b':');
    let hex = digits.clone().all(|byte| byte.is_ascii_hexdigit());
    let unpadded = text.trim_end_matches('=');
    match (hex, digits.count()) {
        (true, 40) => Mistake::Sha1,
        (true, 64) => Mistake::Hex,
        _ if unpadded.len() == 27 => Mistake::Sha1,
        _ if unpadded.contains(['+', '/']) => Mistake::Alphabet,
        _ if unpadded.len() < text.len() => Mistake::Padding,
        _ => Mistake::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_misspelled_thumbprint_is_told_by_its_mistake() {
        for (cnf, expected) in [
            (json!("x"), Mistake::Type),
            (json!([]), Mistake::Type),
            (json!({"x5t#S256": 1}), Mistake::Type),
            (json!({"x5t#S256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}), Mistake::Hex),
            (
                json!({"x5t#S256": "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55"}),
                Mistake::Hex,
            ),
            (json!({"x5t#S256": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="}), Mistake::Padding),
            (json!({"x5t#S256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}), Mistake::Alphabet),
            (json!({"x5t#S256": "2jmj7l5rSw0yVb_vlWAYkK_YBwk"}), Mistake::Sha1),
            (json!({"x5t#S256": "2jmj7l5rSw0yVb_vlWAYkK_YBwk="}), Mistake::Sha1),
            (json!({"x5t#S256": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}), Mistake::Sha1),
            (json!({"x5t": "2jmj7l5rSw0yVb_vlWAYkK_YBwk"}), Mistake::Sha1),
            (json!({"x5t#S256": ""}), Mistake::Other),
            (json!({"x5t#S256": " 47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}), Mistake::Other),
        ] {
            assert_eq!(Confirmation::read(Some(&cnf)), Confirmation::Malformed(expected), "{cnf}");
        }
    }

    #[test]
    fn a_bound_token_is_good_for_its_certificate_alone() {
        let (own, other) = (Thumbprint::of(b"own"), Thumbprint::of(b"other"));
        let bound = Confirmation::read(Some(&json!({"x5t#S256": own.to_string()})));
        let reason = |outcome: Result<bool, Deny>| outcome.map_err(|deny| deny.reason);
        assert_eq!(reason(bound.check(Some(own))), Ok(true));
        assert_eq!(reason(bound.check(Some(other))), Err(Reason::SenderBindingMismatch));
        assert_eq!(reason(bound.check(None)), Err(Reason::CertificateMissing));
        let dpop = Confirmation::read(Some(&json!({"jkt": "x"})));
        assert_eq!(reason(dpop.check(Some(own))), Err(Reason::SenderBindingMissing));
        assert_eq!(reason(Confirmation::read(None).check(Some(own))), Ok(false));
    }
}
