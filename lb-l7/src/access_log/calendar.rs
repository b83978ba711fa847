//! What the clock on the wall shows at a moment of the monotonic one.

use std::time::{Duration, SystemTime};

use lbcore::Instant;

use crate::clock;

/// Reads both clocks once a second at most, so that a line of the log reads none.
///
/// A wall clock that is set, or slewed, is followed within a second.
#[derive(Debug)]
pub(super) struct Calendar {
    read: fn() -> (Instant, Duration),
    /// Since the beginning of 1970, at [`Instant::ZERO`].
    origin: Duration,
    /// When the clocks are to be read again.
    stale: Instant,
}

impl Calendar {
    /// A calendar by the clocks of this host.
    pub(super) fn of_host() -> Self {
        Self::new(read_clocks)
    }

    /// A calendar by `read`: the monotonic time, and the time since the beginning of 1970.
    pub(super) fn new(read: fn() -> (Instant, Duration)) -> Self {
        Self {
            read,
            origin: Duration::ZERO,
            stale: Instant::ZERO,
        }
    }

    /// The time since the beginning of 1970 at this moment, which has been or is now.
    #[inline]
    pub(super) fn unix(&mut self, at: Instant) -> Duration {
        if at >= self.stale {
            let (now, unix) = (self.read)();
            self.origin = unix.saturating_sub(now.since(Instant::ZERO));
            self.stale = now + SECOND;
        }
        self.origin.saturating_add(at.since(Instant::ZERO))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a line of the log bears the date, which no monotonic clock knows"
)]
fn read_clocks() -> (Instant, Duration) {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    (clock::now(), unix.unwrap_or_default())
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    const fn secs(n: u64) -> Instant {
        Instant::from_nanos(n * 1_000_000_000)
    }

    #[test]
    fn a_moment_is_told_by_the_last_reading_for_a_second() {
        static READINGS: AtomicU64 = AtomicU64::new(0);
        let mut calendar = Calendar::new(|| {
            // The wall clock is set a minute forward between the readings.
            match READINGS.fetch_add(1, Relaxed) {
                0 => (secs(10), Duration::from_secs(1_000)),
                _ => (secs(11), Duration::from_secs(1_061)),
            }
        });
        assert_eq!(calendar.unix(secs(10)), Duration::from_secs(1_000));
        assert_eq!(calendar.unix(secs(9)), Duration::from_secs(999));
        let last = Instant::from_nanos(10_999_999_999);
        assert_eq!(calendar.unix(last), Duration::from_nanos(1_000_999_999_999));
        assert_eq!(READINGS.load(Relaxed), 1);
        assert_eq!(calendar.unix(secs(11)), Duration::from_secs(1_061));
        assert_eq!(READINGS.load(Relaxed), 2);
    }

    #[test]
    fn the_host_knows_a_date_after_this_was_written() {
        let now = clock::now();
        assert!(Calendar::of_host().unix(now) > Duration::from_secs(1_700_000_000));
    }
}
