//! How sessions begin, last and end.

use std::time::Duration;

use lb_l4::stream::udp::{UdpBalancer, UdpConfig, UdpService, UdpSettings, UdpWorker};
use lb_l4::stream::{End, Refused};
use lbcore::address_list::AddressRules;
use lbcore::backend::Admin;
use lbcore::schedule::RoundRobin;
use lbcore::{BackendId, Delta, Instant};

use crate::harness::{
    Running, backend, client, echo, exchange, finished, nothing, pool, receive, send, settings,
    socket,
};

#[test]
fn a_client_stays_with_its_backend_and_clients_are_spread() {
    let backends = [socket("127.0.0.1"), socket("127.0.0.1")];
    let running = Running::start("127.0.0.1:0", pool(&[&backends[0], &backends[1]]));
    let clients = [client(running.address), client(running.address)];
    clients[0].send(b"first").unwrap();
    running.until("the first session", |it| it.sessions.began == 1);
    clients[1].send(b"second").unwrap();
    // Which of the two takes the first turn is its own choice.
    let homes = backends.each_ref().map(echo);
    assert_eq!(receive(&clients[0]), b"first");
    assert_eq!(receive(&clients[1]), b"second");
    for _ in 0..3 {
        clients.iter().for_each(|it| send(it, b"more"));
        assert_eq!(
            backends.each_ref().map(echo),
            homes,
            "the same sockets again"
        );
        clients
            .iter()
            .for_each(|it| assert_eq!(receive(it), b"more"));
    }
    running.settles(|it| (it.datagrams_in, it.datagrams_out), (8, 8));
    running.settles(|it| (it.sessions.began, it.sessions.active()), (2, 2));
    running.settles(|it| (it.sessions.bytes_in, it.sessions.bytes_out), (35, 35));
    running.settles(|it| it.sessions.accepted, 2);
}

#[test]
fn an_idle_session_ends_and_the_next_datagram_begins_another() {
    let server = socket("127.0.0.1");
    let pool = pool(&[&server]);
    let config = UdpConfig::default().idle_timeout(Duration::from_millis(40));
    let running = Running::start("127.0.0.1:0", UdpSettings::new(pool.clone()).config(config));
    let client = client(running.address);
    for n in 1..=2 {
        exchange(&client, &server, b"hello");
        running.settles(
            |it| {
                (
                    it.sessions.ended(End::Idle),
                    it.sessions.began,
                    it.sessions.active(),
                )
            },
            (n, n, 0),
        );
    }
    running.settles(
        |_| {
            (
                pool.stats()[0].in_flight(),
                finished(&pool, lbcore::Outcome::Ok),
            )
        },
        (0, 2),
    );
}

#[test]
fn a_drain_takes_no_new_session_and_ends_the_others_at_its_deadline() {
    let server = socket("127.0.0.1");
    let config = UdpConfig::default().drain_timeout(Duration::from_secs(2));
    let mut running = Running::start("127.0.0.1:0", settings(&[&server], config));
    let old = client(running.address);
    exchange(&old, &server, b"before");
    running.stop();
    // Those that come before the stop is noticed still begin.
    running.until("a refusal", |it| {
        client(running.address).send(b"new").unwrap();
        it.sessions.refused(Refused::Draining) > 0
    });
    old.send(b"after").unwrap();
    while receive(&server) != b"after" {}
    running.join();
    let stats = running.handle.stats();
    assert!(stats.sessions.ended(End::Deadline) >= 1);
    assert_eq!(stats.sessions.active(), 0);
}

#[test]
fn a_drain_without_sessions_is_over_at_once() {
    let server = socket("127.0.0.1");
    let config = UdpConfig::default().drain_timeout(Duration::from_secs(3_600));
    Running::start("127.0.0.1:0", settings(&[&server], config)).join();
}

#[test]
fn a_backend_that_drains_or_leaves_keeps_its_session() {
    let servers = [socket("127.0.0.1"), socket("127.0.0.1")];
    let pool = pool(&[&servers[0]]);
    let running = Running::start("127.0.0.1:0", pool.clone());
    let client = client(running.address);
    let now = Instant::ZERO;
    let first = backend("0", &servers[0]);
    let changes = [
        Delta::Upsert(backend("1", &servers[1])),
        Delta::Upsert(first.clone().weight(0)),
        Delta::Upsert(first.admin(Admin::Drain)),
        Delta::Remove(BackendId::of_name("0")),
    ];
    for change in changes {
        exchange(&client, &servers[0], b"stays");
        pool.apply(now, [change]).unwrap();
    }
    exchange(&client, &servers[0], b"stays");
    assert_eq!(running.handle.stats().moved, 0);
}

