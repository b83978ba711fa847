//! Errors of others: which flow they are about, and how they are rewritten.

use std::net::SocketAddr;

use lb_l4::icmp::{Embedded, ErrorKind, Translation, embedded, is_error, rewrite};
use lb_l4::packet::DropReason;
use lbcore::flow::{FlowKey, Protocol};
use proptest::prelude::*;

use crate::build::{
    as_first_fragment, checksum, end, headers, ip, message, packet, right, with_options,
};

/// An error about `quoted`, which was sent by NAT or FULLNAT, must become the error about
/// `original`, byte by byte.
fn check(error: &mut [u8], expected: &[u8], into: &Translation) -> Result<Embedded, TestCaseError> {
    let mut read = headers(error);
    let found = embedded(error, &read).ok_or_else(|| TestCaseError::fail("no flow"))?;
    prop_assert_eq!(rewrite(error, &mut read, &found, into), Ok(()));
    prop_assert_eq!(&error, &expected);
    prop_assert_eq!(read, headers(error));
    Ok(found)
}

#[derive(Clone, Debug)]
struct Ends {
    router: SocketAddr,
    client: SocketAddr,
    service: SocketAddr,
    local: SocketAddr,
    backend: SocketAddr,
}

fn ends() -> impl Strategy<Value = Ends> {
    let v4 = any::<[(u8, u8, u8, u16); 5]>()
        .prop_map(|it| it.map(|(a, b, c, port)| SocketAddr::from(([a % 100 + 1, b, c, 1], port))));
    let v6 = any::<[([u16; 7], u16); 5]>().prop_map(|it| {
        it.map(|([a, b, c, d, e, f, g], port)| {
            SocketAddr::from(([0x2001, a, b, c, d, e, f, g], port))
        })
    });
    prop_oneof![v4, v6].prop_map(|[router, client, service, local, backend]| Ends {
        router,
        client,
        service,
        local,
        backend,
    })
}

fn shape(kind: u8, bytes: &[u8]) -> Vec<u8> {
    match kind {
        0 => bytes.to_vec(),
        1 => with_options(bytes),
        2 => as_first_fragment(bytes),
        _ => with_options(&as_first_fragment(bytes)),
    }
}

/// Its headers, eight bytes of the transport, and some more.
fn quoted(bytes: &[u8], shape: u8, more: usize) -> &[u8] {
    let ipv4 = bytes[0] >> 4 == 4;
    let options = if shape % 2 == 1 { 8 } else { 0 };
    // Of half a checksum there is nothing to update.
    let more = if more == 9 { 10 } else { more };
    let least = match (ipv4, shape >= 2) {
        (true, _) => 28 + options,
        (false, false) => 48 + options,
        (false, true) => 56 + options,
    };
    bytes.get(..least + more).unwrap_or(bytes)
}

fn front(ipv4: bool, kind: u8) -> [u8; 6] {
    match (ipv4, kind) {
        (true, 0) => [3, 4, 0, 0, 0x05, 0xdc],
        (true, 1) => [3, 1, 0, 0, 0, 0],
        (true, 2) => [11, 0, 0, 0, 0, 0],
        (true, _) => [12, 0, 9, 0, 0, 0],
        (false, 0) => [2, 0, 0, 0, 0x05, 0xdc],
        (false, 1) => [1, 3, 0, 0, 0, 0],
        (false, 2) => [3, 0, 0, 0, 0, 0],
        (false, _) => [4, 0, 0, 0, 0, 6],
    }
}

