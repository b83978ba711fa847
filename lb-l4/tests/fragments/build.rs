//! Datagrams cut by the book.

use std::net::SocketAddr;

use lb_l4::fragment::{FragmentConfig, FragmentTable, Fragmented, Piece, Subject};
use lb_l4::packet::{DropReason, InterfaceId, Link, Packet};
use lb_l4::wire::emit::{Datagram, TcpSegment};
use lb_l4::wire::tcp::flags;
use lb_l4::wire::{Frame, Headers, checksum, parse};
use lbcore::Instant;
use lbcore::flow::{FlowKey, Protocol};

pub(crate) const NOW: Instant = Instant::ZERO;

pub(crate) fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn ends(ipv4: bool) -> (SocketAddr, SocketAddr) {
    if ipv4 {
        (end("192.0.2.1:4000"), end("203.0.113.10:53"))
    } else {
        (end("[2001:db8::1]:4000"), end("[2001:db8:1::10]:53"))
    }
}

pub(crate) fn flow(ipv4: bool) -> Subject {
    let (client, service) = ends(ipv4);
    Subject::Flow(FlowKey::new(Protocol::Udp, client, service))
}

/// A whole UDP packet whose payload is `len` different bytes.
pub(crate) fn udp(ipv4: bool, len: usize) -> Vec<u8> {
    let (client, service) = ends(ipv4);
    let payload: Vec<u8> = (0..len).map(|it| u8::try_from(it % 251).unwrap()).collect();
    let mut bytes = Vec::new();
    Datagram::new(client, service, &payload).emit(&mut bytes);
    bytes
}

pub(crate) fn tcp(len: usize) -> Vec<u8> {
    let (client, service) = ends(true);
    let mut bytes = Vec::new();
    TcpSegment::new(client, service, flags::ACK)
        .payload(&vec![7; len])
        .emit(&mut bytes);
    bytes
}

/// The bytes `from..to` behind the IP header of `packet`, as one fragment.
pub(crate) fn fragment(packet: &[u8], id: u16, from: usize, to: usize) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        fragment_v4(packet, id, from, to)
    } else {
        fragment_v6(packet, u32::from(id), from, to)
    }
}

fn fragment_v4(packet: &[u8], id: u16, from: usize, to: usize) -> Vec<u8> {
    let header = usize::from(packet[0] & 0xf) * 4;
    let (front, payload) = packet.split_at(header);
    let mut bytes = front.to_vec();
    bytes.extend_from_slice(&payload[from..to]);
    let total = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes[4..6].copy_from_slice(&id.to_be_bytes());
    let more = if to < payload.len() { 0x2000 } else { 0 };
    let place = u16::try_from(from / 8).unwrap() | more;
    bytes[6..8].copy_from_slice(&place.to_be_bytes());
    with_header_checksum(bytes)
}

pub(crate) fn with_header_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let header = usize::from(bytes[0] & 0xf) * 4;
    bytes[10..12].fill(0);
    let sum = !checksum::fold(checksum::sum(&bytes[..header]));
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn fragment_v6(packet: &[u8], id: u32, from: usize, to: usize) -> Vec<u8> {
    let (front, payload) = packet.split_at(40);
    let mut bytes = front.to_vec();
    let more = u16::from(to < payload.len());
    let place = u16::try_from(from).unwrap() | more;
    bytes[6] = 44;
    bytes.extend_from_slice(&[front[6], 0]);
    bytes.extend_from_slice(&place.to_be_bytes());
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&payload[from..to]);
    let len = u16::try_from(bytes.len() - 40).unwrap();
    bytes[4..6].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// All of `packet` in fragments of `step` bytes.
pub(crate) fn fragments(packet: &[u8], id: u16, step: usize) -> Vec<Vec<u8>> {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let len = packet.len() - header;
    (0..len)
        .step_by(step)
        .map(|from| fragment(packet, id, from, (from + step).min(len)))
        .collect()
}

pub(crate) fn headers(bytes: &[u8]) -> Headers {
    match parse(bytes, Link::Ip) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?} of {bytes:02x?}"),
    }
}

pub(crate) fn ask(table: &mut FragmentTable, now: Instant, bytes: &[u8]) -> Fragmented {
    let headers = headers(bytes);
    let mut copy = bytes.to_vec();
    let len = copy.len();
    let packet = Packet::new(&mut copy, 0..len, Link::Ip)
        .on(InterfaceId(3))
        .mark(5);
    table.handle(now, &packet, &headers)
}

pub(crate) fn piece(said: Fragmented) -> Piece {
    match said {
        Fragmented::Flow(piece) => piece,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn subject(said: Fragmented) -> Subject {
    piece(said).subject
}

pub(crate) fn dropped(reason: DropReason) -> Fragmented {
    Fragmented::Drop(reason)
}

pub(crate) fn table() -> FragmentTable {
    FragmentTable::new(FragmentConfig::default())
}
