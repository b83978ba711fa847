//! Pools: who may take a session, in which share, and what is counted, whatever changes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;

use lbcore::backend::Admin;
use lbcore::health::{Health, HealthConfig, OutlierConfig, ProbeFailure, ProbeOutcome, SlowStart};
use lbcore::pool::{ApplyError, EventKind, PoolConfig};
use lbcore::schedule::{Random, RoundRobin, Scheduler, WeightedRoundRobin};
use lbcore::{Backend, BackendId, Balancer, Delta, Instant, Lease, Outcome, Pick, Pool, Refusal};

const T0: Instant = Instant::from_nanos(1_000_000_000_000);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn backend(name: &str) -> Backend {
    Backend::new(name, "10.0.0.1:80".parse().unwrap())
}

fn take<S: Scheduler>(balancer: &mut Balancer<S>, now: Instant) -> Result<Lease, Refusal> {
    balancer.acquire(now, &Pick::default())
}

/// How many of `n` sessions each backend takes, by name.
fn spread<S: Scheduler>(pool: &Pool<S>, now: Instant, n: usize) -> BTreeMap<Arc<str>, usize> {
    let mut balancer = pool.balancer(0);
    let mut taken = BTreeMap::new();
    for _ in 0..n {
        let id = take(&mut balancer, now).unwrap().backend();
        let name = Arc::clone(&pool.view().backend(id).unwrap().backend.name);
        *taken.entry(name).or_insert(0) += 1;
    }
    taken
}

fn counts(taken: &BTreeMap<Arc<str>, usize>) -> Vec<(&str, usize)> {
    taken.iter().map(|(name, n)| (&**name, *n)).collect()
}

/// Answers every probe that is due; `down` fail.
fn probe<S: Scheduler>(pool: &Pool<S>, now: Instant, down: &[&str]) {
    pool.handle_timeout(now);
    while let Some(probe) = pool.poll_probe(now) {
        let is_down = down
            .iter()
            .any(|name| BackendId::of_name(name) == probe.backend);
        let pass = ProbeOutcome::Pass(Duration::from_millis(1));
        let outcome = if is_down {
            ProbeOutcome::Fail(ProbeFailure::Refused)
        } else {
            pass
        };
        pool.handle_probe(now, probe.backend, probe.number, outcome);
    }
}

fn checked(names: &[&str]) -> Pool<RoundRobin> {
    let health = HealthConfig::tcp_connect(secs(2)).rise(1).fall(1).jitter(0);
    let config = PoolConfig::default().health(health).panic_threshold(0);
    Pool::new(RoundRobin)
        .backends(names.iter().map(|name| backend(name)))
        .config(config)
        .unwrap()
}

#[test]
fn an_unknown_backend_takes_sessions_only_while_none_is_up() {
    let pool = checked(&["a", "b"]);
    assert_eq!(counts(&spread(&pool, T0, 4)), [("a", 2), ("b", 2)]);
    let probe_of_a = std::iter::from_fn(|| pool.poll_probe(T0))
        .find(|probe| probe.backend == BackendId::of_name("a"))
        .unwrap();
    let pass = ProbeOutcome::Pass(Duration::ZERO);
    pool.handle_probe(T0, probe_of_a.backend, probe_of_a.number, pass);
    assert_eq!(counts(&spread(&pool, T0, 4)), [("a", 4)]);
    assert_eq!(
        pool.view().backend(BackendId::of_name("b")).unwrap().health,
        Health::Unknown
    );
}

#[test]
fn a_backend_is_up_without_a_check_and_a_probe_that_is_never_answered_takes_it_down() {
    let pool = Pool::new(RoundRobin).backend(backend("a"));
    assert_eq!(pool.view().backends()[0].health, Health::Up);
    assert!(pool.poll_probe(T0).is_none() && pool.poll_timeout().is_none());
    let health = HealthConfig::tcp_connect(secs(2)).timeout(secs(1));
    pool.configure(T0, PoolConfig::default().panic_threshold(0).health(health))
        .unwrap();
    let probe = pool.poll_probe(T0).unwrap();
    assert_eq!(probe.deadline, T0 + secs(1));
    assert_eq!(pool.poll_timeout(), Some(probe.deadline));
    assert!(pool.poll_probe(probe.deadline).is_none());
    assert_eq!(pool.view().backends()[0].health, Health::Down);
    assert_eq!(
        take(&mut pool.balancer(0), T0).unwrap_err(),
        Refusal::AllDown
    );
}

