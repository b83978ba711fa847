//! Which backends traffic's errors eject, for how long, and how many of them; and the ramp back.

use std::time::Duration;

use lbcore::health::{
    BackendWindow, Ejection, EjectionReason, Outlier, OutlierConfig, OutlierConfigError, SlowStart,
    SlowStartError,
};
use lbcore::{BackendId, Instant};
use proptest::prelude::*;

const T0: Instant = Instant::from_nanos(1_000_000_000);
const NANO: Duration = Duration::from_nanos(1);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn id(n: u64) -> BackendId {
    BackendId::new(n)
}

fn window(n: u64, ok: u64, failed: u64) -> BackendWindow {
    BackendWindow {
        id: id(n),
        ok,
        failed,
        consecutive_failures: 0,
        latency: Duration::from_millis(10),
    }
}

fn streak(n: u64, consecutive_failures: u32) -> BackendWindow {
    BackendWindow {
        consecutive_failures,
        ..window(n, 0, consecutive_failures.into())
    }
}

/// Backends 0.. with these streaks.
fn streaks<const N: usize>(rows: [u32; N]) -> Vec<BackendWindow> {
    (0..).zip(rows).map(|(n, row)| streak(n, row)).collect()
}

fn outlier(config: OutlierConfig) -> Outlier {
    Outlier::new(config).expect("in range")
}

fn lenient() -> OutlierConfig {
    OutlierConfig::default().max_ejected_percent(100)
}

fn ejected(outlier: &Outlier, backends: u64) -> Vec<u64> {
    (0..backends).filter(|n| outlier.ejected(id(*n))).collect()
}

fn reasons(events: &[Ejection]) -> Vec<(BackendId, EjectionReason)> {
    let reason = |event: &Ejection| match event {
        Ejection::Ejected { id, because, .. } => Some((*id, *because)),
        _ => None,
    };
    events.iter().filter_map(reason).collect()
}

fn until(events: &[Ejection]) -> (Duration, u32) {
    match events {
        [
            Ejection::Ejected {
                at, until, count, ..
            },
        ] => (until.since(*at), *count),
        other => panic!("one ejection expected: {other:?}"),
    }
}

/// Tells the rates of an interval, and ends it.
fn judge(outlier: &mut Outlier, windows: &[BackendWindow]) -> Vec<Ejection> {
    outlier.handle_window(T0, windows);
    let empty: Vec<_> = windows
        .iter()
        .map(|w| BackendWindow {
            ok: 0,
            failed: 0,
            ..*w
        })
        .collect();
    outlier.handle_window(T0 + secs(10), &empty)
}

#[test]
fn five_failures_in_a_row_eject_and_four_do_not() {
    let mut outlier = outlier(lenient());
    let events = outlier.handle_window(T0, &streaks([4, 5, 0]));
    assert_eq!(
        events,
        [Ejection::Ejected {
            id: id(1),
            at: T0,
            until: T0 + secs(30),
            count: 1,
            because: EjectionReason::ConsecutiveFailures(5),
        }]
    );
    assert_eq!(ejected(&outlier, 3), [1]);
    assert_eq!(outlier.ejected_count(), 1);
}

#[test]
fn a_detector_set_to_zero_is_off() {
    let mut outlier = outlier(lenient().consecutive_failures(0));
    assert_eq!(outlier.handle_window(T0, &streaks([9, 900])), []);
}

#[test]
fn an_ejection_ends_when_its_time_is_over_and_not_before() {
    let mut outlier = outlier(lenient());
    outlier.handle_window(T0, &streaks([5, 0]));
    let back = T0 + secs(30);
    assert_eq!(outlier.handle_timeout(back - NANO), []);
    assert!(outlier.ejected(id(0)));
    let event = Ejection::Returned {
        id: id(0),
        at: back,
    };
    assert_eq!(outlier.handle_timeout(back), [event]);
    assert_eq!(outlier.handle_timeout(back), []);
    assert_eq!(
        (outlier.ejected(id(0)), outlier.ejected_count()),
        (false, 0)
    );
}

