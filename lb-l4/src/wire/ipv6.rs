//! IPv6 (RFC 8200) and its extension headers.

use std::net::Ipv6Addr;

use super::headers::body;
use super::{Body, FragmentPart, Frame, Headers, ParseError, TcpHeader, protocol, udp};

/// Bytes of the fixed header.
pub const HEADER: usize = 40;

/// As many extension headers as are walked through. RFC 8200 (section 4.1) has each of six at most
/// once, and destination options twice; hosts refuse longer chains (RFC 9098 tells why).
pub const MAX_EXTENSIONS: usize = 8;

pub(super) const PAYLOAD_LENGTH: usize = 4;
pub(super) const HOP_LIMIT: usize = 7;
pub(super) const SOURCE: usize = 8;
pub(super) const DESTINATION: usize = 24;

/// Reads the packet whose header is at `network` of `bytes`.
///
/// # Errors
///
/// As [`parse`](super::parse).
#[inline]
pub(super) fn parse(bytes: &[u8], network: usize) -> Result<Frame, ParseError> {
    let packet = bytes.get(network..).ok_or(ParseError::Truncated)?;
    let (header, rest) = packet
        .split_first_chunk::<HEADER>()
        .ok_or(ParseError::Truncated)?;
    if header[0] >> 4 != 6 {
        return Err(ParseError::Version);
    }
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = rest.get(..payload_len).ok_or(ParseError::Length)?;
    let transport = network + HEADER;
    // As in IPv4, the usual bodies are put into their place at once.
    match header[6] {
        protocol::TCP => {
            let body = Body::Tcp(TcpHeader::parse(payload)?);
            Ok(Frame::Ip(headers(
                header,
                network,
                transport,
                protocol::TCP,
                body,
            )))
        }
        protocol::UDP => {
            let body = udp::parse(payload, payload.len())?;
            Ok(Frame::Ip(headers(
                header,
                network,
                transport,
                protocol::UDP,
                body,
            )))
        }
        _ => extended(header, payload, network),
    }
}

/// A packet with extension headers, or of a protocol that is not the usual.
#[inline(never)]
fn extended(header: &[u8; HEADER], payload: &[u8], network: usize) -> Result<Frame, ParseError> {
    let mut walk = Walk {
        rest: payload,
        next: header[6],
        fragment: None,
        fragmentable: 0,
    };
    walk.run()?;
    let end = network + HEADER + payload.len();
    let body = body(walk.rest, walk.next, walk.fragment)?;
    let transport = end - walk.rest.len();
    let mut headers = headers(header, network, transport, walk.next, body);
    if walk.fragment.is_some() {
        headers.fragment = walk.fragment;
        headers.fragmentable = end - walk.fragmentable;
    }
    Ok(Frame::Ip(headers))
}

/// Of a packet that is whole.
#[inline(always)]
fn headers(
    header: &[u8; HEADER],
    network: usize,
    transport: usize,
    protocol: u8,
    body: Body,
) -> Headers {
    let (_, addresses) = header.split_at(SOURCE);
    let (source, destination) = addresses.split_at(16);
    let address = |bytes: &[u8]| {
        let octets: [u8; 16] = bytes.first_chunk().copied().unwrap_or_default();
        Ipv6Addr::from(octets).into()
    };
    Headers {
        network,
        transport,
        end: network + HEADER + usize::from(u16::from_be_bytes([header[4], header[5]])),
        source: address(source),
        destination: address(destination),
        protocol,
        ttl: header[7],
        traffic_class: header[0] << 4 | header[1] >> 4,
        fragment: None,
        dont_fragment: true,
        body,
        fragmentable: transport,
    }
}

