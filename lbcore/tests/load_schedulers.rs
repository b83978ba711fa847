//! The schedulers that go by turns, by chance and by load: what each promises of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use lbcore::rng::{Rng, Xoshiro};
use lbcore::schedule::{
    AnyScheduler, LeastConnections, LocalityLeastConnections, NeverQueue, Overflow, PeakEwma,
    PowerOfTwo, Prequal, Random, RoundRobin, Scheduler, ShortestExpectedDelay, Tried,
    WeightedFailover, WeightedRoundRobin,
};
use lbcore::{Backend, BackendId, Balancer, Delta, Instant, Lease, Outcome, Pick, Pool};

const T0: Instant = Instant::from_nanos(1_000_000_000_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn pool_of<S: Scheduler>(scheduler: S, weights: &[u16]) -> Pool<S> {
    let backends = weights.iter().zip(1_u64..).map(|(&weight, id)| {
        let address = format!("10.0.0.1:{id}").parse().unwrap();
        Backend::new("b", address)
            .id(BackendId::new(id))
            .weight(weight)
    });
    Pool::new(scheduler).backends(backends)
}

/// Which backend, counted from 0.
fn number(lease: &Lease) -> usize {
    usize::try_from(lease.backend().as_u64() - 1).unwrap()
}

fn take<S: Scheduler>(balancer: &mut Balancer<S>, now: Instant) -> Lease {
    balancer.acquire(now, &Pick::default()).unwrap()
}

/// Who takes each of `n` sessions, each ended before the next.
fn turns<S: Scheduler>(pool: &Pool<S>, n: usize) -> Vec<usize> {
    let mut balancer = pool.balancer(0);
    (0..n).map(|_| number(&take(&mut balancer, T0))).collect()
}

fn tally(turns: &[usize], n: usize) -> Vec<usize> {
    (0..n)
        .map(|backend| turns.iter().filter(|&&turn| turn == backend).count())
        .collect()
}

proptest! {
    #[test]
    fn round_robins_are_exact_in_each_cycle(
        weights in prop::collection::vec(0..20_u16, 1..12),
        cycles in 1..4_usize,
    ) {
        let eligible = weights.iter().filter(|&&weight| weight > 0).count();
        prop_assume!(eligible > 0);
        let plain = turns(&pool_of(RoundRobin, &weights), eligible * cycles);
        for cycle in plain.chunks(eligible) {
            let counts = tally(cycle, weights.len());
            let expected: Vec<usize> =
                weights.iter().map(|&weight| usize::from(weight > 0)).collect();
            prop_assert_eq!(counts, expected);
        }
        let cycle: usize = weights.iter().copied().map(usize::from).sum();
        let weighted = turns(&pool_of(WeightedRoundRobin, &weights), cycle * cycles);
        for turns in weighted.chunks(cycle) {
            let expected: Vec<usize> = weights.iter().copied().map(usize::from).collect();
            prop_assert_eq!(tally(turns, weights.len()), expected);
        }
    }

    /// In a window of any length a backend takes less than two sessions more or fewer than its due:
    /// one for each end of the window.
    #[test]
    fn weighted_round_robin_is_smooth(
        weights in prop::collection::vec(1..30_u16, 2..10),
        from in 0..50_usize,
        length in 1..60_usize,
    ) {
        let sum: usize = weights.iter().copied().map(usize::from).sum();
        let all = turns(&pool_of(WeightedRoundRobin, &weights), from + length);
        for (count, &weight) in tally(&all[from..], weights.len()).iter().zip(&weights) {
            let due = length * usize::from(weight);
            prop_assert!((count * sum).abs_diff(due) < 2 * sum, "{count} of {due}/{sum}");
        }
    }

    #[test]
    fn least_connections_takes_the_least_for_its_weight_whatever_ends(
        weights in prop::collection::vec(1..10_u16, 1..8),
        ends in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..150),
    ) {
        let pool = pool_of(LeastConnections::weighted(), &weights);
        let mut balancer = pool.balancer(0);
        let mut held: Vec<Lease> = Vec::new();
        for end in ends {
            match end {
                Some(at) if !held.is_empty() => {
                    held.swap_remove(at.index(held.len())).finish(T0, Outcome::Ok);
                }
                _ => {
                    let load = |n: usize| held.iter().filter(|lease| number(lease) == n).count();
                    let least = (0..weights.len())
                        .map(|n| load(n) * 1_000_000 / usize::from(weights[n]))
                        .min();
                    let lease = take(&mut balancer, T0);
                    let chosen = number(&lease);
                    let cost = load(chosen) * 1_000_000 / usize::from(weights[chosen]);
                    prop_assert_eq!(Some(cost), least);
                    held.push(lease);
                }
            }
        }
    }
}

