//! Our subjects: each scheduler, by tickets and by leases.

use std::hint::black_box;

use lbcore::schedule::{
    BoundedLoad, Ketama, LeastConnections, Maglev, PeakEwma, PowerOfTwo, Prequal, Random,
    Rendezvous, RoundRobin, Scheduler, WeightedRoundRobin,
};
use lbcore::{Backend, Balancer, Instant, Outcome, Pick, Pool};

use super::Subject;
use super::peers::addresses;

const NOW: Instant = Instant::ZERO;

/// Every scheduler, over that many backends of equal weight, all of them up.
pub fn all(backends: usize) -> Vec<Subject> {
    [
        both("round-robin", backends, || RoundRobin),
        both("random", backends, Random::unweighted),
        both("weighted-round-robin", backends, || WeightedRoundRobin),
        both("power-of-two", backends, || PowerOfTwo),
        both("peak-ewma", backends, PeakEwma::default),
        both("prequal", backends, Prequal::default),
        both("least-connections", backends, LeastConnections::weighted),
        both("ketama", backends, Ketama::default),
        both("maglev", backends, Maglev::default),
        both("rendezvous", backends, Rendezvous::default),
        both("bounded-load", backends, || {
            BoundedLoad::over(Maglev::default())
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One scheduler, by tickets and by leases.
fn both<S: Scheduler>(name: &str, backends: usize, make: impl Fn() -> S) -> [Subject; 2] {
    let subject = |form: &str, work| Subject {
        name: format!("ours {name}, {form}"),
        backends,
        same_as: Some(format!("pingora {name}")),
        work,
    };
    let [mut tickets, mut leases] = [(); 2].map(|()| pool(make(), backends).balancer(0));
    [
        subject("ticket", Box::new(move |n| by_ticket(&mut tickets, n))),
        subject("lease", Box::new(move |n| by_lease(&mut leases, n))),
    ]
}

/// A pool of that many backends.
pub fn pool<S: Scheduler>(scheduler: S, backends: usize) -> Pool<S> {
    let backends =
        addresses(backends).map(|address| Backend::new(&address.to_string(), address.into()));
    Pool::new(scheduler).backends(backends)
}

/// A session of a key of its own, as pingora is given one; only some schedulers read it.
fn keyed(n: u64) -> Pick<'static> {
    Pick::keyed(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// As a packet path does it: the session's latency is not measured.
fn by_ticket<S: Scheduler>(balancer: &mut Balancer<S>, picks: u64) {
    for n in 0..picks {
        let ticket = balancer.acquire_ticket(NOW, &keyed(n)).expect("all are up");
        balancer.finish_ticket(black_box(ticket), None, Outcome::Ok);
    }
}

/// As a proxy does it, to the address and the latency.
pub fn by_lease<S: Scheduler>(balancer: &mut Balancer<S>, picks: u64) {
    for n in 0..picks {
        let now = Instant::from_nanos(n);
        let lease = balancer.acquire(now, &keyed(n)).expect("all are up");
        black_box(lease.address());
        lease.finish(black_box(Instant::from_nanos(n + 1)), Outcome::Ok);
    }
}
