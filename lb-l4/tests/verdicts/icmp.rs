//! ICMP errors about sessions, errors of the forwarder's own, and echo.

use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::forwarder::Unavailable;
use lb_l4::method::ForwardingMethod::DirectRouting;
use lb_l4::method::tunnel::Encapsulation;
use lb_l4::packet::{DropReason, InterfaceId, Verdict};

use crate::harness::*;
use crate::raw::icmp::{message, octets, right};
use crate::raw::{a_hop_later, headers, line, unframed};
use crate::tunnel::{REMOTE, REMOTE6, ipip, services};

fn web() -> World {
    world(|pool| {
        vec![
            service("web", Tcp, "203.0.113.10/32", 80, &pool),
            service("dns", Udp, "203.0.113.10/32", 53, &pool),
        ]
    })
}

fn web6() -> World {
    world_of(InTurn, &[C, D], |pool| {
        vec![
            service("web", Tcp, "2001:db8::10/128", 80, &pool),
            service("dns", Udp, "2001:db8::10/128", 53, &pool),
        ]
    })
}

fn direct() -> World {
    world(|pool| vec![service("web", Tcp, "203.0.113.10/32", 80, &pool).method(DirectRouting)])
}

/// An ICMP error in a world, and what becomes of it.
struct Told {
    says: &'static str,
    world: fn() -> World,
    before: &'static [Step],
    error: Error,
    out: Becomes,
}

