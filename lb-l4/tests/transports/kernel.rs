//! What only a kernel's transports do: queues, tags, filters, and an interface that goes down.

use std::num::NonZeroU32;
use std::time::Duration;

use lb_l4::Clock;
use lb_l4::packet::Verdict;
use lb_l4::transport::af_packet::{AfPacketConfig, FilterInstruction, Receiving};
use lb_l4::transport::tun::TunConfig;
use lb_l4::transport::{AfPacket, Sent, Transport, Tun, Woken};

use crate::netns::Namespace;

const PATIENCE: Duration = Duration::from_secs(5);
/// Nothing more comes once nothing has for this long.
const QUIET: Duration = Duration::from_millis(50);

/// A datagram of IPv4 between 10.0.0.`from` and 10.0.0.`to`, with these ports.
fn datagram(from: (u8, u16), to: (u8, u16)) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
    bytes.extend([10, 0, 0, from.0, 10, 0, 0, to.0]);
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend([0, 9, 0, 0, 7]);
    bytes
}

/// The same behind an Ethernet header with this between its addresses and its type.
fn frame(tag: &[u8], packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(tag);
    bytes.extend([8, 0]);
    bytes.extend(packet);
    bytes
}

/// All packets of 10.0.0.0/24 that come until nothing does; each is answered with `verdict`.
///
/// What kernels say over IPv6 when a link comes up is none of them, whatever its checksum is.
fn receive(transport: &mut impl Transport, verdict: Verdict) -> Vec<Vec<u8>> {
    let clock = Clock::monotonic();
    let mut all = Vec::new();
    loop {
        let now = clock.now();
        let woken = transport.wait(now, Some(now + QUIET), &[]).unwrap();
        if woken == Woken::Deadline {
            return all;
        }
        let shown = transport.forward(|burst| {
            for packet in burst {
                let bytes = packet.bytes();
                let is_v6 = bytes.get(12..14) == Some(&[0x86, 0xdd]);
                if !is_v6 && bytes.windows(4).any(|it| it.starts_with(&[10, 0, 0])) {
                    all.push(bytes.to_vec());
                    packet.set_verdict(verdict);
                }
            }
        });
        shown.unwrap();
    }
}

fn open(config: AfPacketConfig) -> AfPacket {
    AfPacket::open(config).expect("root may open a packet socket")
}

/// What is wrong with it, behind what it had received before.
fn fault(transport: &mut impl Transport) -> std::io::Error {
    let mut turns = (0..100).filter_map(|_| transport.forward(|_| ()).err());
    turns.next().expect("it is down")
}

#[test]
fn a_vlan_tag_that_the_kernel_takes_out_is_put_back() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.wire("near", "far");
    host.enter(|| {
        let mut near = open(AfPacketConfig::new("near"));
        let mut far = open(AfPacketConfig::new("far"));
        let packet = datagram((1, 1), (2, 2));
        let tags: [&[u8]; 4] = [
            &[],
            &[0x81, 0, 0x20, 5],
            &[0x88, 0xa8, 0, 9],
            &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 7],
        ];
        let sent: Vec<_> = tags.iter().map(|tag| frame(tag, &packet)).collect();
        for bytes in &sent {
            assert_eq!(far.send(bytes).unwrap(), Sent::Queued);
        }
        assert_eq!(receive(&mut near, Verdict::Reply), sent);
        assert_eq!(receive(&mut far, Verdict::Pass), sent);
        let room = near.capabilities().headroom;
        assert!(room >= lb_l4::transport::HEADROOM, "{room}");
    });
}

