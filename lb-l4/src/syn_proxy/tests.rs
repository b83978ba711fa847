use std::time::Duration;

use lbcore::Instant;
use lbcore::hash::HashKey;
use lbcore::rng::{Rng, Xoshiro};

use super::segment::{Said, Timestamps};
use super::*;
use crate::method::splice::Splice;
use crate::packet::{Checksum, DropReason, Link, Packet};
use crate::wire::emit::TcpSegment;
use crate::wire::tcp::flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN};
use crate::wire::{Frame, Headers, TcpHeader, parse};

const CLIENT: &str = "192.0.2.1:40000";
const SERVICE: &str = "203.0.113.10:80";
const BACKEND: &str = "10.0.0.7:8080";
const T0: Instant = Instant::from_nanos(1_000_000_000);
/// The client's initial sequence number, near the end so that its data wrap.
const ISN: u32 = u32::MAX - 1;
const FIRST: u32 = ISN.wrapping_add(1);

fn config() -> SynProxyConfig {
    SynProxyConfig::default().mode(SynProxyMode::Always)
}

fn proxy() -> SynProxy<u32> {
    bounded(SynProxyLimits::default())
}

fn bounded(limits: SynProxyLimits) -> SynProxy<u32> {
    let cookies = Cookies::new(HashKey::from_seed(1), Duration::from_secs(1_800_000_000));
    SynProxy::new(cookies, limits)
}

/// One packet behind an Ethernet header, with room around it.
struct Wire {
    buffer: Vec<u8>,
    range: std::ops::Range<usize>,
    headers: Headers,
}

impl Wire {
    fn new(segment: &TcpSegment<'_>) -> Self {
        let mut buffer = vec![0; 64];
        buffer.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        buffer.extend(if segment.source.is_ipv4() {
            [8, 0]
        } else {
            [0x86, 0xdd]
        });
        segment.emit(&mut buffer);
        let range = 64..buffer.len();
        buffer.resize(buffer.len() + 64, 0);
        let headers = headers_of(&buffer[range.clone()], Link::Ethernet);
        Self {
            buffer,
            range,
            headers,
        }
    }

