//! How much a second: a token bucket in one atomic word.

use crate::Instant;
use crate::atomic::{AtomicU64, Ordering::Relaxed};
use crate::time::nanos;

/// Lets `rate` tokens a second pass, and up to `burst` at once after a pause.
///
/// Shared by all workers without a lock, and exact: in any span of t seconds at most
/// `rate * t + burst` tokens pass (t being known to a nanosecond), and while more are always wanted,
/// the total is that very number, rounded down, for ever. No remainder is lost: what has accrued is
/// computed from the time since the start, not added up.
///
/// Source: the generic cell rate algorithm (ITU-T I.371, annex A), counted in tokens instead of
/// time, since the time of one token is no whole number of nanoseconds.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lbcore::Instant;
/// use lbcore::limit::TokenBucket;
///
/// let start = Instant::ZERO;
/// let bucket = TokenBucket::new(start, 10, 2);
/// assert!(bucket.try_take(start, 2));
/// assert!(!bucket.try_take(start, 1));
/// assert_eq!(bucket.ready_at(start, 1), start + Duration::from_millis(100));
/// assert!(bucket.try_take(start + Duration::from_millis(100), 1));
/// ```
#[derive(Debug)]
pub struct TokenBucket {
    start: Instant,
    /// Units a second; 0 for no limit.
    rate: u64,
    /// Units that fit.
    burst: u64,
    /// A token is 2^shift units.
    shift: u32,
    /// Units spent since the start, those that flowed over included; wraps. The bucket is full
    /// when this equals what has accrued, and `burst` above that it is empty.
    spent: AtomicU64,
}

impl TokenBucket {
    /// The highest rate that is kept, 2^36 tokens a second; one above it is taken as this.
    pub const MAX_RATE: u64 = 1 << 36;

    /// A full bucket.
    ///
    /// `rate` is in tokens a second, and 0 is no limit. `burst` is in tokens, at least 1 (0 is
    /// taken as 1); one that takes years to fill is cut to a year's worth or more.
    #[must_use]
    pub fn new(now: Instant, rate: u64, burst: u64) -> Self {
        let rate = rate.min(Self::MAX_RATE);
        // A unit accrues in less than a nanosecond, so that rounding to units is below what the
        // clock can tell, and up to 2^31 tokens a second in more than 0.4, so that the difference
        // of spent and accrued is unambiguous for 136 idle years (4 at the highest rate).
        let shift = rate.leading_zeros().saturating_sub(33);
        let shift = if rate == 0 { 0 } else { shift };
        Self {
            start: now,
            rate: rate << shift,
            burst: burst.clamp(1, MOST_UNITS >> shift) << shift,
            shift,
            spent: AtomicU64::new(0),
        }
    }

    /// Takes `tokens`, all or none, and says whether it did.
    ///
    /// More than the burst can never be taken at once. Cost: one division, one atomic update.
    #[must_use]
    pub fn try_take(&self, now: Instant, tokens: u64) -> bool {
        if self.rate == 0 {
            return true;
        }
        let accrued = self.accrued(now);
        let wanted = self.units(tokens);
        self.spent
            .fetch_update(Relaxed, Relaxed, |spent| {
                let owed = owed(spent, accrued).checked_add(wanted)?;
                (owed <= self.burst).then(|| accrued.wrapping_add(owed))
            })
            .is_ok()
    }

    /// Takes `tokens` that have already passed, into debt if need be; gives when the debt is paid.
    ///
    /// `None`: there is no debt, and more may pass at once. For bytes that are counted after they
    /// were moved: wait until then before moving more, and the rate is exact over time; in a span
    /// of t seconds at most `rate * t + burst` and the last charge pass. A debt that
    /// takes years to pay is cut to a year's worth or more.
    pub fn charge(&self, now: Instant, tokens: u64) -> Option<Instant> {
        if self.rate == 0 {
            return None;
        }
        let accrued = self.accrued(now);
        let wanted = self.units(tokens);
        let charged = |spent| {
            let owed = owed(spent, accrued).saturating_add(wanted);
            owed.min(self.burst + MOST_UNITS)
        };
        let before = self.spent.update(Relaxed, Relaxed, |spent| {
            accrued.wrapping_add(charged(spent))
        });
        let owed = charged(before);
        (owed > self.burst).then(|| self.after(now, owed - self.burst))
    }

    /// When `tokens` can be taken if nobody else takes any: `now` if they are there already,
    /// [`Instant::MAX`] if they are more than the burst.
    #[must_use]
    pub fn ready_at(&self, now: Instant, tokens: u64) -> Instant {
        let wanted = self.units(tokens);
        if self.rate == 0 {
            return now;
        }
        if wanted > self.burst {
            return Instant::MAX;
        }
        let owed = owed(self.spent.load(Relaxed), self.accrued(now)) + wanted;
        match owed.saturating_sub(self.burst) {
            0 => now,
            missing => self.after(now, missing),
        }
    }

    /// How many tokens could be taken now; `u64::MAX` without a limit, 0 in debt.
    #[must_use]
    pub fn available(&self, now: Instant) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        let owed = owed(self.spent.load(Relaxed), self.accrued(now));
        self.burst.saturating_sub(owed) >> self.shift
    }

    /// Units accrued since the start, modulo 2^64.
    fn accrued(&self, now: Instant) -> u64 {
        let elapsed = nanos(now.since(self.start));
        let (seconds, rest) = (elapsed / NANOS, elapsed % NANOS);
        // The rate is at most 2^36 and the rest below 2^30; only the fastest need 128 bits.
        let part = match rest.checked_mul(self.rate) {
            Some(product) => product / NANOS,
            None => low(u128::from(rest) * u128::from(self.rate) / u128::from(NANOS)),
        };
        seconds.wrapping_mul(self.rate).wrapping_add(part)
    }

    /// The first nanosecond at which `missing` more units than at `now` have accrued.
    fn after(&self, now: Instant, missing: u64) -> Instant {
        let elapsed = u128::from(nanos(now.since(self.start)));
        let (rate, second) = (u128::from(self.rate), u128::from(NANOS));
        // No overflow: below 2^64 * 2^36 / 2^29 + 2^63, and that times 2^30.
        let target = elapsed * rate / second + u128::from(missing);
        let at = (target * second).div_ceil(rate);
        let wait = u64::try_from(at - elapsed.min(at)).unwrap_or(u64::MAX);
        Instant::from_nanos(now.as_nanos().saturating_add(wait))
    }

    /// More units than there can be, when the tokens are more than fit.
    fn units(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(1 << self.shift)
    }
}

/// How far the bucket is from full, in units.
fn owed(spent: u64, accrued: u64) -> u64 {
    // Both wrap, so that only their difference counts; below zero the bucket flowed over.
    u64::try_from(spent.wrapping_sub(accrued).cast_signed()).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "below a second's worth of units, 2^36"
)]
fn low(wide: u128) -> u64 {
    wide as u64
}

const NANOS: u64 = 1_000_000_000;

/// So that burst and debt together stay well below 2^63, half the range of a wrapping difference;
/// a year of the highest rate.
const MOST_UNITS: u64 = 1 << 61;
