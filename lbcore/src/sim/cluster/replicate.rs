//! How nodes tell each other of sessions: the trait, and the plainest protocol there is.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::flow::FlowKey;
use crate::session::State;
use crate::sim::NodeId;
use crate::{BackendId, Instant};

/// A session in words that every node understands: its backend by identity, not by ticket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "protocols make it from what they receive"
)]
pub struct Record {
    /// Whose packets belong to it.
    pub key: FlowKey,
    /// What is known of it.
    pub state: State,
    /// Where its packets go.
    pub backend: BackendId,
    /// When its last packet was seen. All nodes of a simulation have one clock; a protocol for real
    /// ones sends how long ago that was.
    pub seen: Instant,
}

/// What one node tells another of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a session goes on or has ended")]
pub enum Told {
    /// It has ended, and this is how it was at last.
    Gone(Record),
    /// It is so.
    Is(Record),
}

/// One node's end of a protocol that copies sessions to all the other nodes.
///
/// It does no I/O: what it wants to send it gives by [`poll_transmit`](Self::poll_transmit), and
/// what its node shall believe by [`poll_told`](Self::poll_told). Which of two stories of a session
/// holds is decided by the node: that with the later packet. So it may tell the same twice, and late.
///
/// [`Plain`] is the plainest; [`run`](super::run) judges any.
pub trait Replicate {
    /// What is sent, to all other nodes.
    type Message: Clone + Debug;

    /// What `message` tells, to `visit` one by one: for the judge, who asks it of every message that
    /// arrives and then expects the node to know.
    fn tells(message: &Self::Message, visit: &mut dyn FnMut(&Told));

    /// A session of this node has begun, changed or ended.
    fn handle_change(&mut self, now: Instant, change: &Told);

    /// A message has arrived.
    fn handle_message(&mut self, now: Instant, from: NodeId, message: &Self::Message);

    /// The moment that [`poll_timeout`](Self::poll_timeout) named has come; `sessions` is all that
    /// this node knows.
    fn handle_timeout(&mut self, now: Instant, sessions: &[Record]);

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; must then be later than that.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next message to send, until there is none.
    fn poll_transmit(&mut self) -> Option<Self::Message>;

    /// The next thing that this node shall believe, until there is none.
    fn poll_told(&mut self) -> Option<Told>;
}

/// Sends every change at once, and all that it knows from time to time.
///
/// No message is acknowledged, and none is asked for again: what is lost is told by the next
/// refresh, and so is everything to a node that comes back. Believes all that it is told.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::sim::cluster::{Plain, Replicate};
///
/// let mut plain = Plain::new(Instant::ZERO, Duration::from_secs(1));
/// assert_eq!(plain.poll_timeout(), Some(Instant::from_nanos(1_000_000_000)));
/// assert!(plain.poll_transmit().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Plain {
    every: Duration,
    next: Instant,
    changes: Vec<Told>,
    transmit: VecDeque<Arc<[Told]>>,
    told: VecDeque<Told>,
}

impl Plain {
    /// A node that begins now and refreshes `every` so often; at least each nanosecond.
    #[must_use]
    pub fn new(now: Instant, every: Duration) -> Self {
        let every = every.max(Duration::from_nanos(1));
        Self {
            every,
            next: now + every,
            changes: Vec::new(),
            transmit: VecDeque::new(),
            told: VecDeque::new(),
        }
    }
}

impl Replicate for Plain {
    type Message = Arc<[Told]>;

    fn tells(message: &Self::Message, visit: &mut dyn FnMut(&Told)) {
        message.iter().for_each(visit);
    }

    fn handle_change(&mut self, _now: Instant, change: &Told) {
        self.changes.push(*change);
    }

    fn handle_message(&mut self, _now: Instant, _from: NodeId, message: &Self::Message) {
        self.told.extend(message.iter());
    }

    fn handle_timeout(&mut self, now: Instant, sessions: &[Record]) {
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        let messages = sessions.chunks(BATCH);
        self.transmit
            .extend(messages.map(|batch| batch.iter().copied().map(Told::Is).collect()));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn poll_transmit(&mut self) -> Option<Self::Message> {
        if !self.changes.is_empty() {
            let changes = self.changes.drain(..self.changes.len().min(BATCH));
            return Some(changes.collect());
        }
        self.transmit.pop_front()
    }

    fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }
}

/// As many records as fit a datagram of 1,400 bytes at 40 bytes each, and some room.
const BATCH: usize = 32;
