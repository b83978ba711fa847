//! What a pool says of its backends to listeners of http: `protocol`, `tls`, `connections` and
//! `retry_budget`.

use std::time::Duration;

use lb_l7::upstream::{BackendProtocol, RetryBudgetConfig, UpstreamConfig};
use lbcore::proxy_protocol::Version;

use super::section::Section;
use super::tls::{self, ToBackends};
use super::{DAY, MILLISECOND};

/// How listeners of http reach the backends of a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Upstream {
    /// What is spoken, and how much of it; `workers` is the engine's to say.
    pub(crate) config: UpstreamConfig,
    /// How TLS is spoken; none if it is not.
    pub(crate) tls: Option<ToBackends>,
    /// How many retries there may be.
    pub(crate) retries: RetryBudgetConfig,
}

/// The keys of a pool that only http uses.
pub(super) fn read(section: &mut Section<'_>) -> Upstream {
    let protocol = section.choice("protocol", "protocol", &PROTOCOLS);
    let mut config = UpstreamConfig::default().protocol(protocol.unwrap_or_default());
    section.table("connections", |section| connections(section, &mut config));
    let tls = tls::to_backends(section);
    if protocol == Some(BackendProtocol::Negotiated) && !section.has("tls") {
        section.wrong("protocol", "\"auto\" is settled by TLS, expected tls");
    }
    let mut retries = RetryBudgetConfig::default();
    section.table("retry_budget", |section| {
        if let Some(percent) = section.integer("percent", 0..=100) {
            retries.percent = percent;
        }
        if let Some(floor) = section.integer("floor_per_second", 0..=u32::MAX) {
            retries.floor_per_second = floor;
        }
        if let Some(window) = section.span("window", SECOND..=HOUR) {
            retries.window = window;
        }
    });
    Upstream {
        config,
        tls,
        retries,
    }
}

type Field = fn(&mut UpstreamConfig) -> &mut u32;

fn connections(section: &mut Section<'_>, config: &mut UpstreamConfig) {
    let most = u32::MAX;
    let numbers: [(_, _, Field); 5] = [
        ("max_connections", 1, |c| &mut c.connections),
        ("max_pending", 0, |c| &mut c.pending),
        ("max_idle", 0, |c| &mut c.idle_connections),
        ("max_requests", 1, |c| &mut c.requests),
        ("max_streams", 1, |c| &mut c.streams),
    ];
    for (key, least, field) in numbers {
        if let Some(number) = section.integer(key, least..=most) {
            *field(config) = number;
        }
    }
    let mut span = |key| section.span(key, MILLISECOND..=DAY);
    if let Some(time) = span("idle_timeout") {
        config.idle_time = time;
    }
    if let Some(age) = span("max_age") {
        config.age = age;
    }
    if let Some(timeout) = span("connect_timeout") {
        config.connect_timeout = timeout;
    }
    config.http2_ping = span("ping");
    config.proxy_protocol = section.choice("send_proxy", "version", &SENDS).flatten();
}

/// Every key of a pool that only listeners of http use.
pub(super) const KEYS: [&str; 4] = ["protocol", "tls", "connections", "retry_budget"];

const PROTOCOLS: [(&str, BackendProtocol); 3] = [
    ("http1", BackendProtocol::Http1),
    ("h2", BackendProtocol::Http2),
    ("auto", BackendProtocol::Negotiated),
];

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

const SENDS: [(&str, Option<Version>); 3] = [
    ("none", None),
    ("v1", Some(Version::V1)),
    ("v2", Some(Version::V2)),
];
