//! Sessions that another node takes over.

use std::time::Duration;

use lb_l4::forwarder::{AdoptError, Replica, Replicated};
use lbcore::flow::{FlowKey, Protocol};
use lbcore::session::{ChangeStream, SessionConfig, SessionRefusal, State};

use super::*;

fn key(client: &str, service: &str) -> FlowKey {
    let [client, service] = [client, service].map(|it| it.parse().unwrap());
    FlowKey::new(Protocol::Tcp, client, service)
}

fn web() -> FlowKey {
    key("192.0.2.1:40000", "203.0.113.10:80")
}

fn copy(local: Option<&str>) -> Replicated {
    let copy = Replica::new(web(), State::Established, "web".into(), id("a"));
    let copy = copy.idle(Duration::from_secs(0));
    Replicated::Present(match local {
        Some(local) => copy.local(local.parse().unwrap()),
        None => copy,
    })
}

fn adopt(world: &mut World, change: &Replicated) -> Result<(), AdoptError> {
    let now = world.now;
    world.forwarder.handle_change(now, change)
}

/// A world that tells of its sessions.
fn telling(client_address: ClientAddress) -> World {
    let tells = |it: ForwarderConfig| {
        let mut sessions: SessionConfig = it.sessions.clone();
        sessions.changes = ChangeStream::Settled;
        it.sessions(sessions)
    };
    world_with(EACH, client_address, tells, |it| it)
}

fn told(world: &mut World) -> Vec<Replicated> {
    let now = world.now;
    world.forwarder.take_changes(now).collect()
}

#[test]
fn a_copy_has_the_local_end_of_its_session() {
    let mut world = plain();
    assert_eq!(adopt(&mut world, &copy(None)), Err(AdoptError::LocalEnd));
    let elsewhere = copy(Some("10.0.0.100:5001"));
    assert_eq!(adopt(&mut world, &elsewhere), Err(AdoptError::LocalEnd));
    let other = copy(Some("10.0.0.101:5000"));
    assert_eq!(adopt(&mut world, &other), Err(AdoptError::LocalEnd));
    assert_eq!(world.forwarder.stats().local_ports.taken, 0);
    assert_eq!(world.pool.stats()[0].in_flight(), 0);

    assert_eq!(adopt(&mut world, &copy(Some("10.0.0.100:5000"))), Ok(()));
    assert_eq!(world.forwarder.stats().local_ports.taken, 1);
    for step in [
        In(
            "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 len=4",
            Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A"),
        ),
        In(
            "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=105",
            Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
        ),
        In(
            "tcp 192.0.2.1:40001 > 203.0.113.10:80 S",
            Drops(lb_l4::packet::DropReason::PortsExhausted),
        ),
    ] {
        world.step(&step, "adopted");
    }
    // Told again, it is the same; ended, its port may be taken by a copy though it rests here.
    assert_eq!(adopt(&mut world, &copy(Some("10.0.0.100:5000"))), Ok(()));
    assert_eq!(world.forwarder.stats().local_ports.taken, 1);
    assert_eq!(adopt(&mut world, &Replicated::Gone(web())), Ok(()));
    assert_eq!(world.forwarder.stats().local_ports.taken, 0);
    assert_eq!(adopt(&mut world, &copy(Some("10.0.0.100:5000"))), Ok(()));
    assert_eq!(world.forwarder.stats().local_ports.taken, 1);
    // The port that was at rest is not given free under its new session.
    world.step(&Wait(70), "rest");
    assert_eq!(world.forwarder.stats().local_ports.taken, 1);
    assert_eq!(
        world.forwarder.local_end_of(&web()),
        Some("10.0.0.100:5000".parse().unwrap())
    );
}

#[test]
fn a_copy_does_not_tell_again_who_the_client_is() {
    let mut world = toa();
    assert_eq!(adopt(&mut world, &copy(Some("10.0.0.100:5000"))), Ok(()));
    let goes_untold = In(
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 PA seq=101 ack=501 len=4",
        Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 PA"),
    );
    world.step(&goes_untold, "adopted");
}

#[test]
fn what_one_node_tells_another_takes_over() {
    for (client_address, steps) in [
        (
            ClientAddress::None,
            vec![
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                    Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 A"),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=101",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 A"),
                ),
            ],
        ),
        (
            ClientAddress::ProxyProtocol,
            vec![
                In(
                    "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501",
                    Goes(
                        "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A len=28 \
                         proxy=192.0.2.1:40000,203.0.113.10:80",
                    ),
                ),
                In(
                    "tcp 10.0.0.7:8080 > 10.0.0.100:5000 FA seq=501 ack=129",
                    Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 FA ack=101"),
                ),
            ],
        ),
    ] {
        let mut here = telling(client_address);
        for step in OPEN.iter().chain(&steps) {
            here.step(step, "here");
        }
        let mut there = telling(client_address);
        let changes = told(&mut here);
        assert!(!changes.is_empty());
        for change in &changes {
            assert_eq!(adopt(&mut there, change), Ok(()), "{change:?}");
        }
        let shifted = client_address == ClientAddress::ProxyProtocol;
        let (goes, comes) = if shifted {
            (
                "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=129",
                "tcp 203.0.113.10:80 > 192.0.2.1:40000 A ack=106",
            )
        } else {
            (
                "tcp 10.0.0.100:5000 > 10.0.0.7:8080 A seq=101",
                "tcp 203.0.113.10:80 > 192.0.2.1:40000 A ack=134",
            )
        };
        there.step(
            &In(
                "tcp 192.0.2.1:40000 > 203.0.113.10:80 A seq=101 ack=501 len=5",
                Goes(goes),
            ),
            "there",
        );
        there.step(
            &In(
                "tcp 10.0.0.7:8080 > 10.0.0.100:5000 A seq=501 ack=134",
                Goes(comes),
            ),
            "there",
        );
    }
}

#[test]
fn a_copy_that_cannot_be_kept_takes_no_port() {
    let mut world = plain();
    let mixed = key("192.0.2.1:40000", "[2001:db8::10]:80");
    let copy = Replica::new(mixed, State::Established, "web".into(), id("a"));
    let copy = Replicated::Present(copy.local("10.0.0.100:5000".parse().unwrap()));
    let refused = AdoptError::Refused(SessionRefusal::MixedFamilies);
    assert_eq!(adopt(&mut world, &copy), Err(refused));
    assert_eq!(world.forwarder.stats().local_ports.taken, 0);
}

#[test]
fn a_session_that_has_another_local_end_elsewhere_gets_that() {
    let two = local_ports().ports(5000..=5001);
    let mut world = world_with(EACH, ClientAddress::None, |it| it.local_ports(two), |it| it);
    for local in ["10.0.0.100:5000", "10.0.0.100:5001"] {
        assert_eq!(adopt(&mut world, &copy(Some(local))), Ok(()));
        let kept = world.forwarder.local_end_of(&web());
        assert_eq!(kept, Some(local.parse().unwrap()));
        assert_eq!(world.forwarder.stats().local_ports.taken, 1);
    }
}