    /// What `step` makes of it.
    fn through<T>(&mut self, step: impl FnOnce(&mut Packet<'_>, &mut Headers) -> T) -> T {
        let mut packet = Packet::new(&mut self.buffer, self.range.clone(), Link::Ethernet);
        let result = step(&mut packet, &mut self.headers);
        self.range = packet.range();
        assert_eq!(self.headers, headers_of(self.bytes(), Link::Ethernet));
        assert!(
            self.headers
                .checksum_is_right(self.bytes(), Checksum::Complete)
        );
        assert!(self.headers.header_checksum_is_right(self.bytes()));
        result
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    fn tcp(&self) -> TcpHeader {
        *self.headers.tcp().unwrap()
    }

    fn said(&mut self) -> Said {
        self.through(|packet, headers| Said::read(packet, headers))
    }

    fn ends(&self) -> [String; 2] {
        [self.headers.source_end(), self.headers.destination_end()].map(|it| it.to_string())
    }

    /// Whether its link header is turned round.
    fn goes_back(&self) -> bool {
        self.bytes()[..12] == [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]
    }
}

fn headers_of(bytes: &[u8], link: Link) -> Headers {
    match parse(bytes, link) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

fn from_client(flags: u8) -> TcpSegment<'static> {
    TcpSegment::new(CLIENT.parse().unwrap(), SERVICE.parse().unwrap(), flags)
}

fn from_backend(flags: u8) -> TcpSegment<'static> {
    TcpSegment::new(BACKEND.parse().unwrap(), CLIENT.parse().unwrap(), flags)
}

/// What a client of these days asks for.
const ASKED: Said = Said {
    mss: Some(1_400),
    window_scale: Some(9),
    sack: true,
    timestamps: Some(Timestamps {
        value: 777,
        echo: 0,
    }),
};

/// What one of long ago does.
const PLAIN: Said = Said {
    mss: None,
    window_scale: None,
    sack: false,
    timestamps: None,
};

/// A client that has our SYN-ACK, with what it repeats.
#[derive(Clone, Copy)]
struct Client {
    ours: u32,
    clock: Option<u32>,
}

fn greeted(proxy: &mut SynProxy<u32>, config: &SynProxyConfig, asked: &Said) -> (Client, Wire) {
    let options = asked.options();
    let syn = from_client(SYN).sequence(ISN).options(options.bytes());
    let mut wire = Wire::new(&syn);
    let answered = wire.through(|packet, headers| proxy.answer(T0, config, packet, headers));
    assert_eq!(answered, Ok(()));
    let client = Client {
        ours: wire.tcp().sequence,
        clock: wire.said().timestamps.map(|it| it.value),
    };
    (client, wire)
}

impl Client {
    /// A segment of the client's at `offset` of its data.
    fn segment(&self, flags: u8, offset: u32, payload: &[u8]) -> Wire {
        let said = Said {
            timestamps: self.clock.map(|echo| Timestamps { value: 778, echo }),
            ..PLAIN
        };
        let options = said.options();
        let segment = TcpSegment {
            options: options.bytes(),
            payload,
            ..from_client(flags)
                .sequence(FIRST.wrapping_add(offset))
                .acknowledgement(self.ours.wrapping_add(1))
                .window(500)
        };
        Wire::new(&segment)
    }
}

fn accepted(proxy: &mut SynProxy<u32>, config: &SynProxyConfig, ack: &mut Wire) -> Accepted {
    ack.through(|packet, headers| proxy.accept(T0, config, packet, headers))
        .unwrap()
}

/// A client whose backend has been sent a SYN.
fn opened(
    proxy: &mut SynProxy<u32>,
    config: &SynProxyConfig,
    asked: &Said,
) -> (Client, HalfOpenId, Wire) {
    let (client, _) = greeted(proxy, config, asked);
    let mut ack = client.segment(ACK, 0, b"");
    let accepted = accepted(proxy, config, &mut ack);
    (client, proxy.open(T0, 5, accepted), ack)
}

/// The backend's SYN-ACK, with number 9000 and clock 60.
fn syn_ack(flags: u8, said: &Said) -> Wire {
    let options = said.options();
    let segment = from_backend(SYN | ACK | flags)
        .sequence(9_000)
        .acknowledgement(FIRST)
        .window(20_000);
    Wire::new(&TcpSegment {
        options: options.bytes(),
        ..segment
    })
}

/// A backend that takes everything.
const ANSWER: Said = Said {
    mss: Some(1_460),
    window_scale: Some(5),
    sack: true,
    timestamps: Some(Timestamps {
        value: 60,
        echo: 777,
    }),
};

fn to_backend(
    proxy: &mut SynProxy<u32>,
    id: HalfOpenId,
    wire: &mut Wire,
) -> (Splice, Vec<(TcpHeader, Vec<u8>)>) {
    match wire.through(|packet, headers| proxy.handle_backend(id, packet, headers)) {
        BackendStep::Joined {
            splice, released, ..
        } => (splice, segments(released)),
        other => panic!("{other:?}"),
    }
}

fn segments(mut released: Released) -> Vec<(TcpHeader, Vec<u8>)> {
    let mut out = Vec::new();
    let mut segments = Vec::new();
    while released.poll(&mut out) {
        let headers = headers_of(&out, Link::Ip);
        assert!(headers.checksum_is_right(&out, Checksum::Complete));
        assert_eq!(
            [headers.source_end(), headers.destination_end()].map(|it| it.to_string()),
            [CLIENT, SERVICE]
        );
        segments.push((*headers.tcp().unwrap(), out[headers.payload()].to_vec()));
        assert!(segments.len() < 100);
    }
    assert!(out.is_empty());
    segments
}

fn hold(proxy: &mut SynProxy<u32>, id: HalfOpenId, mut wire: Wire) -> ClientStep {
    wire.through(|packet, headers| proxy.handle_client(id, packet, headers))
}

#[test]
fn a_syn_is_answered_with_what_was_asked_and_is_to_be_had() {
    let mut proxy = proxy();
    let (_, mut wire) = greeted(&mut proxy, &config(), &ASKED);
    assert_eq!(wire.ends(), [SERVICE, CLIENT]);
    assert!(wire.goes_back());
    let tcp = wire.tcp();
    assert_eq!(
        (tcp.flags, tcp.acknowledgement, tcp.window),
        (SYN | ACK, FIRST, 14_600)
    );
    let said = wire.said();
    assert_eq!(
        (said.mss, said.window_scale, said.sack),
        (Some(1_460), Some(7), true)
    );
    assert_eq!(said.timestamps.unwrap().echo, 777);
    assert_eq!(proxy.stats().answered, 1);

    let less = config()
        .sack(false)
        .timestamps(false)
        .mss(1_300)
        .window(2_000);
    let (_, mut wire) = greeted(&mut proxy, &less, &ASKED);
    let expected = Said {
        mss: Some(1_300),
        window_scale: Some(7),
        ..PLAIN
    };
    assert_eq!((wire.said(), wire.tcp().window), (expected, 2_000));

    let (_, mut wire) = greeted(&mut proxy, &config(), &PLAIN);
    let expected = Said {
        mss: Some(1_460),
        ..PLAIN
    };
    assert_eq!(wire.said(), expected);
    assert_eq!((proxy.stats().answered, proxy.stats().half_open), (3, 0));
}

#[test]
fn an_answer_is_written_wherever_there_is_room_and_else_not_at_all() {
    let mut bytes = Vec::new();
    from_client(SYN).sequence(ISN).emit(&mut bytes);
    let answer = |front: usize, back: usize| {
        let mut buffer = vec![0; front];
        buffer.extend(&bytes);
        buffer.resize(front + 40 + back, 0);
        let mut packet = Packet::new(&mut buffer, front..front + 40, Link::Ip);
        let mut headers = headers_of(packet.bytes(), Link::Ip);
        let result = proxy().answer(T0, &config(), &mut packet, &mut headers);
        let after = headers_of(packet.bytes(), Link::Ip);
        (result, after.tcp().unwrap().flags, packet.bytes().len())
    };
    for (front, back) in [(0, 4), (4, 0), (3, 1), (9, 9)] {
        assert_eq!(
            answer(front, back),
            (Ok(()), SYN | ACK, 44),
            "{front} {back}"
        );
    }
    assert_eq!(answer(1, 2), (Err(DropReason::NoRoom), SYN, 40));
}

#[test]
fn ecn_is_agreed_to_only_where_it_is_asked_for_and_wanted() {
    for (flags, wanted, timestamps, agreed) in [
        (SYN | ECE | CWR, true, true, true),
        (SYN | ECE, true, true, false),
        (SYN | ECE | CWR, false, true, false),
        (SYN | ECE | CWR, true, false, false),
    ] {
        let mut proxy = proxy();
        let config = config().ecn(wanted).timestamps(timestamps);
        let options = ASKED.options();
        let mut wire = Wire::new(&from_client(flags).sequence(ISN).options(options.bytes()));
        wire.through(|packet, headers| proxy.answer(T0, &config, packet, headers))
            .unwrap();
        assert_eq!(wire.tcp().has(ECE), agreed);
        assert!(!wire.tcp().has(CWR));
        let client = Client {
            ours: wire.tcp().sequence,
            clock: wire.said().timestamps.map(|it| it.value),
        };
        let mut ack = client.segment(ACK, 0, b"");
        let accepted = accepted(&mut proxy, &config, &mut ack);
        let both = if agreed { ECE | CWR } else { 0 };
        assert_eq!(ack.tcp().flags, SYN | both);
        let id = proxy.open(T0, 5, accepted);
        let (splice, _) = to_backend(&mut proxy, id, &mut syn_ack(0, &ANSWER));
        assert_eq!(splice.blank_ecn, agreed, "the backend did not agree");
    }
}

#[test]
fn a_segment_of_ipv6_is_20_bytes_shorter() {
    let mut proxy = proxy();
    let [source, destination] =
        ["[2001:db8::1]:40000", "[2001:db8::2]:80"].map(|it| it.parse().unwrap());
    let syn = TcpSegment::new(source, destination, SYN).sequence(ISN);
    let mut wire = Wire::new(&syn);
    wire.through(|packet, headers| proxy.answer(T0, &config(), packet, headers))
        .unwrap();
    assert_eq!(wire.said().mss, Some(1_440));
    let ack = TcpSegment::new(source, destination, ACK)
        .sequence(FIRST)
        .acknowledgement(wire.tcp().sequence.wrapping_add(1));
    let mut ack = Wire::new(&ack);
    accepted(&mut proxy, &config(), &mut ack);
    // RFC 8200, 5: a host that names no size takes 1,220, which a cookie knows.
    assert_eq!((ack.tcp().flags, ack.said().mss), (SYN, Some(1_220)));
}

#[test]
fn only_a_sound_syn_is_answered() {
    let mut proxy = proxy();
    for flags in [SYN | ACK, SYN | FIN, SYN | RST, ACK, 0] {
        let mut wire = Wire::new(&from_client(flags));
        let answered = wire.through(|packet, headers| proxy.answer(T0, &config(), packet, headers));
        assert_eq!(answered, Err(DropReason::NoSession));
    }
    let mut wire = Wire::new(&from_client(SYN));
    wire.buffer[wire.range.start + 14 + 36] ^= 1;
    let mut packet = Packet::new(&mut wire.buffer, wire.range.clone(), Link::Ethernet);
    let answered = proxy.answer(T0, &config(), &mut packet, &mut wire.headers);
    assert_eq!(answered, Err(DropReason::BadChecksum));
    assert_eq!(proxy.stats(), SynProxyStats::default());
}

#[test]
fn an_ack_that_returns_its_cookie_is_the_clients_syn_again() {
    let mut proxy = proxy();
    let (client, _) = greeted(&mut proxy, &config(), &ASKED);
    let mut ack = client.segment(ACK, 0, b"hello");
    accepted(&mut proxy, &config(), &mut ack);
    assert_eq!(ack.ends(), [CLIENT, SERVICE]);
    assert!(!ack.goes_back());
    let tcp = ack.tcp();
    assert_eq!((tcp.flags, tcp.sequence), (SYN, ISN));
    // 500 << 9, which a SYN cannot say.
    assert_eq!(tcp.window, u16::MAX);
    let said = Said {
        timestamps: Some(Timestamps {
            value: 778,
            echo: 0,
        }),
        ..ASKED
    };
    assert_eq!((ack.said(), ack.headers.payload().len()), (said, 0));
    let stats = proxy.stats();
    assert_eq!((stats.accepted, stats.held_bytes), (1, 5));
}

#[test]
fn what_returns_no_cookie_is_refused_and_nothing_is_kept() {
    let mut proxy = proxy();
    let (client, _) = greeted(&mut proxy, &config(), &ASKED);
    for (flags, reason) in [
        (RST | ACK, DropReason::NoSession),
        (SYN | ACK, DropReason::NoSession),
        (PSH, DropReason::NoSession),
    ] {
        let mut wire = client.segment(flags, 0, b"");
        let result = wire.through(|packet, headers| proxy.accept(T0, &config(), packet, headers));
        assert_eq!(result.unwrap_err(), reason);
    }
    let wrong = Client {
        ours: client.ours.wrapping_add(1),
        ..client
    };
    let late = T0 + SLOT * 3;
    for (mut wire, now) in [
        (wrong.segment(ACK, 0, b"x"), T0),
        (client.segment(ACK, 1, b"x"), T0),
        (client.segment(ACK, 0, b"x"), late),
    ] {
        let before = wire.bytes().to_vec();
        let result = wire.through(|packet, headers| proxy.accept(now, &config(), packet, headers));
        assert_eq!(result.unwrap_err(), DropReason::SynCookieWrong);
        assert_eq!(wire.bytes(), before);
    }
    let mut wire = client.segment(ACK, 0, b"x");
    let last = wire.range.end - 1;
    wire.buffer[last] ^= 1;
    let mut packet = Packet::new(&mut wire.buffer, wire.range.clone(), Link::Ethernet);
    let result = proxy.accept(T0, &config(), &mut packet, &mut wire.headers);
    assert_eq!(result.unwrap_err(), DropReason::BadChecksum);
    let stats = proxy.stats();
    assert_eq!((stats.wrong, stats.accepted, stats.held_bytes), (3, 0, 0));
}

#[test]
fn no_more_handshakes_are_begun_than_may_be() {
    let mut proxy = bounded(SynProxyLimits::default().handshakes(1));
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    let mut ack = client.segment(ACK, 0, b"x");
    let result = ack.through(|packet, headers| proxy.accept(T0, &config(), packet, headers));
    assert_eq!(result.unwrap_err(), DropReason::HoldFull);
    let stats = proxy.stats();
    assert_eq!(
        (stats.crowded, stats.half_open, stats.held_bytes),
        (1, 1, 0)
    );
    proxy.close(id);
    proxy.close(id);
    accepted(&mut proxy, &config(), &mut ack);
    assert_eq!((proxy.stats().half_open, proxy.poll_timeout()), (0, None));
}

#[test]
fn a_client_without_a_session_gets_an_rst() {
    let mut proxy = proxy();
    let (client, _) = greeted(&mut proxy, &config(), &ASKED);
    let mut ack = client.segment(ACK, 0, b"hello");
    let accepted = accepted(&mut proxy, &config(), &mut ack);
    ack.through(|packet, headers| proxy.refuse(accepted, packet, headers))
        .unwrap();
    assert_eq!(ack.ends(), [SERVICE, CLIENT]);
    assert!(ack.goes_back());
    let tcp = ack.tcp();
    assert_eq!(
        (tcp.flags, tcp.sequence, tcp.acknowledgement),
        (RST | ACK, client.ours.wrapping_add(1), FIRST)
    );
    assert_eq!(proxy.stats().held_bytes, 0);
}

#[test]
fn the_backends_answer_opens_the_clients_window_and_joins_them() {
    let mut proxy = proxy();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    let mut answer = syn_ack(0, &ANSWER);
    let (splice, sent) = to_backend(&mut proxy, id, &mut answer);
    let ours = client.clock.unwrap();
    let expected = Splice::default()
        .backend_sequence(client.ours.wrapping_sub(9_000))
        .backend_timestamp(ours.wrapping_sub(60))
        .backend_window(-2);
    assert_eq!(splice, expected);
    // In the backend's numbers, and the window in its scale.
    let tcp = answer.tcp();
    assert_eq!(
        (tcp.flags, tcp.sequence, tcp.acknowledgement, tcp.window),
        (ACK, 9_001, FIRST, 20_000 >> 5)
    );
    assert_eq!(answer.said().timestamps, ANSWER.timestamps);
    assert_eq!(answer.ends(), [BACKEND, CLIENT]);
    assert!(!answer.goes_back());
    // What the client has said, in its own numbers.
    let [(ack, payload)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(
        (ack.flags, ack.sequence, ack.acknowledgement, ack.window),
        (ACK, FIRST, client.ours.wrapping_add(1), 500)
    );
    assert_eq!(payload, b"");
    let stats = proxy.stats();
    assert_eq!((stats.joined, stats.half_open), (1, 0));
    assert_eq!(proxy.poll_timeout(), None);
}

#[test]
fn scales_that_the_backend_does_not_have_are_translated() {
    // Asked, answered: shifts of the client's windows and of the backend's.
    for (asked, answered, client, backend) in [
        (Some(9), Some(7), 0, 0),
        (Some(9), Some(0), 0, -7),
        (Some(9), Some(14), 0, 7),
        (Some(9), None, 9, -7),
        (Some(0), None, 0, -7),
        (None, None, 0, 0),
        // An answer to what was not asked counts for nothing (RFC 7323, 2.2).
        (None, Some(3), 0, 0),
    ] {
        let mut proxy = proxy();
        let asked = Said {
            window_scale: asked,
            ..ASKED
        };
        let (_, id, _) = opened(&mut proxy, &config(), &asked);
        let answer = Said {
            window_scale: answered,
            ..ANSWER
        };
        let mut answer = syn_ack(0, &answer);
        let (splice, _) = to_backend(&mut proxy, id, &mut answer);
        assert_eq!(
            (splice.client_window, splice.backend_window),
            (client, backend)
        );
        let scale = asked.window_scale.and(answered).unwrap_or(0);
        assert_eq!(answer.tcp().window, (20_000 >> scale).max(1));
    }
}

#[test]
fn sack_that_the_backend_does_not_take_is_taken_out() {
    for (asked, answered, blank) in [
        (true, true, false),
        (true, false, true),
        (false, false, false),
    ] {
        let mut proxy = proxy();
        let asked = Said {
            sack: asked,
            ..ASKED
        };
        let (_, id, _) = opened(&mut proxy, &config(), &asked);
        let answer = Said {
            sack: answered,
            ..ANSWER
        };
        let (splice, _) = to_backend(&mut proxy, id, &mut syn_ack(0, &answer));
        assert_eq!(splice.blank_sack, blank);
    }
}

#[test]
fn ecn_that_the_backend_takes_stays() {
    let mut proxy = proxy();
    let config = config().ecn(true);
    let options = ASKED.options();
    let mut wire = Wire::new(
        &from_client(SYN | ECE | CWR)
            .sequence(ISN)
            .options(options.bytes()),
    );
    wire.through(|packet, headers| proxy.answer(T0, &config, packet, headers))
        .unwrap();
    let client = Client {
        ours: wire.tcp().sequence,
        clock: wire.said().timestamps.map(|it| it.value),
    };
    let accepted = accepted(&mut proxy, &config, &mut client.segment(ACK, 0, b""));
    let id = proxy.open(T0, 5, accepted);
    let (splice, _) = to_backend(&mut proxy, id, &mut syn_ack(ECE, &ANSWER));
    assert!(!splice.blank_ecn);
}

#[test]
fn a_backend_without_the_timestamps_that_were_promised_is_given_up() {
    let mut proxy = proxy();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    let answer = Said {
        timestamps: None,
        ..ANSWER
    };
    let mut wire = syn_ack(0, &answer);
    let step = wire.through(|packet, headers| proxy.handle_backend(id, packet, headers));
    let BackendStep::Refused(Some(released)) = step else {
        panic!("{step:?}")
    };
    let tcp = wire.tcp();
    assert_eq!(
        (tcp.flags, tcp.sequence),
        (RST | ACK, client.ours.wrapping_add(1))
    );
    let [(reset, _)] = &segments(released)[..] else {
        panic!("one segment")
    };
    assert_eq!((reset.flags, reset.sequence), (RST, FIRST));
    let stats = proxy.stats();
    assert_eq!(
        (stats.promises_broken, stats.refused, stats.half_open),
        (1, 0, 0)
    );

    // Where none were promised none are missed, and none of the backend's are told.
    let (_, id, _) = opened(&mut proxy, &config().timestamps(false), &ASKED);
    let mut wire = syn_ack(0, &ANSWER);
    let (splice, _) = to_backend(&mut proxy, id, &mut wire);
    assert_eq!(
        (splice.backend_timestamp, wire.said().timestamps),
        (0, None)
    );
}

#[test]
fn data_before_the_answer_is_held_in_order_and_released() {
    let mut proxy = proxy();
    let (client, _) = greeted(&mut proxy, &config(), &ASKED);
    let mut ack = client.segment(ACK, 0, b"abc");
    let accepted = accepted(&mut proxy, &config(), &mut ack);
    let id = proxy.open(T0, 5, accepted);
    // Next, again, overlapping, a gap, a keep-alive, an empty one, and the last.
    for (offset, payload, step) in [
        (3, &b"def"[..], ClientStep::Held),
        (0, b"abc", ClientStep::Held),
        (2, b"cdefg", ClientStep::Held),
        (8, b"i", ClientStep::Drop(DropReason::HoldFull)),
        (u32::MAX, b"?", ClientStep::Held),
        (9, b"", ClientStep::Held),
    ] {
        let held = hold(&mut proxy, id, client.segment(ACK, offset, payload));
        assert_eq!(held, step, "{offset}");
    }
    assert_eq!(proxy.stats().held_bytes, 7);
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK | FIN, 7, b"h")),
        ClientStep::Held
    );
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK, 8, b"i")),
        ClientStep::Held
    );
    let (_, sent) = to_backend(&mut proxy, id, &mut syn_ack(0, &ANSWER));
    let [(tcp, payload)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(payload, b"abcdefgh");
    assert_eq!((tcp.flags, tcp.sequence), (ACK | PSH | FIN, FIRST));
    assert_eq!(proxy.stats().held_bytes, 0);
}

