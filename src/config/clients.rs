//! `clients`: the registry.
//!
//! Read straight into it, while the rest of the configuration is read, so that there is never another copy of 100,000
//! clients beside the configuration itself. What they name is checked when all of it is known.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::str::FromStr;

use super::authorities::issuer_expected;
use super::certificate::THUMBPRINT_EXPECTED;
use super::error::MAX_ERRORS;
use super::explain::repeated_key;
use super::raw::Raw;
use super::value::{Document, Inside};
use super::{ConfigError, label, one_of};
use crate::certificate::{DistinguishedName, Thumbprint};
use crate::identity::{Authorities, Draft, NameKind, Registry, SpiffeId, claims_spiffe};
use crate::policy::Profiles;

/// An empty list would silently hand the client over to mappings.
const NO_IDENTITIES: &str = "at least one identity; leave the key out if mappings alone name the client, and say \"profiles\": [] to disable it";
pub(super) const DN_EXPECTED: &str =
    "an RFC 4514 name such as CN=acme,O=Example (as `openssl x509 -noout -subject -nameopt RFC2253` prints it)";

/// Reads a whole configuration: the clients, and all the rest.
#[inline(never)]
pub(super) fn read(text: Rc<String>) -> Result<(Raw, Clients), ConfigError> {
    let document = Document::new(&text);
    let mut clients = Clients {
        configuration: Rc::clone(&text),
        draft: Draft::new(Rc::clone(&text)),
        without_profile: None,
        without_identities: Vec::new(),
    };
    let mut known = document.value().known(Raw::KEYS);
    let mut members = document.value().inside(b'{', "an object");
    while let Some(member) = members.member(&mut known) {
        match member.key() {
            "clients" => clients.read(&mut members)?,
            _ => member.value = Some(members.value()),
        }
    }
    members.ends();
    let raw = Raw::of(known);
    document.check()?;
    Ok((raw, clients))
}

/// The clients that were read.
pub(super) struct Clients {
    configuration: Rc<String>,
    draft: Draft,
    /// The first that has identities and no profile.
    without_profile: Option<String>,
    /// The first of those that only a mapping can name, unless they are disabled, and whether they have a profile.
    pub without_identities: Vec<(String, bool)>,
}

/// A client as it is written.
#[derive(Default)]
struct RawClient<'a> {
    identities: TextList<'a>,
    issuers: TextList<'a>,
    profiles: TextList<'a>,
    principal: Option<Cow<'a, str>>,
    mappings: Option<bool>,
    token_client_ids: TextList<'a>,
    shared_identities: Option<bool>,
}

impl<'a> RawClient<'a> {
    #[inline(never)]
    fn read(members: &mut Inside<'a>) -> Self {
        let mut known = members.here().known([
            "identities",
            "issuers",
            "profiles",
            "principal",
            "mappings",
            "token_client_ids",
            "shared_identities",
        ]);
        let mut client = Self::default();
        if !members.opens(b'{', "an object") {
            return client;
        }
        while let Some(member) = members.member(&mut known) {
            match member.key() {
                "identities" => client.identities.read(members),
                "issuers" => client.issuers.read(members),
                "profiles" => client.profiles.read(members),
                "principal" => client.principal = Some(members.text()),
                "mappings" => client.mappings = Some(members.value().flag()),
                "token_client_ids" => client.token_client_ids.read(members),
                _ => client.shared_identities = Some(members.value().flag()),
            }
        }
        client
    }
}

/// A list of texts. Most have one, which is kept without an allocation.
#[derive(Default)]
struct TextList<'a> {
    /// Is the key there, be the list empty?
    is_given: bool,
    first: Option<Cow<'a, str>>,
    rest: Vec<Cow<'a, str>>,
}

