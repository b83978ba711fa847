//! `[[pool]]`: backends that share the sessions of a listener.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lbcore::Backend;
use lbcore::backend::Address;
use toml::de::DeTable;

use super::health::{Health, HealthKind, HttpHealth};
use super::outlier::Outlier;
use super::scheduler::Scheduler;
use super::section::{Section, tables_in};
use super::tls::Elsewhere;
use super::upstream::{self, Upstream};
use super::{DAY, MILLISECOND, backend, health, outlier, scheduler};

/// Backends that share sessions, and the rule by which they do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pool {
    /// By which listeners refer to it.
    pub(crate) name: String,
    /// Which backend takes a session.
    pub(crate) scheduler: Scheduler,
    /// Each name once. May be empty: then every session is refused.
    pub(crate) backends: Vec<Backend>,
    /// How they are probed. Default none: all are up.
    pub(crate) health: Option<Health>,
    /// Taking out backends by the errors of traffic. Default none.
    pub(crate) outlier: Option<Outlier>,
    /// How the share of a backend grows that has come up. Default none: all at once.
    pub(crate) slow_start: Option<SlowStart>,
    /// Below this share of healthy backends, in percent, health is ignored. Default 50.
    pub(crate) panic_threshold: u8,
    /// The zone that its backends are preferred in. Default: that of the file, if it has one.
    pub(crate) zone: Option<String>,
    /// How listeners of http reach its backends.
    pub(crate) upstream: Upstream,
}

/// How the share of a backend grows that has come up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SlowStart {
    /// How long until it has its whole share.
    pub(crate) window: Duration,
    /// 1 grows evenly, more grows faster at first. Default 1.
    pub(crate) aggression: f64,
    /// The share it begins with, in percent. Default 10.
    pub(crate) minimum: u8,
}

/// What listeners refer to: pools, and key servers.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// Those of every listener but of http's rules.
    pub(super) all: BTreeSet<String>,
    /// Those of listeners of http.
    pub(super) by_http: BTreeSet<String>,
    /// Those of listeners whose packets are forwarded.
    pub(super) by_packets: BTreeSet<String>,
    /// Those of listeners of sockets but of http.
    pub(super) by_sockets: BTreeSet<String>,
    /// Whether packets of any listener are forwarded.
    pub(super) is_forwarding: bool,
    /// Where keys are said to be elsewhere.
    pub(super) elsewhere: Elsewhere,
}

impl Used {
    /// Whether a backend of this pool may leave the port as it was asked for.
    fn keeps_ports(&self, pool: &str) -> bool {
        let (packets, sockets) = (&self.by_packets, [&self.by_sockets, &self.by_http]);
        packets.contains(pool) && sockets.iter().all(|used| !used.contains(pool))
    }
}

/// What listeners ask of pools before these are read.
#[derive(Debug)]
pub(super) struct Known<'t> {
    /// The names of all pools, the faulty ones too, so that no reference to them is a second
    /// mistake.
    pub(super) names: Vec<&'t str>,
    /// The backends of all pools that are at good addresses: pool, name, address.
    backends: Vec<(&'t str, &'t str, Address)>,
    /// Pools with a backend at a path, each with the first of these and its address.
    at_paths: Vec<(&'t str, &'t str, &'t str)>,
}

impl<'t> Known<'t> {
    /// The pools of this file.
    pub(super) fn of(file: &Section<'t>) -> Self {
        let text = |table: &'t DeTable<'t>, key| table.get(key)?.get_ref().as_str();
        let address = |table| text(table, "address")?.parse().ok();
        let backends = |(pool, table)| {
            let all = tables_in(table, "backends");
            all.filter_map(move |backend| Some((pool, text(backend, "name")?, address(backend)?)))
        };
        let at_path = |(pool, table)| {
            tables_in(table, "backends").find_map(|backend| {
                let address = text(backend, "address")?;
                let name = text(backend, "name")?;
                address
                    .starts_with("unix:")
                    .then_some((pool, name, address))
            })
        };
        Self {
            names: file.names_in("pool"),
            backends: file.named_in("pool").flat_map(backends).collect(),
            at_paths: file.named_in("pool").filter_map(at_path).collect(),
        }
    }

    /// The backends of this pool that are at good addresses, each with its name.
    pub(super) fn backends(&self, pool: &str) -> impl Iterator<Item = (&'t str, &Address)> {
        let all = self.backends.iter().filter(move |(of, ..)| *of == pool);
        all.map(|(_, name, address)| (*name, address))
    }

    /// Why datagrams cannot reach every backend of this pool.
    pub(super) fn no_datagrams(&self, pool: &str) -> Option<String> {
        let (pool, name, address) = self.at_paths.iter().find(|(name, ..)| *name == pool)?;
        Some(format!(
            "{pool} has the backend {name} at {address}, which datagrams cannot reach"
        ))
    }
}

