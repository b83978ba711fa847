//! How long bursts take while pools change, and while sessions expire.

use std::hint::black_box;
use std::time::Duration;

use lb_l4::forwarder::Forwarder;
use lbcore::rng::Xoshiro;
use lbcore::schedule::Maglev;
use lbcore::{Backend, Delta, Instant, Pool};

use lb_l4::wire::tcp::flags;

use crate::world::{Frames, NOW, Subject, fill, forwarder, in_order, visit};
use crate::{BURST, clock};

const SESSIONS: u32 = 1_000_000;

/// Calm and storm take turns so often. Each round is the same as the one before, and of each of its
/// bursts the least counts: interrupts, which a virtual machine may spend 30 µs on a thousand times a
/// second, hit another burst each time.
const ROUNDS: u64 = 10;

/// Bursts of a round.
const BURSTS: usize = 10_000;

/// How much longer one burst of a thousand may take.
const MORE: Duration = Duration::from_micros(10);

/// Prints a line for each weather; whether no storm makes bursts longer than it may.
pub(crate) fn run() -> bool {
    let (mut forwarder, pool) = forwarder(Maglev::default(), Subject::Nat, SESSIONS, false);
    let changes = pool_changes(&mut forwarder, &pool);
    let expiry = expiry(&mut forwarder);
    changes && expiry
}

/// A pool of 100 backends changes every 100 bursts; who changes it makes the Maglev table, beside.
fn pool_changes(forwarder: &mut Forwarder<Maglev>, pool: &Pool<Maglev>) -> bool {
    fill(NOW, forwarder, SESSIONS, Subject::Nat);
    let mut frames = Frames::of_clients(flags::ACK);
    let [mut calm, mut storm] = [(); 2].map(|()| Took::new());
    for _ in 0..ROUNDS {
        for (took, changes) in [(&mut calm, false), (&mut storm, true)] {
            let mut rng = Xoshiro::new(3);
            took.lessen(|burst| {
                frames.write(&visit(&mut rng, SESSIONS));
                let mut packets = frames.packets();
                if changes && burst % 100 == 0 {
                    change(pool, if burst % 200 == 0 { 2 } else { 1 });
                }
                let began = clock();
                forwarder.handle_burst(NOW, &mut packets);
                let took = clock() - began;
                black_box(&mut packets);
                took
            });
        }
    }
    compare(("nothing else", calm), ("pool changed every 100", storm))
}

fn change(pool: &Pool<Maglev>, weight: u16) {
    let backend = Backend::new("backend 1", "10.0.0.1:8080".parse().expect("an end"));
    let delta = Delta::Upsert(backend.weight(weight));
    pool.apply(NOW, [delta]).expect("a change");
}

/// Half of the sessions expire at one moment; each burst is timed with the call that ends some.
fn expiry(forwarder: &mut Forwarder<Maglev>) -> bool {
    let mut frames = Frames::of_clients(flags::ACK);
    let half = SESSIONS / 2;
    let [mut calm, mut storm] = [(); 2].map(|()| Took::new());
    let mut ended = 0;
    for round in 1..=ROUNDS {
        let begin = NOW + Duration::from_secs(10_000 * round);
        end_all(forwarder, begin);
        fill(begin, forwarder, SESSIONS, Subject::Nat);
        let later = begin + Duration::from_secs(600);
        for first in (0..half).step_by(BURST) {
            frames.write(&in_order(first, half));
            forwarder.handle_burst(later, &mut frames.packets());
        }
        for (took, seconds) in [(&mut calm, 600), (&mut storm, 902)] {
            let at = begin + Duration::from_secs(seconds);
            let mut rng = Xoshiro::new(4);
            took.lessen(|_| {
                frames.write(&visit(&mut rng, half));
                let mut packets = frames.packets();
                let began = clock();
                forwarder.handle_timeout(at);
                forwarder.handle_burst(at, &mut packets);
                clock() - began
            });
        }
        ended = SESSIONS as usize - forwarder.stats().sessions;
        assert!(ended > 0, "sessions expire");
    }
    println!("sessions that expire in {BURSTS} bursts: {ended}");
    compare(("timeouts, none expires", calm), ("expiry storm", storm))
}

fn end_all(forwarder: &mut Forwarder<Maglev>, now: Instant) {
    while forwarder.poll_timeout().is_some_and(|at| at <= now) {
        forwarder.handle_timeout(now);
    }
    assert_eq!(forwarder.stats().sessions, 0);
}

/// What each burst of a round took, at least.
struct Took(Vec<Duration>);

impl Took {
    fn new() -> Self {
        Self(vec![Duration::MAX; BURSTS])
    }

    fn lessen(&mut self, mut burst: impl FnMut(usize) -> Duration) {
        for (n, took) in self.0.iter_mut().enumerate() {
            *took = (*took).min(burst(n));
        }
    }

    /// What so many of a thousand bursts took at most.
    fn of_thousand(&self, part: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[(BURSTS * part / 1_000).min(BURSTS - 1)]
    }
}

/// Prints both; whether the storm is within what it may take.
fn compare(calm: (&str, Took), storm: (&str, Took)) -> bool {
    for (label, took) in [&calm, &storm] {
        let [median, p99, p999] = [500, 990, 999].map(|part| took.of_thousand(part).as_nanos());
        println!(
            "burst of 32, {label:<24} median {median:>6} ns, p99 {p99:>6} ns, p99.9 {p999:>6} ns"
        );
    }
    let more = storm
        .1
        .of_thousand(999)
        .saturating_sub(calm.1.of_thousand(999));
    println!(
        "             p99.9 is {} ns more (at most {})",
        more.as_nanos(),
        MORE.as_nanos()
    );
    more <= MORE
}
