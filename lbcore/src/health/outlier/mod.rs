//! Ejecting backends by the errors that traffic meets, beside what probes say.

mod config;

use std::collections::BTreeMap;
use std::time::Duration;

pub use config::{OutlierConfig, OutlierConfigError};

use crate::time::nanos;
use crate::{BackendId, Instant};

/// What one backend's traffic met since the caller last told.
///
/// Counted over all workers by whoever folds their counters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the caller fills all of it, and must notice when more is asked"
)]
pub struct BackendWindow {
    /// Whose.
    pub id: BackendId,
    /// Requests or sessions that succeeded, since the last call.
    pub ok: u64,
    /// Those that failed by the backend's fault, since the last call.
    pub failed: u64,
    /// Failures since the last success, as of now, however long ago they began.
    pub consecutive_failures: u32,
    /// The mean latency of `ok`; ignored when that is 0.
    pub latency: Duration,
}

/// Why a backend was ejected.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum EjectionReason {
    /// So many failures in a row.
    ConsecutiveFailures(u32),
    /// This percentage of its requests failed.
    FailurePercentage(u8),
    /// Its mean latency, far above its peers'.
    Latency(Duration),
    /// This percentage of its requests succeeded, far below its peers'.
    SuccessRate(u8),
}

/// A backend left the pool's traffic, or came back to it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ejection {
    /// Takes no new session until `until`.
    Ejected {
        /// Which backend.
        id: BackendId,
        /// When.
        at: Instant,
        /// When it comes back.
        until: Instant,
        /// Ejections in a row, this one included; it multiplies the time.
        count: u32,
        /// What traffic met.
        because: EjectionReason,
    },
    /// Its time is over.
    Returned {
        /// Which backend.
        id: BackendId,
        /// When.
        at: Instant,
    },
}

/// Watches a pool's backends and ejects those that answer worse than they may, or than their peers.
///
/// An ejection ends by time alone: a probe that passes says that the backend is alive, not that it
/// serves. A backend that leaves the pool is forgotten; memory is bounded by the size of the pool.
///
/// Source: Envoy, "Outlier detection".
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::health::{BackendWindow, Outlier, OutlierConfig};
/// use lbcore::{BackendId, Instant};
///
/// let [a, b] = [1, 2].map(BackendId::new);
/// let window = |id, consecutive_failures| BackendWindow {
///     id,
///     ok: 0,
///     failed: u64::from(consecutive_failures),
///     consecutive_failures,
///     latency: Duration::ZERO,
/// };
/// let mut outlier = Outlier::new(OutlierConfig::default())?;
/// outlier.handle_window(Instant::ZERO, &[window(a, 4), window(b, 5)]);
/// assert!(!outlier.ejected(a));
/// assert!(outlier.ejected(b));
/// # Ok::<(), lbcore::health::OutlierConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Outlier {
    config: OutlierConfig,
    backends: BTreeMap<BackendId, Watched>,
    /// When the rates gathered so far began to be gathered.
    gathering_since: Option<Instant>,
    told: Instant,
    /// How many of `backends` are ejected.
    out: usize,
}

impl Outlier {
    /// Watches no backend yet.
    ///
    /// # Errors
    ///
    /// Names the first field of `config` that is out of range.
    pub fn new(config: OutlierConfig) -> Result<Self, OutlierConfigError> {
        config.check()?;
        Ok(Self {
            config,
            backends: BTreeMap::new(),
            gathering_since: None,
            told: Instant::ZERO,
            out: 0,
        })
    }

    /// What all backends of the pool met since the last call; gives what changes.
    ///
    /// May be called as often as the caller likes; [`poll_timeout`](Self::poll_timeout) asks for it
    /// ten times an interval. Failures in a row are judged in every call, rates when an interval is
    /// full. A backend that is not among `windows` has left the pool. Of several named alike the
    /// counts are added. Cost: O(n log n) for n backends; not for the path of requests.
    pub fn handle_window(&mut self, now: Instant, windows: &[BackendWindow]) -> Vec<Ejection> {
        let mut events = self.handle_timeout(now);
        self.told = now;
        let since = *self.gathering_since.get_or_insert(now);
        self.gather(windows);
        for window in windows {
            events.extend(self.handle_streak(now, window.id, window.consecutive_failures));
        }
        if now.since(since) >= self.config.interval {
            self.judge(now, &mut events);
            self.gathering_since = Some(now);
            for watched in self.backends.values_mut() {
                watched.gathered = Gathered::default();
            }
        }
        events
    }