#[test]
fn successes_do_not_end_an_ejection_early() {
    let mut outlier = outlier(lenient());
    outlier.handle_window(T0, &streaks([5, 0]));
    outlier.handle_window(T0 + secs(1), &[window(0, 1000, 0), window(1, 0, 0)]);
    assert!(outlier.ejected(id(0)));
}

#[test]
fn a_row_that_was_paid_for_does_not_eject_again() {
    let mut outlier = outlier(lenient());
    outlier.handle_window(T0, &streaks([5, 0]));
    // Two sessions that were under way fail too.
    outlier.handle_window(T0 + secs(1), &streaks([7, 0]));
    assert_eq!(
        outlier.handle_window(T0 + secs(30), &streaks([7, 0])).len(),
        1
    );
    assert_eq!(outlier.handle_window(T0 + secs(31), &streaks([11, 0])), []);
    let events = outlier.handle_window(T0 + secs(32), &streaks([12, 0]));
    let because = EjectionReason::ConsecutiveFailures(5);
    assert_eq!(reasons(&events), [(id(0), because)]);
}

#[test]
fn a_row_that_ejected_between_windows_is_paid_for_too() {
    let mut outlier = outlier(lenient());
    outlier.handle_window(T0, &streaks([0, 0]));
    assert!(outlier.handle_streak(T0, id(0), 4).is_none());
    assert!(outlier.handle_streak(T0, id(0), 5).is_some());
    outlier.handle_timeout(T0 + secs(30));
    assert_eq!(outlier.handle_streak(T0 + secs(30), id(0), 9), None);
    assert!(outlier.handle_streak(T0 + secs(30), id(0), 10).is_some());
}

#[test]
fn after_a_success_a_row_counts_from_nothing() {
    let mut outlier = outlier(lenient());
    outlier.handle_window(T0, &streaks([5, 0]));
    outlier.handle_timeout(T0 + secs(30));
    let broken = BackendWindow {
        ok: 1,
        ..streak(0, 5)
    };
    let events = outlier.handle_window(T0 + secs(31), &[broken, streak(1, 0)]);
    assert_eq!(reasons(&events).len(), 1);

    // And by the number alone, when no window told of the success.
    let mut outlier = self::outlier(lenient());
    outlier.handle_window(T0, &streaks([5, 0]));
    outlier.handle_timeout(T0 + secs(30));
    assert_eq!(outlier.handle_streak(T0 + secs(30), id(0), 1), None);
    assert_eq!(outlier.handle_streak(T0 + secs(30), id(0), 5), None);
    assert!(outlier.handle_streak(T0 + secs(30), id(0), 6).is_some());
}

#[test]
fn an_unknown_backend_has_no_row() {
    let mut outlier = outlier(lenient());
    outlier.handle_window(T0, &streaks([0, 0]));
    assert_eq!(outlier.handle_streak(T0, id(7), 50), None);
}

/// Ejects backend 0 at `now` by a fresh row, and gives how long and the how manieth it is.
fn eject_again(outlier: &mut Outlier, now: Instant) -> (Duration, u32) {
    let fresh = BackendWindow {
        ok: 1,
        ..streak(0, 5)
    };
    let events = outlier.handle_window(now, &[fresh, streak(1, 0)]);
    let only: Vec<_> = events
        .into_iter()
        .filter(|event| matches!(event, Ejection::Ejected { .. }))
        .collect();
    until(&only)
}

#[test]
fn each_ejection_in_a_row_lasts_a_base_longer_up_to_the_longest() {
    let mut outlier = outlier(lenient().max_ejection(secs(100)));
    let mut now = T0;
    let mut spans = Vec::new();
    for count in 1..=5 {
        let (span, told) = eject_again(&mut outlier, now);
        assert_eq!(told, count);
        spans.push(span);
        now += span;
    }
    assert_eq!(spans, [30, 60, 90, 100, 100].map(secs));
}

