//! A histogram of durations in fixed memory, with a bounded relative error.

use std::ops::AddAssign;
use std::time::Duration;

use super::counter::Counter;

/// Durations, counted in buckets that grow with them.
///
/// Each power of two of nanoseconds, from 1.024 µs to 18.3 min, is cut into eight equal buckets
/// (log-linear, as in HdrHistogram). What is shorter is counted in eight buckets of 128 ns; what is
/// longer in one of its own. So a bucket is at most an eighth as wide as where it begins, and a
/// quantile is at most [`RELATIVE_ERROR`](HistogramSnapshot::RELATIVE_ERROR) away from the truth.
///
/// Recording takes no lock and allocates nothing. A histogram takes 2 KiB.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    /// Nanoseconds.
    sum: Counter,
}

impl Histogram {
    /// Counts one duration; any number of threads may.
    ///
    /// Costs two locked additions.
    #[inline]
    pub fn record(&self, duration: Duration) {
        let (bucket, nanos) = self.bucket(duration);
        if let Some(bucket) = bucket {
            bucket.add_shared(1);
        }
        self.sum.add_shared(nanos);
    }

    /// Counts one duration; the caller is the only writer.
    #[inline]
    pub(crate) fn record_alone(&self, duration: Duration) {
        let (bucket, nanos) = self.bucket(duration);
        if let Some(bucket) = bucket {
            bucket.add(1);
        }
        self.sum.add(nanos);
    }

    #[inline]
    fn bucket(&self, duration: Duration) -> (Option<&Counter>, u64) {
        // Saturates at 584 years.
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        (self.buckets.get(bucket_of(nanos)), nanos)
    }

    /// Adds what was counted to `sum`.
    ///
    /// What is recorded meanwhile may be in it or not.
    pub fn add_to(&self, sum: &mut HistogramSnapshot) {
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.read();
        }
        sum.sum = sum.sum.wrapping_add(self.sum.read());
    }

    /// What was counted.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut sum = HistogramSnapshot::default();
        self.add_to(&mut sum);
        sum
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum: Counter::default(),
        }
    }
}

/// What a [`Histogram`] had counted at one moment; these add up.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l7::stats::Histogram;
///
/// let histogram = Histogram::default();
/// for ms in 1..=100 {
///     histogram.record(Duration::from_millis(ms));
/// }
/// let snapshot = histogram.snapshot();
/// assert_eq!(snapshot.count(), 100);
/// let p99 = snapshot.quantile(0.99).ok_or("nothing was recorded")?.as_secs_f64();
/// assert!((p99 / 0.099 - 1.0).abs() <= lb_l7::stats::HistogramSnapshot::RELATIVE_ERROR);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistogramSnapshot {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl HistogramSnapshot {
    /// How far a quantile may be from the duration that was recorded, as a part of that.
    ///
    /// It holds between 1.024 µs and 18.3 min; below, the error is at most 64 ns, and what is above
    /// is taken for 18.3 min. It is half the widest bucket: one sixteenth.
    pub const RELATIVE_ERROR: f64 = 0.0625;

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum, exact up to 584 years.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The mean; `None` if nothing was recorded.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_nanos)
    }

    /// The duration that this part of all reach at most; `None` if nothing was recorded.
    ///
    /// `q` is from 0 to 1, and what lies outside is taken for the nearer of the two. It is the
    /// nearest-rank quantile: the duration of rank ⌈q·n⌉, at least the first, in the order of their
    /// length, told as the middle of its bucket.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank of 2^53 and more may be off by one in 2^53"
    )]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * count as f64).ceil() as u64;
        let rank = rank.clamp(1, count);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|n| {
            seen += n;
            seen >= rank
        })?;
        Some(Duration::from_nanos(middle_of(bucket)))
    }

    /// How many durations were at most as long as each of `bounds`, as Prometheus wants its buckets.
    ///
    /// A bucket is counted under the first bound that its middle does not exceed, so that a count is
    /// exact for all but those durations that are within the relative error of a bound. Bounds must
    /// rise; the last bucket of Prometheus, `+Inf`, is [`count`](Self::count). Allocates nothing.
    pub fn cumulative(&self, bounds: &[Duration]) -> impl Iterator<Item = (Duration, u64)> {
        let mut buckets = self.buckets.iter().enumerate().peekable();
        let mut total = 0;
        bounds.iter().map(move |&bound| {
            let reach = |&(bucket, _): &(usize, &u64)| {
                bucket + 1 < BUCKETS && u128::from(middle_of(bucket)) <= bound.as_nanos()
            };
            while let Some((_, n)) = buckets.next_if(reach) {
                total += n;
            }
            (bound, total)
        })
    }
}

impl HistogramSnapshot {
    /// What was recorded since `before`, an earlier reading of the same histogram.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (n, before) in since.buckets.iter_mut().zip(before.buckets) {
            *n = n.saturating_sub(before);
        }
        since.sum = since.sum.wrapping_sub(before.sum);
        since
    }
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum: 0,
        }
    }
}

impl AddAssign<&Self> for HistogramSnapshot {
    fn add_assign(&mut self, other: &Self) {
        for (sum, n) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += n;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// The bucket of a duration in nanoseconds.
#[inline]
const fn bucket_of(nanos: u64) -> usize {
    let units = nanos >> UNIT_BITS;
    if units < PER_OCTAVE {
        // Below the first octave the buckets are as wide as in it.
        return to_usize(units);
    }
    // The highest bit says the octave, and the bits behind it the bucket in the octave.
    let octave = units.ilog2() - PER_OCTAVE_BITS;
    let bucket = (units >> octave) + (octave as u64) * PER_OCTAVE;
    if bucket < LAST as u64 {
        to_usize(bucket)
    } else {
        LAST
    }
}

/// The middle of a bucket, in nanoseconds; of the last one, where it begins.
const fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PER_OCTAVE {
        return (bucket << UNIT_BITS) + (1 << UNIT_BITS) / 2;
    }
    let octave = bucket / PER_OCTAVE - 1;
    let start = (bucket - octave * PER_OCTAVE) << (octave + UNIT_BITS);
    if bucket >= LAST as u64 {
        return start;
    }
    start + (1 << (octave + UNIT_BITS)) / 2
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "below the number of buckets"
)]
const fn to_usize(bucket: u64) -> usize {
    bucket as usize
}

/// The narrowest bucket is 2^7 = 128 ns: less is not worth telling of an exchange over a network.
const UNIT_BITS: u64 = 7;
const PER_OCTAVE_BITS: u32 = 3;
const PER_OCTAVE: u64 = 1 << PER_OCTAVE_BITS;
/// From 2^10 ns, the first octave of whole buckets, to 2^40 ns.
const OCTAVES: usize = 30;
/// What is longer than the last octave.
const LAST: usize = (OCTAVES + 1) << PER_OCTAVE_BITS;
const BUCKETS: usize = LAST + 1;

/// The bounds that are exported to Prometheus unless others are asked for: 500 µs to 60 s.
///
/// They rise by 2 or 2.5, so that most services have five of them around what they do.
pub const DEFAULT_BOUNDS: [Duration; 16] = [
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
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

#[cfg(test)]
mod tests;
