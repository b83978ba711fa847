use std::collections::{HashMap as Map, HashSet};

use lbcore::session::Binding;
use lbcore::{Ticket, flow::FlowKey};
use proptest::prelude::*;

use std::ops::RangeInclusive;

use lbcore::session::{Session, State};

use super::*;

const NOW: Instant = Instant::ZERO;

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn config(addresses: &[&str], ports: RangeInclusive<u16>) -> LocalPortsConfig {
    let addresses = addresses.iter().map(|it| it.parse().unwrap());
    LocalPortsConfig::default()
        .addresses(addresses)
        .ports(ports)
}

fn ports(addresses: &[&str], ports: RangeInclusive<u16>) -> LocalPorts {
    LocalPorts::new(config(addresses, ports), HashKey::from_seed(3)).unwrap()
}

fn secs(seconds: u64) -> Instant {
    NOW + Duration::from_secs(seconds)
}

#[test]
fn each_backend_end_has_every_port_once() {
    let mut ports = ports(&["10.0.0.1", "10.0.0.2", "fd00::1"], 1000..=2099);
    let ends = [
        (Protocol::Tcp, end("10.1.0.1:80"), 2200),
        (Protocol::Udp, end("10.1.0.1:80"), 2200),
        (Protocol::Tcp, end("10.1.0.1:81"), 2200),
        (Protocol::Tcp, end("10.1.0.2:80"), 2200),
        (Protocol::Tcp, end("[fd00::9]:80"), 1100),
    ];
    for (protocol, backend, room) in ends {
        let mut seen = HashSet::new();
        for hash in 0..room {
            let local = ports.allocate(NOW, protocol, backend, hash << 32).unwrap();
            assert!((1000..=2099).contains(&local.port()));
            assert_eq!(local.is_ipv4(), backend.is_ipv4());
            assert!(seen.insert(local), "{local} twice");
        }
        let more = ports.allocate(NOW, protocol, backend, 0);
        assert_eq!(more, Err(Exhausted::Ports));
    }
    let stats = ports.stats();
    assert_eq!((stats.backends, stats.exhausted), (5, 5));
    assert_eq!((stats.taken, stats.resting), (4 * 2200 + 1100, 0));
}

#[test]
fn the_hash_says_which_address_until_its_ports_are_taken() {
    let mut ports = ports(&["10.0.0.2", "10.0.0.1", "10.0.0.3"], 7..=8);
    let backend = end("10.1.0.1:80");
    let mut next = |place: u64| {
        let local = ports.allocate(NOW, Protocol::Tcp, backend, place << 32 | 5);
        local.map(|local| local.ip().to_string())
    };
    assert_eq!(next(0).unwrap(), "10.0.0.1");
    assert_eq!(next(4).unwrap(), "10.0.0.2");
    assert_eq!(next(2).unwrap(), "10.0.0.3");
    assert_eq!(next(2).unwrap(), "10.0.0.3");
    // Full: the next one, and from the end on the first.
    assert_eq!(next(2).unwrap(), "10.0.0.1");
    assert_eq!(next(0).unwrap(), "10.0.0.2");
    assert_eq!(next(0), Err(Exhausted::Ports));
}

