//! What FULLNAT puts into a packet, and takes out, leaves a packet that is read as it was meant, and
//! the bytes of the client as they were.
#![no_main]

use std::net::SocketAddr;

use lb_l4::method::fullnat::{LEAST_MSS, lower_mss, strip, tell, to_backend, to_client};
use lb_l4::packet::{Checksum, Link, Offload, Packet};
use lb_l4::toa;
use lb_l4::wire::tcp::{TcpOption, flags, options};
use lb_l4::wire::{Body, Frame, Headers, parse, payload};
use libfuzzer_sys::fuzz_target;

const ROOM: usize = 128;
const CLIENTS: [&str; 2] = ["198.51.100.7:4660", "[2001:db8::7]:65535"];
const HEADER: [u8; 28] = [0x5a; 28];

fuzz_target!(|bytes: &[u8]| {
    let _ = toa::parse(bytes);
    for checksum in [Checksum::Complete, Checksum::Partial] {
        for client in CLIENTS {
            edited(bytes, checksum, client.parse().expect("an end"));
        }
        rewritten(bytes, checksum);
    }
});

fn read(packet: &Packet<'_>) -> Option<Headers> {
    match parse(packet.bytes(), Link::Ip) {
        Ok(Frame::Ip(headers)) => Some(headers),
        _ => None,
    }
}

fn told(packet: &Packet<'_>, headers: &Headers) -> Vec<SocketAddr> {
    let Body::Tcp(tcp) = headers.body else {
        return Vec::new();
    };
    let range = headers.transport + 20..headers.transport + tcp.len;
    let found = options(&packet.bytes()[range]).filter_map(|option| match option {
        TcpOption::Toa(client) => Some(client),
        _ => None,
    });
    found.collect()
}

/// The packet in a buffer with room before it.
fn with<T>(
    bytes: &[u8],
    checksum: Checksum,
    work: impl FnOnce(Packet<'_>, Headers) -> T,
) -> Option<T> {
    let mut buffer = [&[0; ROOM][..], bytes].concat();
    let end = buffer.len();
    let mut packet = Packet::new(&mut buffer, ROOM..end, Link::Ip);
    if checksum == Checksum::Partial {
        packet.set_offloads(Offload::partial(None));
    }
    let headers = read(&packet)?;
    Some(work(packet, headers))
}

/// Whether the transport checksum may be compared: of a part of a packet it is of the whole.
fn is_right(packet: &Packet<'_>, headers: &Headers, checksum: Checksum) -> Option<bool> {
    let whole = headers.fragment.is_none();
    whole.then(|| headers.checksum_is_right(packet.bytes(), checksum))
}

fn edited(bytes: &[u8], checksum: Checksum, client: SocketAddr) {
    with(bytes, checksum, |mut packet, mut headers| {
        let right = is_right(&packet, &headers, checksum);
        let data = packet.bytes()[headers.payload()].to_vec();
        strip(&mut packet, &headers);
        assert_eq!(told(&packet, &headers), []);
        lower_mss(&mut packet, &headers, 20);
        let syn = headers.tcp().is_some_and(|tcp| tcp.has(flags::SYN));
        if tell(&mut packet, &mut headers, client, 1500).is_ok() && headers.tcp().is_some() {
            assert_eq!(told(&packet, &headers), [client]);
        }
        assert_eq!(packet.bytes()[headers.payload()], data);
        if payload::put_before(&mut packet, &mut headers, &HEADER).is_ok() {
            let payload = &packet.bytes()[headers.payload()];
            assert_eq!(payload[..HEADER.len()], HEADER);
            assert_eq!(payload[HEADER.len()..], data);
        }
        assert_eq!(read(&packet), Some(headers));
        assert_eq!(is_right(&packet, &headers, checksum), right);
        if syn && let Body::Tcp(tcp) = headers.body {
            let range = headers.transport + 20..headers.transport + tcp.len;
            for option in options(&packet.bytes()[range]) {
                if let TcpOption::Mss(mss) = option {
                    assert!(mss <= (u16::MAX - 20).max(LEAST_MSS));
                }
            }
        }
    });
}

/// To a backend and back to the client: the packet as it was, but for two hops.
fn rewritten(bytes: &[u8], checksum: Checksum) {
    with(bytes, checksum, |mut packet, mut headers| {
        let before = headers;
        let right = is_right(&packet, &headers, checksum);
        let (local, backend) = if headers.is_ipv4() {
            ("10.0.0.1:5000", "10.0.1.7:8080")
        } else {
            ("[fd00::1]:5000", "[fd00::7]:8080")
        };
        let [local, backend] = [local, backend].map(|it| it.parse().expect("an end"));
        let (client, service) = (headers.source_end(), headers.destination_end());
        if to_backend(&mut packet, &mut headers, local, backend).is_err() {
            return;
        }
        assert_eq!(read(&packet), Some(headers));
        assert_eq!(is_right(&packet, &headers, checksum), right);
        if to_client(&mut packet, &mut headers, client, service).is_err() {
            return;
        }
        let after = read(&packet).expect("what was read can be read");
        assert_eq!(
            (after.source, after.destination),
            (before.source, before.destination)
        );
        assert_eq!(after.flow(), before.flow());
        assert_eq!(is_right(&packet, &after, checksum), right);
    });
}
