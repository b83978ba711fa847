//! How many retries there may be, for all the requests of late.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lbcore::Instant;
use thiserror::Error;

/// How large a [`RetryBudget`] is.
///
/// # Examples
///
/// ```
/// use lb_l7::upstream::RetryBudgetConfig;
///
/// assert!(RetryBudgetConfig::default().percent(10).check().is_ok());
/// assert!(RetryBudgetConfig::default().percent(101).check().is_err());
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetryBudgetConfig {
    /// Retries for each hundred requests. 0..=100; default 20, as in Finagle and Envoy.
    pub percent: u32,
    /// Retries a second that there may be however few the requests are, so that a service with
    /// little traffic has any. Default 3.
    pub floor_per_second: u32,
    /// Over how long requests and retries are counted. 1 s..=1 h; default 10 s.
    pub window: Duration,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self {
            percent: 20,
            floor_per_second: 3,
            window: Duration::from_secs(10),
        }
    }
}

impl RetryBudgetConfig {
    /// Sets [`percent`](Self::percent).
    #[must_use]
    pub const fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// Sets [`floor_per_second`](Self::floor_per_second).
    #[must_use]
    pub const fn floor_per_second(mut self, retries: u32) -> Self {
        self.floor_per_second = retries;
        self
    }

    /// Sets [`window`](Self::window).
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    ///
    /// Says which is not.
    pub fn check(&self) -> Result<(), RetryBudgetConfigError> {
        if self.percent > 100 {
            Err(RetryBudgetConfigError::Percent(self.percent))
        } else if !(SHORTEST..=LONGEST).contains(&self.window) {
            Err(RetryBudgetConfigError::Window(self.window))
        } else {
            Ok(())
        }
    }
}

/// What is wrong with a [`RetryBudgetConfig`]; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RetryBudgetConfigError {
    /// More retries than requests are no budget.
    #[error("`percent` is {0}; it must be 0 to 100")]
    Percent(u32),
    /// Too short to count anything in, or too long to be of late.
    #[error("`window` is {0:?}; it must be 1 s to 1 h")]
    Window(Duration),
}

/// Holds retries to a share of the requests of late, all workers together.
///
/// When everything fails, retries without a budget multiply the load by the number of tries, and
/// keep an overload going that has lost its cause. The window is cut in ten; a tenth that is over is
/// forgotten as a whole.
///
/// Cost: [`handle_request`](Self::handle_request) is one atomic addition, [`try_take`](Self::try_take) a sum of
/// ten. No lock. Those who race may get one retry each
/// more than there is, and at the turn of a tenth one count may be lost.
///
/// # Examples
///
/// ```
/// use lb_l7::upstream::{RetryBudget, RetryBudgetConfig};
/// use lbcore::Instant;
///
/// let config = RetryBudgetConfig::default().floor_per_second(0);
/// let budget = RetryBudget::new(config);
/// assert!(!budget.try_take(Instant::ZERO));
/// for _ in 0..5 {
///     budget.handle_request(Instant::ZERO);
/// }
/// assert!(budget.try_take(Instant::ZERO));
/// assert!(!budget.try_take(Instant::ZERO));
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    config: RetryBudgetConfig,
    /// Nanoseconds of a tenth.
    tenth: u64,
    tenths: [Tenth; TENTHS],
    refused: AtomicU64,
}

/// A tenth of the window: its number since the start in the upper half of each word, so that a count
/// is never taken for one of another time, and the count in the lower.
#[derive(Debug)]
#[repr(align(128))]
struct Tenth {
    requests: AtomicU64,
    retries: AtomicU64,
}

impl RetryBudget {
    /// A budget of which nothing is spent.
    ///
    /// A value of `config` that is out of its range is taken as the nearest in it.
    #[must_use]
    pub fn new(mut config: RetryBudgetConfig) -> Self {
        config.percent = config.percent.min(100);
        config.window = config.window.clamp(SHORTEST, LONGEST);
        let nanos = u64::try_from(config.window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            config,
            tenth: nanos / TENTHS as u64,
            tenths: std::array::from_fn(|_| Tenth {
                requests: AtomicU64::new(0),
                retries: AtomicU64::new(0),
            }),
            refused: AtomicU64::new(0),
        }
    }

