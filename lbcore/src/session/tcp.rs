//! TCP sessions seen from the middle (RFC 9293, 3.3.2), from both sides or from one.

use super::state::{Side, State, Tracking};

/// What matters of a TCP segment's flags.
#[expect(
    clippy::exhaustive_enums,
    reason = "the four kinds that move the state machine of RFC 9293"
)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Segment {
    /// Neither SYN, FIN nor RST: data, or an acknowledgement.
    Ack,
    /// The sender has nothing more to send.
    Fin,
    /// The connection is no more.
    Rst,
    /// Opens a connection, or from the backend agrees to one.
    Syn,
}

impl Segment {
    /// The kind of a segment with this byte of flags (RFC 9293, 3.1: CWR is the highest bit, FIN
    /// the lowest).
    ///
    /// RST is stronger than SYN, and SYN than FIN, as in the order of processing of RFC 9293,
    /// 3.10.7.
    ///
    /// # Examples
    ///
    /// ```
    /// use lbcore::session::Segment;
    ///
    /// assert_eq!(Segment::of_flags(0x12), Segment::Syn);
    /// assert_eq!(Segment::of_flags(0x11), Segment::Fin);
    /// ```
    #[inline]
    #[must_use]
    pub const fn of_flags(flags: u8) -> Self {
        const FIN: u8 = 0x01;
        const SYN: u8 = 0x02;
        const RST: u8 = 0x04;
        if flags & RST != 0 {
            Self::Rst
        } else if flags & SYN != 0 {
            Self::Syn
        } else if flags & FIN != 0 {
            Self::Fin
        } else {
            Self::Ack
        }
    }
}

impl State {
    /// The state after a segment from `side`, of which `tracking` tells what else is seen.
    ///
    /// ```text
    ///            Syn(c)          Syn(b)             Ack(c)
    /// (insert) ────────▶ SynSent ──────▶ SynReceived ─────▶ Established
    ///                       │              Ack(c), ClientOnly   ▲   │
    ///                       └───────────────────────────────────┘   │
    ///              Fin(c)                                    Fin(b) │
    ///        ┌──────────────────────────────────────────────────────┤
    ///        ▼        Fin(b)           Ack(c)            Fin(c)     ▼
    ///    CloseWait ─────────▶ LastAck ───────▶ TimeWait ◀─────── FinWait
    ///
    ///    SynSent, SynReceived ── Rst ──▶ Rejected        any other ── Rst ──▶ Closed
    ///    LastAck, TimeWait, Closed, Rejected ── Syn(c) ──▶ SynSent
    /// ```
    ///
    /// - A client is believed only when it acknowledges what the backend has answered. Where the
    ///   answers are not seen, its first acknowledgement must do.
    /// - A SYN leaves an open session as it is: the backend answers it with a challenge (RFC 5961,
    ///   4), and forgers gain nothing.
    /// - A closing session that meets a client's SYN begins again: the port is used anew.
    /// - The caller lets an RST or FIN count only if it lies in the window, where it can know
    ///   (RFC 5961, 3): this table keeps no sequence numbers. An unfounded RST costs the session
    ///   its long timeout, not its life: it stays as long as packets pass.
    ///
    /// A UDP state is left as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use lbcore::session::{Segment, Side, State, Tracking};
    ///
    /// let state = State::SynSent
    ///     .on_segment(Side::Backend, Segment::Syn, Tracking::BothSides)
    ///     .on_segment(Side::Client, Segment::Ack, Tracking::BothSides);
    /// assert_eq!(state, State::Established);
    /// ```
    #[inline]
    #[must_use]
    pub const fn on_segment(self, side: Side, segment: Segment, tracking: Tracking) -> Self {
        match (segment, self) {
            (_, Self::UdpNew | Self::UdpActive) => self,
            (Segment::Rst, Self::SynSent | Self::SynReceived | Self::Rejected) => Self::Rejected,
            (Segment::Rst, _) => Self::Closed,
            (Segment::Syn, _) => self.on_syn(side),
            (Segment::Fin, _) => self.on_fin(side, tracking),
            (Segment::Ack, _) => self.on_ack(side, tracking),
        }
    }

    const fn on_syn(self, side: Side) -> Self {
        match (self, side) {
            (Self::SynSent, Side::Backend) => Self::SynReceived,
            (Self::LastAck | Self::TimeWait | Self::Closed | Self::Rejected, Side::Client) => {
                Self::SynSent
            }
            _ => self,
        }
    }

