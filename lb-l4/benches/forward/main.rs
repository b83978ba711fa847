//! What a packet costs in the forwarder, in memory: by method and number of sessions, beside the
//! floor, which is one bare batch look-up.
//!
//! ```sh
//! cargo bench -p lb-l4 --bench forward -- check
//! cargo bench -p lb-l4 --bench forward -- 10M nat tunnel huge packets=4000000
//! ```
//!
//! TCP packets of 64 bytes of established sessions, visited at random in bursts of 32, one thread.
//! The time to write the packets is measured alone and taken off. Allocations of all that are
//! counted, and none is permitted. Subjects:
//!
//! | word | is |
//! |---|---|
//! | `nat`, `fullnat`, `dr`, `tunnel`, `gue` | packets of clients, by method (`tunnel` is IPIP) |
//! | `back` | answers of backends by NAT |
//! | `new` | new sessions a second |
//! | `storm` | how long bursts take while pools change and while sessions expire |
//! | `instructions` | with one method: nothing is timed, for callgrind to count |
//!
//! `1k`, `1M` and `10M` are numbers of sessions, `huge` and `small` the pages of the tables; of each
//! kind all are meant if none is said. `packets=N` are visited for a figure (8,000,000). With `check`
//! the exit status is 1 if a limit is missed. The least of many rounds is told, since a shared
//! machine disturbs some; of bursts in a storm others' work is still a part, unless the program runs
//! before all others (`chrt --fifo 1`). Instructions do not depend on anybody:
//!
//! ```sh
//! valgrind --tool=callgrind --toggle-collect='*counted_bursts*' \
//!     target/release/deps/forward-* instructions nat packets=32000
//! ```
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod fresh;
mod instructions;
mod steady;
mod storm;
mod world;

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use world::Subject;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Packets that are decided together.
const BURST: usize = 32;

/// A number of sessions, its name, and the nanoseconds that a packet may take then.
const SIZES: [(&str, u32, f64); 3] = [
    ("1k", 1_000, 60.0),
    ("1M", 1_000_000, 130.0),
    ("10M", 10_000_000, 150.0),
];

fn main() -> ExitCode {
    let said = Said::of(std::env::args().skip(1));
    let subjects = || Subject::ALL.into_iter();
    if said.says("instructions") {
        for subject in subjects().filter(|it| said.says(it.name())) {
            instructions::count(subject, said.packets);
        }
        return ExitCode::SUCCESS;
    }
    let mut kept = true;
    if said.wants_any(&Subject::ALL.map(Subject::name)) {
        println!("method    sessions pages      ns   limit   floor  ratio  allocations");
    }
    for (name, sessions, limit) in SIZES {
        if !said.wants(name, &SIZES.map(|(name, ..)| name)) {
            continue;
        }
        for (pages, huge) in [("small", false), ("huge", true)] {
            // A table of a thousand sessions is smaller than one huge page.
            if !said.wants(pages, &["small", "huge"]) || (huge && sessions < 100_000) {
                continue;
            }
            for subject in subjects().filter(|it| said.wants(it.name(), &SUBJECTS)) {
                let label = format!("{:8} {name:>9} {pages:5}", subject.name());
                kept &= steady::run(&label, subject, (sessions, huge), (said.packets, limit));
            }
        }
    }
    if said.wants("new", &SUBJECTS) {
        kept &= fresh::run();
    }
    if said.wants("storm", &SUBJECTS) {
        kept &= storm::run();
    }
    match said.says("check") && !kept {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// What can be measured.
const SUBJECTS: [&str; 8] = [
    "nat", "back", "fullnat", "dr", "tunnel", "gue", "new", "storm",
];

/// The words of the command line.
struct Said {
    words: Vec<String>,
    packets: usize,
}

impl Said {
    fn of(words: impl Iterator<Item = String>) -> Self {
        let words: Vec<_> = words.filter(|it| it != "--bench").collect();
        let number = |it: &String| it.strip_prefix("packets=")?.parse().ok();
        let packets = words.iter().find_map(number).unwrap_or(8_000_000);
        Self { words, packets }
    }

    fn says(&self, word: &str) -> bool {
        self.words.iter().any(|it| it == word)
    }

    /// Whether `word` is said, or none of its kind.
    fn wants(&self, word: &str, kind: &[&str]) -> bool {
        self.says(word) || !kind.iter().any(|it| self.says(it))
    }

    fn wants_any(&self, kind: &[&str]) -> bool {
        kind.iter().any(|it| self.wants(it, &SUBJECTS))
    }
}

/// The time that this thread has run: others on the machine do not count, as far as they can be kept
/// out.
fn clock() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it is not negative")
}
