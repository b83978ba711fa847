//! How the backends of an upstream are reached, and how much each of them takes.

use std::time::Duration;

use lbcore::proxy_protocol::Version;
use thiserror::Error;

/// What is spoken to backends.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum BackendProtocol {
    /// HTTP/1.1, over plain connections or TLS.
    #[default]
    Http1,
    /// HTTP/2 without asking (prior knowledge: RFC 9113, 3.3), over plain connections or TLS.
    Http2,
    /// HTTP/2 if the backend chooses it by ALPN, HTTP/1.1 if not; HTTP/1.1 without TLS.
    Negotiated,
}

/// How an [`Upstream`](super::Upstream) reaches its backends; limits are for each backend.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l7::upstream::{BackendProtocol, UpstreamConfig};
///
/// let config = UpstreamConfig::default()
///     .protocol(BackendProtocol::Http2)
///     .connections(64)
///     .connect_timeout(Duration::from_secs(1));
/// assert!(config.check().is_ok());
/// assert!(config.connections(0).check().is_err());
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamConfig {
    /// What is spoken to the backends. Default HTTP/1.1.
    pub protocol: BackendProtocol,
    /// Connections at once, all workers together. 1..; default 1024, as in Envoy.
    pub connections: u32,
    /// Exchanges that may wait for a connection, all workers together; one more is refused at once.
    /// Default 1024, as in Envoy; 0: nobody waits.
    pub pending: u32,
    /// How long an exchange may wait for a connection before it is refused. Default 2 s: less than
    /// connecting may take, so that a full backend is told from one that is gone.
    pub pending_time: Duration,
    /// Connections that each worker keeps idle; 0: every connection serves one exchange.
    /// Default 1024, as many as there may be.
    pub idle_connections: u32,
    /// How long a connection may be idle. Default 60 s, as in nginx: shorter than servers keep
    /// theirs would be better still, where that is known.
    pub idle_time: Duration,
    /// How old a connection may get before it takes no further exchange. Default 1 h, so that a
    /// change behind an address is noticed.
    pub age: Duration,
    /// How many exchanges a connection may carry. 1..; default 2^32 − 1: no limit.
    pub requests: u32,
    /// HTTP/2: exchanges at once on one connection; the backend may allow fewer. 1..; default 100.
    pub streams: u32,
    /// HTTP/2: how long a connection may be silent before a ping asks whether the backend is there;
    /// one that does not answer within the same time is closed. Default none: no ping.
    pub http2_ping: Option<Duration>,
    /// How long connecting, the TLS handshake included, may take. Default 5 s.
    pub connect_timeout: Duration,
    /// The PROXY protocol header sent ahead of everything, TLS included. Default none.
    pub proxy_protocol: Option<Version>,
    /// How many workers share it, each with its own part. 1..; default the number of processors.
    pub workers: usize,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        let workers = std::thread::available_parallelism();
        Self {
            protocol: BackendProtocol::Http1,
            connections: 1024,
            pending: 1024,
            pending_time: Duration::from_secs(2),
            idle_connections: 1024,
            idle_time: Duration::from_secs(60),
            age: Duration::from_secs(3600),
            requests: u32::MAX,
            streams: 100,
            http2_ping: None,
            connect_timeout: Duration::from_secs(5),
            proxy_protocol: None,
            workers: workers.map_or(1, usize::from),
        }
    }
}

impl UpstreamConfig {
    /// Sets [`protocol`](Self::protocol).
    #[must_use]
    pub const fn protocol(mut self, protocol: BackendProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets [`connections`](Self::connections).
    #[must_use]
    pub const fn connections(mut self, most: u32) -> Self {
        self.connections = most;
        self
    }

    /// Sets [`pending`](Self::pending).
    #[must_use]
    pub const fn pending(mut self, most: u32) -> Self {
        self.pending = most;
        self
    }

    /// Sets [`pending_time`](Self::pending_time).
    #[must_use]
    pub const fn pending_time(mut self, time: Duration) -> Self {
        self.pending_time = time;
        self
    }

    /// Sets [`idle_connections`](Self::idle_connections).
    #[must_use]
    pub const fn idle_connections(mut self, most: u32) -> Self {
        self.idle_connections = most;
        self
    }

    /// Sets [`idle_time`](Self::idle_time).
    #[must_use]
    pub const fn idle_time(mut self, time: Duration) -> Self {
        self.idle_time = time;
        self
    }

    /// Sets [`age`](Self::age).
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Sets [`requests`](Self::requests).
    #[must_use]
    pub const fn requests(mut self, most: u32) -> Self {
        self.requests = most;
        self
    }

    /// Sets [`streams`](Self::streams).
    #[must_use]
    pub const fn streams(mut self, most: u32) -> Self {
        self.streams = most;
        self
    }

    /// Sets [`http2_ping`](Self::http2_ping).
    #[must_use]
    pub const fn http2_ping(mut self, silence: Option<Duration>) -> Self {
        self.http2_ping = silence;
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`proxy_protocol`](Self::proxy_protocol).
    #[must_use]
    pub const fn proxy_protocol(mut self, version: Option<Version>) -> Self {
        self.proxy_protocol = version;
        self
    }

    /// Sets [`workers`](Self::workers).
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    ///
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), UpstreamConfigError> {
        let zero = |field| Err(UpstreamConfigError::Zero { field });
        match self {
            Self { connections: 0, .. } => zero("connections"),
            Self { requests: 0, .. } => zero("requests"),
            Self { streams: 0, .. } => zero("streams"),
            Self { workers: 0, .. } => zero("workers"),
            it if it.connect_timeout.is_zero() => zero("connect_timeout"),
            it if it.pending_time.is_zero() => zero("pending_time"),
            it if it.idle_time.is_zero() => zero("idle_time"),
            it if it.age.is_zero() => zero("age"),
            it if it.http2_ping.is_some_and(|silence| silence.is_zero()) => zero("http2_ping"),
            _ => Ok(()),
        }
    }
}

/// What is wrong with an [`UpstreamConfig`]; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum UpstreamConfigError {
    /// A field that must be more than nothing.
    #[error("`{field}` must be greater than 0")]
    Zero {
        /// Which.
        field: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_range_and_each_nought_is_named() {
        let good = UpstreamConfig::default();
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.clone().pending(0).idle_connections(0).check(), Ok(()));
        let bad = [
            ("connections", good.clone().connections(0)),
            ("requests", good.clone().requests(0)),
            ("streams", good.clone().streams(0)),
            ("workers", good.clone().workers(0)),
            (
                "connect_timeout",
                good.clone().connect_timeout(Duration::ZERO),
            ),
            ("pending_time", good.clone().pending_time(Duration::ZERO)),
            ("idle_time", good.clone().idle_time(Duration::ZERO)),
            ("age", good.clone().age(Duration::ZERO)),
            ("http2_ping", good.http2_ping(Some(Duration::ZERO))),
        ];
        for (field, config) in bad {
            assert_eq!(config.check(), Err(UpstreamConfigError::Zero { field }));
        }
    }
}