proptest! {
    #[test]
    fn an_error_about_our_packet_becomes_one_about_the_client_s(
        ends in ends(),
        tcp: bool,
        sequence: u32,
        payload in proptest::collection::vec(any::<u8>(), 0..80),
        more in 0_usize..100,
        kind in 0_u8..4,
        inner in 0_u8..4,
        full_nat: bool,
    ) {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let Ends { router, client, service, local, backend } = ends;
        let from = if full_nat { local } else { client };
        let sent = shape(inner, &packet(protocol, client, service, sequence, &payload));
        let forwarded = shape(inner, &packet(protocol, from, backend, sequence, &payload));
        let front = front(client.is_ipv4(), kind);
        let mut error = message(router.ip(), from.ip(), front, quoted(&forwarded, inner, more));
        let expected = message(service.ip(), client.ip(), front, quoted(&sent, inner, more));
        let into = Translation::new(client, service).from(service.ip());
        let found = check(&mut error, &expected, &into)?;
        prop_assert_eq!(found.key, FlowKey::new(protocol, from, backend));
        prop_assert_eq!(found.answered_by(), FlowKey::new(protocol, backend, from));
        prop_assert_eq!(found.sequence, tcp.then_some(sequence));
    }

    #[test]
    fn an_error_about_an_answer_becomes_one_about_the_backend_s(
        ends in ends(),
        tcp: bool,
        sequence: u32,
        shift: u32,
        more in 0_usize..60,
        kind in 0_u8..4,
        inner in 0_u8..4,
    ) {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let Ends { router, client, service, local, backend } = ends;
        let before = sequence.wrapping_sub(shift);
        let answer = shape(inner, &packet(protocol, backend, local, sequence, b"answer"));
        let forwarded = shape(inner, &packet(protocol, service, client, before, b"answer"));
        let front = front(client.is_ipv4(), kind);
        let mut error = message(router.ip(), service.ip(), front, quoted(&forwarded, inner, more));
        let expected = message(router.ip(), backend.ip(), front, quoted(&answer, inner, more));
        let into = Translation::new(backend, local).sequence_shift(shift);
        let found = check(&mut error, &expected, &into)?;
        prop_assert_eq!(found.answered_by(), FlowKey::new(protocol, client, service));
    }

    #[test]
    fn every_wrong_checksum_stays_wrong_by_as_much(
        ends in ends(),
        wrong in 1_u16..0xffff,
        field in 0_usize..3,
        tcp: bool,
    ) {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        let Ends { router, client, service, backend, .. } = ends;
        let front = front(client.is_ipv4(), 1);
        let add = |bytes: &mut [u8], at: usize| {
            let old = u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
            let new = old + u32::from(wrong);
            let new = u16::try_from((new & 0xffff) + (new >> 16)).unwrap();
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
        };
        let spoil = |bytes: &mut Vec<u8>| {
            let outer = headers(bytes);
            let inner = outer.transport + 8;
            let ipv4 = outer.is_ipv4();
            match field {
                0 => add(bytes, outer.transport + 2),
                1 if ipv4 => add(bytes, inner + 10),
                1 => add(bytes, outer.transport + 2),
                _ => {
                    let transport = inner + if ipv4 { 20 } else { 40 };
                    add(bytes, transport + if tcp { 16 } else { 6 });
                }
            }
        };
        let forwarded = packet(protocol, client, backend, 1, b"some bytes");
        let sent = packet(protocol, client, service, 1, b"some bytes");
        let mut error = message(router.ip(), client.ip(), front, &forwarded);
        let mut expected = message(service.ip(), client.ip(), front, &sent);
        spoil(&mut error);
        spoil(&mut expected);
        let mut read = headers(&error);
        let found = embedded(&error, &read).unwrap();
        let into = Translation::new(client, service).from(service.ip());
        prop_assert_eq!(rewrite(&mut error, &mut read, &found, &into), Ok(()));
        // 0 and 0xffff are one number; the quoted checksum of UDP may be either by chance.
        for (at, (a, b)) in error.chunks(2).zip(expected.chunks(2)).enumerate() {
            let same = a == b || [a, b].iter().all(|it| **it == [0, 0] || **it == [0xff, 0xff]);
            prop_assert!(same, "at {}: {:02x?} {:02x?}", at * 2, error, expected);
        }
        prop_assert!(!right(&error) || field != 0);
    }

    #[test]
    fn whatever_is_quoted_nothing_panics_and_nothing_behind_it_is_changed(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        first in prop_oneof![Just(0x45_u8), Just(0x46), Just(0x60), any::<u8>()],
        protocol in prop_oneof![Just(6_u8), Just(17), Just(4), Just(41), Just(47), any::<u8>()],
        ipv4: bool,
        front: [u8; 4],
        kind in 0_u8..13,
    ) {
        let mut quoted = bytes;
        if let Some(it) = quoted.first_mut() { *it = first; }
        if let Some(it) = quoted.get_mut(if ipv4 { 9 } else { 6 }) { *it = protocol; }
        let (from, to) = if ipv4 {
            (ip("10.0.0.1"), ip("10.0.0.2"))
        } else {
            (ip("fd00::1"), ip("fd00::2"))
        };
        let [a, b, c, d] = front;
        let mut error = message(from, to, [kind, 4, a, b, c, d], &quoted);
        let mut read = headers(&error);
        let _ = lb_l4::icmp::tunnelled(&error, &read);
        if let Some(found) = embedded(&error, &read) {
            let target = SocketAddr::new(to, 9);
            let _ = rewrite(&mut error, &mut read, &found, &Translation::new(target, target));
            prop_assert!(right(&error));
        }
    }
}

