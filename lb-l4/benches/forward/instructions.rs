//! Packets of established sessions, for a program that counts instructions.

use lb_l4::forwarder::Forwarder;
use lb_l4::packet::Packet;
use lbcore::rng::Xoshiro;
use lbcore::schedule::RoundRobin;

use crate::BURST;
use crate::world::{NOW, Subject, fill, forwarder, frames, visit};

/// Few, so that a slow counter fills the table soon: instructions do not depend on it by much.
const SESSIONS: u32 = 1_000;

/// Shows so many packets, each in [`counted_bursts`]; reads no clock, since valgrind does not show
/// a program all that it needs for one.
pub(crate) fn count(subject: Subject, packets: usize) {
    let (mut forwarder, _pool) = forwarder(RoundRobin, subject, SESSIONS, false);
    let backends = fill(NOW, &mut forwarder, SESSIONS, subject);
    let mut frames = frames(subject, &backends);
    let mut rng = Xoshiro::new(7);
    for _ in 0..packets / BURST {
        frames.write(&visit(&mut rng, SESSIONS));
        counted_bursts(&mut forwarder, &mut frames.packets());
    }
    println!("{} packets by {}", packets / BURST * BURST, subject.name());
}

/// What is counted.
#[inline(never)]
fn counted_bursts(forwarder: &mut Forwarder<RoundRobin>, packets: &mut [Packet<'_>]) {
    forwarder.handle_burst(NOW, packets);
}