    /// Counts a request; not the retries of one.
    pub fn handle_request(&self, now: Instant) {
        let number = self.number(now);
        if let Some(tenth) = self.tenth(number) {
            add(&tenth.requests, number);
        }
    }

    /// Takes a retry from the budget; `false` if it is spent, which is counted.
    #[must_use]
    pub fn try_take(&self, now: Instant) -> bool {
        if !self.would_give(now) {
            return false;
        }
        let number = self.number(now);
        if let Some(tenth) = self.tenth(number) {
            add(&tenth.retries, number);
        }
        true
    }

    /// As [`try_take`](Self::try_take), but takes nothing; `false` is counted as well.
    pub(crate) fn would_give(&self, now: Instant) -> bool {
        let has_left = self.has_left(self.number(now));
        if !has_left {
            self.refused.fetch_add(1, Relaxed);
        }
        has_left
    }

    fn has_left(&self, number: u64) -> bool {
        let sum = |word: fn(&Tenth) -> &AtomicU64| -> u64 {
            self.tenths
                .iter()
                .map(|tenth| count(word(tenth), number))
                .sum()
        };
        let earned = sum(|tenth| &tenth.requests) * u64::from(self.config.percent) / 100;
        let floor =
            u128::from(self.config.floor_per_second) * self.config.window.as_millis() / 1000;
        let most = earned.max(u64::try_from(floor).unwrap_or(u64::MAX));
        sum(|tenth| &tenth.retries) < most
    }

    /// How many retries were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Which tenth it is, from 1: 0 is none.
    const fn number(&self, now: Instant) -> u64 {
        now.as_nanos() / self.tenth + 1
    }

    fn tenth(&self, number: u64) -> Option<&Tenth> {
        let at = usize::try_from(number % TENTHS as u64).ok()?;
        self.tenths.get(at)
    }
}

/// One more in the tenth of this number; the first forgets what the word held.
fn add(word: &AtomicU64, number: u64) {
    let stamp = stamp(number);
    let old = word.load(Relaxed);
    if old & STAMP == stamp {
        // 2^32 requests in a tenth of a window would be 4 thousand million a second.
        word.fetch_add(1, Relaxed);
    } else if let Err(now) = word.compare_exchange(old, stamp + 1, Relaxed, Relaxed)
        && now & STAMP == stamp
    {
        word.fetch_add(1, Relaxed);
    }
}

/// What the word holds, if it is one of the last ten tenths up to this number.
fn count(word: &AtomicU64, number: u64) -> u64 {
    let word = word.load(Relaxed);
    let age = (stamp(number) >> 32).wrapping_sub(word >> 32) & COUNT;
    if age < TENTHS as u64 { word & COUNT } else { 0 }
}

/// The number in the upper half; it wraps after four thousand million tenths, or 13 years of them.
const fn stamp(number: u64) -> u64 {
    number << 32
}

/// Less is too short to count anything in.
const SHORTEST: Duration = Duration::from_secs(1);

/// More is not of late.
const LONGEST: Duration = Duration::from_secs(3600);

/// The parts that a window has.
const TENTHS: usize = 10;

/// Where the number of a tenth is.
const STAMP: u64 = !COUNT;

