//! The contract, sentence by sentence, in the order of the README's table "What is decided, in this order".

use mtls_authz::{Binding, Reason, Rule};

use super::situation::*;

/// What the contract demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub verdict: Result<Allowed, Reason>,
    pub shadow: bool,
}

/// Who is let through, as whom, and why. On a bypassed path nobody is anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub rule: Rule,
    pub client: Option<&'static str>,
    pub profile: Option<&'static str>,
    pub binding: Option<Binding>,
    pub certificate: Option<Cert>,
}

pub fn expected(situation: &Situation) -> Expected {
    let verdict = verdict(situation);
    // "400 before 401 before 403": who asks is found out after what is wrong with the request.
    let early = modes(situation) != [Mode::Mtls; 3] && authorization(situation).is_err();
    let shadow = match verdict {
        Err(reason) if early || reason.status() == 400 => situation.setup.shadow,
        _ => shadow(situation),
    };
    Expected { verdict, shadow }
}

fn verdict(s: &Situation) -> Result<Allowed, Reason> {
    // "the request has one method, one path, no repeated client header"
    if s.method == Method::Missing {
        return Err(Reason::RequestMalformed);
    }
    // "the path can be read in one way only"
    if path(s) == Some(Path::Malformed) {
        return Err(Reason::PathMalformed);
    }

    // "`bypass` lists it: allowed, nothing needed"; "CONNECT and upgrades are never bypassed"
    if path(s) == Some(Path::Health) && s.method == Method::Get {
        return Ok(Allowed { rule: Rule::Bypass(0), client: None, profile: None, binding: None, certificate: None });
    }

    // "no repeated client header". The README has it before `bypass`, but the contract says that a bypassed path "needs
    // nothing; spoofed identity headers are removed there too".
    if s.client_header == ClientHeader::Twice {
        return Err(Reason::RequestMalformed);
    }
    if s.profile_header == ProfileHeader::Twice {
        return Err(Reason::RequestMalformed);
    }

    // "at most one bearer token, and the one that was verified", for everybody, because nobody is known yet. Where
    // every mode of the policy is `mtls`, tokens are "not looked at".
    if modes(s) != [Mode::Mtls; 3] {
        authorization(s)?;
    }

    // "a certificate that is presented must be good and known", in every mode
    let certificate = certificate(s)?;

    // Where some profile is optional, only the token can tell whose request without a certificate this is, so that it
    // is read first: the README's "there is a certificate" holds where it makes no difference what the token says.
    if certificate.is_none() && token_may_do(s) {
        match token(s) {
            // "before the profile is known the top-level ones count"
            Err(Reason::TokenMissing) if s.setup.mode != Mode::Optional => return Err(Reason::CertificateMissing),
            read => read?,
        }
        bound(s, None, false)?;
    }

    // "A profile's `mode` counts for its clients"
    let mode = mode(s);
    // "`binding.required_paths`: where `bearer_plus_mtls_optional` is as strict as `…_required`"
    let strict = mode == Mode::Required || mode == Mode::Optional && binding_required(s);

    // "there is a certificate"
    if certificate.is_none() && mode == Mode::Mtls {
        return Err(Reason::CertificateMissing);
    }
    if certificate.is_none() && strict {
        return Err(Reason::CertificateMissing);
    }

    // Stricter than the contract where the mode is `mtls`.
    if modes(s) != [Mode::Mtls; 3] {
        form(s)?;
    }
    let binding = if mode == Mode::Mtls {
        // "`mtls` (a certificate, no token)"
        Binding::Certificate
    } else {
        // "there is a verified token", "its claims are well-formed, current, of the right issuer, for this audience"
        token(s)?;
        // "it is bound to this certificate"
        bound(s, certificate, strict)?
    };

    // "every claim of `token.client_id_claims` that is there names the certificate's client": two names are no client's
    if certificate.is_none() && s.token.client == Named::Two {
        return Err(Reason::ClientProfileMismatch);
    }
    // "the identity is a client's"
    let Some(client) = client(s) else {
        return Err(Reason::IdentityNotMapped);
    };

    // "`require_client_headers: true` makes both headers mandatory (403 `client_header_missing`)"
    if s.setup.client_headers_required && s.client_header == ClientHeader::Absent {
        return Err(Reason::ClientHeaderMissing);
    }
    if s.setup.client_headers_required && s.profile_header == ProfileHeader::Absent {
        return Err(Reason::ClientHeaderMissing);
    }
    // "a client id that is not the certificate's: 403 `client_mismatch`"
    if s.client_header == ClientHeader::Acme && client != "acme" {
        return Err(Reason::ClientMismatch);
    }
    if s.client_header == ClientHeader::Globex && client != "globex" {
        return Err(Reason::ClientMismatch);
    }
    // "that `client_id`/`azp` names the certificate's client (403 `client_profile_mismatch`)"
    if mode != Mode::Mtls && s.token.client == Named::Two {
        return Err(Reason::ClientProfileMismatch);
    }
    if mode != Mode::Mtls && named(s) != Some(client) {
        return Err(Reason::ClientProfileMismatch);
    }

    // "one profile is meant"
    let profile = profile(s, client)?;

    // "Source address outside `source_cidrs`: 403 `source_ip_denied`"; "Needed and not there: denied"
    // With forwarded certificates it is Envoy's word, which the scene has within them.
    let is_direct = s.setup.source == Source::Connection;
    if profile == "partner" && s.setup.partner_cidrs && is_direct && s.address != Address::Proxy {
        return Err(Reason::SourceIpDenied);
    }

    // "all of its scopes must be in the token's `scope` or `scp`"; in mode `mtls` a policy with scopes is refused
    let scope = mode == Mode::Mtls || s.token.scope;
    let rule = rule(s, profile, scope)?;
    Ok(Allowed {
        rule: Rule::Profile(rule),
        client: Some(client),
        profile: Some(profile),
        binding: Some(binding),
        certificate,
    })
}

