//! What is kept of each session beside the table, by slot.

use lbcore::session::{Region, Table};

use crate::method::splice::SpliceId;
use crate::syn_proxy::HalfOpenId;

/// What a packet needs of its session that is not in the table: half a cache line.
///
/// The table's entry and this one are fetched together, so a session costs one wait for memory.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
pub(crate) struct Flow {
    /// What the session is found by for answers; meaningful with [`Flow::ANSWERED_HERE`].
    pub(crate) answer_tag: u32,
    /// The number of its splice, one more; 0 is none.
    pub(crate) splice: u32,
    /// What each end has acknowledged and offered: client, backend.
    pub(crate) ends: [Edge; 2],
    /// The shifts of the two windows: the client's in the low four bits.
    pub(crate) shifts: u8,
    /// Bits of this type's constants.
    pub(crate) flags: u8,
    /// Which version of its backend's address it was begun with.
    pub(crate) stamp: u16,
    /// The local port in place of the client's, and which of the local addresses.
    pub(crate) local_port: u16,
    pub(crate) local_address: u16,
}

/// The edge of what one end is ready to take: where it begins, and how wide it is, not scaled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Edge {
    /// The next sequence number that it expects: what it acknowledged last.
    pub(crate) expects: u32,
    pub(crate) window: u16,
    /// Whether it has said so yet.
    pub(crate) known: bool,
}

impl Flow {
    /// The session is in the index of answers.
    pub(crate) const ANSWERED_HERE: u8 = 1;
    /// The backend has sent something.
    pub(crate) const ANSWERED: u8 = 2;
    /// The last RST that counted came from the backend.
    pub(crate) const RESET_BY_BACKEND: u8 = 4;
    /// The session counts against the limits of its service.
    pub(crate) const LIMITED: u8 = 8;

    /// The backend has not answered the SYN proxy yet; `splice` is then the handshake's.
    pub(crate) const HALF_OPEN: u8 = 16;

    /// Sequence numbers are shifted by the header that stands before the client's first byte.
    pub(crate) const SHIFTED: u8 = 32;

    /// The backend knows who the client is, as far as it is told.
    pub(crate) const TOLD: u8 = 64;

    /// The backend has answered the SYN: until the client has acknowledged something, its edge is
    /// where it must begin.
    pub(crate) const AGREED: u8 = 128;

    /// What stays true when the same ends open a connection anew.
    pub(crate) const LASTING: u8 = Self::ANSWERED_HERE | Self::LIMITED;

    /// Its splice, if it has one already.
    #[inline]
    pub(crate) const fn splice(&self) -> Option<SpliceId> {
        match self.splice.checked_sub(1) {
            Some(place) if !self.has(Self::HALF_OPEN) => SpliceId::from_bits(place),
            _ => None,
        }
    }

    /// Its handshake, while its backend has not answered the SYN proxy.
    pub(crate) const fn half_open(&self) -> Option<HalfOpenId> {
        match self.splice.checked_sub(1) {
            Some(place) if self.has(Self::HALF_OPEN) => HalfOpenId::from_bits(place),
            _ => None,
        }
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A [`Flow`] for each slot of a table, of both families.
///
/// Memory is reserved at the start, and handed over by the kernel as it is first used.
#[derive(Debug)]
pub(crate) struct Flows {
    v4: Vec<Flow>,
    v6: Vec<Flow>,
    /// Slots of IPv4, behind which those of IPv6 come.
    split: usize,
}

impl Flows {
    pub(crate) fn new(table: &Table) -> Self {
        let split = table.v4_slots();
        Self {
            v4: Vec::with_capacity(split),
            v6: Vec::with_capacity(table.slots() - split),
            split,
        }
    }

    /// What is kept for `slot`; nothing before the first [`set`](Self::set).
    #[inline]
    pub(crate) fn at(&self, slot: usize) -> Option<&Flow> {
        match slot.checked_sub(self.split) {
            Some(slot) => self.v6.get(slot),
            None => self.v4.get(slot),
        }
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, slot: usize) -> Option<&mut Flow> {
        match slot.checked_sub(self.split) {
            Some(slot) => self.v6.get_mut(slot),
            None => self.v4.get_mut(slot),
        }
    }

    /// Begins to keep `flow` for `slot`. Tables take new slots in order, so this grows one by one.
    pub(crate) fn set(&mut self, slot: usize, flow: Flow) {
        let (flows, slot) = match slot.checked_sub(self.split) {
            Some(slot) => (&mut self.v6, slot),
            None => (&mut self.v4, slot),
        };
        if slot >= flows.len() {
            flows.resize(slot + 1, Flow::default());
        }
        if let Some(at) = flows.get_mut(slot) {
            *at = flow;
        }
    }

    /// Fetches the cache line of `slot`.
    #[inline]
    pub(crate) fn fetch(&self, slot: usize) -> u32 {
        self.at(slot).map_or(0, |flow| flow.answer_tag)
    }

    pub(crate) fn regions(&self) -> [Region; 2] {
        [Region::of(&self.v4), Region::of(&self.v6)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_half_a_cache_line_and_lies_in_one() {
        assert_eq!((size_of::<Flow>(), align_of::<Flow>()), (32, 32));
    }
}
