//! The values of a setting at the borders of what is taken, and what the messages about the others say.

use mtls_authz::Policy;
use serde_json::{Value, json};

/// A good configuration with `value` in the place that a JSON pointer names; what is missing on the way is made.
fn with(pointer: &str, value: &Value) -> Result<Policy, String> {
    let mut json = json!({
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/a"]}]}},
        "token": {"source": "jwks", "jwks_uri": {"cluster": "c", "authority": "a", "path": "/"}},
        "revocation": {"feeds": [{"type": "json", "cluster": "c", "authority": "a", "path": "/"}]},
    });
    let place = pointer.split('/').skip(1).fold(&mut json, |place, step| match step.parse::<usize>() {
        Ok(index) => &mut place[index],
        Err(_) => &mut place[step],
    });
    *place = value.clone();
    Policy::from_json(json.to_string()).map_err(|problem| problem.to_string())
}

fn refused(pointer: &str, value: &Value) -> String {
    with(pointer, value).err().unwrap_or_else(|| panic!("{pointer} takes {value}"))
}

#[test]
fn a_setting_takes_values_up_to_its_borders_and_none_beyond() {
    for (pointer, taken, not_taken) in [
        (
            "/clients/acme/identities/0",
            vec![json!("dns:a"), json!("cn:a"), json!("email:a@b"), json!("cn: ")],
            vec![
                json!("dns:"),
                json!("dns:a\tb"),
                json!("cn:"),
                json!("cn:a\nb"),
                json!("email:ab"),
                json!("email:@\u{1}"),
            ],
        ),
        ("/token/jwks_uri/cluster", vec![json!("c c")], vec![json!("")]),
        ("/token/jwks_uri/authority", vec![json!("a:1")], vec![json!(""), json!("a b"), json!("\u{e9}")]),
        ("/token/jwks_uri/path", vec![json!("/"), json!("/a?b")], vec![json!(""), json!("a"), json!("/a b")]),
        ("/token/jwks_uri/timeout_ms", vec![json!(1), json!(60_000)], vec![json!(0), json!(60_001)]),
        ("/revocation/feeds/0/refresh_seconds", vec![json!(1)], vec![json!(0)]),
        ("/revocation/feeds/0/timeout_ms", vec![json!(1), json!(60_000)], vec![json!(0), json!(60_001)]),
    ] {
        for value in taken {
            assert_eq!(with(pointer, &value).err(), None, "{pointer} {value}");
        }
        for value in not_taken {
            let text = refused(pointer, &value);
            assert!(text.contains(", expected "), "{pointer} {value}: {text}");
        }
    }
}

#[test]
fn what_is_fetched_may_be_used_until_the_next_fetch_at_least() {
    let fetch = |refresh: u32, stale: u32| json!({"cluster": "c", "authority": "a", "path": "/", "refresh_seconds": refresh, "max_stale_seconds": stale});
    for (stale, is_taken) in [(59, false), (60, true), (61, true)] {
        assert_eq!(with("/token/jwks_uri", &fetch(60, stale)).is_ok(), is_taken, "{stale}");
    }
    assert!(refused("/token/jwks_uri", &fetch(60, 59)).contains("at least refresh_seconds (60)"));
}

#[test]
fn a_configuration_is_an_object() {
    for json in ["[]", "\"a\"", "1", "null", "true"] {
        let problem = Policy::from_json(json).err().unwrap().to_string();
        assert!(problem.contains("expected an object"), "{json}: {problem}");
    }
}

#[test]
fn a_value_that_a_message_does_not_show_whole_ends_with_a_mark() {
    for (length, is_cut) in [(1, false), (50, false), (100_000, true)] {
        let text = refused("/token/jwks_uri/path", &json!("a".repeat(length)));
        assert_eq!(text.contains('…'), is_cut, "{length}: {}", text.len());
    }
}