#[test]
fn backends_alike_are_used_in_turn_by_least_connections() {
    let turns = turns(&pool_of(LeastConnections::unweighted(), &[1, 9, 1]), 9);
    for cycle in turns.chunks(3) {
        assert_eq!(tally(cycle, 3), [1, 1, 1], "{turns:?}");
    }
}

#[test]
fn leases_ended_on_another_thread_are_seen_by_the_next_pick() {
    let pool = pool_of(LeastConnections::unweighted(), &[1, 1]);
    let mut balancer = pool.balancer(0);
    let leases: Vec<Lease> = (0..4).map(|_| take(&mut balancer, T0)).collect();
    let (first, second): (Vec<_>, Vec<_>) =
        leases.into_iter().partition(|lease| number(lease) == 0);
    assert_eq!((first.len(), second.len()), (2, 2));
    std::thread::spawn(move || drop(second)).join().unwrap();
    let next: Vec<Lease> = (0..2).map(|_| take(&mut balancer, T0)).collect();
    assert!(next.iter().all(|lease| number(lease) == 1));
    drop(first);
}

#[test]
fn shortest_expected_delay_fills_the_strong_first_and_never_queue_the_idle() {
    let held = |leases: &[Lease]| leases.iter().map(number).collect::<Vec<_>>();
    let pool = pool_of(ShortestExpectedDelay, &[1, 4]);
    let mut balancer = pool.balancer(0);
    let leases: Vec<Lease> = (0..5).map(|_| take(&mut balancer, T0)).collect();
    assert_eq!(tally(&held(&leases), 2), [1, 4]);
    assert_eq!(held(&leases)[..3], [1, 1, 1]);
    let pool = pool_of(NeverQueue, &[1, 4]);
    let mut balancer = pool.balancer(0);
    let leases: Vec<Lease> = (0..5).map(|_| take(&mut balancer, T0)).collect();
    assert_eq!(held(&leases), [1, 0, 1, 1, 1]);
}

#[test]
fn overflow_fills_one_after_the_other_and_then_shares() {
    let pool = pool_of(Overflow, &[2, 3, 2]);
    let mut balancer = pool.balancer(0);
    let mut leases: Vec<Lease> = (0..7).map(|_| take(&mut balancer, T0)).collect();
    let turns: Vec<usize> = leases.iter().map(number).collect();
    assert_eq!(turns, [1, 1, 1, 0, 0, 2, 2]);
    leases.remove(0).finish(T0, Outcome::Ok);
    leases.push(take(&mut balancer, T0));
    assert_eq!(
        number(leases.last().unwrap()),
        1,
        "a free place of the strongest comes first"
    );
    let beyond: Vec<Lease> = (0..7).map(|_| take(&mut balancer, T0)).collect();
    let turns: Vec<usize> = beyond.iter().map(number).collect();
    assert_eq!(tally(&turns, 3), [2, 3, 2]);
}

#[test]
fn weighted_failover_moves_only_when_the_strongest_may_not_take_it() {
    let pool = pool_of(WeightedFailover, &[5, 9, 9, 1]);
    let mut balancer = pool.balancer(0);
    let mut tried = Tried::default();
    let mut order = Vec::new();
    for _ in 0..4 {
        let lease = balancer
            .acquire(T0, &Pick::default().tried(&tried))
            .unwrap();
        order.push(number(&lease));
        tried.add(lease.ticket());
    }
    assert_eq!(order, [1, 2, 0, 3]);
    assert!(turns(&pool, 20).iter().all(|&turn| turn == 1));
}

/// Four standard deviations of a binomial distribution.
fn slack(n: f64, share: f64) -> f64 {
    4.0 * (n * share * (1.0 - share)).sqrt()
}

#[test]
fn random_follows_the_weights_within_four_standard_deviations() {
    let weights = [1, 5, 0, 20, 9];
    let n = 200_000;
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    let eligible = 4.0;
    let cases: [(Random, &dyn Fn(u16) -> f64); 2] = [
        (Random::weighted(), &|weight| f64::from(weight) / sum),
        (Random::unweighted(), &|weight| {
            if weight > 0 { 1.0 / eligible } else { 0.0 }
        }),
    ];
    for (scheduler, share) in cases {
        let counts = tally(&turns(&pool_of(scheduler, &weights), n), weights.len());
        for (&count, &weight) in counts.iter().zip(&weights) {
            let share = share(weight);
            let off = (f64::from(u32::try_from(count).unwrap()) - n as f64 * share).abs();
            assert!(off <= slack(n as f64, share), "{scheduler:?} {counts:?}");
        }
    }
}

