//! A backend's counters, folded over all workers.

use std::sync::Arc;
use std::time::Duration;

use super::counts::Counts;
use crate::health::Health;
use crate::{Backend, Instant};

/// What a pool has counted for one backend since it joined.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BackendStats {
    /// The backend as configured.
    pub backend: Arc<Backend>,
    /// What probes say.
    pub health: Health,
    /// Until when it is ejected, if it is.
    pub ejected_until: Option<Instant>,
    /// Its share of new sessions now, as [`Candidate::share`](crate::schedule::Candidate::share).
    pub share: u32,
    counts: Counts,
}

impl BackendStats {
    pub(super) fn new(status: &super::BackendStatus, counts: Counts) -> Self {
        Self {
            backend: Arc::clone(&status.backend),
            health: status.health,
            ejected_until: status.ejected_until,
            share: status.share,
            counts,
        }
    }

    /// Sessions ever begun.
    #[must_use]
    pub const fn acquired(&self) -> u64 {
        self.counts.acquired
    }

    /// Sessions ended with each kind of outcome, by the place of its name in [`Outcome::NAMES`](crate::Outcome::NAMES).
    #[must_use]
    pub const fn outcomes(&self) -> &[u64] {
        &self.counts.outcomes
    }

    /// Sessions ended.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.counts.finished()
    }

    /// Sessions under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.counts.in_flight()
    }

    /// The mean latency of the sessions that succeeded and were measured, since the backend joined.
    #[must_use]
    pub fn mean_latency(&self) -> Option<Duration> {
        let ok = self.counts.succeeded();
        self.counts
            .charged
            .checked_div(ok)
            .filter(|&mean| mean > 0)
            .map(Duration::from_nanos)
    }
}
