//! Which local port a session has, and for how long.

use lb_l4::forwarder::ServiceProtocol::Tcp;
use lb_l4::forwarder::{Replicated, Scheduling};
use lb_l4::packet::DropReason;
use lbcore::flow::{FlowKey, Protocol};

use super::*;

fn one() -> World {
    world_with(&[A], ClientAddress::None, |it| it, |it| it)
}

fn two() -> World {
    world_with(&[A, B], ClientAddress::None, |it| it, |it| it)
}

/// Two ports, of the second of two workers.
fn second() -> World {
    let local = local_ports().ports(5000..=5003);
    world_with(
        &[A],
        ClientAddress::None,
        |it| it.local_ports(local).worker(1, 2),
        |it| it,
    )
}

/// Another service with the same backend.
fn shared() -> World {
    let mut world = one();
    let services = [("web", 80), ("alt", 81)].map(|(name, port)| {
        let service = service(name, Tcp, "203.0.113.10/32", port, &world.pool);
        service.method(fullnat(ClientAddress::None))
    });
    let now = world.now;
    world.forwarder.update(now, services.into()).unwrap();
    world
}

/// Beside a service that remembers nothing, with the same backend.
fn beside() -> World {
    let mut world = one();
    let dns = service("dns", Udp, "203.0.113.10/32", 53, &world.pool);
    let ops = service("ops", Udp, "203.0.113.11/32", 53, &world.pool);
    let services = vec![
        dns.method(fullnat(ClientAddress::None)),
        ops.scheduling(Scheduling::OnePacket),
    ];
    let now = world.now;
    world.forwarder.update(now, services).unwrap();
    world
}

fn taken<const N: usize>(world: &mut World) {
    assert_eq!(world.forwarder.stats().local_ports.taken, N);
}

fn resting<const N: usize>(world: &mut World) {
    assert_eq!(world.forwarder.stats().local_ports.resting, N);
}

const ROWS: &[Row] = &[
    Row {
        says: "who finds every port taken is dropped at once, and the others go on",
        world: one,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Drops(DropReason::PortsExhausted),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| assert_eq!(world.forwarder.stats().local_ports.exhausted, 1)),
            Do(|world| assert_eq!(world.forwarder.stats().sessions, 1)),
        ],
    },
    Row {
        says: "where one backend's ports are taken another serves, with the same port",
        world: two,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| world.drain("b")),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Drops(DropReason::PortsExhausted),
            ),
            Do(|world| world.put(B)),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 10.0.0.8:8080 > 10.0.0.100:5000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40001 SA"),
            ),
        ],
    },
    Row {
        says: "TCP and UDP have each port for themselves",
        world: one,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080"),
            ),
            In(
                "udp 192.0.2.1:40001 > 203.0.113.10:53 len=1",
                Drops(DropReason::PortsExhausted),
            ),
            In(
                "udp 10.0.0.7:8080 > 10.0.0.100:5000 len=1",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
            ),
        ],
    },
    Row {
        says: "two services that share a backend share its ports",
        world: shared,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:81 S",
                Drops(DropReason::PortsExhausted),
            ),
        ],
    },
    Row {
        says: "an answer to a local port is of no service that remembers nothing",
        world: beside,
        steps: &[
            In(
                "udp 10.0.0.7:8080 > 10.0.0.100:5000 len=4",
                Refused(DropReason::NoSession),
            ),
            // That is no local port, and a client like any other.
            In("udp 10.0.0.7:8080 > 10.0.0.100:5001 len=4", Holds),
        ],
    },
    Row {
        says: "a worker hands out its own ports, and answers to another's are not its own",
        world: second,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5002 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 10.0.0.100:5003 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40002 > 203.0.113.10:80 S",
                Drops(DropReason::PortsExhausted),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5003 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40001 SA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5001 SA ack=1",
                Drops(DropReason::NoSession),
            ),
        ],
    },
    Row {
        says: "a port whose connection was reset is free as soon as the session has ended",
        world: one,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 RA ack=2",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S seq=1",
                Drops(DropReason::PortsExhausted),
            ),
            Wait(15),
            Do(taken::<0>),
            Do(resting::<0>),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S seq=1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
        ],
    },
    Row {
        says: "a client that begins anew between the same ends keeps its local end",
        world: one,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 RA ack=2",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 RA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=77",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=9 ack=78",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            Do(taken::<1>),
        ],
    },
    Row {
        says: "a port whose backend may be in TIME-WAIT rests, if its session ends early",
        world: one,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=9 ack=2",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 FA seq=10 ack=2",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=2 ack=11",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 FA"),
            ),
            Do(|world| {
                let now = world.now;
                let [client, service] = ["192.0.2.1:40000", "203.0.113.10:80"];
                let [client, service] = [client, service].map(|it| it.parse().unwrap());
                let gone = Replicated::Gone(FlowKey::new(Protocol::Tcp, client, service));
                world.forwarder.handle_change(now, &gone).unwrap();
            }),
            Do(taken::<0>),
            Do(resting::<1>),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S seq=1",
                Drops(DropReason::PortsExhausted),
            ),
            Wait(59),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S seq=1",
                Drops(DropReason::PortsExhausted),
            ),
            Do(resting::<1>),
            Wait(1),
            Do(resting::<0>),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S seq=1",
                Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S"),
            ),
            Do(resting::<0>),
        ],
    },
    Row {
        says: "the port of a session goes back where it was taken, though its backend has moved",
        world: one,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080"),
            ),
            Do(|world| world.put(("a", "10.0.0.9:8080"))),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=1",
                Goes("udp 10.0.0.100:5000 > 10.0.0.9:8080 mac=09"),
            ),
            Do(taken::<1>),
            Do(|world| world.put(A)),
            In(
                "udp 192.0.2.2:40000 > 203.0.113.10:53 len=1",
                Goes("udp 10.0.0.100:5000 > 10.0.0.7:8080"),
            ),
            Do(taken::<2>),
            Wait(400),
            Do(taken::<0>),
            Do(|world| assert_eq!(world.forwarder.stats().local_ports.backends, 0)),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}