#[test]
fn each_base_span_without_an_ejection_takes_one_off_the_count() {
    for (idle, count) in [
        (Duration::ZERO, 4),
        (secs(30) - NANO, 4),
        (secs(30), 3),
        (secs(60), 2),
        (secs(90), 1),
        (secs(900), 1),
    ] {
        let mut outlier = outlier(lenient());
        let mut now = T0;
        for _ in 0..3 {
            now += eject_again(&mut outlier, now).0;
        }
        outlier.handle_timeout(now);
        assert_eq!(eject_again(&mut outlier, now + idle).1, count, "{idle:?}");
    }
}

#[test]
fn a_tenth_of_the_pool_may_be_ejected_and_always_one() {
    for (backends, most) in [(1, 0), (2, 1), (9, 1), (19, 1), (20, 2), (29, 2), (30, 3)] {
        let mut outlier = outlier(OutlierConfig::default());
        let all: Vec<_> = (0..backends).map(|n| streak(n, 5)).collect();
        let events = outlier.handle_window(T0, &all);
        assert_eq!(events.len(), most, "of {backends}");
        assert_eq!(outlier.ejected_count(), most);
        assert_eq!(ejected(&outlier, backends).len(), most);
    }
}

#[test]
fn no_percentage_ejects_none() {
    let mut outlier = outlier(OutlierConfig::default().max_ejected_percent(0));
    assert_eq!(outlier.handle_window(T0, &streaks([9; 20])), []);
}

#[test]
fn a_backend_that_left_the_pool_is_forgotten_and_makes_room() {
    let mut outlier = outlier(OutlierConfig::default());
    outlier.handle_window(T0, &streaks([5, 0, 0]));
    outlier.handle_window(T0, &[streak(1, 5), streak(2, 0)]);
    assert_eq!(ejected(&outlier, 3), [1]);
    assert_eq!(outlier.ejected_count(), 1);
}

#[test]
fn a_failure_percentage_is_judged_from_its_threshold_on() {
    let config = lenient().success_rate_deviations(0.0).min_requests(1);
    let mut outlier = outlier(config);
    let windows = [
        window(0, 151, 849),
        window(1, 150, 850),
        window(2, 0, 1000),
        window(3, 1000, 0),
        window(4, 1000, 0),
    ];
    let events = judge(&mut outlier, &windows);
    let failing = EjectionReason::FailurePercentage;
    assert_eq!(
        reasons(&events),
        [(id(2), failing(100)), (id(1), failing(85))]
    );
}

#[test]
fn rates_wait_for_enough_requests_and_enough_backends() {
    let all_fail = |backends: u64, requests: u64| {
        let config = lenient().success_rate_deviations(0.0);
        let windows: Vec<_> = (0..backends).map(|n| window(n, 0, requests)).collect();
        judge(&mut outlier(config), &windows).len()
    };
    assert_eq!(all_fail(5, 100), 5);
    assert_eq!(all_fail(5, 99), 0);
    assert_eq!(all_fail(4, 100), 0);
}

#[test]
fn rates_are_judged_when_the_interval_is_full_and_not_before() {
    let mut outlier = outlier(lenient());
    let windows: Vec<_> = (0..5).map(|n| window(n, 0, 50)).collect();
    assert_eq!(outlier.handle_window(T0, &windows), []);
    assert_eq!(outlier.handle_window(T0 + secs(10) - NANO, &windows), []);
    let none: Vec<_> = (0..5).map(|n| window(n, 0, 0)).collect();
    assert_eq!(outlier.handle_window(T0 + secs(10), &none).len(), 5);
    // The next interval begins with nothing.
    outlier.handle_timeout(T0 + secs(40));
    assert_eq!(outlier.handle_window(T0 + secs(40), &none), []);
}

