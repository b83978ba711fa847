//! Requests in flight first, latency second: the hot and the cold.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::alias::AliasTable;
use crate::atomic::{AtomicU64, Ordering};
use crate::rng::{Rng, Xoshiro};
use crate::schedule::{Candidates, Load, Scheduler, Start, Tier};
use crate::time::nanos;
use crate::{BackendId, Instant};

/// Draws a few backends, sets aside the hot ones, and takes the cold one with the lowest latency.
///
/// Hot is a backend with more requests in flight than most: above a quantile of what was seen.
/// If all drawn are hot, the one with the fewest requests takes the session. Requests in flight
/// tell of load before latency does.
///
/// What a backend says of itself arrives through a [`ProbeBoard`]; a report older than
/// [`Prequal::STALE`], or none, is replaced by the worker's own sessions and their latency. Each
/// session given out since a report counts on top of it.
///
/// Cost: O(draws), by default 5.
///
/// Source: Wydrowski et al., "Load is not what you should balance" (NSDI 2024).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::schedule::Prequal;
/// use lbcore::{Backend, BackendId, Instant, Pick, Pool};
///
/// let prequal = Prequal::default();
/// let board = prequal.board();
/// let pool = Pool::new(prequal)
///     .backend(Backend::new("a", "10.0.0.1:80".parse()?))
///     .backend(Backend::new("b", "10.0.0.2:80".parse()?));
///
/// // Whoever probes the backends writes what they answer on the board.
/// let now = Instant::ZERO;
/// board.report(now, BackendId::of_name("a"), 90, Duration::from_millis(40));
/// board.report(now, BackendId::of_name("b"), 2, Duration::from_millis(4));
/// let lease = pool.balancer(0).acquire(now, &Pick::default()).unwrap();
/// assert_eq!(lease.backend(), BackendId::of_name("b"));
/// # Ok::<(), lbcore::backend::AddressError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Prequal {
    board: ProbeBoard,
    draws: usize,
    quantile: f64,
}

impl Default for Prequal {
    fn default() -> Self {
        // The quantile is the paper's 2^-0.25; five draws stand for its pool of probes.
        Self {
            board: ProbeBoard::default(),
            draws: 5,
            quantile: 0.84,
        }
    }
}

impl Prequal {
    /// A report older than this is not believed: 1 s, as in the paper.
    pub const STALE: Duration = Duration::from_secs(1);

    /// The board on which probes of these backends are reported.
    #[must_use]
    pub fn board(&self) -> ProbeBoard {
        self.board.clone()
    }

    /// How many backends are compared for a session. 2..=16, default 5; taken into that range.
    #[must_use]
    pub fn draws(mut self, draws: usize) -> Self {
        self.draws = draws.clamp(2, 16);
        self
    }

    /// The quantile of requests in flight above which a backend is hot. 0..=1, default 0.84; taken
    /// into that range. At 0 all are hot: the fewest requests decide. At 1 latency decides.
    #[must_use]
    pub fn quantile(mut self, quantile: f64) -> Self {
        self.quantile = if quantile.is_nan() {
            1.0
        } else {
            quantile.clamp(0.0, 1.0)
        };
        self
    }
}

/// Where probes of backends are reported, from any thread.
#[derive(Clone, Debug, Default)]
pub struct ProbeBoard {
    /// Only those that a plan asked for: reports of strangers are dropped.
    cells: Arc<Mutex<HashMap<BackendId, Arc<Report>>>>,
}

/// The last report of one backend. The three are stored one by one: a reader may see a report half
/// written, which is one wrong pick at worst.
#[derive(Debug, Default)]
struct Report {
    /// Nanoseconds, plus one; 0 is never.
    at: AtomicU64,
    in_flight: AtomicU64,
    latency: AtomicU64,
}

impl ProbeBoard {
    /// A backend says, at `now`, how many requests it has and how long one takes.
    ///
    /// Dropped if no pool with this scheduler has the backend. Takes a lock that no pick takes.
    pub fn report(&self, now: Instant, backend: BackendId, in_flight: u32, latency: Duration) {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(&backend) {
            cell.in_flight.store(in_flight.into(), Ordering::Relaxed);
            cell.latency.store(nanos(latency), Ordering::Relaxed);
            cell.at
                .store(now.as_nanos().saturating_add(1), Ordering::Release);
        }
    }

    /// The cell of each backend of `tier`; cells that nobody holds any more are let go.
    fn cells_of(&self, tier: &Tier) -> Box<[Arc<Report>]> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = tier
            .candidates()
            .iter()
            .map(|candidate| candidate.backend.id);
        let own = ids
            .map(|id| Arc::clone(cells.entry(id).or_default()))
            .collect();
        cells.retain(|_, cell| Arc::strong_count(cell) > 1);
        own
    }
}

/// What all workers share: where to draw, and where each backend's reports are.
#[derive(Debug)]
pub struct Boards {
    table: AliasTable,
    reports: Box<[Arc<Report>]>,
}

/// What one worker knows.
#[derive(Debug)]
pub struct Knowledge {
    own: Box<[Own]>,
    /// Requests in flight at the quantile, learnt from what is drawn.
    hot: f64,
    rng: Xoshiro,
}

#[derive(Clone, Copy, Debug, Default)]
struct Own {
    in_flight: u32,
    /// Nanoseconds, of the last sample.
    latency: u64,
    /// Which report the next count belongs to.
    report: u64,
    /// Sessions given out since that report.
    since: u32,
}

