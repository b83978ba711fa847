//! The backend with the fewest sessions under way.

use super::least::{Standing, least_by_key};
use super::ratio::Ratio;

/// Sends a session to the backend with the fewest sessions under way, or the fewest for its weight.
///
/// Of backends alike, the one used longest ago is next. Exact per worker, from the sessions of that
/// worker alone; across workers it is approximate, since none asks another.
///
/// Cost: O(log n) a session begun and O(log n) a session ended.
///
/// Source: IPVS `lc` and `wlc`, with every session counted once.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::LeastConnections;
/// use lbcore::{Backend, Instant, Pick, Pool};
///
/// let pool = Pool::new(LeastConnections::weighted())
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
/// let one = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// let other = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// assert_ne!(one.backend(), other.backend());
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[doc(alias = "leastconn")]
#[doc(alias = "wlc")]
pub struct LeastConnections {
    weighted: bool,
}

impl LeastConnections {
    /// Fewest sessions, whatever the weights; a weight of 0 still takes none.
    #[must_use]
    pub const fn unweighted() -> Self {
        Self { weighted: false }
    }

    /// Fewest sessions for its weight.
    #[must_use]
    pub const fn weighted() -> Self {
        Self { weighted: true }
    }
}

least_by_key!(LeastConnections, Ratio);

impl LeastConnections {
    fn key(&self, standing: Standing) -> Ratio {
        let Standing {
            share,
            in_flight,
            used,
            ..
        } = standing;
        Ratio {
            load: in_flight,
            share: if self.weighted { share } else { 1 },
            used,
        }
    }
}
