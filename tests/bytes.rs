//! Bytes in and out of each listener are exact: a bill is made from them.

use std::net::SocketAddr;

use harness::clb::{Clb, pair};
use harness::client::{Client, ask};
use harness::host::free_address;
use harness::procfs::Protocol;
use harness::server::{Behaviour, Server};
use harness::wait::PATIENCE;
use tokio::net::UdpSocket;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_byte_of_tcp_is_counted_once_whether_few_or_in_bulk() {
    let server = Server::tcp(Behaviour::Named("backend-a".into()));
    let front = free_address();
    let clb = serve("front", "tcp", front, server.address(), "");
    // Below a small read, beyond one, and enough that pipes move them.
    let sizes = [0, 1, 1_000, 16_384, 65_537, 3_000_001];
    for (seed, size) in sizes.into_iter().enumerate() {
        let mut client = Client::connect(front, seed as u64).await.unwrap();
        assert_eq!(client.line().await.unwrap(), "backend-a");
        client.exchange(size).await.unwrap();
        assert_eq!(client.finish().await.unwrap(), 0);
    }
    let sum: usize = sizes.iter().sum();
    assert_bytes(&clb, "front", sum, sum + sizes.len() * "backend-a\n".len());
    assert_eq!(server.bytes(), sum as u64);
    assert_bytes(&clb, "front", sum, sum + sizes.len() * "backend-a\n".len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sessions_that_go_on_are_counted_as_they_go() {
    let server = Server::tcp(Behaviour::Echo);
    let front = free_address();
    let clb = serve("front", "tcp", front, server.address(), "");
    let mut client = Client::connect(front, 1).await.unwrap();
    for step in 1..=3 {
        client.exchange(100_000).await.unwrap();
        assert_bytes(&clb, "front", step * 100_000, step * 100_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_byte_of_udp_is_counted_once_in_sessions_and_in_single_requests() {
    for mode in ["one_packet = false", "one_packet = true"] {
        let server = Server::udp(Behaviour::Named("a".into()));
        let front = free_address();
        let clb = serve("front", "udp", front, server.address(), mode);
        let sizes = [0, 1, 512, 1_472, 9_000, 40_000];
        for size in sizes {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(front).await.unwrap();
            for _ in 0..2 {
                let answer = ask(&socket, &vec![7; size], PATIENCE).await.unwrap();
                assert_eq!(answer.len(), size + 2);
            }
        }
        let sum: usize = 2 * sizes.iter().sum::<usize>();
        assert_bytes(&clb, "front", sum, sum + 2 * 2 * sizes.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_listener_that_moves_or_goes_keeps_what_it_has_counted() {
    let server = Server::tcp(Behaviour::Echo);
    let (front, other) = (free_address(), free_address());
    let clb = serve("front", "tcp", front, server.address(), "");
    speak(front, 1_000).await;
    clb.reload(&pair("front", "tcp", other, server.address(), ""), 1);
    speak(other, 10_000).await;
    assert_bytes(&clb, "front", 11_000, 11_000);

    let file = pair("side", "tcp", front, server.address(), "");
    clb.reload(&file, 2);
    speak(front, 500).await;
    assert_bytes(&clb, "front", 11_000, 11_000);
    assert_bytes(&clb, "side", 500, 500);
}

fn serve(name: &str, protocol: &str, front: SocketAddr, back: SocketAddr, rest: &str) -> Clb {
    let file = pair(name, protocol, front, back, rest);
    let protocol = match protocol {
        "udp" => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    Clb::start(2, &file).serves(protocol, front)
}

async fn speak(address: SocketAddr, bytes: usize) {
    let mut client = Client::connect(address, 1)
        .await
        .expect("an echo server answers");
    client
        .exchange(bytes)
        .await
        .expect("an echo server answers");
    assert_eq!(client.finish().await.expect("an echo server answers"), 0);
}

/// The last byte may be with the client a moment before it is counted.
#[track_caller]
fn assert_bytes(clb: &Clb, listener: &str, bytes_in: usize, bytes_out: usize) {
    for (direction, bytes) in [("in", bytes_in), ("out", bytes_out)] {
        let labels = [("listener", listener), ("direction", direction)];
        clb.await_figure("clb_listener_bytes_total", &labels, bytes as f64);
    }
}
