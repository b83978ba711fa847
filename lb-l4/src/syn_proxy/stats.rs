//! What a SYN proxy has done: plain integers, written by their one owner.

/// What one worker's SYN proxy has done since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct SynProxyStats {
    /// SYNs answered with a cookie.
    pub answered: u64,
    /// ACKs whose cookie was right.
    pub accepted: u64,
    /// ACKs whose cookie was wrong or too old.
    pub wrong: u64,
    /// ACKs with the right cookie for which there was no room.
    pub crowded: u64,
    /// Handshakes that a backend has completed.
    pub joined: u64,
    /// Handshakes that a backend has answered with an RST.
    pub refused: u64,
    /// Handshakes that a backend has not answered.
    pub unanswered: u64,
    /// Handshakes that the client has given up.
    pub abandoned: u64,
    /// Handshakes that a backend has completed without the timestamps that its client was promised.
    pub promises_broken: u64,
    /// SYNs sent to a backend again.
    pub retries: u64,
    /// Old connections of a backend that stood in the way of a new one, and were reset.
    pub stale: u64,
    /// Segments of clients that were answered by what we have, as they cannot belong to their
    /// handshake (RFC 5961).
    pub challenged: u64,
    /// Handshakes under way.
    pub half_open: usize,
    /// Bytes held for them.
    pub held_bytes: usize,
}
