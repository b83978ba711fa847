//! The weight of a backend that has just come up.

use std::time::Duration;

use thiserror::Error;

use crate::time::nanos;

/// Brings a new backend to its full weight little by little, so that cold caches are not flooded.
///
/// After `elapsed` of the window the share is `max(minimum, (elapsed / window)^(1 / aggression))`.
///
/// Source: Envoy, "Slow start mode".
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::health::SlowStart;
///
/// let ramp = SlowStart::over(Duration::from_secs(60));
/// assert_eq!(ramp.factor(Duration::ZERO), 0.1);
/// assert_eq!(ramp.factor(Duration::from_secs(30)), 0.5);
/// assert_eq!(ramp.factor(Duration::from_secs(60)), 1.0);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long the ramp lasts; zero for none.
    pub window: Duration,

    /// The shape of the ramp: 1, the default, is a straight line; above 1 rises fast at first,
    /// below 1 slowly at first. More than zero.
    pub aggression: f64,

    /// The share at the start, which keeps the backend from getting nothing at all. More than 0,
    /// at most 1; default 0.1.
    pub minimum: f64,
}

impl SlowStart {
    /// A straight ramp from a tenth of the weight to all of it.
    #[must_use]
    pub const fn over(window: Duration) -> Self {
        Self {
            window,
            aggression: 1.0,
            minimum: 0.1,
        }
    }

    /// Sets [`aggression`](Self::aggression).
    #[must_use]
    pub const fn aggression(mut self, aggression: f64) -> Self {
        self.aggression = aggression;
        self
    }

    /// Sets [`minimum`](Self::minimum).
    #[must_use]
    pub const fn minimum(mut self, minimum: f64) -> Self {
        self.minimum = minimum;
        self
    }

    /// Whether every field is in its range.
    ///
    /// # Errors
    ///
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), SlowStartError> {
        if !(self.aggression.is_finite() && self.aggression > 0.0) {
            Err(SlowStartError::Aggression(self.aggression))
        } else if !(self.minimum > 0.0 && self.minimum <= 1.0) {
            Err(SlowStartError::Minimum(self.minimum))
        } else {
            Ok(())
        }
    }

    /// The share of its weight that a backend has, `since` its health became up.
    ///
    /// In `minimum..=1.0`, never falling as time passes. Cost: one power; call it when weights are
    /// planned, not for each session.
    #[must_use]
    pub fn factor(&self, since: Duration) -> f64 {
        if since >= self.window {
            return 1.0;
        }
        self.ramp(since).max(self.minimum).min(1.0)
    }

    /// When, counted like `since`, the share has next grown enough to plan the weights again.
    ///
    /// Later than `since`. `None` once the ramp is over. There are at most 32 such moments, a 32nd
    /// of the full weight apart, so that a ramp costs a pool at most 32 plans.
    #[must_use]
    pub fn next_step(&self, since: Duration) -> Option<Duration> {
        if since >= self.window {
            return None;
        }
        let reached = (self.factor(since) * STEPS).floor();
        // The step just taken may seem not quite reached, by a rounding: then it is the one after.
        [1.0, 2.0]
            .into_iter()
            .map(|ahead| self.time_of((reached + ahead) / STEPS))
            .find(|at| *at > since)
            .or(Some(self.window))
    }

    fn ramp(&self, since: Duration) -> f64 {
        since
            .div_duration_f64(self.window)
            .powf(self.aggression.recip())
    }

    /// When the ramp reaches `share`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of the window is not negative, and a moment of a ramp may be off by nanoseconds"
    )]
    fn time_of(&self, share: f64) -> Duration {
        let part = share.min(1.0).powf(self.aggression) * nanos(self.window) as f64;
        Duration::from_nanos(part.ceil() as u64).min(self.window)
    }
}

/// Which field of a [`SlowStart`] is out of range; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum SlowStartError {
    /// `aggression` is an exponent's inverse.
    #[error("`aggression` is {0}: expected a number above 0")]
    Aggression(f64),
    /// `minimum` is a share.
    #[error("`minimum` is {0}: expected a share above 0 and at most 1")]
    Minimum(f64),
}

/// Plans a ramp: fine enough that no step is felt, few enough that 10,000 backends can ramp.
const STEPS: f64 = 32.0;
