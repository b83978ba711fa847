//! How many requests, and how many bytes, a listener and each of its clients may have.
//!
//! ```text
//!   a request ─▶ address rules ─▶ under way ─▶ this client's rate ─▶ all clients' rate ─▶ memory
//!                    403             503              429                   429            503
//! ```
//!
//! What is refused by one limit spends nothing of another. A client is told by its address, behind
//! the proxies that are [believed](crate::headers::identity::Identity), and counted by its prefix,
//! since one host of IPv6 has a whole /64 to choose addresses from (RFC 4291, 2.5.4).
//!
//! All of it is exact over all workers, and outlives new settings as long as they count alike.

mod adaptive;
mod clients;
mod gate;
mod pace;

use std::sync::Arc;

use lbcore::address_list::AddressRules;
use lbcore::budget::Budget;

pub use adaptive::AdaptiveConfig;
pub(crate) use gate::{Admitted, LimitGate};
pub use gate::{LimitFigures, LimitReached};
pub(crate) use pace::Pace;

/// What requests may use of a listener; by default nothing is limited.
///
/// # Examples
///
/// ```
/// use lb_l7::limit::{Bandwidth, Rate, RequestLimits};
///
/// let limits = RequestLimits::default()
///     .rate(Rate::per_second(5_000))
///     .client_rate(Rate::per_minute(300).burst(50))
///     .concurrency(1_000)
///     .client_bandwidth(Bandwidth::default().bytes_out(1_000_000));
/// assert_eq!(limits.prefixes.v6, 64);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
#[doc(alias = "rate limit")]
pub struct RequestLimits {
    /// Requests of all clients together: 429, and when to come again. Default no limit.
    pub rate: Rate,
    /// Requests of each client: 429, and when to come again. Default no limit.
    pub client_rate: Rate,
    /// Bytes of bodies of all clients together; who wants more waits. Default no limit.
    pub bandwidth: Bandwidth,
    /// Bytes of bodies of each client; who wants more waits. Default no limit.
    pub client_bandwidth: Bandwidth,
    /// Whose addresses are one client.
    pub prefixes: ClientPrefixes,
    /// How many clients are told apart at once. Default [`DEFAULT_CLIENTS`]; rounded up to a
    /// multiple of 8.
    ///
    /// Beyond it the one that was idle longest is forgotten: its next request finds full buckets.
    /// About 250 bytes each, taken as clients come.
    pub clients: u32,
    /// Requests under way at once, tunnels included: 503. Default 0, no limit.
    pub concurrency: u32,
    /// Finds by itself how many requests can be under way: 503. Default off.
    pub adaptive: Option<AdaptiveConfig>,
    /// Whose requests are answered at all, by the client's own address: 403. Default all.
    ///
    /// A server's own [rules](crate::server::ServerConfig::rules) see the peer of the connection;
    /// these see whom a trusted proxy names.
    pub rules: Option<Arc<AddressRules>>,
    /// The memory that all of the process shares. Default none.
    ///
    /// A connection takes [`CONNECTION_BYTES`] and a session of it, a request under way
    /// [`EXCHANGE_BYTES`]: without them a connection is closed and a request answered 503. What a
    /// body is kept in for a second try, and what an answer is compressed by, are comfort: without
    /// memory the request has one try, and the answer stays as it is.
    pub budget: Option<Budget>,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            rate: Rate::UNLIMITED,
            client_rate: Rate::UNLIMITED,
            bandwidth: Bandwidth::default(),
            client_bandwidth: Bandwidth::default(),
            prefixes: ClientPrefixes::default(),
            clients: DEFAULT_CLIENTS,
            concurrency: 0,
            adaptive: None,
            rules: None,
            budget: None,
        }
    }
}

impl RequestLimits {
    /// See [`rate`](Self::rate).
    #[must_use]
    pub const fn rate(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }

    /// See [`client_rate`](Self::client_rate).
    #[must_use]
    pub const fn client_rate(mut self, rate: Rate) -> Self {
        self.client_rate = rate;
        self
    }

    /// See [`bandwidth`](Self::bandwidth).
    #[must_use]
    pub const fn bandwidth(mut self, bandwidth: Bandwidth) -> Self {
        self.bandwidth = bandwidth;
        self
    }

    /// See [`client_bandwidth`](Self::client_bandwidth).
    #[must_use]
    pub const fn client_bandwidth(mut self, bandwidth: Bandwidth) -> Self {
        self.client_bandwidth = bandwidth;
        self
    }

    /// See [`prefixes`](Self::prefixes).
    #[must_use]
    pub const fn prefixes(mut self, prefixes: ClientPrefixes) -> Self {
        self.prefixes = prefixes;
        self
    }

    /// See [`clients`](Self::clients).
    #[must_use]
    pub const fn clients(mut self, clients: u32) -> Self {
        self.clients = clients;
        self
    }

    /// See [`concurrency`](Self::concurrency).
    #[must_use]
    pub const fn concurrency(mut self, requests: u32) -> Self {
        self.concurrency = requests;
        self
    }

