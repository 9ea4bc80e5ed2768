//! What can be added to a policy, so that it allows less.

use serde_json::{Value, json};

use super::choices::Choices;
use super::policies::{HOSTS, MTLS, NETWORKS, OPTIONAL, PINS, REQUIRED, RESTRICTED, deny, push, texts};
use super::pool::{API, AUTH, Cert};
use super::requests::PROFILES;

/// A restriction: its name, and how it is added. It says whether there was a place for it.
pub type Restriction = (&'static str, fn(&mut Choices, &mut Value) -> bool);

pub const RESTRICTIONS: &[Restriction] = &[
    ("a deny entry", |c, policy| {
        let entry = deny(c);
        push(&mut policy["profiles"][c.any(PROFILES)]["deny"], entry);
        true
    }),
    ("a deny entry for every method", |c, policy| {
        each(c, &mut policy["profiles"], "deny", |_, deny| remove(deny, "methods"))
    }),
    ("a required path", |c, policy| {
        push(&mut policy["binding"]["required_paths"], json!(c.any(RESTRICTED)));
        true
    }),
    ("source addresses", |c, policy| {
        let profile = &mut policy["profiles"][c.any(PROFILES)];
        fewer_or(c, &mut profile["source_cidrs"], NETWORKS)
    }),
    ("a scope", |c, policy| {
        each(c, &mut policy["profiles"], "allow", |c, rule| {
            let scope = c.any(&["write", "read", "admin"]);
            let new = !texts(&rule["scopes"]).contains(&scope.to_owned());
            if new {
                push(&mut rule["scopes"], json!(scope));
            }
            new
        })
    }),
    ("methods", |c, policy| {
        each(c, &mut policy["profiles"], "allow", |c, rule| fewer_or(c, &mut rule["methods"], &["GET", "POST", "HEAD"]))
    }),
    ("hosts", |c, policy| each(c, &mut policy["profiles"], "allow", |c, rule| fewer_or(c, &mut rule["hosts"], HOSTS))),
    ("a rule less", |c, policy| {
        let rules = &mut policy["profiles"][c.any(PROFILES)]["allow"];
        one_less(c, rules)
    }),
    ("a path less", |c, policy| {
        each(c, &mut policy["profiles"], "allow", |c, rule| rule["paths"].is_array() && fewer(c, &mut rule["paths"]))
    }),
    ("an upgrade only", |c, policy| each(c, &mut policy["profiles"], "allow", |_, rule| remove(rule, "plain"))),
    ("an issuer pin", |c, policy| client(c, policy, |c, client| fewer_or(c, &mut client["issuers"], PINS))),
    ("fewer profiles", |c, policy| client(c, policy, |c, client| one_less(c, &mut client["profiles"]))),
    ("no mapping", |c, policy| client(c, policy, |_, client| remove(client, "mappings"))),
    ("trust domains", |c, policy| {
        fewer_or(c, &mut policy["identity"]["trust_domains"], &["prod.example", "other.example"])
    }),
    ("registered clients only", |_, policy| remove(&mut policy["identity"], "allow_unregistered")),
    ("an audience", |c, policy| {
        let token = &mut policy["token"];
        match token["providers"].as_array_mut() {
            Some(providers) => {
                let at = c.below(providers.len());
                fewer_or(c, &mut providers[at]["audiences"], &[API])
            }
            None => fewer_or(c, &mut token["audiences"], &[API]),
        }
    }),
    ("an issuer", |_, policy| {
        let open = policy["token"]["providers"].is_null() && policy["token"]["issuers"].is_null();
        if open {
            policy["token"]["issuers"] = json!([AUTH]);
        }
        open
    }),
    ("a revoked thumbprint", |c, policy| {
        let thumbprint = json!(c.any(&Cert::all()).thumbprint());
        push(&mut policy["revocation"]["sha256"], thumbprint);
        true
    }),
    ("a revoked serial number", |c, policy| {
        let cert = c.any(&Cert::all());
        push(&mut policy["revocation"]["serials"], json!({"issuer": cert.issuer(), "serial": cert.serial()}));
        true
    }),
    ("a revoked name", |c, policy| {
        let names =
            ["cn:acme", "cn:globex", "dns:acme.example", super::pool::ACME, "cn:initech", "email:acme@mail.example"];
        push(&mut policy["revocation"]["identities"], json!(c.any(&names)));
        true
    }),
    ("a rate limit", |c, policy| {
        policy["profiles"][c.any(PROFILES)]["rate_limit"] = json!({"requests": 1, "per_seconds": 60});
        true
    }),
    ("a stricter mode of a profile", |c, policy| {
        let top = policy["mode"].clone();
        let profile = &mut policy["profiles"][c.any(PROFILES)];
        let mode = if profile["mode"].is_null() { top } else { profile["mode"].clone() };
        if mode != json!(REQUIRED) {
            profile["mode"] = json!(REQUIRED);
        }
        mode != json!(REQUIRED)
    }),
    ("a stricter mode", |_, policy| {
        let open = policy["mode"] == json!(OPTIONAL) || policy["mode"] == json!(MTLS);
        policy["mode"] = json!(REQUIRED);
        open
    }),
    ("client headers required", |_, policy| set(policy, "require_client_headers", json!(true))),
    ("a bypass less", |c, policy| {
        let less = one_less(c, &mut policy["bypass"]);
        if policy["bypass"] == json!([]) {
            remove(policy, "bypass");
        }
        less
    }),
    ("methods of a bypass", |c, policy| {
        bypass(c, policy, |c, bypass| fewer_or(c, &mut bypass["methods"], &["GET", "POST"]))
    }),
    ("hosts of a bypass", |c, policy| bypass(c, policy, |c, bypass| fewer_or(c, &mut bypass["hosts"], HOSTS))),
    ("restrictions in any letter case", |_, policy| set(&mut policy["path"], "restrictions", json!("ignore_case"))),
    ("no encoded slashes", |_, policy| remove(&mut policy["path"], "encoded_slashes")),
    ("no semicolons", |_, policy| remove(&mut policy["path"], "semicolons")),
    ("no override headers", |_, policy| remove(policy, "override_headers")),
    ("verified by attribute", |_, policy| remove(&mut policy["certificate"], "validation")),
    ("no clock skew", |_, policy| remove(&mut policy["certificate"], "clock_skew_seconds")),
    ("enforcement of a profile", |c, policy| remove(&mut policy["profiles"][c.any(PROFILES)], "enforcement")),
    ("enforcement", |_, policy| remove(policy, "enforcement")),
];

/// Changes one entry of a list that profiles have, if one of some is found that can be changed.
fn each(c: &mut Choices, profiles: &mut Value, list: &str, change: fn(&mut Choices, &mut Value) -> bool) -> bool {
    (0..8).any(|_| match profiles[c.any(PROFILES)].get_mut(list).and_then(Value::as_array_mut) {
        Some(entries) if !entries.is_empty() => {
            let at = c.below(entries.len());
            entries[at].is_object() && change(c, &mut entries[at])
        }
        _ => false,
    })
}

fn client(c: &mut Choices, policy: &mut Value, change: fn(&mut Choices, &mut Value) -> bool) -> bool {
    let clients = policy["clients"].as_object_mut().unwrap();
    let names: Vec<String> = clients.keys().cloned().collect();
    if names.is_empty() {
        return false;
    }
    let name = c.any(&names);
    change(c, &mut clients[&name])
}

fn bypass(c: &mut Choices, policy: &mut Value, change: fn(&mut Choices, &mut Value) -> bool) -> bool {
    match policy.get_mut("bypass").and_then(Value::as_array_mut) {
        Some(list) => {
            let at = c.below(list.len());
            change(c, &mut list[at])
        }
        None => false,
    }
}

/// One entry less in a list; where there is no list, which means "any", two of these.
fn fewer_or(c: &mut Choices, list: &mut Value, of: &[&str]) -> bool {
    if list.is_null() {
        *list = json!(c.at_least_one_of(of, 2));
        return true;
    }
    fewer(c, list)
}

/// One entry less in a list that keeps at least one.
fn fewer(c: &mut Choices, list: &mut Value) -> bool {
    list.as_array().is_some_and(|entries| entries.len() > 1) && one_less(c, list)
}

fn one_less(c: &mut Choices, list: &mut Value) -> bool {
    let Some(entries) = list.as_array_mut() else {
        return false;
    };
    let some = !entries.is_empty();
    if some {
        entries.remove(c.below(entries.len()));
    }
    some
}

fn remove(of: &mut Value, name: &str) -> bool {
    of.as_object_mut().is_some_and(|members| members.remove(name).is_some())
}

fn set(of: &mut Value, name: &str, value: Value) -> bool {
    let changes = of[name] != value;
    of[name] = value;
    changes
}
