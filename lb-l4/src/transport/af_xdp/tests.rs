//! The program, checked and run by the kernel over packets that come by no interface.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::steering::Steering;
use super::{AfXdpConfig, Steer};
use crate::sys::bpf::Program;

const PASS: u32 = 2;
const REDIRECT: u32 = 4;

/// The maps of a program, and the socket that is in one of them for as long as it is open.
struct Maps {
    steering: Steering,
    _socket: OwnedFd,
}

/// A program that steers `prefixes`, and its maps; `None`, said aloud, where programs are forbidden.
fn steered(prefixes: &[(&str, Steer)]) -> Option<(Maps, Program)> {
    let loaded = Steering::load(&AfXdpConfig::new("none"), 1);
    if let Err(super::OpenError::NotPermitted(error)) = loaded {
        skip(&error);
        return None;
    }
    let (steering, program) = loaded.unwrap();
    // A socket that is not bound: enough for the program to find one.
    let family = AddressFamily::from_raw(44);
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap();
    steering.serve(0, socket.as_fd()).unwrap();
    for (prefix, steer) in prefixes {
        steering.steer(prefix.parse().unwrap(), *steer).unwrap();
    }
    let maps = Maps {
        steering,
        _socket: socket,
    };
    Some((maps, program))
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skip(error: &std::io::Error) {
    eprintln!("SKIPPED: no XDP program may be loaded: {error}");
}

fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend(kind.to_be_bytes());
    frame.extend(body);
    frame
}

fn ipv4(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[0] = 0x45;
    header[12..16].copy_from_slice(&source);
    header[16..].copy_from_slice(&destination);
    header
}

fn ipv6(source: &str, destination: &str, next: u8, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 40];
    (header[0], header[6]) = (0x60, next);
    header[8..24].copy_from_slice(&source.parse::<Ipv6Addr>().unwrap().octets());
    header[24..].copy_from_slice(&destination.parse::<Ipv6Addr>().unwrap().octets());
    header.extend(body);
    header
}

fn arp(target: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0; 28];
    message[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    message[14..18].copy_from_slice(&[10, 0, 0, 9]);
    message[24..].copy_from_slice(&target.octets());
    message
}

/// A message of neighbour discovery, with its target.
fn discovery(kind: u8, target: &str) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.parse::<Ipv6Addr>().unwrap().octets());
    message
}

#[test]
fn an_address_is_steered_by_its_longest_prefix() {
    let prefixes = [
        ("10.1.0.0/16", Steer::Redirect),
        ("10.1.2.0/24", Steer::Host),
        ("10.1.2.3/32", Steer::Redirect),
        ("2001:db8::/32", Steer::Redirect),
        ("2001:db8::1/128", Steer::Host),
    ];
    let Some((_maps, program)) = steered(&prefixes) else {
        return;
    };
    for (destination, answer) in [
        ([10, 1, 0, 1], REDIRECT),
        ([10, 1, 255, 255], REDIRECT),
        ([10, 2, 0, 0], PASS),
        ([10, 1, 2, 4], PASS),
        ([10, 1, 2, 3], REDIRECT),
    ] {
        let frame = ethernet(0x0800, &ipv4([192, 0, 2, 1], destination));
        assert_eq!(program.run(&frame).unwrap(), answer, "{destination:?}");
    }
    for (destination, answer) in [
        ("2001:db8::1", PASS),
        ("2001:db8::2", REDIRECT),
        ("2001:db8:ffff::", REDIRECT),
        ("2001:db9::", PASS),
        ("::ffff:10.1.0.1", PASS),
    ] {
        let frame = ethernet(0x86dd, &ipv6("fe80::1", destination, 6, &[]));
        assert_eq!(program.run(&frame).unwrap(), answer, "{destination}");
    }
}

