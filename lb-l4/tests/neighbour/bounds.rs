//! What a flood cannot do.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use lb_l4::neighbour::NeighbourConfig;
use lb_l4::packet::{Link, Packet};
use lb_l4::wire::parse;
use proptest::prelude::*;

use super::setup::{ITS, Ndp, at, director, ip, known, reply, sent, show, with};

fn nobody(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + number))
}

#[test]
fn a_flood_of_absent_addresses_displaces_itself() {
    let mut link = with(NeighbourConfig::default().capacity(64));
    link.fix(ip("10.0.0.2"), ITS).unwrap();
    known(&mut link, at(0));
    for number in 0..10_000 {
        link.lookup(at(10), nobody(number));
        sent(&mut link);
    }
    assert_eq!(link.stats().neighbours, 64);
    assert_eq!(link.stats().evicted, 10_002 - 64);
    assert_eq!(link.lookup(at(20), ip("10.0.0.7")), Some(ITS));
    assert_eq!(link.lookup(at(20), ip("10.0.0.2")), Some(ITS));
    // And a new neighbour is still found.
    link.lookup(at(20), ip("10.0.0.8"));
    link.handle_arp(at(21), &reply(ITS, "10.0.0.8"));
    assert_eq!(link.lookup(at(21), ip("10.0.0.8")), Some(ITS));
}

#[test]
fn a_flood_of_absent_addresses_makes_nobody_look_again() {
    let mut link = with(NeighbourConfig::default().capacity(8));
    known(&mut link, at(0));
    for number in 0..100 {
        link.lookup(at(10), nobody(number));
    }
    let version = link.version();
    for number in 100..200 {
        link.lookup(at(10), nobody(number));
    }
    assert_eq!(link.stats().evicted, 201 - 8);
    assert_eq!(link.version(), version);
}

#[test]
fn who_is_kept_gives_way_after_all_others() {
    let mut link = with(NeighbourConfig::default().capacity(4));
    link.keep(at(0), ip("10.0.0.7"));
    link.handle_arp(at(0), &reply(ITS, "10.0.0.7"));
    for last in 8..30 {
        let address = format!("10.0.0.{last}");
        link.lookup(at(last), ip(&address));
        link.handle_arp(at(last), &reply(ITS, &address));
        sent(&mut link);
    }
    assert_eq!(link.lookup(at(40), ip("10.0.0.7")), Some(ITS));
    // Where all are kept, they give way as others do.
    for last in 40..50 {
        link.keep(at(50), ip(&format!("10.0.0.{last}")));
    }
    assert_eq!(link.stats().neighbours, 4);
    assert_eq!(link.lookup(at(50), ip("10.0.0.7")), None);
}

#[test]
fn who_was_not_used_for_longest_gives_way() {
    let mut link = with(NeighbourConfig::default().capacity(3));
    for (number, address) in (0..).zip(["10.0.0.7", "10.0.0.8", "10.0.0.9"]) {
        link.lookup(at(number), ip(address));
        link.handle_arp(at(number), &reply(ITS, address));
    }
    link.lookup(at(10), ip("10.0.0.7"));
    let version = link.version();
    link.lookup(at(11), ip("10.0.0.10"));
    assert_ne!(link.version(), version);
    link.handle_arp(at(11), &reply(ITS, "10.0.0.10"));
    sent(&mut link);
    for (address, mac) in [
        ("10.0.0.7", Some(ITS)),
        ("10.0.0.9", Some(ITS)),
        ("10.0.0.10", Some(ITS)),
    ] {
        assert_eq!(link.lookup(at(12), ip(address)), mac);
    }
    assert_eq!(link.lookup(at(12), ip("10.0.0.8")), None);
}

#[test]
fn who_did_not_answer_gives_way_before_who_is_asked_for() {
    let mut link = with(NeighbourConfig::default().capacity(2).questions(1));
    link.lookup(at(0), ip("10.0.0.7"));
    link.handle_timeout(at(1_000));
    link.lookup(at(1_000), ip("10.0.0.8"));
    link.lookup(at(1_001), ip("10.0.0.7"));
    link.lookup(at(1_002), ip("10.0.0.9"));
    link.handle_arp(at(1_003), &reply(ITS, "10.0.0.8"));
    assert_eq!(link.lookup(at(1_003), ip("10.0.0.8")), Some(ITS));
}

#[test]
fn where_all_are_fixed_nobody_gives_way() {
    let mut link = with(NeighbourConfig::default().capacity(2));
    for address in ["10.0.0.7", "10.0.0.8"] {
        link.fix(ip(address), ITS).unwrap();
    }
    assert_eq!(link.lookup(at(0), ip("10.0.0.9")), None);
    assert_eq!((link.stats().refused, link.stats().evicted), (1, 0));
    assert_eq!(sent(&mut link).len(), 0);
}

