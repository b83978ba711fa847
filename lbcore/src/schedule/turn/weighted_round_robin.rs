//! Turns in proportion to weights.

use super::cycle::Cycle;
use crate::schedule::{Candidates, Scheduler, Start, Tier};

/// Sends sessions to the eligible backends in turn, each as often as its weight, evenly spread.
///
/// Exact per worker: in each cycle of as many sessions as the weights add up to, each backend takes
/// exactly its weight, and at no moment is any a whole session ahead of or behind its due. Across
/// workers each goes round by itself, from a start of its own.
///
/// Cost: O(1) while the weights, divided by what they have in common, add up to at most
/// [`WeightedRoundRobin::LONGEST`] (four bytes each, shared by all workers); O(log n) beyond.
///
/// Source: "Proportionate progress" (Baruah et al. 1996) for the order; reading it from a table, as
/// Tengine's `vnswrr` does.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::WeightedRoundRobin;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(WeightedRoundRobin)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?).weight(2))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
/// for _ in 0..30 {
///     balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// }
/// let mut taken: Vec<u64> = pool.stats().iter().map(|backend| backend.acquired()).collect();
/// taken.sort();
/// assert_eq!(taken, [10, 20]);
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "wrr")]
#[doc(alias = "smooth weighted round robin")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct WeightedRoundRobin;

impl WeightedRoundRobin {
    /// The longest cycle that is written down: 256 KiB.
    pub const LONGEST: u64 = 65_536;
}

/// The turns of one cycle, or what they are worked out from.
#[derive(Debug)]
pub struct Turns {
    cycle: Cycle,
    /// Every turn of a cycle; empty if it is too long.
    written: Box<[u32]>,
}

/// Where a worker is.
#[derive(Debug)]
pub struct Position {
    /// The next of the turns that are written down.
    next: usize,
    /// The worker's own cycle, if they are not.
    own: Option<Cycle>,
}

/// How many turns a session looks ahead when the backend whose turn it is cannot take it.
const AHEAD: usize = 16;

impl Scheduler for WeightedRoundRobin {
    type Plan = Turns;
    type Cursor = Position;

    fn plan(&self, tier: &Tier, _previous: Option<&Turns>) -> Turns {
        let cycle = Cycle::new(
            (0..)
                .zip(tier.candidates())
                .map(|(at, c)| (at, c.share.into())),
        );
        let length = usize::try_from(cycle.length()).unwrap_or(usize::MAX);
        if cycle.length() > Self::LONGEST {
            return Turns {
                cycle,
                written: Box::default(),
            };
        }
        let mut turns = cycle.clone();
        let written = (0..length).map_while(|_| turns.next()).collect();
        Turns { cycle, written }
    }

    fn cursor(&self, turns: &Turns, _tier: &Tier, start: Start<'_, Position>) -> Position {
        let seed = usize::try_from(start.seed).unwrap_or(0);
        let length = turns.written.len();
        let before = start.previous.map_or(seed, |position| position.next);
        let next = before.checked_rem(length).unwrap_or(before);
        Position {
            next,
            own: (length == 0).then(|| turns.cycle.clone()),
        }
    }

    #[inline]
    fn pick(
        &self,
        turns: &Turns,
        cursor: &mut Position,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        let mut turn = || match &mut cursor.own {
            Some(cycle) => cycle.next(),
            None => {
                let turn = turns.written.get(cursor.next).copied();
                cursor.next += 1;
                if cursor.next >= turns.written.len() {
                    cursor.next = 0;
                }
                turn
            }
        };
        let mut position = 0;
        for _ in 0..AHEAD {
            position = turn()? as usize;
            if candidates.allows(position) {
                return Some(position);
            }
        }
        candidates.first_from(position)
    }
}