/// From whom, to whom, type, code and the four bytes behind the checksum; and what it quotes, as a
/// line and how many bytes of it.
#[derive(Clone, Copy)]
struct Error(&'static str, &'static str, [u8; 6], &'static str, usize);

enum Becomes {
    Dropped(DropReason),
    /// This, a hop later, to the neighbour with this last byte of its link address.
    Sent(Error, u8),
    Left,
}
use Becomes::{Dropped, Left, Sent};

impl Error {
    fn bytes(self) -> Vec<u8> {
        let Self(from, to, front, about, len) = self;
        let about = line(about);
        let quoted = &about[..len.min(about.len())];
        message(ip(from), ip(to), front, quoted)
    }
}

const UNREACHABLE: [u8; 6] = [3, 1, 0, 0, 0, 0];
const TOO_BIG: [u8; 6] = [3, 4, 0, 0, 0x04, 0xb0];
const TIME: [u8; 6] = [11, 0, 0, 0, 0, 0];
const PARAMETER: [u8; 6] = [12, 0, 4, 0, 0, 0];
const ALL: usize = usize::MAX;

const OPEN: &[Step] = &[
    In(
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
        Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
    ),
    In(
        "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=101",
        Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
    ),
    In(
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
        Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
    ),
];

const ASKED: &[Step] = &[In(
    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
    Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
)];

const ASKED6: &[Step] = &[In(
    "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=33",
    Goes("udp [2001:db8:2::1]:40000 > [2001:db8:1::7]:8080"),
)];

const DIRECT: &[Step] = &[In(
    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
    Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
)];

/// Inside, between the forwarder and the backends.
const INSIDE: &str = "10.0.0.99";
/// Outside, between the clients and the forwarder.
const OUTSIDE: &str = "198.51.100.1";

const FORWARDED: &str = "tcp 192.0.2.1:40000 > 10.0.0.7:8080 A seq=101 ack=501 len=40";
const AS_SENT: &str = "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 len=40";
const ANSWER: &str = "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101 len=90";
const ANSWER_AS_SHOWN: &str = "tcp 203.0.113.10:80 > 192.0.2.1:40000 A seq=501 ack=101 len=90";

const TOLD: &[Told] = &[
    Told {
        says: "NAT: a backend out of reach is the service's to the client",
        world: web,
        before: OPEN,
        error: Error(INSIDE, "192.0.2.1", UNREACHABLE, FORWARDED, ALL),
        out: Sent(
            Error("203.0.113.10", "192.0.2.1", UNREACHABLE, AS_SENT, ALL),
            0xfe,
        ),
    },
    Told {
        says: "NAT: eight quoted bytes of TCP are enough",
        world: web,
        before: OPEN,
        error: Error(INSIDE, "192.0.2.1", UNREACHABLE, FORWARDED, 28),
        out: Sent(
            Error("203.0.113.10", "192.0.2.1", UNREACHABLE, AS_SENT, 28),
            0xfe,
        ),
    },
    Told {
        says: "NAT: seven are not",
        world: web,
        before: OPEN,
        error: Error(INSIDE, "192.0.2.1", UNREACHABLE, FORWARDED, 27),
        out: Left,
    },
    Told {
        says: "NAT: a narrow link to the backend is told to the client",
        world: web,
        before: OPEN,
        error: Error(INSIDE, "192.0.2.1", TOO_BIG, FORWARDED, ALL),
        out: Sent(
            Error("203.0.113.10", "192.0.2.1", TOO_BIG, AS_SENT, ALL),
            0xfe,
        ),
    },
    Told {
        says: "NAT: a traceroute through the service sees the service",
        world: web,
        before: OPEN,
        error: Error(INSIDE, "192.0.2.1", TIME, FORWARDED, 28),
        out: Sent(Error("203.0.113.10", "192.0.2.1", TIME, AS_SENT, 28), 0xfe),
    },
    Told {
        says: "NAT: a parameter problem is told too",
        world: web,
        before: OPEN,
        error: Error(INSIDE, "192.0.2.1", PARAMETER, FORWARDED, 28),
        out: Sent(
            Error("203.0.113.10", "192.0.2.1", PARAMETER, AS_SENT, 28),
            0xfe,
        ),
    },
    Told {
        says: "NAT: an answer that was not delivered is told to the backend, from whom it comes",
        world: web,
        before: OPEN,
        error: Error(OUTSIDE, "203.0.113.10", TOO_BIG, ANSWER_AS_SHOWN, ALL),
        out: Sent(Error(OUTSIDE, "10.0.0.7", TOO_BIG, ANSWER, ALL), 0x07),
    },
    Told {
        says: "NAT: and with eight quoted bytes",
        world: web,
        before: OPEN,
        error: Error(OUTSIDE, "203.0.113.10", UNREACHABLE, ANSWER_AS_SHOWN, 28),
        out: Sent(Error(OUTSIDE, "10.0.0.7", UNREACHABLE, ANSWER, 28), 0x07),
    },
    Told {
        says: "a client's port that is closed is told to the backend of a datagram",
        world: web,
        before: ASKED,
        error: Error(
            "192.0.2.1",
            "203.0.113.10",
            [3, 3, 0, 0, 0, 0],
            "udp 203.0.113.10:53 > 192.0.2.1:40000 len=9",
            ALL,
        ),
        out: Sent(
            Error(
                "192.0.2.1",
                "10.0.0.7",
                [3, 3, 0, 0, 0, 0],
                "udp 10.0.0.7:8080 > 192.0.2.1:40000 len=9",
                ALL,
            ),
            0x07,
        ),
    },
    Told {
        says: "a backend's port that is closed is the service's to the client of a datagram",
        world: web,
        before: ASKED,
        error: Error(
            "10.0.0.7",
            "192.0.2.1",
            [3, 3, 0, 0, 0, 0],
            "udp 192.0.2.1:40000 > 10.0.0.7:8080 len=33",
            28,
        ),
        out: Sent(
            Error(
                "203.0.113.10",
                "192.0.2.1",
                [3, 3, 0, 0, 0, 0],
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
                28,
            ),
            0xfe,
        ),
    },
    Told {
        says: "IPv6: a narrow link to the backend is told to the client",
        world: web6,
        before: ASKED6,
        error: Error(
            "2001:db8:1::99",
            "2001:db8:2::1",
            [2, 0, 0, 0, 0x05, 0x78],
            "udp [2001:db8:2::1]:40000 > [2001:db8:1::7]:8080 len=33",
            ALL,
        ),
        out: Sent(
            Error(
                "2001:db8::10",
                "2001:db8:2::1",
                [2, 0, 0, 0, 0x05, 0x78],
                "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=33",
                ALL,
            ),
            0xfe,
        ),
    },
    Told {
        says: "IPv6: an answer that was not delivered is told to the backend",
        world: web6,
        before: ASKED6,
        error: Error(
            "2001:db8:9::1",
            "2001:db8::10",
            [1, 4, 0, 0, 0, 0],
            "udp [2001:db8::10]:53 > [2001:db8:2::1]:40000 len=9",
            48,
        ),
        out: Sent(
            Error(
                "2001:db8:9::1",
                "2001:db8:1::7",
                [1, 4, 0, 0, 0, 0],
                "udp [2001:db8:1::7]:8080 > [2001:db8:2::1]:40000 len=9",
                48,
            ),
            0x07,
        ),
    },
    Told {
        says: "IPv6: no MTU below 1280 is believed",
        world: web6,
        before: ASKED6,
        error: Error(
            "2001:db8:9::1",
            "2001:db8::10",
            [2, 0, 0, 0, 0x04, 0xff],
            "udp [2001:db8::10]:53 > [2001:db8:2::1]:40000 len=9",
            48,
        ),
        out: Dropped(DropReason::Malformed),
    },
    Told {
        says: "IPv4: no MTU below 68 is believed",
        world: web,
        before: OPEN,
        error: Error(
            OUTSIDE,
            "203.0.113.10",
            [3, 4, 0, 0, 0, 67],
            ANSWER_AS_SHOWN,
            ALL,
        ),
        out: Dropped(DropReason::Malformed),
    },
    Told {
        says: "IPv4: a router that does not say the MTU is passed on",
        world: web,
        before: OPEN,
        error: Error(
            OUTSIDE,
            "203.0.113.10",
            [3, 4, 0, 0, 0, 0],
            ANSWER_AS_SHOWN,
            28,
        ),
        out: Sent(
            Error(OUTSIDE, "10.0.0.7", [3, 4, 0, 0, 0, 0], ANSWER, 28),
            0x07,
        ),
    },
    Told {
        says: "an error about no session is dropped",
        world: web,
        before: &[],
        error: Error(OUTSIDE, "203.0.113.10", TOO_BIG, ANSWER_AS_SHOWN, ALL),
        out: Dropped(DropReason::IcmpUnmatched),
    },
    Told {
        says: "an error about another port is dropped",
        world: web,
        before: OPEN,
        error: Error(
            OUTSIDE,
            "203.0.113.10",
            TOO_BIG,
            "tcp 203.0.113.10:80 > 192.0.2.1:40001 A seq=501 ack=101",
            ALL,
        ),
        out: Dropped(DropReason::IcmpUnmatched),
    },
    Told {
        says: "an error about an answer of another backend is left to the host",
        world: web,
        before: OPEN,
        error: Error(
            INSIDE,
            "192.0.2.1",
            UNREACHABLE,
            "tcp 192.0.2.1:40000 > 10.0.0.8:8080 A seq=101 ack=501",
            ALL,
        ),
        out: Left,
    },
    Told {
        says: "a forged error with a sequence number from elsewhere is dropped",
        world: web,
        before: OPEN,
        error: Error(
            OUTSIDE,
            "203.0.113.10",
            TOO_BIG,
            "tcp 203.0.113.10:80 > 192.0.2.1:40000 A seq=70000000 ack=101",
            ALL,
        ),
        out: Dropped(DropReason::IcmpUnmatched),
    },
    Told {
        says: "and so is one about the client's side",
        world: web,
        before: OPEN,
        error: Error(
            INSIDE,
            "192.0.2.1",
            UNREACHABLE,
            "tcp 192.0.2.1:40000 > 10.0.0.7:8080 A seq=70000000 ack=501",
            ALL,
        ),
        out: Dropped(DropReason::IcmpUnmatched),
    },
    Told {
        says: "direct routing: an answer that was not delivered is told to the backend as it is",
        world: direct,
        before: DIRECT,
        error: Error(OUTSIDE, "203.0.113.10", TOO_BIG, ANSWER_AS_SHOWN, ALL),
        out: Sent(
            Error(OUTSIDE, "203.0.113.10", TOO_BIG, ANSWER_AS_SHOWN, ALL),
            0x07,
        ),
    },
    Told {
        says: "a redirect is nobody's",
        world: web,
        before: OPEN,
        error: Error(
            OUTSIDE,
            "203.0.113.10",
            [5, 1, 10, 0, 0, 66],
            ANSWER_AS_SHOWN,
            ALL,
        ),
        out: Left,
    },
    Told {
        says: "nor is source quench",
        world: web,
        before: OPEN,
        error: Error(
            OUTSIDE,
            "203.0.113.10",
            [4, 0, 0, 0, 0, 0],
            ANSWER_AS_SHOWN,
            ALL,
        ),
        out: Left,
    },
];

#[test]
fn every_error_goes_to_whom_it_is_about() {
    for Told {
        says,
        world,
        before,
        error,
        out,
    } in TOLD
    {
        let mut world = world();
        for step in *before {
            world.step(step, says);
        }
        let sent = error.bytes();
        let (verdict, frame) = world.shown(&sent);
        let (bytes, to) = unframed(&frame);
        match out {
            Dropped(reason) => assert_eq!(verdict, Verdict::Drop(*reason), "{says}"),
            Left => {
                assert_eq!(verdict, Verdict::Pass, "{says}");
                assert_eq!(bytes, sent, "{says}");
            }
            Sent(expected, mac) => {
                assert_eq!(verdict, Verdict::Forward(InterfaceId(0)), "{says}");
                assert_eq!(bytes, a_hop_later(expected.bytes()), "{says}");
                assert_eq!(to, *mac, "{says}");
            }
        }
    }
}

#[test]
fn an_error_at_its_last_hop_is_dropped_and_not_answered() {
    let mut world = web();
    for step in OPEN {
        world.step(step, "open");
    }
    let mut sent = Error(INSIDE, "192.0.2.1", UNREACHABLE, FORWARDED, ALL).bytes();
    for _ in 0..63 {
        sent = a_hop_later(sent);
    }
    let (verdict, frame) = world.shown(&sent);
    assert_eq!(verdict, Verdict::Drop(DropReason::HopLimit));
    assert_eq!(unframed(&frame).0, sent);
}

const SYN: &str = "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 len=900";
const SYN6: &str = "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S seq=100 len=900";

/// A client's packet, in a tunnel of this kind over this family; and a router's error about it.
fn in_tunnel(kind: Encapsulation, over4: bool, syn: &str, front: [u8; 6]) -> (World, Vec<u8>) {
    let backends = if over4 { REMOTE } else { REMOTE6 };
    let mut world = services(ipip().kind(kind), backends);
    let (verdict, frame) = world.shown(&line(syn));
    assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
    let (outer, _) = unframed(&frame);
    let router = ip(if over4 { "10.1.0.254" } else { "fd00::fe" });
    let quoted = &outer[..outer.len().min(400)];
    let error = message(router, headers(&outer).source, front, quoted);
    (world, error)
}

#[test]
fn errors_about_every_tunnel_become_errors_about_the_client_s_packet() {
    for (kind, shim) in [
        (Encapsulation::Ipip, 0),
        (Encapsulation::Gre, 4),
        (Encapsulation::GUE, 12),
    ] {
        for (over4, syn) in [(true, SYN), (true, SYN6), (false, SYN), (false, SYN6)] {
            let says = format!("{kind:?} over4={over4} {syn}");
            let front = if over4 {
                [3, 4, 0, 0, 0x05, 0xa0]
            } else {
                [2, 0, 0, 0, 0x05, 0xa0]
            };
            let (mut world, error) = in_tunnel(kind, over4, syn, front);
            let (verdict, frame) = world.shown(&error);
            assert_eq!(verdict, Verdict::Forward(InterfaceId(0)), "{says}");
            let (bytes, to) = unframed(&frame);
            let overhead = shim + if over4 { 20 } else { 40 };
            let [a, b] = u16::try_from(1440 - overhead).unwrap().to_be_bytes();
            let sent = line(syn);
            let asked = headers(&sent);
            let front = if asked.is_ipv4() {
                [3, 4, 0, 0, a, b]
            } else {
                [2, 0, 0, 0, a, b]
            };
            let quoted = &a_hop_later(sent)[..400 - overhead];
            let expected = message(asked.destination, asked.source, front, quoted);
            let read = headers(&bytes);
            assert_eq!(
                bytes[read.transport..],
                expected[read.transport..],
                "{says}"
            );
            assert_eq!(read.source, asked.destination, "{says}");
            assert_eq!((read.destination, to), (asked.source, 0xfe), "{says}");
            assert!(right(&bytes), "{says}");
            let kind = if asked.is_ipv4() {
                [8, 0]
            } else {
                [0x86, 0xdd]
            };
            assert_eq!(frame[12..14], kind, "{says}");
        }
    }
}

#[test]
fn a_tunnel_s_end_out_of_reach_is_the_service_s_to_the_client() {
    for front in [UNREACHABLE, TIME] {
        let (mut world, error) = in_tunnel(Encapsulation::Ipip, true, SYN, front);
        let (verdict, frame) = world.shown(&error);
        assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
        assert_eq!(unframed(&frame).0[20..22], [3, 1]);
    }
    let (mut world, error) = in_tunnel(Encapsulation::Ipip, true, SYN, PARAMETER);
    let (verdict, _) = world.shown(&error);
    assert_eq!(verdict, Verdict::Drop(DropReason::Unsupported));
}

#[test]
fn an_error_about_a_tunnel_that_is_not_the_session_s_is_not_believed() {
    let unmatched = Verdict::Drop(DropReason::IcmpUnmatched);
    let (mut world, error) = in_tunnel(Encapsulation::Ipip, true, SYN, TOO_BIG);
    // Offsets in the error: the outer packet is quoted from 28 on.
    for (at, value, says) in [
        (28 + 15, 2, "from another end"),
        (28 + 19, 8, "to another backend"),
    ] {
        let mut forged = error.clone();
        forged[at] = value;
        assert_eq!(world.shown(&forged).0, unmatched, "{says}");
    }
    // Of another flow it is nobody's that is known here.
    let mut other = error.clone();
    other[28 + 20 + 21] ^= 1;
    assert_eq!(world.shown(&other).0, Verdict::Pass);
    // Another kind of tunnel.
    let (_, gre) = in_tunnel(Encapsulation::Gre, true, SYN, TOO_BIG);
    assert_eq!(world.shown(&gre).0, unmatched);
    assert_eq!(world.shown(&error).0, Verdict::Forward(InterfaceId(0)));
}

#[test]
fn an_error_about_a_tunnel_that_did_not_arrive_as_it_was_sent_is_not_made_right() {
    let (mut world, error) = in_tunnel(Encapsulation::Ipip, true, SYN, TOO_BIG);
    let last = error.len() - 1;
    // In its own IP header, in what ICMP says, and in what is quoted.
    for at in [1, 26, last] {
        let mut damaged = error.clone();
        damaged[at] ^= 0x10;
        let verdict = Verdict::Drop(DropReason::BadChecksum);
        assert_eq!(world.shown(&damaged).0, verdict, "byte {at}");
    }
    assert_eq!(world.shown(&error).0, Verdict::Forward(InterfaceId(0)));
}

#[test]
fn errors_about_tunnels_are_limited_for_each_client() {
    let (mut world, error) = in_tunnel(Encapsulation::Ipip, true, SYN, TOO_BIG);
    let sent = (0..50)
        .filter(|_| world.shown(&error).0 == Verdict::Forward(InterfaceId(0)))
        .count();
    assert_eq!(sent, 10);
    let dropped = world.forwarder.stats().dropped_for(DropReason::AnswerRate);
    assert_eq!(dropped, 40);
}

#[test]
fn a_packet_too_big_for_a_tunnel_is_told_what_fits_inside() {
    for (backends, syn, front) in [
        (
            REMOTE,
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 S len=1460",
            [3, 4, 0, 0, 0x05, 0xc8],
        ),
        (
            REMOTE6,
            "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S len=1440",
            [2, 0, 0, 0, 0x05, 0xb4],
        ),
    ] {
        let mut world = services(ipip(), backends);
        let (verdict, frame) = world.shown(&line(syn));
        assert_eq!(verdict, Verdict::Reply);
        let (bytes, _) = unframed(&frame);
        let at = headers(&bytes).transport;
        assert_eq!([&bytes[at..at + 2], &bytes[at + 4..at + 8]].concat(), front);
    }
}

#[test]
fn an_error_about_a_spliced_session_names_the_numbers_of_its_receiver() {
    use crate::syn_proxy::{joined, t};
    for (from, to, about, then, mac) in [
        (
            OUTSIDE,
            "203.0.113.10",
            "S > C A seq=K+1 ack=101 len=90",
            "A > C A seq=501 ack=101 len=90",
            0x07,
        ),
        (
            INSIDE,
            "192.0.2.1",
            "C > A A seq=101 ack=501 len=40",
            "C > S A seq=101 ack=501 len=40",
            0xfe,
        ),
    ] {
        let mut world = crate::syn_proxy::web();
        for step in joined([]) {
            world.step(&step, "open");
        }
        let error = Error(from, to, TOO_BIG, t(about), 28);
        let (verdict, frame) = world.shown(&error.bytes());
        assert_eq!(verdict, Verdict::Forward(InterfaceId(0)), "{about}");
        let (from, to) = if mac == 0x07 {
            (OUTSIDE, "10.0.0.7")
        } else {
            ("203.0.113.10", "192.0.2.1")
        };
        let expected = a_hop_later(Error(from, to, TOO_BIG, t(then), 28).bytes());
        assert_eq!(unframed(&frame), (expected, mac), "{about}");
    }
    // The backend's own number is none that the client was shown.
    let mut world = crate::syn_proxy::web();
    for step in joined([]) {
        world.step(&step, "open");
    }
    let forged = Error(
        OUTSIDE,
        "203.0.113.10",
        TOO_BIG,
        t("S > C A seq=501 ack=101"),
        28,
    );
    let (verdict, _) = world.shown(&forged.bytes());
    assert_eq!(verdict, Verdict::Drop(DropReason::IcmpUnmatched));
}

/// A packet that is refused, and the error that answers it.
struct Answered(
    &'static str,
    fn() -> World,
    &'static str,
    &'static str,
    [u8; 6],
);

fn silent() -> World {
    world_of(InTurn, &[], |pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        let dns = service("dns", Udp, "203.0.113.10/32", 53, &pool);
        vec![
            web.unavailable(Unavailable::Silence),
            dns.unavailable(Unavailable::Silence),
        ]
    })
}

