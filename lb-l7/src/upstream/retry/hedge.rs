//! When a request that waits too long is sent a second time. Pure.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use http::Method;
use lbcore::Instant;

use crate::stats::HistogramSnapshot;

/// Sends a request that has had no answer for some time to a second backend as well; whichever
/// answers first is believed, and the other is cancelled.
///
/// One slow backend of many is met by a share of the requests; with hedging these wait for the delay
/// and for a second backend in its place (Dean and Barroso, *The Tail at Scale*, 2013). The price is
/// work done twice, so each hedge is taken from the [`RetryBudget`](super::RetryBudget) of the
/// upstream: when everything is slow, nearly nothing is sent twice.
///
/// Only GET, HEAD and OPTIONS without a body are hedged (RFC 9110, 9.2.1), and none that a cookie
/// keeps at its backend: its session is there, and another would answer for somebody unknown. The
/// wait for a connection counts as well: a backend that cannot be reached is slow.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l7::Target;
/// use lb_l7::upstream::Hedge;
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let pool = Pool::new(RoundRobin)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// // A twentieth of the requests at most, as long as there are enough to know which.
/// let target = Target::from(pool).hedge(Hedge::quantile(0.95, Duration::from_millis(10)));
/// assert_eq!(target.hedge.map(|hedge| hedge.most), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
#[doc(alias = "backup request")]
pub struct Hedge {
    /// How long the first answer is waited for, and again before each further hedge.
    pub after: HedgeDelay,
    /// How many hedges one try may have. 1..=3; default 1. What is out of its range is taken as the
    /// nearest in it.
    pub most: u32,
}

/// How long an answer is waited for before the request is sent again.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HedgeDelay {
    /// Always as long.
    Fixed(Duration),
    /// As long as this part of the upstream's answers of late took at most.
    ///
    /// Learned anew once a second, from at least a hundred answers since it was learned last; nothing
    /// is hedged before the first hundred.
    Quantile {
        /// From 0.5 to 0.9999. What is out of this range is taken as the nearest in it.
        quantile: f64,
        /// The delay is never shorter.
        floor: Duration,
    },
}

impl Default for Hedge {
    /// After the 95th percentile, and 10 ms at least.
    fn default() -> Self {
        Self::quantile(0.95, Duration::from_millis(10))
    }
}

impl Hedge {
    /// A hedge after this delay.
    #[must_use]
    pub const fn after(delay: Duration) -> Self {
        Self {
            after: HedgeDelay::Fixed(delay),
            most: 1,
        }
    }

    /// A hedge after this quantile of the upstream's own times to the first byte.
    #[must_use]
    pub const fn quantile(quantile: f64, floor: Duration) -> Self {
        Self {
            after: HedgeDelay::Quantile { quantile, floor },
            most: 1,
        }
    }

    /// See [`most`](Self::most).
    #[must_use]
    pub const fn most(mut self, hedges: u32) -> Self {
        self.most = hedges;
        self
    }

    /// How many there may be in all.
    pub(crate) fn most_in_range(&self) -> u32 {
        self.most.clamp(1, MOST)
    }

    /// Whether a request of this method can be sent twice at once and nobody minds.
    pub(crate) const fn suits(method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
    }
}

/// A delay that is learned from what answers took.
///
/// Shared by all workers: one of them looks at the figures once a second, and the others take what it
/// has found.
#[derive(Debug)]
pub(crate) struct LearnedDelay {
    /// Nanoseconds; [`UNKNOWN`] until there is one.
    found: AtomicU64,
    /// When to look again, in nanoseconds.
    due: AtomicU64,
    /// What had been counted when it was found.
    before: Mutex<Option<Box<HistogramSnapshot>>>,
}

impl Default for LearnedDelay {
    fn default() -> Self {
        Self {
            found: AtomicU64::new(UNKNOWN),
            due: AtomicU64::new(0),
            before: Mutex::default(),
        }
    }
}

impl LearnedDelay {
    /// How long a request of now waits before it is hedged; `None` as long as nobody can say.
    ///
    /// Cost: two loads; once a second also `figures`, by one caller.
    pub(crate) fn of(
        &self,
        delay: HedgeDelay,
        now: Instant,
        figures: impl FnOnce() -> HistogramSnapshot,
    ) -> Option<Duration> {
        let (quantile, floor) = match delay {
            HedgeDelay::Fixed(delay) => return Some(delay),
            HedgeDelay::Quantile { quantile, floor } => (quantile, floor),
        };
        if self.due.load(Relaxed) <= now.as_nanos() {
            self.learn(quantile, now, figures);
        }
        let found = self.found.load(Relaxed);
        (found != UNKNOWN).then(|| floor.max(Duration::from_nanos(found)))
    }

