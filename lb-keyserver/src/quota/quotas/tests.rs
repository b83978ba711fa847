use proptest::prelude::*;

use super::*;
use crate::access::{AccessList, Identities, Rule};
use crate::mode::Mode;
use crate::scheme::Scheme;

const T0: Instant = Instant::from_nanos(1 << 40);
const MILLI: Duration = Duration::from_millis(1);

fn key(number: u8) -> Ski {
    Ski::of_bits(&[number])
}

struct Client {
    list: AccessList,
    name: Identities,
}

impl Client {
    fn new(name: &str, limits: Limits) -> Self {
        let rule = Rule::new("lb://node/*".parse().expect("good"));
        let list = AccessList::new([rule.all_keys().limits(limits)]).expect("good");
        let name: Identity = name.parse().expect("good");
        let name = name.into();
        Self { list, name }
    }

    fn grant(&self) -> Grant<'_> {
        let check = self
            .list
            .check(&self.name, &key(1), Scheme::Ed25519, Mode::Bound, None);
        check.expect("allowed")
    }

    /// How many of `asked` may pass at once, none of them staying under way.
    fn passes(&self, quotas: &Quotas, now: Instant, number: u8, asked: u64) -> u64 {
        let grant = self.grant();
        let passes = (0..asked).filter(|_| quotas.take(now, &grant, &key(number)).is_ok());
        passes.count() as u64
    }
}

fn quotas() -> Quotas {
    Quotas::new(QuotaConfig::default())
}

fn rate(per_second: u64, burst: u64) -> Rate {
    Rate::new(per_second, burst)
}

#[test]
fn a_client_has_its_burst_and_then_its_rate() {
    let quotas = quotas();
    let node = Client::new("lb://node/7", Limits::default().per_identity(rate(10, 5)));
    assert_eq!(node.passes(&quotas, T0, 1, 9), 5);
    assert_eq!(
        node.passes(&quotas, T0 + 99 * MILLI, 2, 9),
        0,
        "whatever the key"
    );
    assert_eq!(node.passes(&quotas, T0 + 100 * MILLI, 2, 9), 1);
    assert_eq!(node.passes(&quotas, T0 + 60_000 * MILLI, 1, 9), 5);
    assert_eq!(quotas.refused(QuotaExceeded::IdentityRate), 4 + 9 + 8 + 4);
    assert_eq!(quotas.refused(QuotaExceeded::KeyRate), 0);
}

#[test]
fn a_client_has_a_burst_for_each_key_and_what_is_refused_spends_nothing() {
    let quotas = quotas();
    let limits = Limits::default()
        .per_identity(rate(1, 8))
        .per_key(rate(1, 5));
    let node = Client::new("lb://node/7", limits);
    assert_eq!(node.passes(&quotas, T0, 1, 9), 5);
    assert_eq!(quotas.refused(QuotaExceeded::KeyRate), 4);
    assert_eq!(
        node.passes(&quotas, T0, 2, 9),
        3,
        "the four cost the client nothing"
    );
    assert_eq!(quotas.refused(QuotaExceeded::IdentityRate), 6);
    assert_eq!(
        node.passes(&quotas, T0 + 2_000 * MILLI, 2, 9),
        2,
        "and the six cost the key nothing"
    );
    assert_eq!(node.passes(&quotas, T0 + 4_000 * MILLI, 2, 9), 2);
}

#[test]
fn one_client_costs_another_nothing() {
    let quotas = quotas();
    let limits = Limits::default().per_identity(rate(1, 3)).in_flight(3);
    let (one, other) = (
        Client::new("lb://node/1", limits),
        Client::new("lb://node/2", limits),
    );
    assert_eq!(one.passes(&quotas, T0, 1, 9), 3);
    assert_eq!(other.passes(&quotas, T0, 1, 9), 3);
    assert_eq!(quotas.accounts(), 2);
}

#[test]
fn so_many_are_under_way_at_once_and_a_permit_that_is_dropped_makes_room() {
    let quotas = quotas();
    let node = Client::new("lb://node/7", Limits::default().in_flight(2));
    let take = || quotas.take(T0, &node.grant(), &key(1));
    let first = take().expect("room");
    let _second = take().expect("room");
    assert_eq!(take().unwrap_err(), QuotaExceeded::InFlight);
    drop(first);
    assert!(take().is_ok());
    assert_eq!(quotas.refused(QuotaExceeded::InFlight), 1);
}

#[test]
fn nothing_is_counted_where_nothing_is_limited() {
    let quotas = quotas();
    let node = Client::new("lb://node/7", Limits::default());
    assert_eq!(node.passes(&quotas, T0, 1, 10_000), 10_000);
    assert_eq!(quotas.accounts(), 0);
    for limits in [
        Limits::default().in_flight(1),
        Limits::default().per_key(rate(1, 1)),
        Limits::default().per_identity(rate(1, 1)),
    ] {
        let quotas = Quotas::new(QuotaConfig::default());
        assert_eq!(
            Client::new("lb://node/7", limits).passes(&quotas, T0, 1, 1),
            1
        );
        assert_eq!(quotas.accounts(), 1);
    }
}

#[test]
fn other_limits_begin_anew() {
    let quotas = quotas();
    let limits = Limits::default().per_identity(rate(1, 3));
    assert_eq!(
        Client::new("lb://node/7", limits).passes(&quotas, T0, 1, 9),
        3
    );
    assert_eq!(
        Client::new("lb://node/7", limits).passes(&quotas, T0, 1, 9),
        0
    );
    let limits = limits.per_identity(rate(1, 4));
    assert_eq!(
        Client::new("lb://node/7", limits).passes(&quotas, T0, 1, 9),
        4
    );
}

