//! Answers that come to a worker which has not handed out their port.

use lb_l4::method::fullnat::hand_off::HandOff;
use lb_l4::packet::{DropReason, Verdict};

use super::*;
use crate::raw::icmp::message;
use crate::raw::{fragment, headers, line, unframed};

/// Two workers with a port each, 5000 and 5001, and the rings between them.
fn workers(depth: usize) -> [World; 2] {
    let rings = HandOff::rings(2, depth).unwrap();
    let worlds = rings.into_iter().map(|hand_off| {
        let local = local_ports().ports(5000..=5001);
        let worker = usize::from(hand_off.worker());
        let config = |it: ForwarderConfig| it.local_ports(local).worker(worker, 2);
        let mut world = world_with(EACH, ClientAddress::None, config, |it| it);
        world.forwarder.set_hand_off(hand_off);
        world
    });
    let Ok(worlds) = worlds.collect::<Vec<_>>().try_into() else {
        panic!("two workers");
    };
    worlds
}

/// The packets that a worker sends for those that it was handed.
fn handled(world: &mut World) -> Vec<Vec<u8>> {
    let now = world.now;
    world.forwarder.handle_handed(now);
    let mut sent = Vec::new();
    while let Some(packet) = world.forwarder.poll_transmit(now) {
        sent.push(unframed(packet.bytes).0);
    }
    sent
}

const ASK: Step = In(
    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
    Goes("udp 10.0.0.100:5001 > 10.0.0.7:8080"),
);
const ANSWER: &str = "udp 10.0.0.7:8080 > 10.0.0.100:5001 len=20";

#[test]
fn an_answer_goes_by_way_of_the_worker_that_has_its_session() {
    let [mut first, mut second] = workers(8);
    second.step(&ASK, "second");
    assert!(second.forwarder.hand_off().unwrap().is_idle());
    first.step(&In(ANSWER, Holds), "first");
    assert!(!second.forwarder.hand_off().unwrap().is_idle());
    let sent = handled(&mut second);
    assert_eq!(sent.len(), 1);
    let read = headers(&sent[0]);
    assert_eq!(read.source_end().to_string(), "203.0.113.10:53");
    assert_eq!(read.destination_end().to_string(), "192.0.2.1:40000");
    assert_eq!(read.ttl, 63, "one hop, not two");
    assert_eq!(first.forwarder.stats().hand_off.given, 1);
    assert_eq!(first.forwarder.stats().held, 1);
    let stats = second.forwarder.stats();
    assert_eq!((stats.hand_off.taken, stats.transmitted), (1, 1));
    assert_eq!(handled(&mut second), Vec::<Vec<u8>>::new());
}

#[test]
fn errors_and_fragments_are_handed_over_too() {
    let [mut first, mut second] = workers(8);
    second.step(&ASK, "second");
    let quoted = line("udp 10.0.0.100:5001 > 10.0.0.7:8080 len=33");
    let unreachable = [3, 1, 0, 0, 0, 0];
    let error = message(ip("10.0.0.7"), ip("10.0.0.100"), unreachable, &quoted);
    assert_eq!(first.shown(&error).0, Verdict::Held);
    let sent = handled(&mut second);
    assert_eq!(headers(&sent[0]).destination, ip("192.0.2.1"));

    let answer = line("udp 10.0.0.7:8080 > 10.0.0.100:5001 len=100");
    for (from, to) in [(0, 80), (80, usize::MAX)] {
        assert_eq!(first.shown(&fragment(&answer, from, to)).0, Verdict::Held);
    }
    let sent = handled(&mut second);
    assert_eq!(sent.len(), 2);
    for part in &sent {
        assert_eq!(headers(part).destination, ip("192.0.2.1"));
    }
}

#[test]
fn what_nobody_waits_for_is_answered_by_its_owner_and_not_handed_back() {
    let [mut first, mut second] = workers(8);
    first.step(
        &In("tcp 10.0.0.7:8080 > 10.0.0.100:5001 A seq=3 ack=7", Holds),
        "first",
    );
    let sent = handled(&mut second);
    assert_eq!(sent.len(), 1);
    let reset = headers(&sent[0]);
    assert_eq!(reset.source_end().to_string(), "10.0.0.100:5001");
    assert_eq!(reset.tcp().unwrap().sequence, 7);
    assert_eq!(
        second.forwarder.stats().dropped_for(DropReason::NoSession),
        1
    );
    assert_eq!(handled(&mut first), Vec::<Vec<u8>>::new());
}

#[test]
fn what_does_not_fit_the_ring_is_dropped_and_counted() {
    let [mut first, mut second] = workers(2);
    second.step(&ASK, "second");
    for out in [Holds, Holds, Drops(DropReason::HandOffFull)] {
        first.step(&In(ANSWER, out), "first");
    }
    let stats = first.forwarder.stats();
    assert_eq!((stats.hand_off.given, stats.hand_off.full), (2, 1));
    assert_eq!(stats.dropped_for(DropReason::HandOffFull), 1);
    assert_eq!(handled(&mut second).len(), 2);
}

#[test]
fn a_burst_is_taken_at_a_call() {
    let [mut first, mut second] = workers(64);
    second.step(&ASK, "second");
    for _ in 0..40 {
        first.step(&In(ANSWER, Holds), "first");
    }
    let now = second.now;
    assert_eq!(second.forwarder.handle_handed(now), 32);
    assert_eq!(second.forwarder.handle_handed(now), 8);
    assert_eq!(second.forwarder.handle_handed(now), 0);
    assert_eq!(second.forwarder.stats().transmitted, 40);
}
