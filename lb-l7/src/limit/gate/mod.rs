//! Who may pass, by all the limits together.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lbcore::Instant;
use lbcore::budget::{Grant, Resource};
use lbcore::hash::HashKey;
use lbcore::limit::{Concurrency, ConcurrencyGuard, TokenBucket};

use super::adaptive::{Adaptive, Running};
use super::clients::{Client, Clients};
use super::pace::{Pace, bytes_bucket};
use super::{EXCHANGE_BYTES, RequestLimits};
use crate::report::{Why, words};

words! {
    /// Which limit turned a request away.
    #[non_exhaustive]
    LimitReached {
        /// The limit that finds itself.
        Adaptive = "adaptive-limit",
        /// The address rules of the listener.
        AddressRules = "address-rules",
        /// The client has made as many requests as it may.
        ClientRate = "client-rate",
        /// As many requests are under way as may be.
        Concurrency = "concurrency",
        /// The process has no memory left for requests.
        Memory = "memory",
        /// All clients together have made as many requests as they may.
        Rate = "rate",
        /// The address rules of the route.
        RouteRules = "route-rules",
    }
}

impl LimitReached {
    /// What the termination of a request says that met it.
    pub(crate) const fn why(self) -> Why {
        match self {
            Self::AddressRules | Self::RouteRules => Why::Denied,
            Self::ClientRate | Self::Rate => Why::RateLimited,
            Self::Adaptive | Self::Concurrency | Self::Memory => Why::Overloaded,
        }
    }
}

/// What the limits of a listener have turned away, since it was made.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LimitFigures {
    turned: [u64; LimitReached::ALL.len()],
    /// Requests under way now, as far as they are counted.
    pub in_flight: u32,
    /// Clients that were forgotten although they had used something up: there are more of them than
    /// [places](RequestLimits::clients).
    pub clients_forgotten: u64,
    /// What the adaptive limit is now; 0 without one.
    pub adaptive_limit: u32,
}

impl LimitFigures {
    /// How many requests met this limit.
    #[must_use]
    pub fn turned_away(&self, by: LimitReached) -> u64 {
        self.turned.get(by.index()).copied().unwrap_or(0)
    }
}

/// A request that may not pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Turned {
    pub(crate) by: LimitReached,
    /// Seconds after which it may come again.
    pub(crate) retry_after: Option<u32>,
}

/// The limits of one listener at work; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct LimitGate {
    limits: RequestLimits,
    counts: Arc<Counts>,
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Counts {
    requests: TokenBucket,
    pub(super) bytes_in: TokenBucket,
    pub(super) bytes_out: TokenBucket,
    under_way: Option<Concurrency>,
    adaptive: Option<Arc<Adaptive>>,
    clients: Option<Clients>,
    turned: [AtomicU64; LimitReached::ALL.len()],
}

/// A request that may pass; it counts as under way until this is dropped.
#[must_use = "dropped, it no longer counts"]
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    client: Option<Arc<Client>>,
    running: Option<Running>,
    _under_way: Option<ConcurrencyGuard>,
    _memory: Option<Grant>,
}

impl Admitted {
    /// Its answer has come, at `now`.
    pub(crate) fn answered(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.answered(now);
        }
    }
}

impl Counts {
    pub(super) fn new(now: Instant, limits: &RequestLimits) -> Self {
        let seeds = std::hash::RandomState::new();
        let mut key = [0; 16];
        let (low, high) = key.split_at_mut(8);
        low.copy_from_slice(&seeds.hash_one(0).to_le_bytes());
        high.copy_from_slice(&seeds.hash_one(1).to_le_bytes());
        let clients = || Clients::new(HashKey::new(key), limits);
        Self {
            requests: limits.rate.bucket(now),
            bytes_in: bytes_bucket(now, limits.bandwidth.bytes_in),
            bytes_out: bytes_bucket(now, limits.bandwidth.bytes_out),
            under_way: (limits.concurrency > 0).then(|| Concurrency::new(limits.concurrency)),
            adaptive: limits
                .adaptive
                .map(|config| Arc::new(Adaptive::new(config))),
            clients: limits.tells_clients().then(clients),
            turned: Default::default(),
        }
    }
}

impl LimitGate {
    /// The gate of these limits; what `before` has counted goes on, if it counts alike.
    pub(crate) fn new(now: Instant, limits: &RequestLimits, before: Option<&Self>) -> Self {
        let alike = before.filter(|before| before.limits.counts_like(limits));
        let counts = match (alike, before) {
            (Some(alike), _) => Arc::clone(&alike.counts),
            (None, before) => {
                let counts = Counts::new(now, limits);
                if let Some(before) = before {
                    for (to, from) in counts.turned.iter().zip(&before.counts.turned) {
                        to.store(from.load(Relaxed), Relaxed);
                    }
                }
                Arc::new(counts)
            }
        };
        Self {
            limits: limits.clone(),
            counts,
        }
    }

