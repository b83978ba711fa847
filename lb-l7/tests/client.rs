//! The caller's own requests, to real servers on loopback.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod support;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use lb_l7::probe::{self, HttpProbe};
use lb_l7::report::{Party, Phase, Why};
use lb_l7::upstream::{BackendProtocol, RetryOn, RetryPolicy, UpstreamConfig};
use lb_l7::{Client, Target, Timeouts, Upstream};
use lbcore::health::OutlierConfig;
use lbcore::pool::PoolConfig;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, BackendId, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower_service::Service;

use support::{Body, Speak, answer, data, echo, fed, nobody, run, serve, text, trailer};

const BOTH: [Speak; 2] = [Speak::Http1, Speak::Http2];

fn pool(addresses: &[SocketAddr]) -> Pool<RoundRobin> {
    let pool = Pool::new(RoundRobin);
    addresses
        .iter()
        .zip('a'..)
        .fold(pool, |pool, (address, name)| {
            pool.backend(Backend::new(&name.to_string(), (*address).into()))
        })
}

fn upstream(speak: Speak, addresses: &[SocketAddr]) -> Upstream {
    let protocol = match speak {
        Speak::Http1 => BackendProtocol::Http1,
        Speak::Http2 => BackendProtocol::Http2,
    };
    let config = UpstreamConfig::default().protocol(protocol);
    Upstream::new(pool(addresses)).config(config).unwrap()
}

fn client(target: impl Into<Target>) -> Client {
    Client::new(target).authority("svc.internal".parse().unwrap())
}

fn get(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).body(Empty::new()).unwrap()
}

fn post(body: Body) -> Request<Body> {
    Request::post("/").body(body).unwrap()
}

