//! Consistent hashing that overloads nobody.

use thiserror::Error;

use super::Maglev;
use super::placement::{ATTEMPTS, Placement, elsewhere, place, rehash};
use crate::rng::{Rng, Xoshiro};
use crate::schedule::{Candidates, Load, Scheduler, Start, Tier};

/// Places keys as `P` does, and lets no backend have more than its share of the load and a quarter.
///
/// A backend of share s of the eligible weights may have ⌈f · s · (m + 1)⌉ sessions, where m are
/// under way on all eligible backends and f is the [`factor`](Self::factor). A session whose backend
/// has as many goes to the next owner of its key. So one popular key cannot bring a backend down, and
/// while the load is even, keys stay as they are with `P`.
///
/// The owners of keys are built of configuration alone: see [`Placement`]. The bound is of the
/// moment: with the load, some keys move. Shares follow health and slow start.
///
/// Where every backend that has room was tried or is at its own limit, the bound gives way: a
/// session is not refused for it.
///
/// Cost: a pick is that of `P` and O(1) more for each owner that has no room; after
/// [`ATTEMPTS`] of them, which takes f near 1, the tier is searched in O(n). Observing is O(1).
/// 4 bytes a backend for each worker.
///
/// Approximate across workers: each bounds its own sessions, so that a backend has at most one
/// session a worker more than the bound.
///
/// Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads" (2016).
///
/// # Examples
///
/// ```
/// use lbcore::schedule::BoundedLoad;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let names = ["a", "b", "c"];
/// let backends = names.map(|name| Backend::new(name, "10.0.0.1:80".parse().unwrap()));
/// let pool = Pool::new(BoundedLoad::default()).backends(backends);
/// let mut balancer = pool.balancer(0);
///
/// // One key, 90 sessions: each backend takes at most 1.25 · 30, rounded up.
/// let leases: Vec<_> = (0..90).map(|_| balancer.acquire(Instant::ZERO, &Pick::keyed(7))).collect();
/// assert!(pool.stats().iter().all(|backend| backend.in_flight() <= 38));
/// # drop(leases);
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "hash-balance-factor")]
pub struct BoundedLoad<P = Maglev> {
    placement: P,
    /// In percent.
    factor: u32,
}

impl Default for BoundedLoad {
    fn default() -> Self {
        Self::over(Maglev::default())
    }
}

impl<P> BoundedLoad<P> {
    /// The default [`factor`](Self::factor), in percent: 125, as in the paper's examples.
    pub const FACTOR: u32 = 125;

    /// Bounds the loads of what `placement` places.
    pub const fn over(placement: P) -> Self {
        Self {
            placement,
            factor: Self::FACTOR,
        }
    }

    /// Sets how much a backend may have, in percent of its share; lower is more even, and moves more
    /// keys.
    ///
    /// 100 or more, default [`FACTOR`](Self::FACTOR).
    ///
    /// # Errors
    ///
    /// Below 100 not all sessions would fit.
    pub fn factor(self, percent: u32) -> Result<Self, FactorError> {
        if percent < 100 {
            return Err(FactorError(percent));
        }
        Ok(Self {
            factor: percent,
            ..self
        })
    }
}

/// The factor of a [`BoundedLoad`] is below 100; its writer can mend it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("factor {0} is below 100 percent")]
pub struct FactorError(u32);

/// What one worker of a [`BoundedLoad`] has under way.
#[derive(Debug)]
pub struct BoundedCursor {
    keyless: Xoshiro,
    /// By position.
    in_flight: Box<[u32]>,
    /// Of the eligible backends together.
    total: u64,
    /// Of the eligible backends together.
    shares: u64,
}

impl<P: Placement> Scheduler for BoundedLoad<P> {
    type Plan = BoundedPlan<P::Table>;
    type Cursor = BoundedCursor;

    fn observes(&self) -> bool {
        true
    }

    fn plan(&self, tier: &Tier, previous: Option<&Self::Plan>) -> Self::Plan {
        let table = self.placement.table(tier, previous.map(|plan| &plan.table));
        let eligible = tier.candidates().iter().map(|it| it.is_eligible());
        BoundedPlan {
            table,
            eligible: eligible.collect(),
        }
    }

