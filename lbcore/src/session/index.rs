//! From the hash of a flow to its slot: open addressing over 8-byte words.

use super::region::Region;

/// Maps 32-bit tags to slots; who asks compares the keys.
///
/// A table has one of its own; another beside it finds the same slots by other keys, such as those
/// of a backend's answers.
///
/// A word holds a slot and the tag of its flow, so that a probe leaves the index for an entry only
/// when 32 bits agree, and so that a removal can move later words up without looking at their
/// entries: there are no tombstones, and the index never degrades nor rebuilds. All its memory is
/// reserved at the start, and the kernel hands it over page by page as it is first used.
///
/// Linear probing; at most three words of four are taken, so that a probe reads 1.5 to 2.5 words
/// to find, one cache line as a rule, and 8.5 to miss. Clients that do not know the hash key cannot
/// make it longer.
///
/// # Examples
///
/// ```
/// use lbcore::session::Index;
///
/// let keys = ["a flow", "another"];
/// let mut index = Index::new(2);
/// index.insert(0x5eed, 0);
/// index.insert(0x5eed, 1);
/// let first = index.first(0x5eed);
/// assert_eq!(index.find(first, 0x5eed, |slot| keys[slot as usize] == "another"), Some(1));
/// index.remove(0x5eed, 1);
/// assert_eq!(index.find(first, 0x5eed, |slot| keys[slot as usize] == "another"), None);
/// ```
#[derive(Debug)]
pub struct Index {
    /// The tag in the high half, the slot plus one in the low half; 0 is vacant.
    words: Vec<u64>,
    mask: u32,
    /// How many slots there is room for.
    room: u32,
}

impl Index {
    /// An index for at most `slots`, of which 2^31 are the most there can be.
    ///
    /// # Panics
    ///
    /// Panics if there is no address space for it: 11 to 22 bytes a slot.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = slots.min(MOST_SLOTS);
        let len = (slots + slots / 3 + 2).next_power_of_two();
        Self {
            words: vec![0; len],
            mask: u32::try_from(len - 1).unwrap_or(u32::MAX),
            room: u32::try_from(slots).unwrap_or(u32::MAX),
        }
    }

    /// The word at which a probe for `tag` begins: reading it fetches its cache line.
    #[inline]
    #[must_use]
    pub fn first(&self, tag: u32) -> u64 {
        self.words[(tag & self.mask) as usize]
    }

    /// The first slot with this tag, which is nearly always the one: for fetching what belongs to
    /// it before it is compared. `first` is the tag's [`first`](Self::first) word.
    #[inline]
    #[must_use]
    pub fn likely(&self, first: u64, tag: u32) -> Option<u32> {
        self.find(first, tag, |_| true)
    }

    /// The slot with this tag that `is_it` agrees to; `first` is the tag's [`first`](Self::first)
    /// word, as it was or as it is.
    #[inline]
    pub fn find(&self, first: u64, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut word = first;
        let mut at = tag & self.mask;
        while word != VACANT {
            if tag_of(word) == tag && is_it(slot_of(word)) {
                return Some(slot_of(word));
            }
            at = at.wrapping_add(1) & self.mask;
            word = self.words[at as usize];
        }
        None
    }

    /// Adds `slot` under `tag`, unless there is no room; says whether it did.
    pub fn insert(&mut self, tag: u32, slot: u32) -> bool {
        let Some(room) = self.room.checked_sub(1) else {
            return false;
        };
        self.room = room;
        let mut at = tag & self.mask;
        while self.words[at as usize] != VACANT {
            at = at.wrapping_add(1) & self.mask;
        }
        self.words[at as usize] = u64::from(tag) << 32 | u64::from(slot + 1);
        true
    }

    /// Removes `slot`, which was inserted under `tag`; does nothing if it was not.
    pub fn remove(&mut self, tag: u32, slot: u32) {
        let gone = u64::from(tag) << 32 | u64::from(slot + 1);
        let mut at = tag & self.mask;
        while self.words[at as usize] != gone {
            if self.words[at as usize] == VACANT {
                return;
            }
            at = at.wrapping_add(1) & self.mask;
        }
        self.room += 1;
        self.close(at);
    }

    /// Vacates the word at `hole`, and moves up each later word of the run that may stand there.
    ///
    /// Source: Knuth, "The Art of Computer Programming", volume 3, 6.4, algorithm R.
    fn close(&mut self, mut hole: u32) {
        let mut at = hole;
        loop {
            at = at.wrapping_add(1) & self.mask;
            let word = self.words[at as usize];
            if word == VACANT {
                break;
            }
            let from_home = at.wrapping_sub(tag_of(word)) & self.mask;
            if from_home >= at.wrapping_sub(hole) & self.mask {
                self.words[hole as usize] = word;
                hole = at;
            }
        }
        self.words[hole as usize] = VACANT;
    }

    /// Bytes reserved.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.region().bytes
    }

    /// Where its memory lies.
    #[must_use]
    pub fn region(&self) -> Region {
        Region::of(&self.words)
    }
}

