//! Ejecting backends by the errors that traffic meets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::PoolConfig;
use super::counts::Counts;
use super::event::{EventKind, Named};
use super::state::State;
use crate::health::{BackendWindow, Ejection, Outlier};
use crate::{BackendId, Instant};

/// The judge, and what it was told last.
#[derive(Debug)]
pub(super) struct Outliers {
    judge: Outlier,
    told: BTreeMap<BackendId, Counts>,
    next: Instant,
}

/// Failures in a row are looked for this often, in a small pool ...
const SOONEST: Duration = Duration::from_millis(100);
/// ... and this much later for each backend of a large one.
const FOR_EACH: Duration = Duration::from_micros(50);

impl State {
    /// Judges by `config` from now on; a new rule begins with nobody ejected.
    pub(super) fn configure_outliers(&mut self, now: Instant, config: &PoolConfig) {
        if self.config.outlier == config.outlier && self.outliers.is_some() {
            return;
        }
        let judge = config
            .outlier
            .clone()
            .and_then(|outlier| Outlier::new(outlier).ok());
        self.outliers = judge.map(|judge| Outliers {
            judge,
            told: BTreeMap::new(),
            next: now,
        });
        let ejected = |member: &super::members::Member| member.ejected_until.is_some();
        let all = self
            .members
            .by_id
            .iter()
            .filter(|(_, member)| ejected(member));
        let back: Vec<BackendId> = all.map(|(&id, _)| id).collect();
        for id in back {
            self.settle_ejection(now, Ejection::Returned { id, at: now });
        }
    }

    /// Tells the judge what traffic met since the last time, if it is time.
    pub(super) fn update_outliers(&mut self, now: Instant) {
        let Some(mut outliers) = self.outliers.take_if(|outliers| outliers.next <= now) else {
            return;
        };
        let mut told = BTreeMap::new();
        let mut windows = Vec::with_capacity(self.members.by_id.len());
        for (&id, member) in &self.members.by_id {
            let slot = member.ticket.slot();
            let counts = self.counts(slot);
            let before = outliers.told.get(&id).copied().unwrap_or(counts);
            let window = counts.since(&before);
            let ok = window.succeeded();
            windows.push(BackendWindow {
                id,
                ok,
                failed: window.failed(),
                consecutive_failures: self.shared.failures(slot),
                latency: Duration::from_nanos(window.charged.checked_div(ok).unwrap_or(0)),
            });
            told.insert(id, counts);
        }
        let ejections = outliers.judge.handle_window(now, &windows);
        let patience = FOR_EACH * u32::try_from(windows.len()).unwrap_or(u32::MAX);
        outliers.next = now + patience.max(SOONEST);
        outliers.told = told;
        self.outliers = Some(outliers);
        for ejection in ejections {
            self.settle_ejection(now, ejection);
        }
    }

    /// When the judge is to be told again.
    pub(super) fn next_outlier(&self) -> Option<Instant> {
        self.outliers.as_ref().map(|outliers| outliers.next)
    }

    fn settle_ejection(&mut self, now: Instant, ejection: Ejection) {
        let (id, until) = match ejection {
            Ejection::Ejected { id, until, .. } => (id, Some(until)),
            Ejection::Returned { id, .. } => (id, None),
        };
        let Some(member) = self.members.by_id.get_mut(&id) else {
            return;
        };
        member.ejected_until = until;
        let backend = Named::of(&member.backend);
        let kind = match ejection {
            Ejection::Ejected { until, because, .. } => EventKind::Ejected {
                backend,
                until,
                reason: because,
            },
            Ejection::Returned { .. } => {
                member.warming_since = Some(now);
                EventKind::Returned { backend }
            }
        };
        self.events.push(now, kind);
        self.stale = true;
    }
}
