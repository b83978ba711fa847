//! Fragments in any order, with time between them: bounds hold, and nothing passes that overlaps.
#![no_main]

use std::collections::HashMap;
use std::time::Duration;

use lb_l4::fragment::{FragmentConfig, FragmentTable, Fragmented, set_identification, split};
use lb_l4::packet::{Link, Packet};
use lb_l4::wire::emit::IpHeader;
use lb_l4::wire::{Frame, Headers, parse, protocol};
use lbcore::Instant;
use libfuzzer_sys::fuzz_target;

const MOST: usize = 8;
const HELD: usize = 2000;

fuzz_target!(|input: &[u8]| {
    let config = FragmentConfig::default()
        .datagrams(MOST)
        .held_bytes(HELD)
        .fragments(16);
    let mut run = Run {
        table: FragmentTable::new(config),
        now: Instant::ZERO,
        held: 0,
        released: 0,
        passed: HashMap::new(),
    };
    let mut steps = input;
    while let Some((&step, rest)) = steps.split_first_chunk::<6>() {
        steps = run.step(step, rest);
        run.check();
    }
    run.table.handle_timeout(Instant::MAX);
    let stats = run.table.stats();
    assert_eq!((stats.datagrams, stats.held_bytes), (0, 0));
    assert_eq!(run.table.poll_timeout(), None);
    assert!(run.table.poll_released().is_none());
});

struct Run {
    table: FragmentTable,
    now: Instant,
    held: u64,
    released: u64,
    /// The ranges of each datagram that passed, by its new identification.
    passed: HashMap<u32, Vec<(usize, usize)>>,
}

impl Run {
    /// Does one step, and gives what is left of the input.
    fn step<'a>(&mut self, step: [u8; 6], rest: &'a [u8]) -> &'a [u8] {
        let [what, id, place, len, a, b] = step;
        match what % 8 {
            0 => {
                self.now += Duration::from_millis(u64::from(u16::from_be_bytes([a, b])));
                self.table.handle_timeout(self.now);
                assert!(self.table.poll_timeout().is_none_or(|at| at > self.now));
                rest
            }
            1 => {
                while let Some(it) = self.table.poll_released() {
                    self.released += 1;
                    let headers = read(&it.bytes).expect("it was read before");
                    self.pass(it.piece.identification, &headers);
                }
                rest
            }
            // Any packet.
            2 => {
                let (packet, rest) = rest.split_at(rest.len().min(usize::from(len)));
                self.ask(packet, a);
                rest
            }
            // A fragment that the parser takes, mostly.
            _ => {
                let packet = fragment(what & 8 == 0, id % 16, place, len, a, b);
                self.ask(&packet, b);
                rest
            }
        }
    }

    fn ask(&mut self, bytes: &[u8], tag: u8) {
        let Some(headers) = read(bytes) else { return };
        let mut copy = bytes.to_vec();
        let end = copy.len();
        let packet = Packet::new(&mut copy, 0..end, Link::Ip);
        let _ = split(&packet, &headers, usize::from(tag) * 4, |part| {
            let read = read(part).expect("a fragment that can be read");
            let right = headers.header_checksum_is_right(bytes);
            assert_eq!(read.header_checksum_is_right(part), right);
        });
        match self.table.handle(self.now, &packet, &headers) {
            Fragmented::Flow(piece) if headers.fragment.is_some() => {
                self.table.learn(&headers, tag.into());
                self.pass(piece.identification, &headers);
                let mut headers = headers;
                assert!(set_identification(
                    &mut copy,
                    &mut headers,
                    piece.identification
                ));
            }
            Fragmented::Held => self.held += 1,
            _ => {}
        }
    }

    /// What has passed of one datagram is never one byte twice, save the same range again.
    fn pass(&mut self, identification: u32, headers: &Headers) {
        let Some(part) = headers.fragment else { return };
        if !headers.is_ipv4() && !headers.is_later_fragment() {
            // What is behind extension headers is not told by the offset alone.
            return;
        }
        let range = (part.offset, part.offset + headers.end - headers.transport);
        let seen = self.passed.entry(identification).or_default();
        let overlaps = |&(from, to): &(usize, usize)| from < range.1 && range.0 < to;
        assert!(
            seen.iter().all(|it| *it == range || !overlaps(it)),
            "{seen:?} {range:?}"
        );
        seen.push(range);
    }

    fn check(&self) {
        let stats = self.table.stats();
        assert!(stats.datagrams <= MOST);
        assert!(stats.held_bytes <= HELD);
        assert!(self.released + stats.discarded <= self.held);
    }
}

fn read(bytes: &[u8]) -> Option<Headers> {
    match parse(bytes, Link::Ip) {
        Ok(Frame::Ip(headers)) => Some(headers),
        _ => None,
    }
}

fn fragment(ipv4: bool, id: u8, place: u8, len: u8, a: u8, b: u8) -> Vec<u8> {
    let last = a & 1 != 0;
    let len = usize::from(len % 32) * if last { 1 } else { 8 };
    let mut payload = vec![0; len];
    if let Some(field) = payload.get_mut(4..6) {
        field.copy_from_slice(&u16::try_from(len.max(8)).expect("short").to_be_bytes());
    }
    let from = u16::from(place % 32) << 3;
    let more = u16::from(!last);
    let mut behind = Vec::new();
    if !ipv4 {
        behind.extend_from_slice(&[protocol::UDP, 0]);
        behind.extend_from_slice(&(from | more).to_be_bytes());
        behind.extend_from_slice(&[0, 0, b & 1, id]);
    }
    behind.extend_from_slice(&payload);
    let (source, destination) = if ipv4 {
        ("192.0.2.1", "203.0.113.10")
    } else {
        ("2001:db8::1", "2001:db8::2")
    };
    let mut bytes = Vec::new();
    IpHeader {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        protocol: if ipv4 { protocol::UDP } else { 44 },
        ttl: 64,
        traffic_class: 0,
        payload_len: behind.len(),
    }
    .emit(&mut bytes);
    if ipv4 {
        bytes[4..6].copy_from_slice(&[0, id]);
        bytes[6..8].copy_from_slice(&(from >> 3 | more << 13).to_be_bytes());
    }
    bytes.extend_from_slice(&behind);
    bytes
}
