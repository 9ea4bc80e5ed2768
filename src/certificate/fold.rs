//! Preparing the text of a name to be compared (RFC 4518 section 2).

use crate::letter_case;

/// The text in small letters, without white space at the ends, and with one space for each run of it.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut is_behind_space = false;
    for character in text.chars().filter(|character| !is_ignored(*character)) {
        if character.is_whitespace() {
            is_behind_space = !folded.is_empty();
            continue;
        }
        if std::mem::take(&mut is_behind_space) {
            folded.push(' ');
        }
        match character {
            'ß' | 'ẞ' => folded.push_str("ss"),
            _ => folded.push(letter_case::fold(character)),
        }
    }
    folded
}

/// Characters that are left out before texts are compared (RFC 4518 section 2.2).
fn is_ignored(character: char) -> bool {
    match character {
        '\t'..='\r' | '\u{85}' => false,
        '\u{ad}'
        | '\u{34f}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{1806}'
        | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2063}'
        | '\u{206a}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffc}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_character_is_folded_once_and_every_capital_as_its_small_letter() {
        let alphabets =
            ['\0'..='\u{17f}', 'Ά'..='ώ', 'Ѐ'..='ֆ', 'Ḁ'..='ẕ', 'Ạ'..='\u{1eff}', '\u{212a}'..='\u{212b}', 'Ａ'..='ｚ'];
        for character in '\0'..='\u{ffff}' {
            let text = character.to_string();
            let once = fold(&text);
            assert_eq!(fold(&once), once, "{character:?}");
            assert!(!once.chars().any(char::is_control), "{character:?}");
            if !alphabets.iter().any(|alphabet| alphabet.contains(&character)) {
                continue;
            }
            for other in [text.to_lowercase(), text.to_uppercase()] {
                // Of the capitals that are two letters only that of ß is known here.
                if other.chars().count() == 1 || character == 'ß' {
                    assert_eq!(fold(&other), once, "{character:?}");
                }
            }
        }
    }

    #[test]
    fn texts_are_prepared_as_rfc_4518_says() {
        for (written, expected) in [
            ("", ""),
            (" \t ", ""),
            ("  Lab \t\r\n CA ", "lab ca"),
            ("Lab\u{a0}\u{3000}CA", "lab ca"),
            ("L\u{ad}a\u{200b}b\u{feff}\0\u{7f} CA", "lab ca"),
            (" \u{200b} a", "a"),
            ("ΟΔΟΣ", "οδοσ"),
            ("οδος", "οδοσ"),
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("STRAẞE", "strasse"),
            ("\u{212a}", "k"),
            ("é", "é"),
            ("e\u{301}", "e\u{301}"),
        ] {
            assert_eq!(fold(written), expected, "{written:?}");
        }
    }

    proptest! {
        #[test]
        fn a_folded_text_is_its_own_folded_text(text in "\\PC*|[ -~\\t\\n\u{ad}\u{200b}\u{a0}ßΣς]{0,12}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