fn empty() -> World {
    world_of(InTurn, &[], |pool| {
        vec![
            service("web", Tcp, "203.0.113.10/32", 80, &pool),
            service("dns", Udp, "203.0.113.10/32", 53, &pool),
            service("six", Udp, "2001:db8::10/128", 53, &pool),
        ]
    })
}

const ANSWERED: &[Answered] = &[
    Answered(
        "without a backend a datagram's port is unreachable",
        empty,
        "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
        "203.0.113.10",
        [3, 3, 0, 0, 0, 0],
    ),
    Answered(
        "and over IPv6",
        empty,
        "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=33",
        "2001:db8::10",
        [1, 4, 0, 0, 0, 0],
    ),
    Answered(
        "the last hop is told from the service",
        web,
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 S ttl=1",
        "203.0.113.10",
        TIME,
    ),
    Answered(
        "and over IPv6",
        web6,
        "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S ttl=1",
        "2001:db8::10",
        [3, 0, 0, 0, 0, 0],
    ),
    Answered(
        "a packet that is too big is told what fits",
        web,
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 S len=1461",
        "203.0.113.10",
        [3, 4, 0, 0, 0x05, 0xdc],
    ),
    Answered(
        "and over IPv6",
        web6,
        "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=1453",
        "2001:db8::10",
        [2, 0, 0, 0, 0x05, 0xdc],
    ),
];

