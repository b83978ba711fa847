//! Packets, drawn: mostly what the two ends of a session would send next, and sometimes anything.

use std::collections::HashMap;
use std::net::SocketAddr;

use lb_l4::packet::{Link, Verdict};
use lb_l4::wire::emit::{Datagram, TcpSegment};
use lb_l4::wire::ethernet::{self, Mac};
use lb_l4::wire::tcp::flags::{ACK, FIN, PSH, RST, SYN};
use lb_l4::wire::{Body, Frame, Headers, parse};

use super::Step;
use super::build::message;
use super::judge::Judge;
use super::world::{GATEWAY, MARK, OWN};

/// What the ends have said and heard, by who and to whom, as each of them sees it.
#[derive(Default)]
pub(super) struct Packets {
    next: HashMap<(SocketAddr, SocketAddr), u32>,
    heard: HashMap<(SocketAddr, SocketAddr), u32>,
    /// What went out last, and came in last, from the IP header on.
    out: Option<Vec<u8>>,
    last: Option<Vec<u8>>,
}

const FORMS: [u8; 16] = [
    SYN,
    SYN,
    ACK,
    ACK,
    PSH | ACK,
    PSH | ACK,
    FIN | ACK,
    RST,
    SYN | ACK,
    SYN | ACK,
    RST | ACK,
    ACK,
    SYN,
    FIN,
    0,
    SYN | FIN,
];

/// Whom clients address: each service, a port of a service of all, and nobody.
const ADDRESSED: [(&str, bool); 15] = [
    ("203.0.113.10:80", true),
    ("203.0.113.10:53", false),
    ("203.0.113.11:80", true),
    ("203.0.113.12:80", true),
    ("203.0.113.12:9", true),
    ("203.0.113.13:53", false),
    ("[2001:db8::10]:80", true),
    ("203.0.113.14:80", true),
    ("203.0.113.200:7", false),
    ("203.0.113.201:8", false),
    ("203.0.113.15:80", true),
    ("203.0.113.15:53", false),
    ("203.0.113.16:80", true),
    ("203.0.113.10:81", true),
    ("203.0.113.99:80", true),
];

impl Packets {
    /// The frames of a step; of one packet, but for a datagram in fragments.
    pub(super) fn draw(&mut self, step: Step, judge: &Judge) -> Vec<Vec<u8>> {
        let [kind, a, b, c, d, e, f, g] = step;
        let packet = match kind % 16 {
            3..=8 => {
                let (to, tcp) = ADDRESSED[usize::from(c) % ADDRESSED.len()];
                self.said(client(a, to), to.parse().unwrap(), tcp, [b, d, e, f, g])
            }
            9..=12 => {
                let Some((backend, to, tcp)) = judge.recent(usize::from(a % 8)) else {
                    return Vec::new();
                };
                // Sometimes of another one's end.
                let mut from = backend;
                if e % 16 == 0 {
                    from.set_port(from.port() ^ 1);
                }
                self.said(from, to, tcp, [b, d, 1, f, g])
            }
            13 => match self.complaint(a, b) {
                Some(packet) => packet,
                None => return Vec::new(),
            },
            14 => match self.last.clone() {
                Some(mut packet) => {
                    for (at, byte) in [(c, d), (e, f)] {
                        let at = usize::from(at) % packet.len();
                        packet[at] ^= byte;
                    }
                    packet
                }
                None => return Vec::new(),
            },
            15 => return pieces(a, [b, c, d]),
            _ => message(
                client(a, "203.0.113.10:80").ip(),
                "203.0.113.10".parse().unwrap(),
                [8, 0, b, c, d, e],
                &[7; 5],
            ),
        };
        self.last = Some(packet.clone());
        vec![framed(&packet)]
    }

    /// A packet with what its sender would say next, or nearly.
    fn said(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        tcp: bool,
        [form, len, odd, ttl, wrong]: [u8; 5],
    ) -> Vec<u8> {
        let mut packet = Vec::new();
        let len = if len == 255 {
            1_500
        } else {
            usize::from(len % 64)
        };
        let payload = vec![form; len];
        let ttl = if ttl % 32 == 0 { ttl / 128 + 1 } else { 64 };
        if tcp {
            let flags = FORMS[usize::from(form % 16)];
            let next = self.next.entry((from, to)).or_insert(1_000);
            if flags == SYN {
                // Another connection begins beyond the one before it.
                *next = next.wrapping_add(100_000);
            }
            let jump = match odd % 16 {
                0 => 1 << 31,
                2 => 700,
                3 => 70_000,
                4 => u32::MAX,
                _ => 0,
            };
            let payload = if flags & (SYN | RST) == 0 {
                &*payload
            } else {
                &[]
            };
            let sequence = next.wrapping_add(jump);
            if jump == 0 {
                let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
                *next = next.wrapping_add(u32::try_from(payload.len()).unwrap() + marks);
            }
            TcpSegment::new(from, to, flags)
                .sequence(sequence)
                .acknowledgement(self.heard.get(&(from, to)).copied().unwrap_or(0))
                .window(1_000)
                .options(if flags & SYN == 0 {
                    &[]
                } else {
                    &[2, 4, 5, 180, 3, 3, 4, 1]
                })
                .payload(payload)
                .ttl(ttl)
                .emit(&mut packet);
        } else {
            Datagram::new(from, to, &payload).ttl(ttl).emit(&mut packet);
        }
        if wrong % 32 == 0 {
            let at = headers(&packet).unwrap().l4_checksum_field().unwrap();
            packet[at + 1] ^= 0x55;
        }
        packet
    }