#[test]
fn admin_and_weight_say_who_is_in_service_and_maintenance_is_not_probed() {
    let pool = checked(&["a", "b", "c", "d"]);
    let changes = [
        backend("b").admin(Admin::Drain),
        backend("c").admin(Admin::Maintenance),
        backend("d").weight(0),
    ];
    pool.apply(T0, changes.map(Delta::Upsert)).unwrap();
    let probed: Vec<BackendId> = std::iter::from_fn(|| pool.poll_probe(T0))
        .map(|probe| probe.backend)
        .collect();
    assert!(!probed.contains(&BackendId::of_name("c")) && probed.len() == 3);
    assert_eq!(counts(&spread(&pool, T0, 4)), [("a", 4)]);
    pool.apply(T0, [Delta::Remove(BackendId::of_name("a"))])
        .unwrap();
    assert_eq!(
        take(&mut pool.balancer(0), T0).unwrap_err(),
        Refusal::NoBackends
    );
}

#[test]
fn when_too_little_is_up_health_is_disregarded_and_the_event_says_so() {
    let health = HealthConfig::tcp_connect(secs(2)).fall(1).jitter(0);
    let pool = checked(&["a", "b", "c"]);
    pool.configure(T0, PoolConfig::default().health(health))
        .unwrap();
    probe(&pool, T0, &["a"]);
    assert_eq!(counts(&spread(&pool, T0, 6)), [("b", 3), ("c", 3)]);
    probe(&pool, T0 + secs(3), &["a", "b"]);
    assert_eq!(
        counts(&spread(&pool, T0, 6)),
        [("a", 2), ("b", 2), ("c", 2)]
    );
    probe(&pool, T0 + secs(9), &[]);
    probe(&pool, T0 + secs(20), &[]);
    let panics: Vec<bool> = pool
        .events(0)
        .events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Panic { priority: 0, on } => Some(on),
            _ => None,
        })
        .collect();
    assert_eq!(panics, [true, false]);
}

#[test]
fn a_lower_priority_takes_what_too_little_of_the_higher_cannot() {
    let names = ["a", "b", "c", "d"];
    let pool = checked(&names);
    let spare = [backend("s").priority(1), backend("t").priority(1)];
    pool.apply(T0, spare.map(Delta::Upsert)).unwrap();
    probe(&pool, T0, &[]);
    assert!(
        spread(&pool, T0, 400)
            .keys()
            .all(|name| names.contains(&&**name))
    );
    // 2 of 4 up: 70 % stay, 30 % overflow.
    probe(&pool, T0 + secs(3), &["a", "b"]);
    let loads: Vec<u32> = pool.view().tiers().iter().map(|tier| tier.load).collect();
    assert_eq!(loads, [7_000, 3_000]);
    let taken = spread(&pool, T0, 10_000);
    let spared = taken["s"] + taken["t"];
    // Four standard deviations of a binomial of 10,000 tries at 0.3.
    assert!(spared.abs_diff(3_000) < 184, "{taken:?}");
    assert!(!taken.contains_key("a"));
}

#[test]
fn the_own_zone_is_preferred_while_enough_of_it_is_up() {
    let zoned = |name: &str, zone| backend(name).zone(zone);
    let health = HealthConfig::tcp_connect(secs(2)).fall(1).jitter(0);
    let config = PoolConfig::default()
        .zone("here")
        .health(health)
        .panic_threshold(0);
    let near = ["a", "b", "c", "d"].map(|name| zoned(name, "here"));
    let pool = Pool::new(RoundRobin)
        .backends(near)
        .backend(zoned("z", "there"));
    let pool = pool.config(config).unwrap();
    probe(&pool, T0, &[]);
    assert!(!spread(&pool, T0, 100).contains_key("z"));
    probe(&pool, T0 + secs(3), &["a", "b"]);
    let view = pool.view();
    let loads: Vec<(bool, u32)> = view
        .tiers()
        .iter()
        .map(|tier| (tier.local, tier.load))
        .collect();
    assert_eq!(loads, [(true, 7_000), (false, 3_000)]);
    probe(&pool, T0 + secs(9), &["a", "b", "c", "d"]);
    assert_eq!(counts(&spread(&pool, T0, 3)), [("z", 3)]);
}

