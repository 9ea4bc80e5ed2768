//! The rules: canonical paths, patterns, profiles, addresses, rates.

pub mod address;
mod entries;
mod foreign;
mod host;
pub mod method;
mod mode;
pub mod overlap;
mod path;
mod pattern;
mod profile;
pub mod rate_limit;
mod restriction;
mod scope;
mod unverified;

pub use address::SourceAddress;
pub use entries::{Entry, PathEntries, Target};
pub use host::{Host, HostPattern};
pub use method::Methods;
pub use mode::Mode;
pub use path::{Ambiguous, CanonicalPath, PathRules};
pub use pattern::{PathPattern, PatternSet};
pub use profile::{AllowRule, Asked, Profile, ProfileId, Profiles};
pub use rate_limit::RateLimit;
pub use restriction::LetterCase;
pub use scope::Scope;
pub use unverified::UnverifiedAuthorization;
