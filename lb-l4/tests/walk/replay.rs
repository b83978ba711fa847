//! What a capture shows again is decided again as it was.

use std::cell::Cell;
use std::time::Duration;

use lb_l4::packet::{Packet, Verdict};
use lb_l4::transport::capture::pcap::Reader;
use lb_l4::transport::capture::{Replay, ReplayConfig};
use lb_l4::transport::memory::{MemoryConfig, Waiting};
use lb_l4::transport::{Capture, Memory, Transport};
use lbcore::Instant;
use lbcore::rng::{Rng, Xoshiro};

use crate::law;
use crate::law::world::{OWN, World};

thread_local! {
    /// What the capture takes for the time of day.
    static TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Sends what a forwarder sends by itself.
fn send(world: &mut World, transport: &mut impl Transport) {
    for own in world.sent() {
        transport.send(&own).unwrap();
    }
}

/// Brings a world to this time since the epoch of its clock, and sends what comes of it.
fn wait(world: &mut World, transport: &mut impl Transport, at: Duration) {
    let span = (Instant::ZERO + at).since(world.now);
    if !span.is_zero() {
        world.wait(span);
        send(world, transport);
    }
}

/// Shows frames at their times to a world over a transport that records, and gives the verdicts and
/// the capture.
fn record(frames: &[(Duration, Vec<u8>)]) -> (Vec<Verdict>, Vec<u8>) {
    let config = MemoryConfig::default().waiting(Waiting::Return).mtu(2_000);
    let (near, mut far) = Memory::pair_with(config).unwrap();
    let mut near = Capture::new(near, Vec::new(), 65_535)
        .unwrap()
        .time(|| TIME.get());
    let mut world = World::new();
    let mut verdicts = Vec::new();
    for (at, frame) in frames {
        TIME.set(*at);
        wait(&mut world, &mut near, *at);
        far.send(frame).unwrap();
        let decide = |burst: &mut [Packet<'_>]| {
            world.forwarder.handle_burst(world.now, burst);
            verdicts.extend(burst.iter().map(Packet::verdict));
        };
        assert_eq!(near.forward(decide).unwrap(), 1);
        send(&mut world, &mut near);
        // The other end takes what is sent, as a link does.
        while far.forward(|_| ()).unwrap() > 0 {}
    }
    assert!(near.error().is_none());
    (verdicts, near.into_parts().1)
}

/// Shows a capture again, and gives the verdicts, what was sent then, and what is sent now.
fn replay(capture: &[u8]) -> (Vec<Verdict>, Vec<Vec<u8>>, Vec<u8>) {
    let mut replay = Replay::new(capture, Vec::new(), ReplayConfig::default()).unwrap();
    let mut world = World::new();
    let (mut verdicts, mut sent) = (Vec::new(), Vec::new());
    loop {
        // A capture does not say which way a packet went, but whose it is.
        let (mut own, mut shown) = (true, false);
        let at = replay.next_at().unwrap();
        let Some(at) = at else { break };
        let late = (Instant::ZERO + at).since(world.now);
        if !late.is_zero() {
            world.wait(late);
        }
        let before = world.sent();
        let decide = |burst: &mut [Packet<'_>]| {
            shown = true;
            own = burst[0].bytes()[6..12] == OWN.0;
            if own {
                sent.push(burst[0].bytes().to_vec());
                burst[0].set_verdict(Verdict::Pass);
            } else {
                world.forwarder.handle_burst(world.now, burst);
                verdicts.push(burst[0].verdict());
            }
        };
        // Both are sent as of this time: what was due before it, first.
        for frame in before {
            replay.send(&frame).unwrap();
        }
        replay.forward(decide).unwrap();
        send(&mut world, &mut replay);
        assert!(shown);
    }
    (verdicts, sent, replay.into_inner())
}

#[test]
fn a_capture_that_is_shown_again_is_decided_and_sent_as_it_was() {
    let mut rng = Xoshiro::new(9);
    for _ in 0..20 {
        let steps: Vec<law::Step> = (0..200).map(|_| rng.next_u64().to_le_bytes()).collect();
        let (_, frames) = law::walk(&steps);
        let (verdicts, capture) = record(&frames);
        let (again, then, now) = replay(&capture);
        assert_eq!(again, verdicts);
        assert!(
            verdicts.contains(&Verdict::Reply) && then.len() > 20,
            "{}",
            then.len()
        );
        let mut reader = Reader::new(&now[..]).unwrap();
        let mut bytes = Vec::new();
        let mut read = Vec::new();
        while reader.read(&mut bytes).unwrap().is_some() {
            read.push(bytes.clone());
        }
        assert_eq!(read, then);
    }
}
