use std::time::Duration;

use lbcore::address_list::AddressRules;
use lbcore::budget::{Budget, BudgetConfig};
use proptest::prelude::*;

use super::super::{AdaptiveConfig, Bandwidth, ClientPrefixes, Rate};
use super::*;

const T0: Instant = Instant::ZERO;

fn after(milliseconds: u64) -> Instant {
    T0 + Duration::from_millis(milliseconds)
}

fn gate(limits: &RequestLimits) -> LimitGate {
    LimitGate::new(T0, limits, None)
}

fn client(n: u8) -> IpAddr {
    [192, 0, 2, n].into()
}

fn turned(by: LimitReached, retry_after: u32) -> Option<Turned> {
    Some(Turned {
        by,
        retry_after: Some(retry_after),
    })
}

#[test]
fn by_default_everything_passes() {
    let gate = gate(&RequestLimits::default());
    let all: Vec<Admitted> = (0..1000)
        .map(|_| gate.admit(T0, client(1)).unwrap())
        .collect();
    assert!(all.iter().all(|one| gate.pace(one).is_none()));
    assert!(matches!(gate.comfort(u64::MAX), Some(None)));
    assert_eq!(gate.figures(), LimitFigures::default());
}

#[test]
fn the_rate_is_for_all_clients_together() {
    let gate = gate(&RequestLimits::default().rate(Rate::per_second(4)));
    for n in 0..4 {
        assert!(gate.admit(T0, client(n)).is_ok());
    }
    let refused = gate.admit(T0, client(9)).err();
    assert_eq!(refused, turned(LimitReached::Rate, 1));
    assert!(gate.admit(after(249), client(9)).is_err());
    assert!(gate.admit(after(250), client(9)).is_ok());
    assert!(gate.admit(after(250), client(9)).is_err());
    assert_eq!(gate.figures().turned_away(LimitReached::Rate), 3);
}

#[test]
fn each_client_has_a_rate_of_its_own() {
    let limits = RequestLimits::default().client_rate(Rate::per_minute(6).burst(2));
    let gate = gate(&limits);
    for n in 0..2 {
        assert!(gate.admit(T0, client(n)).is_ok());
        assert!(gate.admit(T0, client(n)).is_ok());
        let refused = gate.admit(T0, client(n)).err();
        assert_eq!(refused, turned(LimitReached::ClientRate, 10));
    }
    let refused = gate.admit(after(8_999), client(0)).err();
    assert_eq!(refused, turned(LimitReached::ClientRate, 2));
    let refused = gate.admit(after(9_000), client(0)).err();
    assert_eq!(refused, turned(LimitReached::ClientRate, 1));
    assert!(gate.admit(after(9_999), client(0)).is_err());
    assert!(gate.admit(after(10_000), client(0)).is_ok());
    assert_eq!(gate.figures().turned_away(LimitReached::ClientRate), 5);
}

#[test]
fn a_prefix_shares_its_rate() {
    let limits = RequestLimits::default()
        .client_rate(Rate::per_second(1))
        .prefixes(ClientPrefixes::default().v4(24));
    let gate = gate(&limits);
    assert!(gate.admit(T0, client(1)).is_ok());
    assert!(gate.admit(T0, client(2)).is_err());
    assert!(gate.admit(T0, [192, 0, 3, 1].into()).is_ok());
}

#[test]
fn what_one_limit_refuses_spends_nothing_of_another() {
    let limits = RequestLimits::default()
        .rate(Rate::per_second(3))
        .client_rate(Rate::per_second(1))
        .concurrency(2);
    let gate = gate(&limits);
    let by = |client| gate.admit(T0, client).err().map(|turned| turned.by);
    let first = gate.admit(T0, client(1)).unwrap();
    for _ in 0..5 {
        assert_eq!(by(client(1)), Some(LimitReached::ClientRate));
    }
    let second = gate.admit(T0, client(2)).unwrap();
    for _ in 0..5 {
        assert_eq!(by(client(3)), Some(LimitReached::Concurrency));
    }
    drop((first, second));
    assert_eq!(by(client(3)), None);
    for _ in 0..5 {
        assert_eq!(by(client(4)), Some(LimitReached::Rate));
    }
    // Its own rate was not spent by what all had spent.
    assert!(gate.admit(after(334), client(4)).is_ok());
    assert_eq!(gate.figures().in_flight, 0);
}

