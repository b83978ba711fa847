//! How long things take.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts times by their length. Cost: two atomic additions.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; Times::BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    pub(super) fn add(&self, time: Duration) {
        let place = Times::BOUNDS.partition_point(|bound| *bound < time);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Relaxed);
        }
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    pub(super) fn times(&self) -> Times {
        Times {
            counts: std::array::from_fn(|place| {
                self.counts
                    .get(place)
                    .map_or(0, |count| count.load(Relaxed))
            }),
            sum: Duration::from_nanos(self.nanos.load(Relaxed)),
        }
    }
}

/// How many things took how long.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Times {
    /// Those that took no longer than the bound in the same place and longer than the one before;
    /// the last place is for those beyond every bound.
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// How long they took together.
    pub sum: Duration,
}

impl Times {
    /// The bounds, each two to two and a half times the one before: from a signature on P-256 to one
    /// that comes too late for anybody.
    pub const BOUNDS: [Duration; 17] = [
        Duration::from_micros(25),
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
    ];

    /// How many in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_counts_what_is_as_long_and_not_what_is_longer() {
        let histogram = Histogram::default();
        let nanosecond = Duration::from_nanos(1);
        for (place, bound) in Times::BOUNDS.into_iter().enumerate() {
            histogram.add(bound);
            histogram.add(bound + nanosecond);
            let times = histogram.times();
            assert_eq!(times.counts[place], if place == 0 { 1 } else { 2 });
            assert_eq!(times.counts[place + 1], 1);
        }
    }

    #[test]
    fn the_sum_is_that_of_all_times() {
        let histogram = Histogram::default();
        histogram.add(Duration::from_micros(3));
        histogram.add(Duration::from_secs(7));
        assert_eq!(histogram.times().sum, Duration::from_micros(7_000_003));
        assert_eq!(histogram.times().count(), 2);
    }
}
