//! When to ask a second server without waiting for the first.

use std::time::Duration;

/// The latencies of late, and the one that 95 of 100 stay below.
///
/// Counts in four buckets an octave, so what it says is at most 19 % above the truth, from 16 µs to
/// 17 s. Every 1,024 samples all counts are halved: an old latency has lost half its say 1,024
/// answers later. No allocation; a sample costs a handful of instructions, a question one pass over
/// 81 counters.
#[derive(Clone, Debug)]
pub struct Percentile {
    counts: [u16; BUCKETS],
    total: u16,
}

/// Four to each doubling of 16 µs, twenty doublings.
const BUCKETS: usize = 81;
/// The upper end of the first bucket, in nanoseconds.
const FIRST: u64 = 16_000;
/// Samples after which all lose half their say.
const HALVED_AT: u16 = 1_024;
/// Samples before which nothing is said.
const ENOUGH: u16 = 20;

impl Default for Percentile {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

impl Percentile {
    /// Takes note of one latency.
    pub fn observe(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (0..BUCKETS).position(|bucket| nanos <= upper(bucket));
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BUCKETS - 1)) {
            *count += 1;
            self.total += 1;
        }
        if self.total >= HALVED_AT {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// The latency that 95 of 100 stay below; `None` until 20 are known.
    #[must_use]
    pub fn p95(&self) -> Option<Duration> {
        if self.total < ENOUGH {
            return None;
        }
        let rank = (u32::from(self.total) * 95).div_ceil(100);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += u32::from(*count);
            seen >= rank
        });
        bucket.map(|bucket| Duration::from_nanos(upper(bucket)))
    }
}

/// The upper end of a bucket, in nanoseconds: 16 µs × 2^(bucket / 4), in whole numbers.
fn upper(bucket: usize) -> u64 {
    // 2^(0/4), 2^(1/4), 2^(2/4) and 2^(3/4), in 65,536ths.
    const QUARTERS: [u64; 4] = [65_536, 77_936, 92_682, 110_218];
    let quarter = QUARTERS.get(bucket % 4).copied().unwrap_or(65_536);
    ((FIRST << (bucket / 4)) * quarter) >> 16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_said_of_nineteen_samples() {
        let mut latencies = Percentile::default();
        for _ in 0..19 {
            latencies.observe(MS);
            assert_eq!(latencies.p95(), None);
        }
        latencies.observe(MS);
        let p95 = latencies.p95().expect("enough");
        assert!(p95 >= MS && p95 < MS * 119 / 100, "{p95:?}");
    }

    #[test]
    fn one_in_twenty_may_be_slower_and_one_more_is_heard() {
        let mut latencies = Percentile::default();
        for n in 0..100 {
            latencies.observe(if n % 20 == 0 { 500 * MS } else { MS });
        }
        assert!(latencies.p95() < Some(2 * MS), "{:?}", latencies.p95());
        for _ in 0..2 {
            latencies.observe(500 * MS);
        }
        assert!(latencies.p95() > Some(499 * MS), "{:?}", latencies.p95());
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut latencies = Percentile::default();
        (0..1_000).for_each(|_| latencies.observe(100 * MS));
        (0..8_000).for_each(|_| latencies.observe(MS));
        assert!(latencies.p95() < Some(2 * MS), "{:?}", latencies.p95());
    }

    #[test]
    fn the_ends_are_the_first_and_the_last_bucket() {
        assert_eq!(upper(0), 16_000);
        assert_eq!(upper(4), 32_000);
        let mut latencies = Percentile::default();
        (0..20).for_each(|_| latencies.observe(Duration::ZERO));
        assert_eq!(latencies.p95(), Some(Duration::from_micros(16)));
        (0..2_000).for_each(|_| latencies.observe(Duration::MAX));
        assert_eq!(
            latencies.p95(),
            Some(Duration::from_nanos(upper(BUCKETS - 1)))
        );
    }

    proptest! {
        #[test]
        fn it_is_within_a_bucket_of_the_sorted_truth(
            mut samples in prop::collection::vec(16_000_u64..10_000_000_000, 20..1_000)
        ) {
            let mut latencies = Percentile::default();
            samples.iter().for_each(|nanos| latencies.observe(Duration::from_nanos(*nanos)));
            samples.sort_unstable();
            let truth = samples[(samples.len() * 95).div_ceil(100) - 1];
            let said = u64::try_from(latencies.p95().expect("enough").as_nanos()).expect("small");
            prop_assert!(said >= truth && said <= truth * 120 / 100, "{said} for {truth}");
        }
    }
}
