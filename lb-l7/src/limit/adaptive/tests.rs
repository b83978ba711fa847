use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use lbcore::rng::{Rng, Xoshiro};

use super::*;

const MILLI: u64 = 1_000_000;

/// Backends with 20 threads, that take requests in order, against clients who wait half a second.
struct Simulation {
    rng: Xoshiro,
    /// Requests a second.
    load: f64,
    limiter: Option<Arc<Adaptive>>,
}

#[derive(Debug, Default)]
struct Outcome {
    offered: u64,
    turned: u64,
    /// Answered while the client still waited.
    in_time: u64,
    /// Of all that were let in, in milliseconds.
    latencies: Vec<u64>,
}

impl Outcome {
    fn p99(&mut self) -> u64 {
        self.latencies.sort_unstable();
        let at = self.latencies.len() * 99 / 100;
        self.latencies.get(at).copied().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Arrival,
    Done(usize),
}

impl Simulation {
    fn new(load: f64, limiter: Option<AdaptiveConfig>) -> Self {
        Self {
            rng: Xoshiro::new(11),
            load,
            limiter: limiter.map(|config| Arc::new(Adaptive::new(config))),
        }
    }

    /// Nanoseconds, of a number of them.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some seconds at most, and never below zero"
    )]
    fn nanos(span: f64) -> u64 {
        span as u64
    }

    fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// 9 of 10 requests take 5 to 15 ms, the tenth 100 ms: 19 ms on average, so that 20 threads
    /// serve 1052 a second.
    fn work(&mut self) -> u64 {
        let part = self.unit();
        if self.unit() < 0.1 {
            100 * MILLI
        } else {
            5 * MILLI + Self::nanos(part * (10 * MILLI) as f64)
        }
    }

    fn run(&mut self, seconds: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let mut events = BinaryHeap::from([Reverse((0, Event::Arrival))]);
        let mut requests: Vec<(u64, Option<Running>)> = Vec::new();
        let (mut waiting, mut idle) = (VecDeque::new(), 20);
        while let Some(Reverse((now, event))) = events.pop() {
            let at = Instant::from_nanos(now);
            match event {
                Event::Arrival if now < seconds * 1000 * MILLI => {
                    let gap = -(1.0 - self.unit()).ln() / self.load * 1e9;
                    events.push(Reverse((now + Self::nanos(gap), Event::Arrival)));
                    outcome.offered += 1;
                    let running = match &self.limiter {
                        Some(limiter) => match Adaptive::try_begin(limiter, at) {
                            Some(running) => Some(running),
                            None => {
                                outcome.turned += 1;
                                continue;
                            }
                        },
                        None => None,
                    };
                    waiting.push_back(requests.len());
                    requests.push((now, running));
                }
                Event::Arrival => {}
                Event::Done(request) => {
                    idle += 1;
                    let (since, running) = &mut requests[request];
                    let took = now - *since;
                    outcome.latencies.push(took / MILLI);
                    outcome.in_time += u64::from(took <= 500 * MILLI);
                    if let Some(mut running) = running.take() {
                        running.answered(at);
                    }
                }
            }
            while idle > 0
                && let Some(request) = waiting.pop_front()
            {
                idle -= 1;
                let done = now + self.work();
                events.push(Reverse((done, Event::Done(request))));
            }
        }
        outcome
    }
}

/// 20 threads, over 19 ms.
const CAPACITY: f64 = 1052.6;

/// Answered in time, of what the backends could do in 120 s: 0.9 % without a limit, 99.2 % with it.
/// The slowest of a hundred answers takes 119 s without it, and 116 ms with it.
#[test]
fn against_twice_the_load_most_of_what_can_be_done_is_done_in_time() {
    let seconds = 120;
    let possible = CAPACITY * seconds as f64;
    let mut without = Simulation::new(2.0 * CAPACITY, None).run(seconds);
    let mut with = Simulation::new(2.0 * CAPACITY, Some(AdaptiveConfig::default())).run(seconds);
    let share = |outcome: &Outcome| outcome.in_time as f64 / possible;
    let shares = (share(&without), share(&with));
    let p99 = (without.p99(), with.p99());
    assert!(shares.0 < 0.02 && shares.1 > 0.98, "{shares:?} {p99:?}");
    assert!(p99.0 > 110_000 && p99.1 < 130, "{shares:?} {p99:?}");
    assert_eq!(without.turned, 0);
    assert_eq!(with.offered, with.turned + with.latencies.len() as u64);
}

#[test]
fn at_usual_load_nobody_is_turned_away() {
    let mut simulation = Simulation::new(0.7 * CAPACITY, Some(AdaptiveConfig::default()));
    let outcome = simulation.run(120);
    let share = outcome.turned as f64 / outcome.offered as f64;
    assert!(share < 0.001, "{share}");
}

