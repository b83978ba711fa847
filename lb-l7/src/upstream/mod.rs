//! The backends of a route, and the connections to them.
//!
//! ```text
//!                 acquire                open                        release
//!  exchange ──▶ Pool: Lease ──▶ Shelf (one a worker) ──▶ Channel ──▶ Shelf
//!                                 │ none idle                  │
//!                                 ▼                            ▼ drop: closed, or reset
//!                               Gate (one a backend: limit, queue) ──▶ connect
//! ```
//!
//! Idle connections are kept by the worker that opened them, so that no exchange waits for another
//! worker; the limit and the queue are the backend's, and hold for all workers together.

mod balance;
mod channel;
mod config;
mod connection;
mod dial;
mod error;
mod gate;
mod http1;
mod http2;
mod open;
mod proxied;
mod retry;
mod shelf;
mod state;
mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lbcore::connect::Connect;
use lbcore::schedule::Scheduler;
use lbcore::{BackendId, Instant, Lease, Pick, Pool, Refusal};
use tokio::io::{AsyncRead, AsyncWrite};

use balance::{Balance, Balancers};
use connection::State;
use dial::{Connector, Dial, Sockets};
use gate::Gate;
use shelf::Shelf;
use stats::Counts;

pub(crate) use channel::{Answer, Channel};
pub use config::{BackendProtocol, UpstreamConfig, UpstreamConfigError};
pub use error::{ChannelError, ChannelErrorKind, OpenError};
pub use proxied::ProxiedAddresses;
pub(crate) use retry::{Failure, LearnedDelay};
pub use retry::{
    Hedge, HedgeDelay, RetryBudget, RetryBudgetConfig, RetryBudgetConfigError, RetryOn,
    RetryPolicy, RetryPolicyError,
};
pub use stats::{CloseReason, ConnectionStats};
pub(crate) use stream::BackendStream;
pub(crate) use tunnel::Tunnel;

/// A pool of backends, and the ways to reach them; a handle, cheap to clone.
///
/// # Examples
///
/// ```
/// use lb_l7::upstream::{Upstream, UpstreamConfig};
/// use lbcore::schedule::RoundRobin;
/// use lbcore::{Backend, Pool};
///
/// let pool = Pool::new(RoundRobin).backend(Backend::new("a", "10.0.0.1:80".parse()?));
/// let upstream = Upstream::new(pool)
///     .name("web")
///     .config(UpstreamConfig::default().connections(200))?;
/// assert!(upstream.stats().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "cluster")]
pub struct Upstream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    setup: Setup,
    balancers: Arc<dyn Balance>,
    budget: RetryBudget,
    shelves: Box<[Arc<Shelf>]>,
    states: Mutex<HashMap<BackendId, Arc<State>>>,
}

/// What the builder's methods set.
#[derive(Clone, Debug)]
struct Setup {
    name: Arc<str>,
    config: Arc<UpstreamConfig>,
    pool: Arc<dyn Rebalance>,
    dial: Arc<dyn Dial>,
    budget: RetryBudgetConfig,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::BackendTls>,
}

/// A pool that gives balancers, with the type of its scheduler forgotten.
trait Rebalance: std::fmt::Debug + Send + Sync {
    fn balancers(&self, workers: usize) -> Arc<dyn Balance>;
}

/// The pool of an upstream.
struct Source<S: Scheduler>(Pool<S>);

impl<S: Scheduler> Rebalance for Source<S> {
    fn balancers(&self, workers: usize) -> Arc<dyn Balance> {
        Arc::new(Balancers::new(self.0.clone(), workers))
    }
}

impl<S: Scheduler> std::fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source(..)")
    }
}

/// Whether an exchange takes a connection that is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reuse {
    /// The one that became idle last, if there is one.
    Any,
    /// A new one: that of the try before was stale, and so may the others be.
    Fresh,
}

impl Upstream {
    /// The backends of `pool`, reached over TCP and Unix sockets as [`UpstreamConfig`]'s default
    /// says.
    #[must_use]
    pub fn new<S: Scheduler>(pool: Pool<S>) -> Self {
        Self::build(Setup {
            name: "upstream".into(),
            config: Arc::default(),
            pool: Arc::new(Source(pool)),
            dial: Arc::new(Sockets),
            budget: RetryBudgetConfig::default(),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Sets its name in logs and metrics. Default `upstream`.
    ///
    /// As the other methods of this kind, it gives a new upstream without connections: to be called
    /// while building.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.with(|setup| setup.name = name.into())
    }

    /// Sets how backends are reached, and how much each takes.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
    pub fn config(self, config: UpstreamConfig) -> Result<Self, UpstreamConfigError> {
        config.check()?;
        Ok(self.with(|setup| setup.config = Arc::new(config)))
    }

    /// Opens connections by `connector` instead of by TCP and Unix sockets.
    #[must_use]
    pub fn connector<C>(self, connector: C) -> Self
    where
        C: Connect + 'static,
        C::Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.with(|setup| setup.dial = Arc::new(Connector(connector)))
    }

    /// Speaks TLS to the backends. For [`BackendProtocol::Negotiated`] it must offer both protocols,
    /// and for [`BackendProtocol::Http2`] that one.
    ///
    /// A backend's certificate must be for the name set in `tls`, or else for its IP address.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: crate::tls::BackendTls) -> Self {
        self.with(|setup| setup.tls = Some(tls))
    }

