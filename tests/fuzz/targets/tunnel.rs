//! What comes out of a tunnel is a packet, and what does not is left as it was.
//!
//! A mutation seldom keeps the outer checksum and lengths: so the input is taken for a packet, and
//! for the content of one behind right outer headers of each kind.
#![no_main]

use lb_l4::method::tunnel::cut::Pieces;
use lb_l4::method::tunnel::{Encapsulation, Tunnel, decapsulate, encapsulate, inner};
use lb_l4::packet::{Link, Packet};
use lb_l4::wire::emit::IpHeader;
use lb_l4::wire::{Frame, Headers, parse, protocol};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    take_out(bytes, Link::Ethernet);
    take_out(bytes, Link::Ip);
    for number in [protocol::IPV4, protocol::IPV6, protocol::GRE, protocol::UDP] {
        let _ = inner(number, bytes, Some(6080));
        for (source, destination) in ENDS {
            let mut outer = Vec::new();
            IpHeader {
                source: source.parse().expect("an address"),
                destination: destination.parse().expect("an address"),
                protocol: number,
                ttl: 64,
                traffic_class: 3,
                payload_len: bytes.len(),
            }
            .emit(&mut outer);
            outer.extend_from_slice(bytes);
            take_out(&outer, Link::Ip);
        }
    }
    if let Some(headers) = headers(bytes, Link::Ip) {
        put_in(bytes, &headers);
        in_pieces(bytes, &headers);
    }
});

const ENDS: [(&str, &str); 2] = [("10.0.0.1", "10.0.1.7"), ("fd00::1", "fd00::7")];
const ROOM: usize = 64;

fn headers(bytes: &[u8], link: Link) -> Option<Headers> {
    match parse(bytes, link) {
        Ok(Frame::Ip(headers)) => Some(headers),
        _ => None,
    }
}

/// Tunnels in tunnels end, as each is shorter.
fn take_out(bytes: &[u8], link: Link) {
    let mut buffer = bytes.to_vec();
    let mut packet = Packet::new(&mut buffer, 0..bytes.len(), link);
    let Some(mut outer) = headers(bytes, link) else {
        return;
    };
    let mut before = bytes.to_vec();
    loop {
        match decapsulate(&mut packet, &outer, Some(6080)) {
            Ok(inside) => {
                assert_eq!(Some(inside), headers(packet.bytes(), link));
                assert!(packet.bytes().len() < before.len());
                outer = inside;
                before = packet.bytes().to_vec();
            }
            Err(_) => return assert_eq!(packet.bytes(), before),
        }
    }
}

/// What goes in comes out, but for what lay behind the packet.
fn put_in(bytes: &[u8], before: &Headers) {
    for kind in [Encapsulation::Ipip, Encapsulation::Gre, Encapsulation::GUE] {
        for (source, destination) in ENDS {
            let ends = [source, destination].map(|it| it.parse().expect("an address"));
            let tunnel = Tunnel::new(kind, ends[0], ends[1]);
            let mut buffer = [&[0; ROOM][..], bytes].concat();
            let end = buffer.len();
            let mut packet = Packet::new(&mut buffer, ROOM..end, Link::Ip);
            let mut outer = *before;
            if encapsulate(&mut packet, &mut outer, &tunnel, 7).is_err() {
                continue;
            }
            assert_eq!(Some(outer), headers(packet.bytes(), Link::Ip));
            let out = decapsulate(&mut packet, &outer, Some(6080));
            assert_eq!(out.as_ref(), Ok(before));
            assert_eq!(packet.bytes(), &bytes[..before.end]);
        }
    }
}

/// Pieces are packets that fit, and together they are all there was.
fn in_pieces(bytes: &[u8], before: &Headers) {
    for mtu in [68, 600] {
        let Ok(pieces) = Pieces::v4(bytes, before, mtu) else {
            continue;
        };
        let mut whole = Vec::new();
        for piece in pieces {
            let mut out = Vec::new();
            piece.emit(&mut out);
            assert!(out.len() <= mtu);
            let header = usize::from(out[0] & 15) * 4;
            whole.extend_from_slice(&out[header..]);
        }
        assert_eq!(whole, &bytes[before.transport..before.end]);
    }
}
