//! The backends of a service: who they are, who may take a session now, and what they have done.
//!
//! A [`Pool`] is told of changes (who joins and leaves, what probes found) and draws one immutable
//! [`PoolView`] of every moment, which it publishes by a single atomic swap together with the
//! scheduler's plans for it. Workers pick with a [`Balancer`] each.

mod cell;
mod checks;
mod config;
mod counts;
mod dirty;
mod event;
mod members;
mod outliers;
mod picture;
mod shard;
mod shared;
mod slots;
mod state;
mod stats;
mod thread;
mod tiers;
mod view;

pub use checks::Probe;
pub use config::{PoolConfig, PoolConfigError};
pub use event::{Event, EventKind, Events, Named};
pub use members::{ApplyError, Delta};
pub use stats::BackendStats;
pub use view::{BackendStatus, PoolView, ViewTier};

pub(crate) use shard::Shard;
pub(crate) use view::Place;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::atomic::{AtomicU64, Ordering};
use crate::health::{HealthCheck, ProbeNumber, ProbeOutcome};
use crate::rng::mix;
use crate::schedule::Scheduler;
use crate::{Backend, BackendId, Balancer, Instant};
use state::State;

/// The backends of a service, shared by every worker, listener and runner that serves it.
///
/// A handle: clones are of the same pool. Changes take a lock and draw a new picture; picks, made
/// through [`Pool::balancer`], take none.
///
/// Every `now` that a pool and its balancers are given is of one clock, with any origin, that never
/// goes back: `lb_l4::Clock`, or a caller's own. What the builders below do has the event time
/// [`Instant::ZERO`], whenever it is done.
///
/// A pool does nothing by itself. One that carries traffic wants somebody to drive it, health check
/// or none: `lb_l4::probe::run_until`, `lb_l7::probe::run_until`, or a loop of
/// [`poll_timeout`](Self::poll_timeout), [`handle_timeout`](Self::handle_timeout) and
/// [`poll_probe`](Self::poll_probe). Undriven, shares stop growing, ejections neither begin nor end, and slots of removed backends are not freed.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, BackendId, Delta, Instant, Pick, Pool, Refusal};
///
/// let pool = Pool::new(RoundRobin)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
/// let mut balancer = pool.balancer(0);
///
/// let now = Instant::ZERO;
/// pool.apply(now, [Delta::Remove(BackendId::of_name("a"))]).unwrap();
/// let lease = balancer.acquire(now, &Pick::default()).unwrap();
/// assert_eq!(lease.backend(), BackendId::of_name("b"));
///
/// pool.apply(now, [Delta::Replace(vec![])]).unwrap();
/// assert_eq!(balancer.acquire(now, &Pick::default()).unwrap_err(), Refusal::NoBackends);
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[doc(alias = "cluster")]
#[doc(alias = "upstream group")]
pub struct Pool<S: Scheduler> {
    shared: Arc<Inner<S>>,
}

struct Inner<S: Scheduler> {
    scheduler: S,
    published: ArcSwap<Published<S>>,
    /// The generation of `published`, to be compared without touching it.
    generation: AtomicU64,
    state: Mutex<State>,
}

/// A picture, and the scheduler's plan for each of its tiers.
pub(crate) struct Published<S: Scheduler> {
    view: Arc<PoolView>,
    plans: Box<[S::Plan]>,
}

impl<S: Scheduler> Published<S> {
    #[inline]
    pub(crate) const fn view(&self) -> &Arc<PoolView> {
        &self.view
    }

    #[inline]
    pub(crate) const fn plans(&self) -> &[S::Plan] {
        &self.plans
    }
}

impl<S: Scheduler> Pool<S> {
    /// An empty pool whose sessions are spread by `scheduler`.
    #[must_use]
    pub fn new(scheduler: S) -> Self {
        let mut state = State::new(0);
        let view = Arc::new(state.draw(Instant::ZERO));
        let generation = AtomicU64::new(view.generation());
        let published = ArcSwap::from_pointee(Published {
            view,
            plans: Box::default(),
        });
        let state = Mutex::new(state);
        Self {
            shared: Arc::new(Inner {
                scheduler,
                published,
                generation,
                state,
            }),
        }
    }

