//! What one client can make a server do.

use std::time::Duration;

use lb_keyserver::Scheme;
use lb_keyserver::server::{Ending, Refusal, SessionConfig};
use lb_keyserver::store::MemoryStore;
use lb_keyserver::wire::{ErrorCode, ParseError};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::client::{Answered, SOON, frame, ping, question};
use crate::world::{Gated, p256, public};
use crate::{Mode, Running, access, config, count, everybody};

#[tokio::test]
async fn garbage_closes_the_connection_without_an_answer() {
    let server = Running::of(MemoryStore::new()).await;
    let mut client = server.client().await;
    // An opcode of two bytes, behind a good ping.
    let bad = [1, 0, 0, 5, 0, 0, 0, 1, 0x11, 0, 2, 0xf1, 0xf1];
    client.send(&bad).await.unwrap();
    assert!(client.is_closed().await);
    let stats = server.handle.stats();
    assert_eq!(count(stats.malformed(), ParseError::BadOpcode), 1);
    assert_eq!(stats.pings, 0);
    server.shut_down().await;
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_has_to_come_in_time() {
    let session = SessionConfig::default().frame_timeout(Duration::from_millis(200));
    let server = Running::with(
        MemoryStore::new(),
        access([everybody()]),
        config().session(session),
    )
    .await;
    let mut client = server.client().await;
    assert!(client.is_served().await);
    let ping = frame(1, &ping(b"slowly"));
    // Each byte comes well within the time, and all of them never do.
    let slowly = async {
        for byte in ping {
            client.stream.write_all(&[byte]).await?;
            client.stream.flush().await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::io::Result::Ok(())
    };
    let slowly = timeout(SOON, slowly).await.unwrap();
    assert!(slowly.is_err() || client.is_closed().await);
    assert_eq!(
        count(server.handle.stats().ended(), Ending::FrameTimeout),
        1
    );
    server.shut_down().await;
}

#[tokio::test]
async fn who_asks_for_nothing_is_let_go_and_hears_of_it() {
    let session = SessionConfig::default().idle_timeout(Duration::from_millis(200));
    let server = Running::with(
        MemoryStore::new(),
        access([everybody()]),
        config().session(session),
    )
    .await;
    let mut client = server.client().await;
    let error = client.frame().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    drop(client);
    server.shut_down().await;
}

#[tokio::test]
async fn beyond_so_many_signatures_nothing_more_is_read() {
    let (gated, gate) = Gated::new(p256());
    let key = public(&gated);
    let session = SessionConfig::default().in_flight(4);
    let config = config().session(session);
    let store = MemoryStore::new().with_key(gated);
    let server = Running::with(store, access([everybody()]), config).await;
    let mut client = server.client().await;
    let questions = (0..64).flat_map(|id| question(Mode::Bound, id, &key, Scheme::EcdsaP256Sha256));
    let mut bytes: Vec<u8> = questions.collect();
    bytes.extend(frame(99, &ping(b"last")));
    client.send(&bytes).await.unwrap();
    let waiting = gate.clone();
    tokio::task::spawn_blocking(move || waiting.wait_for(1))
        .await
        .unwrap();
    let load = server.handle.stats().now;
    assert!(load.queued + load.signing <= 4, "{load:?}");
    // What is not read is not answered either, though it would be at once.
    assert_eq!(server.handle.stats().pings, 0);
    gate.open();
    for _ in 0..64 {
        assert!(matches!(
            client.answer().await.unwrap(),
            (_, Answered::Signature(_))
        ));
    }
    assert!(matches!(
        client.answer().await.unwrap(),
        (99, Answered::Pong(_))
    ));
    assert_eq!(gate.seen(), 64);
    server.shut_down().await;
}

#[tokio::test]
async fn what_there_is_no_room_for_is_refused_at_once() {
    let (gated, gate) = Gated::new(p256());
    let key = public(&gated);
    let config = config().queued(2);
    let store = MemoryStore::new().with_key(gated);
    let server = Running::with(store, access([everybody()]), config).await;
    let mut client = server.client().await;
    // One holds the thread up, and then two have room.
    client.ask(0, &key, Scheme::EcdsaP256Sha256).await;
    let waiting = gate.clone();
    tokio::task::spawn_blocking(move || waiting.wait_for(1))
        .await
        .unwrap();
    let questions = (1..6).flat_map(|id| question(Mode::Bound, id, &key, Scheme::EcdsaP256Sha256));
    client.send(&questions.collect::<Vec<_>>()).await.unwrap();
    for id in 3..6 {
        let overload = Answered::Refused(ErrorCode::Internal);
        assert_eq!(client.answer().await.unwrap(), (id, overload));
    }
    assert_eq!(
        count(server.handle.stats().refused(), Refusal::Overloaded),
        3
    );
    gate.open();
    for _ in 0..3 {
        assert!(matches!(
            client.answer().await.unwrap(),
            (0..3, Answered::Signature(_))
        ));
    }
    server.shut_down().await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_signed() {
    let (gated, gate) = Gated::new(p256());
    let key = public(&gated);
    let config = config().max_wait(Duration::from_millis(50));
    let store = MemoryStore::new().with_key(gated);
    let server = Running::with(store, access([everybody()]), config).await;
    let mut client = server.client().await;
    client.ask(0, &key, Scheme::EcdsaP256Sha256).await;
    let waiting = gate.clone();
    tokio::task::spawn_blocking(move || waiting.wait_for(1))
        .await
        .unwrap();
    client.ask(1, &key, Scheme::EcdsaP256Sha256).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.open();
    assert!(matches!(
        client.answer().await.unwrap(),
        (0, Answered::Signature(_))
    ));
    let late = Answered::Refused(ErrorCode::Internal);
    assert_eq!(client.answer().await.unwrap(), (1, late));
    assert_eq!(gate.seen(), 1);
    assert_eq!(count(server.handle.stats().refused(), Refusal::TooLate), 1);
    server.shut_down().await;
}

#[tokio::test]
async fn short_pings_are_all_answered_with_long_pongs() {
    let server = Running::of(MemoryStore::new()).await;
    let mut client = server.client().await;
    let short = [1, 0, 0, 4, 0, 0, 0, 5, 0x11, 0, 1, 0xf1];
    client.send(&short.repeat(20_000)).await.unwrap();
    for _ in 0..20_000 {
        assert_eq!(client.frame().await.unwrap().len(), 1024);
    }
    assert_eq!(server.handle.stats().pings, 20_000);
    server.shut_down().await;
}

#[tokio::test]
async fn the_longest_frame_is_taken_up() {
    let server = Running::of(MemoryStore::new()).await;
    let mut client = server.client().await;
    // Opcode and payload, with their headers, fill a body to its last byte.
    let echo = vec![7; 65_535 - 4 - 3];
    for id in 0..3 {
        client.send(&frame(id, &ping(&echo))).await.unwrap();
        assert_eq!(
            client.answer().await.unwrap(),
            (id, Answered::Pong(echo.clone()))
        );
    }
    server.shut_down().await;
}
