//! How a pool treats its backends.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::tiers::Rule;
use crate::health::{
    HealthConfig, HealthConfigError, OutlierConfig, OutlierConfigError, SlowStart, SlowStartError,
};

/// How a pool treats its backends; everything has a default.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// How backends are probed. Default none: a backend is up until traffic says otherwise.
    pub health: Option<HealthConfig>,

    /// How backends are ejected for the errors of their traffic. Default none: they are not.
    pub outlier: Option<OutlierConfig>,

    /// How the share of a backend that has come up grows. Default none: it is whole at once.
    pub slow_start: Option<SlowStart>,

    /// How much of its share a healthy backend can take at most before a lower priority or another
    /// zone is used, in percent. 100..=1000, default 140, as in Envoy.
    pub overprovisioning: u32,

    /// The share of backends up, in percent, below which health is disregarded, since the probes
    /// are then more likely wrong than the backends. 0..=100, default 50, as in Envoy; 0 is never.
    pub panic_threshold: u32,

    /// The zone that this balancer is in: backends of the same zone are preferred while enough of
    /// them are up. Default none: zones do not matter.
    pub zone: Option<Arc<str>>,

    /// The latency that a failure is charged at least, so that failing fast is never the best
    /// answer. Default 5 s, as in linkerd2-proxy.
    pub failure_penalty: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            health: None,
            outlier: None,
            slow_start: None,
            overprovisioning: 140,
            panic_threshold: 50,
            zone: None,
            failure_penalty: Duration::from_secs(5),
        }
    }
}

impl PoolConfig {
    /// Sets how backends are probed.
    #[must_use]
    pub fn health(mut self, health: HealthConfig) -> Self {
        self.health = Some(health);
        self
    }

    /// Sets how backends are ejected for the errors of their traffic.
    #[must_use]
    pub fn outlier(mut self, outlier: OutlierConfig) -> Self {
        self.outlier = Some(outlier);
        self
    }

    /// Sets how the share of a backend that has come up grows.
    #[must_use]
    pub fn slow_start(mut self, slow_start: SlowStart) -> Self {
        self.slow_start = Some(slow_start);
        self
    }

    /// Sets [`overprovisioning`](Self::overprovisioning), in percent.
    #[must_use]
    pub fn overprovisioning(mut self, percent: u32) -> Self {
        self.overprovisioning = percent;
        self
    }

    /// Sets [`panic_threshold`](Self::panic_threshold), in percent.
    #[must_use]
    pub fn panic_threshold(mut self, percent: u32) -> Self {
        self.panic_threshold = percent;
        self
    }

    /// Sets the zone that this balancer is in.
    #[must_use]
    pub fn zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Sets [`failure_penalty`](Self::failure_penalty).
    #[must_use]
    pub fn failure_penalty(mut self, penalty: Duration) -> Self {
        self.failure_penalty = penalty;
        self
    }

    /// Whether every field is in its range; [`Pool::configure`](super::Pool::configure) asks the same.
    ///
    /// # Errors
    ///
    /// Names the first field that is not, and what was expected of it.
    pub fn check(&self) -> Result<(), PoolConfigError> {
        if let Some(health) = &self.health {
            health.check()?;
        }
        if let Some(outlier) = &self.outlier {
            outlier.check()?;
        }
        if let Some(slow_start) = &self.slow_start {
            slow_start.check()?;
        }
        if !(100..=1000).contains(&self.overprovisioning) {
            return Err(PoolConfigError::Overprovisioning(self.overprovisioning));
        }
        if self.panic_threshold > 100 {
            return Err(PoolConfigError::PanicThreshold(self.panic_threshold));
        }
        Ok(())
    }

    pub(super) const fn rule(&self) -> Rule {
        Rule {
            overprovisioning: self.overprovisioning,
            panic_threshold: self.panic_threshold,
        }
    }
}

/// Which field of a [`PoolConfig`] is out of range; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PoolConfigError {
    /// The health check.
    #[error("health: {0}")]
    Health(#[from] HealthConfigError),
    /// The outlier ejection.
    #[error("outlier: {0}")]
    Outlier(#[from] OutlierConfigError),
    /// Below 100 a healthy pool would overflow.
    #[error("`overprovisioning` is {0}: expected a percentage of 100 to 1000")]
    Overprovisioning(u32),
    /// The slow start.
    #[error("slow_start: {0}")]
    SlowStart(#[from] SlowStartError),
    /// Not a percentage.
    #[error("`panic_threshold` is {0}: expected a percentage of 0 to 100")]
    PanicThreshold(u32),
}
