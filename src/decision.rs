//! What was decided about a request, and the only list of reasons.

use std::borrow::Cow;
use std::rc::Rc;

use crate::candidate::Verdict;
use crate::certificate::{Certificate, Thumbprint};
use crate::identity::Recognised;
use crate::proxy::HostError;
use crate::revocation::Matched;

/// Declares [`Reason`] with the code, the HTTP status, the public detail and the operator's remedy of each variant side by side.
macro_rules! reasons {
    ($($variant:ident $code:literal $status:literal $detail:literal $remedy:literal;)*) => {
        /// Why a request was refused.
        ///
        /// The code stands in the answer, in the decision record and as the label of the failure counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = concat!("`", $code, "`, ", $status, ": ", $detail)] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of their statuses.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable code that users, dashboards and alerts know.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// The HTTP status of the answer.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// One sentence for the caller. It holds nothing that the caller did not know.
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$variant => $detail),* }
            }

            /// For the operator: what to do about it. README.md and `envoy/records.py` have the same words; a test compares them.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),* }
            }
        }
    };
}

reasons! {
    RequestMalformed "request_malformed" 400 "The request lacks a method or a path, or repeats a header that must stand once."
        "Correct the client, or the proxy in front of it.";
    PathMalformed "path_malformed" 400 "The path can be read in more than one way."
        "Send the path in its plain form. path.encoded_slashes and path.semicolons can keep two of the forms.";
    AuthorizationMalformed "authorization_malformed" 400 "Exactly one bearer token of at most 16 KiB is expected in the Authorization header."
        "Send one Authorization header with Bearer and one token.";
    CertificateMalformed "certificate_malformed" 400 "The client certificate cannot be decoded."
        "Read the certificate with openssl x509 -text and reissue it, or correct the header of the proxy in front.";
    CertificateOversized "certificate_oversized" 400 "The forwarded client certificate is too large."
        "Forward the certificate without its chain, or raise certificate.forwarded.max_bytes.";

    CertificateMissing "certificate_missing" 401 "A client certificate is required."
        "Give the client its certificate. Behind a proxy, check certificate.source and certificate.forwarded.";
    CertificateUntrusted "certificate_untrusted" 401 "The client certificate was not verified on this connection."
        "Let the listener verify certificates. Then turn session resumption off, or set certificate.validation: listener.";
    CertificateExpired "certificate_expired" 401 "The client certificate has expired."
        "Renew the certificate and connect anew.";
    CertificateNotYetValid "certificate_not_yet_valid" 401 "The client certificate is not valid yet."
        "Correct the clocks, or set certificate.clock_skew_seconds.";
    CertificateUnsuitable "certificate_unsuitable" 401 "The certificate is not one for TLS client authentication."
        "Issue a certificate for TLS clients: with clientAuth, without cA.";
    CertificateRevoked "certificate_revoked" 401 "The client certificate has been revoked."
        "Issue another certificate. After a mistake, take this one off the list.";
    IdentityInvalid "identity_invalid" 401 "The names in the client certificate do not identify exactly one client."
        "Issue a certificate with one clear name, or check identity.trust_domains and identity.mappings.";
    IdentityMissing "identity_missing" 401 "The client certificate holds no name that identifies a client."
        "Issue a certificate with a name, or register its subject or thumbprint.";

    TokenMissing "token_missing" 401 "A verified bearer token is required."
        "Send a token. If the client sends one, check jwt_authn and token.metadata.";
    TokenMalformed "token_malformed" 401 "The token cannot be decoded."
        "Send the access token as the issuer made it.";
    TokenAlgorithmNotAllowed "token_algorithm_not_allowed" 401 "The token's algorithm is not accepted."
        "Sign with an algorithm of token.algorithms, or add this one.";
    TokenKeyUnknown "token_key_unknown" 401 "The token was signed with an unknown key."
        "Compare the kid with the issuer's key set.";
    TokenSignatureInvalid "token_signature_invalid" 401 "The token's signature is not valid."
        "Fetch a new token. If that fails, too, compare the issuer's keys with the key set.";
    TokenClaimsInvalid "token_claims_invalid" 401 "A claim of the token is missing or has the wrong type."
        "Correct the claim at the issuer.";
    TokenExpired "token_expired" 401 "The token has expired."
        "Fetch a new token. If it is new, correct the clocks.";
    TokenNotYetValid "token_not_yet_valid" 401 "The token is not valid yet."
        "Correct the clocks, or raise token.leeway_seconds.";
    TokenIssuerMismatch "token_issuer_mismatch" 401 "The token was issued by somebody else."
        "Fetch the token from the configured issuer. To accept a second issuer, list both in token.providers.";
    TokenAudienceMismatch "token_audience_mismatch" 401 "The token is meant for somebody else."
        "Request the token for this service, or add the audience to token.audiences.";
    SenderBindingMissing "sender_binding_missing" 401 "The token is not bound to a client certificate (cnf.x5t#S256)."
        "Let the authorization server bind tokens to certificates (RFC 8705).";
    SenderBindingMalformed "sender_binding_malformed" 401 "The token's cnf.x5t#S256 is not the unpadded base64url of a SHA-256."
        "Correct cnf.x5t#S256 at the issuer.";
    SenderBindingMismatch "sender_binding_mismatch" 401 "The token is bound to another client certificate."
        "Fetch a new token with the present certificate. If the certificate was not renewed, the token may be stolen.";

    IdentityNotMapped "identity_not_mapped" 403 "The caller's identity belongs to no client of this service."
        "Register the identity under clients, or add a mapping.";
    ClientHeaderMissing "client_header_missing" 403 "X-Client-ID and X-Profile-ID are both required."
        "Send X-Client-ID and X-Profile-ID.";
    ClientMismatch "client_mismatch" 403 "X-Client-ID does not name the authenticated client."
        "Leave X-Client-ID out, or send the client's own name.";
    ClientProfileMismatch "client_profile_mismatch" 403 "The client is not bound to this profile, or the token names another client."
        "Fetch a token of this client (token_client_ids), or name one of the profiles in clients.<id>.profiles.";
    ProfileRequired "profile_required" 403 "X-Profile-ID must name one of the client's profiles."
        "Send X-Profile-ID with one of clients.<id>.profiles.";
    SourceIpDenied "source_ip_denied" 403 "The profile may not be used from this address."
        "Call from a listed network, or add the address to source_cidrs of the profile.";
    PathDenied "path_denied" 403 "The profile does not allow this path."
        "If this client may have the path, add an allow rule to the profile, or remove the deny entry.";
    CollectionDenied "collection_denied" 403 "The profile does not have the collection that this path belongs to."
        "If this client may have the path, add an allow rule with the collection to the profile.";
    UpgradeDenied "upgrade_denied" 403 "The profile does not allow this upgrade."
        "List the protocol under upgrades, or CONNECT under methods, of an allow rule.";
    InsufficientScope "insufficient_scope" 403 "The token lacks a scope that this request needs."
        "Request a token with the scopes that the rule needs.";

    MethodNotAllowed "method_not_allowed" 405 "The profile does not allow this method here."
        "Use a method of the Allow header, or add this one to the allow rule.";
    RateLimited "rate_limited" 429 "Too many requests."
        "Wait as Retry-After says, or raise rate_limit of the profile.";
    RevocationUnavailable "revocation_unavailable" 503 "Whether the client certificate has been revoked cannot be told now."
        "Make the feed available again. Earlier log lines say what fails.";
    KeysUnavailable "keys_unavailable" 503 "The keys to verify tokens with are not available."
        "Make the key set available again. Earlier log lines say what fails.";
    InternalError "internal_error" 500 "The request could not be authorized."
        "Read the earlier error lines of Envoy's log.";
}

