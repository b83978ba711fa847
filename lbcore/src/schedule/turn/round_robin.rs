//! One after the other.

use crate::schedule::{Candidates, Scheduler, Start, Tier};

/// Sends sessions to the eligible backends in turn, whatever their weights.
///
/// A weight of 0 still takes none. Exact per worker: in n sessions with no change of the pool each
/// of n backends takes one. Across workers each goes round by itself, from a start of its own.
///
/// Cost: O(1); a backend that is down costs nothing, one that is full or tried a step.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(RoundRobin)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
/// let first = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// let second = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// assert_ne!(first.backend(), second.backend());
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "rr")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct RoundRobin;

impl Scheduler for RoundRobin {
    type Plan = ();
    /// The position after the last pick.
    type Cursor = usize;

    fn plan(&self, _tier: &Tier, _previous: Option<&()>) {}

    fn cursor(&self, _: &(), tier: &Tier, start: Start<'_, usize>) -> usize {
        let from = start
            .previous
            .unwrap_or_else(|| usize::try_from(start.seed).unwrap_or(0));
        from % tier.len().max(1)
    }

    #[inline]
    fn pick(&self, _: &(), next: &mut usize, candidates: &Candidates<'_>) -> Option<usize> {
        let position = if candidates.allows(*next) {
            *next
        } else {
            candidates.first_from(*next)?
        };
        let after = position + 1;
        *next = if after < candidates.tier().len() {
            after
        } else {
            0
        };
        Some(position)
    }
}
