//! A network between nodes that delays, loses, repeats and reorders, from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use thiserror::Error;

use super::NodeId;
use crate::Instant;
use crate::rng::{Rng, Xoshiro};
use crate::time::nanos;

/// How a [`Link`] treats what is sent over it. The default is a perfect one: 1 ms, and nothing lost.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// How long a message takes at least. Default 1 ms.
    pub latency: Duration,
    /// How much longer it may take, evenly spread. Default 0.
    pub jitter: Duration,
    /// The chance that a message is lost, 0 to 1. Default 0.
    pub loss: f64,
    /// The chance that a message that is not lost arrives twice, 0 to 1. Default 0.
    pub duplication: f64,
    /// The chance that a message keeps no order with those sent before it, 0 to 1. Default 0: what
    /// one node sends to another arrives in order, however much `jitter` there is. It needs jitter.
    pub reordering: f64,
    /// How many messages may be under way to one node, as in its socket's buffer. More are dropped.
    /// Default 2^16.
    pub capacity: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            capacity: 1 << 16,
        }
    }
}

impl LinkConfig {
    /// Sets [`latency`](Self::latency).
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Sets [`jitter`](Self::jitter).
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets [`loss`](Self::loss).
    #[must_use]
    pub fn loss(mut self, chance: f64) -> Self {
        self.loss = chance;
        self
    }

    /// Sets [`duplication`](Self::duplication).
    #[must_use]
    pub fn duplication(mut self, chance: f64) -> Self {
        self.duplication = chance;
        self
    }

    /// Sets [`reordering`](Self::reordering).
    #[must_use]
    pub fn reordering(mut self, chance: f64) -> Self {
        self.reordering = chance;
        self
    }

    /// Sets [`capacity`](Self::capacity).
    #[must_use]
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    fn check(&self) -> Result<(), LinkConfigError> {
        for (field, chance) in [
            ("loss", self.loss),
            ("duplication", self.duplication),
            ("reordering", self.reordering),
        ] {
            if !(0.0..=1.0).contains(&chance) {
                return Err(LinkConfigError { field, chance });
            }
        }
        Ok(())
    }
}

/// A chance that is none; whoever wrote the [`LinkConfig`] can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("`{field}` is {chance}: expected a chance of 0 to 1")]
pub struct LinkConfigError {
    /// Which field.
    pub field: &'static str,
    /// What it was.
    pub chance: f64,
}

/// What a [`Link`] has done.
///
/// `sent + duplicated` is always `arrived + lost + cut + overflowed`, and what is under way.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct LinkStats {
    /// Messages that nodes sent.
    pub sent: u64,
    /// Messages that arrived, second copies with them.
    pub arrived: u64,
    /// Messages lost by chance.
    pub lost: u64,
    /// Second copies made.
    pub duplicated: u64,
    /// Copies that a partition stopped, at their sending or under way.
    pub cut: u64,
    /// Copies dropped because too many were under way to the same node.
    pub overflowed: u64,
    /// Copies that keep no order with those before; some are in order by luck.
    pub reordered: u64,
}

/// A message at its destination.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival<M> {
    /// Who receives it.
    pub to: NodeId,
    /// Who sent it.
    pub from: NodeId,
    /// What was sent.
    pub message: M,
}

/// A network between nodes, with no sockets and no time of its own.
///
/// What becomes of a message is drawn when it is sent, so that the same seed and the same calls give
/// the same arrivals. Every operation is O(log n) for n messages under way.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::sim::{Link, LinkConfig, NodeId};
///
/// let config = LinkConfig::default().latency(Duration::from_millis(5));
/// let mut link = Link::new(config, 7)?;
/// link.send(Instant::ZERO, NodeId(0), NodeId(1), "hello");
///
/// assert!(link.poll_arrival(Instant::ZERO).is_none());
/// let later = link.poll_timeout().ok_or("nothing is under way")?;
/// assert_eq!(later, Instant::from_nanos(5_000_000));
/// assert_eq!(link.poll_arrival(later).map(|arrival| arrival.message), Some("hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Link<M> {
    config: LinkConfig,
    dice: Xoshiro,
    /// By the moment of arrival, then in the order of sending.
    under_way: BTreeMap<(Instant, u64), Arrival<M>>,
    copies: u64,
    /// How many are under way to each node.
    waiting: BTreeMap<NodeId, usize>,
    /// When the last message in order from one node arrives at another.
    last: BTreeMap<(NodeId, NodeId), Instant>,
    /// Those on one side of a partition.
    island: BTreeSet<NodeId>,
    stats: LinkStats,
}

