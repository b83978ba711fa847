//! Packets built from scratch, with checksums summed up word by word.

use std::net::{IpAddr, SocketAddr};

use lb_l4::packet::{Checksum, Link, Packet};
use lb_l4::wire::emit::{Datagram, IpHeader, TcpSegment};
use lb_l4::wire::tcp::flags;
use lb_l4::wire::{Frame, Headers, parse};
use lbcore::flow::Protocol;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn headers(bytes: &[u8]) -> Headers {
    match parse(bytes, Link::Ip) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?} of {bytes:02x?}"),
    }
}

/// The checksum as RFC 1071 defines it, by the book.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0_u32;
    for word in bytes.chunks(2) {
        let low = word.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([word[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A packet of a flow, with all checksums right.
pub(crate) fn packet(
    protocol: Protocol,
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    match protocol {
        Protocol::Tcp => TcpSegment::new(from, to, flags::ACK)
            .sequence(sequence)
            .payload(payload)
            .emit(&mut bytes),
        _ => Datagram::new(from, to, payload).emit(&mut bytes),
    }
    bytes
}

/// `packet` inside a new IP header.
pub(crate) fn wrap(from: IpAddr, to: IpAddr, protocol: u8, packet: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    IpHeader {
        source: from,
        destination: to,
        protocol,
        ttl: 64,
        traffic_class: 0,
        payload_len: packet.len(),
    }
    .emit(&mut bytes);
    bytes.extend_from_slice(packet);
    bytes
}

/// An ICMP message of the family of its ends.
pub(crate) fn message(from: IpAddr, to: IpAddr, front: [u8; 6], behind: &[u8]) -> Vec<u8> {
    let [kind, code, rest @ ..] = front;
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&rest);
    message.extend_from_slice(behind);
    let protocol = if to.is_ipv4() { 1 } else { 58 };
    let sum = if to.is_ipv4() {
        checksum(&[&message])
    } else {
        let len = u32::try_from(message.len()).unwrap().to_be_bytes();
        checksum(&[&octets(from), &octets(to), &len, &[0, 0, 0, 58], &message])
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    wrap(from, to, protocol, &message)
}

/// An IPv4 packet with right header checksum, of the bytes of one with any.
pub(crate) fn with_header_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let len = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let sum = checksum(&[&packet[..len]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

pub(crate) fn with_header_checksum_if_ipv4(packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        with_header_checksum(packet)
    } else {
        packet
    }
}

/// `packet` with something between its IP header and its transport header: options, or an
/// extension header of destination options.
pub(crate) fn with_options(packet: &[u8]) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        let mut bytes = packet.to_vec();
        bytes[0] += 2;
        let total = u16::from_be_bytes([bytes[2], bytes[3]]) + 8;
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes.splice(20..20, [7, 7, 4, 0, 0, 0, 0, 0]);
        with_header_checksum(bytes)
    } else {
        let next = packet[6];
        with_extension(packet, 60, &[next, 0, 1, 4, 0, 0, 0, 0])
    }
}

/// `packet` as if it were the first fragment of a larger one.
pub(crate) fn as_first_fragment(packet: &[u8]) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        let mut bytes = packet.to_vec();
        bytes[6..8].copy_from_slice(&[0x20, 0]);
        with_header_checksum(bytes)
    } else {
        let next = packet[6];
        with_extension(packet, 44, &[next, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef])
    }
}

fn with_extension(packet: &[u8], kind: u8, header: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    bytes[6] = kind;
    let len = u16::from_be_bytes([bytes[4], bytes[5]]) + u16::try_from(header.len()).unwrap();
    bytes[4..6].copy_from_slice(&len.to_be_bytes());
    bytes.splice(40..40, header.iter().copied());
    bytes
}

/// Whether the checksums of the IPv4 header and of what is behind it are right.
pub(crate) fn right(bytes: &[u8]) -> bool {
    let headers = headers(bytes);
    headers.header_checksum_is_right(bytes) && headers.checksum_is_right(bytes, Checksum::Complete)
}

/// A buffer with `headroom` before, and 64 bytes behind `bytes`.
pub(crate) fn buffer(headroom: usize, bytes: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0xaa; headroom];
    buffer.extend_from_slice(bytes);
    buffer.resize(buffer.len() + 64, 0xbb);
    buffer
}

pub(crate) fn in_buffer(buffer: &mut [u8], headroom: usize, link: Link) -> Packet<'_> {
    let end = buffer.len() - 64;
    Packet::new(buffer, headroom..end, link)
}
