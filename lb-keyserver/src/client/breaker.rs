//! Whether a key server is to be asked, after what it answered.

use std::time::Duration;

use lbcore::Instant;
use lbcore::rng::Rng;

/// When a server is no longer asked, and when it is tried again.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_keyserver::client::BreakerConfig;
///
/// let strict = BreakerConfig::default().consecutive(2).back_off(Duration::from_secs(5));
/// # let _ = strict;
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row that open it; zero is taken as one. Default 5.
    pub consecutive: u32,
    /// Failures of a hundred requests that open it. 1..=100; default 50.
    pub percent: u32,
    /// Requests in one [`window`](Self::window) before the percentage counts. Default 20.
    pub enough: u32,
    /// Over how long the percentage is taken. Default 10 s.
    pub window: Duration,
    /// How long it stays open the first time; each further time twice as long. From this to half of
    /// this by chance, so that nodes do not return together. Default 1 s.
    pub back_off: Duration,
    /// The longest that it stays open for failures. Default 30 s.
    pub max_back_off: Duration,
    /// How long a server that lied is not asked, the first time; each further time twice as long,
    /// up to twenty times this. Default 30 s.
    pub lie_back_off: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive: 5,
            percent: 50,
            enough: 20,
            window: Duration::from_secs(10),
            back_off: Duration::from_secs(1),
            max_back_off: Duration::from_secs(30),
            lie_back_off: Duration::from_secs(30),
        }
    }
}

impl BreakerConfig {
    /// Sets [`consecutive`](Self::consecutive).
    #[must_use]
    pub const fn consecutive(mut self, failures: u32) -> Self {
        self.consecutive = failures;
        self
    }

    /// Sets [`percent`](Self::percent).
    #[must_use]
    pub const fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// Sets [`enough`](Self::enough).
    #[must_use]
    pub const fn enough(mut self, requests: u32) -> Self {
        self.enough = requests;
        self
    }

    /// Sets [`window`](Self::window).
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets [`back_off`](Self::back_off).
    #[must_use]
    pub const fn back_off(mut self, back_off: Duration) -> Self {
        self.back_off = back_off;
        self
    }

    /// Sets [`max_back_off`](Self::max_back_off).
    #[must_use]
    pub const fn max_back_off(mut self, back_off: Duration) -> Self {
        self.max_back_off = back_off;
        self
    }

    /// Sets [`lie_back_off`](Self::lie_back_off).
    #[must_use]
    pub const fn lie_back_off(mut self, back_off: Duration) -> Self {
        self.lie_back_off = back_off;
        self
    }
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a breaker has three states (Nygard, Release It!)"
)]
pub enum BreakerState {
    /// The server is asked.
    #[default]
    Closed,
    /// The server is not asked.
    Open,
    /// The server is asked by a trial alone.
    HalfOpen,
}