async fn read(response: Response<lb_l7::service::ProxyBody>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Tells what came of the request.
async fn mirror(request: Request<hyper::body::Incoming>) -> Response<Body> {
    let fields = request.headers();
    let host = request.uri().authority().map(ToString::to_string);
    let host = host.or_else(|| Some(fields.get(header::HOST)?.to_str().unwrap().to_owned()));
    let target = request.uri().path_and_query().unwrap();
    let names: Vec<_> = fields.keys().map(|name| name.as_str()).collect();
    let method = request.method();
    let told = format!("{method} {target} {} {}", host.unwrap(), names.join(","));
    Response::new(text(told))
}

#[test]
fn a_request_goes_out_as_it_was_written_and_names_its_backend() {
    run(async {
        for (speak, named) in [(Speak::Http1, "host,"), (Speak::Http2, "")] {
            let server = serve(speak, mirror).await;
            let client = client(upstream(speak, &[server.address]));
            let target = "http://other.example:81/a/../%2e/b//c?x=%zz";
            let mut request = get(target);
            for name in ["x-forwarded-for", "forwarded", "via", "x-real-ip", "x-mine"] {
                request
                    .headers_mut()
                    .insert(name, "1.2.3.4".parse().unwrap());
            }
            request
                .headers_mut()
                .insert("connection", "x-gone".parse().unwrap());
            request.headers_mut().insert("x-gone", "1".parse().unwrap());
            let response = client.send(request).await.unwrap();
            let backend = response.extensions().get::<BackendId>();
            assert_eq!(backend, Some(&BackendId::of_name("a")));
            assert_eq!(
                response.headers()[header::CONTENT_LENGTH],
                response_length(&response)
            );
            let told = read(response).await;
            let told = std::str::from_utf8(&told).unwrap();
            let fields = format!("{named}x-forwarded-for,forwarded,via,x-real-ip,x-mine");
            let wanted = format!("GET /a/../%2e/b//c?x=%zz other.example:81 {fields}");
            assert_eq!(told, wanted);
        }
    });
}

fn response_length(response: &Response<lb_l7::service::ProxyBody>) -> String {
    use http_body::Body as _;
    response.body().size_hint().exact().unwrap().to_string()
}

#[test]
fn the_host_is_the_fields_or_the_uris_or_the_clients() {
    run(async {
        let server = serve(Speak::Http1, mirror).await;
        let own = client(pool(&[server.address]));
        let host = |told: Bytes| {
            let told = std::str::from_utf8(&told).unwrap().to_owned();
            told.split(' ').nth(2).unwrap().to_owned()
        };
        let mut both = get("http://uri.example/");
        both.headers_mut()
            .insert(header::HOST, "field.example".parse().unwrap());
        let uri = get("http://uri.example");
        for (request, wanted) in [
            (both, "field.example"),
            (uri, "uri.example"),
            (get("/"), "svc.internal"),
        ] {
            assert_eq!(host(read(own.send(request).await.unwrap()).await), wanted);
        }
        let nameless = Client::new(pool(&[server.address]));
        let error = nameless.send(get("/")).await.unwrap_err();
        assert!(error.is_request());
        assert_eq!(error.detail(), Some("no-host"));
        assert_eq!(
            error.to_string(),
            "no answer: client-malformed-in-request-head (no-host)"
        );
    });
}

#[test]
fn what_is_no_request_is_not_sent() {
    run(async {
        let server = serve(Speak::Http1, mirror).await;
        let client = client(pool(&[server.address]));
        let mut two = get("/");
        two.headers_mut().append(header::HOST, "a".parse().unwrap());
        two.headers_mut().append(header::HOST, "b".parse().unwrap());
        let mut odd = get("/");
        odd.headers_mut()
            .insert(header::HOST, "a b".parse().unwrap());
        let userinfo = get("http://user:pass@a.example/");
        let mut tunnel = get("a.example:443");
        *tunnel.method_mut() = Method::CONNECT;
        let mut upgrade = get("/");
        upgrade
            .headers_mut()
            .insert(header::UPGRADE, "websocket".parse().unwrap());
        for request in [two, odd, userinfo, tunnel, upgrade] {
            let told = format!("{request:?}");
            let error = client.send(request).await.unwrap_err();
            assert!(error.is_request(), "{told}: {error}");
        }
        let (_feed, body) = fed();
        let mut wrong = post(body);
        wrong
            .headers_mut()
            .insert(header::CONTENT_LENGTH, "+1".parse().unwrap());
        assert!(client.send(wrong).await.unwrap_err().is_request());
        assert_eq!(server.accepted(), 0);
    });
}

#[test]
fn bodies_stream_both_ways_at_once_with_trailers() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, echo).await;
            let client = client(upstream(speak, &[server.address]));
            let (feed, body) = fed();
            let mut request = post(body);
            request
                .headers_mut()
                .insert(header::TE, "trailers".parse().unwrap());
            let sending = client.send(request);
            feed.send(data("one")).await.unwrap();
            let response = sending.await.unwrap();
            let mut body = response.into_body();
            for piece in ["one", "two", "three"] {
                // It is there before the next one is sent: nothing waits for the end.
                let frame = body.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), piece);
                let next = match piece {
                    "one" => data("two"),
                    "two" => data("three"),
                    _ => trailer("x-sum", "11"),
                };
                feed.send(next).await.unwrap();
            }
            drop(feed);
            // hyper sends trailers over HTTP/1 only where they were announced.
            if speak == Speak::Http2 {
                let last = body.frame().await.unwrap().unwrap();
                assert_eq!(last.into_trailers().unwrap()["x-sum"], "11");
            }
            assert!(body.frame().await.is_none());
        }
    });
}

#[test]
fn a_large_body_comes_back_whole() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, echo).await;
            let client = client(upstream(speak, &[server.address]));
            let large = Bytes::from(vec![7; 8 << 20]);
            let response = client.send(post(text(large.clone()))).await.unwrap();
            assert!(read(response).await == large);
        }
    });
}

#[test]
fn an_answer_to_head_has_a_length_and_no_body() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, |_| async {
                let mut response = answer(200, "");
                let length = "5".parse().unwrap();
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length);
                response
            });
            let client = client(upstream(speak, &[server.await.address]));
            let mut request = get("/");
            *request.method_mut() = Method::HEAD;
            let response = client.send(request).await.unwrap();
            assert_eq!(response_length(&response), "0");
            assert_eq!(response.headers()[header::CONTENT_LENGTH], "5");
            assert!(read(response).await.is_empty());
        }
    });
}

