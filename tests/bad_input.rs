//! What a hostile or broken peer sends: each ends in a counted refusal, and others are served.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use harness::clb::{Clb, pair};
use harness::client::{Client, ask};
use harness::host;
use harness::procfs::Protocol::{Tcp, Udp};
use harness::raw::{self, End};
use harness::server::{Behaviour, Server};
use harness::wait::PATIENCE;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const ACCEPT: &str = "proxy_protocol = { accept = true }";

/// An echo backend, a balancer with one listener before it, and where that listens.
fn balanced(protocol: &str, rest: &str) -> (Server, Clb, SocketAddr) {
    let (server, kind) = match protocol {
        "udp" => (Server::udp(Behaviour::Echo), Udp),
        _ => (Server::tcp(Behaviour::Echo), Tcp),
    };
    let front = host::free_address();
    let sections = pair("l", protocol, front, server.address(), rest);
    let clb = Clb::start(2, &sections).serves(kind, front);
    (server, clb, front)
}

/// Connects, sends `bytes`, ends the own direction if `cut`, and tells how it was ended.
async fn sent(front: SocketAddr, bytes: &[u8], cut: bool) -> (u64, End) {
    let Ok(mut stream) = TcpStream::connect(front).await else {
        // Refused so soon that connecting has already failed.
        return (0, End::Reset);
    };
    // The other end may have heard enough after the first of them.
    let _ = stream.write_all(bytes).await;
    if cut {
        let _ = stream.shutdown().await;
    }
    raw::drain(&mut stream, PATIENCE)
        .await
        .expect("closed or reset")
}

