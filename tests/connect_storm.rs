//! A hundred thousand connections that say nothing, in waves below the descriptor limit.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use harness::clb::{Clb, pair};
use harness::client::Client;
use harness::process::Launch;
use harness::procfs::Protocol;
use harness::{host, raw};
use socket2::{Domain, Socket, Type};

/// All of them; half are clients of a plain listener, half of one that waits for a PROXY header.
const CONNECTS: u32 = 100_000;
/// What is held at once; two descriptors in `clb` for the plain half, and one for the other.
const WAVE: u32 = 10_000;

#[tokio::test]
async fn a_hundred_thousand_silent_connects_cost_bounded_memory_and_nobody_else_notices() {
    let _ = host::raise_descriptors();
    let (plain, proxied, back) = (
        host::free_address(),
        host::free_address(),
        host::free_address(),
    );
    let _backend = Launch::new(env!("CARGO_BIN_EXE_echo"))
        .arg(back.to_string())
        .serving(Protocol::Tcp, back)
        .start();
    let waits = "proxy_protocol = { accept = true }";
    let sections =
        pair("plain", "tcp", plain, back, "") + &pair("proxied", "tcp", proxied, back, waits);
    let clb = Clb::start(2, &sections)
        .serves(Protocol::Tcp, plain)
        .serves(Protocol::Tcp, proxied);
    let mut old = Client::connect(plain, 1).await.expect("served");

    for wave in 1..=CONNECTS / WAVE {
        let held: Vec<TcpStream> = (0..WAVE)
            .map(|number| {
                silent(
                    wave * WAVE + number,
                    if number % 2 == 0 { plain } else { proxied },
                )
            })
            .collect();
        let so_far = f64::from(wave * WAVE / 2);
        // One is the old client, and each wave before brought a new one.
        let others = f64::from(wave);
        clb.await_figure(
            "clb_listener_accepted_total",
            &[("listener", "plain")],
            so_far + others,
        );
        clb.await_figure(
            "clb_listener_accepted_total",
            &[("listener", "proxied")],
            so_far,
        );
        old.exchange(10_000).await.expect("a session goes on");
        let mut new = Client::connect(plain, u64::from(wave))
            .await
            .expect("served");
        new.exchange(10_000).await.expect("a session begins");
        clb.assert_memory(u64::from(WAVE));
        drop(new);
        drop(held);
        clb.await_figure("clb_listener_sessions_active", &[], 1.0);
        // Too late and gone too soon are two reasons; together they are all.
        let labels = [("listener", "proxied")];
        clb.await_figure("clb_refused_total", &labels, so_far);
    }

    assert_eq!(
        clb.refused("proxied", "proxy-header") + clb.refused("proxied", "proxy-timeout"),
        50_000.0
    );
    assert!(clb.ended("plain", "client-reset") >= 50_000.0);
    let log = clb.process().log();
    assert!(log.len() < 64 << 10, "{} bytes of log", log.len());
    assert!(log.contains("refused a client"), "{log}");
    assert!(clb.process().descriptors() < 100, "sockets are left behind");
}

/// Connects from one of several addresses, so that ports never run out, and will end by a reset,
/// so that nothing stays in TIME-WAIT.
fn silent(number: u32, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 200).unwrap_or(0) + 1);
    let source = SocketAddr::new(IpAddr::V4(source), 0);
    socket.bind(&source.into()).expect("all of 127/8 is ours");
    socket
        .connect(&address.into())
        .expect("the backlog has room");
    raw::reset(&socket);
    socket.into()
}
