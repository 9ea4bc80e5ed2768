//! The claims of a token (RFC 7519, RFC 9068), read strictly: a claim of the wrong type is not absent, it is wrong.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Provider;
use super::binding::Confirmation;
use crate::decision::{Deny, Reason};
use crate::line::{Excerpt, listed_texts};

/// The first second of the year 10000.
const END_OF_DATES: f64 = 253_402_300_800.0;

/// What a token must say (`token`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimRules {
    /// Accepted `iss`; empty: any.
    pub issuers: Vec<String>,
    /// One of these must be in `aud`; empty: any.
    pub audiences: Vec<String>,
    /// Seconds by which clocks may differ.
    pub leeway: i64,
    /// Claims that name the client.
    pub client_id_claims: Vec<String>,
}

/// The claims that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    expires_at: i64,
    not_before: Option<i64>,
    issued_at: Option<i64>,
    issuer: Option<String>,
    audiences: Vec<String>,
    /// From `scope` or `scp`.
    pub scopes: Vec<String>,
    /// What each of [`ClaimRules::client_id_claims`] says, where it is there.
    pub clients: Vec<Option<String>>,
    /// `cnf`
    pub confirmation: Confirmation,
}

impl Claims {
    /// Types the members of a payload.
    ///
    /// # Errors
    /// 401 `token_claims_invalid`, the detail naming the claim.
    pub fn read(payload: &Map<String, Value>, rules: &ClaimRules) -> Result<Self, Deny> {
        let mut scopes = words(payload, "scope")?;
        scopes.extend(words(payload, "scp")?);
        let mut clients = Vec::new();
        for claim in &rules.client_id_claims {
            clients.push(text(payload, claim)?);
        }
        Ok(Self {
            expires_at: date(payload, "exp")?.ok_or_else(|| {
                Deny::new(Reason::TokenClaimsInvalid).with_detail("The token has no exp, so nobody knows when it ends.")
            })?,
            not_before: date(payload, "nbf")?,
            issued_at: date(payload, "iat")?,
            issuer: text(payload, "iss")?,
            audiences: audiences(payload)?,
            scopes,
            clients,
            confirmation: Confirmation::read(payload.get("cnf")),
        })
    }

    /// Is the token valid now (seconds since 1970), from one of the issuers, for one of the audiences?
    pub fn check(&self, rules: &ClaimRules, now: i64) -> Result<(), Deny> {
        let leeway = rules.leeway;
        let untimely = |reason, claim, at: i64, are: &str| {
            let note = format!(
                "the token's {claim} is {at}, and now is {now}: {} seconds {are}, of which leeway_seconds allows {leeway}",
                at.abs_diff(now)
            );
            Err(Deny::new(reason).with_note(note))
        };
        if now >= self.expires_at.saturating_add(leeway) {
            return untimely(Reason::TokenExpired, "exp", self.expires_at, "ago");
        }
        let latest = now.saturating_add(leeway);
        for (claim, at) in [("nbf", self.not_before), ("iat", self.issued_at)] {
            if let Some(at) = at.filter(|at| *at > latest) {
                return untimely(Reason::TokenNotYetValid, claim, at, "ahead");
            }
        }
        if !rules.issuers.is_empty() && !self.issuer.as_ref().is_some_and(|issuer| rules.issuers.contains(issuer)) {
            let mut expected = rules.issuers.iter().map(String::as_str);
            return Err(of_another_issuer(self.issuer.as_deref(), "token.issuers", &mut expected));
        }
        self.check_audience(&rules.audiences)
    }

    /// Is the token from the provider for which that speaks which verified it (`place`), and for one of its audiences?
    pub fn check_provider(&self, providers: &[Provider], place: usize) -> Result<(), Deny> {
        let mut spoken_for = providers.iter().filter(|provider| provider.place == place);
        let mut expected = spoken_for.clone().map(|provider| provider.issuer.as_str());
        let provider = spoken_for.find(|provider| self.issuer.as_ref() == Some(&provider.issuer)).ok_or_else(|| {
            let setting = "token.providers that have the metadata_key under which jwt_authn left the payload";
            of_another_issuer(self.issuer.as_deref(), setting, &mut expected)
        })?;
        self.check_audience(&provider.audiences)
    }

