//! The decision, step by step: 400 before 401 before 403 before 405 before 429, so that a stranger learns nothing
//! about rules.

use std::rc::Rc;

use crate::config::Policy;
use crate::decision::{Allow, Binding, Decision, Deny, ForwardedCert, Reason, Rule};
use crate::identity::Recognised;
use crate::memory::Memory;
use crate::policy::method::CONNECT;
use crate::policy::{Asked, CanonicalPath, Mode, ProfileId, Target, UnverifiedAuthorization};
use crate::presented::Asking;
use crate::proxy::{Proxy, seconds};
use crate::request::{Claimed, Request};
use crate::token::{self, Claims, Credentials, PresentedToken};
use crate::token_alone;

/// Decides about one request.
pub fn decide(policy: &Policy, memory: &Memory, request: &Request<'_>, proxy: &dyn Proxy) -> Decision {
    let mut decision = Decision { enforcement: policy.enforcement, ..Decision::failed(Reason::InternalError.into()) };
    let asking = Asking::new(policy, memory, request, proxy);
    decision.verdict = authorize(&asking, &mut decision);
    if decision.refusal().is_none() && decision.forwarded_cert == ForwardedCert::Unknown {
        decision.forwarded_cert = asking.fate_of_header(decision.certificate.as_deref());
    }
    asking.connection.leave();
    decision
}

/// What is found out on the way goes into `found`, so that a refusal can say whom it met.
fn authorize(asking: &Asking<'_>, found: &mut Decision) -> Result<Allow, Deny> {
    let Asking { policy, memory, request, proxy, .. } = *asking;
    // 400: what cannot be read in exactly one way.
    let method = request.method(&policy.methods)?;
    if !policy.upstream_headers.keeps_overrides {
        request.check_overrides(method)?;
    }
    let path = CanonicalPath::parse(request.path()?, policy.path)
        .map_err(|error| Deny::new(Reason::PathMalformed).with_detail(error.as_str()))?;
    found.path = Some(path.as_str().to_owned());
    let host = if policy.names_hosts { request.host() } else { None };
    let target = Target { method, path: &path, host: host.as_ref() };
    let upgrade = request.upgrade();
    if upgrade.is_none()
        && method != CONNECT
        && let Some((index, entry)) = policy.bypass.entry(target)
    {
        found.removes_token = entry.unverified == UnverifiedAuthorization::Remove;
        return Ok(Allow { rule: Rule::Bypass(index) });
    }
    let claimed = request.claimed()?;
    let credentials = match policy.uses_tokens {
        true if request.has_query_token() => {
            return Err(Deny::new(Reason::AuthorizationMalformed)
                .with_detail("A token belongs into the Authorization header, not into the query."));
        }
        true => token::credentials(&request.authorization)?,
        false => Credentials::Absent,
    };

    let now = seconds(proxy.now()?);
    found.time = Some(now);
    let mut token = PresentedToken::new(&policy.token, memory, proxy, now, credentials)?;

    // 401: the certificate, then the token, then whether they belong together.
    let needs_binding = policy.required_paths.contains(&path);
    let presented = asking.certificate(now)?;
    found.forwarded_cert = presented.forwarded;
    let missing = || Deny { note: presented.note.clone(), ..Deny::new(Reason::CertificateMissing) };
    let client = match presented.seen.as_deref() {
        Some(seen) => {
            found.caller.thumbprint = Some(seen.certificate.thumbprint);
            found.certificate = Some(Rc::clone(&seen.certificate));
            if let Err(deny) = asking.may_be_used(seen, now) {
                // Whose it was, so that the record alone says whom to call.
                if let (Reason::CertificateRevoked, Ok(resolved)) = (deny.reason, &seen.resolved) {
                    found.caller.identity = Some(Rc::clone(&resolved.identity));
                    found.caller.client = resolved.client.clone().ok();
                }
                return Err(deny);
            }
            let resolved = seen.resolved.clone()?;
            found.caller.identity = Some(resolved.identity);
            resolved.client
        }
        None if needs_binding || !policy.accepts_tokens_alone => return Err(missing()),
        None => {
            let claims = token.claims().map_err(|deny| match policy.mode {
                // Only a token could have told that the caller's profile is a more lenient one.
                Mode::Mtls | Mode::BearerPlusMtlsRequired if deny.reason == Reason::TokenMissing => missing(),
                _ => deny,
            })?;
            found.caller.token_thumbprint = claims.confirmation.thumbprint();
            // Without a certificate a bound token is refused whatever else it says.
            claims.confirmation.check(None)?;
            let client = sole_client(&claims).and_then(|client_id| policy.identities.named(client_id));
            if let Ok(client) = &client {
                token_alone::is_enough(policy, memory, &client.client_id, proxy, now)?;
            }
            client
        }
    };
    let profile = client.as_ref().map_err(Deny::clone).and_then(|client| {
        found.caller.client = Some(Rc::clone(client));
        choose_profile(policy, client, claimed)
    });
    let chosen = profile.as_ref().ok().and_then(|id| policy.profiles.get(*id));
    let mode = chosen.map_or(policy.mode, |profile| profile.mode);
    if let Some(profile) = chosen {
        found.caller.profile_id = Some(Rc::clone(&profile.name));
        found.enforcement = profile.enforcement;
    }
    if found.certificate.is_none() && mode != Mode::BearerPlusMtlsOptional {
        return Err(missing());
    }
    let claims = match mode {
        Mode::Mtls => None,
        Mode::BearerPlusMtlsRequired | Mode::BearerPlusMtlsOptional => Some(token.claims()?),
    };
    found.caller.token_thumbprint = claims.as_ref().and_then(|claims| claims.confirmation.thumbprint());
    let bound = claims.as_ref().map(|claims| claims.confirmation.check(found.caller.thumbprint)).transpose()?;
    let binding = match bound {
        None => Binding::Certificate,
        Some(true) => Binding::Bound,
        Some(false) if mode == Mode::BearerPlusMtlsOptional && !needs_binding => Binding::Bearer,
        Some(false) => return Err(Reason::SenderBindingMissing.into()),
    };
    found.caller.binding = Some(binding);

    // 403: who it is, then what it may do. 405 and 429 come last.
    let client = client?;
    check_claimed(policy, &client, claimed)?;
    if let Some(claims) = &claims {
        check_token_client(policy, &client, claims)?;
    }
    let profile = policy.profiles.get(profile?).ok_or(Reason::InternalError)?;
    if !profile.source_networks.is_empty() {
        asking.connection.check_source(&profile.source_networks, policy.source_address)?;
    }
    let asked = Asked {
        target,
        upgrade: upgrade.as_deref(),
        scopes: claims.as_ref().map_or(&[], |claims| claims.scopes.as_slice()),
    };
    let rule = profile.authorize(asked, &policy.profiles.collections)?;
    if let Some(limit) = profile.rate_limit {
        limit.take(proxy, policy.scope, &profile.name, &client.client_id)?;
    }
    found.removes_token = claims.is_none() && profile.unverified == UnverifiedAuthorization::Remove;
    Ok(Allow { rule: Rule::Profile(rule) })
}

