//! Errors of our own, RSTs and echo replies.

use std::net::SocketAddr;
use std::time::Duration;

use lb_l4::icmp::{
    AnswerConfig, Answers, Refusal, TcpRefusal, Unanswerable, echo_reply, may_be_answered, refuse,
    reset,
};
use lb_l4::packet::{Checksum, DropReason, Link, Offload, Packet, Verdict};
use lb_l4::wire::emit::TcpSegment;
use lb_l4::wire::tcp::flags;
use lb_l4::wire::{Frame, Headers, parse};
use lbcore::Instant;
use lbcore::flow::Protocol;
use lbcore::hash::HashKey;
use proptest::prelude::*;

use crate::build::{
    as_first_fragment, buffer, end, headers, in_buffer, ip, message, packet, right, with_options,
};

const CLIENT: &str = "192.0.2.1:4000";
const SERVICE: &str = "203.0.113.10:80";
const CLIENT_V6: &str = "[2001:db8::1]:4000";
const SERVICE_V6: &str = "[2001:db8:1::10]:80";

fn udp(ipv4: bool, len: usize) -> Vec<u8> {
    let (client, service) = if ipv4 {
        (CLIENT, SERVICE)
    } else {
        (CLIENT_V6, SERVICE_V6)
    };
    packet(Protocol::Udp, end(client), end(service), 0, &vec![9; len])
}

fn parsed(packet: &Packet<'_>) -> Headers {
    match parse(packet.bytes(), packet.link()) {
        Ok(Frame::Ip(headers)) => headers,
        other => panic!("{other:?}"),
    }
}

/// What `refuse` makes of `bytes`, and nothing if it must not.
fn refused(bytes: &[u8], headroom: usize, refusal: Refusal) -> Result<Vec<u8>, Unanswerable> {
    let mut space = buffer(headroom, bytes);
    let mut there = in_buffer(&mut space, headroom, Link::Ip);
    let headers = parsed(&there);
    match refuse(&mut there, &headers, refusal, headers.destination) {
        Ok(()) => Ok(there.bytes().to_vec()),
        Err(error) => {
            assert_eq!(there.bytes(), bytes, "it is as it was");
            Err(error)
        }
    }
}

