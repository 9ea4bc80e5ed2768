//! The defaults that the pages name: a setting that is written out with its default means the same as without.

use std::collections::BTreeSet;

use mtls_authz::Policy;
use serde_json::{Value, json};

use super::{left_out, whole};

/// The rows of all tables of a page but for that of limits: their cells.
fn rows(page: &str) -> Vec<Vec<String>> {
    let path = format!("{}/docs/configuration/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let settings = text.split("\n## Limits\n").next().unwrap();
    let rows = settings.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(str::to_owned).collect()).collect()
}

/// The pieces of code in a cell.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// A value as a cell has it: JSON, or a word.
fn value(text: &str) -> Value {
    let text = text.trim_matches('`');
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// The settings without which those below a key cannot be written.
fn around(key: &str) -> Value {
    let fetch = left_out("jwks_uri");
    match key {
        "certificate.forwarded" => json!({"certificate": {
            "source": "forwarded",
            "forwarded": {"format": "xfcc", "trusted_proxies": {"identities": ["spiffe://prod.example/edge"]}},
        }}),
        "token.jwks_uri" => json!({"token": {"source": "jwks", "jwks_uri": fetch}}),
        "revocation.feeds" => {
            let mut feed = fetch;
            feed["type"] = json!("json");
            json!({"revocation": {"feeds": [feed]}})
        }
        _ => json!({}),
    }
}

/// What a policy is, as text. It has a name, so that its scope is not that of its text, and no clients, who lie in that text.
fn meaning(settings: &Value) -> String {
    let mut all = whole();
    all.remove("clients");
    all.insert("policy_name".to_owned(), json!("any"));
    all.extend(settings.as_object().unwrap().clone());
    let read = Policy::from_json(Value::Object(all).to_string());
    let text = format!("{:?}", read.unwrap_or_else(|problem| panic!("{settings}: {problem}")));
    let (before, from) = text.split_once("written: ").unwrap();
    format!("{before}{}", from.split_once("added: ").unwrap().1)
}

/// Writes a value at a place such as `token.metadata.key`; of a list into its first entry.
fn written(settings: &mut Value, place: &str, value: Value) {
    let place = place
        .split('.')
        .fold(settings, |place, key| if place.is_array() { &mut place[0][key] } else { &mut place[key] });
    *place = value;
}

fn assert_default(key: &str, name: Option<&str>, default: &str) {
    let (before, mut after) = (around(key), around(key));
    let place = name.map_or(key.to_owned(), |name| format!("{key}.{name}"));
    written(&mut after, &place, value(default));
    assert_eq!(meaning(&before), meaning(&after), "{place}: {default}");
}

#[test]
fn a_setting_with_its_default_means_the_same_as_without() {
    let mut checked = BTreeSet::new();
    for cells in rows("README.md") {
        let [keys, default, meaning] = &cells[..] else { continue };
        let keys = code(keys);
        let Some(key) = keys.first() else { continue };
        // `hop` (1), `on_stale` (`deny`)
        let mut parts = meaning.split('`').skip(1);
        while let (Some(name), Some(behind)) = (parts.next(), parts.next()) {
            let default = match behind.strip_prefix(" (") {
                Some("") => {
                    let default = parts.next();
                    parts.next();
                    default
                }
                Some(behind) => behind.split_once(')').map(|(default, _)| default),
                None => None,
            };
            if let Some(default) = default {
                assert_default(key, Some(name), default);
                checked.insert(format!("{key}.{name}"));
            }
        }
        if default.starts_with('`') || default.starts_with(|first: char| first.is_ascii_digit()) || default == "false" {
            let defaults = if default.starts_with('`') { code(default) } else { vec![default.as_str()] };
            let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
            for (index, name) in keys.iter().enumerate() {
                let place = name.strip_prefix('.').map_or((*name).to_owned(), |name| format!("{parent}.{name}"));
                assert_default(&place, None, defaults.get(index).or(defaults.last()).unwrap());
                checked.insert(place);
            }
        }
    }
    for cells in rows("revoke.md") {
        let [name, default, _] = &cells[..] else { continue };
        if let (Some(name), false) =
            (name.strip_prefix("`feeds[].").and_then(|name| name.strip_suffix('`')), default.starts_with("required"))
        {
            assert_default("revocation.feeds", Some(name), default);
            checked.insert(format!("feeds.{name}"));
        }
    }
    for place in [
        "mode",
        "token.metadata.key",
        "token.jwks_uri.timeout_ms",
        "revocation.feeds.on_stale",
        "feeds.refresh_seconds",
    ] {
        assert!(checked.contains(place), "{place}: {checked:?}");
    }
    assert!(checked.len() >= 30, "{checked:?}");
}

#[test]
fn the_page_names_every_key_of_the_schema() {
    let schema: Value = serde_json::from_str(include_str!("../../../docs/configuration.schema.json")).unwrap();
    let cells: Vec<String> = rows("README.md").concat();
    let named: BTreeSet<&str> = cells.iter().flat_map(|cell| code(cell)).flat_map(|code| code.split('.')).collect();
    let mut keys = Vec::new();
    for (key, member) in schema["properties"].as_object().unwrap() {
        keys.push(key);
        keys.extend(member["properties"].as_object().into_iter().flatten().map(|(key, _)| key));
    }
    // Those of `upstream_headers` are on their own page.
    let page = include_str!("../../../docs/configuration/upstream.md");
    let missing: Vec<_> =
        keys.iter().filter(|key| !named.contains(key.as_str()) && !page.contains(&format!("| `{key}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
