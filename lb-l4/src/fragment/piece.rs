//! What the table says of one packet.

use lbcore::flow::FlowKey;

use crate::packet::{DropReason, InterfaceId, Link};

/// What a packet is part of, whether it is a fragment or not.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the ports are known, will be, or will never be"
)]
pub enum Fragmented {
    /// Discard it.
    Drop(DropReason),
    /// Go on: this is what its ports are, or were in its first fragment.
    Flow(Piece),
    /// The first fragment has not come; a copy is kept, and the buffer is free.
    Held,
}

/// A packet, or a part of one, whose first part is known.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece {
    /// What it belongs to.
    pub subject: Subject,
    /// An identification that no other fragmented datagram of this table has had lately; that of a
    /// packet that is no fragment is 0.
    ///
    /// Where datagrams of several senders get one source address (FULLNAT, and the answers of
    /// NAT), two of them may carry the same identification, and the receiver would mix them: give
    /// the fragment this one by [`set_identification`](super::set_identification). For IPv4 the
    /// lower 16 bits count (RFC 6864).
    pub identification: u32,
    /// What [`FragmentTable::learn`](super::FragmentTable::learn) was told of its datagram.
    pub tag: Option<u64>,
}

/// What a datagram belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "what is not asked of an address is asked through it"
)]
pub enum Subject {
    /// An ICMP echo request: each of its fragments can be answered apart from the others.
    Echo,
    /// A flow, named as the datagram's own addresses and ports are.
    Flow(FlowKey),
}

/// A fragment that was held, whose first one has come.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Released {
    /// Its bytes, from the link's header on, as they came.
    pub bytes: Vec<u8>,
    /// What they begin with.
    pub link: Link,
    /// The interface that it came in by.
    pub interface: InterfaceId,
    /// Its firewall mark.
    pub mark: u32,
    /// What it belongs to. Do not ask [`FragmentTable::handle`](super::FragmentTable::handle) about
    /// it again: to the table it would be a duplicate.
    pub piece: Piece,
}
