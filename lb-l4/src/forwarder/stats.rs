//! What a forwarder has done: plain integers, written by their one owner.

use crate::fragment::FragmentStats;
use crate::icmp::AnswerStats;
use crate::method::fullnat::LocalPortsStats;
use crate::method::fullnat::hand_off::HandOffStats;
use crate::packet::DropReason;

/// What a forwarder has done since it was made.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ForwarderStats {
    /// Packets shown to it.
    pub packets: u64,
    /// Packets sent on, to a backend or to a client.
    pub forwarded: u64,
    /// Packets answered in place.
    pub replied: u64,
    /// Packets kept, to be sent later.
    pub held: u64,
    /// Packets left to the host.
    pub passed: u64,
    /// Packets of its own, queued for `poll_transmit`.
    pub transmitted: u64,
    /// Packets dropped, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Sessions under way.
    pub sessions: usize,
    /// Fragments; those that were held and then discarded are also counted as dropped, for
    /// [`DropReason::FragmentUnmatched`].
    pub fragments: FragmentStats,
    /// Local ports of FULLNAT.
    pub local_ports: LocalPortsStats,
    /// Answers handed from worker to worker.
    pub hand_off: HandOffStats,
    /// Segments that went to a backend without the option that tells who the client is, as it did
    /// not fit.
    pub untold: u64,
    /// Answers of its own. A packet that was refused with one is counted as replied, and under the
    /// reason too.
    pub answers: AnswerStats,
}

impl Default for ForwarderStats {
    fn default() -> Self {
        Self {
            packets: 0,
            forwarded: 0,
            replied: 0,
            held: 0,
            passed: 0,
            transmitted: 0,
            dropped: [0; DropReason::ALL.len()],
            sessions: 0,
            fragments: FragmentStats::default(),
            local_ports: LocalPortsStats::default(),
            hand_off: HandOffStats::default(),
            untold: 0,
            answers: AnswerStats::default(),
        }
    }
}

impl ForwarderStats {
    /// Packets dropped for `reason`.
    #[must_use]
    pub const fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}

/// What has passed through one service.
///
/// Bytes are those of IP packets, from the IP header on, as they came in.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ServiceStats {
    /// Packets of clients that were sent on.
    pub packets_in: u64,
    /// Bytes of those, from the IP header on, before they are rewritten.
    pub bytes_in: u64,
    /// Packets of backends that were sent on; none where answers go another way.
    pub packets_out: u64,
    /// Bytes of those, from the IP header on, before they are rewritten.
    pub bytes_out: u64,
    /// Sessions begun, and adopted from other nodes.
    pub sessions: u64,
    /// Sessions that no backend could take.
    pub refused: u64,
    /// Sessions under way.
    pub active: usize,
}

impl ServiceStats {
    /// This and the other together, as of the workers of one service.
    #[must_use]
    pub const fn plus(self, other: &Self) -> Self {
        Self {
            packets_in: self.packets_in + other.packets_in,
            bytes_in: self.bytes_in + other.bytes_in,
            packets_out: self.packets_out + other.packets_out,
            bytes_out: self.bytes_out + other.bytes_out,
            sessions: self.sessions + other.sessions,
            refused: self.refused + other.refused,
            active: self.active + other.active,
        }
    }
}
