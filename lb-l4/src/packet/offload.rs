//! What a sender leaves to hardware that a virtual link does not have.

use std::num::NonZeroU16;

/// What a packet's TCP or UDP checksum is.
#[expect(
    clippy::exhaustive_enums,
    reason = "the two states of a Linux packet that matter to a middlebox"
)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Checksum {
    /// In place, right or wrong.
    #[default]
    Complete,
    /// The field holds the folded sum of the pseudo-header alone, not complemented; whoever sends
    /// the packet on a wire adds the rest (Linux: `CHECKSUM_PARTIAL`).
    Partial,
}

/// What is left to be done before the packet can stand on a wire.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Offload {
    /// The checksum of the innermost TCP or UDP header.
    pub checksum: Checksum,
    /// Payload bytes of each segment that a TCP packet, or a train of UDP, is to be cut into.
    pub segment: Option<NonZeroU16>,
}

impl Offload {
    /// A packet whose checksum is partial, cut into segments if it is larger than one.
    #[must_use]
    pub const fn partial(segment: Option<NonZeroU16>) -> Self {
        Self {
            checksum: Checksum::Partial,
            segment,
        }
    }
}
