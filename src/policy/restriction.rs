//! The path as restrictions see it.
//!
//! The rule: a pattern that restricts (`deny`, `binding.required_paths`) holds for a path if it holds in any way in which an
//! upstream may read that path. Every escape is decoded, once, in the pattern and in the path. Where the policy keeps `%2F`,
//! `%5C` or `;`, these are ordinary characters in one reading and separators in another. Empty segments and a slash at the end
//! never count. A pattern that grants (`allow`, `bypass`) is compared with the canonical path alone, exactly.

use std::borrow::Cow;

use super::path::CanonicalPath;
use super::pattern::Segment;
use crate::escape::percent_decode;
use crate::letter_case;

/// `path.restrictions`: how letter case counts in what restricts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LetterCase {
    /// `/SECRET` is another resource than `/secret`.
    #[default]
    Exact,
    /// They are one, as they are for Express and IIS.
    Ignore,
}

/// Stands for a slash that is a character of a segment. No path holds a control character.
const SLASH_IN_SEGMENT: char = '\0';

/// One way to read a canonical path.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    /// A decoded slash separates.
    slash: bool,
    /// A decoded backslash separates.
    backslash: bool,
    /// What follows a `;` in a segment is cut off before anything is decoded, as servlets do.
    cut_first: bool,
    /// It is cut off at last, where the `;` was escaped, too.
    cut_last: bool,
    letter_case: LetterCase,
}

/// Makes another reading of one.
type Choice = fn(Reading) -> Reading;

impl Reading {
    /// Every reading that can matter for this text, in the canonical spelling.
    fn all(text: &str, letter_case: LetterCase) -> Vec<Self> {
        let choices: [(bool, Choice); 4] = [
            (text.contains("%2F"), |reading| Self { slash: true, ..reading }),
            (text.contains("%5C"), |reading| Self { backslash: true, ..reading }),
            (text.contains(';'), |reading| Self { cut_first: true, ..reading }),
            (text.contains(';') || text.contains("%3B"), |reading| Self { cut_last: true, ..reading }),
        ];
        let mut readings = vec![Self { letter_case, ..Self::default() }];
        for (possible, choose) in choices {
            if possible {
                readings.extend(readings.clone().into_iter().map(choose));
            }
        }
        readings
    }

    /// A canonical path, or a part of one, in this reading: a slash in front of each segment, and no empty ones.
    fn read(self, text: &str) -> String {
        let mut read = String::with_capacity(text.len());
        for segment in text.split('/') {
            let kept = if self.cut_first { before_semicolon(segment) } else { segment };
            let decoded = percent_decode(kept.as_bytes()).unwrap_or(Cow::Borrowed(kept.as_bytes()));
            let (mut begun, mut cut) = (false, false);
            for c in String::from_utf8_lossy(&decoded).chars() {
                if (c == '/' && self.slash) || (c == '\\' && self.backslash) {
                    (begun, cut) = (false, false);
                    continue;
                }
                cut |= c == ';' && self.cut_last;
                if cut {
                    continue;
                }
                if !begun {
                    read.push('/');
                    begun = true;
                }
                match self.letter_case {
                    _ if c == '/' => read.push(SLASH_IN_SEGMENT),
                    LetterCase::Exact => read.push(c),
                    LetterCase::Ignore => read.push(letter_case::fold(c)),
                }
            }
        }
        read
    }
}

fn before_semicolon(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
}

/// Shows a path in every reading. A slash at the end does not count.
pub(super) fn each_reading(path: &CanonicalPath<'_>, letter_case: LetterCase, show: &mut dyn FnMut(&str)) {
    if path.is_plain() && letter_case == LetterCase::Exact {
        return show(path.as_str());
    }
    read_each(path.as_str(), letter_case, show);
}

// Apart from the rest, which is inlined wherever a set of patterns is asked.
#[inline(never)]
fn read_each(path: &str, letter_case: LetterCase, show: &mut dyn FnMut(&str)) {
    for reading in Reading::all(path, letter_case) {
        show(&reading.read(path));
    }
}

/// The segments of a pattern in every reading. Its parameters are not cut off: it names them.
#[inline(never)]
pub(super) fn read_pattern(pattern: &[Segment], letter_case: LetterCase) -> Vec<Vec<Segment>> {
    let exact = pattern.iter().map(|segment| if let Segment::Exact(text) = segment { text } else { "" });
    let mut patterns = Vec::new();
    for reading in Reading::all(&exact.collect::<String>(), letter_case) {
        if reading.cut_first || reading.cut_last {
            continue;
        }
        let mut segments = Vec::new();
        for segment in pattern {
            match segment {
                Segment::Exact(text) => {
                    let read = reading.read(text);
                    segments.extend(read.split('/').skip(1).map(|text| Segment::Exact(text.to_owned())));
                }
                wildcard => segments.push(wildcard.clone()),
            }
        }
        patterns.push(segments);
    }
    patterns
}
