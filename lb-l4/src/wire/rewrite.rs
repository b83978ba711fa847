//! Changes to the fields of a packet, with its checksums.
//!
//! Every function changes the bytes and the [`Headers`] together, and the checksums by the
//! difference alone (RFC 1624, equation 3): a right one stays right, a wrong one stays wrong by as
//! much. A UDP checksum of 0 is none and stays 0; one that comes out as 0 is sent as 0xffff (RFC
//! 768, RFC 8200 section 8.1, RFC 6936). A checksum that is [`Partial`](Checksum::Partial) is the
//! sum of the pseudo-header: addresses and lengths change it, and ports do not.
//!
//! Fields that the packet does not have are left alone. The cost is some nanoseconds each; nothing
//! is allocated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::checksum::Delta;
use super::{Body, Headers, ipv4, ipv6, tcp, udp};
use crate::packet::Checksum;

/// Changes the source address, and the source port if one is given.
///
/// An address of the other family changes nothing. Ports are those of TCP and UDP; SCTP keeps its
/// own, as its CRC would have to be reckoned over all of the packet.
#[inline]
pub fn set_source(
    bytes: &mut [u8],
    headers: &mut Headers,
    address: IpAddr,
    port: Option<u16>,
    checksum: Checksum,
) {
    set_end(bytes, headers, Side::Source, address, port, checksum);
}

/// Changes the destination address, and the destination port if one is given.
///
/// As [`set_source`].
#[inline]
pub fn set_destination(
    bytes: &mut [u8],
    headers: &mut Headers,
    address: IpAddr,
    port: Option<u16>,
    checksum: Checksum,
) {
    set_end(bytes, headers, Side::Destination, address, port, checksum);
}

/// Changes source and destination at once: as [`set_source`] and [`set_destination`], with one
/// change of the transport checksum.
///
/// An end whose address is of the other family stays as it is.
#[inline]
pub fn set_ends(
    bytes: &mut [u8],
    headers: &mut Headers,
    source: (IpAddr, Option<u16>),
    destination: (IpAddr, Option<u16>),
    checksum: Checksum,
) {
    let from = replace_end(bytes, headers, Side::Source, source);
    let to = replace_end(bytes, headers, Side::Destination, destination);
    update_both(bytes, headers, checksum, from.0.and(to.0), from.1.and(to.1));
}

/// The packet has come as far as it may; it is not changed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("time to live is over")]
#[non_exhaustive]
pub struct HopLimitExceeded;

/// Takes one off the time to live, or hop limit.
///
/// # Errors
///
/// It is 1 or 0: the packet must not be sent on (RFC 1812 section 5.3.1, RFC 8200 section 3).
#[inline]
pub fn decrement_ttl(bytes: &mut [u8], headers: &mut Headers) -> Result<(), HopLimitExceeded> {
    if headers.is_at_its_last_hop() {
        return Err(HopLimitExceeded);
    }
    headers.ttl -= 1;
    if headers.is_ipv4() {
        let at = headers.network + ipv4::TTL;
        let Some(old) = read(bytes, at) else {
            return Ok(());
        };
        let new = u16::from_be_bytes([headers.ttl, old.to_be_bytes()[1]]);
        write(bytes, at, new.to_be_bytes());
        update_ipv4(bytes, headers, Delta::default().replace(old, new));
    } else {
        write(bytes, headers.network + ipv6::HOP_LIMIT, [headers.ttl]);
    }
    Ok(())
}

/// Changes the traffic class, or type of service: DSCP and ECN.
#[inline]
pub fn set_traffic_class(bytes: &mut [u8], headers: &mut Headers, class: u8) {
    // Both families have it in the first 16 bits; IPv4 in the second byte, IPv6 four bits earlier.
    let Some(old) = read(bytes, headers.network) else {
        return;
    };
    headers.traffic_class = class;
    let class = u16::from(class);
    if headers.is_ipv4() {
        let new = old & 0xff00 | class;
        write(bytes, headers.network, new.to_be_bytes());
        update_ipv4(bytes, headers, Delta::default().replace(old, new));
    } else {
        let new = old & 0xf00f | class << 4;
        write(bytes, headers.network, new.to_be_bytes());
    }
}