#[test]
fn what_was_held_is_cut_to_the_backends_segments_and_window() {
    let mut proxy = proxy();
    let data: Vec<u8> = (0..3_000_u32).map(|it| it.to_le_bytes()[0]).collect();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK | FIN, 0, &data)),
        ClientStep::Held
    );
    let answer = Said {
        mss: Some(1_040),
        ..ANSWER
    };
    let (_, sent) = to_backend(&mut proxy, id, &mut syn_ack(0, &answer));
    let lens: Vec<_> = sent.iter().map(|(tcp, it)| (it.len(), tcp.flags)).collect();
    assert_eq!(lens, [(1_000, ACK), (1_000, ACK), (1_000, ACK | PSH | FIN)]);
    assert_eq!(sent[2].0.sequence, FIRST.wrapping_add(2_000));
    let all: Vec<u8> = sent.into_iter().flat_map(|(_, it)| it).collect();
    assert_eq!(all, data);

    // A backend with a small window and no word on its segments.
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK | FIN, 0, &data)),
        ClientStep::Held
    );
    let answer = Said {
        mss: None,
        ..ANSWER
    };
    let options = answer.options();
    let segment = from_backend(SYN | ACK)
        .sequence(9_000)
        .acknowledgement(FIRST)
        .window(600);
    let mut wire = Wire::new(&TcpSegment {
        options: options.bytes(),
        ..segment
    });
    let (_, sent) = to_backend(&mut proxy, id, &mut wire);
    let lens: Vec<_> = sent.iter().map(|(tcp, it)| (it.len(), tcp.flags)).collect();
    assert_eq!(
        lens,
        [(496, ACK), (104, ACK | PSH)],
        "no FIN before the rest"
    );
}

