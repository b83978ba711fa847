//! A client over loopback, and servers that keep their word or do not.

#[path = "client/world.rs"]
mod world;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lb_keyserver::client::{
    AskConfig, BreakerConfig, BreakerState, ClientStats, ConnectionConfig, Fault, Home,
    KeyClientConfig, LocalSigner, Verify, WithFallback,
};
use lb_keyserver::wire::ErrorCode;
use lb_keyserver::{
    CertifiedKeyError, ConnectError, KeyClient, Mode, RemoteSigner, SignError, SignRequest,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use world::{Act, Fake, PROMPT, World};

const MS: Duration = Duration::from_millis(1);

fn config() -> KeyClientConfig {
    KeyClientConfig::default()
}

async fn client(world: &World, servers: &[&Fake], config: KeyClientConfig) -> KeyClient {
    let addresses: Vec<_> = servers.iter().map(|server| server.to()).collect();
    let client = KeyClient::with_config(addresses, world.identity(), config).await;
    let client = client.expect("connects");
    until(&client, |stats| {
        let known = stats.servers.iter();
        known.filter(|server| server.connections > 0).count() == servers.len()
    })
    .await;
    client
}

/// Waits until the statistics say so.
async fn until(client: &KeyClient, so: impl Fn(&ClientStats) -> bool) {
    let waiting = async {
        while !so(&client.stats()) {
            tokio::time::sleep(MS).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    waited.unwrap_or_else(|_| panic!("never came so: {:#?}", client.stats()));
}

/// Asks for `many` at once; how many were signed well. Every signature has to be good.
async fn sign_many(world: &Arc<World>, client: &KeyClient, many: u64) -> u64 {
    let mut tasks = JoinSet::new();
    for n in 0..many {
        let (world, client) = (Arc::clone(world), client.clone());
        tasks.spawn(async move {
            let signed = client.sign(world.request(n)).await;
            signed.map(|signature| assert!(world.verifies(n, &signature), "the wrong one"))
        });
    }
    let ends = tasks.join_all().await;
    ends.iter().filter(|end| end.is_ok()).count() as u64
}

#[tokio::test]
async fn a_signature_is_made_in_each_mode() {
    let world = World::new();
    let server = world.serve(PROMPT).await;
    for mode in [Mode::Plain, Mode::Bound] {
        let client = client(&world, &[&server], config().mode(mode)).await;
        let signature = client.sign(world.request(1)).await.expect("signed");
        assert!(world.verifies(1, &signature));
        let stats = client.stats();
        assert_eq!((stats.requests, stats.signed, stats.attempts), (1, 1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_at_once_are_each_given_their_own() {
    let world = Arc::new(World::new());
    let (one, other) = (world.serve(PROMPT).await, world.serve(PROMPT).await);
    let config = config().waiting(10_000).ask(
        AskConfig::default()
            .attempt_timeout(Duration::from_secs(60))
            .verify(Verify::Sampled),
    );
    let client = client(&world, &[&one, &other], config).await;
    let mut tasks = JoinSet::new();
    for n in 0..10_000 {
        let (world, client) = (Arc::clone(&world), client.clone());
        let request = world.request(n).within(Duration::from_secs(60));
        tasks.spawn(async move {
            let signature = client.sign(request).await.expect("signed");
            n % 50 == 0 && !world.verifies(n, &signature)
        });
    }
    assert!(!tasks.join_all().await.contains(&true));
    let stats = client.stats();
    assert_eq!(
        (stats.signed, stats.waiting, stats.bad_signatures),
        (10_000, 0, 0)
    );
    assert!(
        stats
            .servers
            .iter()
            .all(|server| server.counts.signed > 1_000),
        "{stats:#?}"
    );
}

#[tokio::test]
async fn answers_in_the_opposite_order_reach_their_own() {
    let world = Arc::new(World::new());
    let server = world.serve(Act::Backwards(50)).await;
    let config = config().connections(ConnectionConfig::default().per_server(1));
    let client = client(&world, &[&server], config).await;
    assert_eq!(sign_many(&world, &client, 200).await, 200);
    assert_eq!(client.stats().bad_signatures, 0);
}

#[tokio::test]
async fn a_late_answer_reaches_nobody() {
    let world = World::new();
    let server = world.serve(Act::Sign(100 * MS)).await;
    let client = client(&world, &[&server], config()).await;
    let begun = Instant::now();
    let late = client.sign(world.request(1).within(20 * MS)).await;
    assert_eq!(late, Err(SignError::Late));
    assert!(begun.elapsed() >= 20 * MS && begun.elapsed() < 90 * MS);
    server.act(PROMPT);
    for n in 2..10 {
        let signature = client.sign(world.request(n)).await.expect("signed");
        assert!(world.verifies(n, &signature));
    }
    until(&client, |stats| stats.late_answers == 1).await;
    assert_eq!(client.stats().failed.of(SignError::Late), 1);
}

#[tokio::test]
async fn who_stops_waiting_leaves_no_trace() {
    let world = World::new();
    let server = world.serve(Act::Sign(30 * MS)).await;
    let client = client(&world, &[&server], config()).await;
    let given_up = tokio::time::timeout(5 * MS, client.sign(world.request(1))).await;
    assert!(given_up.is_err());
    assert_eq!(client.stats().waiting, 0);
    until(&client, |stats| stats.late_answers == 1).await;
    assert_eq!(client.stats().servers[0].in_flight, 0);
}

#[tokio::test]
async fn one_that_never_answers_is_left_for_another() {
    let world = Arc::new(World::new());
    let (mute, good) = (world.serve(Act::Mute).await, world.serve(PROMPT).await);
    let config = config().ask(AskConfig::default().attempt_timeout(50 * MS));
    let client = client(&world, &[&mute, &good], config).await;
    for _ in 0..10 {
        assert_eq!(sign_many(&world, &client, 20).await, 20);
    }
    until(&client, |stats| stats.servers[0].counts.slow >= 5).await;
    let stats = client.stats();
    assert_ne!(stats.servers[0].state, BreakerState::Closed, "{stats:#?}");
    assert_eq!(stats.servers[1].counts.signed, 200);
    // The trial goes unanswered as well.
    until(&client, |stats| stats.servers[0].counts.trials_failed > 0).await;
    // It comes back, and is asked again.
    mute.act(PROMPT);
    until(&client, |stats| {
        stats.servers[0].state == BreakerState::Closed
    })
    .await;
}

#[tokio::test]
async fn one_that_is_slow_alone_is_waited_for() {
    let world = Arc::new(World::new());
    let server = world.serve(Act::Sign(200 * MS)).await;
    let config = config().ask(AskConfig::default().attempt_timeout(20 * MS));
    let client = client(&world, &[&server], config).await;
    for _ in 0..3 {
        assert_eq!(sign_many(&world, &client, 100).await, 100);
    }
    let stats = client.stats();
    assert_eq!((stats.attempts, stats.servers[0].counts.opened), (300, 0));
}

#[tokio::test]
async fn a_liar_is_found_out_and_left_at_once() {
    let world = Arc::new(World::new());
    for lie in [Act::OtherKey, Act::Garbage] {
        let (liar, good) = (world.serve(lie).await, world.serve(PROMPT).await);
        let client = client(&world, &[&liar, &good], config()).await;
        for _ in 0..5 {
            assert_eq!(sign_many(&world, &client, 20).await, 20, "{lie:?}");
        }
        let stats = client.stats();
        let server = &stats.servers[0];
        assert!(
            server.counts.lies > 0 && server.counts.lies <= 20,
            "{server:#?}"
        );
        assert_eq!(server.state, BreakerState::Open);
        assert!(server.counts.signed <= 20);
        assert_eq!(stats.failed.total(), 0);
        let garbage = server.faults.of(Fault::Garbage);
        assert_eq!(lie == Act::Garbage, garbage > 0);
        assert_eq!(lie == Act::OtherKey, stats.bad_signatures > 0);
    }
}

#[tokio::test]
async fn a_liar_passes_its_trial_only_by_a_good_signature() {
    let world = Arc::new(World::new());
    let (liar, good) = (world.serve(Act::OtherKey).await, world.serve(PROMPT).await);
    let breaker = BreakerConfig::default().lie_back_off(20 * MS);
    let client = client(&world, &[&liar, &good], config().breaker(breaker)).await;
    assert_eq!(sign_many(&world, &client, 50).await, 50);
    until(&client, |stats| stats.servers[0].counts.trials_failed >= 2).await;
    assert_ne!(client.stats().servers[0].state, BreakerState::Closed);
    liar.act(PROMPT);
    until(&client, |stats| {
        stats.servers[0].state == BreakerState::Closed
    })
    .await;
    let before = liar.asked();
    assert_eq!(sign_many(&world, &client, 50).await, 50);
    assert!(liar.asked() > before, "asked again");
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_fails_no_request() {
    let world = Arc::new(World::new());
    let (mut one, mut other) = (world.serve(PROMPT).await, world.serve(PROMPT).await);
    let client = client(&world, &[&one, &other], config()).await;
    for round in 0..6 {
        let asking = sign_many(&world, &client, 300);
        let dying = async {
            tokio::time::sleep(3 * MS).await;
            let address = one.kill().await;
            Fake::start(&world, address, PROMPT).await
        };
        let (signed, again) = tokio::join!(asking, dying);
        assert_eq!(signed, 300, "in round {round}: {:#?}", client.stats());
        until(&client, |stats| {
            let connected = again.state.connected.load(Relaxed) >= 2;
            connected && stats.servers.iter().all(|server| server.connections == 2)
        })
        .await;
        (one, other) = (other, again);
    }
    let stats = client.stats();
    assert!(
        stats.attempts <= stats.requests * 125 / 100 + 1_040,
        "{stats:#?}"
    );
}

#[tokio::test]
async fn without_a_server_a_request_fails_at_once() {
    let world = World::new();
    let server = world.serve(PROMPT).await;
    let client = client(&world, &[&server], config()).await;
    server.kill().await;
    until(&client, |stats| stats.servers[0].connections == 0).await;
    let begun = Instant::now();
    assert_eq!(
        client.sign(world.request(1)).await,
        Err(SignError::NoServer)
    );
    assert!(begun.elapsed() < 50 * MS, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_under_way_fails_at_once_when_its_only_server_dies() {
    let world = World::new();
    let server = world.serve(Act::Mute).await;
    let client = client(&world, &[&server], config()).await;
    let begun = Instant::now();
    let dying = async {
        until(&client, |stats| stats.servers[0].in_flight == 1).await;
        server.kill().await;
    };
    let (signed, ()) = tokio::join!(client.sign(world.request(1)), dying);
    assert_eq!(signed, Err(SignError::NoServer));
    assert!(begun.elapsed() < 500 * MS);
}

#[tokio::test]
async fn a_local_key_signs_for_want_of_a_server_where_one_is_given() {
    let world = World::new();
    let client = KeyClient::lazy("127.0.0.1:1", world.identity(), config()).expect("starts");
    let signer = WithFallback::new(client, LocalSigner::new(world.store()));
    let signature = signer.sign(world.request(4)).await.expect("signed");
    assert!(world.verifies(4, &signature));
}

#[tokio::test]
async fn connect_says_why_no_server_can_be_asked() {
    let world = World::new();
    let connect = async |address: &str, identity, config| {
        let client = KeyClient::with_config(address, identity, config).await;
        client.expect_err("no server")
    };
    let refused = connect("127.0.0.1:1", world.identity(), config()).await;
    assert_eq!(refused, ConnectError::NoServer(Fault::Network));
    let server = world.serve(PROMPT).await;
    let stranger = World::new().identity();
    let error = connect(&server.to(), stranger, config()).await;
    assert_eq!(error, ConnectError::NoServer(Fault::Tls));
    let error = connect("no.such.name.invalid", world.identity(), config()).await;
    assert_eq!(error, ConnectError::NoServer(Fault::Resolve));
    let error = connect("a:b", world.identity(), config()).await;
    assert_eq!(error, ConnectError::BadAddress("a:b".to_owned()));
    let none = KeyClient::lazy(Vec::new(), world.identity(), config());
    assert_eq!(none.expect_err("none"), ConnectError::NoAddress);
    let bad = KeyClient::lazy("a", world.identity(), config().waiting(0));
    assert!(matches!(bad, Err(ConnectError::BadConfig(_))));
}

#[test]
fn without_a_runtime_there_is_no_client_but_on_a_thread_of_its_own() {
    let world = World::new();
    let here = KeyClient::lazy("127.0.0.1:1", world.identity(), config());
    assert_eq!(here.expect_err("no runtime"), ConnectError::NoRuntime);
    let thread = config().home(Home::Thread);
    let client = KeyClient::lazy("127.0.0.1:1", world.identity(), thread);
    drop(client.expect("starts"));
}

fn current_thread() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

#[test]
fn a_client_outlives_the_runtime_that_made_it_on_a_thread_of_its_own() {
    let world = World::new();
    let servers = tokio::runtime::Runtime::new().expect("a runtime");
    let server = servers.block_on(world.serve(PROMPT));
    for (home, expected) in [
        (Home::Thread, None),
        (Home::Here, Some(SignError::NoServer)),
    ] {
        let maker = current_thread();
        let client = maker.block_on(client(&world, &[&server], config().home(home)));
        drop(maker);
        let signed = current_thread().block_on(client.sign(world.request(1)));
        assert_eq!(signed.err(), expected, "{home:?}");
    }
}

#[test]
fn a_runtime_that_ends_leaves_nobody_waiting() {
    let world = World::new();
    let servers = tokio::runtime::Runtime::new().expect("a runtime");
    let server = servers.block_on(world.serve(Act::Mute));
    let maker = current_thread();
    let client = maker.block_on(client(&world, &[&server], config()));
    let other = current_thread();
    let asking = client.clone();
    let request = world.request(1).within(Duration::from_secs(60));
    let asking = other.spawn(async move { asking.sign(request).await });
    other.block_on(until(&client, |stats| stats.servers[0].in_flight == 1));
    drop(maker);
    assert_eq!(
        other.block_on(asking).expect("ends"),
        Err(SignError::NoServer)
    );
}

#[tokio::test]
async fn a_refusal_is_asked_again_where_that_may_help_and_nowhere_else() {
    let world = World::new();
    let unhedged = config().ask(AskConfig::default().hedge_percent(0));
    for (code, again) in [
        (ErrorCode::Internal, true),
        (ErrorCode::RemoteConfiguration, true),
        (ErrorCode::KeyNotFound, true),
        (ErrorCode::Crypto, false),
        (ErrorCode::BadOpcode, false),
        (ErrorCode::Format, false),
    ] {
        let (bad, good) = (
            world.serve(Act::Refuse(code)).await,
            world.serve(PROMPT).await,
        );
        let client = client(&world, &[&bad, &good], unhedged).await;
        let mut refused = 0;
        for n in 0..2_000 {
            if bad.asked() == 3 {
                break;
            }
            match client.sign(world.request(n)).await {
                Ok(signature) => assert!(world.verifies(n, &signature)),
                Err(error) => {
                    assert_eq!(error, SignError::Refused(code));
                    refused += 1;
                }
            }
        }
        let stats = client.stats();
        let counted = stats.servers[0].counts.refused.of(code);
        assert!(counted > 0, "{code}: {stats:#?}");
        assert_eq!(refused, if again { 0 } else { counted }, "{code}");
        assert_eq!(stats.retries, if again { counted } else { 0 }, "{code}");
    }
}

#[tokio::test]
async fn a_key_that_no_server_has_is_looked_for_twice() {
    let world = World::new();
    let missing = Act::Refuse(ErrorCode::KeyNotFound);
    let servers = [
        world.serve(missing).await,
        world.serve(missing).await,
        world.serve(missing).await,
    ];
    let client = client(&world, &servers.each_ref(), config()).await;
    let signed = client.sign(world.request(1)).await;
    assert_eq!(signed, Err(SignError::Refused(ErrorCode::KeyNotFound)));
    assert_eq!(client.stats().attempts, 2);
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let world = Arc::new(World::new());
    let server = world.serve(Act::Sign(50 * MS)).await;
    let client = client(&world, &[&server], config().waiting(10)).await;
    assert_eq!(sign_many(&world, &client, 30).await, 10);
    let stats = client.stats();
    assert_eq!(stats.failed.of(SignError::Busy), 20);
    assert_eq!(server.asked(), 10);
    assert_eq!(
        sign_many(&world, &client, 10).await,
        10,
        "there is room again"
    );
}

#[tokio::test]
async fn a_window_that_is_full_lets_the_rest_wait() {
    let world = Arc::new(World::new());
    let server = world.serve(Act::Sign(5 * MS)).await;
    let connections = ConnectionConfig::default().per_server(1).window(4);
    let client = client(&world, &[&server], config().connections(connections)).await;
    assert_eq!(sign_many(&world, &client, 100).await, 100);
    assert_eq!(client.stats().servers[0].in_flight, 0);
}

#[tokio::test]
async fn hedges_are_few_and_save_the_slow() {
    let world = Arc::new(World::new());
    let (one, other) = (world.serve(PROMPT).await, world.serve(PROMPT).await);
    let client = client(&world, &[&one, &other], config()).await;
    for _ in 0..5 {
        assert_eq!(sign_many(&world, &client, 20).await, 20);
    }
    one.act(Act::Sign(250 * MS));
    for n in 0..2_000 {
        let begun = Instant::now();
        client.sign(world.request(n)).await.expect("signed");
        assert!(begun.elapsed() < 200 * MS, "{:?}", begun.elapsed());
        if client.stats().hedges_won == 3 {
            break;
        }
    }
    let stats = client.stats();
    assert!(
        stats.hedges >= stats.hedges_won && stats.hedges_won == 3,
        "{stats:#?}"
    );
    assert!(stats.hedges <= 16 + stats.requests / 20);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_made_anew() {
    let world = World::new();
    let server = world.serve(PROMPT).await;
    let connections = ConnectionConfig::default()
        .per_server(1)
        .ping_every(20 * MS)
        .ping_timeout(50 * MS);
    let client = client(&world, &[&server], config().connections(connections)).await;
    until(&client, |_| server.state.pinged.load(Relaxed) > 3).await;
    server.act(Act::Dead);
    until(&client, |stats| {
        stats.servers[0].faults.of(Fault::Silent) > 0
    })
    .await;
    server.act(PROMPT);
    until(&client, |stats| stats.servers[0].connections == 1).await;
    assert!(server.state.connected.load(Relaxed) > 1);
    assert!(client.sign(world.request(1)).await.is_ok());
}

#[tokio::test]
async fn a_server_that_lets_in_and_hangs_up_is_not_stormed() {
    let world = World::new();
    let fake = world.serve(Act::Leave).await;
    let client = KeyClient::lazy(fake.to(), world.identity(), config()).expect("good");
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Each of two connections after 50, 100, 200, 400 and 800 ms, or half of that.
    let connected = fake.state.connected.load(Relaxed);
    assert!((2..=16).contains(&connected), "{connected}");
    drop(client);
}

#[tokio::test]
async fn a_connection_that_is_hung_up_on_is_made_anew() {
    let world = World::new();
    let server = world.serve(Act::HangUp).await;
    let client = client(&world, &[&server], config()).await;
    let signed = client.sign(world.request(1)).await;
    assert_eq!(signed, Err(SignError::NoServer));
    server.act(PROMPT);
    until(&client, |stats| stats.servers[0].connections == 2).await;
    assert!(client.sign(world.request(2)).await.is_ok());
    assert!(client.stats().servers[0].faults.of(Fault::Closed) > 0);
}

#[tokio::test]
async fn close_lets_those_who_wait_have_their_answer_and_nobody_in() {
    let world = World::new();
    let server = world.serve(Act::Sign(50 * MS)).await;
    let client = client(&world, &[&server], config()).await;
    let other = client.clone();
    let closing = async {
        until(&other, |stats| stats.waiting == 1).await;
        other.close().await;
    };
    let (signed, ()) = tokio::join!(client.sign(world.request(1)), closing);
    assert!(world.verifies(1, &signed.expect("signed")));
    assert_eq!(
        client.sign(world.request(2)).await,
        Err(SignError::ShutDown)
    );
    assert_eq!(client.stats().failed.of(SignError::ShutDown), 1);
    client.close().await;
}

#[tokio::test]
async fn connections_end_with_the_last_handle() {
    let world = World::new();
    let server = world.serve(PROMPT).await;
    let client = client(&world, &[&server], config()).await;
    let state = Arc::clone(&server.state);
    assert!(Arc::strong_count(&state) > 3, "one for each connection");
    drop(client.clone());
    assert!(client.sign(world.request(1)).await.is_ok());
    drop(client);
    let ended = async {
        while Arc::strong_count(&state) > 3 {
            tokio::time::sleep(MS).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .expect("they end");
}

#[tokio::test]
async fn a_name_leads_to_its_servers() {
    let world = World::new();
    let server = world.serve(PROMPT).await;
    let address = format!("localhost:{}", server.address.port());
    let client = KeyClient::connect(address, world.identity())
        .await
        .expect("connects");
    assert!(client.sign(world.request(1)).await.is_ok());
    let names: HashSet<_> = client
        .stats()
        .servers
        .into_iter()
        .map(|server| server.name)
        .collect();
    assert!(
        names.iter().all(|name| name.ends_with("(localhost)")),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_certificate_is_tried_before_it_is_used() {
    let world = World::new();
    let server = world.serve(PROMPT).await;
    let client = client(&world, &[&server], config()).await;
    let file = std::env::temp_dir().join(format!("client-certified-{}.pem", std::process::id()));
    std::fs::write(&file, world.certificate()).expect("written");
    client.certified_key(&file).await.expect("signed once");
    assert_eq!((server.asked(), client.stats().bad_signatures), (1, 0));
    server.act(Act::Refuse(ErrorCode::KeyNotFound));
    let refused = client.certified_key(&file).await;
    let not_found = SignError::Refused(ErrorCode::KeyNotFound);
    assert!(matches!(refused, Err(CertifiedKeyError::NotSigned(error)) if error == not_found));
    // Nobody is there to be asked: resumed sessions need the certificate all the same.
    server.kill().await;
    until(&client, |stats| stats.servers[0].connections == 0).await;
    client.certified_key(&file).await.expect("taken as it is");
    std::fs::remove_file(&file).expect("removed");
    let missing = client.certified_key(&file).await;
    assert!(matches!(missing, Err(CertifiedKeyError::Certificate(_))));
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_refused_before_it_is_sent() {
    let world = World::new();
    let server = world.serve(PROMPT).await;
    let client = client(&world, &[&server], config()).await;
    let request = world.request(1);
    let forged = SignRequest::new(request.key, request.scheme, &b"{\"alg\":\"ES256\"}"[..]);
    assert_eq!(client.sign(forged).await, Err(SignError::BadRequest));
    assert_eq!(
        (server.asked(), client.stats().servers[0].in_flight),
        (0, 0)
    );
}