#[test]
fn every_refused_packet_is_answered_with_why() {
    for Answered(says, world, sent, from, front) in ANSWERED {
        let mut world = world();
        let sent = line(sent);
        let (verdict, frame) = world.shown(&sent);
        assert_eq!(verdict, Verdict::Reply, "{says}");
        let (bytes, to) = unframed(&frame);
        assert_eq!(to, 0xfe, "{says}");
        let (read, asked) = (headers(&bytes), headers(&sent));
        assert_eq!((read.source, read.destination), (ip(from), asked.source));
        assert!(right(&bytes), "{says}");
        let quoted = sent.len().min(if asked.is_ipv4() { 548 } else { 1232 });
        let expected = message(ip(from), asked.source, *front, &sent[..quoted]);
        assert_eq!(
            bytes[read.transport..],
            expected[read.transport..],
            "{says}"
        );
    }
}

#[test]
fn a_backend_s_packet_is_answered_by_the_interface_s_address() {
    let mut world = web();
    for step in OPEN {
        world.step(step, "open");
    }
    let answer = "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101 len=1461";
    let sent = line(answer);
    let (verdict, frame) = world.shown(&sent);
    assert_eq!(verdict, Verdict::Reply);
    let (bytes, _) = unframed(&frame);
    let expected = message(
        ip("10.0.0.1"),
        ip("10.0.0.7"),
        [3, 4, 0, 0, 0x05, 0xdc],
        &sent[..548],
    );
    assert_eq!(bytes[12..20], expected[12..20]);
    assert_eq!(bytes[20..], expected[20..]);
}