/// The path that counts. "CONNECT has no path".
fn path(s: &Situation) -> Option<Path> {
    if s.method == Method::Connect {
        return None;
    }
    // "Decisions are made on the canonical path"
    if s.path == Path::PaymentEscaped {
        return Some(Path::Payment);
    }
    Some(s.path)
}

/// What is wrong with the way in which a token comes, or says its header.
fn authorization(s: &Situation) -> Result<(), Reason> {
    // "at most one bearer token": "Two, or a comma-joined pair, or a token over 16 KiB: 400"
    if s.token.transport == Transport::Twice {
        return Err(Reason::AuthorizationMalformed);
    }
    if s.token.transport == Transport::CommaJoined {
        return Err(Reason::AuthorizationMalformed);
    }
    if s.token.transport == Transport::Oversized {
        return Err(Reason::AuthorizationMalformed);
    }
    // "A query with `access_token` is 400 `authorization_malformed`"
    if s.token.transport == Transport::QueryToo && path(s).is_some() {
        return Err(Reason::AuthorizationMalformed);
    }

    // "it must hold the very token that was verified: otherwise 400"
    // "a verified payload beside an `Authorization` that is not exactly one bearer token … is 400, too"
    if metadata(s) && matches!(s.token.transport, Transport::NotTheVerified | Transport::OtherScheme) {
        return Err(Reason::AuthorizationMalformed);
    }
    Ok(())
}

/// "Its header must not hold `crit`: otherwise 401 `token_malformed`"
fn form(s: &Situation) -> Result<(), Reason> {
    let has_header = matches!(s.token.transport, Transport::Bearer | Transport::QueryToo);
    match metadata(s) && s.token.defect == Defect::Critical && has_header {
        true => Err(Reason::TokenMalformed),
        false => Ok(()),
    }
}

/// "What restricts, `deny` and `binding.required_paths`, holds for every spelling of a path": "with it and without it", of a slash
/// at the end.
fn binding_required(s: &Situation) -> bool {
    path(s) == Some(Path::Transfers) || path(s) == Some(Path::TransfersSlash)
}

