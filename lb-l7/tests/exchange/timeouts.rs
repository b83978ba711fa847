//! Each phase, its time, and what is said when that has passed.

use std::time::Duration;

use lb_l7::upstream::RetryPolicy;
use tokio::time::Instant;

use crate::rig::{Announced, Call, Door, Http1, Http2, PAIRS, Plan, World, secs};

/// How the one exchange there was has ended; its code was counted, once.
async fn ended(world: &World) -> (&'static str, u16) {
    let ended = world.ended().await;
    let counted: Vec<_> = world.proxy.stats().terminations().collect();
    assert_eq!(counted.len(), 1);
    assert_eq!((counted[0].0.as_str(), counted[0].1), (ended.how, 1));
    ended.code()
}

fn plan(backend: crate::rig::Speaks) -> Plan {
    Plan::to(backend).retry(RetryPolicy::never())
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_a_408_ten_seconds_after_the_connection_came() {
    for pieces in [
        &["GET / HTTP/1.1\r\n"][..],
        &["P", "R"],
        &["GET / ", "HTTP/1.1\r\n", "Ho", "s"],
    ] {
        let world = plan(Http1).build();
        let begun = Instant::now();
        let mut raw = world.raw();
        for piece in pieces {
            tokio::time::sleep(secs(2)).await;
            raw.send(piece).await;
        }
        let message = raw.message().await;
        assert_eq!(begun.elapsed().as_secs(), 10);
        assert_eq!(message.head.status(), 408);
        assert_eq!(message.head.field("connection"), Some("close"));
        assert_eq!(
            message.head.field("x-lb-reason"),
            Some("client-timeout-in-request-head")
        );
        raw.ends_within(secs(1)).await;
        assert_eq!(ended(&world).await, ("client-timeout-in-request-head", 408));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed_without_a_word() {
    for prior_knowledge in [true, false] {
        let world = plan(Http1)
            .settings(move |mut settings| {
                settings.prior_knowledge = prior_knowledge;
                settings
            })
            .build();
        let begun = Instant::now();
        let mut raw = world.raw();
        assert_eq!(raw.rest_text().await, "");
        assert_eq!(begun.elapsed().as_secs(), 10);
        assert!(world.told.all().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_further_head_has_its_time_from_its_first_byte() {
    let mut world = plan(Http1).build();
    let mut raw = world.raw();
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    world.call().await.answer(200, "").await;
    raw.head().await;
    tokio::time::sleep(secs(50)).await;
    raw.send("GET / HT").await;
    let begun = Instant::now();
    tokio::time::sleep(secs(5)).await;
    raw.send("TP/1.1\r\n").await;
    assert_eq!(raw.message().await.head.status(), 408);
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_a_minute() {
    let mut world = plan(Http1).build();
    let mut raw = world.raw();
    for _ in 0..2 {
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        world.call().await.answer(200, "").await;
        raw.head().await;
        tokio::time::sleep(secs(59)).await;
    }
    let begun = Instant::now();
    assert_eq!(raw.rest_text().await, "");
    assert_eq!(begun.elapsed().as_secs(), 1);
    assert_eq!(world.told.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_http2_is_told_to_go_after_a_minute_without_a_stream() {
    let mut world = plan(Http1).build();
    let (raw, task) = world.connect();
    let (mut send, connection) = h2::client::handshake(raw.io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = || http::Request::get("http://a/").body(()).unwrap();
    let (response, _) = send.send_request(request(), true).unwrap();
    let served = world.call().await;
    tokio::time::sleep(secs(50)).await;
    served.answer(200, "").await;
    assert_eq!(response.await.unwrap().status(), 200);
    let begun = Instant::now();
    tokio::time::sleep(secs(59)).await;
    assert!(!task.is_finished());
    task.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 60);
    connection.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_within_its_body_is_told_408() {
    for (client, backend) in PAIRS {
        let mut world = plan(backend).build();
        let client = world.client(client).await;
        let mut call = client.begin("POST", "/", &[], Announced::Length(10)).await;
        call.send(b"on").await;
        let mut served = world.call().await;
        tokio::time::sleep(secs(29)).await;
        call.send(b"e").await;
        let begun = Instant::now();
        let (answer, _client) = call.answer().await;
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert_eq!(answer.status, 408);
        served.gone().await;
        assert_eq!(ended(&world).await, ("client-timeout-in-request-body", 408));
    }
}

/// The client has done its part: it is the backend that takes nothing.
#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_take_the_body_is_the_one_that_is_late() {
    for (client, backend) in PAIRS {
        let mut world = plan(backend)
            .pipe(1024)
            .timeouts(|t| t.first_byte = secs(45))
            .build();
        let client = world.client(client).await;
        let call = client
            .begin("POST", "/", &[], Announced::Length(1_000_000))
            .await;
        let begun = Instant::now();
        let (mut sender, reader): (_, std::pin::Pin<Box<dyn Future<Output = u16>>>) = match call {
            Call::One { raw, .. } => {
                let (mut read, mut write) = tokio::io::split(raw.io);
                let sender = tokio::spawn(async move {
                    let body = vec![b'x'; 1_000_000];
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut write, &body).await;
                });
                let reader = async move {
                    let mut text = vec![0; 12];
                    tokio::io::AsyncReadExt::read_exact(&mut read, &mut text)
                        .await
                        .unwrap();
                    String::from_utf8(text[9..].to_vec())
                        .unwrap()
                        .parse()
                        .unwrap()
                };
                (sender, Box::pin(reader))
            }
            Call::Two {
                mut stream,
                response,
                send,
            } => {
                let sender = tokio::spawn(async move {
                    let _send = send;
                    let _ = stream.send_data(vec![b'x'; 1_000_000].into(), true);
                    std::future::pending().await
                });
                let reader = async move { response.await.unwrap().status().as_u16() };
                (sender, Box::pin(reader))
            }
        };
        let _served = world.call().await;
        assert_eq!(reader.await, 504, "{backend:?}");
        assert_eq!(begun.elapsed().as_secs(), 45);
        sender.abort();
        let _ = (&mut sender).await;
        assert_eq!(
            ended(&world).await,
            ("backend-timeout-in-request-body", 504)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_takes_the_body_slowly_is_not_late() {
    let mut world = plan(Http1).pipe(1024).build();
    let client = world.client(Http1).await;
    let mut call = client
        .begin("POST", "/", &[], Announced::Length(60_000))
        .await;
    let upload = tokio::spawn(async move {
        call.send(&[b'x'; 60_000]).await;
        call
    });
    let served = world.call().await;
    let mut raw = served.into_raw();
    for _ in 0..60 {
        tokio::time::sleep(secs(20)).await;
        raw.take(1000).await;
    }
    raw.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(upload.await.unwrap().answer().await.0.status, 200);
    assert_eq!(ended(&world).await.0, "done");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_cannot_be_reached_in_time_is_a_504() {
    let mut world = plan(Http1).timeouts(|t| t.connect = secs(3)).build();
    world.dial.meet(&[Door::Silent]);
    let begun = Instant::now();
    let call = world.client(Http1).await.get("/").await;
    let (answer, _client) = call.answer().await;
    assert_eq!((answer.status, begun.elapsed().as_secs()), (504, 3));
    world.no_call().await;
    assert_eq!(ended(&world).await, ("backend-timeout-in-connect", 504));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_refuses_is_a_502_and_none_at_all_a_503() {
    for client in [Http1, Http2] {
        let world = plan(Http1).build();
        world.dial.meet(&[Door::Refused]);
        let call = world.client(client).await.get("/").await;
        assert_eq!(call.answer().await.0.status, 502);
        assert_eq!(
            ended(&world).await,
            ("backend-connect-failed-in-connect", 502)
        );

        let world = plan(Http1).backends(0).build();
        let call = world.client(client).await.get("/").await;
        let answer = call.answer().await.0;
        assert_eq!(answer.status, 503);
        assert_eq!(
            answer.field("x-lb-reason"),
            Some("proxy-no-backend-in-queue")
        );
        assert_eq!(ended(&world).await, ("proxy-no-backend-in-queue", 503));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_a_503_at_once() {
    let mut world = plan(Http1)
        .upstream(|it| it.connections(1).pending(0))
        .build();
    let first = world.client(Http1).await.get("/").await;
    let served = world.call().await;
    let begun = Instant::now();
    let second = world.client(Http1).await.get("/").await;
    assert_eq!(second.answer().await.0.status, 503);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    served.answer(200, "").await;
    assert_eq!(first.answer().await.0.status, 200);
    world.settle().await;
    let all = world.told.all();
    assert_eq!(all[0].code(), ("proxy-overloaded-in-queue", 503));
    assert_eq!(all[1].code(), ("done", 200));
    world.checks();
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_the_queue_gets_the_connection_that_becomes_free() {
    let mut world = plan(Http1).upstream(|it| it.connections(1)).build();
    let first = world.client(Http1).await.get("/1").await;
    let served = world.call().await;
    let second = world.client(Http1).await.get("/2").await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    served.answer(200, "one").await;
    let served = world.call().await;
    assert_eq!((&*served.path, served.connection), ("/2", 0));
    served.answer(200, "two").await;
    assert_eq!(first.answer().await.0.text(), "one");
    assert_eq!(second.answer().await.0.text(), "two");
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_the_queue_for_too_long_is_told_503() {
    let mut world = plan(Http1)
        .upstream(|it| it.connections(1).pending_time(secs(2)))
        .build();
    let first = world.client(Http1).await.get("/1").await;
    let served = world.call().await;
    let begun = Instant::now();
    let second = world.client(Http1).await.get("/2").await;
    assert_eq!(second.answer().await.0.status, 503);
    assert_eq!(begun.elapsed().as_secs(), 2);
    served.answer(200, "").await;
    assert_eq!(first.answer().await.0.status, 200);
    world.settle().await;
    let late = &world.told.all()[0];
    assert_eq!(late.code(), ("proxy-overloaded-in-queue", 503));
    assert_eq!(late.detail, Some("connect-queue-timeout"));
    world.checks();
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_answer_is_a_504_after_a_minute() {
    for (client, backend) in PAIRS {
        let mut world = plan(backend).build();
        let call = world.client(client).await.post("/", "hello").await;
        let begun = Instant::now();
        let mut served = world.call().await;
        let (answer, _client) = call.answer().await;
        assert_eq!(
            (answer.status, begun.elapsed().as_secs()),
            (504, 60),
            "{backend:?}"
        );
        served.gone().await;
        assert_eq!(
            ended(&world).await,
            ("backend-timeout-in-response-head", 504)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_stops_within_its_answer_breaks_it_off_after_a_minute() {
    for (client, backend) in PAIRS {
        let mut world = plan(backend).build();
        let call = world.client(client).await.get("/").await;
        let mut served = world.call().await;
        served.head(200, &[]).await;
        served.send(b"one").await;
        tokio::time::sleep(secs(59)).await;
        served.send(b"two").await;
        let begun = Instant::now();
        let (answer, _client) = call.answer().await;
        assert_eq!((answer.text(), answer.is_whole), ("onetwo", false));
        assert_eq!(begun.elapsed().as_secs(), 60, "{backend:?}");
        served.gone().await;
        assert_eq!(
            ended(&world).await,
            ("backend-timeout-in-response-body", 200)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_for_half_a_minute_is_left() {
    for backend in [Http1, Http2] {
        let mut world = plan(backend).pipe(1024).build();
        let (mut raw, task) = world.connect();
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut served = world.call().await;
        served.head(200, &[("content-length", "1000000")]).await;
        let begun = Instant::now();
        let sender = tokio::spawn(async move {
            served.send(&[b'x'; 1_000_000]).await;
            served.gone().await;
        });
        task.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 30, "{backend:?}");
        sender.await.unwrap();
        assert_eq!(
            ended(&world).await,
            ("client-timeout-in-response-body", 200)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_window_stays_shut_is_reset_after_half_a_minute() {
    let mut world = plan(Http1).build();
    let call = world.client(Http2).await.get("/").await;
    let mut served = world.call().await;
    served.head(200, &[("content-length", "1000000")]).await;
    let begun = Instant::now();
    let sender = tokio::spawn(async move {
        served.send(&[b'x'; 1_000_000]).await;
        served.gone().await;
    });
    let (answer, _body) = call.head().await;
    assert_eq!(answer.status, 200);
    sender.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(
        ended(&world).await,
        ("client-timeout-in-response-body", 200)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_slowly_is_not_idle_and_nor_is_the_backend_late() {
    let mut world = plan(Http1).pipe(1024).build();
    let mut raw = world.raw();
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut served = world.call().await;
    served.head(200, &[("content-length", "60000")]).await;
    let sender = tokio::spawn(async move {
        assert!(served.send(&[b'x'; 60_000]).await);
        served
    });
    raw.head().await;
    for _ in 0..60 {
        tokio::time::sleep(secs(25)).await;
        raw.take(1000).await;
    }
    sender.await.unwrap();
    assert_eq!(ended(&world).await, ("done", 200));
}

#[tokio::test(start_paused = true)]
async fn the_whole_exchange_has_its_time_too() {
    for (client, backend) in PAIRS {
        let mut world = plan(backend).timeouts(|t| t.total = secs(20)).build();
        let call = world.client(client).await.get("/").await;
        let begun = Instant::now();
        let mut served = world.call().await;
        let (answer, _client) = call.answer().await;
        assert_eq!((answer.status, begun.elapsed().as_secs()), (504, 20));
        served.gone().await;
        assert_eq!(ended(&world).await, ("proxy-timeout-in-response-head", 504));

        let mut world = plan(backend).timeouts(|t| t.total = secs(20)).build();
        let call = world.client(client).await.get("/").await;
        let begun = Instant::now();
        let mut served = world.call().await;
        served.head(200, &[]).await;
        let sender = tokio::spawn(async move {
            while served.send(b"x").await {
                tokio::time::sleep(secs(1)).await;
            }
        });
        let (answer, _client) = call.answer().await;
        assert_eq!((answer.is_whole, begun.elapsed().as_secs()), (false, 20));
        sender.await.unwrap();
        assert_eq!(ended(&world).await, ("proxy-timeout-in-response-body", 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_preface_that_does_not_end_is_not_waited_for_longer_than_a_head() {
    let world = plan(Http1).build();
    let mut raw = world.raw();
    let begun = Instant::now();
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // The preface is whole, and the settings that belong to it do not come.
    let rest = raw.rest().await;
    // Ten seconds, and five for an answer to the GOAWAY.
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert!(rest.len() < 200, "{}", rest.len());
}
