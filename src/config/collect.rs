//! All errors of a configuration, though reading ends at the first: what is wrong is taken out, and the rest is read again.
//!
//! Only what is refused pays for it.

use std::rc::Rc;

use serde_json::Value as Json;

use super::Policy;
use super::clients;
use super::error::{ConfigError, ConfigErrors, MAX_ERRORS};
use super::explain::{REPEATED_KEY, UNKNOWN_KEY};
use super::location::{find, parent, path_to, take_out};
use super::value::no_json;

/// What reading brings: a policy, and the text of its candidate.
pub(super) type Read = (Policy, Option<String>);

/// Bytes that are read again to find further errors; Envoy's main thread waits.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// More rounds than errors, because some find only what follows from what was taken out.
const MAX_ROUNDS: usize = 3 * MAX_ERRORS;

/// Reads a configuration.
#[inline(never)]
pub(super) fn read(text: String) -> Result<Read, ConfigErrors> {
    let text = Rc::new(text);
    Policy::once(Rc::clone(&text)).map_err(|first| all(&text, first))
}

#[cold]
#[inline(never)]
fn all(text: &str, first: ConfigError) -> ConfigErrors {
    // In what is no JSON nothing can be taken out.
    if let Some(problem) = no_json(text) {
        return problem.into();
    }
    let mut left = text.as_bytes().to_vec();
    let mut errors = ConfigErrors::from(explained(&left, first.clone()));
    let mut gone: Vec<String> = Vec::new();
    let mut problem = first;
    errors.may_be_more = true;
    for _ in 0..(MAX_BYTES / text.len().max(1)).clamp(1, MAX_ROUNDS) {
        let is_about_its_key = [UNKNOWN_KEY, REPEATED_KEY].iter().any(|begin| problem.problem.starts_with(begin));
        match take_out(&mut left, &problem.path) {
            Some(path) if !is_about_its_key => gone.push(path),
            Some(_) => {}
            None => {
                let is_told = errors.iter().any(|known| known.path == problem.path);
                errors.may_be_more = !is_told;
                break;
            }
        }
        // It was text, and spaces take the place of whole characters.
        let rest = String::from_utf8(left.clone()).unwrap_or_default();
        problem = match Policy::once(Rc::new(rest)) {
            Ok(_) => {
                errors.may_be_more = false;
                break;
            }
            Err(problem) => problem,
        };
        if !gone.iter().any(|gone| follows(&problem, gone)) {
            let mut told = explained(&left, problem.clone());
            told.path = written(text, &left, &problem.path);
            if !errors.add(told) {
                break;
            }
        }
    }
    errors
}

/// Objects whose members other settings name.
const NAMED: &[&str] = &["clients", "profiles", "collections", "authorities"];

/// Is this wrong only because something is gone? Then it says what.
#[cold]
#[inline(never)]
fn follows(problem: &ConfigError, gone: &str) -> bool {
    let ConfigError { path, problem } = problem;
    let (setting, is_entry) = match gone.strip_suffix(']') {
        Some(_) => (parent(gone), true),
        None => (gone, false),
    };
    let around = parent(setting);
    let key = setting.get(around.len()..).unwrap_or_default().trim_start_matches('.');
    let is_near = path.starts_with(around) && !is_entry;
    let is_missed = problem.starts_with("found no") && (path.starts_with(gone) || gone.starts_with(path));
    let is_named = !is_entry && problem.starts_with(&format!("found {key:?}")) && NAMED.contains(&around);
    let are_all_gone = problem.ends_with(", and there is none") && NAMED.contains(&setting);
    is_missed
        || are_all_gone
        || is_named
        || (is_near && problem.contains(&format!("\"{key}\"")))
        || (setting.contains('.') && problem.contains(setting))
}

