//! The file is read again and again under load, and no client notices.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use harness::clb::{Clb, pair};
use harness::client::Client;
use harness::host::free_address;
use harness::procfs::{self, Protocol};
use harness::server::{Behaviour, Server};
use harness::steady::{Load, assert_none_failed};
use harness::wait::{PATIENCE, eventually};
use rustix::process::Signal;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fifty_reloads_under_load_reset_no_connection_and_fail_no_request() {
    let servers = servers();
    let front = free_address();
    let clb = Clb::start(2, &web(&servers, front, 0)).serves(Protocol::Tcp, front);
    let short = Load::of_short_sessions(front, 6, 3_000);
    let long = Load::of_long_sessions(front, 12, 3_000);
    long.await_more(100);
    for step in 1..=50 {
        clb.reload(&web(&servers, front, step), step);
        short.await_more(5);
    }
    let (short, long) = (short.stop().await, long.stop().await);
    assert_none_failed(&short);
    assert_none_failed(&long);
    assert_eq!(long.len(), 12);
    assert!(short.len() >= 250, "{}", short.len());
    for how in ["backend-reset", "client-reset", "deadline", "error"] {
        assert_eq!(clb.ended("front", how), 0.0, "{how}");
    }
    let served = clb.metrics().sum("clb_listener_sessions_total", &[]);
    assert_eq!(served, (short.len() + long.len()) as f64);
    assert_eq!(clb.metrics().sum("clb_refused_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_file_changes_nothing_and_is_logged() {
    let servers = servers();
    let front = free_address();
    let clb = Clb::start(2, &web(&servers, front, 1)).serves(Protocol::Tcp, front);
    let load = Load::of_long_sessions(front, 4, 1_000);
    load.await_more(20);
    let weight = |name| {
        let labels = [("backend", name)];
        clb.metrics().sum("clb_backend_weight", &labels)
    };
    let before = weight("a");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let changed = web(&servers, front, 4);
    let bad = [
        ("not TOML at all", "clb.toml:".to_owned()),
        ("\n[[listner]]\nname = \"x\"", "listner".to_owned()),
        // This one is only found when its address cannot be had.
        ("", "listener.side: ".to_owned()),
    ];
    for (refused, (text, told)) in (1_u32..).zip(bad) {
        let more = match text {
            "" => pair("side", "tcp", taken.1, servers[0].address(), ""),
            text => text.to_owned(),
        };
        clb.rewrite(2, &format!("{changed}{more}"));
        clb.process().signal(Signal::HUP);
        let labels = [("result", "refused")];
        clb.await_figure("clb_config_reloads_total", &labels, f64::from(refused));
        let nothings = || clb.process().log().matches("nothing has changed").count();
        eventually(PATIENCE, "it is logged", || nothings() == refused as usize);
        assert!(clb.process().log().contains(&told), "{told}");
        assert_eq!(weight("a"), before);
        assert!(
            !clb.metrics()
                .has("clb_listener_accepted_total", &[("listener", "side")])
        );
        load.await_more(10);
    }
    assert_none_failed(&load.stop().await);

    clb.reload(&changed, 1);
    assert_ne!(weight("a"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_listener_that_goes_drains_and_a_new_one_serves() {
    let server = Server::tcp(Behaviour::Echo);
    let (old, new) = (free_address(), free_address());
    let clb = Clb::start(2, &pair("old", "tcp", old, server.address(), ""));
    let clb = clb.serves(Protocol::Tcp, old);
    let mut kept = Client::connect(old, 1).await.unwrap();
    kept.exchange(1_000).await.unwrap();

    clb.reload(&pair("new", "tcp", new, server.address(), ""), 1);
    let mut fresh = Client::connect(new, 2).await.unwrap();
    fresh.exchange(1_000).await.unwrap();
    eventually(PATIENCE, "the old port is closed", || {
        !procfs::serves(clb.process().id(), Protocol::Tcp, old)
    });
    let refused = TcpStream::connect(old).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    kept.exchange(100_000).await.unwrap();
    let under_way = |name| {
        let labels = [("listener", name)];
        clb.metrics().sum("clb_listener_sessions_active", &labels)
    };
    assert_eq!((under_way("old"), under_way("new")), (1.0, 1.0));

    assert_eq!(kept.finish().await.unwrap(), 0);
    eventually(PATIENCE, "the old listener is over", || {
        under_way("old") == 0.0
    });
    fresh.exchange(1_000).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sigterm_lets_the_last_session_end_and_exits_0() {
    let (mut clb, _server, front) = one("drain_timeout = \"20s\"");
    let mut client = Client::connect(front, 1).await.unwrap();
    client.exchange(1_000).await.unwrap();
    clb.process().signal(Signal::TERM);
    eventually(PATIENCE, "the port is closed", || {
        !procfs::serves(clb.process().id(), Protocol::Tcp, front)
    });
    let draining = clb.metrics().sum("clb_draining", &[]);
    assert_eq!(draining, 1.0);
    client.exchange(200_000).await.unwrap();
    assert!(clb.process_mut().is_running());

    assert_eq!(client.finish().await.unwrap(), 0);
    assert_eq!(clb.process_mut().wait(PATIENCE).code(), Some(0));
    assert!(clb.process().log().contains("drained"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sigterm_under_load_fails_no_request_that_was_taken() {
    let (mut clb, _server, front) = one("drain_timeout = \"20s\"");
    let mut clients = Vec::new();
    for seed in 0..20 {
        clients.push(Client::connect(front, seed).await.unwrap());
    }
    // All have connected; some may not yet have been accepted.
    clb.process().signal(Signal::TERM);
    for mut client in clients {
        client.exchange(5_000).await.unwrap();
        assert_eq!(client.finish().await.unwrap(), 0);
    }
    assert_eq!(clb.process_mut().wait(PATIENCE).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_drain_ends_by_its_deadline_or_by_a_second_sigterm() {
    for (drain, again, told) in [
        ("200ms", false, "drained"),
        ("1h", true, "told to stop again"),
    ] {
        let (mut clb, _server, front) = one(&format!("drain_timeout = \"{drain}\""));
        let mut client = Client::connect(front, 1).await.unwrap();
        client.exchange(1_000).await.unwrap();
        clb.process().signal(Signal::TERM);
        eventually(PATIENCE, "it drains", || {
            clb.process().log().contains("draining")
        });
        if again {
            clb.process().signal(Signal::TERM);
        }
        let status = clb.process_mut().wait(Duration::from_secs(5));
        assert_eq!(status.code(), Some(0), "{drain}");
        assert!(clb.process().log().contains(told), "{told}");
        client.exchange(1).await.unwrap_err();
    }
}

/// `clb` before one echo server, with more lines of the listener.
fn one(rest: &str) -> (Clb, Server, SocketAddr) {
    let (server, front) = (Server::tcp(Behaviour::Echo), free_address());
    let clb = Clb::start(2, &pair("front", "tcp", front, server.address(), rest));
    (clb.serves(Protocol::Tcp, front), server, front)
}

fn servers() -> [Server; 3] {
    ["a", "b", "c"].map(|name| Server::tcp(Behaviour::Named(name.into())))
}

/// A file that differs from step to step: in weights, in backends, in limits and in times.
fn web(servers: &[Server], front: SocketAddr, step: u32) -> String {
    let mut file = String::from(
        "[[pool]]\nname = \"web\"\nscheduler = \"weighted-round-robin\"\n\
         health = { kind = \"tcp\", interval = \"500ms\", timeout = \"500ms\" }\n",
    );
    for (server, name) in servers.iter().zip(["a", "b", "c"]) {
        // Two of three stay at each step, and each is gone at some.
        let place = u32::from(name.as_bytes()[0] - b'a');
        if step % 4 != place {
            let (address, weight) = (server.address(), 1 + (step + place) % 5);
            write!(
                file,
                "[[pool.backends]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n"
            )
            .expect("a string takes text");
        }
    }
    let (bytes, connections) = ([0, 100_000_000][step as usize % 2], 1_000 + step);
    write!(
        file,
        "[[listener]]\nname = \"front\"\nprotocol = \"tcp\"\nlisten = \"{front}\"\npool = \"web\"\n\
         idle_timeout = \"{}s\"\n\
         limits = {{ bytes_per_second_out = {bytes}, connections = {connections} }}\n",
        60 + step
    )
    .expect("a string takes text");
    file
}
