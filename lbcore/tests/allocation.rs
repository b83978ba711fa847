//! Sessions begin and end without allocating, under every scheduler.
//!
//! One test alone, as the counter counts for the whole process.

use std::alloc::System;

use lbcore::schedule::{AnyScheduler, LeastConnections, RoundRobin, Scheduler, Tried};
use lbcore::{Backend, Instant, Lease, Outcome, Pick, Pool};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations(run: impl FnOnce()) -> usize {
    let region = Region::new(COUNTING);
    run();
    let change = region.change();
    change.allocations + change.deallocations + change.reallocations
}

#[test]
fn no_session_allocates_under_any_scheduler() {
    let counted = allocations(|| drop(std::hint::black_box(Box::new(1_u64))));
    assert!(counted >= 2, "the counter counts");
    for name in AnyScheduler::NAMES {
        let make = || AnyScheduler::named(name).expect("a name from the list");
        assert_eq!(sessions(make), 0, "{name}");
    }
    assert_eq!(sessions(|| RoundRobin), 0);
    assert_eq!(sessions(LeastConnections::weighted), 0);
}

/// How many allocations 10,000 sessions make, some tried twice, on backends with and without limits,
/// some of them out of service.
fn sessions<S: Scheduler>(make: impl Fn() -> S) -> usize {
    let backends = (0..100_u8).map(|number| {
        let address = std::net::SocketAddr::from(([10, 0, 0, number], 80));
        let backend = Backend::new(&format!("backend {number}"), address.into());
        let backend = backend.weight(u16::from(number % 5));
        if number % 3 == 0 {
            backend.max_connections(2)
        } else {
            backend
        }
    });
    let pool = Pool::new(make()).backends(backends);
    let mut balancer = pool.balancer(0);
    let mut open: [Option<Lease>; 64] = [const { None }; 64];
    let mut run = |sessions| {
        for number in 0..sessions {
            let now = Instant::from_nanos(number);
            let pick = Pick::keyed(number % 500);
            let Ok(first) = balancer.acquire(now, &pick) else {
                continue;
            };
            let mut tried = Tried::default();
            tried.add(first.ticket());
            first.finish(now, Outcome::ConnectFailed);
            let pick = Pick::default()
                .key(pick.key.filter(|key| key % 2 == 0))
                .tried(&tried);
            let second = balancer.acquire(now, &pick).ok();
            let place = usize::try_from(number % 64).unwrap_or(0);
            if let Some(old) = std::mem::replace(&mut open[place], second) {
                old.finish(now, Outcome::Ok);
            }
        }
    };
    // The first lease on a backend makes the seat that all later ones share.
    run(20_000);
    allocations(|| run(10_000))
}
