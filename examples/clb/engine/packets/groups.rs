//! Groups that neighbours ask in for addresses of IPv6: the interface has to take them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use tracing::warn;

use crate::config::{self, Listener, Transport};

/// The groups that the host has joined on the interface, until this is dropped.
///
/// By joining, the kernel tells the interface's filter and the switches (MLD).
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Which interface, by its number; none where there are no neighbours.
    at: Option<(UdpSocket, u32)>,
    joined: BTreeSet<Ipv6Addr>,
}

impl Groups {
    /// Of the interface of this section; of none where it has no neighbours.
    pub(super) fn open(section: &config::Packet) -> Self {
        if section.transport == Transport::Tun {
            return Self::default();
        }
        let opened = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| {
            let index = rustix::net::netdevice::name_to_index(&socket, &section.interface)?;
            Ok((socket, index))
        });
        Self {
            // A host without IPv6 has no such neighbours either.
            at: opened.ok(),
            joined: BTreeSet::new(),
        }
    }

    /// Goes over to the groups of these listeners and of the forwarder's own addresses.
    pub(super) fn change(&mut self, section: &config::Packet, listeners: &[&Listener]) {
        let Some((socket, index)) = &self.at else {
            return;
        };
        let listen = listeners
            .iter()
            .filter_map(|listener| listener.listen.socket());
        let all = listen
            .map(|listen| listen.ip())
            .chain(section.local_addresses.iter().copied());
        let wanted: BTreeSet<_> = all.filter_map(group).collect();
        for group in wanted.difference(&self.joined) {
            if let Err(error) = socket.join_multicast_v6(group, *index) {
                warn!(%group, %error, "not joined: neighbours may not find addresses of IPv6");
            }
        }
        for group in self.joined.difference(&wanted) {
            // One that could not be joined cannot be left.
            let _ = socket.leave_multicast_v6(group, *index);
        }
        self.joined = wanted;
    }
}

/// The solicited-node group of an address (RFC 4291, 2.7.1).
fn group(address: IpAddr) -> Option<Ipv6Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let [.., high, low] = address.segments();
    Some(Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | (high & 0xff),
        low,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_has_the_last_24_bits_of_the_address() {
        let of = |text: &str| group(text.parse().expect("an address"));
        // The example of RFC 4291.
        let expected = "ff02::1:ff0e:8c6c".parse().expect("a group");
        assert_eq!(of("4037::01:800:200e:8c6c"), Some(expected));
        assert_eq!(of("192.0.2.1"), None);
    }
}