    /// A backend has failed so many times in a row: to eject it at once, between two windows.
    ///
    /// Does nothing for a backend that no window has named. Cost: O(log n).
    pub fn handle_streak(&mut self, now: Instant, id: BackendId, streak: u32) -> Option<Ejection> {
        let enough = self.config.consecutive_failures;
        let watched = self.backends.get_mut(&id)?;
        if watched.until.is_some() {
            // Sessions that were under way when it was ejected still fail; they were paid for.
            watched.forgiven = streak;
            return None;
        }
        watched.forgiven = watched.forgiven.min(streak);
        let unpaid = streak - watched.forgiven;
        if enough == 0 || unpaid < enough {
            return None;
        }
        let event = self.eject(now, id, EjectionReason::ConsecutiveFailures(unpaid))?;
        if let Some(watched) = self.backends.get_mut(&id) {
            watched.forgiven = streak;
        }
        Some(event)
    }

    /// Brings back every backend whose ejection is over at `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Ejection> {
        let mut events = Vec::new();
        for (id, watched) in &mut self.backends {
            if watched.until.is_some_and(|until| until <= now) {
                watched.until = None;
                watched.returned = now;
                watched.gathered = Gathered::default();
                self.out -= 1;
                events.push(Ejection::Returned { id: *id, at: now });
            }
        }
        events
    }

    /// When [`handle_window`](Self::handle_window) wants to be called next.
    ///
    /// Never `None` today: windows are wanted for as long as there is a pool.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.gathering_since.is_none() {
            return Some(Instant::ZERO);
        }
        let sweep = self.told + self.config.interval / SWEEPS;
        let back = self.backends.values().filter_map(|watched| watched.until);
        Some(back.fold(sweep, Instant::min))
    }

    /// Whether this backend takes no new session at present.
    #[must_use]
    pub fn ejected(&self, id: BackendId) -> bool {
        self.backends
            .get(&id)
            .is_some_and(|watched| watched.until.is_some())
    }

    /// How many backends are ejected at present.
    #[must_use]
    pub const fn ejected_count(&self) -> usize {
        self.out
    }

    /// Adds up what `windows` say, for exactly the backends that they name.
    fn gather(&mut self, windows: &[BackendWindow]) {
        let mut before = std::mem::take(&mut self.backends);
        for window in windows {
            let watched = self
                .backends
                .entry(window.id)
                .or_insert_with(|| before.remove(&window.id).unwrap_or_default());
            if window.ok > 0 {
                // The row was broken since, so none of it was there at the ejection.
                watched.forgiven = 0;
            }
            if watched.until.is_none() {
                watched.gathered.add(window);
            }
        }
        let ejected = |watched: &&Watched| watched.until.is_some();
        self.out = self.backends.values().filter(ejected).count();
    }

    /// Compares the rates of a full interval.
    fn judge(&mut self, now: Instant, events: &mut Vec<Ejection>) {
        let judged: Vec<(BackendId, Gathered)> = self
            .backends
            .iter()
            .filter(|(_, watched)| watched.until.is_none())
            .map(|(id, watched)| (*id, watched.gathered))
            .filter(|(_, gathered)| gathered.requests() >= self.config.min_requests.max(1))
            .collect();
        if judged.len() < self.config.min_hosts.max(1) {
            return;
        }
        let mut found = self.failing(&judged);
        found.extend(self.below_peers(&judged));
        found.extend(self.slower_than_peers(&judged));
        for (id, because) in found {
            events.extend(self.eject(now, id, because));
        }
    }

    fn failing(&self, judged: &[(BackendId, Gathered)]) -> Vec<(BackendId, EjectionReason)> {
        let least = self.config.failure_percentage;
        if least == 0 {
            return Vec::new();
        }
        worst_first(judged, |gathered| 100.0 - gathered.success_rate())
            .filter(|(_, rate)| *rate >= f64::from(least))
            .map(|(id, rate)| (id, EjectionReason::FailurePercentage(percent(rate))))
            .collect()
    }

    fn below_peers(&self, judged: &[(BackendId, Gathered)]) -> Vec<(BackendId, EjectionReason)> {
        let factor = self.config.success_rate_deviations;
        if factor == 0.0 {
            return Vec::new();
        }
        let rates = judged.iter().map(|(_, gathered)| gathered.success_rate());
        let peers = Peers::of(rates);
        let margin = f64::from(self.config.success_rate_margin);
        let least = peers.mean - (factor * peers.deviation).max(margin);
        worst_first(judged, |gathered| -gathered.success_rate())
            .filter(|(_, rate)| -rate < least)
            .map(|(id, rate)| (id, EjectionReason::SuccessRate(percent(-rate))))
            .collect()
    }

    fn slower_than_peers(
        &self,
        judged: &[(BackendId, Gathered)],
    ) -> Vec<(BackendId, EjectionReason)> {
        let factor = self.config.latency_deviations;
        let answered: Vec<(BackendId, Gathered)> = judged
            .iter()
            .copied()
            .filter(|(_, gathered)| gathered.ok > 0)
            .collect();
        if factor == 0.0 || answered.len() < self.config.min_hosts.max(1) {
            return Vec::new();
        }
        let peers = Peers::of(answered.iter().map(|(_, gathered)| gathered.latency()));
        let most =
            (peers.mean + factor * peers.deviation).max(peers.mean * self.config.latency_ratio);
        worst_first(&answered, Gathered::latency)
            .filter(|(_, latency)| *latency > most)
            .map(|(id, latency)| {
                let latency = Duration::try_from_secs_f64(latency).unwrap_or(Duration::MAX);
                (id, EjectionReason::Latency(latency))
            })
            .collect()
    }

    /// Ejects unless too many are, or this one already is.
    fn eject(&mut self, now: Instant, id: BackendId, because: EjectionReason) -> Option<Ejection> {
        if self.out >= self.most_ejected() {
            return None;
        }
        let base = self.config.base_ejection;
        let longest = self.config.max_ejection;
        let watched = self.backends.get_mut(&id)?;
        if watched.until.is_some() {
            return None;
        }
        let good_spans = nanos(now.since(watched.returned)) / nanos(base).max(1);
        let good_spans = u32::try_from(good_spans).unwrap_or(u32::MAX);
        watched.count = watched.count.saturating_sub(good_spans).saturating_add(1);
        let until = now + base.saturating_mul(watched.count).min(longest);
        watched.until = Some(until);
        watched.gathered = Gathered::default();
        self.out += 1;
        Some(Ejection::Ejected {
            id,
            at: now,
            until,
            count: watched.count,
            because,
        })
    }

    fn most_ejected(&self) -> usize {
        let backends = self.backends.len();
        match self.config.max_ejected_percent {
            0 => 0,
            _ if backends < 2 => 0,
            share => (backends * usize::from(share) / 100).max(1),
        }
    }
}

