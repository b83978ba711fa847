//! Any backend, by chance.

use super::alias::AliasTable;
use crate::rng::{Rng, Xoshiro};
use crate::schedule::{Candidates, Scheduler, Start, Tier};

/// Sends each session to a backend drawn at random, all alike or in proportion to their weights.
///
/// Needs no memory of earlier picks, so any number of workers are together what each is alone.
///
/// Cost: O(1): at most two random numbers.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::Random;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(Random::weighted())
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?).weight(3))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// assert!(pool.balancer(0).acquire(Instant::ZERO, &Pick::default()).is_ok());
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Random {
    weighted: bool,
}

impl Random {
    /// Each eligible backend alike; a weight of 0 still takes none.
    #[must_use]
    pub const fn unweighted() -> Self {
        Self { weighted: false }
    }

    /// Each eligible backend in proportion to its weight.
    #[must_use]
    pub const fn weighted() -> Self {
        Self { weighted: true }
    }
}

/// How often a backend that is full or was tried is drawn again before the tier is searched.
const DRAWS: usize = 4;

impl Scheduler for Random {
    type Plan = AliasTable;
    type Cursor = Xoshiro;

    fn plan(&self, tier: &Tier, _previous: Option<&AliasTable>) -> AliasTable {
        AliasTable::new(tier, |share| if self.weighted { share } else { 1 })
    }

    fn cursor(&self, _: &AliasTable, _tier: &Tier, start: Start<'_, Xoshiro>) -> Xoshiro {
        start.previous.unwrap_or_else(|| Xoshiro::new(start.seed))
    }

    #[inline]
    fn pick(
        &self,
        table: &AliasTable,
        rng: &mut Xoshiro,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        for _ in 0..DRAWS {
            let position = table.draw(rng)?;
            if candidates.allows(position) {
                return Some(position);
            }
        }
        let start = rng.below(candidates.tier().len() as u64);
        candidates.first_from(usize::try_from(start).unwrap_or(0))
    }
}
