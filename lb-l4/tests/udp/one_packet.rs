//! One-packet mode: a request is a session.

use std::time::Duration;

use lb_l4::stream::End;
use lb_l4::stream::udp::{Dropped, OnePacket, UdpConfig, UdpSettings};
use lbcore::Outcome;

use crate::harness::{Running, client, echo, finished, nothing, pool, receive, settings, socket};

fn mode(answers: u32) -> UdpConfig {
    UdpConfig::default().one_packet(OnePacket::default().answers(answers))
}

#[test]
fn requests_of_one_client_are_spread_and_over_with_their_answers() {
    let servers = [socket("127.0.0.1"), socket("127.0.0.1")];
    let running = Running::start(
        "127.0.0.1:0",
        settings(&[&servers[0], &servers[1]], mode(1)),
    );
    let client = client(running.address);
    for n in 0..6 {
        client.send(&[n]).unwrap();
    }
    for server in &servers {
        for _ in 0..3 {
            echo(server);
        }
    }
    let mut answers: Vec<_> = (0..6).map(|_| receive(&client)).collect();
    answers.sort();
    assert_eq!(answers, [[0], [1], [2], [3], [4], [5]]);
    let stats = running.until("all answers", |it| it.datagrams_out == 6);
    assert_eq!((stats.sessions.began, stats.sessions.active()), (6, 0));
    assert_eq!(
        (stats.sessions.ended(End::Backend), stats.datagrams_in),
        (6, 6)
    );
}

#[test]
fn answers_beyond_those_awaited_are_not_passed_on() {
    let server = socket("127.0.0.1");
    let running = Running::start("127.0.0.1:0", settings(&[&server], mode(2)));
    let asker = client(running.address);
    asker.send(b"?").unwrap();
    let (_, from) = server.recv_from(&mut [0; 9]).unwrap();
    server.send_to(b"1", from).unwrap();
    assert_eq!(receive(&asker), b"1");
    assert_eq!(running.handle.stats().sessions.active(), 1);
    server.send_to(b"2", from).unwrap();
    assert_eq!(receive(&asker), b"2");
    running.until("the end", |it| it.sessions.ended(End::Backend) == 1);
    // The socket that asked is closed: the third finds nobody.
    server.send_to(b"3", from).unwrap();
    nothing(&asker);
}

#[test]
fn a_request_that_awaits_no_answer_is_over_when_it_is_sent() {
    let server = socket("127.0.0.1");
    let running = Running::start("127.0.0.1:0", settings(&[&server], mode(0)));
    client(running.address).send(b"a line of a log").unwrap();
    assert_eq!(receive(&server), b"a line of a log");
    let stats = running.until("the end", |it| it.sessions.ended(End::Client) == 1);
    assert_eq!((stats.sessions.active(), stats.datagrams_in), (0, 1));
}

#[test]
fn a_request_without_an_answer_times_out_and_counts_against_its_backend() {
    let server = socket("127.0.0.1");
    let pool = pool(&[&server]);
    let one = OnePacket::default().timeout(Duration::from_millis(40));
    let config = UdpConfig::default().one_packet(one);
    let running = Running::start("127.0.0.1:0", UdpSettings::new(pool.clone()).config(config));
    client(running.address).send(b"?").unwrap();
    running.until("the end", |it| it.sessions.ended(End::Idle) == 1);
    assert_eq!(finished(&pool, Outcome::Timeout), 1);
    assert_eq!(pool.stats()[0].in_flight(), 0);
}

#[test]
fn a_closed_port_ends_the_request_and_counts_against_its_backend() {
    let server = socket("127.0.0.1");
    let pool = pool(&[&server]);
    drop(server);
    let running = Running::start(
        "127.0.0.1:0",
        UdpSettings::new(pool.clone()).config(mode(1)),
    );
    client(running.address).send(b"?").unwrap();
    let stats = running.until("the end", |it| it.sessions.ended(End::BackendReset) == 1);
    assert_eq!(
        (stats.sessions.connect_failed, stats.sessions.active()),
        (1, 0)
    );
    assert_eq!(finished(&pool, Outcome::ConnectFailed), 1);
}

#[test]
fn ten_thousand_clients_leave_nothing_behind() {
    let server = socket("127.0.0.1");
    let running = Running::start("127.0.0.1:0", settings(&[&server], mode(1)));
    let asker = client(running.address);
    for n in 0..10_000_u32 {
        asker.send(&n.to_be_bytes()).unwrap();
        echo(&server);
        assert_eq!(receive(&asker), n.to_be_bytes());
    }
    let stats = running.until("their ends", |it| it.sessions.ended(End::Backend) == 10_000);
    assert_eq!(stats.sessions.active(), 0);
    assert_eq!(stats.dropped(Dropped::Refused), 0);
}