#[test]
fn power_of_two_stays_close_to_even_where_random_does_not() {
    let worst = |counts: Vec<usize>| counts.into_iter().max().unwrap();
    let n = 100;
    let held = |leases: Vec<Lease>| tally(&leases.iter().map(number).collect::<Vec<_>>(), n);
    let weights = vec![1; n];
    let mut balancer = pool_of(PowerOfTwo, &weights).balancer(0);
    let chosen = worst(held((0..5_000).map(|_| take(&mut balancer, T0)).collect()));
    let mut balancer = pool_of(Random::unweighted(), &weights).balancer(0);
    let random = worst(held((0..5_000).map(|_| take(&mut balancer, T0)).collect()));
    assert!(chosen <= 54, "mean 50, log log n more: {chosen}");
    assert!(random > 60, "{random}");
}

#[test]
fn power_of_two_follows_weights_when_sessions_are_held() {
    let mut balancer = pool_of(PowerOfTwo, &[1, 3]).balancer(0);
    let leases: Vec<usize> = {
        let held: Vec<Lease> = (0..400).map(|_| take(&mut balancer, T0)).collect();
        held.iter().map(number).collect()
    };
    assert!(
        tally(&leases, 2)[1].abs_diff(300) < 8,
        "{:?}",
        tally(&leases, 2)
    );
}

/// Runs sessions one after the other, each lasting what `latency` says, and counts who took them.
fn serve<S: Scheduler>(
    scheduler: S,
    backends: usize,
    sessions: usize,
    latency: impl Fn(usize) -> (Duration, Outcome),
) -> Vec<usize> {
    let pool = pool_of(scheduler, &vec![1; backends]);
    let mut balancer = pool.balancer(0);
    // Sessions under way, by when they end; 10 begin every 10 ms.
    let mut ends: BTreeMap<(Instant, usize), (Lease, Outcome)> = BTreeMap::new();
    let mut counts = vec![0; backends];
    for at in 0..sessions {
        let now = T0 + ms(at as u64);
        while ends
            .first_key_value()
            .is_some_and(|((end, _), _)| *end <= now)
        {
            let ((end, _), (lease, outcome)) = ends.pop_first().unwrap();
            lease.finish(end, outcome);
        }
        let lease = take(&mut balancer, now);
        let backend = number(&lease);
        counts[backend] += 1;
        let (latency, outcome) = latency(backend);
        ends.insert((now + latency, at), (lease, outcome));
    }
    counts
}

#[test]
fn a_slow_backend_loses_nearly_all_of_its_share_under_peak_ewma() {
    let slow = |backend| (ms(if backend == 3 { 500 } else { 5 }), Outcome::Ok);
    let counts = serve(PeakEwma::default(), 10, 10_000, slow);
    assert!(counts[3] < 100, "an even share is 1,000: {counts:?}");
    let others = counts.iter().enumerate().filter(|(at, _)| *at != 3);
    assert!(
        others
            .clone()
            .all(|(_, &count)| (700..1_500).contains(&count)),
        "{counts:?}"
    );
}

/// Law 7 of the design notes: failing fast must not look like answering fast.
#[test]
fn a_backend_that_fails_at_once_never_gains_share() {
    let fails = |backend| match backend {
        3 => (ms(1), Outcome::ServerError),
        _ => (ms(50), Outcome::Ok),
    };
    for name in ["peak-ewma", "prequal"] {
        let counts = serve(AnyScheduler::named(name).unwrap(), 10, 10_000, fails);
        assert!(
            counts[3] < 500,
            "{name}: an even share is 1,000: {counts:?}"
        );
    }
}

#[test]
fn what_peak_ewma_has_learnt_survives_a_change_of_the_pool() {
    let pool = pool_of(PeakEwma::default(), &[1, 1, 1]);
    let mut balancer = pool.balancer(0);
    let mut now = T0;
    for _ in 0..60 {
        let lease = take(&mut balancer, now);
        let latency = if number(&lease) == 1 { ms(900) } else { ms(1) };
        lease.finish(now + latency, Outcome::Ok);
        now += ms(1);
    }
    // A backend that sorts before all others moves every position.
    let first = Backend::new("b", "10.0.0.9:9".parse().unwrap()).id(BackendId::new(0));
    pool.apply(
        now,
        [Delta::Upsert(first), Delta::Remove(BackendId::new(1))],
    )
    .unwrap();
    let mut taken = BTreeMap::new();
    for _ in 0..60 {
        let lease = take(&mut balancer, now);
        *taken.entry(lease.backend().as_u64()).or_insert(0) += 1;
        lease.finish(now + ms(1), Outcome::Ok);
    }
    assert!(taken.get(&2).copied().unwrap_or(0) <= 2, "{taken:?}");
    assert!(taken[&0] > 10, "{taken:?}");
}