    fn check_audience(&self, accepted: &[String]) -> Result<(), Deny> {
        if accepted.is_empty() || self.audiences.iter().any(|audience| accepted.contains(audience)) {
            Ok(())
        } else {
            let found = listed_texts(&mut self.audiences.iter().map(String::as_str));
            let expected = listed_texts(&mut accepted.iter().map(String::as_str));
            let note = format!("expected one of audiences in the token's aud: {expected}; found: {found}");
            Err(Deny::new(Reason::TokenAudienceMismatch).with_note(note))
        }
    }
}

/// A refusal that says which `iss` was found and which are expected, those of this setting.
pub(super) fn of_another_issuer(found: Option<&str>, setting: &str, expected: &mut dyn Iterator<Item = &str>) -> Deny {
    let found = found.map_or_else(|| "absent".to_owned(), |found| Excerpt(found.as_bytes()).to_string());
    let expected = listed_texts(expected);
    let note = format!("the token's iss is {found}, expected exactly one of {setting}: {expected}");
    Deny::new(Reason::TokenIssuerMismatch).with_note(note)
}

/// A claim that says something: `null` is as good as absent, in both sources.
fn claim<'a>(payload: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    payload.get(name).filter(|value| !value.is_null())
}

/// A NumericDate (RFC 7519 section 2): a number of seconds since 1970, before the year 10000. Fractions are cut off, so that no
/// token lives longer than its `exp`.
fn date(payload: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Deny> {
    let Some(value) = claim(payload, name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().filter(|seconds| (0.0..END_OF_DATES).contains(seconds)).map(f64::trunc);
    let whole = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let whole = whole.and_then(|seconds| i64::try_from(seconds.as_secs()).ok());
    let expected = "a number of seconds since 1970, before the year 10000";
    whole.map(Some).ok_or_else(|| match value.is_number() {
        true => wrong(name, expected, "a number outside of that"),
        false => invalid(name, expected, value),
    })
}

fn text(payload: &Map<String, Value>, name: &str) -> Result<Option<String>, Deny> {
    match claim(payload, name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(other) => Err(invalid(name, "a text that is not empty", other)),
    }
}

/// `aud`: a text or a list of texts that is not empty (RFC 7519 section 4.1.3).
fn audiences(payload: &Map<String, Value>) -> Result<Vec<String>, Deny> {
    match claim(payload, "aud") {
        Some(empty @ Value::Array(list)) if list.is_empty() => Err(invalid("aud", TEXTS, empty)),
        Some(Value::String(audience)) => Ok(vec![audience.clone()]),
        _ => list(payload, "aud"),
    }
}

/// Scopes: words between spaces (RFC 8693 section 4.2), or a list of them as some issuers and Istio write it.
fn words(payload: &Map<String, Value>, name: &'static str) -> Result<Vec<String>, Deny> {
    match claim(payload, name) {
        Some(Value::String(words)) => Ok(words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()),
        _ => list(payload, name),
    }
}

fn list(payload: &Map<String, Value>, name: &'static str) -> Result<Vec<String>, Deny> {
    match claim(payload, name) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| invalid(name, TEXTS, value)))
            .collect(),
        Some(other) => Err(invalid(name, TEXTS, other)),
    }
}

const TEXTS: &str = "a text, or a list of texts";

/// `found`: the value or the member of the list that is wrong.
fn invalid(name: &str, expected: &str, found: &Value) -> Deny {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty text",
        Value::String(_) => "a text",
        Value::Array(list) if list.is_empty() => "an empty list",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    wrong(name, expected, found)
}

