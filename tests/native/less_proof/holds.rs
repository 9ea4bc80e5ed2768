//! What holds for everything that is allowed, by the text of the policy alone: no restriction is without effect.

use std::net::IpAddr;

use ipnet::IpNet;
use mtls_authz::{Binding, Decision, Rule};
use serde_json::Value;

use super::policies::{MTLS, REQUIRED, texts};
use super::pool::{Bound, Cert, Defect, Token};
use super::requests::Ask;
use super::{Scene, model};

/// Everything that the policy asks of a request that it allows.
///
/// # Errors
/// What was allowed all the same.
pub fn for_every_allow(scene: &Scene, ask: &Ask, decision: &Decision) -> Result<(), &'static str> {
    let policy = &scene.json;
    let (method, host) = (ask.header(":method").concat(), ask.header(":authority").concat());
    let covers = |entry: &Value| covers_method(&entry["methods"], &method) && covers_host(&entry["hosts"], &host);
    let (profile, rule) = match decision.verdict.as_ref().map(|allow| allow.rule) {
        Err(_) => return Ok(()),
        Ok(Rule::Bypass(index)) => {
            let upgrade = !ask.header("upgrade").is_empty() && !ask.header("connection").is_empty();
            let unlike = upgrade || !covers(&policy["bypass"][index]);
            return fails(&[(unlike, "a bypass that is for other requests")]);
        }
        Ok(Rule::Profile(index)) => {
            let profile = decision.caller.profile_id.as_deref().unwrap_or_default();
            (profile, &policy["profiles"][profile]["allow"][index])
        }
    };
    let path = decision.path.as_deref().unwrap_or("/");
    let scopes: Vec<&str> = ask.token.scope.split(' ').collect();
    let denied = policy["profiles"][profile]["deny"].as_array().into_iter().flatten().any(|entry| {
        let named = entry["collection"].as_str().map(|name| texts(&policy["collections"][name]));
        let paths =
            entry.as_str().map(|path| vec![path.to_owned()]).or(named).unwrap_or_else(|| texts(&entry["paths"]));
        model::is_restricted(policy, &paths, path) && covers_method(&entry["methods"], &method)
    });
    let networks = texts(&policy["profiles"][profile]["source_cidrs"]);
    fails(&[
        (!covers(rule), "a rule for other methods or hosts"),
        (
            texts(&rule["scopes"]).iter().any(|scope| !scopes.contains(&scope.as_str())),
            "a rule whose scopes are missing",
        ),
        (denied, "what deny has"),
        (!networks.is_empty() && !is_inside(&networks, ask, policy), "an address that source_cidrs does not have"),
    ])?;
    headers(policy, ask, decision)?;
    certificate(policy, ask, decision)?;
    if model::mode(policy, profile) == MTLS { Ok(()) } else { token(policy, ask.token, decision) }
}

fn headers(policy: &Value, ask: &Ask, decision: &Decision) -> Result<(), &'static str> {
    let client = decision.caller.client_id().unwrap_or_default();
    let profile = decision.caller.profile_id.as_deref().unwrap_or_default();
    let contradicts = |name: &str, value: &str| ask.header(name).iter().any(|claimed| *claimed != value);
    let missing = ask.header("x-client-id").is_empty() || ask.header("x-profile-id").is_empty();
    let listed = &policy["clients"][client];
    fails(&[
        (contradicts("x-client-id", client) || contradicts("x-profile-id", profile), "another than the headers name"),
        (policy["require_client_headers"] == true && missing, "a request without the headers that are required"),
        (listed.is_null() && policy["identity"]["allow_unregistered"] != true, "a client that is not registered"),
        (
            listed.is_object() && !texts(&listed["profiles"]).iter().any(|known| known == profile),
            "a profile that the client does not have",
        ),
    ])
}

