//! What stands around a packet in a tunnel.

use std::num::NonZeroU16;

use lb_l4::method::tunnel::{
    Dscp, Encapsulation, Tunnel, TunnelError, UdpChecksum, decapsulate, encapsulate,
};
use lb_l4::packet::{Checksum, DropReason, Link, Offload};
use lb_l4::wire::{Body, protocol};

use super::setup::{
    KINDS, OUTER, ROOM, V4, V6, buffer, datagram, dont_fragment, headers, packet, segment,
    traffic_class, tunnel, tunnels,
};

/// The packet around `inner`.
fn around(inner: &[u8], tunnel: &Tunnel, entropy: u32) -> Vec<u8> {
    let mut buffer = buffer(inner);
    let mut packet = packet(&mut buffer, Link::Ip);
    let mut read = headers(packet.bytes(), Link::Ip);
    encapsulate(&mut packet, &mut read, tunnel, entropy).unwrap();
    // What it says of the outer packet is what anybody reads there.
    assert_eq!(read, headers(packet.bytes(), Link::Ip), "{tunnel:?}");
    packet.bytes().to_vec()
}

#[test]
fn what_goes_in_comes_out() {
    for tunnel in tunnels() {
        for ends in [V4, V6] {
            for inner in [
                segment(ends, b"GET"),
                datagram(ends, b"odd"),
                datagram(ends, b""),
            ] {
                let mut buffer = buffer(&inner);
                let mut packet = packet(&mut buffer, Link::Ip);
                let before = headers(packet.bytes(), Link::Ip);
                let mut read = before;
                encapsulate(&mut packet, &mut read, &tunnel, 0xdead_beef).unwrap();
                assert_eq!(packet.bytes().len(), inner.len() + tunnel.overhead());
                assert!(read.header_checksum_is_right(packet.bytes()));
                assert!(read.checksum_is_right(packet.bytes(), Checksum::Complete));
                assert_eq!(
                    (read.source, read.destination),
                    (tunnel.source, tunnel.destination)
                );
                let out = decapsulate(&mut packet, &read, Some(6080)).unwrap();
                assert_eq!((out, packet.bytes()), (before, &inner[..]), "{tunnel:?}");
            }
        }
    }
}

#[test]
fn ipip_is_a_header_and_nothing_else() {
    let mut inner = datagram(V4, b"x");
    dont_fragment(&mut inner, true);
    let four = around(
        &inner,
        &tunnel(Encapsulation::Ipip, OUTER[0]).identification(7),
        9,
    );
    let mut expected = vec![
        0x45, 0, 0, 49, 0, 7, 0x40, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 1, 7,
    ];
    super::setup::right_checksum(&mut expected);
    assert_eq!(four, [expected, inner.clone()].concat());

    let six = around(&inner, &tunnel(Encapsulation::Ipip, OUTER[1]), 0xfff1_2345);
    assert_eq!(six[..8], [0x60, 0x01, 0x23, 0x45, 0, 29, 4, 64]);
    assert_eq!(six[40..], inner);
    let six_in_six = around(
        &datagram(V6, b"x"),
        &tunnel(Encapsulation::Ipip, OUTER[1]),
        1,
    );
    assert_eq!(six_in_six[6], 41);
    let six_in_four = around(
        &datagram(V6, b"x"),
        &tunnel(Encapsulation::Ipip, OUTER[0]),
        1,
    );
    assert_eq!(six_in_four[9], 41);
}

#[test]
fn gre_names_the_type_of_what_follows() {
    let gre = Encapsulation::Gre;
    let four = around(&datagram(V4, b"x"), &tunnel(gre, OUTER[0]), 9);
    assert_eq!((four[9], &four[20..24]), (47, &[0, 0, 8, 0][..]));
    let six = around(&datagram(V6, b"x"), &tunnel(gre, OUTER[1]), 9);
    assert_eq!((six[6], &six[40..44]), (47, &[0, 0, 0x86, 0xdd][..]));
}

#[test]
fn gue_tells_the_flow_by_its_source_port() {
    let inner = datagram(V4, b"x");
    let four = around(&inner, &tunnel(Encapsulation::GUE, OUTER[0]), 0x0001_1234);
    assert_eq!(four[9], 17);
    assert_eq!(
        four[20..32],
        [0xd2, 0x34, 0x17, 0xc0, 0, 41, 0, 0, 0, 4, 0, 0]
    );
    let other = around(
        &inner,
        &tunnel(Encapsulation::Gue { port: 19_523 }, OUTER[0]),
        0xffff,
    );
    assert_eq!(other[20..24], [0xff, 0xff, 0x4c, 0x43]);
    let six = around(
        &datagram(V6, b"x"),
        &tunnel(Encapsulation::GUE, OUTER[1]),
        0,
    );
    assert_eq!(six[40..46], [0xc0, 0, 0x17, 0xc0, 0, 61]);
    assert_eq!(six[48..52], [0, 41, 0, 0]);
}

