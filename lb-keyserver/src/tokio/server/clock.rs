//! The one place of the server that reads the monotonic clock.

use lbcore::Instant;
use rustix::time::{ClockId, clock_gettime};

/// This moment, by the kernel's `CLOCK_MONOTONIC`: the same number on every thread.
pub(super) fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    // Neither part of a monotonic clock is ever negative (clock_gettime(2)).
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// When the runtime's timers are to fire for `at`.
pub(super) fn to_tokio(at: Instant) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.since(now())
}
