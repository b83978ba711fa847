//! FULLNAT: both ends rewritten, and how backends learn who the client is.
//!
//! The forwarder has the local addresses 10.0.0.100 and 2001:db8:1::100 and, but where a row is about
//! that, a single port of each, so that every session to one backend end has the same local end.

mod behind_cookies;
mod copies;
mod ends;
mod forged;
mod messages;
mod ports;
mod proxy;
mod toa;
mod workers;

use lb_l4::forwarder::ServiceProtocol::{Tcp, Udp};
use lb_l4::forwarder::{Forwarder, ForwarderConfig, ForwarderError, OnExpiry, VirtualService};
use lb_l4::method::ForwardingMethod;
use lb_l4::method::fullnat::{ClientAddress, FullNatConfig, LocalPortsConfig};
use lbcore::hash::HashKey;
use lbcore::schedule::AnyScheduler;

use crate::harness::*;

/// FULLNAT that tells of clients in this way.
pub(crate) fn fullnat(client_address: ClientAddress) -> ForwardingMethod {
    ForwardingMethod::FullNat(FullNatConfig::default().client_address(client_address))
}

/// The local ends of a world: one port of each address.
pub(crate) fn local_ports() -> LocalPortsConfig {
    LocalPortsConfig::default()
        .addresses([ip("10.0.0.100"), ip("2001:db8:1::100")])
        .ports(5000..=5000)
}

/// A world over these backends, of services for TCP and UDP of either family.
pub(crate) fn world_with(
    backends: &[(&str, &str)],
    client_address: ClientAddress,
    change: impl FnOnce(ForwarderConfig) -> ForwarderConfig,
    each: impl Fn(VirtualService<AnyScheduler>) -> VirtualService<AnyScheduler>,
) -> World {
    let mut world = world_of(InTurn, backends, |_| Vec::new());
    let services = [
        ("web", Tcp, "203.0.113.10/32", 80),
        ("dns", Udp, "203.0.113.10/32", 53),
        ("web6", Tcp, "2001:db8::10/128", 80),
        ("dns6", Udp, "2001:db8::10/128", 53),
    ];
    let services = services.map(|(name, protocol, addresses, port)| {
        let service = service(name, protocol, addresses, port, &world.pool);
        each(
            service
                .method(fullnat(client_address))
                .on_expiry(OnExpiry::Reset),
        )
    });
    let config = change(config().local_ports(local_ports()));
    world.forwarder = forwarder(&world, config, services.into()).expect("right");
    world
}

pub(crate) fn forwarder(
    world: &World,
    config: ForwarderConfig,
    services: Vec<VirtualService<AnyScheduler>>,
) -> Result<Forwarder<AnyScheduler>, ForwarderError> {
    Forwarder::new(world.now, config, HashKey::new([7; 16]), services)
}

/// Backends of both families, of which each session takes the first of its own.
pub(crate) const EACH: &[(&str, &str)] = &[A, C];

fn plain() -> World {
    world_with(EACH, ClientAddress::None, |it| it, |it| it)
}

fn toa() -> World {
    world_with(EACH, ClientAddress::Toa, |it| it, |it| it)
}

fn proxy() -> World {
    world_with(EACH, ClientAddress::ProxyProtocol, |it| it, |it| it)
}

/// The handshake of a client of IPv4, whose numbers begin at 100, and the backend's at 500.
const OPEN: [Step; 2] = [
    In(
        "tcp 192.0.2.1:40000 > 203.0.113.10:80 S seq=100",
        Goes("tcp 10.0.0.100:5000 > 10.0.0.7:8080 S mac=07"),
    ),
    In(
        "tcp 10.0.0.7:8080 > 10.0.0.100:5000 SA seq=500 ack=101",
        Goes("tcp 203.0.113.10:80 > 192.0.2.1:40000 SA mac=fe"),
    ),
];
