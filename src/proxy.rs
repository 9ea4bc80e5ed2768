//! What the decision may ask of the proxy it runs in. Each question costs a host call, so each is asked only when its
//! answer matters.

use std::fmt;

/// A property of the request or its connection, by Envoy's attribute name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Property<'a> {
    /// One byte, 1 where Envoy verified the peer's certificate on this connection (Envoy 1.39 and later).
    PeerCertificateValid,
    /// PEM of the peer's certificate (Envoy 1.38 and later).
    PeerCertificate,
    /// 64 hexadecimal digits; empty or absent where the peer presented no certificate.
    PeerCertificateDigest,
    /// RFC 2253 text.
    PeerSubject,
    /// The first URI subject alternative name.
    PeerUriSan,
    /// The first DNS subject alternative name.
    PeerDnsSan,
    /// The first URI subject alternative name of this Envoy's own certificate.
    LocalUriSan,
    /// The note of this name that [`Proxy::leave_note`] has left on the connection.
    Note(&'a str),
    /// `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
    Protocol,
    /// All dynamic metadata of the request, a serialized `envoy.config.core.v3.Metadata`.
    DynamicMetadata,
    /// The address of the direct peer, from the filter state that the shipped configurations write.
    DirectRemoteAddress,
    /// The address that Envoy believes to be the caller's, which `X-Forwarded-For` may have chosen.
    SourceAddress,
}

impl<'a> Property<'a> {
    /// The property's path: its segments, each ended by a NUL but the last.
    pub const fn path(self) -> &'a str {
        match self {
            Self::PeerCertificateValid => "connection\0peer_certificate_valid",
            Self::PeerCertificate => "connection\0peer_certificate",
            Self::PeerCertificateDigest => "connection\0sha256_peer_certificate_digest",
            Self::PeerSubject => "connection\0subject_peer_certificate",
            Self::PeerUriSan => "connection\0uri_san_peer_certificate",
            Self::PeerDnsSan => "connection\0dns_san_peer_certificate",
            Self::LocalUriSan => "connection\0uri_san_local_certificate",
            Self::Note(name) => name,
            Self::Protocol => "request\0protocol",
            Self::DynamicMetadata => "metadata",
            Self::DirectRemoteAddress => "filter_state\0mtls_authz.direct_remote_address",
            Self::SourceAddress => "source\0address",
        }
    }
}

/// The proxy did not answer: a host call failed with this status. Always a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostError {
    /// Which call.
    pub call: &'static str,
    /// The status it returned.
    pub status: u32,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with status {}", self.call, self.status)
    }
}

/// The hash of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    /// Its length in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A signature for the proxy to verify: RSASSA-PKCS1-v1_5 or ECDSA, as the key says.
///
/// The proxy checks neither that hash and curve belong together nor the size of a key; whoever asks has.
#[derive(Debug, Clone, Copy)]
pub struct SignatureCheck<'a> {
    /// Of the message.
    pub hash: Hash,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: &'a [u8],
    /// For ECDSA in DER.
    pub signature: &'a [u8],
    /// What was signed.
    pub message: &'a [u8],
}

/// What became of an attempt to change a shared value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The new value is in force.
    Done,
    /// Another worker was faster; read again.
    Lost,
}

/// A value that all workers of the process share, with the version it had when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The bytes.
    pub value: Vec<u8>,
    /// To be named when swapping.
    pub version: u32,
}

/// The proxy, as the decision sees it.
///
/// It has two clocks. **Everything that lasts is kept by [`Proxy::monotonic`]**: how old a list or a key set is, how long a
/// request waits, when the next fetch is due, how much of a rate or a budget is left. An operator or NTP may set the other
/// clock, [`Proxy::now`], forward or back at any time, and then what lasted by it would end at once or not at all. It is
/// compared with what certificates, tokens and lists say of themselves (`notBefore`, `exp`, `nextUpdate`), it tells one day
/// of the calendar from another, and nothing else.
pub trait Proxy {
    /// The raw bytes of a property, `None` where the proxy does not have it.
    fn property(&self, property: Property<'_>) -> Result<Option<Vec<u8>>, HostError>;

    /// Leaves a note on the connection of this request. Later requests of that connection, and of no other, read it as
    /// [`Property::Note`]; no caller can write it.
    fn leave_note(&self, name: &str, note: &[u8]) -> Result<(), HostError>;

    /// Verifies a signature, or `None` where the proxy cannot: then nothing is known about it, and nothing passes.
    fn verify_signature(&self, check: SignatureCheck<'_>) -> Option<bool>;

    /// Nanoseconds since 1970, by a clock that may be set back or forward.
    fn now(&self) -> Result<u64, HostError>;

    /// Nanoseconds of a clock that is never set, the same in all workers of the process.
    fn monotonic(&self) -> Result<u64, HostError>;

    /// Reads a shared value.
    fn shared(&self, key: &str) -> Result<Option<Shared>, HostError>;

    /// Replaces a shared value if it still has the version that was read, or creates it if it is still absent (`None`).
    fn swap_shared(&self, key: &str, value: &[u8], version: Option<u32>) -> Result<Swap, HostError>;
}

/// A second of [`Proxy::now`] and [`Proxy::monotonic`].
pub const SECOND: u64 = 1_000_000_000;
/// A millisecond of it.
pub const MILLISECOND: u64 = 1_000_000;

/// Seconds since 1970, as certificates and tokens count, out of the nanoseconds of [`Proxy::now`].
pub fn seconds(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / SECOND).unwrap_or(i64::MAX)
}
