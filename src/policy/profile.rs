//! Profiles: what a client may do.

use std::collections::HashMap;

use ipnet::IpNet;

use super::entries::PathEntries;
use super::mode::Mode;
use super::path::CanonicalPath;
use super::pattern::PatternSet;
use super::rate_limit::RateLimit;
use crate::decision::{Deny, Enforcement, Reason, Remedy};

/// A profile's place in [`Profiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProfileId(usize);

/// All profiles, and the collections that their rules may name.
#[derive(Debug, Default)]
pub struct Profiles {
    list: Vec<Profile>,
    by_name: HashMap<String, ProfileId>,
    /// The paths of every collection.
    pub collections: PatternSet,
}

impl Profiles {
    /// Adds a profile.
    pub fn insert(&mut self, profile: Profile) {
        self.by_name.insert(profile.name.clone(), ProfileId(self.list.len()));
        self.list.push(profile);
    }

    /// The profile of this name.
    pub fn by_name(&self, name: &str) -> Option<ProfileId> {
        self.by_name.get(name).copied()
    }

    /// A profile.
    pub fn get(&self, id: ProfileId) -> Option<&Profile> {
        self.list.get(id.0)
    }

    /// Every profile.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.list.iter()
    }
}

/// What the clients of a profile may do, and how it is decided.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The rules, in the order of the configuration.
    pub allow: Vec<AllowRule>,
    /// Their paths; values are indices into `allow`.
    pub allow_paths: PatternSet,
    /// What no rule can allow: entries that restrict.
    pub deny: PathEntries,
    /// Where its clients must come from; empty: anywhere.
    pub source_networks: Vec<IpNet>,
    /// How often.
    pub rate_limit: Option<RateLimit>,
    /// What a caller must present.
    pub mode: Mode,
    /// Whether a refusal is carried out.
    pub enforcement: Enforcement,
}

/// What one entry of `allow` allows on its paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowRule {
    /// Empty: every method but CONNECT.
    pub methods: Vec<String>,
    /// All of these are needed.
    pub scopes: Vec<String>,
    /// Protocols that the connection may become, in lower case.
    pub upgrades: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// Where.
    pub path: &'a CanonicalPath<'a>,
    /// The protocol that the connection is to become.
    pub upgrade: Option<&'a str>,
    /// The token's scopes.
    pub scopes: &'a [String],
}

impl Profile {
    /// Finds the rule that allows what is asked for, by its index in `allow`.
    ///
    /// # Errors
    /// 403 before 405: who may not know of a rule does not learn its methods.
    pub fn authorize(&self, asked: Asked<'_>, collections: &PatternSet) -> Result<usize, Deny> {
        if self.deny.entry(asked.method, asked.path).is_some() {
            return Err(Reason::PathDenied.into());
        }
        let matching = self.allow_paths.matches(asked.path);
        let rules = matching.iter().filter_map(|index| Some((*index, self.allow.get(*index)?)));
        let rules = rules.filter(|(_, rule)| rule.allows_upgrade(asked));
        let method_matches =
            |(_, rule): &(usize, &AllowRule)| rule.methods.is_empty() || contains(&rule.methods, asked.method);
        let scopes_suffice =
            |(_, rule): &(usize, &AllowRule)| rule.scopes.iter().all(|scope| contains(asked.scopes, scope));
        if let Some((index, _)) = rules.clone().filter(method_matches).find(scopes_suffice) {
            return Ok(index);
        }
        if matching.is_empty() {
            let reason = if collections.contains(asked.path) { Reason::CollectionDenied } else { Reason::PathDenied };
            return Err(reason.into());
        }
        let Some(first) = rules.clone().next() else {
            return Err(Reason::UpgradeDenied.into());
        };
        let by_method = rules.clone().find(method_matches);
        let lacking = by_method.or_else(|| match rules.clone().find(scopes_suffice) {
            Some(_) => None,
            None => Some(first),
        });
        match lacking {
            Some((_, rule)) => {
                Err(Deny::new(Reason::InsufficientScope).with_remedy(Remedy::Scopes(rule.scopes.clone())))
            }
            None => {
                let known = rules.filter(scopes_suffice);
                let mut methods: Vec<String> = known.flat_map(|(_, rule)| rule.methods.iter().cloned()).collect();
                methods.sort();
                methods.dedup();
                Err(Deny::new(Reason::MethodNotAllowed).with_remedy(Remedy::Methods(methods)))
            }
        }
    }
}

impl AllowRule {
    /// Ordinary requests need no permission to stay what they are; tunnels and upgrades must be listed.
    fn allows_upgrade(&self, asked: Asked<'_>) -> bool {
        let tunnel = asked.method == "CONNECT" && !contains(&self.methods, "CONNECT");
        !tunnel && asked.upgrade.is_none_or(|protocol| contains(&self.upgrades, protocol))
    }
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{LetterCase, PathPattern, PathRules};

