//! The SYN proxy between two TCP stacks that know nothing of it.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

mod hosts;
mod world;

use lb_l4::method::ForwardingMethod;
use lb_l4::packet::DropReason;
use lb_l4::syn_proxy::{SynProxyConfig, SynProxyMode};
use lb_l4::wire::emit::TcpSegment;
use lb_l4::wire::tcp::flags::{ACK, SYN};
use lbcore::rng::{Rng, Xoshiro};
use smoltcp::socket::tcp::State;

use hosts::Options;
use world::{Plan, World};

const MEGABYTE: usize = 1 << 20;

fn plan() -> Plan {
    let options = Options {
        buffer: 256 << 10,
        timestamps: true,
        mtu: 1_500,
    };
    Plan {
        ipv6: false,
        client: options,
        backend: Options {
            buffer: 512 << 10,
            ..options
        },
        proxy: SynProxyConfig::default().mode(SynProxyMode::Always),
        method: ForwardingMethod::Nat,
        lost: 0,
        late: 0,
        delay: 5_000,
        seed: 1,
    }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Xoshiro::new(seed);
    (0..len).map(|_| dice.next_u64().to_le_bytes()[0]).collect()
}

/// A megabyte each way, and both sides closed: every byte as it was.
fn exchange(plan: Plan) -> World {
    let mut world = World::new(plan);
    let (up, down) = (bytes(plan.seed, MEGABYTE), bytes(plan.seed + 1, MEGABYTE));
    world.backend.listen();
    world.backend.send_and_close(&down);
    world.client.connect(world.service);
    world.client.send_and_close(&up);
    let over = |world: &mut World| {
        let closed = [State::Closed, State::TimeWait];
        let states = [world.client.state(), world.backend.state()];
        let received = [&world.client, &world.backend].map(|it| it.received.len());
        // A FIN that is lost again and again outlives the session's time to close.
        let lossy = plan.lost > 0 && received == [MEGABYTE; 2];
        lossy || states.iter().all(|it| closed.contains(it))
    };
    let ended = world.run(3_000, over);
    let stats = world.forwarder.syn_proxy_stats();
    let ends = [
        (world.client.state(), world.client.received.len()),
        (world.backend.state(), world.backend.received.len()),
    ];
    let micros = world.micros;
    assert!(
        ended,
        "{plan:?}: {ends:?} after {micros} us, {:?}, {stats:?}",
        world.forwarder.stats()
    );
    assert!(
        world.backend.received == up,
        "{plan:?}: what the client sent"
    );
    assert!(
        world.client.received == down,
        "{plan:?}: what the backend sent"
    );
    assert_eq!((stats.joined, stats.accepted), (1, 1), "{plan:?}");
    assert_eq!((stats.half_open, stats.held_bytes), (0, 0), "{plan:?}");
    world
}

#[test]
fn a_megabyte_each_way_arrives_as_it_was() {
    for ipv6 in [false, true] {
        let world = exchange(Plan { ipv6, ..plan() });
        assert_eq!(
            world
                .forwarder
                .stats()
                .dropped_for(DropReason::OutsideWindow),
            0
        );
    }
}

#[test]
fn it_arrives_over_links_that_lose_and_reorder() {
    let mut sack_blocks = 0;
    for seed in 1..4 {
        for timestamps in [false, true] {
            let mut plan = Plan {
                lost: 50,
                late: 20,
                seed,
                ..plan()
            };
            plan.client.timestamps = timestamps;
            sack_blocks += exchange(plan).sack_blocks;
        }
    }
    assert!(sack_blocks > 100, "{sack_blocks}");
}

#[test]
fn it_arrives_whatever_scale_the_backend_has_and_the_client_was_promised() {
    for (buffer, promised) in [
        (65_535, 0),
        (65_535, 7),
        (65_535, 14),
        (256 << 10, 0),
        (256 << 10, 7),
        (4 << 20, 2),
        (4 << 20, 14),
    ] {
        let mut plan = plan();
        plan.backend.buffer = buffer;
        plan.proxy = plan.proxy.window_scale(promised);
        exchange(plan);
    }
}

