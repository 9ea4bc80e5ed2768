//! Policies, from a vocabulary that is small enough for things to collide.

use serde_json::{Map, Value, json};

use super::choices::Choices;
use super::language;
use super::pool::{self, ACME, API, AUTH, Cert, LOGIN, OTHER_CA, TEST_CA};
use super::requests::{FORWARDED_HEADER, PROFILES, TRUSTED};

pub const OPTIONAL: &str = "bearer_plus_mtls_optional";
pub const REQUIRED: &str = "bearer_plus_mtls_required";
pub const MTLS: &str = "mtls";
pub const NETWORKS: &[&str] = &["10.1.0.0/16", "10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"];
pub const HOSTS: &[&str] = &["api.example", "*.example", "other.example"];
/// Names of issuers: one of `authorities`, and DNs.
pub const PINS: &[&str] = &["test", TEST_CA, "other", OTHER_CA];
/// What restricts, from the narrow to the wide.
pub const RESTRICTED: &[&str] = &["/pub/secret", "/a/b", "/a/*", "/a/b:c", "/pub/secret/**", "/a/**", "/"];
const GRANTED: &[&str] = &["/**", "/**", "/a/**", "/a", "/a/*", "/a/b", "/pub/**", "/pub/*", "/", "/c"];

pub fn policy(c: &mut Choices) -> Value {
    let mode = c.any(&[OPTIONAL, OPTIONAL, REQUIRED, MTLS]);
    let identity = identity(c);
    let mut policy = json!({
        "mode": mode,
        "identity": identity,
        "token": token(c, mode),
        "collections": {"c": ["/a/**", "/c"], "d": ["/pub/*"]},
    });
    let mut clients = Map::new();
    for client in ["acme", "globex", "initech"] {
        if !c.one_in(6) {
            clients.insert(client.to_owned(), self::client(c, client, &identity));
        }
    }
    let identities: Vec<String> = clients.values().flat_map(|client| texts(&client["identities"])).collect();
    policy["clients"] = Value::Object(clients);
    let shadowed = c.one_in(10);
    for profile in PROFILES {
        policy["profiles"][profile] = self::profile(c, mode, shadowed);
    }
    if shadowed {
        policy["enforcement"] = json!("shadow");
    }
    let required = c.some_of(RESTRICTED, 2);
    if !required.is_empty() {
        policy["binding"] = json!({"required_paths": required});
    }
    for _ in 0..c.mostly(0, &[1, 2]) {
        let bypass = bypass(c);
        push(&mut policy["bypass"], bypass);
    }
    policy["revocation"] = revocation(c, &identities);
    certificate(c, &mut policy);
    settings(c, &mut policy);
    policy
}

fn identity(c: &mut Choices) -> Value {
    let mut identity = json!({});
    if c.one_in(3) {
        identity["precedence"] = c.any(&[
            json!(["subject_cn", "uri_san", "dns_san"]),
            json!(["dns_san", "uri_san", "subject_cn"]),
            json!(["uri_san"]),
            json!(["subject_cn"]),
        ]);
    }
    if c.one_in(4) {
        identity["trust_domains"] = json!(c.at_least_one_of(&["prod.example", "other.example"], 2));
    }
    for _ in 0..c.mostly(0, &[1, 1, 2, 3]) {
        let mapping = mapping(c);
        push(&mut identity["mappings"], mapping);
    }
    if c.one_in(3) {
        identity["allow_unregistered"] = json!(true);
    }
    identity
}

