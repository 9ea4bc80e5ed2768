//! The configuration.

use mtls_authz::{ConfigError, Policy};
use serde_json::Value;

use crate::reference;

/// No double is exact above.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A configuration: one that is taken is JSON without repeated members, is taken again however it is spaced and as a
/// protobuf `Struct`, and means the same each time; every error names a place that is there.
pub fn configuration(data: &[u8]) {
    let read = Policy::from_json(data);
    let value = reference::json(data);
    let from_host = Policy::read(data.to_vec()).is_ok();
    assert!(
        from_host == read.is_ok() || (from_host && data.first() == Some(&0x0a)),
        "protobuf begins with a line's end"
    );
    match (read, value) {
        (Ok(policy), Some(value)) => {
            assert_eq!(meaning(&Policy::from_json(data).unwrap()), meaning(&policy));
            let spaced = serde_json::to_string_pretty(&value).unwrap();
            assert!(Policy::from_json(spaced.as_bytes()).is_ok(), "{spaced}");
            if let Value::Object(members) = &value
                && !members.is_empty()
                && is_exact(&value)
            {
                assert!(Policy::read(reference::protobuf_struct(members)).is_ok(), "{value}");
            }
        }
        (Ok(_), None) => panic!("a configuration that is not strict JSON was taken"),
        (Err(problems), value) => problems.iter().for_each(|problem| told(problem, data, value.as_ref())),
    }
}

/// All that a policy holds, in an order of its own: that of a hash map says nothing.
fn meaning(policy: &Policy) -> Vec<String> {
    let text = format!("{policy:?}");
    let mut words: Vec<_> = text.split(|character: char| !character.is_alphanumeric()).map(str::to_owned).collect();
    words.sort_unstable();
    words
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() <= EXACT && number.fract() == 0.0),
        Value::Array(list) => list.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        _ => true,
    }
}

/// An error says what was found and what was expected, and its path leads to a value, or to where one is missing.
fn told(problem: &ConfigError, data: &[u8], value: Option<&Value>) {
    assert!(!problem.problem.is_empty());
    assert!(problem.problem.chars().count() < 4096, "{problem}");
    // A path repeats keys as they are written, but for very long ones, and a key may hold dots.
    if let Some(value) = value
        && !data.contains(&b'\\')
        && !problem.path.contains('…')
    {
        assert!(leads(value, &problem.path), "{problem}");
    }
}

/// Does this path lead to a value, or into a member that its object does not have?
fn leads(value: &Value, path: &str) -> bool {
    if path.is_empty() {
        return true;
    }
    match value {
        Value::Array(list) => {
            path.strip_prefix('[').and_then(|rest| rest.split_once(']')).is_some_and(|(index, rest)| {
                index.parse::<usize>().is_ok_and(|index| list.get(index).is_some_and(|value| leads(value, rest)))
            })
        }
        Value::Object(members) => {
            // A dot is either what separates keys or the beginning of one.
            [Some(path), path.strip_prefix('.')].into_iter().flatten().any(|path| {
                members.iter().any(|(key, value)| leads_on(path, key, value))
                    || !members.keys().any(|key| begins(path, key))
            })
        }
        _ => false,
    }
}

fn leads_on(path: &str, key: &str, value: &Value) -> bool {
    begins(path, key) && path.strip_prefix(key).is_some_and(|rest| leads(value, rest))
}

/// Is the key the first of the path?
fn begins(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
