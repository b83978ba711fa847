//! Where flows went before their pool changed, asked by a node that knows nothing of them.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::time::Duration;

use lbcore::schedule::{Maglev, RoundRobin};
use lbcore::{Backend, BackendId, Delta, Instant, Pick, Pool};

const HOUR: Duration = Duration::from_secs(3_600);

fn backend(name: &str) -> Backend {
    Backend::new(name, "10.0.0.1:80".parse().unwrap())
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn maglev() -> Pool<Maglev> {
    Pool::new(Maglev::default()).backends(["a", "b", "c"].map(backend))
}

/// A flow that began before a change, which one node saw, is placed by another node, which missed
/// it, with the backend that it has.
#[test]
fn a_flow_goes_where_it_went_through_a_change_and_the_loss_of_a_node() {
    let pool = maglev();
    let (mut lost, mut left) = (pool.balancer(0), pool.balancer(1));
    let before: Vec<BackendId> = (0..1_000)
        .map(|key| lost.acquire(at(0), &Pick::keyed(key)).unwrap().backend())
        .collect();
    left.refresh(at(0));
    pool.apply(at(1), [Delta::Upsert(backend("d"))]).unwrap();
    let mut moved = 0;
    for (key, was) in (0..).zip(before) {
        let pick = Pick::keyed(key);
        let now = left.acquire(at(2), &pick).unwrap().backend();
        assert_eq!(left.previous(at(2), &pick, HOUR), Some(was));
        moved += u32::from(now != was);
    }
    assert!(moved > 150, "{moved} of 1,000 keys belong to the newcomer");
}

#[test]
fn a_backend_that_drains_still_serves_and_one_that_is_gone_does_not() {
    let pool = maglev();
    let mut balancer = pool.balancer(0);
    let pick = Pick::keyed(7);
    let was = balancer.acquire(at(0), &pick).unwrap().backend();
    let name = ["a", "b", "c"]
        .into_iter()
        .find(|it| BackendId::of_name(it) == was)
        .unwrap();
    pool.apply(at(1), [Delta::Upsert(backend(name).weight(0))])
        .unwrap();
    assert_ne!(balancer.acquire(at(2), &pick).unwrap().backend(), was);
    assert_eq!(balancer.previous(at(2), &pick, HOUR), Some(was));
    let ticket = balancer.adopt(at(2), was).unwrap();
    assert_eq!(balancer.resolve(ticket).unwrap().id, was);
    pool.apply(at(3), [Delta::Remove(was)]).unwrap();
    assert_ne!(balancer.previous(at(4), &pick, HOUR), Some(was));
}

#[test]
fn a_change_that_moves_no_key_does_not_hide_the_one_before_it() {
    let pool = maglev();
    let mut balancer = pool.balancer(0);
    let keys: Vec<u64> = (0..200).collect();
    let place = |balancer: &mut lbcore::Balancer<Maglev>, seconds| -> Vec<BackendId> {
        let each = keys.iter().map(|key| Pick::keyed(*key));
        each.map(|pick| balancer.acquire(at(seconds), &pick).unwrap().backend())
            .collect()
    };
    let before = place(&mut balancer, 0);
    pool.apply(at(1), [Delta::Upsert(backend("d"))]).unwrap();
    place(&mut balancer, 2);
    pool.apply(at(3), [Delta::Upsert(backend("d").max_connections(10_000))])
        .unwrap();
    place(&mut balancer, 4);
    for (key, was) in keys.iter().zip(before) {
        assert_eq!(
            balancer.previous(at(5), &Pick::keyed(*key), HOUR),
            Some(was)
        );
    }
}

#[test]
fn it_is_forgotten_in_time_and_unknown_without_a_change_a_key_or_a_placement() {
    let pool = maglev();
    let mut balancer = pool.balancer(0);
    assert_eq!(balancer.previous(at(0), &Pick::keyed(7), HOUR), None);
    pool.apply(at(1), [Delta::Upsert(backend("d"))]).unwrap();
    let span = Duration::from_secs(10);
    balancer.refresh(at(2));
    assert!(balancer.previous(at(12), &Pick::keyed(7), span).is_some());
    assert_eq!(balancer.previous(at(13), &Pick::keyed(7), span), None);
    assert_eq!(balancer.previous(at(12), &Pick::default(), span), None);

    let turns = Pool::new(RoundRobin).backends(["a", "b"].map(backend));
    let mut balancer = turns.balancer(0);
    turns
        .apply(at(1), [Delta::Remove(BackendId::of_name("a"))])
        .unwrap();
    assert_eq!(balancer.previous(at(2), &Pick::keyed(7), HOUR), None);
}
