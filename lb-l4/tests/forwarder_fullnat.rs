//! FULLNAT is a bijection: no two live sessions to one backend end share a local end, each answer
//! finds its session and its client, and when all have ended every port is free again.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
};
use lb_l4::method::ForwardingMethod;
use lb_l4::method::fullnat::{ClientAddress, FullNatConfig, LocalPortsConfig};
use lb_l4::packet::{Checksum, InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::emit::{Datagram, TcpSegment};
use lb_l4::wire::tcp::flags::{ACK, FIN, RST, SYN};
use lb_l4::wire::{Frame, Headers, parse};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::schedule::RoundRobin;
use lbcore::session::{Limits, SessionConfig, SessionTable};
use lbcore::{Backend, BackendId, Delta, Instant, Pool};
use proptest::prelude::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A client sends to a service, with these flags if it is TCP.
    Client {
        client: u8,
        service: u8,
        udp: bool,
        flags: u8,
    },
    /// A backend answers what it has seen so many packets ago, with these flags.
    Answer(usize, u8),
    /// A backend joins, or has another address from now on.
    Join(u8, bool),
    Leave(u8),
    /// So many seconds pass.
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop::sample::select(vec![SYN, SYN, SYN, ACK, RST, FIN | ACK]);
    let answered = prop::sample::select(vec![SYN | ACK, SYN | ACK, ACK, RST | ACK, FIN | ACK]);
    prop_oneof![
        8 => (0..8_u8, 0..4_u8, any::<bool>(), flags).prop_map(|(client, service, udp, flags)| {
            Step::Client { client, service, udp, flags }
        }),
        8 => (0..6_usize, answered).prop_map(|(ago, flags)| Step::Answer(ago, flags)),
        1 => (0..3_u8, any::<bool>()).prop_map(|(n, moved)| Step::Join(n, moved)),
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

fn backend(n: u8, moved: bool) -> Backend {
    let address: SocketAddr = ([10, 0, u8::from(moved), n], 8080).into();
    Backend::new(&format!("backend {n}"), address.into()).id(BackendId::new(n.into()))
}

/// Two local addresses with three ports each, fewer than there are clients.
fn forwarder(told: ClientAddress) -> (Forwarder<RoundRobin>, Pool<RoundRobin>) {
    let pool = Pool::new(RoundRobin).backends([backend(0, false), backend(1, false)]);
    let method = ForwardingMethod::FullNat(FullNatConfig::default().client_address(told));
    let mut services = Vec::new();
    for n in 0..4 {
        for protocol in [ServiceProtocol::Tcp, ServiceProtocol::Udp] {
            let end = service(n);
            let addresses = format!("{}/32", end.ip()).parse().unwrap();
            let matches = Match::endpoint(protocol, addresses, end.port());
            let name = format!("{n} {protocol:?}");
            services.push(VirtualService::new(&name, matches, pool.clone()).method(method));
        }
    }
    let mut sessions = SessionConfig::default();
    // Small enough that sessions give way to each other.
    sessions.v4 = Limits {
        sessions: 16,
        embryonic: 14,
    };
    let local = LocalPortsConfig::default()
        .addresses(["10.9.0.1", "10.9.0.2"].map(|it| it.parse().unwrap()))
        .ports(5000..=5002);
    let config = ForwarderConfig::default()
        .interface(Interface::ip(InterfaceId(0)))
        .local_ports(local)
        .sessions(sessions);
    let key = HashKey::from_seed(1);
    let made = Forwarder::new(Instant::ZERO, config, key, services);
    (made.unwrap(), pool)
}

/// Sends a packet through, and reads what comes out, if it is forwarded.
fn through(
    forwarder: &mut Forwarder<RoundRobin>,
    now: Instant,
    flags: Option<u8>,
    ends: [SocketAddr; 2],
) -> Option<Headers> {
    let mut bytes = vec![0; 128];
    match flags {
        None => Datagram::new(ends[0], ends[1], b"odd").emit(&mut bytes),
        Some(flags) => TcpSegment::new(ends[0], ends[1], flags).emit(&mut bytes),
    }
    let range = 128..bytes.len();
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

fn flow(udp: bool, [source, destination]: [SocketAddr; 2]) -> FlowKey {
    let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
    FlowKey::new(protocol, source, destination)
}

/// Lets everything end that has an end by now.
fn settle(forwarder: &mut Forwarder<RoundRobin>, now: Instant) {
    while forwarder.poll_timeout().is_some_and(|at| at <= now) {
        forwarder.handle_timeout(now);
    }
}

fn told() -> impl Strategy<Value = ClientAddress> {
    prop::sample::select(vec![
        ClientAddress::None,
        ClientAddress::Toa,
        ClientAddress::ProxyProtocol,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_two_sessions_share_a_local_end_and_answers_find_their_client(
        told in told(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (mut forwarder, pool) = forwarder(told);
        let mut now = Instant::ZERO;
        // By what a backend sees, whose session it was last.
        let mut owner: HashMap<(bool, SocketAddr, SocketAddr), FlowKey> = HashMap::new();
        // By session, what its backend was shown last.
        let mut shown: HashMap<FlowKey, (bool, SocketAddr, SocketAddr)> = HashMap::new();
        let mut recent = Vec::new();
        for step in steps {
            match step {
                Step::Client { client: n, service: at, udp, flags } => {
                    let ends = [client(n), service(at)];
                    let key = flow(udp, ends);
                    let flags = (!udp).then_some(flags);
                    if let Some(out) = through(&mut forwarder, now, flags, ends) {
                        let local = out.source_end();
                        prop_assert!((5000..=5002).contains(&local.port()));
                        let seen = (udp, out.destination_end(), local);
                        if let Some(other) = owner.insert(seen, key)
                            && other != key
                        {
                            let live = forwarder.sessions().lookup(&other).is_some();
                            let there = shown.get(&other) == Some(&seen);
                            prop_assert!(!(live && there), "{other:?} and {key:?} share {seen:?}");
                        }
                        // A session that ends at once, as by a RST, has none any more.
                        if let Some(kept) = forwarder.local_end_of(&key) {
                            prop_assert_eq!(kept, local);
                        }
                        shown.insert(key, seen);
                        recent.push(seen);
                    }
                }
                Step::Answer(ago, flags) => {
                    let Some(&seen) = recent.iter().rev().nth(ago) else { continue };
                    let (udp, from, local) = seen;
                    let key = owner[&seen];
                    let flags = (!udp).then_some(flags);
                    let alive = shown[&key] == seen
                        && forwarder.sessions().lookup(&key).is_some()
                        && forwarder.local_end_of(&key) == Some(local);
                    let out = through(&mut forwarder, now, flags, [from, local]);
                    prop_assert!(alive || out.is_none(), "{key:?} is over");
                    if let Some(out) = out {
                        prop_assert_eq!(out.source_end(), key.destination);
                        prop_assert_eq!(out.destination_end(), key.source);
                    }
                }
                Step::Join(n, moved) => {
                    pool.apply(now, [Delta::Upsert(backend(n, moved))]).unwrap();
                }
                Step::Leave(n) => {
                    pool.apply(now, [Delta::Remove(BackendId::new(n.into()))]).unwrap();
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds.into());
                    pool.handle_timeout(now);
                    settle(&mut forwarder, now);
                }
            }
            let stats = forwarder.stats();
            prop_assert_eq!(stats.local_ports.taken, stats.sessions);
        }
        now += Duration::from_secs(10_000);
        settle(&mut forwarder, now);
        forwarder.handle_timeout(now);
        let stats = forwarder.stats();
        prop_assert_eq!(stats.sessions, 0);
        prop_assert_eq!((stats.local_ports.taken, stats.local_ports.resting), (0, 0));
        prop_assert_eq!(stats.local_ports.backends, 0);
        for backend in pool.stats() {
            prop_assert_eq!(backend.in_flight(), 0);
        }
    }
}
