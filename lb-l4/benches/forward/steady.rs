//! Packets of established sessions, visited at random.

use std::hint::black_box;
use std::net::SocketAddr;

use lb_l4::forwarder::Forwarder;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::rng::Xoshiro;
use lbcore::schedule::{RoundRobin, Scheduler};
use lbcore::session::SessionTable;
use stats_alloc::Region;

use crate::world::{NOW, PORT, SERVICE, Subject, client, fill, forwarder, frames, visit};
use crate::{BURST, COUNTING, clock};

/// The least of so many is told.
const ROUNDS: usize = 40;

/// Prints a line; whether it is within the limit, and nothing was allocated.
pub(crate) fn run(
    label: &str,
    subject: Subject,
    (sessions, huge): (u32, bool),
    (packets, limit): (usize, f64),
) -> bool {
    let (mut forwarder, _pool) = forwarder(RoundRobin, subject, sessions, huge);
    let backends = fill(NOW, &mut forwarder, sessions, subject);
    let bursts = packets / BURST / ROUNDS;
    let mut frames = frames(subject, &backends);
    let mut rng = Xoshiro::new(7);
    let [mut writing, mut all, mut making, mut looking] = [f64::MAX; 4];
    let mut allocations = 0;
    for _ in 0..ROUNDS {
        writing = writing.min(time(bursts, || {
            frames.write(&visit(&mut rng, sessions));
            black_box(&mut frames.packets());
        }));
        let region = Region::new(COUNTING);
        all = all.min(time(bursts, || {
            frames.write(&visit(&mut rng, sessions));
            let mut packets = frames.packets();
            forwarder.handle_burst(NOW, &mut packets);
            black_box(&mut packets);
        }));
        let change = region.change();
        allocations += change.allocations + change.reallocations;
        let (made, looked) = bare(&forwarder, &mut rng, sessions, bursts);
        (making, looking) = (making.min(made), looking.min(looked));
    }
    let (best, floor) = (all - writing, looking - making);
    let stats = forwarder.stats();
    assert!(stats.dropped.iter().all(|it| *it == 0), "{stats:?}");
    assert_eq!(stats.passed, 0, "every packet is of a session");
    let ratio = best / floor;
    println!("{label} {best:>9.1} {limit:>7.0} {floor:>7.1} {ratio:>6.2} {allocations:>12}");
    best <= limit && allocations == 0
}

/// Nanoseconds to make a key, and to make it and look it up in a bare batch.
fn bare<S: Scheduler>(
    forwarder: &Forwarder<S>,
    rng: &mut Xoshiro,
    sessions: u32,
    bursts: usize,
) -> (f64, f64) {
    let key = |n| {
        let source = SocketAddr::from((client(n), PORT));
        FlowKey::new(Protocol::Tcp, source, SERVICE.into())
    };
    let keys = |rng: &mut Xoshiro| visit(rng, sessions).map(key);
    let making = time(bursts, || {
        black_box(keys(rng));
    });
    let mut found = [None; BURST];
    let looking = time(bursts, || {
        forwarder.sessions().lookup_batch(&keys(rng), &mut found);
        black_box(&found);
    });
    (making, looking)
}

/// Nanoseconds a packet of `bursts` bursts.
#[expect(clippy::cast_precision_loss, reason = "a figure of a few digits")]
fn time(bursts: usize, mut burst: impl FnMut()) -> f64 {
    let began = clock();
    for _ in 0..bursts {
        burst();
    }
    (clock() - began).as_nanos() as f64 / (bursts * BURST) as f64
}