#[test]
fn what_one_interval_gathered_is_not_carried_into_the_next() {
    let mut outlier = outlier(lenient());
    let half: Vec<_> = (0..5).map(|n| window(n, 0, 50)).collect();
    outlier.handle_window(T0, &half);
    assert_eq!(outlier.handle_window(T0 + secs(10), &[half[0]; 0]), []);
    let mut outlier = self::outlier(lenient());
    assert_eq!(judge(&mut outlier, &half), []);
    outlier.handle_window(T0 + secs(11), &half);
    assert_eq!(outlier.handle_window(T0 + secs(20), &half).len(), 5);
    let mut outlier = self::outlier(lenient());
    assert_eq!(judge(&mut outlier, &half), []);
    assert_eq!(outlier.handle_window(T0 + secs(20), &half), []);
}

#[test]
fn the_one_backend_far_below_its_peers_is_ejected() {
    let with_last = |ok| {
        let mut windows: Vec<_> = (0..4).map(|n| window(n, 1000, 0)).collect();
        windows.push(window(4, ok, 1000 - ok));
        reasons(&judge(&mut outlier(lenient()), &windows))
    };
    // Two deviations below the mean, whatever the distance; and 4/5 of the distance below it.
    assert_eq!(with_last(900), [(id(4), EjectionReason::SuccessRate(90))]);
    assert_eq!(with_last(937), [(id(4), EjectionReason::SuccessRate(93))]);
    assert_eq!(with_last(938), []);
    assert_eq!(with_last(1000), []);
}

#[test]
fn a_backend_within_the_deviations_of_its_peers_stays() {
    // Rates 100, 100, 100, 0, 0: mean 60, deviation 49; 0 is 1.22 deviations below.
    let windows = [
        window(0, 100, 0),
        window(1, 100, 0),
        window(2, 100, 0),
        window(3, 10, 90),
        window(4, 10, 90),
    ];
    let config = lenient().failure_percentage(0);
    assert_eq!(judge(&mut outlier(config.clone()), &windows), []);
    let closer = config.success_rate_deviations(1.2);
    assert_eq!(judge(&mut outlier(closer), &windows).len(), 2);
}

#[test]
fn the_worst_goes_first_when_not_all_may() {
    let windows: Vec<_> = [90, 95, 100, 99, 86]
        .into_iter()
        .zip(0..)
        .map(|(failed, n)| window(n, 100 - failed, failed))
        .collect();
    let config = OutlierConfig::default().max_ejected_percent(40);
    let mut outlier = outlier(config);
    judge(&mut outlier, &windows);
    assert_eq!(ejected(&outlier, 5), [2, 3]);
}

#[test]
fn a_slow_backend_is_ejected_when_asked_for() {
    let with_last = |config: OutlierConfig, millis| {
        let mut windows: Vec<_> = (0..5).map(|n| window(n, 1000, 0)).collect();
        windows[4].latency = Duration::from_millis(millis);
        reasons(&judge(&mut outlier(config), &windows))
    };
    let asked = lenient().latency_deviations(1.9);
    let slow = |millis| {
        [(
            id(4),
            EjectionReason::Latency(Duration::from_millis(millis)),
        )]
    };
    assert_eq!(with_last(lenient(), 1000), []);
    assert_eq!(with_last(asked.clone(), 100), slow(100));
    // Twice the mean of (40 + x) / 5 is x at 80 / 3 = 26.7.
    assert_eq!(with_last(asked.clone(), 27), slow(27));
    assert_eq!(with_last(asked.clone(), 26), []);
    assert_eq!(with_last(asked.latency_ratio(1.0), 11), slow(11));
}

#[test]
fn latencies_are_weighted_by_their_successes_and_failures_have_none() {
    let config = lenient().latency_deviations(1.9).consecutive_failures(0);
    let mut outlier = outlier(config.failure_percentage(0).success_rate_deviations(0.0));
    let mut windows: Vec<_> = (0..5).map(|n| window(n, 90, 10)).collect();
    outlier.handle_window(T0, &windows);
    windows[4] = BackendWindow {
        latency: Duration::from_millis(40),
        ..window(4, 270, 0)
    };
    outlier.handle_window(T0, &windows);
    for other in &mut windows {
        *other = BackendWindow {
            ok: 0,
            latency: secs(9),
            ..*other
        };
    }
    let events = outlier.handle_window(T0 + secs(10), &windows);
    // 90 of 10 ms and 270 of 40 ms.
    let because = EjectionReason::Latency(Duration::from_micros(32_500));
    assert_eq!(reasons(&events), [(id(4), because)]);
}