#[test]
fn sixty_four_addresses_are_all_used() {
    let all: Vec<String> = (0..64).map(|n| format!("10.0.0.{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut ports = ports(&all, 9..=9);
    let backend = end("10.1.0.1:80");
    let seen: HashSet<_> = (0..64)
        .map(|_| {
            ports
                .allocate(NOW, Protocol::Udp, backend, u64::MAX)
                .unwrap()
        })
        .collect();
    assert_eq!(seen.len(), 64);
    assert!(ports.allocate(NOW, Protocol::Udp, backend, 0).is_err());
}

#[test]
fn a_port_just_given_back_is_the_last_to_be_used_again() {
    let mut ports = ports(&["10.0.0.1"], 100..=199);
    let backend = end("10.1.0.1:80");
    let first = ports.allocate(NOW, Protocol::Tcp, backend, 0).unwrap();
    for _ in 0..99 {
        ports.release(NOW, Protocol::Tcp, backend, first, Rest::None);
        let next = ports.allocate(NOW, Protocol::Tcp, backend, 0).unwrap();
        assert_ne!(next, first);
        ports.release(NOW, Protocol::Tcp, backend, next, Rest::None);
    }
    assert_eq!(ports.stats().backends, 0);
    assert_eq!(ports.allocate(NOW, Protocol::Tcp, backend, 0), Ok(first));
}

#[test]
fn where_ports_begin_depends_on_the_key_and_on_the_backend() {
    let begin = |seed, backend: &str| {
        let config = config(&["10.0.0.1"], 1025..=65535);
        let mut ports = LocalPorts::new(config, HashKey::from_seed(seed)).unwrap();
        let local = ports.allocate(NOW, Protocol::Tcp, end(backend), 0);
        local.unwrap().port()
    };
    let all = [
        begin(1, "10.1.0.1:80"),
        begin(2, "10.1.0.1:80"),
        begin(1, "10.1.0.2:80"),
        begin(1, "10.1.0.1:81"),
    ];
    assert_eq!(HashSet::from(all).len(), 4, "{all:?}");
}

#[test]
fn a_port_rests_until_time_wait_is_over() {
    let mut ports = ports(&["10.0.0.1"], 100..=100);
    let backend = end("10.1.0.1:80");
    let next = |ports: &mut LocalPorts, now| ports.allocate(now, Protocol::Tcp, backend, 0);
    let local = next(&mut ports, NOW).unwrap();

    // Last seen at 10 s, given back at 30 s.
    let rest = Rest::TimeWait(secs(10));
    ports.release(secs(30), Protocol::Tcp, backend, local, rest);
    assert_eq!((ports.stats().taken, ports.stats().resting), (0, 1));
    assert_eq!(ports.poll_timeout(), Some(secs(70)));
    let early = Instant::from_nanos(secs(70).as_nanos() - 1);
    assert_eq!(next(&mut ports, early), Err(Exhausted::Ports));
    // Giving it back once more changes nothing.
    ports.release(early, Protocol::Tcp, backend, local, Rest::None);
    assert_eq!(next(&mut ports, early), Err(Exhausted::Ports));
    assert_eq!(next(&mut ports, secs(70)), Ok(local));
    assert_eq!((ports.stats().taken, ports.stats().resting), (1, 0));

    // The table has outlasted the rest.
    ports.release(
        secs(200),
        Protocol::Tcp,
        backend,
        local,
        Rest::TimeWait(secs(140)),
    );
    assert_eq!(ports.stats().resting, 0);
    assert_eq!(next(&mut ports, secs(200)), Ok(local));
}

#[test]
fn a_timeout_frees_no_more_than_it_may() {
    let mut ports = ports(&["10.0.0.1"], 100..=199);
    let backend = end("10.1.0.1:80");
    for _ in 0..5 {
        let local = ports.allocate(NOW, Protocol::Tcp, backend, 0).unwrap();
        ports.release(NOW, Protocol::Tcp, backend, local, Rest::TimeWait(NOW));
    }
    ports.handle_timeout(secs(59), 9);
    assert_eq!(ports.stats().resting, 5);
    ports.handle_timeout(secs(60), 3);
    assert_eq!(ports.stats().resting, 2);
    ports.handle_timeout(secs(60), 9);
    assert_eq!((ports.stats().resting, ports.stats().backends), (0, 0));
    assert_eq!(ports.poll_timeout(), None);
}

#[test]
fn each_call_frees_two_that_are_due_and_a_needy_one_many() {
    let mut ports = ports(&["10.0.0.1"], 100..=399);
    let backend = end("10.1.0.1:80");
    let all: Vec<_> = (0..300)
        .map(|_| ports.allocate(NOW, Protocol::Tcp, backend, 0).unwrap())
        .collect();
    for local in all {
        ports.release(NOW, Protocol::Tcp, backend, local, Rest::TimeWait(NOW));
    }
    ports.allocate(secs(60), Protocol::Tcp, backend, 0).unwrap();
    assert_eq!(ports.stats().resting, 298);
    let other = end("10.1.0.1:81");
    ports.max_ports = 200;
    ports.allocate(secs(60), Protocol::Tcp, other, 0).unwrap();
    assert_eq!(ports.stats().resting, 298 - 2 - 256);
}

#[test]
fn what_is_not_taken_is_not_given_back() {
    let mut ports = ports(&["10.0.0.1"], 100..=101);
    let backend = end("10.1.0.1:80");
    let local = ports.allocate(NOW, Protocol::Tcp, backend, 0).unwrap();
    let other = end(if local.port() == 100 {
        "10.0.0.1:101"
    } else {
        "10.0.0.1:100"
    });
    for (protocol, backend, local) in [
        (Protocol::Udp, backend, local),
        (Protocol::Tcp, end("10.1.0.1:81"), local),
        (Protocol::Tcp, backend, other),
        (Protocol::Tcp, backend, end("10.0.0.1:99")),
        (Protocol::Tcp, backend, end("10.0.0.1:102")),
        (Protocol::Tcp, backend, end("10.0.0.2:100")),
        (Protocol::Tcp, backend, end("[fd00::1]:100")),
    ] {
        ports.release(NOW, protocol, backend, local, Rest::None);
        assert_eq!(ports.stats().taken, 1);
    }
    ports.release(NOW, Protocol::Tcp, backend, local, Rest::None);
    assert_eq!((ports.stats().taken, ports.stats().backends), (0, 0));
}

#[test]
fn a_port_that_another_node_handed_out_is_taken_here() {
    let mut ports = ports(&["10.0.0.1"], 100..=101);
    let backend = end("10.1.0.1:80");
    assert!(ports.claim(Protocol::Tcp, backend, end("10.0.0.1:101")));
    assert!(!ports.claim(Protocol::Tcp, backend, end("10.0.0.1:101")));
    assert!(!ports.claim(Protocol::Tcp, backend, end("10.0.0.1:102")));
    assert!(!ports.claim(Protocol::Tcp, end("[fd00::9]:80"), end("10.0.0.1:100")));
    let local = ports.allocate(NOW, Protocol::Tcp, backend, 0);
    assert_eq!(local, Ok(end("10.0.0.1:100")));
    assert!(ports.allocate(NOW, Protocol::Tcp, backend, 0).is_err());
    assert_eq!((ports.stats().taken, ports.stats().backends), (2, 1));
}

#[test]
fn no_more_ports_are_taken_or_rest_than_may_be() {
    let config = config(&["10.0.0.1"], 100..=199).max_ports(2);
    let mut ports = LocalPorts::new(config, HashKey::from_seed(3)).unwrap();
    let mut next = |port| {
        let backend = SocketAddr::new([10, 1, 0, 1].into(), port);
        ports.allocate(NOW, Protocol::Tcp, backend, 0).map(|_| ())
    };
    assert_eq!(
        [next(1), next(2), next(3)],
        [Ok(()), Ok(()), Err(Exhausted::Limit)]
    );
    assert_eq!(ports.stats().backends, 2);
    assert!(!ports.claim(Protocol::Tcp, end("10.1.0.1:9"), end("10.0.0.1:150")));
}

#[test]
fn a_backend_of_another_family_gets_no_port() {
    let mut ports = ports(&["10.0.0.1"], 100..=199);
    let got = ports.allocate(NOW, Protocol::Tcp, end("[fd00::9]:80"), 0);
    assert_eq!(got, Err(Exhausted::Family));
    assert_eq!(ports.stats().backends, 0);
}

#[test]
fn workers_have_ports_of_their_own_and_know_whose_the_others_are() {
    let mut seen = HashSet::new();
    let backend = end("10.1.0.1:80");
    for worker in 0..3 {
        let config = config(&["10.0.0.1"], 100..=109).worker(worker).workers(3);
        let mut ports = LocalPorts::new(config, HashKey::from_seed(3)).unwrap();
        while let Ok(local) = ports.allocate(NOW, Protocol::Tcp, backend, 0) {
            assert!(seen.insert(local));
            assert_eq!(ports.owner(local), Some(worker));
        }
        assert_eq!(ports.owner(end("10.0.0.2:100")), None);
        assert_eq!(ports.owner(end("10.0.0.1:110")), None);
    }
    assert_eq!(seen.len(), 10);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |config| {
        LocalPorts::new(config, HashKey::from_seed(3))
            .err()
            .unwrap()
    };
    let ok = || config(&["10.0.0.1"], 100..=109);
    assert_eq!(
        refused(ok().ports(0..=9)),
        LocalPortsConfigError::Ports(0, 9)
    );
    assert_eq!(
        refused(ok().workers(11)),
        LocalPortsConfigError::Ports(100, 109)
    );
    let error = LocalPortsConfigError::Worker {
        worker: 2,
        workers: 2,
    };
    assert_eq!(refused(ok().workers(2).worker(2)), error);
    for (bad, addresses) in [
        ("10.0.0.1", ["10.0.0.1", "10.0.0.1"]),
        ("0.0.0.0", ["10.0.0.1", "0.0.0.0"]),
        ("ff02::1", ["10.0.0.1", "ff02::1"]),
    ] {
        let error = LocalPortsConfigError::Address(bad.parse().unwrap());
        assert_eq!(refused(config(&addresses, 1..=9)), error);
    }
    let many = (0..65).map(|n| IpAddr::from([10, 0, 0, n]));
    let error = LocalPortsConfigError::Addresses(65);
    assert_eq!(refused(ok().addresses(many)), error);
    assert!(LocalPorts::new(config(&[], 1..=9), HashKey::from_seed(3)).is_ok());
}

#[test]
fn only_a_backend_that_may_wait_is_waited_for() {
    let flow = |protocol| FlowKey::new(protocol, end("192.0.2.1:1"), end("203.0.113.1:80"));
    let ticket = Binding::from(Ticket::from_bits(1));
    for state in State::ALL {
        let session = Session::new(flow(state.protocol()), state, ticket, secs(7));
        let at_once = [
            State::Closed,
            State::Rejected,
            State::UdpNew,
            State::UdpActive,
        ];
        let rest = if at_once.contains(&state) {
            Rest::None
        } else {
            Rest::TimeWait(secs(7))
        };
        assert_eq!(Rest::of(&session), rest, "{state:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate {
        end: u16,
        hash: u64,
    },
    Release {
        which: prop::sample::Index,
        rests: bool,
    },
    Wait {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u16, any::<u64>()).prop_map(|(end, hash)| Step::Allocate { end, hash }),
        3 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, rests)| Step::Release { which, rests }),
        1 => (0..40_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    /// Against a list of who has what, and a map of what rests until when.
    #[test]
    fn no_port_is_taken_twice_nor_before_its_rest_is_over(steps in proptest::collection::vec(step(), 1..200)) {
        let mut ports = ports(&["10.0.0.1", "10.0.0.2"], 50..=57);
        let mut taken: Vec<(SocketAddr, SocketAddr)> = Vec::new();
        let mut resting: Map<(SocketAddr, SocketAddr), Instant> = Map::new();
        let mut now = NOW;
        for step in steps {
            match step {
                Step::Allocate { end, hash } => {
                    let backend = SocketAddr::new([10, 1, 0, 1].into(), end);
                    let Ok(local) = ports.allocate(now, Protocol::Tcp, backend, hash) else {
                        let of_this = |(to, _): &&(SocketAddr, SocketAddr)| *to == backend;
                        let at_rest = resting.keys().filter(of_this).count();
                        prop_assert_eq!(taken.iter().filter(of_this).count() + at_rest, 16);
                        continue;
                    };
                    prop_assert!(!taken.contains(&(backend, local)));
                    taken.push((backend, local));
                    if let Some(until) = resting.remove(&(backend, local)) {
                        prop_assert!(until <= now);
                    }
                }
                Step::Release { which, rests } if !taken.is_empty() => {
                    let (backend, local) = taken.swap_remove(which.index(taken.len()));
                    let rest = if rests { Rest::TimeWait(now) } else { Rest::None };
                    ports.release(now, Protocol::Tcp, backend, local, rest);
                    if rests {
                        resting.insert((backend, local), now + Duration::from_secs(60));
                    }
                }
                Step::Release { .. } => {}
                Step::Wait { seconds } => {
                    now += Duration::from_secs(seconds);
                    ports.handle_timeout(now, usize::MAX);
                    resting.retain(|_, until| *until > now);
                }
            }
            prop_assert_eq!(ports.stats().taken, taken.len());
            prop_assert_eq!(ports.stats().resting, resting.len());
        }
    }
}

#[test]
fn a_port_is_claimed_out_of_its_rest_once_until_that_would_have_been_over() {
    let mut ports = ports(&["10.0.0.1"], 100..=100);
    let (backend, local) = (end("10.1.0.1:80"), end("10.0.0.1:100"));
    let rest = |since| Rest::TimeWait(secs(since));
    assert_eq!(ports.allocate(NOW, Protocol::Tcp, backend, 0), Ok(local));
    ports.release(NOW, Protocol::Tcp, backend, local, rest(0));
    assert!(ports.claim(Protocol::Tcp, backend, local));
    assert!(!ports.claim(Protocol::Tcp, backend, local), "it is taken");
    ports.release(secs(10), Protocol::Tcp, backend, local, rest(10));
    assert!(!ports.claim(Protocol::Tcp, backend, local));
    // The end of the first rest is not that of the second.
    ports.handle_timeout(secs(60), 9);
    assert!(ports.allocate(secs(60), Protocol::Tcp, backend, 0).is_err());
    assert!(ports.claim(Protocol::Tcp, backend, local));
    ports.release(secs(61), Protocol::Tcp, backend, local, Rest::None);
    assert_eq!(
        ports.allocate(secs(61), Protocol::Tcp, backend, 0),
        Ok(local)
    );
    // Nor is the end of a rest that was broken off that of a session.
    ports.handle_timeout(secs(70), 9);
    assert_eq!((ports.stats().taken, ports.stats().resting), (1, 0));
    ports.release(secs(71), Protocol::Tcp, backend, local, Rest::None);
    assert_eq!(ports.stats().backends, 0);
}