    fn cursor(
        &self,
        _: &Self::Plan,
        tier: &Tier,
        start: Start<'_, BoundedCursor>,
    ) -> BoundedCursor {
        let in_flight: Box<[u32]> = (0..tier.len())
            .map(|position| start.load(position).in_flight)
            .collect();
        let eligible = || {
            in_flight
                .iter()
                .zip(tier.candidates())
                .filter(|(_, it)| it.is_eligible())
        };
        BoundedCursor {
            total: eligible().map(|(&load, _)| u64::from(load)).sum(),
            shares: eligible().map(|(_, it)| u64::from(it.share)).sum(),
            keyless: match start.previous {
                Some(previous) => previous.keyless,
                None => Xoshiro::new(start.seed),
            },
            in_flight,
        }
    }

    #[inline]
    fn pick(
        &self,
        plan: &Self::Plan,
        cursor: &mut BoundedCursor,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        let key = candidates.key.unwrap_or_else(|| cursor.keyless.next_u64());
        let fits = |&position: &usize| {
            candidates.allows(position) && cursor.has_room(self.factor, candidates.tier(), position)
        };
        let mut owners = self.placement.owners(&plan.table, key).take(ATTEMPTS);
        owners
            .find(fits)
            .or_else(|| search(key, candidates, fits))
            .or_else(|| elsewhere(key, candidates))
    }

    #[inline]
    fn observe(&self, plan: &Self::Plan, cursor: &mut BoundedCursor, position: usize, load: &Load) {
        let Some(in_flight) = cursor.in_flight.get_mut(position) else {
            return;
        };
        let before = std::mem::replace(in_flight, load.in_flight);
        if plan.eligible.get(position).copied().unwrap_or(false) {
            cursor.total =
                (cursor.total + u64::from(load.in_flight)).saturating_sub(u64::from(before));
        }
    }
}

impl BoundedCursor {
    /// Whether the backend has fewer sessions than the bound: n < ⌈f · s · (m + 1)⌉ is the same as
    /// n < f · s · (m + 1), which takes no division.
    #[inline]
    fn has_room(&self, factor: u32, tier: &Tier, position: usize) -> bool {
        let (Some(&in_flight), Some(candidate)) = (
            self.in_flight.get(position),
            tier.candidates().get(position),
        ) else {
            return false;
        };
        let share = u128::from(candidate.share) * u128::from(self.total + 1) * u128::from(factor);
        u128::from(in_flight) * u128::from(self.shares) * 100 < share
    }
}

/// The first that fits from a place that the key says on, around the tier.
#[cold]
fn search(key: u64, candidates: &Candidates<'_>, fits: impl Fn(&usize) -> bool) -> Option<usize> {
    let len = candidates.tier().len();
    if candidates.tier().eligible() == 0 {
        return None;
    }
    let start = place(rehash(key, u64::MAX), len);
    (start..len).chain(0..start).find(fits)
}

/// What a [`BoundedLoad`] picks by: the table of its placement, and who is eligible.
#[derive(Debug)]
pub struct BoundedPlan<T> {
    table: T,
    eligible: Box<[bool]>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Tried;
    use crate::{Backend, BackendId, Instant};

    fn tier(weights: &[u16]) -> Tier {
        Tier::of(weights.iter().zip(1..).map(|(&weight, id)| {
            Backend::new("b", "10.0.0.1:80".parse().unwrap())
                .id(BackendId::new(id))
                .weight(weight)
        }))
    }

    /// A cursor with these sessions under way.
    fn cursor(
        tier: &Tier,
        in_flight: &[u32],
    ) -> (BoundedPlan<<Maglev as Placement>::Table>, BoundedCursor) {
        let scheduler = BoundedLoad::default();
        let plan = scheduler.plan(tier, None);
        let loads = |at: usize| Load::new(Instant::ZERO, in_flight[at]);
        let cursor = scheduler.cursor(&plan, tier, Start::new(0, &loads));
        (plan, cursor)
    }

