//! What operators and their tools do to a running `clb`: storms of signals, huge files, old sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

use harness::clb::{self, Clb, pair};
use harness::client::{Client, ask};
use harness::host::{self, TempDir};
use harness::http;
use harness::procfs::Protocol::{Tcp, Udp};
use harness::server::{Behaviour, Server};
use harness::wait::PATIENCE;
use rustix::process::Signal;
use tokio::net::UdpSocket;

/// Has it read its file again, which must be put to use.
fn reloaded(clb: &Clb) {
    clb.process().signal(Signal::HUP);
    let applied = [("result", "applied")];
    clb.await_figure("clb_config_reloads_total", &applied, 1.0);
}

/// A balancer whose admin port alone is of interest.
fn idle() -> Clb {
    Clb::start(1, &pair("l", "tcp", "127.0.0.1:0", "127.0.0.1:1", ""))
}

#[test]
fn what_is_no_http_is_turned_away_by_the_admin_port_and_scrapes_go_on() {
    let clb = idle();
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)).into_bytes();
    let many_headers = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    for request in [
        b"\0\x01\x02\xff\xfe\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /metrics HTTP/9.9\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n".to_vec(),
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nContent-Length: -1\r\n\r\n"
            .to_vec(),
        long_path,
        many_headers.into_bytes(),
    ] {
        let mut stream = TcpStream::connect(clb.admin()).expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // It may hear enough before the last byte.
        let _ = stream.write_all(&request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        let refused = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        let request = request.escape_ascii().to_string();
        assert!(refused, "{request:.80}: {}", answer.escape_ascii());
        assert!(clb.metrics().has("clb_build_info", &[]));
    }
    assert!(!clb.process().log().contains("panicked"));
}

#[test]
fn slow_clients_of_the_admin_port_do_not_keep_scrapers_out() {
    let clb = idle();
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(clb.admin()).expect("accepted");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nX: ")
            .expect("sent");
        slow.push(stream);
    }
    let start = harness::wait::now();
    for _ in 0..10 {
        assert!(clb.metrics().has("clb_build_info", &[]));
    }
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "scrapes wait for the slow"
    );
    assert!(
        clb.process().descriptors() < 100,
        "each slow client has a descriptor"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_in_a_storm_lose_no_session_and_the_last_file_counts() {
    let (a, b) = (
        Server::tcp(Behaviour::Named("a".into())),
        Server::tcp(Behaviour::Named("b".into())),
    );
    let front = host::free_address();
    let file = |server: &Server, idle: usize| {
        let rest = format!("idle_timeout = \"{}s\"", 100 + idle);
        pair("l", "tcp", front, server.address(), &rest)
    };
    let clb = Clb::start(2, &file(&a, 0)).serves(Tcp, front);
    let mut old = Client::connect(front, 1).await.expect("accepted");
    assert_eq!(old.line().await.expect("a name"), "a");
    for round in 0..200 {
        clb.rewrite(2, &file(if round % 2 == 0 { &b } else { &a }, round));
        clb.process().signal(Signal::HUP);
        if round % 10 == 0 {
            old.exchange(1_000).await.expect("an old session goes on");
            let mut new = Client::connect(front, 2).await.expect("accepted");
            new.line().await.expect("either of them");
            new.exchange(1_000).await.expect("a new session begins");
        }
    }
    clb.rewrite(2, &file(&b, 999));
    clb.process().signal(Signal::HUP);
    let last = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut client = Client::connect(front, 3).await.expect("accepted");
            if client.line().await.expect("a name") == "b"
                && http::get(clb.admin(), "/status").is_ok_and(|status| status.status == 200)
            {
                return;
            }
        }
    });
    last.await.expect("the last file is served");
    old.exchange(1_000).await.expect("an old session goes on");
    let metrics = clb.metrics();
    let refused = metrics.sum("clb_config_reloads_total", &[("result", "refused")]);
    assert_eq!(refused, 0.0, "no file was bad");
    clb.assert_memory(100);
}

#[tokio::test]
async fn five_thousand_backends_are_served_shown_and_changed() {
    let server = Server::tcp(Behaviour::Echo);
    let front = host::free_address();
    let file = |count: usize, scheduler: &str| {
        let line = |n| format!("{{ name = \"b{n}\", address = \"{}\" }}", server.address());
        let backends: Vec<_> = (0..count).map(line).collect();
        format!(
            "[[pool]]\nname = \"p\"\nscheduler = \"{scheduler}\"\nbackends = [{}]\n\
             [[listener]]\nname = \"l\"\nprotocol = \"tcp\"\nlisten = \"{front}\"\npool = \"p\"\n",
            backends.join(",\n")
        )
    };
    let clb = Clb::start(1, &file(5_000, "maglev")).serves(Tcp, front);
    let mut client = Client::connect(front, 1).await.expect("accepted");
    client.exchange(1_000).await.expect("echoed");
    clb.await_figure("clb_backend_up", &[("pool", "p")], 5_000.0);
    clb.rewrite(1, &file(4_999, "ketama"));
    clb.process().signal(Signal::HUP);
    clb.await_figure("clb_backend_up", &[("pool", "p")], 4_999.0);
    client.exchange(1_000).await.expect("echoed still");
    let status = http::get(clb.admin(), "/status").expect("an answer");
    assert!(status.body.contains("\"b4998\"") && !status.body.contains("\"b4999\""));
    clb.assert_memory(1);
}

