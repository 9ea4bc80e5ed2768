//! The JOSE header of a token (RFC 7515 section 4): what must be true of it whoever verifies the signature.

use serde_json::{Map, Value};

use crate::decision::{Deny, Reason};

/// Types of tokens that are taken: RFC 9068 and plain JWTs, with or without `application/`; or none at all.
const TYPES: &[&str] = &["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// Checks the members of a header.
///
/// # Errors
/// 401 `token_malformed`: it demands that an extension be understood (`crit`; none is), or it is the header of something
/// else than an access token, such as an ID token's or a logout token's.
pub fn check(header: &Map<String, Value>) -> Result<(), Deny> {
    let malformed = |detail| Err(Deny::new(Reason::TokenMalformed).with_detail(detail));
    if header.contains_key("crit") {
        return malformed("The token's header demands extensions (crit), and none is understood.");
    }
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(typ)) if TYPES.contains(&typ.to_ascii_lowercase().as_str()) => Ok(()),
        Some(_) => malformed("The token's typ is not that of an access token (at+jwt or JWT)."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

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
            (r#"{"typ":null}"#, false),
            (r#"{"crit":["exp"]}"#, false),
            (r#"{"crit":[]}"#, false),
            (r#"{"crit":null}"#, false),
            (r#"{"crit":["b64"],"b64":false}"#, false),
        ] {
            assert_eq!(check(&json::object(header.as_bytes()).unwrap()).is_ok(), good, "{header}");
        }
    }
}
