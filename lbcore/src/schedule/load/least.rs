//! The cursor that the schedulers of the least load share: a heap of backends by some key.

use super::heap::IndexedHeap;
use crate::schedule::{Candidates, Start, Tier};

/// Makes a scheduler of a type with a method `key(&self, Standing) -> K`: the least key is next.
///
/// A macro, as a blanket implementation would meet the one for everything that places by a key.
macro_rules! least_by_key {
    ($scheduler:ty, $key:ty) => {
        impl $crate::schedule::Scheduler for $scheduler {
            type Plan = ();
            type Cursor = $crate::schedule::parts::Least<$key>;

            fn observes(&self) -> bool {
                true
            }

            fn plan(&self, _: &$crate::schedule::Tier, _: Option<&()>) {}

            fn cursor(
                &self,
                _: &(),
                tier: &$crate::schedule::Tier,
                start: $crate::schedule::Start<'_, Self::Cursor>,
            ) -> Self::Cursor {
                Self::Cursor::new(tier, &start, |standing| self.key(standing))
            }

            #[inline]
            fn pick(
                &self,
                _: &(),
                cursor: &mut Self::Cursor,
                candidates: &$crate::schedule::Candidates<'_>,
            ) -> Option<usize> {
                cursor.pick(candidates)
            }

            #[inline]
            fn observe(
                &self,
                _: &(),
                cursor: &mut Self::Cursor,
                position: usize,
                load: &$crate::schedule::Load,
            ) {
                cursor.observe(position, load.in_flight, |standing| self.key(standing));
            }
        }
    };
}

pub(super) use least_by_key;

/// A worker's backends by load, the least loaded on top.
///
/// Exact per worker: it knows every session of its own worker and none of the others'.
#[derive(Debug)]
pub struct Least<K> {
    heap: IndexedHeap<K>,
    /// By position.
    shares: Box<[u32]>,
    /// Counts uses, so that of two alike the one used longer ago comes first.
    uses: u64,
}

/// What the key of a backend is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Its share of new sessions; not 0.
    pub(super) share: u32,
    pub(super) position: usize,
    /// Sessions of this worker under way.
    pub(super) in_flight: u32,
    /// When it was last used, as the cursor counts uses.
    pub(super) used: u64,
}

impl<K: Ord + Copy> Least<K> {
    pub(super) fn new<C>(tier: &Tier, start: &Start<'_, C>, key: impl Fn(Standing) -> K) -> Self {
        let n = tier.len() as u64;
        let eligible = tier
            .candidates()
            .iter()
            .enumerate()
            .filter(|(_, c)| c.is_eligible());
        let keys = eligible.map(|(position, candidate)| {
            let in_flight = start.load(position).in_flight;
            // Workers begin at different backends: the order of first use is turned by the seed.
            let used = (position as u64).wrapping_add(start.seed) % n.max(1);
            (
                position,
                key(Standing {
                    share: candidate.share,
                    position,
                    in_flight,
                    used,
                }),
            )
        });
        let heap = IndexedHeap::new(tier.len(), keys);
        let shares = tier
            .candidates()
            .iter()
            .map(|candidate| candidate.share)
            .collect();
        Self {
            heap,
            shares,
            uses: n,
        }
    }

    /// The allowed backend with the least key.
    #[inline]
    pub(super) fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let (_, position) = self.heap.top()?;
        if candidates.allows(position) {
            return Some(position);
        }
        self.pick_beyond(candidates)
    }

    /// O(n): only when the best was tried already or is full.
    #[cold]
    fn pick_beyond(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let keyed = candidates
            .positions()
            .filter_map(|at| Some((self.heap.key(at)?, at)));
        keyed
            .min_by_key(|&(key, _)| key)
            .map(|(_, position)| position)
    }

    /// Notes that `position` has `in_flight` sessions now.
    #[inline]
    pub(super) fn observe(&mut self, position: usize, in_flight: u32, key: impl Fn(Standing) -> K) {
        self.uses += 1;
        let Some(&share) = self.shares.get(position) else {
            return;
        };
        let standing = Standing {
            share,
            position,
            in_flight,
            used: self.uses,
        };
        self.heap.update(position, key(standing));
    }

    /// The least key of all, whether or not its backend is allowed.
    #[inline]
    pub(super) fn least(&self) -> Option<K> {
        self.heap.top().map(|(key, _)| key)
    }

    /// The key of the backend at `position`.
    #[inline]
    pub(super) fn key(&self, position: usize) -> Option<K> {
        self.heap.key(position)
    }
}