#[test]
fn gue_has_a_checksum_where_it_is_asked_for() {
    let inner = datagram(V4, b"odd");
    let field = |ends, which| {
        let gue = tunnel(Encapsulation::GUE, ends).udp_checksum(which);
        let bytes = around(&inner, &gue, 5);
        let at = headers(&bytes, Link::Ip).transport + 6;
        bytes[at..at + 2] != [0, 0]
    };
    let of = |which| OUTER.map(|ends| field(ends, which));
    assert_eq!(of(UdpChecksum::ByFamily), [false, true]);
    assert_eq!(of(UdpChecksum::Computed), [true, true]);
    assert_eq!(of(UdpChecksum::Zero), [false, false]);
}

#[test]
fn a_checksum_that_comes_to_nothing_is_sent_as_all_ones() {
    let gue = tunnel(Encapsulation::GUE, OUTER[0]).udp_checksum(UdpChecksum::Computed);
    // The source port steps through all sums of one word but for 2 bits, which the payload gives.
    let hit = (0..4_u8).any(|high| {
        let inner = datagram(V4, &[high << 6, 0]);
        (0..0x4000).any(|entropy| {
            let bytes = around_fast(&inner, &gue, entropy);
            assert_ne!(bytes[26..28], [0, 0]);
            bytes[26..28] == [0xff, 0xff]
                && headers(&bytes, Link::Ip).checksum_is_right(&bytes, Checksum::Complete)
        })
    });
    assert!(hit);
}

fn around_fast(inner: &[u8], tunnel: &Tunnel, entropy: u32) -> Vec<u8> {
    let mut buffer = buffer(inner);
    let mut packet = packet(&mut buffer, Link::Ip);
    let mut read = headers(packet.bytes(), Link::Ip);
    encapsulate(&mut packet, &mut read, tunnel, entropy).unwrap();
    packet.bytes().to_vec()
}

#[test]
fn the_flow_label_tells_the_flow_and_is_never_that_of_none() {
    let six = tunnel(Encapsulation::Ipip, OUTER[1]);
    for (entropy, label) in [
        (0x1234_5678, 0x4_5678),
        (0xfff0_0000, 1),
        (1, 1),
        (0xf_ffff, 0xf_ffff),
    ] {
        let bytes = around(&datagram(V6, b"x"), &six, entropy);
        let first = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        assert_eq!(first & 0xf_ffff, label);
    }
}

#[test]
fn congestion_and_code_point_are_copied_outwards() {
    for tunnel in tunnels() {
        for ends in [V4, V6] {
            for class in [0, 1, 2, 3, 0xb8, 0xbb, 0xfe] {
                let mut inner = datagram(ends, b"x");
                traffic_class(&mut inner, class);
                let read = |bytes: &[u8]| headers(bytes, Link::Ip).traffic_class;
                assert_eq!(read(&around(&inner, &tunnel, 1)), class);
                let set = tunnel.dscp(Dscp::Set(0x2e));
                assert_eq!(read(&around(&inner, &set, 1)), 0xb8 | class & 3);
                let beyond = tunnel.dscp(Dscp::Set(0x6e));
                assert_eq!(read(&around(&inner, &beyond, 1)), 0xb8 | class & 3);
            }
        }
    }
}

#[test]
fn congestion_on_the_way_is_marked_on_what_comes_out() {
    for tunnel in tunnels() {
        for ends in [V4, V6] {
            // (inner, outer, what comes out): RFC 6040, figure 4, all sixteen.
            for (inner_ecn, row) in [
                (0, [Some(0), Some(0), Some(0), None]),
                (1, [Some(1), Some(1), Some(1), Some(3)]),
                (2, [Some(2), Some(1), Some(2), Some(3)]),
                (3, [Some(3); 4]),
            ] {
                for (outer_ecn, expected) in (0..).zip(row) {
                    let mut inner = segment(ends, b"x");
                    traffic_class(&mut inner, 0xb8 | inner_ecn);
                    let mut bytes = around(&inner, &tunnel, 1);
                    traffic_class(&mut bytes, 0x28 | outer_ecn);
                    let mut buffer = buffer(&bytes);
                    let mut packet = packet(&mut buffer, Link::Ip);
                    let read = headers(packet.bytes(), Link::Ip);
                    let out = decapsulate(&mut packet, &read, Some(6080)).ok();
                    assert_eq!(
                        out.map(|out| out.traffic_class),
                        expected.map(|it| 0xb8 | it)
                    );
                    if let Some(out) = out {
                        assert_eq!(out, headers(packet.bytes(), Link::Ip));
                        assert!(out.header_checksum_is_right(packet.bytes()));
                        assert!(out.checksum_is_right(packet.bytes(), Checksum::Complete));
                    } else {
                        assert_eq!(packet.bytes(), bytes);
                    }
                }
            }
        }
    }
}

