//! The session table beside the standard library's map, at a million entries and at ten.
//!
//! Each figure is the time of one operation, or of the 32 of a burst. The maps hold the same flows as the same compact
//! words: `map-sip13` under the same keyed hash, `map-mix` under a hash of three multiplications
//! that any client could aim at. Run it with
//! `cargo bench -p lbcore --bench session`, and with `-- 10M` or another part of a name for less.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Barrier;
use std::time::{Duration, Instant as Wall};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::rng::{Rng, Xoshiro, mix};
use lbcore::session::{Binding, Limits, SessionConfig, SessionTable, State, Table};
use lbcore::{Instant, Ticket};

const BATCH: usize = 32;

fn flow(n: u64) -> FlowKey {
    // A bijection of 32 bits, so that flows differ and follow no order.
    let bits = u32::try_from(n).unwrap_or(0).wrapping_mul(0x9e37_79b1);
    let source = SocketAddr::from((Ipv4Addr::from_bits(bits), 40_000));
    FlowKey::new(Protocol::Tcp, source, ([203, 0, 113, 1], 443).into())
}

/// What a map would hold of a flow: 16 bytes.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Words([u64; 2]);

impl Words {
    fn of(key: &FlowKey) -> Self {
        let (SocketAddr::V4(source), SocketAddr::V4(destination)) = (key.source, key.destination)
        else {
            return Self([0; 2]);
        };
        let ports = u64::from(source.port()) << 16 | u64::from(destination.port());
        let addresses = [source, destination].map(|end| u64::from(end.ip().to_bits()));
        Self([
            addresses[0] << 32 | addresses[1],
            (key.protocol as u64) << 32 | ports,
        ])
    }
}

impl Hash for Words {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
        state.write_u64(self.0[1]);
    }
}

#[derive(Clone, Copy)]
enum Hashing {
    Mix,
    Sip13(HashKey),
}

struct WordHasher {
    hashing: Hashing,
    words: [u64; 2],
}

impl BuildHasher for Hashing {
    type Hasher = WordHasher;

    fn build_hasher(&self) -> WordHasher {
        WordHasher {
            hashing: *self,
            words: [0; 2],
        }
    }
}

impl Hasher for WordHasher {
    #[inline]
    fn finish(&self) -> u64 {
        match &self.hashing {
            Hashing::Mix => mix(self.words[0] ^ self.words[1].wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            Hashing::Sip13(key) => key.sip13_words(self.words),
        }
    }

    fn write(&mut self, _bytes: &[u8]) {}

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.words = [self.words[1], word];
    }
}

type Map = HashMap<Words, u64, Hashing>;

fn table(sessions: usize) -> Table {
    let mut config = SessionConfig::default();
    config.v4 = Limits::of(sessions);
    config.v6 = Limits::of(0);
    Table::new(config, HashKey::from_seed(1)).expect("the limits are in range")
}

fn binding(n: u64) -> Binding {
    Ticket::from_bits(n).into()
}

fn full_table(sessions: usize) -> Table {
    let mut table = table(sessions);
    for n in 0..sessions as u64 {
        let put = table.insert(Instant::ZERO, &flow(n), State::Established, binding(n));
        assert!(put.is_ok());
    }
    table
}

fn full_map(sessions: usize, hashing: Hashing) -> Map {
    let mut map = Map::with_capacity_and_hasher(sessions, hashing);
    for n in 0..sessions as u64 {
        map.insert(Words::of(&flow(n)), n);
    }
    map
}

/// Flows that are in a table of `sessions`, each as likely as any other: so every part of the table
/// is visited, and the list of flows takes no cache from it.
struct Asked {
    rng: Xoshiro,
    sessions: u64,
}

impl Asked {
    fn new(sessions: usize, seed: u64) -> Self {
        Self {
            rng: Xoshiro::new(seed),
            sessions: sessions as u64,
        }
    }

    #[inline]
    fn one(&mut self) -> FlowKey {
        flow(self.rng.below(self.sessions))
    }

    #[inline]
    fn burst(&mut self) -> [FlowKey; BATCH] {
        std::array::from_fn(|_| self.one())
    }
}

