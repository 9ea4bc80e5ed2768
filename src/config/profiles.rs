//! `profiles` and `collections`.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::raw::{RawDeny, RawDenyRule, RawProfile, RawRateLimit, RawRule};
use super::rules::{Around, Restriction, hosts, methods, pattern};
use super::value::Named;
use super::warnings::Warnings;
use super::{ConfigError, distinct, label, one_of};
use crate::decision::Enforcement;
use crate::policy::address::parse_network;
use crate::policy::method::CONNECT;
use crate::policy::overlap::{may_meet, methods_meet};
use crate::policy::{
    AllowRule, Entry, LetterCase, Methods, Mode, PathEntries, PathPattern, PathRules, Profile, Profiles, RateLimit,
    UnverifiedAuthorization,
};
use crate::request::TOKEN;

/// An entry of `source_cidrs`: every address of both families.
const ANY: &str = "any";
/// A `deny` is compared with no more patterns of `allow`, times its own.
const MAX_COMPARED: usize = 1000;

/// The path patterns of each collection, in the order of the configuration.
type Collections = Vec<(String, Vec<PathPattern>)>;

pub(super) fn compile(
    raw: Named<RawProfile>,
    collections: Named<Vec<String>>,
    around: &Around<'_>,
    restrictions: &mut Vec<Restriction>,
    warnings: &mut Warnings,
) -> Result<Profiles, ConfigError> {
    let rules = around.rules;
    let mut profiles = Profiles::default();
    let mut known = Collections::new();
    for (name, texts) in collections {
        let path = format!("collections.{name}");
        label(format_args!("{path}"), &name)?;
        let patterns = path_list(&path, &texts, rules)?;
        profiles.collections.insert(name.clone(), &patterns);
        known.push((name, patterns));
    }
    for (name, raw) in raw {
        let path = format!("profiles.{name}");
        label(format_args!("{path}"), &name)?;
        let mode = raw.mode.unwrap_or(around.mode);
        let mut profile = Profile {
            mode,
            enforcement: enforced(&path, raw.enforcement, around.enforcement)?,
            unverified: unverified(&path, raw.unverified_authorization, mode)?.unwrap_or(around.unverified),
            deny: PathEntries::restricting(around.restrictions),
            rate_limit: raw.rate_limit.map(|raw| rate_limit(&path, &raw)).transpose()?,
            name: name.into(),
            ..Profile::default()
        };
        distinct(&format!("{path}.allow"), &raw.allow, |rule| rule.text())?;
        distinct(&format!("{path}.deny"), &raw.deny, RawDeny::text)?;
        let mut granted = Vec::new();
        for (index, rule) in raw.allow.into_iter().enumerate() {
            let path = format!("{path}.allow[{index}]");
            // Last what cannot be left out, so that all errors of a rule are found.
            let patterns = covered(&path, rule.paths.as_ref(), rule.collection.as_deref(), &known, rules);
            let rule = allow_rule(&path, rule, mode, around.methods)?;
            let patterns = patterns?;
            for pattern in &patterns {
                profile.allow_paths.insert(pattern, index);
            }
            if rule.methods.iter().any(|method| method == CONNECT) {
                tunnel(&path, &rule, &patterns, rules)?;
            }
            warnings.of_rule(&path, &rule);
            granted.extend(patterns.into_iter().map(|pattern| (pattern, index)));
            profile.allow.push(rule);
        }
        for (index, entry) in raw.deny.into_iter().enumerate() {
            let path = format!("{path}.deny[{index}]");
            let (patterns, listed) = match entry {
                RawDeny::Path(text) => (pattern(path.as_str(), &text, rules).map(|pattern| vec![pattern]), None),
                RawDeny::Rule(RawDenyRule { paths, collection, methods }) => {
                    (covered(&path, paths.as_ref(), collection.as_deref(), &known, rules), methods)
                }
            };
            let methods = methods(&path, listed, around.methods)?;
            let patterns = patterns?;
            let entry = Restriction { path, patterns, methods };
            warn_of_idle(warnings, &entry, &granted, &profile.allow, around);
            let Restriction { path, patterns, methods } = entry;
            profile.deny.insert(&patterns, Entry { methods: methods.clone(), ..Entry::default() });
            restrictions.push(Restriction { path, patterns, methods });
        }
        profile.source_networks = networks(&format!("{path}.source_cidrs"), &raw.source_cidrs)?;
        profiles.insert(profile);
    }
    Ok(profiles)
}

/// Of an entry of `deny` that has nothing in common with what the rules of its profile grant.
#[inline(never)]
fn warn_of_idle(
    warnings: &mut Warnings,
    denied: &Restriction,
    granted: &[(PathPattern, usize)],
    allow: &[AllowRule],
    around: &Around<'_>,
) {
    let narrows = |(granted, rule): &(PathPattern, usize)| {
        let allowed = allow.get(*rule).map_or(&[][..], |rule| &rule.methods);
        let meets = |denied| may_meet(granted, denied, around.rules, around.restrictions);
        methods_meet(allowed, &denied.methods) && denied.patterns.iter().any(meets)
    };
    // Of long lists it would take longer than all the rest.
    let is_short = granted.len() * denied.patterns.len() < MAX_COMPARED;
    if is_short && !granted.is_empty() && warnings.has_room() && !granted.iter().any(narrows) {
        let problem = "found nothing that a rule of this profile allows, expected paths and methods of a rule in \"allow\": this entry \
            changes nothing";
        warnings.add(denied.path.clone(), problem);
    }
}

