//! Steps drawn from bytes, what they are done to, and what must hold whatever they are.
//!
//! A step is eight bytes, so that a fuzzer and proptest draw, shorten and keep walks alike. Two
//! worlds of the same kind take the same steps: the one is shown packets one by one and judged
//! after each, the other is shown them in bursts and must come to the same.
//!
//! # What must hold
//!
//! 1. Sessions counted are the entries of the table, the sums of what pools have in flight, and
//!    what limits have let in; never more than the table may hold.
//! 2. What goes out is a whole packet, with right checksums if what came in had them, and with a
//!    wrong one if it had not.
//! 3. No packet of a session goes elsewhere than the one before it, and no session that its backend
//!    still serves ends because of a packet, unless its client begins anew.
//! 4. An answer goes to the client that it was addressed to, from the service that this client
//!    asked, and only if that session is with that backend.
//! 5. Every packet is counted once, under its verdict.
//! 6. After every timeout nothing is left.
//! 7. A burst comes to what its packets come to one by one.

#[path = "../../icmp/build.rs"]
#[expect(dead_code, reason = "the tests of ICMP need more of it")]
mod build;
mod judge;
mod packets;
pub(crate) mod world;

use std::time::Duration;

use judge::Judge;
use lb_l4::forwarder::ForwarderStats;
use lbcore::Instant;
use packets::Packets;
use world::World;

/// A step, drawn.
pub(crate) type Step = [u8; 8];

/// Takes these steps, and panics where something does not hold; tells what has been done, and the
/// frames that came in, and when, but for those that bore a mark.
pub(crate) fn walk(steps: &[Step]) -> (ForwarderStats, Vec<(Duration, Vec<u8>)>) {
    let mut walk = Walk::new();
    for step in steps {
        walk.step(*step);
    }
    walk.show();
    walk.end();
    (walk.single.forwarder.stats(), walk.shown)
}

struct Walk {
    single: World,
    burst: World,
    judge: Judge,
    packets: Packets,
    /// Frames that come in together, and their marks.
    waiting: Vec<(Vec<u8>, u32)>,
    /// Those that came in without a mark, and when.
    shown: Vec<(Duration, Vec<u8>)>,
}

impl Walk {
    fn new() -> Self {
        Self {
            single: World::new(),
            burst: World::new(),
            judge: Judge::default(),
            packets: Packets::default(),
            waiting: Vec::new(),
            shown: Vec::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let [kind, a, b, ..] = step;
        match kind % 16 {
            0 => {
                self.show();
                // Mostly short of the timeouts of handshakes, and sometimes beyond all of them.
                let seconds = if b % 16 == 0 { 1_000 } else { 1 } * u64::from(a % 70);
                self.wait(Duration::from_millis(seconds * 500));
            }
            1 => {
                self.show();
                for world in [&self.single, &self.burst] {
                    world.change_pool(a, b);
                }
                self.judge.forget_what_moved(&self.single);
                // A service looks at its pool when a client's packet comes. So that both look at once,
                // one comes to each service that begins nothing.
                for frame in packets::forged() {
                    self.waiting.push(frame);
                    self.show();
                }
            }
            2 if a % 4 == 0 => {
                self.show();
                for world in [&mut self.single, &mut self.burst] {
                    world.update(b);
                }
                self.judge.forget_what_moved(&self.single);
            }
            _ => {
                // Clients' packets alone: an answer without a session would begin one.
                let is_marked = (3..=8).contains(&(kind % 16)) && a % 32 == 31;
                let mark = if is_marked { world::MARK } else { 0 };
                if kind % 16 == 15 {
                    return self.pieces(step);
                }
                let frames = self.packets.draw(step, &self.judge);
                self.waiting.extend(frames.into_iter().map(|it| (it, mark)));
                if b % 3 == 0 || self.waiting.len() > 40 {
                    self.show();
                }
            }
        }
    }

    /// Shows the fragments of a datagram, each by itself: what was held is released at the end of a
    /// burst, so that one which comes again in the same burst finds it still there.
    fn pieces(&mut self, step: Step) {
        self.show();
        for piece in self.packets.draw(step, &self.judge) {
            self.waiting.push((piece, 0));
            self.show();
        }
    }

    /// Shows what waits to both worlds.
    fn show(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut found = Vec::new();
        for (frame, mark) in &waiting {
            if *mark == 0 {
                let at = self.single.now.since(Instant::ZERO);
                self.shown.push((at, frame.clone()));
            }
            found.push(self.judge.packet(&mut self.single, frame, *mark));
        }
        let together = self.burst.burst(&waiting);
        assert_eq!(together, found, "a burst is its packets");
        self.send();
        self.judge.counts(&self.single);
        assert_eq!(self.burst.forwarder.stats(), self.single.forwarder.stats());
        for (frame, (verdict, bytes)) in waiting.iter().zip(&found) {
            self.packets.learn(&frame.0, *verdict, bytes);
        }
        for world in [&mut self.single, &mut self.burst] {
            world.now += Duration::from_millis(1);
        }
    }

    /// Takes what the forwarders send by themselves.
    fn send(&mut self) {
        let mut single = self.single.sent();
        let mut burst = self.burst.sent();
        for frame in &single {
            self.judge.own(frame);
        }
        single.sort();
        burst.sort();
        assert_eq!(burst, single, "what bursts send is what their packets send");
    }

    fn wait(&mut self, span: Duration) {
        for world in [&mut self.single, &mut self.burst] {
            world.wait(span);
        }
        self.send();
        self.judge.counts(&self.single);
    }

    fn end(&mut self) {
        self.wait(Duration::from_secs(100_000));
        self.judge.nothing_is_left(&self.single);
    }
}