#[tokio::test]
async fn ipv6_is_served_for_streams_and_datagrams_to_backends_of_either_family() {
    let v6 =
        |address: SocketAddr| SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()));
    let six = Server::tcp_at("[::1]:0", Behaviour::Echo);
    let four = Server::udp(Behaviour::Echo);
    let (tcp, udp) = (v6(host::free_address()), v6(host::free_address()));
    let sections = pair(
        "tcp",
        "tcp",
        tcp,
        six.address(),
        "allow = [\"::1/128\"]\ndeny = [\"::/0\"]",
    ) + &pair("udp", "udp", udp, four.address(), "");
    let clb = Clb::start(2, &sections).serves(Tcp, tcp).serves(Udp, udp);
    let mut client = Client::connect(tcp, 1).await.expect("accepted");
    client.exchange(100_000).await.expect("echoed");
    let socket = UdpSocket::bind("[::1]:0").await.expect("a port");
    socket.connect(udp).await.expect("connected");
    assert_eq!(
        ask(&socket, b"hello", PATIENCE).await.expect("an answer"),
        b"hello"
    );
    assert_eq!(clb.metrics().sum("clb_refused_total", &[]), 0.0);
}

#[test]
fn datagrams_that_are_refused_are_logged_by_one_line_a_second() {
    let listen = host::free_address();
    let sections = pair(
        "u",
        "udp",
        listen,
        "127.0.0.1:1",
        "deny = [\"127.0.0.0/8\"]",
    );
    let clb = Clb::start(1, &sections).serves(Udp, listen);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    for _ in 0..100 {
        socket.send_to(b"hello", listen).expect("sent");
    }
    let labels = [("listener", "u"), ("reason", "denied")];
    clb.await_figure("clb_refused_total", &labels, 100.0);
    let log = clb.process().log();
    let line = "refused a client listener=u reason=denied client=127.0.0.1:";
    assert!(log.contains(line), "{log}");
    assert!(!log.contains("unlogged=0"), "{log}");
    assert!(log.matches("refused a client").count() <= 10, "{log}");
}

#[test]
fn a_second_balancer_at_the_same_port_is_told_so_and_ends() {
    for (protocol, known) in [("tcp", Tcp), ("udp", Udp)] {
        let listen = host::free_address();
        let sections = pair("l", protocol, listen, "127.0.0.1:1", "");
        let first = Clb::start(1, &sections).serves(known, listen);
        let dir = TempDir::new("second");
        dir.write("clb.toml", &sections);
        let second = Command::new(clb::program())
            .arg("--config")
            .arg(dir.path().join("clb.toml"))
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{told}");
        let expected = format!("listener.l: cannot listen at {listen}: Address already in use");
        assert!(told.contains(&expected), "{told}");
        // The one that stays keeps its sockets, and is not asked whether they are free.
        reloaded(&first);
    }
}

#[test]
fn an_old_socket_file_is_replaced_and_whatever_else_is_there_is_kept() {
    let dir = TempDir::new("sockets");
    let at = |name: &str| dir.path().join(name);
    let echo = UnixListener::bind(at("echo")).expect("bound");
    std::thread::spawn(move || {
        for client in echo.incoming() {
            let mut client = client.expect("accepted");
            let mut back = client.try_clone().expect("a descriptor");
            let _ = std::io::copy(&mut client, &mut back);
        }
    });
    let unix = |name: &str| format!("unix:{}", at(name).display());
    let sections = pair("l", "tcp", unix("front"), unix("echo"), "");
    // Nobody listens on it any more.
    drop(UnixListener::bind(at("front")).expect("bound"));
    let clb = Clb::start(1, &sections);
    let mut client = UnixStream::connect(at("front")).expect("served");
    client.write_all(b"hello").expect("sent");
    let mut answer = [0; 5];
    client.read_exact(&mut answer).expect("echoed");
    assert_eq!(&answer, b"hello");

    // Somebody does, be it that it never accepts; and a file that is no socket.
    let busy = UnixListener::bind(at("busy")).expect("bound");
    dir.write("precious", "data");
    for name in ["front", "busy", "precious"] {
        dir.write(
            "second.toml",
            &pair("l", "tcp", unix(name), unix("echo"), ""),
        );
        let output = Command::new("timeout")
            .arg("10")
            .arg(clb::program())
            .arg("--config")
            .arg(at("second.toml"))
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(
            told.contains(name) && told.contains("in use"),
            "{name}: {told}"
        );
    }
    assert_eq!(dir.read("precious"), "data");
    drop((busy, clb));
}