/// What a mapping matches, and the values that its templates may use.
fn mapping(c: &mut Choices) -> Value {
    let (matches, names, units): (Value, &[&str], &[&str]) = match c.below(8) {
        0 => (json!({"subject": {"O": "ExampleCorp", "CN": "{name}", "OU": "{unit}"}}), &["{name}"], &["{unit}"]),
        1 => (json!({"subject": {"O": "ExampleCorp", "OU": "p"}}), &["{subject.CN}"], &["p", "q"]),
        2 => (json!({"subject": {"CN": "{name}"}}), &["{name}"], &["{subject.OU}"]),
        3 => (json!({"dns_san": "{name}.example"}), &["{name}"], &["p"]),
        4 => (json!({"uri_san": "spiffe://prod.example/ns/{ns}/sa/{name}"}), &["{name}"], &["p", "r"]),
        5 => (json!({"issuer": TEST_CA}), &["{subject.CN}"], &["{subject.OU}"]),
        6 => (json!({"email_san": "{name}@mail.example"}), &["{name}"], &["q"]),
        _ if language::has("any_subject_value") => {
            (json!({"subject": {"OU": {"any": "p"}, "CN": "{name}"}}), &["{name}"], &["p", "r"])
        }
        _ => (json!({"sha256": c.any(&Cert::all()).thumbprint()}), &["acme"], &["q"]),
    };
    let mut mapping = json!({"match": matches, "client_id": c.mostly(names[0], &["acme", "globex", "initech"])});
    match c.below(3) {
        0 => {}
        1 => mapping["profile_id"] = json!(c.any(units)),
        _ => mapping["profile_id"] = json!(c.any(PROFILES)),
    }
    if c.one_in(4) {
        mapping["principal"] = json!(c.any(&["arn:example:mapped/x", "arn:example:mapped/{subject.CN}"]));
    }
    mapping
}

fn client(c: &mut Choices, name: &str, identity: &Value) -> Value {
    let mut registered: Vec<String> = match name {
        "acme" => vec![
            ACME.to_owned(),
            "cn:acme".to_owned(),
            "dns:acme.example".to_owned(),
            "email:acme@mail.example".to_owned(),
            format!("sha256:{}", Cert::FIRST.thumbprint()),
        ],
        "globex" => vec![
            "cn:globex".to_owned(),
            "dns:globex.example".to_owned(),
            format!("sha256:{}", Cert::named("globex by CN in q").thumbprint()),
            "spiffe://other.example/ns/pay/sa/acme".to_owned(),
        ],
        _ => vec!["cn:initech".to_owned(), "cn:Initech".to_owned()],
    };
    registered.retain(|name| can_be_registered(name, identity));
    let mut client = json!({});
    let identities = if registered.is_empty() || c.one_in(5) { Vec::new() } else { c.at_least_one_of(&registered, 3) };
    if !identities.is_empty() {
        client["identities"] = json!(identities);
    }
    client["profiles"] = json!(c.at_least_one_of(PROFILES, 3));
    if c.one_in(12) {
        client["profiles"] = json!([]);
    }
    if c.one_in(5) {
        client["issuers"] = json!(c.at_least_one_of(PINS, 2));
    }
    if c.one_in(2) {
        client["principal"] = json!(format!("arn:example:client/{name}"));
    }
    if c.one_in(2) {
        client["mappings"] = json!(true);
    }
    if language::has("shared_identities") && c.one_in(3) {
        client["shared_identities"] = json!(true);
        push(&mut client["identities"], json!("subject:CN=acme,OU=p,O=ExampleCorp"));
    }
    if language::has("token_client_ids") && c.one_in(8) {
        client["token_client_ids"] = c.any(&[json!([format!("{name}-app")]), json!([name, format!("{name}-app")])]);
    }
    client
}

/// A name of a kind that identifies nobody, or of a domain that is not trusted, is an error.
fn can_be_registered(name: &str, identity: &Value) -> bool {
    let kinds = [("spiffe:", "uri_san"), ("cn:", "subject_cn"), ("dns:", "dns_san")];
    let kind = kinds.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, kind)| *kind);
    let precedence = texts(&identity["precedence"]);
    let domains = texts(&identity["trust_domains"]);
    let identifies = |kind| precedence.is_empty() || precedence.iter().any(|known| known == kind);
    let trusted = domains.is_empty() || domains.iter().any(|domain| name.contains(&format!("//{domain}/")));
    kind.is_none_or(|kind| identifies(kind) && (kind != "uri_san" || trusted))
}

