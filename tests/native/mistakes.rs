//! Mistakes that people make: the filter refuses each with its place. Which of them the schema sees, tests/tools/test_schema.py says.

use mtls_authz::Policy;
use serde_json::{Map, Value, json};

/// A policy in which these members take the place of their own.
fn with(members: &Value) -> String {
    let mut policy = json!({
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [{"paths": ["/a"]}]}},
    });
    let members: &Map<String, Value> = members.as_object().unwrap();
    policy.as_object_mut().unwrap().extend(members.clone());
    policy.to_string()
}

fn cases() -> Value {
    serde_json::from_str(include_str!("mistakes.json")).unwrap()
}

#[test]
fn each_mistake_is_refused_with_its_place_and_nothing_else() {
    for mistake in cases()["mistakes"].as_array().unwrap() {
        let errors = Policy::from_json(with(&mistake["members"])).map(drop).expect_err(&mistake.to_string());
        let paths: Vec<&str> = errors.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, [mistake["path"].as_str().unwrap()], "{mistake}\n{errors}");
        assert!(errors.problem.contains("found") && errors.problem.contains("expected"), "{errors}");
        assert!(!errors.may_be_more, "{errors}");
    }
}

#[test]
fn what_the_schema_takes_is_accepted() {
    for members in cases()["good"].as_array().unwrap() {
        let policy = Policy::from_json(with(members)).unwrap_or_else(|problem| panic!("{members}\n{problem}"));
        assert!(policy.candidate.is_none_or(|candidate| candidate.is_ok()), "{members}");
    }
}