/// The certificate that identifies the caller, a good one, if there is one.
fn certificate(s: &Situation) -> Result<Option<Cert>, Reason> {
    let presented = presented(s)?;
    let Some(certificate) = presented else {
        return Ok(None);
    };
    // "Envoy verified it (or a trusted proxy), and it can be decoded"
    if certificate == Cert::Untrusted || certificate == Cert::EdgeUntrusted {
        return Err(Reason::CertificateUntrusted);
    }
    if certificate == Cert::Malformed {
        return Err(Reason::CertificateMalformed);
    }
    // "it is a client certificate": "a leaf that is not a CA, `clientAuth` where an extended key usage is present"
    if certificate == Cert::Ca || certificate == Cert::ServerOnly {
        return Err(Reason::CertificateUnsuitable);
    }
    // "…now"
    if certificate == Cert::Expired || certificate == Cert::EdgeExpired {
        return Err(Reason::CertificateExpired);
    }
    if certificate == Cert::NotYetValid {
        return Err(Reason::CertificateNotYetValid);
    }
    // "revocation (section 7)"
    if certificate == Cert::Revoked || certificate == Cert::EdgeRevoked {
        return Err(Reason::CertificateRevoked);
    }
    // "exactly one URI SAN, a valid SPIFFE ID, trust domain in `identity.trust_domains`"
    if certificate == Cert::TwoUris || certificate == Cert::ForeignTrustDomain {
        return Err(Reason::IdentityInvalid);
    }
    // "Nothing usable: 401 `identity_missing`"
    if certificate == Cert::NoNames {
        return Err(Reason::IdentityMissing);
    }
    Ok(Some(certificate))
}

/// What counts as presented, good or not.
fn presented(s: &Situation) -> Result<Option<Cert>, Reason> {
    // "`connection` (default): the peer of this TLS connection", "whoever it is"
    if s.setup.source == Source::Connection {
        return Ok(there(s.connection));
    }
    // "`trusted_proxies.cidrs` against the direct peer address", "or `trusted_proxies.identities` against the proxy's
    // own verified mTLS certificate", "good at the time of each request as a client's must be"
    let trusted = s.address == Address::Proxy || s.connection == Cert::Edge;

    // "`forwarded`: the certificate in the header | no certificate": without a header there is none, whoever the peer
    // is, so that nobody needs to know
    if s.setup.source == Source::Forwarded && s.header == Header::Absent {
        return Ok(None);
    }
    // "Where the address cannot be had and `identities` do not tell either, the request is refused"
    if !trusted && s.address == Address::Unknown {
        return Err(Reason::CertificateMissing);
    }
    // "From anybody else the header is removed, counted, and ignored"
    if !trusted && s.setup.source == Source::Forwarded {
        return Ok(None);
    }
    // "`connection_or_forwarded`: forwarded when the direct peer is a trusted proxy, otherwise the connection's own"
    if !trusted {
        return Ok(there(s.connection));
    }
    match s.header {
        // "where it sends no header, or an empty one, there is no certificate"
        Header::Absent | Header::Empty => Ok(None),
        // "Duplicated headers, an oversized or malformed value from a trusted proxy: 400"
        Header::Duplicated | Header::Malformed => Err(Reason::CertificateMalformed),
        Header::Oversized => Err(Reason::CertificateOversized),
        // "Neither is a forwarded certificate that is the proxy's own: 401 `certificate_untrusted`"
        Header::Holding(forwarded) if same(forwarded, s.connection) => Err(Reason::CertificateUntrusted),
        Header::Holding(forwarded) => Ok(Some(forwarded)),
    }
}

fn there(certificate: Cert) -> Option<Cert> {
    (certificate != Cert::None).then_some(certificate)
}

/// Whether these are the same bytes. That Envoy verified a certificate is not in it.
fn same(one: Cert, other: Cert) -> bool {
    one == other || one == Cert::Good && other == Cert::Untrusted || one == Cert::Edge && other == Cert::EdgeUntrusted
}

/// Whether `jwt_authn` left a payload. It leaves none of a token whose signature it cannot verify.
fn metadata(s: &Situation) -> bool {
    if s.setup.tokens == TokenSource::Jwks || s.token.transport == Transport::Absent {
        return false;
    }
    !matches!(s.token.defect, Defect::Forged | Defect::UnknownKey | Defect::AlgNone | Defect::Malformed)
}

/// Whether there is a verified token, and with the claims that the policy asks for.
fn token(s: &Situation) -> Result<(), Reason> {
    // "no metadata, no token: the raw header is never believed"
    if s.setup.tokens == TokenSource::JwtAuthn && !metadata(s) {
        return Err(Reason::TokenMissing);
    }
    // "the filter verifies the token of the `Authorization` header itself"
    if s.setup.tokens == TokenSource::Jwks
        && matches!(s.token.transport, Transport::Absent | Transport::MetadataOnly | Transport::OtherScheme)
    {
        return Err(Reason::TokenMissing);
    }
    form(s)?;
    match s.token.defect {
        // "any `crit` member that is not understood refuses the token"
        Defect::Critical if s.setup.tokens == TokenSource::Jwks => Err(Reason::TokenMalformed),
        Defect::None | Defect::Critical => Ok(()),
        Defect::Malformed => Err(Reason::TokenMalformed),
        Defect::AlgNone => Err(Reason::TokenAlgorithmNotAllowed),
        Defect::UnknownKey => Err(Reason::TokenKeyUnknown),
        Defect::Forged => Err(Reason::TokenSignatureInvalid),
        Defect::NoExpiry => Err(Reason::TokenClaimsInvalid),
        Defect::Expired => Err(Reason::TokenExpired),
        Defect::NotYetValid | Defect::IssuedLater => Err(Reason::TokenNotYetValid),
        Defect::WrongIssuer => Err(Reason::TokenIssuerMismatch),
        Defect::WrongAudience => Err(Reason::TokenAudienceMismatch),
    }
}

