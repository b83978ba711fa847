//! How sessions begin, go on and end.

use std::sync::Arc;

use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::forwarder::{OnExpiry, Orphans, Scheduling, Straying};
use lb_l4::packet::DropReason;
use lbcore::Instant;
use lbcore::address_list::AddressRules;
use lbcore::limit::{LimitConfig, Limits};
use lbcore::schedule::AnyScheduler;

use crate::harness::*;

fn web() -> World {
    world(|pool| vec![service("web", Tcp, "203.0.113.10/32", 80, &pool)])
}

fn resetting() -> World {
    world(|pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        vec![
            web.straying(Straying::Reset)
                .on_expiry(OnExpiry::Reset)
                .removed(Orphans::Reset),
        ]
    })
}

fn sloppy() -> World {
    world(|pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        vec![web.straying(Straying::Place)]
    })
}

fn limited() -> World {
    world(|pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        let config = LimitConfig::default().connections(1);
        let deny = ["192.0.2.66/32".parse().unwrap()];
        vec![
            web.limits(Arc::new(Limits::new(Instant::ZERO, config)))
                .rules(Arc::new(AddressRules::new([], deny))),
        ]
    })
}

fn dns() -> World {
    world(|pool| {
        let dns = service("dns", Udp, "203.0.113.10/32", 53, &pool);
        vec![dns.scheduling(Scheduling::OnePacket)]
    })
}

/// From here on no session begins.
fn close(world: &mut World) {
    let web = service("web", Tcp, "203.0.113.10/32", 80, &world.pool);
    let services = vec![web.accepting(false)];
    world.forwarder.update(world.now, services).unwrap();
}

const ROWS: &[Row] = &[
    Row {
        says: "a service that closes goes on with its sessions and begins none",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=5",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(close),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=70 ack=6",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=6 ack=71",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S seq=5",
                Refused(DropReason::BackendUnavailable),
            ),
            Silent,
        ],
    },
    Row {
        says: "a segment without a session is dropped",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A",
                Drops(DropReason::NoSession),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 SA",
                Drops(DropReason::NoSession),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R",
                Drops(DropReason::NoSession),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 SF",
                Drops(DropReason::NoSession),
            ),
            Silent,
        ],
    },
    Row {
        says: "or answered by a RST, but for a RST",
        world: resetting,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=5 ack=77",
                Drops(DropReason::NoSession),
            ),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=77 mac=fe"),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 P seq=5 len=10",
                Drops(DropReason::NoSession),
            ),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA ack=15"),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=5",
                Drops(DropReason::NoSession),
            ),
            Silent,
        ],
    },
    Row {
        says: "or begins a session, where that is allowed",
        world: sloppy,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=5 ack=77",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=77 ack=5",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
        ],
    },
    Row {
        says: "forged senders begin nothing",
        world: web,
        steps: &[
            In(
                "tcp 127.0.0.1:40000 > 203.0.113.10:80 S",
                Drops(DropReason::Malformed),
            ),
            In(
                "tcp 224.0.0.1:40000 > 203.0.113.10:80 S",
                Drops(DropReason::Malformed),
            ),
            In(
                "tcp 192.0.2.1:0 > 203.0.113.10:80 S",
                Drops(DropReason::Malformed),
            ),
        ],
    },
    Row {
        says: "a SYN on a session that has closed stays with its backend, or is placed anew if that drains",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=9",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 RA ack=10",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=11",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 RA ack=12",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
            ),
            Do(|world| world.drain("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=13",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
            In("tcp 10.0.0.7:8080 > 192.0.2.1:40000 RA ack=14", Passes),
        ],
    },
    Row {
        says: "a session outlives the drain and the removal of its backend",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| world.drain("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Do(|world| world.remove("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "or is reset with its backend, if that is wished",
        world: resetting,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| world.remove("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1 ack=33",
                Drops(DropReason::BackendGone),
            ),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=33"),
            Silent,
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "a backend that has moved is another one to the sessions that it had",
        world: resetting,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| world.put(("a", "10.0.0.9:8080"))),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1 ack=33",
                Drops(DropReason::BackendGone),
            ),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=33"),
        ],
    },
    Row {
        says: "without a backend nothing begins",
        world: web,
        steps: &[
            Do(|world| world.remove("a")),
            Do(|world| world.remove("b")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Refused(DropReason::BackendUnavailable),
            ),
        ],
    },
    Row {
        says: "both ends are told of a session that expires, each the number that it expects",
        world: resetting,
        steps: &[
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
            Wait(899),
            Silent,
            Wait(2),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501 mac=fe"),
            Sends("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R seq=101 mac=07"),
            Silent,
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Passes,
            ),
        ],
    },
    Row {
        says: "a limit of sessions is given back when they end, and a list holds for new ones",
        world: limited,
        steps: &[
            In(
                "tcp 192.0.2.66:40000 > 203.0.113.10:80 S",
                Drops(DropReason::AddressDenied),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Drops(DropReason::SessionLimit),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Wait(62),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "each datagram by itself, where that is wished, and nothing is remembered",
        world: dns,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=3",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=3",
                Goes("udp 192.0.2.1:40000 > 10.0.0.8:8080"),
            ),
            Do(|world| assert_eq!(world.forwarder.stats().sessions, 0)),
            In(
                "udp 10.0.0.8:8080 > 192.0.2.1:40000 len=3",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
            ),
        ],
    },
    Row {
        says: "a blind RST or FIN goes on to its end, and the session stays established",
        world: resetting,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=101 win=200",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 win=300",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=302",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=302 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=802",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(200),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=501",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(12),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Passes,
            ),
            Silent,
        ],
    },
];

