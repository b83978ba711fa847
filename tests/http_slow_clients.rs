//! Clients that are slow on purpose cost little, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use harness::clb::{Clb, pair};
use harness::host::free_address;
use harness::length;
use harness::origin::Origin;
use harness::process::Process;
use harness::procfs::Protocol;
use harness::slow::{Attack, Fate, slowhttptest};
use harness::wait::{self, PATIENCE, eventually};
use harness::{host, http, peer};

/// Slow connections at once.
const SLOW: usize = 1_000;

/// The longest that anybody else may wait for an answer, with all that a shared host adds.
const SOON: Duration = Duration::from_secs(2);

/// How long a listener here waits for what a slow client holds back: shorter than the attack.
const TIMEOUTS: &str =
    "timeouts = { request_head = \"2s\", body_idle = \"2s\", write_idle = \"2s\" }\n";

#[test]
fn slow_headers_end_by_their_timeout() {
    let fate = attack(Attack::Headers, "/");
    assert!(fate.all_closed, "{fate:?}");
}

#[test]
fn slow_bodies_end_by_their_timeout() {
    let fate = attack(Attack::Body, "/sink");
    assert!(fate.all_closed, "{fate:?}");
}

#[test]
fn many_ranges_are_no_burden() {
    let _ = attack_before(files(), Attack::Range, "/file");
}

#[test]
fn slow_readers_fill_no_memory() {
    let _ = attack_before(files(), Attack::Read, "/file");
}

#[track_caller]
fn attack(attack: Attack, path: &str) -> Fate {
    let origin = Origin::start();
    attack_before((origin.address(), ()), attack, path)
}

/// nginx with a file of 200 kB, more than the kernel holds for one connection.
fn files() -> (SocketAddr, Process) {
    let address = free_address();
    let text = format!(
        "user root; events {{ worker_connections 8192; }}
         http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy;
             fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi; root .;
             server {{ listen {address} backlog=4096; location = / {{ return 200 hello; }} }} }}"
    );
    let server = peer::nginx(&text).file("file", &"z".repeat(200_000));
    (address, server.serving(Protocol::Tcp, address).start())
}

/// Attacks for some seconds, while somebody else asks again and again and is answered soon.
#[track_caller]
fn attack_before<S>((backend, _server): (SocketAddr, S), attack: Attack, path: &str) -> Fate {
    let most = host::raise_descriptors();
    assert!(
        most > 4 * SLOW as u64,
        "this host allows {most} descriptors"
    );
    let front = free_address();
    let file = pair("front", "http", front, backend, TIMEOUTS);
    let clb = Clb::start(2, &file).serves(Protocol::Tcp, front);
    let calm = clb.process().descriptors();

    let span = Duration::from_secs(length::either(12, 60));
    let (end, mut others) = (wait::now() + span, 0);
    let process = slowhttptest(attack, front, path, SLOW, span).start();
    while wait::now() < end {
        serve_another(front);
        others += 1;
        let used = clb.process().descriptors();
        // Two a connection, at most, and what it has anyway.
        assert!(used <= calm + 2 * SLOW + 64, "{used} descriptors");
        wait::pause(Duration::from_millis(20));
    }
    let fate = Fate::of(process, span);
    assert!(fate.available, "{fate:?}");
    assert!(others > 50, "only {others} others were served");
    clb.assert_memory(SLOW as u64);
    eventually(PATIENCE, "all that was taken is given back", || {
        // What workers keep idle to the backend is taken too: 64 connections each.
        clb.process().descriptors() <= calm + 64 + 2 * 64
    });
    fate
}

#[track_caller]
fn serve_another(front: SocketAddr) {
    let began = wait::now();
    let answer = http::get(front, "/").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    let took = wait::now() - began;
    assert!(took <= SOON, "somebody else waited for {took:?}");
}