fn profile(c: &mut Choices, mode: &str, shadowed: bool) -> Value {
    let mut profile = json!({});
    let own = c.mostly(mode, &[OPTIONAL, REQUIRED, MTLS]);
    if own != mode {
        profile["mode"] = json!(own);
    }
    for _ in 0..1 + c.below(3) {
        let rule = rule(c, own != MTLS);
        push(&mut profile["allow"], rule);
    }
    for _ in 0..c.mostly(0, &[1, 1, 2]) {
        let deny = deny(c);
        push(&mut profile["deny"], deny);
    }
    if c.one_in(6) {
        profile["source_cidrs"] = json!(c.at_least_one_of(NETWORKS, 2));
    }
    if c.one_in(6) {
        profile["rate_limit"] = json!({"requests": c.any(&[2, 1]), "per_seconds": 60});
    }
    if shadowed {
        profile["enforcement"] = c.mostly(Value::Null, &[json!("shadow"), json!("shadow"), json!("enforce")]);
    } else if c.one_in(12) {
        profile["enforcement"] = json!("shadow");
    }
    if profile["enforcement"].is_null() {
        profile.as_object_mut().unwrap().remove("enforcement");
    }
    profile
}

fn rule(c: &mut Choices, scopes: bool) -> Value {
    let mut rule = json!({});
    if c.one_in(5) {
        rule["collection"] = json!(c.any(&["c", "d"]));
    } else {
        rule["paths"] = json!(c.at_least_one_of(GRANTED, 2));
    }
    if c.one_in(3) {
        rule["methods"] = json!(methods(c, true));
    }
    if scopes && c.one_in(4) {
        rule["scopes"] = json!(c.at_least_one_of(&["read", "write"], 2));
    }
    if c.one_in(10) {
        rule["upgrades"] = json!(c.any(&[vec!["websocket"], vec!["h2c"], vec!["websocket", "h2c"]]));
        if c.one_in(2) {
            rule["plain"] = json!(true);
        }
    }
    let tunnel = texts(&rule["methods"]).contains(&"CONNECT".to_owned());
    if tunnel || c.one_in(4) {
        rule["hosts"] = json!(c.at_least_one_of(HOSTS, 2));
    }
    rule
}

fn methods(c: &mut Choices, granting: bool) -> Vec<&'static str> {
    let mut of = vec!["GET", "POST", "DELETE", "HEAD"];
    if granting && c.one_in(6) {
        of.push("CONNECT");
    }
    if c.one_in(6) {
        of.push("PURGE");
    }
    c.at_least_one_of(&of, 2)
}

/// An entry of `deny`.
pub fn deny(c: &mut Choices) -> Value {
    match c.below(4) {
        0 => json!(c.any(RESTRICTED)),
        1 => json!({"collection": c.any(&["c", "d"]), "methods": methods(c, false)}),
        2 => json!({"paths": c.at_least_one_of(RESTRICTED, 2)}),
        _ => json!({"paths": [c.any(RESTRICTED)], "methods": methods(c, false)}),
    }
}

fn bypass(c: &mut Choices) -> Value {
    let mut bypass = json!({"path": c.any(&["/health", "/pub/**", "/pub/*", "/a", "/a/*"])});
    if c.one_in(2) {
        bypass["methods"] = json!(methods(c, false));
    }
    if c.one_in(4) {
        bypass["hosts"] = json!(c.at_least_one_of(HOSTS, 2));
    }
    if c.one_in(3) {
        bypass["even_denied"] = json!(true);
    }
    bypass
}

