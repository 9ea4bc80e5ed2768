//! `bypass` and `binding.required_paths`.

use super::raw::RawBypass;
use super::rules::{Around, Restriction, hosts, methods, pattern};
use super::{ConfigError, distinct};
use crate::policy::method::CONNECT;
use crate::policy::overlap::{may_meet, methods_meet};
use crate::policy::{Entry, PathEntries, PatternSet};

/// `bypass`. An entry has nothing in common with what is restricted elsewhere, unless it says so: which of the two wins would be a
/// guess.
pub(super) fn compile(
    raw: Vec<RawBypass>,
    around: &Around<'_>,
    restrictions: &[Restriction],
) -> Result<PathEntries, ConfigError> {
    distinct("bypass", &raw, |entry| &entry.path)?;
    let mut bypass = PathEntries::default();
    for (index, raw) in raw.into_iter().enumerate() {
        let path = format!("bypass[{index}]");
        let methods = methods(&path, raw.methods, around.methods)?;
        if let Some(index) = methods.iter().position(|method| method == CONNECT) {
            let expected = "another method: CONNECT is never bypassed";
            return Err(ConfigError::new(format!("{path}.methods[{index}]"), CONNECT, expected));
        }
        let entry = Entry {
            methods,
            hosts: hosts(&path, &raw.hosts)?,
            unverified: raw.unverified_authorization.unwrap_or(around.unverified),
        };
        // Last what cannot be left out, so that all errors of an entry are found.
        let granted = pattern(format!("{path}.path"), &raw.path, around.rules)?;
        let is_restricted = |restriction: &&Restriction| {
            methods_meet(&entry.methods, &restriction.methods)
                && restriction
                    .patterns
                    .iter()
                    .any(|restricted| may_meet(&granted, restricted, around.rules, around.restrictions))
        };
        if !raw.even_denied
            && let Some(restriction) = restrictions.iter().find(is_restricted)
        {
            let expected = format!(
                "paths that {} does not restrict; \"even_denied\": true in this entry lets them through all the same",
                restriction.path
            );
            return Err(ConfigError::new(format!("{path}.path"), raw.path, expected));
        }
        bypass.insert(&[granted], entry);
    }
    Ok(bypass)
}

/// `binding.required_paths`
pub(super) fn required_paths(
    texts: &[String],
    around: &Around<'_>,
    restrictions: &mut Vec<Restriction>,
) -> Result<PatternSet, ConfigError> {
    let mut set = PatternSet::restricting(around.restrictions);
    for (index, text) in texts.iter().enumerate() {
        let path = format!("binding.required_paths[{index}]");
        let pattern = pattern(path.as_str(), text, around.rules)?;
        set.insert(&pattern, index);
        restrictions.push(Restriction { path, patterns: vec![pattern], methods: Vec::new() });
    }
    Ok(set)
}