impl<'a> TextList<'a> {
    #[inline(never)]
    fn read(&mut self, members: &mut Inside<'a>) {
        self.is_given = members.opens(b'[', "a list");
        while self.is_given && members.entry() {
            let text = members.text();
            match self.first {
                None => self.first = Some(text),
                Some(_) => self.rest.push(text),
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.first.iter().chain(&self.rest).map(|text| &**text)
    }
}

impl Clients {
    /// What they were read from, whole.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    fn read(&mut self, members: &mut Inside<'_>) -> Result<(), ConfigError> {
        if !members.opens(b'{', "an object") {
            return Ok(());
        }
        while let Some(id) = members.key() {
            let client = RawClient::read(members);
            members.check()?;
            self.add(&id, &client)?;
        }
        Ok(())
    }

    fn add(&mut self, id: &str, client: &RawClient<'_>) -> Result<(), ConfigError> {
        let path = |key: &str, index: usize| format!("clients.{id}.{key}[{index}]");
        label(format_args!("clients.{id}"), id)?;
        let principal = client.principal.as_deref();
        if let Some(principal) = principal {
            label(format_args!("clients.{id}.principal"), principal)?;
        }
        if !self.draft.add(id, principal) {
            return Err(ConfigError { path: format!("clients.{id}"), problem: repeated_key(id) });
        }
        for (key, list, expected) in [
            ("identities", &client.identities, NO_IDENTITIES),
            ("issuers", &client.issuers, "at least one name; leave the key out for any issuer"),
            ("token_client_ids", &client.token_client_ids, "at least one name; leave the key out for the client's own"),
        ] {
            if list.is_given && list.is_empty() {
                let none: [&str; 0] = [];
                return Err(ConfigError::new(format!("clients.{id}.{key}"), none, expected));
            }
        }
        if client.mappings == Some(false) && client.identities.is_empty() {
            let expected =
                "no such key: mappings alone can name a client without identities; \"profiles\": [] disables it";
            return Err(ConfigError::new(format!("clients.{id}.mappings"), false, expected));
        }
        if client.shared_identities.is_some() && client.identities.is_empty() {
            let expected = "no such key beside no `identities`: there is nothing to share";
            return Err(ConfigError::new(
                format!("clients.{id}.shared_identities"),
                client.shared_identities,
                expected,
            ));
        }
        if client.mappings == Some(true) {
            self.draft.allow_mappings();
        }
        if client.shared_identities == Some(true) {
            self.draft.share_identities();
        }
        if !client.profiles.is_given && !client.identities.is_empty() {
            self.without_profile.get_or_insert_with(|| id.to_owned());
        }
        let is_disabled = client.profiles.is_given && client.profiles.is_empty();
        if client.identities.is_empty() && !is_disabled && self.without_identities.len() < MAX_ERRORS {
            self.without_identities.push((id.to_owned(), !client.profiles.is_empty()));
        }
        for (index, name) in client.profiles.iter().enumerate() {
            if !self.draft.add_profile(name) {
                return Err(ConfigError::new(path("profiles", index), name, "each profile only once"));
            }
        }
        for (index, text) in client.issuers.iter().enumerate() {
            // What is no distinguished name may be that of an authority.
            let name = DistinguishedName::parse(text).map(|name| spelled(text, name.to_string()));
            if !self.draft.add_issuer(&name.unwrap_or(Cow::Borrowed(text))) {
                return Err(ConfigError::new(path("issuers", index), text, "each issuer only once"));
            }
        }
        for (index, name) in client.token_client_ids.iter().enumerate() {
            let added = match name {
                "" => Err("a name that is not empty".to_owned()),
                name => self.draft.add_token_client_id(name).map_err(|owner| match owner == id {
                    true => "each name only once".to_owned(),
                    false => format!("a name by which tokens mean one client only; client {owner:?} lists it, too"),
                }),
            };
            added.map_err(|expected| ConfigError::new(path("token_client_ids", index), name, expected))?;
        }
        for (index, text) in client.identities.iter().enumerate() {
            let identity =
                canonical(text).map_err(|expected| ConfigError::new(path("identities", index), text, expected))?;
            self.draft.add_identity(&identity).map_err(|owner| {
                let expected = match owner == id {
                    true => format!("each identity only once; this is {identity:?} again"),
                    false => format!(
                        "an identity that no other client has; client {owner:?} has it (if both are to have it, \
                         \"shared_identities\": true in each)"
                    ),
                };
                ConfigError::new(path("identities", index), text, expected)
            })?;
        }
        Ok(())
    }

    /// The registry, if everything that the clients name is there.
    pub(super) fn check(
        self,
        authorities: &Authorities,
        profiles: &Profiles,
        precedence: &[NameKind],
        trust_domains: &[String],
        thumbprints_alone: bool,
    ) -> Result<Registry, ConfigError> {
        let one_of_profiles =
            |found: &str| one_of(found, "profile", &mut profiles.iter().map(|profile| &*profile.name));
        if let Some(id) = self.without_profile {
            let problem = format!("found no such key, expected {}; [] if it may do nothing", one_of_profiles(""));
            return Err(ConfigError { path: format!("clients.{id}.profiles"), problem });
        }
        let draft = self.draft;
        let mut known = Vec::new();
        for (number, name) in draft.profiles().enumerate() {
            known.push(profiles.by_name(name).ok_or_else(|| {
                let (id, index) = draft.first_with_profile(number);
                ConfigError::new(format!("clients.{id}.profiles[{index}]"), name, one_of_profiles(name))
            })?);
        }
        // Neighbours mostly have the same issuer.
        let mut last = None;
        for (number, issuer) in draft.issuers().enumerate() {
            let is_known = || authorities.number(issuer).is_some() || DistinguishedName::parse(issuer).is_some();
            if last != Some(issuer) && !is_known() {
                let (id, index) = draft.with_issuer(number);
                let expected = issuer_expected(issuer, authorities);
                return Err(ConfigError::new(format!("clients.{id}.issuers[{index}]"), issuer, expected));
            }
            last = Some(issuer);
        }
        if let Some((id, index, name)) = draft.ambiguous_token_client_id() {
            let expected = format!(
                "a name by which tokens mean one client only; they mean client {name:?}, which has no token_client_ids"
            );
            return Err(ConfigError::new(format!("clients.{id}.token_client_ids[{index}]"), name, expected));
        }
        for (number, identity) in draft.identities().enumerate() {
            let usable = match thumbprints_alone && !identity.starts_with("sha256:") {
                true => Err(THUMBPRINT_EXPECTED),
                false => usable(identity, precedence, trust_domains),
            };
            usable.map_err(|expected| {
                let (id, index) = draft.whose(number);
                ConfigError::new(format!("clients.{id}.identities[{index}]"), identity, expected)
            })?;
        }
        Ok(draft.finish(known))
    }
}

/// A typed identity, in the spelling in which it is looked up.
pub(super) fn identity(text: &str, precedence: &[NameKind], trust_domains: &[String]) -> Result<String, &'static str> {
    let identity = canonical(text)?;
    usable(&identity, precedence, trust_domains).map(|()| identity.into_owned())
}

