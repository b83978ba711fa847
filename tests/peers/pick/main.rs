//! Nanoseconds and allocations a pick: ours, pingora's and tower's, in one run.
//!
//! ```sh
//! cargo bench --manifest-path tests/peers/Cargo.toml
//! cargo bench --manifest-path tests/peers/Cargo.toml -- --at-least 10 --scaling-at-least 1.8
//! ```
//!
//! Every subject holds the same backends. A pick is all that a proxy does to send one request and
//! to say that it ended: `acquire` and `finish` of ours; `select` of pingora, which counts
//! nothing; `poll_ready`, `call` and the response of tower. The subjects take turns, and the
//! medians are compared. Ours end in how many times as fast they are as pingora's scheduler of the
//! same name. With `--at-least`, the bench fails if one of those at the most backends is less than
//! that; with `--scaling-at-least`, if two workers on one pool do less than so many times the work
//! of one.

mod allocations;
mod ours;
mod peers;
mod scaling;

use std::alloc::System;
use std::process::ExitCode;
use std::time::Instant;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often each subject has its turn.
const ROUNDS: usize = 9;

/// About how long a turn lasts.
const TURN_NANOS: u128 = 50_000_000;

/// Something that picks.
struct Subject {
    name: String,
    backends: usize,
    /// The subject whose time is compared with this one's.
    same_as: Option<String>,
    /// Picks that many times.
    work: Box<dyn FnMut(u64)>,
}

/// What its turns have shown.
struct Figures {
    nanos: Vec<f64>,
    allocations: f64,
    picks: u64,
}

/// How many backends the subjects have, the most last.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn main() -> ExitCode {
    println!("ns a pick (lowest, median, highest of {ROUNDS} turns), allocations a pick\n");
    let [.., worst] = SIZES.map(compare);
    println!("{worst:.1} times as fast as pingora at the least, with the most backends");
    let scaling = scaling::of_two(SIZES[1]);
    println!("{scaling:.2} times the sessions by two workers on one pool");
    let enough = worst >= limit("--at-least") && scaling >= limit("--scaling-at-least");
    if enough {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The number behind `flag`; 0 without it.
fn limit(flag: &str) -> f64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    arguments.next().map_or(0.0, |_| {
        let number = arguments.next().and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("{flag} wants a number"))
    })
}

/// Measures all subjects; the least of the ratios to pingora.
fn compare(backends: usize) -> f64 {
    let mut subjects = peers::all(backends);
    subjects.extend(ours::all(backends));
    let mut figures: Vec<_> = subjects.iter_mut().map(Figures::calibrate).collect();
    for _ in 0..ROUNDS {
        for (subject, figures) in subjects.iter_mut().zip(&mut figures) {
            figures.turn(subject);
        }
    }
    let medians: Vec<f64> = figures.iter().map(Figures::median).collect();
    let median_of = |name: &String| {
        let mut named = subjects.iter().zip(&medians);
        named.find_map(|(subject, &median)| (subject.name == *name).then_some(median))
    };
    let mut least = f64::INFINITY;
    for ((subject, figures), median) in subjects.iter().zip(&figures).zip(&medians) {
        let peer = subject.same_as.as_ref().and_then(median_of);
        let ratio = peer.map(|peer| peer / median);
        least = least.min(ratio.unwrap_or(f64::INFINITY));
        figures.print(subject, ratio);
    }
    println!();
    least
}

impl Figures {
    /// Finds how many picks fill a turn, and leaves caches and lazily built state warm.
    fn calibrate(subject: &mut Subject) -> Self {
        let mut picks = 64;
        loop {
            let start = Instant::now();
            (subject.work)(picks);
            let nanos = start.elapsed().as_nanos();
            if nanos * 4 > TURN_NANOS {
                break;
            }
            picks *= 2;
        }
        Self {
            nanos: Vec::with_capacity(ROUNDS),
            allocations: 0.0,
            picks,
        }
    }

    fn turn(&mut self, subject: &mut Subject) {
        let before = allocations::so_far();
        let start = Instant::now();
        (subject.work)(self.picks);
        let nanos = start.elapsed().as_nanos();
        self.allocations = (allocations::so_far() - before) as f64 / self.picks as f64;
        self.nanos.push(nanos as f64 / self.picks as f64);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut nanos = self.nanos.clone();
        nanos.sort_by(f64::total_cmp);
        nanos
    }

    fn median(&self) -> f64 {
        self.sorted()[ROUNDS / 2]
    }

    fn print(&self, subject: &Subject, ratio: Option<f64>) {
        let nanos = self.sorted();
        println!(
            "{:>6} backends  {:<34} {:>9.1} {:>9.1} {:>9.1} ns  {:>6.2} allocations{}",
            subject.backends,
            subject.name,
            nanos[0],
            nanos[ROUNDS / 2],
            nanos[ROUNDS - 1],
            self.allocations,
            ratio.map_or_else(String::new, |ratio| format!("  {ratio:.1} x pingora")),
        );
    }
}
