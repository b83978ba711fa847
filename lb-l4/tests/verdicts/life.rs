//! How long sessions last in each state, and what the same ends mean when they come again.
//!
//! The numbers are those of IPVS where nothing else is said, and a tick or two are allowed.

use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::forwarder::{OnExpiry, Straying};
use lb_l4::method::ForwardingMethod::DirectRouting;
use lb_l4::packet::DropReason;
use lbcore::Outcome;
use lbcore::session::Timeouts;
use std::time::Duration;

use crate::harness::*;

fn web() -> World {
    world(|pool| vec![service("web", Tcp, "203.0.113.10/32", 80, &pool)])
}

/// The web's sessions are short, and those of names are not.
fn brief() -> World {
    let mut timeouts = Timeouts::default();
    timeouts.syn_sent = Duration::from_secs(4);
    timeouts.established = Duration::from_secs(20);
    world(|pool| {
        vec![
            service("web", Tcp, "203.0.113.10/32", 80, &pool).timeouts(timeouts),
            service("dns", Udp, "203.0.113.10/32", 53, &pool),
        ]
    })
}

fn resetting() -> World {
    world(|pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        vec![web.on_expiry(OnExpiry::Reset).straying(Straying::Reset)]
    })
}

fn routed() -> World {
    world(|pool| vec![service("web", Tcp, "203.0.113.10/32", 80, &pool).method(DirectRouting)])
}

fn routed_resetting() -> World {
    world(|pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        vec![web.method(DirectRouting).on_expiry(OnExpiry::Reset)]
    })
}

fn sessions<const N: usize>(world: &mut World) {
    assert_eq!(world.forwarder.stats().sessions, N);
    let in_flight = world.pool.stats().iter().map(|it| it.in_flight()).sum();
    assert_eq!(N as u64, in_flight, "tickets are given back with sessions");
}

const ROWS: &[Row] = &[
    Row {
        says: "a SYN that nobody answers is forgotten after 60 s",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Wait(59),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "an answered SYN too, from the answer on",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Wait(30),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            Wait(59),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "an acknowledgement that nobody was sent makes no session of a SYN",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=9",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Wait(59),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "an established session is kept for 900 s of silence",
        world: web,
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
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "whoever speaks: the backend",
        world: web,
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
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101 len=5",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            Wait(899),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "the backend has closed: 120 s",
        world: web,
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
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            Wait(119),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "the client has closed: 60 s",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            Wait(59),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "then the backend: 30 s",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=102",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            Wait(29),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "both, and the last acknowledgement: 120 s",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=102",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=102 ack=502",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Wait(119),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "both at once, in FINs that cross: 30 s",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            Wait(29),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "the backend first, then the client: 120 s",
        world: web,
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
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=502",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=502 ack=102",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            Wait(119),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "the backend has reset: 10 s",
        world: web,
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
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=501",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(9),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "the client has reset: 10 s",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            Wait(9),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "a SYN that is refused: 10 s",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 RA ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
            ),
            Wait(9),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "a RST that was founded on nothing costs a session no more than its long timeout",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            Wait(9),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            Wait(9),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Wait(9),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "a service has timeouts of its own: SYN",
        world: brief,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Wait(3),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "established",
        world: brief,
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
            Wait(19),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "and other services have theirs",
        world: brief,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=9",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.7:8080 S"),
            ),
            Wait(5),
            Do(sessions::<1>),
            Wait(294),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
        ],
    },
    Row {
        says: "a datagram is remembered for 300 s, whoever sent the last one",
        world: brief,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=9",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            Wait(299),
            In(
                "udp 10.0.0.7:8080 > 192.0.2.1:40000 len=9",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
            ),
            Wait(299),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=9",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            Wait(299),
            In(
                "udp 10.0.0.7:8080 > 192.0.2.1:40000 len=9",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
            ),
            Wait(301),
            In("udp 10.0.0.7:8080 > 192.0.2.1:40000 len=9", Passes),
        ],
    },
    Row {
        says: "a SYN that comes again goes to the same backend, and begins no other session",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| world.drain("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(sessions::<1>),
        ],
    },
    Row {
        says: "a SYN in an open session is its backend's to challenge, and changes nothing",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=7",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            Wait(899),
            Do(sessions::<1>),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
        ],
    },
    Row {
        says: "even if the backend drains, as the session is open",
        world: web,
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
            Do(|world| world.drain("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=7",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(sessions::<1>),
        ],
    },
    Row {
        says: "in TIME_WAIT a SYN begins anew at the backend that knows the old connection",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=102",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=102 ack=502",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=70000",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(sessions::<1>),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=9000 ack=70001",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=70001 ack=9001",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Wait(899),
            Do(sessions::<1>),
        ],
    },
    Row {
        says: "of another sequence than before, which the old window does not judge",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=3000000000",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=1000000000 ack=3000000001",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=3000000001 ack=1000000001",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=3000000001 ack=1000000001",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            Wait(9),
            Do(sessions::<1>),
            Wait(3),
            Do(sessions::<0>),
        ],
    },
    Row {
        says: "elsewhere at once if that one drains",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=102",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            Do(|world| world.drain("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=70000",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
            Do(sessions::<1>),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=502 ack=102",
                Passes,
            ),
        ],
    },
    Row {
        says: "or is gone",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            Do(|world| world.remove("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=70000",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
            Do(sessions::<1>),
        ],
    },
    Row {
        says: "or is out of service",
        world: web,
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            Do(|world| world.out_of_service("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=70000",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
            Do(sessions::<1>),
        ],
    },
    Row {
        says: "half closed it is still open: the SYN is the backend's to judge",
        world: web,
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
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            Do(|world| world.drain("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=7",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(sessions::<1>),
        ],
    },
    Row {
        says: "a RST or a FIN after the end of a session is dropped, and from the backend the host's",
        world: web,
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
            Wait(902),
            Do(sessions::<0>),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Drops(DropReason::NoSession),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Drops(DropReason::NoSession),
            ),
            In("tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=501", Passes),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 FA seq=501 ack=101",
                Passes,
            ),
            Silent,
        ],
    },
    Row {
        says: "a segment from outside of the window teaches nothing",
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
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=80000 ack=90000 len=4",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 PA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=80004",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=90000",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(899),
            Do(sessions::<1>),
            Wait(2),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501"),
            Sends("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R seq=101"),
            Silent,
        ],
    },
    Row {
        says: "a RST at each edge of the window",
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
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=802",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=500",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(11),
            Do(sessions::<1>),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=801",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(11),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "no RST is sent of a handshake that came to nothing",
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
            Wait(61),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "nor of a session that was closed",
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
            ),
            Wait(11),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "of one that is half closed it is",
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
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=102",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            Wait(61),
            Do(sessions::<0>),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501"),
            Sends("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R seq=102"),
            Silent,
        ],
    },
    Row {
        says: "one-sided: a SYN, 60 s",
        world: routed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            Wait(59),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "one-sided: the first acknowledgement must do, 900 s",
        world: routed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            Wait(899),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "one-sided: the client has closed, 120 s, as nobody sees whether the backend has",
        world: routed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 FA mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=102 ack=502",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            Wait(119),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "one-sided: reset, 10 s",
        world: routed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 R mac=07"),
            ),
            Wait(9),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "one-sided: reset before it was answered, 10 s",
        world: routed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 R mac=07"),
            ),
            Wait(9),
            Do(sessions::<1>),
            Wait(2),
            Do(sessions::<0>),
            Silent,
        ],
    },
    Row {
        says: "one-sided: the port is used again after the client has closed",
        world: routed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 FA mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=70000",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            Do(sessions::<1>),
            Wait(61),
            Do(sessions::<0>),
        ],
    },
    Row {
        says: "one-sided: the backend alone is told of the end, by the number that the client had come to",
        world: routed_resetting,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=10",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 PA mac=07"),
            ),
            Wait(901),
            Do(sessions::<0>),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501 mac=fe"),
            Sends("tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=111 mac=07"),
            Silent,
        ],
    },
    Row {
        says: "the scale of the window is that of the newest SYN, and no other segment has one",
        world: resetting,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 RA ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=9000 ws=7",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=9001 ws=2",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=9001 ack=501 win=10",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=1782",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(20),
            Do(sessions::<1>),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=1781",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(12),
            Do(sessions::<0>),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}

