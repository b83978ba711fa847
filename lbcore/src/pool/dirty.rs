//! Which slots have news for a worker: a list that anyone adds to and one takes whole.

use super::slots::Slots;
use crate::atomic::{AtomicBool, AtomicU32, Ordering};

/// No slot.
const END: u32 = u32::MAX;

/// The head of a list of slots, each on it at most once, linked through their own cells.
///
/// Lock-free: adding is a swap and a compare-and-swap, taking all is a swap. As the list is only
/// ever taken whole, no slot can come back under a reader's feet.
#[derive(Debug)]
pub(crate) struct DirtyList {
    head: AtomicU32,
}

/// A slot's part of the list.
#[derive(Debug)]
pub(crate) struct Link {
    next: AtomicU32,
    listed: AtomicBool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            next: AtomicU32::new(END),
            listed: AtomicBool::new(false),
        }
    }
}

impl Default for DirtyList {
    fn default() -> Self {
        Self {
            head: AtomicU32::new(END),
        }
    }
}

impl DirtyList {
    /// Puts `slot` on the list, unless it is on it.
    pub(crate) fn add(&self, slot: u32, link: &Link) {
        // Acquire pairs with the release in `take`: whoever finds the flag clear has its next write
        // to `link.next` ordered after the taker's read of it.
        if link.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            link.next.store(head, Ordering::Relaxed);
            match self
                .head
                .compare_exchange_weak(head, slot, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Whether nothing is listed; a hint, for the owner to skip [`take`](Self::take).
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == END
    }

    /// Takes the whole list and shows each slot, newest first.
    ///
    /// A slot may be listed again from the moment before it is shown, so what `show` reads of it is
    /// at least as new as what listed it.
    pub(crate) fn take<'a, T: AsRef<Link> + Default + 'a>(
        &self,
        cells: &'a Slots<T>,
        mut show: impl FnMut(u32, &'a T),
    ) {
        let mut slot = self.head.swap(END, Ordering::Acquire);
        while let Some(cell) = cells.cell(slot) {
            let link: &Link = cell.as_ref();
            let next = link.next.load(Ordering::Relaxed);
            link.listed.swap(false, Ordering::AcqRel);
            show(slot, cell);
            slot = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Cell(Link);

    impl AsRef<Link> for Cell {
        fn as_ref(&self) -> &Link {
            &self.0
        }
    }

    fn taken(list: &DirtyList, cells: &Slots<Cell>) -> Vec<u32> {
        let mut seen = Vec::new();
        list.take(cells, |slot, _| seen.push(slot));
        seen
    }

    #[test]
    fn a_slot_added_twice_is_taken_once_and_can_be_added_again() {
        let (list, cells) = (DirtyList::default(), Slots::<Cell>::default());
        cells.grow(10);
        for slot in [3, 7, 3] {
            list.add(slot, &cells.cell(slot).unwrap().0);
        }
        assert!(!list.is_empty());
        assert_eq!(taken(&list, &cells), [7, 3]);
        assert!(list.is_empty());
        list.add(3, &cells.cell(3).unwrap().0);
        assert_eq!(taken(&list, &cells), [3]);
    }
}

/// Every interleaving of two that end sessions and one that looks.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;
    use crate::atomic::AtomicU64;

    /// A backend's cell: sessions ended, and whether the worker is to look.
    #[derive(Debug, Default)]
    struct Cell {
        ended: AtomicU64,
        link: Link,
    }

    impl AsRef<Link> for Cell {
        fn as_ref(&self) -> &Link {
            &self.link
        }
    }

    fn end(shard: &(DirtyList, Slots<Cell>), slot: u32) {
        let cell = shard.1.cell(slot).unwrap();
        cell.ended.fetch_add(1, Ordering::Release);
        shard.0.add(slot, &cell.link);
    }

    #[test]
    fn no_end_of_a_session_goes_unseen() {
        let mut model = loom::model::Builder::new();
        // More preemptions than this take hours and have found nothing that fewer do not.
        model.preemption_bound = Some(3);
        model.check(|| {
            let shard = Arc::new((DirtyList::default(), Slots::<Cell>::default()));
            shard.1.grow(2);
            let others = [[0, 1], [1, 1]].map(|slots| {
                let shard = Arc::clone(&shard);
                loom::thread::spawn(move || slots.into_iter().for_each(|slot| end(&shard, slot)))
            });
            // What was seen last of each slot, by looks that overlap the ends and by a last one.
            let mut seen = [0, 0];
            let mut look = || {
                shard.0.take(&shard.1, |slot, cell| {
                    seen[slot as usize] = cell.ended.load(Ordering::Acquire);
                });
            };
            look();
            for other in others {
                other.join().unwrap();
            }
            look();
            assert_eq!(seen, [1, 3]);
        });
    }
}
