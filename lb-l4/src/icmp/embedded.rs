//! Which flow an ICMP error is about.
#![warn(clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lbcore::flow::{FlowKey, Protocol};

use crate::wire::{Body, Headers, ipv4, ipv6, protocol};

/// An ICMP error, and the packet that it quotes.
///
/// It stands for bytes that must not change between [`embedded`] and its use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Embedded {
    /// What it says.
    pub kind: ErrorKind,
    /// The flow of the quoted packet, as its addresses and ports stand in the quotation.
    pub key: FlowKey,
    /// The sequence number of the quoted packet, if it is TCP.
    pub sequence: Option<u32>,
    pub(super) quoted: Quoted,
}

/// What an ICMP error says, in the words of both families.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A header that could not be processed (RFC 792 type 12, RFC 4443 type 4).
    ParameterProblem,
    /// Its time to live was over, or that of its fragments (RFC 792 type 11, RFC 4443 type 3).
    TimeExceeded,
    /// It does not fit a link (RFC 1191 type 3 code 4, RFC 4443 type 2).
    TooBig {
        /// Bytes that fit, from the IP header on; 0 if it does not say.
        mtu: u32,
    },
    /// It cannot be delivered (RFC 792 type 3, RFC 4443 type 1).
    Unreachable,
}

impl Embedded {
    /// The flow of a packet in the other direction than the quoted one: what to look up.
    #[must_use]
    pub const fn answered_by(&self) -> FlowKey {
        FlowKey::new(self.key.protocol, self.key.destination, self.key.source)
    }
}

/// Whether the packet is an ICMP or ICMPv6 error that may be about a session: unreachable, time
/// exceeded, parameter problem or too big.
#[inline]
#[must_use]
pub const fn is_error(headers: &Headers) -> bool {
    let Body::Icmp { kind, .. } = headers.body else {
        return false;
    };
    match headers.protocol {
        protocol::ICMP => matches!(kind, 3 | 11 | 12),
        protocol::ICMPV6 => matches!(kind, 1..=4),
        _ => false,
    }
}

/// Whether the packet is an echo request, or the first fragment of one.
#[inline]
#[must_use]
pub const fn is_echo_request(headers: &Headers) -> bool {
    matches!(
        (headers.protocol, headers.body),
        (protocol::ICMP, Body::Icmp { kind: 8, .. })
            | (protocol::ICMPV6, Body::Icmp { kind: 128, .. })
    )
}

/// The flow that an ICMP error is about; `None` if it is no such error, or quotes too little to
/// tell, a later fragment, or another protocol than TCP and UDP.
///
/// Eight bytes behind the quoted IP header are enough (RFC 792); options, extension headers and the
/// extensions of RFC 4884 may be there. Nothing is checked against a checksum. Cost: reads the
/// headers; no allocation.
///
/// # Examples
///
/// ```
/// use lb_l4::icmp::{ErrorKind, Refusal, embedded, refuse};
/// use lb_l4::packet::{Link, Packet};
/// use lb_l4::wire::emit::Datagram;
/// use lb_l4::wire::{Frame, parse};
///
/// let mut buffer = vec![0; 64];
/// Datagram::new("192.0.2.1:4000".parse()?, "203.0.113.10:53".parse()?, b"?").emit(&mut buffer);
/// let end = buffer.len();
/// let mut packet = Packet::new(&mut buffer, 64..end, Link::Ip);
/// let Frame::Ip(headers) = parse(packet.bytes(), Link::Ip)? else { panic!("not IP") };
/// let asked = headers.flow();
/// refuse(&mut packet, &headers, Refusal::PortUnreachable, headers.destination)?;
///
/// let Frame::Ip(headers) = parse(packet.bytes(), Link::Ip)? else { panic!("not IP") };
/// let error = embedded(packet.bytes(), &headers).ok_or("no error")?;
/// assert_eq!((error.kind, Some(error.key)), (ErrorKind::Unreachable, asked));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn embedded(bytes: &[u8], headers: &Headers) -> Option<Embedded> {
    let (kind, quoted) = quotation(bytes, headers)?;
    quoted.embedded(bytes, kind)
}

/// What it says, and where the packet lies that it quotes.
pub(super) fn quotation(bytes: &[u8], headers: &Headers) -> Option<(ErrorKind, Quoted)> {
    // The reassembled error would be needed, and nobody sends one so large.
    if !is_error(headers) || headers.fragment.is_some() {
        return None;
    }
    let Body::Icmp { kind, code } = headers.body else {
        return None;
    };
    let message = bytes.get(headers.transport..headers.end)?;
    let (header, original) = message.split_first_chunk::<ICMP_HEADER>()?;
    let &[_, _, _, _, length_v6, length_v4, m0, m1] = header;
    let v4 = headers.protocol == protocol::ICMP;
    let kind = match (v4, kind) {
        (true, 3) if code == 4 => ErrorKind::TooBig {
            mtu: u32::from(u16::from_be_bytes([m0, m1])),
        },
        (false, 2) => ErrorKind::TooBig {
            mtu: u32::from_be_bytes([length_v6, length_v4, m0, m1]),
        },
        (true, 3) | (false, 1) => ErrorKind::Unreachable,
        (true, 11) | (false, 3) => ErrorKind::TimeExceeded,
        _ => ErrorKind::ParameterProblem,
    };
    // RFC 4884, sections 4.1 to 4.5: in words of 32 bits for IPv4, and of 64 for IPv6, where only
    // these two have it.
    let length = match (v4, kind) {
        (true, _) => usize::from(length_v4) * 4,
        (false, ErrorKind::Unreachable | ErrorKind::TimeExceeded) => usize::from(length_v6) * 8,
        (false, _) => 0,
    };
    let start = headers.transport + ICMP_HEADER;
    let end = match length {
        // Old routers leave anything in a field that had no use.
        length if length == 0 || length > original.len() => headers.end,
        length => start + length,
    };
    Some((kind, Quoted::read(bytes, start, end, v4)?))
}