fn tag_of(word: u64) -> u32 {
    u32::try_from(word >> 32).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
fn slot_of(word: u64) -> u32 {
    (word as u32).wrapping_sub(1)
}

const VACANT: u64 = 0;

/// So that a slot plus one fits in half a word.
const MOST_SLOTS: usize = 1 << 31;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::rng::{Rng, Xoshiro};

    fn find(index: &Index, tag: u32, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        index.find(index.first(tag), tag, is_it)
    }

    #[test]
    fn it_keeps_what_a_map_keeps_through_collisions_wraps_and_removals() {
        let mut rng = Xoshiro::new(3);
        let mut index = Index::new(40);
        let mut model: HashMap<u32, u32> = HashMap::new();
        for step in 0..50_000_u32 {
            let slot = u32::try_from(rng.below(40)).unwrap();
            if let Some(tag) = model.remove(&slot) {
                index.remove(tag, slot);
            } else {
                // Few homes, most of them at the end of the index, so that runs wrap.
                let tag = 56 + u32::try_from(rng.below(12)).unwrap() + (step << 8);
                index.insert(tag, slot);
                model.insert(slot, tag);
            }
            for (slot, tag) in &model {
                assert_eq!(find(&index, *tag, |found| found == *slot), Some(*slot));
            }
            let words = index.words.iter().filter(|word| **word != VACANT).count();
            assert_eq!(words, model.len());
        }
    }

    #[test]
    fn a_tag_that_two_flows_share_is_told_apart_by_the_one_who_asks() {
        let mut index = Index::new(4);
        index.insert(9, 0);
        index.insert(9, 1);
        assert_eq!(find(&index, 9, |slot| slot == 1), Some(1));
        assert_eq!(find(&index, 9, |_| false), None);
        assert_eq!(find(&index, 8, |_| true), None);
        index.remove(9, 0);
        index.remove(9, 0);
        assert_eq!(find(&index, 9, |_| true), Some(1));
    }

    #[test]
    fn it_takes_no_more_than_it_has_room_for_and_makes_room_again() {
        let mut index = Index::new(2);
        assert!(index.insert(1, 0) && index.insert(2, 1) && !index.insert(3, 2));
        assert_eq!(find(&index, 3, |_| true), None);
        index.remove(9, 0);
        assert!(!index.insert(3, 2));
        index.remove(1, 0);
        assert!(index.insert(3, 2) && !index.insert(1, 0));
        assert_eq!(index.likely(index.first(3), 3), Some(2));
        assert_eq!(index.likely(index.first(1), 1), None);
    }

    #[test]
    fn at_most_three_words_of_four_are_taken() {
        for sessions in [1, 2, 3, 5, 6, 7, 12, 13, 1_000, 786_430, 1_000_000] {
            let words = Index::new(sessions).words.len();
            assert!(sessions * 4 <= words * 3, "{sessions} in {words}");
            assert!(words <= (sessions + 2) * 8 / 3 + 2, "{sessions} in {words}");
        }
    }
}
