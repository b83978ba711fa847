//! The lower of two expected latencies.

use std::time::Duration;

use super::alias::AliasTable;
use super::power_of_two::better_of_two;
use crate::Instant;
use crate::rng::Xoshiro;
use crate::schedule::{Candidates, Load, Scheduler, Start, Tier};

/// Draws two backends and takes the one with the lower expected latency: its recent latency, times
/// the sessions it has, for its weight.
///
/// A latency above the average is believed at once and forgotten slowly, so a backend that turns
/// slow loses its share within a session or two. A failure is charged the pool's penalty, so that
/// failing fast is not rewarded. A backend of which nothing is known is taken to be like the
/// average of the others. Each worker learns by itself.
///
/// Cost: O(1): four random numbers and two exponentials.
///
/// Source: Finagle's `PeakEwma`, with the penalty of linkerd2-proxy.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::schedule::PeakEwma;
///
/// let slow_to_forgive = PeakEwma::default().decay(Duration::from_secs(30));
/// # let _ = slow_to_forgive;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PeakEwma {
    decay: Duration,
}

/// As in Finagle and linkerd2-proxy.
const DEFAULT_DECAY: Duration = Duration::from_secs(10);

impl Default for PeakEwma {
    fn default() -> Self {
        Self {
            decay: DEFAULT_DECAY,
        }
    }
}

impl PeakEwma {
    /// The time in which an old latency loses 63 % of its say. Default 10 s; zero is taken as 1 ns.
    #[must_use]
    pub fn decay(mut self, decay: Duration) -> Self {
        self.decay = decay.max(Duration::from_nanos(1));
        self
    }

    /// What is left of an old average after `since`.
    fn remains(&self, since: Duration) -> f64 {
        (-since.as_secs_f64() / self.decay.as_secs_f64()).exp()
    }
}

/// What a worker knows of each backend's latency.
#[derive(Debug)]
pub struct Latencies {
    backends: Box<[Latency]>,
    /// The average over all backends, for those of which nothing is known. Seconds.
    typical: f64,
    rng: Xoshiro,
}

#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    in_flight: u32,
    share: u32,
    /// Seconds; `None` until the first sample.
    average: Option<f64>,
    at: Instant,
}

impl Latency {
    /// What is known after `load`: a peak is believed at once, anything less by and by.
    fn with(self, load: &Load, remains: impl Fn(Duration) -> f64) -> Self {
        let Some(sample) = load.latency.map(|latency| latency.as_secs_f64()) else {
            return Self {
                in_flight: load.in_flight,
                ..self
            };
        };
        let average = self
            .average
            .filter(|&old| old > sample)
            .map_or(sample, |old| {
                let remains = remains(load.now.since(self.at));
                old * remains + sample * (1.0 - remains)
            });
        Self {
            in_flight: load.in_flight,
            average: Some(average),
            at: load.now,
            ..self
        }
    }

    /// The latency that one more session would meet, for the backend's share.
    ///
    /// A bad average fades to the typical one, so that a backend nobody asks is asked again.
    fn cost(&self, now: Instant, typical: f64, remains: impl Fn(Duration) -> f64) -> f64 {
        let expected = self.average.map_or(typical, |average| {
            let above = (average - typical).max(0.0);
            let faded = if above > 0.0 {
                above * remains(now.since(self.at))
            } else {
                0.0
            };
            average.min(typical) + faded
        });
        expected * (f64::from(self.in_flight) + 1.0) / f64::from(self.share.max(1))
    }
}

/// How much one sample moves the typical latency.
const TYPICAL_STEP: f64 = 1.0 / 64.0;
/// The typical latency before the first sample. Any number will do: all backends have it alike.
const FIRST_GUESS: f64 = 0.001;

impl Scheduler for PeakEwma {
    type Plan = AliasTable;
    type Cursor = Latencies;

    fn observes(&self) -> bool {
        true
    }

    fn plan(&self, tier: &Tier, _previous: Option<&AliasTable>) -> AliasTable {
        AliasTable::new(tier, |share| share)
    }

    fn cursor(&self, _: &AliasTable, tier: &Tier, start: Start<'_, Latencies>) -> Latencies {
        let latencies = tier
            .candidates()
            .iter()
            .enumerate()
            .map(|(position, candidate)| {
                let old = start.previous.as_ref().zip(start.before(position));
                let old = old.and_then(|(old, at)| old.backends.get(at));
                let load = start.load(position);
                let fresh = Latency {
                    share: candidate.share,
                    ..old.copied().unwrap_or_default()
                };
                fresh.with(&load, |since| self.remains(since))
            });
        let backends = latencies.collect();
        let typical = start
            .previous
            .as_ref()
            .map_or(FIRST_GUESS, |old| old.typical);
        let rng = start
            .previous
            .map_or_else(|| Xoshiro::new(start.seed), |old| old.rng);
        Latencies {
            backends,
            typical,
            rng,
        }
    }

    #[inline]
    fn pick(
        &self,
        table: &AliasTable,
        cursor: &mut Latencies,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        let Latencies {
            backends,
            typical,
            rng,
        } = cursor;
        let cost = |position: usize| {
            let remains = |since| self.remains(since);
            Some(
                backends
                    .get(position)?
                    .cost(candidates.now, *typical, remains),
            )
        };
        better_of_two(table, rng, candidates, |one, other| {
            Some(cost(one)? <= cost(other)?)
        })
    }

    fn observe(&self, _: &AliasTable, cursor: &mut Latencies, position: usize, load: &Load) {
        if let Some(backend) = cursor.backends.get_mut(position) {
            *backend = backend.with(load, |since| self.remains(since));
        }
        if let Some(sample) = load.latency {
            cursor.typical += (sample.as_secs_f64() - cursor.typical) * TYPICAL_STEP;
        }
    }
}
