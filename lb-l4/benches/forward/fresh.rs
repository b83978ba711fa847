//! New sessions a second.

use std::time::Duration;

use lb_l4::wire::tcp::flags;
use lbcore::schedule::RoundRobin;
use stats_alloc::Region;

use crate::world::{Frames, NOW, Subject, forwarder, in_order};
use crate::{BURST, COUNTING, clock};

const SESSIONS: u32 = 1_000_000;

/// Millions a second.
const WANTED: f64 = 2.0;

/// Prints a line for each method, pages, and memory: first such as was never used, then used.
/// Whether all are as fast as is wanted.
pub(crate) fn run() -> bool {
    let mut kept = true;
    for subject in [Subject::Nat, Subject::DirectRouting, Subject::Ipip] {
        for (pages, huge) in [("small", false), ("huge", true)] {
            kept &= one(subject, pages, huge);
        }
    }
    kept
}

fn one(subject: Subject, pages: &str, huge: bool) -> bool {
    let (mut forwarder, _pool) = forwarder(RoundRobin, subject, SESSIONS, huge);
    let mut syn = Frames::of_clients(flags::SYN);
    let mut kept = true;
    // In the later rounds the sessions of the one before have expired.
    let mut used = f64::MIN;
    for round in 0..6_u64 {
        let now = NOW + Duration::from_secs(3_600 * round);
        while forwarder.poll_timeout().is_some_and(|at| at <= now) {
            forwarder.handle_timeout(now);
        }
        let region = Region::new(COUNTING);
        let began = clock();
        for first in (0..SESSIONS).step_by(BURST) {
            syn.write(&in_order(first, SESSIONS));
            forwarder.handle_burst(now, &mut syn.packets());
        }
        let rate = f64::from(SESSIONS) / (clock() - began).as_secs_f64() / 1e6;
        let change = region.change();
        let allocations = change.allocations + change.reallocations;
        assert_eq!(forwarder.stats().sessions, SESSIONS as usize);
        kept &= allocations == 0;
        if round == 0 {
            print(subject, (pages, "fresh"), rate);
            kept &= rate >= WANTED;
        }
        used = used.max(rate);
    }
    print(subject, (pages, "used"), used);
    kept && used >= WANTED
}

fn print(subject: Subject, (pages, memory): (&str, &str), rate: f64) {
    println!(
        "new sessions, {:6} {pages:5} pages, {memory:5} memory: {rate:.2} million a second \
         (at least {WANTED})",
        subject.name()
    );
}
