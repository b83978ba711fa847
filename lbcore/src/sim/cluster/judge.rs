//! What must hold in a cluster, and who says so when it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::{Node, SLACK, Served, timeout};
use super::replicate::{Record, Replicate, Told};
use super::{ClusterConfig, Report, flows};
use crate::schedule::Scheduler;
use crate::session::State;
use crate::sim::NodeId;
use crate::{BackendId, Instant};

/// Knows what clients and messages have said, and holds the nodes to it.
#[derive(Debug)]
pub(super) struct Judge {
    seed: u64,
    bound: Duration,
    /// What clients know of the sessions that they use.
    clients: BTreeMap<u64, Client>,
    /// Which sessions a node was told of, or has served, and so must know.
    promises: BTreeMap<(NodeId, u64), Promise>,
    /// Since when two nodes hold a session on two backends.
    conflicts: BTreeMap<u64, Instant>,
    /// Since when no node has joined and the network is whole.
    whole_since: Instant,
    next_comparison: Instant,
    nodes: usize,
}

#[derive(Debug)]
struct Client {
    backend: BackendId,
    node: NodeId,
    /// A node that did not know the session has picked anew: there are two stories.
    disputed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    seen: Instant,
    /// Until when the session cannot have timed out.
    until: Instant,
}

impl Judge {
    pub(super) fn new(seed: u64, config: &ClusterConfig) -> Self {
        Self {
            seed,
            bound: config.bound,
            clients: BTreeMap::new(),
            promises: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            whole_since: Instant::ZERO,
            next_comparison: Instant::ZERO,
            nodes: config.nodes,
        }
    }

    /// The network was parted until now, or a node has joined.
    pub(super) fn disturbed(&mut self, now: Instant) {
        self.whole_since = now;
    }

    pub(super) fn node_died(&mut self, node: NodeId) {
        self.promises.retain(|(of, _), _| *of != node);
    }

    pub(super) fn closed(&mut self, flow: u64) {
        self.clients.remove(&flow);
        for node in 0..self.nodes {
            self.promises.remove(&(NodeId(node), flow));
        }
    }

    /// `node` served a packet of `flow`.
    pub(super) fn served(
        &mut self,
        now: Instant,
        node: NodeId,
        flow: u64,
        served: Served,
        report: &mut Report,
    ) {
        let (backend, found) = match served {
            Served::Found(backend) => (backend, true),
            Served::Picked(backend) => (backend, false),
            Served::Refused => {
                report.refused += 1;
                return self.closed(flow);
            }
        };
        let promised = self.promise(now, node, flow).is_some();
        let state = if let Some(client) = self.clients.get_mut(&flow) {
            if !client.disputed {
                let lost = promised && !found;
                assert!(
                    !lost,
                    "law 3: {node:?} has lost flow {flow} at {now:?} (seed {})",
                    self.seed
                );
                assert!(
                    !found || backend == client.backend,
                    "law 3: {node:?} sends flow {flow} to another backend at {now:?} (seed {})",
                    self.seed
                );
            }
            report.missed += u64::from(!found);
            report.broken += u64::from(backend != client.backend);
            report.taken_over += u64::from(found && node != client.node);
            client.disputed |= !found;
            (client.backend, client.node) = (backend, node);
            State::Established
        } else {
            let disputed = false;
            let client = Client {
                backend,
                node,
                disputed,
            };
            self.clients.insert(flow, client);
            State::SynSent
        };
        self.promised(node, flow, now, now + timeout(state));
    }

    /// A message that tells this has arrived at `node`, which can name the backend or not.
    pub(super) fn told(&mut self, now: Instant, node: NodeId, told: &Told, nameable: bool) {
        let (Told::Gone(record) | Told::Is(record)) = told;
        let flow = flows::number(&record.key);
        match told {
            Told::Gone(_) => {
                let ended = record.seen + 3 * SLACK;
                if self
                    .promises
                    .get(&(node, flow))
                    .is_some_and(|it| it.seen <= ended)
                {
                    self.promises.remove(&(node, flow));
                }
            }
            Told::Is(Record { seen, state, .. }) => {
                let until = *seen + timeout(*state);
                let true_story = self
                    .clients
                    .get(&flow)
                    .is_some_and(|client| client.backend == record.backend);
                if nameable && true_story && now < until {
                    self.promised(node, flow, *seen, until);
                }
            }
        }
    }

    fn promised(&mut self, node: NodeId, flow: u64, seen: Instant, until: Instant) {
        let until = until - SLACK;
        let promise = self
            .promises
            .entry((node, flow))
            .or_insert(Promise { seen, until });
        promise.seen = promise.seen.max(seen);
        promise.until = promise.until.max(until);
    }

    fn promise(&self, now: Instant, node: NodeId, flow: u64) -> Option<Promise> {
        let promise = self.promises.get(&(node, flow)).copied();
        promise.filter(|promise| now < promise.until)
    }

