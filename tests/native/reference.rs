//! The decision table of the contract, written a second time and as plainly as possible, against the filter.
//!
//! `situation` says what a decision depends on, `expected` what the contract demands, `scene` makes it real.

mod expected;
mod scene;
mod situation;

use std::collections::BTreeMap;

use mtls_authz::{Decision, Enforcement, Memory, Policy, Request, Rule, decide};

use self::expected::{Allowed, Expected, expected};
use self::scene::{ACME, ACME_ARN, Asked, Scene};
use self::situation::*;
use crate::proxy::sent;

const SAMPLES: usize = 20_000;

/// What the filter made of a situation, in the words of the reference.
fn found(decision: &Decision, certificate: Option<Cert>) -> Expected {
    let verdict = decision.verdict.as_ref().map_err(|deny| deny.reason).map(|allow| {
        let caller = &decision.caller;
        let known = |name: Option<&str>| name.map(|name| *NAMES.iter().find(|known| **known == name).unwrap());
        let (client, profile) = (known(caller.client_id()), known(caller.profile_id.as_deref()));
        Allowed { rule: allow.rule, client, profile, binding: caller.binding, certificate }
    });
    Expected { verdict, shadow: decision.enforcement == Enforcement::Shadow }
}

const NAMES: &[&str] = &["acme", "globex", "partner", "auditor"];

/// Compares one situation with the reference, and everything that holds for whatever comes out.
struct Comparison {
    scene: Scene,
    compared: usize,
    /// How often each verdict came.
    seen: BTreeMap<String, usize>,
    differences: BTreeMap<String, (usize, String)>,
}

impl Comparison {
    fn new() -> Self {
        Self { scene: Scene::new(), compared: 0, seen: BTreeMap::new(), differences: BTreeMap::new() }
    }

    fn compare(&mut self, s: &Situation) {
        if is_left_out(s) {
            return;
        }
        let shared = self.scene.policy(s.setup);
        let (policy, memory) = (&shared.0, &shared.1);
        let asked = self.scene.ask(s);
        let headers = asked.headers();
        let request = Request::new(&headers);
        let decision = decide(policy, memory, &request, &asked.host);
        let fresh = decide(policy, &Memory::new(&policy.token.source), &request, &asked.host);
        assert_eq!(format!("{decision:?}"), format!("{fresh:?}"), "what is remembered changes nothing: {s:?}");

        let expected = expected(s);
        let certificate = expected.verdict.ok().and_then(|allowed| allowed.certificate);
        let mut found = found(&decision, certificate);
        // A bypassed request is nobody's, and nothing would be refused.
        if matches!(found.verdict, Ok(Allowed { rule: Rule::Bypass(_), .. })) {
            found.shadow = expected.shadow;
        }
        self.compared += 1;
        let name = decision.verdict.as_ref().map_or_else(|deny| format!("{:?}", deny.reason), |_| "allowed".to_owned());
        *self.seen.entry(name).or_default() += 1;
        if found != expected {
            let key = format!("{:?} expected, {:?} found", expected.verdict.map(|_| ()), found.verdict.map(|_| ()));
            let example = format!("{s:?}\n    expected {expected:?}\n    found    {found:?}");
            self.differences.entry(key).or_insert((0, example)).0 += 1;
            return;
        }
        self.check_what_holds_always(s, &decision);
        self.check_upstream(s, &expected, policy, &request, &decision);
        self.check_order(s, policy, memory, &decision);
    }

    /// "never allowed without a rule"; "nothing is refused" in shadow mode.
    fn check_what_holds_always(&self, s: &Situation, decision: &Decision) {
        if decision.enforcement == Enforcement::Shadow {
            assert!(decision.refusal().is_none(), "shadow refuses nothing: {s:?}");
        } else {
            assert_eq!(decision.refusal().is_some(), decision.verdict.is_err(), "{s:?}");
        }
        if let Ok(allow) = &decision.verdict {
            let caller = &decision.caller;
            match allow.rule {
                Rule::Bypass(_) => assert_eq!((s.path, s.method), (Path::Health, Method::Get), "{s:?}"),
                Rule::Profile(_) => assert!(caller.client_id().is_some() && caller.profile_id.is_some(), "{s:?}"),
            }
        }
    }