impl Own {
    /// Requests in flight and latency, as well as they are known.
    fn reading(&self, now: Instant, report: &Report) -> (f64, u64) {
        let at = report.at.load(Ordering::Acquire);
        let fresh = at > 0 && now.since(Instant::from_nanos(at - 1)) <= Prequal::STALE;
        if !fresh {
            return (self.in_flight.into(), self.latency);
        }
        let since = if self.report == at { self.since } else { 0 };
        let in_flight = report.in_flight.load(Ordering::Relaxed);
        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
        (
            f64::from(in_flight) + f64::from(since),
            report.latency.load(Ordering::Relaxed),
        )
    }

    fn count(&mut self, report: &Report) {
        let at = report.at.load(Ordering::Relaxed);
        self.since = if self.report == at {
            self.since.saturating_add(1)
        } else {
            1
        };
        self.report = at;
    }
}

/// How far one reading moves the learnt quantile, in requests and as a part of it.
const STEP: (f64, f64) = (0.1, 0.02);

impl Scheduler for Prequal {
    type Plan = Boards;
    type Cursor = Knowledge;

    fn observes(&self) -> bool {
        true
    }

    fn plan(&self, tier: &Tier, _previous: Option<&Boards>) -> Boards {
        let table = AliasTable::new(tier, |share| share);
        Boards {
            table,
            reports: self.board.cells_of(tier),
        }
    }

    fn cursor(&self, _: &Boards, tier: &Tier, start: Start<'_, Knowledge>) -> Knowledge {
        let own = (0..tier.len()).map(|position| {
            let old = start.previous.as_ref().zip(start.before(position));
            let old = old
                .and_then(|(old, at)| old.own.get(at))
                .copied()
                .unwrap_or_default();
            let load = start.load(position);
            let latency = load.latency.map_or(old.latency, nanos);
            Own {
                in_flight: load.in_flight,
                latency,
                ..old
            }
        });
        let own = own.collect();
        let hot = start.previous.as_ref().map_or(0.0, |old| old.hot);
        let rng = start
            .previous
            .map_or_else(|| Xoshiro::new(start.seed), |old| old.rng);
        Knowledge { own, hot, rng }
    }

    fn pick(
        &self,
        boards: &Boards,
        cursor: &mut Knowledge,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        let Knowledge { own, hot, rng } = cursor;
        let mut best: Option<(Rank, usize)> = None;
        for _ in 0..self.draws {
            let position = boards.table.draw(rng)?;
            let (Some(own), Some(report)) = (own.get(position), boards.reports.get(position))
            else {
                continue;
            };
            if !candidates.allows(position) {
                continue;
            }
            let (in_flight, latency) = own.reading(candidates.now, report);
            let rank = Rank::new(in_flight, latency, *hot);
            let toward = if in_flight > *hot {
                self.quantile
            } else {
                self.quantile - 1.0
            };
            *hot = (*hot + toward * (STEP.0 + STEP.1 * *hot)).max(0.0);
            if best.is_none_or(|(least, _)| rank.is_before(&least)) {
                best = Some((rank, position));
            }
        }
        let position = best.map(|(_, position)| position).or_else(|| {
            let start = rng.below(candidates.tier().len() as u64);
            candidates.first_from(usize::try_from(start).unwrap_or(0))
        })?;
        if let (Some(own), Some(report)) = (own.get_mut(position), boards.reports.get(position)) {
            own.count(report);
        }
        Some(position)
    }

    fn observe(&self, _: &Boards, cursor: &mut Knowledge, position: usize, load: &Load) {
        if let Some(own) = cursor.own.get_mut(position) {
            own.in_flight = load.in_flight;
            own.latency = load.latency.map_or(own.latency, nanos);
        }
    }
}

/// The order of the rule: cold before hot, the cold by latency, the hot by requests.
#[derive(Clone, Copy, Debug)]
struct Rank {
    is_hot: bool,
    in_flight: f64,
    latency: u64,
}

impl Rank {
    fn new(in_flight: f64, latency: u64, hot: f64) -> Self {
        Self {
            is_hot: in_flight > hot,
            in_flight,
            latency,
        }
    }

    fn is_before(&self, other: &Self) -> bool {
        match (self.is_hot, other.is_hot) {
            (false, true) => true,
            (true, false) => false,
            (false, false) => (self.latency, self.in_flight) < (other.latency, other.in_flight),
            (true, true) => (self.in_flight, self.latency) < (other.in_flight, other.latency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cold_goes_before_hot_then_latency_or_requests_decide() {
        let rank = |in_flight, latency| Rank::new(in_flight, latency, 10.0);
        assert!(rank(10.0, 900).is_before(&rank(11.0, 1)));
        assert!(!rank(11.0, 1).is_before(&rank(10.0, 900)));
        assert!(rank(9.0, 1).is_before(&rank(1.0, 2)));
        assert!(rank(11.0, 2).is_before(&rank(12.0, 1)));
        assert!(!rank(12.0, 1).is_before(&rank(11.0, 2)));
    }

    #[test]
    fn a_report_is_believed_for_a_second_and_sessions_since_count_on_top() {
        let (mut own, report) = (
            Own {
                in_flight: 3,
                latency: 7,
                ..Own::default()
            },
            Report::default(),
        );
        let now = Instant::from_nanos(50);
        assert_eq!(own.reading(now, &report), (3.0, 7));
        report.at.store(now.as_nanos() + 1, Ordering::Relaxed);
        report.in_flight.store(20, Ordering::Relaxed);
        report.latency.store(99, Ordering::Relaxed);
        assert_eq!(own.reading(now, &report), (20.0, 99));
        own.count(&report);
        own.count(&report);
        assert_eq!(own.reading(now + Prequal::STALE, &report), (22.0, 99));
        let late = now + Prequal::STALE + Duration::from_nanos(1);
        assert_eq!(own.reading(late, &report), (3.0, 7));
        report.at.store(60, Ordering::Relaxed);
        assert_eq!(own.reading(now, &report), (20.0, 99));
    }
}
