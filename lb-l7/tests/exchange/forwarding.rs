//! What goes on to the other side, and what does not.

use bytes::Bytes;
use http::{Response, StatusCode, request};
use lb_l7::{Decision, Filter, Peer};

use crate::rig::{Announced, Http1, Http2, PAIRS, Plan};

#[tokio::test(start_paused = true)]
async fn a_request_and_its_answer_go_through_whole_whatever_both_sides_speak() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let call = world.client(client).await.post("/a?b=c", "hello").await;
        let mut served = world.call().await;
        assert_eq!((&*served.method, &*served.path), ("POST", "/a?b=c"));
        assert_eq!(served.field("host"), Some("example.com"));
        assert_eq!(served.field("content-length"), Some("5"));
        assert_eq!(served.body().await.unwrap().0, b"hello");
        served.answer(201, "there").await;

        let (answer, _client) = call.answer().await;
        assert_eq!((answer.status, answer.text()), (201, "there"));
        assert_eq!(answer.field("content-length"), Some("5"));
        let ended = world.ended().await;
        assert_eq!(ended.code(), ("done", 201), "{client:?} {backend:?}");
        assert_eq!((ended.body_in, ended.body_out, ended.tries), (5, 5, 1));
        assert_eq!((&*ended.method, &*ended.path), ("POST", "/a?b=c"));
        let is_http2 = ended.spoken == Some(http::Version::HTTP_2);
        assert_eq!(is_http2, backend == Http2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unknown_length_stays_one_and_its_trailers_go_through_both_ways() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let client = world.client(client).await;
        let fields = [("te", "trailers"), ("content-type", "application/grpc")];
        let fields = match &client {
            crate::rig::Client::One(_) => {
                vec![fields[0], fields[1], ("connection", "te")]
            }
            crate::rig::Client::Two(_) => fields.to_vec(),
        };
        let mut call = client
            .begin("POST", "/svc/Method", &fields, Announced::Streamed)
            .await;
        call.send(b"one").await;
        let mut served = world.call().await;
        assert_eq!(served.field("te"), Some("trailers"));
        assert_eq!(served.field("content-length"), None);
        call.send(b"two").await;
        call.end_with(&[("x-sum", "7"), ("content-length", "3"), ("host", "evil")])
            .await;
        let (body, trailers) = served.body().await.unwrap();
        assert_eq!(body, b"onetwo");
        assert_eq!(trailers, [("x-sum".to_owned(), "7".to_owned())]);

        served
            .head(200, &[("content-type", "application/grpc")])
            .await;
        assert!(served.send(b"three").await);
        served
            .end(&[("grpc-status", "0"), ("content-length", "5")])
            .await;
        let (answer, _client) = call.answer().await;
        assert!(answer.is_whole);
        assert_eq!(answer.text(), "three");
        assert_eq!(
            answer.trailers,
            [("grpc-status".to_owned(), "0".to_owned())]
        );
        assert_eq!(world.ended().await.code(), ("done", 200));
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_errors_of_trailers_alone_reach_the_client() {
    let mut world = Plan::to(Http2).build();
    let client = world.client(Http2).await;
    let call = client
        .begin(
            "POST",
            "/svc/Method",
            &[("te", "trailers")],
            Announced::Nothing,
        )
        .await;
    let mut served = world.call().await;
    served
        .head_alone(
            200,
            &[("content-type", "application/grpc"), ("grpc-status", "12")],
        )
        .await;
    let (answer, _client) = call.answer().await;
    assert_eq!(answer.field("grpc-status"), Some("12"));
    assert!(answer.is_whole && answer.body.is_empty());
    assert_eq!(world.ended().await.code(), ("done", 200));
}

#[tokio::test(start_paused = true)]
async fn trailers_go_only_to_a_client_of_http1_that_said_it_takes_them() {
    let mut world = Plan::to(Http1).build();
    let call = world.client(Http1).await.get("/").await;
    let mut served = world.call().await;
    served.head(200, &[]).await;
    served.send(b"x").await;
    served.end(&[("x-sum", "1")]).await;
    let (answer, _client) = call.answer().await;
    assert_eq!((answer.text(), answer.trailers.len()), ("x", 0));
    assert!(answer.is_whole);
}

#[tokio::test(start_paused = true)]
async fn what_connection_names_in_any_line_is_taken_off_but_no_protected_name() {
    for backend in [Http1, Http2] {
        let mut world = Plan::to(backend).build();
        let mut raw = world.raw();
        raw.send(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-One\r\nX-One: 1\r\n\
             connection: x-two , cookie\r\nConnection: x-three,host,x-forwarded-for\r\n\
             X-Two: 2\r\nX-Three: 3\r\nX-Four: 4\r\nCookie: c=d\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: foo\r\nAuthorization: z\r\n\r\n",
        )
        .await;
        let served = world.call().await;
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
            "transfer-encoding",
            "x-one",
            "x-two",
            "x-three",
        ] {
            assert_eq!(served.field(name), None, "{backend:?}");
        }
        assert_eq!(served.field("x-four"), Some("4"));
        assert_eq!(served.field("cookie"), Some("c=d"));
        assert_eq!(served.field("host"), Some("a"));
        assert_eq!(served.field("authorization"), Some("z"));
        served.answer(200, "").await;
        assert_eq!(raw.message().await.head.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_says_of_its_connection_stays_there() {
    for client in [Http1, Http2] {
        let mut world = Plan::to(Http1).build();
        let call = world.client(client).await.get("/").await;
        let mut backend = world.call().await.into_raw();
        backend
            .send(
                "HTTP/1.1 200 OK\r\nConnection: x-one\r\nConnection: close, set-cookie\r\n\
                 X-One: 1\r\nX-Two: 2\r\nSet-Cookie: a=b\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: close\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
            )
            .await;
        let (answer, _client) = call.answer().await;
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "upgrade",
            "x-one",
        ] {
            assert_eq!(answer.field(name), None, "{client:?}");
        }
        assert_eq!(answer.field("x-two"), Some("2"));
        assert_eq!(answer.field("set-cookie"), Some("a=b"));
        assert_eq!(answer.text(), "hi");
        assert_eq!(world.ended().await.code(), ("done", 200));
        assert_eq!(world.connections(), (0, 0), "it said close");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_connection_options_is_refused() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    let options = "x,".repeat(65);
    raw.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.message().await.head.status(), 400);
    raw.ends_within(crate::rig::secs(1)).await;
    world.no_call().await;
    assert_eq!(
        world.ended().await.code(),
        ("client-malformed-in-request-head", 400)
    );
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_head_has_no_body_and_keeps_the_length_that_get_would_have() {
    for (client, backend) in PAIRS {
        let mut world = Plan::to(backend).build();
        let client = world.client(client).await;
        let call = client.begin("HEAD", "/", &[], Announced::Nothing).await;
        let mut served = world.call().await;
        served.head_alone(200, &[("content-length", "1234")]).await;
        served.next();
        let (answer, client) = call.answer().await;
        assert_eq!(answer.field("content-length"), Some("1234"), "{backend:?}");
        assert!(answer.is_whole && answer.body.is_empty());

        let call = client.get("/next").await;
        world.call().await.answer(200, "next").await;
        assert_eq!(call.answer().await.0.text(), "next");
        world.settle().await;
        world.checks();
    }
}

#[tokio::test(start_paused = true)]
async fn a_204_and_a_304_have_no_body_whatever_their_length_says() {
    for (client, backend) in PAIRS {
        for (status, length) in [(204, None), (304, Some("1234"))] {
            let mut world = Plan::to(backend).build();
            let call = world.client(client).await.get("/").await;
            let mut served = world.call().await;
            let fields: Vec<_> = length
                .map(|length| ("content-length", length))
                .into_iter()
                .collect();
            served.head_alone(status, &fields).await;
            served.next();
            let (answer, client) = call.answer().await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.field("content-length"), length, "{backend:?}");
            assert_eq!(answer.field("transfer-encoding"), None);
            assert!(answer.is_whole && answer.body.is_empty());
            let call = client.get("/next").await;
            world.call().await.answer(200, "next").await;
            assert_eq!(call.answer().await.0.text(), "next");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_a_204_do_not_answer_the_next_request() {
    let mut world = Plan::to(Http1).build();
    let call = world.client(Http1).await.get("/").await;
    let mut backend = world.call().await.into_raw();
    backend
        .send("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    let (answer, client) = call.answer().await;
    assert_eq!((answer.status, answer.field("content-length")), (204, None));
    let call = client.get("/next").await;
    let next = world.call().await;
    assert_eq!(next.connection, 1);
    next.answer(200, "next").await;
    assert_eq!(call.answer().await.0.text(), "next");
}

#[tokio::test(start_paused = true)]
async fn content_that_a_204_cannot_have_is_no_next_response() {
    for status in [204, 304] {
        let mut world = Plan::to(Http2).build();
        let mut raw = world.raw();
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        raw.send([request, request].concat()).await;
        let mut served = world.call().await;
        served.head(status, &[]).await;
        let forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
        served.send(forged).await;
        let rest = raw.rest_text().await;
        assert!(rest.starts_with(&format!("HTTP/1.1 {status} ")), "{rest}");
        assert!(
            rest.ends_with("\r\n\r\n") && !rest.contains("forged"),
            "{rest}"
        );
        let code = world.ended().await.code();
        assert_eq!(code, ("backend-malformed-in-response-body", status));
    }
}

/// Answers 204 with content, which that cannot have.
#[derive(Debug)]
struct Wordy;

impl Filter for Wordy {
    fn on_request(&self, _: &mut request::Parts, _: &Peer) -> Decision {
        let mut response = Response::new(Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"));
        *response.status_mut() = StatusCode::NO_CONTENT;
        Decision::Respond(Box::new(response))
    }
}

#[tokio::test(start_paused = true)]
async fn content_that_a_filter_gives_a_204_is_no_next_response() {
    for speaks in [Http1, Http2] {
        let world = Plan::to(Http1)
            .settings(|settings| settings.filter(Wordy))
            .build();
        let call = world.client(speaks).await.get("/").await;
        let (answer, client) = call.answer().await;
        assert_eq!((answer.status, answer.text()), (204, ""));
        let (next, _) = client.get("/").await.answer().await;
        assert_eq!((next.status, next.text()), (204, ""));
    }
}

#[tokio::test(start_paused = true)]
async fn chunks_of_a_client_reach_the_backend_framed_anew_without_extensions() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         003;a=b\r\nabc\r\n0000002\r\nde\r\n0\r\n\r\n",
    )
    .await;
    let mut backend = world.accept().await;
    let head = backend.head().await;
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    assert_eq!(
        backend.until("0\r\n\r\n").await,
        "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    );
    backend.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_absolute_target_and_an_ip_of_six_reach_the_backend_in_normal_form() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    raw.send("GET http://[::1]:81/a?b HTTP/1.1\r\nHost: [::1]:81\r\nAccept: x\r\n\r\n")
        .await;
    let mut backend = world.accept().await;
    let head = backend.head().await;
    assert_eq!(head.line, "GET /a?b HTTP/1.1");
    assert_eq!(head.field("host"), Some("[::1]:81"));
    assert_eq!(head.field("x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(head.field("accept"), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn connect_is_not_done_whatever_the_client_speaks() {
    let mut world = Plan::to(Http1).build();
    let mut raw = world.raw();
    let connect = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    // What was sent ahead for a tunnel is no request.
    raw.send(format!(
        "{connect}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    ))
    .await;
    let head = raw.message().await.head;
    assert_eq!(head.status(), 501);
    assert_eq!(head.field("connection"), Some("close"));

    let crate::rig::Client::Two(send) = world.client(Http2).await else {
        unreachable!()
    };
    let request = http::Request::connect("a:443").body(()).unwrap();
    let (response, _stream) = send
        .ready()
        .await
        .unwrap()
        .send_request(request, false)
        .unwrap();
    assert_eq!(response.await.unwrap().status(), 501);
    world.no_call().await;
    world.settle().await;
    for ended in world.told.all() {
        assert_eq!(ended.code(), ("client-unsupported-in-request-head", 501));
    }
    world.checks();
}