/// "A token that carries `cnf` is always checked against the certificate, on every path".
fn bound(s: &Situation, certificate: Option<Cert>, strict: bool) -> Result<Binding, Reason> {
    match (s.token.binding, certificate) {
        // "Missing where required: 401 `sender_binding_missing`"
        (Bound::No, _) if strict => Err(Reason::SenderBindingMissing),
        (Bound::No, _) => Ok(Binding::Bearer),
        // "A `cnf` without that member is a binding that cannot be checked here: 401 `sender_binding_missing`"
        (Bound::OtherKind, _) => Err(Reason::SenderBindingMissing),
        // "Hex, padded or SHA-1 values: 401 `sender_binding_malformed`"
        (Bound::Hex | Bound::Padded | Bound::Sha1, _) => Err(Reason::SenderBindingMalformed),
        // "the token is bound and its certificate absent: `certificate_missing`"
        (Bound::To(_), None) => Err(Reason::CertificateMissing),
        // "`cnf["x5t#S256"]` equals the thumbprint. Different: 401 `sender_binding_mismatch`"
        (Bound::To(other), Some(certificate)) if other != certificate => Err(Reason::SenderBindingMismatch),
        (Bound::To(_), Some(_)) => Ok(Binding::Bound),
    }
}

/// Whom the token names.
fn named(s: &Situation) -> Option<&'static str> {
    match s.token.client {
        Named::Acme => Some("acme"),
        Named::Globex => Some("globex"),
        Named::Unregistered | Named::NoOne | Named::Two => None,
    }
}

/// The registered client, by the certificate, or where none is presented by the token.
fn client(s: &Situation) -> Option<&'static str> {
    match certificate(s) {
        Err(_) => None,
        Ok(Some(Cert::Good | Cert::Renewed)) => Some("acme"),
        Ok(Some(Cert::Globex)) => Some("globex"),
        // "A weaker name does not step in for a stronger one that is unknown"
        Ok(Some(_)) => None,
        // "Without a certificate the client is the one that `token.client_id_claims` names; it must be registered"
        Ok(None) if token_may_do(s) && token(s).is_ok() && bound(s, None, false).is_ok() => named(s),
        Ok(None) => None,
    }
}

/// Acme is a partner; globex is a partner and an auditor.
fn profile(s: &Situation, client: &str) -> Result<&'static str, Reason> {
    match (client, s.profile_header) {
        ("acme", ProfileHeader::Absent | ProfileHeader::Partner) => Ok("partner"),
        ("globex", ProfileHeader::Partner) => Ok("partner"),
        ("globex", ProfileHeader::Auditor) => Ok("auditor"),
        // "several profiles and none named: 403 `profile_required`"
        ("globex", ProfileHeader::Absent) => Err(Reason::ProfileRequired),
        // "a profile the client is not bound to: 403 `client_profile_mismatch`"
        _ => Err(Reason::ClientProfileMismatch),
    }
}

/// The profile, as soon as it is known who asks.
fn known_profile(s: &Situation) -> Option<&'static str> {
    client(s).and_then(|client| profile(s, client).ok())
}

/// "A profile's `mode` counts for its clients; before the profile is known the top-level ones count".
fn mode(s: &Situation) -> Mode {
    let of_profile = match known_profile(s) {
        Some("partner") => s.setup.partner_mode,
        Some("auditor") => s.setup.auditor_mode,
        _ => None,
    };
    of_profile.unwrap_or(s.setup.mode)
}

/// Of the policy, of partners and of auditors.
fn modes(s: &Situation) -> [Mode; 3] {
    [s.setup.mode, s.setup.partner_mode.unwrap_or(s.setup.mode), s.setup.auditor_mode.unwrap_or(s.setup.mode)]
}