impl Reason {
    /// Is a token that came with the request at fault?
    pub const fn concerns_token(self) -> bool {
        matches!(
            self,
            Self::TokenMalformed
                | Self::TokenAlgorithmNotAllowed
                | Self::TokenKeyUnknown
                | Self::TokenSignatureInvalid
                | Self::TokenClaimsInvalid
                | Self::TokenExpired
                | Self::TokenNotYetValid
                | Self::TokenIssuerMismatch
                | Self::TokenAudienceMismatch
                | Self::SenderBindingMissing
                | Self::SenderBindingMalformed
                | Self::SenderBindingMismatch
        )
    }

    /// The status of a gRPC answer, by number (`google.rpc.Code`).
    pub const fn grpc_status(self) -> i32 {
        match self.status() {
            400 => 3,  // INVALID_ARGUMENT
            401 => 16, // UNAUTHENTICATED
            403 => 7,  // PERMISSION_DENIED
            405 => 12, // UNIMPLEMENTED
            429 => 8,  // RESOURCE_EXHAUSTED
            503 => 14, // UNAVAILABLE
            _ => 13,   // INTERNAL
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    /// Why.
    pub reason: Reason,
    /// For the caller, where it can say more than [`Reason::detail`]; never a token, a certificate or another client's name.
    pub detail: Option<Cow<'static, str>>,
    /// For the operator's record and log alone: what was found, and what was expected. It is cut and escaped where it is written.
    /// Never a token, a certificate or a claim about a person.
    pub note: Option<Cow<'static, str>>,
    /// Which list revokes the certificate.
    pub matched: Option<Matched>,
    /// What a particular status owes the caller.
    pub remedy: Remedy,
    /// The key set, by its index, that was asked about the token: a newer one may say something else.
    pub key_set: Option<u8>,
}

/// What the caller of a refused request may do next, where HTTP has a header for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Remedy {
    /// Nothing to add.
    #[default]
    None,
    /// 405: the methods that would have been allowed (`Allow`).
    Methods(Vec<String>),
    /// 403 `insufficient_scope`: the scopes that would have sufficed (RFC 6750 section 3).
    Scopes(Vec<String>),
    /// 429: whole seconds to wait (`Retry-After`).
    RetryAfter(u64),
}

impl Deny {
    /// A refusal with the reason's own words.
    pub const fn new(reason: Reason) -> Self {
        Self { reason, detail: None, note: None, matched: None, remedy: Remedy::None, key_set: None }
    }

