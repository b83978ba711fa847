//! What happens to a cluster, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::judge::Judge;
use super::node::{Node, Served};
use super::replicate::Replicate;
use super::{ClusterConfig, Report, flows};
use crate::rng::{Rng, Xoshiro, mix};
use crate::schedule::Scheduler;
use crate::sim::{Clock, Link, NodeId};
use crate::time::nanos;
use crate::{Backend, BackendId, Delta, Instant, Pool};

/// A run under way.
pub(super) struct Play<'a, S: Scheduler, R: Replicate> {
    pub(super) config: &'a ClusterConfig,
    seed: u64,
    scheduler: &'a dyn Fn() -> S,
    replicate: &'a dyn Fn(Instant, NodeId) -> R,
    clock: Clock,
    pub(super) dice: Xoshiro,
    agenda: BTreeMap<(Instant, u64), Event>,
    planned: u64,
    pub(super) nodes: Vec<Option<Node<S, R>>>,
    pub(super) link: Link<R::Message>,
    pub(super) backends: BTreeMap<BackendId, Backend>,
    pub(super) removed: BTreeSet<BackendId>,
    pub(super) dark: BTreeSet<BackendId>,
    pub(super) judge: Judge,
    pub(super) report: Report,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A client begins a flow.
    Begin,
    /// A client sends a packet, and has so many left to send.
    Packet { flow: u64, left: u64 },
    /// Something goes wrong.
    Trouble,
    /// A removed backend is added again.
    Add(BackendId),
    /// The network is whole again.
    Heal,
    /// A dark backend comes back.
    Lighten(BackendId),
    /// A dead node returns, knowing nothing.
    Return(NodeId),
}

impl<'a, S: Scheduler, R: Replicate> Play<'a, S, R> {
    #[track_caller]
    pub(super) fn new(
        config: &'a ClusterConfig,
        seed: u64,
        scheduler: &'a dyn Fn() -> S,
        replicate: &'a dyn Fn(Instant, NodeId) -> R,
    ) -> Self {
        let in_range = config.nodes > 0
            && (1..=250).contains(&config.backends)
            && !config.flow_gap.is_zero()
            && !config.trouble_gap.is_zero();
        let link = Link::new(config.link.clone(), mix(seed));
        let (true, Ok(link)) = (in_range, link) else {
            panic!("{config:?} is out of range");
        };
        let backends = (1..=config.backends).map(backend);
        Self {
            config,
            seed,
            scheduler,
            replicate,
            clock: Clock::starting_at(START),
            dice: Xoshiro::new(seed),
            agenda: BTreeMap::new(),
            planned: 0,
            nodes: (0..config.nodes).map(|_| None).collect(),
            link,
            backends: backends.map(|backend| (backend.id, backend)).collect(),
            removed: BTreeSet::new(),
            dark: BTreeSet::new(),
            judge: Judge::new(seed, config),
            report: Report::default(),
        }
    }

    #[track_caller]
    pub(super) fn run(mut self) -> Report {
        for at in 0..self.config.nodes {
            self.start(NodeId(at));
        }
        self.plan(self.config.flow_gap, Event::Begin);
        self.plan(self.config.trouble_gap, Event::Trouble);
        self.run_until(START + self.config.duration);
        self.end_of_trouble();
        self.run_until(self.clock.now() + self.config.bound);
        let now = self.clock.now();
        self.judge.settled(now, &self.nodes, &mut self.report);
        self.let_all_time_out();
        self.report.link = self.link.stats();
        self.report
    }

    #[track_caller]
    fn run_until(&mut self, end: Instant) {
        loop {
            let parts = self.nodes.iter().flatten().map(Node::poll_timeout);
            let event = self.agenda.keys().next().map(|(moment, _)| *moment);
            let next = [event, self.link.poll_timeout(), Some(end)];
            self.clock.advance_to_next(parts.chain(next));
            let now = self.clock.now();
            self.step(now);
            if now >= end {
                return;
            }
        }
    }

