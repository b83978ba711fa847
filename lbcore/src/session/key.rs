//! Flows, written as short as their address family allows.

use std::fmt::Debug;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::flow::{FlowKey, Protocol, words_v4, words_v6};
use crate::hash::HashKey;

/// The addresses and ports of a flow of one address family; its protocol is kept elsewhere.
pub(super) trait Key: Copy + Debug + Eq {
    /// The flow in full.
    fn flow(&self, protocol: Protocol) -> FlowKey;

    /// The hash that places the flow in the index.
    fn tag(&self, protocol: Protocol, key: &HashKey) -> u32;
}

/// A flow of either family.
pub(super) enum Compact {
    V4(KeyV4),
    V6(KeyV6),
}

impl Compact {
    /// The short form of `key`; `None` if its ends are of different families.
    #[inline]
    pub(super) fn of(key: &FlowKey) -> Option<Self> {
        match (key.source, key.destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => Some(Self::V4(KeyV4 {
                source: source.ip().to_bits(),
                destination: destination.ip().to_bits(),
                ports: [source.port(), destination.port()],
            })),
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => Some(Self::V6(KeyV6 {
                source: source.ip().octets(),
                destination: destination.ip().octets(),
                ports: [source.port(), destination.port()],
            })),
            _ => None,
        }
    }
}

/// 12 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct KeyV4 {
    source: u32,
    destination: u32,
    ports: [u16; 2],
}

impl KeyV4 {
    fn ends(&self) -> [SocketAddrV4; 2] {
        let [source, destination] = self.ports;
        [
            SocketAddrV4::new(Ipv4Addr::from_bits(self.source), source),
            SocketAddrV4::new(Ipv4Addr::from_bits(self.destination), destination),
        ]
    }
}

impl Key for KeyV4 {
    fn flow(&self, protocol: Protocol) -> FlowKey {
        let [source, destination] = self.ends();
        FlowKey::new(protocol, source.into(), destination.into())
    }

    #[inline]
    fn tag(&self, protocol: Protocol, key: &HashKey) -> u32 {
        let [source, destination] = self.ends();
        low(key.sip13_words(words_v4(protocol, source, destination)))
    }
}

/// 36 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct KeyV6 {
    source: [u8; 16],
    destination: [u8; 16],
    ports: [u16; 2],
}

impl KeyV6 {
    fn ends(&self) -> [SocketAddrV6; 2] {
        let [source, destination] = self.ports;
        [
            SocketAddrV6::new(Ipv6Addr::from_octets(self.source), source, 0, 0),
            SocketAddrV6::new(Ipv6Addr::from_octets(self.destination), destination, 0, 0),
        ]
    }
}

impl Key for KeyV6 {
    fn flow(&self, protocol: Protocol) -> FlowKey {
        let [source, destination] = self.ends();
        FlowKey::new(protocol, source.into(), destination.into())
    }

    #[inline]
    fn tag(&self, protocol: Protocol, key: &HashKey) -> u32 {
        let [source, destination] = self.ends();
        low(key.sip13_words(words_v6(protocol, source, destination)))
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
pub(super) fn low(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: &str, destination: &str) -> FlowKey {
        let [source, destination] = [source, destination].map(|end| end.parse().unwrap());
        FlowKey::new(Protocol::Udp, source, destination)
    }

    #[test]
    fn the_short_form_gives_back_the_flow_and_its_hash() {
        let secret = HashKey::from_seed(4);
        for flow in [
            key("192.0.2.1:40000", "203.0.113.9:53"),
            key("[2001:db8::1]:40000", "[2001:db8::9]:53"),
        ] {
            let (again, tag) = match Compact::of(&flow).unwrap() {
                Compact::V4(key) => (key.flow(Protocol::Udp), key.tag(Protocol::Udp, &secret)),
                Compact::V6(key) => (key.flow(Protocol::Udp), key.tag(Protocol::Udp, &secret)),
            };
            assert_eq!(again, flow);
            assert_eq!(tag, low(flow.keyed_hash(&secret)));
        }
    }

    #[test]
    fn a_flow_between_families_has_no_short_form() {
        assert!(Compact::of(&key("192.0.2.1:1", "[2001:db8::9]:53")).is_none());
        assert!(Compact::of(&key("[2001:db8::9]:53", "192.0.2.1:1")).is_none());
    }

    #[test]
    fn short_forms_are_short() {
        assert_eq!((size_of::<KeyV4>(), size_of::<KeyV6>()), (12, 36));
    }
}