/// Changes the sequence number of a TCP segment.
#[inline]
pub fn set_sequence(bytes: &mut [u8], headers: &mut Headers, sequence: u32, checksum: Checksum) {
    let Body::Tcp(tcp) = &mut headers.body else {
        return;
    };
    tcp.sequence = sequence;
    set_word(bytes, headers, tcp::SEQUENCE, sequence, checksum);
}

/// Changes the acknowledgement number of a TCP segment.
#[inline]
pub fn set_acknowledgement(
    bytes: &mut [u8],
    headers: &mut Headers,
    acknowledgement: u32,
    checksum: Checksum,
) {
    let Body::Tcp(tcp) = &mut headers.body else {
        return;
    };
    tcp.acknowledgement = acknowledgement;
    set_word(
        bytes,
        headers,
        tcp::ACKNOWLEDGEMENT,
        acknowledgement,
        checksum,
    );
}

/// Changes the window of a TCP segment, as it stands in the header: not scaled.
#[inline]
pub fn set_window(bytes: &mut [u8], headers: &mut Headers, window: u16, checksum: Checksum) {
    let Body::Tcp(tcp) = &mut headers.body else {
        return;
    };
    tcp.window = window;
    let at = headers.transport + tcp::WINDOW;
    if let Some(old) = read(bytes, at) {
        write(bytes, at, window.to_be_bytes());
        let delta = Delta::default().replace(old, window);
        update_l4(bytes, headers, checksum, delta, Covered::Body);
    }
}

/// What of a packet a change is in, as its transport checksum sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Covered {
    /// The pseudo-header: addresses and length.
    PseudoHeader,
    /// What stands behind the IP header.
    Body,
}

/// Brings the checksum of TCP, UDP, ICMP or ICMPv6 in line with a change to what it covers.
#[inline]
pub(super) fn update_l4(
    bytes: &mut [u8],
    headers: &Headers,
    checksum: Checksum,
    delta: Delta,
    covered: Covered,
) {
    let none = Delta::default();
    match covered {
        Covered::PseudoHeader => update_both(bytes, headers, checksum, delta, none),
        Covered::Body => update_both(bytes, headers, checksum, none, delta),
    }
}

/// The same for changes in either place, at once.
#[inline]
fn update_both(
    bytes: &mut [u8],
    headers: &Headers,
    checksum: Checksum,
    pseudo_header: Delta,
    body: Delta,
) {
    let Some(at) = headers.l4_checksum_field() else {
        return;
    };
    let Some(old) = read(bytes, at) else { return };
    let all = pseudo_header.and(body);
    let new = match headers.body {
        Body::Tcp(_) | Body::Udp { .. } if checksum == Checksum::Partial => {
            pseudo_header.add_to(old)
        }
        Body::Udp { .. } => match (old, all.apply(old)) {
            (0, _) => 0,
            (_, 0) => u16::MAX,
            (_, new) => new,
        },
        Body::Icmp { .. } if headers.is_ipv4() => body.apply(old),
        _ => all.apply(old),
    };
    write(bytes, at, new.to_be_bytes());
}

/// Whether the IP packet may have `more` bytes.
#[inline]
pub(super) const fn may_grow(headers: &Headers, more: usize) -> bool {
    // The length of IPv4 counts its header, that of IPv6 does not.
    let counted = if headers.is_ipv4() {
        headers.end - headers.network
    } else {
        headers.end - headers.network - ipv6::HEADER
    };
    counted + more <= u16::MAX as usize
}

/// Adds `grown` to the length of the IP packet, and to that in the pseudo-header; `end` is already
/// that of the longer packet, which [`may_grow`] has allowed.
#[expect(
    clippy::cast_possible_truncation,
    reason = "lengths of 16 bits, as `may_grow` says"
)]
pub(super) fn change_len(bytes: &mut [u8], headers: &Headers, checksum: Checksum, grown: usize) {
    let at = headers.network
        + if headers.is_ipv4() {
            ipv4::TOTAL_LENGTH
        } else {
            ipv6::PAYLOAD_LENGTH
        };
    let Some(old) = read(bytes, at) else { return };
    let new = old.wrapping_add(grown as u16);
    write(bytes, at, new.to_be_bytes());
    if headers.is_ipv4() {
        update_ipv4(bytes, headers, Delta::default().replace(old, new));
    }
    let len = (headers.end - headers.transport) as u32;
    let delta = Delta::default().replace(len - grown as u32, len);
    update_l4(bytes, headers, checksum, delta, Covered::PseudoHeader);
}

