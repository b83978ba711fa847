//! What is refused and dropped, and that each of it is counted.

use std::sync::Arc;
use std::time::Duration;

use lb_l4::stream::Refused;
use lb_l4::stream::udp::{Dropped, UdpConfig, UdpSettings, UdpStats};
use lbcore::Pool;
use lbcore::address_list::AddressRules;
use lbcore::budget::{Budget, BudgetConfig, Resource};
use lbcore::limit::LimitConfig;
use lbcore::persist::SourceAddress;
use lbcore::schedule::RoundRobin;

use crate::harness::{
    Running, client, echo, exchange, nothing, pool, receive, send, send_to, settings, socket,
};

#[test]
fn beyond_the_capacity_new_sessions_are_refused_and_old_ones_go_on() {
    let server = socket("127.0.0.1");
    let config = UdpConfig::default().sessions(2);
    let running = Running::start("127.0.0.1:0", settings(&[&server], config));
    let clients: Vec<_> = (0..3).map(|_| client(running.address)).collect();
    exchange(&clients[0], &server, b"one");
    exchange(&clients[1], &server, b"two");
    clients[2].send(b"three").unwrap();
    let refused = |it: &UdpStats| {
        (
            it.sessions.refused(Refused::Connections),
            it.dropped(Dropped::Refused),
        )
    };
    running.settles(refused, (1, 1));
    running.settles(|it| (it.sessions.began, it.sessions.accepted), (2, 3));
    exchange(&clients[0], &server, b"one");
    nothing(&server);
}

#[test]
fn the_address_lists_turn_clients_away() {
    let server = socket("127.0.0.1");
    let rules = AddressRules::new(["127.0.0.2".parse().unwrap()], []);
    let running = Running::start("0.0.0.0:0", UdpSettings::new(pool(&[&server])).rules(rules));
    let port = running.address.port();
    let (allowed, denied) = (socket("127.0.0.2"), socket("127.0.0.3"));
    denied.send_to(b"no", ("127.0.0.1", port)).unwrap();
    running.until("the refusal", |it| {
        it.sessions.refused(Refused::Denied) == 1
    });
    allowed.send_to(b"yes", ("127.0.0.1", port)).unwrap();
    echo(&server);
    assert_eq!(receive(&allowed), b"yes");
    nothing(&server);
}

#[test]
fn no_more_sessions_begin_in_a_second_than_may() {
    let server = socket("127.0.0.1");
    let limits = LimitConfig::default().connections_per_second(3);
    let running = Running::start(
        "127.0.0.1:0",
        UdpSettings::new(pool(&[&server])).limits(limits),
    );
    let clients: Vec<_> = (0..50).map(|_| client(running.address)).collect();
    clients.iter().for_each(|it| send(it, b"hello"));
    // A datagram is counted as accepted before it is decided over: both have to come to rest.
    let decided = |it: &UdpStats| it.sessions.began + it.sessions.refused(Refused::Rate);
    let stats = running.until("all", |it| it.sessions.accepted == 50 && decided(it) == 50);
    // Three at once, and three for each second that this may take on a busy machine.
    assert!((3..40).contains(&stats.sessions.began), "{stats:?}");
}

#[test]
fn bytes_beyond_the_bandwidth_are_dropped_by_whole_datagrams() {
    let server = socket("127.0.0.1");
    // A burst of 64 KiB, and then next to nothing.
    let limits = LimitConfig::default()
        .bytes_per_second_in(1)
        .bytes_per_second_out(1);
    let running = Running::start(
        "127.0.0.1:0",
        UdpSettings::new(pool(&[&server])).limits(limits),
    );
    let client = client(running.address);
    (0..70).for_each(|_| send(&client, &[1; 1_000]));
    running.settles(
        |it| {
            (
                it.datagrams_in,
                it.sessions.bytes_in,
                it.dropped(Dropped::Bandwidth),
            )
        },
        (65, 65_000, 5),
    );

    let mut from = None;
    for _ in 0..65 {
        from = Some(server.recv_from(&mut [0; 1_000]).unwrap().1);
    }
    (0..3).for_each(|_| send_to(&server, &[2; 30_000], from.unwrap()));
    running.settles(
        |it| {
            (
                it.datagrams_out,
                it.sessions.bytes_out,
                it.dropped(Dropped::Bandwidth),
            )
        },
        (2, 60_000, 6),
    );
    assert_eq!(receive(&client), [2; 30_000]);
}

#[test]
fn without_a_backend_clients_are_refused() {
    let running = Running::start("127.0.0.1:0", Pool::new(RoundRobin));
    client(running.address).send(b"hello").unwrap();
    let refused = |it: &UdpStats| {
        (
            it.sessions.refused(Refused::NoBackends),
            it.dropped(Dropped::Refused),
        )
    };
    running.settles(refused, (1, 1));
    running.settles(|it| it.sessions.began, 0);
}

#[test]
fn what_the_process_has_no_budget_for_is_refused() {
    let server = socket("127.0.0.1");
    for config in [
        BudgetConfig::default().sessions(1),
        BudgetConfig::default().descriptors(1),
    ] {
        let budget = Budget::new(config);
        let settings = UdpSettings::new(pool(&[&server])).budget(budget.clone());
        let running = Running::start("127.0.0.1:0", settings);
        let first = client(running.address);
        exchange(&first, &server, b"fits");
        client(running.address).send(b"does not").unwrap();
        running.settles(
            |it| (it.sessions.refused(Refused::Budget), it.sessions.began),
            (1, 1),
        );
        exchange(&first, &server, b"goes on");
        assert_eq!(budget.stats(Resource::Sessions).used, 1);
    }
}

#[test]
fn a_client_is_sent_to_the_backend_it_had() {
    let servers = [socket("127.0.0.1"), socket("127.0.0.1")];
    let memory = Arc::new(SourceAddress::lasting(Duration::from_secs(3_600)));
    let settings = UdpSettings::new(pool(&[&servers[0], &servers[1]])).persistence(memory);
    let running = Running::start("127.0.0.1:0", settings);
    let first = client(running.address);
    first.send(b"where to").unwrap();
    running.settles(|it| (it.datagrams_in, it.sessions.began), (1, 1));
    let at = usize::from({
        servers[0].set_nonblocking(true).unwrap();
        servers[0].recv(&mut [0; 9]).is_err()
    });
    servers[0].set_nonblocking(false).unwrap();
    for _ in 0..6 {
        let next = client(running.address);
        next.send(b"there").unwrap();
    }
    running.until("all", |it| it.datagrams_in == 7);
    nothing(&servers[1 - at]);
}
