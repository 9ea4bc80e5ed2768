//! The decision, step by step: 400 before 401 before 403 before 405 before 429, so that a stranger learns nothing
//! about rules.

use std::rc::Rc;

use crate::config::Policy;
use crate::decision::{Allow, Binding, Decision, Deny, ForwardedCert, Reason, Rule};
use crate::identity::{Recognised, Shared};
use crate::inventory;
use crate::line::Excerpt;
use crate::memory::{Memory, Seen};
use crate::policy::method::CONNECT;
use crate::policy::{Asked, CanonicalPath, Mode, ProfileId, Target, UnverifiedAuthorization};
use crate::presented::Asking;
use crate::proxy::{Proxy, seconds};
use crate::request::{Claimed, Request, without_query};
use crate::token::{self, Claims, Confirmation, Credentials, PresentedToken};
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
    let sent = request.path()?;
    let path = CanonicalPath::parse(sent, policy.path).map_err(|error| {
        let note = format!("{} Found {}.", error.as_str(), Excerpt(without_query(sent)));
        Deny::new(Reason::PathMalformed).with_detail(error.as_str()).with_note(note)
    })?;
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

    // 401: the certificate, then the token, then whether they belong together. Without a certificate only the token says whether one
    // is needed.
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
                    found.caller.client = match &resolved.shared {
                        None => resolved.client.clone().ok(),
                        Some(shared) => choose_client(asking, seen, shared, claimed, &mut token).ok(),
                    };
                }
                return Err(deny);
            }
            let resolved = seen.resolved.clone()?;
            found.caller.identity = Some(resolved.identity);
            match &resolved.shared {
                None => resolved.client,
                Some(shared) => match choose_client(asking, seen, shared, claimed, &mut token) {
                    Err(deny) if deny.reason.status() != 403 => return Err(deny),
                    Err(deny) if deny.reason == Reason::ClientHeaderMissing => resolved.client,
                    client => client,
                },
            }
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
            let client = sole_client(policy, &claims).and_then(|client_id| policy.identities.named(client_id));
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
    token.check_form()?;
    let claims = match mode {
        Mode::Mtls => None,
        Mode::BearerPlusMtlsRequired | Mode::BearerPlusMtlsOptional => Some(token.claims()?),
    };
    found.caller.token_thumbprint = claims.as_ref().and_then(|claims| claims.confirmation.thumbprint());
    let bound = claims.as_ref().map(|claims| {
        let checked = claims.confirmation.check(found.caller.thumbprint);
        checked.map_err(|deny| bound_elsewhere(asking, found, claims, deny))
    });
    let bound = bound.transpose()?;
    let binding = match bound {
        None => Binding::Certificate,
        Some(true) => Binding::Bound,
        Some(false) if mode == Mode::BearerPlusMtlsOptional && !needs_binding => Binding::Bearer,
        Some(false) => return Err(Reason::SenderBindingMissing.into()),
    };
    found.caller.binding = Some(binding);

    // 403: who it is, then what it may do. 405 and 429 come last.
    let client = client?;
    check_claimed(policy, &client, claimed, mode)?;
    if let Some(claims) = &claims {
        check_token_client(policy, &client, claims)?;
    }
    let unknown = || Deny::new(Reason::InternalError).with_note("the client's profile is none of the policy's");
    let profile = policy.profiles.get(profile?).ok_or_else(unknown)?;
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

/// The names that the token has for its client: each claim of `token.client_id_claims` that is there.
fn client_claims<'a>(policy: &'a Policy, claims: &'a Claims) -> impl Iterator<Item = (&'a str, &'a str)> {
    let claimed = policy.token.claims.client_id_claims.iter().zip(&claims.clients);
    claimed.filter_map(|(claim, name)| Some((claim.as_str(), name.as_deref()?)))
}

/// The same for the operator.
fn shown(policy: &Policy, claims: &Claims) -> String {
    let shown = client_claims(policy, claims).map(|(claim, name)| format!("{claim} {}", Excerpt(name.as_bytes())));
    shown.collect::<Vec<_>>().join(", ")
}

/// The client that a token names: its claims must agree.
fn sole_client<'a>(policy: &'a Policy, claims: &'a Claims) -> Result<&'a str, Deny> {
    let clients = &policy.identities.registry;
    let mut names = client_claims(policy, claims).map(|(_, name)| clients.client_in_token(name));
    match names.next() {
        None => Err(Deny::new(Reason::IdentityNotMapped).with_note("the token has none of token.client_id_claims")),
        Some(first) if !names.all(|other| other == first) => Err(Deny::new(Reason::ClientProfileMismatch)
            .with_note(format!("the token's client claims differ: {}", shown(policy, claims)))),
        Some(Some(client)) => Ok(client),
        Some(None) => Err(Deny::new(Reason::IdentityNotMapped).with_note(format!(
            "the token names no client: {}, and that client lists other names in token_client_ids",
            shown(policy, claims)
        ))),
    }
}

