//! Answers before the answer.

use crate::rig::{Announced, Http1, Http2, PAIRS, Plan, secs};

#[tokio::test(start_paused = true)]
async fn any_number_of_interim_answers_goes_to_the_client_in_order() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let call = world.client(client).await.get("/").await;
        let mut served = world.call().await;
        served
            .inform(103, &[("link", "</a.css>; rel=preload")])
            .await;
        served
            .inform(103, &[("link", "</b.css>; rel=preload")])
            .await;
        served.inform(102, &[]).await;
        served.answer(200, "page").await;
        let (answer, _client) = call.answer().await;
        let statuses: Vec<_> = answer.interim.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [103, 103, 102], "{client:?} {backend:?}");
        assert_eq!(
            answer.interim[1].1,
            [("link".to_owned(), "</b.css>; rel=preload".to_owned())]
        );
        assert_eq!(answer.text(), "page");
        assert_eq!(world.ended().await.code(), ("done", 200));
    }
}

#[tokio::test(start_paused = true)]
async fn an_interim_answer_does_not_wait_for_the_final_one() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let call = world.client(client).await.get("/").await;
        let mut served = world.call().await;
        served.inform(103, &[("link", "x")]).await;
        let raw = match call {
            crate::rig::Call::One { raw, .. } => Some(raw),
            crate::rig::Call::Two { mut response, .. } => {
                let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
                assert_eq!(interim.unwrap().unwrap().status(), 103);
                None
            }
        };
        if let Some(mut raw) = raw {
            assert_eq!(raw.head().await.status(), 103);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http_1_0_gets_no_interim_answer() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let mut served = world.call().await;
    served.inform(103, &[("link", "x")]).await;
    served.answer(200, "page").await;
    let message = raw.message().await;
    assert_eq!(
        (message.head.status(), &message.body[..]),
        (200, &b"page"[..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_interim_answers_is_the_backends_fault() {
    let mut world = Plan::to(Http1)
        .retry(lb_l7::upstream::RetryPolicy::never())
        .build();
    let call = world.client(Http1).await.get("/").await;
    let mut served = world.call().await.into_raw();
    served
        .send("HTTP/1.1 102 Processing\r\n\r\n".repeat(33))
        .await;
    let (answer, _client) = call.answer().await;
    assert_eq!((answer.interim.len(), answer.status), (32, 502));
    assert_eq!(
        world.ended().await.code(),
        ("backend-malformed-in-response-head", 502)
    );
}

/// The body is held back until the backend has said that it wants it.
#[tokio::test(start_paused = true)]
async fn the_backend_decides_whether_a_body_is_sent() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let expect = [("expect", "100-continue")];
        let client = world.client(client).await;
        let mut call = client
            .begin("PUT", "/", &expect, Announced::Length(5))
            .await;
        let mut served = world.call().await;
        assert_eq!(served.field("expect"), Some("100-continue"));
        if let crate::rig::Call::One { raw, .. } = &mut call {
            raw.quiet().await;
        }
        served.inform(100, &[]).await;
        if let crate::rig::Call::One { raw, .. } = &mut call {
            assert_eq!(raw.head().await.line, "HTTP/1.1 100 Continue");
        }
        call.send(b"hello").await;
        call.end().await;
        assert_eq!(served.body().await.unwrap().0, b"hello");
        served.answer(200, "thanks").await;
        let (answer, _client) = call.answer().await;
        assert_eq!(answer.text(), "thanks");
        assert!(answer.interim.iter().all(|(status, _)| *status == 100));
        assert_eq!(world.ended().await.code(), ("done", 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_backend_gets_the_body_after_a_second_and_the_client_one_100() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    let mut served = world.call().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(raw.head().await.status(), 100);
    assert_eq!(begun.elapsed().as_secs(), 1);
    raw.send("hello").await;
    assert_eq!(served.body().await.unwrap().0, b"hello");
    // It says so after all: the client has heard it.
    served.inform(100, &[]).await;
    served.answer(200, "").await;
    assert_eq!(raw.head().await.status(), 200);
    assert_eq!(world.ended().await.code(), ("done", 200));
}

#[tokio::test(start_paused = true)]
async fn a_final_answer_before_100_is_sent_and_the_body_is_no_next_request() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 34\r\n\r\n")
        .await;
    let served = world.call().await;
    served.answer(401, "who are you").await;
    let message = raw.message().await;
    assert_eq!(
        (message.head.status(), &message.body[..]),
        (401, &b"who are you"[..])
    );
    assert_eq!(message.head.field("connection"), Some("close"));
    raw.try_send("GET /evil HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.rest_text().await, "");
    let ended = world.ended().await;
    assert_eq!(ended.code(), ("backend-answered-in-response-body", 401));
    assert_eq!(world.connections(), (0, 0), "its request was never ended");
}

#[tokio::test(start_paused = true)]
async fn who_answers_without_having_wanted_the_body_gets_no_further_request() {
    for (wants, kept) in [(false, 0), (true, 1)] {
        let mut world = Plan::to(Http1).build();
        let mut raw = world.raw();
        raw.send(
            "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nGET /",
        )
        .await;
        let mut served = world.call().await;
        // Whether it has read this as a body nobody can tell.
        assert_eq!(served.body().await.unwrap().0, b"GET /");
        if wants {
            served.inform(103, &[]).await;
            served.inform(100, &[]).await;
        } else {
            served.inform(103, &[]).await;
        }
        served.answer(417, "").await;
        assert_eq!(world.ended().await.code(), ("done", 417));
        assert_eq!(world.connections(), (kept, kept), "{wants}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_wait_for_100_is_not_made_to() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    let begun = tokio::time::Instant::now();
    let mut served = world.call().await;
    assert_eq!(served.body().await.unwrap().0, b"hello");
    assert_eq!(begun.elapsed().as_millis(), 0);
    served.answer(200, "").await;
    assert_eq!(raw.message().await.head.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_100_that_nobody_asked_for_is_kept_from_the_client() {
    for client in [Http1, Http2] {
        let mut world = Plan::to(Http1).build();
        let call = world.client(client).await.get("/").await;
        let mut served = world.call().await;
        served.inform(100, &[]).await;
        served.answer(200, "").await;
        let (answer, _client) = call.answer().await;
        assert!(answer.interim.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_expectation_of_http_1_0_goes_nowhere() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    let mut served = world.call().await;
    assert_eq!(served.field("expect"), None);
    assert_eq!(served.body().await.unwrap().0, b"hello");
    served.answer(200, "").await;
    assert_eq!(raw.message().await.head.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_second_try_asks_for_no_second_100() {
    let mut world = Plan::to(Http1).backends(2).build();
    let mut raw = world.raw();
    raw.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    let mut first = world.call().await;
    first.inform(100, &[]).await;
    assert_eq!(raw.head().await.status(), 100);
    raw.send("hel").await;
    assert_eq!(first.some().await, b"hel");
    first.abort();
    let mut second = world.call().await;
    second.inform(100, &[]).await;
    raw.send("lo").await;
    assert_eq!(second.body().await.unwrap().0, b"hello");
    second.answer(200, "ok").await;
    assert_eq!(raw.head().await.status(), 200);
    let ended = world.ended().await;
    assert_eq!((ended.code(), ended.tries), (("done", 200), 2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_body_is_held_back_is_noticed() {
    let mut world = Plan::to(Http1)
        .timeouts(|t| t.expect_continue = secs(3600))
        .build();
    let mut raw = world.raw();
    raw.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    let mut served = world.call().await;
    drop(raw);
    served.gone().await;
    assert_eq!(world.ended().await.how, "client-closed-in-request-body");
}
