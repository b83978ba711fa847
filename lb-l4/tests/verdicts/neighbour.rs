//! Neighbours: who is asked for, what waits for the answer, and what is answered.

use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::forwarder::{Forwarder, ForwarderConfig, Interface, Role, VirtualService};
use lb_l4::method::ForwardingMethod::{self, DirectRouting, Nat, Tunnel};
use lb_l4::method::fullnat::hand_off::HandOff;
use lb_l4::method::tunnel::TunnelConfig;
use lb_l4::neighbour::NeighbourConfig;
use lb_l4::packet::{DropReason, InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::arp::{Message, Operation};
use lb_l4::wire::ethernet::Mac;
use lb_l4::wire::{Frame, parse};
use lbcore::hash::HashKey;
use lbcore::schedule::AnyScheduler;
use lbcore::session::{Limits, SessionConfig};
use lbcore::{Instant, Pool};
use std::time::Duration;

use crate::harness::*;
use crate::line::Line;

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);
const BACKEND: Mac = Mac([2, 0, 0, 0, 0, 7]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const NOBODY: Mac = Mac([0; 6]);
const SYN: &str = "tcp 192.0.2.1:40000 > 203.0.113.10:80 S";
const ACK: &str = "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1 ack=1";

/// A link on which nobody is known yet: a gateway at .254 and a backend at .7, reached by `method`.
struct LinkWorld {
    forwarder: Forwarder<AnyScheduler>,
    now: Instant,
}

impl LinkWorld {
    fn of(method: ForwardingMethod, backend: (&str, &str)) -> Self {
        Self::with(method, backend, |it| it)
    }

    fn with(
        method: ForwardingMethod,
        it: (&str, &str),
        change: fn(ForwarderConfig) -> ForwarderConfig,
    ) -> Self {
        let pool = Pool::new(AnyScheduler::new(InTurn)).backend(backend(it));
        let services: Vec<VirtualService<_>> = vec![
            service("web", Tcp, "203.0.113.10/32", 80, &pool).method(method),
            service("dns", Udp, "203.0.113.10/32", 53, &pool).method(method),
            service("web6", Tcp, "2001:db8::10/128", 80, &pool).method(method),
        ];
        let mut sessions = SessionConfig::default();
        (sessions.v4, sessions.v6) = (Limits::of(64), Limits::of(64));
        let interface = Interface::ethernet(InterfaceId(0), OWN)
            .prefix(ip("10.0.0.1"), "10.0.0.0/24".parse().unwrap())
            .prefix(ip("2001:db8:1::1"), "2001:db8:1::/64".parse().unwrap())
            .gateway(ip("10.0.0.254"))
            .gateway(ip("2001:db8:1::fe"));
        let config = ForwarderConfig::default()
            .sessions(sessions)
            .interface(interface);
        let now = Instant::ZERO + Duration::from_secs(1);
        let key = HashKey::new([7; 16]);
        Self {
            forwarder: Forwarder::new(now, change(config), key, services).unwrap(),
            now,
        }
    }

    /// Shows a line of a client's, or of a backend's.
    fn line(&mut self, line: &str) -> (Verdict, Vec<u8>) {
        let bytes = Line::read(line).bytes();
        let kind = if bytes[0] >> 4 == 4 {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        self.frame(&[&OWN.0[..], &ROUTER.0, &kind, &bytes].concat())
    }

    fn frame(&mut self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let mut buffer = [vec![0; 64], frame.to_vec(), vec![0; 64]].concat();
        let mut packet = Packet::new(&mut buffer, 64..64 + frame.len(), Link::Ethernet);
        self.forwarder.handle_packet(self.now, &mut packet);
        (packet.verdict(), packet.bytes().to_vec())
    }

    fn arp(
        &mut self,
        operation: Operation,
        from: (Mac, &str),
        to: (Mac, &str),
    ) -> (Verdict, Vec<u8>) {
        let message = Message {
            operation,
            sender_mac: from.0,
            sender: from.1.parse().unwrap(),
            target_mac: to.0,
            target: to.1.parse().unwrap(),
        };
        self.frame(&[&[0xff; 6][..], &from.0.0, &[8, 6], &message.bytes()].concat())
    }

    /// `address` answers from `mac`.
    fn answers(&mut self, mac: Mac, address: &str) {
        let (verdict, _) = self.arp(Operation::Reply, (mac, address), (OWN, "10.0.0.1"));
        assert_eq!(verdict, Verdict::Pass);
    }

    /// What it sends by itself.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(own) = self.forwarder.poll_transmit(self.now) {
            assert_eq!(own.interface, InterfaceId(0));
            sent.push(own.bytes.to_vec());
        }
        sent
    }

    /// Whom it asks for.
    fn asks(&mut self) -> Vec<std::net::IpAddr> {
        let mut asked = Vec::new();
        for frame in self.sent() {
            match parse(&frame, Link::Ethernet) {
                Ok(Frame::Arp(message)) => asked.push(message.target.into()),
                Ok(Frame::Ip(_)) => asked.push(
                    std::net::Ipv6Addr::from_octets(frame[62..78].try_into().unwrap()).into(),
                ),
                other => panic!("{other:?}"),
            }
        }
        asked.sort();
        asked.dedup();
        asked
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.now += Duration::from_millis(500);
            self.forwarder.handle_timeout(self.now);
        }
    }
}

