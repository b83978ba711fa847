//! What workers have done, as plain numbers that add up.

use std::collections::BTreeMap;

use lb_l4::forwarder::{Forwarder, ForwarderStats, ServiceStats};
use lb_l4::fragment::FragmentStats;
use lb_l4::icmp::AnswerStats;
use lb_l4::packet::DropReason;
use lb_l4::syn_proxy::SynProxyStats;
use lb_l4::transport::TransportStats;
use lbcore::schedule::AnyScheduler;

use super::link::Opened;
use super::services::Kept;
use crate::admin::snapshot;
use crate::config::{self, Target};

/// What one worker has done, but for single services.
#[derive(Clone, Copy, Debug)]
struct Done {
    forwarder: ForwarderStats,
    syn_proxy: SynProxyStats,
    transport: TransportStats,
}

/// What one worker has done, or several together.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Figures {
    workers: Vec<Done>,
    services: BTreeMap<String, ServiceStats>,
}

impl Figures {
    /// Those of one worker.
    pub(super) fn of(forwarder: &Forwarder<AnyScheduler>, transport: TransportStats) -> Self {
        let services = forwarder.all_service_stats();
        Self {
            workers: vec![Done {
                forwarder: forwarder.stats(),
                syn_proxy: forwarder.syn_proxy_stats(),
                transport,
            }],
            services: services.map(|(name, stats)| (name.into(), stats)).collect(),
        }
    }

    /// Adds those of other workers.
    pub(super) fn add(&mut self, other: Self) {
        self.workers.extend(other.workers);
        for (name, stats) in other.services {
            let sum = self.services.entry(name).or_default();
            *sum = sum.plus(&stats);
        }
    }

    /// What a listener has done.
    pub(super) fn listener(&self, kept: &Kept, state: &'static str) -> snapshot::Listener {
        let config = &kept.config;
        let stats = self
            .services
            .get(&kept.service)
            .copied()
            .unwrap_or_default();
        let pool = match &config.target {
            Target::Pool(pool) => Some(pool.clone()),
            _ => None,
        };
        snapshot::Listener {
            name: config.name.clone(),
            protocol: config.protocol.name(),
            address: config.listen.to_string(),
            pools: pool.into_iter().collect(),
            state,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            accepted: stats.sessions + stats.refused,
            sessions: stats.sessions,
            active: wide(stats.active),
            refused: BTreeMap::from([("backend-unavailable", stats.refused)]),
            forwarding: config.forwarding.map(|it| snapshot::Forwarding {
                method: it.method.name(),
                packets_in: stats.packets_in,
                packets_out: stats.packets_out,
            }),
            ..snapshot::Listener::default()
        }
    }

    /// What the workers have done.
    pub(super) fn show(&self, section: &config::Packet, opened: &Opened) -> snapshot::Packets {
        snapshot::Packets {
            interface: section.interface.clone(),
            transport: section.transport.name(),
            mode: opened.mode,
            mtu: opened.interface.mtu,
            workers: self.workers.iter().map(worker).collect(),
        }
    }
}

fn worker(done: &Done) -> snapshot::PacketWorker {
    let Done {
        forwarder,
        syn_proxy,
        transport,
    } = done;
    let dropped = DropReason::ALL.into_iter();
    snapshot::PacketWorker {
        sessions: wide(forwarder.sessions),
        verdicts: BTreeMap::from([
            ("forward", forwarder.forwarded),
            ("held", forwarder.held),
            ("pass", forwarder.passed),
            ("reply", forwarder.replied),
        ]),
        originated: forwarder.transmitted,
        handed: BTreeMap::from([
            ("given", forwarder.hand_off.given),
            ("taken", forwarder.hand_off.taken),
        ]),
        answers: answers(&forwarder.answers),
        fragments: fragments(&forwarder.fragments),
        local_ports: BTreeMap::from([
            ("resting", wide(forwarder.local_ports.resting)),
            ("taken", wide(forwarder.local_ports.taken)),
        ]),
        half_open: wide(syn_proxy.half_open),
        syn_proxy: handshakes(syn_proxy),
        dropped: dropped
            .map(|reason| (reason.as_str(), forwarder.dropped_for(reason)))
            .collect(),
        received: transport.received,
        received_bytes: transport.received_bytes,
        sent: transport.sent,
        sent_bytes: transport.sent_bytes,
        lost: BTreeMap::from([
            ("kernel", transport.kernel_dropped),
            ("malformed", transport.malformed),
            ("misdirected", transport.misdirected),
            ("queue-full", transport.queue_full),
            ("too-large", transport.too_large),
        ]),
    }
}

fn answers(stats: &AnswerStats) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        ("echo", stats.echoes),
        ("error", stats.errors),
        ("limited", stats.limited),
        ("reset", stats.resets),
        ("unanswerable", stats.unanswerable),
    ])
}

fn fragments(stats: &FragmentStats) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        ("completed", stats.completed),
        ("evicted", stats.evicted),
        ("overlapping", stats.overlapping),
        ("timed-out", stats.timed_out),
    ])
}

fn handshakes(stats: &SynProxyStats) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        ("abandoned", stats.abandoned),
        ("accepted", stats.accepted),
        ("answered", stats.answered),
        ("challenged", stats.challenged),
        ("crowded", stats.crowded),
        ("joined", stats.joined),
        ("promises-broken", stats.promises_broken),
        ("refused", stats.refused),
        ("retry", stats.retries),
        ("stale", stats.stale),
        ("unanswered", stats.unanswered),
        ("wrong", stats.wrong),
    ])
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
