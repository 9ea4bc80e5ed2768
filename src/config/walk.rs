//! Walking through a JSON text, without a copy of anything. What is no JSON is passed over somehow.

/// A place in a JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'a> {
    pub json: &'a [u8],
    pub at: usize,
}

impl<'a> Walk<'a> {
    /// The next byte that is no white space.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        let rest = self.json.get(self.at..)?;
        let (blank, byte) = rest.iter().enumerate().find(|(_, byte)| !byte.is_ascii_whitespace())?;
        self.at += blank;
        Some(*byte)
    }

    /// Passes over this byte, if it is the next that is no white space.
    pub fn pass(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Is another member or entry next? Then what separates it from the one before was passed over.
    #[inline(never)]
    pub fn enters(&mut self) -> bool {
        self.pass(b',');
        self.peek().is_some_and(|byte| !matches!(byte, b']' | b'}'))
    }

    /// The inside of the string whose quote is next.
    #[inline(never)]
    pub fn string(&mut self) -> &'a [u8] {
        let (inside, _) = string(self.json.get(self.at + 1..).unwrap_or_default());
        self.at += inside.len() + 2;
        inside
    }

    /// The key of the member that is next. Its value follows.
    #[inline(never)]
    pub fn key(&mut self) -> &'a [u8] {
        let key = self.string();
        self.pass(b':');
        self.peek();
        key
    }

    /// Passes over the value that is next. Returns where it ends.
    #[inline(never)]
    pub fn skip(&mut self) -> usize {
        let (mut depth, mut end) = (0_usize, self.at);
        while let Some(byte) = self.peek() {
            match byte {
                b'}' | b']' | b',' if depth == 0 => break,
                b'"' => drop(self.string()),
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += usize::from(byte != b'"');
            end = self.at;
        }
        end
    }
}

/// The inside of a string, and what follows it. A backslash keeps the next byte from ending it.
pub(super) fn string(text: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    while let Some(byte) = text.get(end) {
        match byte {
            b'"' => break,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    let (inside, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (inside, rest.get(1..).unwrap_or_default())
}
