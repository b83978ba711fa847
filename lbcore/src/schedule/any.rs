//! A scheduler chosen while the program runs.

use std::any::Any;
use std::fmt;

use super::{
    BoundedLoad, Candidates, Ketama, LeastConnections, Load, LocalityLeastConnections, Maglev,
    NeverQueue, Overflow, PeakEwma, PowerOfTwo, Prequal, Random, Rendezvous, RoundRobin, Scheduler,
    ShortestExpectedDelay, Start, Tier, WeightedFailover, WeightedRoundRobin,
};

/// Any scheduler, behind one type: for programs that read its name from a configuration.
///
/// Costs two indirect calls and two type checks a pick; where the scheduler is known, use its own
/// type instead.
///
/// # Examples
///
/// ```
/// use lbcore::schedule::{AnyScheduler, PeakEwma};
/// use lbcore::Pool;
///
/// let by_name = Pool::new(AnyScheduler::named("least-connections").unwrap());
/// let by_type = Pool::new(AnyScheduler::new(PeakEwma::default()));
/// assert!(AnyScheduler::named("no-such-thing").is_none());
/// # let _ = (by_name, by_type);
/// ```
pub struct AnyScheduler {
    inner: Box<dyn Erased>,
    observes: bool,
    places: bool,
}

/// A plan of some scheduler.
pub struct AnyPlan(Box<dyn Any + Send + Sync>);

/// A cursor of some scheduler.
pub struct AnyCursor(Box<dyn Any + Send>);

impl AnyScheduler {
    /// The names that [`named`](Self::named) knows.
    pub const NAMES: &[&str] = &[
        "bounded-load",
        "ketama",
        "least-connections",
        "locality-least-connections",
        "maglev",
        "never-queue",
        "overflow",
        "peak-ewma",
        "power-of-two",
        "prequal",
        "random",
        "rendezvous",
        "round-robin",
        "shortest-expected-delay",
        "weighted-failover",
        "weighted-least-connections",
        "weighted-random",
        "weighted-round-robin",
    ];

    /// `scheduler`, with its type forgotten.
    pub fn new(scheduler: impl Scheduler) -> Self {
        let (observes, places) = (scheduler.observes(), scheduler.places());
        Self {
            inner: Box::new(scheduler),
            observes,
            places,
        }
    }

    /// The scheduler of this name, with its default options; `None` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let scheduler = match name {
            "bounded-load" => Self::new(BoundedLoad::over(Maglev::default())),
            "ketama" => Self::new(Ketama::default()),
            "least-connections" => Self::new(LeastConnections::unweighted()),
            "locality-least-connections" => Self::new(LocalityLeastConnections),
            "maglev" => Self::new(Maglev::default()),
            "never-queue" => Self::new(NeverQueue),
            "overflow" => Self::new(Overflow),
            "peak-ewma" => Self::new(PeakEwma::default()),
            "power-of-two" => Self::new(PowerOfTwo),
            "prequal" => Self::new(Prequal::default()),
            "random" => Self::new(Random::unweighted()),
            "rendezvous" => Self::new(Rendezvous::default()),
            "round-robin" => Self::new(RoundRobin),
            "shortest-expected-delay" => Self::new(ShortestExpectedDelay),
            "weighted-failover" => Self::new(WeightedFailover),
            "weighted-least-connections" => Self::new(LeastConnections::weighted()),
            "weighted-random" => Self::new(Random::weighted()),
            "weighted-round-robin" => Self::new(WeightedRoundRobin),
            _ => return None,
        };
        Some(scheduler)
    }
}

impl Scheduler for AnyScheduler {
    type Plan = AnyPlan;
    type Cursor = AnyCursor;

    fn observes(&self) -> bool {
        self.observes
    }

    fn places(&self) -> bool {
        self.places
    }

    fn plan(&self, tier: &Tier, previous: Option<&AnyPlan>) -> AnyPlan {
        self.inner.plan(tier, previous)
    }

    fn cursor(&self, plan: &AnyPlan, tier: &Tier, start: Start<'_, AnyCursor>) -> AnyCursor {
        self.inner.cursor(plan, tier, start)
    }

    #[inline]
    fn pick(
        &self,
        plan: &AnyPlan,
        cursor: &mut AnyCursor,
        candidates: &Candidates<'_>,
    ) -> Option<usize> {
        self.inner.pick(plan, cursor, candidates)
    }

    #[inline]
    fn observe(&self, plan: &AnyPlan, cursor: &mut AnyCursor, position: usize, load: &Load) {
        self.inner.observe(plan, cursor, position, load);
    }
}

/// A scheduler whose plan and cursor are boxes.
///
/// A plan or cursor of another type than its own cannot come: it would mean that a pool has changed
/// its scheduler. It is treated as none.
trait Erased: fmt::Debug + Send + Sync {
    fn plan(&self, tier: &Tier, previous: Option<&AnyPlan>) -> AnyPlan;
    fn cursor(&self, plan: &AnyPlan, tier: &Tier, start: Start<'_, AnyCursor>) -> AnyCursor;
    fn pick(&self, plan: &AnyPlan, cursor: &mut AnyCursor, among: &Candidates<'_>)
    -> Option<usize>;
    fn observe(&self, plan: &AnyPlan, cursor: &mut AnyCursor, position: usize, load: &Load);
}

impl<S: Scheduler> Erased for S {
    fn plan(&self, tier: &Tier, previous: Option<&AnyPlan>) -> AnyPlan {
        let previous = previous.and_then(|plan| plan.0.downcast_ref());
        AnyPlan(Box::new(Scheduler::plan(self, tier, previous)))
    }

    fn cursor(&self, plan: &AnyPlan, tier: &Tier, start: Start<'_, AnyCursor>) -> AnyCursor {
        let own = |cursor: AnyCursor| cursor.0.downcast().ok().map(|cursor| *cursor);
        AnyCursor(match plan.0.downcast_ref() {
            Some(plan) => Box::new(Scheduler::cursor(self, plan, tier, start.map(own))),
            None => Box::new(()),
        })
    }

    fn pick(
        &self,
        plan: &AnyPlan,
        cursor: &mut AnyCursor,
        among: &Candidates<'_>,
    ) -> Option<usize> {
        let (plan, cursor) = (plan.0.downcast_ref()?, cursor.0.downcast_mut()?);
        Scheduler::pick(self, plan, cursor, among)
    }

    fn observe(&self, plan: &AnyPlan, cursor: &mut AnyCursor, position: usize, load: &Load) {
        if let (Some(plan), Some(cursor)) = (plan.0.downcast_ref(), cursor.0.downcast_mut()) {
            Scheduler::observe(self, plan, cursor, position, load);
        }
    }
}

impl fmt::Debug for AnyScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for AnyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyPlan(..)")
    }
}

impl fmt::Debug for AnyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyCursor(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_no_other() {
        assert!(AnyScheduler::NAMES.is_sorted());
        for name in AnyScheduler::NAMES {
            let scheduler = AnyScheduler::named(name).expect("a name from the list");
            let spelled = format!("{scheduler:?}");
            let main = name.split('-').next_back().unwrap();
            assert!(
                spelled.to_lowercase().contains(&main[..3]),
                "{name}: {spelled}"
            );
        }
        assert!(AnyScheduler::named("round_robin").is_none());
    }
}
