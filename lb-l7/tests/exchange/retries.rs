//! Requests that are sent again, and those that must not be.

use http::StatusCode;
use lb_l7::upstream::{RetryOn, RetryPolicy};

use crate::rig::{Announced, Client, Door, Http1, Http2, PAIRS, Plan, Speaks, World, secs};

/// A client, after a first exchange that left a connection to the backend idle.
async fn warm(world: &mut World, client: Speaks) -> Client {
    let call = world.client(client).await.get("/first").await;
    world.call().await.answer(200, "").await;
    call.answer().await.1
}

#[tokio::test(start_paused = true)]
async fn a_pooled_connection_that_turns_out_to_be_closed_costs_no_request() {
    for client in [Http1, Http2] {
        for body in [None, Some("hello")] {
            let mut world = Plan::to(Http1).build();
            let mut raw = world.raw();
            raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let mut stale = world.accept().await;
            stale.head().await;
            stale
                .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
            assert_eq!(raw.head().await.status(), 200);
            world.settle().await;

            let client = world.client(client).await;
            let announced = body.map_or(Announced::Nothing, |b| Announced::Length(b.len()));
            let mut call = client.begin("PUT", "/", &[], announced).await;
            if let Some(body) = body {
                call.send(body.as_bytes()).await;
                call.end().await;
            }
            stale.head().await;
            drop(stale);
            let mut served = world.call().await;
            assert_eq!(
                served.body().await.unwrap().0,
                body.unwrap_or("").as_bytes()
            );
            served.answer(200, "fresh").await;
            assert_eq!(call.answer().await.0.text(), "fresh");
            world.settle().await;
            let ended = world.told.all().pop().unwrap();
            assert_eq!((ended.code(), ended.tries), (("done", 200), 2));
            world.checks();
        }
    }
}

