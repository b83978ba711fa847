//! Which packets are for which service.

use lb_l4::forwarder::ServiceProtocol::{Sctp, Tcp, Udp};
use lb_l4::forwarder::{Match, Unserved, VirtualService};
use lb_l4::method::ForwardingMethod::DirectRouting;
use lb_l4::packet::DropReason;
use lbcore::schedule::{AnyScheduler, Maglev};
use lbcore::{Backend, Pool};

use crate::harness::*;

/// A service that is told from the others by the last number of its backend's address, and keeps the
/// port that was asked for.
fn known_by(
    last: u8,
    make: impl FnOnce(Pool<AnyScheduler>) -> VirtualService<AnyScheduler>,
) -> VirtualService<AnyScheduler> {
    let pool = Pool::new(AnyScheduler::new(InTurn)).backends([
        Backend::new("four", format!("10.0.0.{last}:0").parse().unwrap()),
        Backend::new("six", format!("[2001:db8:1::{last}]:0").parse().unwrap()),
    ]);
    make(pool)
}

fn nested() -> World {
    let endpoint = |last: u8, name: &'static str, protocol, addresses: &'static str, port| {
        known_by(last, |pool| service(name, protocol, addresses, port, &pool))
    };
    let services = vec![
        endpoint(5, "wide", Tcp, "203.0.112.0/22", 0),
        endpoint(4, "net", Tcp, "203.0.113.0/24", 0),
        endpoint(3, "net's port", Tcp, "203.0.113.0/24", 80),
        endpoint(2, "all ports", Tcp, "203.0.113.10/32", 0),
        endpoint(1, "port", Tcp, "203.0.113.10/32", 80),
        endpoint(6, "udp", Udp, "203.0.113.10/32", 80),
        endpoint(7, "six's net", Tcp, "2001:db8::/64", 80),
        endpoint(6, "six", Tcp, "2001:db8::10/128", 0),
        known_by(9, |pool| {
            VirtualService::new("marked", Match::Mark(5), pool)
        }),
    ];
    world_with(services, |mut config| {
        // By the gateway, whose link address is known.
        config.interfaces.clear();
        config.interface(
            lb_l4::forwarder::Interface::ethernet(lb_l4::packet::InterfaceId(0), OWN)
                .gateway(ip("10.0.0.254"))
                .gateway(ip("2001:db8:1::fe")),
        )
    })
}

/// One port over TCP of one address, and of the next a whole net; what nobody serves is refused.
fn refusing() -> World {
    let services = vec![
        known_by(7, |pool| service("port", Tcp, "203.0.113.10/32", 80, &pool)),
        known_by(7, |pool| service("six", Tcp, "2001:db8::10/128", 80, &pool)),
        known_by(8, |pool| service("net", Tcp, "203.0.114.0/24", 80, &pool)),
    ];
    world_with(services, |config| config.unserved(Unserved::Refuse))
}

fn everything() -> World {
    world(|pool| vec![service("all", Tcp, "0.0.0.0/0", 0, &pool)])
}

fn sctp() -> World {
    world_of(Maglev::default(), &[A, B], |pool| {
        vec![service("sctp", Sctp, "203.0.113.10/32", 80, &pool).method(DirectRouting)]
    })
}

const ROWS: &[Row] = &[
    Row {
        says: "the narrowest match counts: port before every port, longer before shorter",
        world: nested,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.1:80 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:81 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.2:81 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.11:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.3:80 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.11:81 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.4:81 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.114.1:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.5:80 S"),
            ),
            In("tcp 192.0.2.1:40000 > 198.51.100.1:80 S", Passes),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:80 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.6:80"),
            ),
            In("udp 192.0.2.1:40000 > 203.0.113.11:80 len=1", Passes),
            In(
                "tcp [2001:db8:2::1]:1 > [2001:db8::10]:80 S",
                Goes("tcp [2001:db8:2::1]:1 > [2001:db8:1::6]:80 S"),
            ),
            In(
                "tcp [2001:db8:2::1]:1 > [2001:db8::11]:80 S",
                Goes("tcp [2001:db8:2::1]:1 > [2001:db8:1::7]:80 S"),
            ),
            In("tcp [2001:db8:2::1]:1 > [2001:db9::11]:80 S", Passes),
        ],
    },
    Row {
        says: "a mark before all of them, and a mark of nobody is none",
        world: nested,
        steps: &[
            Do(|world| world.mark = 5),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.9:80 S"),
            ),
            In(
                "udp 192.0.2.1:40000 > 198.51.100.1:9 len=1",
                Goes("udp 192.0.2.1:40000 > 10.0.0.9:9"),
            ),
            Do(|world| world.mark = 6),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.1:80 S"),
            ),
        ],
    },
    Row {
        says: "a port that nobody has is refused as by a host, and never a reset or another's port",
        world: refusing,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:81 S seq=100",
                Replies("tcp 203.0.113.10:81 > 192.0.2.1:40000 RA seq=0 ack=101 win=0 mac=fe"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:33434 len=1",
                Refused(DropReason::NoSession),
            ),
            In(
                "tcp [2001:db8:2::1]:1 > [2001:db8::10]:81 S",
                Refused(DropReason::NoSession),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:81 R seq=100",
                Drops(DropReason::NoSession),
            ),
            In("tcp 192.0.2.1:40000 > 203.0.114.10:81 S", Passes),
            In("tcp 192.0.2.1:40000 > 203.0.113.11:81 S", Passes),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:80 S"),
            ),
        ],
    },
    Row {
        says: "a service of every address still knows the answers of its backends",
        world: everything,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 198.51.100.1:80 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=101",
                Goes("tcp 198.51.100.1:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 198.51.100.1:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 198.51.100.2:9 S seq=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 10.0.0.8:8080 > 192.0.2.1:40000 SA seq=500 ack=101",
                Goes("tcp 198.51.100.2:9 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 10.0.0.8:8080 > 192.0.2.1:40001 SA seq=500 ack=101",
                Drops(DropReason::NoSession),
            ),
            In("udp 192.0.2.1:40000 > 198.51.100.2:9 len=1", Passes),
        ],
    },
    Row {
        says: "SCTP: both ways of an association by the hash of its ends, and no session",
        world: sctp,
        steps: &[
            In(
                "sctp 192.0.2.1:1 > 203.0.113.10:80",
                Goes("sctp 192.0.2.1:1 > 203.0.113.10:80 mac=07"),
            ),
            In(
                "sctp 192.0.2.1:1 > 203.0.113.10:80 len=30",
                Goes("sctp 192.0.2.1:1 > 203.0.113.10:80 mac=07"),
            ),
            In(
                "sctp 192.0.2.1:2 > 203.0.113.10:80",
                Goes("sctp 192.0.2.1:2 > 203.0.113.10:80 mac=08"),
            ),
            In(
                "sctp 192.0.2.2:1 > 203.0.113.10:80 ttl=1",
                Refused(DropReason::HopLimit),
            ),
            In("sctp 192.0.2.1:1 > 203.0.113.10:81", Passes),
            In("sctp 192.0.2.1:1 > 203.0.113.11:80", Passes),
            Do(|world| assert_eq!(world.forwarder.stats().sessions, 0)),
            Do(|world| world.remove("a")),
            In(
                "sctp 192.0.2.1:1 > 203.0.113.10:80",
                Goes("sctp 192.0.2.1:1 > 203.0.113.10:80 mac=08"),
            ),
            Do(|world| world.remove("b")),
            In(
                "sctp 192.0.2.1:1 > 203.0.113.10:80",
                Refused(DropReason::BackendUnavailable),
            ),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}
