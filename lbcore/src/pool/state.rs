//! What a pool knows, behind its lock: written off the path of traffic.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::config::PoolConfig;
use super::counts::Counts;
use super::event::{EventKind, EventLog, Named};
use super::members::{Delta, Member, Members};
use super::outliers::Outliers;
use super::shard::Shard;
use super::shared::Shared;
use crate::health::HealthCheck;
use crate::rng::Xoshiro;
use crate::{Backend, BackendId, Instant};

/// Makes the check of a backend.
pub(super) type MakeCheck = Box<dyn Fn(&Backend) -> Box<dyn HealthCheck> + Send + Sync>;

/// Pools up to this size are drawn at every change; larger ones wait a microsecond a backend, so
/// that ten thousand first answers do not draw ten thousand pictures.
const DRAWN_AT_ONCE: usize = 256;

pub(super) struct State {
    pub(super) config: PoolConfig,
    pub(super) own_checks: Option<MakeCheck>,
    pub(super) members: Members,
    /// When each check wants to be asked.
    pub(super) due: BTreeSet<(Instant, BackendId)>,
    pub(super) rng: Xoshiro,
    pub(super) events: EventLog,
    pub(super) generation: u64,
    /// The priorities that disregard health.
    pub(super) panics: BTreeSet<u8>,
    /// Whether the picture is out of date.
    pub(super) stale: bool,
    pub(super) drawn_at: Instant,
    /// When a share that grows is to be drawn again.
    pub(super) next_step: Option<Instant>,
    pub(super) outliers: Option<Outliers>,
    pub(super) shared: Arc<Shared>,
    pub(super) shards: Vec<Arc<Shard>>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        let config = PoolConfig::default();
        let shared = Shared::default();
        shared.penalise(config.failure_penalty);
        Self {
            config,
            own_checks: None,
            members: Members::default(),
            due: BTreeSet::new(),
            rng: Xoshiro::new(seed),
            events: EventLog::default(),
            generation: 0,
            panics: BTreeSet::new(),
            stale: true,
            drawn_at: Instant::ZERO,
            next_step: None,
            outliers: None,
            shared: Arc::new(shared),
            shards: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, now: Instant, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Remove(id) => self.remove(now, id),
                Delta::Replace(mut backends) => {
                    sort_for_slots(&mut backends);
                    let kept: BTreeSet<BackendId> = backends.iter().map(|new| new.id).collect();
                    let all: Vec<BackendId> = self.members.by_id.keys().copied().collect();
                    for id in all.into_iter().filter(|id| !kept.contains(id)) {
                        self.remove(now, id);
                    }
                    for backend in backends {
                        self.upsert(now, backend);
                    }
                }
                Delta::Upsert(backend) => self.upsert(now, backend),
            }
        }
        self.stale = true;
    }

    fn remove(&mut self, now: Instant, id: BackendId) {
        if let Some(member) = self.members.remove(id) {
            if let Some(due) = member.due {
                self.due.remove(&(due, id));
            }
            let backend = Named::of(&member.backend);
            self.events.push(now, EventKind::Removed { backend });
        }
    }

    fn upsert(&mut self, now: Instant, backend: Backend) {
        let (id, named) = (backend.id, Named::of(&backend));
        let most = backend.max_connections.unwrap_or(0);
        if let Some(member) = self.members.by_id.get_mut(&id) {
            if *member.backend == backend {
                return;
            }
            member.backend = Arc::new(backend);
            self.events.push(now, EventKind::Changed { backend: named });
        } else {
            let (ticket, baseline) = self.members.claim_slot(id);
            let baseline = baseline.unwrap_or_else(|| {
                self.shared.forgive(ticket.slot());
                self.counts(ticket.slot())
            });
            let member = Member {
                backend: Arc::new(backend),
                ticket,
                baseline,
                check: None,
                warming_since: Some(now),
                ejected_until: None,
                due: None,
            };
            self.members.by_id.insert(id, member);
            self.events.push(now, EventKind::Added { backend: named });
        }
        self.shared.grow(self.members.slots());
        if let Some(member) = self.members.by_id.get_mut(&id) {
            let plain = crate::Ticket::new(member.ticket.slot(), member.ticket.generation());
            member.ticket = if most > 0 { plain.capped() } else { plain };
            self.shared.limit(plain.slot(), most);
        }
        self.install_check(id);
    }

    /// What all workers together have counted for a slot.
    pub(super) fn counts(&self, slot: u32) -> Counts {
        fold(&self.shards, slot)
    }

    /// A shard that nobody else writes.
    pub(super) fn claim_shard(&mut self, observed: bool) -> Arc<Shard> {
        let slots = self.members.slots();
        // A shard that only this list holds belongs to a worker that is gone, with all its leases.
        if let Some(idle) = self.shards.iter().find(|shard| Shard::is_idle(shard)) {
            idle.move_out();
            idle.grow(slots);
            return Arc::clone(idle);
        }
        let shard = Arc::new(Shard::new(Arc::clone(&self.shared), observed, slots));
        self.shards.push(Arc::clone(&shard));
        shard
    }

    /// What a timeout brings: late probes, shares that have grown, ejections that end.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.update_outliers(now);
        if self.next_step.is_some_and(|at| at <= now) {
            self.stale = true;
        }
        let shards = &self.shards;
        let in_flight = |slot| fold(shards, slot).in_flight();
        self.stale |= self.members.free_slots(in_flight);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let draw = self.stale.then(|| self.drawn_at + self.patience());
        let probe = self.due.first().map(|&(due, _)| due);
        [draw, probe, self.next_step, self.next_outlier()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a picture is wanted now.
    pub(super) fn wants_drawing(&self, now: Instant) -> bool {
        self.stale && now >= self.drawn_at + self.patience()
    }

    fn patience(&self) -> Duration {
        match self.members.by_id.len() {
            0..=DRAWN_AT_ONCE => Duration::ZERO,
            many => Duration::from_micros(many as u64),
        }
    }
}

/// Brings new backends in the order of the tiers, so that their counters lie in memory in the order
/// in which round robin visits them.
pub(super) fn sort_for_slots(backends: &mut [Backend]) {
    backends.sort_by_key(|backend| backend.id);
}

fn fold(shards: &[Arc<Shard>], slot: u32) -> Counts {
    let mut sum = Counts::default();
    for shard in shards {
        sum.add(&shard.counts(slot));
    }
    sum
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("generation", &self.generation)
            .field("members", &self.members.by_id.len())
            .finish_non_exhaustive()
    }
}
