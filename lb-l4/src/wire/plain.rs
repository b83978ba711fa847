//! The short way for what nearly every packet is: TCP or UDP behind an IP header and nothing else.
//!
//! It says what [`parse`] says, and writes each field where it will stand. Values that
//! are handed up in parts through several results are copied in wider pieces than they were written
//! in, and each such copy waits some nanoseconds for the parts to leave the store buffer.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    Body, Frame, Headers, ParseError, TcpHeader, arp, ethernet, ipv4, ipv6, parse, protocol, tcp,
    udp,
};
use crate::packet::Link;

/// What a frame carries whose headers, if it has any, were written elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Carries {
    Arp(arp::Message),
    Ip,
    Other,
}

/// As [`parse`], with the headers of an IP packet written to `out`; of any other frame, and of one
/// that is refused, something or nothing may be.
#[inline(always)]
pub(crate) fn parse_into(
    bytes: &[u8],
    link: Link,
    out: &mut Headers,
) -> Result<Carries, ParseError> {
    let plain = match link {
        Link::Ethernet => match bytes.first_chunk::<{ ethernet::HEADER }>() {
            Some(&[.., 0x08, 0x00]) => read_v4(bytes, ethernet::HEADER, out),
            Some(&[.., 0x86, 0xdd]) => read_v6(bytes, ethernet::HEADER, out),
            _ => None,
        },
        Link::Ip => match bytes.first() {
            Some(0x45) => read_v4(bytes, 0, out),
            Some(0x60..=0x6f) => read_v6(bytes, 0, out),
            _ => None,
        },
    };
    match plain {
        Some(()) => Ok(Carries::Ip),
        None => parse_any(bytes, link, out),
    }
}

/// The long way.
#[inline(never)]
fn parse_any(bytes: &[u8], link: Link, out: &mut Headers) -> Result<Carries, ParseError> {
    Ok(match parse(bytes, link)? {
        Frame::Arp(message) => Carries::Arp(message),
        Frame::Ip(headers) => {
            *out = headers;
            Carries::Ip
        }
        Frame::Other => Carries::Other,
    })
}