/// The spelling in which an identity is looked up.
pub(super) fn canonical(text: &str) -> Result<Cow<'_, str>, &'static str> {
    let named = |name: &str| !name.is_empty() && !name.chars().any(char::is_control);
    if text.starts_with("spiffe:") {
        return SpiffeId::trust_domain_of(text)
            .map(|_| Cow::Borrowed(text))
            .ok_or("a valid SPIFFE ID such as spiffe://prod.example/ns/pay/sa/api");
    }
    match text.split_once(':') {
        Some(("dns", name)) if named(name) => Ok(spelled(text, text.to_ascii_lowercase())),
        Some(("cn", name)) if named(name) => Ok(Cow::Borrowed(text)),
        Some(("email", name)) if named(name) && name.contains('@') => Ok(Cow::Borrowed(text)),
        Some(("uri", uri)) if named(uri) && uri.contains(':') => match claims_spiffe(uri) {
            true => Err("spiffe://… without uri: in front of it"),
            false => Ok(Cow::Borrowed(text)),
        },
        Some(("ip", address)) => IpAddr::from_str(address)
            .map(|address| spelled(text, format!("ip:{address}")))
            .map_err(|_| "ip: and one IPv4 or IPv6 address, such as ip:192.0.2.1 or ip:2001:db8::1"),
        Some(("sha256", hash)) => thumbprint(hash)
            .map(|thumbprint| spelled(text, format!("sha256:{}", thumbprint.to_hex())))
            .ok_or("sha256: and 64 hexadecimal digits or 43 characters of base64url"),
        Some(("subject", name)) => {
            DistinguishedName::parse(name).map(|name| spelled(text, format!("subject:{name}"))).ok_or(DN_EXPECTED)
        }
        _ => Err(
            "a typed identity: spiffe://…, uri:… (with the scheme of the URI), dns:…, ip:…, cn:…, email:…, sha256:… or subject:…",
        ),
    }
}

