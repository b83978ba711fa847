//! Time that moves when told.

use std::time::Duration;

use crate::Instant;

/// Time that moves when told, and never back.
///
/// A simulation asks every part when it next wants to be called, goes there by
/// [`advance_to_next`](Self::advance_to_next), and calls those whose moment has come.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::sim::Clock;
///
/// let mut clock = Clock::default();
/// clock.advance(Duration::from_secs(2));
/// let (soon, late) = (Instant::from_nanos(2_500_000_000), Instant::from_nanos(9_000_000_000));
/// assert_eq!(clock.advance_to_next([Some(late), None, Some(soon)]), Some(soon));
/// assert_eq!(clock.now(), soon);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock {
    now: Instant,
}

impl Clock {
    /// A clock that shows `now`; the default shows [`Instant::ZERO`].
    #[must_use]
    pub const fn starting_at(now: Instant) -> Self {
        Self { now }
    }

    /// The moment it shows.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Moves it on by `span`; stops at [`Instant::MAX`].
    pub fn advance(&mut self, span: Duration) {
        self.now += span;
    }

    /// Moves it on to `moment`; one that has passed leaves it where it is.
    pub fn advance_to(&mut self, moment: Instant) {
        self.now = self.now.max(moment);
    }

    /// Moves it on to the earliest of `timeouts`, and tells which that was; `None` if all are never.
    ///
    /// One that has passed is the earliest all the same: whoever named it is to be called now.
    pub fn advance_to_next(
        &mut self,
        timeouts: impl IntoIterator<Item = Option<Instant>>,
    ) -> Option<Instant> {
        let next = timeouts.into_iter().flatten().min()?;
        self.advance_to(next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T5: Instant = Instant::from_nanos(5);

    #[test]
    fn a_clock_never_goes_back() {
        let mut clock = Clock::starting_at(T5);
        clock.advance_to(Instant::from_nanos(4));
        assert_eq!(clock.now(), T5);
        clock.advance_to(Instant::from_nanos(6));
        assert_eq!(clock.now(), Instant::from_nanos(6));
        clock.advance(Duration::from_nanos(3));
        assert_eq!(clock.now(), Instant::from_nanos(9));
    }

    #[test]
    fn the_next_moment_is_the_earliest_and_may_have_passed() {
        let mut clock = Clock::default();
        assert_eq!(clock.advance_to_next([None, None]), None);
        assert_eq!(clock.now(), Instant::ZERO);
        clock.advance_to(T5);
        let late = Some(Instant::from_nanos(2));
        assert_eq!(clock.advance_to_next([Some(Instant::MAX), late]), late);
        assert_eq!(clock.now(), T5);
    }
}