    #[track_caller]
    fn step(&mut self, now: Instant) {
        self.report.steps += 1;
        assert!(
            self.report.steps < MOST_STEPS,
            "time stands still at {now:?} (seed {})",
            self.seed
        );
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let event = entry.remove();
            self.happen(now, event);
        }
        while let Some(arrival) = self.link.poll_arrival(now) {
            let Some(Some(node)) = self.nodes.get_mut(arrival.to.0) else {
                continue;
            };
            R::tells(&arrival.message, &mut |told| {
                let (super::Told::Gone(record) | super::Told::Is(record)) = told;
                let nameable =
                    node.knows(record.backend) || node.holds(&record.key) == Some(record.backend);
                self.judge.told(now, arrival.to, told, nameable);
            });
            node.busy = true;
            node.replicate
                .handle_message(now, arrival.from, &arrival.message);
        }
        self.run_nodes(now);
        let parted = self.link.is_parted();
        self.judge
            .audit(now, parted, &mut self.nodes, &mut self.report);
    }

    fn run_nodes(&mut self, now: Instant) {
        for at in 0..self.nodes.len() {
            let Some(Some(node)) = self.nodes.get_mut(at) else {
                continue;
            };
            if !node.busy && node.poll_timeout().is_none_or(|due| due > now) {
                continue;
            }
            node.busy = true;
            while let Some(told) = node.replicate.poll_told() {
                node.believe(now, &told);
            }
            node.handle_timeout(now, &self.dark);
            node.tell_changes(now);
            while let Some(message) = node.replicate.poll_transmit() {
                for to in (0..self.config.nodes).filter(|to| *to != at) {
                    self.link.send(now, NodeId(at), NodeId(to), message.clone());
                }
            }
        }
    }

    fn happen(&mut self, now: Instant, event: Event) {
        match event {
            Event::Begin => {
                let flow = self.report.flows;
                self.report.flows += 1;
                let left = self.dice.below(2 * PACKETS);
                self.send_packet(now, flow, left, true);
                self.plan(self.config.flow_gap, Event::Begin);
            }
            Event::Packet { flow, left } => self.send_packet(now, flow, left, false),
            Event::Trouble => {
                self.trouble(now);
                self.plan(self.config.trouble_gap, Event::Trouble);
            }
            Event::Add(id) => {
                self.removed.remove(&id);
                if let Some(backend) = self.backends.get(&id) {
                    self.apply(now, &Delta::Upsert(backend.clone()));
                }
            }
            Event::Heal => {
                self.link.heal();
                self.judge.disturbed(now);
            }
            Event::Lighten(id) => {
                self.dark.remove(&id);
            }
            Event::Return(node) => self.start(node),
        }
    }

    fn send_packet(&mut self, now: Instant, flow: u64, left: u64, begins: bool) {
        let live: Vec<usize> = self.live().collect();
        let Some(&at) = live.get(flows::path(flow, live.len())) else {
            return;
        };
        let Some(Some(node)) = self.nodes.get_mut(at) else {
            return;
        };
        let key = flows::key(flow);
        self.report.packets += 1;
        let served = node.serve(now, &key, begins);
        self.judge
            .served(now, NodeId(at), flow, served, &mut self.report);
        if served == Served::Refused {
            return;
        }
        if left == 0 {
            node.close(now, &key);
            self.judge.closed(flow);
            return;
        }
        let left = left - 1;
        self.plan(PACKET_GAP, Event::Packet { flow, left });
    }

    /// No more clients come, and what is broken is mended.
    fn end_of_trouble(&mut self) {
        let now = self.clock.now();
        for (moment, event) in std::mem::take(&mut self.agenda) {
            match event {
                Event::Packet { .. } => {
                    self.agenda.insert(moment, event);
                }
                Event::Begin | Event::Trouble => {}
                Event::Add(_) | Event::Heal | Event::Lighten(_) | Event::Return(_) => {
                    self.happen(now, event);
                }
            }
        }
        self.judge.disturbed(now);
    }

    /// The nodes are left alone with what they hold, until they hold nothing.
    #[track_caller]
    fn let_all_time_out(&mut self) {
        let later = self.clock.now() + LONGER_THAN_SESSIONS;
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            node.handle_timeout(later, &self.dark);
            let left: u64 = node.stats().iter().map(|stats| stats.in_flight()).sum();
            assert!(
                left == 0,
                "law 5: {left} sessions of node {at} never end (seed {})",
                self.seed
            );
        }
    }

    #[track_caller]
    fn start(&mut self, id: NodeId) {
        let now = self.clock.now();
        let mut here: Vec<Backend> = self.backends.values().cloned().collect();
        here.retain(|backend| !self.removed.contains(&backend.id));
        let turned = id.0.checked_rem(here.len()).unwrap_or(0);
        here.rotate_left(turned);
        let pool = Pool::new((self.scheduler)()).backends(here);
        let replicate = (self.replicate)(now, id);
        let node = Node::new(id.0, mix(self.seed ^ id.0 as u64), pool, replicate);
        if let (Some(place), Some(mut node)) = (self.nodes.get_mut(id.0), node) {
            // Its first probes are answered before its first packet comes.
            node.handle_timeout(now, &self.dark);
            *place = Some(node);
        }
        self.judge.disturbed(now);
    }

    pub(super) fn live(&self) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(at, node)| node.as_ref().map(|_| at))
    }

    pub(super) fn apply(&mut self, now: Instant, delta: &Delta) {
        for node in self.nodes.iter_mut().flatten() {
            node.apply(now, delta.clone());
        }
    }

    /// Lets `event` happen after `gap` on average, and twice that at most.
    pub(super) fn plan(&mut self, gap: Duration, event: Event) {
        if gap == Duration::MAX {
            return;
        }
        let wait = 1 + self.dice.below(nanos(gap).saturating_mul(2));
        let moment = self.clock.now() + Duration::from_nanos(wait);
        self.agenda.insert((moment, self.planned), event);
        self.planned += 1;
    }
}

/// The backend of this number.
fn backend(number: usize) -> Backend {
    let last = u8::try_from(number).unwrap_or(u8::MAX);
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 80);
    Backend::new(&format!("backend-{number}"), address.into())
}

/// Not zero, so that what is wrongly reckoned from zero is seen.
const START: Instant = Instant::from_nanos(1_000_000_000_000);

/// Packets of a flow after its first, on average.
const PACKETS: u64 = 12;

const PACKET_GAP: Duration = Duration::from_millis(1_500);

/// Twice the longest timeout.
const LONGER_THAN_SESSIONS: Duration = Duration::from_secs(40);

/// A run of an hour has fewer.
const MOST_STEPS: u64 = 10_000_000;
