//! The one place that reads the time.

use lbcore::Instant;
use rustix::time::{ClockId, clock_gettime};

/// Tells the time to whatever takes `now` as its first argument.
///
/// A value and not a function, so that a test can drive the same code with moments of its own: what
/// decides takes an [`Instant`], and only the outermost loop holds a `Clock`.
///
/// # Examples
///
/// ```
/// use lb_l4::Clock;
///
/// let clock = Clock::monotonic();
/// let earlier = clock.now();
/// assert!(clock.now() >= earlier);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Clock(ClockId);

impl Clock {
    /// The kernel's `CLOCK_MONOTONIC`: never goes back, and stands still while the host sleeps.
    ///
    /// Its number is that of `bpf_ktime_get_ns`. A reading costs about 25 ns (vDSO, no system call).
    #[must_use]
    pub const fn monotonic() -> Self {
        Self(ClockId::Monotonic)
    }

    /// The kernel's `CLOCK_MONOTONIC_COARSE`: the same time, as of the last timer tick.
    ///
    /// Up to 10 ms behind (one tick at 100 Hz), for about 5 ns: right for idle times, wrong for
    /// latencies.
    #[must_use]
    pub const fn coarse() -> Self {
        Self(ClockId::MonotonicCoarse)
    }

    /// This moment.
    #[must_use]
    pub fn now(self) -> Instant {
        let time = clock_gettime(self.0);
        // Neither part of a monotonic clock is ever negative (clock_gettime(2)).
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::monotonic()
    }
}

/// A timer for a deadline that mostly moves away before it comes.
///
/// The runtime's timer is set once and looked at when it fires: a deadline that has moved away
/// meanwhile costs one setting, not one for each move.
#[cfg(feature = "tokio")]
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
    /// When the runtime's timer fires.
    set_to: Instant,
}

#[cfg(feature = "tokio")]
impl Alarm {
    /// One that is not set.
    pub(crate) const fn new() -> Self {
        Self {
            sleep: None,
            set_to: Instant::MAX,
        }
    }

    /// Ready once `due` has come; `None` never does. Pending, it wakes the task at `due` or earlier.
    pub(crate) fn poll_until(
        &mut self,
        cx: &mut std::task::Context<'_>,
        now: Instant,
        due: Option<Instant>,
    ) -> std::task::Poll<()> {
        use std::task::Poll;
        let Some(due) = due else {
            return Poll::Pending;
        };
        loop {
            if due <= now {
                return Poll::Ready(());
            }
            // Fires early if it was set for an earlier deadline, which is harmless, never late.
            if self.sleep.is_none() || due < self.set_to {
                self.set(now, due);
            }
            let fired = self
                .sleep
                .as_mut()
                .is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
            if !fired {
                return Poll::Pending;
            }
            self.set(now, due);
        }
    }

    fn set(&mut self, now: Instant, due: Instant) {
        let at = tokio::time::Instant::now() + due.since(now).min(FAR);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
        self.set_to = due;
    }
}

/// A day: longer waits are waited in parts, so that no sum of times overflows.
#[cfg(feature = "tokio")]
const FAR: std::time::Duration = std::time::Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_coarse_clock_is_the_monotonic_one_at_most_a_tick_late() {
        let coarse = Clock::coarse().now();
        let fine = Clock::monotonic().now();
        assert!(coarse <= fine);
        assert!(fine.since(coarse) < Duration::from_secs(5));
    }

    #[test]
    fn it_counts_from_the_boot_and_never_goes_back() {
        let first = Clock::default().now();
        assert!(first > Instant::ZERO);
        assert!((0..1_000).all(|_| Clock::monotonic().now() >= first));
    }
}