    /// See [`adaptive`](Self::adaptive).
    #[must_use]
    pub const fn adaptive(mut self, adaptive: AdaptiveConfig) -> Self {
        self.adaptive = Some(adaptive);
        self
    }

    /// See [`rules`](Self::rules).
    #[must_use]
    pub fn rules(mut self, rules: impl Into<Arc<AddressRules>>) -> Self {
        self.rules = Some(rules.into());
        self
    }

    /// See [`budget`](Self::budget).
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Whether what has been counted under `other` goes on to count under these.
    fn counts_like(&self, other: &Self) -> bool {
        self.rate == other.rate
            && self.client_rate == other.client_rate
            && self.bandwidth == other.bandwidth
            && self.client_bandwidth == other.client_bandwidth
            && self.prefixes == other.prefixes
            && self.clients == other.clients
            && self.concurrency == other.concurrency
            && self.adaptive == other.adaptive
    }

    /// Whether clients are told apart at all.
    const fn tells_clients(&self) -> bool {
        !self.client_rate.is_unlimited() || !self.client_bandwidth.is_unlimited()
    }

    /// Whether bytes are counted at all.
    const fn paces(&self) -> bool {
        !self.bandwidth.is_unlimited() || !self.client_bandwidth.is_unlimited()
    }
}

/// So many requests in a time, and so many at once after a pause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Tokens a second; 0 is no limit.
    tokens: u64,
    /// Tokens that a request takes.
    cost: u64,
    /// Requests at once.
    burst: u64,
}

impl Rate {
    /// As many as come.
    pub const UNLIMITED: Self = Self {
        tokens: 0,
        cost: 1,
        burst: 1,
    };

    /// This many a second, and as many at once after a pause; 0 is no limit.
    #[must_use]
    pub const fn per_second(requests: u64) -> Self {
        Self {
            tokens: requests,
            cost: 1,
            burst: requests,
        }
    }

    /// This many a minute, and as many at once after a pause; 0 is no limit.
    #[must_use]
    pub const fn per_minute(requests: u64) -> Self {
        Self {
            tokens: requests,
            cost: 60,
            burst: requests,
        }
    }

    /// This many at once after a pause, at least 1.
    #[must_use]
    pub const fn burst(mut self, requests: u64) -> Self {
        self.burst = requests;
        self
    }

    const fn is_unlimited(self) -> bool {
        self.tokens == 0
    }

    /// A full bucket, and what a request takes of it.
    fn bucket(self, now: lbcore::Instant) -> lbcore::limit::TokenBucket {
        let burst = self.burst.max(1).saturating_mul(self.cost);
        lbcore::limit::TokenBucket::new(now, self.tokens, burst)
    }
}

/// Bytes of bodies a second, each way; 0, the default of both, is no limit.
///
/// A tenth of a second's worth may come at once, at least 64 KiB. Counted are the bytes that clients
/// send and get, so an answer counts as it was compressed; heads do not count, nor answers of the
/// proxy's own.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bandwidth {
    /// From clients.
    pub bytes_in: u64,
    /// To clients.
    pub bytes_out: u64,
}

impl Bandwidth {
    /// See [`bytes_in`](Self::bytes_in).
    #[must_use]
    pub const fn bytes_in(mut self, per_second: u64) -> Self {
        self.bytes_in = per_second;
        self
    }

    /// See [`bytes_out`](Self::bytes_out).
    #[must_use]
    pub const fn bytes_out(mut self, per_second: u64) -> Self {
        self.bytes_out = per_second;
        self
    }

    const fn is_unlimited(self) -> bool {
        self.bytes_in == 0 && self.bytes_out == 0
    }
}

/// How many bits of an address tell clients apart.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientPrefixes {
    /// Of IPv4, 0 to 32; more is taken as 32. Default 32, each address.
    pub v4: u8,
    /// Of IPv6, 0 to 128; more is taken as 128. Default 64, each subnet: a host may use any address
    /// of its own.
    pub v6: u8,
}

impl Default for ClientPrefixes {
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl ClientPrefixes {
    /// See [`v4`](Self::v4).
    #[must_use]
    pub const fn v4(mut self, bits: u8) -> Self {
        self.v4 = bits;
        self
    }

    /// See [`v6`](Self::v6).
    #[must_use]
    pub const fn v6(mut self, bits: u8) -> Self {
        self.v6 = bits;
        self
    }
}

/// 2^16 clients, 16 MiB when all have come.
pub const DEFAULT_CLIENTS: u32 = 1 << 16;

/// What a [budget](RequestLimits::budget) is charged for a connection: its task, its buffers
/// between two requests, and what the kernel holds of it.
pub const CONNECTION_BYTES: u64 = 16 * 1024;

/// What a [budget](RequestLimits::budget) is charged for a request under way: its head, and the
/// pieces of both bodies that the buffers of client and backend hold.
pub const EXCHANGE_BYTES: u64 = 64 * 1024;
