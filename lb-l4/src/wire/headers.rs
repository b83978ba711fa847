//! The headers of an IP packet, as `parse` found them.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::ops::Range;

use lbcore::flow::{FlowKey, Protocol};

use super::{ParseError, TcpHeader, checksum, tcp, udp};
use crate::packet::Checksum;

/// Numbers of the protocols behind an IP header (IANA, "Protocol Numbers").
pub mod protocol {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// An IPv4 packet (RFC 2003).
    pub const IPV4: u8 = 4;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// An IPv6 packet (RFC 2473).
    pub const IPV6: u8 = 41;
    /// GRE (RFC 2784).
    pub const GRE: u8 = 47;
    /// The IPsec authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
}

/// The headers of one IP packet: where they lie in its bytes, and what they say.
///
/// [`rewrite`](super::rewrite) changes both together; whoever writes to the bytes by himself reads
/// them again by [`parse`](super::parse).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Headers {
    /// Offset of the IP header in the bytes of the packet.
    pub network: usize,
    /// Offset of what stands behind the IP header and its options or extension headers.
    pub transport: usize,
    /// Where the IP packet ends; padding of the link lies behind.
    pub end: usize,
    /// The source address.
    pub source: IpAddr,
    /// The destination address, of the same family.
    pub destination: IpAddr,
    /// The protocol at [`transport`](Self::transport), of [`protocol`]; in a later fragment of IPv6
    /// the next header that its fragment header names.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class: six bits of DSCP and two of ECN (RFC 2474, 3168).
    pub traffic_class: u8,
    /// Which part of a fragmented packet this is; `None` if it is whole.
    ///
    /// An IPv6 packet with a fragment header that says so little as "from 0 to the end" is whole
    /// (RFC 6946).
    pub fragment: Option<FragmentPart>,
    /// Whether routers must not fragment it; always in IPv6.
    pub dont_fragment: bool,
    /// What stands at [`transport`](Self::transport).
    pub body: Body,
    /// Where that begins which is fragmented, if it is.
    pub(crate) fragmentable: usize,
}

/// Which part of a fragmented packet a packet is.
#[expect(clippy::exhaustive_structs, reason = "the three fields of RFC 791")]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FragmentPart {
    /// The same in all parts; 16 bits in IPv4.
    pub identification: u32,
    /// Where [its bytes](Headers::fragment_data) stand in the whole; a multiple of 8.
    pub offset: usize,
    /// Whether parts follow.
    pub more: bool,
}

/// What stands behind the IP header.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Body {
    /// A TCP header, whole.
    Tcp(TcpHeader),
    /// A UDP header.
    Udp {
        /// The source port; 0 if no answer is wanted.
        source_port: u16,
        /// The destination port.
        destination_port: u16,
        /// Bytes of header and payload, 8 to 65,535; more than there are in a first fragment.
        length: u16,
    },
    /// An SCTP common header.
    Sctp {
        /// The source port.
        source_port: u16,
        /// The destination port.
        destination_port: u16,
    },
    /// An ICMP or ICMPv6 header of 8 bytes; [`Headers::protocol`] says which.
    Icmp {
        /// The type of message.
        kind: u8,
        /// The code of the type.
        code: u8,
    },
    /// Not the first fragment: no header, and so no ports.
    LaterFragment,
    /// Another protocol, of which only the number is known.
    Other,
}

impl Headers {
    /// Those of no packet: what stands where headers will be written.
    pub(crate) const fn blank() -> Self {
        let none = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        Self {
            network: 0,
            transport: 0,
            end: 0,
            source: none,
            destination: none,
            protocol: 0,
            ttl: 0,
            traffic_class: 0,
            fragment: None,
            dont_fragment: false,
            body: Body::Other,
            fragmentable: 0,
        }
    }