fn goes_to(shown: &(Verdict, Vec<u8>)) -> Mac {
    assert_eq!(shown.0, Verdict::Forward(InterfaceId(0)));
    assert_eq!(shown.1[6..12], OWN.0);
    Mac(shown.1[..6].try_into().unwrap())
}

fn near() -> (&'static str, &'static str) {
    ("a", "10.0.0.7:80")
}

fn tunnel() -> ForwardingMethod {
    Tunnel(TunnelConfig::default().source_v4("10.0.0.1".parse().unwrap()))
}

#[test]
fn the_first_packet_waits_for_the_link_address_of_its_next_hop() {
    for (method, backend, hop, mac) in [
        (Nat, near(), "10.0.0.7", BACKEND),
        (DirectRouting, near(), "10.0.0.7", BACKEND),
        (tunnel(), near(), "10.0.0.7", BACKEND),
        (Nat, ("a", "10.1.0.7:80"), "10.0.0.254", ROUTER),
        (tunnel(), ("a", "10.1.0.7:80"), "10.0.0.254", ROUTER),
    ] {
        let mut link = LinkWorld::of(method, backend);
        let (verdict, ready) = link.line(SYN);
        assert_eq!(verdict, Verdict::Held, "{method:?}");
        assert!(link.asks().contains(&ip(hop)));
        // One is held, and the next is not.
        let (verdict, _) = link.line("tcp 192.0.2.1:40001 > 203.0.113.10:80 S");
        assert_eq!(verdict, Verdict::Drop(DropReason::HoldFull));
        link.answers(mac, hop);
        let sent = link.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0][..12], [mac.0, OWN.0].concat());
        assert_eq!(sent[0][12..], ready[12..]);
        assert_eq!(goes_to(&link.line(ACK)), mac);
        assert!(link.sent().is_empty());
    }
}