/// Where the quoted packet lies in the bytes of the error, and whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Quoted {
    /// Offset of its IP header.
    pub(super) network: usize,
    /// Offset of what is behind its IP header and extension headers.
    pub(super) transport: usize,
    /// Where the quotation ends; extensions (RFC 4884) may be behind.
    pub(super) end: usize,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    /// How long the packet was, of which this is the beginning.
    pub(super) total: usize,
}

impl Quoted {
    /// Reads the packet that begins at `network`, of which the rest may be missing.
    pub(super) fn read(bytes: &[u8], network: usize, end: usize, v4: bool) -> Option<Self> {
        let packet = bytes.get(network..end)?;
        let mut it = if v4 {
            Self::read_v4(packet, network)
        } else {
            Self::read_v6(packet, network)
        }?;
        // What is behind the packet is padding, or an extension that nobody announced.
        it.end = it.end.min(network + it.total);
        Some(it)
    }

    fn read_v4(packet: &[u8], network: usize) -> Option<Self> {
        let header = packet.first_chunk::<{ ipv4::HEADER }>()?;
        let &[
            first,
            _,
            t0,
            t1,
            _,
            _,
            f0,
            f1,
            _,
            protocol,
            _,
            _,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ] = header;
        let header_len = usize::from(first & 0xf) * 4;
        let later = u16::from_be_bytes([f0, f1]) & OFFSET != 0;
        if first >> 4 != 4 || header_len < ipv4::HEADER || header_len > packet.len() || later {
            return None;
        }
        Some(Self {
            network,
            transport: network + header_len,
            end: network + packet.len(),
            source: Ipv4Addr::new(a, b, c, d).into(),
            destination: Ipv4Addr::new(e, f, g, h).into(),
            protocol,
            total: usize::from(u16::from_be_bytes([t0, t1])),
        })
    }

    fn read_v6(packet: &[u8], network: usize) -> Option<Self> {
        let (header, mut rest) = packet.split_first_chunk::<{ ipv6::HEADER }>()?;
        let &[first, _, _, _, l0, l1, mut next, ..] = header;
        if first >> 4 != 6 {
            return None;
        }
        for _ in 0..ipv6::MAX_EXTENSIONS {
            let units = match next {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => usize::from(*rest.get(1)?) + 1,
                FRAGMENT => {
                    let &[_, _, o0, o1, ..] = rest.first_chunk::<8>()?;
                    if u16::from_be_bytes([o0, o1]) & !7 != 0 {
                        return None;
                    }
                    1
                }
                _ => break,
            };
            next = *rest.first()?;
            rest = rest.get(units * 8..)?;
        }
        let (_, addresses) = header.split_first_chunk::<8>()?;
        let (source, addresses) = addresses.split_first_chunk::<16>()?;
        let destination = addresses.first_chunk::<16>()?;
        Some(Self {
            network,
            transport: network + packet.len() - rest.len(),
            end: network + packet.len(),
            source: Ipv6Addr::from(*source).into(),
            destination: Ipv6Addr::from(*destination).into(),
            protocol: next,
            total: ipv6::HEADER + usize::from(u16::from_be_bytes([l0, l1])),
        })
    }

    /// The quoted packet as one of a flow.
    pub(super) fn embedded(self, bytes: &[u8], kind: ErrorKind) -> Option<Embedded> {
        let protocol = match self.protocol {
            protocol::TCP => Protocol::Tcp,
            protocol::UDP => Protocol::Udp,
            _ => return None,
        };
        let &[s0, s1, d0, d1, a, b, c, d] =
            bytes.get(self.transport..self.end)?.first_chunk::<8>()?;
        let source = SocketAddr::new(self.source, u16::from_be_bytes([s0, s1]));
        let destination = SocketAddr::new(self.destination, u16::from_be_bytes([d0, d1]));
        Some(Embedded {
            kind,
            key: FlowKey::new(protocol, source, destination),
            sequence: (protocol == Protocol::Tcp).then(|| u32::from_be_bytes([a, b, c, d])),
            quoted: self,
        })
    }
}

/// Bytes of the header of an error, before what it quotes.
pub(super) const ICMP_HEADER: usize = 8;

const OFFSET: u16 = 0x1fff;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
