//! Packets are forwarded, and sessions begin and end, without allocating.
//!
//! One test alone, as the counter counts for the whole process.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::alloc::System;
use std::time::Duration;

use lb_l4::forwarder::{
    Forwarder, ForwarderConfig, Interface, Match, ServiceProtocol, VirtualService,
};
use lb_l4::method::ForwardingMethod;
use lb_l4::method::fullnat::{ClientAddress, FullNatConfig, LocalPortsConfig};
use lb_l4::packet::{InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::ethernet::Mac;
use lb_l4::wire::tcp::flags;
use lbcore::hash::HashKey;
use lbcore::schedule::LeastConnections;
use lbcore::session::{Limits, SessionConfig};
use lbcore::{Backend, Instant, Pool};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);
const SESSIONS: u16 = 2_000;
const ROOM: usize = 64;

#[test]
fn no_packet_allocates_whether_it_begins_a_session_goes_on_or_ends_one() {
    for method in [
        ForwardingMethod::Nat,
        ForwardingMethod::DirectRouting,
        ForwardingMethod::FullNat(FullNatConfig::default().client_address(ClientAddress::Toa)),
    ] {
        let mut forwarder = forwarder(method);
        // The first round fills what is kept; everything after it is counted.
        round(&mut forwarder, method, 0);
        let region = Region::new(COUNTING);
        drop(std::hint::black_box(Box::new(1_u64)));
        assert!(region.change().allocations > 0, "the counter counts");
        let region = Region::new(COUNTING);
        for number in 1..4 {
            round(&mut forwarder, method, number);
        }
        let change = region.change();
        let counted = change.allocations + change.deallocations + change.reallocations;
        // Pages of local ports come and go with the sessions of a backend: one for ten, at most.
        let most = match method {
            ForwardingMethod::FullNat(_) => 3 * usize::from(SESSIONS) / 10,
            _ => 0,
        };
        assert!(counted <= most, "{counted}, {method:?}");
    }
}

/// Every session begins, goes on, and is timed out in its hour.
fn round(forwarder: &mut Forwarder<LeastConnections>, method: ForwardingMethod, hour: u64) {
    let now = Instant::ZERO + Duration::from_secs(3_600 * (hour + 1));
    for client in 1..=SESSIONS {
        let ends = [([192, 0, 2, 1], client), ([203, 0, 113, 10], 80)];
        forward(forwarder, now, ends, flags::SYN);
        if method != ForwardingMethod::DirectRouting {
            forward(forwarder, now, ends, flags::ACK);
        }
        forward(forwarder, now, ends, flags::ACK | flags::FIN);
    }
    assert_eq!(forwarder.stats().sessions, usize::from(SESSIONS));
    let later = now + Duration::from_secs(3_000);
    while forwarder.poll_timeout().is_some_and(|at| at <= later) {
        forwarder.handle_timeout(later);
    }
    assert_eq!(forwarder.stats().sessions, 0);
}

fn forward(
    forwarder: &mut Forwarder<LeastConnections>,
    now: Instant,
    [source, destination]: [([u8; 4], u16); 2],
    flags: u8,
) {
    let mut buffer = [0; 2 * ROOM + 14];
    // Written by hand, as `emit` appends to a vector.
    let template = template(flags);
    let frame = &mut buffer[ROOM..ROOM + template.len()];
    frame.copy_from_slice(&template);
    frame[26..30].copy_from_slice(&source.0);
    frame[34..36].copy_from_slice(&source.1.to_be_bytes());
    frame[30..34].copy_from_slice(&destination.0);
    let mut packet = Packet::new(&mut buffer, ROOM..ROOM + 54, Link::Ethernet);
    forwarder.handle_packet(now, &mut packet);
    assert_eq!(packet.verdict(), Verdict::Forward(InterfaceId(0)));
}

/// An Ethernet frame of a segment to port 80 with these flags.
const fn template(flags: u8) -> [u8; 54] {
    let mut frame = [0; 54];
    (frame[12], frame[13], frame[14]) = (0x08, 0x00, 0x45);
    (frame[17], frame[22], frame[23]) = (40, 64, 6);
    (frame[37], frame[46], frame[47]) = (80, 0x50, flags);
    frame
}

fn forwarder(method: ForwardingMethod) -> Forwarder<LeastConnections> {
    let backends = (1..=20).map(|n| {
        let address = std::net::SocketAddr::from(([10, 0, 0, n], 8080));
        Backend::new(&format!("backend {n}"), address.into())
    });
    let pool = Pool::new(LeastConnections::weighted()).backends(backends);
    let addresses = "203.0.113.10/32".parse().unwrap();
    let web = Match::endpoint(ServiceProtocol::Tcp, addresses, 80);
    let service = VirtualService::new("web", web, pool).method(method);
    let mut sessions = SessionConfig::default();
    sessions.v4 = Limits {
        sessions: SESSIONS.into(),
        embryonic: SESSIONS.into(),
    };
    let own = Interface::ethernet(InterfaceId(0), MAC)
        .prefix([10, 0, 0, 254].into(), "10.0.0.0/24".parse().unwrap());
    let local = LocalPortsConfig::default().addresses([[10, 0, 0, 253].into()]);
    let mut config = ForwarderConfig::default()
        .sessions(sessions)
        .interface(own)
        .local_ports(local);
    for last in 1..=20 {
        config = config.neighbour([10, 0, 0, last].into(), MAC);
    }
    Forwarder::new(Instant::ZERO, config, HashKey::from_seed(1), vec![service]).unwrap()
}
