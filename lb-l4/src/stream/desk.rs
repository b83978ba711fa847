//! Where one worker gets its leases.

use std::sync::{Arc, Mutex, PoisonError};

use lbcore::schedule::Scheduler;
use lbcore::{Balancer, Instant, Lease, Pick, Refusal};

use super::config::Settings;
use super::counters::Refused;
use super::server_name::ServerName;

/// The balancers of one worker, one for each pool.
///
/// Locked, because the sessions that a worker opens may be tasks of several threads; in a worker
/// with a thread of its own, nobody else ever wants the lock.
pub(crate) struct Desk<S: Scheduler> {
    worker: usize,
    at: Mutex<Chosen<S>>,
}

/// Balancers, and the settings they were made for.
struct Chosen<S: Scheduler> {
    settings: Arc<Settings<S>>,
    balancers: Vec<Balancer<S>>,
}

impl<S: Scheduler> Desk<S> {
    pub(crate) fn new(worker: usize, settings: Arc<Settings<S>>) -> Self {
        Self {
            worker,
            at: Mutex::new(Chosen::new(worker, settings)),
        }
    }

    /// Works by other settings from now on; what it has leased stays leased.
    pub(crate) fn update(&self, settings: &Arc<Settings<S>>) {
        let chosen = Chosen::new(self.worker, Arc::clone(settings));
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = chosen;
    }

    /// A lease on a backend of the pool for this server name.
    pub(crate) fn acquire(
        &self,
        now: Instant,
        name: Option<&ServerName>,
        pick: &Pick<'_>,
    ) -> Result<Lease, Refused> {
        // A balancer is whole between any two of its calls.
        let mut chosen = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = chosen.settings.pool_of(name).ok_or(Refused::ServerName)?;
        let balancer = chosen.balancers.get_mut(pool).ok_or(Refused::NoBackends)?;
        balancer.acquire(now, pick).map_err(Refused::from)
    }
}

impl<S: Scheduler> Chosen<S> {
    fn new(worker: usize, settings: Arc<Settings<S>>) -> Self {
        let balancers = settings.pools.iter().map(|pool| pool.balancer(worker));
        Self {
            balancers: balancers.collect(),
            settings,
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::AllDown => Self::AllDown,
            Refusal::AllFull => Self::AllFull,
            Refusal::AllTried => Self::ConnectFailed,
            Refusal::NoBackends => Self::NoBackends,
            _ => Self::Shed,
        }
    }
}