/// The client that a token names: its claims must agree.
fn sole_client(claims: &Claims) -> Result<&str, Deny> {
    match claims.clients.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(first),
        Some(_) => Err(Deny::new(Reason::ClientProfileMismatch).with_note("the token's client claims differ")),
        None => Err(Deny::new(Reason::IdentityNotMapped).with_note("the token has none of token.client_id_claims")),
    }
}

fn choose_profile(policy: &Policy, client: &Recognised, claimed: Claimed<'_>) -> Result<ProfileId, Deny> {
    let named = claimed.profile_id.map(|name| {
        std::str::from_utf8(name)
            .ok()
            .and_then(|name| policy.profiles.by_name(name))
            .filter(|profile| client.profiles.contains(profile))
            .ok_or_else(|| {
                Deny::new(Reason::ClientProfileMismatch)
                    .with_note("X-Profile-ID names a profile that the client does not have")
            })
    });
    match (named, client.profiles.as_slice()) {
        (Some(named), _) => named,
        (None, [only]) => Ok(*only),
        (None, []) => Err(Deny::new(Reason::ProfileRequired)
            .with_note("the client may use no profile: clients.<id>.profiles is empty or absent, or an unregistered client's mapping has no profile_id")),
        (None, _) => Err(Reason::ProfileRequired.into()),
    }
}

fn check_claimed(policy: &Policy, client: &Recognised, claimed: Claimed<'_>) -> Result<(), Deny> {
    if policy.require_client_headers && (claimed.client_id.is_none() || claimed.profile_id.is_none()) {
        return Err(Reason::ClientHeaderMissing.into());
    }
    match claimed.client_id {
        Some(name) if name != client.client_id.as_bytes() => Err(Reason::ClientMismatch.into()),
        _ => Ok(()),
    }
}

fn check_token_client(policy: &Policy, client: &Recognised, claims: &Claims) -> Result<(), Deny> {
    let note = match claims.clients.as_slice() {
        [] if policy.token.claims.client_id_claims.is_empty() => return Ok(()),
        [] => "the token has none of token.client_id_claims; an empty list there turns this check off",
        names if names.iter().all(|name| *name == client.client_id) => return Ok(()),
        _ => "the token names another client than the certificate",
    };
    Err(Deny::new(Reason::ClientProfileMismatch).with_note(note))
}
