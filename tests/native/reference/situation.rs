//! A plain description of everything that a decision depends on.

/// The policy, who asks for what, and what he brings along.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    pub setup: Setup,
    pub address: Address,
    /// What the peer presents on its connection.
    pub connection: Cert,
    /// What the peer sends in the header in which proxies forward certificates.
    pub header: Header,
    pub token: Token,
    pub client_header: ClientHeader,
    pub profile_header: ProfileHeader,
    pub method: Method,
    pub path: Path,
}

/// The variable part of the policy. The fixed part is in `scene`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    pub source: Source,
    pub mode: Mode,
    pub partner_mode: Option<Mode>,
    pub auditor_mode: Option<Mode>,
    pub shadow: bool,
    pub partner_shadow: Option<bool>,
    pub tokens: TokenSource,
    pub client_headers_required: bool,
    /// Partners come from `10.0.0.0/8` alone.
    pub partner_cidrs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Connection,
    Forwarded,
    ConnectionOrForwarded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Mtls,
    Required,
    Optional,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenSource {
    JwtAuthn,
    Jwks,
}

/// The direct peer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// In `trusted_proxies.cidrs`.
    Proxy,
    Elsewhere,
    /// Nobody tells.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cert {
    None,
    /// Acme's.
    Good,
    /// Acme's next one: the same name and another key.
    Renewed,
    /// Acme's, which Envoy did not verify.
    Untrusted,
    Expired,
    /// Acme's, whose serial number is on the list.
    Revoked,
    NotYetValid,
    Ca,
    ServerOnly,
    /// No certificate at all.
    Malformed,
    Globex,
    Nobody,
    /// A registered Common Name behind an unregistered SPIFFE ID.
    WeakerName,
    TwoUris,
    ForeignTrustDomain,
    NoNames,
    /// The proxy's, in `trusted_proxies.identities`.
    Edge,
    EdgeUntrusted,
    EdgeExpired,
    EdgeRevoked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Header {
    Absent,
    Empty,
    Holding(Cert),
    Malformed,
    Duplicated,
    Oversized,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub transport: Transport,
    pub defect: Defect,
    pub client: Named,
    pub binding: Bound,
    /// Whether it has the scope `payments:write`.
    pub scope: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// There is no token.
    Absent,
    Bearer,
    /// In dynamic metadata alone.
    MetadataOnly,
    Twice,
    CommaJoined,
    Oversized,
    /// `Authorization: Basic` beside the metadata.
    OtherScheme,
    /// The metadata is of another token than the header.
    NotTheVerified,
    /// A second one in the query.
    QueryToo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
    None,
    Expired,
    NotYetValid,
    IssuedLater,
    NoExpiry,
    WrongIssuer,
    WrongAudience,
    Critical,
    Forged,
    UnknownKey,
    AlgNone,
    Malformed,
}

