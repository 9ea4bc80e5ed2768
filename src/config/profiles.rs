//! `profiles` and `collections`.

use std::collections::HashMap;

use super::raw::{RawDeny, RawDenyRule, RawProfile, RawRateLimit, RawRule};
use super::strict::{Entries, Object};
use super::{ConfigError, label, methods, one_of, pattern};
use crate::decision::Enforcement;
use crate::policy::address::parse_network;
use crate::policy::{AllowRule, LetterCase, Mode, PathEntries, PathPattern, PathRules, Profile, Profiles, RateLimit};
use crate::request::TOKEN;

/// The path patterns of each collection.
type Collections = HashMap<String, Vec<PathPattern>>;

pub(super) fn compile(
    raw: Entries<Object<RawProfile>>,
    collections: Entries<Vec<String>>,
    mode: Mode,
    enforcement: Enforcement,
    rules: PathRules,
    restrictions: LetterCase,
) -> Result<Profiles, ConfigError> {
    let mut profiles = Profiles::default();
    let mut known = Collections::new();
    for (name, texts) in collections.0 {
        let path = format!("collections.{name}");
        label(format_args!("{path}"), &name)?;
        let patterns = path_list(&path, &texts, rules)?;
        for pattern in &patterns {
            profiles.collections.insert(pattern, 0);
        }
        known.insert(name, patterns);
    }
    for (name, Object(raw)) in raw.0 {
        let path = format!("profiles.{name}");
        label(format_args!("{path}"), &name)?;
        let mut profile = Profile {
            mode: raw.mode.unwrap_or(mode),
            enforcement: raw.enforcement.unwrap_or(enforcement),
            deny: PathEntries::restricting(restrictions),
            rate_limit: raw.rate_limit.map(|Object(raw)| rate_limit(&path, &raw)).transpose()?,
            name,
            ..Profile::default()
        };
        for (index, Object(rule)) in raw.allow.into_iter().enumerate() {
            let path = format!("{path}.allow[{index}]");
            let patterns = covered(&path, rule.paths.as_deref(), rule.collection.as_deref(), &known, rules)?;
            for pattern in &patterns {
                profile.allow_paths.insert(pattern, index);
            }
            profile.allow.push(allow_rule(&path, rule, profile.mode)?);
        }
        for (index, entry) in raw.deny.into_iter().enumerate() {
            let path = format!("{path}.deny[{index}]");
            let (patterns, listed) = match entry {
                RawDeny::Path(text) => (vec![pattern(path.as_str(), &text, rules)?], None),
                RawDeny::Rule(RawDenyRule { paths, collection, methods }) => {
                    (covered(&path, paths.as_deref(), collection.as_deref(), &known, rules)?, methods)
                }
            };
            profile.deny.insert(&patterns, methods(&path, listed)?);
        }
        for (index, text) in raw.source_cidrs.iter().enumerate() {
            let network = parse_network(text)
                .map_err(|expected| ConfigError::new(format!("{path}.source_cidrs[{index}]"), text, expected))?;
            profile.source_networks.push(network);
        }
        profiles.insert(profile);
    }
    Ok(profiles)
}

/// The paths of a rule: its own, or those of a collection.
fn covered(
    path: &str,
    paths: Option<&[String]>,
    collection: Option<&str>,
    known: &Collections,
    rules: PathRules,
) -> Result<Vec<PathPattern>, ConfigError> {
    match (paths, collection) {
        (Some(paths), None) => path_list(&format!("{path}.paths"), paths, rules),
        (None, Some(name)) => known.get(name).cloned().ok_or_else(|| {
            let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
            names.sort_unstable();
            ConfigError::new(format!("{path}.collection"), name, one_of("collection", names.into_iter()))
        }),
        (paths, _) => Err(ConfigError {
            path: path.to_owned(),
            problem: format!(
                "found {}, expected either \"paths\" or \"collection\"",
                if paths.is_some() { "both" } else { "neither" }
            ),
        }),
    }
}

fn path_list(path: &str, texts: &[String], rules: PathRules) -> Result<Vec<PathPattern>, ConfigError> {
    if texts.is_empty() {
        return Err(ConfigError::new(path, texts, "at least one path pattern"));
    }
    let indexed = texts.iter().enumerate();
    indexed.map(|(index, text)| pattern(format!("{path}[{index}]"), text, rules)).collect()
}

fn allow_rule(path: &str, raw: RawRule, mode: Mode) -> Result<AllowRule, ConfigError> {
    for (index, scope) in raw.scopes.iter().enumerate() {
        let path = format!("{path}.scopes[{index}]");
        if scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) {
            return Err(ConfigError::new(path, scope, "a scope of RFC 6749: visible ASCII without space, \" and \\"));
        }
        if mode == Mode::Mtls {
            return Err(ConfigError::new(
                path,
                scope,
                "no scopes, because the profile's mode is mtls and tokens are not looked at",
            ));
        }
    }
    for (index, protocol) in raw.upgrades.iter().enumerate() {
        let protocol_byte = |byte: u8| TOKEN.contains(byte) || byte == b'/';
        if protocol.is_empty() || !protocol.bytes().all(protocol_byte) {
            return Err(ConfigError::new(
                format!("{path}.upgrades[{index}]"),
                protocol,
                "a protocol such as websocket",
            ));
        }
    }
    Ok(AllowRule {
        methods: methods(path, raw.methods)?,
        scopes: raw.scopes,
        upgrades: raw.upgrades.iter().map(|protocol| protocol.to_ascii_lowercase()).collect(),
    })
}

fn rate_limit(path: &str, raw: &RawRateLimit) -> Result<RateLimit, ConfigError> {
    RateLimit::new(raw.requests, raw.per_seconds, raw.burst.unwrap_or(raw.requests)).ok_or_else(|| {
        let expected = "requests, per_seconds and burst of at least 1, at most 1000000000 requests a second, and a burst that is earned within fifty years";
        let burst = raw.burst.map(|burst| format!(r#", "burst": {burst}"#)).unwrap_or_default();
        ConfigError {
            path: format!("{path}.rate_limit"),
            problem: format!(
                r#"found {{"requests": {}, "per_seconds": {}{burst}}}, expected {expected}"#,
                raw.requests, raw.per_seconds
            ),
        }
    })
}