/// One backend under watch.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    gathered: Gathered,
    /// Set while it is ejected.
    until: Option<Instant>,
    /// When it came back last.
    returned: Instant,
    /// Ejections in a row, before time un-ejected is taken off.
    count: u32,
    /// How many failures of the row under way have been paid for by an ejection.
    forgiven: u32,
}

/// What one backend met in the interval under way.
#[derive(Clone, Copy, Debug, Default)]
struct Gathered {
    ok: u64,
    failed: u64,
    latency_nanos: u128,
}

impl Gathered {
    fn add(&mut self, window: &BackendWindow) {
        let latency = u128::from(nanos(window.latency)) * u128::from(window.ok);
        self.ok = self.ok.saturating_add(window.ok);
        self.failed = self.failed.saturating_add(window.failed);
        self.latency_nanos = self.latency_nanos.saturating_add(latency);
    }

    fn requests(&self) -> u64 {
        self.ok.saturating_add(self.failed)
    }

    /// In percent.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
    fn success_rate(&self) -> f64 {
        self.ok as f64 * 100.0 / self.requests() as f64
    }

    /// In seconds.
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no 53 bits")]
    fn latency(&self) -> f64 {
        self.latency_nanos as f64 / self.ok as f64 / 1e9
    }
}

/// How a number is spread over the pool: of all backends, not of a sample.
struct Peers {
    mean: f64,
    deviation: f64,
}

impl Peers {
    #[expect(clippy::cast_precision_loss, reason = "pools are smaller than 2^53")]
    fn of(values: impl ExactSizeIterator<Item = f64> + Clone) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.clone().sum::<f64>() / count;
        let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Self {
            mean,
            deviation: variance.sqrt(),
        }
    }
}

/// Each backend with how bad it is, the worst first: it goes when not all of them may.
fn worst_first(
    judged: &[(BackendId, Gathered)],
    badness: impl Fn(&Gathered) -> f64,
) -> impl Iterator<Item = (BackendId, f64)> {
    let mut all: Vec<(BackendId, f64)> = judged
        .iter()
        .map(|(id, gathered)| (*id, badness(gathered)))
        .collect();
    all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    all.into_iter()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentage fits, and is told without its fraction"
)]
fn percent(rate: f64) -> u8 {
    rate as u8
}

/// Windows asked for in an interval, so that failures in a row are seen within a tenth of it.
const SWEEPS: u32 = 10;
