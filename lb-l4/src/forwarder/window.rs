//! What of a TCP session can be believed: sequence numbers against windows (RFC 5961).

use lbcore::session::Side;

use super::flows::{Edge, Flow};
use crate::wire::tcp::{TcpOption, flags, options};
use crate::wire::{Headers, TcpHeader};

/// Whether a segment lies where its receiver would look at it, as far as is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// Inside the window that the receiver last offered, or nothing is known of it.
    Inside,
    /// Outside: forged blindly, or very late.
    Outside,
}

/// Looks at a segment of `side`, and learns from it what that side expects and offers.
///
/// A RST counts only from the number that its receiver expects to the end of the window, and a FIN
/// only if it is not wholly before or behind it. Segments outside teach nothing: whoever forges
/// blindly cannot move the window to where his RST lies. The receiver itself asks more of a RST
/// (RFC 5961, 3.2: the exact number), so those that count here may still be challenged by it; the
/// session then goes on as long as packets pass.
#[inline]
pub(crate) fn look(flow: &mut Flow, side: Side, tcp: &TcpHeader, len: u32) -> Place {
    let (me, peer) = match side {
        Side::Client => (0, 1),
        Side::Backend => (1, 0),
    };
    let [shifts, other] = [flow.shifts >> (4 * me), flow.shifts >> (4 * peer)].map(|it| it & 15);
    let place = place(&flow.ends[peer], other, tcp, len);
    if place == Place::Inside && tcp.flags & (flags::ACK | flags::RST) == flags::ACK {
        learn(&mut flow.ends[me], tcp, shifts);
    }
    place
}

#[inline]
fn place(receiver: &Edge, shift: u8, tcp: &TcpHeader, len: u32) -> Place {
    if !receiver.known {
        return Place::Inside;
    }
    let window = (u32::from(receiver.window) << shift).max(1);
    // How far the segment's first number lies behind the one that is expected.
    let ahead = tcp.sequence.wrapping_sub(receiver.expects);
    if tcp.flags & flags::RST != 0 {
        return if ahead <= window {
            Place::Inside
        } else {
            Place::Outside
        };
    }
    let inside = if ahead.cast_signed() >= 0 {
        ahead <= window
    } else {
        // Sent again, or a probe of one that keeps alive: near enough to be of this connection. One
        // that brings a FIN must reach what is expected, or it has been taken before.
        let reaches = ahead.wrapping_add(len).cast_signed() > 0;
        let near = ahead.wrapping_neg() <= LATE.max(window);
        near && (reaches || tcp.flags & flags::FIN == 0)
    };
    if inside {
        Place::Inside
    } else {
        Place::Outside
    }
}

/// Whether `sender` can have sent a segment with this sequence number lately, as far as is known:
/// it lies in the window that the receiver last offered, or in one before that.
pub(crate) fn could_be(flow: &Flow, sender: Side, sequence: u32) -> bool {
    let receiver = match sender {
        Side::Client => 1,
        Side::Backend => 0,
    };
    let edge = &flow.ends[receiver];
    let shift = flow.shifts >> (4 * receiver) & 15;
    let window = (u32::from(edge.window) << shift).max(LATE);
    let ahead = sequence.wrapping_sub(edge.expects);
    !edge.known || ahead <= window || ahead.wrapping_neg() <= window
}

/// Notes what a client must acknowledge before it is believed: the number of the backend's SYN.
pub(crate) fn agree(flow: &mut Flow, syn: &TcpHeader) {
    let [client, _] = &mut flow.ends;
    if !client.known {
        client.expects = syn.sequence.wrapping_add(1);
        flow.flags |= Flow::AGREED;
    }
}

/// Whether a client acknowledges what its backend has not said: whoever forges its address has not
/// seen the answer to his SYN (RFC 9293, 3.10.7.4). The backend answers it with an RST.
///
/// A backend may have sent some data already, but not more than a window (RFC 7413).
#[inline]
pub(crate) fn is_unfounded(flow: &Flow, tcp: &TcpHeader) -> bool {
    let [client, _] = flow.ends;
    !client.known
        && flow.has(Flow::AGREED)
        && tcp.flags & (flags::ACK | flags::RST) == flags::ACK
        && tcp.acknowledgement.wrapping_sub(client.expects) > LATE
}

