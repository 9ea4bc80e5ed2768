//! Tokens: the header, the claims, the keys, and the payload that `jwt_authn` leaves behind.

use std::cell::LazyCell;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mtls_authz::fuzzing::{ClaimRules, Claims, Confirmation, strict_object, verified_payload};
use mtls_authz::{Algorithm, KeySet, Material, SetError, Thumbprint, verify_signature, verify_token};
use serde_json::{Map, Value, json};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::reference;
use crate::scene::{Host, KEYS};

/// Types of tokens that are taken.
const TYPES: &[&str] = &["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// The JOSE header, and the three parts around it: a token passes exactly where its header is strict JSON that demands
/// nothing unknown and names one key with an algorithm of its kind.
pub fn jose_header(data: &[u8]) {
    thread_local! {
        static SET: LazyCell<KeySet> = LazyCell::new(|| KeySet::from_json(KEYS).unwrap().0);
    }
    SET.with(|keys| {
        // Whatever signature it is shown is good, so that the header alone decides.
        let host = Host { verifies: Some(true), ..Host::default() };
        let verify = |token: &str| verify_token(token, keys, Algorithm::ALL, &host);

        let payload = json!({"exp": 1, "text": "ü", "list": [1, {"deep": null}]});
        let encoded = [data, payload.to_string().as_bytes(), &[1; 256]].map(|part| URL_SAFE_NO_PAD.encode(part));
        let read = verify(&encoded.join("."));
        assert_eq!(read.is_ok(), reference::object(data).is_some_and(|header| is_rsa_header(&header)));
        if let Ok(read) = read {
            assert_eq!(Value::Object(read), payload);
        }

        // The same bytes as a payload, and as a whole token.
        let header = json!({"alg": "RS256", "kid": "rsa"}).to_string();
        let encoded = [header.as_bytes(), data, &[1; 256]].map(|part| URL_SAFE_NO_PAD.encode(part));
        assert_eq!(verify(&encoded.join(".")).ok(), reference::object(data));
        if let Ok(token) = std::str::from_utf8(data)
            && let Ok(read) = verify(token)
        {
            let parts: Vec<Vec<u8>> = token.split('.').map(|part| reference::base64url(part).unwrap()).collect();
            assert_eq!(parts.len(), 3);
            assert_eq!(reference::object(&parts[1]), Some(read));
        }
    });
}

fn is_rsa_header(header: &Map<String, Value>) -> bool {
    let typ = header
        .get("typ")
        .is_none_or(|typ| typ.as_str().is_some_and(|typ| TYPES.contains(&typ.to_ascii_lowercase().as_str())));
    let alg = matches!(header.get("alg").and_then(Value::as_str), Some("RS256" | "RS384" | "RS512"));
    let kid = header.get("kid").is_none_or(|kid| kid == "rsa" || kid == "");
    typ && alg && kid && !header.contains_key("crit")
}

/// The claims: strict JSON, read and compared with the clock as the reference does it.
pub fn claims(data: &[u8]) {
    let payload = strict_object(data);
    assert_eq!(payload, reference::object(data));
    let Some(payload) = payload else {
        return;
    };
    let rules = ClaimRules {
        issuers: vec!["https://issuer.example".to_owned()],
        audiences: vec!["payments".to_owned()],
        leeway: 30,
        client_id_claims: vec!["client_id".to_owned(), "azp".to_owned()],
    };
    let lenient = ClaimRules { issuers: Vec::new(), audiences: Vec::new(), ..rules.clone() };
    let read = Claims::read(&payload, &rules);
    assert_eq!(read.is_ok(), are_typed(&payload));
    let Ok(claims) = read else {
        return;
    };
    assert_eq!(claims.scopes, [words(payload.get("scope")), words(payload.get("scp"))].concat());
    // `null` is as good as absent.
    let payload: Map<String, Value> =
        payload.into_iter().filter(|(name, value)| !value.is_null() || name == "cnf").collect();
    let clients = ["client_id", "azp"].into_iter().filter_map(|name| payload.get(name).and_then(Value::as_str));
    assert!(claims.clients.iter().flatten().map(String::as_str).eq(clients));
    assert_eq!(matches!(claims.confirmation, Confirmation::Absent), !payload.contains_key("cnf"));
    bound(&payload, claims.confirmation);
    let time = |name: &str| payload.get(name).and_then(Value::as_f64).map(|seconds| seconds.floor() as i64);
    let edges = [time("exp"), time("nbf"), time("iat"), Some(0), Some(i64::MAX)];
    for now in edges.into_iter().flatten().flat_map(|time| [-31, -30, -1, 0, 29, 30].map(|by| time.saturating_add(by)))
    {
        let timely = now < time("exp").unwrap() + 30
            && time("nbf").is_none_or(|at| at <= now.saturating_add(30))
            && time("iat").is_none_or(|at| at <= now.saturating_add(30));
        let meant = payload.get("iss").is_some_and(|issuer| issuer == "https://issuer.example")
            && payload.get("aud").is_some_and(|audience| {
                audience == "payments"
                    || audience.as_array().is_some_and(|all| all.iter().any(|audience| audience == "payments"))
            });
        assert_eq!(claims.check(&lenient, now).is_ok(), timely);
        assert_eq!(claims.check(&rules, now).is_ok(), timely && meant);
    }
}

/// Only the certificate that is named passes.
fn bound(payload: &Map<String, Value>, confirmation: Confirmation) {
    let named = payload.get("cnf").and_then(|cnf| cnf.get("x5t#S256")).and_then(Value::as_str);
    let bytes = named.and_then(reference::base64url).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let thumbprint = bytes.map(Thumbprint::from);
    match confirmation {
        Confirmation::Certificate(named) => assert_eq!(Some(named), thumbprint),
        _ => assert_eq!(thumbprint, None),
    }
    for certificate in [None, thumbprint, Some(Thumbprint::of(b"another"))] {
        let expected = match (payload.contains_key("cnf"), certificate) {
            (false, _) => Some(false),
            (true, Some(certificate)) if Some(certificate) == thumbprint => Some(true),
            (true, _) => None,
        };
        assert_eq!(confirmation.check(certificate).ok(), expected);
    }
}

fn are_typed(payload: &Map<String, Value>) -> bool {
    let payload: Map<String, Value> = payload
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let date = |name: &str| {
        payload.get(name).is_none_or(|date| date.as_f64().is_some_and(|date| (0.0..253_402_300_800.0).contains(&date)))
    };
    let text = |name: &str| payload.get(name).is_none_or(|text| text.as_str().is_some_and(|text| !text.is_empty()));
    let list = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let words = |name: &str| payload.get(name).is_none_or(|words| words.is_string() || list(words));
    payload.contains_key("exp")
        && ["exp", "nbf", "iat"].into_iter().all(date)
        && ["iss", "client_id", "azp"].into_iter().all(text)
        && ["scope", "scp"].into_iter().all(words)
        && payload.get("aud").is_none_or(|aud| aud.is_string() || (list(aud) && aud != &json!([])))
}

fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(words)) => words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A key set: strict JSON with at most a hundred keys, each of them kept or told; a key that is kept serves an algorithm of
/// its kind, is the one key of its name and kind, and has the encoding that the host is shown.
pub fn key_set(data: &[u8]) {
    // A byte order mark is ignored.
    let listed = reference::object(data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data))
        .and_then(|set| set.get("keys").and_then(Value::as_array).cloned());
    let (set, left_out) = match (KeySet::from_json(data), listed.as_deref()) {
        (Ok(read), Some(listed)) => {
            assert_eq!(read.0.named(None).count() + read.1.len(), listed.len());
            assert!(listed.len() <= 100);
            read
        }
        (Err(SetError::TooMany), Some(listed)) => return assert!(listed.len() > 100),
        (Err(SetError::Empty(_)), _) | (Err(SetError::NoKeys | SetError::Json), None) => return,
        (read, _) => panic!("{:?}", read.map(|_| ())),
    };
    assert!(set.named(None).count() > 0);
    assert!(left_out.iter().all(|key| key.index < listed.as_deref().unwrap_or_default().len()));
    for (index, key) in set.named(None).enumerate() {
        let serves = Algorithm::ALL.iter().filter(|algorithm| key.serves(**algorithm));
        assert!(serves.clone().count() > 0);
        let same = |other: &&mtls_authz::Key| {
            other.id == key.id && other.algorithm == key.algorithm && other.material.is_same(&key.material)
        };
        assert_eq!(set.named(None).filter(same).count(), 1);
        if let Material::Rsa(_, spki) | Material::Ec(_, spki) = &key.material {
            let (rest, info) = SubjectPublicKeyInfo::from_der(spki).unwrap();
            assert!(rest.is_empty() && info.parsed().is_ok());
        }
        // That one signature is verified is costly, and more of them tell nothing new.
        if index < 4 {
            for algorithm in serves {
                assert_ne!(verify_signature(&Host::default(), *algorithm, &key.material, b"", &[1; 64]), Some(true));
            }
        }
    }
}