fn certificate(policy: &Value, ask: &Ask, decision: &Decision) -> Result<(), &'static str> {
    let client = decision.caller.client_id().unwrap_or_default();
    let thumbprint = decision.caller.thumbprint.map(|thumbprint| thumbprint.to_string());
    let cert = thumbprint.and_then(|thumbprint| Cert::all().into_iter().find(|cert| cert.thumbprint() == thumbprint));
    let presented = ask.connection.map(|presented| presented.cert);
    let by_connection = policy["certificate"]["source"].is_null();
    fails(&[(by_connection && presented != cert, "a certificate that counts as none")])?;
    let Some(cert) = cert else {
        return Ok(());
    };
    let names = cert.names();
    let revocation = &policy["revocation"];
    let by_serial = revocation["serials"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|entry| entry["issuer"] == cert.issuer() && entry["serial"] == cert.serial());
    let by_name = texts(&revocation["identities"]).iter().any(|name| names.contains(name));
    let by_thumbprint = texts(&revocation["sha256"]).contains(&cert.thumbprint());
    let pins = texts(&policy["clients"][client]["issuers"]);
    let domains = texts(&policy["identity"]["trust_domains"]);
    let is_foreign = |name: &String| {
        name.starts_with("spiffe://") && !domains.iter().any(|domain| name.contains(&format!("//{domain}/")))
    };
    // Of a certificate that several clients share the request names one; in mode mtls no token does.
    let clients = policy["clients"].as_object().into_iter().flatten();
    let sharers = clients.filter(|(_, other)| {
        texts(&other["identities"]).iter().any(|name| name.starts_with("subject:") && names.contains(name))
    });
    let sharers: Vec<&str> = sharers.map(|(name, _)| name.as_str()).collect();
    let profile = decision.caller.profile_id.as_deref().unwrap_or_default();
    let by_token = model::mode(policy, profile) != MTLS && model::is_named(policy, ask.token, client);
    let unnamed = ask.header("x-client-id") != [client] && !by_token;
    let unverified = ask.connection.is_some_and(|presented| presented.cert == cert && !presented.verified);
    fails(&[
        (by_serial || by_name || by_thumbprint, "a certificate that is revoked"),
        (sharers.len() > 1 && unnamed, "a client of a shared certificate that the request does not name"),
        (sharers.len() > 1 && !sharers.contains(&client), "a client that does not share the certificate"),
        (
            sharers.len() > 1 && sharers.iter().any(|name| policy["clients"][name]["shared_identities"] != true),
            "a certificate of several clients that do not share it",
        ),
        (
            !pins.is_empty() && !pins.iter().any(|pin| cert.is_issued_by(pin)),
            "a certificate of an issuer that is not pinned",
        ),
        (!domains.is_empty() && names.iter().any(is_foreign), "a certificate of a trust domain that is not listed"),
        (
            unverified && by_connection && policy["certificate"]["validation"] != "listener",
            "a certificate that nobody verified",
        ),
    ])
}

fn token(policy: &Value, token: Token, decision: &Decision) -> Result<(), &'static str> {
    let caller = &decision.caller;
    let profile = caller.profile_id.as_deref().unwrap_or_default();
    let settings = &policy["token"];
    let provider = settings["providers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|provider| provider["issuer"] == json_text(token.issuer));
    let audiences = texts(&provider.unwrap_or(settings)["audiences"]);
    let issuers = texts(&settings["issuers"]);
    let unlisted = |list: &[String], value: Option<&str>| {
        !list.is_empty() && !list.iter().any(|known| Some(known.as_str()) == value)
    };
    let bound = match token.binding {
        Bound::To(cert) => caller.thumbprint.is_some_and(|thumbprint| thumbprint.to_string() == cert.thumbprint()),
        Bound::No | Bound::OtherKind => false,
    };
    let must_be_bound =
        model::mode(policy, profile) == REQUIRED || model::is_required(policy, decision.path.as_deref().unwrap_or("/"));
    let unchecked = settings["client_id_claims"].as_array().is_some_and(Vec::is_empty);
    fails(&[
        (token.defect != Defect::None, "a token that is not good"),
        (!settings["providers"].is_null() && provider.is_none(), "a token of an issuer that is no provider"),
        (unlisted(&issuers, token.issuer), "a token of another issuer"),
        (unlisted(&audiences, token.audience), "a token for another audience"),
        (
            !unchecked && !model::is_named(policy, token, caller.client_id().unwrap_or_default()),
            "a token of another client",
        ),
        (token.binding != Bound::No && !bound, "a token that is bound to something else"),
        (must_be_bound && !bound, "a token that is not bound"),
        ((caller.binding == Some(Binding::Bound)) != bound, "a record of the binding that is wrong"),
    ])
}

fn json_text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

/// `GET` covers `HEAD`, and nothing covers CONNECT that does not name it.
fn covers_method(listed: &Value, method: &str) -> bool {
    let listed = texts(listed);
    let head = method == "HEAD" && listed.iter().any(|known| known == "GET");
    (listed.is_empty() && method != "CONNECT") || head || listed.iter().any(|known| known == method)
}

fn covers_host(listed: &Value, host: &str) -> bool {
    let host = host.to_lowercase();
    let name = host.split(':').next().unwrap_or_default();
    let is_it = |pattern: &String| match pattern.strip_prefix("*.") {
        Some(domain) => name.split_once('.').is_some_and(|(_, behind)| behind == domain),
        None => pattern == name,
    };
    listed.is_null() || texts(listed).iter().any(is_it)
}

fn is_inside(networks: &[String], ask: &Ask, policy: &Value) -> bool {
    let address = if policy["source_address"] == "envoy" { Some("10.1.2.3") } else { ask.address };
    let address: Option<IpAddr> = address.map(|address| address.parse().unwrap());
    let inside = |network: &String| address.is_some_and(|address| network.parse::<IpNet>().unwrap().contains(&address));
    ask.protocol != "HTTP/3" && networks.iter().any(inside)
}

fn fails(conditions: &[(bool, &'static str)]) -> Result<(), &'static str> {
    conditions.iter().find(|(holds, _)| *holds).map_or(Ok(()), |(_, what)| Err(*what))
}
