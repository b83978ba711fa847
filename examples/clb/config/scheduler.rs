//! `scheduler = "…"` and `[pool.options]`: which backend takes a session.

use std::time::Duration;

use lbcore::schedule::Maglev;

use super::section::{Section, one_of};
use super::suggest::did_you_mean;
use super::{DAY, MILLISECOND};

/// A scheduler by its name, and what was said of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scheduler {
    /// One of [`NAMES`].
    pub(crate) name: &'static str,
    /// Its options; those that it does not take are `None`.
    pub(crate) options: Options,
}

/// The options of all schedulers; which of them takes which is in [`OPTIONS`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// How soon old latencies are forgotten.
    pub(crate) decay: Option<Duration>,
    /// How many backends are compared for a session, 2..=16.
    pub(crate) draws: Option<u8>,
    /// How much a backend may have, in percent of its share, 100..=1000.
    pub(crate) factor: Option<u32>,
    /// About how many points a ring has at most.
    pub(crate) most_points: Option<u32>,
    /// Backends with more requests in flight than this share of the others are hot, 0 to 1.
    pub(crate) quantile: Option<f64>,
    /// The table has 2 to this power rows, 1..=24.
    pub(crate) row_bits: Option<u8>,
    /// Nodes with the same seed place alike.
    pub(crate) seed: Option<u64>,
    /// Slots of the table, a prime up to 2^24.
    pub(crate) table_size: Option<u32>,
}

/// The scheduler of a pool, and its options.
pub(super) fn read(section: &mut Section<'_>) -> Option<Scheduler> {
    let expected = one_of(NAMES);
    section.require("scheduler", &expected);
    let name = section.text_as("scheduler", &expected, |text| {
        NAMES.into_iter().find(|name| *name == text).ok_or_else(|| {
            let meant = did_you_mean(text, NAMES);
            format!("unknown scheduler {text:?}, expected {expected}{meant}")
        })
    });
    let options = section.table("options", |section| options(section, name));
    Some(Scheduler {
        name: name?,
        options: options.unwrap_or_default(),
    })
}

/// All options, each of which must be one that the scheduler takes.
fn options(section: &mut Section<'_>, name: Option<&str>) -> Options {
    let options = Options {
        decay: section.span("decay", MILLISECOND..=DAY),
        draws: section.integer("draws", 2..=16),
        factor: section.integer("factor", 100..=1_000),
        most_points: section.integer("most_points", 1..=POINTS_MOST),
        quantile: section.number("quantile", 0.0..=1.0),
        row_bits: section.integer("row_bits", 1..=24),
        seed: section.integer("seed", 0..=u64::MAX >> 1),
        table_size: section.integer("table_size", 2..=Maglev::LARGEST),
    };
    let wrong = options
        .table_size
        .map(|slots| Maglev::default().table_size(slots));
    if let Some(Err(error)) = wrong {
        section.wrong("table_size", error.to_string());
    }
    for (key, takers) in OPTIONS {
        let misplaced = name.filter(|name| section.has(key) && !takers.contains(name));
        if let Some(name) = misplaced {
            let takers = takers.join(", ");
            section.wrong(
                key,
                format!("{name} has no such option; it is for {takers}"),
            );
        }
    }
    options
}

/// Every scheduler.
pub(crate) const NAMES: [&str; 18] = [
    "round-robin",
    "weighted-round-robin",
    "least-connections",
    "weighted-least-connections",
    "shortest-expected-delay",
    "never-queue",
    "random",
    "weighted-random",
    "power-of-two",
    "peak-ewma",
    "prequal",
    "maglev",
    "ketama",
    "rendezvous",
    "bounded-load",
    "weighted-failover",
    "overflow",
    "locality-least-connections",
];

/// Each option, and the schedulers that take it.
const OPTIONS: [(&str, &[&str]); 8] = [
    ("decay", &["peak-ewma"]),
    ("draws", &["prequal"]),
    ("factor", &["bounded-load"]),
    ("most_points", &["ketama"]),
    ("quantile", &["prequal"]),
    ("row_bits", &["rendezvous"]),
    ("seed", &["maglev", "rendezvous", "bounded-load"]),
    ("table_size", &["maglev", "bounded-load"]),
];

/// A point takes 8 bytes or more: 128 MiB for a ring.
const POINTS_MOST: u32 = 1 << 24;
