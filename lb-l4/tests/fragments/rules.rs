//! What is refused, by which rule.

use lb_l4::fragment::{FragmentConfig, FragmentTable, Fragmented, set_identification};
use lb_l4::packet::{DropReason, Link, Packet};
use lb_l4::wire::{FragmentPart, Headers, parse};

use crate::build::{
    NOW, ask, dropped, flow, fragment, fragments, headers, piece, subject, table, tcp, udp,
    with_header_checksum,
};

#[test]
fn an_overlap_discards_the_whole_datagram_held_and_to_come() {
    for ipv4 in [true, false] {
        let packet = udp(ipv4, 200);
        let mut table = table();
        assert_eq!(
            ask(&mut table, NOW, &fragment(&packet, 9, 32, 64)),
            Fragmented::Held
        );
        let overlap = ask(&mut table, NOW, &fragment(&packet, 9, 56, 96));
        assert_eq!(overlap, dropped(DropReason::FragmentOverlap));
        let stats = table.stats();
        assert_eq!(
            (stats.overlapping, stats.discarded, stats.held_bytes),
            (1, 1, 0)
        );
        for (from, to) in [(0, 32), (32, 64), (96, 128)] {
            let said = ask(&mut table, NOW, &fragment(&packet, 9, from, to));
            assert_eq!(said, dropped(DropReason::FragmentOverlap));
        }
        assert_eq!(table.poll_released(), None);
        assert_eq!(table.stats().overlapping, 1);
        // Another datagram of the same sender is not concerned.
        let other = ask(&mut table, NOW, &fragment(&packet, 10, 0, 32));
        assert_eq!(subject(other), flow(ipv4));
    }
}

#[test]
fn an_overlap_with_the_first_is_one_too() {
    let packet = udp(true, 200);
    for (held, first) in [((24, 64), (0, 32)), ((8, 16), (0, 32))] {
        let mut table = table();
        assert_eq!(
            ask(&mut table, NOW, &fragment(&packet, 9, held.0, held.1)),
            Fragmented::Held
        );
        let said = ask(&mut table, NOW, &fragment(&packet, 9, first.0, first.1));
        assert_eq!(said, dropped(DropReason::FragmentOverlap));
        assert_eq!(table.poll_released(), None);
    }
}

#[test]
fn an_overlap_with_what_is_to_be_released_keeps_that_back() {
    let packet = udp(true, 200);
    let mut table = table();
    assert_eq!(
        ask(&mut table, NOW, &fragment(&packet, 9, 32, 64)),
        Fragmented::Held
    );
    assert!(matches!(
        ask(&mut table, NOW, &fragment(&packet, 9, 0, 32)),
        Fragmented::Flow(_)
    ));
    let said = ask(&mut table, NOW, &fragment(&packet, 9, 40, 48));
    assert_eq!(said, dropped(DropReason::FragmentOverlap));
    assert_eq!(table.poll_released(), None);
    assert_eq!(table.stats().discarded, 1);
}

#[test]
fn two_first_fragments_with_other_ports_are_an_overlap() {
    let packet = udp(true, 200);
    let mut table = table();
    let first = fragment(&packet, 9, 0, 32);
    assert!(matches!(ask(&mut table, NOW, &first), Fragmented::Flow(_)));
    let mut other = first.clone();
    other[23] ^= 1;
    assert_eq!(
        ask(&mut table, NOW, &other),
        dropped(DropReason::FragmentOverlap)
    );
    assert_eq!(
        ask(&mut table, NOW, &first),
        dropped(DropReason::FragmentOverlap)
    );
}

#[test]
fn a_second_end_and_bytes_behind_the_end_are_an_overlap() {
    let packet = udp(true, 200);
    let shorter = udp(true, 100);
    let mut table = table();
    assert!(matches!(
        ask(&mut table, NOW, &fragment(&packet, 9, 0, 32)),
        Fragmented::Flow(_)
    ));
    let end = fragment(&shorter, 9, 64, 108);
    assert!(matches!(ask(&mut table, NOW, &end), Fragmented::Flow(_)));
    let behind = fragment(&packet, 9, 112, 144);
    assert_eq!(
        ask(&mut table, NOW, &behind),
        dropped(DropReason::FragmentOverlap)
    );
}

