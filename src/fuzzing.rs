//! Parsers that are no part of the interface, for the targets in `fuzz/` alone: what reaches them through the interface
//! has been through other parsers first, and a fuzzer would seldom get past those.

pub use crate::certificate::{
    Attribute, DistinguishedName, Element, FoldedName, Pair, Value as AttributeValue, parse_xfcc,
};
pub use crate::escape::percent_decode;
pub use crate::identity::SpiffeId;
pub use crate::json::object as strict_object;
pub use crate::policy::{Ambiguous, CanonicalPath, PathRules};
pub use crate::revocation::Checked;
pub use crate::token::{ClaimRules, Claims, Confirmation, verified_payload};
