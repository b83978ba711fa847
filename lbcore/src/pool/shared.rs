//! What all workers of a pool share, by backend slot: limits, and failures in a row.

use std::time::Duration;

use super::slots::Slots;
use crate::Ticket;
use crate::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::lease::Outcome;
use crate::schedule::Room;
use crate::time::nanos;

/// What all workers share of each backend: read often, written seldom.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    limits: Slots<Limit>,
    /// Failures since the last success.
    failures: Slots<AtomicU32>,
    /// Whether any of `failures` may not be 0, so that a success need not look.
    any_failed: AtomicBool,
    /// What a failure is charged at least, in nanoseconds.
    penalty: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Limit {
    /// Sessions under way that count.
    in_use: AtomicU32,
    /// The limit; 0 is none.
    most: AtomicU32,
}

impl Shared {
    pub(crate) fn grow(&self, slots: usize) {
        self.limits.grow(slots);
        self.failures.grow(slots);
    }

    /// Sets the limit of `slot`; 0 is none.
    pub(crate) fn limit(&self, slot: u32, most: u32) {
        if let Some(limit) = self.limits.cell(slot) {
            limit.most.store(most, Ordering::Relaxed);
        }
    }

    /// Forgets the failures of whoever had `slot` before.
    pub(crate) fn forgive(&self, slot: u32) {
        if let Some(failures) = self.failures.cell(slot) {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// Takes one place under the limit of `slot`; `false` if there is none.
    ///
    /// Exact over all workers.
    pub(crate) fn take_place(&self, slot: u32) -> bool {
        self.limits.cell(slot).is_some_and(|limit| {
            let most = limit.most.load(Ordering::Relaxed);
            let room = |used: u32| (most == 0 || used < most).then(|| used.saturating_add(1));
            limit
                .in_use
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
                .is_ok()
        })
    }

    /// Takes a place whether or not the limit has one, for a session that exists already.
    pub(crate) fn take_place_beyond_limit(&self, slot: u32) {
        if let Some(limit) = self.limits.cell(slot) {
            limit.in_use.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sets what a failure is charged at least.
    pub(super) fn penalise(&self, penalty: Duration) {
        self.penalty.store(nanos(penalty), Ordering::Relaxed);
    }

    /// The nanoseconds charged to a session that took `elapsed`; what was not measured is charged
    /// only if it failed.
    #[inline]
    pub(super) fn charge(&self, outcome: Outcome, elapsed: Option<u64>) -> Option<u64> {
        if outcome.is_success() {
            return elapsed;
        }
        let penalty = Duration::from_nanos(self.penalty.load(Ordering::Relaxed));
        let elapsed = Duration::from_nanos(elapsed.unwrap_or(0));
        outcome.charge(elapsed, penalty).map(nanos)
    }

    /// Gives a place back, and counts failures in a row.
    #[inline]
    pub(super) fn finish(&self, ticket: Ticket, outcome: Outcome) {
        if ticket.is_capped() {
            self.give_back(ticket.slot());
        }
        if outcome.is_failure() || self.any_failed.load(Ordering::Relaxed) {
            self.count_in_a_row(ticket.slot(), outcome);
        }
    }

    #[inline(never)]
    fn give_back(&self, slot: u32) {
        if let Some(limit) = self.limits.cell(slot) {
            limit.in_use.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[inline(never)]
    fn count_in_a_row(&self, slot: u32, outcome: Outcome) {
        let Some(failures) = self.failures.cell(slot) else {
            return;
        };
        if outcome.is_failure() {
            failures.fetch_add(1, Ordering::Relaxed);
            self.any_failed.store(true, Ordering::Relaxed);
        } else if outcome.is_success() && failures.load(Ordering::Relaxed) != 0 {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// Failures of `slot` since its last success, over all workers.
    pub(crate) fn failures(&self, slot: u32) -> u32 {
        self.failures
            .cell(slot)
            .map_or(0, |failures| failures.load(Ordering::Relaxed))
    }
}

impl Room for Shared {
    fn has_room(&self, ticket: Ticket) -> bool {
        self.limits.cell(ticket.slot()).is_some_and(|limit| {
            let most = limit.most.load(Ordering::Relaxed);
            most == 0 || limit.in_use.load(Ordering::Relaxed) < most
        })
    }
}
