//! The headers that upstream.md names are removed, refused or kept as it says.

use mtls_authz::{Memory, Policy, Reason, Request, decide};
use serde_json::json;

use crate::certificates::acme;
use crate::proxy::{FakeProxy, headers, sent};

fn page() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration/upstream.md");
    std::fs::read_to_string(page).unwrap()
}

/// The names of headers in a part of the page: code with a capital, a dash or `$` in it. A family is named with a letter for `*`.
fn names(from: &str, to: &str) -> Vec<String> {
    let page = page();
    let (_, part) = page.split_once(from).unwrap_or_else(|| panic!("{from:?} is not on the page"));
    let (part, _) = part.split_once(to).unwrap_or_else(|| panic!("{to:?} is not on the page"));
    let code = part.split('`').skip(1).step_by(2);
    let is_name = |code: &&str| {
        code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-$*".contains(&byte))
            && code.bytes().any(|byte| byte.is_ascii_uppercase() || b"-$".contains(&byte))
    };
    code.filter(is_name).map(|name| name.to_ascii_lowercase().replace('*', "q")).collect()
}

/// What becomes of a request with this header: is it refused, and does the header go on?
fn outcome(name: &str) -> (Option<Reason>, bool) {
    let policy = json!({
        "mode": "mtls",
        "clients": {"acme": {"identities": ["spiffe://prod.example/ns/pay/sa/acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/**"], "hosts": ["api.example"]}]}},
        "strip_headers": ["X-Caller", "X-Tenant-*"],
    });
    let policy = Policy::from_json(policy.to_string()).unwrap();
    let more = [(name, "spoofed")];
    let headers = headers("GET", "/open", &more);
    let request = Request::new(&headers);
    let decision = decide(&policy, &Memory::default(), &request, &FakeProxy::new().presenting(&acme()));
    let goes_on = sent(&policy, &request, &decision)
        .iter()
        .any(|(known, value)| *known == name.as_bytes() && value.as_ref() == b"spoofed");
    (decision.refusal().map(|deny| deny.reason), goes_on)
}

#[test]
fn every_header_that_the_page_says_is_removed_is_removed() {
    let mut removed = names("or a client that it recognised by one:", "Names are compared as CGI");
    assert!(removed.len() >= 38, "{removed:?}");
    removed.extend(names("`Method-Override` |", "The filter removes all of these").into_iter().inspect(|name| {
        assert!(!name.contains("method-override"), "{name}");
    }));
    for name in removed {
        assert_eq!(outcome(&name), (None, false), "{name}");
        if name.starts_with("client-") && !name.contains("cert") && !name.contains("edge") {
            assert_eq!(outcome(&format!("x-{name}")), (None, false), "X-{name}");
        }
    }
}

#[test]
fn every_header_that_the_page_says_names_a_method_refuses_another_one() {
    let refused = names("| headers | what the filter does |", "| each value must be");
    assert!(refused.len() >= 11, "{refused:?}");
    for name in refused {
        assert_eq!(outcome(&name).0, Some(Reason::RequestMalformed), "{name}");
    }
}

#[test]
fn every_header_that_the_page_says_stays_goes_on() {
    let kept = names("These headers stay:", "- Headers that Envoy's routes add");
    assert_eq!(kept.len(), 4, "{kept:?}");
    for name in kept {
        assert_eq!(outcome(&name), (None, true), "{name}");
    }
}