#[inline]
fn learn(own: &mut Edge, tcp: &TcpHeader, shift: u8) {
    let newer = tcp.acknowledgement.wrapping_sub(own.expects).cast_signed() >= 0;
    // A SYN says something new only once.
    if !own.known || newer && tcp.flags & flags::SYN == 0 {
        own.expects = tcp.acknowledgement;
        // The window of a SYN is not scaled (RFC 7323, 2.2): keep it so, by giving it no shift back.
        own.window = if tcp.flags & flags::SYN == 0 {
            tcp.window
        } else {
            tcp.window.checked_shr(u32::from(shift)).unwrap_or(0).max(1)
        };
        own.known = true;
    }
}

/// Reads the window scale of a SYN, or of its answer (RFC 7323, 2.2): if one side does not offer it,
/// neither scales.
pub(crate) fn scale(flow: &mut Flow, side: Side, bytes: &[u8], headers: &Headers, tcp: &TcpHeader) {
    let from = headers.transport + crate::wire::tcp::HEADER;
    let to = headers.transport + tcp.len;
    let found = options(bytes.get(from..to).unwrap_or_default()).find_map(|option| match option {
        TcpOption::WindowScale(shift) => Some(shift.min(MAX_SHIFT)),
        _ => None,
    });
    flow.shifts = match (side, found) {
        (Side::Client, found) => found.unwrap_or(0),
        (Side::Backend, Some(shift)) => flow.shifts & 15 | shift << 4,
        (Side::Backend, None) => 0,
    };
}

/// Both shifts of a session whose SYN was not seen: the widest windows there can be.
pub(crate) const UNKNOWN_SHIFTS: u8 = MAX_SHIFT << 4 | MAX_SHIFT;

/// RFC 7323, 2.3.
const MAX_SHIFT: u8 = 14;

