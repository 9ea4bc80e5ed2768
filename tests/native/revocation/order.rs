//! Of several lists that have a certificate the first one counts, and a list holds as many entries as its bytes.

use super::feeds::{answer, with_feed, worker};
use super::*;

#[test]
fn the_first_list_that_has_a_certificate_is_the_rule_of_the_record() {
    let leaf = acme();
    let thumbprint = json!([leaf.thumbprint()]);
    let name = json!(["cn:acme"]);
    let serial = json!([{"issuer": ISSUER, "serial": "0a1b"}]);
    let none = json!([]);
    // The lists of the configuration, those of both feeds, and the rule.
    let lists = |sha256: &Value, identities: &Value, serials: &Value| json!({"sha256": sha256, "identities": identities, "serials": serials});
    let everything = lists(&thumbprint, &name, &serial);
    let nothing = lists(&none, &none, &none);
    for (own, feeds, rule) in [
        (&everything, [&everything, &everything], "revocation.sha256"),
        (&lists(&none, &name, &serial), [&everything, &everything], "revocation.identities"),
        (&lists(&none, &none, &serial), [&everything, &everything], "revocation.serials"),
        (&nothing, [&everything, &everything], "revocation.feeds[0].sha256"),
        (&nothing, [&lists(&none, &name, &serial), &everything], "revocation.feeds[0].identities"),
        (&nothing, [&lists(&none, &none, &serial), &everything], "revocation.feeds[0].serials"),
        (&nothing, [&nothing, &lists(&none, &name, &serial)], "revocation.feeds[1].identities"),
    ] {
        let mut revocation = own.clone();
        let feed = |path: &str| json!({"type": "json", "cluster": "c", "authority": "a", "path": path});
        revocation["feeds"] = json!([feed("/0"), feed("/1")]);
        let (policy, worker, proxy) = (policy(&revocation), worker(), FakeProxy::new().presenting(&leaf));
        for (index, list) in feeds.iter().enumerate() {
            let feed = &policy.revocation.feeds[index];
            let watch = Watch::list(index, feed, &worker.memory.revoked, &proxy);
            let call = watch.look(START).unwrap().unwrap();
            watch.take(call.claim, answer("200", list.to_string().as_bytes()), START).unwrap();
        }
        let decision = ask(&policy, &worker.memory, &proxy);
        assert_eq!(decision.refusal().unwrap().matched.unwrap().to_string(), rule);
    }
}

#[test]
fn a_list_takes_an_entry_again() {
    let leaf = acme();
    let (thumbprint, serial) = (leaf.thumbprint(), json!({"issuer": ISSUER, "serial": "0a1b"}));
    for list in [
        json!({"sha256": [thumbprint, thumbprint]}),
        json!({"identities": ["cn:acme", "cn:acme"]}),
        json!({"serials": [serial, serial]}),
    ] {
        let proxy = FakeProxy::new().presenting(&leaf);
        assert_eq!(reason(&policy(&list), &fresh(), &proxy), Some(Reason::CertificateRevoked), "{list}");
    }
}

#[test]
fn eight_mebibytes_hold_as_many_entries_as_the_documentation_says() {
    let thumbprints: Vec<String> = (0..100_000).map(|number| format!("{number:064x}")).collect();
    let serials: Vec<Value> = (0..90_000_u128)
        .map(|number| json!({"issuer": "CN=Issuing CA,O=Example", "serial": format!("{:032x}", number | 1 << 127)}))
        .collect();
    let feed = json!({"type": "json", "cluster": "c", "authority": "a", "path": "/"});
    let policy = policy(&json!({"feeds": [feed]}));
    for (body, entries) in [(json!({"sha256": thumbprints}), 100_000), (json!({"serials": serials}), 90_000)] {
        let (worker, proxy) = (worker(), FakeProxy::new());
        let watch = worker.watch(&policy, &proxy);
        let call = watch.look(START).unwrap().unwrap();
        let body = body.to_string();
        assert_eq!(watch.take(call.claim, answer("200", body.as_bytes()), START), Ok(Taken::Adopted(entries)));
    }
}

#[test]
fn a_servers_status_is_written_in_at_most_256_bytes() {
    let (policy, proxy, worker) = (with_feed(&json!({})), FakeProxy::new(), worker());
    let call = worker.watch(&policy, &proxy).look(START).unwrap().unwrap();
    let problem = worker.watch(&policy, &proxy).take(call.claim, answer(&"9".repeat(1_000), b""), START).unwrap_err();
    let status = problem.strip_prefix("the status is ").unwrap();
    assert!(status.len() <= 256 && status.ends_with('…'), "{problem}");
}