#[test]
fn requests_of_many_tasks_share_connections() {
    run(async {
        let server = serve(Speak::Http2, echo).await;
        let client = client(upstream(Speak::Http2, &[server.address]));
        let tasks = (0..64).map(|n: u32| {
            let client = client.clone();
            tokio::spawn(async move {
                let said = n.to_string();
                let response = client.send(post(text(said.clone()))).await.unwrap();
                assert_eq!(read(response).await, said);
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!(server.accepted() < 64, "{}", server.accepted());
        assert_eq!(client.stats().read().recorded(), 64);
    });
}

#[test]
fn one_connection_serves_request_after_request() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = serve(Speak::Http1, echo).await;
        let mut client = client(pool(&[server.address]));
        for n in 0..10_u32 {
            let said = n.to_string();
            let response = client.call(post(text(said.clone()))).await.unwrap();
            assert_eq!(read(response).await, said);
        }
        // One that is read by its length alone ends with its last byte.
        for _ in 0..3 {
            let response = client.send(post(text("abc"))).await.unwrap();
            let mut body = response.into_body();
            body.frame().await.unwrap().unwrap();
        }
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn idle_connections_are_closed_without_further_requests() {
    run(async {
        let server = serve(Speak::Http1, echo).await;
        let config = UpstreamConfig::default().idle_time(Duration::from_millis(1));
        let upstream = Upstream::new(pool(&[server.address]))
            .config(config)
            .unwrap();
        let client = client(upstream);
        read(client.send(post(text("a"))).await.unwrap()).await;
        server.ended(1).await;
        // And again, with a sweep of its own.
        read(client.send(post(text("b"))).await.unwrap()).await;
        server.ended(2).await;
        assert_eq!(server.accepted(), 2);
    });
}

#[test]
fn a_connection_whose_only_exchange_was_given_up_is_closed_too() {
    run(async {
        let server = serve(Speak::Http2, |_| std::future::pending()).await;
        let config = UpstreamConfig::default()
            .protocol(BackendProtocol::Http2)
            .idle_time(Duration::from_millis(1));
        let upstream = Upstream::new(pool(&[server.address])).config(config);
        let client = client(upstream.unwrap());
        let sending = client.send(get("/"));
        let given_up = tokio::time::timeout(Duration::from_millis(50), sending).await;
        assert!(given_up.is_err());
        server.ended(1).await;
    });
}

#[test]
fn the_connections_of_a_client_that_is_gone_are_closed() {
    run(async {
        let server = serve(Speak::Http1, echo).await;
        let client = client(pool(&[server.address]));
        read(client.send(post(text("a"))).await.unwrap()).await;
        drop(client);
        server.ended(1).await;
    });
}

#[test]
fn a_backend_that_is_not_there_is_passed_over() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, echo).await;
            let client = client(upstream(speak, &[nobody().await, server.address]));
            for _ in 0..4 {
                let response = client.send(post(text("a"))).await.unwrap();
                let backend = response.extensions().get::<BackendId>();
                assert_eq!(backend, Some(&BackendId::of_name("b")));
                assert_eq!(read(response).await, "a");
            }
        }
    });
}

/// A server that reads a request and hangs up; how many it has read.
async fn rude() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, read)
}

#[test]
fn only_what_is_idempotent_is_sent_again() {
    run(async {
        let (address, seen) = rude().await;
        let policy = RetryPolicy::default().tries(3);
        let target = Target::from(upstream(Speak::Http1, &[address; 3])).retry(policy);
        let client = client(target);
        let error = client.send(post(text("a"))).await.unwrap_err();
        assert_eq!(seen.load(Ordering::SeqCst), 1, "{error}");
        let ended = error.termination();
        assert_eq!(
            (ended.party(), ended.phase()),
            (Party::Backend, Phase::ResponseHead)
        );
        assert!(!error.is_timeout() && !error.is_connect() && !error.is_request());
        let error = client.send(get("/")).await.unwrap_err();
        assert_eq!(seen.load(Ordering::SeqCst), 4, "{error}");
    });
}