#[test]
fn a_backend_that_comes_back_ramps_from_a_tenth_to_all_of_its_share() {
    let health = HealthConfig::tcp_connect(secs(2)).rise(1).fall(1).jitter(0);
    let config = PoolConfig::default()
        .health(health)
        .slow_start(SlowStart::over(secs(100)))
        .panic_threshold(0);
    let pool = Pool::new(WeightedRoundRobin).backends([backend("a"), backend("b")]);
    let pool = pool.config(config).unwrap();
    let mut now = T0;
    probe(&pool, now, &[]);
    let mut pass = |until: Duration, down: &[&str]| {
        while now < T0 + until {
            now = pool
                .poll_timeout()
                .unwrap()
                .max(now + Duration::from_millis(1));
            probe(&pool, now, down);
        }
        now
    };
    pass(secs(200), &[]);
    pass(secs(210), &["b"]);
    let share = || pool.view().backend(BackendId::of_name("b")).unwrap().share;
    assert_eq!(share(), 0);
    let up = pass(secs(213), &[]);
    assert!(
        (25..=36).contains(&share()),
        "a tenth of 256, and a moment: {}",
        share()
    );
    pass(up.since(T0) + secs(50), &[]);
    assert!(
        (120..=140).contains(&share()),
        "about half of 256: {}",
        share()
    );
    let taken = spread(&pool, T0, 3_000);
    assert!(taken["b"].abs_diff(1_000) < 40, "{taken:?}");
    pass(up.since(T0) + secs(101), &[]);
    assert_eq!(share(), 256);
}

#[test]
fn ejection_outlasts_probes_that_pass_and_ends_by_time() {
    let health = HealthConfig::tcp_connect(secs(2)).rise(1).jitter(0);
    let outlier = OutlierConfig::default().consecutive_failures(5);
    let config = PoolConfig::default().health(health).outlier(outlier);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let pool = Pool::new(RoundRobin)
        .backends(names.map(backend))
        .config(config)
        .unwrap();
    probe(&pool, T0, &[]);
    let mut balancer = pool.balancer(0);
    let bad = BackendId::of_name("c");
    for _ in 0..60 {
        let lease = take(&mut balancer, T0).unwrap();
        let outcome = if lease.backend() == bad {
            Outcome::Reset
        } else {
            Outcome::Ok
        };
        lease.finish(T0, outcome);
    }
    probe(&pool, T0 + secs(1), &[]);
    let ejected = || pool.view().backend(bad).unwrap().ejected_until;
    let until = ejected().expect("six failures in a row eject");
    assert_eq!(pool.view().backend(bad).unwrap().health, Health::Up);
    assert!(!spread(&pool, T0, 90).contains_key("c"));
    probe(&pool, until - Duration::from_millis(1), &[]);
    assert!(ejected().is_some(), "a probe that passes does not end it");
    probe(&pool, until + Duration::from_millis(200), &[]);
    assert_eq!(ejected(), None);
    let told = pool.events(0).events;
    assert!(
        told.iter()
            .any(|event| matches!(event.kind, EventKind::Ejected { .. }))
    );
    assert!(
        told.iter()
            .any(|event| matches!(event.kind, EventKind::Returned { .. }))
    );
}

#[test]
fn a_lease_keeps_the_address_it_began_with_and_the_next_has_the_new_one() {
    let pool = Pool::new(RoundRobin).backend(backend("a"));
    let mut balancer = pool.balancer(0);
    let old = take(&mut balancer, T0).unwrap();
    let moved = Backend::new("a", "10.0.0.2:80".parse().unwrap()).max_connections(2);
    pool.apply(T0, [Delta::Upsert(moved)]).unwrap();
    let new = take(&mut balancer, T0).unwrap();
    assert_eq!(old.address().to_string(), "10.0.0.1:80");
    assert_eq!(new.address().to_string(), "10.0.0.2:80");
    drop((old, new));
    assert_eq!(pool.stats()[0].in_flight(), 0);
    let held: Vec<Lease> = std::iter::from_fn(|| take(&mut balancer, T0).ok()).collect();
    assert_eq!(held.len(), 2, "the place of the new one was given back");
}