#[test]
fn routers_may_cut_outside_what_they_may_cut_inside() {
    for kind in KINDS {
        let [four, six] = OUTER.map(|ends| tunnel(kind, ends));
        for set in [true, false] {
            let mut inner = datagram(V4, b"x");
            dont_fragment(&mut inner, set);
            let outer = headers(&around(&inner, &four, 1), Link::Ip);
            assert_eq!(outer.dont_fragment, set);
            assert!(headers(&around(&inner, &six, 1), Link::Ip).dont_fragment);
        }
        for (length, set) in [(1280, false), (1281, true)] {
            let inner = datagram(V6, &vec![0; length - 48]);
            let outer = headers(&around(&inner, &four, 1), Link::Ip);
            assert_eq!(outer.dont_fragment, set);
        }
    }
}

fn framed(tags: &[u8], kind: [u8; 2], inner: &[u8]) -> Vec<u8> {
    let addresses = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    [&addresses[..], tags, &kind, inner].concat()
}

#[test]
fn an_ethernet_header_stays_in_front_and_names_what_follows_it() {
    let (four, six) = ([8, 0], [0x86, 0xdd]);
    for tags in [
        &[][..],
        &[0x81, 0, 0, 7],
        &[0x88, 0xa8, 0, 3, 0x81, 0, 0, 7],
    ] {
        for tunnel in tunnels() {
            let outside = if tunnel.source.is_ipv4() { four } else { six };
            for (ends, inside) in [(V4, four), (V6, six)] {
                let inner = datagram(ends, b"x");
                let frame = framed(tags, inside, &inner);
                // Padding to the least frame goes.
                let mut buffer = buffer(&[&frame[..], &[0xaa; 9]].concat());
                let mut packet = packet(&mut buffer, Link::Ethernet);
                let before = headers(packet.bytes(), Link::Ethernet);
                let mut read = before;
                encapsulate(&mut packet, &mut read, &tunnel, 1).unwrap();
                assert_eq!(read, headers(packet.bytes(), Link::Ethernet));
                let link = 14 + tags.len();
                assert_eq!(packet.bytes()[..link], framed(tags, outside, &[]));
                assert_eq!(packet.bytes().len(), link + tunnel.overhead() + inner.len());
                assert!(packet.bytes().ends_with(&inner));

                let out = decapsulate(&mut packet, &read, Some(6080)).unwrap();
                assert_eq!((out, packet.bytes()), (before, &frame[..]));
            }
        }
    }
}