#[test]
fn a_backend_taken_out_of_service_loses_its_session() {
    let servers = [socket("127.0.0.1"), socket("127.0.0.1")];
    let pool = pool(&[&servers[0]]);
    let running = Running::start("127.0.0.1:0", pool.clone());
    let client = client(running.address);
    exchange(&client, &servers[0], b"here");
    let out = backend("0", &servers[0]).admin(Admin::Maintenance);
    let next = backend("1", &servers[1]);
    pool.apply(Instant::ZERO, [Delta::Upsert(out), Delta::Upsert(next)])
        .unwrap();
    exchange(&client, &servers[1], b"there");
    running.settles(
        |it| {
            (
                it.datagrams_out,
                it.moved,
                it.sessions.began,
                it.sessions.active(),
            )
        },
        (2, 1, 1, 1),
    );
    nothing(&servers[0]);
}

#[test]
fn new_settings_decide_over_new_sessions_alone() {
    let servers = [socket("127.0.0.1"), socket("127.0.0.1")];
    let running = Running::start("127.0.0.1:0", pool(&[&servers[0]]));
    let old = client(running.address);
    exchange(&old, &servers[0], b"old");
    running.handle.update(pool(&[&servers[1]])).unwrap();
    exchange(&client(running.address), &servers[1], b"new");
    exchange(&old, &servers[0], b"old");

    let closed = AddressRules::new([], ["127.0.0.0/8".parse().unwrap()]);
    running
        .handle
        .update(UdpSettings::new(pool(&[&servers[1]])).rules(closed))
        .unwrap();
    client(running.address).send(b"too late").unwrap();
    running.until("the refusal", |it| {
        it.sessions.refused(Refused::Denied) == 1
    });
    exchange(&old, &servers[0], b"old");
    let wrong = settings(&[], UdpConfig::default().sessions(0));
    assert!(running.handle.update(wrong).is_err());
}

#[test]
fn several_workers_serve_one_address() {
    let server = socket("127.0.0.1");
    let service = UdpService::new("127.0.0.1:0".parse().unwrap(), pool(&[&server])).workers(3);
    let balancer = UdpBalancer::bind(service).unwrap();
    assert_eq!(balancer.addresses().len(), 3);
    let running = Running::of(balancer);
    let clients: Vec<_> = (0..30).map(|_| client(running.address)).collect();
    for _ in 0..2 {
        clients
            .iter()
            .for_each(|it| exchange(it, &server, b"hello"));
    }
    running.settles(
        |it| (it.datagrams_out, it.sessions.began, it.sessions.active()),
        (60, 30, 30),
    );
}

#[test]
fn a_balancer_that_is_dropped_gives_its_leases_back() {
    let server = socket("127.0.0.1");
    let pool = pool(&[&server]);
    let service = UdpService::new("127.0.0.1:0".parse().unwrap(), pool.clone());
    let balancer = UdpBalancer::bind(service).unwrap();
    let (address, handle) = (balancer.addresses()[0], balancer.handle());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let serving = balancer.run_until(std::future::pending::<()>());
        client(address).send(b"hello").unwrap();
        let begun = async {
            while handle.stats().sessions.began == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { _ = serving => unreachable!("never stopped"), () = begun => {} }
        tokio::task::yield_now().await;
    });
    drop(runtime);
    let stats = handle.stats();
    assert_eq!(stats.sessions.ended(End::Deadline), 1);
    assert_eq!(pool.stats()[0].in_flight(), 0);
}

#[test]
fn its_futures_move_between_threads() {
    fn is_send(_: impl Send) {}
    let server = socket("127.0.0.1");
    let bind = || {
        let service = UdpService::new("127.0.0.1:0".parse().unwrap(), pool(&[&server]));
        UdpBalancer::<RoundRobin>::bind(service).unwrap()
    };
    is_send(bind().run_until(std::future::pending::<()>()));
    let worker: UdpWorker<_> = bind().into_workers().unwrap().pop().unwrap();
    is_send(worker.run_until(std::future::pending::<()>()));
}
