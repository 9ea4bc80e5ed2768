//! The cases in which less passes where more does not, each with what still holds in it.
//!
//! docs/security.md lists them under the same names: `tests/tools/test_less_proof.py`.

use mtls_authz::{Binding, Decision, Reason, Rule};

use super::model;
use super::policies::MTLS;
use super::pool::{Bound, Defect};
use super::requests::{Ask, Forwarded, Less};
use super::{Gain, Scene, passes, who};

/// Why less may pass where more does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exception {
    /// X-Client-ID or X-Profile-ID named another client or profile than the one that is found, or
    /// was there twice. Without it, there is nothing to contradict.
    ContradictingClaim,
    /// Credentials or an override header that can be read in two ways are 400 wherever they come, also
    /// where they are not needed.
    MalformedHeader,
    /// In mode optional a token that is bound to nothing suffices, but a certificate that is presented must be
    /// good and the client's.
    TokenAlone,
    /// A proxy that is trusted by its address must not forward its own certificate as a client's. Without one of
    /// its own it forwards any.
    ProxyItself,
    /// A request for an upgrade is another request than the same without it.
    PlainRequest,
    /// A request that is no longer bypassed is decided as any other, and its caller is known.
    KnownCaller,
    /// A profile in shadow refuses nothing, once it is known who is in it.
    ShadowProfile,
    /// A client whose profiles were reduced to one need not name it any more.
    OnlyProfile,
    /// In mode mtls `X-Client-ID` names one of the clients that share a certificate, in a stricter mode the token does.
    NamedByToken,
}

impl Exception {
    pub const OF_REQUESTS: &[Self] = &[
        Self::ContradictingClaim,
        Self::MalformedHeader,
        Self::TokenAlone,
        Self::ProxyItself,
        Self::PlainRequest,
        Self::KnownCaller,
        Self::ShadowProfile,
    ];
    pub const OF_POLICIES: &[Self] = &[Self::KnownCaller, Self::OnlyProfile, Self::NamedByToken];
}