    /// The upstream sees exactly what the filter found out, and nothing that the caller made up.
    fn check_upstream(
        &self,
        s: &Situation,
        expected: &Expected,
        policy: &Policy,
        request: &Request<'_>,
        decision: &Decision,
    ) {
        let mut told: Vec<(String, String)> = Vec::new();
        for (name, value) in sent(policy, request, decision) {
            assert_ne!(value.as_ref(), b"spoofed", "{s:?}");
            let name = String::from_utf8(name.to_ascii_lowercase()).unwrap().replace(['_', '.'], "-");
            let identifies = name.starts_with("x-client") || name.starts_with("x-profile") || name.contains("-cert");
            if identifies {
                told.push((name, String::from_utf8(value.into_owned()).unwrap()));
            }
        }
        let mut vouched: Vec<(String, String)> = Vec::new();
        let mut vouch = |name: &str, value: &str| vouched.push((name.to_owned(), value.to_owned()));
        if let Ok(Allowed { client: Some(client), profile: Some(profile), certificate, .. }) = expected.verdict {
            vouch("x-client-id", client);
            vouch("x-profile-id", profile);
            if client == "acme" {
                vouch("x-client-principal", ACME_ARN);
            }
            if let Some(certificate) = certificate {
                vouch("x-client-identity", if client == "acme" { ACME } else { "cn:globex" });
                vouch("x-client-cert-thumbprint", &self.scene.leaf(certificate).thumbprint());
            }
        }
        assert_eq!(told, vouched, "{s:?}");
    }

    /// "400 before 401 before 403 before 405, so that a stranger learns nothing about rules": whoever is refused with
    /// 401 gets the same answer on a path and for a method that no rule has, and so does who asks in a wrong way.
    fn check_order(&self, s: &Situation, policy: &Policy, memory: &Memory, decision: &Decision) {
        let Err(deny) = &decision.verdict else {
            return;
        };
        let aside = matches!(s.path, Path::Transfers | Path::TransfersSlash | Path::Malformed | Path::Health);
        if deny.reason.status() > 401 || aside || s.method == Method::Connect {
            return;
        }
        let method = if s.method == Method::Missing { Method::Missing } else { Method::Delete };
        let elsewhere = Situation { path: Path::Unknown, method, ..*s };
        let asked: Asked = self.scene.ask(&elsewhere);
        let headers = asked.headers();
        let again = decide(policy, memory, &Request::new(&headers), &asked.host);
        assert_eq!(again.verdict.map_err(|deny| deny.reason).err(), Some(deny.reason), "{s:?}");
    }

    /// Every combination was decided as expected, and so many different verdicts were reached.
    fn conclude(self, verdicts: usize) {
        println!("{} combinations: {:#?}", self.compared, self.seen);
        for (kind, (times, example)) in &self.differences {
            println!("{times} x {kind}: {example}");
        }
        assert!(self.differences.is_empty(), "the filter and the contract differ");
        assert_eq!(self.seen.len(), verdicts, "the combinations are no longer what they were");
    }
}

/// What an expired or revoked certificate of a proxy tells where the address is not known is not compared: the documentation
/// refuses whom neither tells about, and does not say whether such a certificate tells that its holder is not trusted.
fn is_left_out(s: &Situation) -> bool {
    let unusable = s.connection == Cert::EdgeExpired || s.connection == Cert::EdgeRevoked;
    s.setup.source != Source::Connection && s.address == Address::Unknown && unusable
}

/// A partner's request in which nothing is wrong.
fn good() -> Situation {
    let setup = Setup {
        source: Source::Connection,
        mode: Mode::Required,
        partner_mode: None,
        auditor_mode: None,
        shadow: false,
        partner_shadow: None,
        tokens: TokenSource::Jwks,
        client_headers_required: false,
        partner_cidrs: false,
    };
    let token = Token {
        transport: Transport::Bearer,
        defect: Defect::None,
        client: Named::Acme,
        binding: Bound::To(Cert::Good),
        scope: true,
    };
    Situation {
        setup,
        address: Address::Proxy,
        connection: Cert::Good,
        header: Header::Absent,
        token,
        client_header: ClientHeader::Absent,
        profile_header: ProfileHeader::Absent,
        method: Method::Get,
        path: Path::Payment,
    }
}

#[test]
fn whose_certificate_counts_is_what_the_contract_says_in_every_combination() {
    let mut comparison = Comparison::new();
    for source in SOURCES {
        for mode in [Mode::Mtls, Mode::Optional] {
            for address in ADDRESSES {
                for connection in CERTS {
                    for header in HEADERS {
                        let mut s = good();
                        s.setup.source = *source;
                        s.setup.mode = mode;
                        s.address = *address;
                        s.connection = *connection;
                        s.header = *header;
                        comparison.compare(&s);
                    }
                }
            }
        }
    }
    comparison.conclude(14);
}

