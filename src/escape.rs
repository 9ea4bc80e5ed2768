//! Hexadecimal and percent-escapes, which paths, names and forwarded certificates share.

use std::borrow::Cow;

/// Undoes `%XX`; a stray `%` is an error. Borrows where there is nothing to undo.
pub fn percent_decode(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text.contains(&b'%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_byte(bytes.next()?, bytes.next()?)?,
            other => other,
        });
    }
    Some(Cow::Owned(decoded))
}

/// The byte that two hexadecimal digits of either case spell.
pub fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some((value(high)? << 4) | value(low)?)
}
