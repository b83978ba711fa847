//! Probes over real sockets on loopback.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_l4::connect::Dial;
use lb_l4::{Clock, probe};
use lbcore::health::{Health, HealthConfig, ProbeFailure, ProbeKind, ProbeOutcome};
use lbcore::pool::PoolConfig;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(30), test).await };
    runtime.block_on(limited).expect("the test hangs")
}

/// How a probe of this kind ends there, within 300 ms.
async fn outcome(address: SocketAddr, kind: ProbeKind) -> ProbeOutcome {
    let health = HealthConfig::new(kind)
        .timeout(Duration::from_millis(300))
        .initial_spread(Duration::ZERO);
    let pool = Pool::new(RoundRobin)
        .config(PoolConfig::default().health(health))
        .unwrap()
        .backend(Backend::new("b", address.into()));
    let clock = Clock::monotonic();
    let probe = pool.poll_probe(clock.now()).unwrap();
    probe::send(&probe, &Dial::default(), clock).await
}

fn bytes(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

fn tcp(send: &str, expect: &str) -> ProbeKind {
    let (send, expect) = (bytes(send), bytes(expect));
    ProbeKind::TcpExchange { send, expect }
}

fn udp(send: &str, expect: &str) -> ProbeKind {
    let (send, expect) = (bytes(send), bytes(expect));
    ProbeKind::UdpExchange { send, expect }
}

fn is_pass(outcome: ProbeOutcome) -> bool {
    matches!(outcome, ProbeOutcome::Pass(_))
}

#[test]
fn a_kind_that_is_another_runners_fails_and_does_not_pass_by_less() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let unknown = ProbeOutcome::Fail(ProbeFailure::Io);
        assert_eq!(outcome(address, ProbeKind::Custom).await, unknown);
    });
}

#[test]
fn a_connect_passes_where_somebody_listens_and_is_refused_elsewhere() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(is_pass(outcome(address, ProbeKind::TcpConnect).await));
        drop(listener);
        let refused = ProbeOutcome::Fail(ProbeFailure::Refused);
        assert_eq!(outcome(address, ProbeKind::TcpConnect).await, refused);
    });
}

#[test]
fn an_answer_passes_if_it_begins_as_expected_however_it_is_cut() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4];
                client.read_exact(&mut asked).await.unwrap();
                assert_eq!(&asked, b"PING");
                client.set_nodelay(true).unwrap();
                client.write_all(b"+P").await.unwrap();
                tokio::task::yield_now().await;
                // A probe that has seen enough has reset the connection by now.
                let _ = client.write_all(b"ONG and more").await;
                let _ = client.read(&mut asked).await;
            }
        });
        assert!(is_pass(outcome(address, tcp("PING", "+PONG")).await));
        assert!(is_pass(outcome(address, tcp("PING", "")).await));
        let wrong = ProbeOutcome::Fail(ProbeFailure::WrongAnswer);
        assert_eq!(outcome(address, tcp("PING", "+PANG")).await, wrong);
        assert_eq!(outcome(address, tcp("PING", "-")).await, wrong);
        server.abort();
    });
}

#[test]
fn silence_is_a_timeout_an_early_end_is_wrong_and_a_reset_a_reset() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silence = outcome(address, tcp("PING", "+PONG")).await;
        assert_eq!(silence, ProbeOutcome::Fail(ProbeFailure::Timeout));
        drop(listener.accept().await.unwrap());

        let probing = tokio::spawn(outcome(address, tcp("", "+PONG")));
        let (mut client, _) = listener.accept().await.unwrap();
        client.write_all(b"+PON").await.unwrap();
        drop(client);
        let wrong = ProbeOutcome::Fail(ProbeFailure::WrongAnswer);
        assert_eq!(probing.await.unwrap(), wrong);

        let probing = tokio::spawn(outcome(address, tcp("", "+PONG")));
        let (client, _) = listener.accept().await.unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        let reset = ProbeOutcome::Fail(ProbeFailure::Reset);
        assert_eq!(probing.await.unwrap(), reset);
    });
}

#[test]
fn over_udp_silence_and_port_unreachable_are_told_apart() {
    run(async {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let silence = outcome(address, udp("ping", "pong")).await;
        assert_eq!(silence, ProbeOutcome::Fail(ProbeFailure::Timeout));
        let mut buffer = [0; 16];
        server.recv_from(&mut buffer).await.unwrap();

        for (expect, passes) in [
            ("pong", true),
            ("", true),
            ("pang", false),
            ("pong!", false),
        ] {
            let probing = tokio::spawn(outcome(address, udp("ping", expect)));
            let (n, from) = server.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..n], b"ping");
            server.send_to(b"pong", from).await.unwrap();
            assert_eq!(is_pass(probing.await.unwrap()), passes, "{expect}");
        }
        drop(server);
        let refused = outcome(address, udp("ping", "pong")).await;
        assert_eq!(refused, ProbeOutcome::Fail(ProbeFailure::Refused));
    });
}

#[test]
fn a_backend_goes_down_by_its_probes_and_comes_back() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = HealthConfig::tcp_connect(Duration::from_millis(20))
            .timeout(Duration::from_millis(500))
            .initial_spread(Duration::ZERO);
        let backend = Backend::new("b", address.into());
        let id = backend.id;
        let pool = Pool::new(RoundRobin)
            .config(PoolConfig::default().health(health))
            .unwrap()
            .backend(backend);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(probe::run_until(pool.clone(), Clock::monotonic(), stopped));
        let becomes = async |wanted| {
            while pool.view().backend(id).unwrap().health != wanted {
                tokio::task::yield_now().await;
            }
        };
        becomes(Health::Up).await;
        drop(listener);
        becomes(Health::Down).await;
        let _listener = TcpListener::bind(address).await.unwrap();
        becomes(Health::Up).await;
        drop(stop);
        running.await.unwrap();
    });
}