#[test]
fn what_is_ended_on_another_thread_is_counted_like_the_rest() {
    let pool = Pool::new(RoundRobin).backend(backend("a"));
    let mut balancer = pool.balancer(0);
    let mut leases: Vec<Lease> = (0..3).map(|_| take(&mut balancer, T0).unwrap()).collect();
    let away = leases.split_off(2);
    for lease in leases {
        lease.finish(T0 + secs(1), Outcome::Ok);
    }
    let end = move || {
        away.into_iter()
            .for_each(|lease| lease.finish(T0 + secs(4), Outcome::Ok))
    };
    std::thread::spawn(end).join().unwrap();
    let stats = &pool.stats()[0];
    assert_eq!((stats.finished(), stats.in_flight()), (3, 0));
    assert_eq!(stats.mean_latency(), Some(secs(2)));
}

#[test]
fn two_workers_never_exceed_a_backends_limit_together() {
    let pool = Pool::new(Random::unweighted()).backend(backend("a").max_connections(100));
    // Never more than there are: a sum over workers that go on is of no single moment.
    let sure = AtomicUsize::new(0);
    let held: usize = std::thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            let (pool, sure) = (&pool, &sure);
            scope.spawn(move || {
                let mut balancer = pool.balancer(worker);
                let mut held = Vec::new();
                for round in 0..20_000_usize {
                    if let Ok(lease) = take(&mut balancer, T0) {
                        held.push(lease);
                        assert!(sure.fetch_add(1, Relaxed) < 100);
                    }
                    if round % 3 == 0 && !held.is_empty() {
                        sure.fetch_sub(1, Relaxed);
                        held.pop();
                    }
                }
                held
            })
        });
        workers
            .map(|worker| worker.join().unwrap().len())
            .into_iter()
            .sum()
    });
    let stats = &pool.stats()[0];
    assert_eq!(
        stats.in_flight(),
        0,
        "{held} leases were dropped with their workers"
    );
    assert_eq!(stats.acquired(), stats.finished());
}

#[test]
fn a_full_pool_says_so_and_a_session_taken_over_counts_beyond_the_limit() {
    let pool = Pool::new(RoundRobin).backend(backend("a").max_connections(1));
    let mut balancer = pool.balancer(0);
    let adopted = balancer.adopt(T0, BackendId::of_name("a")).unwrap();
    assert_eq!(take(&mut balancer, T0).unwrap_err(), Refusal::AllFull);
    let second = balancer.adopt(T0, BackendId::of_name("a")).unwrap();
    balancer.finish_ticket(adopted, None, Outcome::Ok);
    assert_eq!(take(&mut balancer, T0).unwrap_err(), Refusal::AllFull);
    balancer.finish_ticket(second, None, Outcome::Ok);
    assert!(take(&mut balancer, T0).is_ok());
    assert_eq!(balancer.adopt(T0, BackendId::of_name("stranger")), None);
}

#[test]
fn persistence_gets_its_backend_unless_that_may_not_take_the_session() {
    let pool = Pool::new(RoundRobin).backends(["a", "b", "c"].map(backend));
    let mut balancer = pool.balancer(0);
    let wanted = BackendId::of_name("b");
    let pick = Pick::default().preferred(Some(wanted));
    for _ in 0..5 {
        assert_eq!(balancer.acquire(T0, &pick).unwrap().backend(), wanted);
    }
    pool.apply(T0, [Delta::Upsert(backend("b").admin(Admin::Drain))])
        .unwrap();
    assert_ne!(balancer.acquire(T0, &pick).unwrap().backend(), wanted);
    let stranger = Pick::default().preferred(Some(BackendId::new(7)));
    assert!(balancer.acquire(T0, &stranger).is_ok());
}

#[test]
fn two_backends_of_one_identity_are_refused_and_nothing_changes() {
    let pool = Pool::new(RoundRobin).backend(backend("a"));
    let twins = [
        backend("x").id(BackendId::new(1)),
        backend("y").id(BackendId::new(1)),
    ];
    let error = pool
        .apply(T0, [Delta::Replace(twins.to_vec())])
        .unwrap_err();
    assert_eq!(error, ApplyError::SameIdentity("x".into(), "y".into()));
    let taken = backend("b").id(BackendId::of_name("c"));
    pool.apply(T0, [Delta::Upsert(taken)]).unwrap();
    let error = pool.apply(T0, [Delta::Upsert(backend("c"))]).unwrap_err();
    assert!(matches!(error, ApplyError::TakenIdentity { .. }));
    assert_eq!(pool.view().backends().len(), 2);
}