/// Where its count is.
const COUNT: u64 = 0xffff_ffff;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Instant {
        // Late enough that the tenths before the first are not those before the start.
        Instant::ZERO + Duration::from_secs(1000) + Duration::from_millis(millis)
    }

    fn budget(percent: u32, floor: u32) -> RetryBudget {
        let config = RetryBudgetConfig::default()
            .percent(percent)
            .floor_per_second(floor);
        RetryBudget::new(config)
    }

    fn retries(budget: &RetryBudget, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.try_take(now)).count()
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests_or_the_floor_if_that_is_more() {
        for (requests, floor, expected) in
            [(0, 0, 0), (4, 0, 0), (5, 0, 1), (99, 0, 19), (100, 0, 20)]
        {
            let budget = budget(20, floor);
            (0..requests).for_each(|_| budget.handle_request(at(0)));
            assert_eq!(retries(&budget, at(0)), expected, "{requests}");
            assert_eq!(budget.refused(), 1);
        }
        let few = budget(20, 3);
        (0..149).for_each(|_| few.handle_request(at(0)));
        assert_eq!(retries(&few, at(0)), 30);
        let many = budget(20, 3);
        (0..155).for_each(|_| many.handle_request(at(0)));
        assert_eq!(retries(&many, at(0)), 31);
    }

    #[test]
    fn what_is_a_window_ago_is_forgotten_and_nothing_before() {
        let budget = budget(50, 0);
        (0..10).for_each(|_| budget.handle_request(at(0)));
        assert!(budget.try_take(at(9_999)));
        assert!(!budget.try_take(at(10_000)));
        (0..2).for_each(|_| budget.handle_request(at(10_000)));
        assert!(
            !budget.try_take(at(10_000)),
            "the retry of a moment ago counts"
        );
        assert!(budget.try_take(at(19_999)));
        assert!(!budget.try_take(at(20_000)));
    }

    #[test]
    fn it_works_from_the_first_moment_of_a_clock() {
        let budget = budget(100, 0);
        assert!(!budget.try_take(Instant::ZERO));
        budget.handle_request(Instant::ZERO);
        assert!(budget.try_take(Instant::ZERO));
        assert!(!budget.try_take(Instant::ZERO));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let good = RetryBudgetConfig::default();
        assert_eq!(good.percent(0).check(), Ok(()));
        assert_eq!(good.percent(100).check(), Ok(()));
        assert_eq!(
            good.percent(101).check(),
            Err(RetryBudgetConfigError::Percent(101))
        );
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let nano = Duration::from_nanos(1);
        for window in [second, hour] {
            assert_eq!(good.window(window).check(), Ok(()));
        }
        for window in [second - nano, hour + nano] {
            assert_eq!(
                good.window(window).check(),
                Err(RetryBudgetConfigError::Window(window))
            );
        }
    }

    #[test]
    fn threads_together_get_no_more_than_there_is_but_for_those_that_race() {
        let budget = budget(20, 0);
        (0..1000).for_each(|_| budget.handle_request(at(0)));
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| retries(&budget, at(5))))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert!((200..=203).contains(&taken), "{taken}");
    }

    proptest! {
        /// Against a list of everything that happened.
        #[test]
        fn it_is_what_a_list_of_the_last_ten_tenths_says(
            steps in prop::collection::vec((0_u64..3000, any::<bool>()), 1..200),
        ) {
            let budget = budget(50, 0);
            let (mut now, mut requests, mut retries) = (0, VecDeque::new(), VecDeque::new());
            for (wait, is_retry) in steps {
                now += wait;
                let tenth = now / 1000;
                for list in [&mut requests, &mut retries] {
                    list.retain(|it| it + 10 > tenth);
                }
                if is_retry {
                    let may = retries.len() < requests.len() / 2;
                    prop_assert_eq!(budget.try_take(at(now)), may);
                    if may {
                        retries.push_back(tenth);
                    }
                } else {
                    budget.handle_request(at(now));
                    requests.push_back(tenth);
                }
            }
        }
    }

    #[test]
    fn to_ask_takes_nothing_and_a_refusal_is_counted_once() {
        let config = RetryBudgetConfig::default()
            .percent(0)
            .floor_per_second(1)
            .window(Duration::from_secs(1));
        let budget = RetryBudget::new(config);
        assert!(budget.would_give(Instant::ZERO) && budget.would_give(Instant::ZERO));
        assert!(budget.try_take(Instant::ZERO));
        assert_eq!(budget.refused(), 0);
        assert!(!budget.would_give(Instant::ZERO));
        assert_eq!(budget.refused(), 1);
        assert!(!budget.try_take(Instant::ZERO));
        assert_eq!(budget.refused(), 2);
    }
}
