//! What probes make of a backend's health, at every boundary.

use std::time::Duration;

use lbcore::Instant;
use lbcore::health::{
    DueProbe, Health, HealthCheck, HealthConfig, HealthConfigError, Monitor, ProbeFailure,
    ProbeNumber, ProbeOutcome,
};
use lbcore::rng::Xoshiro;
use proptest::prelude::*;

const T0: Instant = Instant::from_nanos(1_000_000_000);
const PASS: ProbeOutcome = ProbeOutcome::Pass(Duration::from_millis(1));
const REFUSED: ProbeOutcome = ProbeOutcome::Fail(ProbeFailure::Refused);
const LATE: ProbeOutcome = ProbeOutcome::Fail(ProbeFailure::Timeout);

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn steady() -> HealthConfig {
    HealthConfig::default().jitter(0)
}

/// A monitor and the time it lives in; answers each probe at once.
struct Run {
    monitor: Monitor,
    now: Instant,
    rng: Xoshiro,
}

impl Run {
    fn new(config: &HealthConfig) -> Self {
        Self {
            monitor: Monitor::new(config).expect("in range"),
            now: T0,
            rng: Xoshiro::new(1),
        }
    }

    fn probe(&mut self) -> Option<DueProbe> {
        self.monitor.poll_probe(self.now, &mut self.rng)
    }

    /// Waits for the next probe, answers it, and gives what changed.
    fn answer(&mut self, outcome: ProbeOutcome) -> Option<(Health, Health)> {
        let due = self.monitor.poll_timeout().expect("never idle");
        self.now = due.max(self.now);
        let probe = self.probe().expect("a probe is due when it says");
        self.monitor
            .handle_outcome(self.now, probe.number, outcome)
            .map(|change| {
                assert_eq!(change.because, outcome);
                assert_eq!(change.at, self.now);
                (change.from, change.to)
            })
    }

    fn answers(&mut self, outcomes: &[ProbeOutcome]) -> Vec<Health> {
        outcomes
            .iter()
            .map(|outcome| {
                self.answer(*outcome);
                self.monitor.health()
            })
            .collect()
    }
}

#[test]
fn the_first_answer_decides_at_once_whichever_it_is() {
    let mut run = Run::new(&steady());
    assert_eq!(run.monitor.health(), Health::Unknown);
    assert_eq!(run.monitor.last(), None);
    assert_eq!(run.answer(PASS), Some((Health::Unknown, Health::Up)));
    assert_eq!(run.monitor.last(), Some(PASS));

    let mut run = Run::new(&steady());
    assert_eq!(run.answer(REFUSED), Some((Health::Unknown, Health::Down)));
}

#[test]
fn fall_failures_in_a_row_take_a_backend_down_and_one_fewer_do_not() {
    let mut run = Run::new(&steady().fall(3));
    run.answer(PASS);
    assert_eq!(
        run.answers(&[REFUSED, REFUSED, PASS, REFUSED, REFUSED]),
        [Health::Up; 5]
    );
    assert_eq!(run.answer(REFUSED), Some((Health::Up, Health::Down)));
    assert_eq!(run.answer(REFUSED), None);
}

#[test]
fn rise_successes_in_a_row_bring_a_backend_up_and_one_fewer_do_not() {
    let mut run = Run::new(&steady().rise(2));
    run.answer(REFUSED);
    assert_eq!(run.answers(&[PASS, REFUSED, PASS]), [Health::Down; 3]);
    assert_eq!(run.answer(PASS), Some((Health::Down, Health::Up)));
    assert_eq!(run.answer(PASS), None);
}

#[test]
fn the_answers_before_a_change_do_not_count_towards_the_next() {
    let mut run = Run::new(&steady().rise(2).fall(2));
    run.answer(PASS);
    assert_eq!(
        run.answers(&[REFUSED, REFUSED, PASS, REFUSED, PASS, PASS, REFUSED]),
        [
            Health::Up,
            Health::Down,
            Health::Down,
            Health::Down,
            Health::Down,
            Health::Up,
            Health::Up,
        ]
    );
}