#[test]
fn answers_are_steered_by_source_unless_their_destination_is() {
    let prefixes = [
        ("10.9.0.0/24", Steer::RedirectAnswers),
        ("10.9.0.7/32", Steer::Host),
        ("192.0.2.10/32", Steer::Host),
        ("2001:db8:9::/64", Steer::RedirectAnswers),
        ("2001:db8::10/128", Steer::Host),
    ];
    let Some((_maps, program)) = steered(&prefixes) else {
        return;
    };
    for (source, destination, answer) in [
        ([10, 9, 0, 1], [198, 51, 100, 1], REDIRECT),
        ([10, 9, 1, 1], [198, 51, 100, 1], PASS),
        ([10, 9, 0, 7], [198, 51, 100, 1], PASS),
        ([10, 9, 0, 1], [192, 0, 2, 10], PASS),
        ([10, 9, 0, 1], [224, 0, 0, 1], PASS),
        ([10, 9, 0, 1], [223, 255, 255, 255], REDIRECT),
        ([10, 9, 0, 1], [255, 255, 255, 255], PASS),
        // Sent to a backend, and not by one.
        ([198, 51, 100, 1], [10, 9, 0, 1], PASS),
    ] {
        let frame = ethernet(0x0800, &ipv4(source, destination));
        let got = program.run(&frame).unwrap();
        assert_eq!(got, answer, "{source:?} to {destination:?}");
    }
    for (destination, next, body, answer) in [
        ("2001:db8:1::1", 6, &[][..], REDIRECT),
        ("2001:db8::10", 6, &[], PASS),
        ("ff02::1", 17, &[], PASS),
        ("fe02::1", 17, &[], REDIRECT),
        ("2001:db8:1::1", 58, &[1], REDIRECT),
        ("2001:db8:1::1", 58, &[129], REDIRECT),
        ("2001:db8:1::1", 58, &[132], REDIRECT),
        ("2001:db8:1::1", 58, &[133], PASS),
        ("2001:db8:1::1", 58, &[134], PASS),
        ("2001:db8:1::1", 58, &[136], PASS),
        ("2001:db8:1::1", 58, &[137], PASS),
        ("2001:db8:1::1", 58, &[138], REDIRECT),
        ("2001:db8:1::1", 58, &[], PASS),
    ] {
        let frame = ethernet(0x86dd, &ipv6("2001:db8:9::5", destination, next, body));
        let got = program.run(&frame).unwrap();
        assert_eq!(got, answer, "to {destination} {next} {body:?}");
    }
}

#[test]
fn questions_go_to_whom_they_ask_for() {
    let prefixes = [
        ("192.0.2.1/32", Steer::Redirect),
        ("2001:db8::1/128", Steer::Redirect),
        ("10.0.0.0/24", Steer::RedirectAnswers),
        ("fe80::/10", Steer::RedirectAnswers),
    ];
    let Some((_maps, program)) = steered(&prefixes) else {
        return;
    };
    let run = |kind, body: &[u8]| program.run(&ethernet(kind, body)).unwrap();
    assert_eq!(run(0x0806, &arp(Ipv4Addr::new(192, 0, 2, 1))), REDIRECT);
    // Asked by a backend for the host's own address.
    assert_eq!(run(0x0806, &arp(Ipv4Addr::new(192, 0, 2, 2))), PASS);
    let mut other = arp(Ipv4Addr::new(192, 0, 2, 1));
    other[3] = 1;
    assert_eq!(run(0x0806, &other), PASS, "not of IPv4");

    let ask = |target| ipv6("fe80::9", "ff02::1:ff00:1", 58, &discovery(135, target));
    assert_eq!(run(0x86dd, &ask("2001:db8::1")), REDIRECT);
    assert_eq!(run(0x86dd, &ask("2001:db8::2")), PASS);
    let answer = |to| ipv6("fe80::9", to, 58, &discovery(136, "fe80::9"));
    assert_eq!(run(0x86dd, &answer("2001:db8::1")), REDIRECT);
    assert_eq!(run(0x86dd, &answer("2001:db8::2")), PASS);
}

