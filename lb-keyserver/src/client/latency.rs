//! How long a key server takes, of late.

use std::time::Duration;

use lbcore::Instant;

/// The recent latency of one server: a peak is believed at once and forgotten slowly.
///
/// The average of `lbcore`'s `PeakEwma`, which belongs to a pool and is learnt by each worker of its
/// own; the servers here are few, asked by all workers together, and failed by a breaker.
///
/// Source: Finagle's `PeakEwma`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    /// Seconds; `None` until the first sample.
    average: Option<f64>,
    at: Instant,
}

impl Latency {
    /// Takes note of one answer, or of how long there was none.
    pub(crate) fn observe(&mut self, now: Instant, sample: Duration) {
        let sample = sample.as_secs_f64();
        let average = self.average.filter(|&old| old > sample);
        let average = average.map_or(sample, |old| {
            let remains = remains(now.since(self.at));
            old * remains + sample * (1.0 - remains)
        });
        *self = Self {
            average: Some(average),
            at: now,
        };
    }

    /// What one more request would wait, in seconds: what is above `typical` fades while nobody
    /// asks, so that a server which was slow once is asked again.
    pub(crate) fn expected(&self, now: Instant, typical: f64) -> f64 {
        self.average.map_or(typical, |average| {
            let above = (average - typical).max(0.0);
            average.min(typical) + above * remains(now.since(self.at))
        })
    }

    /// The average as it stands; `None` before the first sample.
    pub(crate) fn average(&self) -> Option<Duration> {
        self.average.map(Duration::from_secs_f64)
    }
}

/// What is left of an old average after `since`.
fn remains(since: Duration) -> f64 {
    (-since.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

/// The time in which an old latency loses 63 % of its say. Shorter than the 10 s of Finagle, as what
/// is measured is a tenth of what Finagle measures.
const DECAY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_slowly() {
        let mut latency = Latency::default();
        assert_eq!(latency.average(), None);
        latency.observe(Instant::ZERO, MS);
        latency.observe(Instant::ZERO + MS, 100 * MS);
        assert_eq!(latency.average(), Some(100 * MS));
        latency.observe(Instant::ZERO + 2 * MS, MS);
        assert!(latency.average() > Some(99 * MS), "{latency:?}");
        latency.observe(Instant::ZERO + 2 * MS + DECAY, MS);
        let rest = latency.average().expect("sampled");
        assert!(rest > 36 * MS && rest < 39 * MS, "{rest:?}");
    }

    #[test]
    fn the_unknown_is_typical_and_the_bad_fades_to_typical() {
        let mut latency = Latency::default();
        assert_eq!(latency.expected(Instant::ZERO, 0.002), 0.002);
        latency.observe(Instant::ZERO, 100 * MS);
        assert_eq!(latency.expected(Instant::ZERO, 0.002), 0.1);
        let later = latency.expected(Instant::ZERO + DECAY, 0.002);
        assert!((later - (0.002 + 0.098 / std::f64::consts::E)).abs() < 1e-9);
    }

    #[test]
    fn a_good_average_does_not_fade() {
        let mut latency = Latency::default();
        latency.observe(Instant::ZERO, MS);
        assert_eq!(latency.expected(Instant::ZERO + 100 * DECAY, 0.002), 0.001);
    }
}