const CLIENT: &str = "192.0.2.1:4000";
const SERVICE: &str = "203.0.113.10:80";
const CLIENT_V6: &str = "[2001:db8::1]:4000";
const SERVICE_V6: &str = "[2001:db8:1::10]:80";

fn udp(from: &str, to: &str) -> Vec<u8> {
    packet(Protocol::Udp, end(from), end(to), 0, b"payload")
}

fn v4_error(front: [u8; 6], quoted: &[u8]) -> Vec<u8> {
    message(ip("198.51.100.1"), ip("192.0.2.1"), front, quoted)
}

fn v6_error(front: [u8; 6], quoted: &[u8]) -> Vec<u8> {
    message(ip("2001:db8:9::1"), ip("2001:db8::1"), front, quoted)
}

fn kind_of(bytes: &[u8]) -> Option<ErrorKind> {
    let read = headers(bytes);
    let found = embedded(bytes, &read).map(|it| it.kind);
    assert!(found.is_none() || is_error(&read));
    found
}

#[test]
fn each_type_of_error_is_read_and_no_other_message() {
    use ErrorKind::{ParameterProblem, TimeExceeded, TooBig, Unreachable};
    let quoted = udp(CLIENT, SERVICE);
    for (kind, code, expected) in [
        (0, 0, None),
        (3, 0, Some(Unreachable)),
        (3, 3, Some(Unreachable)),
        (3, 4, Some(TooBig { mtu: 0x0304 })),
        (3, 13, Some(Unreachable)),
        // Source quench and redirect.
        (4, 0, None),
        (5, 1, None),
        (8, 0, None),
        (11, 0, Some(TimeExceeded)),
        (11, 1, Some(TimeExceeded)),
        (12, 0, Some(ParameterProblem)),
        (12, 4, Some(ParameterProblem)),
        (13, 0, None),
    ] {
        let error = v4_error([kind, code, 0, 0, 3, 4], &quoted);
        assert_eq!(kind_of(&error), expected, "{kind}/{code}");
        assert_eq!(is_error(&headers(&error)), expected.is_some());
    }
    let quoted = udp(CLIENT_V6, SERVICE_V6);
    for (kind, code, expected) in [
        (0, 0, None),
        (1, 0, Some(Unreachable)),
        (1, 4, Some(Unreachable)),
        (2, 0, Some(TooBig { mtu: 0x0001_0304 })),
        (3, 0, Some(TimeExceeded)),
        (4, 1, Some(ParameterProblem)),
        (5, 0, None),
        (128, 0, None),
        // Redirect.
        (137, 0, None),
    ] {
        let rest = if kind == 2 { [0, 1, 3, 4] } else { [0; 4] };
        let [a, b, c, d] = rest;
        let error = v6_error([kind, code, a, b, c, d], &quoted);
        assert_eq!(kind_of(&error), expected, "{kind}/{code}");
        assert_eq!(is_error(&headers(&error)), expected.is_some());
    }
}

#[test]
fn a_message_of_the_other_family_s_icmp_is_no_error() {
    let quoted = udp(CLIENT_V6, SERVICE_V6);
    let mut error = v6_error([3, 0, 0, 0, 0, 0], &quoted);
    error[6] = 1;
    assert_eq!(kind_of(&error), None);
    let mut error = v4_error([1, 0, 0, 0, 0, 0], &udp(CLIENT, SERVICE));
    error[9] = 58;
    assert_eq!(kind_of(&error), None);
}

#[test]
fn eight_bytes_of_the_transport_are_enough_and_seven_are_not() {
    for quoted in [udp(CLIENT, SERVICE), udp(CLIENT_V6, SERVICE_V6)] {
        let transport = headers(&quoted).transport;
        let error = |len: usize| {
            let quoted = &quoted[..len];
            if transport == 20 {
                v4_error([3, 3, 0, 0, 0, 0], quoted)
            } else {
                v6_error([1, 4, 0, 0, 0, 0], quoted)
            }
        };
        for len in 0..transport + 8 {
            assert_eq!(kind_of(&error(len)), None, "{len}");
        }
        for len in transport + 8..quoted.len() {
            assert_eq!(kind_of(&error(len)), Some(ErrorKind::Unreachable), "{len}");
        }
    }
}

