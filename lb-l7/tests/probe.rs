//! HTTP probes over real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

#[expect(dead_code, reason = "each test program uses its part of it")]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, header};
use hyper::body::Incoming;
use lb_l7::probe::{self, BodyMatch, HttpProbe, ProbeProtocol};
use lbcore::backend::Address;
use lbcore::health::{Health, HealthConfig, ProbeFailure, ProbeKind, ProbeOutcome};
use lbcore::pool::PoolConfig;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, BackendId, Instant, Pool};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use support::{Body, Speak, answer, data, fed, nobody, run, serve, text, trailer};

const BOTH: [Speak; 2] = [Speak::Http1, Speak::Http2];
const WRONG: Result<(), ProbeFailure> = Err(ProbeFailure::WrongAnswer);

fn pool(health: HealthConfig, address: impl Into<Address>) -> Pool<RoundRobin> {
    Pool::new(RoundRobin)
        .config(PoolConfig::default().health(health))
        .unwrap()
        .backend(Backend::new("b", address.into()))
}

/// How a probe ends there, within `limit` of the time.
async fn outcome_within(
    limit: Duration,
    address: impl Into<Address>,
    http: &HttpProbe,
) -> Result<(), ProbeFailure> {
    let health = HealthConfig::new(ProbeKind::Custom).timeout(limit);
    let pool = pool(health, address);
    let probe = pool.poll_probe(now()).unwrap();
    assert_eq!(probe.kind, ProbeKind::Custom);
    match probe::send(&probe, http).await {
        ProbeOutcome::Pass(took) => {
            assert!(took < limit);
            Ok(())
        }
        ProbeOutcome::Fail(why) => Err(why),
    }
}

/// The clock of all that deals with one pool.
fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = Duration::from_secs(time.tv_sec.try_into().unwrap());
    Instant::ZERO + seconds + Duration::from_nanos(time.tv_nsec.try_into().unwrap())
}

async fn outcome(address: impl Into<Address>, http: &HttpProbe) -> Result<(), ProbeFailure> {
    outcome_within(Duration::from_secs(10), address, http).await
}

fn get(target: &str) -> HttpProbe {
    HttpProbe::get(target.parse().unwrap())
}

fn by(speak: Speak, probe: HttpProbe) -> HttpProbe {
    probe.protocol(match speak {
        Speak::Http1 => ProbeProtocol::Http1,
        Speak::Http2 => ProbeProtocol::Http2,
    })
}

#[test]
fn a_probe_passes_by_the_status_alone_unless_told_otherwise() {
    run(async {
        for speak in BOTH {
            for (status, passes) in [
                (200, true),
                (204, true),
                (399, true),
                (404, false),
                (500, false),
            ] {
                let server = serve(speak, move |_| async move { answer(status, "") }).await;
                let outcome = outcome(server.address, &by(speak, get("/"))).await;
                assert_eq!(outcome.is_ok(), passes, "{speak:?} {status}: {outcome:?}");
                assert!(passes || outcome == WRONG);
            }
            let server = serve(speak, |_| async { answer(404, "") }).await;
            let probe = by(speak, get("/").expect_status("404".parse().unwrap()));
            assert_eq!(outcome(server.address, &probe).await, Ok(()));
        }
    });
}

/// 200 when the request is the one that `wanted` says.
async fn judge(request: Request<Incoming>, wanted: &'static str) -> Response<Body> {
    let field = |name: header::HeaderName| {
        let value = request.headers().get(name);
        value
            .map_or("-", |value| value.to_str().unwrap())
            .to_owned()
    };
    let host = request.uri().authority().map(ToString::to_string);
    let said = format!(
        "{} {} {} {} {}",
        request.method(),
        request.uri().path_and_query().unwrap(),
        host.unwrap_or_else(|| field(header::HOST)),
        field(header::USER_AGENT),
        field(header::ACCEPT),
    );
    let status = if said == wanted { 200 } else { 500 };
    answer(status, Box::leak(said.into_boxed_str()))
}

#[test]
fn a_probe_asks_what_it_was_told_to_ask() {
    run(async {
        for speak in BOTH {
            let wanted = "HEAD /healthz?deep=1 app.internal:81 watcher */*";
            let server = serve(speak, move |request| judge(request, wanted)).await;
            let probe = get("/healthz?deep=1")
                .method(http::Method::HEAD)
                .host("app.internal:81".parse().unwrap())
                .user_agent("watcher".parse().unwrap())
                .header(header::ACCEPT, "*/*".parse().unwrap());
            let probe = by(speak, probe);
            assert_eq!(outcome(server.address, &probe).await, Ok(()), "{speak:?}");
            assert_eq!(outcome(server.address, &by(speak, get("/"))).await, WRONG);

            let server = serve(speak, |request: Request<Incoming>| async move {
                let host = request.uri().authority().map(ToString::to_string);
                let host = host.unwrap_or_else(|| {
                    request.headers()[header::HOST].to_str().unwrap().to_owned()
                });
                Response::new(text(host))
            });
            let address = server.await.address;
            let own = get("/").expect_body(BodyMatch::contains(address.to_string()));
            assert_eq!(outcome(address, &by(speak, own.clone())).await, Ok(()));
            let elsewhere = SocketAddr::new(address.ip(), 1);
            let moved = by(speak, own.port(address.port()));
            assert_eq!(outcome(elsewhere, &moved).await, Ok(()));
        }
    });
}

