//! A session in, a lease on a backend out.

mod before;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::lease::{Lease, Outcome};
use crate::pool::{Pool, PoolView, Published, Shard};
use crate::schedule::{Scheduler, Tried};
use crate::time::nanos;
use crate::{Backend, BackendId, Instant, Ticket};
use before::Before;
use worker::{Request, Worker};

/// What is known of a session that needs a backend.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Pick<'a> {
    /// What the session is placed by, already hashed under a secret key; `None`: nothing.
    pub key: Option<u64>,
    /// The backend that persistence asks for; another is picked if it may not take the session.
    pub preferred: Option<BackendId>,
    /// The backends it was already sent to.
    pub tried: Option<&'a Tried>,
}

impl<'a> Pick<'a> {
    /// A session that is placed by `key`.
    #[must_use]
    pub const fn keyed(key: u64) -> Self {
        Self {
            key: Some(key),
            preferred: None,
            tried: None,
        }
    }

    /// Sets what it is placed by.
    #[must_use]
    pub const fn key(mut self, key: Option<u64>) -> Self {
        self.key = key;
        self
    }

    /// Sets the backend that persistence asks for.
    #[must_use]
    pub const fn preferred(mut self, backend: Option<BackendId>) -> Self {
        self.preferred = backend;
        self
    }

    /// Sets the backends it was already sent to.
    #[must_use]
    pub const fn tried(mut self, tried: &'a Tried) -> Self {
        self.tried = Some(tried);
        self
    }
}

/// Why no backend takes a session.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum Refusal {
    /// Every backend in service is down or ejected. The backends need looking after.
    #[error("every backend is down")]
    AllDown,
    /// Every backend that is up has as many sessions as it may have. More backends are needed.
    #[error("every backend is full")]
    AllFull,
    /// Every backend that is up has been tried for this session.
    #[error("every backend has been tried")]
    AllTried,
    /// The pool has no backend in service. It needs configuring.
    #[error("the pool has no backend in service")]
    NoBackends,
    /// The load is being shed before it reaches the backends.
    #[error("load is being shed")]
    Shed,
}

impl Refusal {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllDown => "all-down",
            Self::AllFull => "all-full",
            Self::AllTried => "all-tried",
            Self::NoBackends => "no-backends",
            Self::Shed => "shed",
        }
    }
}

/// Chooses backends for one worker.
///
/// Owns the worker's part of the scheduling, so that no pick waits for another worker. Made by
/// [`Pool::balancer`]; notices by itself when the pool changes.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Instant, Outcome, Pick, Pool};
///
/// let pool = Pool::new(RoundRobin)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
///
/// // A stream holds a lease ...
/// let lease = balancer.acquire(Instant::ZERO, &Pick::default()).unwrap();
/// lease.finish(Instant::ZERO, Outcome::Ok);
///
/// // ... and a session in a table holds a ticket of 8 bytes.
/// let ticket = balancer.acquire_ticket(Instant::ZERO, &Pick::default()).unwrap();
/// balancer.finish_ticket(ticket, None, Outcome::Ok);
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
pub struct Balancer<S: Scheduler> {
    pool: Pool<S>,
    published: Arc<Published<S>>,
    worker: Worker<S>,
    /// Only of schedulers that place by a key.
    before: Option<Before<S>>,
}

impl<S: Scheduler> Balancer<S> {
    pub(crate) fn new(
        pool: Pool<S>,
        published: Arc<Published<S>>,
        shard: Arc<Shard>,
        seed: u64,
    ) -> Self {
        let mut worker = Worker::new(shard, seed);
        worker.take_in(Instant::ZERO, pool.scheduler(), &published, &[]);
        Self {
            pool,
            published,
            worker,
            before: None,
        }
    }

    /// The pool it balances.
    #[must_use]
    pub const fn pool(&self) -> &Pool<S> {
        &self.pool
    }

    /// The picture of the pool that it works with.
    #[must_use]
    pub fn view(&self) -> &Arc<PoolView> {
        self.published.view()
    }

    /// A lease on a backend for a new session.
    ///
    /// Allocates nothing and takes no lock, save for the first session after a change of the pool,
    /// which makes new cursors in O(n), and the first lease on a backend that is new or changed.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when no backend may take it.
    #[inline]
    pub fn acquire(&mut self, now: Instant, pick: &Pick<'_>) -> Result<Lease, Refusal> {
        let ticket = self.choose(now, pick)?;
        let seat = self.worker.seat(self.published.view(), ticket);
        let seat = seat.ok_or(Refusal::NoBackends)?;
        Ok(Lease::new(now, seat))
    }

