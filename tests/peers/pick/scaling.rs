//! What a second worker on the same pool adds.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use lbcore::schedule::RoundRobin;

use super::ours;

/// Sessions that each worker takes in a round.
const SESSIONS: u64 = 200_000;

/// Many short rounds: on a busy machine, few have both cores to themselves.
const ROUNDS: usize = 300;

/// How many times the sessions of one worker two take in the same time: the best of the rounds, as
/// a busy machine can only take away from it.
pub fn of_two(backends: usize) -> f64 {
    let pool = ours::pool(RoundRobin, backends);
    let seconds = |workers: usize| {
        let barrier = Barrier::new(workers);
        let turn = |worker| {
            let mut balancer = pool.balancer(worker);
            ours::by_lease(&mut balancer, SESSIONS / 10);
            barrier.wait();
            let start = Instant::now();
            ours::by_lease(&mut balancer, SESSIONS);
            (start, Instant::now())
        };
        let turns: Vec<_> = thread::scope(|scope| {
            let turn = &turn;
            let running: Vec<_> = (0..workers)
                .map(|worker| scope.spawn(move || turn(worker)))
                .collect();
            let ended = running.into_iter().map(|worker| worker.join());
            ended.map(|turn| turn.expect("a worker ends")).collect()
        });
        let first = turns.iter().map(|turn| turn.0).min();
        let last = turns.iter().map(|turn| turn.1).max();
        let lasted = last.zip(first).map(|(last, first)| last - first);
        lasted.expect("someone works").as_secs_f64()
    };
    let best = |workers| {
        let rounds = (0..ROUNDS).map(|_| seconds(workers));
        rounds.fold(f64::INFINITY, f64::min)
    };
    2.0 * best(1) / best(2)
}
