//! IPv4 (RFC 791).

use std::net::Ipv4Addr;

use super::headers::body;
use super::{Body, FragmentPart, Frame, Headers, ParseError, TcpHeader, checksum, protocol, udp};

/// Bytes of a header without options.
pub const HEADER: usize = 20;

/// Where the fields lie that are rewritten.
pub(super) const TOTAL_LENGTH: usize = 2;
pub(super) const TTL: usize = 8;
pub(super) const CHECKSUM: usize = 10;
pub(super) const SOURCE: usize = 12;
pub(super) const DESTINATION: usize = 16;

/// Reads the packet whose header is at `network` of `bytes`.
///
/// # Errors
///
/// As [`parse`](super::parse).
#[inline]
pub(super) fn parse(bytes: &[u8], network: usize) -> Result<Frame, ParseError> {
    let packet = bytes.get(network..).ok_or(ParseError::Truncated)?;
    let header = packet
        .first_chunk::<HEADER>()
        .ok_or(ParseError::Truncated)?;
    let len = header_len(header, packet)?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total < len {
        return Err(ParseError::HeaderLength);
    }
    let behind = packet.get(len..total).ok_or(ParseError::Length)?;
    let flags = u16::from_be_bytes([header[6], header[7]]);
    // The usual bodies are read and put into their place at once. If all met in one variable, it
    // would be written by fields and copied by words, which stalls and doubles the cost.
    match (flags & (MORE | OFFSET), header[9]) {
        (0, protocol::TCP) => {
            let body = Body::Tcp(TcpHeader::parse(behind)?);
            Ok(Frame::Ip(headers(header, network, len, None, body)))
        }
        (0, protocol::UDP) => {
            let body = udp::parse(behind, behind.len())?;
            Ok(Frame::Ip(headers(header, network, len, None, body)))
        }
        (part, protocol) => {
            let fragment = match part {
                0 => None,
                _ => Some(fragment(header, flags, behind.len(), protocol)?),
            };
            let body = body(behind, protocol, fragment)?;
            Ok(Frame::Ip(headers(header, network, len, fragment, body)))
        }
    }
}

/// `len` is that of the header with its options.
#[inline(always)]
fn headers(
    header: &[u8; HEADER],
    network: usize,
    len: usize,
    fragment: Option<FragmentPart>,
    body: Body,
) -> Headers {
    let address = |at: [u8; 4]| Ipv4Addr::from_octets(at).into();
    Headers {
        network,
        transport: network + len,
        end: network + usize::from(u16::from_be_bytes([header[2], header[3]])),
        source: address([header[12], header[13], header[14], header[15]]),
        destination: address([header[16], header[17], header[18], header[19]]),
        protocol: header[9],
        ttl: header[8],
        traffic_class: header[1],
        fragment,
        dont_fragment: u16::from_be_bytes([header[6], header[7]]) & DONT_FRAGMENT != 0,
        body,
        fragmentable: network + len,
    }
}

/// Checks version and options.
#[inline]
fn header_len(header: &[u8; HEADER], packet: &[u8]) -> Result<usize, ParseError> {
    match header[0] {
        0x45 => Ok(HEADER),
        0x46..=0x4f => {
            let len = usize::from(header[0] & 0xf) * 4;
            let options = packet.get(HEADER..len).ok_or(ParseError::Truncated)?;
            check_options(options)?;
            Ok(len)
        }
        0x40..0x45 => Err(ParseError::HeaderLength),
        _ => Err(ParseError::Version),
    }
}

/// Refuses source routes: behind one, the address that the checksums cover is not the one in the
/// header, and RFC 7126 (sections 4.3 and 4.4) says to drop them. Other options pass as they are.
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), ParseError> {
    while let &[kind, ref rest @ ..] = options {
        options = match kind {
            END_OF_OPTIONS => return Ok(()),
            NO_OPERATION => rest,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(ParseError::SourceRoute),
            _ => {
                // The length counts the kind and itself.
                let more = rest.first().map_or(0, |&len| usize::from(len));
                match more.checked_sub(1).filter(|&it| it > 0) {
                    Some(more) => rest.get(more..).ok_or(ParseError::HeaderLength)?,
                    None => return Err(ParseError::HeaderLength),
                }
            }
        };
    }
    Ok(())
}

#[cold]
fn fragment(
    header: &[u8; HEADER],
    flags: u16,
    len: usize,
    protocol: u8,
) -> Result<FragmentPart, ParseError> {
    let part = FragmentPart {
        identification: u32::from(u16::from_be_bytes([header[4], header[5]])),
        offset: usize::from(flags & OFFSET) * 8,
        more: flags & MORE != 0,
    };
    part.check(len, protocol)?;
    Ok(part)
}

