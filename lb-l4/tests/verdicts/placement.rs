//! Where sessions are placed: marks, keys, the pool before its last change, other nodes.

use std::time::Duration;

use lb_l4::forwarder::ServiceProtocol::{Sctp, Tcp};
use lb_l4::forwarder::{AdoptError, Match, Replica, Replicated, Straying, VirtualService};
use lb_l4::method::ForwardingMethod::DirectRouting;
use lb_l4::packet::{DropReason, Link, Packet, Verdict};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::schedule::{KeyExtractor, KeyParts, Maglev};
use lbcore::session::{SessionTable, State};
use lbcore::{BackendId, Delta};

use crate::harness::*;
use crate::line::Line;

fn keys() -> KeyExtractor {
    KeyExtractor::new(KeyParts::Flow, HashKey::from_seed(5))
}

fn maglev() -> World {
    world_of(Maglev::default(), &[A, B], |pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        let sctp = service("sctp", Sctp, "203.0.113.10/32", 80, &pool);
        vec![
            web.keys(keys()).straying(Straying::Place),
            sctp.method(DirectRouting),
        ]
    })
}

fn marked() -> World {
    world(|pool| vec![VirtualService::new("marked", Match::Mark(7), pool)])
}

fn flow(port: u16) -> FlowKey {
    let ends = [([192, 0, 2, 1], port), ([203, 0, 113, 10], 80)];
    FlowKey::new(Protocol::Tcp, ends[0].into(), ends[1].into())
}

fn backend_of(world: &World, port: u16) -> Option<BackendId> {
    let table = world.forwarder.sessions();
    let session = table.session(table.lookup(&flow(port))?)?;
    Some(world.forwarder.replica(world.now, &session)?.backend)
}

impl World {
    fn all(&mut self, steps: &[Step]) {
        for (at, step) in steps.iter().enumerate() {
            self.step(step, &format!("step {at}"));
        }
    }

    /// Sends a packet that must go on, wherever.
    fn sends(&mut self, line: &str) {
        let mut frame = vec![2; 12];
        frame.extend([8, 0]);
        frame.extend(Line::read(line).bytes());
        assert!(self.raw(&frame).is_some(), "{line}");
    }

    /// What a frame goes on as.
    fn raw(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64];
        buffer.extend(frame);
        let range = 64..buffer.len();
        let mut packet = Packet::new(&mut buffer, range, Link::Ethernet);
        self.forwarder.handle_packet(self.now, &mut packet);
        let forwarded = matches!(packet.verdict(), Verdict::Forward(_));
        forwarded.then(|| packet.bytes().to_vec())
    }
}

const ROWS: &[Row] = &[Row {
    says: "a mark decides, whatever the ends, and no mark is none",
    world: marked,
    steps: &[
        In("tcp 192.0.2.1:40000 > 203.0.113.10:80 S", Passes),
        Do(|world| world.mark = 7),
        In(
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
            Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
        ),
        In(
            "udp 192.0.2.1:40000 > 203.0.113.77:99 len=1",
            Goes("udp 192.0.2.1:40000 > 10.0.0.8:8080"),
        ),
        Do(|world| world.mark = 8),
        In("tcp 192.0.2.1:40000 > 203.0.113.10:80 S", Passes),
        Do(|world| world.mark = 0),
        In(
            "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1",
            Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
        ),
        // Whoever marks may mark answers too.
        Do(|world| world.mark = 7),
        In(
            "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1",
            Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
        ),
        In(
            "udp 10.0.0.8:8080 > 192.0.2.1:40000 len=2",
            Goes("udp 203.0.113.77:99 > 192.0.2.1:40000"),
        ),
    ],
}];

#[test]
fn every_row_holds() {
    run(ROWS);
}

/// What a node that knows nothing of them does with flows that another node has placed.
#[test]
fn flows_stay_through_the_loss_of_a_node_and_a_change_of_the_pool_at_once() {
    let (mut lost, mut left) = (maglev(), maglev());
    let change = |world: &mut World, name| world.put((name, "10.0.0.9:8080"));
    let mut began = Vec::new();
    for port in 1_000..1_200 {
        lost.sends(&format!("tcp 192.0.2.1:{port} > 203.0.113.10:80 S"));
        began.push((port, backend_of(&lost, port).unwrap()));
    }
    change(&mut left, "c");
    left.forwarder.handle_timeout(left.now);
    let mut moved = 0;
    for (port, was) in began {
        left.sends(&format!("tcp 192.0.2.1:{port} > 203.0.113.10:80 A seq=1"));
        assert_eq!(backend_of(&left, port), Some(was));
        // A new flow of the same ends would go elsewhere, if its key has moved.
        let mut fresh = maglev();
        change(&mut fresh, "c");
        fresh.sends(&format!("tcp 192.0.2.1:{port} > 203.0.113.10:80 S"));
        moved += u32::from(backend_of(&fresh, port) != Some(was));
    }
    assert!(moved > 30, "{moved} of 200");
}

