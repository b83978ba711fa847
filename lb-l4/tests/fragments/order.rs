//! Fragments in any order: what passes, what is held, and what comes out.

use std::time::Duration;

use lb_l4::fragment::{FragmentTable, Fragmented, Subject};
use lb_l4::packet::{DropReason, InterfaceId, Link};
use lbcore::Instant;
use proptest::prelude::*;

use crate::build::{
    NOW, ask, dropped, ends, flow, fragment, fragments, headers, piece, subject, table, tcp, udp,
};

fn release(table: &mut FragmentTable) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| table.poll_released())
        .map(|it| it.bytes)
        .collect()
}

#[test]
fn fragments_in_order_all_pass_and_nothing_is_left() {
    for ipv4 in [true, false] {
        let mut table = table();
        for part in fragments(&udp(ipv4, 4000), 9, 1480) {
            assert_eq!(subject(ask(&mut table, NOW, &part)), flow(ipv4));
        }
        let stats = table.stats();
        assert_eq!(
            (stats.datagrams, stats.held_bytes, stats.completed),
            (0, 0, 1)
        );
        assert_eq!(table.poll_timeout(), None);
        assert_eq!(table.poll_released(), None);
    }
}

#[test]
fn every_order_gives_every_fragment_once_and_the_held_ones_in_order() {
    for ipv4 in [true, false] {
        let parts = fragments(&udp(ipv4, 100), 9, 32);
        assert_eq!(parts.len(), 4);
        for order in permutations(4) {
            let mut table = table();
            let mut out = Vec::new();
            let mut held = Vec::new();
            for &index in &order {
                match ask(&mut table, NOW, &parts[index]) {
                    Fragmented::Flow(piece) => {
                        assert_eq!(piece.subject, flow(ipv4));
                        out.push(parts[index].clone());
                    }
                    Fragmented::Held => held.push(index),
                    other => panic!("{other:?} of {order:?}"),
                }
                let released = release(&mut table);
                if index == 0 {
                    held.sort_unstable();
                    let expected: Vec<_> = held.drain(..).map(|it| parts[it].clone()).collect();
                    assert_eq!(released, expected, "{order:?}");
                } else {
                    assert!(released.is_empty());
                }
                out.extend(released);
            }
            out.sort_by_key(|it| headers(it).fragment.unwrap().offset);
            assert_eq!(out, parts, "{order:?}");
            let stats = table.stats();
            assert_eq!(
                (stats.datagrams, stats.held_bytes, stats.completed),
                (0, 0, 1)
            );
        }
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, n - 1);
        order
    };
    shorter
        .iter()
        .flat_map(|order| (0..n).map(move |at| insert(order, at)))
        .collect()
}

#[test]
fn a_released_fragment_is_as_it_came_and_says_where_it_belongs() {
    let mut table = table();
    let parts = fragments(&udp(true, 100), 9, 32);
    assert_eq!(ask(&mut table, NOW, &parts[1]), Fragmented::Held);
    assert_eq!(table.stats().held_bytes, parts[1].len());
    assert_eq!(table.poll_released(), None);
    let first = piece(ask(&mut table, NOW, &parts[0]));
    table.learn(&headers(&parts[0]), 77);
    let released = table.poll_released().unwrap();
    assert_eq!(released.bytes, parts[1]);
    assert_eq!(
        (released.link, released.interface, released.mark),
        (Link::Ip, InterfaceId(3), 5)
    );
    assert_eq!(released.piece.subject, first.subject);
    assert_eq!(released.piece.identification, first.identification);
    assert_eq!((first.tag, released.piece.tag), (None, Some(77)));
    assert_eq!(table.stats().held_bytes, 0);
    let last = [&parts[2], &parts[3]].map(|part| piece(ask(&mut table, NOW, part)));
    assert!(last.iter().all(|it| it.tag == Some(77)));
    assert!(
        last.iter()
            .all(|it| it.identification == first.identification)
    );
    // Forgotten: the next datagram is another one.
    let next = piece(ask(&mut table, NOW, &parts[0]));
    assert_eq!(next.tag, None);
    assert_ne!(next.identification, first.identification);
}

