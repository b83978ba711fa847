//! What strangers forge, who know the ends of a session and not its numbers; and what is sent to the
//! wrong one when a backend has moved.

use std::time::Duration;

use lb_l4::forwarder::ServiceProtocol::Tcp;
use lb_l4::forwarder::{Forwarder, OnExpiry, Straying};
use lb_l4::packet::DropReason;
use lb_l4::syn_proxy::{Cookies, SynProxyConfig, SynProxyMode};
use lbcore::backend::Address;
use lbcore::flow::{FlowKey, Protocol};
use lbcore::hash::HashKey;
use lbcore::session::{SessionTable, State};
use lbcore::{Backend, Delta};

use crate::harness::*;
use crate::syn_proxy::{self, t};

fn web() -> World {
    world(|pool| vec![service("web", Tcp, "203.0.113.10/32", 80, &pool)])
}

fn resetting() -> World {
    world(|pool| {
        let web = service("web", Tcp, "203.0.113.10/32", 80, &pool);
        vec![web.straying(Straying::Reset).on_expiry(OnExpiry::Reset)]
    })
}

#[track_caller]
fn state_is(world: &World, expected: State) {
    let ends = ["192.0.2.1:40000", "203.0.113.10:80"].map(|it| it.parse().unwrap());
    let table = world.forwarder.sessions();
    let id = table.lookup(&FlowKey::new(Protocol::Tcp, ends[0], ends[1]));
    let state = id.and_then(|id| Some(table.flow(id)?.1));
    assert_eq!(state, Some(expected));
}

#[test]
fn a_syn_on_an_open_session_agrees_to_nothing() {
    run(&[Row {
        says: "windows are as wide as before, so the client's own FIN is still believed",
        world: web,
        steps: &[
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100 ws=7",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=500 ack=101 win=500 ws=7",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 win=500",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 A seq=501 ack=101 win=500",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
            ),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=101",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
            ),
            In(
                "tcp 10.0.0.7:8080 > 192.0.2.1:40000 SA seq=501 ack=101",
                Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA"),
            ),
            Do(|world| state_is(world, State::Established)),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=60101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            Do(|world| state_is(world, State::CloseWait)),
        ],
    }]);
}

#[test]
fn a_client_is_believed_when_it_acknowledges_what_the_backend_has_said() {
    run(&[Row {
        says: "so nobody fills the table with open sessions who does not see the answers",
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
            // A backend that sends data in its SYN is believed to have sent a window at most.
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=66502",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Do(|world| state_is(world, State::SynReceived)),
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 FA seq=101 ack=500",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 FA"),
            ),
            Do(|world| state_is(world, State::SynReceived)),
            // Its answer to that is not believed to be the end, but for one number.
            In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 A"),
            ),
            Do(|world| state_is(world, State::Established)),
        ],
    }]);
}

#[test]
fn strays_that_nobody_has_sent_are_not_answered() {
    run(&[
        Row {
            says: "from an address that no host has, or with a wrong checksum",
            world: resetting,
            steps: &[
                In(
                    "tcp 127.0.0.1:40000 > 203.0.113.10:80 A seq=5 ack=77",
                    Drops(DropReason::Malformed),
                ),
                In(
                    "tcp 240.0.0.1:40000 > 203.0.113.10:80 A seq=5 ack=77",
                    Drops(DropReason::NoSession),
                ),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=5 ack=77 sum=bad",
                    Drops(DropReason::BadChecksum),
                ),
                Silent,
            ],
        },
        Row {
            says: "nor more than there may be errors to one source",
            world: resetting,
            steps: &[
                Do(|world| {
                    for _ in 0..100 {
                        let stray = In(
                            "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=5 ack=77",
                            Drops(DropReason::NoSession),
                        );
                        world.step(&stray, "a flood");
                    }
                    let now = world.now;
                    let sent = std::iter::from_fn(|| {
                        world.forwarder.poll_transmit(now).map(|it| it.bytes.len())
                    });
                    assert_eq!(sent.count(), 10);
                    assert_eq!(world.forwarder.stats().answers.limited, 90);
                }),
                // What is not answered anyway costs nobody an answer.
                Wait(1),
                Do(|world| {
                    for _ in 0..100 {
                        let reset = In(
                            "tcp 192.0.2.1:40000 > 203.0.113.10:80 R seq=5",
                            Drops(DropReason::NoSession),
                        );
                        world.step(&reset, "a flood");
                    }
                }),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=5 ack=77",
                    Drops(DropReason::NoSession),
                ),
                Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=77"),
            ],
        },
    ]);
}

