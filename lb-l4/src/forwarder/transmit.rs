//! Packets that the forwarder sends by itself.

use std::collections::VecDeque;

use super::routes::Way;
use crate::packet::{InterfaceId, Link};
use crate::wire::ethernet;

/// One packet that the forwarder wants sent, whole: with a link header if the link has one, and
/// with full checksums.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transmit<'a> {
    /// Out of which interface.
    pub interface: InterfaceId,
    /// Its bytes, as [`Packet::bytes`](crate::packet::Packet::bytes) of that interface's link.
    pub bytes: &'a [u8],
}

impl<'a> Transmit<'a> {
    /// The packet of these bytes.
    #[must_use]
    pub const fn new(interface: InterfaceId, bytes: &'a [u8]) -> Self {
        Self { interface, bytes }
    }
}

/// A bounded queue of packets, whose buffers are used again.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<(InterfaceId, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    /// What was given out last, and is borrowed.
    given: Vec<u8>,
    most: usize,
}

impl Outbox {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            waiting: VecDeque::with_capacity(most),
            spare: Vec::with_capacity(most),
            given: Vec::new(),
            most,
        }
    }

    /// Queues what `write` appends behind the link header of `way`; says whether it could: there was
    /// room, and a way.
    pub(crate) fn push(&mut self, way: &Way, v4: bool, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let (Some(out), Some([to, from])) = (way.out, way.macs) else {
            return false;
        };
        if self.waiting.len() >= self.most {
            return false;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        if way.link == Link::Ethernet {
            let header = ethernet::Header {
                destination: to,
                source: from,
                kind: if v4 { ethernet::IPV4 } else { ethernet::IPV6 },
                ..ethernet::Header::default()
            };
            header.emit(&mut bytes);
        }
        write(&mut bytes);
        self.waiting.push_back((out, bytes));
        true
    }

    /// Queues a copy of a whole frame; says whether there was room.
    pub(crate) fn push_frame(&mut self, out: InterfaceId, frame: &[u8]) -> bool {
        if self.waiting.len() >= self.most {
            return false;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        self.waiting.push_back((out, bytes));
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The packet that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Transmit<'_>> {
        let (interface, bytes) = self.waiting.pop_front()?;
        let used = std::mem::replace(&mut self.given, bytes);
        if used.capacity() <= LARGEST_SPARE && self.spare.len() < self.most {
            self.spare.push(used);
        }
        Some(Transmit::new(interface, &self.given))
    }
}

/// Larger buffers are given back: packets of our own seldom have more than Ethernet's 1,500 bytes.
const LARGEST_SPARE: usize = 2_048;
