//! The configuration: JSON in, a [`Policy`] out that cannot be invalid, or all its errors, which say where and what.

mod authorities;
mod bypass;
mod certificate;
mod clients;
mod collect;
mod error;
mod explain;
mod fetch;
mod headers;
mod location;
mod mappings;
mod nearest;
mod profiles;
mod raw;
mod revocation;
mod rules;
mod token;
mod value;
mod walk;
mod warnings;
mod words;

pub use error::{ConfigError, ConfigErrors};
pub use raw::AuditLog;
pub use revocation::read_feed;

use std::fmt;
use std::mem;
use std::rc::Rc;
use std::string::FromUtf8Error;

use prost::Message;
use serde_json::Value;

use crate::bounds;
use crate::certificate::{ExtendedKeyUsage, Validation};
use crate::decision::Enforcement;
use crate::identity::{Authorities, Identities, NameKind, is_trust_domain};
use crate::policy::{Methods, Mode, PathEntries, PathRules, PatternSet, Profile, Profiles, Scope, SourceAddress};
use crate::presented::Forwarding;
use crate::protobuf::Struct;
use crate::revocation::Revocation;
use crate::token::TokenRules;
use crate::upstream::UpstreamHeaders;
use clients::Clients;
use explain::did_you_mean;
use raw::{OverrideHeaders, Raw, RawIdentity};
use rules::Around;
use value::Seen;
use warnings::Warnings;

/// A whole configuration, checked and compiled.
#[derive(Debug)]
pub struct Policy {
    /// The user's own label for this version.
    pub policy_id: Option<String>,
    /// The user's name for all versions of it.
    pub policy_name: Option<String>,
    /// Under which what it counts lies in what all policies of the process share.
    pub scope: Scope,
    /// What a caller must present where no profile says otherwise.
    pub mode: Mode,
    /// Whether refusals are carried out where no profile says otherwise.
    pub enforcement: Enforcement,
    /// How it is known that Envoy verified a certificate.
    pub validation: Validation,
    /// How certificates are forwarded, where they do not come from the connection alone.
    pub forwarding: Option<Forwarding>,
    /// Seconds by which a certificate may be early or late.
    pub clock_skew: i64,
    /// The purpose that an extended key usage must have.
    pub extended_key_usage: ExtendedKeyUsage,
    /// From certificates to clients.
    pub identities: Identities,
    /// Are `X-Client-ID` and `X-Profile-ID` mandatory?
    pub require_client_headers: bool,
    /// What clients may do.
    pub profiles: Profiles,
    /// The methods that it may list.
    pub methods: Methods,
    /// Does any rule look at the host?
    pub names_hosts: bool,
    /// What needs nothing.
    pub bypass: PathEntries,
    /// Where the optional mode is as strict as the required one; they restrict.
    pub required_paths: PatternSet,
    /// Tokens.
    pub token: TokenRules,
    /// Which certificates may not be used any more.
    pub revocation: Revocation,
    /// How paths are read.
    pub path: PathRules,
    /// Whose word is taken for the caller's address.
    pub source_address: SourceAddress,
    /// What the upstream is told.
    pub upstream_headers: UpstreamHeaders,
    /// What is logged.
    pub audit_log: AuditLog,
    /// Is it decided beside another one, without any effect?
    pub is_candidate: bool,
    /// The policy that is decided beside this one (`candidate`), or what is wrong with it.
    pub candidate: Option<Result<Box<Policy>, ConfigErrors>>,
    /// What is legal and unwise, in the form of errors; 20 at most.
    pub warnings: Vec<ConfigError>,
    /// Can any request need a token?
    pub uses_tokens: bool,
    /// Can a token suffice without a certificate, for some client at least?
    pub accepts_tokens_alone: bool,
}

/// What stands before the places of a candidate's settings in messages.
const CANDIDATE: &str = "candidate.";

