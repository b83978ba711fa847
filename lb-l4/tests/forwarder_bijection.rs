//! NAT is a bijection: what it makes of the ends of sessions, answers bring back, and no two sessions
//! share their ends at a backend.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
};
use lb_l4::packet::{Checksum, InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::emit::{Datagram, TcpSegment};
use lb_l4::wire::tcp::flags;
use lb_l4::wire::{Frame, Headers, parse};
use lbcore::hash::HashKey;
use lbcore::schedule::RoundRobin;
use lbcore::session::{Limits, SessionConfig, SessionTable};
use lbcore::{Backend, BackendId, Delta, Instant, Pool};
use proptest::prelude::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A client sends to a service.
    Client {
        client: u8,
        service: u8,
        udp: bool,
    },
    /// A backend answers the session that was forwarded so long ago.
    Answer(usize),
    /// A backend joins or leaves.
    Join(u8),
    Leave(u8),
    /// So many seconds pass.
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_u8, 0..4_u8, any::<bool>())
            .prop_map(|(client, service, udp)| Step::Client { client, service, udp }),
        6 => (0..6_usize).prop_map(Step::Answer),
        1 => (0..3_u8).prop_map(Step::Join),
        1 => (0..3_u8).prop_map(Step::Leave),
        1 => (0..400_u16).prop_map(Step::Wait),
    ]
}

fn client(n: u8) -> SocketAddr {
    ([192, 0, 2, n / 4], 40_000 + u16::from(n % 4)).into()
}

fn service(n: u8) -> SocketAddr {
    ([203, 0, 113, n / 2], 80 + u16::from(n % 2)).into()
}

fn backend(n: u8) -> Backend {
    let address: SocketAddr = ([10, 0, 0, n], 8080).into();
    Backend::new(&format!("backend {n}"), address.into()).id(BackendId::new(n.into()))
}

fn forwarder() -> (Forwarder<RoundRobin>, Pool<RoundRobin>) {
    let pool = Pool::new(RoundRobin).backends([0, 1].map(backend));
    let mut services = Vec::new();
    for n in 0..4 {
        for protocol in [ServiceProtocol::Tcp, ServiceProtocol::Udp] {
            let end = service(n);
            let addresses = format!("{}/32", end.ip()).parse().unwrap();
            let matches = Match::endpoint(protocol, addresses, end.port());
            let name = format!("{n} {protocol:?}");
            services.push(VirtualService::new(&name, matches, pool.clone()));
        }
    }
    let mut sessions = SessionConfig::default();
    // Small enough that sessions give way to each other.
    sessions.v4 = Limits {
        sessions: 12,
        embryonic: 10,
    };
    let config = ForwarderConfig::default()
        .interface(Interface::ip(InterfaceId(0)))
        .sessions(sessions);
    let key = HashKey::from_seed(1);
    (
        Forwarder::new(Instant::ZERO, config, key, services).unwrap(),
        pool,
    )
}