    /// (path pattern, methods, scopes, upgrades)
    type RuleRow<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn patterns(texts: &[&str]) -> PatternSet {
        let mut set = PatternSet::default();
        for (index, text) in texts.iter().enumerate() {
            set.insert(&PathPattern::parse(text, PathRules::default()).unwrap(), index);
        }
        set
    }

    fn profile(rules: &[RuleRow<'_>]) -> Profile {
        let pattern = |text: &str| PathPattern::parse(text, PathRules::default()).unwrap();
        let mut deny = PathEntries::restricting(LetterCase::Exact);
        deny.insert(&[pattern("/a/secret/**")], Vec::new());
        deny.insert(&[pattern("/a/frozen")], strings(&["POST"]));
        Profile {
            allow_paths: patterns(&rules.iter().map(|rule| rule.0).collect::<Vec<_>>()),
            allow: rules
                .iter()
                .map(|(_, methods, scopes, upgrades)| AllowRule {
                    methods: strings(methods),
                    scopes: strings(scopes),
                    upgrades: strings(upgrades),
                })
                .collect(),
            deny,
            ..Profile::default()
        }
    }

    fn ask(
        profile: &Profile,
        method: &str,
        path: &str,
        upgrade: Option<&str>,
        scopes: &[&str],
    ) -> Result<usize, Reason> {
        let asked = Asked {
            method,
            path: &CanonicalPath::parse(path.as_bytes(), PathRules::default()).unwrap(),
            upgrade,
            scopes: &strings(scopes),
        };
        profile.authorize(asked, &patterns(&["/c/**"])).map_err(|deny| deny.reason)
    }

    #[test]
    fn the_rule_that_allows_is_named_and_refusals_say_why() {
        let profile = profile(&[
            ("/a/**", &["GET"], &["read"], &[]),
            ("/a/**", &["POST"], &["write"], &[]),
            ("/open", &[], &[], &[]),
            ("/ws", &["GET"], &[], &["websocket"]),
            ("/tunnel", &["CONNECT"], &[], &[]),
            ("/any-upgrade", &[], &[], &["websocket"]),
        ]);
        for (method, path, upgrade, scopes, expected) in [
            ("GET", "/a/1", None, &["read"][..], Ok(0)),
            ("POST", "/a/1", None, &["read", "write"], Ok(1)),
            ("POST", "/a/1", None, &["read"], Err(Reason::InsufficientScope)),
            ("DELETE", "/a/1", None, &["read"], Err(Reason::MethodNotAllowed)),
            ("DELETE", "/a/1", None, &[], Err(Reason::InsufficientScope)),
            ("DELETE", "/open", None, &[], Ok(2)),
            ("get", "/a/1", None, &["read"], Err(Reason::MethodNotAllowed)),
            ("GET", "/b", None, &[], Err(Reason::PathDenied)),
            ("GET", "/c/1", None, &[], Err(Reason::CollectionDenied)),
            ("GET", "/a/secret/1", None, &["read"], Err(Reason::PathDenied)),
            ("GET", "/a/frozen", None, &["read"], Ok(0)),
            ("POST", "/a/frozen", None, &["write"], Err(Reason::PathDenied)),
            ("GET", "/open", Some("websocket"), &[], Err(Reason::UpgradeDenied)),
            ("GET", "/ws", Some("websocket"), &[], Ok(3)),
            ("GET", "/ws", Some("h2c"), &[], Err(Reason::UpgradeDenied)),
            ("POST", "/ws", Some("websocket"), &[], Err(Reason::MethodNotAllowed)),
            ("CONNECT", "/open", None, &[], Err(Reason::UpgradeDenied)),
            ("CONNECT", "/any-upgrade", Some("websocket"), &[], Err(Reason::UpgradeDenied)),
            ("GET", "/any-upgrade", Some("websocket"), &[], Ok(5)),
            ("CONNECT", "/tunnel", None, &[], Ok(4)),
        ] {
            assert_eq!(
                ask(&profile, method, path, upgrade, scopes),
                expected,
                "{method} {path} {upgrade:?} {scopes:?}"
            );
        }
    }

    #[test]
    fn the_allow_header_lists_what_this_caller_may_do() {
        let profile = profile(&[("/a", &["PUT", "GET"], &[], &[]), ("/a", &["POST"], &["write"], &[])]);
        let asked = Asked {
            method: "DELETE",
            path: &CanonicalPath::parse(b"/a", PathRules::default()).unwrap(),
            upgrade: None,
            scopes: &[],
        };
        let deny = profile.authorize(asked, &PatternSet::default()).unwrap_err();
        assert_eq!(deny.remedy, Remedy::Methods(strings(&["GET", "PUT"])));
    }
}
