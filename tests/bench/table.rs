//! Turns, medians and ratios.

use std::fmt;

use harness::process::Process;

use crate::contender::Contender;
use crate::options::Options;

/// What one turn of one contender has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// What one unit of work costs the proxy; less is better.
    pub(crate) cost: f64,
    /// Units a second.
    pub(crate) rate: f64,
    /// Median latency in microseconds; zero if none was taken.
    pub(crate) p50: f64,
    /// The latency, in microseconds, that one in a hundred passes.
    pub(crate) p99: f64,
}

/// The figures of all contenders in one scene.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    unit: &'static str,
    rows: Vec<Row>,
    /// Those that ought to have a row and could not take part.
    absent: Vec<&'static str>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    samples: Vec<Sample>,
    peak: u64,
}

/// The one that the ratios are of.
const OURS: &str = "clb";

impl Table {
    /// Gives each contender its turns, one after the other, round after round.
    pub(crate) fn measure(
        (title, unit): (&'static str, &'static str),
        options: &Options,
        contenders: &[Contender],
        mut turn: impl FnMut(&Contender) -> Sample,
    ) -> Self {
        // The first turn of all fills caches and opens sessions, and is not counted.
        for contender in contenders {
            turn(contender);
        }
        let mut rows: Vec<_> = contenders.iter().map(Row::new).collect();
        for _ in 0..options.rounds {
            for (contender, row) in contenders.iter().zip(&mut rows) {
                row.samples.push(turn(contender));
                row.peak = peak(&contender.process);
            }
        }
        Self {
            title,
            unit,
            rows,
            absent: Vec::new(),
        }
    }

    /// Gives each contender one turn, without one to warm up.
    pub(crate) fn once(
        (title, unit): (&'static str, &'static str),
        contenders: &[Contender],
        turn: impl Fn(&Contender) -> Sample,
    ) -> Self {
        let row = |contender: &Contender| {
            let mut row = Row::new(contender);
            row.samples.push(turn(contender));
            row.peak = peak(&contender.process);
            row
        };
        let rows = contenders.iter().map(row).collect();
        Self {
            title,
            unit,
            rows,
            absent: Vec::new(),
        }
    }

    /// Names those that ought to have a row and could not take part: no limit on them is kept.
    pub(crate) fn without(mut self, absent: &[&'static str]) -> Self {
        self.absent.extend(absent);
        self
    }

    /// Whether our cost itself is at most `limit`; says so if not.
    pub(crate) fn stays_below(&self, limit: f64) -> bool {
        let ours = self.row(OURS).map(|row| row.median(|sample| sample.cost));
        let within = ours.is_some_and(|cost| cost <= limit);
        let word = if within { "kept" } else { "NOT KEPT" };
        println!("{}: at most {limit} {}: {word}", self.title, self.unit);
        within
    }

    /// Whether our cost is within each limit on a contender of this scene; says which is not.
    pub(crate) fn keeps(&self, at_most: &[(String, f64)]) -> bool {
        at_most.iter().fold(true, |kept, (name, limit)| {
            let peer = self.row(name);
            if peer.is_none() && !self.absent.iter().any(|absent| absent == name) {
                return kept;
            }
            let within = peer.and_then(|peer| self.ratio(peer));
            let within = within.is_some_and(|ratio| ratio <= *limit);
            let word = if within { "kept" } else { "NOT KEPT" };
            println!("{}: at most {limit} of {name}: {word}", self.title);
            kept & within
        })
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Our cost, that of `peer` being 1: the median over the rounds of the ratio in each, as the
    /// two turns of one round meet the same host.
    fn ratio(&self, peer: &Row) -> Option<f64> {
        let ours = self.row(OURS)?;
        let pairs = ours.samples.iter().zip(&peer.samples);
        Some(median(pairs.map(|(ours, theirs)| ours.cost / theirs.cost)))
    }
}

impl Row {
    fn new(contender: &Contender) -> Self {
        Self {
            name: contender.name,
            samples: Vec::new(),
            peak: 0,
        }
    }

    fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(figure))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.title)?;
        writeln!(
            f,
            "{:<9} {:>12} {:>19} {:>11} {:>9} {:>9} {:>9} {:>8}",
            "", self.unit, "lowest - highest", "units/s", "p50 us", "p99 us", "RSS KiB", "clb/it"
        )?;
        for row in &self.rows {
            let costs = row.samples.iter().map(|sample| sample.cost);
            let lowest = costs.clone().fold(f64::INFINITY, f64::min);
            let highest = costs.fold(0.0, f64::max);
            writeln!(
                f,
                "{:<9} {:>12.3} {:>9.3} {:>9.3} {:>11.0} {:>9.0} {:>9.0} {:>9} {:>8}",
                row.name,
                row.median(|sample| sample.cost),
                lowest,
                highest,
                row.median(|sample| sample.rate),
                row.median(|sample| sample.p50),
                row.median(|sample| sample.p99),
                row.peak / 1024,
                self.ratio(row)
                    .map_or_else(String::new, |ratio| format!("{ratio:.3}")),
            )?;
        }
        Ok(())
    }
}

/// The most memory that a process ever had, in bytes.
fn peak(process: &Process) -> u64 {
    process.memory().peak
}

/// The middle one, or the higher of the two in the middle; zero of nothing.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentile(&mut values.collect::<Vec<_>>(), 50)
}

/// The value that `percent` of all do not pass; zero of nothing. Sorts.
pub(crate) fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = values.len() * percent / 100;
    values.get(place).copied().unwrap_or(0.0)
}
