//! The `Authorization` header: at most one bearer token (RFC 6750 section 2.1).

use crate::byte_set::{ALPHANUMERIC, ByteSet};
use crate::decision::{Deny, Reason};
use crate::request::{Repeated, Values};

/// A longer token is not read.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What the `Authorization` header of a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Credentials<'a> {
    /// Nothing: there is no such header, or the policy uses no tokens.
    #[default]
    Absent,
    /// Credentials of another scheme, in which the word `bearer` does not occur.
    Other,
    /// What follows `Bearer `, not yet checked to be a token.
    Bearer(&'a [u8]),
}

/// Reads the header.
///
/// Readers differ: Envoy's `jwt_authn` finds its `value_prefix` anywhere in the value, other readers split the value at commas
/// or white space. So a value in which the word `bearer` occurs, in any letter case and at any place, is one bearer token
/// and nothing else, or it is refused.
///
/// # Errors
/// 400 `authorization_malformed`: several headers, a bearer token beside anything else, a scheme that is not followed by one
/// space, or more than a token may hold.
pub fn credentials<'a>(values: &Values<'a>) -> Result<Credentials<'a>, Deny> {
    const SCHEME: &[u8] = b"Bearer ";
    let several =
        |Repeated| malformed(format!("there are {} Authorization headers, expected one", values.iter().count()));
    let Some(value) = values.at_most_one().map_err(several)? else {
        return Ok(Credentials::Absent);
    };
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => {
            if token.len() > MAX_TOKEN_BYTES {
                return Err(malformed(format!(
                    "the token has {} bytes, expected at most {MAX_TOKEN_BYTES}",
                    token.len()
                )));
            }
            Ok(Credentials::Bearer(token))
        }
        _ if names_scheme(value, b"bearer") => Err(misspelled(&misplaced(value))),
        _ => Ok(Credentials::Other),
    }
}

/// The token that such credentials are.
///
/// # Errors
/// 400 `authorization_malformed`: they are not spelled as RFC 6750 demands.
pub fn token(credentials: &[u8]) -> Result<&str, Deny> {
    let token = Some(credentials).filter(|token| !token.is_empty() && TOKEN68.contains_all(token));
    token.and_then(|token| std::str::from_utf8(token).ok()).ok_or_else(|| misspelled(&foreign_byte(credentials)))
}

/// Does this scheme (in lower case) occur, in any letter case and at any place, followed by anything that no token holds, or by
/// nothing?
pub fn names_scheme(value: &[u8], scheme: &[u8]) -> bool {
    value.windows(scheme.len()).enumerate().any(|(place, word)| {
        let next = value.get(place + scheme.len());
        word.eq_ignore_ascii_case(scheme) && next.is_none_or(|next| !TOKEN68.contains(*next))
    })
}

/// What there is, without a part of the value.
fn misspelled(found: &str) -> Deny {
    malformed(format!(
        "{found}; \"Bearer\", one space and a token of RFC 6750's characters are expected, and nothing else"
    ))
}

/// The word at another place than the beginning, or not followed by one space.
fn misplaced(value: &[u8]) -> String {
    let word = b"bearer";
    let place = value.windows(word.len()).position(|found| found.eq_ignore_ascii_case(word)).unwrap_or_default();
    match value.get(place + word.len()) {
        _ if place > 0 => format!("the word Bearer begins at byte {}", place + 1),
        Some(next) => format!("byte 0x{next:02x} follows Bearer"),
        None => "nothing follows Bearer".to_owned(),
    }
}

fn foreign_byte(credentials: &[u8]) -> String {
    match credentials.iter().enumerate().find(|(_, byte)| !TOKEN68.contains(**byte)) {
        Some((place, b',')) => {
            format!("a comma is byte {} of the token: Envoy joins several Authorization headers so", place + 1)
        }
        Some((place, byte)) => format!("byte {} of the token is 0x{byte:02x}", place + 1),
        None => "nothing follows \"Bearer \"".to_owned(),
    }
}