#[test]
fn an_answer_counts_from_the_next_packet_of_its_burst_on() {
    let mut link = LinkWorld::of(Nat, near());
    let message = Message {
        operation: Operation::Reply,
        sender_mac: BACKEND,
        sender: "10.0.0.7".parse().unwrap(),
        target_mac: OWN,
        target: "10.0.0.1".parse().unwrap(),
    };
    let client = |line: &str| [&OWN.0[..], &ROUTER.0, &[8, 0], &Line::read(line).bytes()].concat();
    let mut buffers = [
        client(SYN),
        [&OWN.0[..], &BACKEND.0, &[8, 6], &message.bytes()].concat(),
        client(ACK),
        client("tcp 192.0.2.1:40001 > 203.0.113.10:80 S"),
    ]
    .map(|frame| [vec![0; 64], frame, vec![0; 64]].concat());
    let mut packets = buffers.each_mut().map(|buffer| {
        let end = buffer.len() - 64;
        Packet::new(buffer, 64..end, Link::Ethernet)
    });
    link.forwarder.handle_burst(link.now, &mut packets);
    let out = Verdict::Forward(InterfaceId(0));
    let [first, _, next, another] = packets.each_ref().map(Packet::verdict);
    assert_eq!([first, next, another], [Verdict::Held, out, out]);
    for packet in &packets[2..] {
        assert_eq!(packet.bytes()[..12], [BACKEND.0, OWN.0].concat());
    }
}

#[test]
fn what_one_worker_hears_of_neighbours_all_of_them_know() {
    let mut rings = HandOff::rings(3, 8).unwrap();
    let mut workers = [0, 1, 2].map(|worker| {
        let mut link = LinkWorld::of(Nat, near());
        link.forwarder.set_hand_off(rings.remove(0));
        assert_eq!(link.line(SYN).0, Verdict::Held, "worker {worker}");
        link.sent();
        link
    });
    let handed = |link: &LinkWorld| {
        let stats = link.forwarder.stats().hand_off;
        [stats.given, stats.taken]
    };
    // Every worker has asked; each answer comes to the second alone.
    workers[1].answers(BACKEND, "10.0.0.7");
    for (worker, link) in workers.iter_mut().enumerate() {
        let taken = link.forwarder.handle_handed(link.now);
        assert_eq!(taken, usize::from(worker != 1));
        assert_eq!(goes_to(&link.line(ACK)), BACKEND, "worker {worker}");
        let sent = link.sent();
        assert_eq!((sent.len(), &sent[0][..6]), (1, &BACKEND.0[..]));
        assert_eq!(handed(link), [2 * u64::from(worker == 1), taken as u64]);
    }
    // So does what one announces.
    let own = (OTHER, "10.0.0.7");
    let (verdict, _) = workers[2].arp(Operation::Request, own, (NOBODY, "10.0.0.7"));
    assert_eq!(verdict, Verdict::Pass);
    for (worker, link) in workers.iter_mut().enumerate() {
        let taken = link.forwarder.handle_handed(link.now);
        assert_eq!(taken, usize::from(worker != 2));
    }
    // A question is answered by the worker that it comes to, and is nobody else's.
    let (verdict, _) = workers[0].arp(
        Operation::Request,
        (ROUTER, "10.0.0.254"),
        (NOBODY, "203.0.113.10"),
    );
    assert_eq!(verdict, Verdict::Reply);
    assert_eq!(handed(&workers[0])[0], 0);
    assert_eq!(workers[1].forwarder.handle_handed(workers[1].now), 0);
}

#[test]
fn an_answer_to_a_client_waits_too() {
    let mut link = LinkWorld::of(Nat, near());
    let _ = link.line(SYN);
    link.answers(BACKEND, "10.0.0.7");
    link.sent();
    let answer = "tcp 10.0.0.7:80 > 192.0.2.1:40000 SA ack=1";
    assert_eq!(link.line(answer).0, Verdict::Held);
    link.answers(ROUTER, "10.0.0.254");
    let sent = link.sent();
    assert_eq!((sent.len(), &sent[0][..6]), (1, &ROUTER.0[..]));
    assert_eq!(goes_to(&link.line(answer)), ROUTER);
}