#[test]
fn a_fin_alone_is_held_too() {
    let mut proxy = proxy();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK | FIN, 0, b"")),
        ClientStep::Held
    );
    let (_, sent) = to_backend(&mut proxy, id, &mut syn_ack(0, &ANSWER));
    assert_eq!((sent.len(), sent[0].0.flags), (1, ACK | FIN));
}

#[test]
fn one_session_holds_no_more_than_its_client_was_told() {
    let mut proxy = proxy();
    let config = config().window(1_000);
    let (client, id, _) = opened(&mut proxy, &config, &ASKED);
    // 600 of 600, 400 of 600, none of 1.
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK, 0, &[1; 600])),
        ClientStep::Held
    );
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK | FIN, 600, &[1; 600])),
        ClientStep::Held
    );
    let full = ClientStep::Drop(DropReason::HoldFull);
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK, 1_000, &[1; 1])),
        full
    );
    assert_eq!(proxy.stats().held_bytes, 1_000);
    let (_, sent) = to_backend(&mut proxy, id, &mut syn_ack(0, &ANSWER));
    assert_eq!((sent[0].1.len(), sent[0].0.flags), (1_000, ACK | PSH));
}

#[test]
fn all_sessions_hold_no_more_than_they_may_and_what_is_over_is_not_acknowledged() {
    let mut proxy = bounded(SynProxyLimits::default().held_bytes(10));
    let (one, first, _) = opened(&mut proxy, &config(), &ASKED);
    let (other, second, _) = opened(&mut proxy, &config(), &ASKED);
    assert_eq!(
        hold(&mut proxy, first, one.segment(ACK, 0, b"12345678")),
        ClientStep::Held
    );
    let full = ClientStep::Drop(DropReason::HoldFull);
    assert_eq!(
        hold(&mut proxy, second, other.segment(ACK | FIN, 0, b"abcd")),
        full
    );
    assert_eq!(proxy.stats().held_bytes, 10);
    proxy.close(first);
    assert_eq!(proxy.stats().held_bytes, 2);
    // What was left comes again.
    assert_eq!(
        hold(&mut proxy, second, other.segment(ACK | FIN, 0, b"abcd")),
        ClientStep::Held
    );
    let (_, sent) = to_backend(&mut proxy, second, &mut syn_ack(0, &ANSWER));
    assert_eq!(
        (&sent[0].1[..], sent[0].0.flags),
        (&b"abcd"[..], ACK | PSH | FIN)
    );
}