const SYN: Step = In(
    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
    Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
);
const SYN_ACK: Step = In(
    "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=101",
    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
);
const ACK: Step = In(
    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
    Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
);
const REFUSAL: Step = In(
    "tcp 10.0.0.7:8080 > 192.0.2.1:40000 RA ack=101",
    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
);
const BACKEND_RESETS: Step = In(
    "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=501",
    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
);
const CLIENT_RESETS: Step = In(
    "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
    Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 R"),
);
const ASKS: Step = In(
    "udp 192.0.2.1:40000 > 203.0.113.10:53 len=9",
    Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
);
const TELLS: Step = In(
    "udp 10.0.0.7:8080 > 192.0.2.1:40000 len=9",
    Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
);
const PAST: Step = In(
    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
    Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S"),
);
const PAST_RESET: Step = In(
    "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=101",
    Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 R"),
);

/// Where, what happens, and what the session's backend is held to have done then.
type End = (fn() -> World, &'static [Step], &'static str);

const ENDS: &[End] = &[
    (brief, &[SYN], "connect-failed"),
    (brief, &[SYN, REFUSAL], "connect-failed"),
    (brief, &[SYN, CLIENT_RESETS], "cancelled"),
    (brief, &[SYN, SYN_ACK], "cancelled"),
    (brief, &[SYN, SYN_ACK, ACK], "ok"),
    (brief, &[SYN, SYN_ACK, ACK, CLIENT_RESETS], "ok"),
    (brief, &[SYN, SYN_ACK, ACK, BACKEND_RESETS], "reset"),
    (brief, &[SYN, SYN_ACK, ACK, BACKEND_RESETS, ACK], "reset"),
    (
        brief,
        &[SYN, SYN_ACK, ACK, BACKEND_RESETS, CLIENT_RESETS],
        "ok",
    ),
    // Begun anew, nothing is held against it that was before.
    (brief, &[SYN, REFUSAL, SYN, SYN_ACK, ACK], "ok"),
    (brief, &[SYN, REFUSAL, SYN, CLIENT_RESETS], "cancelled"),
    (brief, &[ASKS], "cancelled"),
    (brief, &[ASKS, TELLS], "ok"),
    (brief, &[ASKS, ASKS], "cancelled"),
    (routed, &[PAST], "cancelled"),
    (routed, &[PAST, PAST_RESET], "cancelled"),
];

#[test]
fn how_a_session_ended_is_told_to_its_pool() {
    for (at, (world, steps, expected)) in ENDS.iter().enumerate() {
        let mut world = world();
        for step in *steps {
            world.step(step, &format!("end {at}"));
        }
        world.step(&Wait(1_000), "it ends");
        let stats = world.pool.stats();
        let told = |name: &str| {
            let place = Outcome::NAMES.iter().position(|it| *it == name).unwrap();
            stats[0].outcomes()[place]
        };
        assert_eq!(
            (told(expected), stats[0].finished()),
            (1, 1),
            "end {at}: {expected}"
        );
    }
}