#[test]
fn what_has_no_ports_is_about_no_flow() {
    let mut later = udp(CLIENT, SERVICE);
    later[7] = 1;
    assert_eq!(kind_of(&v4_error([3, 3, 0, 0, 0, 0], &later)), None);
    let mut later = as_first_fragment(&udp(CLIENT_V6, SERVICE_V6));
    later[43] = 8;
    assert_eq!(kind_of(&v6_error([1, 4, 0, 0, 0, 0], &later)), None);
    for protocol in [0, 1, 4, 41, 47, 50, 58, 132] {
        let mut other = udp(CLIENT, SERVICE);
        other[9] = protocol;
        assert_eq!(kind_of(&v4_error([3, 3, 0, 0, 0, 0], &other)), None);
    }
}

#[test]
fn a_quoted_header_must_be_of_the_error_s_family_and_whole() {
    let front = [3, 3, 0, 0, 0, 0];
    assert_eq!(kind_of(&v4_error(front, &udp(CLIENT_V6, SERVICE_V6))), None);
    assert_eq!(
        kind_of(&v6_error([1, 4, 0, 0, 0, 0], &udp(CLIENT, SERVICE))),
        None
    );
    for (first, read) in [(0x44, false), (0x45, true), (0x4f, false), (0x55, false)] {
        let mut quoted = udp(CLIENT, SERVICE);
        quoted[0] = first;
        assert_eq!(
            kind_of(&v4_error(front, &quoted)).is_some(),
            read,
            "{first:x}"
        );
    }
    // Said to be shorter than its own ports.
    let mut quoted = udp(CLIENT, SERVICE);
    quoted[3] = 27;
    assert_eq!(kind_of(&v4_error(front, &quoted)), None);
    quoted[3] = 28;
    assert!(kind_of(&v4_error(front, &quoted)).is_some());
}

#[test]
fn an_error_in_fragments_is_not_read() {
    let error = v4_error(
        [3, 3, 0, 0, 0, 0],
        &packet(Protocol::Udp, end(CLIENT), end(SERVICE), 0, b"0123"),
    );
    assert!(kind_of(&error).is_some());
    let error = as_first_fragment(&error);
    assert_eq!(kind_of(&error), None);
}

#[test]
fn extensions_of_rfc_4884_stay_as_they_are() {
    let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0xca, 0xfe, 0xba, 0xbe];
    let service = end(SERVICE);
    for (from, to, units) in [(CLIENT, SERVICE, 4), (CLIENT_V6, SERVICE_V6, 8)] {
        let quote = |from: SocketAddr, to: SocketAddr| {
            // 24 bytes of it fit into 72, which are 18 words of four bytes and 9 of eight.
            let mut quoted = packet(Protocol::Tcp, from, to, 7, &[1; 100]);
            quoted.truncate(72);
            quoted.extend_from_slice(&extension);
            quoted
        };
        let (client, there) = (end(from), end(to));
        let backend = match there {
            SocketAddr::V4(_) => end("10.0.0.7:8080"),
            SocketAddr::V6(_) => end("[fd00::7]:8080"),
        };
        let words = u8::try_from(72 / units).unwrap();
        let make = |source: SocketAddr, quoted: &[u8]| {
            if units == 4 {
                message(source.ip(), client.ip(), [11, 0, 0, words, 0, 0], quoted)
            } else {
                message(source.ip(), client.ip(), [3, 0, words, 0, 0, 0], quoted)
            }
        };
        let mut error = make(backend, &quote(client, backend));
        let expected = make(there, &quote(client, there));
        let into = Translation::new(client, there).from(there.ip());
        check(&mut error, &expected, &into).unwrap();
        assert!(error.ends_with(&extension));
    }
    // A length that cannot be is none.
    let quoted = packet(Protocol::Udp, end(CLIENT), service, 0, b"x");
    assert!(kind_of(&v4_error([11, 0, 0, 200, 0, 0], &quoted)).is_some());
    // It ends before the ports do.
    assert_eq!(kind_of(&v4_error([11, 0, 0, 6, 0, 0], &quoted)), None);
    assert!(kind_of(&v4_error([11, 0, 0, 7, 0, 0], &quoted)).is_some());
    // Type 2 and type 4 of ICMPv6 have no length: it is part of an MTU or of a pointer.
    let quoted = udp(CLIENT_V6, SERVICE_V6);
    assert!(kind_of(&v6_error([4, 0, 1, 0, 0, 0], &quoted)).is_some());
    assert_eq!(kind_of(&v6_error([3, 0, 5, 0, 0, 0], &quoted)), None);
    assert!(kind_of(&v6_error([3, 0, 6, 0, 0, 0], &quoted)).is_some());
}

