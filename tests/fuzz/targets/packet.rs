//! Whatever the bytes: reading them never panics, and every change to what was read is read again
//! as it was meant, with checksums that are as right or as wrong as before.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_l4::packet::{Checksum, Link, Offload, Packet};
use lb_l4::wire::tcp::{TcpOption, clamp_mss, insert_option, kind, options, strip_option};
use lb_l4::wire::{Body, Frame, Headers, arp, ethernet, parse, rewrite};
use libfuzzer_sys::fuzz_target;

const HEADROOM: usize = 64;

// The last 32 bytes say what becomes of those before them.
fuzz_target!(|input: &[u8]| {
    let Some((bytes, choices)) = input.split_last_chunk::<32>() else {
        return;
    };
    let _ = arp::Message::parse(bytes).map(|it| assert_eq!(it.bytes(), bytes[..arp::LEN]));
    if let Some(header) = ethernet::Header::parse(bytes) {
        let mut written = Vec::new();
        header.emit(&mut written);
        assert_eq!(written, bytes[..header.len()]);
    }
    for link in [Link::Ip, Link::Ethernet] {
        for checksum in [Checksum::Complete, Checksum::Partial] {
            let mut buffer = vec![0xaa; HEADROOM];
            buffer.extend(bytes);
            let end = buffer.len();
            let packet = Packet::new(&mut buffer, HEADROOM..end, link);
            run(packet, checksum, choices);
        }
    }
});

fn run(mut packet: Packet<'_>, checksum: Checksum, choices: &[u8; 32]) {
    if checksum == Checksum::Partial {
        packet.set_offloads(Offload::partial(None));
    }
    let Ok(Frame::Ip(mut headers)) = parse(packet.bytes(), packet.link()) else {
        return;
    };
    read_everything(packet.bytes(), &headers, checksum);
    let wrong = errors(packet.bytes(), &headers, checksum);
    let payload = packet.bytes()[headers.payload()].to_vec();
    let (ends, rest) = choices.split_at(16);
    for choice in rest {
        step(&mut packet, &mut headers, checksum, *choice, ends);
        assert_eq!(parse(packet.bytes(), packet.link()), Ok(Frame::Ip(headers)));
        assert_eq!(packet.bytes()[headers.payload()], payload);
        assert_eq!(errors(packet.bytes(), &headers, checksum), wrong);
    }
}

fn step(
    packet: &mut Packet<'_>,
    headers: &mut Headers,
    checksum: Checksum,
    choice: u8,
    noise: &[u8],
) {
    let at = usize::from(choice >> 4);
    let word = u16::from_be_bytes([noise[at], choice]);
    let long = u32::from(word) << 16 | u32::from(noise[15 - at]);
    let address = match headers.source {
        IpAddr::V4(_) => Ipv4Addr::from_bits(long).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(u128::from(long) << 50).into(),
    };
    let port = (at % 2 == 0).then_some(word);
    let bytes = packet.bytes_mut();
    match choice & 0xf {
        0 => rewrite::set_source(bytes, headers, address, port, checksum),
        1 => rewrite::set_destination(bytes, headers, address, port, checksum),
        2 => {
            let may = headers.ttl > 1;
            assert_eq!(rewrite::decrement_ttl(bytes, headers).is_ok(), may);
        }
        3 => rewrite::set_traffic_class(bytes, headers, noise[at]),
        4 => rewrite::set_sequence(bytes, headers, long, checksum),
        5 => rewrite::set_acknowledgement(bytes, headers, long, checksum),
        6 => rewrite::set_window(bytes, headers, word, checksum),
        7 => clamp_mss(bytes, headers, word, checksum),
        8 | 9 => {
            strip_option(packet, headers, [kind::TOA, noise[at]][at % 2]);
        }
        _ => insert(packet, headers, noise, at),
    }
}

fn insert(packet: &mut Packet<'_>, headers: &mut Headers, noise: &[u8], at: usize) {
    let mut option = Vec::new();
    let other = TcpOption::Other {
        kind: noise[at] | 16,
        bytes: &noise[..at],
    };
    other.emit(&mut option);
    let (before, held) = (packet.bytes().to_vec(), *headers);
    match insert_option(packet, headers, &option) {
        Ok(()) => {
            let bytes = area(packet.bytes(), headers);
            assert!(bytes.windows(option.len()).any(|it| it == option));
            let mut again = Vec::new();
            let found = options(bytes).any(|it| {
                again.clear();
                it.emit(&mut again);
                again == option
            });
            assert!(found, "an option is read where it was put");
        }
        Err(_) => assert_eq!((packet.bytes(), *headers), (&before[..], held)),
    }
}

