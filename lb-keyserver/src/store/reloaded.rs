//! What a reload changed.

use std::collections::HashMap;

use crate::ski::Ski;

/// What a reload changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Keys that were not there before, by their names in ascending order, as below.
    pub added: Vec<Ski>,
    /// Keys that no longer are.
    pub removed: Vec<Ski>,
    /// Keys that were there, and still are.
    pub kept: Vec<Ski>,
    /// What was passed over: in a folder, names that are no key's; on a token, keys that cannot be
    /// served.
    pub ignored: usize,
}

impl Reloaded {
    /// What is different in `next`.
    pub(super) fn between<T>(
        old: &HashMap<Ski, T>,
        next: &HashMap<Ski, T>,
        ignored: usize,
    ) -> Self {
        Self {
            added: names(next, |ski| !old.contains_key(ski)),
            removed: names(old, |ski| !next.contains_key(ski)),
            kept: names(next, |ski| old.contains_key(ski)),
            ignored,
        }
    }
}

fn names<T>(keys: &HashMap<Ski, T>, which: impl Fn(&Ski) -> bool) -> Vec<Ski> {
    let mut names: Vec<_> = keys.keys().filter(|ski| which(ski)).copied().collect();
    names.sort_unstable();
    names
}
