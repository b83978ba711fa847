//! Who a server behind FULLNAT serves, told by the kernel's own memory of the SYN.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};

use lb_l4::toa;
use lbcore::address_list::AddressRules;

fn nodes(text: &str) -> AddressRules {
    AddressRules::new([text.parse().unwrap()], [])
}

fn accepted(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn a_peer_that_tells_of_nobody_is_the_client_itself() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            continue;
        };
        let all = nodes(if address.starts_with('[') {
            "::/0"
        } else {
            "0.0.0.0/0"
        });
        // Without the headers, with them, and when they have been read.
        let (_client, socket) = accepted(&listener);
        assert_eq!(toa::client_of(&socket, &all).unwrap(), None);
        toa::keep_syn(&listener).unwrap();
        let (_client, socket) = accepted(&listener);
        assert_eq!(toa::client_of(&socket, &all).unwrap(), None);
        assert_eq!(toa::client_of(&socket, &all).unwrap(), None);
    }
}

#[test]
fn what_is_no_connection_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let all = nodes("0.0.0.0/0");
    let error = toa::client_of(&listener, &all).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(toa::keep_syn(&datagrams).is_err());
    let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(toa::client_of(&near, &all).unwrap(), None);
}

#[cfg(feature = "tun")]
#[path = "transports/netns.rs"]
#[expect(dead_code, reason = "the tests of transports need more of it")]
mod netns;

/// A kernel's handshake with a node that is played here, over a TUN device.
#[cfg(feature = "tun")]
mod told {
    use std::net::SocketAddr;
    use std::time::Duration;

    use lb_l4::Clock;
    use lb_l4::packet::Link;
    use lb_l4::transport::tun::{Offloading, TunConfig};
    use lb_l4::transport::{Transport, Tun, Woken};
    use lb_l4::wire::emit::TcpSegment;
    use lb_l4::wire::tcp::flags::{ACK, SYN};
    use lb_l4::wire::{Frame, parse};

    use super::*;
    use crate::netns::Namespace;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn device(host: &Namespace) -> Tun {
        let config = TunConfig::default().name("toa").offloading(Offloading::Off);
        let tun = Tun::open(config).expect("root may open a TUN device");
        host.ip("link set toa up");
        host.ip("address add 10.0.1.1/24 dev toa");
        host.ip("address add fd00:1::1/64 dev toa nodad");
        tun
    }

    /// The number of the host's answer to the SYN of `node`.
    fn answer(tun: &mut Tun, node: SocketAddr) -> u32 {
        let clock = Clock::monotonic();
        let end = clock.now() + PATIENCE;
        let mut found = None;
        while found.is_none() {
            let woken = tun.wait(clock.now(), Some(end), &[]).unwrap();
            assert!(woken != Woken::Deadline, "no answer to {node}");
            let shown = tun.forward(|burst| {
                for packet in burst {
                    let Ok(Frame::Ip(headers)) = parse(packet.bytes(), Link::Ip) else {
                        continue;
                    };
                    if headers.destination_end() == node
                        && let Some(tcp) = headers.tcp()
                    {
                        found = Some(tcp.sequence);
                    }
                }
            });
            shown.unwrap();
        }
        found.unwrap()
    }

    /// Connects as `node`, that tells of `client` in its SYN.
    fn connect(tun: &mut Tun, [node, server]: [SocketAddr; 2], client: SocketAddr) {
        let option = toa::Emitted::of(client);
        let mut bytes = Vec::new();
        TcpSegment::new(node, server, SYN)
            .sequence(100)
            .window(1000)
            .options(option.bytes())
            .emit(&mut bytes);
        tun.send(&bytes).unwrap();
        let theirs = answer(tun, node);
        bytes.clear();
        TcpSegment::new(node, server, ACK)
            .sequence(101)
            .acknowledgement(theirs.wrapping_add(1))
            .window(1000)
            .emit(&mut bytes);
        tun.send(&bytes).unwrap();
    }

    #[test]
    fn a_client_is_told_by_a_node_and_by_nobody_else() {
        let Some(host) = Namespace::open() else {
            return;
        };
        host.enter(|| {
            let mut tun = device(&host);
            for (server, node, other, client) in [
                ("10.0.1.1:80", "10.0.1.100", "10.0.1.9", "192.0.2.1:40000"),
                (
                    "[fd00:1::1]:80",
                    "fd00:1::100",
                    "fd00:1::9",
                    "[2001:db8::7]:65535",
                ),
            ] {
                let listener = TcpListener::bind(server).unwrap();
                toa::keep_syn(&listener).unwrap();
                let nodes = AddressRules::new([node.parse().unwrap()], []);
                let client: SocketAddr = client.parse().unwrap();
                let server = server.parse().unwrap();
                for (peer, told) in [(node, Some(client)), (other, None)] {
                    let peer = SocketAddr::new(peer.parse().unwrap(), 5000);
                    connect(&mut tun, [peer, server], client);
                    let (socket, from) = listener.accept().unwrap();
                    assert_eq!(from, peer);
                    assert_eq!(toa::client_of(&socket, &nodes).unwrap(), told);
                    // The kernel gives the headers once.
                    assert_eq!(toa::client_of(&socket, &nodes).unwrap(), None);
                }
            }
        });
    }
}
