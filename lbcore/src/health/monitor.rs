//! When to probe one backend, and how many answers in a row change its health.

use std::time::Duration;

use super::{
    DueProbe, Health, HealthCheck, HealthConfig, HealthConfigError, ProbeFailure, ProbeNumber,
    ProbeOutcome, Transition,
};
use crate::Instant;
use crate::rng::Rng;
use crate::time::nanos;

/// The usual health check: `rise` successes in a row bring a backend up, `fall` failures in a row
/// take it down.
///
/// It starts [`Health::Unknown`], and there the first answer decides at once, whichever it is: one
/// success is up, one failure is down. `rise` and `fall` are about changing one's mind, and there
/// is nothing yet to change.
///
/// Clone an unused one to check many backends alike: the configuration is checked once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::health::{Health, HealthCheck, HealthConfig, Monitor, ProbeOutcome};
/// use lbcore::rng::Xoshiro;
///
/// let mut rng = Xoshiro::new(1);
/// let mut monitor = Monitor::new(&HealthConfig::default())?;
/// let now = Instant::ZERO;
///
/// let probe = monitor.poll_probe(now, &mut rng).expect("the first probe is due at once");
/// let answer = ProbeOutcome::Pass(Duration::from_millis(1));
/// let change = monitor.handle_outcome(now + Duration::from_millis(1), probe.number, answer);
/// assert_eq!(change.map(|change| change.to), Some(Health::Up));
/// # Ok::<(), lbcore::health::HealthConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Monitor {
    timing: Timing,
    health: Health,
    /// Answers in a row that contradict `health`; below `rise` or `fall`.
    against: u32,
    next: Next,
    number: ProbeNumber,
    last: Option<ProbeOutcome>,
}

impl Monitor {
    /// A check whose first probe is due at once, or within the configured `initial_spread`.
    ///
    /// # Errors
    ///
    /// Names the first field of `config` that is out of range.
    pub fn new(config: &HealthConfig) -> Result<Self, HealthConfigError> {
        Ok(Self {
            timing: Timing::new(config)?,
            health: Health::Unknown,
            against: 0,
            next: Next::First,
            number: ProbeNumber(0),
            last: None,
        })
    }

    /// Follows `config` from the next probe on, and keeps the health it has found.
    ///
    /// Answers in a row are counted afresh, since what they must reach may have changed. The probe
    /// under way keeps its deadline.
    ///
    /// # Errors
    ///
    /// Names the first field that is out of range; nothing has changed then.
    pub fn reconfigure(&mut self, config: &HealthConfig) -> Result<(), HealthConfigError> {
        self.timing = Timing::new(config)?;
        self.against = 0;
        Ok(())
    }

    /// How the last probe ended; `None` before the first has.
    #[must_use]
    pub const fn last(&self) -> Option<ProbeOutcome> {
        self.last
    }

    /// Ends the probe that was sent at `started`, and says what that changes.
    fn settle(
        &mut self,
        now: Instant,
        started: Instant,
        dice: u64,
        outcome: ProbeOutcome,
    ) -> Option<Transition> {
        self.last = Some(outcome);
        let from = self.health;
        let (verdict, enough) = match outcome {
            ProbeOutcome::Pass(_) => (Health::Up, self.timing.rise),
            ProbeOutcome::Fail(_) => (Health::Down, self.timing.fall),
        };
        if from == verdict {
            self.against = 0;
        } else {
            self.against += 1;
        }
        let tipped = from == Health::Unknown || self.against >= enough;
        if tipped {
            self.health = verdict;
            self.against = 0;
        }
        let interval = match self.against {
            0 => self.timing.interval,
            _ => self.timing.fast_interval,
        };
        self.next = Next::At(started + spread(interval, self.timing.jitter, dice));
        (from != self.health).then(|| Transition::new(now, from, self.health, outcome))
    }
}

