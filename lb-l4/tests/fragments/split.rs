//! Packets that are too big, and may be cut.

use std::num::NonZeroU16;

use lb_l4::fragment::{Fragmented, Unsplittable, split};
use lb_l4::packet::{Link, Offload, Packet};
use proptest::prelude::*;

use crate::build::{NOW, ask, fragment, headers, table, udp, with_header_checksum};

fn may_be_cut(mut packet: Vec<u8>) -> Vec<u8> {
    packet[4..8].copy_from_slice(&[0x12, 0x34, 0, 0]);
    with_header_checksum(packet)
}

fn cut(bytes: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, Unsplittable> {
    let mut copy = bytes.to_vec();
    let len = copy.len();
    let packet = Packet::new(&mut copy, 0..len, Link::Ip);
    let mut parts = Vec::new();
    let count = split(&packet, &headers(bytes), mtu, |part| {
        parts.push(part.to_vec())
    })?;
    assert_eq!(count, parts.len());
    Ok(parts)
}

/// What a receiver puts together.
fn together(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let read = headers(part);
        assert!(read.header_checksum_is_right(part));
        let it = read.fragment.unwrap();
        assert_eq!((it.offset, it.identification), (payload.len(), 0x1234));
        assert_eq!(it.more, index + 1 < parts.len());
        payload.extend_from_slice(&part[read.transport..]);
    }
    payload
}

proptest! {
    #[test]
    fn the_fragments_of_a_packet_are_the_packet(len in 0_usize..4000, mtu in 28_usize..1600) {
        let packet = may_be_cut(udp(true, len));
        let parts = cut(&packet, mtu).unwrap();
        prop_assert!(parts.iter().all(|it| it.len() <= mtu));
        if packet.len() <= mtu {
            prop_assert_eq!(parts, [packet]);
            return Ok(());
        }
        prop_assert_eq!(together(&parts), &packet[20..]);
        let step = (mtu - 20) / 8 * 8;
        prop_assert_eq!(parts.len(), (packet.len() - 20).div_ceil(step));
        // The table takes no more than 128 parts of a datagram.
        if parts.len() <= 128 {
            let mut table = table();
            for part in &parts {
                prop_assert!(matches!(ask(&mut table, NOW, part), Fragmented::Flow(_)));
            }
            prop_assert_eq!(table.stats().completed, 1);
        }
    }
}

#[test]
fn a_fragment_is_cut_into_smaller_ones_of_the_same_datagram() {
    let packet = may_be_cut(udp(true, 400));
    let middle = fragment(&packet, 0x1234, 80, 240);
    let parts = cut(&middle, 100).unwrap();
    let places: Vec<_> = parts
        .iter()
        .map(|part| {
            let it = headers(part).fragment.unwrap();
            (it.offset, it.more, part.len())
        })
        .collect();
    assert_eq!(places, [(80, true, 100), (160, true, 100)]);
    let last = fragment(&packet, 0x1234, 240, 408);
    let more: Vec<bool> = cut(&last, 100)
        .unwrap()
        .iter()
        .map(|part| headers(part).fragment.unwrap().more)
        .collect();
    assert_eq!(more, [true, true, false]);
}

#[test]
fn a_wrong_header_checksum_stays_wrong_in_every_fragment() {
    let mut packet = may_be_cut(udp(true, 400));
    packet[10] ^= 0x40;
    let parts = cut(&packet, 100).unwrap();
    assert!(parts.len() > 1);
    for part in parts {
        assert!(!headers(&part).header_checksum_is_right(&part));
    }
}

#[test]
fn options_go_where_they_say() {
    let mut packet = udp(true, 200);
    // Copied (0x94, router alert), no operation, not copied (7, record route), end.
    packet[0] = 0x49;
    packet.splice(
        20..20,
        [0x94, 4, 0, 0, 1, 7, 7, 4, 0, 0, 0, 0, 0x86, 3, 9, 0],
    );
    let total = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    let packet = may_be_cut(packet);
    let parts = cut(&packet, 116).unwrap();
    assert_eq!(parts[0][20..36], packet[20..36]);
    for part in &parts[1..] {
        let read = headers(part);
        assert_eq!(part[20..read.transport], [0x94, 4, 0, 0, 0x86, 3, 9, 0]);
    }
    assert_eq!(together(&parts), packet[36..]);
}

#[test]
fn what_may_not_be_cut_is_not() {
    let forbidden = Err(Unsplittable::Forbidden);
    assert_eq!(
        cut(&udp(true, 200), 100),
        forbidden,
        "its sender forbids it"
    );
    assert_eq!(cut(&udp(false, 200), 100), forbidden, "it is IPv6");
    assert_eq!(cut(&udp(false, 20), 100).unwrap(), [udp(false, 20)]);
    let packet = may_be_cut(udp(true, 200));
    assert_eq!(cut(&packet, 27), Err(Unsplittable::MtuTooSmall));
    assert_eq!(cut(&packet, 0), Err(Unsplittable::MtuTooSmall));
    assert_eq!(cut(&packet, 28).unwrap()[0].len(), 28);
    for offload in [Offload::partial(None), {
        let mut it = Offload::default();
        it.segment = NonZeroU16::new(100);
        it
    }] {
        let mut copy = packet.clone();
        let len = copy.len();
        let mut there = Packet::new(&mut copy, 0..len, Link::Ip);
        there.set_offloads(offload);
        let done = split(&there, &headers(&packet), 100, |_| {
            panic!("nothing is given")
        });
        assert_eq!(done, Err(Unsplittable::Offloaded));
        let done = split(&there, &headers(&packet), 1000, |part| {
            assert_eq!(part, packet)
        });
        assert_eq!(done, Ok(1));
    }
}

#[test]
fn the_link_s_header_is_in_front_of_every_fragment_and_its_padding_of_none() {
    let packet = may_be_cut(udp(true, 200));
    let link = [&[2; 6][..], &[4; 6], &[8, 0]].concat();
    let mut frame = [&link[..], &packet, &[0; 9]].concat();
    let len = frame.len();
    let there = Packet::new(&mut frame, 0..len, Link::Ethernet);
    let read = match lb_l4::wire::parse(there.bytes(), Link::Ethernet) {
        Ok(lb_l4::wire::Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    };
    let mut parts = Vec::new();
    split(&there, &read, 100, |part| {
        assert_eq!(part[..14], link);
        parts.push(part[14..].to_vec());
    })
    .unwrap();
    assert_eq!(together(&parts), packet[20..]);
}
