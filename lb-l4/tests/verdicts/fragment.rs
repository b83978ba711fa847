//! Fragments, in order and out of it, and packets that have to be cut.

use lb_l4::forwarder::Scheduling;
use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::method::ForwardingMethod::DirectRouting;
use lb_l4::packet::{DropReason, InterfaceId, Verdict};

use crate::harness::*;
use crate::raw::icmp::message;
use crate::raw::{a_hop_later, fragment, headers, line, may_be_cut, unframed};

fn dns() -> World {
    world(|pool| {
        vec![
            service("dns", Udp, "203.0.113.10/32", 53, &pool),
            service("web", Tcp, "203.0.113.10/32", 80, &pool),
        ]
    })
}

fn dns6() -> World {
    world_of(InTurn, &[C, D], |pool| {
        vec![service("dns", Udp, "2001:db8::10/128", 53, &pool)]
    })
}

fn direct() -> World {
    world(|pool| vec![service("dns", Udp, "203.0.113.10/32", 53, &pool).method(DirectRouting)])
}

fn one_packet() -> World {
    world(|pool| {
        let dns = service("dns", Udp, "203.0.113.10/32", 53, &pool);
        vec![dns.scheduling(Scheduling::OnePacket)]
    })
}

/// A story of fragments, each named by the packet it is of and its bytes behind the IP header.
struct Story {
    says: &'static str,
    world: fn() -> World,
    parts: &'static [Part],
}

