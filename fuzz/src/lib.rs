//! A function for each parser, and one for the whole decision: whatever bytes come, what must hold does hold.
//!
//! `make fuzz` calls them with bytes that libFuzzer makes up, `make test` with the files in `seeds/`. Each function states
//! its invariants; [`reference`] and serde_json, x509-parser and base64 are what the filter is compared with.

mod certificates;
mod configuration;
mod decision;
mod names;
mod paths;
mod reference;
mod requests;
mod revocation;
mod scene;
mod tokens;

pub use certificates::{forwarded, leaf, structured_field, xfcc};
pub use configuration::configuration;
pub use decision::decision;
pub use names::{distinguished_name, spiffe_id};
pub use paths::{path, percent_decoding};
pub use requests::header_map;
pub use revocation::{crl, revocation_feed};
pub use tokens::{claims, jose_header, key_set, metadata};

/// A function that holds what must hold of any bytes.
pub type Target = fn(&[u8]);

/// Lists functions under their names.
macro_rules! targets {
    ($($name:ident)*) => { &[$((stringify!($name), $name)),*] };
}

/// Every target; a test compares them with what cargo-fuzz builds.
pub const TARGETS: &[(&str, Target)] = targets! {
    claims
    configuration
    crl
    decision
    distinguished_name
    forwarded
    header_map
    jose_header
    key_set
    leaf
    metadata
    path
    percent_decoding
    revocation_feed
    spiffe_id
    structured_field
    xfcc
};