#[test]
fn a_segment_without_our_number_is_not_held() {
    let mut proxy = proxy();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    let wrong = Client {
        ours: client.ours.wrapping_sub(1),
        ..client
    };
    let outside = ClientStep::Drop(DropReason::OutsideWindow);
    assert_eq!(hold(&mut proxy, id, wrong.segment(ACK, 0, b"x")), outside);
    assert_eq!(hold(&mut proxy, id, client.segment(PSH, 0, b"x")), outside);
    let mut wire = client.segment(ACK, 0, b"x");
    let last = wire.range.end - 1;
    wire.buffer[last] ^= 1;
    let mut packet = Packet::new(&mut wire.buffer, wire.range.clone(), Link::Ethernet);
    let step = proxy.handle_client(id, &mut packet, &mut wire.headers);
    assert_eq!(step, ClientStep::Drop(DropReason::BadChecksum));
    assert_eq!(proxy.stats().held_bytes, 0);
}

#[test]
fn the_newest_window_and_timestamp_of_the_client_are_told() {
    let mut proxy = proxy();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    let echo = client.clock.unwrap();
    for (value, window) in [(900, 501), (850, 502)] {
        let said = Said {
            timestamps: Some(Timestamps { value, echo }),
            ..PLAIN
        };
        let options = said.options();
        let segment = from_client(ACK)
            .sequence(FIRST)
            .acknowledgement(client.ours.wrapping_add(1))
            .window(window);
        let wire = Wire::new(&TcpSegment {
            options: options.bytes(),
            ..segment
        });
        assert_eq!(hold(&mut proxy, id, wire), ClientStep::Held);
    }
    let mut answer = syn_ack(0, &ANSWER);
    let step = answer.through(|packet, headers| proxy.handle_backend(id, packet, headers));
    let BackendStep::Joined { mut released, .. } = step else {
        panic!("{step:?}")
    };
    let mut out = Vec::new();
    assert!(released.poll(&mut out));
    let len = out.len();
    let headers = headers_of(&out, Link::Ip);
    let said = Said::read(&Packet::new(&mut out, 0..len, Link::Ip), &headers);
    assert_eq!(said.timestamps, Some(Timestamps { value: 900, echo }));
    assert_eq!(headers.tcp().unwrap().window, 502);
}

