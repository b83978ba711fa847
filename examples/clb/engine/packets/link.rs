//! The interface: opened, and described to the forwarder by what the kernel knows of it.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use lb_l4::forwarder::Interface;
use lb_l4::packet;
use lb_l4::transport::af_packet::{AfPacketConfig, Receiving};
use lb_l4::transport::af_xdp::{AfXdpConfig, Attach, BusyPoll, Steering};
use lb_l4::transport::tun::TunConfig;
use lb_l4::transport::{AfPacket, AfXdp, Capabilities, Transport as _, Tun};
use lb_l4::wire::ethernet::Mac;
use lbcore::address_list::Prefix;

use super::INTERFACE;
use super::host::{self, Own};
use crate::config::{self, Transport};

/// One queue of the interface, for one worker.
pub(super) enum Link {
    AfPacket(AfPacket),
    AfXdp(Box<AfXdp>),
    Tun(Tun),
}

/// What is known of the interface.
#[derive(Debug)]
pub(super) struct Opened {
    /// As forwarders are told.
    pub(super) interface: Interface,
    /// How packets come, in a word or two.
    pub(super) mode: &'static str,
    /// What says which packets come, if anything has to.
    pub(super) steering: Option<Arc<Steering>>,
}

/// Opens the interface, with a queue for each worker.
///
/// # Errors
///
/// Says what is missing: the interface, a right, or a queue.
pub(super) fn open(section: &config::Packet) -> Result<(Opened, Vec<Link>), String> {
    let name = &section.interface;
    let told = |error: &dyn Display| format!("packet: {name}: {error}");
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("packet: {name}: {error}: clb needs root, or CAP_NET_RAW and CAP_NET_ADMIN")
        }
        _ => told(&error),
    };
    let count = usize::from(section.workers);
    let (links, mode, steering): (Vec<Link>, _, _) = match section.transport {
        Transport::AfPacket => {
            let mut config = AfPacketConfig::new(name).interface(INTERFACE);
            if section.promiscuous {
                config = config.receiving(Receiving::Everything);
            }
            let opened = match count {
                1 => AfPacket::open(config).map(|one| vec![one]),
                _ => AfPacket::open_queues(config, count),
            };
            let queues = opened.map_err(refused)?;
            (
                queues.into_iter().map(Link::AfPacket).collect(),
                "ring",
                None,
            )
        }
        Transport::AfXdp => {
            let mut config = AfXdpConfig::new(name).number(INTERFACE);
            if section.busy_poll {
                config = config.busy_poll(BusyPoll::default());
            }
            let queues = AfXdp::open(&config).map_err(|error| told(&error))?;
            if queues.len() != count {
                let found = queues.len();
                return Err(format!(
                    "packet.workers: {name} has {found} receive queues and {count} workers: set \
                     workers = {found}, or `ethtool -L {name} combined {count}`"
                ));
            }
            let steering = queues.first().map(|queue| Arc::clone(queue.steering()));
            let mode = queues.first().map_or("", mode);
            (
                queues
                    .into_iter()
                    .map(|it| Link::AfXdp(Box::new(it)))
                    .collect(),
                mode,
                steering,
            )
        }
        Transport::Tun => {
            let mtu = usize::from(section.mtu);
            let config = TunConfig::default()
                .name(name)
                .mtu(mtu)
                .interface(INTERFACE);
            let opened = match count {
                1 => Tun::open(config).map(|one| vec![one]),
                _ => Tun::open_queues(config, count),
            };
            let queues = opened.map_err(refused)?;
            (queues.into_iter().map(Link::Tun).collect(), "device", None)
        }
    };
    let capabilities = links.first().map(Link::capabilities).unwrap_or_default();
    let host = host::addresses()?;
    let opened = Opened {
        interface: describe(section, capabilities, &host),
        mode,
        steering,
    };
    Ok((opened, links))
}

impl Link {
    fn capabilities(&self) -> Capabilities {
        match self {
            Self::AfPacket(link) => link.capabilities(),
            Self::AfXdp(link) => link.capabilities(),
            Self::Tun(link) => link.capabilities(),
        }
    }
}

/// Where the program runs, and whether the kernel copies.
fn mode(queue: &AfXdp) -> &'static str {
    match (queue.steering().attached(), queue.capabilities().zero_copy) {
        (Attach::Native, true) => "native, zero-copy",
        (Attach::Native, false) => "native, copy",
        (_, true) => "generic, zero-copy",
        (_, false) => "generic, copy",
    }
}