#[test]
fn questions_that_nobody_sends_do_not_pile_up() {
    let mut link = director();
    for number in 0..1_000 {
        link.lookup(at(0), nobody(number));
    }
    assert_eq!(sent(&mut link).len(), 256);
    assert_eq!(link.stats().outbox_full, 1_000 - 256);
}

#[test]
fn time_that_stands_still_does_not_hold_the_worker() {
    let mut link = director();
    for number in 0..100 {
        link.lookup(at(0), nobody(number));
    }
    link.handle_timeout(lbcore::Instant::MAX);
    link.handle_timeout(lbcore::Instant::MAX);
    assert!(link.stats().questions <= 600);
}

#[derive(Clone, Debug)]
enum Step {
    Lookup(u8),
    Hold(u8, u8),
    Arp(u8, u8, bool, bool),
    Advertise(u8, u8),
    Frame(Vec<u8>),
    Wait(u16),
    Announce,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u8>().prop_map(|it| Step::Lookup(it % 12)),
        any::<(u8, u8)>().prop_map(|(it, len)| Step::Hold(it % 12, len)),
        any::<(u8, u8, bool, bool)>().prop_map(|(a, b, c, d)| Step::Arp(a % 12, b % 3, c, d)),
        any::<(u8, u8)>().prop_map(|(mac, flags)| Step::Advertise(mac % 3, flags)),
        prop::collection::vec(any::<u8>(), 0..90).prop_map(Step::Frame),
        (0..4_000_u16).prop_map(Step::Wait),
        Just(Step::Announce),
    ]
}

proptest! {
    /// Whatever happens, in whatever order: bounds hold, and timers move on.
    #[test]
    fn nothing_that_happens_breaks_the_bounds(steps in prop::collection::vec(step(), 1..200)) {
        use lb_l4::wire::arp::{Message, Operation};
        use lb_l4::wire::ethernet::Mac;

        let config = NeighbourConfig::default().capacity(8).held_bytes(500);
        let mut link = with(config);
        let mut now = at(0);
        for step in steps {
            match step {
                Step::Lookup(number) => {
                    link.lookup(now, nobody(number.into()));
                }
                Step::Hold(number, len) => {
                    let _ = link.hold(nobody(number.into()), &vec![0; usize::from(len)]);
                }
                Step::Arp(number, mac, request, to_us) => {
                    let operation = if request { Operation::Request } else { Operation::Reply };
                    let IpAddr::V4(sender) = nobody(number.into()) else { unreachable!() };
                    let message = Message {
                        operation,
                        sender_mac: Mac([2, 0, 0, 0, 1, mac]),
                        sender,
                        target_mac: if to_us { super::setup::MINE } else { Mac::BROADCAST },
                        target: Ipv4Addr::new(10, 0, 0, 1),
                    };
                    let answer = link.handle_arp(now, &message);
                    prop_assert_eq!(answer.is_some(), request);
                }
                Step::Advertise(mac, flags) => {
                    show(&mut link, now, &Ndp::answer(Mac([2, 0, 0, 0, 1, mac]), flags).frame());
                }
                Step::Frame(mut bytes) => {
                    bytes.resize(bytes.len() + 40, 0);
                    let len = bytes.len() - 40;
                    if let Ok(read) = parse(&bytes[..len], Link::Ethernet) {
                        let mut packet = Packet::new(&mut bytes, 0..len, Link::Ethernet);
                        link.handle(now, &mut packet, &read);
                    }
                }
                Step::Wait(millis) => now += std::time::Duration::from_millis(millis.into()),
                Step::Announce => link.announce(now, ip("10.0.0.1")),
            }
            link.handle_timeout(now);
            prop_assert!(link.poll_timeout().is_none_or(|next| next > now));
            let frames = sent(&mut link);
            prop_assert!(frames.len() <= 300);
            let stats = link.stats();
            prop_assert!(stats.neighbours <= 8 && stats.held_bytes <= 500);
        }
    }
}

#[test]
fn neighbours_in_any_number_are_told_apart() {
    let mut link = director();
    for number in 0..1_000 {
        link.lookup(at(0), nobody(number));
        let [a, b, c, d] = number.to_be_bytes();
        let mac = lb_l4::wire::ethernet::Mac([2, 9, a, b, c, d]);
        link.handle_arp(at(0), &reply(mac, &nobody(number).to_string()));
    }
    let macs: BTreeSet<_> = (0..1_000)
        .map(|it| link.lookup(at(1), nobody(it)).unwrap())
        .collect();
    assert_eq!(macs.len(), 1_000);
}
