//! `health = { … }`: how the backends of a pool are probed.

mod http;

use std::time::Duration;

pub(crate) use http::HttpHealth;

use super::section::{Section, one_of};
use super::{DAY, MILLISECOND, bytes, duration};

/// How the backends of a pool are probed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Health {
    /// What a probe does.
    pub(crate) kind: HealthKind,
    /// From the start of one probe to that of the next.
    pub(crate) interval: Duration,
    /// The interval while a change is being confirmed. Default none: a quarter of `interval`.
    pub(crate) fast_interval: Option<Duration>,
    /// How long a probe may take; at most `interval`.
    pub(crate) timeout: Duration,
    /// Successes in a row that bring a backend up.
    pub(crate) rise: u32,
    /// Failures in a row that take a backend down.
    pub(crate) fall: u32,
    /// How far an interval varies at random, in percent, 0..=50.
    pub(crate) jitter: u8,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HealthKind {
    /// Asks by HTTP or by gRPC.
    Http(Box<HttpHealth>),
    /// Connects.
    Tcp,
    /// Connects, sends, and expects the answer to begin so.
    TcpExchange { send: Vec<u8>, expect: Vec<u8> },
    /// Sends a datagram, and expects one back that begins so.
    UdpExchange { send: Vec<u8>, expect: Vec<u8> },
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Grpc,
    Http,
    Tcp,
    TcpExchange,
    UdpExchange,
}

/// The health check of a pool.
pub(super) fn read(section: &mut Section<'_>) -> Option<Health> {
    section.require("kind", &one_of(KINDS.map(|(name, _)| name)));
    let kind = section.choice("kind", "kind of probe", &KINDS);
    // Without a kind, nothing is known of what only some kinds have.
    section.knows(&KEYS);
    let kind = kind.map(|kind| what(section, kind));
    let interval = section.span("interval", MILLISECOND..=DAY);
    let fast_interval = section.span("fast_interval", MILLISECOND..=DAY);
    let timeout = section.span("timeout", MILLISECOND..=DAY);
    let rise = section.integer("rise", 1..=COUNT_MOST);
    let fall = section.integer("fall", 1..=COUNT_MOST);
    let jitter = section.integer("jitter", 0..=JITTER_MOST);
    let health = Health {
        kind: kind?,
        interval: interval.unwrap_or(INTERVAL),
        fast_interval,
        timeout: timeout.unwrap_or_else(|| TIMEOUT.min(interval.unwrap_or(INTERVAL))),
        rise: rise.unwrap_or(RISE),
        fall: fall.unwrap_or(FALL),
        jitter: jitter.unwrap_or(JITTER),
    };
    at_most_interval(section, "timeout", health.timeout, health.interval);
    if let Some(fast) = health.fast_interval {
        at_most_interval(section, "fast_interval", fast, health.interval);
    }
    Some(health)
}

/// The kind with what it sends and expects.
fn what(section: &mut Section<'_>, kind: Kind) -> HealthKind {
    for key in KEYS.into_iter().filter(|key| section.has(key)) {
        if !kind.keys().contains(&key) {
            let having = KINDS.iter().filter(|(_, kind)| kind.keys().contains(&key));
            let having: Vec<_> = having.map(|(name, _)| *name).collect();
            section.wrong(key, format!("only for kind {}", having.join(" or ")));
        }
    }
    match kind {
        Kind::Tcp => HealthKind::Tcp,
        Kind::Http | Kind::Grpc => {
            HealthKind::Http(Box::new(http::read(section, kind == Kind::Grpc)))
        }
        Kind::TcpExchange | Kind::UdpExchange => exchange(section, kind),
    }
}

fn exchange(section: &mut Section<'_>, kind: Kind) -> HealthKind {
    let send = bytes::read(section, "send", "send_hex");
    let expect = bytes::read(section, "expect", "expect_hex");
    let said = section.has("send") || section.has("send_hex");
    let empty = send.as_ref().is_some_and(Vec::is_empty);
    let (send, expect) = (send.unwrap_or_default(), expect.unwrap_or_default());
    if kind == Kind::TcpExchange {
        if send.is_empty() && expect.is_empty() {
            section.wrong("kind", "tcp-exchange needs send or expect, or use \"tcp\"");
        }
        return HealthKind::TcpExchange { send, expect };
    }
    if empty || !said {
        section.wrong("send", "missing, expected what the datagram holds");
    }
    HealthKind::UdpExchange { send, expect }
}

impl Kind {
    /// Those of [`KEYS`] that it has.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Grpc => &http::OF_GRPC,
            Self::Http => &http::OF_HTTP,
            Self::Tcp => &[],
            Self::TcpExchange | Self::UdpExchange => &["expect", "expect_hex", "send", "send_hex"],
        }
    }
}

fn at_most_interval(section: &Section<'_>, key: &str, span: Duration, interval: Duration) {
    if span > interval {
        let interval = duration::print(interval);
        let found = duration::print(span);
        section.wrong(
            key,
            format!("expected at most the interval ({interval}), found {found}"),
        );
    }
}

const KINDS: [(&str, Kind); 5] = [
    ("grpc", Kind::Grpc),
    ("http", Kind::Http),
    ("tcp", Kind::Tcp),
    ("tcp-exchange", Kind::TcpExchange),
    ("udp-exchange", Kind::UdpExchange),
];

/// Every key that not all kinds have.
const KEYS: [&str; 13] = [
    "body",
    "expect",
    "expect_hex",
    "headers",
    "host",
    "method",
    "path",
    "port",
    "protocol",
    "send",
    "send_hex",
    "service",
    "tls",
];

/// HAProxy's `inter`.
const INTERVAL: Duration = Duration::from_secs(2);
/// Half of the interval: a probe is over before the next one begins.
const TIMEOUT: Duration = Duration::from_secs(1);
/// HAProxy's `rise`.
const RISE: u32 = 2;
/// HAProxy's `fall`.
const FALL: u32 = 3;
/// Enough that many nodes do not stay in step.
const JITTER: u8 = 10;
/// Beyond it, intervals could shrink to nothing.
const JITTER_MOST: u8 = 50;
/// More in a row than anyone waits for.
const COUNT_MOST: u32 = 1_000;