/// RFC 9110, 9.2.2: it may have been processed.
#[tokio::test(start_paused = true)]
async fn a_post_is_not_sent_again_once_bytes_of_it_have_gone() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut stale = world.accept().await;
    stale.head().await;
    stale
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    raw.head().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    stale.until("hello").await;
    drop(stale);
    assert_eq!(raw.message().await.head.status(), 502);
    world.no_connection().await;
    let ended = world.told.all().pop().unwrap();
    assert_eq!(
        (ended.code(), ended.tries),
        (("backend-closed-in-response-head", 502), 1)
    );
    assert!(ended.reused);
    world.checks();
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_made_good_by_another_backend_whatever_the_method() {
    for method in ["GET", "POST"] {
        let mut world = Plan::to(Http1).backends(2).build();
        world.dial.meet(&[Door::Refused]);
        let client = world.client(Http1).await;
        let mut call = client.begin(method, "/", &[], Announced::Length(5)).await;
        call.send(b"hello").await;
        let mut served = world.call().await;
        assert_eq!(served.body().await.unwrap().0, b"hello");
        served.answer(200, "ok").await;
        assert_eq!(call.answer().await.0.status, 200);
        let ended = world.ended().await;
        assert_eq!((ended.code(), ended.tries), (("done", 200), 2));
        assert_eq!(world.proxy.upstream_stats()["upstream"].read().retries, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn when_no_other_backend_is_left_the_failure_of_the_last_one_is_told() {
    let mut world = Plan::to(Http1).backends(2).build();
    world.dial.meet(&[Door::Refused; 3]);
    let call = world.client(Http1).await.get("/").await;
    let (answer, _client) = call.answer().await;
    assert_eq!(answer.status, 502);
    world.no_call().await;
    let ended = world.ended().await;
    assert_eq!(
        (ended.code(), ended.tries),
        (("backend-connect-failed-in-connect", 502), 3)
    );
    assert_eq!(ended.detail, Some("connect-refused"));
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_breaks_off_before_its_answer_is_tried_elsewhere_if_it_is_idempotent() {
    for (client, backend) in PAIRS {
        for (method, again) in [
            ("GET", true),
            ("PUT", true),
            ("POST", false),
            ("PATCH", false),
        ] {
            let mut world = Plan::to(backend).backends(2).build();
            let client = world.client(client).await;
            let call = client.begin(method, "/", &[], Announced::Nothing).await;
            world.call().await.abort();
            if again {
                world.call().await.answer(200, "second").await;
            }
            let (answer, _client) = call.answer().await;
            world.no_call().await;
            assert_eq!(
                answer.status,
                if again { 200 } else { 502 },
                "{method} {backend:?}"
            );
            let ended = world.ended().await;
            assert_eq!(ended.tries, if again { 2 } else { 1 });
        }
    }
}

/// RFC 9113, 8.7: a refused stream was not processed, whatever its method.
#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_sent_again_even_if_it_is_a_post() {
    let mut world = Plan::to(Http2).backends(2).build();
    let call = world.client(Http1).await.post("/", "hello").await;
    world.call().await.refuse();
    let mut served = world.call().await;
    assert_eq!(served.body().await.unwrap().0, b"hello");
    served.answer(200, "second").await;
    assert_eq!(call.answer().await.0.text(), "second");
    assert_eq!(world.ended().await.tries, 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_up_to_the_cap_is_sent_again_and_a_longer_one_is_not() {
    for (length, again) in [(1000, true), (1001, false)] {
        let retry = RetryPolicy::default().replay_bytes(1000);
        let mut world = Plan::to(Http1).backends(2).retry(retry).build();
        let client = world.client(Http1).await;
        let mut call = client
            .begin("PUT", "/", &[], Announced::Length(length))
            .await;
        let body: Vec<u8> = (0..length).map(|n| b'a' + (n % 26) as u8).collect();
        for piece in body.chunks(300) {
            call.send(piece).await;
            world.settle().await;
        }
        let mut first = world.call().await;
        assert_eq!(first.body().await.unwrap().0, body);
        first.abort();
        if again {
            let mut second = world.call().await;
            assert_eq!(second.body().await.unwrap().0, body);
            second.answer(200, "").await;
        }
        let (answer, _client) = call.answer().await;
        assert_eq!(answer.status, if again { 200 } else { 502 });
        world.no_call().await;
        world.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_and_a_body_still_under_way_are_sent_again() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).backends(2).build();
        let client = world.client(client).await;
        let mut call = client.begin("PUT", "/", &[], Announced::Streamed).await;
        call.send(b"one").await;
        let mut first = world.call().await;
        assert!(!first.some().await.is_empty());
        first.abort();
        let mut second = world.call().await;
        call.send(b"two").await;
        call.end_with(&[("x-sum", "6")]).await;
        let (body, trailers) = second.body().await.unwrap();
        assert_eq!(
            (&body[..], trailers.len()),
            (&b"onetwo"[..], 1),
            "{backend:?}"
        );
        second.answer(200, "").await;
        assert_eq!(call.answer().await.0.status, 200);
        let ended = world.ended().await;
        assert_eq!((ended.tries, ended.body_in), (2, 6));
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_that_takes_too_long_is_given_up_for_another() {
    for backend in [Http1, Http2] {
        let retry = RetryPolicy::default()
            .on(RetryOn::DEFAULT.with(RetryOn::TIMEOUT))
            .per_try_timeout(secs(2));
        let mut world = Plan::to(backend).backends(2).retry(retry).build();
        let call = world.client(Http1).await.get("/").await;
        let mut slow = world.call().await;
        let begun = tokio::time::Instant::now();
        slow.gone().await;
        assert_eq!(begun.elapsed().as_secs(), 2);
        world.call().await.answer(200, "fast").await;
        assert_eq!(call.answer().await.0.text(), "fast");
        assert_eq!(world.ended().await.tries, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_per_try_timeout_does_not_cut_an_answer_that_has_begun() {
    let retry = RetryPolicy::default().per_try_timeout(secs(2));
    let mut world = Plan::to(Http1).retry(retry).build();
    let call = world.client(Http1).await.get("/").await;
    let mut served = world.call().await;
    served.head(200, &[]).await;
    for _ in 0..5 {
        tokio::time::sleep(secs(1)).await;
        served.send(b"x").await;
    }
    served.end(&[]).await;
    let (answer, _client) = call.answer().await;
    assert_eq!((answer.text(), answer.is_whole), ("xxxxx", true));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_the_policy_names_is_tried_elsewhere_and_the_last_one_is_sent() {
    for (second, tries) in [(200, 2), (503, 2)] {
        let on = RetryOn::DEFAULT.with(RetryOn::STATUS_503);
        let retry = RetryPolicy::default().tries(2).on(on);
        let mut world = Plan::to(Http1).backends(2).retry(retry).build();
        let call = world.client(Http1).await.get("/").await;
        world.call().await.answer(503, "busy").await;
        world.call().await.answer(second, "last").await;
        let (answer, _client) = call.answer().await;
        assert_eq!((answer.status, answer.text()), (second, "last"));
        world.no_call().await;
        let ended = world.ended().await;
        assert_eq!(
            (ended.tries, ended.status),
            (tries, StatusCode::from_u16(second).ok())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn retries_end_with_their_budget() {
    let budget = lb_l7::upstream::RetryBudgetConfig::default()
        .percent(0)
        .floor_per_second(0);
    let plan = Plan::to(Http1).backends(2);
    let mut world = plan.budget(budget).build();
    let call = world.client(Http1).await.get("/").await;
    world.call().await.abort();
    assert_eq!(call.answer().await.0.status, 502);
    world.no_call().await;
    assert_eq!(world.ended().await.tries, 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_once_the_client_has_a_head() {
    let mut world = Plan::to(Http1).backends(2).build();
    let call = world.client(Http1).await.get("/").await;
    let mut served = world.call().await;
    served.head(200, &[("content-length", "10")]).await;
    served.send(b"half ").await;
    world.settle().await;
    served.abort();
    let (answer, _client) = call.answer().await;
    assert_eq!((answer.text(), answer.is_whole), ("half ", false));
    world.no_call().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_after_a_retry_goes_on_as_if_nothing_had_been() {
    for client in [Http1, Http2] {
        let mut world = Plan::to(Http1).backends(2).build();
        let client = warm(&mut world, client).await;
        let call = client.get("/second").await;
        world.call().await.abort();
        world.call().await.answer(200, "second").await;
        let (answer, client) = call.answer().await;
        assert_eq!(answer.text(), "second");
        let call = client.get("/third").await;
        world.call().await.answer(200, "third").await;
        assert_eq!(call.answer().await.0.text(), "third");
    }
}

#[tokio::test(start_paused = true)]
async fn another_try_over_http2_needs_no_connection_of_its_own() {
    let mut world = Plan::to(Http2).build();
    let client = warm(&mut world, Http1).await;
    let call = client.get("/second").await;
    let first = world.call().await;
    assert_eq!(first.connection, 0);
    first.abort();
    let second = world.call().await;
    assert_eq!(second.connection, 0);
    second.answer(200, "").await;
    assert_eq!(call.answer().await.0.status, 200);
    world.settle().await;
    let charged: u64 = world
        .pool
        .stats()
        .iter()
        .map(|backend| backend.finished())
        .sum();
    assert_eq!(charged, 3);
    world.checks();
}
