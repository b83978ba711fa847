//! Tunnels: the client's packet as it came, inside one to the backend.

use lb_l4::forwarder::ServiceProtocol::{Sctp, Tcp, Udp};
use lb_l4::forwarder::{Forwarder, ForwarderError, OnExpiry};
use lb_l4::method::ForwardingMethod;
use lb_l4::method::tunnel::{
    Dscp, Encapsulation, TunnelConfig, TunnelConfigError, UdpChecksum, decapsulate,
};
use lb_l4::packet::{Checksum, DropReason, InterfaceId, Link, Offload, Packet, Verdict};
use lb_l4::wire::{Frame, Headers, parse};
use lbcore::hash::HashKey;
use lbcore::schedule::Maglev;

use crate::harness::*;
use crate::line::Line;

/// Two backends behind the gateway, and one of IPv6.
pub(crate) const REMOTE: &[(&str, &str)] = &[("a", "10.1.0.7:0"), ("b", "10.1.0.8:0")];
pub(crate) const REMOTE6: &[(&str, &str)] = &[("a", "[fd00::7]:0"), ("b", "[fd00::8]:0")];

pub(crate) fn ipip() -> TunnelConfig {
    TunnelConfig::default()
        .source_v4("10.0.0.1".parse().unwrap())
        .source_v6("2001:db8:1::1".parse().unwrap())
}

pub(crate) fn services(config: TunnelConfig, backends: &[(&str, &str)]) -> World {
    world_of(InTurn, backends, |pool| {
        let method = ForwardingMethod::Tunnel(config);
        [
            service("web", Tcp, "203.0.113.10/32", 80, &pool),
            service("dns", Udp, "203.0.113.10/32", 53, &pool),
            service("web6", Tcp, "2001:db8::10/128", 80, &pool),
        ]
        .map(|it| it.method(method).on_expiry(OnExpiry::Reset))
        .into()
    })
}

/// What became of a line: the verdict, and all that went out, as it stands on the wire.
fn show(world: &mut World, line: &str) -> (Verdict, Vec<Vec<u8>>) {
    show_bytes(world, &Line::read(line).bytes(), Offload::default())
}

fn show_bytes(world: &mut World, bytes: &[u8], offload: Offload) -> (Verdict, Vec<Vec<u8>>) {
    let kind = if bytes[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    let frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0xfe][..], &kind, bytes].concat();
    let mut buffer = [vec![0; 128], frame].concat();
    let end = buffer.len();
    let mut packet = Packet::new(&mut buffer, 128..end, Link::Ethernet).offload(offload);
    world.forwarder.handle_packet(world.now, &mut packet);
    let verdict = packet.verdict();
    let mut sent = Vec::new();
    if verdict == Verdict::Forward(InterfaceId(0)) {
        sent.push(packet.bytes().to_vec());
    }
    while let Some(own) = world.forwarder.poll_transmit(world.now) {
        sent.push(own.bytes.to_vec());
    }
    (verdict, sent)
}

