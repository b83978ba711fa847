//! What is known of a session from the packets that pass.

use crate::flow::Protocol;

/// The state of a session, as seen from the middle.
///
/// The TCP states are those of the backend's end (RFC 9293, 3.3.2), as far as passing packets show
/// them; how they follow each other is told at [`State::on_segment`].
#[expect(
    clippy::exhaustive_enums,
    reason = "the states of RFC 9293 that can be seen from the middle, and two for UDP"
)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum State {
    /// TCP: the client has sent its SYN; nothing has answered, or nothing that is seen.
    SynSent,
    /// TCP: the backend has answered the SYN; the client has not shown that it exists.
    SynReceived,
    /// TCP: the handshake is done.
    Established,
    /// TCP: one end has closed and the other may still send. The end is the backend, or the client
    /// if only its side is seen.
    FinWait,
    /// TCP: the client has closed, the backend may still send.
    CloseWait,
    /// TCP: the client has closed, then the backend; the last acknowledgement is awaited.
    LastAck,
    /// TCP: both ends have closed.
    TimeWait,
    /// TCP: reset by either end.
    Closed,
    /// TCP: reset before the handshake was done. Apart from [`Closed`](Self::Closed), so that a
    /// forged SYN and RST do not leave the share of the table that forgers may have.
    Rejected,
    /// UDP: the client has sent one datagram, which anyone can in anyone's name.
    UdpNew,
    /// UDP: the client has gone on sending.
    UdpActive,
}

/// How dear a session is when the table is full.
#[expect(
    clippy::exhaustive_enums,
    reason = "a session begins, goes on, and ends"
)]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Has not shown that its client exists: costs an attacker one packet.
    Embryonic,
    /// Both ends have closed, or one has reset: only late packets are to come.
    Closing,
    /// Under way.
    Open,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
        Self::Rejected,
        Self::UdpNew,
        Self::UdpActive,
    ];

    /// The protocol whose state it is.
    #[inline]
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::UdpNew | Self::UdpActive => Protocol::Udp,
            _ => Protocol::Tcp,
        }
    }

    /// How dear a session in this state is.
    #[inline]
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::SynSent | Self::SynReceived | Self::Rejected | Self::UdpNew => Class::Embryonic,
            Self::LastAck | Self::TimeWait | Self::Closed => Class::Closing,
            Self::Established | Self::FinWait | Self::CloseWait | Self::UdpActive => Class::Open,
        }
    }
}

/// Which end of a session sent a packet.
#[expect(clippy::exhaustive_enums, reason = "a session has two ends")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// The backend, or whoever answers for it.
    Backend,
    /// The end that the session was opened from.
    Client,
}

/// Which packets of a session pass here.
#[expect(clippy::exhaustive_enums, reason = "answers pass here or they do not")]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[doc(alias = "INPUT_ONLY")]
pub enum Tracking {
    /// Both directions: NAT and sockets.
    #[default]
    BothSides,
    /// The client's alone: with direct routing and tunnels the backend answers past us.
    ClientOnly,
}