impl BreakerState {
    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// The circuit breaker of one server.
///
/// Opens after failures in a row, or at a rate of failures, or at once for a lie; is half open after
/// a back-off, for one trial: a PING and a signature that verifies. Only a trial that passes closes
/// it.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    state: BreakerState,
    /// When an open one may be tried, when a closed one was closed.
    moment: Instant,
    row: u32,
    window: Window,
    /// Openings of late, of which each doubles the back-off.
    openings: u32,
    lied: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    start: Instant,
    requests: u32,
    failures: u32,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: BreakerState::Closed,
            moment: Instant::ZERO,
            row: 0,
            window: Window::default(),
            openings: 0,
            lied: false,
        }
    }

    pub(crate) const fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether requests may go to the server.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == BreakerState::Closed
    }

    /// The server signed.
    pub(crate) fn handle_success(&mut self, now: Instant) {
        self.row = 0;
        self.counted(now).requests += 1;
    }

    /// The server did not sign in time, or refused for its own fault; whether this opened it.
    pub(crate) fn handle_failure(&mut self, now: Instant, rng: &mut impl Rng) -> bool {
        self.row = self.row.saturating_add(1);
        self.handle_scattered(now, rng)
    }

    /// The same of a question asked before the server last answered: it counts for the rate, and
    /// not as one in a row.
    pub(crate) fn handle_scattered(&mut self, now: Instant, rng: &mut impl Rng) -> bool {
        let window = self.counted(now);
        window.requests += 1;
        window.failures += 1;
        let Window {
            requests, failures, ..
        } = *window;
        let rate =
            u64::from(failures) * 100 >= u64::from(requests) * u64::from(self.config.percent);
        let opens =
            self.row >= self.config.consecutive.max(1) || (requests >= self.config.enough && rate);
        opens && self.is_closed() && {
            self.open(now, rng);
            true
        }
    }

    /// The server's answer was a lie: whatever the state, it is not asked for long.
    pub(crate) fn handle_lie(&mut self, now: Instant, rng: &mut impl Rng) {
        self.lied = true;
        self.open(now, rng);
    }

    /// When the server may be tried; `None` unless open.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (self.state == BreakerState::Open).then_some(self.moment)
    }

    /// Whether to try the server now; who is told so makes one trial and says how it went.
    pub(crate) fn poll_trial(&mut self, now: Instant) -> bool {
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        if due {
            self.state = BreakerState::HalfOpen;
        }
        due
    }

    /// The trial passed.
    pub(crate) fn handle_trial_passed(&mut self, now: Instant) {
        if self.state == BreakerState::HalfOpen {
            self.state = BreakerState::Closed;
            self.moment = now;
            self.row = 0;
            self.window = Window::default();
            self.lied = false;
        }
    }

    /// The trial failed.
    pub(crate) fn handle_trial_failed(&mut self, now: Instant, rng: &mut impl Rng) {
        if self.state == BreakerState::HalfOpen {
            self.open(now, rng);
        }
    }

    fn counted(&mut self, now: Instant) -> &mut Window {
        if now.since(self.window.start) >= self.config.window {
            self.window = Window {
                start: now,
                ..Window::default()
            };
        }
        &mut self.window
    }

    fn open(&mut self, now: Instant, rng: &mut impl Rng) {
        let (first, most) = if self.lied {
            (
                self.config.lie_back_off,
                self.config.lie_back_off * LIE_GROWTH,
            )
        } else {
            (self.config.back_off, self.config.max_back_off)
        };
        if self.is_closed() && now.since(self.moment) > most {
            self.openings = 0;
        }
        let full = first.saturating_mul(1 << self.openings.min(20)).min(most);
        self.openings = self.openings.saturating_add(1);
        self.state = BreakerState::Open;
        self.moment = now + full.mul_f64(1.0 - rng.unit() / 2.0);
    }
}

/// How much longer than the first time a liar is not asked, at most.
const LIE_GROWTH: u32 = 20;

#[cfg(test)]
mod tests {
    use lbcore::rng::Xoshiro;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Draws nothing but zero: back-offs are the longest.
    struct Zero;

    impl Rng for Zero {
        fn next_u64(&mut self) -> u64 {
            0
        }
    }

    fn breaker() -> Breaker {
        Breaker::new(BreakerConfig::default())
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker();
        let opened = (0..5).map(|_| breaker.handle_failure(now, &mut Zero));
        assert_eq!(
            opened.collect::<Vec<_>>(),
            [false, false, false, false, true]
        );
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let mut breaker = breaker();
        for n in 0..8 {
            assert!(!breaker.handle_failure(Instant::ZERO, &mut Zero));
            if n % 4 == 3 {
                breaker.handle_success(Instant::ZERO);
            }
        }
        assert!(breaker.is_closed());
        assert_eq!(breaker.poll_timeout(), None);
        assert_eq!(opened(Instant::ZERO).state(), BreakerState::Open);
    }

    #[test]
    fn half_of_twenty_open_it_and_half_of_eighteen_do_not() {
        let mut breaker = breaker();
        for n in 0..9 {
            breaker.handle_success(Instant::ZERO);
            assert!(!breaker.handle_failure(Instant::ZERO, &mut Zero), "{n}");
        }
        breaker.handle_success(Instant::ZERO);
        assert!(breaker.handle_failure(Instant::ZERO, &mut Zero));
    }

    #[test]
    fn scattered_failures_open_it_by_their_rate_alone() {
        let mut breaker = breaker();
        for n in 0..19 {
            assert!(!breaker.handle_scattered(Instant::ZERO, &mut Zero), "{n}");
        }
        assert!(breaker.handle_scattered(Instant::ZERO, &mut Zero));
    }

