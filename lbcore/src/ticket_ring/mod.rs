//! Keys for TLS session tickets that every node of a cluster has.
//!
//! ```text
//!   generation   …  t-2   t-1 │  t  │ t+1
//!                   open only │ seals│ spread, opens, not yet used
//!                                ▲
//!                       the turn of the ring
//! ```
//!
//! A ticket that any node sealed opens at every other, so that a client that returns by another node
//! is not asked for a full handshake. For that a key is on every node before any node seals with it:
//! each ring holds the key of its *next* turn already.
//!
//! Rings merge like sets do, whatever the order in which they are heard, so nodes need no leader:
//! the higher turn counts, and where two nodes made a key for the same turn, the one whose name comes
//! first. [`Rotation`] says when to turn; a [`RingExchange`] carries rings to the other nodes.
//!
//! Nothing here encrypts: who makes tickets of the secrets is the layer that speaks TLS.

mod exchange;
mod rotation;
mod secret;
mod wire;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

pub use exchange::RingExchange;
pub use rotation::Rotation;
pub use secret::TicketSecret;
pub use wire::RingError;

/// The ticket keys of a cluster at one moment: one that seals, the next, and those that still open.
///
/// A value: it is merged, copied and compared, and changes by [`turn`](Self::turn) and
/// [`merge`](Self::merge) alone.
///
/// # Examples
///
/// ```
/// use lbcore::ticket_ring::{TicketRing, TicketSecret};
///
/// // Two nodes start apart, and hear of each other.
/// let mut here = TicketRing::new(8);
/// here.start(TicketSecret::new([1; 80]), TicketSecret::new([2; 80]));
/// let mut there = TicketRing::new(8);
/// there.start(TicketSecret::new([3; 80]), TicketSecret::new([4; 80]));
/// let before = here.clone();
/// here.merge(&there);
/// there.merge(&before);
/// assert_eq!(here, there);
///
/// // The next key was on both before either seals with it.
/// here.turn(TicketSecret::new([5; 80]));
/// let sealing = here.sealing().expect("a key");
/// assert!(there.opening().any(|key| key.name() == sealing.name()));
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct TicketRing {
    turn: u64,
    keep: u8,
    /// By generation and name, so that every node walks them alike.
    keys: BTreeMap<(u64, [u8; TicketSecret::NAME]), TicketSecret>,
}

impl TicketRing {
    /// How many turns a key opens after it sealed, where nothing else is said: with a turn an hour,
    /// the seven to eight hours for which a stolen session can be resumed.
    pub const KEEP: u8 = 7;
    /// The most turns that a key can be kept.
    pub const MAX_KEEP: u8 = 64;
    /// The most keys of one generation: as many nodes may turn at the same moment.
    pub const MAX_ALIKE: usize = 4;

    /// A ring without keys, which keeps a key for `keep` turns after it sealed,
    /// [`MAX_KEEP`](Self::MAX_KEEP) at most.
    #[must_use]
    pub fn new(keep: u8) -> Self {
        Self {
            turn: 0,
            keep: keep.min(Self::MAX_KEEP),
            keys: BTreeMap::new(),
        }
    }

    /// How often the ring has turned, on any node.
    #[must_use]
    pub const fn turns(&self) -> u64 {
        self.turn
    }

    /// How many turns a key is kept after it sealed.
    #[must_use]
    pub const fn kept_for(&self) -> u8 {
        self.keep
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that seals; of an empty ring, or one that lost it, the newest there is.
    pub fn sealing(&self) -> Option<&TicketSecret> {
        let own = self.of(self.turn).next();
        own.or_else(|| self.keys.values().next_back())
    }

    /// The key that will seal after the next turn.
    pub fn next(&self) -> Option<&TicketSecret> {
        self.of(self.turn.saturating_add(1)).next()
    }

    /// Every key that opens, the sealing one and the next among them; the newest first.
    pub fn opening(&self) -> impl Iterator<Item = &TicketSecret> {
        self.keys.values().rev()
    }

    /// Gives a ring without keys its first two; one with keys stays as it is.
    pub fn start(&mut self, sealing: TicketSecret, next: TicketSecret) {
        if self.is_empty() {
            self.add(self.turn, sealing);
            self.add(self.turn.saturating_add(1), next);
        }
    }

    /// Turns: what was next seals, and `next` is spread.
    pub fn turn(&mut self, next: TicketSecret) {
        self.turn = self.turn.saturating_add(1);
        self.add(self.turn.saturating_add(1), next);
        self.prune();
    }

    /// Gives a next key to a ring that has none, as after a turn that went unheard.
    pub fn supply(&mut self, next: TicketSecret) {
        if self.next().is_none() {
            self.add(self.turn.saturating_add(1), next);
        }
    }

    /// Takes what `other` has: the same on every node, in any order, however often.
    ///
    /// Returns whether anything changed. What the two keep differently stays each one's own.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = (self.turn, self.keys.len());
        self.turn = self.turn.max(other.turn);
        let mut changed = before.0 != self.turn;
        for (&(generation, _), key) in &other.keys {
            changed |= self.add(generation, key.clone());
        }
        self.prune();
        changed
    }

    /// The keys of one generation, by name.
    fn of(&self, generation: u64) -> impl Iterator<Item = &TicketSecret> {
        let names = (generation, FIRST)..=(generation, LAST);
        self.keys.range(names).map(|(_, key)| key)
    }

    /// Adds a key, unless it is too old or too new, or its generation is full of smaller names.
    fn add(&mut self, generation: u64, key: TicketSecret) -> bool {
        let oldest = self.turn.saturating_sub(self.keep.into());
        if generation < oldest || generation > self.turn.saturating_add(1) {
            return false;
        }
        let place = (generation, *key.name());
        match self.keys.entry(place) {
            // One name, two secrets: whoever chooses names so gets the smaller secret everywhere.
            Entry::Occupied(mut known) => {
                if key.bytes() >= known.get().bytes() {
                    return false;
                }
                known.insert(key);
            }
            Entry::Vacant(free) => {
                free.insert(key);
            }
        }
        if self.of(generation).count() <= Self::MAX_ALIKE {
            return true;
        }
        let greatest = self.of(generation).last().map(|key| *key.name());
        let greatest = (generation, greatest.unwrap_or(LAST));
        self.keys.remove(&greatest);
        greatest != place
    }

    fn prune(&mut self) {
        let oldest = self.turn.saturating_sub(self.keep.into());
        self.keys.retain(|(generation, _), _| *generation >= oldest);
    }
}

impl Default for TicketRing {
    fn default() -> Self {
        Self::new(Self::KEEP)
    }
}

impl fmt::Debug for TicketRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketRing")
            .field("turns", &self.turn)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

const FIRST: [u8; TicketSecret::NAME] = [0; TicketSecret::NAME];
const LAST: [u8; TicketSecret::NAME] = [u8::MAX; TicketSecret::NAME];

#[cfg(test)]
mod tests;