/// The characters of a token (RFC 6750 section 2.1).
static TOKEN68: ByteSet = ByteSet::new(ALPHANUMERIC, b"-._~+/=");

fn malformed(note: String) -> Deny {
    Deny::new(Reason::AuthorizationMalformed).with_note(note)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The token of headers with these values; an empty one for another scheme.
    fn bearer<'a>(values: &[&'a [u8]]) -> Result<Option<&'a str>, Deny> {
        match credentials(&values.iter().copied().collect())? {
            Credentials::Absent => Ok(None),
            Credentials::Other => Ok(Some("")),
            Credentials::Bearer(text) => token(text).map(Some),
        }
    }

    #[test]
    fn one_bearer_token_is_read_and_other_schemes_are_none() {
        let cases: &[(&[&[u8]], Option<&str>)] = &[
            (&[], None),
            (&[b"Bearer abc.def-_~+/="], Some("abc.def-_~+/=")),
            (&[b"bearer abc"], Some("abc")),
            (&[b"Basic dXNlcjpwYXNz"], Some("")),
            (&[b"Digest username=\"a\", realm=\"b\""], Some("")),
            (&[b"DPoP abc"], Some("")),
            (&[b"Bearerabc"], Some("")),
            (&[b"Basic Bearerabc"], Some("")),
            (&[b""], Some("")),
        ];
        for (values, expected) in cases {
            assert_eq!(bearer(values), Ok(*expected), "{values:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let long: &[u8] = Box::leak(format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1)).into_boxed_str()).as_bytes();
        let cases: &[&[&[u8]]] = &[
            &[b"Bearer a", b"Bearer b"],
            &[b"Bearer a", b"Basic b"],
            &[b"Basic b", b"Bearer a"],
            &[b"Bearer a,Bearer b"],
            &[b"Bearer a, Bearer b"],
            &[b"Bearer Bearer a"],
            &[b"Basic a, Bearer b"],
            &[b"Basic a,bearer b"],
            &[b"Basic a Bearer b"],
            &[b"Basic a\tBEARER b"],
            &[b"Basic a;Bearer b"],
            &[b"Basic a=\"Bearer b\""],
            &[b"Digest username=\"bearer\""],
            &[b"Basic a Bearer"],
            &[b"xBearer a"],
            &[b"\"Bearer a\""],
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearer  a"],
            &[b"Bearer\ta"],
            &[b"Bearer\xa0a"],
            &[b"Bearer\xc2\xa0a"],
            &[b"Bearer: a"],
            &[b"Bearer,a"],
            &[b"Bearer a b"],
            &[b"Bearer a "],
            &[b" Bearer a"],
            &[b"\tBearer a"],
            &[b"Bearer a\xa1"],
            &[long],
        ];
        for values in cases {
            assert_eq!(bearer(values).map_err(|deny| deny.reason), Err(Reason::AuthorizationMalformed), "{values:?}");
        }
    }

    proptest! {
        /// Whatever stands before a bearer token, behind it or in the place of its space.
        #[test]
        fn no_spelling_hides_a_bearer_token(
            before in prop::collection::vec(any::<u8>(), 0..12),
            word in "[Bb][Ee][Aa][Rr][Ee][Rr]",
            between in prop::collection::vec(any::<u8>().prop_filter("no token", |byte| !TOKEN68.contains(*byte)), 1..3),
            after in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let value = [&before[..], word.as_bytes(), &between, &after].concat();
            let is_token = before.is_empty() && between == b" " && !after.is_empty() && TOKEN68.contains_all(&after);
            let read = credentials(&[&value[..]].into_iter().collect());
            let read = read.and_then(|credentials| match credentials {
                Credentials::Bearer(text) => token(text).map(str::as_bytes),
                other => panic!("{other:?}"),
            });
            if is_token {
                assert_eq!(read, Ok(&after[..]));
            } else {
                assert_eq!(read.map_err(|deny| deny.reason), Err(Reason::AuthorizationMalformed));
            }
        }
    }
}