#[test]
fn a_request_counts_until_it_is_over() {
    let gate = gate(&RequestLimits::default().concurrency(3));
    let mut all: Vec<Admitted> = (0..3).map(|_| gate.admit(T0, client(1)).unwrap()).collect();
    let refused = gate.admit(T0, client(1)).err();
    assert_eq!(refused, turned(LimitReached::Concurrency, 1));
    assert_eq!(gate.figures().in_flight, 3);
    all.pop();
    assert_eq!(gate.figures().in_flight, 2);
    all.push(gate.admit(T0, client(2)).unwrap());
    assert!(gate.admit(T0, client(2)).is_err());
    drop(all);
    assert_eq!(gate.figures().in_flight, 0);
}

#[test]
fn threads_that_race_get_no_more_than_the_limit() {
    let limits = RequestLimits::default()
        .concurrency(50)
        .rate(Rate::per_second(120))
        .client_rate(Rate::per_second(70));
    let gate = gate(&limits);
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (gate, passed) = (&gate, &passed);
            scope.spawn(move || {
                for _ in 0..2000 {
                    if let Ok(admitted) = gate.admit(T0, client(n % 2)) {
                        assert!(gate.figures().in_flight <= 50);
                        passed.fetch_add(1, Relaxed);
                        drop(admitted);
                    }
                }
            });
        }
    });
    // A race may cost a token of all, never give one more.
    let passed = passed.load(Relaxed);
    assert!((117..=120).contains(&passed), "{passed}");
    assert_eq!(gate.figures().in_flight, 0);
}

#[test]
fn rules_see_the_client() {
    let rules = AddressRules::new([], ["192.0.2.7/32".parse().unwrap()]);
    let gate = gate(&RequestLimits::default().rules(rules));
    assert!(gate.admit(T0, client(6)).is_ok());
    let refused = gate.admit(T0, client(7)).err();
    let denied = Turned {
        by: LimitReached::AddressRules,
        retry_after: None,
    };
    assert_eq!(refused, Some(denied));
    gate.count(LimitReached::RouteRules);
    assert_eq!(gate.figures().turned_away(LimitReached::AddressRules), 1);
    assert_eq!(gate.figures().turned_away(LimitReached::RouteRules), 1);
}

#[test]
fn memory_is_held_while_a_request_is_under_way() {
    let budget = Budget::new(BudgetConfig::default().bytes(3 * EXCHANGE_BYTES));
    let gate = gate(&RequestLimits::default().budget(budget.clone()));
    let used = || budget.stats(Resource::Bytes).used;
    let first = gate.admit(T0, client(1)).unwrap();
    assert_eq!(used(), EXCHANGE_BYTES);
    let comfort = gate.comfort(EXCHANGE_BYTES).unwrap();
    assert_eq!(used(), 2 * EXCHANGE_BYTES);
    // The last of it is for work, not for comfort.
    assert!(gate.comfort(EXCHANGE_BYTES).is_none());
    let second = gate.admit(T0, client(1)).unwrap();
    let refused = gate.admit(T0, client(1)).err();
    assert_eq!(refused, turned(LimitReached::Memory, 1));
    drop((first, second, comfort));
    assert_eq!(used(), 0);
}

#[test]
fn the_adaptive_limit_turns_away_too() {
    let config = AdaptiveConfig::default().min(1).max(1).start(1);
    let gate = gate(&RequestLimits::default().adaptive(config));
    let mut first = gate.admit(T0, client(1)).unwrap();
    let refused = gate.admit(T0, client(1)).err();
    assert_eq!(refused, turned(LimitReached::Adaptive, 1));
    assert_eq!(gate.figures().in_flight, 1);
    assert_eq!(gate.figures().adaptive_limit, 1);
    first.answered(after(1));
    drop(first);
    assert!(gate.admit(T0, client(1)).is_ok());
}

