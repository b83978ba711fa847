//! What is too large.

use lb_l7::h1::HeadLimits;

use crate::rig::{Announced, Http1, Http2, PAIRS, Plan, secs};

#[tokio::test(start_paused = true)]
async fn a_body_that_is_declared_too_large_is_refused_before_a_backend_is_asked() {
    for client in [Http1, Http2] {
        for (length, fits) in [(100, true), (101, false)] {
            let mut world = Plan::to(Http1).settings(|it| it.body_limit(100)).build();
            let client = world.client(client).await;
            let mut call = client
                .begin("POST", "/", &[], Announced::Length(length))
                .await;
            if fits {
                call.send(&[b'x'; 100]).await;
                call.end().await;
                let mut served = world.call().await;
                assert_eq!(served.body().await.unwrap().0.len(), 100);
                served.answer(200, "").await;
                assert_eq!(call.answer().await.0.status, 200);
                continue;
            }
            let (answer, _client) = call.answer().await;
            assert_eq!(answer.status, 413);
            world.no_call().await;
            assert_eq!(
                world.ended().await.code(),
                ("client-too-large-in-request-body", 413)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_grows_too_large_is_refused_where_it_does_and_never_ended() {
    for (client, backend) in PAIRS {
        for (length, fits) in [(100, true), (101, false)] {
            let mut world = Plan::to(backend).settings(|it| it.body_limit(100)).build();
            let client = world.client(client).await;
            let mut call = client.begin("POST", "/", &[], Announced::Streamed).await;
            call.send(&[b'x'; 60]).await;
            world.settle().await;
            call.send(&vec![b'x'; length - 60]).await;
            let mut served = world.call().await;
            if fits {
                call.end().await;
                assert_eq!(served.body().await.unwrap().0.len(), 100);
                served.answer(200, "").await;
                assert_eq!(call.answer().await.0.status, 200);
                continue;
            }
            assert_eq!(served.body().await, Err(vec![b'x'; 60]));
            let (answer, _client) = call.answer().await;
            assert_eq!(answer.status, 413, "{backend:?}");
            assert_eq!(
                world.ended().await.code(),
                ("client-too-large-in-request-body", 413)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_a_431_and_a_target_a_414() {
    let limits = || {
        let mut limits = HeadLimits::default();
        (limits.bytes, limits.fields, limits.target) = (2000, 5, 100);
        limits
    };
    let field = |n: usize| format!("X-{n}: y\r\n");
    let many: String = (0..5).map(field).collect();
    let few: String = (0..4).map(field).collect();
    let rows = [
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{few}\r\n"), 200),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                "y".repeat(2000)
            ),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(2000)),
            431,
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(99)),
            200,
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(100)),
            414,
        ),
    ];
    for (head, status) in rows {
        let mut world = Plan::to(Http1)
            .settings(move |it| it.head(limits()))
            .build();
        let mut raw = world.raw();
        raw.send(&head).await;
        if status == 200 {
            world.call().await.answer(200, "").await;
            assert_eq!(raw.message().await.head.status(), 200, "{head}");
            continue;
        }
        let message = raw.message().await;
        assert_eq!(message.head.status(), status, "{head}");
        assert_eq!(message.head.field("connection"), Some("close"));
        raw.ends_within(secs(3)).await;
        world.no_call().await;
        assert_eq!(
            world.ended().await.code(),
            ("client-too-large-in-request-head", status)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn fields_of_http2_beyond_the_limit_reach_no_backend() {
    let mut world = Plan::to(Http1).build();
    let client = world.client(Http2).await;
    let value = "y".repeat(1000);
    let fields: Vec<_> = (0..100)
        .map(|n| (format!("x-{n}"), value.clone()))
        .collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let call = client.begin("GET", "/", &fields, Announced::Nothing).await;
    let crate::rig::Call::Two { response, .. } = call else {
        unreachable!()
    };
    match response.await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.reason().is_some(), "{error}"),
    }
    world.no_call().await;
}
