//! How much is remembered, and who makes room.

use std::time::Duration;

use lb_l4::fragment::{FragmentConfig, FragmentTable, Fragmented};
use lb_l4::packet::DropReason;
use lbcore::Instant;
use proptest::prelude::*;

use crate::build::{NOW, ask, dropped, fragment, udp};

fn with(config: FragmentConfig) -> FragmentTable {
    FragmentTable::new(config)
}

#[test]
fn there_are_never_more_datagrams_than_may_be() {
    let packet = udp(true, 200);
    for most in [1, 2, 10] {
        let mut table = with(FragmentConfig::default().datagrams(most));
        for id in 0..30 {
            let _ = ask(&mut table, NOW, &fragment(&packet, id, 0, 32));
            assert_eq!(table.stats().datagrams, most.min(usize::from(id) + 1));
        }
        assert_eq!(table.stats().evicted, 30 - most as u64);
    }
    let mut table = with(FragmentConfig::default().datagrams(0));
    assert!(matches!(
        ask(&mut table, NOW, &fragment(&packet, 1, 0, 32)),
        Fragmented::Flow(_)
    ));
    assert_eq!(table.stats().datagrams, 1);
}

#[test]
fn the_newcomer_always_gets_a_place() {
    let packet = udp(true, 200);
    let mut table = with(FragmentConfig::default().datagrams(4));
    for id in 0..100 {
        let _ = ask(&mut table, NOW, &fragment(&packet, id, 0, 32));
        let next = ask(&mut table, NOW, &fragment(&packet, id, 32, 64));
        assert!(matches!(next, Fragmented::Flow(_)), "{id}");
    }
}

#[test]
fn held_bytes_are_bounded_to_the_byte() {
    let packet = udp(true, 200);
    let size = 20 + 32;
    let mut table = with(FragmentConfig::default().held_bytes(3 * size));
    for id in 0..3 {
        assert_eq!(
            ask(&mut table, NOW, &fragment(&packet, id, 32, 64)),
            Fragmented::Held
        );
    }
    assert_eq!(
        (table.stats().held_bytes, table.stats().evicted),
        (3 * size, 0)
    );
    assert_eq!(
        ask(&mut table, NOW, &fragment(&packet, 3, 32, 64)),
        Fragmented::Held
    );
    let stats = table.stats();
    assert_eq!((stats.held_bytes, stats.evicted), (3 * size, 1));
    assert_eq!((stats.datagrams, stats.discarded), (3, 1));
}

#[test]
fn a_fragment_larger_than_all_that_may_be_held_ends_its_datagram() {
    let packet = udp(true, 200);
    for held in [0, 51] {
        let mut table = with(FragmentConfig::default().held_bytes(held));
        let unmatched = dropped(DropReason::FragmentUnmatched);
        assert_eq!(
            ask(&mut table, NOW, &fragment(&packet, 1, 32, 64)),
            unmatched
        );
        assert_eq!(
            ask(&mut table, NOW, &fragment(&packet, 1, 0, 32)),
            unmatched
        );
        // In order nothing is held.
        assert!(matches!(
            ask(&mut table, NOW, &fragment(&packet, 2, 0, 32)),
            Fragmented::Flow(_)
        ));
        assert!(matches!(
            ask(&mut table, NOW, &fragment(&packet, 2, 32, 64)),
            Fragmented::Flow(_)
        ));
    }
    let mut table = with(FragmentConfig::default().held_bytes(52));
    assert_eq!(
        ask(&mut table, NOW, &fragment(&packet, 1, 32, 64)),
        Fragmented::Held
    );
}

#[test]
fn fragments_in_order_need_no_held_bytes_under_attack() {
    let packet = udp(true, 200);
    let mut table = with(FragmentConfig::default().held_bytes(200).datagrams(64));
    for id in 0..1000 {
        let _ = ask(&mut table, NOW, &fragment(&packet, id, 32, 64));
        let mine = 30_000 + id;
        for (from, to) in [(0, 32), (32, 64), (64, 208)] {
            let said = ask(&mut table, NOW, &fragment(&packet, mine, from, to));
            assert!(matches!(said, Fragmented::Flow(_)));
        }
    }
}

#[test]
fn a_datagram_survives_an_attacker_as_often_as_chance_says() {
    let packet = udp(true, 200);
    let survived = (0..1000)
        .filter(|&seed| {
            let mut table = with(FragmentConfig::default().datagrams(64).seed(seed));
            for id in 0..64 {
                let _ = ask(&mut table, NOW, &fragment(&packet, id, 0, 32));
            }
            let _ = ask(&mut table, NOW, &fragment(&packet, 999, 0, 32));
            for id in 100..116 {
                let _ = ask(&mut table, NOW, &fragment(&packet, id, 0, 32));
            }
            let next = ask(&mut table, NOW, &fragment(&packet, 999, 32, 64));
            matches!(next, Fragmented::Flow(_))
        })
        .count();
    // (63/64)^16 is 77.7 %; one standard deviation is 13 of 1000.
    assert!((700..850).contains(&survived), "{survived}");
}

#[derive(Clone, Debug)]
enum Step {
    Fragment {
        id: u16,
        from: usize,
        len: usize,
        last: bool,
    },
    Wait(u64),
    Release,
    Learn(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0_u16..12, 0_usize..12, 1_usize..5, any::<bool>()).prop_map(|(id, from, len, last)| {
            Step::Fragment { id, from: from * 8, len: len * 8, last }
        }),
        1 => (0_u64..20_000).prop_map(Step::Wait),
        2 => Just(Step::Release),
        1 => (0_u16..12).prop_map(Step::Learn),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn whatever_comes_no_bound_is_passed_and_what_is_held_comes_out_once(
        steps in steps(),
        ipv4: bool,
        seed: u64,
    ) {
        let config = FragmentConfig::default().datagrams(6).held_bytes(600).fragments(5).seed(seed);
        let mut table = with(config);
        let packet = udp(ipv4, 200);
        let mut now = Instant::ZERO;
        let (mut held, mut released) = (0, 0);
        for step in steps {
            match step {
                Step::Fragment { id, from, len, last } => {
                    let header = if ipv4 { 20 } else { 40 };
                    let shorter = &packet[..header + from + len];
                    let whole = if last { shorter } else { &packet[..] };
                    // That is no fragment.
                    if from == 0 && last {
                        continue;
                    }
                    let part = fragment(whole, id, from, from + len);
                    if ask(&mut table, now, &part) == Fragmented::Held {
                        held += 1;
                    }
                }
                Step::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    table.handle_timeout(now);
                    prop_assert!(table.poll_timeout().is_none_or(|at| at > now));
                }
                Step::Release => {
                    while table.poll_released().is_some() {
                        released += 1;
                    }
                }
                Step::Learn(id) => {
                    let first = fragment(&packet, id, 0, 8);
                    table.learn(&crate::build::headers(&first), 4);
                }
            }
            let stats = table.stats();
            prop_assert!(stats.datagrams <= 6);
            prop_assert!(stats.held_bytes <= 600);
            prop_assert!(released + stats.discarded <= held);
        }
        table.handle_timeout(Instant::MAX);
        let stats = table.stats();
        prop_assert_eq!((stats.datagrams, stats.held_bytes), (0, 0));
        prop_assert_eq!(table.poll_timeout(), None);
        prop_assert_eq!(table.poll_released(), None);
    }
}
