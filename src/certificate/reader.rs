//! Reading DER (X.690), as much of it as certificates need.

use std::fmt;
use std::fmt::Write;

use der::asn1::AnyRef;
use der::oid::ObjectIdentifier;
use der::{Decode, Reader, SliceReader, Tag};
use sha2::{Digest, Sha256};

use super::Malformed;

/// An OBJECT IDENTIFIER, of any size. Equal ones are the same, so that each can be looked for and none is taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oid {
    /// One that the library can hold, as all are that have a meaning here.
    Short(ObjectIdentifier),
    /// The SHA-256 of a longer one, or of one with a larger number, such as a UUID below 2.25.
    Long([u8; 32]),
}

impl Oid {
    /// A constant of the program. To compile it fails where it is none.
    pub const fn new_unwrap(dotted: &str) -> Self {
        Self::Short(ObjectIdentifier::new_unwrap(dotted))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(oid) => f.write_str(&dotted(oid.as_bytes()).unwrap_or_default()),
            Self::Long(_) => f.write_str("with a number of 2^32 or more"),
        }
    }
}

/// The type of an attribute has an object identifier of so many bytes at most.
const MAX_DOTTED_BYTES: usize = 256;

/// The content of an OBJECT IDENTIFIER as numbers with dots between them, however large they are.
pub fn dotted(content: &[u8]) -> Result<String, Malformed> {
    /// A number is written as digits of this base, the lowest first.
    const BASE: u64 = 1_000_000_000;
    if content.len() > MAX_DOTTED_BYTES {
        return Err(Malformed::TooManyNames);
    }
    let mut text = String::new();
    let mut number = vec![0_u64];
    for octet in content {
        let mut carry = u64::from(octet & 0x7f);
        for digit in &mut number {
            carry += *digit << 7;
            *digit = carry % BASE;
            carry /= BASE;
        }
        if carry > 0 {
            number.push(carry);
        }
        if octet & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            // The first two numbers are one (X.690 section 8.19.4).
            let first = match number.as_slice() {
                [0..40] => 0,
                [40..80] => 1,
                _ => 2,
            };
            text.push(char::from(b'0' + first));
            let mut less = 40 * u64::from(first);
            for digit in &mut number {
                let (rest, borrows) = if *digit < less { (*digit + BASE - less, 1) } else { (*digit - less, 0) };
                (*digit, less) = (rest, borrows);
            }
        }
        text.push('.');
        let mut digits = number.iter().rev().skip_while(|digit| **digit == 0);
        // To write into a text cannot fail.
        let _ = write!(text, "{}", digits.next().unwrap_or(&0));
        digits.try_for_each(|digit| write!(text, "{digit:09}")).unwrap_or_default();
        number = vec![0];
    }
    Ok(text)
}

impl From<der::Error> for Malformed {
    fn from(_: der::Error) -> Self {
        Self::Der
    }
}

/// Values that follow one another. That all are taken in one way keeps the module small: a decoder for each type is
/// compiled for each place it is used in.
pub struct Values<'a>(SliceReader<'a>);

