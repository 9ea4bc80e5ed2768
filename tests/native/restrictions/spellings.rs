//! Random patterns and random spellings, judged by a slow model of upstreams that knows nothing of the filter.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

/// A denied pattern, before it is spelt.
#[derive(Debug, Clone)]
enum Part {
    Name(Vec<char>),
    One,
    Any,
}

/// What `path` of the policy says.
#[derive(Debug, Clone, Copy)]
struct Settings {
    keeps_slashes: bool,
    keeps_semicolons: bool,
    ignores_case: bool,
}

/// Decides by numbers that proptest makes, and shrinks.
struct Dice<'a>(&'a [u8], usize);

impl Dice<'_> {
    fn below(&mut self, sides: usize) -> usize {
        self.1 += 1;
        usize::from(self.0[self.1 % self.0.len()]).wrapping_add(self.1 / self.0.len()) % sides
    }

    fn once_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 1
    }
}

/// When an upstream takes `;parameters` off a segment.
#[derive(Debug, Clone, Copy)]
struct Cuts {
    before_decoding: bool,
    after_decoding: bool,
}

/// A model of an upstream: it splits at `/`, decodes once, looks a resource up by its names.
#[derive(Debug, Clone, Copy)]
struct Upstream {
    cuts: Cuts,
    /// Characters that still separate when they come out of an escape.
    separators: &'static [char],
    ignores_case: bool,
}

/// Every upstream for which the policy's settings can be right.
fn upstreams(settings: Settings) -> Vec<Upstream> {
    let separators: &[&'static [char]] =
        if settings.keeps_slashes { &[&[], &['/'], &['\\'], &['/', '\\']] } else { &[&[]] };
    let truths: &[bool] = if settings.keeps_semicolons { &[false, true] } else { &[false] };
    let mut all = Vec::new();
    for separators in separators {
        for before_decoding in truths {
            for after_decoding in truths {
                let cuts = Cuts { before_decoding: *before_decoding, after_decoding: *after_decoding };
                all.push(Upstream { cuts, separators, ignores_case: settings.ignores_case });
            }
        }
    }
    all
}

impl Upstream {
    /// The names under which it looks a path up.
    fn names(self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for written in path.split('/') {
            let mut written = written.to_owned();
            if self.cuts.before_decoding {
                written.truncate(written.find(';').unwrap_or(written.len()));
            }
            let mut name = String::new();
            for c in decoded(&written).chars() {
                if self.separators.contains(&c) {
                    self.take(std::mem::take(&mut name), &mut names);
                } else {
                    name.push(c);
                }
            }
            self.take(name, &mut names);
        }
        names
    }

    fn take(self, mut name: String, names: &mut Vec<String>) {
        if self.cuts.after_decoding {
            name.truncate(name.find(';').unwrap_or(name.len()));
        }
        match name.as_str() {
            "" | "." => {}
            ".." => drop(names.pop()),
            _ => names.push(self.looked_up(&name)),
        }
    }

    fn looked_up(self, name: &str) -> String {
        if self.ignores_case { name.to_uppercase().to_lowercase().replace('ς', "σ") } else { name.to_owned() }
    }

    /// Is what it looks up there denied?
    fn denies(self, pattern: &[Part], path: &str) -> bool {
        matches(&self.wanted(pattern), &self.names(path))
    }

    /// The names of a pattern.
    fn wanted(self, pattern: &[Part]) -> Vec<Wanted> {
        // A name with a separator in it is several names here.
        let mut wanted = Vec::new();
        for part in pattern {
            match part {
                Part::Name(name) => {
                    let name: String = name.iter().collect();
                    let names = name.split(self.separators).filter(|name| !name.is_empty());
                    wanted.extend(names.map(|name| Wanted::Name(self.looked_up(name))));
                }
                Part::One => wanted.push(Wanted::One),
                Part::Any => wanted.push(Wanted::Any),
            }
        }
        wanted
    }
}

enum Wanted {
    Name(String),
    One,
    Any,
}

fn matches(wanted: &[Wanted], names: &[String]) -> bool {
    match (wanted, names) {
        ([], []) => true,
        ([Wanted::Any, rest @ ..], _) => (0..=names.len()).any(|skipped| matches(rest, &names[skipped..])),
        ([Wanted::One, rest @ ..], [_, names @ ..]) => matches(rest, names),
        ([Wanted::Name(wanted), rest @ ..], [name, names @ ..]) => wanted == name && matches(rest, names),
        _ => false,
    }
}

/// Every escape undone, once.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut pieces = text.split('%');
    bytes.extend(pieces.next().unwrap().bytes());
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).unwrap()
}

fn escaped(c: char, dice: &mut Dice<'_>) -> String {
    let mut buffer = [0; 4];
    let bytes = c.encode_utf8(&mut buffer).bytes();
    bytes.map(|byte| if dice.once_in(2) { format!("%{byte:02X}") } else { format!("%{byte:02x}") }).collect()
}

/// The pattern as a policy writes it: what means something in a pattern is escaped, and some of the rest is.
fn written(pattern: &[Part], dice: &mut Dice<'_>) -> String {
    let mut text = String::new();
    for part in pattern {
        text.push('/');
        match part {
            Part::One => text.push('*'),
            Part::Any => text.push_str("**"),
            Part::Name(name) => {
                for (place, c) in name.iter().enumerate() {
                    let may_be_raw = ":@!,=&'".contains(*c) && place > 0;
                    if c.is_ascii_alphanumeric() || "-._~".contains(*c) || (may_be_raw && dice.once_in(2)) {
                        text.push(*c);
                    } else {
                        text.push_str(&escaped(*c, dice).to_uppercase());
                    }
                }
            }
        }
    }
    text
}

