//! Addresses and ports, both ways.

use lb_l4::forwarder::ForwarderError;
use lb_l4::forwarder::ServiceProtocol::Sctp;
use lb_l4::forwarder::{Scheduling, Straying};
use lb_l4::method::fullnat::{ClientAddress, LocalPortsConfig, LocalPortsConfigError};
use lb_l4::packet::DropReason;

use super::*;

/// Only backends of IPv6.
fn six() -> World {
    world_with(&[C], ClientAddress::None, |it| it, |it| it)
}

/// Only a local address of IPv4.
fn four() -> World {
    let four = || local_ports().addresses([ip("10.0.0.100")]);
    world_with(
        EACH,
        ClientAddress::None,
        |it| it.local_ports(four()),
        |it| it,
    )
}

fn any_port() -> World {
    world_with(
        &[("a", "10.0.0.7:0")],
        ClientAddress::None,
        |it| it,
        |it| it,
    )
}

fn strays() -> World {
    let place = |it: VirtualService<_>| it.straying(Straying::Place);
    world_with(EACH, ClientAddress::None, |it| it, place)
}

const ROWS: &[Row] = &[
    Row {
        says: "a SYN goes from a local end, and the answer to the client from the service",
        world: plain,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 mss=1460",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S mac=07"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101 mss=1460",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA mac=fe"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A mac=07"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=37",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=138 len=1200",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 R seq=1701",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
        ],
    },
    Row {
        says: "a datagram and its answer, of odd length",
        world: plain,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=33",
                Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080 mac=07"),
            ),
            In(
                "udp 10.0.0.7:8080 > 10.0.0.100:5000 len=101",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000 mac=fe"),
            ),
        ],
    },
    Row {
        says: "IPv6, both ways",
        world: plain,
        steps: &[
            In(
                "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S",
                Goes("tcp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 S mac=07"),
            ),
            In(
                "tcp [2001:db8:1::7]:8080 > [2001:db8:1::100]:5000 SA ack=1",
                Goes("tcp [2001:db8::10]:80 > [2001:db8:2::1]:40000 SA mac=fe"),
            ),
            In(
                "udp [2001:db8:2::1]:40000 > [2001:db8::10]:53 len=9",
                Goes("udp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 mac=07"),
            ),
            In(
                "udp [2001:db8:1::7]:8080 > [2001:db8:1::100]:5000 len=9",
                Goes("udp [2001:db8::10]:53 > [2001:db8:2::1]:40000"),
            ),
        ],
    },
    Row {
        says: "a wrong checksum stays wrong, both ways",
        world: plain,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S sum=bad",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S sum=bad"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA ack=1 sum=bad",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA sum=bad"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=5 sum=bad",
                Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080 sum=bad"),
            ),
        ],
    },
    Row {
        says: "no backend of the other family takes a client",
        world: six,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Refused(DropReason::BackendUnavailable),
            ),
            In(
                "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S",
                Goes("tcp [2001:db8:1::100]:5000 > [2001:db8:1::7]:8080 S"),
            ),
        ],
    },
    Row {
        says: "a backend of a family without a local address is passed over",
        world: four,
        steps: &[
            In(
                "tcp [2001:db8:2::1]:40000 > [2001:db8::10]:80 S",
                Refused(DropReason::BackendUnavailable),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
        ],
    },
    Row {
        says: "a backend of port 0 keeps the port that was asked for",
        world: any_port,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:80 S"),
            ),
            In(
                "tcp 10.0.0.7:80 > 10.0.0.100:5000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 10.0.0.100:5000 > 10.0.0.7:53"),
            ),
        ],
    },
    Row {
        says: "the last hop is counted, both ways, and its sender told",
        world: plain,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S ttl=2",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S ttl=1"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S ttl=1",
                Refused(DropReason::HopLimit),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA ack=1 ttl=1",
                Refused(DropReason::HopLimit),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA ack=1 ttl=2",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA ttl=1"),
            ),
        ],
    },
    Row {
        says: "what comes to a local port without a session is answered as by a host",
        world: plain,
        steps: &[
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=7 ack=9 len=4",
                Replies("tcp 10.0.0.100:5000 > 10.0.0.7:8080 R seq=9 mac=fe"),
            ),
            In(
                "udp 10.0.0.7:8080 > 10.0.0.100:5000 len=4",
                Refused(DropReason::NoSession),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 R seq=7",
                Drops(DropReason::NoSession),
            ),
            In("tcp 10.0.0.7:8080 > 10.0.0.100:5001 A", Passes),
            In("tcp 10.0.0.7:8080 > 10.0.0.101:5000 A", Passes),
        ],
    },
    Row {
        says: "the answer of another backend, of another port or to the client is none",
        world: plain,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.8:8080 > 10.0.0.100:5000 SA ack=101",
                Refused(DropReason::NoSession),
            ),
            In(
                "tcp 10.0.0.7:8081 > 10.0.0.100:5000 SA ack=101",
                Refused(DropReason::NoSession),
            ),
            In("tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=101", Passes),
        ],
    },
    Row {
        says: "a segment without a session is never placed: no backend knows its local end",
        world: strays,
        steps: &[In(
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=100 ack=5",
            Drops(DropReason::NoSession),
        )],
    },
    Row {
        says: "both ends are told when a session has been silent for too long",
        world: plain,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A"),
            ),
            Wait(1_000),
            Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501 mac=fe"),
            Sends("tcp 10.0.0.100:5000 > 10.0.0.7:8080 R seq=101 mac=07"),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}

#[test]
fn what_cannot_be_is_refused() {
    let world = plain();
    let dns = || {
        service("dns", Udp, "203.0.113.10/32", 53, &world.pool).method(fullnat(ClientAddress::None))
    };
    let refused = |config, dns: VirtualService<_>| forwarder(&world, config, vec![dns]).err();
    let with = |ports: LocalPortsConfig| config().local_ports(ports);
    assert_eq!(
        refused(config(), dns()),
        Some(ForwarderError::FullNatWithoutAddress("dns".into()))
    );
    assert_eq!(
        refused(with(local_ports()), dns().scheduling(Scheduling::OnePacket)),
        Some(ForwarderError::FullNatOnePacket("dns".into()))
    );
    let sctp = service("sctp", Sctp, "203.0.113.10/32", 53, &world.pool);
    assert_eq!(
        refused(
            with(local_ports()),
            sctp.method(fullnat(ClientAddress::None))
        ),
        Some(ForwarderError::SctpRewritten("sctp".into()))
    );
    let twice = local_ports().addresses([ip("10.0.0.1"), ip("10.0.0.1")]);
    let error = LocalPortsConfigError::Address(ip("10.0.0.1"));
    assert_eq!(
        refused(with(twice), dns()),
        Some(ForwarderError::LocalPorts(error))
    );
    // A port for two workers.
    let error = LocalPortsConfigError::Ports(5000, 5000);
    let two = with(local_ports()).worker(1, 2);
    assert_eq!(refused(two, dns()), Some(ForwarderError::LocalPorts(error)));
    let error = LocalPortsConfigError::Ports(5000, 5000);
    let many = with(local_ports()).worker(0, 65_536);
    assert_eq!(
        refused(many, dns()),
        Some(ForwarderError::LocalPorts(error))
    );
    assert_eq!(refused(with(local_ports()), dns()), None);
}