#[test]
fn who_does_not_answer_is_asked_three_times_and_again_when_he_is_needed() {
    let mut link = LinkWorld::of(Nat, near());
    assert_eq!(link.line(SYN).0, Verdict::Held);
    link.sent();
    link.wait(4);
    assert_eq!(
        link.sent().len(),
        6,
        "twice more for the backend and both gateways"
    );
    assert_eq!(link.line(ACK).0, Verdict::Drop(DropReason::Unresolved));
    assert_eq!(link.asks(), Vec::<std::net::IpAddr>::new());
    link.wait(3);
    assert_eq!(link.line(ACK).0, Verdict::Held);
    assert_eq!(link.asks(), [ip("10.0.0.7")]);
    link.answers(BACKEND, "10.0.0.7");
    assert_eq!(link.sent().len(), 1);
    assert_eq!(goes_to(&link.line(ACK)), BACKEND);
}

#[test]
fn a_backend_is_asked_for_again_while_it_is_used_and_the_session_goes_on() {
    let mut link = LinkWorld::of(DirectRouting, near());
    let _ = link.line(SYN);
    link.answers(BACKEND, "10.0.0.7");
    link.answers(ROUTER, "10.0.0.254");
    link.sent();
    for _ in 0..10 {
        link.wait(31);
        let asked = link.asks();
        assert!(asked.contains(&ip("10.0.0.7")) && asked.contains(&ip("10.0.0.254")));
        assert_eq!(goes_to(&link.line(ACK)), BACKEND);
        link.answers(BACKEND, "10.0.0.7");
        link.answers(ROUTER, "10.0.0.254");
        assert_eq!(goes_to(&link.line(ACK)), BACKEND);
    }
}

#[test]
fn a_backend_that_has_moved_is_followed() {
    let mut link = LinkWorld::of(DirectRouting, near());
    let _ = link.line(SYN);
    link.answers(BACKEND, "10.0.0.7");
    link.sent();
    // It says so itself, is asked, and answers.
    let _ = link.arp(
        Operation::Request,
        (OTHER, "10.0.0.7"),
        (NOBODY, "10.0.0.7"),
    );
    assert_eq!(link.asks(), [ip("10.0.0.7")]);
    assert_eq!(goes_to(&link.line(ACK)), BACKEND);
    link.answers(OTHER, "10.0.0.7");
    assert_eq!(goes_to(&link.line(ACK)), OTHER);
}

#[test]
fn a_forged_answer_changes_nothing() {
    let mut link = LinkWorld::of(DirectRouting, near());
    let _ = link.line(SYN);
    link.answers(BACKEND, "10.0.0.7");
    link.sent();
    link.answers(OTHER, "10.0.0.7");
    assert_eq!(goes_to(&link.line(ACK)), BACKEND);
    link.answers(BACKEND, "10.0.0.7");
    link.answers(OTHER, "10.0.0.7");
    assert_eq!(goes_to(&link.line(ACK)), BACKEND);
}

#[test]
fn a_backend_of_ipv6_is_found_by_neighbour_discovery() {
    let mut link = LinkWorld::of(DirectRouting, ("a", "[2001:db8:1::7]:80"));
    let line = "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S";
    assert_eq!(link.line(line).0, Verdict::Held);
    assert!(link.asks().contains(&ip("2001:db8:1::7")));
    let mut answer = vec![];
    answer.extend([OWN.0, BACKEND.0].concat());
    answer.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
    let [from, to] =
        ["2001:db8:1::7", "2001:db8:1::1"].map(|it| it.parse::<std::net::Ipv6Addr>().unwrap());
    answer.extend(from.octets());
    answer.extend(to.octets());
    answer.extend([136, 0, 0, 0, 0x60, 0, 0, 0]);
    answer.extend(from.octets());
    answer.extend([2, 1]);
    answer.extend(BACKEND.0);
    let pseudo = lb_l4::wire::checksum::pseudo_header(from.into(), to.into(), 58, 32);
    let sum = lb_l4::wire::checksum::sum(&answer[54..]);
    let checksum = !lb_l4::wire::checksum::fold(pseudo + sum);
    answer[56..58].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(link.frame(&answer).0, Verdict::Pass);
    assert_eq!(link.sent().len(), 1);
    let line = "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 A seq=1";
    assert_eq!(goes_to(&link.line(line)), BACKEND);
}

