//! The host beside which packets are forwarded: what of it is in the way.

use std::fs;
use std::net::IpAddr;

use lb_l4::transport::host_addresses;
use lbcore::address_list::Prefix;
use tracing::warn;

use crate::config::{self, Listener, Transport};

/// One of the host's own addresses.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// Which interface has it.
    pub(super) interface: String,
    pub(super) address: IpAddr,
    /// What is on the interface's link.
    pub(super) prefix: Prefix,
}

/// All of the host's own addresses.
///
/// # Errors
///
/// Says why the kernel does not tell them.
pub(super) fn addresses() -> Result<Vec<Own>, String> {
    let all = host_addresses().map_err(|error| format!("packet: {error}"))?;
    let own = all.into_iter().map(|it| Own {
        interface: it.interface,
        address: it.address,
        prefix: it.prefix,
    });
    Ok(own.collect())
}

/// Whether the host leaves these listeners and local addresses to the forwarder.
///
/// # Errors
///
/// Says which address both have: the host would answer too, by a RST; or, where packets are taken
/// before it sees them, hear no more answers itself.
pub(super) fn check(section: &config::Packet, listeners: &[Listener]) -> Result<(), String> {
    let own = addresses()?;
    if let Some(text) = clash(section, listeners, &own) {
        return Err(text);
    }
    for text in covered(listeners, &own) {
        warn!("{text}");
    }
    Ok(())
}

/// Warns if the host does not do with other hosts' packets what the transport needs.
pub(super) fn warn_of_forwarding(section: &config::Packet) {
    for (key, path) in forwarding(section) {
        // A host without one of the families has no such key.
        let Ok(value) = fs::read_to_string(path) else {
            continue;
        };
        let does_forward = value.trim() != "0";
        match section.transport {
            Transport::AfPacket if does_forward => warn!(
                "{key} is {}: the host forwards the same packets once more, as they came in; set it \
                 to 0",
                value.trim()
            ),
            Transport::Tun if !does_forward => {
                warn!("{key} is 0: the host gives the device no packets of others; set it to 1")
            }
            _ => {}
        }
    }
}

/// What says whether the host forwards packets, in each family: its key, and the file with its value.
///
/// Of IPv4 the interface decides that a packet comes in by, which is ours but for a device that the
/// host leads packets to; of IPv6 one key for all (Linux, Documentation/networking/ip-sysctl.rst).
fn forwarding(section: &config::Packet) -> [(String, String); 2] {
    let v4 = match section.transport {
        Transport::Tun => "net/ipv4/ip_forward".into(),
        _ => format!("net/ipv4/conf/{}/forwarding", section.interface),
    };
    let v6 = "net/ipv6/conf/all/forwarding".to_owned();
    [v4, v6].map(|path| {
        // sysctl(8) writes dots for slashes, and slashes for the dots in the name of a VLAN.
        let key = path.chars().map(|c| match c {
            '/' => '.',
            '.' => '/',
            c => c,
        });
        (key.collect(), format!("/proc/sys/{path}"))
    })
}

/// The first address that the host has and the file gives away.
fn clash(section: &config::Packet, listeners: &[Listener], own: &[Own]) -> Option<String> {
    let at = |own: &Own| format!("{} is the host's own, on {}", own.address, own.interface);
    let local = |own: &&Own| section.local_addresses.contains(&own.address);
    if let Some(own) = own.iter().find(local) {
        return Some(format!("packet.local_addresses: {}: take another", at(own)));
    }
    listeners.iter().find_map(|listener| {
        let address = listener.listen.socket()?.ip();
        let own = own.iter().find(|own| own.address == address)?;
        let name = &listener.name;
        Some(format!("listener.{name}.listen: {}: take another", at(own)))
    })
}

/// The host's addresses that are among those of a prefix.
fn covered(listeners: &[Listener], own: &[Own]) -> Vec<String> {
    let forwarded = listeners.iter().filter_map(|listener| {
        let addresses = listener.forwarding?.addresses(listener.listen.socket()?)?;
        Some((&listener.name, addresses))
    });
    let covered =
        forwarded.flat_map(|(name, addresses)| {
            let within = own
                .iter()
                .filter(move |own| addresses.contains(own.address));
            within.map(move |Own { address, interface, .. }| {
            format!(
                "listener.{name}.prefix: {address}, the host's own on {interface}, is one of \
                 {addresses}: its packets are forwarded"
            )
        })
        });
    covered.collect()
}

#[cfg(test)]
pub(super) fn own(interface: &str, address: &str, prefix: &str) -> Own {
    Own {
        interface: interface.into(),
        address: address.parse().expect("an address"),
        prefix: prefix.parse().expect("a prefix"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packets::file;

    #[test]
    fn an_address_that_the_host_has_is_told_with_its_key() {
        let config = file("af-packet", "10.9.0.100", &[("203.0.113.10", "nat")]);
        let section = config.packet.as_ref().expect("a section");
        let clash = |address: &str| {
            let own = own("eth0", address, "10.9.0.0/24");
            clash(section, &config.listeners, &[own])
        };
        assert_eq!(clash("10.9.0.2"), None);
        let listen = "listener.l0.listen: 203.0.113.10 is the host's own, on eth0: take another";
        assert_eq!(clash("203.0.113.10").as_deref(), Some(listen));
        let local = "packet.local_addresses: 10.9.0.100 is the host's own, on eth0: take another";
        assert_eq!(clash("10.9.0.100").as_deref(), Some(local));
    }

    #[test]
    fn a_prefix_with_the_hosts_own_address_is_told() {
        let mut config = file("af-packet", "10.9.0.100", &[("203.0.113.8", "nat")]);
        let own = [
            own("eth0", "203.0.113.15", "203.0.113.0/24"),
            own("eth0", "203.0.113.16", "203.0.113.0/24"),
        ];
        assert_eq!(covered(&config.listeners, &own), [""; 0]);
        let forwarding = config.listeners[0].forwarding.as_mut();
        forwarding.expect("it is forwarded").prefix = 29;
        let expected = "listener.l0.prefix: 203.0.113.15, the host's own on eth0, is one of \
                        203.0.113.8/29: its packets are forwarded";
        assert_eq!(covered(&config.listeners, &own), [expected]);
    }

    #[test]
    fn the_host_tells_its_addresses() {
        let all = addresses().expect("getifaddrs");
        assert!(all.iter().any(|own| own.address.is_loopback()));
    }
}