impl HealthCheck for Monitor {
    fn poll_probe(&mut self, now: Instant, rng: &mut dyn Rng) -> Option<DueProbe> {
        if let Next::First = self.next {
            let wait = rng.below(nanos(self.timing.initial_spread).saturating_add(1));
            self.next = Next::At(now + Duration::from_nanos(wait));
        }
        let Next::At(due) = self.next else {
            return None;
        };
        if now < due {
            return None;
        }
        let deadline = now + self.timing.timeout;
        self.number.0 = self.number.0.wrapping_add(1);
        self.next = Next::Answer {
            started: now,
            deadline,
            dice: rng.next_u64(),
        };
        Some(DueProbe::new(self.number, deadline))
    }

    fn handle_outcome(
        &mut self,
        now: Instant,
        probe: ProbeNumber,
        outcome: ProbeOutcome,
    ) -> Option<Transition> {
        match self.next {
            Next::Answer {
                started,
                deadline,
                dice,
            } if probe == self.number => {
                let late = ProbeOutcome::Fail(ProbeFailure::Timeout);
                let outcome = if now < deadline { outcome } else { late };
                self.settle(now, started, dice, outcome)
            }
            _ => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<Transition> {
        match self.next {
            Next::Answer {
                started,
                deadline,
                dice,
            } if now >= deadline => {
                let outcome = ProbeOutcome::Fail(ProbeFailure::Timeout);
                self.settle(now, started, dice, outcome)
            }
            _ => None,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(match self.next {
            Next::Answer { deadline, .. } => deadline,
            Next::At(due) => due,
            Next::First => Instant::ZERO,
        })
    }

    fn health(&self) -> Health {
        self.health
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The outcome of the probe under way.
    Answer {
        started: Instant,
        deadline: Instant,
        /// Drawn when the probe is sent, used when it ends: only then is the interval known.
        dice: u64,
    },
    /// The moment of the next probe.
    At(Instant),
    /// The first call.
    First,
}

/// What of the configuration is needed once it has been checked.
#[derive(Clone, Copy, Debug)]
struct Timing {
    interval: Duration,
    fast_interval: Duration,
    timeout: Duration,
    initial_spread: Duration,
    rise: u32,
    fall: u32,
    jitter: u8,
}

impl Timing {
    fn new(config: &HealthConfig) -> Result<Self, HealthConfigError> {
        config.check()?;
        Ok(Self {
            interval: config.interval,
            fast_interval: config.effective_fast_interval(),
            timeout: config.timeout,
            initial_spread: config.initial_spread,
            rise: config.rise,
            fall: config.fall,
            jitter: config.jitter,
        })
    }
}

/// `interval`, made shorter or longer by up to `jitter` percent; `dice` says where between.
fn spread(interval: Duration, jitter: u8, dice: u64) -> Duration {
    let middle = u128::from(nanos(interval));
    let reach = middle * u128::from(jitter) / 100;
    // `dice` is a fraction of 2^64, so this is a number in 0..=2 * reach. No overflow: with a
    // jitter of at most 50 percent, both factors are below 2^64.
    let offset = ((reach * 2 + 1) * u128::from(dice)) >> 64;
    Duration::from_nanos(u64::try_from(middle - reach + offset).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_reaches_both_ends_of_its_jitter_and_no_further() {
        let interval = Duration::from_nanos(1000);
        assert_eq!(spread(interval, 10, 0), Duration::from_nanos(900));
        assert_eq!(spread(interval, 10, 1 << 63), interval);
        assert_eq!(spread(interval, 10, u64::MAX), Duration::from_nanos(1100));
        assert_eq!(spread(interval, 0, u64::MAX), interval);
    }

    #[test]
    fn the_longest_interval_does_not_overflow() {
        let longest = Duration::from_nanos(u64::MAX);
        assert_eq!(spread(Duration::MAX, 50, u64::MAX), longest);
        assert_eq!(
            spread(Duration::MAX, 50, 0).as_nanos(),
            u128::from(u64::MAX / 2 + 1)
        );
    }
}
