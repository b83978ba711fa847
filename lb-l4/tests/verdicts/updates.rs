//! Sessions while the services that they belong to change.

use std::time::Duration;

use lb_l4::forwarder::ServiceProtocol::Udp;
use lb_l4::forwarder::VirtualService;
use lbcore::Pool;
use lbcore::schedule::AnyScheduler;
use lbcore::session::Timeouts;

use crate::harness::*;

/// A service whose sessions may be silent for so many seconds.
fn lasting(
    name: &str,
    port: u16,
    seconds: u64,
    pool: &Pool<AnyScheduler>,
) -> VirtualService<AnyScheduler> {
    let mut timeouts = Timeouts::default();
    timeouts.udp_new = Duration::from_secs(seconds);
    service(name, Udp, "203.0.113.10/32", port, pool).timeouts(timeouts)
}

fn three() -> World {
    world(|pool| {
        vec![
            lasting("short", 53, 20, &pool),
            lasting("long", 54, 2000, &pool),
            lasting("other", 55, 70, &pool),
        ]
    })
}

fn update(world: &mut World, services: &[(&str, u16, u64)]) {
    let of = |&(name, port, seconds): &(&str, u16, u64)| lasting(name, port, seconds, &world.pool);
    let services = services.iter().map(of).collect();
    world.forwarder.update(world.now, services).unwrap();
}

fn sessions<const N: usize>(world: &mut World) {
    assert_eq!(world.forwarder.stats().sessions, N);
}

const LONG: Step = In(
    "udp 192.0.2.1:40000 > 203.0.113.10:54",
    Goes("udp 192.0.2.1:40000 > 10.0.0.7:8080"),
);

#[test]
fn sessions_keep_the_timeouts_of_their_service() {
    run(&[
        Row {
            says: "when one that was named before it goes",
            world: three,
            steps: &[
                LONG,
                Do(|world| update(world, &[("long", 54, 2000), ("other", 55, 70)])),
                Wait(1900),
                Do(sessions::<1>),
                Wait(101),
                Do(sessions::<0>),
            ],
        },
        Row {
            says: "when another is named before it, in the place of one that goes",
            world: three,
            steps: &[
                LONG,
                Do(|world| update(world, &[("new", 56, 30), ("long", 54, 2000)])),
                Do(|world| update(world, &[("newer", 57, 40), ("long", 54, 2000)])),
                Wait(1900),
                Do(sessions::<1>),
            ],
        },
        Row {
            says: "and get its new ones with it",
            world: three,
            steps: &[
                Do(|world| update(world, &[("other", 55, 70), ("long", 54, 1000)])),
                LONG,
                Do(|world| update(world, &[("short", 53, 30), ("long", 54, 2000)])),
                Wait(1900),
                Do(sessions::<1>),
            ],
        },
        Row {
            says: "and of one that was replaced, to their end",
            world: three,
            steps: &[
                LONG,
                Do(|world| update(world, &[("renamed", 54, 20)])),
                Do(|world| update(world, &[("renamed", 54, 20), ("newer", 57, 40)])),
                Wait(1900),
                Do(sessions::<1>),
            ],
        },
    ]);
}

#[test]
fn services_may_change_their_timeouts_for_ever() {
    let mut world = three();
    for seconds in 1..1000 {
        update(
            &mut world,
            &[("short", 53, seconds), ("again", 58, seconds + 1)],
        );
        update(&mut world, &[("short", 53, seconds)]);
    }
}