#[test]
fn a_complete_datagram_with_fragments_still_held_gives_them_and_is_forgotten() {
    let mut table = table();
    let parts = fragments(&udp(true, 60), 9, 32);
    assert_eq!(parts.len(), 3);
    assert_eq!(ask(&mut table, NOW, &parts[1]), Fragmented::Held);
    assert!(matches!(
        ask(&mut table, NOW, &parts[0]),
        Fragmented::Flow(_)
    ));
    // Complete, but one is still held.
    assert!(matches!(
        ask(&mut table, NOW, &parts[2]),
        Fragmented::Flow(_)
    ));
    assert_eq!(table.stats().datagrams, 1);
    assert_eq!(release(&mut table), [parts[1].clone()]);
    assert_eq!((table.stats().datagrams, table.stats().completed), (0, 1));
}

#[test]
fn the_same_fragment_again_passes_as_the_first_time() {
    let mut table = table();
    let parts = fragments(&udp(true, 100), 9, 32);
    for _ in 0..2 {
        assert_eq!(ask(&mut table, NOW, &parts[2]), Fragmented::Held);
    }
    assert_eq!(table.stats().held_bytes, parts[2].len(), "one copy is kept");
    for part in [0, 0, 1, 1] {
        assert_eq!(subject(ask(&mut table, NOW, &parts[part])), flow(true));
    }
    assert_eq!(release(&mut table), [parts[2].clone()]);
    assert_eq!(subject(ask(&mut table, NOW, &parts[2])), flow(true));
    assert_eq!(subject(ask(&mut table, NOW, &parts[3])), flow(true));
    assert_eq!(table.stats().completed, 1);
    assert_eq!(table.stats().discarded, 0);
}

#[test]
fn datagrams_are_told_apart_by_addresses_protocol_and_identification() {
    let parts = fragments(&udp(true, 100), 9, 32);
    let later = parts[1].clone();
    let with = |at: usize, value: u8| {
        let mut other = later.clone();
        other[at] = value;
        other
    };
    // Identification, protocol (ICMP), source, destination.
    for (at, value) in [(5, 10), (4, 1), (9, 1), (15, 2), (19, 11)] {
        let mut table = table();
        assert!(matches!(
            ask(&mut table, NOW, &parts[0]),
            Fragmented::Flow(_)
        ));
        assert_eq!(
            ask(&mut table, NOW, &with(at, value)),
            Fragmented::Held,
            "{at}"
        );
        assert!(matches!(ask(&mut table, NOW, &later), Fragmented::Flow(_)));
    }
    let parts = fragments(&udp(false, 100), 9, 32);
    let mut table = table();
    assert!(matches!(
        ask(&mut table, NOW, &parts[0]),
        Fragmented::Flow(_)
    ));
    let mut other = parts[1].clone();
    other[44] = 1;
    assert_eq!(
        ask(&mut table, NOW, &other),
        Fragmented::Held,
        "all 32 bits count"
    );
    // In IPv6 the later ones' next header does not count.
    let mut same = parts[1].clone();
    same[40] = 58;
    assert!(matches!(ask(&mut table, NOW, &same), Fragmented::Flow(_)));
}

#[test]
fn what_does_not_come_in_time_is_forgotten_at_the_very_moment() {
    let mut table = table();
    let parts = fragments(&udp(true, 100), 9, 32);
    let at = |seconds: u64| Instant::ZERO + Duration::from_secs(seconds);
    let just_before = Instant::from_nanos(at(40).as_nanos() - 1);
    assert_eq!(ask(&mut table, at(10), &parts[1]), Fragmented::Held);
    assert_eq!(ask(&mut table, at(39), &parts[2]), Fragmented::Held);
    assert_eq!(table.poll_timeout(), Some(at(40)));
    assert_eq!(table.handle_timeout(just_before), 0);
    assert_eq!(table.handle_timeout(at(40)), 2);
    let stats = table.stats();
    assert_eq!((stats.datagrams, stats.held_bytes), (0, 0));
    assert_eq!(
        (stats.timed_out, stats.discarded, stats.completed),
        (1, 2, 0)
    );
    assert_eq!(table.poll_timeout(), None);
}

