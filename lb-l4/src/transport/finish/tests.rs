use std::convert::Infallible;
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;
use crate::packet::Link;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;
const V4: usize = 20;
const V6: usize = 40;
/// A TCP header with twelve bytes of options.
const TCP: usize = 32;

/// An IPv4 header before `rest`.
fn v4(protocol: u8, rest: Vec<u8>) -> Vec<u8> {
    let total = u16::try_from(V4 + rest.len()).unwrap().to_be_bytes();
    let mut bytes = vec![
        0x45, 0, total[0], total[1], 0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0,
    ];
    bytes.extend([192, 0, 2, 1, 198, 51, 100, 2]);
    let sum = !fold(sum(&bytes));
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// An IPv6 header before `rest`.
fn v6(protocol: u8, rest: Vec<u8>) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, len[0], len[1], protocol, 64];
    bytes.extend([0x20; 16]);
    bytes.extend([0xfd; 16]);
    bytes.extend(rest);
    bytes
}

fn payload(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn tcp(flags: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![
        0x1f, 0x90, 0xc0, 0, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 9, 0x80, flags,
    ];
    bytes.extend([0x20, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    bytes.extend(payload(len));
    bytes
}

fn udp(checksum: u16, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + rest.len()).unwrap().to_be_bytes();
    let [high, low] = checksum.to_be_bytes();
    let mut bytes = vec![0x1f, 0x90, 0, 53, len[0], len[1], high, low];
    bytes.extend(rest);
    bytes
}

/// A GRE header with a checksum, a key and a sequence number, before an IPv6 packet.
fn gre(rest: Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![0xb0, 0, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1];
    bytes.extend(rest);
    bytes
}

fn offload(segment: u16) -> Offload {
    Offload::partial(NonZeroU16::new(segment))
}

/// What comes of it; each packet is judged on the way.
fn finished(mut bytes: Vec<u8>, link: Link, offload: Offload) -> Option<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    let emit = |packet: &[u8]| {
        all.push(packet.to_vec());
        Ok::<(), Infallible>(())
    };
    let Ok(()) = finish(&mut bytes, link, offload, &mut Vec::new(), emit).ok()?;
    Some(all)
}

/// Whether every length and checksum is right, by a reader that shares no code with the writer.
fn judge(bytes: &[u8]) {
    let total = |sum: u64| {
        let sum = (sum & 0xffff) + (sum >> 16);
        (sum & 0xffff) + (sum >> 16)
    };
    let words = |bytes: &[u8]| {
        let pairs = bytes.chunks(2);
        pairs
            .map(|it| u64::from(it[0]) << 8 | it.get(1).map_or(0, |low| u64::from(*low)))
            .sum::<u64>()
    };
    let (protocol, rest, addresses) = if bytes[0] >> 4 == 4 {
        let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        assert_eq!(len, bytes.len(), "the total length");
        assert_eq!(
            total(words(&bytes[..20])),
            0xffff,
            "the checksum of the header"
        );
        (bytes[9], &bytes[20..], &bytes[12..20])
    } else {
        let len = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        assert_eq!(len + 40, bytes.len(), "the payload length");
        (bytes[6], &bytes[40..], &bytes[8..40])
    };
    let pseudo = words(addresses) + u64::from(protocol) + rest.len() as u64;
    match protocol {
        4 | 41 => judge(rest),
        47 => {
            assert_eq!(total(words(rest)), 0xffff, "the checksum of GRE");
            judge(&rest[16..]);
        }
        6 => assert_eq!(total(words(rest) + pseudo), 0xffff, "the checksum of TCP"),
        17 => {
            let len = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
            assert_eq!(len, rest.len(), "the length of UDP");
            if rest[6..8] == [0, 0] {
                // No checksum: GUE, variant 0 with a word of options.
                return judge(&rest[16..]);
            }
            assert_eq!(total(words(rest) + pseudo), 0xffff, "the checksum of UDP");
        }
        other => panic!("protocol {other}"),
    }
}

/// The packet in a GUE datagram, with a word of options.
fn gue(protocol: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x01, protocol, 0, 0, 9, 9, 9, 9];
    bytes.extend(rest);
    udp(0, &bytes)
}