#[test]
fn prequal_goes_by_reports_and_without_them_by_its_own_sessions() {
    let prequal = Prequal::default().draws(16);
    let board = prequal.board();
    let pool = pool_of(prequal, &[1, 1, 1, 1]);
    let mut balancer = pool.balancer(0);
    for (id, in_flight, latency) in [(1, 1, 90), (2, 1, 5), (3, 500, 1), (4, 1, 60)] {
        board.report(T0, BackendId::new(id), in_flight, ms(latency));
    }
    let counts = {
        let leases: Vec<usize> = (0..20).map(|_| number(&take(&mut balancer, T0))).collect();
        tally(&leases, 4)
    };
    assert_eq!(counts[2], 0, "hot, however fast: {counts:?}");
    assert!(counts[1] >= 5, "cold and fastest: {counts:?}");
    let held: Vec<Lease> = (0..40)
        .map(|_| take(&mut balancer, T0 + Prequal::STALE * 2))
        .collect();
    let counts = tally(&held.iter().map(number).collect::<Vec<_>>(), 4);
    assert!(
        counts.iter().all(|&count| (5..=16).contains(&count)),
        "{counts:?}"
    );
}

#[test]
fn locality_keeps_a_key_until_its_backend_is_overloaded_and_another_idle() {
    let pool = pool_of(LocalityLeastConnections, &[4, 4, 4]);
    let mut balancer = pool.balancer(0);
    let mut take = |key| balancer.acquire(T0, &Pick::keyed(key)).unwrap();
    let mut held = vec![take(1)];
    let home = number(&held[0]);
    held.extend((0..4).map(|_| take(1)));
    assert!(
        held.iter().all(|lease| number(lease) == home),
        "5 of 4 is not more than the weight"
    );
    held.push(take(1));
    let moved = number(&held[5]);
    assert_ne!(moved, home);
    held.push(take(1));
    assert_eq!(number(&held[6]), moved, "the key has moved");
}

#[test]
fn locality_follows_its_backend_when_positions_change() {
    let pool = pool_of(LocalityLeastConnections, &[10, 10, 10]);
    let mut balancer = pool.balancer(0);
    let mut homes = Vec::new();
    for key in 0..50 {
        homes.push(balancer.acquire(T0, &Pick::keyed(key)).unwrap().backend());
    }
    let first = Backend::new("b", "10.0.0.9:9".parse().unwrap())
        .id(BackendId::new(0))
        .weight(10);
    pool.apply(T0, [Delta::Upsert(first), Delta::Remove(BackendId::new(2))])
        .unwrap();
    for (key, home) in (0..50).zip(homes) {
        let now = balancer.acquire(T0, &Pick::keyed(key)).unwrap().backend();
        assert!(
            now == home || home == BackendId::new(2),
            "key {key}: {home:?} to {now:?}"
        );
    }
}

#[test]
fn workers_begin_at_different_backends() {
    let pool = pool_of(RoundRobin, &[1; 64]);
    let mut firsts: Vec<usize> = (0..16)
        .map(|worker| number(&take(&mut pool.balancer(worker), T0)))
        .collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() > 10, "{firsts:?}");
}

#[test]
fn the_same_seed_and_calls_give_the_same_picks_by_every_name() {
    for name in AnyScheduler::NAMES {
        let run = || {
            let pool = pool_of(AnyScheduler::named(name).unwrap(), &[1, 2, 3, 4, 5]);
            let mut balancer = pool.balancer(3);
            let mut rng = Xoshiro::new(5);
            let mut held = Vec::new();
            let mut picks = Vec::new();
            for at in 0..300 {
                let pick = Pick::keyed(rng.below(40));
                let lease = balancer.acquire(T0 + ms(at), &pick).unwrap();
                picks.push(number(&lease));
                held.push(lease);
                if rng.below(2) == 0 {
                    let end = usize::try_from(rng.below(held.len() as u64)).unwrap();
                    held.swap_remove(end).finish(T0 + ms(at + 7), Outcome::Ok);
                }
            }
            picks
        };
        assert_eq!(run(), run(), "{name}");
    }
}