/// Adds `grown` to the length in a UDP header, whose packet [`change_len`] has made longer.
#[expect(
    clippy::cast_possible_truncation,
    reason = "lengths of 16 bits, as `may_grow` says"
)]
pub(super) fn change_udp_len(
    bytes: &mut [u8],
    headers: &mut Headers,
    checksum: Checksum,
    grown: usize,
) {
    let Body::Udp { length, .. } = &mut headers.body else {
        return;
    };
    let (old, new) = (*length, length.wrapping_add(grown as u16));
    *length = new;
    write(bytes, headers.transport + udp::LENGTH, new.to_be_bytes());
    let delta = Delta::default().replace(old, new);
    update_l4(bytes, headers, checksum, delta, Covered::Body);
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Source,
    Destination,
}

#[inline]
pub(super) fn set_end(
    bytes: &mut [u8],
    headers: &mut Headers,
    side: Side,
    address: IpAddr,
    port: Option<u16>,
    checksum: Checksum,
) {
    let (pseudo_header, body) = replace_end(bytes, headers, side, (address, port));
    update_both(bytes, headers, checksum, pseudo_header, body);
}

/// Writes one end, and the header checksum of IPv4; what that changes of the transport checksum, in
/// the pseudo-header and behind the IP header.
#[inline]
fn replace_end(
    bytes: &mut [u8],
    headers: &mut Headers,
    side: Side,
    (address, port): (IpAddr, Option<u16>),
) -> (Delta, Delta) {
    let (ipv4_field, ipv6_field, current) = match side {
        Side::Source => (ipv4::SOURCE, ipv6::SOURCE, &mut headers.source),
        Side::Destination => (
            ipv4::DESTINATION,
            ipv6::DESTINATION,
            &mut headers.destination,
        ),
    };
    let pseudo_header = match (current, address) {
        (IpAddr::V4(current), IpAddr::V4(new)) => {
            *current = new;
            let at = headers.network + ipv4_field;
            let old = swap(bytes, at, new.octets()).map_or(new, Ipv4Addr::from);
            let delta = Delta::default().replace(old, new);
            update_ipv4(bytes, headers, delta);
            delta
        }
        (IpAddr::V6(current), IpAddr::V6(new)) => {
            *current = new;
            let at = headers.network + ipv6_field;
            let old = swap(bytes, at, new.octets()).map_or(new, Ipv6Addr::from);
            Delta::default().replace(old, new)
        }
        _ => return (Delta::default(), Delta::default()),
    };
    let body = match port {
        Some(port) => set_port(bytes, headers, side, port),
        None => Delta::default(),
    };
    (pseudo_header, body)
}

#[inline]
fn set_port(bytes: &mut [u8], headers: &mut Headers, side: Side, port: u16) -> Delta {
    let (source, destination) = match &mut headers.body {
        Body::Tcp(tcp) => (&mut tcp.source_port, &mut tcp.destination_port),
        Body::Udp {
            source_port,
            destination_port,
            ..
        } => (source_port, destination_port),
        _ => return Delta::default(),
    };
    let at = match side {
        Side::Source => {
            *source = port;
            headers.transport
        }
        Side::Destination => {
            *destination = port;
            headers.transport + 2
        }
    };
    let old = swap(bytes, at, port.to_be_bytes()).map_or(port, u16::from_be_bytes);
    Delta::default().replace(old, port)
}

#[inline]
fn set_word(bytes: &mut [u8], headers: &Headers, field: usize, new: u32, checksum: Checksum) {
    if let Some(old) = swap(bytes, headers.transport + field, new.to_be_bytes()) {
        let delta = Delta::default().replace(u32::from_be_bytes(old), new);
        update_l4(bytes, headers, checksum, delta, Covered::Body);
    }
}

