//! The client's address in a TCP option (TOA).

use std::net::SocketAddr;

use thiserror::Error;

use crate::packet::Packet;
use crate::toa;
use crate::wire::tcp::{self, NoRoom, TcpOption, flags, kind};
use crate::wire::{Headers, TcpHeader};

/// Why a client's address is not told in a packet, which is as it was.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum Untold {
    /// The packet, or a segment that it is to be cut into, would be larger than the way takes.
    #[error("too large for the way to the backend")]
    Mtu,
    /// It cannot grow.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// Tells the backend the client's address in an option of this segment.
///
/// `mtu` is the largest IP packet that the way to the backend takes, in bytes. A packet that is to
/// be cut into segments tells it in each.
///
/// # Errors
///
/// It does not fit into the 40 bytes of options, into the packet's buffer or through the way.
pub fn tell(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    client: SocketAddr,
    mtu: u16,
) -> Result<(), Untold> {
    let option = toa::Emitted::of(client);
    let grown = option.bytes().len().next_multiple_of(4);
    if wire_len(packet, headers) + grown > usize::from(mtu) {
        return Err(Untold::Mtu);
    }
    Ok(tcp::insert_option(packet, headers, option.bytes())?)
}

/// Takes every option out of a client's segment that a backend would take for ours; how many.
///
/// Cost: reads the options once where there are none of these.
pub fn strip(packet: &mut Packet<'_>, headers: &Headers) -> usize {
    let forged = |kind| matches!(kind, kind::TOA | kind::TOA_V6);
    if !options(packet, headers).any(|option| forged(option.kind())) {
        return 0;
    }
    tcp::strip_option(packet, headers, kind::TOA) + tcp::strip_option(packet, headers, kind::TOA_V6)
}

/// Lowers the maximum segment size that a SYN or its answer announces by `less` bytes, to leave
/// room for what is added on the way; not below [`LEAST_MSS`].
pub fn lower_mss(packet: &mut Packet<'_>, headers: &Headers, less: u16) {
    if !headers.tcp().is_some_and(|tcp| tcp.has(flags::SYN)) {
        return;
    }
    let announced = options(packet, headers).find_map(|option| match option {
        TcpOption::Mss(mss) => Some(mss),
        _ => None,
    });
    if let Some(mss) = announced {
        let most = mss.saturating_sub(less).max(LEAST_MSS);
        let checksum = packet.offloads().checksum;
        tcp::clamp_mss(packet.bytes_mut(), headers, most, checksum);
    }
}

/// Below this, segments are more header than data: 88 bytes, Linux's least (`tcp_min_snd_mss` 48,
/// and the options that fill 40).
pub const LEAST_MSS: u16 = 88;

/// Bytes of the largest IP packet that this one becomes on a wire.
pub(crate) fn wire_len(packet: &Packet<'_>, headers: &Headers) -> usize {
    let whole = headers.end - headers.network;
    match packet.offloads().segment {
        Some(segment) => {
            let behind = headers.payload().start - headers.network;
            whole.min(behind + usize::from(segment.get()))
        }
        None => whole,
    }
}

