//! As much of the contract as the exceptions need, written a second time.

use serde_json::Value;

use super::policies::texts;
use super::pool::Token;

/// The mode in which a profile is.
pub fn mode<'a>(policy: &'a Value, profile: &str) -> &'a str {
    let own = policy["profiles"][profile]["mode"].as_str();
    own.or(policy["mode"].as_str()).unwrap_or("bearer_plus_mtls_required")
}

/// Is a profile in shadow?
pub fn is_shadow(policy: &Value, profile: &str) -> bool {
    let own = policy["profiles"][profile]["enforcement"].as_str();
    own.or(policy["enforcement"].as_str()) == Some("shadow")
}

/// Is a canonical path one of `binding.required_paths`, however it is written?
pub fn is_required(policy: &Value, path: &str) -> bool {
    is_restricted(policy, &texts(&policy["binding"]["required_paths"]), path)
}

/// Does one of these patterns restrict a canonical path, however both are written?
pub fn is_restricted(policy: &Value, patterns: &[String], path: &str) -> bool {
    let ignore_case = policy["path"]["restrictions"] == "ignore_case";
    let read = |text: &str| {
        let text = decoded(text);
        if ignore_case { text.to_lowercase() } else { text }
    };
    patterns.iter().any(|pattern| {
        let pattern = read(pattern);
        let path = read(path);
        // Parameters are of the path or they are not.
        let bare: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
        [path.clone(), bare.join("/")].iter().any(|path| covers(&segments(&pattern), &segments(path)))
    })
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

fn decoded(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let (number, behind) = after.split_at(2);
        decoded.push(char::from(u8::from_str_radix(number, 16).unwrap()));
        rest = behind;
    }
    decoded + rest
}

fn covers(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", more @ ..], _) => (0..=path.len()).any(|skipped| covers(more, &path[skipped..])),
        ([one, more @ ..], [segment, behind @ ..]) => (*one == "*" || one == segment) && covers(more, behind),
        _ => false,
    }
}

/// Can a template make this text?
fn can_make(template: &str, text: &str) -> bool {
    match (template.split_once('{'), template.split_once('}')) {
        (Some((before, _)), Some((_, behind))) => {
            text.len() > before.len() + behind.len() && text.starts_with(before) && text.ends_with(behind)
        }
        _ => template == text,
    }
}

/// The mappings that can give a certificate to this client.
pub fn mappings<'a>(policy: &'a Value, client: &str) -> Vec<&'a Value> {
    let listed = &policy["clients"][client];
    // SPEC 18.3: a client with identities of its own is out of their reach, unless it says otherwise.
    if !listed["identities"].is_null() && listed["mappings"] != true {
        return Vec::new();
    }
    let mappings = policy["identity"]["mappings"].as_array().into_iter().flatten();
    mappings.filter(|mapping| can_make(mapping["client_id"].as_str().unwrap(), client)).collect()
}

/// Is this the only profile that the caller can be in: the only one of its client, or the one that a mapping gives it?
pub fn is_only_profile(policy: &Value, client: &str, profile: &str, by_certificate: bool) -> bool {
    let listed = texts(&policy["clients"][client]["profiles"]);
    let given = |mapping: &&Value| mapping["profile_id"].as_str().is_some_and(|template| can_make(template, profile));
    listed == [profile] || (by_certificate && mappings(policy, client).iter().any(given))
}

/// Is this the one client that a token names?
pub fn is_named(policy: &Value, token: Token, client: &str) -> bool {
    let claims = &policy["token"]["client_id_claims"];
    let claims = if claims.is_null() { vec!["client_id".to_owned(), "azp".to_owned()] } else { texts(claims) };
    let known = texts(&policy["clients"][client]["token_client_ids"]);
    let names = token.names(&claims);
    let is_client =
        |name: &&str| if known.is_empty() { *name == client } else { known.iter().any(|known| known == name) };
    !names.is_empty() && names.iter().all(is_client)
}

/// Why a token alone must not reach this profile of this client, if there is a reason.
pub fn not_by_token_alone(policy: &Value, client: &str, profile: &str, path: &str) -> Option<&'static str> {
    let listed = &policy["clients"][client];
    let revoked = texts(&policy["revocation"]["identities"]);
    let thumbprints = texts(&policy["revocation"]["sha256"]);
    let is_revoked = |name: &String| {
        revoked.contains(name)
            || name.strip_prefix("sha256:").is_some_and(|name| thumbprints.iter().any(|known| known == name))
    };
    let identities = texts(&listed["identities"]);
    [
        (!listed.is_object(), "by token alone although the client is not registered"),
        (
            mode(policy, profile) != super::policies::OPTIONAL,
            "by token alone although the profile is not of mode optional",
        ),
        (
            !texts(&listed["profiles"]).iter().any(|known| known == profile),
            "by token alone although the profile is not in the client's list",
        ),
        (!listed["issuers"].is_null(), "by token alone although the client has a pinned issuer"),
        (
            mappings(policy, client).iter().any(|mapping| !mapping["profile_id"].is_null()),
            "by token alone although a mapping with a profile can name the client",
        ),
        (
            mappings(policy, client).iter().any(|mapping| !mapping["principal"].is_null()),
            "by token alone although a mapping with a principal can name the client",
        ),
        (
            mappings(policy, client).iter().any(|mapping| !mapping["match"]["issuer"].is_null()),
            "by token alone although a mapping with an issuer can name the client",
        ),
        (
            !identities.is_empty() && identities.iter().all(is_revoked),
            "by token alone although every known certificate of the client is revoked",
        ),
        (is_required(policy, path), "by token alone although the path is a required path"),
    ]
    .iter()
    .find(|(holds, _)| *holds)
    .map(|(_, reason)| *reason)
}
