//! What was decided about a request, and the only list of reasons.

use std::borrow::Cow;
use std::rc::Rc;

use crate::candidate::Verdict;
use crate::certificate::{Certificate, Thumbprint};
use crate::identity::Recognised;
use crate::proxy::HostError;
use crate::revocation::Matched;

/// Declares [`Reason`] with the code, the HTTP status and the public detail of each variant side by side.
macro_rules! reasons {
    ($($variant:ident $code:literal $status:literal $detail:literal;)*) => {
        /// Why a request was refused.
        ///
        /// The code stands in the answer, in the decision record and as the label of the failure counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = concat!("`", $code, "`, ", $status, ": ", $detail)] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order in which the decision can reach them.
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
        }
    };
}

reasons! {
    RequestMalformed "request_malformed" 400 "The request lacks a method or a path, or repeats a header that must stand once.";
    PathMalformed "path_malformed" 400 "The path can be read in more than one way.";
    AuthorizationMalformed "authorization_malformed" 400 "Exactly one bearer token of at most 16 KiB is expected in the Authorization header.";
    CertificateMalformed "certificate_malformed" 400 "The client certificate cannot be decoded.";
    CertificateOversized "certificate_oversized" 400 "The forwarded client certificate is too large.";

    CertificateMissing "certificate_missing" 401 "A client certificate is required.";
    CertificateUntrusted "certificate_untrusted" 401 "The client certificate was not verified on this connection.";
    CertificateExpired "certificate_expired" 401 "The client certificate has expired.";
    CertificateNotYetValid "certificate_not_yet_valid" 401 "The client certificate is not valid yet.";
    CertificateUnsuitable "certificate_unsuitable" 401 "The certificate is not one for TLS client authentication.";
    CertificateRevoked "certificate_revoked" 401 "The client certificate has been revoked.";
    IdentityInvalid "identity_invalid" 401 "The names in the client certificate do not identify exactly one client.";
    IdentityMissing "identity_missing" 401 "The client certificate holds no name that identifies a client.";

    TokenMissing "token_missing" 401 "A verified bearer token is required.";
    TokenMalformed "token_malformed" 401 "The token cannot be decoded.";
    TokenAlgorithmNotAllowed "token_algorithm_not_allowed" 401 "The token's algorithm is not accepted.";
    TokenKeyUnknown "token_key_unknown" 401 "The token was signed with an unknown key.";
    TokenSignatureInvalid "token_signature_invalid" 401 "The token's signature is not valid.";
    TokenClaimsInvalid "token_claims_invalid" 401 "A claim of the token is missing or has the wrong type.";
    TokenExpired "token_expired" 401 "The token has expired.";
    TokenNotYetValid "token_not_yet_valid" 401 "The token is not valid yet.";
    TokenIssuerMismatch "token_issuer_mismatch" 401 "The token was issued by somebody else.";
    TokenAudienceMismatch "token_audience_mismatch" 401 "The token is meant for somebody else.";
    SenderBindingMissing "sender_binding_missing" 401 "The token is not bound to a client certificate (cnf.x5t#S256).";
    SenderBindingMalformed "sender_binding_malformed" 401 "The token's cnf.x5t#S256 is not the unpadded base64url of a SHA-256.";
    SenderBindingMismatch "sender_binding_mismatch" 401 "The token is bound to another client certificate.";

    IdentityNotMapped "identity_not_mapped" 403 "The caller's identity belongs to no client of this service.";
    ClientHeaderMissing "client_header_missing" 403 "X-Client-ID and X-Profile-ID are both required.";
    ClientMismatch "client_mismatch" 403 "X-Client-ID does not name the authenticated client.";
    ClientProfileMismatch "client_profile_mismatch" 403 "The client is not bound to this profile, or the token names another client.";
    ProfileRequired "profile_required" 403 "X-Profile-ID must name one of the client's profiles.";
    SourceIpDenied "source_ip_denied" 403 "The profile may not be used from this address.";
    PathDenied "path_denied" 403 "The profile does not allow this path.";
    CollectionDenied "collection_denied" 403 "The profile does not have the collection that this path belongs to.";
    UpgradeDenied "upgrade_denied" 403 "The profile does not allow this upgrade.";
    InsufficientScope "insufficient_scope" 403 "The token lacks a scope that this request needs.";

    MethodNotAllowed "method_not_allowed" 405 "The profile does not allow this method here.";
    RateLimited "rate_limited" 429 "Too many requests.";
    RevocationUnavailable "revocation_unavailable" 503 "Whether the client certificate has been revoked cannot be told now.";
    KeysUnavailable "keys_unavailable" 503 "The keys to verify tokens with are not available.";
    InternalError "internal_error" 500 "The request could not be authorized.";
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
    /// For the operator's log alone: what was found, and what to do about it.
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