    /// What a router tells of the packet that went out last.
    fn complaint(&self, a: u8, b: u8) -> Option<Vec<u8>> {
        let about = self.out.as_ref()?;
        let read = headers(about)?;
        let front = match (read.is_ipv4(), a % 3) {
            (true, 0) => [3, 1, 0, 0, 0, 0],
            (true, 1) => [3, 4, 0, 0, 4, b],
            (true, _) => [11, 0, 0, 0, 0, 0],
            (false, 0) => [1, 0, 0, 0, 0, 0],
            (false, 1) => [2, 0, 0, 0, 5, b],
            (false, _) => [3, 0, 0, 0, 0, 0],
        };
        let router = if read.is_ipv4() {
            "10.0.0.99"
        } else {
            "2001:db8:1::99"
        };
        let quoted = &about[..about.len().min(usize::from(b) + 20)];
        Some(message(router.parse().unwrap(), read.source, front, quoted))
    }

    /// Takes to heart what became of a packet.
    pub(super) fn learn(&mut self, frame: &[u8], verdict: Verdict, found: &[u8]) {
        if !matches!(verdict, Verdict::Forward(_) | Verdict::Reply) {
            return;
        }
        let Some(bytes) = ip_of(found) else { return };
        let Some(read) = headers(bytes) else { return };
        if let Body::Tcp(tcp) = read.body {
            let end = tcp.sequence.wrapping_add(read.segment_len());
            self.heard
                .insert((read.destination_end(), read.source_end()), end);
        }
        if matches!(verdict, Verdict::Forward(_)) && ip_of(frame).is_some() {
            self.out = Some(bytes.to_vec());
        }
    }
}

/// Eight clients, of the family of whom they address.
fn client(n: u8, to: &str) -> SocketAddr {
    let (host, port) = (n % 4, 40_000 + u16::from(n / 4 % 2));
    if to.starts_with('[') {
        ([0x2001, 0xdb8, 2, 0, 0, 0, 0, u16::from(host)], port).into()
    } else {
        ([192, 0, 2, host + 1], port).into()
    }
}

/// A packet to each service, and with its mark, from a sender who cannot be.
pub(super) fn forged() -> Vec<(Vec<u8>, u32)> {
    let packet = |(to, tcp): (&str, bool)| {
        let to: SocketAddr = to.parse().unwrap();
        let from = if to.is_ipv4() {
            "127.0.0.1:9"
        } else {
            "[::1]:9"
        };
        let mut packet = Vec::new();
        if tcp {
            TcpSegment::new(from.parse().unwrap(), to, SYN).emit(&mut packet);
        } else {
            Datagram::new(from.parse().unwrap(), to, b"").emit(&mut packet);
        }
        framed(&packet)
    };
    let frames = ADDRESSED[..13].iter().map(|it| (packet(*it), 0));
    let marked = (packet(ADDRESSED[14]), MARK);
    frames.chain([marked]).collect()
}

/// A datagram in three pieces, not always in order, and not always all.
fn pieces(a: u8, [order, skip, name]: [u8; 3]) -> Vec<Vec<u8>> {
    let to = "203.0.113.10:53";
    let mut packet = Vec::new();
    Datagram::new(client(a, to), to.parse().unwrap(), &[9; 40]).emit(&mut packet);
    let parts = [(0, 16), (16, 32), (32, 48)];
    let mut pieces = Vec::new();
    for at in 0..3 {
        if skip % 8 == at {
            continue;
        }
        let (from, to) = parts[usize::from((at + order % 3) % 3)];
        let mut piece = [&packet[..20], &packet[20 + from..20 + to]].concat();
        piece[2..4].copy_from_slice(&36_u16.to_be_bytes());
        let more = if to < 48 { 0x20 } else { 0 };
        piece[4..8].copy_from_slice(&[0, name % 4, more, u8::try_from(from / 8).unwrap()]);
        piece = super::build::with_header_checksum(piece);
        pieces.push(framed(&piece));
    }
    pieces
}

pub(super) fn framed(packet: &[u8]) -> Vec<u8> {
    let Mac(to) = OWN;
    let Mac(from) = GATEWAY;
    let kind: [u8; 2] = if packet[0] >> 4 == 6 {
        [0x86, 0xdd]
    } else {
        [8, 0]
    };
    [&to[..], &from, &kind, packet].concat()
}

/// The IP packet of a frame.
pub(super) fn ip_of(frame: &[u8]) -> Option<&[u8]> {
    let header = ethernet::Header::parse(frame)?;
    let ip = [ethernet::IPV4, ethernet::IPV6].contains(&header.kind);
    frame.get(header.len()..).filter(|_| ip)
}

pub(super) fn headers(packet: &[u8]) -> Option<Headers> {
    match parse(packet, Link::Ip) {
        Ok(Frame::Ip(headers)) => Some(headers),
        _ => None,
    }
}
