//! An idle backend if there is one.

use super::least::{Standing, least_by_key};
use super::ratio::Ratio;

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

least_by_key!(NeverQueue, (bool, Ratio));

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
