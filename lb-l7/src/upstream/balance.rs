//! The pool of an upstream, with the type of its scheduler forgotten.

use std::fmt;
use std::sync::Mutex;

use lbcore::schedule::Scheduler;
use lbcore::{BackendId, Balancer, Instant, Lease, Pick, Pool, Refusal};

use super::lock;

/// What an [`Upstream`](super::Upstream) asks its pool.
pub(super) trait Balance: fmt::Debug + Send + Sync {
    /// A lease from the balancer of `worker`.
    fn acquire(&self, worker: usize, now: Instant, pick: &Pick<'_>) -> Result<Lease, Refusal>;

    /// Whether the pool has this backend.
    fn knows(&self, backend: BackendId) -> bool;
}

/// One balancer for each worker.
///
/// The lock is there so that futures may move between threads: a worker takes only its own, so that
/// nobody waits for it.
pub(super) struct Balancers<S: Scheduler> {
    pool: Pool<S>,
    workers: Box<[Apart<Mutex<Balancer<S>>>]>,
}

/// Keeps what different workers write off each other's cache lines.
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

impl<S: Scheduler> Balancers<S> {
    pub(super) fn new(pool: Pool<S>, workers: usize) -> Self {
        let balancer = |worker| Apart(Mutex::new(pool.balancer(worker)));
        let workers = (0..workers.max(1)).map(balancer).collect();
        Self { pool, workers }
    }
}

impl<S: Scheduler> Balance for Balancers<S> {
    fn acquire(&self, worker: usize, now: Instant, pick: &Pick<'_>) -> Result<Lease, Refusal> {
        let own = self.workers.get(worker % self.workers.len());
        let own = own.ok_or(Refusal::NoBackends)?;
        lock(&own.0).acquire(now, pick)
    }

    fn knows(&self, backend: BackendId) -> bool {
        self.pool.view().backend(backend).is_some()
    }
}

impl<S: Scheduler> fmt::Debug for Balancers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancers")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}
