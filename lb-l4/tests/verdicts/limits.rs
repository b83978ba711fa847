//! What may pass, and what is counted.

use std::sync::Arc;

use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::forwarder::{Forwarder, Scheduling, VirtualService};
use lb_l4::packet::{DropReason, InterfaceId, Verdict};
use lbcore::Instant;
use lbcore::address_list::AddressRules;
use lbcore::hash::HashKey;
use lbcore::limit::{LimitConfig, Limits};
use lbcore::schedule::AnyScheduler;
use lbcore::session::{Limits as Sessions, WhenFull};

use crate::harness::*;
use crate::raw::line;

fn web() -> World {
    world(|pool| vec![service("web", Tcp, "203.0.113.10/32", 80, &pool)])
}

fn each() -> World {
    world(|pool| {
        let dns = service("dns", Udp, "203.0.113.10/32", 53, &pool);
        vec![dns.scheduling(Scheduling::OnePacket)]
    })
}

/// Each backend has one session at most.
fn thresholds() -> World {
    let world = web();
    for name in ["a", "b"] {
        world.change_backend(name, |it| it.max_connections(1));
    }
    world
}

fn limited(config: LimitConfig) -> World {
    world(|pool| {
        let limits = Arc::new(Limits::new(Instant::ZERO, config));
        let limited = |it: VirtualService<AnyScheduler>| it.limits(Arc::clone(&limits));
        vec![
            limited(service("web", Tcp, "203.0.113.10/32", 80, &pool)),
            limited(service("dns", Udp, "203.0.113.10/32", 53, &pool)),
        ]
    })
}

fn rate() -> World {
    limited(LimitConfig::default().connections_per_second(2))
}

fn one() -> World {
    limited(LimitConfig::default().connections(1))
}

/// A table of two sessions.
fn small(when_full: WhenFull) -> World {
    let mut world = web();
    let mut config = config();
    config.sessions.v4 = Sessions {
        sessions: 2,
        embryonic: 2,
    };
    config.sessions.when_full = when_full;
    let web = service("web", Tcp, "203.0.113.10/32", 80, &world.pool);
    let key = HashKey::new([7; 16]);
    world.forwarder = Forwarder::new(world.now, config, key, vec![web]).unwrap();
    world
}

fn tiny() -> World {
    small(WhenFull::EvictOldestEmbryonic)
}

fn refusing() -> World {
    small(WhenFull::Refuse)
}

fn listed() -> World {
    world(|pool| {
        let [allow, deny] = ["192.0.2.0/24", "192.0.2.2/32"].map(|it| it.parse().unwrap());
        let rules = AddressRules::new([allow], [deny]);
        vec![service("web", Tcp, "203.0.113.10/32", 80, &pool).rules(Arc::new(rules))]
    })
}

fn deny_all(world: &mut World) {
    let rules = AddressRules::new([], ["0.0.0.0/0".parse().unwrap()]);
    let web = service("web", Tcp, "203.0.113.10/32", 80, &world.pool).rules(Arc::new(rules));
    world.forwarder.update(world.now, vec![web]).unwrap();
}

fn counted(world: &World, expected: [u64; 5]) {
    counted_of(world, "web", expected);
}

fn counted_of(world: &World, name: &str, expected: [u64; 5]) {
    let it = world.forwarder.service_stats(name).unwrap();
    let found = [
        it.packets_in,
        it.bytes_in,
        it.packets_out,
        it.bytes_out,
        it.sessions,
    ];
    assert_eq!(found, expected);
}