    /// Whether it is an IPv4 packet.
    #[inline]
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// The flow it belongs to, as it is addressed now; `None` unless it is TCP or UDP with ports.
    #[inline]
    #[must_use]
    pub const fn flow(&self) -> Option<FlowKey> {
        let (protocol, from, to) = match self.body {
            Body::Tcp(TcpHeader {
                source_port,
                destination_port,
                ..
            }) => (Protocol::Tcp, source_port, destination_port),
            Body::Udp {
                source_port,
                destination_port,
                ..
            } => (Protocol::Udp, source_port, destination_port),
            _ => return None,
        };
        // One branch for both addresses: either key is then written once, and not copied.
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(FlowKey::new(
                protocol,
                SocketAddr::V4(SocketAddrV4::new(source, from)),
                SocketAddr::V4(SocketAddrV4::new(destination, to)),
            )),
            (source, destination) => Some(FlowKey::new(
                protocol,
                SocketAddr::new(source, from),
                SocketAddr::new(destination, to),
            )),
        }
    }

    /// Source address and port; the port is 0 if the packet has none.
    #[inline]
    #[must_use]
    pub const fn source_end(&self) -> SocketAddr {
        let port = match self.body {
            Body::Tcp(TcpHeader { source_port, .. })
            | Body::Udp { source_port, .. }
            | Body::Sctp { source_port, .. } => source_port,
            _ => 0,
        };
        SocketAddr::new(self.source, port)
    }

    /// Destination address and port; the port is 0 if the packet has none.
    #[inline]
    #[must_use]
    pub const fn destination_end(&self) -> SocketAddr {
        let port = match self.body {
            Body::Tcp(TcpHeader {
                destination_port, ..
            })
            | Body::Udp {
                destination_port, ..
            }
            | Body::Sctp {
                destination_port, ..
            } => destination_port,
            _ => 0,
        };
        SocketAddr::new(self.destination, port)
    }

    /// The TCP header, if it has one.
    #[inline]
    #[must_use]
    pub const fn tcp(&self) -> Option<&TcpHeader> {
        match &self.body {
            Body::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// Where the payload lies: behind the header of TCP, UDP, ICMP (8 bytes) or SCTP (12 bytes), and
    /// everything behind the IP header if there is none.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> Range<usize> {
        let (header, end) = match self.body {
            Body::Tcp(TcpHeader { len, .. }) => (len, self.end),
            Body::Udp { length, .. } => (
                udp::HEADER,
                self.end.min(self.transport + usize::from(length)),
            ),
            Body::Sctp { .. } => (SCTP_HEADER, self.end),
            Body::Icmp { .. } => (ICMP_HEADER, self.end),
            Body::LaterFragment | Body::Other => (0, self.end),
        };
        self.transport + header..end
    }

    /// The sequence numbers that a TCP segment takes: its payload bytes, one for SYN and one for
    /// FIN (RFC 9293, section 3.4); 0 if it is no TCP segment.
    #[inline]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a packet has at most 65,575 bytes"
    )]
    pub fn segment_len(&self) -> u32 {
        let Body::Tcp(tcp) = self.body else { return 0 };
        self.payload().len() as u32
            + u32::from(tcp.flags & tcp::flags::SYN != 0)
            + u32::from(tcp.flags & tcp::flags::FIN != 0)
    }

    /// Whether it is the first of several fragments: it has the ports, and others follow.
    #[inline]
    #[must_use]
    pub const fn is_first_fragment(&self) -> bool {
        matches!(self.fragment, Some(FragmentPart { offset: 0, .. }))
    }

    /// Whether it is a fragment without ports.
    #[inline]
    #[must_use]
    pub const fn is_later_fragment(&self) -> bool {
        matches!(self.body, Body::LaterFragment)
    }

    /// The bytes of a fragment, which stand at its offset in the whole; of a packet that is whole,
    /// all behind the IP header.
    ///
    /// In a first fragment of IPv6 the extension headers behind the fragment header are among them.
    #[inline]
    #[must_use]
    pub const fn fragment_data(&self) -> Range<usize> {
        self.fragmentable..self.end
    }

    /// The same headers in a packet that begins `by` bytes earlier, such as one that has got another
    /// header before it.
    #[inline]
    #[must_use]
    pub const fn moved(mut self, by: usize) -> Self {
        self.network += by;
        self.transport += by;
        self.end += by;
        self.fragmentable += by;
        self
    }

    /// Whether no router may send it on: its time to live is 1, or already over.
    #[inline]
    #[must_use]
    pub const fn is_at_its_last_hop(&self) -> bool {
        self.ttl <= 1
    }

    /// Offset of the checksum of TCP, UDP, ICMP or ICMPv6 in the bytes of the packet.
    ///
    /// `None` in a later fragment, and for protocols without one that is known here. (SCTP has a
    /// CRC that covers no address.)
    #[inline]
    #[must_use]
    pub const fn l4_checksum_field(&self) -> Option<usize> {
        match self.body {
            Body::Tcp(_) => Some(self.transport + tcp::CHECKSUM),
            Body::Udp { .. } => Some(self.transport + udp::CHECKSUM),
            Body::Icmp { .. } => Some(self.transport + ICMP_CHECKSUM),
            Body::Sctp { .. } | Body::LaterFragment | Body::Other => None,
        }
    }

    /// Whether the source can never be the source of a packet on a network: "this network",
    /// loopback, multicast or broadcast (RFC 1122 section 3.2.1.3, RFC 4291 sections 2.5.3 and 2.7,
    /// RFC 6890); `::` is the source of neighbour discovery (RFC 4861) and is one here.
    #[must_use]
    pub const fn has_martian_source(&self) -> bool {
        match self.source {
            IpAddr::V4(v4) => {
                v4.octets()[0] == 0 || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast()
            }
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast(),
        }
    }

    /// Whether the checksum of the IPv4 header is right; IPv6 has none, and it is.
    #[must_use]
    pub fn header_checksum_is_right(&self, bytes: &[u8]) -> bool {
        if !self.is_ipv4() {
            return true;
        }
        let header = bytes.get(self.network..self.transport).unwrap_or_default();
        checksum::fold(checksum::sum(header)) == u16::MAX
    }

    /// Whether the checksum of TCP, UDP, ICMP or ICMPv6 is right; also true if there is none to
    /// check: a fragment, another protocol, or UDP without one.
    ///
    /// Cost: reads all of the packet.
    #[must_use]
    pub fn checksum_is_right(&self, bytes: &[u8], checksum: Checksum) -> bool {
        let Some(field) = self.l4_checksum_field() else {
            return true;
        };
        let Some(&found) = bytes.get(field..).and_then(|it| it.first_chunk()) else {
            return false;
        };
        if self.fragment.is_some() {
            return true;
        }
        let udp = matches!(self.body, Body::Udp { .. });
        let pseudo = self.pseudo_header_sum();
        if checksum == Checksum::Partial && self.protocol_may_be_partial() {
            return checksum::fold(pseudo) % u16::MAX == u16::from_be_bytes(found) % u16::MAX;
        }
        if udp && found == [0, 0] {
            return true;
        }
        let body = self.transport..if udp { self.payload().end } else { self.end };
        let body = bytes.get(body).unwrap_or_default();
        checksum::fold(pseudo + checksum::sum(body)) == u16::MAX
    }

    /// The sum of the pseudo-header that the checksum of its protocol covers; 0 for ICMP.
    #[must_use]
    pub fn pseudo_header_sum(&self) -> u64 {
        let len = match self.body {
            Body::Icmp { .. } if self.is_ipv4() => return 0,
            Body::Udp { length, .. } => usize::from(length),
            _ => self.end - self.transport,
        };
        checksum::pseudo_header(self.source, self.destination, self.protocol, len)
    }

    /// `Checksum::Partial` is said of TCP and UDP alone.
    pub(crate) const fn protocol_may_be_partial(&self) -> bool {
        matches!(self.body, Body::Tcp(_) | Body::Udp { .. })
    }
}

