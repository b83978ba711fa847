//! A link with a director, its neighbours and time.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use lb_l4::neighbour::{NeighbourConfig, Neighbours};
use lb_l4::packet::{Checksum, Link};
use lb_l4::wire::arp::{Message, Operation};
use lb_l4::wire::ethernet::{Header, Mac};
use lb_l4::wire::{Frame, Headers, checksum, parse};
use lbcore::Instant;

pub(crate) const MINE: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(crate) const ITS: Mac = Mac([2, 0, 0, 0, 0, 7]);
pub(crate) const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
pub(crate) const NOBODY: Mac = Mac([0; 6]);

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// A director with an address of each family.
pub(crate) fn with(config: NeighbourConfig) -> Neighbours {
    let own = ["10.0.0.1", "fd00::1", "fe80::1"].map(ip);
    Neighbours::new(MINE, own, config).unwrap()
}

pub(crate) fn director() -> Neighbours {
    with(NeighbourConfig::default())
}

pub(crate) fn arp(operation: Operation, from: (Mac, &str), to: (Mac, &str)) -> Message {
    Message {
        operation,
        sender_mac: from.0,
        sender: from.1.parse().unwrap(),
        target_mac: to.0,
        target: to.1.parse().unwrap(),
    }
}

/// The answer to a question of the director's.
pub(crate) fn reply(mac: Mac, address: &str) -> Message {
    arp(Operation::Reply, (mac, address), (MINE, "10.0.0.1"))
}

pub(crate) fn header(frame: &[u8]) -> Header {
    Header::parse(frame).unwrap()
}

/// The ARP message in a frame, and to whom the frame goes.
pub(crate) fn arp_of(frame: &[u8]) -> (Mac, Message) {
    match parse(frame, Link::Ethernet) {
        Ok(Frame::Arp(message)) => (header(frame).destination, message),
        other => panic!("{other:?}"),
    }
}

/// The headers of an IPv6 frame, whose checksum must be right.
pub(crate) fn v6_of(frame: &[u8]) -> Headers {
    match parse(frame, Link::Ethernet) {
        Ok(Frame::Ip(headers)) => {
            assert!(headers.checksum_is_right(frame, Checksum::Complete));
            headers
        }
        other => panic!("{other:?}"),
    }
}

/// A message of neighbour discovery to be framed.
#[derive(Clone)]
pub(crate) struct Ndp {
    pub(crate) from: (Mac, Ipv6Addr),
    pub(crate) to: (Mac, Ipv6Addr),
    pub(crate) ttl: u8,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) flags: u8,
    pub(crate) target: Ipv6Addr,
    pub(crate) options: Vec<u8>,
}

impl Ndp {
    /// Its neighbour at fd00::7 asks for `target`.
    pub(crate) fn question(target: &str) -> Self {
        Self {
            from: (ITS, "fd00::7".parse().unwrap()),
            to: (
                Mac([0x33, 0x33, 0xff, 0, 0, 1]),
                "ff02::1:ff00:1".parse().unwrap(),
            ),
            ttl: 255,
            kind: 135,
            code: 0,
            flags: 0,
            target: target.parse().unwrap(),
            options: option(1, ITS),
        }
    }

    /// fd00::7 says to the director that it is at `mac`.
    pub(crate) fn answer(mac: Mac, flags: u8) -> Self {
        Self {
            from: (mac, "fd00::7".parse().unwrap()),
            to: (MINE, "fd00::1".parse().unwrap()),
            kind: 136,
            flags,
            options: option(2, mac),
            ..Self::question("fd00::7")
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut body = vec![self.kind, self.code, 0, 0, self.flags, 0, 0, 0];
        body.extend(self.target.octets());
        body.extend(&self.options);
        let pseudo = checksum::pseudo_header(self.from.1.into(), self.to.1.into(), 58, body.len());
        let right = !checksum::fold(pseudo + checksum::sum(&body));
        body[2..4].copy_from_slice(&right.to_be_bytes());
        let mut frame = [self.to.0.0, self.from.0.0].concat();
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend([58, self.ttl]);
        frame.extend(self.from.1.octets());
        frame.extend(self.to.1.octets());
        frame.extend(body);
        frame
    }
}

pub(crate) fn option(kind: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 1][..], &mac.0].concat()
}

/// Shows `frame` to `neighbours`, with room for an answer; gives the verdict and what is in place.
pub(crate) fn show(
    neighbours: &mut Neighbours,
    now: Instant,
    frame: &[u8],
) -> (Option<lb_l4::packet::Verdict>, Vec<u8>) {
    let mut buffer = frame.to_vec();
    buffer.resize(frame.len() + 64, 0);
    let mut packet = lb_l4::packet::Packet::new(&mut buffer, 0..frame.len(), Link::Ethernet);
    let read = parse(packet.bytes(), Link::Ethernet).unwrap();
    let verdict = neighbours.handle(now, &mut packet, &read);
    (verdict, packet.bytes().to_vec())
}

/// The frames that wait to be sent.
pub(crate) fn sent(neighbours: &mut Neighbours) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| neighbours.poll_transmit().map(<[u8]>::to_vec)).collect()
}

/// Makes 10.0.0.7 known at `now`.
pub(crate) fn known(neighbours: &mut Neighbours, now: Instant) {
    assert_eq!(neighbours.lookup(now, ip("10.0.0.7")), None);
    assert_eq!(sent(neighbours).len(), 1);
    assert_eq!(neighbours.handle_arp(now, &reply(ITS, "10.0.0.7")), None);
}
