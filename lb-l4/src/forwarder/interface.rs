//! The links that packets come in by and go out of.

use std::net::IpAddr;

use lbcore::address_list::Prefix;

use crate::packet::{InterfaceId, Link};
use crate::wire::ethernet::Mac;

/// One interface that packets come in by and go out of.
///
/// # Examples
///
/// ```
/// use lb_l4::forwarder::Interface;
/// use lb_l4::packet::InterfaceId;
/// use lb_l4::wire::ethernet::Mac;
///
/// let outside = Interface::ethernet(InterfaceId(0), Mac([2, 0, 0, 0, 0, 1]))
///     .prefix("192.0.2.7".parse()?, "192.0.2.0/24".parse()?)
///     .gateway("192.0.2.1".parse()?);
/// assert_eq!(outside.mtu, 1500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Interface {
    /// Its number, by which [`Packet::interface`](crate::packet::Packet::interface) and
    /// [`Verdict::Forward`](crate::packet::Verdict::Forward) name it.
    pub id: InterfaceId,
    /// What its packets begin with.
    pub link: Link,
    /// Its own link address; without meaning on [`Link::Ip`].
    pub mac: Mac,
    /// Bytes of the largest IP packet that it takes. Default 1500.
    pub mtu: u16,
    /// Its own addresses, each with the prefix that is reached on its link without a gateway.
    pub addresses: Vec<(IpAddr, Prefix)>,
    /// Who takes packets to all other addresses: at most one of each family.
    pub gateways: Vec<IpAddr>,
}

impl Interface {
    /// An Ethernet interface with this link address.
    #[must_use]
    pub const fn ethernet(id: InterfaceId, mac: Mac) -> Self {
        Self {
            id,
            link: Link::Ethernet,
            mac,
            mtu: 1500,
            addresses: Vec::new(),
            gateways: Vec::new(),
        }
    }

    /// An interface without link addresses, such as a TUN device.
    #[must_use]
    pub const fn ip(id: InterfaceId) -> Self {
        let mut it = Self::ethernet(id, Mac([0; 6]));
        it.link = Link::Ip;
        it
    }

    /// Sets the largest IP packet that it takes, in bytes.
    #[must_use]
    pub const fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Adds an address of its own, and the prefix that is reached on its link without a gateway.
    #[must_use]
    pub fn prefix(mut self, address: IpAddr, prefix: Prefix) -> Self {
        self.addresses.push((address, prefix));
        self
    }

    /// Adds who takes packets to all other addresses of the gateway's family.
    #[must_use]
    pub fn gateway(mut self, gateway: IpAddr) -> Self {
        self.gateways.push(gateway);
        self
    }

    /// Its first own address of the family of `other`: the source of what it asks and answers.
    #[must_use]
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        let mut own = self.addresses.iter().map(|(address, _)| *address);
        own.find(|address| address.is_ipv4() == other.is_ipv4())
    }
}
