//! How long may become what callers, certificates and servers name, in bytes. What is written longer ends with `…`.

/// A method; the longest registered one has 17. A longer one refuses the request.
pub const METHOD: usize = 64;
/// The name of a client or a profile, a principal, `policy_id`: in the configuration, and where a mapping makes one.
pub const NAME: usize = 256;

/// Such a name inside JSON, where a character can take two.
pub const NAME_IN_JSON: usize = 2 * NAME;
/// A path in a record.
pub const PATH: usize = 2048;
/// What a certificate says of itself, in a line: an identity, an issuer.
pub const CERTIFICATE_TEXT: usize = 512;
/// What else a caller or a server says, in a line: `x-request-id`, a key's `kid`, a status.
pub const FOREIGN_TEXT: usize = 256;
/// The note for the operator, in a record.
pub const NOTE: usize = 1024;
/// One foreign text in a note.
pub const EXCERPT: usize = 128;
/// How many of several things a note names.
pub const LISTED: usize = 8;
/// How many of several texts of a token or a key set it names.
pub const TEXTS: usize = 10;
/// A record, whatever is in it. A test makes the longest one.
#[cfg(test)]
pub const RECORD: usize = 9 * 1024;

/// A line in Envoy's log: a whole record and a remedy.
#[cfg(any(test, target_arch = "wasm32"))]
pub const LINE: usize = 10 * 1024;
/// Lines that a worker writes about decisions in a second, and about everything else.
pub const LINES_A_SECOND: u32 = 100;
/// Bytes of these.
pub const BYTES_A_SECOND: usize = 100 * 1024;
