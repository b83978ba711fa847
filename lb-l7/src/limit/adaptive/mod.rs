//! How many requests can be under way before they only wait for each other.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lbcore::Instant;

/// A limit on requests under way that finds itself by how long answers take.
///
/// Ten times a second the fastest answer is compared with the fastest of the last half minute. Both
/// are the fastest, so that a mix of cheap and dear requests looks like neither overload nor relief:
/// what makes even the fastest slow is that all of them wait. Up to [`tolerance`](Self::tolerance)
/// times as slow the limit rises by its square root, and beyond falls in proportion. Every half
/// minute it is cut to a quarter for a fifth of a second, so that the fastest answer is one that did
/// not have to wait: else the limit would take the queue that it allows for the time of the work,
/// and allow more.
///
/// Whether it helps: see the simulation beside its code. Against twice the load that its backends
/// can serve, of clients that wait half a second, it has 99 % of what the backends can do answered
/// in time, where no limit has 1 %; at 70 % load it turns away less than one in a thousand. A fixed
/// limit does as well, for as long as its figure is right.
///
/// Source: the gradient of Netflix' concurrency-limits and of Envoy's adaptive concurrency filter;
/// the fastest of a window as in TCP Vegas (Brakmo and Peterson, 1995).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AdaptiveConfig {
    /// The limit is never below this. At least 1; default 10.
    pub min: u32,
    /// The limit is never above this. Default 10,000.
    pub max: u32,
    /// What it begins with. Default 100.
    pub start: u32,
    /// How many percent of its time without a queue an answer may take: above 100; default 200.
    pub tolerance: u32,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            min: 10,
            max: 10_000,
            start: 100,
            tolerance: 200,
        }
    }
}

impl AdaptiveConfig {
    /// See [`min`](Self::min).
    #[must_use]
    pub const fn min(mut self, requests: u32) -> Self {
        self.min = requests;
        self
    }

    /// See [`max`](Self::max).
    #[must_use]
    pub const fn max(mut self, requests: u32) -> Self {
        self.max = requests;
        self
    }

    /// See [`start`](Self::start).
    #[must_use]
    pub const fn start(mut self, requests: u32) -> Self {
        self.start = requests;
        self
    }

    /// See [`tolerance`](Self::tolerance).
    #[must_use]
    pub const fn tolerance(mut self, percent: u32) -> Self {
        self.tolerance = percent;
        self
    }
}

/// The limit at work, shared by all workers.
#[derive(Debug)]
pub(super) struct Adaptive {
    in_flight: AtomicU32,
    limit: AtomicU32,
    gradient: Mutex<Gradient>,
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Running {
    of: Arc<Adaptive>,
    /// When it began, until its answer has come.
    since: Option<Instant>,
}

impl Adaptive {
    pub(super) fn new(config: AdaptiveConfig) -> Self {
        let gradient = Gradient::new(config);
        Self {
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(gradient.limit()),
            gradient: Mutex::new(gradient),
        }
    }

    /// Counts one more; `None` at the limit.
    pub(super) fn try_begin(this: &Arc<Self>, now: Instant) -> Option<Running> {
        let limit = this.limit.load(Relaxed);
        let begin = |count: u32| (count < limit).then(|| count + 1);
        this.in_flight.fetch_update(Relaxed, Relaxed, begin).ok()?;
        Some(Running {
            of: Arc::clone(this),
            since: Some(now),
        })
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }
}

impl Running {
    /// Its answer has come; what is left of it is the client's pace.
    pub(super) fn answered(&mut self, now: Instant) {
        let Some(since) = self.since.take() else {
            return;
        };
        // One sample less is no loss; a wait would be.
        let Ok(mut gradient) = self.of.gradient.try_lock() else {
            return;
        };
        gradient.handle_answer(now, now.since(since), self.of.in_flight());
        self.of.limit.store(gradient.limit(), Relaxed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.of.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The decision: answers in, a limit out.
#[derive(Clone, Debug)]
struct Gradient {
    config: AdaptiveConfig,
    limit: f64,
    window: Window,
    /// The fastest answer of this half minute, and of the one before.
    fastest: [Duration; 2],
    /// When the next half minute begins.
    renews: Option<Instant>,
    /// Windows for which the limit is still cut.
    cut: u8,
}

#[derive(Clone, Debug)]
struct Window {
    ends: Option<Instant>,
    fastest: Duration,
    answers: u32,
    in_flight: u32,
}

impl Window {
    const EMPTY: Self = Self {
        ends: None,
        fastest: Duration::MAX,
        answers: 0,
        in_flight: 0,
    };
}

impl Gradient {
    fn new(mut config: AdaptiveConfig) -> Self {
        config.min = config.min.max(1);
        config.max = config.max.max(config.min);
        config.tolerance = config.tolerance.max(101);
        Self {
            limit: config.start.clamp(config.min, config.max).into(),
            config,
            window: Window::EMPTY,
            fastest: [Duration::MAX; 2],
            renews: None,
            cut: 0,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between two numbers of 32 bits"
    )]
    fn limit(&self) -> u32 {
        let limit = if self.cut > 0 {
            self.limit / 4.0
        } else {
            self.limit
        };
        (limit as u32).max(self.config.min)
    }

    fn handle_answer(&mut self, now: Instant, took: Duration, in_flight: u32) {
        let window = &mut self.window;
        let ends = *window.ends.get_or_insert(now + WINDOW);
        window.fastest = window.fastest.min(took);
        window.answers += 1;
        window.in_flight = window.in_flight.max(in_flight);
        if now >= ends && window.answers >= LEAST_ANSWERS {
            let window = std::mem::replace(&mut self.window, Window::EMPTY);
            self.handle_window(now, &window);
        }
    }

    fn handle_window(&mut self, now: Instant, window: &Window) {
        let [this, before] = &mut self.fastest;
        *this = (*this).min(window.fastest);
        let fastest = (*this).min(*before);
        if now >= *self.renews.get_or_insert(now + RENEWAL) {
            self.fastest = [Duration::MAX, self.fastest[0]];
            self.renews = Some(now + RENEWAL);
            self.cut = CUT_WINDOWS;
            return;
        }
        if self.cut > 0 {
            self.cut -= 1;
            return;
        }
        let tolerated = fastest.as_secs_f64() * f64::from(self.config.tolerance) / 100.0;
        let gradient = (tolerated / window.fastest.as_secs_f64().max(1e-9)).clamp(0.5, 1.0);
        // A limit that nobody meets says nothing of a higher one.
        let is_met = f64::from(window.in_flight) * 2.0 >= self.limit;
        if gradient < 1.0 || is_met {
            let next = self.limit * gradient + self.limit.sqrt();
            self.limit = next.clamp(self.config.min.into(), self.config.max.into());
        }
    }
}

/// Long against most answers, short against the patience of clients.
const WINDOW: Duration = Duration::from_millis(100);

/// The fastest of fewer answers is chance.
const LEAST_ANSWERS: u32 = 10;

/// How long an answer is remembered as the fastest, twice: backends and their data change.
const RENEWAL: Duration = Duration::from_secs(30);

/// One window for the queue to drain, and one to measure.
const CUT_WINDOWS: u8 = 2;

#[cfg(test)]
mod tests;
