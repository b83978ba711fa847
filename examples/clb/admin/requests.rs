//! What became of requests at one moment, as plain values.

use std::collections::BTreeMap;

use lb_l7::stats::{ExchangeFigures, HistogramSnapshot, StatusClass};
use lb_l7::upstream::{CloseReason, ConnectionStats};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::snapshot::add_each;

/// What became of the requests of one listener.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Http {
    /// Exchanges over, by the version of HTTP that they came by.
    pub(crate) requests: BTreeMap<&'static str, u64>,
    /// Exchanges over, by how they ended; only ends that were met.
    pub(crate) terminations: BTreeMap<&'static str, u64>,
    /// Requests that a limit has turned away, by which.
    pub(crate) turned_away: BTreeMap<&'static str, u64>,
    /// Full TLS handshakes.
    pub(crate) handshakes: u64,
    /// TLS handshakes that resumed a session.
    pub(crate) resumed: u64,
    /// TLS handshakes that failed, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tls_refused: BTreeMap<&'static str, u64>,
    /// What is shown to clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) certificates: Vec<Certificate>,
    /// By the name of the rule.
    pub(crate) routes: BTreeMap<String, Exchanges>,
    /// By the name of the pool.
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    /// What became of the lines of its access log, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_log: Option<LogLines>,
}

/// A certificate that is shown.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Certificate {
    /// The first name that it is for.
    pub(crate) name: String,
    /// Seconds since 1970 after which it is not valid.
    pub(crate) not_after: u64,
}

/// What became of the requests that one pool took.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Upstream {
    /// All of them, those that found no backend included.
    pub(crate) all: Exchanges,
    /// By the name of the backend; those of today.
    pub(crate) backends: BTreeMap<String, Exchanges>,
}

/// What became of the lines of an access log.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct LogLines {
    /// Written.
    pub(crate) written: u64,
    /// Dropped, because the disk did not keep up.
    pub(crate) dropped: u64,
    /// Refused by the disk.
    pub(crate) failed: u64,
}

/// Exchanges, counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchanges(pub(crate) ExchangeFigures);

/// The connections of http to one backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connections(pub(crate) ConnectionStats);

impl Http {
    /// Adds what `other` has done; its certificates are not of the sum.
    pub(super) fn add(&mut self, other: &Self) {
        add_each(&mut self.requests, &other.requests);
        add_each(&mut self.terminations, &other.terminations);
        add_each(&mut self.turned_away, &other.turned_away);
        add_each(&mut self.tls_refused, &other.tls_refused);
        self.handshakes += other.handshakes;
        self.resumed += other.resumed;
        for (name, exchanges) in &other.routes {
            self.routes.entry(name.clone()).or_default().0 += &exchanges.0;
        }
        for (name, upstream) in &other.upstreams {
            let sum = self.upstreams.entry(name.clone()).or_default();
            sum.all.0 += &upstream.all.0;
            for (name, exchanges) in &upstream.backends {
                sum.backends.entry(name.clone()).or_default().0 += &exchanges.0;
            }
        }
        if let Some(other) = other.access_log {
            let sum = self.access_log.get_or_insert_default();
            sum.written += other.written;
            sum.dropped += other.dropped;
            sum.failed += other.failed;
        }
    }
}

impl Serialize for Exchanges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let figures = &self.0;
        let mut map = serializer.serialize_map(None)?;
        let counts = [
            ("began", figures.began),
            ("in_flight", figures.in_flight()),
            ("errors", figures.errors),
            ("retries", figures.retries),
            ("hedges", figures.hedges),
            ("hedged", figures.hedged),
            ("reused", figures.reused),
            ("bytes_in", figures.bytes_in),
            ("bytes_out", figures.bytes_out),
        ];
        for (key, count) in counts {
            map.serialize_entry(key, &count)?;
        }
        for &class in StatusClass::ALL {
            map.serialize_entry(class.as_str(), &figures.class(class))?;
        }
        durations(&mut map, "first_byte", &figures.first_byte)?;
        durations(&mut map, "total", &figures.total)?;
        map.end()
    }
}

/// Seconds; null where nothing was counted.
fn durations<M: SerializeMap>(
    map: &mut M,
    key: &str,
    durations: &HistogramSnapshot,
) -> Result<(), M::Error> {
    let quantile = |q| durations.quantile(q).map(|time| time.as_secs_f64());
    let mean = durations.mean().map(|mean| mean.as_secs_f64());
    let figures = [
        ("mean", mean),
        ("p50", quantile(0.5)),
        ("p90", quantile(0.9)),
        ("p99", quantile(0.99)),
    ];
    map.serialize_entry(key, &BTreeMap::from(figures))
}

impl Serialize for Connections {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stats = &self.0;
        let mut map = serializer.serialize_map(None)?;
        let counts = [
            ("open", stats.open.into()),
            ("idle", stats.idle.into()),
            ("pending", stats.pending.into()),
            ("opened", stats.opened),
            ("failed", stats.failed),
            ("reused", stats.reused),
            ("queue_full", stats.queue_full),
        ];
        for (key, count) in counts {
            map.serialize_entry(key, &count)?;
        }
        let closed = CloseReason::ALL.map(|why| (why.as_str(), stats.closed_for(why)));
        map.serialize_entry("closed", &BTreeMap::from(closed))?;
        map.end()
    }
}