impl Policy {
    /// What stands before the places of its settings in messages.
    pub const fn place(&self) -> &'static str {
        if self.is_candidate { CANDIDATE } else { "" }
    }

    /// Reads a configuration as Envoy hands it over: JSON text for a `StringValue` (and from Istio), a serialized
    /// `google.protobuf.Struct` for a `Struct`.
    ///
    /// # Errors
    /// What is wrong with it, each by its JSON path.
    pub fn read(configuration: Vec<u8>) -> Result<Self, ConfigErrors> {
        // The two cannot be confused: a member of a Struct begins with 0x0a, which in JSON text is a line's end, and
        // needs another byte (0x12, its value) that JSON text never holds.
        let object = match configuration.first() {
            Some(0x0a) => Struct::decode(configuration.as_slice()).ok(),
            _ => None,
        };
        match object {
            Some(object) if configuration.contains(&0x12) => {
                drop(configuration);
                Self::from_json(Value::Object(object.into_json()).to_string())
            }
            _ => Self::from_json(configuration),
        }
    }

    /// Reads a configuration in JSON.
    ///
    /// # Errors
    /// What is wrong with it, each by its JSON path.
    pub fn from_json(json: impl Into<Vec<u8>>) -> Result<Self, ConfigErrors> {
        Self::from_bytes(json.into())
    }

    // Once in the module, and not for each type of text.
    #[inline(never)]
    fn from_bytes(json: Vec<u8>) -> Result<Self, ConfigErrors> {
        let text = String::from_utf8(json).map_err(|problem| not_utf8(&problem))?;
        let (mut policy, candidate) = collect::read(text)?;
        policy.candidate = candidate.map(Self::candidate);
        Ok(policy)
    }

    /// Reads the candidate of a policy. It has none itself.
    fn candidate(json: String) -> Result<Box<Self>, ConfigErrors> {
        let (mut policy, inner) = collect::read(json).map_err(|errors| errors.inside(CANDIDATE))?;
        if inner.is_some() {
            let problem = "found a candidate of a candidate, expected one policy beside the one in force".to_owned();
            return Err(ConfigError { path: format!("{CANDIDATE}candidate"), problem }.into());
        }
        policy.is_candidate = true;
        policy.scope = policy.scope.of_candidate();
        Ok(Box::new(policy))
    }

    /// Reads a configuration up to its first error.
    #[inline(never)]
    fn once(text: Rc<String>) -> Result<collect::Read, ConfigError> {
        let (mut raw, clients) = clients::read(text)?;
        let candidate = raw.candidate.take();
        Ok((Self::compile(raw, clients)?, candidate))
    }

    #[inline(never)]
    fn compile(raw: Raw, mut clients: Clients) -> Result<Self, ConfigError> {
        let restrictions = raw.path.restrictions;
        let path = PathRules { encoded_slashes: raw.path.encoded_slashes, semicolons: raw.path.semicolons };
        if let Some(id) = &raw.policy_id {
            label(format_args!("policy_id"), id)?;
        }
        if let Some(name) = &raw.policy_name {
            label(format_args!("policy_name"), name)?;
        }
        let mut warnings = Warnings::default();
        let methods = Methods { additional: rules::additional_methods(raw.methods.additional)? };
        let around = Around {
            mode: raw.mode,
            enforcement: raw.enforcement,
            unverified: raw.unverified_authorization,
            rules: path,
            restrictions,
            methods: &methods,
        };
        let mut restricted = Vec::new();
        let profiles = profiles::compile(raw.profiles, raw.collections, &around, &mut restricted, &mut warnings)?;
        let required_paths = bypass::required_paths(&raw.binding.required_paths, &around, &mut restricted)?;
        let bypass = bypass::compile(raw.bypass, &around, &restricted)?;
        let names_hosts = bypass.names_hosts() || profiles.iter().any(Profile::names_hosts);
        let any_mode =
            |wanted: fn(Mode) -> bool| wanted(raw.mode) || profiles.iter().any(|profile| wanted(profile.mode));
        let uses_tokens = any_mode(|mode| mode != Mode::Mtls);
        let accepts_tokens_alone = any_mode(|mode| mode == Mode::BearerPlusMtlsOptional);
        if !uses_tokens {
            warnings.of_token(&raw.token);
        }
        if !accepts_tokens_alone && !raw.binding.required_paths.is_empty() {
            let problem = "found it where no mode is bearer_plus_mtls_optional, expected that \"mode\": in every other one \
                all paths need a certificate";
            warnings.add("binding.required_paths".to_owned(), problem);
        }
        let thumbprints_alone = certificate::forwards_unverified(&raw.certificate);
        let scope = match &raw.policy_name {
            Some(name) => Scope::named(name),
            // It takes longer than reading a large registry.
            None if profiles.iter().any(|profile| profile.rate_limit.is_some()) => {
                Scope::anonymous(clients.configuration())
            }
            None => Scope::default(),
        };
        let authorities = authorities::compile(raw.authorities)?;
        let unnamed = mem::take(&mut clients.without_identities);
        let identities = identities(raw.identity, authorities, clients, &profiles, thumbprints_alone)?;
        warnings.of_clients(unnamed, &identities, accepts_tokens_alone);
        warnings.of_profiles(&profiles, &identities);
        let mut upstream_headers = headers::compile(raw.upstream_headers)?;
        upstream_headers.strip = headers::strip(&raw.strip_headers)?;
        upstream_headers.keeps_overrides = raw.override_headers == OverrideHeaders::Keep;
        upstream_headers.decides_by_host = names_hosts;
        let validation = raw.certificate.validation;
        let clock_skew = tolerance("certificate.clock_skew_seconds", raw.certificate.clock_skew_seconds)?;
        let extended_key_usage = raw.certificate.extended_key_usage;
        let forwarding = certificate::forwarding(raw.certificate, &identities, &upstream_headers)?;
        upstream_headers.reserve(forwarding.as_ref().map(|forwarding| forwarding.header.clone()));
        if forwarding.is_some() && raw.source_address == SourceAddress::Direct {
            no_source_networks(&profiles)?;
        }
        // Before tokens: of these the last error cannot be taken out.
        let revocation = revocation::compile(raw.revocation)?;
        Ok(Self {
            policy_id: raw.policy_id,
            policy_name: raw.policy_name,
            is_candidate: false,
            candidate: None,
            scope,
            mode: raw.mode,
            enforcement: raw.enforcement,
            validation,
            forwarding,
            clock_skew,
            extended_key_usage,
            identities,
            require_client_headers: raw.require_client_headers,
            profiles,
            methods,
            names_hosts,
            bypass,
            required_paths,
            token: token::compile(raw.token, accepts_tokens_alone)?,
            revocation,
            warnings: warnings.0,
            path,
            source_address: raw.source_address,
            upstream_headers,
            audit_log: raw.audit.log,
            uses_tokens,
            accepts_tokens_alone,
        })
    }
}

