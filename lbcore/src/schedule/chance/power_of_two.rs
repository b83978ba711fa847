//! The better of two at random.

use super::alias::AliasTable;
use crate::rng::{Rng, Xoshiro};
use crate::schedule::{Candidate, Candidates, Load, Scheduler, Start, Tier};

/// Draws two backends in proportion to their weights and takes the one with fewer sessions for its
/// weight.
///
/// Nearly as even as least connections, and workers that cannot see each other's sessions do not
/// herd. Each worker counts its own sessions.
///
/// Cost: O(1): four random numbers.
///
/// Source: Mitzenmacher, "The power of two choices in randomized load balancing" (2001).
///
/// # Examples
///
/// ```
/// use lbcore::schedule::PowerOfTwo;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(PowerOfTwo)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
/// let one = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// # let _ = one;
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "p2c")]
#[doc(alias = "twos")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct PowerOfTwo;

/// A worker's sessions by position, and its generator.
#[derive(Debug)]
pub struct InFlight {
    loads: Box<[u32]>,
    rng: Xoshiro,
}

impl Scheduler for PowerOfTwo {
    type Plan = AliasTable;
    type Cursor = InFlight;

    fn observes(&self) -> bool {
        true
    }

    fn plan(&self, tier: &Tier, _previous: Option<&AliasTable>) -> AliasTable {
        AliasTable::new(tier, |share| share)
    }

    fn cursor(&self, _: &AliasTable, tier: &Tier, start: Start<'_, InFlight>) -> InFlight {
        let loads = (0..tier.len())
            .map(|position| start.load(position).in_flight)
            .collect();
        let rng = start
            .previous
            .map_or_else(|| Xoshiro::new(start.seed), |cursor| cursor.rng);
        InFlight { loads, rng }
    }

    #[inline]
    fn pick(
        &self,
        table: &AliasTable,
        cursor: &mut InFlight,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        let load = |position: usize| cursor.loads.get(position).copied().unwrap_or(0);
        better_of_two(table, &mut cursor.rng, candidates, |one, other| {
            let cost = |position: usize, other: &Candidate| {
                (u64::from(load(position)) + 1) * u64::from(other.share)
            };
            let (a, b) = (candidates.candidate(one)?, candidates.candidate(other)?);
            Some(cost(one, b) <= cost(other, a))
        })
    }

    #[inline]
    fn observe(&self, _: &AliasTable, cursor: &mut InFlight, position: usize, load: &Load) {
        if let Some(cell) = cursor.loads.get_mut(position) {
            *cell = load.in_flight;
        }
    }
}

/// How often a draw that is not allowed, or that gives the same backend twice, is repeated.
const DRAWS: usize = 4;

/// The better of two different allowed backends, drawn from `table`; `first_is_better` compares.
#[inline]
pub(super) fn better_of_two(
    table: &AliasTable,
    rng: &mut Xoshiro,
    candidates: &Candidates<'_>,
    first_is_better: impl Fn(usize, usize) -> Option<bool>,
) -> Option<usize> {
    let Some(one) = draw_but(table, rng, candidates, None) else {
        let start = rng.below(candidates.tier().len() as u64);
        return candidates.first_from(usize::try_from(start).unwrap_or(0));
    };
    match draw_but(table, rng, candidates, Some(one)) {
        Some(other) if first_is_better(one, other) == Some(false) => Some(other),
        _ => Some(one),
    }
}

/// An allowed backend that is not `but`, if a few draws find one.
#[inline]
fn draw_but(
    table: &AliasTable,
    rng: &mut Xoshiro,
    candidates: &Candidates<'_>,
    but: Option<usize>,
) -> Option<usize> {
    (0..DRAWS).find_map(|_| {
        table
            .draw(rng)
            .filter(|&drawn| Some(drawn) != but && candidates.allows(drawn))
    })
}