    /// A ticket on a backend for a new session that will live in a session table.
    ///
    /// Whoever ends the session gives it to [`finish_ticket`](Self::finish_ticket) of this balancer,
    /// once.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when no backend may take it.
    #[inline]
    pub fn acquire_ticket(&mut self, now: Instant, pick: &Pick<'_>) -> Result<Ticket, Refusal> {
        self.choose(now, pick)
    }

    /// A ticket for a session learnt from another node, which has picked already.
    ///
    /// Health, weight and limits do not matter: the session exists. `None` if the backend is unknown.
    pub fn adopt(&mut self, now: Instant, backend: BackendId) -> Option<Ticket> {
        self.refresh(now);
        let status = self.published.view().backend(backend)?;
        let (ticket, place) = (status.ticket, status.place);
        if ticket.is_capped() {
            self.worker
                .shard
                .shared()
                .take_place_beyond_limit(ticket.slot());
        }
        let request = Request::new(
            now,
            self.pool.scheduler(),
            &self.published,
            &Pick::default(),
        );
        self.worker.begin(request, place, ticket);
        Some(ticket)
    }

    /// The backend that a session placed by its key alone had before the last change of the pool, if
    /// that change is not longer than `within` ago and the backend can still serve what it has.
    ///
    /// For a flow that is under way and of which nothing is known here: the change and the loss of
    /// the node that knew it came together. Then [`adopt`](Self::adopt) gives it a ticket. A backend
    /// that drains still serves; one that was removed, is down or out of service does not. `None` for
    /// schedulers that do not [place](Scheduler::places) and for a pick without a key.
    pub fn previous(
        &mut self,
        now: Instant,
        pick: &Pick<'_>,
        within: Duration,
    ) -> Option<BackendId> {
        self.refresh(now);
        let known = (self.pool.scheduler(), &**self.published.view());
        self.before.as_mut()?.backend(now, known, (pick, within))
    }

    /// Ends the session of a ticket that this balancer gave out.
    ///
    /// `elapsed` is the backend's latency where someone measured it; without it only failures are
    /// charged. A ticket of a backend that is gone changes nothing.
    #[inline]
    pub fn finish_ticket(&mut self, ticket: Ticket, elapsed: Option<Duration>, outcome: Outcome) {
        if self.view().knows(ticket) || self.is_known_anew(ticket) {
            self.worker
                .shard
                .finish(ticket, outcome, elapsed.map(nanos));
        }
    }

    /// Whether the newest picture knows a ticket that this balancer's own does not.
    #[cold]
    fn is_known_anew(&self, ticket: Ticket) -> bool {
        self.pool.view().knows(ticket)
    }

    /// The backend of a ticket, also after its removal, as long as sessions last.
    #[must_use]
    pub fn resolve(&self, ticket: Ticket) -> Option<&Arc<Backend>> {
        self.view().resolve(ticket)
    }

    /// Works with the newest picture of the pool from here on.
    ///
    /// Every acquire does this; a worker that has none for long may call it to let go of the old.
    #[inline]
    pub fn refresh(&mut self, now: Instant) {
        if self.pool.generation() != self.view().generation() {
            self.take_newest(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_newest(&mut self, now: Instant) {
        let newest = self.pool.published();
        let old = std::mem::replace(&mut self.published, newest);
        let scheduler = self.pool.scheduler();
        self.worker
            .take_in(now, scheduler, &self.published, old.view().tiers());
        if scheduler.places() && !old.view().places_like(self.published.view()) {
            self.before = Some(Before::new(now, scheduler, old));
        }
    }

    #[inline(always)]
    fn choose(&mut self, now: Instant, pick: &Pick<'_>) -> Result<Ticket, Refusal> {
        self.refresh(now);
        let request = Request::new(now, self.pool.scheduler(), &self.published, pick);
        self.worker.settle(request);
        self.worker.choose(request, pick.preferred)
    }
}

impl<S: Scheduler> fmt::Debug for Balancer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.view().generation();
        f.debug_struct("Balancer")
            .field("generation", &generation)
            .finish_non_exhaustive()
    }
}