#[test]
fn a_fragment_after_the_time_begins_a_new_datagram_even_before_the_timer() {
    let mut table = table();
    let parts = fragments(&udp(true, 100), 9, 32);
    assert!(matches!(
        ask(&mut table, NOW, &parts[0]),
        Fragmented::Flow(_)
    ));
    let late = NOW + Duration::from_secs(30);
    let before = Instant::from_nanos(late.as_nanos() - 1);
    assert!(matches!(
        ask(&mut table, before, &parts[1]),
        Fragmented::Flow(_)
    ));
    assert_eq!(ask(&mut table, late, &parts[2]), Fragmented::Held);
    assert_eq!(table.stats().timed_out, 1);
    assert_eq!(table.poll_timeout(), Some(late + Duration::from_secs(30)));
}

#[test]
fn datagrams_end_in_the_order_they_began_whichever_completes_between() {
    let mut table = table();
    let at = |seconds: u64| Instant::ZERO + Duration::from_secs(seconds);
    let packet = udp(true, 100);
    for id in 0..4 {
        let _ = ask(&mut table, at(id.into()), &fragment(&packet, id, 32, 64));
    }
    // The second, then the first, then the last is completed.
    for (id, next) in [(1, 0), (0, 2), (3, 2)] {
        for (from, to) in [(0, 32), (64, 108)] {
            let _ = ask(&mut table, at(4), &fragment(&packet, id, from, to));
        }
        assert_eq!(release(&mut table).len(), 1);
        assert_eq!(table.poll_timeout(), Some(at(30 + next)));
    }
    assert_eq!(table.handle_timeout(at(32)), 1);
    assert_eq!(table.stats().datagrams, 0);
}

#[test]
fn a_packet_that_is_no_fragment_is_what_it_is() {
    let mut table = table();
    for ipv4 in [true, false] {
        let whole = ask(&mut table, NOW, &udp(ipv4, 10));
        assert_eq!(subject(whole), flow(ipv4));
        assert_eq!(piece(whole).identification, 0);
    }
    let mut other = udp(true, 10);
    other[9] = 50;
    assert_eq!(
        ask(&mut table, NOW, &other),
        dropped(DropReason::Unsupported)
    );
    // RFC 6946: a fragment header, and no fragment.
    let packet = udp(false, 24);
    let atomic = fragment(&packet, 9, 0, 32);
    assert_eq!(subject(ask(&mut table, NOW, &atomic)), flow(false));
    assert_eq!(table.stats().datagrams, 0);
    table.learn(&headers(&atomic), 1);
    assert_eq!(piece(ask(&mut table, NOW, &atomic)).tag, None);
}

#[test]
fn fragments_of_tcp_and_echo_pass_too() {
    let mut table = table();
    for part in fragments(&tcp(100), 9, 40) {
        let Subject::Flow(key) = subject(ask(&mut table, NOW, &part)) else {
            panic!("a flow");
        };
        assert_eq!((key.source, key.destination), ends(true));
    }
    for (ipv4, protocol, kind) in [(true, 1, 8), (false, 58, 128)] {
        let mut request = udp(ipv4, 100);
        let transport = headers(&request).transport;
        request[if ipv4 { 9 } else { 6 }] = protocol;
        request[transport] = kind;
        for part in fragments(&request, 9, 40) {
            assert_eq!(subject(ask(&mut table, NOW, &part)), Subject::Echo);
        }
    }
    assert_eq!(table.stats().completed, 3);
}

proptest! {
    #[test]
    fn whatever_the_order_and_the_mixture_nothing_is_lost_or_made_up(
        order in proptest::collection::vec(0_usize..15, 15..40).prop_flat_map(Just),
        ipv4: bool,
    ) {
        // Three datagrams of five fragments; each index is one of them, some come again.
        let all: Vec<Vec<Vec<u8>>> =
            (0..3).map(|id| fragments(&udp(ipv4, 150), id, 32)).collect();
        let mut table = table();
        let mut out: Vec<Vec<u8>> = Vec::new();
        let mut asked: Vec<usize> = Vec::new();
        for index in order.into_iter().chain(0..15) {
            if asked.contains(&index) {
                continue;
            }
            asked.push(index);
            let part = &all[index / 5][index % 5];
            if let Fragmented::Flow(_) = ask(&mut table, NOW, part) {
                out.push(part.clone());
            }
            out.extend(release(&mut table));
        }
        prop_assert_eq!(out.len(), 15);
        for part in all.iter().flatten() {
            prop_assert!(out.contains(part));
        }
        prop_assert_eq!(table.stats().datagrams, 0);
        prop_assert_eq!(table.stats().completed, 3);
    }
}
