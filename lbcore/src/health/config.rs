//! How a pool's backends are probed, and what mistakes in that are told.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// What a probe does. Data for a runner with sockets: this crate sends nothing.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ProbeKind {
    /// What the runner was told to do, over and above what this crate has words for: `lb_l7::probe`
    /// sends HTTP. A runner that was told nothing of the kind fails the probe.
    Custom,
    /// Passes when a TCP connection is made, and closes it.
    #[default]
    TcpConnect,
    /// Connects, sends `send`, and passes when the answer begins with `expect`.
    TcpExchange {
        /// Sent first; empty for a server that speaks first.
        send: Arc<[u8]>,
        /// How the answer must begin; empty for any answer.
        expect: Arc<[u8]>,
    },
    /// Sends one datagram, and passes when one comes back that begins with `expect`.
    ///
    /// Silence is [`ProbeFailure::Timeout`](super::ProbeFailure::Timeout), ICMP port unreachable
    /// is [`ProbeFailure::Refused`](super::ProbeFailure::Refused).
    UdpExchange {
        /// The datagram.
        send: Arc<[u8]>,
        /// How the answer must begin; empty for any answer.
        expect: Arc<[u8]>,
    },
}

/// How and how often backends are probed, and how many answers in a row change their health.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::health::{HealthConfig, ProbeKind};
///
/// let redis = HealthConfig::new(ProbeKind::TcpExchange {
///     send: (*b"PING\r\n").into(),
///     expect: (*b"+PONG").into(),
/// })
/// .interval(Duration::from_secs(5))
/// .fall(2);
/// assert!(redis.check().is_ok());
/// assert!(redis.rise(0).check().is_err());
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HealthConfig {
    /// What a probe does. Default: a TCP connect.
    pub kind: ProbeKind,

    /// From the start of one probe to the start of the next, on average.
    ///
    /// More than zero. Default 2 s, as HAProxy's `inter`. A probe that lasts longer delays the
    /// next one: there is never more than one under way.
    pub interval: Duration,

    /// The interval while a change is being confirmed: after a failure of a backend that is up, or
    /// a success of one that is down, until it has changed or is contradicted.
    ///
    /// More than zero and at most `interval`. Default `None`: a quarter of `interval`.
    pub fast_interval: Option<Duration>,

    /// How long a probe may take. More than zero. Default 1 s.
    pub timeout: Duration,

    /// How far an interval is stretched or shortened at random, in percent, so that many nodes do
    /// not probe in step. 0..=50, default 10: each interval lies within 90 % and 110 %.
    pub jitter: u8,

    /// The first probe is sent within this time of the first
    /// [`poll_probe`](super::HealthCheck::poll_probe), at a random moment of it. Default zero: at
    /// once. Spreads the start of a large pool.
    pub initial_spread: Duration,

    /// Successes in a row that bring a backend up. At least 1, default 2.
    pub rise: u32,

    /// Failures in a row that take a backend down. At least 1, default 3.
    pub fall: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            kind: ProbeKind::default(),
            interval: Duration::from_secs(2),
            fast_interval: None,
            timeout: Duration::from_secs(1),
            jitter: 10,
            initial_spread: Duration::ZERO,
            rise: 2,
            fall: 3,
        }
    }
}

impl HealthConfig {
    /// Probes of this kind at the default times.
    #[must_use]
    pub fn new(kind: ProbeKind) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// TCP connects, one an `interval`.
    #[must_use]
    pub fn tcp_connect(interval: Duration) -> Self {
        Self::default().interval(interval)
    }

    /// Sets [`interval`](Self::interval).
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`fast_interval`](Self::fast_interval).
    #[must_use]
    pub fn fast_interval(mut self, interval: Duration) -> Self {
        self.fast_interval = Some(interval);
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`jitter`](Self::jitter), in percent.
    #[must_use]
    pub fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent;
        self
    }

    /// Sets [`initial_spread`](Self::initial_spread).
    #[must_use]
    pub fn initial_spread(mut self, spread: Duration) -> Self {
        self.initial_spread = spread;
        self
    }

    /// Sets [`rise`](Self::rise).
    #[must_use]
    pub fn rise(mut self, rise: u32) -> Self {
        self.rise = rise;
        self
    }

    /// Sets [`fall`](Self::fall).
    #[must_use]
    pub fn fall(mut self, fall: u32) -> Self {
        self.fall = fall;
        self
    }

    /// The interval that is in force while a change is being confirmed.
    #[must_use]
    pub fn effective_fast_interval(&self) -> Duration {
        self.fast_interval
            .unwrap_or_else(|| (self.interval / 4).max(Duration::from_nanos(1)))
    }

    /// Whether every field is in its range; [`Monitor::new`](super::Monitor::new) asks the same.
    ///
    /// # Errors
    ///
    /// Names the first field that is not, and what was expected of it.
    pub fn check(&self) -> Result<(), HealthConfigError> {
        let fast = self.effective_fast_interval();
        if self.interval.is_zero() {
            Err(HealthConfigError::Interval)
        } else if fast.is_zero() || fast > self.interval {
            Err(HealthConfigError::FastInterval)
        } else if self.timeout.is_zero() {
            Err(HealthConfigError::Timeout)
        } else if self.jitter > 50 {
            Err(HealthConfigError::Jitter(self.jitter))
        } else if self.rise == 0 {
            Err(HealthConfigError::Rise)
        } else if self.fall == 0 {
            Err(HealthConfigError::Fall)
        } else {
            Ok(())
        }
    }
}

/// Which field of a [`HealthConfig`] is out of range; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum HealthConfigError {
    /// `fall` is 0: a backend would be down before it was asked.
    #[error("`fall` is 0: expected at least 1")]
    Fall,
    /// `fast_interval` is zero, or longer than `interval`.
    #[error("`fast_interval` must be more than zero and at most `interval`")]
    FastInterval,
    /// `interval` is zero: probes would never stop.
    #[error("`interval` must be more than zero")]
    Interval,
    /// `jitter` is above 50: intervals could shrink to nothing.
    #[error("`jitter` is {0}: expected a percentage of 0 to 50")]
    Jitter(u8),
    /// `rise` is 0: a backend would be up before it was asked.
    #[error("`rise` is 0: expected at least 1")]
    Rise,
    /// `timeout` is zero: no answer could be in time.
    #[error("`timeout` must be more than zero")]
    Timeout,
}
