//! How much may pass: bytes and new sessions per second, and sessions at once.

mod bucket;
mod concurrency;

use std::fmt;

pub use bucket::TokenBucket;
pub use concurrency::{Concurrency, ConcurrencyGuard};

use crate::Instant;
use crate::atomic::{AtomicU64, Ordering::Relaxed};

/// The limits of one service; 0, the default of each, is none.
///
/// # Examples
///
/// ```
/// use lbcore::limit::LimitConfig;
///
/// let config = LimitConfig::default().bytes_per_second_out(12_500_000).connections(10_000);
/// assert_eq!(config.connections_per_second, 0);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LimitConfig {
    /// Bytes a second from clients to backends.
    pub bytes_per_second_in: u64,
    /// Bytes a second from backends to clients.
    pub bytes_per_second_out: u64,
    /// New sessions a second; as many may come at once after a quiet second.
    pub connections_per_second: u64,
    /// Sessions at once.
    pub connections: u32,
}

impl LimitConfig {
    /// Sets [`bytes_per_second_in`](Self::bytes_per_second_in).
    #[must_use]
    pub const fn bytes_per_second_in(mut self, bytes: u64) -> Self {
        self.bytes_per_second_in = bytes;
        self
    }

    /// Sets [`bytes_per_second_out`](Self::bytes_per_second_out).
    #[must_use]
    pub const fn bytes_per_second_out(mut self, bytes: u64) -> Self {
        self.bytes_per_second_out = bytes;
        self
    }

    /// Sets [`connections_per_second`](Self::connections_per_second).
    #[must_use]
    pub const fn connections_per_second(mut self, connections: u64) -> Self {
        self.connections_per_second = connections;
        self
    }

    /// Sets [`connections`](Self::connections).
    #[must_use]
    pub const fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }
}

/// Which limit refused a new session.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LimitReached {
    /// As many sessions are under way as may be.
    Connections,
    /// As many sessions have begun in the last second as may.
    ConnectionsPerSecond,
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connections => "connections",
            Self::ConnectionsPerSecond => "connections per second",
        })
    }
}

/// What a service's limits have refused, since they were made.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LimitStats {
    /// Sessions under way now.
    pub in_flight: u32,
    /// New sessions refused, because too many were under way.
    pub refused_connections: u64,
    /// New sessions refused, because too many began in a second.
    pub refused_connections_per_second: u64,
}

/// The limits of one service, shared by all its workers.
///
/// # Examples
///
/// ```
/// use lbcore::Instant;
/// use lbcore::limit::{LimitConfig, LimitReached, Limits};
///
/// let now = Instant::ZERO;
/// let limits = Limits::new(now, LimitConfig::default().connections(1));
/// let session = limits.admit(now).expect("the first may come");
/// assert_eq!(limits.admit(now).unwrap_err(), LimitReached::Connections);
/// drop(session);
/// assert!(limits.admit(now).is_ok());
/// ```
#[derive(Debug)]
pub struct Limits {
    /// Bytes from clients to backends; charged as they pass.
    pub bytes_in: TokenBucket,
    /// Bytes from backends to clients; charged as they pass.
    pub bytes_out: TokenBucket,
    sessions: TokenBucket,
    in_flight: Concurrency,
    refused_connections: AtomicU64,
    refused_connections_per_second: AtomicU64,
}

impl Limits {
    /// Full buckets, and no session under way.
    #[must_use]
    pub fn new(now: Instant, config: LimitConfig) -> Self {
        let bytes = |rate: u64| TokenBucket::new(now, rate, (rate / 10).max(LEAST_BYTE_BURST));
        let rate = config.connections_per_second;
        Self {
            bytes_in: bytes(config.bytes_per_second_in),
            bytes_out: bytes(config.bytes_per_second_out),
            sessions: TokenBucket::new(now, rate, rate),
            in_flight: Concurrency::new(config.connections),
            refused_connections: AtomicU64::new(0),
            refused_connections_per_second: AtomicU64::new(0),
        }
    }

    /// Lets a new session in; it counts as under way until the guard is dropped.
    ///
    /// A session that is refused for one limit spends nothing of the other. Cost: two atomic
    /// updates, no lock.
    ///
    /// # Errors
    ///
    /// Names the limit that is reached, and counts the refusal.
    pub fn admit(&self, now: Instant) -> Result<ConcurrencyGuard, LimitReached> {
        let Some(guard) = self.in_flight.try_acquire() else {
            self.refused_connections.fetch_add(1, Relaxed);
            return Err(LimitReached::Connections);
        };
        if !self.sessions.try_take(now, 1) {
            self.refused_connections_per_second.fetch_add(1, Relaxed);
            return Err(LimitReached::ConnectionsPerSecond);
        }
        Ok(guard)
    }

    /// A session whose guard was [detached](ConcurrencyGuard::detach) has ended.
    pub fn release(&self) {
        self.in_flight.release();
    }

    /// What has been refused so far.
    #[must_use]
    pub fn stats(&self) -> LimitStats {
        LimitStats {
            in_flight: self.in_flight.in_flight(),
            refused_connections: self.refused_connections.load(Relaxed),
            refused_connections_per_second: self.refused_connections_per_second.load(Relaxed),
        }
    }
}

/// A byte limit lets a tenth of a second pass at once, and at least one read of a bulk transfer:
/// the size of a default pipe, 64 KiB.
const LEAST_BYTE_BURST: u64 = 64 * 1024;
