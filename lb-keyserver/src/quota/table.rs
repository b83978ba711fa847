//! A table that never holds more than so many entries.

use std::collections::HashMap;
use std::hash::Hash;

/// Entries by key, at most `most` of them.
///
/// When it is full, a new entry takes the place of one that is idle: that holds nothing which an
/// entry made anew would not. Of those a hand goes round and looks at [`LOOKS`] on each occasion, so
/// that the cost stays constant; where it finds none, the new entry is refused, and the hand has got
/// on.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    most: usize,
    places: HashMap<K, usize>,
    entries: Vec<(K, V)>,
    hand: usize,
}

/// How many entries are looked at for an idle one.
const LOOKS: usize = 16;

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            places: HashMap::new(),
            entries: Vec::new(),
            hand: 0,
        }
    }

    /// The entry of `key`, made where there is none; `None` when the table is full of entries that
    /// are in use.
    pub(super) fn entry(
        &mut self,
        key: K,
        make: impl FnOnce() -> V,
        is_idle: impl Fn(&V) -> bool,
    ) -> Option<&mut V> {
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None => self.make_room(key, make, is_idle)?,
        };
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(
        &mut self,
        key: K,
        make: impl FnOnce() -> V,
        is_idle: impl Fn(&V) -> bool,
    ) -> Option<usize> {
        if self.entries.len() < self.most {
            let place = self.entries.len();
            self.entries.push((key.clone(), make()));
            self.places.insert(key, place);
            return Some(place);
        }
        for _ in 0..LOOKS.min(self.entries.len()) {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = self.entries.get_mut(place)?;
            if is_idle(&entry.1) {
                let (old, _) = std::mem::replace(entry, (key.clone(), make()));
                self.places.remove(&old);
                self.places.insert(key, place);
                return Some(place);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values are idle or not.
    fn enter(table: &mut Table<u32, bool>, key: u32, idle: bool) -> Option<bool> {
        table.entry(key, || idle, |idle| *idle).map(|idle| *idle)
    }

    #[test]
    fn an_entry_is_made_once() {
        let mut table = Table::new(2);
        assert_eq!(enter(&mut table, 1, false), Some(false));
        assert_eq!(enter(&mut table, 1, true), Some(false));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_full_table_gives_away_the_places_of_idle_entries_alone() {
        let mut table = Table::new(3);
        for (key, idle) in [(1, false), (2, true), (3, false)] {
            enter(&mut table, key, idle);
        }
        assert_eq!(
            enter(&mut table, 4, false),
            Some(false),
            "in the place of 2"
        );
        assert_eq!(enter(&mut table, 5, true), None);
        assert_eq!(enter(&mut table, 2, true), None);
        for key in [1, 3, 4] {
            assert_eq!(
                enter(&mut table, key, true),
                Some(false),
                "{key} is still there"
            );
        }
        assert_eq!((table.len(), table.places.len()), (3, 3));
    }

    #[test]
    fn the_hand_gets_on_so_that_an_idle_entry_is_found_in_time() {
        let most = u32::try_from(2 * LOOKS).expect("small");
        let mut table = Table::new(2 * LOOKS);
        for key in 0..most {
            enter(&mut table, key, key == most - 1);
        }
        assert_eq!(
            enter(&mut table, most, false),
            None,
            "it looks at half of them"
        );
        assert_eq!(enter(&mut table, most, false), Some(false));
        assert_eq!(enter(&mut table, most + 1, false), None);
        assert_eq!(enter(&mut table, most + 1, false), None);
    }

    #[test]
    fn a_table_has_room_for_one_at_least() {
        let mut table = Table::new(0);
        assert_eq!(enter(&mut table, 1, true), Some(true));
        assert_eq!(enter(&mut table, 2, true), Some(true));
        assert_eq!(table.len(), 1);
    }
}