#[test]
fn queues_share_flows_and_both_directions_go_to_one() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.wire("near", "far");
    host.enter(|| {
        let queues = AfPacket::open_queues(AfPacketConfig::new("near"), 4);
        let mut queues = queues.expect("root may open packet sockets");
        let mut far = open(AfPacketConfig::new("far"));
        for port in 0..64 {
            let (client, server) = ((1, 1000 + port), (2, 53));
            for (from, to) in [(client, server), (server, client)] {
                far.send(&frame(&[], &datagram(from, to))).unwrap();
            }
        }
        let ports = |bytes: &[u8]| {
            let port = |at| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            port(34).max(port(36))
        };
        let mut seen: Vec<(u16, usize)> = Vec::new();
        for (queue, transport) in queues.iter_mut().enumerate() {
            let all = receive(transport, Verdict::Pass);
            assert!(!all.is_empty(), "no flow at all at queue {queue}");
            seen.extend(all.iter().map(|bytes| (ports(bytes), queue)));
        }
        assert_eq!(seen.len(), 128, "each packet once");
        seen.sort_unstable();
        for pair in seen.chunks(2) {
            assert_eq!(pair[0], pair[1], "both directions at one queue");
        }
    });
}

#[test]
fn a_filter_keeps_packets_away() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.wire("near", "far");
    let instruction = |code, if_true, if_false, operand| FilterInstruction {
        code,
        if_true,
        if_false,
        operand,
    };
    // `ether[30:4] == 10.0.0.2`, or nothing.
    let filter = vec![
        instruction(0x20, 0, 0, 30),
        instruction(0x15, 0, 1, 0x0a00_0002),
        instruction(0x06, 0, 0, u32::MAX),
        instruction(0x06, 0, 0, 0),
    ];
    host.enter(|| {
        let mut near = open(AfPacketConfig::new("near").filter(filter));
        let mut far = open(AfPacketConfig::new("far"));
        let wanted = frame(&[], &datagram((1, 1), (2, 2)));
        far.send(&frame(&[], &datagram((1, 1), (3, 2)))).unwrap();
        far.send(&wanted).unwrap();
        assert_eq!(receive(&mut near, Verdict::Pass), [wanted]);
    });
}

#[test]
fn what_this_host_sends_is_not_shown() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.wire("near", "far");
    host.enter(|| {
        for count in [1, 2] {
            let queues = AfPacket::open_queues(AfPacketConfig::new("near"), count);
            let mut queues = queues.expect("root may open packet sockets");
            let mut beside = open(AfPacketConfig::new("near"));
            beside.send(&frame(&[], &datagram((1, 1), (2, 2)))).unwrap();
            for queue in &mut queues {
                assert_eq!(receive(queue, Verdict::Pass), [] as [Vec<u8>; 0]);
            }
        }
    });
}

#[test]
fn a_full_ring_is_counted_by_the_kernel() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.wire("near", "far");
    host.enter(|| {
        let small = NonZeroU32::new(2).unwrap();
        let mut near = open(AfPacketConfig::new("near").blocks(small));
        let mut far = open(AfPacketConfig::new("far"));
        let bytes = frame(&[], &datagram((1, 1), (2, 2)));
        for _ in 0..10_000 {
            far.send(&bytes).unwrap();
        }
        let shown = receive(&mut near, Verdict::Pass).len() as u64;
        let stats = near.stats();
        assert!(stats.kernel_dropped > 0, "{stats:?}");
        assert_eq!(
            near.stats().kernel_dropped,
            stats.kernel_dropped,
            "asked again"
        );
        assert!(shown + stats.kernel_dropped >= 10_000, "{shown} {stats:?}");
    });
}

#[test]
fn an_interface_that_goes_down_is_an_error() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.wire("near", "far");
    host.enter(|| {
        let mut near = open(AfPacketConfig::new("near"));
        host.ip("link set near down");
        let clock = Clock::monotonic();
        let until = clock.now() + PATIENCE;
        let error = loop {
            near.wait(clock.now(), Some(until), &[]).unwrap();
            match near.forward(|_| ()) {
                Ok(_) => assert!(clock.now() < until, "it is down"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkDown);
        let bytes = frame(&[], &datagram((1, 1), (2, 2)));
        let error = near.send(&bytes).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkDown);
        // It is told again and again, and not once.
        let error = fault(&mut near);
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkDown);
        host.ip("link set near up");
        // What the host itself says when a link comes up may be there already.
        near.forward(|_| ()).unwrap();
        let mut far = open(AfPacketConfig::new("far"));
        far.send(&bytes).unwrap();
        assert_eq!(receive(&mut near, Verdict::Pass), [bytes]);
    });
}

