//! Errors about the outer packets of our tunnels.
#![warn(clippy::indexing_slicing)]

use std::net::IpAddr;

use super::embedded::{Embedded, ErrorKind, Quoted, quotation};
use super::message::Message;
use super::refuse::is_host;
use super::rewrite::{LEAST_V4, LEAST_V6};
use super::{Refusal, Unanswerable};
use crate::method::tunnel::{Encapsulation, inner};
use crate::packet::{Link, Offload, Packet};
use crate::wire::ethernet;
use crate::wire::{Headers, protocol};

/// An ICMP error about a packet in a tunnel, and the packet of a client's in that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tunnelled {
    /// How the client's packet is wrapped, to be held to what the service has.
    pub kind: Encapsulation,
    /// Where the tunnel begins: an address of the forwarder's, to be held to that.
    pub source: IpAddr,
    /// Where it ends: a backend, to be held to that of the session.
    pub destination: IpAddr,
    /// Bytes of the headers around the client's packet.
    pub overhead: usize,
    /// The client's packet. Its [`key`](Embedded::key) is the session's own, from the client to the
    /// service: the tunnel changes nothing in it. `kind` is what was said of the outer packet.
    pub inner: Embedded,
    /// How long the outer packet was.
    outer_total: usize,
}

/// The tunnel, and the flow in it, that an ICMP error is about.
///
/// Of the tunnels that are known here (see [`inner`]); UDP is taken as GUE whatever its port, which
/// [`kind`](Tunnelled::kind) tells. `None` if it is no error, about no tunnel, or quotes less of it
/// than the inner ports: routers that quote eight bytes alone (RFC 792; RFC 1812 wants more) tell
/// nobody whom it is about.
#[must_use]
pub fn tunnelled(bytes: &[u8], headers: &Headers) -> Option<Tunnelled> {
    let (kind, outer) = quotation(bytes, headers)?;
    let behind = bytes.get(outer.transport..outer.end)?;
    let &[_, _, d0, d1] = behind.first_chunk()?;
    let port = u16::from_be_bytes([d0, d1]);
    let found = inner(outer.protocol, behind, Some(port)).ok()?;
    let ipv4 = found.protocol == protocol::IPV4;
    let at = outer.transport + found.offset;
    let inner = Quoted::read(bytes, at, outer.end, ipv4)?;
    Some(Tunnelled {
        kind: found.kind,
        source: outer.source,
        destination: outer.destination,
        overhead: inner.network - outer.network,
        inner: inner.embedded(bytes, kind)?,
        outer_total: outer.total,
    })
}

impl Tunnelled {
    /// What the client is to be told: that less fits, or that the service cannot be reached. `None`
    /// for a parameter problem: it is in a header that the client did not write.
    ///
    /// A time exceeded inside the tunnel is a host unreachable outside (RFC 2003, section 4.3). An
    /// MTU has the overhead taken off. A router that does not say it is taken to mean the next
    /// lower size in use (RFC 1191, section 7).
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self.inner.kind {
            ErrorKind::TooBig { mtu } => {
                let mtu = match mtu {
                    0 => plateau_below(self.outer_total),
                    mtu => mtu,
                };
                let mtu = mtu_inside(mtu, self.overhead, self.inner.key.source.ip());
                Some(Refusal::TooBig { mtu })
            }
            ErrorKind::TimeExceeded | ErrorKind::Unreachable => Some(Refusal::HostUnreachable),
            ErrorKind::ParameterProblem => None,
        }
    }

    /// Turns the error into one of our own, from `source` to the client, about the client's packet,
    /// in the buffer; what the router quoted of it is quoted. The link's addresses are the caller's
    /// to write; [`Headers`] do not hold any more. Cost: reads what is quoted.
    ///
    /// # Errors
    ///
    /// [`Unanswerable`], and the packet is as it was: `source` is not of the client's family, the
    /// client's address is not one host's, or there is nothing to say (see
    /// [`refusal`](Self::refusal)).
    pub fn answer(
        &self,
        packet: &mut Packet<'_>,
        headers: &Headers,
        source: IpAddr,
    ) -> Result<(), Unanswerable> {
        let client = self.inner.key.source.ip();
        if !is_host(client) {
            return Err(Unanswerable::Forbidden);
        }
        if source.is_ipv4() != client.is_ipv4() {
            return Err(Unanswerable::Family);
        }
        let message = Message {
            refusal: self.refusal().ok_or(Unanswerable::Forbidden)?,
            source,
            destination: client,
        };
        let quoted = self.inner.quoted;
        // At least an outer and an error's header are in front, which are as long.
        let gap = quoted
            .network
            .checked_sub(headers.network + message.front())
            .ok_or(Unanswerable::NoRoom)?;
        let len = (quoted.end - quoted.network).min(message.quotes());
        packet
            .set_len(quoted.network + len)
            .ok_or(Unanswerable::NoRoom)?;
        let bytes = packet
            .close_gap(headers.network, gap)
            .ok_or(Unanswerable::NoRoom)?;
        let ip = bytes.get_mut(headers.network..).unwrap_or_default();
        message.write(ip).ok_or(Unanswerable::NoRoom)?;
        if packet.link() == Link::Ethernet {
            set_ether_type(packet.bytes_mut(), headers.network, client);
        }
        packet.set_offloads(Offload::default());
        Ok(())
    }
}

/// The last two bytes of the link's header say which family is behind it.
fn set_ether_type(bytes: &mut [u8], network: usize, address: IpAddr) {
    let kind = match address {
        IpAddr::V4(_) => ethernet::IPV4,
        IpAddr::V6(_) => ethernet::IPV6,
    };
    let header = bytes.get_mut(..network);
    if let Some(field) = header.and_then(|it| it.last_chunk_mut()) {
        *field = kind.to_be_bytes();
    }
}

/// What fits into a tunnel that adds `overhead` bytes to packets of the family of `inside`, over a
/// path of `mtu` bytes.
///
/// Never less than any sender must be able to send: 68 bytes (RFC 791), or 1280 (RFC 8200, section
/// 5), over which IPv6 senders do not go down; what is larger than the tunnel then has to be
/// fragmented outside (RFC 2473, section 7.1).
///
/// # Examples
///
/// ```
/// use lb_l4::icmp::mtu_inside;
///
/// let v4 = "192.0.2.1".parse()?;
/// assert_eq!([mtu_inside(1500, 20, v4), mtu_inside(80, 20, v4)], [1480, 68]);
/// let v6 = "2001:db8::1".parse()?;
/// assert_eq!([mtu_inside(1500, 40, v6), mtu_inside(1300, 40, v6)], [1460, 1280]);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn mtu_inside(mtu: u32, overhead: usize, inside: IpAddr) -> u32 {
    let overhead = u32::try_from(overhead).unwrap_or(u32::MAX);
    let least = if inside.is_ipv4() { LEAST_V4 } else { LEAST_V6 };
    mtu.saturating_sub(overhead).max(least)
}

/// The largest MTU in use that is less than `total` (RFC 1191, table 7-1).
fn plateau_below(total: usize) -> u32 {
    const PLATEAUS: [u16; 10] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
    let below = PLATEAUS.into_iter().find(|&it| usize::from(it) < total);
    below.map_or(LEAST_V4, u32::from)
}