/// The path of a value as the configuration is written, before entries of lists were taken out.
#[cold]
#[inline(never)]
fn written(text: &str, left: &[u8], path: &str) -> String {
    let mut known = path;
    while !known.is_empty() {
        if let Some(span) = find(left, known) {
            let behind = path.get(known.len()..).unwrap_or_default();
            return path_to(text.as_bytes(), span.value.end) + behind;
        }
        known = parent(known);
    }
    path.to_owned()
}

/// The objects of a configuration. Whose keys these are, the reader says.
const OBJECTS: &[&str] = &[
    "",
    "certificate",
    "certificate.forwarded",
    "certificate.forwarded.trusted_proxies",
    "identity",
    "identity.mappings[]",
    "identity.mappings[].match",
    "clients.<client_id>",
    "profiles.<profile_id>",
    "profiles.<profile_id>.allow[]",
    "profiles.<profile_id>.rate_limit",
    "bypass[]",
    "binding",
    "token",
    "token.metadata",
    "token.jwks_uri",
    "token.providers[]",
    "revocation",
    "revocation.serials[]",
    "revocation.feeds[]",
    "path",
    "methods",
    "upstream_headers",
    "audit",
];

/// Adds to an error what the whole configuration tells: where a key belongs, which keys an object has.
#[cold]
#[inline(never)]
fn explained(json: &[u8], problem: ConfigError) -> ConfigError {
    let ConfigError { path, mut problem } = problem;
    if let Some(key) = problem.strip_prefix(UNKNOWN_KEY).and_then(|rest| rest.split('`').nth(1)).map(str::to_owned) {
        let value = find(json, &path).and_then(|span| json.get(span.value)).unwrap_or_default();
        let holds_policy = ["clients", "profiles", "mode", "token"].iter().any(|key| find(value, key).is_some());
        if path == key && (holds_policy || matches!(key.as_str(), "@type" | "value")) {
            let end = problem.find(", expected").unwrap_or(problem.len());
            problem.truncate(end);
            problem.push_str(", expected the policy itself, without anything around it");
        } else if !problem.ends_with('?') {
            let places: Vec<&str> = OBJECTS.iter().copied().filter(|place| knows(place, &key)).collect();
            let places: Vec<_> =
                places.iter().map(|place| if place.is_empty() { "the top level" } else { place }).collect();
            if !places.is_empty() {
                problem.push_str(&format!("; `{key}` is a key of {}", places.join(", ")));
            }
        }
    } else if problem.ends_with(", expected an object") {
        problem.push_str(&keys_of(json, &path));
    }
    ConfigError { path, problem }
}

/// Does an object of this place have this key?
#[cold]
#[inline(never)]
fn knows(place: &str, key: &str) -> bool {
    let (mut before, mut behind) = (String::new(), String::new());
    for step in place.split('.').filter(|step| !step.is_empty()) {
        let (name, open, close) = step.strip_suffix("[]").map_or((step, "", "}"), |name| (name, "[", "]}"));
        before.push_str(&format!("{{\"{name}\":{open}"));
        behind.insert_str(0, close);
    }
    let text = format!("{before}{{{}:null}}{behind}", Json::from(key));
    !clients::read(Rc::new(text)).is_err_and(|problem| problem.problem.starts_with(UNKNOWN_KEY))
}

/// Which keys the object of this path has, if they are not the user's own names.
#[cold]
#[inline(never)]
fn keys_of(json: &[u8], path: &str) -> String {
    let read = find(json, path).and_then(|span| {
        let [before, behind] = [json.get(..span.value.start)?, json.get(span.value.end..)?];
        let text = [before, b"{\"\":0}".as_slice(), behind].concat();
        clients::read(Rc::new(String::from_utf8(text).ok()?)).err()
    });
    match read {
        Some(ConfigError { problem, .. }) if problem.starts_with(UNKNOWN_KEY) => {
            let keys = problem.split_once(", expected ").map_or("", |(_, keys)| keys);
            format!(" of {}", keys.trim_start_matches("one of "))
        }
        Some(inner) if inner.path.len() > path.len() => ", whose keys are names that you choose".to_owned(),
        _ => String::new(),
    }
}