fn headers(bytes: &[u8], link: Link) -> Headers {
    match parse(bytes, link) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

/// The outer headers of a frame, which must be right, and the frame as it comes out.
fn taken_out(frame: &[u8]) -> (Headers, Vec<u8>) {
    let mut buffer = frame.to_vec();
    let mut packet = Packet::new(&mut buffer, 0..frame.len(), Link::Ethernet);
    let outer = headers(frame, Link::Ethernet);
    assert!(outer.header_checksum_is_right(frame));
    assert!(outer.checksum_is_right(frame, Checksum::Complete));
    assert_eq!(frame[..6], [2, 0, 0, 0, 0, 0xfe], "to the gateway");
    decapsulate(&mut packet, &outer, Some(6080)).unwrap();
    (outer, packet.bytes().to_vec())
}

/// `line` as it arrives at the backend: a hop less to live.
fn arrives(frame: &[u8], line: &str) {
    let found = Line::of(frame, Link::Ethernet, Checksum::Complete);
    let sent = Line::read(line);
    let mut expected = sent.after(&sent);
    expected.mac = found.mac;
    expected.ttl = Some(sent.ttl.unwrap_or(64) - 1);
    assert_eq!(found.to_string(), expected.to_string());
}

/// A row: what it says, the tunnel, its backends, the line that comes in, the outer ends, and the
/// outer protocol, traffic class and "don't fragment".
type Row = (
    &'static str,
    fn() -> TunnelConfig,
    &'static [(&'static str, &'static str)],
    &'static str,
    (&'static str, &'static str),
    (u8, u8, bool),
);

const V4: &str = "tcp 192.0.2.1:40000 > 203.0.113.10:80 S mss=1460";
const V6: &str = "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S mss=1440";
const DATAGRAM: &str = "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33";
const FROM: &str = "10.0.0.1";
const FROM6: &str = "2001:db8:1::1";
const TO: (&str, &str) = (FROM, "10.1.0.7");
const TO6: (&str, &str) = (FROM6, "fd00::7");

const ROWS: &[Row] = &[
    ("IPv4 in IPv4", ipip, REMOTE, V4, TO, (4, 0, true)),
    ("IPv6 in IPv4", ipip, REMOTE, V6, TO, (41, 0, false)),
    ("IPv4 in IPv6", ipip, REMOTE6, V4, TO6, (4, 0, true)),
    ("IPv6 in IPv6", ipip, REMOTE6, V6, TO6, (41, 0, true)),
    (
        "GRE",
        || ipip().kind(Encapsulation::Gre),
        REMOTE,
        V4,
        TO,
        (47, 0, true),
    ),
    (
        "GRE of IPv6",
        || ipip().kind(Encapsulation::Gre),
        REMOTE,
        V6,
        TO,
        (47, 0, false),
    ),
    (
        "GRE over IPv6",
        || ipip().kind(Encapsulation::Gre),
        REMOTE6,
        V4,
        TO6,
        (47, 0, true),
    ),
    (
        "GRE of IPv6 over IPv6",
        || ipip().kind(Encapsulation::Gre),
        REMOTE6,
        V6,
        TO6,
        (47, 0, true),
    ),
    (
        "GUE",
        || ipip().kind(Encapsulation::GUE),
        REMOTE,
        V4,
        TO,
        (17, 0, true),
    ),
    (
        "GUE of IPv6",
        || ipip().kind(Encapsulation::GUE),
        REMOTE,
        V6,
        TO,
        (17, 0, false),
    ),
    (
        "GUE over IPv6",
        || ipip().kind(Encapsulation::GUE),
        REMOTE6,
        V4,
        TO6,
        (17, 0, true),
    ),
    (
        "GUE of IPv6 over IPv6",
        || ipip().kind(Encapsulation::GUE),
        REMOTE6,
        V6,
        TO6,
        (17, 0, true),
    ),
    (
        "GUE with a checksum",
        || {
            ipip()
                .kind(Encapsulation::GUE)
                .udp_checksum(UdpChecksum::Computed)
        },
        REMOTE,
        V4,
        TO,
        (17, 0, true),
    ),
    ("UDP", ipip, REMOTE, DATAGRAM, TO, (4, 0, true)),
    (
        "congestion and code point are copied",
        ipip,
        REMOTE,
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 S tos=187",
        TO,
        (4, 187, true),
    ),
    (
        "a code point of the operator's, and congestion of the sender's",
        || ipip().dscp(Dscp::Set(0x0a)),
        REMOTE,
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 S tos=187",
        TO,
        (4, 0x2b, true),
    ),
    (
        "the last hop but one",
        ipip,
        REMOTE,
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 S ttl=2",
        TO,
        (4, 0, true),
    ),
];

#[test]
fn the_packet_arrives_as_it_came() {
    for (says, config, backends, line, (from, to), (protocol, class, dont_fragment)) in ROWS {
        let mut world = services(config(), backends);
        let (verdict, sent) = show(&mut world, line);
        assert_eq!(verdict, Verdict::Forward(InterfaceId(0)), "{says}");
        let (outer, inner) = taken_out(&sent[0]);
        assert_eq!(
            (outer.source, outer.destination),
            (ip(from), ip(to)),
            "{says}"
        );
        let about = (outer.protocol, outer.traffic_class, outer.dont_fragment);
        assert_eq!(about, (*protocol, *class, *dont_fragment), "{says}");
        assert_eq!((outer.ttl, outer.fragment), (64, None), "{says}");
        arrives(&inner, line);
    }
}

#[test]
fn a_session_stays_with_its_backend_and_its_path() {
    let config = ipip()
        .kind(Encapsulation::GUE)
        .source_spread("172.16.0.0/16".parse().unwrap());
    let mut world = services(config, REMOTE);
    let mut outer_ends = Vec::new();
    for line in [
        V4,
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1 ack=1",
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=1 ack=1 len=9",
    ] {
        let (_, sent) = show(&mut world, line);
        let (outer, inner) = taken_out(&sent[0]);
        arrives(&inner, line);
        outer_ends.push((outer.source_end(), outer.destination_end()));
    }
    let (from, to) = outer_ends[0];
    assert!(outer_ends.iter().all(|it| *it == (from, to)));
    assert!(ip("172.16.0.0") < from.ip() && from.ip() < ip("172.16.255.255"));
    assert!(from.port() >= 0xc000);
    // Another flow takes another path, and the next backend.
    let (_, sent) = show(&mut world, "tcp 192.0.2.1:40001 > 203.0.113.10:80 S");
    let (outer, _) = taken_out(&sent[0]);
    assert_ne!(outer.source_end(), from);
    assert_eq!(outer.destination, ip("10.1.0.8"));
}

#[test]
fn many_flows_take_many_paths() {
    let mut world = services(ipip().kind(Encapsulation::GUE), REMOTE);
    let mut ports = std::collections::BTreeSet::new();
    for port in 1..=200 {
        let line = format!("udp 192.0.2.1:{port} > 203.0.113.10:53 len=1");
        let (_, sent) = show(&mut world, &line);
        ports.insert(taken_out(&sent[0]).0.source_end().port());
    }
    // 200 of 16,384: two alike are rare.
    assert!(ports.len() > 190, "{} ports", ports.len());
}

#[test]
fn the_last_hop_is_the_last() {
    let mut world = services(ipip(), REMOTE);
    let (verdict, _) = show(&mut world, "udp 192.0.2.1:40000 > 203.0.113.10:53 ttl=1");
    assert_ne!(verdict, Verdict::Forward(InterfaceId(0)));
    assert_eq!(world.forwarder.stats().dropped_for(DropReason::HopLimit), 1);
}

/// Payload of a datagram that is as long as passes, with IPv4 and UDP headers around it.
const MOST: usize = 1500 - 20 - 28;

#[test]
fn what_is_too_big_and_may_not_be_cut_is_not_sent() {
    let mut world = services(ipip(), REMOTE);
    let line = format!("udp 192.0.2.1:40000 > 203.0.113.10:53 len={MOST}");
    assert_eq!(show(&mut world, &line).0, Verdict::Forward(InterfaceId(0)));
    let line = format!("udp 192.0.2.1:40000 > 203.0.113.10:53 len={}", MOST + 1);
    assert_ne!(show(&mut world, &line).0, Verdict::Forward(InterfaceId(0)));
    assert_eq!(world.forwarder.stats().dropped_for(DropReason::TooBig), 1);
}

#[test]
fn what_may_be_cut_goes_in_pieces_that_fit() {
    for (kind, backends) in [
        (Encapsulation::Ipip, REMOTE),
        (Encapsulation::Gre, REMOTE6),
        (Encapsulation::GUE, REMOTE6),
    ] {
        let mut world = services(ipip().kind(kind), backends);
        let mut bytes = Line::read(&format!(
            "udp 192.0.2.1:40000 > 203.0.113.10:53 len={}",
            MOST + 1
        ))
        .bytes();
        // "Don't fragment" off, and the checksum of the header with it.
        bytes[6] = 0;
        let checksum = u16::from_be_bytes([bytes[10], bytes[11]]);
        let (sum, carry) = checksum.overflowing_add(0x4000);
        bytes[10..12].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
        let (verdict, sent) = show_bytes(&mut world, &bytes, Offload::default());
        assert_eq!((verdict, sent.len()), (Verdict::Held, 2));
        let mut whole = Vec::new();
        for frame in &sent {
            assert!(frame.len() <= 14 + 1500);
            let (_, inner) = taken_out(frame);
            let read = headers(&inner, Link::Ethernet);
            assert_eq!(read.ttl, 63);
            assert_eq!(read.fragment.map(|it| it.offset), Some(whole.len()));
            whole.extend_from_slice(&inner[read.transport..read.end]);
        }
        assert_eq!(whole, bytes[20..]);
    }
}

#[test]
fn a_train_goes_as_a_train_where_it_can_be_cut_later() {
    let mut world = services(ipip(), REMOTE);
    let _ = show(&mut world, V4);
    let train = Line::read("tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=1 ack=1 len=5000").bytes();
    let offload = Offload::partial(std::num::NonZeroU16::new(1_400));
    let (verdict, sent) = show_bytes(&mut world, &train, offload);
    assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
    assert_eq!(sent[0].len(), 14 + 20 + train.len());
    // Segments that are too big are so in a train too.
    let offload = Offload::partial(std::num::NonZeroU16::new(1_441));
    let (verdict, _) = show_bytes(&mut world, &train, offload);
    assert_ne!(verdict, Verdict::Forward(InterfaceId(0)));
    assert_eq!(world.forwarder.stats().dropped_for(DropReason::TooBig), 1);
}

#[test]
fn a_train_whose_length_no_header_can_tell_is_cut() {
    for (len, at_once) in [(65_535 - 20, true), (65_535 - 19, false)] {
        let mut world = services(ipip(), REMOTE);
        let _ = show(&mut world, V4);
        let line = "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=1 ack=1";
        let train = Line::read(&format!("{line} len={}", len - 40)).bytes();
        let offload = Offload::partial(std::num::NonZeroU16::new(1_400));
        let (verdict, sent) = show_bytes(&mut world, &train, offload);
        let expected = (Verdict::Forward(InterfaceId(0)), 1);
        assert_eq!((verdict, sent.len()) == expected, at_once, "{len}");
    }
}

#[test]
fn a_train_is_cut_where_each_segment_needs_a_checksum_around_it() {
    let mut world = services(ipip().kind(Encapsulation::GUE), REMOTE6);
    let _ = show(&mut world, V4);
    let train = Line::read("tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=1 ack=1 len=5000").bytes();
    let offload = Offload::partial(std::num::NonZeroU16::new(1_400));
    let (verdict, sent) = show_bytes(&mut world, &train, offload);
    assert_eq!((verdict, sent.len()), (Verdict::Held, 4));
    let mut payload = Vec::new();
    for frame in &sent {
        let (_, inner) = taken_out(frame);
        let read = headers(&inner, Link::Ethernet);
        assert!(read.checksum_is_right(&inner, Checksum::Complete));
        assert_eq!(
            read.tcp().map(|it| it.sequence as usize),
            Some(1 + payload.len())
        );
        payload.extend_from_slice(&inner[read.payload()]);
    }
    assert_eq!(payload, train[40..]);
}

#[test]
fn an_expired_session_is_reset_through_the_tunnel() {
    let mut world = services(ipip(), REMOTE);
    let _ = show(&mut world, V4);
    let _ = show(
        &mut world,
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1 ack=1",
    );
    world.now += std::time::Duration::from_secs(10_000);
    world.forwarder.handle_timeout(world.now);
    let mut to_backend = 0;
    while let Some(sent) = world.forwarder.poll_transmit(world.now) {
        let frame = sent.bytes.to_vec();
        if headers(&frame, Link::Ethernet).destination == ip("10.1.0.7") {
            let (_, inner) = taken_out(&frame);
            let found = Line::of(&inner, Link::Ethernet, Checksum::Complete);
            assert_eq!(
                (found.flags, found.seq),
                (lb_l4::wire::tcp::flags::RST, Some(1))
            );
            assert_eq!(found.destination, "203.0.113.10:80".parse().unwrap());
            to_backend += 1;
        }
    }
    assert_eq!(to_backend, 1);
}

#[test]
fn a_backend_without_a_source_in_its_family_takes_nothing() {
    let v4 = TunnelConfig::default().source_v4("10.0.0.1".parse().unwrap());
    let mut world = services(v4, &[("a", "[fd00::7]:0"), ("b", "10.1.0.8:0")]);
    let (_, sent) = show(&mut world, V4);
    assert_eq!(taken_out(&sent[0]).0.destination, ip("10.1.0.8"));
    let mut world = services(v4, REMOTE6);
    let _ = show(&mut world, V4);
    let stats = world.forwarder.stats();
    assert_eq!(stats.dropped_for(DropReason::BackendUnavailable), 1);
}

#[test]
fn sctp_goes_through_a_tunnel_by_its_hash() {
    let mut world = world_of(Maglev::default(), REMOTE, |pool| {
        let method = ForwardingMethod::Tunnel(ipip());
        vec![service("sctp", Sctp, "203.0.113.10/32", 80, &pool).method(method)]
    });
    let mut bytes = Line::read("udp 192.0.2.1:40000 > 203.0.113.10:80 len=12").bytes();
    bytes[9] = 132;
    let checksum = u16::from_be_bytes([bytes[10], bytes[11]]) - (132 - 17);
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    let first = show_bytes(&mut world, &bytes, Offload::default());
    assert_eq!(first.0, Verdict::Forward(InterfaceId(0)));
    let (outer, inner) = taken_out(&first.1[0]);
    assert_eq!(inner[34..], bytes[20..]);
    let again = show_bytes(&mut world, &bytes, Offload::default());
    assert_eq!(taken_out(&again.1[0]).0.destination, outer.destination);
}

#[test]
fn a_tunnel_that_cannot_be_is_refused_with_its_service() {
    let pool = lbcore::Pool::new(lbcore::schedule::AnyScheduler::new(InTurn));
    let make = |config: TunnelConfig| {
        let service = service("web", Tcp, "203.0.113.10/32", 80, &pool)
            .method(ForwardingMethod::Tunnel(config));
        let key = HashKey::new([7; 16]);
        Forwarder::new(
            lbcore::Instant::ZERO,
            crate::harness::config(),
            key,
            vec![service],
        )
        .map(|_| ())
    };
    assert_eq!(make(ipip()), Ok(()));
    let refused = |error| Err(ForwarderError::Tunnel("web".into(), error));
    let none = TunnelConfig::default();
    assert_eq!(make(none), refused(TunnelConfigError::NoSource));
    assert_eq!(
        make(ipip().mtu(1279)),
        refused(TunnelConfigError::Mtu(1279))
    );
}
