//! The patterns of paths, the methods and the hosts of rules, denials and bypasses.

use super::ConfigError;
use crate::bounds;
use crate::decision::Enforcement;
use crate::policy::{HostPattern, LetterCase, Methods, Mode, PathPattern, PathRules, UnverifiedAuthorization};
use crate::request::TOKEN;

/// The top-level settings that profiles and bypasses need.
pub(super) struct Around<'a> {
    pub mode: Mode,
    pub enforcement: Enforcement,
    pub unverified: UnverifiedAuthorization,
    pub rules: PathRules,
    pub restrictions: LetterCase,
    pub methods: &'a Methods,
}

/// Paths and methods that the configuration refuses, and its place in the configuration.
pub(super) struct Restriction {
    pub path: String,
    pub patterns: Vec<PathPattern>,
    /// Empty: every method.
    pub methods: Vec<String>,
}

pub(super) fn pattern(path: impl Into<String>, text: &str, rules: PathRules) -> Result<PathPattern, ConfigError> {
    PathPattern::parse(text, rules).map_err(|expected| ConfigError::new(path, text, expected))
}

/// Methods are case-sensitive (RFC 9110 section 9.1); a list that is there and empty would allow nothing by accident.
pub(super) fn methods(path: &str, listed: Option<Vec<String>>, known: &Methods) -> Result<Vec<String>, ConfigError> {
    let Some(methods) = listed else {
        return Ok(Vec::new());
    };
    if methods.is_empty() {
        return Err(ConfigError::new(
            format!("{path}.methods"),
            methods,
            "at least one method; leave the key out for any",
        ));
    }
    match methods.iter().enumerate().find(|(_, method)| !known.is_known(method)) {
        None => Ok(methods),
        Some((index, method)) => {
            let expected = match method.as_str() {
                "*" => "the names of methods; leave \"methods\" out for every method",
                _ => "a registered method in capitals such as GET, or one that methods.additional lists",
            };
            Err(ConfigError::new(format!("{path}.methods[{index}]"), method, expected))
        }
    }
}

/// `methods.additional`
pub(super) fn additional_methods(listed: Vec<String>) -> Result<Vec<String>, ConfigError> {
    let is_usable = |method: &String| {
        (1..=bounds::METHOD).contains(&method.len())
            && method.bytes().all(|byte| TOKEN.contains(byte) && !byte.is_ascii_lowercase() && byte != b'*')
            && !Methods::default().is_known(method)
    };
    match listed.iter().enumerate().find(|(_, method)| !is_usable(method)) {
        None => Ok(listed),
        Some((index, method)) => {
            let expected = "a method in capitals, without *, that IANA has not registered, such as PURGE";
            Err(ConfigError::new(format!("methods.additional[{index}]"), method, expected))
        }
    }
}

pub(super) fn hosts(path: &str, texts: &[String]) -> Result<Vec<HostPattern>, ConfigError> {
    let mut hosts: Vec<HostPattern> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let wrong = |expected| ConfigError::new(format!("{path}.hosts[{index}]"), text, expected);
        let host = HostPattern::parse(text).map_err(wrong)?;
        if hosts.contains(&host) {
            return Err(wrong("each host once"));
        }
        hosts.push(host);
    }
    Ok(hosts)
}
