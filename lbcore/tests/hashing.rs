//! What placing by a key promises: even shares, few moves, and the same on every node.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lbcore::health::{HealthConfig, ProbeFailure, ProbeOutcome};
use lbcore::pool::PoolConfig;
use lbcore::rng::mix;
use lbcore::schedule::{
    BoundedLoad, Ketama, Maglev, Placement, Rendezvous, RowBits, Scheduler, Tier,
};
use lbcore::{Backend, BackendId, Balancer, Delta, Instant, Lease, Pick, Pool};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

const T0: Instant = Instant::ZERO;
const KEYS: u64 = 2_000;

fn backend(number: usize, weight: u16) -> Backend {
    let [.., high, low] = number.to_be_bytes();
    let address = std::net::SocketAddr::from(([10, 0, high, low], 80));
    Backend::new(&format!("backend {number}"), address.into()).weight(weight)
}

fn backends(weights: &[u16]) -> Vec<Backend> {
    let all = weights.iter().enumerate();
    all.map(|(number, &weight)| backend(number, weight))
        .collect()
}

/// The first owner of each key.
fn owners<P: Placement>(placement: &P, backends: &[Backend]) -> Vec<BackendId> {
    let tier = Tier::of(backends.iter().cloned());
    let table = placement.table(&tier, None);
    let owner = |key| placement.owners(&table, mix(key)).next().unwrap();
    let id = |position: usize| tier.candidates()[position].backend.id;
    (0..KEYS).map(|key| id(owner(key))).collect()
}

/// The keys that are placed otherwise without one of the backends: its own, and others'.
fn moved<P: Placement>(placement: &P, mut backends: Vec<Backend>, gone: Index) -> (usize, usize) {
    let before = owners(placement, &backends);
    let gone = backends.swap_remove(gone.index(backends.len())).id;
    let after = owners(placement, &backends);
    let moves = before.iter().zip(&after).filter(|(was, is)| was != is);
    let (own, others): (Vec<_>, Vec<_>) = moves.partition(|(was, _)| **was == gone);
    assert!(!after.contains(&gone));
    (own.len(), others.len())
}

/// Owners of all slots of a Maglev table, by identity.
fn slots(maglev: &Maglev, backends: &[Backend]) -> Vec<BackendId> {
    let tier = Tier::of(backends.iter().cloned());
    let table = maglev.table(&tier, None);
    let owner = |slot| tier.candidates()[table.owner(slot).unwrap()].backend.id;
    (0..table.slots()).map(owner).collect()
}

/// As `maglev` would size its table for so many backends, and fixed.
fn sized_for(backends: &[Backend]) -> Maglev {
    let slots = slots(&Maglev::default(), backends).len();
    Maglev::default()
        .table_size(u32::try_from(slots).unwrap())
        .unwrap()
}