impl FragmentPart {
    /// Refuses what cannot be put together, or not without doubt.
    pub(super) const fn check(&self, len: usize, protocol: u8) -> Result<(), ParseError> {
        let uneven = self.more && !len.is_multiple_of(8);
        let beyond = self.offset + len > u16::MAX as usize;
        // RFC 1858, section 3.2.2, and RFC 3128: flags of TCP in a second fragment.
        let hides_flags = protocol == protocol::TCP && self.offset == 8;
        if uneven || beyond || hides_flags || len == 0 {
            return Err(ParseError::Fragment);
        }
        Ok(())
    }
}

/// A header without options, to be written.
#[expect(clippy::exhaustive_structs, reason = "the fields of RFC 791")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The source address.
    pub source: Ipv4Addr,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// The protocol behind it, of [`protocol`].
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub traffic_class: u8,
    /// Of meaning only if it may be fragmented (RFC 6864).
    pub identification: u16,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// Bytes behind the header; at most 65,515, and more is counted as that.
    pub payload_len: usize,
}

impl Header {
    /// The 20 bytes of the header, with a right checksum.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER] {
        let total = u16::try_from(self.payload_len + HEADER).unwrap_or(u16::MAX);
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        let first = u16::from_be_bytes([0x45, self.traffic_class]);
        let hops = u16::from_be_bytes([self.ttl, self.protocol]);
        let words = [first, total, self.identification, flags, hops].map(u64::from);
        let addresses = [self.source, self.destination].map(|it| u64::from(it.to_bits()));
        let sum = words.into_iter().chain(addresses).sum();
        let [k0, k1] = (!checksum::fold(sum)).to_be_bytes();
        let [t0, t1] = total.to_be_bytes();
        let [i0, i1] = self.identification.to_be_bytes();
        let [f0, f1] = flags.to_be_bytes();
        let [a, b, c, d] = self.source.octets();
        let [e, f, g, h] = self.destination.octets();
        [
            0x45,
            self.traffic_class,
            t0,
            t1,
            i0,
            i1,
            f0,
            f1,
            self.ttl,
            self.protocol,
            k0,
            k1,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ]
    }
}

