//! What becomes of a packet, and why.

use super::InterfaceId;

/// What becomes of one packet.
#[must_use]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[doc(alias = "XDP action")]
pub enum Verdict {
    /// Discard it; it is counted under this reason.
    Drop(DropReason),
    /// Send it, as rewritten, out of this interface.
    Forward(InterfaceId),
    /// The forwarder keeps a copy and sends it later, or has handed it to another worker; the buffer
    /// is free. A later fragment whose first has not come, data behind a SYN that the backend has
    /// not answered, or a packet whose next hop is being asked for.
    Held,
    /// Leave it to the host's own stack: it is not addressed to a virtual service.
    Pass,
    /// Send it, as rewritten, back out of the interface that it came in by.
    Reply,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet was dropped, or refused with an answer.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// Every reason.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// Its name in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// The client's address is not among those allowed, or among those denied.
    AddressDenied = "address-denied",
    /// Every backend is down, full, or none is in service.
    BackendUnavailable = "backend-unavailable",
    /// The service has had as many bytes as it may for now.
    Bandwidth = "bandwidth",
    /// A checksum that had to be right to go on was wrong.
    BadChecksum = "bad-checksum",
    /// A fragment overlaps another one, or makes an impossible packet (RFC 5722).
    FragmentOverlap = "fragment-overlap",
    /// The first fragment did not come in time, or the fragment table is full.
    FragmentUnmatched = "fragment-unmatched",
    /// Its time to live is over.
    HopLimit = "hop-limit",
    /// An ICMP error about nothing that is known here.
    IcmpUnmatched = "icmp-unmatched",
    /// Headers that are cut short, contradict each other or are of no use.
    Malformed = "malformed",
    /// It does not belong to a session and may not begin one.
    NoSession = "no-session",
    /// The backend's answer did not come in time for data that was held for it.
    HeldTooLong = "held-too-long",
    /// As much is held as may be.
    HoldFull = "hold-full",
    /// There is no room before or behind it for what has to be added.
    NoRoom = "no-room",
    /// No local port is free for the backend.
    PortsExhausted = "ports-exhausted",
    /// The transmit queue is full.
    QueueFull = "queue-full",
    /// The service may begin no more sessions for now.
    RateLimited = "rate-limited",
    /// The session table is full.
    SessionsFull = "sessions-full",
    /// The service may have no more sessions at once.
    SessionLimit = "session-limit",
    /// An acknowledgement whose SYN cookie is wrong or too old.
    SynCookieWrong = "syn-cookie-wrong",
    /// Larger than what it has to go through, and may not be fragmented.
    TooBig = "too-big",
    /// Of a session whose backend is gone.
    BackendGone = "backend-gone",
    /// A RST or FIN whose sequence number is not in the window (RFC 5961).
    OutsideWindow = "outside-window",
    /// The next hop's link address is not known, and nobody answers for it.
    Unresolved = "unresolved",
    /// A protocol, or an extension header, that is not forwarded.
    Unsupported = "unsupported",
    /// It belongs to another worker, whose hand-off ring is full.
    HandOffFull = "hand-off-full",
    /// More answers of the forwarder's own than may be sent in a second.
    AnswerRate = "answer-rate",
    /// Two ends that did nothing but acknowledge each other.
    AckStorm = "ack-storm",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            DropReason::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (place, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert!(
                reason
                    .as_str()
                    .bytes()
                    .all(|it| it.is_ascii_lowercase() || it == b'-')
            );
        }
    }
}
