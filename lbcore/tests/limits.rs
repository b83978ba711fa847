//! Limits are exact: no token too many in any span, none lost over time, on one thread or two.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use lbcore::Instant;
use lbcore::limit::{Concurrency, LimitConfig, LimitReached, Limits, TokenBucket};
use proptest::prelude::*;

const T0: Instant = Instant::from_nanos(77);
const NANO: Duration = Duration::from_nanos(1);
const SECOND: u128 = 1_000_000_000;

fn nanos(n: u64) -> Duration {
    Duration::from_nanos(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_full_bucket_gives_its_burst_and_not_one_more() {
    let bucket = TokenBucket::new(T0, 10, 3);
    assert_eq!(bucket.available(T0), 3);
    assert!(!bucket.try_take(T0, 4));
    assert!(bucket.try_take(T0, 1));
    assert_eq!(bucket.available(T0), 2);
    assert!(bucket.try_take(T0, 2));
    assert!(!bucket.try_take(T0, 1));
    assert!(bucket.try_take(T0, 0));
}

#[test]
fn a_token_comes_when_its_time_is_full_and_not_a_nanosecond_before() {
    let bucket = TokenBucket::new(T0, 10, 3);
    assert!(bucket.try_take(T0, 3));
    let tenth = T0 + Duration::from_millis(100);
    assert_eq!(bucket.available(tenth - NANO), 0);
    assert!(!bucket.try_take(tenth - NANO, 1));
    assert!(bucket.try_take(tenth, 1));
    assert!(!bucket.try_take(tenth, 1));
}

#[test]
fn a_bucket_flows_over_at_its_burst() {
    let bucket = TokenBucket::new(T0, 10, 3);
    let later = T0 + secs(3600);
    assert_eq!(bucket.available(later), 3);
    assert!(bucket.try_take(later, 3));
    assert!(!bucket.try_take(later, 1));
}

#[test]
fn a_rate_of_zero_is_no_limit() {
    let bucket = TokenBucket::new(T0, 0, 0);
    assert!(bucket.try_take(T0, u64::MAX) && bucket.try_take(T0, u64::MAX));
    assert_eq!(bucket.charge(T0, u64::MAX), None);
    assert_eq!(bucket.available(T0), u64::MAX);
    assert_eq!(bucket.ready_at(T0, u64::MAX), T0);
}

#[test]
fn a_burst_of_zero_is_one() {
    let bucket = TokenBucket::new(T0, 1, 0);
    assert!(bucket.try_take(T0, 1));
    assert!(!bucket.try_take(T0, 1));
}

#[test]
fn a_charge_goes_into_debt_and_tells_when_it_is_paid() {
    let bucket = TokenBucket::new(T0, 1000, 100);
    assert_eq!(bucket.charge(T0, 60), None);
    assert_eq!(bucket.charge(T0, 40), None);
    assert_eq!(bucket.charge(T0, 1), Some(T0 + Duration::from_millis(1)));
    assert_eq!(
        bucket.charge(T0, 499),
        Some(T0 + Duration::from_millis(500))
    );
    let paid = T0 + Duration::from_millis(500);
    assert_eq!(bucket.available(paid), 0);
    assert_eq!(bucket.ready_at(paid, 0), paid);
    assert_eq!(bucket.ready_at(T0, 1), paid + Duration::from_millis(1));
    assert!(!bucket.try_take(paid - NANO, 0));
    assert!(bucket.try_take(paid, 0));
}

#[test]
fn more_than_the_burst_is_never_ready() {
    let bucket = TokenBucket::new(T0, 10, 3);
    assert_eq!(bucket.ready_at(T0, 3), T0);
    assert_eq!(bucket.ready_at(T0, 4), Instant::MAX);
    assert_eq!(bucket.ready_at(T0, u64::MAX), Instant::MAX);
}

#[test]
fn the_ends_of_every_range_do_not_overflow() {
    for rate in [1, 3, u64::MAX / 3, u64::MAX, TokenBucket::MAX_RATE] {
        for burst in [0, 1, u64::MAX] {
            let bucket = TokenBucket::new(Instant::ZERO, rate, burst);
            for now in [Instant::ZERO, T0, Instant::MAX] {
                let before = bucket.available(now);
                for tokens in [0, 1, u64::MAX] {
                    assert!(bucket.ready_at(now, tokens) >= now);
                    let _ = bucket.try_take(now, tokens);
                    let paid = bucket.charge(now, tokens);
                    assert!(paid.is_none_or(|paid| paid > now || now == Instant::MAX));
                    assert!(bucket.available(now) <= before);
                }
            }
        }
    }
}

#[test]
fn the_highest_debt_is_still_a_debt() {
    let bucket = TokenBucket::new(T0, 1, 1);
    for _ in 0..3 {
        let paid = bucket.charge(T0, u64::MAX).expect("a debt");
        let year = secs(365 * 86_400);
        assert!(paid > T0 + year);
        assert!(!bucket.try_take(T0 + year, 1));
    }
}

#[test]
fn a_time_before_the_start_is_the_start() {
    let bucket = TokenBucket::new(T0, 1000, 5);
    assert!(bucket.try_take(Instant::ZERO, 5));
    assert!(!bucket.try_take(Instant::ZERO, 1));
}

#[test]
fn two_threads_together_take_exactly_what_one_could() {
    const STEPS: u64 = 20_000;
    let bucket = TokenBucket::new(T0, 333_333_337, 1000);
    let start = Barrier::new(2);
    let take = || {
        start.wait();
        let mut taken = 0_u64;
        for step in 0..=STEPS {
            let now = T0 + nanos(step * 7);
            while bucket.try_take(now, 1) {
                taken += 1;
            }
        }
        taken
    };
    let total = thread::scope(|scope| {
        let (one, two) = (scope.spawn(take), scope.spawn(take));
        one.join().unwrap() + two.join().unwrap()
    });
    // A step brings 2.3 tokens and the burst is empty, so that none flows over, and a thread that
    // lags behind in time finds only what the other has left.
    assert_eq!(total, 1000 + STEPS * 7 * 333_333_337 / 1_000_000_000);
}

#[test]
fn a_session_limit_is_exact_and_a_dropped_guard_makes_room() {
    let three = Concurrency::new(3);
    let mut guards: Vec<_> = std::iter::from_fn(|| three.try_acquire()).collect();
    assert_eq!((guards.len(), three.in_flight()), (3, 3));
    guards.pop();
    assert_eq!(three.in_flight(), 2);
    let same = three.clone();
    assert!(same.try_acquire().is_some());
    drop(guards);
    assert_eq!(three.in_flight(), 0);
}

#[test]
fn a_session_limit_of_zero_is_none_and_still_counts() {
    let any = Concurrency::new(0);
    let guards: Vec<_> = (0..1000).map(|_| any.try_acquire().unwrap()).collect();
    assert_eq!(any.in_flight(), 1000);
    drop(guards);
}

#[test]
fn two_threads_never_hold_more_than_the_limit() {
    let two = Concurrency::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let one = two.try_acquire();
                    let other = two.try_acquire();
                    assert!(two.in_flight() <= 2);
                    drop((one, other));
                }
            });
        }
    });
    assert_eq!(two.in_flight(), 0);
}