    /// Lets a request of this client in.
    ///
    /// Free of cost where nothing is limited. At most one look-up, a lock, and an atomic update for
    /// each limit.
    pub(crate) fn admit(&self, now: Instant, client: IpAddr) -> Result<Admitted, Turned> {
        self.try_admit(now, client)
            .inspect_err(|turned| self.count(turned.by))
    }

    /// Counts a request that a route turns away.
    pub(crate) fn count(&self, by: LimitReached) {
        if let Some(count) = self.counts.turned.get(by.index()) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn try_admit(&self, now: Instant, address: IpAddr) -> Result<Admitted, Turned> {
        let Self { limits, counts } = self;
        let turned = |by, retry_after| Turned { by, retry_after };
        if let Some(rules) = &limits.rules
            && !rules.allows(address)
        {
            return Err(turned(LimitReached::AddressRules, None));
        }
        // Guards first: what was taken of them is given back, should a later limit be met.
        let under_way = match &counts.under_way {
            Some(under_way) => {
                let guard = under_way.try_acquire();
                Some(guard.ok_or_else(|| turned(LimitReached::Concurrency, SOON))?)
            }
            None => None,
        };
        let running = match &counts.adaptive {
            Some(adaptive) => {
                let running = Adaptive::try_begin(adaptive, now);
                Some(running.ok_or_else(|| turned(LimitReached::Adaptive, SOON))?)
            }
            None => None,
        };
        let memory = match &limits.budget {
            Some(budget) => {
                let memory = budget.try_take(Resource::Bytes, EXCHANGE_BYTES);
                Some(memory.map_err(|_| turned(LimitReached::Memory, SOON))?)
            }
            None => None,
        };
        let clients = counts.clients.as_ref();
        let client = clients.map(|clients| clients.client(now, address, limits));
        self.take(now, client.as_deref())?;
        Ok(Admitted {
            client,
            running,
            _under_way: under_way,
            _memory: memory,
        })
    }

    /// Takes a request of the rates, of both or of none.
    fn take(&self, now: Instant, client: Option<&Client>) -> Result<(), Turned> {
        let (rate, client_rate) = (self.limits.rate, self.limits.client_rate);
        let turned = |by, bucket: &TokenBucket, cost| Turned {
            by,
            retry_after: Some(seconds(now, bucket.ready_at(now, cost))),
        };
        let of_client =
            |client: &Client| turned(LimitReached::ClientRate, &client.requests, client_rate.cost);
        // A client beyond its own rate takes nothing of what all share.
        if let Some(client) = client
            && client.requests.available(now) < client_rate.cost
        {
            return Err(of_client(client));
        }
        if !self.counts.requests.try_take(now, rate.cost) {
            return Err(turned(LimitReached::Rate, &self.counts.requests, rate.cost));
        }
        match client {
            // Another request of the same client was faster by a hair.
            Some(client) if !client.requests.try_take(now, client_rate.cost) => {
                Err(of_client(client))
            }
            _ => Ok(()),
        }
    }

    /// The pace of the bodies of a request that was let in; none, if there is none to keep.
    pub(crate) fn pace(&self, admitted: &Admitted) -> Option<Box<Pace>> {
        self.limits.paces().then(|| {
            let counts = Arc::clone(&self.counts);
            Box::new(Pace::new(counts, admitted.client.clone()))
        })
    }

    /// Memory that makes something better, but that it can do without.
    ///
    /// Outside: whether it may be used. Inside: what is to be held as long as it is.
    pub(crate) fn comfort(&self, bytes: u64) -> Option<Option<Grant>> {
        match &self.limits.budget {
            None => Some(None),
            Some(budget) => budget
                .try_take_optional(Resource::Bytes, bytes)
                .ok()
                .map(Some),
        }
    }

    /// What has been counted.
    pub(crate) fn figures(&self) -> LimitFigures {
        let counts = &*self.counts;
        let mut turned = [0; LimitReached::ALL.len()];
        for (to, from) in turned.iter_mut().zip(&counts.turned) {
            *to = from.load(Relaxed);
        }
        let adaptive = counts.adaptive.as_deref();
        LimitFigures {
            turned,
            in_flight: match (&counts.under_way, adaptive) {
                (Some(under_way), _) => under_way.in_flight(),
                (None, Some(adaptive)) => adaptive.in_flight(),
                (None, None) => 0,
            },
            clients_forgotten: counts.clients.as_ref().map_or(0, Clients::forgotten),
            adaptive_limit: adaptive.map_or(0, Adaptive::limit),
        }
    }
}

/// Whole seconds from `now` until `at`, at least one: `Retry-After` has no smaller unit, and 0 would
/// bring the same refusal again.
fn seconds(now: Instant, at: Instant) -> u32 {
    let wait = at.since(now);
    let up = u64::from(wait.subsec_nanos() > 0);
    u32::try_from(wait.as_secs() + up)
        .unwrap_or(u32::MAX)
        .max(1)
}

/// What passes is gone in a moment, as far as anyone knows.
const SOON: Option<u32> = Some(1);

#[cfg(test)]
mod tests;
