//! Less proof never gives more: what a request leaves out, and what a policy adds, never turns a refusal into an allow, nor
//! an allow into one for another client, profile or principal.
//!
//! `LESS_PROOF_CASES=1000000 cargo test --test native less_proof` compares a million times; `make less-proof` does.

mod choices;
mod coverage;
mod exceptions;
mod holds;
mod language;
mod model;
mod policies;
mod pool;
mod requests;
mod restrictions;

use std::collections::BTreeMap;

use mtls_authz::{Decision, Memory, Policy, Request, decide};
use serde_json::Value;

use self::choices::{Choices, reduced};
use self::coverage::Tally;
use self::exceptions::Pair;
use self::requests::{Ask, Less};
use self::restrictions::RESTRICTIONS;
use crate::host::Host;

/// What a weaker request, or the same request under a stricter policy, may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gain {
    /// It is let through.
    Passes,
    /// The upstream is told whose it is.
    IsVouchedFor,
    /// It is another client's, or under another profile or principal.
    IsAnother,
}

/// A policy in force.
pub struct Scene {
    json: Value,
    policy: Policy,
    memory: Memory,
}

impl Scene {
    /// None where the configuration is refused.
    fn of(json: Value) -> Option<Self> {
        let policy = Policy::from_json(json.to_string()).ok()?;
        let memory = Memory::new(&policy.token.source);
        Some(Self { json, policy, memory })
    }

    /// Decides after another request was made so and so often.
    fn decide_after(&self, first: &Ask, ask: &Ask) -> Decision {
        let host = self.host(ask);
        if first.before > 0 {
            let earlier = self.host(first);
            (0..first.before).for_each(|_| drop(self.decide_over(first, &earlier)));
            host.fake.shared.replace(earlier.fake.shared.take());
        }
        self.decide_over(ask, &host)
    }

    fn host(&self, ask: &Ask) -> Host {
        ask.host(self.json["token"]["source"] == "jwt_authn")
    }

    fn decide_over(&self, ask: &Ask, host: &Host) -> Decision {
        let written = ask.written();
        let headers: Vec<_> = written.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        decide(&self.policy, &self.memory, &Request::new(&headers), host)
    }
}

/// Is it let through?
fn passes(decision: &Decision) -> bool {
    decision.refusal().is_none()
}

/// What the upstream is told, or would have been.
#[derive(Debug, PartialEq, Eq)]
struct Who {
    client: Option<String>,
    profile: Option<String>,
    principal: Option<String>,
}

fn who(decision: &Decision) -> Who {
    let caller = &decision.caller;
    let text = |text: Option<&str>| text.map(str::to_owned);
    Who {
        client: text(caller.client_id()),
        profile: text(caller.profile_id.as_deref()),
        principal: text(caller.principal()),
    }
}

/// A gain that nothing excuses.
struct Violation {
    /// What was left out or added, and why that is none of the exceptions.
    kind: String,
    found: String,
}

/// The most restrictions that are added to a policy, one after the other, and the most that is left out of a request.
const STEPS: usize = 3;
/// Requests under one policy.
const REQUESTS: usize = 3;

/// A policy and the restrictions that are added to it, one after the other.
fn scenes(c: &mut Choices, tally: &mut Tally) -> Vec<(&'static str, Scene)> {
    let json = policies::policy(c);
    let problem = Policy::from_json(json.to_string()).err();
    let Some(first) = Scene::of(json) else {
        *tally.refused.entry(problem.map(|problem| problem.to_string()).unwrap_or_default()).or_default() += 1;
        return Vec::new();
    };
    tally.count_policy(&first.json);
    let mut scenes = vec![("", first)];
    let restrictions = 1 + c.below(STEPS);
    for _ in 0..2 * STEPS {
        if scenes.len() > restrictions {
            break;
        }
        let (name, add) = c.any(RESTRICTIONS);
        let mut json = scenes.last().unwrap().1.json.clone();
        if add(c, &mut json)
            && let Some(stricter) = Scene::of(json)
        {
            *tally.restrictions.entry(name).or_default() += 1;
            scenes.push((name, stricter));
        }
    }
    scenes
}