/// Top-level `shadow` counts wherever the profile is not known yet, so that a profile of its own cannot enforce anything.
fn enforced(path: &str, own: Option<Enforcement>, around: Enforcement) -> Result<Enforcement, ConfigError> {
    match (own, around) {
        (Some(Enforcement::Enforce), Enforcement::Shadow) => Err(ConfigError::new(
            format!("{path}.enforcement"),
            "enforce",
            "no profile that enforces beside a top-level \"shadow\": a caller who does not say its profile is let through. \
             Leave the top level at \"enforce\" and say \"shadow\" in the other profiles, or try the whole policy as a \"candidate\"",
        )),
        (own, around) => Ok(own.unwrap_or(around)),
    }
}

fn unverified(
    path: &str,
    own: Option<UnverifiedAuthorization>,
    mode: Mode,
) -> Result<Option<UnverifiedAuthorization>, ConfigError> {
    if own.is_some() && mode != Mode::Mtls {
        return Err(ConfigError {
            path: format!("{path}.unverified_authorization"),
            problem: "found it in a profile that verifies tokens, expected it in profiles of \"mode\": \"mtls\" alone"
                .to_owned(),
        });
    }
    Ok(own)
}

fn networks(path: &str, texts: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    if texts == [ANY] {
        return Ok(vec![IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())]);
    }
    let mut networks = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let wrong = |expected: &str| ConfigError::new(format!("{path}[{index}]"), text, expected);
        if text == ANY {
            return Err(wrong("networks alone, or any alone: any covers every address"));
        }
        let network = parse_network(text).map_err(|expected| wrong(&expected))?;
        if networks.contains(&network) {
            return Err(wrong("each network once"));
        }
        networks.push(network);
    }
    Ok(networks)
}

/// The paths of a rule: its own, or those of a collection.
fn covered(
    path: &str,
    paths: Option<&Vec<String>>,
    collection: Option<&str>,
    known: &Collections,
    rules: PathRules,
) -> Result<Vec<PathPattern>, ConfigError> {
    match (paths, collection) {
        (Some(paths), None) => path_list(&format!("{path}.paths"), paths, rules),
        (None, Some(name)) => match known.iter().find(|(known, _)| known == name) {
            Some((_, patterns)) => Ok(patterns.clone()),
            None => {
                let mut names = known.iter().map(|(name, _)| name.as_str());
                Err(ConfigError::new(format!("{path}.collection"), name, one_of(name, "collection", &mut names)))
            }
        },
        (paths, _) => Err(ConfigError {
            path: path.to_owned(),
            problem: format!(
                "found {} \"collection\", expected one of them",
                if paths.is_some() { "both \"paths\" and" } else { "neither \"paths\" nor" }
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

fn allow_rule(path: &str, raw: RawRule, mode: Mode, known: &Methods) -> Result<AllowRule, ConfigError> {
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
        let protocol_byte = |byte: u8| byte != b'*' && (TOKEN.contains(byte) || byte == b'/');
        let is_again = raw.upgrades.iter().take(index).any(|other| other.eq_ignore_ascii_case(protocol));
        if protocol.is_empty() || !protocol.bytes().all(protocol_byte) || protocol == CONNECT || is_again {
            return Err(ConfigError::new(
                format!("{path}.upgrades[{index}]"),
                protocol,
                "a protocol such as websocket, once; CONNECT is one of \"methods\"",
            ));
        }
    }
    if raw.plain && raw.upgrades.is_empty() {
        let problem = "found it without \"upgrades\", expected it beside them: a rule without upgrades allows plain requests anyway";
        return Err(ConfigError { path: format!("{path}.plain"), problem: problem.to_owned() });
    }
    let methods = methods(path, raw.methods, known)?;
    let hosts = hosts(path, &raw.hosts)?;
    Ok(AllowRule {
        methods,
        scopes: raw.scopes,
        upgrades: raw.upgrades.iter().map(|protocol| protocol.to_ascii_lowercase()).collect(),
        plain: raw.plain,
        hosts,
    })
}

/// A rule that allows CONNECT says where a tunnel may lead, and covers the path that CONNECT counts as.
fn tunnel(path: &str, rule: &AllowRule, patterns: &[PathPattern], rules: PathRules) -> Result<(), ConfigError> {
    let root = pattern("", "/", rules)?;
    let problem = if !rule.upgrades.is_empty() {
        "found CONNECT beside \"upgrades\", expected two rules: a rule with upgrades allows these alone"
    } else if rule.hosts.is_empty() {
        "found CONNECT without \"hosts\", expected the hosts that a tunnel may lead to, such as [\"db.example:5432\"]"
    } else if !patterns.iter().any(|pattern| may_meet(pattern, &root, rules, LetterCase::Exact)) {
        "found CONNECT with paths that it never has, expected one that covers \"/\", as which CONNECT counts"
    } else {
        return Ok(());
    };
    Err(ConfigError { path: path.to_owned(), problem: problem.to_owned() })
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
