//! The claims of a token (RFC 7519, RFC 9068), read strictly: a claim of the wrong type is not absent, it is wrong.

use serde_json::{Map, Value};

use super::Provider;
use super::binding::Confirmation;
use crate::decision::{Deny, Reason};

/// No time beyond the year 9999 is one.
const MAX_NUMERIC_DATE: i64 = 253_402_300_799;

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
            expires_at: date(payload, "exp")?.ok_or_else(|| invalid("exp", "is missing"))?,
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
        if now >= self.expires_at.saturating_add(rules.leeway) {
            return Err(Reason::TokenExpired.into());
        }
        let latest = now.saturating_add(rules.leeway);
        if self.not_before.is_some_and(|at| at > latest) || self.issued_at.is_some_and(|at| at > latest) {
            return Err(Reason::TokenNotYetValid.into());
        }
        let known = |list: &[String], value: &String| list.is_empty() || list.contains(value);
        if !rules.issuers.is_empty() && !self.issuer.as_ref().is_some_and(|issuer| known(&rules.issuers, issuer)) {
            return Err(Reason::TokenIssuerMismatch.into());
        }
        self.check_audience(&rules.audiences)
    }

    /// Is the token from the provider for which that speaks which verified it (`place`), and for one of its audiences?
    pub fn check_provider(&self, providers: &[Provider], place: usize) -> Result<(), Deny> {
        let mut spoken_for = providers.iter().filter(|provider| provider.place == place);
        let provider = spoken_for.find(|provider| self.issuer.as_ref() == Some(&provider.issuer)).ok_or_else(|| {
            Deny::new(Reason::TokenIssuerMismatch)
                .with_note("the token's iss is not the issuer whose provider in jwt_authn verified it")
        })?;
        self.check_audience(&provider.audiences)
    }

    fn check_audience(&self, accepted: &[String]) -> Result<(), Deny> {
        if accepted.is_empty() || self.audiences.iter().any(|audience| accepted.contains(audience)) {
            Ok(())
        } else {
            Err(Reason::TokenAudienceMismatch.into())
        }
    }
}

/// A NumericDate: whole seconds, not negative, before the year 10000.
fn date(payload: &Map<String, Value>, claim: &'static str) -> Result<Option<i64>, Deny> {
    let Some(value) = payload.get(claim) else {
        return Ok(None);
    };
    value
        .as_i64()
        .filter(|seconds| (0..=MAX_NUMERIC_DATE).contains(seconds))
        .map(Some)
        .ok_or_else(|| invalid(claim, "is not a whole number of seconds since 1970"))
}

fn text(payload: &Map<String, Value>, claim: &str) -> Result<Option<String>, Deny> {
    match payload.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(invalid(claim, "is empty or not a text")),
    }
}

/// `aud`: a text or a list of texts that is not empty (RFC 7519 section 4.1.3).
fn audiences(payload: &Map<String, Value>) -> Result<Vec<String>, Deny> {
    match payload.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(audience)) => Ok(vec![audience.clone()]),
        Some(Value::Array(list)) if !list.is_empty() => texts("aud", list),
        Some(_) => Err(invalid("aud", "is neither a text nor a list of texts")),
    }
}

/// Scopes: words between spaces (RFC 8693 section 4.2), or a list of them as some issuers and Istio write it.
fn words(payload: &Map<String, Value>, claim: &'static str) -> Result<Vec<String>, Deny> {
    match payload.get(claim) {
        None => Ok(Vec::new()),
        Some(Value::String(words)) => Ok(words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()),
        Some(Value::Array(list)) => texts(claim, list),
        Some(_) => Err(invalid(claim, "is neither a text nor a list of texts")),
    }
}

fn texts(claim: &'static str, list: &[Value]) -> Result<Vec<String>, Deny> {
    list.iter()
        .map(|value| value.as_str().map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(|| invalid(claim, "is neither a text nor a list of texts"))
}

fn invalid(claim: &str, problem: &str) -> Deny {
    Deny::new(Reason::TokenClaimsInvalid).with_detail(format!("The token's claim {claim} {problem}."))
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
            json!({"exp": 1_800_000_060.5}),
            json!({"exp": 1_800_000_060.0}),
            json!({"exp": 253_402_300_800_i64}),
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

    #[test]
    fn scopes_are_words_or_a_list() {
        let read = |payload: Value| Claims::read(payload.as_object().unwrap(), &rules()).unwrap().scopes;
        assert_eq!(read(json!({"exp": NOW, "scope": "a  b"})), ["a", "b"]);
        assert_eq!(read(json!({"exp": NOW, "scope": ["a"], "scp": "b"})), ["a", "b"]);
    }
}
