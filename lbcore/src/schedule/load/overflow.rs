//! The strongest backend until it has as many sessions as its weight.

use super::least::{Standing, least_by_key};
use super::ratio::Ratio;
use crate::schedule::Candidate;

/// Fills the backend of the greatest weight with as many sessions as its weight, then the next.
///
/// When all are filled, the one with the fewest sessions for its weight takes the session. Each
/// worker fills by its own count, so with w workers a backend may hold w times its weight before
/// the next is used: give `1/w` of the weight, or use one worker, where the number matters.
///
/// Cost: O(log n) a session begun and O(log n) a session ended.
///
/// Source: IPVS `ovf`, which refuses the session when all are filled.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::Overflow;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(Overflow)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?).weight(2));
/// let mut balancer = pool.balancer(0);
/// let leases: Vec<_> =
///     (0..3).map(|_| balancer.acquire(Instant::ZERO, &Pick::default()).unwrap()).collect();
/// let places: Vec<_> = leases.iter().map(|lease| lease.address().to_string()).collect();
/// assert_eq!(places, ["10.0.0.2:80", "10.0.0.2:80", "10.0.0.1:80"]);
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "ovf")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct Overflow;

least_by_key!(Overflow, (bool, Ratio));

impl Overflow {
    #[expect(
        clippy::unused_self,
        reason = "the schedulers of this family are written alike"
    )]
    fn key(&self, standing: Standing) -> (bool, Ratio) {
        let Standing {
            share,
            position,
            in_flight,
            used,
        } = standing;
        let full = u64::from(in_flight) * u64::from(Candidate::ONE) >= u64::from(share);
        // Before it is full, the greatest share is the least fraction; of equals the first.
        let filling = Ratio {
            load: 1,
            share,
            used: position as u64,
        };
        (
            full,
            if full {
                Ratio {
                    load: in_flight,
                    share,
                    used,
                }
            } else {
                filling
            },
        )
    }
}
