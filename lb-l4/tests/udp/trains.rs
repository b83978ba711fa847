//! Datagrams in bursts: joined into trains on the way, and apart again at the end.

use std::net::UdpSocket;

use crate::harness::{Running, client, pool, receive, send, send_to, socket};

/// Datagrams whose sizes join, end trains, and forbid them.
fn mixed() -> Vec<Vec<u8>> {
    let sizes = [1_200; 30]
        .into_iter()
        .chain([700, 0, 0, 1, 1, 1, 9_000, 9_000, 8_999, 1_472])
        .chain([64; 70])
        .chain([0, 1_400, 1_400, 1_401]);
    let number =
        |(n, size): (usize, usize)| (0..size).map(|at| (at * 7 + n).to_le_bytes()[0]).collect();
    sizes.enumerate().map(number).collect()
}

/// Sends all, and checks that all arrive as they were, in order.
#[track_caller]
fn pass(burst: &[Vec<u8>], from: impl Fn(&[u8]), to: &UdpSocket) {
    for part in burst.chunks(40) {
        part.iter().for_each(|it| from(it));
        for (n, sent) in part.iter().enumerate() {
            assert!(receive(to) == *sent, "datagram {n} of {}", sent.len());
        }
    }
}

#[test]
fn bursts_arrive_in_order_with_every_datagram_as_it_was() {
    let server = socket("127.0.0.1");
    let running = Running::start("127.0.0.1:0", pool(&[&server]));
    let client = client(running.address);
    let burst = mixed();
    pass(&burst, |it| send(&client, it), &server);
    client.send(b"who?").unwrap();
    let (_, proxy) = server.recv_from(&mut [0; 9]).unwrap();
    pass(&burst, |it| send_to(&server, it, proxy), &client);

    let bytes: u64 = burst.iter().map(|it| it.len() as u64).sum();
    let count = burst.len() as u64;
    running.settles(|it| (it.datagrams_in, it.datagrams_out), (count + 1, count));
    running.settles(
        |it| (it.sessions.bytes_in, it.sessions.bytes_out),
        (bytes + 4, bytes),
    );
}

/// The first balancer sends trains, and the second receives them whole.
#[test]
fn trains_pass_two_balancers_intact_and_in_order() {
    let server = socket("127.0.0.1");
    let second = Running::start("127.0.0.1:0", pool(&[&server]));
    let middle = lbcore::Backend::new("second", second.address.into());
    let first = Running::start(
        "127.0.0.1:0",
        lbcore::Pool::new(lbcore::schedule::RoundRobin).backend(middle),
    );
    let client = client(first.address);
    let burst = mixed();
    pass(&burst, |it| send(&client, it), &server);
    client.send(b"who?").unwrap();
    let (_, proxy) = server.recv_from(&mut [0; 9]).unwrap();
    pass(&burst, |it| send_to(&server, it, proxy), &client);
    let stats = second.until("the count", |it| it.datagrams_out == burst.len() as u64);
    assert_eq!(stats.datagrams_in, burst.len() as u64 + 1);
}

#[test]
fn the_largest_and_the_smallest_datagrams_pass() {
    let server = socket("127.0.0.1");
    let running = Running::start("0.0.0.0:0", pool(&[&server]));
    let client = client(([127, 0, 0, 5], running.address.port()).into());
    for size in [65_507, 0, 65_506, 1] {
        crate::harness::exchange(&client, &server, &vec![7; size]);
    }
    running.settles(
        |it| (it.datagrams_out, it.sessions.bytes_out),
        (4, 65_507 + 65_506 + 1),
    );
}

#[test]
fn many_clients_in_one_batch_get_their_own_answers() {
    let server = socket("127.0.0.1");
    let running = Running::start("127.0.0.1:0", pool(&[&server]));
    let clients: Vec<_> = (0..100).map(|_| client(running.address)).collect();
    for round in 0..3_u8 {
        for (n, it) in (0_u8..).zip(&clients) {
            it.send(&[n, round]).unwrap();
        }
        for _ in &clients {
            crate::harness::echo(&server);
        }
        for (n, it) in (0_u8..).zip(&clients) {
            assert_eq!(receive(it), [n, round]);
        }
    }
}