/// What stands at `transport`, where `bytes` begin; they end with the packet.
#[inline(never)]
pub(super) fn body(
    bytes: &[u8],
    protocol: u8,
    fragment: Option<FragmentPart>,
) -> Result<Body, ParseError> {
    match fragment {
        None => read_body(bytes, protocol, bytes.len()),
        Some(FragmentPart { offset: 1.., .. }) => Ok(Body::LaterFragment),
        // A first fragment without the whole header is an attack on filters (RFC 1858, RFC 7112).
        Some(_) => match read_body(bytes, protocol, usize::MAX) {
            Err(ParseError::Truncated) => Err(ParseError::Fragment),
            result => result,
        },
    }
}

/// `whole` is what the unfragmented packet may have at most.
#[inline]
fn read_body(bytes: &[u8], protocol: u8, whole: usize) -> Result<Body, ParseError> {
    match protocol {
        protocol::TCP => TcpHeader::parse(bytes).map(Body::Tcp),
        protocol::UDP => udp::parse(bytes, whole),
        protocol::ICMP | protocol::ICMPV6 => {
            let &[kind, code, ..] = bytes
                .first_chunk::<ICMP_HEADER>()
                .ok_or(ParseError::Truncated)?;
            Ok(Body::Icmp { kind, code })
        }
        protocol::SCTP => {
            let &[a, b, c, d, ..] = bytes
                .first_chunk::<SCTP_HEADER>()
                .ok_or(ParseError::Truncated)?;
            Ok(Body::Sctp {
                source_port: u16::from_be_bytes([a, b]),
                destination_port: u16::from_be_bytes([c, d]),
            })
        }
        protocol::AUTHENTICATION => Err(ParseError::Authenticated),
        _ => Ok(Body::Other),
    }
}

