//! What changes while a server runs, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use lb_keyserver::audit::{AuditConfig, AuditLog};
use lb_keyserver::quota::Limits;
use lb_keyserver::server::Ending;
use lb_keyserver::store::MemoryStore;
use lb_keyserver::wire::ErrorCode;
use lb_keyserver::{KeyServer, Mode, Scheme};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::client::{Answered, Client, SOON, question};
use crate::world::{Authority, Gate, Gated, p256, public};
use crate::{Running, access, config, count, everybody};

async fn at_the_gate(gate: &Arc<Gate>, count: usize) {
    let gate = Arc::clone(gate);
    tokio::task::spawn_blocking(move || gate.wait_for(count))
        .await
        .unwrap();
}

#[tokio::test]
async fn who_is_revoked_is_cut_off_at_once_and_nobody_else() {
    let server = Running::of(MemoryStore::new()).await;
    let mut first = server.client_as(1, Mode::Bound).await;
    let mut second = server.client_as(2, Mode::Bound).await;
    assert!(first.is_served().await && second.is_served().await);
    let revoked = access([everybody()]).revoke("lb://node/1".parse().unwrap());
    assert_eq!(server.handle.set_access(revoked), 1);
    assert!(first.is_closed().await);
    assert!(second.is_served().await);
    let mut again = server.client_as(1, Mode::Bound).await;
    assert!(!again.is_served().await);
    assert_eq!(count(server.handle.stats().ended(), Ending::Revoked), 1);
    server.shut_down().await;
}

