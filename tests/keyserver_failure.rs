//! Key servers that die, lie, or are silent, slow or far away: handshakes go on, or fail at once.

use std::net::SocketAddr;
use std::time::Duration;

use harness::authority::Authority;
use harness::handshakes::{Handshakes, at_rate};
use harness::host::free_address;
use harness::keyless;
use harness::keys::Keys;
use harness::keyserver::{KeyServer, Setup};
use harness::length::either;
use harness::netns::Namespace;
use harness::node::Node;
use harness::process::Process;
use harness::relay::Relay;
use harness::tls::TlsClient;
use harness::wait::{self, PATIENCE, eventually_async};
use lb_keyserver::client::{BreakerState, ClientStats, Fault, KeyClientConfig, ServerStats};
use lb_keyserver::{KeyClient, Mode};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

#[test]
fn a_key_server_that_is_killed_again_and_again_fails_no_handshake() {
    let (rate, span) = (200, either(Duration::from_secs(8), Duration::from_secs(60)));
    let world = World::new(&["bound"]);
    let (survivor, victim) = (world.setup().start(), world.setup().start());
    let runtime = runtime();
    let addresses = [survivor.address(), victim.address()];
    let node = runtime.block_on(world.node(&addresses, KeyClientConfig::default()));
    let load = load(&runtime, &node, rate, span);

    let (mut victim, mut kills) = (Some(victim), 0);
    while !load.is_finished() {
        let address = addresses[1];
        if let Some(mut alive) = victim.take() {
            alive.process_mut().kill();
            kills += 1;
        }
        // Down for a moment, so that connecting fails as well; then up, so that it is asked again.
        wait::pause(Duration::from_millis(500));
        victim = Some(world.setup().start_at(address));
        wait::pause(Duration::from_millis(1_500));
    }

    let seen = runtime.block_on(load).unwrap();
    seen.assert_all(rate, span);
    let stats = node.signer().stats();
    assert_eq!((stats.signed, stats.failed.total()), (seen.done, 0));
    let victim = of(&stats, addresses[1]);
    let faults: u64 = victim.faults.iter().map(|(_, count)| count).sum();
    assert!(
        kills >= 4 && faults >= kills,
        "{faults} of {kills}: {victim:?}"
    );
    // It was asked in between: otherwise nothing was at stake.
    assert!(victim.counts.signed > kills * 10, "{victim:?}");
}

#[test]
fn a_key_server_that_accepts_and_never_answers_is_not_asked() {
    let (_, bad) = with_a_bad_one("mute", &[]);
    assert!(bad.faults.of(Fault::Timeout) > 0, "{bad:?}");
    assert_eq!(bad.counts.asked, 0, "{bad:?}");
}

#[test]
fn a_key_server_that_answers_pings_alone_is_avoided() {
    let (_, bad) = with_a_bad_one("silent", &[]);
    assert!(bad.counts.slow > 0 && bad.counts.signed == 0, "{bad:?}");
}

#[test]
fn a_key_server_that_answers_garbage_is_ejected() {
    let (_, bad) = with_a_bad_one("garbage", &[]);
    assert!(bad.counts.lies > 0 && bad.counts.opened > 0, "{bad:?}");
    assert_eq!(bad.counts.signed, 0, "{bad:?}");
}

#[test]
fn a_key_server_that_signs_with_another_key_is_ejected() {
    let (stats, bad) = with_a_bad_one("other-key", &[]);
    assert!(bad.counts.lies > 0 && bad.counts.opened > 0, "{bad:?}");
    assert!(stats.bad_signatures > 0, "{stats:?}");
}

#[test]
fn a_key_server_that_is_always_late_is_avoided_and_what_comes_late_is_counted() {
    let (stats, bad) = with_a_bad_one("late", &["--delay", "700"]);
    assert!(bad.counts.slow > 0, "{bad:?}");
    assert!(stats.late_answers > 0, "{stats:?}");
}

#[test]
fn a_key_server_that_answers_what_nobody_asked_is_avoided() {
    let (stats, bad) = with_a_bad_one("wrong-id", &[]);
    assert!(bad.counts.slow > 0, "{bad:?}");
    assert!(stats.unknown_answers > 0, "{stats:?}");
}

#[test]
fn a_key_server_that_always_fails_is_ejected() {
    let (_, bad) = with_a_bad_one("internal", &[]);
    let refused: u64 = bad.counts.refused.iter().map(|(_, count)| count).sum();
    assert!(refused > 0 && bad.counts.opened > 0, "{bad:?}");
}