    /// Adds a backend, or changes the one of the same identity. The event is at [`Instant::ZERO`].
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        self.backends([backend])
    }

    /// Adds backends, or changes those of the same identity; of two with one identity the last stays.
    ///
    /// The events are at [`Instant::ZERO`]. Lists that come from outside are better given to
    /// [`apply`](Self::apply), which refuses twins.
    #[must_use]
    pub fn backends(self, backends: impl IntoIterator<Item = Backend>) -> Self {
        let mut backends: Vec<Backend> = backends.into_iter().collect();
        state::sort_for_slots(&mut backends);
        let deltas = backends.into_iter().map(Delta::Upsert).collect();
        let mut state = self.lock();
        state.apply(Instant::ZERO, deltas);
        self.publish(Instant::ZERO, &mut state);
        drop(state);
        self
    }

    /// Treats the backends as `config` says, from [`Instant::ZERO`] on.
    ///
    /// # Errors
    ///
    /// As [`configure`](Self::configure).
    pub fn config(self, config: PoolConfig) -> Result<Self, PoolConfigError> {
        self.configure(Instant::ZERO, config)?;
        Ok(self)
    }

    /// Probes by checks of the caller's own making, one for each backend.
    ///
    /// [`PoolConfig::health`] must be set, and says what a probe does.
    #[must_use]
    pub fn checks(
        self,
        make: impl Fn(&Backend) -> Box<dyn HealthCheck> + Send + Sync + 'static,
    ) -> Self {
        self.change(Instant::ZERO, |state| {
            state.own_checks = Some(Box::new(make));
            state.install_checks();
            state.stale = true;
        });
        self
    }

    /// Treats the backends as `config` says from now on; what is known of them stays.
    ///
    /// # Errors
    ///
    /// Names the field that is out of range; nothing has changed then.
    pub fn configure(&self, now: Instant, config: PoolConfig) -> Result<(), PoolConfigError> {
        config.check()?;
        let mut state = self.lock();
        state.configure_outliers(now, &config);
        state.shared.penalise(config.failure_penalty);
        state.config = config;
        state.install_checks();
        self.publish(now, &mut state);
        Ok(())
    }

    /// Changes who is in the pool: all of `deltas` at once, in one picture.
    ///
    /// A backend that stays keeps its counters, its health and its sessions, whatever else of it
    /// changes. One that is removed takes no new session; those under way go on. To remove an
    /// identity that is not there is no error: it is gone, as was asked.
    ///
    /// `now` is of the pool's one clock: any origin will do (`lb_l4::Clock` is one), as long as every
    /// call for this pool and its balancers reads the same.
    ///
    /// # Errors
    ///
    /// Two backends of one [`Delta::Replace`] with one identity, where [`backends`](Self::backends)
    /// would let the last win; or a name whose identity another name has. Nothing has changed then.
    pub fn apply(
        &self,
        now: Instant,
        deltas: impl IntoIterator<Item = Delta>,
    ) -> Result<(), ApplyError> {
        let deltas: Vec<Delta> = deltas.into_iter().collect();
        let mut state = self.lock();
        state.members.check(&deltas)?;
        state.apply(now, deltas);
        self.publish(now, &mut state);
        Ok(())
    }

    /// A balancer for one worker; `worker` sets it apart from the others.
    #[must_use]
    pub fn balancer(&self, worker: usize) -> Balancer<S> {
        let mut state = self.lock();
        let shard = state.claim_shard(self.scheduler().observes());
        let published = self.published();
        Balancer::new(self.clone(), published, shard, mix(worker as u64))
    }

    /// The picture of this moment.
    #[must_use]
    pub fn view(&self) -> Arc<PoolView> {
        Arc::clone(self.shared.published.load().view())
    }

    /// The scheduler.
    #[inline]
    #[must_use]
    pub fn scheduler(&self) -> &S {
        &self.shared.scheduler
    }

    /// The next probe that is due, if one is; to be asked until there is none.
    ///
    /// The caller sends it and tells [`handle_probe`](Self::handle_probe) how it ended; a probe that
    /// is never answered times out by itself.
    pub fn poll_probe(&self, now: Instant) -> Option<Probe> {
        self.change(now, |state| state.poll_probe(now))
    }

    /// A probe of `backend` ended so.
    pub fn handle_probe(
        &self,
        now: Instant,
        backend: BackendId,
        number: ProbeNumber,
        outcome: ProbeOutcome,
    ) {
        self.change(now, |state| {
            state.handle_probe(now, backend, number, outcome)
        });
    }

    /// The moment that [`poll_timeout`](Self::poll_timeout) named has come: late probes fail, shares
    /// grow, ejections begin and end, slots of removed backends are freed.
    ///
    /// Whoever drives a pool calls it then, and [`poll_probe`](Self::poll_probe) after it.
    pub fn handle_timeout(&self, now: Instant) {
        self.change(now, |state| state.handle_timeout(now));
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_probe`](Self::poll_probe) has
    /// something to do; `None` is never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.lock().poll_timeout()
    }

    /// What has happened since the event of this number; 0 is the first.
    ///
    /// The last 4,096 events are kept. Any number of readers may ask, each with its own number.
    #[must_use]
    pub fn events(&self, since: u64) -> Events {
        self.lock().events.since(since)
    }

    /// Every backend's counters, folded over all workers, in the order of identities.
    #[must_use]
    pub fn stats(&self) -> Vec<BackendStats> {
        let state = self.lock();
        let view = self.view();
        let known = view.backends().iter().filter_map(|status| {
            let member = state.members.by_id.get(&status.backend.id)?;
            let counts = state.counts(member.ticket.slot()).since(&member.baseline);
            Some(BackendStats::new(status, counts))
        });
        known.collect()
    }

    /// Whether both are handles of one pool.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The number of the newest picture, as [`PoolView::generation`]: one load, no lock.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    pub(crate) fn published(&self) -> Arc<Published<S>> {
        self.shared.published.load_full()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug of ours; the state is still the best there is.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and publishes a new picture if that is due.
    fn change<R>(&self, now: Instant, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        if state.wants_drawing(now) {
            self.publish(now, &mut state);
        }
        result
    }

    fn publish(&self, now: Instant, state: &mut State) {
        let view = Arc::new(state.draw(now));
        let old = self.published();
        let plan = |tier: &ViewTier| {
            let before = old.view.tiers().iter().zip(old.plans());
            let previous = before.clone().find(|(was, _)| was.is_same_group(tier));
            self.shared
                .scheduler
                .plan(&tier.tier, previous.map(|(_, plan)| plan))
        };
        let plans = view.tiers().iter().map(plan).collect();
        let generation = view.generation();
        self.shared
            .published
            .store(Arc::new(Published { view, plans }));
        self.shared.generation.store(generation, Ordering::Release);
    }
}

impl<S: Scheduler> Clone for Pool<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: Scheduler> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("scheduler", &self.shared.scheduler)
            .field("view", &self.view())
            .finish()
    }
}