#[tokio::test]
async fn a_rule_that_asks_for_more_closes_what_is_weaker() {
    let server = Running::of(MemoryStore::new()).await;
    let mut plain = server.client_as(1, Mode::Plain).await;
    let mut bound = server.client_as(1, Mode::Bound).await;
    assert!(plain.is_served().await && bound.is_served().await);
    let stronger = access([everybody().least_mode(Mode::Bound)]);
    assert_eq!(server.handle.set_access(stronger), 1);
    assert!(plain.is_closed().await);
    assert!(bound.is_served().await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_revocation_list_closes_connections_and_keeps_them_closed() {
    let server = Running::of(MemoryStore::new()).await;
    let node = server.authority.node(1);
    let mut first = server.connect(&node, Mode::Bound).await;
    let mut second = server.client_as(2, Mode::Bound).await;
    assert!(first.is_served().await && second.is_served().await);
    let list = server.authority.revocation_list(&[1]);
    let tls = server.authority.server().revoked_by(list.as_bytes());
    assert_eq!(server.handle.set_tls(tls.unwrap()), 1);
    assert!(first.is_closed().await);
    assert!(second.is_served().await);
    let again = Client::connect(server.address, &node, Mode::Bound).await;
    assert!(match again {
        Ok(mut client) => !client.is_served().await,
        Err(_) => true,
    });
    server.shut_down().await;
}

#[tokio::test]
async fn another_authority_takes_the_place_of_the_old() {
    let server = Running::of(MemoryStore::new()).await;
    let mut old = server.client().await;
    assert!(old.is_served().await);
    let next = Authority::new();
    assert_eq!(server.handle.set_tls(next.server()), 1);
    assert!(old.is_closed().await);
    let mut new = server.connect(&next.node(1), Mode::Bound).await;
    assert!(new.is_served().await);
    server.shut_down().await;
}

#[tokio::test]
async fn at_shutdown_what_is_under_way_is_answered_and_what_comes_is_refused() {
    let (gated, gate) = Gated::new(p256());
    let key = public(&gated);
    let mut server = Running::of(MemoryStore::new().with_key(gated)).await;
    let mut client = server.client().await;
    let mut idle = server.client().await;
    assert!(idle.is_served().await);
    client.ask(1, &key, Scheme::EcdsaP256Sha256).await;
    at_the_gate(&gate, 1).await;
    server.begin_shutdown();
    // The one that waits for nothing goes first.
    assert!(idle.is_closed().await);
    client.ask(2, &key, Scheme::EcdsaP256Sha256).await;
    let draining = Answered::Refused(ErrorCode::Internal);
    assert_eq!(client.answer().await.unwrap(), (2, draining));
    assert!(TcpStream::connect(server.address).await.is_err());
    gate.open();
    assert!(matches!(
        client.answer().await.unwrap(),
        (1, Answered::Signature(_))
    ));
    // With a word: an end without one is another error.
    let error = client.frame().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0);
    drop((client, idle));
    timeout(SOON, server.shut_down()).await.unwrap();
}

#[tokio::test]
async fn at_shutdown_what_takes_too_long_is_not_waited_for() {
    let (gated, gate) = Gated::new(p256());
    let key = public(&gated);
    let config = config().drain_timeout(Duration::from_millis(100));
    let store = MemoryStore::new().with_key(gated);
    let server = Running::with(store, access([everybody()]), config).await;
    let mut client = server.client().await;
    client.ask(1, &key, Scheme::EcdsaP256Sha256).await;
    at_the_gate(&gate, 1).await;
    timeout(SOON, server.shut_down()).await.unwrap();
    assert!(client.is_closed().await);
    gate.open();
}

#[tokio::test]
async fn a_half_open_handshake_does_not_hold_up_the_end() {
    let server = Running::of(MemoryStore::new()).await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut client = server.client().await;
    assert!(client.is_served().await);
    drop(client);
    let began = Instant::now();
    timeout(SOON, server.shut_down()).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    drop(silent);
}

#[tokio::test]
async fn who_goes_away_gives_back_what_was_taken() {
    let (gated, gate) = Gated::new(p256());
    let key = public(&gated);
    let two = Limits::default().in_flight(2);
    let store = MemoryStore::new().with_key(gated);
    let server = Running::with(store, access([everybody().limits(two)]), config()).await;
    let mut client = server.client().await;
    client.ask(1, &key, Scheme::EcdsaP256Sha256).await;
    client.ask(2, &key, Scheme::EcdsaP256Sha256).await;
    at_the_gate(&gate, 1).await;
    client.ask(3, &key, Scheme::EcdsaP256Sha256).await;
    let limited = Answered::Refused(ErrorCode::Internal);
    assert_eq!(client.answer().await.unwrap(), (3, limited));
    drop(client);
    while server.handle.stats().now.connections != 0 {
        tokio::task::yield_now().await;
    }
    gate.open();
    while server.handle.stats().now.signing + server.handle.stats().now.queued != 0 {
        tokio::task::yield_now().await;
    }
    // The one that waited was for nobody, and was not made.
    assert_eq!(gate.seen(), 1);
    let mut again = server.client().await;
    again.ask(4, &key, Scheme::EcdsaP256Sha256).await;
    again.ask(5, &key, Scheme::EcdsaP256Sha256).await;
    for _ in 0..2 {
        assert!(matches!(
            again.answer().await.unwrap(),
            (4 | 5, Answered::Signature(_))
        ));
    }
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_signed_and_what_is_refused_is_recorded() {
    let (key, path) = (p256(), std::env::temp_dir());
    let path = path.join(format!("lb-keyserver-audit-{}.log", std::process::id()));
    drop(std::fs::remove_file(&path));
    let log = Arc::new(AuditLog::open(&path, AuditConfig::default()).unwrap());
    let store = MemoryStore::new().with_shared_key(key.clone());
    let server = KeyServer::new(store, access([everybody()]), config()).audit(Arc::clone(&log));
    let server = Running::start(server).await;
    let mut client = server.client().await;
    client.ask(1, &public(&*key), Scheme::EcdsaP256Sha256).await;
    client
        .ask(2, &public(&*p256()), Scheme::EcdsaP256Sha256)
        .await;
    for _ in 0..2 {
        client.answer().await.unwrap();
    }
    // Closed, the log takes nothing more, and so nothing more is signed.
    log.close().unwrap();
    client.ask(3, &public(&*key), Scheme::EcdsaP256Sha256).await;
    let unrecorded = Answered::Refused(ErrorCode::Internal);
    assert_eq!(client.answer().await.unwrap(), (3, unrecorded));
    assert_eq!(server.handle.stats().audit.unwrap().recorded, 2);
    server.shut_down().await;
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(written.contains(r#""result":"signed""#), "{written}");
    assert!(
        written.contains(r#""result":"error:key-not-found""#),
        "{written}"
    );
    assert!(written.contains(r#""identity":"lb://node/1""#), "{written}");
}

#[tokio::test]
async fn a_client_fills_no_log_with_refusals_by_coming_again() {
    let path = std::env::temp_dir();
    let path = path.join(format!("lb-keyserver-refused-{}.log", std::process::id()));
    drop(std::fs::remove_file(&path));
    let log = Arc::new(AuditLog::open(&path, AuditConfig::default()).unwrap());
    let server = KeyServer::new(MemoryStore::new(), access([everybody()]), config());
    let server = Running::start(server.audit(Arc::clone(&log))).await;
    let (key, began) = (public(&*p256()), Instant::now());
    let questions = |id| question(Mode::Bound, id, &key, Scheme::EcdsaP256Sha256);
    let questions: Vec<u8> = (0..1_500).flat_map(questions).collect();
    for _ in 0..3 {
        let mut client = server.client().await;
        client.send(&questions).await.unwrap();
        for _ in 0..1_500 {
            client.frame().await.unwrap();
        }
    }
    let (handle, span) = (server.handle.clone(), began.elapsed());
    server.shut_down().await;
    // A line is counted once it is written, which closing waits for.
    log.close().unwrap();
    let stats = handle.stats();
    let recorded = stats.audit.unwrap().recorded;
    assert_eq!(recorded + stats.unrecorded_refusals, 3 * 1_500);
    let earned = 1_000 + 100 * (span.as_secs() + 1);
    assert!((1_000..=earned).contains(&recorded), "{recorded}");
    std::fs::remove_file(&path).unwrap();
}