/// One of the clients that share a certificate: the one that X-Client-ID names, otherwise the one that the token names.
fn choose_client(
    asking: &Asking<'_>,
    seen: &Seen,
    shared: &Shared,
    claimed: Claimed<'_>,
    token: &mut PresentedToken<'_>,
) -> Result<Rc<Recognised>, Deny> {
    let Asking { policy, proxy, .. } = *asking;
    let sharer = |name: &str| policy.identities.sharer((shared, &seen.certificate), name, proxy);
    if let Some(name) = claimed.client_id {
        let client = str::from_utf8(name).ok().and_then(sharer);
        return client.unwrap_or_else(|| {
            let note =
                format!("X-Client-ID is {}, which is none of the clients that share the certificate", Excerpt(name));
            Err(Deny::new(Reason::ClientMismatch).with_note(note))
        });
    }
    let claims = match policy.uses_tokens {
        true => token.claims().map(Some),
        false => Ok(None),
    };
    match claims {
        Ok(Some(claims)) if client_claims(policy, &claims).next().is_some() => {
            let client = sole_client(policy, &claims).ok().map(sharer);
            client.flatten().unwrap_or_else(|| {
                let claims = shown(policy, &claims);
                let note =
                    format!("the token names none of the clients that share the certificate, or several: {claims}");
                Err(Deny::new(Reason::ClientProfileMismatch).with_note(note))
            })
        }
        Err(deny) if deny.reason != Reason::TokenMissing => Err(deny),
        Ok(_) | Err(_) => Err(Reason::ClientHeaderMissing.into()),
    }
}

/// Is the token bound to another certificate of the client's? For the operator: a renewal is no theft.
#[inline(never)]
fn bound_elsewhere(asking: &Asking<'_>, found: &Decision, claims: &Claims, deny: Deny) -> Deny {
    let (Confirmation::Certificate(bound), Some(client)) = (claims.confirmation, found.caller.client_id()) else {
        return deny;
    };
    if deny.reason != Reason::SenderBindingMismatch {
        return deny;
    }
    let seen = inventory::find(asking.proxy, &inventory::table(Some(asking.policy)), client).ok().flatten();
    deny.with_note(match seen.is_some_and(|entry| entry.good().any(|known| known == bound)) {
        true => format!(
            "the token is bound to the client's previous certificate ({bound}), which this process has seen: a renewal, not a theft; the \
             client must get a new token with the certificate that it presents"
        ),
        false => format!("the token is bound to a certificate ({bound}) that this process does not know of the client"),
    })
}

fn choose_profile(policy: &Policy, client: &Recognised, claimed: Claimed<'_>) -> Result<ProfileId, Deny> {
    let profiles = || {
        let names: Vec<&str> = client
            .profiles
            .iter()
            .take(8)
            .filter_map(|id| policy.profiles.get(*id))
            .map(|profile| &*profile.name)
            .collect();
        names.join(", ")
    };
    let named = claimed.profile_id.map(|name| {
        std::str::from_utf8(name)
            .ok()
            .and_then(|name| policy.profiles.by_name(name))
            .filter(|profile| client.profiles.contains(profile))
            .ok_or_else(|| {
                Deny::new(Reason::ClientProfileMismatch).with_note(format!(
                    "X-Profile-ID is {}, and the profiles of the client {:?} are: {}",
                    Excerpt(name),
                    client.client_id,
                    profiles()
                ))
            })
    });
    match (named, client.profiles.as_slice()) {
        (Some(named), _) => named,
        (None, [only]) => Ok(*only),
        (None, []) => Err(Deny::new(Reason::ProfileRequired)
            .with_note("the client may use no profile: clients.<id>.profiles is empty or absent, or an unregistered client's mapping has no profile_id")),
        (None, _) => Err(Deny::new(Reason::ProfileRequired)
            .with_note(format!("the request has no X-Profile-ID, and the client has several profiles: {}", profiles()))),
    }
}

fn check_claimed(policy: &Policy, client: &Recognised, claimed: Claimed<'_>, mode: Mode) -> Result<(), Deny> {
    let missing = match claimed {
        Claimed { client_id: None, profile_id: None } => "X-Client-ID and X-Profile-ID",
        Claimed { client_id: None, .. } => "X-Client-ID",
        Claimed { profile_id: None, .. } => "X-Profile-ID",
        Claimed { .. } => "",
    };
    if policy.require_client_headers && !missing.is_empty() {
        let note = format!("the request has no {missing} (require_client_headers)");
        return Err(Deny::new(Reason::ClientHeaderMissing).with_note(note));
    }
    match claimed.client_id {
        Some(name) if name != client.client_id.as_bytes() => {
            let note = format!("X-Client-ID is {}, and the client is {:?}", Excerpt(name), client.client_id);
            Err(Deny::new(Reason::ClientMismatch).with_note(note))
        }
        // No token counts there, so that none can choose the client either.
        None if client.shares_certificate && mode == Mode::Mtls => Err(Deny::new(Reason::ClientHeaderMissing)
            .with_note("the certificate is that of several clients, and in mode mtls X-Client-ID must name one")),
        _ => Ok(()),
    }
}

fn check_token_client(policy: &Policy, client: &Recognised, claims: &Claims) -> Result<(), Deny> {
    let expected = policy.token.claims.client_id_claims.as_slice();
    let clients = &policy.identities.registry;
    let is_client = |(_, name)| clients.client_in_token(name) == Some(client.client_id.as_str());
    let mut names = client_claims(policy, claims).peekable();
    let note = match names.peek().is_some() {
        false if expected.is_empty() && !client.shares_certificate => return Ok(()),
        false if expected.is_empty() => {
            "the certificate is that of several clients, and without token.client_id_claims no token can name one"
                .to_owned()
        }
        false => format!(
            "the token has none of token.client_id_claims ({}); an empty list there turns this check off",
            expected.join(", ")
        ),
        true if names.all(is_client) => return Ok(()),
        true => {
            let (claims, client) = (shown(policy, claims), &client.client_id);
            format!(
                "the token names another client than the certificate: found {claims}, expected {client:?} or its token_client_ids"
            )
        }
    };
    Err(Deny::new(Reason::ClientProfileMismatch).with_note(note))
}
