//! `x5t#S256`: the SHA-256 of a certificate's DER (RFC 8705 section 3.1).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::escape::hex_byte;

/// The SHA-256 over the DER of a certificate. Prints as unpadded base64url and compares in constant time.
#[derive(Clone, Copy)]
pub struct Thumbprint {
    hash: [u8; 32],
    /// The base64url, which every request writes twice.
    text: [u8; 43],
}

impl Thumbprint {
    /// Hashes a DER certificate.
    pub fn of(der: &[u8]) -> Self {
        Self::from(<[u8; 32]>::from(Sha256::digest(der)))
    }

    /// Reads the unpadded base64url form, strictly: 43 characters of that alphabet, no stray bits.
    pub fn from_base64url(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Some(Self::from(bytes)),
            _ => None,
        }
    }

    /// Reads 64 hexadecimal digits of either case, as OpenSSL and Envoy print them; colons between bytes are allowed.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut digits = text.bytes().filter(|byte| *byte != b':');
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            *byte = hex_byte(digits.next()?, digits.next()?)?;
        }
        digits.next().is_none().then(|| Self::from(bytes))
    }

    /// The SHA-256 itself.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The unpadded base64url form, in ASCII.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The unpadded base64url form.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text).unwrap_or_default()
    }

    /// 64 lowercase hexadecimal digits, as in Envoy's properties.
    pub fn to_hex(self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl From<[u8; 32]> for Thumbprint {
    fn from(hash: [u8; 32]) -> Self {
        let mut text = [0; 43];
        // 32 bytes are 43 characters, so this cannot fail.
        let _ = URL_SAFE_NO_PAD.encode_slice(hash, &mut text);
        Self { hash, text }
    }
}

impl PartialEq for Thumbprint {
    fn eq(&self, other: &Self) -> bool {
        // In words: that takes the same time for all of them, too, and four steps instead of 32.
        let (one, other) = (self.hash.as_chunks::<8>().0, other.hash.as_chunks::<8>().0);
        let words = one.iter().zip(other).map(|(one, other)| (u64::from_ne_bytes(*one), u64::from_ne_bytes(*other)));
        words.fold(Choice::from(1), |same, (one, other)| same & one.ct_eq(&other)).into()
    }
}

impl Eq for Thumbprint {}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const BASE64URL: &str = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn both_spellings_name_the_same_thumbprint() {
        let empty = Thumbprint::of(b"");
        assert_eq!(empty.to_string(), BASE64URL);
        assert_eq!(format!("{empty:?}"), BASE64URL);
        assert_eq!(empty.to_hex(), HEX);
        assert_eq!(Thumbprint::from_hex(HEX), Some(empty));
        assert_eq!(Thumbprint::from_hex(&HEX.to_uppercase()), Some(empty));
        assert_eq!(Thumbprint::from_base64url(BASE64URL), Some(empty));
    }

    #[test]
    fn anything_but_the_exact_form_is_refused() {
        for text in [
            "",
            HEX,
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFV",
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuF",
            " 47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
        ] {
            assert_eq!(Thumbprint::from_base64url(text), None, "{text}");
        }
        for text in ["", "e3b0", HEX.trim_start_matches('e'), &format!("{HEX}00"), &HEX.replace('e', "g")] {
            assert_eq!(Thumbprint::from_hex(text), None, "{text}");
        }
    }
}