fn look_up(c: &mut Criterion) {
    for (name, sessions) in [("1M", 1_000_000), ("10M", 10_000_000)] {
        let mut asked = Asked::new(sessions, 7);
        let mut group = c.benchmark_group(format!("lookup/{name}"));
        group.throughput(Throughput::Elements(1)).sample_size(20);
        let hashings = [
            ("map-mix", Hashing::Mix),
            ("map-sip13", Hashing::Sip13(HashKey::from_seed(1))),
        ];
        for (name, hashing) in hashings {
            let map = full_map(sessions, hashing);
            group.bench_function(name, |b| {
                b.iter(|| map.get(&Words::of(&asked.one())).copied());
            });
        }
        let mut table = full_table(sessions);
        group.bench_function("table", |b| b.iter(|| table.lookup(&asked.one())));
        let mut found = [None; BATCH];
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function("table-batch-of-32", |b| {
            b.iter(|| {
                table.lookup_batch(&asked.burst(), &mut found);
                black_box(&found);
            });
        });
        group.bench_function("table-batch-of-32-and-touch", |b| {
            let mut now = Instant::ZERO;
            b.iter(|| {
                now += Duration::from_micros(2);
                table.lookup_batch(&asked.burst(), &mut found);
                for id in found.into_iter().flatten() {
                    black_box(table.touch(now, id, |state| state));
                }
            });
        });
        group.bench_function("asking-32", |b| b.iter(|| black_box(asked.burst())));
        group.finish();
    }
}

fn insert_and_end(c: &mut Criterion) {
    const SESSIONS: usize = 1_000_000;
    const EACH: usize = 10_000;
    let mut group = c.benchmark_group("churn/1M");
    group
        .throughput(Throughput::Elements(EACH as u64))
        .sample_size(20);

    let mut map = full_map(SESSIONS, Hashing::Sip13(HashKey::from_seed(1)));
    let mut next = 0;
    group.bench_function("map-sip13-remove-and-insert", |b| {
        b.iter(|| {
            for n in next..next + EACH as u64 {
                map.remove(&Words::of(&flow(n)));
                map.insert(Words::of(&flow(n + SESSIONS as u64)), n);
            }
            next += EACH as u64;
        });
    });

    let mut table = full_table(SESSIONS);
    let mut next = 0;
    group.bench_function("table-remove-and-insert", |b| {
        b.iter(|| {
            for n in next..next + EACH as u64 {
                if let Some(id) = table.lookup(&flow(n)) {
                    table.remove(Instant::ZERO, id);
                }
                let new = flow(n + SESSIONS as u64);
                let put = table.insert(Instant::ZERO, &new, State::Established, binding(n));
                black_box(put.is_ok());
            }
            next += EACH as u64;
        });
    });

    // A flood: each SYN takes the place of the oldest embryonic session.
    let mut table = full_table(SESSIONS / 2);
    let mut next = SESSIONS as u64;
    group.bench_function("table-syn-flood", |b| {
        b.iter(|| {
            for n in next..next + EACH as u64 {
                let put = table.insert(Instant::ZERO, &flow(n), State::SynSent, binding(n));
                black_box(put.is_ok());
                black_box(table.poll_expired());
            }
            next += EACH as u64;
        });
    });

    let late = Instant::ZERO + Duration::from_secs(1_000);
    group.bench_function("table-expire", |b| {
        b.iter_batched_ref(
            || full_table(EACH),
            |table| {
                table.handle_timeout(late, EACH);
                while let Some(expired) = table.poll_expired() {
                    let _ = black_box(expired);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Time for one worker and for two, each with a table of a million sessions: touches a second.
fn workers(c: &mut Criterion) {
    let mut group = c.benchmark_group("workers/1M");
    group.sample_size(10);
    for workers in [1, 2_u64] {
        let mut own: Vec<_> = (0..workers)
            .map(|worker| (full_table(1_000_000), Asked::new(1_000_000, worker)))
            .collect();
        group.throughput(Throughput::Elements(workers));
        group.bench_function(format!("{workers}"), |b| {
            b.iter_custom(|times| together(&mut own, times));
        });
    }
    group.finish();
}

/// Each worker looks up and touches `times` sessions; the time of the slowest.
fn together(workers: &mut [(Table, Asked)], times: u64) -> Duration {
    let start = Barrier::new(workers.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|(table, asked)| scope.spawn(|| touch_all(table, asked, times, &start)))
            .collect();
        let spans = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_default());
        spans.max().unwrap_or_default()
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn touch_all(table: &mut Table, asked: &mut Asked, times: u64, start: &Barrier) -> Duration {
    let mut found = [None; BATCH];
    let bursts = usize::try_from(times).unwrap_or(usize::MAX).div_ceil(BATCH);
    start.wait();
    let began = Wall::now();
    for _ in 0..bursts {
        table.lookup_batch(&asked.burst(), &mut found);
        for id in found.into_iter().flatten() {
            black_box(table.touch(Instant::ZERO, id, |state| state));
        }
    }
    began.elapsed()
}

criterion_group!(benches, look_up, insert_and_end, workers);
criterion_main!(benches);