#[test]
fn a_client_that_gives_up_takes_its_syn_back() {
    // Held bytes, offset of the RST, with our number or without, believed or not.
    for (held, offset, flags, believed) in [
        (0, 0, RST, true),
        (0, 1, RST, false),
        (0, u32::MAX, RST, false),
        (5, 0, RST, true),
        (5, 5, RST, true),
        (5, 4, RST, false),
        (5, 4, RST | ACK, true),
        (0, 14_600, RST | ACK, true),
        (0, 14_601, RST | ACK, false),
        (0, u32::MAX, RST | ACK, false),
    ] {
        let mut proxy = proxy();
        let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
        let data = vec![1; held];
        assert_eq!(
            hold(&mut proxy, id, client.segment(ACK, 0, &data)),
            ClientStep::Held
        );
        let mut wire = client.segment(flags, offset, b"");
        let step = wire.through(|packet, headers| proxy.handle_client(id, packet, headers));
        let stats = proxy.stats();
        if believed {
            assert_eq!(step, ClientStep::Reset, "{held} {offset} {flags}");
            assert_eq!((wire.tcp().flags, wire.tcp().sequence), (RST, FIRST));
            assert_eq!(wire.ends(), [CLIENT, SERVICE]);
            assert_eq!(
                (stats.abandoned, stats.half_open, stats.held_bytes),
                (1, 0, 0)
            );
        } else {
            assert_eq!(step, ClientStep::Drop(DropReason::OutsideWindow));
            assert_eq!((stats.abandoned, stats.half_open), (0, 1));
        }
    }
}

