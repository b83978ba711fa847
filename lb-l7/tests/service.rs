//! The proxy as the service of a server of hyper's, between real servers on loopback.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_l7::upstream::{BackendProtocol, UpstreamConfig};
use lb_l7::{Filter, HttpProxy, Peer, ProxyService, Report, Settings, Upstream};
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Pool};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use support::{Body, BoxError, Speak, answer, data, echo, fed, nobody, run, serve, text, trailer};

const BOTH: [Speak; 2] = [Speak::Http1, Speak::Http2];

/// Tells how each exchange ended.
#[derive(Clone, Debug, Default)]
struct Ends(Arc<Mutex<Vec<String>>>);

impl Filter for Ends {
    fn on_report(&self, report: &Report<'_>) {
        let mut ends = self.0.lock().unwrap();
        ends.push(report.termination.as_str().to_owned());
    }
}

impl Ends {
    async fn next(&self) -> String {
        loop {
            if let Some(end) = self.0.lock().unwrap().pop() {
                return end;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn settings(speak: Speak, address: SocketAddr) -> Settings {
    let protocol = match speak {
        Speak::Http1 => BackendProtocol::Http1,
        Speak::Http2 => BackendProtocol::Http2,
    };
    let pool = Pool::new(RoundRobin).backend(Backend::new("a", address.into()));
    let config = UpstreamConfig::default().protocol(protocol).workers(1);
    Settings::to(Upstream::new(pool).config(config).unwrap()).unwrap()
}

fn service(speak: Speak, address: SocketAddr) -> (ProxyService, Ends) {
    let ends = Ends::default();
    let proxy = HttpProxy::new(settings(speak, address).filter(ends.clone()));
    let client = "192.0.2.7:4711".parse().unwrap();
    let local = "198.51.100.1:80".parse().unwrap();
    (proxy.service(Peer::new(client, local)), ends)
}

fn get(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).body(Empty::new()).unwrap()
}

async fn call<B>(service: &ProxyService, request: Request<B>) -> Response<lb_l7::service::ProxyBody>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    service.clone().call(request).await.unwrap()
}

async fn read<B>(response: Response<B>) -> Bytes
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Tells which fields came.
async fn fields(request: Request<Incoming>) -> Response<Body> {
    let fields = request.headers().iter();
    let lines = fields.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
    let target = request.uri().path_and_query().unwrap();
    Response::new(text(format!("{target}\n{}", lines.collect::<String>())))
}

#[test]
fn a_request_is_forwarded_as_by_the_proxy_itself() {
    run(async {
        let server = serve(Speak::Http1, fields).await;
        let (service, ends) = service(Speak::Http1, server.address);
        let mut request = get("http://site.example/a/./b?c");
        let own = request.headers_mut();
        own.insert("connection", "keep-alive, x-gone".parse().unwrap());
        own.insert("x-gone", "1".parse().unwrap());
        own.insert("x-forwarded-for", "1.2.3.4".parse().unwrap());
        let response = call(&service, request).await;
        assert_eq!(response.version(), Version::HTTP_11);
        assert!(!response.headers().contains_key(header::CONNECTION));
        let told = read(response).await;
        let told = std::str::from_utf8(&told).unwrap();
        assert!(told.starts_with("/a/b?c\nhost: site.example\n"), "{told}");
        assert!(told.contains("x-forwarded-for: 192.0.2.7\n"), "{told}");
        assert!(
            !told.contains("x-gone") && !told.contains("1.2.3.4"),
            "{told}"
        );
        assert_eq!(ends.next().await, "done");
    });
}

#[test]
fn a_peer_of_the_request_stands_for_that_of_the_service() {
    run(async {
        let server = serve(Speak::Http1, fields).await;
        let (service, _) = service(Speak::Http1, server.address);
        let mut request = get("http://site.example/");
        let client = "203.0.113.9:1".parse().unwrap();
        request.extensions_mut().insert(Peer::new(client, client));
        let told = read(call(&service, request).await).await;
        assert!(told.windows(11).any(|part| part == b"203.0.113.9"));
        let told = read(call(&service, get("http://site.example/")).await).await;
        assert!(told.windows(9).any(|part| part == b"192.0.2.7"));
    });
}

#[test]
fn what_is_no_request_is_refused() {
    run(async {
        let (service, _) = service(Speak::Http1, nobody().await);
        let mut two = get("/");
        two.headers_mut().append(header::HOST, "a".parse().unwrap());
        two.headers_mut().append(header::HOST, "a".parse().unwrap());
        let mut other = get("http://a/");
        other
            .headers_mut()
            .insert(header::HOST, "b".parse().unwrap());
        let mut odd = get("/");
        odd.headers_mut()
            .insert(header::HOST, "a b".parse().unwrap());
        for request in [get("/"), two, other, odd] {
            assert_eq!(
                call(&service, request).await.status(),
                StatusCode::BAD_REQUEST
            );
        }
        let mut tunnel = get("http://a/");
        *tunnel.method_mut() = Method::CONNECT;
        let mut upgrade = get("http://a/");
        upgrade
            .headers_mut()
            .insert(header::UPGRADE, "h2c, websocket".parse().unwrap());
        for request in [tunnel, upgrade] {
            let response = call(&service, request).await;
            assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
        }
        let mut harmless = get("http://a/");
        harmless
            .headers_mut()
            .insert(header::UPGRADE, "h2c".parse().unwrap());
        let response = call(&service, harmless).await;
        assert_eq!(
            response.status(),
            StatusCode::BAD_GATEWAY,
            "nobody listens there"
        );
        assert_eq!(
            response.headers()["x-lb-reason"],
            "backend-connect-failed-in-connect"
        );
        let text = read(response).await;
        assert_eq!(text, "502 Bad Gateway\n");
    });
}

#[test]
fn lengths_are_kept_and_the_end_is_known_with_the_last_byte() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, |_| async { answer(200, "hello") }).await;
            let (service, ends) = service(speak, server.address);
            let response = call(&service, get("http://a/")).await;
            assert_eq!(response.headers()[header::CONTENT_LENGTH], "5");
            let mut body = response.into_body();
            assert_eq!(body.size_hint().exact(), Some(5));
            assert!(!body.is_end_stream());
            assert_eq!(
                body.frame().await.unwrap().unwrap().into_data().unwrap(),
                "hello"
            );
            assert_eq!(body.size_hint().exact(), Some(0));
            assert!(body.is_end_stream() || speak == Speak::Http2);
            assert!(body.frame().await.is_none());
            assert!(body.is_end_stream());
            assert_eq!(ends.next().await, "done");