#[test]
fn the_first_probe_is_due_at_once_and_the_second_an_interval_after_its_start() {
    let mut run = Run::new(&steady().interval(millis(2000)));
    assert_eq!(run.monitor.poll_timeout(), Some(Instant::ZERO));
    let first = run.probe().unwrap();
    assert_eq!(first.deadline, T0 + millis(1000));
    assert_eq!(run.monitor.poll_timeout(), Some(first.deadline));

    run.now += millis(300);
    run.monitor.handle_outcome(run.now, first.number, PASS);
    let second = T0 + millis(2000);
    assert_eq!(run.monitor.poll_timeout(), Some(second));
    run.now = second - Duration::from_nanos(1);
    assert_eq!(run.probe(), None);
    run.now = second;
    assert!(run.probe().is_some());
}

#[test]
fn only_one_probe_is_under_way() {
    let mut run = Run::new(&steady());
    assert!(run.probe().is_some());
    run.now += millis(10_000);
    assert_eq!(run.probe(), None);
}

#[test]
fn a_probe_without_an_answer_times_out_at_its_deadline_and_not_before() {
    let mut run = Run::new(&steady().timeout(millis(700)));
    let probe = run.probe().unwrap();
    assert_eq!(probe.deadline, T0 + millis(700));
    let just_before = probe.deadline - Duration::from_nanos(1);
    assert_eq!(run.monitor.handle_timeout(just_before), None);
    let change = run.monitor.handle_timeout(probe.deadline).unwrap();
    assert_eq!((change.to, change.because), (Health::Down, LATE));
    assert_eq!(run.monitor.handle_timeout(probe.deadline), None);
}

#[test]
fn an_answer_is_in_time_until_just_before_the_deadline() {
    let mut run = Run::new(&steady());
    let probe = run.probe().unwrap();
    let just_before = probe.deadline - Duration::from_nanos(1);
    let change = run.monitor.handle_outcome(just_before, probe.number, PASS);
    assert_eq!(change.unwrap().to, Health::Up);

    let mut run = Run::new(&steady());
    let probe = run.probe().unwrap();
    let change = run
        .monitor
        .handle_outcome(probe.deadline, probe.number, PASS);
    assert_eq!(change.unwrap().because, LATE);
    assert_eq!(run.monitor.last(), Some(LATE));
}

#[test]
fn an_answer_to_another_probe_changes_nothing() {
    let mut run = Run::new(&steady());
    let first = run.probe().unwrap();
    run.monitor.handle_timeout(first.deadline);
    run.now = T0 + millis(2000);
    let second = run.probe().unwrap();
    assert_ne!(first.number, second.number);
    assert_eq!(
        run.monitor.handle_outcome(run.now, first.number, PASS),
        None
    );
    let unknown = ProbeNumber(second.number.0 + 1);
    assert_eq!(run.monitor.handle_outcome(run.now, unknown, PASS), None);
    assert_eq!(run.monitor.poll_timeout(), Some(second.deadline));
}

#[test]
fn an_answer_given_twice_counts_once() {
    let mut run = Run::new(&steady().fall(2));
    run.answer(PASS);
    run.now += millis(2000);
    let probe = run.probe().unwrap();
    for _ in 0..5 {
        run.monitor.handle_outcome(run.now, probe.number, REFUSED);
    }
    assert_eq!(run.monitor.health(), Health::Up);
}

#[test]
fn probes_come_faster_while_a_change_is_being_confirmed() {
    let config = steady().interval(millis(2000)).fast_interval(millis(300));
    let mut run = Run::new(&config.rise(2).fall(2));
    let mut gaps = Vec::new();
    for outcome in [PASS, REFUSED, PASS, REFUSED, REFUSED, PASS, PASS] {
        run.answer(outcome);
        gaps.push(run.monitor.poll_timeout().unwrap().since(run.now));
    }
    assert_eq!(gaps, [2000, 300, 2000, 300, 2000, 300, 2000].map(millis));
}

#[test]
fn the_fast_interval_is_a_quarter_of_the_interval_unless_set() {
    assert_eq!(steady().effective_fast_interval(), millis(500));
    let shortest = steady().interval(Duration::from_nanos(3));
    assert_eq!(shortest.effective_fast_interval(), Duration::from_nanos(1));
    assert_eq!(shortest.check(), Ok(()));
}

#[test]
fn a_probe_slower_than_the_interval_delays_the_next_and_is_not_overtaken() {
    let mut run = Run::new(&steady().interval(millis(100)).timeout(millis(1000)));
    assert!(run.probe().is_some());
    run.now = T0 + millis(1000);
    assert_eq!(run.probe(), None);
    run.monitor.handle_timeout(run.now);
    assert!(run.probe().is_some());
}

