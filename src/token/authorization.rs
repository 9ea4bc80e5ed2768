//! The `Authorization` header: at most one bearer token (RFC 6750 section 2.1).

use crate::byte_set::{ALPHANUMERIC, ByteSet};
use crate::decision::{Deny, Reason};
use crate::request::{Repeated, Values};

/// A longer token is not read.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What stands behind `Bearer ` in the header, or `None` where there is no header or one of another scheme.
///
/// # Errors
/// 400 `authorization_malformed`: several headers, several credentials in one, a scheme that is not followed by one space, or
/// more than a token may hold. What two readers could read differently is not read at all.
pub fn credentials<'a>(values: &Values<'a>) -> Result<Option<&'a [u8]>, Deny> {
    const SCHEME: &[u8] = b"Bearer ";
    let several = |Repeated| malformed("there are several Authorization headers");
    let Some(value) = values.at_most_one().map_err(several)? else {
        return Ok(None);
    };
    match value.split_at_checked(SCHEME.len()) {
        Some((_, token)) if token.len() > MAX_TOKEN_BYTES && is_bearer(value) => {
            Err(malformed("the token is longer than 16 KiB"))
        }
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => Ok(Some(token)),
        _ if is_bearer(value) => Err(misspelled()),
        _ if value.split(|byte| *byte == b',').any(is_bearer) => {
            Err(malformed("a bearer token is joined to other credentials by a comma"))
        }
        _ => Ok(None),
    }
}

/// The token that such credentials are.
///
/// # Errors
/// 400 `authorization_malformed`: they are not spelled as RFC 6750 demands.
pub fn token(credentials: &[u8]) -> Result<&str, Deny> {
    let token = Some(credentials).filter(|token| !token.is_empty() && TOKEN68.contains_all(token));
    token.and_then(|token| std::str::from_utf8(token).ok()).ok_or_else(misspelled)
}

fn is_bearer(credentials: &[u8]) -> bool {
    let scheme = credentials.trim_ascii_start().split(|byte| byte.is_ascii_whitespace() || *byte == b',').next();
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}

fn misspelled() -> Deny {
    malformed("\"Bearer\", one space and a token of RFC 6750's characters are expected")
}

/// The characters of a token (RFC 6750 section 2.1).
static TOKEN68: ByteSet = ByteSet::new(ALPHANUMERIC, b"-._~+/=");

fn malformed(note: &'static str) -> Deny {
    Deny::new(Reason::AuthorizationMalformed).with_note(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The token of headers with these values.
    fn bearer(values: &[&'static str]) -> Result<Option<&'static str>, Deny> {
        credentials(&values.iter().map(|value| value.as_bytes()).collect())?.map(token).transpose()
    }

    #[test]
    fn one_bearer_token_is_read_and_other_schemes_are_none() {
        for (values, expected) in [
            (&[][..], None),
            (&["Bearer abc.def-_~+/="], Some("abc.def-_~+/=")),
            (&["bearer abc"], Some("abc")),
            (&["Basic dXNlcjpwYXNz"], None),
            (&["Digest username=\"a\", realm=\"b\""], None),
            (&["Bearerabc"], None),
            (&[""], None),
        ] {
            assert_eq!(bearer(values), Ok(expected), "{values:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let long: &str = Box::leak(format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1)).into_boxed_str());
        for values in [
            &["Bearer a", "Bearer b"][..],
            &["Bearer a", "Basic b"],
            &["Basic b", "Bearer a"],
            &["Bearer a,Bearer b"],
            &["Bearer a, Bearer b"],
            &["Basic a, Bearer b"],
            &["Basic a,bearer b"],
            &["Bearer"],
            &["Bearer "],
            &["Bearer  a"],
            &["Bearer\ta"],
            &["Bearer a b"],
            &[" Bearer a"],
            &["Bearer a\u{a1}"],
            &[long],
        ] {
            assert_eq!(bearer(values).map_err(|deny| deny.reason), Err(Reason::AuthorizationMalformed), "{values:?}");
        }
    }
}
