//! NAT: destinations rewritten, and sources of answers.

use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::packet::{DropReason, InterfaceId, Verdict};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use std::collections::HashMap;

use crate::harness::*;
use crate::raw::line;

fn web() -> World {
    world(|pool| {
        vec![
            service("web", Tcp, "203.0.113.10/32", 80, &pool),
            service("dns", Udp, "203.0.113.10/32", 53, &pool),
            service("all", Tcp, "203.0.113.11/32", 0, &pool),
            service("net", Tcp, "203.0.113.128/25", 443, &pool),
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

/// A backend that keeps the port that was asked for.
fn ports() -> World {
    world_of(InTurn, &[("a", "10.0.0.7:0")], |pool| {
        vec![service("all", Tcp, "203.0.113.10/32", 0, &pool)]
    })
}

const ROWS: &[Row] = &[
    Row {
        says: "a SYN goes to a backend, and the answer comes from the service",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S mac=07"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA mac=fe"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=37",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 PA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=138 len=1200",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
        ],
    },
    Row {
        says: "a datagram and its answer, of odd length",
        world: web,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            In(
                "udp 10.0.0.7:8080 > 192.0.2.1:40000 len=101",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
            ),
        ],
    },
    Row {
        says: "IPv6, both ways",
        world: web6,
        steps: &[
            In(
                "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S",
                Goes("tcp [2001:db8:2::1]:40000 > [2001:db8:1::7]:8080 S mac=07"),
            ),
            In(
                "tcp [2001:db8:1::7]:8080 > [2001:db8:2::1]:40000 SA ack=1",
                Goes("tcp [2001:db8::10]:80 > [2001:db8:2::1]:40000 SA mac=fe"),
            ),
            In(
                "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=9",
                Goes("udp [2001:db8:2::1]:40000 > [2001:db8:1::7]:8080 mac=07"),
            ),
            In(
                "udp [2001:db8:1::7]:8080 > [2001:db8:2::1]:40000 len=9",
                Goes("udp [2001:db8::10]:53 > [2001:db8:2::1]:40000"),
            ),
        ],
    },
    Row {
        says: "a wrong checksum stays wrong",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S sum=bad",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S sum=bad"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=5 sum=bad",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080 sum=bad"),
            ),
        ],
    },
    Row {
        says: "each new session goes to the next backend, and the old ones stay",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "a service of every port, and of a prefix",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.11:22 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.11:22 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.200:443 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 10.0.0.8:8080 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.200:443 > 192.0.2.1:40000 SA"),
            ),
            In("tcp 192.0.2.1:40000 > 203.0.113.200:80 S", Passes),
            In("tcp 192.0.2.1:40000 > 203.0.113.127:443 S", Passes),
            In("udp 192.0.2.1:40000 > 203.0.113.11:22 len=1", Passes),
        ],
    },
    Row {
        says: "a backend of port 0 keeps the port that was asked for",
        world: ports,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:80 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:81 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:81 S"),
            ),
            In(
                "tcp 10.0.0.7:81 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.10:81 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 10.0.0.7:80 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In("tcp 10.0.0.7:82 > 192.0.2.1:40000 SA ack=1", Passes),
        ],
    },
    Row {
        says: "two services never give one client the same ends at one backend",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.9:1 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.9:1 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.11:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.200:443 S",
                Drops(DropReason::PortsExhausted),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 10.0.0.8:8080 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.11:80 > 192.0.2.1:40000 SA"),
            ),
        ],
    },
    Row {
        says: "the last hop is counted, both ways",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S ttl=2",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S ttl=1"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S ttl=1",
                Refused(DropReason::HopLimit),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1 ttl=1",
                Refused(DropReason::HopLimit),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1 ttl=255",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA ttl=254"),
            ),
        ],
    },
    Row {
        says: "what is not ours is left to the host",
        world: web,
        steps: &[
            In("tcp 192.0.2.1:40000 > 203.0.113.10:81 S", Passes),
            In("tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA", Passes),
            In("udp 10.0.0.7:8080 > 192.0.2.1:40000 len=1", Passes),
            In("tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S", Passes),
        ],
    },
    Row {
        says: "the answer of another backend, or of another port, is none",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In("tcp 10.0.0.8:8080 > 192.0.2.1:40000 SA", Passes),
            In("tcp 10.0.0.7:8081 > 192.0.2.1:40000 SA", Passes),
            In("udp 10.0.0.7:8080 > 192.0.2.1:40000 len=1", Passes),
            In("tcp 10.0.0.7:8080 > 192.0.2.2:40000 SA", Passes),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}

/// Of so many clients two have the same hash, of 32 bits, at one backend.
#[test]
fn an_answer_is_known_by_its_ends_and_not_by_their_hash_alone() {
    let backend = "10.0.0.7:8080".parse().unwrap();
    let key = HashKey::new([7; 16]);
    let mut hashes = HashMap::new();
    let mut clients = (0..1_u32 << 19).map(|n| {
        let [_, a, b, c] = n.to_be_bytes();
        std::net::SocketAddr::from(([198, 18 + (a & 1), b, c], 40_000 + u16::from(a)))
    });
    let (one, other) = clients
        .find_map(|client| {
            let flow = FlowKey::new(Protocol::Tcp, backend, client);
            let before = hashes.insert(flow.keyed_hash(&key) >> 32, client);
            before.map(|before| (before, client))
        })
        .expect("about 32 pairs");
    let mut world = web();
    let (verdict, _) = world.shown(&line(&format!("tcp {one} > 203.0.113.10:80 S")));
    assert_eq!(verdict, Verdict::Forward(InterfaceId(0)));
    for (client, expected) in [
        (one, Verdict::Forward(InterfaceId(0))),
        (other, Verdict::Pass),
    ] {
        let answer = line(&format!("tcp 10.0.0.7:8080 > {client} SA ack=1"));
        assert_eq!(world.shown(&answer).0, expected, "{client}");
    }
}
