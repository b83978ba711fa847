//! One node of a cluster: a pool, a balancer and a table of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use super::replicate::{Record, Replicate, Told};
use crate::flow::FlowKey;
use crate::hash::HashKey;
use crate::health::{HealthConfig, ProbeFailure, ProbeOutcome};
use crate::pool::{BackendStats, PoolConfig};
use crate::schedule::Scheduler;
use crate::session::{
    Change, ChangeStream, Expired, Limits, Session, SessionConfig, SessionTable, State, Table,
    Timeouts,
};
use crate::{Backend, BackendId, Balancer, Delta, Instant, Outcome, Pick, Pool, Ticket};

pub(super) struct Node<S: Scheduler, R> {
    pool: Pool<S>,
    balancer: Balancer<S>,
    sessions: Table,
    pub(super) replicate: R,
    /// Whether anything has happened to it since it was last looked at.
    pub(super) busy: bool,
}

/// What a node did with a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Served {
    /// The session was known, with this backend.
    Found(BackendId),
    /// It was not, and this backend was picked.
    Picked(BackendId),
    /// It was not, and no backend took it.
    Refused,
}

impl<S: Scheduler, R: Replicate> Node<S, R> {
    /// A node that has just started: it knows its backends, and nothing of their health.
    pub(super) fn new(worker: usize, seed: u64, pool: Pool<S>, replicate: R) -> Option<Self> {
        let health = HealthConfig::tcp_connect(PROBE_INTERVAL).rise(1).fall(2);
        let pool = pool.config(PoolConfig::default().health(health)).ok()?;
        let mut config = SessionConfig::default();
        (config.v4, config.v6) = (Limits::of(SESSIONS), Limits::of(0));
        config.changes = ChangeStream::All;
        config.timeouts = vec![timeouts()];
        Some(Self {
            balancer: pool.balancer(worker),
            sessions: Table::new(config, HashKey::from_seed(seed)).ok()?,
            pool,
            replicate,
            busy: true,
        })
    }

    /// A packet of a client: the session's first, or a later one.
    pub(super) fn serve(&mut self, now: Instant, key: &FlowKey, begins: bool) -> Served {
        self.busy = true;
        if let Some(id) = self.sessions.lookup(key) {
            let touch = self.sessions.touch(now, id, |state| match state {
                State::SynSent => State::Established,
                other => other,
            });
            let backend = touch.and_then(|touch| self.backend_of(touch.binding.ticket));
            return backend.map_or(Served::Refused, Served::Found);
        }
        let pick = Pick::keyed(key.keyed_hash(&PLACEMENT));
        let Ok(ticket) = self.balancer.acquire_ticket(now, &pick) else {
            return Served::Refused;
        };
        let state = if begins {
            State::SynSent
        } else {
            State::Established
        };
        let inserted = self.sessions.insert(now, key, state, ticket.into());
        match (inserted, self.backend_of(ticket)) {
            (Ok(_), Some(backend)) => Served::Picked(backend),
            _ => {
                self.balancer
                    .finish_ticket(ticket, None, Outcome::Cancelled);
                Served::Refused
            }
        }
    }

    /// The client has closed its session.
    pub(super) fn close(&mut self, now: Instant, key: &FlowKey) {
        if let Some(id) = self.sessions.lookup(key)
            && let Some(session) = self.sessions.remove(now, id)
        {
            let ticket = session.binding.ticket;
            self.balancer.finish_ticket(ticket, None, Outcome::Ok);
        }
    }

    /// Believes what it is told, unless it knows of a later packet.
    pub(super) fn believe(&mut self, now: Instant, told: &Told) {
        self.balancer.refresh(now);
        let (Told::Gone(record) | Told::Is(record)) = told;
        let id = self.sessions.lookup(&record.key);
        let known = id.and_then(|id| self.sessions.session(id));
        match (told, known) {
            (Told::Gone(_), Some(mine)) if mine.seen <= record.seen + SLACK => {
                self.close(now, &record.key);
            }
            (Told::Is(_), None) if now.since(record.seen) < timeout(record.state) => {
                if let Some(ticket) = self.balancer.adopt(now, record.backend) {
                    self.adopt(now, record, ticket);
                }
            }
            (Told::Is(_), Some(mine)) => self.reconcile(now, record, &mine),
            (Told::Gone(_) | Told::Is(_), _) => {}
        }
    }

    /// Two stories of one session: that with the later packet holds.
    ///
    /// At the same moment, or near it, the lower backend and the later state do, so that all nodes
    /// come to the same end.
    fn reconcile(&mut self, now: Instant, record: &Record, mine: &Session) {
        let later = record.seen > mine.seen + SLACK;
        let earlier = mine.seen > record.seen + SLACK;
        let held = self.backend_of(mine.binding.ticket);
        if held == Some(record.backend) {
            if later || (!earlier && record.state > mine.state) {
                let state = record.state.max(mine.state);
                self.forget(now, &record.key);
                self.adopt(now, &Record { state, ..*record }, mine.binding.ticket);
            }
        } else if (later || (!earlier && Some(record.backend) < held))
            && let Some(ticket) = self.balancer.adopt(now, record.backend)
        {
            self.close(now, &record.key);
            self.adopt(now, record, ticket);
        }
    }

