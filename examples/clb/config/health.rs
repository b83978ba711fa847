//! `health = { … }`: how the backends of a pool are probed.

use std::time::Duration;

use super::section::{Section, one_of};
use super::{DAY, MILLISECOND, bytes, duration};

/// How the backends of a pool are probed.
#[derive(Clone, Debug, Eq, PartialEq)]
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum HealthKind {
    /// Connects.
    Tcp,
    /// Connects, sends, and expects the answer to begin so.
    TcpExchange { send: Vec<u8>, expect: Vec<u8> },
    /// Sends a datagram, and expects one back that begins so.
    UdpExchange { send: Vec<u8>, expect: Vec<u8> },
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    TcpExchange,
    UdpExchange,
}

/// The health check of a pool.
pub(super) fn read(section: &mut Section<'_>) -> Option<Health> {
    section.require("kind", &one_of(KINDS.map(|(name, _)| name)));
    let kind = section.choice("kind", "kind of probe", &KINDS);
    let send = bytes::read(section, "send", "send_hex");
    let expect = bytes::read(section, "expect", "expect_hex");
    let interval = section.span("interval", MILLISECOND..=DAY);
    let fast_interval = section.span("fast_interval", MILLISECOND..=DAY);
    let timeout = section.span("timeout", MILLISECOND..=DAY);
    let rise = section.integer("rise", 1..=COUNT_MOST);
    let fall = section.integer("fall", 1..=COUNT_MOST);
    let jitter = section.integer("jitter", 0..=JITTER_MOST);
    let health = Health {
        kind: exchange(section, kind?, send, expect),
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

/// The kind with what it sends and expects; a probe that only connects has neither.
fn exchange(
    section: &Section<'_>,
    kind: Kind,
    send: Option<Vec<u8>>,
    expect: Option<Vec<u8>>,
) -> HealthKind {
    if matches!(kind, Kind::Tcp) {
        for key in ["send", "send_hex", "expect", "expect_hex"] {
            if section.has(key) {
                section.wrong(key, "only for kind tcp-exchange or udp-exchange");
            }
        }
        return HealthKind::Tcp;
    }
    let said = section.has("send") || section.has("send_hex");
    let empty = send.as_ref().is_some_and(Vec::is_empty);
    let (send, expect) = (send.unwrap_or_default(), expect.unwrap_or_default());
    if matches!(kind, Kind::TcpExchange) {
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

const KINDS: [(&str, Kind); 3] = [
    ("tcp", Kind::Tcp),
    ("tcp-exchange", Kind::TcpExchange),
    ("udp-exchange", Kind::UdpExchange),
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
