//! One request after another.

use crate::rig::{Http1, Http2, PAIRS, Plan, Speaks, secs};

#[tokio::test(start_paused = true)]
async fn requests_of_one_client_reuse_one_connection_to_the_backend() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let mut client = world.client(client).await;
        for n in 0..20 {
            let call = client.post(&format!("/{n}"), "body").await;
            let mut served = world.call().await;
            assert_eq!((&*served.path, served.connection), (&*format!("/{n}"), 0));
            served.body().await.unwrap();
            served.answer(200, &n.to_string()).await;
            let (answer, next) = call.answer().await;
            assert_eq!(answer.text(), n.to_string());
            client = next;
            world.settle().await;
        }
        world.checks();
        let reused = world.told.all().iter().filter(|ended| ended.reused).count();
        assert_eq!(reused, 19);
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_their_order() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwo\
         HEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n\
         GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
         GET /6 HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    let bodies: [&[u8]; 5] = [b"", b"two", b"", b"four", b""];
    for (n, body) in bodies.into_iter().enumerate() {
        let mut served = world.call().await;
        assert_eq!(served.path, format!("/{}", n + 1));
        assert_eq!(served.body().await.unwrap().0, body);
        if served.method == "HEAD" {
            served.head_alone(200, &[("content-length", "9")]).await;
            served.next();
        } else {
            served.answer(200, &format!("answer {}", n + 1)).await;
        }
    }
    for n in [1, 2] {
        let message = raw.message().await;
        assert_eq!(message.body, format!("answer {n}").as_bytes());
        assert_eq!(message.head.field("connection"), None);
    }
    assert_eq!(raw.head().await.field("content-length"), Some("9"));
    assert_eq!(raw.message().await.body, b"answer 4");
    let last = raw.message().await;
    assert_eq!(last.head.field("connection"), Some("close"));
    assert_eq!(last.body, b"answer 5");
    assert_eq!(raw.rest_text().await, "");
    world.no_call().await;
    assert_eq!(world.told.all().len(), 5);
    world.checks();
}

#[tokio::test(start_paused = true)]
async fn http_1_0_stays_only_if_it_asks_to_and_is_told_so() {
    for (field, stays) in [("", false), ("Connection: keep-alive\r\n", true)] {
        let mut world = Plan::to(Http1).build();
        let mut raw = world.raw();
        let request = format!("GET / HTTP/1.0\r\nHost: a\r\n{field}\r\n");
        raw.send(&request).await;
        let served = world.call().await;
        assert_eq!(served.field("connection"), None);
        served.answer(200, "one").await;
        let message = raw.message().await;
        let told = if stays { "keep-alive" } else { "close" };
        assert_eq!(message.head.field("connection"), Some(told));
        if stays {
            raw.send(&request).await;
            world.call().await.answer(200, "two").await;
            assert_eq!(raw.message().await.body, b"two");
        } else {
            raw.ends_within(secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn http_1_0_gets_the_chunks_of_a_backend_without_their_framing() {
    for backend in [Http1, Http2] {
        let mut world = Plan::to(backend).build();
        let mut raw = world.raw();
        raw.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let mut served = world.call().await;
        served.head(200, &[]).await;
        served.send(b"one").await;
        served.send(b"two").await;
        served.end(&[("x-sum", "1")]).await;
        let head = raw.head().await;
        assert_eq!(head.field("transfer-encoding"), None);
        assert_eq!(head.field("content-length"), None);
        assert_eq!(head.field("connection"), Some("close"));
        assert_eq!(raw.rest_text().await, "onetwo");
        assert_eq!(world.ended().await.code(), ("done", 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_of_http_1_0_is_answered_from_and_not_used_again() {
    let mut world = Plan::to(Http1).build();
    let client = world.client(Http1).await;
    let call = client.get("/1").await;
    let mut backend = world.call().await.into_raw();
    backend
        .send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\none")
        .await;
    let (answer, client) = call.answer().await;
    assert_eq!(answer.text(), "one");
    let call = client.get("/2").await;
    let served = world.call().await;
    assert_eq!(served.connection, 1);
    served.answer(200, "two").await;
    assert_eq!(call.answer().await.0.text(), "two");
}

/// CVE-2025-4366 and its like: what is left in a connection answers nobody else.
#[tokio::test(start_paused = true)]
async fn a_connection_with_bytes_left_in_it_is_not_used_again() {
    for extra in ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "x"] {
        let mut world = Plan::to(Http1).build();
        let client = world.client(Http1).await;
        let call = client.get("/1").await;
        let mut backend = world.call().await.into_raw();
        backend
            .send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none{extra}"
            ))
            .await;
        let (answer, client) = call.answer().await;
        assert_eq!(answer.text(), "one");
        let call = client.get("/2").await;
        let served = world.call().await;
        assert_eq!(served.connection, 1);
        served.answer(200, "two").await;
        assert_eq!(call.answer().await.0.text(), "two");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_while_a_connection_idles_spoil_it() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut backend = world.accept().await;
    backend.head().await;
    backend
        .send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
        .await;
    assert_eq!(raw.message().await.body, b"one");
    world.settle().await;
    backend
        .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        .await;
    raw.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut other = world.accept().await;
    other.head().await;
    other
        .send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
        .await;
    assert_eq!(raw.message().await.body, b"two");
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_byte_by_byte_are_requests_all_the_same() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    let text = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let sender = tokio::spawn(async move {
        for byte in text.bytes() {
            raw.send([byte]).await;
            tokio::task::yield_now().await;
        }
        raw
    });
    let mut served = world.call().await;
    assert_eq!(served.body().await.unwrap().0, b"abc");
    served.answer(200, "one").await;
    world.call().await.answer(200, "two").await;
    let mut raw = sender.await.unwrap();
    assert_eq!(raw.message().await.body, b"one");
    assert_eq!(raw.message().await.body, b"two");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_streams_of_one_connection_are_served_side_by_side() {
    let both: [Speaks; 2] = [Http1, Http2];
    for backend in both {
        let mut world = Plan::to(backend).build();
        let crate::rig::Client::Two(mut send) = world.client(Http2).await else {
            unreachable!()
        };
        let mut responses = Vec::new();
        for n in 0..100 {
            let request = http::Request::get(format!("http://a/{n}"))
                .body(())
                .unwrap();
            responses.push(send.send_request(request, true).unwrap().0);
        }
        let mut served = Vec::new();
        for _ in 0..100 {
            served.push(world.call().await);
        }
        for served in served.into_iter().rev() {
            let path = served.path.clone();
            served.answer(200, &path).await;
        }
        for (n, response) in responses.into_iter().enumerate() {
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), format!("/{n}"));
        }
        world.settle().await;
        world.checks();
    }
}