#[test]
fn one_tag_is_looked_behind_and_no_more() {
    let Some((_maps, program)) = steered(&[("10.0.0.0/8", Steer::Redirect)]) else {
        return;
    };
    let packet = ipv4([192, 0, 2, 1], [10, 0, 0, 1]);
    let tag = |inner: u16| [&[0, 5][..], &inner.to_be_bytes()].concat();
    let tagged = [tag(0x0800), packet.clone()].concat();
    for kind in [0x8100, 0x88a8] {
        assert_eq!(program.run(&ethernet(kind, &tagged)).unwrap(), REDIRECT);
    }
    let twice = [tag(0x8100), tagged].concat();
    assert_eq!(program.run(&ethernet(0x88a8, &twice)).unwrap(), PASS);
    assert_eq!(program.run(&ethernet(0x0801, &packet)).unwrap(), PASS);
}

#[test]
fn what_is_cut_short_is_left_to_the_host() {
    let everything = [("0.0.0.0/0", Steer::Redirect), ("::/0", Steer::Redirect)];
    let Some((_maps, program)) = steered(&everything) else {
        return;
    };
    let tagged = [&[0, 5, 8, 0][..], &ipv4([1; 4], [2; 4])].concat();
    for (frame, least) in [
        (ethernet(0x0800, &ipv4([1; 4], [2; 4])), 34),
        (ethernet(0x8100, &tagged), 38),
        (ethernet(0x0806, &arp(Ipv4Addr::LOCALHOST)), 42),
        (ethernet(0x86dd, &ipv6("::1", "::2", 6, &[0; 8])), 54),
        (ethernet(0x86dd, &ipv6("::1", "::2", 58, &[1; 8])), 55),
        (
            ethernet(0x86dd, &ipv6("::1", "::2", 58, &discovery(135, "::3"))),
            78,
        ),
    ] {
        // The kernel runs programs over nothing shorter than an Ethernet header.
        for len in 14..=frame.len() {
            let answer = if len < least { PASS } else { REDIRECT };
            assert_eq!(
                program.run(&frame[..len]).unwrap(),
                answer,
                "{len} of {frame:?}"
            );
        }
    }
}

#[test]
fn what_is_taken_back_is_the_host_s_again() {
    let Some((maps, program)) = steered(&[("10.0.0.0/8", Steer::Redirect)]) else {
        return;
    };
    let maps = &maps.steering;
    let prefix = "10.0.0.0/8".parse().unwrap();
    let frame = ethernet(0x0800, &ipv4([192, 0, 2, 1], [10, 0, 0, 1]));
    assert_eq!(program.run(&frame).unwrap(), REDIRECT);
    assert!(maps.forget(prefix).unwrap());
    assert_eq!(program.run(&frame).unwrap(), PASS);
    assert!(!maps.forget(prefix).unwrap());
    maps.steer(prefix, Steer::RedirectAnswers).unwrap();
    maps.steer(prefix, Steer::Redirect).unwrap();
    let answer = ethernet(0x0800, &ipv4([10, 0, 0, 1], [192, 0, 2, 1]));
    assert_eq!(program.run(&frame).unwrap(), REDIRECT);
    assert_eq!(program.run(&answer).unwrap(), REDIRECT, "both add up");
    maps.steer(prefix, Steer::Host).unwrap();
    assert_eq!(program.run(&frame).unwrap(), PASS);
    assert_eq!(program.run(&answer).unwrap(), PASS);
}

#[test]
fn no_more_prefixes_than_were_asked_for() {
    let config = AfXdpConfig::new("none").max_prefixes(2);
    let Ok((maps, _program)) = Steering::load(&config, 1) else {
        return;
    };
    maps.steer("10.0.0.1/32".parse().unwrap(), Steer::Host)
        .unwrap();
    let more = maps.steer("10.0.0.2/32".parse().unwrap(), Steer::Redirect);
    assert_eq!(more.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
}