/// The walk through extension headers.
struct Walk<'a> {
    /// What is behind the headers walked through.
    rest: &'a [u8],
    /// The protocol of `rest`.
    next: u8,
    fragment: Option<FragmentPart>,
    /// Bytes from what is fragmented to the end.
    fragmentable: usize,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), ParseError> {
        for _ in 0..MAX_EXTENSIONS {
            match self.next {
                HOP_BY_HOP if self.rest.is_empty() => return Err(ParseError::Jumbogram),
                HOP_BY_HOP | DESTINATION_OPTIONS => self.skip()?,
                ROUTING => {
                    // What the checksums cover is the last address of a route.
                    let &[_, _, _, left, ..] =
                        self.rest.first_chunk::<8>().ok_or(ParseError::Truncated)?;
                    if left != 0 {
                        return Err(ParseError::SourceRoute);
                    }
                    self.skip()?;
                }
                FRAGMENT => {
                    self.enter_fragment()?;
                    if self.fragment.is_some_and(|it| it.offset > 0) {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
        if is_extension(self.next) {
            return Err(ParseError::ExtensionChain);
        }
        Ok(())
    }

    /// Over a header that says its length in units of 8 bytes, the first not counted.
    fn skip(&mut self) -> Result<(), ParseError> {
        let &[next, units, ..] = self.rest.first_chunk::<8>().ok_or(ParseError::Truncated)?;
        self.rest = self
            .rest
            .get((usize::from(units) + 1) * 8..)
            .ok_or(ParseError::HeaderLength)?;
        self.next = next;
        Ok(())
    }

    fn enter_fragment(&mut self) -> Result<(), ParseError> {
        let (header, rest) = self
            .rest
            .split_first_chunk::<8>()
            .ok_or(ParseError::Truncated)?;
        let &[next, _, o0, o1, a, b, c, d] = header;
        let offset = u16::from_be_bytes([o0, o1]);
        (self.rest, self.next) = (rest, next);
        let part = FragmentPart {
            identification: u32::from_be_bytes([a, b, c, d]),
            offset: usize::from(offset & !7),
            more: offset & 1 != 0,
        };
        // RFC 6946: from 0 to the end is no fragment.
        if part.offset == 0 && !part.more {
            return Ok(());
        }
        if self.fragment.is_some() {
            return Err(ParseError::Fragment);
        }
        part.check(rest.len(), next)?;
        self.fragment = Some(part);
        self.fragmentable = rest.len();
        Ok(())
    }
}

#[inline]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// A header without extension headers, to be written.
#[expect(clippy::exhaustive_structs, reason = "the fields of RFC 8200")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The source address.
    pub source: Ipv6Addr,
    /// The destination address.
    pub destination: Ipv6Addr,
    /// The protocol behind it, of [`protocol`].
    pub protocol: u8,
    /// Hop limit.
    pub ttl: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// The same for all packets of a flow, 20 bits, 0 for none (RFC 6437).
    pub flow_label: u32,
    /// Bytes behind the header; at most 65,535, and more is counted as that.
    pub payload_len: usize,
}

impl Header {
    /// The 40 bytes of the header.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER] {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000f_ffff;
        let len = u16::try_from(self.payload_len).unwrap_or(u16::MAX);
        let second = u32::from(len) << 16 | u32::from(self.protocol) << 8 | u32::from(self.ttl);
        let words = [
            u128::from(first) << 32 | u128::from(second),
            self.source.to_bits(),
            self.destination.to_bits(),
        ];
        let mut bytes = [0; HEADER];
        let all = words.iter().flat_map(|word| word.to_be_bytes()).skip(8);
        for (to, from) in bytes.iter_mut().zip(all) {
            *to = from;
        }
        bytes
    }
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], network: usize) -> Result<Headers, ParseError> {
        match super::parse(bytes, network)? {
            Frame::Ip(headers) => Ok(headers),
            other => panic!("{other:?}"),
        }
    }

    const UDP: [u8; 16] = [0, 1, 0, 2, 0, 16, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9];

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let header = Header {
            source: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
            destination: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
            protocol: first,
            ttl: 9,
            traffic_class: 0xb9,
            flow_label: 0xfffa_bcde,
            payload_len: body.len(),
        };
        [&header.bytes()[..], body].concat()
    }

    fn parsed(first: u8, parts: &[&[u8]]) -> Result<Headers, ParseError> {
        parse(&packet(first, &parts.concat()), 0)
    }

    const fn options(next: u8) -> [u8; 8] {
        [next, 0, 1, 4, 0, 0, 0, 0]
    }

    const fn fragment(next: u8, offset_and_more: u16) -> [u8; 8] {
        let [a, b] = offset_and_more.to_be_bytes();
        [next, 0, a, b, 1, 2, 3, 4]
    }

    #[test]
    fn the_header_that_is_written_is_read() {
        let bytes = packet(protocol::UDP, &UDP);
        assert_eq!(
            bytes.get(..8),
            Some(&[0x6b, 0x9a, 0xbc, 0xde, 0, 16, 17, 9][..])
        );
        let headers = parse(&bytes, 0).unwrap();
        assert_eq!(headers.source.to_string(), "2001:db8::1");
        assert_eq!(headers.destination.to_string(), "2001:db8::2");
        let numbers = (headers.protocol, headers.ttl, headers.traffic_class);
        assert_eq!(numbers, (protocol::UDP, 9, 0xb9));
        assert_eq!((headers.fragment, headers.dont_fragment), (None, true));
        assert_eq!((headers.transport, headers.end), (40, 56));
        assert_eq!(headers.fragment_data(), 40..56);
        assert!(headers.header_checksum_is_right(&bytes));
    }

    #[test]
    fn the_length_is_held_to_the_bytes() {
        let mut bytes = packet(protocol::UDP, &UDP);
        assert_eq!(parse(&bytes[..55], 0), Err(ParseError::Length));
        assert_eq!(parse(&bytes[..39], 0), Err(ParseError::Truncated));
        assert_eq!(parse(&bytes, 57), Err(ParseError::Truncated));
        bytes.push(0xee);
        assert_eq!(parse(&bytes, 0).map(|it| it.end), Ok(56));
        bytes[0] = 0x7b;
        assert_eq!(parse(&bytes, 0), Err(ParseError::Version));
    }

    #[test]
    fn extension_headers_are_walked_through_to_the_ports() {
        let routing = [DESTINATION_OPTIONS, 0, 4, 0, 0, 0, 0, 0];
        let long = [&[17, 1][..], &[0; 14]].concat();
        let headers = parsed(0, &[&options(43), &routing, &long, &UDP]).unwrap();
        assert_eq!((headers.protocol, headers.transport), (17, 72));
        assert_eq!(headers.source_end().port(), 1);
        assert_eq!(headers.fragment_data(), 72..88);
        // "No next header" has nothing that is known.
        let none = parsed(60, &[&options(59), &UDP]).unwrap();
        assert_eq!((none.protocol, none.body), (59, Body::Other));
    }

    #[test]
    fn the_walk_is_bounded() {
        let chain = |n: usize| {
            let mut parts = vec![options(60); n];
            parts.last_mut().unwrap()[0] = 17;
            parsed(60, &[&parts.concat(), &UDP]).map(|it| it.transport)
        };
        assert_eq!(chain(1), Ok(48));
        assert_eq!(chain(MAX_EXTENSIONS), Ok(40 + 8 * MAX_EXTENSIONS));
        assert_eq!(chain(MAX_EXTENSIONS + 1), Err(ParseError::ExtensionChain));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let route = [17, 0, 4, 1, 0, 0, 0, 0];
        assert_eq!(parsed(43, &[&route, &UDP]), Err(ParseError::SourceRoute));
        assert_eq!(parsed(51, &[&UDP]), Err(ParseError::Authenticated));
        assert_eq!(
            parsed(60, &[&options(51), &UDP]),
            Err(ParseError::Authenticated)
        );
        assert_eq!(parsed(0, &[]), Err(ParseError::Jumbogram));
        let long = [17, 2, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            parsed(60, &[&long, &UDP[..15]]),
            Err(ParseError::HeaderLength)
        );
        for kind in [0, 43, 44, 60] {
            assert_eq!(
                parsed(kind, &[&[17; 7]]),
                Err(ParseError::Truncated),
                "{kind}"
            );
        }
        assert_eq!(parsed(60, &[]), Err(ParseError::Truncated));
    }

    #[test]
    fn a_fragment_is_told_from_a_whole_packet() {
        let first = parsed(60, &[&options(44), &fragment(60, 1), &options(17), &UDP]).unwrap();
        let part = |offset, more| {
            Some(FragmentPart {
                identification: 0x0102_0304,
                offset,
                more,
            })
        };
        assert_eq!(first.fragment, part(0, true));
        assert_eq!((first.transport, first.source_end().port()), (64, 1));
        assert_eq!(first.fragment_data(), 56..80);
        assert!(first.is_first_fragment() && !first.is_later_fragment());

        // What follows the header of a later one is data, and no header though it is named.
        let later = parsed(44, &[&fragment(60, 0x0108 | 1), &UDP]).unwrap();
        assert_eq!((later.fragment, later.protocol), (part(0x108, true), 60));
        assert_eq!((later.body, later.transport), (Body::LaterFragment, 48));
        assert_eq!(later.fragment_data(), 48..64);
        assert!(!later.is_first_fragment() && later.is_later_fragment());

        // The two reserved bits say nothing.
        let last = parsed(44, &[&fragment(17, 0x0108 | 6), &UDP]).unwrap();
        assert_eq!(last.fragment, part(0x108, false));
        let atomic = parsed(44, &[&fragment(17, 0), &UDP]).unwrap();
        assert_eq!((atomic.fragment, atomic.transport), (None, 48));
        assert_eq!(atomic.fragment_data(), 48..64);
    }

    #[test]
    fn an_impossible_fragment_is_refused() {
        let refused = Err(ParseError::Fragment);
        assert_eq!(parsed(44, &[&fragment(17, 1), &UDP[..15]]), refused);
        assert_eq!(parsed(44, &[&fragment(17, 0xfff8), &UDP[..8]]), refused);
        assert!(parsed(44, &[&fragment(17, 0xfff8), &UDP[..7]]).is_ok());
        assert_eq!(
            parsed(44, &[&fragment(44, 1), &fragment(17, 1), &UDP]),
            refused
        );
        // All headers must be in the first one (RFC 7112).
        assert_eq!(parsed(44, &[&fragment(6, 1), &UDP]), refused);
    }
}
