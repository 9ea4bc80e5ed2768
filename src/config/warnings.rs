//! What is legal and means nothing, or means less than its writer may think. It is logged when the configuration is accepted.

use super::error::{ConfigError, MAX_ERRORS};
use super::raw::RawToken;
use crate::identity::{Identities, Template};
use crate::policy::{AllowRule, Profiles};

/// What was found so far, as many as errors are told.
#[derive(Default)]
pub(super) struct Warnings(pub Vec<ConfigError>);

impl Warnings {
    /// Is there room for another one?
    pub fn has_room(&self) -> bool {
        self.0.len() < MAX_ERRORS
    }

    #[inline(never)]
    pub fn add(&mut self, path: String, problem: &str) {
        if self.has_room() {
            self.0.push(ConfigError { path, problem: problem.to_owned() });
        }
    }

    /// A rule of a profile.
    #[inline(never)]
    pub fn of_rule(&mut self, path: &str, rule: &AllowRule) {
        let names = |list: &[String], wanted: &str| list.iter().any(|name| name == wanted);
        if names(&rule.upgrades, "websocket") && !rule.methods.is_empty() && !names(&rule.methods, "GET") {
            let problem =
                "found no GET beside the upgrade websocket, expected GET, which is the method of every such request";
            self.add(format!("{path}.methods"), problem);
        }
    }

    /// Settings for tokens, where no request needs one.
    #[inline(never)]
    pub fn of_token(&mut self, raw: &RawToken) {
        let is_set = !raw.issuers.is_empty()
            || !raw.audiences.is_empty()
            || raw.jwks.is_some()
            || raw.jwks_uri.is_some()
            || raw.providers.is_some()
            || raw.algorithms.is_some()
            || raw.metadata.is_some();
        if is_set {
            self.add(
                "token".to_owned(),
                "found it where every mode is mtls, expected another \"mode\": no token is looked at",
            );
        }
    }

    /// Clients without identities that can do nothing. Each comes with whether it has profiles.
    #[inline(never)]
    pub fn of_clients(&mut self, clients: Vec<(String, bool)>, identities: &Identities, accepts_tokens_alone: bool) {
        for (id, has_profiles) in clients {
            let is_named = || identities.mappings.iter().any(|mapping| mapping.client_id.may_make(&id));
            let problem = if !has_profiles {
                "found no \"profiles\", expected those that a mapping or a token may use, or [] to disable the client"
            } else if !accepts_tokens_alone && !is_named() {
                "found neither \"identities\" nor a mapping that names this client, expected one of them: no certificate is \
                 this client's"
            } else {
                continue;
            };
            self.add(format!("clients.{id}"), problem);
        }
    }

    /// Profiles that allow nothing, or that no request has.
    #[inline(never)]
    pub fn of_profiles(&mut self, profiles: &Profiles, identities: &Identities) {
        for profile in profiles.iter().filter(|profile| profile.allow.is_empty()) {
            let problem =
                "found no rule in \"allow\", expected at least one: every request with this profile is refused";
            self.add(format!("profiles.{}.allow", profile.name), problem);
        }
        for profile in profiles.iter() {
            let is_made = |template: &Template| template.may_make(&profile.name);
            let is_mapped = identities.mappings.iter().any(|mapping| mapping.profile_id.as_ref().is_some_and(is_made));
            let is_named = |id| identities.registry.named_profiles().any(|named| named == id);
            if self.has_room() && !is_mapped && !profiles.by_name(&profile.name).is_some_and(is_named) {
                let problem = "found a profile that neither a client nor a mapping names, expected one that does: it is never used";
                self.add(format!("profiles.{}", profile.name), problem);
            }
        }
    }
}