fn token(c: &mut Choices, mode: &str) -> Value {
    let mut token = json!({"source": "jwks"});
    let jwks = !c.one_in(3);
    if !jwks {
        token["source"] = json!("jwt_authn");
    }
    let audiences: Vec<&str> = if c.one_in(if mode == OPTIONAL { 60 } else { 6 }) {
        Vec::new()
    } else {
        c.any(&[vec![API], vec![API, "https://other.example"]])
    };
    if c.one_in(5) {
        for issuer in [AUTH, LOGIN] {
            let mut provider = json!({"issuer": issuer});
            if !audiences.is_empty() {
                provider["audiences"] = json!(audiences);
            }
            if jwks {
                provider["jwks"] = pool::jwks();
            }
            push(&mut token["providers"], provider);
        }
        if !jwks {
            token["metadata"] = json!({"issuers_bound": true});
        }
    } else {
        if jwks {
            token["jwks"] = pool::jwks();
        }
        if !audiences.is_empty() {
            token["audiences"] = json!(audiences);
        }
        if c.one_in(2) {
            token["issuers"] = json!([AUTH]);
        }
    }
    if c.one_in(4) {
        let claims = [json!(["client_id"]), json!(["azp"]), json!([])];
        token["client_id_claims"] = c.any(if mode == OPTIONAL { &claims[..2] } else { &claims });
    }
    token
}

fn revocation(c: &mut Choices, identities: &[String]) -> Value {
    let mut revocation = json!({});
    if c.one_in(8) {
        let certs = c.at_least_one_of(&Cert::all(), 2);
        revocation["sha256"] = json!(certs.iter().map(|cert| cert.thumbprint()).collect::<Vec<_>>());
    }
    if c.one_in(6) {
        let cert = c.any(&Cert::all());
        revocation["serials"] = json!([{"issuer": cert.issuer(), "serial": cert.serial()}]);
    }
    if !identities.is_empty() && c.one_in(10) {
        let named: Vec<&String> = identities.iter().filter(|name| !name.starts_with("sha256:")).collect();
        let names = if c.one_in(3) { named } else { c.some_of(&named, 2) };
        if !names.is_empty() {
            revocation["identities"] = json!(names);
        }
    }
    revocation
}

fn certificate(c: &mut Choices, policy: &mut Value) {
    let mut certificate = json!({});
    if c.one_in(6) {
        certificate["validation"] = json!("listener");
    }
    if c.one_in(8) {
        certificate["clock_skew_seconds"] = json!(120);
    }
    let source = c.mostly("connection", &["forwarded", "connection_or_forwarded"]);
    if source != "connection" {
        certificate["source"] = json!(source);
        let trusted = c.any(&[
            json!({"cidrs": ["10.1.0.0/16"]}),
            json!({"identities": [TRUSTED]}),
            json!({"cidrs": ["10.1.0.0/16"], "identities": [TRUSTED]}),
        ]);
        certificate["forwarded"] = json!({"format": "rfc9440", "header": FORWARDED_HEADER, "trusted_proxies": trusted});
        // The proxy's name must be one that identifies.
        for restricting in ["precedence", "trust_domains"] {
            policy["identity"].as_object_mut().unwrap().remove(restricting);
        }
    }
    let behind = source != "connection";
    policy["certificate"] = certificate;
    if c.one_in(10) || (behind && !c.one_in(8)) {
        policy["source_address"] = json!("envoy");
    }
    policy["authorities"] = json!({"test": pool::authority(0), "other": pool::authority(1)});
}

fn settings(c: &mut Choices, policy: &mut Value) {
    let mut path = json!({});
    for setting in ["encoded_slashes", "semicolons"] {
        if c.one_in(5) {
            path[setting] = json!("keep");
        }
    }
    if c.one_in(5) {
        path["restrictions"] = json!("ignore_case");
    }
    policy["path"] = path;
    if c.one_in(10) {
        policy["require_client_headers"] = json!(true);
    }
    if c.one_in(8) {
        policy["override_headers"] = json!("keep");
    }
    policy["methods"] = json!({"additional": ["PURGE"]});
    if c.one_in(6) {
        policy["unverified_authorization"] = json!("keep");
    }
}

/// Appends to a list that may not be there yet, unless the entry is in it.
pub fn push(list: &mut Value, entry: Value) {
    match list.as_array_mut() {
        Some(list) if list.contains(&entry) => {}
        Some(list) => list.push(entry),
        None => *list = json!([entry]),
    }
}

/// The texts of a list that may not be there.
pub fn texts(list: &Value) -> Vec<String> {
    list.as_array()
        .map(|list| list.iter().filter_map(|each| each.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}