impl<M: Clone> Link<M> {
    /// A whole network, whose dice are those of `seed`.
    ///
    /// # Errors
    ///
    /// Names the chance that is not between 0 and 1.
    pub fn new(config: LinkConfig, seed: u64) -> Result<Self, LinkConfigError> {
        config.check()?;
        Ok(Self {
            config,
            dice: Xoshiro::new(seed),
            under_way: BTreeMap::new(),
            copies: 0,
            waiting: BTreeMap::new(),
            last: BTreeMap::new(),
            island: BTreeSet::new(),
            stats: LinkStats::default(),
        })
    }

    /// Sends `message`; it arrives after `latency` and at most `jitter` more, if it arrives.
    pub fn send(&mut self, now: Instant, from: NodeId, to: NodeId, message: M) {
        self.stats.sent += 1;
        // Every message takes the same dice, so that one setting changed changes one thing.
        let lost = self.dice.unit() < self.config.loss;
        let twice = self.dice.unit() < self.config.duplication;
        let (first, second) = (self.arrival(now, from, to), self.arrival(now, from, to));
        if lost {
            self.stats.lost += 1;
            return;
        }
        let message = Arrival { to, from, message };
        if twice {
            self.stats.duplicated += 1;
            self.carry(second, message.clone());
        }
        self.carry(first, message);
    }

    /// The next message that has arrived, in the order of arrival; to be asked until there is none.
    pub fn poll_arrival(&mut self, now: Instant) -> Option<Arrival<M>> {
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > now {
                return None;
            }
            let arrival = entry.remove();
            if let Some(waiting) = self.waiting.get_mut(&arrival.to) {
                *waiting = waiting.saturating_sub(1);
            }
            if self.is_cut(arrival.from, arrival.to) {
                self.stats.cut += 1;
                continue;
            }
            self.stats.arrived += 1;
            return Some(arrival);
        }
        None
    }

    /// When the next message arrives; `None` if none is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(moment, _)| *moment)
    }

    /// Parts `island` from all other nodes, in place of any partition before.
    ///
    /// What is under way across is stopped, unless the network is whole again when it arrives.
    pub fn partition(&mut self, island: impl IntoIterator<Item = NodeId>) {
        self.island = island.into_iter().collect();
    }

    /// Makes the network whole.
    pub fn heal(&mut self) {
        self.island.clear();
    }

    /// Whether some nodes are parted from the others.
    #[must_use]
    pub fn is_parted(&self) -> bool {
        !self.island.is_empty()
    }

    /// How many messages are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What it has done.
    #[must_use]
    pub const fn stats(&self) -> LinkStats {
        self.stats
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.island.contains(&from) != self.island.contains(&to)
    }

    /// Draws when a copy arrives, and whether it keeps the order.
    fn arrival(&mut self, now: Instant, from: NodeId, to: NodeId) -> (Instant, Order) {
        let jitter = self.dice.below(nanos(self.config.jitter).saturating_add(1));
        let moment = now + self.config.latency + Duration::from_nanos(jitter);
        let last = self.last.get(&(from, to));
        if self.dice.unit() < self.config.reordering {
            (moment, Order::None)
        } else {
            (last.map_or(moment, |last| moment.max(*last)), Order::Kept)
        }
    }

    fn carry(&mut self, (moment, order): (Instant, Order), arrival: Arrival<M>) {
        let (from, to) = (arrival.from, arrival.to);
        if self.is_cut(from, to) {
            self.stats.cut += 1;
            return;
        }
        let waiting = self.waiting.entry(to).or_default();
        if *waiting >= self.config.capacity {
            self.stats.overflowed += 1;
            return;
        }
        *waiting += 1;
        match order {
            Order::None => self.stats.reordered += 1,
            Order::Kept => {
                let last = self.last.entry((from, to)).or_default();
                *last = moment.max(*last);
            }
        }
        self.under_way.insert((moment, self.copies), arrival);
        self.copies += 1;
    }
}

/// Whether a copy waits for those sent before it.
#[derive(Clone, Copy, Debug)]
enum Order {
    Kept,
    None,
}