const DONT_FRAGMENT: u16 = 0x4000;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], network: usize) -> Result<Headers, ParseError> {
        match super::parse(bytes, network)? {
            Frame::Ip(headers) => Ok(headers),
            other => panic!("{other:?}"),
        }
    }

    const BASE: Header = Header {
        source: Ipv4Addr::new(192, 0, 2, 1),
        destination: Ipv4Addr::new(198, 51, 100, 2),
        protocol: protocol::UDP,
        ttl: 9,
        traffic_class: 0xb9,
        identification: 0x1234,
        dont_fragment: false,
        payload_len: 16,
    };

    /// UDP with 8 bytes of payload.
    const UDP: [u8; 16] = [0, 1, 0, 2, 0, 16, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9];

    /// The packet with these bytes of its header changed.
    fn packet(body: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
        let header = Header {
            payload_len: body.len(),
            ..BASE
        };
        let mut bytes = [&header.bytes()[..], body].concat();
        for &(at, value) in changes {
            *bytes.get_mut(at).unwrap() = value;
        }
        bytes
    }

    fn with_options(options: &[u8]) -> Result<Headers, ParseError> {
        let first = 0x45 + u8::try_from(options.len() / 4).unwrap();
        parse(&packet(&[options, &UDP].concat(), &[(0, first)]), 0)
    }

    #[test]
    fn the_header_that_is_written_is_read() {
        let bytes = packet(&UDP, &[]);
        let headers = parse(&bytes, 0).unwrap();
        assert_eq!(headers.source, BASE.source);
        assert_eq!(headers.destination, BASE.destination);
        let numbers = (headers.protocol, headers.ttl, headers.traffic_class);
        assert_eq!(numbers, (protocol::UDP, 9, 0xb9));
        assert_eq!((headers.fragment, headers.dont_fragment), (None, false));
        assert_eq!((headers.transport, headers.end), (20, 36));
        assert_eq!(headers.fragment_data(), 20..36);
        assert!(headers.header_checksum_is_right(&bytes));
        assert_eq!(bytes.get(2..6), Some(&[0, 36, 0x12, 0x34][..]));
        let largest = Header {
            payload_len: 70_000,
            dont_fragment: true,
            ..BASE
        };
        let header = largest.bytes();
        assert_eq!((header[2], header[3], header[6]), (0xff, 0xff, 0x40));
    }

    #[test]
    fn lengths_are_held_to_each_other_and_to_the_bytes() {
        let parsed = |changes: &[(usize, u8)]| parse(&packet(&UDP, changes), 0).map(|it| it.end);
        assert_eq!(parsed(&[]), Ok(36));
        assert_eq!(parsed(&[(0, 0x44)]), Err(ParseError::HeaderLength));
        assert_eq!(parsed(&[(0, 0x40)]), Err(ParseError::HeaderLength));
        assert_eq!(parsed(&[(0, 0x4f)]), Err(ParseError::Truncated));
        assert_eq!(parsed(&[(0, 0x55)]), Err(ParseError::Version));
        assert_eq!(parsed(&[(0, 0x3f)]), Err(ParseError::Version));
        assert_eq!(parsed(&[(3, 37)]), Err(ParseError::Length));
        assert_eq!(parsed(&[(3, 19)]), Err(ParseError::HeaderLength));
        assert_eq!(parsed(&[(3, 20)]), Err(ParseError::Truncated));
        assert_eq!(parsed(&[(3, 20), (9, 99)]), Ok(20));
        // A datagram in its packet: to the last byte, beyond it, and shorter than its header.
        assert_eq!(parsed(&[(25, 17)]), Err(ParseError::Length));
        assert_eq!(parsed(&[(25, 8)]), Ok(36));
        assert_eq!(parsed(&[(25, 7)]), Err(ParseError::HeaderLength));
        assert_eq!(parse(&[0x45; 19], 0), Err(ParseError::Truncated));
        assert_eq!(parse(&[0x45; 19], 20), Err(ParseError::Truncated));
    }

    #[test]
    fn options_pass_but_for_routes_and_nonsense() {
        for options in [
            &[1, 1, 1, 1][..],
            &[0x94, 4, 0, 0],
            &[7, 7, 4, 0, 0, 0, 0, 1],
            // Behind the end nothing is looked at.
            &[0, 131, 3, 4],
            &[68, 4, 5, 0, 1, 1, 1, 0],
        ] {
            let headers = with_options(options).unwrap();
            assert_eq!(headers.transport, 20 + options.len());
        }
        for kind in [131, 137] {
            let route = with_options(&[1, kind, 3, 4]);
            assert_eq!(route, Err(ParseError::SourceRoute));
        }
        for options in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
            assert_eq!(with_options(&options), Err(ParseError::HeaderLength));
        }
    }

    #[test]
    fn a_fragment_is_told_from_a_whole_packet() {
        let parsed = |flags: [u8; 2]| {
            parse(&packet(&UDP, &[(6, flags[0]), (7, flags[1])]), 0)
                .map(|it| (it.fragment, it.body == Body::LaterFragment))
        };
        let part = |offset, more| {
            Some(FragmentPart {
                identification: 0x1234,
                offset,
                more,
            })
        };
        assert_eq!(parsed([0x40, 0]), Ok((None, false)));
        // The reserved bit says nothing.
        assert_eq!(parsed([0x80, 0]), Ok((None, false)));
        assert_eq!(parsed([0x20, 0]), Ok((part(0, true), false)));
        assert_eq!(parsed([0x20, 1]), Ok((part(8, true), true)));
        assert_eq!(parsed([0, 1]), Ok((part(8, false), true)));
        assert_eq!(parsed([0x01, 0x02]), Ok((part(258 * 8, false), true)));
        // 65,520 and 16 more bytes are one more than there can be; 65,512 are not.
        assert_eq!(parsed([0x1f, 0xfe]), Err(ParseError::Fragment));
        assert_eq!(parsed([0x1f, 0xfd]), Ok((part(65_512, false), true)));
    }

    #[test]
    fn the_last_byte_of_the_largest_packet_is_the_last_of_a_fragment() {
        let last = |len: usize| {
            let body = vec![0; len];
            parse(&packet(&body, &[(6, 0x1f), (7, 0xff)]), 0).map(|it| it.end)
        };
        assert_eq!(last(7), Ok(27));
        assert_eq!(last(8), Err(ParseError::Fragment));
    }

    #[test]
    fn a_fragment_that_can_only_be_an_attack_is_refused() {
        let parsed = |protocol, offset, more, len| {
            let body = vec![0x50; len];
            let changes = [(6, if more { 0x20 } else { 0 }), (7, offset), (9, protocol)];
            parse(&packet(&body, &changes), 0).map(|it| it.is_later_fragment())
        };
        // Not a multiple of 8, though more follow.
        assert_eq!(parsed(99, 1, true, 15), Err(ParseError::Fragment));
        assert_eq!(parsed(99, 1, false, 15), Ok(true));
        assert_eq!(parsed(99, 1, true, 16), Ok(true));
        assert_eq!(parsed(99, 1, false, 0), Err(ParseError::Fragment));
        // The flags of TCP hidden in a second fragment, or a header that ends in it.
        assert_eq!(
            parsed(protocol::TCP, 1, true, 16),
            Err(ParseError::Fragment)
        );
        assert_eq!(parsed(protocol::TCP, 2, true, 16), Ok(true));
        assert_eq!(
            parsed(protocol::TCP, 0, true, 16),
            Err(ParseError::Fragment)
        );
        assert_eq!(parsed(protocol::TCP, 0, true, 24), Ok(false));
        // The length of a datagram counts all of its fragments.
        assert_eq!(parsed(protocol::UDP, 0, true, 8), Ok(false));
    }
}