            let server = serve(speak, |_| async { answer(304, "") }).await;
            let (service, _) = self::service(speak, server.address);
            let response = call(&service, get("http://a/")).await;
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(response.body().size_hint().exact(), Some(0));
            assert!(read(response).await.is_empty());
        }
    });
}

#[test]
fn the_length_of_a_request_is_its_bodys() {
    run(async {
        let server = serve(Speak::Http1, |request: Request<Incoming>| async move {
            let length = request.headers().get(header::CONTENT_LENGTH).cloned();
            let coding = request.headers().contains_key(header::TRANSFER_ENCODING);
            let all = request.into_body().collect().await.unwrap().to_bytes();
            let told = format!("{length:?} {coding} {}", all.len());
            Response::new(text(told))
        });
        let (service, _) = service(Speak::Http1, server.await.address);
        let post = |body, length: Option<&str>| {
            let mut request = Request::post("http://a/").body(body).unwrap();
            if let Some(length) = length {
                let length = length.parse().unwrap();
                request.headers_mut().insert(header::CONTENT_LENGTH, length);
            }
            request
        };
        let told = async |request| read(call(&service, request).await).await;
        let known = told(post(text("abc"), Some("7"))).await;
        assert_eq!(
            known, "Some(\"3\") false 3",
            "what has changed the body has left the field"
        );
        let (feed, streamed) = fed();
        feed.send(data("abc")).await.unwrap();
        drop(feed);
        assert_eq!(told(post(streamed, None)).await, "None true 3");
        let (feed, declared) = fed();
        feed.send(data("abc")).await.unwrap();
        drop(feed);
        assert_eq!(told(post(declared, Some("3"))).await, "Some(\"3\") false 3");
        let (_feed, odd) = fed();
        let refused = call(&service, post(odd, Some("3x"))).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    });
}

/// A server of hyper's, with the proxy for its service; and a client of hyper's on it.
async fn through(service: ProxyService) -> hyper::client::conn::http2::SendRequest<Body> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            let answer = move |request| service.clone().call(request);
            let service = hyper::service::service_fn(answer);
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let begun = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (sender, connection) = begun.unwrap();
    tokio::spawn(connection);
    sender
}

