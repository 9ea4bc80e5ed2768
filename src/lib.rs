//! An authorization filter for Envoy and Istio.
//!
//! For every request: may the holder of this client certificate, under this profile, with this token, make it?
//!
//! The crate has a pure core, which knows bytes, certificates, tokens and policies, and one adapter, `filter`, which knows
//! Envoy and is built for `wasm32` alone. Data flows one way: [`Request`] in, [`decide`] asks a [`Proxy`] for what it
//! needs, a [`Decision`] comes out, and from it a [`Response`], [`upstream_headers`], a [`decision_record`] and counters.
//! Nothing flows back.

#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]
#![cfg_attr(test, allow(clippy::as_conversions))]

mod authorize;
mod bounds;
mod byte_set;
mod candidate;
mod certificate;
mod config;
mod connection;
mod decision;
mod escape;
mod feeds;
mod fetch;
mod fingerprint;
#[doc(hidden)]
pub mod fuzzing;
mod header_names;
mod identity;
pub mod inventory;
mod json;
mod letter_case;
mod line;
mod memory;
mod metrics;
pub mod pairs;
mod plain;
mod policy;
mod presented;
mod protobuf;
mod proxy;
mod record;
mod request;
mod response;
mod revocation;
mod token;
mod token_alone;
mod upstream;
mod x509_signature;

#[cfg(target_arch = "wasm32")]
mod filter;

pub use authorize::decide;
pub use candidate::{Outcome as CandidateOutcome, Verdict as CandidateVerdict, decide_beside};
pub use certificate::{Certificate, ExtendedKeyUsage, Format, Forwarded, Thumbprint};
pub use config::{AuditLog, ConfigError, ConfigErrors, Policy};
pub use decision::{Allow, Binding, Caller, Decision, Deny, Enforcement, ForwardedCert, Reason, Remedy, Rule};
pub use feeds::{Answer, COOLDOWN, Call, Holder, MAX_FEED_BYTES, Progress, Taken, Watch};
pub use memory::{KeyEdition, Memory};
pub use metrics::{Counter, Outcome, Source, days_until_expiry, fetch_age, issuer_days_until_expiry, of_policy};
pub use policy::Methods;
pub use proxy::{Hash, HostError, Property, Proxy, Shared, SignatureCheck, Swap};
pub use record::{LogBudget, json as decision_record, log_line};
pub use request::{Header, Repeated, Request, Values};
pub use response::Response;
pub use revocation::{Feed, FeedKind, InForce, List, Matched};
pub use token::{
    Algorithm, Curve, Family, Key, KeySet, KeySource, LeftOut, MAX_SET_BYTES, Material, SetError, TokenSource,
    Unusable, verify as verify_token, verify_pss_signature, verify_signature, verify_x509_signature,
};
pub use upstream::{Change as UpstreamChange, headers as upstream_headers, trailers as upstream_trailers};