    const fn on_fin(self, side: Side, tracking: Tracking) -> Self {
        // A FIN acknowledges too, and may be the first to, if what went before it was lost.
        match (self.on_ack(side, tracking), side, tracking) {
            (Self::Established, Side::Client, Tracking::BothSides) => Self::CloseWait,
            (Self::Established, _, _) => Self::FinWait,
            (Self::FinWait, Side::Client, Tracking::BothSides) => Self::TimeWait,
            (Self::CloseWait, Side::Backend, _) => Self::LastAck,
            (state, _, _) => state,
        }
    }

    const fn on_ack(self, side: Side, tracking: Tracking) -> Self {
        match (self, side, tracking) {
            (Self::SynReceived, Side::Client, _)
            | (Self::SynSent, Side::Client, Tracking::ClientOnly) => Self::Established,
            // The answer itself went another way, or was lost after it passed another node.
            (Self::SynSent, Side::Backend, _) => Self::SynReceived,
            (Self::LastAck, Side::Client, _) => Self::TimeWait,
            (state, _, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Segment::{Ack, Fin, Rst, Syn};
    use super::Side::{Backend, Client};
    use super::State::{
        CloseWait, Closed, Established, FinWait, LastAck, Rejected, SynReceived, SynSent, TimeWait,
    };
    use super::Tracking::{BothSides, ClientOnly};
    use super::*;

    const FROM: [State; 9] = [
        SynSent,
        SynReceived,
        Established,
        FinWait,
        CloseWait,
        LastAck,
        TimeWait,
        Closed,
        Rejected,
    ];

    #[test]
    #[rustfmt::skip]
    fn each_state_follows_the_table() {
        const RESET: [State; 9] = [Rejected, Rejected, Closed, Closed, Closed, Closed, Closed, Closed, Rejected];
        let table = [
            //                            SynSent      SynReceived  Established  FinWait   CloseWait  LastAck   TimeWait  Closed  Rejected
            (BothSides,  Client,  Syn, [SynSent,     SynReceived, Established, FinWait,  CloseWait, SynSent,  SynSent,  SynSent, SynSent]),
            (BothSides,  Client,  Ack, [SynSent,     Established, Established, FinWait,  CloseWait, TimeWait, TimeWait, Closed, Rejected]),
            (BothSides,  Client,  Fin, [SynSent,     CloseWait,   CloseWait,   TimeWait, CloseWait, TimeWait, TimeWait, Closed, Rejected]),
            (BothSides,  Client,  Rst, RESET),
            (BothSides,  Backend, Syn, [SynReceived, SynReceived, Established, FinWait,  CloseWait, LastAck,  TimeWait, Closed, Rejected]),
            (BothSides,  Backend, Ack, [SynReceived, SynReceived, Established, FinWait,  CloseWait, LastAck,  TimeWait, Closed, Rejected]),
            (BothSides,  Backend, Fin, [SynReceived, SynReceived, FinWait,     FinWait,  LastAck,   LastAck,  TimeWait, Closed, Rejected]),
            (BothSides,  Backend, Rst, RESET),
            (ClientOnly, Client,  Syn, [SynSent,     SynReceived, Established, FinWait,  CloseWait, SynSent,  SynSent,  SynSent, SynSent]),
            (ClientOnly, Client,  Ack, [Established, Established, Established, FinWait,  CloseWait, TimeWait, TimeWait, Closed, Rejected]),
            (ClientOnly, Client,  Fin, [FinWait,     FinWait,     FinWait,     FinWait,  CloseWait, TimeWait, TimeWait, Closed, Rejected]),
            (ClientOnly, Client,  Rst, RESET),
        ];
        for (tracking, side, segment, to) in table {
            for (from, to) in FROM.into_iter().zip(to) {
                let state = from.on_segment(side, segment, tracking);
                assert_eq!(state, to, "{from:?} after {segment:?} of {side:?}, {tracking:?}");
            }
        }
    }

    #[test]
    fn every_byte_of_flags_is_of_the_kind_of_its_strongest_bit() {
        for flags in 0..=u8::MAX {
            let kind = match (flags & 4 > 0, flags & 2 > 0, flags & 1 > 0) {
                (true, _, _) => Rst,
                (_, true, _) => Syn,
                (_, _, true) => Fin,
                _ => Ack,
            };
            assert_eq!(Segment::of_flags(flags), kind);
        }
    }

    #[test]
    fn no_segment_moves_a_udp_session() {
        for state in [State::UdpNew, State::UdpActive] {
            for segment in [Ack, Fin, Rst, Syn] {
                assert_eq!(state.on_segment(Client, segment, BothSides), state);
            }
        }
    }

    #[test]
    fn a_forged_syn_and_acknowledgement_alone_stay_embryonic_where_answers_are_seen() {
        let state = SynSent.on_segment(Client, Ack, BothSides);
        assert_eq!(state.class(), super::super::Class::Embryonic);
    }
}