/// An identity that could never match is a mistake.
fn usable(identity: &str, precedence: &[NameKind], trust_domains: &[String]) -> Result<(), &'static str> {
    let kind = if let Some(rest) = identity.strip_prefix("spiffe://") {
        let within = |domain: &String| rest.strip_prefix(domain).is_some_and(|path| path.starts_with('/'));
        if !trust_domains.is_empty() && !trust_domains.iter().any(within) {
            return Err("a trust domain that identity.trust_domains lists");
        }
        NameKind::UriSan
    } else if identity.starts_with("dns:") {
        NameKind::DnsSan
    } else if identity.starts_with("cn:") {
        NameKind::SubjectCn
    } else {
        return Ok(());
    };
    if precedence.contains(&kind) { Ok(()) } else { Err("a kind of name that identity.precedence lists") }
}

/// A canonical spelling; what was written itself, where that is it.
fn spelled(written: &str, canonical: String) -> Cow<'_, str> {
    if canonical == written { Cow::Borrowed(written) } else { Cow::Owned(canonical) }
}

pub(super) fn thumbprint(text: &str) -> Option<Thumbprint> {
    Thumbprint::from_hex(text).or_else(|| Thumbprint::from_base64url(text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fmt::Write;

    use proptest::prelude::*;

    use crate::config::{ConfigErrors, Policy};

    /// A client as a test makes it up. Names are few, so that many stand twice.
    #[derive(Debug, Clone)]
    struct Made {
        id: String,
        identities: Vec<String>,
        profiles: Vec<usize>,
        mappings: bool,
        principal: Option<String>,
        escaped: bool,
    }

    fn made() -> impl Strategy<Value = Made> {
        let identity = prop_oneof![
            "cn:[a-c\u{e9}]{1,4}",
            "email:[a-c]{1,2}@[ab]",
            "dns:[a-cA-C]{1,4}",
            "spiffe://td/[a-c]{1,4}",
            "subject:CN=[ab]{1,2},[oO]=x",
        ];
        let parts = (
            "[a-e]{1,2}",
            prop::collection::vec(identity, 0..3),
            prop::collection::vec(0..3_usize, 0..4),
            any::<bool>(),
            prop::option::of("[a-c]{1,3}"),
            any::<bool>(),
        );
        parts.prop_map(|(id, identities, profiles, mappings, principal, escaped)| Made {
            id,
            identities,
            profiles,
            mappings,
            principal,
            escaped,
        })
    }

    fn string(text: &str, escaped: bool) -> String {
        let mut json = String::from("\"");
        for character in text.chars() {
            if escaped {
                write!(json, "\\u{:04x}", u32::from(character)).unwrap();
            } else {
                json.push(character);
            }
        }
        json + "\""
    }

    fn list(texts: impl Iterator<Item = String>, escaped: bool) -> String {
        format!("[{}]", texts.map(|text| string(&text, escaped)).collect::<Vec<_>>().join(","))
    }

    fn read(clients: &[Made]) -> Result<Policy, ConfigErrors> {
        let written = clients.iter().map(|client| {
            let escaped = client.escaped;
            let principal = client.principal.as_ref().map(|text| format!(r#","principal":{}"#, string(text, escaped)));
            let identities = list(client.identities.iter().cloned(), escaped);
            let identities = format!(r#","identities":{identities}"#);
            format!(
                r#"{}:{{{}"profiles":{}{}{}}}"#,
                string(&client.id, escaped),
                // Without identities it would say nothing.
                match (client.mappings, client.identities.is_empty()) {
                    (true, _) => r#""mappings":true,"#,
                    (false, false) => r#""mappings":false,"#,
                    (false, true) => "",
                },
                list(client.profiles.iter().map(|number| format!("p{number}")), escaped),
                if client.identities.is_empty() { "" } else { &identities },
                principal.unwrap_or_default(),
            )
        });
        let written = written.collect::<Vec<_>>().join(",");
        Policy::from_json(format!(r#"{{"clients":{{{written}}},"profiles":{{"p0":{{}},"p1":{{}},"p2":{{}}}}}}"#))
    }

    /// As it is looked up.
    fn canonical(identity: &str) -> String {
        match identity.split_once(':') {
            Some(("dns", _)) => identity.to_ascii_lowercase(),
            Some(("subject", _)) => identity.replace(",o=", ",O="),
            _ => identity.to_owned(),
        }
    }

    proptest! {
        #[test]
        fn the_registry_agrees_with_plain_maps(clients in prop::collection::vec(made(), 0..12)) {
            let mut by_id = HashMap::new();
            let mut owners: HashMap<String, String> = HashMap::new();
            let mut wrong = None;
            for client in &clients {
                if by_id.insert(client.id.clone(), client.clone()).is_some() {
                    wrong = wrong.or(Some(format!("clients.{}", client.id)));
                }
                for (index, profile) in client.profiles.iter().enumerate() {
                    if client.profiles[..index].contains(profile) {
                        wrong = wrong.or(Some(format!("clients.{}.profiles[{index}]", client.id)));
                    }
                }
                for (index, identity) in client.identities.iter().enumerate() {
                    if owners.insert(canonical(identity), client.id.clone()).is_some() {
                        wrong = wrong.or(Some(format!("clients.{}.identities[{index}]", client.id)));
                    }
                }
            }
            let policy = match (read(&clients), wrong) {
                (Ok(policy), None) => policy,
                (read, wrong) => {
                    prop_assert_eq!(read.err().map(|problem| problem.path.clone()), wrong);
                    return Ok(());
                }
            };
            let registry = &policy.identities.registry;
            for (id, made) in &by_id {
                let client = registry.by_id(id).unwrap();
                let named = |number: &usize| policy.profiles.by_name(&format!("p{number}")).unwrap();
                prop_assert_eq!((client.id(), client.principal()), (id.as_str(), made.principal.as_deref()));
                prop_assert!(client.profiles().eq(made.profiles.iter().map(named)));
                prop_assert_eq!(client.may_be_mapped(), made.mappings || made.identities.is_empty());
            }
            for (identity, owner) in &owners {
                prop_assert_eq!(registry.by_identity(identity).unwrap().0.id(), owner);
            }
            prop_assert!(registry.by_id("f").is_none() && registry.by_identity("cn:d").is_none());
        }
    }

    #[test]
    fn a_name_is_the_same_however_it_is_spelled() {
        let twice = Policy::from_json(r#"{"clients": {"acme": {}, "\u0061cme": {}}}"#).unwrap_err();
        assert_eq!(twice.to_string(), r#"clients.acme: found the key "acme" again, expected each key once"#);
        let json = r#"{"\u0063lients": {"\u0061cme": {"issuers": ["cn=\u0061"]}}}"#;
        let policy = Policy::from_json(json).unwrap();
        let client = policy.identities.registry.by_id("acme").unwrap();
        assert!(client.issuers().eq(["CN=a"]));
    }
}