/// Sends a packet through, and reads what comes out, if it is forwarded.
fn through(
    forwarder: &mut Forwarder<RoundRobin>,
    now: Instant,
    udp: bool,
    ends: [SocketAddr; 2],
) -> Option<Headers> {
    let mut bytes = vec![0; 64];
    if udp {
        Datagram::new(ends[0], ends[1], b"odd").emit(&mut bytes);
    } else {
        TcpSegment::new(ends[0], ends[1], flags::SYN).emit(&mut bytes);
    }
    let range = 64..bytes.len();
    let mut packet = Packet::new(&mut bytes, range, Link::Ip);
    forwarder.handle_packet(now, &mut packet);
    if !matches!(packet.verdict(), Verdict::Forward(_)) {
        return None;
    }
    let Ok(Frame::Ip(headers)) = parse(packet.bytes(), Link::Ip) else {
        panic!("what goes out is an IP packet");
    };
    assert!(headers.checksum_is_right(packet.bytes(), Checksum::Complete));
    assert!(headers.header_checksum_is_right(packet.bytes()));
    Some(headers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn answers_come_from_whom_the_client_asked(steps in prop::collection::vec(step(), 1..80)) {
        let (mut forwarder, pool) = forwarder();
        let mut now = Instant::ZERO;
        // What a backend saw of a client last, and whom the client had asked.
        let mut asked: HashMap<(bool, SocketAddr, SocketAddr), SocketAddr> = HashMap::new();
        // Where each session was last.
        let mut placed = HashMap::new();
        let mut recent = Vec::new();
        for step in steps {
            match step {
                Step::Client { client: n, service: at, udp } => {
                    let ends = [client(n), service(at)];
                    if let Some(out) = through(&mut forwarder, now, udp, ends) {
                        prop_assert_eq!(out.source_end(), ends[0], "NAT keeps the client");
                        let seen = (udp, out.destination_end(), ends[0]);
                        let other = asked.insert(seen, ends[1]);
                        let live = other.filter(|other| *other != ends[1]).is_some_and(|other| {
                            placed[&(udp, ends[0], other)] == seen.1
                                && lives(&forwarder, udp, [ends[0], other])
                        });
                        prop_assert!(!live, "two sessions share {seen:?}");
                        placed.insert((udp, ends[0], ends[1]), out.destination_end());
                        recent.push(seen);
                    }
                }
                Step::Answer(ago) => {
                    let Some(&(udp, from, to)) = recent.iter().rev().nth(ago) else { continue };
                    let asked = asked[&(udp, from, to)];
                    let out = through(&mut forwarder, now, udp, [from, to]);
                    let here = placed[&(udp, to, asked)] == from;
                    let alive = here && lives(&forwarder, udp, [to, asked]);
                    prop_assert_eq!(out.is_some(), alive);
                    if let Some(out) = out {
                        prop_assert_eq!(out.source_end(), asked);
                        prop_assert_eq!(out.destination_end(), to);
                    }
                }
                Step::Join(n) => pool.apply(now, [Delta::Upsert(backend(n))]).unwrap(),
                Step::Leave(n) => {
                    pool.apply(now, [Delta::Remove(BackendId::new(n.into()))]).unwrap();
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds.into());
                    pool.handle_timeout(now);
                    while forwarder.poll_timeout().is_some_and(|at| at <= now) {
                        forwarder.handle_timeout(now);
                    }
                }
            }
        }
        // Every ticket is given back once: nothing is under way when every session has ended.
        now += Duration::from_secs(10_000);
        while forwarder.poll_timeout().is_some_and(|at| at <= now) {
            forwarder.handle_timeout(now);
        }
        prop_assert_eq!(forwarder.stats().sessions, 0);
        for backend in pool.stats() {
            prop_assert_eq!(backend.in_flight(), 0);
        }
    }
}

/// What a packet between two ends carries besides them.
#[derive(Clone, Debug)]
struct Carried {
    udp: bool,
    flags: u8,
    numbers: [u32; 2],
    window: u16,
    options: bool,
    payload: Vec<u8>,
    ttl: u8,
    class: u8,
    /// By which the checksum is wrong.
    wrong: u16,
}

impl Carried {
    /// The packet between these ends, `hops` further.
    fn between(&self, from: SocketAddr, to: SocketAddr, hops: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.udp {
            Datagram::new(from, to, &self.payload)
                .ttl(self.ttl - hops)
                .traffic_class(self.class)
                .emit(&mut bytes);
        } else {
            let options = [2, 4, 5, 180, 1, 3, 3, 7];
            TcpSegment::new(from, to, self.flags)
                .sequence(self.numbers[0])
                .acknowledgement(self.numbers[1])
                .window(self.window)
                .options(if self.options { &options } else { &[] })
                .payload(&self.payload)
                .ttl(self.ttl - hops)
                .traffic_class(self.class)
                .emit(&mut bytes);
        }
        let Ok(Frame::Ip(headers)) = parse(&bytes, Link::Ip) else {
            panic!("it is an IP packet");
        };
        let field = headers.l4_checksum_field().unwrap();
        let sum: &mut [u8; 2] = (&mut bytes[field..field + 2]).try_into().unwrap();
        // In ones' complement, as checksums are added (RFC 1071).
        let (wrong, carry) = u16::from_be_bytes(*sum).overflowing_add(self.wrong);
        *sum = (wrong + u16::from(carry)).to_be_bytes();
        bytes
    }
}

