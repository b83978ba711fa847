//! The packet carried inside another one: IPIP, GRE and GUE.
//!
//! ```text
//!   [Ethernet] ├ outer IP ┼ GRE, or UDP and GUE ┼ the client's packet, byte by byte ┤
//!               director ──────────────────────▶ backend
//! ```
//!
//! The backend takes the outer headers off, finds the client's packet addressed to the virtual
//! service, which it owns, and answers the client itself. So a director sees one direction alone.
//!
//! - **Families.** IPv4 and IPv6, each in either.
//! - **Time to live.** The inner one is not touched here: the forwarder has taken one off, as for
//!   every packet that it sends on (RFC 2003, 3.1). The outer one is [`OUTER_TTL`].
//! - **Congestion.** The ECN field is copied outwards and merged inwards ([`ecn`], RFC 6040); the
//!   rest of the traffic class by [`Dscp`].
//! - **Size.** [`Tunnel::fit`] says before anything is changed whether a packet passes, is to be cut
//!   ([`cut`]), or is to be answered with the size that would pass. Nothing vanishes silently.
//! - **Spreading.** Receivers and routers spread packets by the outer header, which would be the same
//!   for all; so a hash of the flow goes into it: into the UDP source port for GUE, into the flow
//!   label for IPv6 (RFC 6438), and for IPIP and GRE over IPv4, whose headers have no place for it,
//!   into the source address if [`TunnelConfig::source_spread`] gives room.
//! - **Offloads.** A checksum left to hardware is completed first, since hardware would look for it
//!   in the outer headers. A train of segments stays one, as transports cut trains in tunnels too;
//!   where each segment needs an outer checksum of its own, it has to be cut before.
//!
//! An IPv6 tunnel has no encapsulation limit option (RFC 2473, 4.1.1): it leads to one backend, and
//! the backend's own routing must not send its content into a tunnel again.
#![warn(clippy::indexing_slicing)]

mod config;
pub mod cut;
mod decapsulate;
pub mod ecn;
mod encapsulate;
mod inner;
mod size;

pub use config::{Dscp, TunnelConfig, TunnelConfigError, UdpChecksum};
pub use decapsulate::{DecapsulateError, decapsulate};
pub use encapsulate::{TunnelError, encapsulate};
pub use inner::{Inner, InnerError, inner};
pub(crate) use size::LEAST_V6;
pub use size::{Fit, overhead};

use std::net::IpAddr;

/// How the client's packet is wrapped.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Encapsulation {
    /// Generic Routing Encapsulation without key, checksum or sequence number (RFC 2784).
    Gre,
    /// Generic UDP Encapsulation, variant 0, without optional fields, to this port
    /// (draft-ietf-intarea-gue-09).
    Gue {
        /// The UDP port that the backend listens on; [`GUE_PORT`] is the registered one.
        port: u16,
    },
    /// An IP header alone (RFC 2003 and RFC 2473).
    #[default]
    Ipip,
}

impl Encapsulation {
    /// GUE to the registered port.
    pub const GUE: Self = Self::Gue { port: GUE_PORT };

    /// Bytes between the outer IP header and the inner one.
    #[must_use]
    pub const fn shim(self) -> usize {
        match self {
            Self::Gre => 4,
            Self::Gue { .. } => 12,
            Self::Ipip => 0,
        }
    }
}

/// One tunnel as one packet goes through it; made by [`TunnelConfig::tunnel`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tunnel {
    /// How the packet is wrapped.
    pub kind: Encapsulation,
    /// The outer source: an address of the director's.
    pub source: IpAddr,
    /// The outer destination: the backend. Of the same family as the source.
    pub destination: IpAddr,
    /// What becomes of the differentiated services code point. Default [`Dscp::Copy`].
    pub dscp: Dscp,
    /// Whether GUE has a UDP checksum. Default [`UdpChecksum::ByFamily`].
    pub udp_checksum: UdpChecksum,
    /// The identification of an outer IPv4 header that routers may fragment. Default 0.
    ///
    /// It has to differ between the packets that may be under way at once between two addresses
    /// (RFC 6864, 4.3), so the forwarder counts it up. Others have no use for it.
    pub identification: u16,
}

impl Tunnel {
    /// The tunnel between these addresses, with defaults for the rest.
    ///
    /// `source` and `destination` have to be of one family: [`encapsulate`](fn@encapsulate) refuses others.
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l4::method::tunnel::{Encapsulation, Tunnel};
    ///
    /// let tunnel = Tunnel::new(Encapsulation::GUE, "10.0.0.1".parse()?, "10.0.1.7".parse()?);
    /// assert_eq!(tunnel.overhead(), 32);
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    pub const fn new(kind: Encapsulation, source: IpAddr, destination: IpAddr) -> Self {
        Self {
            kind,
            source,
            destination,
            dscp: Dscp::Copy,
            udp_checksum: UdpChecksum::ByFamily,
            identification: 0,
        }
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

    /// Sets the identification of an outer IPv4 header.
    #[must_use]
    pub const fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// Whether each packet has a UDP checksum around it.
    #[must_use]
    pub const fn has_udp_checksum(&self) -> bool {
        matches!(self.kind, Encapsulation::Gue { .. })
            && self.udp_checksum.is_computed(self.destination)
    }

    /// Bytes that it adds to each packet.
    #[must_use]
    pub const fn overhead(&self) -> usize {
        overhead(self.kind, self.destination)
    }
}

/// The port that IANA has registered for GUE.
pub const GUE_PORT: u16 = 6080;

/// The time to live, or hop limit, of outer headers: what RFC 1700 advises for any IP packet, and
/// enough for the networks of one operator.
pub const OUTER_TTL: u8 = 64;