#[inline(always)]
fn read_v4(bytes: &[u8], network: usize, out: &mut Headers) -> Option<()> {
    let packet = bytes.get(network..)?;
    let header = packet.first_chunk::<{ ipv4::HEADER }>()?;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    // Neither options nor fragments: the two flags and 13 bits behind "don't fragment" are 0.
    if header[0] != 0x45 || fragment & 0x3fff != 0 {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let behind = packet.get(ipv4::HEADER..total)?;
    read_body(behind, header[9], &mut out.body)?;
    let &[.., a, b, c, d, e, f, g, h] = header;
    out.network = network;
    out.transport = network + ipv4::HEADER;
    out.fragmentable = network + ipv4::HEADER;
    out.end = network + total;
    out.source = Ipv4Addr::new(a, b, c, d).into();
    out.destination = Ipv4Addr::new(e, f, g, h).into();
    out.protocol = header[9];
    out.ttl = header[8];
    out.traffic_class = header[1];
    out.fragment = None;
    out.dont_fragment = fragment & 0x4000 != 0;
    Some(())
}

#[inline(always)]
fn read_v6(bytes: &[u8], network: usize, out: &mut Headers) -> Option<()> {
    let packet = bytes.get(network..)?;
    let (header, rest) = packet.split_first_chunk::<{ ipv6::HEADER }>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let behind = rest.get(..len)?;
    read_body(behind, header[6], &mut out.body)?;
    let address = |at: usize| {
        let octets = header.get(at..).and_then(|it| it.first_chunk::<16>());
        octets.map(|it| Ipv6Addr::from(*it))
    };
    let (source, destination) = (address(ipv6::SOURCE)?, address(ipv6::DESTINATION)?);
    out.network = network;
    out.transport = network + ipv6::HEADER;
    out.fragmentable = network + ipv6::HEADER;
    out.end = network + ipv6::HEADER + len;
    out.source = source.into();
    out.destination = destination.into();
    out.protocol = header[6];
    out.ttl = header[7];
    out.traffic_class =
        u8::try_from(u16::from_be_bytes([header[0], header[1]]) >> 4 & 0xff).ok()?;
    out.fragment = None;
    out.dont_fragment = true;
    Some(())
}

#[inline(always)]
fn read_body(behind: &[u8], protocol: u8, out: &mut Body) -> Option<()> {
    if protocol == protocol::TCP {
        let header = behind.first_chunk::<{ tcp::HEADER }>()?;
        let len = usize::from(header[12] >> 4) * 4;
        if len < tcp::HEADER || len > behind.len() {
            return None;
        }
        let word = |at: [u8; 4]| u32::from_be_bytes(at);
        let &[a, b, c, d, e, f, g, h, i, j, k, l, _, flags, m, n, ..] = header;
        *out = Body::Tcp(TcpHeader {
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
            sequence: word([e, f, g, h]),
            acknowledgement: word([i, j, k, l]),
            flags,
            window: u16::from_be_bytes([m, n]),
            len,
        });
        return Some(());
    }
    if protocol != protocol::UDP {
        return None;
    }
    let header = behind.first_chunk::<{ udp::HEADER }>()?;
    let &[a, b, c, d, e, f, _, _] = header;
    let length = u16::from_be_bytes([e, f]);
    if usize::from(length) < udp::HEADER || usize::from(length) > behind.len() {
        return None;
    }
    *out = Body::Udp {
        source_port: u16::from_be_bytes([a, b]),
        destination_port: u16::from_be_bytes([c, d]),
        length,
    };
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::emit::{Datagram, TcpSegment};

    /// Packets that are nearly right: of either family and protocol, on either link, with one byte
    /// changed and some cut off.
    fn nearly_right() -> impl Strategy<Value = (Vec<u8>, Link)> {
        let kind = (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            0..3_usize,
            any::<u8>(),
        );
        let damage = (
            any::<prop::sample::Index>(),
            any::<u8>(),
            0..70_usize,
            any::<bool>(),
        );
        (kind, damage).prop_map(
            |((v4, tcp, ethernet, len, flags), (at, byte, cut, whole))| {
                let ends = if v4 {
                    ["192.0.2.1:4000", "203.0.113.9:80"]
                } else {
                    ["[2001:db8::1]:4000", "[2001:db8::9]:80"]
                };
                let [from, to] = ends.map(|end| end.parse().unwrap());
                let mut bytes = match (ethernet, v4) {
                    (false, _) => vec![],
                    (true, true) => [&[2; 12][..], &[8, 0]].concat(),
                    (true, false) => [&[2; 12][..], &[0x86, 0xdd]].concat(),
                };
                let payload = vec![0; len];
                if tcp {
                    TcpSegment::new(from, to, flags)
                        .payload(&payload)
                        .emit(&mut bytes);
                } else {
                    Datagram::new(from, to, &payload).emit(&mut bytes);
                }
                if !whole {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                    bytes.truncate(bytes.len().max(cut) - cut);
                }
                (bytes, if ethernet { Link::Ethernet } else { Link::Ip })
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn the_short_way_says_what_the_long_one_says((bytes, link) in nearly_right()) {
            let mut headers = Headers::blank();
            let short = parse_into(&bytes, link, &mut headers);
            match (parse(&bytes, link), short) {
                (Ok(Frame::Ip(long)), short) => {
                    prop_assert_eq!(short, Ok(Carries::Ip));
                    prop_assert_eq!(headers, long);
                }
                (Ok(Frame::Arp(long)), short) => prop_assert_eq!(short, Ok(Carries::Arp(long))),
                (Ok(Frame::Other), short) => prop_assert_eq!(short, Ok(Carries::Other)),
                (Err(long), short) => prop_assert_eq!(short, Err(long)),
            }
        }
    }

    #[test]
    fn plain_packets_go_the_short_way() {
        for ends in [
            ["192.0.2.1:4000", "203.0.113.9:80"],
            ["[2001:db8::1]:1", "[2001:db8::9]:2"],
        ] {
            let [from, to] = ends.map(|end| end.parse().unwrap());
            let mut bytes = Vec::new();
            TcpSegment::new(from, to, tcp::flags::ACK).emit(&mut bytes);
            let mut out = Headers::blank();
            let read = if bytes[0] == 0x45 { read_v4 } else { read_v6 };
            assert_eq!(read(&bytes, 0, &mut out), Some(()));
            bytes.clear();
            Datagram::new(from, to, b"?").emit(&mut bytes);
            assert_eq!(read(&bytes, 0, &mut out), Some(()));
        }
    }
}