/// Some path that many an upstream takes for what the pattern denies.
fn spelt(pattern: &[Part], settings: Settings, dice: &mut Dice<'_>) -> String {
    let mut names = Vec::new();
    for part in pattern {
        match part {
            Part::Name(name) => names.push(name.clone()),
            Part::One => names.push(vec!['x']),
            Part::Any => names.extend(vec![vec!['y', ':']; dice.below(3)]),
        }
    }
    let parameters = |dice: &mut Dice<'_>| match dice.below(8) {
        1 if settings.keeps_semicolons => ";",
        2 if settings.keeps_semicolons => ";p=1:",
        3 if settings.keeps_semicolons => "%3bp",
        4 if settings.keeps_semicolons && settings.keeps_slashes => ";p%2fq",
        _ => "",
    };
    let mut path = String::new();
    for name in &names {
        path.push_str(match dice.below(10) {
            1 | 2 if settings.keeps_slashes && !path.is_empty() => "%2f",
            3 if settings.keeps_slashes && !path.is_empty() => "%5C",
            4 if settings.keeps_slashes => "/%2F",
            5 => "/./",
            6 => "/z/%2E./",
            7 if settings.keeps_semicolons => "/;q/",
            _ => "/",
        });
        for c in name {
            let other_case = if c.is_lowercase() { c.to_uppercase().next() } else { c.to_lowercase().next() };
            let c = other_case.filter(|_| settings.ignores_case && dice.once_in(3)).unwrap_or(*c);
            if dice.once_in(3) || "/\\;% ?".contains(c) {
                path.push_str(&escaped(c, dice));
            } else {
                path.push(c);
            }
        }
        path.push_str(parameters(dice));
    }
    path.push_str(["", "/", "/."][dice.below(3)]);
    if path.is_empty() { "/".to_owned() } else { path }
}

fn settings() -> impl Strategy<Value = Settings> {
    any::<(bool, bool, bool)>().prop_map(|(keeps_slashes, keeps_semicolons, ignores_case)| Settings {
        keeps_slashes,
        keeps_semicolons,
        ignores_case,
    })
}

fn pattern(settings: Settings) -> impl Strategy<Value = Vec<Part>> {
    let mut characters: Vec<char> = "abS:*$()@!,+=~.|\"{ %?éΣſ\u{212a}ı".chars().collect();
    if settings.keeps_slashes {
        characters.extend(['/', '\\']);
    }
    if settings.keeps_semicolons {
        characters.push(';');
    }
    let name = prop::collection::vec(prop::sample::select(characters), 1..5).prop_filter("a dot segment", |name| {
        !name.split(|c| "/\\;".contains(*c)).any(|piece| matches!(piece, ['.'] | ['.', '.']))
    });
    let part = prop_oneof![6 => name.prop_map(Part::Name), 1 => Just(Part::One), 1 => Just(Part::Any)];
    prop::collection::vec(part, 1..4)
}

#[test]
fn no_spelling_that_an_upstream_takes_for_a_denied_resource_is_allowed_and_no_other_is_denied() {
    let acme = acme();
    let (denied, allowed) = (Cell::new(0), Cell::new(0));
    let cases = settings().prop_flat_map(|settings| {
        let dice = || prop::collection::vec(any::<u8>(), 40);
        (Just(settings), pattern(settings), dice(), "(/[ab:.%;y]{0,3}(%2[fA]|%3[Ab])?){1,3}", any::<bool>())
    });
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(6_000) });
    let outcome = runner.run(&cases, |(settings, pattern, dice, other, spell)| {
        let mut dice = Dice(&dice, 0);
        let text = written(&pattern, &mut dice);
        let path = if spell { spelt(&pattern, settings, &mut dice) } else { other };
        let keep = |keeps| if keeps { "keep" } else { "reject" };
        let policy = denying(
            &[&text],
            &json!({
                "encoded_slashes": keep(settings.keeps_slashes),
                "semicolons": keep(settings.keeps_semicolons),
                "restrictions": if settings.ignores_case { "ignore_case" } else { "exact" },
            }),
        );
        let headers = headers("GET", &path, &[]);
        let decision = decide(&policy, &Memory::default(), &Request::new(&headers), &acme);
        let verdict = decision.verdict.map(|allow| allow.rule).map_err(|deny| deny.reason);
        if verdict == Err(Reason::PathMalformed) {
            return Ok(());
        }
        // The upstream gets the canonical path, but nobody should have to rely on that.
        let canonical = decision.path.unwrap();
        let upstreams = upstreams(settings);
        for path in [&path, &canonical] {
            let denies = upstreams.iter().find(|upstream| upstream.denies(&pattern, path));
            prop_assert!(denies.is_none() || verdict == DENIED, "deny {}: {} ({:?})", text, path, denies);
            // The filter may read a pattern as one upstream does and the path as another, which denies a little more.
            let could_be_denied = || {
                let wanted = upstreams.iter().map(|upstream| upstream.wanted(&pattern));
                wanted
                    .into_iter()
                    .any(|wanted| upstreams.iter().any(|upstream| matches(&wanted, &upstream.names(path))))
            };
            prop_assert!(verdict == ALLOWED || (verdict == DENIED && could_be_denied()), "deny {}: {}", text, path);
        }
        let count = if verdict == DENIED { &denied } else { &allowed };
        count.set(count.get() + 1);
        Ok(())
    });
    outcome.unwrap_or_else(|problem| panic!("{problem}"));
    assert!(denied.get() > 1_000 && allowed.get() > 500, "{denied:?} {allowed:?}");
}