#[test]
fn a_guard_may_end_on_another_thread() {
    let one = Concurrency::new(1);
    let guard = one.try_acquire();
    assert!(guard.is_some());
    thread::spawn(move || drop(guard)).join().unwrap();
    assert_eq!(one.in_flight(), 0);
}

#[test]
fn each_refused_session_is_counted_under_its_limit_and_spends_nothing() {
    let config = LimitConfig::default()
        .connections(2)
        .connections_per_second(3);
    let limits = Limits::new(T0, config);
    let (one, two) = (limits.admit(T0).unwrap(), limits.admit(T0).unwrap());
    assert_eq!(limits.admit(T0).unwrap_err(), LimitReached::Connections);
    drop((one, two));
    let three = limits.admit(T0).unwrap();
    for _ in 0..2 {
        let error = limits.admit(T0).unwrap_err();
        assert_eq!(error, LimitReached::ConnectionsPerSecond);
    }
    let stats = limits.stats();
    assert_eq!(stats.in_flight, 1);
    assert_eq!(stats.refused_connections, 1);
    assert_eq!(stats.refused_connections_per_second, 2);
    drop(three);
}

#[test]
fn bytes_have_a_limit_each_way() {
    let config = LimitConfig::default().bytes_per_second_in(1_000_000);
    let limits = Limits::new(T0, config.bytes_per_second_out(100_000_000));
    // A tenth of a second, and at least 64 KiB.
    assert_eq!(limits.bytes_in.available(T0), 100_000);
    assert_eq!(limits.bytes_out.available(T0), 10_000_000);
    let slow = Limits::new(T0, LimitConfig::default().bytes_per_second_in(10));
    assert_eq!(slow.bytes_in.available(T0), 65_536);
    assert_eq!(slow.bytes_out.available(T0), u64::MAX);
    assert!(slow.admit(T0).is_ok());
}

#[test]
fn limits_print_their_names() {
    assert_eq!(LimitReached::Connections.to_string(), "connections");
    let rate = LimitReached::ConnectionsPerSecond.to_string();
    assert_eq!(rate, "connections per second");
}

/// Waits and takes: nanoseconds since the one before, and tokens.
fn steps(most_wait: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
    proptest::collection::vec((0..most_wait, 0..50_u64), 1..80)
}

fn rates() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..100_u64,
        1..10_000_000_000_u64,
        Just(TokenBucket::MAX_RATE)
    ]
}