#[test]
fn with_all_key_servers_down_new_handshakes_fail_fast_and_sessions_are_resumed() {
    let world = World::new(&["bound"]);
    let mut servers = [world.setup().start(), world.setup().start()];
    let runtime = runtime();
    let addresses = servers.each_ref().map(KeyServer::address);
    let node = runtime.block_on(world.node(&addresses, KeyClientConfig::default()));
    let resuming = TlsClient::resuming();
    assert_eq!(
        runtime.block_on(kind(&resuming, node.address())),
        HandshakeKind::Full
    );

    servers
        .iter_mut()
        .for_each(|server| server.process_mut().kill());
    runtime.block_on(async {
        let down = || {
            node.signer()
                .stats()
                .servers
                .iter()
                .all(|server| server.connections == 0)
        };
        eventually_async(PATIENCE, "the connections are gone", down).await;
        for _ in 0..20 {
            let start = wait::now();
            let refused = TlsClient::new(&[]).connect(node.address()).await;
            assert!(
                start.elapsed() < Duration::from_secs(1),
                "{:?}",
                start.elapsed()
            );
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("InternalError"), "not an alert: {error}");
            // A session takes its last ticket with it, and gets new ones.
            assert_eq!(
                kind(&resuming, node.address()).await,
                HandshakeKind::Resumed
            );
        }
    });

    // Nothing has to be restarted but the key servers.
    let _servers = addresses.map(|address| world.setup().start_at(address));
    runtime.block_on(async {
        let up = || node.signer().stats().servers.iter().any(is_asked);
        eventually_async(PATIENCE, "a key server is asked again", up).await;
        let full = kind(&TlsClient::new(&[]), node.address()).await;
        assert_eq!(full, HandshakeKind::Full);
    });
}

#[test]
fn key_servers_that_are_far_away_delay_handshakes_and_fail_none() {
    let (rate, span, far) = (50, Duration::from_secs(2), Duration::from_millis(50));
    let world = World::new(&["bound"]);
    let servers = [world.setup().start(), world.setup().start()];
    let relays = servers
        .each_ref()
        .map(|server| Relay::to(server.address(), far));
    let runtime = runtime();
    let addresses = relays.each_ref().map(Relay::address);
    let node = runtime.block_on(world.node(&addresses, KeyClientConfig::default()));
    let seen = runtime.block_on(load(&runtime, &node, rate, span)).unwrap();
    seen.assert_all(rate, span);
    assert!(seen.slowest >= 2 * far, "{seen:?}");
    assert!(seen.slowest < Duration::from_secs(1), "{seen:?}");
}

/// The connections stay, and nothing comes: only a timer can tell.
#[test]
fn a_key_server_behind_a_cable_that_is_pulled_fails_no_handshake() {
    let (rate, span) = (50, Duration::from_secs(3));
    let world = World::new(&["bound"]);
    let servers = [world.setup().start(), world.setup().start()];
    let relays = servers
        .each_ref()
        .map(|server| Relay::to(server.address(), Duration::ZERO));
    let runtime = runtime();
    let addresses = relays.each_ref().map(Relay::address);
    let node = runtime.block_on(world.node(&addresses, KeyClientConfig::default()));
    let load = load(&runtime, &node, rate, span);
    wait::eventually(PATIENCE, "both are asked", || {
        let stats = node.signer().stats();
        stats.servers.iter().all(|server| server.counts.signed > 5)
    });
    relays[0].hold();
    let seen = runtime.block_on(load).unwrap();
    seen.assert_all(rate, span);
    let stats = node.signer().stats();
    assert!(stats.hedges + stats.retries > 0, "{stats:?}");
    // It is asked no more, though nothing says that it has gone; else each would have been late.
    assert!(stats.hedges + stats.retries < seen.done / 4, "{stats:?}");
    // It is taken back once the cable is plugged in.
    relays[0].resume();
    let back = || is_asked(of(&node.signer().stats(), addresses[0]));
    wait::eventually(3 * PATIENCE, "it is asked again", back);
}

/// TCP takes 200 ms and more to send a lost packet again, so that a handshake must not hang on one
/// connection. The whole node lives on the lossy side; its clients do, too, on another wire.
#[test]
fn packets_that_are_lost_on_the_way_to_the_key_servers_fail_no_handshake() {
    let Some([near, far]) = Namespace::open() else {
        return;
    };
    near.wire("10.1.0.1/24", &far, "10.1.0.2/24");
    if !far.lose(5) {
        return;
    }
    let (rate, span) = (50, either(Duration::from_secs(4), Duration::from_secs(30)));
    let world = World::new(&["bound"]);
    let addresses = [2407, 2408].map(|port| SocketAddr::from(([10, 1, 0, 2], port)));
    let _servers = addresses.map(|address| world.setup().start_within(&far, address));
    let seen = near.enter(|| {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async {
            let node = world.node(&addresses, KeyClientConfig::default()).await;
            at_rate(&TlsClient::new(&[]), node.address(), rate, span).await
        })
    });
    seen.assert_all(rate, span);
}