/// RFC 792 and RFC 4443: type, code, checksum and four bytes that depend on the type.
const ICMP_HEADER: usize = 8;
const ICMP_CHECKSUM: usize = 2;
/// RFC 9260, section 3.1.
const SCTP_HEADER: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Link;
    use crate::wire::emit::{Datagram, IpHeader, TcpSegment};
    use crate::wire::{Frame, parse};

    fn read(bytes: &[u8]) -> Headers {
        match parse(bytes, Link::Ip) {
            Ok(Frame::Ip(headers)) => headers,
            other => panic!("{other:?}"),
        }
    }

    /// An IP packet with this behind the header.
    fn packet(source: &str, protocol: u8, body: &[u8]) -> Vec<u8> {
        let source: IpAddr = source.parse().unwrap();
        let mut bytes = Vec::new();
        let header = IpHeader {
            source,
            destination: source,
            protocol,
            ttl: 2,
            traffic_class: 0,
            payload_len: body.len(),
        };
        header.emit(&mut bytes);
        bytes.extend(body);
        bytes
    }

    fn segment(flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (from, to) = (
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap(),
        );
        TcpSegment::new(from, to, flags)
            .options(&[1, 1, 1, 1])
            .payload(payload)
            .emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_flow_has_the_protocol_and_both_ends() {
        let tcp = read(&segment(0, b"")).flow().unwrap();
        assert_eq!(tcp.protocol, Protocol::Tcp);
        assert_eq!(tcp.source.to_string(), "192.0.2.1:1");
        assert_eq!(tcp.destination.to_string(), "192.0.2.2:2");
        let mut udp = Vec::new();
        Datagram::new(tcp.destination, tcp.source, b"").emit(&mut udp);
        let udp = read(&udp);
        assert_eq!(udp.flow().unwrap().protocol, Protocol::Udp);
        assert_eq!(udp.source_end(), tcp.destination);
        assert_eq!((udp.tcp(), udp.segment_len()), (None, 0));
        assert_eq!(udp.l4_checksum_field(), Some(26));

        let sctp = read(&packet(
            "192.0.2.1",
            protocol::SCTP,
            &[0, 7, 0, 9, 0, 0, 0, 0, 1, 2, 3, 4, 5],
        ));
        assert_eq!(sctp.flow(), None);
        let ports = (sctp.source_end().port(), sctp.destination_end().port());
        assert_eq!((ports, sctp.payload()), ((7, 9), 32..33));
        assert_eq!(sctp.l4_checksum_field(), None);
        let icmp = read(&packet(
            "192.0.2.1",
            protocol::ICMP,
            &[3, 4, 5, 6, 7, 8, 9, 1, 2],
        ));
        assert_eq!(icmp.body, Body::Icmp { kind: 3, code: 4 });
        assert_eq!((icmp.flow(), icmp.source_end().port()), (None, 0));
        assert_eq!(
            (icmp.payload(), icmp.l4_checksum_field()),
            (28..29, Some(22))
        );
        let other = read(&packet("2001:db8::1", protocol::GRE, &[1, 2, 3]));
        assert_eq!((other.payload(), other.l4_checksum_field()), (40..43, None));
    }

    #[test]
    fn headers_move_with_what_is_put_before_them() {
        let bytes = segment(tcp::flags::ACK, b"payload");
        let headers = read(&bytes).moved(14);
        let frame = [&[2; 12][..], &[8, 0], &bytes].concat();
        assert_eq!(parse(&frame, Link::Ethernet), Ok(Frame::Ip(headers)));
    }

    #[test]
    fn a_header_must_be_whole_to_be_read() {
        for (number, len) in [
            (protocol::ICMP, 8),
            (protocol::ICMPV6, 8),
            (protocol::SCTP, 12),
            (protocol::UDP, 8),
            (protocol::TCP, 20),
        ] {
            let mut header = vec![0x50; len];
            if number == protocol::UDP {
                header = vec![0, 1, 0, 2, 0, 8, 0, 0];
            }
            assert!(read_body(&header, number, len).is_ok(), "{number}");
            header.pop();
            assert_eq!(read_body(&header, number, len), Err(ParseError::Truncated));
        }
        let authenticated = read_body(&[0; 64], protocol::AUTHENTICATION, 64);
        assert_eq!(authenticated, Err(ParseError::Authenticated));
        assert_eq!(read_body(&[], protocol::IPV4, 0), Ok(Body::Other));
    }

    #[test]
    fn a_segment_is_as_long_as_the_sequence_numbers_it_takes() {
        for (flags, payload, len) in [
            (tcp::flags::ACK, &b""[..], 0),
            (tcp::flags::SYN, b"", 1),
            (tcp::flags::FIN | tcp::flags::ACK, b"", 1),
            (tcp::flags::SYN | tcp::flags::FIN, b"12345", 7),
            (tcp::flags::PSH, b"12345", 5),
        ] {
            let bytes = segment(flags, payload);
            let headers = read(&bytes);
            assert_eq!(headers.segment_len(), len);
            assert_eq!(headers.payload(), 44..44 + payload.len());
            assert_eq!(headers.l4_checksum_field(), Some(36));
        }
    }

    #[test]
    fn a_source_that_cannot_be_is_told() {
        for (source, martian) in [
            ("0.0.0.0", true),
            ("0.255.0.1", true),
            ("1.0.0.1", false),
            ("126.255.255.255", false),
            ("127.1.2.3", true),
            ("223.255.255.255", false),
            ("224.0.0.1", true),
            ("240.0.0.1", false),
            ("255.255.255.255", true),
            ("::", true),
            ("::1", true),
            ("::2", false),
            ("ff02::1", true),
            ("fe80::1", false),
        ] {
            let headers = read(&packet(source, protocol::GRE, &[1]));
            assert_eq!(headers.has_martian_source(), martian, "{source}");
        }
    }

    #[test]
    fn the_last_hop_is_at_one() {
        let mut bytes = segment(0, b"");
        for (ttl, last) in [(0, true), (1, true), (2, false), (255, false)] {
            *bytes.get_mut(8).unwrap() = ttl;
            assert_eq!(read(&bytes).is_at_its_last_hop(), last);
        }
    }

    #[test]
    fn a_checksum_of_a_part_says_nothing_and_one_of_a_whole_does() {
        let mut bytes = segment(tcp::flags::ACK, b"payload!");
        let whole = read(&bytes);
        assert!(whole.checksum_is_right(&bytes, Checksum::Complete));
        assert!(!whole.checksum_is_right(&bytes, Checksum::Partial));
        *bytes.last_mut().unwrap() ^= 1;
        assert!(!whole.checksum_is_right(&bytes, Checksum::Complete));
        assert!(!whole.checksum_is_right(&bytes[..30], Checksum::Complete));
        assert!(whole.header_checksum_is_right(&bytes));
        *bytes.get_mut(6).unwrap() = 0x20;
        let first = read(&bytes);
        assert!(first.checksum_is_right(&bytes, Checksum::Complete));
        assert!(!first.header_checksum_is_right(&bytes));
    }

    #[test]
    fn icmp_of_ipv4_covers_itself_and_that_of_ipv6_its_addresses() {
        let echo = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
        let v4 = packet("192.0.2.1", protocol::ICMP, &echo);
        let headers = read(&v4);
        assert_eq!(headers.pseudo_header_sum(), 0);
        for checksum in [Checksum::Complete, Checksum::Partial] {
            assert!(headers.checksum_is_right(&v4, checksum));
        }
        let v6 = packet("2001:db8::1", protocol::ICMPV6, &echo);
        let headers = read(&v6);
        let sum = checksum::pseudo_header(headers.source, headers.destination, 58, 8);
        assert_eq!(headers.pseudo_header_sum(), sum);
        assert!(!headers.checksum_is_right(&v6, Checksum::Complete));
    }
}