/// Brings the checksum of the IPv4 header in line with a change to it.
#[inline]
fn update_ipv4(bytes: &mut [u8], headers: &Headers, delta: Delta) {
    let at = headers.network + ipv4::CHECKSUM;
    if let Some(old) = read(bytes, at) {
        write(bytes, at, delta.apply(old).to_be_bytes());
    }
}

#[inline]
fn read(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

#[inline]
fn write<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N]) {
    swap(bytes, at, new);
}

/// Writes `new`, and gives what was there; `None` if it lies outside.
#[inline]
fn swap<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N]) -> Option<[u8; N]> {
    let field = bytes.get_mut(at..)?.first_chunk_mut()?;
    Some(std::mem::replace(field, new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Link;
    use crate::wire::emit::{Datagram, IpHeader, TcpSegment};
    use crate::wire::{Frame, checksum, parse, protocol};

    fn read(bytes: &[u8]) -> Headers {
        match parse(bytes, Link::Ip) {
            Ok(Frame::Ip(headers)) => headers,
            other => panic!("{other:?}"),
        }
    }

    fn datagram(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Datagram::new(source, destination, payload).emit(&mut bytes);
        bytes
    }

    #[test]
    fn none_stays_none_in_both_families() {
        for (source, new) in [
            ("192.0.2.1:1", "10.9.8.7"),
            ("[2001:db8::1]:1", "2001:db8::9"),
        ] {
            let mut bytes = datagram(source, source, b"x");
            let mut headers = read(&bytes);
            let at = headers.l4_checksum_field().unwrap();
            bytes[at..at + 2].fill(0);
            let new = new.parse().unwrap();
            set_source(&mut bytes, &mut headers, new, Some(9), Checksum::Complete);
            assert_eq!(bytes[at..at + 2], [0, 0]);
            assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
            assert!(headers.header_checksum_is_right(&bytes));
        }
    }

    #[test]
    fn a_sum_that_comes_out_as_none_is_sent_with_all_ones() {
        let mut bytes = datagram("192.0.2.1:1", "192.0.2.2:2", b"ab");
        let mut headers = read(&bytes);
        let source = headers.source;
        let mut all_ones = 0;
        for port in 0..=u16::MAX {
            set_source(
                &mut bytes,
                &mut headers,
                source,
                Some(port),
                Checksum::Complete,
            );
            assert_ne!(bytes[26..28], [0, 0]);
            all_ones += u32::from(bytes[26..28] == [0xff, 0xff]);
            assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
        }
        // Port 0 and port 65,535 have the same sum.
        assert!((1..=2).contains(&all_ones), "{all_ones}");
    }

    #[test]
    fn a_tcp_checksum_of_zero_is_one_like_any_other() {
        let mut bytes = Vec::new();
        let (from, to) = (
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap(),
        );
        TcpSegment::new(from, to, tcp::flags::ACK).emit(&mut bytes);
        let mut headers = read(&bytes);
        let mut zeros = 0;
        for window in 0..=u16::MAX {
            set_window(&mut bytes, &mut headers, window, Checksum::Complete);
            zeros += u32::from(bytes[36..38] == [0, 0]);
            assert!(headers.checksum_is_right(&bytes, Checksum::Complete));
        }
        assert!((1..=2).contains(&zeros), "{zeros}");
    }

    #[test]
    fn a_packet_at_its_last_hop_is_left_alone() {
        for source in ["192.0.2.1:1", "[2001:db8::1]:1"] {
            for (ttl, after) in [
                (0, Err(HopLimitExceeded)),
                (1, Err(HopLimitExceeded)),
                (2, Ok(())),
            ] {
                let mut bytes = Vec::new();
                let end = source.parse().unwrap();
                Datagram::new(end, end, b"").ttl(ttl).emit(&mut bytes);
                let (before, mut headers) = (bytes.clone(), read(&bytes));
                assert_eq!(decrement_ttl(&mut bytes, &mut headers), after);
                assert_eq!(bytes == before, after.is_err());
                assert_eq!(headers.ttl, if ttl == 2 { 1 } else { ttl });
                assert_eq!(read(&bytes), headers);
                assert!(headers.header_checksum_is_right(&bytes));
            }
        }
    }

    #[test]
    fn the_flow_label_and_the_version_stay_beside_the_class() {
        let mut bytes = datagram("[2001:db8::1]:1", "[2001:db8::2]:2", b"");
        bytes[1] |= 0x0f;
        let mut headers = read(&bytes);
        set_traffic_class(&mut bytes, &mut headers, 0xa5);
        assert_eq!(bytes[..2], [0x6a, 0x5f]);
        set_traffic_class(&mut bytes, &mut headers, 0);
        assert_eq!(bytes[..2], [0x60, 0x0f]);
    }

    #[test]
    fn fragments_that_are_rewritten_make_a_datagram_that_is_right() {
        let payload: Vec<u8> = (0..50).collect();
        let whole = datagram("192.0.2.1:1", "192.0.2.2:2", &payload);
        let (header, body) = whole.split_at(20);
        let part = |from: usize, to: usize, flags: [u8; 2]| {
            let mut bytes = [header, &body[from..to]].concat();
            bytes[3] = u8::try_from(20 + to - from).unwrap();
            (bytes[6], bytes[7]) = (flags[0], flags[1]);
            bytes[10..12].fill(0);
            let sum = !checksum::fold(checksum::sum(&bytes[..20]));
            bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes
        };
        let mut parts = [part(0, 24, [0x20, 0]), part(24, 58, [0, 3])];
        let mut again = Vec::new();
        for bytes in &mut parts {
            let mut headers = read(bytes);
            let new = "10.1.2.3".parse().unwrap();
            set_destination(bytes, &mut headers, new, Some(99), Checksum::Complete);
            assert!(headers.header_checksum_is_right(bytes));
            again.extend_from_slice(&bytes[20..]);
        }
        let mut right = datagram("192.0.2.1:1", "10.1.2.3:99", &payload);
        assert_eq!(again, right.split_off(20));
    }

    #[test]
    fn what_has_no_ports_gets_an_address_alone() {
        let echo = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
        for (protocol, body) in [
            (protocol::ICMP, &echo[..]),
            (protocol::SCTP, &[7; 12]),
            (99, &[7]),
        ] {
            let source = "192.0.2.1".parse().unwrap();
            let mut bytes = Vec::new();
            let header = IpHeader {
                source,
                destination: source,
                protocol,
                ttl: 9,
                traffic_class: 0,
                payload_len: body.len(),
            };
            header.emit(&mut bytes);
            bytes.extend_from_slice(body);
            let mut headers = read(&bytes);
            let new = "10.1.2.3".parse().unwrap();
            set_source(&mut bytes, &mut headers, new, Some(99), Checksum::Complete);
            set_sequence(&mut bytes, &mut headers, 9, Checksum::Complete);
            set_acknowledgement(&mut bytes, &mut headers, 9, Checksum::Complete);
            set_window(&mut bytes, &mut headers, 9, Checksum::Complete);
            assert_eq!(bytes[20..], *body);
            assert_eq!((headers.source, read(&bytes)), (new, headers));
            assert!(headers.header_checksum_is_right(&bytes));
        }
    }

    #[test]
    fn headers_of_another_packet_change_nothing_beyond_its_end() {
        let whole = datagram("192.0.2.1:1", "192.0.2.2:2", b"");
        for len in 0..whole.len() {
            let (mut bytes, mut headers) = (whole[..len].to_vec(), read(&whole));
            let new = "10.1.2.3".parse().unwrap();
            set_source(&mut bytes, &mut headers, new, Some(99), Checksum::Complete);
            set_traffic_class(&mut bytes, &mut headers, 1);
            assert_eq!(decrement_ttl(&mut bytes, &mut headers), Ok(()));
            assert_eq!(bytes.len(), len);
        }
    }

    #[test]
    fn a_packet_may_grow_to_what_its_length_field_can_say() {
        for (source, most) in [("192.0.2.1:1", 65_535 - 20), ("[2001:db8::1]:1", 65_535)] {
            let bytes = datagram(source, source, b"1234");
            let headers = read(&bytes);
            let rest = most - 12;
            assert!(may_grow(&headers, rest));
            assert!(!may_grow(&headers, rest + 1));
        }
    }
}
