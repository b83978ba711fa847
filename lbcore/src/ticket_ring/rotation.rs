//! When a ring turns.

use std::time::Duration;

use super::{TicketRing, TicketSecret};
use crate::time::Instant;

/// Turns a ring every so often, on whichever node comes first.
///
/// A turn that another node made counts as well as one of its own. Nodes that all begin at once are
/// told apart by their [`stagger`](Self::stagger); if two turn at the same moment after all, the
/// rings still merge.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::ticket_ring::{Rotation, TicketRing, TicketSecret};
///
/// let mut ring = TicketRing::default();
/// let mut rotation = Rotation::new(Rotation::EVERY);
/// let mut random = (0..=u8::MAX).map(|byte| TicketSecret::new([byte; 80]));
///
/// assert!(rotation.handle_timeout(Instant::ZERO, &mut ring, || random.next()), "the first keys");
/// let due = rotation.poll_timeout().expect("a time");
/// assert!(rotation.handle_timeout(due, &mut ring, || random.next()), "to be spread");
/// assert_eq!(ring.turns(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Rotation {
    every: Duration,
    stagger: Duration,
    due: Option<Instant>,
    /// The turn that `due` follows.
    seen: u64,
}

impl Rotation {
    /// An hour: what a key sealed can be read for that long by whoever steals it at once.
    pub const EVERY: Duration = Duration::from_secs(3600);
    /// How long it waits after random bytes failed.
    pub const RETRY: Duration = Duration::from_secs(1);

    /// Turns `every` so long, at least a second.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self {
            every: every.max(Duration::from_secs(1)),
            stagger: Duration::ZERO,
            due: None,
            seen: 0,
        }
    }

    /// Comes so much later than a node that staggers less: a multiple of what a ring takes to reach
    /// the other nodes. The default is zero.
    #[must_use]
    pub fn stagger(self, stagger: Duration) -> Self {
        Self { stagger, ..self }
    }

    /// When [`handle_timeout`](Self::handle_timeout) next has something to do; `None` before its
    /// first call.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Turns `ring` if its time has come, with what `random` gives; call it too after a merge.
    ///
    /// Returns whether the ring changed and is to be sent to the other nodes. A ring without keys
    /// gets its first two at once. Where the next key is missing it is made and spread first, and the
    /// turn waits for as long again: no key seals that the others could not have. Without random
    /// bytes all stays as it is, and the next try is [`RETRY`](Self::RETRY) later.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        ring: &mut TicketRing,
        mut random: impl FnMut() -> Option<TicketSecret>,
    ) -> bool {
        let changed = if ring.is_empty() {
            match (random(), random()) {
                (Some(sealing), Some(next)) => {
                    ring.start(sealing, next);
                    true
                }
                _ => return self.retry(now),
            }
        } else if self.due.is_some_and(|due| now >= due) && self.seen == ring.turns() {
            let Some(fresh) = random() else {
                return self.retry(now);
            };
            if ring.next().is_some() {
                ring.turn(fresh);
            } else {
                ring.supply(fresh);
            }
            true
        } else {
            false
        };
        if changed || self.due.is_none() || self.seen != ring.turns() {
            self.seen = ring.turns();
            self.due = Some(now + self.every + self.stagger);
        }
        changed
    }

    fn retry(&mut self, now: Instant) -> bool {
        self.due = Some(now + Self::RETRY);
        false
    }
}
