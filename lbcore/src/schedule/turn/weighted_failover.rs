//! Everything to the strongest backend that is up.

use crate::schedule::{Candidates, Scheduler, Start, Tier};

/// Sends every session to the eligible backend of the greatest weight; the others stand by.
///
/// Of equal weights the smaller identity comes first, so that every node sends to the same one. A
/// backend in slow start still has the weight it was given. Exact, and alike for every worker.
///
/// Cost: O(1), and a step for each stronger backend that is full or tried.
///
/// Source: IPVS `fo`.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::WeightedFailover;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(WeightedFailover)
///     .backend(Backend::new("main", "10.0.0.1:80".parse()?).weight(2))
///     .backend(Backend::new("spare", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
/// for _ in 0..3 {
///     let lease = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
///     assert_eq!(lease.address().to_string(), "10.0.0.1:80");
/// }
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "fo")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct WeightedFailover;

impl Scheduler for WeightedFailover {
    /// The eligible positions, strongest first.
    type Plan = Box<[u32]>;
    type Cursor = ();

    fn plan(&self, tier: &Tier, _previous: Option<&Self::Plan>) -> Self::Plan {
        let weight = |position: u32| {
            tier.candidates()
                .get(position as usize)
                .map(|c| c.backend.weight)
        };
        let mut order: Vec<u32> = (0..)
            .zip(tier.candidates())
            .filter(|(_, candidate)| candidate.is_eligible())
            .map(|(position, _)| position)
            .collect();
        order.sort_by_key(|&position| std::cmp::Reverse(weight(position)));
        order.into()
    }

    fn cursor(&self, _: &Self::Plan, _tier: &Tier, _start: Start<'_, ()>) {}

    #[inline]
    fn pick(&self, order: &Self::Plan, _: &mut (), candidates: &Candidates<'_>) -> Option<usize> {
        let positions = order.iter().map(|&position| position as usize);
        positions
            .into_iter()
            .find(|&position| candidates.allows(position))
    }
}
