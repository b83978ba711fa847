//! What an operator says of a tunnel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lbcore::address_list::Prefix;
use thiserror::Error;

use super::{Encapsulation, Tunnel, TunnelError};

/// What becomes of the differentiated services code point of the client's packet.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Dscp {
    /// It is copied to the outer header (RFC 2983, the uniform model).
    #[default]
    Copy,
    /// The outer header has this one, 0..=63 (the pipe model); higher bits are left out.
    Set(u8),
}

/// Whether the UDP header of GUE has a checksum.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum UdpChecksum {
    /// None over IPv4; over IPv6 one, since IPv6 has none of its own to protect its addresses.
    #[default]
    ByFamily,
    /// One over both. Costs a pass over the packet.
    Computed,
    /// None over both. RFC 6935, 5 permits it to tunnels whose receiver takes packets without one on
    /// this port alone, and RFC 6936, 5 says what else must hold: the inner packet has a checksum of
    /// its own, and a packet that arrives at the wrong host does no harm there.
    Zero,
}

impl UdpChecksum {
    /// Whether one is computed toward `destination`.
    pub(super) const fn is_computed(self, destination: IpAddr) -> bool {
        match self {
            Self::ByFamily => destination.is_ipv6(),
            Self::Computed => true,
            Self::Zero => false,
        }
    }
}

/// How packets of a service are tunnelled to its backends.
///
/// # Examples
///
/// ```
/// use lb_l4::method::tunnel::{Encapsulation, TunnelConfig};
///
/// let config = TunnelConfig::default()
///     .kind(Encapsulation::Ipip)
///     .source_v4("10.0.0.1".parse()?)
///     .source_spread("172.16.0.0/16".parse()?);
/// config.check()?;
/// let tunnel = config.tunnel("10.0.1.7".parse()?, 0x1234_5678)?;
/// assert_eq!(tunnel.source.to_string(), "172.16.86.120");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TunnelConfig {
    /// How packets are wrapped. Default [`Encapsulation::Ipip`].
    pub kind: Encapsulation,
    /// The director's address toward backends with IPv4. Default none: there are no such backends.
    pub source_v4: Option<Ipv4Addr>,
    /// The director's address toward backends with IPv6. Default none.
    pub source_v6: Option<Ipv6Addr>,
    /// Addresses that stand in for that of the same family, one by the hash of the flow. Default
    /// none.
    ///
    /// So that a receiver's queues, which tell flows by the addresses of IPIP and GRE, share the
    /// load. Nobody has to answer on them, but errors of routers on the way are sent to them: the
    /// prefix has to be routed to the director, or those errors are lost. Backends must not filter
    /// by reverse path (`rp_filter=1`). GUE needs none.
    pub source_spread: Option<Prefix>,
    /// What becomes of the code point. Default [`Dscp::Copy`].
    pub dscp: Dscp,
    /// Whether GUE has a UDP checksum. Default [`UdpChecksum::ByFamily`].
    pub udp_checksum: UdpChecksum,
    /// Bytes of the largest IP packet that passes between the director and the backends, outer
    /// header included. At least 1280. Default 1500, of Ethernet.
    ///
    /// A router that takes less says so, and the client is told; but IPv6 clients need not go below
    /// 1280 bytes, so a path that does not take those with their tunnel around them has to be
    /// known here.
    pub mtu: u16,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            kind: Encapsulation::default(),
            source_v4: None,
            source_v6: None,
            source_spread: None,
            dscp: Dscp::default(),
            udp_checksum: UdpChecksum::default(),
            mtu: 1500,
        }
    }
}

impl TunnelConfig {
    /// Sets how packets are wrapped.
    #[must_use]
    pub const fn kind(mut self, kind: Encapsulation) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the director's address toward backends with IPv4.
    #[must_use]
    pub const fn source_v4(mut self, source: Ipv4Addr) -> Self {
        self.source_v4 = Some(source);
        self
    }

    /// Sets the director's address toward backends with IPv6.
    #[must_use]
    pub const fn source_v6(mut self, source: Ipv6Addr) -> Self {
        self.source_v6 = Some(source);
        self
    }

    /// Sets the addresses that stand in for the director's by the hash of the flow.
    #[must_use]
    pub const fn source_spread(mut self, prefix: Prefix) -> Self {
        self.source_spread = Some(prefix);
        self
    }

    /// Sets what becomes of the code point.
    #[must_use]
    pub const fn dscp(mut self, dscp: Dscp) -> Self {
        self.dscp = dscp;
        self
    }

