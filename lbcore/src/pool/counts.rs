//! A backend's counters as plain numbers.

use crate::lease::Outcome;

/// One backend's counters, of one worker or folded over all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) acquired: u64,
    pub(crate) outcomes: [u64; Outcome::KINDS],
    pub(crate) charged: u64,
}

impl Counts {
    pub(crate) fn finished(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Sessions whose backend did its work.
    pub(crate) fn succeeded(&self) -> u64 {
        let of = |outcome: Outcome| self.outcomes.get(outcome.kind()).copied().unwrap_or(0);
        of(Outcome::Ok) + of(Outcome::ClientError)
    }

    /// Sessions that failed by their backend's fault.
    pub(crate) fn failed(&self) -> u64 {
        let cancelled = self
            .outcomes
            .get(Outcome::Cancelled.kind())
            .copied()
            .unwrap_or(0);
        self.finished() - self.succeeded() - cancelled
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.acquired.saturating_sub(self.finished())
    }

    /// What was counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut outcomes = self.outcomes;
        for (count, earlier) in outcomes.iter_mut().zip(earlier.outcomes) {
            *count = count.saturating_sub(earlier);
        }
        Self {
            acquired: self.acquired.saturating_sub(earlier.acquired),
            outcomes,
            charged: self.charged.wrapping_sub(earlier.charged),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.acquired += other.acquired;
        self.charged = self.charged.wrapping_add(other.charged);
        for (sum, part) in self.outcomes.iter_mut().zip(other.outcomes) {
            *sum += part;
        }
    }
}
