//! Preparing the text of a name to be compared (RFC 4518 section 2).

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
            _ => folded.push(small(character)),
        }
    }
    folded
}

/// Capitals: the first and the last of a row, how far they are apart, and the small letter of the first. The standard library's
/// tables for all alphabets would be 25 KB of the module.
const CAPITALS: &[(char, char, u32, char)] = &[
    ('A', 'Z', 1, 'a'),
    ('À', 'Ö', 1, 'à'),
    ('Ø', 'Þ', 1, 'ø'),
    ('Ā', 'Į', 2, 'ā'),
    ('İ', 'İ', 1, 'i'),
    ('ı', 'ı', 1, 'i'),
    ('Ĳ', 'Ķ', 2, 'ĳ'),
    ('Ĺ', 'Ň', 2, 'ĺ'),
    ('Ŋ', 'Ŷ', 2, 'ŋ'),
    ('Ÿ', 'Ÿ', 1, 'ÿ'),
    ('Ź', 'Ž', 2, 'ź'),
    ('ſ', 'ſ', 1, 's'),
    ('Ơ', 'Ƥ', 2, 'ơ'),
    ('Ư', 'Ư', 1, 'ư'),
    ('Ǎ', 'Ǜ', 2, 'ǎ'),
    ('Ǟ', 'Ǯ', 2, 'ǟ'),
    ('Ǹ', 'Ȟ', 2, 'ǹ'),
    ('Ȣ', 'Ȳ', 2, 'ȣ'),
    ('Ḁ', 'Ẕ', 2, 'ḁ'),
    ('Ạ', 'Ỿ', 2, 'ạ'),
    ('Ａ', 'Ｚ', 1, 'ａ'),
    ('\u{212a}', '\u{212a}', 1, 'k'),
    ('\u{212b}', '\u{212b}', 1, 'å'),
    ('Ά', 'Ά', 1, 'ά'),
    ('Έ', 'Ί', 1, 'έ'),
    ('Ό', 'Ό', 1, 'ό'),
    ('Ύ', 'Ώ', 1, 'ύ'),
    ('Α', 'Ρ', 1, 'α'),
    ('Σ', 'Ϋ', 1, 'σ'),
    ('ς', 'ς', 1, 'σ'),
    ('\u{b5}', '\u{b5}', 1, 'μ'),
    ('Ѐ', 'Џ', 1, 'ѐ'),
    ('А', 'Я', 1, 'а'),
    ('Ѡ', 'Ҁ', 2, 'ѡ'),
    ('Ҋ', 'Ҿ', 2, 'ҋ'),
    ('Ӏ', 'Ӏ', 1, 'ӏ'),
    ('Ӂ', 'Ӎ', 2, 'ӂ'),
    ('Ӑ', 'Ԯ', 2, 'ӑ'),
    ('Ա', 'Ֆ', 1, 'ա'),
];

/// The small letter of a capital, and everything else itself.
fn small(character: char) -> char {
    let small = CAPITALS.iter().find_map(|(first, last, step, small)| {
        let place = u32::from(character).checked_sub(u32::from(*first)).filter(|place| place.is_multiple_of(*step))?;
        if character <= *last { char::from_u32(u32::from(*small) + place) } else { None }
    });
    small.unwrap_or(character)
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