fn config() -> ProptestConfig {
    ProptestConfig {
        // A failure prints its input whole; there is no place of its own to keep it.
        failure_persistence: None,
        ..ProptestConfig::with_cases(32)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn maglev_shares_are_the_weights_rounded_to_a_slot(weights in vec(1_u16..=20, 1..60)) {
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        let all = backends(&weights);
        let slots = slots(&Maglev::default(), &all);
        prop_assert!(slots.len() >= 100 * all.len());
        for (backend, weight) in all.iter().zip(weights) {
            let exact = slots.len() as f64 * f64::from(weight) / total;
            let got = slots.iter().filter(|&&owner| owner == backend.id).count() as f64;
            prop_assert!((got - exact).abs() < 1.0, "{got} slots for a share of {exact}");
        }
    }

    #[test]
    fn maglev_moves_at_most_twice_the_keys_of_one_of_n_equals(n in 2..130_usize, gone: Index) {
        let mut all = backends(&vec![1; n]);
        let maglev = sized_for(&all);
        let before = slots(&maglev, &all);
        all.swap_remove(gone.index(n));
        let after = slots(&maglev, &all);
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is).count();
        prop_assert!(moved * n <= 2 * before.len() + n, "{moved} of {} slots", before.len());
    }

    #[test]
    fn maglev_moves_at_most_three_shares_of_other_keys_at_any_weights(
        weights in vec(1_u16..=30, 2..60),
        gone: Index,
    ) {
        let mut all = backends(&weights);
        let maglev = sized_for(&all);
        let before = slots(&maglev, &all);
        let gone = all.swap_remove(gone.index(weights.len())).id;
        let after = slots(&maglev, &all);
        let others = before.iter().zip(&after).filter(|(was, is)| was != is && **was != gone);
        let others = others.count();
        let own = before.iter().filter(|&&was| was == gone).count();
        let share = own.max(before.len() / weights.len());
        prop_assert!(others <= 3 * share, "{others} of {}, and {own} own", before.len());
    }

    #[test]
    fn rendezvous_moves_the_keys_of_who_leaves_and_no_others(
        weights in vec(0_u16..=30, 2..40),
        gone: Index,
    ) {
        prop_assume!(weights.iter().filter(|&&weight| weight > 0).count() > 1);
        let rendezvous = Rendezvous::default().rows(RowBits::new(12).unwrap());
        prop_assert_eq!(moved(&rendezvous, backends(&weights), gone).1, 0);
    }

    #[test]
    fn a_ring_moves_the_keys_of_who_leaves_and_no_others(
        weights in vec(0_u16..=30, 2..40),
        gone: Index,
    ) {
        prop_assume!(weights.iter().filter(|&&weight| weight > 0).count() > 1);
        prop_assert_eq!(moved(&Ketama::default(), backends(&weights), gone).1, 0);
    }

    #[test]
    fn two_nodes_place_alike_in_whatever_order_they_learn_of_backends(
        (weights, order) in vec(0_u16..=30, 1..20).prop_flat_map(|weights| {
            let numbers: Vec<usize> = (0..weights.len()).collect();
            (Just(weights), Just(numbers).prop_shuffle())
        }),
    ) {
        prop_assume!(weights.iter().any(|&weight| weight > 0));
        let here = backends(&weights);
        let there: Vec<Backend> = order.iter().map(|&number| here[number].clone()).collect();
        macro_rules! alike {
            ($($make:expr),*) => {
                $(prop_assert_eq!(owners(&$make, &here), owners(&$make, &there));)*
            };
        }
        alike!(Ketama::default(), Maglev::default(), Rendezvous::default());
    }

    #[test]
    fn health_moves_no_key_of_a_backend_that_is_up_and_coming_back_restores_all(
        n in 2..24_usize,
        down in subsequence((0..24).collect::<Vec<usize>>(), 1..24),
        weights in vec(1_u16..=9, 24),
    ) {
        let down: BTreeSet<BackendId> =
            down.into_iter().filter(|&at| at < n).map(|at| backend(at, 1).id).collect();
        let all = backends(&weights[..n]);
        health_only_skips(Ketama::default, &all, &down);
        health_only_skips(|| sized_for(&all), &all, &down);
        health_only_skips(Rendezvous::default, &all, &down);
        health_only_skips(BoundedLoad::default, &all, &down);
    }

    #[test]
    fn bounded_load_never_exceeds_its_bound(
        weights in vec(1_u16..=9, 1..12),
        factor in 100_u32..300,
        steps in vec((any::<bool>(), 0..4_u64, any::<Index>()), 1..400),
    ) {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        let scheduler = BoundedLoad::default().factor(factor).unwrap();
        let pool = Pool::new(scheduler).backends(backends(&weights));
        let mut balancer = pool.balancer(0);
        let mut leases: Vec<Lease> = Vec::new();
        for (begin, key, at) in steps {
            if !begin && !leases.is_empty() {
                drop(leases.swap_remove(at.index(leases.len())));
                continue;
            }
            let lease = balancer.acquire(T0, &Pick::keyed(key)).unwrap();
            let id = lease.backend();
            leases.push(lease);
            let load = leases.iter().filter(|lease| lease.backend() == id).count() as u64;
            let weight = u64::from(pool.view().backend(id).unwrap().backend.weight.0);
            let share = leases.len() as u64 * weight * u64::from(factor);
            prop_assert!(load <= share.div_ceil(total * 100), "{load} of {}", leases.len());
        }
    }
}

/// A pool whose backends in `down` fail their probes.
fn set_health<S: Scheduler>(now: Instant, pool: &Pool<S>, down: &BTreeSet<BackendId>) {
    pool.handle_timeout(now);
    while let Some(probe) = pool.poll_probe(now) {
        let outcome = if down.contains(&probe.backend) {
            ProbeOutcome::Fail(ProbeFailure::Refused)
        } else {
            ProbeOutcome::Pass(Duration::ZERO)
        };
        pool.handle_probe(now, probe.backend, probe.number, outcome);
    }
}

fn picks<S: Scheduler>(balancer: &mut Balancer<S>) -> Vec<Option<BackendId>> {
    let mut pick = |key| balancer.acquire(T0, &Pick::keyed(mix(key))).ok();
    (0..KEYS / 4)
        .map(|key| pick(key).map(|lease| lease.backend()))
        .collect()
}

