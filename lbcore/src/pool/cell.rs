//! One worker's counters of one backend.

use std::time::Duration;

use super::counts::Counts;
use super::dirty::Link;
use crate::Instant;
use crate::atomic::{AtomicU64, Ordering};
use crate::lease::Outcome;
use crate::schedule::Load;

/// One worker's counters of one backend.
///
/// The worker's own part needs no locked instruction, and what a session without a failure touches
/// of it is one cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Cell {
    /// Sessions begun; written by the balancer alone.
    acquired: AtomicU64,
    /// Sessions that the shard's home thread ended; written by that thread alone.
    home: Tally,
    /// The longest charge since the balancer last looked, plus one; 0 is none.
    longest: AtomicU64,
    link: Link,
    /// Sessions that any other thread ended.
    away: Tally,
}

/// Sessions ended.
#[derive(Debug, Default)]
#[repr(C)]
struct Tally {
    /// All of them, so that nobody need add up `outcomes` for each session.
    ended: AtomicU64,
    /// Nanoseconds that the successful ones took, wrapping after 584 years.
    charged: AtomicU64,
    outcomes: [AtomicU64; Outcome::KINDS],
}

impl Cell {
    /// Counts a session begun.
    #[inline]
    pub(super) fn begin(&self) {
        add_alone(&self.acquired, 1);
    }

    /// Counts a session ended on the home thread; `charged` if it succeeded and was measured.
    #[inline]
    pub(super) fn finish_home(&self, outcome: Outcome, charged: Option<u64>) {
        if let Some(charged) = charged {
            add_alone(&self.home.charged, charged);
        }
        if let Some(count) = self.home.outcomes.get(outcome.kind()) {
            add_alone(count, 1);
        }
        add_alone(&self.home.ended, 1);
    }

    /// Counts a session ended on any thread.
    #[inline(never)]
    pub(super) fn finish_away(&self, outcome: Outcome, charged: Option<u64>) {
        if let Some(charged) = charged {
            self.away.charged.fetch_add(charged, Ordering::Relaxed);
        }
        if let Some(count) = self.away.outcomes.get(outcome.kind()) {
            count.fetch_add(1, Ordering::Release);
        }
        self.away.ended.fetch_add(1, Ordering::Release);
    }

    /// Remembers a charge until the balancer looks.
    #[inline]
    pub(super) fn note(&self, charge: u64) {
        self.longest
            .fetch_max(charge.saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        // Outcomes first: a session that ends between the reads is then counted as begun, too.
        let outcomes =
            std::array::from_fn(|kind| self.home.outcome(kind) + self.away.outcome(kind));
        let charged = [&self.home, &self.away].map(|tally| tally.charged.load(Ordering::Relaxed));
        Counts {
            acquired: self.acquired.load(Ordering::Relaxed),
            outcomes,
            charged: charged.into_iter().fold(0, u64::wrapping_add),
        }
    }

    /// The load, with what was charged since the last look.
    #[inline]
    pub(super) fn load(&self, now: Instant) -> Load {
        let in_flight = u32::try_from(self.in_flight()).unwrap_or(u32::MAX);
        let load = Load::new(now, in_flight);
        if self.longest.load(Ordering::Relaxed) == 0 {
            return load;
        }
        match self.longest.swap(0, Ordering::Relaxed) {
            0 => load,
            longest => load.with_latency(Duration::from_nanos(longest - 1)),
        }
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        let ended = |tally: &Tally| tally.ended.load(Ordering::Acquire);
        let ended = ended(&self.home) + ended(&self.away);
        self.acquired.load(Ordering::Relaxed).saturating_sub(ended)
    }
}

impl Tally {
    #[inline]
    fn outcome(&self, kind: usize) -> u64 {
        self.outcomes
            .get(kind)
            .map_or(0, |count| count.load(Ordering::Acquire))
    }
}

impl AsRef<Link> for Cell {
    #[inline]
    fn as_ref(&self) -> &Link {
        &self.link
    }
}

/// Adds to a counter that nobody else writes: without a locked instruction.
#[inline]
fn add_alone(counter: &AtomicU64, n: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Release,
    );
}