impl<'a> Values<'a> {
    /// Starts with the first.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Ok(Self(SliceReader::new(bytes)?))
    }

    /// Everything that these bytes hold, to the last of them.
    pub fn read<T>(bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<T, Malformed> {
        let mut values = Self::new(bytes)?;
        let read = read(&mut values)?;
        if values.is_empty() { Ok(read) } else { Err(Malformed::Der) }
    }

    /// The same, of the one SEQUENCE that they hold.
    pub fn read_list<T>(bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<T, Malformed> {
        Self::read(bytes, |bytes| bytes.inside(Tag::Sequence, read))
    }

    /// Is there none left?
    pub fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// The tag of the next value, if there is one.
    pub fn peek(&self) -> Result<Option<Tag>, Malformed> {
        if self.is_empty() { Ok(None) } else { Ok(Some(Tag::peek(&self.0)?)) }
    }

    /// The next value, whatever it is.
    pub fn any(&mut self) -> Result<AnyRef<'a>, Malformed> {
        Ok(AnyRef::decode(&mut self.0)?)
    }

    /// The content of the next value, if it has this tag.
    pub fn optional(&mut self, tag: Tag) -> Result<Option<&'a [u8]>, Malformed> {
        if self.peek()? == Some(tag) { Ok(Some(self.any()?.value())) } else { Ok(None) }
    }

    /// The content of the next value, which must have this tag.
    pub fn required(&mut self, tag: Tag) -> Result<&'a [u8], Malformed> {
        self.optional(tag)?.ok_or(Malformed::Der)
    }

    /// What stands inside the next value, which must have this tag.
    pub fn inside<T>(
        &mut self,
        tag: Tag,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        Self::read(self.required(tag)?, read)
    }

    /// All bytes of the next value.
    pub fn whole(&mut self) -> Result<&'a [u8], Malformed> {
        Ok(self.0.tlv_bytes()?)
    }

    /// All bytes that are left, whatever they are.
    pub fn rest(&mut self) -> Result<&'a [u8], Malformed> {
        Ok(self.0.read_slice(self.0.remaining_len())?)
    }

    /// `OBJECT IDENTIFIER`
    pub fn oid(&mut self) -> Result<Oid, Malformed> {
        let content = self.oid_content()?;
        Ok(ObjectIdentifier::from_bytes(content).map_or_else(|_| Oid::Long(Sha256::digest(content).into()), Oid::Short))
    }

    /// The content of an OBJECT IDENTIFIER, which is well-formed.
    pub fn oid_content(&mut self) -> Result<&'a [u8], Malformed> {
        let content = self.required(Tag::ObjectIdentifier)?;
        // With zeros in front of a number (X.690 section 8.19.2) one OID would have many spellings.
        let mut inside_number = false;
        let has_leading_zero = content.iter().any(|octet| {
            let is_first = !inside_number;
            inside_number = octet & 0x80 != 0;
            is_first && *octet == 0x80
        });
        if content.is_empty() || inside_number || has_leading_zero { Err(Malformed::Der) } else { Ok(content) }
    }

    /// The content of an INTEGER, which is as short as can be (X.690 section 8.3.2).
    pub fn integer(&mut self) -> Result<&'a [u8], Malformed> {
        match self.required(Tag::Integer)? {
            [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(Malformed::Der),
            content => Ok(content),
        }
    }

    /// An INTEGER that is not negative, big-endian and without zeros in front.
    pub fn natural(&mut self) -> Result<&'a [u8], Malformed> {
        match self.integer()? {
            [0x80..=0xff, ..] => Err(Malformed::Der),
            content => Ok(strip_zeros(content)),
        }
    }

    /// `BOOLEAN DEFAULT FALSE`
    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.optional(Tag::Boolean)? {
            None | Some([0]) => Ok(false),
            Some([0xff]) => Ok(true),
            Some(_) => Err(Malformed::Der),
        }
    }

    /// `AlgorithmIdentifier`, with the DER of its parameters.
    pub fn algorithm(&mut self) -> Result<(Oid, Option<&'a [u8]>), Malformed> {
        self.inside(Tag::Sequence, |algorithm| {
            let oid = algorithm.oid()?;
            let parameters = if algorithm.is_empty() { None } else { Some(algorithm.whole()?) };
            Ok((oid, parameters))
        })
    }

    /// `Extension`: its kind, whether it is critical, and what it holds.
    fn extension(&mut self) -> Result<(Oid, bool, &'a [u8]), Malformed> {
        self.inside(Tag::Sequence, |extension| {
            Ok((extension.oid()?, extension.flag()?, extension.required(Tag::OctetString)?))
        })
    }

    /// `Extensions`, to the last of them: none stands twice, and there are at most so many.
    pub fn extensions<E: From<Malformed>>(
        &mut self,
        most: usize,
        mut take: impl FnMut(Oid, bool, &'a [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut seen = Vec::new();
        while !self.is_empty() {
            let (kind, critical, content) = self.extension()?;
            if seen.len() == most || seen.contains(&kind) {
                return Err(Malformed::Extension.into());
            }
            seen.push(kind);
            take(kind, critical, content)?;
        }
        Ok(())
    }

    /// A BIT STRING of whole octets, as keys and signatures are.
    pub fn octets(&mut self) -> Result<&'a [u8], Malformed> {
        match bits(self.required(Tag::BitString)?)? {
            (0, octets) => Ok(octets),
            _ => Err(Malformed::Der),
        }
    }
}