fn area<'a>(bytes: &'a [u8], headers: &Headers) -> &'a [u8] {
    headers.tcp().map_or(&[], |tcp| {
        &bytes[headers.transport + 20..headers.transport + tcp.len]
    })
}

/// Calls what only reads.
fn read_everything(bytes: &[u8], headers: &Headers, checksum: Checksum) {
    assert!(headers.network < headers.transport && headers.transport <= headers.end);
    assert!(headers.end <= bytes.len());
    let data = headers.fragment_data();
    assert!(headers.network < data.start && data.start <= headers.transport);
    assert_eq!(headers.source.is_ipv4(), headers.destination.is_ipv4());
    assert_eq!(
        headers.flow().is_some(),
        matches!(headers.body, Body::Tcp(_) | Body::Udp { .. })
    );
    assert!(options(area(bytes, headers)).count() <= 20);
    for option in options(bytes).take(100) {
        let mut again = Vec::new();
        option.emit(&mut again);
        assert_eq!(again[0], option.kind());
    }
    let wrong = errors(bytes, headers, checksum);
    assert_eq!(headers.header_checksum_is_right(bytes), wrong.0 == 0);
    let unknown = headers.fragment.is_some() || has_none(bytes, headers, checksum);
    // Zeros alone have the sum 0, which no checksum makes; only ICMP covers nothing else.
    let zeros = matches!(headers.body, Body::Icmp { .. })
        && headers.source.is_ipv4()
        && bytes[headers.transport..headers.end]
            .iter()
            .all(|it| *it == 0);
    let right = wrong.1 == 0 && !zeros || unknown;
    assert_eq!(headers.checksum_is_right(bytes, checksum), right);
}

/// UDP without a checksum.
fn has_none(bytes: &[u8], headers: &Headers, checksum: Checksum) -> bool {
    matches!(headers.body, Body::Udp { .. })
        && checksum == Checksum::Complete
        && headers
            .l4_checksum_field()
            .is_some_and(|at| bytes[at..at + 2] == [0, 0])
}

/// How wrong the checksums are, by a full recomputation modulo 65,535: of the IPv4 header, and of
/// what is behind it. In a first fragment the rest is missing, but what is missing stays the same.
fn errors(bytes: &[u8], headers: &Headers, checksum: Checksum) -> (u64, u64) {
    let header = match headers.source {
        IpAddr::V4(_) => residue(&bytes[headers.network..headers.transport]),
        IpAddr::V6(_) => 0,
    };
    let Some(field) = headers.l4_checksum_field() else {
        return (header, 0);
    };
    if has_none(bytes, headers, checksum) {
        return (header, 0);
    }
    let (len, end) = match headers.body {
        Body::Udp { length, .. } => (usize::from(length), headers.payload().end),
        _ => (headers.end - headers.transport, headers.end),
    };
    let mut pseudo = Vec::new();
    if !(matches!(headers.body, Body::Icmp { .. }) && headers.source.is_ipv4()) {
        for address in [headers.source, headers.destination] {
            match address {
                IpAddr::V4(v4) => pseudo.extend(v4.octets()),
                IpAddr::V6(v6) => pseudo.extend(v6.octets()),
            }
        }
        pseudo.extend((len as u32).to_be_bytes());
        pseudo.extend([0, headers.protocol]);
    }
    let pseudo = residue(&pseudo);
    let error = match (checksum, headers.body) {
        (Checksum::Partial, Body::Tcp(_) | Body::Udp { .. }) => {
            residue(&bytes[field..field + 2]) + 65_535 - pseudo
        }
        _ => pseudo + residue(&bytes[headers.transport..end]),
    };
    (header, error % 65_535)
}

fn residue(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2);
    let sum = words.map(|it| u64::from(it[0]) << 8 | it.get(1).map_or(0, |it| u64::from(*it)));
    sum.sum::<u64>() % 65_535
}