fn options<'p>(packet: &'p Packet<'_>, headers: &Headers) -> tcp::Options<'p> {
    let begin = headers.transport + tcp::HEADER;
    let len = headers.tcp().map_or(0, |TcpHeader { len, .. }| *len);
    let range = begin..headers.transport + len;
    tcp::options(packet.bytes().get(range).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::packet::{Checksum, Link, Offload};
    use crate::wire::emit::TcpSegment;
    use crate::wire::{Frame, parse};

    const ROOM: usize = 40;

    fn client() -> SocketAddr {
        "198.51.100.7:4660".parse().unwrap()
    }

    fn segment(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ROOM];
        let [source, destination] = ["192.0.2.1:1", "192.0.2.2:2"].map(|it| it.parse().unwrap());
        TcpSegment::new(source, destination, flags)
            .options(options)
            .payload(payload)
            .emit(&mut bytes);
        bytes
    }

    fn of(bytes: &mut [u8]) -> (Packet<'_>, Headers) {
        let end = bytes.len();
        let packet = Packet::new(bytes, ROOM..end, Link::Ip);
        let Ok(Frame::Ip(headers)) = parse(packet.bytes(), Link::Ip) else {
            panic!("not IP");
        };
        (packet, headers)
    }

    fn found(packet: &Packet<'_>, headers: &Headers) -> Vec<String> {
        let shown = options(packet, headers).map(|option| format!("{option:?}"));
        assert!(headers.checksum_is_right(packet.bytes(), Checksum::Complete));
        assert!(headers.header_checksum_is_right(packet.bytes()));
        shown.collect()
    }

    #[test]
    fn the_client_is_told_in_front_of_the_other_options() {
        let mut bytes = segment(flags::SYN, &[2, 4, 5, 180], b"");
        let (mut packet, mut headers) = of(&mut bytes);
        tell(&mut packet, &mut headers, client(), 1500).unwrap();
        assert_eq!(
            found(&packet, &headers),
            ["Toa(198.51.100.7:4660)", "Mss(1460)"]
        );
        let begin = headers.transport + 20;
        let option = [254, 8, 0x12, 0x34, 198, 51, 100, 7];
        assert_eq!(packet.bytes()[begin..begin + 8], option);

        let mut bytes = segment(flags::SYN, &[2, 4, 5, 180], b"");
        let (mut packet, mut headers) = of(&mut bytes);
        let client = "[2001:db8::7]:4660".parse().unwrap();
        tell(&mut packet, &mut headers, client, 1500).unwrap();
        assert_eq!(
            found(&packet, &headers),
            ["Toa([2001:db8::7]:4660)", "Mss(1460)"]
        );
    }

    #[test]
    fn it_is_told_if_the_packet_then_fits_and_not_if_it_does_not() {
        for (mtu, fits) in [(148, true), (147, false)] {
            let mut bytes = segment(flags::ACK, &[], &[7; 100]);
            let (mut packet, mut headers) = of(&mut bytes);
            let told = tell(&mut packet, &mut headers, client(), mtu);
            assert_eq!(told.is_ok(), fits);
            assert_eq!(found(&packet, &headers).len(), usize::from(fits));
            if !fits {
                assert_eq!(told, Err(Untold::Mtu));
            }
        }
    }

    #[test]
    fn of_a_packet_to_be_cut_each_segment_has_to_fit() {
        for (segment_len, fits) in [(1452, true), (1453, false)] {
            let mut bytes = segment(flags::ACK, &[], &[7; 4000]);
            let (packet, mut headers) = of(&mut bytes);
            let offload = Offload::partial(NonZeroU16::new(segment_len));
            let mut packet = packet.offload(offload);
            let told = tell(&mut packet, &mut headers, client(), 1500);
            assert_eq!(told.is_ok(), fits);
        }
    }

    #[test]
    fn full_options_leave_no_room() {
        let mut bytes = segment(flags::ACK, &[34; 36], b"");
        let (mut packet, mut headers) = of(&mut bytes);
        let told = tell(&mut packet, &mut headers, client(), 1500);
        assert_eq!(told, Err(Untold::NoRoom(NoRoom::Options)));
    }

    #[test]
    fn what_a_client_tells_of_itself_is_taken_out() {
        let forged = [254, 8, 0, 1, 10, 0, 0, 1, 2, 4, 5, 180, 253, 20];
        let forged = [&forged[..], &[9; 18], &[254, 4, 0, 0]].concat();
        let mut bytes = segment(flags::SYN, &forged, b"data");
        let (mut packet, headers) = of(&mut bytes);
        assert_eq!(strip(&mut packet, &headers), 3);
        assert_eq!(found(&packet, &headers), ["Mss(1460)"]);
        assert_eq!(strip(&mut packet, &headers), 0);
    }

    #[test]
    fn the_segment_size_is_lowered_in_both_halves_of_a_handshake_alone() {
        for (flags, mss, lowered) in [
            (flags::SYN, 1460, 1452),
            (flags::SYN | flags::ACK, 1460, 1452),
            (flags::ACK, 1460, 1460),
            (flags::SYN, 97, 89),
            (flags::SYN, 90, 88),
            (flags::SYN, 80, 80),
        ] {
            let [a, b] = u16::to_be_bytes(mss);
            let mut bytes = segment(flags, &[1, 2, 4, a, b, 1, 1, 1], b"");
            let (mut packet, headers) = of(&mut bytes);
            lower_mss(&mut packet, &headers, 8);
            assert_eq!(found(&packet, &headers), [format!("Mss({lowered})")]);
        }
        let mut bytes = segment(flags::SYN, &[], b"");
        let before = bytes.clone();
        let (mut packet, headers) = of(&mut bytes);
        lower_mss(&mut packet, &headers, 8);
        assert_eq!(bytes, before);
    }
}