    /// Sets whether GUE has a UDP checksum.
    #[must_use]
    pub const fn udp_checksum(mut self, udp_checksum: UdpChecksum) -> Self {
        self.udp_checksum = udp_checksum;
        self
    }

    /// Sets the bytes of the largest IP packet that passes.
    #[must_use]
    pub const fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Whether it can be worked by; for whoever takes it, once.
    ///
    /// # Errors
    ///
    /// [`TunnelConfigError`] names the field.
    pub fn check(&self) -> Result<(), TunnelConfigError> {
        if self.source_v4.is_none() && self.source_v6.is_none() {
            return Err(TunnelConfigError::NoSource);
        }
        if self.mtu < 1280 {
            return Err(TunnelConfigError::Mtu(self.mtu));
        }
        match self.dscp {
            Dscp::Set(code @ 64..) => Err(TunnelConfigError::Dscp(code)),
            _ if matches!(self.kind, Encapsulation::Gue { port: 0 }) => {
                Err(TunnelConfigError::Port)
            }
            _ => Ok(()),
        }
    }

    /// The tunnel of a flow to the backend `destination`; `entropy` is a hash of the flow.
    ///
    /// Cost: a few instructions.
    ///
    /// # Errors
    ///
    /// [`TunnelError::NoSource`] when there is no address of the director's in its family.
    #[inline]
    pub fn tunnel(&self, destination: IpAddr, entropy: u32) -> Result<Tunnel, TunnelError> {
        let source = match destination {
            IpAddr::V4(_) => self.source_v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.source_v6.map(IpAddr::V6),
        };
        let source = source.ok_or(TunnelError::NoSource)?;
        Ok(Tunnel {
            kind: self.kind,
            source: self.spread(source, entropy),
            destination,
            dscp: self.dscp,
            udp_checksum: self.udp_checksum,
            identification: 0,
        })
    }

    /// Whether there is an address of the director's toward the backend `destination`.
    #[inline]
    #[must_use]
    pub const fn has_source_for(&self, destination: IpAddr) -> bool {
        match destination {
            IpAddr::V4(_) => self.source_v4.is_some(),
            IpAddr::V6(_) => self.source_v6.is_some(),
        }
    }

    /// Whether `address` is one that its tunnels may start at, so that errors about them come there.
    #[must_use]
    pub fn is_source(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) if self.source_v4 == Some(v4) => true,
            IpAddr::V6(v6) if self.source_v6 == Some(v6) => true,
            _ => self
                .source_spread
                .is_some_and(|prefix| prefix.contains(address)),
        }
    }

    /// What stands in for `source`.
    #[inline]
    fn spread(&self, source: IpAddr, entropy: u32) -> IpAddr {
        let Some(prefix) = self.source_spread else {
            return source;
        };
        match (source, prefix.address()) {
            (IpAddr::V4(_), IpAddr::V4(first)) => {
                let hosts = u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
                let host = entropy & hosts;
                // The first and the last are the network and its broadcast, which routers refuse
                // as sources (RFC 1812, 5.3.7); a prefix of two addresses has neither (RFC 3021).
                let edge = hosts > 1 && (host == 0 || host == hosts);
                let host = if edge { 1 } else { host };
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | host))
            }
            (IpAddr::V6(_), IpAddr::V6(first)) => {
                let hosts = u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(
                    first.to_bits() | u128::from(entropy) & hosts,
                ))
            }
            _ => source,
        }
    }
}

