//! The `Authorization` header: at most one bearer token (RFC 6750 section 2.1).

use crate::decision::{Deny, Reason};

/// A longer token is not read.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The bearer token in the header, or `None` where there is no header or one of another scheme.
///
/// # Errors
/// 400 `authorization_malformed`: several headers, several credentials in one, a token that is too long or not spelled as
/// RFC 6750 demands. What two readers could read differently is not read at all.
pub fn bearer<'a>(values: &[&'a [u8]]) -> Result<Option<&'a str>, Deny> {
    let value = match values {
        [] => return Ok(None),
        [value] => *value,
        _ => return Err(malformed("there are several Authorization headers")),
    };
    let is_bearer = |credentials: &[u8]| {
        let scheme = credentials.trim_ascii_start().split(|byte| byte.is_ascii_whitespace() || *byte == b',').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    };
    if !is_bearer(value) {
        return if value.split(|byte| *byte == b',').any(is_bearer) {
            Err(malformed("a bearer token is joined to other credentials by a comma"))
        } else {
            Ok(None)
        };
    }
    if value.len() > MAX_TOKEN_BYTES + b"Bearer ".len() {
        return Err(malformed("the token is longer than 16 KiB"));
    }
    let token = value.get(b"Bearer".len()..).and_then(|rest| rest.strip_prefix(b" "));
    token
        .filter(|token| !token.is_empty() && token.iter().copied().all(is_token68_byte))
        .and_then(|token| std::str::from_utf8(token).ok())
        .map(Some)
        .ok_or_else(|| malformed("\"Bearer\", one space and a token of RFC 6750's characters are expected"))
}

fn is_token68_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

fn malformed(note: &'static str) -> Deny {
    Deny::new(Reason::AuthorizationMalformed).with_note(note)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(bearer(&values), Ok(expected), "{values:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1));
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
            &[long.as_str()],
        ] {
            let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(bearer(&values).map_err(|deny| deny.reason), Err(Reason::AuthorizationMalformed), "{values:?}");
        }
    }
}
