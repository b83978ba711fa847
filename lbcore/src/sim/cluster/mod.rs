//! A cluster of balancers in virtual time, its clients, its troubles, and a judge.
//!
//! Each node has a pool of the same backends, fed in an order of its own, a balancer and a session
//! table. A router in front spreads flows over the live nodes by a hash, as ECMP does, so that most
//! flows change their node whenever one dies or returns. What a node knows of a session reaches the
//! others by a protocol, [`Replicate`], over a [`Link`](super::Link). Meanwhile nodes die and return
//! empty, backends are removed, added, go dark and come back, and the network parts.
//!
//! After every step a judge looks at each node to which something has happened, and every 200 ms at
//! all of them together:
//!
//! 1. No node holds a session on a backend that it cannot name.
//! 2. On each node, the pool counts as many sessions in flight on each backend as the table holds.
//! 3. A session that a node has served, or was told of by a message that has arrived, it knows, on
//!    the same backend, until the session ends or times out; also if the node that had it is dead.
//! 4. Two nodes do not hold one session on two backends for longer than
//!    [`bound`](ClusterConfig::bound), once the network is whole.
//! 5. At the end, when the network has been whole for so long, every node knows every session that
//!    is in use, on the backend that its client is talking to; and when all have timed out, nothing
//!    is in flight.
//!
//! The third law binds sessions with one story only: where a node had not been told in time and has
//! picked anew, the client's connection is broken already ([`Report::missed`]), and the fourth law
//! sees to it that one story is left.

mod flows;
mod judge;
mod node;
mod play;
mod replicate;
mod trouble;

use std::time::Duration;

use super::{LinkConfig, LinkStats, NodeId};
use crate::Instant;
use crate::schedule::Scheduler;

pub use replicate::{Plain, Record, Replicate, Told};

/// How large a simulated cluster is, and how troubled.
///
/// # Examples
///
/// ```
/// use lbcore::sim::LinkConfig;
/// use lbcore::sim::cluster::ClusterConfig;
///
/// let config = ClusterConfig::default().nodes(4).link(LinkConfig::default().loss(0.05));
/// assert_eq!(config.nodes, 4);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// How many nodes. At least 1, default 3.
    pub nodes: usize,
    /// How many backends. At least 1, default 5.
    pub backends: usize,
    /// For how long clients come and troubles happen. Default 60 s.
    pub duration: Duration,
    /// From one new flow to the next, on average. More than 0, default 300 ms; a flow lasts some
    /// 20 s, and its packets are up to 3 s apart.
    pub flow_gap: Duration,
    /// From one trouble to the next, on average, and how long one lasts. More than 0, default 5 s.
    /// [`Duration::MAX`] is never.
    pub trouble_gap: Duration,
    /// How long two stories of one session may last in a whole network. Default 10 s.
    pub bound: Duration,
    /// What lies between the nodes. Default 1 to 20 ms, and some reordering and repeating.
    pub link: LinkConfig,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        let link = LinkConfig::default().jitter(Duration::from_millis(19));
        Self {
            nodes: 3,
            backends: 5,
            duration: Duration::from_secs(60),
            flow_gap: Duration::from_millis(300),
            trouble_gap: Duration::from_secs(5),
            bound: Duration::from_secs(10),
            link: link.reordering(0.1).duplication(0.05),
        }
    }
}

impl ClusterConfig {
    /// Sets [`nodes`](Self::nodes).
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Sets [`backends`](Self::backends).
    #[must_use]
    pub fn backends(mut self, backends: usize) -> Self {
        self.backends = backends;
        self
    }

    /// Sets [`duration`](Self::duration).
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Sets [`flow_gap`](Self::flow_gap).
    #[must_use]
    pub fn flow_gap(mut self, gap: Duration) -> Self {
        self.flow_gap = gap;
        self
    }

    /// Sets [`trouble_gap`](Self::trouble_gap).
    #[must_use]
    pub fn trouble_gap(mut self, gap: Duration) -> Self {
        self.trouble_gap = gap;
        self
    }

    /// Sets [`bound`](Self::bound).
    #[must_use]
    pub fn bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// Sets [`link`](Self::link).
    #[must_use]
    pub fn link(mut self, link: LinkConfig) -> Self {
        self.link = link;
        self
    }
}

/// What happened in a run. The same seed and the same parts give the same report.
#[non_exhaustive]
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Moments at which something happened, and after which the judge looked.
    pub steps: u64,
    /// Flows that clients began.
    pub flows: u64,
    /// Packets that clients sent.
    pub packets: u64,
    /// Packets whose session was known to another node than had served the one before.
    pub taken_over: u64,
    /// Packets in the middle of a flow that met a node which had not been told of it.
    pub missed: u64,
    /// Packets that came to another backend than the one before, because of such a miss.
    pub broken: u64,
    /// Flows that no backend took.
    pub refused: u64,
    /// Sessions that were on two backends, and no longer are.
    pub reconciled: u64,
    /// Sessions in use at the end, known to all nodes.
    pub survived: u64,
    /// Nodes that died.
    pub deaths: u64,
    /// Times that the network parted.
    pub partitions: u64,
    /// Backends that were removed.
    pub removals: u64,
    /// Backends that went dark.
    pub outages: u64,
    /// What the network has done.
    pub link: LinkStats,
}

/// Lets a cluster live through the troubles of `seed`.
///
/// `scheduler` makes each node's scheduler, and `replicate` its end of the protocol, at the moment
/// that it starts and at every return. Cost: some 50 ms for the default minute.
///
/// # Panics
///
/// Panics at the first broken law, and names it, the moment, and the seed that breaks it again; and
/// if the configuration is out of range.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::schedule::Maglev;
/// use lbcore::sim::cluster::{ClusterConfig, Plain, run};
///
/// let config = ClusterConfig::default().duration(Duration::from_secs(20));
/// let plain = |now, _node| Plain::new(now, Duration::from_secs(1));
/// let report = run(&config, 7, Maglev::default, plain);
/// assert!(report.packets > report.flows);
/// assert_eq!(report, run(&config, 7, Maglev::default, plain));
/// ```
#[track_caller]
pub fn run<S: Scheduler, R: Replicate>(
    config: &ClusterConfig,
    seed: u64,
    scheduler: impl Fn() -> S,
    replicate: impl Fn(Instant, NodeId) -> R,
) -> Report {
    play::Play::new(config, seed, &scheduler, &replicate).run()
}
