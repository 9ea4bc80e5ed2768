//! How proxies write a certificate into a header: what is read, and what is refused, format by format.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use mtls_authz::{Certificate, Format};
use proptest::prelude::*;
use serde_json::json;

use crate::certificates::{Leaf, Recipe, acme, ca};

const ACME: &str = "spiffe://prod.example/ns/pay/sa/acme";

pub const FORMATS: &[Format] = &[
    Format::Xfcc,
    Format::Rfc9440,
    Format::Traefik,
    Format::Nginx,
    Format::AwsAlb,
    Format::Azure,
    Format::Haproxy,
    Format::UrlEncodedPem,
    Format::Base64Der,
];

/// As every proxy but AWS's escapes: what is not unreserved.
pub fn escaped(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// As AWS escapes: `+`, `=` and `/` stay.
pub fn escaped_by_alb(text: &str) -> String {
    escaped(text).replace("%2B", "+").replace("%3D", "=").replace("%2F", "/")
}

pub fn base64(leaf: &Leaf) -> String {
    STANDARD.encode(&leaf.der)
}

/// One element as Envoy writes it, without names.
pub fn element(leaf: &Leaf) -> String {
    format!("Hash={};Cert=\"{}\"", hex(leaf), escaped(&leaf.pem))
}

fn hex(leaf: &Leaf) -> String {
    mtls_authz::Thumbprint::of(&leaf.der).to_hex()
}

/// The ordinary value of a format.
pub fn written(format: Format, leaf: &Leaf) -> String {
    match format {
        Format::Xfcc => element(leaf),
        Format::Rfc9440 => format!(":{}:", base64(leaf)),
        Format::Nginx | Format::UrlEncodedPem => escaped(&leaf.pem),
        Format::AwsAlb => escaped_by_alb(&leaf.pem),
        Format::Traefik | Format::Azure | Format::Haproxy | Format::Base64Der => base64(leaf),
    }
}

/// A certificate with all of `+`, `/` and `=` in its base64.
fn awkward() -> Leaf {
    loop {
        let leaf = Recipe::new().cn("acme").issue();
        if ['+', '/', '='].iter().all(|byte| base64(&leaf).contains(*byte)) {
            return leaf;
        }
    }
}

fn read(format: Format, value: &str) -> Option<String> {
    let read = format.read(value.as_bytes(), 1).ok()?;
    assert!(read.hops.is_empty());
    Some(read.client.thumbprint.to_string())
}

#[test]
fn every_format_reads_what_its_proxies_write() {
    for leaf in [awkward(), acme()] {
        for format in FORMATS {
            let value = written(*format, &leaf);
            assert_eq!(read(*format, &value), Some(leaf.thumbprint()), "{format:?} {value}");
        }
        let crlf = leaf.pem.replace('\n', "\r\n");
        for format in [Format::Nginx, Format::UrlEncodedPem, Format::AwsAlb] {
            for value in [escaped(&leaf.pem), escaped_by_alb(&leaf.pem), escaped(&crlf), escaped(leaf.pem.trim_end())] {
                assert_eq!(read(format, &value), Some(leaf.thumbprint()), "{format:?} {value}");
            }
        }
        assert_eq!(
            read(Format::Traefik, &escaped(&base64(&leaf))),
            Some(leaf.thumbprint()),
            "older versions escape it"
        );
        assert_eq!(read(Format::Traefik, &base64(&leaf).replace('+', "%2b")), Some(leaf.thumbprint()));
    }
}

#[test]
fn no_format_reads_anything_but_one_certificate() {
    let (leaf, other) = (awkward(), acme());
    let trailing = STANDARD.encode([leaf.der.as_slice(), &[0]].concat());
    let cut = STANDARD.encode(&leaf.der[..leaf.der.len() - 1]);
    let twice = STANDARD.encode([leaf.der.as_slice(), &leaf.der].concat());
    let armored =
        |base64: &str| escaped(&format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n"));
    for format in FORMATS {
        let dressed = |base64: &str| match format {
            Format::Rfc9440 => format!(":{base64}:"),
            Format::Xfcc => format!("Hash={};Cert=\"{}\"", hex(&leaf), armored(base64)),
            Format::Nginx | Format::AwsAlb | Format::UrlEncodedPem => armored(base64),
            _ => base64.to_owned(),
        };
        let good = written(*format, &leaf);
        assert!(read(*format, &dressed(&base64(&leaf))).is_some());
        for (name, value) in [
            ("nothing", String::new()),
            ("white space", " ".to_owned()),
            ("empty inside", dressed("")),
            ("bytes behind the certificate", dressed(&trailing)),
            ("a byte too few", dressed(&cut)),
            ("two certificates in one", dressed(&twice)),
            ("base64 without its first character", dressed(base64(&leaf).get(1..).unwrap())),
            ("no padding", dressed(base64(&leaf).trim_end_matches('='))),
            ("plus signs turned into spaces, as form decoding does", dressed(&base64(&leaf).replace('+', " "))),
            ("the alphabet of base64url", dressed(&URL_SAFE.encode(&leaf.der))),
            ("a truncated escape", format!("{good}%2")),
            ("an escape that is none", format!("{good}%zz")),
            ("text behind", format!("{good} x")),
            ("text in front", format!("x{good}")),
            ("two values joined", format!("{good},{}", written(*format, &other))),
            ("the same value joined", format!("{good}, {good}")),
            ("a private key", escaped("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")),
            ("not a certificate", dressed("MAA=")),
            ("NUL", format!("{good}\0")),
        ] {
            // Two elements are how Envoys in a row write; which of them counts is another test.
            if *format == Format::Xfcc && name.ends_with("joined") {
                continue;
            }
            assert_eq!(read(*format, &value), None, "{format:?}: {name}: {value}");
        }
        assert!(format.read(&[good.as_bytes(), b"\xa1"].concat(), 1).is_err());
    }
}

#[test]
fn armor_stands_where_the_format_has_it_and_nowhere_else() {
    let leaf = awkward();
    for format in [Format::Nginx, Format::AwsAlb, Format::UrlEncodedPem] {
        assert_eq!(read(format, &base64(&leaf)), None, "{format:?}");
        assert_eq!(read(format, &escaped(&format!("{}{}", leaf.pem, leaf.pem))), None, "{format:?}: two");
        assert_eq!(read(format, &escaped(&leaf.pem).replace("%20", "+")), None, "{format:?}: a form's space");
    }
    for format in [Format::Rfc9440, Format::Traefik, Format::Azure, Format::Haproxy, Format::Base64Der] {
        for value in [leaf.pem.clone(), escaped(&leaf.pem), format!(":{}:", leaf.pem)] {
            assert_eq!(read(format, &value), None, "{format:?}");
        }
        for (value, is_read) in [
            (format!("\"{}\"", base64(&leaf)), matches!(format, Format::Haproxy | Format::Base64Der)),
            (format!("\"\"{}\"\"", base64(&leaf)), false),
            (format!("\"{}", base64(&leaf)), false),
            (format!("{}\"", base64(&leaf)), false),
            (format!("'{}'", base64(&leaf)), false),
            (format!("\" {}\"", base64(&leaf)), false),
            (format!("\"{0}\",\"{0}\"", base64(&leaf)), false),
            ("\"".to_owned(), false),
        ] {
            assert_eq!(read(format, &value).is_some(), is_read, "{format:?} {value}");
        }
        assert_eq!(format.is_none(b"\"\""), matches!(format, Format::Haproxy | Format::Base64Der), "{format:?}");
    }
    for format in [Format::Azure, Format::Haproxy, Format::Base64Der, Format::Rfc9440] {
        assert_eq!(read(format, &escaped(&written(format, &leaf))), None, "{format:?} is never escaped");
    }
}

#[test]
fn a_byte_sequence_is_exactly_that() {
    let leaf = acme();
    let good = base64(&leaf);
    for value in [
        good.clone(),
        format!(":{good}"),
        format!("{good}:"),
        format!("::{good}::"),
        format!(":{good}:;a=1"),
        format!(":{good}:,:{good}:"),
        format!(": {good}:"),
        format!(":{good}: "),
        format!("\"{good}\""),
        "::".to_owned(),
        ":".to_owned(),
    ] {
        assert_eq!(read(Format::Rfc9440, &value), None, "{value}");
    }
}

#[test]
fn traefik_joins_a_chain_of_which_the_leaf_alone_counts() {
    let (leaf, other, ca) = (acme(), acme(), ca());
    let join = |parts: &[&Leaf]| parts.iter().map(|part| base64(part)).collect::<Vec<_>>().join(",");
    for (parts, expected) in [
        (vec![&leaf, &ca], Some(leaf.thumbprint())),
        (vec![&leaf, &ca, &ca], Some(leaf.thumbprint())),
        // Two leaves are two callers: a header that was sent twice and joined.
        (vec![&leaf, &other], None),
        (vec![&leaf, &ca, &other], None),
        (vec![&leaf, &leaf], None),
    ] {
        assert_eq!(read(Format::Traefik, &join(&parts)), expected);
        let escaped = parts.iter().map(|part| escaped(&base64(part))).collect::<Vec<_>>().join(",");
        assert_eq!(read(Format::Traefik, &escaped), expected, "older versions");
    }
    for broken in [format!("{},", base64(&leaf)), format!(",{}", base64(&leaf)), format!("{},MAA=", base64(&leaf))] {
        assert_eq!(read(Format::Traefik, &broken), None);
    }
    assert_eq!(read(Format::Traefik, &join(&[&leaf, &ca]).replace(',', "%2C")), None);
}

/// One element as Envoy 1.40 writes it in JSON.
fn json_element(leaf: &Leaf) -> serde_json::Value {
    let certificate = Certificate::from_der(&leaf.der).unwrap();
    json!({
        "by": ["spiffe://prod.example/proxy"], "hash": hex(leaf), "cert": leaf.pem, "chain": [leaf.pem, ca().pem],
        "subject": "CN=acme", "uri": certificate.uri_sans, "dns": certificate.dns_sans, "issuer": "CN=Test CA",
    })
}

#[test]
fn elements_are_counted_from_the_right_in_text_and_in_json() {
    let (first, second, third) = (Recipe::new().cn("a").issue(), Recipe::new().cn("b").issue(), acme());
    let all = [&first, &second, &third];
    let text = all.map(element).join(",");
    let json = json!(all.map(json_element)).to_string();
    for value in [text, json] {
        for (hop, client, hops) in [(1, &third, vec![]), (2, &second, vec![&third]), (3, &first, vec![&second, &third])]
        {
            let read = Format::Xfcc.read(value.as_bytes(), hop).unwrap();
            assert_eq!(read.client.thumbprint.to_string(), client.thumbprint(), "{hop}");
            let found: Vec<String> = read.hops.iter().map(|hop| hop.thumbprint.to_string()).collect();
            assert_eq!(found, hops.iter().map(|hop| hop.thumbprint()).collect::<Vec<_>>(), "{hop}");
        }
        for hop in [4, 5, usize::MAX] {
            assert!(Format::Xfcc.read(value.as_bytes(), hop).is_err(), "{hop}");
        }
    }
}

#[test]
fn an_element_says_one_thing_or_is_refused() {
    let leaf = Recipe::new().uri("spiffe://td/a").dns("a.example").dns("b.example").cn("acme").issue();
    let other = acme();
    let own = element(&leaf);
    for (tail, good) in [
        ("", true),
        (";Subject=\"CN=acme\";URI=spiffe://td/a;DNS=a.example;DNS=b.example", true),
        (";By=spiffe://td/p;By=spiffe://td/q", true),
        (";URI=spiffe://td/a", true),
        (";DNS=A.example;DNS=b.example", true),
        (&format!(";Chain=\"{}\"", escaped(&format!("{}{}", leaf.pem, ca().pem))), true),
        // Names that the certificate does not have, or not all of them: cut out of one, or put in.
        (";URI=spiffe://td/b", false),
        (";URI=spiffe://td/a;URI=spiffe://td/b", false),
        (";URI=", false),
        (";DNS=a.example", false),
        (";DNS=b.example;DNS=a.example", false),
        (&format!(";Cert=\"{}\"", escaped(&leaf.pem)), false),
        (&format!(";cert=\"{}\"", escaped(&other.pem)), false),
        (&format!(";Hash={}", hex(&leaf)), false),
        (&format!(";Subject=\"CN={}\"", r#"a\",Hash=00"#), true),
        (&format!(";Subject=\"CN={}\"", r#"a\\"#), true),
        (&format!(";Subject=\"CN={}\"", r#"a\"#), false),
        (&format!(";Subject=\"CN={}\"", r#"a\\",Hash=00"#), false),
        (";=x", false),
        (";Ro le=x", false),
        (";X-1=x", false),
        (";Role=x", true),
        (";", false),
        (",", false),
        (";Subject=\"CN=acme", false),
        (" ", false),
    ] {
        assert_eq!(read(Format::Xfcc, &format!("{own}{tail}")).is_some(), good, "{tail}");
    }
    for value in [
        format!("Hash={};Cert=\"{}\"", hex(&other), escaped(&leaf.pem)),
        format!("Hash=;Cert=\"{}\"", escaped(&leaf.pem)),
        format!("Hash={}", hex(&leaf)),
        format!("Cert=\"{}\"", escaped(&leaf.pem)),
        format!("Chain=\"{}\"", escaped(&leaf.pem)),
        "Cert=\"\"".to_owned(),
        "Cert=".to_owned(),
        // Elements of others are read as strictly as the one that counts.
        format!("Hash=00;URI=spiffe://td/x,{own}"),
        format!("{own};URI=spiffe://td/b,{own}"),
        format!("X=\"{own},{own}"),
        format!("X,{own}"),
        format!(",{own}"),
        vec![own.as_str(); 65].join(","),
        format!("{own}{}", ";By=x".repeat(63)),
    ] {
        assert_eq!(read(Format::Xfcc, &value), None, "{value}");
    }
    for value in [vec![own.as_str(); 64].join(","), format!("{own}{}", ";By=x".repeat(62))] {
        assert_eq!(read(Format::Xfcc, &value), Some(leaf.thumbprint()), "as many as may be");
    }
    for (count, good) in [(63, true), (64, true), (65, false)] {
        let elements = vec![json_element(&leaf); count];
        assert_eq!(read(Format::Xfcc, &json!(elements).to_string()).is_some(), good, "{count}");
    }
    let none = Recipe::new().cn("acme").issue();
    assert!(read(Format::Xfcc, &format!("{};URI=", element(&none))).is_some(), "Envoy writes an empty URI, too");
}

#[test]
fn a_name_that_looks_like_an_element_is_noticed() {
    let victim = acme();
    for name in [
        format!("spiffe://td/a,{}", element(&victim)),
        format!("spiffe://td/a;{}", element(&victim)),
        format!("spiffe://td/a,By=spiffe://td/p;{}", element(&victim)),
        format!(",{}", element(&victim)),
        "\"x".to_owned(),
    ] {
        for names in [vec![name.as_str()], vec!["spiffe://td/a", name.as_str()], vec![name.as_str(), "spiffe://td/z"]] {
            let mut recipe = Recipe::new().cn("attacker");
            for name in &names {
                recipe = recipe.uri(name);
            }
            let attacker = recipe.issue();
            let names: String = names.iter().map(|name| format!(";URI={name}")).collect();
            for value in [
                format!("{}{names}", element(&attacker)),
                format!("{}{names},{}", element(&attacker), element(&acme())),
            ] {
                for hop in 1..4 {
                    let read = Format::Xfcc.read(value.as_bytes(), hop);
                    let found = read.map(|read| read.client.thumbprint.to_string());
                    assert_ne!(found.as_deref().ok(), Some(victim.thumbprint().as_str()), "{value}");
                }
            }
        }
    }
}

#[test]
fn whatever_a_caller_puts_in_front_the_appended_element_counts_or_none() {
    // Envoy appends to whatever stands there, as text or, where that has brackets at both ends, as JSON.
    let (own, victim) = (acme(), acme());
    let forged = element(&victim);
    let forged_json = json_element(&victim).to_string();
    let fronts = [
        "",
        "x",
        "[",
        "[]",
        "[1",
        "[1]",
        "[[]",
        "[]]",
        "[\"]",
        "[{\"a\":\"]",
        "[{\"cert\":[]",
        "[null]",
        "{\"a\":1}",
        "Hash=\"",
        "Hash=",
        "Hash=a;",
        "Hash=\"\\",
        "Cert=\"",
        "A=b",
        ",",
        ";",
        "\"",
        "\\",
    ];
    let fronts: Vec<String> = fronts
        .into_iter()
        .map(str::to_owned)
        .chain([forged.clone(), format!("{forged};X=\""), format!("{forged},"), format!("{forged};Cert=\"")])
        .chain([format!("[{forged_json}]"), format!("[{forged_json},]"), format!("[{forged_json}],[{forged_json}]")])
        .chain([format!("[{{\"x\":{forged_json}]"), format!("[[{forged_json}]")])
        .collect();
    for front in fronts {
        let appended = match front.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => format!("[{inner},{}]", json_element(&own)),
            None => format!("{front},{}", element(&own)),
        };
        if let Some(found) = read(Format::Xfcc, &appended) {
            assert_eq!(found, own.thumbprint(), "{front}");
        }
    }
}

#[test]
fn json_is_strict() {
    let leaf = acme();
    let own = json_element(&leaf);
    assert_eq!(read(Format::Xfcc, &json!([own]).to_string()), Some(leaf.thumbprint()));
    let pem = json!(leaf.pem).to_string();
    for value in [
        "[]".to_owned(),
        "[".to_owned(),
        "[null]".to_owned(),
        "[[]]".to_owned(),
        "[{}]".to_owned(),
        r#"[{"cert": 1}]"#.to_owned(),
        r#"[{"cert": ""}]"#.to_owned(),
        r#"[{"Cert": "x"}]"#.to_owned(),
        own.to_string(),
        json!([own, 1]).to_string(),
        json!([{"hash": "00"}, own]).to_string(),
        json!([{"cert": [leaf.pem]}]).to_string(),
        json!([{"hash": hex(&leaf), "cert": base64(&leaf)}]).to_string(),
        json!([{"cert": leaf.pem}]).to_string(),
        json!([{"hash": hex(&ca()), "cert": leaf.pem}]).to_string(),
        json!([{"hash": hex(&leaf), "cert": leaf.pem, "uri": ["spiffe://prod.example/admin"]}]).to_string(),
        json!([{"hash": hex(&leaf), "cert": leaf.pem, "dns": ["admin.example"]}]).to_string(),
        json!([{"hash": hex(&leaf), "cert": leaf.pem, "uri": [1]}]).to_string(),
        json!([{"hash": hex(&leaf), "cert": leaf.pem, "more": {}}]).to_string(),
        json!([{"hash": hex(&leaf), "cert": leaf.pem, "URI": [ACME], "uri": [ACME]}]).to_string(),
        json!([{"hash": hex(&leaf), "cert": leaf.pem, "x;URI": "spiffe://prod.example/admin"}]).to_string(),
        json!([{"cert": format!("{}{}", leaf.pem, leaf.pem)}]).to_string(),
        format!("[{{\"cert\":{pem},\"cert\":{pem}}}]"),
        format!("[{{\"cert\":{pem},\"c\\u0065rt\":{pem}}}]"),
        format!("[{own}],[{own}]"),
        format!("[{own}] x"),
        format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)),
        json!(vec![&own; 80]).to_string(),
    ] {
        assert_eq!(read(Format::Xfcc, &value), None, "{value:.200}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_value_panics(value in prop::collection::vec(any::<u8>(), 0..60), hop in 0_usize..4) {
        for format in FORMATS {
            prop_assert!(format.read(&value, hop).is_err());
        }
    }

    #[test]
    fn a_changed_value_is_another_certificate_or_none(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        thread_local!(static LEAF: Leaf = acme());
        LEAF.with(|leaf| -> Result<(), TestCaseError> {
            for format in FORMATS {
                let good = written(*format, leaf).into_bytes();
                let at = place.index(good.len());
                let mut value = good.clone();
                if cut { value.truncate(at) } else { value[at] = byte }
                if let Ok(read) = format.read(&value, 1) {
                    prop_assert!(read.hops.is_empty());
                    // Only the spelling of an escape, and white space in PEM, can change and leave it as it was.
                    if read.client.thumbprint.to_string() != leaf.thumbprint() {
                        prop_assert!(!cut && value.len() == good.len());
                    }
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn more_than_64_elements_are_not_read() {
    let leaf = acme();
    for (count, expected) in [(64, true), (65, false)] {
        let text = vec![element(&leaf); count].join(",");
        let json = json!(vec![json!({"hash": hex(&leaf), "cert": leaf.pem}); count]).to_string();
        for value in [text, json] {
            assert_eq!(Format::Xfcc.read(value.as_bytes(), 1).is_ok(), expected, "{count}");
        }
    }
}