#[test]
fn it_arrives_with_and_without_each_option() {
    for (client, offered, sack) in [
        (false, true, true),
        (true, false, true),
        (true, true, false),
        (false, false, false),
    ] {
        let mut plan = Plan {
            lost: 20,
            late: 20,
            seed: 7,
            ..plan()
        };
        plan.client.timestamps = client;
        plan.proxy = plan.proxy.timestamps(offered).sack(sack);
        // A stack that has timestamps answers those of its client.
        exchange(plan);
    }
}

#[test]
fn a_small_hold_costs_time_and_no_bytes() {
    let mut plan = plan();
    plan.proxy = plan.proxy.window(536);
    exchange(plan);
}

#[test]
fn a_flood_of_spoofed_syns_and_acks_leaves_no_session_and_a_client_comes_through() {
    let mut world = World::new(plan());
    let mut dice = Xoshiro::new(5);
    for _ in 0..20_000 {
        let word = dice.next_u64();
        let [a, b, c, d, e, f, ..] = word.to_le_bytes();
        let source = std::net::Ipv4Addr::new(a.max(1), b, c, d);
        let source = (source, u16::from_le_bytes([e, f]).max(1)).into();
        let number = u32::try_from(dice.next_u64() >> 32).unwrap();
        let flags = if word.is_multiple_of(4) { ACK } else { SYN };
        let mut packet = Vec::new();
        TcpSegment::new(source, world.service, flags)
            .sequence(number)
            .acknowledgement(!number)
            .emit(&mut packet);
        world.forward(packet);
    }
    assert_eq!(world.forwarder.stats().sessions, 0);
    let stats = world.forwarder.syn_proxy_stats();
    assert!(stats.answered > 14_000 && stats.wrong > 4_000, "{stats:?}");
    assert_eq!((stats.accepted, stats.half_open), (0, 0));

    world.backend.listen();
    world.client.connect(world.service);
    world.client.send_and_close(b"through");
    assert!(world.run(5, |it| it.backend.received == b"through"));
    assert_eq!(world.forwarder.stats().sessions, 1);
}

#[test]
fn a_backend_that_refuses_resets_the_client() {
    let mut world = World::new(plan());
    world.client.connect(world.service);
    world.client.send_and_close(b"hello");
    assert!(world.run(5, |it| it.client.state() == State::Closed && it.micros > 0));
    let stats = world.forwarder.syn_proxy_stats();
    assert_eq!(
        (stats.refused, stats.half_open, stats.held_bytes),
        (1, 0, 0)
    );
    assert_eq!(world.forwarder.stats().sessions, 0);
}

#[test]
fn a_backend_that_is_silent_is_asked_for_15_seconds_and_the_client_reset() {
    let mut world = World::new(plan());
    world.backend_reachable = false;
    world.client.connect(world.service);
    world.client.send_and_close(b"hello");
    assert!(world.run(5, |it| it.forwarder.stats().sessions == 1));
    let begun = world.micros;
    assert!(world.run(60, |it| it.forwarder.stats().sessions == 0));
    assert_eq!((world.micros - begun) / 1_000_000, 15);
    assert!(world.run(5, |it| it.client.state() == State::Closed));
    let stats = world.forwarder.syn_proxy_stats();
    assert_eq!((stats.retries, stats.unanswered), (3, 1));
}

#[test]
fn a_client_that_aborts_while_its_backend_is_silent_leaves_nothing() {
    let mut world = World::new(plan());
    world.backend_reachable = false;
    world.client.connect(world.service);
    assert!(world.run(5, |it| it.forwarder.syn_proxy_stats().half_open == 1));
    world.client.abort();
    assert!(world.run(5, |it| it.forwarder.syn_proxy_stats().half_open == 0));
    assert_eq!(world.forwarder.syn_proxy_stats().abandoned, 1);
    assert_eq!(world.forwarder.stats().sessions, 0);
}
