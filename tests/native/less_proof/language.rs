//! Which settings this version of the policy language has. One that it does not have yet is not generated.

use std::sync::OnceLock;

use mtls_authz::Policy;
use serde_json::{Value, json};

/// A setting that may be missing: its name, and how it is put into a policy that has nothing else that is unusual.
type Setting = (&'static str, fn(&mut Value));

const SETTINGS: &[Setting] = &[
    ("shared_identities", |policy| policy["clients"]["acme"]["shared_identities"] = json!(true)),
    ("token_client_ids", |policy| policy["clients"]["acme"]["token_client_ids"] = json!(["acme-app"])),
    ("any_subject_value", |policy| {
        let mapping = json!({"match": {"subject": {"OU": {"any": "p"}, "CN": "{name}"}}, "client_id": "{name}"});
        policy["identity"] = json!({"mappings": [mapping], "allow_unregistered": true});
    }),
];

/// Does the language have the setting?
pub fn has(name: &str) -> bool {
    static KNOWN: OnceLock<Vec<&'static str>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let taken = SETTINGS.iter().filter(|(_, change)| {
            let mut policy = json!({
                "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["p"]}},
                "profiles": {"p": {"allow": [{"paths": ["/a"]}]}},
            });
            change(&mut policy);
            Policy::from_json(policy.to_string()).is_ok()
        });
        taken.map(|(name, _)| *name).collect()
    });
    known.contains(&name)
}