#[test]
fn an_association_keeps_its_backend_and_no_session() {
    let mut world = maglev();
    let sctp = |ports: [u16; 2]| {
        let mut bytes = vec![2; 12];
        bytes.extend([8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 132, 0, 0]);
        bytes.extend([192, 0, 2, 1, 203, 0, 113, 10]);
        bytes.extend(ports.map(u16::to_be_bytes).concat());
        bytes.extend([0; 8]);
        bytes
    };
    let mut macs = std::collections::HashSet::new();
    for port in 0..64 {
        let first = world.raw(&sctp([port + 1, 80])).unwrap();
        assert_eq!(world.raw(&sctp([port + 1, 80])).unwrap(), first);
        macs.insert(first[5]);
    }
    assert_eq!(macs, [7, 8].into());
    assert_eq!(world.forwarder.stats().sessions, 0);
    assert_eq!(world.raw(&sctp([1, 81])), None);
}

#[test]
fn sessions_are_told_and_taken_over() {
    let make = || {
        let mut world = world(|pool| vec![service("web", Tcp, "203.0.113.10/32", 80, &pool)]);
        world.now += Duration::from_secs(60);
        world
    };
    let mut there = make();
    let replica = |name: &str, backend| {
        Replicated::Present(
            Replica::new(flow(1_000), State::Established, name.into(), id(backend))
                .idle(Duration::from_secs(30)),
        )
    };
    let now = there.now;
    let forwarder = &mut there.forwarder;
    assert_eq!(
        forwarder.handle_change(now, &replica("other", "b")),
        Err(AdoptError::UnknownService)
    );
    assert_eq!(
        forwarder.handle_change(now, &replica("web", "x")),
        Err(AdoptError::UnknownBackend)
    );
    assert_eq!(forwarder.handle_change(now, &replica("web", "b")), Ok(()));
    let steps = [
        In(
            "tcp 192.0.2.1:1000 > 203.0.113.10:80 A seq=1 ack=9",
            Goes("tcp 192.0.2.1:1000 > 10.0.0.8:8080 A"),
        ),
        In(
            "tcp 10.0.0.8:8080 > 192.0.2.1:1000 A seq=9 ack=1",
            Goes("tcp 203.0.113.10:80 > 192.0.2.1:1000 A"),
        ),
    ];
    there.all(&steps);
    // It is told again, and is what it was.
    let told = replica("web", "b");
    assert_eq!(there.forwarder.handle_change(now, &told), Ok(()));
    assert_eq!(there.forwarder.service_stats("web").unwrap().sessions, 1);
    // The other node has placed it elsewhere.
    assert_eq!(
        there.forwarder.handle_change(now, &replica("web", "a")),
        Ok(())
    );
    there.all(&[In(
        "tcp 192.0.2.1:1000 > 203.0.113.10:80 A",
        Goes("tcp 192.0.2.1:1000 > 10.0.0.7:8080 A"),
    )]);
    assert_eq!(
        there
            .pool
            .stats()
            .iter()
            .map(|it| it.in_flight())
            .sum::<u64>(),
        1
    );
    let gone = Replicated::Gone(flow(1_000));
    assert_eq!(there.forwarder.handle_change(now, &gone), Ok(()));
    there.all(&[In(
        "tcp 192.0.2.1:1000 > 203.0.113.10:80 A",
        Drops(DropReason::NoSession),
    )]);
    assert_eq!(
        there
            .pool
            .stats()
            .iter()
            .map(|it| it.in_flight())
            .sum::<u64>(),
        0
    );
}

#[test]
fn an_update_ends_the_sessions_of_what_is_gone_and_keeps_those_of_what_stays_or_is_replaced() {
    let mut world = world(|pool| {
        let names = [("kept", 80), ("replaced", 81), ("gone", 82)];
        names
            .map(|(name, port)| service(name, Tcp, "203.0.113.10/32", port, &pool))
            .to_vec()
    });
    for port in [80, 81, 82] {
        world.sends(&format!("tcp 192.0.2.{port}:1000 > 203.0.113.10:{port} S"));
    }
    let services = vec![
        service("kept", Tcp, "203.0.113.10/32", 80, &world.pool),
        service("replaced", Tcp, "203.0.113.10/32", 81, &world.pool).method(DirectRouting),
    ];
    world.forwarder.update(world.now, services).unwrap();
    while world
        .forwarder
        .poll_timeout()
        .is_some_and(|at| at <= world.now)
    {
        world.forwarder.handle_timeout(world.now);
    }
    assert_eq!(world.forwarder.stats().sessions, 2);
    world.all(&[
        In(
            "tcp 192.0.2.80:1000 > 203.0.113.10:80 A",
            Goes("tcp 192.0.2.80:1000 > 10.0.0.7:8080 A"),
        ),
        In(
            "tcp 192.0.2.81:1000 > 203.0.113.10:81 A",
            Goes("tcp 192.0.2.81:1000 > 10.0.0.7:8080 A"),
        ),
        In(
            "tcp 192.0.2.81:1001 > 203.0.113.10:81 S",
            Goes("tcp 192.0.2.81:1001 > 203.0.113.10:81 S"),
        ),
        In("tcp 192.0.2.82:1000 > 203.0.113.10:82 A", Passes),
        In("tcp 10.0.0.7:8080 > 192.0.2.82:1000 SA", Passes),
    ]);
    assert_eq!(world.forwarder.service_stats("gone"), None);
    world
        .pool
        .apply(world.now, [Delta::Replace(vec![])])
        .unwrap();
}
