//! The one place of this crate that reads clocks.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};

use lbcore::Instant;
use rustix::time::{ClockId, clock_gettime};

/// What time it is on tokio's clock, which tests can stop and turn.
///
/// Its number is that of the kernel's `CLOCK_MONOTONIC`, as `lb_l4::Clock` has it: a pool may be
/// shared by both crates, and its latencies and ejections are moments that both compare.
pub(crate) fn now() -> Instant {
    static ORIGIN: OnceLock<(tokio::time::Instant, Instant)> = OnceLock::new();
    let now = tokio::time::Instant::now();
    let (origin, monotonic) = *ORIGIN.get_or_init(|| (now, monotonic()));
    monotonic + now.saturating_duration_since(origin)
}

fn monotonic() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    // Neither part of a monotonic clock is ever negative (clock_gettime(2)).
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Seconds of the calendar, for what outlives this process.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Adds `Date`, unless it is there (RFC 9110, 6.6.1).
pub(crate) fn add_date(fields: &mut HeaderMap) {
    thread_local! {
        /// The second that was written last.
        static WRITTEN: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    if fields.contains_key(header::DATE) {
        return;
    }
    let now = unix_seconds();
    let date = WRITTEN.with_borrow_mut(|written| match written {
        Some((second, date)) if *second == now => Some(date.clone()),
        _ => {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(now));
            let date = HeaderValue::from_str(&date).ok()?;
            *written = Some((now, date.clone()));
            Some(date)
        }
    });
    if let Some(date) = date {
        fields.insert(header::DATE, date);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_time_is_that_of_the_kernel() {
        let before = monotonic();
        let own = now();
        let after = monotonic();
        // Whoever asked first in this process may have been interrupted between two readings.
        let slack = std::time::Duration::from_secs(5);
        assert!(own + slack >= before && own <= after + slack);
    }
}