#[test]
fn bytes_are_paced_where_a_limit_says_so() {
    let limited = Bandwidth::default().bytes_in(1000);
    let paced = |limits: RequestLimits| {
        let gate = gate(&limits);
        let admitted = gate.admit(T0, client(1)).unwrap();
        let Some(mut pace) = gate.pace(&admitted) else {
            return false;
        };
        pace.charge_up(T0, 70_000);
        !pace.opens_up(T0)
    };
    assert!(paced(RequestLimits::default().bandwidth(limited)));
    assert!(paced(RequestLimits::default().client_bandwidth(limited)));
    let only_out = Bandwidth::default().bytes_out(1000);
    assert!(!paced(RequestLimits::default().bandwidth(only_out)));
    assert!(!paced(
        RequestLimits::default().client_rate(Rate::per_second(1))
    ));
}

#[test]
fn what_was_counted_outlives_settings_that_count_alike() {
    let limits = RequestLimits::default().client_rate(Rate::per_second(1));
    let before = gate(&limits);
    assert!(before.admit(T0, client(1)).is_ok());
    assert!(before.admit(T0, client(1)).is_err());
    let rules = AddressRules::new([], ["192.0.2.7/32".parse().unwrap()]);
    let alike = LimitGate::new(T0, &limits.clone().rules(rules), Some(&before));
    assert!(alike.admit(T0, client(1)).is_err());
    let refused = alike.admit(T0, client(7)).err().map(|turned| turned.by);
    assert_eq!(refused, Some(LimitReached::AddressRules));
    let others = [
        limits.clone().rate(Rate::per_second(100)),
        limits.clone().client_rate(Rate::per_second(2)),
        limits.clone().bandwidth(Bandwidth::default().bytes_in(1)),
        limits
            .clone()
            .client_bandwidth(Bandwidth::default().bytes_in(1)),
        limits.clone().prefixes(ClientPrefixes::default().v4(8)),
        limits.clone().clients(8),
        limits.clone().concurrency(8),
        limits.adaptive(AdaptiveConfig::default()),
    ];
    for other in others {
        let other = LimitGate::new(T0, &other, Some(&before));
        assert!(other.admit(T0, client(1)).is_ok());
        // What was turned away stays counted.
        assert_eq!(other.figures().turned_away(LimitReached::ClientRate), 2);
    }
}

#[test]
fn a_wait_is_told_in_whole_seconds_and_never_as_none() {
    let wait = |nanos| seconds(T0, Instant::from_nanos(nanos));
    assert_eq!(wait(0), 1);
    assert_eq!(wait(1), 1);
    assert_eq!(wait(1_000_000_000), 1);
    assert_eq!(wait(1_000_000_001), 2);
    assert_eq!(seconds(after(5), T0), 1);
    assert_eq!(
        wait(u64::MAX),
        18_446_744_074_u64.try_into().unwrap_or(u32::MAX)
    );
}

#[test]
fn every_limit_has_its_name_and_its_reason() {
    let names: Vec<&str> = LimitReached::ALL.iter().map(|by| by.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
    let whys: Vec<Why> = LimitReached::ALL.iter().map(|by| by.why()).collect();
    let (shed, denied, rate) = (Why::Overloaded, Why::Denied, Why::RateLimited);
    assert_eq!(whys, [shed, denied, rate, shed, shed, rate, denied]);
}

proptest! {
    /// Over any time, a client gets its rate and its burst, and no request more or less.
    #[test]
    fn the_rate_is_exact(
        rate in 1..50_u64,
        burst in 1..50_u64,
        gaps in prop::collection::vec(0..100_u64, 1..300),
    ) {
        let limits = RequestLimits::default().client_rate(Rate::per_second(rate).burst(burst));
        let gate = gate(&limits);
        // A bucket as the definition has it, in thousandths of a request.
        let (mut held, mut now) = (burst * 1000, 0);
        for gap in gaps {
            now += gap;
            held = (held + gap * rate).min(burst * 1000);
            let passes = gate.admit(after(now), client(1)).is_ok();
            prop_assert_eq!(passes, held >= 1000);
            held -= if passes { 1000 } else { 0 };
        }
    }
}