#[test]
fn a_status_is_tried_again_where_the_policy_says_so() {
    run(async {
        let bad = serve(Speak::Http1, |_| async { answer(503, "no") }).await;
        let good = serve(Speak::Http1, echo).await;
        let policy = RetryPolicy::default().on(RetryOn::DEFAULT.with(RetryOn::STATUS_503));
        let both = upstream(Speak::Http1, &[bad.address, good.address]);
        let client = client(Target::from(both).retry(policy));
        for _ in 0..2 {
            let mut request = post(text("a"));
            *request.method_mut() = Method::PUT;
            let response = client.send(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(read(response).await, "a", "the body is sent again");
        }
        assert!(bad.accepted() >= 1);
    });
}

#[test]
fn a_backend_that_answers_500_is_ejected() {
    run(async {
        let bad = serve(Speak::Http1, |_| async { answer(500, "no") }).await;
        let good = serve(Speak::Http1, |_| async { answer(200, "yes") }).await;
        let outlier = OutlierConfig::default().consecutive_failures(5);
        let outlier = outlier.interval(Duration::from_millis(10));
        let pool =
            pool(&[bad.address, good.address]).config(PoolConfig::default().outlier(outlier));
        let pool = pool.unwrap();
        let probe = HttpProbe::get("/".parse().unwrap());
        tokio::spawn(probe::run_until(
            pool.clone(),
            probe,
            std::future::pending::<()>(),
        ));
        let client = client(pool.clone());
        let status = async || {
            let response = client.send(get("/")).await.unwrap();
            let status = response.status().as_u16();
            read(response).await;
            status
        };
        let is_ejected = |name| {
            let view = pool.view();
            view.backend(BackendId::of_name(name))
                .unwrap()
                .ejected_until
                .is_some()
        };
        let mut failed = 0;
        while !is_ejected("a") {
            failed += usize::from(status().await == 500);
        }
        assert!(failed >= 5 && !is_ejected("b"));
        for _ in 0..20 {
            assert_eq!(status().await, 200);
        }
    });
}

#[test]
fn what_goes_wrong_is_told_apart() {
    run(async {
        let nothing = client(pool(&[]));
        let error = nothing.send(get("/")).await.unwrap_err();
        assert!(error.is_no_backend() && !error.is_overloaded() && !error.is_connect());

        let refused = client(pool(&[nobody().await]));
        let error = refused.send(get("/")).await.unwrap_err();
        assert!(error.is_connect() && !error.is_timeout() && !error.is_no_backend());
        assert_eq!(error.detail(), Some("connect-refused"));

        let silent = serve(Speak::Http1, |_| std::future::pending()).await;
        let mut timeouts = Timeouts::default();
        timeouts.first_byte = Duration::from_millis(20);
        let late = Target::from(pool(&[silent.address])).timeouts(timeouts);
        let error = client(late).send(get("/")).await.unwrap_err();
        assert!(error.is_timeout() && !error.is_connect() && !error.is_body());

        let policy = RetryPolicy::default().per_try_timeout(Duration::from_millis(20));
        let late = Target::from(pool(&[silent.address])).retry(policy);
        assert!(client(late).send(get("/")).await.unwrap_err().is_timeout());

        let config = UpstreamConfig::default().connections(1).pending(0);
        let full = Upstream::new(pool(&[silent.address]))
            .config(config)
            .unwrap();
        let full = client(full);
        let (asked, waiting) = (full.send(get("/")), full.send(get("/")));
        let asked = tokio::spawn(asked);
        while silent.accepted() < 3 {
            tokio::task::yield_now().await;
        }
        let error = waiting.await.unwrap_err();
        assert!(error.is_overloaded() && !error.is_timeout(), "{error}");
        asked.abort();
    });
}

#[test]
fn a_body_of_the_callers_that_fails_is_told_with_its_error() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, echo).await;
            let client = client(upstream(speak, &[server.address]));
            let (feed, body) = fed();
            feed.send(Err("the disk is gone".into())).await.unwrap();
            let error = client.send(post(body)).await.unwrap_err();
            assert!(error.is_body() && !error.is_request(), "{error}");
            assert_eq!(error.source().unwrap().to_string(), "the disk is gone");
        }
    });
}

#[test]
fn a_response_that_breaks_off_is_an_error_of_its_body() {
    run(async {
        for speak in BOTH {
            // A stream that is reset takes with it what has not been read.
            let half_is_read = Arc::new(tokio::sync::Notify::new());
            let read = Arc::clone(&half_is_read);
            let server = serve(speak, move |_| {
                let read = Arc::clone(&read);
                async move {
                    let (feed, body) = fed();
                    tokio::spawn(async move {
                        feed.send(data("half")).await.unwrap();
                        read.notified().await;
                        feed.send(Err("gone".into())).await.unwrap();
                    });
                    Response::new(body)
                }
            });
            let client = client(upstream(speak, &[server.await.address]));
            let mut body = client.send(get("/")).await.unwrap().into_body();
            assert_eq!(
                body.frame().await.unwrap().unwrap().into_data().unwrap(),
                "half"
            );
            half_is_read.notify_one();
            let error = body.frame().await.unwrap().unwrap_err();
            let ended = error.termination();
            assert_eq!(
                (ended.party(), ended.phase()),
                (Party::Backend, Phase::ResponseBody)
            );
            assert!(!error.is_timeout() && error.detail().is_some());
            assert!(body.frame().await.is_none(), "it is told once");
        }
    });
}