/// One request with more and with less, under one policy or under two.
pub struct Pair<'a> {
    /// The request that was made before both.
    pub first: &'a Ask,
    pub more: (&'a Scene, &'a Ask, &'a Decision),
    pub less: (&'a Scene, &'a Ask, &'a Decision),
}

impl Pair<'_> {
    /// Which exception a gain by what was left out of the request falls under, or why under none.
    pub fn of_request(&self, less: Less) -> Result<Exception, String> {
        let exception = if is_bypassed(self.more.2) {
            self.known_caller()
        } else if self.less.2.verdict.is_err() {
            self.shadow_profile()
        } else {
            match less {
                Less::Header("x-client-id") | Less::Line("x-client-id") => self.contradicting_claim("x-client-id"),
                Less::Header("x-profile-id") | Less::Line("x-profile-id") => self.contradicting_claim("x-profile-id"),
                Less::Token | Less::Authorization => self.malformed_authorization(),
                Less::Header("x-http-method-override") => self.contradicting_method(),
                Less::Certificate if self.less.2.caller.thumbprint.is_some() => self.proxy_itself(),
                Less::Certificate | Less::Verification | Less::Forwarded | Less::Address => self.token_alone(),
                Less::Header("upgrade" | "connection") => self.plain_request(),
                _ => Err("nothing excuses that"),
            }
        };
        exception.map_err(str::to_owned)
    }

    /// Which exception a gain by a restriction of the policy falls under, or why under none.
    pub fn of_policy(&self, restriction: &str) -> Result<Exception, String> {
        let exception = match restriction {
            _ if is_bypassed(self.more.2) => self.known_caller(),
            _ if self.less.2.verdict.is_err() => self.shadow_profile(),
            "fewer profiles" => self.only_profile(),
            "a stricter mode" | "a stricter mode of a profile" => self.named_by_token(),
            _ => Err("nothing excuses that"),
        };
        exception.map_err(str::to_owned)
    }

    /// An honest header gets what none gets, and a profile that need not be named is the only one.
    fn contradicting_claim(&self, name: &'static str) -> Holds {
        let ((scene, ask, _), (_, weaker, weak)) = (self.more, self.less);
        if is_bypassed(weak) {
            return require(
                ask.header(name).len() > 1,
                Exception::ContradictingClaim,
                "a claim counts where nothing is needed",
            );
        }
        let caller = &weak.caller;
        let (client, profile) =
            (caller.client_id().unwrap_or_default(), caller.profile_id.as_deref().unwrap_or_default());
        let found = if name == "x-client-id" { client } else { profile };
        let honest = scene.decide_after(self.first, &weaker.with_header(name, found));
        let only = || model::is_only_profile(&scene.json, client, profile, caller.thumbprint.is_some());
        let free = name == "x-client-id" || weaker.header(name) == [found] || only();
        require(ask.header(name) != [found], (), "the claim did not contradict")?;
        require(same(&honest, weak), (), "the right claim is decided otherwise")?;
        require(free, Exception::ContradictingClaim, "the profile is one of several")
    }

    /// The header with the request's own method gets what none gets.
    fn contradicting_method(&self) -> Holds {
        let ((scene, _, strong), (_, weaker, weak)) = (self.more, self.less);
        let method = weaker.header(":method").concat();
        let honest = scene.decide_after(self.first, &weaker.with_header("x-http-method-override", &method));
        require(reason(strong) == Some(Reason::RequestMalformed), (), "the header was not refused")?;
        require(same(&honest, weak), Exception::MalformedHeader, "the right header is decided otherwise")
    }

    /// The token is not needed.
    fn malformed_authorization(&self) -> Holds {
        let ((scene, _, strong), (_, weaker, weak)) = (self.more, self.less);
        let profile = weak.caller.profile_id.as_deref();
        let needless = profile.is_some_and(|profile| model::mode(&scene.json, profile) == MTLS);
        require(reason(strong) == Some(Reason::AuthorizationMalformed), (), "the credentials were not malformed")?;
        require(needless || weaker.has_token(), Exception::MalformedHeader, "a token is needed")
    }

    /// The certificate was refused, or another client's. [`holds_by_token_alone`] says what the token must be.
    fn token_alone(&self) -> Holds {
        let (strong, weak) = (self.more.2, self.less.2);
        let (with, without) = (strong.caller.client_id(), weak.caller.client_id());
        let refused = reason(strong).is_some_and(|reason| reason.code().starts_with("certificate_"));
        let nobody = with.is_none() && strong.verdict.is_err();
        let another = with.is_some() && with != without;
        require(weak.caller.thumbprint.is_none(), (), "there is still a certificate")?;
        require(weak.caller.binding == Some(Binding::Bearer), (), "there is no token")?;
        require(refused || nobody || another, Exception::TokenAlone, "the certificate was the client's, and good")
    }

    /// The proxy is trusted by its address, and without its certificate cannot be told from one that has none.
    fn proxy_itself(&self) -> Holds {
        let ((scene, ask, strong), _) = (self.more, self.less);
        let own = ask.connection.map(|presented| Forwarded::Holding(presented.cert)) == ask.forwarded;
        let cidrs = &scene.json["certificate"]["forwarded"]["trusted_proxies"]["cidrs"];
        require(
            reason(strong) == Some(Reason::CertificateUntrusted) && own,
            (),
            "the certificate was not the proxy's own",
        )?;
        require(!cidrs.is_null(), Exception::ProxyItself, "the proxy is not trusted by its address")
    }

    /// The same caller, as far as it was known, by a rule that is not for upgrades only.
    fn plain_request(&self) -> Holds {
        let ((scene, _, strong), (_, _, weak)) = (self.more, self.less);
        require(strong.verdict.is_err(), (), "the upgrade was allowed to another")?;
        if let (Some(profile), Ok(Rule::Profile(index))) = (&weak.caller.profile_id, rule(weak)) {
            let rule = &scene.json["profiles"][&**profile]["allow"][index];
            // SPEC 18.9.
            let plain = rule["upgrades"].is_null() || rule["plain"] == true;
            require(plain, (), "the rule is for upgrades only")?;
        }
        let (with, without) = (who(strong), who(weak));
        let kept =
            |with: &Option<String>, without: &Option<String>| with.is_none() || without.is_none() || with == without;
        let same = kept(&with.client, &without.client) && kept(&with.profile, &without.profile);
        require(same && kept(&with.principal, &without.principal), Exception::PlainRequest, "the caller is another")
    }

    /// Without any bypass the caller gets the same.
    fn known_caller(&self) -> Holds {
        let (scene, weaker, weak) = self.less;
        let mut json = scene.json.clone();
        json.as_object_mut().unwrap().remove("bypass");
        let none = Scene::of(json).ok_or("a policy without bypasses is refused")?;
        // A bypassed request is not counted where rates are limited.
        let decision = none.decide_after(&Ask { before: 0, ..weaker.clone() }, weaker);
        require(same(&decision, weak), Exception::KnownCaller, "the caller is another than without any bypass")
    }

    /// The profile is in shadow and was not known before.
    fn shadow_profile(&self) -> Holds {
        let ((_, _, strong), (scene, _, weak)) = (self.more, self.less);
        let profile = weak.caller.profile_id.as_deref().unwrap_or_default();
        require(!profile.is_empty() && model::is_shadow(&scene.json, profile), (), "the profile is not in shadow")?;
        let unknown = strong.caller.profile_id.is_none() || who(strong).client != who(weak).client;
        require(unknown, Exception::ShadowProfile, "the profile was known")
    }

    /// It was decided alike before where it was named.
    fn only_profile(&self) -> Holds {
        let ((lax, ask, _), (strict, _, after)) = (self.more, self.less);
        let caller = &after.caller;
        let (client, profile) =
            (caller.client_id().unwrap_or_default(), caller.profile_id.as_deref().unwrap_or_default());
        let named = lax.decide_after(self.first, &ask.with_header("x-profile-id", profile));
        require(ask.header("x-profile-id").is_empty(), (), "the profile was named")?;
        require(model::is_only_profile(&strict.json, client, profile, false), (), "the profile is not the only one")?;
        require(same(&named, after), Exception::OnlyProfile, "the profile was decided otherwise before")
    }

    /// It was decided alike before where the header named the client.
    fn named_by_token(&self) -> Holds {
        let ((lax, ask, before), (strict, _, after)) = (self.more, self.less);
        let client = after.caller.client_id().unwrap_or_default();
        let named = lax.decide_after(self.first, &ask.with_header("x-client-id", client));
        let shares = strict.json["clients"][client]["shared_identities"] == true;
        require(reason(before) == Some(Reason::ClientHeaderMissing) && shares, (), "the client was not missing")?;
        require(model::is_named(&strict.json, ask.token, client), (), "the token does not name it")?;
        require(same(&named, after), Exception::NamedByToken, "the client was decided otherwise before")
    }
}

