//! Errors about our tunnels.

use std::net::IpAddr;

use lb_l4::icmp::{Refusal, Tunnelled, Unanswerable, tunnelled};
use lb_l4::method::tunnel::Encapsulation;
use lb_l4::packet::Link;
use lbcore::flow::{FlowKey, Protocol};

use crate::build::{buffer, end, headers, in_buffer, ip, message, packet, wrap};

const CLIENT: &str = "192.0.2.1:4000";
const SERVICE: &str = "203.0.113.10:80";
const CLIENT_V6: &str = "[2001:db8::1]:4000";
const SERVICE_V6: &str = "[2001:db8:1::10]:80";

#[derive(Clone, Copy, Debug)]
enum Wrap {
    Ipip,
    Gre(&'static [u8]),
    Gue(&'static [u8]),
    GueDirect,
}

fn inner(ipv4: bool) -> Vec<u8> {
    let (client, service) = if ipv4 {
        (CLIENT, SERVICE)
    } else {
        (CLIENT_V6, SERVICE_V6)
    };
    packet(Protocol::Tcp, end(client), end(service), 77, &[5; 600])
}

fn outer_ends(ipv4: bool) -> (IpAddr, IpAddr, IpAddr) {
    if ipv4 {
        (ip("10.0.0.1"), ip("10.0.0.7"), ip("10.0.0.254"))
    } else {
        (ip("fd00::1"), ip("fd00::7"), ip("fd00::fe"))
    }
}

fn outer(wrapping: Wrap, outer_v4: bool, inner: &[u8]) -> Vec<u8> {
    let (from, to, _) = outer_ends(outer_v4);
    let inner_v4 = inner[0] >> 4 == 4;
    let ether = if inner_v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let number = if inner_v4 { 4 } else { 41 };
    let udp = |behind: &[u8]| {
        let len = u16::try_from(8 + behind.len()).unwrap().to_be_bytes();
        [&[0xc0, 0x01, 0x17, 0xc0][..], &len, &[0, 0], behind].concat()
    };
    match wrapping {
        Wrap::Ipip => wrap(from, to, number, inner),
        Wrap::Gre(optional) => {
            // With a checksum, or with a key that is refused.
            let flags = match optional.len() {
                0 => 0,
                4 => 0x80,
                _ => 0x20,
            };
            let behind = [&[flags, 0][..], &ether, optional, inner].concat();
            wrap(from, to, 47, &behind)
        }
        Wrap::Gue(extra) => {
            let words = u8::try_from(extra.len() / 4).unwrap();
            let header = [&[words, number, 0, 0][..], extra, inner].concat();
            wrap(from, to, 17, &udp(&header))
        }
        Wrap::GueDirect => wrap(from, to, 17, &udp(inner)),
    }
}

const ALL: [(Wrap, usize, Encapsulation); 5] = [
    (Wrap::Ipip, 0, Encapsulation::Ipip),
    (Wrap::Gre(&[]), 4, Encapsulation::Gre),
    (Wrap::Gre(&[1; 4]), 8, Encapsulation::Gre),
    (Wrap::Gue(&[]), 12, Encapsulation::Gue { port: 6080 }),
    (Wrap::Gue(&[4; 8]), 20, Encapsulation::Gue { port: 6080 }),
];

fn front(ipv4: bool, mtu: u16) -> [u8; 6] {
    let [a, b] = mtu.to_be_bytes();
    if ipv4 {
        [3, 4, 0, 0, a, b]
    } else {
        [2, 0, 0, 0, a, b]
    }
}

fn error_about(bytes: &[u8], outer_v4: bool, front: [u8; 6], quoted: usize) -> Vec<u8> {
    let (director, _, router) = outer_ends(outer_v4);
    message(router, director, front, &bytes[..quoted.min(bytes.len())])
}

fn read(error: &[u8]) -> Option<Tunnelled> {
    tunnelled(error, &headers(error))
}

#[test]
fn every_tunnel_is_unwrapped_and_its_overhead_taken_off() {
    for (wrapping, header, kind) in ALL {
        for (outer_v4, inner_v4) in [(true, true), (true, false), (false, true), (false, false)] {
            let name = format!("{wrapping:?} {outer_v4} {inner_v4}");
            let bytes = outer(wrapping, outer_v4, &inner(inner_v4));
            let error = error_about(&bytes, outer_v4, front(outer_v4, 1400), 400);
            let found = read(&error).unwrap_or_else(|| panic!("{name}"));
            let overhead = header + if outer_v4 { 20 } else { 40 };
            assert_eq!((found.kind, found.overhead), (kind, overhead), "{name}");
            let (director, backend, _) = outer_ends(outer_v4);
            assert_eq!((found.source, found.destination), (director, backend));
            let (client, service) = if inner_v4 {
                (CLIENT, SERVICE)
            } else {
                (CLIENT_V6, SERVICE_V6)
            };
            let key = FlowKey::new(Protocol::Tcp, end(client), end(service));
            assert_eq!((found.inner.key, found.inner.sequence), (key, Some(77)));
            let mtu = 1400 - u32::try_from(overhead).unwrap();
            assert_eq!(found.refusal(), Some(Refusal::TooBig { mtu }), "{name}");
        }
    }
}

#[test]
fn the_client_gets_an_error_about_its_own_packet() {
    for (wrapping, header, _) in ALL {
        for (outer_v4, inner_v4) in [(true, true), (true, false), (false, true), (false, false)] {
            let sent = inner(inner_v4);
            let bytes = outer(wrapping, outer_v4, &sent);
            let error = error_about(&bytes, outer_v4, front(outer_v4, 1400), 400);
            let link = [0x52; 14];
            let framed = [
                &link[..12],
                if outer_v4 { &[8, 0] } else { &[0x86, 0xdd] },
                &error,
            ]
            .concat();
            let mut space = buffer(0, &framed);
            let mut there = in_buffer(&mut space, 0, Link::Ethernet);
            let parsed = match lb_l4::wire::parse(there.bytes(), Link::Ethernet) {
                Ok(lb_l4::wire::Frame::Ip(headers)) => headers,
                other => panic!("{other:?}"),
            };
            let found = tunnelled(there.bytes(), &parsed).unwrap();
            let (client, service) = if inner_v4 {
                (end(CLIENT), end(SERVICE))
            } else {
                (end(CLIENT_V6), end(SERVICE_V6))
            };
            assert_eq!(found.answer(&mut there, &parsed, service.ip()), Ok(()));
            let overhead = header + if outer_v4 { 20 } else { 40 };
            let mtu = u16::try_from(1400 - overhead).unwrap();
            let expected = message(
                service.ip(),
                client.ip(),
                front(inner_v4, mtu),
                &sent[..400 - overhead],
            );
            let answer = &there.bytes()[14..];
            compare(answer, &expected, inner_v4);
            assert_eq!(there.bytes()[..12], link[..12]);
            let kind = if inner_v4 { [8, 0] } else { [0x86, 0xdd] };
            assert_eq!(there.bytes()[12..14], kind);
        }
    }
}

/// All but the type of service, identification and flags of an IPv4 header, and its checksum.
fn compare(answer: &[u8], expected: &[u8], ipv4: bool) {
    if !ipv4 {
        assert_eq!(answer, expected);
        return;
    }
    assert!(headers(answer).header_checksum_is_right(answer));
    let mut answer = answer.to_vec();
    assert_eq!(answer[1], 0xc0);
    answer[1] = expected[1];
    answer[4..8].copy_from_slice(&expected[4..8]);
    answer[10..12].copy_from_slice(&expected[10..12]);
    assert_eq!(answer, expected);
}

#[test]
fn no_less_is_asked_of_a_client_than_every_sender_must_be_able_to_send() {
    for (inner_v4, mtu, told) in [
        (true, 89, 69),
        (true, 88, 68),
        (true, 80, 68),
        (false, 1301, 1281),
        (false, 1300, 1280),
        (false, 1299, 1280),
        (false, 576, 1280),
    ] {
        let bytes = outer(Wrap::Ipip, true, &inner(inner_v4));
        let error = error_about(&bytes, true, front(true, mtu), 100);
        let refusal = read(&error).unwrap().refusal();
        assert_eq!(refusal, Some(Refusal::TooBig { mtu: told }), "{mtu}");
    }
}

#[test]
fn a_router_that_does_not_say_means_the_next_lower_size_in_use() {
    for (total, told) in [
        (65535, 31980),
        (32001, 31980),
        (32000, 17894),
        (1500, 1472),
        (1493, 1472),
        (1492, 986),
        (576, 488),
        (100, 68),
        (60, 68),
    ] {
        let mut bytes = outer(Wrap::Ipip, true, &inner(true));
        bytes[2..4].copy_from_slice(&u16::to_be_bytes(total));
        let error = error_about(&bytes, true, front(true, 0), 56);
        let refusal = read(&error).unwrap().refusal();
        assert_eq!(refusal, Some(Refusal::TooBig { mtu: told }), "{total}");
    }
}

#[test]
fn what_else_befalls_a_tunnel_is_a_host_unreachable_or_nothing() {
    let bytes = outer(Wrap::Ipip, true, &inner(true));
    for (front, expected) in [
        ([3, 1, 0, 0, 0, 0], Some(Refusal::HostUnreachable)),
        ([3, 2, 0, 0, 0, 0], Some(Refusal::HostUnreachable)),
        ([11, 0, 0, 0, 0, 0], Some(Refusal::HostUnreachable)),
        ([12, 0, 0, 0, 0, 0], None),
    ] {
        let error = error_about(&bytes, true, front, 400);
        assert_eq!(read(&error).unwrap().refusal(), expected);
        let mut space = buffer(0, &error);
        let mut there = in_buffer(&mut space, 0, Link::Ip);
        let parsed = headers(there.bytes());
        let done = read(&error)
            .unwrap()
            .answer(&mut there, &parsed, ip("203.0.113.10"));
        assert_eq!(done.is_ok(), expected.is_some());
        if expected.is_some() {
            assert_eq!(there.bytes()[20..22], [3, 1]);
        } else {
            assert_eq!(there.bytes(), error);
        }
    }
}

#[test]
fn a_quotation_that_ends_before_the_inner_ports_tells_nothing() {
    let bytes = outer(Wrap::Ipip, true, &inner(true));
    assert!(read(&error_about(&bytes, true, front(true, 1400), 48)).is_some());
    for len in 0..48 {
        assert!(
            read(&error_about(&bytes, true, front(true, 1400), len)).is_none(),
            "{len}"
        );
    }
}

#[test]
fn what_is_no_tunnel_of_ours_is_not_unwrapped() {
    let plain = error_about(&inner(true), true, front(true, 1400), 100);
    assert!(read(&plain).is_none());
    for wrapping in [Wrap::GueDirect, Wrap::Gre(&[0; 8])] {
        let bytes = outer(wrapping, true, &inner(true));
        let error = error_about(&bytes, true, front(true, 1400), 100);
        assert!(read(&error).is_none(), "{wrapping:?}");
    }
    // The bytes of the tunnel's header, and whether it is one: offsets from the quoted packet.
    for (wrapping, at, value, read_it) in [
        (Wrap::Gre(&[]), 20, 0x40, false),
        (Wrap::Gre(&[]), 21, 0x01, false),
        (Wrap::Gre(&[]), 21, 0x00, true),
        (Wrap::Gre(&[]), 22, 0x88, false),
        (Wrap::Gue(&[]), 28, 0x20, false),
        (Wrap::Gue(&[]), 28, 0x80, false),
        (Wrap::Gue(&[]), 28, 0xc0, false),
        (Wrap::Gue(&[]), 29, 6, false),
        (Wrap::Gue(&[]), 29, 41, false),
        (Wrap::Ipip, 20, 0x55, false),
    ] {
        let mut bytes = outer(wrapping, true, &inner(true));
        bytes[at] = value;
        let error = error_about(&bytes, true, front(true, 1400), 100);
        assert_eq!(
            read(&error).is_some(),
            read_it,
            "{wrapping:?} {at} {value:x}"
        );
    }
}

#[test]
fn an_answer_needs_a_source_of_the_family_and_one_host_to_go_to() {
    let error = error_about(
        &outer(Wrap::Ipip, true, &inner(true)),
        true,
        front(true, 1400),
        100,
    );
    let mut space = buffer(0, &error);
    let mut there = in_buffer(&mut space, 0, Link::Ip);
    let parsed = headers(there.bytes());
    let found = read(&error).unwrap();
    let done = found.answer(&mut there, &parsed, ip("2001:db8::1"));
    assert_eq!(done, Err(Unanswerable::Family));
    assert_eq!(there.bytes(), error);
    for source in [
        [224, 0, 0, 1],
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [255, 255, 255, 255],
    ] {
        let mut sent = inner(true);
        sent[12..16].copy_from_slice(&source);
        let error = error_about(
            &outer(Wrap::Ipip, true, &sent),
            true,
            front(true, 1400),
            100,
        );
        let mut space = buffer(0, &error);
        let mut there = in_buffer(&mut space, 0, Link::Ip);
        let found = read(&error).unwrap();
        let done = found.answer(&mut there, &parsed, ip("203.0.113.10"));
        assert_eq!(done, Err(Unanswerable::Forbidden), "{source:?}");
        assert_eq!(there.bytes(), error);
    }
}

#[test]
fn no_more_is_quoted_than_may_be() {
    let long = packet(Protocol::Udp, end(CLIENT), end(SERVICE), 0, &[1; 1400]);
    let error = error_about(
        &outer(Wrap::Ipip, true, &long),
        true,
        front(true, 1400),
        1448,
    );
    let mut space = buffer(0, &error);
    let mut there = in_buffer(&mut space, 0, Link::Ip);
    let parsed = headers(there.bytes());
    let found = read(&error).unwrap();
    assert_eq!(
        found.answer(&mut there, &parsed, ip("203.0.113.10")),
        Ok(())
    );
    assert_eq!(there.bytes().len(), 576);
    assert!(crate::build::right(there.bytes()));
}