#[test]
fn an_ejected_backend_is_not_judged_with_its_peers() {
    let mut outlier = outlier(lenient());
    outlier.handle_window(T0, &streaks([5, 0, 0, 0, 0]));
    let windows: Vec<_> = (0..5).map(|n| window(n, 0, 100)).collect();
    // Only four are left, and five are wanted.
    assert_eq!(outlier.handle_window(T0 + secs(10), &windows), []);
}

#[test]
fn windows_are_wanted_ten_times_an_interval_and_when_a_backend_returns() {
    let mut outlier = outlier(lenient().interval(secs(1000)));
    assert_eq!(outlier.poll_timeout(), Some(Instant::ZERO));
    outlier.handle_window(T0, &streaks([0, 0]));
    assert_eq!(outlier.poll_timeout(), Some(T0 + secs(100)));
    outlier.handle_window(T0, &streaks([5, 0]));
    assert_eq!(outlier.poll_timeout(), Some(T0 + secs(30)));
}

#[test]
fn counts_at_the_end_of_their_range_do_not_overflow() {
    let mut outlier = outlier(lenient().latency_deviations(1.0));
    let huge = |n| BackendWindow {
        consecutive_failures: u32::MAX,
        latency: Duration::MAX,
        ..window(n, u64::MAX, u64::MAX)
    };
    let windows: Vec<_> = (0..6).map(huge).collect();
    for step in 0..5 {
        outlier.handle_window(Instant::MAX - secs(100 - 20 * step), &windows);
    }
    outlier.handle_timeout(Instant::MAX);
}

#[test]
fn each_field_out_of_range_is_named() {
    let base = OutlierConfig::default;
    let zero = Duration::ZERO;
    for (config, error) in [
        (base().interval(zero), OutlierConfigError::Zero("interval")),
        (
            base().base_ejection(zero),
            OutlierConfigError::Zero("base_ejection"),
        ),
        (
            base().max_ejection(secs(30) - NANO),
            OutlierConfigError::MaxEjection,
        ),
        (
            base().failure_percentage(101),
            OutlierConfigError::Percent("failure_percentage"),
        ),
        (
            base().success_rate_margin(101),
            OutlierConfigError::Percent("success_rate_margin"),
        ),
        (
            base().max_ejected_percent(101),
            OutlierConfigError::Percent("max_ejected_percent"),
        ),
        (
            base().success_rate_deviations(-0.1),
            OutlierConfigError::Number("success_rate_deviations"),
        ),
        (
            base().latency_deviations(f64::NAN),
            OutlierConfigError::Number("latency_deviations"),
        ),
        (
            base().latency_ratio(f64::INFINITY),
            OutlierConfigError::Number("latency_ratio"),
        ),
    ] {
        assert_eq!(Outlier::new(config).unwrap_err(), error);
    }
    let edges = base()
        .max_ejection(secs(30))
        .failure_percentage(100)
        .success_rate_margin(100)
        .min_hosts(0);
    assert_eq!(edges.max_ejected_percent(100).check(), Ok(()));
}

#[test]
fn a_ramp_follows_its_formula() {
    let line = SlowStart::over(secs(10));
    let share = |ramp: SlowStart, millis| ramp.factor(Duration::from_millis(millis));
    assert_eq!(
        [0, 999, 2500, 10_000].map(|at| share(line, at)),
        [0.1, 0.1, 0.25, 1.0]
    );
    // Envoy's: elapsed to the power of 1 / aggression.
    let fast = line.aggression(2.0);
    assert_eq!([2500, 0].map(|at| share(fast, at)), [0.5, 0.1]);
    let slow = line.aggression(0.5).minimum(0.01);
    assert_eq!(share(slow, 5000), 0.25);
    assert_eq!(share(slow, 100), 0.01);
    assert_eq!(share(SlowStart::over(Duration::ZERO), 0), 1.0);
}

