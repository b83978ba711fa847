//! Packets of clients, and buffers with room before them.

use std::net::IpAddr;

use lb_l4::method::tunnel::{Encapsulation, Tunnel};
use lb_l4::packet::{Link, Packet};
use lb_l4::wire::emit::{Datagram, TcpSegment};
use lb_l4::wire::{Frame, Headers, parse, tcp::flags};

pub(crate) const ROOM: usize = 64;
pub(crate) const KINDS: [Encapsulation; 3] =
    [Encapsulation::Ipip, Encapsulation::Gre, Encapsulation::GUE];
pub(crate) const OUTER: [(&str, &str); 2] = [("10.0.0.1", "10.0.1.7"), ("fd00::1", "fd00::7")];
pub(crate) const V4: (&str, &str) = ("192.0.2.1:4000", "203.0.113.10:80");
pub(crate) const V6: (&str, &str) = ("[2001:db8::1]:4000", "[2001:db8::80]:80");

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn tunnel(kind: Encapsulation, (source, destination): (&str, &str)) -> Tunnel {
    Tunnel::new(kind, ip(source), ip(destination))
}

/// Every kind in both families.
pub(crate) fn tunnels() -> impl Iterator<Item = Tunnel> {
    KINDS
        .into_iter()
        .flat_map(|kind| OUTER.map(|ends| tunnel(kind, ends)))
}

pub(crate) fn datagram((source, destination): (&str, &str), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Datagram::new(
        source.parse().unwrap(),
        destination.parse().unwrap(),
        payload,
    )
    .emit(&mut bytes);
    bytes
}

pub(crate) fn segment((source, destination): (&str, &str), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    TcpSegment::new(
        source.parse().unwrap(),
        destination.parse().unwrap(),
        flags::ACK,
    )
    .payload(payload)
    .emit(&mut bytes);
    bytes
}

/// `bytes` with room before them.
pub(crate) fn buffer(bytes: &[u8]) -> Vec<u8> {
    [&[0xee; ROOM][..], bytes].concat()
}

pub(crate) fn packet(buffer: &mut [u8], link: Link) -> Packet<'_> {
    let end = buffer.len();
    Packet::new(buffer, ROOM..end, link)
}

pub(crate) fn headers(bytes: &[u8], link: Link) -> Headers {
    match parse(bytes, link) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

/// Sets or clears "don't fragment" of an IPv4 packet without options.
pub(crate) fn dont_fragment(bytes: &mut [u8], set: bool) {
    bytes[6] = if set { 0x40 } else { 0 };
    right_checksum(bytes);
}

/// Sets the traffic class of a packet.
pub(crate) fn traffic_class(bytes: &mut [u8], class: u8) {
    if bytes[0] >> 4 == 4 {
        bytes[1] = class;
        right_checksum(bytes);
    } else {
        bytes[0] = 0x60 | class >> 4;
        bytes[1] = class << 4 | bytes[1] & 0x0f;
    }
}

pub(crate) fn right_checksum(bytes: &mut [u8]) {
    use lb_l4::wire::checksum::{fold, sum};
    bytes[10..12].copy_from_slice(&[0, 0]);
    let header = usize::from(bytes[0] & 15) * 4;
    let checksum = !fold(sum(&bytes[..header]));
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
}
