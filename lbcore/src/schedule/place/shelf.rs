//! Tables that pools with the same backends have in common.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::schedule::Tier;

/// The tables in use, by what they were built from. Clones are of the same shelf.
///
/// So ten thousand pools that hold the same backends under one scheduler hold one table, and a
/// change of health finds the table that is already there.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    tables: Arc<Mutex<Tables<T>>>,
}

#[derive(Debug)]
struct Tables<T> {
    by_placement: BTreeMap<(u64, usize), Weak<T>>,
    /// Tables that are gone are swept out when there are so many.
    sweep_at: usize,
}

impl<T> Shelf<T> {
    /// The table of `tier`: the one there is, or a new one.
    pub(super) fn table(&self, tier: &Tier, build: impl FnOnce() -> T) -> Arc<T> {
        let key = (tier.placement(), tier.len());
        let known = self.with(|tables| tables.by_placement.get(&key).and_then(Weak::upgrade));
        if let Some(known) = known {
            return known;
        }
        // Built outside the lock: a large table takes milliseconds, and other pools have others.
        let built = Arc::new(build());
        self.with(|tables| tables.put(key, &built));
        built
    }

    fn with<R>(&self, look: impl FnOnce(&mut Tables<T>) -> R) -> R {
        // A panic under the lock leaves at worst a table that is not shared.
        look(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Tables<T> {
    fn put(&mut self, key: (u64, usize), table: &Arc<T>) {
        if self.by_placement.len() >= self.sweep_at {
            self.by_placement
                .retain(|_, table| table.strong_count() > 0);
            self.sweep_at = (self.by_placement.len() * 2).max(SWEEP);
        }
        self.by_placement.insert(key, Arc::downgrade(table));
    }
}

/// A shelf this small is not swept: what a table leaves behind is some 100 bytes.
const SWEEP: usize = 16;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        let tables = Tables {
            by_placement: BTreeMap::new(),
            sweep_at: SWEEP,
        };
        Self {
            tables: Arc::new(Mutex::new(tables)),
        }
    }
}

impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, BackendId};

    fn tier(id: u64) -> Tier {
        let address = "10.0.0.1:80".parse().unwrap();
        Tier::of([Backend::new("a", address).id(BackendId::new(id))])
    }

    #[test]
    fn the_same_tier_is_built_once_while_anyone_holds_its_table() {
        let shelf = Shelf::default();
        let same = shelf.clone();
        let first = same.table(&tier(1), || 1);
        assert!(Arc::ptr_eq(&first, &shelf.table(&tier(1), || 2)));
        assert_eq!(*shelf.table(&tier(2), || 3), 3);
        drop(first);
        assert_eq!(*shelf.table(&tier(1), || 4), 4);
    }

    #[test]
    fn tables_that_are_gone_are_swept_out_and_those_in_use_stay() {
        let shelf = Shelf::default();
        let kept = shelf.table(&tier(0), || 0);
        for id in 1..1000 {
            shelf.table(&tier(id), || id);
            assert!(shelf.with(|tables| tables.by_placement.len()) <= SWEEP);
        }
        assert!(Arc::ptr_eq(&kept, &shelf.table(&tier(0), || 1)));
    }
}
