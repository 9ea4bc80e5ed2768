//! Sets of bytes, asked in one step: on wasm32 a chain of comparisons for every byte of a token is what a request would spend
//! most of its instructions on.

/// Letters and digits of ASCII.
pub const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A set of bytes.
pub struct ByteSet([bool; 256]);

impl ByteSet {
    /// The members of both lists.
    pub const fn new(some: &[u8], others: &[u8]) -> Self {
        Self([false; 256]).with(some).with(others)
    }

    // Evaluated by the compiler, which would refuse an index out of bounds.
    #[allow(clippy::indexing_slicing, clippy::as_conversions)]
    const fn with(mut self, members: &[u8]) -> Self {
        let mut index = 0;
        while index < members.len() {
            self.0[members[index] as usize] = true;
            index += 1;
        }
        self
    }

    /// Is this a member?
    pub fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).is_some_and(|member| *member)
    }

    /// Are all of these?
    pub fn contains_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.contains(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_members_and_no_others() {
        const SET: ByteSet = ByteSet::new(ALPHANUMERIC, b"-\xff");
        for byte in 0..=255_u8 {
            assert_eq!(SET.contains(byte), byte.is_ascii_alphanumeric() || matches!(byte, b'-' | 0xff), "{byte}");
        }
        assert!(SET.contains_all(b"") && SET.contains_all(b"a-Z9") && !SET.contains_all(b"a.Z"));
    }
}
