//! Packets of our own, from the IP header on, with full checksums.

use std::net::{IpAddr, SocketAddr};

use super::{checksum, ipv4, ipv6, protocol, tcp, udp};

/// The time to live of packets of our own (RFC 1700's default, as most hosts have it).
pub const DEFAULT_TTL: u8 = 64;

/// A TCP segment to be written.
///
/// # Examples
///
/// ```
/// use lb_l4::packet::{Checksum, Link};
/// use lb_l4::wire::emit::TcpSegment;
/// use lb_l4::wire::{Frame, parse, tcp::flags};
///
/// let mut bytes = Vec::new();
/// TcpSegment::new("[2001:db8::1]:80".parse()?, "[2001:db8::2]:4000".parse()?, flags::RST)
///     .sequence(7)
///     .emit(&mut bytes);
/// let Frame::Ip(headers) = parse(&bytes, Link::Ip)? else { panic!("not IP") };
/// assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct TcpSegment<'a> {
    /// From whom.
    pub source: SocketAddr,
    /// To whom; if one end is IPv4 and the other IPv6, the packet is IPv6 and the former mapped.
    pub destination: SocketAddr,
    /// The sequence number. Default 0.
    pub sequence: u32,
    /// The acknowledgement number. Default 0.
    pub acknowledgement: u32,
    /// Flags, of [`tcp::flags`].
    pub flags: u8,
    /// The window, not scaled. Default 0.
    pub window: u16,
    /// Options with their kinds and lengths, padded here to a multiple of 4; what is beyond 40 bytes
    /// is cut off. Default none.
    pub options: &'a [u8],
    /// What follows the header; what is beyond the largest packet is cut off. Default none.
    pub payload: &'a [u8],
    /// Time to live. Default [`DEFAULT_TTL`].
    pub ttl: u8,
    /// Traffic class. Default 0.
    pub traffic_class: u8,
}

impl<'a> TcpSegment<'a> {
    /// A segment with these ends and flags, and nothing else.
    #[must_use]
    pub const fn new(source: SocketAddr, destination: SocketAddr, flags: u8) -> Self {
        Self {
            source,
            destination,
            sequence: 0,
            acknowledgement: 0,
            flags,
            window: 0,
            options: &[],
            payload: &[],
            ttl: DEFAULT_TTL,
            traffic_class: 0,
        }
    }

    /// Sets the sequence number.
    #[must_use]
    pub const fn sequence(mut self, sequence: u32) -> Self {
        self.sequence = sequence;
        self
    }

    /// Sets the acknowledgement number, and not the flag.
    #[must_use]
    pub const fn acknowledgement(mut self, acknowledgement: u32) -> Self {
        self.acknowledgement = acknowledgement;
        self
    }

    /// Sets the window.
    #[must_use]
    pub const fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Sets the options.
    #[must_use]
    pub const fn options(mut self, options: &'a [u8]) -> Self {
        self.options = options;
        self
    }

    /// Sets the payload.
    #[must_use]
    pub const fn payload(mut self, payload: &'a [u8]) -> Self {
        self.payload = payload;
        self
    }

    /// Sets the time to live.
    #[must_use]
    pub const fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the traffic class.
    #[must_use]
    pub const fn traffic_class(mut self, traffic_class: u8) -> Self {
        self.traffic_class = traffic_class;
        self
    }

    /// Appends the packet, from the IP header on.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let options = cut(self.options, tcp::MAX_OPTIONS);
        let len = tcp::HEADER + options.len().next_multiple_of(4);
        let payload = cut(self.payload, MAX_BEHIND_IPV4 - len);
        let ip = self.ip(len + payload.len());
        ip.emit(out);
        let begin = out.len();
        out.extend_from_slice(&self.source.port().to_be_bytes());
        out.extend_from_slice(&self.destination.port().to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.acknowledgement.to_be_bytes());
        let offset = u8::try_from(len / 4).unwrap_or(u8::MAX) << 4;
        out.extend_from_slice(&[offset, self.flags]);
        out.extend_from_slice(&self.window.to_be_bytes());
        // Checksum and urgent pointer.
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(options);
        out.resize(begin + len, tcp::kind::END);
        out.extend_from_slice(payload);
        finish(out, begin, tcp::CHECKSUM, &ip);
    }

    const fn ip(&self, payload_len: usize) -> IpHeader {
        IpHeader {
            source: self.source.ip(),
            destination: self.destination.ip(),
            protocol: protocol::TCP,
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            payload_len,
        }
    }
}