/// Whom the token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    Acme,
    Globex,
    Unregistered,
    NoOne,
    /// `client_id` and `azp` differ.
    Two,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    No,
    To(Cert),
    /// To acme's certificate, in another form than the one that counts.
    Hex,
    Padded,
    Sha1,
    /// A `cnf` with another member.
    OtherKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientHeader {
    Absent,
    Acme,
    Globex,
    Twice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProfileHeader {
    Absent,
    Partner,
    Auditor,
    /// A profile that no client has.
    Internal,
    /// No profile.
    Unknown,
    Twice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Missing,
    Get,
    Post,
    Delete,
    /// Without a path.
    Connect,
    /// GET with `Upgrade: websocket`.
    Upgrade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// In `bypass`, for GET.
    Health,
    Payments,
    Payment,
    /// The same, written in a way that has to be resolved.
    PaymentEscaped,
    /// In `deny`.
    Denied,
    /// In a collection.
    Report,
    /// In `binding.required_paths`.
    Transfers,
    TransfersSlash,
    Live,
    Unknown,
    Malformed,
}

pub const SOURCES: &[Source] = &[Source::Connection, Source::Forwarded, Source::ConnectionOrForwarded];
pub const MODES: &[Mode] = &[Mode::Mtls, Mode::Required, Mode::Optional];
pub const PROFILE_MODES: &[Option<Mode>] = &[None, Some(Mode::Mtls), Some(Mode::Required), Some(Mode::Optional)];
pub const TOKEN_SOURCES: &[TokenSource] = &[TokenSource::JwtAuthn, TokenSource::Jwks];
pub const ADDRESSES: &[Address] = &[Address::Proxy, Address::Elsewhere, Address::Unknown];

pub const CERTS: &[Cert] = &[
    Cert::None,
    Cert::Good,
    Cert::Renewed,
    Cert::Untrusted,
    Cert::Expired,
    Cert::Revoked,
    Cert::NotYetValid,
    Cert::Ca,
    Cert::ServerOnly,
    Cert::Malformed,
    Cert::Globex,
    Cert::Nobody,
    Cert::WeakerName,
    Cert::TwoUris,
    Cert::ForeignTrustDomain,
    Cert::NoNames,
    Cert::Edge,
    Cert::EdgeUntrusted,
    Cert::EdgeExpired,
    Cert::EdgeRevoked,
];

pub const HEADERS: &[Header] = &[
    Header::Absent,
    Header::Empty,
    Header::Holding(Cert::Good),
    Header::Holding(Cert::Renewed),
    Header::Holding(Cert::Expired),
    Header::Holding(Cert::Revoked),
    Header::Holding(Cert::NotYetValid),
    Header::Holding(Cert::Ca),
    Header::Holding(Cert::ServerOnly),
    Header::Holding(Cert::Globex),
    Header::Holding(Cert::Nobody),
    Header::Holding(Cert::WeakerName),
    Header::Holding(Cert::TwoUris),
    Header::Holding(Cert::ForeignTrustDomain),
    Header::Holding(Cert::NoNames),
    Header::Holding(Cert::Edge),
    Header::Holding(Cert::EdgeExpired),
    Header::Holding(Cert::EdgeRevoked),
    Header::Malformed,
    Header::Duplicated,
    Header::Oversized,
];

pub const TRANSPORTS: &[Transport] = &[
    Transport::Absent,
    Transport::Bearer,
    Transport::MetadataOnly,
    Transport::Twice,
    Transport::CommaJoined,
    Transport::Oversized,
    Transport::OtherScheme,
    Transport::NotTheVerified,
    Transport::QueryToo,
];

pub const DEFECTS: &[Defect] = &[
    Defect::None,
    Defect::Expired,
    Defect::NotYetValid,
    Defect::IssuedLater,
    Defect::NoExpiry,
    Defect::WrongIssuer,
    Defect::WrongAudience,
    Defect::Critical,
    Defect::Forged,
    Defect::UnknownKey,
    Defect::AlgNone,
    Defect::Malformed,
];

pub const NAMED: &[Named] = &[Named::Acme, Named::Globex, Named::Unregistered, Named::NoOne, Named::Two];

pub const BOUND: &[Bound] = &[
    Bound::No,
    Bound::To(Cert::Good),
    Bound::To(Cert::Renewed),
    Bound::To(Cert::Globex),
    Bound::To(Cert::Nobody),
    Bound::To(Cert::Edge),
    Bound::Hex,
    Bound::Padded,
    Bound::Sha1,
    Bound::OtherKind,
];

pub const CLIENT_HEADERS: &[ClientHeader] =
    &[ClientHeader::Absent, ClientHeader::Acme, ClientHeader::Globex, ClientHeader::Twice];

pub const PROFILE_HEADERS: &[ProfileHeader] = &[
    ProfileHeader::Absent,
    ProfileHeader::Partner,
    ProfileHeader::Auditor,
    ProfileHeader::Internal,
    ProfileHeader::Unknown,
    ProfileHeader::Twice,
];

pub const METHODS: &[Method] =
    &[Method::Missing, Method::Get, Method::Post, Method::Delete, Method::Connect, Method::Upgrade];

pub const PATHS: &[Path] = &[
    Path::Health,
    Path::Payments,
    Path::Payment,
    Path::PaymentEscaped,
    Path::Denied,
    Path::Report,
    Path::Transfers,
    Path::TransfersSlash,
    Path::Live,
    Path::Unknown,
    Path::Malformed,
];
