//! Bytes put before the payload of a packet.

use super::checksum::{Delta, sum};
use super::rewrite::{self, Covered};
use super::tcp::NoRoom;
use super::{Body, Headers};
use crate::packet::Packet;

/// Puts `more` bytes, an even number, before the payload of a whole TCP segment or UDP datagram.
///
/// Lengths and checksums change with it; sequence numbers do not. The headers move into the
/// headroom, and the payload stays where it is. The caller sees to it that the packet is not too
/// large for its path.
///
/// # Errors
///
/// The packet is a fragment or has no such payload ([`NoRoom::NotWhole`]), or it would be too large
/// for its buffer or for an IP packet, or `more` is odd ([`NoRoom::Packet`]). It is unchanged then.
///
/// # Examples
///
/// ```
/// use lb_l4::packet::{Checksum, Link, Packet};
/// use lb_l4::wire::emit::Datagram;
/// use lb_l4::wire::{Frame, parse, payload};
///
/// let mut bytes = vec![0; 64];
/// Datagram::new("192.0.2.1:4000".parse()?, "203.0.113.10:53".parse()?, b"ion").emit(&mut bytes);
/// let end = bytes.len();
/// let mut packet = Packet::new(&mut bytes, 64..end, Link::Ip);
/// let Frame::Ip(mut headers) = parse(packet.bytes(), Link::Ip)? else { panic!("not IP") };
///
/// payload::put_before(&mut packet, &mut headers, b"quest!")?;
/// assert_eq!(packet.bytes()[headers.payload()], *b"quest!ion");
/// assert!(headers.checksum_is_right(packet.bytes(), Checksum::Complete));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn put_before(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    more: &[u8],
) -> Result<(), NoRoom> {
    if headers.fragment.is_some() || !matches!(headers.body, Body::Tcp(_) | Body::Udp { .. }) {
        return Err(NoRoom::NotWhole);
    }
    if !more.len().is_multiple_of(2) || !rewrite::may_grow(headers, more.len()) {
        return Err(NoRoom::Packet);
    }
    let checksum = packet.offloads().checksum;
    let begin = headers.payload().start;
    let bytes = packet.open_gap(begin, more.len()).ok_or(NoRoom::Packet)?;
    headers.end += more.len();
    let gap = bytes.get_mut(begin..begin + more.len()).unwrap_or_default();
    gap.copy_from_slice(more);
    // Headers are of even lengths, so the words of the payload stay words.
    let delta = Delta::default().replace_sum(0, sum(more));
    rewrite::update_l4(bytes, headers, checksum, delta, Covered::Body);
    rewrite::change_len(bytes, headers, checksum, more.len());
    rewrite::change_udp_len(bytes, headers, checksum, more.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::packet::{Checksum, Link, Offload};
    use crate::wire::emit::{Datagram, TcpSegment};
    use crate::wire::tcp::flags;
    use crate::wire::{Frame, parse};

    const ROOM: usize = 60;

    fn ends(v6: bool) -> [SocketAddr; 2] {
        if v6 {
            ["[2001:db8::1]:1", "[2001:db8::2]:2"].map(|it| it.parse().unwrap())
        } else {
            ["192.0.2.1:1", "192.0.2.2:2"].map(|it| it.parse().unwrap())
        }
    }

    fn emitted(v6: bool, udp: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ROOM];
        let [source, destination] = ends(v6);
        if udp {
            Datagram::new(source, destination, payload).emit(&mut bytes);
        } else {
            TcpSegment::new(source, destination, flags::ACK)
                .options(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8])
                .payload(payload)
                .emit(&mut bytes);
        }
        bytes
    }

    fn headers(packet: &Packet<'_>) -> Headers {
        let Ok(Frame::Ip(headers)) = parse(packet.bytes(), Link::Ip) else {
            panic!("not IP");
        };
        headers
    }

    #[test]
    fn what_comes_out_is_what_would_have_been_written() {
        for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
            for payload in [&b""[..], b"x", b"four", b"seven.."] {
                let mut bytes = emitted(v6, udp, payload);
                let end = bytes.len();
                let mut packet = Packet::new(&mut bytes, ROOM..end, Link::Ip);
                let mut found = headers(&packet);
                put_before(&mut packet, &mut found, b"before").unwrap();
                let whole = [b"before", payload].concat();
                assert_eq!(packet.bytes(), &emitted(v6, udp, &whole)[ROOM..]);
                assert_eq!(found, headers(&packet));
            }
        }
    }

    #[test]
    fn a_partial_checksum_stays_that_of_the_pseudo_header() {
        for udp in [false, true] {
            let mut bytes = emitted(true, udp, b"payload");
            let end = bytes.len();
            let mut packet =
                Packet::new(&mut bytes, ROOM..end, Link::Ip).offload(Offload::partial(None));
            let mut found = headers(&packet);
            let field = found.l4_checksum_field().unwrap();
            let partial = crate::wire::checksum::fold(found.pseudo_header_sum());
            packet.bytes_mut()[field..field + 2].copy_from_slice(&partial.to_be_bytes());
            put_before(&mut packet, &mut found, b"before").unwrap();
            assert!(found.checksum_is_right(packet.bytes(), Checksum::Partial));
        }
    }

    #[test]
    fn what_does_not_fit_leaves_the_packet_as_it_is() {
        let mut bytes = emitted(false, true, b"payload");
        let end = bytes.len();
        let before = bytes.clone();
        let mut packet = Packet::new(&mut bytes, ROOM..end, Link::Ip);
        let mut found = headers(&packet);
        let odd = put_before(&mut packet, &mut found, b"odd");
        assert_eq!(odd, Err(NoRoom::Packet));
        let long = put_before(&mut packet, &mut found, &[0; ROOM + 2]);
        assert_eq!(long, Err(NoRoom::Packet));
        let huge = put_before(&mut packet, &mut found, &vec![0; 65_534]);
        assert_eq!(huge, Err(NoRoom::Packet));
        found.fragment = Some(crate::wire::FragmentPart {
            identification: 1,
            offset: 0,
            more: true,
        });
        let part = put_before(&mut packet, &mut found, b"even");
        assert_eq!(part, Err(NoRoom::NotWhole));
        found.fragment = None;
        found.body = Body::Other;
        let other = put_before(&mut packet, &mut found, b"even");
        assert_eq!(other, Err(NoRoom::NotWhole));
        assert_eq!(bytes, before);
    }
}