    #[test]
    fn a_backend_has_room_up_to_its_share_times_the_factor_rounded_up() {
        let tier = tier(&[1, 3]);
        // 8 sessions and one more: 1.25 · 9 / 4 = 2.8 and 1.25 · 27 / 4 = 8.4.
        for (in_flight, room) in [
            ([2, 6], [true, true]),
            ([3, 5], [false, true]),
            ([0, 8], [true, true]),
        ] {
            let (_, cursor) = cursor(&tier, &in_flight);
            assert_eq!(
                [0, 1].map(|at| cursor.has_room(125, &tier, at)),
                room,
                "{in_flight:?}"
            );
        }
        // 11 sessions and one more, at factor 100: exactly 3 and 9.
        let (_, full) = cursor(&tier, &[3, 8]);
        assert_eq!(
            [0, 1].map(|at| full.has_room(100, &tier, at)),
            [false, true]
        );
        let (_, full) = cursor(&tier, &[2, 9]);
        assert_eq!(
            [0, 1].map(|at| full.has_room(100, &tier, at)),
            [true, false]
        );
        assert!(!full.has_room(100, &tier, 2));
    }

    #[test]
    fn sessions_on_a_backend_out_of_service_are_nobodys_load() {
        let tier = tier(&[1, 0, 1]);
        let (plan, mut cursor) = cursor(&tier, &[3, 50, 4]);
        assert_eq!((cursor.total, cursor.shares), (7, 2 * 256));
        let scheduler = BoundedLoad::default();
        let mut observe = |at, in_flight| {
            scheduler.observe(&plan, &mut cursor, at, &Load::new(Instant::ZERO, in_flight));
            cursor.total
        };
        assert_eq!(observe(1, 40), 7);
        assert_eq!(observe(0, 5), 9);
        assert_eq!(observe(2, 0), 5);
        assert_eq!(observe(3, 9), 5);
    }

    #[test]
    fn keys_stay_where_they_belong_while_there_is_room() {
        let tier = tier(&[1; 10]);
        let (plan, mut cursor) = cursor(&tier, &[10; 10]);
        let tried = Tried::default();
        let scheduler = BoundedLoad::default();
        for key in 0..200 {
            let candidates = Candidates::new(Instant::ZERO, &tier, Some(key), &tried);
            let owner = Maglev::default().owners(&plan.table, key).next();
            assert_eq!(scheduler.pick(&plan, &mut cursor, &candidates), owner);
        }
    }

    #[test]
    fn the_bound_gives_way_rather_than_refuse_a_session() {
        let tier = tier(&[1, 1]);
        let (plan, mut cursor) = cursor(&tier, &[0, 100]);
        let mut tried = Tried::default();
        tried.add(tier.candidates()[0].ticket);
        let candidates = Candidates::new(Instant::ZERO, &tier, Some(7), &tried);
        assert_eq!(
            BoundedLoad::default().pick(&plan, &mut cursor, &candidates),
            Some(1)
        );
    }

    #[test]
    fn the_only_backend_with_room_is_found_among_many() {
        let tier = tier(&[1; 3_000]);
        let mut in_flight = [1_000; 3_000];
        in_flight[1_234] = 0;
        let (plan, mut cursor) = cursor(&tier, &in_flight);
        let scheduler = BoundedLoad::default().factor(100).unwrap();
        let tried = Tried::default();
        for key in 0..50 {
            let candidates = Candidates::new(Instant::ZERO, &tier, Some(key), &tried);
            assert_eq!(scheduler.pick(&plan, &mut cursor, &candidates), Some(1_234));
        }
    }

    #[test]
    fn a_factor_is_at_least_a_whole() {
        let error = BoundedLoad::default().factor(99).unwrap_err();
        assert_eq!(error, FactorError(99));
        assert_eq!(BoundedLoad::default().factor(100).unwrap().factor, 100);
        assert_eq!(BoundedLoad::default().factor, 125);
    }
}