fn health_only_skips<S: Scheduler>(
    make: impl Fn() -> S,
    all: &[Backend],
    down: &BTreeSet<BackendId>,
) {
    let second = |n| T0 + Duration::from_secs(n);
    let health = HealthConfig::tcp_connect(Duration::from_secs(1))
        .rise(1)
        .fall(1);
    let config = PoolConfig::default().health(health).panic_threshold(0);
    let nobody = BTreeSet::new();
    let here = Pool::new(make())
        .config(config.clone())
        .unwrap()
        .backends(all.iter().cloned());
    set_health(second(1), &here, &nobody);
    let mut balancer = here.balancer(0);
    let before = picks(&mut balancer);
    assert!(before.iter().all(Option::is_some));

    set_health(second(10), &here, down);
    let meanwhile = picks(&mut balancer);
    for (was, is) in before.iter().zip(&meanwhile) {
        let may_stay = !was.is_some_and(|was| down.contains(&was));
        assert!(
            !may_stay || was == is,
            "a key of a backend that is up has moved"
        );
        assert!(is.is_none_or(|is| !down.contains(&is)));
        assert_eq!(is.is_none(), down.len() == all.len());
    }

    // Another node, which never saw them up.
    let there = Pool::new(make()).config(config).unwrap();
    there
        .apply(T0, [Delta::Replace(all.iter().rev().cloned().collect())])
        .unwrap();
    set_health(second(1), &there, down);
    assert_eq!(picks(&mut there.balancer(7)), meanwhile);

    set_health(second(20), &here, &nobody);
    assert_eq!(picks(&mut balancer), before);
}

#[test]
fn ten_thousand_pools_cost_megabytes_and_not_gigabytes() {
    let table = |n: usize| {
        let tier = Tier::of(backends(&vec![1; n]));
        let maglev = Maglev::default().table(&tier, None).bytes();
        let rendezvous = Rendezvous::default().table(&tier, None).bytes();
        (
            maglev,
            rendezvous,
            Ketama::default().table(&tier, None).bytes() / n,
        )
    };
    assert_eq!(table(10), (4_093, 16_384, 1_690));
    assert_eq!(table(100), (65_537, 65_536, 1_607));
    assert_eq!(table(300).0, 2 * 655_373);
}

#[test]
fn pools_of_the_same_backends_under_clones_of_a_scheduler_share_one_table() {
    let all = || Tier::of(backends(&[1, 2, 3]));
    macro_rules! shared {
        ($($make:expr),*) => {$({
            let first = $make;
            let copy = first.clone();
            let table = first.table(&all(), None);
            assert!(Arc::ptr_eq(&table, &copy.table(&all(), None)));
        })*};
    }
    shared!(Ketama::default(), Maglev::default(), Rendezvous::default());
}

#[test]
fn the_slot_and_row_of_a_key_have_its_first_owner() {
    let tier = Tier::of(backends(&[1, 2, 3, 4]));
    let (maglev, rendezvous) = (Maglev::default(), Rendezvous::default());
    let (table, rows) = (maglev.table(&tier, None), rendezvous.table(&tier, None));
    for key in (0..KEYS).map(mix).chain([0, 1, u64::MAX]) {
        assert_eq!(
            table.owner(table.slot(key)),
            maglev.owners(&table, key).next()
        );
        assert_eq!(
            rows.owner(rows.row(key)),
            rendezvous.owners(&rows, key).next()
        );
    }
}

#[test]
fn keys_are_spread_whatever_they_look_like() {
    let tier = Tier::of(backends(&[1; 4]));
    let (maglev, rendezvous) = (Maglev::default(), Rendezvous::default());
    let (table, rows) = (maglev.table(&tier, None), rendezvous.table(&tier, None));
    let alike = |shift: u32| (0..4_000_u64).map(move |key| key << shift);
    for shift in [0, 20, 52] {
        let mut counts = [[0_u32; 4]; 2];
        for key in alike(shift) {
            counts[0][table.owner(table.slot(key)).unwrap()] += 1;
            counts[1][rows.owner(rows.row(key)).unwrap()] += 1;
        }
        // Four standard deviations of 4,000 keys at 1/4 are 110; rows add 3 % of a share.
        assert!(
            counts
                .as_flattened()
                .iter()
                .all(|n| n.abs_diff(1_000) < 200),
            "{counts:?}"
        );
    }
}
