//! Kernels at both ends: TCP and UDP of real hosts through transports, with offloads on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lb_l4::Clock;
use lb_l4::packet::{InterfaceId, Packet, Verdict};
use lb_l4::transport::af_packet::{AfPacketConfig, Receiving, Sending};
use lb_l4::transport::tun::{Offloading, TunConfig};
use lb_l4::transport::{AfPacket, Ports, Transport, TransportStats, Tun, Woken};

use crate::netns::Namespace;

const PATIENCE: Duration = Duration::from_secs(20);
const CLIENT: InterfaceId = InterfaceId(1);
const SERVER: InterfaceId = InterfaceId(2);

/// What the packets of a bridge looked like.
#[derive(Debug, Default)]
struct Seen {
    largest: usize,
    partial: u64,
    joined: u64,
}

impl Seen {
    fn look(&mut self, packet: &Packet<'_>) {
        let offload = packet.offloads();
        self.largest = self.largest.max(packet.bytes().len());
        self.partial += u64::from(offload.checksum == lb_l4::packet::Checksum::Partial);
        self.joined += u64::from(offload.segment.is_some());
    }
}

/// Carries every packet to the other port, until `stop` can be read.
fn bridge<T: Transport>(ports: &mut Ports<T>, stop: &UnixStream) -> Seen {
    let clock = Clock::monotonic();
    let mut seen = Seen::default();
    loop {
        while ports.forward(|burst| across(burst, &mut seen)).unwrap() > 0 {}
        let now = clock.now();
        match ports
            .wait(now, Some(now + PATIENCE), &[stop.as_fd()])
            .unwrap()
        {
            Woken::Packet | Woken::Signal => {}
            _ => return seen,
        }
    }
}

fn across(burst: &mut [Packet<'_>], seen: &mut Seen) {
    for packet in burst {
        seen.look(packet);
        let to = if packet.interface() == CLIENT {
            SERVER
        } else {
            CLIENT
        };
        packet.set_verdict(Verdict::Forward(to));
    }
}

/// Runs a bridge while `work` runs.
fn while_bridged<T: Transport + Send>(
    mut ports: Ports<T>,
    work: impl FnOnce(),
) -> (Seen, TransportStats) {
    let (stop, stopped) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let bridge = scope.spawn(|| (bridge(&mut ports, &stopped), ports.stats()));
        work();
        (&stop).write_all(b"x").unwrap();
        bridge.join().unwrap()
    })
}

/// Sends 8 MB by TCP there and back, and some datagrams of many fragments.
fn talk(client: &Namespace, server: &Namespace, address: &str) {
    let sent: Vec<u8> = (0..8_000_000_u32).map(|it| (it % 251) as u8).collect();
    let listener = server.enter(|| TcpListener::bind(address)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut accepted, _) = listener.accept().unwrap();
            accepted.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut received = Vec::new();
            accepted.read_to_end(&mut received).unwrap();
            accepted.write_all(&received).unwrap();
        });
        let mut stream = client.enter(|| TcpStream::connect(address)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(
            received == sent,
            "{} bytes of {}",
            received.len(),
            sent.len()
        );
    });

    let answers = server.enter(|| UdpSocket::bind(address)).unwrap();
    let any = if address.starts_with('[') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let asks = client.enter(|| UdpSocket::bind(any)).unwrap();
    for socket in [&answers, &asks] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    for len in [1, 1400, 8000] {
        asks.send_to(&sent[..len], address).unwrap();
        let mut room = [0; 10_000];
        let (got, from) = answers.recv_from(&mut room).unwrap();
        answers.send_to(&room[..got], from).unwrap();
        let got = asks.recv(&mut room).unwrap();
        assert_eq!(room[..got], sent[..len]);
    }
}

/// A client, a bridge with two packet sockets, and a server.
fn by_packet_sockets(sending: Sending) -> (Seen, TransportStats) {
    let [Some(client), Some(middle), Some(server)] = [(); 3].map(|()| Namespace::open()) else {
        return (Seen::default(), TransportStats::default());
    };
    let mut ends = Vec::new();
    for (host, near, number, end) in [(&client, "c", CLIENT, 1), (&server, "s", SERVER, 2)] {
        middle.wire(near, "host");
        middle.ip(&format!("link set host netns {}", host.name()));
        host.ip(&format!("address add 10.9.0.{end}/24 dev host"));
        host.ip(&format!("address add fd09::{end}/64 dev host nodad"));
        host.ip("link set host up");
        ends.push(
            AfPacketConfig::new(near)
                .interface(number)
                .receiving(Receiving::Everything)
                .sending(sending),
        );
    }
    let open = |config| AfPacket::open(config).expect("root may open a packet socket");
    let ports: Vec<_> = middle.enter(|| ends.into_iter().map(open).collect());
    while_bridged(Ports::new(ports).unwrap(), || {
        talk(&client, &server, "10.9.0.2:7000");
        talk(&client, &server, "[fd09::2]:7000");
    })
}

#[test]
fn packet_sockets_carry_what_hosts_leave_to_hardware() {
    for sending in [Sending::Queued, Sending::Direct] {
        let (seen, stats) = by_packet_sockets(sending);
        if stats.received == 0 {
            return;
        }
        assert!(seen.partial > 100 && seen.joined > 100, "{seen:?}");
        assert!(seen.largest > 20_000, "{seen:?}");
        assert_eq!(
            (stats.malformed, stats.misdirected, stats.too_large),
            (0, 0, 0),
            "{stats:?}"
        );
    }
}

/// A client and a server, each with a TUN device whose packets the other one's gets.
fn by_tun(offloading: [Offloading; 2]) -> (Seen, TransportStats) {
    let [Some(client), Some(server)] = [(); 2].map(|()| Namespace::open()) else {
        return (Seen::default(), TransportStats::default());
    };
    let mut ports = Vec::new();
    let hosts = [(&client, CLIENT, 1), (&server, SERVER, 2)];
    for ((host, number, end), offloading) in hosts.into_iter().zip(offloading) {
        let config = TunConfig::default().name("tun").interface(number);
        let tun = host.enter(|| Tun::open(config.offloading(offloading)));
        ports.push(tun.expect("root may open a device"));
        host.ip(&format!("address add 10.9.0.{end}/24 dev tun"));
        host.ip(&format!("address add fd09::{end}/64 dev tun nodad"));
    }
    while_bridged(Ports::new(ports).unwrap(), || {
        talk(&client, &server, "10.9.0.2:7000");
        talk(&client, &server, "[fd09::2]:7000");
    })
}

#[test]
fn tun_devices_carry_what_hosts_leave_to_hardware() {
    let (seen, stats) = by_tun([Offloading::On; 2]);
    if stats.received == 0 {
        return;
    }
    assert!(seen.partial > 100 && seen.joined > 100, "{seen:?}");
    assert!(seen.largest > 20_000, "{seen:?}");
    assert_eq!(
        (stats.malformed, stats.misdirected, stats.too_large),
        (0, 0, 0),
        "{stats:?}"
    );
}

#[test]
fn tun_devices_without_offloads_show_finished_packets() {
    let (seen, stats) = by_tun([Offloading::Off; 2]);
    assert_eq!((seen.partial, seen.joined), (0, 0), "{seen:?}");
    assert!(seen.largest <= 1500, "{seen:?}");
    assert_eq!(
        (stats.malformed, stats.misdirected, stats.too_large),
        (0, 0, 0),
        "{stats:?}"
    );
}