/// What is wrong with a [`TunnelConfig`]; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TunnelConfigError {
    /// A code point has six bits.
    #[error("dscp {0} is above 63")]
    Dscp(u8),
    /// No IPv6 packet of the least size that everybody must take would pass, nor much of IPv4.
    #[error("mtu {0} is below 1280")]
    Mtu(u16),
    /// The director has no address to send from.
    #[error("neither source_v4 nor source_v6 is set")]
    NoSource,
    /// Nothing listens on port 0.
    #[error("the port of GUE is 0")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn both() -> TunnelConfig {
        TunnelConfig::default()
            .source_v4(Ipv4Addr::new(10, 0, 0, 1))
            .source_v6("fd00::1".parse().unwrap())
    }

    fn source(config: &TunnelConfig, destination: &str, entropy: u32) -> IpAddr {
        config.tunnel(ip(destination), entropy).unwrap().source
    }

    #[test]
    fn the_source_is_of_the_backend_s_family() {
        assert_eq!(source(&both(), "10.0.1.7", 9), ip("10.0.0.1"));
        assert_eq!(source(&both(), "fd00::7", 9), ip("fd00::1"));
        let v4 = TunnelConfig::default().source_v4(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(v4.tunnel(ip("fd00::7"), 0), Err(TunnelError::NoSource));
        let v6 = TunnelConfig::default().source_v6("fd00::1".parse().unwrap());
        assert_eq!(v6.tunnel(ip("10.0.1.7"), 0), Err(TunnelError::NoSource));
    }

    #[test]
    fn a_spread_source_is_the_prefix_and_the_hash() {
        let v4 = both().source_spread("172.16.0.0/16".parse().unwrap());
        assert_eq!(source(&v4, "10.0.1.7", 0xdead_0203), ip("172.16.2.3"));
        assert_eq!(source(&v4, "fd00::7", 0xdead_0203), ip("fd00::1"));
        let v6 = both().source_spread("100::/64".parse().unwrap());
        assert_eq!(source(&v6, "fd00::7", 0xdead_0203), ip("100::dead:203"));
        assert_eq!(source(&v6, "10.0.1.7", 0xdead_0203), ip("10.0.0.1"));
        let narrow = both().source_spread("100::/120".parse().unwrap());
        assert_eq!(source(&narrow, "fd00::7", 0xdead_0203), ip("100::3"));
    }

    #[test]
    fn a_spread_source_is_no_network_and_no_broadcast() {
        let v4 = both().source_spread("172.16.0.0/16".parse().unwrap());
        assert_eq!(source(&v4, "10.0.1.7", 0x0001_0000), ip("172.16.0.1"));
        assert_eq!(source(&v4, "10.0.1.7", 0x0001_ffff), ip("172.16.0.1"));
        assert_eq!(source(&v4, "10.0.1.7", 0x0001_fffe), ip("172.16.255.254"));
        let pair = both().source_spread("172.16.0.2/31".parse().unwrap());
        assert_eq!(source(&pair, "10.0.1.7", 2), ip("172.16.0.2"));
        assert_eq!(source(&pair, "10.0.1.7", 3), ip("172.16.0.3"));
        let one = both().source_spread("172.16.0.2/32".parse().unwrap());
        assert_eq!(source(&one, "10.0.1.7", 3), ip("172.16.0.2"));
        let all = both().source_spread("0.0.0.0/0".parse().unwrap());
        assert_eq!(source(&all, "10.0.1.7", 0x0102_0304), ip("1.2.3.4"));
    }

    #[test]
    fn it_knows_the_addresses_that_errors_come_to() {
        let config = both().source_spread("172.16.0.0/16".parse().unwrap());
        for own in ["10.0.0.1", "fd00::1", "172.16.3.4"] {
            assert!(config.is_source(ip(own)), "{own}");
        }
        for other in ["10.0.0.2", "fd00::2", "172.17.0.1"] {
            assert!(!config.is_source(ip(other)), "{other}");
        }
        assert!(!both().is_source(ip("172.16.3.4")));
    }

    #[test]
    fn what_cannot_work_is_refused_by_its_field() {
        assert_eq!(both().check(), Ok(()));
        assert_eq!(
            TunnelConfig::default().check(),
            Err(TunnelConfigError::NoSource)
        );
        assert_eq!(both().mtu(1280).check(), Ok(()));
        assert_eq!(both().mtu(1279).check(), Err(TunnelConfigError::Mtu(1279)));
        assert_eq!(both().dscp(Dscp::Set(63)).check(), Ok(()));
        assert_eq!(
            both().dscp(Dscp::Set(64)).check(),
            Err(TunnelConfigError::Dscp(64))
        );
        let port = |port| both().kind(Encapsulation::Gue { port }).check();
        assert_eq!((port(1), port(0)), (Ok(()), Err(TunnelConfigError::Port)));
    }

    #[test]
    fn a_checksum_is_computed_where_it_is_asked_for() {
        let [v4, v6] = ["10.0.0.1", "fd00::1"].map(ip);
        let of = |which: UdpChecksum| [which.is_computed(v4), which.is_computed(v6)];
        assert_eq!(of(UdpChecksum::ByFamily), [false, true]);
        assert_eq!(of(UdpChecksum::Computed), [true, true]);
        assert_eq!(of(UdpChecksum::Zero), [false, false]);
    }
}
