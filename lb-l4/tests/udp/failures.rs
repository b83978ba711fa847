//! Backends that are not there.

use lb_l4::stream::Refused;
use lb_l4::stream::udp::{Dropped, UdpStats};
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Outcome, Pool};

use crate::harness::{Running, client, echo, exchange, finished, pool, receive, socket};

#[test]
fn when_a_port_is_closed_the_next_request_goes_to_another_backend() {
    let (gone, server) = (socket("127.0.0.1"), socket("127.0.0.1"));
    let pool = pool(&[&gone, &server]);
    drop(gone);
    let running = Running::start("127.0.0.1:0", pool.clone());
    let clients = [client(running.address), client(running.address)];
    for it in &clients {
        it.send(b"lost, or not").unwrap();
    }
    running.until("the refusal", |it| it.sessions.connect_failed == 1);
    echo(&server);
    // Whichever client met the closed port finds the open one now, as a second request.
    let homes: std::collections::BTreeSet<_> = clients
        .iter()
        .map(|it| {
            it.send(b"again").unwrap();
            echo(&server)
        })
        .collect();
    assert_eq!(homes.len(), 2);
    assert_eq!(finished(&pool, Outcome::ConnectFailed), 1);
    assert_eq!(running.handle.stats().sessions.began, 2);
}

#[test]
fn a_backend_that_closes_its_port_in_a_session_has_reset_it() {
    let (leaves, stays) = (socket("127.0.0.1"), socket("127.0.0.1"));
    let pool = pool(&[&leaves, &stays]);
    let running = Running::start("127.0.0.1:0", pool.clone());
    let clients = [client(running.address), client(running.address)];
    for it in &clients {
        it.send(b"hello").unwrap();
    }
    echo(&leaves);
    echo(&stays);
    clients
        .iter()
        .for_each(|it| assert_eq!(receive(it), b"hello"));
    drop(leaves);
    for it in &clients {
        it.send(b"is anybody there").unwrap();
    }
    running.until("the refusal", |it| it.sessions.connect_failed == 1);
    echo(&stays);
    for it in &clients {
        it.send(b"again").unwrap();
    }
    assert_ne!(echo(&stays), echo(&stays));
    assert_eq!(finished(&pool, Outcome::Reset), 1);
}

#[test]
fn a_single_backend_that_comes_back_is_found_again() {
    let server = socket("127.0.0.1");
    let address = server.local_addr().unwrap();
    let running = Running::start("127.0.0.1:0", pool(&[&server]));
    let client = client(running.address);
    exchange(&client, &server, b"before");
    drop(server);
    client.send(b"lost").unwrap();
    running.until("the refusal", |it| it.sessions.connect_failed == 1);
    let server = std::net::UdpSocket::bind(address).unwrap();
    server
        .set_read_timeout(Some(crate::harness::PATIENCE))
        .unwrap();
    exchange(&client, &server, b"after");
}

#[test]
fn a_backend_without_a_way_to_it_is_passed_over() {
    let server = socket("127.0.0.1");
    let address = server.local_addr().unwrap();
    // A multicast group has no connected peer in the sense of this host's routes; a Unix socket
    // takes no datagrams from here.
    let pool = Pool::new(RoundRobin)
        .backend(Backend::new("unix", "unix:/nowhere".parse().unwrap()))
        .backend(Backend::new("real", address.into()));
    let running = Running::start("127.0.0.1:0", pool);
    for _ in 0..4 {
        exchange(&client(running.address), &server, b"hello");
    }
    running.settles(
        |it| {
            (
                it.datagrams_out,
                it.sessions.began,
                it.dropped(Dropped::Refused),
            )
        },
        (4, 4, 0),
    );
    running.until("a failure", |it| it.sessions.connect_failed > 0);
}

#[test]
fn where_no_backend_can_be_reached_the_client_is_refused() {
    let pool =
        Pool::new(RoundRobin).backend(Backend::new("unix", "unix:/nowhere".parse().unwrap()));
    let running = Running::start("127.0.0.1:0", pool.clone());
    client(running.address).send(b"hello").unwrap();
    let refused = |it: &UdpStats| {
        (
            it.sessions.refused(Refused::ConnectFailed),
            it.dropped(Dropped::Refused),
        )
    };
    running.settles(refused, (1, 1));
    running.settles(
        |it| (it.sessions.active(), pool.stats()[0].in_flight()),
        (0, 0),
    );
}