    fn learn(&self, quantile: f64, now: Instant, figures: impl FnOnce() -> HistogramSnapshot) {
        let mut before = match self.before.try_lock() {
            Ok(before) => before,
            Err(TryLockError::Poisoned(before)) => PoisonError::into_inner(before),
            // Somebody is at it.
            Err(TryLockError::WouldBlock) => return,
        };
        let due = (now + EVERY).as_nanos();
        self.due.store(due, Relaxed);
        let all = figures();
        let of_late = match before.as_deref() {
            Some(before) => all.since(before),
            None => all.clone(),
        };
        if of_late.count() < ENOUGH {
            return;
        }
        let quantile = if quantile.is_nan() { HIGHEST } else { quantile };
        if let Some(found) = of_late.quantile(quantile.clamp(LOWEST, HIGHEST)) {
            // The middle of a bucket may be before the quantile, and where answers take all the same
            // time half of them would be late: never earlier than it, then.
            let nanos = u64::try_from(found.as_nanos()).unwrap_or(UNKNOWN);
            let latest = nanos.saturating_add(nanos / 15).saturating_add(64);
            self.found.store(latest.min(UNKNOWN - 1), Relaxed);
            *before = Some(Box::new(all));
        }
    }
}

/// A try of which more than four copies are out helps nobody.
const MOST: u32 = 3;

/// No delay is known.
const UNKNOWN: u64 = u64::MAX;

/// How often a delay is learned anew.
const EVERY: Duration = Duration::from_secs(1);

/// Fewer answers than this have no quantile to speak of.
const ENOUGH: u64 = 100;

/// Sooner, every second request would be sent twice.
const LOWEST: f64 = 0.5;

/// Beyond it a window of a few seconds has nothing to learn from.
const HIGHEST: f64 = 0.9999;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + ms(millis)
    }

    fn record(histogram: &Histogram, span: Duration, times: u32) {
        for _ in 0..times {
            histogram.record(span);
        }
    }

    #[test]
    fn only_safe_methods_without_side_effects_suit() {
        for (method, suits) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::OPTIONS, true),
            (Method::POST, false),
            (Method::PUT, false),
            (Method::DELETE, false),
            (Method::TRACE, false),
            (Method::CONNECT, false),
        ] {
            assert_eq!(Hedge::suits(&method), suits, "{method}");
        }
    }

    #[test]
    fn the_number_of_hedges_is_held_to_its_range() {
        let most = |most| Hedge::after(ms(1)).most(most).most_in_range();
        assert_eq!([0, 1, 3, 4, u32::MAX].map(most), [1, 1, 3, 3, 3]);
    }

    #[test]
    fn a_fixed_delay_asks_for_no_figures() {
        let never = || -> HistogramSnapshot { panic!("not asked for") };
        let delay = LearnedDelay::default().of(HedgeDelay::Fixed(ms(7)), at(0), never);
        assert_eq!(delay, Some(ms(7)));
    }

    #[test]
    fn nothing_is_hedged_before_a_hundred_answers_are_known() {
        let histogram = Histogram::default();
        let learned = LearnedDelay::default();
        let delay = Hedge::quantile(0.9, ms(1)).after;
        record(&histogram, ms(50), 99);
        assert_eq!(learned.of(delay, at(0), || histogram.snapshot()), None);
        record(&histogram, ms(50), 1);
        assert_eq!(learned.of(delay, at(999), || histogram.snapshot()), None);
        let found = learned.of(delay, at(1000), || histogram.snapshot());
        let found = found.unwrap().as_secs_f64();
        let most = (1.0 + HistogramSnapshot::RELATIVE_ERROR) * 16.0 / 15.0;
        assert!((1.0..=most).contains(&(found / 0.05)), "{found}");
    }

    #[test]
    fn what_was_long_ago_is_forgotten_and_the_floor_holds() {
        let histogram = Histogram::default();
        let learned = LearnedDelay::default();
        let delay = Hedge::quantile(0.9, ms(20)).after;
        let read = |millis| learned.of(delay, at(millis), || histogram.snapshot());
        record(&histogram, ms(500), 100);
        assert!(read(0).unwrap() > ms(400));
        // Too few to say otherwise.
        record(&histogram, ms(1), 99);
        assert!(read(1000).unwrap() > ms(400));
        record(&histogram, ms(1), 1);
        assert_eq!(read(2000), Some(ms(20)));
        record(&histogram, ms(100), 100);
        assert!(read(3000).unwrap() > ms(90));
    }

    #[test]
    fn a_quantile_out_of_its_range_is_the_nearest_in_it() {
        let histogram = Histogram::default();
        record(&histogram, ms(1), 60);
        record(&histogram, ms(100), 40);
        let of = |quantile| {
            let delay = Hedge::quantile(quantile, Duration::ZERO).after;
            LearnedDelay::default().of(delay, at(0), || histogram.snapshot())
        };
        assert!(of(-1.0).unwrap() < ms(2));
        assert!(of(2.0).unwrap() > ms(90));
        assert_eq!(of(f64::NAN), of(1.0));
    }
}