const ROWS: &[Row] = &[
    Row {
        says: "a backend that has as many as it may is passed over, and full ones refuse",
        world: thresholds,
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
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Refused(DropReason::BackendUnavailable),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1 ack=1",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Refused(DropReason::BackendUnavailable),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(11),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| assert_eq!(world.forwarder.service_stats("web").unwrap().refused, 2)),
        ],
    },
    Row {
        says: "one that may have more is asked again",
        world: thresholds,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
            Do(|world| world.change_backend("b", |it| it.max_connections(2))),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "so many sessions begin in a second, and no more",
        world: rate,
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
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Drops(DropReason::RateLimited),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Wait(1),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.7:8080 S"),
            ),
        ],
    },
    Row {
        says: "a session that no backend took is not counted against its limit",
        world: one,
        steps: &[
            Do(|world| world.drain("a")),
            Do(|world| world.drain("b")),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Refused(DropReason::BackendUnavailable),
            ),
            Do(|world| world.put(A)),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Drops(DropReason::SessionLimit),
            ),
        ],
    },
    Row {
        says: "the limit is of the service, not of its backends",
        world: one,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Drops(DropReason::SessionLimit),
            ),
            In(
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Drops(DropReason::SessionLimit),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 R seq=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 R"),
            ),
            Wait(11),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "who gives way in a full table gives back what he had",
        world: tiny,
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
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.3.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| assert_eq!(world.forwarder.stats().sessions, 2)),
            In("tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1", Passes),
            In(
                "tcp 10.0.0.8:8080 > 192.0.2.2:40000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.2:40000 SA"),
            ),
        ],
    },
    Row {
        says: "an open session gives way to nobody",
        world: tiny,
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
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
            In(
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.3.1:40000 > 10.0.0.7:8080 S"),
            ),
            In("tcp 10.0.0.8:8080 > 192.0.2.2:40000 SA ack=1", Passes),
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
        says: "where nobody gives way the new one is refused",
        world: refusing,
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
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Drops(DropReason::SessionsFull),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            Do(|world| {
                assert_eq!(
                    world
                        .pool
                        .stats()
                        .iter()
                        .map(|it| it.in_flight())
                        .sum::<u64>(),
                    2
                )
            }),
            Wait(61),
            In(
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.3.1:40000 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "a list of who may come: the narrowest prefix counts",
        world: listed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Drops(DropReason::AddressDenied),
            ),
            In(
                "tcp 192.0.3.1:40000 > 203.0.113.10:80 S",
                Drops(DropReason::AddressDenied),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40001 > 10.0.0.8:8080 S"),
            ),
        ],
    },
    Row {
        says: "what has begun goes on when the list changes",
        world: listed,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(deny_all),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=1",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
                Drops(DropReason::AddressDenied),
            ),
        ],
    },
    Row {
        says: "bytes are those of IP packets as they came, and of those that were sent on",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S mss=1460",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            Do(|world| counted(world, [1, 44, 0, 0, 1])),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA ack=1",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            Do(|world| counted(world, [1, 44, 1, 40, 1])),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=1 ack=1 len=100",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 PA"),
            ),
            Do(|world| counted(world, [2, 184, 1, 40, 1])),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=1 ack=101 len=3",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=4 ack=101 len=4",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            Do(|world| counted(world, [2, 184, 3, 127, 1])),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 A",
                Drops(DropReason::NoSession),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ttl=1",
                Refused(DropReason::HopLimit),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=8 ttl=1",
                Refused(DropReason::HopLimit),
            ),
            Do(|world| counted(world, [2, 184, 3, 127, 1])),
            In(
                "tcp 192.0.2.2:40000 > 203.0.113.10:80 S",
                Goes("tcp 192.0.2.2:40000 > 10.0.0.8:8080 S"),
            ),
            Do(|world| counted(world, [3, 224, 3, 127, 2])),
        ],
    },
    Row {
        says: "without sessions too",
        world: each,
        steps: &[
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=10",
                Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
            ),
            In(
                "udp 192.0.2.1:40000 > 203.0.113.10:53 len=10",
                Goes("udp 192.0.2.1:40000 > 10.0.0.8:8080"),
            ),
            In(
                "udp 10.0.0.7:8080 > 192.0.2.1:40000 len=5",
                Goes("udp 203.0.113.10:53 > 192.0.2.1:40000"),
            ),
            Do(|world| counted_of(world, "dns", [2, 76, 1, 33, 0])),
        ],
    },
];

#[test]
fn every_row_holds() {
    run(ROWS);
}

/// At once as many bytes pass as a bucket holds, each way by itself, and then so many a second.
#[test]
fn bytes_pass_as_far_as_the_bandwidth_goes() {
    const LEN: usize = 1_372;
    const BURST: usize = 64 * 1024 / (LEN + 28);
    let config = LimitConfig::default()
        .bytes_per_second_in(14_000)
        .bytes_per_second_out(2_800);
    let mut world = limited(config);
    let ask = line(&format!("udp 192.0.2.1:40000 > 203.0.113.10:53 len={LEN}"));
    let tell = line(&format!("udp 10.0.0.7:8080 > 192.0.2.1:40000 len={LEN}"));
    let passes = |world: &mut World, packet: &[u8]| {
        let mut passed = 0;
        for _ in 0..2 * BURST {
            match world.shown(packet).0 {
                Verdict::Forward(InterfaceId(0)) => passed += 1,
                verdict => assert_eq!(verdict, Verdict::Drop(DropReason::Bandwidth)),
            }
        }
        passed
    };
    assert_eq!(passes(&mut world, &ask), BURST);
    assert_eq!(passes(&mut world, &tell), BURST, "the other way by itself");
    world.step(&Wait(1), "a second");
    assert_eq!(passes(&mut world, &ask), 10);
    assert_eq!(passes(&mut world, &tell), 2);
    let stats = world.forwarder.service_stats("dns").unwrap();
    let sent = [stats.packets_in, stats.packets_out];
    assert_eq!(sent, [BURST + 10, BURST + 2].map(|it| it as u64));
    // A session that begins pays for its first packet.
    let other = line(&format!("udp 192.0.2.2:40000 > 203.0.113.10:53 len={LEN}"));
    let verdict = world.shown(&other).0;
    assert_eq!(verdict, Verdict::Drop(DropReason::Bandwidth));
}
