//! What is held for a side that does not take it, and who else has to wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::rig::{Announced, Call, Client, Http1, Http2, PAIRS, Plan, World};

/// Bytes that the proxy may hold of one direction of one exchange: a read of the largest size, what
/// its wire gathers, and two windows and a send buffer of HTTP/2.
const MOST: usize = 320 * 1024;

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_bounds_what_is_taken_from_the_backend() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).pipe(4096).build();
        let call = world.client(client).await.get("/").await;
        let mut served = world.call().await;
        served.head(200, &[]).await;
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let sender = tokio::spawn(async move {
            for _ in 0..2000 {
                if !served.send(&[b'x'; 1000]).await {
                    return served;
                }
                counter.fetch_add(1000, Ordering::Relaxed);
            }
            served.end(&[]).await;
            served
        });
        let (mut answer, body) = call.head().await;
        world.settle().await;
        let stalled = sent.load(Ordering::Relaxed);
        assert!(stalled < MOST, "{client:?} {backend:?}: {stalled} bytes");
        world.settle().await;
        assert_eq!(sent.load(Ordering::Relaxed), stalled);
        body.read(&mut answer).await;
        assert_eq!((answer.body.len(), answer.is_whole), (2_000_000, true));
        sender.await.unwrap();
        assert_eq!(world.ended().await.how, "done");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_read_bounds_what_is_taken_from_the_client() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).pipe(4096).build();
        let client = world.client(client).await;
        let mut call = client.begin("POST", "/", &[], Announced::Streamed).await;
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&sent);
        let sender = tokio::spawn(async move {
            for _ in 0..2000 {
                call.send(&[b'x'; 1000]).await;
                counter.fetch_add(1000, Ordering::Relaxed);
            }
            call.end().await;
            call
        });
        let mut served = world.call().await;
        world.settle().await;
        let stalled = sent.load(Ordering::Relaxed);
        assert!(stalled < MOST, "{backend:?}: {stalled} bytes");
        assert_eq!(served.body().await.unwrap().0.len(), 2_000_000);
        served.answer(200, "").await;
        assert_eq!(sender.await.unwrap().answer().await.0.status, 200);
        assert_eq!(world.ended().await.how, "done");
    }
}

/// A connection whose client has a large window for all streams, and the usual one for each.
async fn wide(world: &World) -> h2::client::SendRequest<Bytes> {
    let raw = world.raw();
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1 << 20);
    let (send, connection) = builder.handshake(raw.io).await.unwrap();
    tokio::spawn(connection);
    send
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_does_not_stall_the_others_of_its_connection() {
    for backend in [Http1, Http2] {
        let mut world = Plan::to(backend).build();
        let mut send = wide(&world).await;
        let request = |path: &str| {
            http::Request::get(format!("http://a{path}"))
                .body(())
                .unwrap()
        };
        let (slow, _) = send.send_request(request("/slow"), true).unwrap();
        let mut served = world.call().await;
        served.head(200, &[]).await;
        let sender = tokio::spawn(async move { while served.send(&[b'x'; 10_000]).await {} });
        let slow = slow.await.unwrap().into_body();
        for n in 0..100 {
            let (fast, _) = send.send_request(request(&format!("/{n}")), true).unwrap();
            let text = "y".repeat(10_000);
            world.call().await.answer(200, &text).await;
            let mut body = fast.await.unwrap().into_body();
            let mut length = 0;
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                length += data.len();
            }
            assert_eq!(length, 10_000, "{backend:?} {n}");
        }
        drop(slow);
        sender.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_its_backend_does_not_take_does_not_stall_the_others() {
    for backend in [Http1, Http2] {
        let mut world = Plan::to(backend).pipe(4096).build();
        let Client::Two(mut send) = world.client(Http2).await else {
            unreachable!()
        };
        let request = |path: &str| {
            http::Request::post(format!("http://a{path}"))
                .body(())
                .unwrap()
        };
        let (_slow, mut upload) = send.send_request(request("/slow"), false).unwrap();
        upload
            .send_data(Bytes::from(vec![b'x'; 1_000_000]), false)
            .unwrap();
        let _stuck = world.call().await;
        world.settle().await;
        for n in 0..20 {
            let (response, mut stream) =
                send.send_request(request(&format!("/{n}")), false).unwrap();
            stream
                .send_data(Bytes::from(vec![b'y'; 20_000]), true)
                .unwrap();
            let mut served = world.call().await;
            assert_eq!(
                served.body().await.unwrap().0.len(),
                20_000,
                "{backend:?} {n}"
            );
            served.answer(200, "").await;
            assert_eq!(response.await.unwrap().status(), 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn large_bodies_go_through_whole_both_ways_at_once() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).pipe(3000).build();
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let client = world.client(client).await;
        let mut call = client
            .begin("POST", "/", &[], Announced::Length(body.len()))
            .await;
        let upload = body.clone();
        let sender = tokio::spawn(async move {
            call.send(&upload).await;
            call.end().await;
            call
        });
        let mut served = world.call().await;
        assert_eq!(served.body().await.unwrap().0, body);
        let download = body.clone();
        let back = tokio::spawn(async move {
            let length = download.len().to_string();
            served.head(200, &[("content-length", &length)]).await;
            assert!(served.send(&download).await);
            served.end(&[]).await;
            served
        });
        let call: Call = sender.await.unwrap();
        let (answer, _client) = call.answer().await;
        assert_eq!(
            (answer.body == body, answer.is_whole),
            (true, true),
            "{backend:?}"
        );
        back.await.unwrap().next();
        let ended = world.ended().await;
        assert_eq!((ended.body_in, ended.body_out), (3_000_000, 3_000_000));
    }
}