    /// Sets how many retries there may be.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
    pub fn retry_budget(self, config: RetryBudgetConfig) -> Result<Self, RetryBudgetConfigError> {
        config.check()?;
        Ok(self.with(|setup| setup.budget = config))
    }

    fn with(self, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = self.inner.setup.clone();
        change(&mut setup);
        Self::build(setup)
    }

    fn build(setup: Setup) -> Self {
        let workers = setup.config.workers.max(1);
        let shelf = |_| Arc::new(Shelf::new(Arc::clone(&setup.config)));
        Self {
            inner: Arc::new(Inner {
                budget: RetryBudget::new(setup.budget),
                balancers: setup.pool.balancers(workers),
                shelves: (0..workers).map(shelf).collect(),
                states: Mutex::default(),
                setup,
            }),
        }
    }

    /// Its name in logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.inner.setup.name
    }

    /// How its backends are reached.
    #[must_use]
    pub fn configuration(&self) -> &UpstreamConfig {
        &self.inner.setup.config
    }

    /// What there is for retries.
    #[must_use]
    pub fn budget(&self) -> &RetryBudget {
        &self.inner.budget
    }

    /// The connections to each backend that was asked for, in no order.
    ///
    /// Takes every worker's lock, one after the other: for an exporter, and not for each exchange.
    #[must_use]
    pub fn stats(&self) -> Vec<ConnectionStats> {
        let states: Vec<_> = lock(&self.inner.states).values().cloned().collect();
        let stats = states.iter().map(|state| {
            let mut stats = state.counts.read(state.id);
            stats.open = state.gate.open();
            stats.pending = state.gate.waiting();
            for shelf in &self.inner.shelves {
                let (idle, reused) = shelf.counts(state.id);
                stats.idle += idle;
                stats.reused += reused;
            }
            stats
        });
        stats.collect()
    }

    /// A lease on a backend, from the balancer of `worker`.
    pub(crate) fn acquire(
        &self,
        worker: usize,
        now: Instant,
        pick: &Pick<'_>,
    ) -> Result<Lease, Refusal> {
        self.inner.balancers.acquire(worker, now, pick)
    }

    /// Closes what `worker` holds idle for too long, or what its backend has closed meanwhile.
    ///
    /// To be called every second or so by whoever drives the worker: an exchange looks at the
    /// connection that it takes, and at no other. The first worker also forgets backends that the
    /// pool no longer has. Cost: O(n) for n idle connections of the worker.
    pub fn sweep(&self, worker: usize, now: Instant) {
        let inner = &self.inner;
        if let Some(shelf) = inner.shelf(worker) {
            shelf.sweep(now, |backend| inner.balancers.knows(backend));
        }
        if worker.is_multiple_of(inner.shelves.len()) {
            let mut states = lock(&inner.states);
            states.retain(|id, state| Arc::strong_count(state) > 1 || inner.balancers.knows(*id));
        }
    }
}

impl Inner {
    fn shelf(&self, worker: usize) -> Option<&Arc<Shelf>> {
        self.shelves.get(worker % self.shelves.len())
    }

    /// What all workers share of a backend; made with the first connection to it.
    fn state(&self, backend: BackendId) -> Arc<State> {
        let mut states = lock(&self.states);
        let state = states.entry(backend).or_insert_with(|| {
            let shared = match self.setup.config.protocol {
                BackendProtocol::Http1 => 1,
                BackendProtocol::Http2 | BackendProtocol::Negotiated => self.setup.config.streams,
            };
            Arc::new(State {
                id: backend,
                gate: Gate::new(self.setup.config.connections, self.setup.config.pending),
                shared: AtomicU32::new(shared),
                counts: Counts::default(),
            })
        });
        Arc::clone(state)
    }

    /// Whether there is more to be had than a new connection, from whichever worker; given to the
    /// head of the queue.
    fn give_from_any(&self, worker: usize, now: Instant, state: &State) {
        let (before, from) = self.shelves.split_at(worker % self.shelves.len());
        let mut shelves = from.iter().chain(before);
        while state.gate.waiting() > 0 && shelves.any(|shelf| shelf.give(now, state)) {}
    }
}

impl Drop for Inner {
    /// Idle connections hold their shelf, as their shelf holds them.
    fn drop(&mut self) {
        for shelf in &self.shelves {
            shelf.close();
        }
    }
}

impl<S: Scheduler> From<Pool<S>> for Upstream {
    fn from(pool: Pool<S>) -> Self {
        Self::new(pool)
    }
}

impl State {
    /// How many exchanges one connection is believed to serve at once.
    fn shared(&self) -> u32 {
        self.shared.load(Relaxed).max(1)
    }
}

/// Locks, though a panic elsewhere may have interrupted someone: what these locks guard is whole
/// between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
