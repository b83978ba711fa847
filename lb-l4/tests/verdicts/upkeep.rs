//! Pools that change under sessions: draining, leaving, persistence, and segments of nobody.

use std::sync::Arc;
use std::time::Duration;

use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::forwarder::{Orphans, Straying, VirtualService};
use lb_l4::packet::DropReason;
use lbcore::backend::Admin;
use lbcore::hash::HashKey;
use lbcore::persist::SourceAddress;
use lbcore::schedule::AnyScheduler;

use crate::harness::*;

/// The web and names, both made so.
fn both(make: impl Fn(VirtualService<AnyScheduler>) -> VirtualService<AnyScheduler>) -> World {
    world(|pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        let dns = service("dns", Udp, "203.0.113.10/32", 53, &pool);
        vec![make(web), make(dns)]
    })
}

fn web() -> World {
    both(|it| it)
}

fn persistent(bits: u8) -> World {
    let clients = SourceAddress::lasting(Duration::from_secs(100))
        .prefix_v4(bits)
        .hash_key(HashKey::from_seed(1));
    let clients = Arc::new(clients);
    both(|it| it.persistence(Arc::<SourceAddress>::clone(&clients)))
}

fn sticky() -> World {
    persistent(32)
}

fn sticky_net() -> World {
    persistent(24)
}

fn dropping() -> World {
    both(|it| it.removed(Orphans::Drop).down(Orphans::Drop))
}

fn resetting() -> World {
    both(|it| it.removed(Orphans::Reset).down(Orphans::Reset))
}

fn replacing() -> World {
    both(|it| it.removed(Orphans::Replace).down(Orphans::Replace))
}

fn replacing_sloppily() -> World {
    both(|it| it.down(Orphans::Replace).straying(Straying::Place))
}

fn passing() -> World {
    both(|it| it.straying(Straying::Pass))
}

fn sloppy() -> World {
    both(|it| it.straying(Straying::Place))
}

/// Backends of both families, and a service of each.
fn mixed() -> World {
    world_of(InTurn, &[A, D], |pool| {
        vec![
            service("web", Tcp, "203.0.113.10/32", 80, &pool),
            service("web6", Tcp, "2001:db8::10/128", 80, &pool),
        ]
    })
}

const ROWS: &[Row] = &[
    Row {
        says: "a client stays with its backend from session to session, others go on in turn",
        world: sticky,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.3.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:7 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:7 > 10.0.0.8:8080 S"),
            ),
            Wait(99),
            In(
                "tcp 192.0.2.2:8 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:8 > 10.0.0.8:8080 S"),
            ),
            Wait(99),
            In(
                "tcp 192.0.2.2:9 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:9 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "until its time is over",
        world: sticky,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
            Wait(101),
            In(
                "tcp 192.0.2.2:8 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:8 > 10.0.0.7:8080 S"),
            ),
        ],
    },
    Row {
        says: "for both services, as they share what is remembered",
        world: sticky,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
            In(
                "udp 192.0.2.2:40000 > 203.0.113.10:53 len=1",
                Goes("udp 192.0.2.2:40000 > 10.0.0.8:8080"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
        ],
    },
    Row {
        says: "not with one that drains",
        world: sticky,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| world.drain("a")),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
            Do(|world| world.put(A)),
            In(
                "tcp 192.0.2.1:7 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:7 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "nor with one that is gone",
        world: sticky,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| world.remove("a")),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "nor with one that is full",
        world: sticky,
        steps: &[
            Do(|world| world.change_backend("a", |it| it.max_connections(1))),
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
        says: "by network, where that is wished",
        world: sticky_net,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.3.1:40000 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.3.77:1 > 203.0.113.10:80 S",
                Goes("tcp 192.0.3.77:1 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "who drains keeps what he has and takes nothing new; afterwards he does again",
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
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            Do(|world| world.put(A)),
            In(
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.3.1:40000 > 10.0.0.7:8080 S"),
            ),
        ],
    },
    Row {
        says: "so does one that the operator lets drain",
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
            Do(|world| world.change_backend("a", |it| it.admin(Admin::Drain))),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
        ],
    },
    Row {
        says: "sessions of who is gone go on",
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
            Do(|world| world.remove("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
        ],
    },
    Row {
        says: "sessions of who is out of service go on",
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
            Do(|world| world.out_of_service("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
        ],
    },
    Row {
        says: "or are dropped: gone",
        world: dropping,
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
            Do(|world| world.remove("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Drops(DropReason::BackendGone),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Drops(DropReason::NoSession),
            ),
            Silent,
        ],
    },
    Row {
        says: "or are dropped: out of service",
        world: dropping,
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
            Do(|world| world.out_of_service("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Drops(DropReason::BackendGone),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Drops(DropReason::NoSession),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=900",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "or are reset: out of service",
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
            Do(|world| world.out_of_service("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Drops(DropReason::BackendGone),
            ),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501 mac=fe"),
            Silent,
        ],
    },
    Row {
        says: "or are as if they had not been: gone",
        world: replacing,
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
            Do(|world| world.remove("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Drops(DropReason::NoSession),
            ),
            Silent,
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=900",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "or are placed anew, where a segment may begin a session",
        world: replacing_sloppily,
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
            Do(|world| world.out_of_service("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 A"),
            ),
            In(
                "tcp 10.0.0.8:8080 > 192.0.2.1:40000 R seq=501",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
        ],
    },
    Row {
        says: "a datagram of one who is gone is placed anew",
        world: replacing,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            Do(|world| world.remove("a")),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.8:8080"),
            ),
            In(
                "udp 10.0.0.8:8080 > 192.0.2.1:40000 len=1",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
            ),
        ],
    },
    Row {
        says: "a datagram of one who is gone is placed anew, as nobody resets a datagram",
        world: resetting,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            Do(|world| world.remove("a")),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.8:8080"),
            ),
            In(
                "udp 10.0.0.8:8080 > 192.0.2.1:40000 len=1",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
            ),
        ],
    },
    Row {
        says: "datagrams to one who is gone go on, or are dropped",
        world: dropping,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            Do(|world| world.remove("a")),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Drops(DropReason::BackendGone),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.8:8080"),
            ),
        ],
    },
    Row {
        says: "a segment of nobody is left to the host, where that is wished",
        world: passing,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=5 ack=6",
                Passes,
            ),
            In("tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=5", Passes),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 SA seq=5 ack=6",
                Passes,
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=5",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
        ],
    },
    Row {
        says: "or placed: data, FIN and RST too",
        world: sloppy,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=5 ack=6 len=9",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 PA"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 FA seq=5 ack=6",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 FA"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 R seq=5",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.7:8080 R"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=6 ack=14",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=14 ack=6",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Wait(100),
            Do(|world| assert_eq!(world.forwarder.stats().sessions, 1)),
        ],
    },
    Row {
        says: "who comes back is asked again",
        world: web,
        steps: &[
            Do(|world| world.remove("a")),
            Do(|world| world.remove("b")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Refused(DropReason::BackendUnavailable),
            ),
            Do(|world| world.put(B)),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "a backend of the other family takes nothing",
        world: mixed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp [2001:db8:2::1]:1 > [2001:db8::10]:80 S",
                Goes("tcp [2001:db8:2::1]:1 > [2001:db8:1::8]:8080 S"),
            ),
            In(
                "tcp [2001:db8:2::1]:2 > [2001:db8::10]:80 S",
                Goes("tcp [2001:db8:2::1]:2 > [2001:db8:1::8]:8080 S"),
            ),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}
