//! Whatever a client and a backend send, only what was issued begins a handshake, no more is held than
//! may be, and every packet that comes of it is sound.
//!
//! Few inputs carry a good cookie by chance, so the client is given the one that was issued for it,
//! and one of its bits is turned.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use lb_l4::method::splice::Splice;
use lb_l4::packet::{Checksum, Link, Packet};
use lb_l4::syn_proxy::{
    BackendStep, ClientStep, Cookies, HalfOpenId, SynProxy, SynProxyConfig, SynProxyLimits,
    SynProxyMode,
};
use lb_l4::wire::emit::TcpSegment;
use lb_l4::wire::tcp::flags::{ACK, SYN};
use lb_l4::wire::tcp::{TcpOption, options};
use lb_l4::wire::{Frame, Headers, parse};
use lbcore::Instant;
use lbcore::hash::HashKey;
use libfuzzer_sys::fuzz_target;

const HELD: usize = 4_000;
const NOW: Instant = Instant::from_nanos(5_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    let Some((&[choice, turned, options_len, sequence], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (asked, rest) = rest.split_at(rest.len().min(usize::from(options_len % 41)));
    let mut world = World::new(choice);
    let sequence = u32::from(sequence).wrapping_neg();
    let Some(client) = world.greet(sequence, asked) else {
        return;
    };
    world.accept(&client, Some(turned));
    let Some(id) = world.accept(&client, None) else {
        return;
    };
    world.talk(&client, id, rest);
});

struct World {
    proxy: SynProxy<()>,
    config: SynProxyConfig,
    ends: [SocketAddr; 2],
}

/// What a client repeats.
struct Client {
    sequence: u32,
    ours: u32,
    clock: Option<u32>,
}

impl World {
    fn new(choice: u8) -> Self {
        let cookies = Cookies::new(HashKey::from_seed(1), Duration::from_secs(1_800_000_000));
        let limits = SynProxyLimits::default().held_bytes(HELD);
        let ends = if choice & 1 == 0 {
            ["192.0.2.1:40000", "203.0.113.10:80"]
        } else {
            ["[2001:db8::1]:40000", "[2001:db8::10]:80"]
        };
        Self {
            proxy: SynProxy::new(cookies, limits),
            config: SynProxyConfig::default()
                .mode(SynProxyMode::Always)
                .timestamps(choice & 2 == 0)
                .sack(choice & 4 == 0)
                .ecn(choice & 8 != 0),
            ends: ends.map(|it| it.parse().expect("an end")),
        }
    }

    /// A SYN with these bytes as options, and what the client learns of the answer.
    fn greet(&mut self, sequence: u32, asked: &[u8]) -> Option<Client> {
        let [client, service] = self.ends;
        let syn = TcpSegment::new(client, service, SYN)
            .sequence(sequence)
            .options(asked);
        let (answered, bytes) = through(&syn, |packet, headers| {
            self.proxy.answer(NOW, &self.config, packet, headers)
        });
        answered.expect("there is room, and it is sound");
        let headers = headers_of(&bytes);
        let tcp = headers.tcp().expect("TCP");
        assert_eq!(tcp.acknowledgement, sequence.wrapping_add(1));
        assert_eq!(self.proxy.stats().half_open, 0);
        let said = options(&bytes[headers.transport + 20..headers.payload().start]);
        let clock = said.into_iter().find_map(|it| match it {
            TcpOption::Timestamps { value, .. } => Some(value),
            _ => None,
        });
        Some(Client {
            sequence,
            ours: tcp.sequence,
            clock,
        })
    }

    /// The ACK to that, perhaps with a bit turned: then nothing comes of it.
    fn accept(&mut self, client: &Client, turned: Option<u8>) -> Option<HalfOpenId> {
        let bit = turned.map_or(0, |it| 1_u32 << (it % 32));
        let clock = client.clock.unwrap_or(0);
        let said = client.options(match turned {
            Some(64..) => clock ^ bit,
            _ => clock,
        });
        // Above 64 it is a bit of the timestamp, if there is one.
        let of_clock = client.clock.is_some() && matches!(turned, Some(64..));
        let ours = client.ours ^ if of_clock { 0 } else { bit };
        let [from, to] = self.ends;
        let ack = TcpSegment::new(from, to, ACK)
            .sequence(client.sequence.wrapping_add(1))
            .acknowledgement(ours.wrapping_add(1))
            .options(&said)
            .payload(b"first");
        let (accepted, _) = through(&ack, |packet, headers| {
            self.proxy.accept(NOW, &self.config, packet, headers)
        });
        if turned.is_some() {
            assert!(accepted.is_err(), "a bit was turned");
            return None;
        }
        let accepted = accepted.expect("it was issued");
        Some(self.proxy.open(NOW, (), accepted))
    }

    /// Packets of both sides, four bytes of what they are and what they carry for each.
    fn talk(&mut self, client: &Client, id: HalfOpenId, mut rest: &[u8]) {
        let mut out = Vec::new();
        let mut splice: Option<Splice> = None;
        let mut now = NOW;
        while let Some((&[kind, flags, offset, len], behind)) = rest.split_first_chunk() {
            let (carried, behind) = behind.split_at(behind.len().min(usize::from(len)));
            rest = behind;
            let [from, to] = self.ends;
            let numbers = (client.sequence.wrapping_add(1), client.ours.wrapping_add(1));
            let (options, payload) = carried.split_at(carried.len().min(usize::from(kind % 41)));
            let segment = match kind >> 6 {
                0 | 1 => TcpSegment::new(from, to, flags)
                    .sequence(
                        numbers
                            .0
                            .wrapping_add_signed(i32::from(offset.cast_signed())),
                    )
                    .acknowledgement(numbers.1 ^ u32::from(kind >> 6)),
                2 => TcpSegment::new(to, from, flags)
                    .sequence(u32::from(offset) << 24)
                    .acknowledgement(numbers.0.wrapping_add(u32::from(offset & 1))),
                _ => {
                    now = now + Duration::from_millis(u64::from(offset) * 20);
                    while self.proxy.poll_due(now, &mut out).is_some() {
                        sound(&out);
                    }
                    continue;
                }
            };
            let segment = segment
                .window(u16::from(len) << 8)
                .options(options)
                .payload(payload);
            let (_, bytes) = through(&segment, |packet, headers| {
                if let Some(splice) = &mut splice {
                    match kind >> 6 {
                        2 => splice.to_client(packet, headers),
                        _ => splice.to_backend(packet, headers),
                    }
                } else if kind >> 6 == 2 {
                    splice = self.backend(id, packet, headers, &mut out);
                } else {
                    let step = self.proxy.handle_client(id, packet, headers);
                    assert!(!matches!(step, ClientStep::Reply) || flags & SYN != 0);
                }
            });
            sound(&bytes);
            let stats = self.proxy.stats();
            assert!(
                stats.held_bytes <= HELD && stats.half_open <= 1,
                "{stats:?}"
            );
            assert!(stats.half_open == 1 || stats.held_bytes == 0, "{stats:?}");
        }
    }

    fn backend(
        &mut self,
        id: HalfOpenId,
        packet: &mut Packet<'_>,
        headers: &mut Headers,
        out: &mut Vec<u8>,
    ) -> Option<Splice> {
        let (splice, mut released) = match self.proxy.handle_backend(id, packet, headers) {
            BackendStep::Joined {
                splice, released, ..
            } => (Some(splice), released),
            BackendStep::Refused(Some(released)) => (None, released),
            _ => return None,
        };
        let mut segments = 0;
        while released.poll(out) {
            sound(out);
            segments += 1;
        }
        assert!((1..=1 + HELD / 496).contains(&segments), "{segments}");
        splice
    }
}

impl Client {
    fn options(&self, clock: u32) -> Vec<u8> {
        let mut said = Vec::new();
        if self.clock.is_some() {
            let timestamps = TcpOption::Timestamps {
                value: 9,
                echo: clock,
            };
            timestamps.emit(&mut said);
        }
        said
    }
}

/// What `step` makes of a segment, and its bytes then.
fn through<T>(
    segment: &TcpSegment<'_>,
    step: impl FnOnce(&mut Packet<'_>, &mut Headers) -> T,
) -> (T, Vec<u8>) {
    let mut buffer = vec![0; 64];
    segment.emit(&mut buffer);
    let len = buffer.len();
    let mut headers = headers_of(&buffer[64..]);
    let mut packet = Packet::new(&mut buffer, 64..len, Link::Ip);
    let result = step(&mut packet, &mut headers);
    assert_eq!(
        headers,
        headers_of(packet.bytes()),
        "headers follow the bytes"
    );
    let bytes = packet.bytes().to_vec();
    (result, bytes)
}

fn headers_of(bytes: &[u8]) -> Headers {
    match parse(bytes, Link::Ip) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

fn sound(bytes: &[u8]) {
    let headers = headers_of(bytes);
    assert!(headers.checksum_is_right(bytes, Checksum::Complete));
    assert!(headers.header_checksum_is_right(bytes));
}
