//! What one worker counts, by backend slot.

use std::sync::Arc;

use super::cell::Cell;
use super::counts::Counts;
use super::dirty::DirtyList;
use super::shared::Shared;
use super::slots::Slots;
use super::thread;
use crate::atomic::{AtomicU64, Ordering, fence};
use crate::lease::Outcome;
use crate::schedule::Load;
use crate::{Instant, Ticket};

/// One worker's counters: written by its balancer, and by whoever ends the sessions it gave out.
///
/// Sessions mostly end on the thread that began them, so the thread that ends the first becomes the
/// shard's home: it counts without locked instructions, in counters of its own, and for good. All
/// other threads share a second set.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Shard {
    cells: Slots<Cell>,
    dirty: DirtyList,
    /// Whether anyone will take from `dirty`.
    observed: bool,
    /// The number of the home thread, or `NOBODY`.
    home: AtomicU64,
    shared: Arc<Shared>,
}

const NOBODY: u64 = 0;

impl Shard {
    pub(crate) fn new(shared: Arc<Shared>, observed: bool, slots: usize) -> Self {
        let shard = Self {
            cells: Slots::default(),
            dirty: DirtyList::default(),
            observed,
            home: AtomicU64::new(NOBODY),
            shared,
        };
        shard.grow(slots);
        shard
    }

    pub(crate) fn grow(&self, slots: usize) {
        self.cells.grow(slots);
    }

    /// Whether nobody but `keeper` holds it: no balancer, and no lease.
    pub(super) fn is_idle(keeper: &Arc<Self>) -> bool {
        let idle = Arc::strong_count(keeper) == 1;
        if idle {
            // Whoever let go of it last wrote its counters before: see those writes.
            fence(Ordering::Acquire);
        }
        idle
    }

    /// Gives an idle shard to a new balancer, which may live on another thread.
    pub(super) fn move_out(&self) {
        self.home.store(NOBODY, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Counts a session begun. Only the balancer calls this.
    #[inline]
    pub(crate) fn begin(&self, slot: u32) {
        if let Some(cell) = self.cells.cell(slot) {
            cell.begin();
        }
    }

    /// Counts a session ended after that many nanoseconds, if it was measured; any thread may.
    #[inline(always)]
    pub(crate) fn finish(&self, ticket: Ticket, outcome: Outcome, elapsed: Option<u64>) {
        self.shared.finish(ticket, outcome);
        let Some(cell) = self.cells.cell(ticket.slot()) else {
            return;
        };
        let charged = elapsed.filter(|_| outcome.is_success());
        if self.is_home() {
            cell.finish_home(outcome, charged);
        } else {
            cell.finish_away(outcome, charged);
        }
        if self.observed {
            self.tell(ticket.slot(), cell, outcome, elapsed);
        }
    }

    /// Whether this is the thread that alone writes the home counters.
    #[inline]
    fn is_home(&self) -> bool {
        let (here, home) = (thread::number(), self.home.load(Ordering::Relaxed));
        here == home || (home == NOBODY && self.move_in(here))
    }

    #[cold]
    fn move_in(&self, here: u64) -> bool {
        let claimed =
            self.home
                .compare_exchange(NOBODY, here, Ordering::Relaxed, Ordering::Relaxed);
        claimed.is_ok()
    }

    /// Lets the balancer know that the load of `slot` has changed.
    #[inline(never)]
    fn tell(&self, slot: u32, cell: &Cell, outcome: Outcome, elapsed: Option<u64>) {
        if let Some(charge) = self.shared.charge(outcome, elapsed) {
            cell.note(charge);
        }
        self.dirty.add(slot, cell.as_ref());
    }

    /// The counters of `slot`.
    pub(crate) fn counts(&self, slot: u32) -> Counts {
        self.cells
            .cell(slot)
            .map_or_else(Counts::default, Cell::counts)
    }

    /// The load of `slot`, with what was charged since the last look.
    #[inline]
    pub(crate) fn load(&self, now: Instant, slot: u32) -> Load {
        self.cells
            .cell(slot)
            .map_or_else(Load::default, |cell| cell.load(now))
    }

    /// Shows the load of every slot on which sessions have ended since the last call.
    #[inline]
    pub(crate) fn settle(&self, now: Instant, mut show: impl FnMut(u32, Load)) {
        if !self.dirty.is_empty() {
            self.dirty
                .take(&self.cells, |slot, cell| show(slot, cell.load(now)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket::new(0, 1);

    fn shard() -> Shard {
        Shard::new(Arc::default(), false, 1)
    }

    #[test]
    fn threads_that_end_sessions_of_one_backend_at_once_lose_none() {
        const EACH: u64 = if cfg!(miri) { 50 } else { 20_000 };
        let shard = shard();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..EACH).for_each(|_| shard.finish(TICKET, Outcome::Ok, Some(3))));
            }
        });
        let counts = shard.counts(0);
        assert_eq!((counts.finished(), counts.charged), (4 * EACH, 12 * EACH));
    }

    #[test]
    fn the_first_thread_stays_at_home_until_the_shard_is_given_away() {
        let shard = Arc::new(shard());
        shard.finish(TICKET, Outcome::Ok, None);
        assert!(shard.is_home());
        let elsewhere = |shard: &Arc<Shard>| {
            let shard = Arc::clone(shard);
            std::thread::spawn(move || shard.is_home()).join().unwrap()
        };
        assert!(!elsewhere(&shard));
        assert!(Shard::is_idle(&shard) && !Shard::is_idle(&Arc::clone(&shard)));
        shard.move_out();
        assert!(elsewhere(&shard) && !shard.is_home());
    }

    #[test]
    fn only_a_success_adds_to_what_was_charged() {
        let shard = shard();
        shard.finish(TICKET, Outcome::ClientError, Some(5));
        shard.finish(TICKET, Outcome::Reset, Some(7));
        shard.finish(TICKET, Outcome::Cancelled, Some(9));
        let counts = shard.counts(0);
        assert_eq!((counts.charged, counts.finished()), (5, 3));
    }
}