#[test]
fn a_body_must_hold_what_is_expected_within_its_limit() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, |_| async {
                let (feed, body) = fed();
                tokio::spawn(async move {
                    for piece in ["it is re", "ady, load: 1.5"] {
                        feed.send(data(piece)).await.unwrap();
                    }
                });
                Response::new(body)
            });
            let address = server.await.address;
            let expect = |body| by(speak, get("/").expect_body(body));
            let ready = || BodyMatch::contains("ready");
            assert_eq!(outcome(address, &expect(ready())).await, Ok(()));
            assert_eq!(
                outcome(address, &expect(BodyMatch::contains("broken"))).await,
                WRONG
            );
            let low = BodyMatch::regex(r"load: [01]\.").unwrap();
            assert_eq!(outcome(address, &expect(low)).await, Ok(()));
            let short = expect(ready()).body_limit(11);
            assert_eq!(outcome(address, &short).await, Ok(()));
            let shorter = expect(ready()).body_limit(10);
            assert_eq!(outcome(address, &shorter).await, WRONG);
        }
    });
}

#[test]
fn a_body_without_end_is_read_to_its_limit() {
    run(async {
        for speak in BOTH {
            let server = serve(speak, |_| async {
                let (feed, body) = fed();
                tokio::spawn(
                    async move { while feed.send(data(vec![b'x'; 8192])).await.is_ok() {} },
                );
                Response::new(body)
            });
            let address = server.await.address;
            let wanted = by(speak, get("/").expect_body(BodyMatch::contains("y")));
            assert_eq!(outcome(address, &wanted).await, WRONG);
            let wanted = by(speak, get("/").expect_body(BodyMatch::contains("x")));
            assert_eq!(outcome(address, &wanted).await, Ok(()));
        }
    });
}

#[test]
fn a_connection_is_enough_where_nothing_is_asked() {
    run(async {
        let silent = serve(Speak::Http1, |_| std::future::pending()).await;
        assert_eq!(outcome(silent.address, &HttpProbe::connect()).await, Ok(()));
        let refused = outcome(nobody().await, &HttpProbe::connect()).await;
        assert_eq!(refused, Err(ProbeFailure::Refused));
    });
}

#[test]
fn each_failure_is_told_apart() {
    run(async {
        for speak in BOTH {
            let probe = by(speak, get("/"));
            let refused = outcome(nobody().await, &probe).await;
            assert_eq!(refused, Err(ProbeFailure::Refused));
            let silent = serve(speak, |_| std::future::pending()).await;
            let short = Duration::from_millis(50);
            let late = outcome_within(short, silent.address, &probe).await;
            assert_eq!(late, Err(ProbeFailure::Timeout));
        }
        let missing = Address::Unix(Path::new("/no/such.sock").into());
        assert_eq!(
            outcome(missing, &get("/")).await,
            Err(ProbeFailure::Refused)
        );
    });
}

/// A server that reads a little, says this, and hangs up.
async fn says(said: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(said).await;
                let _ = stream.shutdown().await;
                while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

#[test]
fn what_is_not_http_fails() {
    run(async {
        let huge = Box::leak(vec![b'a'; 1 << 20].into_boxed_slice());
        let interim = b"HTTP/1.1 103 Hints\r\n\r\n".repeat(64).leak();
        for said in [
            &b""[..],
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n",
            b"\0\0\0\x04\0\0\0\0\0",
            &huge[..],
            &interim[..],
        ] {
            let address = says(said).await;
            assert_eq!(outcome(address, &get("/")).await, WRONG, "{said:.40?}");
        }
        let over_http2 = by(Speak::Http2, get("/"));
        let address = says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        assert_eq!(outcome(address, &over_http2).await, WRONG);
        let good = says(b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.0 200 OK\r\n\r\nfine").await;
        let fine = get("/").expect_body(BodyMatch::contains("fine"));
        assert_eq!(outcome(good, &fine).await, Ok(()));
        let cut = says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine").await;
        assert_eq!(outcome(cut, &fine).await, WRONG);
        assert_eq!(
            outcome(cut, &get("/")).await,
            Ok(()),
            "nobody looks at the body"
        );
    });
}

#[test]
fn a_unix_socket_is_probed_as_any() {
    run(async {
        let path = std::env::temp_dir().join(format!("lb-l7-probe-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            assert!(
                asked[..read]
                    .windows(18)
                    .any(|part| part == b"\r\nhost: localhost\r")
            );
            stream.write_all(b"HTTP/1.1 204 OK\r\n\r\n").await.unwrap();
        });
        let address = Address::Unix(path.clone().into());
        assert_eq!(outcome(address, &get("/").port(1)).await, Ok(()));
        std::fs::remove_file(path).unwrap();
    });
}

/// A health service that says `message` and then `status`.
async fn health(message: &'static [u8], status: &'static str) -> SocketAddr {
    let server = serve(Speak::Http2, move |request: Request<Incoming>| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()[header::TE], "trailers");
        let (feed, body) = fed();
        tokio::spawn(async move {
            feed.send(data(message)).await.unwrap();
            feed.send(trailer("grpc-status", status)).await.unwrap();
        });
        let mut response = Response::new(body);
        let grpc = "application/grpc+proto".parse().unwrap();
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    });
    server.await.address
}