fn wrong(name: &str, expected: &str, found: &str) -> Deny {
    let problem = format!("The token's claim {name} must be {expected}; found {found}.");
    Deny::new(Reason::TokenClaimsInvalid).with_detail(problem)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn rules() -> ClaimRules {
        ClaimRules {
            issuers: vec!["https://issuer.example".to_owned()],
            audiences: vec!["payments".to_owned()],
            leeway: 30,
            client_id_claims: vec!["client_id".to_owned(), "azp".to_owned()],
        }
    }

    fn verdict(changes: Value) -> Result<(), Reason> {
        let mut payload =
            json!({"iss": "https://issuer.example", "aud": "payments", "exp": NOW + 60, "client_id": "acme"});
        for (name, value) in changes.as_object().unwrap() {
            payload[name] = value.clone();
        }
        Claims::read(payload.as_object().unwrap(), &rules())
            .and_then(|claims| claims.check(&rules(), NOW))
            .map_err(|deny| deny.reason)
    }

    #[test]
    fn a_claim_of_the_wrong_type_refuses_the_token() {
        for changes in [
            json!({"exp": "1800000060"}),
            json!({"exp": null}),
            json!({"exp": -1}),
            json!({"exp": 1e300}),
            json!({"exp": -0.5}),
            json!({"exp": 253_402_300_800_i64}),
            json!({"exp": 253_402_300_800.0}),
            json!({"exp": u64::MAX}),
            json!({"exp": [1]}),
            json!({"exp": true}),
            json!({"nbf": "0"}),
            json!({"iat": {}}),
            json!({"iss": 1}),
            json!({"iss": ""}),
            json!({"aud": 1}),
            json!({"aud": []}),
            json!({"aud": ["payments", 1]}),
            json!({"scope": 1}),
            json!({"scp": [1]}),
            json!({"client_id": 1}),
            json!({"azp": ["acme"]}),
        ] {
            assert_eq!(verdict(changes.clone()), Err(Reason::TokenClaimsInvalid), "{changes}");
        }
        let no_expiry = Claims::read(&Map::new(), &rules());
        assert_eq!(no_expiry.map_err(|deny| deny.reason), Err(Reason::TokenClaimsInvalid));
    }

    #[test]
    fn times_count_with_leeway_and_issuer_and_audience_exactly() {
        for (changes, expected) in [
            (json!({}), Ok(())),
            (json!({"exp": NOW - 29}), Ok(())),
            (json!({"exp": NOW - 30}), Err(Reason::TokenExpired)),
            (json!({"nbf": NOW + 30}), Ok(())),
            (json!({"nbf": NOW + 31}), Err(Reason::TokenNotYetValid)),
            (json!({"iat": NOW + 31}), Err(Reason::TokenNotYetValid)),
            (json!({"iss": "https://issuer.example/"}), Err(Reason::TokenIssuerMismatch)),
            (json!({"aud": "Payments"}), Err(Reason::TokenAudienceMismatch)),
            (json!({"aud": ["other", "payments"]}), Ok(())),
        ] {
            assert_eq!(verdict(changes.clone()), expected, "{changes}");
        }
    }

    /// PHP issuers write fractions, some of Java exponents. The texts are read as a token's payload is.
    #[test]
    fn a_date_may_have_a_fraction_or_an_exponent_and_never_lasts_longer_than_it_says() {
        let at = |exp: &str, now: i64| {
            let payload = crate::json::object(format!("{{\"exp\":{exp}}}").as_bytes()).unwrap();
            Claims::read(&payload, &ClaimRules::default())
                .and_then(|claims| claims.check(&ClaimRules::default(), now))
                .map_err(|deny| deny.reason)
        };
        for (exp, ends) in [
            ("1800000000", 1_800_000_000),
            ("1800000000.0", 1_800_000_000),
            ("1800000000.123456", 1_800_000_000),
            ("1800000000.999999", 1_800_000_000),
            ("1.8E9", 1_800_000_000),
            ("1.8e+9", 1_800_000_000),
            ("18000000000e-1", 1_800_000_000),
            ("1800000000000000E-6", 1_800_000_000),
            ("0.5", 0),
            ("-0.0", 0),
            ("253402300799.9", 253_402_300_799),
        ] {
            assert_eq!(at(exp, ends - 1), Ok(()), "{exp}");
            assert_eq!(at(exp, ends), Err(Reason::TokenExpired), "{exp}");
        }
    }

    #[test]
    fn null_is_as_good_as_absent() {
        for name in ["nbf", "iat", "scope", "scp", "client_id", "azp"] {
            assert_eq!(verdict(json!({name: null})), Ok(()), "{name}");
        }
        for (name, expected) in [
            ("exp", Reason::TokenClaimsInvalid),
            ("iss", Reason::TokenIssuerMismatch),
            ("aud", Reason::TokenAudienceMismatch),
        ] {
            assert_eq!(verdict(json!({name: null})), Err(expected), "{name}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_found_and_what_was_expected() {
        let told = |changes: Value| {
            let mut payload =
                json!({"iss": "https://issuer.example", "aud": "payments", "exp": NOW + 60, "sub": "personal"});
            for (name, value) in changes.as_object().unwrap() {
                payload[name] = value.clone();
            }
            let claims = Claims::read(payload.as_object().unwrap(), &rules());
            let deny = claims.and_then(|claims| claims.check(&rules(), NOW)).unwrap_err();
            format!("{}{}", deny.detail.unwrap_or_default(), deny.note.unwrap_or_default())
        };
        let long = format!("https://{}", "x".repeat(20_000));
        for (changes, expected) in [
            (
                json!({"exp": NOW - 40}),
                "exp is 1799999960, and now is 1800000000: 40 seconds ago, of which leeway_seconds allows 30",
            ),
            (
                json!({"nbf": 1_800_000_031.5}),
                "nbf is 1800000031, and now is 1800000000: 31 seconds ahead, of which leeway_seconds allows 30",
            ),
            (json!({"iat": NOW + 99}), "iat is 1800000099"),
            (
                json!({"iss": "https://issuer.example/"}),
                r#"iss is "https://issuer.example/", expected exactly one of token.issuers: "https://issuer.example""#,
            ),
            (json!({"iss": null}), "iss is absent"),
            (json!({"iss": "a\nb"}), r#"iss is "a\nb""#),
            (json!({"iss": long}), r#"x"…, expected exactly one of token.issuers: "https"#),
            (json!({"aud": ["a", "b"]}), r#"token's aud: "payments"; found: "a", "b""#),
            (json!({"aud": null}), r#"token's aud: "payments"; found: none"#),
            (json!({"aud": vec!["x"; 12]}), r#""x" and 2 more"#),
            (json!({"aud": []}), "claim aud must be a text, or a list of texts; found an empty list."),
            (json!({"aud": ["payments", 1]}), "claim aud must be a text, or a list of texts; found a number."),
            (json!({"scope": {}}), "claim scope must be a text, or a list of texts; found an object."),
            (json!({"azp": ""}), "claim azp must be a text that is not empty; found an empty text."),
            (
                json!({"exp": "1800000060"}),
                "claim exp must be a number of seconds since 1970, before the year 10000; found a text.",
            ),
            (json!({"exp": -1}), "found a number outside of that."),
            (json!({"exp": null}), "has no exp"),
        ] {
            let told = told(changes.clone());
            assert!(told.contains(expected) && !told.contains("personal") && told.len() < 1_024, "{changes}: {told}");
        }
    }

    #[test]
    fn scopes_are_words_or_a_list() {
        let read = |payload: Value| Claims::read(payload.as_object().unwrap(), &rules()).unwrap().scopes;
        assert_eq!(read(json!({"exp": NOW, "scope": "a  b"})), ["a", "b"]);
        assert_eq!(read(json!({"exp": NOW, "scope": ["a"], "scp": "b"})), ["a", "b"]);
    }
}
