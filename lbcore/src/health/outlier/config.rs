//! When traffic's errors eject a backend, and for how long.

use std::time::Duration;

use thiserror::Error;

/// What makes a backend an outlier, and what follows. Any detector is switched off by a 0.
///
/// Defaults are Envoy's unless a field says otherwise.
///
/// # Examples
///
/// ```
/// use lbcore::health::OutlierConfig;
///
/// let strict = OutlierConfig::default().consecutive_failures(3).max_ejected_percent(50);
/// assert!(strict.check().is_ok());
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierConfig {
    /// Over how long rates and latencies are gathered before they are judged. Default 10 s.
    pub interval: Duration,

    /// So many failures in a row, with no success between, eject. Default 5; 0: off.
    pub consecutive_failures: u32,

    /// How many backends must have met `min_requests` before their rates or latencies are judged.
    /// Default 5. At least 2 where backends are compared with each other.
    pub min_hosts: usize,

    /// How many requests a backend must have finished in an interval to be judged. Default 100.
    pub min_requests: u64,

    /// This share of failures or more ejects, in percent. Default 85; 0: off.
    ///
    /// Envoy measures it and does not enforce it unless told to.
    pub failure_percentage: u8,

    /// A success rate this many standard deviations below the mean of the pool ejects.
    ///
    /// Default 1.9; 0: off. Among n backends none can be further than √(n − 1) deviations from the
    /// mean, so 1.9 needs 5 of them.
    pub success_rate_deviations: f64,

    /// And it must be this many percentage points below the mean. Default 5.
    ///
    /// Not in Envoy, which ejects the one backend with 99 % among four with 100 %.
    pub success_rate_margin: u8,

    /// A mean latency of successes this many standard deviations above the mean of the pool ejects.
    ///
    /// Default 0: off, since what backends are asked differs. Not in Envoy.
    pub latency_deviations: f64,

    /// And it must be this many times the mean of the pool. Default 2.
    pub latency_ratio: f64,

    /// How long the first ejection lasts; the n-th in a row lasts n times as long. Default 30 s.
    ///
    /// Each such span without an ejection takes one off n.
    pub base_ejection: Duration,

    /// The longest ejection. At least `base_ejection`; default 300 s.
    pub max_ejection: Duration,

    /// How many of the pool's backends may be ejected at once, in percent, rounded down.
    ///
    /// Default 10; 0 ejects none, and anything else allows at least one in a pool of two or more.
    /// The only backend of a pool is never ejected.
    pub max_ejected_percent: u8,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            consecutive_failures: 5,
            min_hosts: 5,
            min_requests: 100,
            failure_percentage: 85,
            success_rate_deviations: 1.9,
            success_rate_margin: 5,
            latency_deviations: 0.0,
            latency_ratio: 2.0,
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 10,
        }
    }
}

impl OutlierConfig {
    /// Sets [`interval`](Self::interval).
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`consecutive_failures`](Self::consecutive_failures).
    #[must_use]
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = failures;
        self
    }

    /// Sets [`min_hosts`](Self::min_hosts).
    #[must_use]
    pub fn min_hosts(mut self, hosts: usize) -> Self {
        self.min_hosts = hosts;
        self
    }

    /// Sets [`min_requests`](Self::min_requests).
    #[must_use]
    pub fn min_requests(mut self, requests: u64) -> Self {
        self.min_requests = requests;
        self
    }

    /// Sets [`failure_percentage`](Self::failure_percentage).
    #[must_use]
    pub fn failure_percentage(mut self, percent: u8) -> Self {
        self.failure_percentage = percent;
        self
    }

    /// Sets [`success_rate_deviations`](Self::success_rate_deviations).
    #[must_use]
    pub fn success_rate_deviations(mut self, deviations: f64) -> Self {
        self.success_rate_deviations = deviations;
        self
    }

    /// Sets [`success_rate_margin`](Self::success_rate_margin).
    #[must_use]
    pub fn success_rate_margin(mut self, points: u8) -> Self {
        self.success_rate_margin = points;
        self
    }

    /// Sets [`latency_deviations`](Self::latency_deviations).
    #[must_use]
    pub fn latency_deviations(mut self, deviations: f64) -> Self {
        self.latency_deviations = deviations;
        self
    }

    /// Sets [`latency_ratio`](Self::latency_ratio).
    #[must_use]
    pub fn latency_ratio(mut self, ratio: f64) -> Self {
        self.latency_ratio = ratio;
        self
    }

    /// Sets [`base_ejection`](Self::base_ejection).
    #[must_use]
    pub fn base_ejection(mut self, span: Duration) -> Self {
        self.base_ejection = span;
        self
    }

    /// Sets [`max_ejection`](Self::max_ejection).
    #[must_use]
    pub fn max_ejection(mut self, span: Duration) -> Self {
        self.max_ejection = span;
        self
    }

    /// Sets [`max_ejected_percent`](Self::max_ejected_percent).
    #[must_use]
    pub fn max_ejected_percent(mut self, percent: u8) -> Self {
        self.max_ejected_percent = percent;
        self
    }

    /// Whether every field is in its range; [`Outlier::new`](super::Outlier::new) asks the same.
    ///
    /// # Errors
    ///
    /// Names the first field that is not, and what was expected of it.
    pub fn check(&self) -> Result<(), OutlierConfigError> {
        let percent = [
            ("failure_percentage", self.failure_percentage),
            ("success_rate_margin", self.success_rate_margin),
            ("max_ejected_percent", self.max_ejected_percent),
        ];
        let numbers = [
            ("success_rate_deviations", self.success_rate_deviations),
            ("latency_deviations", self.latency_deviations),
            ("latency_ratio", self.latency_ratio),
        ];
        if self.interval.is_zero() {
            return Err(OutlierConfigError::Zero("interval"));
        }
        if self.base_ejection.is_zero() {
            return Err(OutlierConfigError::Zero("base_ejection"));
        }
        if self.max_ejection < self.base_ejection {
            return Err(OutlierConfigError::MaxEjection);
        }
        if let Some((field, _)) = percent.iter().find(|(_, value)| *value > 100) {
            return Err(OutlierConfigError::Percent(field));
        }
        let wrong = |value: f64| !(value.is_finite() && value >= 0.0);
        match numbers.iter().find(|(_, value)| wrong(*value)) {
            Some((field, _)) => Err(OutlierConfigError::Number(field)),
            None => Ok(()),
        }
    }
}

/// Which field of an [`OutlierConfig`] is out of range; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum OutlierConfigError {
    /// `max_ejection` is shorter than `base_ejection`.
    #[error("`max_ejection` must be at least `base_ejection`")]
    MaxEjection,
    /// This field is a number of deviations or a ratio.
    #[error("`{0}` must be a number of at least 0")]
    Number(&'static str),
    /// This field is a percentage.
    #[error("`{0}` must be a percentage of 0 to 100")]
    Percent(&'static str),
    /// This span is zero.
    #[error("`{0}` must be more than zero")]
    Zero(&'static str),
}