/// Headers as a parser that checks less would give them.
fn said(table: &mut FragmentTable, bytes: &[u8], change: impl FnOnce(&mut Headers)) -> Fragmented {
    let mut headers = headers(bytes);
    change(&mut headers);
    let mut copy = bytes.to_vec();
    let len = copy.len();
    table.handle(NOW, &Packet::new(&mut copy, 0..len, Link::Ip), &headers)
}

#[test]
fn what_no_datagram_can_have_is_malformed() {
    let packet = udp(true, 200);
    let malformed = dropped(DropReason::Malformed);
    let later = fragment(&packet, 9, 32, 64);
    let mut table = table();
    assert_eq!(
        said(&mut table, &later, |it| it.end -= 4),
        malformed,
        "no multiple of 8"
    );
    assert_eq!(
        said(&mut table, &later, |it| it.end = it.transport),
        malformed,
        "empty"
    );
    let part = |offset| {
        Some(FragmentPart {
            identification: 9,
            offset,
            more: true,
        })
    };
    // 20 bytes of header and 32 of payload.
    let most = 65535 - 20 - 32;
    let at = |offset| move |it: &mut Headers| it.fragment = part(offset);
    assert_eq!(said(&mut table, &later, at(most + 1)), malformed);
    assert_eq!(table.stats().datagrams, 0);
    assert_eq!(said(&mut table, &later, at(most)), Fragmented::Held);
    assert_eq!(table.stats().datagrams, 1);
}

#[test]
fn the_headers_before_the_fragment_header_count_in_the_length_of_ipv6() {
    let packet = udp(false, 200);
    let later = fragment(&packet, 9, 32, 64);
    let with_options = {
        let mut bytes = later.clone();
        bytes[6] = 60;
        bytes[5] += 8;
        bytes.splice(40..40, [44, 0, 1, 4, 0, 0, 0, 0]);
        bytes
    };
    let part = |offset| {
        Some(FragmentPart {
            identification: 9,
            offset,
            more: true,
        })
    };
    for (bytes, most) in [(later, 65535 - 32), (with_options, 65535 - 32 - 8)] {
        let mut table = table();
        let too_far = said(&mut table, &bytes, |it| it.fragment = part(most + 1));
        assert_eq!(too_far, dropped(DropReason::Malformed));
        let fits = said(&mut table, &bytes, |it| it.fragment = part(most));
        assert_eq!(fits, Fragmented::Held);
    }
}

#[test]
fn extension_headers_behind_the_fragment_header_are_bytes_of_the_datagram() {
    // Destination options and UDP, cut behind the UDP header and some payload.
    let mut packet = udp(false, 100);
    let next = packet[6];
    packet[6] = 60;
    packet[5] += 8;
    packet.splice(40..40, [next, 0, 1, 4, 0, 0, 0, 0]);
    let mut table = table();
    for (from, to) in [(0, 32), (32, 64), (64, 116)] {
        let said = ask(&mut table, NOW, &fragment(&packet, 9, from, to));
        assert_eq!(subject(said), flow(false));
    }
    assert_eq!(table.stats().completed, 1);
}

#[test]
fn no_later_fragment_begins_inside_of_a_tcp_header() {
    let packet = tcp(100);
    for (offset, expected) in [
        (16, dropped(DropReason::Malformed)),
        (24, Fragmented::Held),
        (32, Fragmented::Held),
    ] {
        let mut table = table();
        let later = fragment(&packet, 9, offset, offset + 8);
        assert_eq!(ask(&mut table, NOW, &later), expected, "{offset}");
    }
    // RFC 3128's own case does not get past the parser, nor does a cut header (RFC 1858).
    assert!(parse(&fragment(&packet, 9, 8, 16), Link::Ip).is_err());
    assert!(parse(&fragment(&packet, 9, 0, 16), Link::Ip).is_err());
    // UDP's header has eight bytes.
    let later = fragment(&udp(true, 100), 9, 8, 16);
    assert_eq!(ask(&mut table(), NOW, &later), Fragmented::Held);
}