/// The exception, or what does not hold.
type Holds = Result<Exception, &'static str>;

/// What holds for a caller that is let through without a certificate.
pub fn holds_by_token_alone(scene: &Scene, ask: &Ask, decision: &Decision) -> Result<(), &'static str> {
    let caller = &decision.caller;
    if is_bypassed(decision) || caller.thumbprint.is_some() || !passes(decision) {
        return Ok(());
    }
    if decision.verdict.is_err() {
        let profile = caller.profile_id.as_deref().unwrap_or_default();
        return require(model::is_shadow(&scene.json, profile), (), "a refusal passes without shadow");
    }
    let (client, profile) = (caller.client_id().unwrap_or_default(), caller.profile_id.as_deref().unwrap_or_default());
    require(ask.has_token(), (), "neither certificate nor token")?;
    require(caller.binding == Some(Binding::Bearer), (), "a token alone is a bearer token")?;
    require(ask.token.binding == Bound::No, (), "by token alone although the token is bound")?;
    require(ask.token.defect == Defect::None, (), "by token alone although the token is not good")?;
    require(model::is_named(&scene.json, ask.token, client), (), "by token alone although it names another client")?;
    match model::not_by_token_alone(&scene.json, client, profile, decision.path.as_deref().unwrap_or("/")) {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

/// Is there something to excuse?
pub fn gain(strong: &Decision, weak: &Decision) -> Option<Gain> {
    if passes(weak) && !passes(strong) {
        return Some(Gain::Passes);
    }
    if weak.verdict.is_err() || is_bypassed(weak) {
        return None;
    }
    if strong.verdict.is_err() {
        return Some(Gain::IsVouchedFor);
    }
    let (with, mut without) = (who(strong), who(weak));
    // No principal is not another one.
    if without.principal.is_none() {
        without.principal.clone_from(&with.principal);
    }
    (with != without).then_some(Gain::IsAnother)
}

fn is_bypassed(decision: &Decision) -> bool {
    matches!(rule(decision), Ok(Rule::Bypass(_)))
}

fn rule(decision: &Decision) -> Result<Rule, Reason> {
    decision.verdict.as_ref().map(|allow| allow.rule).map_err(|deny| deny.reason)
}

fn reason(decision: &Decision) -> Option<Reason> {
    rule(decision).err()
}

fn same(one: &Decision, other: &Decision) -> bool {
    who(one) == who(other) && rule(one) == rule(other) && passes(one) == passes(other)
}

fn require<T>(holds: bool, then: T, otherwise: &'static str) -> Result<T, &'static str> {
    if holds { Ok(then) } else { Err(otherwise) }
}