#[test]
fn a_checksum_left_to_hardware_is_completed_first() {
    use lb_l4::wire::checksum::fold;
    for tunnel in tunnels() {
        for ends in [V4, V6] {
            for inner in [segment(ends, b"odd"), datagram(ends, b"odd")] {
                let mut left = inner.clone();
                let read = headers(&left, Link::Ip);
                let field = read.l4_checksum_field().unwrap();
                let pseudo = fold(read.pseudo_header_sum());
                left[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
                let mut buffer = buffer(&left);
                let mut packet = packet(&mut buffer, Link::Ip).offload(Offload::partial(None));
                let mut read = read;
                encapsulate(&mut packet, &mut read, &tunnel, 1).unwrap();
                assert_eq!(packet.offloads(), Offload::default());
                assert!(packet.bytes().ends_with(&inner), "{tunnel:?}");
                assert!(read.checksum_is_right(packet.bytes(), Checksum::Complete));
            }
        }
    }
}

/// A datagram whose checksum left to hardware comes to zero is sent as all ones.
#[test]
fn a_completed_checksum_of_udp_is_never_that_of_none() {
    let hit = (0..=u16::MAX).find_map(|word| {
        let inner = datagram(V4, &word.to_be_bytes());
        (inner[26..28] == [0xff, 0xff]).then_some(inner)
    });
    let inner = hit.expect("one of all sums");
    let mut left = inner.clone();
    let read = headers(&left, Link::Ip);
    let pseudo = lb_l4::wire::checksum::fold(read.pseudo_header_sum());
    left[26..28].copy_from_slice(&pseudo.to_be_bytes());
    let mut buffer = buffer(&left);
    let mut packet = packet(&mut buffer, Link::Ip).offload(Offload::partial(None));
    let mut read = read;
    encapsulate(
        &mut packet,
        &mut read,
        &tunnel(Encapsulation::Ipip, OUTER[0]),
        1,
    )
    .unwrap();
    assert!(packet.bytes().ends_with(&inner));
}

#[test]
fn what_does_not_go_in_is_left_as_it_was() {
    let ipip = tunnel(Encapsulation::Ipip, OUTER[0]);
    let inner = datagram(V4, b"x");
    let refused = |tunnel: &Tunnel, room: usize, offload: Offload| {
        let mut buffer = [vec![0; room], inner.clone()].concat();
        let end = buffer.len();
        let mut packet =
            lb_l4::packet::Packet::new(&mut buffer, room..end, Link::Ip).offload(offload);
        let before = headers(packet.bytes(), Link::Ip);
        let mut read = before;
        let outcome = encapsulate(&mut packet, &mut read, tunnel, 1);
        if outcome.is_err() {
            assert_eq!((read, packet.bytes()), (before, &inner[..]));
        }
        outcome
    };
    let none = Offload::default();
    assert_eq!(refused(&ipip, 19, none), Err(TunnelError::NoRoom));
    assert_eq!(refused(&ipip, 20, none), Ok(()));
    let train = Offload::partial(NonZeroU16::new(1_400));
    let summed = tunnel(Encapsulation::GUE, OUTER[1]);
    assert_eq!(refused(&summed, ROOM, train), Err(TunnelError::Segments));
    let mixed = tunnel(Encapsulation::Ipip, (OUTER[0].0, OUTER[1].1));
    assert_eq!(refused(&mixed, ROOM, none), Err(TunnelError::NoSource));
}

#[test]
fn a_train_goes_in_as_one_and_stays_one() {
    for tunnel in tunnels().filter(|it| !it.has_udp_checksum()) {
        let inner = segment(V4, &[7; 5_000]);
        let mut buffer = buffer(&inner);
        let train = Offload::partial(NonZeroU16::new(1_400));
        let mut packet = packet(&mut buffer, Link::Ip).offload(train);
        let mut read = headers(packet.bytes(), Link::Ip);
        encapsulate(&mut packet, &mut read, &tunnel, 1).unwrap();
        assert_eq!(packet.offloads(), train);
        assert!(packet.bytes().ends_with(&inner));
    }
}

#[test]
fn the_longest_packet_is_no_longer_than_any() {
    for (payload, outcome) in [
        (65_535 - 20 - 28, Ok(())),
        (65_535 - 19 - 28, Err(TunnelError::TooLong)),
    ] {
        let inner = datagram(V4, &vec![0; payload]);
        let mut buffer = buffer(&inner);
        let mut packet = packet(&mut buffer, Link::Ip);
        let mut read = headers(packet.bytes(), Link::Ip);
        let ipip = tunnel(Encapsulation::Ipip, OUTER[0]);
        assert_eq!(encapsulate(&mut packet, &mut read, &ipip, 1), outcome);
    }
}

#[test]
fn each_refusal_has_the_reason_it_is_counted_under() {
    let reasons = [
        (TunnelError::NoRoom, DropReason::NoRoom),
        (TunnelError::NoSource, DropReason::Unresolved),
        (TunnelError::Segments, DropReason::Unsupported),
        (TunnelError::TooLong, DropReason::TooBig),
        (TunnelError::Uncuttable, DropReason::Malformed),
    ];
    for (error, reason) in reasons {
        assert_eq!(DropReason::from(error), reason);
    }
}

#[test]
fn the_headers_say_what_the_outer_packet_is() {
    let mut buffer = buffer(&datagram(V4, b"x"));
    let mut packet = packet(&mut buffer, Link::Ip);
    let mut read = headers(packet.bytes(), Link::Ip);
    encapsulate(
        &mut packet,
        &mut read,
        &tunnel(Encapsulation::GUE, OUTER[1]),
        3,
    )
    .unwrap();
    assert_eq!(
        (read.network, read.transport, read.end),
        (0, 40, 40 + 12 + 29)
    );
    assert_eq!((read.protocol, read.ttl), (protocol::UDP, 64));
    let body = Body::Udp {
        source_port: 0xc003,
        destination_port: 6080,
        length: 41,
    };
    assert_eq!(read.body, body);
}