#[test]
fn a_ramp_asks_for_plans_where_its_share_has_grown_by_a_32nd() {
    let ramp = SlowStart::over(secs(32));
    // The first 32nd above the minimum of 3.2.
    assert_eq!(ramp.next_step(Duration::ZERO), Some(secs(4)));
    assert_eq!(ramp.next_step(secs(4) - NANO), Some(secs(4)));
    assert_eq!(ramp.next_step(secs(4)), Some(secs(5)));
    assert_eq!(ramp.next_step(secs(31)), Some(secs(32)));
    assert_eq!(ramp.next_step(secs(32)), None);
}

#[test]
fn a_ramp_out_of_range_is_told() {
    let ramp = SlowStart::over(secs(1));
    assert_eq!(ramp.check(), Ok(()));
    assert_eq!(ramp.minimum(1.0).check(), Ok(()));
    for wrong in [0.0, -1.0, f64::INFINITY] {
        let error = SlowStartError::Aggression(wrong);
        assert_eq!(ramp.aggression(wrong).check(), Err(error));
    }
    for wrong in [0.0, 1.1] {
        assert_eq!(
            ramp.minimum(wrong).check(),
            Err(SlowStartError::Minimum(wrong))
        );
    }
    assert!(ramp.aggression(f64::NAN).check().is_err());
    assert!(ramp.minimum(f64::NAN).check().is_err());
}

proptest! {
    /// From any moment the steps lead to the end, at most 32 of them, and the share never falls.
    #[test]
    fn a_ramp_ends_after_few_rising_steps(
        window in 1..u64::MAX,
        part in 0.0..1.0_f64,
        aggression in 0.05..20.0_f64,
        minimum in 0.001..=1.0_f64,
    ) {
        let ramp = SlowStart::over(Duration::from_nanos(window))
            .aggression(aggression)
            .minimum(minimum);
        let mut at = Duration::from_nanos(window).mul_f64(part);
        let mut share = ramp.factor(at);
        let mut steps = 0;
        while let Some(next) = ramp.next_step(at) {
            prop_assert!(next > at);
            prop_assert!(ramp.factor(next) >= share);
            at = next;
            share = ramp.factor(at);
            steps += 1;
        }
        prop_assert!(steps <= 33, "{steps} steps");
        prop_assert_eq!(share, 1.0);
    }

    /// Whatever traffic does, no more are ejected than may be, and each returns in its time.
    #[test]
    fn never_more_are_ejected_than_may_be(
        backends in 1..40_u64,
        most in 0..=100_u8,
        calls in proptest::collection::vec(
            (0..20_u64, proptest::collection::vec((0..200_u64, 0..200_u64, 0..9_u32), 40)),
            1..30,
        ),
    ) {
        let mut outlier = outlier(OutlierConfig::default().max_ejected_percent(most));
        let allowed = match most {
            0 => 0,
            _ if backends == 1 => 0,
            share => (backends * u64::from(share) / 100).max(1),
        };
        let mut now = T0;
        for (wait, counts) in calls {
            now += secs(wait);
            let windows: Vec<_> = (0..backends)
                .zip(counts)
                .map(|(n, (ok, failed, consecutive_failures))| BackendWindow {
                    consecutive_failures,
                    ..window(n, ok, failed)
                })
                .collect();
            for event in outlier.handle_window(now, &windows) {
                if let Ejection::Ejected { at, until, count, .. } = event {
                    prop_assert_eq!(at, now);
                    let span = (secs(30) * count).min(secs(300));
                    prop_assert_eq!(until.since(at), span);
                }
            }
            let out = ejected(&outlier, backends).len();
            prop_assert_eq!(out, outlier.ejected_count());
            prop_assert!(out as u64 <= allowed);
        }
    }
}
