//! What a pick costs, and what acquire and finish cost together, by scheduler and size of the pool.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lbcore::schedule::{
    BoundedLoad, Candidates, Ketama, Maglev, Rendezvous, RoundRobin, Scheduler, Start, Tier, Tried,
};
use lbcore::{Backend, Delta, Instant, Outcome, Pick, Pool};

const SIZES: [u32; 3] = [10, 1_000, 10_000];

/// Runs a benchmark for every scheduler.
macro_rules! every_scheduler {
    ($c:expr, $bench:ident) => {
        $bench($c, "bounded-load", BoundedLoad::default);
        $bench($c, "ketama", Ketama::default);
        $bench($c, "maglev", Maglev::default);
        $bench($c, "rendezvous", Rendezvous::default);
        $bench($c, "round-robin", || RoundRobin);
    };
}

fn backends(count: u32) -> impl Iterator<Item = Backend> {
    (0..count).map(|number| {
        let [_, high, middle, low] = number.to_be_bytes();
        let address = std::net::SocketAddr::from(([10, high, middle, low], 80));
        Backend::new(&format!("backend-{number}"), address.into())
    })
}

/// `pick` alone, with `observe` where the scheduler asks for it.
fn pick<S: Scheduler>(c: &mut Criterion, name: &str, make: impl Fn() -> S) {
    let mut group = c.benchmark_group("pick");
    for size in SIZES {
        let scheduler = make();
        let tier = Tier::of(backends(size));
        let plan = scheduler.plan(&tier, None);
        let start = Start::new(1, &|_| Default::default());
        let mut cursor = scheduler.cursor(&plan, &tier, start);
        let tried = Tried::default();
        let mut key = 0_u64;
        group.bench_function(BenchmarkId::new(name, size), |b| {
            b.iter(|| {
                key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let candidates = Candidates::new(Instant::ZERO, &tier, Some(key), &tried);
                black_box(scheduler.pick(&plan, &mut cursor, &candidates))
            });
        });
    }
}

/// A session from beginning to end.
fn acquire_and_finish<S: Scheduler>(c: &mut Criterion, name: &str, make: impl Fn() -> S) {
    let mut group = c.benchmark_group("acquire_and_finish");
    for size in SIZES {
        let pool = Pool::new(make());
        let all = Delta::Replace(backends(size).collect());
        pool.apply(Instant::ZERO, [all])
            .expect("each has an identity of its own");
        let mut balancer = pool.balancer(0);
        let mut key = 0_u64;
        group.bench_function(BenchmarkId::new(name, size), |b| {
            b.iter(|| {
                key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let lease = balancer.acquire(Instant::ZERO, &Pick::keyed(key));
                let lease = black_box(lease).expect("all are up");
                lease.finish(Instant::ZERO, Outcome::Ok);
            });
        });
    }
}

/// Building the plan of a pool whose configuration has changed.
fn plan<S: Scheduler>(c: &mut Criterion, name: &str, make: impl Fn() -> S) {
    let mut group = c.benchmark_group("plan");
    group.sample_size(10);
    for size in SIZES {
        let tier = Tier::of(backends(size));
        group.bench_function(BenchmarkId::new(name, size), |b| {
            b.iter(|| black_box(make().plan(&tier, None)));
        });
    }
}

fn all(c: &mut Criterion) {
    every_scheduler!(c, pick);
    every_scheduler!(c, acquire_and_finish);
    every_scheduler!(c, plan);
}

criterion_group!(benches, all);
criterion_main!(benches);
