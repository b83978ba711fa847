//! Answers that come before their request has ended.

use bytes::Bytes;
use h2::Reason;
use std::future::poll_fn;

use crate::rig::{Announced, Call, Client, Http1, Http2, PAIRS, Plan, is_over};

#[tokio::test(start_paused = true)]
async fn an_early_answer_reaches_the_client_whole_and_the_backends_connection_is_not_used_again() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let client = world.client(client).await;
        let mut call = client
            .begin("POST", "/", &[], Announced::Length(1_000_000))
            .await;
        call.send(&[b'x'; 1000]).await;
        let mut served = world.call().await;
        assert!(!served.some().await.is_empty());
        served.head(413, &[("content-length", "8")]).await;
        assert!(served.send(b"too much").await);
        served.end(&[]).await;
        let (answer, _client) = call.answer().await;
        assert_eq!(
            (answer.status, answer.text()),
            (413, "too much"),
            "{backend:?}"
        );
        assert!(answer.is_whole);
        served.gone().await;
        let ended = world.ended().await;
        assert_eq!(ended.code(), ("backend-answered-in-response-body", 413));
        if backend == Http1 {
            assert_eq!(world.connections(), (0, 0));
        }
    }
}

/// RFC 9112, 9.6: a reset would take the answer away from a client that is still sending.
#[tokio::test(start_paused = true)]
async fn a_client_of_http1_may_go_on_to_send_and_reads_the_whole_answer() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
        .await;
    world.call().await.answer(403, "no, thank you").await;
    for _ in 0..40 {
        raw.send([b'x'; 50_000]).await;
    }
    let message = raw.message().await;
    assert_eq!(message.head.field("connection"), Some("close"));
    assert_eq!(message.body, b"no, thank you");
    assert_eq!(raw.rest_text().await, "");
}

#[tokio::test(start_paused = true)]
async fn lingering_has_an_end_for_a_client_that_sends_for_ever_and_for_one_that_is_silent() {
    for (pause, most) in [(1, 10), (100, 2)] {
        let mut world = Plan::to(Http1).build();
        let (mut raw, task) = world.connect();
        raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
            .await;
        world.call().await.answer(403, "").await;
        raw.head().await;
        let begun = tokio::time::Instant::now();
        let sender = tokio::spawn(async move {
            while raw.try_send("x").await {
                tokio::time::sleep(std::time::Duration::from_secs(pause)).await;
            }
        });
        task.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), most);
        sender.await.unwrap();
    }
}

/// RFC 9113, 8.1.
#[tokio::test(start_paused = true)]
async fn a_client_of_http2_is_told_without_error_to_send_no_more() {
    for own in [false, true] {
        let plan = Plan::to(Http1);
        let mut world = if own {
            plan.settings(|settings| settings.body_limit(10)).build()
        } else {
            plan.build()
        };
        let client = world.client(Http2).await;
        let mut call = client.begin("POST", "/", &[], Announced::Streamed).await;
        call.send(b"some").await;
        if own {
            call.send(b" too many bytes").await;
            world.call().await.gone().await;
        } else {
            world.call().await.answer(413, "").await;
        }
        let Call::Two {
            mut stream,
            response,
            send: _send,
        } = call
        else {
            unreachable!()
        };
        let response = response.await.unwrap();
        assert_eq!(response.status(), 413);
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            data.unwrap();
        }
        let reason = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, Reason::NO_ERROR, "{own}");
        world.settle().await;
        world.checks();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_begin_while_its_request_still_comes() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let client = world.client(client).await;
        let mut call = client.begin("POST", "/", &[], Announced::Streamed).await;
        call.send(b"one").await;
        let mut served = world.call().await;
        assert!(!served.some().await.is_empty());
        served.head(200, &[]).await;
        assert!(served.send(b"uno").await);
        let mut answered = tokio::time::timeout(crate::rig::A_MOMENT, async {
            match &mut call {
                Call::One { raw, .. } => {
                    assert_eq!(raw.head().await.status(), 200);
                    assert_eq!(raw.take(8).await, b"3\r\nuno\r\n");
                    None
                }
                Call::Two { response, .. } => {
                    let mut body = response.await.unwrap().into_body();
                    assert_eq!(body.data().await.unwrap().unwrap(), "uno");
                    Some(body)
                }
            }
        })
        .await
        .unwrap();
        call.send(b"two").await;
        assert!(!served.some().await.is_empty());
        call.end().await;
        world.settle().await;
        assert!(served.send(b"due").await);
        served.end(&[]).await;
        match (&mut call, &mut answered) {
            (Call::One { raw, .. }, _) => {
                assert_eq!(raw.until("0\r\n\r\n").await, "3\r\ndue\r\n0\r\n\r\n");
            }
            (_, Some(body)) => {
                assert_eq!(body.data().await.unwrap().unwrap(), "due");
                assert!(is_over(body).await);
            }
            _ => unreachable!(),
        }
        assert_eq!(world.ended().await.how, "done");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_answers_and_closes_without_reading_is_heard() {
    let mut world = Plan::to(Http1).build();
    let client = world.client(Http1).await;
    let mut call = client
        .begin("POST", "/", &[], Announced::Length(500_000))
        .await;
    let served = world.call().await;
    let mut backend = served.into_raw();
    backend
        .send("HTTP/1.1 507 Full\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull")
        .await;
    drop(backend);
    call.send(&[b'x'; 100_000]).await;
    let (answer, _client) = call.answer().await;
    assert_eq!((answer.status, answer.text()), (507, "full"));
    assert_eq!(
        world.ended().await.code(),
        ("backend-answered-in-response-body", 507)
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_body_that_nobody_reads_are_no_request() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    let evil = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    raw.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        evil.len() + 1
    ))
    .await;
    world.call().await.answer(200, "ok").await;
    assert_eq!(raw.message().await.body, b"ok");
    raw.try_send(evil).await;
    assert_eq!(raw.rest_text().await, "");
    world.no_call().await;
    assert_eq!(world.told.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_stream_that_was_answered_early_leaves_the_others_alone() {
    let mut world = Plan::to(Http2).build();
    let Client::Two(mut send) = world.client(Http2).await else {
        unreachable!()
    };
    let request = |path: &str| {
        http::Request::post(format!("http://a{path}"))
            .body(())
            .unwrap()
    };
    let (first, mut body) = send.send_request(request("/early"), false).unwrap();
    let (second, _) = send.send_request(request("/late"), true).unwrap();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    let early = world.call().await;
    let late = world.call().await;
    assert_eq!((&*early.path, &*late.path), ("/early", "/late"));
    early.answer(403, "no").await;
    assert_eq!(first.await.unwrap().status(), 403);
    late.answer(200, "yes").await;
    assert_eq!(second.await.unwrap().status(), 200);
}