    /// Takes a session out whose ticket stays in use.
    fn forget(&mut self, now: Instant, key: &FlowKey) {
        if let Some(id) = self.sessions.lookup(key) {
            self.sessions.remove(now, id);
        }
    }

    fn adopt(&mut self, now: Instant, record: &Record, ticket: Ticket) {
        let (state, idle) = (record.state, now.since(record.seen));
        let adopted = self
            .sessions
            .adopt(now, &record.key, state, ticket.into(), idle);
        if adopted.is_err() {
            self.balancer
                .finish_ticket(ticket, None, Outcome::Cancelled);
        }
    }

    /// Does all that is due; probes of a backend that is `dark` fail.
    pub(super) fn handle_timeout(&mut self, now: Instant, dark: &BTreeSet<BackendId>) {
        self.pool.handle_timeout(now);
        while let Some(probe) = self.pool.poll_probe(now) {
            let outcome = if dark.contains(&probe.backend) {
                ProbeOutcome::Fail(ProbeFailure::Refused)
            } else {
                ProbeOutcome::Pass(Duration::from_millis(1))
            };
            self.pool
                .handle_probe(now, probe.backend, probe.number, outcome);
        }
        self.balancer.refresh(now);
        self.sessions.handle_timeout(now, SESSIONS);
        while let Some(Expired { session, .. }) = self.sessions.poll_expired() {
            let ticket = session.binding.ticket;
            self.balancer.finish_ticket(ticket, None, Outcome::Ok);
        }
        if self.replicate.poll_timeout().is_some_and(|due| due <= now) {
            let records = self.records();
            self.replicate.handle_timeout(now, &records);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let all = [
            self.pool.poll_timeout(),
            self.sessions.poll_timeout(),
            self.replicate.poll_timeout(),
        ];
        all.into_iter().flatten().min()
    }

    /// Hands the table's changes to the protocol.
    pub(super) fn tell_changes(&mut self, now: Instant) {
        while let Some(change) = self.sessions.poll_change() {
            let (session, gone) = match change {
                // A story that gave way to another of the same session has not ended.
                Change::Gone(session) if self.sessions.lookup(&session.key).is_none() => {
                    (session, true)
                }
                Change::Altered(session) | Change::Created(session) => (session, false),
                Change::Gone(_) | Change::Lost(_) => continue,
            };
            let Some(record) = self.record(&session) else {
                continue;
            };
            let told = if gone {
                Told::Gone(record)
            } else {
                Told::Is(record)
            };
            self.replicate.handle_change(now, &told);
        }
    }

    pub(super) fn apply(&mut self, now: Instant, delta: Delta) {
        self.busy = true;
        // Removals and single additions are never refused.
        let _ = self.pool.apply(now, [delta]);
    }

    /// The backend that a session is held on.
    pub(super) fn holds(&self, key: &FlowKey) -> Option<BackendId> {
        let session = self.sessions.session(self.sessions.lookup(key)?)?;
        self.backend_of(session.binding.ticket)
    }

    /// Whether new sessions may be learnt on `backend`.
    pub(super) fn knows(&self, backend: BackendId) -> bool {
        self.pool.view().backend(backend).is_some()
    }

    pub(super) fn stats(&self) -> Vec<BackendStats> {
        self.pool.stats()
    }

    /// Every session, and its backend if that can be named.
    pub(super) fn walk(&self, mut visit: impl FnMut(&Session, Option<BackendId>)) {
        self.sessions.walk(Default::default(), usize::MAX, |_, it| {
            visit(it, self.backend_of(it.binding.ticket));
        });
    }

    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        self.walk(|session, _| records.extend(self.record(session)));
        records
    }

    fn record(&self, session: &Session) -> Option<Record> {
        Some(Record {
            key: session.key,
            state: session.state,
            backend: self.backend_of(session.binding.ticket)?,
            seen: session.seen,
        })
    }

    fn backend_of(&self, ticket: Ticket) -> Option<BackendId> {
        let backend: &Backend = self.balancer.resolve(ticket)?;
        Some(backend.id)
    }
}

/// How long a session may be silent: short, so that a run sees sessions time out.
pub(super) fn timeout(state: State) -> Duration {
    timeouts().of(state)
}

fn timeouts() -> Timeouts {
    Timeouts {
        syn_sent: Duration::from_secs(10),
        established: Duration::from_secs(20),
        ..Timeouts::default()
    }
}

/// Tables tell moments to 68 ms: two that differ by less than three such are the same.
pub(super) const SLACK: Duration = Duration::from_millis(204);

/// The key of placement, which all nodes share.
const PLACEMENT: HashKey = HashKey::from_seed(1);

/// More than clients ever have: no session is refused for want of room.
const SESSIONS: usize = 4_096;

const PROBE_INTERVAL: Duration = Duration::from_secs(2);
