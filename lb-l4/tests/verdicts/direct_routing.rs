//! Direct routing: the packet as it came, to the backend's link address.

use lb_l4::forwarder::ServiceProtocol::{Sctp, Tcp, Udp};
use lb_l4::method::ForwardingMethod::DirectRouting;
use lb_l4::packet::DropReason;
use lbcore::schedule::RoundRobin;

use crate::harness::*;

fn web() -> World {
    world(|pool| {
        vec![
            service("web", Tcp, "203.0.113.10/32", 80, &pool).method(DirectRouting),
            service("dns", Udp, "203.0.113.10/32", 53, &pool).method(DirectRouting),
        ]
    })
}

fn web6() -> World {
    world_of(InTurn, &[C, D], |pool| {
        vec![service("web", Tcp, "2001:db8::10/128", 80, &pool).method(DirectRouting)]
    })
}

const ROWS: &[Row] = &[
    Row {
        says: "only the link address and the time to live change",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S mss=1460 ws=7",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 203.0.113.10:80 S mac=08"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1 ack=1",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=1 ack=1 len=700 tos=184",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 PA mac=07"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=12",
                Goes("udp 192.0.2.1:40000 > 203.0.113.10:53 mac=07"),
            ),
        ],
    },
    Row {
        says: "IPv6",
        world: web6,
        steps: &[
            In(
                "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S",
                Goes("tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S mac=07"),
            ),
            In(
                "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 A",
                Goes("tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 A mac=07"),
            ),
        ],
    },
    Row {
        says: "an answer that comes by is the host's",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA ack=1", Passes),
        ],
    },
    Row {
        says: "the last hop is the last",
        world: web,
        steps: &[In(
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 S ttl=1",
            Refused(DropReason::HopLimit),
        )],
    },
    Row {
        says: "a port that is used again after the client has closed begins anew",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1 ack=1",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=1 ack=1",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 FA mac=07"),
            ),
            Do(|world| world.drain("a")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=2 ack=2",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=9",
                Goes("tcp 192.0.2.1:40000 > 203.0.113.10:80 S mac=08"),
            ),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}

#[test]
fn it_is_refused_without_link_addresses_and_sctp_without_a_key() {
    use lb_l4::forwarder::{Forwarder, ForwarderConfig, ForwarderError, Interface};
    use lb_l4::packet::InterfaceId;
    use lbcore::hash::HashKey;
    use lbcore::schedule::AnyScheduler;
    use lbcore::{Instant, Pool};

    let pool = Pool::new(AnyScheduler::new(RoundRobin));
    let make = |config, service| {
        let key = HashKey::new([7; 16]);
        Forwarder::new(Instant::ZERO, config, key, vec![service]).map(|_| ())
    };
    let tun = || ForwarderConfig::default().interface(Interface::ip(InterfaceId(0)));
    let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
    assert_eq!(
        make(tun(), web.clone().method(DirectRouting)),
        Err(ForwarderError::DirectRoutingWithoutLink("web".into()))
    );
    assert_eq!(make(tun(), web), Ok(()));
    let sctp = service("sctp", Sctp, "203.0.113.10/32", 80, &pool);
    assert_eq!(
        make(config(), sctp.clone()),
        Err(ForwarderError::SctpRewritten("sctp".into()))
    );
    assert_eq!(
        make(config(), sctp.method(DirectRouting)),
        Err(ForwarderError::SctpUnplaced("sctp".into()))
    );
}
