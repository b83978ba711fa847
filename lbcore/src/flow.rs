//! What a flow is called: protocol, addresses, ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::hash::HashKey;

/// A transport protocol that carries sessions.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Protocol {
    /// IP protocol 6 (RFC 9293).
    Tcp = 6,
    /// IP protocol 17 (RFC 768).
    Udp = 17,
}

/// One flow: its protocol and both ends, as the client's packets carry them.
///
/// # Examples
///
/// ```
/// use lbcore::flow::{FlowKey, Protocol};
///
/// let key = FlowKey::new(
///     Protocol::Tcp,
///     "192.0.2.1:40000".parse().unwrap(),
///     "203.0.113.10:80".parse().unwrap(),
/// );
/// assert_eq!(key.source.port(), 40000);
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[doc(alias = "five-tuple")]
#[expect(clippy::exhaustive_structs, reason = "a five-tuple has five parts")]
pub struct FlowKey {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The client's address and port.
    pub source: SocketAddr,
    /// The address and port that the client addressed.
    pub destination: SocketAddr,
}

impl FlowKey {
    /// The flow of these three.
    #[must_use]
    pub const fn new(protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            protocol,
            source,
            destination,
        }
    }
}

impl FlowKey {
    /// A hash that only the holder of `key` can predict, so that no client can aim at one place.
    ///
    /// SipHash-1-3 over the protocol, both addresses and both ports; a scope or flow label of an
    /// IPv6 address does not count. For tables inside one process: the value may change with the
    /// version of this crate. Cost: about 10 ns.
    ///
    /// # Examples
    ///
    /// ```
    /// use lbcore::flow::{FlowKey, Protocol};
    /// use lbcore::hash::HashKey;
    ///
    /// let [source, destination] = ["192.0.2.1:40000", "203.0.113.10:53"].map(|a| a.parse().unwrap());
    /// let tcp = FlowKey::new(Protocol::Tcp, source, destination);
    /// let udp = FlowKey::new(Protocol::Udp, source, destination);
    /// let key = HashKey::new([7; 16]);
    /// assert_ne!(tcp.keyed_hash(&key), udp.keyed_hash(&key));
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn keyed_hash(&self, key: &HashKey) -> u64 {
        match (self.source, self.destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                key.sip13_words(words_v4(self.protocol, source, destination))
            }
            (source, destination) => {
                key.sip13_words(words_v6(self.protocol, v6(source), v6(destination)))
            }
        }
    }
}

/// What [`FlowKey::keyed_hash`] hashes of a flow between IPv4 addresses.
#[inline]
pub(crate) fn words_v4(
    protocol: Protocol,
    source: SocketAddrV4,
    destination: SocketAddrV4,
) -> [u64; 2] {
    let addresses = u64::from(source.ip().to_bits()) << 32 | u64::from(destination.ip().to_bits());
    [
        addresses,
        last_word(protocol, source.port(), destination.port()),
    ]
}

/// What [`FlowKey::keyed_hash`] hashes of any other flow.
#[inline]
pub(crate) fn words_v6(
    protocol: Protocol,
    source: SocketAddrV6,
    destination: SocketAddrV6,
) -> [u64; 5] {
    let [a, b] = halves(*source.ip());
    let [c, d] = halves(*destination.ip());
    [
        a,
        b,
        c,
        d,
        last_word(protocol, source.port(), destination.port()),
    ]
}

#[inline]
fn last_word(protocol: Protocol, source: u16, destination: u16) -> u64 {
    u64::from(protocol as u8) << 32 | u64::from(source) << 16 | u64::from(destination)
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves are taken apart"
)]
fn halves(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

fn v6(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
        SocketAddr::V6(v6) => v6,
    }
}

/// How much of a source address counts: what one client is.
///
/// The default is every bit of an IPv4 address and 64 of an IPv6 one, which is the least that a
/// client is given (RFC 6177).
///
/// # Examples
///
/// ```
/// use lbcore::flow::SourcePrefix;
///
/// let prefix = SourcePrefix { v4: 24, v6: 56 };
/// assert_eq!(prefix.of("192.0.2.77".parse().unwrap()).to_string(), "192.0.2.0");
/// assert_eq!(prefix.of("2001:db8:0:1ff::1".parse().unwrap()).to_string(), "2001:db8:0:100::");
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[doc(alias = "netmask")]
#[doc(alias = "persistence granularity")]
#[expect(clippy::exhaustive_structs, reason = "there are two address families")]
pub struct SourcePrefix {
    /// Bits of an IPv4 address; 0 to 32, more is 32.
    pub v4: u8,
    /// Bits of an IPv6 address; 0 to 128, more is 128.
    pub v6: u8,
}