#[test]
fn ten_thousand_first_answers_do_not_draw_ten_thousand_pictures() {
    let names: Vec<String> = (0..10_000).map(|n| format!("b{n}")).collect();
    let health = HealthConfig::tcp_connect(secs(2)).jitter(0);
    let pool = Pool::new(RoundRobin)
        .backends(names.iter().map(|name| backend(name)))
        .config(PoolConfig::default().health(health))
        .unwrap();
    let before = pool.view().generation();
    probe(&pool, T0, &[]);
    assert!(pool.view().generation() - before <= 2);
    let due = pool.poll_timeout().unwrap();
    assert!(due.since(T0) <= Duration::from_millis(10));
    pool.handle_timeout(due);
    assert!(
        pool.view()
            .backends()
            .iter()
            .all(|status| status.health == Health::Up)
    );
}

/// What a step of the model does.
#[derive(Clone, Debug)]
enum Step {
    Acquire,
    AcquireTicket,
    Change(u8, u16),
    Finish(prop::sample::Index),
    FinishTicket(prop::sample::Index),
    Remove(u8),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Acquire),
        4 => Just(Step::AcquireTicket),
        1 => (0..5_u8, 0..3_u16).prop_map(|(who, weight)| Step::Change(who, weight)),
        3 => any::<prop::sample::Index>().prop_map(Step::Finish),
        3 => any::<prop::sample::Index>().prop_map(Step::FinishTicket),
        1 => (0..5_u8).prop_map(Step::Remove),
        1 => Just(Step::Settle),
    ]
}

proptest! {
    /// Whatever joins, leaves and changes: the sum of leases and tickets is what is in flight, each
    /// ticket resolves to the backend it was given for, and nothing is counted twice or lost.
    #[test]
    fn counters_are_never_lost(steps in prop::collection::vec(step(), 1..200)) {
        let pool = Pool::new(RoundRobin).backends(["0", "1", "2"].map(backend));
        let mut balancers = [pool.balancer(0), pool.balancer(1)];
        let (mut leases, mut tickets) = (Vec::new(), Vec::new());
        for (at, step) in steps.into_iter().enumerate() {
            let worker = at % 2;
            let balancer = &mut balancers[worker];
            match step {
                Step::Acquire => leases.extend(take(balancer, T0)),
                Step::AcquireTicket => {
                    if let Ok(ticket) = balancer.acquire_ticket(T0, &Pick::default()) {
                        let id = balancer.resolve(ticket).unwrap().id;
                        tickets.push((worker, ticket, id));
                    }
                }
                Step::Change(who, weight) => {
                    let changed = backend(&who.to_string()).weight(weight);
                    pool.apply(T0, [Delta::Upsert(changed)]).unwrap();
                }
                Step::Finish(at) if !leases.is_empty() => {
                    let lease: Lease = leases.swap_remove(at.index(leases.len()));
                    lease.finish(T0, Outcome::Ok);
                }
                Step::FinishTicket(at) if !tickets.is_empty() => {
                    let (worker, ticket, _) = tickets.swap_remove(at.index(tickets.len()));
                    balancers[worker].finish_ticket(ticket, None, Outcome::Ok);
                }
                Step::Remove(who) => {
                    let id = BackendId::of_name(&who.to_string());
                    pool.apply(T0, [Delta::Remove(id)]).unwrap();
                }
                _ => pool.handle_timeout(T0),
            }
            for balancer in &mut balancers {
                balancer.refresh(T0);
            }
            for (worker, ticket, id) in &tickets {
                prop_assert_eq!(balancers[*worker].resolve(*ticket).map(|it| it.id), Some(*id));
            }
            for stats in pool.stats() {
                let id = stats.backend.id;
                let held = leases.iter().filter(|lease| lease.backend() == id).count()
                    + tickets.iter().filter(|(_, _, of)| *of == id).count();
                prop_assert_eq!(stats.in_flight(), held as u64);
                prop_assert_eq!(stats.acquired(), stats.finished() + stats.in_flight());
            }
        }
    }
}
