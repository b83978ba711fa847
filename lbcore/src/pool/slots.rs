//! Cells by slot number, in an array that grows and never moves.

use std::sync::OnceLock;

/// The first chunk holds this many cells; each further one twice as many as the one before.
const FIRST: usize = if cfg!(loom) { 2 } else { 64 };
/// Enough for every slot number, so that no look need check.
const CHUNKS: usize = if cfg!(loom) { 1 } else { 27 };

/// An array of `T` that grows under a shared reference and whose cells never move.
///
/// Looking a cell up costs two loads; making one, an allocation of its chunk.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            chunks: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

impl<T: Default> Slots<T> {
    /// The cell of `slot`, if its chunk was ever made.
    #[inline]
    pub(crate) fn cell(&self, slot: u32) -> Option<&T> {
        let (chunk, offset) = place(slot);
        self.chunks.get(chunk)?.get()?.get(offset)
    }

    /// Makes the cells of every slot below `slots`.
    pub(crate) fn grow(&self, slots: usize) {
        for (at, chunk) in self.chunks.iter().enumerate() {
            let first = FIRST * ((1 << at) - 1);
            if first >= slots {
                break;
            }
            chunk.get_or_init(|| (0..FIRST << at).map(|_| T::default()).collect());
        }
    }
}

/// Which chunk a slot is in, and where.
#[inline]
fn place(slot: u32) -> (usize, usize) {
    // Counted from FIRST, the chunks begin at the powers of two, and FIRST is one.
    let from_first = slot as usize + FIRST;
    let power = from_first.ilog2();
    let chunk = power - FIRST.ilog2();
    (chunk as usize, from_first - (1 << power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own_in_order() {
        let mut expected = (0, 0);
        for slot in 0..20_000 {
            assert_eq!(place(slot), expected);
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    #[test]
    fn cells_appear_by_growing_and_stay_where_they_are() {
        let slots = Slots::<u64>::default();
        assert!(slots.cell(0).is_none());
        slots.grow(65);
        let first: *const u64 = slots.cell(0).unwrap();
        assert!(slots.cell(64).is_some() && slots.cell(191).is_some());
        assert!(slots.cell(192).is_none());
        slots.grow(5_000);
        assert_eq!(first, std::ptr::from_ref(slots.cell(0).unwrap()));
        assert!(slots.cell(4_999).is_some());
    }
}