#[test]
fn padding_behind_the_quoted_packet_is_no_checksum() {
    // A segment that is said to end behind eight bytes of TCP, then what looks like more of it.
    let mut quoted = packet(Protocol::Tcp, end(CLIENT), end("10.0.0.7:8080"), 7, b"");
    quoted[2..4].copy_from_slice(&28_u16.to_be_bytes());
    let mut error = v4_error([3, 1, 0, 0, 0, 0], &quoted);
    let before = error.clone();
    let mut read = headers(&error);
    let found = embedded(&error, &read).unwrap();
    let into = Translation::new(end(CLIENT), end(SERVICE));
    rewrite(&mut error, &mut read, &found, &into).unwrap();
    assert_eq!(error[28 + 28..], before[28 + 28..]);
    assert!(right(&error));
}

#[test]
fn an_mtu_that_no_link_may_have_is_not_passed_on() {
    let mut cases = Vec::new();
    for (mtu, passed) in [
        (0, true),
        (1, false),
        (67, false),
        (68, true),
        (551, true),
        (1500, true),
    ] {
        let [a, b] = u16::to_be_bytes(mtu);
        cases.push((
            v4_error([3, 4, 0, 0, a, b], &udp(CLIENT, SERVICE)),
            passed,
            CLIENT,
        ));
    }
    for (mtu, passed) in [(0, false), (1279, false), (1280, true), (65536, true)] {
        let [a, b, c, d] = u32::to_be_bytes(mtu);
        let error = v6_error([2, 0, a, b, c, d], &udp(CLIENT_V6, SERVICE_V6));
        cases.push((error, passed, CLIENT_V6));
    }
    for (mut error, passed, to) in cases {
        let before = error.clone();
        let mut read = headers(&error);
        let found = embedded(&error, &read).unwrap();
        let into = Translation::new(end(to), end(to));
        let expected = if passed {
            Ok(())
        } else {
            Err(DropReason::Malformed)
        };
        assert_eq!(
            rewrite(&mut error, &mut read, &found, &into),
            expected,
            "{:?}",
            found.kind
        );
        assert_eq!(error == before, !passed);
    }
}

#[test]
fn an_address_of_the_other_family_changes_nothing() {
    let mut error = v4_error([3, 1, 0, 0, 0, 0], &udp(CLIENT, SERVICE));
    let before = error.clone();
    let mut read = headers(&error);
    let found = embedded(&error, &read).unwrap();
    let (v4, v6) = (end(CLIENT), end(CLIENT_V6));
    for into in [
        Translation::new(v6, v4),
        Translation::new(v4, v6),
        Translation::new(v4, v4).from(v6.ip()),
    ] {
        let result = rewrite(&mut error, &mut read, &found, &into);
        assert_eq!(result, Err(DropReason::Unsupported));
        assert_eq!(error, before);
    }
}

#[test]
fn no_udp_checksum_stays_none_and_zero_is_written_as_all_ones() {
    let mut quoted = udp(CLIENT, "10.0.0.7:80");
    quoted[26..28].fill(0);
    let mut error = v4_error([3, 3, 0, 0, 0, 0], &quoted);
    let mut read = headers(&error);
    let found = embedded(&error, &read).unwrap();
    let into = Translation::new(end(CLIENT), end(SERVICE));
    rewrite(&mut error, &mut read, &found, &into).unwrap();
    assert_eq!(error[28 + 26..28 + 28], [0, 0]);
    assert!(right(&error));

    // One port of the service makes the checksum come out as 0.
    let (client, backend) = (end(CLIENT), end("10.0.0.7:80"));
    let sum_with = |port: u16| {
        let bytes = packet(
            Protocol::Udp,
            client,
            SocketAddr::new(ip("203.0.113.10"), port),
            0,
            b"",
        );
        u16::from_be_bytes([bytes[26], bytes[27]])
    };
    let port = sum_with(0);
    assert_eq!(sum_with(port), 0xffff, "0 is sent as all ones");
    let service = SocketAddr::new(ip("203.0.113.10"), port);
    let mut error = v4_error(
        [3, 3, 0, 0, 0, 0],
        &packet(Protocol::Udp, client, backend, 0, b""),
    );
    let expected = v4_error(
        [3, 3, 0, 0, 0, 0],
        &packet(Protocol::Udp, client, service, 0, b""),
    );
    check(&mut error, &expected, &Translation::new(client, service)).unwrap();
    assert_eq!(checksum(&[&error[20..]]), 0);
}
