//! Joins a client and a backend that count from different numbers.
//!
//! Where somebody between them has answered a handshake himself, or put bytes before the client's
//! first, each side's sequence numbers, timestamps and windows mean something else to the other.
//! A [`Splice`] is the constant difference, added to every packet of the session for its life:
//!
//! ```text
//!                 to the backend                     to the client
//!   sequence      + client_sequence                  + backend_sequence
//!   ack, SACK     - backend_sequence                 - client_sequence
//!   timestamp     + client_timestamp                 + backend_timestamp
//!   echo          - backend_timestamp                - client_timestamp
//!   window        << client_window                   << backend_window
//! ```
//!
//! All of it modulo 2^32 (RFC 9293, 3.4), with one incremental change of the checksum (RFC 1624).
#![warn(clippy::indexing_slicing)]

mod segment;
mod slab;
mod storm;

pub use slab::{SpliceId, Spliced, Splices};
pub use storm::Storm;

use crate::packet::Packet;
use crate::wire::tcp::flags::ACK;
use crate::wire::{Body, Headers};

use segment::Change;

/// What differs between the two sides of one TCP session; the default is nothing.
///
/// # Examples
///
/// A header of 28 bytes was sent to the backend before the client's first byte, whose number is
/// 5000:
///
/// ```
/// use lb_l4::method::splice::Splice;
///
/// let splice = Splice::default().client_sequence(28).client_first(5000);
/// assert_eq!(splice.client_sequence, 28);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Splice {
    /// Added to the client's sequence numbers, other than its SYN's, on their way to the backend.
    /// Default 0.
    pub client_sequence: u32,
    /// Added to the backend's sequence numbers on their way to the client. Default 0.
    pub backend_sequence: u32,
    /// Added to the client's timestamps. Default 0.
    pub client_timestamp: u32,
    /// Added to the backend's timestamps. Default 0.
    pub backend_timestamp: u32,
    /// The client's first byte, as the client counts: until the backend has acknowledged as much,
    /// no acknowledgement that the client sees is before it. Default none.
    pub client_first: Option<u32>,
    /// How many bits the client's windows are shifted by, to the left if positive: its scale as we
    /// have it less its scale as the backend has it. -14 to 14, default 0.
    pub client_window: i8,
    /// How many bits the backend's windows are shifted by, to the left if positive: its scale as it
    /// says less the scale that the client was promised. -14 to 14, default 0.
    pub backend_window: i8,
    /// Takes the client's SACK blocks out: the backend did not agree to them. Default off.
    pub blank_sack: bool,
    /// Takes the client's timestamps out: the backend did not agree to them. Default off.
    pub blank_timestamps: bool,
    /// Takes ECN out of the client's packets: the backend did not agree to it. Default off.
    pub blank_ecn: bool,
}

impl Splice {
    /// Sets [`client_sequence`](Self::client_sequence).
    #[must_use]
    pub const fn client_sequence(mut self, delta: u32) -> Self {
        self.client_sequence = delta;
        self
    }

    /// Sets [`backend_sequence`](Self::backend_sequence).
    #[must_use]
    pub const fn backend_sequence(mut self, delta: u32) -> Self {
        self.backend_sequence = delta;
        self
    }

    /// Sets [`client_timestamp`](Self::client_timestamp).
    #[must_use]
    pub const fn client_timestamp(mut self, delta: u32) -> Self {
        self.client_timestamp = delta;
        self
    }

    /// Sets [`backend_timestamp`](Self::backend_timestamp).
    #[must_use]
    pub const fn backend_timestamp(mut self, delta: u32) -> Self {
        self.backend_timestamp = delta;
        self
    }

    /// Sets [`client_first`](Self::client_first).
    #[must_use]
    pub const fn client_first(mut self, sequence: u32) -> Self {
        self.client_first = Some(sequence);
        self
    }

    /// Sets [`client_window`](Self::client_window).
    #[must_use]
    pub const fn client_window(mut self, shift: i8) -> Self {
        self.client_window = shift;
        self
    }

    /// Sets [`backend_window`](Self::backend_window).
    #[must_use]
    pub const fn backend_window(mut self, shift: i8) -> Self {
        self.backend_window = shift;
        self
    }

    /// Sets [`blank_sack`](Self::blank_sack).
    #[must_use]
    pub const fn blank_sack(mut self, blank: bool) -> Self {
        self.blank_sack = blank;
        self
    }

    /// Sets [`blank_timestamps`](Self::blank_timestamps).
    #[must_use]
    pub const fn blank_timestamps(mut self, blank: bool) -> Self {
        self.blank_timestamps = blank;
        self
    }

    /// Sets [`blank_ecn`](Self::blank_ecn).
    #[must_use]
    pub const fn blank_ecn(mut self, blank: bool) -> Self {
        self.blank_ecn = blank;
        self
    }

    /// Rewrites a packet of the client's for the backend, and `headers` with it.
    ///
    /// One that is not TCP stays as it is. Cost: O(options), no allocation.
    pub fn to_backend(&self, packet: &mut Packet<'_>, headers: &mut Headers) {
        let change = Change {
            sequence: self.client_sequence,
            syn_sequence: 0,
            acknowledgement: self.backend_sequence.wrapping_neg(),
            first: None,
            timestamp: self.client_timestamp,
            echo: self.backend_timestamp.wrapping_neg(),
            window: self.client_window,
            blank_sack: self.blank_sack,
            blank_timestamps: self.blank_timestamps,
        };
        change.apply(packet, headers);
        if self.blank_ecn {
            segment::blank_ecn(packet, headers);
        }
    }

    /// Rewrites a packet of the backend's for the client, and `headers` with it.
    ///
    /// One that is not TCP stays as it is. Cost: as [`to_backend`](Self::to_backend).
    pub fn to_client(&mut self, packet: &mut Packet<'_>, headers: &mut Headers) {
        let change = Change {
            sequence: self.backend_sequence,
            syn_sequence: self.backend_sequence,
            acknowledgement: self.client_sequence.wrapping_neg(),
            first: self.client_first,
            timestamp: self.backend_timestamp,
            echo: self.client_timestamp.wrapping_neg(),
            window: self.backend_window,
            blank_sack: false,
            blank_timestamps: false,
        };
        change.apply(packet, headers);
        if let (Some(first), Body::Tcp(tcp)) = (self.client_first, &headers.body) {
            // Numbers come round again after 4 GiB, and must not meet the first byte then.
            let past = tcp.acknowledgement.wrapping_sub(first);
            if tcp.flags & ACK != 0 && (1..1 << 31).contains(&past) {
                self.client_first = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
