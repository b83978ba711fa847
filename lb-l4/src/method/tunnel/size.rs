//! What a tunnel adds, and whether a packet passes it.

use std::net::IpAddr;

use super::{Encapsulation, Tunnel};
use crate::wire::{Headers, ipv4, ipv6};

/// Bytes that `kind` adds to each packet on its way to `destination`: 20 to 52.
///
/// # Examples
///
/// ```
/// use lb_l4::method::tunnel::{Encapsulation, overhead};
///
/// assert_eq!(overhead(Encapsulation::Ipip, "10.0.1.7".parse()?), 20);
/// assert_eq!(overhead(Encapsulation::GUE, "fd00::7".parse()?), 52);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub const fn overhead(kind: Encapsulation, destination: IpAddr) -> usize {
    let header = match destination {
        IpAddr::V4(_) => ipv4::HEADER,
        IpAddr::V6(_) => ipv6::HEADER,
    };
    header + kind.shim()
}

/// What is to be done with a packet before it goes into a tunnel.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "it passes whole, in pieces, or not"
)]
pub enum Fit {
    /// It passes whole: [`encapsulate`](fn@super::encapsulate) it.
    Whole,
    /// It is longer and may be cut: [`cut::encapsulate`](super::cut::encapsulate) it.
    Pieces,
    /// It is longer and may not be cut: drop it, and tell its sender that packets of at most `mtu`
    /// bytes pass ("fragmentation needed", RFC 1191; "packet too big", RFC 8201).
    TooBig {
        /// Bytes of the largest packet of the sender's that passes; never below 1280 for IPv6.
        mtu: usize,
    },
}

impl Tunnel {
    /// What is to be done with the packet of `headers`, where IP packets of at most `mtu` bytes pass
    /// between the tunnel's ends.
    ///
    /// An IPv4 packet that may be fragmented is cut before it goes in, so that its receiver puts it
    /// together and no backend has to do so for its tunnels (RFC 2003, 5.1 permits either). IPv6
    /// senders need not go below 1280 bytes (RFC 8200, 5): where less passes, the outer packet is
    /// cut (RFC 2473, 7.1).
    ///
    /// # Examples
    ///
    /// ```
    /// use lb_l4::method::tunnel::{Encapsulation, Fit, Tunnel};
    /// use lb_l4::packet::Link;
    /// use lb_l4::wire::emit::Datagram;
    /// use lb_l4::wire::{Frame, parse};
    ///
    /// let mut bytes = Vec::new();
    /// Datagram::new("[2001:db8::1]:4000".parse()?, "[2001:db8::80]:53".parse()?, &[0; 1420])
    ///     .emit(&mut bytes);
    /// let Frame::Ip(headers) = parse(&bytes, Link::Ip)? else { panic!("not IP") };
    /// let tunnel = Tunnel::new(Encapsulation::Ipip, "fd00::1".parse()?, "fd00::7".parse()?);
    /// assert_eq!(tunnel.fit(&headers, 1508), Fit::Whole);
    /// assert_eq!(tunnel.fit(&headers, 1500), Fit::TooBig { mtu: 1460 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn fit(&self, headers: &Headers, mtu: usize) -> Fit {
        let length = headers.end.saturating_sub(headers.network);
        let room = mtu.saturating_sub(self.overhead());
        if length <= room {
            return Fit::Whole;
        }
        if headers.is_ipv4() {
            return if headers.dont_fragment {
                Fit::TooBig { mtu: room }
            } else {
                Fit::Pieces
            };
        }
        if length <= LEAST_V6 {
            return Fit::Pieces;
        }
        Fit::TooBig {
            mtu: room.max(LEAST_V6),
        }
    }
}

/// The size of packet that every IPv6 link must carry (RFC 8200, 5).
pub(crate) const LEAST_V6: usize = 1280;