#[test]
fn a_server_of_grpc_must_say_that_it_serves() {
    run(async {
        let probe = HttpProbe::grpc("my.Service");
        let serving: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
        let good = health(serving, "0").await;
        assert_eq!(outcome(good, &probe).await, Ok(()));
        for (message, status) in [
            (&[0, 0, 0, 0, 2, 8, 2][..], "0"),
            (&[0, 0, 0, 0, 0], "0"),
            (&[1, 0, 0, 0, 2, 8, 1], "0"),
            (serving, "5"),
        ] {
            let bad = health(message, status).await;
            assert_eq!(outcome(bad, &probe).await, WRONG, "{message:?} {status}");
        }
        let other = serve(Speak::Http2, |_| async { answer(200, "") }).await;
        assert_eq!(outcome(other.address, &probe).await, WRONG);
        let trailers_only = serve(Speak::Http2, |_| async {
            let mut response = answer(200, "");
            response
                .headers_mut()
                .insert("grpc-status", "12".parse().unwrap());
            response
        });
        assert_eq!(outcome(trailers_only.await.address, &probe).await, WRONG);
    });
}

#[test]
fn probes_take_a_backend_down_and_bring_it_back() {
    run(async {
        let is_ill = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        let (ill, counted) = (Arc::clone(&is_ill), Arc::clone(&asked));
        let server = serve(Speak::Http1, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let status = if ill.load(Ordering::SeqCst) { 503 } else { 200 };
            async move { answer(status, "") }
        });
        let health = HealthConfig::new(ProbeKind::Custom)
            .interval(Duration::from_millis(10))
            .rise(2)
            .fall(2);
        let pool = pool(health, server.await.address);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(probe::run_until(pool.clone(), get("/"), stopped));
        let turned = async |to| {
            while pool.view().backend(BackendId::of_name("b")).unwrap().health != to {
                tokio::task::yield_now().await;
            }
        };
        turned(Health::Up).await;
        is_ill.store(true, Ordering::SeqCst);
        turned(Health::Down).await;
        is_ill.store(false, Ordering::SeqCst);
        turned(Health::Up).await;
        stop.send(()).unwrap();
        running.await.unwrap();
        assert!(asked.load(Ordering::SeqCst) >= 5);
    });
}

#[cfg(feature = "tls")]
mod tls {
    use lb_l7::tls::{Alpn, BackendTls, BackendTlsConfig, Roots};

    use super::*;

    /// A server of TLS that agrees on this protocol and answers 200 over HTTP/1.
    async fn secured(alpn: &'static [u8]) -> (SocketAddr, String) {
        let key = rcgen::generate_simple_self_signed(["app.internal".to_owned()]).unwrap();
        let pem = key.cert.pem();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der())
                    .unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        });
        (address, pem)
    }

    fn believing(pem: &str, alpn: &[Alpn]) -> BackendTls {
        let roots = Roots::from_pem(pem.as_bytes()).unwrap();
        BackendTls::new(BackendTlsConfig::new(roots).alpn(alpn)).unwrap()
    }

    #[test]
    fn a_certificate_must_be_believed_and_for_the_host() {
        run(async {
            let (address, pem) = secured(b"http/1.1").await;
            let tls = believing(&pem, &[Alpn::Http1]);
            let named = get("/")
                .host("app.internal".parse().unwrap())
                .tls(tls.clone());
            assert_eq!(outcome(address, &named).await, Ok(()));
            let other = get("/")
                .host("other.internal".parse().unwrap())
                .tls(tls.clone());
            assert_eq!(outcome(address, &other).await, WRONG);
            assert_eq!(outcome(address, &get("/").tls(tls)).await, WRONG);
            let (_, stranger) = secured(b"http/1.1").await;
            let tls = believing(&stranger, &[Alpn::Http1]);
            let unbelieved = get("/").host("app.internal".parse().unwrap()).tls(tls);
            assert_eq!(outcome(address, &unbelieved).await, WRONG);
            let plain = says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            assert_eq!(outcome(plain, &named).await, WRONG);
        });
    }

    #[test]
    fn a_server_that_chose_another_protocol_fails() {
        run(async {
            let (address, pem) = secured(b"h2").await;
            let tls = believing(&pem, &[Alpn::Http1, Alpn::Http2]);
            let host = "app.internal".parse().unwrap();
            let connected = HttpProbe::connect().host(host).tls(tls.clone());
            assert_eq!(outcome(address, &connected).await, Ok(()));
            let probe = get("/").host("app.internal".parse().unwrap()).tls(tls);
            assert_eq!(outcome(address, &probe).await, WRONG);
        });
    }
}
