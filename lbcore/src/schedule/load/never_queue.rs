//! An idle backend if there is one.

use super::least::{Least, Standing};
use super::ratio::Ratio;
use crate::schedule::{Candidates, Load, Scheduler, Start, Tier};

/// Sends a session to an idle backend, the strongest first; with none idle, where it waits least.
///
/// Exact per worker, approximate across workers: a backend idle for one worker may serve another.
///
/// Cost: O(log n) a session begun and O(log n) a session ended.
///
/// Source: IPVS `nq`.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::NeverQueue;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(NeverQueue)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?).weight(30));
/// let mut balancer = pool.balancer(0);
/// let strong = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// let idle = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// assert_eq!(strong.address().to_string(), "10.0.0.2:80");
/// assert_eq!(idle.address().to_string(), "10.0.0.1:80");
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "nq")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct NeverQueue;

impl Scheduler for NeverQueue {
    type Plan = ();
    type Cursor = Least<(bool, Ratio)>;

    fn observes(&self) -> bool {
        true
    }

    fn plan(&self, _tier: &Tier, _previous: Option<&()>) {}

    fn cursor(&self, _: &(), tier: &Tier, start: Start<'_, Self::Cursor>) -> Self::Cursor {
        Least::new(tier, &start, |standing| self.key(standing))
    }

    #[inline]
    fn pick(
        &self,
        _: &(),
        cursor: &mut Self::Cursor,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        cursor.pick(candidates)
    }

    #[inline]
    fn observe(&self, _: &(), cursor: &mut Self::Cursor, position: usize, load: &Load) {
        cursor.observe(position, load.in_flight, |standing| self.key(standing));
    }
}

impl NeverQueue {
    #[expect(
        clippy::unused_self,
        reason = "the schedulers of this family are written alike"
    )]
    fn key(&self, standing: Standing) -> (bool, Ratio) {
        let Standing {
            share,
            in_flight,
            used,
            ..
        } = standing;
        (
            in_flight > 0,
            Ratio {
                load: in_flight.saturating_add(1),
                share,
                used,
            },
        )
    }
}