#[test]
fn what_a_token_proves_is_what_the_contract_says_in_every_combination() {
    let mut comparison = Comparison::new();
    let defective = DEFECTS.iter().map(|defect| Token { defect: *defect, ..good().token });
    let bound = BOUND
        .iter()
        .flat_map(|binding| NAMED.iter().map(|client| Token { client: *client, binding: *binding, ..good().token }));
    let claimed: Vec<Token> = defective.chain(bound).collect();
    for tokens in TOKEN_SOURCES {
        for mode in MODES {
            for connection in [Cert::None, Cert::Good, Cert::Globex, Cert::Nobody] {
                for token in &claimed {
                    for transport in TRANSPORTS {
                        for path in [Path::Payment, Path::Transfers] {
                            let mut s = good();
                            s.setup.tokens = *tokens;
                            s.setup.mode = *mode;
                            s.connection = connection;
                            s.token = Token { transport: *transport, ..*token };
                            s.path = path;
                            comparison.compare(&s);
                        }
                    }
                }
            }
        }
    }
    comparison.conclude(20);
}

#[test]
fn who_may_do_what_is_what_the_contract_says_in_every_combination() {
    let mut comparison = Comparison::new();
    for (certificate, client) in [(Cert::Good, Named::Acme), (Cert::Globex, Named::Globex), (Cert::None, Named::Globex)]
    {
        for mode in MODES {
            for auditor_mode in [None, Some(Mode::Optional)] {
                for profile_header in PROFILE_HEADERS {
                    for method in METHODS {
                        for path in PATHS {
                            for scope in [false, true] {
                                let mut s = good();
                                s.setup.mode = *mode;
                                s.setup.auditor_mode = auditor_mode;
                                s.connection = certificate;
                                let binding =
                                    if certificate == Cert::None { Bound::No } else { Bound::To(certificate) };
                                s.token = Token { client, binding, scope, ..s.token };
                                s.profile_header = *profile_header;
                                s.method = *method;
                                s.path = *path;
                                comparison.compare(&s);
                            }
                        }
                    }
                }
            }
        }
    }
    comparison.conclude(11);
}

#[test]
fn situations_in_which_several_things_are_wrong_are_decided_as_the_contract_says() {
    let mut comparison = Comparison::new();
    let mut chance = Chance(1);
    for _ in 0..SAMPLES {
        comparison.compare(&chance.situation());
    }
    comparison.conclude(38);
}

/// SplitMix64, so that every run asks the same.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Mostly the usual, so that not everything fails at the first step.
    fn mostly<T: Copy>(&mut self, usual: T, of: &[T]) -> T {
        if self.below(4) > 0 { usual } else { self.any(of) }
    }

    fn situation(&mut self) -> Situation {
        let caller = self.any(&[Cert::Good, Cert::Globex]);
        let (named, profile) = match caller {
            Cert::Good => (Named::Acme, ProfileHeader::Absent),
            _ => (Named::Globex, self.any(&[ProfileHeader::Partner, ProfileHeader::Auditor])),
        };
        let shadow = self.mostly(false, &[false, true]);
        let setup = Setup {
            source: self.any(SOURCES),
            mode: self.any(MODES),
            partner_mode: self.mostly(None, PROFILE_MODES),
            auditor_mode: self.any(PROFILE_MODES),
            shadow,
            // "Top-level `shadow` beside a profile that says `enforce` is an error".
            partner_shadow: self
                .mostly(None, if shadow { &[None, Some(true)] } else { &[None, Some(false), Some(true)] }),
            tokens: self.any(TOKEN_SOURCES),
            client_headers_required: self.mostly(false, &[false, true]),
            partner_cidrs: self.mostly(false, &[false, true]),
        };
        // Behind a proxy or not, and now and then a proxy that does not forward or a caller that does.
        let proxied = setup.source != Source::Connection && self.below(2) == 0;
        let (address, connection, header) = match (proxied, self.below(2)) {
            (false, _) => (Address::Elsewhere, caller, Header::Absent),
            (true, 0) => (Address::Proxy, Cert::None, Header::Holding(caller)),
            (true, _) => (Address::Elsewhere, Cert::Edge, Header::Holding(caller)),
        };
        let binding = self.mostly(Bound::To(caller), BOUND);
        let token = Token {
            transport: self.mostly(Transport::Bearer, TRANSPORTS),
            defect: self.mostly(Defect::None, DEFECTS),
            client: self.mostly(named, NAMED),
            binding: self.mostly(binding, &[Bound::No]),
            scope: self.mostly(true, &[false, true]),
        };
        Situation {
            setup,
            address: self.mostly(address, ADDRESSES),
            connection: self.mostly(connection, CERTS),
            header: self.mostly(header, HEADERS),
            token,
            client_header: self.mostly(ClientHeader::Absent, CLIENT_HEADERS),
            profile_header: self.mostly(profile, PROFILE_HEADERS),
            method: self.mostly(Method::Get, METHODS),
            path: self.mostly(Path::Payment, PATHS),
        }
    }
}