/// Handshakes with two key servers, one of which has that fault; what the client counted, and what
/// of the bad one.
#[track_caller]
fn with_a_bad_one(fault: &str, more: &[&str]) -> (ClientStats, ServerStats) {
    let (rate, span) = (
        100,
        either(Duration::from_millis(1_500), Duration::from_secs(10)),
    );
    let world = World::new(&["plain"]);
    let good = world.setup().start();
    let (bad, _process) = world.bad(fault, more);
    let runtime = runtime();
    let config = KeyClientConfig::default().mode(Mode::Plain);
    let node = runtime.block_on(world.hasty_node(&[good.address(), bad], config));
    wait::eventually(PATIENCE, "the good one is connected to", || {
        is_asked(of(&node.signer().stats(), good.address()))
    });
    let seen = runtime
        .block_on(load(&runtime, &node, rate, span))
        .expect("the load ends");
    seen.assert_all(rate, span);
    // Nobody waits for as long as a person notices.
    assert!(seen.slowest < Duration::from_secs(1), "{:?}", seen.slowest);
    // Who does not even answer pings is found out by a timer, maybe after the load.
    let found_out = || {
        let stats = node.signer().stats();
        let bad = of(&stats, bad).clone();
        let faults: u64 = bad.faults.iter().map(|(_, count)| count).sum();
        (faults + bad.counts.slow + bad.counts.opened > 0).then_some((stats, bad))
    };
    let (stats, bad) = wait::until(PATIENCE, found_out).expect("it is found out");
    assert_eq!(stats.failed.total(), 0, "{stats:?}");
    // It is asked first by as many as meet it before it is known, and then by almost nobody.
    assert!(bad.counts.asked < stats.requests / 4, "{stats:?}");
    (stats, bad)
}

#[track_caller]
fn of(stats: &ClientStats, address: SocketAddr) -> &ServerStats {
    let port = format!(":{}", address.port());
    let mut servers = stats.servers.iter();
    let found = servers.find(|server| server.name.contains(&port));
    found.unwrap_or_else(|| panic!("{address} is not in {stats:?}"))
}

fn is_asked(server: &ServerStats) -> bool {
    server.state == BreakerState::Closed && server.connections > 0
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(2).enable_all();
    builder.build().expect("a runtime can be started")
}

fn load(
    runtime: &Runtime,
    node: &Node<KeyClient>,
    rate: u32,
    span: Duration,
) -> JoinHandle<Handshakes> {
    let address = node.address();
    runtime.spawn(async move { at_rate(&TlsClient::new(&[]), address, rate, span).await })
}

/// Makes a handshake, takes the tickets that follow it, and says of which kind it was.
async fn kind(client: &TlsClient, address: SocketAddr) -> HandshakeKind {
    let mut stream = client.connect(address).await.expect("a handshake");
    let kind = stream.get_ref().1.handshake_kind();
    stream.shutdown().await.expect("an end");
    // The node ends as well; before that come its tickets.
    let _ = stream.read(&mut [0; 1]).await;
    kind.expect("it is over")
}

/// A site, its key, and who may use it.
struct World {
    authority: Authority,
    keys: Keys,
    /// Another key of the same kind.
    other: Keys,
    modes: Vec<&'static str>,
}

impl World {
    fn new(modes: &[&'static str]) -> Self {
        Self {
            authority: Authority::new(),
            keys: Keys::p256("a.test"),
            other: Keys::p256("a.test"),
            modes: modes.to_vec(),
        }
    }

    fn setup(&self) -> Setup<'_> {
        Setup::of(&self.authority)
            .key(&self.keys)
            .modes(&self.modes)
    }

    /// A server in Python with that fault.
    fn bad(&self, fault: &str, more: &[&str]) -> (SocketAddr, Process) {
        let (address, identity) = (free_address(), self.authority.server("keys.test"));
        let more = [&["--fault", fault][..], more].concat();
        let keys = [&self.keys, &self.other];
        let server = keyless::server(address, &self.authority, &identity, &keys, &more);
        (address, server)
    }

    /// A node that asks these servers, all of which are connected to.
    async fn node(&self, servers: &[SocketAddr], config: KeyClientConfig) -> Node<KeyClient> {
        let node = self.hasty_node(servers, config).await;
        // A load that begins before they are says little of the last of them.
        let up = || node.signer().stats().servers.iter().all(is_asked);
        eventually_async(PATIENCE, "all key servers are connected to", up).await;
        node
    }

    /// A node that asks these servers, one of which is connected to.
    async fn hasty_node(&self, servers: &[SocketAddr], config: KeyClientConfig) -> Node<KeyClient> {
        let identity = self.authority.mutual_tls(&self.authority.node("node-7"));
        let servers: Vec<_> = servers.iter().map(SocketAddr::to_string).collect();
        let client = KeyClient::with_config(servers, identity, config)
            .await
            .expect("one server is up");
        Node::start(&self.keys, client)
    }
}
