//! What the program is doing at one moment, as plain values.

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use super::packets::{Forwarding, PacketWorker, Packets};
pub(crate) use super::remote_keys::{KeyServer, RemoteKey, RemoteKeys};
pub(crate) use super::requests::{Certificate, Connections, Exchanges, Http, LogLines, Upstream};

/// All that status and metrics show.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Snapshot {
    /// Of this program.
    pub(crate) version: &'static str,
    /// Seconds since 1970-01-01, as of its start.
    pub(crate) started: f64,
    /// Worker threads.
    pub(crate) workers: usize,
    /// Whether it takes no new session and is about to end.
    pub(crate) draining: bool,
    /// What came of re-reading the file.
    pub(crate) reloads: Reloads,
    /// What the kernel says of the process.
    pub(crate) process: Process,
    /// What the process may use, and uses.
    pub(crate) budget: Vec<Resource>,
    /// Who holds keys that are not here, if anybody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_server: Option<RemoteKeys>,
    /// What forwards packets, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) packet: Option<Packets>,
    /// Those in service, and those that drain.
    pub(crate) listeners: Vec<Listener>,
    /// In the order of the file.
    pub(crate) pools: Vec<Pool>,
}

/// What came of re-reading the file.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Reloads {
    /// Files put to use.
    pub(crate) applied: u64,
    /// Files with a mistake, which have changed nothing.
    pub(crate) refused: u64,
}

/// What the kernel says of the process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Process {
    /// Of all threads, user and system, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Open descriptors.
    pub(crate) open_fds: u64,
    /// The most that may be open.
    pub(crate) max_fds: u64,
    /// Memory in RAM, in bytes.
    pub(crate) resident_bytes: u64,
}

/// One of the things that sessions take from the budget.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Resource {
    /// `bytes`, `descriptors` or `sessions`.
    pub(crate) name: &'static str,
    /// In use now.
    pub(crate) used: u64,
    /// The most that may be; none is no limit.
    pub(crate) limit: Option<u64>,
    /// New work that was refused for the lack of it.
    pub(crate) refused: u64,
}

/// One listener; its counters go on through every reload.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Listener {
    /// As in the file.
    pub(crate) name: String,
    /// As in the file.
    pub(crate) protocol: &'static str,
    /// Where it really listens; empty if it is gone.
    pub(crate) address: String,
    /// The pools that it sends to.
    pub(crate) pools: Vec<String>,
    /// `serving`, `draining` or `gone`.
    pub(crate) state: &'static str,
    /// Payload bytes from clients; of forwarded packets all of their bytes.
    pub(crate) bytes_in: u64,
    /// Payload bytes to clients; of forwarded packets all of their bytes.
    pub(crate) bytes_out: u64,
    /// Connections accepted, or datagrams that asked for a session.
    pub(crate) accepted: u64,
    /// Sessions begun.
    pub(crate) sessions: u64,
    /// Sessions under way.
    pub(crate) active: u64,
    /// Tries to reach a backend that failed.
    pub(crate) connect_failed: u64,
    /// Sessions not begun, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Sessions over, by how they ended.
    pub(crate) ended: BTreeMap<&'static str, u64>,
    /// What became of requests (HTTP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<Box<Http>>,
    /// How its packets are forwarded, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forwarding: Option<Forwarding>,
    /// Datagrams dropped, by reason (UDP).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) dropped: BTreeMap<&'static str, u64>,
}

impl Listener {
    /// A listener of this name that is gone and has done nothing.
    pub(crate) fn of_past(other: &Self) -> Self {
        Self {
            name: other.name.clone(),
            protocol: other.protocol,
            state: "gone",
            ..Self::default()
        }
    }

    /// Adds what `other` has done.
    pub(crate) fn add(&mut self, other: &Self) {
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.accepted += other.accepted;
        self.sessions += other.sessions;
        self.active += other.active;
        self.connect_failed += other.connect_failed;
        add_each(&mut self.refused, &other.refused);
        add_each(&mut self.ended, &other.ended);
        add_each(&mut self.dropped, &other.dropped);
        if let Some(forwarding) = &other.forwarding {
            let sum = self.forwarding.get_or_insert_default();
            sum.method = forwarding.method;
            sum.packets_in += forwarding.packets_in;
            sum.packets_out += forwarding.packets_out;
        }
        if let Some(http) = &other.http {
            self.http.get_or_insert_default().add(http);
        }
    }
}

pub(super) fn add_each(sum: &mut BTreeMap<&'static str, u64>, other: &BTreeMap<&'static str, u64>) {
    for (word, count) in other {
        *sum.entry(word).or_default() += count;
    }
}

/// One pool.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Pool {
    /// As in the file.
    pub(crate) name: String,
    /// By its kebab-case name.
    pub(crate) scheduler: String,
    /// In the order of their names.
    pub(crate) backends: Vec<Backend>,
}

/// One backend of a pool.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Backend {
    /// As in the file.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: String,
    /// As configured.
    pub(crate) weight: u16,
    /// Its group.
    pub(crate) priority: u8,
    /// Where it stands.
    pub(crate) zone: Option<String>,
    /// `ready`, `drain` or `maintenance`.
    pub(crate) admin: &'static str,
    /// What probes say: `up`, `down` or `unknown`.
    pub(crate) health: &'static str,
    /// Whether the errors of traffic have taken it out.
    pub(crate) ejected: bool,
    /// Its share of new sessions now, as the scheduler sees it.
    pub(crate) share: u32,
    /// Sessions ever given to it.
    pub(crate) picks: u64,
    /// Sessions under way.
    pub(crate) active: u64,
    /// Sessions over, by outcome.
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    /// Probes over, by result: `pass` or why not.
    pub(crate) probes: BTreeMap<&'static str, u64>,
    /// The mean latency charged to its sessions, in seconds.
    pub(crate) mean_latency: Option<f64>,
    /// The connections of http to it, if there was any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<Connections>,
}

impl Backend {
    /// Whether it may take new sessions, as far as health and ejection go.
    pub(crate) fn is_up(&self) -> bool {
        self.health == "up" && !self.ejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_counted_is_lost_in_a_sum() {
        let one = Listener {
            name: "front".into(),
            protocol: "tcp",
            address: "127.0.0.1:80".into(),
            state: "serving",
            bytes_in: 1,
            bytes_out: 2,
            accepted: 3,
            sessions: 4,
            active: 5,
            connect_failed: 6,
            refused: BTreeMap::from([("rate", 7)]),
            ended: BTreeMap::from([("client", 8)]),
            dropped: BTreeMap::from([("bandwidth", 9)]),
            ..Listener::default()
        };
        let mut sum = Listener::of_past(&one);
        assert_eq!(
            (sum.name.as_str(), sum.state, sum.bytes_in),
            ("front", "gone", 0)
        );
        sum.add(&one);
        sum.add(&Listener {
            refused: BTreeMap::from([("all-down", 1)]),
            ..one
        });
        assert_eq!((sum.bytes_in, sum.bytes_out, sum.accepted), (2, 4, 6));
        assert_eq!((sum.sessions, sum.active, sum.connect_failed), (8, 10, 12));
        assert_eq!(sum.refused, BTreeMap::from([("rate", 7), ("all-down", 1)]));
        assert_eq!((sum.ended["client"], sum.dropped["bandwidth"]), (16, 18));
    }
}