/// Packets with a payload of 2,500 bytes, and the bytes of all their headers.
fn packets() -> Vec<(Vec<u8>, usize)> {
    let flags = ACK | PSH | FIN | CWR;
    let segment = || tcp(flags, 2500);
    vec![
        (v4(6, segment()), V4 + TCP),
        (v6(6, segment()), V6 + TCP),
        (v4(4, v4(6, segment())), 2 * V4 + TCP),
        (v4(41, v6(6, segment())), V4 + V6 + TCP),
        (v6(4, v4(6, segment())), V6 + V4 + TCP),
        (v6(41, v6(6, segment())), 2 * V6 + TCP),
        (v4(47, gre(v6(6, segment()))), V4 + 16 + V6 + TCP),
        (v4(17, gue(4, &v4(6, segment()))), V4 + 16 + V4 + TCP),
        (v6(17, gue(41, &v6(6, segment()))), V6 + 16 + V6 + TCP),
        (v4(17, udp(7, &payload(2500))), V4 + 8),
        (v6(17, udp(7, &payload(2500))), V6 + 8),
        (v4(4, v4(17, udp(7, &payload(2500)))), 2 * V4 + 8),
    ]
}

#[test]
fn segments_carry_the_payload_behind_headers_that_are_right() {
    for (packet, headers) in packets() {
        let all = finished(packet, Link::Ip, offload(1000)).unwrap();
        let lens: Vec<_> = all.iter().map(|it| it.len() - headers).collect();
        assert_eq!(lens, [1000, 1000, 500]);
        let carried: Vec<u8> = all.iter().flat_map(|it| it[headers..].to_vec()).collect();
        assert_eq!(carried, payload(2500));
        for segment in &all {
            judge(segment);
        }
    }
}

#[test]
fn segments_of_tcp_are_numbered_and_end_once() {
    let flags = ACK | PSH | FIN | CWR;
    let all = finished(v4(6, tcp(flags, 2500)), Link::Ip, offload(1000)).unwrap();
    let at = |from: usize, len: usize| -> Vec<u64> {
        let field = |it: &Vec<u8>| {
            it[from..from + len]
                .iter()
                .fold(0, |n, b| n << 8 | u64::from(*b))
        };
        all.iter().map(field).collect()
    };
    assert_eq!(at(V4 + 4, 4), [0xffff_ff00, 0x0000_02e8, 0x0000_06d0]);
    assert_eq!(
        at(V4 + 13, 1),
        [ACK | CWR, ACK, ACK | PSH | FIN].map(u64::from)
    );
    assert_eq!(at(4, 2), [0xfffe, 0xffff, 0]);
}