impl Default for SourcePrefix {
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl SourcePrefix {
    /// `address` with the bits behind the prefix cleared.
    ///
    /// An IPv4-mapped IPv6 address is the IPv4 address that it maps, so that a client is one client
    /// whichever kind of socket accepts it.
    #[must_use]
    pub fn of(self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask_v4(self.v4)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask_v6(self.v6)).into(),
        }
    }
}

fn mask_v4(bits: u8) -> u32 {
    let behind = 32_u32.saturating_sub(u32::from(bits));
    u32::MAX.checked_shl(behind).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    let behind = 128_u32.saturating_sub(u32::from(bits));
    u128::MAX.checked_shl(behind).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: &str, destination: &str) -> FlowKey {
        FlowKey::new(
            Protocol::Tcp,
            source.parse().unwrap(),
            destination.parse().unwrap(),
        )
    }

    #[test]
    fn every_part_of_a_flow_counts_in_its_hash() {
        let keys = [
            key("10.0.0.1:1", "10.0.0.2:2"),
            key("10.0.0.2:1", "10.0.0.1:2"),
            key("10.0.0.1:2", "10.0.0.2:1"),
            key("10.0.0.1:3", "10.0.0.2:2"),
            key("10.0.0.1:1", "10.0.0.2:3"),
            key("10.0.0.3:1", "10.0.0.2:2"),
            key("10.0.0.1:1", "10.0.0.3:2"),
            key("[2001:db8::1]:1", "[2001:db8::2]:2"),
            key("[2001:db8::2]:1", "[2001:db8::1]:2"),
            key("[2001:db8:0:0:1::1]:1", "[2001:db8::2]:2"),
            key("[2001:db9::1]:1", "[2001:db8::2]:2"),
            key("[2001:db8::1]:1", "[2001:db9::2]:2"),
            key("[2001:db8::1]:1", "[2001:db8::3]:2"),
            key("[2001:db8::1]:3", "[2001:db8::2]:2"),
            key("[2001:db8::1]:1", "[2001:db8::2]:3"),
            FlowKey {
                protocol: Protocol::Udp,
                ..key("10.0.0.1:1", "10.0.0.2:2")
            },
            key("10.0.0.1:1", "[2001:db8::2]:2"),
        ];
        let secret = HashKey::from_seed(1);
        let hashes: std::collections::HashSet<u64> =
            keys.iter().map(|key| key.keyed_hash(&secret)).collect();
        assert_eq!(hashes.len(), keys.len());
        assert_ne!(
            keys[0].keyed_hash(&secret),
            keys[0].keyed_hash(&HashKey::from_seed(2))
        );
    }

    #[test]
    fn a_prefix_keeps_as_many_bits_as_it_says() {
        let v4 = |bits| {
            SourcePrefix { v4: bits, v6: 0 }
                .of("255.255.255.255".parse().unwrap())
                .to_string()
        };
        assert_eq!(
            [v4(0), v4(1), v4(31), v4(32), v4(33)],
            [
                "0.0.0.0",
                "128.0.0.0",
                "255.255.255.254",
                "255.255.255.255",
                "255.255.255.255"
            ]
        );
        let v6 = |bits| {
            let all = Ipv6Addr::from_bits(u128::MAX).into();
            SourcePrefix { v4: 0, v6: bits }.of(all).to_string()
        };
        let all = Ipv6Addr::from_bits(u128::MAX).to_string();
        assert_eq!(
            [v6(0), v6(1), v6(128), v6(255)],
            ["::", "8000::", &all, &all]
        );
    }

    #[test]
    fn a_mapped_address_is_masked_as_the_ipv4_address_it_is() {
        let mapped = "::ffff:192.0.2.77".parse().unwrap();
        let prefix = SourcePrefix { v4: 24, v6: 8 };
        assert_eq!(prefix.of(mapped).to_string(), "192.0.2.0");
    }
}