#[test]
fn the_first_probes_of_a_pool_are_spread_when_asked() {
    let config = steady().initial_spread(millis(1000));
    let mut rng = Xoshiro::new(3);
    let starts: Vec<Duration> = (0..1000)
        .map(|_| {
            let mut monitor = Monitor::new(&config).unwrap();
            assert_eq!(monitor.poll_probe(T0, &mut rng), None);
            monitor.poll_timeout().unwrap().since(T0)
        })
        .collect();
    assert!(starts.iter().all(|start| *start <= millis(1000)));
    assert!(starts.iter().any(|start| *start < millis(100)));
    assert!(starts.iter().any(|start| *start > millis(900)));
}

#[test]
fn a_new_configuration_keeps_the_health_and_counts_afresh() {
    let mut run = Run::new(&steady().fall(3));
    run.answers(&[PASS, REFUSED, REFUSED]);
    run.monitor.reconfigure(&steady().fall(2)).unwrap();
    assert_eq!(run.monitor.health(), Health::Up);
    assert_eq!(run.answers(&[REFUSED, REFUSED]), [Health::Up, Health::Down]);
    assert!(run.monitor.reconfigure(&steady().fall(0)).is_err());
}

#[test]
fn each_field_out_of_range_is_named() {
    let zero = Duration::ZERO;
    for (config, error) in [
        (steady().interval(zero), HealthConfigError::Interval),
        (
            steady().fast_interval(zero),
            HealthConfigError::FastInterval,
        ),
        (
            steady().fast_interval(millis(2001)),
            HealthConfigError::FastInterval,
        ),
        (steady().timeout(zero), HealthConfigError::Timeout),
        (steady().jitter(51), HealthConfigError::Jitter(51)),
        (steady().rise(0), HealthConfigError::Rise),
        (steady().fall(0), HealthConfigError::Fall),
    ] {
        assert_eq!(config.check(), Err(error));
        assert_eq!(Monitor::new(&config).unwrap_err(), error);
    }
    assert_eq!(steady().fast_interval(millis(2000)).check(), Ok(()));
    assert_eq!(steady().jitter(50).check(), Ok(()));
}

#[test]
fn health_is_ordered_by_trust_and_printed_in_lower_case() {
    assert!(Health::Down < Health::Unknown && Health::Unknown < Health::Up);
    assert_eq!(Health::default(), Health::Unknown);
    let printed = [Health::Down, Health::Unknown, Health::Up].map(|health| health.to_string());
    assert_eq!(printed, ["down", "unknown", "up"]);
}

proptest! {
    /// The whole of rise and fall against a plain model: the last `n` answers all disagree.
    #[test]
    fn health_is_what_the_last_answers_in_a_row_say(
        rise in 1..5_u32,
        fall in 1..5_u32,
        passes in proptest::collection::vec(any::<bool>(), 1..60),
    ) {
        let mut run = Run::new(&HealthConfig::default().rise(rise).fall(fall));
        let mut model = Health::Unknown;
        for (i, pass) in passes.iter().enumerate() {
            let row = passes[..=i].iter().rev().take_while(|p| *p == pass).count();
            let (verdict, enough) = if *pass { (Health::Up, rise) } else { (Health::Down, fall) };
            if model == Health::Unknown || row >= enough as usize {
                model = verdict;
            }
            run.answer(if *pass { PASS } else { REFUSED });
            prop_assert_eq!(run.monitor.health(), model);
        }
    }

    /// Jitter stays within its percentage, and the mean over many probes is the interval.
    #[test]
    fn intervals_stay_within_the_jitter(jitter in 0..=50_u8, seed in any::<u64>()) {
        let mut run = Run::new(&HealthConfig::default().jitter(jitter));
        run.rng = Xoshiro::new(seed);
        let reach = 2000 * u64::from(jitter) / 100;
        let mut total = Duration::ZERO;
        for _ in 0..200 {
            run.answer(PASS);
            let gap = run.monitor.poll_timeout().unwrap().since(run.now);
            prop_assert!(gap >= millis(2000 - reach) && gap <= millis(2000 + reach));
            total += gap;
        }
        let mean = total / 200;
        // The mean of 200 uniform numbers deviates by reach / sqrt(3 * 200), a 24th of the reach;
        // this allows six of those.
        let slack = millis(reach / 4 + 1);
        prop_assert!(mean >= millis(2000) - slack && mean <= millis(2000) + slack);
    }
}
