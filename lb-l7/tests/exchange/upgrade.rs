//! Changes of protocol.

use bytes::Bytes;
use http::Request;

use crate::rig::{Client, Http1, Http2, Plan, Raw, World, is_over, secs};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: chat\r\n\r\n";

const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                      Sec-WebSocket-Protocol: chat\r\n\r\n";

/// What a client of HTTP/2 has of a tunnel.
struct Streams {
    to: h2::SendStream<Bytes>,
    from: h2::RecvStream,
    status: u16,
    fields: http::HeaderMap,
}

async fn ask_http2(world: &World, protocol: &'static str) -> h2::client::ResponseFuture {
    ask_http2_with(world, protocol).await.0
}

async fn ask_http2_with(
    world: &World,
    protocol: &'static str,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let Client::Two(mut send) = world.client(Http2).await else {
        unreachable!()
    };
    world.settle().await;
    assert!(send.is_extended_connect_protocol_enabled());
    let mut request = Request::builder()
        .method("CONNECT")
        .uri("http://a/chat")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static(protocol));
    send.send_request(request, false).unwrap()
}

async fn open_http2(response: h2::client::ResponseFuture, to: h2::SendStream<Bytes>) -> Streams {
    let (parts, from) = response.await.unwrap().into_parts();
    Streams {
        to,
        from,
        status: parts.status.as_u16(),
        fields: parts.headers,
    }
}

async fn echoes(streams: &mut Streams, backend: &mut Raw) {
    streams
        .to
        .send_data(Bytes::from_static(b"ping"), false)
        .unwrap();
    assert_eq!(backend.take(4).await, b"ping");
    backend.send("pong").await;
    assert_eq!(streams.from.data().await.unwrap().unwrap(), "pong");
}