fn feed(gradient: &mut Gradient, now: &mut Instant, windows: u32, took: Duration, in_flight: u32) {
    for _ in 0..windows {
        for _ in 0..LEAST_ANSWERS {
            gradient.handle_answer(*now, took, in_flight);
            // The tenth comes after the window's end.
            *now += WINDOW / 8;
        }
    }
}

const FAST: Duration = Duration::from_millis(10);

#[test]
fn the_limit_rises_by_its_root_while_it_is_met_and_answers_are_fast() {
    let mut gradient = Gradient::new(AdaptiveConfig::default());
    let mut now = Instant::ZERO;
    feed(&mut gradient, &mut now, 1, FAST, 49);
    assert_eq!(gradient.limit(), 100);
    feed(&mut gradient, &mut now, 1, FAST, 50);
    assert_eq!(gradient.limit(), 110);
    feed(&mut gradient, &mut now, 1, 2 * FAST, 100);
    assert_eq!(gradient.limit(), 120);
    feed(&mut gradient, &mut now, 1, 2 * FAST, 1);
    assert_eq!(gradient.limit(), 120);
}

#[test]
fn the_limit_falls_in_proportion_and_by_half_at_most() {
    let mut gradient = Gradient::new(AdaptiveConfig::default());
    let mut now = Instant::ZERO;
    feed(&mut gradient, &mut now, 1, FAST, 1);
    feed(&mut gradient, &mut now, 1, 100 * FAST, 1);
    assert_eq!(gradient.limit(), 60);
    feed(&mut gradient, &mut now, 1, Duration::from_millis(25), 1);
    assert_eq!(gradient.limit(), 55);
    feed(&mut gradient, &mut now, 100, 100 * FAST, 1);
    assert_eq!(gradient.limit(), 10);
}

#[test]
fn the_limit_stays_between_its_bounds() {
    let config = AdaptiveConfig::default()
        .min(0)
        .max(0)
        .start(9)
        .tolerance(0);
    let mut gradient = Gradient::new(config);
    assert_eq!(gradient.limit(), 1);
    let mut now = Instant::ZERO;
    feed(&mut gradient, &mut now, 50, FAST, 100);
    assert_eq!(gradient.limit(), 1);
    let config = AdaptiveConfig::default().min(5).max(120).start(1000);
    let mut gradient = Gradient::new(config);
    assert_eq!(gradient.limit(), 120);
    feed(&mut gradient, &mut now, 5, FAST, 100);
    assert_eq!(gradient.limit(), 120);
    assert_eq!(Gradient::new(config.start(0)).limit(), 5);
}

#[test]
fn every_half_minute_it_is_cut_for_two_windows_and_measures_anew() {
    let mut gradient = Gradient::new(AdaptiveConfig::default());
    let mut now = Instant::ZERO;
    feed(&mut gradient, &mut now, 1, FAST, 1);
    let first = now;
    while gradient.limit() == 100 {
        feed(&mut gradient, &mut now, 1, FAST, 1);
    }
    assert!(now.since(first) >= RENEWAL && now.since(first) < RENEWAL + 2 * WINDOW);
    assert_eq!(gradient.limit(), 25);
    feed(&mut gradient, &mut now, 1, 3 * FAST, 1);
    assert_eq!(gradient.limit(), 25);
    feed(&mut gradient, &mut now, 1, 3 * FAST, 1);
    assert_eq!(gradient.limit(), 100);
    // The fast answers of the half minute before still count, and then no more.
    feed(&mut gradient, &mut now, 1, 3 * FAST, 1);
    assert_eq!(gradient.limit(), 76);
    feed(&mut gradient, &mut now, 700, 3 * FAST, 1);
    let settled = gradient.limit;
    feed(&mut gradient, &mut now, 1, 3 * FAST, u32::MAX);
    assert!(gradient.limit > settled);
}

#[test]
fn requests_under_way_are_counted_to_the_one() {
    let config = AdaptiveConfig::default().min(3).max(3).start(3);
    let adaptive = Arc::new(Adaptive::new(config));
    let now = Instant::ZERO;
    let mut all: Vec<Running> = (0..3)
        .map(|_| Adaptive::try_begin(&adaptive, now).unwrap())
        .collect();
    assert!(Adaptive::try_begin(&adaptive, now).is_none());
    assert_eq!((adaptive.in_flight(), adaptive.limit()), (3, 3));
    all[0].answered(now);
    all[0].answered(now);
    assert!(Adaptive::try_begin(&adaptive, now).is_none());
    all.pop();
    assert_eq!(adaptive.in_flight(), 2);
    assert!(Adaptive::try_begin(&adaptive, now).is_some());
    drop(all);
    assert_eq!(adaptive.in_flight(), 0);
}