/// A number without the zeros in front.
pub fn strip_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number.get(start..).unwrap_or_default()
}

/// The octets of a BIT STRING, and how many of the last bits are unused, which must be zero.
pub fn bits(content: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    match content.split_first() {
        Some((0, octets)) => Ok((0, octets)),
        Some((unused @ 1..=7, octets))
            if octets.last().is_some_and(|last| last.trailing_zeros() >= (*unused).into()) =>
        {
            Ok((*unused, octets))
        }
        _ => Err(Malformed::Der),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_as_short_as_can_be_and_a_natural_number_has_no_sign() {
        const NONE: Option<&[u8]> = None;
        for (content, integer, natural) in [
            (&[][..], NONE, NONE),
            (&[0], Some(&[0][..]), Some(&[][..])),
            (&[0x7f], Some(&[0x7f]), Some(&[0x7f])),
            (&[0x80], Some(&[0x80]), None),
            (&[0, 0], None, None),
            (&[0, 0x7f], None, None),
            (&[0, 0x80], Some(&[0, 0x80]), Some(&[0x80])),
            (&[0xff], Some(&[0xff]), None),
            (&[0xff, 0x7f], Some(&[0xff, 0x7f]), None),
            (&[0xff, 0x80], None, None),
            (&[1, 0], Some(&[1, 0]), Some(&[1, 0])),
        ] {
            let length = u8::try_from(content.len()).unwrap();
            let der = [&[2, length], content].concat();
            assert_eq!(Values::read(&der, Values::integer).ok(), integer, "{content:x?}");
            assert_eq!(Values::read(&der, Values::natural).ok(), natural, "{content:x?}");
        }
        assert!(Values::read(&[4, 1, 1], Values::natural).is_err());
    }

    #[test]
    fn unused_bits_are_at_most_seven_and_zero() {
        for (content, expected) in [
            (&[][..], Err(Malformed::Der)),
            (&[0], Ok((0, &[][..]))),
            (&[0, 0xff], Ok((0, &[0xff][..]))),
            (&[1], Err(Malformed::Der)),
            (&[1, 0xfe], Ok((1, &[0xfe][..]))),
            (&[1, 0xff], Err(Malformed::Der)),
            (&[7, 0x80], Ok((7, &[0x80][..]))),
            (&[7, 0xff, 0x80], Ok((7, &[0xff, 0x80][..]))),
            (&[7, 0xc0], Err(Malformed::Der)),
            (&[7, 0], Ok((7, &[0][..]))),
            (&[8, 0], Err(Malformed::Der)),
        ] {
            assert_eq!(bits(content), expected, "{content:x?}");
        }
        for (content, expected) in [(&[3, 2, 0, 0xff], Ok(&[0xff][..])), (&[3, 2, 1, 0xfe], Err(Malformed::Der))] {
            assert_eq!(Values::read(content, Values::octets), expected, "{content:x?}");
        }
    }

    #[test]
    fn an_algorithm_is_an_identifier_and_at_most_one_parameter() {
        let algorithm = |content: &[u8]| Values::read(content, Values::algorithm).is_ok();
        assert!(algorithm(&[0x30, 4, 6, 2, 0x2a, 3]));
        assert!(algorithm(&[0x30, 6, 6, 2, 0x2a, 3, 5, 0]));
        assert!(!algorithm(&[0x30, 8, 6, 2, 0x2a, 3, 5, 0, 5, 0]));
        assert!(!algorithm(&[0x30, 2, 5, 0]));
        assert!(!algorithm(&[0x30, 0]));
    }

    #[test]
    fn an_object_identifier_has_one_spelling() {
        for (content, expected) in [
            (b"\x06\x03\x55\x04\x03".as_slice(), Ok("2.5.4.3")),
            (b"\x06\x04\x2b\x86\x80\x01", Ok("1.3.98305")),
            (b"\x06\x01\x2a", Ok("1.2")),
            (b"\x06\x01\x00", Ok("0.0")),
            (b"\x06\x02\x27\x01", Ok("0.39.1")),
            (b"\x06\x02\x4f\x01", Ok("1.39.1")),
            (b"\x06\x02\x50\x01", Ok("2.0.1")),
            (b"\x06\x02\x88\x37", Ok("2.999")),
            (b"\x06\x03\x88\x37\x03", Ok("2.999.3")),
            (b"\x06\x06\x2a\x8f\xff\xff\xff\x7f", Ok("1.2.4294967295")),
            (b"\x06\x06\x2a\x90\x80\x80\x80\x00", Ok("1.2.4294967296")),
            (b"\x06\x06\x83\xdc\xeb\x93\x7f\x01", Ok("2.999999919.1")),
            (b"\x06\x06\x83\xdc\xeb\x94\x00\x01", Ok("2.999999920.1")),
            (b"\x06\x06\x83\xdc\xeb\x94\x50\x01", Ok("2.1000000000.1")),
            (b"\x06\x0a\x8d\xf0\xad\xd6\xba\xbb\x90\x80\x00\x01", Ok("2.999999999999999920.1")),
            (b"\x06\x0a\x8d\xf0\xad\xd6\xba\xbb\x8f\xff\x7f\x01", Ok("2.999999999999999919.1")),
            (b"\x06\x0b\x2a\x81\xff\xff\xff\xff\xff\xff\xff\xff\x7f", Ok("1.2.18446744073709551615")),
            (b"\x06\x0b\x82\x80\x80\x80\x80\x80\x80\x80\x80\x00\x01", Ok("2.18446744073709551536.1")),
            (
                b"\x06\x14\x69\x83\xf0\x9d\xa7\xeb\xcf\xde\xe0\xc7\xa1\xa7\xb2\xc0\x94\x8c\xc8\xf9\xd7\x76",
                Ok("2.25.329800735698586629295641978511506172918"),
            ),
            (b"\x06\x04\x55\x04\x80\x03", Err(Malformed::Der)),
            (b"\x06\x04\x55\x80\x04\x03", Err(Malformed::Der)),
            (b"\x06\x04\x80\x55\x04\x03", Err(Malformed::Der)),
            (b"\x06\x03\x55\x04\x83", Err(Malformed::Der)),
            (b"\x06\x06\x2a\x90\x80\x80\x80\x80", Err(Malformed::Der)),
            (b"\x06\x00", Err(Malformed::Der)),
        ] {
            let read = Values::read(content, |values| dotted(values.oid_content()?));
            assert_eq!(read, expected.map(str::to_owned), "{content:x?}");
            let oid = Values::read(content, Values::oid);
            assert_eq!(oid.is_ok(), expected.is_ok(), "{content:x?}");
            if let (Ok(oid @ Oid::Short(_)), Ok(dotted)) = (oid, expected) {
                assert_eq!(oid.to_string(), dotted);
            }
        }
    }

    #[test]
    fn object_identifiers_are_told_apart_whatever_their_size() {
        let long = |last: u8| [&[6, 0x81, 200][..], &[0x2a], &[0xff; 198], &[last]].concat();
        let read = |der: &[u8]| Values::read(der, Values::oid).unwrap();
        assert_eq!(read(&long(1)), read(&long(1)));
        assert_ne!(read(&long(1)), read(&long(2)));
        let dotted_of = |der: &[u8]| Values::read(der, |values| dotted(values.oid_content()?));
        assert!(dotted_of(&long(1)).is_ok_and(|text| text.len() > 400));
        let most = |count: u16| [&[6, 0x82][..], &count.to_be_bytes(), &vec![1; count.into()]].concat();
        assert!(dotted_of(&most(256)).is_ok());
        assert_eq!(dotted_of(&most(257)), Err(Malformed::TooManyNames));
        assert!(matches!(read(&most(257)), Oid::Long(_)));
    }
}
