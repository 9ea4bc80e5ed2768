//! The filter's public interface, natively: a proxy made of maps, certificates made in the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::as_conversions)]

mod authorities;
mod authority;
mod candidate;
mod certificates;
mod configuration;
mod crl;
mod decisions;
mod documentation;
mod fetched;
mod foreign_headers;
mod formats;
mod forwarded;
mod host;
mod hostile;
mod identities;
mod identity;
mod inventory;
mod isolation;
mod issuer;
mod keys;
mod less_proof;
mod limits;
mod mappings;
mod meaning;
mod mistakes;
mod notes;
mod order;
mod problems;
mod properties;
mod providers;
mod proxy;
mod reference;
mod remembered;
mod requests;
mod restrictions;
mod revocation;
mod rfc;
mod signatures;
mod tokens;
mod told;
mod values;
mod vectors;
mod warnings;