    /// Says more to the caller.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says more to the operator.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<Cow<'static, str>>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Says which key set was asked; there are few (`token.providers`).
    #[must_use]
    pub fn by_key_set(mut self, key_set: usize) -> Self {
        self.key_set = u8::try_from(key_set).ok();
        self
    }

    /// Tells the caller what would help.
    #[must_use]
    pub fn with_remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = remedy;
        self
    }
}

impl From<Reason> for Deny {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

/// A proxy that does not answer: nothing can be known, so nothing passes.
impl From<HostError> for Deny {
    fn from(error: HostError) -> Self {
        Self::new(Reason::InternalError).with_note(error.to_string())
    }
}

/// Why a request may pass: the rule that allowed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow {
    /// Which of a policy's rules.
    pub rule: Rule,
}

/// A rule that can allow a request, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `bypass[index]`
    Bypass(usize),
    /// `profiles.<profile of the caller>.allow[index]`
    Profile(usize),
}

/// How the caller proved to be the holder of what it presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The token's `cnf.x5t#S256` is the thumbprint of the certificate.
    Bound,
    /// A bearer token that is bound to nothing, where the mode allows one.
    Bearer,
    /// The certificate alone.
    Certificate,
}

impl Binding {
    /// The word in the decision record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Bearer => "bearer",
            Self::Certificate => "certificate",
        }
    }
}

/// Who is calling, as far as the decision came: all of it on an allowed request, what was found before the refusal otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The client.
    pub client: Option<Rc<Recognised>>,
    /// The name of the profile in force.
    pub profile_id: Option<Rc<str>>,
    /// The typed name by which the certificate was recognised, such as `spiffe://…` or `cn:…`.
    pub identity: Option<Rc<str>>,
    /// `x5t#S256` of the certificate.
    pub thumbprint: Option<Thumbprint>,
    /// `cnf.x5t#S256` of the token: the certificate that it is bound to.
    pub token_thumbprint: Option<Thumbprint>,
    /// Set once possession was proved.
    pub binding: Option<Binding>,
}

impl Caller {
    /// The name of the client.
    pub fn client_id(&self) -> Option<&str> {
        self.client.as_ref().map(|client| client.client_id.as_str())
    }

    /// The client's canonical ARN.
    pub fn principal(&self) -> Option<&str> {
        self.client.as_ref().and_then(|client| client.principal.as_deref())
    }
}

/// Whether a refusal is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// Refuse.
    #[default]
    Enforce,
    /// Decide, record and count, but let the request go on.
    Shadow,
}

impl Enforcement {
    /// The word in the configuration and in the decision record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// What became of the header in which proxies forward certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedCert {
    /// There is none, or nobody looked.
    #[default]
    Unknown,
    /// Envoy itself wrote the request's `x-forwarded-client-cert`, for this connection. The upstream may read it.
    Own,
    /// A trusted proxy sent it.
    Believed,
    /// Somebody else sent it.
    Ignored,
}

/// The verdict on one request with everything that explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// May it pass?
    pub verdict: Result<Allow, Deny>,
    /// Who is calling.
    pub caller: Caller,
    /// Whether a refusal is carried out.
    pub enforcement: Enforcement,
    /// The canonical path, where the request had one.
    pub path: Option<String>,
    /// The certificate, where the decision came to look at it and Envoy or a trusted proxy had verified it.
    pub certificate: Option<Rc<Certificate>>,
    /// When it was decided, in seconds since 1970, where the time mattered.
    pub time: Option<i64>,
    /// What became of the header in which a certificate was forwarded.
    pub forwarded_cert: ForwardedCert,
    /// It was allowed without a look at a token: one in `Authorization` must not go on beside the allow.
    pub removes_token: bool,
    /// What the candidate would have done, where there is one.
    pub candidate: Option<Box<Verdict>>,
}

impl Decision {
    /// Nothing found, and nothing allowed for this reason, which shadow mode does not overrule.
    pub fn failed(deny: Deny) -> Self {
        Self {
            verdict: Err(deny),
            caller: Caller::default(),
            enforcement: Enforcement::Enforce,
            path: None,
            certificate: None,
            time: None,
            forwarded_cert: ForwardedCert::Unknown,
            removes_token: false,
            candidate: None,
        }
    }
}

impl Decision {
    /// The refusal that the caller is to see: none in shadow mode.
    pub fn refusal(&self) -> Option<&Deny> {
        match (&self.verdict, self.enforcement) {
            (Err(deny), Enforcement::Enforce) => Some(deny),
            _ => None,
        }
    }
}