/// One pool; `used` names those that listeners refer to, `own` is the zone of the file.
pub(super) fn read(section: &mut Section<'_>, own: Option<&str>, used: &Used) -> Option<Pool> {
    let name = section.name();
    let scheduler = scheduler::read(section);
    let keeps_ports = name.is_some_and(|name| used.keeps_ports(name));
    let backends = section.tables("backends", |section| backend::read(section, keeps_ports));
    let health = section.table("health", health::read).flatten();
    let outlier = section.table("outlier", outlier::read);
    let slow_start = section.table("slow_start", slow_start).flatten();
    let panic_threshold = section.integer("panic_threshold", 0..=100);
    let zone = section.text("zone", "the name of a zone");
    let upstream = upstream::read(section);
    let pool = Pool {
        name: name?.into(),
        scheduler: scheduler?,
        backends: backends.unwrap_or_default(),
        health,
        outlier,
        slow_start,
        panic_threshold: panic_threshold.unwrap_or(PANIC_THRESHOLD),
        zone: zone.or(own).map(Into::into),
        upstream,
    };
    if let Some(backend) = pool.backends.iter().find(|one| has_every_port(one))
        && pool.health.is_some()
        && !http_health(&pool).is_some_and(HttpHealth::has_port)
    {
        let text = format!("{} has no port of its own to be probed at", backend.name);
        section.wrong("health", text);
    }
    odd(section, &pool, used);
    Some(pool)
}

/// What can be used and is probably not meant.
fn odd(section: &Section<'_>, pool: &Pool, used: &Used) {
    if pool.backends.is_empty() {
        section.odd("backends", "empty: every session will be refused");
    } else if pool.backends.iter().all(|backend| backend.weight.0 == 0) {
        section.odd(
            "backends",
            "every weight is 0: every session will be refused",
        );
    }
    let mut places = HashMap::with_capacity(pool.backends.len());
    for backend in &pool.backends {
        if let Some(other) = places.insert(&backend.address, &backend.name) {
            let (name, address) = (&backend.name, &backend.address);
            section.odd(
                "backends",
                format!("{other} and {name} are both at {address}"),
            );
        }
    }
    odd_weights(section, pool);
    odd_port(section, pool);
    let is_of_http = used.by_http.contains(&pool.name);
    if !is_of_http && !used.all.contains(&pool.name) {
        section.odd("", "no listener uses this pool");
    } else if !is_of_http {
        let probes = http_health(pool);
        let is_told = |key: &&str| probes.is_some_and(|health| health.follows(key));
        let keys = upstream::KEYS.into_iter().filter(|key| section.has(key));
        for key in keys.filter(|key| !is_told(key)) {
            section.odd(
                key,
                "only listeners of http use it, and none uses this pool",
            );
        }
    }
}

/// A port to be probed at where there are none.
fn odd_port(section: &Section<'_>, pool: &Pool) {
    let unix = pool
        .backends
        .iter()
        .find(|one| one.address.socket().is_none());
    if let Some(backend) = unix
        && http_health(pool).is_some_and(HttpHealth::has_port)
    {
        let (name, address) = (&backend.name, &backend.address);
        section.odd(
            "health",
            format!("{name} is at {address}, which has no port to be probed at"),
        );
    }
}

/// Whether packets to it keep the port that they were sent to.
fn has_every_port(backend: &Backend) -> bool {
    backend
        .address
        .socket()
        .is_some_and(|socket| socket.port() == 0)
}

fn http_health(pool: &Pool) -> Option<&HttpHealth> {
    match &pool.health.as_ref()?.kind {
        HealthKind::Http(health) => Some(health),
        _ => None,
    }
}

/// Weights that the scheduler does not use, or cannot tell backends apart by.
///
/// Backends of different priorities never compete, and a weight of 0 takes part in nothing.
fn odd_weights(section: &Section<'_>, pool: &Pool) {
    let mut tiers: BTreeMap<_, Vec<u16>> = BTreeMap::new();
    for backend in pool.backends.iter().filter(|one| one.weight.0 != 0) {
        let tier = tiers.entry(backend.priority).or_default();
        tier.push(backend.weight.0);
    }
    let differ = |tier: &[u16]| tier.windows(2).any(|pair| pair[0] != pair[1]);
    let name = pool.scheduler.name;
    if let Some((_, weighted)) = UNWEIGHTED.iter().find(|(plain, _)| *plain == name) {
        if tiers.values().any(|tier| differ(tier)) {
            let text =
                format!("weights differ, and {name} does not use them; did you mean {weighted:?}?");
            section.odd("scheduler", text);
        }
    } else if BY_WEIGHT.contains(&name)
        && tiers.values().any(|tier| tier.len() > 1 && !differ(tier))
    {
        section.odd(
            "backends",
            format!("weights are equal, and {name} goes by them: give each its own weight"),
        );
    }
}

fn slow_start(section: &mut Section<'_>) -> Option<SlowStart> {
    section.require("window", "a duration");
    let window = section.span("window", MILLISECOND..=DAY);
    let aggression = section.number("aggression", 0.1..=10.0);
    let minimum = section.integer("minimum", 1..=100);
    Some(SlowStart {
        window: window?,
        aggression: aggression.unwrap_or(1.0),
        minimum: minimum.unwrap_or(10),
    })
}

/// Envoy's `healthy_panic_threshold`.
const PANIC_THRESHOLD: u8 = 50;

/// Schedulers to which weights are nothing, each with the one that is the same by weight.
const UNWEIGHTED: [(&str, &str); 3] = [
    ("round-robin", "weighted-round-robin"),
    ("least-connections", "weighted-least-connections"),
    ("random", "weighted-random"),
];

/// Schedulers to which the weight is the order of the backends.
const BY_WEIGHT: [&str; 2] = ["weighted-failover", "overflow"];
