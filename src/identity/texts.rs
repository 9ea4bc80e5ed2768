//! Texts that are kept as places in the configuration they come from: of 100,000 clients, nothing is copied.

use std::rc::Rc;

/// Where a text stands in [`Texts`].
#[derive(Debug, Clone, Copy)]
pub struct Place {
    start: usize,
    end: usize,
}

/// The text of a configuration, and what is kept of it.
#[derive(Debug, Default)]
pub struct Texts {
    written: Rc<String>,
    /// What does not stand there in the spelling that is needed: it was escaped, say. Its places follow those of
    /// `written`.
    added: String,
}

impl Texts {
    /// Those of this configuration.
    pub const fn new(written: Rc<String>) -> Self {
        Self { written, added: String::new() }
    }

    /// Keeps a text, without a copy where it is a piece of the configuration.
    pub fn keep(&mut self, text: &str) -> Place {
        let start = self.start_of(text).unwrap_or_else(|| {
            let start = self.written.len() + self.added.len();
            self.added.push_str(text);
            start
        });
        Place { start, end: start + text.len() }
    }

    /// A text that was kept.
    pub fn get(&self, place: Place) -> &str {
        let Place { start, end } = place;
        let length = self.written.len();
        let text = match start.checked_sub(length) {
            None => self.written.get(start..end),
            Some(start) => self.added.get(start..end - length),
        };
        text.unwrap_or_default()
    }

    /// Where in the configuration this very text stands. What lies within its memory is a piece of it.
    fn start_of(&self, text: &str) -> Option<usize> {
        let start = text.as_ptr().addr().checked_sub(self.written.as_ptr().addr())?;
        (start < self.written.len() && text.len() <= self.written.len() - start).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_the_configuration_is_not_copied_and_anything_else_is() {
        let written = Rc::new("alpha beta".to_owned());
        let mut texts = Texts::new(Rc::clone(&written));
        let pieces = ["alpha", "a", "beta", "alpha beta"].map(|piece| {
            let start = written.find(piece).unwrap();
            (piece, texts.keep(written.get(start..start + piece.len()).unwrap()))
        });
        assert_eq!(texts.added, "");
        let others = ["alpha", "", "gamma", "\u{e9}"].map(|other| (other, texts.keep(other)));
        assert_eq!(texts.added, "alphagamma\u{e9}");
        for (text, place) in pieces.into_iter().chain(others) {
            assert_eq!(texts.get(place), text);
        }
        assert_eq!(texts.get(Texts::default().keep("")), "");
    }
}