    #[test]
    fn the_rate_is_that_of_one_window() {
        let mut breaker = breaker();
        for n in 0..100 {
            let now = Instant::ZERO + SECOND * 2 * n;
            breaker.handle_success(now);
            assert!(!breaker.handle_failure(now, &mut Zero), "ten in a window");
        }
        assert!(breaker.is_closed());
    }

    #[test]
    fn one_trial_is_due_after_the_back_off_and_only_one() {
        let mut breaker = opened(Instant::ZERO);
        let due = Instant::ZERO + SECOND;
        assert_eq!(breaker.poll_timeout(), Some(due));
        assert!(!breaker.poll_trial(due - Duration::from_nanos(1)));
        assert!(breaker.poll_trial(due));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.poll_trial(due + SECOND) && !breaker.is_closed());
        breaker.handle_trial_passed(due);
        assert!(breaker.is_closed());
        assert!(
            !breaker.handle_failure(due, &mut Zero),
            "the row starts anew"
        );
    }

    #[test]
    fn failed_trials_double_the_back_off_up_to_the_most() {
        let mut breaker = opened(Instant::ZERO);
        let mut now = Instant::ZERO;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let due = breaker.poll_timeout().expect("open");
            assert_eq!(due, now + SECOND * seconds);
            now = due;
            assert!(breaker.poll_trial(now));
            breaker.handle_trial_failed(now, &mut Zero);
        }
    }

    #[test]
    fn a_good_while_makes_the_back_off_short_again() {
        let mut breaker = opened(Instant::ZERO);
        let due = Instant::ZERO + SECOND;
        assert!(breaker.poll_trial(due));
        breaker.handle_trial_passed(due);
        let mut again = breaker.clone();
        let soon = due + 30 * SECOND;
        (0..5).for_each(|_| {
            again.handle_failure(soon, &mut Zero);
        });
        assert_eq!(again.poll_timeout(), Some(soon + 2 * SECOND));
        let late = soon + Duration::from_nanos(1);
        (0..5).for_each(|_| {
            breaker.handle_failure(late, &mut Zero);
        });
        assert_eq!(breaker.poll_timeout(), Some(late + SECOND));
    }

    #[test]
    fn a_lie_opens_it_at_once_and_for_longer() {
        let mut breaker = breaker();
        breaker.handle_lie(Instant::ZERO, &mut Zero);
        assert_eq!(breaker.poll_timeout(), Some(Instant::ZERO + 30 * SECOND));
        breaker.handle_success(Instant::ZERO);
        assert!(!breaker.is_closed(), "an answer under way closes nothing");
        let mut now = Instant::ZERO + 30 * SECOND;
        for seconds in [60, 120, 240, 480, 600, 600] {
            assert!(breaker.poll_trial(now));
            breaker.handle_trial_failed(now, &mut Zero);
            assert_eq!(breaker.poll_timeout(), Some(now + SECOND * seconds));
            now += SECOND * seconds;
        }
    }

    #[test]
    fn a_lie_during_a_trial_opens_it_again() {
        let mut breaker = opened(Instant::ZERO);
        assert!(breaker.poll_trial(Instant::ZERO + SECOND));
        breaker.handle_lie(Instant::ZERO + SECOND, &mut Zero);
        breaker.handle_trial_passed(Instant::ZERO + SECOND);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn back_offs_are_spread_over_their_upper_half() {
        let mut rng = Xoshiro::new(7);
        let waits: Vec<_> = (0..200)
            .map(|_| {
                let mut breaker = breaker();
                (0..5).for_each(|_| {
                    breaker.handle_failure(Instant::ZERO, &mut rng);
                });
                breaker.poll_timeout().expect("open").since(Instant::ZERO)
            })
            .collect();
        assert!(
            waits
                .iter()
                .all(|wait| *wait > SECOND / 2 && *wait <= SECOND)
        );
        assert!(waits.iter().any(|wait| *wait < SECOND * 6 / 10));
        assert!(waits.iter().any(|wait| *wait > SECOND * 9 / 10));
    }
}
