//! Time in ticks, so that a session keeps it in 4 bytes.

use std::time::Duration;

use crate::Instant;
use crate::time::nanos;

/// A clock of ticks that is led by the caller's moments, never back and never too far ahead.
///
/// A session keeps the low 32 bits of the tick at which it was last touched. They tell its age as
/// long as that is below 2^32 ticks, so this clock stops for those who jump: it is never more than
/// [`HORIZON`] ticks ahead of the wheel. Whatever the jump, every session is then due, and the
/// clock goes on as soon as the wheel has been turned.
#[derive(Debug, Default)]
pub(super) struct Ticks {
    /// The latest moment that was given, in ticks.
    real: u64,
    /// This clock.
    tick: u64,
}

impl Ticks {
    /// Whether `now` lies in a later tick than every moment before it.
    #[inline]
    pub(super) fn is_new(&self, now: Instant) -> bool {
        ticks_of(now) > self.real
    }

    /// Leads the clock to `now`, but not beyond `limit`, and tells it.
    pub(super) fn advance(&mut self, now: Instant, limit: u64) -> u64 {
        let real = ticks_of(now).max(self.real);
        let ahead = self.tick.saturating_add(real - self.real);
        self.tick = ahead.min(limit.max(self.tick));
        self.real = real;
        self.tick
    }

    /// The clock as it stands.
    #[inline]
    pub(super) fn tick(&self) -> u64 {
        self.tick
    }

    /// The moment at which `tick` begins; the beginning of the present tick if it has passed, and
    /// `None` if no moment is so late.
    pub(super) fn instant(&self, tick: u64) -> Option<Instant> {
        let real = self.real.saturating_add(tick.saturating_sub(self.tick));
        real.checked_mul(TICK).map(Instant::from_nanos)
    }

    /// The beginning of the tick `age` ticks ago.
    pub(super) fn ago(&self, age: u32) -> Instant {
        Instant::from_nanos(self.real.saturating_sub(age.into()).saturating_mul(TICK))
    }
}

fn ticks_of(moment: Instant) -> u64 {
    moment.as_nanos() / TICK
}

/// Ticks of a timeout: never fewer than pass in that time, wherever in a tick it begins.
pub(super) fn timeout_ticks(timeout: Duration) -> u32 {
    let ticks = nanos(timeout).div_ceil(TICK).saturating_add(1);
    u32::try_from(ticks).map_or(MAX_TIMEOUT, |ticks| ticks.min(MAX_TIMEOUT))
}

/// Whole ticks in a span of silence.
pub(super) fn idle_ticks(idle: Duration) -> u32 {
    u32::try_from(nanos(idle) / TICK).unwrap_or(u32::MAX)
}

/// Nanoseconds of a tick: 2^26, about 67 ms. A division by it is a shift.
pub(super) const TICK: u64 = 1 << 26;

/// The longest timeout, 2.3 years.
pub(super) const MAX_TIMEOUT: u32 = 1 << 30;

/// How far the clock may be ahead of the wheel. With [`MAX_TIMEOUT`] it makes the oldest age
/// 2^31 ticks, which 32 bits hold.
pub(super) const HORIZON: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_rounded_up_and_given_the_tick_that_was_under_way() {
        assert_eq!(timeout_ticks(Duration::from_nanos(1)), 2);
        assert_eq!(timeout_ticks(Duration::from_nanos(TICK)), 2);
        assert_eq!(timeout_ticks(Duration::from_nanos(TICK + 1)), 3);
        assert_eq!(timeout_ticks(Duration::MAX), MAX_TIMEOUT);
    }

    #[test]
    fn idleness_is_rounded_down() {
        assert_eq!(idle_ticks(Duration::from_nanos(TICK - 1)), 0);
        assert_eq!(idle_ticks(Duration::from_nanos(TICK)), 1);
        assert_eq!(idle_ticks(Duration::MAX), u32::MAX);
    }

    #[test]
    fn the_clock_follows_neither_back_nor_beyond_its_limit() {
        let mut ticks = Ticks::default();
        let at = |tick| Instant::from_nanos(tick * TICK);
        assert_eq!(ticks.advance(at(5) + Duration::from_nanos(1), 100), 5);
        assert_eq!(ticks.advance(at(4), 100), 5);
        assert!(!ticks.is_new(Instant::from_nanos(6 * TICK - 1)) && ticks.is_new(at(6)));
        assert_eq!(ticks.advance(at(105), 100), 100);
        assert_eq!(ticks.advance(at(106), 90), 100);
        assert_eq!(ticks.advance(at(108), 200), 102);
        assert_eq!(ticks.tick(), 102);
        assert_eq!(ticks.instant(103), Some(at(109)));
        assert_eq!(ticks.instant(100), Some(at(108)));
        assert_eq!(ticks.ago(2), at(106));
        assert_eq!(ticks.ago(u32::MAX), Instant::ZERO);
        assert_eq!(ticks.instant(u64::MAX), None);
    }
}
