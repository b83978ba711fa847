//! Takes a packet out of another one.

use thiserror::Error;

use super::ecn::Ecn;
use super::inner::{ethertype, gre_checksum_is_right, inner};
use super::{Encapsulation, InnerError};
use crate::packet::{DropReason, Link, Packet};
use crate::wire::{Frame, Headers, ParseError, parse, protocol, rewrite};

/// Takes the packet out of that of `headers`, and gives its own headers.
///
/// An Ethernet header stays in front, with the type of what now follows it. Congestion that the
/// outer packet met is marked on the inner one ([`Ecn::decapsulated`]); its code point and its time
/// to live stay. UDP to `gue_port` is GUE; its checksum must be right, or none.
///
/// What the tunnel may carry, and from whom, is the caller's to decide: anybody can send a packet
/// that says so.
///
/// Cost: the link header moved; a pass over the packet if it has a checksum. Allocates nothing.
///
/// # Errors
///
/// See [`DecapsulateError`]; the packet is then as it was.
///
/// # Examples
///
/// ```
/// use lb_l4::method::tunnel::{Encapsulation, Tunnel, decapsulate, encapsulate};
/// use lb_l4::packet::{Link, Packet};
/// use lb_l4::wire::emit::Datagram;
/// use lb_l4::wire::{Frame, parse};
///
/// let mut datagram = Vec::new();
/// Datagram::new("192.0.2.1:4000".parse()?, "203.0.113.10:53".parse()?, b"question")
///     .emit(&mut datagram);
/// let mut buffer = [vec![0; 64], datagram.clone()].concat();
/// let end = buffer.len();
/// let mut packet = Packet::new(&mut buffer, 64..end, Link::Ip);
/// let Frame::Ip(mut headers) = parse(packet.bytes(), Link::Ip)? else { panic!("not IP") };
/// let tunnel = Tunnel::new(Encapsulation::GUE, "fd00::1".parse()?, "fd00::7".parse()?);
/// encapsulate(&mut packet, &mut headers, &tunnel, 7)?;
///
/// let headers = decapsulate(&mut packet, &headers, Some(6080))?;
/// assert_eq!(headers.destination.to_string(), "203.0.113.10");
/// assert_eq!(packet.bytes(), datagram);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decapsulate(
    packet: &mut Packet<'_>,
    headers: &Headers,
    gue_port: Option<u16>,
) -> Result<Headers, DecapsulateError> {
    if headers.fragment.is_some() {
        return Err(DecapsulateError::Fragment);
    }
    let bytes = packet.bytes();
    // What lies behind a shorter UDP length is none of its content.
    let end = headers.payload().end;
    let body = bytes.get(headers.transport..end).unwrap_or_default();
    let found = inner(headers.protocol, body, gue_port)?;
    if !checksum_is_right(packet, headers, found.kind, body) {
        return Err(DecapsulateError::Checksum);
    }
    let content = body.get(found.offset..).unwrap_or_default();
    let Frame::Ip(inside) = parse(content, Link::Ip)? else {
        return Err(DecapsulateError::Version);
    };
    if inside.is_ipv4() != (found.protocol == protocol::IPV4) {
        return Err(DecapsulateError::Version);
    }
    let ecn = Ecn::of(inside.traffic_class)
        .decapsulated(Ecn::of(headers.traffic_class))
        .ok_or(DecapsulateError::Congestion)?;
    take_out(packet, headers, headers.transport + found.offset, &inside);
    let mut inside = inside.moved(headers.network);
    let class = ecn.within(inside.traffic_class);
    if class != inside.traffic_class {
        rewrite::set_traffic_class(packet.bytes_mut(), &mut inside, class);
    }
    Ok(inside)
}

/// Why no packet was taken out of another one; the bytes came from the network.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum DecapsulateError {
    /// The checksum of the outer UDP, or of GRE, is wrong.
    #[error("the tunnel's checksum is wrong")]
    Checksum,
    /// It met congestion and cannot say so to its sender (RFC 6040, 4.2).
    #[error("congestion that cannot be told to the sender")]
    Congestion,
    /// The outer packet is a fragment: put it together first.
    #[error("the outer packet is a fragment")]
    Fragment,
    /// The headers of the tunnel.
    #[error(transparent)]
    Header(#[from] InnerError),
    /// The headers of the inner packet.
    #[error("in the tunnel: {0}")]
    Inner(#[from] ParseError),
    /// The content is not of the protocol that the header before it names.
    #[error("content is not of the protocol that the tunnel names")]
    Version,
}

impl DecapsulateError {
    /// The reason to drop the packet under.
    #[must_use]
    pub const fn reason(self) -> DropReason {
        match self {
            Self::Checksum => DropReason::BadChecksum,
            Self::Fragment | Self::Header(InnerError::NoTunnel | InnerError::Unsupported) => {
                DropReason::Unsupported
            }
            Self::Inner(error) => error.reason(),
            Self::Congestion | Self::Header(InnerError::Truncated) | Self::Version => {
                DropReason::Malformed
            }
        }
    }
}

/// Whether what protects the whole of the tunnel's packet is right.
fn checksum_is_right(
    packet: &Packet<'_>,
    headers: &Headers,
    kind: Encapsulation,
    body: &[u8],
) -> bool {
    match kind {
        Encapsulation::Gre => gre_checksum_is_right(body),
        Encapsulation::Gue { .. } => {
            headers.checksum_is_right(packet.bytes(), packet.offloads().checksum)
        }
        Encapsulation::Ipip => true,
    }
}

/// Takes out all before the inner packet, which begins at `at`, but for the link header.
fn take_out(packet: &mut Packet<'_>, outer: &Headers, at: usize, inside: &Headers) {
    let link = packet.link();
    packet.close_gap(outer.network, at - outer.network);
    packet.set_len(outer.network + inside.end);
    if link == Link::Ethernet && outer.is_ipv4() != inside.is_ipv4() {
        let kind = ethertype(if inside.is_ipv4() {
            protocol::IPV4
        } else {
            protocol::IPV6
        });
        let place = outer
            .network
            .checked_sub(2)
            .and_then(|at| packet.bytes_mut().get_mut(at..));
        if let Some(place) = place.and_then(<[u8]>::first_chunk_mut) {
            *place = kind.to_be_bytes();
        }
    }
}