/// A UDP datagram to be written.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// From whom.
    pub source: SocketAddr,
    /// To whom; families as in [`TcpSegment::destination`].
    pub destination: SocketAddr,
    /// What follows the header; what is beyond the largest packet is cut off.
    pub payload: &'a [u8],
    /// Time to live. Default [`DEFAULT_TTL`].
    pub ttl: u8,
    /// Traffic class. Default 0.
    pub traffic_class: u8,
}

impl<'a> Datagram<'a> {
    /// A datagram with these ends.
    #[must_use]
    pub const fn new(source: SocketAddr, destination: SocketAddr, payload: &'a [u8]) -> Self {
        Self {
            source,
            destination,
            payload,
            ttl: DEFAULT_TTL,
            traffic_class: 0,
        }
    }

    /// Sets the time to live.
    #[must_use]
    pub const fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the traffic class.
    #[must_use]
    pub const fn traffic_class(mut self, traffic_class: u8) -> Self {
        self.traffic_class = traffic_class;
        self
    }

    /// Appends the packet, from the IP header on.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let payload = cut(self.payload, MAX_BEHIND_IPV4 - udp::HEADER);
        let ip = IpHeader {
            source: self.source.ip(),
            destination: self.destination.ip(),
            protocol: protocol::UDP,
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            payload_len: udp::HEADER + payload.len(),
        };
        ip.emit(out);
        let begin = out.len();
        let len = u16::try_from(ip.payload_len).unwrap_or(u16::MAX);
        out.extend_from_slice(&self.source.port().to_be_bytes());
        out.extend_from_slice(&self.destination.port().to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(payload);
        finish(out, begin, udp::CHECKSUM, &ip);
    }
}

/// An IP header of either family to be written.
#[expect(clippy::exhaustive_structs, reason = "what both families have")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IpHeader {
    /// The source address.
    pub source: IpAddr,
    /// The destination address; families as in [`TcpSegment::destination`].
    pub destination: IpAddr,
    /// The protocol behind it, of [`protocol`].
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Bytes behind the header; at most 65,515.
    pub payload_len: usize,
}

impl IpHeader {
    /// Appends the header: one that must not be fragmented, and without options or flow label.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = ipv4::Header {
                    source,
                    destination,
                    protocol: self.protocol,
                    ttl: self.ttl,
                    traffic_class: self.traffic_class,
                    identification: 0,
                    dont_fragment: true,
                    payload_len: self.payload_len,
                };
                out.extend_from_slice(&header.bytes());
            }
            (source, destination) => {
                let header = ipv6::Header {
                    source: mapped(source),
                    destination: mapped(destination),
                    protocol: self.protocol,
                    ttl: self.ttl,
                    traffic_class: self.traffic_class,
                    flow_label: 0,
                    payload_len: self.payload_len,
                };
                out.extend_from_slice(&header.bytes());
            }
        }
    }

    fn pseudo_header_sum(&self) -> u64 {
        let (source, destination) = match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => (self.source, self.destination),
            (source, destination) => (mapped(source).into(), mapped(destination).into()),
        };
        checksum::pseudo_header(source, destination, self.protocol, self.payload_len)
    }
}

/// Puts the checksum of what begins at `begin`.
fn finish(out: &mut [u8], begin: usize, field: usize, ip: &IpHeader) {
    let body = out.get_mut(begin..).unwrap_or_default();
    let sum = ip.pseudo_header_sum() + checksum::sum(body);
    let value = match !checksum::fold(sum) {
        // RFC 768: 0 is none.
        0 if ip.protocol == protocol::UDP => u16::MAX,
        value => value,
    };
    let field = body.get_mut(field..).and_then(|it| it.first_chunk_mut());
    if let Some(field) = field {
        *field = value.to_be_bytes();
    }
}

fn cut(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

const fn mapped(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// 65,535 bytes in all, less the header.
const MAX_BEHIND_IPV4: usize = u16::MAX as usize - ipv4::HEADER;