/// The interface as a forwarder is told: prefixes of its link are those of the host's own addresses
/// there, and are asked about from local addresses.
fn describe(section: &config::Packet, capabilities: Capabilities, host: &[Own]) -> Interface {
    let it = match capabilities.link {
        packet::Link::Ip => Interface::ip(INTERFACE),
        _ => Interface::ethernet(INTERFACE, Mac(capabilities.mac.unwrap_or_default())),
    };
    let mtu = u16::try_from(capabilities.mtu).unwrap_or(u16::MAX);
    let mut it = it.mtu(mtu);
    if section.transport == Transport::Tun {
        return behind_the_host(section, it);
    }
    let mut prefixes: Vec<(IpAddr, Prefix)> = Vec::new();
    for own in host.iter().filter(|own| own.interface == section.interface) {
        if is_link_local(own.address) || prefixes.iter().any(|(_, prefix)| *prefix == own.prefix) {
            continue;
        }
        let mut within = section
            .local_addresses
            .iter()
            .filter(|it| own.prefix.contains(**it));
        let local = within.next().copied();
        let asks = local
            .or_else(|| section.local(own.address.is_ipv4()))
            .unwrap_or(own.address);
        prefixes.push((asks, own.prefix));
    }
    for &local in &section.local_addresses {
        if prefixes.iter().all(|(asks, _)| *asks != local) {
            prefixes.push((local, local.into()));
        }
    }
    for (address, prefix) in prefixes {
        it = it.prefix(address, prefix);
    }
    section
        .gateways
        .iter()
        .fold(it, |it, gateway| it.gateway(*gateway))
}

/// The host routes what comes out of a TUN device: everything is next to it.
fn behind_the_host(section: &config::Packet, mut it: Interface) -> Interface {
    for address in &section.local_addresses {
        it = it.prefix(*address, (*address).into());
    }
    it.gateway(Ipv4Addr::UNSPECIFIED.into())
        .gateway(Ipv6Addr::UNSPECIFIED.into())
}

const fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packets::file;
    use crate::engine::packets::host::own;

    const VIP: [(&str, &str); 1] = [("203.0.113.10", "nat")];

    fn capabilities(link: packet::Link) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.link = link;
        capabilities.mac = Some([2, 0, 0, 0, 0, 1]);
        capabilities.mtu = 9_000;
        capabilities
    }

    fn pairs(of: &Interface) -> Vec<(String, String)> {
        let all = of.addresses.iter();
        all.map(|(address, prefix)| (address.to_string(), prefix.to_string()))
            .collect()
    }

    fn said(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn prefixes_are_the_hosts_and_are_asked_about_from_local_addresses() {
        let config = file("af-packet", "10.9.0.100\", \"10.9.0.101", &VIP);
        let section = config.packet.as_ref().expect("a section");
        let host = [
            own("lo", "127.0.0.1", "127.0.0.0/8"),
            own("eth0", "10.9.0.2", "10.9.0.0/24"),
            own("eth0", "10.9.0.3", "10.9.0.0/24"),
            own("eth0", "10.7.0.2", "10.7.0.0/24"),
            own("eth0", "fd09::2", "fd09::/64"),
            own("eth0", "fe80::1", "fe80::/64"),
            own("eth1", "10.8.0.2", "10.8.0.0/24"),
        ];
        let described = describe(section, capabilities(packet::Link::Ethernet), &host);
        assert_eq!(described.mac, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(
            (described.link, described.mtu),
            (packet::Link::Ethernet, 9_000)
        );
        let expected = [
            ("10.9.0.100", "10.9.0.0/24"),
            // None of ours is in it.
            ("10.9.0.100", "10.7.0.0/24"),
            // None of ours is of the family.
            ("fd09::2", "fd09::/64"),
            ("10.9.0.101", "10.9.0.101/32"),
        ];
        assert_eq!(pairs(&described), said(&expected));
        assert_eq!(
            described.gateways,
            ["10.9.0.1".parse::<IpAddr>().expect("one")]
        );
    }

    #[test]
    fn behind_a_device_everything_is_the_hosts_to_route() {
        let config = file("tun", "10.9.0.100", &VIP);
        let section = config.packet.as_ref().expect("a section");
        let host = [own("eth0", "10.9.0.2", "10.9.0.0/24")];
        let described = describe(section, capabilities(packet::Link::Ip), &host);
        assert_eq!(described.link, packet::Link::Ip);
        assert_eq!(pairs(&described), said(&[("10.9.0.100", "10.9.0.100/32")]));
        assert_eq!(described.gateways.len(), 2);
    }

    #[test]
    fn an_interface_that_is_not_there_is_told_by_its_name() {
        for transport in ["af-packet", "af-xdp"] {
            let mut config = file(transport, "10.9.0.100", &VIP);
            let section = config.packet.as_mut().expect("a section");
            section.interface = "no-such-link".into();
            let error = open(section).map(|_| ()).expect_err("there is none");
            assert!(error.starts_with("packet: no-such-link: "), "{error}");
        }
    }
}
