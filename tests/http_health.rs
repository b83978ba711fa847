//! Backends that are asked by HTTP and by gRPC whether they are well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use harness::clb::Clb;
use harness::host::free_address;
use harness::http::get;
use harness::procfs::Protocol;
use harness::wait::{self, PATIENCE};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::net::TcpListener;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_service::Service;

/// A server that says at `/health` what it is told to say, and its name at all other paths.
struct Web {
    address: SocketAddr,
    health: Arc<AtomicU16>,
}

impl Web {
    async fn start(name: &'static str) -> Self {
        let health = Arc::new(AtomicU16::new(200));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let said = Arc::clone(&health);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let said = Arc::clone(&said);
                let service = service_fn(move |request: Request<Incoming>| {
                    let is_asked = request.uri().path() == "/health";
                    let mut answer = Response::new(name.to_owned());
                    if is_asked {
                        let status = StatusCode::from_u16(said.load(Relaxed));
                        *answer.status_mut() = status.expect("a status");
                    }
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    // How a connection ends is for the client to judge.
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, health }
    }
}

/// Two servers of one pool, asked 20 times a second.
fn pool(backends: [SocketAddr; 2], protocol: &str, health: &str) -> String {
    let [a, b] = backends;
    format!(
        "[[pool]]\nname = \"web\"\nscheduler = \"round-robin\"\nprotocol = \"{protocol}\"\n\
         panic_threshold = 0\n\
         backends = [{{ name = \"a\", address = \"{a}\" }}, {{ name = \"b\", address = \"{b}\" }}]\n\
         health = {{ {health}, interval = \"50ms\", fast_interval = \"20ms\", fall = 2, rise = 2 }}\n"
    )
}

fn listener(name: &str, protocol: &str, at: SocketAddr) -> String {
    format!(
        "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nlisten = \"{at}\"\n\
         pool = \"web\"\n"
    )
}

/// What the balancer says of a backend's health, for people.
#[track_caller]
fn status(clb: &Clb, backend: &str) -> String {
    let answer = get(clb.admin(), "/status").expect("an answer");
    let all: Value = serde_json::from_str(&answer.body).expect("JSON");
    let backends = all["pools"][0]["backends"].as_array().expect("backends");
    let found = backends.iter().find(|one| one["name"] == backend);
    let health = &found.expect("a backend of this name")["health"];
    health.as_str().expect("a word").to_owned()
}

/// Waits until the backend is up, or down.
#[track_caller]
fn await_up(clb: &Clb, backend: &str, is_up: bool) {
    let labels = [("pool", "web"), ("backend", backend)];
    clb.await_figure("clb_backend_up", &labels, f64::from(u8::from(is_up)));
}

/// Who answers ten clients in a row.
#[track_caller]
fn who(at: SocketAddr) -> String {
    let ask = |_| get(at, "/").expect("an answer").body;
    (0..10).map(ask).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_says_500_of_its_health_leaves_the_pool_and_comes_back() {
    let [a, b] = [Web::start("a").await, Web::start("b").await];
    let (http, tcp) = (free_address(), free_address());
    let file = |health: &str| {
        let pool = pool([a.address, b.address], "http1", health);
        pool + &listener("http", "http", http) + &listener("tcp", "tcp", tcp)
    };
    let asked = "kind = \"http\", path = \"/health\", expect = \"200-299\"";
    let clb = Clb::start(2, &file(asked)).serves(Protocol::Tcp, http);
    let clb = clb.serves(Protocol::Tcp, tcp);
    for backend in ["a", "b"] {
        await_up(&clb, backend, true);
    }
    for front in [http, tcp] {
        let all = who(front);
        assert!(all.contains('a') && all.contains('b'), "{all}");
    }

    a.health.store(500, Relaxed);
    await_up(&clb, "a", false);
    for front in [http, tcp] {
        assert_eq!(who(front), "bbbbbbbbbb");
    }
    assert_eq!((&*status(&clb, "a"), &*status(&clb, "b")), ("down", "up"));
    let probes = |backend, result| {
        let labels = [("pool", "web"), ("backend", backend), ("result", result)];
        clb.metrics().sum("clb_backend_probes_total", &labels)
    };
    assert!(probes("a", "wrong-answer") >= 2.0 && probes("a", "pass") >= 1.0);
    assert_eq!((probes("b", "wrong-answer"), probes("b", "io")), (0.0, 0.0));

    a.health.store(204, Relaxed);
    await_up(&clb, "a", true);
    for front in [http, tcp] {
        wait::eventually(PATIENCE, "a is back", || who(front).contains('a'));
    }

    // Another question, to the same backends: their listeners and sessions know nothing of it.
    clb.reload(&file("kind = \"http\", body = \"b\""), 1);
    await_up(&clb, "a", false);
    assert_eq!(who(http), "bbbbbbbbbb");
    clb.reload(&file("kind = \"tcp\""), 2);
    await_up(&clb, "a", true);
}

/// A server of tonic that serves its health and nothing else.
async fn grpc() -> (SocketAddr, HealthReporter) {
    let (reporter, service) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            let service = service_fn(move |request| service.clone().call(request));
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, reporter)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_of_grpc_is_up_while_it_says_that_it_serves() {
    let [(a, of_a), (b, mut of_b)] = [grpc().await, grpc().await];
    let (serving, other) = (ServingStatus::Serving, ServingStatus::NotServing);
    of_a.set_service_status("shop.Shop", serving).await;
    of_b.set_service_status("shop.Shop", other).await;
    let front = free_address();
    let asked = "kind = \"grpc\", service = \"shop.Shop\"";
    let file = pool([a, b], "h2", asked) + &listener("front", "http", front);
    let clb = Clb::start(2, &file).serves(Protocol::Tcp, front);
    await_up(&clb, "a", true);
    await_up(&clb, "b", false);
    wait::eventually(PATIENCE, "b is down", || status(&clb, "b") == "down");

    of_a.set_service_status("shop.Shop", other).await;
    of_b.set_service_status("shop.Shop", serving).await;
    await_up(&clb, "a", false);
    await_up(&clb, "b", true);
    // A server that knows no such service is not well either.
    of_b.clear_service_status("shop.Shop").await;
    await_up(&clb, "b", false);
}