/// The first backend is elsewhere from now on, and the forwarder has seen it.
fn move_a(world: &mut World) {
    world.put(("a", "10.0.0.9:8080"));
    let other = In(
        "tcp 192.0.2.99:40000 > 203.0.113.10:80 S seq=100",
        Goes("tcp 192.0.2.99:40000 > 10.0.0.8:8080 S"),
    );
    world.step(&other, "another client");
}

#[test]
fn a_backend_that_has_moved_hears_nothing_of_earlier_sessions() {
    let handshake = vec![
        In(
            t("C > S S seq=100 mss=1460 ws=8"),
            Replies(t("S > C SA seq=K ack=101 win=14600 mss=1460 ws=7 mac=fe")),
        ),
        In(
            t("C > S A seq=101 ack=K+1 win=500"),
            Becomes(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07")),
        ),
        Do(|world| world.put(("a", "10.0.0.9:8080"))),
        In(
            "tcp 192.0.2.99:40000 > 203.0.113.10:80 A seq=1 ack=1",
            Drops(DropReason::SynCookieWrong),
        ),
        Wait(1),
        Silent,
        Wait(14),
        Sends(t("S > C RA seq=K+1 ack=101")),
        Silent,
    ];
    run(&[
        Row {
            says: "no SYN again of a handshake that it has no part in",
            world: syn_proxy::web,
            steps: handshake.leak(),
        },
        Row {
            says: "no RST of a session that has expired",
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
                Do(move_a),
                Wait(1000),
                Sends("tcp 203.0.113.10:80 > 192.0.2.1:40000 R seq=501"),
                Silent,
            ],
        },
        Row {
            says: "no segment, though it had no address for a while",
            world: web,
            steps: &[
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
                    Goes("tcp 192.0.2.1:40000 > 10.0.0.7:8080 S"),
                ),
                Do(|world| {
                    let nowhere =
                        Backend::new("a", Address::Unix(std::path::Path::new("/a").into()))
                            .id(id("a"));
                    let moved = world.pool.apply(world.now, [Delta::Upsert(nowhere)]);
                    moved.expect("a change");
                }),
                In(
                    "tcp 192.0.2.98:40000 > 203.0.113.10:80 S seq=100",
                    Goes("tcp 192.0.2.98:40000 > 10.0.0.8:8080 S"),
                ),
                Do(|world| world.put(("a", "10.0.0.9:8080"))),
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                    Drops(DropReason::NoSession),
                ),
            ],
        },
    ]);
}

/// A service behind a proxy, of a forwarder that can send nothing by itself.
fn mute() -> World {
    let mut world = web();
    let proxied = SynProxyConfig::default().mode(SynProxyMode::Always);
    let web = service("web", Tcp, "203.0.113.10/32", 80, &world.pool).syn_proxy(proxied);
    let cookies = Cookies::new(HashKey::new([3; 16]), Duration::from_secs(1_800_000_000));
    let config = config().syn_cookies(cookies).transmit_queue(0);
    let forwarder = Forwarder::new(world.now, config, HashKey::new([7; 16]), vec![web]);
    world.forwarder = forwarder.expect("right");
    world
}

#[test]
fn what_finds_no_place_in_the_queue_is_counted() {
    let steps = vec![
        In(
            t("C > S S seq=100 mss=1460 ws=8"),
            Replies(t("S > C SA seq=K ack=101 win=14600 mss=1460 ws=7 mac=fe")),
        ),
        In(
            t("C > S A seq=101 ack=K+1 win=500"),
            Becomes(t("C > A S seq=100 win=65535 mss=1460 ws=8 ttl=63 mac=07")),
        ),
        Wait(16),
        Do(|world| {
            let stats = world.forwarder.stats();
            // Three SYNs to the backend, and the RST to the client.
            assert_eq!(stats.dropped_for(DropReason::QueueFull), 4);
            assert_eq!((stats.transmitted, stats.sessions), (0, 0));
        }),
        Silent,
    ];
    run(&[Row {
        says: "the last word of a handshake too",
        world: mute,
        steps: steps.leak(),
    }]);
}