fn carried() -> impl Strategy<Value = Carried> {
    let numbers = (any::<[u32; 2]>(), any::<u16>(), 2..=255_u8, any::<u8>());
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    let wrong = prop_oneof![3 => Just(0), 1 => 1..=u16::MAX - 1];
    (
        any::<bool>(),
        any::<u8>(),
        numbers,
        any::<bool>(),
        payload,
        wrong,
    )
        .prop_map(
            |(udp, flags, (numbers, window, ttl, class), options, payload, wrong)| Carried {
                udp,
                flags,
                numbers,
                window,
                options,
                payload,
                ttl,
                class,
                wrong,
            },
        )
}

/// The ends of a session: client, service and backend, of one family.
fn ends() -> impl Strategy<Value = [SocketAddr; 3]> {
    let v4 = (any::<[[u8; 3]; 3]>(), any::<[u16; 3]>()).prop_map(|(hosts, ports)| {
        [0, 1, 2].map(|at| {
            let [a, b, c] = hosts[at];
            ([[192, 203, 10][at], a, b, c], ports[at].max(1)).into()
        })
    });
    let v6 = (any::<[u64; 3]>(), any::<[u16; 3]>()).prop_map(|(hosts, ports)| {
        [0, 1, 2].map(|at| {
            let bits = (0x2001_0db8_0000_0000 + at as u128) << 64 | u128::from(hosts[at]);
            (std::net::Ipv6Addr::from_bits(bits), ports[at].max(1)).into()
        })
    });
    prop_oneof![v4, v6]
}

/// Whether the checksum is one of the two zeros, of which one says that UDP has none.
fn is_zero(bytes: &[u8]) -> bool {
    let Ok(Frame::Ip(headers)) = parse(bytes, Link::Ip) else {
        panic!("it is an IP packet");
    };
    let field = headers.l4_checksum_field().unwrap();
    [[0, 0], [0xff, 0xff]].contains(bytes[field..].first_chunk().unwrap())
}

/// What goes out for what comes in.
fn rewritten(forwarder: &mut Forwarder<RoundRobin>, sent: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = [&[0; 64], sent].concat();
    let range = 64..bytes.len();
    let mut packet = Packet::new(&mut bytes, range, Link::Ip);
    forwarder.handle_packet(Instant::ZERO, &mut packet);
    (packet.verdict() == Verdict::Forward(InterfaceId(0))).then(|| packet.bytes().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is carried, both ways and back: what goes out is what its sender would have sent
    /// between the other ends, byte for byte, and what comes of the answer is what the client would
    /// have been sent by the service. A wrong checksum is wrong by as much.
    #[test]
    fn nothing_changes_but_the_ends_and_a_hop(
        [client, service, backend] in ends(),
        there in carried(),
        back in carried(),
    ) {
        let pool = Pool::new(RoundRobin).backend(Backend::new("a", backend.into()));
        let addresses = format!("{}/{}", service.ip(), if service.is_ipv4() { 32 } else { 128 });
        let addresses = addresses.parse().unwrap();
        let of = |protocol| Match::endpoint(protocol, addresses, service.port());
        let services = vec![
            VirtualService::new("tcp", of(ServiceProtocol::Tcp), pool.clone()),
            VirtualService::new("udp", of(ServiceProtocol::Udp), pool),
        ];
        let config = ForwarderConfig::default().interface(Interface::ip(InterfaceId(0)));
        let key = HashKey::from_seed(1);
        let mut forwarder = Forwarder::new(Instant::ZERO, config, key, services).unwrap();
        let back = Carried { udp: there.udp, ..back };
        let opening = Carried { flags: flags::SYN, ..there.clone() };
        for carried in [opening, there] {
            for (carried, ends, expected) in [
                (&carried, [client, service], [client, backend]),
                (&back, [backend, client], [service, client]),
            ] {
                let sent = carried.between(ends[0], ends[1], 0);
                let expected = carried.between(expected[0], expected[1], 1);
                prop_assume!(!is_zero(&sent) && !is_zero(&expected));
                prop_assert_eq!(rewritten(&mut forwarder, &sent), Some(expected));
            }
        }
    }
}

fn lives(
    forwarder: &Forwarder<RoundRobin>,
    udp: bool,
    [source, destination]: [SocketAddr; 2],
) -> bool {
    let protocol = if udp {
        lbcore::flow::Protocol::Udp
    } else {
        lbcore::flow::Protocol::Tcp
    };
    let key = lbcore::flow::FlowKey::new(protocol, source, destination);
    forwarder.sessions().lookup(&key).is_some()
}
