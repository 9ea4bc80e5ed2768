//! The JOSE header of a token (RFC 7515 section 4), what must be true of it whoever verified the signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use crate::decision::{Deny, Reason};

/// Types of tokens that are taken: RFC 9068 and plain JWTs, with or without `application/`; or none at all.
const TYPES: &[&str] = &["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// The members that matter; either of them twice is an error.
#[derive(Deserialize)]
struct Header {
    typ: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Checks the header of a compact JWS.
///
/// # Errors
/// 401 `token_malformed`: it cannot be read, it demands that an extension be understood (`crit`; none is), or it is the
/// header of something else than an access token, such as an ID token's or a logout token's.
pub fn check(token: &str) -> Result<(), Deny> {
    let encoded = token.split('.').next().unwrap_or_default();
    let decoded = URL_SAFE_NO_PAD.decode(encoded).ok();
    let header = decoded.and_then(|json| serde_json::from_slice::<Header>(&json).ok());
    let malformed = |detail| Err(Deny::new(Reason::TokenMalformed).with_detail(detail));
    match header {
        None => malformed("The token's header cannot be read."),
        Some(Header { crit: true, .. }) => {
            malformed("The token's header demands extensions (crit), and none is understood.")
        }
        Some(Header { typ: Some(typ), .. }) if !TYPES.contains(&typ.to_ascii_lowercase().as_str()) => {
            malformed("The token's typ is not that of an access token (at+jwt or JWT).")
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_without_extensions_is_taken_and_nothing_else() {
        for (header, good) in [
            (r#"{"alg":"ES256"}"#, true),
            (r#"{"alg":"ES256","typ":"JWT","kid":"a"}"#, true),
            (r#"{"typ":"at+jwt"}"#, true),
            (r#"{"typ":"application/at+JWT"}"#, true),
            (r#"{"typ":"logout+jwt"}"#, false),
            (r#"{"typ":""}"#, false),
            (r#"{"typ":1}"#, false),
            (r#"{"typ":"JWT","typ":"JWT"}"#, false),
            (r#"{"crit":["exp"]}"#, false),
            (r#"{"crit":[]}"#, false),
            (r#"{"crit":null}"#, false),
            (r#"{"crit":["b64"],"b64":false}"#, false),
            ("[]", false),
            ("", false),
        ] {
            let token = format!("{}.e30.x", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(check(&token).is_ok(), good, "{header}");
        }
    }
}