#[test]
fn what_fits_one_segment_is_one() {
    for len in [0, 1, 999, 1000] {
        let all = finished(v4(6, tcp(ACK | PSH, len)), Link::Ip, offload(1000)).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0][V4 + 13], ACK | PSH);
        judge(&all[0]);
    }
    assert_eq!(
        finished(v4(6, tcp(ACK, 1001)), Link::Ip, offload(1000))
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_partial_checksum_is_completed_in_place() {
    let partial = Offload::partial(None);
    for (packet, _) in packets() {
        let all = finished(packet.clone(), Link::Ip, partial).unwrap();
        assert_eq!((all.len(), all[0].len()), (1, packet.len()));
        // The sum of GRE, which stands before a partial one, is not touched.
        if packet[9] != 47 {
            judge(&all[0]);
        }
    }
    let untouched = v4(6, tcp(ACK, 5));
    let all = finished(untouched.clone(), Link::Ip, Offload::default()).unwrap();
    assert_eq!(all, [untouched]);
}

#[test]
fn padding_of_the_link_is_not_summed() {
    let mut frame = vec![0; 12];
    frame.extend([0x81, 0, 0, 5, 0x08, 0]);
    frame.extend(v4(17, udp(7, b"x")));
    let end = frame.len();
    frame.extend([0xff; 17]);
    let all = finished(frame, Link::Ethernet, Offload::partial(None)).unwrap();
    judge(&all[0][18..end]);
    assert_eq!(all[0][end..], [0xff; 17]);
}

#[test]
fn a_checksum_of_udp_that_is_zero_is_written_as_its_other_form() {
    // The payload is chosen so that all sums to 0xffff.
    let mut packet = v4(17, udp(7, &[0, 0]));
    let layers = Layers::parse(&packet, Link::Ip).unwrap();
    complete(&mut packet, &layers).unwrap();
    let field = packet[26..28].to_vec();
    packet[28..30].copy_from_slice(&field);
    complete(&mut packet, &layers).unwrap();
    assert_eq!(packet[26..28], [0xff, 0xff]);
    judge(&packet);
}

#[cfg(any(feature = "af-packet", feature = "tun"))]
#[test]
fn the_sum_of_the_pseudo_header_begins_a_checksum() {
    let mut packet = v6(6, tcp(ACK, 5));
    let layers = Layers::parse(&packet, Link::Ip).unwrap();
    begin(&mut packet, &layers).unwrap();
    // What hardware does: sum all from the header on, and put the complement there.
    let sum = !fold(sum(&packet[V6..]));
    packet[V6 + 16..V6 + 18].copy_from_slice(&sum.to_be_bytes());
    judge(&packet);
}

#[test]
fn what_is_not_tcp_or_udp_is_unfit() {
    let mut fragment = v4(6, tcp(ACK, 100));
    fragment[6] = 0x20;
    let mut short = v4(6, tcp(ACK, 100));
    short.truncate(V4 + TCP);
    let mut long_header = v4(6, tcp(ACK, 4));
    long_header[V4 + 12] = 0xf0;
    for packet in [
        v4(1, vec![0; 64]),
        fragment,
        short,
        v4(6, vec![0; 19]),
        v4(17, vec![0; 7]),
        Vec::new(),
        long_header,
    ] {
        assert!(finished(packet, Link::Ip, offload(1000)).is_none());
    }
    let not_ip = vec![0; 64];
    assert!(finished(not_ip, Link::Ethernet, Offload::partial(None)).is_none());
}

#[test]
fn an_error_of_sending_ends_the_cutting() {
    let mut packet = v4(6, tcp(ACK, 2500));
    let mut sent = 0;
    let emit = |_: &[u8]| {
        sent += 1;
        if sent == 2 { Err("gone") } else { Ok(()) }
    };
    let result = finish(&mut packet, Link::Ip, offload(1000), &mut Vec::new(), emit);
    assert_eq!((result, sent), (Ok(Err("gone")), 2));
}

proptest! {
    #[test]
    fn every_payload_is_carried_by_segments_of_every_size(len in 0..4000_usize, size in 1..3000_u16, which in 0..12_usize) {
        prop_assume!(len / usize::from(size) < 200);
        let (_, headers) = packets().remove(which);
        let flags = ACK | FIN;
        let inner = |it: usize| if it < 9 { tcp(flags, len) } else { udp(7, &payload(len)) };
        let packet = match which {
            0 => v4(6, inner(0)),
            1 => v6(6, inner(1)),
            2 => v4(4, v4(6, inner(2))),
            3 => v4(41, v6(6, inner(3))),
            4 => v6(4, v4(6, inner(4))),
            5 => v6(41, v6(6, inner(5))),
            6 => v4(47, gre(v6(6, inner(6)))),
            7 => v4(17, gue(4, &v4(6, inner(7)))),
            8 => v6(17, gue(41, &v6(6, inner(8)))),
            9 => v4(17, inner(9)),
            10 => v6(17, inner(10)),
            _ => v4(4, v4(17, inner(11))),
        };
        let all = finished(packet, Link::Ip, offload(size)).unwrap();
        let mut carried: Vec<u8> = Vec::new();
        for segment in &all {
            judge(segment);
            carried.extend(&segment[headers..]);
        }
        prop_assert_eq!(carried, payload(len));
        prop_assert_eq!(all.len(), len.div_ceil(size.into()).max(1));
    }

    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
        start in proptest::sample::select(vec![0x45_u8, 0x46, 0x60, 0]),
        protocol in proptest::sample::select(vec![4_u8, 6, 17, 41, 47, 0]),
        is_ethernet: bool,
        segment in 0..50_u16,
    ) {
        let link = if is_ethernet { Link::Ethernet } else { Link::Ip };
        let at = if is_ethernet { 14 } else { 0 };
        let len = u16::try_from(bytes.len().saturating_sub(at)).unwrap().to_be_bytes();
        let mut put = |at: usize, value: u8| {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        };
        put(at, start);
        if start >> 4 == 4 {
            put(at + 2, len[0]);
            put(at + 3, len[1]);
            put(at + 6, 0);
            put(at + 7, 0);
            put(at + 9, protocol);
        } else {
            put(at + 4, 0);
            put(at + 5, len[1].saturating_sub(40));
            put(at + 6, protocol);
        }
        if is_ethernet {
            put(12, if start >> 4 == 4 { 0x08 } else { 0x86 });
            put(13, if start >> 4 == 4 { 0 } else { 0xdd });
        }
        let _ = finished(bytes, link, offload(segment));
    }
}