/// A segment that lies so far before the window may still be one that was sent again: an unscaled
/// window and a segment.
const LATE: u32 = 66_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Link;
    use crate::wire::emit::TcpSegment;
    use crate::wire::{Frame, parse};

    const ENDS: [([u8; 4], u16); 2] = [([192, 0, 2, 1], 1), ([192, 0, 2, 2], 2)];

    fn segment(flags: u8, sequence: u32, acknowledgement: u32, window: u16) -> TcpHeader {
        let mut bytes = Vec::new();
        TcpSegment::new(ENDS[0].into(), ENDS[1].into(), flags)
            .sequence(sequence)
            .acknowledgement(acknowledgement)
            .window(window)
            .emit(&mut bytes);
        match parse(&bytes, Link::Ip) {
            Ok(Frame::Ip(headers)) => *headers.tcp().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// A session whose backend expects 1,000 and takes 100 from there.
    fn flow() -> Flow {
        let mut flow = Flow::default();
        let answer = segment(flags::ACK, 0, 1_000, 100);
        assert_eq!(look(&mut flow, Side::Backend, &answer, 0), Place::Inside);
        flow
    }

    fn place_of(flags: u8, sequence: u32, len: u32) -> Place {
        look(
            &mut flow(),
            Side::Client,
            &segment(flags, sequence, 0, 0),
            len,
        )
    }

    #[test]
    fn a_reset_counts_from_the_number_expected_to_the_end_of_the_window() {
        for (sequence, place) in [
            (999, Place::Outside),
            (1_000, Place::Inside),
            (1_100, Place::Inside),
            (1_101, Place::Outside),
            (1_000 + (1 << 31), Place::Outside),
        ] {
            assert_eq!(place_of(flags::RST, sequence, 0), place, "{sequence}");
            assert_eq!(
                place_of(flags::RST | flags::ACK, sequence, 0),
                place,
                "{sequence}"
            );
        }
    }

    #[test]
    fn a_fin_counts_unless_it_is_wholly_before_or_behind() {
        for (sequence, len, place) in [
            (990, 10, Place::Outside),
            (990, 11, Place::Inside),
            (999, 1, Place::Outside),
            (1_000, 1, Place::Inside),
            (1_100, 1, Place::Inside),
            (1_101, 1, Place::Outside),
        ] {
            assert_eq!(
                place_of(flags::FIN | flags::ACK, sequence, len),
                place,
                "{sequence}"
            );
        }
    }

    #[test]
    fn what_is_sent_again_is_near_enough_as_far_back_as_a_window_and_a_segment() {
        let back = |far: u32| place_of(flags::ACK, 1_000_u32.wrapping_sub(far), 0);
        assert_eq!(back(1), Place::Inside);
        assert_eq!(back(LATE), Place::Inside);
        assert_eq!(back(LATE + 1), Place::Outside);
    }

    #[test]
    fn a_window_of_none_still_takes_the_number_that_is_expected() {
        let mut flow = Flow::default();
        look(&mut flow, Side::Backend, &segment(flags::ACK, 0, 7, 0), 0);
        for (sequence, place) in [(7, Place::Inside), (8, Place::Inside), (9, Place::Outside)] {
            let reset = segment(flags::RST, sequence, 0, 0);
            assert_eq!(
                look(&mut flow, Side::Client, &reset, 0),
                place,
                "{sequence}"
            );
        }
    }

    #[test]
    fn only_newer_acknowledgements_inside_the_window_teach() {
        let mut flow = flow();
        for (flags, sequence, acknowledgement, expects) in [
            (flags::ACK, 1_000, 50, Some(50)),
            (flags::ACK, 1_000, 49, Some(50)),
            (flags::ACK, 1_000, 51, Some(51)),
            (flags::ACK, 5_000, 90, Some(51)),
            (flags::RST | flags::ACK, 1_000, 90, Some(51)),
            (flags::PSH, 1_000, 90, Some(51)),
        ] {
            let tcp = segment(flags, sequence, acknowledgement, 10);
            look(&mut flow, Side::Client, &tcp, 0);
            let own = flow.ends[0];
            assert_eq!(own.known.then_some(own.expects), expects);
        }
        let around = segment(flags::ACK, 1_000, 51 + (1 << 31), 10);
        look(&mut flow, Side::Client, &around, 0);
        assert_eq!(flow.ends[0].expects, 51, "half the space ahead is behind");
    }

    #[test]
    fn windows_are_scaled_but_that_of_a_syn() {
        let mut flow = Flow {
            shifts: 3 << 4,
            ..Flow::default()
        };
        let syn = segment(flags::SYN | flags::ACK, 0, 1, 800);
        look(&mut flow, Side::Backend, &syn, 1);
        let reach = |flow: &mut Flow, sequence| {
            look(flow, Side::Client, &segment(flags::RST, sequence, 0, 0), 0)
        };
        assert_eq!(reach(&mut flow, 801), Place::Inside);
        assert_eq!(reach(&mut flow, 802), Place::Outside);
        look(&mut flow, Side::Backend, &segment(flags::ACK, 1, 1, 800), 0);
        assert_eq!(reach(&mut flow, 6_401), Place::Inside);
        assert_eq!(reach(&mut flow, 6_402), Place::Outside);
    }

    #[test]
    fn windows_scale_if_both_ends_offer_it() {
        let syn = |options: &[u8]| {
            let mut bytes = Vec::new();
            TcpSegment::new(ENDS[0].into(), ENDS[1].into(), flags::SYN)
                .options(options)
                .emit(&mut bytes);
            bytes
        };
        let read = |flow: &mut Flow, side, options: &[u8]| {
            let bytes = syn(options);
            let Ok(Frame::Ip(headers)) = parse(&bytes, Link::Ip) else {
                panic!("not IP");
            };
            scale(flow, side, &bytes, &headers, headers.tcp().unwrap());
            flow.shifts
        };
        let mut flow = Flow::default();
        assert_eq!(read(&mut flow, Side::Client, &[3, 3, 7]), 7);
        assert_eq!(read(&mut flow, Side::Backend, &[3, 3, 15]), 14 << 4 | 7);
        assert_eq!(read(&mut flow, Side::Backend, &[]), 0);
        assert_eq!(read(&mut flow, Side::Client, &[1, 1]), 0);
    }
}
