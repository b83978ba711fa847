//! No new request, and the old ones to their end.

use tokio::time::Instant;

use crate::rig::{Announced, Http1, Plan, Raw, secs};

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_when_the_drain_begins() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    world.call().await.answer(200, "").await;
    assert_eq!(raw.head().await.field("connection"), None);
    raw.quiet().await;
    let begun = Instant::now();
    world.proxy.drain();
    assert_eq!(raw.rest_text().await, "");
    assert_eq!(begun.elapsed(), std::time::Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_under_way_is_finished_and_its_client_told_to_close() {
    for own in [false, true] {
        let plan = Plan::to(Http1);
        let plan = if own { plan.backends(0) } else { plan };
        let mut world = plan.build();
        let mut raw = world.raw();
        if own {
            raw.send("GET / HTTP/1.1\r\n").await;
            world.settle().await;
            world.proxy.drain();
            raw.send("Host: a\r\n\r\n").await;
        } else {
            raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let served = world.call().await;
            world.proxy.drain();
            world.settle().await;
            served.answer(200, "last").await;
        }
        let message = raw.message().await;
        assert_eq!(message.head.field("connection"), Some("close"));
        assert_eq!(raw.rest_text().await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_begun_is_sent_to_its_end() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = world.call().await;
    served.head(200, &[]).await;
    served.send(b"first").await;
    let head = raw.head().await;
    world.proxy.drain();
    tokio::time::sleep(secs(30)).await;
    served.send(b"last").await;
    served.end(&[]).await;
    assert_eq!(raw.body(&head, false).await.unwrap().0, b"firstlast");
    raw.ends_within(secs(1)).await;
}

/// A frame: its kind, stream and payload.
struct Frame(u8, u32, Vec<u8>);

async fn frame(raw: &mut Raw) -> Frame {
    let head = raw.take(9).await;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let payload = raw.take(length as usize).await;
    Frame(head[3], stream, payload)
}

async fn frame_of(raw: &mut Raw, kind: u8) -> Frame {
    loop {
        let frame = frame(raw).await;
        if frame.0 == kind {
            return frame;
        }
    }
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

async fn greet(raw: &mut Raw) {
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    raw.send([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await;
}

/// HEADERS of `GET http://a/`, and the end of the stream.
async fn ask(raw: &mut Raw, stream: u8) {
    let block = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
    raw.send([0, 0, 6, HEADERS, 5, 0, 0, 0, stream]).await;
    raw.send(block).await;
}

fn last_stream(goaway: &Frame) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(goaway.2[at..at + 4].try_into().unwrap());
    (number(0), number(4))
}

/// RFC 9113, 6.8.
#[tokio::test(start_paused = true)]
async fn goaway_is_sent_twice_and_what_came_between_is_served() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    greet(&mut raw).await;
    ask(&mut raw, 1).await;
    let first = world.call().await;
    world.proxy.drain();
    let goaway = frame_of(&mut raw, GOAWAY).await;
    assert_eq!(last_stream(&goaway), (0x7fff_ffff, 0));
    let ping = frame_of(&mut raw, PING).await;
    // This one was on its way.
    ask(&mut raw, 3).await;
    let second = world.call().await;
    raw.send([0, 0, 8, PING, 1, 0, 0, 0, 0]).await;
    raw.send(&ping.2).await;
    let goaway = frame_of(&mut raw, GOAWAY).await;
    assert_eq!(last_stream(&goaway), (3, 0));
    first.answer(200, "").await;
    assert_eq!(frame_of(&mut raw, HEADERS).await.1, 1);
    second.answer(200, "").await;
    assert_eq!(frame_of(&mut raw, HEADERS).await.1, 3);
    raw.rest().await;
    world.settle().await;
    assert_eq!(world.told.all().len(), 2);
    world.checks();
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http2_that_does_not_answer_to_goaway_is_left() {
    let world = Plan::to(Http1).build();
    let (mut raw, task) = world.connect();
    greet(&mut raw).await;
    world.settle().await;
    let begun = Instant::now();
    world.proxy.drain();
    task.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_websocket_has_ten_seconds_once_the_drain_begins() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let mut backend = world.accept().await;
    backend.head().await;
    backend
        .send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(raw.head().await.status(), 101);
    tokio::time::sleep(secs(1000)).await;
    let begun = Instant::now();
    world.proxy.drain();
    for _ in 0..9 {
        tokio::time::sleep(secs(1)).await;
        raw.send("ping").await;
        assert_eq!(backend.take(4).await, b"ping");
    }
    assert_eq!(raw.rest_text().await, "");
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(backend.rest_text().await, "");
    assert_eq!(world.ended().await.code(), ("proxy-drained-in-tunnel", 101));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_comes_during_a_drain_is_served_one_request() {
    let mut world = Plan::to(Http1).build();
    world.proxy.drain();
    let call = world
        .client(Http1)
        .await
        .begin("GET", "/", &[], Announced::Nothing)
        .await;
    world.call().await.answer(200, "one").await;
    let (answer, client) = call.answer().await;
    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("one", Some("close"))
    );
    client.into_raw().ends_within(secs(1)).await;
}