#[test]
fn the_table_is_bounded_and_only_what_is_idle_makes_room() {
    // One account in each shard.
    let quotas = Quotas::new(QuotaConfig::default().identities(1));
    let limits = Limits::default()
        .per_identity(rate(10, 1))
        .per_key(rate(5, 2));
    let clients: Vec<_> = (0..200)
        .map(|n| Client::new(&format!("lb://node/{n}"), limits))
        .collect();
    let passing = |now| -> Vec<u64> {
        clients
            .iter()
            .map(|client| client.passes(&quotas, now, 1, 1))
            .collect()
    };
    let first = passing(T0);
    let passed = first.iter().sum::<u64>();
    assert!((1..=16).contains(&passed), "{passed}");
    assert_eq!(quotas.accounts() as u64, passed);
    assert_eq!(quotas.refused(QuotaExceeded::TableFull), 200 - passed);
    // The slower bucket takes 400 ms from empty to full, and a nanosecond for what is rounded.
    let early: u64 = passing(T0 + 399 * MILLI).iter().sum();
    assert!(early <= passed, "none but those who have an account");
    let late = passing(T0 + 10_000 * MILLI);
    assert_eq!(
        late.iter().sum::<u64>(),
        passed,
        "each shard has room for one again"
    );
    assert_eq!(quotas.accounts() as u64, passed);
}

#[test]
fn an_account_is_not_idle_while_a_signature_is_under_way() {
    let quotas = Quotas::new(QuotaConfig::default().identities(1));
    let limits = Limits::default().in_flight(1);
    let first = Client::new("lb://node/0", limits);
    let permit = quotas.take(T0, &first.grant(), &key(1)).expect("room");
    let others: Vec<_> = (1..200)
        .map(|n| Client::new(&format!("lb://node/{n}"), limits))
        .collect();
    let much_later = T0 + 3_600_000 * MILLI;
    let passed: u64 = others
        .iter()
        .map(|other| other.passes(&quotas, much_later, 1, 1))
        .sum();
    assert!(passed < 199, "those of its shard are refused");
    assert_eq!(
        first.passes(&quotas, much_later, 1, 1),
        0,
        "it is still under way"
    );
    drop(permit);
    let passed: u64 = others
        .iter()
        .map(|other| other.passes(&quotas, much_later, 1, 1))
        .sum();
    assert_eq!(passed, 199);
}

#[test]
fn the_keys_of_a_client_are_bounded_too() {
    let quotas = Quotas::new(QuotaConfig::default().keys(2));
    let node = Client::new("lb://node/7", Limits::default().per_key(rate(10, 1)));
    let each = |now| {
        (1..=3)
            .map(|number| node.passes(&quotas, now, number, 1))
            .sum::<u64>()
    };
    assert_eq!(each(T0), 2);
    assert_eq!(quotas.refused(QuotaExceeded::TableFull), 1);
    assert_eq!(each(T0 + 99 * MILLI), 0);
    assert_eq!(node.passes(&quotas, T0 + 100 * MILLI, 3, 1), 1);
}

#[test]
fn how_long_a_bucket_fills_is_never_told_too_short() {
    for (per_second, burst, nanos) in [
        (0, 9, 0),
        (1, 1, 1_000_000_001),
        (1, 0, 1_000_000_001),
        (3, 1, 333_333_334),
        (1_000, 500, 500_000_001),
        (1, u64::MAX, u64::MAX),
        (u64::MAX, 1, 1),
    ] {
        let rate = rate(per_second, burst);
        assert_eq!(fills_in(rate), Duration::from_nanos(nanos), "{rate:?}");
    }
}

#[test]
fn every_reason_has_a_name_and_a_place() {
    let mut names = Vec::new();
    for (place, why) in QuotaExceeded::ALL.into_iter().enumerate() {
        assert_eq!(why.place(), place);
        names.push(why.as_str());
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), QuotaExceeded::ALL.len());
    assert_eq!(QuotaExceeded::CODE, ErrorCode::Internal);
}

proptest! {
    /// In any window of t seconds at most burst + rate * t pass, also when places are scarce and
    /// accounts come and go.
    #[test]
    fn no_window_has_more_than_its_burst_and_rate(
        per_second in 1..200_u64,
        burst in 1..20_u64,
        most in 1..20_usize,
        steps in prop::collection::vec((0..6_u8, 0..40_u64, 1..8_u64), 1..200),
    ) {
        let quotas = Quotas::new(QuotaConfig::default().identities(most).keys(2));
        let limits = Limits::default().per_identity(rate(per_second, burst)).per_key(rate(per_second, burst));
        let clients: Vec<_> = (0..6).map(|n| Client::new(&format!("lb://node/{n}"), limits)).collect();
        let mut passed: Vec<Vec<(u64, u64)>> = vec![Vec::new(); 6];
        let mut millis = 0;
        for (who, wait, asked) in steps {
            millis += wait;
            let who = usize::from(who);
            let number = u8::try_from(asked % 3).expect("small");
            let count = clients[who].passes(&quotas, T0 + Duration::from_millis(millis), number, asked);
            passed[who].push((millis, count));
        }
        for of_one in passed {
            for (from, (start, _)) in of_one.iter().enumerate() {
                let mut total = 0;
                for (end, count) in &of_one[from..] {
                    total += count;
                    prop_assert!(total * 1_000 <= burst * 1_000 + per_second * (end - start));
                }
            }
        }
    }
}