/// Whether a polite client behind a proxy is served.
async fn polite(front: SocketAddr) {
    let stream = TcpStream::connect(front).await.expect("accepted");
    let mut client = Client::new(stream, 7);
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n";
    client.stream().write_all(header).await.expect("sent");
    client.exchange(20_000).await.expect("echoed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_header_that_is_cut_overlong_or_forged_is_refused_and_counted() {
    let (server, clb, front) = balanced("tcp", ACCEPT);
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    let v2 = |rest: &[u8]| [V2, rest].concat();
    let whole = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 1000 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 80\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 1 80\r\n".to_vec(),
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 80\r\n".to_vec(),
        b"proxy TCP4 192.0.2.1 192.0.2.2 1 80\r\n".to_vec(),
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 80\r\n".to_vec(),
        b"PROXY SCTP 192.0.2.1 192.0.2.2 1 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80 \xff\xfe\0\r\n".to_vec(),
        long,
        // A version, a command and a family that there are not; too short for its addresses.
        v2(&[0x31, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]),
        v2(&[0x2f, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]),
        v2(&[0x21, 0x11, 0, 4, 1, 2, 3, 4]),
        vec![0; 1_000],
        vec![0xff; 100_000],
    ];
    let cut = [
        Vec::new(),
        b"P".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r".to_vec(),
        V2[..5].to_vec(),
        V2.to_vec(),
        v2(&[0x21, 0x11, 0, 12, 1, 2, 3]),
        v2(&[0x21, 0x11, 0xff, 0xff, 1, 2, 3]),
    ];
    let mut refused = 0.0;
    for (bytes, cut) in whole
        .iter()
        .map(|bytes| (bytes, false))
        .chain(cut.iter().map(|bytes| (bytes, true)))
    {
        let (answered, end) = sent(front, bytes, cut).await;
        assert_eq!((answered, end), (0, End::Reset), "{}", bytes.escape_ascii());
        refused += 1.0;
        assert_eq!(
            clb.refused("l", "proxy-header"),
            refused,
            "{}",
            bytes.escape_ascii()
        );
    }
    polite(front).await;
    assert_eq!(
        server.accepted(),
        1,
        "no refused client reached the backend"
    );
    assert_eq!(server.bytes(), 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_proxy_header_ends_in_time_however_it_trickles_and_others_are_served() {
    let (server, clb, front) = balanced("tcp", ACCEPT);
    let mut slow = JoinSet::new();
    for number in 0..100 {
        slow.spawn(async move {
            let mut stream = TcpStream::connect(front).await.expect("accepted");
            let (mut reader, mut writer) = stream.split();
            // Half of them say nothing at all.
            let words = b"PROXY UNKNOWN".repeat(if number % 2 == 0 { 8 } else { 0 });
            let trickle = async {
                let mut beat = tokio::time::interval(Duration::from_millis(100));
                for byte in words {
                    beat.tick().await;
                    writer.write_all(&[byte]).await?;
                }
                std::future::pending().await
            };
            // The reset is told once: to whoever looks first.
            tokio::select! {
                written = trickle => written,
                read = reader.read_u8() => read.map(drop),
            }
            .expect_err("nothing is answered")
            .kind()
        });
    }
    clb.await_figure("clb_listener_accepted_total", &[], 100.0);
    polite(front).await;
    while let Some(ended) = slow.join_next().await {
        assert_eq!(ended.expect("ended"), ErrorKind::ConnectionReset);
    }
    assert_eq!(clb.refused("l", "proxy-timeout"), 100.0);
    assert_eq!(server.accepted(), 1);
    assert!(
        clb.process().log().matches("refused a client").count() <= 5,
        "logs are rate-limited"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_client_hello_is_refused_and_counted() {
    let server = Server::tcp(Behaviour::Echo);
    let (front, named) = (host::free_address(), host::free_address());
    let names = "names = { \"known.example\" = \"l\" }";
    let sections = pair("l", "tls", front, server.address(), "")
        + &format!(
            "[[listener]]\nname = \"named\"\nprotocol = \"tls\"\nlisten = \"{named}\"\n{names}\n"
        );
    let clb = Clb::start(2, &sections)
        .serves(Tcp, front)
        .serves(Tcp, named);
    let corpus = harness::workspace::root().join("tests/fuzz/corpus/client_hello/openssl_tls13");
    let hello = std::fs::read(corpus).expect("a ClientHello of OpenSSL");

    let mut refused = 0.0;
    let mut huge = hello.clone();
    huge[6] = 0xff;
    for (bytes, cut) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), false),
        (b"\x16\x03\x01\0\0".to_vec(), false),
        (b"\x16\x03\x01\xff\xff\x01".to_vec(), false),
        (b"\x15\x03\x01\0\x02\x02\x28".to_vec(), false),
        (b"\x16\x03\x01\0\x04\x02\0\0\0".to_vec(), false),
        (vec![0x80; 100_000], false),
        (Vec::new(), true),
        (hello[..1].to_vec(), true),
        (hello[..5].to_vec(), true),
        (hello[..hello.len() - 1].to_vec(), true),
        (huge, true),
    ] {
        let start = bytes[..bytes.len().min(20)].to_vec();
        let ended = sent(front, &bytes, cut).await;
        assert_eq!(ended, (0, End::Reset), "{}", start.escape_ascii());
        refused += 1.0;
        assert_eq!(
            clb.refused("l", "tls-hello"),
            refused,
            "{}",
            start.escape_ascii()
        );
    }
    assert_eq!(sent(named, &hello, false).await, (0, End::Reset));
    assert_eq!(clb.refused("named", "server-name"), 1.0);
    // A part of it and no more comes too late.
    assert_eq!(sent(front, &hello[..100], false).await, (0, End::Reset));
    assert_eq!(clb.refused("l", "tls-timeout"), 1.0);

    assert_eq!(server.accepted(), 0);
    assert_eq!(
        sent(front, &hello, true).await,
        (hello.len() as u64, End::Closed)
    );
}

/// Sends until the other end has taken nothing for a while, and how much it took.
async fn stuff(stream: &mut TcpStream) -> u64 {
    let (bytes, mut sent) = (vec![7; 64 * 1024], 0);
    while let Ok(Ok(length)) = timeout(Duration::from_millis(300), stream.write(&bytes)).await {
        sent += length as u64;
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_hold_bounded_memory_until_they_are_idle() {
    let (_server, clb, front) = balanced("tcp", "idle_timeout = \"2s\"");
    let mut deaf = JoinSet::new();
    for _ in 0..100 {
        deaf.spawn(async move {
            let mut stream = raw::connect_with_window(front, 4096)
                .await
                .expect("accepted");
            let sent = stuff(&mut stream).await;
            (stream, sent)
        });
    }
    let stuck = deaf.join_all().await;
    assert!(stuck.iter().all(|(_, sent)| *sent > 0));
    let mut polite = Client::connect(front, 1).await.expect("accepted");
    polite.exchange(1 << 20).await.expect("echoed");
    let served = timeout(PATIENCE, async {
        while clb.ended("l", "idle") < 100.0 {
            polite.exchange(1_000).await.expect("still served");
        }
    });
    served.await.expect("they end");
    clb.assert_memory(101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_never_answer_or_never_read_end_in_the_idle_timeout() {
    let (silent, stalled) = (
        Server::tcp(Behaviour::Silent),
        Server::tcp(Behaviour::Stalled),
    );
    let (a, b) = (host::free_address(), host::free_address());
    let idle = "idle_timeout = \"2s\"";
    let sections = pair("silent", "tcp", a, silent.address(), idle)
        + &pair("stalled", "tcp", b, stalled.address(), idle);
    let clb = Clb::start(2, &sections).serves(Tcp, a).serves(Tcp, b);
    let mut clients = JoinSet::new();
    for number in 0..100 {
        clients.spawn(async move {
            let mut stream = TcpStream::connect(if number % 2 == 0 { a } else { b })
                .await
                .expect("accepted");
            match number % 4 {
                // Asks and waits; waits half-open; waits and has said nothing.
                0 => stream.write_all(b"question").await.expect("sent"),
                1 => {
                    stream.write_all(b"question").await.expect("sent");
                    stream.shutdown().await.expect("half closed");
                }
                2 => {}
                _ => drop(stuff(&mut stream).await),
            }
            raw::drain(&mut stream, PATIENCE).await.expect("an end")
        });
    }
    for ended in clients.join_all().await {
        assert_eq!(ended, (0, End::Reset));
    }
    clb.await_figure(
        "clb_listener_sessions_ended_total",
        &[("how", "idle")],
        100.0,
    );
    assert_eq!(clb.metrics().sum("clb_listener_sessions_active", &[]), 0.0);
    clb.assert_memory(100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_refuse_or_swallow_connects_are_refused_within_the_connect_budget() {
    // A backlog of one that is full: the kernel drops further SYNs.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    full.bind(&any.into()).expect("a port");
    full.listen(0).expect("listens");
    let hole = full
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("of IP");
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(300), TcpStream::connect(hole)).await {
        held.push(stream);
    }
    let server = Server::tcp(Behaviour::Echo);
    let (closed, refusing, swallowing, mixed) = (
        host::free_address(),
        host::free_address(),
        host::free_address(),
        host::free_address(),
    );
    let soon = "connect_timeout = \"500ms\"";
    let sections = pair("refusing", "tcp", refusing, closed, soon)
        + &pair("swallowing", "tcp", swallowing, hole, soon)
        + &format!(
            "[[pool]]\nname = \"mixed\"\nscheduler = \"round-robin\"\nbackends = [\
             {{ name = \"a\", address = \"{closed}\" }}, {{ name = \"b\", address = \"{}\" }}]\n\
             [[listener]]\nname = \"mixed\"\nprotocol = \"tcp\"\nlisten = \"{mixed}\"\npool = \"mixed\"\n",
            server.address()
        );
    let clb = Clb::start(2, &sections)
        .serves(Tcp, refusing)
        .serves(Tcp, swallowing)
        .serves(Tcp, mixed);
    let mut clients = JoinSet::new();
    for number in 0..100 {
        let front = if number % 2 == 0 {
            refusing
        } else {
            swallowing
        };
        clients.spawn(async move { sent(front, b"x", false).await });
    }
    // Meanwhile, where one of two backends can be reached, each client is served.
    for seed in 0..20 {
        let mut client = Client::connect(mixed, seed).await.expect("accepted");
        client
            .exchange(1_000)
            .await
            .expect("the next backend is tried");
    }
    for ended in clients.join_all().await {
        assert_eq!(ended, (0, End::Reset));
    }
    assert_eq!(clb.refused("refusing", "connect-failed"), 50.0);
    assert_eq!(clb.refused("swallowing", "connect-failed"), 50.0);
    assert_eq!(
        clb.metrics()
            .sum("clb_refused_total", &[("listener", "mixed")]),
        0.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_clients_are_refused_and_served_again_when_there_are_some() {
    let server = Server::tcp(Behaviour::Echo);
    let front = host::free_address();
    let sections = pair("l", "tcp", front, server.address(), "");
    let clb = Clb::with_descriptors(64, 1, &sections).serves(Tcp, front);
    let mut clients = JoinSet::new();
    for seed in 0..200 {
        clients.spawn(async move {
            let mut client = Client::connect(front, seed).await?;
            client.exchange(100).await.map(|()| client)
        });
    }
    let mut served = Vec::new();
    let all = timeout(PATIENCE, clients.join_all()).await;
    for client in all.expect("served or refused, and soon") {
        match client {
            Ok(client) => served.push(client),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
    assert!(
        (10..32).contains(&served.len()),
        "{} of 200 fit",
        served.len()
    );
    for client in &mut served {
        client
            .exchange(1_000)
            .await
            .expect("what is under way goes on");
    }
    drop(served);
    // Its own admin port needs one descriptor too, and has it again.
    clb.await_figure("clb_listener_sessions_active", &[], 0.0);
    let refused = clb.refused("l", "accept") + clb.refused("l", "resources");
    assert!(refused > 100.0, "{refused} are counted");
    let mut client = Client::connect(front, 1).await.expect("accepted");
    client.exchange(1_000).await.expect("served again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shortest_and_the_longest_datagrams_go_both_ways() {
    let (server, clb, front) = balanced("udp", "");
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(front).await.expect("connected");
    let long: Vec<u8> = (0..65_507_u32).map(|n| n.to_le_bytes()[0]).collect();
    for size in [0, 1, 1_472, 1_473, 9_000, 65_506, 65_507, 0] {
        let answer = ask(&socket, &long[..size], PATIENCE).await;
        assert_eq!(answer.expect("an answer"), &long[..size], "{size}");
    }
    assert_eq!(server.accepted(), 8);
    let bytes = 1.0 + 1_472.0 + 1_473.0 + 9_000.0 + 65_506.0 + 65_507.0;
    for way in ["in", "out"] {
        clb.await_figure("clb_listener_bytes_total", &[("direction", way)], bytes);
    }
    assert_eq!(clb.metrics().sum("clb_datagrams_dropped_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_many_ports_fills_the_sessions_and_the_rest_is_refused() {
    let limits = "limits = { connections = 500 }";
    let (server, clb, front) = balanced("udp", limits);
    let mut sockets = Vec::new();
    for number in 1..=2_000_u32 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket.connect(front).await.expect("connected");
        socket.send(b"flood").await.expect("sent");
        sockets.push(socket);
        // No more than a receive buffer holds, so that none is lost before it is counted.
        if number % 100 == 0 {
            clb.await_figure("clb_listener_accepted_total", &[], number.into());
        }
    }
    let metrics = clb.metrics();
    assert_eq!(metrics.sum("clb_listener_sessions_active", &[]), 500.0);
    assert_eq!(clb.refused("l", "connections"), 1_500.0);
    assert_eq!(metrics.sum("clb_refused_total", &[]), 1_500.0);
    assert_eq!(
        metrics.sum("clb_datagrams_dropped_total", &[("reason", "refused")]),
        1_500.0
    );
    assert_eq!(server.accepted(), 500);
    // Who came first still has a session, and it works.
    let first = &sockets[0];
    let mut answer = [0; 16];
    first.recv(&mut answer).await.expect("the first answer");
    assert_eq!(
        ask(first, b"again", PATIENCE).await.expect("an answer"),
        b"again"
    );
    assert!(
        clb.process().log().matches("refused a client").count() <= 10,
        "logs are rate-limited"
    );
    clb.assert_memory(500);
}