#[test]
fn an_rst_behind_a_fin_that_is_held_is_the_next() {
    let mut proxy = proxy();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK | FIN, 0, b"ab")),
        ClientStep::Held
    );
    let outside = ClientStep::Drop(DropReason::OutsideWindow);
    assert_eq!(hold(&mut proxy, id, client.segment(RST, 2, b"")), outside);
    assert_eq!(
        hold(&mut proxy, id, client.segment(RST, 3, b"")),
        ClientStep::Reset
    );
}

#[test]
fn a_syn_for_what_has_begun_is_told_what_we_have() {
    let mut proxy = proxy();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    let mut wire = Wire::new(&from_client(SYN).sequence(123));
    let step = wire.through(|packet, headers| proxy.handle_client(id, packet, headers));
    assert_eq!(step, ClientStep::Reply);
    assert!(wire.goes_back());
    assert_eq!(wire.ends(), [SERVICE, CLIENT]);
    let tcp = wire.tcp();
    assert_eq!(
        (tcp.flags, tcp.sequence, tcp.acknowledgement, tcp.window),
        (ACK, client.ours.wrapping_add(1), FIRST, 14_600 >> 7)
    );
    let timestamps = Timestamps {
        value: client.clock.unwrap(),
        echo: 778,
    };
    assert_eq!(wire.said().timestamps, Some(timestamps));
    assert_eq!(proxy.stats().challenged, 1);
    // A client without scaling is told all of it.
    let (_, id, _) = opened(&mut proxy, &config(), &PLAIN);
    let mut wire = Wire::new(&from_client(SYN).sequence(123));
    let step = wire.through(|packet, headers| proxy.handle_client(id, packet, headers));
    assert_eq!((step, wire.tcp().window), (ClientStep::Reply, 14_600));
}

#[test]
fn a_backend_that_refuses_is_told_to_the_client() {
    let mut proxy = proxy();
    let (client, id, _) = opened(&mut proxy, &config(), &ASKED);
    let mut blind = Wire::new(&from_backend(RST).sequence(0));
    let step = blind.through(|packet, headers| proxy.handle_backend(id, packet, headers));
    assert!(matches!(step, BackendStep::Drop(DropReason::OutsideWindow)));
    let mut other = Wire::new(&from_backend(RST | ACK).acknowledgement(ISN));
    let step = other.through(|packet, headers| proxy.handle_backend(id, packet, headers));
    assert!(matches!(step, BackendStep::Drop(DropReason::OutsideWindow)));
    let mut wire = Wire::new(&from_backend(RST | ACK).acknowledgement(FIRST));
    let step = wire.through(|packet, headers| proxy.handle_backend(id, packet, headers));
    assert!(matches!(step, BackendStep::Refused(None)));
    assert_eq!(wire.ends(), [BACKEND, CLIENT]);
    let tcp = wire.tcp();
    assert_eq!(
        (tcp.flags, tcp.sequence, tcp.acknowledgement),
        (RST | ACK, client.ours.wrapping_add(1), FIRST)
    );
    let stats = proxy.stats();
    assert_eq!((stats.refused, stats.half_open), (1, 0));
    let step = wire.through(|packet, headers| proxy.handle_backend(id, packet, headers));
    assert!(matches!(step, BackendStep::Drop(DropReason::NoSession)));
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK, 0, b"x")),
        ClientStep::Drop(DropReason::NoSession)
    );
}

#[test]
fn an_old_connection_in_the_way_is_reset_and_the_handshake_goes_on() {
    let mut proxy = proxy();
    let (_, id, _) = opened(&mut proxy, &config(), &ASKED);
    for flags in [ACK, SYN | ACK] {
        let mut wire = Wire::new(&from_backend(flags).sequence(4).acknowledgement(66));
        let step = wire.through(|packet, headers| proxy.handle_backend(id, packet, headers));
        assert!(matches!(step, BackendStep::Reply));
        assert!(wire.goes_back());
        assert_eq!(wire.ends(), [CLIENT, BACKEND]);
        assert_eq!((wire.tcp().flags, wire.tcp().sequence), (RST, 66));
    }
    assert_eq!((proxy.stats().stale, proxy.stats().half_open), (2, 1));
    for flags in [SYN, ACK, 0] {
        let mut wire = Wire::new(&from_backend(flags).acknowledgement(FIRST));
        let step = wire.through(|packet, headers| proxy.handle_backend(id, packet, headers));
        assert!(
            matches!(step, BackendStep::Drop(DropReason::OutsideWindow)),
            "{flags}"
        );
    }
    let mut wire = syn_ack(0, &ANSWER);
    let last = wire.range.end - 1;
    wire.buffer[last] ^= 1;
    let mut packet = Packet::new(&mut wire.buffer, wire.range.clone(), Link::Ethernet);
    let step = proxy.handle_backend(id, &mut packet, &mut wire.headers);
    assert!(matches!(step, BackendStep::Drop(DropReason::BadChecksum)));
}

