//! A snapshot of all that is in service.

use std::collections::BTreeMap;

use lbcore::Outcome;
use lbcore::backend::Admin;
use lbcore::budget::{Budget, Resource as Kind};
use lbcore::health::Health;
use lbcore::pool::BackendStats;

use super::{Engine, Served};
use crate::admin::snapshot::{Backend, Connections, Listener, Pool, Resource, Snapshot};
use crate::process;

impl Engine {
    /// What is in service, and what it has done.
    pub(crate) async fn snapshot(&mut self) -> Snapshot {
        self.reap();
        let packets = match &self.packets {
            Some(packets) => Some((packets, packets.figures().await)),
            None => None,
        };
        let pools = self.config.pools.iter();
        let pools = pools.filter_map(|pool| Some(show(&pool.name, self.pools.get(&pool.name)?)));
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started,
            workers: self.workers.count(),
            draining: self.draining,
            reloads: self.reloads,
            process: process::read(),
            budget: budget(&self.budget),
            key_server: self.remote_keys.figures(),
            packet: packets
                .as_ref()
                .map(|(packets, figures)| packets.show(figures)),
            listeners: {
                let forwarded = packets.map(|(packets, figures)| packets.listeners(&figures));
                self.listeners(forwarded.unwrap_or_default())
            },
            pools: pools.collect(),
        }
    }

    /// One entry a name, with all that was ever counted under it.
    fn listeners(&self, forwarded: Vec<Listener>) -> Vec<Listener> {
        let mut by_name: BTreeMap<String, Listener> = self.past.clone();
        // Those in service come last, and so decide over what is no figure.
        let (draining, serving): (Vec<_>, Vec<_>) = self
            .listeners
            .iter()
            .partition(|listener| listener.is_draining());
        let names = |pool: &str, id| super::name_of(&self.pools, pool, id);
        let sockets = draining.into_iter().chain(serving);
        let sockets = sockets.map(|listener| listener.figures(&names));
        for figures in sockets.chain(forwarded) {
            let entry = by_name.entry(figures.name.clone());
            let sum = entry.or_insert_with(|| Listener::of_past(&figures));
            sum.add(&figures);
            sum.protocol = figures.protocol;
            sum.address = figures.address;
            sum.pools = figures.pools;
            sum.state = figures.state;
            if let (Some(sum), Some(http)) = (&mut sum.http, figures.http) {
                sum.certificates = http.certificates;
            }
        }
        by_name.into_values().collect()
    }
}

fn budget(budget: &Budget) -> Vec<Resource> {
    let each = |resource| {
        let stats = budget.stats(resource);
        Resource {
            name: match resource {
                Kind::Bytes => "bytes",
                Kind::Descriptors => "descriptors",
                Kind::Sessions => "sessions",
                _ => "other",
            },
            used: stats.used,
            limit: (stats.limit != u64::MAX).then_some(stats.limit),
            refused: stats.refused_work,
        }
    };
    Kind::ALL.into_iter().map(each).collect()
}

fn show(name: &str, served: &Served) -> Pool {
    let stats = served.pool.stats();
    let connections = served.connections();
    let connections = |id| connections.iter().find(|one| one.backend == id).copied();
    let backend = |stats: &BackendStats| Backend {
        connections: connections(stats.backend.id).map(Connections),
        ..backend(served, stats)
    };
    let mut backends: Vec<Backend> = stats.iter().map(backend).collect();
    backends.sort_by(|left, right| left.name.cmp(&right.name));
    Pool {
        name: name.into(),
        scheduler: served.scheduler.into(),
        backends,
    }
}

fn backend(served: &Served, stats: &BackendStats) -> Backend {
    let backend = &stats.backend;
    let outcomes = Outcome::NAMES
        .iter()
        .copied()
        .zip(stats.outcomes().iter().copied());
    Backend {
        name: backend.name.to_string(),
        address: backend.address.to_string(),
        weight: backend.weight.0,
        priority: backend.priority,
        zone: backend.zone.as_ref().map(ToString::to_string),
        admin: match backend.admin {
            Admin::Drain => "drain",
            Admin::Maintenance => "maintenance",
            _ => "ready",
        },
        health: match stats.health {
            Health::Down => "down",
            Health::Unknown => "unknown",
            Health::Up => "up",
        },
        ejected: stats.ejected_until.is_some(),
        share: stats.share,
        picks: stats.acquired(),
        active: stats.in_flight(),
        outcomes: outcomes.collect(),
        probes: served.probes(backend.id),
        mean_latency: stats.mean_latency().map(|mean| mean.as_secs_f64()),
        connections: None,
    }
}