proptest! {
    /// Against a bucket in fractions of a token, 10^-9 each, that never rounds: the two differ by
    /// less than what comes in a nanosecond, however long they run.
    #[test]
    fn a_bucket_is_the_exact_one_to_a_nanosecond(
        rate in rates(),
        burst in 1..100_u64,
        tokens_wait in 1..100_u64,
        steps in steps(1000),
        charges in any::<bool>(),
    ) {
        let bucket = TokenBucket::new(T0, rate, burst);
        let full = i128::from(burst) * SECOND as i128;
        let mut level = full;
        let mut now = T0;
        for (wait, tokens) in steps {
            // Waits around the time of some tokens, whatever the rate.
            let wait = u128::from(wait) * u128::from(tokens_wait) * SECOND / u128::from(rate) / 500;
            let wait = u64::try_from(wait).unwrap();
            now += nanos(wait);
            level = full.min(level + i128::from(wait) * i128::from(rate));
            let wanted = i128::from(tokens) * SECOND as i128;
            let nanosecond = i128::from(rate);
            if charges {
                level -= wanted;
                let paid = bucket.charge(now, tokens).unwrap_or(now);
                let exact = (-level).max(0) as u128;
                let least = u64::try_from(exact / u128::from(rate)).unwrap();
                let wait = u64::try_from(paid.since(now).as_nanos()).unwrap();
                prop_assert!(wait.abs_diff(least) <= 2, "{wait} {least}");
            } else if bucket.try_take(now, tokens) {
                level -= wanted;
                prop_assert!(level > -nanosecond);
            } else {
                prop_assert!(level - wanted < nanosecond);
            }
        }
    }

    /// In any span, from any take to any other, no more than the rate and the burst.
    #[test]
    fn no_span_has_more_than_its_rate_and_the_burst(
        rate in rates(),
        burst in 1..100_u64,
        steps in steps(1_000_000),
    ) {
        let bucket = TokenBucket::new(T0, rate, burst);
        let mut now = T0;
        let mut taken = Vec::new();
        for (wait, tokens) in steps {
            now += nanos(wait);
            if bucket.try_take(now, tokens) {
                taken.push((now, u128::from(tokens)));
            }
        }
        for (i, (from, _)) in taken.iter().enumerate() {
            let mut total = 0;
            for (to, tokens) in &taken[i..] {
                total += tokens;
                let span = to.since(*from).as_nanos() + 1;
                prop_assert!(total * SECOND <= u128::from(rate) * span + u128::from(burst) * SECOND);
            }
        }
    }

    /// While more is always wanted, the total is the burst and the rate times the time, to a token.
    #[test]
    fn nothing_is_lost_over_time(
        rate in rates(),
        waits in proptest::collection::vec(0..3_000_000_000_u64, 1..100),
    ) {
        // A burst that does not flow over in any of the waits.
        let burst = rate * 4;
        let bucket = TokenBucket::new(T0, rate, burst);
        let mut elapsed = 0;
        let mut total = 0;
        prop_assert!(bucket.try_take(T0, burst));
        for wait in waits {
            elapsed += wait;
            let now = T0 + nanos(elapsed);
            let there = bucket.available(now);
            prop_assert!(bucket.try_take(now, there));
            prop_assert!(!bucket.try_take(now, 1));
            total += u128::from(there);
            prop_assert_eq!(total, u128::from(rate.min(TokenBucket::MAX_RATE)) * u128::from(elapsed) / SECOND);
        }
    }

    /// The moment that is told is the first at which the tokens are there.
    #[test]
    fn tokens_are_there_when_told_and_not_before(
        rate in rates(),
        burst in 1..1000_u64,
        spent in 0..1000_u64,
        wanted in 1..1000_u64,
        start in 0..10_000_000_000_u64,
    ) {
        let bucket = TokenBucket::new(T0, rate, burst);
        let now = T0 + nanos(start);
        prop_assume!(wanted <= burst);
        bucket.charge(now, spent);
        let at = bucket.ready_at(now, wanted);
        prop_assert!(at >= now);
        if at > now {
            prop_assert!(!bucket.try_take(at - NANO, wanted));
        }
        prop_assert!(bucket.try_take(at, wanted));
    }
}

#[test]
fn a_detached_guard_counts_until_it_is_released_and_never_below_none() {
    let limits = Limits::new(T0, LimitConfig::default().connections(2));
    limits.admit(T0).unwrap().detach();
    let kept = limits.admit(T0).unwrap();
    assert!(limits.admit(T0).is_err());
    limits.release();
    assert_eq!(limits.stats().in_flight, 1);
    drop(kept);
    assert_eq!(limits.stats().in_flight, 0);
    limits.release();
    assert_eq!(limits.stats().in_flight, 0);
}
