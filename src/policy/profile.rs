//! Profiles: what a client may do.

use std::collections::HashMap;
use std::rc::Rc;

use ipnet::IpNet;

use super::entries::{PathEntries, Target, is_one_of};
use super::host::HostPattern;
use super::method::{self, CONNECT, covers};
use super::mode::Mode;
use super::pattern::PatternSet;
use super::rate_limit::RateLimit;
use super::unverified::UnverifiedAuthorization;
use crate::decision::{Deny, Enforcement, Reason, Remedy};

/// A profile's place in [`Profiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProfileId(usize);

/// All profiles, and the collections that their rules may name.
#[derive(Debug, Default)]
pub struct Profiles {
    list: Vec<Profile>,
    by_name: HashMap<Rc<str>, ProfileId>,
    /// The paths of every collection.
    pub collections: PatternSet,
}

impl Profiles {
    /// Adds a profile.
    pub fn insert(&mut self, profile: Profile) {
        self.by_name.insert(Rc::clone(&profile.name), ProfileId(self.list.len()));
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
    pub name: Rc<str>,
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
    /// In mode `mtls`: what becomes of a token that nobody looked at.
    pub unverified: UnverifiedAuthorization,
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
    /// Beside `upgrades`: are requests allowed, too, that ask for no upgrade?
    pub plain: bool,
    /// Empty: every host.
    pub hosts: Vec<HostPattern>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method, the path and the host.
    pub target: Target<'a>,
    /// The protocol that the connection is to become.
    pub upgrade: Option<&'a str>,
    /// The token's scopes.
    pub scopes: &'a [String],
}

impl Profile {
    /// Does any rule name a host?
    pub fn names_hosts(&self) -> bool {
        self.allow.iter().any(|rule| !rule.hosts.is_empty())
    }

    /// Finds the rule that allows what is asked for, by its index in `allow`.
    ///
    /// # Errors
    /// 403 before 405: who may not know of a rule does not learn its methods.
    pub fn authorize(&self, asked: Asked<'_>, collections: &PatternSet) -> Result<usize, Deny> {
        let target = asked.target;
        if self.deny.entry(target).is_some() {
            return Err(Reason::PathDenied.into());
        }
        let matching = self.allow_paths.matches(target.path);
        let rules = matching.iter().filter_map(|index| Some((*index, self.allow.get(*index)?)));
        let here = rules.filter(|(_, rule)| is_one_of(&rule.hosts, target.host));
        let rules = here.clone().filter(|(_, rule)| rule.allows_form(asked));
        let method_matches = |(_, rule): &(usize, &AllowRule)| covers(&rule.methods, target.method);
        let scopes_suffice =
            |(_, rule): &(usize, &AllowRule)| rule.scopes.iter().all(|scope| contains(asked.scopes, scope));
        if let Some((index, _)) = rules.clone().filter(method_matches).find(scopes_suffice) {
            return Ok(index);
        }
        if here.clone().next().is_none() {
            let reason = if collections.contains(target.path) { Reason::CollectionDenied } else { Reason::PathDenied };
            return Err(match matching.is_empty() {
                true => reason.into(),
                false => Deny::new(reason).with_note("the rules that have this path are for other hosts"),
            });
        }
        let Some(first) = rules.clone().next() else {
            return Err(match asked.upgrade {
                None if target.method != CONNECT => Deny::new(Reason::PathDenied)
                    .with_note("the rules that have this path allow upgrades alone; \"plain\": true would allow plain requests, too"),
                _ => Reason::UpgradeDenied.into(),
            });
        };
        let by_method = rules.clone().find(method_matches);
        let lacking = by_method.or_else(|| match rules.clone().find(scopes_suffice) {
            Some(_) => None,
            None => Some(first),
        });
        if let Some((_, rule)) = lacking {
            return Err(Deny::new(Reason::InsufficientScope).with_remedy(Remedy::Scopes(rule.scopes.clone())));
        }
        let methods = self.allowed_methods(target, rules.filter(scopes_suffice).map(|(_, rule)| rule));
        if methods.is_empty() {
            return Err(Reason::PathDenied.into());
        }
        Err(Deny::new(Reason::MethodNotAllowed).with_remedy(Remedy::Methods(methods)))
    }

    /// Those of the methods of these rules that nothing denies here.
    fn allowed_methods<'a>(&self, target: Target<'_>, rules: impl Iterator<Item = &'a AllowRule>) -> Vec<String> {
        let listed = rules.flat_map(|rule| rule.methods.iter().map(String::as_str));
        let with_head = listed.flat_map(|listed| [Some(listed), Some(method::HEAD).filter(|_| listed == method::GET)]);
        let allowed = with_head.flatten().filter(|method| *method != CONNECT);
        let allowed = allowed.filter(|method| self.deny.entry(Target { method, ..target }).is_none());
        let mut methods: Vec<String> = Vec::new();
        for method in allowed {
            if !contains(&methods, method) {
                methods.push(method.to_owned());
            }
        }
        methods
    }
}

impl AllowRule {
    /// A tunnel must be listed by its method, an upgrade by its protocol; and a rule that lists upgrades is about them alone, unless
    /// it says otherwise.
    fn allows_form(&self, asked: Asked<'_>) -> bool {
        if asked.target.method == CONNECT && !contains(&self.methods, CONNECT) {
            return false;
        }
        match asked.upgrade {
            Some(protocol) => contains(&self.upgrades, protocol),
            None => self.upgrades.is_empty() || self.plain,
        }
    }
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{CanonicalPath, Entry, LetterCase, PathPattern, PathRules};

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
        deny.insert(&[pattern("/a/secret/**")], Entry::default());
        deny.insert(&[pattern("/a/frozen")], Entry { methods: strings(&["POST"]), ..Entry::default() });
        Profile {
            allow_paths: patterns(&rules.iter().map(|rule| rule.0).collect::<Vec<_>>()),
            allow: rules
                .iter()
                .map(|(_, methods, scopes, upgrades)| AllowRule {
                    methods: strings(methods),
                    scopes: strings(scopes),
                    upgrades: strings(upgrades),
                    ..AllowRule::default()
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
            target: Target {
                method,
                path: &CanonicalPath::parse(path.as_bytes(), PathRules::default()).unwrap(),
                host: None,
            },
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
            target: Target {
                method: "DELETE",
                path: &CanonicalPath::parse(b"/a", PathRules::default()).unwrap(),
                host: None,
            },
            upgrade: None,
            scopes: &[],
        };
        let deny = profile.authorize(asked, &PatternSet::default()).unwrap_err();
        assert_eq!(deny.remedy, Remedy::Methods(strings(&["PUT", "GET", "HEAD"])));
    }
}