#[test]
fn an_interface_that_is_made_anew_is_taken_again_if_it_has_the_same_address() {
    let Some(host) = Namespace::open() else {
        return;
    };
    let make = |mac: &str| {
        host.ip(&format!(
            "link add near address {mac} type veth peer name far"
        ));
        for end in ["near", "far"] {
            host.ip(&format!("link set {end} up"));
        }
    };
    make("02:00:00:00:00:01");
    host.enter(|| {
        let config = AfPacketConfig::new("near").receiving(Receiving::Everything);
        let mut near = open(config);
        let mut queues = AfPacket::open_queues(AfPacketConfig::new("near"), 2).unwrap();
        host.ip("link delete near");
        let bytes = frame(&[], &datagram((1, 1), (2, 2)));
        near.send(&bytes).unwrap_err();
        queues[0].send(&bytes).unwrap_err();
        fault(&mut near);
        make("02:00:00:00:00:02");
        let error = fault(&mut near);
        assert!(
            error.to_string().contains("another link address"),
            "{error}"
        );
        host.ip("link delete near");
        make("02:00:00:00:00:01");
        assert_eq!(near.forward(|_| ()).unwrap(), 0);
        let mut far = open(AfPacketConfig::new("far"));
        far.send(&bytes).unwrap();
        assert_eq!(
            receive(&mut near, Verdict::Pass),
            std::slice::from_ref(&bytes)
        );
        near.send(&bytes).unwrap();
        // One of several is bound for good, and says that it is not there.
        let error = fault(&mut queues[0]);
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.wire("near", "far");
    host.enter(|| {
        AfPacket::open(AfPacketConfig::new("nobody")).unwrap_err();
        for retire in [
            Duration::ZERO,
            Duration::from_micros(999),
            Duration::from_millis(1001),
        ] {
            let config = AfPacketConfig::new("near").retire(retire);
            let error = AfPacket::open(config).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{retire:?}");
        }
        AfPacket::open(AfPacketConfig::new("near").retire(Duration::from_secs(1))).unwrap();
        let mtu = TunConfig::default().mtu(65_536);
        Tun::open(mtu).unwrap_err();
        let name = TunConfig::default().name("0123456789abcdef");
        Tun::open(name).unwrap_err();
        let near = TunConfig::default().name("near");
        Tun::open(near).unwrap_err();
    });
}

#[test]
fn a_device_is_named_sized_and_gone_with_its_value() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.enter(|| {
        let config = TunConfig::default().name("lb%d").mtu(1280);
        let tun = Tun::open(config).expect("root may open a device");
        assert_eq!(tun.name(), "lb0");
        let can = open(AfPacketConfig::new("lb0")).capabilities();
        assert_eq!((can.mtu, can.mac), (1280, None));
        drop(tun);
        AfPacket::open(AfPacketConfig::new("lb0")).unwrap_err();
    });
}

#[test]
fn a_flow_comes_by_the_queue_that_has_sent_for_it() {
    let Some(host) = Namespace::open() else {
        return;
    };
    host.enter(|| {
        let queues = Tun::open_queues(TunConfig::default().name("lb"), 3);
        let mut queues = queues.expect("root may open a device");
        assert!(queues.iter().all(|queue| queue.name() == "lb"));
        let mut far = open(AfPacketConfig::new("lb"));
        for (place, port) in [(2, 1000), (0, 1001), (1, 1002), (2, 1003)] {
            let (client, server) = ((1, port), (2, 53));
            queues[place].send(&datagram(client, server)).unwrap();
            receive(&mut far, Verdict::Pass);
            let answer = datagram(server, client);
            far.send(&answer).unwrap();
            assert_eq!(
                receive(&mut queues[place], Verdict::Pass),
                [answer],
                "{port}"
            );
        }
    });
}