fn identities(
    raw: RawIdentity,
    authorities: Authorities,
    clients: Clients,
    profiles: &Profiles,
    thumbprints_alone: bool,
) -> Result<Identities, ConfigError> {
    let precedence = raw.precedence.unwrap_or_else(|| vec![NameKind::UriSan, NameKind::DnsSan, NameKind::SubjectCn]);
    if precedence.is_empty() {
        return Err(ConfigError::new(
            "identity.precedence",
            precedence,
            "at least one of uri_san, dns_san, subject_cn",
        ));
    }
    distinct("identity.precedence", &precedence, |_| "")?;
    for (index, domain) in raw.trust_domains.iter().enumerate() {
        if !is_trust_domain(domain) {
            let path = format!("identity.trust_domains[{index}]");
            return Err(ConfigError::new(
                path,
                domain,
                "a SPIFFE trust domain such as prod.example (lower case, no scheme)",
            ));
        }
    }
    let registry = clients.check(&authorities, profiles, &precedence, &raw.trust_domains, thumbprints_alone)?;
    let mappings = mappings::compile(raw.mappings, &authorities, &registry, profiles, raw.allow_unregistered)?;
    if thumbprints_alone {
        mappings::check_thumbprints(&mappings)?;
    }
    Ok(Identities {
        precedence,
        trust_domains: raw.trust_domains,
        mappings,
        allow_unregistered: raw.allow_unregistered,
        authorities,
        registry,
    })
}

/// Behind a proxy that forwards certificates the direct address is that proxy's.
fn no_source_networks(profiles: &Profiles) -> Result<(), ConfigError> {
    match profiles.iter().find(|profile| !profile.source_networks.is_empty()) {
        None => Ok(()),
        Some(profile) => Err(ConfigError {
            path: format!("profiles.{}.source_cidrs", profile.name),
            problem: "found it with forwarded certificates, where the direct peer is the proxy in front, expected \"source_address\": \
                      \"envoy\" beside it (and an Envoy that takes the address from no other proxy than that)"
                .to_owned(),
        }),
    }
}

/// Seconds by which clocks may differ. More is no difference of clocks, but a longer life for what has expired.
fn tolerance(path: &str, seconds: u32) -> Result<i64, ConfigError> {
    const MAX: u32 = 300;
    if seconds > MAX {
        return Err(ConfigError::new(path, seconds, format!("at most {MAX} seconds, by which clocks may differ")));
    }
    Ok(i64::from(seconds))
}

/// No entry equals an earlier one. Only entries with the same text are compared, because lists can be long.
fn distinct<T: PartialEq>(path: &str, list: &[T], text: fn(&T) -> &str) -> Result<(), ConfigError> {
    let mut seen = Seen::default();
    for (index, entry) in list.iter().enumerate() {
        if seen.has(text(entry)) && list.iter().take(index).any(|other| other == entry) {
            let problem = "found an entry again, expected each once".to_owned();
            return Err(ConfigError { path: format!("{path}[{index}]"), problem });
        }
    }
    Ok(())
}

/// A name or an ARN: it stands in headers, records and metrics.
fn label(path: fmt::Arguments<'_>, text: &str) -> Result<(), ConfigError> {
    let fits = !text.is_empty()
        && text.len() <= bounds::NAME
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && !text.starts_with(' ')
        && !text.ends_with(' ');
    if fits {
        Ok(())
    } else {
        Err(ConfigError::new(path.to_string(), text, "1 to 256 visible ASCII characters, no space at either end"))
    }
}

#[cold]
#[inline(never)]
fn not_utf8(problem: &FromUtf8Error) -> ConfigError {
    let place = problem.utf8_error().valid_up_to();
    ConfigError {
        path: location::path_to(problem.as_bytes(), place),
        problem: format!("found bytes that are not UTF-8, expected text (byte {place} of the configuration)"),
    }
}

/// "the name of a profile: a, b", for an unknown name.
#[cold]
#[inline(never)]
fn one_of(found: &str, what: &str, names: &mut dyn Iterator<Item = &str>) -> String {
    const MAX_NAMES: usize = 10;
    const MAX_COMPARED: usize = 1000;
    let mut names: Vec<&str> = names.take(MAX_COMPARED).collect();
    if names.is_empty() {
        return format!("the name of a {what}, and there is none");
    }
    let hint = did_you_mean(found, &mut names.iter().copied());
    let more = names.len() > MAX_NAMES;
    names.truncate(MAX_NAMES);
    format!("the name of a {what}: {}{}{hint}", names.join(", "), if more { ", …" } else { "" })
}
