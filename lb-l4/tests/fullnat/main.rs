//! FULLNAT between two TCP stacks that know nothing of it, over links that lose and reorder.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

#[path = "../syn_proxy/hosts.rs"]
#[expect(dead_code, reason = "the tests of the SYN proxy need more of it")]
mod hosts;
#[path = "../syn_proxy/world.rs"]
mod world;

use lb_l4::method::ForwardingMethod;
use lb_l4::method::fullnat::{ClientAddress, FullNatConfig};
use lb_l4::syn_proxy::{SynProxyConfig, SynProxyMode};
use lbcore::proxy_protocol::{Parse, Proxied, parse};
use lbcore::rng::{Rng, Xoshiro};
use smoltcp::socket::tcp::State;

use hosts::Options;
use world::{Plan, World};

const MUCH: usize = 256 << 10;

fn plan(client_address: ClientAddress) -> Plan {
    let options = Options {
        buffer: 256 << 10,
        timestamps: true,
        mtu: 1_500,
    };
    let config = FullNatConfig::default().client_address(client_address);
    Plan {
        ipv6: false,
        client: options,
        backend: options,
        proxy: SynProxyConfig::default(),
        method: ForwardingMethod::FullNat(config),
        lost: 0,
        late: 0,
        delay: 5_000,
        seed: 1,
    }
}

fn lossy(plan: Plan, seed: u64) -> Plan {
    Plan {
        lost: 50,
        late: 20,
        seed,
        ..plan
    }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Xoshiro::new(seed);
    (0..len).map(|_| dice.next_u64().to_le_bytes()[0]).collect()
}

/// So many bytes of the client, much of the backend, and both sides closed: every byte as it
/// was; what the backend was told of the client before that.
fn exchange(plan: Plan, len: usize) -> Option<Proxied> {
    let mut world = World::new(plan);
    let (up, down) = (bytes(plan.seed, len), bytes(plan.seed + 1, MUCH));
    world.backend.listen();
    world.backend.send_and_close(&down);
    world.client.connect(world.service);
    world.client.send_and_close(&up);
    let by_proxy = matches!(plan.method, ForwardingMethod::FullNat(config)
        if config.client_address == ClientAddress::ProxyProtocol);
    let header = match (by_proxy, plan.ipv6) {
        (false, _) => 0,
        (true, false) => 28,
        (true, true) => 52,
    };
    let over = |world: &mut World| {
        let closed = [State::Closed, State::TimeWait];
        let states = [world.client.state(), world.backend.state()];
        let received = [&world.client, &world.backend].map(|it| it.received.len());
        // A FIN that is lost again and again outlives the session's time to close.
        let done = plan.lost > 0 && received == [MUCH, len + header];
        done || states.iter().all(|it| closed.contains(it))
    };
    let ended = world.run(3_000, over);
    let ends = [
        (world.client.state(), world.client.received.len()),
        (world.backend.state(), world.backend.received.len()),
    ];
    let stats = world.forwarder.stats();
    assert!(ended, "{plan:?}: {ends:?}, {stats:?}");
    let (told, rest) = world.backend.received.split_at(header);
    assert!(rest == up, "{plan:?}: what the client sent");
    assert!(
        world.client.received == down,
        "{plan:?}: what the backend sent"
    );
    match parse(told) {
        Ok(Parse::Complete { header, .. }) => {
            if let Proxied::Flow(flow) = &header.proxied {
                assert_eq!(flow.source, world.client.address);
                assert_eq!(flow.destination, world.service);
            }
            Some(header.proxied)
        }
        _ => None,
    }
}

#[test]
fn what_is_sent_each_way_arrives_as_it_was() {
    for ipv6 in [false, true] {
        for told in [ClientAddress::None, ClientAddress::Toa] {
            assert_eq!(exchange(Plan { ipv6, ..plan(told) }, MUCH), None);
            assert_eq!(exchange(lossy(Plan { ipv6, ..plan(told) }, 1), MUCH), None);
        }
    }
}

#[test]
fn the_header_arrives_before_it_whatever_is_lost() {
    for ipv6 in [false, true] {
        let plan = Plan {
            ipv6,
            ..plan(ClientAddress::ProxyProtocol)
        };
        assert!(exchange(plan, MUCH).is_some());
        for seed in 1..6 {
            let mut plan = lossy(plan, seed);
            plan.client.timestamps = seed % 2 == 0;
            assert!(exchange(plan, MUCH).is_some());
        }
    }
}

#[test]
fn the_header_arrives_of_a_client_that_says_nothing_or_little() {
    for len in [0, 1, 1_400, 1_460] {
        let plan = plan(ClientAddress::ProxyProtocol);
        assert!(exchange(plan, len).is_some(), "{len}");
        for seed in 1..4 {
            assert!(exchange(lossy(plan, seed), len).is_some(), "{len}");
        }
    }
}

#[test]
fn the_header_and_the_syn_proxy_get_on() {
    for ipv6 in [false, true] {
        let plan = Plan {
            ipv6,
            proxy: SynProxyConfig::default().mode(SynProxyMode::Always),
            ..plan(ClientAddress::ProxyProtocol)
        };
        assert!(exchange(plan, MUCH).is_some());
        for seed in 1..4 {
            assert!(exchange(lossy(plan, seed), MUCH).is_some());
        }
    }
}