#[test]
fn what_a_service_has_done_stays_counted_when_another_takes_its_place() {
    let mut world = web();
    let place = "the first";
    let syn = |port: u16| format!("tcp 192.0.2.1:{port} > 203.0.113.10:80 S seq=5");
    let first: &'static str = syn(40_000).leak();
    world.step(
        &In(first, Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S")),
        place,
    );
    let before = world.forwarder.service_stats("web").unwrap();
    assert_eq!(
        (before.sessions, before.packets_in, before.packets_out),
        (1, 1, 0)
    );
    assert_eq!(before.active, 1);

    let in_turn = AnyScheduler::new(InTurn);
    let other = lbcore::Pool::new(in_turn).backend(backend(B));
    let replaced = service("web", Tcp, "203.0.113.10/32", 80, &other);
    world.forwarder.update(world.now, vec![replaced]).unwrap();
    assert_eq!(world.forwarder.service_stats("web"), Some(before));
    // The session goes on where it is, and what it does is the service's still.
    let answer = In(
        "tcp 10.0.0.7:8080 > 192.0.2.1:40000 RA seq=70 ack=6",
        Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
    );
    world.step(&answer, place);
    let second: &'static str = syn(40_001).leak();
    world.step(
        &In(second, Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S")),
        place,
    );
    let sum = |world: &World| {
        let stats = world.forwarder.service_stats("web").unwrap();
        (
            stats.sessions,
            stats.packets_in,
            stats.packets_out,
            stats.active,
        )
    };
    assert_eq!(sum(&world), (2, 2, 1, 2));
    // The last session of the old one is forgotten, and the old one with it.
    world.step(&Wait(300), place);
    assert_eq!(world.forwarder.stats().sessions, 0);
    world.step(
        &Do(|world| world.forwarder.handle_timeout(world.now)),
        place,
    );
    assert_eq!(sum(&world), (2, 2, 1, 0));
    let all: Vec<_> = world.forwarder.all_service_stats().collect();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].0, all[0].1.bytes_in), ("web", 2 * before.bytes_in));
}

#[test]
fn every_row_holds() {
    run(ROWS);
}
