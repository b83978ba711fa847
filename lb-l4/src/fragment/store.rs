//! Where the datagrams of the table lie: in slots that are used again, in order of age.

use lbcore::Instant;
use lbcore::rng::Rng;

use super::extent::DatagramKey;
use super::spans::{Placed, Span, Spans};
use super::{Piece, Subject};
use crate::packet::{DropReason, InterfaceId, Link, Packet};

/// The slots.
#[derive(Debug, Default)]
pub(super) struct Store {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The ends of the list by age; every datagram lives as long, so the oldest ends first.
    oldest: Option<u32>,
    newest: Option<u32>,
    /// Slots that hold fragments, in any order, so that one can be picked at random.
    holding: Vec<u32>,
    held_bytes: usize,
}

/// A datagram, or one that was in its slot before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ref {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// `None` if the slot is free.
    key: Option<DatagramKey>,
    older: Option<u32>,
    newer: Option<u32>,
    /// Where it is in `holding`.
    holding_at: Option<u32>,
    datagram: Datagram,
}

/// One datagram under way.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) since: Instant,
    /// Known once the first fragment has come.
    pub(super) subject: Option<Subject>,
    pub(super) known: Known,
    /// Why none of its fragments passes.
    pub(super) refused: Option<DropReason>,
    spans: Spans,
    held: Vec<Copied>,
}

/// What is known of a datagram before its ports are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) identification: u32,
    pub(super) tag: Option<u64>,
}

impl Known {
    pub(super) const fn with(self, subject: Subject) -> Piece {
        Piece {
            subject,
            identification: self.identification,
            tag: self.tag,
        }
    }
}

/// A fragment that waits.
#[derive(Debug)]
pub(super) struct Copied {
    start: u16,
    pub(super) bytes: Vec<u8>,
    pub(super) link: Link,
    pub(super) interface: InterfaceId,
    pub(super) mark: u32,
}

impl Copied {
    pub(super) fn of(start: u16, packet: &Packet<'_>) -> Self {
        Self {
            start,
            bytes: packet.bytes().to_vec(),
            link: packet.link(),
            interface: packet.interface(),
            mark: packet.firewall_mark(),
        }
    }
}

impl Datagram {
    pub(super) const fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.spans.complete()
    }

    /// The lowest last, where it is taken from.
    pub(super) fn sort_held(&mut self) {
        self.held
            .sort_unstable_by_key(|it| std::cmp::Reverse(it.start));
    }
}

impl Store {
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn is_live(&self, at: Ref) -> bool {
        let slot = self.slot(at.slot);
        slot.generation == at.generation && slot.key.is_some()
    }

    pub(super) fn datagram(&self, at: Ref) -> &Datagram {
        debug_assert!(self.is_live(at), "{at:?} is gone");
        &self.slot(at.slot).datagram
    }

    pub(super) fn datagram_mut(&mut self, at: Ref) -> &mut Datagram {
        debug_assert!(self.is_live(at), "{at:?} is gone");
        &mut self.slot_mut(at.slot).datagram
    }

    /// The oldest datagram, and since when it is under way.
    pub(super) fn oldest(&self) -> Option<(Ref, Instant)> {
        let at = self.reference(self.oldest?);
        Some((at, self.datagram(at).since))
    }

    /// A datagram at random, when every slot is in use.
    pub(super) fn any(&self, dice: &mut impl Rng) -> Option<Ref> {
        let bound = self.slots.len() as u64;
        (bound > 0).then(|| self.reference(number(dice.below(bound))))
    }

    /// A datagram at random that holds fragments.
    pub(super) fn any_holding(&self, dice: &mut impl Rng) -> Option<Ref> {
        let place = dice.below(self.holding.len() as u64);
        let slot = self.holding.get(usize::try_from(place).ok()?)?;
        Some(self.reference(*slot))
    }

    pub(super) fn open(&mut self, now: Instant, key: DatagramKey, identification: u32) -> Ref {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::free());
            number(self.slots.len() as u64 - 1)
        });
        let older = self.newest.replace(slot);
        match older {
            Some(older) => self.slot_mut(older).newer = Some(slot),
            None => self.oldest = Some(slot),
        }
        let it = self.slot_mut(slot);
        it.key = Some(key);
        (it.older, it.newer) = (older, None);
        it.datagram.begin(now, identification);
        self.reference(slot)
    }

    /// Frees the slot of a datagram that holds nothing any more, and gives its key.
    pub(super) fn close(&mut self, at: Ref) -> Option<DatagramKey> {
        let it = self.slot_mut(at.slot);
        let key = it.key.take()?;
        it.generation = it.generation.wrapping_add(1);
        let (older, newer) = (it.older.take(), it.newer.take());
        match older {
            Some(older) => self.slot_mut(older).newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.slot_mut(newer).older = older,
            None => self.newest = older,
        }
        self.free.push(at.slot);
        Some(key)
    }

    pub(super) fn place(&mut self, at: Ref, span: Span, most: usize) -> Placed {
        self.datagram_mut(at).spans.insert(span, most)
    }

    pub(super) fn hold(&mut self, at: Ref, copied: Copied) {
        self.held_bytes += copied.bytes.len();
        let place = number(self.holding.len() as u64);
        let it = self.slot_mut(at.slot);
        it.datagram.held.push(copied);
        if it.holding_at.is_none() {
            it.holding_at = Some(place);
            self.holding.push(at.slot);
        }
    }

    /// Takes the held fragment that is last in the list.
    pub(super) fn take_held(&mut self, at: Ref) -> Option<Copied> {
        let copied = self.datagram_mut(at).held.pop()?;
        self.held_bytes -= copied.bytes.len();
        if !self.datagram(at).is_holding() {
            self.holds_nothing(at.slot);
        }
        Some(copied)
    }

    /// Discards what is held of it, and gives how many fragments these were.
    pub(super) fn discard_held(&mut self, at: Ref) -> u64 {
        let mut count = 0;
        while self.take_held(at).is_some() {
            count += 1;
        }
        // A burst of large datagrams must not keep its memory for ever.
        self.datagram_mut(at).held = Vec::new();
        count
    }

    fn holds_nothing(&mut self, slot: u32) {
        let Some(place) = self.slot_mut(slot).holding_at.take() else {
            return;
        };
        self.holding.swap_remove(place as usize);
        if let Some(&moved) = self.holding.get(place as usize) {
            self.slot_mut(moved).holding_at = Some(place);
        }
    }

    fn reference(&self, slot: u32) -> Ref {
        let generation = self.slot(slot).generation;
        Ref { slot, generation }
    }

    fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }
}

impl Slot {
    fn free() -> Self {
        Self {
            generation: 0,
            key: None,
            older: None,
            newer: None,
            holding_at: None,
            datagram: Datagram {
                since: Instant::ZERO,
                subject: None,
                known: Known {
                    identification: 0,
                    tag: None,
                },
                refused: None,
                spans: Spans::default(),
                held: Vec::new(),
            },
        }
    }
}

impl Datagram {
    fn begin(&mut self, now: Instant, identification: u32) {
        self.since = now;
        self.subject = None;
        self.known = Known {
            identification,
            tag: None,
        };
        self.refused = None;
        self.spans.clear();
    }
}

/// Slots are counted in 32 bits: there are at most 2^24.
fn number(slot: u64) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}