enum Part {
    /// This fragment comes in, and this becomes of it.
    Comes(&'static str, usize, usize, Then),
    /// The forwarder sends this fragment by itself.
    Out(&'static str, usize, usize),
    Quiet,
    Seconds(u64),
}

enum Then {
    /// The same bytes of this packet.
    On(&'static str),
    Kept,
    Lost(DropReason),
    Left,
}
use Part::{Comes, Out, Quiet, Seconds};
use Then::{Kept, Left, Lost, On};

const ASK: &str = "udp 192.0.2.1:40000 > 203.0.113.10:53 len=200";
const ASKED: &str = "udp 192.0.2.1:40000 > 10.0.0.7:8080 len=200";
const TELL: &str = "udp 10.0.0.7:8080 > 192.0.2.1:40000 len=200";
const TOLD: &str = "udp 203.0.113.10:53 > 192.0.2.1:40000 len=200";
const ASK6: &str = "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=200";
const ASKED6: &str = "udp [2001:db8:2::1]:40000 > [2001:db8:1::7]:8080 len=200";
const TELL6: &str = "udp [2001:db8:1::7]:8080 > [2001:db8:2::1]:40000 len=200";
const TOLD6: &str = "udp [2001:db8::10]:53 > [2001:db8:2::1]:40000 len=200";
const OTHER: &str = "udp 192.0.2.1:40000 > 203.0.113.99:53 len=200";
const STREAM: &str = "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=1 len=200";
const END: usize = 208;

const STORIES: &[Story] = &[
    Story {
        says: "in order, both ways",
        world: dns,
        parts: &[
            Comes(ASK, 0, 80, On(ASKED)),
            Comes(ASK, 80, 160, On(ASKED)),
            Comes(ASK, 160, END, On(ASKED)),
            Comes(TELL, 0, 80, On(TOLD)),
            Comes(TELL, 80, END, On(TOLD)),
            Quiet,
        ],
    },
    Story {
        says: "IPv6, in order, both ways",
        world: dns6,
        parts: &[
            Comes(ASK6, 0, 80, On(ASKED6)),
            Comes(ASK6, 80, END, On(ASKED6)),
            Comes(TELL6, 0, 80, On(TOLD6)),
            Comes(TELL6, 80, END, On(TOLD6)),
            Quiet,
        ],
    },
    Story {
        says: "the first comes last, and the others follow it in order",
        world: dns,
        parts: &[
            Comes(ASK, 160, END, Kept),
            Comes(ASK, 80, 160, Kept),
            Quiet,
            Comes(ASK, 0, 80, On(ASKED)),
            Out(ASKED, 80, 160),
            Out(ASKED, 160, END),
            Quiet,
        ],
    },
    Story {
        says: "IPv6: the first comes last",
        world: dns6,
        parts: &[
            Comes(ASK6, 80, END, Kept),
            Comes(ASK6, 0, 80, On(ASKED6)),
            Out(ASKED6, 80, END),
            Quiet,
        ],
    },
    Story {
        says: "an answer whose first fragment comes last",
        world: dns,
        parts: &[
            Comes(ASK, 0, 80, On(ASKED)),
            Comes(ASK, 80, END, On(ASKED)),
            Comes(TELL, 80, END, Kept),
            Comes(TELL, 0, 80, On(TOLD)),
            Out(TOLD, 80, END),
            Quiet,
        ],
    },
    Story {
        says: "direct routing: as they came",
        world: direct,
        parts: &[
            Comes(ASK, 80, END, Kept),
            Comes(ASK, 0, 80, On(ASK)),
            Out(ASK, 80, END),
        ],
    },
    Story {
        says: "one packet at a time: later fragments go where the first one went",
        world: one_packet,
        parts: &[
            Comes(ASK, 0, 80, On(ASKED)),
            Comes(ASK, 80, 160, On(ASKED)),
            Comes(ASK, 160, END, On(ASKED)),
            // The next datagram, to the next backend.
            Comes(ASK, 160, END, Kept),
            Comes(
                ASK,
                0,
                80,
                On("udp 192.0.2.1:40000 > 10.0.0.8:8080 len=200"),
            ),
            Out("udp 192.0.2.1:40000 > 10.0.0.8:8080 len=200", 160, END),
            Comes(
                ASK,
                80,
                160,
                On("udp 192.0.2.1:40000 > 10.0.0.8:8080 len=200"),
            ),
            // An answer belongs to no session, and is the service's all the same.
            Comes(TELL, 0, 80, On(TOLD)),
            Comes(TELL, 80, END, On(TOLD)),
        ],
    },
    Story {
        says: "an overlap ends the datagram",
        world: dns,
        parts: &[
            Comes(ASK, 0, 80, On(ASKED)),
            Comes(ASK, 72, 160, Lost(DropReason::FragmentOverlap)),
            Comes(ASK, 80, 160, Lost(DropReason::FragmentOverlap)),
            Comes(ASK, 160, END, Lost(DropReason::FragmentOverlap)),
        ],
    },
    Story {
        says: "IPv6: an overlap before the first fragment keeps everything back",
        world: dns6,
        parts: &[
            Comes(ASK6, 80, 160, Kept),
            Comes(ASK6, 152, END, Lost(DropReason::FragmentOverlap)),
            Comes(ASK6, 0, 80, Lost(DropReason::FragmentOverlap)),
            Quiet,
        ],
    },
    Story {
        says: "the same fragment again goes the same way again",
        world: dns,
        parts: &[
            Comes(ASK, 0, 80, On(ASKED)),
            Comes(ASK, 0, 80, On(ASKED)),
            Comes(ASK, 80, 160, On(ASKED)),
            Comes(ASK, 80, 160, On(ASKED)),
            Comes(ASK, 160, END, On(ASKED)),
        ],
    },
    Story {
        says: "what the first does not follow in 30 seconds is forgotten",
        world: dns,
        parts: &[
            Comes(ASK, 80, 160, Kept),
            Seconds(29),
            Comes(ASK, 160, END, Kept),
            Seconds(1),
            Comes(ASK, 0, 80, On(ASKED)),
            Quiet,
        ],
    },
    Story {
        says: "what the first does follow in less goes on",
        world: dns,
        parts: &[
            Comes(ASK, 80, END, Kept),
            Seconds(29),
            Comes(ASK, 0, 80, On(ASKED)),
            Out(ASKED, 80, END),
        ],
    },
    Story {
        says: "fragments to no service are the host's, whatever the order",
        world: dns,
        parts: &[
            Comes(OTHER, 80, END, Left),
            Comes(OTHER, 0, 80, Left),
            Quiet,
        ],
    },
    Story {
        says: "a fragmented segment that belongs to no session begins none, nor does what follows it",
        world: dns,
        parts: &[
            Comes(STREAM, 0, 80, Lost(DropReason::NoSession)),
            Comes(STREAM, 80, 220, Lost(DropReason::NoSession)),
        ],
    },
    Story {
        says: "no fragment begins inside of the header of TCP",
        world: dns,
        parts: &[
            Comes(STREAM, 8, 80, Lost(DropReason::Malformed)),
            Comes(STREAM, 16, 80, Lost(DropReason::Malformed)),
            Comes(STREAM, 0, 16, Lost(DropReason::Malformed)),
        ],
    },
];

/// The same but for the identification, which is another where the source is.
fn compare(found: &[u8], expected: &[u8], renamed: bool, says: &str) -> Option<u32> {
    let (mut found, mut expected) = (found.to_vec(), a_hop_later(expected.to_vec()));
    let read = headers(&found);
    let identification = read.fragment.map(|it| it.identification);
    if renamed {
        assert!(read.header_checksum_is_right(&found), "{says}");
        let (ids, sums) = if read.is_ipv4() {
            (4..6, 10..12)
        } else {
            (44..48, 0..0)
        };
        for bytes in [&mut found, &mut expected] {
            bytes[ids.clone()].fill(0);
            bytes[sums.clone()].fill(0);
        }
    }
    assert_eq!(found, expected, "{says}");
    identification
}

#[test]
fn every_story_holds() {
    for Story { says, world, parts } in STORIES {
        let mut world = world();
        let mut named = std::collections::HashMap::new();
        let mut same_name = |line: &'static str, id: Option<u32>| {
            // The stories' datagrams of one line are one, but for the last of one_packet's.
            named.entry(line).or_insert(id);
        };
        for (at, part) in parts.iter().enumerate() {
            let place = format!("`{says}`, part {at}");
            match part {
                Comes(sent, from, to, then) => {
                    let sent_line = *sent;
                    let sent = fragment(&line(sent), *from, *to);
                    let (verdict, frame) = world.shown(&sent);
                    let (bytes, _) = unframed(&frame);
                    match then {
                        On(expected) => {
                            assert_eq!(verdict, Verdict::Forward(InterfaceId(0)), "{place}");
                            let whole = line(expected);
                            let renamed = headers(&whole).source != headers(&sent).source;
                            let id =
                                compare(&bytes, &fragment(&whole, *from, *to), renamed, &place);
                            same_name(sent_line, id);
                        }
                        Kept => assert_eq!(verdict, Verdict::Held, "{place}"),
                        Lost(reason) => assert_eq!(verdict, Verdict::Drop(*reason), "{place}"),
                        Left => {
                            assert_eq!((verdict, bytes), (Verdict::Pass, sent), "{place}");
                        }
                    }
                }
                Out(expected, from, to) => {
                    let sent = world.forwarder.poll_transmit(world.now);
                    let sent = sent.unwrap_or_else(|| panic!("{place}: nothing is sent"));
                    let (bytes, _) = unframed(sent.bytes);
                    let expected = fragment(&line(expected), *from, *to);
                    let renamed = headers(&expected).source == ip("203.0.113.10");
                    compare(&bytes, &expected, renamed, &place);
                }
                Quiet => world.step(&Silent, &place),
                Seconds(seconds) => world.step(&Wait(*seconds), &place),
            }
        }
    }
}

#[test]
fn answers_of_two_backends_to_one_client_never_share_an_identification() {
    let mut world = dns();
    for (client, backend) in [(40000, "10.0.0.7"), (40001, "10.0.0.8")] {
        let ask = format!("udp 192.0.2.1:{client} > 203.0.113.10:53 len=9");
        let (verdict, frame) = world.shown(&line(&ask));
        assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
        assert_eq!(headers(&unframed(&frame).0).destination, ip(backend));
    }
    let mut seen = Vec::new();
    for (client, backend) in [(40000, "10.0.0.7"), (40001, "10.0.0.8")] {
        let tell = line(&format!("udp {backend}:8080 > 192.0.2.1:{client} len=200"));
        for (from, to) in [(0, 80), (80, 208)] {
            let (verdict, frame) = world.shown(&fragment(&tell, from, to));
            assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
            let read = headers(&unframed(&frame).0);
            seen.push(read.fragment.unwrap().identification);
        }
    }
    assert_eq!((seen[0], seen[2]), (seen[1], seen[3]));
    assert_ne!(seen[0], seen[2]);
}

#[test]
fn fragments_that_were_held_and_are_discarded_are_counted() {
    let mut world = dns();
    for (from, to) in [(80, 160), (160, END)] {
        assert_eq!(
            world.shown(&fragment(&line(ASK), from, to)).0,
            Verdict::Held
        );
    }
    assert_eq!(
        world.forwarder.stats().fragments.held_bytes,
        2 * 34 + 80 + 48
    );
    let due = world.forwarder.poll_timeout().unwrap();
    assert_eq!(due, world.now + std::time::Duration::from_secs(30));
    world.step(&Wait(30), "the time is over");
    let stats = world.forwarder.stats();
    assert_eq!(stats.dropped_for(DropReason::FragmentUnmatched), 2);
    assert_eq!((stats.held, stats.fragments.datagrams), (2, 0));
}

#[test]
fn a_fragmented_echo_request_is_answered_fragment_by_fragment() {
    for (client, service, ask, answer) in [
        ("192.0.2.1", "203.0.113.10", 8, 0),
        ("2001:db8:2::1", "2001:db8::10", 128, 129),
    ] {
        let mut world = if ask == 8 { dns() } else { dns6() };
        let (client, service) = (ip(client), ip(service));
        let asked = message(client, service, [ask, 0, 1, 2, 3, 4], &[7; 200]);
        let reply = message(service, client, [answer, 0, 1, 2, 3, 4], &[7; 200]);
        let (verdict, _) = world.shown(&fragment(&asked, 160, END));
        assert_eq!(verdict, Verdict::Held);
        for (from, to) in [(0, 80), (80, 160)] {
            let (verdict, frame) = world.shown(&fragment(&asked, from, to));
            assert_eq!(verdict, Verdict::Reply);
            assert_eq!(unframed(&frame), (fragment(&reply, from, to), 0xfe));
            if from == 0 {
                let sent = world.forwarder.poll_transmit(world.now).unwrap();
                assert_eq!(unframed(sent.bytes), (fragment(&reply, 160, END), 0xfe));
            }
        }
        assert_eq!(world.forwarder.stats().fragments.datagrams, 0);
    }
}

#[test]
fn a_packet_that_is_too_big_and_may_be_cut_is_cut() {
    let mut world = dns();
    let ask = "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1473";
    let asked = may_be_cut(line("udp 192.0.2.1:40000 > 10.0.0.7:8080 len=1473"));
    let (verdict, _) = world.shown(&may_be_cut(line(ask)));
    assert_eq!(verdict, Verdict::Held);
    for (from, to) in [(0, 1480), (1480, 1481)] {
        let sent = world.forwarder.poll_transmit(world.now).unwrap();
        let (bytes, to_mac) = unframed(sent.bytes);
        assert_eq!(bytes, a_hop_later(fragment(&asked, from, to)));
        assert_eq!(to_mac, 0x07);
    }
    world.step(&Silent, "no more");
    // One byte less fits.
    let fits = may_be_cut(line("udp 192.0.2.1:40000 > 203.0.113.10:53 len=1472"));
    assert_eq!(world.shown(&fits).0, Verdict::Forward(InterfaceId(0)));
}

#[test]
fn a_fragment_that_is_too_big_is_cut_smaller() {
    let mut world = dns();
    let ask = may_be_cut(line("udp 192.0.2.1:40000 > 203.0.113.10:53 len=3000"));
    let asked = line("udp 192.0.2.1:40000 > 10.0.0.7:8080 len=3000");
    for (from, to) in [(0, 1600), (1600, 3008)] {
        let (verdict, frame) = world.shown(&fragment(&ask, from, to));
        if from == 0 {
            assert_eq!(verdict, Verdict::Held);
            for (from, to) in [(0, 1480), (1480, 1600)] {
                let sent = world.forwarder.poll_transmit(world.now).unwrap();
                let expected = a_hop_later(fragment(&asked, from, to));
                assert_eq!(unframed(sent.bytes).0, expected);
            }
        } else {
            assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
            assert_eq!(unframed(&frame).0, a_hop_later(fragment(&asked, from, to)));
        }
    }
    assert_eq!(world.forwarder.stats().fragments.completed, 1);
}

#[test]
fn fragments_go_through_a_tunnel_as_they_came() {
    use lb_l4::method::tunnel::Encapsulation;
    for (kind, front) in [
        (Encapsulation::Ipip, 20),
        (Encapsulation::Gre, 24),
        (Encapsulation::GUE, 32),
    ] {
        let mut world =
            crate::tunnel::services(crate::tunnel::ipip().kind(kind), crate::tunnel::REMOTE);
        let parts = [(0, 80), (80, 160), (160, END)].map(|(a, b)| fragment(&line(ASK), a, b));
        assert_eq!(world.shown(&parts[1]).0, Verdict::Held);
        let (verdict, frame) = world.shown(&parts[0]);
        assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
        let first = unframed(&frame).0;
        let sent = world.forwarder.poll_transmit(world.now).unwrap();
        let held = unframed(sent.bytes).0;
        let (verdict, frame) = world.shown(&parts[2]);
        assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
        let last = unframed(&frame).0;
        for (outer, part) in [first, held, last].iter().zip(parts) {
            assert_eq!(outer[front..], a_hop_later(part), "{kind:?}");
            assert_eq!(headers(outer).destination, ip("10.1.0.7"));
        }
    }
}