/// The payload in dynamic metadata: any bytes are read or refused, and a payload is that of the token that spells it and
/// of no other.
pub fn metadata(data: &[u8]) {
    let payload = |metadata: &[u8], bearer: Option<&str>| {
        let host = Host::default().with(mtls_authz::Property::DynamicMetadata, metadata.to_vec());
        let found = verified_payload("envoy.filters.http.jwt_authn", &["payload".to_owned()], bearer, &host);
        found.map(|found| found.map(|(_, payload)| payload))
    };
    let token = |payload: &[u8]| {
        let encoded = [br#"{"alg":"RS256"}"#, payload, b"x"].map(|part| URL_SAFE_NO_PAD.encode(part));
        encoded.join(".")
    };
    let read = payload(data, None);
    let json = reference::object(data);
    for members in [read.ok().flatten(), json].into_iter().flatten() {
        let mut other = members.clone();
        let value = Value::Object(members);
        let text = value.to_string();
        let metadata = reference::protobuf_metadata("envoy.filters.http.jwt_authn", "payload", &value);
        // Nested too deeply for protobuf, or longer than any token.
        let Ok(Some(written)) = payload(&metadata, None) else {
            continue;
        };
        assert_eq!(payload(&metadata, Some(&token(text.as_bytes()))), Ok(Some(written)), "{text}");
        other.insert("more".to_owned(), json!(!value["more"].as_bool().unwrap_or_default()));
        assert!(payload(&metadata, Some(&token(Value::Object(other).to_string().as_bytes()))).is_err(), "{text}");
    }
}
