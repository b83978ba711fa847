//! The backend on which one more session would wait least.

use super::least::{Standing, least_by_key};
use super::ratio::Ratio;

/// Sends a session where it would wait least: the fewest sessions, itself included, for the weight.
///
/// Differs from weighted least connections while backends are idle: the strongest comes first.
/// Exact per worker, approximate across workers.
///
/// Cost: O(log n) a session begun and O(log n) a session ended.
///
/// Source: IPVS `sed`, (connections + 1) / weight.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::ShortestExpectedDelay;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(ShortestExpectedDelay)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?).weight(3));
/// let mut balancer = pool.balancer(0);
/// let first = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// assert_eq!(first.address().to_string(), "10.0.0.2:80");
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "sed")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct ShortestExpectedDelay;

least_by_key!(ShortestExpectedDelay, Ratio);

impl ShortestExpectedDelay {
    #[expect(
        clippy::unused_self,
        reason = "the schedulers of this family are written alike"
    )]
    fn key(&self, standing: Standing) -> Ratio {
        let Standing {
            share,
            in_flight,
            used,
            ..
        } = standing;
        Ratio {
            load: in_flight.saturating_add(1),
            share,
            used,
        }
    }
}