#[test]
fn a_silent_backend_ends_the_body_by_timeout() {
    run(async {
        let (feed, body) = fed();
        let body = std::sync::Mutex::new(Some(body));
        let body = Arc::new(body);
        let server = serve(Speak::Http1, move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async { Response::new(body) }
        });
        let mut timeouts = Timeouts::default();
        timeouts.between_bytes = Duration::from_millis(20);
        let target = Target::from(pool(&[server.await.address])).timeouts(timeouts);
        feed.send(data("half")).await.unwrap();
        let mut body = client(target).send(get("/")).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        assert!(body.frame().await.unwrap().unwrap_err().is_timeout());
    });
}

#[test]
fn whoever_drops_a_response_gives_the_exchange_up() {
    run(async {
        for speak in BOTH {
            let (gone, is_gone) = oneshot::channel();
            let gone = Arc::new(std::sync::Mutex::new(Some(gone)));
            let server = serve(speak, move |_| {
                let (feed, body) = fed();
                let gone = gone.lock().unwrap().take();
                tokio::spawn(async move {
                    while feed.send(data("more")).await.is_ok() {}
                    gone.unwrap().send(()).unwrap();
                });
                async { Response::new(body) }
            });
            let client = client(upstream(speak, &[server.await.address]));
            let mut body = client.send(get("/")).await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
            drop(body);
            is_gone.await.unwrap();
            let figures = client.stats().read();
            assert_eq!((figures.in_flight(), figures.recorded()), (0, 1));
        }
    });
}

#[test]
fn whoever_drops_a_request_gives_the_exchange_up() {
    run(async {
        let server = serve(Speak::Http1, |_| std::future::pending()).await;
        let client = client(pool(&[server.address]));
        let sending = tokio::spawn(client.send(get("/")));
        while server.accepted() < 1 {
            tokio::task::yield_now().await;
        }
        sending.abort();
        server.ended(1).await;
        assert_eq!(client.stats().read().in_flight(), 0);
    });
}

#[test]
fn a_slow_reader_slows_the_backend_down() {
    run(async {
        for speak in BOTH {
            let sent = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&sent);
            let server = serve(speak, move |_| {
                let (feed, body) = fed();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let piece = Bytes::from(vec![1; 64 << 10]);
                    for _ in 0..1024 {
                        feed.send(data(piece.clone())).await.unwrap();
                        counted.fetch_add(piece.len(), Ordering::SeqCst);
                    }
                });
                async { Response::new(body) }
            });
            let client = client(upstream(speak, &[server.await.address]));
            let mut body = client.send(get("/")).await.unwrap().into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            // Whatever the sockets hold, it is far from all.
            let all = async {
                while sent.load(Ordering::SeqCst) < 64 << 20 {
                    tokio::task::yield_now().await;
                }
            };
            let stalled = tokio::time::timeout(Duration::from_millis(300), all).await;
            assert!(stalled.is_err(), "{speak:?}");
            let rest = body.collect().await.unwrap().to_bytes();
            assert_eq!(first.len() + rest.len(), 64 << 20);
        }
    });
}

#[test]
fn the_backend_decides_whether_it_wants_the_body() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (feed, body) = fed();
        let mut request = post(body);
        request
            .headers_mut()
            .insert(header::EXPECT, "100-continue".parse().unwrap());
        let sending = tokio::spawn(client(pool(&[address])).send(request));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let read = stream.read(&mut head).await.unwrap();
        assert!(
            head[..read].ends_with(b"\r\n\r\n"),
            "no byte of the body has come"
        );
        stream
            .write_all(b"HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        let response = sending.await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::EXPECTATION_FAILED);
        drop((feed, response));
    });
}

#[test]
fn an_exchange_that_came_to_nothing_is_told_by_its_code() {
    run(async {
        let error = client(pool(&[])).send(get("/")).await.unwrap_err();
        assert_eq!(error.termination().why(), Why::NoBackend);
        assert!(error.source().is_none());
        assert!(
            error
                .to_string()
                .starts_with("no answer: proxy-no-backend-in-queue")
        );
    });
}