#[test]
fn a_syn_that_no_backend_takes_is_reset_and_a_silent_service_says_nothing() {
    let mut refusing = empty();
    let syn = "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100";
    let (verdict, frame) = refusing.shown(&line(syn));
    assert_eq!(verdict, Verdict::Reply);
    let (bytes, to) = unframed(&frame);
    let reset = "tcp 203.0.113.10:80 > 192.0.2.1:40000 RA ack=101 win=0";
    assert_eq!((bytes, to), (line(reset), 0xfe));
    let stats = refusing.forwarder.stats();
    assert_eq!(stats.dropped_for(DropReason::BackendUnavailable), 1);
    assert_eq!((stats.replied, stats.answers.resets), (1, 1));

    let mut silent = silent();
    for asked in [syn, "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33"] {
        let (verdict, frame) = silent.shown(&line(asked));
        assert_eq!(verdict, Verdict::Drop(DropReason::BackendUnavailable));
        assert_eq!(unframed(&frame).0, line(asked));
    }
}

#[test]
fn refusals_are_limited() {
    let mut world = empty();
    let asked = line("udp 192.0.2.1:40000 > 203.0.113.10:53 len=33");
    let replies = (0..100)
        .filter(|_| world.shown(&asked).0 == Verdict::Reply)
        .count();
    assert_eq!(replies, 10);
    let stats = world.forwarder.stats();
    assert_eq!(stats.answers.limited, 90);
    assert_eq!(stats.dropped_for(DropReason::BackendUnavailable), 100);
}