/// Makes one request, leaves out of it one thing after the other, and adds one restriction after the other.
fn compare(scenes: &[(&'static str, Scene)], c: &mut Choices, tally: &mut Tally) -> Result<(), Violation> {
    let Some((_, scene)) = scenes.first() else {
        return Ok(());
    };
    let mut ask = requests::ask(c, &scene.json);
    let mut strong = scene.decide_after(&ask, &ask);
    // Mostly one that passes, if that is not hard to find.
    for _ in 0..c.below(8) {
        if strong.verdict.is_err() {
            ask = requests::ask(c, &scene.json);
            strong = scene.decide_after(&ask, &ask);
        }
    }
    tally.count_verdict(&strong);
    check_allow(scene, &ask, &strong)?;

    let (mut stronger, mut before) = (ask.clone(), strong.clone());
    for step in 0..STEPS {
        let possible = Less::of(&stronger);
        if possible.is_empty() {
            break;
        }
        // The first time each thing by itself, then one thing more and more.
        let chosen = c.below(possible.len());
        for (index, less) in possible.iter().enumerate().filter(|(index, _)| step == 0 || *index == chosen) {
            let weaker = less.applied(&stronger);
            let weak = scene.decide_after(&ask, &weaker);
            tally.count_less(*less);
            check_allow(scene, &weaker, &weak)?;
            if let Some(gain) = exceptions::gain(&before, &weak) {
                let pair = Pair { first: &ask, more: (scene, &stronger, &before), less: (scene, &weaker, &weak) };
                let exception = pair.of_request(*less);
                let exception =
                    exception.map_err(|why| violation(format!("without {less:?}: {gain:?}, {why}"), &pair))?;
                *tally.exceptions.entry((exception, "request")).or_default() += 1;
            }
            if index == chosen && step > 0 {
                (stronger, before) = (weaker, weak);
                break;
            }
        }
        if step == 0 {
            stronger = possible[chosen].applied(&stronger);
            before = scene.decide_after(&ask, &stronger);
        }
    }

    let mut before = (scene, strong);
    for (restriction, stricter) in &scenes[1..] {
        let after = stricter.decide_after(&ask, &ask);
        tally.compared += 1;
        check_allow(stricter, &ask, &after)?;
        if let Some(gain) = exceptions::gain(&before.1, &after) {
            let pair = Pair { first: &ask, more: (before.0, &ask, &before.1), less: (stricter, &ask, &after) };
            let exception = pair.of_policy(restriction);
            let exception =
                exception.map_err(|why| violation(format!("with {restriction}: {gain:?}, {why}"), &pair))?;
            *tally.exceptions.entry((exception, "policy")).or_default() += 1;
        } else if passes(&before.1) && !passes(&after) {
            *tally.bites.entry((*restriction).to_owned()).or_default() += 1;
        }
        before = (stricter, after);
    }
    Ok(())
}

fn check_allow(scene: &Scene, ask: &Ask, decision: &Decision) -> Result<(), Violation> {
    let found = (scene, ask, decision);
    let pair = Pair { first: ask, more: found, less: found };
    exceptions::holds_by_token_alone(scene, ask, decision).map_err(|why| violation(why.to_owned(), &pair))?;
    holds::for_every_allow(scene, ask, decision).map_err(|what| violation(format!("allowed: {what}"), &pair))
}

/// Everything that is needed to see what went wrong.
fn violation(kind: String, pair: &Pair<'_>) -> Violation {
    let policy = |scene: &Scene| serde_json::to_string_pretty(&scene.json).unwrap();
    let mut found = format!("policy {}\n", policy(pair.more.0));
    if pair.less.0.json != pair.more.0.json {
        found += &format!("stricter {}\n", policy(pair.less.0));
    }
    for (name, (_, ask, decision)) in [("more", pair.more), ("less", pair.less)] {
        let verdict = decision.verdict.as_ref().map(|allow| allow.rule).map_err(|deny| deny.reason);
        let (binding, path) = (decision.caller.binding, &decision.path);
        let passes = if passes(decision) { "passes" } else { "is refused" };
        found += &format!("{name} {ask:?}\n  {verdict:?} {passes}, {:?}, {binding:?}, path {path:?}\n", who(decision));
    }
    Violation { kind, found: pool::readable(&found) }
}

/// The smallest choices that end in a violation of this kind, and what they make.
fn smallest(kind: &str, policy: Vec<u32>, request: Vec<u32>) -> String {
    let run = |policy: &[u32], request: &[u32]| {
        let scenes = scenes(&mut Choices::again(policy), &mut Tally::default());
        compare(&scenes, &mut Choices::again(request), &mut Tally::default()).err()
    };
    let fails = |policy: &[u32], request: &[u32]| run(policy, request).is_some_and(|violation| violation.kind == kind);
    let request = reduced(request, &|request| fails(&policy, request));
    let policy = reduced(policy, &|policy| fails(policy, &request));
    let request = reduced(request, &|request| fails(&policy, request));
    run(&policy, &request).map(|violation| violation.found).unwrap_or_default()
}

#[test]
fn less_proof_never_gives_more() {
    let number = |name: &str, usual: usize| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (cases, seed) = (number("LESS_PROOF_CASES", 20_000), number("LESS_PROOF_SEED", 1) as u64);
    let started = std::time::Instant::now();
    let mut tally = Tally::default();
    let mut violations: BTreeMap<String, (usize, Vec<u32>, Vec<u32>)> = BTreeMap::new();
    let mut round = seed << 32;
    while tally.compared < cases {
        round += 1;
        let mut policy = Choices::by_chance(round * 1_000);
        let scenes = scenes(&mut policy, &mut tally);
        if scenes.is_empty() {
            continue;
        }
        for index in 1..=REQUESTS {
            let mut request = Choices::by_chance(round * 1_000 + index as u64);
            if let Err(violation) = compare(&scenes, &mut request, &mut tally) {
                violations.entry(violation.kind).or_insert((0, policy.made.clone(), request.made)).0 += 1;
            }
        }
    }
    println!("compared after {:?}", started.elapsed());
    for (kind, (times, policy, request)) in violations.iter() {
        println!("=== {times} x {kind}\n{}", smallest(kind, policy.clone(), request.clone()));
    }
    assert!(violations.is_empty(), "{:#?}", violations.keys());
    tally.check();
}
