//! Packets in pieces.

use lb_l4::method::tunnel::cut::{self, Pieces};
use lb_l4::method::tunnel::{Encapsulation, Tunnel, TunnelError, decapsulate};
use lb_l4::packet::{Link, Packet};
use lb_l4::wire::Headers;
use proptest::prelude::*;

use super::setup::{
    OUTER, V4, V6, buffer, datagram, headers, packet, right_checksum, tunnel, tunnels,
};

/// A datagram whose bytes tell where they stand.
fn counted(ends: (&str, &str), payload: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..=250).cycle().take(payload).collect();
    datagram(ends, &payload)
}

fn pieces(bytes: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let pieces = Pieces::v4(bytes, &headers(bytes, Link::Ip), mtu).unwrap();
    let emit = |piece: cut::Piece<'_>| {
        let mut out = Vec::new();
        piece.emit(&mut out);
        out
    };
    pieces.map(emit).collect()
}

/// The bytes behind the IP headers of `pieces`, put together; each must be right and in its place.
fn together(pieces: &[Vec<u8>], mtu: usize) -> Vec<u8> {
    let mut whole = Vec::new();
    for (place, bytes) in pieces.iter().enumerate() {
        let read: Headers = headers(bytes, Link::Ip);
        let last = place + 1 == pieces.len();
        assert!(bytes.len() <= mtu, "{} bytes through {mtu}", bytes.len());
        assert!(read.header_checksum_is_right(bytes));
        assert_eq!(read.end, bytes.len());
        match read.fragment {
            Some(part) => assert_eq!((part.offset, part.more), (whole.len(), !last)),
            None => assert_eq!(pieces.len(), 1),
        }
        whole.extend_from_slice(&bytes[read.transport..]);
    }
    whole
}

proptest! {
    /// Whatever is cut is the same put together, and no piece is too long.
    #[test]
    fn pieces_of_ipv4_are_the_packet(payload in 0..4_000_usize, mtu in 28..1_500_usize) {
        let bytes = counted(V4, payload);
        prop_assert_eq!(together(&pieces(&bytes, mtu), mtu), &bytes[20..]);
    }

    /// Pieces of pieces are pieces of the whole.
    #[test]
    fn pieces_are_cut_again(payload in 0..4_000_usize, wide in 28..1_500_usize, narrow in 28..1_500_usize) {
        let bytes = counted(V4, payload);
        let twice: Vec<_> = pieces(&bytes, wide).iter().flat_map(|it| pieces(it, narrow)).collect();
        prop_assert_eq!(together(&twice, wide), &bytes[20..]);
    }

    #[test]
    fn pieces_of_ipv6_are_the_packet(payload in 0..4_000_usize, mtu in 56..1_500_usize) {
        let bytes = counted(V6, payload);
        let read = headers(&bytes, Link::Ip);
        let pieces: Vec<_> = Pieces::v6(&bytes, &read, mtu, 0x0102_0304)
            .unwrap()
            .map(|piece| {
                let mut out = Vec::new();
                piece.emit(&mut out);
                out
            })
            .collect();
        let mut whole = Vec::new();
        for (place, piece) in pieces.iter().enumerate() {
            prop_assert!(piece.len() <= mtu);
            let length = u16::from_be_bytes([piece[4], piece[5]]);
            prop_assert_eq!(usize::from(length) + 40, piece.len());
            prop_assert_eq!((piece[6], piece[40], piece[41]), (44, 17, 0));
            let part = u16::from_be_bytes([piece[42], piece[43]]);
            prop_assert_eq!(usize::from(part & !7), whole.len());
            prop_assert_eq!(part & 7, u16::from(place + 1 < pieces.len()));
            prop_assert_eq!(&piece[44..48], &[1, 2, 3, 4]);
            whole.extend_from_slice(&piece[48..]);
        }
        prop_assert_eq!(whole, &bytes[40..]);
    }
}

#[test]
fn a_piece_takes_all_that_fits() {
    let lengths = |payload, mtu| -> Vec<usize> {
        pieces(&counted(V4, payload), mtu)
            .iter()
            .map(Vec::len)
            .collect()
    };
    assert_eq!(lengths(92, 120), [120]);
    assert_eq!(lengths(93, 120), [116, 25]);
    // The last one needs no multiple of 8.
    assert_eq!(lengths(92 + 96, 120), [116, 120]);
    assert_eq!(lengths(12, 28), [28, 28, 24]);
}

#[test]
fn only_the_options_that_say_so_go_into_each_piece() {
    // Stream identifier (copied), no operation, record route (not copied), router alert (copied).
    let options = [
        0x88, 4, 0, 5, 1, 0x07, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0, 0, 0, 0,
    ];
    let plain = counted(V4, 100);
    let mut bytes = [&plain[..20], &options, &plain[20..]].concat();
    bytes[0] = 0x4a;
    bytes[3] += 20;
    right_checksum(&mut bytes);
    let pieces = pieces(&bytes, 80);
    assert_eq!(pieces[0][20..40], options);
    assert_eq!(pieces[0].len(), 80);
    for later in &pieces[1..] {
        assert_eq!(later[0], 0x47);
        assert_eq!(later[20..28], [0x88, 4, 0, 5, 0x94, 4, 0, 0]);
    }
    assert_eq!(together(&pieces, 80), &bytes[40..]);
}

