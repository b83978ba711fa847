//! Which sessions have changed since somebody was told.

use super::config::ChangeStream;
use super::lists::Lists;
use super::state::Class;

/// A queue of slots that have something to tell.
///
/// A slot stands in it once, however often it changes, and is read when its turn comes: so the
/// queue is bounded by the slots, and whoever reads slowly reads the latest. Every operation is
/// O(1).
///
/// A flow that ends and begins again is told in that order: its old slot is in the queue from its
/// end at the latest, and its new slot only from its beginning.
#[derive(Debug)]
pub(super) struct Changes {
    stream: ChangeStream,
    queue: Lists,
    /// Whether the reader knows of the session in this slot.
    told: Vec<bool>,
    /// Ends that will never be told.
    lost: u64,
}

impl Changes {
    /// An empty queue with room for `slots` slots, of which [`grow`](Self::grow) adds each.
    pub(super) fn new(stream: ChangeStream, slots: usize) -> Self {
        Self {
            stream,
            queue: Lists::new(1, slots),
            told: Vec::with_capacity(slots),
            lost: 0,
        }
    }

    /// Adds the next slot, which has nothing to tell.
    pub(super) fn grow(&mut self) {
        self.queue.grow();
        self.told.push(false);
    }

    /// The session in `slot`, now of `class`, is not as it was.
    pub(super) fn alter(&mut self, slot: u32, class: Class) {
        let tells = match self.stream {
            ChangeStream::All => true,
            ChangeStream::Off => false,
            ChangeStream::Settled => class != Class::Embryonic || self.told[slot as usize],
        };
        if tells && !self.queue.contains(slot) {
            self.queue.push_back(QUEUE, slot);
        }
    }

    /// The session in `slot` has ended; its slot must not be used anew while it is
    /// [`waiting`](Self::waiting).
    pub(super) fn end(&mut self, slot: u32) {
        if !self.told[slot as usize] {
            self.queue.remove(slot);
        } else if !self.queue.contains(slot) {
            self.queue.push_back(QUEUE, slot);
        }
    }

    /// Whether `slot` has something to tell.
    pub(super) fn waiting(&self, slot: u32) -> bool {
        self.queue.contains(slot)
    }

    /// Takes the slot that has waited longest, and whether the reader knows of its session.
    pub(super) fn pop(&mut self) -> Option<(u32, bool)> {
        let slot = self.queue.front(QUEUE)?;
        self.queue.remove(slot);
        let told = std::mem::replace(&mut self.told[slot as usize], true);
        Some((slot, told))
    }

    /// A new session is in `slot`, of which the reader does not know.
    pub(super) fn begin(&mut self, slot: u32) {
        self.told[slot as usize] = false;
    }

    /// Gives up telling the end of the session in `slot`.
    pub(super) fn lose(&mut self, slot: u32) {
        self.queue.remove(slot);
        self.lost += 1;
    }

    /// How many ends were lost since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Bytes reserved.
    pub(super) fn bytes(&self) -> usize {
        self.queue.bytes() + self.told.capacity() * size_of::<bool>()
    }
}

/// The one list.
const QUEUE: u32 = 0;
