//! Profiles: what a client may do.

use std::collections::HashMap;
use std::rc::Rc;

use ipnet::IpNet;

use super::entries::{PathEntries, Target, is_one_of};
use super::host::HostPattern;
use super::method::{self, CONNECT, covers};
use super::mode::Mode;
use super::path::CanonicalPath;
use super::pattern::{PathPattern, PatternSet};
use super::rate_limit::RateLimit;
use super::unverified::UnverifiedAuthorization;
use crate::decision::{Deny, Enforcement, Reason, Remedy};
use crate::line::{Excerpt, listed};

/// A profile's place in [`Profiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProfileId(usize);

/// All profiles, and the collections that their rules may name.
#[derive(Debug, Default)]
pub struct Profiles {
    list: Vec<Profile>,
    by_name: HashMap<Rc<str>, ProfileId>,
    /// The paths of every collection.
    pub collections: Collections,
}

/// `collections`
#[derive(Debug, Default)]
pub struct Collections {
    /// Values are indices into `names`.
    paths: PatternSet,
    names: Vec<String>,
}

impl Collections {
    /// Adds a collection.
    pub fn insert(&mut self, name: String, patterns: &[PathPattern]) {
        patterns.iter().for_each(|pattern| self.paths.insert(pattern, self.names.len()));
        self.names.push(name);
    }

    /// The name of the first collection that has this path.
    fn of(&self, path: &CanonicalPath<'_>) -> Option<&str> {
        self.names.get(self.paths.lowest(path, |_| true)?).map(String::as_str)
    }
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
    pub fn authorize(&self, asked: Asked<'_>, collections: &Collections) -> Result<usize, Deny> {
        let target = asked.target;
        if let Some((index, _)) = self.deny.entry(target) {
            let note = format!("profiles.{}.deny[{index}] has {} {}", self.name, target.method, shown(target));
            return Err(Deny::new(Reason::PathDenied).with_note(note));
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
            return Err(self.no_rule(target, &matching, collections));
        }
        let Some(first) = rules.clone().next() else {
            return Err(self.no_form(asked, here.map(|(_, rule)| rule)));
        };
        let by_method = rules.clone().find(method_matches);
        let lacking = by_method.or_else(|| match rules.clone().find(scopes_suffice) {
            Some(_) => None,
            None => Some(first),
        });
        if let Some((index, rule)) = lacking {
            let scopes: Vec<Excerpt<'_>> = asked.scopes.iter().map(|scope| Excerpt(scope.as_bytes())).collect();
            return Err(Deny::new(Reason::InsufficientScope)
                .with_remedy(Remedy::Scopes(rule.scopes.clone()))
                .with_note(format!(
                    "profiles.{}.allow[{index}] needs the scopes {}, and the token has {}",
                    self.name,
                    listed(&rule.scopes),
                    listed(&scopes)
                )));
        }
        let methods = self.allowed_methods(target, rules.filter(scopes_suffice).map(|(_, rule)| rule));
        if methods.is_empty() {
            let note = format!(
                "entries of profiles.{}.deny have every method that its allow rules have for {}",
                self.name,
                shown(target)
            );
            return Err(Deny::new(Reason::PathDenied).with_note(note));
        }
        let note = format!(
            "the method is {}, and for {} the allow rules of profiles.{} have {}",
            target.method,
            shown(target),
            self.name,
            listed(&methods)
        );
        Err(Deny::new(Reason::MethodNotAllowed).with_remedy(Remedy::Methods(methods)).with_note(note))
    }

    /// The refusal where no rule has the path at the host; `matching` have the path.
    fn no_rule(&self, target: Target<'_>, matching: &[usize], collections: &Collections) -> Deny {
        let (name, path) = (&self.name, shown(target));
        let collection = collections.of(target.path);
        let reason = if collection.is_some() { Reason::CollectionDenied } else { Reason::PathDenied };
        let other_hosts = matching.iter().filter_map(|index| self.allow.get(*index)).flat_map(|rule| &rule.hosts);
        Deny::new(reason).with_note(match (matching, target.host, collection) {
            ([_, ..], Some(host), _) => format!(
                "the rules of profiles.{name}.allow that have {path} are for {}, and the host is {}",
                listed(&other_hosts.collect::<Vec<_>>()),
                Excerpt(host.to_string().as_bytes())
            ),
            ([_, ..], None, _) => {
                format!("the rules of profiles.{name}.allow that have {path} name hosts, and the request names none")
            }
            ([], _, Some(collection)) => {
                format!("{path} belongs to collections.{collection}, which no rule of profiles.{name}.allow has")
            }
            ([], _, None) => format!("no rule of profiles.{name}.allow has {path}"),
        })
    }

    /// The refusal where these rules have the path, and none allows a request of this form.
    fn no_form<'a>(&self, asked: Asked<'_>, rules: impl Iterator<Item = &'a AllowRule>) -> Deny {
        let (name, path) = (&self.name, shown(asked.target));
        let upgrades: Vec<&str> = rules.flat_map(|rule| &rule.upgrades).map(String::as_str).collect();
        match asked.upgrade {
            None if asked.target.method != CONNECT => Deny::new(Reason::PathDenied).with_note(format!(
                "the rules of profiles.{name}.allow that have {path} allow the upgrades {} alone; \"plain\": true would allow plain requests, too",
                listed(&upgrades)
            )),
            _ if asked.target.method == CONNECT => Deny::new(Reason::UpgradeDenied).with_note(format!(
                "the method is CONNECT, and no rule of profiles.{name}.allow that has {path} lists it, or not with this upgrade"
            )),
            upgrade => Deny::new(Reason::UpgradeDenied).with_note(format!(
                "the upgrade is {}, and the rules of profiles.{name}.allow that have {path} list {}",
                Excerpt(upgrade.unwrap_or_default().as_bytes()),
                listed(&upgrades)
            )),
        }
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

/// The path in a note.
fn shown(target: Target<'_>) -> String {
    Excerpt(target.path.as_str().as_bytes()).to_string()
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Entry, LetterCase, PathRules};

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
        let mut collections = Collections::default();
        collections.insert("c".to_owned(), &[PathPattern::parse("/c/**", PathRules::default()).unwrap()]);
        profile.authorize(asked, &collections).map_err(|deny| deny.reason)
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
        let deny = profile.authorize(asked, &Collections::default()).unwrap_err();
        assert_eq!(deny.remedy, Remedy::Methods(strings(&["PUT", "GET", "HEAD"])));
    }
}