#[test]
fn what_leaves_no_room_is_not_cut() {
    let bytes = counted(V4, 100);
    let read = headers(&bytes, Link::Ip);
    let v4 = |mtu| Pieces::v4(&bytes, &read, mtu).err();
    assert_eq!((v4(28), v4(27)), (None, Some(TunnelError::Uncuttable)));
    let bytes = counted(V6, 100);
    let read = headers(&bytes, Link::Ip);
    let v6 = |mtu| Pieces::v6(&bytes, &read, mtu, 0).err();
    assert_eq!((v6(56), v6(55)), (None, Some(TunnelError::Uncuttable)));
}

#[test]
fn a_wrong_header_checksum_is_not_made_right() {
    let mut bytes = counted(V4, 100);
    bytes[8] ^= 1;
    let read = headers(&bytes, Link::Ip);
    assert_eq!(
        Pieces::v4(&bytes, &read, 60).err(),
        Some(TunnelError::Uncuttable)
    );
}

#[test]
fn each_family_is_cut_its_own_way() {
    let (four, six) = (counted(V4, 100), counted(V6, 100));
    let refused = Some(TunnelError::Uncuttable);
    assert_eq!(
        Pieces::v4(&six, &headers(&six, Link::Ip), 100).err(),
        refused
    );
    assert_eq!(
        Pieces::v6(&four, &headers(&four, Link::Ip), 100, 0).err(),
        refused
    );
}

fn in_pieces(bytes: &[u8], link: Link, tunnel: &Tunnel, mtu: usize) -> Vec<Vec<u8>> {
    let mut buffer = buffer(bytes);
    let packet = packet(&mut buffer, link);
    let read = headers(packet.bytes(), link);
    let mut out = Vec::new();
    let shown = cut::encapsulate(&packet, &read, tunnel, 0x1234_5678, mtu, |bytes| {
        out.push(bytes.to_vec());
    });
    assert_eq!(shown, Ok(out.len()));
    out
}

#[test]
fn ipv4_is_cut_before_it_goes_in() {
    for tunnel in tunnels() {
        let bytes = counted(V4, 4_000);
        let outer = in_pieces(&bytes, Link::Ip, &tunnel, 1500);
        let inner: Vec<Vec<u8>> = outer
            .iter()
            .map(|bytes| {
                assert!(bytes.len() <= 1500);
                let mut buffer = buffer(bytes);
                let mut packet = packet(&mut buffer, Link::Ip);
                let read = headers(packet.bytes(), Link::Ip);
                assert_eq!(read.fragment, None);
                decapsulate(&mut packet, &read, Some(6080)).unwrap();
                packet.bytes().to_vec()
            })
            .collect();
        assert_eq!(inner.len(), 3);
        assert_eq!(together(&inner, 1500 - tunnel.overhead()), &bytes[20..]);
    }
}

#[test]
fn ipv6_goes_in_whole_and_the_outer_packet_is_cut() {
    for tunnel in tunnels() {
        let tunnel = tunnel.identification(0xabcd);
        let bytes = counted(V6, 1280 - 48);
        let mtu = 1280 + tunnel.overhead() - 1;
        let outer = in_pieces(&bytes, Link::Ip, &tunnel, mtu);
        assert_eq!(outer.len(), 2);
        let whole: Vec<u8> = if tunnel.source.is_ipv4() {
            assert!(outer.iter().all(|it| it[4..6] == [0xab, 0xcd]));
            together(&outer, mtu)
        } else {
            assert!(
                outer
                    .iter()
                    .all(|it| it.len() <= mtu && it[44..48] == [0x56, 0x78, 0xab, 0xcd])
            );
            outer.iter().flat_map(|it| it[48..].to_vec()).collect()
        };
        assert_eq!(whole[tunnel.kind.shim()..], bytes);
    }
}

#[test]
fn what_passes_whole_is_shown_whole() {
    for tunnel in tunnels() {
        for bytes in [counted(V4, 1_000), counted(V6, 1_000)] {
            let mtu = bytes.len() + tunnel.overhead();
            let [outer] = &in_pieces(&bytes, Link::Ip, &tunnel, mtu)[..] else {
                panic!("more than one");
            };
            assert_eq!(outer.len(), mtu);
            assert!(outer.ends_with(&bytes));
            assert_eq!(headers(outer, Link::Ip).fragment, None);
            assert_eq!(in_pieces(&bytes, Link::Ip, &tunnel, mtu - 1).len(), 2);
        }
    }
}

#[test]
fn pieces_keep_the_link_header() {
    let addresses = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (ends, kind, payload, mtu) in [(V4, [8, 0], 400, 200), (V6, [0x86, 0xdd], 1_000, 900)] {
        let frame = [&addresses[..], &kind, &counted(ends, payload)].concat();
        for (ends, kind) in OUTER.into_iter().zip([[8, 0], [0x86, 0xdd]]) {
            let tunnel = tunnel(Encapsulation::Gre, ends);
            let pieces = in_pieces(&frame, Link::Ethernet, &tunnel, mtu);
            assert!(pieces.len() > 1);
            for piece in pieces {
                assert_eq!(piece[..12], addresses);
                assert_eq!(piece[12..14], kind);
                assert!(piece.len() <= 14 + mtu);
            }
        }
    }
}

#[test]
fn what_cannot_be_cut_is_not_shown() {
    let mut buffer = buffer(&counted(V4, 400));
    let packet: Packet<'_> = packet(&mut buffer, Link::Ip);
    let read = headers(packet.bytes(), Link::Ip);
    let ipip = tunnel(Encapsulation::Ipip, OUTER[0]);
    let outcome = cut::encapsulate(&packet, &read, &ipip, 1, 47, |_| panic!("shown"));
    assert_eq!(outcome, Err(TunnelError::Uncuttable));
}