#[test]
fn a_first_fragment_of_an_unknown_protocol_lets_none_of_its_datagram_wait() {
    let mut packet = udp(true, 200);
    packet[9] = 50;
    let parts = fragments(&packet, 9, 32);
    let mut table = table();
    assert_eq!(ask(&mut table, NOW, &parts[1]), Fragmented::Held);
    assert_eq!(
        ask(&mut table, NOW, &parts[0]),
        dropped(DropReason::Unsupported)
    );
    assert_eq!(
        ask(&mut table, NOW, &parts[2]),
        dropped(DropReason::Unsupported)
    );
    let stats = table.stats();
    assert_eq!(
        (stats.held_bytes, stats.discarded, stats.overlapping),
        (0, 1, 0)
    );
}

#[test]
fn more_fragments_than_may_be_end_the_datagram() {
    let packet = udp(true, 200);
    let parts = fragments(&packet, 9, 16);
    for first in [true, false] {
        let mut table = FragmentTable::new(FragmentConfig::default().fragments(4));
        let order: [usize; 5] = if first {
            [0, 1, 2, 3, 4]
        } else {
            [1, 2, 3, 4, 0]
        };
        for &index in &order[..4] {
            let passed = ask(&mut table, NOW, &parts[index]);
            assert_eq!(matches!(passed, Fragmented::Flow(_)), first, "{index}");
        }
        let unmatched = dropped(DropReason::FragmentUnmatched);
        assert_eq!(ask(&mut table, NOW, &parts[order[4]]), unmatched);
        assert_eq!(ask(&mut table, NOW, &parts[order[1]]), unmatched);
        assert_eq!(table.stats().held_bytes, 0);
        assert_eq!(table.poll_released(), None);
    }
}

#[test]
fn another_identification_keeps_an_ipv4_checksum_right_or_wrong() {
    let later = fragment(&udp(true, 200), 9, 32, 64);
    for id in [0, 9, 0xffff, 0x0001_2345] {
        let mut bytes = later.clone();
        let mut read = headers(&bytes);
        assert!(set_identification(&mut bytes, &mut read, id));
        assert_eq!(read, headers(&bytes));
        assert_eq!(read.fragment.unwrap().identification, id & 0xffff);
        assert!(read.header_checksum_is_right(&bytes));
        let mut wrong = later.clone();
        wrong[10] ^= 0x40;
        assert!(set_identification(&mut wrong, &mut headers(&later), id));
        assert!(!read.header_checksum_is_right(&wrong));
        assert_eq!(with_header_checksum(wrong), with_header_checksum(bytes));
    }
}

#[test]
fn another_identification_of_ipv6_has_32_bits_wherever_its_header_is() {
    let packet = udp(false, 200);
    let plain = fragment(&packet, 9, 32, 64);
    let mut behind = plain.clone();
    behind[6] = 0;
    behind[5] += 8;
    behind.splice(40..40, [44, 0, 1, 4, 0, 0, 0, 0]);
    // An atomic fragment header in front of the one that counts.
    let mut twice = plain.clone();
    twice[5] += 8;
    twice.splice(40..40, [44, 0, 0, 0, 1, 2, 3, 4]);
    for bytes in [plain, behind, twice] {
        let mut changed = bytes.clone();
        let mut read = headers(&bytes);
        assert!(set_identification(&mut changed, &mut read, 0xdead_beef));
        assert_eq!(read, headers(&changed));
        assert_eq!(read.fragment.unwrap().identification, 0xdead_beef);
        assert_eq!(
            changed.iter().zip(&bytes).filter(|(a, b)| a != b).count(),
            4
        );
    }
    let mut whole = udp(false, 20);
    let before = whole.clone();
    let mut read = headers(&whole);
    assert!(!set_identification(&mut whole, &mut read, 1));
    assert_eq!(whole, before);
}

#[test]
fn each_datagram_gets_an_identification_of_its_own() {
    let mut table = table();
    let ids: std::collections::HashSet<u32> = (0..1000)
        .map(|id| {
            let first = fragment(&udp(true, 100), id, 0, 32);
            piece(ask(&mut table, NOW, &first)).identification & 0xffff
        })
        .collect();
    assert_eq!(ids.len(), 1000);
}
