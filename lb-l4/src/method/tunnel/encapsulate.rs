//! Puts a packet into another one.

use std::net::IpAddr;

use thiserror::Error;

use super::ecn::{ECN, Ecn};
use super::inner::ethertype;
use super::size::LEAST_V6;
use super::{Dscp, Encapsulation, OUTER_TTL, Tunnel};
use crate::packet::{Checksum, DropReason, Link, Offload, Packet};
use crate::wire::{Body, Headers, checksum, ipv4, ipv6, protocol};

/// Puts the packet of `headers` into `tunnel`; `headers` are then those of the outer packet.
///
/// `entropy` is a hash of the flow, the same for all its packets. The time to live of the packet is
/// to be decremented before, and that it [fits](Tunnel::fit) to be seen before. An Ethernet header
/// stays in front, with the type of what now follows it; padding behind the packet goes.
///
/// The outer "don't fragment" is set if it is set inside (RFC 2003, 3.1), and around IPv6 of more
/// than 1280 bytes (RFC 4213, 3.2.2): shorter ones must pass, in pieces if need be.
///
/// A checksum left to hardware is completed first. A train of segments goes in as one, and stays one:
/// whoever sends it cuts it with all headers around it.
///
/// Cost: 20 to 52 bytes written and the link header moved. A pass over the packet for a UDP checksum
/// or one left to hardware. Allocates nothing.
///
/// # Errors
///
/// See [`TunnelError`]. The packet is then as it was, but for padding and for a checksum completed.
///
/// # Examples
///
/// ```
/// use lb_l4::method::tunnel::{Encapsulation, Tunnel, encapsulate};
/// use lb_l4::packet::{Link, Packet};
/// use lb_l4::wire::emit::Datagram;
/// use lb_l4::wire::{Frame, parse, protocol};
///
/// let mut datagram = Vec::new();
/// Datagram::new("192.0.2.1:4000".parse()?, "203.0.113.10:53".parse()?, b"question")
///     .emit(&mut datagram);
/// let mut buffer = [vec![0; 64], datagram.clone()].concat();
/// let end = buffer.len();
/// let mut packet = Packet::new(&mut buffer, 64..end, Link::Ip);
///
/// let Frame::Ip(mut headers) = parse(packet.bytes(), Link::Ip)? else { panic!("not IP") };
/// let tunnel = Tunnel::new(Encapsulation::Ipip, "10.0.0.1".parse()?, "10.0.1.7".parse()?);
/// encapsulate(&mut packet, &mut headers, &tunnel, 7)?;
/// assert_eq!(headers.destination.to_string(), "10.0.1.7");
/// assert_eq!(headers.protocol, protocol::IPV4);
/// assert_eq!(packet.bytes()[20..], datagram);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[inline(always)]
pub fn encapsulate(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    tunnel: &Tunnel,
    entropy: u32,
) -> Result<(), TunnelError> {
    if tunnel.source.is_ipv4() != tunnel.destination.is_ipv4() {
        return Err(TunnelError::NoSource);
    }
    let train = packet.offloads().segment.is_some();
    if train && tunnel.has_udp_checksum() {
        return Err(TunnelError::Segments);
    }
    let length = headers.end.saturating_sub(headers.network);
    let overhead = tunnel.overhead();
    if length + overhead > LONGEST {
        return Err(TunnelError::TooLong);
    }
    if packet.headroom() < overhead {
        return Err(TunnelError::NoRoom);
    }
    if !train && packet.offloads().checksum == Checksum::Partial {
        complete_checksum(packet, headers);
    }
    packet.set_len(headers.end).ok_or(TunnelError::NoRoom)?;
    let link = packet.link();
    let bytes = packet
        .open_gap(headers.network, overhead)
        .ok_or(TunnelError::NoRoom)?;
    let inside = inside(headers);
    turn_outward(headers, tunnel, overhead);
    write(bytes, headers, inside, tunnel, entropy);
    let outside = self::inside(headers);
    if link == Link::Ethernet && outside != inside {
        let at = headers.network.saturating_sub(2);
        put(bytes, at, ethertype(outside).to_be_bytes());
    }
    if let Encapsulation::Gue { port } = tunnel.kind {
        headers.body = Body::Udp {
            source_port: source_port(entropy),
            destination_port: port,
            length: narrow(length + tunnel.kind.shim()),
        };
        if tunnel.has_udp_checksum() {
            set_udp_checksum(bytes, headers);
        }
    }
    Ok(())
}

/// Why a packet was not put into a tunnel.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
pub enum TunnelError {
    /// The buffer has too little room before the packet: the transport is to give more.
    #[error("no room before the packet")]
    NoRoom,
    /// The tunnel has no address of the director's in the backend's family: the operator is to give
    /// one.
    #[error("no source address in the backend's family")]
    NoSource,
    /// A train of segments, each of which would need an outer checksum of its own: it is to be cut
    /// before.
    #[error("a train of segments does not go into a tunnel with a checksum")]
    Segments,
    /// With the outer header it would be longer than any IP packet.
    #[error("longer than any IP packet")]
    TooLong,
    /// It cannot be cut: its header checksum is wrong, or a piece would hold nothing.
    #[error("cannot be cut")]
    Uncuttable,
}

impl TunnelError {
    /// The reason to drop the packet under.
    #[must_use]
    pub const fn reason(self) -> DropReason {
        match self {
            Self::NoRoom => DropReason::NoRoom,
            Self::NoSource => DropReason::Unresolved,
            Self::Segments => DropReason::Unsupported,
            Self::TooLong => DropReason::TooBig,
            Self::Uncuttable => DropReason::Malformed,
        }
    }
}

impl From<TunnelError> for DropReason {
    fn from(error: TunnelError) -> Self {
        error.reason()
    }
}

