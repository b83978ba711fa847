//! ICMP, fragments, and questions about the local addresses.

use lb_l4::packet::{DropReason, InterfaceId, Link, Packet, Verdict};
use lb_l4::wire::{Frame, arp, ethernet, parse};

use super::*;
use crate::raw::icmp::message;
use crate::raw::{a_hop_later, fragment, headers, line, unframed, with_header_checksum};

const UNREACHABLE: [u8; 6] = [3, 1, 0, 0, 0, 0];
const TOO_BIG: [u8; 6] = [3, 4, 0, 0, 0x04, 0xb0];
const UNREACHABLE6: [u8; 6] = [1, 3, 0, 0, 0, 0];

const INSIDE: &str = "10.0.0.99";
const OUTSIDE: &str = "198.51.100.1";

/// An error as it comes, and as it goes: from whom, to whom, and which packet it quotes.
struct Told {
    says: &'static str,
    world: fn() -> World,
    front: [u8; 6],
    comes: [&'static str; 3],
    goes: [&'static str; 3],
    /// The last byte of the link address that it goes to.
    to: u8,
}

fn opened(make: fn() -> World) -> World {
    let mut world = make();
    for step in &OPEN {
        world.step(step, "open");
    }
    world
}

/// Sessions of TCP and UDP over IPv4.
fn plain4() -> World {
    let mut world = opened(plain);
    let asked = In(
        "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
        Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080"),
    );
    world.step(&asked, "asked");
    world
}

fn plain6() -> World {
    let mut world = plain();
    let asked = In(
        "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=33",
        Goes("udp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080"),
    );
    world.step(&asked, "asked");
    world
}

/// With a header of 28 bytes before the client's first byte.
fn proxied() -> World {
    let mut world = opened(proxy);
    let told = In(
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
        Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A len=28 proxy=192.0.2.1:40000,203.0.113.10:80"),
    );
    world.step(&told, "told");
    world
}

const TOLD: &[Told] = &[
    Told {
        says: "a router behind the forwarder complains about a client's segment",
        world: plain4,
        front: TOO_BIG,
        comes: [
            INSIDE,
            "10.0.0.100",
            "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=101 ack=501 len=40",
        ],
        goes: [
            "203.0.113.10",
            "192.0.2.1",
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 len=40",
        ],
        to: 0xfe,
    },
    Told {
        says: "a backend refuses a datagram",
        world: plain4,
        front: UNREACHABLE,
        comes: [
            "10.0.0.7",
            "10.0.0.100",
            "udp 10.0.0.100:5000 > 10.0.0.7:8080 len=33",
        ],
        goes: [
            "203.0.113.10",
            "192.0.2.1",
            "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
        ],
        to: 0xfe,
    },
    Told {
        says: "a router before the forwarder complains about an answer",
        world: plain4,
        front: TOO_BIG,
        comes: [
            OUTSIDE,
            "203.0.113.10",
            "tcp 203.0.113.10:80 > 192.0.2.1:40000 A seq=501 ack=101 len=90",
        ],
        goes: [
            "10.0.0.100",
            "10.0.0.7",
            "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=101 len=90",
        ],
        to: 7,
    },
    Told {
        says: "a client refuses a datagram",
        world: plain4,
        front: UNREACHABLE,
        comes: [
            "192.0.2.1",
            "203.0.113.10",
            "udp 203.0.113.10:53 > 192.0.2.1:40000 len=20",
        ],
        goes: [
            "10.0.0.100",
            "10.0.0.7",
            "udp 10.0.0.7:8080 > 10.0.0.100:5000 len=20",
        ],
        to: 7,
    },
    Told {
        says: "IPv6, from a backend",
        world: plain6,
        front: UNREACHABLE6,
        comes: [
            "2001:db8:1::7",
            "2001:db8:1::100",
            "udp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 len=33",
        ],
        goes: [
            "2001:db8::10",
            "2001:db8:2::1",
            "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=33",
        ],
        to: 0xfe,
    },
    Told {
        says: "IPv6, from a client",
        world: plain6,
        front: UNREACHABLE6,
        comes: [
            "2001:db8:2::1",
            "2001:db8::10",
            "udp [2001:db8::10]:53 > [2001:db8:2::1]:40000 len=20",
        ],
        goes: [
            "2001:db8:1::100",
            "2001:db8:1::7",
            "udp [2001:db8:1::7]:8080 > [2001:db8:1::100]:5000 len=20",
        ],
        to: 7,
    },
    Told {
        says: "an error names numbers as the client counts",
        world: proxied,
        front: TOO_BIG,
        comes: [
            INSIDE,
            "10.0.0.100",
            "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=229 ack=501",
        ],
        goes: [
            "203.0.113.10",
            "192.0.2.1",
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=201 ack=501",
        ],
        to: 0xfe,
    },
    Told {
        says: "an error about the header is one about the client's first byte",
        world: proxied,
        front: TOO_BIG,
        comes: [
            INSIDE,
            "10.0.0.100",
            "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=101 ack=501",
        ],
        goes: [
            "203.0.113.10",
            "192.0.2.1",
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
        ],
        to: 0xfe,
    },
    Told {
        says: "and so is one about the last byte of the header",
        world: proxied,
        front: TOO_BIG,
        comes: [
            INSIDE,
            "10.0.0.100",
            "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=128 ack=501",
        ],
        goes: [
            "203.0.113.10",
            "192.0.2.1",
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
        ],
        to: 0xfe,
    },
];

/// The first 28 bytes of a packet of IPv4 are quoted, or 48 of IPv6: what changes behind them, an
/// acknowledgement, is not of interest.
fn error(front: [u8; 6], [from, to, about]: [&str; 3]) -> Vec<u8> {
    let about = line(about);
    let len = if front[0] == 1 { 48 } else { 28 };
    message(ip(from), ip(to), front, &about[..len])
}

#[test]
fn errors_go_to_whom_they_are_about_in_either_direction() {
    for told in TOLD {
        let mut world = (told.world)();
        let (verdict, frame) = world.shown(&error(told.front, told.comes));
        assert_eq!(verdict, Verdict::Forward(InterfaceId(0)), "{}", told.says);
        let expected = a_hop_later(error(told.front, told.goes));
        assert_eq!(unframed(&frame), (expected, told.to), "{}", told.says);
    }
}

#[test]
fn an_error_about_a_local_port_of_nobody_is_not_sent_on() {
    let mut world = plain();
    let error = error(
        UNREACHABLE,
        [
            "10.0.0.7",
            "10.0.0.100",
            "udp 10.0.0.100:5000 > 10.0.0.7:8080 len=33",
        ],
    );
    assert_eq!(
        world.shown(&error).0,
        Verdict::Drop(DropReason::IcmpUnmatched)
    );
}

/// Without what another source makes another: the identification, and the sum over it.
fn unnamed(mut packet: Vec<u8>) -> Vec<u8> {
    let read = headers(&packet);
    assert!(read.header_checksum_is_right(&packet));
    if read.is_ipv4() {
        packet[4..6].fill(0);
        with_header_checksum(&mut packet);
    } else {
        packet[44..48].fill(0);
    }
    packet
}

#[test]
fn fragments_go_both_ways_in_order_and_out_of_it() {
    for (ask, asked, answer, answered) in [
        (
            "udp 192.0.2.1:40000 > 203.0.113.10:53 len=200",
            "udp 10.0.0.100:5000 > 10.0.0.7:8080 len=200",
            "udp 10.0.0.7:8080 > 10.0.0.100:5000 len=100",
            "udp 203.0.113.10:53 > 192.0.2.1:40000 len=100",
        ),
        (
            "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=200",
            "udp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 len=200",
            "udp [2001:db8:1::7]:8080 > [2001:db8:1::100]:5000 len=100",
            "udp [2001:db8::10]:53 > [2001:db8:2::1]:40000 len=100",
        ),
    ] {
        let mut world = plain();
        for (comes, goes) in [(ask, asked), (answer, answered)] {
            for (from, to) in [(0, 80), (80, usize::MAX)] {
                let (verdict, frame) = world.shown(&fragment(&line(comes), from, to));
                assert_eq!(verdict, Verdict::Forward(InterfaceId(0)), "{comes}");
                let expected = a_hop_later(fragment(&line(goes), from, to));
                assert_eq!(unnamed(unframed(&frame).0), unnamed(expected), "{comes}");
            }
        }
        // The later part first: it is held, and goes when the first one has come.
        let mut world = plain();
        for (comes, goes) in [(ask, asked), (answer, answered)] {
            let (verdict, _) = world.shown(&fragment(&line(comes), 80, usize::MAX));
            assert_eq!(verdict, Verdict::Held);
            let (verdict, _) = world.shown(&fragment(&line(comes), 0, 80));
            assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
            let sent = world.forwarder.poll_transmit(world.now).expect(comes);
            let expected = a_hop_later(fragment(&line(goes), 80, usize::MAX));
            assert_eq!(
                unnamed(unframed(sent.bytes).0),
                unnamed(expected),
                "{comes}"
            );
        }
    }
}

#[test]
fn the_first_datagram_in_fragments_has_no_place_for_a_header() {
    let mut world = proxy();
    let ask = line("udp 192.0.2.1:40000 > 203.0.113.10:53 len=200");
    let (verdict, _) = world.shown(&fragment(&ask, 0, 80));
    assert_eq!(verdict, Verdict::Drop(DropReason::NoRoom));
}

#[test]
fn a_local_address_answers_an_echo_request() {
    for (asker, local, kinds) in [
        ("10.0.0.7", "10.0.0.100", [8, 0]),
        ("2001:db8:1::7", "2001:db8:1::100", [128, 129]),
    ] {
        let (asker, local) = (ip(asker), ip(local));
        let front = |kind| [kind, 0, 1, 2, 3, 4];
        let (verdict, frame) = plain().shown(&message(asker, local, front(kinds[0]), b"payload"));
        assert_eq!(verdict, Verdict::Reply);
        let reply = message(local, asker, front(kinds[1]), b"payload");
        assert_eq!(unframed(&frame).0, reply);
    }
}

/// What becomes of the question who has an address.
fn asked_for(target: &str, world: &mut World) -> Verdict {
    let question = arp::Message {
        operation: arp::Operation::Request,
        sender_mac: GATEWAY,
        sender: "10.0.0.254".parse().unwrap(),
        target_mac: ethernet::Mac([0; 6]),
        target: target.parse().unwrap(),
    };
    let front: [&[u8]; 4] = [&[0xff; 6], &GATEWAY.0, &[8, 6], &question.bytes()];
    let mut buffer = [vec![0; 64], front.concat(), vec![0; 64]].concat();
    let len = buffer.len() - 128;
    let mut packet = Packet::new(&mut buffer, 64..64 + len, Link::Ethernet);
    world.forwarder.handle_packet(world.now, &mut packet);
    let verdict = packet.verdict();
    if verdict == Verdict::Reply {
        let Ok(Frame::Arp(answer)) = parse(packet.bytes(), Link::Ethernet) else {
            panic!("no answer");
        };
        assert_eq!((answer.sender_mac, answer.sender), (OWN, question.target));
    }
    verdict
}

#[test]
fn an_active_node_answers_for_the_local_addresses() {
    let mut world = plain();
    assert_eq!(asked_for("10.0.0.100", &mut world), Verdict::Reply);
    assert_eq!(asked_for("10.0.0.101", &mut world), Verdict::Pass);
    world
        .forwarder
        .set_role(world.now, lb_l4::forwarder::Role::Standby);
    assert_eq!(asked_for("10.0.0.100", &mut world), Verdict::Pass);
}

#[test]
fn what_is_refused_is_quoted_as_it_came() {
    for world in [plain, toa, proxy] {
        let syn = line("tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=7 ttl=1 toa=10.9.9.9:1");
        let (verdict, frame) = world().shown(&syn);
        assert_eq!(verdict, Verdict::Reply);
        assert_eq!(unframed(&frame).0[28..], syn);
    }
}
