//! The shapes hold: one pool drives streams, packets and requests, on two nodes, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::health::{HealthConfig, ProbeFailure, ProbeOutcome};
use lbcore::pool::PoolConfig;
use lbcore::schedule::{RoundRobin, Scheduler, Tried};
use lbcore::session::{
    Change, ChangeStream, Expired, Limits, SessionConfig, SessionTable, State, Table,
};
use lbcore::{Backend, BackendId, Balancer, Delta, Instant, Outcome, Pick, Pool, Refusal};

const T0: Instant = Instant::from_nanos(1_000_000_000);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn pool(names: &[&str]) -> Pool<RoundRobin> {
    Pool::new(RoundRobin).backends(names.iter().map(|name| backend(name)))
}

fn backend(name: &str) -> Backend {
    let last = name.bytes().last().unwrap();
    Backend::new(name, format!("10.0.0.{last}:80").parse().unwrap())
}

fn table() -> Table {
    let mut config = SessionConfig::default();
    (config.v4, config.v6) = (Limits::of(100), Limits::of(100));
    config.changes = ChangeStream::All;
    Table::new(config, HashKey::from_seed(1)).unwrap()
}

fn flow(port: u16) -> FlowKey {
    let source = format!("192.0.2.1:{port}").parse().unwrap();
    FlowKey::new(Protocol::Tcp, source, "203.0.113.10:80".parse().unwrap())
}

/// A node of a cluster: its own pool of the same backends, its own balancer, its own table.
struct Node {
    pool: Pool<RoundRobin>,
    balancer: Balancer<RoundRobin>,
    sessions: Table,
}

impl Node {
    fn new(names: &[&str]) -> Self {
        let pool = pool(names);
        Self {
            balancer: pool.balancer(0),
            pool,
            sessions: table(),
        }
    }

    fn open(&mut self, now: Instant, key: &FlowKey) -> BackendId {
        let ticket = self.balancer.acquire_ticket(now, &Pick::default()).unwrap();
        self.sessions
            .insert(now, key, State::SynSent, ticket.into())
            .unwrap();
        self.balancer.resolve(ticket).unwrap().id
    }

    /// What a replicator sends: whose session it is in every node's words.
    fn tell(&mut self) -> Vec<(Change, BackendId)> {
        let mut told = Vec::new();
        while let Some(change) = self.sessions.poll_change() {
            if let Change::Created(session) | Change::Altered(session) = change {
                let backend = self.balancer.resolve(session.binding.ticket).unwrap();
                told.push((change, backend.id));
            }
        }
        told
    }

    fn take_over(&mut self, now: Instant, told: Vec<(Change, BackendId)>) {
        for (change, backend) in told {
            let Change::Created(session) = change else {
                panic!("{change:?}")
            };
            let ticket = self.balancer.adopt(now, backend).unwrap();
            let idle = now.since(session.seen);
            self.sessions
                .adopt(now, &session.key, session.state, ticket.into(), idle)
                .unwrap();
        }
    }

    /// Ends what is due, and hands the tickets back.
    fn expire(&mut self, now: Instant) -> usize {
        self.sessions.handle_timeout(now, 1_000);
        let mut ended = 0;
        while let Some(Expired { session, .. }) = self.sessions.poll_expired() {
            self.balancer
                .finish_ticket(session.binding.ticket, None, Outcome::Ok);
            ended += 1;
        }
        ended
    }

    fn in_flight(&self) -> u64 {
        self.pool
            .stats()
            .iter()
            .map(|stats| stats.in_flight())
            .sum()
    }
}

#[test]
fn a_stream_holds_a_lease_that_outlives_its_backends_removal() {
    let pool = pool(&["a", "b"]);
    let mut balancer = pool.balancer(0);
    let lease = balancer.acquire(T0, &Pick::default()).unwrap();
    let gone = lease.backend();
    pool.apply(T0, [Delta::Remove(gone)]).unwrap();
    for _ in 0..4 {
        let other = balancer.acquire(T0, &Pick::default()).unwrap();
        assert_ne!(other.backend(), gone);
    }
    let in_pool = pool.stats();
    assert!(in_pool.iter().all(|stats| stats.backend.id != gone));

    // Back before the session ends: the same slot, with the same session in its counters.
    let name = if gone == BackendId::of_name("a") {
        "a"
    } else {
        "b"
    };
    pool.apply(T0, [Delta::Upsert(backend(name))]).unwrap();
    let stats = |id| {
        pool.stats()
            .into_iter()
            .find(|stats| stats.backend.id == id)
            .unwrap()
    };
    assert_eq!(stats(gone).in_flight(), 1);
    lease.finish(T0 + secs(5), Outcome::Ok);
    assert_eq!((stats(gone).in_flight(), stats(gone).finished()), (0, 1));
}

