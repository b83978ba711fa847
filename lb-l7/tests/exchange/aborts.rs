//! Sides that leave before the end.

use std::time::Duration;

use h2::Reason;

use crate::rig::{Announced, Http1, Http2, PAIRS, Plan};

#[tokio::test(start_paused = true)]
async fn a_client_that_has_sent_its_whole_request_and_then_fin_gets_its_answer() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.finish().await;
    let served = world.call().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    served.answer(200, "patience").await;
    assert_eq!(raw.message().await.body, b"patience");
    assert_eq!(raw.rest_text().await, "");
    assert_eq!(world.ended().await.code(), ("done", 200));
    assert_eq!(
        world.connections(),
        (1, 1),
        "the backend's connection is as good as ever"
    );
}

#[tokio::test(start_paused = true)]
async fn fin_within_a_body_gives_the_request_up() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        .await;
    let mut served = world.call().await;
    raw.finish().await;
    assert_eq!(served.body().await, Err(b"hel".to_vec()));
    assert_eq!(raw.rest_text().await, "");
    let ended = world.ended().await;
    assert_eq!(ended.code(), ("client-closed-in-request-body", 0));
    assert_eq!(world.connections(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_never_ended_towards_the_backend() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let client = world.client(client).await;
        let mut call = client.begin("POST", "/", &[], Announced::Streamed).await;
        call.send(b"hel").await;
        let mut served = world.call().await;
        call.abort();
        assert_eq!(served.body().await, Err(b"hel".to_vec()), "{backend:?}");
        world.settle().await;
        assert_eq!(world.told.all().len(), 1);
        let how = world.told.all()[0].how;
        assert!(
            [
                "client-closed-in-request-body",
                "client-reset-in-request-body"
            ]
            .contains(&how)
        );
        world.checks();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_client_resets_is_cancelled_at_the_backend() {
    for backend in [Http1, Http2] {
        let mut world = Plan::to(backend).build();
        let call = world.client(Http2).await.get("/").await;
        let mut served = world.call().await;
        call.abort();
        served.gone().await;
        let ended = world.ended().await;
        assert_eq!(ended.code(), ("client-reset-in-response-head", 0));
        if backend == Http1 {
            assert_eq!(world.connections(), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_reset_within_its_answer_is_cancelled_at_the_backend() {
    for backend in [Http1, Http2] {
        let mut world = Plan::to(backend).build();
        let call = world.client(Http2).await.get("/").await;
        let mut served = world.call().await;
        served.head(200, &[]).await;
        served.send(b"some").await;
        let (_, body) = call.head().await;
        let crate::rig::Body::Two {
            mut stream, body, ..
        } = body
        else {
            unreachable!()
        };
        stream.send_reset(Reason::CANCEL);
        drop(body);
        served.gone().await;
        let ended = world.ended().await;
        assert_eq!(ended.code(), ("client-reset-in-response-body", 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_http2_that_breaks_ends_all_its_streams() {
    let mut world = Plan::to(Http1).build();
    let (raw, task) = world.connect();
    let (mut send, connection) = h2::client::handshake(raw.io).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut calls = Vec::new();
    for n in 0..3 {
        let request = http::Request::get(format!("http://a/{n}"))
            .body(())
            .unwrap();
        calls.push(send.send_request(request, true).unwrap());
    }
    let mut served = vec![world.call().await, world.call().await, world.call().await];
    driver.abort();
    for served in &mut served {
        served.gone().await;
    }
    task.await.unwrap();
    world.settle().await;
    assert_eq!(world.told.all().len(), 3);
    world.checks();
}

#[tokio::test(start_paused = true)]
async fn a_response_that_breaks_off_is_seen_to_break_off() {
    for (client, backend) in PAIRS {
        for length in [Some("100"), None] {
            let mut world = Plan::to(backend).build();
            let call = world.client(client).await.get("/").await;
            let mut served = world.call().await;
            let fields: Vec<_> = length.map(|n| ("content-length", n)).into_iter().collect();
            served.head(200, &fields).await;
            served.send(b"some").await;
            let (mut answer, body) = call.head().await;
            world.settle().await;
            served.abort();
            body.read(&mut answer).await;
            assert_eq!(
                (answer.text(), answer.is_whole),
                ("some", false),
                "{client:?} {backend:?}"
            );
            let ended = world.ended().await;
            let hows = [
                "backend-closed-in-response-body",
                "backend-reset-in-response-body",
            ];
            assert!(hows.contains(&ended.how), "{ended:?}");
            assert_eq!(ended.status.unwrap(), 200);
        }
    }
}

/// What ends with the connection can be cut without anyone noticing: it is passed on as it is.
#[tokio::test(start_paused = true)]
async fn a_response_that_ends_with_its_connection_reaches_the_client_framed() {
    for client in [Http1, Http2] {
        let mut world = Plan::to(Http1).build();
        let call = world.client(client).await.get("/").await;
        let mut backend = world.call().await.into_raw();
        backend.send("HTTP/1.1 200 OK\r\n\r\nhello ").await;
        world.settle().await;
        backend.send("there").await;
        drop(backend);
        let (answer, client) = call.answer().await;
        assert_eq!((answer.text(), answer.is_whole), ("hello there", true));
        let call = client.get("/next").await;
        world.call().await.answer(200, "").await;
        assert_eq!(call.answer().await.0.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_chunks_of_a_backend_break_the_response_off() {
    let mut world = Plan::to(Http1).build();
    let call = world.client(Http1).await.get("/").await;
    let mut backend = world.call().await.into_raw();
    backend
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        .await;
    let (answer, _client) = call.answer().await;
    assert_eq!((answer.text(), answer.is_whole), ("abc", false));
    let ended = world.ended().await;
    assert_eq!(ended.code(), ("backend-malformed-in-response-body", 200));
    assert_eq!(world.connections(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_head_of_a_backend_is_a_502() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        let plan = Plan::to(Http1).retry(lb_l7::upstream::RetryPolicy::never());
        let mut world = plan.build();
        let call = world.client(Http1).await.get("/").await;
        let mut backend = world.call().await.into_raw();
        backend.send(head).await;
        let (answer, _client) = call.answer().await;
        assert_eq!(answer.status, 502, "{head}");
        assert_eq!(
            answer.field("x-lb-reason"),
            Some("backend-malformed-in-response-head")
        );
        world.ended().await;
        assert_eq!(world.connections(), (0, 0));
    }
}

/// Drops the connection's future after each number of polls that it takes, with a client and a
/// backend that do the same each time.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_at_any_wait_gives_its_lease_back_once_and_is_reported_once() {
    for (speaks, backend) in [(Http1, Http1), (Http1, Http2)] {
        for after in 1..40 {
            let mut world = Plan::to(backend).build();
            let (near, far) = tokio::io::duplex(64);
            let proxy = world.proxy.clone();
            let peer = lb_l7::Peer::unnamed();
            let dropped = tokio::spawn(async move {
                let mut served = Box::pin(proxy.serve_connection(far, peer));
                let mut polls = 0;
                std::future::poll_fn(|cx| {
                    polls += 1;
                    if polls > after {
                        return std::task::Poll::Ready(());
                    }
                    served.as_mut().poll(cx)
                })
                .await;
            });
            let mut raw = crate::rig::Raw::new(near);
            let asked = tokio::spawn(async move {
                let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n";
                for piece in [head.to_owned(), "x".repeat(250), "y".repeat(250)] {
                    raw.try_send(piece).await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                raw.rest().await
            });
            world.start();
            let served = tokio::time::timeout(Duration::from_secs(1), world.call()).await;
            if let Ok(mut served) = served {
                if served.body().await.is_ok() {
                    served.head(200, &[("content-length", "500")]).await;
                    for _ in 0..5 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        served.send(&[b'z'; 100]).await;
                    }
                    served.end(&[]).await;
                    world.settle().await;
                }
                drop(served);
            }
            let _ = tokio::time::timeout(Duration::from_secs(200), asked).await;
            dropped.await.unwrap();
            world.settle().await;
            world.checks();
            assert!(
                world.told.all().len() <= 1,
                "{speaks:?} {backend:?} {after}"
            );
            if let [ended] = &world.told.all()[..] {
                let fine = ended.how == "done" || ended.how.starts_with("proxy-drained-in-");
                assert!(fine, "{ended:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_reset_of_a_socket_is_an_abort_though_the_request_is_whole() {
    let mut world = Plan::to(Http1).build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let proxy = world.proxy.clone();
    let peer = lb_l7::Peer::new(address, listener.local_addr().unwrap());
    let task = tokio::spawn(async move { proxy.serve_connection(stream, peer).await });
    tokio::io::AsyncWriteExt::write_all(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut served = world.call().await;
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    served.gone().await;
    task.await.unwrap();
    let ended = world.ended().await;
    assert_eq!(ended.code(), ("client-reset-in-response-head", 0));
}

/// The kernel resets a socket that is closed with bytes unread, and takes the answer with it.
#[tokio::test]
async fn a_socket_that_is_refused_within_a_body_delivers_the_whole_refusal() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let world = Plan::to(Http1)
        .settings(|settings| settings.body_limit(10))
        .build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let proxy = world.proxy.clone();
    let peer = lb_l7::Peer::new(address, listener.local_addr().unwrap());
    tokio::spawn(async move { proxy.serve_connection(stream, peer).await });
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..30 {
        client.write_all(&[b'x'; 100_000]).await.unwrap();
    }
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.ends_with("413 Payload Too Large\n"), "{text}");
}
