//! Bytes at a pace: when a direction of an exchange may go on.

use std::sync::Arc;

use lbcore::Instant;
use lbcore::limit::TokenBucket;

use super::clients::Client;
use super::gate::Counts;

/// The pace of both directions of one exchange.
///
/// Bytes are charged once they have passed, as one piece, and the direction then waits until the
/// debt is paid: so no piece is cut, and the rate is exact over time.
#[derive(Debug)]
pub(crate) struct Pace {
    counts: Arc<Counts>,
    client: Option<Arc<Client>>,
    up: Lane,
    down: Lane,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Nothing may pass before this.
    until: Instant,
    /// It was asked, and told to wait.
    is_waiting: bool,
}

impl Lane {
    /// Whether bytes may pass; if not, it is known to wait.
    fn opens(&mut self, now: Instant) -> bool {
        self.is_waiting = now < self.until;
        !self.is_waiting
    }
}

impl Pace {
    pub(super) fn new(counts: Arc<Counts>, client: Option<Arc<Client>>) -> Self {
        Self {
            counts,
            client,
            up: Lane::default(),
            down: Lane::default(),
        }
    }

    /// Nobody waits who does not ask again.
    pub(crate) const fn begin(&mut self) {
        self.up.is_waiting = false;
        self.down.is_waiting = false;
    }

    /// Whether bytes may go to the backend.
    pub(crate) fn opens_up(&mut self, now: Instant) -> bool {
        self.up.opens(now)
    }

    /// Whether bytes may go to the client.
    pub(crate) fn opens_down(&mut self, now: Instant) -> bool {
        self.down.opens(now)
    }

    /// These have come from the client.
    pub(crate) fn charge_up(&mut self, now: Instant, bytes: u64) {
        let of_client = self.client.as_ref().map(|client| &client.bytes_in);
        let paid = charge([Some(&self.counts.bytes_in), of_client], now, bytes);
        self.up.until = self.up.until.max(paid);
    }

    /// These have gone to the client.
    pub(crate) fn charge_down(&mut self, now: Instant, bytes: u64) {
        let of_client = self.client.as_ref().map(|client| &client.bytes_out);
        let paid = charge([Some(&self.counts.bytes_out), of_client], now, bytes);
        self.down.until = self.down.until.max(paid);
    }

    /// When the first of the directions that wait may go on; none, if none waits.
    pub(crate) fn wakes(&self) -> Option<Instant> {
        let waiting = [self.up, self.down].into_iter().filter(|l| l.is_waiting);
        waiting.map(|lane| lane.until).min()
    }

    /// Until when the silence of either direction is this proxy's doing.
    pub(crate) fn held(&self) -> Instant {
        self.up.until.max(self.down.until)
    }
}

/// When all debts are paid; the start of time, if there are none.
fn charge(buckets: [Option<&TokenBucket>; 2], now: Instant, bytes: u64) -> Instant {
    let debts = buckets
        .into_iter()
        .flatten()
        .filter_map(|bucket| bucket.charge(now, bytes));
    debts.max().unwrap_or_default()
}

/// A full bucket of bytes: a tenth of a second's worth, and at least a large read.
pub(super) fn bytes_bucket(now: Instant, per_second: u64) -> TokenBucket {
    TokenBucket::new(now, per_second, (per_second / 10).max(LEAST_BURST))
}

/// The size of a default pipe, 64 KiB: what a bulk transfer moves at once.
const LEAST_BURST: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{Bandwidth, RequestLimits};
    use super::*;

    fn pace(limits: &RequestLimits) -> Pace {
        Pace::new(Arc::new(Counts::new(Instant::ZERO, limits)), None)
    }

    #[test]
    fn a_direction_waits_until_its_debt_is_paid_and_the_other_does_not() {
        let limits = RequestLimits::default().bandwidth(Bandwidth::default().bytes_out(1000));
        let mut pace = pace(&limits);
        let start = Instant::ZERO;
        pace.charge_down(start, LEAST_BURST);
        assert!(pace.opens_down(start));
        assert_eq!(pace.wakes(), None);
        pace.charge_down(start, 2000);
        pace.charge_up(start, 1 << 30);
        assert!(!pace.opens_down(start));
        assert!(pace.opens_up(start));
        let paid = start + Duration::from_secs(2);
        assert_eq!(pace.wakes(), Some(paid));
        assert_eq!(pace.held(), paid);
        assert!(!pace.opens_down(paid - Duration::from_nanos(1)));
        assert!(pace.opens_down(paid));
        assert_eq!(pace.wakes(), None);
    }

    #[test]
    fn the_bucket_holds_a_tenth_of_a_second_but_at_least_a_read() {
        let burst = |rate| bytes_bucket(Instant::ZERO, rate).available(Instant::ZERO);
        assert_eq!(burst(1), 65_536);
        assert_eq!(burst(655_369), 65_536);
        assert_eq!(burst(655_370), 65_537);
        assert_eq!(burst(0), u64::MAX);
    }

    proptest! {
        /// In any time no more passes than the rate, the burst and the last piece.
        #[test]
        fn the_rate_is_kept(
            rate in 1000..10_000_000_u64,
            pieces in prop::collection::vec(1..60_000_u64, 1..200),
        ) {
            let limits = RequestLimits::default().bandwidth(Bandwidth::default().bytes_in(rate));
            let mut pace = pace(&limits);
            let (mut now, mut passed) = (Instant::ZERO, 0);
            for piece in &pieces {
                if !pace.opens_up(now) {
                    now = pace.wakes().expect("it waits for a time");
                    prop_assert!(pace.opens_up(now));
                }
                pace.charge_up(now, *piece);
                passed += piece;
                let accrued = u128::from(now.as_nanos()) * u128::from(rate) / 1_000_000_000;
                let most = accrued + u128::from((rate / 10).max(LEAST_BURST) + piece);
                prop_assert!(u128::from(passed) <= most);
            }
        }
    }
}