#[test]
fn a_packet_session_is_taken_over_by_a_second_node_without_a_pick() {
    let names = ["a", "b", "c"];
    let (mut first, mut second) = (Node::new(&names), Node::new(&["c", "a", "b"]));
    let chosen: Vec<BackendId> = (1..=6).map(|port| first.open(T0, &flow(port))).collect();
    let told = first.tell();
    assert_eq!(told.len(), 6);

    second.take_over(T0 + secs(1), told);
    for (port, backend) in (1..=6).zip(&chosen) {
        let id = second
            .sessions
            .lookup(&flow(port))
            .expect("the session is known");
        let ticket = second.sessions.session(id).unwrap().binding.ticket;
        assert_eq!(second.balancer.resolve(ticket).unwrap().id, *backend);
    }
    assert_eq!((first.in_flight(), second.in_flight()), (6, 6));

    // Each node ends them by itself, and no counter is left behind.
    let late = T0 + secs(10_000);
    assert_eq!((first.expire(late), second.expire(late)), (6, 6));
    assert_eq!((first.in_flight(), second.in_flight()), (0, 0));
}

#[test]
fn a_session_of_a_removed_backend_resolves_until_it_ends_and_its_slot_is_used_again() {
    let mut node = Node::new(&["a", "b"]);
    let id = node.open(T0, &flow(1));
    node.pool.apply(T0, [Delta::Remove(id)]).unwrap();
    node.balancer.refresh(T0);
    let session = node.sessions.lookup(&flow(1)).unwrap();
    let ticket = node.sessions.session(session).unwrap().binding.ticket;
    assert_eq!(
        node.balancer.resolve(ticket).map(|backend| backend.id),
        Some(id)
    );

    assert_eq!(node.expire(T0 + secs(10_000)), 1);
    node.pool.handle_timeout(T0 + secs(10_000));
    node.pool
        .apply(T0 + secs(10_000), [Delta::Upsert(backend("d"))])
        .unwrap();
    node.balancer.refresh(T0 + secs(10_000));
    assert_eq!(
        node.balancer.resolve(ticket),
        None,
        "the slot is another's now"
    );
    node.balancer.finish_ticket(ticket, None, Outcome::Reset);
    let stats = node.pool.stats();
    assert!(
        stats
            .iter()
            .all(|stats| stats.finished() == 0 && stats.in_flight() == 0)
    );
}

#[test]
fn a_request_that_fails_on_one_backend_is_retried_on_another() {
    let pool = pool(&["a", "b", "c"]);
    let mut balancer = pool.balancer(0);
    for _ in 0..10 {
        let mut tried = Tried::default();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let lease = balancer
                .acquire(T0, &Pick::default().tried(&tried))
                .unwrap();
            assert!(!seen.contains(&lease.backend()));
            seen.push(lease.backend());
            assert!(tried.add(lease.ticket()));
            lease.finish(T0, Outcome::ServerError);
        }
        let refusal = balancer
            .acquire(T0, &Pick::default().tried(&tried))
            .unwrap_err();
        assert_eq!(refusal, Refusal::AllTried);
    }
    assert!(pool.stats().iter().all(|stats| stats.finished() == 10));
}

#[test]
fn one_pool_serves_streams_packets_and_requests_while_it_changes() {
    let health = HealthConfig::tcp_connect(secs(2)).fall(1).jitter(0);
    let pool = pool(&["a", "b", "c"])
        .config(PoolConfig::default().health(health))
        .unwrap();
    let (mut streams, mut packets) = (pool.balancer(0), pool.balancer(1));
    probe_all(&pool, T0, None);
    let leases: Vec<_> = (0..3)
        .map(|_| streams.acquire(T0, &Pick::default()).unwrap())
        .collect();
    let tickets: Vec<_> = (0..3)
        .map(|_| packets.acquire_ticket(T0, &Pick::default()).unwrap())
        .collect();

    // One backend fails its probe: both workers see the same picture.
    let dead = BackendId::of_name("b");
    let later = T0 + secs(3);
    probe_all(&pool, later, Some(dead));
    for _ in 0..6 {
        let lease = streams.acquire(later, &Pick::default()).unwrap();
        let ticket = packets.acquire_ticket(later, &Pick::default()).unwrap();
        assert_ne!(lease.backend(), dead);
        assert_ne!(packets.resolve(ticket).unwrap().id, dead);
        packets.finish_ticket(ticket, None, Outcome::Ok);
    }
    for lease in leases {
        lease.finish(later, Outcome::Ok);
    }
    for ticket in tickets {
        packets.finish_ticket(ticket, Some(secs(1)), Outcome::Ok);
    }
    let events = pool.events(0).events;
    assert!(
        events
            .iter()
            .any(|event| format!("{event:?}").contains("Down")),
        "{events:?}"
    );
    assert_eq!(
        pool.stats()
            .iter()
            .map(|stats| stats.in_flight())
            .sum::<u64>(),
        0
    );
}

/// Answers every probe that is due: all pass but that of `dead`.
fn probe_all<S: Scheduler>(pool: &Pool<S>, now: Instant, dead: Option<BackendId>) {
    pool.handle_timeout(now);
    while let Some(probe) = pool.poll_probe(now) {
        let outcome = if Some(probe.backend) == dead {
            ProbeOutcome::Fail(ProbeFailure::Refused)
        } else {
            ProbeOutcome::Pass(Duration::from_millis(1))
        };
        pool.handle_probe(now, probe.backend, probe.number, outcome);
    }
}
