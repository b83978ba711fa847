//! What the workers of one balancer have in common: settings that may change, counters, limits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use lbcore::Instant;
use lbcore::limit::{LimitConfig, Limits};
use lbcore::schedule::Scheduler;

use super::config::UdpSettings;
use super::counters::UdpCounters;
use crate::stream::log::RefusalLog;

/// Shared by the workers and handles of one balancer.
pub(super) struct Shared<S: Scheduler> {
    active: ArcSwap<Active<S>>,
    /// Counts the settings, so that workers can compare a number.
    generation: AtomicU64,
    pub(super) counters: UdpCounters,
    pub(super) log: RefusalLog,
    /// The number of the next worker.
    next: AtomicUsize,
}

/// Settings in force, with what has passed under them.
pub(super) struct Active<S: Scheduler> {
    pub(super) settings: UdpSettings<S>,
    pub(super) limits: Arc<Limits>,
    bounds: LimitConfig,
}

impl<S: Scheduler> Shared<S> {
    pub(super) fn new(
        now: Instant,
        settings: UdpSettings<S>,
        counters: UdpCounters,
        name: String,
    ) -> Self {
        let bounds = settings.bounds();
        let limits = Arc::new(Limits::new(now, bounds));
        Self {
            active: ArcSwap::from_pointee(Active {
                settings,
                limits,
                bounds,
            }),
            generation: AtomicU64::new(0),
            counters,
            log: RefusalLog::new(name),
            next: AtomicUsize::new(0),
        }
    }

    /// A number for one more worker.
    pub(super) fn next_worker(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The settings in force.
    pub(super) fn active(&self) -> Arc<Active<S>> {
        self.active.load_full()
    }

    /// The number of the settings in force; read it before [`active`](Self::active).
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts settings in force. Limits that stay the same keep what they have counted.
    pub(super) fn update(&self, now: Instant, settings: UdpSettings<S>) {
        let bounds = settings.bounds();
        let old = self.active.load();
        let limits = match old.bounds == bounds {
            true => Arc::clone(&old.limits),
            false => Arc::new(Limits::new(now, bounds)),
        };
        self.active.store(Arc::new(Active {
            settings,
            limits,
            bounds,
        }));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl<S: Scheduler> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.active().settings)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