#[test]
fn a_silent_backend_is_asked_three_times_more_and_then_the_client_is_told() {
    let mut proxy = proxy();
    let (client, id, syn) = opened(&mut proxy, &config(), &ASKED);
    assert_eq!(
        hold(&mut proxy, id, client.segment(ACK, 0, b"abc")),
        ClientStep::Held
    );
    let mut out = Vec::new();
    let syn = syn.bytes()[14..].to_vec();
    for seconds in [1, 3, 7] {
        let deadline = T0 + Duration::from_secs(seconds);
        assert_eq!(proxy.poll_timeout(), Some(deadline));
        assert_eq!(
            proxy.poll_due(deadline - Duration::from_nanos(1), &mut out),
            None
        );
        assert_eq!(proxy.poll_due(deadline, &mut out), Some(Due::Retry(5)));
        assert_eq!(out, syn);
        assert_eq!(proxy.poll_due(deadline, &mut out), None);
        assert!(out.is_empty());
    }
    let end = T0 + Duration::from_secs(15);
    assert_eq!(proxy.poll_timeout(), Some(end));
    assert_eq!(proxy.poll_due(end, &mut out), Some(Due::GiveUp(5)));
    let headers = headers_of(&out, Link::Ip);
    let tcp = headers.tcp().unwrap();
    assert_eq!(headers.destination_end().to_string(), CLIENT);
    assert_eq!(
        (tcp.flags, tcp.sequence),
        (RST | ACK, client.ours.wrapping_add(1))
    );
    let stats = proxy.stats();
    assert_eq!((stats.retries, stats.unanswered), (3, 1));
    assert_eq!((stats.half_open, stats.held_bytes), (0, 0));
    assert_eq!(proxy.poll_timeout(), None);
}

#[test]
fn handshakes_are_due_in_their_order_and_their_places_are_used_again() {
    let mut proxy = proxy();
    let (client, _) = greeted(&mut proxy, &config(), &ASKED);
    let open = |proxy: &mut SynProxy<u32>, after: u64, session| {
        let accepted = accepted(proxy, &config(), &mut client.segment(ACK, 0, b""));
        proxy.open(T0 + Duration::from_millis(after), session, accepted)
    };
    let first = open(&mut proxy, 0, 1);
    let second = open(&mut proxy, 500, 2);
    proxy.close(first);
    assert_eq!(open(&mut proxy, 200, 3), first);
    assert_eq!(HalfOpenId::from_bits(second.to_bits()), Some(second));
    assert_eq!(HalfOpenId::from_bits(u32::MAX), None);
    let mut out = Vec::new();
    let late = T0 + Duration::from_secs(2);
    assert_eq!(proxy.poll_due(late, &mut out), Some(Due::Retry(3)));
    assert_eq!(proxy.poll_due(late, &mut out), Some(Due::Retry(2)));
    // Two seconds from now, not from when it was due.
    assert_eq!(proxy.poll_timeout(), Some(late + Duration::from_secs(2)));
}

#[test]
fn forged_syns_and_acks_leave_nothing_behind() {
    let mut proxy = proxy();
    let mut dice = Xoshiro::new(3);
    for _ in 0..20_000 {
        let mut word = || u32::try_from(dice.next_u64() >> 32).unwrap();
        let mut syn = Wire::new(&from_client(SYN).sequence(word()));
        syn.through(|packet, headers| proxy.answer(T0, &config(), packet, headers))
            .unwrap();
        let ack = from_client(ACK).sequence(word()).acknowledgement(word());
        let mut ack = Wire::new(&ack);
        let result = ack.through(|packet, headers| proxy.accept(T0, &config(), packet, headers));
        assert_eq!(result.unwrap_err(), DropReason::SynCookieWrong);
    }
    let stats = proxy.stats();
    assert_eq!((stats.answered, stats.wrong), (20_000, 20_000));
    assert_eq!((stats.half_open, stats.held_bytes), (0, 0));
}

#[test]
fn another_key_is_used_when_it_is_set() {
    let mut proxy = proxy();
    let (client, _) = greeted(&mut proxy, &config(), &ASKED);
    let epoch = Duration::from_secs(1_800_000_000);
    let new = Cookies::new(HashKey::from_seed(2), epoch);
    proxy.set_cookies(new.clone().accepted(HashKey::from_seed(1)));
    accepted(&mut proxy, &config(), &mut client.segment(ACK, 0, b""));
    proxy.set_cookies(new);
    let mut ack = client.segment(ACK, 0, b"");
    let result = ack.through(|packet, headers| proxy.accept(T0, &config(), packet, headers));
    assert_eq!(result.unwrap_err(), DropReason::SynCookieWrong);
}