#[test]
fn bodies_and_trailers_stream_both_ways_through_a_server() {
    run(async {
        let server = serve(Speak::Http2, echo).await;
        let (service, ends) = service(Speak::Http2, server.address);
        let mut client = through(service).await;
        let (feed, body) = fed();
        let mut request = Request::post("http://a.example/").body(body).unwrap();
        request
            .headers_mut()
            .insert(header::TE, "trailers".parse().unwrap());
        let sending = tokio::spawn(client.send_request(request));
        feed.send(data("one")).await.unwrap();
        let mut body = sending.await.unwrap().unwrap().into_body();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "one"
        );
        feed.send(data("two")).await.unwrap();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "two"
        );
        feed.send(trailer("x-sum", "6")).await.unwrap();
        drop(feed);
        let last = body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_trailers()
            .unwrap();
        assert_eq!(
            last,
            HeaderMap::from_iter([("x-sum".parse().unwrap(), "6".parse().unwrap())])
        );
        assert!(body.frame().await.is_none());
        assert_eq!(ends.next().await, "done");
    });
}

#[test]
fn a_client_that_leaves_ends_the_exchange() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, |_| async {
                let (feed, body) = fed();
                // Frames of a size that is no flood of small ones to whoever reads slowly.
                let more = || data(vec![b'm'; 8_192]);
                tokio::spawn(async move { while feed.send(more()).await.is_ok() {} });
                Response::new(body)
            });
            let server = server.await;
            let (service, ends) = service(speak, server.address);
            let mut client = through(service).await;
            let request = Request::get("http://a/").body(text("")).unwrap();
            let mut body = client.send_request(request).await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
            drop(body);
            assert_eq!(ends.next().await, "client-closed-in-response-body");
            if speak == Speak::Http1 {
                server.ended(1).await;
            }
        }
    });
}

#[test]
fn an_answer_that_does_not_wait_for_the_body_is_passed_on_at_once() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, |_| async { answer(413, "enough") }).await;
            let (service, ends) = service(speak, server.address);
            let (feed, body) = fed();
            feed.send(data("some")).await.unwrap();
            let request = Request::post("http://a/").body(body).unwrap();
            let response = call(&service, request).await;
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(read(response).await, "enough");
            assert_eq!(ends.next().await, "backend-answered-in-response-body");
            drop(feed);
        }
    });
}

#[test]
fn a_server_of_http1_keeps_its_connection_from_answer_to_answer() {
    run(async {
        let server = serve(Speak::Http1, echo).await;
        let (service, _) = service(Speak::Http1, server.address);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = move |request| service.clone().call(request);
            let service = hyper::service::service_fn(answer);
            let http1 = hyper::server::conn::http1::Builder::new();
            http1.serve_connection(TokioIo::new(stream), service).await
        });
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for said in ["", "short", "somewhat longer than short"] {
            client.ready().await.unwrap();
            let mut request = Request::post("/").body(text(said)).unwrap();
            request
                .headers_mut()
                .insert(header::HOST, "a".parse().unwrap());
            let response = client.send_request(request).await.unwrap();
            assert_eq!(read(response).await, said);
        }
        // It answers by the length, and leaves as soon as it has the last byte of it.
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn a_request_whose_body_fails_is_answered_400_if_it_can_be() {
    run(async {
        let server = serve(Speak::Http1, echo).await;
        let (service, ends) = service(Speak::Http1, server.address);
        let (feed, body) = fed();
        feed.send(Err("gone".into())).await.unwrap();
        let request = Request::post("http://a/").body(body).unwrap();
        assert_eq!(
            call(&service, request).await.status(),
            StatusCode::BAD_REQUEST
        );
        assert_eq!(ends.next().await, "client-closed-in-request-body");
    });
}

#[test]
fn new_settings_decide_over_the_next_request() {
    run(async {
        let old = serve(Speak::Http1, |_| async { answer(200, "old") }).await;
        let new = serve(Speak::Http1, |_| async { answer(200, "new") }).await;
        let proxy = HttpProxy::new(settings(Speak::Http1, old.address));
        let service = proxy.service(Peer::unnamed());
        assert_eq!(read(call(&service, get("http://a/")).await).await, "old");
        proxy.update(settings(Speak::Http1, new.address));
        for _ in 0..2 {
            assert_eq!(read(call(&service, get("http://a/")).await).await, "new");
        }
        assert_eq!(proxy.route_stats()["all"].recorded(), 3);
    });
}

#[test]
fn what_it_gives_may_go_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<ProxyService>();
    anywhere::<lb_l7::service::ProxyBody>();
    anywhere::<lb_l7::service::ResponseFuture>();
    anywhere::<lb_l7::client::Responding>();
    anywhere::<lb_l7::client::ClientError>();
    anywhere::<lb_l7::Client>();
}