#[test]
fn each_refusal_has_its_number_in_both_families() {
    for (refusal, v4, v6) in [
        (
            Refusal::AdministrativelyProhibited,
            [3, 13, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
        ),
        (
            Refusal::HostUnreachable,
            [3, 1, 0, 0, 0, 0],
            [1, 3, 0, 0, 0, 0],
        ),
        (
            Refusal::PortUnreachable,
            [3, 3, 0, 0, 0, 0],
            [1, 4, 0, 0, 0, 0],
        ),
        (
            Refusal::TimeExceeded,
            [11, 0, 0, 0, 0, 0],
            [3, 0, 0, 0, 0, 0],
        ),
        (
            Refusal::TooBig { mtu: 1400 },
            [3, 4, 0, 0, 5, 0x78],
            [2, 0, 0, 0, 5, 0x78],
        ),
        (
            Refusal::TooBig { mtu: 3 },
            [3, 4, 0, 0, 0, 68],
            [2, 0, 0, 0, 5, 0],
        ),
        (
            Refusal::TooBig { mtu: 65_536 },
            [3, 4, 0, 0, 0xff, 0xff],
            [2, 0, 0, 1, 0, 0],
        ),
    ] {
        let asked = udp(true, 20);
        let answer = refused(&asked, 64, refusal).unwrap();
        let expected = message(ip("203.0.113.10"), ip("192.0.2.1"), v4, &asked);
        assert_eq!(answer[20..], expected[20..], "{refusal:?}");
        assert_eq!(answer[8..10], [64, 1]);
        assert_eq!(answer[12..20], expected[12..20]);
        assert_eq!((answer[1], &answer[4..8]), (0xc0, &[0, 0, 0, 0][..]));
        assert!(right(&answer));

        let asked = udp(false, 20);
        let answer = refused(&asked, 64, refusal).unwrap();
        let expected = message(ip("2001:db8:1::10"), ip("2001:db8::1"), v6, &asked);
        assert_eq!(answer, expected, "{refusal:?}");
    }
}

#[test]
fn as_much_is_quoted_as_may_be_with_headroom_and_without() {
    for (ipv4, front, most) in [(true, 28, 576), (false, 48, 1280)] {
        let header = front - 8;
        for len in [
            0,
            1,
            most - front - header - 8,
            most - front - header - 7,
            1400,
        ] {
            let asked = udp(ipv4, len);
            let quoted = asked.len().min(most - front);
            for headroom in [0, front - 1, front, 100] {
                let refusal = Refusal::TooBig { mtu: 1300 };
                let answer = refused(&asked, headroom, refusal).unwrap();
                assert_eq!(answer.len(), front + quoted, "{headroom} {len}");
                assert_eq!(answer[front..], asked[..quoted]);
                assert!(right(&answer));
            }
        }
    }
}

#[test]
fn an_answer_that_fits_nowhere_leaves_the_packet_alone() {
    let mut asked = udp(true, 20);
    let before = asked.clone();
    let len = asked.len();
    let mut there = Packet::new(&mut asked, 0..len, Link::Ip);
    let headers = parsed(&there);
    let done = refuse(
        &mut there,
        &headers,
        Refusal::TimeExceeded,
        headers.destination,
    );
    assert_eq!(done, Err(Unanswerable::NoRoom));
    assert_eq!(there.bytes(), before);
    let done = refuse(
        &mut there,
        &headers,
        Refusal::TimeExceeded,
        ip("2001:db8::1"),
    );
    assert_eq!(done, Err(Unanswerable::Family));
    assert_eq!(there.bytes(), before);
}

#[test]
fn the_link_s_addresses_change_places_and_its_tags_stay() {
    for tag in [&[][..], &[0x81, 0x00, 0x20, 0x07]] {
        let link = [&[2; 6][..], &[4; 6], tag, &[8, 0]].concat();
        let back = [&[4; 6][..], &[2; 6], tag, &[8, 0]].concat();
        let frame = [&link[..], &udp(true, 900)].concat();
        for headroom in [0, 64] {
            let mut space = buffer(headroom, &frame);
            let mut there = in_buffer(&mut space, headroom, Link::Ethernet);
            there.set_offloads(Offload::partial(None));
            let headers = parsed(&there);
            let refusal = Refusal::TimeExceeded;
            refuse(&mut there, &headers, refusal, headers.destination).unwrap();
            assert_eq!(there.bytes()[..link.len()], back);
            assert_eq!(there.bytes().len(), link.len() + 576);
            assert!(right(&there.bytes()[link.len()..]));
            assert_eq!(there.offloads(), Offload::default());
        }
    }
}

#[test]
fn padding_of_the_link_is_not_quoted() {
    let asked = udp(true, 2);
    let padded = [&asked[..], &[0; 16]].concat();
    let answer = refused(&padded, 64, Refusal::TimeExceeded).unwrap();
    assert_eq!(answer.len(), 28 + asked.len());
}

fn answerable(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    let there = Packet::new(&mut bytes, 0..len, Link::Ip);
    let headers = parsed(&there);
    may_be_answered(&there, &headers)
}

#[test]
fn what_must_not_be_answered_is_not() {
    let with = |at: usize, bytes: &[u8]| {
        let mut packet = udp(true, 8);
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    assert!(answerable(&udp(true, 8)));
    assert!(answerable(&udp(false, 8)));
    for source in [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [239, 1, 2, 3],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
    ] {
        assert!(!answerable(&with(12, &source)), "from {source:?}");
    }
    for source in [
        [1, 0, 0, 1],
        [126, 0, 0, 1],
        [128, 0, 0, 1],
        [223, 255, 255, 255],
    ] {
        assert!(answerable(&with(12, &source)), "from {source:?}");
    }
    for to in [[224, 0, 0, 1], [255, 255, 255, 255], [0, 0, 0, 0]] {
        assert!(!answerable(&with(16, &to)), "to {to:?}");
    }
    for (at, address) in [
        (8, "::"),
        (8, "::1"),
        (8, "ff02::1"),
        (24, "ff02::1"),
        (24, "::"),
    ] {
        let mut packet = udp(false, 8);
        packet[at..at + 16].copy_from_slice(&crate::build::octets(ip(address)));
        assert!(!answerable(&packet), "{address} at {at}");
    }
    // A first fragment is, a later one is not.
    assert!(answerable(&as_first_fragment(&udp(true, 8))));
    assert!(!answerable(&with(6, &[0, 2])));
    let mut later = as_first_fragment(&udp(false, 8));
    later[43] = 9;
    assert!(!answerable(&later));
}

#[test]
fn no_error_answers_an_error_nor_icmp_that_is_not_known() {
    let (client, service) = (ip("192.0.2.1"), ip("203.0.113.10"));
    for kind in 0..=255 {
        let asked = message(client, service, [kind, 0, 0, 0, 0, 0], &udp(true, 4));
        assert_eq!(
            answerable(&asked),
            matches!(kind, 0 | 8 | 13 | 14),
            "{kind}"
        );
    }
    let (client, service) = (ip("2001:db8::1"), ip("2001:db8:1::10"));
    for kind in 0..=255 {
        let asked = message(client, service, [kind, 0, 0, 0, 0, 0], &udp(false, 4));
        assert_eq!(answerable(&asked), matches!(kind, 128 | 129), "{kind}");
    }
}

#[test]
fn a_frame_to_a_group_is_not_answered() {
    for (first, answered) in [(0x02, true), (0x03, false), (0xff, false)] {
        let mut frame = [&[2; 12][..], &[8, 0], &udp(true, 8)].concat();
        frame[0] = first;
        let len = frame.len();
        let there = Packet::new(&mut frame, 0..len, Link::Ethernet);
        let headers = parsed(&there);
        assert_eq!(may_be_answered(&there, &headers), answered);
    }
}

fn segment(ipv4: bool, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (client, service) = if ipv4 {
        (CLIENT, SERVICE)
    } else {
        (CLIENT_V6, SERVICE_V6)
    };
    let mut bytes = Vec::new();
    TcpSegment::new(end(client), end(service), flags)
        .sequence(u32::MAX)
        .acknowledgement(1234)
        .payload(payload)
        .options(&[2, 4, 5, 0xb4])
        .emit(&mut bytes);
    bytes
}

fn reset_of(bytes: &[u8]) -> Result<Vec<u8>, Unanswerable> {
    let mut space = buffer(0, bytes);
    let mut there = in_buffer(&mut space, 0, Link::Ip);
    let headers = parsed(&there);
    reset(&mut there, &headers)?;
    Ok(there.bytes().to_vec())
}

#[test]
fn a_reset_says_what_a_host_without_the_connection_would() {
    for ipv4 in [true, false] {
        let (client, service) = if ipv4 {
            (CLIENT, SERVICE)
        } else {
            (CLIENT_V6, SERVICE_V6)
        };
        let (client, service): (SocketAddr, SocketAddr) = (end(client), end(service));
        for (flags, payload, sequence, acknowledgement, answer) in [
            (flags::SYN, &b""[..], 0, 0, flags::RST | flags::ACK),
            (flags::SYN, b"fast", 0, 4, flags::RST | flags::ACK),
            (flags::FIN, b"ab", 0, 2, flags::RST | flags::ACK),
            (0, b"ab", 0, 1, flags::RST | flags::ACK),
            (flags::ACK, b"ab", 1234, 0, flags::RST),
            (flags::SYN | flags::ACK, b"", 1234, 0, flags::RST),
        ] {
            for asked in [
                segment(ipv4, flags, payload),
                with_options(&segment(ipv4, flags, payload)),
            ] {
                let mut expected = Vec::new();
                TcpSegment::new(service, client, answer)
                    .sequence(sequence)
                    .acknowledgement(acknowledgement)
                    .emit(&mut expected);
                assert_eq!(reset_of(&asked).unwrap(), expected, "{flags:x}");
            }
        }
    }
}

#[test]
fn no_reset_answers_a_reset_a_fragment_or_anything_but_tcp() {
    let forbidden = Err(Unanswerable::Forbidden);
    assert_eq!(reset_of(&segment(true, flags::RST, b"")), forbidden);
    assert_eq!(
        reset_of(&segment(true, flags::RST | flags::ACK, b"")),
        forbidden
    );
    assert_eq!(reset_of(&udp(true, 4)), forbidden);
    assert_eq!(
        reset_of(&as_first_fragment(&segment(true, flags::SYN, b""))),
        forbidden
    );
    let mut broadcast = segment(true, flags::SYN, b"");
    broadcast[16..20].fill(255);
    assert_eq!(reset_of(&broadcast), forbidden);
}

fn echo(ipv4: bool, kind: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let (client, service) = if ipv4 {
        (ip("192.0.2.1"), ip("203.0.113.10"))
    } else {
        (ip("2001:db8::1"), ip("2001:db8:1::10"))
    };
    let (from, to) = if kind == 8 || kind == 128 {
        (client, service)
    } else {
        (service, client)
    };
    let [a, b, c, d] = rest;
    message(from, to, [kind, 0, a, b, c, d], payload)
}

fn reply_to(bytes: &[u8]) -> Result<Vec<u8>, Unanswerable> {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    let mut there = Packet::new(&mut bytes, 0..len, Link::Ip);
    let headers = parsed(&there);
    let done = echo_reply(&mut there, &headers);
    done.map(|()| there.bytes().to_vec())
}

#[test]
fn an_echo_reply_is_right_for_every_value_of_the_checksum() {
    for sequence in 0..=u16::MAX {
        let [c, d] = sequence.to_be_bytes();
        for (ipv4, ask, answer) in [(true, 8, 0), (false, 128, 129)] {
            let asked = echo(ipv4, ask, [0xab, 0xcd, c, d], b"odd");
            let reply = reply_to(&asked).unwrap();
            assert!(right(&reply), "{sequence:x}");
            let expected = echo(ipv4, answer, [0xab, 0xcd, c, d], b"odd");
            // 0 and 0xffff are one number.
            let field = headers(&reply).transport + 2;
            assert_eq!(reply[..field], expected[..field]);
            assert_eq!(reply[field + 2..], expected[field + 2..]);
        }
    }
}

#[test]
fn a_reply_of_zeros_alone_has_a_checksum_of_ones() {
    let asked = echo(true, 8, [0; 4], &[0; 56]);
    let reply = reply_to(&asked).unwrap();
    assert_eq!(reply[20..24], [0, 0, 0xff, 0xff]);
    assert_eq!(reply, echo(true, 0, [0; 4], &[0; 56]));
    assert!(right(&reply));
}

proptest! {
    #[test]
    fn a_wrong_echo_request_gets_a_wrong_reply(wrong in 1_u16..0xffff, ipv4: bool, ttl: u8) {
        let mut asked = echo(ipv4, if ipv4 { 8 } else { 128 }, [1, 2, 3, 4], b"payload");
        let field = headers(&asked).transport + 2;
        let sum = u32::from(u16::from_be_bytes([asked[field], asked[field + 1]]));
        let sum = sum + u32::from(wrong);
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        asked[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        prop_assert!(!right(&asked));
        if !ipv4 {
            asked[7] = ttl;
        }
        let reply = reply_to(&asked).unwrap();
        let read = headers(&reply);
        prop_assert!(!read.checksum_is_right(&reply, Checksum::Complete));
        prop_assert!(read.header_checksum_is_right(&reply));
        prop_assert_eq!(read.ttl, 64);
    }
}

#[test]
fn fragments_of_an_echo_request_become_fragments_of_the_reply() {
    for ipv4 in [true, false] {
        let asked = as_first_fragment(&echo(
            ipv4,
            if ipv4 { 8 } else { 128 },
            [1, 2, 3, 4],
            &[7; 16],
        ));
        let whole = echo(ipv4, if ipv4 { 0 } else { 129 }, [1, 2, 3, 4], &[7; 16]);
        let first = reply_to(&asked).unwrap();
        assert_eq!(first, as_first_fragment(&whole));
        let mut later = asked.clone();
        later[if ipv4 { 7 } else { 43 }] = 8;
        let reply = reply_to(&crate::build::with_header_checksum_if_ipv4(later)).unwrap();
        let transport = headers(&reply).transport;
        assert_eq!(
            reply[transport..],
            asked[transport..],
            "the payload is not touched"
        );
        assert_eq!(headers(&reply).source, headers(&whole).source);
        assert!(headers(&reply).header_checksum_is_right(&reply));
    }
}

#[test]
fn only_plain_echo_requests_between_hosts_are_answered() {
    let forbidden = Err(Unanswerable::Forbidden);
    for kind in (0..=255).filter(|&it| it != 8) {
        let asked = message(
            ip("192.0.2.1"),
            ip("203.0.113.10"),
            [kind, 0, 0, 0, 0, 0],
            b"",
        );
        assert_eq!(reply_to(&asked), forbidden, "{kind}");
    }
    for kind in (0..=255).filter(|&it| it != 128) {
        let asked = message(
            ip("2001:db8::1"),
            ip("2001:db8:1::10"),
            [kind, 0, 0, 0, 0, 0],
            b"",
        );
        assert_eq!(reply_to(&asked), forbidden, "{kind}");
    }
    assert_eq!(reply_to(&udp(true, 8)), forbidden);
    assert_eq!(
        reply_to(&with_options(&echo(true, 8, [0; 4], b""))),
        forbidden
    );
    assert_eq!(
        reply_to(&with_options(&echo(false, 128, [0; 4], b""))),
        forbidden
    );
    let group = message(ip("192.0.2.1"), ip("224.0.0.1"), [8, 0, 0, 0, 0, 0], b"");
    assert_eq!(reply_to(&group), forbidden);
    // A later fragment of the other family's ICMP.
    let mut other = as_first_fragment(&echo(true, 8, [0; 4], &[0; 8]));
    (other[7], other[9]) = (1, 58);
    assert_eq!(reply_to(&other), forbidden);
    let mut other = as_first_fragment(&echo(false, 128, [0; 4], &[0; 8]));
    (other[43], other[40]) = (8, 1);
    assert_eq!(reply_to(&other), forbidden);
}

fn answers(config: AnswerConfig) -> Answers {
    Answers::new(Instant::ZERO, config, HashKey::from_seed(3))
}

fn ask(answers: &mut Answers, now: Instant, bytes: &[u8]) -> Verdict {
    let mut space = buffer(64, bytes);
    let mut there = in_buffer(&mut space, 64, Link::Ip);
    let headers = parsed(&there);
    let reason = DropReason::BackendUnavailable;
    let refusal = (Refusal::PortUnreachable, headers.destination);
    answers.refuse(now, &mut there, &headers, refusal, reason)
}

const DROPPED: Verdict = Verdict::Drop(DropReason::BackendUnavailable);

fn from_host(host: u16) -> Vec<u8> {
    let [a, b] = host.to_be_bytes();
    let mut packet = udp(true, 8);
    packet[12..16].copy_from_slice(&[10, 1, a, b]);
    packet
}

#[test]
fn one_source_cannot_use_up_what_all_have() {
    let config = AnswerConfig::default()
        .answers_per_source(100)
        .errors_per_second(1000);
    let mut answers = answers(config);
    let noisy = from_host(1);
    let replies = (0..500)
        .filter(|_| ask(&mut answers, Instant::ZERO, &noisy) == Verdict::Reply)
        .count();
    assert_eq!(replies, 10);
    assert_eq!(answers.stats().limited, 490);
    assert_eq!(
        ask(&mut answers, Instant::ZERO, &from_host(2)),
        Verdict::Reply
    );
    let later = Instant::ZERO + Duration::from_millis(10);
    assert_eq!(ask(&mut answers, later, &noisy), Verdict::Reply);
    assert_eq!(ask(&mut answers, later, &noisy), DROPPED);
}

#[test]
fn all_sources_together_get_no_more_than_the_rate() {
    let mut answers = answers(
        AnswerConfig::default()
            .errors_per_second(200)
            .answers_per_source(0),
    );
    let replies = (0..1000)
        .filter(|&host| ask(&mut answers, Instant::ZERO, &from_host(host)) == Verdict::Reply)
        .count();
    assert_eq!(replies, 20);
    assert_eq!(answers.stats().errors, 20);
    assert!(!answers.allows_error(Instant::ZERO, ip("192.0.2.9")));
    // Echo has a bucket of its own.
    let mut request = echo(true, 8, [0; 4], b"");
    let len = request.len();
    let mut there = Packet::new(&mut request, 0..len, Link::Ip);
    let headers = parsed(&there);
    assert_eq!(
        answers.echo(Instant::ZERO, &mut there, &headers),
        Verdict::Reply
    );
    assert_eq!(answers.stats().echoes, 1);
}

#[test]
fn echo_is_limited_too() {
    let mut answers = answers(
        AnswerConfig::default()
            .echoes_per_second(100)
            .answers_per_source(0),
    );
    let verdicts: Vec<Verdict> = (0..11)
        .map(|_| {
            let mut request = echo(false, 128, [0; 4], b"");
            let len = request.len();
            let mut there = Packet::new(&mut request, 0..len, Link::Ip);
            let headers = parsed(&there);
            answers.echo(Instant::ZERO, &mut there, &headers)
        })
        .collect();
    assert!(verdicts[..10].iter().all(|&it| it == Verdict::Reply));
    assert_eq!(verdicts[10], Verdict::Drop(DropReason::AnswerRate));
    let mut other = udp(true, 4);
    let len = other.len();
    let mut there = Packet::new(&mut other, 0..len, Link::Ip);
    let headers = parsed(&there);
    let later = Instant::ZERO + Duration::from_secs(1);
    let verdict = answers.echo(later, &mut there, &headers);
    assert_eq!(verdict, Verdict::Drop(DropReason::Unsupported));
    assert_eq!(answers.stats().unanswerable, 1);
}

#[test]
fn no_rate_is_no_limit() {
    let config = AnswerConfig::default()
        .errors_per_second(0)
        .echoes_per_second(0)
        .answers_per_source(0);
    let mut answers = answers(config);
    for _ in 0..5000 {
        assert_eq!(
            ask(&mut answers, Instant::ZERO, &from_host(1)),
            Verdict::Reply
        );
    }
}

#[test]
fn tcp_gets_a_reset_unless_an_error_is_wanted() {
    let syn = segment(true, flags::SYN, b"");
    let rst = segment(true, flags::RST, b"");
    let mut with_reset = answers(AnswerConfig::default());
    assert_eq!(ask(&mut with_reset, Instant::ZERO, &syn), Verdict::Reply);
    assert_eq!(ask(&mut with_reset, Instant::ZERO, &rst), DROPPED);
    let stats = with_reset.stats();
    assert_eq!((stats.resets, stats.errors, stats.unanswerable), (1, 0, 1));
    let mut with_error = answers(AnswerConfig::default().refuse_tcp(TcpRefusal::PortUnreachable));
    assert_eq!(ask(&mut with_error, Instant::ZERO, &syn), Verdict::Reply);
    let stats = with_error.stats();
    assert_eq!((stats.resets, stats.errors), (0, 1));
    // Only a closed port is told by a RST.
    let mut space = buffer(64, &syn);
    let mut there = in_buffer(&mut space, 64, Link::Ip);
    let headers = parsed(&there);
    let reason = DropReason::HopLimit;
    let verdict = with_reset.refuse(
        Instant::ZERO,
        &mut there,
        &headers,
        (Refusal::TimeExceeded, headers.destination),
        reason,
    );
    assert_eq!((verdict, there.bytes()[20]), (Verdict::Reply, 11));
}

#[test]
fn errors_come_from_the_address_asked_or_from_the_one_configured() {
    let (service, service_v6) = (ip("203.0.113.10"), ip("2001:db8:1::10"));
    let plain = answers(AnswerConfig::default());
    assert_eq!(plain.source_for(service), service);
    assert_eq!(plain.source_for(service_v6), service_v6);
    let config = AnswerConfig::default()
        .source_v4("198.51.100.1".parse().unwrap())
        .source_v6("2001:db8::fe".parse().unwrap());
    let own = answers(config);
    assert_eq!(own.source_for(service), ip("198.51.100.1"));
    assert_eq!(own.source_for(service_v6), ip("2001:db8::fe"));
}
