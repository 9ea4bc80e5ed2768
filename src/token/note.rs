//! What a token says, as a note repeats it for the operator: quoted, and no longer than an identifier may sensibly be.

/// Characters of a foreign text.
const MAX_TEXT: usize = 128;
/// Texts of a list.
const MAX_TEXTS: usize = 10;

/// This text in quotation marks, its control characters escaped, and cut off where it is too long.
pub fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(MAX_TEXT).collect();
    let end = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{end}")
}

/// The first of these texts, quoted, and how many more there are.
pub fn listed(texts: &mut dyn Iterator<Item = &str>) -> String {
    let mut list = String::new();
    for (index, text) in (&mut *texts).take(MAX_TEXTS).enumerate() {
        list.push_str(if index == 0 { "" } else { ", " });
        list.push_str(&quoted(text));
    }
    match texts.count() {
        0 if list.is_empty() => "none".to_owned(),
        0 => list,
        further => format!("{list} and {further} more"),
    }
}