#[test]
fn questions_about_services_are_answered_and_others_are_the_host_s() {
    for (target, verdict) in [
        ("203.0.113.10", Verdict::Reply),
        ("10.0.0.1", Verdict::Reply),
        ("203.0.113.11", Verdict::Pass),
        ("10.0.0.7", Verdict::Pass),
    ] {
        let mut link = LinkWorld::of(Nat, near());
        let (found, answer) =
            link.arp(Operation::Request, (ROUTER, "10.0.0.254"), (NOBODY, target));
        assert_eq!(found, verdict, "{target}");
        if verdict == Verdict::Reply {
            let Ok(Frame::Arp(message)) = parse(&answer, Link::Ethernet) else {
                panic!("no answer");
            };
            assert_eq!(
                (message.sender_mac, message.operation),
                (OWN, Operation::Reply)
            );
            assert_eq!(ip(target), message.sender);
            assert_eq!(link.forwarder.stats().replied, 1);
        }
    }
}

fn question(link: &mut LinkWorld) -> Verdict {
    link.arp(
        Operation::Request,
        (ROUTER, "10.0.0.254"),
        (NOBODY, "203.0.113.10"),
    )
    .0
}

#[test]
fn a_standby_is_silent_until_it_takes_over_and_then_says_so() {
    let mut link = LinkWorld::with(Nat, near(), |it| it.role(Role::Standby));
    link.sent();
    assert_eq!(question(&mut link), Verdict::Pass);
    link.forwarder.set_role(link.now, Role::Active);
    assert_eq!(question(&mut link), Verdict::Reply);
    assert_eq!(
        link.asks(),
        [ip("203.0.113.10"), ip("2001:db8::10")],
        "about itself"
    );
    link.wait(1);
    assert!(link.asks().contains(&ip("203.0.113.10")));
    link.forwarder.set_role(link.now, Role::Standby);
    assert_eq!(question(&mut link), Verdict::Pass);
    link.wait(2);
    assert!(!link.asks().contains(&ip("203.0.113.10")));
}

#[test]
fn services_that_come_and_go_are_answered_for_as_long_as_they_are() {
    let mut link = LinkWorld::of(Nat, near());
    assert_eq!(question(&mut link), Verdict::Reply);
    link.forwarder.update(link.now, vec![]).unwrap();
    assert_eq!(question(&mut link), Verdict::Pass);
    let pool = Pool::new(AnyScheduler::new(InTurn)).backend(backend(near()));
    let wide = |prefix| service("wide", Tcp, prefix, 0, &pool);
    link.forwarder
        .update(link.now, vec![wide("203.0.113.0/24")])
        .unwrap();
    assert_eq!(question(&mut link), Verdict::Reply);
    link.forwarder
        .update(link.now, vec![wide("0.0.0.0/0")])
        .unwrap();
    assert_eq!(question(&mut link), Verdict::Pass);
}

#[test]
fn what_is_configured_of_neighbours_is_checked() {
    use lb_l4::forwarder::ForwarderError;
    use lb_l4::neighbour::NeighbourConfigError;

    let pool = Pool::new(AnyScheduler::new(InTurn)).backend(backend(near()));
    let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
    let config = config().discovery(NeighbourConfig::default().questions(0));
    let made = Forwarder::new(Instant::ZERO, config, HashKey::new([7; 16]), vec![web]);
    let error = ForwarderError::Neighbours(NeighbourConfigError::Questions);
    assert_eq!(made.err(), Some(error));
}

#[test]
fn what_neighbours_cost_is_told_by_interface() {
    let mut link = LinkWorld::of(Nat, near());
    let _ = link.line(SYN);
    let stats = link.forwarder.neighbour_stats(InterfaceId(0)).unwrap();
    assert_eq!((stats.held, stats.neighbours), (1, 3));
    assert_eq!(link.forwarder.neighbour_stats(InterfaceId(1)), None);
}