#[tokio::test(start_paused = true)]
async fn a_websocket_of_http1_reaches_a_backend_of_http1() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send(ASK).await;
    let mut backend = world.accept().await;
    let head = backend.head().await;
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(head.field("connection"), Some("upgrade"));
    assert_eq!(
        head.field("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    backend.send(ACCEPT).await;
    let head = raw.head().await;
    assert_eq!(head.status(), 101);
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(head.field("connection"), Some("upgrade"));
    assert_eq!(
        head.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    for _ in 0..3 {
        raw.send("ping").await;
        assert_eq!(backend.take(4).await, b"ping");
        backend.send("pong").await;
        assert_eq!(raw.take(4).await, b"pong");
    }
    raw.finish().await;
    assert_eq!(backend.rest_text().await, "");
    backend.send("last words").await;
    drop(backend);
    assert_eq!(raw.rest_text().await, "last words");
    let ended = world.ended().await;
    assert_eq!(ended.code(), ("client-closed-in-tunnel", 101));
    assert_eq!((ended.body_in, ended.body_out), (12, 22));
    assert_eq!(world.connections(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_sends_right_behind_its_101_reaches_the_client() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send(ASK).await;
    let mut backend = world.accept().await;
    backend.head().await;
    backend.send(format!("{ACCEPT}hello")).await;
    assert_eq!(raw.head().await.status(), 101);
    assert_eq!(raw.take(5).await, b"hello");
}

/// CVE-2026-2833.
#[tokio::test(start_paused = true)]
async fn no_byte_goes_to_the_backend_before_its_101() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send(format!("{ASK}early bytes")).await;
    let mut backend = world.accept().await;
    backend.head().await;
    backend.quiet().await;
    raw.send(" and more").await;
    backend.quiet().await;
    backend.send(ACCEPT).await;
    assert_eq!(backend.take(20).await, b"early bytes and more");
    assert_eq!(raw.head().await.status(), 101);
}

/// CVE-2026-2833: what was meant for a tunnel that did not come about is no request.
#[tokio::test(start_paused = true)]
async fn bytes_that_were_sent_early_are_no_request_when_the_backend_refuses() {
    for early in ["GET /evil HTTP/1.1\r\nHost: a\r\n\r\n", ""] {
        let mut world = Plan::to(Http1).build();
        let mut raw = world.raw();
        raw.send(format!("{ASK}{early}")).await;
        let mut backend = world.accept().await;
        backend.head().await;
        backend
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
            .await;
        let message = raw.message().await;
        assert_eq!(
            (message.head.status(), &message.body[..]),
            (200, &b"no"[..])
        );
        assert_eq!(message.head.field("connection"), Some("close"));
        raw.try_send("GET /evil HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(raw.rest_text().await, "");
        backend.quiet().await;
        world.no_connection().await;
        assert_eq!(world.ended().await.code(), ("done", 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_101_that_nobody_asked_for_is_the_backends_fault() {
    let plan = || Plan::to(Http1).retry(lb_l7::upstream::RetryPolicy::never());
    let other = ACCEPT.replace("websocket", "irc");
    for (ask, answer) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ACCEPT),
        (ASK, &*other),
        (ASK, "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ] {
        let mut world = plan().build();
        let mut raw = world.raw();
        raw.send(ask).await;
        let mut backend = world.accept().await;
        backend.head().await;
        backend.send(answer).await;
        backend.send("HTTP/1.1 200 OK\r\n\r\n").await;
        assert_eq!(raw.message().await.head.status(), 502);
        let ended = world.ended().await;
        assert_eq!(ended.code(), ("backend-malformed-in-response-head", 502));
        assert_eq!(world.connections(), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_to_http2_is_not_passed_on() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    )
    .await;
    let served = world.call().await;
    assert_eq!(
        (served.field("upgrade"), served.field("http2-settings")),
        (None, None)
    );
    served.answer(200, "plain").await;
    let message = raw.message().await;
    assert_eq!(message.head.field("connection"), None, "it may go on");
    raw.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    world.call().await.answer(200, "").await;
    assert_eq!(raw.message().await.head.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_websocket_of_http2_reaches_a_backend_of_http1() {
    let mut world = Plan::to(Http1).build();
    let (response, to) = ask_http2_with(&world, "websocket").await;
    let mut backend = world.accept().await;
    let head = backend.head().await;
    assert_eq!(head.line, "GET /chat HTTP/1.1");
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(head.field("connection"), Some("upgrade"));
    assert_eq!(head.field("sec-websocket-version"), Some("13"));
    assert_eq!(head.field("sec-websocket-key").map(str::len), Some(24));
    backend.send(ACCEPT).await;
    let mut streams = open_http2(response, to).await;
    assert_eq!(streams.status, 200);
    assert_eq!(
        streams.fields.get("sec-websocket-protocol").unwrap(),
        "chat"
    );
    for name in [
        "sec-websocket-accept",
        "upgrade",
        "connection",
        "content-length",
    ] {
        assert!(!streams.fields.contains_key(name), "{name}");
    }
    echoes(&mut streams, &mut backend).await;
    streams.to.send_data(Bytes::new(), true).unwrap();
    assert_eq!(backend.rest_text().await, "");
    drop(backend);
    assert!(is_over(&mut streams.from).await);
    assert_eq!(world.ended().await.code(), ("client-closed-in-tunnel", 101));
}

#[tokio::test(start_paused = true)]
async fn a_websocket_of_http1_reaches_a_backend_of_http2() {
    let mut world = Plan::to(Http2).build();
    let mut raw = world.raw();
    raw.send(ASK).await;
    let mut served = world.call().await;
    assert_eq!((&*served.method, &*served.path), ("CONNECT", "/chat"));
    assert_eq!(served.protocol.as_deref(), Some("websocket"));
    for name in ["sec-websocket-key", "upgrade", "connection"] {
        assert_eq!(served.field(name), None);
    }
    assert_eq!(served.field("sec-websocket-version"), Some("13"));
    served
        .head(200, &[("sec-websocket-protocol", "chat")])
        .await;
    let (mut from, mut to) = served.into_stream();
    let head = raw.head().await;
    assert_eq!(head.status(), 101);
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(
        head.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(head.field("sec-websocket-protocol"), Some("chat"));
    raw.send("ping").await;
    assert_eq!(from.data().await.unwrap().unwrap(), "ping");
    to.send_data(Bytes::from_static(b"pong"), false).unwrap();
    assert_eq!(raw.take(4).await, b"pong");
    to.send_data(Bytes::from_static(b"bye"), true).unwrap();
    assert_eq!(raw.rest_text().await, "bye");
    drop(raw);
    assert_eq!(world.ended().await.code(), ("client-closed-in-tunnel", 101));
}

#[tokio::test(start_paused = true)]
async fn a_websocket_of_http2_reaches_a_backend_of_http2() {
    let mut world = Plan::to(Http2).build();
    let (response, to) = ask_http2_with(&world, "websocket").await;
    let mut served = world.call().await;
    assert_eq!(served.method, "CONNECT");
    assert_eq!(served.protocol.as_deref(), Some("websocket"));
    served.head(200, &[]).await;
    let (mut from, mut back) = served.into_stream();
    let mut streams = open_http2(response, to).await;
    assert_eq!(streams.status, 200);
    streams
        .to
        .send_data(Bytes::from_static(b"ping"), false)
        .unwrap();
    assert_eq!(from.data().await.unwrap().unwrap(), "ping");
    back.send_data(Bytes::from_static(b"pong"), true).unwrap();
    assert_eq!(streams.from.data().await.unwrap().unwrap(), "pong");
    assert!(is_over(&mut streams.from).await);
    streams.to.send_data(Bytes::new(), true).unwrap();
    assert!(is_over(&mut from).await);
    assert_eq!(world.ended().await.code(), ("client-closed-in-tunnel", 101));
}

#[tokio::test(start_paused = true)]
async fn a_refused_websocket_of_http2_gets_the_backends_own_answer() {
    for backend in [Http1, Http2] {
        let mut world = Plan::to(backend).build();
        let response = ask_http2(&world, "websocket").await;
        world.call().await.answer(403, "no").await;
        let response = response.await.unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(response.into_body().data().await.unwrap().unwrap(), "no");
        assert_eq!(world.ended().await.code(), ("done", 403));
    }
}

#[tokio::test(start_paused = true)]
async fn another_protocol_than_websocket_is_not_connected_to() {
    let mut world = Plan::to(Http1).build();
    let response = ask_http2(&world, "connect-udp").await;
    assert_eq!(response.await.unwrap().status(), 501);
    world.no_call().await;
    let ended = world.ended().await;
    assert_eq!(ended.code(), ("client-unsupported-in-request-head", 501));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_without_bytes_ends_after_its_time() {
    let mut world = Plan::to(Http1)
        .timeouts(|t| t.tunnel_idle = secs(100))
        .build();
    let mut raw = world.raw();
    raw.send(ASK).await;
    let mut backend = world.accept().await;
    backend.head().await;
    backend.send(ACCEPT).await;
    raw.head().await;
    tokio::time::sleep(secs(99)).await;
    raw.send("x").await;
    backend.take(1).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(backend.rest_text().await, "");
    assert_eq!(begun.elapsed().as_secs(), 100);
    raw.ends_within(secs(5)).await;
    assert_eq!(world.ended().await.code(), ("proxy-timeout-in-tunnel", 101));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_one_side_has_left_does_not_wait_an_hour_for_the_other() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send(ASK).await;
    let mut backend = world.accept().await;
    backend.head().await;
    backend.send(ACCEPT).await;
    raw.head().await;
    let begun = tokio::time::Instant::now();
    backend.finish().await;
    assert_eq!(raw.rest_text().await, "");
    assert_eq!(backend.rest_text().await, "");
    assert_eq!(begun.elapsed().as_secs(), 30);
    drop(raw);
    assert_eq!(world.ended().await.how, "proxy-timeout-in-tunnel");
}
