//! Packets that a line cannot tell: ICMP errors around others, and fragments.

use lb_l4::packet::{Link, Packet, Verdict};
use lb_l4::wire::ethernet::{self, Mac};
use lb_l4::wire::{Frame, Headers, checksum, parse, rewrite};

use crate::harness::{GATEWAY, OWN, World};
use crate::line::Line;

#[path = "../icmp/build.rs"]
#[expect(dead_code, reason = "the tests of ICMP need more of it")]
pub(crate) mod icmp;

/// `packet` in a frame to the forwarder.
pub(crate) fn framed(packet: &[u8]) -> Vec<u8> {
    let header = ethernet::Header {
        destination: OWN,
        source: GATEWAY,
        kind: if packet[0] >> 4 == 4 {
            ethernet::IPV4
        } else {
            ethernet::IPV6
        },
        ..ethernet::Header::default()
    };
    let mut frame = Vec::new();
    header.emit(&mut frame);
    frame.extend_from_slice(packet);
    frame
}

impl World {
    /// What becomes of an IP packet: the verdict, and the bytes from the link header on.
    pub(crate) fn shown(&mut self, packet: &[u8]) -> (Verdict, Vec<u8>) {
        let mut buffer = vec![0; 128];
        buffer.extend(framed(packet));
        let range = 128..buffer.len();
        let mut packet = Packet::new(&mut buffer, range, Link::Ethernet).mark(self.mark);
        self.forwarder.handle_packet(self.now, &mut packet);
        (packet.verdict(), packet.bytes().to_vec())
    }
}

pub(crate) fn line(text: &str) -> Vec<u8> {
    Line::read(text).bytes()
}

pub(crate) fn headers(packet: &[u8]) -> Headers {
    match parse(packet, Link::Ip) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?} of {packet:02x?}"),
    }
}

/// The packet as a router sends it on.
pub(crate) fn a_hop_later(mut packet: Vec<u8>) -> Vec<u8> {
    let mut read = headers(&packet);
    rewrite::decrement_ttl(&mut packet, &mut read).unwrap();
    packet
}

/// The frame's IP packet, and the last byte of the link address that it goes to.
pub(crate) fn unframed(frame: &[u8]) -> (Vec<u8>, u8) {
    let header = ethernet::Header::parse(frame).unwrap();
    let Mac([.., last]) = header.destination;
    (frame[header.len()..].to_vec(), last)
}

/// IPv4 may be cut from here on.
pub(crate) fn may_be_cut(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[4..8].copy_from_slice(&[0x12, 0x34, 0, 0]);
        with_header_checksum(&mut packet);
    }
    packet
}

pub(crate) fn with_header_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = !checksum::fold(checksum::sum(&packet[..20]));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The bytes `from..to` behind the IP header, as one fragment.
pub(crate) fn fragment(packet: &[u8], from: usize, to: usize) -> Vec<u8> {
    let ipv4 = packet[0] >> 4 == 4;
    let (front, payload) = packet.split_at(if ipv4 { 20 } else { 40 });
    let to = to.min(payload.len());
    let more = u16::from(to < payload.len());
    let place = u16::try_from(from).unwrap();
    let mut bytes = front.to_vec();
    if ipv4 {
        bytes.extend_from_slice(&payload[from..to]);
        let total = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes[4..6].copy_from_slice(&[0x12, 0x34]);
        bytes[6..8].copy_from_slice(&((place / 8) | (more << 13)).to_be_bytes());
        with_header_checksum(&mut bytes);
    } else {
        bytes[6] = 44;
        bytes.extend_from_slice(&[front[6], 0]);
        bytes.extend_from_slice(&(place | more).to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0x12, 0x34]);
        bytes.extend_from_slice(&payload[from..to]);
        let len = u16::try_from(bytes.len() - 40).unwrap();
        bytes[4..6].copy_from_slice(&len.to_be_bytes());
    }
    bytes
}