/// Makes of `headers` those of the packet around it, whose body is still to be told.
///
/// Each field where it stands: a copy of the whole would wait for its parts to leave the processor's
/// store buffer.
#[inline]
fn turn_outward(headers: &mut Headers, tunnel: &Tunnel, overhead: usize) {
    let ecn = Ecn::of(headers.traffic_class).encapsulated();
    let class = match tunnel.dscp {
        Dscp::Copy => headers.traffic_class,
        Dscp::Set(code) => (code & !DSCP_BEYOND) << ECN.count_ones(),
    };
    let around_v4 = tunnel.destination.is_ipv4();
    let length = headers.end.saturating_sub(headers.network);
    headers.dont_fragment = if around_v4 && !headers.is_ipv4() {
        length > LEAST_V6
    } else {
        !around_v4 || headers.dont_fragment
    };
    headers.protocol = match tunnel.kind {
        Encapsulation::Gre => protocol::GRE,
        Encapsulation::Gue { .. } => protocol::UDP,
        Encapsulation::Ipip => inside(headers),
    };
    headers.transport = headers.network + overhead - tunnel.kind.shim();
    headers.fragmentable = headers.transport;
    headers.end += overhead;
    headers.source = tunnel.source;
    headers.destination = tunnel.destination;
    headers.ttl = OUTER_TTL;
    headers.traffic_class = ecn.within(class);
    headers.fragment = None;
    headers.body = Body::Other;
}

/// The protocol number of a packet inside another one.
#[inline]
const fn inside(headers: &Headers) -> u8 {
    if headers.is_ipv4() {
        protocol::IPV4
    } else {
        protocol::IPV6
    }
}

/// Writes the outer headers around a packet of the protocol `inside`; the checksum in UDP is still
/// none.
#[inline]
fn write(bytes: &mut [u8], outer: &Headers, inside: u8, tunnel: &Tunnel, entropy: u32) {
    let payload_len = outer.end - outer.transport;
    match (tunnel.source, tunnel.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = ipv4::Header {
                source,
                destination,
                protocol: outer.protocol,
                ttl: outer.ttl,
                traffic_class: outer.traffic_class,
                identification: tunnel.identification,
                dont_fragment: outer.dont_fragment,
                payload_len,
            };
            put(bytes, outer.network, header.bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = ipv6::Header {
                source,
                destination,
                protocol: outer.protocol,
                ttl: outer.ttl,
                traffic_class: outer.traffic_class,
                flow_label: flow_label(entropy),
                payload_len,
            };
            put(bytes, outer.network, header.bytes());
        }
        // Refused before anything was changed.
        _ => {}
    }
    match tunnel.kind {
        Encapsulation::Gre => {
            let [a, b] = ethertype(inside).to_be_bytes();
            put(bytes, outer.transport, [0, 0, a, b]);
        }
        Encapsulation::Gue { port } => {
            let [a, b] = source_port(entropy).to_be_bytes();
            let [c, d] = port.to_be_bytes();
            let [e, f] = narrow(payload_len).to_be_bytes();
            let gue = [0, inside, 0, 0];
            put(bytes, outer.transport, [a, b, c, d, e, f, 0, 0]);
            put(bytes, outer.transport + 8, gue);
        }
        Encapsulation::Ipip => {}
    }
}

/// The label of IPv6 that tells the flow; never 0, which is the label of none (RFC 6437, 2).
const fn flow_label(entropy: u32) -> u32 {
    match entropy & 0x000f_ffff {
        0 => 1,
        label => label,
    }
}

/// The port of GUE that tells the flow: 14 bits of it among the dynamic ports (RFC 6335, 6; the
/// draft's 5.6.1 asks for these).
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are those asked for"
)]
const fn source_port(entropy: u32) -> u16 {
    0xc000 | (entropy as u16)
}

/// Does what the sender left to hardware: the checksum of TCP or UDP.
fn complete_checksum(packet: &mut Packet<'_>, headers: &Headers) {
    packet.set_offloads(Offload::default());
    let Some(field) = headers
        .l4_checksum_field()
        .filter(|_| headers.protocol_may_be_partial())
    else {
        return;
    };
    let end = headers.payload().end;
    let bytes = packet.bytes_mut();
    let Some(covered) = bytes.get(headers.transport..end) else {
        return;
    };
    // The field holds the sum of the pseudo-header, so that this is the sum of everything.
    let sum = checksum::fold(checksum::sum(covered));
    put(
        bytes,
        field,
        complement(sum, headers.protocol).to_be_bytes(),
    );
}

/// Computes the UDP checksum of the packet of `headers`, whose field is 0.
fn set_udp_checksum(bytes: &mut [u8], headers: &Headers) {
    let covered = bytes
        .get(headers.transport..headers.end)
        .unwrap_or_default();
    let sum = checksum::fold(headers.pseudo_header_sum() + checksum::sum(covered));
    let checksum = complement(sum, protocol::UDP);
    put(bytes, headers.transport + 6, checksum.to_be_bytes());
}

/// The checksum of a sum; in UDP 0 says that there is none, and its other form is sent (RFC 768).
const fn complement(sum: u16, protocol: u8) -> u16 {
    match !sum {
        0 if protocol == protocol::UDP => u16::MAX,
        checksum => checksum,
    }
}

/// Writes `value` at `at`, which is there: the gap was opened for it.
#[inline]
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = value;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a longer packet was refused"
)]
const fn narrow(length: usize) -> u16 {
    length as u16
}

/// The longest IP packet (RFC 791, 3.1), taken for IPv6 too, whose length leaves out its header.
const LONGEST: usize = 65_535;
/// Bits beyond a code point of six.
const DSCP_BEYOND: u8 = 0b1100_0000;
