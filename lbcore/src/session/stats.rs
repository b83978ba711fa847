//! What a table has done, holds and reserves.

#[cfg(doc)]
use super::{SessionRefusal, Table};

/// What a table has done since it was made, and how much it holds.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SessionStats {
    /// Sessions that live.
    pub sessions: usize,
    /// Embryonic sessions among them.
    pub embryonic: usize,
    /// Sessions inserted or adopted.
    pub inserted: u64,
    /// Insertions refused as [`SessionRefusal::Backlog`].
    pub refused_backlog: u64,
    /// Insertions refused as [`SessionRefusal::EmbryonicFull`].
    pub refused_embryonic: u64,
    /// Insertions refused as [`SessionRefusal::Full`].
    pub refused_full: u64,
    /// Insertions refused because of what was inserted, not for want of room.
    pub refused_misused: u64,
    /// Sessions that gave way to others.
    pub evicted: u64,
    /// Sessions that were silent for too long.
    pub timed_out: u64,
    /// Sessions that their owner removed.
    pub removed: u64,
    /// Ends that could not be kept until they were told.
    pub lost: u64,
}

/// What a [`Table`] reserves.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TableMemory {
    /// Bytes for sessions between IPv4 addresses.
    pub v4: usize,
    /// Bytes for sessions between IPv6 addresses.
    pub v6: usize,
}