    /// Looks at every node to which something has happened, and now and then at all together.
    pub(super) fn audit<S: Scheduler, R: Replicate>(
        &mut self,
        now: Instant,
        parted: bool,
        nodes: &mut [Option<Node<S, R>>],
        report: &mut Report,
    ) {
        if parted {
            self.whole_since = now;
        }
        for (at, node) in nodes.iter_mut().enumerate() {
            if let Some(node) = node.as_mut().filter(|node| node.busy) {
                node.busy = false;
                self.audit_node(now, NodeId(at), node);
                self.audit_promises(now, NodeId(at), node);
            }
        }
        if now >= self.next_comparison {
            self.next_comparison = now + COMPARISON_GAP;
            self.compare(now, nodes, report);
        }
    }

    fn audit_node<S: Scheduler, R: Replicate>(&self, now: Instant, id: NodeId, node: &Node<S, R>) {
        let mut held: BTreeMap<BackendId, u64> = BTreeMap::new();
        node.walk(|session, backend| {
            let Some(backend) = backend else {
                panic!(
                    "law 1: {id:?} holds {session:?} on no backend at {now:?} (seed {})",
                    self.seed
                );
            };
            *held.entry(backend).or_default() += 1;
        });
        for stats in node.stats() {
            let sessions = held.get(&stats.backend.id).copied().unwrap_or(0);
            assert!(
                stats.in_flight() == sessions,
                "law 2: {id:?} counts {} in flight on {} and holds {sessions} at {now:?} (seed {})",
                stats.in_flight(),
                stats.backend.name,
                self.seed
            );
        }
    }

    fn audit_promises<S: Scheduler, R: Replicate>(
        &self,
        now: Instant,
        id: NodeId,
        node: &Node<S, R>,
    ) {
        for ((_, flow), promise) in self.promises.range((id, 0)..=(id, u64::MAX)) {
            let client = self.clients.get(flow);
            let Some(client) = client.filter(|client| !client.disputed) else {
                continue;
            };
            if now < promise.until {
                let held = node.holds(&flows::key(*flow));
                assert!(
                    held == Some(client.backend),
                    "law 3: {id:?} holds flow {flow} on {held:?}, not {:?}, at {now:?} (seed {})",
                    client.backend,
                    self.seed
                );
            }
        }
    }

    /// Looks for sessions of which nodes tell different stories.
    fn compare<S: Scheduler, R: Replicate>(
        &mut self,
        now: Instant,
        nodes: &[Option<Node<S, R>>],
        report: &mut Report,
    ) {
        let mut stories: BTreeMap<u64, Vec<BackendId>> = BTreeMap::new();
        for node in nodes.iter().flatten() {
            node.walk(|session, backend| {
                let story = stories.entry(flows::number(&session.key)).or_default();
                story.extend(backend);
            });
        }
        // What stays on a removed backend cannot be learnt by those who do not hold it.
        let everywhere = |id: &BackendId| nodes.iter().flatten().all(|node| node.knows(*id));
        stories.retain(|_, story| {
            let mut pairs = story.iter().zip(story.iter().skip(1));
            pairs.any(|(one, other)| one != other) && story.iter().all(everywhere)
        });
        self.audit_conflicts(now, &stories, report);
    }

    fn audit_conflicts(
        &mut self,
        now: Instant,
        stories: &BTreeMap<u64, Vec<BackendId>>,
        report: &mut Report,
    ) {
        let before = self.conflicts.len();
        self.conflicts.retain(|flow, _| stories.contains_key(flow));
        report.reconciled += (before - self.conflicts.len()) as u64;
        for (&flow, story) in stories {
            let since = *self.conflicts.entry(flow).or_insert(now);
            let span = now.since(since.max(self.whole_since));
            assert!(
                span <= self.bound,
                "law 4: flow {flow} is on {story:?} for {span:?} at {now:?} (seed {})",
                self.seed
            );
        }
    }

    /// The network has been whole for long enough: every node knows every session that is in use.
    pub(super) fn settled<S: Scheduler, R: Replicate>(
        &self,
        now: Instant,
        nodes: &[Option<Node<S, R>>],
        report: &mut Report,
    ) {
        for (flow, client) in &self.clients {
            report.survived += 1;
            for (at, node) in nodes.iter().enumerate() {
                let held = node
                    .as_ref()
                    .and_then(|node| node.holds(&flows::key(*flow)));
                assert!(
                    held == Some(client.backend),
                    "law 5: node {at} holds flow {flow} on {held:?}, not {:?}, at {now:?} (seed {})",
                    client.backend,
                    self.seed
                );
            }
        }
    }
}

/// Stories last for seconds: it is enough to compare them so often.
const COMPARISON_GAP: Duration = Duration::from_millis(200);