/// Whether the policy has somebody for whom, on this path, "a bearer token alone is enough".
fn token_may_do(s: &Situation) -> bool {
    modes(s).contains(&Mode::Optional) && !binding_required(s)
}

/// "…and so does its `enforcement`".
fn shadow(s: &Situation) -> bool {
    if known_profile(s) == Some("partner") {
        return s.setup.partner_shadow.unwrap_or(s.setup.shadow);
    }
    s.setup.shadow
}

/// A rule of a profile, as the policy has it.
struct PlainRule {
    /// `None` is `/`, which CONNECT counts as.
    paths: &'static [Option<Path>],
    /// Empty: "every method but CONNECT".
    methods: &'static [Method],
    scoped: bool,
    websocket: bool,
}

const PARTNER: &[PlainRule] = &[
    PlainRule {
        paths: &[Some(Path::Payment), Some(Path::Denied)],
        methods: &[Method::Get],
        scoped: false,
        websocket: false,
    },
    PlainRule { paths: &[Some(Path::Payments)], methods: &[Method::Post], scoped: true, websocket: false },
    PlainRule { paths: &[Some(Path::Payment)], methods: &[Method::Delete], scoped: true, websocket: false },
    PlainRule { paths: &[Some(Path::Transfers)], methods: &[Method::Post], scoped: false, websocket: false },
    PlainRule { paths: &[None], methods: &[], scoped: false, websocket: false },
];

const AUDITOR: &[PlainRule] = &[
    PlainRule { paths: &[Some(Path::Report)], methods: &[Method::Get], scoped: false, websocket: false },
    PlainRule {
        paths: &[Some(Path::Payments), Some(Path::Payment), Some(Path::Denied), Some(Path::Transfers)],
        methods: &[Method::Get],
        scoped: false,
        websocket: false,
    },
    PlainRule { paths: &[Some(Path::Live)], methods: &[Method::Get], scoped: false, websocket: true },
];

/// "a rule covers the path, the upgrade, the scopes", "…and the method".
fn rule(s: &Situation, profile: &str, scope: bool) -> Result<usize, Reason> {
    // "`deny` wins over all"
    if profile == "partner" && path(s) == Some(Path::Denied) {
        return Err(Reason::PathDenied);
    }
    let rules = if profile == "partner" { PARTNER } else { AUDITOR };
    let mut left: Vec<(usize, &PlainRule)> = rules.iter().enumerate().collect();

    left.retain(|(_, rule)| rule.paths.contains(&path(s)));
    // "`collection_denied` where the path belongs to a collection the profile does not have"
    if left.is_empty() && path(s) == Some(Path::Report) {
        return Err(Reason::CollectionDenied);
    }
    // "No rule matches the path: 403 `path_denied`"
    if left.is_empty() {
        return Err(Reason::PathDenied);
    }

    // "CONNECT must be listed in `methods`, an upgrade in `upgrades`: 403 `upgrade_denied`"
    if s.method == Method::Connect {
        left.retain(|(_, rule)| rule.methods.contains(&Method::Connect));
    }
    if s.method == Method::Upgrade {
        left.retain(|(_, rule)| rule.websocket);
    }
    // "A rule with `upgrades` allows the upgrade only"
    let is_plain = s.method != Method::Upgrade && s.method != Method::Connect;
    if is_plain {
        left.retain(|(_, rule)| !rule.websocket);
    }
    if left.is_empty() {
        return Err(if is_plain { Reason::PathDenied } else { Reason::UpgradeDenied });
    }

    // "Any rule that fits allows"
    let method = if s.method == Method::Upgrade { Method::Get } else { s.method };
    let has_method = |rule: &PlainRule| rule.methods.is_empty() || rule.methods.contains(&method);
    let has_scope = |rule: &PlainRule| !rule.scoped || scope;
    for (number, rule) in &left {
        if has_method(rule) && has_scope(rule) {
            return Ok(*number);
        }
    }
    // "Path but not scope: 403 `insufficient_scope`": neither of a rule for this method, "403 before 405", nor of any
    if left.iter().any(|(_, rule)| has_method(rule)) {
        return Err(Reason::InsufficientScope);
    }
    if !left.iter().any(|(_, rule)| has_scope(rule)) {
        return Err(Reason::InsufficientScope);
    }
    // "Path and scope but not method: 405 with `Allow`"
    Err(Reason::MethodNotAllowed)
}