#[test]
fn an_echo_request_to_a_service_s_address_is_answered_and_to_no_other() {
    for (client, service, ask, answer) in [
        ("192.0.2.1", "203.0.113.10", 8, 0),
        ("2001:db8:2::1", "2001:db8::10", 128, 129),
    ] {
        let mut world = if ask == 8 { web() } else { web6() };
        let (client, service) = (ip(client), ip(service));
        let asked = message(client, service, [ask, 0, 1, 2, 3, 4], b"payload");
        let (verdict, frame) = world.shown(&asked);
        assert_eq!(verdict, Verdict::Reply);
        let reply = message(service, client, [answer, 0, 1, 2, 3, 4], b"payload");
        assert_eq!(unframed(&frame), (reply, 0xfe));
        // Its own address, which is the host's to answer for; and a reply.
        let own = ip(if ask == 8 {
            "10.0.0.1"
        } else {
            "2001:db8:1::1"
        });
        for other in [
            message(client, own, [ask, 0, 1, 2, 3, 4], b""),
            message(client, service, [answer, 0, 1, 2, 3, 4], b""),
        ] {
            let (verdict, frame) = world.shown(&other);
            assert_eq!(verdict, Verdict::Pass);
            assert_eq!(unframed(&frame).0, other);
        }
        assert_eq!(octets(service).len(), if ask == 8 { 4 } else { 16 });
    }
}
