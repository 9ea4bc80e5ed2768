//! Patterns in another language than ours. As ours they would be literal text: an `allow` that never allows, a `deny` that never
//! denies.

/// What was expected instead, if this is such a pattern.
#[inline(never)]
pub(super) fn instead_of(text: &str) -> Option<String> {
    if text.starts_with('^') || (text.ends_with('$') && !text.contains('{')) {
        let text = text.trim_start_matches('^').trim_end_matches('$');
        return Some(format!("{text:?}, because a pattern always covers the whole path; write %24 for a $ at the end"));
    }
    let group = text.split_once('(').and_then(|(_, group)| group.split_once('|'));
    if group.is_some_and(|(_, rest)| rest.contains(')')) {
        return Some("one pattern for each alternative; write %7C for the character |".to_owned());
    }
    let escapes = text.split('/').find_map(escapes)?;
    let whole_segments = text.split('/').all(|segment| segment.matches('{').count() == segment.matches('}').count());
    let ours = if whole_segments { text.split('/').map(translated).collect() } else { vec!["/orders/*"] };
    Some(format!(
        "{:?}: * stands for one segment and ** for any number, without a name; write {escapes}",
        ours.join("/")
    ))
}

/// How to write the characters that another language has a meaning for, if this segment has any.
fn escapes(segment: &str) -> Option<&'static str> {
    let class = segment.split_once('[').and_then(|(_, class)| class.split_once(']')).map(|(class, _)| class);
    if segment.contains(['{', '}']) {
        Some("%7B and %7D for braces")
    } else if segment.len() > 1 && segment.starts_with(':') {
        Some("%3A for a colon that begins a segment")
    } else if class.is_some_and(|class| segment.starts_with('[') || class.starts_with('^') || class.contains('-')) {
        Some("%5B and %5D for brackets")
    } else if segment.starts_with('<') && segment.ends_with('>') {
        Some("%3C and %3E for angle brackets")
    } else if matches!(segment, ".*" | ".+") {
        Some(".%2A and .%2B for the characters")
    } else {
        None
    }
}

fn translated(segment: &str) -> &str {
    match escapes(segment) {
        None => segment,
        // The end of a path, for Go.
        Some(_) if segment == "{$}" => "",
        Some(_)
            if segment.contains("..") || segment.contains('*') || segment.starts_with("<path:") || segment == ".+" =>
        {
            "**"
        }
        Some(_) => "*",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_another_language_is_recognised_and_translated() {
        for (text, expected) in [
            ("/orders/{id}", "\"/orders/*\""),
            ("/orders/{id}/items/{item}", "\"/orders/*/items/*\""),
            ("/files/{path...}", "\"/files/**\""),
            ("/files/{path=**}", "\"/files/**\""),
            ("/files/{*path}", "\"/files/**\""),
            ("/files/{path:.*}", "\"/files/**\""),
            ("/files/{$}", "\"/files/\""),
            ("/files/v{n}", "\"/files/*\""),
            ("/files/{name:[^/]+}", "\"/orders/*\""),
            ("/a/:id", "\"/a/*\""),
            ("/a/:id/b", "\"/a/*/b\""),
            ("/a/[id]", "\"/a/*\""),
            ("/a/<id>/b", "\"/a/*/b\""),
            ("/a/<int:id>", "\"/a/*\""),
            ("/a/<path:rest>", "\"/a/**\""),
            ("/a/[...slug]", "\"/a/**\""),
            ("/a/[a-z]", "\"/a/*\""),
            ("/a/x[^b]+", "\"/a/*\""),
            ("/a/.*", "\"/a/**\""),
            ("/a/.+", "\"/a/**\""),
            ("/a$", "\"/a\""),
            ("^/a$", "\"/a\""),
            ("/a/(b|c)", "one pattern for each alternative"),
            ("/(a|b/c)/d", "one pattern for each alternative"),
        ] {
            let instead = instead_of(text).unwrap();
            assert!(instead.starts_with(expected), "{text}: {instead}");
        }
    }

    #[test]
    fn a_path_of_a_real_api_is_no_pattern_of_another_language() {
        for text in [
            "/v1/orders:purge",
            "/v1/orders/42:purge",
            "/a/$metadata",
            "/a/$count/b",
            "/a/b(1)",
            "/Orders(1,2)",
            "/a|b",
            "/a/(b)|c",
            "/a/items[0]",
            "/:",
            "/.well-known/x",
            "/a+b/c.d/*/**",
            "/~user/a=b,c@d!e'f&g",
            "/a/%7Bid%7D/%3Aid/a%24",
        ] {
            assert_eq!(instead_of(text), None, "{text}");
        }
    }
}
